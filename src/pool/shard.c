/*
 * Messages between the shards of a pool. What is for the shard itself is a plain call; with one
 * worker everything is. Two things cross threads: a permission to open a connection, and a
 * connection.
 */
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"
#include "util/log.h"

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
	NOTE_DEMOTION,
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
	unsigned n, n_asked;
	usec_t since; /* of NOTE_CROWD */
	turn_t turn;  /* of NOTE_ASK_CENSUS */
	bool ahead;
	bool wishes; /* of NOTE_SERVER: someone waits where it comes from */
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

static void post_wish(struct pool *pool, unsigned to, unsigned of);

static void take_server(struct pool *pool, struct note *note)
{
	unsigned self = pool->owner->host.shard;
	struct server *server;

	/* The giver has forgotten the wish of who waits behind the one that this is for: that is
	 * said before anything else, which it could hand out. */
	bool told = pool->n_waiting > 1;
	if (told)
		post_wish(pool, note->from, self);
	if (note->wishes)
		pool->wishes[note->from] = true;
	if (server_new(pool, &note->dialled, &note->origin, &server) < 0) {
		note->protocol->dialled_free(&note->dialled);
		shard_return(pool, PERMIT_CLOSED);
		pool_tend_soon(pool);
	} else {
		if (pool->shedding)
			pool_shed(pool);
		if (server->state == SERVER_IDLE)
			pool_take_over(pool, server);
	}
	if (!told && pool->n_waiting)
		post_wish(pool, note->from, self);
}

static void take_wish(struct pool *pool, unsigned from)
{
	pool->wishes[from] = true;
	pool_serve_wishes(pool);
}

static void take_withdrawal(struct pool *pool, unsigned from)
{
	pool->wishes[from] = false;
	ledger_withdraw(pool, from);
}

static void answer_surplus(
	struct pool *pool, unsigned shard, enum surplus surplus, unsigned n_asked);

static void act(struct pool *pool, struct note *note)
{
	switch (note->kind) {
	case NOTE_ASK:
		ledger_ask(pool, note->from, note->n);
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
		take_wish(pool, note->from);
		break;
	case NOTE_SUSPICION:
		pool_told_suspicion(pool);
		break;
	case NOTE_DEMOTION:
		pool_told_demotion(pool, note->since);
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
		census_asked(pool, note->from, note->turn);
		break;
	case NOTE_CENSUS:
		census_told(pool, note->from, note->census);
		break;
	}
}

static void throw_away(struct note *note)
{
	if (note->kind == NOTE_SERVER)
		note->protocol->dialled_free(&note->dialled);
	note_free(note);
}

static void deliver(struct message *message, void *arg)
{
	struct note *note = container_of(message, struct note, message);
	struct pools *pools = note->to;
	struct pool *pool = pools_of(pools, note->names, note->names + note->user_at);

	if (pool) {
		act(pool, note);
		note_free(note);
	} else if (pools->stopped) {
		throw_away(note);
	} else {
		/* The configuration that has it is on its way here too. */
		message->next = NULL;
		*pools->parked_last = message;
		pools->parked_last = &message->next;
	}
}

static struct message *take_parked(struct pools *pools)
{
	struct message *first = pools->parked;

	pools->parked = NULL;
	pools->parked_last = &pools->parked;
	return first;
}

void shard_deliver_parked(struct pools *pools)
{
	struct message *next;

	for (struct message *message = take_parked(pools); message; message = next) {
		next = message->next;
		deliver(message, NULL);
	}
}

