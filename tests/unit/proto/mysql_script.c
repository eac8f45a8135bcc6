/* The script's player: what session/ and pool/ do around the protocol, in its smallest form. */
#include "mysql_script.h"

#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "auth/native_password.h"
#include "proto/mysql/dial.h"
#include "proto/mysql/mysql.h"

/* --- scripts --- */

static struct my_script_step *add(struct my_script *s, enum my_step_kind kind, unsigned client)
{
	assert_true(s->n < MY_STEPS && client < MY_CLIENTS);
	s->steps[s->n] = (struct my_script_step){.kind = kind, .client = client};
	return &s->steps[s->n++];
}

struct buf *client_says(struct my_script *s, unsigned client)
{
	return &add(s, STEP_CLIENT, client)->bytes;
}

struct buf *server_says(struct my_script *s)
{
	return &add(s, STEP_SERVER, 0)->bytes;
}

void client_leaves(struct my_script *s, unsigned client)
{
	add(s, STEP_LEAVE, client);
}

void server_breaks(struct my_script *s)
{
	add(s, STEP_LOSE, 0);
}

void other_pool(struct my_script *s)
{
	add(s, STEP_POOL, 0);
}

void console_next(struct my_script *s)
{
	add(s, STEP_CONSOLE, 0);
}

void client_proves(struct my_script *s, unsigned client)
{
	add(s, STEP_PROVE, client);
}

void my_script_clear(struct my_script *s)
{
	for (size_t i = 0; i < s->n; i++)
		buf_clear(&s->steps[i].bytes);
	*s = (struct my_script){0};
}

void put_packet(struct buf *b, uint8_t sequence, const void *payload, size_t len)
{
	buf_u24le(b, (uint32_t)len);
	buf_u8(b, sequence);
	buf_put(b, payload, len);
}

void put_command(struct buf *b, uint8_t command, const void *argument, size_t len)
{
	buf_u24le(b, (uint32_t)len + 1);
	buf_u8(b, 0);
	buf_u8(b, command);
	buf_put(b, argument, len);
}

void put_query(struct buf *b, const char *sql)
{
	put_command(b, MY_COM_QUERY, sql, strlen(sql));
}

void put_prepare(struct buf *b, const char *sql)
{
	put_command(b, MY_COM_STMT_PREPARE, sql, strlen(sql));
}

void put_about(struct buf *b, uint8_t command, uint32_t id, const void *more, size_t len)
{
	buf_u24le(b, (uint32_t)len + 5);
	buf_u8(b, 0);
	buf_u8(b, command);
	buf_u32le(b, id);
	buf_put(b, more, len);
}

void put_ok(struct buf *b, uint16_t status)
{
	my_write_ok(b, 1, status);
}

static void put_column(struct buf *b, uint8_t sequence)
{
	put_packet(b, sequence, "\3def\0\0\0\1a\0\x0c\x2d\0\0\1\0\0\xfd\0\0\0\0\0", 22);
}

void put_row(struct buf *b, const char *text)
{
	put_packet(b, 1, "\1", 1);
	put_column(b, 2);
	my_write_eof(b, 3, 0, MY_STATUS_AUTOCOMMIT);
	size_t at = my_begin(b, 4);
	my_write_lenenc_bytes(b, text, strlen(text));
	my_end(b, at);
	my_write_eof(b, 5, 0, MY_STATUS_AUTOCOMMIT);
}

void put_prepared(struct buf *b, uint32_t id)
{
	size_t at = my_begin(b, 1);

	buf_u8(b, 0);
	buf_u32le(b, id);
	buf_u16le(b, 0); /* columns */
	buf_u16le(b, 1); /* parameters */
	buf_u8(b, 0);
	buf_u16le(b, 0);
	my_end(b, at);
	put_column(b, 2);
	my_write_eof(b, 3, 0, MY_STATUS_AUTOCOMMIT);
}

void put_error(struct buf *b, uint8_t sequence, uint16_t code)
{
	my_write_error(b, sequence, code, "HY000", "no");
}

void put_no_warnings(struct buf *b)
{
	put_packet(b, 1, "\1", 1);
	put_column(b, 2);
	my_write_eof(b, 3, 0, MY_STATUS_AUTOCOMMIT);
	my_write_eof(b, 4, 0, MY_STATUS_AUTOCOMMIT);
}

/* --- the world --- */

struct client {
	struct front *front;
	struct buf kept;
	bool waiting, blocked;
};

