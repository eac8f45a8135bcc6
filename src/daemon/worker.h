/*
 * A worker: one thread with everything that it owns. Other threads reach it through its mailbox
 * only.
 */
#pragma once

#include <pthread.h>

#include "admin/console.h"
#include "config/config.h"
#include "dial/dialler.h"
#include "net/intake.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "pool/pool.h"
#include "session/session.h"

#define PROTOCOLS_MAX 4

/* What the workers tell the main thread; called on the worker's thread. */
struct worker_events {
	void (*cancel)(void *arg, const struct cancel_key *key); /* for all workers */
	/* For the worker `next`, if `outcome` is KILL_UNKNOWN so far, else for `asker`. */
	void (*kill)(void *arg, const struct kill_request *request, unsigned asker,
		enum kill_outcome outcome, unsigned next);
	/* A client wants a place among its account's clients, or leaves the one it has. */
	void (*ask_seat)(void *arg, struct seat *seat);
	void (*free_seat)(void *arg, struct seat *seat);
	void (*client_closed)(void *arg, unsigned worker, bool counted);
	void (*client_uncounted)(void *arg); /* it is the console's: does not count any more */
	void (*drained)(void *arg);          /* no clients left but the console's, after a drain */
	void (*closed)(void *arg);           /* no connections left, after close_all */
	void *arg;
};

/* What all workers are made of; borrowed, and alive as long as they are. */
struct worker_kit {
	unsigned n_workers;
	const struct config *config;
	struct dialler *dialler;
	const struct pools_peer *peers; /* filled for all workers before the first one starts */
	struct boards *boards;
	struct worker_events events;
	struct console_host console;
};

struct worker {
	unsigned index;
	pthread_t thread;
	bool started;
	bool draining, told_drained, told_closed;
	struct timer close_timer; /* looks whether the servers have let go */
	struct loop *loop;
	struct mailbox *mailbox;
	struct workspace *space;
	struct proto_worker *protocols[PROTOCOLS_MAX];
	struct pools *pools;
	struct sessions *sessions;
	struct console *console;
	const struct config *config;
	struct worker_events events;
};

/* Makes the worker, not yet its thread. Returns 0 or -errno. */
MUST_USE int worker_init(struct worker *w, unsigned index, const struct worker_kit *kit);

MUST_USE int worker_start(struct worker *w);

/* Ends the thread; the worker's state stays, for worker_clear(). */
void worker_stop(struct worker *w);

/* With all threads ended: delivers, on the calling thread, what is in the mailbox. Opens no
 * connections. */
void worker_settle(struct worker *w);

/* Frees everything. No worker may have anything to deliver to this one any more. */
void worker_clear(struct worker *w);

/* A client has come; on the worker's thread. Takes over `fd`. */
void worker_take_client(struct worker *w, const struct protocol *protocol, int fd,
	const struct sockaddr_storage *peer, uint32_t id, bool too_many);

/* --- messages to a worker; any thread --- */

/* Calls fn(arg) on the worker's thread. */
void worker_post_errand(struct worker *w, void (*fn)(void *arg), void *arg);

/* Takes over `fd`. Returns 0, or -ENOMEM with `fd` still the caller's. */
MUST_USE int worker_post_client(struct worker *w, const struct protocol *protocol, int fd,
	const struct sockaddr_storage *peer, uint32_t id, bool too_many);
void worker_post_cancel(struct worker *w, const struct cancel_key *key);

/* Asks the worker to carry out a client's KILL, or tells the asker's worker what came of it. */
void worker_post_kill(struct worker *w, const struct kill_request *request, unsigned asker);
void worker_post_killed(struct worker *w, uint32_t session_id, enum kill_outcome outcome);

/* Whether a client has a place: `seat` comes back. */
void worker_post_seat(struct worker *w, struct seat *seat);
void worker_post_drain(struct worker *w);

/* Tells and closes all clients, then gives up the server connections. */
void worker_post_close_all(struct worker *w);

/* What protocol->probe() has found (copied). */
void worker_post_greeting(
	struct worker *w, const struct protocol *protocol, const struct buf *greeting);

/* `acknowledged` is called on the worker's thread when the configuration before is not used any
 * more. */
void worker_post_config(
	struct worker *w, const struct config *config, void (*acknowledged)(void *arg), void *arg);
