/* What came of a script, in words; and the same for every way to cut it. */
#include <string.h>

#include "../test.h"
#include "mysql_player.h"
#include "proto/mysql/dial.h"
#include "util/log.h"

/* Scripts of more bytes are not cut everywhere. */
#define EVERYWHERE_MAX 3000

/* More of a text would not be read by anybody. */
#define TEXT_MAX 100

/* --- in words --- */

static void print_answer(const uint8_t *payload, size_t len, struct buf *b)
{
	if (len >= 3 && payload[0] == 0xff)
		buf_printf(b, "ERR(%u)", payload[1] | payload[2] << 8);
	else if (len >= 7 && payload[0] == 0)
		buf_printf(b, len > 7 && payload[4] & 0x40 ? "OK(CHANGED)" : "OK");
	else if (len && len < 9 && payload[0] == 0xfe)
		buf_printf(b, "EOF");
	else if (len > 4 && memcmp(payload, "\3def", 4) == 0)
		buf_printf(b, "def");
	else if (len > 30 && len < TEXT_MAX && payload[0] == 0xfe)
		buf_printf(b, "SWITCH(%s)", payload + 1);
	else if (len > 30 && len < TEXT_MAX && payload[0] == 10)
		buf_printf(b, "GREETING");
	else if (len > 30 && memcmp(payload, "\1-----BEGIN", 11) == 0)
		buf_printf(b, "KEY");
	else if (len == 1 || (len == 2 && payload[0] == 1 && payload[1] < ' '))
		buf_printf(b, "[%u]", payload[len - 1]);
	else if (len > 1 && len < TEXT_MAX && payload[0] == len - 1)
		buf_printf(b, "%.*s", (int)(len - 1), payload + 1);
	else if (len > 1 && len < TEXT_MAX && payload[0] == 0xfb)
		buf_printf(b, "FILE(%.*s)", (int)(len - 1), payload + 1);
	else
		buf_printf(b, "<%zu>", len);
}

static void put_text(const char *text, size_t len, struct buf *b)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i])
			buf_u8(b, (uint8_t)text[i]);
		else
			buf_printf(b, "\\0");
	}
}

static void print_text(const char *name, const uint8_t *payload, size_t len, struct buf *b)
{
	const size_t arm = sizeof(MYSQL_ARM_SQL) - 1, names = sizeof(MYSQL_NAMES_SQL) - 1;

	if (len - 1 == arm && memcmp(payload + 1, MYSQL_ARM_SQL, arm) == 0) {
		buf_printf(b, "ARM");
	} else if (len - 1 == names && memcmp(payload + 1, MYSQL_NAMES_SQL, names) == 0) {
		buf_printf(b, "NAMES");
	} else if (len > TEXT_MAX) {
		buf_printf(b, "%s<%zu>", name, len - 1);
	} else {
		buf_printf(b, "%s(", name);
		put_text((const char *)payload + 1, len - 1, b);
		buf_printf(b, ")");
	}
}

static void print_command(const uint8_t *payload, size_t len, struct buf *b)
{
	static const char *const texts[] = {[MY_COM_QUERY] = "QUERY",
		[MY_COM_STMT_PREPARE] = "PREPARE",
		[MY_COM_INIT_DB] = "USE"};
	static const char *const numbers[] = {[MY_COM_STMT_EXECUTE] = "EXECUTE",
		[MY_COM_STMT_CLOSE] = "CLOSE",
		[MY_COM_STMT_RESET] = "RESET",
		[MY_COM_STMT_FETCH] = "FETCH",
		[MY_COM_STMT_SEND_LONG_DATA] = "DATA",
		[MY_COM_SET_OPTION] = "OPTION",
		[MY_COM_PROCESS_KILL] = "KILL"};
	static const char *const words[] = {[MY_COM_QUIT] = "QUIT",
		[MY_COM_STATISTICS] = "STATISTICS",
		[MY_COM_PING] = "PING",
		[MY_COM_RESET_CONNECTION] = "NEW"};
	uint8_t command = len ? payload[0] : MY_COM_SLEEP;

	if (command < ARRAY_LEN(texts) && texts[command])
		print_text(texts[command], payload, len, b);
	else if (command == MY_COM_STMT_EXECUTE && len > 11 && !payload[11])
		buf_printf(b, "EXECUTE(%u, no types)", payload[1]); /* of its one parameter */
	else if (command < ARRAY_LEN(numbers) && numbers[command] && len > 1)
		buf_printf(b, "%s(%u)", numbers[command], payload[1]);
	else if (len && command < ARRAY_LEN(words) && words[command])
		buf_printf(b, "%s", words[command]);
	else if (len)
		buf_printf(b, "COM%u", command);
}

