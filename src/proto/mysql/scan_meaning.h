/*
 * Inside of the scan (scan.h): what its two files share. scan.c finds tokens, scan_meaning.c tells
 * what those at the front of a statement mean. Its small functions run for most words of each text,
 * and are here to be inlined in both.
 */
#pragma once

#include <string.h>

#include "proto/mysql/scan.h"

/* Of my_scan_token.kind. */
enum token_kind { TOKEN_WORD, TOKEN_QUOTED, TOKEN_MARK };

/* Of the words of a text few are looked for: most differ from each in their first letter. */
static inline bool same_word(const char *a, const char *b)
{
	return a[0] == b[0] && strcmp(a, b) == 0;
}

/* Is the token at that place of the present statement this word (in lower case), or this mark? */
static inline bool token_is(const struct my_scan *s, unsigned index, const char *word)
{
	return index < s->n_tokens && index < SCAN_TOKENS_MAX &&
	       s->tokens[index].kind != TOKEN_QUOTED && same_word(s->tokens[index].text, word);
}

/* The statement whose tokens are kept has ended: adds what it does to the result. It has one token
 * at least. */
void my_scan_meaning(struct my_scan *s);
