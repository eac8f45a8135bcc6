/* weir.ini and auth_file: what is taken, and that each mistake is told with its place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../test.h"
#include "config/config.h"
#include "config/options.h"

#define DB "[database d]\nurl = postgresql://u:p@h/d\n"

/* A folder of its own, for weir.ini and what lies beside it. */
static char folder[64], path[96], auth_path[96];

static int make_folder(void **state)
{
	snprintf(folder, sizeof(folder), "%s/weir-config-XXXXXX", P_tmpdir);
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/weir.ini", folder);
	snprintf(auth_path, sizeof(auth_path), "%s/users.txt", folder);
	return 0;
}

static int remove_folder(void **state)
{
	unlink(path);
	unlink(auth_path);
	return rmdir(folder);
}

static void write_file(const char *name, const void *content, size_t len)
{
	FILE *file = fopen(name, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(content, 1, len, file), len);
	fclose(file);
}

static struct config *read_bytes(const char *content, size_t len)
{
	struct config *config = NULL;
	struct buf problems = {0};

	write_file(path, content, len);
	if (config_read(path, &config, &problems) != 0)
		fail_msg("%.*s", (int)problems.len, problems.data);
	assert_int_equal(problems.len, 0);
	return config;
}

static struct config *read_good(const char *content)
{
	return read_bytes(content, strlen(content));
}

/* `line` is where the problem must be, `words` must be in it; no other problem is told. Line 0 with
 * a file is a problem of the whole. */
static void check_problem(
	const char *content, size_t len, const char *file, int line, const char *words)
{
	struct config *config = NULL;
	struct buf problems = {0};
	char place[128];

	write_file(path, content, len);
	int outcome = config_read(path, &config, &problems);
	buf_u8(&problems, 0);
	const char *text = (const char *)problems.data;
	snprintf(place, sizeof(place), "%s:%d: ", file, line);
	const char *end = strchr(text, '\n');
	if (outcome != 1 || strncmp(text, place, strlen(place)) != 0 || !strstr(text, words) ||
		!end || end[1])
		fail_msg("%s\ngave %d\n%s\ninstead of %s%s", content, outcome, text, place, words);
	assert_null(config);
	buf_clear(&problems);
}

static void bad(const char *content, int line, const char *words)
{
	check_problem(content, strlen(content), path, line, words);
}

static void bad_accounts(const char *accounts, int line, const char *words)
{
	static const char ini[] = "[weir]\nauth_file = users.txt\n" DB;

	write_file(auth_path, accounts, strlen(accounts));
	check_problem(ini, strlen(ini), auth_path, line, words);
}

/* --- sections --- */

static void unknown_sections_are_refused(void **state)
{
	static const char words[] =
		"unknown section: allowed are [weir], [defaults], [database NAME], [user NAME]";

	bad(DB "[pool]\n", 3, words);
	bad(DB "[pool]\nx = y\n", 3, words);
	bad(DB "[database]\n", 3, words);
	bad(DB "[database ]\n", 3, words);
	bad(DB "[databases x]\n", 3, words);
	bad(DB "[user]\n", 3, words);
	bad(DB "[Weir]\n", 3, words);
	bad(DB "[]\n", 3, words);
}

static void malformed_sections_are_refused(void **state)
{
	char text[256];

	bad("[weir\n" DB, 1, "a section is written [weir]");
	bad("[weir] x\n" DB, 1, "a section is written [weir]");
	bad("[weir]]\n" DB, 1, "a section is written [weir]");
	bad("[\n" DB, 1, "a section is written [weir]");
	bad("[database a]b]\n" DB, 1, "a section is written [weir]");
	bad("[database a ;b]\nworkers = 1\n" DB, 1, "a section is written [weir]");
	snprintf(text, sizeof(text), "%s[user %060d]\npassword = x\n", DB, 1);
	bad(text, 3, "at most 48 characters");
}

static void sections_stand_once(void **state)
{
	bad("[weir]\nworkers = 1\n[weir]\nworkers = 2\n" DB, 3, "twice");
	bad("[weir]\n[weir]\n" DB, 2, "twice");
	bad("[defaults]\n[defaults]\n" DB, 2, "twice");
	bad(DB "[weir]\n" DB, 4, "this database has a section already");
	bad(DB DB, 3, "this database has a section already");
	bad(DB "[user a]\npassword = x\n[user a]\npassword = y\n", 5,
		"this user has a section already");
}

