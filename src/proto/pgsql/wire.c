/* Writing and reading messages. Used by the other files of this folder only. */
#include "proto/pgsql/wire.h"

#include <string.h>

#include "util/text.h"

void pg_write_header(uint8_t ret_header[PG_HEADER], uint8_t type, size_t total)
{
	uint32_t n = (uint32_t)(total - 1);

	ret_header[0] = type;
	ret_header[1] = (uint8_t)(n >> 24);
	ret_header[2] = (uint8_t)(n >> 16);
	ret_header[3] = (uint8_t)(n >> 8);
	ret_header[4] = (uint8_t)n;
}

size_t pg_begin(struct buf *b, uint8_t type)
{
	buf_u8(b, type);
	buf_u32be(b, 0);
	return b->len;
}

void pg_end(struct buf *b, size_t offset)
{
	if (!b->failed)
		buf_patch_u32be(b, offset - 4, (uint32_t)(b->len - offset + 4));
}

static void write_field(struct buf *b, char code, const char *text)
{
	buf_u8(b, (uint8_t)code);
	buf_cstr(b, text);
}

void pg_write_report(struct buf *b, uint8_t type, const char *severity, const char *sqlstate,
	const char *text, const char *detail)
{
	size_t offset = pg_begin(b, type);

	write_field(b, 'S', severity);
	write_field(b, 'V', severity);
	write_field(b, 'C', sqlstate);
	write_field(b, 'M', text);
	if (detail)
		write_field(b, 'D', detail);
	buf_u8(b, 0);
	pg_end(b, offset);
}

void pg_send_buf(struct output *o, struct buf *b)
{
	if (b->failed)
		o->failed = true;
	else
		output_copy(o, b->data, b->len);
	buf_clear(b);
}

void pg_send_refusal(struct output *o, const struct refusal *refusal, bool fatal)
{
	struct buf b = {0};

	pg_write_report(&b, 'E', fatal ? "FATAL" : "ERROR", refusal->sqlstate, refusal->text, NULL);
	pg_send_buf(o, &b);
}

void pg_send_ready(struct output *o, uint8_t status)
{
	output_copy(o, (uint8_t[]){'Z', 0, 0, 0, 5, status}, 6);
}

void pg_send_empty(struct output *o, uint8_t type)
{
	output_copy(o, (uint8_t[]){type, 0, 0, 0, 4}, PG_HEADER);
}

void pg_send_text(struct output *o, uint8_t type, const char *text)
{
	size_t len = strlen(text) + 1;
	uint8_t *at = output_space(o, PG_HEADER + len);

	if (!at)
		return;
	pg_write_header(at, type, PG_HEADER + len);
	memcpy(at + PG_HEADER, text, len);
}

void pg_send_query(struct output *o, const char *sql)
{
	pg_send_text(o, 'Q', sql);
}

void pg_report_read(const uint8_t *content, size_t len, struct pg_report *ret_report)
{
	struct reader r;

	*ret_report = (struct pg_report){.severity = "", .sqlstate = "", .text = ""};
	reader_init(&r, content, len);
	for (;;) {
		uint8_t code = reader_u8(&r);
		const char *text = code ? reader_cstr(&r, NULL) : NULL;
		if (!text)
			return;
		/* 'V' is 'S' without translation, and comes after it. */
		if (code == 'V' || (code == 'S' && !ret_report->severity[0]))
			ret_report->severity = text;
		else if (code == 'C')
			ret_report->sqlstate = text;
		else if (code == 'M')
			ret_report->text = text;
	}
}

static void quote(struct buf *b, const char *text, char mark)
{
	buf_u8(b, (uint8_t)mark);
	for (const char *at = text; *at; at++) {
		if (*at == mark)
			buf_u8(b, (uint8_t)mark);
		buf_u8(b, (uint8_t)*at);
	}
	buf_u8(b, (uint8_t)mark);
}

void pg_literal(struct buf *b, const char *text)
{
	/* The E form means the same whatever standard_conforming_strings says. */
	if (strchr(text, '\\')) {
		buf_text(b, " E'");
		for (const char *at = text; *at; at++) {
			if (*at == '\'' || *at == '\\')
				buf_u8(b, (uint8_t)*at);
			buf_u8(b, (uint8_t)*at);
		}
		buf_u8(b, '\'');
		return;
	}
	quote(b, text, '\'');
}

void pg_identifier(struct buf *b, const char *name)
{
	quote(b, name, '"');
}

void pg_report_quote(const struct pg_report *report, enum reason reason, struct refusal *ret)
{
	refusal_set(ret, reason, NULL);
	if (strlen(report->sqlstate) == 5)
		text_copy(ret->sqlstate, sizeof(ret->sqlstate), report->sqlstate);
	text_copy(ret->text, sizeof(ret->text), report->text);
}
