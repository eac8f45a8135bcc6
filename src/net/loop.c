/* libevent's base, timers and signals. Used by everything above net/; knows no sockets. */
#include "net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

struct loop {
	struct event_base *base;
	struct event deferred_event;
	struct list deferred;
	bool stopping;
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
	event_assign(&loop->deferred_event, loop->base, -1, 0, run_deferred, loop);
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
	return clock_usec();
}

struct event_base *loop_event_base(struct loop *loop)
{
	return loop->base;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;
	usec_t due = t->due;

	t->armed = USEC_NEVER;
	if (due == USEC_NEVER)
		return;
	if (due > clock_usec()) {
		timer_set(t, due);
		return;
	}
	t->due = USEC_NEVER;
	t->fn(t->arg);
}

void timer_init(struct timer *t, struct loop *loop, timer_fn fn, void *arg)
{
	t->loop = loop;
	t->fn = fn;
	t->arg = arg;
	t->due = t->armed = USEC_NEVER;
	event_assign(&t->event, loop->base, -1, 0, timer_fired, t);
}

void timer_set(struct timer *t, usec_t moment)
{
	t->due = moment;
	if (moment >= t->armed)
		return;
	usec_t delay = moment - clock_usec();
	if (delay < 0)
		delay = 0;
	struct timeval tv = {.tv_sec = delay / USEC_PER_SEC, .tv_usec = delay % USEC_PER_SEC};
	t->armed = moment;
	event_add(&t->event, &tv);
}

void timer_clear(struct timer *t)
{
	if (!t->fn)
		return;
	t->due = t->armed = USEC_NEVER;
	event_del(&t->event);
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
