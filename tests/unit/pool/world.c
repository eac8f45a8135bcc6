/* A world of shards that share a pool, from begin to end, and its clients. */
#include "world.h"

#define TURNS_MAX 10000

/* --- several things --- */

void world_turn(void)
{
	bool again = true;

	for (unsigned n = 0; again; n++) {
		/* It comes to an end. */
		assert_true(n < TURNS_MAX);
		again = false;
		for (unsigned i = 0; i < world.n_shards; i++) {
			again |= world_deliver(i);
			again |= world_run_deferred(i);
			again |= world_fire(i);
		}
	}
}

static bool peers_go_on(void)
{
	bool any = false;

	for (unsigned i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &world.peers[i];
		if (!peer->open)
			continue;
		if (!peer->is_lent)
			any |= world_answer(peer);
		any |= world_read(peer);
		if (peer->open && peer->told_end && !peer->gone && !peer->owed[0]) {
			world_hang_up(peer);
			any = true;
		}
	}
	return any;
}

void world_settle(void)
{
	bool again = true;

	for (unsigned n = 0; again; n++) {
		assert_true(n < TURNS_MAX);
		world_turn();
		again = world.n_dials || world.n_cancels;
		if (world.n_dials)
			world_dial_ok(0);
		if (world.n_cancels)
			world_cancel_over(0);
		again |= peers_go_on();
	}
}

void world_pass(usec_t duration)
{
	usec_t end = world.now + duration;

	world_turn();
	for (;;) {
		usec_t next = world_next_timer();
		if (next >= end)
			break;
		if (next > world.now)
			world.now = next;
		world_turn();
	}
	world.now = end;
	world_turn();
}

/* --- making and ending --- */

struct config_pool world_limits(int pool_size, int max_overflow)
{
	return (struct config_pool){.pool_size = pool_size,
		.max_overflow = max_overflow,
		.overflow_linger = 5 * USEC_PER_SEC,
		.pool_timeout = 30 * USEC_PER_SEC,
		.pool_use_lifo = true,
		.pool_reset_on_return = true,
		.explain_errors = true,
		.connect_timeout = 5 * USEC_PER_SEC,
		.cancel_grace = 2 * USEC_PER_SEC};
}

struct config *world_config(const struct config_pool *limits, const char *host)
{
	struct config *config = calloc(1, sizeof(*config));
	struct config_database *database = calloc(1, sizeof(*database));
	struct url_host *url_host = calloc(1, sizeof(*url_host));

	assert_true(config && database && url_host);
	assert_true(world.n_configs < ARRAY_LEN(world.configs));
	url_host->name = strdup(host);
	*database = (struct config_database){.name = strdup("shop"),
		.url = {.protocol = "letters",
			.user = strdup("app"),
			.hosts = url_host,
			.n_hosts = 1},
		.pool = *limits};
	config->stats_period = 60 * USEC_PER_SEC;
	config->databases = database;
	config->n_databases = 1;
	world.configs[world.n_configs++] = config;
	return config;
}

static void config_end(struct config *config)
{
	free(config->databases[0].name);
	free(config->databases[0].url.user);
	free(config->databases[0].url.hosts[0].name);
	free(config->databases[0].url.hosts);
	free(config->databases);
	free(config);
}

static struct proto_worker *no_proto_worker(void *arg, const struct protocol *protocol)
{
	return NULL;
}

static void describe_holder(const void *holder, struct holder *ret_holder)
{
	const struct client *c = holder;
	const struct back *back = c->server->back;
	static char names[SHARDS_MAX][2];
	char *name = names[c->pool->owner->host.shard];

	name[0] = c->name;
	*ret_holder = (struct holder){.user = name,
		.application = "test",
		.address = "unix",
		.use = !back->at_rest         ? USE_ACTIVE
		       : back->in_transaction ? USE_IN_TRANSACTION
		       : back->pin            ? USE_PINNED
					      : USE_DELIVERING,
		.use_since = c->server->lent_since,
		.statement = {.text = "select 1", .len = 8}};
}

