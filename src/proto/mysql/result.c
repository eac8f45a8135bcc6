/* Result sets that weir writes itself ("Text Resultset"). Used by local.c and console.c. */
#include <string.h>

#include "proto/mysql/state.h"

#define CHARSET_UTF8MB4 45
#define CHARSET_BINARY  63

static void write_column(struct buf *b, uint8_t sequence, const struct my_column *column)
{
	bool text = column->type == MY_TYPE_VAR_STRING;
	size_t offset = my_begin(b, sequence);

	my_write_lenenc_bytes(b, "def", 3);
	for (int i = 0; i < 3; i++)
		my_write_lenenc(b, 0); /* schema, table, original table */
	my_write_lenenc_bytes(b, column->name, strlen(column->name));
	my_write_lenenc(b, 0);
	buf_u8(b, 12); /* the length of the rest */
	buf_u16le(b, text ? CHARSET_UTF8MB4 : CHARSET_BINARY);
	buf_u32le(b, text ? 4096 : 21);
	buf_u8(b, column->type);
	buf_u16le(b, text ? 0 : 0x80); /* BINARY */
	buf_u8(b, text ? 31 : 0);
	buf_u16le(b, 0);
	my_end(b, offset);
}

void my_write_columns(struct buf *b, uint8_t *sequence, const struct my_column *columns,
	size_t n_columns, uint16_t status)
{
	size_t offset = my_begin(b, (*sequence)++);

	my_write_lenenc(b, n_columns);
	my_end(b, offset);
	for (size_t i = 0; i < n_columns; i++)
		write_column(b, (*sequence)++, &columns[i]);
	my_write_eof(b, (*sequence)++, 0, status);
}

void my_write_row(struct buf *b, uint8_t *sequence, const char *const *cells, size_t n_cells)
{
	size_t offset = my_begin(b, (*sequence)++);

	for (size_t i = 0; i < n_cells; i++) {
		if (cells[i])
			my_write_lenenc_bytes(b, cells[i], strlen(cells[i]));
		else
			buf_u8(b, 0xfb);
	}
	my_end(b, offset);
}
