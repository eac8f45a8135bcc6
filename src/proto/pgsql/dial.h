/*
 * What libpq does for weir: logging in to servers, with every method, option and password file that
 * it knows; and cancelling. Only dial*.c see libpq.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/proto.h"
#include "util/bytes.h"
#include "util/check.h"

/* What a cancel request carries, and how long it may take. */
struct pgsql_key {
	uint32_t process_id, secret;
	bool is_known;  /* not: libpq knows, and keeps it for itself */
	usec_t timeout; /* 0: no limit */
};

/* A connection that is logged in: struct dialled's handle. */
struct pgsql_handle {
	uint32_t process_id;
	bool standby;          /* in_hot_standby, which servers report from version 14 on */
	struct buf parameters; /* what the server reported then: name NUL value NUL ... */
	void *conn; /* PGconn *: kept for the end; owns libpq's own descriptor and the SSL */
	/* Packed by another worker: what the server has reported since, and settings that were made
	 * besides, in the same form; and what is prepared (proto/statements.h). */
	struct buf reported, extra, prepared;
	uint64_t last_number; /* of them all */
	struct pgsql_key key; /* for cancelling */
	bool leftover;        /* ... was too much to be packed */
};

/* Makes sure that the environment (PGHOST, PGOPTIONS, PGTZ, ...) has no say; password files do.
 * Once, before there are threads. */
void pgsql_forget_environment(void);

/* True if libpq knows the URL's parameters and weir lets them pass. Otherwise says in `ret_problem`
 * which one is wrong and what is allowed; values are not repeated. Does not block. */
bool pgsql_url_check(const struct url *url, struct buf *ret_problem);

/* Opens and logs in: host after host, address after address, each for at most connect_timeout (the
 * URL's, if it has one). Blocks: for dialler threads. 0 with *ret_dialled, whose descriptor is the
 * caller's and whose SSL is the handle's; 1 with *ret_refusal and *ret_final (see proto.h); or
 * -errno. */
MUST_USE int pgsql_dial(const struct dial_target *target, struct dialled *ret_dialled,
	struct refusal *ret_refusal, bool *ret_final);

/* Ends a connection that nobody took, with a farewell, its descriptor included. Does not block. */
void pgsql_dialled_free(struct dialled *dialled);

/* Frees the handle, its SSL and libpq's descriptor. Nothing more is sent, whatever state the
 * connection is in. Does not block. weir's own descriptor is closed by the caller, before or after.
 * NULL is fine. */
void pgsql_handle_free(struct pgsql_handle *handle);

/* A login is watched for the secret of its cancel requests, where libpq would keep it for itself
 * and cancel without a limit of time: between PQconnectStartParams() and the login's end. */
struct pgsql_key_watch {
	void *trace; /* FILE * */
	uint32_t process_id, secret;
	char line[128]; /* the tracing line so far */
	size_t len;
};

void pgsql_key_watch(void *conn, struct pgsql_key_watch *ret_watch);

/* Ends it; in any case, before `conn` ends. ret_key->is_known: it was found. */
void pgsql_key_found(void *conn, struct pgsql_key_watch *watch, struct pgsql_key *ret_key);

/* What pgsql_cancel() needs, independent of the handle from then on. NULL: no memory, or no such
 * connection. Does not block. */
void *pgsql_cancel_new(const struct pgsql_handle *handle);
void pgsql_cancel_free(void *cancel);

/* Blocks until the server has carried it out or refused, or the time is over: see proto.h. Under
 * TLS if the connection is and libpq can. At most one thread at a time for the same `cancel`. */
enum cancel_outcome pgsql_cancel(void *cancel);
