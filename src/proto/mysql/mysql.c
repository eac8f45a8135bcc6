/* MySQL's row: makes and frees the two halves, and leads each call to the file that knows. */
#include "proto/mysql/mysql.h"

#include <stdlib.h>
#include <string.h>

#include "proto/mysql/cancel.h"
#include "proto/mysql/control.h"
#include "proto/mysql/state.h"
#include "proto/mysql/statements.h"
#include "util/random.h"

#define CANCEL_ID_ONLY 0 /* KILL names a client by its id alone */

static void worker_free(struct proto_worker *worker)
{
	if (!worker)
		return;
	my_digests_clear(worker);
	statements_clear(&worker->statements);
	settings_table_free(worker->settings);
	free(worker->greeting.version);
	free(worker);
}

static struct proto_worker *worker_new(void)
{
	struct proto_worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	map_init(&worker->digests);
	my_statements_init(&worker->statements);
	worker->greeting.collation = MYSQL_COLLATION;
	worker->greeting.status = MY_STATUS_AUTOCOMMIT;
	worker->settings = settings_table_new();
	if (!worker->settings) {
		worker_free(worker);
		return NULL;
	}
	return worker;
}

static void set_version(struct proto_worker *worker, const char *version)
{
	char *copy = strdup(version);

	if (!copy)
		return;
	free(worker->greeting.version);
	worker->greeting.version = copy;
}

static void worker_learn(struct proto_worker *worker, const struct buf *greeting)
{
	struct reader r;

	reader_init(&r, greeting->data, greeting->len);
	const char *version = reader_cstr(&r, NULL);
	uint8_t collation = reader_u8(&r);
	uint16_t status = reader_u16le(&r);
	if (!reader_done(&r))
		return;
	set_version(worker, version);
	worker->greeting.collation = collation;
	worker->greeting.status = status & MY_STATUS_AUTOCOMMIT;
}

static struct proto_pool *pool_new(struct proto_worker *worker)
{
	struct proto_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->worker = worker;
	pool->number = ++worker->n_pools;
	return pool;
}

static void pool_free(struct proto_pool *pool)
{
	if (!pool)
		return;
	free(pool->version);
	free(pool);
}

/* --- the client's half --- */

static struct front *front_new(struct proto_worker *worker, uint32_t id)
{
	struct my_front *front = calloc(1, sizeof(*front));

	if (!front)
		return NULL;
	front->base.protocol = &mysql_protocol;
	front->base.key.id = id;
	front->worker = worker;
	front->startup = settings_empty(worker->settings);
	front->settings = settings_ref(front->startup);
	map_init(&front->statements);
	return &front->base;
}

static void front_free(struct front *base)
{
	if (!base)
		return;
	struct my_front *front = my_front(base);
	if (front->worker->scanned == front)
		front->worker->scanned = NULL;
	my_login_free(front->login);
	my_client_statements_clear(front);
	settings_unref(front->startup);
	settings_unref(front->settings);
	buf_clear(&front->warnings);
	buf_clear(&front->found_locks);
	free(front->base.lost);
	free(front->refused);
	free(front->found_name);
	free(front->console_command);
	free(front->scan);
	free(front->base.user);
	free(front);
}

/* An error in place of the greeting has no SQLSTATE: what the client understands is not known. */
static void turn_away(const struct refusal *refusal, struct output *to_client)
{
	struct buf b = {0};

	my_write_error(&b, 0, refusal->mysql_code, NULL, refusal->text);
	my_send_buf(to_client, &b);
}

static void front_greet(struct front *base, struct output *to_client)
{
	my_login_greet(my_front(base), to_client);
}

static void front_identify(struct front *base, const char *secret)
{
	my_login_identify(my_front(base), secret);
}

