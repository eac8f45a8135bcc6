/* The parts of MySQL's protocol one by one: the scan of a text, the end of an answer, numbers and
 * texts of variable length, what pins a connection. */
#include <stdio.h>
#include <string.h>

#include "../test.h"
#include "proto/mysql/state.h"

/* --- scan.c --- */

static void scan(struct my_scan *s, const char *sql, size_t len, size_t piece)
{
	my_scan_init(s, false);
	for (size_t at = 0; at < len; at += piece)
		my_scan_feed(s, sql + at, len - at < piece ? len - at : piece);
	my_scan_end(s);
}

static void any_text_gives_the_same_in_pieces(void **state)
{
	static const char *const words[] = {"SELECT ", "SET ", "a", "'", "\"", "`", ";", "/*", "*/",
		"/*!", "--", "-- ", "\n", "\\", "(", ")", ",", "GET_LOCK", "@", "@@", "identity",
		" into ", ":=", "=", "?", ".", "last_insert_id", "12", " ", "#", "*", "/",
		"autocommit", "USE ", "CREATE ", "TEMPORARY ", "TABLE ", "\xc3\xa4", "timestamp"};
	uint32_t seed = 1;

	for (int round = 0; round < 20000; round++) {
		struct my_scan whole, pieces;
		struct buf sql = {0};
		for (int i = 0; i < 12; i++) {
			seed = seed * 1664525u + 1013904223u;
			buf_text(&sql, words[(seed >> 16) % ARRAY_LEN(words)]);
		}
		scan(&whole, (char *)sql.data, sql.len, sql.len);
		scan(&pieces, (char *)sql.data, sql.len, 1);
		bool same = whole.found == pieces.found && whole.exact == pieces.exact &&
			    whole.n_statements == pieces.n_statements &&
			    whole.locks_len == pieces.locks_len &&
			    memcmp(whole.locks, pieces.locks, whole.locks_len) == 0 &&
			    strcmp(whole.name, pieces.name) == 0;
		if (!same)
			fail_msg("%.*s: %x and %x", (int)sql.len, sql.data, whole.found,
				pieces.found);
		buf_clear(&sql);
	}
}

static void text_is_understood_however_it_is_cut(void **state)
{
	static const struct {
		const char *sql;
		uint32_t found;
		enum scan_exact exact;
		const char *name;
	} cases[] = {
		{"SELECT 1", 0, EXACT_NONE, ""},
		{"", 0, EXACT_NONE, ""},
		{"commit", SCAN_ENDS, EXACT_COMMIT, ""},
		{"/* a */ ROLLBACK -- b\n ;", SCAN_ENDS, EXACT_ROLLBACK, ""},
		{"ROLLBACK TO a", 0, EXACT_NONE, ""},
		{"SET autocommit = 0", SCAN_SET, EXACT_AUTOCOMMIT_OFF, ""},
		{"SET @a = 1", SCAN_SET | SCAN_USER_VARIABLE, EXACT_NONE, ""},
		{"SELECT @a", 0, EXACT_NONE, ""},
		{"SELECT @a := 1", SCAN_USER_VARIABLE, EXACT_NONE, ""},
		{"SELECT 1 INTO @a", SCAN_USER_VARIABLE, EXACT_NONE, ""},
		{"SELECT '@a := 1'", 0, EXACT_NONE, ""},
		{"SELECT 'it''s \\' GET_LOCK('", 0, EXACT_NONE, ""},
		{"SELECT GET_LOCK('Mine', 1)", SCAN_GET_LOCK, EXACT_NONE, ""},
		{"SELECT/*!50000 GET_LOCK('a', 1)*/", SCAN_GET_LOCK, EXACT_NONE, ""},
		{"SELECT /*M!100000 GET_LOCK*/ ('a', 1)", SCAN_GET_LOCK, EXACT_NONE, ""},
		{"SELECT /* GET_LOCK('a', 1) */ 1", 0, EXACT_NONE, ""},
		{"SELECT 1 -- GET_LOCK('a', 1)", 0, EXACT_NONE, ""},
		{"SELECT 1 # GET_LOCK('a', 1)", 0, EXACT_NONE, ""},
		{"SELECT 1--GET_LOCK('a', 1)", SCAN_GET_LOCK, EXACT_NONE, ""},
		{"LOCK TABLES t READ", SCAN_LOCK, EXACT_NONE, "tables"},
		{"SELECT 1; LOCK INSTANCE FOR BACKUP", SCAN_LOCK, EXACT_NONE, "instance"},
		{"CREATE TEMPORARY TABLE IF NOT EXISTS s.t (a int)", SCAN_TEMPORARY, EXACT_NONE,
			"t"},
		{"SELECT LAST_INSERT_ID()", SCAN_LAST_INSERT_ID, EXACT_LAST_INSERT_ID, ""},
		{"SELECT @@identity", SCAN_LAST_INSERT_ID, EXACT_LAST_INSERT_ID, ""},
		{"SHOW WARNINGS", SCAN_DIAGNOSTICS, EXACT_SHOW_WARNINGS, ""},
		{"KILL QUERY 12", 0, EXACT_KILL_QUERY, ""},
		{"KILL 12; KILL 13", 0, EXACT_NONE, ""},
	};
	static struct my_scan s;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t len = strlen(cases[i].sql);
		for (size_t piece = 1; piece <= len + 1; piece++) {
			scan(&s, cases[i].sql, len, piece);
			if (s.found != cases[i].found || s.exact != cases[i].exact ||
				strcmp(s.name, cases[i].name) != 0)
				fail_msg("\"%s\" in pieces of %zu: found %x, exact %d, name \"%s\"",
					cases[i].sql, piece, s.found, s.exact, s.name);
		}
	}
}

