/* caching_sha2_password. Used by proto/mysql. Does no I/O. */
#include "auth/caching_sha2.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "util/check.h"
#include "util/text.h"

#define KEY_BITS     2048
#define PASSWORD_MAX 200 /* what a key of this size can take */
#define SALT_SIZE    20
#define HASH_CHARS   43
#define STORED_SIZE  (7 + SALT_SIZE + HASH_CHARS) /* "$A$005$", salt, hash */

static void sha256(const void *a, size_t a_len, const void *b, size_t b_len,
	uint8_t ret_digest[SHA256_DIGEST_LENGTH])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	CHECK(ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) &&
		EVP_DigestUpdate(ctx, a, a_len) && EVP_DigestUpdate(ctx, b, b_len) &&
		EVP_DigestFinal_ex(ctx, ret_digest, NULL));
	EVP_MD_CTX_free(ctx);
}

void caching_sha2_digest(const char *password, uint8_t ret_digest[CACHING_SHA2_DIGEST])
{
	uint8_t once[SHA256_DIGEST_LENGTH];

	sha256(password, strlen(password), "", 0, once);
	sha256(once, sizeof(once), "", 0, ret_digest);
	explicit_bzero(once, sizeof(once));
}

void caching_sha2_response(const char *password, const uint8_t nonce[MYSQL_NONCE],
	uint8_t ret_response[CACHING_SHA2_RESPONSE])
{
	uint8_t once[SHA256_DIGEST_LENGTH], digest[CACHING_SHA2_DIGEST];
	uint8_t mask[SHA256_DIGEST_LENGTH];

	sha256(password, strlen(password), "", 0, once);
	caching_sha2_digest(password, digest);
	sha256(digest, sizeof(digest), nonce, MYSQL_NONCE, mask);
	for (int i = 0; i < CACHING_SHA2_RESPONSE; i++)
		ret_response[i] = once[i] ^ mask[i];
	explicit_bzero(once, sizeof(once));
	explicit_bzero(digest, sizeof(digest));
}

bool caching_sha2_response_valid(const uint8_t digest[CACHING_SHA2_DIGEST],
	const uint8_t nonce[MYSQL_NONCE], const uint8_t *response, size_t len)
{
	uint8_t mask[SHA256_DIGEST_LENGTH], once[SHA256_DIGEST_LENGTH], twice[CACHING_SHA2_DIGEST];

	if (len != CACHING_SHA2_RESPONSE)
		return false;
	sha256(digest, CACHING_SHA2_DIGEST, nonce, MYSQL_NONCE, mask);
	for (int i = 0; i < CACHING_SHA2_RESPONSE; i++)
		once[i] = response[i] ^ mask[i];
	sha256(once, sizeof(once), "", 0, twice);
	explicit_bzero(once, sizeof(once));
	return bytes_equal_secret(twice, digest, CACHING_SHA2_DIGEST);
}

/* --- the stored form: SHA-crypt ("Unix crypt using SHA-256 and SHA-512") with a salt of 20 --- */

struct crypt {
	EVP_MD_CTX *ctx;
	const uint8_t *password, *salt;
	size_t password_len;
	unsigned n_rounds;
};

static void begin(struct crypt *c)
{
	CHECK(EVP_DigestInit_ex(c->ctx, EVP_sha256(), NULL));
}

static void add(struct crypt *c, const uint8_t *data, size_t len)
{
	CHECK(EVP_DigestUpdate(c->ctx, data, len));
}

static void end(struct crypt *c, uint8_t ret_digest[SHA256_DIGEST_LENGTH])
{
	CHECK(EVP_DigestFinal_ex(c->ctx, ret_digest, NULL));
}

/* `len` bytes of the digest, repeated. */
static void add_repeated(struct crypt *c, const uint8_t digest[SHA256_DIGEST_LENGTH], size_t len)
{
	for (; len > SHA256_DIGEST_LENGTH; len -= SHA256_DIGEST_LENGTH)
		add(c, digest, SHA256_DIGEST_LENGTH);
	add(c, digest, len);
}

