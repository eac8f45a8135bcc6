/*
 * The struct of a pool's shard, and what the files of this folder call of each other: pools.c (all
 * pools of a worker), pool.c (acquire, release), queue.c (those who wait), board.c (what shards see
 * of each other), dialling.c (new connections), expiry.c (the clock), census.c and explain.c (who
 * holds the pool), failover.c (servers that take no writes), crowd.c (full for long), server.c
 * (server connections), ledger.c (the one budget), shard.c (messages between shards), stats.c,
 * info.c (what the console asks).
 *
 * Two rules keep this free of surprises. waiter->done() is only called from pool_release() and what
 * leads to it, and from pool_tend(); so whatever else finds that a waiter can be helped calls
 * pool_tend_soon(). And a shard's promise is only ever changed by the ledger: shards ask, also to
 * close one too many.
 */
#pragma once

#include "pool/board.h"
#include "pool/pool.h"

/* Dials of one pool under way at once. */
#define DIALS_MAX 4

/* What a shard wants of the ledger. */
struct ask {
	unsigned n;   /* connections to open */
	bool told;    /* that dials fail: it is to be told when they work again */
	bool crowded; /* clients have been waiting there for seconds */
};

/* Why a connection may be one too many; each has a number that has to stay. */
enum surplus {
	SURPLUS_BUDGET,   /* above pool_size + max_overflow, after a reload */
	SURPLUS_OVERFLOW, /* above pool_size */
	SURPLUS_IDLE,     /* above min_size */
	N_SURPLUSES,
};

/* The one budget of a pool, kept on the shard it is at home on. */
struct ledger {
	unsigned n_permits;  /* given out: connections that are open, opening or closing */
	unsigned n_dialling; /* of them, those being used to dial */
	unsigned n_let_go;   /* of them, those whose connection is to be closed as one too many */
	usec_t delay;        /* the present back-off; 0: dials work */
	usec_t retry_at;     /* no dial before */
	bool final;          /* there is no point in waiting for the next one */
	struct refusal failure;
	struct ask *asks; /* one per shard */
};

/* Flavours are few: bits of a protocol's. */
#define FLAVOURS_MAX 32

/* Where in the queue a flow was met last. */
#define FLOW_HINTS 64

/* How fast turns come. */
struct pace {
	usec_t since;
	turn_t clock; /* at that moment */
	turn_t slack; /* as it was then: turns in the time that may be missed */
};

/* Who has had a connection for longest; ready to be printed. */
struct census_holder {
	usec_t since; /* 0: nobody has one */
	enum holder_use use;
	usec_t use_since;
	const char *pin; /* static; NULL: none */
	char reader[64]; /* the user, as it is: who else may read the statement */
	char user[64], application[64];
	char address[64];
	char statement[120]; /* "": not known */
};

/* What one shard, or all of them, have. */
#define CENSUS_PINS 4
struct census {
	usec_t taken;      /* 0: never */
	unsigned n_shards; /* that are counted in it */
	unsigned n_alive, n_open, n_uses[N_USES];
	unsigned n_waiting;
	unsigned n_before;             /* that come before who asks */
	const char *pins[CENSUS_PINS]; /* static: why clients are pinned; not all if that is full */
	unsigned n_pins;
	struct census_holder oldest;
};

/* Clients that wait for long: see crowd.c. */
struct crowd {
	usec_t since; /* somebody has been waiting here, while somebody waits */
	usec_t report_at;
	bool reported;
	/* At home, for all shards: */
	usec_t all_since;  /* 0: the pool is not full for long */
	usec_t say_at;     /* when the log says so; 0: it was said */
	usec_t over_since; /* nobody waits for long any more; 0: somebody does */
};

/* What the ledger has told about dials that fail. */
struct trouble {
	bool any;
	bool alone;   /* and the pool has no living connection */
	bool final;   /* and there is no point in waiting ... */
	usec_t until; /* ... before this moment */
	struct refusal refusal;
};

/* Its server was found to take no writes. */
struct demotion {
	usec_t since; /* the last time; 0: never */
	usec_t delay; /* before the next time: the new one may be no better */
	bool again;   /* ... as has been found out meanwhile */
};