static void names_of_locks_are_what_stands_in_the_text(void **state)
{
	/* The names, each with a comma behind it. */
	static const struct {
		const char *sql, *names;
	} cases[] = {
		{"SELECT GET_LOCK('Mine', 1)", "'Mine',"},
		{"SELECT get_lock ( \"it's\" , 1)", "\"it's\","},
		{"SELECT GET_LOCK('it''s', 1), GET_LOCK('b', 1)", "'it''s','b',"},
		{"SELECT/*!50000 GET_LOCK('a', 1)*/", "'a',"},
		{"SELECT 1--GET_LOCK('a', 1)", "'a',"},
		{"SELECT ?, GET_LOCK(?, ?), GET_LOCK(?, 1)", "?1,?3,"},
		{"SELECT GET_LOCK(CONCAT('a', 1), 1)", ","},
		{"SELECT GET_LOCK('a' 'b', 1)", ","},
		{"SELECT GET_LOCK(_utf8mb4'a', 1)", ","},
		{"SELECT GET_LOCK('a' COLLATE utf8mb4_bin, 1)", ","},
		{"SELECT GET_LOCK('a\\'', 1), 'b'", ","},
		{"SELECT GET_LOCK(`a`, 1)", ","},
		{"SELECT GET_LOCK('', 1)", ","},
		{"SELECT GET_LOCK(@a, 1)", ","},
		{"SELECT GET_LOCK(?+1, 1)", ","},
		{"SELECT GET_LOCK('a'", ","},
		{"SELECT GET_LOCK(", ","},
		{"SELECT RELEASE_LOCK('a')", ""},
		{"SELECT 'GET_LOCK('", ""},
	};
	static struct my_scan s;
	char names[SCAN_LOCKS_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t len = strlen(cases[i].sql);
		for (size_t piece = 1; piece <= len + 1; piece++) {
			scan(&s, cases[i].sql, len, piece);
			for (size_t at = 0; at < s.locks_len; at++)
				names[at] = s.locks[at] ? s.locks[at] : ',';
			names[s.locks_len] = 0;
			assert_string_equal(names, cases[i].names);
		}
	}
}

static void more_locks_than_can_be_named_are_one_without_a_name(void **state)
{
	static struct my_scan s;
	static char sql[40000];
	size_t len = 0, n = 0;

	while (len < 30000)
		len += (size_t)snprintf(sql + len, sizeof(sql) - len, "%s GET_LOCK('%zu', 0)",
			len ? "," : "DO", len);
	scan(&s, sql, len, len);
	for (size_t at = 0; at < s.locks_len; at += strlen(s.locks + at) + 1)
		n++;
	assert_true(n > 10 && s.locks_len <= sizeof(s.locks));
	assert_string_equal(s.locks + s.locks_len - 1, "");
	assert_int_equal(s.locks[s.locks_len - 2], 0);
	len = (size_t)snprintf(sql, sizeof(sql), "DO GET_LOCK('%0300d', 0)", 1);
	scan(&s, sql, len, 7);
	assert_int_equal(s.locks_len, 1);
}

/* --- follow.c --- */

static enum follow_packet step(struct follow *f, const char *payload, size_t len)
{
	return follow_step(f, (const uint8_t *)payload, len);
}

#define EOF_PACKET(status) "\xfe\0\0" status "\0", 5

