/*
 * One server connection: a stream, the protocol's half, and its place in a pool. While it is lent
 * to a session the session owns the stream's callbacks; at all other times the pool does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "net/keepalive.h"
#include "net/stream.h"
#include "proto/proto.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/list.h"

struct pool;

enum server_state {
	SERVER_IDLE,     /* at rest, for anyone to take */
	SERVER_TESTING,  /* asked for a sign of life */
	SERVER_LENT,     /* a session has it */
	SERVER_CLEANING, /* being drained, rolled back, reset after its client */
	SERVER_HELD,     /* at rest and clean, but a cancel is still under way */
	SERVER_CLOSING,  /* told goodbye; counts until the server has hung up */
	SERVER_CLOSED,   /* gone; the memory follows */
	N_SERVER_STATES,
};

struct server {
	struct stream stream;
	struct back *back;
	struct pool *pool;
	struct list link; /* in the pool's list for its state */
	enum server_state state;
	uint64_t id;
	struct buf kept;    /* received, but not used yet */
	unsigned flavour;   /* what it was opened with: see struct dial_target */
	bool overflow;      /* opened beyond pool_size: closed after overflow_linger unused */
	bool retired;       /* RECONNECT, a reload: to be closed instead of reused */
	bool let_go;        /* closed as one too many: the ledger knows */
	bool abandoned;     /* its client left in the middle */
	bool stray;         /* a cancel may still come: nobody else gets it */
	unsigned n_cancels; /* cancels on dialler threads: nobody else gets it before they end */
	usec_t opened;      /* monotonic */
	usec_t opened_wall; /* for people */
	usec_t lent_since;
	usec_t idle_since;            /* when it was last used, while idle */
	usec_t spared_until;          /* idle for too long, but kept as one of min_size */
	usec_t cancel_again;          /* LENT, CLEANING: when to cancel once more; 0: not now */
	usec_t cancel_pause;          /* ... and how long that is put off; 0: not at all */
	struct keepalive_watch watch; /* LENT */
	usec_t drained_by;            /* CLEANING: all its client ran must have ended then */
	usec_t deadline;              /* TESTING, CLEANING, HELD, CLOSING: when to give up */
	struct deferred freeing;
	void (*cancel_over)(struct server *server); /* for the holder; NULL: it does not ask */
	void *holder;                               /* the session that has it; NULL: none */
	uint64_t n_lent;                            /* how often it was lent */
};

const char *server_state_name(enum server_state state);
