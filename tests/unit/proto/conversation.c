/* The script's player. What session/ and pool/ do around the protocol is here in its smallest form:
 * one server connection, lent to one client at a time. */
#include "conversation.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "proto/pgsql/dial.h"
#include "proto/pgsql/pgsql.h"
#include "proto/pgsql/wire.h"
#include "util/random.h"
#include "util/text.h"

/* --- scripts --- */

void script_clear(struct script *s)
{
	for (size_t i = 0; i < s->n; i++)
		buf_clear(&s->sayings[i].bytes);
	*s = (struct script){0};
}

struct buf *say(struct script *s, unsigned client)
{
	assert_true(s->n < ARRAY_LEN(s->sayings) && client < CLIENTS);
	s->sayings[s->n].client = client;
	return &s->sayings[s->n++].bytes;
}

void say_text(struct buf *b, uint8_t type, const char *text)
{
	size_t at = pg_begin(b, type);

	buf_cstr(b, text);
	pg_end(b, at);
}

void say_empty(struct buf *b, uint8_t type)
{
	pg_end(b, pg_begin(b, type));
}

void say_query(struct buf *b, const char *sql)
{
	say_text(b, 'Q', sql);
}

void say_parse(struct buf *b, const char *name, const char *sql)
{
	size_t at = pg_begin(b, 'P');

	buf_cstr(b, name);
	buf_cstr(b, sql);
	buf_u16be(b, 0);
	pg_end(b, at);
}

void say_bind(struct buf *b, const char *statement, const char *value)
{
	size_t at = pg_begin(b, 'B');

	buf_cstr(b, "");
	buf_cstr(b, statement);
	buf_u16be(b, 0);
	buf_u16be(b, value != NULL);
	if (value) {
		buf_u32be(b, (uint32_t)strlen(value));
		buf_text(b, value);
	}
	buf_u16be(b, 0);
	pg_end(b, at);
}

static void say_named(struct buf *b, uint8_t type, uint8_t what, const char *name)
{
	size_t at = pg_begin(b, type);

	buf_u8(b, what);
	buf_cstr(b, name);
	pg_end(b, at);
}

void say_describe(struct buf *b, uint8_t what, const char *name)
{
	say_named(b, 'D', what, name);
}

void say_close(struct buf *b, uint8_t what, const char *name)
{
	say_named(b, 'C', what, name);
}

void say_execute(struct buf *b)
{
	size_t at = pg_begin(b, 'E');

	buf_cstr(b, "");
	buf_u32be(b, 0);
	pg_end(b, at);
}

/* --- the world --- */

/* What stands behind "md5" in the account's secret: any will do. */
#define SECRET_HEX "0123456789abcdef0123456789abcdef"

struct client {
	struct front *front;
	struct buf kept;
	bool waiting; /* for a server connection */
	bool blocked; /* for an answer, or for a server connection */
};

struct world {
	const struct cutting *cutting;
	struct outcome *outcome;
	struct config_pool limits;
	struct proto_worker *worker;
	struct proto_pool *pool;
	struct client clients[CLIENTS];
	struct back *back;
	struct client *holder;
	struct fake_server server;
	struct buf server_kept;
	struct output to_client, to_server;
	bool deaf; /* the server's answers are not heard any more */
};

static unsigned number(const struct world *w, const struct client *c)
{
	return (unsigned)(c - w->clients);
}

static void put_output(struct buf *b, struct output *o)
{
	size_t n = o->total;

	assert_false(o->failed);
	if (n) {
		uint8_t *at = buf_reserve(b, n);
		assert_non_null(at);
		output_flatten(o, at);
		b->len += n;
	}
	output_reset(o);
}

static void flush(struct world *w, struct client *c)
{
	struct buf *sent = &w->outcome->to_server;
	size_t before = sent->len;

	if (c)
		put_output(&w->outcome->to_client[number(w, c)], &w->to_client);
	put_output(sent, &w->to_server);
	if (sent->len > before)
		fake_server_feed(&w->server, sent->data + before, sent->len - before);
}

