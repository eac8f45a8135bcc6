/* Database URLs: what is taken, what is not, and that no complaint has a password in it. */
#include <stdio.h>
#include <string.h>

#include "../test.h"
#include "config/url.h"

static void good(const char *text, struct url *ret_url)
{
	struct buf problem = {0};

	if (url_parse(text, ret_url, &problem) != 0)
		fail_msg("%s: %.*s", text, (int)problem.len, problem.data);
	assert_int_equal(problem.len, 0);
}

/* `words` must be in the complaint. */
static void bad(const char *text, const char *words)
{
	struct url url = {0};
	struct buf problem = {0};

	assert_int_equal(url_parse(text, &url, &problem), 1);
	buf_u8(&problem, 0);
	if (!strstr((char *)problem.data, words) || strstr((char *)problem.data, "secret"))
		fail_msg("%s: %s", text, problem.data);
	assert_null(url.hosts);
	buf_clear(&problem);
}

static void all_parts_are_read(void **state)
{
	struct url url;

	good("postgresql+asyncpg://me:secret@db.example:5433/shop?sslmode=require&a=b%26c", &url);
	assert_string_equal(url.protocol, "postgresql");
	assert_string_equal(url.user, "me");
	assert_string_equal(url.password, "secret");
	assert_int_equal(url.n_hosts, 1);
	assert_string_equal(url.hosts[0].name, "db.example");
	assert_int_equal(url.hosts[0].port, 5433);
	assert_string_equal(url.dbname, "shop");
	assert_int_equal(url.n_params, 2);
	assert_string_equal(url_param(&url, "sslmode"), "require");
	assert_string_equal(url_param(&url, "a"), "b&c");
	assert_null(url_param(&url, "A"));
	url_clear(&url);
	url_clear(&url);
}

