/* One pool's shard: the queue, handing connections out and taking them back, dialling. */
#include "pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"
#include "util/log.h"

#define LOG_BURST 5

void waiter_init(
	struct waiter *w, void (*done)(struct waiter *, struct server *, const struct refusal *))
{
	list_init(&w->link);
	w->pool = NULL;
	w->done = done;
}

unsigned pool_n_alive(const struct pool *pool)
{
	return pool->n_servers[SERVER_IDLE] + pool->n_servers[SERVER_TESTING] +
	       pool->n_servers[SERVER_LENT] + pool->n_servers[SERVER_CLEANING] +
	       pool->n_servers[SERVER_HELD];
}

void pool_wake_at(struct pool *pool, usec_t moment)
{
	if (moment < pool->timer.due)
		timer_set(&pool->timer, moment);
}

/* --- handing out --- */

static void lend(struct pool *pool, struct server *server, void *holder)
{
	server_move_to(server, SERVER_LENT);
	server->holder = holder;
	server->n_lent++;
	server->lent_since = clock_usec();
	pool->stats.total.n_assignments++;
}

static void leave_queue(struct waiter *w)
{
	struct pool *pool = w->pool;

	list_remove(&w->link);
	w->pool = NULL;
	pool->n_waiting--;
	if (!pool->n_waiting && (pool->wishing || pool->n_asked))
		shard_withdraw(pool);
}

static void serve(struct pool *pool, struct waiter *w, struct server *server)
{
	leave_queue(w);
	pool->stats.total.wait_usec += (uint64_t)(clock_usec() - w->since);
	lend(pool, server, NULL);
	w->done(w, server, NULL);
}

static void refuse(struct pool *pool, struct waiter *w, const struct refusal *refusal)
{
	leave_queue(w);
	pool->stats.total.n_refused++;
	w->done(w, NULL, refusal);
}

static void become_idle(struct pool *pool, struct server *server)
{
	server_move_to(server, SERVER_IDLE);
	usec_t expiry = server_expiry(server);
	if (expiry != USEC_NEVER)
		pool_wake_at(pool, expiry);
}

void pool_give(struct pool *pool, struct server *server)
{
	struct waiter *w = list_first(&pool->waiters, struct waiter, link);
	int shard = shard_oldest_wish(pool, w ? w->since : USEC_NEVER);

	if (shard >= 0 && !pool->paused && !server->n_cancels) {
		pool->wishes[shard].open = false;
		if (shard_send_server(pool, server, (unsigned)shard))
			return;
	}
	if (w && !pool->paused)
		serve(pool, w, server);
	else
		become_idle(pool, server);
}

static bool needs_test(const struct pool *pool, const struct server *server, usec_t now)
{
	if (!pool->limits.pool_pre_ping)
		return false;
	return now - server->idle_since >= pool->limits.pre_ping_after ||
	       server->idle_since < pool->suspect_before;
}

/* An idle connection that may be used as it is, or NULL; those that have to be tested first are
 * being tested then. */
static struct server *pick(struct pool *pool)
{
	usec_t now = clock_usec();
	struct list *idle = &pool->servers[SERVER_IDLE];

	while (!list_empty(idle)) {
		struct server *server = pool->limits.pool_use_lifo
						? list_first(idle, struct server, link)
						: list_last(idle, struct server, link);
		if (server_too_old(server, now)) {
			pool_close(pool, server, REASON_SERVER_OLD);
			continue;
		}
		if (!needs_test(pool, server, now))
			return server;
		server_test(server);
		if (server->state == SERVER_TESTING)
			return NULL;
	}
	return NULL;
}

void pool_want(struct pool *pool)
{
	unsigned on_the_way = pool->n_servers[SERVER_TESTING] + pool->n_dialling + pool->n_asked;

	if (pool->paused || pool->n_waiting <= on_the_way)
		return;
	unsigned n = pool->n_waiting - on_the_way;
	const struct waiter *oldest = list_first(&pool->waiters, struct waiter, link);
	CHECK(oldest);
	pool->n_asked += n;
	shard_ask(pool, n, oldest->since);
}

int pool_acquire(struct pool *pool, struct waiter *w, void *holder, usec_t pool_timeout,
	struct server **ret_server)
{
	CHECK(!w->pool);
	if (!pool->n_waiting && !pool->paused) {
		struct server *server = pick(pool);
		if (server) {
			lend(pool, server, holder);
			*ret_server = server;
			return 0;
		}
	}
	w->pool = pool;
	w->since = clock_usec();
	w->deadline = clock_deadline(w->since, pool_timeout);
	list_append(&pool->waiters, &w->link);
	pool->n_waiting++;
	pool_wake_at(pool, w->deadline);
	if (pool->failing)
		pool_wake_at(pool,
			pool->failing_finally ? w->since : w->since + pool->limits.connect_timeout);
	pool_want(pool);
	return POOL_QUEUED;
}

void pool_forget(struct waiter *w)
{
	if (w->pool)
		leave_queue(w);
}

/* --- dialling --- */

