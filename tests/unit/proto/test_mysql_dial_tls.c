/* Logging in to servers under TLS, over sockets: however the bytes come, nothing but the request
 * for TLS leaves weir in clear text, and nothing that comes in clear text counts behind it. */
#include <string.h>

#include "../test.h"
#include "mysql_greetings.h"
#include "mysql_host.h"
#include "proto/mysql/wire.h"

/* The size of an SSLRequest. */
#define TLS_REQUEST (MY_HEADER + 32)

/* As a server refuses a statement. */
#define NO "\xff\x28\4#42000You have an error"

static void password_that_the_server_remembers_logs_in(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {
		TURN(MYSQL_GREETING), ENCRYPTED("\1\3"), AT_ONCE(OK_PAYLOAD), OK, OK};

	host_check_login(turns, "required", "9.7.4-2");
}

static void password_is_sent_as_it_is(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {
		TURN(MYSQL_GREETING), ENCRYPTED("\1\4"), OK, OK, OK};
	struct host_outcome whole;

	host_check(turns, "required", &whole);
	assert_int_equal(whole.r, 0);
	assert_true(whole.encrypted);
	assert_int_equal(whole.n_clear, TLS_REQUEST);
	assert_non_null(memmem(whole.heard.data, whole.heard.len, "secret", sizeof("secret")));
	buf_clear(&whole.heard);
}

static void refusal_under_tls_is_told_with_the_servers_words(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {TURN(MYSQL_GREETING),
		ENCRYPTED("\xff\x15\4#28000Access denied for user 'app'@'localhost'")};

	host_check_refused(turns, "required", "Access denied for user 'app'@'localhost'", true);
}

/* What weir has sent then: the request, and no name and no proof. */
static void check_smuggled(const struct host_turn turns[HOST_TURNS])
{
	struct host_outcome whole;

	host_check(turns, "required", &whole);
	assert_int_equal(whole.r, 1);
	assert_false(whole.encrypted);
	assert_int_equal(whole.n_clear, TLS_REQUEST);
	buf_clear(&whole.heard);
}

static void clear_text_behind_the_greeting_is_no_answer(void **state)
{
	static const struct host_turn ok[HOST_TURNS] = {
		TURN(MYSQL_GREETING), SMUGGLED(OK_PAYLOAD), ENCRYPTED(OK_PAYLOAD), OK, OK};
	static const struct host_turn error[HOST_TURNS] = {
		TURN(MYSQL_GREETING), SMUGGLED(NO), ENCRYPTED(OK_PAYLOAD), OK, OK};

	check_smuggled(ok);
	check_smuggled(error);
}

static void clear_text_instead_of_tls_is_no_answer(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {TURN(MYSQL_GREETING), OK};

	check_smuggled(turns);
}

static void clear_text_within_tls_ends_the_login(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {
		TURN(MYSQL_GREETING), ENCRYPTED("\1\3"), SMUGGLED(OK_PAYLOAD), OK, OK};
	struct host_outcome whole;

	host_check(turns, "required", &whole);
	assert_int_equal(whole.r, 1);
	assert_true(whole.encrypted);
	buf_clear(&whole.heard);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(password_that_the_server_remembers_logs_in),
	cmocka_unit_test(password_is_sent_as_it_is),
	cmocka_unit_test(refusal_under_tls_is_told_with_the_servers_words),
	cmocka_unit_test(clear_text_behind_the_greeting_is_no_answer),
	cmocka_unit_test(clear_text_instead_of_tls_is_no_answer),
	cmocka_unit_test(clear_text_within_tls_ends_the_login),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
