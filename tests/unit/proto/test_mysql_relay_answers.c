/* The forms that an answer may have, through both halves of MySQL's protocol: several result sets,
 * parameters that come back, errors in the middle, files, warnings, packets of 16 MiB and more. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "mysql_player.h"

#define MORE  MY_STATUS_MORE_RESULTS
#define SET_A "1:[1] 2:def 3:EOF 4:a 5:EOF"

static void put_result_set(struct buf *b, uint8_t *sequence, const char *text, uint16_t status)
{
	const struct my_result result = {.status = status, .rows = {text}};

	put_result(b, sequence, &result);
}

/* Another client is served only when the answer to the one before is over. */
static void other_client_is_served(struct my_script *s)
{
	put_query(client_says(s, 1), "SELECT 'z'");
	put_row(server_says(s), "z");
}

/* --- several results --- */

static void each_result_set_is_passed_on(void **state)
{
	struct my_script s = {0};
	uint8_t sequence = 1;

	put_query(client_says(&s, 0), "SELECT 'a'; DO 1; SELECT 'b'");
	put_query(client_says(&s, 1), "SELECT 'z'");
	struct buf *b = server_says(&s);
	put_result_set(b, &sequence, "a", MORE);
	my_write_ok(b, sequence++, MY_STATUS_AUTOCOMMIT | MORE);
	put_result_set(b, &sequence, "b", 0);
	put_row(server_says(&s), "z");
	my_check(&s, SET_A " 6:OK 7:[1] 8:def 9:EOF 10:b 11:EOF", MY_ROW("z"),
		"0:QUERY(SELECT 'a'; DO 1; SELECT 'b') 0:QUERY(SELECT 'z')");
}

static void error_in_a_later_statement_ends_the_answer(void **state)
{
	struct my_script s = {0};
	uint8_t sequence = 1;

	put_query(client_says(&s, 0), "SELECT 'a'; bad");
	struct buf *b = server_says(&s);
	put_result_set(b, &sequence, "a", MORE);
	put_error(b, sequence, 1064);
	put_no_warnings(server_says(&s));
	other_client_is_served(&s);
	my_check(&s, SET_A " 6:ERR(1064)", MY_ROW("z"),
		"0:QUERY(SELECT 'a'; bad) 0:QUERY(SHOW WARNINGS) 0:QUERY(SELECT 'z')");
}

static void error_in_the_middle_of_rows_ends_the_answer(void **state)
{
	struct my_script s = {0};
	const struct my_result result = {.rows = {"a", "b"}, .fails = true};
	uint8_t sequence = 1;

	put_query(client_says(&s, 0), "SELECT f(a) FROM t");
	put_result(server_says(&s), &sequence, &result);
	put_no_warnings(server_says(&s));
	other_client_is_served(&s);
	my_check(&s, "1:[1] 2:def 3:EOF 4:a 5:b 6:ERR(1317)", MY_ROW("z"),
		"0:QUERY(SELECT f(a) FROM t) 0:QUERY(SHOW WARNINGS) 0:QUERY(SELECT 'z')");
}

/* MariaDB says with the rows' EOF that the procedure's own OK follows, MySQL only with the
 * columns'. */
static void parameters_of_a_procedure_come_back(void **state)
{
	static const struct my_result results[] = {
		{.columns_status = MY_STATUS_OUT_PARAMETERS | MORE,
			.status = MY_STATUS_OUT_PARAMETERS | MORE,
			.rows = {"x"}},
		{.columns_status = MY_STATUS_OUT_PARAMETERS, .rows = {"x"}},
	};

	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		struct my_script s = {.version = i ? "9.7.4" : NULL};
		uint8_t sequence = 1;
		client_prepares(&s, 0, 7);
		put_about(client_says(&s, 0), MY_COM_STMT_EXECUTE, 1, MY_TYPED);
		struct buf *b = server_says(&s);
		put_result_set(b, &sequence, "a", MORE);
		put_result(b, &sequence, &results[i]);
		my_write_ok(b, sequence, MY_STATUS_AUTOCOMMIT);
		other_client_is_served(&s);
		my_check(&s, MY_PREPARED " " SET_A " 6:[1] 7:def 8:EOF 9:x 10:EOF 11:OK",
			MY_ROW("z"), "0:PREPARE(SELECT ?) 0:EXECUTE(7) 0:QUERY(SELECT 'z')");
	}
}

