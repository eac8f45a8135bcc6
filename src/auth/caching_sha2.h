/*
 * caching_sha2_password ("Caching SHA-2 Pluggable Authentication" in MySQL's manual): the fast path
 * by a digest that is known already, and full authentication, in which the password itself is sent,
 * without TLS encrypted by an RSA key.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/native_password.h"
#include "util/bytes.h"

#define CACHING_SHA2_DIGEST   32
#define CACHING_SHA2_RESPONSE 32

/* The response of a client that knows the password. */
void caching_sha2_response(const char *password, const uint8_t nonce[MYSQL_NONCE],
	uint8_t ret_response[CACHING_SHA2_RESPONSE]);

/* SHA256(SHA256(password)): what the fast path is checked against. */
void caching_sha2_digest(const char *password, uint8_t ret_digest[CACHING_SHA2_DIGEST]);
bool caching_sha2_response_valid(const uint8_t digest[CACHING_SHA2_DIGEST],
	const uint8_t nonce[MYSQL_NONCE], const uint8_t *response, size_t len);

/* True if `secret` has the form in which servers store it: "$A$", the number of rounds in thousands
 * as three hexadecimal digits ("005" up to MySQL 8, "00A" in MySQL 9), "$", 20 bytes of salt and 43
 * characters, as in mysql.user; or all that in hexadecimal behind "0x", as SELECT
 * HEX(authentication_string) gives it, since a configuration file cannot hold every salt. */
bool caching_sha2_is_stored(const char *secret);

/* True if `secret` is of that form, and made of `password`. Takes a millisecond or more. */
bool caching_sha2_stored_valid(const char *secret, const char *password);

/* weir's key pair of 2048 bits, one per process. Making it takes a tenth of a second: call
 * caching_sha2_prepare() where that does no harm, or the first of the others does it. Any thread.
 */
void caching_sha2_prepare(void);

/* PEM; NULL: there is no key. */
const char *caching_sha2_public_key(void);

/* Full authentication at the server's end: *ret_password is to be wiped and freed. False: it is not
 * of this key or not well formed. */
bool caching_sha2_decrypt(
	const uint8_t *cipher, size_t len, const uint8_t nonce[MYSQL_NONCE], char **ret_password);

/* ... and at the client's: appends the encrypted password. False: the key is no good. */
bool caching_sha2_encrypt(const char *public_key_pem, size_t pem_len, const char *password,
	const uint8_t nonce[MYSQL_NONCE], struct buf *ret_cipher);