static void empty_database_section_has_no_url(void **state)
{
	bad("[database d]\n", 1, "database d has no url");
}

static void blanks_in_sections_do_not_count(void **state)
{
	struct config *config = read_good("  [ weir ] ; here\nworkers = 3\n\t[database \t d ]\n"
					  "url = postgresql://u:p@h/d\n");

	assert_int_equal(config->workers, 3);
	assert_non_null(config_database(config, "d"));
	config_free(config);
}

/* --- keys --- */

static void unknown_keys_are_refused_with_what_is_allowed(void **state)
{
	bad("[weir]\nworker = 1\n" DB, 2, "unknown key \"worker\": allowed are listen_postgresql");
	bad("[weir]\npool_size = 1\n" DB, 2, "unknown key \"pool_size\": allowed are listen_");
	bad("[defaults]\nurl = x\n" DB, 2, "unknown key \"url\": allowed are pool_mode");
	bad(DB "workers = 1\n", 3, "unknown key \"workers\": allowed are url pool_mode");
	bad(DB "Pool_size = 1\n", 3, "unknown key \"Pool_size\"");
	bad(DB "[user a]\npassword = x\npool_size = 1\n", 5,
		"unknown key \"pool_size\": allowed are pool_timeout");
	/* What would mean something else to the library that reads the file. */
	bad(DB "pool ;size = 1\n", 3, "unknown key \"pool ;size\": allowed are url");
	bad(DB "pool:size = 1\n", 3, "unknown key \"pool:size\": allowed are url");
	bad(DB "pool_size_which_is_much_longer_than_anything_there_is = 1\n", 3,
		"anything_there_is\": allowed are url");
	bad(DB "\v;pool_size = 1\n", 3, "unknown key");
}

static void repeated_keys_are_refused(void **state)
{
	bad("[weir]\nworkers = 1\nworkers = 1\n" DB, 3, "twice");
	bad("[defaults]\npool_size = 1\nmin_size = 0\npool_size = 2\n" DB, 4, "twice");
	bad(DB "pool_size = 1\npool_size = 2\n", 4, "twice");
	bad(DB "url = postgresql://u:p@h/d\n", 3, "twice");
	bad(DB "[user a]\npassword = x\npassword = y\n", 5, "twice");
	bad(DB "[user a]\npassword = x\nquery_timeout = 1\nquery_timeout = 1\n", 6, "twice");
}

static void lines_that_are_neither_are_refused(void **state)
{
	bad(DB "pool_size\n", 3, "neither a section nor \"key = value\"");
	bad(DB "= 5\n", 3, "neither a section nor \"key = value\"");
	bad("workers = 1\n" DB, 1, "before the first section");
	/* A continuation line, as other readers of such files have it. */
	bad("[weir]\nadmin_users = u,\n  v\n" DB, 3, "neither a section nor \"key = value\"");
}

static void long_lines_are_refused(void **state)
{
	char text[5000];
	int n = snprintf(text, sizeof(text), "%s[user a]\npassword = %04082d\n", DB, 1);

	/* "password = " and 4082 digits are 4093 characters. */
	assert_true(n < (int)sizeof(text));
	struct config *config = read_good(text);
	assert_int_equal(strlen(config_user(config, "a")->password), 4082);
	config_free(config);
	snprintf(text, sizeof(text), "%s[user a]\npassword = %04085d\nmax_clients = 1\n", DB, 1);
	bad(text, 4, "the line is too long: allowed are 4095 characters");
}

/* --- values --- */

