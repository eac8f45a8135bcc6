/*
 * What statements mean, as far as it matters: their first words, and calls of a few functions.
 */
#include "proto/pgsql/scan_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "util/check.h"
#include "util/text.h"

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

void scan_end_statement(struct scan *s)
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

/* `word`, in any case, against `other` of the same length. */
static bool is(const char *word, const char *other)
{
	return (word[0] | 0x20) == other[0] && strncasecmp(word, other, strlen(other)) == 0;
}

enum first_word scan_first_word(const char *word, size_t len)
{
	switch (len) {
	case 2:
		return is(word, "do") ? FIRST_DO : FIRST_OTHER;
	case 3:
		return is(word, "set") ? FIRST_SET : FIRST_OTHER;
	case 4:
		return is(word, "load") ? FIRST_LOAD : FIRST_OTHER;
	case 5:
		return is(word, "reset")   ? FIRST_RESET
		       : is(word, "close") ? FIRST_CLOSE
					   : FIRST_OTHER;
	case 6:
		return is(word, "create")   ? FIRST_CREATE
		       : is(word, "listen") ? FIRST_LISTEN
					    : FIRST_OTHER;
	case 7:
		return is(word, "prepare")   ? FIRST_PREPARE
		       : is(word, "execute") ? FIRST_EXECUTE
		       : is(word, "declare") ? FIRST_DECLARE
		       : is(word, "discard") ? FIRST_DISCARD
					     : FIRST_OTHER;
	case 8:
		return is(word, "rollback")   ? FIRST_ROLLBACK
		       : is(word, "unlisten") ? FIRST_UNLISTEN
					      : FIRST_OTHER;
	case 10:
		return is(word, "deallocate") ? FIRST_DEALLOCATE : FIRST_OTHER;
	default:
		return FIRST_OTHER;
	}
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

void scan_mark_token(struct scan *s, char mark)
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

void scan_word_token(struct scan *s, enum token_kind kind, const char *text)
{
	if (s->first == FIRST_NONE)
		s->first = (uint8_t)(kind == TOKEN_WORD ? scan_first_word(text, strlen(text))
							: FIRST_OTHER);
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
