/*
 * Prepared statements. A client's ids are its own; a server connection has each statement under the
 * server's id. Texts are compared with all that their meaning depends on. Used by execute.c, which
 * has the client's commands, and back.c.
 */
#include "proto/mysql/statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"

/* "Give me the last one": what MariaDB's clients send to prepare and execute in one go. */
#define LAST_PREPARED 0xffffffffu

/* --- a client's ids --- */

static bool id_equal(const struct map_node *node, const void *key)
{
	return container_of(node, struct my_client_statement, node)->id == *(const uint32_t *)key;
}

struct my_client_statement *my_client_statement_find(const struct my_front *front, uint32_t id)
{
	if (id == LAST_PREPARED)
		id = front->last_statement_id;
	struct map_node *node = map_find(&front->statements, id, id_equal, &id);

	return node ? container_of(node, struct my_client_statement, node) : NULL;
}

/* With the types of its parameters. */
static size_t size_of(const struct statement *statement, size_t n_parameters)
{
	return statement_size(statement) + 2 * n_parameters;
}

void my_client_statement_forget(struct my_front *front, struct my_client_statement *cs)
{
	map_remove(&front->statements, &cs->node);
	front->n_kept_data -= cs->kept_data.len;
	front->statements_size -= size_of(cs->statement, cs->n_parameters);
	buf_clear(&cs->kept_data);
	statement_unref(cs->statement);
	free(cs->types);
	free(cs);
}

void my_client_statements_clear(struct my_front *front)
{
	struct map_node *node;

	while ((node = map_next(&front->statements, NULL)))
		my_client_statement_forget(
			front, container_of(node, struct my_client_statement, node));
	map_clear(&front->statements);
}

/* --- the table's statements --- */

/* The key is what the text's meaning depends on, each with its NUL, and the text, in which there
 * may be NULs too. The pool's number is this worker's own, and always as long. */
#define KEY_POOL_SIZE 17

enum {
	KEY_POOL,
	KEY_OWNER,
	KEY_SCHEMA,
	KEY_SQL_MODE,
	KEY_CLIENT_CHARSET,
	KEY_COLLATION,
	KEY_PARTS
};

static const char *read_key(
	const uint8_t *body, size_t len, const char **ret_sql_mode, size_t *ret_text_len)
{
	const char *parts[KEY_PARTS];
	struct reader r;

	reader_init(&r, body, len);
	for (size_t i = 0; i < KEY_PARTS; i++)
		parts[i] = reader_cstr(&r, NULL);
	*ret_sql_mode = parts[KEY_SQL_MODE];
	*ret_text_len = reader_left(&r);
	return (const char *)r.at;
}

static bool examine(void *arg, const uint8_t *body, size_t len, void **ret_effects)
{
	struct my_scan *scan = malloc(sizeof(*scan));
	struct my_effects *effects = NULL;
	const char *sql_mode;
	size_t text_len;

	if (!scan)
		return false;
	const char *text = read_key(body, len, &sql_mode, &text_len);
	my_scan_init(scan, strstr(sql_mode, "NO_BACKSLASH_ESCAPES"));
	my_scan_feed(scan, text, text_len);
	my_scan_end(scan);
	size_t size = strlen(scan->name) + 1;
	effects = malloc(sizeof(*effects) + size);
	if (effects) {
		effects->found = scan->found;
		effects->answer = effects->locks = (struct buf){0};
		buf_put(&effects->locks, scan->locks, scan->locks_len);
		memcpy(effects->name, scan->name, size);
	}
	free(scan);
	*ret_effects = effects;
	return effects && !effects->locks.failed;
}

static void forget_effects(void *arg)
{
	struct my_effects *effects = arg;

	if (!effects)
		return;
	buf_clear(&effects->answer);
	buf_clear(&effects->locks);
	free(effects);
}

void my_statements_init(struct statements *table)
{
	statements_init(table, KEY_POOL_SIZE, examine, forget_effects, NULL);
}

void my_stmt_learn(struct statement *statement, struct buf *answer)
{
	struct my_effects *effects = statement->effects;

	if (answer->failed || !answer->len)
		return;
	buf_clear(&effects->answer);
	effects->answer = *answer;
	*answer = (struct buf){0};
}

void my_stmt_unlearn(struct statement *statement)
{
	struct my_effects *effects = statement->effects;

	buf_clear(&effects->answer);
}

