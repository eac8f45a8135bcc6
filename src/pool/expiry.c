/*
 * What happens to a pool's shard by the clock: waiters that have waited too long, connections that
 * were unused for too long or are too old, tests, clean-ups and goodbyes that take too long. One
 * timer for all of it, armed for the earliest.
 */
#include <errno.h>
#include <sys/socket.h>

#include "pool/internal.h"
#include "util/log.h"

#define LOG_BURST 5

/* --- waiters --- */

/* Before its time is over the other shards are asked what it has waited for. */
static usec_t not_yet(struct pool *pool, const struct waiter *w, usec_t now)
{
	if (pool->owner->host.n_shards == 1)
		return w->deadline;
	if (w->deadline - now > CENSUS_LEAD)
		return w->deadline - CENSUS_LEAD;
	census_ask(pool, w->turn);
	return w->deadline;
}

static void say_why(
	struct pool *pool, const struct waiter *w, usec_t now, struct refusal *ret_refusal)
{
	char detail[EXPLANATION_SIZE] = "";

	if (!pool->database) {
		refusal_set(ret_refusal, REASON_DATABASE_REMOVED, NULL);
		return;
	}
	if (pool->trouble.any && pool->trouble.alone && !pool_n_alive(pool)) {
		*ret_refusal = pool->trouble.refusal;
		return;
	}
	if (w->explain)
		pool_explain(pool, w, now, detail, sizeof(detail));
	refusal_set(ret_refusal, REASON_POOL_TIMEOUT, detail);
}

static usec_t timed_out_at(
	struct pool *pool, const struct waiter *w, usec_t now, struct refusal *ret_refusal)
{
	if (pool->database && w->deadline > now)
		return not_yet(pool, w, now);
	if (ret_refusal)
		say_why(pool, w, now, ret_refusal);
	return now;
}

static void time_out_waiters(struct pool *pool, usec_t now)
{
	uint64_t n_before = pool->stats.total.n_refused;
	const struct waiter *oldest = queue_first(pool);
	char detail[EXPLANATION_SIZE], text[EXPLANATION_SIZE + 100];
	char left_out[LOG_LEFT_OUT_SIZE];
	unsigned n_dropped;

	if (!oldest)
		return;
	pool_refuse(pool, now, timed_out_at);
	if (pool->stats.total.n_refused == n_before ||
		!log_limit_allows(&pool->timeout_log, LOG_BURST, &n_dropped))
		return;
	pool_explain_to_log(pool, detail, sizeof(detail));
	log_warning("event=pool_timeout database=\"%s\" user=\"%s\" waiters=%llu detail=\"%s\"%s",
		pool->name, pool->user,
		(unsigned long long)(pool->stats.total.n_refused - n_before),
		log_escape(detail, text, sizeof(text)), log_left_out(n_dropped, left_out));
}

/* --- one too many --- */

static enum reason surplus_reason(enum surplus surplus)
{
	static const enum reason reasons[N_SURPLUSES] = {
		REASON_SERVER_RECONNECT, REASON_SERVER_OVERFLOW, REASON_SERVER_IDLE};

	return reasons[surplus];
}

static void close_surplus(struct pool *pool, struct server *server, enum surplus surplus)
{
	server->let_go = true;
	pool_close(pool, server, surplus_reason(surplus));
}

/* It may not be closed: it belongs to those that are kept. */
static void spare(struct pool *pool, struct server *server, enum surplus surplus, usec_t now)
{
	if (surplus == SURPLUS_OVERFLOW)
		server->overflow = false;
	else
		server->spared_until = clock_deadline(now, pool->limits.pool_idle_timeout);
	usec_t expiry = server_expiry(server);
	if (expiry != USEC_NEVER)
		pool_wake_at(pool, expiry);
}

static bool has_expired(const struct server *server, enum surplus surplus, usec_t now)
{
	return server->overflow == (surplus == SURPLUS_OVERFLOW) && server_expiry(server) <= now;
}

static void let_go_idle(struct pool *pool, enum surplus surplus, unsigned n, unsigned n_asked)
{
	usec_t now = pool_now(pool);
	struct list *link, *next;
	unsigned n_closed = 0;

	/* The least recently used one is last. */
	for (link = pool->servers[SERVER_IDLE].prev; link != &pool->servers[SERVER_IDLE];
		link = next) {
		struct server *server = list_entry(link, struct server, link);
		next = link->prev;
		if (!has_expired(server, surplus, now))
			continue;
		if (n_closed < n) {
			n_closed++;
			close_surplus(pool, server, surplus);
		} else if (n < n_asked) {
			spare(pool, server, surplus, now);
		}
	}
	if (n_closed < n)
		shard_keep(pool, n - n_closed);
	/* More may have expired before the answer came. */
	if (n == n_asked)
		pool_wake_at(pool, now);
}

static void let_go_any(struct pool *pool, unsigned n)
{
	struct server *server;

	while (n && (server = list_last(&pool->servers[SERVER_IDLE], struct server, link))) {
		n--;
		close_surplus(pool, server, SURPLUS_BUDGET);
	}
	/* The others when they are released. */
	unsigned n_alive = pool_n_alive(pool);
	if (pool->n_to_close + n > n_alive) {
		unsigned n_left = pool->n_to_close + n - n_alive;
		n -= n_left;
		shard_keep(pool, n_left);
	}
	pool->n_to_close += n;
}

