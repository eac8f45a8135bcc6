/* What a session is made of: learnt from what OK packets tell of it, and from what the scan of the
 * text has found. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "mysql_session.h"

/* --- what is told --- */

enum { VARIABLE = 0, SCHEMA = 1, STATE = 2, UNKNOWN = 9 };

static void put_text(struct buf *b, const char *text)
{
	my_write_lenenc_bytes(b, text, strlen(text));
}

static void put_entry(struct buf *b, uint8_t kind, struct buf *data)
{
	buf_u8(b, kind);
	my_write_lenenc_bytes(b, data->data, data->len);
	buf_clear(data);
}

static void put_variable(struct buf *b, const char *name, const char *value)
{
	struct buf pair = {0};

	put_text(&pair, name);
	put_text(&pair, value);
	put_entry(b, VARIABLE, &pair);
}

static void put_schema(struct buf *b, const char *name)
{
	struct buf data = {0};

	put_text(&data, name);
	put_entry(b, SCHEMA, &data);
}

static void put_state(struct buf *b)
{
	struct buf data = {0};

	put_text(&data, "1");
	put_entry(b, STATE, &data);
}

/* Of that many bytes, in memory of its own size, so that a read behind its end is seen. */
static bool track(struct my_front *front, struct my_back *back, const struct buf *b, size_t len)
{
	uint8_t *copy = test_malloc(len + !len);

	if (len)
		memcpy(copy, b->data, len);
	struct my_ok ok = {.tracked = copy, .tracked_len = len};
	bool good = my_track(front, back, &ok);
	test_free(copy);
	return good;
}

/* The client's command was answered so. */
static void tell(struct my_session *s, struct buf *b)
{
	assert_true(track(s->front, s->back, b, b->len));
	buf_clear(b);
}

static void assert_setting(const struct my_session *s, const char *name, const char *value)
{
	const struct settings *lists[] = {s->front->settings, s->back->settings};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		const char *found = settings_get(lists[i], name);
		if (!value)
			assert_null(found);
		else if (!found || strcmp(found, value) != 0)
			fail_msg("%s is %s and not %s", name, found ? found : "unset", value);
	}
}

/* "lock(a) tables(tables)", in the order in which they were set. */
static void assert_pins(const struct my_session *s, const char *expected)
{
	static const char *const names[] = {[MY_PIN_VARIABLE] = "variable",
		[MY_PIN_LOCK] = "lock",
		[MY_PIN_TABLES] = "tables",
		[MY_PIN_TEMPORARY] = "temporary",
		[MY_PIN_PREPARE] = "prepare",
		[MY_PIN_HANDLER] = "handler",
		[MY_PIN_SAVEPOINT] = "savepoint",
		[MY_PIN_TRANSACTION] = "transaction",
		[MY_PIN_FOUND_ROWS] = "found rows",
		[MY_PIN_CURSOR] = "cursor",
		[MY_PIN_LONG_DATA] = "long data",
		[MY_PIN_SETTINGS] = "settings",
		[MY_PIN_STATE] = "state"};
	struct buf text = {0};
	struct list *link;

	list_for_each (link, &s->back->pins) {
		const struct my_pin *pin = list_entry(link, struct my_pin, link);
		buf_printf(&text, "%s%s", text.len ? " " : "", names[pin->kind]);
		if (pin->name[0])
			buf_printf(&text, "(%s)", pin->name);
	}
	buf_u8(&text, 0);
	assert_string_equal((char *)text.data, expected);
	buf_clear(&text);
}

static void variables_are_set_on_both_sides(void **state)
{
	struct my_session s;
	struct buf b = {0}, pairs = {0};

	my_session_begin(&s, NULL);
	put_variable(&b, "time_zone", "UTC");
	put_variable(&b, "sql_mode", "ANSI");
	tell(&s, &b);
	assert_setting(&s, "time_zone", "UTC");
	assert_setting(&s, "sql_mode", "ANSI");
	/* MariaDB puts several into one entry. */
	put_text(&pairs, "time_zone");
	put_text(&pairs, "CET");
	put_text(&pairs, "wait_timeout");
	put_text(&pairs, "60");
	put_entry(&b, VARIABLE, &pairs);
	tell(&s, &b);
	assert_setting(&s, "time_zone", "CET");
	assert_setting(&s, "wait_timeout", "60");
	assert_ptr_equal(s.front->settings, s.back->settings);
	assert_pins(&s, "");
	my_session_end(&s);
}

