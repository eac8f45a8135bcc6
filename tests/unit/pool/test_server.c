/* One shard: connections that nobody has: tested before they are lent, cleaned after a client. */
#include "one_shard.h"

/* --- pre-ping --- */

static struct config_pool with_ping(int pool_size)
{
	struct config_pool limits = world_limits(pool_size, 0);

	limits.pool_pre_ping = true;
	limits.pre_ping_after = SECONDS(1);
	return limits;
}

static void connection_is_tested_only_after_pre_ping_after(void **state)
{
	begin_with(with_ping(1));
	world_fill(1);
	world_pass(SECONDS(1) - 1);
	client_ask('a');
	assert_true(client_has('a'));
	client_release('a');
	world_pass(SECONDS(1));
	client_ask('a');
	assert_false(client_has('a'));
	assert_string_equal(world_newest()->heard, "p");
	world_settle();
	assert_true(client_has('a'));
	assert_int_equal(world.n_opened, 1);
	world_end();
}

static void without_pre_ping_nothing_is_tested(void **state)
{
	begin(1, 0);
	world_fill(1);
	world_pass(SECONDS(10000));
	client_ask('a');
	assert_true(client_has('a'));
	assert_string_equal(world_newest()->heard, "");
	world_end();
}

static void dead_connection_is_replaced_without_the_client_noticing(void **state)
{
	begin_with(with_ping(1));
	world_fill(1);
	world_pass(SECONDS(2));
	world_newest()->broken = true;
	client_ask('a');
	world_settle();
	assert_true(client_has('a'));
	assert_string_equal(client_error('a'), "");
	assert_int_equal(world.n_opened, 2);
	world_end();
}

static void silent_connection_is_replaced_after_connect_timeout(void **state)
{
	begin_with(with_ping(1));
	world_fill(1);
	world_pass(SECONDS(2));
	struct peer *silent = world_newest();
	client_ask('a');
	world_pass(SECONDS(5));
	assert_false(client_has('a'));
	/* It does not answer our farewell either. */
	world_pass(SECONDS(2));
	assert_false(silent->open);
	world_settle();
	assert_true(client_has('a'));
	world_end();
}

static void when_one_is_dead_older_ones_are_tested_too(void **state)
{
	begin_with(with_ping(3));
	world_fill(3);
	/* Too young for a test, but one of them is seen to die. */
	world_pass(USEC_PER_MSEC);
	world_hang_up(world_newest());
	world_read(world_newest());
	world_turn();
	client_ask('a');
	assert_false(client_has('a'));
	world_settle();
	assert_true(client_has('a'));
	world_pass(USEC_PER_MSEC);
	client_release('a');
	/* It was used after the death. */
	client_ask('a');
	assert_true(client_has('a'));
	world_end();
}

static void idle_connection_that_the_server_closes_is_dropped_when_it_happens(void **state)
{
	begin(2, 0);
	world_fill(2);
	world_hang_up(world_newest());
	world_read(world_newest());
	assert_int_equal(world_n_open(), 1);
	assert_int_equal(pool()->ledger.n_permits, 1);
	world_end();
}

static void who_comes_while_one_is_tested_takes_the_next_one(void **state)
{
	begin_with(with_ping(2));
	world_fill(2);
	world_pass(SECONDS(2));
	client_ask('a');
	client_ask('b');
	assert_int_equal(pool()->n_servers[SERVER_TESTING], 2);
	world_settle();
	assert_true(client_has('a') && client_has('b'));
	assert_int_equal(world.n_opened, 2);
	world_end();
}

/* --- after a client --- */

static void abandoned_statement_is_cancelled_drained_cleaned_and_reused(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	client_begin('a');
	client_run('a');
	client_leave('a');
	client_ask('b');
	world_turn();
	assert_int_equal(world.n_cancels, 1);
	assert_string_equal(peer->heard, "S");
	world_cancel_over(0);
	world_turn();
	assert_false(client_has('b'));
	/* The cancelled statement's answer and the Sync's. */
	while (world_answer(peer))
		world_read(peer);
	assert_string_equal(peer->heard, "SC");
	world_answer(peer);
	world_read(peer);
	assert_true(client_has('b'));
	assert_int_equal(world.n_opened, 1);
	assert_int_equal(pool()->stats.total.n_reconnects_avoided, 1);
	world_end();
}

