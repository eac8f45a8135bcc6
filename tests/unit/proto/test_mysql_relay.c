/* Whole conversations through both halves of MySQL's protocol: what arrives
 * does not depend on how it came, and neither a hostile client nor a hostile
 * server gets at what is others'. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "mysql_script.h"

#define NOTHING_MORE ""

static void check_same(const struct my_script *script, const struct my_outcome *whole,
	const struct my_cutting *how, const char *what, size_t position)
{
	struct my_outcome other;
	struct buf a = {0}, b = {0};

	my_play(script, how, &other);
	for (unsigned i = 0; i < MY_CLIENTS; i++) {
		my_print_client(whole, i, &a);
		my_print_client(&other, i, &b);
		if (strcmp((char *)a.data, (char *)b.data) != 0 ||
			whole->closed[i] != other.closed[i] ||
			whole->to_client[i].len != other.to_client[i].len)
			fail_msg("%s at %zu: client %u\n  whole: %s\n  cut:   %s", what, position,
				i, a.data, b.data);
		buf_clear(&a);
		buf_clear(&b);
	}
	assert_int_equal(whole->to_server.len, other.to_server.len);
	assert_true(!whole->to_server.len ||
		    memcmp(whole->to_server.data, other.to_server.data, whole->to_server.len) == 0);
	my_outcome_clear(&other);
}

static void check_cuts(const struct my_script *script, const struct my_outcome *whole)
{
	struct my_cutting bytes = {.client_piece = script->pipelined ? 0 : 1, .server_piece = 1};

	check_same(script, whole, &bytes, "byte by byte", 0);
	for (size_t i = 1; !script->pipelined && i < whole->n_client_bytes; i++) {
		struct my_cutting how = {.client_cut = i};
		check_same(script, whole, &how, "the client's bytes cut", i);
	}
	for (size_t i = 1; i < whole->n_server_bytes; i++) {
		struct my_cutting how = {.server_cut = i};
		check_same(script, whole, &how, "the server's bytes cut", i);
	}
}

/* Plays the script whole, compares what each heard (NULL: not looked at), then
 * plays it cut in every way. Clears the script. */
static void check(
	struct my_script *script, const char *client, const char *other, const char *server)
{
	static const struct my_cutting uncut;
	struct my_outcome whole;
	struct buf text = {0};

	my_play(script, &uncut, &whole);
	for (unsigned i = 0; i < MY_CLIENTS; i++) {
		const char *expected = i ? other : client;
		my_print_client(&whole, i, &text);
		if (expected)
			assert_string_equal((char *)text.data, expected);
		buf_clear(&text);
	}
	my_print_server(&whole, &text);
	if (server)
		assert_string_equal((char *)text.data, server);
	buf_clear(&text);
	if (whole.n_client_bytes + whole.n_server_bytes < 2000)
		check_cuts(script, &whole);
	my_outcome_clear(&whole);
	my_script_clear(script);
}

#define ROW(text) "1:[1] 2:def 3:EOF 4:" text " 5:EOF"

/* --- text queries --- */

static void queries_are_passed_on(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "SELECT 'a'");
	put_row(server_says(&s), "a");
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_row(server_says(&s), "b");
	check(&s, ROW("a"), ROW("b"), "0:QUERY(SELECT 'a') 0:QUERY(SELECT 'b')");
}

static void error_is_followed_by_a_look_at_the_warnings(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "bad");
	put_error(server_says(&s), 1, 1064);
	put_no_warnings(server_says(&s));
	check(&s, "1:ERR(1064)", NOTHING_MORE, "0:QUERY(bad) 0:QUERY(SHOW WARNINGS)");
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
	check(&s, "1:OK 1:OK", ROW("b"), "0:QUERY(BEGIN) 0:QUERY(COMMIT) 0:QUERY(SELECT 'b')");
}

static void pipelined_commands_are_answered_in_order(void **state)
{
	struct my_script s = {.pipelined = true};
	struct buf *b = client_says(&s, 0);

	put_query(b, "SELECT 'a'");
	put_query(b, "SELECT 'b'");
	put_row(server_says(&s), "a");
	put_row(server_says(&s), "b");
	check(&s, ROW("a") " " ROW("b"), NOTHING_MORE, NULL);
}

static void command_before_the_answer_closes_its_client(void **state)
{
	struct my_script s = {.pipelined = true};

	put_query(client_says(&s, 0), "SELECT 'a'");
	put_query(client_says(&s, 0), "SELECT 'b'");
	put_row(server_says(&s), "a");
	check(&s, NOTHING_MORE, NOTHING_MORE, NULL);
}

/* --- prepared statements --- */