static void what_nobody_asked_for_is_the_connections_alone(void **state)
{
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, NULL);
	put_variable(&b, "time_zone", "UTC");
	put_state(&b);
	assert_true(track(NULL, s.back, &b, b.len));
	assert_string_equal(settings_get(s.back->settings, "time_zone"), "UTC");
	assert_null(settings_get(s.front->settings, "time_zone"));
	buf_clear(&b);
	my_session_end(&s);
}

static void variables_that_change_by_themselves_are_nobodys(void **state)
{
	static const char *const names[] = {"statement_id", "timestamp", "rand_seed1",
		"warning_count", "pseudo_thread_id", "GTID_NEXT", "session_track_schema"};
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, NULL);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		put_variable(&b, names[i], "1");
		tell(&s, &b);
		assert_setting(&s, names[i], NULL);
	}
	put_variable(&b, "last_insert_id", "18446744073709551615");
	tell(&s, &b);
	assert_setting(&s, "last_insert_id", NULL);
	assert_true(s.front->last_insert_id == UINT64_MAX && s.back->insert_id == UINT64_MAX);
	assert_int_equal(s.back->insert_id_owner, s.front->base.key.id);
	my_session_end(&s);
}

static void set_statement_is_not_kept(void **state)
{
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, NULL);
	s.front->found = SCAN_SET_STATEMENT;
	put_variable(&b, "max_statement_time", "10.0");
	put_state(&b);
	tell(&s, &b);
	assert_setting(&s, "max_statement_time", NULL);
	assert_pins(&s, "");
	my_session_end(&s);
}

static void collation_and_character_set_follow_each_other(void **state)
{
	struct my_session s;
	struct buf b = {0};
	char name[] = "latin1_bin";

	my_session_begin(&s, NULL);
	put_variable(&b, "collation_connection", "utf8mb4_bin");
	tell(&s, &b);
	assert_setting(&s, "character_set_connection", "utf8mb4");
	assert_setting(&s, "collation_connection", "utf8mb4_bin");
	/* SET NAMES latin1: its usual collation, whichever that is. */
	put_variable(&b, "character_set_connection", "latin1");
	tell(&s, &b);
	assert_setting(&s, "collation_connection", NULL);
	/* SET NAMES latin1 COLLATE latin1_bin. */
	s.front->found = SCAN_NAMES_COLLATE;
	s.front->found_name = name;
	put_variable(&b, "character_set_connection", "latin1");
	tell(&s, &b);
	assert_setting(&s, "collation_connection", "latin1_bin");
	s.front->found_name = NULL;
	my_session_end(&s);
}

static void schema_is_kept_unless_it_is_the_urls(void **state)
{
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, "home");
	put_schema(&b, "shop");
	tell(&s, &b);
	assert_setting(&s, MY_SCHEMA, "shop");
	put_schema(&b, "home");
	tell(&s, &b);
	assert_setting(&s, MY_SCHEMA, NULL);
	/* It was dropped. */
	put_schema(&b, "");
	tell(&s, &b);
	assert_setting(&s, MY_SCHEMA, "");
	assert_pins(&s, "");
	my_session_end(&s);
}

static void change_that_nobody_names_pins(void **state)
{
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, NULL);
	put_state(&b);
	tell(&s, &b);
	assert_pins(&s, "state");
	my_session_end(&s);
}

static void change_that_has_a_name_does_not(void **state)
{
	static const uint32_t found[] = {SCAN_USER_VARIABLE, SCAN_TEMPORARY, SCAN_DROP,
		SCAN_PREPARE, SCAN_DEALLOCATE, SCAN_SET, SCAN_UNLOCK};
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, NULL);
	for (size_t i = 0; i < ARRAY_LEN(found); i++) {
		s.front->found = found[i];
		put_state(&b);
		tell(&s, &b);
	}
	s.front->found = 0;
	put_state(&b);
	put_variable(&b, "time_zone", "UTC");
	tell(&s, &b);
	put_state(&b);
	put_schema(&b, "shop");
	tell(&s, &b);
	s.front->command = MY_COM_RESET_CONNECTION;
	put_state(&b);
	tell(&s, &b);
	assert_pins(&s, "");
	my_session_end(&s);
}

