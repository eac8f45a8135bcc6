/*
 * The struct of a pool's shard, and what the files of this folder call of each other: pools.c (all
 * pools of a worker), pool.c (acquire, release, queue), server.c (server connections), ledger.c
 * (the one budget), shard.c (messages between shards), stats.c.
 */
#pragma once

#include "pool/pool.h"

/* Dials of one pool under way at once. */
#define DIALS_MAX 4

/* What a shard wants of the ledger. */
struct ask {
	unsigned n;
	usec_t since; /* the age of its oldest waiter */
};

/* The one budget of a pool, kept on the shard it is at home on. */
struct ledger {
	unsigned n_kept, n_overflow; /* permissions given out, by kind */
	unsigned n_dialling;         /* of them, those being used to dial */
	usec_t delay;                /* the present back-off; 0: none */
	usec_t retry_at;             /* no dial before */
	struct ask *asks;            /* one per shard */
};

/* Another shard has a waiter and no connection. */
struct wish {
	bool open;
	usec_t since;
};

struct pool {
	struct map_node node;
	struct list link; /* in pools->all, in the order they were made */
	struct pools *owner;
	const struct config_database *database; /* NULL: taken out of the configuration */
	struct config_pool limits;
	const struct protocol *protocol;
	struct proto_pool *proto;
	char *name;     /* of the database */
	char *user;     /* of its server connections */
	char *password; /* where the URL names no user */
	bool per_user;
	unsigned home;        /* the shard with the ledger */
	struct ledger ledger; /* if this is it */

	struct list servers[N_SERVER_STATES]; /* idle: most recently used first */
	unsigned n_servers[N_SERVER_STATES];
	unsigned n_clients;
	struct list waiters; /* oldest first */
	unsigned n_waiting;
	unsigned n_dialling; /* permissions in use here */
	unsigned n_asked;    /* permissions asked for and not given yet */
	bool wishing;        /* other shards may know of our waiters */
	struct wish *wishes; /* theirs; one per shard */

	bool paused;
	bool failing;         /* the last dial failed */
	bool failing_finally; /* ... and there is no point in waiting */
	usec_t failed_at;
	struct refusal failure;
	usec_t suspect_before; /* idle connections that are older are tested before use */
	struct timer timer;
	struct pool_stats stats;
	struct log_limit log_limit;
};

struct pools {
	struct pools_host host;
	struct list all;
	struct map by_key;
	uint64_t next_server_id;
};

/* --- pools.c --- */

/* The pool of that database and server account, made if the configuration has it; else NULL. */
struct pool *pools_of(struct pools *pools, const char *name, const char *user);

/* --- pool.c --- */

/* A connection is at rest, clean and free: to the oldest who waits, here or elsewhere, or idle. */
void pool_give(struct pool *pool, struct server *server);

/* Asks for as many permissions as there are waiters that nothing is on its way for. */
void pool_want(struct pool *pool);

/* The timer shall fire at `moment` at the latest. */
void pool_wake_at(struct pool *pool, usec_t moment);
void pool_timer_fired(void *arg);

/* A permission has come: dials, or gives it back if nobody waits any more. */
void pool_granted(struct pool *pool, bool overflow);

/* Dialling does not work: waiters that have nothing else to hope for are told. */
void pool_failed(struct pool *pool, const struct refusal *refusal, bool final);

/* Everyone who waits is told, if there is no point in waiting, or as far as they have waited long
 * enough. */
void pool_refuse_hopeless(struct pool *pool, usec_t now);

unsigned pool_n_alive(const struct pool *pool);

/* --- server.c --- */
MUST_USE int server_take_dialled(struct pool *pool, struct dialled *dialled, bool overflow,
	usec_t opened, usec_t opened_wall, struct server **ret_server);
void server_move_to(struct server *server, enum server_state state);
void server_test(struct server *server);
void server_clean(struct server *server);
void server_destroy(struct server *server); /* at once, whatever its state: for the end */
bool server_too_old(const struct server *server, usec_t now);
usec_t server_expiry(const struct server *server); /* of an idle one */

/* --- ledger.c: on the home shard --- */
void ledger_ask(struct pool *pool, unsigned shard, unsigned n, usec_t since);
void ledger_withdraw(struct pool *pool, unsigned shard);
void ledger_dialled(struct pool *pool);
void ledger_dial_failed(
	struct pool *pool, bool overflow, const struct refusal *refusal, bool final);
void ledger_returned(struct pool *pool, bool overflow);
void ledger_returned_unused(struct pool *pool, bool overflow);
void ledger_serve(struct pool *pool);

/* --- shard.c: to the home shard, and between shards --- */
void shard_ask(struct pool *pool, unsigned n, usec_t since);
void shard_withdraw(struct pool *pool);
void shard_dialled(struct pool *pool);
void shard_dial_failed(struct pool *pool, bool overflow, const struct refusal *refusal, bool final);
void shard_return(struct pool *pool, bool overflow);
void shard_return_unused(struct pool *pool, bool overflow);
void shard_grant(struct pool *pool, unsigned shard, bool overflow);
void shard_tell_failure(
	struct pool *pool, unsigned shard, const struct refusal *refusal, bool final);

/* Tells the other shards that `shard` waits since then. */
void shard_tell_wish(struct pool *pool, unsigned shard, usec_t since);

/* Sends an idle connection to another shard. False: it could not be moved, and stays. */
MUST_USE bool shard_send_server(struct pool *pool, struct server *server, unsigned shard);

/* The shard whose wish is older than `since`, or -1. */
int shard_oldest_wish(const struct pool *pool, usec_t since);
