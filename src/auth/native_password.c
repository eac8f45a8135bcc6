/* mysql_native_password. Used by proto/mysql. Does no I/O. */
#include "auth/native_password.h"

#include <openssl/evp.h>
#include <string.h>

#include "auth/secret.h"
#include "util/check.h"
#include "util/text.h"

#define SHA1_SIZE 20

/* The digest of two pieces. */
static void sha1(
	const void *a, size_t a_len, const void *b, size_t b_len, uint8_t ret_digest[SHA1_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned n = 0;

	CHECK(ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) && EVP_DigestUpdate(ctx, a, a_len) &&
		EVP_DigestUpdate(ctx, b, b_len) && EVP_DigestFinal_ex(ctx, ret_digest, &n) &&
		n == SHA1_SIZE);
	EVP_MD_CTX_free(ctx);
}

void native_response(const char *password, const uint8_t nonce[MYSQL_NONCE],
	uint8_t ret_response[NATIVE_RESPONSE])
{
	uint8_t once[SHA1_SIZE], twice[SHA1_SIZE], mask[SHA1_SIZE];

	sha1(password, strlen(password), "", 0, once);
	sha1(once, SHA1_SIZE, "", 0, twice);
	sha1(nonce, MYSQL_NONCE, twice, SHA1_SIZE, mask);
	for (int i = 0; i < SHA1_SIZE; i++)
		ret_response[i] = once[i] ^ mask[i];
	explicit_bzero(once, sizeof(once));
	explicit_bzero(twice, sizeof(twice));
}

static uint8_t hex_value(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
}

/* SHA1(SHA1(password)): what servers keep. False: `secret` does not lead there. */
static bool stored_digest(const char *secret, uint8_t ret_digest[SHA1_SIZE])
{
	uint8_t once[SHA1_SIZE];
	enum secret_kind kind = secret_kind(secret);

	if (kind == SECRET_NATIVE) {
		for (int i = 0; i < SHA1_SIZE; i++)
			ret_digest[i] = (uint8_t)(hex_value(secret[1 + 2 * i]) << 4 |
						  hex_value(secret[2 + 2 * i]));
		return true;
	}
	/* Another method's hash must not pass for a password. */
	if (kind != SECRET_PLAIN)
		return false;
	sha1(secret, strlen(secret), "", 0, once);
	sha1(once, SHA1_SIZE, "", 0, ret_digest);
	explicit_bzero(once, sizeof(once));
	return true;
}

bool native_response_valid(
	const char *secret, const uint8_t nonce[MYSQL_NONCE], const uint8_t *response, size_t len)
{
	uint8_t stored[SHA1_SIZE], mask[SHA1_SIZE], once[SHA1_SIZE], twice[SHA1_SIZE];

	if (!*secret || len == 0)
		return !*secret && len == 0;
	if (len != NATIVE_RESPONSE || !stored_digest(secret, stored))
		return false;
	sha1(nonce, MYSQL_NONCE, stored, SHA1_SIZE, mask);
	for (int i = 0; i < SHA1_SIZE; i++)
		once[i] = response[i] ^ mask[i];
	sha1(once, SHA1_SIZE, "", 0, twice);
	bool valid = bytes_equal_secret(twice, stored, SHA1_SIZE);
	explicit_bzero(stored, sizeof(stored));
	explicit_bzero(once, sizeof(once));
	return valid;
}
