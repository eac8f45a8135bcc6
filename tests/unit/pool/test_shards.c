/* Several shards with one budget: lending, messages that cross, and long random schedules in which
 * anything may happen next. */
#include "world.h"

#define SECONDS(n) ((n)*USEC_PER_SEC)

static void begin(unsigned n_shards, int pool_size, int max_overflow)
{
	struct config_pool limits = world_limits(pool_size, max_overflow);

	world_begin(n_shards, &limits);
}

static unsigned sum_of(enum server_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world.n_shards; i++)
		n += world_pool(i)->n_servers[state];
	return n;
}

/* A shard that the pool is not at home on. */
static unsigned stranger(void)
{
	return (world_pool(0)->home + 1) % world.n_shards;
}

static unsigned home(void)
{
	return world_pool(0)->home;
}

/* --- who holds the pool --- */

static void whoever_waits_is_told_of_the_holders_on_all_shards(void **state)
{
	for (unsigned at = 0; at < 3; at++) {
		begin(3, 3, 0);
		for (unsigned i = 0; i < 3; i++) {
			client_ask_at((char)('a' + i), i, 0);
			world_settle();
			world_pass(SECONDS(1));
		}
		client_begin('a');
		client_run('b');
		client('c')->server->back->pin = "listen";
		for (unsigned i = 0; i < 3; i++) {
			client_ask_at((char)('d' + i), (at + i) % 3, SECONDS(2));
			world_pass(USEC_PER_MSEC);
		}
		world_pass(SECONDS(2));
		for (char name = 'd'; name <= 'f'; name++) {
			const char *told = client_error(name);
			assert_non_null(strstr(told,
				"full (3 of 3) for 2.0 s: 1 idle in transaction, 1 running, "
				"1 pinned (listen); oldest holder: user \"a\""));
			assert_null(strstr(told, "workers"));
		}
		assert_non_null(strstr(client_error('d'), "you were 1st of 3"));
		world_end();
	}
}

static void who_hears_nothing_of_other_shards_says_so(void **state)
{
	begin(2, 1, 0);
	client_ask_at('a', home(), 0);
	world_settle();
	client_ask_at('b', stranger(), SECONDS(1));
	world_settle();
	/* The other shard has no time to answer. */
	world.now += SECONDS(1);
	while (world_fire(stranger()))
		;
	assert_non_null(strstr(client_error('b'), " on 1 of 2 workers; you were 1st of 1"));
	world_end();
}

/* --- lending --- */

static void idle_connection_goes_to_the_shard_where_someone_waits(void **state)
{
	for (unsigned from = 0; from < 3; from++) {
		for (unsigned to = 0; to < 3; to++) {
			begin(3, 1, 0);
			client_ask_at('a', from, 0);
			world_settle();
			client_release('a');
			client_ask_at('b', to, 0);
			world_settle();
			assert_true(client_has('b'));
			assert_int_equal(world.n_opened, 1);
			world_end();
		}
	}
}

static void the_oldest_of_all_shards_is_served_first(void **state)
{
	begin(3, 1, 0);
	client_ask_at('a', 0, 0);
	world_settle();
	for (char name = 'b'; name <= 'g'; name++) {
		client_ask_at(name, (unsigned)name % 3, 0);
		world_pass(SECONDS(1) / 10);
	}
	for (char name = 'a'; name <= 'f'; name++) {
		assert_true(client_has(name));
		client_release(name);
		world_settle();
	}
	assert_string_equal(world.served, "abcdefg");
	world_end();
}

static void the_budget_is_one_for_all_shards(void **state)
{
	begin(3, 3, 2);
	for (char name = 'a'; name <= 'z'; name++)
		client_ask_at(name, (unsigned)name % 3, 0);
	world_settle();
	assert_int_equal(world_n_open(), 5);
	assert_int_equal(sum_of(SERVER_LENT), 5);
	world_end();
}