/* A new session, also after COM_CHANGE_USER: nothing of the one before is left. */
static void front_accept(
	struct front *base, struct proto_pool *pool, const struct config_pool *limits)
{
	struct my_front *front = my_front(base);
	const struct settings *list = settings_empty(front->worker->settings);
	const char *version = pool->version ? pool->version : front->worker->greeting.version;
	bool mariadb = version && strstr(version, "MariaDB");

	front->pool = pool;
	front->session_mode = limits->pool_mode == POOL_MODE_SESSION;
	front->prepared_limit = limits->prepared_statements;
	front->memory_limit = limits->client_memory;
	front->local_files = limits->local_infile && front->capabilities & MY_LOCAL_FILES;
	base->flavour = (front->capabilities & MY_FOUND_ROWS ? MY_FLAVOUR_FOUND_ROWS : 0) |
			(front->local_files ? MY_FLAVOUR_LOCAL_FILES : 0) |
			(front->capabilities & MY_IGNORE_SPACE ? MY_FLAVOUR_IGNORE_SPACE : 0);
	bool ok = my_settings_collation(
		front->worker->settings, &list, my_login_collation(front->login), mariadb);
	if (!(front->capabilities & MY_MULTI_STATEMENTS))
		ok = ok && my_settings_set(front->worker->settings, &list, MY_NO_MULTI, "1");
	my_settings_replace(&front->startup, list);
	my_settings_replace(&front->settings, list);
	settings_unref(list);
	my_client_statements_clear(front);
	buf_clear(&front->warnings);
	free(base->lost);
	base->lost = NULL;
	base->failed_transaction = false;
	front->last_insert_id = 0;
	front->row_count = front->found_rows = 0;
	front->n_warnings = 0;
	my_login_free(front->login);
	front->login = NULL;
	front->phase = ok ? MY_PHASE_WELCOME : MY_PHASE_ENDED;
	base->reason = REASON_OUT_OF_MEMORY;
}

static enum front_verdict welcome(struct my_front *front, struct output *to_client)
{
	my_send_ok(to_client, (uint8_t)(front->sequence + 1), my_local_status(front));
	front->base.welcomed = true;
	front->base.in_request = false;
	front->phase = MY_PHASE_READY;
	return FRONT_FLUSH;
}

static void front_console(struct front *base)
{
	struct my_front *front = my_front(base);

	my_login_free(front->login);
	front->login = NULL;
	/* Perhaps again, after COM_CHANGE_USER. */
	front->told_welcome = false;
	front->phase = MY_PHASE_CONSOLE;
	/* Also after COM_CHANGE_USER, which is answered like a login. */
	base->welcomed = false;
}

static enum front_verdict from_client(struct front *base, struct back *back, struct input *in,
	struct output *to_client, struct output *to_server)
{
	struct my_front *front = my_front(base);

	switch (front->phase) {
	case MY_PHASE_LOGIN:
		return my_login_from_client(front, in, to_client);
	case MY_PHASE_IDENTIFY:
		return FRONT_IDENTIFY;
	case MY_PHASE_PROVED:
		return FRONT_AUTHENTICATED;
	case MY_PHASE_WELCOME:
		return welcome(front, to_client);
	case MY_PHASE_READY:
		return my_relay_from_client(front, my_back(back), in, to_client, to_server);
	case MY_PHASE_CONSOLE:
		if (!front->told_welcome) {
			my_send_ok(to_client, (uint8_t)(front->sequence + 1), MY_STATUS_AUTOCOMMIT);
			front->told_welcome = base->welcomed = true;
		}
		return my_console_from_client(front, in, to_client);
	case MY_PHASE_ENDED:
		break;
	}
	return FRONT_CLOSE;
}

static void console_reply(struct front *base, const struct result *result, struct output *to_client)
{
	my_console_answer(my_front(base), result, to_client);
}

static void front_refuse(
	struct front *base, const struct refusal *refusal, bool fatal, struct output *to_client)
{
	struct my_front *front = my_front(base);