void shard_drop_parked(struct pools *pools)
{
	struct message *next;

	for (struct message *message = take_parked(pools); message; message = next) {
		next = message->next;
		throw_away(container_of(message, struct note, message));
	}
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
		throw_away(note);
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

void shard_ask(struct pool *pool, unsigned n)
{
	pool->wishing = pool->owner->host.n_shards > 1;
	if (pool_is_home(pool)) {
		ledger_ask(pool, pool->home, n);
		return;
	}
	struct note *note = note_new(pool, NOTE_ASK);
	note->n = n;
	post_home(pool, note);
}

/* Only the ledger needs to know: the board shows the others that nobody waits. */
void shard_withdraw(struct pool *pool)
{
	pool->n_asked = 0;
	pool->wishing = false;
	if (pool_is_home(pool))
		ledger_withdraw(pool, pool->home);
	else
		post_home(pool, note_new(pool, NOTE_WITHDRAW));
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

static void post_wish(struct pool *pool, unsigned to, unsigned of)
{
	struct note *note = note_new(pool, NOTE_WISH);

	note->from = of;
	post(pool, to, note);
}

void shard_tell_wish(struct pool *pool, unsigned shard)
{
	unsigned self = pool->owner->host.shard;

	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (i == shard)
			continue;
		if (i != self) {
			post_wish(pool, i, shard);
			continue;
		}
		/* Served later, as our own connections may be at work further up. */
		pool->wishes[shard] = true;
		pool_tend_soon(pool);
	}
}

static void tell_others(struct pool *pool, enum note_kind kind, usec_t moment)
{
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (i == pool->owner->host.shard)
			continue;
		struct note *note = note_new(pool, kind);
		note->since = moment;
		post(pool, i, note);
	}
}

void shard_tell_suspicion(struct pool *pool)
{
	tell_others(pool, NOTE_SUSPICION, 0);
}

void shard_tell_demotion(struct pool *pool, usec_t moment)
{
	tell_others(pool, NOTE_DEMOTION, moment);
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

void shard_ask_census(struct pool *pool, unsigned shard, turn_t turn)
{
	struct note *note = note_new(pool, NOTE_ASK_CENSUS);

	note->turn = turn;
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
	note->wishes = pool->n_waiting > 0;
	note->origin = (struct server_origin){.overflow = server->overflow,
		.flavour = server->flavour,
		.opened = server->opened,
		.opened_wall = server->opened_wall,
		.idle_since = server->idle_since};
	stream_detach(&server->stream);
	server->stream.fd = -1;
	log_debug("server=%llu event=moved shard=%u to=%u", (unsigned long long)server->id,
		pool->owner->host.shard, shard);
	pool->wishes[shard] = false;
	server_gone(server);
	post(pool, shard, note);
	return true;
}

bool shard_others_wait(const struct pool *pool)
{
	return pool->owner->host.n_shards > 1 && board_n_waiting(pool->board) != pool->n_waiting;
}

/* Can a connection of that flavour do something for the shard's first waiter? What it cannot use
 * makes room, unless one is on its way to it. */
static bool helps(const struct sign *sign, unsigned flavour, bool *ret_fits)
{
	uint32_t flavours = atomic_load_explicit(&sign->flavours, memory_order_relaxed);

	*ret_fits = flavours & 1u << flavour;
	return *ret_fits || !atomic_load_explicit(&sign->n_dialling, memory_order_relaxed);
}

int shard_next_turn(struct pool *pool, const struct waiter *ours, unsigned flavour, bool *ret_fits)
{
	turn_t best = TURN_NEVER;
	int shard = -1;
	bool fits;

	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		const struct sign *sign = &pool->board->signs[i];
		if (!pool->wishes[i])
			continue;
		turn_t turn = atomic_load_explicit(&sign->turn, memory_order_relaxed);
		usec_t since = atomic_load_explicit(&sign->since, memory_order_relaxed);
		if (turn == TURN_NEVER)
			pool->wishes[i] = false;
		else if (turn < best && queue_comes_first(pool, turn, since, ours) &&
			 helps(sign, flavour, &fits) && (fits || ret_fits)) {
			best = turn;
			shard = (int)i;
			if (ret_fits)
				*ret_fits = fits;
		}
	}
	return shard;
}
