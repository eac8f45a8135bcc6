/*
 * The main thread: starts the workers, accepts clients and deals them out, takes signals, reloads,
 * stops. It serves nobody itself.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/systemd.h"
#include "daemon/worker.h"
#include "net/listener.h"
#include "util/log.h"

#define DIAL_THREADS   8
#define CANCEL_THREADS 4
#define LISTENERS_MAX  64

/* Where clients of each protocol connect. */
static const struct {
	const char *protocol;
	size_t offset; /* of the list in struct config */
} listen_options[] = {
	{"postgresql", offsetof(struct config, listen_postgresql)},
	{"mysql", offsetof(struct config, listen_mysql)},
};

struct door {
	struct daemon *daemon;
	const struct protocol *protocol;
	struct listener *listener;
};

struct daemon {
	struct loop *loop;
	struct mailbox *mailbox;
	struct config *config;
	struct config *next_config; /* while a reload is under way; NULL: none is */
	unsigned n_unacknowledged;  /* workers that still use the one before */
	bool reload_again;
	struct dialler *dialler;
	struct worker *workers;
	unsigned n_workers;
	struct pools_peer *peers;
	struct console_peer *console_peers;
	unsigned *n_clients; /* per worker */
	unsigned n_all_clients;
	uint32_t last_id;
	struct door doors[LISTENERS_MAX];
	size_t n_doors;
	bool inherited[ARRAY_LEN(listen_options)];
	struct signal_watch *watches[3];
	struct timer shutdown_timer;
	bool stopping;
	unsigned n_undrained;
	struct buf listen_text;
};

/* --- clients --- */

static unsigned least_busy(const struct daemon *d)
{
	unsigned best = 0;

	for (unsigned i = 1; i < d->n_workers; i++) {
		if (d->n_clients[i] < d->n_clients[best])
			best = i;
	}
	return best;
}

static void on_accept(void *arg, int fd, const struct sockaddr_storage *peer, socklen_t peer_len)
{
	struct door *door = arg;
	struct daemon *d = door->daemon;
	unsigned worker = least_busy(d);

	/* Ids are positive as signed numbers too: drivers read them so. */
	d->last_id = (d->last_id & INT32_MAX) == INT32_MAX ? 1 : d->last_id + 1;
	bool too_many = d->n_all_clients >= (unsigned)d->config->max_clients;
	d->n_clients[worker]++;
	d->n_all_clients++;
	worker_post_client(&d->workers[worker], door->protocol, fd, peer, d->last_id, too_many);
}

/* --- what workers tell; on their threads --- */

struct notice {
	struct message message;
	unsigned worker;
};

static void post_notice(struct daemon *d, message_fn deliver, unsigned worker)
{
	struct notice *notice = calloc(1, sizeof(*notice));

	CHECK(notice);
	notice->message.deliver = deliver;
	notice->worker = worker;
	mailbox_post(d->mailbox, &notice->message);
}

static void client_is_closed(struct message *message, void *arg)
{
	struct notice *notice = container_of(message, struct notice, message);
	struct daemon *d = arg;

	d->n_clients[notice->worker]--;
	d->n_all_clients--;
	free(notice);
}

static void on_client_closed(void *arg, unsigned worker)
{
	post_notice(arg, client_is_closed, worker);
}

static void finish(struct daemon *d)
{
	loop_stop(d->loop);
}

static void worker_is_drained(struct message *message, void *arg)
{
	struct daemon *d = arg;

	free(message);
	if (--d->n_undrained == 0)
		finish(d);
}

static void on_drained(void *arg)
{
	post_notice(arg, worker_is_drained, 0);
}

static void on_cancel(void *arg, const struct cancel_key *key)
{
	struct daemon *d = arg;

	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_cancel(&d->workers[i], key);
}

/* --- reload --- */

int daemon_check(const struct config *config, struct buf *ret_problems)
{
	int bad = 0;

	for (size_t i = 0; i < config->n_databases; i++) {
		const struct config_database *database = &config->databases[i];
		const struct protocol *protocol = protocol_find(database->url.protocol);
		struct buf why = {0};
		bool good = protocol && protocol->url_check(&database->url, &why);
		if (!protocol)
			buf_printf(&why, "url: this version does not serve %s",
				database->url.protocol);
		buf_u8(&why, 0);
		if (!good) {
			buf_printf(ret_problems, "%s:%d: %s\n", database->file, database->line,
				why.failed ? "bad url" : (char *)why.data);
			bad = 1;
		}
		buf_clear(&why);
	}
	return bad;
}

/* Each line of `text` is one line of the log. */
static void log_lines(enum log_level level, const char *event, struct buf *text)
{
	buf_u8(text, 0);
	if (text->failed)
		return;
	for (char *at = (char *)text->data; *at;) {
		size_t len = strcspn(at, "\n");
		log_line(level, "event=%s detail=\"%.*s\"", event, (int)len, at);
		at += len + (at[len] == '\n');
	}
}

static void reload(struct daemon *d);

