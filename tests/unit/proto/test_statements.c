/* Prepared statements, whichever protocol's: what a server connection has prepared, which of it
 * goes first, and what of it is left when the connection goes to another worker. */
#include "proto/statements.h"

#include <stdlib.h>
#include <string.h>

#include "../test.h"

/* Keys begin with the letter of their worker. */
#define OWN_LEN 1

static bool examine(void *arg, const uint8_t *body, size_t len, void **ret_effects)
{
	*ret_effects = NULL;
	return true;
}

struct place {
	char letter;
	struct statements table;
};

static void begin(struct place *place, char letter)
{
	place->letter = letter;
	statements_init(&place->table, OWN_LEN, examine, free, NULL);
}

static struct statement *get(struct place *place, const char *text)
{
	uint8_t body[200];
	size_t len = strlen(text);

	assert_true(len < sizeof(body) - OWN_LEN);
	body[0] = (uint8_t)place->letter;
	memcpy(body + OWN_LEN, text, len);
	struct statement *s = statement_get(&place->table, body, OWN_LEN + len);
	assert_non_null(s);
	return s;
}

static void add(struct place *place, struct prepared_set *set, const char *text, uint64_t number)
{
	struct statement *s = get(place, text);

	assert_null(prepared_use(set, s));
	assert_non_null(prepared_add(set, s, number));
	statement_unref(s);
}

/* The number of the statement there; 0: it is not prepared. */
static uint64_t number_of(struct place *place, struct prepared_set *set, const char *text)
{
	struct statement *s = get(place, text);
	const struct prepared *p = prepared_use(set, s);

	statement_unref(s);
	return p ? p->number : 0;
}

/* The number of the one that has to go; 0: none. */
static uint64_t evict(struct prepared_set *set, size_t limit)
{
	struct statement *s;
	uint64_t number;

	if (!prepared_evict(set, limit, &s, &number))
		return 0;
	statement_unref(s);
	return number;
}

/* The bytes are other memory by then. */
static void move(struct prepared_set *set)
{
	struct buf packed = {0};

	assert_true(prepared_pack(set, &packed));
	prepared_clear(set);
	prepared_init(set);
	prepared_unpack(set, &packed);
	assert_null(packed.data);
}

static void end(struct place *place)
{
	assert_int_equal(place->table.by_body.n_items, 0);
	statements_clear(&place->table);
}

static void least_recently_used_goes_first(void **state)
{
	struct place a;
	struct prepared_set set;

	begin(&a, 'a');
	prepared_init(&set);
	add(&a, &set, "0", 10);
	add(&a, &set, "1", 11);
	add(&a, &set, "2", 12);
	add(&a, &set, "3", 13);
	assert_int_equal(number_of(&a, &set, "0"), 10);
	assert_int_equal(evict(&set, 4), 0);
	assert_int_equal(evict(&set, 3), 11);
	struct statement *s = get(&a, "2");
	prepared_remove(&set, s);
	prepared_remove(&set, s);
	statement_unref(s);
	assert_int_equal(evict(&set, 1), 13);
	assert_int_equal(number_of(&a, &set, "0"), 10);
	assert_int_equal(evict(&set, 1), 0);
	prepared_clear(&set);
	end(&a);
}

static void statements_are_known_on_the_other_worker(void **state)
{
	struct place a, b;
	struct prepared_set set;

	begin(&a, 'a');
	begin(&b, 'b');
	prepared_init(&set);
	add(&a, &set, "one", 10);
	add(&a, &set, "", 11);
	add(&a, &set, "two", 12);
	move(&set);
	/* Nothing holds on to the first worker. */
	end(&a);
	assert_int_equal(prepared_count(&set), 3);
	assert_int_equal(number_of(&b, &set, "on"), 0);
	assert_int_equal(number_of(&b, &set, "one"), 10);
	assert_int_equal(number_of(&b, &set, "one"), 10);
	assert_int_equal(number_of(&b, &set, ""), 11);
	assert_int_equal(number_of(&b, &set, "two"), 12);
	assert_int_equal(number_of(&b, &set, "three"), 0);
	assert_int_equal(prepared_count(&set), 3);
	assert_null(set.packed.data);
	prepared_clear(&set);
	end(&b);
}

