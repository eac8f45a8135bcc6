/*
 * The lexer, and the little it knows of statements. Used by front.c and statements.c. Words are
 * folded to lower case.
 */
#include "proto/mysql/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/native.h"
#include "util/check.h"
#include "util/text.h"

enum lex_state {
	LEX_NORMAL,
	LEX_WORD,
	LEX_STRING,       /* in '...', "..." or `...`: see `quote` */
	LEX_STRING_QUOTE, /* behind a quote in it: its end, or a doubled one */
	LEX_STRING_ESCAPE,
	LEX_AT,
	LEX_DASH,
	LEX_DASH_DASH, /* a comment if a blank follows */
	LEX_LINE,
	LEX_SLASH,
	LEX_BLOCK_FIRST, /* behind the two bytes that open a comment: is it executed? */
	LEX_BLOCK_M,
	LEX_BLOCK_VERSION,
	LEX_BLOCK,
	LEX_BLOCK_STAR,
	LEX_STAR, /* in an executed comment: its end? */
};

enum token_kind { TOKEN_WORD, TOKEN_QUOTED, TOKEN_MARK };

/* How far a call of GET_LOCK() is read. */
enum lock_part {
	LOCK_NONE,
	LOCK_OPEN, /* behind its parenthesis: a name comes, or any expression */
	LOCK_NAME, /* behind what is the name, if the argument ends here */
};

/* Words that matter wherever they stand, if a parenthesis follows. */
static const struct {
	const char *name;
	uint32_t found;
} functions[] = {
	{"get_lock", SCAN_GET_LOCK},
	{"service_get_read_locks", SCAN_SET_PINS},
	{"service_get_write_locks", SCAN_SET_PINS},
	{"release_lock", SCAN_RELEASE_LOCK},
	{"release_all_locks", SCAN_RELEASE_LOCKS},
	{"last_insert_id", SCAN_LAST_INSERT_ID},
	{"row_count", SCAN_ROW_COUNT},
	{"found_rows", SCAN_ROW_COUNT},
};

/* System variables that are read behind @@. */
static const struct {
	const char *name;
	uint32_t found;
} variables[] = {
	{"identity", SCAN_LAST_INSERT_ID},
	{"last_insert_id", SCAN_LAST_INSERT_ID},
	{"warning_count", SCAN_DIAGNOSTICS},
	{"error_count", SCAN_DIAGNOSTICS},
};

/* Variables whose setting cannot be repeated on another connection. */
static const char *const pinning_variables[] = {"timestamp", "insert_id", "sql_log_bin",
	"sql_log_off", "gtid_next", "gtid_seq_no", "gtid_domain_id", "server_id",
	"skip_replication", "pseudo_thread_id", "pseudo_slave_mode", "pseudo_replica_mode",
	"rand_seed1", "rand_seed2", "debug_sync", "original_commit_timestamp"};

/* Of the words of a text few are looked for: most differ from each in their first letter. */
static bool same_word(const char *a, const char *b)
{
	return a[0] == b[0] && strcmp(a, b) == 0;
}

static bool token_is(const struct my_scan *s, unsigned index, const char *word)
{
	return index < s->n_tokens && index < SCAN_TOKENS_MAX &&
	       s->tokens[index].kind != TOKEN_QUOTED && same_word(s->tokens[index].text, word);
}

/* The first token from `at` on that is this word, or SCAN_TOKENS_MAX. */
static unsigned find_token(const struct my_scan *s, unsigned at, const char *word)
{
	while (at < SCAN_TOKENS_MAX && !token_is(s, at, word))
		at++;
	return at;
}

/* --- statements --- */

