/*
 * The one budget of a pool: how many connections are open, being opened or being closed, on all
 * shards together. Runs on the shard that the pool is at home on; the others speak to it through
 * shard.c. Knows no connection.
 */
#include "pool/internal.h"
#include "util/random.h"

/* The back-off between dials that fail. */
#define DELAY_FIRST (50 * USEC_PER_MSEC)
#define DELAY_LAST  (2 * USEC_PER_SEC)

unsigned ledger_budget(const struct pool *pool)
{
	const struct config_pool *limits = &pool->limits;

	if (limits->max_overflow < 0)
		return UINT32_MAX;
	return (unsigned)limits->pool_size + (unsigned)limits->max_overflow;
}

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned larger(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

/* The connections that are wanted although nobody waits. */
static unsigned min_size(const struct pool *pool)
{
	return smaller((unsigned)pool->limits.min_size, ledger_budget(pool));
}

/* How many there will be when those that are too many are gone. Connections that a shard may let go
 * can end in another way before it hears that: until it says so, more are let go than there are. */
static unsigned n_staying(const struct pool *pool)
{
	const struct ledger *ledger = &pool->ledger;

	return ledger->n_permits > ledger->n_let_go ? ledger->n_permits - ledger->n_let_go : 0;
}

static bool is_alone(const struct pool *pool)
{
	CHECK(pool->ledger.n_dialling <= pool->ledger.n_permits);
	return pool->ledger.n_permits == pool->ledger.n_dialling;
}

/* The shard whose turn it is of those that ask, or -1. */
static int next_shard(const struct pool *pool)
{
	turn_t turn, best = TURN_NEVER;
	int shard = -1;

	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (!pool->ledger.asks[i].n)
			continue;
		turn = atomic_load_explicit(&pool->board->signs[i].turn, memory_order_relaxed);
		if (shard < 0 || turn < best) {
			shard = (int)i;
			best = turn;
		}
	}
	return shard;
}

static void show_open(const struct pool *pool)
{
	const struct ledger *ledger = &pool->ledger;

	atomic_store_explicit(
		&pool->board->n_open, ledger->n_permits - ledger->n_dialling, memory_order_relaxed);
}

/* While dials fail, one at a time finds out when they work again. */
static bool may_dial(const struct pool *pool)
{
	const struct ledger *ledger = &pool->ledger;

	return !pool->paused && pool->database && !pool->owner->stopped &&
	       ledger->n_dialling < (ledger->delay ? 1 : DIALS_MAX) &&
	       ledger->n_permits < ledger_budget(pool);
}

/* Those who still ask may have what is of no use to them, and is in the way from now on. */
static void tell_full(struct pool *pool)
{
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (!pool->ledger.asks[i].n)
			continue;
		if (i == pool->home)
			pool_tend_soon(pool);
		else
			shard_tell_full(pool, i);
	}
}

void ledger_serve(struct pool *pool)
{
	struct ledger *ledger = &pool->ledger;
	usec_t now = pool_now(pool);

	while (may_dial(pool)) {
		int shard = next_shard(pool);
		bool ahead = shard < 0;
		if (ahead && n_staying(pool) >= min_size(pool))
			return;
		if (now < ledger->retry_at) {
			pool_wake_at(pool, ledger->retry_at);
			return;
		}
		if (ahead)
			shard = (int)pool->home;
		else
			ledger->asks[shard].n--;
		ledger->n_dialling++;
		ledger->n_permits++;
		/* The promise: never more than pool_size + max_overflow. */
		CHECK(ledger->n_permits <= ledger_budget(pool));
		bool overflow = ledger->n_permits > (unsigned)pool->limits.pool_size;
		if (ledger->n_permits >= ledger_budget(pool))
			tell_full(pool);
		shard_grant(pool, (unsigned)shard, overflow, ahead);
	}
}

static void tell_trouble(struct pool *pool, unsigned shard)
{
	struct trouble trouble = {.any = true,
		.alone = is_alone(pool),
		.final = pool->ledger.final,
		.until = pool->ledger.retry_at,
		.refusal = pool->ledger.failure};

	pool->ledger.asks[shard].told = true;
	shard_tell_trouble(pool, shard, &trouble);
}

static void tell_askers(struct pool *pool)
{
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (pool->ledger.asks[i].n)
			tell_trouble(pool, i);
	}
}

/* A shard that has closed a connection for another one's wish has forgotten that, and the
 * permission may have gone to an older one. */
