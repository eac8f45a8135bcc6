/*
 * Messages between the shards of a pool. What is for the shard itself is a plain call; with one
 * worker everything is. Two things cross threads: a permission to open a connection, and a
 * connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"
#include "util/log.h"

/* A shard's own waiters are served before another's of nearly the same age, so that connections do
 * not travel back and forth under steady load. */
#define WISH_SLACK (20 * USEC_PER_MSEC)

enum note_kind {
	NOTE_ASK,
	NOTE_WITHDRAW,
	NOTE_GRANT,
	NOTE_DIALLED,
	NOTE_DIAL_FAILED,
	NOTE_RETURN,
	NOTE_RETURN_UNUSED,
	NOTE_FAILURE,
	NOTE_WISH,
	NOTE_SERVER,
};

struct note {
	struct message message; /* first */
	enum note_kind kind;
	struct pools *to;
	unsigned from; /* the shard that sends, or that the wish is of */
	unsigned n;
	usec_t since;
	bool overflow, final;
	struct refusal *refusal;
	struct dialled dialled;
	usec_t opened, opened_wall;
	const struct protocol *protocol;
	size_t user_at; /* in `names`, behind the database's */
	char names[];
};

static void note_free(struct note *note)
{
	free(note->refusal);
	free(note);
}

static void take_server(struct pool *pool, struct note *note)
{
	struct server *server;

	int r = server_take_dialled(
		pool, &note->dialled, note->overflow, note->opened, note->opened_wall, &server);
	if (r < 0) {
		note->protocol->dialled_free(&note->dialled);
		shard_return(pool, note->overflow);
		return;
	}
	pool_give(pool, server);
	/* Whoever still waits asks the giver again: it has forgotten the wish. */
	const struct waiter *w = list_first(&pool->waiters, struct waiter, link);
	if (w)
		shard_tell_wish(pool, pool->owner->host.shard, w->since);
}

static void take_wish(struct pool *pool, unsigned from, usec_t since)
{
	if (from == pool->owner->host.shard)
		return;
	pool->wishes[from] = (struct wish){.open = true, .since = since};
	struct server *idle = list_first(&pool->servers[SERVER_IDLE], struct server, link);
	if (!idle || pool->n_waiting || pool->paused)
		return;
	pool->wishes[from].open = false;
	if (!shard_send_server(pool, idle, from))
		pool->wishes[from].open = true;
}

static void take_withdrawal(struct pool *pool, unsigned from)
{
	pool->wishes[from].open = false;
	if (pool->home == pool->owner->host.shard)
		ledger_withdraw(pool, from);
}

static void deliver(struct message *message, void *arg)
{
	struct note *note = container_of(message, struct note, message);
	struct pool *pool = pools_of(note->to, note->names, note->names + note->user_at);

	/* Taken out of the configuration before it ever was used here. */
	if (!pool) {
		if (note->kind == NOTE_SERVER)
			note->protocol->dialled_free(&note->dialled);
		note_free(note);
		return;
	}
	switch (note->kind) {
	case NOTE_ASK:
		ledger_ask(pool, note->from, note->n, note->since);
		break;
	case NOTE_WITHDRAW:
		take_withdrawal(pool, note->from);
		break;
	case NOTE_GRANT:
		pool_granted(pool, note->overflow);
		break;
	case NOTE_DIALLED:
		ledger_dialled(pool);
		break;
	case NOTE_DIAL_FAILED:
		ledger_dial_failed(pool, note->overflow, note->refusal, note->final);
		break;
	case NOTE_RETURN:
		ledger_returned(pool, note->overflow);
		break;
	case NOTE_RETURN_UNUSED:
		ledger_returned_unused(pool, note->overflow);
		break;
	case NOTE_FAILURE:
		pool_failed(pool, note->refusal, note->final);
		break;
	case NOTE_WISH:
		take_wish(pool, note->from, note->since);
		break;
	case NOTE_SERVER:
		take_server(pool, note);
		break;
	}
	note_free(note);
}

/* A permission that cannot be sent is lost, so memory for a note is not optional: the program ends
 * without it. */
static struct note *note_new(const struct pool *pool, enum note_kind kind)
{
	size_t name_size = strlen(pool->name) + 1, user_size = strlen(pool->user) + 1;
	struct note *note = calloc(1, sizeof(*note) + name_size + user_size);

	CHECK(note);
	note->message.deliver = deliver;
	note->kind = kind;
	note->from = pool->owner->host.shard;
	note->protocol = pool->protocol;
	note->user_at = name_size;
	memcpy(note->names, pool->name, name_size);
	memcpy(note->names + name_size, pool->user, user_size);
	return note;
}

static void post(const struct pool *pool, unsigned shard, struct note *note)
{
	const struct pools_peer *peer = &pool->owner->host.peers[shard];

	note->to = peer->pools;
	mailbox_post(peer->mailbox, &note->message);
}

