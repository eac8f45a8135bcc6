/*
 * Logging in to servers: what they send, what weir answers. The servers are a MariaDB 10.11 and a
 * MySQL 9 as they greet; the proofs are PyMySQL's, for the password "secret".
 */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "auth/caching_sha2.h"
#include "mysql_greetings.h"
#include "proto/mysql/handshake.h"
#include "util/check.h"

/* A text with its length, which may hold any byte. */
struct bytes {
	const char *data;
	size_t len;
};

#define BYTES(text)                                                                                \
	{                                                                                          \
		(text), sizeof(text) - 1                                                           \
	}
#define NOTHING                                                                                    \
	{                                                                                          \
		NULL, 0                                                                            \
	}

#define ZEROS_23 ZEROS_10 ZEROS_10 "\0\0\0"

#define NATIVE_PROOF                                                                               \
	"\xb3\x2b\xb3\xa5\x83\xe1\x34\x0c\x0a\x11\x08\xd5\x8b\x1b\xe4\x97\x81\xad\x8c\x2f"
#define SHA2_PROOF                                                                                 \
	"\x74\x6e\xbe\x20\x5d\x56\xa0\x70\x7a\xcb\x3e\x79\x6e\x83\x4e\x0d\xd7\xb1\xd6\x17\x43"     \
	"\xb2\x6b\xd5\x20\x2c\x7a\x62\x32\x30\xc7\xc9"
/* By an implementation of the paper's formulas; MariaDB's public key for it is the same. */
#define ED25519_PROOF                                                                              \
	"\x60\xa0\xf4\xf8\xbc\xb6\x39\x60\x43\xe4\x4b\x2a\x25\x52\x1a\xf1\x6f\x08\x15\xff\x63\x69" \
	"\xcc\x54\x1c\x28\x1e\x2c\x44\x55\xc8\x23\x2b\x79\xb2\x1e\xe5\xbb\x93\x35\x07\x72\x5d\xb2" \
	"\xf2\x91\x9e\xa0\x9e\x67\x6f\x6a\xbe\xe1\x9c\x5c\x7b\x98\xb4\x0a\x62\x7a\x97\x07"

/* What weir asks of MariaDB, which does not offer LONG_PASSWORD; and of any other. */
#define HEAD(second, third, fourth) "\x05" second third fourth "\0\0\0\x40\x2d" ZEROS_23
#define ATTRIBUTES                                                                                 \
	"\x3a\x0c_client_name\4weir\x0f_client_version\5" WEIR_VERSION "\x0cprogram_name\4weir"
#define OK "\0\0\0\2\0\0\0"

_Static_assert(sizeof(WEIR_VERSION) == 6, "the lengths here count with it");

struct exchange {
	struct bytes theirs; /* a packet's payload */
	enum handshake_outcome outcome;
	struct bytes ours; /* whole packets */
};

#define EXCHANGES 8

struct conversation {
	const char *name, *schema;
	uint32_t wanted;
	bool wants_tls, needs_tls, is_private;
	struct exchange exchanges[EXCHANGES]; /* up to the first without `theirs` */
	uint16_t code;                        /* of the refusal */
	const char *text;                     /* what it says; NULL: there is none */
};

#define NATIVE_RESPONSE_PACKET                                                                     \
	"\x8a\0\0\1" HEAD("\xa2", "\xbf", "\0") "app\0\x14" NATIVE_PROOF                           \
						"mysql_native_password\0" ATTRIBUTES
#define SHA2_RESPONSE_PACKET                                                                       \
	"\x96\0\0\1" HEAD("\xa2", "\xbf", "\0") "app\0\x20" SHA2_PROOF                             \
						"caching_sha2_password\0" ATTRIBUTES

