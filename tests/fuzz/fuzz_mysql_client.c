/* MySQL clients that have logged in and say anything. The first byte chooses how it is cut; then
 * come deliveries: a byte for who speaks (odd numbers from 3 on: the server answers properly what
 * that number says), two for the length, and what is said. */
#include "../unit/proto/mysql_player.h"
#include "fuzz.h"

static void answer(struct my_script *script, unsigned what)
{
	switch (what % 5) {
	case 0:
		put_ok(server_says(script), MY_STATUS_AUTOCOMMIT);
		break;
	case 1:
		put_row(server_says(script), "a");
		break;
	case 2:
		put_prepared(server_says(script), what);
		break;
	case 3:
		put_error(server_says(script), 1, 1064);
		break;
	default:
		put_ok(server_says(script), MY_STATUS_AUTOCOMMIT | MY_STATUS_IN_TRANS);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct my_script script;
	struct my_outcome outcome;
	struct reader r;

	reader_init(&r, data, size);
	uint8_t how = reader_u8(&r);
	struct my_cutting cutting = {.client.piece = how & 7, .server.piece = how >> 3 & 7};
	script = (struct my_script){.session_mode = how & 64,
		.local_infile = how & 128,
		.capabilities = how & 128 ? MY_LOCAL_FILES : 0};
	/* Who has a session of its own keeps the one connection. */
	unsigned n_clients = script.session_mode ? 1 : MY_CLIENTS;
	while (reader_left(&r) > 3 && script.n < MY_STEPS - 2) {
		unsigned who = reader_u8(&r);
		if (who > 2 && who & 1) {
			answer(&script, who / 2);
			continue;
		}
		size_t len = reader_u16be(&r);
		if (len > reader_left(&r))
			len = reader_left(&r);
		buf_put(client_says(&script, who / 2 % n_clients), reader_bytes(&r, len), len);
	}
	my_play(&script, &cutting, &outcome);
	my_outcome_clear(&outcome);
	my_script_clear(&script);
	return 0;
}
