/* Gathering what is to be sent. Filled by proto/, emptied by net/stream. Never sends itself. */
#include "net/output.h"

#include <stdlib.h>
#include <string.h>

struct output_block {
	struct output_block *next;
	size_t used, size;
	uint8_t data[];
};

void output_init(struct output *o)
{
	o->n_iov = o->total = o->n_scratch = 0;
	o->blocks = NULL;
	o->failed = false;
}

void output_reset(struct output *o)
{
	struct output_block *block = o->blocks;

	while (block) {
		struct output_block *next = block->next;
		free(block);
		block = next;
	}
	output_init(o);
}

void output_ref(struct output *o, const void *data, size_t len)
{
	if (!len || o->failed)
		return;
	struct iovec *last = o->n_iov ? &o->iov[o->n_iov - 1] : NULL;
	if (last && (const uint8_t *)last->iov_base + last->iov_len == data) {
		last->iov_len += len;
	} else {
		CHECK(o->n_iov < OUTPUT_IOV);
		/* sendmsg() does not write through it; the cast is struct iovec's doing. */
		o->iov[o->n_iov++] =
			(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	}
	o->total += len;
}

/* Each block holds as much as all before it, so that any number of small pieces, which stand
 * together in it, are a few large ones. */
static struct output_block *add_block(struct output *o, size_t len)
{
	size_t size = OUTPUT_SCRATCH;

	if (o->blocks && size < o->blocks->size * 2)
		size = o->blocks->size * 2;
	if (size < len)
		size = len;
	struct output_block *block = malloc(sizeof(*block) + size);
	if (!block)
		return NULL;
	block->next = o->blocks;
	block->used = 0;
	block->size = size;
	o->blocks = block;
	return block;
}

uint8_t *output_space(struct output *o, size_t len)
{
	struct output_block *block = o->blocks;
	uint8_t *at;

	if (o->failed)
		return NULL;
	if (!block && len <= OUTPUT_SCRATCH - o->n_scratch) {
		at = o->scratch + o->n_scratch;
		o->n_scratch += len;
	} else {
		if (!block || len > block->size - block->used)
			block = add_block(o, len);
		if (!block) {
			o->failed = true;
			return NULL;
		}
		at = block->data + block->used;
		block->used += len;
	}
	output_ref(o, at, len);
	return at;
}

void output_copy(struct output *o, const void *data, size_t len)
{
	uint8_t *at = output_space(o, len);

	if (at && len)
		memcpy(at, data, len);
}

void output_flatten(const struct output *o, uint8_t *ret_bytes)
{
	for (size_t i = 0; i < o->n_iov; i++) {
		memcpy(ret_bytes, o->iov[i].iov_base, o->iov[i].iov_len);
		ret_bytes += o->iov[i].iov_len;
	}
}