static const struct conversation conversations[] = {
	{.name = "a native password, at once",
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES(NATIVE_RESPONSE_PACKET)},
			{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "a schema, and affected rows that are found rows",
		.schema = "shop",
		.wanted = MY_FOUND_ROWS | MY_LOCAL_FILES,
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES("\x8f\0\0\1"
					    "\x8f\xa2\xbf\0\0\0\0\x40\x2d" ZEROS_23
					    "app\0\x14" NATIVE_PROOF
					    "shop\0mysql_native_password\0" ATTRIBUTES)},
			{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "a password that the server remembers",
		.exchanges = {{BYTES(MYSQL_GREETING), HANDSHAKE_MORE, BYTES(SHA2_RESPONSE_PACKET)},
			{BYTES("\1\3"), HANDSHAKE_MORE, NOTHING},
			{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "a password that it does not, where nobody can listen",
		.is_private = true,
		.exchanges = {{BYTES(MYSQL_GREETING), HANDSHAKE_MORE, BYTES(SHA2_RESPONSE_PACKET)},
			{BYTES("\1\4"), HANDSHAKE_MORE, BYTES("\7\0\0\3secret\0")},
			{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "another method for this account",
		.exchanges = {{BYTES(MYSQL_GREETING), HANDSHAKE_MORE, BYTES(SHA2_RESPONSE_PACKET)},
			{BYTES("\xfemysql_native_password\0" NONCE "\0"), HANDSHAKE_MORE,
				BYTES("\x14\0\0\3" NATIVE_PROOF)},
			{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "ed25519",
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES(NATIVE_RESPONSE_PACKET)},
			{BYTES("\xfe"
			       "client_ed25519\0" NONCE
			       "\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20"),
				HANDSHAKE_MORE, BYTES("\x40\0\0\3" ED25519_PROOF)},
			{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "the password in clear text, where nobody can listen",
		.is_private = true,
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES(NATIVE_RESPONSE_PACKET)},
			{BYTES("\xfemysql_clear_password\0"), HANDSHAKE_MORE,
				BYTES("\7\0\0\3secret\0")},
			{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "the password in clear text, where somebody can",
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES(NATIVE_RESPONSE_PACKET)},
			{BYTES("\xfemysql_clear_password\0"), HANDSHAKE_REFUSED, NOTHING}},
		.text = "the server wants the password in clear text, which takes TLS"},
	{.name = "a method that nobody knows",
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES(NATIVE_RESPONSE_PACKET)},
			{BYTES("\xfe"
			       "authentication_fido\0"),
				HANDSHAKE_REFUSED, NOTHING}},
		.text = "the server wants an authentication method that weir does not know: "
			"authentication_fido"},
	{.name = "a method from before there were methods",
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES(NATIVE_RESPONSE_PACKET)},
			{BYTES("\xfe"), HANDSHAKE_REFUSED, NOTHING}},
		.text = "the server wants an authentication method that weir does not know: "
			"mysql_old_password"},
	{.name = "a wrong password",
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_MORE,
				      BYTES(NATIVE_RESPONSE_PACKET)},
			{BYTES("\xff\x15\4#28000Access denied for user 'app'@'localhost'"),
				HANDSHAKE_REFUSED, NOTHING}},
		.code = 1045,
		.text = "Access denied for user 'app'@'localhost'"},
	{.name = "an error instead of a greeting",
		.exchanges = {{BYTES("\xff\x10\4Too many connections"), HANDSHAKE_REFUSED,
			NOTHING}},
		.code = 1040,
		.text = "Too many connections"},
	{.name = "a server that is too old",
		.exchanges = {{BYTES("\x0a"
				     "5.6.51\0\x2a\0\0\0" NONCE_8 "\0\xff\xf7\x08\2\0\x7f\x80\x15"
				     "" ZEROS_10 NONCE_12 "\0mysql_native_password\0"),
			HANDSHAKE_REFUSED, NOTHING}},
		.text = "weir needs MySQL 5.7 or MariaDB 10.2.2 or later: this is 5.6.51"},
	{.name = "something else altogether",
		.exchanges = {{BYTES("SSH-2.0-OpenSSH_9.2"), HANDSHAKE_REFUSED, NOTHING}},
		.text = "the server does not speak MySQL's protocol: it does not begin with a "
			"greeting"},
	{.name = "an answer that is neither",
		.exchanges =
			{{BYTES(MARIADB_GREETING), HANDSHAKE_MORE, BYTES(NATIVE_RESPONSE_PACKET)},
				{BYTES("\x7f"), HANDSHAKE_REFUSED, NOTHING}},
		.text = "the server does not speak MySQL's protocol: a packet that has no place in "
			"a login"},
	{.name = "the data of another method",
		.exchanges =
			{{BYTES(MARIADB_GREETING), HANDSHAKE_MORE, BYTES(NATIVE_RESPONSE_PACKET)},
				{BYTES("\1\4"), HANDSHAKE_REFUSED, NOTHING}},
		.text = "the server does not speak MySQL's protocol: data that does not belong to "
			"the authentication method"},
	{.name = "one change after the other",
		.exchanges =
			{{BYTES(MARIADB_GREETING), HANDSHAKE_MORE, BYTES(NATIVE_RESPONSE_PACKET)},
				{BYTES("\xfemysql_native_password\0" NONCE "\0"), HANDSHAKE_MORE,
					BYTES("\x14\0\0\3" NATIVE_PROOF)},
				{BYTES("\xfemysql_native_password\0" NONCE "\0"), HANDSHAKE_MORE,
					BYTES("\x14\0\0\5" NATIVE_PROOF)},
				{BYTES("\xfemysql_native_password\0" NONCE "\0"), HANDSHAKE_MORE,
					BYTES("\x14\0\0\7" NATIVE_PROOF)},
				{BYTES("\xfemysql_native_password\0" NONCE "\0"), HANDSHAKE_MORE,
					BYTES("\x14\0\0\x09" NATIVE_PROOF)},
				{BYTES("\xfemysql_native_password\0" NONCE "\0"), HANDSHAKE_REFUSED,
					NOTHING}},
		.text = "the server does not speak MySQL's protocol: it changes the authentication "
			"method again and again"},
	{.name = "TLS, where the server has it",
		.wants_tls = true,
		.exchanges = {{BYTES(MYSQL_GREETING), HANDSHAKE_TLS,
			BYTES("\x20\0\0\1\5\xaa\xbf\0\0\0\0\x40\x2d" ZEROS_23)}}},
	{.name = "TLS, where it need not be",
		.wants_tls = true,
		.exchanges =
			{{BYTES(MARIADB_GREETING), HANDSHAKE_MORE, BYTES(NATIVE_RESPONSE_PACKET)},
				{BYTES(OK), HANDSHAKE_DONE, NOTHING}}},
	{.name = "TLS, where it has to be",
		.wants_tls = true,
		.needs_tls = true,
		.exchanges = {{BYTES(MARIADB_GREETING), HANDSHAKE_REFUSED, NOTHING}},
		.text = "the server has no TLS, which ssl_mode wants"},
};