static void pool_size_is_kept_of_what_all_shards_have(void **state)
{
	begin(3, 2, 4);
	for (char name = 'a'; name <= 'f'; name++)
		client_ask_at(name, (unsigned)name % 3, 0);
	world_settle();
	assert_int_equal(world_n_open(), 6);
	for (char name = 'a'; name <= 'f'; name++)
		client_release(name);
	for (int i = 0; i < 100; i++) {
		world_pass(SECONDS(1));
		world_settle();
	}
	assert_int_equal(world_n_open(), 2);
	assert_int_equal(sum_of(SERVER_IDLE), 2);
	world_end();
}

static void connections_opened_together_are_not_recycled_together(void **state)
{
	struct config_pool limits = world_limits(8, 0);
	unsigned n_steps = 0, n_before;

	limits.pool_recycle = SECONDS(1000);
	world_begin(4, &limits);
	world_fill(8);
	world_pass(SECONDS(900));
	assert_int_equal(sum_of(SERVER_IDLE), 8);
	while ((n_before = sum_of(SERVER_IDLE))) {
		world_pass(SECONDS(1));
		world_settle();
		n_steps += n_before != sum_of(SERVER_IDLE);
	}
	assert_true(n_steps >= 6);
	world_end();
}

/* --- messages that cross --- */

static void connection_sent_to_a_waiter_who_has_gone_goes_on_to_the_next(void **state)
{
	begin(3, 1, 0);
	client_ask_at('a', 0, 0);
	world_settle();
	client_ask_at('b', 1, 0);
	world_pass(SECONDS(1));
	client_ask_at('c', 2, 0);
	world_pass(SECONDS(1));
	client_release('a');
	client_leave('b');
	world_settle();
	assert_true(client_has('c'));
	assert_int_equal(world.n_opened, 1);
	client_release('c');
	client_ask_at('a', 0, 0);
	world_settle();
	assert_true(client_has('a'));
	world_end();
}

static void permission_on_its_way_to_a_waiter_who_has_gone_comes_back(void **state)
{
	begin(2, 1, 0);
	client_ask_at('a', stranger(), 0);
	/* Asked for and granted, but not heard of yet. */
	world_deliver(home());
	client_leave('a');
	world_settle();
	assert_int_equal(world_pool(home())->ledger.n_permits, world_n_open());
	client_ask_at('b', home(), 0);
	world_settle();
	assert_true(client_has('b'));
	world_end();
}

static void wish_that_comes_during_a_test_is_not_forgotten(void **state)
{
	struct config_pool limits = world_limits(2, 0);

	limits.pool_pre_ping = true;
	limits.pre_ping_after = SECONDS(1);
	world_begin(2, &limits);
	client_ask_at('a', 0, 0);
	client_ask_at('b', 0, 0);
	world_settle();
	client_release('a');
	client_release('b');
	world_pass(SECONDS(2));
	/* One of the two idle connections is tested for a, and b asks elsewhere. */
	client_ask_at('a', 0, 0);
	client_ask_at('b', 1, 0);
	world_settle();
	assert_true(client_has('a'));
	assert_true(client_has('b'));
	world_end();
}

static void connection_that_cannot_be_moved_makes_room(void **state)
{
	struct config_pool limits = world_limits(1, 0);

	limits.pool_reset_on_return = false;
	world_begin(2, &limits);
	client_ask_at('a', 0, 0);
	world_settle();
	client('a')->server->back->dirty = true;
	client_release('a');
	/* Idle when the wish comes ... */
	client_ask_at('b', 1, 0);
	world_settle();
	assert_true(client_has('b'));
	client('b')->server->back->dirty = true;
	/* ... and released when it is there already. */
	client_ask_at('a', 0, 0);
	world_settle();
	client_release('b');
	world_settle();
	assert_true(client_has('a'));
	world_end();
}

static void reload_while_a_connection_travels(void **state)
{
	struct config_pool less = world_limits(1, 0);

	begin(3, 3, 0);
	for (char name = 'a'; name <= 'c'; name++)
		client_ask_at(name, 0, 0);
	world_settle();
	client_ask_at('d', 1, 0);
	client_ask_at('e', 2, 0);
	world_settle();
	client_release('a');
	client_release('b');
	struct config *config = world_config(&less, "db");
	pools_reload(world.pools[home()], config);
	for (unsigned i = 0; i < 3; i++) {
		if (i != home())
			pools_reload(world.pools[i], config);
	}
	world_settle();
	for (char name = 'c'; name <= 'e'; name++) {
		if (client_has(name))
			client_release(name);
		world_settle();
	}
	assert_int_equal(world_n_open(), 1);
	assert_int_equal(world_pool(0)->ledger.n_let_go, 0);
	world_end();
}

