/*
 * The lexer: characters become tokens. Used by statements.c and front.c. Words are folded to lower
 * case; quoted ones keep theirs.
 */
#include "proto/pgsql/scan.h"

#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/scan_tokens.h"

enum lex_state {
	LEX_NORMAL,
	LEX_WORD,
	LEX_QUOTED,       /* in "..." */
	LEX_QUOTED_QUOTE, /* behind a " in it: its end, or a doubled one */
	LEX_STRING,
	LEX_STRING_QUOTE,
	LEX_STRING_ESCAPE,
	LEX_NUMBER,
	LEX_DOLLAR, /* behind $: a parameter, or a dollar quote's tag */
	LEX_PARAM,
	LEX_BODY, /* in a dollar quote */
	LEX_DASH,
	LEX_LINE, /* in a comment to the end of the line */
	LEX_SLASH,
	LEX_BLOCK,
	LEX_BLOCK_STAR,
	LEX_BLOCK_SLASH,
};
static void end_token(struct scan *s, enum token_kind kind)
{
	s->text[s->text_len] = 0;
	s->state = LEX_NORMAL;
	scan_word_token(s, kind, s->text);
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

static char folded(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static void add_text(struct scan *s, char c)
{
	if (s->text_len < SCAN_VALUE_MAX - 1)
		s->text[s->text_len++] = c;
	else
		s->cut = true;
}

static void add_raw(struct scan *s, char c)
{
	if (!s->raw)
		return;
	if (s->raw_len < SCAN_VALUE_MAX - 1)
		s->raw_text[s->raw_len++] = c;
	else
		s->cut = true;
}

static void begin_text(struct scan *s, enum lex_state state)
{
	s->state = (uint8_t)state;
	s->text_len = 0;
	s->unclear = false;
}

/* A character outside of everything. */
static void normal(struct scan *s, char c)
{
	if (c == '-' || c == '/') {
		s->state = c == '-' ? LEX_DASH : LEX_SLASH;
		return;
	}
	if (c == ';' && s->parens <= 0) {
		scan_end_statement(s);
		return;
	}
	add_raw(s, c);
	if (is_blank(c))
		return;
	if (c == '\'') {
		begin_text(s, LEX_STRING);
		s->escapes = false;
	} else if (c == '"') {
		begin_text(s, LEX_QUOTED);
	} else if (c == '$') {
		begin_text(s, LEX_DOLLAR);
		s->tag_len = 0;
	} else if (is_digit((unsigned char)c)) {
		begin_text(s, LEX_NUMBER);
		add_text(s, c);
	} else if (is_word((unsigned char)c)) {
		begin_text(s, LEX_WORD);
		add_text(s, folded(c));
	} else {
		scan_mark_token(s, c);
	}
}

/* Behind a whole word: 'E' and its like belong to the string that follows. */
static void end_word(struct scan *s, char c)
{
	bool prefix = s->text_len == 1 && strchr("ebnx", s->text[0]);

	if (c == '\'' && prefix) {
		s->escapes = s->text[0] == 'e';
		begin_text(s, LEX_STRING);
		add_raw(s, c);
		return;
	}
	end_token(s, TOKEN_WORD);
	normal(s, c);
}

static void in_dollar(struct scan *s, char c)
{
	if (c == '$') {
		s->state = LEX_BODY;
		s->tag_at = 0;
		s->text_len = 0;
		add_raw(s, c);
	} else if (s->tag_len == 0 && is_digit((unsigned char)c)) {
		begin_text(s, LEX_PARAM);
		add_text(s, c);
		add_raw(s, c);
	} else if (is_word((unsigned char)c) && s->tag_len < SCAN_WORD_MAX) {
		s->tag[s->tag_len++] = c;
		add_raw(s, c);
	} else {
		/* Not a quote after all. */
		s->state = LEX_NORMAL;
		normal(s, c);
	}
}

/* In a dollar quote: looks for $tag$. tag_at counts the characters of it that were just seen, plus
 * one for the first dollar. */
static void in_body(struct scan *s, char c)
{
	add_raw(s, c);
	add_text(s, c);
	if (s->tag_at > 0 && s->tag_at == s->tag_len + 1 && c == '$') {
		size_t tail = s->tag_len + 2;
		s->text_len = s->text_len >= tail ? s->text_len - tail : 0;
		end_token(s, TOKEN_STRING);
	} else if (s->tag_at > 0 && s->tag_at <= s->tag_len && c == s->tag[s->tag_at - 1]) {
		s->tag_at++;
	} else {
		s->tag_at = c == '$';
	}
}

static void in_string(struct scan *s, char c)
{
	add_raw(s, c);
	if (c == '\'')
		s->state = LEX_STRING_QUOTE;
	else if (c == '\\' && s->escapes)
		s->state = LEX_STRING_ESCAPE;
	else
		add_text(s, c);
}

static void in_comment(struct scan *s, char c)
{
	if (s->state == LEX_BLOCK_STAR && c == '/') {
		s->state = --s->depth ? LEX_BLOCK : LEX_NORMAL;
		if (!s->depth)
			add_raw(s, ' ');
	} else if (s->state == LEX_BLOCK_SLASH && c == '*') {
		s->depth++;
		s->state = LEX_BLOCK;
	} else {
		s->state = c == '*' ? LEX_BLOCK_STAR : c == '/' ? LEX_BLOCK_SLASH : LEX_BLOCK;
	}
}

static void in_quoted(struct scan *s, char c)
{
	add_raw(s, c);
	if (c == '"')
		s->state = LEX_QUOTED_QUOTE;
	else
		add_text(s, c);
}

static void in_escape(struct scan *s, char c)
{
	s->unclear |= c != '\'' && c != '\\' && c != '"';
	add_raw(s, c);
	add_text(s, c);
	s->state = LEX_STRING;
}

/* Behind a quote in quotes: the end, unless it is doubled. */
static void behind_quote(struct scan *s, char c)
{
	bool quoted = s->state == LEX_QUOTED_QUOTE;

	if (c == (quoted ? '"' : '\'')) {
		add_raw(s, c);
		add_text(s, c);
		s->state = quoted ? LEX_QUOTED : LEX_STRING;
		return;
	}
	end_token(s, quoted ? TOKEN_QUOTED : TOKEN_STRING);
	normal(s, c);
}

static void in_number(struct scan *s, char c)
{
	if (is_word((unsigned char)c) || (c == '.' && s->state == LEX_NUMBER)) {
		add_raw(s, c);
		add_text(s, c);
		return;
	}
	end_token(s, s->state == LEX_NUMBER ? TOKEN_NUMBER : TOKEN_PARAM);
	normal(s, c);
}

/* Behind a dash or a slash: a comment's begin, or a mark. */
static void behind_dash(struct scan *s, char c)
{
	char mark = s->state == LEX_DASH ? '-' : '/';

	if (c == (mark == '-' ? '-' : '*')) {
		s->depth = 1;
		s->state = mark == '-' ? LEX_LINE : LEX_BLOCK;
		return;
	}
	s->state = LEX_NORMAL;
	add_raw(s, mark);
	scan_mark_token(s, mark);
	normal(s, c);
}

static void feed_one(struct scan *s, char c)
{
	switch ((enum lex_state)s->state) {
	case LEX_NORMAL:
		normal(s, c);
		break;
	case LEX_WORD:
		if (!is_word((unsigned char)c)) {
			end_word(s, c);
			break;
		}
		add_raw(s, c);
		add_text(s, folded(c));
		break;
	case LEX_QUOTED:
		in_quoted(s, c);
		break;
	case LEX_QUOTED_QUOTE:
	case LEX_STRING_QUOTE:
		behind_quote(s, c);
		break;
	case LEX_STRING:
		in_string(s, c);
		break;
	case LEX_STRING_ESCAPE:
		in_escape(s, c);
		break;
	case LEX_NUMBER:
	case LEX_PARAM:
		in_number(s, c);
		break;
	case LEX_DOLLAR:
		in_dollar(s, c);
		break;
	case LEX_BODY:
		in_body(s, c);
		break;
	case LEX_DASH:
	case LEX_SLASH:
		behind_dash(s, c);
		break;
	case LEX_LINE:
		if (c == '\n' || c == '\r') {
			s->state = LEX_NORMAL;
			add_raw(s, ' ');
		}
		break;
	case LEX_BLOCK:
	case LEX_BLOCK_STAR:
	case LEX_BLOCK_SLASH:
		in_comment(s, c);
		break;
	}
}

void scan_init(struct scan *s)
{
	s->n_statements = s->n_effects = 0;
	s->overflow = false;
	s->state = LEX_NORMAL;
	s->depth = 0;
	s->escapes = s->unclear = false;
	s->text_len = s->tag_len = s->tag_at = 0;
	s->first = FIRST_NONE;
	scan_end_statement(s);
}

static size_t word_len(const char *sql, size_t len)
{
	size_t n = 0;

	while (n < len && is_word((unsigned char)sql[n]))
		n++;
	return n;
}

/* The length of what belongs to the same word or string at the front. */
static size_t inside_len(const struct scan *s, const char *sql, size_t len)
{
	const char *end;
	size_t n = 0;

	if (s->state == LEX_WORD) {
		n = word_len(sql, len);
	} else if (s->state == LEX_STRING) {
		end = memchr(sql, '\'', len);
		n = end ? (size_t)(end - sql) : len;
		end = s->escapes ? memchr(sql, '\\', n) : NULL;
		n = end ? (size_t)(end - sql) : n;
	}
	return n;
}

/* Takes that, just as feed_one() would. Returns its length. */
static size_t feed_inside(struct scan *s, const char *sql, size_t len)
{
	size_t n = s->raw ? 0 : inside_len(s, sql, len);
	size_t room = SCAN_VALUE_MAX - 1 - s->text_len;
	size_t kept = n < room ? n : room;

	memcpy(s->text + s->text_len, sql, kept);
	for (size_t i = 0; s->state == LEX_WORD && i < kept; i++)
		s->text[s->text_len + i] = folded(sql[i]);
	s->text_len += kept;
	s->cut |= kept < n;
	return n;
}

/* What a character begins where nothing else has. */
enum begins { BEGINS_OTHER, BEGINS_BLANK, BEGINS_WORD, BEGINS_NUMBER, BEGINS_MARK, BEGINS_PARENS };

static enum begins begins(char c)
{
	static const uint8_t what[256] = {[' '] = BEGINS_BLANK,
		['\t' ... '\r'] = BEGINS_BLANK,
		['a' ... 'z'] = BEGINS_WORD,
		['A' ... 'Z'] = BEGINS_WORD,
		['_'] = BEGINS_WORD,
		[0x80 ... 0xff] = BEGINS_WORD,
		['0' ... '9'] = BEGINS_NUMBER,
		['('] = BEGINS_PARENS,
		[')'] = BEGINS_PARENS,
		['!'] = BEGINS_MARK,
		['#'] = BEGINS_MARK,
		['%' ... '&'] = BEGINS_MARK,
		['*' ... ','] = BEGINS_MARK,
		['.'] = BEGINS_MARK,
		[':'] = BEGINS_MARK,
		['<' ... '@'] = BEGINS_MARK,
		['[' ... '^'] = BEGINS_MARK,
		['`'] = BEGINS_MARK,
		['{' ... '~'] = BEGINS_MARK};

	return (enum begins)what[(unsigned char)c];
}

/* The length of the token at the front, a word or a number; 0 if it may go on behind the end, or
 * is the prefix of a string. */
static size_t whole_token(const char *sql, size_t len, bool number)
{
	size_t n = word_len(sql, len);

	while (number && n < len && sql[n] == '.')
		n += 1 + word_len(sql + n + 1, len - n - 1);
	return n == len || sql[n] == '\'' ? 0 : n;
}

/* Is it worth while to look what word that is? See scan_word_token(). */
static bool may_matter(const struct scan *s, const char *word, size_t len)
{
	switch (folded(word[0])) {
	case 's':
		return len == strlen("set_config");
	case 'p':
		return len > 3 && word[2] == '_';
	case 'i':
		return len == strlen("into");
	case 't':
		return s->into;
	default:
		return false;
	}
}

/* Passes over what changes nothing but the depth of parentheses: most of a statement that is a
 * query, or the like. Returns its length. */
static size_t pass_over(struct scan *s, const char *sql, size_t len)
{
	size_t n = 0;

	for (; n < len; n++) {
		enum begins what = begins(sql[n]);
		if (what == BEGINS_BLANK)
			continue;
		if (what == BEGINS_OTHER || (what == BEGINS_PARENS && s->pending))
			break;
		if (what == BEGINS_WORD || what == BEGINS_NUMBER) {
			size_t token = whole_token(sql + n, len - n, what == BEGINS_NUMBER);
			if (!token || (what == BEGINS_WORD && may_matter(s, sql + n, token)))
				break;
			n += token - 1;
		}
		if (what == BEGINS_NUMBER)
			continue;
		if (what == BEGINS_PARENS)
			s->parens += sql[n] == '(' ? 1 : -1;
		if (what == BEGINS_WORD)
			s->into = false;
		s->pending = FUNCTION_NONE;
	}
	return n;
}

void scan_feed(struct scan *s, const char *sql, size_t len)
{
	for (size_t i = 0; i < len;) {
		if (s->state != LEX_NORMAL)
			i += feed_inside(s, sql + i, len - i);
		else if (s->first == FIRST_OTHER && !s->call.depth)
			i += pass_over(s, sql + i, len - i);
		if (i < len)
			feed_one(s, sql[i++]);
	}
}

void scan_end(struct scan *s)
{
	switch ((enum lex_state)s->state) {
	case LEX_WORD:
		end_token(s, TOKEN_WORD);
		break;
	case LEX_QUOTED_QUOTE:
		end_token(s, TOKEN_QUOTED);
		break;
	case LEX_STRING_QUOTE:
		end_token(s, TOKEN_STRING);
		break;
	case LEX_NUMBER:
		end_token(s, TOKEN_NUMBER);
		break;
	case LEX_PARAM:
		end_token(s, TOKEN_PARAM);
		break;
	default:
		break;
	}
	scan_end_statement(s);
}

void scan_clear(struct scan *s)
{
	for (unsigned i = 0; i < s->n_effects; i++) {
		free(s->effects[i].name);
		free(s->effects[i].value);
	}
	s->n_effects = 0;
}