static void print(const struct buf *from, bool answers, struct buf *b)
{
	struct input in = {.data = from->data, .len = from->len};
	struct my_header h;
	bool continued = false;

	while (my_header_read(&in, &h) && in.len >= MY_HEADER + h.len) {
		const uint8_t *payload = in.data + MY_HEADER;
		if (b->len)
			buf_u8(b, ' ');
		buf_printf(b, "%u:", h.sequence);
		/* What goes on, and a client's file, has no form of its own. */
		if (continued || (!answers && h.sequence))
			buf_printf(b, "<%zu>", h.len);
		else
			(answers ? print_answer : print_command)(payload, h.len, b);
		continued = h.len == MY_PACKET_FULL;
		input_skip(&in, MY_HEADER + h.len);
	}
	if (in.len)
		buf_printf(b, " +%zu", in.len);
	buf_u8(b, 0);
}

void my_print_client(const struct my_outcome *o, unsigned client, struct buf *ret_text)
{
	print(&o->to_client[client], true, ret_text);
}

void my_print_server(const struct my_outcome *o, unsigned server, struct buf *ret_text)
{
	print(&o->to_server[server], false, ret_text);
}

/* --- cuts --- */

/* One way to play a script, and how that is told if it makes a difference. */
struct attempt {
	const struct my_script *script;
	const struct my_outcome *whole;
	const char *what;
	size_t position;
};

static void compare(const struct attempt *a, const char *whose, unsigned number,
	const struct buf *whole, const struct buf *cut)
{
	bool answers = strcmp(whose, "client") == 0;
	struct buf expected = {0}, seen = {0};

	if (whole->len == cut->len && (!cut->len || memcmp(whole->data, cut->data, cut->len) == 0))
		return;
	print(whole, answers, &expected);
	print(cut, answers, &seen);
	fail_msg("%s at %zu: %s %u\n  whole: %s\n  cut:   %s", a->what, a->position, whose, number,
		expected.data, seen.data);
}

static void try(const struct attempt *a, const struct my_cutting *how)
{
	struct my_outcome other;

	my_play(a->script, how, &other);
	for (unsigned i = 0; i < MY_CLIENTS; i++) {
		compare(a, "client", i, &a->whole->to_client[i], &other.to_client[i]);
		if (a->whole->closed[i] != other.closed[i])
			fail_msg("%s at %zu: client %u is closed, or is not", a->what, a->position,
				i);
	}
	for (unsigned i = 0; i < PLAY_SERVERS && !a->script->servers_answer; i++)
		compare(a, "server", i, &a->whole->to_server[i], &other.to_server[i]);
	if (a->whole->mid_message != other.mid_message)
		fail_msg("%s at %zu: the server is lost within a message, or is not", a->what,
			a->position);
	if (a->whole->broken != other.broken)
		fail_msg("%s at %zu: the server is broken, or is not", a->what, a->position);
	my_outcome_clear(&other);
}

/* What peers of one side have said, one after the other. */
static void gather(const struct my_script *script, bool clients, struct buf *ret_bytes)
{
	for (size_t i = 0; i < script->n; i++) {
		const struct my_script_step *step = &script->steps[i];
		if ((step->kind == STEP_CLIENT) == clients)
			buf_put(ret_bytes, step->bytes.data, step->bytes.len);
	}
}

static void try_cut(struct attempt *a, bool clients, size_t position)
{
	struct my_cutting how = {0};

	(clients ? &how.client : &how.server)->cut = position;
	a->what = clients ? "the clients' bytes cut" : "the servers' bytes cut";
	a->position = position;
	try(a, &how);
}

