/* All pools of a worker: made on first use, reloaded, paused, retired. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"
#include "util/log.h"

struct pool_key {
	const char *name, *user;
};

static bool key_equal(const struct map_node *node, const void *key)
{
	const struct pool *pool = container_of(node, struct pool, node);
	const struct pool_key *k = key;

	return strcmp(pool->name, k->name) == 0 && strcmp(pool->user, k->user) == 0;
}

static uint64_t key_hash(const char *name, const char *user)
{
	return hash_bytes(user, strlen(user), hash_text(name));
}

static struct pool *find(struct pools *pools, const char *name, const char *user)
{
	struct pool_key key = {.name = name, .user = user};
	struct map_node *node = map_find(&pools->by_key, key_hash(name, user), key_equal, &key);

	return node ? container_of(node, struct pool, node) : NULL;
}

/* --- pausing: for the pools there are, and for those yet to be made --- */

static bool is_meant(const char *name, const char *database)
{
	return !database || strcmp(name, database) == 0;
}

static bool is_paused(const struct pools *pools, const char *name)
{
	const struct list *link;

	list_for_each (link, &pools->paused_names) {
		if (strcmp(container_of(link, const struct paused_name, link)->name, name) == 0)
			return true;
	}
	return pools->paused_all;
}

bool pools_is_paused(const struct pools *pools, const char *database)
{
	return database ? is_paused(pools, database) : pools->paused_all;
}

bool pools_any_paused(const struct pools *pools)
{
	return pools->paused_all || !list_empty(&pools->paused_names);
}

static void remember_paused(struct pools *pools, const char *database)
{
	if (!database) {
		pools->paused_all = true;
		return;
	}
	if (is_paused(pools, database))
		return;
	size_t size = strlen(database) + 1;
	struct paused_name *paused = malloc(sizeof(*paused) + size);
	if (!paused)
		return;
	memcpy(paused->name, database, size);
	list_append(&pools->paused_names, &paused->link);
}

static void forget_paused(struct pools *pools, const char *database)
{
	struct list *link, *next;

	if (!database)
		pools->paused_all = false;
	list_for_each_safe (link, next, &pools->paused_names) {
		struct paused_name *paused = list_entry(link, struct paused_name, link);
		if (!is_meant(paused->name, database))
			continue;
		list_remove(&paused->link);
		free(paused);
	}
}

/* --- all of them --- */

int pools_new(const struct pools_host *host, struct pools **ret_pools)
{
	struct pools *pools = calloc(1, sizeof(*pools));

	if (!pools)
		return -ENOMEM;
	pools->host = *host;
	/* Numbers of connections are unique over all shards. */
	pools->next_server_id = host->shard + 1;
	list_init(&pools->all);
	list_init(&pools->paused_names);
	pools->parked_last = &pools->parked;
	map_init(&pools->by_key);
	*ret_pools = pools;
	return 0;
}

static void pool_free(struct pool *pool)
{
	timer_clear(&pool->timer);
	deferred_cancel(&pool->tending);
	for (int state = 0; state < N_SERVER_STATES; state++) {
		struct server *server;
		while ((server = list_first(&pool->servers[state], struct server, link)))
			server_destroy(server);
	}
	pool->protocol->pool_free(pool->proto);
	if (pool->password)
		explicit_bzero(pool->password, strlen(pool->password));
	free(pool->password);
	free(pool->name);
	free(pool->user);
	free(pool->ledger.asks);
	free(pool->wishes);
	free(pool->censuses);
	free(pool);
}

void pools_stop(struct pools *pools)
{
	pools->stopped = true;
	shard_drop_parked(pools);
}

void pools_free(struct pools *pools)
{
	struct pool *pool;

	if (!pools)
		return;
	while ((pool = list_first(&pools->all, struct pool, link))) {
		list_remove(&pool->link);
		map_remove(&pools->by_key, &pool->node);
		pool_free(pool);
	}
	forget_paused(pools, NULL);
	map_clear(&pools->by_key);
	free(pools);
}

/* --- one pool --- */

static struct pool *pool_new(struct pools *pools, const struct config_database *database,
	const char *user, const char *password)
{
	const struct pools_host *host = &pools->host;
	const struct protocol *protocol = protocol_find(database->url.protocol);
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool || !protocol) {
		free(pool);
		return NULL;
	}
	pool->owner = pools;
	pool->database = database;
	pool->limits = database->pool;
	pool->protocol = protocol;
	pool->proto = protocol->pool_new(host->proto_worker(host->arg, protocol));
	pool->name = strdup(database->name);
	pool->user = strdup(user);
	pool->password = password ? strdup(password) : NULL;
	pool->ledger.asks = calloc(host->n_shards, sizeof(*pool->ledger.asks));
	pool->wishes = calloc(host->n_shards, sizeof(*pool->wishes));
	pool->board = boards_get(host->boards, database->name, user);
	pool->ask_around_at = USEC_NEVER;
	list_init(&pool->waiters);
	list_init(&pool->turned_away);
	list_init(&pool->link);
	for (int state = 0; state < N_SERVER_STATES; state++)
		list_init(&pool->servers[state]);
	timer_init(&pool->timer, host->loop, pool_timer_fired, pool);
	deferred_init(&pool->tending, pool_tend, pool);
	pool->paused = is_paused(pools, pool->name);
	if (!pool->proto || !pool->name || !pool->user || !pool->board || !pool->ledger.asks ||
		!pool->wishes) {
		pool_free(pool);
		return NULL;
	}
	pool->home = (unsigned)(key_hash(pool->name, pool->user) % host->n_shards);
	stats_init(&pool->stats, pool_now(pool));
	return pool;
}

