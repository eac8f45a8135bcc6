/*
 * The client's half of MySQL's connection phase, weir to server ("Connection Phase"): a machine of
 * packets in and bytes out. It knows mysql_native_password, caching_sha2_password, client_ed25519
 * and, where nobody can listen, mysql_clear_password.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/native_password.h"
#include "proto/mysql/wire.h"
#include "util/bytes.h"

enum handshake_outcome {
	HANDSHAKE_MORE,    /* send the reply, and read on */
	HANDSHAKE_TLS,     /* send the reply, start TLS, then handshake_encrypted() */
	HANDSHAKE_DONE,    /* logged in */
	HANDSHAKE_REFUSED, /* see `error` */
};

struct handshake {
	/* To be filled in first; borrowed. */
	const char *user, *password, *schema; /* schema NULL: none */
	uint32_t wanted;                      /* capabilities beyond those that weir always wants */
	bool wants_tls, needs_tls;            /* if the server has it; and refuse it otherwise */
	bool is_private;                      /* nobody can listen: a unix socket, or TLS by now */

	/* What was learnt. */
	uint32_t connection_id;
	uint32_t server_capabilities, capabilities;
	char version[128]; /* as the server spells it */
	uint8_t collation;
	uint16_t status;
	struct my_error error; /* code 0: weir's own words */

	/* The machine. */
	int state;
	unsigned n_switches;
	uint8_t nonce[32]; /* client_ed25519 has the longer one */
	char plugin[64];
};

/* Takes the payload of the server's next packet; appends whole packets to `ret_reply`. */
enum handshake_outcome handshake_step(struct handshake *h, const uint8_t *payload, size_t len,
	uint8_t sequence, struct buf *ret_reply);

/* After HANDSHAKE_TLS: the login itself. */
enum handshake_outcome handshake_encrypted(struct handshake *h, struct buf *ret_reply);