static void first_digest(struct crypt *c, uint8_t ret_digest[SHA256_DIGEST_LENGTH])
{
	uint8_t other[SHA256_DIGEST_LENGTH];

	begin(c);
	add(c, c->password, c->password_len);
	add(c, c->salt, SALT_SIZE);
	add(c, c->password, c->password_len);
	end(c, other);
	begin(c);
	add(c, c->password, c->password_len);
	add(c, c->salt, SALT_SIZE);
	add_repeated(c, other, c->password_len);
	for (size_t bits = c->password_len; bits; bits >>= 1) {
		if (bits & 1)
			add(c, other, sizeof(other));
		else
			add(c, c->password, c->password_len);
	}
	end(c, ret_digest);
	explicit_bzero(other, sizeof(other));
}

static void all_rounds(struct crypt *c, uint8_t digest[SHA256_DIGEST_LENGTH])
{
	uint8_t p[SHA256_DIGEST_LENGTH], s[SHA256_DIGEST_LENGTH];

	begin(c);
	for (size_t i = 0; i < c->password_len; i++)
		add(c, c->password, c->password_len);
	end(c, p);
	begin(c);
	for (unsigned i = 0; i < 16u + digest[0]; i++)
		add(c, c->salt, SALT_SIZE);
	end(c, s);
	for (unsigned round = 0; round < c->n_rounds; round++) {
		begin(c);
		if (round & 1)
			add_repeated(c, p, c->password_len);
		else
			add(c, digest, SHA256_DIGEST_LENGTH);
		if (round % 3)
			add_repeated(c, s, SALT_SIZE);
		if (round % 7)
			add_repeated(c, p, c->password_len);
		if (round & 1)
			add(c, digest, SHA256_DIGEST_LENGTH);
		else
			add_repeated(c, p, c->password_len);
		end(c, digest);
	}
	explicit_bzero(p, sizeof(p));
}

/* Crypt's own base 64, over the digest's bytes in crypt's own order. */
static void encode(const uint8_t digest[SHA256_DIGEST_LENGTH], char ret_text[HASH_CHARS + 1])
{
	static const char chars[] =
		"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t n = 0;

	for (unsigned i = 0; i < 10; i++) {
		unsigned a = 0 + i, b = 10 + i, c = 20 + i;
		/* The first of each three turns round. */
		unsigned order[3][3] = {{a, b, c}, {c, a, b}, {b, c, a}};
		const unsigned *o = order[i % 3];
		uint32_t value =
			(uint32_t)digest[o[0]] << 16 | (uint32_t)digest[o[1]] << 8 | digest[o[2]];
		for (int j = 0; j < 4; j++, value >>= 6)
			ret_text[n++] = chars[value & 63];
	}
	uint32_t value = (uint32_t)digest[31] << 8 | digest[30];
	for (int j = 0; j < 3; j++, value >>= 6)
		ret_text[n++] = chars[value & 63];
	ret_text[n] = 0;
}

