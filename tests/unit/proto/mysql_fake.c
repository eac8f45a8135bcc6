/* The server that pretends. */
#include "mysql_fake.h"

#include <stdio.h>
#include <string.h>

#include "../test.h"
#include "mysql_script.h"
#include "proto/mysql/state.h"
#include "util/text.h"

#define STATEMENT_ID 7

static uint16_t status_of(const struct my_fake *f)
{
	return (uint16_t)((f->autocommit_off ? 0 : MY_STATUS_AUTOCOMMIT) |
			  (f->in_transaction ? MY_STATUS_IN_TRANS : 0));
}

static void answer_ok(struct my_fake *f, struct buf *b)
{
	put_ok(b, status_of(f));
}

/* --- statements --- */

/* A statement that is none of those about the one before it. */
static void begin_statement(struct my_fake *f)
{
	f->warned = f->failed = false;
	f->row_count = f->found_rows = 0;
	f->in_transaction |= f->autocommit_off;
}

/* Rows of one column, as weir writes those that it answers itself. */
static void answer_number(struct my_fake *f, const char *name, long long number, struct buf *b)
{
	const struct my_column column = {.name = name, .type = MY_TYPE_LONGLONG};
	uint8_t sequence = 1;
	char text[24];
	const char *cell = text;

	snprintf(text, sizeof(text), "%lld", number);
	f->row_count = -1;
	f->found_rows = 1;
	my_write_columns(b, &sequence, &column, 1, status_of(f));
	my_write_row(b, &sequence, &cell, 1);
	my_write_eof(b, sequence, 0, status_of(f));
}

static void answer_warnings(struct my_fake *f, bool errors_only, struct buf *b)
{
	static const struct my_column columns[] = {{"Level", MY_TYPE_VAR_STRING},
		{"Code", MY_TYPE_LONG}, {"Message", MY_TYPE_VAR_STRING}};
	static const char *const warning[] = {"Warning", "1265", "cut"};
	static const char *const error[] = {"Error", "1064", "no"};
	uint8_t sequence = 1;

	f->row_count = -1;
	my_write_columns(b, &sequence, columns, ARRAY_LEN(columns), status_of(f));
	if (f->warned && !errors_only)
		my_write_row(b, &sequence, warning, ARRAY_LEN(warning));
	if (f->failed)
		my_write_row(b, &sequence, error, ARRAY_LEN(error));
	my_write_eof(b, sequence, 0, status_of(f));
}

static void answer_row(struct my_fake *f, const char *text, struct buf *b)
{
	const struct my_column column = {.name = "a", .type = MY_TYPE_VAR_STRING};
	uint8_t sequence = 1;

	begin_statement(f);
	f->row_count = -1;
	f->found_rows = 1;
	my_write_columns(b, &sequence, &column, 1, status_of(f));
	my_write_row(b, &sequence, &text, 1);
	my_write_eof(b, sequence, 0, status_of(f));
}

/* About the statement before. */
static bool answer_diagnostics(struct my_fake *f, const char *sql, struct buf *b)
{
	if (strcmp(sql, "SHOW WARNINGS") == 0 || strcmp(sql, "SHOW ERRORS") == 0)
		answer_warnings(f, sql[5] == 'E', b);
	else if (strcmp(sql, "SELECT LAST_INSERT_ID()") == 0)
		answer_number(f, "LAST_INSERT_ID()", f->insert_id, b);
	else if (strcmp(sql, "SELECT ROW_COUNT()") == 0)
		answer_number(f, "ROW_COUNT()", f->row_count, b);
	else if (strcmp(sql, "SELECT FOUND_ROWS()") == 0)
		answer_number(f, "FOUND_ROWS()", f->found_rows, b);
	else
		return false;
	return true;
}

/* The client's own, or one of those by which weir brings a client's settings. */
static bool answer_set(struct my_fake *f, const char *sql, struct buf *b)
{
	if (strcmp(sql, "SET autocommit=0") == 0 || strcmp(sql, "SET autocommit=1") == 0) {
		f->autocommit_off = sql[strlen(sql) - 1] == '0';
		size_t at = b->len;
		put_tracked(b, 1, "autocommit", f->autocommit_off ? "OFF" : "ON");
		b->data[at + MY_HEADER + 3] = (uint8_t)status_of(f);
		return true;
	}
	if (!text_starts_with(sql, "SET "))
		return false;
	if (strstr(sql, "autocommit="))
		f->autocommit_off = strstr(sql, "autocommit='OFF'");
	if (strstr(sql, "last_insert_id=7"))
		f->insert_id = 7;
	answer_ok(f, b);
	return true;
}

static void answer_query(struct my_fake *f, const char *sql, struct buf *b)
{
	if (answer_diagnostics(f, sql, b) || answer_set(f, sql, b))
		return;
	begin_statement(f);
	if (text_starts_with(sql, "SELECT '")) {
		answer_row(f, (const char[]){sql[8], 0}, b);
	} else if (strcmp(sql, "BEGIN") == 0) {
		f->in_transaction = true;
		answer_ok(f, b);
	} else if (strcmp(sql, "COMMIT") == 0 || strcmp(sql, "ROLLBACK") == 0) {
		f->in_transaction = false;
		answer_ok(f, b);
	} else if (strcmp(sql, "INSERT") == 0) {
		f->insert_id = 7;
		f->row_count = 1;
		put_packet(b, 1, (const uint8_t[]){0, 1, 7, (uint8_t)status_of(f), 0, 0, 0}, 7);
	} else if (strcmp(sql, "CUT") == 0) {
		f->warned = true;
		put_packet(b, 1, (const uint8_t[]){0, 0, 0, (uint8_t)status_of(f), 0, 1, 0}, 7);
	} else {
		f->failed = true;
		f->row_count = -1;
		put_error(b, 1, 1064);
	}
}

/* --- commands --- */

void my_fake_answer(struct my_fake *f, const uint8_t *command, size_t len, struct buf *ret_answer)
{
	char sql[200];

	assert_true(len > 0 && len < sizeof(sql));
	memcpy(sql, command + 1, len - 1);
	sql[len - 1] = 0;
	switch (*command) {
	case MY_COM_QUERY:
		answer_query(f, sql, ret_answer);
		break;
	case MY_COM_STMT_PREPARE:
		begin_statement(f);
		put_prepared(ret_answer, STATEMENT_ID);
		break;
	case MY_COM_STMT_EXECUTE:
		assert_int_equal(command[1], STATEMENT_ID);
		answer_row(f, "x", ret_answer);
		break;
	case MY_COM_STMT_CLOSE:
	case MY_COM_STMT_SEND_LONG_DATA:
		break;
	case MY_COM_SET_OPTION:
		my_write_eof(ret_answer, 1, 0, status_of(f));
		break;
	case MY_COM_RESET_CONNECTION:
		*f = (struct my_fake){0};
		answer_ok(f, ret_answer);
		break;
	case MY_COM_PING:
		f->row_count = 0;
		answer_ok(f, ret_answer);
		break;
	case MY_COM_STMT_RESET:
		answer_ok(f, ret_answer);
		break;
	default:
		fail_msg("a server was sent command %u", *command);
	}
}