static uint64_t flow_of(const void *holder, enum fair_by by)
{
	return ((const struct client *)holder)->user;
}

static struct pools_peer shard_peers[SHARDS_MAX];
static struct workspace *spaces[SHARDS_MAX];

static void shard_begin(unsigned i, const struct config *config)
{
	spaces[i] = calloc(1, sizeof(*spaces[i]));
	assert_non_null(spaces[i]);
	output_init(&spaces[i]->to_client);
	output_init(&spaces[i]->to_server);
	assert_int_equal(loop_new(&world.loops[i]), 0);
	assert_int_equal(mailbox_new(world.loops[i], NULL, &world.mailboxes[i]), 0);
	struct pools_host host = {.loop = world.loops[i],
		.mailbox = world.mailboxes[i],
		.space = spaces[i],
		.peers = shard_peers,
		.boards = world.boards,
		.config = config,
		.shard = i,
		.n_shards = world.n_shards,
		.proto_worker = no_proto_worker,
		.describe_holder = describe_holder,
		.flow_of = flow_of};
	assert_int_equal(pools_new(&host, &world.pools[i]), 0);
	shard_peers[i] =
		(struct pools_peer){.mailbox = world.mailboxes[i], .pools = world.pools[i]};
}

struct pool *world_pool(unsigned shard)
{
	return pools_get(world.pools[shard], &world.configs[0]->databases[0], "app", NULL);
}

