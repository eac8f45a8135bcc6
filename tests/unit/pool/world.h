/*
 * A world for the pool without time of its own, sockets and threads. fakes.c has the same functions
 * as util/clock.c, util/random.c, net/loop.c, net/mailbox.c, net/stream.c, dial/dialler.c and
 * proto/proto.c, and is linked instead of them: so nothing in src/ has to know that it is tested,
 * and a test decides what happens when, and can repeat it.
 *
 * A peer is a server process at the far end of a connection. A client is what a session is to the
 * pool.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "pool/internal.h"

#define SHARDS_MAX  4
#define PEERS_MAX   256
#define JOBS_MAX    64
#define CLIENTS_MAX 128
#define TIMERS_MAX  16

struct peer {
	int fd;
	bool open;     /* our end of the connection */
	bool gone;     /* it has hung up */
	bool broken;   /* sending to it fails */
	bool told_end; /* we have hung up, or said farewell */
	bool is_lent;  /* a client has it: it answers when the client wants */
	unsigned flavour;
	char heard[64]; /* what it was sent, as letters: see below */
	char owed[16];  /* the answers it has not given yet */
	char said[16];  /* the answers that have not been read yet */
	struct stream *stream;
};

/* What a peer hears: p(ing), S(ync after an abandoned request), C(lean), X (farewell); and what it
 * says: r(eady), c(lean). */

struct client {
	struct waiter waiter;
	struct pool *pool;
	struct server *server; /* lent to it */
	unsigned n_answers, n_asked;
	struct refusal refusal; /* the last one; its text is empty when it got a connection */
	char name;
	bool is_kept_ignorant; /* may not be told who holds the pool */
	unsigned user;         /* that it takes turns as */
};

struct dial_job {
	struct dial_result *result;
	struct mailbox *mailbox;
	unsigned flavour;
};

struct cancel_job {
	struct cancel_result *result;
	struct mailbox *mailbox;
	struct peer *peer;
};

struct world {
	usec_t now;
	uint64_t seed;
	unsigned n_shards;
	struct pools *pools[SHARDS_MAX];
	struct loop *loops[SHARDS_MAX];
	struct mailbox *mailboxes[SHARDS_MAX];
	struct boards *boards;
	struct config *configs[8]; /* all that were ever used */
	unsigned n_configs;
	struct timer *timers[TIMERS_MAX];
	unsigned n_timers;
	struct peer peers[PEERS_MAX];
	unsigned n_opened;
	struct dial_job dials[JOBS_MAX];
	unsigned n_dials;
	struct cancel_job cancels[JOBS_MAX];
	unsigned n_cancels;
	struct client clients[CLIENTS_MAX];
	char served[512]; /* names of clients, in the order in which they got connections */
	bool open_fails;  /* the next connection that comes finds no memory */
	/* A client that waited has been told, and may go on at once. NULL: it does nothing. */
	void (*went_on)(struct client *client);
};

extern struct world world;

/* SQLAlchemy's words; everything else off. */
struct config_pool world_limits(int pool_size, int max_overflow);

/* One database "shop", the account "app". */
void world_begin(unsigned n_shards, const struct config_pool *limits);
void world_end(void);
struct pool *world_pool(unsigned shard);

/* Other limits, from the moment that the shard is told. `host`: where the database is. */
struct config *world_config(const struct config_pool *limits, const char *host);
void world_reload(const struct config_pool *limits);

/* --- things that happen, one at a time; false: there was none --- */
bool world_deliver(unsigned shard);      /* a message */
bool world_run_deferred(unsigned shard); /* all that is put off */
bool world_fire(unsigned shard);         /* a timer that is due */
void world_dial_ok(unsigned job);
void world_dial_fail(unsigned job, const char *text, bool final);
void world_cancel_over(unsigned job);
void world_cancel_stray(unsigned job);
bool world_answer(struct peer *peer); /* it says what it owes next */
bool world_read(struct peer *peer);   /* what it said, or that it is gone, is noticed */
void world_hang_up(struct peer *peer);
void world_demand(struct server *server); /* a statement: its peer owes an answer */

/* --- and several --- */

/* Messages, deferred work and due timers, until nothing is left. */
void world_turn(void);

/* The same, and dials succeed, cancels end, peers that nobody has answer and hang up when told. */
void world_settle(void);

/* Time passes, and what is due in it happens, in its turn. */
void world_pass(usec_t duration);

/* --- what can be seen from outside --- */
unsigned world_n_open(void);  /* sockets */
unsigned world_n_count(void); /* sockets and dials under way: what the promise is about */
struct peer *world_peer(const struct server *server);
struct peer *world_newest(void);
usec_t world_next_timer(void);

/* --- clients --- */

/* The client of that name ('a' ...) asks shard 0, or another one. It must hold nothing. */
struct client *client_ask(char name);
struct client *client_ask_at(char name, unsigned shard, usec_t pool_timeout);
struct client *client(char name);
void client_run(char name);     /* a statement begins */
void client_finish(char name);  /* and ends */
void client_release(char name); /* gives its connection back, in order */
void client_leave(char name);   /* goes, whatever it does */
void client_begin(char name);   /* is in a transaction from now on */
bool client_has(char name);
bool client_waits(char name);
const char *client_error(char name); /* "": none */

/* Opens `n` connections, and leaves them idle. */
void world_fill(unsigned n);
