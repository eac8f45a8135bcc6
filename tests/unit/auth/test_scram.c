/* SCRAM-SHA-256 as "they send / we answer", with the example of RFC 7677; and what else is kept of
 * passwords. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "../test.h"
#include "auth/scram.h"
#include "util/random.h"
#include "util/text.h"

/* RFC 7677, section 3. */
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE        CLIENT_NONCE SERVER_NONCE
#define CLIENT_FIRST "n,,n=user,r=" CLIENT_NONCE
#define SERVER_FIRST "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define PROOF        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define CLIENT_FINAL "c=biws,r=" NONCE ",p=" PROOF
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

/* Of the password "pencil". */
#define SALT       "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED_KEY "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER_KEY "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define VERIFIER   "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY

static void start(struct scram_server *s)
{
	struct scram_verifier v;

	assert_int_equal(scram_verifier_parse(VERIFIER, &v), 0);
	scram_server_init(s, &v, SERVER_NONCE);
}

static enum scram_outcome step(
	struct scram_server *s, const char *message, size_t len, struct buf *ret_reply)
{
	const char *problem = "";

	buf_clear(ret_reply);
	enum scram_outcome outcome =
		scram_server_step(s, (const uint8_t *)message, len, ret_reply, &problem);
	assert_int_equal(problem != NULL, outcome == SCRAM_MALFORMED);
	assert_int_equal(ret_reply->len > 0, outcome == SCRAM_MORE || outcome == SCRAM_DONE);
	return outcome;
}

static void check_reply(const struct buf *reply, const char *expected)
{
	assert_int_equal(reply->len, strlen(expected));
	assert_memory_equal(reply->data, expected, reply->len);
}

/* One exchange; what comes of the last message. `first_len` and `final_len` are of the texts. */
static enum scram_outcome exchange_bytes(
	const char *first, size_t first_len, const char *final, size_t final_len)
{
	struct scram_server s;
	struct buf reply = {0};

	start(&s);
	enum scram_outcome outcome = step(&s, first, first_len, &reply);
	if (outcome == SCRAM_MORE)
		outcome = step(&s, final, final_len, &reply);
	buf_clear(&reply);
	scram_server_clear(&s);
	return outcome;
}

static enum scram_outcome exchange(const char *first, const char *final)
{
	return exchange_bytes(first, strlen(first), final, strlen(final));
}

static void example_of_the_rfc_is_answered(void **state)
{
	struct scram_server s;
	struct buf reply = {0};

	start(&s);
	assert_int_equal(step(&s, CLIENT_FIRST, strlen(CLIENT_FIRST), &reply), SCRAM_MORE);
	check_reply(&reply, SERVER_FIRST);
	assert_int_equal(step(&s, CLIENT_FINAL, strlen(CLIENT_FINAL), &reply), SCRAM_DONE);
	check_reply(&reply, SERVER_FINAL);
	assert_int_equal(step(&s, CLIENT_FINAL, strlen(CLIENT_FINAL), &reply), SCRAM_MALFORMED);
	buf_clear(&reply);
	scram_server_clear(&s);
}

static void messages_cut_anywhere_are_not_taken(void **state)
{
	for (size_t n = 0; n < strlen(CLIENT_FIRST); n++)
		assert_int_not_equal(
			exchange_bytes(CLIENT_FIRST, n, CLIENT_FINAL, strlen(CLIENT_FINAL)),
			SCRAM_DONE);
	for (size_t n = 0; n < strlen(CLIENT_FINAL); n++)
		assert_int_equal(
			exchange_bytes(CLIENT_FIRST, strlen(CLIENT_FIRST), CLIENT_FINAL, n),
			SCRAM_MALFORMED);
}

