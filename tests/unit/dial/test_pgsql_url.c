/* Which parameters of a PostgreSQL URL weir takes, and what libpq is given for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/pgsql/dial.h"
#include "proto/pgsql/dial_params.h"

static void parse(const char *text, struct url *ret_url)
{
	struct buf problem = {0};

	assert_int_equal(url_parse(text, ret_url, &problem), 0);
}

/* `problem` NULL: the URL is good; else the words that must be in the complaint. */
static void check(const char *text, const char *problem)
{
	struct url url;
	struct buf words = {0};

	parse(text, &url);
	bool good = pgsql_url_check(&url, &words);
	buf_u8(&words, 0);
	if (good != !problem || (problem && !strstr((char *)words.data, problem)))
		fail_msg("%s: %s", text, words.data);
	buf_clear(&words);
	url_clear(&url);
}

static void parameters_of_libpq_are_allowed(void **state)
{
	check("postgresql://u:p@h/d", NULL);
	check("postgresql://u@h/d?sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=10"
	      "&application_name=shop&options=-c%20geqo%3Doff&client_encoding=utf8"
	      "&target_session_attrs=prefer-standby&keepalives_idle=9&gssencmode=disable",
		NULL);
}

static void arguments_of_drivers_are_ignored(void **state)
{
	check("postgresql+asyncpg://u@h/d?ssl=require&prepared_statement_cache_size=0"
	      "&statement_cache_size=0&command_timeout=5&async_fallback=true",
		NULL);
	check("postgresql+asyncpg://u@h/d?ssl=True", NULL);
}

static void unknown_parameter_is_refused_with_what_is_allowed(void **state)
{
	check("postgresql://u@h/d?sslmod=require", "unknown parameter \"sslmod\": allowed are ");
	check("postgresql://u@h/d?sslmod=require", ", sslmode,");
	check("postgresql://u@h/d?SSLMODE=require", "unknown parameter");
	check("postgresql://u@h/d?server_settings=x", "unknown parameter");
}

static void what_is_weirs_own_is_refused(void **state)
{
	check("postgresql:///d?host=/run/postgresql", "%2Frun%2Fpostgresql");
	check("postgresql://h/d?user=u", "\"user\" is not for weir");
	check("postgresql://h/d?password=secret", "\"password\" is not for weir");
	check("postgresql://u@h/d?service=s", "no service file");
	check("postgresql://u@h/d?replication=database", "cannot be pooled");
	check("postgresql://u@h/d?gssencmode=require", "allowed are disable prefer");
}

static void bad_values_are_refused(void **state)
{
	check("postgresql://u@h/d?sslmode=yes", "allowed are disable allow prefer");
	check("postgresql://u@h/d?sslmode=", "bad value of \"sslmode\"");
	check("postgresql://u@h/d?sslmode=verify", "bad value of \"sslmode\"");
	check("postgresql://u@h/d?sslmode=allow%20prefer", "bad value of \"sslmode\"");
	check("postgresql://u@h/d?ssl=maybe", "bad value of \"ssl\"");
	check("postgresql://u@h/d?target_session_attrs=master", "prefer-standby");
	check("postgresql://u@h/d?connect_timeout=5s", "whole seconds");
	check("postgresql://u@h/d?connect_timeout=-1", "whole seconds");
	check("postgresql://u@h/d?sslmode=allow&ssl=require", "given twice");
}

static const char *value_of(const struct pgsql_params *p, const char *key)
{
	const char *value = NULL;

	for (size_t i = 0; p->keys[i]; i++) {
		if (strcmp(p->keys[i], key) == 0)
			value = p->values[i];
	}
	return value;
}

static void url_with_a_user_needs_nobody_else(void **state)
{
	struct url url;
	struct pgsql_params p;
	struct dial_target target = {.url = &url, .user = "client", .password = "theirs"};

	parse("postgresql://owner@h/d?ssl=true&command_timeout=5&gssencmode=prefer", &url);
	assert_int_equal(pgsql_params_init(&p, &target), 0);
	assert_string_equal(value_of(&p, "user"), "owner");
	assert_null(value_of(&p, "password"));
	assert_string_equal(value_of(&p, "dbname"), "d");
	assert_string_equal(value_of(&p, "sslmode"), "require");
	assert_string_equal(value_of(&p, "gssencmode"), "disable");
	assert_string_equal(value_of(&p, "fallback_application_name"), "weir");
	assert_null(value_of(&p, "command_timeout"));
	assert_null(value_of(&p, "client_encoding"));
	pgsql_params_clear(&p);
	url_clear(&url);
}

