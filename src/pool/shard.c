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

/* How long a message waits for its pool to be known here: the configuration that has it is on its
 * way too. */
#define UNKNOWN_TIME USEC_PER_SEC

enum note_kind {
	NOTE_ASK,
	NOTE_WITHDRAW,
	NOTE_GRANT,
	NOTE_DIALLED,
	NOTE_DIAL_FAILED,
	NOTE_TROUBLE,
	NOTE_RECOVERY,
	NOTE_RETURN,
	NOTE_ASK_SURPLUS,
	NOTE_LET_GO,
	NOTE_KEEP,
	NOTE_SHED,
	NOTE_FULL,
	NOTE_WISH,
	NOTE_SUSPICION,
	NOTE_SERVER,
	NOTE_NEWS,
	NOTE_CROWD,
	NOTE_ASK_CENSUS,
	NOTE_CENSUS,
};

struct note {
	struct message message; /* first */
	enum note_kind kind;
	struct pools *to;
	unsigned from; /* the shard that sends, or that the wish is of */
	usec_t sent;
	unsigned n, n_asked;
	usec_t since;
	bool ahead;
	enum permit_end end;
	enum surplus surplus;
	struct trouble *trouble; /* of NOTE_DIAL_FAILED, NOTE_TROUBLE */
	struct dialled dialled;
	struct server_origin origin; /* its `overflow` also of NOTE_GRANT */
	struct buf news;             /* of NOTE_NEWS */
	struct census *census;       /* of NOTE_CENSUS */
	const struct protocol *protocol;
	size_t user_at; /* in `names`, behind the database's */
	char names[];
};

static void note_free(struct note *note)
{
	free(note->trouble);
	free(note->census);
	buf_clear(&note->news);
	free(note);
}

/* --- receiving --- */

static void take_server(struct pool *pool, struct note *note)
{
	struct server *server;

	if (server_new(pool, &note->dialled, &note->origin, &server) < 0) {
		note->protocol->dialled_free(&note->dialled);
		shard_return(pool, PERMIT_CLOSED);
		pool_tend_soon(pool);
		return;
	}
	pool_take_over(pool, server);
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
	pool_serve_wishes(pool);
}

static void take_withdrawal(struct pool *pool, unsigned from)
{
	pool->wishes[from].open = false;
	if (pool_is_home(pool))
		ledger_withdraw(pool, from);
}

static void answer_surplus(
	struct pool *pool, unsigned shard, enum surplus surplus, unsigned n_asked);

static void act(struct pool *pool, struct note *note)
{
	switch (note->kind) {
	case NOTE_ASK:
		ledger_ask(pool, note->from, note->n, note->since);
		break;
	case NOTE_WITHDRAW:
		take_withdrawal(pool, note->from);
		break;
	case NOTE_GRANT:
		pool_granted(pool, note->origin.overflow, note->ahead);
		break;
	case NOTE_DIALLED:
		ledger_dialled(pool);
		break;
	case NOTE_DIAL_FAILED:
		ledger_dial_failed(pool, &note->trouble->refusal, note->trouble->final);
		break;
	case NOTE_TROUBLE:
		pool_told_trouble(pool, note->trouble);
		break;
	case NOTE_RECOVERY:
		pool_told_recovery(pool);
		break;
	case NOTE_RETURN:
		ledger_returned(pool, note->end);
		break;
	case NOTE_ASK_SURPLUS:
		answer_surplus(pool, note->from, note->surplus, note->n_asked);
		break;
	case NOTE_LET_GO:
		pool_let_go(pool, note->surplus, note->n, note->n_asked);
		break;
	case NOTE_KEEP:
		ledger_kept(pool, note->n);
		break;
	case NOTE_SHED:
		pool_shed(pool);
		break;
	case NOTE_FULL:
		pool_told_full(pool);
		break;
	case NOTE_WISH:
		take_wish(pool, note->from, note->since);
		break;
	case NOTE_SUSPICION:
		pool_told_suspicion(pool);
		break;
	case NOTE_SERVER:
		take_server(pool, note);
		break;
	case NOTE_NEWS:
		pool->protocol->pool_told(pool->proto, &note->news);
		break;
	case NOTE_CROWD:
		crowd_reported(pool, note->from, note->since);
		break;
	case NOTE_ASK_CENSUS:
		census_asked(pool, note->from, note->since);
		break;
	case NOTE_CENSUS:
		census_told(pool, note->from, note->census);
		break;
	}
}