static const uint8_t execute_untyped[] = {0, 1, 0, 0, 0, 0, 0, 2, 'h', 'i'};
static const uint8_t execute_typed[] = {0, 1, 0, 0, 0, 0, 1, 0xfe, 0, 2, 'h', 'i'};

static void prepare_learnt(struct my_script *s, unsigned client, uint32_t id)
{
	put_prepare(client_says(s, client), "SELECT ?");
	put_prepared(server_says(s), id);
}

#define PREPARED "1:OK 2:def 3:EOF"

static void statement_is_prepared_once_for_all_clients(void **state)
{
	struct my_script s = {0};

	prepare_learnt(&s, 0, 7);
	put_prepare(client_says(&s, 1), "SELECT ?");
	put_about(client_says(&s, 1), MY_COM_STMT_EXECUTE, 1, execute_typed, sizeof(execute_typed));
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	check(&s, PREPARED, PREPARED " 1:OK", "0:PREPARE(SELECT ?) 0:EXECUTE(7)");
}

static void types_follow_to_another_connection(void **state)
{
	struct my_script s = {0};

	prepare_learnt(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, execute_typed, sizeof(execute_typed));
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, execute_untyped,
		sizeof(execute_untyped));
	put_prepared(server_says(&s), 9);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	check(&s, PREPARED " 1:OK 1:OK", NOTHING_MORE,
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:PREPARE(SELECT ?) 0:EXECUTE(9)");
}

static void unknown_statements_are_refused(void **state)
{
	struct my_script s = {0};

	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 5, execute_typed, sizeof(execute_typed));
	put_about(client_says(&s, 0), MY_COM_STMT_RESET, 5, NULL, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_FETCH, 5, "\1\0\0\0", 4);
	put_about(client_says(&s, 0), MY_COM_STMT_CLOSE, 5, NULL, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 5, "\0\0x", 3);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	check(&s, "1:ERR(1243) 1:ERR(1243) 1:ERR(1243) 1:OK", NOTHING_MORE, NOTHING_MORE);
}

static void execution_that_is_cut_short_is_refused(void **state)
{
	struct my_script s = {.pipelined = true};

	prepare_learnt(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, execute_typed, sizeof(execute_typed));
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	struct buf *b = client_says(&s, 0);
	put_about(b, MY_COM_STMT_EXECUTE, 1, "\0\1\0\0\0", 5);
	put_command(b, MY_COM_PING, NULL, 0);
	check(&s, PREPARED " 1:OK 1:ERR(1835) 1:OK", NOTHING_MORE,
		"0:PREPARE(SELECT ?) 0:EXECUTE(7)");
}

static void answer_that_was_cut_by_a_hangup_is_not_given_again(void **state)
{
	struct my_script s = {.pipelined = true};
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
	check(&s, NULL, PREPARED, NULL);
}

static void error_of_someone_elses_statement_is_not_told(void **state)
{
	struct my_script s = {.pipelined = true};

	prepare_learnt(&s, 0, 7);
	put_prepare(client_says(&s, 1), "SELECT ?");
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, execute_typed, sizeof(execute_typed));
	client_leaves(&s, 0);
	put_error(server_says(&s), 1, 1146);
	for (int i = 0; i < 3; i++)
		put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_about(client_says(&s, 1), MY_COM_STMT_EXECUTE, 1, execute_typed, sizeof(execute_typed));
	put_prepared(server_says(&s), 8);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	check(&s, NULL, PREPARED " 1:OK", NULL);
}

static void long_data_gets_no_answer_if_it_cannot_be_prepared(void **state)
{
	struct my_script s = {.pipelined = true};
	char *data = calloc(1, 70000);

	assert_non_null(data);
	prepare_learnt(&s, 0, 7);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_SEND_LONG_DATA, 1, data, 70000);
	put_error(server_says(&s), 1, 1146);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	free(data);
	check(&s, PREPARED " 1:OK", NOTHING_MORE, NULL);
}

static void text_with_a_nul_is_prepared_again_in_full(void **state)
{
	static const char sql[] = "SELECT ?, '\0', GET_LOCK('a', 1)";
	struct my_script s = {.pipelined = true};
	struct my_outcome o;
	static const struct my_cutting uncut;

	put_command(client_says(&s, 0), MY_COM_STMT_PREPARE, sql, sizeof(sql) - 1);
	put_prepared(server_says(&s), 7);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, execute_typed, sizeof(execute_typed));
	put_prepared(server_says(&s), 8);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_query(client_says(&s, 1), "SELECT 'b'"); /* waits: the lock is held */
	put_row(server_says(&s), "b");
	my_play(&s, &uncut, &o);
	unsigned n = 0;
	for (size_t i = 0; i + sizeof(sql) - 1 <= o.to_server.len; i++)
		n += memcmp(o.to_server.data + i, sql, sizeof(sql) - 1) == 0;
	assert_int_equal(n, 2);
	assert_int_equal(o.to_client[1].len, 0);
	my_outcome_clear(&o);
	my_script_clear(&s);
}

