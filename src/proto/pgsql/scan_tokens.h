/*
 * Between the lexer (scan.c) and what statements mean (scan_tokens.c).
 */
#pragma once

#include "proto/pgsql/scan.h"

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

/* Functions whose calls matter. */
enum function {
	FUNCTION_NONE,
	FUNCTION_SET_CONFIG,
	FUNCTION_LOCK,
	FUNCTION_UNLOCK,
	FUNCTION_UNLOCK_ALL,
};

/* A word, name, string, number or parameter is complete: `text`, NUL at its end, words in lower
 * case. */
void scan_word_token(struct scan *s, enum token_kind kind, const char *text);

/* A mark, such as a parenthesis or an operator's character. */
void scan_mark_token(struct scan *s, char mark);

/* The statement ends here: notes what it may change, and makes ready for the next. */
void scan_end_statement(struct scan *s);

/* What the first word of a statement is, given in any case. */
enum first_word scan_first_word(const char *word, size_t len);