struct world {
	const struct my_script *script;
	const struct my_cutting *how;
	struct my_outcome *outcome;
	struct config_pool limits;
	struct proto_worker *worker;
	struct proto_pool *pools[2];
	unsigned pool; /* that clients log in to */
	bool console;  /* ... or not */
	struct client clients[MY_CLIENTS];
	struct back *back;
	struct client *holder;
	struct buf server_kept;
	struct output to_client, to_server;
};

static unsigned number(const struct world *w, const struct client *c)
{
	return (unsigned)(c - w->clients);
}

static void put_output(struct buf *b, struct output *o)
{
	assert_false(o->failed);
	if (o->total) {
		uint8_t *at = buf_reserve(b, o->total);
		assert_non_null(at);
		output_flatten(o, at);
		b->len += o->total;
	}
	output_reset(o);
}

static void flush(struct world *w, struct client *c)
{
	/* Without a server connection nothing may be left for whoever has one next. */
	assert_true(w->back || !w->to_server.total);
	if (c)
		put_output(&w->outcome->to_client[number(w, c)], &w->to_client);
	put_output(&w->outcome->to_server, &w->to_server);
}

static void pump(struct world *w, struct client *c);

static void open_server(struct world *w)
{
	struct mysql_handle *handle = calloc(1, sizeof(*handle));
	struct dialled dialled = {.fd = -1, .handle = handle};

	assert_non_null(handle);
	handle->version = strdup("10.11.1-MariaDB");
	handle->status = MY_STATUS_AUTOCOMMIT;
	handle->url.dbname = w->script->schema ? strdup(w->script->schema) : NULL;
	w->back = mysql_protocol.back_new(w->pools[w->pool], &dialled);
	assert_non_null(w->back);
}

static void lend(struct world *w)
{
	if (w->holder)
		return;
	if (!w->back)
		open_server(w);
	if (!w->back->at_rest)
		return;
	if (mysql_protocol.back_clean(w->back, false, &w->to_server)) {
		flush(w, NULL);
		return;
	}
	for (unsigned i = 0; i < MY_CLIENTS; i++) {
		struct client *c = &w->clients[i];
		if (!c->waiting)
			continue;
		c->waiting = false;
		w->holder = c;
		pump(w, c);
		return;
	}
}

static void settle(struct world *w, struct client *c)
{
	if (w->holder == c && w->back->at_rest && !w->back->in_transaction && !w->back->pin &&
		!w->limits.pool_mode && !c->front->mid_message) {
		w->holder = NULL;
		lend(w);
	}
}

static void close_client(struct world *w, struct client *c)
{
	w->outcome->closed[number(w, c)] = true;
	if (w->holder != c)
		return;
	w->holder = NULL;
	if (w->back->at_rest || mysql_protocol.back_abandon(w->back, &w->to_server)) {
		flush(w, NULL);
		lend(w);
	}
}

static bool act(struct world *w, struct client *c, enum front_verdict verdict)
{
	switch (verdict) {
	case FRONT_FLUSH:
		return true;
	case FRONT_IDENTIFY:
		mysql_protocol.front_identify(c->front, MY_PASSWORD);
		return true;
	case FRONT_AUTHENTICATED:
		if (w->console)
			mysql_protocol.front_console(c->front);
		else
			mysql_protocol.front_accept(c->front, w->pools[w->pool], &w->limits);
		return true;
	case FRONT_SERVER:
		c->waiting = c->blocked = true;
		lend(w);
		return false;
	case FRONT_WAIT:
		c->blocked = true;
		return false;
	case FRONT_LEAVE:
	case FRONT_CLOSE:
		close_client(w, c);
		return false;
	case FRONT_KILL:
		c->front->kill_outcome = KILL_UNKNOWN;
		return true;
	case FRONT_CONSOLE:
	case FRONT_CANCEL:
	case FRONT_MORE:
		break;
	}
	return false;
}

static void pump(struct world *w, struct client *c)
{
	struct input in = intake_kept(&c->kept);
	bool again = true;

	c->blocked = false;
	while (again && !w->outcome->closed[number(w, c)]) {
		enum front_verdict verdict = mysql_protocol.from_client(c->front,
			w->holder == c ? w->back : NULL, &in, &w->to_client, &w->to_server);
		flush(w, c);
		if (verdict == FRONT_SERVER) {
			/* lend() may come back to this client: the rest must be in its place. */
			assert_int_equal(intake_keep(&c->kept, in), 0);
			act(w, c, verdict);
			return;
		}
		again = act(w, c, verdict);
	}
	assert_int_equal(intake_keep(&c->kept, in), 0);
	if (!w->outcome->closed[number(w, c)])
		settle(w, c);
}

/* --- deliveries --- */

