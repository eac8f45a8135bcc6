/* Workers: made and ended by daemon.c on the main thread, which only posts messages to them in
 * between. */
#include "daemon/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define CLOSE_POLL (10 * USEC_PER_MSEC)

/* --- what the layers below ask for --- */

static struct proto_worker *proto_worker(void *arg, const struct protocol *protocol)
{
	struct worker *w = arg;
	const struct protocol *const *all = protocol_all();
	size_t i = 0;

	while (all[i] != protocol)
		i++;
	return w->protocols[i];
}

static void on_cancel(void *arg, const struct cancel_key *key)
{
	struct worker *w = arg;

	w->events.cancel(w->events.arg, key);
}

static void on_kill(void *arg, const struct kill_request *request)
{
	struct worker *w = arg;

	w->events.kill(w->events.arg, request, w->index, KILL_UNKNOWN, 0);
}

static void on_ask_seat(void *arg, struct seat *seat)
{
	struct worker *w = arg;

	seat->worker = w->index;
	w->events.ask_seat(w->events.arg, seat);
}

static void on_free_seat(void *arg, struct seat *seat)
{
	struct worker *w = arg;

	w->events.free_seat(w->events.arg, seat);
}

static void on_console(void *arg, uint32_t session_id, unsigned access, const char *command)
{
	struct worker *w = arg;

	console_run(w->console, session_id, access, command);
}

static void describe_holder(const void *holder, struct holder *ret_holder)
{
	session_describe_holder(holder, ret_holder);
}

static void on_console_cancel(void *arg, uint32_t session_id)
{
	struct worker *w = arg;

	console_cancel(w->console, session_id);
}

static void tell_if_drained(struct worker *w)
{
	if (!w->draining || w->told_drained || !sessions_drained(w->sessions))
		return;
	w->told_drained = true;
	w->events.drained(w->events.arg);
}

static void on_closed(void *arg, bool counted)
{
	struct worker *w = arg;

	w->events.client_closed(w->events.arg, w->index, counted);
	tell_if_drained(w);
}

static void on_uncounted(void *arg)
{
	struct worker *w = arg;

	w->events.client_uncounted(w->events.arg);
	tell_if_drained(w);
}

/* A paused pool opens nothing and keeps nothing. It is paused again at each look, for what has
 * become idle in between. */
static void look_if_closed(void *arg)
{
	struct worker *w = arg;

	pools_pause(w->pools, NULL);
	if (!pools_paused_empty(w->pools, NULL)) {
		timer_set(&w->close_timer, clock_usec() + CLOSE_POLL);
		return;
	}
	if (w->told_closed)
		return;
	w->told_closed = true;
	w->events.closed(w->events.arg);
}

/* --- making and ending --- */

static void open_min_size(struct worker *w)
{
	for (size_t i = 0; i < w->config->n_databases; i++) {
		const struct config_database *database = &w->config->databases[i];
		if (database->url.user && !pools_get(w->pools, database, database->url.user, NULL))
			log_error("event=no_memory_for_pool database=\"%s\"", database->name);
	}
}

static int make_protocols(struct worker *w)
{
	const struct protocol *const *all = protocol_all();

	for (size_t i = 0; all[i]; i++) {
		CHECK(i < PROTOCOLS_MAX);
		w->protocols[i] = all[i]->worker_new();
		if (!w->protocols[i])
			return -ENOMEM;
	}
	return 0;
}

int worker_init(struct worker *w, unsigned index, const struct worker_kit *kit)
{
	*w = (struct worker){.index = index, .config = kit->config, .events = kit->events};
	int r = loop_new(&w->loop);
	if (r == 0)
		r = mailbox_new(w->loop, w, &w->mailbox);
	if (r == 0)
		timer_init(&w->close_timer, w->loop, look_if_closed, w);
	w->space = calloc(1, sizeof(*w->space));
	if (r == 0)
		r = w->space ? make_protocols(w) : -ENOMEM;
	if (r < 0)
		return r;
	output_init(&w->space->to_client);
	output_init(&w->space->to_server);
	struct pools_host pools = {.loop = w->loop,
		.mailbox = w->mailbox,
		.dialler = kit->dialler,
		.space = w->space,
		.peers = kit->peers,
		.boards = kit->boards,
		.config = kit->config,
		.shard = index,
		.n_shards = kit->n_workers,
		.proto_worker = proto_worker,
		.describe_holder = describe_holder,
		.may_read = session_may_read,
		.flow_of = session_flow,
		.arg = w};
	r = pools_new(&pools, &w->pools);
	struct sessions_host sessions = {.loop = w->loop,
		.space = w->space,
		.pools = w->pools,
		.proto_worker = proto_worker,
		.cancel = on_cancel,
		.kill = on_kill,
		.ask_seat = on_ask_seat,
		.free_seat = on_free_seat,
		.console = on_console,
		.console_cancel = on_console_cancel,
		.closed = on_closed,
		.uncounted = on_uncounted,
		.arg = w};
	if (r == 0)
		r = sessions_new(&sessions, kit->config, &w->sessions);
	if (r == 0)
		r = console_new(&kit->console, index, w->loop, w->mailbox, w->pools, w->sessions,
			kit->config, &w->console);
	return r;
}

