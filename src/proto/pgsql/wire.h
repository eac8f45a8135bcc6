/*
 * PostgreSQL's messages, protocol 3 ("Message Formats" in PostgreSQL's manual): what weir writes
 * itself. A message is a type byte, a length that counts itself but not the type, and the content.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/intake.h"
#include "net/output.h"
#include "proto/reason.h"
#include "util/bytes.h"

#define PG_HEADER           5
#define PG_MESSAGE_MAX      0x40000000 /* 1 GB: PostgreSQL's own limit */
#define PG_PROTOCOL_3_0     0x00030000u
#define PG_PROTOCOL_LATEST  0x00030002u
#define PG_CANCEL_REQUEST   80877102u
#define PG_SSL_REQUEST      80877103u
#define PG_GSSENC_REQUEST   80877104u
#define PG_STARTUP_MAX      10000 /* PostgreSQL's MAX_STARTUP_PACKET_LENGTH */
#define PG_CANCEL_SECRET_32 32    /* length of the secrets given to clients of protocol 3.2 */

/* The header at the front of the input. */
struct pg_header {
	uint8_t type;
	size_t total; /* type byte and length included */
};

/* Outcomes of pg_header_read(), besides 0. */
enum { PG_HEADER_SHORT = 1, PG_HEADER_BAD };

/* Looks at the header without consuming it. PG_HEADER_BAD: a length below 4 or above the limit. */
static inline int pg_header_read(const struct input *in, struct pg_header *ret_header)
{
	if (in->len < PG_HEADER)
		return PG_HEADER_SHORT;
	ret_header->type = in->data[0];
	uint32_t len = get_u32be(in->data + 1);
	if (len < 4 || len > PG_MESSAGE_MAX)
		return PG_HEADER_BAD;
	ret_header->total = (size_t)len + 1;
	return 0;
}

/* The rows of a result, or of a COPY, need not be looked at one by one: lengthens the header of the
 * first to all whole messages of its type at the front of the input, as if they were one. */
static inline void pg_header_take_run(const struct input *in, struct pg_header *header)
{
	size_t run = header->total;
	struct pg_header next;

	while (run < in->len) {
		struct input rest = {.data = in->data + run, .len = in->len - run};
		if (pg_header_read(&rest, &next) != 0 || next.type != header->type ||
			next.total > rest.len)
			break;
		run += next.total;
	}
	header->total = run;
}

/* The other way round. */
void pg_write_header(uint8_t ret_header[PG_HEADER], uint8_t type, size_t total);

/* Writes of a message into a buffer: pg_begin() returns the offset that pg_end() completes. */
size_t pg_begin(struct buf *b, uint8_t type);
void pg_end(struct buf *b, size_t offset);

/* ErrorResponse ('E') or NoticeResponse ('N') with severity, SQLSTATE and text; `detail` may be
 * NULL. */
void pg_write_report(struct buf *b, uint8_t type, const char *severity, const char *sqlstate,
	const char *text, const char *detail);

/* The same for a refusal, straight to an output. */
void pg_send_refusal(struct output *o, const struct refusal *refusal, bool fatal);

/* ReadyForQuery with transaction status 'I', 'T' or 'E'. */
void pg_send_ready(struct output *o, uint8_t status);

/* A message without content ('1', '3', ...), or with a text (CommandComplete). */
void pg_send_empty(struct output *o, uint8_t type);
void pg_send_text(struct output *o, uint8_t type, const char *text);

/* Query ('Q') with that text. */
void pg_send_query(struct output *o, const char *sql);

/* Moves a buffer's content to an output and clears it; a failed buffer fails the output. */
void pg_send_buf(struct output *o, struct buf *b);

/* The fields of an ErrorResponse's content that matter here; texts in place, "" if missing. */
struct pg_report {
	const char *severity, *sqlstate, *text;
};

void pg_report_read(const uint8_t *content, size_t len, struct pg_report *ret_report);

/* Cuts it into a refusal. */
void pg_report_quote(const struct pg_report *report, enum reason reason, struct refusal *ret);

/* Appends `text` as an SQL string literal, and as a quoted identifier. */
void pg_literal(struct buf *b, const char *text);
void pg_identifier(struct buf *b, const char *name);
