/*
 * One client from accept to close: its states, its login, its end. The relay in between is relay.c;
 * the clocks are limits.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session/internal.h"
#include "util/text.h"

/* How long a client that was told goodbye may take to hang up. */
#define CLOSING_TIME (2 * USEC_PER_SEC)

/* Lines per second about what clients can provoke. */
#define LOG_BURST 20

static const char *const state_names[] = {
	[SESSION_LOGIN] = "login",
	[SESSION_IDLE] = "idle",
	[SESSION_WAITING] = "waiting",
	[SESSION_ACTIVE] = "active",
	[SESSION_CONSOLE] = "console",
	[SESSION_CLOSING] = "closing",
	[SESSION_CLOSED] = "closed",
};

#define TO(state) (1u << (state))

static const unsigned allowed_moves[] = {
	[SESSION_LOGIN] = TO(SESSION_IDLE) | TO(SESSION_WAITING) | TO(SESSION_ACTIVE) |
			  TO(SESSION_CONSOLE) | TO(SESSION_CLOSING) | TO(SESSION_CLOSED),
	/* To the console: a client that logs in once more. */
	[SESSION_IDLE] = TO(SESSION_WAITING) | TO(SESSION_ACTIVE) | TO(SESSION_CONSOLE) |
			 TO(SESSION_CLOSING) | TO(SESSION_CLOSED),
	[SESSION_WAITING] = TO(SESSION_LOGIN) | TO(SESSION_IDLE) | TO(SESSION_ACTIVE) |
			    TO(SESSION_CLOSING) | TO(SESSION_CLOSED),
	[SESSION_ACTIVE] =
		TO(SESSION_LOGIN) | TO(SESSION_IDLE) | TO(SESSION_CLOSING) | TO(SESSION_CLOSED),
	[SESSION_CONSOLE] = TO(SESSION_CLOSING) | TO(SESSION_CLOSED),
	[SESSION_CLOSING] = TO(SESSION_CLOSED),
	[SESSION_CLOSED] = 0,
};

void session_move(struct session *s, enum session_state state)
{
	if (s->state == state)
		return;
	CHECK(allowed_moves[s->state] & TO(state));
	log_debug("client=%u state=%s to=%s", s->id, state_names[s->state], state_names[state]);
	s->state = state;
	s->state_since = session_now(s);
	CHECK((s->server != NULL) == (state == SESSION_ACTIVE));
}

void session_free(struct session *s)
{
	list_remove(&s->link);
	timer_clear(&s->timer);
	stream_close(&s->stream);
	s->front->protocol->front_free(s->front);
	buf_clear(&s->kept);
	clocks_leave(s);
	free(s);
}

static void log_end(struct session *s, enum reason reason)
{
	const struct reason_row *row = reason_row(reason);
	unsigned dropped;

	/* Health checks and port scans come and go without a word. */
	if (!row->is_error && !s->front->welcomed && !log_enabled(LOG_LEVEL_DEBUG))
		return;
	if (!log_enabled(LOG_LEVEL_INFO))
		return;
	if (!log_limit_allows(&s->owner->log_limit, LOG_BURST, &dropped))
		return;
	char user[64], database[64], peer[ADDRESS_TEXT_SIZE], left_out[LOG_LEFT_OUT_SIZE];
	address_print(&s->peer, peer);
	log_info("client=%u event=closed reason=%s user=\"%s\" database=\"%s\" peer=%s%s", s->id,
		row->name, log_escape(s->front->user, user, sizeof(user)),
		log_escape(s->front->database, database, sizeof(database)), peer,
		log_left_out(dropped, left_out));
}

/* Everything but the stream goes back to where it came from. */
static void let_go(struct session *s)
{
	pool_forget(&s->waiter);
	if (s->server) {
		struct server *server = s->server;
		s->server = NULL;
		server->holder = NULL;
		stream_want_read(&server->stream, true);
		pool_abandon(s->pool, server);
	}
	if (s->pool)
		pool_client_removed(s->pool);
	s->pool = NULL;
	seat_leave(s);
	if (s->registered)
		map_remove(&s->owner->by_key, &s->by_key);
	s->registered = false;
}