static void values_out_of_range_are_refused(void **state)
{
	static const struct {
		const char *line, *words;
	} cases[] = {
		{"pool_size = 100001", "a number from 0 to 100000"},
		{"pool_size = -1", "a number from 0 to 100000"},
		{"pool_size = 5x", "a number from 0 to 100000"},
		{"pool_size = 99999999999999999999", "a number from 0 to 100000"},
		{"pool_size =", "a number from 0 to 100000"},
		{"max_overflow = -2", "a number from -1 to 100000"},
		{"prepared_statements = 0", "a number from 1 to 10000"},
		{"client_memory = 63kB", "from 64kB to 1GB"},
		{"client_memory = 2GB", "from 64kB to 1GB"},
		{"client_memory = -1", "a size like 64kB, 16MB, 1GB"},
		{"client_memory = 1 MB", "a size like 64kB, 16MB, 1GB"},
		{"client_memory = 1mb", "a size like 64kB, 16MB, 1GB"},
		{"client_memory = 9223372036854775807GB", "a size like 64kB, 16MB, 1GB"},
		{"pool_timeout = 5 s", "a duration like 250ms"},
		{"pool_timeout = 5sec", "a duration like 250ms"},
		{"pool_timeout = 5S", "a duration like 250ms"},
		{"pool_timeout = 1.5s", "a duration like 250ms"},
		{"pool_timeout = -1", "from 0 to 365d"},
		{"pool_timeout = 366d", "from 0 to 365d"},
		{"pool_timeout = 9223372036854775807d", "from 0 to 365d"},
		{"pool_recycle = -2", "from -1 to 3650d"},
		{"connect_timeout = 0", "from 100ms to 1d"},
		{"pool_mode = statement", "transaction or session"},
		{"pool_pre_ping = maybe", "true, false, on, off, yes or no"},
		{"pool_pre_ping = 1", "true, false, on, off, yes or no"},
		{"url = mysql://u:secret@h:0/d", "url: bad port"},
	};
	char text[256];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool url = cases[i].line[0] == 'u';
		snprintf(text, sizeof(text), "%s\n%s\n", url ? "[database d]" : DB, cases[i].line);
		bad(text, url ? 2 : 4, cases[i].words);
	}
	bad("[weir]\nworkers = 0\n" DB, 2, "workers = \"0\" is not allowed: auto, or 1 to 256");
	bad("[weir]\nworkers = many\n" DB, 2, "auto, or 1 to 256");
	bad("[weir]\nlog_level = all\n" DB, 2, "error, warning, info or debug");
}

static void units_are_understood(void **state)
{
	struct config *config = read_good("[defaults]\npool_timeout = 250ms\nquery_timeout = 2min\n"
					  "transaction_timeout = 1h\nclient_idle_timeout = 1d\n"
					  "idle_in_transaction_timeout = 7\npre_ping_after = 9us\n"
					  "pool_recycle = -1\npool_pre_ping = No\n"
					  "pool_use_lifo = OFF\nexplain_errors = yes\n" DB);
	const struct config_pool *pool = &config_database(config, "d")->pool;

	assert_int_equal(pool->pool_timeout, 250000);
	assert_int_equal(pool->query_timeout, 120 * USEC_PER_SEC);
	assert_int_equal(pool->transaction_timeout, 3600 * USEC_PER_SEC);
	assert_int_equal(pool->client_idle_timeout, 86400 * USEC_PER_SEC);
	assert_int_equal(pool->idle_in_transaction_timeout, 7 * USEC_PER_SEC);
	assert_int_equal(pool->pre_ping_after, 9);
	assert_int_equal(pool->pool_recycle, -1);
	assert_false(pool->pool_pre_ping);
	assert_false(pool->pool_use_lifo);
	assert_true(pool->explain_errors);
	config_free(config);
}

static void comments_begin_behind_a_blank(void **state)
{
	struct config *config = read_good("; one\n# two\n\n  ; three\n" DB "pool_size = 7 ; four\n"
					  "min_size = 2\t;five\n[user a]\n"
					  "password = x;y#z = [w] # v ; six\n"
					  "databases = ; none\n");

	assert_int_equal(config_database(config, "d")->pool.pool_size, 7);
	assert_int_equal(config_database(config, "d")->pool.min_size, 2);
	assert_string_equal(config_user(config, "a")->password, "x;y#z = [w] # v");
	assert_int_equal(config_user(config, "a")->databases.n_items, 0);
	config_free(config);
}

static void lists_are_split_at_commas_and_blanks(void **state)
{
	struct config *config = read_good("[weir]\nlisten_postgresql = ,a:1,  b:2 c:3 ,\n"
					  "listen_mysql =\n" DB);

	assert_int_equal(config->listen_postgresql.n_items, 3);
	assert_true(config_list_has(&config->listen_postgresql, "a:1"));
	assert_true(config_list_has(&config->listen_postgresql, "c:3"));
	assert_false(config_list_has(&config->listen_postgresql, "c"));
	assert_int_equal(config->listen_mysql.n_items, 0);
	config_free(config);
}

/* --- files --- */

