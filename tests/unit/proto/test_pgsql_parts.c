/* The parts of PostgreSQL's relay, each by itself: message headers and reports, statements, what is
 * prepared where, and the row of expectations. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "proto/pgsql/expect.h"
#include "proto/pgsql/statements.h"
#include "proto/pgsql/wire.h"
#include "util/random.h"

/* --- wire --- */

static int header(const void *data, size_t len, struct pg_header *ret)
{
	struct input in = {.data = data, .len = len};

	return pg_header_read(&in, ret);
}

static void lengths_of_messages_are_judged(void **state)
{
	static const struct {
		const char *bytes;
		int outcome;
		size_t total;
	} cases[] = {
		{"Q\0\0\0\0", PG_HEADER_BAD, 0},
		{"Q\0\0\0\3", PG_HEADER_BAD, 0},
		{"Q\0\0\0\4", 0, 5},
		{"Q\0\0\0\5", 0, 6},
		{"Q\x40\0\0\0", 0, 0x40000001},
		{"Q\x40\0\0\1", PG_HEADER_BAD, 0},
		{"Q\x7f\xff\xff\xff", PG_HEADER_BAD, 0},
		{"Q\x80\0\0\0", PG_HEADER_BAD, 0},
		{"Q\xff\xff\xff\xff", PG_HEADER_BAD, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pg_header h = {0};
		for (size_t n = 0; n < PG_HEADER; n++)
			assert_int_equal(header(cases[i].bytes, n, &h), PG_HEADER_SHORT);
		assert_int_equal(header(cases[i].bytes, PG_HEADER, &h), cases[i].outcome);
		assert_int_equal(h.total, cases[i].total);
	}
}

static void reports_are_read_back(void **state)
{
	struct buf b = {0};
	struct pg_report report;

	pg_write_report(&b, 'E', "ERROR", "42601", "syntax error", "somewhere");
	pg_report_read(b.data + PG_HEADER, b.len - PG_HEADER, &report);
	assert_string_equal(report.severity, "ERROR");
	assert_string_equal(report.sqlstate, "42601");
	assert_string_equal(report.text, "syntax error");
	/* Cut anywhere: what is not there whole is empty. */
	for (size_t n = 0; n < b.len - PG_HEADER; n++) {
		uint8_t *cut = malloc(n + 1);
		memcpy(cut, b.data + PG_HEADER, n);
		uint8_t *exact = realloc(cut, n ? n : 1);
		pg_report_read(exact, n, &report);
		assert_true(!*report.severity || strcmp(report.severity, "ERROR") == 0);
		assert_true(!*report.sqlstate || strcmp(report.sqlstate, "42601") == 0);
		assert_true(!*report.text || strcmp(report.text, "syntax error") == 0);
		free(exact);
	}
	buf_clear(&b);
}

static void severity_is_the_untranslated_one(void **state)
{
	static const char content[] = "SFEHLER\0VFATAL\0C57P01\0Mende\0";
	struct pg_report report;

	pg_report_read((const uint8_t *)content, sizeof(content), &report);
	assert_string_equal(report.severity, "FATAL");
}

static void check_quoted(const char *text, const char *literal, const char *identifier)
{
	struct buf b = {0};

	pg_literal(&b, text);
	buf_u8(&b, 0);
	assert_string_equal((char *)b.data, literal);
	buf_clear(&b);
	pg_identifier(&b, text);
	buf_u8(&b, 0);
	assert_string_equal((char *)b.data, identifier);
	buf_clear(&b);
}

static void quotes_cannot_be_left(void **state)
{
	check_quoted("", "''", "\"\"");
	check_quoted("a", "'a'", "\"a\"");
	check_quoted("a'; DROP --", "'a''; DROP --'", "\"a'; DROP --\"");
	check_quoted("a\"b", "'a\"b'", "\"a\"\"b\"");
	check_quoted("a\\' b", " E'a\\\\'' b'", "\"a\\' b\"");
	check_quoted("\\", " E'\\\\'", "\"\\\"");
}

/* --- statements --- */

static struct scan scratch;

static struct statement *get(struct statements *table, const char *body, size_t len)
{
	struct statement *s = statement_get(table, (const uint8_t *)body, len);

	assert_non_null(s);
	return s;
}

static void same_body_is_the_same_statement(void **state)
{
	struct statements table;

	pg_statements_init(&table, &scratch);
	struct statement *a = get(&table, "SELECT 1\0\0\0", 11);
	struct statement *b = get(&table, "SELECT 1\0\0\0", 11);
	/* Another text; other types. */
	struct statement *c = get(&table, "SELECT 2\0\0\0", 11);
	struct statement *d = get(&table, "SELECT 1\0\0\1\0\0\0\x17", 15);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_ptr_not_equal(a, d);
	assert_null(a->effects);
	statement_unref(a);
	statement_unref(b);
	statement_unref(c);
	statement_unref(d);
	statement_unref(NULL);
	assert_int_equal(table.by_body.n_items, 0);
	statements_clear(&table);
}

static void superseded_statement_is_found_no_more(void **state)
{
	struct statements table;

	pg_statements_init(&table, &scratch);
	struct statement *old = get(&table, "SET a TO 1\0\0\0", 13);
	assert_non_null(old->effects);
	statement_supersede(old);
	statement_supersede(old);
	struct statement *new = get(&table, "SET a TO 1\0\0\0", 13);
	assert_ptr_not_equal(old, new);
	assert_int_not_equal(old->id, new->id);
	statement_unref(old);
	statement_unref(new);
	statements_clear(&table);
}

static void names_live_as_long_as_they_are_needed(void **state)
{
	struct statements table;
	struct client_names names = {0};

	pg_statements_init(&table, &scratch);
	struct statement *s = get(&table, "SELECT 1\0\0\0", 11);
	struct client_statement *cs = client_statement_add(&names, "a", s);
	assert_ptr_equal(client_statement_find(&names, "a"), cs);
	assert_null(client_statement_find(&names, "A"));
	cs->refs++;
	client_statement_drop(&names, cs);
	client_statement_drop(&names, cs);
	assert_null(client_statement_find(&names, "a"));
	client_statement_relist(&names, cs);
	client_statement_relist(&names, cs);
	assert_ptr_equal(client_statement_find(&names, "a"), cs);
	/* The name is taken again: it stays the new one's. */
	client_statement_drop(&names, cs);
	struct client_statement *other = client_statement_add(&names, "a", s);
	client_statement_relist(&names, cs);
	assert_ptr_equal(client_statement_find(&names, "a"), other);
	client_statement_unref(cs);
	statement_unref(s);
	client_statements_clear(&names);
	assert_int_equal(names.size, 0);
	statements_clear(&table);
}

static void check_name(uint64_t number, const char *expected)
{
	char name[STATEMENT_NAME_SIZE];

	statement_name(number, name);
	assert_string_equal(name, expected);
}

static void servers_know_statements_by_numbers(void **state)
{
	check_name(0, "weir_0");
	check_name(1, "weir_1");
	check_name(1090, "weir_1090");
	check_name(UINT64_MAX, "weir_18446744073709551615");
}

/* --- expectations --- */

static void expectations_keep_their_order_round_the_ring(void **state)
{
	struct expectations e = {0};
	size_t pushed = 0, popped = 0;

	assert_null(expectations_first(&e));
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 7; i++, pushed++) {
			assert_true(expectations_reserve(&e, 1));
			expectations_push(
				&e, (struct expectation){.kind = (enum expect_kind)(pushed % 11)});
		}
		for (int i = 0; i < 5; i++, popped++) {
			assert_int_equal(expectations_at(&e, 0)->kind, popped % 11);
			expectations_pop(&e);
		}
		assert_int_equal(e.len, pushed - popped);
		for (size_t i = 0; i < e.len; i++)
			assert_int_equal(expectations_at(&e, i)->kind, (popped + i) % 11);
		assert_null(expectations_at(&e, e.len));
	}
	expectations_clear(&e);
	assert_int_equal(e.len, 0);
}