struct pool {
	struct map_node node;
	struct list link; /* in pools->all, in the order they were made */
	struct pools *owner;
	const struct config_database *database; /* NULL: taken out of the configuration */
	struct config_pool limits;
	const struct protocol *protocol;
	struct proto_pool *proto;
	char *name;           /* of the database */
	char *user;           /* of its server connections */
	char *password;       /* where the URL names no user */
	unsigned home;        /* the shard with the ledger */
	struct ledger ledger; /* if this is it */

	struct list servers[N_SERVER_STATES]; /* idle: most recently used first */
	unsigned n_servers[N_SERVER_STATES];
	unsigned n_clients;
	unsigned last_flavour; /* what was asked for last */
	struct list waiters;   /* in the order of their turns */
	unsigned n_waiting, n_waiting_of[FLAVOURS_MAX];
	uint32_t flavours;                 /* of those who wait, as bits */
	struct waiter *latest[FLOW_HINTS]; /* of each flow that waits, or NULL */
	struct list turned_away;           /* still to be told that they cannot wait */
	struct board *board;
	struct pace pace;
	unsigned n_dialling;             /* permissions in use here */
	unsigned n_asked;                /* permissions asked for and not given yet */
	unsigned n_to_close;             /* connections to be closed when they are released */
	bool asked_surplus[N_SURPLUSES]; /* the answer is on its way */
	bool shedding;        /* there were too many: one that comes from elsewhere may be it */
	bool wishing;         /* other shards may know of our waiters */
	bool *wishes;         /* theirs; one per shard */
	usec_t ask_around_at; /* when dials take too long for the others not to know */

	struct crowd crowd;
	struct census *censuses; /* what the other shards have told; NULL: nothing yet */
	usec_t census_asked;     /* when they were asked last */
	unsigned n_refusing;     /* waiters that are being told that they have waited for nothing */
	unsigned n_told;         /* ... and those of them that were told */
	bool paused;
	struct trouble trouble;
	usec_t suspect_before; /* idle connections that are older are tested before use */
	usec_t retired_before; /* connections that were opened before are not reused */
	struct demotion demotion;
	struct deferred tending;
	struct timer timer;
	struct pool_stats stats;
	struct log_limit dial_log, timeout_log;
};

/* A database that is paused, for pools that are yet to be made. */
struct paused_name {
	struct list link;
	char name[];
};

struct pools {
	struct pools_host host;
	struct list all;
	struct map by_key;
	uint64_t next_server_id;
	bool paused_all;
	struct list paused_names;
	bool stopped;                          /* pools_stop() */
	struct message *parked, **parked_last; /* for pools that are not known yet */
};

static inline bool pool_is_home(const struct pool *pool)
{
	return pool->home == pool->owner->host.shard;
}

static inline usec_t pool_now(const struct pool *pool)
{
	return loop_now(pool->owner->host.loop);
}

/* --- pools.c --- */

/* The pool of that database and server account, made if the configuration has it; else NULL. */
struct pool *pools_of(struct pools *pools, const char *name, const char *user);

/* No connection that was open or being opened at `moment` will be reused. */
void pool_retire(struct pool *pool, usec_t moment);

/* --- failover.c --- */

/* Looks again, if that is due. */
void pool_review_demotion(struct pool *pool, usec_t now);

/* Another shard has found, at that moment, that the server takes no writes. */
void pool_told_demotion(struct pool *pool, usec_t moment);

/* Whether servers that take writes are to be preferred by now. */
bool pool_prefers_writable(const struct pool *pool, usec_t now);

/* --- pool.c --- */

/* A connection is at rest, clean and free: to the oldest who waits, here or elsewhere, or idle. */
void pool_give(struct pool *pool, struct server *server);

/* The same for one that has come from another shard. */
void pool_take_over(struct pool *pool, struct server *server);

/* True if it was unused for so long that it is to be tested first. */
bool pool_needs_test(const struct pool *pool, const struct server *server, usec_t now);

/* Everything that may have become possible since: serves waiters, asks for more connections,
 * refuses whom nothing can help. Calls back waiters. */
void pool_tend(void *arg);

/* The same after the present callback, from wherever it is wanted. */
void pool_tend_soon(struct pool *pool);

/* The timer shall fire at `moment` at the latest. */
void pool_wake_at(struct pool *pool, usec_t moment);

/* Idle connections that nobody here lacks go to the shards where someone waits. */
void pool_serve_wishes(struct pool *pool);

/* Asks for as many permissions as there are waiters that nothing is on its way for. */
void pool_ask(struct pool *pool);

