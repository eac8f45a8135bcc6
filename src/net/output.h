/*
 * What is to be sent, gathered before one sendmsg(): references to bytes that stay where they were
 * received, and small pieces written for the occasion. One per worker and direction, reset after
 * each flush, so gathering costs no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/check.h"

#define OUTPUT_IOV     64
#define OUTPUT_SCRATCH 16384

struct output {
	struct iovec iov[OUTPUT_IOV];
	size_t n_iov;
	size_t total; /* bytes in all */
	size_t n_scratch;
	struct output_block *blocks; /* what did not fit the scratch */
	bool failed;                 /* memory ran out: the peer's connection has to go */
	uint8_t scratch[OUTPUT_SCRATCH];
};

void output_init(struct output *o);

/* Empties it and frees what it allocated. */
void output_reset(struct output *o);

/* True while there is room for at least 16 more pieces: what one message may need. */
static inline bool output_has_room(const struct output *o)
{
	return o->n_iov + 16 <= OUTPUT_IOV;
}

/* Appends borrowed bytes, which must stay as they are until the flush. Joins neighbours. */
void output_ref(struct output *o, const void *data, size_t len);

/* Appends a copy. */
void output_copy(struct output *o, const void *data, size_t len);

/* Appends `len` bytes for the caller to write, in one piece; NULL (and failed) without memory. */
uint8_t *output_space(struct output *o, size_t len);

/* The content in one piece, for tests: copied to `ret_bytes` (at least `total`). */
void output_flatten(const struct output *o, uint8_t *ret_bytes);
