/* Who is served next: by age or in turn, on all shards together; and who may not even wait. */
#include "world.h"

#define SECONDS(n) ((n)*USEC_PER_SEC)
#define MSECS(n)   ((n)*USEC_PER_MSEC)

static void begin(unsigned n_shards, int pool_size, enum fair_by fair_by)
{
	struct config_pool limits = world_limits(pool_size, 0);

	limits.fair_by = fair_by;
	world_begin(n_shards, &limits);
}

static void ask_as(char name, unsigned shard, unsigned user)
{
	client(name)->user = user;
	client_ask_at(name, shard, 0);
	world_turn();
}

/* Everybody who holds a connection gives it back, until nobody waits any more. */
static const char *served_in_order(void)
{
	bool any = true;

	while (any) {
		any = false;
		for (unsigned i = 0; i < CLIENTS_MAX; i++) {
			char name = (char)('a' + i);
			if (!client_has(name))
				continue;
			client_release(name);
			world_turn();
			any = true;
		}
	}
	return world.served;
}

/* --- by age --- */

static void few_milliseconds_of_age_count_across_shards(void **state)
{
	begin(4, 1, FAIR_BY_NONE);
	client_ask_at('a', 0, 0);
	world_settle();
	for (char name = 'b'; name <= 'k'; name++) {
		client_ask_at(name, (unsigned)name % 4, 0);
		world_pass(MSECS(6));
	}
	assert_string_equal(served_in_order(), "abcdefghijk");
	world_end();
}

/* The heads of the queues change with every connection that is released; the wishes that were told
 * do not. */
static void order_holds_while_queues_never_empty(void **state)
{
	begin(2, 1, FAIR_BY_NONE);
	client_ask_at('a', 0, 0);
	world_settle();
	for (char name = 'b'; name <= 'g'; name++) {
		client_ask_at(name, name < 'e', 0);
		world_pass(MSECS(10));
	}
	for (char name = 'a'; name <= 'f'; name++) {
		assert_true(client_has(name));
		client_release(name);
		world_turn();
		client_ask_at(name, (unsigned)name % 2, 0);
		world_pass(MSECS(10));
	}
	assert_string_equal(world.served, "abcdefg");
	world_end();
}

static void those_of_the_same_age_do_not_move_connections(void **state)
{
	begin(2, 2, FAIR_BY_NONE);
	client_ask_at('a', 0, 0);
	client_ask_at('b', 1, 0);
	world_settle();
	unsigned most = 0;
	for (char name = 'c'; name <= 'z'; name++)
		client_ask_at(name, (unsigned)name % 2, 0);
	world_turn();
	for (char name = 'a'; name <= 'x'; name++) {
		assert_true(client_has(name));
		client_release(name);
		world_turn();
		world.now += 100;
		client_ask_at(name, (unsigned)(name - 'a') % 2, 0);
		for (unsigned i = 0; i < 2; i++) {
			if (world_pool(i)->n_servers[SERVER_LENT] > most)
				most = world_pool(i)->n_servers[SERVER_LENT];
		}
	}
	assert_int_equal(most, 1);
	world_end();
}

static void slow_dial_does_not_hide_what_is_idle_elsewhere(void **state)
{
	begin(2, 2, FAIR_BY_NONE);
	client_ask_at('a', 0, 0);
	world_settle();
	client_ask_at('b', 1, 0);
	world_turn();
	assert_int_equal(world.n_dials, 1);
	client_release('a');
	world_turn();
	world_pass(MSECS(5));
	assert_false(client_has('b'));
	world_pass(MSECS(10));
	assert_true(client_has('b'));
	assert_int_equal(world.n_dials, 1);
	world_end();
}

/* --- in turn --- */

static void users_take_turns_and_each_is_served_by_age(void **state)
{
	for (unsigned n_shards = 1; n_shards <= 3; n_shards++) {
		begin(n_shards, 1, FAIR_BY_USER);
		ask_as('a', 0, 1);
		world_settle();
		for (char name = 'b'; name <= 'f'; name++) {
			ask_as(name, (unsigned)name % n_shards, 1);
			world_pass(SECONDS(1));
		}
		ask_as('p', 0, 2);
		ask_as('q', n_shards - 1, 2);
		ask_as('x', n_shards / 2, 3);
		/* Those whose turn is the same come as they may. */
		assert_string_equal(served_in_order() + 5, "cdef");
		assert_int_equal(world.served[0], 'a');
		assert_int_equal(strspn(world.served + 1, "px"), 2);
		assert_int_equal(strspn(world.served + 3, "bq"), 2);
		world_end();
	}
}

static void one_user_alone_is_served_by_age(void **state)
{
	begin(3, 1, FAIR_BY_USER);
	ask_as('a', 0, 1);
	world_settle();
	for (char name = 'b'; name <= 'k'; name++) {
		ask_as(name, (unsigned)name % 3, 1);
		world_pass(MSECS(6));
	}
	assert_string_equal(served_in_order(), "abcdefghijk");
	world_end();
}