/* `owner`: whose alone it is; "": any client's. */
static void write_key(struct buf *b, const struct my_front *front, const char *owner,
	const char *text, size_t len)
{
	static const char *const names[KEY_PARTS] = {[KEY_SCHEMA] = MY_SCHEMA,
		[KEY_SQL_MODE] = "sql_mode",
		[KEY_CLIENT_CHARSET] = "character_set_client",
		[KEY_COLLATION] = "collation_connection"};

	buf_printf(b, "%016llx", (unsigned long long)front->pool->number);
	buf_u8(b, 0);
	buf_cstr(b, owner);
	for (size_t i = KEY_OWNER + 1; i < KEY_PARTS; i++) {
		const char *value = settings_get(front->settings, names[i]);
		buf_cstr(b, value ? value : "");
	}
	buf_put(b, text, len);
}

/* A statement under two ids has two cursors and two sets of long data. */
static bool has_already(const struct my_front *front, const struct statement *statement)
{
	struct map_node *node;

	map_for_each (node, &front->statements) {
		if (container_of(node, struct my_client_statement, node)->statement == statement)
			return true;
	}
	return false;
}

struct statement *my_stmt_get(struct my_front *front, const char *text, size_t len)
{
	struct statements *table = &front->worker->statements;
	struct buf key = {0};
	char owner[48];

	write_key(&key, front, "", text, len);
	struct statement *statement = key.failed ? NULL : statement_get(table, key.data, key.len);
	if (statement && has_already(front, statement)) {
		statement_unref(statement);
		snprintf(owner, sizeof(owner), "client %u statement %u", front->base.key.id,
			front->last_statement_id + 1);
		buf_clear(&key);
		write_key(&key, front, owner, text, len);
		statement = key.failed ? NULL : statement_get(table, key.data, key.len);
	}
	buf_clear(&key);
	return statement;
}

bool my_stmt_is_too_much(const struct my_front *front, const struct statement *statement)
{
	return front->statements_size + settings_size(front->settings) + size_of(statement, 0) >
	       front->memory_limit;
}

struct statement_text my_stmt_text(const struct statement *statement)
{
	struct statement_text text = {0};
	const char *sql_mode;

	text.text = read_key(statement->body, statement->len, &sql_mode, &text.len);
	return text;
}

struct statement_text my_client_statement_text(const struct my_front *front, uint32_t id)
{
	const struct my_client_statement *cs = my_client_statement_find(front, id);

	return cs ? my_stmt_text(cs->statement) : (struct statement_text){0};
}

/* --- what a server connection has --- */

void my_stmt_close_on_server(struct output *to_server, uint32_t id)
{
	uint8_t bytes[] = {
		(uint8_t)id, (uint8_t)(id >> 8), (uint8_t)(id >> 16), (uint8_t)(id >> 24)};

	my_send_command(to_server, MY_COM_STMT_CLOSE, bytes, sizeof(bytes));
}

static bool is_in_use(const struct my_back *back)
{
	struct list *link;

	list_for_each (link, &back->pins) {
		enum my_pin_kind kind = list_entry(link, struct my_pin, link)->kind;
		if (kind == MY_PIN_CURSOR || kind == MY_PIN_LONG_DATA)
			return true;
	}
	return false;
}

bool my_stmt_prepared(struct my_back *back, struct statement *statement, const uint8_t *payload,
	size_t limit, struct output *to_server)
{
	struct reader r;
	struct statement *old;
	uint64_t evicted;

	reader_init(&r, payload, 5);
	reader_u8(&r);
	uint32_t id = reader_u32le(&r);
	back->base.n_server_parses++;
	if (prepared_use(&back->prepared, statement)) {
		/* The client has prepared what is there already: once is enough. */
		my_stmt_close_on_server(to_server, id);
		return true;
	}
	if (!prepared_add(&back->prepared, statement, id))
		return false;
	if (is_in_use(back) || !prepared_evict(&back->prepared, limit ? limit : 1, &old, &evicted))
		return true;
	my_stmt_close_on_server(to_server, (uint32_t)evicted);
	statement_unref(old);
	return true;
}

bool my_stmt_hand_out(struct my_front *front, struct statement *statement, const uint8_t *packet,
	size_t size, struct output *to_client)
{
	struct my_client_statement *cs = calloc(1, sizeof(*cs));
	struct reader r;

	if (!cs)
		return false;
	reader_init(&r, packet + MY_HEADER, size - MY_HEADER);
	reader_bytes(&r, 7);
	cs->n_parameters = reader_u16le(&r);
	cs->id = ++front->last_statement_id;
	if (map_insert(&front->statements, &cs->node, cs->id) < 0) {
		free(cs);
		return false;
	}
	cs->statement = statement_ref(statement);
	front->statements_size += size_of(statement, cs->n_parameters);
	uint8_t *at = output_space(to_client, size);
	if (at) {
		memcpy(at, packet, size);
		my_stmt_write_id(at, cs->id);
	}
	return true;
}
