/*
 * The event loop: libevent, wrapped once. One loop per thread; nothing in here may be called from
 * another thread, except through a mailbox (net/mailbox.h).
 */
#pragma once

#include <stdbool.h>

#include "util/check.h"
#include "util/clock.h"
#include "util/heap.h"
#include "util/list.h"

struct loop;

/* Returns 0 with *ret_loop (caller: loop_free), or -ENOMEM. */
MUST_USE int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);

/* Runs until loop_stop(), which may be called from any of the loop's callbacks. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* The monotonic clock. It stands still while a stream's callback runs: a transaction asks for the
 * time a dozen times, and reading it takes as long as many of the steps that it is about. */
usec_t loop_now(struct loop *loop);

/* For net/stream: the clock stands still from now on, as soon as someone has looked at it; and goes
 * on. */
void loop_hold_time(struct loop *loop);
void loop_let_time_go(struct loop *loop);

/* The libevent base, for the HTTP server in admin/ only. */
struct event_base *loop_event_base(struct loop *loop);

/*
 * A timer, armed lazily: moving it to a later moment is a store; only moving it earlier than the
 * moment for which it is armed touches the loop. So a deadline may be renewed for every statement.
 * All timers of a loop share one of libevent, each of which is larger than all that an idle client
 * needs otherwise.
 */
typedef void (*timer_fn)(void *arg);

struct timer {
	/* In loop->timers while armed; its key is when the loop will wake for it, or USEC_NEVER. */
	struct heap_node node;
	struct loop *loop;
	timer_fn fn;
	void *arg;
	usec_t due; /* when `fn` is wanted; USEC_NEVER: not at all */
};

void timer_init(struct timer *t, struct loop *loop, timer_fn fn, void *arg);

/* Calls `fn` once, not before `moment`; USEC_NEVER: no more. Replaces what was set before. */
void timer_set(struct timer *t, usec_t moment);

/* Must be called before the memory goes. May be called twice. */
void timer_clear(struct timer *t);

/*
 * Work for "after the present callback": how things are destroyed that are still on the stack. Runs
 * before the loop sleeps. Scheduling it again while it is pending does nothing.
 */
typedef void (*deferred_fn)(void *arg);

struct deferred {
	struct list link;
	deferred_fn fn;
	void *arg;
};

void deferred_init(struct deferred *d, deferred_fn fn, void *arg);
void deferred_schedule(struct deferred *d, struct loop *loop);
void deferred_cancel(struct deferred *d);

/* Runs what is pending now; for the end, when the loop does not run any more. */
void loop_run_deferred(struct loop *loop);

/* Calls `fn` for each arrival of that signal. Freed with signal_watch_free(). */
struct signal_watch;
typedef void (*signal_fn)(void *arg, int signo);
MUST_USE int signal_watch_new(
	struct loop *loop, int signo, signal_fn fn, void *arg, struct signal_watch **ret_watch);
void signal_watch_free(struct signal_watch *watch);
