/* What a client's session is made of, through both halves of MySQL's protocol: it follows to
 * whichever of two server connections the client gets, and is nobody else's. */
#include <string.h>

#include "../test.h"
#include "mysql_player.h"

#define IN_TRANS (MY_STATUS_IN_TRANS | MY_STATUS_AUTOCOMMIT)

#define SET_MODE "SET sql_mode='ANSI'"

/* The client takes the first connection, and keeps it. */
static void client_begins(struct my_script *s, unsigned client)
{
	put_query(client_says(s, client), "BEGIN");
	put_ok(server_says(s), IN_TRANS);
}

static void client_commits(struct my_script *s, unsigned client)
{
	put_query(client_says(s, client), "COMMIT");
	put_ok(server_says(s), MY_STATUS_AUTOCOMMIT);
}

/* --- settings --- */

static void setting_is_brought_to_another_connection(void **state)
{
	struct my_script s = {.n_servers = 2};

	put_query(client_says(&s, 0), SET_MODE);
	put_tracked(server_says(&s), 1, "sql_mode", "ANSI");
	put_query(client_says(&s, 1), "BEGIN");
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT); /* the mode of others */
	put_ok(server_says(&s), IN_TRANS);
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_ok(server_says_on(&s, 1), MY_STATUS_AUTOCOMMIT);
	put_row(server_says_on(&s, 1), "a");
	put_query(client_says(&s, 0), "SELECT 'b'");
	put_row(server_says_on(&s, 1), "b");
	client_commits(&s, 1);
	my_check_two(&s, "1:OK " MY_ROW("a") " " MY_ROW("b"), "1:OK 1:OK",
		"0:QUERY(" SET_MODE ") 0:QUERY(SET @@SESSION.sql_mode=DEFAULT) 0:QUERY(BEGIN) "
		"0:QUERY(COMMIT)",
		"0:QUERY(SET @@SESSION.sql_mode='ANSI') 0:QUERY(SELECT 'a') 0:QUERY(SELECT 'b')");
}

static void setting_goes_before_the_first_of_several_commands(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), SET_MODE);
	put_tracked(server_says(&s), 1, "sql_mode", "ANSI");
	server_breaks(&s);
	struct buf *b = client_says(&s, 0);
	put_query(b, "SELECT 'a'");
	put_query(b, "SELECT 'b'");
	put_ok(server_answers(&s), MY_STATUS_AUTOCOMMIT);
	put_row(server_answers(&s), "a");
	put_row(server_answers(&s), "b");
	my_check(&s, "1:OK " MY_ROW("a") " " MY_ROW("b"), MY_NOTHING,
		"0:QUERY(" SET_MODE ") 0:QUERY(SET @@SESSION.sql_mode='ANSI') "
		"0:QUERY(SELECT 'a') 0:QUERY(SELECT 'b')");
}

static void setting_that_cannot_be_brought_costs_the_connection(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), SET_MODE);
	put_tracked(server_says(&s), 1, "sql_mode", "ANSI");
	server_breaks(&s);
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_error(server_says(&s), 1, 1231);
	put_row(server_says(&s), "a");
	my_check(&s, "1:OK 1:ERR(1927)", MY_NOTHING,
		"0:QUERY(" SET_MODE ") 0:QUERY(SET @@SESSION.sql_mode='ANSI') "
		"0:QUERY(SELECT 'a')");
}

static void change_is_told_to_clients_that_want_to_know(void **state)
{
	static const uint32_t capabilities[] = {0, MY_SESSION_TRACK};
	/* Of what servers tell unless they are asked for more. */
	static const char *const heard[] = {"1:OK 1:OK 1:OK", "1:OK(CHANGED) 1:OK(CHANGED) 1:OK"};

	for (size_t i = 0; i < ARRAY_LEN(capabilities); i++) {
		struct my_script s = {.capabilities = capabilities[i]};
		put_query(client_says(&s, 0), "SET autocommit=1");
		put_query(client_says(&s, 0), "SET time_zone='UTC'");
		put_tracked(server_says(&s), 1, "time_zone", "UTC");
		put_query(client_says(&s, 0), SET_MODE);
		put_tracked(server_says(&s), 1, "sql_mode", "ANSI");
		my_check(&s, heard[i], MY_NOTHING,
			"0:QUERY(SET time_zone='UTC') 0:QUERY(" SET_MODE ")");
	}
}

