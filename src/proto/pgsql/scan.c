/*
 * The lexer and the little it knows of statements. Used by statements.c and front.c. Words are
 * folded to lower case; quoted ones keep theirs.
 */
#include "proto/pgsql/scan.h"

#include <stdlib.h>
#include <string.h>

#include "util/check.h"
#include "util/text.h"

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

enum token_kind { TOKEN_WORD, TOKEN_QUOTED, TOKEN_STRING, TOKEN_NUMBER, TOKEN_PARAM, TOKEN_MARK };

/* The first words that matter. */
enum first_word {
	FIRST_NONE,
	FIRST_OTHER,
	FIRST_SET,
	FIRST_RESET,
	FIRST_DISCARD,
	FIRST_PREPARE,
	FIRST_EXECUTE,
	FIRST_DEALLOCATE,
	FIRST_LISTEN,
	FIRST_UNLISTEN,
	FIRST_CREATE,
	FIRST_DECLARE,
	FIRST_CLOSE,
	FIRST_LOAD,
	FIRST_DO,
	FIRST_ROLLBACK,
};

static const struct {
	const char *word;
	enum first_word first;
} first_words[] = {
	{"set", FIRST_SET},
	{"reset", FIRST_RESET},
	{"discard", FIRST_DISCARD},
	{"prepare", FIRST_PREPARE},
	{"execute", FIRST_EXECUTE},
	{"deallocate", FIRST_DEALLOCATE},
	{"listen", FIRST_LISTEN},
	{"unlisten", FIRST_UNLISTEN},
	{"create", FIRST_CREATE},
	{"declare", FIRST_DECLARE},
	{"close", FIRST_CLOSE},
	{"load", FIRST_LOAD},
	{"do", FIRST_DO},
	{"rollback", FIRST_ROLLBACK},
};

/* Functions whose calls matter. */
enum function {
	FUNCTION_NONE,
	FUNCTION_SET_CONFIG,
	FUNCTION_LOCK,
	FUNCTION_UNLOCK,
	FUNCTION_UNLOCK_ALL,
};

static const struct {
	const char *name;
	enum function function;
} functions[] = {
	{"set_config", FUNCTION_SET_CONFIG},
	{"pg_advisory_lock", FUNCTION_LOCK},
	{"pg_advisory_lock_shared", FUNCTION_LOCK},
	{"pg_try_advisory_lock", FUNCTION_LOCK},
	{"pg_try_advisory_lock_shared", FUNCTION_LOCK},
	{"pg_advisory_unlock", FUNCTION_UNLOCK},
	{"pg_advisory_unlock_shared", FUNCTION_UNLOCK},
	{"pg_advisory_unlock_all", FUNCTION_UNLOCK_ALL},
};

/* Of the words of a text few are looked for: most differ from each in their first letter. */
static bool same_word(const char *a, const char *b)
{
	return a[0] == b[0] && strcmp(a, b) == 0;
}

/* --- the result --- */

static void add_effect(
	struct scan *s, enum effect_kind kind, const char *name, const char *value, int param)
{
	if (s->n_effects == SCAN_EFFECTS_MAX) {
		s->overflow = true;
		return;
	}
	struct effect *effect = &s->effects[s->n_effects];
	*effect = (struct effect){.kind = kind, .statement = s->n_statements, .param = param};
	effect->name = name ? strdup(name) : NULL;
	effect->value = value ? strdup(value) : NULL;
	if ((name && !effect->name) || (value && !effect->value)) {
		free(effect->name);
		free(effect->value);
		s->overflow = true;
		return;
	}
	s->n_effects++;
}

static bool token_is(const struct scan *s, unsigned index, const char *word)
{
	return index < s->n_tokens && s->tokens[index].kind <= TOKEN_MARK &&
	       s->tokens[index].kind != TOKEN_QUOTED && s->tokens[index].kind != TOKEN_STRING &&
	       strcmp(s->tokens[index].text, word) == 0;
}

static const char *token_text(const struct scan *s, unsigned index)
{
	return index < s->n_tokens ? s->tokens[index].text : "";
}

/* --- statements --- */

/* What was collected behind TO, without the blanks around it. */
static const char *raw_value(struct scan *s)
{
	char *start = s->raw_text;

	while (s->raw_len && strchr(" \t\r\n\f\v", s->raw_text[s->raw_len - 1]))
		s->raw_len--;
	s->raw_text[s->raw_len] = 0;
	while (*start && strchr(" \t\r\n\f\v", *start))
		start++;
	return start;
}

