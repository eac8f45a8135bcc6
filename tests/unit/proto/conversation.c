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

struct world {
	struct play play;
	const struct cutting *cutting;
	struct outcome *outcome;
	struct fake_server server;
	bool deaf; /* the server's answers are not heard any more */
};

static void feed_server(struct play *play, struct play_server *s, const void *data, size_t len)
{
	struct world *w = play->owner;

	fake_server_feed(&w->server, data, len);
}

/* --- deliveries --- */

static bool hear_piece(struct world *w)
{
	struct play_cut how = {w->cutting->server_piece, w->cutting->server_cut};
	struct play_server *s = &w->play.servers[0];
	struct buf *out = &w->server.out;
	struct buf piece = {0};

	if (!out->len || s->broken || w->deaf)
		return false;
	size_t n = play_piece(&how, w->outcome->n_server_bytes, out->len);
	w->outcome->n_server_bytes += n;
	buf_put(&piece, out->data, n);
	buf_consume(out, n);
	play_hear_server(&w->play, s, piece.data, piece.len);
	buf_clear(&piece);
	return true;
}

static void deliver(struct world *w, struct play_client *c, const uint8_t *data, size_t len)
{
	struct play_cut how = {w->cutting->client_piece, w->cutting->client_cut};

	while (len && !w->play.servers[0].broken) {
		size_t n = play_piece(&how, w->outcome->n_client_bytes, len);
		w->outcome->n_client_bytes += n;
		play_hear_client(&w->play, c, data, n);
		data += n;
		len -= n;
		hear_piece(w);
		while (!w->cutting->interleaved && hear_piece(w))
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

static void login(struct world *w, struct play_client *c)
{
	struct buf b = {0};
	const struct buf *heard = &c->heard;
	char answer[36], name[16];

	snprintf(name, sizeof(name), "program %u", (unsigned)(c - w->play.clients));
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

static struct back *open_server(struct play *play)
{
	struct pgsql_handle *handle = calloc(1, sizeof(*handle));
	struct dialled dialled = {.fd = -1, .handle = handle};

	assert_non_null(handle);
	buf_put(&handle->parameters,
		"application_name\0\0server_version\0"
		"15",
		36);
	struct back *back = play->protocol->back_new(play->pool, &dialled);
	assert_non_null(back);
	return back;
}

static void world_init(struct world *w, const struct script *script, const struct cutting *cutting,
	struct outcome *outcome)
{
	*w = (struct world){.cutting = cutting, .outcome = outcome};
	w->play = (struct play){.protocol = &pgsql_protocol,
		.secret = "md5" SECRET_HEX,
		.n_servers = 1,
		.travels = cutting->travels,
		.open = open_server,
		.sent = feed_server,
		.owner = w};
	struct config_pool *limits = &w->play.limits;
	limits->pool_mode = script->session_mode ? POOL_MODE_SESSION : POOL_MODE_TRANSACTION;
	limits->client_memory = 1 << 20;
	limits->prepared_statements =
		script->prepared_statements ? script->prepared_statements : 200;
	fake_server_init(&w->server, cutting->eager);
	play_begin(&w->play);
	w->play.pool = pgsql_protocol.pool_new(w->play.worker);
	assert_non_null(w->play.pool);
}

static void world_clear(struct world *w)
{
	play_end(&w->play);
	pgsql_protocol.pool_free(w->play.pool);
	pgsql_protocol.worker_free(w->play.worker);
	fake_server_clear(&w->server);
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

static void take_numbers(struct outcome *ret, const struct back *back)
{
	if (!back)
		return;
	ret->n_queries = back->n_queries;
	ret->n_transactions = back->n_transactions;
	ret->n_client_parses = back->n_client_parses;
	ret->n_server_parses = back->n_server_parses;
	ret->n_binds = back->n_binds;
}

static void take_buf(struct buf *ret, struct buf *from)
{
	*ret = *from;
	*from = (struct buf){0};
}

static void take_outcome(struct outcome *ret, struct world *w)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		take_buf(&ret->to_client[i], &w->play.clients[i].heard);
		ret->closed[i] = w->play.clients[i].closed;
	}
	take_buf(&ret->to_server, &w->play.servers[0].heard);
	ret->malformed = w->server.malformed;
	ret->broken = w->play.servers[0].broken;
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
			login(&w, &w.play.clients[client]);
		seen[client] = true;
	}
	for (size_t i = 0; i < script->n; i++) {
		const struct saying *saying = &script->sayings[i];
		bool hostile = script->server_words && i == script->n_proper;
		w.deaf = hostile || (script->server_dies && i + 1 == script->n);
		deliver(&w, &w.play.clients[saying->client], saying->bytes.data, saying->bytes.len);
		if (hostile)
			hear_hostile(&w, script);
	}
	take_numbers(ret, w.play.servers[0].back);
	if (w.deaf && w.play.servers[0].client)
		play_lose(&w.play, &w.play.servers[0]);
	take_outcome(ret, &w);
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