void session_close(struct session *s, enum reason reason)
{
	if (s->state == SESSION_CLOSED)
		return;
	if (s->state != SESSION_CLOSING)
		log_end(s, reason);
	let_go(s);
	session_move(s, SESSION_CLOSED);
	timer_clear(&s->timer);
	stream_close(&s->stream);
	list_remove(&s->link);
	s->owner->n_sessions--;
	if (s->owner->host.closed)
		s->owner->host.closed(s->owner->host.arg, !s->access);
	list_append(&s->owner->dead, &s->link);
	deferred_schedule(&s->owner->burial, s->owner->host.loop);
}

void session_end(struct session *s, enum reason reason)
{
	if (s->state == SESSION_CLOSED || s->state == SESSION_CLOSING)
		return;
	log_end(s, reason);
	let_go(s);
	session_move(s, SESSION_CLOSING);
	if (!stream_unsent(&s->stream))
		stream_shutdown(&s->stream);
	stream_want_read(&s->stream, true);
	timer_set(&s->timer, session_now(s) + CLOSING_TIME);
}

void session_dismiss_in_words(struct session *s, const struct refusal *refusal)
{
	struct output *to_client = &s->owner->host.space->to_client;

	if (s->state == SESSION_CLOSED || s->state == SESSION_CLOSING)
		return;
	s->front->protocol->front_refuse(s->front, refusal, true, to_client);
	if (stream_send(&s->stream, to_client) != 0)
		session_close(s, refusal->reason);
	else
		session_end(s, refusal->reason);
}

void session_dismiss(struct session *s, enum reason reason, const char *detail)
{
	struct refusal refusal;

	refusal_set(&refusal, reason, detail);
	session_dismiss_in_words(s, &refusal);
}

/* --- the login --- */

static bool is_console_name(const struct session *s)
{
	const char *const *name = s->front->protocol->console_names;

	while (*name && strcmp(*name, s->front->database) != 0)
		name++;
	return *name != NULL;
}

bool session_identify(struct session *s)
{
	const struct config_user *user = config_user(s->owner->config, s->front->user);

	s->front->protocol->front_identify(s->front, user ? user->password : NULL);
	return true;
}

uint8_t session_access(const struct session *s)
{
	const struct config *config = s->owner->config;

	if (config_list_has(&config->admin_users, s->front->user))
		return ACCESS_ADMIN | ACCESS_STATS;
	return config_list_has(&config->stats_users, s->front->user) ? ACCESS_STATS : 0;
}

static bool admit_to_console(struct session *s)
{
	s->access = session_access(s);
	if (!s->access) {
		session_dismiss(
			s, REASON_NOT_ALLOWED, "the console is for admin_users and stats_users");
		return false;
	}
	seat_leave(s);
	s->front->protocol->front_console(s->front);
	session_move(s, SESSION_CONSOLE);
	s->owner->host.uncounted(s->owner->host.arg);
	return true;
}

static bool may_use(const struct config_user *user, const char *database)
{
	return !user->databases.n_items || config_list_has(&user->databases, database);
}

int session_configure(struct session *s)
{
	const struct config *config = s->owner->config;
	const struct config_database *database = config_database(config, s->front->database);
	const struct config_user *user = config_user(config, s->front->user);

	if (!database)
		return REASON_DATABASE_REMOVED;
	if (!user || !may_use(user, database->name))
		return REASON_USER_REMOVED;
	/* Its pool is another one then, with another budget. */
	if (strcmp(pool_user_name(s->pool), database->url.user ? database->url.user : user->name))
		return REASON_DATABASE_MOVED;
	struct config_pool limits = config_effective(database, user);
	/* Without memory for new ones it keeps the old. */
	if (clocks_take(s, &limits) < 0)
		log_error("client=%u event=out_of_memory", s->id);
	s->waiter.explain =
		limits.explain_errors || config_list_has(&config->admin_users, s->front->user);
	return -1;
}

/* Why the account may not use the database, or -1. */
static int refuse_account(const struct session *s, const struct config_user *user)
{
	if (s->too_many)
		return REASON_TOO_MANY_CLIENTS;
	if (!may_use(user, s->front->database))
		return REASON_NOT_ALLOWED;
	return -1;
}

/* True: it has a place among its account's and its database's clients, if they have a limit. */
static bool be_seated(
	struct session *s, const struct config_user *user, const struct config_database *database)
{
	int r = seat_take(s, user, database);

