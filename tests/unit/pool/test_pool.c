/* One shard: who gets which connection when, and what the clock does to them. */
#include "world.h"

#define SECONDS(n) ((n)*USEC_PER_SEC)

static struct pool *pool(void)
{
	return world_pool(0);
}

static unsigned n_idle(void)
{
	return pool()->n_servers[SERVER_IDLE];
}

static struct peer *peer_of_client(char name)
{
	return world_peer(client(name)->server);
}

/* A world with one shard. */
static void begin(int pool_size, int max_overflow)
{
	struct config_pool limits = world_limits(pool_size, max_overflow);

	world_begin(1, &limits);
}

/* Other limits for the same pool. */
static void begin_with(struct config_pool limits)
{
	world_begin(1, &limits);
}

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

/* --- what the clock closes --- */

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

/* --- dialling --- */

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
		cmocka_unit_test(overflow_is_closed_after_overflow_linger),
		cmocka_unit_test(overflow_in_use_lingers_on),
		cmocka_unit_test(overflow_takes_the_place_of_a_kept_one_that_is_gone),
		cmocka_unit_test(kept_ones_are_closed_after_pool_idle_timeout),
		cmocka_unit_test(min_size_is_opened_ahead_and_kept),
		cmocka_unit_test(old_connections_are_recycled_when_idle_or_released),
		cmocka_unit_test(connections_opened_together_are_not_recycled_together),
		cmocka_unit_test(connection_is_tested_only_after_pre_ping_after),
		cmocka_unit_test(without_pre_ping_nothing_is_tested),
		cmocka_unit_test(dead_connection_is_replaced_without_the_client_noticing),
		cmocka_unit_test(silent_connection_is_replaced_after_connect_timeout),
		cmocka_unit_test(when_one_is_dead_older_ones_are_tested_too),
		cmocka_unit_test(idle_connection_that_the_server_closes_is_dropped_when_it_happens),
		cmocka_unit_test(who_comes_while_one_is_tested_takes_the_next_one),
		cmocka_unit_test(at_most_four_dials_at_once),
		cmocka_unit_test(one_dial_at_a_time_while_they_fail),
		cmocka_unit_test(dials_that_fail_back_off_with_jitter),
		cmocka_unit_test(waiters_get_the_servers_own_words_after_pool_timeout),
		cmocka_unit_test(server_that_restarts_costs_nobody_an_error),
		cmocka_unit_test(final_refusal_is_told_at_once_and_to_those_who_come),
		cmocka_unit_test(failing_dials_refuse_nobody_while_a_connection_lives),
		cmocka_unit_test(
			waiters_are_refused_when_the_last_connection_goes_while_dials_fail),
		cmocka_unit_test(abandoned_statement_is_cancelled_drained_cleaned_and_reused),
		cmocka_unit_test(connection_is_held_while_a_cancel_is_under_way),
		cmocka_unit_test(cancel_that_never_ends_costs_the_connection),
		cmocka_unit_test(cancel_that_may_still_come_hits_nobody_else),
		cmocka_unit_test(clean_waits_for_the_cancel),
		cmocka_unit_test(connection_left_at_rest_and_clean_needs_nothing),
		cmocka_unit_test(connection_left_in_a_transaction_is_rolled_back),
		cmocka_unit_test(without_pool_reset_on_return_nothing_is_reset),
		cmocka_unit_test(connection_left_in_the_middle_of_a_message_is_closed),
		cmocka_unit_test(
			cancelled_statement_that_goes_on_for_cancel_grace_costs_the_connection),
		cmocka_unit_test(reset_has_longer_than_cancel_grace),
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
		cmocka_unit_test(idle_connection_of_another_flavour_makes_room),
		cmocka_unit_test(waiter_of_another_flavour_is_not_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