static void schemes_lead_to_their_protocol(void **state)
{
	static const struct {
		const char *text, *protocol;
	} cases[] = {
		{"postgresql://h/d", "postgresql"},
		{"postgres://h/d", "postgresql"},
		{"PostgreSQL+psycopg2://h/d", "postgresql"},
		{"mysql://h/d", "mysql"},
		{"mysql+asyncmy://h/d", "mysql"},
		{"mariadb+mariadbconnector://h/d", "mysql"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url url;
		good(cases[i].text, &url);
		assert_string_equal(url.protocol, cases[i].protocol);
		url_clear(&url);
	}
}

static void other_schemes_are_refused(void **state)
{
	static const char *const texts[] = {"", "h", "http://me:secret@h/d", "postgresql",
		"postgresql:", "postgresql:/h/d", "postgresql:me:secret@h/d?u=http://x",
		"postgresqlx://h", "postgresql+a/b://h/d", "+x://h/d", "://h/d",
		"postgresql+secret@h://x", " postgresql://h/d"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		bad(texts[i], "allowed are postgresql://, postgres://, mysql://, mariadb://");
}

static void escapes_are_decoded(void **state)
{
	struct url url;

	good("mysql://a%40b:p%3a%2F%25%c3%BC@h/d%20e", &url);
	assert_string_equal(url.user, "a@b");
	assert_string_equal(url.password, "p:/%\xc3\xbc");
	assert_string_equal(url.dbname, "d e");
	url_clear(&url);
}

static void bad_escapes_are_refused(void **state)
{
	bad("mysql://u:secret%@h/d", "% and two hexadecimal digits");
	bad("mysql://u:secret%4@h/d", "% and two hexadecimal digits");
	bad("mysql://u:secret%4g@h/d", "% and two hexadecimal digits");
	bad("mysql://u:secret%g4@h/d", "% and two hexadecimal digits");
	bad("mysql://u:secret%00@h/d", "% and two hexadecimal digits");
	bad("mysql://u:secret%\x11\x14@h/d", "% and two hexadecimal digits");
	bad("mysql://u:secret@h%zz/d", "% and two hexadecimal digits");
	bad("mysql://u:secret@h/d%1", "% and two hexadecimal digits");
	bad("mysql://u:secret@h/d?a%1=b", "% and two hexadecimal digits");
	bad("mysql://u:secret@h/d?a=b%1", "% and two hexadecimal digits");
}

static void the_last_at_sign_ends_the_password(void **state)
{
	struct url url;

	good("mysql://me:p@ss:word@h:1/d", &url);
	assert_string_equal(url.user, "me");
	assert_string_equal(url.password, "p@ss:word");
	assert_string_equal(url.hosts[0].name, "h");
	url_clear(&url);
	good("mysql://:only@h/d", &url);
	assert_null(url.user);
	assert_string_equal(url.password, "only");
	url_clear(&url);
	good("mysql://me:@h/d", &url);
	assert_string_equal(url.password, "");
	url_clear(&url);
}

static void several_hosts_keep_their_order(void **state)
{
	struct url url;

	good("postgresql://h1:1,[::1]:2,h3,%2Frun%2Fpostgresql:4,[fe80::1]/d", &url);
	assert_int_equal(url.n_hosts, 5);
	static const char *const names[] = {"h1", "::1", "h3", "/run/postgresql", "fe80::1"};
	static const uint16_t ports[] = {1, 2, 0, 4, 0};
	for (size_t i = 0; i < 5; i++) {
		assert_string_equal(url.hosts[i].name, names[i]);
		assert_int_equal(url.hosts[i].port, ports[i]);
	}
	url_clear(&url);
}

static void what_is_left_out_has_a_default(void **state)
{
	struct url url;

	good("postgresql://", &url);
	assert_int_equal(url.n_hosts, 1);
	assert_string_equal(url.hosts[0].name, "127.0.0.1");
	assert_int_equal(url.hosts[0].port, 0);
	assert_null(url.user);
	assert_null(url.password);
	assert_null(url.dbname);
	url_clear(&url);
	good("postgresql:///d?&&a=&", &url);
	assert_string_equal(url.dbname, "d");
	assert_string_equal(url_param(&url, "a"), "");
	assert_int_equal(url.n_params, 1);
	url_clear(&url);
	good("postgresql://h:/?a=b", &url);
	assert_int_equal(url.hosts[0].port, 0);
	assert_null(url.dbname);
	url_clear(&url);
}

static void bad_addresses_are_refused(void **state)
{
	static const char *const ports[] = {"0", "65536", "4294967297", "99999999999999999999",
		"-1", "+1", "1x", "x", " 1", "1:2"};
	char text[64];

	for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
		snprintf(text, sizeof(text), "postgresql://u:secret@h:%s/d", ports[i]);
		bad(text, "allowed are numbers from 1 to 65535");
	}
	bad("postgresql://u:secret@[::1/d", "allowed is [v6]:port");
	bad("postgresql://u:secret@[::1]5432/d", "allowed is [v6]:port");
	bad("postgresql://u:secret@::1/d", "allowed are numbers");
	/* An unencoded slash in the password. */
	bad("postgresql://u:secret/more@h/d", "allowed are numbers");
}

static void bad_parameters_are_refused(void **state)
{
	bad("postgresql://u:secret@h/d?a", "allowed is key=value");
	bad("postgresql://u:secret@h/d?=b", "allowed is key=value");
	bad("postgresql://u:secret@h/d?a=b&c", "allowed is key=value");
	bad("postgresql://u:secret@h/d#x", "encode it as %23");
	bad("postgresql://u:secret#x@h/d", "encode it as %23");
}

static void copy_is_equal_and_its_own(void **state)
{
	static const char text[] = "postgresql://u:p@h1:1,h2/d?a=b&c=d";
	struct url url, copy;

	good(text, &url);
	assert_int_equal(url_copy(&url, &copy), 0);
	assert_true(url_equal(&url, &copy));
	assert_ptr_not_equal(url.user, copy.user);
	assert_ptr_not_equal(url.hosts[0].name, copy.hosts[0].name);
	url_clear(&url);
	assert_string_equal(copy.hosts[1].name, "h2");
	good(text, &url);
	assert_true(url_equal(&url, &copy));
	url_clear(&url);
	url_clear(&copy);
	good("mysql://", &url);
	assert_int_equal(url_copy(&url, &copy), 0);
	assert_true(url_equal(&url, &copy));
	url_clear(&url);
	url_clear(&copy);
}

static void every_part_makes_a_difference(void **state)
{
	static const char *const others[] = {"mysql://u:p@h:1/d?a=b", "postgresql://v:p@h:1/d?a=b",
		"postgresql://u:q@h:1/d?a=b", "postgresql://u@h:1/d?a=b",
		"postgresql://u:p@i:1/d?a=b", "postgresql://u:p@h:2/d?a=b",
		"postgresql://u:p@h/d?a=b", "postgresql://u:p@h:1,h:1/d?a=b",
		"postgresql://u:p@h:1/e?a=b", "postgresql://u:p@h:1?a=b",
		"postgresql://u:p@h:1/d?a=c", "postgresql://u:p@h:1/d?b=b",
		"postgresql://u:p@h:1/d"};
	struct url url, other;

	good("postgresql://u:p@h:1/d?a=b", &url);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		good(others[i], &other);
		if (url_equal(&url, &other) || url_equal(&other, &url))
			fail_msg("%s", others[i]);
		url_clear(&other);
	}
	good("postgres+x://u:p@h:1/d?a=b", &other);
	assert_true(url_equal(&url, &other));
	url_clear(&other);
	url_clear(&url);
}

static void printed_url_has_no_account(void **state)
{
	struct url url;
	struct buf text = {0};

	good("postgresql://me:secret@h1:1,h2/d?sslpassword=secret", &url);
	url_print(&url, &text);
	buf_u8(&text, 0);
	assert_string_equal((char *)text.data, "h1:1,h2/d");
	buf_clear(&text);
	url_clear(&url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_parts_are_read),
		cmocka_unit_test(schemes_lead_to_their_protocol),
		cmocka_unit_test(other_schemes_are_refused),
		cmocka_unit_test(escapes_are_decoded),
		cmocka_unit_test(bad_escapes_are_refused),
		cmocka_unit_test(the_last_at_sign_ends_the_password),
		cmocka_unit_test(several_hosts_keep_their_order),
		cmocka_unit_test(what_is_left_out_has_a_default),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(bad_parameters_are_refused),
		cmocka_unit_test(copy_is_equal_and_its_own),
		cmocka_unit_test(every_part_makes_a_difference),
		cmocka_unit_test(printed_url_has_no_account),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
