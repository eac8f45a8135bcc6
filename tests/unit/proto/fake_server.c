/* The pretended server. Used by conversation.c. */
#include "fake_server.h"

#include <stdio.h>
#include <string.h>

#include "proto/pgsql/wire.h"
#include "util/text.h"

void fake_server_init(struct fake_server *s, bool eager)
{
	*s = (struct fake_server){.eager = eager, .status = 'I'};
	text_copy(s->settings[0].name, 64, "application_name");
	s->n_settings = 1;
}

void fake_server_clear(struct fake_server *s)
{
	buf_clear(&s->in);
	buf_clear(&s->waiting);
	buf_clear(&s->out);
}

/* --- writing --- */

static void empty(struct fake_server *s, uint8_t type)
{
	pg_end(&s->waiting, pg_begin(&s->waiting, type));
}

static void text(struct fake_server *s, uint8_t type, const char *content)
{
	size_t at = pg_begin(&s->waiting, type);

	buf_cstr(&s->waiting, content);
	pg_end(&s->waiting, at);
}

static void flush(struct fake_server *s)
{
	buf_put(&s->out, s->waiting.data, s->waiting.len);
	buf_clear(&s->waiting);
}

static void error(struct fake_server *s, const char *sqlstate, const char *words)
{
	pg_write_report(&s->waiting, 'E', "ERROR", sqlstate, words, NULL);
	if (s->status == 'T')
		s->status = 'E';
}

static struct fake_pair *find(struct fake_pair *pairs, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(pairs[i].name, name) == 0)
			return &pairs[i];
	}
	return NULL;
}

static void put(struct fake_pair *pairs, size_t *n, const char *name, const char *value)
{
	struct fake_pair *pair = find(pairs, *n, name);

	if (!pair && *n == FAKE_MAX)
		return;
	if (!pair)
		pair = &pairs[(*n)++];
	text_copy(pair->name, sizeof(pair->name), name);
	text_copy(pair->value, sizeof(pair->value), value);
}

static bool drop(struct fake_pair *pairs, size_t *n, const char *name)
{
	struct fake_pair *pair = find(pairs, *n, name);

	if (!pair)
		return false;
	*pair = pairs[--*n];
	return true;
}

static void notify(struct fake_server *s)
{
	size_t at = pg_begin(&s->waiting, 'A');

	buf_u32be(&s->waiting, 7);
	buf_cstr(&s->waiting, "channel");
	buf_cstr(&s->waiting, "");
	pg_end(&s->waiting, at);
}

static void ready(struct fake_server *s)
{
	if (s->notify_later && --s->notify_later == 0)
		notify(s);
	if (s->reported) {
		struct fake_pair *pair = find(s->settings, s->n_settings, "application_name");
		size_t at = pg_begin(&s->waiting, 'S');
		buf_cstr(&s->waiting, "application_name");
		buf_cstr(&s->waiting, pair ? pair->value : "");
		pg_end(&s->waiting, at);
	}
	s->reported = false;
	size_t at = pg_begin(&s->waiting, 'Z');
	buf_u8(&s->waiting, (uint8_t)s->status);
	pg_end(&s->waiting, at);
	flush(s);
}

static void description(struct fake_server *s)
{
	size_t at = pg_begin(&s->waiting, 'T');

	buf_u16be(&s->waiting, 1);
	buf_cstr(&s->waiting, "?column?");
	buf_put(&s->waiting, (uint8_t[18]){[9] = 25}, 18);
	pg_end(&s->waiting, at);
}

static void row(struct fake_server *s, const char *value)
{
	size_t at = pg_begin(&s->waiting, 'D');

	buf_u16be(&s->waiting, 1);
	buf_u32be(&s->waiting, (uint32_t)strlen(value));
	buf_text(&s->waiting, value);
	pg_end(&s->waiting, at);
}

/* --- statements --- */

static void set(struct fake_server *s, const char *name, const char *value)
{
	put(s->settings, &s->n_settings, name, value);
	s->reported |= strcmp(name, "application_name") == 0;
}

/* Every set_config('name', 'value', false) in the text. NULL as value resets. */
static void set_configs(struct fake_server *s, const char *sql)
{
	char name[64], value[256];

	while ((sql = strstr(sql, "set_config("))) {
		sql += strlen("set_config(");
		if (sscanf(sql, "'%63[^']', '%255[^']'", name, value) == 2)
			set(s, name, value);
		else if (sscanf(sql, "'%63[^']', ''", name) == 1 && strstr(sql, "', ''"))
			set(s, name, "");
		else if (sscanf(sql, "'%63[^']', NULL", name) == 1)
			drop(s->settings, &s->n_settings, name);
	}
}