static void open_dialled(struct pool *pool, struct dial_result *result, bool overflow)
{
	struct server *server;

	pool->failing = pool->failing_finally = false;
	if (server_take_dialled(pool, &result->dialled, overflow, clock_usec(), clock_wall_usec(),
		    &server) < 0) {
		shard_return_unused(pool, overflow);
		return;
	}
	pool->stats.total.n_dials++;
	log_info("server=%llu event=opened database=\"%s\" user=\"%s\" pid=%u overflow=%d",
		(unsigned long long)server->id, pool->name, pool->user, server->back->process_id,
		overflow);
	shard_dialled(pool);
	pool_release(pool, server);
}

static void dial_ended(struct pool *pool, struct dial_result *result, bool overflow)
{
	pool->n_dialling--;
	if (result->error == 0) {
		open_dialled(pool, result, overflow);
	} else if (result->error > 0) {
		unsigned dropped;
		if (log_limit_allows(&pool->log_limit, LOG_BURST, &dropped))
			log_warning("event=dial_failed database=\"%s\" user=\"%s\" "
				    "lines_left_out=%u detail=\"%.300s\"",
				pool->name, pool->user, dropped, result->refusal.text);
		pool_failed(pool, &result->refusal, result->final);
		shard_dial_failed(pool, overflow, &result->refusal, result->final);
		pool_want(pool);
	} else {
		shard_return_unused(pool, overflow);
	}
	dial_result_free(result);
}

static void kept_dial_ended(struct message *message, void *arg)
{
	struct dial_result *result = container_of(message, struct dial_result, message);

	dial_ended(result->arg, result, false);
}

static void overflow_dial_ended(struct message *message, void *arg)
{
	struct dial_result *result = container_of(message, struct dial_result, message);

	dial_ended(result->arg, result, true);
}

void pool_granted(struct pool *pool, bool overflow)
{
	const struct pools_host *host = &pool->owner->host;

	/* Withdrawn meanwhile, or served by a connection that became free; but one more within
	 * min_size is welcome. */
	if (pool->n_asked)
		pool->n_asked--;
	bool wanted = pool->n_waiting > pool->n_servers[SERVER_TESTING] + pool->n_dialling ||
		      pool_n_alive(pool) + pool->n_dialling < (unsigned)pool->limits.min_size;
	if (!wanted || pool->paused || !pool->database) {
		shard_return_unused(pool, overflow);
		return;
	}
	struct dial_target target = {.url = &pool->database->url,
		.user = pool->user,
		.password = pool->password,
		.connect_timeout = pool->limits.connect_timeout};
	pool->n_dialling++;
	if (dialler_dial(host->dialler, pool->protocol, &target, host->mailbox,
		    overflow ? overflow_dial_ended : kept_dial_ended, pool) < 0) {
		pool->n_dialling--;
		shard_return_unused(pool, overflow);
	}
}

void pool_refuse_hopeless(struct pool *pool, usec_t now)
{
	struct list *link, *next;

	if (!pool->failing || pool_n_alive(pool))
		return;
	list_for_each_safe (link, next, &pool->waiters) {
		struct waiter *w = list_entry(link, struct waiter, link);
		usec_t patience = pool->failing_finally ? 0 : pool->limits.connect_timeout;
		if (w->since + patience <= now)
			refuse(pool, w, &pool->failure);
		else
			pool_wake_at(pool, w->since + patience);
	}
}

void pool_failed(struct pool *pool, const struct refusal *refusal, bool final)
{
	pool->failing = true;
	pool->failing_finally = final;
	pool->failed_at = clock_usec();
	pool->failure = *refusal;
	pool_refuse_hopeless(pool, pool->failed_at);
}

/* --- the clock --- */

/* Who holds the pool: what the client reads, that waited for nothing. */
static void explain(const struct pool *pool, usec_t waited, char *ret_text, size_t size)
{
	unsigned n_idle_in_transaction = 0, n_running = 0, n_pinned = 0;
	struct list *link;

	list_for_each (link, &pool->servers[SERVER_LENT]) {
		const struct back *back = list_entry(link, struct server, link)->back;
		if (!back->at_rest)
			n_running++;
		else if (back->in_transaction)
			n_idle_in_transaction++;
		else
			n_pinned++;
	}
	snprintf(ret_text, size,
		"pool %s/%s full (%u of %d) for %.1f s: %u running, %u idle in transaction, %u "
		"pinned; %u wait",
		pool->name, pool->user, pool_n_alive(pool),
		pool->limits.pool_size +
			(pool->limits.max_overflow > 0 ? pool->limits.max_overflow : 0),
		(double)waited / 1e6, n_running, n_idle_in_transaction, n_pinned, pool->n_waiting);
}

static void time_out_waiters(struct pool *pool, usec_t now)
{
	struct list *link, *next;
	struct refusal refusal;
	char detail[300];

	list_for_each_safe (link, next, &pool->waiters) {
		struct waiter *w = list_entry(link, struct waiter, link);
		if (w->deadline > now) {
			pool_wake_at(pool, w->deadline);
			continue;
		}
		explain(pool, now - w->since, detail, sizeof(detail));
		if (pool->failing)
			refusal = pool->failure;
		else
			refusal_set(&refusal, REASON_POOL_TIMEOUT,
				pool->limits.explain_errors ? detail : NULL);
		unsigned dropped;
		if (log_limit_allows(&pool->log_limit, LOG_BURST, &dropped))
			log_warning("event=pool_timeout lines_left_out=%u detail=\"%s\"", dropped,
				detail);
		refuse(pool, w, &refusal);
	}
}

