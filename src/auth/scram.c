/* SCRAM-SHA-256. Used by proto/pgsql/login.c. Does no I/O. */
#include "auth/scram.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/random.h"
#include "util/text.h"

#define BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1)

static void base64_encode(const uint8_t *data, size_t len, char *ret_text)
{
	EVP_EncodeBlock((uint8_t *)ret_text, data, (int)len);
}

/* Decodes exactly; returns the length, or -1 if it is not base64 or longer than `size`, which is at
 * most SCRAM_SALT_MAX. */
static long base64_decode(const char *text, size_t len, uint8_t *ret_data, size_t size)
{
	uint8_t decoded[BASE64_SIZE(SCRAM_SALT_MAX)];
	char again[BASE64_SIZE(SCRAM_SALT_MAX)];
	size_t padding = 0;

	if (len == 0 || len % 4 || len >= sizeof(again))
		return -1;
	while (padding < 2 && text[len - 1 - padding] == '=')
		padding++;
	int n = EVP_DecodeBlock(decoded, (const uint8_t *)text, (int)len);
	if (n < (int)padding || (size_t)n - padding > size)
		return -1;
	/* OpenSSL skips blanks, and ignores bits that stand for nothing: one value has one form. */
	base64_encode(decoded, (size_t)n - padding, again);
	bool exact = strlen(again) == len && memcmp(again, text, len) == 0;
	if (exact)
		memcpy(ret_data, decoded, (size_t)n - padding);
	explicit_bzero(decoded, sizeof(decoded));
	explicit_bzero(again, sizeof(again));
	return exact ? n - (long)padding : -1;
}

/* --- digests --- */

/* Looked up once, then only read: to look it up by name at each use takes longer than the use. */
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256_fetched;

static void fetch_sha256(void)
{
	sha256_fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
	CHECK(sha256_fetched);
}

static const EVP_MD *sha256(void)
{
	pthread_once(&sha256_once, fetch_sha256);
	return sha256_fetched;
}

static void sha256_digest(const uint8_t data[SCRAM_KEY], uint8_t ret_digest[SCRAM_KEY])
{
	CHECK(EVP_Digest(data, SCRAM_KEY, ret_digest, NULL, sha256(), NULL));
}

/* The digest of the key, masked and filled up to a block, and of the data. */
static void masked_digest(EVP_MD_CTX *ctx, const uint8_t block[SHA256_CBLOCK], uint8_t mask,
	const void *data, size_t len, uint8_t ret_digest[SCRAM_KEY])
{
	uint8_t masked[SHA256_CBLOCK];

	for (size_t i = 0; i < sizeof(masked); i++)
		masked[i] = block[i] ^ mask;
	CHECK(EVP_DigestInit_ex(ctx, sha256(), NULL) &&
		EVP_DigestUpdate(ctx, masked, sizeof(masked)) && EVP_DigestUpdate(ctx, data, len) &&
		EVP_DigestFinal_ex(ctx, ret_digest, NULL));
	explicit_bzero(masked, sizeof(masked));
}

/* RFC 2104. OpenSSL's own takes four times as long, three of them for looking up its parts by name.
 * A key is not longer than a block. */
static void hmac(const uint8_t *key, size_t key_len, const void *data, size_t len, uint8_t *ret_mac)
{
	uint8_t block[SHA256_CBLOCK] = {0}, inner[SCRAM_KEY];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	CHECK(ctx && key_len <= sizeof(block));
	memcpy(block, key, key_len);
	masked_digest(ctx, block, 0x36, data, len, inner);
	masked_digest(ctx, block, 0x5c, inner, sizeof(inner), ret_mac);
	EVP_MD_CTX_free(ctx);
	explicit_bzero(block, sizeof(block));
}

/* --- verifiers --- */

/* Whoever asks twice, of the same or of another worker, must not learn from the salt whether the
 * user exists. */
static struct scram_verifier salted_for(const char *user)
{
	struct scram_verifier v = {.iterations = SCRAM_ITERATIONS, .salt_len = 16};
	uint64_t seed = random_process_seed();
	uint8_t digest[SCRAM_KEY];

	hmac((const uint8_t *)&seed, sizeof(seed), user, strlen(user), digest);
	memcpy(v.salt, digest, v.salt_len);
	return v;
}

int scram_verifier_derive(
	const char *user, const char *password, struct scram_verifier *ret_verifier)
{
	uint8_t salted[SCRAM_KEY], client_key[SCRAM_KEY];
	struct scram_verifier v = salted_for(user);

	if (!PKCS5_PBKDF2_HMAC(password, (int)strlen(password), v.salt, (int)v.salt_len,
		    SCRAM_ITERATIONS, sha256(), SCRAM_KEY, salted))
		return -ENOMEM;
	hmac(salted, SCRAM_KEY, "Client Key", strlen("Client Key"), client_key);
	sha256_digest(client_key, v.stored_key);
	hmac(salted, SCRAM_KEY, "Server Key", strlen("Server Key"), v.server_key);
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client_key, sizeof(client_key));
	*ret_verifier = v;
	return 0;
}