	if (!fatal && front->phase == MY_PHASE_READY) {
		my_relay_refuse(front, refusal);
		return;
	}
	/* A client that is idle reads it as the answer to its next command. But few pools take 1053
	 * for the end of the connection; a packet out of turn, as MariaDB sends when it stops, they
	 * do. */
	bool idle = front->phase == MY_PHASE_READY && !front->awaiting;
	uint8_t sequence = (uint8_t)(front->sequence + 1);
	if (idle)
		sequence = refusal->reason == REASON_SHUTDOWN ? 0 : 1;
	my_send_refusal(to_client, sequence, refusal);
	front->phase = MY_PHASE_ENDED;
	base->reason = refusal->reason;
}

static void front_server_lost(struct front *base, struct back *back, const struct refusal *refusal,
	struct output *to_client)
{
	my_relay_server_lost(my_front(base), my_back(back), refusal, to_client);
}

static const char *front_setting(const struct front *base, const char *name)
{
	return settings_get(container_of(base, const struct my_front, base)->settings, name);
}

static size_t front_n_statements(const struct front *base)
{
	return container_of(base, const struct my_front, base)->statements.n_items;
}

static struct statement_text front_statement(
	const struct front *base, const struct back *back, struct input waiting)
{
	const struct my_front *front = container_of(base, const struct my_front, base);

	if (!back)
		return my_waiting_statement(front, waiting);
	return my_last_statement(front, container_of(back, const struct my_back, base));
}

/* --- the server's half --- */

/* Clients are greeted with what servers say they are; when a server changes, so does that. */
static void learn_version(struct proto_pool *pool, const char *version)
{
	struct my_greeting *greeting = &pool->worker->greeting;

	if (pool->version && strcmp(pool->version, version) == 0)
		return;
	if (!greeting->version || (pool->version && strcmp(greeting->version, pool->version) == 0))
		set_version(pool->worker, version);
	free(pool->version);
	pool->version = strdup(version);
	pool->is_news = pool->version != NULL;
}

static bool pool_news(struct proto_pool *pool, struct buf *ret_news)
{
	*ret_news = (struct buf){0};
	if (!pool->is_news || !pool->version)
		return false;
	pool->is_news = false;
	buf_cstr(ret_news, pool->version);
	return !ret_news->failed;
}

static void pool_told(struct proto_pool *pool, const struct buf *news)
{
	bool was_news = pool->is_news;

	learn_version(pool, (const char *)news->data);
	pool->is_news = was_news;
}

static const struct settings *read_pairs(struct settings_table *table, const struct buf *pairs)
{
	const struct settings *list = settings_empty(table);
	struct reader r;

	reader_init(&r, pairs->data, pairs->len);
	while (reader_left(&r)) {
		const char *name = reader_cstr(&r, NULL), *value = reader_cstr(&r, NULL);
		if (!value || !my_settings_set(table, &list, name, value))
			break;
	}
	return list;
}

static struct back *back_new(struct proto_pool *pool, struct dialled *dialled)
{
	struct my_back *back = calloc(1, sizeof(*back));
	struct settings_table *table = pool->worker->settings;

	if (!back)
		return NULL;
	back->base.protocol = &mysql_protocol;
	back->pool = pool;
	back->handle = dialled->handle;
	dialled->handle = NULL;
	back->base.process_id = back->handle->connection_id;
	back->settings = read_pairs(table, &back->handle->settings);
	if (!back->handle->settings.len &&
		!my_settings_collation(table, &back->settings, MYSQL_COLLATION, false))
		back->tainted = true;
	back->status = back->handle->status;
	prepared_init(&back->prepared);
	prepared_unpack(&back->prepared, &back->handle->prepared);
	list_init(&back->pins);
	learn_version(pool, back->handle->version);
	my_back_update(back);
	return &back->base;
}

