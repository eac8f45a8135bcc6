/* Whole conversations through both halves of MySQL's protocol: what arrives
 * does not depend on how it came, and neither a hostile client nor a hostile
 * server gets at what is others'. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "mysql_player.h"

/* --- text queries --- */

static void queries_are_passed_on(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "SELECT 'a'");
	put_row(server_says(&s), "a");
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	my_check(&s, MY_ROW("a"), MY_ROW("b"), "0:QUERY(SELECT 'a') 0:QUERY(SELECT 'b')");
}

static void error_is_followed_by_a_look_at_the_warnings(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "bad");
	put_error(server_says(&s), 1, 1064);
	put_no_warnings(server_says(&s));
	my_check(&s, "1:ERR(1064)", MY_NOTHING, "0:QUERY(bad) 0:QUERY(SHOW WARNINGS)");
}

static void transaction_keeps_its_connection(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "BEGIN");
	put_ok(server_says(&s), MY_STATUS_IN_TRANS | MY_STATUS_AUTOCOMMIT);
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_query(client_says(&s, 0), "COMMIT");
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_row(server_says(&s), "b");
	my_check(
		&s, "1:OK 1:OK", MY_ROW("b"), "0:QUERY(BEGIN) 0:QUERY(COMMIT) 0:QUERY(SELECT 'b')");
}

static void pipelined_commands_are_answered_in_order(void **state)
{
	struct my_script s = {0};
	struct buf *b = client_says(&s, 0);

	put_query(b, "SELECT 'a'");
	put_query(b, "SELECT 'b'");
	put_row(server_answers(&s), "a");
	put_row(server_answers(&s), "b");
	my_check(&s, MY_ROW("a") " " MY_ROW("b"), MY_NOTHING, NULL);
}

static void command_before_the_answer_closes_its_client(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "SELECT 'a'");
	put_query(client_says(&s, 0), "SELECT 'b'");
	put_row(server_says(&s), "a");
	my_check(&s, MY_NOTHING, MY_NOTHING, NULL);
}

/* --- a server that goes --- */

static void rest_of_a_long_query_is_dropped_with_its_connection(void **state)
{
	struct my_script s = {0};
	char *sql = malloc(100000);
	struct buf all = {0};

	assert_non_null(sql);
	memset(sql, 'x', 100000);
	put_command(&all, MY_COM_QUERY, sql, 100000);
	buf_put(client_says(&s, 0), all.data, 50000);
	server_breaks(&s);
	buf_put(client_says(&s, 0), all.data + 50000, all.len - 50000);
	buf_clear(&all);
	free(sql);
	my_check(&s, "1:ERR(1927)", MY_NOTHING, NULL);
}

static void continuation_is_dropped_with_its_connection(void **state)
{
	struct my_script s = {0};
	char *sql = malloc(MY_PACKET_FULL);
	struct buf *b = client_says(&s, 0);

	assert_non_null(sql);
	memset(sql, 'x', MY_PACKET_FULL);
	put_command(b, MY_COM_QUERY, sql, MY_PACKET_FULL - 1);
	server_breaks(&s);
	put_packet(client_says(&s, 0), 1, "rest", 4);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	free(sql);
	my_check(&s, "2:ERR(1927) 1:OK", MY_NOTHING, NULL);
}

static void file_is_dropped_with_its_connection(void **state)
{
	struct my_script s = {.local_infile = true, .capabilities = MY_LOCAL_FILES};

	put_query(client_says(&s, 0), "LOAD DATA LOCAL INFILE 'f' INTO TABLE t");
	put_packet(server_says(&s), 1,
		"\xfb"
		"f",
		2);
	put_packet(client_says(&s, 0), 2, "one", 3);
	server_breaks(&s);
	put_packet(client_says(&s, 0), 3, "two", 3);
	put_packet(client_says(&s, 0), 4, NULL, 0);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	my_check(&s, "1:FILE(f) 5:ERR(1927) 1:OK", MY_NOTHING, NULL);
}

static void loss_in_the_middle_of_rows_is_told_in_sequence(void **state)
{
	struct my_script s = {0};
	struct buf row = {0};

	put_row(&row, "a");
	put_query(client_says(&s, 0), "SELECT 'a'");
	buf_put(server_says(&s), row.data, row.len - 9);
	server_breaks(&s);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	buf_clear(&row);
	my_check(&s, "1:[1] 2:def 3:EOF 4:a 5:ERR(1927) 1:OK", MY_NOTHING, NULL);
}

static void is_lost_within_a_message(const struct my_outcome *o)
{
	assert_true(o->mid_message);
}

static void row_in_several_packets_is_one_message(void **state)
{
	struct my_script s = {0};
	struct buf row = {0};
	char *data = calloc(1, MY_PACKET_FULL);

	assert_non_null(data);
	put_row(&row, "a");
	put_query(client_says(&s, 0), "SELECT 'a'");
	struct buf *b = server_says(&s);
	buf_put(b, row.data, row.len - 9 - 6);
	put_packet(b, 4, data, MY_PACKET_FULL);
	server_breaks(&s);
	buf_clear(&row);
	free(data);
	my_check_by(&s, is_lost_within_a_message);
}