/* The text up to `stop` (or the end, for 0); moves *at behind it. */
static bool field(const char **at, char stop, const char **ret_text, size_t *ret_len)
{
	const char *end = stop ? strchr(*at, stop) : *at + strlen(*at);

	if (!end)
		return false;
	*ret_text = *at;
	*ret_len = (size_t)(end - *at);
	*at = stop ? end + 1 : end;
	return true;
}

int scram_verifier_parse(const char *secret, struct scram_verifier *ret_verifier)
{
	static const char prefix[] = "SCRAM-SHA-256$";
	struct scram_verifier v = {0};
	const char *at = secret + strlen(prefix), *text;
	size_t len;

	if (!text_starts_with(secret, prefix) || !field(&at, ':', &text, &len))
		return 1;
	/* strtoul() alone would take blanks and signs too. */
	if (len == 0 || len > 9 || strspn(text, "0123456789") != len)
		return 1;
	v.iterations = (uint32_t)strtoul(text, NULL, 10);
	if (v.iterations == 0)
		return 1;
	if (!field(&at, '$', &text, &len))
		return 1;
	long n = base64_decode(text, len, v.salt, sizeof(v.salt));
	if (n <= 0)
		return 1;
	v.salt_len = (size_t)n;
	if (!field(&at, ':', &text, &len) ||
		base64_decode(text, len, v.stored_key, SCRAM_KEY) != SCRAM_KEY)
		return 1;
	if (!field(&at, 0, &text, &len) ||
		base64_decode(text, len, v.server_key, SCRAM_KEY) != SCRAM_KEY)
		return 1;
	*ret_verifier = v;
	return 0;
}

void scram_verifier_mock(const char *user, struct scram_verifier *ret_verifier)
{
	*ret_verifier = salted_for(user);
	random_bytes(ret_verifier->stored_key, SCRAM_KEY);
	random_bytes(ret_verifier->server_key, SCRAM_KEY);
}

void scram_server_init(
	struct scram_server *s, const struct scram_verifier *verifier, const char *server_nonce)
{
	uint8_t raw[SCRAM_NONCE / 4 * 3];

	*s = (struct scram_server){.verifier = *verifier};
	random_bytes(raw, sizeof(raw));
	/* The client's part comes in front of it with its first message. */
	if (server_nonce)
		text_copy(s->nonce, SCRAM_SERVER_NONCE_MAX + 1, server_nonce);
	else
		base64_encode(raw, sizeof(raw), s->nonce);
}

void scram_server_clear(struct scram_server *s)
{
	buf_wipe(&s->client_first_bare);
	buf_wipe(&s->server_first);
	explicit_bzero(s, sizeof(*s));
}

static enum scram_outcome malformed(const char *problem, const char **ret_problem)
{
	*ret_problem = problem;
	return SCRAM_MALFORMED;
}

/* An attribute "x=value" up to the next comma or the end; NULL if `at` does not begin with it. */
static const char *attribute(const char **at, char name, size_t *ret_len)
{
	const char *text = *at;

	if (text[0] != name || text[1] != '=')
		return NULL;
	*ret_len = strcspn(text + 2, ",");
	*at = text + 2 + *ret_len;
	if (**at == ',')
		(*at)++;
	return text + 2;
}

static bool is_printable_nonce(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] < 0x21 || text[i] > 0x7e)
			return false;
	}
	return len > 0;
}

/* RFC 5802, section 7: client-first-message = gs2-header client-first-message-bare. */
static enum scram_outcome first_message(
	struct scram_server *s, const char *at, struct buf *ret_reply, const char **ret_problem)
{
	char salt[BASE64_SIZE(SCRAM_SALT_MAX)], server_part[SCRAM_SERVER_NONCE_MAX + 1];
	size_t len;

	if (*at == 'p')
		return malformed(
			"The client selected SCRAM-SHA-256 without channel binding, but the "
			"SCRAM message includes channel binding data.",
			ret_problem);
	if (*at != 'n' && *at != 'y')
		return malformed("Unexpected channel-binding flag.", ret_problem);
	s->gs2_flag = *at++;
	if (*at++ != ',')
		return malformed("Comma expected after the channel-binding flag.", ret_problem);
	if (*at == 'a')
		return malformed("The client uses authorization identity, but it is not supported.",
			ret_problem);
	if (*at++ != ',')
		return malformed("Unexpected attribute.", ret_problem);
	buf_text(&s->client_first_bare, at);
	if (*at == 'm')
		return malformed(
			"The client requires an unsupported SCRAM extension.", ret_problem);
	if (!attribute(&at, 'n', &len))
		return malformed("The user name is missing.", ret_problem);
	const char *nonce = attribute(&at, 'r', &len);
	if (!nonce || !is_printable_nonce(nonce, len) ||
		len >= SCRAM_NONCE_MAX - SCRAM_SERVER_NONCE_MAX)
		return malformed("The nonce is missing, too long, or not printable.", ret_problem);
	text_copy(server_part, sizeof(server_part), s->nonce);
	memcpy(s->nonce, nonce, len);
	text_copy(s->nonce + len, SCRAM_SERVER_NONCE_MAX + 1, server_part);
	base64_encode(s->verifier.salt, s->verifier.salt_len, salt);
	buf_printf(&s->server_first, "r=%s,s=%s,i=%u", s->nonce, salt, s->verifier.iterations);
	buf_put(ret_reply, s->server_first.data, s->server_first.len);
	return SCRAM_MORE;
}