void pool_let_go(struct pool *pool, enum surplus surplus, unsigned n, unsigned n_asked)
{
	pool->asked_surplus[surplus] = false;
	if (surplus != SURPLUS_BUDGET) {
		let_go_idle(pool, surplus, n, n_asked);
		return;
	}
	let_go_any(pool, n);
	if (n < n_asked)
		pool->shedding = false;
	else if (pool->shedding)
		pool_shed(pool);
}

void pool_shed(struct pool *pool)
{
	unsigned n = pool_n_alive(pool);

	pool->shedding = true;
	if (n <= pool->n_to_close || pool->asked_surplus[SURPLUS_BUDGET])
		return;
	pool->asked_surplus[SURPLUS_BUDGET] = true;
	shard_ask_surplus(pool, SURPLUS_BUDGET, n - pool->n_to_close);
}

/* Whether one may go depends on how many there are on all shards. */
static void expire_surplus(struct pool *pool, enum surplus surplus, usec_t now)
{
	struct list *link;
	unsigned n = 0;

	if (pool->asked_surplus[surplus])
		return;
	list_for_each (link, &pool->servers[SERVER_IDLE])
		n += has_expired(list_entry(link, struct server, link), surplus, now);
	if (!n)
		return;
	pool->asked_surplus[surplus] = true;
	shard_ask_surplus(pool, surplus, n);
}

static void expire_idle(struct pool *pool, usec_t now)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &pool->servers[SERVER_IDLE]) {
		struct server *server = list_entry(link, struct server, link);
		usec_t expiry = server_expiry(server);
		if (server_old_at(server) <= now)
			pool_close(pool, server, REASON_SERVER_OLD);
		else if (expiry > now && expiry != USEC_NEVER)
			pool_wake_at(pool, expiry);
	}
	expire_surplus(pool, SURPLUS_OVERFLOW, now);
	expire_surplus(pool, SURPLUS_IDLE, now);
}

/* --- what takes too long --- */

static enum reason late_reason(const struct server *server)
{
	if (server->state == SERVER_TESTING)
		return REASON_SERVER_DEAD;
	if (server->state == SERVER_HELD)
		return REASON_SERVER_STRAY;
	return server->back->at_rest ? REASON_SERVER_DIRTY : REASON_CANCEL_GRACE;
}

static void expire_deadlines(struct pool *pool, enum server_state state, usec_t now)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &pool->servers[state]) {
		struct server *server = list_entry(link, struct server, link);
		if (state == SERVER_CLEANING)
			server_insist(server, now);
		if (server->deadline > now)
			pool_wake_at(pool, server->deadline);
		else if (state == SERVER_CLOSING)
			server_hang_up(server);
		else
			pool_close(pool, server, late_reason(server));
	}
}

/* One has kept a waiter waiting for as long as a test may take: the others are tested together, not
 * one after the other at its expense. */
static void test_idle(struct pool *pool, usec_t now)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &pool->servers[SERVER_IDLE]) {
		struct server *server = list_entry(link, struct server, link);
		if (pool_needs_test(pool, server, now))
			server_test(server);
	}
}

static void expire_tests(struct pool *pool, usec_t now)
{
	unsigned n_before = pool->n_servers[SERVER_TESTING];

	expire_deadlines(pool, SERVER_TESTING, now);
	if (pool->n_servers[SERVER_TESTING] == n_before)
		return;
	test_idle(pool, now);
	shard_tell_suspicion(pool);
}

void pool_told_suspicion(struct pool *pool)
{
	usec_t now = pool_now(pool);

	pool->suspect_before = now;
	test_idle(pool, now);
}

/* Nobody but TCP tells that the peer of a running statement is gone. The session that has the
 * connection learns it as its end. What is to be cancelled there may have to be told once more. */
static void watch_lent(struct pool *pool, usec_t now)
{
	struct list *link;

	list_for_each (link, &pool->servers[SERVER_LENT]) {
		struct server *server = list_entry(link, struct server, link);
		int fd = server->stream.fd;
		server_insist(server, now);
		if (keepalive_look(&server->watch, fd, now) != KEEPALIVE_DEAD)
			continue;
		log_info("server=%llu event=vanished database=\"%s\" pid=%u",
			(unsigned long long)server->id, pool->name, server->back->process_id);
		server->stream.error = ETIMEDOUT;
		shutdown(fd, SHUT_RDWR);
	}
	if (pool->n_servers[SERVER_LENT])
		pool_wake_at(pool, now + KEEPALIVE_WATCH_EVERY);
}

void pool_timer_fired(void *arg)
{
	struct pool *pool = arg;
	usec_t now = pool_now(pool);

	usec_t stats_period = pool->owner->host.config->stats_period;

	stats_tick(&pool->stats, now, stats_period);
	expire_tests(pool, now);
	expire_deadlines(pool, SERVER_CLEANING, now);
	expire_deadlines(pool, SERVER_HELD, now);
	expire_deadlines(pool, SERVER_CLOSING, now);
	pool_review_demotion(pool, now);
	watch_lent(pool, now);
	expire_idle(pool, now);
	time_out_waiters(pool, now);
	crowd_tend(pool, now);
	pool_tend(pool);
	pool_wake_at(pool, stats_next_tick(now, stats_period));
}