static void ends_of_lines_and_files_do_not_matter(void **state)
{
	static const char *const texts[] = {
		"[database d]\r\nurl = postgresql://u:p@h/d\r\npool_size = 8\r\n",
		"[database d]\nurl = postgresql://u:p@h/d\npool_size = 8",
		"\xef\xbb\xbf[database d]\nurl = postgresql://u:p@h/d\n  pool_size=8  ",
		"\n\n\t\n[database d]\n\nurl=postgresql://u:p@h/d\n\npool_size\t=\t8\n\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct config *config = read_good(texts[i]);
		const struct config_database *database = config_database(config, "d");
		assert_non_null(database);
		assert_string_equal(database->url.dbname, "d");
		assert_int_equal(database->pool.pool_size, 8);
		config_free(config);
	}
	bad("\xef\xbb\xbf[wier]\n" DB, 1, "unknown section");
}

static void nul_bytes_do_not_hide_the_rest(void **state)
{
	static const char text[] = DB "pool_size = 5\0x\n";

	check_problem(text, sizeof(text) - 1, path, 3, "a number from 0 to 100000");
}

static void missing_file_is_told(void **state)
{
	struct config *config;
	struct buf problems = {0};

	assert_int_equal(config_read("/nowhere/weir.ini", &config, &problems), 1);
	buf_u8(&problems, 0);
	assert_string_equal((char *)problems.data,
		"/nowhere/weir.ini:0: cannot be read: No such file or directory\n");
	buf_clear(&problems);
}

static void every_problem_is_told(void **state)
{
	struct config *config;
	struct buf problems = {0};
	static const char text[] = "[weir]\nx = 1\n[nonsense]\ny = 1\n" DB "pool_size = many\n";
	int n = 0;

	write_file(path, text, strlen(text));
	assert_int_equal(config_read(path, &config, &problems), 1);
	for (size_t i = 0; i < problems.len; i++)
		n += problems.data[i] == '\n';
	assert_int_equal(n, 3);
	buf_clear(&problems);
}

/* --- contradictions --- */

static void contradictions_are_refused(void **state)
{
	bad(DB "min_size = 6\n", 1, "min_size is above pool_size: allowed is 0 to 5");
	bad("[defaults]\nmin_size = 3\n" DB "pool_size = 2\n", 3, "allowed is 0 to 2");
	bad(DB "pool_size = 0\nmax_overflow = 0\n", 1, "may open no connection");
	bad(DB "[user a]\npassword = x\ndatabases = d e\n", 3, "names e, which is not configured");
	bad(DB "[user a]\n", 3, "user a has no password");
	bad("[weir]\nadmin_users = u, a\n" DB, 0, "admin_users names a, who has no");
	bad("[weir]\nstats_users = a\n" DB, 0, "stats_users names a, who has no");
	bad(DB "[defaults]\npool_size = 1\n", 3, "must come before the first [database ...]");
	bad("[database weir]\nurl = postgresql://h/d\n", 1, "are the console's");
	bad("[database pgbouncer]\nurl = postgresql://h/d\n", 1, "are the console's");
}

/* --- accounts --- */

static void accounts_come_from_auth_file_too(void **state)
{
	static const char accounts[] = "; comment\n\"a\" \"x\"\n  \"b \"\"c\"\"\" \"y\"\"z\" more\n"
				       "\n\"d\" \"\"\n\"mine\" \"theirs\"\r\n\"late\" \"secret\"";

	write_file(auth_path, accounts, strlen(accounts));
	struct config *config = read_good("[weir]\nauth_file = users.txt\nadmin_users = a\n" DB
					  "[user mine]\npassword = own\n[user late]\n"
					  "max_clients = 3\n");
	assert_string_equal(config_user(config, "a")->password, "x");
	assert_string_equal(config_user(config, "b \"c\"")->password, "y\"z");
	assert_null(config_user(config, "d")->password);
	assert_string_equal(config_user(config, "mine")->password, "own");
	assert_string_equal(config_user(config, "late")->password, "secret");
	assert_int_equal(config_user(config, "late")->max_clients, 3);
	/* The account of a URL. */
	assert_string_equal(config_user(config, "u")->password, "p");
	assert_null(config_user(config, "nobody"));
	config_free(config);
}

