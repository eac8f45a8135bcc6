/* Clients that send several commands at once, of which weir answers some and servers the others:
 * which of them is whose depends on whether the client still has its connection, and so on how the
 * bytes come; what the client hears does not. */
#include <string.h>

#include "../test.h"
#include "mysql_player.h"

#define NUMBER(text)  "1:[1] 2:def 3:EOF 4:" text " 5:EOF"
#define NO_WARNINGS   "1:[3] 2:def 3:def 4:def 5:EOF 6:EOF"
#define ONE_OF(level) "1:[3] 2:def 3:def 4:def 5:EOF 6:" level " 7:EOF"
#define ONE_WARNING   ONE_OF("<17>")
#define ONE_ERROR     ONE_OF("<14>")

static void put_ping(struct buf *b)
{
	put_command(b, MY_COM_PING, NULL, 0);
}

static void signs_of_life_between_statements(void **state)
{
	struct my_script s = {.servers_answer = true};
	struct buf *b = client_says(&s, 0);

	put_ping(b);
	put_query(b, "SELECT 'a'");
	put_ping(b);
	put_ping(b);
	put_query(b, "SELECT 'b'");
	put_query(b, "SELECT CONNECTION_ID()");
	put_ping(b);
	my_check(&s, "1:OK " MY_ROW("a") " 1:OK 1:OK " MY_ROW("b") " " NUMBER("1") " 1:OK",
		MY_NOTHING, NULL);
}

static void warnings_of_the_statement_before(void **state)
{
	struct my_script s = {.servers_answer = true};
	struct buf *b = client_says(&s, 0);

	put_query(b, "SHOW WARNINGS");
	put_query(b, "CUT");
	put_query(b, "SHOW WARNINGS");
	put_ping(b);
	put_query(b, "SHOW WARNINGS");
	put_query(b, "SHOW ERRORS");
	put_query(b, "SELECT 'a'");
	put_query(b, "SHOW WARNINGS");
	put_query(b, "bad");
	put_query(b, "SHOW ERRORS");
	put_ping(b);
	put_query(b, "SHOW WARNINGS");
	my_check(&s,
		NO_WARNINGS " 1:OK " ONE_WARNING " 1:OK " ONE_WARNING " " NO_WARNINGS " " MY_ROW(
			"a") " " NO_WARNINGS " 1:ERR(1064) " ONE_ERROR " 1:OK " ONE_ERROR,
		MY_NOTHING, NULL);
}

static void numbers_of_the_statement_before(void **state)
{
	struct my_script s = {.servers_answer = true};
	struct buf *b = client_says(&s, 0);

	put_query(b, "INSERT");
	put_query(b, "SELECT ROW_COUNT()");
	put_query(b, "SELECT ROW_COUNT()");
	put_query(b, "SELECT LAST_INSERT_ID()");
	put_query(b, "SELECT FOUND_ROWS()");
	put_query(b, "SELECT 'a'");
	put_ping(b);
	put_query(b, "SHOW WARNINGS");
	put_query(b, "SELECT FOUND_ROWS()");
	put_query(b, "SELECT LAST_INSERT_ID()");
	my_check(&s,
		"1:OK " NUMBER("1") " " NUMBER("-1") " " NUMBER("7") " " NUMBER("1") " " MY_ROW(
			"a") " 1:OK " NO_WARNINGS " " NUMBER("1") " " NUMBER("7"),
		MY_NOTHING, NULL);
}

static void number_of_rows_after_what_has_none(void **state)
{
	struct my_script s = {.servers_answer = true};
	struct buf *b = client_says(&s, 0);

	put_query(b, "INSERT");
	put_ping(b);
	put_query(b, "SELECT ROW_COUNT()");
	put_query(b, "INSERT");
	put_query(b, "SHOW WARNINGS");
	put_query(b, "SELECT ROW_COUNT()");
	my_check(&s, "1:OK 1:OK " NUMBER("0") " 1:OK " NO_WARNINGS " " NUMBER("-1"), MY_NOTHING,
		NULL);
}

static void transactions_and_what_ends_none(void **state)
{
	struct my_script s = {.servers_answer = true, .kill = KILL_DONE};
	struct buf *b = client_says(&s, 0);

	put_query(b, "ROLLBACK");
	put_query(b, "BEGIN");
	put_ping(b);
	put_query(b, "SELECT 'a'");
	put_query(b, "SHOW WARNINGS");
	put_query(b, "KILL QUERY 2");
	put_query(b, "COMMIT");
	put_query(b, "COMMIT");
	put_ping(b);
	put_query(b, "SELECT 'b'");
	put_query(b, "ROLLBACK");
	my_check(&s,
		"1:OK 1:OK 1:OK " MY_ROW("a") " " NO_WARNINGS
					      " 1:OK 1:OK 1:OK 1:OK " MY_ROW("b") " 1:OK",
		MY_NOTHING, NULL);
}

