/* One shard: connections that the clock closes, and those that it keeps. */
#include "one_shard.h"

static void overflow_is_closed_after_overflow_linger(void **state)
{
	begin(2, 2);
	world_fill(4);
	assert_int_equal(n_idle(), 4);
	world_pass(SECONDS(5) - 1);
	assert_int_equal(n_idle(), 4);
	world_pass(1);
	world_settle();
	assert_int_equal(n_idle(), 2);
	/* pool_idle_timeout is off. */
	world_pass(SECONDS(100000));
	assert_int_equal(n_idle(), 2);
	world_end();
}

static void overflow_in_use_lingers_on(void **state)
{
	begin(1, 1);
	world_fill(2);
	for (int i = 0; i < 10; i++) {
		world_pass(SECONDS(3));
		client_ask('a');
		client_ask('b');
		client_release('a');
		client_release('b');
	}
	assert_int_equal(world.n_opened, 2);
	assert_int_equal(n_idle(), 2);
	world_end();
}

static void overflow_takes_the_place_of_a_kept_one_that_is_gone(void **state)
{
	begin(1, 1);
	client_ask('a');
	world_settle();
	client_ask('b');
	world_settle();
	struct peer *first = peer_of_client('a'), *second = peer_of_client('b');
	world_hang_up(first);
	world_read(first);
	client_release('b');
	world_settle();
	world_pass(SECONDS(100));
	assert_true(second->open);
	assert_int_equal(n_idle(), 1);
	world_end();
}

static void kept_ones_are_closed_after_pool_idle_timeout(void **state)
{
	struct config_pool limits = world_limits(4, 0);

	limits.pool_idle_timeout = SECONDS(60);
	limits.min_size = 1;
	begin_with(limits);
	world_fill(4);
	world_pass(SECONDS(30));
	/* The one used last stays as min_size. */
	client_ask('a');
	struct peer *used = peer_of_client('a');
	client_release('a');
	world_pass(SECONDS(30));
	world_settle();
	assert_int_equal(n_idle(), 1);
	assert_true(used->open);
	world_pass(SECONDS(1000));
	assert_int_equal(n_idle(), 1);
	world_end();
}

static void min_size_is_opened_ahead_and_kept(void **state)
{
	struct config_pool limits = world_limits(5, 0);

	limits.min_size = 3;
	begin_with(limits);
	world_settle();
	assert_int_equal(n_idle(), 3);
	world_hang_up(world_newest());
	world_settle();
	world_pass(SECONDS(1));
	world_settle();
	assert_int_equal(n_idle(), 3);
	assert_int_equal(world.n_opened, 4);
	world_end();
}

static void old_connections_are_recycled_when_idle_or_released(void **state)
{
	struct config_pool limits = world_limits(2, 0);

	limits.pool_recycle = SECONDS(100);
	begin_with(limits);
	client_ask('a');
	client_ask('b');
	world_settle();
	client_release('b');
	world_pass(SECONDS(101));
	world_settle();
	/* What is in use is left alone. */
	assert_true(client_has('a'));
	assert_int_equal(n_idle(), 0);
	assert_int_equal(world_n_open(), 1);
	client_release('a');
	world_settle();
	assert_int_equal(world_n_open(), 0);
	world_end();
}

static void connections_opened_together_are_not_recycled_together(void **state)
{
	struct config_pool limits = world_limits(8, 0);
	unsigned n_steps = 0, n_before;

	limits.pool_recycle = SECONDS(1000);
	begin_with(limits);
	world_fill(8);
	world_pass(SECONDS(900));
	assert_int_equal(n_idle(), 8);
	while ((n_before = n_idle())) {
		world_pass(SECONDS(1));
		world_settle();
		n_steps += n_before != n_idle();
	}
	assert_true(world.now <= SECONDS(2000));
	assert_true(n_steps >= 6);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overflow_is_closed_after_overflow_linger),
		cmocka_unit_test(overflow_in_use_lingers_on),
		cmocka_unit_test(overflow_takes_the_place_of_a_kept_one_that_is_gone),
		cmocka_unit_test(kept_ones_are_closed_after_pool_idle_timeout),
		cmocka_unit_test(min_size_is_opened_ahead_and_kept),
		cmocka_unit_test(old_connections_are_recycled_when_idle_or_released),
		cmocka_unit_test(connections_opened_together_are_not_recycled_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
