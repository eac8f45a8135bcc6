/*
 * The main thread: starts the workers, takes signals, and ends everything in the order that nothing
 * is used after it is gone. It serves nobody itself.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/internal.h"
#include "daemon/systemd.h"
#include "pool/board.h"

/* Messages answer messages; a permission's way is the longest: returned, granted to another worker,
 * returned unused. */
#define SETTLE_ROUNDS 4

/* --- what workers tell; on their threads --- */

void daemon_tell(struct daemon *d, message_fn deliver, unsigned worker, uint32_t session_id)
{
	struct notice *notice = calloc(1, sizeof(*notice));

	/* A count that is lost would keep clients out, or the program from stopping. */
	CHECK(notice);
	notice->message.deliver = deliver;
	notice->worker = worker;
	notice->session_id = session_id;
	mailbox_post(d->mailbox, &notice->message);
}

static void on_cancel(void *arg, const struct cancel_key *key)
{
	struct daemon *d = arg;

	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_cancel(&d->workers[i], key);
}

/* From worker to worker, until one has the victim; then back to who asked. */
static void on_kill(void *arg, const struct kill_request *request, unsigned asker,
	enum kill_outcome outcome, unsigned next)
{
	struct daemon *d = arg;

	if (outcome == KILL_UNKNOWN && next < d->n_workers)
		worker_post_kill(&d->workers[next], request, asker);
	else
		worker_post_killed(&d->workers[asker], request->asker, outcome);
}

static void console_stops(struct message *message, void *arg)
{
	free(container_of(message, struct notice, message));
	stop_orderly(arg);
}

static void on_console_shutdown(void *arg)
{
	daemon_tell(arg, console_stops, 0, 0);
}

/* --- on the main thread --- */

void daemon_log_lines(enum log_level level, const char *event, struct buf *text)
{
	buf_u8(text, 0);
	if (text->failed)
		return;
	char *rest = (char *)text->data, *line;
	char escaped[800];
	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			log_line(level, "event=%s detail=\"%s\"", event,
				log_escape(line, escaped, sizeof(escaped)));
	}
}

static void on_signal(void *arg, int signo)
{
	struct daemon *d = arg;

	if (signo == SIGHUP)
		reload_now(d);
	else if (signo == SIGTERM)
		stop_orderly(d);
	else
		stop_at_once(d);
}

/* --- starting --- */

static void log_totals(const struct config *config)
{
	struct buf totals = {0};

	config_print_totals(config, &totals);
	daemon_log_lines(LOG_LEVEL_INFO, "budget", &totals);
	buf_clear(&totals);
}

static int make_workers(struct daemon *d)
{
	struct worker_kit kit = {.n_workers = d->n_workers,
		.config = d->config,
		.dialler = d->dialler,
		.peers = d->peers,
		.events = {.cancel = on_cancel,
			.kill = on_kill,
			.ask_seat = accounts_ask_seat,
			.free_seat = accounts_free_seat,
			.client_closed = doors_client_closed,
			.client_uncounted = doors_client_uncounted,
			.drained = stop_drained,
			.closed = stop_closed,
			.arg = d},
		.console = {.peers = d->console_peers,
			.n_peers = d->n_workers,
			.reload = reload_for_console,
			.shutdown = on_console_shutdown,
			.arg = d}};
	int r = boards_new(d->n_workers, &d->boards);

	kit.boards = d->boards;
	for (unsigned i = 0; r == 0 && i < d->n_workers; i++) {
		struct worker *w = &d->workers[i];
		r = worker_init(w, i, &kit);
		d->peers[i] = (struct pools_peer){.mailbox = w->mailbox, .pools = w->pools};
		d->console_peers[i] =
			(struct console_peer){.mailbox = w->mailbox, .console = w->console};
	}
	return r;
}

static int make_arrays(struct daemon *d)
{
	unsigned n = (unsigned)d->config->workers;

	d->workers = calloc(n, sizeof(*d->workers));
	d->peers = calloc(n, sizeof(*d->peers));
	d->console_peers = calloc(n, sizeof(*d->console_peers));
	d->n_clients = calloc(n, sizeof(*d->n_clients));
	if (!d->workers || !d->peers || !d->console_peers || !d->n_clients)
		return -ENOMEM;
	d->n_workers = n;
	return 0;
}

