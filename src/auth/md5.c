#include "auth/md5.h"

#include <openssl/evp.h>
#include <string.h>

#include "auth/secret.h"
#include "util/check.h"
#include "util/text.h"

#define DIGEST     16
#define HEX_DIGEST (DIGEST * 2)

/* The digest of two pieces, in hexadecimal. */
static bool digest_hex(
	const void *a, size_t a_len, const void *b, size_t b_len, char ret_hex[HEX_DIGEST + 1])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) &&
		  EVP_DigestUpdate(ctx, a, a_len) && EVP_DigestUpdate(ctx, b, b_len) &&
		  EVP_DigestFinal_ex(ctx, digest, NULL);
	EVP_MD_CTX_free(ctx);
	for (int i = 0; ok && i < DIGEST; i++) {
		ret_hex[2 * i] = digits[digest[i] >> 4];
		ret_hex[2 * i + 1] = digits[digest[i] & 15];
	}
	ret_hex[HEX_DIGEST] = 0;
	return ok;
}

bool md5_response_valid(const char *secret, const char *user, const uint8_t salt[MD5_SALT_SIZE],
	const char *response)
{
	char inner[HEX_DIGEST + 1], outer[HEX_DIGEST + 1];

	if (strlen(response) != 3 + HEX_DIGEST || strncmp(response, "md5", 3) != 0)
		return false;
	if (secret_kind(secret) == SECRET_MD5)
		text_copy(inner, sizeof(inner), secret + 3);
	else if (!digest_hex(secret, strlen(secret), user, strlen(user), inner))
		return false;
	bool valid = digest_hex(inner, HEX_DIGEST, salt, MD5_SALT_SIZE, outer) &&
		     bytes_equal_secret(outer, response + 3, HEX_DIGEST);
	explicit_bzero(inner, sizeof(inner));
	return valid;
}
