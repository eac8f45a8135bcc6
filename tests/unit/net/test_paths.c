/* Which addresses are left for last, and for how long. */
#include <poll.h>

#include "../test.h"
#include "net/paths.h"

#define SEC USEC_PER_SEC

static struct paths *new_paths(void)
{
	struct paths *paths = NULL;

	assert_int_equal(paths_new(&paths), 0);
	return paths;
}

/* One dial at that moment: the first address does not answer for 5 s, the second does. The order in
 * which they had their turn. */
static const char *dial(struct paths *paths, usec_t now)
{
	struct search search;
	bool first;

	search_init(&search, paths);
	first = search_turn(&search, "192.0.2.1", 5432, now);
	if (first)
		search_unanswered(&search, "192.0.2.1", 5432, now, now + 5 * SEC, true);
	assert_true(search_turn(&search, "192.0.2.2", 5432, now));
	search_answered(&search, "192.0.2.2", 5432);
	search_clear(&search);
	return first ? "both" : "second";
}

static void an_address_that_gave_no_answer_is_avoided_for_a_while(void **state)
{
	struct paths *paths = new_paths();

	assert_string_equal(dial(paths, 100 * SEC), "both");
	assert_string_equal(dial(paths, 105 * SEC), "second");
	assert_string_equal(dial(paths, 112 * SEC), "second");
	/* At most 10 s later. */
	assert_string_equal(dial(paths, 115 * SEC), "both");
	/* Now for longer: 15 to 20 s. */
	assert_string_equal(dial(paths, 134 * SEC), "second");
	assert_string_equal(dial(paths, 140 * SEC), "both");
	assert_string_equal(dial(paths, 185 * SEC), "both");
	/* And never for more than a minute. */
	assert_string_equal(dial(paths, 190 * SEC + 44 * SEC), "second");
	assert_string_equal(dial(paths, 250 * SEC), "both");
	assert_string_equal(dial(paths, 255 * SEC + 44 * SEC), "second");
	assert_string_equal(dial(paths, 315 * SEC), "both");
	paths_free(paths);
}

static void only_one_tries_it_again(void **state)
{
	struct paths *paths = new_paths();
	struct search one, other;

	assert_string_equal(dial(paths, 100 * SEC), "both");
	search_init(&one, paths);
	search_init(&other, paths);
	assert_true(search_turn(&one, "192.0.2.1", 5432, 116 * SEC));
	assert_false(search_turn(&other, "192.0.2.1", 5432, 117 * SEC));
	search_answered(&one, "192.0.2.1", 5432);
	search_clear(&other);
	search_init(&other, paths);
	assert_true(search_turn(&other, "192.0.2.1", 5432, 118 * SEC));
	search_clear(&one);
	search_clear(&other);
	paths_free(paths);
}

static void those_that_are_avoided_are_tried_when_all_others_fail(void **state)
{
	struct paths *paths = new_paths();
	struct search search;

	dial(paths, 100 * SEC);
	search_init(&search, paths);
	assert_false(search_turn(&search, "192.0.2.1", 5432, 106 * SEC));
	assert_true(search_turn(&search, "192.0.2.2", 5432, 106 * SEC));
	/* Refused at once: nothing to remember. */
	search_unanswered(&search, "192.0.2.2", 5432, 106 * SEC, 106 * SEC + 1, false);
	assert_true(search_again(&search));
	assert_true(search_turn(&search, "192.0.2.1", 5432, 106 * SEC));
	assert_false(search_turn(&search, "192.0.2.2", 5432, 106 * SEC));
	search_answered(&search, "192.0.2.1", 5432);
	assert_false(search_again(&search));
	search_clear(&search);
	/* It is well again, and so is the other. */
	search_init(&search, paths);
	assert_true(search_turn(&search, "192.0.2.1", 5432, 106 * SEC));
	assert_true(search_turn(&search, "192.0.2.2", 5432, 106 * SEC));
	assert_false(search_again(&search));
	search_clear(&search);
	paths_free(paths);
}

static void several_that_wait_at_once_are_one_failure(void **state)
{
	struct paths *paths = new_paths();
	struct search searches[4];

	for (size_t i = 0; i < 4; i++) {
		search_init(&searches[i], paths);
		assert_true(search_turn(&searches[i], "192.0.2.1", 5432, 100 * SEC + (usec_t)i));
	}
	for (size_t i = 0; i < 4; i++) {
		search_unanswered(&searches[i], "192.0.2.1", 5432, 100 * SEC + (usec_t)i,
			105 * SEC + (usec_t)i, true);
		search_clear(&searches[i]);
	}
	assert_string_equal(dial(paths, 116 * SEC), "both");
	paths_free(paths);
}

static void no_more_are_remembered_than_there_is_room_for(void **state)
{
	struct paths *paths = new_paths();
	struct search search;

	search_init(&search, paths);
	for (unsigned port = 1; port <= 1000; port++) {
		assert_true(search_turn(&search, "192.0.2.1", port, 100 * SEC));
		search_unanswered(&search, "192.0.2.1", port, 100 * SEC, 105 * SEC + port, true);
	}
	search_clear(&search);
	search_init(&search, paths);
	assert_false(search_turn(&search, "192.0.2.1", 1000, 106 * SEC));
	search_clear(&search);
	paths_free(paths);
}

static void they_are_closed_for_ever(void **state)
{
	struct paths *paths = new_paths();
	struct pollfd pfd = {.fd = paths_closed_fd(paths), .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, 0), 0);
	paths_close(paths);
	assert_int_equal(poll(&pfd, 1, 0), 1);
	assert_int_equal(poll(&pfd, 1, 0), 1);
	assert_int_equal(paths_closed_fd(NULL), -1);
	paths_free(paths);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_that_gave_no_answer_is_avoided_for_a_while),
		cmocka_unit_test(only_one_tries_it_again),
		cmocka_unit_test(those_that_are_avoided_are_tried_when_all_others_fail),
		cmocka_unit_test(several_that_wait_at_once_are_one_failure),
		cmocka_unit_test(no_more_are_remembered_than_there_is_room_for),
		cmocka_unit_test(they_are_closed_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