static void config_is_taken(struct message *message, void *arg)
{
	struct daemon *d = arg;

	free(message);
	if (--d->n_unacknowledged)
		return;
	config_free(d->config);
	d->config = d->next_config;
	d->next_config = NULL;
	log_info("event=reloaded");
	systemd_notify("READY=1");
	if (d->reload_again)
		reload(d);
}

static void on_config_taken(void *arg)
{
	post_notice(arg, config_is_taken, 0);
}

static void apply(struct daemon *d, struct config *next)
{
	struct buf changes = {0};

	config_print_diff(d->config, next, &changes);
	log_lines(LOG_LEVEL_INFO, "reload", &changes);
	buf_clear(&changes);
	log_configure(next->log_level, systemd_logs_to_journal());
	/* What needs a restart stays as it was. */
	d->next_config = next;
	d->n_unacknowledged = d->n_workers;
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_config(&d->workers[i], next, on_config_taken, d);
}

static void reload(struct daemon *d)
{
	struct buf problems = {0};
	struct config *next;

	d->reload_again = d->next_config != NULL;
	if (d->reload_again || d->stopping)
		return;
	if (!d->config->path) {
		log_warning("event=reload_refused detail=\"started with URLs: there is no file to "
			    "read\"");
		return;
	}
	systemd_notify("RELOADING=1");
	int r = config_read(d->config->path, &next, &problems);
	if (r == 0 && daemon_check(next, &problems) != 0) {
		config_free(next);
		r = 1;
	}
	if (r == 0) {
		apply(d, next);
	} else {
		log_lines(LOG_LEVEL_ERROR, "bad_config", &problems);
		log_error("event=reload_refused detail=\"the configuration stays as it was\"");
		systemd_notify("READY=1");
	}
	buf_clear(&problems);
}

/* --- stopping --- */

static void close_doors(struct daemon *d)
{
	for (size_t i = 0; i < d->n_doors; i++)
		listener_free(d->doors[i].listener);
	d->n_doors = 0;
}

static void stop_now(void *arg)
{
	struct daemon *d = arg;

	log_info("event=closing_all clients=%u", d->n_all_clients);
	close_doors(d);
	finish(d);
}

static void drain(struct daemon *d)
{
	if (d->stopping) {
		stop_now(d);
		return;
	}
	d->stopping = true;
	log_info("event=stopping clients=%u", d->n_all_clients);
	systemd_notify("STOPPING=1");
	close_doors(d);
	d->n_undrained = d->n_workers;
	timer_set(&d->shutdown_timer, clock_usec() + d->config->shutdown_timeout);
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_drain(&d->workers[i]);
}

static void on_signal(void *arg, int signo)
{
	struct daemon *d = arg;

	if (signo == SIGHUP)
		reload(d);
	else if (signo == SIGTERM)
		drain(d);
	else
		stop_now(d);
}

/* --- what the console asks of the daemon; on a worker's thread --- */

static void do_reload(struct message *message, void *arg)
{
	free(message);
	reload(arg);
}

static void do_shutdown(struct message *message, void *arg)
{
	free(message);
	drain(arg);
}

static void on_console_reload(void *arg)
{
	post_notice(arg, do_reload, 0);
}

static void on_console_shutdown(void *arg)
{
	post_notice(arg, do_shutdown, 0);
}

/* --- starting --- */

static void add_door(struct daemon *d, const struct protocol *protocol, struct listener *listener)
{
	d->doors[d->n_doors++].listener = listener;
}

static struct door *next_door(struct daemon *d, const struct protocol *protocol)
{
	struct door *door = &d->doors[d->n_doors];

	door->daemon = d;
	door->protocol = protocol;
	return door;
}

/* A socket from systemd: its name says the protocol; without one it is PostgreSQL's. */
static void take_inherited(void *arg, int fd, const char *name)
{
	struct daemon *d = arg;
	struct listener *listener;

	for (size_t i = 0; i < ARRAY_LEN(listen_options); i++) {
		const struct protocol *protocol = protocol_find(listen_options[i].protocol);
		bool meant = strstr(name, listen_options[i].protocol) ||
			     i + 1 == ARRAY_LEN(listen_options);
		if (i == 0 && !strstr(name, listen_options[1].protocol))
			meant = true;
		if (!meant || !protocol || d->n_doors == LISTENERS_MAX)
			continue;
		if (listener_adopt(d->loop, fd, on_accept, next_door(d, protocol), &listener) < 0)
			return;
		add_door(d, protocol, listener);
		d->inherited[i] = true;
		buf_printf(&d->listen_text, " systemd:%s", listen_options[i].protocol);
		return;
	}
	log_warning("event=socket_ignored name=\"%s\"", name);
}

