/* A MySQL server that answers anything. The first byte chooses what was asked, the second how the
 * answer is cut. */
#include "../unit/proto/mysql_player.h"
#include "fuzz.h"

static void ask(struct my_script *script, unsigned what)
{
	static const uint8_t execute[] = {1, 1, 0, 0, 0, 0, 1, 0xfe, 0, 2, 'h', 'i'};

	switch (what % 6) {
	case 0:
		put_query(client_says(script, 0), "SELECT 1");
		break;
	case 1:
		put_prepare(client_says(script, 0), "SELECT ?, GET_LOCK('a', 1)");
		break;
	case 2:
		put_about(client_says(script, 0), MY_COM_STMT_EXECUTE, 1, execute, sizeof(execute));
		break;
	case 3:
		put_query(client_says(script, 0), "SET NAMES latin1 COLLATE latin1_bin");
		break;
	case 4:
		put_command(client_says(script, 0), MY_COM_INIT_DB, "shop", 4);
		break;
	default:
		put_command(client_says(script, 0), MY_COM_STATISTICS, NULL, 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct my_script script;
	struct my_outcome outcome;

	if (size < 3)
		return 0;
	unsigned what = data[0];
	struct my_cutting cutting = {.server.piece = data[1] & 15};
	script = (struct my_script){.session_mode = what & 64,
		.local_infile = what & 128,
		.capabilities = MY_SESSION_TRACK | (what & 128 ? MY_LOCAL_FILES : 0)};
	if (what % 6 == 2) {
		put_prepare(client_says(&script, 0), "SELECT ?");
		put_prepared(server_says(&script), 7);
	}
	ask(&script, what);
	/* In two parts, so that there is something for what is asked next. */
	size_t part = (size_t)3 + data[2];
	if (part > size)
		part = size;
	buf_put(server_says(&script), data + 3, part - 3);
	put_query(client_says(&script, 0), "SELECT 2");
	buf_put(server_says(&script), data + part, size - part);
	put_query(client_says(&script, 1), "SELECT 3");
	my_play(&script, &cutting, &outcome);
	my_outcome_clear(&outcome);
	my_script_clear(&script);
	return 0;
}
