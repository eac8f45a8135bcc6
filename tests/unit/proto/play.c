/* The smallest session and pool. Used by the players of both protocols' scripts. */
#include "play.h"

#include <stdlib.h>

#include "../test.h"

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

static void flush(struct play *play, struct play_client *c, struct play_server *s)
{
	/* Without a server connection nothing may be left for whoever has one next. */
	assert_true(s || !play->to_server.total);
	if (c)
		put_output(&c->heard, &play->to_client);
	if (!s)
		return;
	size_t before = s->heard.len;
	put_output(&s->heard, &play->to_server);
	if (play->sent && s->heard.len > before)
		play->sent(play, s, s->heard.data + before, s->heard.len - before);
}

static void pump(struct play *play, struct play_client *c);

static struct back *move(struct play *play, struct back *back, struct proto_pool *to)
{
	struct dialled dialled = {.fd = -1};
	struct back now, *moved;

	/* The pool takes the numbers in time. */
	now = *back;
	if (!play->protocol->back_pack(back, &dialled))
		return back;
	play->protocol->back_free(back);
	moved = play->protocol->back_new(to, &dialled);
	assert_non_null(moved);
	assert_true(moved->at_rest);
	moved->n_queries = now.n_queries;
	moved->n_transactions = now.n_transactions;
	moved->n_client_parses = now.n_client_parses;
	moved->n_server_parses = now.n_server_parses;
	moved->n_binds = now.n_binds;
	return moved;
}

static void travel(struct play *play, struct play_server *s)
{
	size_t n_before = play->protocol->back_n_statements(s->back);

	if (!play->travels)
		return;
	s->back = move(play, s->back, play->pool_elsewhere);
	s->back = move(play, s->back, s->pool);
	assert_int_equal(play->protocol->back_n_statements(s->back), n_before);
}

/* A connection that nobody holds, as clean as the pool makes it; NULL: none is to be had now. */
static struct play_server *find_free(struct play *play)
{
	for (size_t i = 0; i < play->n_servers; i++) {
		struct play_server *s = &play->servers[i];
		if (s->client)
			continue;
		if (!s->back) {
			s->pool = play->pool;
			s->back = play->open(play);
		}
		if (!s->back->at_rest)
			continue;
		if (!play->protocol->back_clean(s->back, false, &play->to_server))
			return s;
		flush(play, NULL, s);
	}
	return NULL;
}

static void lend(struct play *play)
{
	for (size_t i = 0; i < PLAY_CLIENTS; i++) {
		struct play_client *c = &play->clients[i];
		struct play_server *s = c->waiting ? find_free(play) : NULL;
		if (!s)
			continue;
		travel(play, s);
		c->waiting = false;
		c->server = s;
		s->client = c;
		pump(play, c);
	}
}

static void take_back(struct play *play, struct play_server *s)
{
	s->client->server = NULL;
	s->client = NULL;
	/* The pool does not wait with the cleaning either. */
	if (s->back->at_rest && play->protocol->back_clean(s->back, false, &play->to_server))
		flush(play, NULL, s);
	lend(play);
}

static void settle(struct play *play, struct play_client *c)
{
	struct play_server *s = c->server;

	if (s && s->back->at_rest && !s->back->in_transaction && !s->back->pin && !s->kept.len &&
		!play->limits.pool_mode && c->front->welcomed && !c->front->mid_message)
		take_back(play, s);
}

void play_hang_up(struct play *play, struct play_client *c)
{
	struct play_server *s = c->server;

	c->closed = true;
	c->waiting = false;
	if (!s)
		return;
	if (s->back->at_rest || play->protocol->back_abandon(s->back, &play->to_server)) {
		flush(play, NULL, s);
		take_back(play, s);
		return;
	}
	/* It cannot be saved. */
	s->client = NULL;
	c->server = NULL;
	play_lose(play, s);
}

/* Acts on a verdict. True: call again. */
static bool act(struct play *play, struct play_client *c, enum front_verdict verdict)
{
	switch (verdict) {
	case FRONT_FLUSH:
		return true;
	case FRONT_IDENTIFY:
		play->protocol->front_identify(c->front, play->secret);
		return true;
	case FRONT_AUTHENTICATED:
		if (play->to_console)
			play->protocol->front_console(c->front);
		else
			play->protocol->front_accept(c->front, play->pool, &play->limits);
		return true;
	case FRONT_KILL:
		c->front->kill_outcome = play->kill;
		return true;
	case FRONT_SERVER:
		c->waiting = c->blocked = true;
		lend(play);
		return false;
	case FRONT_WAIT:
		c->blocked = true;
		return false;
	case FRONT_LEAVE:
	case FRONT_CLOSE:
		play_hang_up(play, c);
		return false;
	case FRONT_CONSOLE:
	case FRONT_CANCEL:
		fail_msg("no verdict for a script");
		return false;
	case FRONT_MORE:
		break;
	}
	return false;
}