struct pool *pools_get(struct pools *pools, const struct config_database *database,
	const char *user, const char *password)
{
	const char *as = database->url.user ? database->url.user : user;
	struct pool *pool = find(pools, database->name, as);

	if (pool)
		return pool;
	pool = pool_new(pools, database, as, database->url.user ? NULL : password);
	if (!pool)
		return NULL;
	if (map_insert(&pools->by_key, &pool->node, key_hash(pool->name, pool->user)) < 0) {
		pool_free(pool);
		return NULL;
	}
	list_append(&pools->all, &pool->link);
	timer_set(&pool->timer, pool_now(pool));
	return pool;
}

struct pool *pools_of(struct pools *pools, const char *name, const char *user)
{
	const struct config_database *database = config_database(pools->host.config, name);
	const struct config_user *account = config_user(pools->host.config, user);
	struct pool *pool = find(pools, name, user);

	if (pool || !database)
		return pool;
	return pools_get(pools, database, user, account ? account->password : NULL);
}

struct pool *pools_next(struct pools *pools, struct pool *after)
{
	struct list *next = after ? after->link.next : pools->all.next;

	return next == &pools->all ? NULL : list_entry(next, struct pool, link);
}

static void retire(void *arg, struct server *server)
{
	if (server->opened > server->pool->retired_before)
		return;
	server->retired = true;
	if (server->state == SERVER_IDLE)
		pool_close(server->pool, server, REASON_SERVER_RECONNECT);
}

void pool_retire(struct pool *pool, usec_t moment)
{
	pool->retired_before = moment;
	pool_each_server(pool, retire, NULL);
}

static void close_if_idle(void *arg, struct server *server)
{
	if (server->state == SERVER_IDLE)
		pool_close(server->pool, server, REASON_SERVER_RECONNECT);
}

static void reload_password(struct pool *pool, const struct config *config)
{
	const struct config_user *user = config_user(config, pool->user);

	if (pool->database->url.user || !user || !user->password)
		return;
	char *password = strdup(user->password);
	if (!password)
		return;
	if (pool->password)
		explicit_bzero(pool->password, strlen(pool->password));
	free(pool->password);
	pool->password = password;
}

static void reload(struct pool *pool, const struct config *config)
{
	const struct config_database *database = config_database(config, pool->name);

	/* Logging in as someone else is another pool's work, which has a budget of its own. */
	if (database && database->url.user && strcmp(database->url.user, pool->user) != 0)
		database = NULL;
	bool same = database && pool->database && url_equal(&database->url, &pool->database->url);

	pool->database = database;
	if (!same)
		pool_retire(pool, pool_now(pool));
	if (database) {
		enum fair_by before = pool->limits.fair_by;
		pool->limits = database->pool;
		if (before != pool->limits.fair_by)
			queue_sort_again(pool);
		reload_password(pool, config);
		/* What dials failed for may be mended now. */
		if (pool_is_home(pool))
			ledger_try_again(pool);
	}
	timer_set(&pool->timer, pool_now(pool));
}

void pools_reload(struct pools *pools, const struct config *config)
{
	struct pool *pool = NULL;

	pools->host.config = config;
	while ((pool = pools_next(pools, pool)))
		reload(pool, config);
	shard_deliver_parked(pools);
}

void pools_pause(struct pools *pools, const char *database)
{
	struct pool *pool = NULL;

	remember_paused(pools, database);
	while ((pool = pools_next(pools, pool))) {
		if (!is_meant(pool->name, database))
			continue;
		pool->paused = true;
		pool_each_server(pool, close_if_idle, NULL);
	}
}

void pools_resume(struct pools *pools, const char *database)
{
	struct pool *pool = NULL;

	forget_paused(pools, database);
	while ((pool = pools_next(pools, pool))) {
		if (!is_meant(pool->name, database))
			continue;
		/* What is paused with all others stays so when its own name is resumed. */
		pool->paused = is_paused(pools, pool->name);
		timer_set(&pool->timer, pool_now(pool));
	}
}

void pools_reconnect(struct pools *pools, const char *database)
{
	struct pool *pool = NULL;

	while ((pool = pools_next(pools, pool))) {
		if (is_meant(pool->name, database))
			pool_retire(pool, pool_now(pool));
	}
}

bool pools_paused_empty(const struct pools *pools, const char *database)
{
	const struct list *link;

	list_for_each (link, &pools->all) {
		const struct pool *pool = container_of(link, const struct pool, link);
		if (is_meant(pool->name, database) && pool->paused &&
			(pool_n_alive(pool) || pool->n_servers[SERVER_CLOSING] || pool->n_dialling))
			return false;
	}
	return true;
}