static void pipelined_answers_of_all_forms_stay_apart(void **state)
{
	struct my_script s = {0};
	struct buf *b = client_says(&s, 0);
	uint8_t sequence = 1;

	put_query(b, "SELECT 'a'; SELECT 'b'");
	put_command(b, MY_COM_STATISTICS, NULL, 0);
	put_query(b, "bad");
	put_query(b, "SELECT 'c'");
	b = server_answers(&s);
	put_result_set(b, &sequence, "a", MORE);
	put_result_set(b, &sequence, "b", 0);
	put_packet(server_answers(&s), 1, "\7Uptime:", 8);
	put_error(server_answers(&s), 1, 1064);
	put_no_warnings(server_answers(&s));
	put_row(server_answers(&s), "c");
	my_check(&s, SET_A " 6:[1] 7:def 8:EOF 9:b 10:EOF 1:Uptime: 1:ERR(1064) " MY_ROW("c"),
		MY_NOTHING, NULL);
}

/* --- warnings --- */

/* Level, code, message: the row that SHOW WARNINGS has. */
#define WARNING_ROW                                                                                \
	"\7Warning\4"                                                                              \
	"1265\2no"

static void put_warnings(struct buf *b)
{
	uint8_t sequence = 1;

	put_packet(b, sequence++, "\3", 1);
	for (int i = 0; i < 3; i++)
		put_packet(b, sequence++, "\3def\0\0\0\1a\0\x0c\x2d\0\0\1\0\0\xfd\0\0\0\0\0", 22);
	my_write_eof(b, sequence++, 0, MY_STATUS_AUTOCOMMIT);
	put_packet(b, sequence++, WARNING_ROW, sizeof(WARNING_ROW) - 1);
	my_write_eof(b, sequence, 0, MY_STATUS_AUTOCOMMIT);
}

static void put_ok_with_warning(struct buf *b)
{
	put_packet(b, 1, "\0\1\0\2\0\1\0", 7);
}

#define WARNINGS "1:[3] 2:def 3:def 4:def 5:EOF 6:<16> 7:EOF"

static void warnings_are_kept_for_their_client(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "INSERT INTO t VALUES ('too long')");
	put_ok_with_warning(server_says(&s));
	put_warnings(server_says(&s));
	other_client_is_served(&s);
	put_query(client_says(&s, 0), "SHOW WARNINGS");
	put_query(client_says(&s, 0), "SHOW ERRORS");
	put_query(client_says(&s, 1), "SHOW WARNINGS");
	my_check(&s, "1:OK " WARNINGS " 1:[3] 2:def 3:def 4:def 5:EOF 6:EOF",
		MY_ROW("z") " 1:[3] 2:def 3:def 4:def 5:EOF 6:EOF",
		"0:QUERY(INSERT INTO t VALUES ('too long')) 0:QUERY(SHOW WARNINGS) "
		"0:QUERY(SELECT 'z')");
}

static void warnings_within_a_transaction_are_the_servers_to_tell(void **state)
{
	struct my_script s = {0};

	put_query(client_says(&s, 0), "BEGIN");
	put_ok(server_says(&s), MY_STATUS_IN_TRANS | MY_STATUS_AUTOCOMMIT);
	put_query(client_says(&s, 0), "INSERT INTO t VALUES ('too long')");
	put_packet(server_says(&s), 1, "\0\1\0\3\0\1\0", 7);
	put_query(client_says(&s, 0), "SHOW WARNINGS");
	struct buf *b = server_says(&s);
	put_packet(b, 1, "\3", 1);
	for (uint8_t i = 2; i < 5; i++)
		put_packet(b, i, "\3def\0\0\0\1a\0\x0c\x2d\0\0\1\0\0\xfd\0\0\0\0\0", 22);
	my_write_eof(b, 5, 0, MY_STATUS_IN_TRANS | MY_STATUS_AUTOCOMMIT);
	put_packet(b, 6, WARNING_ROW, sizeof(WARNING_ROW) - 1);
	my_write_eof(b, 7, 0, MY_STATUS_IN_TRANS | MY_STATUS_AUTOCOMMIT);
	my_check(&s, "1:OK 1:OK " WARNINGS, MY_NOTHING,
		"0:QUERY(BEGIN) 0:QUERY(INSERT INTO t VALUES ('too long')) "
		"0:QUERY(SHOW WARNINGS)");
}

/* --- LOCAL INFILE --- */

static void client_loads(struct my_script *s)
{
	put_query(client_says(s, 0), "LOAD DATA LOCAL INFILE 'f' INTO TABLE t");
	put_packet(server_says(s), 1,
		"\xfb"
		"f",
		2);
}

