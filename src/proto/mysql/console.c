/*
 * The console's clients: a command comes as COM_QUERY, the answer is rows without a protocol. What
 * drivers and the mysql program ask by themselves gets an answer that lets them go on.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/state.h"
#include "util/text.h"

#define COMMAND_MAX 4096

#define ERROR_SYNTAX 1064

static void send_ok(struct my_front *front, struct output *to_client)
{
	my_send_ok(to_client, (uint8_t)(front->sequence + 1), MY_STATUS_AUTOCOMMIT);
}

static void write_rows(const struct result *result, uint8_t *sequence, struct buf *b)
{
	const char *cursor = NULL, *cells[64];
	size_t n = 0;

	CHECK(result->n_columns <= ARRAY_LEN(cells));
	while (result->n_columns && result_next(result, &cursor, &cells[n])) {
		if (++n == result->n_columns) {
			my_write_row(b, sequence, cells, n);
			n = 0;
		}
	}
}

static uint8_t type_of(enum result_type type)
{
	switch (type) {
	case RESULT_INT4:
		return MY_TYPE_LONG;
	case RESULT_INT8:
	case RESULT_NUMERIC:
		return MY_TYPE_LONGLONG;
	case RESULT_TEXT:
		break;
	}
	return MY_TYPE_VAR_STRING;
}

static void write_result(const struct result *result, uint8_t sequence, struct buf *b)
{
	struct my_column columns[64];

	CHECK(result->n_columns <= ARRAY_LEN(columns));
	for (size_t i = 0; i < result->n_columns; i++)
		columns[i] = (struct my_column){
			.name = result->columns[i].name, .type = type_of(result->columns[i].type)};
	my_write_columns(b, &sequence, columns, result->n_columns, MY_STATUS_AUTOCOMMIT);
	write_rows(result, &sequence, b);
	my_write_eof(b, sequence, 0, MY_STATUS_AUTOCOMMIT);
}

/* SHOW HELP has its rows in a notice: here it becomes one column of lines. */
static void write_notice(const struct result *result, uint8_t sequence, struct buf *b)
{
	const struct my_column column = {.name = "help", .type = MY_TYPE_VAR_STRING};
	struct buf text = {0};

	buf_put(&text, result->detail.data, result->detail.len);
	buf_u8(&text, 0);
	my_write_columns(b, &sequence, &column, 1, MY_STATUS_AUTOCOMMIT);
	char *line = text.failed ? NULL : (char *)text.data;
	while (line && *line) {
		char *end = line + strcspn(line, "\n");
		bool more = *end;
		*end = 0;
		const char *cell = line;
		my_write_row(b, &sequence, &cell, 1);
		line = more ? end + 1 : end;
	}
	my_write_eof(b, sequence, 0, MY_STATUS_AUTOCOMMIT);
	buf_clear(&text);
}

void my_console_answer(
	struct my_front *front, const struct result *result, struct output *to_client)
{
	uint8_t sequence = (uint8_t)(front->sequence + 1);
	struct buf b = {0};

	free(front->console_command);
	front->console_command = NULL;
	front->base.command = NULL;
	front->base.in_request = false;
	if (result->error[0])
		my_write_error(&b, sequence, ERROR_SYNTAX, "42000", result->error);
	else if (result->columns)
		write_result(result, sequence, &b);
	else if (result->notice[0])
		write_notice(result, sequence, &b);
	else
		my_write_ok(&b, sequence, MY_STATUS_AUTOCOMMIT);
	my_send_buf(to_client, &b);
}

/* One row with one text. */
static void answer_text(
	struct my_front *front, const char *name, const char *value, struct output *to_client)
{
	const struct my_column column = {.name = name, .type = MY_TYPE_VAR_STRING};
	uint8_t sequence = (uint8_t)(front->sequence + 1);
	struct buf b = {0};

	my_write_columns(&b, &sequence, &column, 1, MY_STATUS_AUTOCOMMIT);
	my_write_row(&b, &sequence, &value, 1);
	my_write_eof(&b, sequence, 0, MY_STATUS_AUTOCOMMIT);
	my_send_buf(to_client, &b);
}

/* What clients ask and set by themselves when they connect. True: it was answered. */
static bool answer_usual(struct my_front *front, const char *text, struct output *to_client)
{
	static const char *const ignored[] = {"set ", "commit", "rollback", "begin", "use "};
	static const struct {
		const char *query, *name, *value;
	} usual[] = {
		{"select @@version_comment limit 1", "@@version_comment", "weir console"},
		{"select @@version", "@@version", WEIR_VERSION},
		{"select version()", "version()", WEIR_VERSION},
		{"select database()", "database()", "weir"},
		{"select user()", "user()", "console"},
		{"select $$", "$$", ""},
		{"show warnings", "Level", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
		if (strncasecmp(text, ignored[i], strlen(ignored[i])) == 0) {
			send_ok(front, to_client);
			return true;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
		size_t n = strlen(usual[i].query);
		if (strncasecmp(text, usual[i].query, n) == 0 &&
			strspn(text + n, " ;") == strlen(text + n)) {
			answer_text(front, usual[i].name, usual[i].value, to_client);
			return true;
		}
	}
	return false;
}

static enum front_verdict run(
	struct my_front *front, const char *text, size_t len, struct output *to_client)
{
	free(front->console_command);
	front->console_command = strndup(text, len);
	if (!front->console_command)
		return my_front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	if (answer_usual(front, front->console_command, to_client))
		return FRONT_MORE;
	front->base.command = front->console_command;
	front->base.in_request = true;
	return FRONT_CONSOLE;
}

static enum front_verdict one_command(struct my_front *front, uint8_t command, const char *text,
	size_t len, struct output *to_client)
{
	struct buf b = {0};

	switch (command) {
	case MY_COM_QUIT:
		front->base.reason = REASON_CLIENT_LEFT;
		front->phase = MY_PHASE_ENDED;
		return FRONT_CLOSE;
	case MY_COM_QUERY:
		return run(front, text, len, to_client);
	case MY_COM_PING:
	case MY_COM_INIT_DB:
	case MY_COM_RESET_CONNECTION:
		send_ok(front, to_client);
		return FRONT_MORE;
	case MY_COM_SET_OPTION:
		my_write_eof(&b, (uint8_t)(front->sequence + 1), 0, MY_STATUS_AUTOCOMMIT);
		break;
	default:
		my_write_error(&b, (uint8_t)(front->sequence + 1), 1047, "08S01",
			"weir: the console takes queries only");
		break;
	}
	my_send_buf(to_client, &b);
	return FRONT_MORE;
}

enum front_verdict my_console_from_client(
	struct my_front *front, struct input *in, struct output *to_client)
{
	struct my_header h;

	while (!front->base.command && output_has_room(to_client)) {
		if (!my_header_read(in, &h))
			return FRONT_MORE;
		if (h.len > COMMAND_MAX || !h.len)
			return my_front_end(front, REASON_PROTOCOL_VIOLATION,
				"the command is too long", to_client);
		if (in->len < MY_HEADER + h.len)
			return FRONT_MORE;
		const char *payload = (const char *)in->data + MY_HEADER;
		front->sequence = h.sequence;
		input_skip(in, MY_HEADER + h.len);
		enum front_verdict verdict =
			one_command(front, (uint8_t)payload[0], payload + 1, h.len - 1, to_client);
		if (verdict != FRONT_MORE)
			return verdict;
	}
	return front->base.command ? FRONT_WAIT : FRONT_FLUSH;
}