static void lose_server(struct world *w)
{
	struct client *c = w->holder;
	struct refusal refusal;

	refusal_set(&refusal, REASON_SERVER_LOST, NULL);
	w->outcome->mid_message = w->back->mid_message;
	if (c && w->script->loses_transaction) {
		c->front->failed_transaction = true;
		c->front->lost = malloc(sizeof(refusal));
		assert_non_null(c->front->lost);
		*c->front->lost = refusal;
	}
	if (c)
		mysql_protocol.front_server_lost(c->front, w->back, &refusal, &w->to_client);
	w->holder = NULL;
	mysql_protocol.back_free(w->back);
	w->back = NULL;
	buf_clear(&w->server_kept);
	flush(w, c);
	if (c)
		pump(w, c);
}

static void hear_server(struct world *w, const uint8_t *data, size_t n)
{
	struct client *c = w->holder;
	enum back_verdict verdict;

	w->outcome->n_server_bytes += n;
	if (!w->back)
		return;
	buf_put(&w->server_kept, data, n);
	struct input in = intake_kept(&w->server_kept);
	do {
		verdict = mysql_protocol.from_server(
			w->back, c ? c->front : NULL, &in, c ? &w->to_client : NULL, &w->to_server);
		flush(w, c);
	} while (verdict == BACK_FLUSH);
	assert_int_equal(intake_keep(&w->server_kept, in), 0);
	if (verdict == BACK_BROKEN) {
		w->outcome->broken = true;
		lose_server(w);
	} else if (!c) {
		lend(w);
	} else if (c->blocked && !c->waiting) {
		pump(w, c);
	} else {
		settle(w, c);
	}
}

static void hear_client(struct world *w, struct client *c, const uint8_t *data, size_t n)
{
	w->outcome->n_client_bytes += n;
	if (w->outcome->closed[number(w, c)])
		return;
	buf_put(&c->kept, data, n);
	if (!c->blocked)
		pump(w, c);
}

static size_t piece(size_t there, size_t size, size_t cut, size_t done)
{
	size_t n = size && size < there ? size : there;

	return cut > done && cut - done < n ? cut - done : n;
}

static void login(struct world *w, struct client *c)
{
	struct buf *heard = &w->outcome->to_client[number(w, c)], b = {0};
	uint8_t nonce[MYSQL_NONCE], response[NATIVE_RESPONSE];

	mysql_protocol.front_greet(c->front, &w->to_client);
	flush(w, c);
	size_t at = MY_HEADER + 1 + strlen((char *)heard->data + MY_HEADER + 1) + 1 + 4;
	memcpy(nonce, heard->data + at, 8);
	memcpy(nonce + 8, heard->data + at + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10, 12);
	native_response(MY_PASSWORD, nonce, response);
	size_t packet = my_begin(&b, 1);
	buf_u32le(&b, MY_CLIENT_CAP | w->script->capabilities);
	buf_u32le(&b, 0xffffff);
	buf_u8(&b, MYSQL_COLLATION);
	buf_put(&b, (uint8_t[23]){0}, 23);
	buf_cstr(&b, "someone");
	buf_u8(&b, sizeof(response));
	buf_put(&b, response, sizeof(response));
	buf_cstr(&b, "mysql_native_password");
	my_end(&b, packet);
	buf_put(&c->kept, b.data, b.len);
	buf_clear(&b);
	pump(w, c);
	assert_true(c->front->welcomed);
	buf_clear(heard);
}

/* AuthSwitchRequest for mysql_native_password, which is what a MariaDB server's clients get. */
static void prove(struct world *w, struct client *c)
{
	struct buf *heard = &w->outcome->to_client[number(w, c)];
	uint8_t response[NATIVE_RESPONSE], *nonce = heard->data + heard->len - 1 - MYSQL_NONCE;
	size_t packet = MY_HEADER + 1 + sizeof("mysql_native_password") + MYSQL_NONCE + 1;

	assert_true(heard->len >= packet);
	uint8_t sequence = heard->data[heard->len - packet + 3];
	native_response(MY_PASSWORD, nonce, response);
	memset(nonce, 'n', MYSQL_NONCE);
	put_packet(&c->kept, (uint8_t)(sequence + 1), response, sizeof(response));
	pump(w, c);
}