static void file_is_passed_on(void **state)
{
	struct my_script s = {.local_infile = true, .capabilities = MY_LOCAL_FILES};

	client_loads(&s);
	put_packet(client_says(&s, 0), 2, "one", 3);
	put_packet(client_says(&s, 0), 3, "two", 3);
	put_packet(client_says(&s, 0), 4, NULL, 0);
	my_write_ok(server_says(&s), 5, MY_STATUS_AUTOCOMMIT);
	other_client_is_served(&s);
	my_check(&s, "1:FILE(f) 5:OK", MY_ROW("z"),
		"0:QUERY(LOAD DATA LOCAL INFILE 'f' INTO TABLE t) 2:<3> 3:<3> 4:<0> "
		"0:QUERY(SELECT 'z')");
}

/* What follows the file is the next command. */
static void command_may_follow_a_file_at_once(void **state)
{
	struct my_script s = {.local_infile = true, .capabilities = MY_LOCAL_FILES};

	client_loads(&s);
	put_packet(client_says(&s, 0), 2, NULL, 0);
	my_write_ok(server_says(&s), 3, MY_STATUS_AUTOCOMMIT);
	put_query(client_says(&s, 0), "SELECT 'a'");
	put_row(server_says(&s), "a");
	my_check(&s, "1:FILE(f) 3:OK " MY_ROW("a"), MY_NOTHING,
		"0:QUERY(LOAD DATA LOCAL INFILE 'f' INTO TABLE t) 2:<0> 0:QUERY(SELECT 'a')");
}

static void file_that_the_server_refuses_is_read_to_its_end(void **state)
{
	struct my_script s = {.local_infile = true, .capabilities = MY_LOCAL_FILES};

	client_loads(&s);
	put_packet(client_says(&s, 0), 2, "one", 3);
	put_packet(client_says(&s, 0), 3, NULL, 0);
	put_error(server_says(&s), 4, 1148);
	put_no_warnings(server_says(&s));
	other_client_is_served(&s);
	my_check(&s, "1:FILE(f) 4:ERR(1148)", MY_ROW("z"),
		"0:QUERY(LOAD DATA LOCAL INFILE 'f' INTO TABLE t) 2:<3> 3:<0> "
		"0:QUERY(SHOW WARNINGS) 0:QUERY(SELECT 'z')");
}

/* A server that asks for a file which weir has not offered is not trusted any more, and the client
 * does not learn that it was asked. */
static void file_that_was_not_offered_is_not_asked_for(void **state)
{
	static const struct {
		bool allowed;
		uint32_t capabilities;
	} cases[] = {{false, MY_LOCAL_FILES}, {true, 0}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct my_script s = {
			.local_infile = cases[i].allowed, .capabilities = cases[i].capabilities};
		client_loads(&s);
		put_command(client_says(&s, 0), MY_COM_PING, NULL, 0);
		my_check(&s, "1:ERR(1927) 1:OK", MY_NOTHING,
			"0:QUERY(LOAD DATA LOCAL INFILE 'f' INTO TABLE t)");
	}
}

static void client_that_leaves_within_its_file_leaves_no_hole(void **state)
{
	struct my_script s = {.local_infile = true, .capabilities = MY_LOCAL_FILES};

	client_loads(&s);
	client_leaves(&s, 0);
	put_query(client_says(&s, 1), "SELECT 'z'");
	my_write_ok(server_says(&s), 3, MY_STATUS_AUTOCOMMIT);
	server_is_reset(&s);
	put_row(server_says(&s), "z");
	my_check(&s, "1:FILE(f)", MY_ROW("z"),
		"0:QUERY(LOAD DATA LOCAL INFILE 'f' INTO TABLE t) 2:<0> " MY_RESET
		" 0:QUERY(SELECT 'z')");
}

/* --- 16 MiB and more --- */

/* So many bytes beyond a packet that is full. */
static char *much(size_t more)
{
	char *data = malloc(MY_PACKET_FULL + more);

	assert_non_null(data);
	memset(data, 'x', MY_PACKET_FULL + more);
	return data;
}

