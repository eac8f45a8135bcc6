/* The scan of SQL texts: what each may change in the session, whole and fed byte by byte. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "proto/pgsql/glance.h"
#include "proto/pgsql/scan.h"
#include "util/bytes.h"

static const char *const kinds[] = {
	[EFFECT_SET] = "set",
	[EFFECT_SET_LOCAL] = "local",
	[EFFECT_RESET] = "reset",
	[EFFECT_RESET_ALL] = "reset_all",
	[EFFECT_SET_CONFIG] = "config",
	[EFFECT_SESSION_AUTHORIZATION] = "authorization",
	[EFFECT_DISCARD_ALL] = "discard",
	[EFFECT_DISCARD_TEMP] = "discard_temp",
	[EFFECT_PREPARE] = "prepare",
	[EFFECT_EXECUTE] = "execute",
	[EFFECT_DEALLOCATE] = "deallocate",
	[EFFECT_DEALLOCATE_ALL] = "deallocate_all",
	[EFFECT_LISTEN] = "listen",
	[EFFECT_UNLISTEN] = "unlisten",
	[EFFECT_UNLISTEN_ALL] = "unlisten_all",
	[EFFECT_TEMP] = "temp",
	[EFFECT_HOLD_CURSOR] = "hold",
	[EFFECT_CLOSE] = "close",
	[EFFECT_CLOSE_ALL] = "close_all",
	[EFFECT_LOAD] = "load",
	[EFFECT_ROLLBACK_TO] = "rollback_to",
	[EFFECT_ADVISORY_LOCK] = "lock",
	[EFFECT_ADVISORY_UNLOCK] = "unlock",
	[EFFECT_ADVISORY_UNLOCK_ALL] = "unlock_all",
};

/* "0 set(work_mem,1MB)" for each, joined by "; ". */
static void print(const struct scan *s, struct buf *b)
{
	for (unsigned i = 0; i < s->n_effects; i++) {
		const struct effect *e = &s->effects[i];
		buf_printf(b, "%s%u %s", i ? "; " : "", e->statement, kinds[e->kind]);
		if (e->name || e->value || e->param)
			buf_printf(b, "(%s", e->name ? e->name : "?");
		if (e->value)
			buf_printf(b, ",%s", e->value);
		if (e->param)
			buf_printf(b, ",$%d", e->param);
		if (e->name || e->value || e->param)
			buf_u8(b, ')');
	}
	if (s->overflow)
		buf_text(b, " overflow");
	buf_u8(b, 0);
}

/* `piece` bytes at a time, cut once at `cut`. */
static void scan_in_pieces(const char *sql, size_t piece, size_t cut, struct buf *ret_text)
{
	static struct scan s;
	size_t len = strlen(sql);

	scan_init(&s);
	for (size_t at = 0; at < len;) {
		size_t n = len - at < piece ? len - at : piece;
		if (at < cut && at + n > cut)
			n = cut - at;
		/* In memory of its own size. */
		char *copy = malloc(n);
		memcpy(copy, sql + at, n);
		scan_feed(&s, copy, n);
		free(copy);
		at += n;
	}
	scan_end(&s);
	print(&s, ret_text);
	scan_clear(&s);
}

/* In memory of its own size. */
static bool glance(const char *sql)
{
	size_t len = strlen(sql);
	char *copy = malloc(len);

	memcpy(copy, sql, len);
	bool enough = glance_is_enough(copy, len);
	free(copy);
	return enough;
}

static void check(const char *sql, const char *expected)
{
	struct buf text = {0};

	scan_in_pieces(sql, SIZE_MAX, 0, &text);
	if (strcmp((char *)text.data, expected) != 0)
		fail_msg("%s\nis     %s\nnot    %s", sql, text.data, expected);
	if (*expected && glance(sql))
		fail_msg("%s\nis not seen at a glance", sql);
	for (size_t piece = 1; piece < 4; piece++) {
		buf_clear(&text);
		scan_in_pieces(sql, piece, 0, &text);
		if (strcmp((char *)text.data, expected) != 0)
			fail_msg("%s\nin pieces of %zu is %s", sql, piece, text.data);
	}
	for (size_t cut = 1; cut < strlen(sql); cut++) {
		buf_clear(&text);
		scan_in_pieces(sql, SIZE_MAX, cut, &text);
		if (strcmp((char *)text.data, expected) != 0)
			fail_msg("%s\ncut at %zu is %s", sql, cut, text.data);
	}
	buf_clear(&text);
}

static void ordinary_statements_change_nothing(void **state)
{
	check("", "");
	check(";; ;", "");
	check("SELECT 1", "");
	check("INSERT INTO t VALUES ('SET a TO b', \"listen\", $1)", "");
	check("SELECT setting FROM pg_settings WHERE name = 'set_config'", "");
	check("BEGIN; UPDATE t SET a = 1; COMMIT", "");
	check("ROLLBACK", "");
	check("SET CONSTRAINTS ALL DEFERRED", "");
	check("CREATE TABLE temp_x (a int)", "");
}