static void turns_begin_anew_when_a_reload_changes_who_takes_them(void **state)
{
	struct config_pool limits = world_limits(1, 0);

	limits.fair_by = FAIR_BY_NONE;
	world_begin(2, &limits);
	ask_as('a', 0, 1);
	world_settle();
	for (char name = 'b'; name <= 'e'; name++) {
		ask_as(name, (unsigned)name % 2, 1);
		world_pass(MSECS(6));
	}
	ask_as('p', 1, 2);
	limits.fair_by = FAIR_BY_USER;
	world_reload(&limits);
	client_release('a');
	world_turn();
	/* Of each user the first one. */
	client_release(client_has('b') ? 'b' : 'p');
	world_turn();
	assert_int_equal(strspn(world.served + 1, "bp"), 2);
	limits.fair_by = FAIR_BY_NONE;
	world_reload(&limits);
	assert_string_equal(served_in_order() + 3, "cde");
	world_end();
}

/* Three users whose clients always want one more: 5, 15 and 45 of them. */
enum { N_USERS = 3, N_CLIENTS = 65 };

static unsigned user_of(unsigned i)
{
	return i < 5 ? 0 : i < 20 ? 1 : 2;
}

static double jain(const unsigned counts[N_USERS])
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < N_USERS; i++) {
		sum += counts[i];
		squares += (double)counts[i] * counts[i];
	}
	return sum * sum / (N_USERS * squares);
}

static void share(unsigned n_shards, int pool_size, usec_t service)
{
	unsigned counts[N_USERS] = {0};
	uint64_t seed = 7;

	begin(n_shards, pool_size, FAIR_BY_USER);
	for (unsigned i = 0; i < N_CLIENTS; i++)
		ask_as((char)('a' + i), i % n_shards, 1 + user_of(i));
	world_settle();
	for (unsigned n = 0; n < 20000; n++) {
		unsigned i;
		do {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			i = (unsigned)(seed >> 33) % N_CLIENTS;
		} while (!client_has((char)('a' + i)));
		world.now += service / pool_size;
		client_release((char)('a' + i));
		world_turn();
		if (n >= 1000)
			counts[user_of(i)]++;
		ask_as((char)('a' + i), i % n_shards, 1 + user_of(i));
	}
	assert_true(jain(counts) >= 0.99);
	world_end();
}

static void users_with_few_clients_get_as_much_as_those_with_many(void **state)
{
	for (unsigned n_shards = 1; n_shards <= 4; n_shards++) {
		for (int pool_size = 1; pool_size <= 8; pool_size++) {
			share(n_shards, pool_size, 50);
			share(n_shards, pool_size, MSECS(1));
			share(n_shards, pool_size, MSECS(100));
		}
	}
}

/* --- max_waiting --- */

static void one_more_than_max_waiting_is_refused_at_once(void **state)
{
	for (unsigned n_shards = 1; n_shards <= 3; n_shards++) {
		struct config_pool limits = world_limits(1, 1);

		limits.max_waiting = 2;
		world_begin(n_shards, &limits);
		/* For these, there is room. */
		ask_as('a', 0, 1);
		ask_as('b', n_shards - 1, 1);
		world_settle();
		assert_true(client_has('a') && client_has('b'));
		ask_as('c', 0, 1);
		ask_as('d', n_shards - 1, 1);
		assert_true(client_waits('c') && client_waits('d'));
		ask_as('e', n_shards / 2, 1);
		assert_int_equal(client('e')->refusal.reason, REASON_QUEUE_FULL);
		assert_non_null(strstr(client_error('e'), "max_waiting"));
		/* It may try again, and waits where there is a place. */
		client_leave('d');
		ask_as('e', n_shards / 2, 1);
		assert_true(client_waits('e'));
		world_end();
	}
}

static void whoever_finds_an_idle_connection_elsewhere_is_not_refused(void **state)
{
	struct config_pool limits = world_limits(3, 0);

	limits.max_waiting = 1;
	world_begin(2, &limits);
	world_fill(3);
	ask_as('a', 1, 1);
	ask_as('b', 1, 1);
	ask_as('c', 1, 1);
	assert_true(client_has('a') && client_has('b') && client_has('c'));
	client_ask_at('d', 0, 0);
	client_ask_at('e', 1, 0);
	world_turn();
	assert_true(client_waits('d'));
	assert_int_equal(client('e')->refusal.reason, REASON_QUEUE_FULL);
	world_end();
}

static void client_that_leaves_before_it_is_refused_is_not_told(void **state)
{
	struct config_pool limits = world_limits(1, 0);

	limits.max_waiting = 1;
	world_begin(1, &limits);
	client_ask('a');
	world_settle();
	client_ask('b');
	client_ask('c');
	client_leave('c');
	world_turn();
	assert_string_equal(client_error('c'), "");
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_milliseconds_of_age_count_across_shards),
		cmocka_unit_test(order_holds_while_queues_never_empty),
		cmocka_unit_test(those_of_the_same_age_do_not_move_connections),
		cmocka_unit_test(slow_dial_does_not_hide_what_is_idle_elsewhere),
		cmocka_unit_test(users_take_turns_and_each_is_served_by_age),
		cmocka_unit_test(one_user_alone_is_served_by_age),
		cmocka_unit_test(turns_begin_anew_when_a_reload_changes_who_takes_them),
		cmocka_unit_test(users_with_few_clients_get_as_much_as_those_with_many),
		cmocka_unit_test(one_more_than_max_waiting_is_refused_at_once),
		cmocka_unit_test(whoever_finds_an_idle_connection_elsewhere_is_not_refused),
		cmocka_unit_test(client_that_leaves_before_it_is_refused_is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