static void shard_with_one_too_many_closes_the_one_that_arrives(void **state)
{
	struct config_pool less = world_limits(1, 0);

	begin(2, 2, 0);
	client_ask_at('a', home(), 0);
	client_ask_at('b', stranger(), 0);
	world_settle();
	world_reload(&less);
	/* One of the two is to be closed as soon as it is released, wherever that is. */
	assert_int_equal(world_pool(home())->n_to_close, 1);
	client_ask_at('c', home(), 0);
	world_settle();
	client_release('b');
	world_settle();
	assert_int_equal(world_n_open(), 1);
	client_release('a');
	world_settle();
	assert_true(client_has('c'));
	world_end();
}

static void connections_die_while_they_are_let_go(void **state)
{
	struct config_pool limits = world_limits(2, 0);

	limits.pool_idle_timeout = SECONDS(8);
	world_begin(2, &limits);
	client_ask_at('a', stranger(), 0);
	client_ask_at('b', stranger(), 0);
	world_settle();
	client_release('a');
	client_release('b');
	world_turn();
	world.now += SECONDS(8);
	/* The question whether they may go is answered, but the answer is not heard yet. */
	world_fire(stranger());
	world_deliver(home());
	for (unsigned i = 0; i < 2; i++) {
		world_hang_up(&world.peers[i]);
		world_read(&world.peers[i]);
	}
	world_deliver(home());
	world_deliver(home());
	world_settle();
	assert_int_equal(world_n_open(), 0);
	assert_int_equal(world_pool(home())->ledger.n_permits, 0);
	assert_int_equal(world_pool(home())->ledger.n_let_go, 0);
	world_end();
}

/* --- anything may happen next --- */

static struct {
	uint64_t seed;
	unsigned n_flavours, allowed;
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

static unsigned some_shard(void)
{
	return below(world.n_shards);
}

static void ask(char name)
{
	if (client_has(name) || client_waits(name))
		return;
	client(name)->waiter.flavour = below(chance.n_flavours);
	client_ask_at(name, some_shard(), once_in(4) ? 1 + (usec_t)below(3000000) : 0);
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

static void do_something(struct peer *peer)
{
	if (!peer->open)
		return;
	if (once_in(60))
		peer->broken = true;
	if (once_in(40) || (peer->told_end && once_in(2)))
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
		if (once_in(5))
			world_dial_fail(job, "no", once_in(4));
		else
			world_dial_ok(job);
	}
	if (world.n_cancels && once_in(3))
		world_cancel_over(below(world.n_cancels));
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

static void step(void)
{
	char name = (char)('a' + below(20));

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
		for (unsigned i = 0; i < 16; i++)
			do_something(&world.peers[i]);
		break;
	case 13:
		world.now += 1 + (usec_t)below(once_in(10) ? 3000000 : 30000);
		if (once_in(10))
			administer();
		break;
	}
}

static unsigned budget(void)
{
	const struct config_pool *limits = &world_pool(home())->limits;

	return (unsigned)(limits->pool_size + limits->max_overflow);
}

/* The promise, counted at the sockets. After a reload to smaller limits there may be more for a
 * while (permissions that are on their way included), but never more than a moment before. */
static void check_promise(void)
{
	unsigned most = budget() > chance.allowed ? budget() : chance.allowed;

	assert_true(world_n_count() <= most);
	chance.allowed = world_pool(home())->ledger.n_permits;
	assert_true(world_n_count() <= chance.allowed && chance.allowed <= most);
}

/* Everybody has the newest configuration, and nothing is paused. */
static void calm_down(void)
{
	for (unsigned i = 0; i < world.n_shards; i++) {
		if (chance.told[i] != chance.newest)
			pools_reload(
				world.pools[i], world.configs[chance.newest % world.n_configs]);
		chance.told[i] = chance.newest;
		pools_resume(world.pools[i], NULL);
	}
	world_settle();
	/* The longest back-off, and the longest farewell. */
	for (int i = 0; i < 3; i++) {
		world_pass(SECONDS(2));
		world_settle();
	}
}

/* Nothing is lost when everything has come to rest, and nobody is forgotten. */
static void check_rest(void)
{
	const struct ledger *ledger = &world_pool(home())->ledger;
	unsigned n_waiting = 0, n_to_close = 0;

	for (unsigned i = 0; i < world.n_shards; i++) {
		const struct pool *pool = world_pool(i);
		n_waiting += pool->n_waiting;
		n_to_close += pool->n_to_close;
		assert_int_equal(pool->n_dialling, 0);
		if (!pool->n_waiting)
			assert_int_equal(pool->n_asked + ledger->asks[i].n, 0);
	}
	assert_int_equal(ledger->n_permits, world_n_open());
	assert_int_equal(ledger->n_dialling, 0);
	assert_int_equal(ledger->n_let_go, n_to_close);
	if (n_waiting) {
		assert_int_equal(sum_of(SERVER_IDLE), 0);
		assert_true(world_n_open() >= budget());
	}
}

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
	limits.max_overflow = 1;
	limits.min_size = 0;
	limits.pool_reset_on_return = false;
	world_config(&limits, "elsewhere");
}