static void settings_are_read(void **state)
{
	check("SET work_mem TO '1MB'", "0 set(work_mem,'1MB')");
	check("set Work_Mem=64", "0 set(work_mem,64)");
	check("SET SESSION work_mem TO 64;", "0 set(work_mem,64)");
	check("SET \"Work\".mem TO DEFAULT", "0 reset(Work.mem)");
	check("SET search_path TO a, \"B\", 'c''d'", "0 set(search_path,a, \"B\", 'c''d')");
	check("SET LOCAL work_mem TO 64", "0 local");
	check("SET TRANSACTION READ ONLY", "0 local");
	check("SET TIME ZONE 'UTC'", "0 set(timezone,'UTC')");
	check("SET TIME ZONE LOCAL", "0 reset(timezone)");
	check("SET NAMES 'latin1'", "0 set(client_encoding,'latin1')");
	check("SET SCHEMA 'x'", "0 set(search_path,'x')");
	check("SET ROLE someone", "0 set(role,someone)");
	check("SET SESSION AUTHORIZATION someone", "0 authorization");
	check("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE",
		"0 set(default_transaction_read_only,on); "
		"0 set(default_transaction_isolation,serializable)");
	check("RESET work_mem", "0 reset(work_mem)");
	check("RESET ALL", "0 reset_all");
	check("SELECT 1; SET a TO 1; ; SELECT 2; SET b TO 2", "1 set(a,1); 3 set(b,2)");
}

static void comments_are_not_seen(void **state)
{
	check("-- SET a TO 1", "");
	check("-- x\nSET a TO 1", "0 set(a,1)");
	check("-- x\rSET a TO 1", "0 set(a,1)");
	check("/* SET a TO 1 */", "");
	check("/* /* x */ SET b TO 2; */ SET a TO 1", "0 set(a,1)");
	check("/**/SET/***/a/*/**/*/TO/* ; */1/* x", "0 set(a,1)");
	check("SET a TO 1 - 2 / 3 -- x", "0 set(a,1 - 2 / 3)");
	check("SET a TO '--'", "0 set(a,'--')");
	check("SET a TO '/*'; SET b TO '*/'", "0 set(a,'/*'); 1 set(b,'*/')");
	check("SELECT 1 / * 2; SET a TO 1", "1 set(a,1)");
}

static void strings_are_not_looked_into(void **state)
{
	check("SELECT '; SET a TO 1; '", "");
	check("SELECT 'it''s; SET a TO 1; '; LISTEN x", "1 listen(x)");
	/* A backslash is itself, but for E''. */
	check("SELECT '\\'; LISTEN x", "1 listen(x)");
	check("SELECT E'\\'; LISTEN x", "");
	check("SELECT e'\\\\'; LISTEN x", "1 listen(x)");
	check("SELECT ee'\\'; LISTEN x", "1 listen(x)");
	check("SELECT B'1'; LISTEN x", "1 listen(x)");
	check("SELECT \"; LISTEN y; \"\"; \"; LISTEN x", "1 listen(x)");
	check("LISTEN \"A \"\"b\"\" c\"", "0 listen(A \"b\" c)");
	check("SELECT U&'\\0041'; LISTEN x", "1 listen(x)");
}

static void dollar_quotes_are_not_looked_into(void **state)
{
	check("SELECT $$; LISTEN y; $$; LISTEN x", "1 listen(x)");
	check("SELECT $a$; $$; $b$; $a; $A$; LISTEN y; $a$; LISTEN x", "1 listen(x)");
	check("SELECT $a$ $a $aa$ $$a$; LISTEN x", "1 listen(x)");
	check("DO $do$ BEGIN PERFORM 'x'; END $do$; LISTEN x", "0 config; 1 listen(x)");
	/* A parameter, and a dollar within a word, are none. */
	check("SELECT $1; LISTEN x", "1 listen(x)");
	check("SELECT a$b$c; LISTEN x", "1 listen(x)");
	check("SET a TO $$b;c$$", "0 set(a,$$b;c$$)");
	check("SELECT $a; LISTEN x", "1 listen(x)");
}

