/* The console's rows in PostgreSQL's words: columns with their types, cells as text or binary. */
#include "proto/pgsql/console_result.h"

#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/wire.h"

/* Types as PostgreSQL numbers them. */
#define OID_TEXT    25
#define OID_INT4    23
#define OID_INT8    20
#define OID_NUMERIC 1700

#define FORMAT_BINARY 1

static uint32_t type_oid(enum result_type type)
{
	switch (type) {
	case RESULT_TEXT:
		return OID_TEXT;
	case RESULT_INT4:
		return OID_INT4;
	case RESULT_INT8:
		return OID_INT8;
	case RESULT_NUMERIC:
		return OID_NUMERIC;
	}
	return OID_TEXT;
}

static uint16_t type_size(enum result_type type)
{
	return type == RESULT_INT4 ? 4 : type == RESULT_INT8 ? 8 : UINT16_MAX;
}

static uint16_t format_of(const struct pg_formats *formats, size_t column)
{
	if (!formats || !formats->n)
		return 0;
	return formats->n == 1 ? formats->each[0] : formats->each[column];
}

void console_result_columns(
	struct buf *b, const struct result *result, const struct pg_formats *formats)
{
	if (!result->columns) {
		pg_end(b, pg_begin(b, 'n'));
		return;
	}
	size_t offset = pg_begin(b, 'T');
	buf_u16be(b, (uint16_t)result->n_columns);
	for (size_t i = 0; i < result->n_columns; i++) {
		buf_cstr(b, result->columns[i].name);
		buf_u32be(b, 0);
		buf_u16be(b, 0);
		buf_u32be(b, type_oid(result->columns[i].type));
		buf_u16be(b, type_size(result->columns[i].type));
		buf_u32be(b, UINT32_MAX);
		buf_u16be(b, format_of(formats, i));
	}
	pg_end(b, offset);
}

/* PostgreSQL's binary numeric: digits to the base of 10,000, the highest first. */
static void write_numeric(struct buf *b, unsigned long long value)
{
	uint16_t digits[5];
	size_t n = 0;

	for (; value; value /= 10000)
		digits[n++] = (uint16_t)(value % 10000);
	buf_u32be(b, (uint32_t)(8 + 2 * n));
	buf_u16be(b, (uint16_t)n);
	buf_u16be(b, (uint16_t)(n ? n - 1 : 0)); /* weight of the first */
	buf_u16be(b, 0);                         /* sign */
	buf_u16be(b, 0);                         /* digits behind the point */
	while (n)
		buf_u16be(b, digits[--n]);
}

static void write_binary(struct buf *b, enum result_type type, const char *text)
{
	unsigned long long value = (unsigned long long)strtoll(text, NULL, 10);

	switch (type) {
	case RESULT_TEXT:
		buf_u32be(b, (uint32_t)strlen(text));
		buf_text(b, text);
		break;
	case RESULT_INT4:
		buf_u32be(b, 4);
		buf_u32be(b, (uint32_t)value);
		break;
	case RESULT_INT8:
		buf_u32be(b, 8);
		buf_u32be(b, (uint32_t)(value >> 32));
		buf_u32be(b, (uint32_t)value);
		break;
	case RESULT_NUMERIC:
		write_numeric(b, strtoull(text, NULL, 10));
		break;
	}
}

static void write_cell(struct buf *b, enum result_type type, uint16_t format, const char *text)
{
	if (!text)
		buf_u32be(b, UINT32_MAX);
	else
		write_binary(b, format == FORMAT_BINARY ? type : RESULT_TEXT, text);
}

void console_result_rows(
	struct buf *b, const struct result *result, const struct pg_formats *formats)
{
	const char *cursor = NULL, *text;
	size_t column = 0, offset = 0;

	while (result->n_columns && result_next(result, &cursor, &text)) {
		if (column == 0) {
			offset = pg_begin(b, 'D');
			buf_u16be(b, (uint16_t)result->n_columns);
		}
		write_cell(b, result->columns[column].type, format_of(formats, column), text);
		if (++column == result->n_columns) {
			pg_end(b, offset);
			column = 0;
		}
	}
	if (result->notice[0]) {
		struct buf detail = {0};
		buf_put(&detail, result->detail.data, result->detail.len);
		buf_u8(&detail, 0);
		pg_write_report(b, 'N', "NOTICE", "00000", result->notice, (char *)detail.data);
		buf_clear(&detail);
	}
	offset = pg_begin(b, 'C');
	buf_cstr(b, result->tag);
	pg_end(b, offset);
}
