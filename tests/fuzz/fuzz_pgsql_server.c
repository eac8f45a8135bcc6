/* A server that answers anything. The first byte chooses what was asked, the second how the answer
 * is cut. */
#include "../unit/proto/conversation.h"
#include "fuzz.h"

static void ask(struct buf *b, unsigned what)
{
	if (what & 1) {
		say_parse(b, "a", "SELECT 1");
		say_bind(b, "a", NULL);
		say_describe(b, 'P', "");
		say_execute(b);
		say_close(b, 'S', "a");
	}
	if (what & 2) {
		say_query(b, "BEGIN");
		say_query(b, "SET work_mem TO 1");
	}
	if (what & 4)
		say_query(b, "COPY IN");
	if (what & 8)
		say_text(b, 'd', "data");
	if (what & 16)
		say_empty(b, 'c');
	if (what & 32)
		say_empty(b, 'S');
	if (what & 64)
		say_query(b, "EXECUTE a");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct script script;
	struct outcome outcome;

	if (size < 3)
		return 0;
	unsigned what = data[0];
	struct cutting cutting = {.server_piece = data[1]};
	script = (struct script){.n_proper = 1,
		.server_words = data + 2,
		.n_server_words = size - 2,
		.session_mode = what & 128};
	ask(say(&script, 0), 33);
	struct buf *b = say(&script, 0);
	ask(b, what);
	/* Half a message. */
	buf_put(b, "Q\0\0\0\x0dLIST", 9);
	buf_put(say(&script, 0), "EN x\0", 5);
	ask(say(&script, 0), what);
	converse(&script, &cutting, &outcome);
	outcome_clear(&outcome);
	script_clear(&script);
	return 0;
}
