/*
 * New connections for a pool's shard: from the permission through the dialler thread to the first
 * waiter, and what waiters are told when that fails. Whether and when to dial is the ledger's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"
#include "util/log.h"

#define LOG_BURST 5

/* A connection that another shard has to spare is not asked for as long as a dial takes, as a rule:
 * below the budget each shard gets its own, and connections do not travel. */
#define DIAL_PATIENCE (10 * USEC_PER_MSEC)

struct dial {
	struct pool *pool;
	usec_t since;
	unsigned flavour;
	bool overflow;
};

static void show_dials(const struct pool *pool)
{
	atomic_store_explicit(&pool->board->signs[pool->owner->host.shard].n_dialling,
		pool->n_dialling, memory_order_relaxed);
}

static void dial_begins(struct pool *pool)
{
	pool->n_dialling++;
	show_dials(pool);
	pool->ask_around_at = pool_now(pool) + DIAL_PATIENCE;
	if (pool->owner->host.n_shards > 1)
		pool_wake_at(pool, pool->ask_around_at);
}

/* While it was under way, the others closed nothing to make room for who waits here. */
static void dial_is_over(struct pool *pool)
{
	pool->n_dialling--;
	show_dials(pool);
	if (!pool->n_dialling && pool->n_waiting) {
		pool->ask_around_at = 0;
		pool_tend_soon(pool);
	}
}

static void dial_failed(struct pool *pool, const struct refusal *refusal, bool final)
{
	char text[400], left_out[LOG_LEFT_OUT_SIZE];
	unsigned n_dropped;

	if (log_limit_allows(&pool->dial_log, LOG_BURST, &n_dropped))
		log_warning(
			"event=dial_failed database=\"%s\" user=\"%s\" final=%d detail=\"%s\"%s",
			pool->name, pool->user, final,
			log_escape(refusal->text, text, sizeof(text)),
			log_left_out(n_dropped, left_out));
	dial_is_over(pool);
	shard_dial_failed(pool, refusal, final);
	pool_ask(pool);
}

static void dial_failed_here(struct pool *pool, int error)
{
	struct refusal refusal;

	refusal_set(&refusal, error == -ENOMEM ? REASON_OUT_OF_MEMORY : REASON_SERVER_UNREACHABLE,
		error == -ENOMEM ? NULL : strerror(-error));
	dial_failed(pool, &refusal, false);
}

static void open_dialled(const struct dial *dial, struct dialled *dialled)
{
	struct pool *pool = dial->pool;
	struct server *server;
	usec_t now = pool_now(pool);
	struct server_origin origin = {.overflow = dial->overflow,
		.flavour = dial->flavour,
		.opened = now,
		.opened_wall = clock_wall_usec(),
		.idle_since = now};

	int r = server_new(pool, dialled, &origin, &server);
	if (r < 0) {
		dial_failed_here(pool, r);
		return;
	}
	/* Reloaded or told to reconnect meanwhile. */
	server->retired = dial->since < pool->retired_before;
	pool->stats.total.n_dials++;
	log_info(
		"server=%llu event=opened database=\"%s\" user=\"%s\" pid=%u overflow=%d msec=%lld",
		(unsigned long long)server->id, pool->name, pool->user, server->back->process_id,
		server->overflow, (long long)((now - dial->since) / USEC_PER_MSEC));
	pool_share(pool);
	/* In this order: what the ledger gives out now is not for the waiter that this one is for.
	 */
	shard_dialled(pool);
	dial_is_over(pool);
	/* After a reload to smaller limits the ledger may have had it closed as one too many. */
	if (server->state == SERVER_IDLE)
		pool_release(pool, server);
	pool_ask(pool);
	/* Someone else may wait who can use neither this one nor what is idle. */
	if (pool->n_waiting)
		pool_tend_soon(pool);
}

static void dial_ended(struct message *message, void *arg)
{
	struct dial_result *result = container_of(message, struct dial_result, message);
	struct dial *dial = result->arg;
	struct pool *pool = dial->pool;

	if (pool->owner->stopped || result->error == -ECANCELED) {
		dial_is_over(pool);
		shard_return(pool, PERMIT_UNUSED);
	} else if (result->error == 0) {
		open_dialled(dial, &result->dialled);
	} else if (result->error > 0) {
		dial_failed(pool, &result->refusal, result->final);
	} else {
		dial_failed_here(pool, result->error);
	}
	free(dial);
	dial_result_free(result);
}

/* The flavour of the waiter that the next dial is for: those before it have a dial each. */
static unsigned next_flavour(const struct pool *pool)
{
	unsigned flavour = pool->last_flavour, n = pool->n_dialling;
	struct list *link;

	list_for_each (link, &pool->waiters) {
		flavour = list_entry(link, struct waiter, link)->flavour;
		if (n-- <= 1)
			break;
	}
	return flavour;
}

static int start(struct pool *pool, bool overflow)
{
	const struct pools_host *host = &pool->owner->host;
	const struct url *url = &pool->database->url;
	struct dial_target target = {.url = url,
		.user = url->user ? NULL : pool->user,
		.password = url->user ? NULL : pool->password,
		.connect_timeout = pool->limits.connect_timeout,
		.flavour = next_flavour(pool),
		.prefers_writable = pool_prefers_writable(pool, pool_now(pool))};
	struct dial *dial = malloc(sizeof(*dial));

	if (!dial)
		return -ENOMEM;
	*dial = (struct dial){.pool = pool,
		.since = pool_now(pool),
		.flavour = target.flavour,
		.overflow = overflow};
	int r = dialler_dial(
		host->dialler, pool->protocol, &target, host->mailbox, dial_ended, dial);
	if (r < 0)
		free(dial);
	return r;
}

void pool_granted(struct pool *pool, bool overflow, bool ahead)
{
	if (!ahead && pool->n_asked)
		pool->n_asked--;
	/* Withdrawn meanwhile, or served by a connection that became free. */
	bool wanted = ahead || pool->n_waiting > pool->n_servers[SERVER_TESTING] + pool->n_dialling;
	if (!wanted || pool->paused || !pool->database || pool->owner->stopped) {
		shard_return(pool, PERMIT_UNUSED);
		return;
	}
	dial_begins(pool);
	int r = start(pool, overflow);
	if (r < 0)
		dial_failed_here(pool, r);
}

void pool_ask_around(struct pool *pool, usec_t now)
{
	if (now < pool->ask_around_at)
		return;
	pool->ask_around_at = USEC_NEVER;
	if (pool->n_waiting && pool->owner->host.n_shards > 1)
		shard_tell_wish(pool, pool->owner->host.shard);
}

/* --- when dials fail --- */

void pool_told_trouble(struct pool *pool, const struct trouble *trouble)
{
	pool->trouble = *trouble;
	pool_tend_soon(pool);
}

void pool_told_recovery(struct pool *pool)
{
	pool->trouble.any = false;
}

bool pool_fails_fast(const struct pool *pool, usec_t now)
{
	const struct trouble *trouble = &pool->trouble;

	return trouble->any && trouble->alone && trouble->final && now < trouble->until;
}

/* A server that restarts costs nobody an error who has the patience of pool_timeout; but nobody
 * waits for a password to become right. */
static usec_t hopeless_at(
	struct pool *pool, const struct waiter *w, usec_t now, struct refusal *ret_refusal)
{
	if (ret_refusal)
		*ret_refusal = pool->trouble.refusal;
	return now;
}

void pool_refuse_hopeless(struct pool *pool, usec_t now)
{
	if (pool_fails_fast(pool, now) && !pool_n_alive(pool))
		pool_refuse(pool, now, hopeless_at);
}
