/*
 * mysql_native_password ("Native Authentication" in MySQL's and MariaDB's protocol manuals): a
 * response is SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MYSQL_NONCE     20
#define NATIVE_RESPONSE 20

/* The response of a client that knows the password; one without a password sends nothing instead.
 */
void native_response(const char *password, const uint8_t nonce[MYSQL_NONCE],
	uint8_t ret_response[NATIVE_RESPONSE]);

/* True if `response` proves the knowledge of `secret`: plain text, or "*" and 40 hexadecimal
 * digits, as in mysql.user. */
bool native_response_valid(
	const char *secret, const uint8_t nonce[MYSQL_NONCE], const uint8_t *response, size_t len);
