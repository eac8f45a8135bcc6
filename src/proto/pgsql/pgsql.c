/* PostgreSQL's row: makes and frees the two halves, and leads each call to the file that knows. */
#include "proto/pgsql/pgsql.h"

#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"

static void worker_free(struct proto_worker *worker)
{
	if (!worker)
		return;
	verifiers_clear(worker);
	statements_clear(&worker->statements);
	settings_table_free(worker->settings);
	free(worker);
}

static struct proto_worker *worker_new(void)
{
	struct proto_worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	map_init(&worker->verifiers);
	pg_statements_init(&worker->statements, &worker->scan);
	worker->settings = settings_table_new();
	if (!worker->settings) {
		worker_free(worker);
		return NULL;
	}
	return worker;
}

static struct proto_pool *pool_new(struct proto_worker *worker)
{
	struct proto_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->worker = worker;
	pool->spellings = settings_empty(worker->settings);
	return pool;
}

static void pool_free(struct proto_pool *pool)
{
	if (!pool)
		return;
	settings_unref(pool->greeting);
	settings_unref(pool->spellings);
	buf_clear(&pool->news);
	free(pool);
}

/* --- the client's half --- */

static struct front *front_new(struct proto_worker *worker, uint32_t id)
{
	struct pg_front *front = calloc(1, sizeof(*front));

	if (!front)
		return NULL;
	front->base.protocol = &pgsql_protocol;
	front->base.key.id = id;
	front->worker = worker;
	front->startup = settings_empty(worker->settings);
	front->resets = settings_empty(worker->settings);
	map_init(&front->statements.by_name);
	return &front->base;
}

static void front_free(struct front *base)
{
	if (!base)
		return;
	struct pg_front *front = pg_front(base);
	login_free(front->login);
	pg_console_free(front->console);
	free(front->base.lost);
	free(front->base.user);
	settings_unref(front->startup);
	settings_unref(front->resets);
	settings_unref(front->startup_extra);
	settings_unref(front->startup_reported);
	settings_unref(front->reported_before);
	session_settings_clear(&front->settings);
	client_statements_clear(&front->statements);
	statement_unref(front->bound);
	free(front->bound_value);
	free(front->unnamed);
	effects_free(front->unnamed_effects);
	effects_free(front->query_scan);
	free(front);
}

static void turn_away(const struct refusal *refusal, struct output *to_client)
{
	pg_send_refusal(to_client, refusal, true);
}

static void front_greet(struct front *base, struct output *to_client)
{
	/* In PostgreSQL's protocol the client speaks first. */
}

static void front_identify(struct front *base, const char *secret)
{
	login_identify(pg_front(base), secret);
}

static void front_accept(
	struct front *base, struct proto_pool *pool, const struct config_pool *limits)
{
	welcome_accept(pg_front(base), pool, limits);
}

static void front_console(struct front *base)
{
	pg_console_start(pg_front(base));
}

static enum front_verdict from_client(struct front *base, struct back *back, struct input *in,
	struct output *to_client, struct output *to_server)
{
	struct pg_front *front = pg_front(base);

	switch (front->phase) {
	case PHASE_STARTUP:
	case PHASE_PASSWORD:
		return login_from_client(front, in, to_client);
	case PHASE_IDENTIFY:
		return FRONT_IDENTIFY;
	case PHASE_PROVED:
		return FRONT_AUTHENTICATED;
	case PHASE_WELCOME: {
		enum front_verdict verdict =
			welcome_step(front, pg_back(back), to_client, to_server);
		return verdict == FRONT_MORE ? FRONT_FLUSH : verdict;
	}
	case PHASE_READY:
		return relay_from_client(front, pg_back(back), in, to_client, to_server);
	case PHASE_CONSOLE:
		return pg_console_from_client(front, in, to_client);
	case PHASE_ENDED:
		break;
	}
	return FRONT_CLOSE;
}

static void console_reply(struct front *base, const struct result *result, struct output *to_client)
{
	pg_console_answer(pg_front(base), result, to_client);
}