static void kinds_of_other_servers_are_passed_over(void **state)
{
	struct my_session s;
	struct buf b = {0}, data = {0};

	my_session_begin(&s, NULL);
	put_text(&data, "what");
	put_entry(&b, UNKNOWN, &data);
	put_variable(&b, "time_zone", "UTC");
	tell(&s, &b);
	assert_setting(&s, "time_zone", "UTC");
	my_session_end(&s);
}

static void value_that_cannot_be_repeated_pins(void **state)
{
	struct my_session s;
	struct buf b = {0}, pairs = {0};
	char *value = test_malloc(SETTINGS_VALUE_MAX + 1);

	memset(value, 'x', SETTINGS_VALUE_MAX);
	value[SETTINGS_VALUE_MAX] = 0;
	my_session_begin(&s, NULL);
	put_text(&pairs, "init_text");
	put_text(&pairs, value);
	put_text(&pairs, "time_zone");
	put_text(&pairs, "UTC");
	put_entry(&b, VARIABLE, &pairs);
	tell(&s, &b);
	assert_setting(&s, "init_text", NULL);
	assert_setting(&s, "time_zone", "UTC");
	assert_pins(&s, "settings(init_text)");
	test_free(value);
	my_session_end(&s);
}

/* A name that is none has a value too, which is not the next one's name. */
static void name_that_cannot_be_repeated_takes_its_value_along(void **state)
{
	struct my_session s;
	struct buf b = {0}, pairs = {0};
	char name[200];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	my_session_begin(&s, NULL);
	put_text(&pairs, name);
	put_text(&pairs, "time_zone");
	put_text(&pairs, "sql_mode");
	put_text(&pairs, "ANSI");
	put_entry(&b, VARIABLE, &pairs);
	tell(&s, &b);
	assert_setting(&s, "sql_mode", "ANSI");
	assert_setting(&s, "time_zone", NULL);
	assert_pins(&s, "settings");
	my_session_end(&s);
}

static void told_but_for_its_end_is_malformed(void **state)
{
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, NULL);
	put_variable(&b, "time_zone", "UTC");
	size_t first = b.len;
	put_schema(&b, "shop");
	size_t second = b.len;
	put_state(&b);
	for (size_t len = 0; len <= b.len; len++) {
		bool between = len == 0 || len == first || len == second || len == b.len;
		if (track(s.front, s.back, &b, len) != between)
			fail_msg("of %zu bytes %zu", b.len, len);
	}
	/* Entries whose content ends too early. */
	static const char *const cut[] = {"\0\4\3abc", "\0\5\3abc\1", "\1\1\1", "\1\4\5shop"};
	static const size_t sizes[] = {6, 7, 3, 6};
	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		buf_clear(&b);
		buf_put(&b, cut[i], sizes[i]);
		if (track(s.front, s.back, &b, b.len))
			fail_msg("entry %zu", i);
	}
	buf_clear(&b);
	my_session_end(&s);
}

static void clients_are_told_the_usual(void **state)
{
	struct buf b = {0}, pairs = {0}, told = {0}, expected = {0};

	put_variable(&b, "sql_mode", "ANSI");
	put_text(&pairs, "wait_timeout");
	put_text(&pairs, "60");
	put_text(&pairs, "time_zone");
	put_text(&pairs, "UTC");
	put_entry(&b, VARIABLE, &pairs);
	put_state(&b);
	put_schema(&b, "shop");
	const struct my_ok ok = {.tracked = b.data, .tracked_len = b.len};
	my_track_filter(&ok, &told);
	put_variable(&expected, "time_zone", "UTC");
	put_schema(&expected, "shop");
	assert_int_equal(told.len, expected.len);
	assert_memory_equal(told.data, expected.data, expected.len);
	buf_clear(&b);
	buf_clear(&told);
	buf_clear(&expected);
}

