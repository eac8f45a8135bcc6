/*
 * Opening server connections: the handshake is weir's own (handshake.c), in straight-line code for
 * threads that may block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/url.h"
#include "proto/proto.h"
#include "tls/client.h"
#include "util/bytes.h"
#include "util/check.h"

struct handshake;

/* utf8mb4_general_ci, which every server of these days knows. */
#define MYSQL_COLLATION 45

/* What every connection is told when it is new, and again after a reset: to say in its answers what
 * changes in the session. Transactions are seen in the status flags; their tracking would raise the
 * flag of a change with every first read. */
#define MYSQL_ARM_SQL                                                                              \
	"SET SESSION session_track_system_variables='*', session_track_state_change=ON, "          \
	"session_track_schema=ON, session_track_transaction_info='OFF'"
#define MYSQL_NAMES_SQL "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci"

/* A row if the server takes no writes. MariaDB's variable has got more values than OFF and ON. */
#define MYSQL_ROLE_SQL                                                                             \
	"SELECT 1 FROM DUAL WHERE CONCAT('', @@GLOBAL.read_only) NOT IN ('0', 'OFF') OR "          \
	"@@GLOBAL.innodb_read_only"

/* A connection that is logged in: struct dialled's handle. */
struct mysql_handle {
	uint32_t connection_id; /* the server's */
	char *version;          /* as the server spells it */
	uint8_t collation;      /* the server's own */
	uint16_t status;        /* of the last answer */
	unsigned flavour;       /* as in struct dial_target */
	struct url url;         /* what cancelling needs: where, and as whom */
	char *user, *password;
	usec_t connect_timeout;
	char address[128];                 /* numeric, or a socket's path */
	uint16_t port;                     /* 0: a socket's path */
	void *tls;                         /* SSL *; NULL: plain */
	char fingerprint[TLS_FINGERPRINT]; /* of the server's certificate; "": plain */
	/* Packed by another worker: what is set on it, name NUL value NUL ...; and what is prepared
	 * (proto/statements.h). */
	struct buf settings, prepared;
};

/* True if weir knows the URL's parameters (dial_params.c). Otherwise says in `ret_problem` which
 * one is wrong and what is allowed. Does not block. */
bool mysql_url_check(const struct url *url, struct buf *ret_problem);

/* Opens and logs in: host after host, address after address, each for at most connect_timeout.
 * Blocks: for dialler threads. 0 with *ret_dialled, 1 with *ret_refusal and *ret_final (see
 * proto.h), or -errno. */
MUST_USE int mysql_dial(const struct dial_target *target, struct dialled *ret_dialled,
	struct refusal *ret_refusal, bool *ret_final);

/* Reads a server's greeting without logging in: what it says of the server is in *ret_greeting.
 * Otherwise as mysql_dial(). */
MUST_USE int mysql_look(const struct dial_target *target, struct handshake *ret_greeting,
	struct refusal *ret_refusal);

/* Ends a connection that nobody took, with a farewell. Does not block. */
void mysql_dialled_free(struct dialled *dialled);

/* Frees the handle and its SSL; the descriptor is the caller's. NULL is fine. */
void mysql_handle_free(struct mysql_handle *handle);
