/* Whole conversations through both halves, cut at every byte: what arrives does not depend on how
 * it came, and each client's names and settings are its own. */
#include <stdio.h>
#include <string.h>

#include "../test.h"
#include "conversation.h"
#include "pgsql_check.h"

static void say_run(struct buf *b, const char *statement)
{
	say_bind(b, statement, NULL);
	say_describe(b, 'P', "");
	say_execute(b);
}

/* --- simple queries --- */

static void simple_queries_are_passed_on(void **state)
{
	struct script s = {0};

	say_query(say(&s, 0), "SELECT 1");
	say_query(say(&s, 0), "SELECT 2; SELECT 3");
	say_query(say(&s, 0), "bad");
	say_query(say(&s, 0), "");
	say_empty(say(&s, 0), 'S');
	pgsql_check(&s, EXPECT("T D(SELECT 1) C(SELECT 1) Z(I) "
			       "T D(SELECT 2) C(SELECT 1) T D(SELECT 3) C(SELECT 1) Z(I) "
			       "E(42601) Z(I) Z(I) Z(I)"));
}

static void transaction_keeps_its_connection(void **state)
{
	struct script s = {0};

	say_query(say(&s, 0), "BEGIN");
	say_query(say(&s, 1), "SELECT other");
	say_query(say(&s, 0), "SELECT mine");
	say_query(say(&s, 0), "bad");
	say_query(say(&s, 0), "SELECT aborted");
	say_query(say(&s, 0), "ROLLBACK");
	pgsql_check(&s, EXPECT("C(BEGIN) Z(T) T D(SELECT mine) C(SELECT 1) Z(T) "
			       "E(42601) Z(E) E(25P02) Z(E) C(ROLLBACK) Z(I)",
				"T D(SELECT other) C(SELECT 1) Z(I)"));
}

static void pipelined_queries_are_answered_in_order(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_query(b, "SELECT 1");
	say_query(b, "bad");
	say_query(b, "BEGIN");
	say_query(b, "SELECT 2");
	say_query(b, "COMMIT");
	pgsql_check(&s, EXPECT("T D(SELECT 1) C(SELECT 1) Z(I) E(42601) Z(I) C(BEGIN) Z(T) "
			       "T D(SELECT 2) C(SELECT 1) Z(T) C(COMMIT) Z(I)"));
}

/* --- extended messages --- */

static void named_statements_are_each_clients_own(void **state)
{
	struct script s = {0};

	for (unsigned client = 0; client < 2; client++) {
		struct buf *b = say(&s, client);
		say_parse(b, "a", client ? "SELECT theirs" : "SELECT mine");
		say_describe(b, 'S', "a");
		say_empty(b, 'S');
	}
	for (unsigned i = 0; i < 4; i++) {
		struct buf *b = say(&s, i % 2);
		say_run(b, "a");
		say_empty(b, 'S');
	}
	struct buf *b = say(&s, 0);
	say_close(b, 'S', "a");
	say_empty(b, 'S');
	b = say(&s, 0);
	say_run(b, "a");
	say_empty(b, 'S');
	b = say(&s, 1);
	say_run(b, "a");
	say_empty(b, 'S');
	pgsql_check(&s, EXPECT("1 t T Z(I) 2 T D(SELECT mine) C(SELECT 1) Z(I) "
			       "2 T D(SELECT mine) C(SELECT 1) Z(I) 3 Z(I) E(26000) Z(I)",
				"1 t T Z(I) 2 T D(SELECT theirs) C(SELECT 1) Z(I) "
				"2 T D(SELECT theirs) C(SELECT 1) Z(I) "
				"2 T D(SELECT theirs) C(SELECT 1) Z(I)"));
}

static void statement_that_is_taken_is_refused_by_the_server(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "a", "SELECT 1");
	say_empty(b, 'S');
	b = say(&s, 0);
	say_parse(b, "a", "SELECT 2");
	say_empty(b, 'S');
	b = say(&s, 0);
	say_run(b, "a");
	say_empty(b, 'S');
	pgsql_check(&s, EXPECT("1 Z(I) E(42P05) Z(I) 2 T D(SELECT 1) C(SELECT 1) Z(I)"));
}