static struct handshake begin(const struct conversation *c)
{
	return (struct handshake){.user = "app",
		.password = "secret",
		.schema = c->schema,
		.wanted = c->wanted,
		.wants_tls = c->wants_tls,
		.needs_tls = c->needs_tls,
		.is_private = c->is_private};
}

/* The payload in memory of its own size, so that a read behind its end is seen. */
static enum handshake_outcome step(struct handshake *h, const void *payload, size_t len,
	uint8_t sequence, struct buf *ret_reply)
{
	uint8_t *copy = test_malloc(len + !len);

	if (len)
		memcpy(copy, payload, len);
	enum handshake_outcome outcome = handshake_step(h, copy, len, sequence, ret_reply);
	assert_false(ret_reply->failed);
	test_free(copy);
	return outcome;
}

/* The server's n-th packet: each of them but FAST_SUCCESS follows one of weir's. */
static uint8_t sequence_of(const struct conversation *c, size_t n)
{
	uint8_t sequence = 0;

	for (size_t i = 0; i < n; i++)
		sequence = (uint8_t)(sequence + 1 + (c->exchanges[i].ours.len > 0));
	return sequence;
}

static enum handshake_outcome play(const struct conversation *c, struct handshake *h, size_t n)
{
	enum handshake_outcome outcome = HANDSHAKE_MORE;

	for (size_t i = 0; i < n; i++) {
		const struct exchange *e = &c->exchanges[i];
		struct buf reply = {0};
		outcome = step(h, e->theirs.data, e->theirs.len, sequence_of(c, i), &reply);
		if (outcome != e->outcome)
			fail_msg("%s, packet %zu: outcome %d: %s", c->name, i, (int)outcome,
				h->error.text);
		if (reply.len != e->ours.len)
			fail_msg("%s, packet %zu: %zu bytes instead of %zu", c->name, i, reply.len,
				e->ours.len);
		if (reply.len)
			assert_memory_equal(reply.data, e->ours.data, reply.len);
		buf_clear(&reply);
	}
	return outcome;
}

static size_t n_exchanges(const struct conversation *c)
{
	size_t n = 0;

	while (n < EXCHANGES && c->exchanges[n].theirs.data)
		n++;
	return n;
}

static void each_server_gets_its_answer(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(conversations); i++) {
		const struct conversation *c = &conversations[i];
		struct handshake h = begin(c);
		enum handshake_outcome outcome = play(c, &h, n_exchanges(c));
		assert_int_equal(outcome == HANDSHAKE_REFUSED, c->text != NULL);
		if (c->text) {
			assert_string_equal(h.error.text, c->text);
			assert_int_equal(h.error.code, c->code);
		}
	}
}

static void greeting_is_remembered(void **state)
{
	struct handshake h = begin(&conversations[0]);

	play(&conversations[0], &h, 2);
	assert_string_equal(h.version, "5.5.5-10.11.19-MariaDB");
	assert_int_equal(h.connection_id, 42);
	assert_int_equal(h.collation, 45);
	assert_int_equal(h.status, MY_STATUS_AUTOCOMMIT);
}

/* Whatever is left out of a packet, weir reads nothing behind it and is not let in by it. */
static void packet_cut_anywhere_is_no_login(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(conversations); i++) {
		const struct conversation *c = &conversations[i];
		for (size_t n = 0; n < n_exchanges(c); n++) {
			const struct bytes *theirs = &c->exchanges[n].theirs;
			for (size_t len = 0; len < theirs->len; len++) {
				struct handshake h = begin(c);
				struct buf reply = {0};
				play(c, &h, n);
				enum handshake_outcome outcome =
					step(&h, theirs->data, len, sequence_of(c, n), &reply);
				assert_int_not_equal(outcome, HANDSHAKE_DONE);
				if (outcome == HANDSHAKE_REFUSED)
					assert_true(h.error.text[0] || h.error.code);
				buf_clear(&reply);
			}
		}
	}
}

