/*
 * A pool that is full while clients wait, for seconds on end: the log says so once, with who holds
 * it, and once when it is over. A shard whose queue has not been empty for so long tells the pool's
 * home, and that its queue is empty again; what is said is the home's to say.
 */
#include "pool/internal.h"
#include "util/log.h"

#define CROWD_TIME (5 * USEC_PER_SEC)

/* It is over when nobody has waited for this long. */
#define CALM_TIME USEC_PER_SEC

static bool anyone_crowded(const struct pool *pool)
{
	for (unsigned i = 0; i < pool->owner->host.n_shards; i++) {
		if (pool->ledger.asks[i].crowded)
			return true;
	}
	return false;
}

/* --- on each shard --- */

void crowd_begins(struct pool *pool, usec_t now)
{
	pool->crowd.since = now;
	pool->crowd.report_at = now + CROWD_TIME;
	pool_wake_at(pool, pool->crowd.report_at);
}

void crowd_ends(struct pool *pool)
{
	if (pool->crowd.reported)
		shard_report_crowd(pool, 0);
	pool->crowd.reported = false;
}

/* Again and again while it lasts: whether the pool is full only the home knows. */
static void report(struct pool *pool, usec_t now)
{
	struct crowd *crowd = &pool->crowd;

	if (!pool->n_waiting)
		return;
	if (now >= crowd->report_at) {
		crowd->reported = true;
		crowd->report_at = now + CROWD_TIME;
		shard_report_crowd(pool, crowd->since);
	}
	pool_wake_at(pool, crowd->report_at);
}

/* --- at home --- */

void crowd_reported(struct pool *pool, unsigned shard, usec_t since)
{
	struct crowd *crowd = &pool->crowd;
	usec_t now = pool_now(pool);

	pool->ledger.asks[shard].crowded = since != 0;
	if (since) {
		crowd->over_since = 0;
		if (crowd->all_since || pool->paused || !ledger_is_full(pool))
			return;
		/* The others are asked who holds the pool. */
		crowd->all_since = since;
		crowd->say_at = now + (pool->owner->host.n_shards > 1 ? CENSUS_LEAD : 0);
		census_ask(pool, 0);
		pool_wake_at(pool, crowd->say_at);
	} else if (crowd->all_since && !anyone_crowded(pool)) {
		crowd->over_since = now;
		pool_wake_at(pool, now + CALM_TIME);
	}
}

static void say_full(struct pool *pool, usec_t now)
{
	char detail[EXPLANATION_SIZE], text[EXPLANATION_SIZE + 100];

	pool->crowd.say_at = 0;
	pool_explain_to_log(pool, detail, sizeof(detail));
	log_warning("event=pool_full database=\"%s\" user=\"%s\" sec=%.1f detail=\"%s\"",
		pool->name, pool->user,
		(double)(now - pool->crowd.all_since) / (double)USEC_PER_SEC,
		log_escape(detail, text, sizeof(text)));
}

static void say_over(struct pool *pool)
{
	struct crowd *crowd = &pool->crowd;

	/* Over before anything was said. */
	if (!crowd->say_at)
		log_info("event=pool_no_longer_full database=\"%s\" user=\"%s\" sec=%.1f",
			pool->name, pool->user,
			(double)(crowd->over_since - crowd->all_since) / (double)USEC_PER_SEC);
	crowd->all_since = crowd->over_since = crowd->say_at = 0;
}

void crowd_tend(struct pool *pool, usec_t now)
{
	struct crowd *crowd = &pool->crowd;

	report(pool, now);
	if (crowd->over_since && now >= crowd->over_since + CALM_TIME)
		say_over(pool);
	else if (crowd->over_since)
		pool_wake_at(pool, crowd->over_since + CALM_TIME);
	if (crowd->say_at && !crowd->over_since && now >= crowd->say_at)
		say_full(pool, now);
	else if (crowd->say_at && !crowd->over_since)
		pool_wake_at(pool, crowd->say_at);
}