static bool may_expire(const struct pool *pool, const struct server *server)
{
	return server->overflow || pool_n_alive(pool) > (unsigned)pool->limits.min_size ||
	       server_too_old(server, clock_usec());
}

static void expire_idle(struct pool *pool, usec_t now)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &pool->servers[SERVER_IDLE]) {
		struct server *server = list_entry(link, struct server, link);
		usec_t expiry = server_expiry(server);
		bool old = server_too_old(server, now);
		if (!old && expiry > now) {
			if (expiry != USEC_NEVER)
				pool_wake_at(pool, expiry);
		} else if (may_expire(pool, server)) {
			pool_close(pool, server,
				old                ? REASON_SERVER_OLD
				: server->overflow ? REASON_SERVER_OVERFLOW
						   : REASON_SERVER_IDLE);
		}
	}
}

/* Tests, clean-ups and goodbyes that take too long. */
static void expire_deadlines(struct pool *pool, enum server_state state, usec_t now)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &pool->servers[state]) {
		struct server *server = list_entry(link, struct server, link);
		if (server->deadline > now) {
			pool_wake_at(pool, server->deadline);
		} else if (state == SERVER_CLOSING) {
			stream_close(&server->stream);
			server_move_to(server, SERVER_CLOSED);
			deferred_schedule(&server->freeing, pool->owner->host.loop);
		} else {
			pool->suspect_before = state == SERVER_TESTING ? now : pool->suspect_before;
			pool_close(pool, server,
				state == SERVER_TESTING ? REASON_SERVER_DEAD : REASON_SERVER_DIRTY);
		}
	}
}

static void keep_min_size(struct pool *pool)
{
	bool at_home = pool->home == pool->owner->host.shard;
	unsigned min = (unsigned)pool->limits.min_size;
	unsigned n = pool_n_alive(pool) + pool->n_dialling + pool->n_asked;

	if (!at_home || pool->paused || !pool->database || n >= min)
		return;
	pool->n_asked += min - n;
	shard_ask(pool, min - n, clock_usec());
}

void pool_timer_fired(void *arg)
{
	struct pool *pool = arg;
	usec_t now = clock_usec();

	stats_tick(&pool->stats, now);
	expire_deadlines(pool, SERVER_TESTING, now);
	expire_deadlines(pool, SERVER_CLEANING, now);
	expire_deadlines(pool, SERVER_CLOSING, now);
	expire_idle(pool, now);
	pool_refuse_hopeless(pool, now);
	time_out_waiters(pool, now);
	if (pool->home == pool->owner->host.shard)
		ledger_serve(pool);
	keep_min_size(pool);
	pool_want(pool);
	pool_wake_at(pool, now + STATS_PERIOD);
}

/* --- for the console and the session --- */

const char *pool_database_name(const struct pool *pool)
{
	return pool->name;
}

const char *pool_user_name(const struct pool *pool)
{
	return pool->user;
}

const struct config_database *pool_database(const struct pool *pool)
{
	return pool->database;
}

const struct protocol *pool_protocol(const struct pool *pool)
{
	return pool->protocol;
}

struct proto_pool *pool_proto(const struct pool *pool)
{
	return pool->proto;
}

struct pool_stats *pool_stats(struct pool *pool)
{
	return &pool->stats;
}

bool pool_is_paused(const struct pool *pool)
{
	return pool->paused;
}

void pool_client_added(struct pool *pool)
{
	pool->n_clients++;
}

void pool_client_removed(struct pool *pool)
{
	CHECK(pool->n_clients > 0);
	pool->n_clients--;
}

void pool_count(const struct pool *pool, struct pool_counts *ret_counts)
{
	const struct waiter *w = list_first(&pool->waiters, struct waiter, link);

	*ret_counts = (struct pool_counts){.n_clients = pool->n_clients,
		.n_waiting = pool->n_waiting,
		.n_idle = pool->n_servers[SERVER_IDLE],
		.n_testing = pool->n_servers[SERVER_TESTING],
		.n_lent = pool->n_servers[SERVER_LENT],
		.n_cleaning = pool->n_servers[SERVER_CLEANING],
		.n_held = pool->n_servers[SERVER_HELD],
		.n_closing = pool->n_servers[SERVER_CLOSING],
		.n_dialling = pool->n_dialling,
		.oldest_wait = w ? clock_usec() - w->since : 0};
}

void pool_each_server(struct pool *pool, pool_server_fn fn, void *arg)
{
	for (int state = 0; state < SERVER_CLOSED; state++) {
		struct list *link, *next;
		list_for_each_safe (link, next, &pool->servers[state]) {
			fn(arg, list_entry(link, struct server, link));
		}
	}
}
