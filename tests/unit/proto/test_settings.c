/* Interned lists of settings, and rows without a protocol. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "proto/result.h"
#include "proto/settings.h"
#include "util/random.h"

static const struct settings *with(struct settings_table *table, const struct settings *base,
	const char *name, const char *value)
{
	const struct settings *list;

	assert_int_equal(settings_with(table, base, name, value, &list), 0);
	settings_unref(base);
	return list;
}

static void same_content_is_the_same_list(void **state)
{
	struct settings_table *t = settings_table_new();

	const struct settings *a = with(t, with(t, settings_empty(t), "b", "1"), "a", "2");
	const struct settings *b = with(t, with(t, settings_empty(t), "a", "2"), "b", "1");
	assert_ptr_equal(a, b);
	assert_int_equal(settings_count(a), 2);
	assert_string_equal(settings_name(a, 0), "a");
	assert_string_equal(settings_value(a, 1), "1");
	/* Set again to what it is; set and taken out again. */
	b = with(t, b, "a", "2");
	assert_ptr_equal(a, b);
	b = with(t, with(t, b, "c", ""), "c", NULL);
	assert_ptr_equal(a, b);
	b = with(t, b, "missing", NULL);
	assert_ptr_equal(a, b);
	settings_unref(a);
	a = with(t, with(t, b, "a", NULL), "b", NULL);
	const struct settings *empty = settings_empty(t);
	assert_ptr_equal(a, empty);
	settings_unref(empty);
	settings_unref(a);
	settings_unref(NULL);
	settings_table_free(t);
}

static void what_differs_is_another_list(void **state)
{
	struct settings_table *t = settings_table_new();

	const struct settings *a = with(t, settings_empty(t), "a", "bc");
	const struct settings *b = with(t, settings_empty(t), "ab", "c");
	const struct settings *c = with(t, settings_empty(t), "a", "BC");
	assert_ptr_not_equal(a, b);
	assert_ptr_not_equal(a, c);
	settings_unref(a);
	settings_unref(b);
	settings_unref(c);
	settings_table_free(t);
}

static void names_compare_without_case(void **state)
{
	struct settings_table *t = settings_table_new();

	const struct settings *a = with(t, settings_empty(t), "TimeZone", "UTC");
	a = with(t, a, "timezone", "CET");
	assert_int_equal(settings_count(a), 1);
	assert_string_equal(settings_name(a, 0), "TimeZone");
	assert_string_equal(settings_get(a, "TIMEZONE"), "CET");
	assert_null(settings_get(a, "TimeZon"));
	assert_null(settings_get(a, "TimeZones"));
	a = with(t, a, "tImEzOnE", NULL);
	assert_int_equal(settings_count(a), 0);
	settings_unref(a);
	settings_table_free(t);
}

static void every_name_is_found(void **state)
{
	struct settings_table *t = settings_table_new();
	const struct settings *list = settings_empty(t);
	char name[16], value[16];

	for (int i = 0; i < SETTINGS_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i * 7919 % 1000);
		snprintf(value, sizeof(value), "v%d", i);
		list = with(t, list, name, value);
	}
	for (int i = 0; i < SETTINGS_MAX; i++) {
		snprintf(name, sizeof(name), "N%d", i * 7919 % 1000);
		snprintf(value, sizeof(value), "v%d", i);
		assert_string_equal(settings_get(list, name), value);
	}
	assert_int_equal(settings_count(list), SETTINGS_MAX);
	/* Full: no other name, but another value of one that is there. */
	const struct settings *more;
	assert_int_equal(settings_with(t, list, "other", "x", &more), SETTINGS_TOO_MANY);
	list = with(t, list, "n0", "changed");
	assert_string_equal(settings_get(list, "n0"), "changed");
	settings_unref(list);
	settings_table_free(t);
}

static void values_have_a_limit(void **state)
{
	struct settings_table *t = settings_table_new();
	const struct settings *empty = settings_empty(t), *list;
	char *text = calloc(1, SETTINGS_VALUE_MAX + 2);

	memset(text, 'x', SETTINGS_VALUE_MAX + 1);
	assert_int_equal(settings_with(t, empty, "a", text, &list), SETTINGS_TOO_MANY);
	assert_int_equal(settings_with(t, empty, text, "a", &list), SETTINGS_TOO_MANY);
	text[SETTINGS_VALUE_MAX] = 0;
	list = with(t, empty, "a", text);
	assert_string_equal(settings_get(list, "a"), text);
	settings_unref(list);
	free(text);
	settings_table_free(t);
}

/* --- rows --- */

static void cells_come_back_in_order(void **state)
{
	static const struct result_column columns[] = {{"a", RESULT_TEXT}, {"b", RESULT_INT8}};
	struct result r, more;
	const char *cursor = NULL, *text;

	result_init(&r);
	result_init(&more);
	r.columns = more.columns = columns;
	r.n_columns = more.n_columns = 2;
	assert_false(result_next(&r, &cursor, &text));
	result_text(&r, "one");
	result_int(&r, -5);
	result_text(&more, NULL);
	result_text(&more, "");
	result_append(&r, &more);
	assert_int_equal(r.n_cells, 4);
	static const char *const expected[] = {"one", "-5", NULL, ""};
	for (size_t i = 0; i < 4; i++) {
		assert_true(result_next(&r, &cursor, &text));
		if (expected[i])
			assert_string_equal(text, expected[i]);
		else
			assert_null(text);
	}
	assert_false(result_next(&r, &cursor, &text));
	result_clear(&r);
	result_clear(&more);
}

static void failures_have_their_code(void **state)
{
	struct result r;
	char text[600];

	result_init(&r);
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	result_fail(&r, "42601", "no %s", text);
	assert_string_equal(r.error_sqlstate, "42601");
	assert_int_equal(strlen(r.error), sizeof(r.error) - 1);
	result_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_content_is_the_same_list),
		cmocka_unit_test(what_differs_is_another_list),
		cmocka_unit_test(names_compare_without_case),
		cmocka_unit_test(every_name_is_found),
		cmocka_unit_test(values_have_a_limit),
		cmocka_unit_test(cells_come_back_in_order),
		cmocka_unit_test(failures_have_their_code),
	};

	random_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