/* From the end of one packet to the first bytes of the next one's payload. Of packets that are as
 * long as can be only those that they meet are of interest. */
static void try_around_packets(struct attempt *a, bool clients, bool long_only)
{
	static const int offsets[] = {-1, 0, 1, MY_HEADER - 1, MY_HEADER, MY_HEADER + 1};
	struct buf bytes = {0};
	struct my_header h;
	bool was_full = false;

	gather(a->script, clients, &bytes);
	struct input in = {.data = bytes.data, .len = bytes.len};
	while (my_header_read(&in, &h)) {
		size_t at = bytes.len - in.len;
		bool full = h.len == MY_PACKET_FULL;
		for (size_t i = 0; i < ARRAY_LEN(offsets) && (!long_only || full || was_full); i++)
			if (at + (size_t)offsets[i] - 1 < bytes.len - 1)
				try_cut(a, clients, at + (size_t)offsets[i]);
		was_full = full;
		input_skip(&in, in.len < MY_HEADER + h.len ? in.len : MY_HEADER + h.len);
	}
	buf_clear(&bytes);
}

static void try_pieces(struct attempt *a, size_t client, size_t server)
{
	const struct my_cutting how = {.client.piece = client, .server.piece = server};

	a->what = client ? "in pieces" : "the servers' bytes in pieces";
	a->position = client ? client : server;
	try(a, &how);
}

static void try_travelling(struct attempt *a)
{
	const struct my_cutting how = {.travels = true};

	a->what = "with connections that travel";
	a->position = 0;
	try(a, &how);
}

static void try_all(const struct my_script *script, const struct my_outcome *whole)
{
	struct attempt a = {.script = script, .whole = whole};
	size_t n_bytes = whole->n_client_bytes + whole->n_server_bytes;
	bool everywhere = n_bytes<EVERYWHERE_MAX, huge = n_bytes> MY_PACKET_FULL;
	size_t piece = everywhere ? 1 : huge ? 65536 : 1000;

	try_travelling(&a);
	try_pieces(&a, piece, piece);
	if (!huge) {
		try_pieces(&a, piece, 0);
		try_pieces(&a, 0, piece);
	}
	if (!everywhere) {
		try_around_packets(&a, true, huge);
		try_around_packets(&a, false, huge);
		return;
	}
	for (size_t i = 1; i < whole->n_client_bytes; i++)
		try_cut(&a, true, i);
	for (size_t i = 1; i < whole->n_server_bytes; i++)
		try_cut(&a, false, i);
}

static void expect(const struct buf *text, const char *expected)
{
	if (expected)
		assert_string_equal((char *)text->data, expected);
}

static void play_whole(const struct my_script *script, struct my_outcome *ret)
{
	static const struct my_cutting uncut;

	/* What hostile peers provoke is warned of, over and over. */
	log_configure(LOG_LEVEL_ERROR, false);
	my_play(script, &uncut, ret);
}

static void play_cut(struct my_script *script, struct my_outcome *whole)
{
	try_all(script, whole);
	my_outcome_clear(whole);
	my_script_clear(script);
}

void my_check_by(struct my_script *script, my_judge_fn judge)
{
	struct my_outcome whole;

	play_whole(script, &whole);
	judge(&whole);
	play_cut(script, &whole);
}

void my_check_two(struct my_script *script, const char *client, const char *other,
	const char *server, const char *other_server)
{
	struct my_outcome whole;
	struct buf text = {0};

	play_whole(script, &whole);
	for (unsigned i = 0; i < MY_CLIENTS; i++) {
		my_print_client(&whole, i, &text);
		expect(&text, i ? other : client);
		buf_clear(&text);
	}
	for (unsigned i = 0; i < PLAY_SERVERS; i++) {
		my_print_server(&whole, i, &text);
		expect(&text, i ? other_server : server);
		buf_clear(&text);
	}
	play_cut(script, &whole);
}

void my_check(struct my_script *script, const char *client, const char *other, const char *server)
{
	my_check_two(script, client, other, server, NULL);
}