static void end_set(struct my_scan *s)
{
	bool is_next = token_is(s, 1, "transaction");

	s->found |= SCAN_SET;
	/* Without SESSION, the form with @@ is about the next transaction only. */
	if (token_is(s, 1, "@@") &&
		(token_is(s, 2, "transaction_isolation") || token_is(s, 2, "tx_isolation") ||
			token_is(s, 2, "transaction_read_only") || token_is(s, 2, "tx_read_only")))
		is_next = true;
	if (is_next)
		s->found |= SCAN_SET_TRANSACTION;
	if (token_is(s, 1, "role") || token_is(s, 1, "password"))
		s->found |= SCAN_SET_PINS;
	if (token_is(s, 1, "statement"))
		s->found |= SCAN_SET_STATEMENT;
	unsigned collate = find_token(s, 3, "collate");
	if (token_is(s, 1, "names") && collate + 1 < SCAN_TOKENS_MAX) {
		s->found |= SCAN_NAMES_COLLATE;
		text_copy(s->name, sizeof(s->name), s->tokens[collate + 1].text);
	}
	if (s->n_tokens == 4 && token_is(s, 1, "autocommit") && token_is(s, 2, "=")) {
		if (token_is(s, 3, "0") || token_is(s, 3, "off"))
			s->exact = EXACT_AUTOCOMMIT_OFF;
		else if (token_is(s, 3, "1") || token_is(s, 3, "on"))
			s->exact = EXACT_AUTOCOMMIT_ON;
	}
}

static void end_flush(struct my_scan *s)
{
	/* Names of tables in between may be many. */
	bool locks = s->n_tokens > SCAN_TOKENS_MAX;

	for (unsigned i = 1; i < SCAN_TOKENS_MAX; i++)
		locks |= token_is(s, i, "lock") || token_is(s, i, "export");
	if (!locks)
		return;
	s->found |= SCAN_LOCK;
	text_copy(s->name, sizeof(s->name), "flush");
}

/* LOCK and UNLOCK: of tables, or of the instance. */
static void end_lock(struct my_scan *s, uint32_t found)
{
	s->found |= found;
	text_copy(s->name, sizeof(s->name), token_is(s, 1, "instance") ? "instance" : "tables");
}

/* The table's name behind TABLE [IF [NOT] EXISTS] [schema.]. */
static void table_name(struct my_scan *s, unsigned at)
{
	while (token_is(s, at, "if") || token_is(s, at, "not") || token_is(s, at, "exists"))
		at++;
	if (token_is(s, at + 1, "."))
		at += 2;
	text_copy(s->name, sizeof(s->name), at < SCAN_TOKENS_MAX ? s->tokens[at].text : "");
}

static void name_from(struct my_scan *s, unsigned at)
{
	text_copy(s->name, sizeof(s->name), at < SCAN_TOKENS_MAX ? s->tokens[at].text : "");
}

static void end_prepare(struct my_scan *s, uint32_t found, unsigned name_at)
{
	s->found |= found;
	name_from(s, name_at);
}

static void end_create(struct my_scan *s)
{
	unsigned table = find_token(s, 1, "table");

	if (table < 5 && token_is(s, table - 1, "temporary")) {
		s->found |= SCAN_TEMPORARY;
		table_name(s, table + 1);
	}
}

static void end_drop(struct my_scan *s)
{
	unsigned table = find_token(s, 1, "table");

	if (token_is(s, 1, "prepare")) {
		s->found |= SCAN_DEALLOCATE;
		name_from(s, 2);
	} else if (table <= 2) {
		s->found |= SCAN_DROP;
		table_name(s, table + 1);
	}
}

static void end_select(struct my_scan *s)
{
	bool is_call = s->n_tokens == 4 && token_is(s, 2, "(") && token_is(s, 3, ")");
	bool is_variable = s->n_tokens == 3 && token_is(s, 1, "@@");

	if (is_call && token_is(s, 1, "last_insert_id"))
		s->exact = EXACT_LAST_INSERT_ID;
	else if (is_call && token_is(s, 1, "row_count"))
		s->exact = EXACT_ROW_COUNT;
	else if (is_call && token_is(s, 1, "found_rows"))
		s->exact = EXACT_FOUND_ROWS;
	else if (is_call && token_is(s, 1, "connection_id"))
		s->exact = EXACT_CONNECTION_ID;
	else if (is_variable && (token_is(s, 2, "identity") || token_is(s, 2, "last_insert_id")))
		s->exact = EXACT_LAST_INSERT_ID;
	else if (is_variable && token_is(s, 2, "warning_count"))
		s->exact = EXACT_COUNT_WARNINGS;
}

