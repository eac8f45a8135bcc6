/*
 * Pools of server connections, protocol-agnostic. One pool per database (and, where the URL names
 * no user, per client user); each worker runs its own shard of it, single-threaded. The budget of
 * pool_size + max_overflow connections is one for all shards: the shard that a pool is at home on
 * keeps the ledger, and permissions to open and connections themselves travel between the shards as
 * messages.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "dial/dialler.h"
#include "net/intake.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "pool/server.h"
#include "pool/stats.h"
#include "proto/proto.h"
#include "util/check.h"
#include "util/list.h"
#include "util/map.h"

struct boards;
struct pools;
struct pool;
struct waiter;

/* What a client does with the connection that it has. */
enum holder_use {
	USE_ACTIVE,         /* the server works on something for it */
	USE_IN_TRANSACTION, /* ... is idle, in a transaction */
	USE_PINNED,         /* ... is idle, and something keeps the connection with its client */
	USE_SESSION,        /* ... is idle, but pool_mode is session */
	USE_DELIVERING,     /* the client has not taken all of the answer */
	N_USES,
};

/* "active", "idle in transaction", ... */
const char *holder_use_name(enum holder_use use);

/* Who has a connection. Texts are borrowed until the loop goes on. */
struct holder {
	const char *user;
	const char *application; /* NULL: not known */
	char address[ADDRESS_TEXT_SIZE];
	enum holder_use use;
	usec_t use_since;
	usec_t transaction_since; /* 0: it is in none */
	struct statement_text statement;
};

/* How shards reach each other; the same array for every worker, unchanged once the threads run. */
struct pools_peer {
	struct mailbox *mailbox;
	struct pools *pools;
};

/* What a worker gives to its pools. Borrowed, and alive as long as they are. */
struct pools_host {
	struct loop *loop;
	struct mailbox *mailbox;
	struct dialler *dialler;
	struct workspace *space;
	const struct pools_peer *peers;
	struct boards *boards;       /* the same for every worker */
	const struct config *config; /* until pools_reload() */
	unsigned shard, n_shards;
	struct proto_worker *(*proto_worker)(void *arg, const struct protocol *protocol);
	/* Says who it is that has a connection (server->holder). NULL: nobody can say. */
	void (*describe_holder)(const void *holder, struct holder *ret_holder);
	/* May that client read what clients of `user` run? NULL: it may. */
	bool (*may_read)(const struct waiter *waiter, const char *user);
	/* Whose turns that client takes, as a number, where users (or applications) take turns.
	 * Only asked when it has to wait. NULL: nobody can say. */
	uint64_t (*flow_of)(const void *holder, enum fair_by by);
	void *arg;
};

/* A session's place in the queue. Embedded; belongs to the session. */
struct waiter {
	struct list link;
	usec_t since;  /* when it began to wait */
	int64_t turn;  /* its place in the order of service */
	uint64_t flow; /* whom it takes turns as */
	const void *holder;
	usec_t deadline;   /* pool_timeout */
	unsigned flavour;  /* of the connections it can use (front->flavour): set by the session */
	bool explain;      /* may be told who holds the pool: set by the session */
	struct pool *pool; /* NULL: not waiting */
	/* The wait is over: `server` is the waiter's (SERVER_LENT), or NULL and `refusal` says why
	 * not. The waiter is no longer in the queue. May be called from any of the pool's
	 * callbacks, never from pool_acquire(). */
	void (*done)(struct waiter *waiter, struct server *server, const struct refusal *refusal);
};

void waiter_init(
	struct waiter *w, void (*done)(struct waiter *, struct server *, const struct refusal *));

/* --- all pools of a worker --- */

MUST_USE int pools_new(const struct pools_host *host, struct pools **ret_pools);
void pools_free(struct pools *pools); /* closes every connection at once */

/* For the end, when the threads have been joined: nothing is dialled, cancelled or told to other
 * shards any more, so that dialler and mailboxes may go before their pools. */
void pools_stop(struct pools *pools);

/* The shard of that pool, made on first use. `database` stays borrowed until pools_reload(); `user`
 * and `password` (copied) only matter where the URL names no user. NULL: no memory. */
struct pool *pools_get(struct pools *pools, const struct config_database *database,
	const char *user, const char *password);

struct pool *pools_next(
	struct pools *pools, struct pool *after); /* NULL: the first; NULL at the end */

