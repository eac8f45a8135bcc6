/*
 * Rows without a protocol: what the console answers, before it is put into PostgreSQL's or MySQL's
 * words.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/bytes.h"
#include "util/check.h"

/* The types of the console's columns. */
enum result_type { RESULT_TEXT, RESULT_INT4, RESULT_INT8, RESULT_NUMERIC };

struct result_column {
	const char *name; /* static */
	enum result_type type;
};

struct result {
	const struct result_column *columns; /* static; NULL: no rows, only a tag */
	size_t n_columns;
	struct buf cells; /* per cell: one byte 0 for NULL, or 1 and the text with its NUL */
	size_t n_cells;
	char tag[64];    /* "SHOW", "PAUSE", ... */
	char error[256]; /* non-empty: the command failed and this is why */
	char error_sqlstate[6];
	char notice[64]; /* non-empty: sent as a notice, with `detail` */
	struct buf detail;
};

void result_init(struct result *r);
void result_clear(struct result *r);

/* Cells are added row by row, left to right; `text` NULL is NULL. */
void result_text(struct result *r, const char *text);
void result_int(struct result *r, long long value);

/* Walks the cells: *cursor starts at NULL. Returns false at the end; *ret_text is NULL for NULL. */
bool result_next(const struct result *r, const char **cursor, const char **ret_text);

/* Appends the rows of `more`, whose columns must be the same. */
void result_append(struct result *r, const struct result *more);

/* The rows of `other` take the place of those of `r`; `other` has none any more. */
void result_take_cells(struct result *r, struct result *other);

void result_fail(struct result *r, const char *sqlstate, const char *format, ...) PRINTF_LIKE(3, 4);
