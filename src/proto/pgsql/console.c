/*
 * The console's clients: their commands come as simple or extended queries, the answers are rows
 * without a protocol.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"
#include "util/random.h"
#include "util/text.h"

#define COMMAND_MAX 4096

/* Types as PostgreSQL numbers them. */
#define OID_TEXT    25
#define OID_INT4    23
#define OID_INT8    20
#define OID_NUMERIC 1700

struct pg_console {
	char *parsed;   /* the last Parse; all statements and portals are that one */
	char *command;  /* what runs, for front->command */
	bool simple;    /* it came in a Query, which ReadyForQuery ends */
	bool described; /* its RowDescription was asked for and waits for the result */
	bool executed;  /* its rows were asked for */
	bool have_result;
	bool skipping;
	struct buf description, rows; /* of the result, for a Describe and an Execute */
};

void pg_console_free(struct pg_console *c)
{
	if (!c)
		return;
	free(c->parsed);
	free(c->command);
	buf_clear(&c->description);
	buf_clear(&c->rows);
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

static uint32_t type_oid(enum result_type type)
{
	switch (type) {
	case RESULT_TEXT:
		return OID_TEXT;
	case RESULT_INT4:
		return OID_INT4;
	case RESULT_INT8:
		return OID_INT8;
	case RESULT_NUMERIC:
		return OID_NUMERIC;
	}
	return OID_TEXT;
}

static uint16_t type_size(enum result_type type)
{
	return type == RESULT_INT4 ? 4 : type == RESULT_INT8 ? 8 : UINT16_MAX;
}

static void write_description(struct buf *b, const struct result *result)
{
	if (!result->columns) {
		pg_end(b, pg_begin(b, 'n'));
		return;
	}
	size_t offset = pg_begin(b, 'T');
	buf_u16be(b, (uint16_t)result->n_columns);
	for (size_t i = 0; i < result->n_columns; i++) {
		buf_cstr(b, result->columns[i].name);
		buf_u32be(b, 0);
		buf_u16be(b, 0);
		buf_u32be(b, type_oid(result->columns[i].type));
		buf_u16be(b, type_size(result->columns[i].type));
		buf_u32be(b, UINT32_MAX);
		buf_u16be(b, 0);
	}
	pg_end(b, offset);
}

static void write_rows(struct buf *b, const struct result *result)
{
	const char *cursor = NULL, *text;
	size_t column = 0, offset = 0;

	while (result->n_columns && result_next(result, &cursor, &text)) {
		if (column == 0) {
			offset = pg_begin(b, 'D');
			buf_u16be(b, (uint16_t)result->n_columns);
		}
		if (text) {
			buf_u32be(b, (uint32_t)strlen(text));
			buf_text(b, text);
		} else {
			buf_u32be(b, UINT32_MAX);
		}
		if (++column == result->n_columns) {
			pg_end(b, offset);
			column = 0;
		}
	}
	if (result->notice[0]) {
		struct buf detail = {0};
		buf_put(&detail, result->detail.data, result->detail.len);
		buf_u8(&detail, 0);
		pg_write_report(b, 'N', "NOTICE", "00000", result->notice, (char *)detail.data);
		buf_clear(&detail);
	}
	offset = pg_begin(b, 'C');
	buf_cstr(b, result->tag);
	pg_end(b, offset);
}

static void write_error(struct buf *b, const struct result *result)
{
	pg_write_report(b, 'E', "ERROR", result->error_sqlstate, result->error, NULL);
}

/* Sends what of the result was asked for so far. */
static void send_asked(struct pg_console *c, struct output *to_client)
{
	if (c->described)
		pg_send_buf(to_client, &c->description);
	if (c->executed)
		pg_send_buf(to_client, &c->rows);
	c->have_result = !c->executed;
	c->described = c->executed = false;
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
	if (c->simple) {
		if (result->error[0]) {
			write_error(&b, result);
		} else {
			if (result->columns)
				write_description(&b, result);
			write_rows(&b, result);
		}
		pg_send_buf(to_client, &b);
		pg_send_ready(to_client, 'I');
		return;
	}
	if (result->error[0]) {
		write_error(&b, result);
		pg_send_buf(to_client, &b);
		c->skipping = true;
		c->described = c->executed = false;
		return;
	}
	write_description(&c->description, result);
	write_rows(&c->rows, result);
	send_asked(c, to_client);
}

/* --- commands --- */

static enum front_verdict run(struct pg_front *front, const char *command, struct output *to_client)
{
	struct pg_console *c = front->console;

	c->command = strdup(command);
	if (!c->command)
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	front->base.command = c->command;
	front->base.in_request = true;
	return FRONT_CONSOLE;
}

static bool is_empty(const char *text)
{
	return text[strspn(text, " \t\r\n;")] == 0;
}

/* Describe or Execute: the command runs once, at the first of them. */
static enum front_verdict need_result(struct pg_front *front, struct output *to_client)
{
	struct pg_console *c = front->console;

	if (is_empty(c->parsed ? c->parsed : "")) {
		pg_send_empty(to_client, c->described ? 'n' : 'I');
		c->described = c->executed = false;
		return FRONT_MORE;
	}
	if (c->have_result) {
		send_asked(c, to_client);
		return FRONT_MORE;
	}
	c->simple = false;
	return run(front, c->parsed, to_client);
}

static enum front_verdict parse(struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct pg_console *c = front->console;

	reader_cstr(r, NULL);
	const char *text = reader_cstr(r, NULL);
	if (!text)
		return front_end(
			front, REASON_PROTOCOL_VIOLATION, "invalid Parse message", to_client);
	free(c->parsed);
	c->parsed = strdup(text);
	c->have_result = false;
	buf_clear(&c->description);
	buf_clear(&c->rows);
	pg_send_empty(to_client, '1');
	return FRONT_MORE;
}

static enum front_verdict describe(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	if (reader_u8(r) == 'S')
		output_copy(to_client, (uint8_t[]){'t', 0, 0, 0, 6, 0, 0}, 7);
	front->console->described = true;
	return need_result(front, to_client);
}

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
		pg_send_empty(to_client, '2');
		return FRONT_MORE;
	case 'D':
		return describe(front, r, to_client);
	case 'E':
		c->executed = true;
		return need_result(front, to_client);
	case 'C':
		pg_send_empty(to_client, '3');
		return FRONT_MORE;
	case 'H':
		return FRONT_MORE;
	default:
		return front_end(
			front, REASON_PROTOCOL_VIOLATION, "unknown message type", to_client);
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
	if (type != 'Q')
		return extended(front, type, r, to_client);
	const char *text = reader_cstr(r, NULL);
	if (!text)
		return front_end(
			front, REASON_PROTOCOL_VIOLATION, "invalid Query message", to_client);
	if (is_empty(text)) {
		pg_send_empty(to_client, 'I');
		pg_send_ready(to_client, 'I');
		return FRONT_MORE;
	}
	front->console->simple = true;
	return run(front, text, to_client);
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
