/*
 * The struct of a client, and what the files of this folder call of each other: sessions.c (all
 * clients of a worker), session.c (from accept to close), relay.c (bytes between client and
 * server), limits.c (the clocks), seat.c (the limits of accounts), leave.c (clients that have to
 * go), clocks.c (their limits of time).
 */
#pragma once

#include "net/keepalive.h"
#include "session/session.h"

/* What a client can be in. Moves: session.c. */
enum session_state {
	SESSION_LOGIN,   /* has not proved who it is, or waits for its greeting */
	SESSION_IDLE,    /* holds nothing, wants nothing */
	SESSION_WAITING, /* in its pool's queue */
	SESSION_ACTIVE,  /* holds a server connection */
	SESSION_CONSOLE,
	SESSION_CLOSING, /* has been told; until it hangs up, or a moment later */
	SESSION_CLOSED,  /* gone; the memory follows */
};

/* The account's and the database's limits of time; 0: none. */
struct clocks {
	usec_t pool_timeout, query_timeout, cancel_grace, transaction_timeout,
		idle_in_transaction_timeout, client_idle_timeout, client_write_timeout;
};

/* Thousands of them are idle: what it has in bytes counts. */
struct session {
	struct stream stream;
	struct list link;       /* in sessions->all; at last in sessions->dead */
	struct map_node by_key; /* in sessions->by_key, once welcomed */
	struct sessions *owner;
	struct front *front;
	struct pool *pool;     /* once accepted */
	struct seat *seat;     /* where there is a limit of clients, once asked for */
	struct server *server; /* held; its holder is this */
	struct waiter waiter;
	struct buf kept; /* received, but not used yet */
	struct timer timer;
	enum session_state state;
	uint32_t id;
	uint8_t access;        /* of a console client */
	uint8_t doom_reason;   /* an enum reason */
	bool doomed : 1;       /* to be closed at its next idle moment, for doom_reason */
	bool registered : 1;   /* in by_key */
	bool too_many : 1;     /* max_clients was reached when it came */
	bool blocked : 1;      /* cannot use more input at present */
	bool throttled : 1;    /* the server is not read: the client does not take what there is */
	bool session_mode : 1; /* keeps its server connection to the end */
	bool request_open : 1; /* the server works on something */
	bool cancelled : 1;    /* ... and query_timeout has had it cancelled */
	bool kept_cancelled : 1; /* its cancel came before weir could send what it is for */
	struct address peer;
	const struct clocks *clocks;                          /* shared with others: clocks.c */
	usec_t state_since, request_since, transaction_since; /* 0: none */
	usec_t watch_at; /* when to look whether it is still there; 0: nothing is under way to it */
	struct keepalive_watch watch;
	usec_t connected_wall;
};

struct sessions {
	struct sessions_host host;
	const struct config *config;
	struct list all;
	struct list dead; /* closed, to be freed when they are not on the stack any more */
	struct deferred burial;
	struct list clocks; /* that clients have; few differ */
	struct map by_key;
	size_t n_sessions;
	usec_t drain_since, drain_patience, drain_spread; /* see leave.c */
	struct log_limit log_limit;                       /* for what clients can provoke */
};

static inline usec_t session_now(const struct session *s)
{
	return loop_now(s->owner->host.loop);
}

/* --- session.c --- */

/* The one place that changes the state: checked against the allowed moves, and traced. */
void session_move(struct session *s, enum session_state state);

/* Ends the session for that reason; what it holds is given back. The memory follows later. */
void session_close(struct session *s, enum reason reason);

/* The same after the client has been told: waits for it to hang up, for a moment. */
void session_end(struct session *s, enum reason reason);

/* Tells the client `refusal` as its last words, and ends. */
void session_dismiss(struct session *s, enum reason reason, const char *detail);
void session_dismiss_in_words(struct session *s, const struct refusal *refusal);

/* The verdicts of a login. False: the session has ended, or waits for its account's place. */
bool session_identify(struct session *s);
bool session_admit(struct session *s);

/* Its limits and clocks, as the configuration has them now. Returns -1, or the reason for which the
 * configuration does not let it go on. */
int session_configure(struct session *s);

/* What it may do on the console (ACCESS_...), as the configuration has it now. */
uint8_t session_access(const struct session *s);

void session_free(struct session *s);

/* Frees the closed ones. */
void sessions_bury(void *sessions);

/* --- relay.c --- */
void relay_client_readable(struct stream *stream, void *arg);
void relay_client_drained(struct stream *stream, void *arg);

/* Goes on with the input that is kept. */
void relay_pump_kept(struct session *s);

void relay_waiter_done(struct waiter *w, struct server *server, const struct refusal *refusal);

/* The server connection is taken from the client, which is told `refusal` in place of answers that
 * will not come, or with its next statement if it was in a transaction. The connection is closed
 * (`reason`), or abandoned if reason is 0. */
void relay_take_server(struct session *s, const struct refusal *refusal, enum reason reason);

/* Cancels what the client runs, or ends its wait. */
void relay_cancel(struct session *s, enum reason why);

/* Gives the server connection back if nothing ties it to the client; acts on a doom. */
void relay_settle(struct session *s);

/* --- seat.c --- */

/* Sees to it that the client has a place if its account or database needs one. Returns 0: it may go
 * on; SEAT_AWAITED: to be called again when sessions_seated() has been; why there is none; or
 * -ENOMEM.
 */
enum { SEAT_AWAITED = 1, SEAT_USER_FULL, SEAT_DATABASE_FULL };
MUST_USE int seat_take(
	struct session *s, const struct config_user *user, const struct config_database *database);

/* Gives the place back, whether it has come already or not; there may be none. */
void seat_leave(struct session *s);

/* After a reload: a client that is inside is counted if its account has a limit now. */
void seat_reload(struct session *s);

/* --- clocks.c --- */

/* Its clocks are these limits' from now on. -ENOMEM: they are what they were. */
MUST_USE int clocks_take(struct session *s, const struct config_pool *limits);

/* At its end. */
void clocks_leave(struct session *s);

/* --- leave.c --- */

/* weir stops: clients that are told to leave from now on have time to do so in good order. */
void leave_start(struct sessions *sessions);

/* The client has to go for that reason, and does if this is the moment. */
void leave_soon(struct session *s, enum reason reason);

/* When the client, as it is now, is to be dismissed: USEC_NEVER if not yet, or not at all. */
usec_t leave_moment(const struct session *s);

/* --- limits.c --- */
void limits_fired(void *arg);

/* To be called whenever the state, or what the server works on, may have changed. */
void limits_update(struct session *s);