static void pump(struct play *play, struct play_client *c)
{
	struct input in = intake_kept(&c->kept);
	bool again = true;

	c->blocked = false;
	while (again && !c->closed) {
		struct play_server *s = c->server;
		enum front_verdict verdict = play->protocol->from_client(
			c->front, s ? s->back : NULL, &in, &play->to_client, &play->to_server);
		flush(play, c, s);
		if (verdict == FRONT_SERVER) {
			/* lend() may come back to this client: the rest must be in its place. */
			assert_int_equal(intake_keep(&c->kept, in), 0);
			act(play, c, verdict);
			return;
		}
		again = act(play, c, verdict);
	}
	assert_int_equal(intake_keep(&c->kept, in), 0);
	if (!c->closed)
		settle(play, c);
}

void play_lose(struct play *play, struct play_server *s)
{
	struct play_client *c = s->client;
	struct refusal refusal;

	refusal_set(&refusal, REASON_SERVER_LOST, NULL);
	s->mid_message = s->back->mid_message;
	if (c)
		play->protocol->front_server_lost(c->front, s->back, &refusal, &play->to_client);
	flush(play, c, NULL);
	s->client = NULL;
	if (c)
		c->server = NULL;
	play->protocol->back_free(s->back);
	s->back = NULL;
	buf_clear(&s->kept);
	if (c)
		pump(play, c);
}

void play_hear_server(struct play *play, struct play_server *s, const void *data, size_t len)
{
	struct play_client *c = s->client;
	enum back_verdict verdict;

	if (!s->back)
		return;
	buf_put(&s->kept, data, len);
	struct input in = intake_kept(&s->kept);
	do {
		verdict = play->protocol->from_server(s->back, c ? c->front : NULL, &in,
			c ? &play->to_client : NULL, &play->to_server);
		flush(play, c, s);
	} while (verdict == BACK_FLUSH);
	assert_int_equal(intake_keep(&s->kept, in), 0);
	if (verdict == BACK_BROKEN) {
		s->broken = true;
		play_lose(play, s);
	} else if (!c) {
		lend(play);
	} else if (c->blocked && !c->waiting) {
		pump(play, c);
	} else {
		settle(play, c);
	}
}

void play_hear_client(struct play *play, struct play_client *c, const void *data, size_t len)
{
	if (c->closed)
		return;
	buf_put(&c->kept, data, len);
	if (!c->blocked)
		pump(play, c);
}

void play_greet(struct play *play, struct play_client *c)
{
	play->protocol->front_greet(c->front, &play->to_client);
	flush(play, c, NULL);
}

size_t play_piece(const struct play_cut *how, size_t n_before, size_t len)
{
	size_t n = how->piece && how->piece < len ? how->piece : len;

	return how->cut > n_before && how->cut - n_before < n ? how->cut - n_before : n;
}

void play_begin(struct play *play)
{
	output_init(&play->to_client);
	output_init(&play->to_server);
	play->worker = play->protocol->worker_new();
	play->elsewhere = play->protocol->worker_new();
	assert_non_null(play->worker);
	assert_non_null(play->elsewhere);
	play->pool_elsewhere = play->protocol->pool_new(play->elsewhere);
	assert_non_null(play->pool_elsewhere);
	for (uint32_t i = 0; i < PLAY_CLIENTS; i++) {
		play->clients[i].front = play->protocol->front_new(play->worker, i + 1);
		assert_non_null(play->clients[i].front);
	}
}

void play_end(struct play *play)
{
	for (size_t i = 0; i < PLAY_CLIENTS; i++) {
		play->protocol->front_free(play->clients[i].front);
		buf_clear(&play->clients[i].kept);
		buf_clear(&play->clients[i].heard);
	}
	for (size_t i = 0; i < PLAY_SERVERS; i++) {
		play->protocol->back_free(play->servers[i].back);
		buf_clear(&play->servers[i].kept);
		buf_clear(&play->servers[i].heard);
	}
	play->protocol->pool_free(play->pool_elsewhere);
	play->protocol->worker_free(play->elsewhere);
	output_reset(&play->to_client);
	output_reset(&play->to_server);
}
