/* Prepared statements that hold something on their server connection: cursors and long data,
 * through both halves of MySQL's protocol. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "mysql_player.h"

/* As MY_TYPED, with a cursor. */
#define WITH_CURSOR "\1\1\0\0\0\0\1\xfe\0\2hi", 12

/* Of one row. */
#define FETCH_ONE "\1\0\0\0", 4

/* For the first parameter. */
#define DATA(text) "\0\0" text, sizeof(text) + 1

#define COLUMNS "1:[1] 2:def 3:EOF"

static void client_opens_cursor(struct my_script *s, unsigned client)
{
	put_about(client_says(s, client), MY_COM_STMT_EXECUTE, 1, WITH_CURSOR);
	struct buf *b = server_says(s);
	put_packet(b, 1, "\1", 1);
	put_packet(b, 2, "\3def\0\0\0\1a\0\x0c\x2d\0\0\1\0\0\xfd\0\0\0\0\0", 22);
	my_write_eof(b, 3, 0, MY_STATUS_AUTOCOMMIT | MY_STATUS_CURSOR_EXISTS);
}

/* The row that is fetched; `status`: whether it is the last one. */
static void put_fetched(struct buf *b, uint16_t status)
{
	put_packet(b, 1, "\0\0\1a", 4);
	my_write_eof(b, 2, 0, MY_STATUS_AUTOCOMMIT | status);
}

/* --- cursors --- */

static void cursor_keeps_its_connection_until_its_last_row(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_opens_cursor(&s, 0);
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 1, FETCH_ONE);
	put_fetched(server_says(&s), MY_STATUS_CURSOR_EXISTS);
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 1, FETCH_ONE);
	put_fetched(server_says(&s), MY_STATUS_LAST_ROW_SENT);
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " " COLUMNS " 1:<4> 2:EOF 1:<4> 2:EOF", MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:FETCH(7) 0:FETCH(7) 0:QUERY(SELECT 'b')");
}

/* A server that has all rows at once opens none. */
static void cursor_that_was_not_opened_keeps_nothing(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, WITH_CURSOR);
	put_row(server_says(&s), "a");
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 1, FETCH_ONE);
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " " MY_ROW("a") " 1:ERR(1421)", MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:QUERY(SELECT 'b')");
}

static void cursor_ends_with_a_reset_or_a_new_execution(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_opens_cursor(&s, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_RESET, 1, NULL, 0);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	client_opens_cursor(&s, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_row(server_says(&s), "a");
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " " COLUMNS " 1:OK " COLUMNS " " MY_ROW("a"), MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:RESET(7) 0:EXECUTE(7) 0:EXECUTE(7) "
		"0:QUERY(SELECT 'b')");
}

static void cursor_ends_with_its_statement(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_opens_cursor(&s, 0);
	struct buf *b = client_says(&s, 0);
	put_about(b, MY_COM_STMT_CLOSE, 1, NULL, 0);
	put_query(b, "SELECT 'a'");
	put_row(server_answers(&s), "a");
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " " COLUMNS " " MY_ROW("a"), MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:CLOSE(7) 0:QUERY(SELECT 'a') "
		"0:QUERY(SELECT 'b')");
}

static void cursor_ends_with_an_error(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_opens_cursor(&s, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 1, FETCH_ONE);
	put_error(server_says(&s), 1, 1317);
	put_no_warnings(server_says(&s));
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " " COLUMNS " 1:ERR(1317)", MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:FETCH(7) 0:QUERY(SHOW WARNINGS) "
		"0:QUERY(SELECT 'b')");
}

static void cursor_that_is_left_open_is_not_left_to_the_next_client(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_opens_cursor(&s, 0);
	client_leaves(&s, 0);
	put_query(client_says(&s, 1), "SELECT 'b'");
	server_is_reset(&s);
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " " COLUMNS, MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) " MY_RESET " 0:QUERY(SELECT 'b')");
}

static void cursor_is_lost_with_its_connection(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_opens_cursor(&s, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 1, FETCH_ONE);
	struct buf *b = server_says(&s);
	put_packet(b, 1, "\0\0\1a", 4);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 1, FETCH_ONE);
	my_check(&s, MY_PREPARED " " COLUMNS " 1:<4> 2:ERR(1927) 1:ERR(1421)", MY_NOTHING, NULL);
}

/* --- long data --- */