static void back_free(struct back *base)
{
	struct my_back *back = my_back(base);

	if (!back)
		return;
	for (unsigned i = 0; i < back->n_expected; i++)
		statement_unref(back->expected[i].statement);
	prepared_clear(&back->prepared);
	buf_clear(&back->prepare_answer);
	buf_clear(&back->locks);
	my_pins_clear(back);
	settings_unref(back->settings);
	mysql_handle_free(back->handle);
	free(back);
}

static size_t back_n_statements(const struct back *base)
{
	return prepared_count(&container_of(base, const struct my_back, base)->prepared);
}

static enum back_verdict from_server(struct back *back, struct front *front, struct input *in,
	struct output *to_client, struct output *to_server)
{
	return my_relay_from_server(
		my_back(back), front ? my_front(front) : NULL, in, to_client, to_server);
}

static void back_ping(struct back *base, struct output *to_server)
{
	my_back_own_command(my_back(base), MY_COM_PING, NULL, 0, to_server);
	my_back_update(my_back(base));
}

static bool back_abandon(struct back *base, struct output *to_server)
{
	struct my_back *back = my_back(base);

	if (back->half_command)
		return false;
	/* A file that is awaited from the client: an empty one does nothing. A part of one would
	 * count as the whole. */
	if (back->follow.state == FOLLOW_UPLOAD) {
		const uint8_t nothing[] = {0, 0, 0, (uint8_t)(back->upload_sequence + 1)};
		if (back->upload_begun)
			return false;
		output_copy(to_server, nothing, sizeof(nothing));
		follow_uploaded(&back->follow);
	}
	back->dropping += back->forwarding;
	back->forwarding = 0;
	/* Whatever it ran may have changed what only its answer would have told. */
	back->tainted = true;
	my_back_update(back);
	return true;
}

static bool back_clean(struct back *base, bool thorough, struct output *to_server)
{
	struct my_back *back = my_back(base);

	back->own_error.code = 0;
	my_back_update(back);
	if (!base->dirty && list_empty(&back->pins) && !thorough) {
		if (!(back->status & MY_STATUS_IN_TRANS))
			return false;
		my_back_own_query(back, "ROLLBACK", to_server);
		my_back_update(back);
		return true;
	}
	/* It rolls back too. */
	my_sync_reset(back, to_server);
	my_back_update(back);
	return true;
}

static bool back_pack(struct back *base, struct dialled *ret_dialled)
{
	struct my_back *back = my_back(base);
	struct mysql_handle *handle = back->handle;

	if (!base->at_rest || base->dirty || !prepared_pack(&back->prepared, &handle->prepared))
		return false;
	buf_clear(&handle->settings);
	for (size_t i = 0; i < settings_count(back->settings); i++) {
		buf_cstr(&handle->settings, settings_name(back->settings, i));
		buf_cstr(&handle->settings, settings_value(back->settings, i));
	}
	if (handle->settings.failed) {
		buf_clear(&handle->prepared);
		return false;
	}
	handle->status = back->status;
	ret_dialled->handle = handle;
	back->handle = NULL;
	return true;
}

static void back_farewell(struct back *base, struct output *to_server)
{
	my_send_command(to_server, MY_COM_QUIT, NULL, 0);
}

static void *cancel_new(const struct back *base)
{
	return mysql_cancel_new(container_of(base, const struct my_back, base)->handle);
}

static const char *const console_names[] = {"weir", NULL};

const struct protocol mysql_protocol = {
	.name = "mysql",
	.console_names = console_names,
	.init = mysql_control_init,
	.worker_new = worker_new,
	.worker_free = worker_free,
	.worker_learn = worker_learn,
	.pool_new = pool_new,
	.pool_free = pool_free,
	.pool_news = pool_news,
	.pool_told = pool_told,
	.url_check = mysql_url_check,
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
	.cancel_new = cancel_new,
	.cancel_free = mysql_cancel_free,
	.dial = mysql_dial,
	.probe = mysql_probe,
	.dialled_free = mysql_dialled_free,
	.cancel = mysql_cancel,
};
