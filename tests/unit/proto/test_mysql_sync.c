/* Bringing a server connection to a client's settings: what is written for which difference. */
#include <string.h>

#include "../test.h"
#include "mysql_session.h"

/* What was written, as commands: "QUERY(...)", "USE(...)", "COM27 01 00". */
static void take_written(struct output *o, struct buf *ret_text)
{
	struct buf bytes = {0};
	struct my_header h;

	assert_false(o->failed);
	uint8_t *at = buf_reserve(&bytes, o->total + 1);
	output_flatten(o, at);
	struct input in = {.data = at, .len = o->total};
	while (my_header_read(&in, &h)) {
		const uint8_t *payload = in.data + MY_HEADER;
		const char *argument = (const char *)payload + 1;
		int len = (int)h.len - 1;
		buf_printf(ret_text, ret_text->len ? "; " : "");
		if (payload[0] == MY_COM_QUERY)
			buf_printf(ret_text, "%.*s", len, argument);
		else if (payload[0] == MY_COM_INIT_DB)
			buf_printf(ret_text, "USE %.*s", len, argument);
		else if (payload[0] == MY_COM_SET_OPTION)
			buf_printf(ret_text, "OPTION %u %u", payload[1], payload[2]);
		else
			buf_printf(ret_text, "COM%u", payload[0]);
		input_skip(&in, MY_HEADER + h.len);
	}
	buf_u8(ret_text, 0);
	buf_clear(&bytes);
	output_reset(o);
}

static void assert_written(struct output *o, const char *expected)
{
	struct buf text = {0};

	take_written(o, &text);
	assert_string_equal((char *)text.data, expected);
	buf_clear(&text);
}

struct pair {
	const char *name, *value;
};

struct difference {
	struct pair have[3], want[3]; /* up to the first without a name */
	const char *written;
};

static void set_all(struct my_session *s, const struct settings **slot, const struct pair pairs[3])
{
	for (size_t i = 0; i < 3 && pairs[i].name; i++)
		my_session_set(s, slot, pairs[i].name, pairs[i].value);
}

/* Without a schema in the URL. */
static void check(const struct difference *d)
{
	static struct output to_server;
	struct my_session s;
	bool waits;

	output_init(&to_server);
	my_session_begin(&s, NULL);
	set_all(&s, &s.back->settings, d->have);
	set_all(&s, &s.front->settings, d->want);
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server, d->written);
	assert_int_equal(waits, strstr(d->written, "USE ") != NULL);
	/* It is as the client wants it now: nothing is written again. */
	if (!waits) {
		assert_ptr_equal(s.back->settings, s.front->settings);
		assert_true(my_sync(s.front, s.back, &to_server, &waits));
		assert_written(&to_server, "");
	}
	my_session_end(&s);
}

