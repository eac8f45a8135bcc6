/* What the console and the sessions ask of a pool's shard. */
#include "pool/internal.h"

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

bool pool_is_in_trouble(const struct pool *pool)
{
	return pool_n_alive(pool) == 0;
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

const char *holder_use_name(enum holder_use use)
{
	static const char *const names[N_USES] = {
		[USE_ACTIVE] = "active",
		[USE_IN_TRANSACTION] = "idle in transaction",
		[USE_PINNED] = "pinned",
		[USE_SESSION] = "session mode",
		[USE_DELIVERING] = "delivering",
	};

	return names[use];
}

void pool_count(const struct pool *pool, struct pool_counts *ret_counts)
{
	usec_t now = pool_now(pool), oldest = now;
	const struct list *link;

	list_for_each (link, &pool->waiters) {
		const struct waiter *w = container_of(link, const struct waiter, link);
		if (w->since < oldest)
			oldest = w->since;
	}
	*ret_counts = (struct pool_counts){.n_clients = pool->n_clients,
		.n_waiting = pool->n_waiting,
		.n_idle = pool->n_servers[SERVER_IDLE],
		.n_testing = pool->n_servers[SERVER_TESTING],
		.n_lent = pool->n_servers[SERVER_LENT],
		.n_cleaning = pool->n_servers[SERVER_CLEANING],
		.n_held = pool->n_servers[SERVER_HELD],
		.n_closing = pool->n_servers[SERVER_CLOSING],
		.n_dialling = pool->n_dialling,
		.oldest_wait = now - oldest,
		.is_home = pool_is_home(pool)};
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