static void end_set_value(struct scan *s, const char *name)
{
	const char *value = raw_value(s);

	if (s->cut) {
		s->overflow = true;
		return;
	}
	if (text_equal_ci(value, "default") ||
		(strcmp(name, "timezone") == 0 && text_equal_ci(value, "local")))
		add_effect(s, EFFECT_RESET, name, NULL, 0);
	else if (*value)
		add_effect(s, EFFECT_SET, name, value, 0);
}

/* SET SESSION CHARACTERISTICS AS TRANSACTION mode [, ...] */
static void end_characteristics(struct scan *s)
{
	for (unsigned i = 5; i < s->n_tokens; i++) {
		if (token_is(s, i, "serializable"))
			add_effect(
				s, EFFECT_SET, "default_transaction_isolation", "serializable", 0);
		else if (token_is(s, i, "repeatable"))
			add_effect(s, EFFECT_SET, "default_transaction_isolation",
				"'repeatable read'", 0);
		else if (token_is(s, i, "committed"))
			add_effect(s, EFFECT_SET, "default_transaction_isolation",
				"'read committed'", 0);
		else if (token_is(s, i, "uncommitted"))
			add_effect(s, EFFECT_SET, "default_transaction_isolation",
				"'read uncommitted'", 0);
		else if (token_is(s, i, "only"))
			add_effect(s, EFFECT_SET, "default_transaction_read_only", "on", 0);
		else if (token_is(s, i, "write"))
			add_effect(s, EFFECT_SET, "default_transaction_read_only", "off", 0);
		else if (token_is(s, i, "deferrable"))
			add_effect(s, EFFECT_SET, "default_transaction_deferrable",
				token_is(s, i - 1, "not") ? "off" : "on", 0);
	}
}

/* The name of the setting from token `at` on, with its dots, into `ret_name`. */
static void setting_name(const struct scan *s, unsigned at, char ret_name[SCAN_WORD_MAX * 2])
{
	text_copy(ret_name, SCAN_WORD_MAX * 2, token_text(s, at));
	if (token_is(s, at + 1, ".")) {
		size_t n = strlen(ret_name);
		ret_name[n] = '.';
		text_copy(ret_name + n + 1, SCAN_WORD_MAX * 2 - n - 1, token_text(s, at + 2));
	}
}

static void end_set(struct scan *s)
{
	char name[SCAN_WORD_MAX * 2];
	unsigned at = token_is(s, 1, "session") && !token_is(s, 2, "to") && !token_is(s, 2, "=");

	if (token_is(s, 1, "local") || token_is(s, 1, "transaction"))
		add_effect(s, EFFECT_SET_LOCAL, NULL, NULL, 0);
	else if (token_is(s, 1, "constraints"))
		return;
	else if (at && token_is(s, 2, "authorization"))
		add_effect(s, EFFECT_SESSION_AUTHORIZATION, NULL, NULL, 0);
	else if (at && token_is(s, 2, "characteristics"))
		end_characteristics(s);
	else if (token_is(s, 1 + at, "time") && token_is(s, 2 + at, "zone"))
		end_set_value(s, "timezone");
	else if (token_is(s, 1 + at, "names"))
		end_set_value(s, "client_encoding");
	else if (token_is(s, 1 + at, "schema"))
		end_set_value(s, "search_path");
	else if (token_is(s, 1 + at, "xml"))
		end_set_value(s, "xmloption");
	else {
		setting_name(s, 1 + at, name);
		end_set_value(s, name);
	}
}

static void end_reset(struct scan *s)
{
	char name[SCAN_WORD_MAX * 2];

	if (token_is(s, 1, "all"))
		add_effect(s, EFFECT_RESET_ALL, NULL, NULL, 0);
	else if (token_is(s, 1, "session") && token_is(s, 2, "authorization"))
		add_effect(s, EFFECT_SESSION_AUTHORIZATION, NULL, NULL, 0);
	else if (token_is(s, 1, "time") && token_is(s, 2, "zone"))
		add_effect(s, EFFECT_RESET, "timezone", NULL, 0);
	else if (s->n_tokens > 1) {
		setting_name(s, 1, name);
		add_effect(s, EFFECT_RESET, name, NULL, 0);
	}
}

static void end_create(struct scan *s)
{
	for (unsigned i = 1; i < 5; i++) {
		if (token_is(s, i, "temp") || token_is(s, i, "temporary") ||
			token_is(s, i, "pg_temp")) {
			s->temp = true;
			return;
		}
	}
}

