/*
 * Bringing a server connection to a client's settings: what differs, in one statement in front of
 * the client's own, without waiting for the answer.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/state.h"
#include "util/text.h"

static bool is_number(const char *value)
{
	size_t n = strspn(value, "0123456789"), n_digits = n;

	if (value[n] == '.') {
		size_t n_behind = strspn(value + n + 1, "0123456789");
		n += 1 + n_behind;
		n_digits += n_behind;
	}
	return n_digits > 0 && !value[n];
}

/* Numbers must not be quoted, everything else must be; a result's character set may be none. */
static void write_value(struct buf *b, const char *name, const char *value, bool backslash)
{
	if (is_number(value)) {
		buf_text(b, value);
		return;
	}
	if (!*value && text_equal_ci(name, "character_set_results")) {
		buf_text(b, "NULL");
		return;
	}
	buf_u8(b, '\'');
	for (; *value; value++) {
		if (*value == '\'' || (*value == '\\' && backslash))
			buf_u8(b, (uint8_t)*value);
		buf_u8(b, (uint8_t)*value);
	}
	buf_u8(b, '\'');
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Appends one assignment; `value` NULL: the default. */
static void assign(struct buf *b, const char *name, const char *value, bool backslash)
{
	buf_text(b, b->len ? ", @@SESSION." : "SET @@SESSION.");
	buf_text(b, name);
	buf_u8(b, '=');
	if (value)
		write_value(b, name, value, backslash);
	else if (text_equal_ci(name, "foreign_key_checks") || text_equal_ci(name, "unique_checks"))
		buf_printf(b, "@@GLOBAL.%s", name); /* whose DEFAULT is wrong in MySQL 9 */
	else
		buf_text(b, "DEFAULT");
}

/* Names come in order: the character set of the connection before its collation, which setting the
 * character set changes. */
static void write_changes(const struct settings *want, const struct settings *have, struct buf *b)
{
	const char *mode = settings_get(have, "sql_mode");
	bool backslash = !mode || !strstr(mode, "NO_BACKSLASH_ESCAPES");
	bool collates = !same(settings_get(want, "collation_connection"),
		settings_get(have, "collation_connection"));

	for (size_t i = 0; i < settings_count(have); i++) {
		const char *name = settings_name(have, i);
		if (*name != ':' && !settings_get(want, name) &&
			!text_equal_ci(name, "collation_connection"))
			assign(b, name, NULL, backslash);
	}
	for (size_t i = 0; i < settings_count(want); i++) {
		const char *name = settings_name(want, i), *value = settings_value(want, i);
		bool again = collates && (text_equal_ci(name, "character_set_connection") ||
						 text_equal_ci(name, "collation_connection"));
		if (*name != ':' && (again || !same(value, settings_get(have, name))))
			assign(b, name, value, backslash);
	}
}

/* The client's statement must not follow before it is known that the schema is still there: it
 * would run in another one. */
static void sync_schema(const char *schema, struct my_back *back, struct output *to_server)
{
	if (!schema)
		schema = back->handle->url.dbname;
	/* No command goes back to none. */
	if (!schema || !*schema)
		schema = "information_schema";
	my_send_command(to_server, MY_COM_INIT_DB, schema, strlen(schema));
	my_back_expect(
		back, (struct my_expectation){.kind = MY_EXPECT_SCHEMA, .shape = SHAPE_SIMPLE});
}

static void sync_multi(const struct settings *want, struct my_back *back, struct output *to_server)
{
	bool off = settings_get(want, MY_NO_MULTI) != NULL;
	uint8_t option[] = {off, 0};

	if (off != (settings_get(back->settings, MY_NO_MULTI) != NULL))
		my_back_own_command(back, MY_COM_SET_OPTION, option, sizeof(option), to_server);
}

/* LAST_INSERT_ID() is about to be read: it must be this client's. */
static void sync_insert_id(struct my_front *front, struct my_back *back, struct output *to_server)
{
	struct buf b = {0};

	if (!(front->found & SCAN_LAST_INSERT_ID) ||
		(back->insert_id_owner == front->base.key.id &&
			back->insert_id == front->last_insert_id))
		return;
	buf_printf(&b, "SET last_insert_id=%llu", (unsigned long long)front->last_insert_id);
	buf_u8(&b, 0);
	if (b.failed)
		to_server->failed = true;
	else
		my_back_own_query(back, (char *)b.data, to_server);
	buf_clear(&b);
	back->insert_id_owner = front->base.key.id;
	back->insert_id = front->last_insert_id;
}

/* The connection is as the client wants it, but for its schema. */
static bool note_synced(const struct my_front *front, struct my_back *back, const char *schema)
{
	const struct settings *list = settings_ref(front->settings);
	bool ok = my_settings_set(back->pool->worker->settings, &list, MY_SCHEMA, schema);

	if (ok)
		my_settings_replace(&back->settings, list);
	settings_unref(list);
	return ok;
}

bool my_sync(struct my_front *front, struct my_back *back, struct output *to_server, bool *ret_wait)
{
	struct buf sql = {0};

	*ret_wait = false;
	sync_insert_id(front, back, to_server);
	if (front->settings == back->settings)
		return true;
	write_changes(front->settings, back->settings, &sql);
	buf_u8(&sql, 0);
	bool ok = !sql.failed;
	if (ok && sql.len > 1)
		my_back_own_query(back, (const char *)sql.data, to_server);
	buf_clear(&sql);
	sync_multi(front->settings, back, to_server);
	const char *want = settings_get(front->settings, MY_SCHEMA);
	const char *have = settings_get(back->settings, MY_SCHEMA);
	*ret_wait = !same(want, have) && front->command != MY_COM_INIT_DB &&
		    !(front->found & SCAN_NO_SCHEMA);
	if (*ret_wait)
		sync_schema(want, back, to_server);
	return ok && note_synced(front, back, have);
}

void my_sync_reset(struct my_back *back, struct output *to_server)
{
	struct settings_table *table = back->pool->worker->settings;
	const struct settings *list = settings_empty(table);
	const char *schema = settings_get(back->settings, MY_SCHEMA);
	const char *no_multi = settings_get(back->settings, MY_NO_MULTI);

	/* A reset leaves the schema as it is, and takes the session's tracking away. */
	my_back_own_command(back, MY_COM_RESET_CONNECTION, NULL, 0, to_server);
	my_back_own_query(back, MYSQL_ARM_SQL, to_server);
	my_back_own_query(back, MYSQL_NAMES_SQL, to_server);
	if (back->handle->flavour & MY_FLAVOUR_IGNORE_SPACE)
		my_back_own_query(back, MY_IGNORE_SPACE_SQL, to_server);
	if (!my_settings_collation(table, &list, MYSQL_COLLATION, false) ||
		(schema && !my_settings_set(table, &list, MY_SCHEMA, schema)) ||
		(no_multi && !my_settings_set(table, &list, MY_NO_MULTI, no_multi)))
		to_server->failed = true;
	my_settings_replace(&back->settings, list);
	settings_unref(list);
	my_pins_clear(back);
	prepared_clear(&back->prepared);
	back->insert_id_owner = 0;
	back->tainted = false;
	back->own_error.code = 0;
	back->was_in_transaction = false;
}
