/* libevent's base, timers and signals. Used by everything above net/; knows no sockets. */
#include "net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>

struct loop {
	struct event_base *base;
	struct event deferred_event;
	struct list deferred;
	struct heap timers; /* by the moment for which they are armed */
	struct event timer_event;
	usec_t wake_at; /* when timer_event fires; USEC_NEVER: not at all */
	usec_t firing;  /* the moment up to which timers are being fired; 0: none are */
	bool stopping;
	bool time_held;
	usec_t now; /* while it is held; 0: nobody has asked */
};

static void run_deferred(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct deferred *d;

	while ((d = list_first(&loop->deferred, struct deferred, link))) {
		list_remove(&d->link);
		d->fn(d->arg);
	}
}

static void timers_fired(evutil_socket_t fd, short what, void *arg);

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct event_config *config = event_config_new();
	int r = -ENOMEM;

	if (!loop || !config)
		goto out;
	/* A loop belongs to one thread, so libevent needs no locks; the environment has no say. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
	loop->base = event_base_new_with_config(config);
	if (!loop->base)
		goto out;
	list_init(&loop->deferred);
	loop->wake_at = USEC_NEVER;
	event_assign(&loop->deferred_event, loop->base, -1, 0, run_deferred, loop);
	event_assign(&loop->timer_event, loop->base, -1, 0, timers_fired, loop);
	*ret_loop = loop;
	loop = NULL;
	r = 0;
out:
	if (config)
		event_config_free(config);
	free(loop);
	return r;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	run_deferred(-1, 0, loop);
	event_base_free(loop->base);
	free(loop);
}

void loop_run_deferred(struct loop *loop)
{
	run_deferred(-1, 0, loop);
}

void loop_run(struct loop *loop)
{
	loop->stopping = false;
	while (!loop->stopping)
		event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
	event_base_loopbreak(loop->base);
}

usec_t loop_now(struct loop *loop)
{
	if (!loop->time_held)
		return clock_usec();
	if (!loop->now)
		loop->now = clock_usec();
	return loop->now;
}

void loop_hold_time(struct loop *loop)
{
	loop->time_held = true;
	loop->now = 0;
}

void loop_let_time_go(struct loop *loop)
{
	loop->time_held = false;
}

struct event_base *loop_event_base(struct loop *loop)
{
	return loop->base;
}

/* --- timers --- */

/* Sees to it that the loop wakes in time for the first. When that has moved to later it wakes in
 * vain, once. */
static void wake_for_first(struct loop *loop)
{
	const struct heap_node *first = loop->timers.root;

	if (!first || first->key >= loop->wake_at || loop->firing)
		return;
	usec_t delay = first->key - loop_now(loop);
	if (delay < 0)
		delay = 0;
	struct timeval tv = {.tv_sec = delay / USEC_PER_SEC, .tv_usec = delay % USEC_PER_SEC};
	loop->wake_at = first->key;
	event_add(&loop->timer_event, &tv);
}

static void arm(struct timer *t, usec_t moment)
{
	/* One that is set to the past again and again must not keep others from their turn. */
	usec_t firing = t->loop->firing;
	heap_insert(&t->loop->timers, &t->node, moment > firing ? moment : firing + 1);
}

static void disarm(struct timer *t)
{
	if (t->node.key != USEC_NEVER)
		heap_remove(&t->loop->timers, &t->node);
	t->node.key = USEC_NEVER;
}

static void timers_fired(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;

	loop->wake_at = USEC_NEVER;
	loop->firing = clock_usec();
	while (loop->timers.root && loop->timers.root->key <= loop->firing) {
		struct timer *t = container_of(loop->timers.root, struct timer, node);
		usec_t due = t->due;
		disarm(t);
		if (due == USEC_NEVER)
			continue;
		if (due > loop->firing) {
			arm(t, due);
			continue;
		}
		t->due = USEC_NEVER;
		t->fn(t->arg);
	}
	loop->firing = 0;
	wake_for_first(loop);
}

void timer_init(struct timer *t, struct loop *loop, timer_fn fn, void *arg)
{
	*t = (struct timer){
		.node.key = USEC_NEVER, .loop = loop, .fn = fn, .arg = arg, .due = USEC_NEVER};
}

void timer_set(struct timer *t, usec_t moment)
{
	t->due = moment;
	if (moment >= t->node.key)
		return;
	disarm(t);
	arm(t, moment);
	wake_for_first(t->loop);
}

void timer_clear(struct timer *t)
{
	if (!t->fn)
		return;
	disarm(t);
	t->due = USEC_NEVER;
}

void deferred_init(struct deferred *d, deferred_fn fn, void *arg)
{
	list_init(&d->link);
	d->fn = fn;
	d->arg = arg;
}

void deferred_schedule(struct deferred *d, struct loop *loop)
{
	if (!list_empty(&d->link))
		return;
	list_append(&loop->deferred, &d->link);
	event_active(&loop->deferred_event, EV_TIMEOUT, 1);
}

void deferred_cancel(struct deferred *d)
{
	list_remove(&d->link);
}

struct signal_watch {
	struct event event;
	signal_fn fn;
	void *arg;
};

static void signal_arrived(evutil_socket_t signo, short what, void *arg)
{
	struct signal_watch *watch = arg;

	watch->fn(watch->arg, (int)signo);
}

int signal_watch_new(
	struct loop *loop, int signo, signal_fn fn, void *arg, struct signal_watch **ret_watch)
{
	struct signal_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	watch->fn = fn;
	watch->arg = arg;
	event_assign(
		&watch->event, loop->base, signo, EV_SIGNAL | EV_PERSIST, signal_arrived, watch);
	if (event_add(&watch->event, NULL) < 0) {
		free(watch);
		return -ENOMEM;
	}
	*ret_watch = watch;
	return 0;
}

void signal_watch_free(struct signal_watch *watch)
{
	if (!watch)
		return;
	event_del(&watch->event);
	free(watch);
}
