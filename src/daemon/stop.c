/*
 * Stopping, in steps. Handing over, with reuse_port: new clients go to another weir. Draining: no
 * new clients, idle ones are told and closed, those in a transaction get to its end. Closing:
 * whoever is left is told, and server connections are given up with the protocol's farewell while
 * the workers still run, since that takes their loops and the dialler's threads.
 */
#include <stdlib.h>

#include "daemon/internal.h"
#include "daemon/systemd.h"

/* How long servers may take to let go: statements are being cancelled, goodbyes are under way. */
#define FAREWELL_TIME (3 * USEC_PER_SEC)

/* How long it takes at most until the last connection that was led here, and not to the process
 * that takes over, has been accepted. Closing the socket would reset it. */
#define HANDOVER_TIME (500 * USEC_PER_MSEC)

/* People are told when it is true: from here on a connection is refused. */
static void announce(const struct daemon *d)
{
	if (d->phase == PHASE_DRAINING) {
		log_info("event=draining clients=%u timeout=%llds", d->n_all_clients,
			(long long)(d->config->shutdown_timeout / USEC_PER_SEC));
		systemd_notify("STOPPING=1\nSTATUS=waiting for transactions to end");
	} else {
		log_info("event=closing clients=%u", d->n_all_clients);
		systemd_notify("STOPPING=1\nSTATUS=closing connections");
	}
}

/* Nobody comes in any more: no client can come to a worker behind what it is told here. */
static void go_on(struct daemon *d)
{
	announce(d);
	for (unsigned i = 0; i < d->n_workers; i++) {
		if (d->phase == PHASE_DRAINING)
			worker_post_drain(&d->workers[i]);
		else
			worker_post_close_all(&d->workers[i]);
	}
}

static void doors_are_closed(struct message *message, void *arg)
{
	struct daemon *d = arg;

	free(container_of(message, struct notice, message));
	d->is_shut = true;
	go_on(d);
}

static void close_all(struct daemon *d)
{
	bool was_draining = d->phase == PHASE_DRAINING;

	d->phase = PHASE_CLOSING;
	d->n_unclosed = d->n_workers;
	timer_set(&d->stop_timer, clock_usec() + FAREWELL_TIME);
	if (d->is_shut)
		go_on(d);
	else if (!was_draining)
		doors_close(d, doors_are_closed);
}

void stop_at_once(struct daemon *d)
{
	if (d->phase == PHASE_CLOSING)
		loop_stop(d->loop);
	else
		close_all(d);
}

static void drain(struct daemon *d)
{
	d->phase = PHASE_DRAINING;
	d->n_undrained = d->n_workers;
	timer_set(&d->stop_timer, clock_usec() + d->config->shutdown_timeout);
	doors_close(d, doors_are_closed);
}

void stop_orderly(struct daemon *d)
{
	if (d->phase != PHASE_RUNNING) {
		stop_at_once(d);
	} else if (d->config->reuse_port) {
		d->phase = PHASE_HANDING_OVER;
		doors_hand_over(d);
		timer_set(&d->stop_timer, clock_usec() + HANDOVER_TIME);
	} else {
		drain(d);
	}
}

void stop_timer_fired(void *arg)
{
	struct daemon *d = arg;

	if (d->phase == PHASE_HANDING_OVER)
		drain(d);
	else
		stop_at_once(d);
}

static void worker_is_drained(struct message *message, void *arg)
{
	struct daemon *d = arg;

	free(container_of(message, struct notice, message));
	if (d->phase == PHASE_DRAINING && --d->n_undrained == 0)
		close_all(d);
}

void stop_drained(void *daemon)
{
	daemon_tell(daemon, worker_is_drained, 0, 0);
}

static void worker_is_closed(struct message *message, void *arg)
{
	struct daemon *d = arg;

	free(container_of(message, struct notice, message));
	if (--d->n_unclosed == 0)
		loop_stop(d->loop);
}

void stop_closed(void *daemon)
{
	daemon_tell(daemon, worker_is_closed, 0, 0);
}