/* --- what the text does --- */

/* Of a statement's answer. */
enum { FAILS = 1, IN_TRANS = 2, NO_AUTOCOMMIT = 4 };

struct effect {
	uint32_t found;
	const char *name; /* NULL: none */
	const char *pins; /* afterwards */
	int how;
};

static void run(struct my_session *s, const struct effect *effect)
{
	s->front->found = effect->found;
	free(s->front->found_name);
	s->front->found_name = effect->name ? strdup(effect->name) : NULL;
	s->back->status = (effect->how & IN_TRANS ? MY_STATUS_IN_TRANS : 0) |
			  (effect->how & NO_AUTOCOMMIT ? 0 : MY_STATUS_AUTOCOMMIT);
	my_effects_apply(s->front, s->back, !(effect->how & FAILS));
	assert_pins(s, effect->pins);
}

static void run_all(const struct effect *statements, size_t n)
{
	struct my_session s;

	my_session_begin(&s, NULL);
	for (size_t i = 0; i < n; i++)
		run(&s, &statements[i]);
	my_session_end(&s);
}

#define RUN(statements) run_all(statements, ARRAY_LEN(statements))

/* How a lock gets its name is in locks.c. */
static void locks_pin_until_all_are_released(void **state)
{
	static const struct effect other = {0, NULL, "lock(a) lock(b)", 0};
	static const struct effect fails = {SCAN_RELEASE_LOCKS, NULL, "lock(a) lock(b)", FAILS};
	static const struct effect release = {SCAN_RELEASE_LOCKS, NULL, "", 0};
	struct my_session s;

	my_session_begin(&s, NULL);
	my_pin_add(NULL, s.back, MY_PIN_LOCK, "a");
	my_pin_add(NULL, s.back, MY_PIN_LOCK, "b");
	run(&s, &other);
	run(&s, &fails);
	run(&s, &release);
	my_session_end(&s);
}

static void tables_pin_until_they_are_unlocked(void **state)
{
	static const struct effect statements[] = {
		{SCAN_LOCK, "tables", "tables(tables)", 0},
		{SCAN_LOCK, "tables", "tables(tables)", 0},
		{SCAN_LOCK, "flush", "tables(tables) tables(flush)", 0},
		{SCAN_LOCK, "instance", "tables(tables) tables(flush) tables(instance)", 0},
		{SCAN_UNLOCK, "tables", "tables(instance)", 0},
		{SCAN_UNLOCK, "instance", "", 0},
		{SCAN_LOCK, "tables", "tables(tables)", 0},
		{SCAN_LOCK, "flush", "tables(tables) tables(flush)", 0},
		{SCAN_BEGINS, NULL, "tables(flush)", IN_TRANS},
	};

	RUN(statements);
}

static void what_has_a_name_pins_until_that_ends(void **state)
{
	static const struct effect statements[] = {
		{SCAN_TEMPORARY, "t", "temporary(t)", 0},
		{SCAN_HANDLER, "t", "temporary(t) handler(t)", 0},
		{SCAN_PREPARE, "t", "temporary(t) handler(t) prepare(t)", 0},
		{SCAN_DROP, "u", "temporary(t) handler(t) prepare(t)", 0},
		{SCAN_DROP, "t", "handler(t) prepare(t)", 0},
		{SCAN_HANDLER_CLOSE, "t", "prepare(t)", 0},
		{SCAN_DEALLOCATE, "u", "prepare(t)", 0},
		{SCAN_DEALLOCATE, "t", "", 0},
	};

	RUN(statements);
}

/* A part of it may have been carried out before the error. */
static void statement_that_fails_may_have_begun_something(void **state)
{
	static const struct effect statements[] = {
		{SCAN_USER_VARIABLE, NULL, "variable", FAILS},
		{SCAN_TEMPORARY, "t", "variable temporary(t)", FAILS},
		{SCAN_DROP, "t", "variable temporary(t)", FAILS},
		{SCAN_SET_PINS, NULL, "variable temporary(t) settings", FAILS},
	};

	RUN(statements);
}