static void front_refuse(
	struct front *base, const struct refusal *refusal, bool fatal, struct output *to_client)
{
	struct pg_front *front = pg_front(base);

	if (fatal || front->phase != PHASE_READY) {
		pg_send_refusal(to_client, refusal, true);
		front->phase = PHASE_ENDED;
		base->reason = refusal->reason;
		return;
	}
	relay_refuse(front, refusal, to_client);
}

static void front_server_lost(struct front *base, struct back *back, const struct refusal *refusal,
	struct output *to_client)
{
	relay_server_lost(pg_front(base), pg_back(back), refusal, to_client);
}

static const char *front_setting(const struct front *base, const char *name)
{
	const struct pg_front *front = container_of(base, const struct pg_front, base);

	if (front->settings.reported)
		return settings_get(front->settings.reported, name);
	return settings_get(front->startup, name);
}

static size_t front_n_statements(const struct front *base)
{
	return container_of(base, const struct pg_front, base)->statements.by_name.n_items;
}

static struct statement_text front_statement(
	const struct front *base, const struct back *back, struct input waiting)
{
	const struct pg_front *front = container_of(base, const struct pg_front, base);

	if (!back)
		return waiting_statement(front, waiting);
	return last_statement(front, container_of(back, const struct pg_back, base));
}

/* --- the server's half --- */

static const struct settings *read_pairs(struct settings_table *table, const struct buf *pairs)
{
	const struct settings *list = settings_empty(table);
	struct reader r;

	reader_init(&r, pairs->data, pairs->len);
	while (reader_left(&r)) {
		const char *name = reader_cstr(&r, NULL), *value = reader_cstr(&r, NULL);
		const struct settings *more;
		if (!value || settings_with(table, list, name, value, &more) != 0)
			break;
		settings_unref(list);
		list = more;
	}
	return list;
}

static struct back *back_new(struct proto_pool *pool, struct dialled *dialled)
{
	struct pg_back *back = calloc(1, sizeof(*back));
	struct settings_table *table = pool->worker->settings;

	if (!back)
		return NULL;
	back->base.protocol = &pgsql_protocol;
	back->pool = pool;
	back->handle = dialled->handle;
	dialled->handle = NULL;
	back->base.process_id = back->handle->process_id;
	back->greeting = read_pairs(table, &back->handle->parameters);
	bool moved = back->handle->reported.len > 0;
	back->settings.reported =
		moved ? read_pairs(table, &back->handle->reported) : settings_ref(back->greeting);
	back->settings.extra = read_pairs(table, &back->handle->extra);
	back->settings.extra_before = settings_ref(back->settings.extra);
	back->leftover = back->handle->leftover;
	back->last_number = back->handle->last_number;
	back->status = 'I';
	prepared_init(&back->prepared);
	prepared_unpack(&back->prepared, &back->handle->prepared);
	list_init(&back->pins);
	/* The newest connection says what servers of this pool are like now; one that another
	 * worker has opened need not be. */
	if (!moved || !pool->greeting)
		welcome_learn_greeting(pool, back->greeting);
	back_update(back);
	return &back->base;
}

static void back_free(struct back *base)
{
	struct pg_back *back = pg_back(base);

	if (!back)
		return;
	expectations_clear(&back->expected);
	prepared_clear(&back->prepared);
	pins_clear(back);
	session_settings_clear(&back->settings);
	settings_unref(back->greeting);
	free(back->lent_name);
	pgsql_handle_free(back->handle);
	free(back);
}

static size_t back_n_statements(const struct back *base)
{
	return prepared_count(&container_of(base, const struct pg_back, base)->prepared);
}

static enum back_verdict from_server(struct back *back, struct front *front, struct input *in,
	struct output *to_client, struct output *to_server)
{
	return relay_from_server(
		pg_back(back), front ? pg_front(front) : NULL, in, to_client, to_server);
}

static void back_ping(struct back *base, struct output *to_server)
{
	struct pg_back *back = pg_back(base);

	if (!expectations_reserve(&back->expected, 1)) {
		to_server->failed = true;
		return;
	}
	pg_send_empty(to_server, 'S');
	expectations_push(&back->expected, (struct expectation){.kind = EXPECT_SYNC, .own = true});
	back_update(back);
}

