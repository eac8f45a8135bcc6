/* One shard: who gets which connection when, who waits how long, and how many there are. */
#include "one_shard.h"

/* --- order --- */

static void most_recently_used_connection_is_handed_out_first(void **state)
{
	begin(3, 0);
	for (char name = 'a'; name <= 'c'; name++)
		client_ask(name);
	world_settle();
	struct peer *b = peer_of_client('b');
	client_release('a');
	client_release('c');
	client_release('b');
	client_ask('d');
	assert_ptr_equal(peer_of_client('d'), b);
	world_end();
}

static void without_lifo_the_longest_unused_one_is_handed_out_first(void **state)
{
	struct config_pool limits = world_limits(3, 0);

	limits.pool_use_lifo = false;
	begin_with(limits);
	for (char name = 'a'; name <= 'c'; name++)
		client_ask(name);
	world_settle();
	struct peer *c = peer_of_client('c'), *a = peer_of_client('a');
	client_release('c');
	client_release('a');
	client_release('b');
	client_ask('d');
	client_ask('e');
	assert_ptr_equal(peer_of_client('d'), c);
	assert_ptr_equal(peer_of_client('e'), a);
	world_end();
}

static void waiters_are_served_in_the_order_they_came(void **state)
{
	begin(2, 0);
	for (char name = 'a'; name <= 'h'; name++)
		client_ask(name);
	world_settle();
	for (char name = 'a'; name <= 'f'; name++) {
		client_release(name);
		world_settle();
	}
	assert_string_equal(world.served, "abcdefgh");
	world_end();
}

static void released_connection_goes_straight_to_the_oldest_waiter(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	struct peer *only = peer_of_client('a');
	client_ask('b');
	client_ask('c');
	client_release('a');
	/* At once, without a turn of the loop in which someone else could take it. */
	assert_true(client_has('b'));
	assert_ptr_equal(peer_of_client('b'), only);
	client_ask('a');
	client_release('b');
	assert_true(client_has('c'));
	assert_int_equal(world.n_opened, 1);
	world_end();
}

static void released_connection_does_not_wait_for_the_dial_of_its_waiter(void **state)
{
	begin(2, 0);
	client_ask('a');
	world_settle();
	client_ask('b');
	world_turn();
	assert_int_equal(world.n_dials, 1);
	client_release('a');
	assert_true(client_has('b'));
	world_settle();
	/* What was dialled for it is there for the next one. */
	assert_int_equal(n_idle(), 1);
	world_end();
}

/* --- the queue's end --- */

static void pool_timeout_keeps_the_client(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_ask_at('b', 0, SECONDS(2));
	world_pass(SECONDS(2) - 1);
	assert_true(client_waits('b'));
	world_pass(2);
	assert_false(client_waits('b'));
	assert_int_equal(client('b')->refusal.reason, REASON_POOL_TIMEOUT);
	assert_string_equal(client('b')->refusal.sqlstate, "53300");
	client_ask('b');
	client_release('a');
	assert_true(client_has('b'));
	world_end();
}

static void every_waiter_has_its_own_pool_timeout(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_ask_at('b', 0, 0);
	client_ask_at('c', 0, SECONDS(3));
	client_ask_at('d', 0, SECONDS(1));
	world_pass(SECONDS(2));
	assert_true(client_waits('c'));
	assert_false(client_waits('d'));
	world_pass(SECONDS(10000));
	assert_false(client_waits('c'));
	/* 0: as long as it takes. */
	assert_true(client_waits('b'));
	world_end();
}

static void who_leaves_the_queue_is_not_served(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_ask('b');
	client_ask('c');
	client_leave('b');
	client_release('a');
	assert_string_equal(world.served, "ac");
	assert_int_equal(client('b')->n_answers, 0);
	client_leave('c');
	world_settle();
	assert_int_equal(n_idle(), 1);
	world_end();
}

static void nothing_is_opened_for_who_has_left(void **state)
{
	begin(2, 0);
	client_ask('a');
	client_leave('a');
	world_settle();
	assert_true(world.n_opened <= 1);
	assert_int_equal(pool()->ledger.n_permits, world.n_opened);
	world_end();
}

static void pool_timeout_says_who_holds_the_pool(void **state)
{
	begin(2, 1);
	client_ask('a');
	world_settle();
	client_begin('a');
	world_pass(SECONDS(3));
	client_ask('b');
	world_settle();
	world_pass(USEC_PER_MSEC);
	client_ask('c');
	world_settle();
	client_run('b');
	client('c')->server->back->pin = "advisory lock";
	client_ask_at('d', 0, SECONDS(2));
	world_pass(SECONDS(3));
	assert_string_equal(client_error('d'),
		"weir: no free connection within pool_timeout: pool shop/app full (3 of 3) for 2.0 "
		"s: "
		"1 idle in transaction, 1 running, 1 pinned (advisory lock); "
		"oldest holder: user \"a\" application \"test\" at unix, for 5.0 s, "
		"idle in transaction for 5.0 s, last: select 1; you were 1st of 1");
	client_leave('a');
	client_finish('b');
	client('b')->server->back->pin = "listen";
	world_settle();
	client_ask('e');
	client_ask_at('d', 0, SECONDS(1));
	world_pass(SECONDS(1));
	assert_non_null(strstr(client_error('d'), "oldest holder: user \"b\" application \"test\" "
						  "at unix, for 4.0 s, pinned (listen) for 4.0 s"));
	world_end();
}