static void connection_is_held_while_a_cancel_is_under_way(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_run('a');
	pool_cancel(pool(), client('a')->server, NULL);
	client_finish('a');
	client_release('a');
	client_ask('b');
	world_pass(SECONDS(20));
	assert_false(client_has('b'));
	assert_int_equal(pool()->n_servers[SERVER_HELD], 1);
	world_cancel_over(0);
	world_turn();
	assert_true(client_has('b'));
	assert_int_equal(world.n_opened, 1);
	world_end();
}

static void cancel_that_never_ends_costs_the_connection(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_run('a');
	pool_cancel(pool(), client('a')->server, NULL);
	client_finish('a');
	client_release('a');
	client_ask_at('b', 0, 0);
	world_pass(SECONDS(33));
	assert_int_equal(world.n_dials, 1);
	world_dial_ok(0);
	world_turn();
	assert_true(client_has('b'));
	/* Long after, its memory goes with it. */
	world_cancel_over(0);
	world_turn();
	world_end();
}

static void cancel_that_may_still_come_hits_nobody_else(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_run('a');
	pool_cancel(pool(), client('a')->server, NULL);
	client_finish('a');
	client_release('a');
	client_ask('b');
	world_cancel_stray(0);
	world_settle();
	assert_true(client_has('b'));
	assert_int_equal(world.n_opened, 2);
	/* The same where its own client goes on with the connection meanwhile. */
	client_run('b');
	pool_cancel(pool(), client('b')->server, NULL);
	world_cancel_stray(0);
	world_turn();
	client_finish('b');
	client_release('b');
	client_ask('c');
	world_settle();
	assert_true(client_has('c'));
	assert_int_equal(world.n_opened, 3);
	world_end();
}

/* A client's statement is cancelled, and that is over. */
static void run_and_cancel(void)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_run('a');
	pool_cancel(pool(), client('a')->server, NULL);
	world_cancel_over(0);
	world_turn();
	assert_int_equal(world.n_cancels, 0);
}

static void cancel_without_effect_is_repeated_until_the_answer(void **state)
{
	usec_t pause = 50 * USEC_PER_MSEC;

	run_and_cancel();
	for (unsigned i = 0; i < 5; i++, pause *= 2) {
		world_pass(pause - 1);
		assert_int_equal(world.n_cancels, 0);
		world_pass(1);
		assert_int_equal(world.n_cancels, 1);
		/* One at a time, however long it takes. */
		world_pass(SECONDS(2));
		assert_int_equal(world.n_cancels, 1);
		world_cancel_over(0);
		world_turn();
	}
	client_finish('a');
	world_pass(SECONDS(60));
	assert_int_equal(world.n_cancels, 0);
	/* Nor does what its client runs next inherit it, nor what another one runs there. */
	client_run('a');
	world_pass(SECONDS(60));
	assert_int_equal(world.n_cancels, 0);
	client_finish('a');
	client_release('a');
	client_ask('b');
	world_turn();
	assert_true(client_has('b'));
	client_run('b');
	world_pass(SECONDS(60));
	assert_int_equal(world.n_cancels, 0);
	assert_int_equal(world.n_opened, 1);
	world_end();
}

static void answer_while_a_repeated_cancel_is_under_way_holds_the_connection(void **state)
{
	run_and_cancel();
	world_pass(50 * USEC_PER_MSEC);
	assert_int_equal(world.n_cancels, 1);
	client_finish('a');
	client_release('a');
	client_ask('b');
	world_pass(SECONDS(1));
	assert_false(client_has('b'));
	world_cancel_over(0);
	world_turn();
	assert_true(client_has('b'));
	client_run('b');
	world_pass(SECONDS(60));
	assert_int_equal(world.n_cancels, 0);
	world_end();
}

static void cancel_is_not_repeated_where_it_could_hit_what_waits_behind(void **state)
{
	run_and_cancel();
	client_run('a');
	world_pass(SECONDS(60));
	assert_int_equal(world.n_cancels, 0);
	world_end();
}

static void clean_waits_for_the_cancel(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	client_run('a');
	client_leave('a');
	while (world_answer(peer))
		world_read(peer);
	/* It has ended, but the cancel could hit what is sent now. */
	assert_string_equal(peer->heard, "S");
	world_cancel_over(0);
	world_turn();
	while (world_read(peer))
		;
	assert_string_equal(peer->heard, "SC");
	world_settle();
	assert_int_equal(n_idle(), 1);
	world_end();
}

static void connection_left_at_rest_and_clean_needs_nothing(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	client_leave('a');
	assert_string_equal(peer->heard, "");
	assert_int_equal(world.n_cancels, 0);
	assert_int_equal(n_idle(), 1);
	world_end();
}