/* Moves the waiters for which `hopeless` says so out of the queue and tells them. `hopeless`
 * returns the moment when it will be so (now or before: it is), and fills in why unless
 * `ret_refusal` is NULL. */
typedef usec_t (*hopeless_fn)(
	struct pool *pool, const struct waiter *w, usec_t now, struct refusal *ret_refusal);
void pool_refuse(struct pool *pool, usec_t now, hopeless_fn hopeless);

unsigned pool_n_alive(const struct pool *pool);

/* --- queue.c --- */

/* Puts a waiter in; its `since`, `deadline` and `flavour` are set. False: there are too many. */
MUST_USE bool queue_enter(struct pool *pool, struct waiter *w, const void *holder);

/* Takes one out that is given a connection. */
void queue_serve(struct waiter *w);

/* The one whose turn it is, of all, or of those who want that flavour; or NULL. */
struct waiter *queue_first(const struct pool *pool);
struct waiter *queue_first_of(const struct pool *pool, unsigned flavour);

/* Does someone elsewhere come before ours (NULL: nobody)? Not if it is by so little that it does
 * not pay to move a connection. */
bool queue_comes_first(struct pool *pool, turn_t turn, usec_t since, const struct waiter *ours);

/* What turns are taken by has changed. */
void queue_sort_again(struct pool *pool);

/* Refuses one that is not in the queue; it is told later, by pool_tend(). */
void queue_turn_away(struct pool *pool, struct waiter *w);
void queue_tell_turned_away(struct pool *pool);

/* --- dialling.c --- */

/* A permission has come: dials, or gives it back if nobody waits any more and it is not `ahead` of
 * need. */
void pool_granted(struct pool *pool, bool overflow, bool ahead);

/* The ledger tells: dials fail, dials work again. */
void pool_told_trouble(struct pool *pool, const struct trouble *trouble);
void pool_told_recovery(struct pool *pool);

/* True while nobody needs to wait, since the answer is known already. */
bool pool_fails_fast(const struct pool *pool, usec_t now);

/* A dial that takes long: someone else may have a connection to spare meanwhile. */
void pool_ask_around(struct pool *pool, usec_t now);

void pool_refuse_hopeless(struct pool *pool, usec_t now);

/* --- census.c --- */

/* So long before somebody is told who holds the pool the other shards are asked. */
#define CENSUS_LEAD (50 * USEC_PER_MSEC)

/* Asks the other shards, unless that was done a moment ago. `turn`: of a waiter whose place is
 * wanted. */
void census_ask(struct pool *pool, turn_t turn);
void census_asked(struct pool *pool, unsigned shard, turn_t turn);
void census_told(struct pool *pool, unsigned shard, const struct census *census);

/* This shard as it is now, and the others as they were when they were asked last. */
void census_sum(struct pool *pool, turn_t turn, struct census *ret_sum);

/* --- crowd.c --- */

/* The queue here is not empty any more; it is empty. */
void crowd_begins(struct pool *pool, usec_t now);
void crowd_ends(struct pool *pool);

/* At home: at that shard somebody has been waiting since then; 0: nobody does any more. */
void crowd_reported(struct pool *pool, unsigned shard, usec_t since);

/* Time has passed. */
void crowd_tend(struct pool *pool, usec_t now);

/* --- explain.c --- */
#define EXPLANATION_SIZE 640

/* For a waiter that is no longer in the queue: why it got nothing. */
void pool_explain(
	struct pool *pool, const struct waiter *w, usec_t now, char *ret_text, size_t size);
void pool_explain_to_log(struct pool *pool, char *ret_text, size_t size);

/* --- expiry.c --- */
void pool_timer_fired(void *arg);

/* The ledger tells: `n` of `n_asked` connections may be closed. */
void pool_let_go(struct pool *pool, enum surplus surplus, unsigned n, unsigned n_asked);

/* The ledger tells: there are more connections than there may be. */
void pool_shed(struct pool *pool);

/* Another shard has found that the server does not answer. */
void pool_told_suspicion(struct pool *pool);

/* The ledger tells: nothing can be opened for this shard's waiters now. */
void pool_told_full(struct pool *pool);

/* --- server.c --- */
struct server_origin {
	bool overflow;
	unsigned flavour;
	usec_t opened, opened_wall;
	usec_t idle_since;
};