static void mistakes_in_auth_file_are_told(void **state)
{
	static const char words[] = "allowed is \"name\" \"secret\"";
	char text[6000];

	bad_accounts("\"a\" \"x\"\na x\n", 2, words);
	bad_accounts("\"a\"\n", 1, words);
	bad_accounts("\"a\" \"x\n", 1, words);
	bad_accounts("\"a\n", 1, words);
	bad_accounts("\"\" \"x\"\n", 1, words);
	bad_accounts("\"a\" \"x\"\n\"b\" \"y\"\n\"a\" \"x\"\n", 3, "twice");
	bad_accounts("\"a\" \"\"\n\"a\" \"x\"\n", 2, "twice");
	snprintf(text, sizeof(text), "\"a\" \"%02000d\"\n", 1);
	bad_accounts(text, 1, words);
	snprintf(text, sizeof(text), "\"a\" \"x\"\n\"%0200d\" \"x\"\n", 1);
	bad_accounts(text, 2, words);
	snprintf(text, sizeof(text), "\"a\" \"x\"\n\"b\" \"y\" %05000d\n", 1);
	bad_accounts(text, 2, "the line is too long");
}

static void missing_auth_file_is_told(void **state)
{
	unlink(auth_path);
	static const char text[] = "[weir]\nauth_file = users.txt\n" DB;
	check_problem(text, strlen(text), auth_path, 0, "cannot be read");
}

/* --- inheritance --- */

static void databases_inherit_from_defaults_and_users_override(void **state)
{
	struct config *config =
		read_good("[defaults]\npool_size = 3\nquery_timeout = 10s\npool_timeout = 1s\n"
			  "[database a]\nurl = postgresql://u:p@h/a\nquery_timeout = 20s\n"
			  "[database b]\nurl = postgresql://u:p@h/b\npool_size = 4\n"
			  "[user v]\npassword = x\nquery_timeout = 30s\ntransaction_timeout = 0\n");
	const struct config_database *a = config_database(config, "a");
	const struct config_database *b = config_database(config, "b");
	const struct config_user *v = config_user(config, "v");

	assert_int_equal(a->pool.pool_size, 3);
	assert_int_equal(b->pool.pool_size, 4);
	assert_int_equal(config->defaults.pool_size, 3);
	assert_int_equal(config_effective(a, NULL).query_timeout, 20 * USEC_PER_SEC);
	assert_int_equal(config_effective(b, NULL).query_timeout, 10 * USEC_PER_SEC);
	struct config_pool pool = config_effective(a, v);
	assert_int_equal(pool.query_timeout, 30 * USEC_PER_SEC);
	assert_int_equal(pool.transaction_timeout, 0);
	assert_int_equal(pool.pool_timeout, 1 * USEC_PER_SEC);
	assert_int_equal(pool.pool_size, 3);
	pool = config_effective(a, config_user(config, "u"));
	assert_int_equal(pool.query_timeout, 20 * USEC_PER_SEC);
	config_free(config);
}

/* --- printing --- */

static void check_diff(const char *old_text, const char *new_text, const char *expected)
{
	struct buf text = {0};
	struct config *old = read_good(old_text), *new = read_good(new_text);

	config_print_diff(old, new, &text);
	buf_u8(&text, 0);
	assert_string_equal((char *)text.data, expected);
	buf_clear(&text);
	config_free(old);
	config_free(new);
}

static void diff_says_what_a_reload_changes(void **state)
{
	check_diff(DB, DB, "");
	check_diff(DB, DB "pool_size = 10\n", "database d: pool_size 5 -> 10\n");
	check_diff(DB, "[defaults]\npool_mode = session\npool_timeout = 90s\n" DB,
		"database d: pool_mode transaction -> session\n"
		"database d: pool_timeout 30s -> 90s\n");
	check_diff(DB, "[weir]\nlisten_postgresql = a:1, b:2\nmax_clients = 9\n" DB,
		"listen_postgresql 127.0.0.1:6432 -> a:1, b:2: needs a restart\n"
		"max_clients 10000 -> 9\n");
	check_diff(DB, "[database d]\nurl = postgresql://u:secret@h/d\n",
		"database d: url changed, its connections are replaced\n"
		"user u: password changed\n");
	check_diff(DB, "[database e]\nurl = postgresql://u:p@h/d\n",
		"database d: removed\ndatabase e: added\n");
}