void world_begin(unsigned n_shards, const struct config_pool *limits)
{
	log_configure(getenv("WEIR_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, false);
	world = (struct world){.now = 1000 * USEC_PER_SEC, .n_shards = n_shards, .seed = 1};
	for (unsigned i = 0; i < PEERS_MAX; i++)
		world.peers[i].fd = -1;
	struct config *config = world_config(limits, "db");
	assert_int_equal(boards_new(n_shards, &world.boards), 0);
	for (unsigned i = 0; i < n_shards; i++)
		shard_begin(i, config);
	for (unsigned i = 0; i < n_shards; i++)
		assert_non_null(world_pool(i));
	world_turn();
}

/* As the daemon ends: clients first, then threads, then what is in mailboxes, then pools. */
void world_end(void)
{
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		if (world.clients[i].pool)
			client_leave(world.clients[i].name);
	}
	for (unsigned i = 0; i < world.n_shards; i++)
		pools_stop(world.pools[i]);
	while (world.n_dials)
		world_dial_fail(0, "stopping", false);
	while (world.n_cancels)
		world_cancel_over(0);
	for (unsigned i = 0; i < world.n_shards; i++) {
		while (world_deliver(i))
			;
	}
	for (unsigned i = 0; i < world.n_shards; i++) {
		loop_run_deferred(world.loops[i]);
		pools_free(world.pools[i]);
		mailbox_free(world.mailboxes[i]);
		loop_free(world.loops[i]);
		free(spaces[i]);
	}
	boards_free(world.boards);
	assert_int_equal(world_n_open(), 0);
	assert_int_equal(world_next_timer(), USEC_NEVER);
	for (unsigned i = 0; i < world.n_configs; i++)
		config_end(world.configs[i]);
}

void world_reload(const struct config_pool *limits)
{
	struct config *config = world_config(limits, "db");

	for (unsigned i = 0; i < world.n_shards; i++)
		pools_reload(world.pools[i], config);
	world_turn();
}

/* --- clients --- */

struct client *client(char name)
{
	return &world.clients[(unsigned)(name - 'a') % CLIENTS_MAX];
}

static void client_readable(struct stream *stream, void *arg)
{
	struct client *c = arg;
	struct server *server = c->server;
	struct peer *peer = world_peer(server);
	struct workspace *space = server->pool->owner->host.space;
	struct input in = {.data = (uint8_t *)peer->said, .len = strlen(peer->said)};

	if (!in.len) {
		/* The server is gone. */
		c->server = NULL;
		pool_close(c->pool, server, REASON_SERVER_DEAD);
		return;
	}
	server->back->protocol->from_server(server->back, NULL, &in, NULL, &space->to_server);
	memset(peer->said, 0, sizeof(peer->said));
	pool_cancelled(server);
}

static void client_drained(struct stream *stream, void *arg)
{
}

/* What everyone may rely on who is given a connection. */
static void client_take(struct client *c, struct server *server)
{
	struct peer *peer = world_peer(server);

	assert_int_equal(server->state, SERVER_LENT);
	assert_true(server->back->at_rest);
	assert_false(server->back->in_transaction);
	assert_false(server->back->dirty && server->pool->limits.pool_reset_on_return);
	assert_int_equal(server->n_cancels, 0);
	assert_false(server->retired);
	assert_int_equal(server->flavour, c->waiter.flavour);
	assert_int_equal(peer->flavour, c->waiter.flavour);
	assert_false(peer->is_lent);
	assert_string_equal(peer->owed, "");
	for (unsigned i = 0; i < world.n_cancels; i++)
		assert_ptr_not_equal(world.cancels[i].peer, peer);
	peer->is_lent = true;
	c->server = server;
	c->refusal.text[0] = 0;
	server->holder = c;
	size_t n = strlen(world.served);
	if (n + 1 < sizeof(world.served))
		world.served[n] = c->name;
	stream_set_owner(&server->stream, client_readable, client_drained, c);
}

static void client_done(struct waiter *w, struct server *server, const struct refusal *refusal)
{
	struct client *c = container_of(w, struct client, waiter);

	assert_null(w->pool);
	assert_null(c->server);
	assert_int_equal(++c->n_answers, c->n_asked);
	if (server)
		client_take(c, server);
	else
		c->refusal = *refusal;
	if (world.went_on)
		world.went_on(c);
}

struct client *client_ask_at(char name, unsigned shard, usec_t pool_timeout)
{
	struct client *c = client(name);
	unsigned flavour = c->waiter.flavour;
	struct server *server;

	assert_null(c->server);
	waiter_init(&c->waiter, client_done);
	c->waiter.flavour = flavour;
	c->waiter.explain = !c->is_kept_ignorant;
	c->name = name;
	c->pool = world_pool(shard);
	c->refusal.text[0] = 0;
	c->n_answers = c->n_asked;
	c->n_asked++;
	if (pool_acquire(c->pool, &c->waiter, c, pool_timeout, &server) == 0) {
		c->n_answers++;
		client_take(c, server);
	}
	return c;
}

struct client *client_ask(char name)
{
	return client_ask_at(name, 0, world_pool(0)->limits.pool_timeout);
}

void client_run(char name)
{
	world_demand(client(name)->server);
}

void client_finish(char name)
{
	struct client *c = client(name);
	struct peer *peer = world_peer(c->server);

	while (world_answer(peer))
		client_readable(&c->server->stream, c);
}

void client_begin(char name)
{
	client(name)->server->back->in_transaction = true;
}

static struct server *part(char name)
{
	struct server *server = client(name)->server;

	assert_non_null(server);
	client(name)->server = NULL;
	server->holder = NULL;
	world_peer(server)->is_lent = false;
	return server;
}

void client_release(char name)
{
	struct pool *pool = client(name)->pool;

	pool_release(pool, part(name));
}

void client_leave(char name)
{
	struct client *c = client(name);

	pool_forget(&c->waiter);
	if (c->server)
		pool_abandon(c->pool, part(name));
	c->pool = NULL;
}

bool client_has(char name)
{
	return client(name)->server != NULL;
}

bool client_waits(char name)
{
	return client(name)->pool && client(name)->n_answers < client(name)->n_asked;
}

const char *client_error(char name)
{
	return client(name)->refusal.text;
}

void world_fill(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		client_ask((char)('A' + i));
	world_settle();
	for (unsigned i = 0; i < n; i++)
		client_release((char)('A' + i));
	world_turn();
	world.served[0] = 0;
}
