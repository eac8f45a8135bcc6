/*
 * The console's clients: their commands come as simple or extended queries, the answers are rows
 * without a protocol.
 *
 * In the extended protocol Describe runs what only shows, for its columns, and throws the rows
 * away; Execute runs the command. What does something is known to have no columns.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/console_result.h"
#include "proto/pgsql/state.h"
#include "util/list.h"
#include "util/random.h"
#include "util/text.h"

#define COMMAND_MAX 4096

/* Prepared statements of one console client. */
#define STATEMENTS_MAX 100

struct command_text {
	struct list link;
	char *name, *text;
};

/* What the last Bind has made: a command and the formats of its columns. */
struct portal {
	char *name; /* NULL: there is none */
	char *text;
	struct pg_formats formats;
};

/* What the answer to a command is for. */
enum asked {
	ASKED_QUERY,       /* a Query: columns, rows, ReadyForQuery */
	ASKED_STATEMENT,   /* Describe of a statement: columns */
	ASKED_DESCRIPTION, /* Describe of a portal: columns in its formats */
	ASKED_ROWS,        /* Execute: rows */
};

struct pg_console {
	struct list statements;
	size_t n_statements;
	struct portal portal;
	char *command; /* what runs, for front->command */
	enum asked asked;
	bool skipping; /* after an error, up to Sync */
};

static void statement_free(struct pg_console *c, struct command_text *statement)
{
	list_remove(&statement->link);
	c->n_statements--;
	free(statement->name);
	free(statement->text);
	free(statement);
}

static void portal_close(struct pg_console *c)
{
	free(c->portal.name);
	free(c->portal.text);
	c->portal = (struct portal){0};
}

void pg_console_free(struct pg_console *c)
{
	struct command_text *statement;

	if (!c)
		return;
	while ((statement = list_first(&c->statements, struct command_text, link)))
		statement_free(c, statement);
	portal_close(c);
	free(c->command);
	free(c);
}

static void send_parameter(struct buf *b, const char *name, const char *value)
{
	size_t offset = pg_begin(b, 'S');

	buf_cstr(b, name);
	buf_cstr(b, value);
	pg_end(b, offset);
}

static enum front_verdict greet(struct pg_front *front, struct output *to_client)
{
	static const char *const parameters[][2] = {{"server_version", "15.0 (weir)"},
		{"client_encoding", "UTF8"}, {"server_encoding", "UTF8"}, {"DateStyle", "ISO"},
		{"TimeZone", "GMT"}, {"standard_conforming_strings", "on"}, {"is_superuser", "on"},
		{"integer_datetimes", "on"}};
	struct cancel_key *key = &front->base.key;
	struct buf b = {0};

	front->console = calloc(1, sizeof(*front->console));
	if (!front->console)
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	list_init(&front->console->statements);
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++)
		send_parameter(&b, parameters[i][0], parameters[i][1]);
	key->secret_len = front->protocol_version > PG_PROTOCOL_3_0 ? PG_CANCEL_SECRET_32 : 4;
	random_bytes(key->secret, key->secret_len);
	size_t offset = pg_begin(&b, 'K');
	buf_u32be(&b, key->id);
	buf_put(&b, key->secret, key->secret_len);
	pg_end(&b, offset);
	pg_send_buf(to_client, &b);
	pg_send_ready(to_client, 'I');
	front->base.welcomed = true;
	return FRONT_MORE;
}

void pg_console_start(struct pg_front *front)
{
	front->phase = PHASE_CONSOLE;
	login_free(front->login);
	front->login = NULL;
}

/* --- answers --- */

/* A Bind that chooses formats must do so for all columns. */
static bool formats_fit(const struct pg_console *c, const struct result *result)
{
	size_t n = c->portal.formats.n;

	return c->asked == ASKED_QUERY || c->asked == ASKED_STATEMENT || n <= 1 ||
	       n == result->n_columns;
}

static void write_answer(struct buf *b, const struct pg_console *c, const struct result *result)
{
	const struct pg_formats *formats = &c->portal.formats;

	switch (c->asked) {
	case ASKED_QUERY:
		if (result->columns)
			console_result_columns(b, result, NULL);
		console_result_rows(b, result, NULL);
		break;
	case ASKED_STATEMENT:
		console_result_columns(b, result, NULL);
		break;
	case ASKED_DESCRIPTION:
		console_result_columns(b, result, formats);
		break;
	case ASKED_ROWS:
		console_result_rows(b, result, formats);
		break;
	}
}

/* An error in the extended protocol: what follows is passed over up to the next Sync. */
static void fail(struct pg_console *c, const char *sqlstate, const char *text, struct buf *b)
{
	pg_write_report(b, 'E', "ERROR", sqlstate, text, NULL);
	c->skipping = c->asked != ASKED_QUERY;
}