static void autocommit_is_switched_off_before_the_next_statement(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "SET autocommit=0");
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_ok(server_says(&s), 0);
	put_row(server_says(&s), "a");
	put_query(client_says(&s, 1), "SELECT 'b'");
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_row(server_says(&s), "b");
	my_check(&s, "1:OK " MY_ROW("a"), MY_ROW("b"),
		"0:QUERY(SET @@SESSION.autocommit='OFF') 0:QUERY(SELECT 'a') "
		"0:QUERY(SET @@SESSION.autocommit=DEFAULT) 0:QUERY(SELECT 'b')");
}

static void last_insert_id_follows_its_client(void **state)
{
	struct my_script s = {.n_servers = 2};

	put_query(client_says(&s, 0), "INSERT INTO t VALUES ()");
	put_packet(server_says(&s), 1, "\0\1\7\2\0\0\0", 7);
	put_query(client_says(&s, 0), "SELECT LAST_INSERT_ID()");
	client_begins(&s, 1);
	put_query(client_says(&s, 0), "INSERT INTO u VALUES (LAST_INSERT_ID())");
	put_ok(server_says_on(&s, 1), MY_STATUS_AUTOCOMMIT);
	put_ok(server_says_on(&s, 1), MY_STATUS_AUTOCOMMIT);
	my_check_two(&s, "1:OK 1:[1] 2:def 3:EOF 4:7 5:EOF 1:OK", "1:OK",
		"0:QUERY(INSERT INTO t VALUES ()) 0:QUERY(BEGIN)",
		"0:QUERY(SET last_insert_id=7) 0:QUERY(INSERT INTO u VALUES (LAST_INSERT_ID()))");
}

/* --- prepared statements --- */

static void statement_moves_to_another_connection_with_its_types(void **state)
{
	struct my_script s = {.n_servers = 2};

	client_prepares(&s, 0, 7);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_row(server_says(&s), "a");
	client_begins(&s, 1);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_UNTYPED);
	put_prepared(server_says_on(&s, 1), 3);
	put_row(server_says_on(&s, 1), "b");
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_UNTYPED);
	put_row(server_says_on(&s, 1), "c");
	my_check_two(&s, MY_PREPARED " " MY_ROW("a") " " MY_ROW("b") " " MY_ROW("c"), "1:OK",
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:QUERY(BEGIN)",
		"0:PREPARE(SELECT ?) 0:EXECUTE(3) 0:EXECUTE(3)");
}

static void statement_and_settings_move_together(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "SET time_zone='UTC'");
	put_tracked(server_says(&s), 1, "time_zone", "UTC");
	client_prepares(&s, 0, 7);
	server_breaks(&s);
	struct buf *b = client_says(&s, 0);
	put_about(b, MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_about(b, MY_COM_STMT_EXECUTE, 1, MY_UNTYPED);
	put_ok(server_answers(&s), MY_STATUS_AUTOCOMMIT);
	put_prepared(server_answers(&s), 3);
	put_row(server_answers(&s), "a");
	put_row(server_answers(&s), "b");
	my_check(&s, "1:OK " MY_PREPARED " " MY_ROW("a") " " MY_ROW("b"), MY_NOTHING,
		"0:QUERY(SET time_zone='UTC') 0:PREPARE(SELECT ?) "
		"0:QUERY(SET @@SESSION.time_zone='UTC') 0:PREPARE(SELECT ?) 0:EXECUTE(3) "
		"0:EXECUTE(3)");
}

