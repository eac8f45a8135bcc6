/*
 * Stopping, in two steps. Draining: no new clients, idle ones are told and closed, those in a
 * transaction get to its end. Closing: whoever is left is told, and server connections are given
 * up with the protocol's farewell while the workers still run, since that takes their loops and the
 * dialler's threads.
 */
#include <stdlib.h>

#include "daemon/internal.h"
#include "daemon/systemd.h"

/* How long servers may take to let go: statements are being cancelled, goodbyes are under way. */
#define FAREWELL_TIME (3 * USEC_PER_SEC)

static void close_all(struct daemon *d)
{
	d->phase = PHASE_CLOSING;
	log_info("event=closing clients=%u", d->n_all_clients);
	systemd_notify("STOPPING=1\nSTATUS=closing connections");
	doors_close(d);
	d->n_unclosed = d->n_workers;
	timer_set(&d->stop_timer, clock_usec() + FAREWELL_TIME);
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_close_all(&d->workers[i]);
}

void stop_at_once(struct daemon *d)
{
	if (d->phase == PHASE_CLOSING)
		loop_stop(d->loop);
	else
		close_all(d);
}

void stop_orderly(struct daemon *d)
{
	if (d->phase != PHASE_RUNNING) {
		stop_at_once(d);
		return;
	}
	d->phase = PHASE_DRAINING;
	log_info("event=draining clients=%u timeout=%llds", d->n_all_clients,
		(long long)(d->config->shutdown_timeout / USEC_PER_SEC));
	systemd_notify("STOPPING=1\nSTATUS=waiting for transactions to end");
	doors_close(d);
	d->n_undrained = d->n_workers;
	timer_set(&d->stop_timer, clock_usec() + d->config->shutdown_timeout);
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_drain(&d->workers[i]);
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