static void end_show(struct my_scan *s)
{
	bool counts = token_is(s, 1, "count");

	if (token_is(s, 1, "warnings") || token_is(s, 1, "errors") || counts)
		s->found |= SCAN_DIAGNOSTICS;
	if (s->n_tokens == 2 && token_is(s, 1, "warnings"))
		s->exact = EXACT_SHOW_WARNINGS;
	else if (s->n_tokens == 2 && token_is(s, 1, "errors"))
		s->exact = EXACT_SHOW_ERRORS;
	else if (s->n_tokens == 6 && counts && token_is(s, 5, "warnings"))
		s->exact = EXACT_COUNT_WARNINGS;
}

static void end_kill(struct my_scan *s)
{
	bool query = token_is(s, 1, "query");
	unsigned at = query || token_is(s, 1, "connection") ? 2 : 1;
	char *end;

	if (s->n_tokens != at + 1 || s->tokens[at].kind != TOKEN_WORD)
		return;
	s->number = strtoull(s->tokens[at].text, &end, 10);
	if (!*end)
		s->exact = query ? EXACT_KILL_QUERY : EXACT_KILL;
}

static void end_transaction(struct my_scan *s, enum scan_exact exact)
{
	if (token_is(s, 1, "to") || token_is(s, 2, "to"))
		return; /* ROLLBACK TO a savepoint */
	s->found |= SCAN_ENDS;
	if (s->n_tokens == 1 || (s->n_tokens == 2 && token_is(s, 1, "work")))
		s->exact = exact;
}

static void end_backup(struct my_scan *s)
{
	s->found |= token_is(s, 2, "end") ? SCAN_UNLOCK : SCAN_LOCK;
	text_copy(s->name, sizeof(s->name), "backup");
}

static void end_handler(struct my_scan *s)
{
	unsigned open = find_token(s, 2, "open"), as = find_token(s, 2, "as");

	if (open < SCAN_TOKENS_MAX)
		s->found |= SCAN_HANDLER;
	else if (find_token(s, 2, "close") < SCAN_TOKENS_MAX)
		s->found |= SCAN_HANDLER_CLOSE;
	else
		return;
	name_from(s, open < SCAN_TOKENS_MAX && as < SCAN_TOKENS_MAX ? as + 1 : 1);
}

static void end_by_first_word(struct my_scan *s)
{
	if (token_is(s, 0, "select"))
		end_select(s);
	else if (token_is(s, 0, "set"))
		end_set(s);
	else if (token_is(s, 0, "commit"))
		end_transaction(s, EXACT_COMMIT);
	else if (token_is(s, 0, "rollback"))
		end_transaction(s, EXACT_ROLLBACK);
	else if (token_is(s, 0, "show"))
		end_show(s);
	else if (token_is(s, 0, "create"))
		end_create(s);
	else if (token_is(s, 0, "drop"))
		end_drop(s);
	else if (token_is(s, 0, "lock"))
		end_lock(s, SCAN_LOCK);
	else if (token_is(s, 0, "unlock"))
		end_lock(s, SCAN_UNLOCK);
	else if (token_is(s, 0, "begin") || token_is(s, 0, "start"))
		s->found |= SCAN_BEGINS;
	else if (token_is(s, 0, "flush"))
		end_flush(s);
	else if (token_is(s, 0, "backup"))
		end_backup(s);
	else if (token_is(s, 0, "handler"))
		end_handler(s);
	else if (token_is(s, 0, "savepoint"))
		s->found |= SCAN_SAVEPOINT;
	else if (token_is(s, 0, "prepare"))
		end_prepare(s, SCAN_PREPARE, 1);
	else if (token_is(s, 0, "deallocate"))
		end_prepare(s, SCAN_DEALLOCATE, 2);
	else if (token_is(s, 0, "get"))
		s->found |= SCAN_DIAGNOSTICS;
	else if (token_is(s, 0, "kill"))
		end_kill(s);
	else if (token_is(s, 0, "call") || token_is(s, 0, "execute"))
		s->found |= SCAN_CALL;
}

