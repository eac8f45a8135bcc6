/*
 * A lexer for MySQL's and MariaDB's SQL ("Language Structure" in their manuals) that finds what the
 * server's session tracking does not tell: user variables, locks, statements whose effect is on the
 * next one, and the few statements that weir answers itself. No grammar: the first words of each
 * statement, and certain names anywhere. It takes the text in pieces, cut at any byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was found, in any of the text's statements. */
enum {
	SCAN_USER_VARIABLE = 1u << 0,   /* @name is given a value */
	SCAN_GET_LOCK = 1u << 1,        /* GET_LOCK(): see `locks` */
	SCAN_RELEASE_LOCKS = 1u << 2,   /* RELEASE_ALL_LOCKS() */
	SCAN_LOCK = 1u << 3,            /* see `name`: "tables", "flush", "instance", "backup" */
	SCAN_UNLOCK = 1u << 4,          /* likewise */
	SCAN_SET_STATEMENT = 1u << 5,   /* SET STATEMENT ... FOR: what is tracked is not to stay */
	SCAN_CALC_FOUND_ROWS = 1u << 6, /* SQL_CALC_FOUND_ROWS */
	SCAN_LAST_INSERT_ID = 1u << 7,  /* LAST_INSERT_ID(), @@identity: reads it */
	SCAN_DIAGNOSTICS = 1u << 8, /* SHOW WARNINGS, GET DIAGNOSTICS, ...: about the one before */
	SCAN_HANDLER = 1u << 9,     /* HANDLER t OPEN: see `name` */
	SCAN_SAVEPOINT = 1u << 10,
	SCAN_PREPARE = 1u << 11,   /* PREPARE name FROM ...: see `name` */
	SCAN_TEMPORARY = 1u << 12, /* CREATE TEMPORARY TABLE: see `name` */
	SCAN_DROP = 1u << 13,      /* DROP TABLE: see `name` */
	SCAN_SET_PINS = 1u << 14,  /* SET ROLE, SET timestamp, ...: cannot be repeated elsewhere */
	SCAN_SET_TRANSACTION = 1u << 15, /* SET TRANSACTION: about the next one only */
	SCAN_ENDS = 1u << 16,            /* COMMIT, ROLLBACK */
	SCAN_SET = 1u << 17,             /* any SET */
	SCAN_NAMES_COLLATE = 1u << 18,   /* SET NAMES x COLLATE y: see `name` */
	SCAN_SET_TRACKING = 1u << 19,    /* SET session_track_...: weir's own means */
	SCAN_DEALLOCATE = 1u << 20,      /* DEALLOCATE or DROP PREPARE */
	SCAN_ROW_COUNT = 1u << 21,       /* ROW_COUNT(), FOUND_ROWS(): about the one before */
	SCAN_RELEASE_LOCK = 1u << 22,    /* RELEASE_LOCK() */
	SCAN_BEGINS = 1u << 23,          /* BEGIN, START TRANSACTION */
	SCAN_HANDLER_CLOSE = 1u << 24,   /* see `name` */
	SCAN_STORED_FUNCTION =
		1u << 25,          /* in a SELECT: it may change what its answer does not tell */
	SCAN_CALL = 1u << 26,      /* CALL, EXECUTE: what they run is not in the text */
	SCAN_NO_SCHEMA = 1u << 27, /* USE, CREATE DATABASE: the schema before does not matter */
};

/* What the whole text is, where it is one of these and nothing more. */
enum scan_exact {
	EXACT_NONE,
	EXACT_COMMIT,
	EXACT_ROLLBACK,
	EXACT_AUTOCOMMIT_ON,
	EXACT_AUTOCOMMIT_OFF,
	EXACT_SHOW_WARNINGS,
	EXACT_SHOW_ERRORS,
	EXACT_COUNT_WARNINGS, /* SHOW COUNT(*) WARNINGS, SELECT @@warning_count */
	EXACT_LAST_INSERT_ID, /* SELECT LAST_INSERT_ID() */
	EXACT_ROW_COUNT,
	EXACT_FOUND_ROWS,
	EXACT_CONNECTION_ID,
	EXACT_KILL,       /* KILL [CONNECTION] n: see `number` */
	EXACT_KILL_QUERY, /* KILL QUERY n */
};

#define SCAN_TOKENS_MAX 10
#define SCAN_WORD_MAX   64

/* Of GET_LOCK()'s first argument: 64 characters of 4 bytes, their quotes, a doubled one. */
#define SCAN_LOCK_NAME_MAX 260
#define SCAN_LOCKS_MAX     1024

struct my_scan_token {
	uint8_t kind;
	char text[SCAN_WORD_MAX]; /* folded to lower case, and cut */
};

struct my_scan {
	/* The result, after my_scan_end(). */
	uint32_t found;
	unsigned n_statements;
	enum scan_exact exact;
	uint64_t number;
	char name[SCAN_WORD_MAX]; /* of the table, collation, ... that `found` speaks of */
	/* The first argument of each GET_LOCK(), with its NUL: a literal as it stands in the text,
	 * with its quotes; "?" and the number of a parameter, from 0; or "" if it is anything else.
	 */
	char locks[SCAN_LOCKS_MAX];
	size_t locks_len;

	/* The lexer. */
	uint8_t state;
	char quote; /* that ends the present string */
	bool no_backslash;
	bool executed;   /* in a comment that the server executes */
	bool adjacent;   /* nothing stands between the token before and this byte */
	bool was_quoted; /* the token before was in quotes */
	bool last_is_into;
	bool may_call;   /* the token before may be a function's name */
	bool is_foreign; /* ... that is not one of the server's own */
	bool was_dot;
	bool is_system; /* behind @@ */
	size_t len;
	char text[SCAN_WORD_MAX];

	/* The statement so far. */
	unsigned n_tokens; /* those beyond SCAN_TOKENS_MAX are counted, not kept */
	struct my_scan_token tokens[SCAN_TOKENS_MAX];
	uint32_t pending;   /* what the word before means if it is called */
	bool first_creates; /* the first statement was CREATE DATABASE */
	unsigned n_parameters;
	uint8_t lock_part; /* of a call of GET_LOCK(): see scan.c */
	size_t lock_name_len;
	char lock_name[SCAN_LOCK_NAME_MAX];
	unsigned variable; /* tokens until := would be about a user variable */
};

/* `no_backslash`: the session's sql_mode has NO_BACKSLASH_ESCAPES. */
void my_scan_init(struct my_scan *s, bool no_backslash);
void my_scan_feed(struct my_scan *s, const char *sql, size_t len);

/* The text is complete: the result can be read. */
void my_scan_end(struct my_scan *s);
