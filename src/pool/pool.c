/*
 * One pool's shard: handing connections out and taking them back. Called by session/.
 * Never waits, and never calls a waiter back from pool_acquire().
 */
#include "pool/pool.h"

#include "pool/internal.h"

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

void pool_tend_soon(struct pool *pool)
{
	deferred_schedule(&pool->tending, pool->owner->host.loop);
}

/* --- handing out --- */

static void lend(struct pool *pool, struct server *server, void *holder, usec_t now)
{
	server_move_to(server, SERVER_LENT);
	server->holder = holder;
	server->n_lent++;
	server->lent_since = now;
	pool->stats.total.n_assignments++;
	pool_wake_at(pool, now + KEEPALIVE_WATCH_EVERY);
}

static void serve(struct pool *pool, struct waiter *w, struct server *server)
{
	usec_t now = pool_now(pool);

	queue_serve(w);
	pool->stats.total.wait_usec += (uint64_t)(now - w->since);
	lend(pool, server, NULL, now);
	w->done(w, server, NULL);
}

static void become_idle(struct pool *pool, struct server *server)
{
	server_move_to(server, SERVER_IDLE);
	usec_t expiry = server_expiry(server);
	if (expiry != USEC_NEVER)
		pool_wake_at(pool, expiry);
}

/* To the shard where someone waits. What cannot be moved is closed, so that it can open one; and
 * what would be of no use there, as that makes room for one that is. */
static void send_off(struct pool *pool, struct server *server, unsigned shard, bool fits)
{
	if (fits && shard_send_server(pool, server, shard))
		return;
	pool->wishes[shard] = false;
	pool_close(pool, server, fits ? REASON_SERVER_DIRTY : REASON_SERVER_FLAVOUR);
}

/* To someone elsewhere who comes before `ours`, if there is one. */
static bool give_away(struct pool *pool, struct server *server, const struct waiter *ours)
{
	bool fits;
	int shard = shard_next_turn(pool, ours, server->flavour, &fits);

	if (shard < 0)
		return false;
	send_off(pool, server, (unsigned)shard, fits);
	/* For our own, if they counted on this one. */
	if (pool->n_servers[SERVER_IDLE])
		pool_tend_soon(pool);
	else
		pool_ask(pool);
	return true;
}

void pool_give(struct pool *pool, struct server *server)
{
	struct waiter *w = queue_first(pool);
	bool others_wait = shard_others_wait(pool);

	if (others_wait && give_away(pool, server, w))
		return;
	if (w && w->flavour != server->flavour) {
		/* It cannot use this one: the place is for a connection that it can use, unless
		 * that is on its way. */
		if (!pool->n_dialling) {
			pool_close(pool, server, REASON_SERVER_FLAVOUR);
			return;
		}
		w = queue_first_of(pool, server->flavour);
		if (!w && others_wait && give_away(pool, server, NULL))
			return;
	}
	if (w)
		serve(pool, w, server);
	else
		become_idle(pool, server);
}

void pool_take_over(struct pool *pool, struct server *server)
{
	usec_t now = pool_now(pool);

	if (server->retired || pool->paused || pool->n_to_close)
		pool_close(pool, server, REASON_SERVER_RECONNECT);
	else if (server_old_at(server) <= now)
		pool_close(pool, server, REASON_SERVER_OLD);
	else if (pool->n_waiting && pool_needs_test(pool, server, now))
		server_test(server);
	else
		pool_give(pool, server);
}

bool pool_needs_test(const struct pool *pool, const struct server *server, usec_t now)
{
	if (!pool->limits.pool_pre_ping)
		return false;
	return now - server->idle_since >= pool->limits.pre_ping_after ||
	       server->idle_since <= pool->suspect_before;
}

/* The idle connection of that flavour whose turn it is, or NULL. */
static struct server *next_idle(const struct pool *pool, unsigned flavour)
{
	const struct list *idle = &pool->servers[SERVER_IDLE];
	bool lifo = pool->limits.pool_use_lifo;

	for (struct list *link = lifo ? idle->next : idle->prev; link != idle;
		link = lifo ? link->next : link->prev) {
		struct server *server = list_entry(link, struct server, link);
		if (server->flavour == flavour)
			return server;
	}
	return NULL;
}

/* An idle connection that may be used as it is, or NULL: then one is being tested, or there is none
 * left. */
static struct server *pick(struct pool *pool, unsigned flavour, usec_t now)
{
	struct server *server;

	while ((server = next_idle(pool, flavour))) {
		if (server_old_at(server) <= now) {
			pool_close(pool, server, REASON_SERVER_OLD);
			continue;
		}
		if (!pool_needs_test(pool, server, now))
			return server;
		server_test(server);
		if (server->state == SERVER_TESTING)
			return NULL;
	}
	return NULL;
}

/* True if someone waits for whom no connection is being tested. */
static bool lacks_server(const struct pool *pool)
{
	return !pool->paused && pool->n_waiting > pool->n_servers[SERVER_TESTING];
}

/* An idle connection that is wanted elsewhere and not here, or NULL. */
static struct server *wanted_elsewhere(struct pool *pool, int *ret_shard, bool *ret_fits)
{
	bool lacks = lacks_server(pool);
	struct list *link;

	list_for_each (link, &pool->servers[SERVER_IDLE]) {
		struct server *server = list_entry(link, struct server, link);
		if (lacks && pool->n_waiting_of[server->flavour])
			continue;
		*ret_fits = true;
		*ret_shard = shard_next_turn(pool, NULL, server->flavour, NULL);
		/* To make room for others is for those who have no use for room. */
		if (*ret_shard < 0 && !lacks)
			*ret_shard = shard_next_turn(pool, NULL, server->flavour, ret_fits);
		if (*ret_shard >= 0)
			return server;
	}
	return NULL;
}

