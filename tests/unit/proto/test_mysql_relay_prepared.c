/* Prepared statements through both halves of MySQL's protocol: each client has its own, whichever
 * server connections they are prepared on. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "mysql_player.h"

static void statement_is_prepared_once_for_all_clients(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_prepare(client_says(&s, 1), "SELECT ?");
	put_about(client_says(&s, 1), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	my_check(&s, MY_PREPARED, MY_PREPARED " 1:OK", "0:PREPARE(SELECT ?) 0:EXECUTE(7)");
}

static void types_follow_to_another_connection(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_UNTYPED);
	put_prepared(server_says(&s), 9);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	my_check(&s, MY_PREPARED " 1:OK 1:OK", MY_NOTHING,
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:PREPARE(SELECT ?) 0:EXECUTE(9)");
}

static void unknown_statements_are_refused(void **state)
{
	struct my_script s = {0};

	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 5, MY_TYPED);
	put_about(client_says(&s, 0), MY_COM_STMT_RESET, 5, NULL, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 5, "\1\0\0\0", 4);
	put_about(client_says(&s, 0), MY_COM_STMT_CLOSE, 5, NULL, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 5, "\0\0x", 3);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	my_check(&s, "1:ERR(1243) 1:ERR(1243) 1:ERR(1243) 1:OK", MY_NOTHING, MY_NOTHING);
}

static void execution_that_is_cut_short_is_refused(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	struct buf *b = client_says(&s, 0);
	put_about(b, MY_COM_STMT_EXECUTE, 1, "\0\1\0\0\0", 5);
	put_command(b, MY_COM_PING, NULL, 0);
	my_check(&s, MY_PREPARED " 1:OK 1:ERR(1835) 1:OK", MY_NOTHING,
		"0:PREPARE(SELECT ?) 0:EXECUTE(7)");
}

static void answer_that_was_cut_by_a_hangup_is_not_given_again(void **state)
{
	struct my_script s = {0};
	struct buf answer = {0};

	put_prepared(&answer, 7);
	put_prepare(client_says(&s, 0), "SELECT ?");
	buf_put(server_says(&s), answer.data, 16);
	client_leaves(&s, 0);
	put_prepare(client_says(&s, 1), "SELECT ?");
	buf_put(server_says(&s), answer.data + 16, answer.len - 16);
	for (int i = 0; i < 3; i++)
		put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT); /* the reset */
	put_prepared(server_says(&s), 8);
	buf_clear(&answer);
	my_check(&s, NULL, MY_PREPARED, NULL);
}

static void error_of_someone_elses_statement_is_not_told(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	put_prepare(client_says(&s, 1), "SELECT ?");
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	client_leaves(&s, 0);
	put_error(server_says(&s), 1, 1146);
	for (int i = 0; i < 3; i++)
		put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_about(client_says(&s, 1), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_prepared(server_says(&s), 8);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	my_check(&s, NULL, MY_PREPARED " 1:OK", NULL);
}

static void long_data_gets_no_answer_if_it_cannot_be_prepared(void **state)
{
	struct my_script s = {0};
	char *data = calloc(1, 70000);

	assert_non_null(data);
	client_prepares(&s, 0, 7);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 1, data, 70000);
	put_error(server_says(&s), 1, 1146);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	free(data);
	my_check(&s, MY_PREPARED " 1:OK", MY_NOTHING, NULL);
}

static void text_with_a_nul_is_prepared_again_in_full(void **state)
{
	static const char sql[] = "SELECT ?, '\0', GET_LOCK('a', 1)";
	struct my_script s = {0};

	put_command(client_says(&s, 0), MY_COM_STMT_PREPARE, sql, sizeof(sql) - 1);
	put_prepared(server_says(&s), 7);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_prepared(server_says(&s), 8);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_row(server_says(&s), "1");               /* the lock is held */
	put_query(client_says(&s, 1), "SELECT 'b'"); /* waits */
	my_check(&s, MY_PREPARED " 1:OK", MY_NOTHING,
		"0:PREPARE(SELECT ?, '\\0', GET_LOCK('a', 1)) "
		"0:PREPARE(SELECT ?, '\\0', GET_LOCK('a', 1)) 0:EXECUTE(8) "
		"0:QUERY(SELECT CONCAT(IS_USED_LOCK('a')<=>CONNECTION_ID()))");
}

static void definitions_are_not_told_across_pools(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	server_breaks(&s);
	other_pool(&s);
	put_prepare(client_says(&s, 1), "SELECT ?");
	put_error(server_says(&s), 1, 1142);
	my_check(&s, MY_PREPARED, "1:ERR(1142)", NULL);
}

static void half_a_command_is_not_completed_by_a_reset(void **state)
{
	struct my_script s = {0};
	char *data = calloc(1, 70000);
	struct buf all = {0};

	assert_non_null(data);
	client_prepares(&s, 0, 7);
	put_about(&all, MY_COM_STMT_SEND_LONG_DATA, 1, data, 70000);
	buf_put(client_says(&s, 0), all.data, all.len - 5);
	client_leaves(&s, 0);
	buf_clear(&all);
	free(data);
	my_check(&s, MY_PREPARED, MY_NOTHING, "0:PREPARE(SELECT ?) +70004");
}

static void command_behind_the_end_of_long_data_is_run(void **state)
{
	struct my_script s = {0};
	char *data = calloc(1, 70000);
	struct buf all = {0};

	assert_non_null(data);
	client_prepares(&s, 0, 7);
	put_about(&all, MY_COM_STMT_SEND_LONG_DATA, 1, data, 70000);
	put_command(&all, MY_COM_PING, NULL, 0);
	buf_put(client_says(&s, 0), all.data, 50000);
	buf_put(client_says(&s, 0), all.data + 50000, all.len - 50000);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	buf_clear(&all);
	free(data);
	my_check(&s, MY_PREPARED " 1:OK", MY_NOTHING, NULL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(statement_is_prepared_once_for_all_clients),
	cmocka_unit_test(types_follow_to_another_connection),
	cmocka_unit_test(unknown_statements_are_refused),
	cmocka_unit_test(execution_that_is_cut_short_is_refused),
	cmocka_unit_test(answer_that_was_cut_by_a_hangup_is_not_given_again),
	cmocka_unit_test(error_of_someone_elses_statement_is_not_told),
	cmocka_unit_test(long_data_gets_no_answer_if_it_cannot_be_prepared),
	cmocka_unit_test(text_with_a_nul_is_prepared_again_in_full),
	cmocka_unit_test(definitions_are_not_told_across_pools),
	cmocka_unit_test(half_a_command_is_not_completed_by_a_reset),
	cmocka_unit_test(command_behind_the_end_of_long_data_is_run),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