static void least_recently_used_statements_make_room(void **state)
{
	struct script s = {.prepared_statements = 1};
	struct buf *b = say(&s, 0);

	say_parse(b, "a", "SELECT 1");
	say_parse(b, "b", "SELECT 2");
	say_empty(b, 'S');
	for (unsigned i = 0; i < 2; i++) {
		b = say(&s, 0);
		say_run(b, "a");
		say_run(b, "b");
		say_empty(b, 'S');
	}
	pgsql_check(
		&s, EXPECT("1 1 Z(I) 2 T D(SELECT 1) C(SELECT 1) 2 T D(SELECT 2) C(SELECT 1) Z(I) "
			   "2 T D(SELECT 1) C(SELECT 1) 2 T D(SELECT 2) C(SELECT 1) Z(I)"));
}

static void error_in_a_pipeline_skips_to_the_sync(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "good", "SELECT 1");
	say_run(b, "good");
	say_parse(b, "worse", "bad");
	say_run(b, "worse");
	say_parse(b, "never", "SELECT never");
	say_close(b, 'S', "good");
	say_parse(b, "good", "SELECT other");
	say_empty(b, 'S');
	b = say(&s, 0);
	say_run(b, "good");
	say_empty(b, 'S');
	say_run(b, "never");
	say_empty(b, 'S');
	say_run(b, "worse");
	say_empty(b, 'S');
	say_query(b, "SELECT 2");
	pgsql_check(&s, EXPECT("1 2 T D(SELECT 1) C(SELECT 1) E(42601) Z(I) "
			       "2 T D(SELECT 1) C(SELECT 1) Z(I) E(26000) Z(I) E(26000) Z(I) "
			       "T D(SELECT 2) C(SELECT 1) Z(I)"));
}

static void error_before_the_sync_is_told_at_once(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "", "oops");
	say_run(b, "");
	say_empty(b, 'H');
	b = say(&s, 0);
	say_run(b, "");
	say_query(b, "SELECT skipped");
	say_empty(b, 'S');
	say_query(say(&s, 0), "SELECT 1");
	pgsql_check(&s, EXPECT("1 2 T E(22012) Z(I) T D(SELECT 1) C(SELECT 1) Z(I)"));
}

static void error_amid_a_query_that_is_skipped_does_no_harm(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	/* The Query comes while the server skips, which weir may learn when half of it is sent. */
	say_parse(b, "", "bad");
	say_query(b, "LISTEN x");
	say_empty(b, 'S');
	say_query(b, "SELECT 1");
	for (size_t i = 1; i < 250; i++) {
		struct cutting how = {.client_cut = i, .eager = true};
		struct outcome o;
		struct buf text = {0};
		converse(&s, &how, &o);
		outcome_print(&o, 0, &text);
		assert_string_equal(
			(char *)text.data, "E(42601) Z(I) T D(SELECT 1) C(SELECT 1) Z(I)");
		buf_clear(&text);
		outcome_clear(&o);
	}
	script_clear(&s);
}

static void flush_brings_answers_without_a_sync(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "a", "SELECT 1");
	say_describe(b, 'S', "a");
	say_empty(b, 'H');
	b = say(&s, 0);
	say_run(b, "a");
	say_empty(b, 'H');
	say_empty(say(&s, 0), 'S');
	pgsql_check(&s, EXPECT("1 t T 2 T D(SELECT 1) C(SELECT 1) Z(I)"));
}

static void unnamed_statement_follows_its_client(void **state)
{
	struct script s = {0};
	struct buf *b;

	for (unsigned client = 0; client < 2; client++) {
		b = say(&s, client);
		say_parse(b, "", client ? "SELECT theirs" : "SELECT mine");
		say_empty(b, 'S');
	}
	/* In the same delivery another Parse takes the place of the one that is sent again. */
	b = say(&s, 0);
	say_run(b, "");
	say_parse(b, "", "SELECT next");
	say_run(b, "");
	say_empty(b, 'S');
	say_query(b, "SELECT 1");
	b = say(&s, 1);
	say_run(b, "");
	say_empty(b, 'S');
	say_query(b, "SELECT 2");
	say_run(b, "");
	say_empty(b, 'S');
	pgsql_check(
		&s, EXPECT("1 Z(I) 2 T D(SELECT mine) C(SELECT 1) 1 2 T D(SELECT next) C(SELECT 1) "
			   "Z(I) T D(SELECT 1) C(SELECT 1) Z(I)",
			    "1 Z(I) 2 T D(SELECT theirs) C(SELECT 1) Z(I) "
			    "T D(SELECT 2) C(SELECT 1) Z(I) E(26000) Z(I)"));
}

