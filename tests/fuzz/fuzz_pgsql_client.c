/* Clients that have logged in and say anything. The first byte chooses how it is cut; then come
 * deliveries: a byte for the client, two for the length, and what it says. */
#include "../unit/proto/conversation.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct script script;
	struct outcome outcome;
	struct reader r;

	reader_init(&r, data, size);
	uint8_t how = reader_u8(&r);
	struct cutting cutting = {.client_piece = how & 7,
		.server_piece = how >> 3 & 7,
		.interleaved = how & 64,
		.eager = how & 128};
	script = (struct script){.prepared_statements = 2, .session_mode = how == 255};
	/* Who has a session of its own keeps the one connection. */
	unsigned n_clients = script.session_mode ? 1 : CLIENTS;
	while (reader_left(&r) > 3 && script.n < 60) {
		unsigned client = reader_u8(&r) % n_clients;
		size_t len = reader_u16be(&r);
		if (len > reader_left(&r))
			len = reader_left(&r);
		buf_put(say(&script, client), reader_bytes(&r, len), len);
	}
	converse(&script, &cutting, &outcome);
	outcome_clear(&outcome);
	script_clear(&script);
	return 0;
}