static void autocommit_switched_off_and_on(void **state)
{
	static const uint32_t capabilities[] = {0, MY_SESSION_TRACK};

	for (size_t i = 0; i < ARRAY_LEN(capabilities); i++) {
		struct my_script s = {.servers_answer = true, .capabilities = capabilities[i]};
		struct buf *b = client_says(&s, 0);
		put_query(b, "SELECT 'a'");
		put_query(b, "SET autocommit=0");
		put_ping(b);
		put_query(b, "SELECT 'b'");
		put_ping(b);
		put_query(b, "ROLLBACK");
		put_query(b, "SET autocommit=1");
		put_ping(b);
		put_query(b, "SELECT 'c'");
		const char *set = i ? "1:OK(CHANGED)" : "1:OK";
		struct buf expected = {0};
		buf_printf(&expected,
			MY_ROW("a") " %s 1:OK " MY_ROW("b") " 1:OK 1:OK %s 1:OK " MY_ROW("c"), set,
			set);
		buf_u8(&expected, 0);
		my_check(&s, (char *)expected.data, MY_NOTHING, NULL);
		buf_clear(&expected);
	}
}

static void prepared_statements_and_options(void **state)
{
	struct my_script s = {.servers_answer = true};
	struct buf *b = client_says(&s, 0);

	put_prepare(b, "SELECT ?");
	put_about(b, MY_COM_STMT_SEND_LONG_DATA, 1, "\0\0hi", 4);
	put_about(b, MY_COM_STMT_RESET, 1, NULL, 0);
	put_about(b, MY_COM_STMT_EXECUTE, 1, MY_TYPED);
	put_ping(b);
	put_command(b, MY_COM_SET_OPTION, "\1\0", 2);
	put_about(b, MY_COM_STMT_EXECUTE, 1, MY_UNTYPED);
	put_about(b, MY_COM_STMT_CLOSE, 1, NULL, 0);
	put_about(b, MY_COM_STMT_EXECUTE, 1, MY_UNTYPED);
	put_prepare(b, "SELECT ?");
	put_command(b, MY_COM_SET_OPTION, "\0\0", 2);
	put_about(b, MY_COM_STMT_EXECUTE, 2, MY_TYPED);
	my_check(&s,
		MY_PREPARED " 1:OK " MY_ROW("x") " 1:OK 1:EOF " MY_ROW(
			"x") " 1:ERR(1243) " MY_PREPARED " 1:EOF " MY_ROW("x"),
		MY_NOTHING, NULL);
}

static void resets_and_what_is_not_passed_on(void **state)
{
	struct my_script s = {.servers_answer = true};
	struct buf *b = client_says(&s, 0);

	put_query(b, "SELECT 'a'");
	put_command(b, MY_COM_RESET_CONNECTION, NULL, 0);
	put_ping(b);
	put_command(b, MY_COM_REFRESH, "\1", 1);
	put_query(b, "BEGIN");
	put_command(b, 99, "unknown", 7);
	put_command(b, MY_COM_RESET_CONNECTION, NULL, 0);
	put_query(b, "COMMIT");
	put_command(b, MY_COM_SHUTDOWN, NULL, 0);
	put_query(b, "SELECT 'b'");
	put_command(b, MY_COM_QUIT, NULL, 0);
	my_check(&s,
		MY_ROW("a") " 1:OK 1:OK 1:ERR(1227) 1:OK 1:ERR(1047) 1:OK 1:OK 1:ERR(1227) " MY_ROW(
			"b"),
		MY_NOTHING, NULL);
}

/* The only connection is another client's, until that one gives it back. */
static void what_needs_no_server_does_not_overtake_what_does(void **state)
{
	struct my_script s = {.servers_answer = true};

	put_query(client_says(&s, 1), "BEGIN");
	struct buf *b = client_says(&s, 0);
	put_ping(b);
	put_query(b, "SELECT 'a'");
	put_ping(b);
	put_query(b, "CUT");
	put_query(b, "SHOW WARNINGS");
	put_query(b, "COMMIT");
	b = client_says(&s, 1);
	put_query(b, "SHOW WARNINGS");
	put_query(b, "COMMIT");
	put_ping(b);
	my_check(&s, "1:OK " MY_ROW("a") " 1:OK 1:OK " ONE_WARNING " 1:OK",
		"1:OK " NO_WARNINGS " 1:OK 1:OK", NULL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(signs_of_life_between_statements),
	cmocka_unit_test(warnings_of_the_statement_before),
	cmocka_unit_test(numbers_of_the_statement_before),
	cmocka_unit_test(number_of_rows_after_what_has_none),
	cmocka_unit_test(transactions_and_what_ends_none),
	cmocka_unit_test(autocommit_switched_off_and_on),
	cmocka_unit_test(prepared_statements_and_options),
	cmocka_unit_test(resets_and_what_is_not_passed_on),
	cmocka_unit_test(what_needs_no_server_does_not_overtake_what_does),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