static void answers_that_weir_gives_wait_their_turn(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "a", "SELECT 1");
	say_empty(b, 'S');
	b = say(&s, 0);
	say_run(b, "a");
	say_parse(b, "b", "SELECT 1");
	say_close(b, 'S', "a");
	say_close(b, 'S', "nobody");
	say_run(b, "b");
	say_empty(b, 'S');
	pgsql_check(&s, EXPECT("1 Z(I) 2 T D(SELECT 1) C(SELECT 1) 1 3 3 "
			       "2 T D(SELECT 1) C(SELECT 1) Z(I)"));
}

/* --- SQL that names statements --- */

static void sql_reaches_the_clients_statements(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "a", "SELECT mine");
	say_empty(b, 'S');
	say_query(say(&s, 0), "EXECUTE a");
	say_query(say(&s, 1), "EXECUTE a");
	say_query(say(&s, 0), "DEALLOCATE a");
	say_query(say(&s, 0), "DEALLOCATE a");
	b = say(&s, 0);
	say_run(b, "a");
	say_empty(b, 'S');
	pgsql_check(&s, EXPECT("1 Z(I) T D(SELECT mine) C(SELECT 1) Z(I) C(DEALLOCATE) Z(I) "
			       "E(26000) Z(I) E(26000) Z(I)",
				"E(26000) Z(I)"));
}

static void deallocate_by_a_prepared_statement(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "a", "SELECT mine");
	say_parse(b, "", "DEALLOCATE a");
	say_run(b, "");
	say_run(b, "a");
	say_empty(b, 'S');
	b = say(&s, 0);
	say_parse(b, "a", "SELECT again");
	say_run(b, "a");
	say_empty(b, 'S');
	pgsql_check(&s, EXPECT("1 1 2 T C(DEALLOCATE) E(26000) Z(I) "
			       "1 2 T D(SELECT again) C(SELECT 1) Z(I)"));
}

static void deallocate_all_is_the_clients_own(void **state)
{
	struct script s = {0};

	for (unsigned client = 0; client < 2; client++) {
		struct buf *b = say(&s, client);
		say_parse(b, "a", "SELECT 1");
		say_empty(b, 'S');
	}
	say_query(say(&s, 0), "DEALLOCATE ALL");
	for (unsigned client = 0; client < 2; client++) {
		struct buf *b = say(&s, client);
		say_run(b, "a");
		say_empty(b, 'S');
	}
	pgsql_check(&s, EXPECT("1 Z(I) C(DEALLOCATE ALL) Z(I) E(26000) Z(I)",
				"1 Z(I) 2 T D(SELECT 1) C(SELECT 1) Z(I)"));
}

/* --- settings --- */

static void settings_follow_their_client(void **state)
{
	struct script s = {0};

	say_query(say(&s, 0), "SET work_mem TO 1MB");
	say_query(say(&s, 1), "SHOW work_mem");
	say_query(say(&s, 1), "SET work_mem TO 2MB");
	say_query(say(&s, 0), "SHOW work_mem");
	say_query(say(&s, 1), "SHOW work_mem");
	say_query(say(&s, 0), "SHOW application_name");
	say_query(say(&s, 1), "SET application_name TO 'new'");
	say_query(say(&s, 0), "SHOW application_name");
	say_query(say(&s, 1), "SHOW application_name");
	pgsql_check(
		&s, EXPECT("C(SET) Z(I) T D(1MB) C(SELECT 1) Z(I) T D(program 0) C(SELECT 1) Z(I) "
			   "T D(program 0) C(SELECT 1) Z(I)",
			    "T D((unset)) C(SELECT 1) Z(I) C(SET) Z(I) T D(2MB) C(SELECT 1) Z(I) "
			    "C(SET) S(new) Z(I) T D(new) C(SELECT 1) Z(I)"));
}

static void setting_by_a_parameter_follows_too(void **state)
{
	static const char sql[] = "SELECT set_config('work_mem', $1, false)";
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "set", sql);
	say_bind(b, "set", "3MB");
	say_execute(b);
	say_empty(b, 'S');
	say_query(say(&s, 1), "SHOW work_mem");
	say_query(say(&s, 0), "SHOW work_mem");
	pgsql_check(&s, EXPECT("1 2 D(SELECT set_config('work_mem', $1, false)) C(SELECT 1) Z(I) "
			       "T D(3MB) C(SELECT 1) Z(I)",
				"T D((unset)) C(SELECT 1) Z(I)"));
}

