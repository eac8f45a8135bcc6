#include <string.h>

#include "../test.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/list.h"
#include "util/log.h"
#include "util/map.h"
#include "util/text.h"

static void reads_past_the_end_latch_failure(void **state)
{
	const uint8_t data[] = {1, 2, 3};
	struct reader r;

	reader_init(&r, data, sizeof(data));
	assert_int_equal(reader_u16be(&r), 0x0102);
	assert_int_equal(reader_u32be(&r), 0);
	assert_true(r.failed);
	assert_int_equal(reader_u8(&r), 0);
	assert_false(reader_done(&r));
}

static void text_without_its_nul_is_no_text(void **state)
{
	struct reader r;
	size_t len = 99;

	reader_init(&r, "abc", 3);
	assert_null(reader_cstr(&r, &len));
	reader_init(&r, "abc", 4);
	assert_string_equal(reader_cstr(&r, &len), "abc");
	assert_int_equal(len, 3);
	assert_true(reader_done(&r));
}

static void little_endian_numbers_are_read_and_written_alike(void **state)
{
	struct buf b = {0};
	struct reader r;

	buf_u16le(&b, 0xabcd);
	buf_u24le(&b, 0x123456);
	buf_u32le(&b, 0xdeadbeef);
	buf_u64le(&b, 0x0102030405060708u);
	reader_init(&r, b.data, b.len);
	assert_int_equal(reader_u16le(&r), 0xabcd);
	assert_int_equal(reader_u24le(&r), 0x123456);
	assert_true(reader_u32le(&r) == 0xdeadbeef);
	assert_true(reader_u64le(&r) == 0x0102030405060708u);
	assert_true(reader_done(&r));
	buf_clear(&b);
}

static void a_buffer_keeps_to_its_limit(void **state)
{
	struct buf b = {.limit = 10};

	buf_text(&b, "12345678");
	assert_false(b.failed);
	buf_text(&b, "9abc");
	assert_true(b.failed);
	assert_int_equal(b.len, 8);
	buf_clear(&b);
	assert_int_equal(b.limit, 10);
}

static void consuming_moves_the_rest_to_the_front(void **state)
{
	struct buf b = {0};

	buf_printf(&b, "%s-%d", "abc", 42);
	buf_consume(&b, 2);
	assert_memory_equal(b.data, "c-42", 4);
	assert_int_equal(b.len, 4);
	buf_clear(&b);
}

struct item {
	struct list link;
	struct map_node node;
	uint64_t key;
};

static void a_list_keeps_its_order(void **state)
{
	struct list head;
	struct item items[3];

	list_init(&head);
	for (int i = 0; i < 3; i++) {
		items[i].key = (uint64_t)i;
		list_append(&head, &items[i].link);
	}
	assert_ptr_equal(list_first(&head, struct item, link), &items[0]);
	assert_ptr_equal(list_last(&head, struct item, link), &items[2]);
	list_remove(&items[0].link);
	list_remove(&items[0].link);
	assert_ptr_equal(list_first(&head, struct item, link), &items[1]);
	list_remove(&items[1].link);
	list_remove(&items[2].link);
	assert_true(list_empty(&head));
}

static bool same_key(const struct map_node *node, const void *key)
{
	return container_of(node, struct item, node)->key == *(const uint64_t *)key;
}

static void a_map_finds_what_shares_a_hash(void **state)
{
	static struct item items[1000];
	struct map m;

	map_init(&m);
	for (uint64_t i = 0; i < 1000; i++) {
		items[i].key = i;
		assert_int_equal(map_insert(&m, &items[i].node, i % 7), 0);
	}
	for (uint64_t i = 0; i < 1000; i++)
		assert_ptr_equal(map_find(&m, i % 7, same_key, &i), &items[i].node);
	for (uint64_t i = 0; i < 1000; i += 2)
		map_remove(&m, &items[i].node);
	struct map_node *node;
	size_t n = 0;
	map_for_each (node, &m) {
		n++;
	}
	assert_int_equal(n, 500);
	map_clear(&m);
}

static void peers_text_is_escaped_and_cut(void **state)
{
	char text[16];

	assert_string_equal(log_escape("a\"b\n", text, sizeof(text)), "a\\\"b\\x0a");
	assert_string_equal(log_escape(NULL, text, sizeof(text)), "");
	assert_true(strlen(log_escape("0123456789abcdefghij", text, sizeof(text))) < sizeof(text));
}

static void no_limit_is_never(void **state)
{
	assert_true(clock_deadline(5, 0) == USEC_NEVER);
	assert_true(clock_deadline(5, -1) == USEC_NEVER);
	assert_true(clock_deadline(5, 7) == 12);
	assert_true(clock_deadline(USEC_NEVER - 1, 7) == USEC_NEVER);
}

static void words_compare_without_case(void **state)
{
	assert_true(text_equal_ci("AbC", "aBc"));
	assert_false(text_equal_ci("abc", "abcd"));
	assert_true(text_is_ci("SELECT x", 6, "select"));
	assert_false(text_is_ci("SELECT", 5, "select"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_past_the_end_latch_failure),
		cmocka_unit_test(text_without_its_nul_is_no_text),
		cmocka_unit_test(little_endian_numbers_are_read_and_written_alike),
		cmocka_unit_test(a_buffer_keeps_to_its_limit),
		cmocka_unit_test(consuming_moves_the_rest_to_the_front),
		cmocka_unit_test(a_list_keeps_its_order),
		cmocka_unit_test(a_map_finds_what_shares_a_hash),
		cmocka_unit_test(peers_text_is_escaped_and_cut),
		cmocka_unit_test(no_limit_is_never),
		cmocka_unit_test(words_compare_without_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