static void deliver(struct message *message, void *arg)
{
	struct note *note = container_of(message, struct note, message);
	struct pools *pools = note->to;
	struct pool *pool = pools_of(pools, note->names, note->names + note->user_at);

	if (!pool && !pools->stopped && clock_usec() - note->sent < UNKNOWN_TIME) {
		mailbox_post(pools->host.mailbox, message);
		return;
	}
	if (pool)
		act(pool, note);
	else if (note->kind == NOTE_SERVER)
		note->protocol->dialled_free(&note->dialled);
	note_free(note);
}

/* --- sending --- */

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
	note->sent = clock_usec();
	note->protocol = pool->protocol;
	note->user_at = name_size;
	memcpy(note->names, pool->name, name_size);
	memcpy(note->names + name_size, pool->user, user_size);
	return note;
}

static void post(const struct pool *pool, unsigned shard, struct note *note)
{
	const struct pools_peer *peer = &pool->owner->host.peers[shard];

	if (pool->owner->stopped) {
		if (note->kind == NOTE_SERVER)
			note->protocol->dialled_free(&note->dialled);
		note_free(note);
		return;
	}
	note->to = peer->pools;
	mailbox_post(peer->mailbox, &note->message);
}

static void post_home(struct pool *pool, struct note *note)
{
	post(pool, pool->home, note);
}

static struct trouble *copy_trouble(const struct trouble *trouble)
{
	struct trouble *copy = malloc(sizeof(*copy));

	CHECK(copy);
	*copy = *trouble;
	return copy;
}

/* --- to the ledger --- */

void shard_ask(struct pool *pool, unsigned n, usec_t since)
{
	pool->wishing = pool->owner->host.n_shards > 1;
	if (pool_is_home(pool)) {
		ledger_ask(pool, pool->home, n, since);
		return;
	}
	struct note *note = note_new(pool, NOTE_ASK);
	note->n = n;
	note->since = since;
	post_home(pool, note);
}

void shard_withdraw(struct pool *pool)
{
	unsigned self = pool->owner->host.shard;

	pool->n_asked = 0;
	if (pool_is_home(pool))
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
	if (pool_is_home(pool))
		ledger_dialled(pool);
	else
		post_home(pool, note_new(pool, NOTE_DIALLED));
}

void shard_dial_failed(struct pool *pool, const struct refusal *refusal, bool final)
{
	struct trouble trouble = {.any = true, .final = final, .refusal = *refusal};

	if (pool_is_home(pool)) {
		ledger_dial_failed(pool, refusal, final);
		return;
	}
	struct note *note = note_new(pool, NOTE_DIAL_FAILED);
	note->trouble = copy_trouble(&trouble);
	post_home(pool, note);
}

void shard_return(struct pool *pool, enum permit_end end)
{
	if (pool_is_home(pool)) {
		ledger_returned(pool, end);
		return;
	}
	struct note *note = note_new(pool, NOTE_RETURN);
	note->end = end;
	post_home(pool, note);
}

void shard_ask_surplus(struct pool *pool, enum surplus surplus, unsigned n)
{
	if (pool_is_home(pool)) {
		pool_let_go(pool, surplus, ledger_let_go(pool, surplus, n), n);
		return;
	}
	struct note *note = note_new(pool, NOTE_ASK_SURPLUS);
	note->surplus = surplus;
	note->n_asked = n;
	post_home(pool, note);
}

void shard_keep(struct pool *pool, unsigned n)
{
	if (pool_is_home(pool)) {
		ledger_kept(pool, n);
		return;
	}
	struct note *note = note_new(pool, NOTE_KEEP);
	note->n = n;
	post_home(pool, note);
}

