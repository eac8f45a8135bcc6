/* Receiving behind what was kept. Used by session/ and pool/. */
#include "net/intake.h"

#include <errno.h>
#include <string.h>

/* With less room than this behind the kept bytes, they grow in a buffer of their own instead. */
#define LEAST_ROOM 16384

int intake_read(struct stream *s, struct buf *kept, struct workspace *space, struct input *ret_in,
	size_t *ret_new)
{
	bool apart = kept->len > WORKSPACE_SIZE - LEAST_ROOM;
	size_t room = apart ? WORKSPACE_SIZE : WORKSPACE_SIZE - kept->len;
	uint8_t *at = apart ? buf_reserve(kept, room) : space->received + kept->len;
	size_t len;

	if (!at)
		return -ENOMEM;
	int r = stream_read(s, at, room, &len);
	if (r != 0)
		return r;
	*ret_new = len;
	if (apart) {
		kept->len += len;
		*ret_in = intake_kept(kept);
		return 0;
	}
	if (kept->len)
		memcpy(space->received, kept->data, kept->len);
	*ret_in = (struct input){.data = space->received, .len = kept->len + len};
	return 0;
}

struct input intake_kept(struct buf *kept)
{
	return (struct input){.data = kept->data, .len = kept->len};
}

int intake_keep(struct buf *kept, struct input rest)
{
	bool inside = kept->data && rest.data >= kept->data && rest.data <= kept->data + kept->len;

	if (rest.len == 0) {
		buf_clear(kept);
		return 0;
	}
	if (inside) {
		buf_consume(kept, (size_t)(rest.data - kept->data));
		CHECK(kept->len == rest.len);
		return 0;
	}
	kept->len = 0;
	buf_put(kept, rest.data, rest.len);
	return kept->failed ? -ENOMEM : 0;
}