static void pump(struct world *w, struct client *c);

static void lend(struct world *w)
{
	/* As the pool does: what is dirty is cleaned before anyone else has it. */
	if (w->holder || !w->back->at_rest)
		return;
	if (pgsql_protocol.back_clean(w->back, false, &w->to_server)) {
		flush(w, NULL);
		return;
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
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
	bool free = w->holder == c && w->back->at_rest && !w->back->in_transaction &&
		    !w->back->pin && !w->limits.pool_mode && c->front->welcomed &&
		    !c->front->mid_message && !w->server_kept.len;

	if (free) {
		w->holder = NULL;
		lend(w);
	}
}

static void close_client(struct world *w, struct client *c)
{
	w->outcome->closed[number(w, c)] = true;
	c->blocked = true;
	if (w->holder != c)
		return;
	w->holder = NULL;
	if (!w->back->at_rest)
		assert_true(pgsql_protocol.back_abandon(w->back, &w->to_server));
	flush(w, NULL);
	lend(w);
}

/* Acts on a verdict. True: call again. */
static bool act(struct world *w, struct client *c, enum front_verdict verdict)
{
	switch (verdict) {
	case FRONT_FLUSH:
		return true;
	case FRONT_IDENTIFY:
		pgsql_protocol.front_identify(c->front, "md5" SECRET_HEX);
		return true;
	case FRONT_AUTHENTICATED:
		pgsql_protocol.front_accept(c->front, w->pool, &w->limits);
		return true;
	case FRONT_SERVER:
		c->waiting = true;
		c->blocked = true;
		lend(w);
		return false;
	case FRONT_WAIT:
		c->blocked = true;
		return false;
	case FRONT_LEAVE:
	case FRONT_CLOSE:
		close_client(w, c);
		return false;
	case FRONT_CONSOLE:
	case FRONT_CANCEL:
	case FRONT_KILL:
		fail_msg("no verdict for a script");
		return false;
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
		enum front_verdict verdict = pgsql_protocol.from_client(c->front,
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

static size_t piece(size_t there, size_t size, size_t cut, size_t done)
{
	size_t n = size && size < there ? size : there;

	return cut > done && cut - done < n ? cut - done : n;
}

static void hear_server(struct world *w, size_t n)
{
	struct client *c = w->holder;
	enum back_verdict verdict;

	w->outcome->n_server_bytes += n;
	buf_put(&w->server_kept, w->server.out.data, n);
	buf_consume(&w->server.out, n);
	struct input in = intake_kept(&w->server_kept);
	do {
		verdict = pgsql_protocol.from_server(
			w->back, c ? c->front : NULL, &in, c ? &w->to_client : NULL, &w->to_server);
		if (c)
			flush(w, c);
	} while (verdict == BACK_FLUSH);
	if (verdict == BACK_BROKEN)
		w->outcome->broken = true;
	assert_int_equal(intake_keep(&w->server_kept, in), 0);
	if (w->outcome->broken)
		return;
	if (!c)
		lend(w);
	else if (c->blocked && !c->waiting)
		pump(w, c);
	else
		settle(w, c);
}

static bool hear_piece(struct world *w)
{
	const struct cutting *how = w->cutting;

	if (!w->server.out.len || w->outcome->broken || w->deaf)
		return false;
	hear_server(w, piece(w->server.out.len, how->server_piece, how->server_cut,
			       w->outcome->n_server_bytes));
	return true;
}

static void hear_client(struct world *w, struct client *c, const uint8_t *data, size_t n)
{
	w->outcome->n_client_bytes += n;
	if (w->outcome->closed[number(w, c)] || w->outcome->broken)
		return;
	buf_put(&c->kept, data, n);
	/* A client that waits is not read. */
	if (!c->blocked)
		pump(w, c);
}

static void deliver(struct world *w, struct client *c, const uint8_t *data, size_t len)
{
	const struct cutting *how = w->cutting;

	while (len) {
		size_t n =
			piece(len, how->client_piece, how->client_cut, w->outcome->n_client_bytes);
		hear_client(w, c, data, n);
		data += n;
		len -= n;
		hear_piece(w);
		while (!how->interleaved && hear_piece(w))
			;
	}
	while (hear_piece(w))
		;
}

/* --- the login --- */

static void md5_answer(const uint8_t salt[4], char ret_text[36])
{
	uint8_t text[36], digest[16];
	unsigned n;

	memcpy(text, SECRET_HEX, 32);
	memcpy(text + 32, salt, 4);
	assert_true(EVP_Digest(text, sizeof(text), digest, &n, EVP_md5(), NULL));
	memcpy(ret_text, "md5", 4);
	for (size_t i = 0; i < 16; i++)
		snprintf(ret_text + 3 + 2 * i, 3, "%02x", digest[i]);
}

static void login(struct world *w, struct client *c)
{
	struct buf b = {0};
	const struct buf *heard = &w->outcome->to_client[number(w, c)];
	char answer[36], name[16];

	snprintf(name, sizeof(name), "program %u", number(w, c));
	buf_put(&b, (uint8_t[]){0, 0, 0, 8, 4, 210, 22, 47}, 8); /* SSLRequest */
	size_t at = b.len;
	buf_u32be(&b, 0);
	buf_u32be(&b, PG_PROTOCOL_3_0);
	buf_put(&b, "user\0someone\0database\0shop\0application_name", 44);
	buf_cstr(&b, name);
	buf_u8(&b, 0);
	buf_patch_u32be(&b, at, (uint32_t)(b.len - at));
	deliver(w, c, b.data, b.len);
	buf_clear(&b);
	/* 'N', and AuthenticationMD5Password with its salt. */
	assert_int_equal(heard->len, 1 + 13);
	md5_answer(heard->data + 1 + 9, answer);
	memset(heard->data + 1 + 9, 0, 4);
	say_text(&b, 'p', answer);
	deliver(w, c, b.data, b.len);
	buf_clear(&b);
	assert_true(c->front->welcomed);
	/* The key of BackendKeyData, in front of the last ReadyForQuery. */
	memset(heard->data + heard->len - 6 - 4, 0, 4);
}

/* --- all of it --- */

static void world_init(struct world *w, const struct script *script, const struct cutting *cutting,
	struct outcome *outcome)
{
	struct pgsql_handle *handle = calloc(1, sizeof(*handle));
	struct dialled dialled = {.fd = -1, .handle = handle};

	*w = (struct world){.cutting = cutting, .outcome = outcome};
	w->limits.pool_mode = script->session_mode ? POOL_MODE_SESSION : POOL_MODE_TRANSACTION;
	w->limits.prepared_statements =
		script->prepared_statements ? script->prepared_statements : 200;
	output_init(&w->to_client);
	output_init(&w->to_server);
	fake_server_init(&w->server, cutting->eager);
	w->worker = pgsql_protocol.worker_new();
	assert_non_null(w->worker);
	w->pool = pgsql_protocol.pool_new(w->worker);
	assert_non_null(handle);
	buf_put(&handle->parameters,
		"application_name\0\0server_version\0"
		"15",
		36);
	w->back = pgsql_protocol.back_new(w->pool, &dialled);
	assert_non_null(w->back);
	for (unsigned i = 0; i < CLIENTS; i++)
		w->clients[i].front = pgsql_protocol.front_new(w->worker, i + 1);
}

static void world_clear(struct world *w)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		pgsql_protocol.front_free(w->clients[i].front);
		buf_clear(&w->clients[i].kept);
	}
	pgsql_protocol.back_free(w->back);
	pgsql_protocol.pool_free(w->pool);
	pgsql_protocol.worker_free(w->worker);
	buf_clear(&w->server_kept);
	fake_server_clear(&w->server);
	output_reset(&w->to_client);
	output_reset(&w->to_server);
}

/* The connection breaks while its client waits. */
static void lose_server(struct world *w)
{
	struct client *c = w->holder;
	struct refusal refusal;

	refusal_set(&refusal, REASON_SERVER_LOST, NULL);
	pgsql_protocol.front_server_lost(c->front, w->back, &refusal, &w->to_client);
	w->holder = NULL;
	flush(w, c);
}

/* Something else than the server's answer. */
static void hear_hostile(struct world *w, const struct script *script)
{
	w->deaf = false;
	buf_clear(&w->server.out);
	buf_put(&w->server.out, script->server_words, script->n_server_words);
	while (hear_piece(w))
		;
}

void converse(const struct script *script, const struct cutting *cutting, struct outcome *ret)
{
	static struct world w;
	bool seen[CLIENTS] = {false};

	*ret = (struct outcome){0};
	world_init(&w, script, cutting, ret);
	for (size_t i = 0; i < script->n; i++) {
		unsigned client = script->sayings[i].client;
		if (!seen[client])
			login(&w, &w.clients[client]);
		seen[client] = true;
	}
	for (size_t i = 0; i < script->n; i++) {
		const struct saying *saying = &script->sayings[i];
		bool hostile = script->server_words && i == script->n_proper;
		w.deaf = hostile || (script->server_dies && i + 1 == script->n);
		deliver(&w, &w.clients[saying->client], saying->bytes.data, saying->bytes.len);
		if (hostile)
			hear_hostile(&w, script);
	}
	if ((w.deaf || ret->broken) && w.holder)
		lose_server(&w);
	ret->n_queries = w.back->n_queries;
	ret->n_transactions = w.back->n_transactions;
	ret->n_client_parses = w.back->n_client_parses;
	ret->n_server_parses = w.back->n_server_parses;
	ret->n_binds = w.back->n_binds;
	ret->malformed = w.server.malformed;
	world_clear(&w);
}

void outcome_clear(struct outcome *o)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		buf_clear(&o->to_client[i]);
	buf_clear(&o->to_server);
}

static bool buf_equal(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

bool outcome_equal(const struct outcome *a, const struct outcome *b)
{
	bool equal = true;

	for (unsigned i = 0; i < CLIENTS; i++)
		equal = equal && buf_equal(&a->to_client[i], &b->to_client[i]) &&
			a->closed[i] == b->closed[i];
	return equal;
}

/* The text that says most about a message. */
static const char *gist(uint8_t type, const struct pg_header *h, const uint8_t *content)
{
	struct pg_report report;
	static char text[128];

	text[0] = 0;
	if (type == 'E' || type == 'N') {
		pg_report_read(content, h->total - PG_HEADER, &report);
		text_copy(text, sizeof(text), report.sqlstate);
	} else if (type == 'C') {
		text_copy(text, sizeof(text), (const char *)content);
	} else if (type == 'Z') {
		snprintf(text, sizeof(text), "%c", content[0]);
	} else if (type == 'S') {
		const char *value = (const char *)content + strlen((const char *)content) + 1;
		text_copy(text, sizeof(text), value);
	} else if (type == 'D') {
		snprintf(text, sizeof(text), "%.*s", (int)(h->total - PG_HEADER - 6), content + 6);
	}
	return text;
}

void outcome_print(const struct outcome *o, unsigned client, struct buf *ret_text)
{
	const struct buf *heard = &o->to_client[client];
	struct input in = {.data = heard->data + 1, .len = heard->len - 1};
	bool welcomed = false;
	struct pg_header h;

	while (in.len && pg_header_read(&in, &h) == 0 && h.total <= in.len) {
		const char *words = gist(h.type, &h, in.data + PG_HEADER);
		if (welcomed)
			buf_printf(ret_text, words[0] ? "%s%c(%s)" : "%s%c",
				ret_text->len ? " " : "", h.type, words);
		welcomed |= h.type == 'Z';
		input_skip(&in, h.total);
	}
	buf_u8(ret_text, 0);
}