static bool at_home(const struct pool *pool)
{
	return pool->home == pool->owner->host.shard;
}

static void post_home(struct pool *pool, enum note_kind kind, bool overflow)
{
	struct note *note = note_new(pool, kind);

	note->overflow = overflow;
	post(pool, pool->home, note);
}

void shard_ask(struct pool *pool, unsigned n, usec_t since)
{
	pool->wishing = pool->owner->host.n_shards > 1;
	if (at_home(pool)) {
		ledger_ask(pool, pool->home, n, since);
		return;
	}
	struct note *note = note_new(pool, NOTE_ASK);
	note->n = n;
	note->since = since;
	post(pool, pool->home, note);
}

void shard_withdraw(struct pool *pool)
{
	unsigned self = pool->owner->host.shard;

	pool->n_asked = 0;
	if (at_home(pool))
		ledger_withdraw(pool, self);
	if (!pool->wishing)
		return;
	pool->wishing = false;
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (i != self)
			post(pool, i, note_new(pool, NOTE_WITHDRAW));
	}
}

void shard_dialled(struct pool *pool)
{
	if (at_home(pool))
		ledger_dialled(pool);
	else
		post_home(pool, NOTE_DIALLED, false);
}

static struct refusal *copy_refusal(const struct refusal *refusal)
{
	struct refusal *copy = malloc(sizeof(*copy));

	CHECK(copy);
	*copy = *refusal;
	return copy;
}

void shard_dial_failed(struct pool *pool, bool overflow, const struct refusal *refusal, bool final)
{
	if (at_home(pool)) {
		ledger_dial_failed(pool, overflow, refusal, final);
		return;
	}
	struct note *note = note_new(pool, NOTE_DIAL_FAILED);
	note->overflow = overflow;
	note->final = final;
	note->refusal = copy_refusal(refusal);
	post(pool, pool->home, note);
}

void shard_return(struct pool *pool, bool overflow)
{
	if (at_home(pool))
		ledger_returned(pool, overflow);
	else
		post_home(pool, NOTE_RETURN, overflow);
}

void shard_return_unused(struct pool *pool, bool overflow)
{
	if (at_home(pool))
		ledger_returned_unused(pool, overflow);
	else
		post_home(pool, NOTE_RETURN_UNUSED, overflow);
}

void shard_grant(struct pool *pool, unsigned shard, bool overflow)
{
	if (shard == pool->owner->host.shard) {
		pool_granted(pool, overflow);
		return;
	}
	struct note *note = note_new(pool, NOTE_GRANT);
	note->overflow = overflow;
	post(pool, shard, note);
}

void shard_tell_failure(
	struct pool *pool, unsigned shard, const struct refusal *refusal, bool final)
{
	if (shard == pool->owner->host.shard) {
		pool_failed(pool, refusal, final);
		return;
	}
	struct note *note = note_new(pool, NOTE_FAILURE);
	note->final = final;
	note->refusal = copy_refusal(refusal);
	post(pool, shard, note);
}

void shard_tell_wish(struct pool *pool, unsigned shard, usec_t since)
{
	unsigned self = pool->owner->host.shard;

	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (i == shard)
			continue;
		if (i == self) {
			take_wish(pool, shard, since);
			continue;
		}
		struct note *note = note_new(pool, NOTE_WISH);
		note->from = shard;
		note->since = since;
		post(pool, i, note);
	}
}

bool shard_send_server(struct pool *pool, struct server *server, unsigned shard)
{
	struct dialled dialled = {.fd = server->stream.fd, .tls = server->stream.tls};

	CHECK(!server->n_cancels && server->back->at_rest);
	if (stream_unsent(&server->stream) || !pool->protocol->back_pack(server->back, &dialled))
		return false;
	struct note *note = note_new(pool, NOTE_SERVER);
	note->dialled = dialled;
	note->overflow = server->overflow;
	note->opened = server->opened;
	note->opened_wall = server->opened_wall;
	stream_detach(&server->stream);
	server->stream.fd = -1;
	server->moved = true;
	log_debug("server=%llu event=moved shard=%u to=%u", (unsigned long long)server->id,
		pool->owner->host.shard, shard);
	server_move_to(server, SERVER_CLOSED);
	deferred_schedule(&server->freeing, pool->owner->host.loop);
	post(pool, shard, note);
	return true;
}

int shard_oldest_wish(const struct pool *pool, usec_t since)
{
	int oldest = -1;

	for (unsigned i = 0; pool->owner->host.n_shards > 1 && i < pool->owner->host.n_shards;
		i++) {
		const struct wish *wish = &pool->wishes[i];
		if (wish->open && (since == USEC_NEVER || wish->since + WISH_SLACK < since) &&
			(oldest < 0 || wish->since < pool->wishes[oldest].since))
			oldest = (int)i;
	}
	return oldest;
}