static void expectations_are_taken_out_of_the_middle(void **state)
{
	struct expectations e = {0};

	/* So that the ring's end is in the middle of them. */
	assert_true(expectations_reserve(&e, 16));
	for (int i = 0; i < 12; i++)
		expectations_push(&e, (struct expectation){0});
	for (int i = 0; i < 12; i++)
		expectations_pop(&e);
	for (unsigned i = 0; i < 8; i++)
		expectations_push(&e, (struct expectation){.kind = (enum expect_kind)i});
	expectations_remove(&e, 3);
	expectations_remove(&e, 0);
	expectations_remove(&e, 5);
	static const unsigned left[] = {1, 2, 4, 5, 6};
	assert_int_equal(e.len, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(expectations_at(&e, i)->kind, left[i]);
	expectations_clear(&e);
}

static void expectations_have_a_limit(void **state)
{
	struct expectations e = {0};

	for (size_t i = 0; i < EXPECT_MAX; i++) {
		assert_true(expectations_reserve(&e, 1));
		expectations_push(&e, (struct expectation){.kind = EXPECT_SYNC});
	}
	assert_false(expectations_reserve(&e, 1));
	expectations_pop(&e);
	assert_true(expectations_reserve(&e, 1));
	assert_false(expectations_reserve(&e, 2));
	expectations_clear(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_of_messages_are_judged),
		cmocka_unit_test(reports_are_read_back),
		cmocka_unit_test(severity_is_the_untranslated_one),
		cmocka_unit_test(quotes_cannot_be_left),
		cmocka_unit_test(same_body_is_the_same_statement),
		cmocka_unit_test(superseded_statement_is_found_no_more),
		cmocka_unit_test(names_live_as_long_as_they_are_needed),
		cmocka_unit_test(servers_know_statements_by_numbers),
		cmocka_unit_test(expectations_keep_their_order_round_the_ring),
		cmocka_unit_test(expectations_are_taken_out_of_the_middle),
		cmocka_unit_test(expectations_have_a_limit),
	};

	random_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