static void query_of_several_packets_is_one_command(void **state)
{
	static const size_t sizes[] = {0, 5};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct my_script s = {0};
		char *sql = much(0);
		struct buf *b = client_says(&s, 0);
		put_command(b, MY_COM_QUERY, sql, MY_PACKET_FULL - 1);
		/* A last one without anything, if the first was just full. */
		put_packet(b, 1, sql, sizes[i]);
		put_query(b, "SELECT 'b'");
		put_row(server_answers(&s), "a");
		put_row(server_answers(&s), "b");
		free(sql);
		my_check(&s, MY_ROW("a") " " MY_ROW("b"), MY_NOTHING,
			i ? "0:QUERY<16777214> 1:<5> 0:QUERY(SELECT 'b')"
			  : "0:QUERY<16777214> 1:<0> 0:QUERY(SELECT 'b')");
	}
}

static void parameter_of_several_packets_is_passed_on(void **state)
{
	struct my_script s = {0};
	char *data = much(0);

	client_prepares(&s, 0, 7);
	struct buf *b = client_says(&s, 0);
	memcpy(data, "\0\1\0\0\0\0\1\xfe\0\xfe", 10);
	put_about(b, MY_COM_STMT_EXECUTE, 1, data, MY_PACKET_FULL - 5);
	put_packet(b, 1, "rest", 4);
	put_row(server_answers(&s), "a");
	free(data);
	my_check(&s, MY_PREPARED " " MY_ROW("a"), MY_NOTHING,
		"0:PREPARE(SELECT ?) 0:EXECUTE(7) 1:<4>");
}

/* Rows' first bytes are looked at, and the rest of a row begins like an end, or like an error. */
static void row_of_several_packets_is_one_row(void **state)
{
	static const char *const rests[] = {"\xfe\0\0\2\0", "\xff\0\0\2\0"};

	for (size_t i = 0; i < ARRAY_LEN(rests); i++) {
		struct my_script s = {0};
		char *data = much(0);
		struct buf row = {0};
		put_row(&row, "a");
		put_query(client_says(&s, 0), "SELECT REPEAT('x', 16777220)");
		struct buf *b = server_says(&s);
		buf_put(b, row.data, row.len - 9 - 6);
		memcpy(data, "\xfe\4\0\0\1\0\0\0\0", 9);
		put_packet(b, 4, data, MY_PACKET_FULL);
		put_packet(b, 5, rests[i], 5);
		put_packet(b, 6, "\1b", 2);
		my_write_eof(b, 7, 0, MY_STATUS_AUTOCOMMIT);
		other_client_is_served(&s);
		buf_clear(&row);
		free(data);
		my_check(&s, "1:[1] 2:def 3:EOF 4:<16777215> 5:<5> 6:b 7:EOF", MY_ROW("z"), NULL);
	}
}

static void file_of_full_packets_ends_with_an_empty_one(void **state)
{
	struct my_script s = {.local_infile = true, .capabilities = MY_LOCAL_FILES};
	char *data = much(0);

	client_loads(&s);
	struct buf *b = client_says(&s, 0);
	put_packet(b, 2, data, MY_PACKET_FULL);
	put_packet(b, 3, "rest", 4);
	put_packet(b, 4, NULL, 0);
	my_write_ok(server_says(&s), 5, MY_STATUS_AUTOCOMMIT);
	free(data);
	my_check(&s, "1:FILE(f) 5:OK", MY_NOTHING,
		"0:QUERY(LOAD DATA LOCAL INFILE 'f' INTO TABLE t) 2:<16777215> 3:<4> 4:<0>");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(each_result_set_is_passed_on),
	cmocka_unit_test(error_in_a_later_statement_ends_the_answer),
	cmocka_unit_test(error_in_the_middle_of_rows_ends_the_answer),
	cmocka_unit_test(parameters_of_a_procedure_come_back),
	cmocka_unit_test(pipelined_answers_of_all_forms_stay_apart),
	cmocka_unit_test(warnings_are_kept_for_their_client),
	cmocka_unit_test(warnings_within_a_transaction_are_the_servers_to_tell),
	cmocka_unit_test(file_is_passed_on),
	cmocka_unit_test(command_may_follow_a_file_at_once),
	cmocka_unit_test(file_that_the_server_refuses_is_read_to_its_end),
	cmocka_unit_test(file_that_was_not_offered_is_not_asked_for),
	cmocka_unit_test(client_that_leaves_within_its_file_leaves_no_hole),
	cmocka_unit_test(query_of_several_packets_is_one_command),
	cmocka_unit_test(parameter_of_several_packets_is_passed_on),
	cmocka_unit_test(row_of_several_packets_is_one_row),
	cmocka_unit_test(file_of_full_packets_ends_with_an_empty_one),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