static void live_through(unsigned n_shards, unsigned n_flavours, unsigned seed, unsigned n_steps)
{
	struct config_pool limits = world_limits(3, 2);

	limits.pool_pre_ping = true;
	limits.pre_ping_after = USEC_PER_MSEC * 100;
	limits.pool_idle_timeout = SECONDS(8);
	limits.pool_recycle = SECONDS(20);
	limits.min_size = 1;
	memset(&chance, 0, sizeof(chance));
	chance.seed = seed;
	chance.n_flavours = n_flavours;
	world_begin(n_shards, &limits);
	world.seed = seed;
	add_configs(limits);
	for (unsigned i = 1; i <= n_steps; i++) {
		step();
		check_promise();
		if (i % 200 == 0) {
			calm_down();
			check_promise();
			check_rest();
		}
	}
	world_end();
}

static void one_shard_lives_through_anything(void **state)
{
	for (unsigned seed = 1; seed <= 20; seed++)
		live_through(1, 1, seed, 4000);
}

static void three_shards_live_through_anything(void **state)
{
	for (unsigned seed = 1; seed <= 40; seed++)
		live_through(3, 1, seed, 4000);
}

static void flavours_live_through_anything_together(void **state)
{
	for (unsigned seed = 1; seed <= 20; seed++)
		live_through(1, 2, seed, 4000);
	for (unsigned seed = 1; seed <= 20; seed++)
		live_through(3, 3, seed, 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_waits_is_told_of_the_holders_on_all_shards),
		cmocka_unit_test(who_hears_nothing_of_other_shards_says_so),
		cmocka_unit_test(idle_connection_goes_to_the_shard_where_someone_waits),
		cmocka_unit_test(the_oldest_of_all_shards_is_served_first),
		cmocka_unit_test(the_budget_is_one_for_all_shards),
		cmocka_unit_test(pool_size_is_kept_of_what_all_shards_have),
		cmocka_unit_test(connections_opened_together_are_not_recycled_together),
		cmocka_unit_test(connection_sent_to_a_waiter_who_has_gone_goes_on_to_the_next),
		cmocka_unit_test(permission_on_its_way_to_a_waiter_who_has_gone_comes_back),
		cmocka_unit_test(wish_that_comes_during_a_test_is_not_forgotten),
		cmocka_unit_test(connection_that_cannot_be_moved_makes_room),
		cmocka_unit_test(reload_while_a_connection_travels),
		cmocka_unit_test(shard_with_one_too_many_closes_the_one_that_arrives),
		cmocka_unit_test(connections_die_while_they_are_let_go),
		cmocka_unit_test(one_shard_lives_through_anything),
		cmocka_unit_test(three_shards_live_through_anything),
		cmocka_unit_test(flavours_live_through_anything_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