void pg_console_answer(
	struct pg_front *front, const struct result *result, struct output *to_client)
{
	struct pg_console *c = front->console;
	struct buf b = {0};

	front->base.command = NULL;
	front->base.in_request = false;
	free(c->command);
	c->command = NULL;
	if (result->error[0])
		fail(c, result->error_sqlstate, result->error, &b);
	else if (!formats_fit(c, result))
		fail(c, "08P01", "bind message has not one result format for each column", &b);
	else
		write_answer(&b, c, result);
	pg_send_buf(to_client, &b);
	if (c->asked == ASKED_QUERY)
		pg_send_ready(to_client, 'I');
}

/* --- commands --- */

static enum front_verdict run(
	struct pg_front *front, enum asked asked, const char *command, struct output *to_client)
{
	struct pg_console *c = front->console;

	c->command = strdup(command);
	if (!c->command)
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	c->asked = asked;
	front->base.command = c->command;
	front->base.in_request = true;
	return FRONT_CONSOLE;
}

#define BLANKS " \t\r\n;"

static bool is_empty(const char *text)
{
	return text[strspn(text, BLANKS)] == 0;
}

static bool only_shows(const char *text)
{
	text += strspn(text, BLANKS);
	return strncasecmp(text, "show", 4) == 0 || strncasecmp(text, "select", 6) == 0;
}

static enum front_verdict refuse(
	struct pg_front *front, const char *sqlstate, const char *text, struct output *to_client)
{
	struct buf b = {0};

	front->console->asked = ASKED_ROWS;
	fail(front->console, sqlstate, text, &b);
	pg_send_buf(to_client, &b);
	return FRONT_MORE;
}

static enum front_verdict bad_message(
	struct pg_front *front, const char *text, struct output *to_client)
{
	return front_end(front, REASON_PROTOCOL_VIOLATION, text, to_client);
}

/* --- statements and portals --- */

static struct command_text *find_statement(struct pg_console *c, const char *name)
{
	struct list *link;

	list_for_each (link, &c->statements) {
		struct command_text *statement = list_entry(link, struct command_text, link);
		if (strcmp(statement->name, name) == 0)
			return statement;
	}
	return NULL;
}

static bool add_statement(struct pg_console *c, const char *name, const char *text)
{
	struct command_text *statement = calloc(1, sizeof(*statement));

	if (!statement)
		return false;
	statement->name = strdup(name);
	statement->text = strdup(text);
	list_append(&c->statements, &statement->link);
	c->n_statements++;
	if (statement->name && statement->text)
		return true;
	statement_free(c, statement);
	return false;
}

static enum front_verdict parse(struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct pg_console *c = front->console;
	const char *name = reader_cstr(r, NULL);
	const char *text = reader_cstr(r, NULL);

	if (!name || !text)
		return bad_message(front, "invalid Parse message", to_client);
	struct command_text *before = find_statement(c, name);
	if (before && *name)
		return refuse(front, "42P05", "this prepared statement exists already", to_client);
	if (before)
		statement_free(c, before);
	if (c->n_statements == STATEMENTS_MAX)
		return refuse(
			front, "53400", "too many prepared statements for the console", to_client);
	if (!add_statement(c, name, text))
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	pg_send_empty(to_client, '1');
	return FRONT_MORE;
}

static void read_parameters(struct reader *r, uint16_t *ret_n)
{
	uint16_t n_formats = reader_u16be(r);

	for (uint16_t i = 0; i < n_formats && !r->failed; i++)
		reader_u16be(r);
	*ret_n = reader_u16be(r);
}

static enum front_verdict bind_portal(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct pg_console *c = front->console;
	struct portal portal = {0};
	const char *name = reader_cstr(r, NULL);
	const char *source = reader_cstr(r, NULL);
	uint16_t n_parameters;

	read_parameters(r, &n_parameters);
	if (!r->failed && n_parameters)
		return refuse(
			front, "08P01", "the console's commands have no parameters", to_client);
	portal.formats.n = reader_u16be(r);
	for (size_t i = 0; i < portal.formats.n && i < PG_FORMATS_MAX; i++)
		portal.formats.each[i] = reader_u16be(r);
	if (!name || !source || r->failed || portal.formats.n > PG_FORMATS_MAX)
		return bad_message(front, "invalid Bind message", to_client);
	const struct command_text *statement = find_statement(c, source);
	if (!statement)
		return refuse(front, "26000", "this prepared statement does not exist", to_client);
	portal.name = strdup(name);
	portal.text = strdup(statement->text);
	portal_close(c);
	c->portal = portal;
	if (!portal.name || !portal.text)
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	pg_send_empty(to_client, '2');
	return FRONT_MORE;
}

