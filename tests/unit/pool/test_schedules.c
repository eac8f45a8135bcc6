/*
 * Random schedules: the pool's own code on one to four shards, and at each step anything that could
 * happen next, chosen by a seed. Messages of a mailbox arrive in their order, when the schedule
 * wants; so do dials, cancels, answers and the clock. What is promised is checked after every step.
 *
 * test-pool-schedules            the schedules of the ordinary test
 * test-pool-schedules FIRST N    N schedules from that seed on; a failing seed is printed, and runs
 *                                again alone with N = 1
 */
#include <signal.h>
#include <unistd.h>

#include "world.h"

#define SECONDS(n) ((n)*USEC_PER_SEC)
#define MSECS(n)   ((n)*USEC_PER_MSEC)

#define N_ORDINARY 5000
#define STEPS_MAX  240

static struct {
	unsigned first, n;
} wanted = {1, N_ORDINARY};

static struct {
	unsigned number;
	bool running;
	uint64_t seed;
	unsigned n_flavours, n_clients;
	bool is_kind;   /* nothing fails, and nobody administers */
	bool is_prompt; /* messages arrive at once */
	unsigned allowed;
	unsigned told[SHARDS_MAX]; /* the configuration that each shard has */
	unsigned newest;
} chance;

static unsigned below(unsigned n)
{
	chance.seed = chance.seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((chance.seed >> 33) % n);
}

static bool once_in(unsigned n)
{
	return below(n) == 0;
}

static bool fails_once_in(unsigned n)
{
	return !chance.is_kind && once_in(n);
}

static unsigned some_shard(void)
{
	return below(world.n_shards);
}

static unsigned home(void)
{
	return world_pool(0)->home;
}

static unsigned sum_of(enum server_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world.n_shards; i++)
		n += world_pool(i)->n_servers[state];
	return n;
}

/* --- what clients do --- */

static void ask(char name)
{
	if (client_has(name) || client_waits(name))
		return;
	client(name)->waiter.flavour = below(chance.n_flavours);
	client_ask_at(name, some_shard(), fails_once_in(4) ? 1 + (usec_t)below(3000000) : 0);
}

/* What a client does with its connection. */
static void use(char name)
{
	struct client *c = client(name);

	if (!client_has(name))
		return;
	if (!c->server->back->at_rest) {
		if (once_in(6)) {
			pool_cancel(c->pool, c->server, NULL);
			return;
		}
		client_finish(name);
		if (client_has(name))
			c->server->back->in_transaction = once_in(3);
	} else if (c->server->back->in_transaction || once_in(2)) {
		client_run(name);
	} else {
		client_release(name);
	}
}

static void leave(char name)
{
	struct client *c = client(name);

	if (client_waits(name) || client_has(name)) {
		if (client_has(name))
			c->server->back->mid_message = once_in(20);
		client_leave(name);
	}
}

/* Nobody was passed over whose turn was earlier and who has waited for some milliseconds longer,
 * wherever it waits. For whom a
 * connection is being opened or tested, that is its own matter. */
static void check_turn(const struct client *served)
{
	for (unsigned i = 0; i < chance.n_clients; i++) {
		const struct client *c = client((char)('a' + i));
		const struct pool *pool = c->waiter.pool;
		if (!pool || c->waiter.flavour != served->waiter.flavour || pool->n_dialling ||
			pool->n_servers[SERVER_TESTING])
			continue;
		assert_false(c->waiter.turn < served->waiter.turn &&
			     c->waiter.since + MSECS(5) < served->waiter.since);
	}
}

/* A session goes on within the call that tells it: with its next statement, or with its end. */
static void went_on(struct client *c)
{
	if (chance.is_prompt) {
		if (client_has(c->name))
			check_turn(c);
		return;
	}
	switch (below(8)) {
	case 0:
		use(c->name);
		break;
	case 1:
		leave(c->name);
		break;
	case 2:
		if (!client_has(c->name))
			ask(c->name);
		break;
	default:
		break;
	}
}

/* --- what else happens --- */