static void repeat_wishes(struct pool *pool)
{
	unsigned n_shards = pool->owner->host.n_shards;

	for (unsigned i = 0; n_shards > 1 && i < n_shards; i++) {
		if (pool->ledger.asks[i].n)
			shard_tell_wish(pool, i);
	}
}

void ledger_ask(struct pool *pool, unsigned shard, unsigned n)
{
	struct ask *ask = &pool->ledger.asks[shard];

	ask->n += n;
	ledger_serve(pool);
	if (!ask->n)
		return;
	if (pool->ledger.delay && n)
		tell_trouble(pool, shard);
	if (pool->ledger.n_permits >= ledger_budget(pool))
		shard_tell_full(pool, shard);
	/* No permission to be had now: someone else may have a connection to spare. */
	if (pool->owner->host.n_shards > 1)
		shard_tell_wish(pool, shard);
}

void ledger_withdraw(struct pool *pool, unsigned shard)
{
	pool->ledger.asks[shard].n = 0;
}

void ledger_dialled(struct pool *pool)
{
	struct ledger *ledger = &pool->ledger;

	CHECK(ledger->n_dialling > 0);
	ledger->n_dialling--;
	show_open(pool);
	ledger->delay = ledger->retry_at = 0;
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (ledger->asks[i].told)
			shard_tell_recovery(pool, i);
		ledger->asks[i].told = false;
	}
	ledger_check_budget(pool);
	ledger_serve(pool);
}

void ledger_dial_failed(struct pool *pool, const struct refusal *refusal, bool final)
{
	struct ledger *ledger = &pool->ledger;
	usec_t now = pool_now(pool);

	CHECK(ledger->n_dialling > 0);
	ledger->n_dialling--;
	ledger->n_permits--;
	ledger->failure = *refusal;
	ledger->final = final;
	/* Dials that were under way together fail together: that is one failure. */
	if (now >= ledger->retry_at) {
		ledger->delay = ledger->delay ? ledger->delay * 2 : DELAY_FIRST;
		if (ledger->delay > DELAY_LAST)
			ledger->delay = DELAY_LAST;
		usec_t half = ledger->delay / 2;
		ledger->retry_at = now + half + random_below((uint32_t)half + 1);
	}
	pool_wake_at(pool, ledger->retry_at);
	tell_askers(pool);
}

void ledger_returned(struct pool *pool, enum permit_end end)
{
	struct ledger *ledger = &pool->ledger;

	CHECK(ledger->n_permits > 0);
	ledger->n_permits--;
	switch (end) {
	case PERMIT_UNUSED:
		CHECK(ledger->n_dialling > 0);
		ledger->n_dialling--;
		break;
	case PERMIT_LET_GO:
		CHECK(ledger->n_let_go > 0);
		ledger->n_let_go--;
		break;
	case PERMIT_CLOSED:
		break;
	}
	show_open(pool);
	ledger_serve(pool);
	repeat_wishes(pool);
	/* With the last living connection went the hope of those that wait. */
	if (ledger->delay && is_alone(pool))
		tell_askers(pool);
}

unsigned ledger_let_go(struct pool *pool, enum surplus surplus, unsigned n)
{
	unsigned floor = 0;

	switch (surplus) {
	case SURPLUS_BUDGET:
		floor = ledger_budget(pool);
		break;
	case SURPLUS_OVERFLOW:
		floor = larger((unsigned)pool->limits.pool_size, min_size(pool));
		break;
	case SURPLUS_IDLE:
		floor = min_size(pool);
		break;
	case N_SURPLUSES:
		CHECK(false);
	}
	unsigned staying = n_staying(pool);
	unsigned n_granted = staying > floor ? smaller(n, staying - floor) : 0;
	pool->ledger.n_let_go += n_granted;
	return n_granted;
}

void ledger_kept(struct pool *pool, unsigned n)
{
	CHECK(pool->ledger.n_let_go >= n);
	pool->ledger.n_let_go -= n;
	ledger_check_budget(pool);
}

void ledger_check_budget(struct pool *pool)
{
	if (n_staying(pool) > ledger_budget(pool))
		shard_tell_shed(pool);
}

void ledger_try_again(struct pool *pool)
{
	pool->ledger.retry_at = 0;
	ledger_check_budget(pool);
}

bool ledger_is_full(const struct pool *pool)
{
	return pool->ledger.n_permits >= ledger_budget(pool);
}