static int open_doors(struct daemon *d)
{
	systemd_sockets(take_inherited, d);
	for (size_t i = 0; i < ARRAY_LEN(listen_options); i++) {
		const struct protocol *protocol = protocol_find(listen_options[i].protocol);
		const struct config_list *list =
			(const void *)((const char *)d->config + listen_options[i].offset);
		for (size_t j = 0; protocol && !d->inherited[i] && j < list->n_items; j++) {
			struct buf problem = {0};
			struct listener *listener;
			if (d->n_doors == LISTENERS_MAX)
				return 1;
			int r = listener_new(d->loop, list->items[j], on_accept,
				next_door(d, protocol), &listener, &problem);
			if (r != 0) {
				log_lines(LOG_LEVEL_ERROR, "listen_failed", &problem);
				buf_clear(&problem);
				return 1;
			}
			add_door(d, protocol, listener);
			buf_printf(&d->listen_text, " %s", list->items[j]);
		}
	}
	if (d->n_doors)
		return 0;
	log_error("event=listen_failed detail=\"no address to listen on\"");
	return 1;
}

/* Every client is a descriptor, and every server connection two. */
static void raise_descriptor_limit(const struct config *config)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	long long wanted = config->max_clients + 64;
	for (size_t i = 0; i < config->n_databases; i++) {
		const struct config_pool *pool = &config->databases[i].pool;
		wanted +=
			2LL * (pool->pool_size + (pool->max_overflow > 0 ? pool->max_overflow : 0));
	}
	if ((rlim_t)wanted > limit.rlim_cur)
		log_warning("event=few_descriptors limit=%llu wanted=%lld detail=\"raise "
			    "LimitNOFILE or lower max_clients\"",
			(unsigned long long)limit.rlim_cur, wanted);
}

static int make_workers(struct daemon *d)
{
	struct worker_events events = {.cancel = on_cancel,
		.client_closed = on_client_closed,
		.drained = on_drained,
		.arg = d};
	struct console_host console = {.peers = d->console_peers,
		.n_peers = d->n_workers,
		.reload = on_console_reload,
		.shutdown = on_console_shutdown,
		.arg = d};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < d->n_workers; i++) {
		struct worker *w = &d->workers[i];
		r = worker_init(
			w, i, d->n_workers, d->config, d->dialler, d->peers, &events, &console);
		d->peers[i] = (struct pools_peer){.mailbox = w->mailbox, .pools = w->pools};
		d->console_peers[i] =
			(struct console_peer){.mailbox = w->mailbox, .console = w->console};
	}
	for (unsigned i = 0; r == 0 && i < d->n_workers; i++)
		r = worker_start(&d->workers[i]);
	return r;
}

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
	timer_init(&d->shutdown_timer, d->loop, stop_now, d);
	d->n_workers = (unsigned)d->config->workers;
	d->workers = calloc(d->n_workers, sizeof(*d->workers));
	d->peers = calloc(d->n_workers, sizeof(*d->peers));
	d->console_peers = calloc(d->n_workers, sizeof(*d->console_peers));
	d->n_clients = calloc(d->n_workers, sizeof(*d->n_clients));
	if (!d->workers || !d->peers || !d->console_peers || !d->n_clients)
		return -ENOMEM;
	r = dialler_new(DIAL_THREADS, CANCEL_THREADS, &d->dialler);
	if (r == 0)
		r = make_workers(d);
	return r == 0 ? open_doors(d) : r;
}

static void end(struct daemon *d)
{
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_stop(&d->workers[i]);
	/* What dialler threads still do ends up in the workers' mailboxes. */
	dialler_free(d->dialler);
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_close(&d->workers[i]);
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_clear(&d->workers[i]);
	close_doors(d);
	timer_clear(&d->shutdown_timer);
	for (size_t i = 0; i < ARRAY_LEN(d->watches); i++)
		signal_watch_free(d->watches[i]);
	mailbox_free(d->mailbox);
	loop_free(d->loop);
	config_free(d->next_config);
	config_free(d->config);
	buf_clear(&d->listen_text);
	free(d->workers);
	free(d->peers);
	free(d->console_peers);
	free(d->n_clients);
	free(d);
}

int daemon_run(struct config *config)
{
	struct daemon *d = calloc(1, sizeof(*d));
	struct buf problems = {0};

	log_configure(config->log_level, systemd_logs_to_journal());
	if (!d) {
		config_free(config);
		return 1;
	}
	d->config = config;
	signal(SIGPIPE, SIG_IGN);
	protocol_init_all();
	if (daemon_check(config, &problems) != 0) {
		log_lines(LOG_LEVEL_ERROR, "bad_config", &problems);
		buf_clear(&problems);
		config_free(config);
		free(d);
		return 1;
	}
	raise_descriptor_limit(config);
	int r = start(d);
	if (r == 0) {
		buf_u8(&d->listen_text, 0);
		log_info("weir " WEIR_VERSION " ready pid=%d workers=%u listen=\"%s\"",
			(int)getpid(), d->n_workers, (char *)d->listen_text.data + 1);
		systemd_notify("READY=1");
		loop_run(d->loop);
		log_info("event=stopped");
	} else if (r < 0) {
		log_error("event=start_failed detail=\"%s\"", strerror(-r));
	}
	end(d);
	return r != 0;
}