static void *run(void *arg)
{
	struct worker *w = arg;

	open_min_size(w);
	loop_run(w->loop);
	return NULL;
}

int worker_start(struct worker *w)
{
	sigset_t all, before;
	char name[16];

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = -pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		return r;
	w->started = true;
	snprintf(name, sizeof(name), "worker-%u", w->index);
	pthread_setname_np(w->thread, name);
	return 0;
}

static void stop_here(struct message *message, void *arg)
{
	struct worker *w = arg;

	free(message);
	loop_stop(w->loop);
}

static struct message *message_new(size_t size, message_fn deliver)
{
	struct message *message = calloc(1, size);

	/* A worker that could not be told to stop would never be joined. */
	CHECK(message);
	message->deliver = deliver;
	return message;
}

void worker_stop(struct worker *w)
{
	if (!w->started)
		return;
	mailbox_post(w->mailbox, message_new(sizeof(struct message), stop_here));
	pthread_join(w->thread, NULL);
	w->started = false;
}

void worker_settle(struct worker *w)
{
	if (!w->pools)
		return;
	pools_stop(w->pools);
	mailbox_post(w->mailbox, message_new(sizeof(struct message), stop_here));
	loop_run(w->loop);
	loop_run_deferred(w->loop);
}

void worker_clear(struct worker *w)
{
	const struct protocol *const *all = protocol_all();

	if (!w->loop)
		return;
	mailbox_free(w->mailbox);
	console_free(w->console);
	sessions_free(w->sessions);
	loop_run_deferred(w->loop);
	pools_free(w->pools);
	for (size_t i = 0; all[i]; i++) {
		if (w->protocols[i])
			all[i]->worker_free(w->protocols[i]);
	}
	timer_clear(&w->close_timer);
	free(w->space);
	loop_free(w->loop);
}

void worker_take_client(struct worker *w, const struct protocol *protocol, int fd,
	const struct sockaddr_storage *peer, uint32_t id, bool too_many)
{
	sessions_accept(w->sessions, protocol, fd, peer, id, too_many);
}

/* --- messages --- */

struct errand_message {
	struct message message;
	void (*fn)(void *arg);
	void *arg;
};

static void do_errand(struct message *message, void *arg)
{
	struct errand_message *m = container_of(message, struct errand_message, message);

	m->fn(m->arg);
	free(m);
}

void worker_post_errand(struct worker *w, void (*fn)(void *arg), void *arg)
{
	struct errand_message *m =
		container_of(message_new(sizeof(*m), do_errand), struct errand_message, message);

	m->fn = fn;
	m->arg = arg;
	mailbox_post(w->mailbox, &m->message);
}

struct client_message {
	struct message message;
	const struct protocol *protocol;
	int fd;
	struct sockaddr_storage peer;
	uint32_t id;
	bool too_many;
};

static void take_client(struct message *message, void *arg)
{
	struct client_message *m = container_of(message, struct client_message, message);
	struct worker *w = arg;

	worker_take_client(w, m->protocol, m->fd, &m->peer, m->id, m->too_many);
	free(m);
}

int worker_post_client(struct worker *w, const struct protocol *protocol, int fd,
	const struct sockaddr_storage *peer, uint32_t id, bool too_many)
{
	struct client_message *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->message.deliver = take_client;
	m->protocol = protocol;
	m->fd = fd;
	m->peer = *peer;
	m->id = id;
	m->too_many = too_many;
	mailbox_post(w->mailbox, &m->message);
	return 0;
}

struct cancel_message {
	struct message message;
	struct cancel_key key;
};