static void setting_that_is_rolled_back_does_not_follow(void **state)
{
	struct script s = {0};

	say_query(say(&s, 0), "SET work_mem TO 1MB");
	say_query(say(&s, 0), "BEGIN");
	say_query(say(&s, 0), "bad");
	say_query(say(&s, 0), "ROLLBACK");
	say_query(say(&s, 1), "SHOW work_mem");
	say_query(say(&s, 0), "SHOW work_mem");
	pgsql_check(&s, EXPECT("C(SET) Z(I) C(BEGIN) Z(T) E(42601) Z(E) C(ROLLBACK) Z(I) "
			       "T D(1MB) C(SELECT 1) Z(I)",
				"T D((unset)) C(SELECT 1) Z(I)"));
}

static void setting_in_a_pipeline_follows(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_query(b, "SELECT 1");
	say_query(b, "SET work_mem TO 1MB");
	say_query(b, "SELECT 2");
	say_query(say(&s, 1), "SHOW work_mem");
	say_query(say(&s, 0), "SHOW work_mem");
	pgsql_check(
		&s, EXPECT("T D(SELECT 1) C(SELECT 1) Z(I) C(SET) Z(I) T D(SELECT 2) C(SELECT 1) "
			   "Z(I) T D(1MB) C(SELECT 1) Z(I)",
			    "T D((unset)) C(SELECT 1) Z(I)"));
}

/* --- what comes unasked --- */

static void notices_and_notifications_are_passed_on(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_query(b, "NOTICE");
	say_query(b, "NOTIFY");
	say_parse(b, "a", "NOTIFY");
	say_run(b, "a");
	say_empty(b, 'S');
	pgsql_check(
		&s, EXPECT("N(00000) T D(NOTICE) C(SELECT 1) Z(I) A T D(NOTIFY) C(SELECT 1) Z(I) "
			   "1 2 T A D(NOTIFY) C(SELECT 1) Z(I)"));
}

static void notification_amid_weirs_own_messages_is_passed_on(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_parse(b, "a", "SELECT 1");
	say_empty(b, 'S');
	/* The name is taken back behind it: there the notification comes. */
	say_query(say(&s, 0), "EXECUTE a; NOTIFY LATER");
	pgsql_check(&s,
		EXPECT("1 Z(I) T D(SELECT 1) C(SELECT 1) T D(NOTIFY LATER) C(SELECT 1) Z(I) A"));
}

/* --- limits --- */

static void hundreds_of_copy_ends_do_no_harm(void **state)
{
	static const struct cutting uncut;
	struct script s = {0};
	struct outcome o;
	struct buf text = {0};
	struct buf *b = say(&s, 0);

	say_query(b, "SELECT 1");
	for (int i = 0; i < 500; i++)
		say_empty(b, 'c');
	say_query(b, "SELECT 2");
	converse(&s, &uncut, &o);
	outcome_print(&o, 0, &text);
	assert_string_equal(
		(char *)text.data, "T D(SELECT 1) C(SELECT 1) Z(I) T D(SELECT 2) C(SELECT 1) Z(I)");
	buf_clear(&text);
	outcome_clear(&o);
	script_clear(&s);
}

static void thousands_of_answers_of_weirs_own_do_no_harm(void **state)
{
	static const struct cutting uncut;
	struct script s = {0};
	struct outcome o;
	struct buf *b = say(&s, 0);

	say_parse(b, "", "SELECT 1");
	say_run(b, "");
	for (int i = 0; i < 20000; i++)
		say_close(b, 'S', "nobody");
	say_empty(b, 'S');
	converse(&s, &uncut, &o);
	size_t n = 0;
	for (size_t i = 0; i + 5 <= o.to_client[0].len; i++)
		n += memcmp(o.to_client[0].data + i, "3\0\0\0\4", 5) == 0;
	assert_int_equal(n, 20000);
	outcome_clear(&o);
	script_clear(&s);
}

static void every_request_is_answered_when_the_server_is_lost(void **state)
{
	static const struct cutting uncut;
	struct script s = {.server_dies = true};
	struct outcome o;
	struct buf text = {0};
	struct buf *b = say(&s, 0);

	for (int i = 0; i < 1000; i++) {
		say_parse(b, "", "SELECT 1");
		say_run(b, "");
		say_empty(b, 'S');
	}
	converse(&s, &uncut, &o);
	outcome_print(&o, 0, &text);
	assert_int_equal(text.len, 1000 * strlen("E(08006) Z(I) "));
	for (size_t i = 0; i + 1 < text.len; i += strlen("E(08006) Z(I) "))
		assert_memory_equal(text.data + i, "E(08006) Z(I)", strlen("E(08006) Z(I)"));
	buf_clear(&text);
	outcome_clear(&o);
	script_clear(&s);
}