static void add_lock(struct my_scan *s, const char *name)
{
	size_t size = strlen(name) + 1;

	/* One byte is kept for one that stands for all that are too many. */
	if (s->locks_len + size >= SCAN_LOCKS_MAX) {
		name = "";
		size = 1;
	}
	if (s->locks_len < SCAN_LOCKS_MAX) {
		memcpy(s->locks + s->locks_len, name, size);
		s->locks_len += size;
	}
}

/* Behind USE others run in the schema that it has chosen, or do not run. */
static void note_schema(struct my_scan *s)
{
	bool creates = token_is(s, 0, "create") &&
		       (token_is(s, 1, "database") || token_is(s, 1, "schema"));

	if (s->n_statements == 0 && (token_is(s, 0, "use") || creates))
		s->found |= SCAN_NO_SCHEMA;
	else if (s->n_statements == 1 && s->first_creates)
		s->found &= ~(uint32_t)SCAN_NO_SCHEMA;
	s->first_creates = creates;
}

static void end_statement(struct my_scan *s)
{
	if (s->n_tokens) {
		end_by_first_word(s);
		note_schema(s);
		if (++s->n_statements > 1)
			s->exact = EXACT_NONE;
	}
	if (s->lock_part != LOCK_NONE)
		add_lock(s, "");
	s->n_tokens = 0;
	s->pending = 0;
	s->lock_part = LOCK_NONE;
	s->variable = 0;
	s->is_system = s->last_is_into = s->may_call = s->was_dot = false;
}

/* --- tokens --- */

static void set_word(struct my_scan *s, const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(pinning_variables); i++) {
		if (same_word(word, pinning_variables[i]))
			s->found |= SCAN_SET_PINS;
	}
	if (text_starts_with(word, "session_track_"))
		s->found |= SCAN_SET_TRACKING;
}

static void plain_word(struct my_scan *s, const char *word)
{
	char c = word[0];

	if (s->is_system) {
		for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
			if (same_word(word, variables[i].name))
				s->found |= variables[i].found;
		}
	}
	/* All that matter begin with one of these. */
	if (c == 'f' || c == 'g' || c == 'l' || c == 'r' || c == 's') {
		for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
			if (same_word(word, functions[i].name))
				s->pending = functions[i].found;
		}
		if (same_word(word, "sql_calc_found_rows"))
			s->found |= SCAN_CALC_FOUND_ROWS;
	}
	if (token_is(s, 0, "set"))
		set_word(s, word);
}

/* Only two quotes are no name. */
static bool has_lock_name(const struct my_scan *s)
{
	return s->lock_name_len > 2 && s->lock_name_len < SCAN_LOCK_NAME_MAX;
}

/* A token of GET_LOCK()'s first argument, which is only known if it has no other. */
static void lock_token(struct my_scan *s, enum token_kind kind, const char *text)
{
	bool mark = kind == TOKEN_MARK;

	if (s->lock_part == LOCK_OPEN && mark && *text == '?') {
		snprintf(s->lock_name, sizeof(s->lock_name), "?%u", s->n_parameters);
		s->lock_part = LOCK_NAME;
	} else if (s->lock_part == LOCK_OPEN && kind == TOKEN_QUOTED && has_lock_name(s)) {
		s->lock_name[s->lock_name_len] = 0;
		s->lock_part = LOCK_NAME;
	} else {
		bool ends = s->lock_part == LOCK_NAME && mark && (*text == ',' || *text == ')');
		add_lock(s, ends ? s->lock_name : "");
		s->lock_part = LOCK_NONE;
	}
}

/* A byte of a string that may be a lock's name, as it stands in the text, with its quotes. What is
 * too long is no name, nor what has a backslash, whose meaning depends, nor a name in backticks. */
static void lock_byte(struct my_scan *s, char c)
{
	if (s->lock_part != LOCK_OPEN)
		return;
	if (!c || c == '\\' || c == '`' || s->lock_name_len >= SCAN_LOCK_NAME_MAX - 1)
		s->lock_name_len = SCAN_LOCK_NAME_MAX;
	else
		s->lock_name[s->lock_name_len++] = c;
}

