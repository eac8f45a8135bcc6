/* Reading and writing single packets. Knows no conversation. */
#include "proto/mysql/wire.h"

#include <string.h>

#include "util/text.h"

#define EOF_MARK 0xfe
#define ERR_MARK 0xff

bool my_header_read(const struct input *in, struct my_header *ret_header)
{
	if (in->len < MY_HEADER)
		return false;
	ret_header->len =
		(size_t)in->data[0] | (size_t)in->data[1] << 8 | (size_t)in->data[2] << 16;
	ret_header->sequence = in->data[3];
	return true;
}

uint64_t my_read_lenenc(struct reader *r)
{
	uint8_t first = reader_u8(r);

	switch (first) {
	case 0xfc:
		return reader_u16le(r);
	case 0xfd:
		return reader_u24le(r);
	case 0xfe:
		return reader_u64le(r);
	case 0xfb:
	case 0xff:
		r->failed = true;
		return 0;
	default:
		return first;
	}
}

const uint8_t *my_read_lenenc_bytes(struct reader *r, size_t *ret_len)
{
	uint64_t len = my_read_lenenc(r);

	*ret_len = 0;
	if (len > reader_left(r)) {
		r->failed = true;
		return NULL;
	}
	const uint8_t *bytes = reader_bytes(r, (size_t)len);
	if (bytes)
		*ret_len = (size_t)len;
	return bytes;
}

void my_write_lenenc(struct buf *b, uint64_t value)
{
	if (value < 0xfb) {
		buf_u8(b, (uint8_t)value);
	} else if (value <= 0xffff) {
		buf_u8(b, 0xfc);
		buf_u16le(b, (uint16_t)value);
	} else if (value <= 0xffffff) {
		buf_u8(b, 0xfd);
		buf_u24le(b, (uint32_t)value);
	} else {
		buf_u8(b, 0xfe);
		buf_u64le(b, value);
	}
}

void my_write_lenenc_bytes(struct buf *b, const void *data, size_t len)
{
	my_write_lenenc(b, len);
	buf_put(b, data, len);
}

size_t my_begin(struct buf *b, uint8_t sequence)
{
	size_t offset = b->len;

	buf_u24le(b, 0);
	buf_u8(b, sequence);
	return offset;
}

void my_end(struct buf *b, size_t offset)
{
	if (b->failed)
		return;
	size_t len = b->len - offset - MY_HEADER;
	if (len >= MY_PACKET_FULL) {
		b->failed = true;
		return;
	}
	b->data[offset] = (uint8_t)len;
	b->data[offset + 1] = (uint8_t)(len >> 8);
	b->data[offset + 2] = (uint8_t)(len >> 16);
}

void my_send_buf(struct output *o, struct buf *b)
{
	if (b->failed)
		o->failed = true;
	else
		output_copy(o, b->data, b->len);
	buf_clear(b);
}

void my_write_ok(struct buf *b, uint8_t sequence, uint16_t status)
{
	size_t offset = my_begin(b, sequence);

	buf_u8(b, 0);
	buf_u8(b, 0);
	buf_u8(b, 0);
	buf_u16le(b, status);
	buf_u16le(b, 0);
	my_end(b, offset);
}

void my_send_ok(struct output *o, uint8_t sequence, uint16_t status)
{
	uint8_t packet[] = {
		7, 0, 0, sequence, 0, 0, 0, (uint8_t)status, (uint8_t)(status >> 8), 0, 0};

	output_copy(o, packet, sizeof(packet));
}

void my_write_eof(struct buf *b, uint8_t sequence, uint16_t n_warnings, uint16_t status)
{
	size_t offset = my_begin(b, sequence);

	buf_u8(b, EOF_MARK);
	buf_u16le(b, n_warnings);
	buf_u16le(b, status);
	my_end(b, offset);
}

void my_write_error(
	struct buf *b, uint8_t sequence, uint16_t code, const char *sqlstate, const char *text)
{
	size_t offset = my_begin(b, sequence);

	buf_u8(b, ERR_MARK);
	buf_u16le(b, code);
	if (sqlstate) {
		buf_u8(b, '#');
		buf_put(b, sqlstate, 5);
	}
	buf_text(b, text);
	my_end(b, offset);
}

void my_send_refusal(struct output *o, uint8_t sequence, const struct refusal *refusal)
{
	struct buf b = {0};

	my_write_error(&b, sequence, refusal->mysql_code, refusal->mysql_sqlstate, refusal->text);
	my_send_buf(o, &b);
}

void my_send_command(struct output *o, uint8_t command, const void *argument, size_t len)
{
	uint8_t *at = output_space(o, MY_HEADER + 1 + len);

	CHECK(len + 1 < MY_PACKET_FULL);
	if (!at)
		return;
	at[0] = (uint8_t)(len + 1);
	at[1] = (uint8_t)((len + 1) >> 8);
	at[2] = (uint8_t)((len + 1) >> 16);
	at[3] = 0;
	at[4] = command;
	if (len)
		memcpy(at + 5, argument, len);
}

void my_send_query(struct output *o, const char *sql)
{
	my_send_command(o, MY_COM_QUERY, sql, strlen(sql));
}

/* The text of `len` bytes, cut and terminated. */
static void copy_cut(char *ret_text, size_t size, const uint8_t *text, size_t len)
{
	if (len > size - 1)
		len = size - 1;
	if (len)
		memcpy(ret_text, text, len);
	ret_text[len] = 0;
}

bool my_error_read(const uint8_t *payload, size_t len, struct my_error *ret_error)
{
	struct reader r;

	reader_init(&r, payload, len);
	if (reader_u8(&r) != ERR_MARK)
		return false;
	ret_error->code = reader_u16le(&r);
	if (r.failed)
		return false;
	text_copy(ret_error->sqlstate, sizeof(ret_error->sqlstate), "HY000");
	if (reader_left(&r) >= 6 && *r.at == '#') {
		reader_u8(&r);
		copy_cut(ret_error->sqlstate, sizeof(ret_error->sqlstate), reader_bytes(&r, 5), 5);
	}
	copy_cut(ret_error->text, sizeof(ret_error->text), r.at, reader_left(&r));
	return true;
}

bool my_ok_read(const uint8_t *payload, size_t len, bool session_track, struct my_ok *ret_ok)
{
	struct reader r;

	reader_init(&r, payload, len);
	uint8_t mark = reader_u8(&r);
	*ret_ok = (struct my_ok){.affected_rows = my_read_lenenc(&r)};
	ret_ok->last_insert_id = my_read_lenenc(&r);
	ret_ok->status = reader_u16le(&r);
	ret_ok->n_warnings = reader_u16le(&r);
	if (r.failed || (mark != 0 && mark != EOF_MARK))
		return false;
	ret_ok->fixed_len = (size_t)(r.at - payload);
	if (!session_track) {
		ret_ok->info_len = reader_left(&r);
		ret_ok->info = reader_bytes(&r, ret_ok->info_len);
		return true;
	}
	if (!reader_left(&r))
		return true;
	ret_ok->info = my_read_lenenc_bytes(&r, &ret_ok->info_len);
	if (!r.failed && reader_left(&r) && ret_ok->status & MY_STATUS_STATE_CHANGED)
		ret_ok->tracked = my_read_lenenc_bytes(&r, &ret_ok->tracked_len);
	return !r.failed;
}
