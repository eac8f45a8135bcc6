/*
 * What weir answers without a server: what changes nothing there, and what is about the statement
 * before, whose connection may be another client's by now. Called by commands.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/pass.h"
#include "util/text.h"

#define ERROR_KILL_DENIED 1095
#define ERROR_INTERRUPTED 1317

static struct my_step answer(struct my_pass *p, struct buf *b)
{
	my_drop(p);
	my_send_buf(p->to_client, b);
	return MY_STEP_ON;
}

/* One number in one row, under the name that was asked for. */
static struct my_step answer_number(struct my_pass *p, const char *name, long long value)
{
	struct my_column column = {.name = name, .type = MY_TYPE_LONGLONG};
	uint8_t sequence = 1;
	char text[24];
	const char *cell = text;
	struct buf b = {0};

	snprintf(text, sizeof(text), "%lld", value);
	/* As servers have it behind any result set. */
	p->front->row_count = -1;
	my_write_columns(&b, &sequence, &column, 1, my_local_status(p->front));
	my_write_row(&b, &sequence, &cell, 1);
	my_write_eof(&b, sequence, 0, my_local_status(p->front));
	return answer(p, &b);
}

/* The column's name is the expression as it was typed. */
static struct my_step answer_expression(struct my_pass *p, long long value)
{
	char name[80];
	const char *text = (const char *)p->in->data + MY_HEADER + 1;
	size_t len = p->h.len - 1;
	const char *from = memchr(text, ' ', len);

	while (from && (size_t)(from - text) < len && *from == ' ')
		from++;
	size_t n = from ? len - (size_t)(from - text) : 0;
	while (n && strchr(" ;\n\r\t", from[n - 1]))
		n--;
	snprintf(name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : sizeof(name) - 1),
		from ? from : "");
	p->front->found_rows = 1;
	return answer_number(p, name, value);
}

static const struct my_column warning_columns[] = {
	{"Level", MY_TYPE_VAR_STRING}, {"Code", MY_TYPE_LONG}, {"Message", MY_TYPE_VAR_STRING}};

/* Takes the next packet of what is kept. False: there is none. */
static bool next_packet(struct input *in, struct reader *ret_payload)
{
	struct my_header h;

	if (!my_header_read(in, &h) || in->len < MY_HEADER + h.len)
		return false;
	reader_init(ret_payload, in->data + MY_HEADER, h.len);
	input_skip(in, MY_HEADER + h.len);
	return true;
}

/* Appends the kept rows whose level is Error, or all of them. */
static void write_kept_rows(
	const struct my_front *front, bool errors_only, uint8_t *sequence, struct buf *b)
{
	struct input in = {.data = front->warnings.data, .len = front->warnings.len};
	struct reader r;

	/* The count, the columns and their EOF. */
	for (size_t i = 0; i < ARRAY_LEN(warning_columns) + 2; i++) {
		if (!next_packet(&in, &r))
			return;
	}
	while (next_packet(&in, &r)) {
		const uint8_t *row = r.at;
		size_t len = reader_left(&r), level_len;
		if (len && *row >= 0xfe)
			return;
		const uint8_t *level = my_read_lenenc_bytes(&r, &level_len);
		if (errors_only && !(level && text_is_ci((const char *)level, level_len, "Error")))
			continue;
		size_t offset = my_begin(b, (*sequence)++);
		buf_put(b, row, len);
		my_end(b, offset);
	}
}

static struct my_step answer_warnings(struct my_pass *p, bool errors_only)
{
	uint16_t status = my_local_status(p->front);
	uint8_t sequence = 1;
	struct buf b = {0};

	p->front->row_count = -1;
	my_write_columns(&b, &sequence, warning_columns, ARRAY_LEN(warning_columns), status);
	write_kept_rows(p->front, errors_only, &sequence, &b);
	my_write_eof(&b, sequence, 0, status);
	return answer(p, &b);
}

/* For a client that wants to be told of variables: as a server tells that one was set. */
static void write_tracked_ok(struct buf *b, uint16_t status, const char *name, const char *value)
{
	struct buf pair = {0}, tracked = {0};

	my_write_lenenc_bytes(&pair, name, strlen(name));
	my_write_lenenc_bytes(&pair, value, strlen(value));
	buf_u8(&tracked, 0); /* a variable */
	my_write_lenenc_bytes(&tracked, pair.data, pair.len);
	size_t offset = my_begin(b, 1);
	buf_put(b, (uint8_t[]){0, 0, 0}, 3);
	buf_u16le(b, status | MY_STATUS_STATE_CHANGED);
	buf_u16le(b, 0);
	my_write_lenenc(b, 0);
	my_write_lenenc_bytes(b, tracked.data, tracked.len);
	my_end(b, offset);
	b->failed |= pair.failed || tracked.failed;
	buf_clear(&pair);
	buf_clear(&tracked);
}