/* The stored form's bytes; false: `secret` is of neither form. */
static bool stored_bytes(const char *secret, uint8_t ret_bytes[STORED_SIZE])
{
	size_t len = strlen(secret);

	if (len == STORED_SIZE) {
		memcpy(ret_bytes, secret, STORED_SIZE);
		return true;
	}
	if (len != 2 + 2 * STORED_SIZE || strncmp(secret, "0x", 2) != 0 ||
		secret[2 + strspn(secret + 2, "0123456789abcdefABCDEF")])
		return false;
	for (size_t i = 0; i < STORED_SIZE; i++) {
		char digits[] = {secret[2 + 2 * i], secret[3 + 2 * i], 0};
		ret_bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return true;
}

/* The number of rounds stands in thousands, as three hexadecimal digits, between the dollars:
 * MySQL's caching_sha2_password_digest_rounds. 0: it does not. */
static unsigned stored_rounds(const uint8_t stored[STORED_SIZE])
{
	char digits[] = {(char)stored[3], (char)stored[4], (char)stored[5], 0};

	if (memcmp(stored, "$A$", 3) != 0 || stored[6] != '$' ||
		strspn(digits, "0123456789ABCDEF") != 3)
		return 0;
	return 1000 * (unsigned)strtoul(digits, NULL, 16);
}

bool caching_sha2_is_stored(const char *secret)
{
	uint8_t stored[STORED_SIZE];

	return stored_bytes(secret, stored) && stored_rounds(stored) > 0;
}

bool caching_sha2_stored_valid(const char *secret, const char *password)
{
	uint8_t stored[STORED_SIZE], digest[SHA256_DIGEST_LENGTH];
	char hash[HASH_CHARS + 1];

	if (!caching_sha2_is_stored(secret) || !stored_bytes(secret, stored) ||
		strlen(password) > PASSWORD_MAX)
		return false;
	struct crypt c = {.ctx = EVP_MD_CTX_new(),
		.password = (const uint8_t *)password,
		.salt = stored + 7,
		.password_len = strlen(password),
		.n_rounds = stored_rounds(stored)};
	CHECK(c.ctx);
	first_digest(&c, digest);
	all_rounds(&c, digest);
	EVP_MD_CTX_free(c.ctx);
	encode(digest, hash);
	explicit_bzero(digest, sizeof(digest));
	return bytes_equal_secret(hash, stored + 7 + SALT_SIZE, HASH_CHARS);
}

/* --- the key --- */

/* Made once, then only read. */
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static EVP_PKEY *key;
static char *key_pem;

static void make_key(void)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;

	key = EVP_RSA_gen(KEY_BITS);
	if (key && bio && PEM_write_bio_PUBKEY(bio, key)) {
		long len = BIO_get_mem_data(bio, &text);
		key_pem = len > 0 ? strndup(text, (size_t)len) : NULL;
	}
	BIO_free(bio);
}

void caching_sha2_prepare(void)
{
	pthread_once(&key_once, make_key);
}

const char *caching_sha2_public_key(void)
{
	caching_sha2_prepare();
	return key_pem;
}

static void mask(uint8_t *text, size_t len, const uint8_t nonce[MYSQL_NONCE])
{
	for (size_t i = 0; i < len; i++)
		text[i] ^= nonce[i % MYSQL_NONCE];
}

bool caching_sha2_decrypt(
	const uint8_t *cipher, size_t len, const uint8_t nonce[MYSQL_NONCE], char **ret_password)
{
	uint8_t plain[KEY_BITS / 8];
	size_t plain_len = sizeof(plain);

	caching_sha2_prepare();
	EVP_PKEY_CTX *ctx = key && len == sizeof(plain) ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	bool ok = ctx && EVP_PKEY_decrypt_init(ctx) > 0 &&
		  EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
		  EVP_PKEY_decrypt(ctx, plain, &plain_len, cipher, len) > 0 && plain_len > 0;
	EVP_PKEY_CTX_free(ctx);
	if (ok)
		mask(plain, plain_len, nonce);
	/* The text's own NUL is encrypted with it, and is the only one. */
	ok = ok && memchr(plain, 0, plain_len) == plain + plain_len - 1;
	*ret_password = ok ? strdup((char *)plain) : NULL;
	explicit_bzero(plain, sizeof(plain));
	return *ret_password;
}

bool caching_sha2_encrypt(const char *public_key_pem, size_t pem_len, const char *password,
	const uint8_t nonce[MYSQL_NONCE], struct buf *ret_cipher)
{
	uint8_t plain[PASSWORD_MAX + 1];
	size_t plain_len = strlen(password) + 1, len = 0;

	if (plain_len > sizeof(plain) || pem_len > 65536)
		return false;
	BIO *bio = BIO_new_mem_buf(public_key_pem, (int)pem_len);
	EVP_PKEY *theirs = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY_CTX *ctx = theirs ? EVP_PKEY_CTX_new(theirs, NULL) : NULL;
	memcpy(plain, password, plain_len);
	mask(plain, plain_len, nonce);
	bool ok = ctx && EVP_PKEY_encrypt_init(ctx) > 0 &&
		  EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
		  EVP_PKEY_encrypt(ctx, NULL, &len, plain, plain_len) > 0;
	uint8_t *at = ok ? buf_reserve(ret_cipher, len) : NULL;
	ok = at && EVP_PKEY_encrypt(ctx, at, &len, plain, plain_len) > 0;
	if (ok)
		ret_cipher->len += len;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(theirs);
	BIO_free(bio);
	explicit_bzero(plain, sizeof(plain));
	return ok;
}