static void do_something(struct peer *peer)
{
	if (!peer->open)
		return;
	if (fails_once_in(60))
		peer->broken = true;
	if (fails_once_in(40) || (peer->told_end && once_in(2)))
		world_hang_up(peer);
	if (!peer->is_lent)
		world_answer(peer);
	if (once_in(2))
		world_read(peer);
}

static void work_on_jobs(void)
{
	if (world.n_dials && once_in(2)) {
		unsigned job = below(world.n_dials);
		if (fails_once_in(5))
			world_dial_fail(job, "no", once_in(4));
		else
			world_dial_ok(job);
	}
	if (chance.is_prompt)
		world_turn();
	if (world.n_cancels && once_in(3))
		world_cancel_over(below(world.n_cancels));
	world.open_fails = fails_once_in(20);
}

static void administer(void)
{
	unsigned shard = some_shard();

	switch (below(5)) {
	case 0:
		if (chance.told[shard] == chance.newest)
			chance.newest++;
		chance.told[shard]++;
		pools_reload(
			world.pools[shard], world.configs[chance.told[shard] % world.n_configs]);
		break;
	case 1:
		pools_pause(world.pools[shard], NULL);
		break;
	case 2:
	case 3:
		pools_resume(world.pools[shard], NULL);
		break;
	case 4:
		pools_reconnect(world.pools[shard], NULL);
		break;
	}
}

static void pass_time(void)
{
	world.now += 1 + (usec_t)below(once_in(10) ? 3000000 : 30000);
	if (fails_once_in(10))
		administer();
}

static void step(void)
{
	char name = (char)('a' + below(chance.n_clients));

	switch (below(14)) {
	case 0:
	case 1:
	case 2:
		ask(name);
		break;
	case 3:
	case 4:
	case 5:
		use(name);
		break;
	case 6:
		if (once_in(3))
			leave(name);
		break;
	case 7:
		work_on_jobs();
		break;
	case 8:
	case 9:
		world_deliver(some_shard());
		break;
	case 10:
		world_run_deferred(some_shard());
		world_fire(some_shard());
		break;
	case 11:
	case 12:
		for (unsigned i = 0; i < 16; i++) {
			do_something(&world.peers[i]);
			if (chance.is_prompt)
				world_turn();
		}
		break;
	case 13:
		pass_time();
		break;
	}
	if (chance.is_prompt)
		world_turn();
}

/* --- what is promised --- */

static unsigned budget(void)
{
	const struct config_pool *limits = &world_pool(home())->limits;

	return (unsigned)(limits->pool_size + limits->max_overflow);
}

/* The budget, counted at the sockets. After a reload to smaller limits there may be more for a
 * while (permissions that are on their way included), but never more than a moment before. */
static void check_budget(void)
{
	unsigned most = budget() > chance.allowed ? budget() : chance.allowed;

	assert_true(world_n_count() <= most);
	chance.allowed = world_pool(home())->ledger.n_permits;
	assert_true(world_n_count() <= chance.allowed && chance.allowed <= most);
}

/* Flavours, as bits. */
static unsigned wanted_flavours(void)
{
	unsigned flavours = 0;

	for (unsigned i = 0; i < chance.n_clients; i++) {
		const struct client *c = client((char)('a' + i));
		if (c->waiter.pool)
			flavours |= 1u << c->waiter.flavour;
	}
	return flavours;
}

static unsigned idle_flavours(void)
{
	unsigned flavours = 0;
	const struct list *link;

	for (unsigned i = 0; i < world.n_shards; i++) {
		list_for_each (link, &world_pool(i)->servers[SERVER_IDLE])
			flavours |= 1u << container_of(link, const struct server, link)->flavour;
	}
	return flavours;
}

/* Nobody waits while a connection is idle, while one more may be opened, or while one that nobody
 * can use could make room. */