/* Clients come in once the workers run. */
static int start(struct daemon *d)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
	int r = loop_new(&d->loop);

	if (r == 0)
		r = mailbox_new(d->loop, d, &d->mailbox);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(signals); i++)
		r = signal_watch_new(d->loop, signals[i], on_signal, d, &d->watches[i]);
	if (r < 0)
		return r;
	timer_init(&d->stop_timer, d->loop, stop_timer_fired, d);
	probes_init(d);
	r = make_arrays(d);
	if (r == 0)
		r = dialler_new(DIAL_THREADS, CANCEL_THREADS, &d->dialler);
	if (r == 0)
		r = make_workers(d);
	if (r == 0)
		porter_init(d);
	if (r == 0)
		r = doors_open(d);
	for (unsigned i = 0; r == 0 && i < d->n_workers; i++)
		r = worker_start(&d->workers[i]);
	return r;
}

/* --- ending --- */

/* With the workers' threads ended: delivers what they have sent each other, until nothing is left
 * that would reach for a mailbox that is gone. */
static void settle(struct daemon *d)
{
	for (int round = 0; round < SETTLE_ROUNDS; round++) {
		for (unsigned i = 0; i < d->n_workers; i++)
			worker_settle(&d->workers[i]);
	}
}

/* From here on it is ending as fast as it can: one more signal, to which nobody would listen, must
 * not make of it a process that was killed. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void end(struct daemon *d)
{
	block_signals();
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_stop(&d->workers[i]);
	doors_clear(d);
	porter_clear(d);
	settle(d);
	/* What dialler threads still do ends up in the workers' mailboxes. */
	dialler_free(d->dialler);
	settle(d);
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_clear(&d->workers[i]);
	d->n_workers = 0;
	timer_clear(&d->stop_timer);
	timer_clear(&d->probe_timer);
	for (size_t i = 0; i < ARRAY_LEN(d->watches); i++)
		signal_watch_free(d->watches[i]);
	mailbox_free(d->mailbox);
	accounts_clear(d);
	loop_free(d->loop);
	reload_clear(d);
	config_free(d->config);
	buf_clear(&d->listen_text);
	free(d->workers);
	boards_free(d->boards);
	free(d->peers);
	free(d->console_peers);
	free(d->n_clients);
	free(d);
}

void daemon_ready(struct daemon *d)
{
	struct buf status = {0};

	buf_u8(&d->listen_text, 0);
	const char *listen = d->listen_text.failed ? "" : (char *)d->listen_text.data;
	log_info("weir " WEIR_VERSION " ready pid=%d workers=%u listen=\"%s\"", (int)getpid(),
		d->n_workers, listen);
	buf_printf(&status, "READY=1\nSTATUS=listening on %s", listen);
	buf_u8(&status, 0);
	systemd_notify(status.failed ? "READY=1" : (char *)status.data);
	buf_clear(&status);
}

/* False: a URL asks for what this version does not have; that is logged. */
static bool is_good(const struct config *config)
{
	struct buf problems = {0};
	int r = daemon_check(config, &problems);

	if (r != 0)
		daemon_log_lines(LOG_LEVEL_ERROR, "bad_config", &problems);
	buf_clear(&problems);
	return r == 0;
}

int daemon_run(struct config *config)
{
	log_configure(config->log_level, systemd_logs_to_journal());
	signal(SIGPIPE, SIG_IGN);
	/* Otherwise small pieces that were freed are kept for pieces of that size, and what
	 * thousands of clients needed once, for a moment, stays resident. */
	mallopt(M_MXFAST, 0);
	protocol_init_all();
	struct daemon *d = is_good(config) ? calloc(1, sizeof(*d)) : NULL;
	if (!d) {
		config_free(config);
		return 1;
	}
	d->config = config;
	list_init(&d->askers);
	list_init(&d->present_askers);
	log_totals(config);
	porter_count(d, config);
	int r = start(d);
	if (r == 0) {
		probes_start(d);
		loop_run(d->loop);
	} else if (r < 0) {
		log_error("event=start_failed error=\"%s\"", strerror(-r));
	}
	end(d);
	if (r == 0)
		log_info("event=stopped");
	return r != 0;
}