static void result_sets_end_at_the_last_one(void **state)
{
	struct follow f;

	follow_start(&f, SHAPE_RESULTS);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(step(&f, "\1", 1), PACKET_PLAIN);
		assert_int_equal(step(&f, "\3def", 4), PACKET_PLAIN);
		assert_int_equal(step(&f, EOF_PACKET("\2")), PACKET_EOF);
		assert_int_equal(step(&f, "\1a", 2), PACKET_PLAIN);
		assert_int_equal(step(&f, EOF_PACKET("\x0a")), PACKET_EOF);
		assert_int_equal(f.state, FOLLOW_FIRST);
	}
	assert_int_equal(step(&f, "\0\0\0\2\0\0\0", 7), PACKET_OK);
	assert_int_equal(f.state, FOLLOW_DONE);
	assert_int_equal(step(&f, "\0\0\0\2\0\0\0", 7), PACKET_BROKEN);
}

static void row_that_begins_like_an_end_is_a_row(void **state)
{
	struct follow f;

	follow_start(&f, SHAPE_ROWS);
	assert_int_equal(step(&f, "\xfe", MY_PACKET_FULL), PACKET_PLAIN);
	assert_int_equal(step(&f, EOF_PACKET("\2")), PACKET_PLAIN);
	assert_int_equal(step(&f, EOF_PACKET("\2")), PACKET_EOF);
	assert_int_equal(f.state, FOLLOW_DONE);
	assert_int_equal(f.n_rows, 1);
}

static void hostile_answers_are_broken(void **state)
{
	static const struct {
		const char *payload;
		size_t len;
	} firsts[] = {
		{"", 0},
		{"\0", 1},
		{"\0\xfe\1", 3},
		{"\xfe", 1},
		{"\xfb", 1},
		{"\xfd\0\0", 3},
		{"\xfd\0\0\1", 4},
		{"\1\1", 2},
	};
	struct follow f;

	for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
		follow_start(&f, i == 4 ? SHAPE_PREPARE : SHAPE_RESULTS);
		assert_int_equal(step(&f, firsts[i].payload, firsts[i].len), PACKET_BROKEN);
	}
	follow_start(&f, SHAPE_PREPARE);
	assert_int_equal(step(&f, "\0\1\0\0\0\1\0\1\0\0\0", 11), PACKET_BROKEN);
}

/* --- wire.c --- */

static void lengths_survive_writing_and_reading(void **state)
{
	static const uint64_t values[] = {0, 1, 0xfa, 0xfb, 0xff, 0xffff, 0x10000, 0xffffff,
		0x1000000, UINT32_MAX, UINT64_MAX};
	struct reader r;

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct buf b = {0};
		my_write_lenenc(&b, values[i]);
		reader_init(&r, b.data, b.len);
		assert_true(my_read_lenenc(&r) == values[i] && reader_done(&r));
		for (size_t n = 0; n < b.len; n++) {
			reader_init(&r, b.data, n);
			my_read_lenenc(&r);
			assert_true(r.failed);
		}
		buf_clear(&b);
	}
}

static void length_past_the_end_is_refused(void **state)
{
	static const uint8_t data[] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'a'};
	struct reader r;
	size_t len;

	reader_init(&r, data, sizeof(data));
	assert_null(my_read_lenenc_bytes(&r, &len));
	assert_true(r.failed && len == 0);
}

/* --- track.c --- */

static void pins_do_not_grow_without_limit(void **state)
{
	struct my_back back = {0};
	struct list *link;
	size_t n = 0;
	char name[16];

	list_init(&back.pins);
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		my_pin_add(NULL, &back, i % 2 ? MY_PIN_LOCK : MY_PIN_TEMPORARY, name);
	}
	list_for_each (link, &back.pins)
		n++;
	assert_true(n > 100 && n < 1000);
	/* What was not counted still holds the connection. */
	my_pin_end(&back, MY_PIN_LOCK, NULL);
	my_pin_end(&back, MY_PIN_TEMPORARY, NULL);
	assert_true(my_pins_dirty(&back));
	my_pins_clear(&back);
	assert_false(my_pins_dirty(&back));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(text_is_understood_however_it_is_cut),
	cmocka_unit_test(any_text_gives_the_same_in_pieces),
	cmocka_unit_test(names_of_locks_are_what_stands_in_the_text),
	cmocka_unit_test(more_locks_than_can_be_named_are_one_without_a_name),
	cmocka_unit_test(result_sets_end_at_the_last_one),
	cmocka_unit_test(row_that_begins_like_an_end_is_a_row),
	cmocka_unit_test(hostile_answers_are_broken),
	cmocka_unit_test(lengths_survive_writing_and_reading),
	cmocka_unit_test(length_past_the_end_is_refused),
	cmocka_unit_test(pins_do_not_grow_without_limit),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
