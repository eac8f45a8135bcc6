/* All clients of a worker: cancels, kills, reload, stop, and what the console shows. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/internal.h"
#include "util/text.h"

int sessions_new(const struct sessions_host *host, const struct config *config,
	struct sessions **ret_sessions)
{
	struct sessions *sessions = calloc(1, sizeof(*sessions));

	if (!sessions)
		return -ENOMEM;
	sessions->host = *host;
	sessions->config = config;
	list_init(&sessions->all);
	list_init(&sessions->dead);
	deferred_init(&sessions->burial, sessions_bury, sessions);
	list_init(&sessions->clocks);
	map_init(&sessions->by_key);
	*ret_sessions = sessions;
	return 0;
}

void sessions_bury(void *arg)
{
	struct sessions *sessions = arg;
	struct session *s;

	while ((s = list_first(&sessions->dead, struct session, link)))
		session_free(s);
}

void sessions_free(struct sessions *sessions)
{
	struct session *s;

	if (!sessions)
		return;
	sessions->host.closed = NULL;
	while ((s = list_first(&sessions->all, struct session, link)))
		session_close(s, REASON_SHUTDOWN);
	sessions_bury(sessions);
	deferred_cancel(&sessions->burial);
	map_clear(&sessions->by_key);
	free(sessions);
}

static void reload_console(struct session *s)
{
	uint8_t access = session_access(s);

	if (access)
		s->access = access;
	else
		session_dismiss(s, REASON_USER_REMOVED, NULL);
}

void sessions_reload(struct sessions *sessions, const struct config *config)
{
	struct list *link, *next;

	sessions->config = config;
	list_for_each_safe (link, next, &sessions->all) {
		struct session *s = list_entry(link, struct session, link);
		int refused = s->pool ? session_configure(s) : -1;
		if (s->pool)
			seat_reload(s);
		if (s->state == SESSION_CONSOLE)
			reload_console(s);
		else if (refused >= 0)
			leave_soon(s, (enum reason)refused);
		else if (s->pool)
			limits_update(s);
	}
}

static bool same_key(const struct map_node *node, const void *key)
{
	const struct cancel_key *mine = &container_of(node, struct session, by_key)->front->key;
	const struct cancel_key *theirs = key;

	return mine->id == theirs->id && mine->secret_len == theirs->secret_len &&
	       bytes_equal_secret(mine->secret, theirs->secret, mine->secret_len);
}

void sessions_cancel(struct sessions *sessions, const struct cancel_key *key)
{
	struct map_node *node = map_find(&sessions->by_key, key->id, same_key, key);

	if (node)
		relay_cancel(container_of(node, struct session, by_key), REASON_CANCELLED);
}

static struct session *find(struct sessions *sessions, uint32_t id)
{
	struct list *link;

	list_for_each (link, &sessions->all) {
		struct session *s = list_entry(link, struct session, link);
		if (s->id == id)
			return s;
	}
	return NULL;
}

bool sessions_kill(struct sessions *sessions, uint32_t id)
{
	struct session *s = find(sessions, id);

	if (s)
		session_dismiss(s, REASON_KILLED, NULL);
	return s != NULL;
}

enum kill_outcome sessions_kill_for(struct sessions *sessions, const struct kill_request *request)
{
	struct session *s = find(sessions, request->victim);

	if (!s || !s->front->welcomed || s->front->protocol != request->protocol)
		return KILL_UNKNOWN;
	if (!request->is_admin && strcmp(s->front->user, request->user) != 0)
		return KILL_DENIED;
	if (request->connection)
		session_dismiss(s, REASON_KILLED, NULL);
	else
		relay_cancel(s, REASON_CANCELLED);
	return KILL_DONE;
}

void sessions_killed(struct sessions *sessions, uint32_t asker, enum kill_outcome outcome)
{
	struct session *s = find(sessions, asker);

	if (!s)
		return;
	s->front->kill_outcome = outcome;
	relay_pump_kept(s);
}

void sessions_console_reply(
	struct sessions *sessions, uint32_t session_id, const struct result *result)
{
	struct session *s = find(sessions, session_id);
	struct output *to_client = &sessions->host.space->to_client;

	if (!s || s->state != SESSION_CONSOLE)
		return;
	s->front->protocol->console_reply(s->front, result, to_client);
	if (stream_send(&s->stream, to_client) != 0)
		session_close(s, REASON_CLIENT_LOST);
	else if (s->blocked)
		relay_pump_kept(s);
	/* Else the question is still being asked, and who asks goes on. */
}

void sessions_drain(struct sessions *sessions)
{
	struct list *link, *next;

	leave_start(sessions);
	list_for_each_safe (link, next, &sessions->all) {
		struct session *s = list_entry(link, struct session, link);
		if (s->state != SESSION_CONSOLE)
			leave_soon(s, REASON_SHUTDOWN);
	}
}