/* The answers to other statements tell what has changed. */
static bool reads_only(const struct my_scan *s)
{
	return token_is(s, 0, "select") || token_is(s, 0, "with") || token_is(s, 0, "(") ||
	       token_is(s, 0, "values");
}

/* Is a function called if a parenthesis comes next? Behind a dot, or quoted, it is a stored one;
 * else its name, which is still in s->text, tells. */
static void note_name(struct my_scan *s, enum token_kind kind, const char *text)
{
	bool is_name = kind == TOKEN_QUOTED || (kind == TOKEN_WORD && (*text < '0' || *text > '9'));

	s->is_foreign = is_name && (s->was_dot || kind == TOKEN_QUOTED);
	s->was_dot = kind == TOKEN_MARK && *text == '.';
	s->may_call = is_name;
}

/* `text` has `len` bytes, fewer than SCAN_WORD_MAX, and a NUL. */
static void add_token(struct my_scan *s, enum token_kind kind, const char *text, size_t len)
{
	uint32_t called = kind == TOKEN_MARK && *text == '(' ? s->pending : 0;

	s->found |= called;
	s->pending = 0;
	if (kind == TOKEN_MARK && *text == '(' && s->may_call && reads_only(s) &&
		(s->is_foreign || !my_is_native(s->text)))
		s->found |= SCAN_STORED_FUNCTION;
	note_name(s, kind, text);
	if (s->lock_part != LOCK_NONE)
		lock_token(s, kind, text);
	if (called & SCAN_GET_LOCK) {
		s->lock_part = LOCK_OPEN;
		s->lock_name_len = 0;
	}
	s->n_parameters += kind == TOKEN_MARK && *text == '?';
	/* @name := */
	if (s->variable && --s->variable == 0 && kind == TOKEN_MARK && *text == ':')
		s->found |= SCAN_USER_VARIABLE;
	if (s->n_tokens < SCAN_TOKENS_MAX) {
		s->tokens[s->n_tokens].kind = (uint8_t)kind;
		memcpy(s->tokens[s->n_tokens].text, text, len + 1);
	}
	s->n_tokens++;
	if (kind == TOKEN_WORD)
		plain_word(s, text);
	/* @@session.name: the name is still to come. */
	bool is_scope = s->is_system && (same_word(text, "session") || same_word(text, "local") ||
						same_word(text, "global") || same_word(text, ".") ||
						same_word(text, "@@"));
	s->is_system = is_scope;
	s->was_quoted = kind == TOKEN_QUOTED;
	s->last_is_into = kind == TOKEN_WORD && same_word(text, "into");
	s->adjacent = true;
}

static void end_text(struct my_scan *s, enum token_kind kind)
{
	s->text[s->len] = 0;
	s->state = LEX_NORMAL;
	add_token(s, kind, s->text, s->len);
}

/* --- characters --- */

