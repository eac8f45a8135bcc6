#include "util/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *reader_cstr(struct reader *r, size_t *ret_len)
{
	const uint8_t *nul =
		r->failed || r->at == r->end ? NULL : memchr(r->at, 0, (size_t)(r->end - r->at));

	if (!nul) {
		r->failed = true;
		return NULL;
	}
	const char *text = (const char *)r->at;
	if (ret_len)
		*ret_len = (size_t)(nul - r->at);
	r->at = nul + 1;
	return text;
}

void buf_clear(struct buf *b)
{
	free(b->data);
	*b = (struct buf){.limit = b->limit};
}

void buf_wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_clear(b);
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
	if (b->failed || len > SIZE_MAX / 4 || (b->limit && len > b->limit - b->len)) {
		b->failed = true;
		return NULL;
	}
	if (b->cap - b->len < len) {
		size_t cap = b->cap ? b->cap : 64;
		while (cap - b->len < len)
			cap *= 2;
		uint8_t *data = realloc(b->data, cap);
		if (!data) {
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->cap = cap;
	}
	/* Nothing to put into an empty buffer: there is no memory to count from. */
	return b->len ? b->data + b->len : b->data;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
	uint8_t *at = len ? buf_reserve(b, len) : NULL;

	if (at) {
		memcpy(at, data, len);
		b->len += len;
	}
}

void buf_u8(struct buf *b, uint8_t value)
{
	buf_put(b, &value, 1);
}

void buf_u16be(struct buf *b, uint16_t value)
{
	buf_put(b, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

void buf_u32be(struct buf *b, uint32_t value)
{
	buf_u16be(b, (uint16_t)(value >> 16));
	buf_u16be(b, (uint16_t)value);
}

static void put_le(struct buf *b, uint64_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_u8(b, (uint8_t)(value >> (8 * i)));
}

void buf_u16le(struct buf *b, uint16_t value)
{
	put_le(b, value, 2);
}

void buf_u24le(struct buf *b, uint32_t value)
{
	put_le(b, value, 3);
}

void buf_u32le(struct buf *b, uint32_t value)
{
	put_le(b, value, 4);
}

void buf_u64le(struct buf *b, uint64_t value)
{
	put_le(b, value, 8);
}

void buf_cstr(struct buf *b, const char *text)
{
	buf_put(b, text, strlen(text) + 1);
}

void buf_text(struct buf *b, const char *text)
{
	buf_put(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	CHECK(len >= 0);
	char *at = (char *)buf_reserve(b, (size_t)len + 1);
	if (!at)
		return;
	va_start(args, format);
	vsnprintf(at, (size_t)len + 1, format, args);
	va_end(args);
	b->len += (size_t)len;
}

void buf_consume(struct buf *b, size_t len)
{
	CHECK(len <= b->len);
	if (len == 0)
		return;
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
}

void buf_patch_u32be(struct buf *b, size_t offset, uint32_t value)
{
	if (b->failed)
		return;
	CHECK(offset <= b->len && b->len - offset >= 4);
	b->data[offset] = (uint8_t)(value >> 24);
	b->data[offset + 1] = (uint8_t)(value >> 16);
	b->data[offset + 2] = (uint8_t)(value >> 8);
	b->data[offset + 3] = (uint8_t)value;
}
