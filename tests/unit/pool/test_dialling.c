/* One shard: opening connections, and who is told what when that fails. */
#include "one_shard.h"

static void at_most_four_dials_at_once(void **state)
{
	begin(20, 0);
	for (char name = 'a'; name <= 'p'; name++)
		client_ask(name);
	for (int i = 0; i < 16; i++) {
		world_turn();
		assert_int_equal(world.n_dials, i > 12 ? 16 - i : 4);
		world_dial_ok(0);
	}
	world_turn();
	assert_string_equal(world.served, "abcdefghijklmnop");
	world_end();
}

static void one_dial_at_a_time_while_they_fail(void **state)
{
	begin(20, 0);
	for (char name = 'a'; name <= 'h'; name++)
		client_ask_at(name, 0, 0);
	world_turn();
	while (world.n_dials)
		world_dial_fail(0, "no", false);
	world_pass(SECONDS(4));
	assert_int_equal(world.n_dials, 1);
	world_dial_ok(0);
	world_turn();
	assert_int_equal(world.n_dials, 4);
	world_end();
}

static void dials_that_fail_back_off_with_jitter(void **state)
{
	struct config_pool limits = world_limits(1, 0);
	usec_t last_delay = 0, delay;
	bool any_jitter = false;

	/* Nobody gives up. */
	limits.connect_timeout = 0;
	begin_with(limits);
	client_ask_at('a', 0, 0);
	world_turn();
	for (int i = 0; i < 12; i++) {
		usec_t most = USEC_PER_MSEC * 50 << (i < 6 ? i : 6);
		if (most > SECONDS(2))
			most = SECONDS(2);
		assert_int_equal(world.n_dials, 1);
		usec_t failed = world.now;
		world_dial_fail(0, "no", false);
		world_turn();
		while (!world.n_dials)
			world_pass(USEC_PER_MSEC);
		delay = world.now - failed;
		assert_true(delay >= most / 2 && delay <= most + USEC_PER_MSEC);
		any_jitter |= i > 7 && delay != last_delay;
		last_delay = delay;
	}
	assert_true(any_jitter);
	world_end();
}

static void waiters_get_the_servers_own_words_after_pool_timeout(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_turn();
	for (int i = 0; i < 299; i++) {
		assert_true(client_waits('a'));
		while (world.n_dials)
			world_dial_fail(0, "the sea is dry", false);
		world_pass(SECONDS(1) / 10);
	}
	world_pass(SECONDS(1));
	assert_false(client_waits('a'));
	assert_int_equal(client('a')->refusal.reason, REASON_SERVER_UNREACHABLE);
	assert_string_equal(client('a')->refusal.sqlstate, "08001");
	assert_non_null(strstr(client_error('a'), "the sea is dry"));
	world_end();
}

static void server_that_restarts_costs_nobody_an_error(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_turn();
	world_dial_fail(0, "restarting", false);
	world_pass(SECONDS(1));
	if (world.n_dials)
		world_dial_fail(0, "restarting", false);
	world_pass(SECONDS(2));
	world_settle();
	assert_true(client_has('a'));
	world_end();
}

static void final_refusal_is_told_at_once_and_to_those_who_come(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_turn();
	world_dial_fail(0, "wrong password", true);
	world_turn();
	assert_non_null(strstr(client_error('a'), "wrong password"));
	client_ask('b');
	world_turn();
	assert_non_null(strstr(client_error('b'), "wrong password"));
	assert_int_equal(world.n_dials, 0);
	/* ... but it is tried again. */
	world_pass(SECONDS(1));
	client_ask('c');
	world_turn();
	assert_int_equal(world.n_dials, 1);
	world_settle();
	assert_true(client_has('c'));
	world_end();
}

static void failing_dials_refuse_nobody_while_a_connection_lives(void **state)
{
	begin(2, 0);
	client_ask('a');
	world_settle();
	client_ask('b');
	world_turn();
	world_dial_fail(0, "full up", true);
	world_pass(SECONDS(10));
	assert_true(client_waits('b'));
	client_release('a');
	assert_true(client_has('b'));
	world_end();
}

static void waiters_are_refused_when_the_last_connection_goes_while_dials_fail(void **state)
{
	begin(2, 0);
	client_ask('a');
	world_settle();
	client_ask('b');
	world_turn();
	world_dial_fail(0, "full up", true);
	world_turn();
	struct peer *last = peer_of_client('a');
	world_hang_up(last);
	world_read(last);
	world_turn();
	/* It has waited for long enough, or something final is known: not until pool_timeout. */
	for (int i = 0; i < 60 && client_waits('b'); i++) {
		while (world.n_dials)
			world_dial_fail(0, "full up", true);
		world_pass(SECONDS(1) / 10);
	}
	assert_non_null(strstr(client_error('b'), "full up"));
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_most_four_dials_at_once),
		cmocka_unit_test(one_dial_at_a_time_while_they_fail),
		cmocka_unit_test(dials_that_fail_back_off_with_jitter),
		cmocka_unit_test(waiters_get_the_servers_own_words_after_pool_timeout),
		cmocka_unit_test(server_that_restarts_costs_nobody_an_error),
		cmocka_unit_test(final_refusal_is_told_at_once_and_to_those_who_come),
		cmocka_unit_test(failing_dials_refuse_nobody_while_a_connection_lives),
		cmocka_unit_test(
			waiters_are_refused_when_the_last_connection_goes_while_dials_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