static void rows(struct fake_server *s, const char *value, bool simple)
{
	if (simple)
		description(s);
	row(s, value);
	text(s, 'C', "SELECT 1");
}

static bool transaction(struct fake_server *s, const char *sql)
{
	if (strcmp(sql, "BEGIN") == 0)
		s->status = 'T';
	else if (strcmp(sql, "COMMIT") == 0 || strcmp(sql, "ROLLBACK") == 0) {
		sql = s->status == 'E' ? "ROLLBACK" : sql;
		s->status = 'I';
	} else
		return false;
	text(s, 'C', sql);
	return true;
}

static bool session(struct fake_server *s, const char *sql, bool simple)
{
	char name[64], value[256];
	const struct fake_pair *pair;

	if (sscanf(sql, "SET \"%63[^\"]\" TO %255[^;]", name, value) == 2 ||
		sscanf(sql, "SET %63s TO %255[^;]", name, value) == 2) {
		size_t n = strlen(value);
		bool quoted = value[0] == '\'';
		value[n - quoted] = 0;
		set(s, name, value + quoted);
		text(s, 'C', "SET");
	} else if (sscanf(sql, "SHOW %63s", name) == 1) {
		pair = find(s->settings, s->n_settings, name);
		rows(s, pair ? pair->value : "(unset)", simple);
	} else if (sscanf(sql, "EXECUTE %63s", name) == 1) {
		pair = find(s->statements, s->n_statements, name);
		if (!pair) {
			error(s, "26000", "no such statement");
			return false;
		}
		rows(s, pair->value, simple);
	} else if (strcmp(sql, "DEALLOCATE ALL") == 0) {
		s->n_statements = 0;
		text(s, 'C', "DEALLOCATE ALL");
	} else if (sscanf(sql, "DEALLOCATE %63s", name) == 1) {
		if (!drop(s->statements, &s->n_statements, name)) {
			error(s, "26000", "no such statement");
			return false;
		}
		text(s, 'C', "DEALLOCATE");
	} else if (strcmp(sql, "DISCARD ALL") == 0) {
		s->n_statements = 0;
		s->n_settings = 0;
		set(s, "application_name", "");
		text(s, 'C', "DISCARD ALL");
	} else {
		rows(s, sql, simple);
	}
	return true;
}

/* Runs one statement. False: it failed. */
static bool run(struct fake_server *s, const char *sql, bool simple)
{
	if (s->status == 'E' && strcmp(sql, "ROLLBACK") != 0 && strcmp(sql, "COMMIT") != 0) {
		error(s, "25P02", "current transaction is aborted");
		return false;
	}
	if (text_starts_with(sql, "bad")) {
		error(s, "42601", "syntax error");
		return false;
	}
	if (text_starts_with(sql, "oops")) {
		error(s, "22012", "division by zero");
		return false;
	}
	if (strcmp(sql, "COPY IN") == 0) {
		size_t at = pg_begin(&s->waiting, 'G');
		buf_put(&s->waiting, (uint8_t[3]){0}, 3);
		pg_end(&s->waiting, at);
		flush(s);
		s->copy_in = true;
		s->copy_extended = !simple;
		return true;
	}
	if (strcmp(sql, "COPY OUT") == 0) {
		size_t at = pg_begin(&s->waiting, 'H');
		buf_put(&s->waiting, (uint8_t[3]){0}, 3);
		pg_end(&s->waiting, at);
		text(s, 'd', "one\n");
		text(s, 'd', "two, which is longer\n");
		empty(s, 'c');
		text(s, 'C', "COPY 2");
		return true;
	}
	if (strcmp(sql, "NOTICE") == 0)
		pg_write_report(&s->waiting, 'N', "NOTICE", "00000", "by the way", NULL);
	if (strcmp(sql, "NOTIFY") == 0)
		notify(s);
	if (strcmp(sql, "NOTIFY LATER") == 0)
		s->notify_later = 2;
	if (transaction(s, sql))
		return true;
	set_configs(s, sql);
	return session(s, sql, simple);
}

static void query(struct fake_server *s, const char *sql)
{
	char one[256];

	for (bool good = true; good && *sql;) {
		size_t len = strcspn(sql, ";");
		size_t blank = strspn(sql, " ");
		if (len > blank) {
			text_copy(one, len - blank + 1 < 256 ? len - blank + 1 : 256, sql + blank);
			good = run(s, one, true);
		}
		sql += len + (sql[len] == ';');
	}
	if (!s->copy_in)
		ready(s);
}