static struct my_step set_autocommit(struct my_pass *p, bool on)
{
	struct my_front *front = p->front;
	bool usual = front->worker->greeting.status & MY_STATUS_AUTOCOMMIT;
	struct buf b = {0};

	if (!my_settings_set(front->worker->settings, &front->settings, MY_AUTOCOMMIT,
		    on == usual ? NULL
		    : on        ? "ON"
				: "OFF"))
		return MY_STEP_STOP(my_front_end(front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
	if (!(front->capabilities & MY_SESSION_TRACK))
		return my_answer_ok(p);
	write_tracked_ok(&b, my_local_status(front), MY_AUTOCOMMIT, on ? "ON" : "OFF");
	return answer(p, &b);
}

/* KILL of one of weir's clients; an id that is none of them is the server's business. False: it is
 * not weir's. */
static bool kill_client(struct my_pass *p, const struct my_scan *scan, struct my_step *ret_step)
{
	struct front *base = &p->front->base;
	char text[80];

	if (scan->number == base->key.id && scan->exact == EXACT_KILL_QUERY) {
		*ret_step = my_answer_error(
			p, ERROR_INTERRUPTED, "70100", "Query execution was interrupted");
		return true;
	}
	switch (base->kill_outcome) {
	case KILL_NOT_ASKED:
		if (scan->number > UINT32_MAX)
			return false;
		base->victim = (uint32_t)scan->number;
		base->kills_connection = scan->exact == EXACT_KILL;
		*ret_step = MY_STEP_STOP(FRONT_KILL);
		return true;
	case KILL_UNKNOWN:
		return false;
	case KILL_DENIED:
		base->kill_outcome = KILL_NOT_ASKED;
		snprintf(text, sizeof(text), "You are not owner of thread %llu",
			(unsigned long long)scan->number);
		*ret_step = my_answer_error(p, ERROR_KILL_DENIED, "HY000", text);
		return true;
	case KILL_DONE:
		base->kill_outcome = KILL_NOT_ASKED;
		*ret_step = my_answer_ok(p);
		return true;
	}
	return false;
}

/* Whether a transaction is open only the server knows. */
static bool local_state(struct my_pass *p, const struct my_scan *scan, struct my_step *ret_step)
{
	if (p->back)
		return false;
	switch (scan->exact) {
	case EXACT_COMMIT:
	case EXACT_ROLLBACK:
		*ret_step = my_answer_ok(p);
		return true;
	case EXACT_AUTOCOMMIT_ON:
	case EXACT_AUTOCOMMIT_OFF:
		*ret_step = set_autocommit(p, scan->exact == EXACT_AUTOCOMMIT_ON);
		return true;
	default:
		return false;
	}
}

/* What is known of the statement before. */
static bool local_diagnostics(
	struct my_pass *p, const struct my_scan *scan, struct my_step *ret_step)
{
	struct my_front *front = p->front;

	switch (scan->exact) {
	case EXACT_SHOW_WARNINGS:
	case EXACT_SHOW_ERRORS:
		*ret_step = answer_warnings(p, scan->exact == EXACT_SHOW_ERRORS);
		return true;
	case EXACT_COUNT_WARNINGS:
		*ret_step = answer_number(p, "@@session.warning_count", front->n_warnings);
		return true;
	case EXACT_LAST_INSERT_ID:
		*ret_step = answer_expression(p, (long long)front->last_insert_id);
		return true;
	case EXACT_ROW_COUNT:
		*ret_step = answer_expression(p, front->row_count);
		return true;
	case EXACT_FOUND_ROWS:
		*ret_step = answer_expression(p, front->found_rows);
		return true;
	default:
		return false;
	}
}

bool my_local_query(struct my_pass *p, const struct my_scan *scan, struct my_step *ret_step)
{
	struct my_front *front = p->front;

	switch (scan->exact) {
	case EXACT_CONNECTION_ID:
		*ret_step = answer_expression(p, front->base.key.id);
		return true;
	case EXACT_KILL:
	case EXACT_KILL_QUERY:
		return kill_client(p, scan, ret_step);
	default:
		break;
	}
	/* With the connection at hand its own answer is the best, unless weir came in between. */
	if (p->back && !front->disturbed)
		return false;
	return local_state(p, scan, ret_step) || local_diagnostics(p, scan, ret_step);
}