static void early_answer_does_not_put_a_query_into_the_command(void **state)
{
	struct my_script s = {0};
	char *sql = malloc(100000);
	struct buf all = {0};

	assert_non_null(sql);
	memset(sql, 'x', 100000);
	put_command(&all, MY_COM_QUERY, sql, 100000);
	buf_put(client_says(&s, 0), all.data, 50000);
	put_error(server_says(&s), 1, 1153);
	buf_put(client_says(&s, 0), all.data + 50000, all.len - 50000);
	buf_clear(&all);
	free(sql);
	my_check(&s, "1:ERR(1153)", MY_NOTHING, "0:QUERY<100000>");
}

static void empty_packet_before_the_answer_closes_its_client(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "SELECT 'a'");
	put_packet(client_says(&s, 0), 0, NULL, 0);
	put_row(server_says(&s), "a");
	my_check(&s, MY_NOTHING, MY_NOTHING, NULL);
}

/* --- sessions --- */

static void schema_is_not_left_to_the_next_client(void **state)
{
	struct my_script s = {0};

	put_command(client_says(&s, 0), MY_COM_INIT_DB, "shop", 4);
	/* OK with the schema in its session state. */
	put_packet(server_says(&s), 1, "\0\0\0\2\x40\0\0\0\7\1\5\4shop", 16);
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_row(server_says(&s), "b");
	my_check(&s, "1:OK", MY_ROW("b"),
		"0:USE(shop) 0:USE(information_schema) 0:QUERY(SELECT 'b')");
}

static void say_other_user(struct my_script *s, unsigned client)
{
	put_command(client_says(s, client), MY_COM_CHANGE_USER, "other\0\0db", 10);
	client_proves(s, client, PROOF_NATIVE);
}

static void other_user_gets_a_new_session(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	say_other_user(&s, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_RESET, 1, NULL, 0);
	my_check(&s, MY_PREPARED " 1:SWITCH(mysql_native_password) 3:OK 1:ERR(1243)", MY_NOTHING,
		"0:PREPARE(SELECT ?)");
}

static void other_user_of_the_console_is_welcomed(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	console_next(&s);
	say_other_user(&s, 0);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	my_check(&s, MY_PREPARED " 1:SWITCH(mysql_native_password) 3:OK 1:OK", MY_NOTHING,
		"0:PREPARE(SELECT ?)");
}

static void lost_transaction_is_not_told_to_another_user(void **state)
{
	struct my_script s = {.loses_transaction = true};

	put_query(client_says(&s, 0), "BEGIN");
	put_ok(server_says(&s), MY_STATUS_IN_TRANS | MY_STATUS_AUTOCOMMIT);
	put_command(client_says(&s, 0), MY_COM_CHANGE_USER, "other\0\0db", 10);
	server_breaks(&s);
	client_proves(&s, 0, PROOF_NATIVE);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	my_check(&s, "1:OK 1:SWITCH(mysql_native_password) 3:OK 1:OK", MY_NOTHING, NULL);
}

static void dropped_schema_is_not_asked_for(void **state)
{
	struct my_script s = {.schema = "shop"};

	put_query(client_says(&s, 0), "DROP DATABASE shop");
	put_packet(server_says(&s), 1, "\0\0\0\2\x40\0\0\0\3\1\1\0", 12);
	server_breaks(&s);
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_row(server_says(&s), "a");
	my_check(&s, "1:OK " MY_ROW("a"), MY_NOTHING,
		"0:QUERY(DROP DATABASE shop) 0:USE(information_schema) 0:QUERY(SELECT "
		"'a')");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(queries_are_passed_on),
	cmocka_unit_test(error_is_followed_by_a_look_at_the_warnings),
	cmocka_unit_test(transaction_keeps_its_connection),
	cmocka_unit_test(pipelined_commands_are_answered_in_order),
	cmocka_unit_test(command_before_the_answer_closes_its_client),
	cmocka_unit_test(rest_of_a_long_query_is_dropped_with_its_connection),
	cmocka_unit_test(continuation_is_dropped_with_its_connection),
	cmocka_unit_test(file_is_dropped_with_its_connection),
	cmocka_unit_test(loss_in_the_middle_of_rows_is_told_in_sequence),
	cmocka_unit_test(row_in_several_packets_is_one_message),
	cmocka_unit_test(early_answer_does_not_put_a_query_into_the_command),
	cmocka_unit_test(empty_packet_before_the_answer_closes_its_client),
	cmocka_unit_test(schema_is_not_left_to_the_next_client),
	cmocka_unit_test(dropped_schema_is_not_asked_for),
	cmocka_unit_test(other_user_gets_a_new_session),
	cmocka_unit_test(other_user_of_the_console_is_welcomed),
	cmocka_unit_test(lost_transaction_is_not_told_to_another_user),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
