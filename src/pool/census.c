/*
 * Who holds a pool and who waits, on all shards together: each shard counts its own connections and
 * answers when another one asks. Asked shortly before somebody has to be told, so that the answers
 * are there by then; nobody waits for them.
 */
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"
#include "util/log.h"
#include "util/text.h"

/* Answers are used up to this age; and so soon nobody is asked again, nor counts its own again:
 * many waiters may be told at once. */
#define FRESH_TIME USEC_PER_SEC
#define SAME_TIME  (10 * USEC_PER_MSEC)

static void note_pin(struct census *census, const char *pin)
{
	unsigned i = 0;

	while (i < census->n_pins && strcmp(census->pins[i], pin) != 0)
		i++;
	if (i == census->n_pins && i < CENSUS_PINS)
		census->pins[census->n_pins++] = pin;
}

static void note_oldest(
	struct census *census, const struct server *server, const struct holder *holder)
{
	struct census_holder *oldest = &census->oldest;
	const struct statement_text *statement = &holder->statement;

	if (oldest->since && oldest->since <= server->lent_since)
		return;
	*oldest = (struct census_holder){.since = server->lent_since,
		.use = holder->use,
		.use_since = holder->use_since,
		.pin = server->back->pin};
	text_copy(oldest->reader, sizeof(oldest->reader), holder->user);
	log_escape(holder->user, oldest->user, sizeof(oldest->user));
	log_escape(holder->application, oldest->application, sizeof(oldest->application));
	text_copy(oldest->address, sizeof(oldest->address), holder->address);
	text_shorten(oldest->statement, sizeof(oldest->statement), statement->text, statement->len,
		statement->goes_on);
}

static void count_lent(const struct pool *pool, struct census *census)
{
	const struct pools_host *host = &pool->owner->host;
	const struct list *link;

	list_for_each (link, &pool->servers[SERVER_LENT]) {
		const struct server *server = container_of(link, const struct server, link);
		struct holder holder;
		if (!server->holder || !host->describe_holder)
			continue;
		host->describe_holder(server->holder, &holder);
		census->n_uses[holder.use]++;
		if (holder.use == USE_PINNED)
			note_pin(census, server->back->pin);
		note_oldest(census, server, &holder);
	}
}

static void take(const struct pool *pool, struct census *ret_census)
{
	*ret_census = (struct census){.taken = pool_now(pool),
		.n_alive = pool_n_alive(pool),
		.n_open = pool_n_alive(pool) + pool->n_servers[SERVER_CLOSING] + pool->n_dialling,
		.n_waiting = pool->n_waiting + pool->n_refusing};
	count_lent(pool, ret_census);
}

/* How many come before it here. */
static unsigned count_before(const struct pool *pool, turn_t turn)
{
	const struct list *link;
	unsigned n = 0;

	list_for_each (link, &pool->waiters) {
		if (container_of(link, const struct waiter, link)->turn >= turn)
			break;
		n++;
	}
	return n;
}

/* What is known of each shard, made when somebody has waited for too long for the first time. NULL:
 * no memory. */
static struct census *known(struct pool *pool)
{
	if (!pool->censuses)
		pool->censuses = calloc(pool->owner->host.n_shards, sizeof(*pool->censuses));
	return pool->censuses;
}

/* --- asking the others --- */

void census_ask(struct pool *pool, turn_t turn)
{
	usec_t now = pool_now(pool);

	if (pool->owner->host.n_shards == 1 || now < pool->census_asked + SAME_TIME)
		return;
	pool->census_asked = now;
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (i != pool->owner->host.shard)
			shard_ask_census(pool, i, turn);
	}
}

void census_asked(struct pool *pool, unsigned shard, turn_t turn)
{
	struct census census;

	take(pool, &census);
	census.n_before = count_before(pool, turn);
	shard_tell_census(pool, shard, &census);
}

void census_told(struct pool *pool, unsigned shard, const struct census *census)
{
	if (known(pool))
		pool->censuses[shard] = *census;
}

/* --- the sum --- */

static void add(struct census *sum, const struct census *more)
{
	sum->n_alive += more->n_alive;
	sum->n_open += more->n_open;
	sum->n_waiting += more->n_waiting;
	sum->n_before += more->n_before;
	for (int use = 0; use < N_USES; use++)
		sum->n_uses[use] += more->n_uses[use];
	for (unsigned i = 0; i < more->n_pins; i++)
		note_pin(sum, more->pins[i]);
	if (more->oldest.since && (!sum->oldest.since || more->oldest.since < sum->oldest.since))
		sum->oldest = more->oldest;
}

void census_sum(struct pool *pool, turn_t turn, struct census *ret_sum)
{
	unsigned self = pool->owner->host.shard;
	struct census *shards = known(pool);
	usec_t now = pool_now(pool);

	*ret_sum = (struct census){.taken = now, .n_before = count_before(pool, turn)};
	if (shards && shards[self].taken + SAME_TIME < now)
		take(pool, &shards[self]);
	for (unsigned i = 0; shards && i < pool->owner->host.n_shards; i++) {
		if (!shards[i].taken || shards[i].taken + FRESH_TIME < now)
			continue;
		add(ret_sum, &shards[i]);
		ret_sum->n_shards++;
	}
}
