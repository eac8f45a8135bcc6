/* PostgreSQL's md5 logins ("MD5 Authentication" in the chapter on the message flow). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MD5_SALT_SIZE 4

/* True if `response` ("md5" and 32 digits) proves the knowledge of `secret` (plain, or "md5" and
 * digits) for that user and salt. False also where the machine's rules forbid MD5. */
bool md5_response_valid(const char *secret, const char *user, const uint8_t salt[MD5_SALT_SIZE],
	const char *response);
