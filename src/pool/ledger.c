/*
 * The one budget of a pool: how many connections are open, being opened or being closed, on all
 * shards together. Runs on the shard that the pool is at home on; the others speak to it through
 * shard.c. Knows no connection.
 */
#include "pool/internal.h"
#include "util/random.h"

#define DELAY_FIRST (50 * USEC_PER_MSEC)
#define DELAY_LAST  (2 * USEC_PER_SEC)

static unsigned total(const struct pool *pool)
{
	return pool->ledger.n_kept + pool->ledger.n_overflow;
}

static bool has_budget(const struct pool *pool)
{
	const struct config_pool *limits = &pool->limits;

	return limits->max_overflow < 0 ||
	       total(pool) < (unsigned)limits->pool_size + (unsigned)limits->max_overflow;
}

/* The shard whose waiter is oldest, or -1. */
static int next_shard(const struct pool *pool)
{
	int oldest = -1;

	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		const struct ask *ask = &pool->ledger.asks[i];
		if (ask->n && (oldest < 0 || ask->since < pool->ledger.asks[oldest].since))
			oldest = (int)i;
	}
	return oldest;
}

void ledger_serve(struct pool *pool)
{
	struct ledger *ledger = &pool->ledger;
	usec_t now = clock_usec();
	int shard;

	while (!pool->paused && (shard = next_shard(pool)) >= 0 && has_budget(pool) &&
		ledger->n_dialling < DIALS_MAX) {
		if (now < ledger->retry_at) {
			pool_wake_at(pool, ledger->retry_at);
			return;
		}
		bool overflow = ledger->n_kept >= (unsigned)pool->limits.pool_size;
		ledger->asks[shard].n--;
		ledger->n_dialling++;
		if (overflow)
			ledger->n_overflow++;
		else
			ledger->n_kept++;
		/* The promise: never more than pool_size + max_overflow. */
		CHECK(pool->limits.max_overflow < 0 ||
			total(pool) <= (unsigned)pool->limits.pool_size +
					       (unsigned)pool->limits.max_overflow);
		/* While a server does not answer, one dial at a time finds out when it does. */
		if (ledger->delay)
			ledger->retry_at = now + ledger->delay;
		shard_grant(pool, (unsigned)shard, overflow);
	}
}

void ledger_ask(struct pool *pool, unsigned shard, unsigned n, usec_t since)
{
	struct ask *ask = &pool->ledger.asks[shard];

	if (!ask->n)
		ask->since = since;
	ask->n += n;
	ledger_serve(pool);
	/* No permission to be had: someone else may have a connection to spare. */
	if (ask->n && pool->owner->host.n_shards > 1 && !has_budget(pool))
		shard_tell_wish(pool, shard, since);
}

void ledger_withdraw(struct pool *pool, unsigned shard)
{
	pool->ledger.asks[shard].n = 0;
}

static void give_back(struct pool *pool, bool overflow)
{
	struct ledger *ledger = &pool->ledger;
	unsigned *n = overflow ? &ledger->n_overflow : &ledger->n_kept;

	CHECK(*n > 0);
	(*n)--;
}

void ledger_dialled(struct pool *pool)
{
	struct ledger *ledger = &pool->ledger;

	CHECK(ledger->n_dialling > 0);
	ledger->n_dialling--;
	ledger->delay = ledger->retry_at = 0;
	ledger_serve(pool);
}

void ledger_dial_failed(struct pool *pool, bool overflow, const struct refusal *refusal, bool final)
{
	struct ledger *ledger = &pool->ledger;
	usec_t now = clock_usec();

	CHECK(ledger->n_dialling > 0);
	ledger->n_dialling--;
	give_back(pool, overflow);
	/* Dials that were under way together fail together: that is one failure. */
	if (now >= ledger->retry_at) {
		ledger->delay = ledger->delay ? ledger->delay * 2 : DELAY_FIRST;
		if (ledger->delay > DELAY_LAST)
			ledger->delay = DELAY_LAST;
		ledger->retry_at =
			now + ledger->delay / 2 + random_below((uint32_t)ledger->delay / 2 + 1);
	}
	pool_wake_at(pool, ledger->retry_at);
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (ledger->asks[i].n)
			shard_tell_failure(pool, i, refusal, final);
	}
}

void ledger_returned_unused(struct pool *pool, bool overflow)
{
	CHECK(pool->ledger.n_dialling > 0);
	pool->ledger.n_dialling--;
	ledger_returned(pool, overflow);
}

void ledger_returned(struct pool *pool, bool overflow)
{
	give_back(pool, overflow);
	ledger_serve(pool);
}