static void statement_that_is_gone_elsewhere_is_told_with_the_servers_error(void **state)
{
	struct my_script s = {0};

	client_prepares(&s, 0, 7);
	server_breaks(&s);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_error(server_says(&s), 1, 1146);
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_row(server_says(&s), "a");
	my_check(&s, MY_PREPARED " 1:ERR(1146) " MY_ROW("a"), MY_NOTHING,
		"0:PREPARE(SELECT ?) 0:PREPARE(SELECT ?) 0:QUERY(SELECT 'a')");
}

/* --- COM_RESET_CONNECTION, COM_SET_OPTION --- */

static void reset_of_a_session_without_a_connection_needs_none(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), SET_MODE);
	put_tracked(server_says(&s), 1, "sql_mode", "ANSI");
	client_prepares(&s, 0, 7);
	put_command(client_says(&s, 0), MY_COM_RESET_CONNECTION, NULL, 0);
	put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_ok(server_says(&s), MY_STATUS_AUTOCOMMIT);
	put_row(server_says(&s), "a");
	my_check(&s, "1:OK " MY_PREPARED " 1:OK 1:ERR(1243) " MY_ROW("a"), MY_NOTHING,
		"0:QUERY(" SET_MODE ") 0:PREPARE(SELECT ?) "
		"0:QUERY(SET @@SESSION.sql_mode=DEFAULT) 0:QUERY(SELECT 'a')");
}

static void reset_within_a_transaction_ends_it(void **state)
{
	struct my_script s = {0};

	client_begins(&s, 0);
	put_query(client_says(&s, 1), "SELECT 'b'");
	struct buf *b = client_says(&s, 0);
	put_command(b, MY_COM_RESET_CONNECTION, NULL, 0);
	server_is_reset(&s);
	put_row(server_says(&s), "b");
	my_check(&s, "1:OK 1:OK", MY_ROW("b"), "0:QUERY(BEGIN) " MY_RESET " 0:QUERY(SELECT 'b')");
}

static void option_is_brought_before_the_next_statement(void **state)
{
	struct my_script s = {0};

	put_command(client_says(&s, 0), MY_COM_SET_OPTION, "\1\0", 2);
	put_query(client_says(&s, 0), "SELECT 'a'");
	struct buf *b = server_says(&s);
	my_write_eof(b, 1, 0, MY_STATUS_AUTOCOMMIT);
	put_row(b, "a");
	put_command(client_says(&s, 0), MY_COM_SET_OPTION, "\0\0", 2);
	put_query(client_says(&s, 0), "SELECT 'b'");
	b = server_says(&s);
	my_write_eof(b, 1, 0, MY_STATUS_AUTOCOMMIT);
	put_row(b, "b");
	my_check(&s, "1:EOF " MY_ROW("a") " 1:EOF " MY_ROW("b"), MY_NOTHING,
		"0:OPTION(1) 0:QUERY(SELECT 'a') 0:OPTION(0) 0:QUERY(SELECT 'b')");
}

static void option_that_is_none_is_refused(void **state)
{
	struct my_script s = {0};

	put_command(client_says(&s, 0), MY_COM_SET_OPTION, "\2\0", 2);
	put_command(client_says(&s, 0), MY_COM_SET_OPTION, "\1\1", 2);
	put_command(client_says(&s, 0), MY_COM_SET_OPTION, "\1", 1);
	put_command(client_says(&s, 0), MY_COM_SET_OPTION, "\1\0\0", 3);
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_row(server_says(&s), "a");
	my_check(&s, "1:ERR(1047) 1:ERR(1047) 1:ERR(1047) 1:ERR(1047) " MY_ROW("a"), MY_NOTHING,
		"0:QUERY(SELECT 'a')");
}

/* --- KILL --- */

static void client_kills(struct my_script *s, unsigned client)
{
	put_query(client_says(s, client), "KILL QUERY 2");
	put_query(client_says(s, client), "kill 2;");
	put_command(client_says(s, client), MY_COM_PROCESS_KILL, "\2\0\0\0", 4);
}

