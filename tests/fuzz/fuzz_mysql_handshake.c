/* A MySQL server's side of a login: packets, each with one byte for its length, of which the first
 * byte of the input says whether weir wants TLS. */
#include <string.h>

#include "fuzz.h"
#include "proto/mysql/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct handshake h = {.user = "someone", .password = "secret", .schema = "shop"};
	enum handshake_outcome outcome = HANDSHAKE_MORE;
	struct reader r;
	uint8_t sequence = 0;

	reader_init(&r, data, size);
	uint8_t how = reader_u8(&r);
	h.wants_tls = how & 1;
	h.needs_tls = how & 2;
	h.is_private = how & 4;
	while (reader_left(&r) && outcome == HANDSHAKE_MORE) {
		struct buf reply = {0};
		size_t len = reader_u8(&r);
		if (len > reader_left(&r))
			len = reader_left(&r);
		outcome = handshake_step(&h, reader_bytes(&r, len), len, sequence, &reply);
		if (outcome == HANDSHAKE_TLS)
			outcome = handshake_encrypted(&h, &reply);
		sequence = (uint8_t)(sequence + 2);
		buf_clear(&reply);
	}
	return 0;
}
