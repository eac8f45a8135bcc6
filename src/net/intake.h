/*
 * Receiving. Each worker has one receive buffer; bytes are looked at and sent on from there. Only
 * what cannot be used yet is kept with its connection: an idle connection holds no buffer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "net/output.h"
#include "net/stream.h"
#include "util/bytes.h"
#include "util/check.h"

#define WORKSPACE_SIZE 65536

/* One per worker: where bytes are received and gathered. Nothing in it outlives a callback. */
struct workspace {
	struct output to_client, to_server;
	uint8_t received[WORKSPACE_SIZE];
};

/* Received bytes, consumed from the front. */
struct input {
	const uint8_t *data;
	size_t len;
};

static inline void input_skip(struct input *in, size_t len)
{
	CHECK(len <= in->len);
	in->data += len;
	in->len -= len;
}

/* Reads once from `s` behind what `kept` holds. On 0, *ret_in is all of it, in the workspace or in
 * `kept`, and valid until the next read or keep; `kept` must then be given to intake_keep().
 * Otherwise an outcome of stream_read(), or -ENOMEM, with `kept` unchanged. *ret_new counts the new
 * bytes. */
MUST_USE int intake_read(struct stream *s, struct buf *kept, struct workspace *space,
	struct input *ret_in, size_t *ret_new);

/* What `kept` holds already, as input; then as above. */
struct input intake_kept(struct buf *kept);

/* Keeps the rest of the input for the next time; frees the memory if there is none. Returns 0 or
 * -ENOMEM. */
MUST_USE int intake_keep(struct buf *kept, struct input rest);