static void kill_of_a_client_is_answered(void **state)
{
	struct my_script s = {.kill = KILL_DONE};

	client_kills(&s, 0);
	my_check(&s, "1:OK 1:OK 1:OK", MY_NOTHING, MY_NOTHING);
	s = (struct my_script){.kill = KILL_DENIED};
	client_kills(&s, 0);
	my_check(&s, "1:ERR(1095) 1:ERR(1095) 1:ERR(1095)", MY_NOTHING, MY_NOTHING);
}

static void kill_of_nobody_here_is_the_servers_to_answer(void **state)
{
	struct my_script s = {.kill = KILL_UNKNOWN};

	put_query(client_says(&s, 0), "KILL QUERY 2");
	put_error(server_says(&s), 1, 1094);
	put_no_warnings(server_says(&s));
	put_command(client_says(&s, 0), MY_COM_PROCESS_KILL, "\2\0\0\0", 4);
	put_error(server_says(&s), 1, 1094);
	put_no_warnings(server_says(&s));
	my_check(&s, "1:ERR(1094) 1:ERR(1094)", MY_NOTHING,
		"0:QUERY(KILL QUERY 2) 0:QUERY(SHOW WARNINGS) 0:KILL(2) 0:QUERY(SHOW WARNINGS)");
}

static void kill_within_a_transaction_asks_each_time(void **state)
{
	struct my_script s = {.kill = KILL_DONE};

	client_begins(&s, 0);
	client_kills(&s, 0);
	client_commits(&s, 0);
	my_check(&s, "1:OK 1:OK 1:OK 1:OK 1:OK", MY_NOTHING, "0:QUERY(BEGIN) 0:QUERY(COMMIT)");
}

/* Whose statement that is to be interrupted is the KILL itself. */
static void kill_of_ones_own_query_interrupts_it(void **state)
{
	struct my_script s = {.kill = KILL_DONE};

	put_query(client_says(&s, 0), "KILL QUERY 1");
	put_query(client_says(&s, 0), "SELECT CONNECTION_ID()");
	my_check(&s, "1:ERR(1317) 1:[1] 2:def 3:EOF 4:1 5:EOF", MY_NOTHING, MY_NOTHING);
}

static void kill_that_is_cut_short_is_refused(void **state)
{
	struct my_script s = {.kill = KILL_DONE};

	put_command(client_says(&s, 0), MY_COM_PROCESS_KILL, "\2\0\0", 3);
	put_command(client_says(&s, 0), MY_COM_PROCESS_KILL, "\2\0\0\0\0", 5);
	put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
	my_check(&s, "1:ERR(1047) 1:ERR(1047) 1:OK", MY_NOTHING, MY_NOTHING);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(setting_is_brought_to_another_connection),
	cmocka_unit_test(setting_goes_before_the_first_of_several_commands),
	cmocka_unit_test(setting_that_cannot_be_brought_costs_the_connection),
	cmocka_unit_test(change_is_told_to_clients_that_want_to_know),
	cmocka_unit_test(autocommit_is_switched_off_before_the_next_statement),
	cmocka_unit_test(last_insert_id_follows_its_client),
	cmocka_unit_test(statement_moves_to_another_connection_with_its_types),
	cmocka_unit_test(statement_and_settings_move_together),
	cmocka_unit_test(statement_that_is_gone_elsewhere_is_told_with_the_servers_error),
	cmocka_unit_test(reset_of_a_session_without_a_connection_needs_none),
	cmocka_unit_test(reset_within_a_transaction_ends_it),
	cmocka_unit_test(option_is_brought_before_the_next_statement),
	cmocka_unit_test(option_that_is_none_is_refused),
	cmocka_unit_test(kill_of_a_client_is_answered),
	cmocka_unit_test(kill_of_nobody_here_is_the_servers_to_answer),
	cmocka_unit_test(kill_within_a_transaction_asks_each_time),
	cmocka_unit_test(kill_of_ones_own_query_interrupts_it),
	cmocka_unit_test(kill_that_is_cut_short_is_refused),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