static void check_nobody_is_forgotten(void)
{
	unsigned wanted_now = wanted_flavours();

	assert_int_equal(idle_flavours() & wanted_now, 0);
	if (!wanted_now || world.now < world_pool(home())->ledger.retry_at)
		return;
	assert_int_equal(sum_of(SERVER_IDLE), 0);
	assert_true(world_n_open() >= budget());
}

/* No connection and no permission is lost when everything has come to rest. */
static void check_rest(void)
{
	const struct ledger *ledger = &world_pool(home())->ledger;
	unsigned n_to_close = 0, n_here = 0;

	for (unsigned i = 0; i < world.n_shards; i++) {
		const struct pool *pool = world_pool(i);
		n_to_close += pool->n_to_close;
		n_here += pool_n_alive(pool);
		assert_int_equal(pool->n_dialling, 0);
		if (!pool->n_waiting)
			assert_int_equal(pool->n_asked + ledger->asks[i].n, 0);
	}
	assert_int_equal(n_here, world_n_open());
	assert_int_equal(ledger->n_permits, world_n_open());
	assert_int_equal(ledger->n_dialling, 0);
	assert_int_equal(ledger->n_let_go, n_to_close);
}

/* Everybody has the newest configuration, and nothing is paused. */
static void calm_down(void)
{
	bool is_prompt = chance.is_prompt;

	/* Too much happens at once now. */
	chance.is_prompt = false;
	world.open_fails = false;
	for (unsigned i = 0; i < world.n_shards; i++) {
		if (chance.told[i] != chance.newest)
			pools_reload(
				world.pools[i], world.configs[chance.newest % world.n_configs]);
		chance.told[i] = chance.newest;
		if (!chance.is_kind)
			pools_resume(world.pools[i], NULL);
	}
	world_settle();
	check_budget();
	check_nobody_is_forgotten();
	/* The longest back-off, and the longest farewell. */
	for (int i = 0; i < 3; i++) {
		world_pass(SECONDS(2));
		world_settle();
	}
	check_budget();
	check_nobody_is_forgotten();
	check_rest();
	chance.is_prompt = is_prompt;
}

/* Without clients, what is left is idle, and after some time no more than is kept. */
static void check_end(void)
{
	chance.is_prompt = false;
	for (unsigned i = 0; i < chance.n_clients; i++)
		leave((char)('a' + i));
	world_settle();
	check_rest();
	assert_int_equal(sum_of(SERVER_IDLE), world_n_open());
	assert_true(world_n_open() <= budget());
	for (unsigned i = 0; i < 20; i++) {
		world_pass(SECONDS(1));
		world_settle();
	}
	check_rest();
	unsigned min_size = (unsigned)world_pool(home())->limits.min_size;
	assert_int_equal(world_n_open(), min_size < budget() ? min_size : budget());
}

/* --- one schedule --- */

static void add_configs(struct config_pool limits)
{
	limits.pool_size = 1;
	limits.max_overflow = 0;
	limits.pool_use_lifo = false;
	world_config(&limits, "db");
	limits.pool_size = 4;
	limits.min_size = 3;
	world_config(&limits, "db");
	limits.pool_size = 2;
	limits.fair_by = FAIR_BY_NONE;
	limits.max_overflow = 1;
	limits.min_size = 0;
	limits.pool_reset_on_return = false;
	world_config(&limits, "elsewhere");
}

static void begin(unsigned number)
{
	memset(&chance, 0, sizeof(chance));
	chance.number = number;
	chance.running = true;
	chance.seed = number;
	below(1);
	chance.is_kind = once_in(3);
	chance.is_prompt = chance.is_kind && once_in(2);
	chance.n_flavours = !chance.is_prompt && once_in(3) ? 1 + below(3) : 1;
	chance.n_clients = 2 + below(19);

	struct config_pool limits = world_limits(1 + (int)below(4), (int)below(3));
	limits.fair_by = once_in(2) ? FAIR_BY_NONE : FAIR_BY_USER;
	limits.max_waiting = once_in(3) ? 1 + (int)below(5) : 0;
	limits.pool_pre_ping = once_in(2);
	limits.pre_ping_after = USEC_PER_MSEC * 100;
	limits.pool_idle_timeout = SECONDS(8);
	limits.pool_recycle = once_in(2) ? SECONDS(20) : -1;
	limits.pool_use_lifo = once_in(2);
	limits.min_size = (int)below((unsigned)limits.pool_size + 1);
	world_begin(once_in(5) ? 1 : 2 + below(SHARDS_MAX - 1), &limits);
	world.seed = number;
	world.went_on = went_on;
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		world.clients[i].user = below(4);
	add_configs(limits);
}