/* The proof is ClientKey XOR HMAC(StoredKey, AuthMessage): right if it leads back to StoredKey. */
static bool proof_is_right(
	struct scram_server *s, const struct buf *auth_message, const uint8_t proof[SCRAM_KEY])
{
	uint8_t client_key[SCRAM_KEY], stored_key[SCRAM_KEY];

	hmac(s->verifier.stored_key, SCRAM_KEY, auth_message->data, auth_message->len, client_key);
	for (int i = 0; i < SCRAM_KEY; i++)
		client_key[i] ^= proof[i];
	sha256_digest(client_key, stored_key);
	explicit_bzero(client_key, sizeof(client_key));
	return bytes_equal_secret(stored_key, s->verifier.stored_key, SCRAM_KEY);
}

static enum scram_outcome judge(struct scram_server *s, const char *message,
	size_t without_proof_len, const uint8_t proof[SCRAM_KEY], struct buf *ret_reply)
{
	struct buf auth_message = {0};
	uint8_t signature[SCRAM_KEY];
	char text[BASE64_SIZE(SCRAM_KEY)];

	buf_put(&auth_message, s->client_first_bare.data, s->client_first_bare.len);
	buf_u8(&auth_message, ',');
	buf_put(&auth_message, s->server_first.data, s->server_first.len);
	buf_u8(&auth_message, ',');
	buf_put(&auth_message, message, without_proof_len);
	bool right = !auth_message.failed && proof_is_right(s, &auth_message, proof);
	if (right) {
		hmac(s->verifier.server_key, SCRAM_KEY, auth_message.data, auth_message.len,
			signature);
		base64_encode(signature, SCRAM_KEY, text);
		buf_printf(ret_reply, "v=%s", text);
	}
	buf_clear(&auth_message);
	return right ? SCRAM_DONE : SCRAM_REFUSED;
}

/* client-final-message = channel-binding "," nonce ["," extensions] "," proof. */
static enum scram_outcome final_message(struct scram_server *s, const char *message,
	struct buf *ret_reply, const char **ret_problem)
{
	const char *at = message;
	uint8_t proof[SCRAM_KEY];
	size_t len;

	/* The base64 of "n,," and "y,,". */
	const char *binding = attribute(&at, 'c', &len);
	if (!binding || len != 4 ||
		strncmp(binding, s->gs2_flag == 'n' ? "biws" : "eSws", len) != 0)
		return malformed(
			"Unexpected SCRAM channel-binding attribute in client-final-message.",
			ret_problem);
	const char *nonce = attribute(&at, 'r', &len);
	if (!nonce || len != strlen(s->nonce) || memcmp(nonce, s->nonce, len) != 0)
		return malformed("Nonce does not match.", ret_problem);
	while (*at && *at != 'p') {
		if (*at == 'm' || at[1] != '=')
			return malformed(
				"Unexpected attribute in client-final-message.", ret_problem);
		attribute(&at, *at, &len);
	}
	const char *before_proof = at - 1;
	const char *text = attribute(&at, 'p', &len);
	if (!text || *at || before_proof[0] != ',' ||
		base64_decode(text, len, proof, SCRAM_KEY) != SCRAM_KEY)
		return malformed("Malformed proof in client-final-message.", ret_problem);
	if (text + len != message + strlen(message))
		return malformed("Garbage found at the end of client-final-message.", ret_problem);
	return judge(s, message, (size_t)(before_proof - message), proof, ret_reply);
}

enum scram_outcome scram_server_step(struct scram_server *s, const uint8_t *message, size_t len,
	struct buf *ret_reply, const char **ret_problem)
{
	char text[SCRAM_MESSAGE_MAX + 1];
	enum scram_outcome outcome;

	*ret_problem = NULL;
	if (len == 0)
		return malformed("The message is empty.", ret_problem);
	if (len > SCRAM_MESSAGE_MAX || memchr(message, 0, len))
		return malformed("Message length does not match input length.", ret_problem);
	memcpy(text, message, len);
	text[len] = 0;
	s->n_messages++;
	if (s->n_messages == 1)
		outcome = first_message(s, text, ret_reply, ret_problem);
	else if (s->n_messages == 2)
		outcome = final_message(s, text, ret_reply, ret_problem);
	else
		outcome = malformed("The exchange is over.", ret_problem);
	explicit_bzero(text, sizeof(text));
	return outcome;
}
