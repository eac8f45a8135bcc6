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
 * TCP_USER_TIMEOUT takes a peer for dead, too, that is alive and well and does not read, for
 * instance while it works on the first of many statements that were sent in a row. Therefore, while
 * someone waits for the peer's answer, the kernel's limit is lifted from what cannot be sent, and
 * weir looks itself whether acknowledgements come.
 */
struct keepalive_watch {
	bool ours;           /* the limit is weir's own; a URL may ask for another one */
	bool lifted;         /* it does not hold at present */
	usec_t silent_since; /* when it was first seen that an acknowledgement is due; 0: none is */
};

/* How often to look. */
#define KEEPALIVE_WATCH_EVERY (2 * USEC_PER_SEC + 500 * USEC_PER_MSEC)

void keepalive_watch_init(struct keepalive_watch *watch, int fd);

/* Looks. True: the peer has not acknowledged anything for too long. */
bool keepalive_watch_finds_dead(struct keepalive_watch *watch, int fd, usec_t now);

/* Nobody waits any more: the kernel's limit holds again. */
void keepalive_watch_end(struct keepalive_watch *watch, int fd);