/* Takes over a connection (`dialled`, whose handle is NULL then), which is idle then. -ENOMEM:
 * nothing happened. */
MUST_USE int server_new(struct pool *pool, struct dialled *dialled,
	const struct server_origin *origin, struct server **ret_server);
void server_move_to(struct server *server, enum server_state state);
void server_take_back(struct server *server); /* from its session */
void server_gone(struct server *server);      /* it has been moved to another shard */
/* Cancels once more what does not end, when it is time. */
void server_insist(struct server *server, usec_t now);
void server_test(struct server *server);
void server_hold(struct server *server);           /* until its cancels are over */
void server_hang_up(struct server *server);        /* without waiting for the server to do so */
void server_destroy(struct server *server);        /* at once, whatever its state: for the end */
usec_t server_old_at(const struct server *server); /* when pool_recycle is over */
usec_t server_expiry(const struct server *server); /* of an idle one */

/* --- ledger.c: on the home shard --- */
/* The most connections that there may be; UINT32_MAX: no limit. */
unsigned ledger_budget(const struct pool *pool);

void ledger_ask(struct pool *pool, unsigned shard, unsigned n);
void ledger_withdraw(struct pool *pool, unsigned shard);
void ledger_dialled(struct pool *pool);
void ledger_dial_failed(struct pool *pool, const struct refusal *refusal, bool final);

/* A permission comes back: unused, or with its connection closed, which had been let go or not. */
enum permit_end { PERMIT_UNUSED, PERMIT_CLOSED, PERMIT_LET_GO };
void ledger_returned(struct pool *pool, enum permit_end end);

/* How many of `n` connections may be closed; those that are not after all: ledger_kept(). */
unsigned ledger_let_go(struct pool *pool, enum surplus surplus, unsigned n);
void ledger_kept(struct pool *pool, unsigned n);

/* Gives out what can be given out: after a reload, and when time has passed. */
void ledger_serve(struct pool *pool);
void ledger_check_budget(struct pool *pool);

/* No connection can be opened without one being closed first. */
bool ledger_is_full(const struct pool *pool);

/* After a reload: the back-off is over, and there may be too many connections now. */
void ledger_try_again(struct pool *pool);

/* --- shard.c: to the home shard, and between shards --- */
void shard_ask(struct pool *pool, unsigned n);
void shard_withdraw(struct pool *pool);
void shard_dialled(struct pool *pool);
void shard_dial_failed(struct pool *pool, const struct refusal *refusal, bool final);
void shard_return(struct pool *pool, enum permit_end end);
void shard_ask_surplus(struct pool *pool, enum surplus surplus, unsigned n);
void shard_keep(struct pool *pool, unsigned n);

void shard_grant(struct pool *pool, unsigned shard, bool overflow, bool ahead);
void shard_tell_trouble(struct pool *pool, unsigned shard, const struct trouble *trouble);
void shard_tell_recovery(struct pool *pool, unsigned shard);
void shard_tell_shed(struct pool *pool);
void shard_tell_full(struct pool *pool, unsigned shard);

/* Tells the other shards that someone waits at `shard`. */
void shard_tell_wish(struct pool *pool, unsigned shard);

/* Tells the other shards that the server does not answer. */
void shard_tell_suspicion(struct pool *pool);

/* Tells them that it takes no writes. */
void shard_tell_demotion(struct pool *pool, usec_t moment);

/* Sends a connection at rest to another shard. False: it could not be moved, and stays. */
MUST_USE bool shard_send_server(struct pool *pool, struct server *server, unsigned shard);

void shard_report_crowd(struct pool *pool, usec_t since);
void shard_ask_census(struct pool *pool, unsigned shard, turn_t turn);
void shard_tell_census(struct pool *pool, unsigned shard, const struct census *census);

/* Does someone wait at another shard? */
bool shard_others_wait(const struct pool *pool);

/* The other shard that has told its wish and whose first waiter has the earliest turn, and comes
 * before `ours` (NULL: nobody); or -1. `ret_fits`: a connection of that flavour is of use there;
 * else it is in the way of one that is. NULL: only where it is of use. */
int shard_next_turn(struct pool *pool, const struct waiter *ours, unsigned flavour, bool *ret_fits);

/* After a reload: what has come for pools that were not known. */
void shard_deliver_parked(struct pools *pools);

/* For the end: throws it away. */
void shard_drop_parked(struct pools *pools);
