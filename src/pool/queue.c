/*
 * Those who wait at one shard of a pool, in the order of their turns. By age, a turn is the moment
 * when the wait began; else users (or applications) take turns, each first in, first out. Turns
 * compare across shards: the board shows whose is next.
 */
#include <stdio.h>
#include <string.h>

#include "pool/internal.h"

/* Waiters that give up within this time of each other do so together. */
#define REFUSAL_GRAIN (10 * USEC_PER_MSEC)

/* How much longer than the next one here someone elsewhere has to have waited. Without it,
 * connections would travel back and forth under steady load, where all wait equally long. */
#define SLACK_TIME (5 * USEC_PER_MSEC)

/* Of so many of the first ones the longest wait is shown to the other shards. */
#define SHOWN 8

void waiter_init(
	struct waiter *w, void (*done)(struct waiter *, struct server *, const struct refusal *))
{
	list_init(&w->link);
	w->pool = NULL;
	w->explain = false;
	w->done = done;
}

struct waiter *queue_first(const struct pool *pool)
{
	return list_first(&pool->waiters, struct waiter, link);
}

struct waiter *queue_first_of(const struct pool *pool, unsigned flavour)
{
	struct list *link;

	if (!pool->n_waiting_of[flavour])
		return NULL;
	list_for_each (link, &pool->waiters) {
		struct waiter *w = list_entry(link, struct waiter, link);
		if (w->flavour == flavour)
			return w;
	}
	return NULL;
}

/* --- whose turn it is --- */

/* In turns, the slack is what goes by in that time. */
static turn_t slack_of(struct pool *pool, usec_t now)
{
	struct pace *pace = &pool->pace;

	if (pool->limits.fair_by == FAIR_BY_NONE)
		return SLACK_TIME;
	usec_t passed = now - pace->since;
	if (passed >= SLACK_TIME) {
		turn_t clock = atomic_load_explicit(&pool->board->clock, memory_order_relaxed);
		pace->slack = (clock - pace->clock) * SLACK_TIME / passed;
		pace->clock = clock;
		pace->since = now;
	}
	return pace->slack;
}

bool queue_comes_first(struct pool *pool, turn_t turn, usec_t since, const struct waiter *ours)
{
	if (!ours || turn >= ours->turn)
		return !ours;
	return since < ours->since - SLACK_TIME ||
	       turn < ours->turn - slack_of(pool, pool_now(pool));
}

static turn_t take_turn(struct pool *pool, struct waiter *w)
{
	const struct pools_host *host = &pool->owner->host;
	enum fair_by by = pool->limits.fair_by;

	w->flow = by != FAIR_BY_NONE && host->flow_of ? host->flow_of(w->holder, by) : 0;
	if (by == FAIR_BY_NONE)
		return w->since;
	/* Who was passed over for the slack catches up. */
	return board_take_turn(pool->board, w->flow, 2 * slack_of(pool, w->since));
}

/* When the wait of the first ones began, of whoever has waited longest: one who has just come, and
 * whose turn is before theirs, is not to hide them from the others. */
static usec_t longest_wait(const struct pool *pool)
{
	usec_t since = USEC_NEVER;
	const struct list *link;
	unsigned n = 0;

	list_for_each (link, &pool->waiters) {
		const struct waiter *w = container_of(link, const struct waiter, link);
		if (w->since < since)
			since = w->since;
		if (pool->limits.fair_by == FAIR_BY_NONE || ++n == SHOWN)
			break;
	}
	return since;
}

/* Shows the other shards who is first here. */
static void show(const struct pool *pool)
{
	struct sign *sign = &pool->board->signs[pool->owner->host.shard];
	const struct waiter *first = queue_first(pool);
	turn_t turn = first ? first->turn : TURN_NEVER;

	if (first)
		atomic_store_explicit(&sign->since, longest_wait(pool), memory_order_relaxed);
	if (turn != atomic_load_explicit(&sign->turn, memory_order_relaxed))
		atomic_store_explicit(&sign->turn, turn, memory_order_relaxed);
	if (pool->flavours != atomic_load_explicit(&sign->flavours, memory_order_relaxed))
		atomic_store_explicit(&sign->flavours, pool->flavours, memory_order_relaxed);
}

/* --- in and out --- */

/* Behind the last one of its own flow there are few to pass, one per flow; and a flow that has
 * nobody here has its turn soon. */
static void insert(struct pool *pool, struct waiter *w)
{
	struct waiter **latest = &pool->latest[w->flow % FLOW_HINTS];
	const struct waiter *last = list_last(&pool->waiters, struct waiter, link);
	struct list *before = &pool->waiters;

	if (last && last->turn > w->turn) {
		if (*latest && (*latest)->turn <= w->turn)
			before = &(*latest)->link;
		while (list_entry(before->next, struct waiter, link)->turn <= w->turn)
			before = before->next;
	} else {
		before = pool->waiters.prev;
	}
	list_insert_between(&w->link, before, before->next);
	*latest = w;
}

/* Without a limit of its own, the queue is as long as there are clients. Those for whom there is a
 * connection, or room for one, are on their way through. */