static void definitions_are_not_told_across_pools(void **state)
{
	struct my_script s = {.pipelined = true};

	prepare_learnt(&s, 0, 7);
	server_breaks(&s);
	other_pool(&s);
	put_prepare(client_says(&s, 1), "SELECT ?");
	put_error(server_says(&s), 1, 1142);
	check(&s, PREPARED, "1:ERR(1142)", NULL);
}

/* --- a server that goes --- */

static void rest_of_a_long_query_is_dropped_with_its_connection(void **state)
{
	struct my_script s = {.pipelined = true};
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
	check(&s, "1:ERR(1927)", NOTHING_MORE, NULL);
}

static void continuation_is_dropped_with_its_connection(void **state)
{
	struct my_script s = {.pipelined = true};
	char *sql = malloc(MY_PACKET_FULL);
	struct buf *b = client_says(&s, 0);

	assert_non_null(sql);
	memset(sql, 'x', MY_PACKET_FULL);
	put_command(b, MY_COM_QUERY, sql, MY_PACKET_FULL - 1);
	server_breaks(&s);
	put_packet(client_says(&s, 0), 1, "rest", 4);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	free(sql);
	check(&s, "2:ERR(1927) 1:OK", NOTHING_MORE, NULL);
}

static void file_is_dropped_with_its_connection(void **state)
{
	struct my_script s = {
		.pipelined = true, .local_infile = true, .capabilities = MY_LOCAL_FILES};

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
	check(&s, "1:[2] 5:ERR(1927) 1:OK", NOTHING_MORE, NULL);
}

static void loss_in_the_middle_of_rows_is_told_in_sequence(void **state)
{
	struct my_script s = {.pipelined = true};
	struct buf row = {0};

	put_row(&row, "a");
	put_query(client_says(&s, 0), "SELECT 'a'");
	buf_put(server_says(&s), row.data, row.len - 9);
	server_breaks(&s);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	buf_clear(&row);
	check(&s, "1:[1] 2:def 3:EOF 4:a 5:ERR(1927) 1:OK", NOTHING_MORE, NULL);
}

static void row_in_several_packets_is_one_message(void **state)
{
	static const struct my_cutting uncut;
	struct my_script s = {.pipelined = true};
	struct my_outcome o;
	struct buf row = {0};
	char *data = calloc(1, MY_PACKET_FULL);

	assert_non_null(data);
	put_row(&row, "a");
	put_query(client_says(&s, 0), "SELECT 'a'");
	struct buf *b = server_says(&s);
	buf_put(b, row.data, row.len - 9 - 6);
	put_packet(b, 4, data, MY_PACKET_FULL);
	server_breaks(&s);
	my_play(&s, &uncut, &o);
	assert_true(o.mid_message);
	my_outcome_clear(&o);
	my_script_clear(&s);
	buf_clear(&row);
	free(data);
}

static void early_answer_does_not_put_a_query_into_the_command(void **state)
{
	struct my_script s = {.pipelined = true};
	char *sql = malloc(100000);
	struct buf all = {0};
	struct my_outcome o;
	static const struct my_cutting uncut;

	assert_non_null(sql);
	memset(sql, 'x', 100000);
	put_command(&all, MY_COM_QUERY, sql, 100000);
	buf_put(client_says(&s, 0), all.data, 50000);
	put_error(server_says(&s), 1, 1153);
	buf_put(client_says(&s, 0), all.data + 50000, all.len - 50000);
	my_play(&s, &uncut, &o);
	assert_int_equal(o.to_server.len, all.len);
	assert_memory_equal(o.to_server.data, all.data, all.len);
	my_outcome_clear(&o);
	my_script_clear(&s);
	buf_clear(&all);
	free(sql);
}

static void half_a_command_is_not_completed_by_a_reset(void **state)
{
	struct my_script s = {.pipelined = true};
	char *data = calloc(1, 70000);
	struct buf all = {0};

	assert_non_null(data);
	prepare_learnt(&s, 0, 7);
	put_about(&all, MY_COM_STMT_SEND_LONG_DATA, 1, data, 70000);
	buf_put(client_says(&s, 0), all.data, all.len - 5);
	client_leaves(&s, 0);
	buf_clear(&all);
	free(data);
	struct my_outcome o;
	static const struct my_cutting uncut;
	my_play(&s, &uncut, &o);
	assert_int_equal(o.to_server.len, 4 + 1 + 8 + 4 + 7 + 70000 - 2 - 5);
	my_outcome_clear(&o);
	my_script_clear(&s);
}