static void end_declare(struct scan *s)
{
	for (unsigned i = 2; i + 1 < s->n_tokens; i++) {
		if (token_is(s, i, "with") && token_is(s, i + 1, "hold"))
			add_effect(s, EFFECT_HOLD_CURSOR, token_text(s, 1), NULL, 0);
	}
}

/* Statements of the form "WORD name" and "WORD ALL". */
static void end_named(struct scan *s, unsigned at, enum effect_kind one, enum effect_kind all)
{
	if (token_is(s, at, "all") || token_is(s, at, "*"))
		add_effect(s, all, NULL, NULL, 0);
	else if (s->n_tokens > at)
		add_effect(s, one, token_text(s, at), NULL, 0);
}

static void end_rollback(struct scan *s)
{
	for (unsigned i = 1; i < 3; i++) {
		if (token_is(s, i, "to"))
			add_effect(s, EFFECT_ROLLBACK_TO, NULL, NULL, 0);
	}
}

static void end_first_word(struct scan *s)
{
	switch ((enum first_word)s->first) {
	case FIRST_SET:
		end_set(s);
		break;
	case FIRST_RESET:
		end_reset(s);
		break;
	case FIRST_DISCARD:
		if (token_is(s, 1, "all"))
			add_effect(s, EFFECT_DISCARD_ALL, NULL, NULL, 0);
		else if (token_is(s, 1, "temp") || token_is(s, 1, "temporary"))
			add_effect(s, EFFECT_DISCARD_TEMP, NULL, NULL, 0);
		break;
	case FIRST_PREPARE:
		if (!token_is(s, 1, "transaction"))
			end_named(s, 1, EFFECT_PREPARE, EFFECT_PREPARE);
		break;
	case FIRST_EXECUTE:
		end_named(s, 1, EFFECT_EXECUTE, EFFECT_EXECUTE);
		break;
	case FIRST_DEALLOCATE:
		end_named(s, token_is(s, 1, "prepare") ? 2 : 1, EFFECT_DEALLOCATE,
			EFFECT_DEALLOCATE_ALL);
		break;
	case FIRST_LISTEN:
		end_named(s, 1, EFFECT_LISTEN, EFFECT_LISTEN);
		break;
	case FIRST_UNLISTEN:
		end_named(s, 1, EFFECT_UNLISTEN, EFFECT_UNLISTEN_ALL);
		break;
	case FIRST_CREATE:
		end_create(s);
		break;
	case FIRST_DECLARE:
		end_declare(s);
		break;
	case FIRST_CLOSE:
		end_named(s, 1, EFFECT_CLOSE, EFFECT_CLOSE_ALL);
		break;
	case FIRST_DO:
		/* What its block sets for the session nobody tells. */
		add_effect(s, EFFECT_SET_CONFIG, NULL, NULL, 0);
		break;
	case FIRST_LOAD:
		add_effect(s, EFFECT_LOAD, NULL, NULL, 0);
		break;
	case FIRST_ROLLBACK:
		end_rollback(s);
		break;
	case FIRST_NONE:
	case FIRST_OTHER:
		break;
	}
}

static void end_statement(struct scan *s)
{
	if (s->first != FIRST_NONE) {
		end_first_word(s);
		if (s->temp)
			add_effect(s, EFFECT_TEMP, NULL, NULL, 0);
		s->n_statements++;
	}
	s->n_tokens = 0;
	s->parens = 0;
	s->first = FIRST_NONE;
	s->pending = FUNCTION_NONE;
	s->into = s->temp = s->raw = s->cut = false;
	s->raw_len = 0;
	s->call.depth = 0;
}

/* --- calls of functions --- */

enum argument_part { PART_NONE, PART_LITERAL, PART_CAST };

static void end_argument(struct scan *s)
{
	s->call.n_args++;
	s->call.part = PART_NONE;
}

/* An expression: its value is not known here. */
static void not_understood(struct scan_call *call)
{
	if (call->n_args == 0)
		call->name_known = false;
	else
		call->value_known = false;
	if (call->n_args == 2)
		call->is_local = false;
}

static bool is_one_of(const char *text, const char *const words[5])
{
	for (int i = 0; i < 5; i++) {
		if (text_equal_ci(text, words[i]))
			return true;
	}
	return false;
}