static void differences_alone_are_written(void **state)
{
	static const struct difference cases[] = {
		{{{0}}, {{0}}, ""},
		{{{"time_zone", "UTC"}}, {{"time_zone", "UTC"}}, ""},
		{{{"time_zone", "UTC"}}, {{0}}, "SET @@SESSION.time_zone=DEFAULT"},
		{{{0}}, {{"time_zone", "UTC"}}, "SET @@SESSION.time_zone='UTC'"},
		{{{"time_zone", "UTC"}}, {{"time_zone", "CET"}}, "SET @@SESSION.time_zone='CET'"},
		{{{"lc_time_names", "de_DE"}, {"time_zone", "UTC"}},
			{{"sql_mode", "ANSI"}, {"time_zone", "UTC"}},
			"SET @@SESSION.lc_time_names=DEFAULT, @@SESSION.sql_mode='ANSI'"},
		/* Their DEFAULT is wrong in MySQL 9. */
		{{{"foreign_key_checks", "OFF"}, {"unique_checks", "OFF"}}, {{0}},
			"SET @@SESSION.foreign_key_checks=@@GLOBAL.foreign_key_checks, "
			"@@SESSION.unique_checks=@@GLOBAL.unique_checks"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(&cases[i]);
}

static void values_are_numbers_or_quoted(void **state)
{
	static const struct difference cases[] = {
		{{{0}}, {{"wait_timeout", "60"}}, "SET @@SESSION.wait_timeout=60"},
		{{{0}}, {{"long_query_time", "0.500000"}},
			"SET @@SESSION.long_query_time=0.500000"},
		{{{0}}, {{"long_query_time", ".5"}}, "SET @@SESSION.long_query_time=.5"},
		{{{0}}, {{"a", "1.2.3"}}, "SET @@SESSION.a='1.2.3'"},
		{{{0}}, {{"a", "60s"}}, "SET @@SESSION.a='60s'"},
		{{{0}}, {{"a", ""}}, "SET @@SESSION.a=''"},
		{{{0}}, {{"a", "."}}, "SET @@SESSION.a='.'"},
		{{{0}}, {{"a", "it's"}}, "SET @@SESSION.a='it''s'"},
		{{{0}}, {{"a", "', @@GLOBAL.b='"}}, "SET @@SESSION.a=''', @@GLOBAL.b='''"},
		{{{0}}, {{"a", "\\'"}}, "SET @@SESSION.a='\\\\'''"},
		/* Where a backslash is but a backslash. */
		{{{"sql_mode", "ANSI,NO_BACKSLASH_ESCAPES"}},
			{{"a", "\\'"}, {"sql_mode", "ANSI,NO_BACKSLASH_ESCAPES"}},
			"SET @@SESSION.a='\\'''"},
		/* A result's character set may be none; nothing else is. */
		{{{0}}, {{"character_set_results", ""}},
			"SET @@SESSION.character_set_results=NULL"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(&cases[i]);
}

/* Setting the one changes the other. */
static void collation_comes_behind_its_character_set(void **state)
{
	static const struct difference cases[] = {
		{{{"character_set_connection", "utf8mb4"},
			 {"collation_connection", "utf8mb4_general_ci"}},
			{{"character_set_connection", "utf8mb4"},
				{"collation_connection", "utf8mb4_bin"}},
			"SET @@SESSION.character_set_connection='utf8mb4', "
			"@@SESSION.collation_connection='utf8mb4_bin'"},
		{{{"character_set_connection", "latin1"}, {"collation_connection", "latin1_bin"}},
			{{"character_set_connection", "latin1"}},
			"SET @@SESSION.character_set_connection='latin1'"},
		{{{"character_set_connection", "latin1"}},
			{{"character_set_connection", "utf8mb4"},
				{"collation_connection", "utf8mb4_bin"}},
			"SET @@SESSION.character_set_connection='utf8mb4', "
			"@@SESSION.collation_connection='utf8mb4_bin'"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(&cases[i]);
}

static void what_is_no_variable_has_a_command(void **state)
{
	static const struct difference cases[] = {
		{{{0}}, {{MY_SCHEMA, "shop"}}, "USE shop"},
		{{{MY_SCHEMA, "shop"}}, {{MY_SCHEMA, "shop"}}, ""},
		{{{MY_SCHEMA, "shop"}}, {{MY_SCHEMA, ""}}, "USE information_schema"},
		/* No command goes back to none. */
		{{{MY_SCHEMA, "shop"}}, {{0}}, "USE information_schema"},
		{{{0}}, {{MY_NO_MULTI, "1"}}, "OPTION 1 0"},
		{{{MY_NO_MULTI, "1"}}, {{0}}, "OPTION 0 0"},
		{{{MY_NO_MULTI, "1"}}, {{MY_NO_MULTI, "1"}, {MY_SCHEMA, "a"}, {"b", "1"}},
			"SET @@SESSION.b=1; USE a"},
	};
	static struct output to_server;
	struct my_session s;
	bool waits;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(&cases[i]);
	/* The URL's schema is what a client without a wish has. */
	output_init(&to_server);
	my_session_begin(&s, "home");
	my_session_set(&s, &s.back->settings, MY_SCHEMA, "shop");
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server, "USE home");
	my_session_end(&s);
}

static void insert_id_is_brought_only_to_who_reads_it(void **state)
{
	static struct output to_server;
	struct my_session s;
	bool waits;

	output_init(&to_server);
	my_session_begin(&s, NULL);
	s.front->last_insert_id = 7;
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server, "");
	s.front->found = SCAN_LAST_INSERT_ID;
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server, "SET last_insert_id=7");
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server, "");
	/* Another client's, if by chance the same; and one that has changed meanwhile. */
	s.back->insert_id_owner = 2;
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server, "SET last_insert_id=7");
	s.front->last_insert_id = 18446744073709551615u;
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server, "SET last_insert_id=18446744073709551615");
	my_session_end(&s);
}