void pool_serve_wishes(struct pool *pool)
{
	struct server *server;
	int shard;
	bool fits;

	while (!pool->paused && shard_others_wait(pool) &&
		(server = wanted_elsewhere(pool, &shard, &fits)))
		send_off(pool, server, (unsigned)shard, fits);
}

void pool_ask(struct pool *pool)
{
	unsigned on_the_way = pool->n_servers[SERVER_TESTING] + pool->n_dialling + pool->n_asked;

	/* The ledger has no more to give at once, so there is no use in asking for more. */
	if (pool->paused || !pool->database || pool->n_waiting <= on_the_way ||
		pool->n_asked >= DIALS_MAX)
		return;
	unsigned n = pool->n_waiting - on_the_way;
	if (n > DIALS_MAX - pool->n_asked)
		n = DIALS_MAX - pool->n_asked;
	pool->n_asked += n;
	shard_ask(pool, n);
}

int pool_acquire(struct pool *pool, struct waiter *w, void *holder, usec_t pool_timeout,
	struct server **ret_server)
{
	usec_t now = pool_now(pool);

	CHECK(!w->pool);
	CHECK(w->flavour < FLAVOURS_MAX && list_empty(&w->link));
	pool->last_flavour = w->flavour;
	/* Those that wait already have a connection on the way to them, or cannot use what is idle:
	 * no need to queue behind. */
	if (!pool->paused && (pool->n_waiting <= pool->n_servers[SERVER_TESTING] ||
				     !pool->n_waiting_of[w->flavour])) {
		struct server *server = pick(pool, w->flavour, now);
		if (server) {
			lend(pool, server, holder, now);
			*ret_server = server;
			return 0;
		}
	}
	w->since = now;
	w->deadline = clock_deadline(now, pool_timeout);
	if (!queue_enter(pool, w, holder)) {
		queue_turn_away(pool, w);
		return POOL_QUEUED;
	}
	pool_wake_at(pool, w->deadline - (pool->owner->host.n_shards > 1 ? CENSUS_LEAD : 0));
	if (!pool->database || pool_fails_fast(pool, now)) {
		pool_tend_soon(pool);
		pool_wake_at(pool, now);
		return POOL_QUEUED;
	}
	pool_ask(pool);
	return POOL_QUEUED;
}

/* --- taking back --- */

void pool_release(struct pool *pool, struct server *server)
{
	const struct back *back = server->back;

	CHECK(back->at_rest && !back->in_transaction);
	server->idle_since = pool_now(pool);
	if (server->abandoned)
		pool->stats.total.n_reconnects_avoided++;
	server->abandoned = false;
	if (server->state == SERVER_LENT)
		server_take_back(server);
	if (server->stray)
		pool_close(pool, server, REASON_SERVER_STRAY);
	else if (server->retired || pool->paused || pool->n_to_close)
		pool_close(pool, server, REASON_SERVER_RECONNECT);
	else if (server_old_at(server) <= server->idle_since)
		pool_close(pool, server, REASON_SERVER_OLD);
	else if (server->n_cancels)
		server_hold(server);
	else
		pool_give(pool, server);
}

/* --- what is tended to --- */

/* The first waiter that an idle connection can be had for. NULL: none, or one is being tested. */
static struct waiter *next_servable(struct pool *pool, usec_t now, struct server **ret_server)
{
	unsigned tried = 0;
	struct list *link;

	list_for_each (link, &pool->waiters) {
		struct waiter *w = list_entry(link, struct waiter, link);
		if (tried & 1u << w->flavour)
			continue;
		tried |= 1u << w->flavour;
		*ret_server = pick(pool, w->flavour, now);
		if (*ret_server)
			return w;
	}
	return NULL;
}

void pool_told_full(struct pool *pool)
{
	struct server *unused = list_last(&pool->servers[SERVER_IDLE], struct server, link);

	/* What is idle although someone waits is of a flavour that nobody who waits can use. One at
	 * a time makes room. */
	if (unused && lacks_server(pool) && !pool->n_servers[SERVER_CLOSING] &&
		!queue_first_of(pool, unused->flavour))
		pool_close(pool, unused, REASON_SERVER_FLAVOUR);
}

/* What was asked for does not come, and what is idle is of no use to who waits: the ledger knows
 * whether it is in the way. */
static void ask_for_room(struct pool *pool)
{
	if (pool->n_waiting && pool->n_asked && lacks_server(pool) &&
		!list_empty(&pool->servers[SERVER_IDLE]))
		shard_ask(pool, 0);
}

void pool_tend(void *arg)
{
	struct pool *pool = arg;
	struct waiter *w;
	struct server *server;
	unsigned n_tested;
	usec_t now = pool_now(pool);

	do {
		n_tested = pool->n_servers[SERVER_TESTING];
		while (lacks_server(pool) && (w = next_servable(pool, now, &server)))
			serve(pool, w, server);
	} while (n_tested < pool->n_servers[SERVER_TESTING]);
	queue_tell_turned_away(pool);
	ask_for_room(pool);
	pool_ask_around(pool, now);
	pool_serve_wishes(pool);
	pool_refuse_hopeless(pool, now);
	if (pool_is_home(pool))
		ledger_serve(pool);
	pool_ask(pool);
}