/* set_config()'s third argument. If it cannot be told, the setting may be the session's. */
static void local_argument(struct scan_call *call, const char *text)
{
	static const char *const yes[] = {"true", "t", "on", "yes", "1"};
	static const char *const no[] = {"false", "f", "off", "no", "0"};

	call->is_local = is_one_of(text, yes);
	if (!call->is_local && !is_one_of(text, no))
		not_understood(call);
}

/* What stands behind the literal or parameter: a cast changes nothing, anything else may. */
static void behind_literal(struct scan_call *call, enum token_kind kind, const char *text)
{
	bool mark = kind == TOKEN_MARK;

	if (call->part == PART_LITERAL && mark && *text == ':')
		call->part = PART_CAST;
	else if (call->part == PART_LITERAL || (mark && !strchr(":.[]", *text)) ||
		 (kind != TOKEN_WORD && kind != TOKEN_QUOTED && !mark))
		not_understood(call);
}

static void end_call(struct scan *s)
{
	struct scan_call *call = &s->call;

	call->depth = 0;
	if (call->is_local)
		return;
	if (call->name_known && call->value_known)
		add_effect(s, EFFECT_SET_CONFIG, call->name, call->param ? NULL : call->value,
			call->param);
	else
		add_effect(s, EFFECT_SET_CONFIG, call->name_known ? call->name : NULL, NULL, 0);
}

/* A token inside the parentheses of set_config(). Only one literal or parameter, perhaps with a
 * cast behind it, is understood as an argument. */
static void call_token(struct scan *s, enum token_kind kind, const char *text)
{
	struct scan_call *call = &s->call;
	bool top = s->parens == call->depth;

	if (kind == TOKEN_MARK && top && *text == ',') {
		end_argument(s);
		return;
	}
	if (!top)
		return;
	if (call->part != PART_NONE) {
		behind_literal(call, kind, text);
		return;
	}
	call->part = PART_LITERAL;
	if (kind == TOKEN_STRING && s->unclear) {
		not_understood(call);
	} else if (kind == TOKEN_STRING && call->n_args == 0 && strlen(text) < SCAN_WORD_MAX) {
		text_copy(call->name, sizeof(call->name), text);
		call->name_known = true;
	} else if (kind == TOKEN_STRING && call->n_args == 1 && !s->cut) {
		text_copy(call->value, sizeof(call->value), text);
		call->value_known = true;
	} else if (kind == TOKEN_PARAM && call->n_args == 1) {
		call->param = (int)strtol(text, NULL, 10);
		call->value_known = call->param > 0;
	} else if (call->n_args == 2 && kind != TOKEN_PARAM) {
		local_argument(call, text);
	} else {
		not_understood(call);
	}
}

static void call_opens(struct scan *s)
{
	switch ((enum function)s->pending) {
	case FUNCTION_SET_CONFIG:
		s->call = (struct scan_call){.depth = s->parens};
		break;
	case FUNCTION_LOCK:
		add_effect(s, EFFECT_ADVISORY_LOCK, NULL, NULL, 0);
		break;
	case FUNCTION_UNLOCK:
		add_effect(s, EFFECT_ADVISORY_UNLOCK, NULL, NULL, 0);
		break;
	case FUNCTION_UNLOCK_ALL:
		add_effect(s, EFFECT_ADVISORY_UNLOCK_ALL, NULL, NULL, 0);
		break;
	case FUNCTION_NONE:
		break;
	}
	s->pending = FUNCTION_NONE;
}

static enum function find_function(const char *text)
{
	/* All of them begin with "set_" or "pg_". */
	if (!text_starts_with(text, text[0] == 's' ? "set_" : "pg_"))
		return FUNCTION_NONE;
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		if (same_word(text, functions[i].name))
			return functions[i].function;
	}
	return FUNCTION_NONE;
}

/* --- tokens --- */

static enum first_word find_first(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(first_words); i++) {
		if (same_word(text, first_words[i].word))
			return first_words[i].first;
	}
	return FIRST_OTHER;
}

/* From here on the text is the value of a SET? */
static bool value_begins(const struct scan *s)
{
	unsigned n = s->n_tokens;
	unsigned at = token_is(s, 1, "session");

	if (n < 2 || s->raw || token_is(s, 1, "local"))
		return false;
	if (token_is(s, n - 1, "to") || token_is(s, n - 1, "="))
		return n > 2;
	if (n == 2 + at)
		return token_is(s, 1 + at, "names") || token_is(s, 1 + at, "schema") ||
		       token_is(s, 1 + at, "role");
	return n == 3 + at &&
	       ((token_is(s, 1 + at, "time") && token_is(s, 2 + at, "zone")) ||
		       (token_is(s, 1 + at, "xml") && token_is(s, 2 + at, "option")));
}

