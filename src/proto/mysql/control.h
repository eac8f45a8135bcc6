/*
 * What libmariadb does for weir, on threads that may block: asking a server what it is, the
 * ed25519 proof, and the names of collations. The only file that sees libmariadb.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/proto.h"
#include "util/check.h"

#define ED25519_NONCE     32
#define ED25519_SIGNATURE 64

struct mysql_handle;

/* Once, before there are threads. */
void mysql_control_init(void);

/* struct protocol's probe(). The greeting: version NUL, collation (1 byte), status (2 bytes). */
MUST_USE int mysql_probe(
	const struct dial_target *target, struct buf *ret_greeting, struct refusal *ret_refusal);

/* The answer to MariaDB's client_ed25519. False: libmariadb's plugin for it cannot be had. */
bool mysql_ed25519(const char *password, const uint8_t nonce[ED25519_NONCE],
	uint8_t ret_signature[ED25519_SIGNATURE]);

/* The names of the collation with that number, and of its character set; NULL: unknown. */
const char *mysql_collation(unsigned id, const char **ret_charset);
