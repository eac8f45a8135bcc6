/* How the console's rows go to a PostgreSQL client. Used by console.c only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/result.h"
#include "util/bytes.h"

/* PgBouncer's widest table has 28 columns. */
#define PG_FORMATS_MAX 64

/* The formats that a Bind has chosen: 0 is text, 1 is binary. */
struct pg_formats {
	uint16_t each[PG_FORMATS_MAX];
	size_t n; /* 0: all are text; 1: all are the first; else one for each column */
};

/* RowDescription, or NoData for a result without columns. `formats` NULL: text. */
void console_result_columns(
	struct buf *b, const struct result *result, const struct pg_formats *formats);

/* DataRows, a notice if there is one, and CommandComplete. */
void console_result_rows(
	struct buf *b, const struct result *result, const struct pg_formats *formats);