static void command_behind_the_end_of_long_data_is_run(void **state)
{
	struct my_script s = {.pipelined = true};
	char *data = calloc(1, 70000);
	struct buf all = {0};

	assert_non_null(data);
	prepare_learnt(&s, 0, 7);
	put_about(&all, MY_COM_STMT_SEND_LONG_DATA, 1, data, 70000);
	put_command(&all, MY_COM_PING, NULL, 0);
	buf_put(client_says(&s, 0), all.data, 50000);
	buf_put(client_says(&s, 0), all.data + 50000, all.len - 50000);
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	buf_clear(&all);
	free(data);
	check(&s, PREPARED " 1:OK", NOTHING_MORE, NULL);
}

static void empty_packet_before_the_answer_closes_its_client(void **state)
{
	struct my_script s = {.pipelined = true};

	put_query(client_says(&s, 0), "SELECT 'a'");
	put_packet(client_says(&s, 0), 0, NULL, 0);
	put_row(server_says(&s), "a");
	check(&s, NOTHING_MORE, NOTHING_MORE, NULL);
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
	check(&s, "1:OK", ROW("b"), "0:USE(shop) 0:USE(information_schema) 0:QUERY(SELECT 'b')");
}

static void say_other_user(struct my_script *s, unsigned client)
{
	put_command(client_says(s, client), MY_COM_CHANGE_USER, "other\0\0db", 10);
	client_proves(s, client);
}

static void other_user_gets_a_new_session(void **state)
{
	struct my_script s = {0};

	prepare_learnt(&s, 0, 7);
	say_other_user(&s, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_RESET, 1, NULL, 0);
	check(&s, PREPARED " 1:[44] 3:OK 1:ERR(1243)", NOTHING_MORE, "0:PREPARE(SELECT ?)");
}

static void other_user_of_the_console_is_welcomed(void **state)
{
	struct my_script s = {0};

	prepare_learnt(&s, 0, 7);
	console_next(&s);
	say_other_user(&s, 0);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	check(&s, PREPARED " 1:[44] 3:OK 1:OK", NOTHING_MORE, "0:PREPARE(SELECT ?)");
}

static void lost_transaction_is_not_told_to_another_user(void **state)
{
	struct my_script s = {.loses_transaction = true};

	put_query(client_says(&s, 0), "BEGIN");
	put_ok(server_says(&s), MY_STATUS_IN_TRANS | MY_STATUS_AUTOCOMMIT);
	put_command(client_says(&s, 0), MY_COM_CHANGE_USER, "other\0\0db", 10);
	server_breaks(&s);
	client_proves(&s, 0);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	check(&s, "1:OK 1:[44] 3:OK 1:OK", NOTHING_MORE, NULL);
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
	check(&s, "1:OK " ROW("a"), NOTHING_MORE,
		"0:QUERY(DROP DATABASE shop) 0:USE(information_schema) 0:QUERY(SELECT "
		"'a')");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(queries_are_passed_on),
	cmocka_unit_test(error_is_followed_by_a_look_at_the_warnings),
	cmocka_unit_test(transaction_keeps_its_connection),
	cmocka_unit_test(pipelined_commands_are_answered_in_order),
	cmocka_unit_test(command_before_the_answer_closes_its_client),
	cmocka_unit_test(statement_is_prepared_once_for_all_clients),
	cmocka_unit_test(types_follow_to_another_connection),
	cmocka_unit_test(unknown_statements_are_refused),
	cmocka_unit_test(execution_that_is_cut_short_is_refused),
	cmocka_unit_test(answer_that_was_cut_by_a_hangup_is_not_given_again),
	cmocka_unit_test(error_of_someone_elses_statement_is_not_told),
	cmocka_unit_test(long_data_gets_no_answer_if_it_cannot_be_prepared),
	cmocka_unit_test(text_with_a_nul_is_prepared_again_in_full),
	cmocka_unit_test(definitions_are_not_told_across_pools),
	cmocka_unit_test(rest_of_a_long_query_is_dropped_with_its_connection),
	cmocka_unit_test(continuation_is_dropped_with_its_connection),
	cmocka_unit_test(file_is_dropped_with_its_connection),
	cmocka_unit_test(loss_in_the_middle_of_rows_is_told_in_sequence),
	cmocka_unit_test(row_in_several_packets_is_one_message),
	cmocka_unit_test(early_answer_does_not_put_a_query_into_the_command),
	cmocka_unit_test(half_a_command_is_not_completed_by_a_reset),
	cmocka_unit_test(command_behind_the_end_of_long_data_is_run),
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