static void connection_left_in_a_transaction_is_rolled_back(void **state)
{
	struct config_pool limits = world_limits(1, 0);

	/* Whatever pool_reset_on_return says. */
	limits.pool_reset_on_return = false;
	begin_with(limits);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	client_begin('a');
	client_leave('a');
	assert_string_equal(peer->heard, "C");
	world_settle();
	assert_int_equal(n_idle(), 1);
	world_end();
}

static void without_pool_reset_on_return_nothing_is_reset(void **state)
{
	struct config_pool limits = world_limits(1, 0);

	limits.pool_reset_on_return = false;
	begin_with(limits);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	client('a')->server->back->dirty = true;
	client_leave('a');
	assert_string_equal(peer->heard, "");
	client_ask('b');
	assert_true(client_has('b'));
	world_end();
}

static void connection_left_in_the_middle_of_a_message_is_closed(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	client_run('a');
	client('a')->server->back->mid_message = true;
	client_leave('a');
	assert_true(peer->told_end);
	client_ask('b');
	world_settle();
	assert_true(client_has('b'));
	assert_int_equal(world.n_opened, 2);
	world_end();
}

static void cancelled_statement_that_goes_on_for_cancel_grace_costs_the_connection(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	client_run('a');
	client_leave('a');
	client_ask('b');
	world_cancel_over(0);
	world_pass(SECONDS(2) - 1);
	assert_int_equal(pool()->n_servers[SERVER_CLEANING], 1);
	world_pass(1);
	assert_int_equal(pool()->n_servers[SERVER_CLOSING], 1);
	world_pass(SECONDS(3));
	assert_int_equal(world.n_dials, 1);
	world_end();
}

static void reset_has_longer_than_cancel_grace(void **state)
{
	begin(1, 0);
	client_ask('a');
	world_settle();
	struct peer *peer = peer_of_client('a');
	client_begin('a');
	client_run('a');
	client_leave('a');
	client_ask('b');
	world_cancel_over(0);
	world_pass(SECONDS(1));
	/* The statement's answer and the Sync's: it has obeyed, and works on the reset. */
	while (peer->heard[strlen(peer->heard) - 1] != 'C') {
		assert_true(world_answer(peer));
		world_read(peer);
		while (world.n_cancels)
			world_cancel_over(0);
		world_turn();
	}
	world_pass(SECONDS(5) - 1);
	assert_int_equal(pool()->n_servers[SERVER_CLEANING], 1);
	world_pass(1);
	assert_int_equal(pool()->n_servers[SERVER_CLOSING], 1);
	world_pass(SECONDS(3));
	assert_int_equal(world.n_dials, 1);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connection_is_tested_only_after_pre_ping_after),
		cmocka_unit_test(without_pre_ping_nothing_is_tested),
		cmocka_unit_test(dead_connection_is_replaced_without_the_client_noticing),
		cmocka_unit_test(silent_connection_is_replaced_after_connect_timeout),
		cmocka_unit_test(when_one_is_dead_older_ones_are_tested_too),
		cmocka_unit_test(idle_connection_that_the_server_closes_is_dropped_when_it_happens),
		cmocka_unit_test(who_comes_while_one_is_tested_takes_the_next_one),
		cmocka_unit_test(abandoned_statement_is_cancelled_drained_cleaned_and_reused),
		cmocka_unit_test(connection_is_held_while_a_cancel_is_under_way),
		cmocka_unit_test(cancel_that_never_ends_costs_the_connection),
		cmocka_unit_test(cancel_that_may_still_come_hits_nobody_else),
		cmocka_unit_test(cancel_without_effect_is_repeated_until_the_answer),
		cmocka_unit_test(answer_while_a_repeated_cancel_is_under_way_holds_the_connection),
		cmocka_unit_test(cancel_is_not_repeated_where_it_could_hit_what_waits_behind),
		cmocka_unit_test(clean_waits_for_the_cancel),
		cmocka_unit_test(connection_left_at_rest_and_clean_needs_nothing),
		cmocka_unit_test(connection_left_in_a_transaction_is_rolled_back),
		cmocka_unit_test(without_pool_reset_on_return_nothing_is_reset),
		cmocka_unit_test(connection_left_in_the_middle_of_a_message_is_closed),
		cmocka_unit_test(
			cancelled_statement_that_goes_on_for_cancel_grace_costs_the_connection),
		cmocka_unit_test(reset_has_longer_than_cancel_grace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