static void run(unsigned number)
{
	begin(number);
	check_budget();
	unsigned n_steps = STEPS_MAX / 4 + below(STEPS_MAX * 3 / 4);
	for (unsigned i = 1; i <= n_steps; i++) {
		step();
		check_budget();
	}
	calm_down();
	check_end();
	world_end();
	chance.running = false;
}

static void schedules_keep_what_is_promised(void **state)
{
	for (unsigned i = 0; i < wanted.n; i++)
		run(wanted.first + i);
}

/* Long ones come to states that short ones do not reach. */
static void long_schedules_keep_what_is_promised(void **state)
{
	for (unsigned number = wanted.first; number <= wanted.first + wanted.n / 1000; number++) {
		begin(number);
		check_budget();
		for (unsigned i = 1; i <= 16 * STEPS_MAX; i++) {
			step();
			check_budget();
			if (i % STEPS_MAX == 0)
				calm_down();
		}
		check_end();
		world_end();
		chance.running = false;
	}
}

/* --- telling which one it was --- */

static void tell_shard(const struct pool *pool)
{
	const struct list *link;

	fprintf(stderr,
		"shard %u%s%s: %u idle, %u tested, %u lent, %u cleaning, %u held, %u closing, "
		"%u dialling, %u asked, %u to close, waiting:",
		pool->owner->host.shard, pool_is_home(pool) ? " (home)" : "",
		pool->paused ? " (paused)" : "", pool->n_servers[SERVER_IDLE],
		pool->n_servers[SERVER_TESTING], pool->n_servers[SERVER_LENT],
		pool->n_servers[SERVER_CLEANING], pool->n_servers[SERVER_HELD],
		pool->n_servers[SERVER_CLOSING], pool->n_dialling, pool->n_asked, pool->n_to_close);
	list_for_each (link, &pool->waiters) {
		const struct waiter *w = container_of(link, const struct waiter, link);
		fprintf(stderr, " %c/%u", container_of(w, const struct client, waiter)->name,
			w->flavour);
	}
	fputs(", idle:", stderr);
	list_for_each (link, &pool->servers[SERVER_IDLE])
		fprintf(stderr, " /%u", container_of(link, const struct server, link)->flavour);
	fputs(", wishes of:", stderr);
	for (unsigned i = 0; i < world.n_shards; i++) {
		if (pool->wishes[i])
			fprintf(stderr, " %u", i);
	}
	fputc('\n', stderr);
}

static void tell(void)
{
	if (!chance.running)
		return;
	const struct ledger *ledger = &world_pool(home())->ledger;
	fprintf(stderr, "schedule %u failed; again: test-pool-schedules %u 1\n", chance.number,
		chance.number);
	fprintf(stderr, "ledger: %u permits, %u dialling, %u let go, budget %u; %u sockets\n",
		ledger->n_permits, ledger->n_dialling, ledger->n_let_go, budget(), world_n_open());
	for (unsigned i = 0; i < world.n_shards; i++)
		tell_shard(world_pool(i));
}

static int tell_after(void **state)
{
	tell();
	return 0;
}

static void on_abort(int signal)
{
	tell();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(schedules_keep_what_is_promised, tell_after),
		cmocka_unit_test_teardown(long_schedules_keep_what_is_promised, tell_after),
	};

	if (argc > 2) {
		wanted.first = (unsigned)strtoul(argv[1], NULL, 10);
		wanted.n = (unsigned)strtoul(argv[2], NULL, 10);
	}
	signal(SIGABRT, on_abort);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