static void savepoint_without_autocommit_pins_until_the_transaction_ends(void **state)
{
	static const struct effect statements[] = {
		{SCAN_SAVEPOINT, NULL, "", IN_TRANS},
		{SCAN_SET, NULL, "", IN_TRANS | NO_AUTOCOMMIT},
		{SCAN_SAVEPOINT, NULL, "savepoint", IN_TRANS | NO_AUTOCOMMIT},
		{0, NULL, "savepoint", IN_TRANS | NO_AUTOCOMMIT},
		{SCAN_ENDS, NULL, "", NO_AUTOCOMMIT},
	};

	RUN(statements);
}

static void set_transaction_pins_until_that_transaction_ends(void **state)
{
	static const struct effect statements[] = {
		{SCAN_SET | SCAN_SET_TRANSACTION, NULL, "transaction", 0},
		{SCAN_SET, NULL, "transaction", 0},
		{SCAN_BEGINS, NULL, "", IN_TRANS},
	};

	RUN(statements);
}

static void found_rows_pin_for_one_statement(void **state)
{
	static const struct effect statements[] = {
		{SCAN_CALC_FOUND_ROWS, NULL, "found rows", 0},
		{SCAN_DIAGNOSTICS, NULL, "found rows", 0},
		{0, NULL, "", 0},
		{SCAN_CALC_FOUND_ROWS, NULL, "", FAILS},
	};

	RUN(statements);
}

/* Whether what a procedure has created is all dropped by hand nobody knows. */
static void drop_after_a_change_without_a_name_taints(void **state)
{
	static const struct effect drop = {SCAN_DROP, "t", "", 0};
	struct my_session s;
	struct buf b = {0};

	my_session_begin(&s, NULL);
	put_state(&b);
	tell(&s, &b);
	assert_false(s.back->tainted);
	run(&s, &drop);
	assert_true(s.back->tainted);
	my_session_end(&s);
}

static void traces_that_others_must_not_meet_are_known(void **state)
{
	for (int kind = MY_PIN_VARIABLE; kind <= MY_PIN_STATE; kind++) {
		struct my_session s;
		my_session_begin(&s, NULL);
		my_pin_add(NULL, s.back, (enum my_pin_kind)kind, "a");
		assert_int_equal(my_pins_dirty(s.back),
			kind != MY_PIN_SAVEPOINT && kind != MY_PIN_FOUND_ROWS);
		my_pins_clear(s.back);
		assert_false(my_pins_dirty(s.back));
		my_session_end(&s);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(variables_are_set_on_both_sides),
	cmocka_unit_test(what_nobody_asked_for_is_the_connections_alone),
	cmocka_unit_test(variables_that_change_by_themselves_are_nobodys),
	cmocka_unit_test(set_statement_is_not_kept),
	cmocka_unit_test(collation_and_character_set_follow_each_other),
	cmocka_unit_test(schema_is_kept_unless_it_is_the_urls),
	cmocka_unit_test(change_that_nobody_names_pins),
	cmocka_unit_test(change_that_has_a_name_does_not),
	cmocka_unit_test(kinds_of_other_servers_are_passed_over),
	cmocka_unit_test(value_that_cannot_be_repeated_pins),
	cmocka_unit_test(name_that_cannot_be_repeated_takes_its_value_along),
	cmocka_unit_test(told_but_for_its_end_is_malformed),
	cmocka_unit_test(clients_are_told_the_usual),
	cmocka_unit_test(locks_pin_until_all_are_released),
	cmocka_unit_test(tables_pin_until_they_are_unlocked),
	cmocka_unit_test(what_has_a_name_pins_until_that_ends),
	cmocka_unit_test(statement_that_fails_may_have_begun_something),
	cmocka_unit_test(savepoint_without_autocommit_pins_until_the_transaction_ends),
	cmocka_unit_test(set_transaction_pins_until_that_transaction_ends),
	cmocka_unit_test(found_rows_pin_for_one_statement),
	cmocka_unit_test(drop_after_a_change_without_a_name_taints),
	cmocka_unit_test(traces_that_others_must_not_meet_are_known),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
