/*
 * How a peer is noticed that has vanished without a word: a pulled cable, a network that swallows
 * packets, a machine that lost its power. Used for the sockets at both ends of weir; for those that
 * a library opens, the same numbers are given to the library.
 */
#pragma once

#include <stdbool.h>

#include "util/clock.h"

/* Where nothing is under way the kernel asks after IDLE seconds, and again every INTERVAL, and
 * gives up after COUNT questions without an answer: 17 s after the last word. What is under way
 * must be acknowledged within USER_TIMEOUT. All of it is within the 20 s that are promised. */
#define KEEPALIVE_IDLE_SEC          8
#define KEEPALIVE_INTERVAL_SEC      3
#define KEEPALIVE_COUNT             3
#define KEEPALIVE_USER_TIMEOUT_MSEC 15000

/* The kernel asks after the peer of this TCP socket, or after those of all that a listening one
 * will accept. A failure is of no consequence. */
void keepalive_enable(int fd);

/* ... and breaks the connection off when what was sent to it finds no acknowledgement in time. */
void keepalive_limit_silence(int fd);

/*
 * TCP_USER_TIMEOUT takes a peer for dead, too, that is alive and well and does not read: a server
 * that works on the first of many statements that were sent in a row, a client that works on the
 * first rows of an answer. Therefore a client's socket does not have it at all, and a server's
 * loses it while someone waits for its answer and something cannot be sent; weir looks itself
 * whether acknowledgements come.
 */
struct keepalive_watch {
	bool ours;           /* the limit is weir's own; a URL may ask for another one */
	bool lifted;         /* the kernel's limit does not hold at present */
	usec_t silent_since; /* when it was first seen that an acknowledgement is due; 0: none is */
};

enum keepalive_finding {
	KEEPALIVE_QUIET, /* nothing is under way to the peer */
	KEEPALIVE_DUE,   /* an acknowledgement is due, or the peer does not read */
	KEEPALIVE_DEAD,  /* the peer has not acknowledged anything for too long */
};

/* How often to look. */
#define KEEPALIVE_WATCH_EVERY (2 * USEC_PER_SEC + 500 * USEC_PER_MSEC)

/* For a socket that has had keepalive_limit_silence(), perhaps; and for one that has not. */
void keepalive_watch_init(struct keepalive_watch *watch, int fd);
void keepalive_watch_init_unlimited(struct keepalive_watch *watch);

/* Looks. Nothing is ever under way on a unix socket. */
enum keepalive_finding keepalive_look(struct keepalive_watch *watch, int fd, usec_t now);

/* Nobody waits any more: the kernel's limit holds again, if there was one. */
void keepalive_watch_end(struct keepalive_watch *watch, int fd);