static bool is_word(unsigned char c)
{
	static const bool word[256] = {['a' ... 'z'] = true,
		['A' ... 'Z'] = true,
		['0' ... '9'] = true,
		['_'] = true,
		['$'] = true,
		[0x80 ... 0xff] = true};

	return word[c];
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static char folded(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

static void add_text(struct my_scan *s, char c)
{
	if (s->len < SCAN_WORD_MAX - 1)
		s->text[s->len++] = folded(c);
}

static void begin(struct my_scan *s, enum lex_state state)
{
	s->state = (uint8_t)state;
	s->len = 0;
}

static void normal(struct my_scan *s, char c)
{
	char mark[2] = {c, 0};

	if (is_word((unsigned char)c)) {
		begin(s, LEX_WORD);
		add_text(s, c);
		return;
	}
	if (is_blank(c)) {
		s->adjacent = false;
		return;
	}
	switch (c) {
	case '\'':
	case '"':
	case '`':
		begin(s, LEX_STRING);
		s->quote = c;
		lock_byte(s, c);
		break;
	case '@':
		s->state = LEX_AT;
		break;
	case '-':
		s->state = LEX_DASH;
		break;
	case '#':
		s->state = LEX_LINE;
		break;
	case '/':
		s->state = LEX_SLASH;
		break;
	case '*':
		if (s->executed)
			s->state = LEX_STAR;
		else
			add_token(s, TOKEN_MARK, mark, 1);
		break;
	case ';':
		end_statement(s);
		break;
	default:
		add_token(s, TOKEN_MARK, mark, 1);
	}
}

/* A user variable begins: is it given a value by its place? Where it is only read there is nothing
 * to lose. */
static bool gives_value(const struct my_scan *s)
{
	static const char *const readers[] = {"select", "insert", "update", "delete", "replace",
		"with", "values", "show", "do", "grant", "revoke", "(", "explain"};
	const char *before = s->n_tokens && s->n_tokens <= SCAN_TOKENS_MAX
				     ? s->tokens[s->n_tokens - 1].text
				     : NULL;

	if (s->last_is_into)
		return true;
	if (token_is(s, 0, "set"))
		return !before || strcmp(before, "set") == 0 || strcmp(before, ",") == 0;
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		if (token_is(s, 0, readers[i]))
			return false;
	}
	return true;
}

/* Behind an @. 'name'@'host' is an account. */
static void after_at(struct my_scan *s, char c)
{
	bool is_account = s->adjacent && s->was_quoted;

	s->state = LEX_NORMAL;
	if (c == '@') {
		s->is_system = true;
		add_token(s, TOKEN_MARK, "@@", 2);
		s->is_system = true;
		return;
	}
	if (!is_account && gives_value(s))
		s->found |= SCAN_USER_VARIABLE;
	add_token(s, TOKEN_MARK, "@", 1);
	s->variable = 2;
	normal(s, c);
}

static void in_string(struct my_scan *s, char c)
{
	lock_byte(s, c);
	if (c == s->quote)
		s->state = LEX_STRING_QUOTE;
	else if (c == '\\' && s->quote != '`' && !s->no_backslash)
		s->state = LEX_STRING_ESCAPE;
	else
		add_text(s, c);
}

static void after_quote(struct my_scan *s, char c)
{
	if (c == s->quote) {
		s->state = LEX_STRING;
		add_text(s, c);
		lock_byte(s, c);
		return;
	}
	end_text(s, TOKEN_QUOTED);
	normal(s, c);
}

static void after_dash(struct my_scan *s, char c)
{
	if (s->state == LEX_DASH && c == '-') {
		s->state = LEX_DASH_DASH;
		return;
	}
	if (s->state == LEX_DASH_DASH && ((unsigned char)c <= ' ')) {
		s->state = c == '\n' ? LEX_NORMAL : LEX_LINE;
		return;
	}
	s->state = LEX_NORMAL;
	add_token(s, TOKEN_MARK, "-", 1);
	normal(s, c);
}

static void after_slash(struct my_scan *s, char c)
{
	if (c == '*') {
		s->state = LEX_BLOCK_FIRST;
		return;
	}
	s->state = LEX_NORMAL;
	add_token(s, TOKEN_MARK, "/", 1);
	normal(s, c);
}

static void after_star(struct my_scan *s, char c)
{
	s->state = LEX_NORMAL;
	if (c == '/') {
		s->executed = false;
		s->adjacent = false;
		return;
	}
	add_token(s, TOKEN_MARK, "*", 1);
	normal(s, c);
}

static void in_block(struct my_scan *s, char c)
{
	switch (s->state) {
	case LEX_BLOCK_FIRST:
		if (c == '!')
			s->state = LEX_BLOCK_VERSION;
		else if (c == 'M')
			s->state = LEX_BLOCK_M;
		else
			s->state = c == '*' ? LEX_BLOCK_STAR : LEX_BLOCK;
		break;
	case LEX_BLOCK_M:
		if (c == '!')
			s->state = LEX_BLOCK_VERSION;
		else
			s->state = c == '*' ? LEX_BLOCK_STAR : LEX_BLOCK;
		break;
	case LEX_BLOCK_STAR:
		if (c == '/')
			s->state = LEX_NORMAL;
		else if (c != '*')
			s->state = LEX_BLOCK;
		s->adjacent = false;
		break;
	default:
		if (c == '*')
			s->state = LEX_BLOCK_STAR;
		break;
	}
}

/* The version number of a comment that is executed. */
static void in_version(struct my_scan *s, char c)
{
	if (c >= '0' && c <= '9')
		return;
	s->executed = true;
	s->state = LEX_NORMAL;
	s->adjacent = false;
	normal(s, c);
}

static void one(struct my_scan *s, char c)
{
	switch ((enum lex_state)s->state) {
	case LEX_NORMAL:
		normal(s, c);
		break;
	case LEX_WORD:
		if (is_word((unsigned char)c)) {
			add_text(s, c);
		} else {
			end_text(s, TOKEN_WORD);
			normal(s, c);
		}
		break;
	case LEX_STRING:
		in_string(s, c);
		break;
	case LEX_STRING_QUOTE:
		after_quote(s, c);
		break;
	case LEX_STRING_ESCAPE:
		s->state = LEX_STRING;
		add_text(s, c);
		break;
	case LEX_AT:
		after_at(s, c);
		break;
	case LEX_DASH:
	case LEX_DASH_DASH:
		after_dash(s, c);
		break;
	case LEX_LINE:
		if (c == '\n')
			s->state = LEX_NORMAL;
		break;
	case LEX_SLASH:
		after_slash(s, c);
		break;
	case LEX_BLOCK_VERSION:
		in_version(s, c);
		break;
	case LEX_BLOCK_FIRST:
	case LEX_BLOCK_M:
	case LEX_BLOCK:
	case LEX_BLOCK_STAR:
		in_block(s, c);
		break;
	case LEX_STAR:
		after_star(s, c);
		break;
	}
}

void my_scan_init(struct my_scan *s, bool no_backslash)
{
	s->found = 0;
	s->n_statements = s->n_tokens = 0;
	s->exact = EXACT_NONE;
	s->number = 0;
	s->name[0] = 0;
	s->state = LEX_NORMAL;
	s->no_backslash = no_backslash;
	s->executed = s->adjacent = s->was_quoted = s->is_system = false;
	s->pending = 0;
	s->n_parameters = 0;
	s->lock_part = LOCK_NONE;
	s->locks_len = s->lock_name_len = 0;
	s->first_creates = false;
	s->variable = 0;
	s->last_is_into = s->may_call = s->was_dot = false;
}

static size_t word_len(const char *sql, size_t len)
{
	size_t n = 0;

	while (n < len && is_word((unsigned char)sql[n]))
		n++;
	return n;
}

static size_t string_len(const struct my_scan *s, const char *sql, size_t len)
{
	const char *end = memchr(sql, s->quote, len);
	size_t n = end ? (size_t)(end - sql) : len;

	end = memchr(sql, '\\', n);
	return end ? (size_t)(end - sql) : n;
}

/* Most of a text is the inside of words and strings. Takes as much of one as there is at the front,
 * just as one() would, and returns its length. */
static size_t inside(struct my_scan *s, const char *sql, size_t len)
{
	size_t room = SCAN_WORD_MAX - 1 - s->len, n = 0;

	if (s->state == LEX_WORD)
		n = word_len(sql, len);
	else if (s->state == LEX_STRING && s->lock_part != LOCK_OPEN)
		n = string_len(s, sql, len);
	size_t kept = n < room ? n : room;
	for (size_t i = 0; i < kept; i++)
		s->text[s->len + i] = folded(sql[i]);
	s->len += kept;
	return n;
}

void my_scan_feed(struct my_scan *s, const char *sql, size_t len)
{
	for (size_t i = 0; i < len;) {
		i += inside(s, sql + i, len - i);
		if (i < len)
			one(s, sql[i++]);
	}
}

void my_scan_end(struct my_scan *s)
{
	/* A blank ends whatever is open. */
	one(s, ' ');
	end_statement(s);
}
