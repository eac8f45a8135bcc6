/*
 * Servers that change roles: a write that is refused because the server has become a replica
 * condemns all connections of the pool, since their server can be any of those that the URL leads
 * to. Called by session/ and by other shards. Never looks for the new server itself: a dial does.
 */
#include "pool/internal.h"
#include "util/log.h"

/* While the new connections are no better: nobody has been promoted yet, or the name still leads to
 * the old server. Long enough for a pool that is meant for reading, to which someone writes. */
#define DELAY_FIRST (500 * USEC_PER_MSEC)
#define DELAY_LAST  (5 * USEC_PER_SEC)

/* When a server was found to take no writes that long ago, it is another story. */
#define STORY_TIME (60 * USEC_PER_SEC)

/* Replicas that name services still give may be asked in vain: not for ever. */
#define PREFERENCE_TIME (10 * 60 * USEC_PER_SEC)

static void condemn(struct pool *pool, usec_t moment)
{
	struct demotion *demotion = &pool->demotion;
	bool same_story = demotion->since && moment - demotion->since < STORY_TIME;

	demotion->delay = same_story ? demotion->delay * 2 : DELAY_FIRST;
	if (demotion->delay > DELAY_LAST)
		demotion->delay = DELAY_LAST;
	demotion->since = moment;
	demotion->again = false;
	pool_retire(pool, moment);
	pool_tend_soon(pool);
}

static void condemn_everywhere(struct pool *pool, usec_t now)
{
	log_warning("event=demoted database=\"%s\" user=\"%s\" "
		    "detail=\"the server refuses writes: its connections are replaced\"",
		pool->name, pool->user);
	condemn(pool, now);
	shard_tell_demotion(pool, now);
}

void pool_condemn(struct pool *pool, struct server *server)
{
	struct demotion *demotion = &pool->demotion;
	usec_t now = pool_now(pool);

	if (server->retired)
		return;
	if (!demotion->since || now >= demotion->since + demotion->delay) {
		condemn_everywhere(pool, now);
		return;
	}
	demotion->again = true;
	pool_wake_at(pool, demotion->since + demotion->delay);
}

void pool_review_demotion(struct pool *pool, usec_t now)
{
	const struct demotion *demotion = &pool->demotion;

	if (!demotion->again)
		return;
	if (now >= demotion->since + demotion->delay)
		condemn_everywhere(pool, now);
	else
		pool_wake_at(pool, demotion->since + demotion->delay);
}

void pool_told_demotion(struct pool *pool, usec_t moment)
{
	if (moment > pool->demotion.since)
		condemn(pool, moment);
}

bool pool_prefers_writable(const struct pool *pool, usec_t now)
{
	return pool->demotion.since && now < pool->demotion.since + PREFERENCE_TIME;
}
