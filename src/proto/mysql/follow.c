/* Where an answer ends. Used by back.c; reads headers only, and nothing of continued packets. */
#include "proto/mysql/follow.h"

#include "proto/mysql/wire.h"

#define OK_MARK     0x00
#define UPLOAD_MARK 0xfb
#define EOF_MARK    0xfe
#define ERR_MARK    0xff

/* An EOF_Packet is shorter than any row that begins with its mark. */
#define EOF_BELOW 9

#define PREPARE_OK_SIZE 12

void follow_start(struct follow *f, enum follow_shape shape)
{
	*f = (struct follow){.shape = shape};
	f->state = shape == SHAPE_ROWS ? FOLLOW_ROWS : FOLLOW_FIRST;
}

bool follow_needs_whole(const struct follow *f, uint8_t first, size_t len)
{
	if (f->is_continuation)
		return false;
	if (f->state == FOLLOW_FIRST)
		return f->shape != SHAPE_STATISTIC;
	return (first == EOF_MARK && len < EOF_BELOW) ||
	       (first == ERR_MARK && f->state == FOLLOW_ROWS);
}

static enum follow_packet end_with_error(struct follow *f)
{
	f->state = FOLLOW_DONE;
	return PACKET_ERR;
}

static bool read_eof(struct follow *f, const uint8_t *payload, size_t len)
{
	struct reader r;

	reader_init(&r, payload, len);
	reader_u8(&r);
	f->n_warnings = reader_u16le(&r);
	f->status = reader_u16le(&r);
	return !r.failed;
}

/* The end of a result set: another may follow. */
static void end_result(struct follow *f)
{
	bool more = f->status & MY_STATUS_MORE_RESULTS || f->out_parameters;

	f->last_row_sent = f->status & MY_STATUS_LAST_ROW_SENT;
	f->out_parameters = false;
	f->state = f->shape == SHAPE_RESULTS && more ? FOLLOW_FIRST : FOLLOW_DONE;
}

static enum follow_packet first_prepared(struct follow *f, const uint8_t *payload, size_t len)
{
	struct reader r;

	reader_init(&r, payload, len);
	reader_bytes(&r, 5);
	f->n_columns = reader_u16le(&r);
	uint16_t n_parameters = reader_u16le(&r);
	if (r.failed || len < PREPARE_OK_SIZE)
		return PACKET_BROKEN;
	f->n_left = n_parameters;
	f->state = n_parameters ? FOLLOW_PARAMETERS : f->n_columns ? FOLLOW_FIELDS : FOLLOW_DONE;
	if (f->state == FOLLOW_FIELDS)
		f->n_left = f->n_columns;
	return PACKET_PREPARED;
}

static enum follow_packet first_ok(struct follow *f, const uint8_t *payload, size_t len)
{
	struct my_ok ok;

	if (!my_ok_read(payload, len, true, &ok))
		return PACKET_BROKEN;
	f->status = ok.status;
	f->n_warnings = ok.n_warnings;
	f->n_rows = 0;
	end_result(f);
	return PACKET_OK;
}

static enum follow_packet first(struct follow *f, const uint8_t *payload, size_t len)
{
	struct reader r;

	if (f->shape == SHAPE_STATISTIC) {
		f->state = FOLLOW_DONE;
		return PACKET_PLAIN;
	}
	if (!len)
		return PACKET_BROKEN;
	switch (payload[0]) {
	case OK_MARK:
		return f->shape == SHAPE_PREPARE ? first_prepared(f, payload, len)
						 : first_ok(f, payload, len);
	case ERR_MARK:
		return end_with_error(f);
	case EOF_MARK:
		if (len >= EOF_BELOW || !read_eof(f, payload, len))
			return PACKET_BROKEN;
		f->state = FOLLOW_DONE;
		return PACKET_EOF;
	case UPLOAD_MARK:
		f->state = FOLLOW_UPLOAD;
		return f->shape == SHAPE_RESULTS ? PACKET_UPLOAD : PACKET_BROKEN;
	default:
		break;
	}
	reader_init(&r, payload, len);
	uint64_t n = my_read_lenenc(&r);
	if (f->shape != SHAPE_RESULTS || !reader_done(&r) || n == 0 || n > UINT16_MAX)
		return PACKET_BROKEN;
	f->n_left = (uint32_t)n;
	f->n_columns = (uint16_t)n;
	f->n_rows = 0;
	f->state = FOLLOW_COLUMNS;
	return PACKET_PLAIN;
}

static enum follow_packet columns_end(struct follow *f)
{
	/* MySQL says only here that more will come. */
	f->out_parameters = f->status & MY_STATUS_OUT_PARAMETERS;
	if (f->shape == SHAPE_PREPARE) {
		f->state = FOLLOW_DONE;
	} else if (f->wants_cursor && f->status & MY_STATUS_CURSOR_EXISTS) {
		f->cursor_open = true;
		f->state = FOLLOW_DONE;
	} else {
		f->state = FOLLOW_ROWS;
	}
	return PACKET_EOF;
}

enum follow_packet follow_step(struct follow *f, const uint8_t *payload, size_t len)
{
	bool goes_on = f->is_continuation;
	bool is_eof = len && len < EOF_BELOW && payload[0] == EOF_MARK;

	f->is_continuation = len == MY_PACKET_FULL;
	if (goes_on)
		return PACKET_PLAIN;
	switch (f->state) {
	case FOLLOW_FIRST:
		return first(f, payload, len);
	case FOLLOW_COLUMNS:
	case FOLLOW_FIELDS:
		if (--f->n_left == 0)
			f->state = FOLLOW_COLUMNS_END;
		return PACKET_PLAIN;
	case FOLLOW_PARAMETERS:
		if (f->n_left) {
			f->n_left--;
			return PACKET_PLAIN;
		}
		if (!is_eof || !read_eof(f, payload, len))
			return PACKET_BROKEN;
		f->n_left = f->n_columns;
		f->state = f->n_columns ? FOLLOW_FIELDS : FOLLOW_DONE;
		return PACKET_EOF;
	case FOLLOW_COLUMNS_END:
		if (!is_eof || !read_eof(f, payload, len))
			return PACKET_BROKEN;
		return columns_end(f);
	case FOLLOW_ROWS:
		if (is_eof) {
			if (!read_eof(f, payload, len))
				return PACKET_BROKEN;
			end_result(f);
			return PACKET_EOF;
		}
		if (len && payload[0] == ERR_MARK)
			return end_with_error(f);
		f->n_rows++;
		return PACKET_PLAIN;
	case FOLLOW_UPLOAD:
	case FOLLOW_DONE:
		break;
	}
	return PACKET_BROKEN;
}

size_t follow_rows(struct follow *f, const uint8_t *data, size_t len)
{
	size_t at = 0;

	if (f->state != FOLLOW_ROWS || f->is_continuation)
		return 0;
	while (len - at > MY_HEADER) {
		const uint8_t *p = data + at;
		size_t size = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16;
		bool plain = p[MY_HEADER] < EOF_MARK && size && size < MY_PACKET_FULL;
		if (!plain || len - at < MY_HEADER + size)
			break;
		at += MY_HEADER + size;
		f->n_rows++;
	}
	return at;
}

void follow_uploaded(struct follow *f)
{
	f->state = FOLLOW_FIRST;
}