void shard_report_crowd(struct pool *pool, usec_t since)
{
	if (pool_is_home(pool)) {
		crowd_reported(pool, pool->home, since);
		return;
	}
	struct note *note = note_new(pool, NOTE_CROWD);
	note->since = since;
	post_home(pool, note);
}

/* --- from the ledger --- */

static void answer_surplus(
	struct pool *pool, unsigned shard, enum surplus surplus, unsigned n_asked)
{
	struct note *note = note_new(pool, NOTE_LET_GO);

	note->surplus = surplus;
	note->n = ledger_let_go(pool, surplus, n_asked);
	note->n_asked = n_asked;
	post(pool, shard, note);
}

void shard_grant(struct pool *pool, unsigned shard, bool overflow, bool ahead)
{
	if (shard == pool->owner->host.shard) {
		pool_granted(pool, overflow, ahead);
		return;
	}
	struct note *note = note_new(pool, NOTE_GRANT);
	note->origin.overflow = overflow;
	note->ahead = ahead;
	post(pool, shard, note);
}

void shard_tell_trouble(struct pool *pool, unsigned shard, const struct trouble *trouble)
{
	if (shard == pool->owner->host.shard) {
		pool_told_trouble(pool, trouble);
		return;
	}
	struct note *note = note_new(pool, NOTE_TROUBLE);
	note->trouble = copy_trouble(trouble);
	post(pool, shard, note);
}

void shard_tell_recovery(struct pool *pool, unsigned shard)
{
	if (shard == pool->owner->host.shard)
		pool_told_recovery(pool);
	else
		post(pool, shard, note_new(pool, NOTE_RECOVERY));
}

void shard_tell_shed(struct pool *pool)
{
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (i != pool->owner->host.shard)
			post(pool, i, note_new(pool, NOTE_SHED));
	}
	pool_shed(pool);
}

void shard_tell_full(struct pool *pool, unsigned shard)
{
	if (shard == pool->owner->host.shard)
		pool_told_full(pool);
	else
		post(pool, shard, note_new(pool, NOTE_FULL));
}

/* --- between shards --- */

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

void shard_tell_suspicion(struct pool *pool)
{
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (i != pool->owner->host.shard)
			post(pool, i, note_new(pool, NOTE_SUSPICION));
	}
}

void pool_share(struct pool *pool)
{
	struct buf news;

	bool any = pool->protocol->pool_news(pool->proto, &news);
	for (unsigned i = 0; any && i < pool->owner->host.n_shards; i++) {
		if (i == pool->owner->host.shard)
			continue;
		struct note *note = note_new(pool, NOTE_NEWS);
		buf_put(&note->news, news.data, news.len);
		if (note->news.failed)
			note_free(note);
		else
			post(pool, i, note);
	}
	buf_clear(&news);
}

void shard_ask_census(struct pool *pool, unsigned shard, usec_t since)
{
	struct note *note = note_new(pool, NOTE_ASK_CENSUS);

	note->since = since;
	post(pool, shard, note);
}

void shard_tell_census(struct pool *pool, unsigned shard, const struct census *census)
{
	struct note *note = note_new(pool, NOTE_CENSUS);

	note->census = malloc(sizeof(*census));
	CHECK(note->census);
	*note->census = *census;
	post(pool, shard, note);
}

bool shard_send_server(struct pool *pool, struct server *server, unsigned shard)
{
	struct dialled dialled = {.fd = server->stream.fd, .tls = server->stream.tls};

	CHECK(!server->n_cancels && server->back->at_rest);
	if (pool->owner->stopped || stream_unsent(&server->stream) || server->kept.len ||
		!pool->protocol->back_pack(server->back, &dialled))
		return false;
	struct note *note = note_new(pool, NOTE_SERVER);
	note->dialled = dialled;
	note->origin = (struct server_origin){.overflow = server->overflow,
		.flavour = server->flavour,
		.opened = server->opened,
		.opened_wall = server->opened_wall,
		.idle_since = server->idle_since};
	stream_detach(&server->stream);
	server->stream.fd = -1;
	log_debug("server=%llu event=moved shard=%u to=%u", (unsigned long long)server->id,
		pool->owner->host.shard, shard);
	pool->wishes[shard].open = false;
	server_gone(server);
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