/* Every other value of every byte. */
static void messages_with_one_byte_altered_are_not_taken(void **state)
{
	char text[256];

	for (size_t at = 0; at < strlen(CLIENT_FIRST); at++) {
		for (int value = 0; value < 256; value++) {
			memcpy(text, CLIENT_FIRST, sizeof(CLIENT_FIRST));
			text[at] = (char)value;
			if (text[at] == CLIENT_FIRST[at])
				continue;
			enum scram_outcome outcome = exchange_bytes(
				text, strlen(CLIENT_FIRST), CLIENT_FINAL, strlen(CLIENT_FINAL));
			assert_true(outcome == SCRAM_MALFORMED || outcome == SCRAM_REFUSED);
		}
	}
	for (size_t at = 0; at < strlen(CLIENT_FINAL); at++) {
		for (int value = 0; value < 256; value++) {
			memcpy(text, CLIENT_FINAL, sizeof(CLIENT_FINAL));
			text[at] = (char)value;
			if (text[at] == CLIENT_FINAL[at])
				continue;
			enum scram_outcome outcome = exchange_bytes(
				CLIENT_FIRST, strlen(CLIENT_FIRST), text, strlen(CLIENT_FINAL));
			assert_true(outcome == SCRAM_MALFORMED || outcome == SCRAM_REFUSED);
		}
	}
}

static void malformed_first_messages_are_told(void **state)
{
	static const struct {
		const char *message, *problem;
	} cases[] = {
		{"p=tls-server-end-point,,n=,r=abc", "includes channel binding data"},
		{"x,,n=,r=abc", "channel-binding flag"},
		{"n", "Comma expected"},
		{"n;,n=,r=abc", "Comma expected"},
		{"n,a=admin,n=,r=abc", "authorization identity"},
		{"n,b,n=,r=abc", "Unexpected attribute"},
		{"n,,m=ext,n=,r=abc", "unsupported SCRAM extension"},
		{"n,,r=abc", "The user name is missing"},
		{"n,,n=user", "The nonce is missing"},
		{"n,,n=user,r=", "The nonce is missing"},
		{"n,,n=user,r=a\x01", "not printable"},
		{"n,,n=user,r=a b", "not printable"},
		{"n,,n=user,r=\xc3\xbc", "not printable"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct scram_server s;
		struct buf reply = {0};
		const char *problem = NULL;
		start(&s);
		assert_int_equal(scram_server_step(&s, (const uint8_t *)cases[i].message,
					 strlen(cases[i].message), &reply, &problem),
			SCRAM_MALFORMED);
		if (!strstr(problem, cases[i].problem))
			fail_msg("%s: %s", cases[i].message, problem);
		assert_int_equal(reply.len, 0);
		scram_server_clear(&s);
	}
}

static void final_messages_must_fit_the_first(void **state)
{
	/* The flag of the header is bound into the last message. */
	assert_int_equal(exchange("y,,n=user,r=" CLIENT_NONCE, CLIENT_FINAL), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, "c=eSws,r=" NONCE ",p=" PROOF), SCRAM_MALFORMED);
	/* Another flag, consistently: only the proof is wrong then. */
	assert_int_equal(exchange("y,,n=user,r=" CLIENT_NONCE, "c=eSws,r=" NONCE ",p=" PROOF),
		SCRAM_REFUSED);
	assert_int_equal(
		exchange(CLIENT_FIRST, "c=biws,r=" CLIENT_NONCE ",p=" PROOF), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, "c=biws,r=" NONCE "x,p=" PROOF), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, "c=biws,r=" NONCE), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, "c=biws,r=" NONCE ",x=1,p=" PROOF), SCRAM_REFUSED);
	assert_int_equal(
		exchange(CLIENT_FIRST, "c=biws,r=" NONCE ",m=1,p=" PROOF), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, CLIENT_FINAL ",x=1"), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, CLIENT_FINAL ","), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, CLIENT_FINAL " "), SCRAM_MALFORMED);
	assert_int_equal(
		exchange(CLIENT_FIRST, "c=biws,r=" NONCE ",p=    " PROOF), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, "c=biws,r=" NONCE ",p="), SCRAM_MALFORMED);
	assert_int_equal(exchange(CLIENT_FIRST, "c=biws,r=" NONCE ",p=AAAA"), SCRAM_MALFORMED);
}

