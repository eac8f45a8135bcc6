/* Logging in to servers over sockets: how the bytes come, and how many of weir's the socket takes
 * at once, makes no difference. */
#include "../test.h"
#include "mysql_greetings.h"
#include "mysql_host.h"

static void native_password_logs_in(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {TURN(MARIADB_GREETING), OK, OK, OK};

	host_check_login(turns, "disabled", "5.5.5-10.11.19-MariaDB");
}

static void password_that_the_server_remembers_logs_in(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {
		TURN(MYSQL_GREETING), TURN("\1\3"), AT_ONCE("\0\0\0\2\0\0\0"), OK, OK};

	host_check_login(turns, "disabled", "9.7.4-2");
}

static void method_is_switched_either_way(void **state)
{
	static const struct host_turn to_native[HOST_TURNS] = {
		TURN(MYSQL_GREETING), TURN("\xfemysql_native_password\0" NONCE "\0"), OK, OK, OK};
	static const struct host_turn to_sha2[HOST_TURNS] = {TURN(MARIADB_GREETING),
		TURN("\xfe"
		     "caching_sha2_password\0" NONCE "\0"),
		TURN("\1\3"), AT_ONCE("\0\0\0\2\0\0\0"), OK, OK};

	host_check_login(to_native, "disabled", "9.7.4-2");
	host_check_login(to_sha2, "disabled", "5.5.5-10.11.19-MariaDB");
}

static void password_is_sent_encrypted(void **state)
{
	static const struct host_turn turns[HOST_TURNS] = {
		TURN(MYSQL_GREETING), TURN("\1\4"), KEY, OK, OK, OK};

	host_check_login(turns, "disabled", "9.7.4-2");
}

static void refused_logins_are_told_with_the_servers_words(void **state)
{
	static const struct host_turn wrong[HOST_TURNS] = {TURN(MARIADB_GREETING),
		TURN("\xff\x15\4#28000Access denied for user 'app'@'localhost'")};
	static const struct host_turn full[HOST_TURNS] = {TURN("\xff\x10\4Too many connections")};
	static const struct host_turn armless[HOST_TURNS] = {
		TURN(MARIADB_GREETING), OK, TURN("\xff\x28\4#42000You have an error")};

	host_check_refused(wrong, "disabled", "Access denied for user 'app'@'localhost'", true);
	host_check_refused(full, "disabled", "Too many connections", false);
	host_check_refused(armless, "disabled", "You have an error", false);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(native_password_logs_in),
	cmocka_unit_test(password_that_the_server_remembers_logs_in),
	cmocka_unit_test(method_is_switched_either_way),
	cmocka_unit_test(password_is_sent_encrypted),
	cmocka_unit_test(refused_logins_are_told_with_the_servers_words),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