static void statements_of_names_are_read(void **state)
{
	check("PREPARE a (int) AS SELECT $1", "0 prepare(a)");
	check("PREPARE TRANSACTION 'x'", "");
	check("EXECUTE a (1); EXECUTE \"B\"", "0 execute(a); 1 execute(B)");
	check("DEALLOCATE a; DEALLOCATE PREPARE b; DEALLOCATE ALL; DEALLOCATE PREPARE ALL",
		"0 deallocate(a); 1 deallocate(b); 2 deallocate_all; 3 deallocate_all");
	check("DEALLOCATE \"all\"", "0 deallocate(all)");
	check("LISTEN a; UNLISTEN a; UNLISTEN *", "0 listen(a); 1 unlisten(a); 2 unlisten_all");
	check("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "0 hold(c)");
	check("DECLARE c CURSOR FOR SELECT 1", "");
	check("CLOSE c; CLOSE ALL", "0 close(c); 1 close_all");
	check("DISCARD ALL; DISCARD TEMP; DISCARD PLANS", "0 discard; 1 discard_temp");
	check("LOAD 'x'", "0 load");
	check("ROLLBACK TO a; ROLLBACK TO SAVEPOINT a; ROLLBACK WORK TO a",
		"0 rollback_to; 1 rollback_to; 2 rollback_to");
}

static void temporary_things_are_seen(void **state)
{
	check("CREATE TEMP TABLE x (a int)", "0 temp");
	check("CREATE LOCAL TEMPORARY TABLE x AS SELECT 1", "0 temp");
	check("CREATE OR REPLACE TEMP VIEW x AS SELECT 1", "0 temp");
	check("SELECT 1 INTO TEMP x", "0 temp");
	check("CREATE TABLE pg_temp.x (a int)", "0 temp");
}

static void calls_are_seen(void **state)
{
	check("SELECT set_config('a.b', 'x', false)", "0 config(a.b,x)");
	check("SELECT pg_catalog.SET_CONFIG ( 'a' , $2 , FALSE )", "0 config(a,$2)");
	check("SELECT set_config('a', 'x', true)", "");
	check("SELECT set_config('a', 'x', 'off')", "0 config(a,x)");
	check("SELECT set_config('a', lower('X'), false)", "0 config(a)");
	check("SELECT set_config(name, 'x', false) FROM t", "0 config");
	check("SELECT set_config('a', 'it''s', false), set_config('b', $1::text, false)",
		"0 config(a,it's); 0 config(b,$1)");
	check("SELECT pg_advisory_lock(1)", "0 lock");
	check("SELECT pg_try_advisory_lock(1, 2), pg_advisory_unlock(3)", "0 lock; 0 unlock");
	check("SELECT pg_advisory_xact_lock(1)", "");
	check("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
		"0 unlock_all; 1 close_all; 2 unlisten_all; 3 reset_all");
	check("SELECT pg_advisory_lock", "");
	check("SELECT 'pg_advisory_lock(1)'", "");
}

static void arguments_that_are_expressions_are_not_known(void **state)
{
	check("SELECT set_config('a', 'x' || 'y', false)", "0 config(a)");
	check("SELECT set_config('a', 'x' || $1, false)", "0 config(a)");
	check("SELECT set_config('a', $1 || 'x', false)", "0 config(a)");
	check("SELECT set_config('a', 'x'\n'y', false)", "0 config(a)");
	check("SELECT set_config('a' || 'b', 'x', false)", "0 config");
	check("SELECT set_config('a', 'x'::text || 'y', false)", "0 config(a)");
	check("SELECT set_config('a', 'x'::pg_catalog.text, false)", "0 config(a,x)");
	check("SELECT set_config('a', ('x'), false)", "0 config(a)");
	check("SELECT set_config('a', -1, false)", "0 config(a)");
	/* An escape that stands for something else. */
	check("SELECT set_config('a', E'x\\ny', false)", "0 config(a)");
	check("SELECT set_config('a', E'x\\'y\\\\', false)", "0 config(a,x'y\\)");
	check("SELECT E'\\n', set_config('a', 'x', false)", "0 config(a,x)");
	/* Whether it is the session's cannot be told. */
	check("SELECT set_config('a', 'x', $1)", "0 config(a)");
	check("SELECT set_config('a', 'x', NOT true)", "0 config(a)");
	check("SELECT set_config('a', 'x', true AND false)", "0 config(a)");
}

static void values_that_are_too_long_overflow(void **state)
{
	struct buf sql = {0}, text = {0};

	buf_text(&sql, "SET a TO '");
	for (int i = 0; i < SCAN_VALUE_MAX; i++)
		buf_u8(&sql, 'x');
	buf_cstr(&sql, "'; LISTEN x");
	scan_in_pieces((char *)sql.data, SIZE_MAX, 0, &text);
	assert_string_equal((char *)text.data, "1 listen(x) overflow");
	buf_clear(&sql);
	buf_clear(&text);
	for (int i = 0; i < SCAN_EFFECTS_MAX + 1; i++)
		buf_text(&sql, "LISTEN x; ");
	buf_u8(&sql, 0);
	scan_in_pieces((char *)sql.data, SIZE_MAX, 0, &text);
	assert_non_null(strstr((char *)text.data, " overflow"));
	buf_clear(&sql);
	buf_clear(&text);
}

static void any_text_gives_the_same_in_pieces(void **state)
{
	static const char *const words[] = {"SET ", "a", " TO ", "'", "\"", "$$", "$a$", "$1", ";",
		"/*", "*/", "--", "\n", "E'", "\\", "(", ")", ",", "set_config", "LISTEN ", "-",
		"/", "*", "true", "x", "into ", "Temp ", "pg_advisory_lock", "pg_x", "12", ".",
		"::", "[", " ", "score", "INTO", "=", "\xc3\xa4", "b"};
	uint32_t seed = 1;

	for (int round = 0; round < 20000; round++) {
		struct buf sql = {0}, whole = {0}, pieces = {0};
		/* Behind a first word that does not matter most is passed over at once. */
		buf_text(&sql, round % 2 ? "Select " : "");
		for (int i = 0; i < 12; i++) {
			seed = seed * 1664525u + 1013904223u;
			buf_text(&sql, words[(seed >> 16) % ARRAY_LEN(words)]);
		}
		buf_u8(&sql, 0);
		scan_in_pieces((char *)sql.data, SIZE_MAX, 0, &whole);
		scan_in_pieces((char *)sql.data, 1, 0, &pieces);
		if (strcmp((char *)whole.data, (char *)pieces.data) != 0)
			fail_msg("%s\n%s\n%s", sql.data, whole.data, pieces.data);
		buf_clear(&sql);
		buf_clear(&whole);
		buf_clear(&pieces);
	}
}

static void what_the_scan_finds_a_glance_suspects(void **state)
{
	static const char *const words[] = {"set_config(", "PG_ADVISORY_LOCK(",
		"pg_try_advisory_lock(1)", "into ", "Temp ", "temporary ", "table ", "; ", ";",
		"set ", "listen ", "x", "from ", " ", "'", "\"", "$$", "/*", "*/", "--", "\n", "1",
		")", ",", "('a', 'b', false)", "and ", "abc def ghi jkl "};
	static const char *const first[] = {
		"select ", "Insert ", "with ", "begin", "", "set ", "do ", "reset ", "listen"};
	uint32_t seed = 1;
	int n_enough = 0, n_found = 0;

	for (int round = 0; round < 200000; round++) {
		struct buf sql = {0}, found = {0};
		buf_text(&sql, first[round % (int)ARRAY_LEN(first)]);
		for (int i = 0; i < round % 9; i++) {
			seed = seed * 1664525u + 1013904223u;
			buf_text(&sql, words[(seed >> 16) % ARRAY_LEN(words)]);
		}
		buf_u8(&sql, 0);
		scan_in_pieces((char *)sql.data, SIZE_MAX, 0, &found);
		bool enough = glance((char *)sql.data);
		if (found.data[0] && enough)
			fail_msg("%s\n%s", sql.data, found.data);
		n_enough += enough;
		n_found += found.data[0] != 0;
		buf_clear(&sql);
		buf_clear(&found);
	}
	/* Both happen. */
	assert_true(n_enough > 10000 && n_found > 10000);
}

static void a_glance_is_enough_for_most_statements(void **state)
{
	static const char *const sql[] = {"BEGIN", "commit;", "select 1",
		"SELECT abalance FROM pgbench_accounts WHERE aid = 12345",
		"UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = $1",
		"INSERT INTO users (id, created_at, account_id, email, name) VALUES ($1, $2, $3, "
		"$4, $5) RETURNING users.id",
		"SELECT users.id AS users_id, users.last_name, items.stamp\nFROM users JOIN items "
		"ON items.user_id = users.id"};

	for (size_t i = 0; i < ARRAY_LEN(sql); i++)
		assert_true(glance(sql[i]));
	assert_false(glance(""));
	assert_false(glance("SET a TO b"));
	assert_false(glance("reset all"));
	assert_false(glance("select 1; select 2"));
	assert_false(glance("select 12345678901234;x"));
	assert_false(glance("/* */ listen a"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_statements_change_nothing),
		cmocka_unit_test(settings_are_read),
		cmocka_unit_test(comments_are_not_seen),
		cmocka_unit_test(strings_are_not_looked_into),
		cmocka_unit_test(dollar_quotes_are_not_looked_into),
		cmocka_unit_test(statements_of_names_are_read),
		cmocka_unit_test(temporary_things_are_seen),
		cmocka_unit_test(calls_are_seen),
		cmocka_unit_test(arguments_that_are_expressions_are_not_known),
		cmocka_unit_test(values_that_are_too_long_overflow),
		cmocka_unit_test(any_text_gives_the_same_in_pieces),
		cmocka_unit_test(what_the_scan_finds_a_glance_suspects),
		cmocka_unit_test(a_glance_is_enough_for_most_statements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