static bool is_portal(const struct pg_console *c, const char *name)
{
	return c->portal.name && strcmp(c->portal.name, name) == 0;
}

static enum front_verdict describe(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct pg_console *c = front->console;
	bool of_statement = reader_u8(r) == 'S';
	const char *name = reader_cstr(r, NULL);

	if (!name)
		return bad_message(front, "invalid Describe message", to_client);
	const struct command_text *statement = of_statement ? find_statement(c, name) : NULL;
	if (of_statement && !statement)
		return refuse(front, "26000", "this prepared statement does not exist", to_client);
	if (!of_statement && !is_portal(c, name))
		return refuse(front, "34000", "this portal does not exist", to_client);
	const char *text = of_statement ? statement->text : c->portal.text;
	/* No parameters. */
	if (of_statement)
		output_copy(to_client, (uint8_t[]){'t', 0, 0, 0, 6, 0, 0}, 7);
	if (!only_shows(text)) {
		pg_send_empty(to_client, 'n');
		return FRONT_MORE;
	}
	return run(front, of_statement ? ASKED_STATEMENT : ASKED_DESCRIPTION, text, to_client);
}

static enum front_verdict execute(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct pg_console *c = front->console;
	const char *name = reader_cstr(r, NULL);

	/* A limit of rows is not looked at: the console's answers are small. */
	if (!name)
		return bad_message(front, "invalid Execute message", to_client);
	if (!is_portal(c, name))
		return refuse(front, "34000", "this portal does not exist", to_client);
	if (is_empty(c->portal.text)) {
		pg_send_empty(to_client, 'I');
		return FRONT_MORE;
	}
	return run(front, ASKED_ROWS, c->portal.text, to_client);
}

static enum front_verdict close_one(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct pg_console *c = front->console;
	bool of_statement = reader_u8(r) == 'S';
	const char *name = reader_cstr(r, NULL);

	if (!name)
		return bad_message(front, "invalid Close message", to_client);
	struct command_text *statement = of_statement ? find_statement(c, name) : NULL;
	if (statement)
		statement_free(c, statement);
	else if (!of_statement && is_portal(c, name))
		portal_close(c);
	pg_send_empty(to_client, '3');
	return FRONT_MORE;
}

/* --- messages --- */

static enum front_verdict extended(
	struct pg_front *front, uint8_t type, struct reader *r, struct output *to_client)
{
	struct pg_console *c = front->console;

	if (type == 'S') {
		c->skipping = false;
		pg_send_ready(to_client, 'I');
		return FRONT_MORE;
	}
	if (c->skipping)
		return FRONT_MORE;
	switch (type) {
	case 'P':
		return parse(front, r, to_client);
	case 'B':
		return bind_portal(front, r, to_client);
	case 'D':
		return describe(front, r, to_client);
	case 'E':
		return execute(front, r, to_client);
	case 'C':
		return close_one(front, r, to_client);
	case 'H':
		return FRONT_MORE;
	default:
		return bad_message(front, "unknown message type", to_client);
	}
}

static enum front_verdict message(
	struct pg_front *front, uint8_t type, struct reader *r, struct output *to_client)
{
	if (type == 'X') {
		front->base.reason = REASON_CLIENT_LEFT;
		front->phase = PHASE_ENDED;
		return FRONT_CLOSE;
	}
	if (type != 'Q' || front->console->skipping)
		return extended(front, type, r, to_client);
	const char *text = reader_cstr(r, NULL);
	if (!text)
		return bad_message(front, "invalid Query message", to_client);
	if (is_empty(text)) {
		pg_send_empty(to_client, 'I');
		pg_send_ready(to_client, 'I');
		return FRONT_MORE;
	}
	return run(front, ASKED_QUERY, text, to_client);
}

enum front_verdict pg_console_from_client(
	struct pg_front *front, struct input *in, struct output *to_client)
{
	struct pg_header h;
	struct reader r;

	if (!front->console) {
		enum front_verdict verdict = greet(front, to_client);
		if (verdict != FRONT_MORE)
			return verdict;
	}
	while (!front->base.command && output_has_room(to_client)) {
		int outcome = pg_header_read(in, &h);
		if (outcome == PG_HEADER_SHORT)
			return FRONT_MORE;
		if (outcome == PG_HEADER_BAD || h.total > COMMAND_MAX)
			return front_end(front, REASON_PROTOCOL_VIOLATION,
				"the command is too long", to_client);
		if (in->len < h.total)
			return FRONT_MORE;
		reader_init(&r, in->data + PG_HEADER, h.total - PG_HEADER);
		input_skip(in, h.total);
		enum front_verdict verdict = message(front, h.type, &r, to_client);
		if (verdict != FRONT_MORE)
			return verdict;
	}
	return front->base.command ? FRONT_WAIT : FRONT_FLUSH;
}
