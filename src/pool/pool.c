/*
 * One pool's shard: the queue, handing connections out and taking them back. Called by session/.
 * Never waits, and never calls a waiter back from pool_acquire().
 */
#include "pool/pool.h"

#include "pool/internal.h"

/* Waiters that give up within this time of each other do so together. */
#define REFUSAL_GRAIN (10 * USEC_PER_MSEC)

/* Flavours are few: bits of a protocol's. */
#define FLAVOURS_MAX 32

void waiter_init(
	struct waiter *w, void (*done)(struct waiter *, struct server *, const struct refusal *))
{
	list_init(&w->link);
	w->pool = NULL;
	w->explain = false;
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

static void leave_queue(struct waiter *w)
{
	struct pool *pool = w->pool;

	list_remove(&w->link);
	w->pool = NULL;
	pool->n_waiting--;
	if (!pool->n_waiting)
		crowd_ends(pool);
	if (!pool->n_waiting && (pool->wishing || pool->n_asked))
		shard_withdraw(pool);
}

static void serve(struct pool *pool, struct waiter *w, struct server *server)
{
	usec_t now = clock_usec();

	leave_queue(w);
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

static struct waiter *oldest_of(const struct pool *pool, unsigned flavour)
{
	struct list *link;

	list_for_each (link, &pool->waiters) {
		struct waiter *w = list_entry(link, struct waiter, link);
		if (w->flavour == flavour)
			return w;
	}
	return NULL;
}

/* To another shard, where someone waits. What cannot be moved is closed, so that it can open one.
 */
static void send_off(struct pool *pool, struct server *server, unsigned shard)
{
	if (shard_send_server(pool, server, shard))
		return;
	pool->wishes[shard].open = false;
	pool_close(pool, server, REASON_SERVER_DIRTY);
}

void pool_give(struct pool *pool, struct server *server)
{
	struct waiter *w = list_first(&pool->waiters, struct waiter, link);
	int shard = shard_oldest_wish(pool, w ? w->since : USEC_NEVER);

	if (shard >= 0) {
		send_off(pool, server, (unsigned)shard);
		return;
	}
	if (w && w->flavour != server->flavour) {
		/* It cannot use this one: the place is for a connection that it can use, unless
		 * that is on its way. */
		if (!pool->n_dialling) {
			pool_close(pool, server, REASON_SERVER_FLAVOUR);
			return;
		}
		w = oldest_of(pool, server->flavour);
	}
	if (w)
		serve(pool, w, server);
	else
		become_idle(pool, server);
}

void pool_take_over(struct pool *pool, struct server *server)
{
	usec_t now = clock_usec();

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

void pool_serve_wishes(struct pool *pool)
{
	struct server *server;
	int shard;

	while (!pool->paused && !lacks_server(pool) &&
		(server = list_first(&pool->servers[SERVER_IDLE], struct server, link)) &&
		(shard = shard_oldest_wish(pool, USEC_NEVER)) >= 0)
		send_off(pool, server, (unsigned)shard);
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
	const struct waiter *oldest = list_first(&pool->waiters, struct waiter, link);
	CHECK(oldest);
	pool->n_asked += n;
	shard_ask(pool, n, oldest->since);
}

int pool_acquire(struct pool *pool, struct waiter *w, void *holder, usec_t pool_timeout,
	struct server **ret_server)
{
	usec_t now = clock_usec();

	CHECK(!w->pool);
	CHECK(w->flavour < FLAVOURS_MAX);
	pool->last_flavour = w->flavour;
	/* Those that wait already have a connection on the way to them: no need to queue behind. */
	if (!pool->paused && pool->n_waiting <= pool->n_servers[SERVER_TESTING]) {
		struct server *server = pick(pool, w->flavour, now);
		if (server) {
			lend(pool, server, holder, now);
			*ret_server = server;
			return 0;
		}
	}
	w->pool = pool;
	w->since = now;
	w->deadline = clock_deadline(now, pool_timeout);
	list_append(&pool->waiters, &w->link);
	if (pool->n_waiting++ == 0)
		crowd_begins(pool, now);
	pool_wake_at(pool, w->deadline - (pool->owner->host.n_shards > 1 ? CENSUS_LEAD : 0));
	if (!pool->database || pool_fails_fast(pool, now)) {
		pool_tend_soon(pool);
		pool_wake_at(pool, now);
		return POOL_QUEUED;
	}
	pool_ask(pool);
	return POOL_QUEUED;
}

void pool_forget(struct waiter *w)
{
	if (w->pool)
		leave_queue(w);
	else
		list_remove(&w->link); /* among those about to be told */
}

/* --- taking back --- */

void pool_release(struct pool *pool, struct server *server)
{
	const struct back *back = server->back;

	CHECK(back->at_rest && !back->in_transaction);
	server->idle_since = clock_usec();
	if (server->abandoned)
		pool->stats.total.n_reconnects_avoided++;
	server->abandoned = false;
	if (server->state == SERVER_LENT)
		server_take_back(server);
	if (server->retired || pool->paused || pool->n_to_close)
		pool_close(pool, server, REASON_SERVER_RECONNECT);
	else if (server_old_at(server) <= server->idle_since)
		pool_close(pool, server, REASON_SERVER_OLD);
	else if (server->n_cancels)
		server_hold(server);
	else
		pool_give(pool, server);
}

/* --- what is tended to --- */

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
			leave_queue(w);
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

/* The oldest waiter that an idle connection can be had for. NULL: none, or one is being tested. */
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
		!oldest_of(pool, unused->flavour))
		pool_close(pool, unused, REASON_SERVER_FLAVOUR);
}

/* What was asked for does not come, and what is idle is of no use to who waits: the ledger knows
 * whether it is in the way. */
static void ask_for_room(struct pool *pool)
{
	const struct waiter *oldest = list_first(&pool->waiters, struct waiter, link);

	if (oldest && pool->n_asked && lacks_server(pool) &&
		!list_empty(&pool->servers[SERVER_IDLE]))
		shard_ask(pool, 0, oldest->since);
}

void pool_tend(void *arg)
{
	struct pool *pool = arg;
	struct waiter *w;
	struct server *server;
	unsigned n_tested;
	usec_t now = clock_usec();

	do {
		n_tested = pool->n_servers[SERVER_TESTING];
		while (lacks_server(pool) && (w = next_servable(pool, now, &server)))
			serve(pool, w, server);
	} while (n_tested < pool->n_servers[SERVER_TESTING]);
	ask_for_room(pool);
	pool_serve_wishes(pool);
	pool_refuse_hopeless(pool, now);
	if (pool_is_home(pool))
		ledger_serve(pool);
	pool_ask(pool);
}