static void write_copy_fail(struct output *to_server)
{
	struct buf b = {0};
	size_t offset = pg_begin(&b, 'f');

	buf_cstr(&b, "the client is gone");
	pg_end(&b, offset);
	pg_send_buf(to_server, &b);
}

/* Completes a CopyData of which the client sent a part. What is in it does not count any more. */
static void write_rest_of_data(struct pg_back *back, struct output *to_server)
{
	uint8_t *rest = back->awaited ? output_space(to_server, back->awaited) : NULL;

	if (rest)
		memset(rest, 0, back->awaited);
	back->awaited = 0;
}

/* Statements since the last Sync would be committed by the next one. In their midst ROLLBACK undoes
 * them, as the end of the connection would. */
static void write_rollback(struct pg_back *back, struct output *to_server)
{
	static const enum expect_kind kinds[] = {EXPECT_PARSE, EXPECT_BIND, EXPECT_EXECUTE};
	struct buf b = {0};

	size_t offset = pg_begin(&b, 'P');
	buf_cstr(&b, "");
	buf_cstr(&b, "ROLLBACK");
	buf_u16be(&b, 0);
	pg_end(&b, offset);
	offset = pg_begin(&b, 'B');
	buf_cstr(&b, "");
	buf_cstr(&b, "");
	buf_put(&b, (uint8_t[6]){0}, 6);
	pg_end(&b, offset);
	offset = pg_begin(&b, 'E');
	buf_cstr(&b, "");
	buf_u32be(&b, 0);
	pg_end(&b, offset);
	pg_send_buf(to_server, &b);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		expectations_push(
			&back->expected, (struct expectation){.kind = kinds[i], .own = true});
	back->unnamed_number = 0;
}

/* More than this is not made up for a client that has left. */
#define MADE_UP_MAX (1u << 20)

static bool back_abandon(struct back *base, struct output *to_server)
{
	struct pg_back *back = pg_back(base);

	if (back->awaited && (!back->awaits_data || back->awaited > MADE_UP_MAX))
		return false;
	for (size_t i = 0; i < back->expected.len; i++) {
		struct expectation *e = expectations_at(&back->expected, i);
		/* A name that was not known to be good is not kept under the client's wish alone.
		 */
		client_statement_unref(e->client);
		e->client = NULL;
		e->own = true;
		e->effectful = false;
		if (e->kind == EXPECT_LOCAL_PARSE || e->kind == EXPECT_LOCAL_CLOSE)
			e->kind = EXPECT_COPY_END;
	}
	back->dropping += back->forwarding;
	back->forwarding = 0;
	/* Whatever it ran may have changed what only its answers would have told. */
	back->base.dirty = true;
	write_rest_of_data(back, to_server);
	/* Ignored by the server unless it waits for copy data, or comes to. */
	write_copy_fail(to_server);
	back->copy_in = false;
	if (back->batch_open || back->failing || back->expected.len == 0) {
		if (!expectations_reserve(&back->expected, 4))
			return false;
		if (back->batch_open && !back->failing)
			write_rollback(back, to_server);
		pg_send_empty(to_server, 'S');
		expectations_push(
			&back->expected, (struct expectation){.kind = EXPECT_SYNC, .own = true});
		back->batch_open = false;
	}
	back_update(back);
	return true;
}

static bool back_clean(struct back *base, bool thorough, struct output *to_server)
{
	struct pg_back *back = pg_back(base);
	const struct settings *empty;

	if (back->status != 'I') {
		if (!expectations_reserve(&back->expected, 1))
			to_server->failed = true;
		else
			back_own_query(back, "ROLLBACK", to_server);
		back->cleaning = true;
		settings_replace(&back->settings.extra, back->settings.extra_before);
		back_update(back);
		return true;
	}
	back->cleaning = false;
	if (!back->base.dirty && list_empty(&back->pins) && !thorough)
		return false;
	if (!expectations_reserve(&back->expected, 1)) {
		to_server->failed = true;
		return true;
	}
	back_own_query(back, "DISCARD ALL", to_server);
	back->cleaning = true;
	pins_clear(back);
	prepared_clear(&back->prepared);
	back->leftover = false;
	back->unnamed_number = 0;
	empty = settings_empty(back->pool->worker->settings);
	settings_replace(&back->settings.extra, empty);
	settings_replace(&back->settings.extra_before, empty);
	settings_unref(empty);
	back->base.dirty = false;
	back_update(back);
	return true;
}