static void login_goes_on_under_tls(void **state)
{
	static const char expected[] = "\x96\0\0\2" HEAD(
		"\xaa", "\xbf", "\0") "app\0\x20" SHA2_PROOF "caching_sha2_password\0" ATTRIBUTES;
	const struct conversation c = {.name = "TLS", .wants_tls = true};
	struct handshake h = begin(&c);
	struct buf reply = {0};

	assert_int_equal(
		step(&h, MYSQL_GREETING, sizeof(MYSQL_GREETING) - 1, 0, &reply), HANDSHAKE_TLS);
	buf_clear(&reply);
	assert_int_equal(handshake_encrypted(&h, &reply), HANDSHAKE_MORE);
	assert_int_equal(reply.len, sizeof(expected) - 1);
	assert_memory_equal(reply.data, expected, sizeof(expected) - 1);
	buf_clear(&reply);
	/* Nobody can listen now: the password goes as it is. */
	assert_int_equal(step(&h, "\1\4", 2, 3, &reply), HANDSHAKE_MORE);
	assert_int_equal(reply.len, 11);
	assert_memory_equal(reply.data, "\7\0\0\4secret", 11);
	buf_clear(&reply);
}

static void password_is_encrypted_where_somebody_can_listen(void **state)
{
	const struct conversation c = {.name = "RSA"};
	const char *key = caching_sha2_public_key();
	struct handshake h = begin(&c);
	struct buf reply = {0}, packet = {0};
	char *password;

	step(&h, MYSQL_GREETING, sizeof(MYSQL_GREETING) - 1, 0, &reply);
	buf_clear(&reply);
	assert_int_equal(step(&h, "\1\4", 2, 2, &reply), HANDSHAKE_MORE);
	assert_int_equal(reply.len, 5);
	assert_memory_equal(reply.data, "\1\0\0\3\2", 5);
	buf_clear(&reply);
	buf_u8(&packet, 1);
	buf_text(&packet, key);
	assert_int_equal(step(&h, packet.data, packet.len, 4, &reply), HANDSHAKE_MORE);
	assert_memory_equal(reply.data, "\0\1\0\5", 4);
	assert_true(caching_sha2_decrypt(
		reply.data + 4, reply.len - 4, (const uint8_t *)NONCE, &password));
	assert_string_equal(password, "secret");
	free(password);
	buf_clear(&reply);
	buf_clear(&packet);
	assert_int_equal(step(&h, OK, sizeof(OK) - 1, 6, &reply), HANDSHAKE_DONE);
}

static void key_that_is_none_gets_no_password(void **state)
{
	const struct conversation c = {.name = "RSA"};
	struct handshake h = begin(&c);
	struct buf reply = {0};

	step(&h, MYSQL_GREETING, sizeof(MYSQL_GREETING) - 1, 0, &reply);
	buf_clear(&reply);
	step(&h, "\1\4", 2, 2, &reply);
	buf_clear(&reply);
	assert_int_equal(step(&h, "\1-----BEGIN", 11, 4, &reply), HANDSHAKE_REFUSED);
	assert_string_equal(h.error.text, "the server's public key is no good");
	buf_wipe(&reply);
}

static void without_a_password_nothing_is_proved(void **state)
{
	static const char *const greetings[] = {MARIADB_GREETING, MYSQL_GREETING};
	static const size_t sizes[] = {sizeof(MARIADB_GREETING) - 1, sizeof(MYSQL_GREETING) - 1};

	for (size_t i = 0; i < ARRAY_LEN(greetings); i++) {
		const struct conversation c = {.name = "no password"};
		struct handshake h = begin(&c);
		struct buf reply = {0};
		h.password = "";
		assert_int_equal(step(&h, greetings[i], sizes[i], 0, &reply), HANDSHAKE_MORE);
		/* The header, 32 bytes, the name with its NUL: then the length of the proof. */
		assert_int_equal(reply.data[4 + 32 + 4], 0);
		buf_clear(&reply);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_server_gets_its_answer),
		cmocka_unit_test(greeting_is_remembered),
		cmocka_unit_test(packet_cut_anywhere_is_no_login),
		cmocka_unit_test(login_goes_on_under_tls),
		cmocka_unit_test(password_is_encrypted_where_somebody_can_listen),
		cmocka_unit_test(key_that_is_none_gets_no_password),
		cmocka_unit_test(without_a_password_nothing_is_proved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