static void play_step(struct world *w, const struct my_script_step *step)
{
	struct client *c = &w->clients[step->client];
	const uint8_t *data = step->bytes.data;
	size_t left = step->bytes.len, n;

	if (step->kind == STEP_CLIENT && !c->front->welcomed)
		login(w, c);
	if (step->kind == STEP_LEAVE)
		close_client(w, c);
	if (step->kind == STEP_LOSE)
		lose_server(w);
	if (step->kind == STEP_CONSOLE)
		w->console = true;
	if (step->kind == STEP_PROVE)
		prove(w, c);
	if (step->kind == STEP_POOL)
		w->pool = 1;
	for (; left; data += n, left -= n) {
		if (step->kind == STEP_CLIENT) {
			n = piece(left, w->how->client_piece, w->how->client_cut,
				w->outcome->n_client_bytes);
			hear_client(w, c, data, n);
		} else {
			n = piece(left, w->how->server_piece, w->how->server_cut,
				w->outcome->n_server_bytes);
			hear_server(w, data, n);
		}
	}
}

void my_play(const struct my_script *script, const struct my_cutting *how, struct my_outcome *ret)
{
	static struct world w;

	*ret = (struct my_outcome){0};
	w = (struct world){.script = script, .how = how, .outcome = ret};
	w.limits.pool_mode = script->session_mode ? POOL_MODE_SESSION : POOL_MODE_TRANSACTION;
	w.limits.prepared_statements = 200;
	w.limits.local_infile = script->local_infile;
	output_init(&w.to_client);
	output_init(&w.to_server);
	w.worker = mysql_protocol.worker_new();
	assert_non_null(w.worker);
	for (unsigned i = 0; i < 2; i++) {
		w.pools[i] = mysql_protocol.pool_new(w.worker);
		assert_non_null(w.pools[i]);
	}
	for (unsigned i = 0; i < MY_CLIENTS; i++)
		w.clients[i].front = mysql_protocol.front_new(w.worker, i + 1);
	for (size_t i = 0; i < script->n; i++)
		play_step(&w, &script->steps[i]);
	for (unsigned i = 0; i < MY_CLIENTS; i++) {
		mysql_protocol.front_free(w.clients[i].front);
		buf_clear(&w.clients[i].kept);
	}
	mysql_protocol.back_free(w.back);
	for (unsigned i = 0; i < 2; i++)
		mysql_protocol.pool_free(w.pools[i]);
	mysql_protocol.worker_free(w.worker);
	buf_clear(&w.server_kept);
}

void my_outcome_clear(struct my_outcome *o)
{
	for (unsigned i = 0; i < MY_CLIENTS; i++)
		buf_clear(&o->to_client[i]);
	buf_clear(&o->to_server);
}

/* --- reading what came of it --- */

static void print_answer(const uint8_t *payload, size_t len, struct buf *b)
{
	if (len >= 3 && payload[0] == 0xff)
		buf_printf(b, "ERR(%u)", payload[1] | payload[2] << 8);
	else if (len >= 7 && payload[0] == 0)
		buf_printf(b, "OK");
	else if (len && len < 9 && payload[0] == 0xfe)
		buf_printf(b, "EOF");
	else if (len > 4 && memcmp(payload, "\3def", 4) == 0)
		buf_printf(b, "def");
	else if (len > 1 && payload[0] == len - 1)
		buf_printf(b, "%.*s", (int)(len - 1), payload + 1);
	else
		buf_printf(b, "[%zu]", len);
}

static void print_command(const uint8_t *payload, size_t len, struct buf *b)
{
	if (len && payload[0] == MY_COM_QUERY)
		buf_printf(b, "QUERY(%.*s)", (int)(len - 1), payload + 1);
	else if (len && payload[0] == MY_COM_STMT_PREPARE)
		buf_printf(b, "PREPARE(%.*s)", (int)(len - 1), payload + 1);
	else if (len >= 5 && payload[0] == MY_COM_STMT_EXECUTE)
		buf_printf(b, "EXECUTE(%u)", payload[1]);
	else if (len >= 5 && payload[0] == MY_COM_STMT_CLOSE)
		buf_printf(b, "CLOSE(%u)", payload[1]);
	else if (len && payload[0] == MY_COM_INIT_DB)
		buf_printf(b, "USE(%.*s)", (int)(len - 1), payload + 1);
	else if (len)
		buf_printf(b, "COM%u", payload[0]);
}

static void print(const struct buf *from, bool answers, struct buf *b)
{
	struct input in = {.data = from->data, .len = from->len};
	struct my_header h;

	while (my_header_read(&in, &h) && in.len >= MY_HEADER + h.len) {
		const uint8_t *payload = in.data + MY_HEADER;
		if (b->len)
			buf_u8(b, ' ');
		buf_printf(b, "%u:", h.sequence);
		(answers ? print_answer : print_command)(payload, h.len, b);
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

void my_print_server(const struct my_outcome *o, struct buf *ret_text)
{
	print(&o->to_server, false, ret_text);
}