static void sizes_have_limits(void **state)
{
	char text[SCRAM_MESSAGE_MAX + 8];
	struct scram_server s;
	struct buf reply = {0};

	for (size_t n = 100; n < 300; n++) {
		snprintf(text, sizeof(text), "n,,n=,r=%0*d", (int)n, 1);
		start(&s);
		enum scram_outcome outcome = step(&s, text, strlen(text), &reply);
		assert_int_equal(outcome, n < SCRAM_NONCE_MAX - SCRAM_SERVER_NONCE_MAX
						  ? SCRAM_MORE
						  : SCRAM_MALFORMED);
		scram_server_clear(&s);
	}
	for (size_t n = SCRAM_MESSAGE_MAX; n < SCRAM_MESSAGE_MAX + 3; n++) {
		memset(text, 'x', sizeof(text));
		memcpy(text, "n,,n=", 5);
		memcpy(text + n - 6, ",r=abc", 6);
		start(&s);
		assert_int_equal(step(&s, text, n, &reply),
			n == SCRAM_MESSAGE_MAX ? SCRAM_MORE : SCRAM_MALFORMED);
		scram_server_clear(&s);
	}
	buf_clear(&reply);
}

/* --- a client, for passwords without an example --- */

static void mac(const void *key, const char *text, uint8_t ret[SCRAM_KEY])
{
	unsigned n;

	assert_non_null(
		HMAC(EVP_sha256(), key, SCRAM_KEY, (const uint8_t *)text, strlen(text), ret, &n));
}

static enum scram_outcome log_in(const struct scram_verifier *v, const char *password)
{
	char salt[128], nonce[SCRAM_NONCE_MAX], auth[1024], final[512], proof64[64];
	uint8_t salted[SCRAM_KEY], client_key[SCRAM_KEY], stored[SCRAM_KEY], proof[SCRAM_KEY];
	struct scram_server s;
	struct buf reply = {0};

	scram_server_init(&s, v, NULL);
	assert_int_equal(step(&s, "n,,n=,r=mine", 12, &reply), SCRAM_MORE);
	buf_u8(&reply, 0);
	assert_int_equal(sscanf((char *)reply.data, "r=%255[^,],s=%127[^,]", nonce, salt), 2);
	assert_int_equal(strlen(nonce), 4 + SCRAM_NONCE);
	EVP_EncodeBlock((uint8_t *)proof64, v->salt, (int)v->salt_len);
	assert_string_equal(salt, proof64);
	assert_true(PKCS5_PBKDF2_HMAC(password, (int)strlen(password), v->salt, (int)v->salt_len,
		(int)v->iterations, EVP_sha256(), SCRAM_KEY, salted));
	mac(salted, "Client Key", client_key);
	SHA256(client_key, SCRAM_KEY, stored);
	snprintf(auth, sizeof(auth), "n=,r=mine,%s,c=biws,r=%s", (char *)reply.data, nonce);
	mac(stored, auth, proof);
	for (int i = 0; i < SCRAM_KEY; i++)
		proof[i] ^= client_key[i];
	EVP_EncodeBlock((uint8_t *)proof64, proof, SCRAM_KEY);
	snprintf(final, sizeof(final), "c=biws,r=%s,p=%s", nonce, proof64);
	enum scram_outcome outcome = step(&s, final, strlen(final), &reply);
	buf_clear(&reply);
	scram_server_clear(&s);
	return outcome;
}

static void derived_keys_know_their_password(void **state)
{
	static const char *const passwords[] = {"pencil", "", "p\xc3\xa4sswort, = and so on"};

	for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
		struct scram_verifier v, again;
		assert_int_equal(scram_verifier_derive("somebody", passwords[i], &v), 0);
		assert_int_equal(v.iterations, SCRAM_ITERATIONS);
		assert_int_equal(log_in(&v, passwords[i]), SCRAM_DONE);
		assert_int_equal(log_in(&v, "something else"), SCRAM_REFUSED);
		/* Salted. */
		assert_int_equal(scram_verifier_derive("another", passwords[i], &again), 0);
		assert_memory_not_equal(v.stored_key, again.stored_key, SCRAM_KEY);
	}
}