static void each_is_told_its_place(void **state)
{
	static const char *const places[] = {"1st of 13", "2nd of 13", "3rd of 13", "4th of 13",
		"5th of 13", "6th of 13", "7th of 13", "8th of 13", "9th of 13", "10th of 13",
		"11th of 13", "12th of 13"};

	begin(1, 0);
	client_ask('a');
	world_settle();
	/* One that waits for longer than the others is behind them all. */
	for (char name = 'b'; name < 'n'; name++)
		client_ask_at(name, 0, SECONDS(1));
	client_ask_at('n', 0, SECONDS(3));
	world_pass(SECONDS(1));
	for (char name = 'b'; name < 'n'; name++)
		assert_non_null(strstr(client_error(name), places[name - 'b']));
	world_pass(SECONDS(2));
	assert_non_null(strstr(client_error('n'), "you were 1st of 1"));
	world_end();
}

static void who_may_not_know_is_not_told_who_holds_the_pool(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client('b')->is_kept_ignorant = true;
	client_ask_at('b', 0, SECONDS(1));
	world_pass(SECONDS(1));
	assert_string_equal(client_error('b'), "weir: no free connection within pool_timeout");
	world_end();
}

static void pool_timeout_says_why_no_other_connection_is_opened(void **state)
{
	begin(2, 0);
	client_ask('a');
	world_settle();
	client_ask_at('b', 0, SECONDS(1));
	world_turn();
	world_dial_fail(0, "too many clients already", false);
	world_pass(SECONDS(1));
	assert_non_null(strstr(client_error('b'), "opening another one fails: "));
	assert_non_null(strstr(client_error('b'), "too many clients already"));
	world_end();
}

/* --- the budget --- */

static void never_more_than_pool_size_and_max_overflow(void **state)
{
	begin(2, 1);
	for (char name = 'a'; name <= 'j'; name++)
		client_ask(name);
	world_settle();
	assert_int_equal(world.n_opened, 3);
	assert_string_equal(world.served, "abc");
	world_end();
}

static void closing_connection_counts_until_the_server_has_hung_up(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	pools_reconnect(world.pools[0], NULL);
	client_release('a');
	client_ask('b');
	world_turn();
	assert_string_equal(peer->heard, "X");
	assert_int_equal(world.n_dials, 0);
	world_hang_up(peer);
	world_read(peer);
	world_turn();
	assert_int_equal(world.n_dials, 1);
	world_end();
}

static void server_that_does_not_hang_up_is_hung_up_on(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	pools_reconnect(world.pools[0], NULL);
	client_release('a');
	client_ask('b');
	world_pass(SECONDS(1));
	assert_int_equal(world.n_dials, 0);
	world_pass(SECONDS(2));
	assert_int_equal(world.n_dials, 1);
	world_end();
}

static void max_overflow_of_minus_one_is_no_limit(void **state)
{
	begin(1, -1);
	for (char name = 'a'; name <= 't'; name++)
		client_ask(name);
	world_settle();
	assert_int_equal(world.n_opened, 20);
	world_end();
}

/* --- two flavours in one budget --- */

static void idle_connection_of_another_flavour_makes_room(void **state)
{
	begin(1, 0);
	world_fill(1);
	client('a')->waiter.flavour = 1;
	client_ask('a');
	world_settle();
	assert_true(client_has('a'));
	assert_int_equal(world_n_open(), 1);
	world_end();
}

static void waiter_of_another_flavour_is_not_passed_over(void **state)
{
	begin(2, 0);
	client_ask('a');
	client_ask('b');
	world_settle();
	client('c')->waiter.flavour = client('d')->waiter.flavour = 1;
	client_ask('c');
	client_ask('d');
	world_settle();
	client_release('a');
	client_release('b');
	world_settle();
	assert_true(client_has('c') && client_has('d'));
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(most_recently_used_connection_is_handed_out_first),
		cmocka_unit_test(without_lifo_the_longest_unused_one_is_handed_out_first),
		cmocka_unit_test(waiters_are_served_in_the_order_they_came),
		cmocka_unit_test(released_connection_goes_straight_to_the_oldest_waiter),
		cmocka_unit_test(released_connection_does_not_wait_for_the_dial_of_its_waiter),
		cmocka_unit_test(pool_timeout_keeps_the_client),
		cmocka_unit_test(every_waiter_has_its_own_pool_timeout),
		cmocka_unit_test(who_leaves_the_queue_is_not_served),
		cmocka_unit_test(nothing_is_opened_for_who_has_left),
		cmocka_unit_test(pool_timeout_says_who_holds_the_pool),
		cmocka_unit_test(each_is_told_its_place),
		cmocka_unit_test(who_may_not_know_is_not_told_who_holds_the_pool),
		cmocka_unit_test(pool_timeout_says_why_no_other_connection_is_opened),
		cmocka_unit_test(never_more_than_pool_size_and_max_overflow),
		cmocka_unit_test(closing_connection_counts_until_the_server_has_hung_up),
		cmocka_unit_test(server_that_does_not_hang_up_is_hung_up_on),
		cmocka_unit_test(max_overflow_of_minus_one_is_no_limit),
		cmocka_unit_test(idle_connection_of_another_flavour_makes_room),
		cmocka_unit_test(waiter_of_another_flavour_is_not_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
