/*
 * Bytes of the wire. A reader checks what is left at every step and latches failure, so that a
 * parser reads straight through and judges once at the end. A buffer grows and latches failure
 * likewise.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/check.h"

/* Reads borrowed bytes. After a read past the end `failed` is set and every read gives zero or
 * NULL. Inline: every message of either side is read with these. */
struct reader {
	const uint8_t *at, *end;
	bool failed;
};

static inline void reader_init(struct reader *r, const void *data, size_t len)
{
	r->at = data;
	r->end = len ? r->at + len : r->at;
	r->failed = false;
}

static inline size_t reader_left(const struct reader *r)
{
	return r->failed ? 0 : (size_t)(r->end - r->at);
}

/* `len` bytes in place, or NULL. */
static inline const uint8_t *reader_bytes(struct reader *r, size_t len)
{
	if (r->failed || (size_t)(r->end - r->at) < len) {
		r->failed = true;
		return NULL;
	}
	const uint8_t *bytes = r->at;
	r->at += len;
	return bytes;
}

/* A big-endian number where all its bytes are known to be there. */
static inline uint32_t get_u32be(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Big-endian ("network order") and little-endian numbers. */
static inline uint8_t reader_u8(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 1);

	return b ? b[0] : 0;
}

static inline uint16_t reader_u16be(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 2);

	return b ? (uint16_t)(b[0] << 8 | b[1]) : 0;
}

static inline uint32_t reader_u32be(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 4);

	return b ? get_u32be(b) : 0;
}

static inline uint16_t reader_u16le(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 2);

	return b ? (uint16_t)(b[1] << 8 | b[0]) : 0;
}

static inline uint32_t reader_u24le(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 3);

	return b ? (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0] : 0;
}

static inline uint32_t reader_u32le(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 4);

	return b ? (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0] : 0;
}

static inline uint64_t reader_u64le(struct reader *r)
{
	uint64_t low = reader_u32le(r);

	return (uint64_t)reader_u32le(r) << 32 | low;
}

/* A text up to its NUL, in place, or NULL if no NUL is left. `ret_len` (may be NULL) is without it.
 */
const char *reader_cstr(struct reader *r, size_t *ret_len);

/* True if nothing failed and nothing is left: the judgement at the end of a message. */
static inline bool reader_done(const struct reader *r)
{
	return !r->failed && r->at == r->end;
}

/*
 * A growable buffer. When memory runs out, or `limit` would be passed, `failed` is latched, the
 * content stays as it was and further puts do nothing. An all-zero struct is an empty buffer
 * without limit.
 */
struct buf {
	uint8_t *data;
	size_t len, cap;
	uint32_t limit; /* greatest length; 0: none */
	bool failed;
};

/* Frees the memory (wiping nothing) and leaves an empty buffer with the same limit. */
void buf_clear(struct buf *b);

/* Like buf_clear(), but overwrites the content first: for secrets. */
void buf_wipe(struct buf *b);

/* Room for `len` more bytes at data + len, or NULL (and failed). Does not change the length. */
uint8_t *buf_reserve(struct buf *b, size_t len);

void buf_put(struct buf *b, const void *data, size_t len);
void buf_u8(struct buf *b, uint8_t value);
void buf_u16be(struct buf *b, uint16_t value);
void buf_u32be(struct buf *b, uint32_t value);
void buf_u16le(struct buf *b, uint16_t value);
void buf_u24le(struct buf *b, uint32_t value);
void buf_u32le(struct buf *b, uint32_t value);
void buf_u64le(struct buf *b, uint64_t value);

/* A text with its NUL; without it; formatted, without it. */
void buf_cstr(struct buf *b, const char *text);
void buf_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* Drops the first `len` bytes. */
void buf_consume(struct buf *b, size_t len);

/* Overwrites four bytes at `offset` (already written) with a big-endian number: lengths that are
 * known only afterwards. */
void buf_patch_u32be(struct buf *b, size_t offset, uint32_t value);