static void nobody_knows_the_password_of_an_unknown_user(void **state)
{
	struct scram_verifier v, again, other;

	scram_verifier_mock("nobody", &v);
	scram_verifier_mock("nobody", &again);
	scram_verifier_mock("somebody", &other);
	assert_int_equal(v.iterations, SCRAM_ITERATIONS);
	assert_int_equal(v.salt_len, again.salt_len);
	assert_memory_equal(v.salt, again.salt, v.salt_len);
	assert_memory_not_equal(v.salt, other.salt, v.salt_len);
	assert_int_equal(log_in(&v, ""), SCRAM_REFUSED);
	assert_int_equal(log_in(&v, "nobody"), SCRAM_REFUSED);
}

/* --- verifiers --- */

static void verifier_is_read(void **state)
{
	struct scram_verifier v;

	assert_int_equal(scram_verifier_parse(VERIFIER, &v), 0);
	assert_int_equal(v.iterations, 4096);
	assert_int_equal(v.salt_len, 16);
	assert_int_equal(v.salt[0], 0x5b);
	assert_int_equal(v.stored_key[0], 0x58);
	assert_int_equal(v.server_key[SCRAM_KEY - 1], 0xd5);
}

static void hostile_verifiers_are_refused(void **state)
{
	static const char *const secrets[] = {
		"",
		"SCRAM-SHA-256",
		"SCRAM-SHA-256$",
		"SCRAM-SHA-256$4096",
		"SCRAM-SHA-256$4096:",
		"SCRAM-SHA-256$4096:" SALT,
		"SCRAM-SHA-256$4096:" SALT "$",
		"SCRAM-SHA-256$4096:" SALT "$" STORED_KEY,
		"SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":",
		"SCRAM-SHA-256$:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$0:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$-1:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$+1:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$ 1:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$1 :" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$0x10:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$9999999999:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:====$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:A===$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:AB==$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:    $" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:AAAA====$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:AA==AAAA$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096: " SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:" SALT "\n$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY "=",
		"SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY ":AAAA",
		"SCRAM-SHA-256$4096:" SALT "$AAAA:" SERVER_KEY,
		"SCRAM-SHA-256$4096:" SALT "$" STORED_KEY STORED_KEY ":" SERVER_KEY,
		"scram-sha-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY,
		"SCRAM-SHA-1$4096:" SALT "$" STORED_KEY ":" SERVER_KEY,
	};
	struct scram_verifier v;

	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		if (scram_verifier_parse(secrets[i], &v) != 1)
			fail_msg("taken: %s", secrets[i]);
	}
}

static void verifiers_cut_anywhere_are_refused(void **state)
{
	struct scram_verifier v;
	char text[256];

	for (size_t n = 0; n < strlen(VERIFIER); n++) {
		text_copy(text, n + 1, VERIFIER);
		assert_int_equal(scram_verifier_parse(text, &v), 1);
	}
}

static void salts_have_a_limit(void **state)
{
	struct scram_verifier v;
	char salt64[256], text[512];
	uint8_t salt[SCRAM_SALT_MAX + 9] = {1};

	for (size_t n = 1; n < sizeof(salt); n++) {
		EVP_EncodeBlock((uint8_t *)salt64, salt, (int)n);
		snprintf(text, sizeof(text), "SCRAM-SHA-256$1:%s$%s:%s", salt64, STORED_KEY,
			SERVER_KEY);
		assert_int_equal(scram_verifier_parse(text, &v), n > SCRAM_SALT_MAX);
		if (n <= SCRAM_SALT_MAX)
			assert_int_equal(v.salt_len, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(example_of_the_rfc_is_answered),
		cmocka_unit_test(messages_cut_anywhere_are_not_taken),
		cmocka_unit_test(messages_with_one_byte_altered_are_not_taken),
		cmocka_unit_test(malformed_first_messages_are_told),
		cmocka_unit_test(final_messages_must_fit_the_first),
		cmocka_unit_test(sizes_have_limits),
		cmocka_unit_test(derived_keys_know_their_password),
		cmocka_unit_test(nobody_knows_the_password_of_an_unknown_user),
		cmocka_unit_test(verifier_is_read),
		cmocka_unit_test(hostile_verifiers_are_refused),
		cmocka_unit_test(verifiers_cut_anywhere_are_refused),
		cmocka_unit_test(salts_have_a_limit),
	};

	random_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
