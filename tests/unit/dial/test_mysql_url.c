/* Which parameters of a MySQL URL weir takes, what they lead to, and dialling where nobody answers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../test.h"
#include "proto/mysql/dial.h"
#include "proto/mysql/dial_params.h"

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
	bool good = mysql_url_check(&url, &words);
	buf_u8(&words, 0);
	if (good != !problem || (problem && !strstr((char *)words.data, problem)))
		fail_msg("%s: %s", text, words.data);
	buf_clear(&words);
	url_clear(&url);
}

static void documented_parameters_are_allowed(void **state)
{
	check("mysql+asyncmy://u:p@h/d", NULL);
	check("mysql://u@h1:3306,h2/d?charset=utf8mb4", NULL);
	check("mariadb://u@/d?unix_socket=/run/mysqld/mysqld.sock", NULL);
	check("mysql://u@h/d?ssl_mode=VERIFY_IDENTITY&ssl_ca=/ca.pem&ssl_cert=/c.pem&ssl_key=/"
	      "k.pem",
		NULL);
	check("mysql://u@h/d?ssl_mode=disabled", NULL);
	check("mysql://u@h/d?ssl_mode=Preferred", NULL);
	check("mysql://u@h/d?ssl_mode=required", NULL);
	check("mysql://u@h/d?ssl_cert=/both.pem", NULL);
}

static void others_are_refused_with_what_is_allowed(void **state)
{
	check("mysql://u@h/d?ssl=true", "unknown parameter \"ssl\": allowed are unix_socket, ");
	check("mysql://u@h/d?SSL_MODE=required", "unknown parameter");
	check("mysql://u@h/d?charset=utf8&charset=utf8", "given twice");
	check("mysql://u@h/d?ssl_mode=on", "verify_ca, verify_identity");
	check("mysql://u@h/d?ssl_mode=", "bad value of \"ssl_mode\"");
	check("mysql://u@h/d?ssl_mode=verify_ca", "ssl_mode=verify_ca needs ssl_ca");
	check("mysql://u@h/d?ssl_mode=verify_identity", "needs ssl_ca");
	check("mysql://u@h/d?ssl_key=/k.pem", "ssl_key needs ssl_cert");
}

static void certificates_are_checked_as_mysql_s_own_clients_do(void **state)
{
	static const struct {
		const char *url;
		enum mysql_ssl_mode mode;
		enum tls_proof proof;
	} cases[] = {
		{"mysql://u@h/d", MYSQL_SSL_PREFERRED, TLS_PROVES_NOTHING},
		{"mysql://u@h/d?ssl_mode=DISABLED", MYSQL_SSL_DISABLED, TLS_PROVES_NOTHING},
		{"mysql://u@h/d?ssl_mode=REQUIRED&ssl_ca=/x", MYSQL_SSL_REQUIRED,
			TLS_PROVES_NOTHING},
		{"mysql://u@h/d?ssl_ca=/x", MYSQL_SSL_VERIFY_CA, TLS_PROVES_CA},
		{"mysql://u@h/d?ssl_mode=verify_ca&ssl_ca=/x", MYSQL_SSL_VERIFY_CA, TLS_PROVES_CA},
		{"mysql://u@h/d?ssl_mode=verify_identity&ssl_ca=/x", MYSQL_SSL_VERIFY_IDENTITY,
			TLS_PROVES_HOST},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url url;
		struct tls_client client;
		parse(cases[i].url, &url);
		assert_int_equal(mysql_ssl_mode(&url), cases[i].mode);
		mysql_tls_client(&url, "h", &client);
		assert_int_equal(client.proof, cases[i].proof);
		assert_string_equal(client.host, "h");
		url_clear(&url);
	}
}

/* Nothing listens at the address: it is not even dialled. */
static void hash_is_no_password_to_log_in_with(void **state)
{
	static const char *const secrets[] = {"*14E65567ABDB5135D0CFD9A70B3032C179A49EE7",
		"md58d194fe838057b2277183654b0c3d2c8",
		"$A$005$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};

	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		struct url url;
		struct dialled dialled;
		struct refusal refusal;
		bool final = false;
		parse("mysql://127.0.0.1:1/d", &url);
		struct dial_target target = {
			.url = &url, .user = "someone", .password = secrets[i]};
		assert_int_equal(mysql_dial(&target, &dialled, &refusal, &final), 1);
		assert_true(final);
		assert_int_equal(refusal.reason, REASON_SERVER_UNREACHABLE);
		assert_non_null(strstr(refusal.text,
			"user \"someone\" has no plain password in the configuration"));
		url_clear(&url);
	}
}

static void each_host_is_tried_and_named(void **state)
{
	struct url url;
	struct dialled dialled;
	struct refusal refusal;
	bool final = true;

	parse("mysql://u:p@127.0.0.1:1,[::1]:1,%2Fnowhere%2Fsocket/d", &url);
	struct dial_target target = {.url = &url, .connect_timeout = USEC_PER_SEC};
	assert_int_equal(mysql_dial(&target, &dialled, &refusal, &final), 1);
	assert_false(final);
	assert_non_null(
		strstr(refusal.text, ": 127.0.0.1 port 1: Connection refused; ::1 port 1: "));
	assert_non_null(strstr(refusal.text, "; /nowhere/socket: No such file or directory"));
	url_clear(&url);
}

/* The backlog takes the connection; nobody greets. */
static void silent_server_gets_its_time_and_no_more(void **state)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct url url;
	struct dialled dialled;
	struct refusal refusal;
	bool final = true;
	char text[64];

	assert_return_code(bind(listener, (struct sockaddr *)&address, len), errno);
	assert_return_code(listen(listener, 1), errno);
	assert_return_code(getsockname(listener, (struct sockaddr *)&address, &len), errno);
	snprintf(text, sizeof(text), "mysql://u:p@127.0.0.1:%u/d", ntohs(address.sin_port));
	parse(text, &url);
	struct dial_target target = {.url = &url, .connect_timeout = 150 * USEC_PER_MSEC};
	usec_t start = clock_usec();
	assert_int_equal(mysql_dial(&target, &dialled, &refusal, &final), 1);
	assert_in_range(clock_usec() - start, 150 * USEC_PER_MSEC, 1000 * USEC_PER_MSEC);
	assert_false(final);
	assert_non_null(strstr(refusal.text, ": no answer within connect_timeout"));
	url_clear(&url);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documented_parameters_are_allowed),
		cmocka_unit_test(others_are_refused_with_what_is_allowed),
		cmocka_unit_test(certificates_are_checked_as_mysql_s_own_clients_do),
		cmocka_unit_test(hash_is_no_password_to_log_in_with),
		cmocka_unit_test(each_host_is_tried_and_named),
		cmocka_unit_test(silent_server_gets_its_time_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