static void error_is_told_once_when_the_server_is_lost(void **state)
{
	struct script s = {.server_dies = true};

	say_query(say(&s, 0), "SELECT 1");
	say_query(say(&s, 0), "SELECT 2");
	pgsql_check(&s, EXPECT("T D(SELECT 1) C(SELECT 1) Z(I) E(08006) Z(I)"));
}

static void answer_to_half_a_query_is_a_broken_server(void **state)
{
	static const struct cutting uncut;
	struct script s = {
		.n_proper = 1, .server_words = (const uint8_t *)"Z\0\0\0\5I", .n_server_words = 6};
	struct outcome o;
	struct buf text = {0};

	say_query(say(&s, 0), "SELECT 1");
	buf_put(say(&s, 0), "Q\0\0\0\x0dLIST", 9);
	buf_put(say(&s, 0), "EN x\0", 5);
	converse(&s, &uncut, &o);
	assert_true(o.broken);
	outcome_print(&o, 0, &text);
	assert_string_equal((char *)text.data, "T D(SELECT 1) C(SELECT 1) Z(I) E(08006)");
	buf_clear(&text);
	outcome_clear(&o);
	script_clear(&s);
}

static void messages_with_too_much_in_them_are_refused(void **state)
{
	static const uint8_t types[] = {'S', 'H'};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct script s = {0};
		struct buf *b = say(&s, 0);
		say_parse(b, "", "SELECT 1");
		say_empty(b, 'S');
		say_text(say(&s, 0), types[i], "more");
		pgsql_check(&s, EXPECT("1 Z(I) E(08P01)"));
		say_query(say(&s, 0), "BEGIN");
		say_text(say(&s, 0), types[i], "more");
		pgsql_check(&s, EXPECT("C(BEGIN) Z(T) E(08P01)"));
	}
}

static void unknown_messages_are_refused(void **state)
{
	struct script s = {0};

	say_empty(say(&s, 0), '?');
	pgsql_check(&s, EXPECT("E(08P01)"));
	buf_put(say(&s, 0), "Q\0\0\0\3", 5);
	pgsql_check(&s, EXPECT("E(08P01)"));
	buf_put(say(&s, 0), "B\0\0\0\6a\0", 7);
	pgsql_check(&s, EXPECT("E(08P01)"));
	say_text(say(&s, 0), 'D', "x");
	pgsql_check(&s, EXPECT("E(08P01)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(simple_queries_are_passed_on),
		cmocka_unit_test(transaction_keeps_its_connection),
		cmocka_unit_test(pipelined_queries_are_answered_in_order),
		cmocka_unit_test(named_statements_are_each_clients_own),
		cmocka_unit_test(statement_that_is_taken_is_refused_by_the_server),
		cmocka_unit_test(least_recently_used_statements_make_room),
		cmocka_unit_test(error_in_a_pipeline_skips_to_the_sync),
		cmocka_unit_test(error_before_the_sync_is_told_at_once),
		cmocka_unit_test(error_amid_a_query_that_is_skipped_does_no_harm),
		cmocka_unit_test(flush_brings_answers_without_a_sync),
		cmocka_unit_test(unnamed_statement_follows_its_client),
		cmocka_unit_test(answers_that_weir_gives_wait_their_turn),
		cmocka_unit_test(sql_reaches_the_clients_statements),
		cmocka_unit_test(deallocate_by_a_prepared_statement),
		cmocka_unit_test(deallocate_all_is_the_clients_own),
		cmocka_unit_test(settings_follow_their_client),
		cmocka_unit_test(setting_by_a_parameter_follows_too),
		cmocka_unit_test(setting_that_is_rolled_back_does_not_follow),
		cmocka_unit_test(setting_in_a_pipeline_follows),
		cmocka_unit_test(notices_and_notifications_are_passed_on),
		cmocka_unit_test(notification_amid_weirs_own_messages_is_passed_on),
		cmocka_unit_test(hundreds_of_copy_ends_do_no_harm),
		cmocka_unit_test(thousands_of_answers_of_weirs_own_do_no_harm),
		cmocka_unit_test(every_request_is_answered_when_the_server_is_lost),
		cmocka_unit_test(error_is_told_once_when_the_server_is_lost),
		cmocka_unit_test(answer_to_half_a_query_is_a_broken_server),
		cmocka_unit_test(messages_with_too_much_in_them_are_refused),
		cmocka_unit_test(unknown_messages_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