static unsigned limit(const struct pool *pool)
{
	unsigned budget = ledger_budget(pool), n_idle = 0;

	if (!pool->limits.max_waiting || budget == UINT32_MAX)
		return UINT32_MAX;
	unsigned n_open = atomic_load_explicit(&pool->board->n_open, memory_order_relaxed);
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++)
		n_idle += atomic_load_explicit(&pool->board->signs[i].n_idle, memory_order_relaxed);
	return (unsigned)pool->limits.max_waiting + (budget > n_open ? budget - n_open : 0) +
	       n_idle;
}

bool queue_enter(struct pool *pool, struct waiter *w, const void *holder)
{
	if (!board_count_waiter(pool->board, limit(pool)))
		return false;
	w->pool = pool;
	w->holder = holder;
	w->turn = take_turn(pool, w);
	insert(pool, w);
	if (!pool->n_waiting++)
		crowd_begins(pool, w->since);
	bool is_new = !pool->n_waiting_of[w->flavour]++;
	pool->flavours |= 1u << w->flavour;
	show(pool);
	/* The others have heard of those who can use other connections. */
	if (is_new && pool->wishing)
		shard_tell_wish(pool, pool->owner->host.shard);
	return true;
}

static void leave(struct waiter *w)
{
	struct pool *pool = w->pool;
	struct waiter **latest = &pool->latest[w->flow % FLOW_HINTS];

	if (*latest == w)
		*latest = NULL;
	list_remove(&w->link);
	w->pool = NULL;
	pool->n_waiting--;
	if (!--pool->n_waiting_of[w->flavour])
		pool->flavours &= ~(1u << w->flavour);
	atomic_fetch_sub_explicit(&pool->board->n_waiting, 1, memory_order_relaxed);
	show(pool);
	if (!pool->n_waiting)
		crowd_ends(pool);
	if (!pool->n_waiting && (pool->wishing || pool->n_asked))
		shard_withdraw(pool);
	/* What was idle beside one who could not use it, others may use now. */
	if (pool->n_servers[SERVER_IDLE] && (pool->n_waiting || shard_others_wait(pool)))
		pool_tend_soon(pool);
}

void queue_serve(struct waiter *w)
{
	struct pool *pool = w->pool;

	if (pool->limits.fair_by != FAIR_BY_NONE)
		board_turn_came(pool->board, w->turn);
	leave(w);
}

void pool_forget(struct waiter *w)
{
	if (w->pool)
		leave(w);
	else
		list_remove(&w->link); /* among those about to be told */
}

void queue_sort_again(struct pool *pool)
{
	struct list *link, *next, others;
	struct waiter *w;

	list_init(&others);
	memset(pool->latest, 0, sizeof(pool->latest));
	list_for_each_safe (link, next, &pool->waiters) {
		list_remove(link);
		list_append(&others, link);
	}
	while ((w = list_first(&others, struct waiter, link))) {
		list_remove(&w->link);
		w->turn = take_turn(pool, w);
		insert(pool, w);
	}
	show(pool);
}

/* --- those who wait in vain --- */

void queue_turn_away(struct pool *pool, struct waiter *w)
{
	list_append(&pool->turned_away, &w->link);
	pool_tend_soon(pool);
}

void queue_tell_turned_away(struct pool *pool)
{
	struct waiter *w;
	struct refusal refusal;
	char detail[EXPLANATION_SIZE];

	while ((w = list_first(&pool->turned_away, struct waiter, link))) {
		list_remove(&w->link);
		snprintf(detail, sizeof(detail), "pool %s/%s: %u wait, max_waiting is %d",
			pool->name, pool->user, board_n_waiting(pool->board),
			pool->limits.max_waiting);
		refusal_set(&refusal, REASON_QUEUE_FULL, w->explain ? detail : NULL);
		pool->stats.total.n_refused++;
		w->done(w, NULL, &refusal);
	}
}

void pool_refuse(struct pool *pool, usec_t now, hopeless_fn hopeless)
{
	struct list refused, *link, *next;
	struct refusal refusal;
	usec_t next_wake = USEC_NEVER;
	struct waiter *w;

	/* Apart first: what a waiter does when it is told may change the queue. */
	list_init(&refused);
	list_for_each_safe (link, next, &pool->waiters) {
		w = list_entry(link, struct waiter, link);
		usec_t moment = hopeless(pool, w, now, NULL);
		if (moment <= now) {
			leave(w);
			list_append(&refused, link);
			pool->n_refusing++;
		} else if (moment < next_wake) {
			next_wake = moment;
		}
	}
	if (next_wake != USEC_NEVER)
		pool_wake_at(
			pool, next_wake < now + REFUSAL_GRAIN ? now + REFUSAL_GRAIN : next_wake);
	while ((w = list_first(&refused, struct waiter, link))) {
		list_remove(&w->link);
		hopeless(pool, w, now, &refusal);
		pool->stats.total.n_refused++;
		pool->n_told++;
		w->done(w, NULL, &refusal);
	}
	pool->n_refusing = pool->n_told = 0;
}
