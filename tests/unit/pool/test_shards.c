/* Several shards with one budget: lending, and messages that cross. */
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

/* --- servers that change roles --- */

static void demoted_server_loses_its_connections_on_all_shards(void **state)
{
	begin(3, 4, 0);
	for (char name = 'a'; name <= 'd'; name++)
		client_ask_at(name, (unsigned)(name - 'a') % 3, 0);
	world_settle();
	assert_int_equal(world.n_opened, 4);
	client_release('b');
	world_settle();
	world_pass(1);
	/* The client of shard 0 learns it; shard 1 has an idle one, shard 2 one that is lent. */
	pool_condemn(world_pool(0), client('a')->server);
	world_settle();
	assert_int_equal(sum_of(SERVER_IDLE), 0);
	assert_true(client_has('a') && client_has('c'));
	client_release('c');
	client_release('a');
	client_release('d');
	world_settle();
	assert_int_equal(world_n_open(), 0);
	client_ask_at('e', 2, 0);
	world_settle();
	assert_true(client_has('e'));
	client_release('e');
	world_settle();
	assert_int_equal(sum_of(SERVER_IDLE), 1);
	world_end();
}

static void server_that_stays_demoted_is_left_less_and_less_often(void **state)
{
	unsigned n_before = 0;

	begin(1, 1, 0);
	for (int i = 0; i < 600; i++) {
		client_ask('a');
		world_settle();
		pool_condemn(world_pool(0), client('a')->server);
		client_release('a');
		world_pass(SECONDS(1) / 10);
		/* 0, 0.5, 1.5, 3.5, 7.5 s, then every 5 s. */
		if (i == 80)
			n_before = world.n_opened;
	}
	assert_true(n_before >= 5 && n_before <= 7);
	assert_true(world.n_opened - n_before >= 9 && world.n_opened - n_before <= 12);
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
		cmocka_unit_test(demoted_server_loses_its_connections_on_all_shards),
		cmocka_unit_test(server_that_stays_demoted_is_left_less_and_less_often),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