static void write_pairs(struct buf *b, const struct settings *list)
{
	for (size_t i = 0; i < settings_count(list); i++) {
		buf_cstr(b, settings_name(list, i));
		buf_cstr(b, settings_value(list, i));
	}
}

static bool back_pack(struct back *base, struct dialled *ret_dialled)
{
	struct pg_back *back = pg_back(base);
	struct pgsql_handle *handle = back->handle;

	if (!back->base.at_rest || back->base.dirty)
		return false;
	handle->leftover = !prepared_pack(&back->prepared, &handle->prepared) || back->leftover;
	handle->last_number = back->last_number;
	buf_clear(&handle->reported);
	buf_clear(&handle->extra);
	write_pairs(&handle->reported, back->settings.reported);
	write_pairs(&handle->extra, back->settings.extra);
	if (handle->reported.failed || handle->extra.failed) {
		buf_clear(&handle->prepared);
		return false;
	}
	ret_dialled->handle = handle;
	back->handle = NULL;
	return true;
}

static void back_farewell(struct back *base, struct output *to_server)
{
	pg_send_empty(to_server, 'X');
}

/* Requests end with what is answered by ReadyForQuery. Its own, in front of the client's first one,
 * are part of that. */
static bool back_runs_last(const struct back *base)
{
	const struct pg_back *back = container_of(base, const struct pg_back, base);
	bool ended = false;

	for (size_t i = 0; i < back->expected.len; i++) {
		const struct expectation *e = expectations_at(&back->expected, i);
		if (ended && e->kind != EXPECT_COPY_END)
			return false;
		ended |= !e->own && (e->kind == EXPECT_QUERY || e->kind == EXPECT_FUNCTION ||
					    e->kind == EXPECT_SYNC);
	}
	/* In `failing` it has ended but for the client's Sync. */
	return !back->failing && !(ended && back->batch_open);
}

static void *cancel_new(const struct back *base)
{
	return pgsql_cancel_new(container_of(base, const struct pg_back, base)->handle);
}

static const char *const console_names[] = {"weir", "pgbouncer", NULL};

const struct protocol pgsql_protocol = {
	.name = "postgresql",
	.console_names = console_names,
	.init = pgsql_forget_environment,
	.worker_new = worker_new,
	.worker_free = worker_free,
	.pool_new = pool_new,
	.pool_free = pool_free,
	.pool_news = welcome_news,
	.pool_told = welcome_told,
	.url_check = pgsql_url_check,
	.front_new = front_new,
	.front_free = front_free,
	.front_greet = front_greet,
	.turn_away = turn_away,
	.front_identify = front_identify,
	.front_accept = front_accept,
	.front_console = front_console,
	.from_client = from_client,
	.console_reply = console_reply,
	.front_refuse = front_refuse,
	.front_server_lost = front_server_lost,
	.front_setting = front_setting,
	.front_n_statements = front_n_statements,
	.front_statement = front_statement,
	.back_new = back_new,
	.back_free = back_free,
	.back_n_statements = back_n_statements,
	.from_server = from_server,
	.back_ping = back_ping,
	.back_abandon = back_abandon,
	.back_clean = back_clean,
	.back_pack = back_pack,
	.back_farewell = back_farewell,
	.back_runs_last = back_runs_last,
	.cancel_new = cancel_new,
	.cancel_free = pgsql_cancel_free,
	.dial = pgsql_dial,
	.dialled_free = pgsql_dialled_free,
	.cancel = pgsql_cancel,
};