static void diff_says_what_becomes_of_users(void **state)
{
	static const char before[] = DB "[user a]\npassword = x\n";

	check_diff(DB, before, "user a: added\n");
	check_diff(before, DB, "user a: removed\n");
	check_diff(before, DB "[user a]\npassword = y\n", "user a: password changed\n");
	check_diff(before, DB "[user a]\npassword = x\ndatabases = d\nmax_clients = 5\n",
		"user a: databases  -> d\nuser a: max_clients -1 -> 5\n");
	check_diff(before, DB "[user a]\npassword = x\nquery_timeout = 5s\n",
		"user a: query_timeout (the database's) -> 5s\n");
	check_diff(DB "[user a]\npassword = x\nquery_timeout = 0\n",
		DB "[user a]\npassword = x\npool_timeout = 5s\n",
		"user a: pool_timeout (the database's) -> 5s\n"
		"user a: query_timeout 0 -> (the database's)\n");
}

static void totals_add_up_per_server(void **state)
{
	struct buf text = {0};
	struct config *config =
		read_good("[database a]\nurl = postgresql://u:p@h:1/a\n"
			  "[database b]\nurl = postgresql://u:p@h:1/b\npool_size = 1\n"
			  "[database c]\nurl = postgresql://h:2/c\n"
			  "[database d]\nurl = postgresql://u:p@i/d\nmax_overflow = -1\n"
			  "[user v]\npassword = x\n[user w]\npassword = x\ndatabases = a\n");

	config_print_totals(config, &text);
	buf_u8(&text, 0);
	/* c: of v and u, 15 each. */
	assert_string_equal((char *)text.data,
		"server h:1: at most 26 connections\n"
		"server h:2: at most 30 connections\n"
		"server i:5432: no limit on the number of connections\n");
	buf_clear(&text);
	config_free(config);
}

static void sample_reads_back_as_the_defaults(void **state)
{
	struct buf sample = {0}, ini = {0}, diff = {0};
	struct config *defaults = read_good(DB);

	/* With every option written out. */
	config_print_sample(&sample);
	assert_false(sample.failed);
	for (size_t i = 0; i < sample.len; i++) {
		bool start = i == 0 || sample.data[i - 1] == '\n';
		bool option = start && i + 1 < sample.len && sample.data[i] == ';' &&
			      sample.data[i + 1] >= 'a' && sample.data[i + 1] <= 'z';
		if (start && i + 2 < sample.len && memcmp(sample.data + i, ";[d", 3) == 0)
			break;
		if (!option)
			buf_u8(&ini, sample.data[i]);
	}
	buf_text(&ini, DB);
	struct config *config = read_bytes((char *)ini.data, ini.len);
	config_print_diff(defaults, config, &diff);
	assert_int_equal(diff.len, 0);
	config_free(config);
	/* As it is. */
	buf_text(&sample, DB);
	config = read_bytes((char *)sample.data, sample.len);
	config_print_diff(defaults, config, &diff);
	assert_int_equal(diff.len, 0);
	config_free(config);
	config_free(defaults);
	buf_clear(&sample);
	buf_clear(&ini);
	buf_clear(&diff);
}

static void the_usual_mysql_port_is_for_mysql_databases(void **state)
{
	struct config *config = read_good(DB);

	assert_int_equal(config->listen_mysql.n_items, 0);
	config_free(config);
	config = read_good("[weir]\nlisten_mysql = 127.0.0.1:7000\n" DB);
	assert_int_equal(config->listen_mysql.n_items, 1);
	config_free(config);
	config = read_good("[database d]\nurl = mysql://u:p@h/d\n");
	assert_int_equal(config->listen_mysql.n_items, 1);
	config_free(config);
}

static void every_option_prints_what_it_reads(void **state)
{
	struct config *config = read_good(DB "[database shop]\nurl = mysql://u:p@h/shop\n");

	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		struct buf text = {0};
		if (row->section != OPTION_WEIR && row->section != OPTION_POOL)
			continue;
		option_print(row,
			row->section == OPTION_WEIR ? (const void *)config
						    : (const void *)&config->defaults,
			&text);
		buf_u8(&text, 0);
		if (row->type != OPTION_WORKERS)
			assert_string_equal((char *)text.data, row->fallback);
		buf_clear(&text);
	}
	config_free(config);
}

/* --- URLs on the command line --- */