/* New limits; pools whose database is gone or leads elsewhere retire their connections. `config`
 * replaces the one before, which may be freed afterwards. */
void pools_reload(struct pools *pools, const struct config *config);

/* PAUSE, RESUME, RECONNECT for one database, or all (NULL): only this worker's shards. */
void pools_pause(struct pools *pools, const char *database);
void pools_resume(struct pools *pools, const char *database);
void pools_reconnect(struct pools *pools, const char *database);

/* Has all of weir been paused (NULL), or this database, by name or with all others? */
bool pools_is_paused(const struct pools *pools, const char *database);
bool pools_any_paused(const struct pools *pools);

/* True when no shard of this worker that is paused has a connection left. */
bool pools_paused_empty(const struct pools *pools, const char *database);

/* --- one pool's shard --- */

/* Outcomes of pool_acquire(), besides 0 (*ret_server is lent to the caller). */
enum { POOL_QUEUED = 1 };

/*
 * Asks for a connection of waiter->flavour: the most recently used idle one, else a new one if the
 * budget allows, else a place in the queue: by age, or in turn with other users, on
 * all shards together. Where only connections of another
 * flavour are idle and the budget is used up, one of them makes room. `holder` is noted for SHOW
 * SERVERS. Returns 0, or POOL_QUEUED: waiter->done comes later. `pool_timeout` is the client's.
 */
MUST_USE int pool_acquire(struct pool *pool, struct waiter *waiter, void *holder,
	usec_t pool_timeout, struct server **ret_server);

/* Leaves the queue without an answer. Does nothing if the waiter is not in one. */
void pool_forget(struct waiter *waiter);

/* Gives a connection back that is at rest, in no transaction and not pinned. It goes straight to
 * whose turn it is. The caller must not touch it any more. */
void pool_release(struct pool *pool, struct server *server);

/* Gives back a connection whose client left or broke off, in whatever state it is: its running
 * statement is cancelled, the answer drained, the transaction rolled back, what the client left
 * behind reset; then it is reused, or closed if that cannot be done in time. */
void pool_abandon(struct pool *pool, struct server *server);

/* Closes a connection; with the protocol's farewell if it is at rest. */
void pool_close(struct pool *pool, struct server *server, enum reason reason);

/* The server of a lent connection takes no writes (any more): nobody gets an old connection from
 * now on, on no worker, and new ones are looked for. The connection stays lent. */
void pool_condemn(struct pool *pool, struct server *server);

/* Cancels what a lent connection runs now, on a dialler thread, and again after growing pauses for
 * as long as that goes on: one that arrives before its statement has begun does nothing. The
 * connection will not be handed to anyone else before a cancel that is under way is over. `over`
 * (may be NULL) is called whenever one is, unless the connection has been given back before. */
void pool_cancel(struct pool *pool, struct server *server, void (*over)(struct server *server));

/* What was to be cancelled has been answered: no more cancels of it. Every holder has to say so
 * before it sends anything else. */
void pool_cancelled(struct server *server);

const char *pool_database_name(const struct pool *pool);
const char *pool_user_name(const struct pool *pool); /* whom its server connections log in as */
const struct config_database *pool_database(const struct pool *pool);
const struct protocol *pool_protocol(const struct pool *pool);
struct proto_pool *pool_proto(const struct pool *pool);
struct pool_stats *pool_stats(struct pool *pool);

/* This shard has no living connection: whether the server can be reached is not known. */
bool pool_is_in_trouble(const struct pool *pool);

/* Tells the other shards what the protocol has learnt of the pool's servers: after a login. */
void pool_share(struct pool *pool);

/* How many clients have logged in here: kept by session/, read by the console. */
void pool_client_added(struct pool *pool);
void pool_client_removed(struct pool *pool);

/* For the console: counts of this shard, and its connections and waiters. */
struct pool_counts {
	unsigned n_clients, n_waiting;
	unsigned n_idle, n_testing, n_lent, n_cleaning, n_held, n_closing, n_dialling;
	usec_t oldest_wait; /* how long the oldest waiter has waited; 0: none waits */
	bool is_home;       /* true of one of the pool's shards */
};

void pool_count(const struct pool *pool, struct pool_counts *ret_counts);

typedef void (*pool_server_fn)(void *arg, struct server *server);
void pool_each_server(struct pool *pool, pool_server_fn fn, void *arg);