static void what_was_not_wanted_goes_on_with_the_rest(void **state)
{
	struct place a, b;
	struct prepared_set set;

	begin(&a, 'a');
	begin(&b, 'b');
	prepared_init(&set);
	add(&a, &set, "one", 10);
	add(&a, &set, "two", 11);
	add(&a, &set, "three", 12);
	move(&set);
	assert_int_equal(number_of(&b, &set, "two"), 11);
	add(&b, &set, "four", 13);
	move(&set);
	end(&b);
	assert_int_equal(prepared_count(&set), 4);
	assert_int_equal(number_of(&a, &set, "one"), 10);
	/* As if it had not been away: the most recent use counts, wherever that was. */
	assert_int_equal(evict(&set, 3), 12);
	assert_int_equal(evict(&set, 2), 11);
	assert_int_equal(evict(&set, 1), 13);
	assert_int_equal(evict(&set, 1), 0);
	assert_int_equal(number_of(&a, &set, "two"), 0);
	assert_int_equal(number_of(&a, &set, "one"), 10);
	prepared_clear(&set);
	end(&a);
}

static void one_that_stays_after_all_counts_and_does_not_travel(void **state)
{
	struct place a, b;
	struct prepared_set set;
	struct statement *s;
	uint64_t number;

	begin(&a, 'a');
	begin(&b, 'b');
	prepared_init(&set);
	add(&a, &set, "one", 10);
	assert_true(prepared_evict(&set, 0, &s, &number));
	assert_int_equal(number_of(&a, &set, "one"), 0);
	assert_true(prepared_restore(&set, s, number));
	statement_unref(s);
	assert_int_equal(number_of(&a, &set, "one"), 10);
	move(&set);
	assert_int_equal(number_of(&b, &set, "one"), 0);
	assert_int_equal(prepared_count(&set), 1);
	/* Nothing is known of it but its number. */
	assert_true(prepared_evict(&set, 0, &s, &number));
	assert_null(s);
	assert_false(prepared_restore(&set, s, number));
	prepared_clear(&set);
	end(&a);
	end(&b);
}

static void statement_that_is_prepared_again_is_not_taken_for_the_old_one(void **state)
{
	struct place a, b;
	struct prepared_set set;

	begin(&a, 'a');
	begin(&b, 'b');
	prepared_init(&set);
	add(&a, &set, "one", 10);
	move(&set);
	struct statement *s = get(&b, "one");
	assert_non_null(prepared_add(&set, s, 20));
	assert_int_equal(number_of(&b, &set, "one"), 20);
	prepared_remove(&set, s);
	statement_unref(s);
	prepared_clear(&set);
	assert_int_equal(prepared_count(&set), 0);
	end(&a);
	end(&b);
}

static void wait_a_moment(void)
{
	usec_t before = clock_usec();

	while (clock_usec() <= before)
		;
}

/* A client that was told of the change on the one worker gets no plan that is as old from the
 * other. */
static void plan_may_not_be_older_than_the_last_one_that_did_not_fit(void **state)
{
	struct place a, b;
	struct prepared_set set;

	begin(&a, 'a');
	begin(&b, 'b');
	prepared_init(&set);
	add(&a, &set, "one", 10);
	add(&a, &set, "two", 11);
	wait_a_moment();
	struct statement *old = get(&b, "one");
	statement_supersede(old);
	statement_unref(old);
	move(&set);
	assert_int_equal(number_of(&b, &set, "one"), 0);
	assert_int_equal(number_of(&b, &set, "two"), 0);
	/* They are still there, and count. */
	assert_int_equal(prepared_count(&set), 2);
	assert_int_equal(evict(&set, 1), 10);
	assert_int_equal(evict(&set, 0), 11);
	/* One that was prepared later is as good as here. */
	add(&a, &set, "one", 12);
	move(&set);
	assert_int_equal(number_of(&b, &set, "one"), 12);
	prepared_clear(&set);
	end(&a);
	end(&b);
}