static void check_urls(char *const *urls, size_t n, const char *problem)
{
	struct config *config = NULL;
	struct buf problems = {0};

	assert_int_equal(config_from_urls(urls, n, &config, &problems), problem ? 1 : 0);
	buf_u8(&problems, 0);
	assert_string_equal((char *)problems.data, problem ? problem : "");
	buf_clear(&problems);
	config_free(config);
}

static void urls_make_a_configuration(void **state)
{
	char one[] = "postgresql://u:p@h/shop", two[] = "postgresql://v:q@h:5433";
	char *const urls[] = {one, two};
	struct config *config;
	struct buf problems = {0};

	assert_int_equal(config_from_urls(urls, 2, &config, &problems), 0);
	assert_string_equal(config_database(config, "shop")->url.hosts[0].name, "h");
	assert_int_equal(config_database(config, "v")->url.hosts[0].port, 5433);
	assert_string_equal(config_user(config, "u")->password, "p");
	assert_true(config_list_has(&config->admin_users, "v"));
	assert_int_equal(config->listen_postgresql.n_items, 1);
	assert_int_equal(config->listen_mysql.n_items, 0);
	config_free(config);
}

static void bad_urls_are_refused_without_their_password(void **state)
{
	char good[] = "postgresql://u:p@h/shop", same[] = "postgresql://v:q@i/shop";
	char port[] = "postgresql://u:secret@h:0/d", slash[] = "postgresql:u:secret@h/d?x=a://b";
	char other[] = "u:secret@h", anonymous[] = "postgresql://h/d";
	char console[] = "postgresql://u:secret@h/weir";

	check_urls((char *const[]){good}, 1, NULL);
	check_urls((char *const[]){port}, 1,
		"postgresql://...: bad port: allowed are numbers from 1 to 65535\n");
	check_urls((char *const[]){slash}, 1,
		"://...: unknown scheme: allowed are postgresql://, postgres://, mysql://, "
		"mariadb://, each with an optional +driver\n");
	check_urls((char *const[]){other}, 1,
		"://...: unknown scheme: allowed are postgresql://, postgres://, mysql://, "
		"mariadb://, each with an optional +driver\n");
	check_urls((char *const[]){anonymous}, 1,
		"URL: needs a user and a password, with which clients log in too\n");
	check_urls(
		(char *const[]){good, same}, 2, "URL: two of them have the database name shop\n");
	check_urls((char *const[]){console}, 1,
		"URL:1: the names weir and pgbouncer are the console's\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_sections_are_refused),
		cmocka_unit_test(malformed_sections_are_refused),
		cmocka_unit_test(sections_stand_once),
		cmocka_unit_test(empty_database_section_has_no_url),
		cmocka_unit_test(blanks_in_sections_do_not_count),
		cmocka_unit_test(unknown_keys_are_refused_with_what_is_allowed),
		cmocka_unit_test(repeated_keys_are_refused),
		cmocka_unit_test(lines_that_are_neither_are_refused),
		cmocka_unit_test(long_lines_are_refused),
		cmocka_unit_test(values_out_of_range_are_refused),
		cmocka_unit_test(units_are_understood),
		cmocka_unit_test(comments_begin_behind_a_blank),
		cmocka_unit_test(lists_are_split_at_commas_and_blanks),
		cmocka_unit_test(ends_of_lines_and_files_do_not_matter),
		cmocka_unit_test(nul_bytes_do_not_hide_the_rest),
		cmocka_unit_test(missing_file_is_told),
		cmocka_unit_test(every_problem_is_told),
		cmocka_unit_test(contradictions_are_refused),
		cmocka_unit_test(accounts_come_from_auth_file_too),
		cmocka_unit_test(mistakes_in_auth_file_are_told),
		cmocka_unit_test(missing_auth_file_is_told),
		cmocka_unit_test(databases_inherit_from_defaults_and_users_override),
		cmocka_unit_test(diff_says_what_a_reload_changes),
		cmocka_unit_test(diff_says_what_becomes_of_users),
		cmocka_unit_test(totals_add_up_per_server),
		cmocka_unit_test(sample_reads_back_as_the_defaults),
		cmocka_unit_test(the_usual_mysql_port_is_for_mysql_databases),
		cmocka_unit_test(every_option_prints_what_it_reads),
		cmocka_unit_test(urls_make_a_configuration),
		cmocka_unit_test(bad_urls_are_refused_without_their_password),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
