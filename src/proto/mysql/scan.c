/*
 * The lexer: from bytes to tokens, and what names mean wherever they stand. Each statement that
 * ends goes to scan_meaning.c. Used by commands.c, front.c and statements.c.
 */
#include "proto/mysql/scan.h"

#include <stdio.h>
#include <string.h>

#include "proto/mysql/native.h"
#include "proto/mysql/scan_meaning.h"
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

static void end_statement(struct my_scan *s)
{
	if (s->n_tokens)
		my_scan_meaning(s);
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