bool sessions_drained(const struct sessions *sessions)
{
	struct list *link;

	list_for_each (link, &sessions->all) {
		const struct session *s = list_entry(link, struct session, link);
		if (s->pool || s->state == SESSION_LOGIN)
			return false;
	}
	return true;
}

void sessions_close_all(struct sessions *sessions, enum reason reason)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &sessions->all) {
		struct session *s = list_entry(link, struct session, link);
		session_dismiss(s, reason, NULL);
		session_close(s, reason);
	}
}

/* --- for the console --- */

static const char *state_name(const struct session *s)
{
	switch (s->state) {
	case SESSION_LOGIN:
		return "login";
	case SESSION_WAITING:
		return "waiting";
	case SESSION_ACTIVE:
	case SESSION_CONSOLE:
		return "active";
	case SESSION_IDLE:
	case SESSION_CLOSING:
	case SESSION_CLOSED:
		break;
	}
	return "idle";
}

static enum holder_use use_of(const struct session *s)
{
	const struct back *back = s->server->back;

	if (!back->at_rest)
		return USE_ACTIVE;
	if (back->in_transaction)
		return USE_IN_TRANSACTION;
	if (back->pin)
		return USE_PINNED;
	return s->session_mode ? USE_SESSION : USE_DELIVERING;
}

void session_describe_holder(const struct session *s, struct holder *ret_holder)
{
	const struct protocol *protocol = s->front->protocol;
	struct input none = {0};

	CHECK(s->server);
	*ret_holder = (struct holder){.user = s->front->user,
		.application = protocol->front_setting(s->front, "application_name"),
		.use = use_of(s),
		.use_since = s->request_open ? s->request_since : s->state_since,
		.transaction_since = s->transaction_since,
		.statement = protocol->front_statement(s->front, s->server->back, none)};
	address_print(&s->peer, ret_holder->address);
}

bool session_may_read(const struct waiter *waiter, const char *user)
{
	const struct session *s = container_of(waiter, const struct session, waiter);

	return strcmp(s->front->user, user) == 0 || session_access(s) & ACCESS_ADMIN;
}

/* What it runs or has run, or waits with. */
static void describe_work(const struct session *s, struct session_info *info)
{
	struct input kept = {.data = s->kept.data, .len = s->kept.len};
	struct holder holder;

	if (s->server) {
		session_describe_holder(s, &holder);
		info->use = holder.use;
		info->use_since = holder.use_since;
		info->transaction_since = holder.transaction_since;
		info->statement = holder.statement;
	} else if (s->state == SESSION_WAITING) {
		info->statement = s->front->protocol->front_statement(s->front, NULL, kept);
	}
}

void session_describe(const struct session *s, struct session_info *ret_info)
{
	struct sockaddr_storage local = {0};
	socklen_t len = sizeof(local);
	char text[ADDRESS_TEXT_SIZE];
	usec_t now = session_now(s);

	*ret_info = (struct session_info){.id = s->id,
		.user = s->front->user,
		.database = s->front->database,
		.application_name = s->front->protocol->front_setting(s->front, "application_name"),
		.state = state_name(s),
		.connected_wall = s->connected_wall,
		.request_wall = s->request_since ? clock_wall_usec() - (now - s->request_since)
						 : s->connected_wall,
		.waiting = s->state == SESSION_WAITING ? now - s->waiter.since : 0,
		.pool_user = s->pool ? pool_user_name(s->pool) : NULL,
		.console = s->state == SESSION_CONSOLE,
		.n_statements = s->front->protocol->front_n_statements(s->front),
		.server = s->server};
	describe_work(s, ret_info);
	address_print(&s->peer, text);
	address_split(text, ret_info->address, &ret_info->port);
	text_copy(text, sizeof(text), "");
	if (getsockname(s->stream.fd, (struct sockaddr *)&local, &len) == 0) {
		struct address address = address_of(&local);
		address_print(&address, text);
	}
	address_split(text, ret_info->local_address, &ret_info->local_port);
}

uint64_t session_flow(const void *session, enum fair_by by)
{
	const struct session *s = session;
	const char *name = s->front->user;

	if (by == FAIR_BY_APPLICATION)
		name = s->front->protocol->front_setting(s->front, "application_name");
	return name ? hash_text(name) : 0;
}

void sessions_each(struct sessions *sessions, session_fn fn, void *arg)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &sessions->all) {
		struct session_info info;
		session_describe(list_entry(link, struct session, link), &info);
		fn(arg, &info);
	}
}

size_t sessions_count(const struct sessions *sessions)
{
	return sessions->n_sessions;
}

size_t sessions_count_logins(const struct sessions *sessions)
{
	size_t n = 0;
	struct list *link;

	list_for_each (link, &sessions->all) {
		n += list_entry(link, struct session, link)->state == SESSION_LOGIN;
	}
	return n;
}

size_t session_size(void)
{
	return sizeof(struct session);
}
