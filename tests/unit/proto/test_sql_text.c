/* Which statements only ask whether a connection is alive. */
#include <string.h>

#include "../test.h"
#include "proto/sql_text.h"
#include "util/check.h"

static bool tests(const char *sql)
{
	return sql_tests_connection(sql, strlen(sql));
}

static bool empty(const char *sql)
{
	return sql_is_empty(sql, strlen(sql));
}

static void pools_tests_are_known(void **state)
{
	static const char *const texts[] = {
		"", ";", " ; \n", "-- ping", "-- ping\n;", "/* ping */", "/* a */ -- b\n/* c */;"};
	static const char *const selects[] = {
		"select 1", "SELECT 1;", " Select 1 -- alive?", "/* check */ SELECT 1 /* */ ;"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		assert_true(empty(texts[i]));
		assert_true(tests(texts[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(selects); i++) {
		assert_false(empty(selects[i]));
		assert_true(tests(selects[i]));
	}
}

static void other_statements_are_not(void **state)
{
	static const char *const texts[] = {"select 10", "select 1, 2", "select 1 from t", "select",
		"select 1; delete from t", "begin", "/* never closed", "/*! set @a = 1 */",
		"/*M! set @a = 1 */", "-", "/", "select  1x", "--\ncommit"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		assert_false(tests(texts[i]));
		assert_false(empty(texts[i]));
	}
	assert_false(sql_is_empty(";\0select 2", 10));
	/* What lies behind the end is not looked at. */
	assert_true(sql_tests_connection("select 12", 8));
	assert_false(sql_tests_connection("/**/", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pools_tests_are_known),
		cmocka_unit_test(other_statements_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