	if (r == SEAT_USER_FULL || r == SEAT_DATABASE_FULL)
		session_dismiss(s, REASON_TOO_MANY_CLIENTS,
			r == SEAT_USER_FULL ? "max_clients of the user"
					    : "max_clients of the database");
	else if (r < 0)
		session_dismiss(s, REASON_OUT_OF_MEMORY, NULL);
	return r == 0;
}

static void dismiss_unknown_database(struct session *s)
{
	struct refusal refusal;
	struct buf text = {0};

	refusal_set(&refusal, REASON_UNKNOWN_DATABASE, NULL);
	buf_printf(&text, "database \"%.200s\" does not exist", s->front->database);
	buf_u8(&text, 0);
	if (!text.failed)
		text_copy(refusal.text, sizeof(refusal.text), (char *)text.data);
	buf_clear(&text);
	session_dismiss_in_words(s, &refusal);
}

/* A client that names no database means the only one that it may use. */
static void choose_database(struct session *s)
{
	const struct config *config = s->owner->config;
	const struct config_user *user = config_user(config, s->front->user);
	const char *only = NULL;

	if (s->front->database[0] || !user)
		return;
	for (size_t i = 0; i < config->n_databases; i++) {
		const struct config_database *database = &config->databases[i];
		if (strcmp(database->url.protocol, s->front->protocol->name) != 0 ||
			!may_use(user, database->name))
			continue;
		if (only)
			return;
		only = database->name;
	}
	/* Without memory it is told that there is no such database. */
	if (only && !front_set_names(s->front, s->front->user, only))
		log_error("client=%u event=out_of_memory", s->id);
}

bool session_admit(struct session *s)
{
	const struct config *config = s->owner->config;

	choose_database(s);
	if (is_console_name(s))
		return admit_to_console(s);
	const struct config_database *database = config_database(config, s->front->database);
	const struct config_user *user = config_user(config, s->front->user);
	if (!database || strcmp(database->url.protocol, s->front->protocol->name) != 0 || !user) {
		dismiss_unknown_database(s);
		return false;
	}
	int refused = refuse_account(s, user);
	if (refused >= 0) {
		session_dismiss(s, (enum reason)refused, NULL);
		return false;
	}
	if (!be_seated(s, user, database))
		return false;
	s->pool = pools_get(s->owner->host.pools, database, s->front->user, user->password);
	if (!s->pool) {
		session_dismiss(s, REASON_OUT_OF_MEMORY, NULL);
		return false;
	}
	pool_client_added(s->pool);
	pool_stats(s->pool)->total.n_logins++;
	CHECK(session_configure(s) < 0);
	struct config_pool limits = config_effective(database, user);
	s->session_mode = limits.pool_mode == POOL_MODE_SESSION;
	s->front->protocol->front_accept(s->front, pool_proto(s->pool), &limits);
	return true;
}

/* --- accept --- */

void sessions_accept(struct sessions *sessions, const struct protocol *protocol, int fd,
	const struct sockaddr_storage *peer, uint32_t id, bool too_many)
{
	const struct sessions_host *host = &sessions->host;
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		goto refuse;
	s->owner = sessions;
	s->front = protocol->front_new(host->proto_worker(host->arg, protocol), id);
	if (!s->front || clocks_take(s, &sessions->config->defaults) < 0 ||
		stream_open(&s->stream, host->loop, fd, NULL, relay_client_readable,
			relay_client_drained, s) < 0)
		goto refuse;
	s->id = id;
	s->too_many = too_many;
	s->connected_wall = clock_wall_usec();
	s->state_since = session_now(s);
	s->peer = address_of(peer);
	keepalive_watch_init_unlimited(&s->watch);
	waiter_init(&s->waiter, relay_waiter_done);
	timer_init(&s->timer, host->loop, limits_fired, s);
	list_append(&sessions->all, &s->link);
	sessions->n_sessions++;
	protocol->front_greet(s->front, &host->space->to_client);
	if (stream_send(&s->stream, &host->space->to_client) != 0)
		session_close(s, REASON_CLIENT_LOST);
	else
		limits_update(s);
	return;
refuse:
	if (s && s->front)
		protocol->front_free(s->front);
	if (s && s->clocks)
		clocks_leave(s);
	free(s);
	close(fd);
	if (host->closed)
		host->closed(host->arg, true);
}