static void every_command_awaits_its_answer(void **state)
{
	static struct output to_server;
	struct my_session s;
	bool waits;

	output_init(&to_server);
	my_session_begin(&s, NULL);
	my_session_set(&s, &s.front->settings, "time_zone", "UTC");
	my_session_set(&s, &s.front->settings, MY_SCHEMA, "shop");
	my_session_set(&s, &s.front->settings, MY_NO_MULTI, "1");
	s.front->found = SCAN_LAST_INSERT_ID;
	s.front->last_insert_id = 1;
	assert_true(my_sync(s.front, s.back, &to_server, &waits));
	assert_written(&to_server,
		"SET last_insert_id=1; SET @@SESSION.time_zone='UTC'; OPTION 1 0; USE shop");
	assert_int_equal(s.back->n_expected, 4);
	my_session_end(&s);
}

static void reset_leaves_the_schema_and_nothing_else(void **state)
{
	static struct output to_server;
	struct my_session s;

	output_init(&to_server);
	my_session_begin(&s, "home");
	my_session_set(&s, &s.back->settings, "time_zone", "UTC");
	my_session_set(&s, &s.back->settings, MY_SCHEMA, "shop");
	my_session_set(&s, &s.back->settings, MY_NO_MULTI, "1");
	my_pin_add(NULL, s.back, MY_PIN_LOCK, "a");
	s.back->tainted = s.back->was_in_transaction = true;
	s.back->insert_id_owner = 1;
	s.back->own_error.code = 1064;
	my_sync_reset(s.back, &to_server);
	assert_written(&to_server, "COM31; " MYSQL_ARM_SQL "; " MYSQL_NAMES_SQL);
	assert_int_equal(s.back->n_expected, 3);
	assert_null(settings_get(s.back->settings, "time_zone"));
	assert_string_equal(settings_get(s.back->settings, MY_SCHEMA), "shop");
	assert_string_equal(settings_get(s.back->settings, MY_NO_MULTI), "1");
	assert_string_equal(
		settings_get(s.back->settings, "collation_connection"), "utf8mb4_general_ci");
	assert_true(list_empty(&s.back->pins));
	assert_false(s.back->tainted || s.back->was_in_transaction);
	assert_int_equal(s.back->insert_id_owner, 0);
	assert_int_equal(s.back->own_error.code, 0);
	s.back->n_expected = 0;
	s.back->handle->flavour = MY_FLAVOUR_IGNORE_SPACE;
	my_sync_reset(s.back, &to_server);
	assert_written(
		&to_server, "COM31; " MYSQL_ARM_SQL "; " MYSQL_NAMES_SQL "; " MY_IGNORE_SPACE_SQL);
	my_session_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(differences_alone_are_written),
	cmocka_unit_test(values_are_numbers_or_quoted),
	cmocka_unit_test(collation_comes_behind_its_character_set),
	cmocka_unit_test(what_is_no_variable_has_a_command),
	cmocka_unit_test(insert_id_is_brought_only_to_who_reads_it),
	cmocka_unit_test(every_command_awaits_its_answer),
	cmocka_unit_test(reset_leaves_the_schema_and_nothing_else),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