/* --- messages --- */

static bool parse(struct fake_server *s, struct reader *r)
{
	const char *name = reader_cstr(r, NULL), *sql = reader_cstr(r, NULL);

	if (!sql)
		return false;
	if (text_starts_with(sql, "bad")) {
		error(s, "42601", "syntax error");
		return false;
	}
	if (name[0] && find(s->statements, s->n_statements, name)) {
		error(s, "42P05", "the statement exists");
		return false;
	}
	if (name[0])
		put(s->statements, &s->n_statements, name, sql);
	else
		text_copy(s->unnamed, sizeof(s->unnamed), sql);
	empty(s, '1');
	return true;
}

/* The text of a statement, or NULL with the error told. */
static const char *statement(struct fake_server *s, const char *name)
{
	struct fake_pair *pair = find(s->statements, s->n_statements, name);

	if (pair)
		return pair->value;
	if (!name[0] && s->unnamed[0])
		return s->unnamed;
	error(s, "26000", "no such statement");
	return NULL;
}

static bool bind_it(struct fake_server *s, struct reader *r)
{
	reader_cstr(r, NULL);
	const char *name = reader_cstr(r, NULL);
	const char *sql = statement(s, name ? name : "?");

	if (!sql)
		return false;
	text_copy(s->portal, sizeof(s->portal), sql);
	empty(s, '2');
	return true;
}

static bool describe(struct fake_server *s, struct reader *r)
{
	uint8_t what = reader_u8(r);
	const char *name = reader_cstr(r, NULL);

	if (!name)
		name = "?";
	if (what == 'S' && !statement(s, name))
		return false;
	if (what == 'S') {
		size_t at = pg_begin(&s->waiting, 't');
		buf_u16be(&s->waiting, 0);
		pg_end(&s->waiting, at);
	}
	description(s);
	return true;
}

static bool close_it(struct fake_server *s, struct reader *r)
{
	uint8_t what = reader_u8(r);
	const char *name = reader_cstr(r, NULL);

	if (!name)
		name = "?";
	if (what == 'S' && name[0])
		drop(s->statements, &s->n_statements, name);
	else if (what == 'S')
		s->unnamed[0] = 0;
	empty(s, '3');
	return true;
}

static bool extended(struct fake_server *s, uint8_t type, struct reader *r)
{
	switch (type) {
	case 'P':
		return parse(s, r);
	case 'B':
		return bind_it(s, r);
	case 'D':
		return describe(s, r);
	case 'C':
		return close_it(s, r);
	case 'E':
		return run(s, s->portal, false);
	default:
		s->malformed = true;
		return false;
	}
}

static void in_copy(struct fake_server *s, uint8_t type, const struct reader *r)
{
	bool wrong = type == 'd' && reader_left(r) > 3 && memcmp(r->at, "oops", 4) == 0;

	if (!wrong && (type == 'd' || type == 'H' || type == 'S'))
		return;
	s->copy_in = false;
	if (type == 'c')
		text(s, 'C', "COPY 0");
	else
		error(s, "57014", "COPY from stdin failed");
	if (!s->copy_extended)
		ready(s);
	else
		s->skipping = type != 'c';
	/* Errors are not kept back. */
	if (type != 'c')
		flush(s);
}

static void take(struct fake_server *s, uint8_t type, struct reader *r)
{
	if (s->copy_in) {
		in_copy(s, type, r);
	} else if (type == 'S') {
		s->malformed |= reader_left(r) > 0;
		s->skipping = false;
		ready(s);
	} else if (type == 'H') {
		flush(s);
	} else if (strchr("dcfX", type) || s->skipping) {
		/* Copy data that is too late is ignored, and so is what follows an error. */
	} else if (type == 'Q') {
		s->unnamed[0] = 0;
		const char *sql = reader_cstr(r, NULL);
		query(s, sql ? sql : "bad");
	} else {
		s->skipping = !extended(s, type, r);
	}
	if (s->eager)
		flush(s);
}

void fake_server_feed(struct fake_server *s, const void *data, size_t len)
{
	struct pg_header h;

	buf_put(&s->in, data, len);
	for (;;) {
		struct input in = {.data = s->in.data, .len = s->in.len};
		struct reader r;
		int outcome = pg_header_read(&in, &h);
		s->malformed |= outcome == PG_HEADER_BAD;
		if (outcome != 0 || in.len < h.total)
			return;
		reader_init(&r, in.data + PG_HEADER, h.total - PG_HEADER);
		take(s, h.type, &r);
		buf_consume(&s->in, h.total);
	}
}
