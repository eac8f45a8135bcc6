/* Gathering what is to be sent. */
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "net/output.h"

static struct output o;

static void check_content(const void *expected, size_t len)
{
	uint8_t *bytes = malloc(len + 1);

	assert_non_null(bytes);
	assert_int_equal(o.total, len);
	output_flatten(&o, bytes);
	assert_memory_equal(bytes, expected, len);
	free(bytes);
}

static void references_and_copies_keep_their_order(void **state)
{
	static const char text[] = "abcdefgh";
	char own[] = "123";

	output_init(&o);
	output_ref(&o, text, 3);
	output_copy(&o, own, 3);
	own[0] = 'x';
	output_ref(&o, text + 5, 2);
	output_ref(&o, text, 0);
	output_copy(&o, NULL, 0);
	check_content("abc123fg", 8);
	assert_int_equal(o.n_iov, 3);
	output_reset(&o);
	assert_int_equal(o.total, 0);
	assert_int_equal(o.n_iov, 0);
}

static void neighbours_are_one_piece(void **state)
{
	static const char text[] = "abcdefgh";

	output_init(&o);
	output_ref(&o, text, 3);
	output_ref(&o, text + 3, 3);
	assert_int_equal(o.n_iov, 1);
	output_copy(&o, "1", 1);
	output_copy(&o, "2", 1);
	assert_int_equal(o.n_iov, 2);
	check_content("abcdef12", 8);
	output_reset(&o);
}

static void any_number_of_copies_fits(void **state)
{
	static uint8_t expected[300000];

	output_init(&o);
	for (size_t i = 0; i < sizeof(expected); i += 3) {
		uint8_t piece[3] = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16)};
		memcpy(expected + i, piece, 3);
		output_copy(&o, piece, 3);
	}
	assert_true(output_has_room(&o));
	check_content(expected, sizeof(expected));
	output_reset(&o);
	/* And it is empty again, with its scratch. */
	output_copy(&o, "x", 1);
	assert_ptr_equal(o.iov[0].iov_base, o.scratch);
	output_reset(&o);
}

static void large_pieces_are_whole(void **state)
{
	static uint8_t large[5 * OUTPUT_SCRATCH];

	memset(large, 7, sizeof(large));
	output_init(&o);
	output_copy(&o, "a", 1);
	uint8_t *at = output_space(&o, sizeof(large));
	assert_non_null(at);
	memset(at, 7, sizeof(large));
	assert_int_equal(o.total, 1 + sizeof(large));
	assert_int_equal(o.n_iov, 2);
	output_copy(&o, "b", 1);
	output_reset(&o);
	output_copy(&o, large, sizeof(large));
	check_content(large, sizeof(large));
	output_reset(&o);
}

static void room_is_told(void **state)
{
	static char bytes[2 * OUTPUT_IOV];

	output_init(&o);
	for (size_t i = 0; i + 16 <= OUTPUT_IOV; i++) {
		assert_true(output_has_room(&o));
		output_ref(&o, bytes + 2 * i, 1);
	}
	assert_false(output_has_room(&o));
	output_reset(&o);
	assert_true(output_has_room(&o));
}

static void failed_output_takes_no_more(void **state)
{
	output_init(&o);
	output_copy(&o, "x", 1);
	o.failed = true;
	output_copy(&o, "y", 1);
	output_ref(&o, "z", 1);
	assert_null(output_space(&o, 1));
	check_content("x", 1);
	output_reset(&o);
	assert_false(o.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(references_and_copies_keep_their_order),
		cmocka_unit_test(neighbours_are_one_piece),
		cmocka_unit_test(any_number_of_copies_fits),
		cmocka_unit_test(large_pieces_are_whole),
		cmocka_unit_test(room_is_told),
		cmocka_unit_test(failed_output_takes_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
