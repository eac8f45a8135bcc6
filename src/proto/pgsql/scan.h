/*
 * A lexer for PostgreSQL's SQL ("Lexical Structure" in its manual) that reports what a statement
 * may change in the session where the server's answers do not tell. No grammar: the first words of
 * each statement, and calls of a few functions anywhere. It takes the text in pieces, cut at any
 * byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum effect_kind {
	EFFECT_SET,       /* name, value: the SQL text to the right of TO, of this session */
	EFFECT_SET_LOCAL, /* SET LOCAL, SET TRANSACTION: gone with the transaction; the tag is SET
			     all the same */
	EFFECT_RESET,     /* name; also SET name TO DEFAULT */
	EFFECT_RESET_ALL,
	EFFECT_SET_CONFIG, /* name, and value or param, the number of the parameter that has it;
			      name NULL: unknown */
	EFFECT_SESSION_AUTHORIZATION,
	EFFECT_DISCARD_ALL,
	EFFECT_DISCARD_TEMP,
	EFFECT_PREPARE, /* name; so for the next ones */
	EFFECT_EXECUTE,
	EFFECT_DEALLOCATE,
	EFFECT_DEALLOCATE_ALL,
	EFFECT_LISTEN,
	EFFECT_UNLISTEN,
	EFFECT_UNLISTEN_ALL,
	EFFECT_TEMP,        /* may create something temporary */
	EFFECT_HOLD_CURSOR, /* name */
	EFFECT_CLOSE,       /* name */
	EFFECT_CLOSE_ALL,
	EFFECT_LOAD,
	EFFECT_ROLLBACK_TO,
	EFFECT_ADVISORY_LOCK, /* of the session, not of the transaction */
	EFFECT_ADVISORY_UNLOCK,
	EFFECT_ADVISORY_UNLOCK_ALL,
};

struct effect {
	enum effect_kind kind;
	unsigned statement; /* from 0, empty ones not counted */
	int param;
	char *name, *value; /* owned by the scan; NULL: none */
};

#define SCAN_EFFECTS_MAX 16
#define SCAN_TOKENS_MAX  12
#define SCAN_WORD_MAX    64
#define SCAN_VALUE_MAX   1024

struct scan_token {
	uint8_t kind;
	char text[SCAN_WORD_MAX]; /* cut */
};

/* The argument of set_config() that is being read. */
struct scan_call {
	int depth; /* of the parentheses around its arguments; 0: none is open */
	int n_args;
	uint8_t part; /* of the argument: nothing yet, the literal, a cast behind it */
	int param;
	bool is_local, name_known, value_known;
	char name[SCAN_WORD_MAX], value[SCAN_VALUE_MAX];
};

/* Embeddable, but large: one per worker, and copies of those that found something. */
struct scan {
	/* The result, after scan_end(). */
	unsigned n_statements, n_effects;
	bool overflow; /* more than could be noted: what it changes is unknown */
	struct effect effects[SCAN_EFFECTS_MAX];

	/* The lexer. */
	uint8_t state;
	unsigned depth; /* of nested comments */
	bool escapes;   /* in an E'...' string */
	bool unclear;   /* ... with an escape that is not undone here */
	bool raw;       /* the value of a SET is being collected */
	bool cut;       /* ... and was too long */
	size_t text_len, raw_len, tag_len, tag_at;
	char text[SCAN_VALUE_MAX], raw_text[SCAN_VALUE_MAX], tag[SCAN_WORD_MAX];

	/* The statement so far. */
	unsigned n_tokens;
	int parens;
	uint8_t first;   /* what its first word is */
	uint8_t pending; /* a function's name that waits for its parenthesis */
	bool into, temp;
	struct scan_token tokens[SCAN_TOKENS_MAX];
	struct scan_call call;
};

void scan_init(struct scan *s);
void scan_feed(struct scan *s, const char *sql, size_t len);

/* The text is complete: the result can be read. */
void scan_end(struct scan *s);

/* Frees what the result holds. */
void scan_clear(struct scan *s);