static void superseded_statement_is_of_no_use_elsewhere(void **state)
{
	struct place a, b;
	struct prepared_set set;

	begin(&a, 'a');
	begin(&b, 'b');
	prepared_init(&set);
	add(&a, &set, "one", 10);
	struct statement *s = get(&a, "one");
	statement_supersede(s);
	statement_unref(s);
	add(&a, &set, "one", 11);
	s = get(&a, "one");
	statement_supersede(s);
	statement_unref(s);
	move(&set);
	assert_int_equal(prepared_count(&set), 2);
	assert_int_equal(number_of(&b, &set, "one"), 0);
	assert_int_equal(number_of(&b, &set, ""), 0);
	assert_int_equal(evict(&set, 1), 10);
	prepared_clear(&set);
	end(&a);
	end(&b);
}

static void a_statement_that_is_dropped_is_no_change_of_plans(void **state)
{
	struct place a;

	begin(&a, 'a');
	statement_unref(get(&a, "one"));
	assert_int_equal(a.table.superseded_at, 0);
	end(&a);
}

static void too_much_does_not_travel(void **state)
{
	const size_t half = PREPARED_PACKED_MAX / 2 + 1;
	struct place a;
	struct prepared_set set;
	struct buf packed = {0};
	uint8_t *text = calloc(2, half);

	assert_non_null(text);
	begin(&a, 'a');
	prepared_init(&set);
	struct statement *one = statement_get(&a.table, text, half);
	struct statement *two = statement_get(&a.table, text, half + 1);
	assert_non_null(prepared_add(&set, one, 1));
	assert_true(prepared_pack(&set, &packed));
	buf_clear(&packed);
	assert_non_null(prepared_add(&set, two, 2));
	assert_false(prepared_pack(&set, &packed));
	assert_null(packed.data);
	/* It is all still there; and what is less does. */
	assert_int_equal(prepared_use(&set, one)->number, 1);
	assert_int_equal(evict(&set, 1), 2);
	assert_true(prepared_pack(&set, &packed));
	buf_clear(&packed);
	statement_unref(one);
	statement_unref(two);
	prepared_clear(&set);
	free(text);
	end(&a);
}

/* No other worker writes such bytes; but what is read is checked. */
static void bytes_that_are_cut_end_there(void **state)
{
	struct place a, b;
	struct prepared_set set;
	struct buf packed = {0}, cut = {0};

	begin(&a, 'a');
	begin(&b, 'b');
	prepared_init(&set);
	add(&a, &set, "one", 10);
	add(&a, &set, "two", 11);
	assert_true(prepared_pack(&set, &packed));
	prepared_clear(&set);
	for (size_t len = 0; len <= packed.len; len++) {
		buf_put(&cut, packed.data, len);
		prepared_init(&set);
		prepared_unpack(&set, &cut);
		size_t n = prepared_count(&set);
		assert_int_equal(n, len == packed.len ? 2 : len >= packed.len / 2);
		assert_int_equal(number_of(&b, &set, "two"), n > 0 ? 11 : 0);
		assert_int_equal(number_of(&b, &set, "one"), n > 1 ? 10 : 0);
		prepared_clear(&set);
	}
	buf_clear(&packed);
	end(&a);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(least_recently_used_goes_first),
		cmocka_unit_test(statements_are_known_on_the_other_worker),
		cmocka_unit_test(what_was_not_wanted_goes_on_with_the_rest),
		cmocka_unit_test(one_that_stays_after_all_counts_and_does_not_travel),
		cmocka_unit_test(statement_that_is_prepared_again_is_not_taken_for_the_old_one),
		cmocka_unit_test(plan_may_not_be_older_than_the_last_one_that_did_not_fit),
		cmocka_unit_test(superseded_statement_is_of_no_use_elsewhere),
		cmocka_unit_test(a_statement_that_is_dropped_is_no_change_of_plans),
		cmocka_unit_test(too_much_does_not_travel),
		cmocka_unit_test(bytes_that_are_cut_end_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
