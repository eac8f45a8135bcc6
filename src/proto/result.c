/* Rows without a protocol. Filled by admin/, put on the wire by each protocol's console room. */
#include "proto/result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/text.h"

void result_init(struct result *r)
{
	memset(r, 0, sizeof(*r));
}

void result_clear(struct result *r)
{
	buf_clear(&r->cells);
	buf_clear(&r->detail);
}

void result_text(struct result *r, const char *text)
{
	buf_u8(&r->cells, text != NULL);
	if (text)
		buf_cstr(&r->cells, text);
	r->n_cells++;
}

void result_int(struct result *r, long long value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", value);
	result_text(r, text);
}

bool result_next(const struct result *r, const char **cursor, const char **ret_text)
{
	if (!r->cells.len)
		return false;
	const char *end = (const char *)r->cells.data + r->cells.len;
	const char *at = *cursor ? *cursor : (const char *)r->cells.data;

	if (at == end)
		return false;
	*ret_text = *at ? at + 1 : NULL;
	*cursor = *at ? at + 1 + strlen(at + 1) + 1 : at + 1;
	return true;
}

void result_append(struct result *r, const struct result *more)
{
	CHECK(r->columns == more->columns);
	buf_put(&r->cells, more->cells.data, more->cells.len);
	r->n_cells += more->n_cells;
}

void result_take_cells(struct result *r, struct result *other)
{
	buf_clear(&r->cells);
	r->cells = other->cells;
	r->n_cells = other->n_cells;
	other->cells = (struct buf){0};
	other->n_cells = 0;
}

void result_fail(struct result *r, const char *sqlstate, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->error, sizeof(r->error), format, args);
	va_end(args);
	text_copy(r->error_sqlstate, sizeof(r->error_sqlstate), sqlstate);
}
