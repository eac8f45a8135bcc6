/* One shard: what an operator does to all pools, by the console or by other limits. */
#include "one_shard.h"

/* --- what the console does --- */

static void paused_pool_closes_what_is_idle_and_lets_clients_wait(void **state)
{
	begin(2, 0);
	client_ask('a');
	client_ask('b');
	world_settle();
	client_release('b');
	pools_pause(world.pools[0], "shop");
	world_settle();
	assert_int_equal(world_n_open(), 1);
	assert_false(pools_paused_empty(world.pools[0], "shop"));
	client_ask('c');
	world_settle();
	assert_true(client_waits('c'));
	assert_int_equal(world.n_opened, 2);
	client_release('a');
	world_settle();
	assert_true(pools_paused_empty(world.pools[0], "shop"));
	assert_true(client_waits('c'));
	pools_resume(world.pools[0], "shop");
	world_settle();
	assert_true(client_has('c'));
	world_end();
}

static void dial_under_way_when_a_pool_is_paused_is_not_used(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_turn();
	pools_pause(world.pools[0], NULL);
	assert_false(pools_paused_empty(world.pools[0], NULL));
	world_settle();
	assert_true(pools_paused_empty(world.pools[0], NULL));
	assert_true(client_waits('a'));
	assert_int_equal(world_n_open(), 0);
	world_end();
}

static void pause_is_for_the_database_it_names(void **state)
{
	begin(1, 0);
	pools_pause(world.pools[0], "other");
	client_ask('a');
	world_settle();
	assert_true(client_has('a'));
	world_end();
}

static void reconnect_closes_idle_ones_now_and_others_when_released(void **state)
{
	begin(3, 0);
	world_fill(2);
	client_ask('a');
	client_ask('b');
	client_ask('c');
	world_turn();
	assert_int_equal(world.n_dials, 1);
	client_release('b');
	world.now++;
	pools_reconnect(world.pools[0], NULL);
	world_settle();
	/* The idle one is gone, and so is the one that was being dialled. */
	assert_true(client_has('a') && client_has('c'));
	assert_int_equal(world_n_open(), 2);
	client_release('a');
	world_settle();
	assert_int_equal(world_n_open(), 1);
	assert_int_equal(n_idle(), 0);
	world_end();
}

/* --- reload --- */

static void smaller_limits_close_idle_connections_now_and_others_when_released(void **state)
{
	struct config_pool less = world_limits(2, 0);

	begin(5, 0);
	world_fill(5);
	client_ask('a');
	client_ask('b');
	client_ask('c');
	world_reload(&less);
	world_settle();
	assert_int_equal(world_n_open(), 3);
	client_ask('d');
	client_release('b');
	world_settle();
	assert_int_equal(world_n_open(), 2);
	assert_true(client_waits('d'));
	client_release('a');
	assert_true(client_has('d'));
	world_end();
}

static void smaller_limits_hold_for_what_is_being_dialled(void **state)
{
	struct config_pool less = world_limits(1, 0);

	begin(3, 0);
	client_ask('a');
	client_ask('b');
	client_ask('c');
	world_turn();
	assert_int_equal(world.n_dials, 3);
	world_reload(&less);
	world_settle();
	assert_int_equal(world_n_open(), 1);
	assert_string_equal(world.served, "a");
	client_release('a');
	world_settle();
	assert_true(client_has('b'));
	assert_int_equal(world_n_open(), 1);
	world_end();
}

static void greater_limits_serve_those_who_wait(void **state)
{
	struct config_pool more = world_limits(2, 1);

	begin(1, 0);
	client_ask('a');
	client_ask('b');
	client_ask('c');
	client_ask('d');
	world_settle();
	world_reload(&more);
	world_settle();
	assert_string_equal(world.served, "abc");
	world_end();
}

static void database_taken_out_of_the_configuration_refuses_its_waiters(void **state)
{
	struct config_pool limits = world_limits(1, 0);

	begin_with(limits);
	client_ask('a');
	client_ask('b');
	world_settle();
	struct config *empty = world_config(&limits, "db");
	empty->n_databases = 0;
	pools_reload(world.pools[0], empty);
	world_settle();
	assert_int_equal(client('b')->refusal.reason, REASON_DATABASE_REMOVED);
	client_release('a');
	world_settle();
	assert_int_equal(world_n_open(), 0);
	/* ... and put back. */
	pools_reload(world.pools[0], world.configs[0]);
	client_ask('c');
	world_settle();
	assert_true(client_has('c'));
	world_end();
}

static void database_that_moved_is_dialled_at_its_new_place(void **state)
{
	struct config_pool limits = world_limits(2, 0);

	begin_with(limits);
	world_fill(2);
	client_ask('a');
	world.now++;
	pools_reload(world.pools[0], world_config(&limits, "elsewhere"));
	world_settle();
	assert_int_equal(world_n_open(), 1);
	client_release('a');
	world_settle();
	assert_int_equal(world_n_open(), 0);
	client_ask('b');
	world_settle();
	assert_true(client_has('b'));
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paused_pool_closes_what_is_idle_and_lets_clients_wait),
		cmocka_unit_test(dial_under_way_when_a_pool_is_paused_is_not_used),
		cmocka_unit_test(pause_is_for_the_database_it_names),
		cmocka_unit_test(reconnect_closes_idle_ones_now_and_others_when_released),
		cmocka_unit_test(
			smaller_limits_close_idle_connections_now_and_others_when_released),
		cmocka_unit_test(smaller_limits_hold_for_what_is_being_dialled),
		cmocka_unit_test(greater_limits_serve_those_who_wait),
		cmocka_unit_test(database_taken_out_of_the_configuration_refuses_its_waiters),
		cmocka_unit_test(database_that_moved_is_dialled_at_its_new_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