static void take_cancel(struct message *message, void *arg)
{
	struct cancel_message *m = container_of(message, struct cancel_message, message);
	struct worker *w = arg;

	sessions_cancel(w->sessions, &m->key);
	free(m);
}

void worker_post_cancel(struct worker *w, const struct cancel_key *key)
{
	struct cancel_message *m =
		container_of(message_new(sizeof(*m), take_cancel), struct cancel_message, message);

	m->key = *key;
	mailbox_post(w->mailbox, &m->message);
}

struct kill_message {
	struct message message;
	struct kill_request request;
	unsigned asker;
	enum kill_outcome outcome;
};

static void take_kill(struct message *message, void *arg)
{
	struct kill_message *m = container_of(message, struct kill_message, message);
	struct worker *w = arg;
	enum kill_outcome outcome = sessions_kill_for(w->sessions, &m->request);

	w->events.kill(w->events.arg, &m->request, m->asker, outcome, w->index + 1);
	free(m);
}

void worker_post_kill(struct worker *w, const struct kill_request *request, unsigned asker)
{
	struct kill_message *m =
		container_of(message_new(sizeof(*m), take_kill), struct kill_message, message);

	m->request = *request;
	m->asker = asker;
	mailbox_post(w->mailbox, &m->message);
}

static void take_killed(struct message *message, void *arg)
{
	struct kill_message *m = container_of(message, struct kill_message, message);
	struct worker *w = arg;

	sessions_killed(w->sessions, m->request.asker, m->outcome);
	free(m);
}

void worker_post_killed(struct worker *w, uint32_t session_id, enum kill_outcome outcome)
{
	struct kill_message *m =
		container_of(message_new(sizeof(*m), take_killed), struct kill_message, message);

	m->request.asker = session_id;
	m->outcome = outcome;
	mailbox_post(w->mailbox, &m->message);
}

static void take_seat(struct message *message, void *arg)
{
	struct worker *w = arg;

	sessions_seated(w->sessions, container_of(message, struct seat, message));
}

void worker_post_seat(struct worker *w, struct seat *seat)
{
	seat->message.deliver = take_seat;
	mailbox_post(w->mailbox, &seat->message);
}

static void take_drain(struct message *message, void *arg)
{
	struct worker *w = arg;

	free(message);
	w->draining = true;
	sessions_drain(w->sessions);
	tell_if_drained(w);
}

void worker_post_drain(struct worker *w)
{
	mailbox_post(w->mailbox, message_new(sizeof(struct message), take_drain));
}

static void take_close_all(struct message *message, void *arg)
{
	struct worker *w = arg;

	free(message);
	w->draining = true;
	sessions_close_all(w->sessions, REASON_SHUTDOWN);
	look_if_closed(w);
}

void worker_post_close_all(struct worker *w)
{
	mailbox_post(w->mailbox, message_new(sizeof(struct message), take_close_all));
}

struct greeting_message {
	struct message message;
	const struct protocol *protocol;
	struct buf greeting;
};

static void take_greeting(struct message *message, void *arg)
{
	struct greeting_message *m = container_of(message, struct greeting_message, message);
	struct worker *w = arg;

	m->protocol->worker_learn(proto_worker(w, m->protocol), &m->greeting);
	buf_clear(&m->greeting);
	free(m);
}

void worker_post_greeting(
	struct worker *w, const struct protocol *protocol, const struct buf *greeting)
{
	struct greeting_message *m = container_of(
		message_new(sizeof(*m), take_greeting), struct greeting_message, message);

	m->protocol = protocol;
	buf_put(&m->greeting, greeting->data, greeting->len);
	mailbox_post(w->mailbox, &m->message);
}

struct config_message {
	struct message message;
	const struct config *config;
	void (*acknowledged)(void *arg);
	void *arg;
};

static void take_config(struct message *message, void *arg)
{
	struct config_message *m = container_of(message, struct config_message, message);
	struct worker *w = arg;

	w->config = m->config;
	pools_reload(w->pools, m->config);
	sessions_reload(w->sessions, m->config);
	console_reload(w->console, m->config);
	if (!w->draining)
		open_min_size(w);
	m->acknowledged(m->arg);
	free(m);
}

void worker_post_config(
	struct worker *w, const struct config *config, void (*acknowledged)(void *arg), void *arg)
{
	struct config_message *m =
		container_of(message_new(sizeof(*m), take_config), struct config_message, message);

	m->config = config;
	m->acknowledged = acknowledged;
	m->arg = arg;
	mailbox_post(w->mailbox, &m->message);
}