static void url_without_a_user_takes_the_clients(void **state)
{
	struct url url;
	struct pgsql_params p;
	struct dial_target target = {.url = &url, .user = "client", .password = "theirs"};

	parse("postgresql://h/", &url);
	assert_int_equal(pgsql_params_init(&p, &target), 0);
	assert_string_equal(value_of(&p, "user"), "client");
	assert_string_equal(value_of(&p, "password"), "theirs");
	assert_string_equal(value_of(&p, "dbname"), "client");
	pgsql_params_clear(&p);
	url_clear(&url);
}

/* It would be sent as it is to a server that asks for a password in clear text. */
static void hash_is_no_password_to_log_in_with(void **state)
{
	struct url url;
	struct dialled dialled;
	struct refusal refusal;
	bool final = false;

	parse("postgresql://127.0.0.1:1/d", &url);
	struct dial_target target = {.url = &url,
		.user = "someone",
		.password = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"};
	assert_int_equal(pgsql_dial(&target, &dialled, &refusal, &final), 1);
	assert_true(final);
	assert_non_null(strstr(
		refusal.text, "user \"someone\" has no plain password in the configuration"));
	url_clear(&url);
}

static void connect_timeout_of_the_url_counts_first(void **state)
{
	static const struct {
		const char *url;
		usec_t timeout;
		const char *digits;
	} cases[] = {
		{"postgresql://u@h/d", 300 * USEC_PER_MSEC, "1"},
		{"postgresql://u@h/d?connect_timeout=10", 10 * USEC_PER_SEC, "10"},
		{"postgresql://u@h/d?connect_timeout=0", 300 * USEC_PER_MSEC, "1"},
		{"postgresql://u@h/d?connect_timeout=99999", 86400 * USEC_PER_SEC, "86400"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url url;
		struct pgsql_params p;
		struct dial_target target = {.url = &url, .connect_timeout = 300 * USEC_PER_MSEC};
		parse(cases[i].url, &url);
		assert_int_equal(pgsql_params_init(&p, &target), 0);
		assert_int_equal(p.timeout, cases[i].timeout);
		assert_string_equal(value_of(&p, "connect_timeout"), cases[i].digits);
		pgsql_params_clear(&p);
		url_clear(&url);
	}
}

static void keepalives_of_the_url_count_first(void **state)
{
	struct url url;
	struct pgsql_params p;
	struct dial_target target = {.url = &url};

	parse("postgresql://u@h/d", &url);
	assert_int_equal(pgsql_params_init(&p, &target), 0);
	assert_string_equal(value_of(&p, "keepalives_idle"), "8");
	assert_string_equal(value_of(&p, "keepalives_count"), "3");
	assert_string_equal(value_of(&p, "tcp_user_timeout"), "15000");
	pgsql_params_clear(&p);
	url_clear(&url);
	parse("postgresql://u@h/d?keepalives_idle=60&keepalives_count=5&tcp_user_timeout=0", &url);
	assert_int_equal(pgsql_params_init(&p, &target), 0);
	assert_string_equal(value_of(&p, "keepalives_idle"), "60");
	assert_string_equal(value_of(&p, "keepalives_count"), "5");
	assert_string_equal(value_of(&p, "tcp_user_timeout"), "0");
	pgsql_params_clear(&p);
	url_clear(&url);
}

static void environment_has_no_say(void **state)
{
	static const char *const names[] = {"PGHOST", "PGOPTIONS", "PGTZ", "PGSERVICE",
		"PGSYSCONFDIR", "PGPASSWORD", "PGDATESTYLE", "PGREQUIRESSL"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		setenv(names[i], "x", 1);
	setenv("PGPASSFILE", "/x", 1);
	setenv("NOTPGHOST", "x", 1);
	pgsql_forget_environment();
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_null(getenv(names[i]));
	assert_string_equal(getenv("PGPASSFILE"), "/x");
	assert_string_equal(getenv("NOTPGHOST"), "x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_of_libpq_are_allowed),
		cmocka_unit_test(arguments_of_drivers_are_ignored),
		cmocka_unit_test(unknown_parameter_is_refused_with_what_is_allowed),
		cmocka_unit_test(what_is_weirs_own_is_refused),
		cmocka_unit_test(bad_values_are_refused),
		cmocka_unit_test(url_with_a_user_needs_nobody_else),
		cmocka_unit_test(url_without_a_user_takes_the_clients),
		cmocka_unit_test(hash_is_no_password_to_log_in_with),
		cmocka_unit_test(connect_timeout_of_the_url_counts_first),
		cmocka_unit_test(keepalives_of_the_url_count_first),
		cmocka_unit_test(environment_has_no_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