static void keep_token(struct scan *s, enum token_kind kind, const char *text)
{
	if (s->n_tokens == SCAN_TOKENS_MAX || s->raw)
		return;
	struct scan_token *token = &s->tokens[s->n_tokens++];
	token->kind = (uint8_t)kind;
	text_copy(token->text, sizeof(token->text), text);
	if (s->first == FIRST_SET && value_begins(s)) {
		s->raw = true;
		s->raw_len = 0;
	}
}

static void mark_token(struct scan *s, char mark)
{
	char text[2] = {mark, 0};

	if (mark == '(') {
		s->parens++;
		if (s->pending)
			call_opens(s);
	} else if (s->call.depth && s->call.depth == s->parens && mark == ')') {
		end_argument(s);
		end_call(s);
		s->parens--;
	} else if (mark == ')') {
		s->parens--;
	} else if (s->call.depth) {
		call_token(s, TOKEN_MARK, text);
	}
	if (s->first > FIRST_OTHER)
		keep_token(s, TOKEN_MARK, text);
	s->pending = FUNCTION_NONE;
}

static void word_token(struct scan *s, enum token_kind kind, const char *text)
{
	if (s->first == FIRST_NONE)
		s->first = (uint8_t)(kind == TOKEN_WORD ? find_first(text) : FIRST_OTHER);
	if (s->first > FIRST_OTHER)
		keep_token(s, kind, text);
	if (s->call.depth)
		call_token(s, kind, text);
	if (kind != TOKEN_WORD && kind != TOKEN_QUOTED)
		return;
	s->pending = (uint8_t)find_function(text);
	if (s->into && (same_word(text, "temp") || same_word(text, "temporary")))
		s->temp = true;
	s->into = kind == TOKEN_WORD && same_word(text, "into");
}

static void end_token(struct scan *s, enum token_kind kind)
{
	s->text[s->text_len] = 0;
	s->state = LEX_NORMAL;
	word_token(s, kind, s->text);
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
		end_statement(s);
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
		mark_token(s, c);
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
		add_raw(s, c);
		if (c == '"')
			s->state = LEX_QUOTED_QUOTE;
		else
			add_text(s, c);
		break;
	case LEX_QUOTED_QUOTE:
	case LEX_STRING_QUOTE:
		if (c == (s->state == LEX_QUOTED_QUOTE ? '"' : '\'')) {
			add_raw(s, c);
			add_text(s, c);
			s->state = s->state == LEX_QUOTED_QUOTE ? LEX_QUOTED : LEX_STRING;
			break;
		}
		end_token(s, s->state == LEX_QUOTED_QUOTE ? TOKEN_QUOTED : TOKEN_STRING);
		normal(s, c);
		break;
	case LEX_STRING:
		in_string(s, c);
		break;
	case LEX_STRING_ESCAPE:
		s->unclear |= c != '\'' && c != '\\' && c != '"';
		add_raw(s, c);
		add_text(s, c);
		s->state = LEX_STRING;
		break;
	case LEX_NUMBER:
	case LEX_PARAM:
		if (is_word((unsigned char)c) || (c == '.' && s->state == LEX_NUMBER)) {
			add_raw(s, c);
			add_text(s, c);
			break;
		}
		end_token(s, s->state == LEX_NUMBER ? TOKEN_NUMBER : TOKEN_PARAM);
		normal(s, c);
		break;
	case LEX_DOLLAR:
		in_dollar(s, c);
		break;
	case LEX_BODY:
		in_body(s, c);
		break;
	case LEX_DASH:
	case LEX_SLASH: {
		bool comment = s->state == LEX_DASH ? c == '-' : c == '*';
		char mark = s->state == LEX_DASH ? '-' : '/';
		if (comment) {
			s->depth = 1;
			s->state = mark == '-' ? LEX_LINE : LEX_BLOCK;
			break;
		}
		s->state = LEX_NORMAL;
		add_raw(s, mark);
		mark_token(s, mark);
		normal(s, c);
		break;
	}
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
	end_statement(s);
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

/* Is it worth while to look what word that is? See find_function() and word_token(). */
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
	end_statement(s);
}

void scan_clear(struct scan *s)
{
	for (unsigned i = 0; i < s->n_effects; i++) {
		free(s->effects[i].name);
		free(s->effects[i].value);
	}
	s->n_effects = 0;
}