static void short_data_waits_for_its_execution(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 1, DATA("one"));
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 1, DATA("two"));
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_row(server_says(&s), "a");
	my_check(&s, MY_PREPARED " " MY_ROW("a"), MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:QUERY(SELECT 'b') 0:DATA(7) 0:DATA(7) 0:EXECUTE(7)");
}

static void data_and_execution_may_come_together(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	struct buf *b = client_says(&s, 0);
	put_about(b, MY_COM_STMT_SEND_LONG_DATA, 1, DATA("one"));
	put_about(b, MY_COM_STMT_SEND_LONG_DATA, 1, DATA(""));
	put_about(b, MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_query(b, "SELECT 'b'");
	put_row(server_answers(&s), "a");
	put_row(server_answers(&s), "b");
	my_check(&s, MY_PREPARED " " MY_ROW("a") " " MY_ROW("b"), MY_NOTHING,
		"0:PREPARE(SELECT ?) 0:DATA(7) 0:DATA(7) 0:EXECUTE(7) 0:QUERY(SELECT 'b')");
}

static void data_that_waits_is_dropped_by_a_reset(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 1, DATA("one"));
	put_about(client_says(&s, 0), MY_COM_STMT_RESET, 1, NULL, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_row(server_says(&s), "a");
	my_check(&s, MY_PREPARED " 1:OK " MY_ROW("a"), MY_NOTHING,
		"0:PREPARE(SELECT ?) 0:EXECUTE(7)");
}

static void data_that_waits_moves_with_its_statement(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 1, DATA("one"));
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_prepared(server_says(&s), 9);
	put_row(server_says(&s), "a");
	my_check(&s, MY_PREPARED " " MY_ROW("a"), MY_NOTHING,
		"0:PREPARE(SELECT ?) 0:PREPARE(SELECT ?) 0:DATA(9) 0:EXECUTE(9)");
}

static struct buf *client_sends_much(struct my_script *s, unsigned client)
{
	char *data = calloc(1, 70000);
	struct buf *b = client_says(s, client);

	assert_non_null(data);
	put_about(b, MY_COM_STMT_SEND_LONG_DATA, 1, data, 70000);
	free(data);
	return b;
}

static void much_data_is_passed_on_and_keeps_its_connection(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_sends_much(&s, 0);
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 1, DATA("more"));
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_row(server_says(&s), "a");
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " " MY_ROW("a"), MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:DATA(7) 0:DATA(7) 0:EXECUTE(7) 0:QUERY(SELECT 'b')");
}

static void much_data_is_dropped_by_a_reset_on_the_server(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	struct buf *b = client_sends_much(&s, 0);
	put_about(b, MY_COM_STMT_RESET, 1, NULL, 0);
	put_ok(server_answers(&s), MY_STATUS_AUTOCOMMIT);
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED " 1:OK", MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:DATA(7) 0:RESET(7) 0:QUERY(SELECT 'b')");
}

static void much_data_that_is_left_is_not_left_to_the_next_client(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	client_sends_much(&s, 0);
	client_leaves(&s, 0);
	put_query(client_says(&s, 1), "SELECT 'b'");
	server_is_reset(&s);
	put_row(server_says(&s), "b");
	my_check(&s, MY_PREPARED, MY_ROW("b"),
		"0:PREPARE(SELECT ?) 0:DATA(7) " MY_RESET " 0:QUERY(SELECT 'b')");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(cursor_keeps_its_connection_until_its_last_row),
	cmocka_unit_test(cursor_that_was_not_opened_keeps_nothing),
	cmocka_unit_test(cursor_ends_with_a_reset_or_a_new_execution),
	cmocka_unit_test(cursor_ends_with_its_statement),
	cmocka_unit_test(cursor_ends_with_an_error),
	cmocka_unit_test(cursor_that_is_left_open_is_not_left_to_the_next_client),
	cmocka_unit_test(cursor_is_lost_with_its_connection),
	cmocka_unit_test(short_data_waits_for_its_execution),
	cmocka_unit_test(data_and_execution_may_come_together),
	cmocka_unit_test(data_that_waits_is_dropped_by_a_reset),
	cmocka_unit_test(data_that_waits_moves_with_its_statement),
	cmocka_unit_test(much_data_is_passed_on_and_keeps_its_connection),
	cmocka_unit_test(much_data_is_dropped_by_a_reset_on_the_server),
	cmocka_unit_test(much_data_that_is_left_is_not_left_to_the_next_client),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
