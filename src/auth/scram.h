/*
 * The server's half of SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it: a machine of
 * bytes in and bytes out. The name in the client's message is ignored, as PostgreSQL ignores it:
 * the startup packet has it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/bytes.h"
#include "util/check.h"

#define SCRAM_KEY              32
#define SCRAM_SALT_MAX         64
#define SCRAM_ITERATIONS       4096
#define SCRAM_NONCE            24 /* characters that the server adds to the client's nonce */
#define SCRAM_SERVER_NONCE_MAX 48 /* of those that tests give */
#define SCRAM_NONCE_MAX        256
#define SCRAM_MESSAGE_MAX      2048

/* What a server keeps of a password. */
struct scram_verifier {
	uint32_t iterations;
	size_t salt_len;
	uint8_t salt[SCRAM_SALT_MAX];
	uint8_t stored_key[SCRAM_KEY], server_key[SCRAM_KEY];
};

/* Derives a user's keys from a password: 4096 rounds, some milliseconds. The salt is the user's
 * own, and the same in all of this process, as it is for a user that does not exist. Passwords are
 * used as they are; ASCII ones are the same after SASLprep, and so are others in composed form.
 * Returns 0 or -ENOMEM. */
MUST_USE int scram_verifier_derive(
	const char *user, const char *password, struct scram_verifier *ret_verifier);

/* Reads "SCRAM-SHA-256$iterations:salt$stored key:server key". Returns 0, or 1 if it is not of that
 * form. */
MUST_USE int scram_verifier_parse(const char *secret, struct scram_verifier *ret_verifier);

/* For a user that does not exist: nobody knows the password, and the salt is the same each time. */
void scram_verifier_mock(const char *user, struct scram_verifier *ret_verifier);

enum scram_outcome {
	SCRAM_MORE,      /* send the reply, and wait for the client's next message */
	SCRAM_DONE,      /* send the reply: the client knows the password */
	SCRAM_REFUSED,   /* it does not */
	SCRAM_MALFORMED, /* not a SCRAM message: *ret_problem says why */
};

/* One login. */
struct scram_server {
	struct scram_verifier verifier;
	int n_messages;
	char gs2_flag;               /* 'n' or 'y' */
	char nonce[SCRAM_NONCE_MAX]; /* the client's and the server's */
	struct buf client_first_bare, server_first;
};

/* `server_nonce`: printable characters, for tests; NULL: SCRAM_NONCE random ones. */
void scram_server_init(
	struct scram_server *s, const struct scram_verifier *verifier, const char *server_nonce);
void scram_server_clear(struct scram_server *s);

/* Takes the client's next message; appends the answer to `ret_reply`. */
enum scram_outcome scram_server_step(struct scram_server *s, const uint8_t *message, size_t len,
	struct buf *ret_reply, const char **ret_problem);
