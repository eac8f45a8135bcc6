#include <string.h>

#include "../test.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/heap.h"
#include "util/list.h"
#include "util/log.h"
#include "util/map.h"
#include "util/random.h"
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

static void nothing_put_into_an_empty_buffer_leaves_it_empty(void **state)
{
	struct buf b = {0};

	buf_text(&b, "");
	buf_put(&b, NULL, 0);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_false(b.failed);
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

static void readers_give_bytes_in_place(void **state)
{
	static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
	struct reader r;

	reader_init(&r, data, sizeof(data));
	assert_int_equal(reader_u8(&r), 1);
	assert_true(reader_u32be(&r) == 0x02030405);
	assert_int_equal(reader_left(&r), 6);
	assert_ptr_equal(reader_bytes(&r, 0), data + 5);
	assert_ptr_equal(reader_bytes(&r, 6), data + 5);
	assert_true(reader_done(&r));
	/* The end itself can be asked for; one more can not, nor a length that wraps. */
	assert_non_null(reader_bytes(&r, 0));
	assert_true(reader_done(&r));
	reader_init(&r, data, sizeof(data));
	assert_null(reader_bytes(&r, SIZE_MAX));
	assert_int_equal(reader_left(&r), 0);
	assert_null(reader_bytes(&r, 0));
}

static void readers_of_nothing_are_done(void **state)
{
	struct reader r;

	reader_init(&r, NULL, 0);
	assert_int_equal(reader_left(&r), 0);
	assert_true(reader_done(&r));
	assert_null(reader_cstr(&r, NULL));
	assert_false(reader_done(&r));
}

static void every_cut_of_a_message_fails(void **state)
{
	static const uint8_t data[] = "\x01\0\x02text\0\0\0\0\x01"
				      "e";

	for (size_t n = 0; n < sizeof(data); n++) {
		struct reader r;
		reader_init(&r, data, n);
		reader_u8(&r);
		reader_u16be(&r);
		reader_cstr(&r, NULL);
		reader_bytes(&r, reader_u32be(&r));
		assert_int_equal(reader_done(&r), n == sizeof(data) - 1);
	}
}

static void a_failed_buffer_stays_as_it_was(void **state)
{
	struct buf b = {.limit = 4};

	buf_u16be(&b, 0x0102);
	assert_null(buf_reserve(&b, 3));
	assert_true(b.failed);
	buf_u8(&b, 3);
	buf_printf(&b, "%d", 4);
	buf_patch_u32be(&b, 0, 5);
	assert_int_equal(b.len, 2);
	assert_memory_equal(b.data, "\1\2", 2);
	buf_wipe(&b);
	assert_false(b.failed);
	assert_null(b.data);
	struct buf huge = {0};
	assert_null(buf_reserve(&huge, SIZE_MAX - 1));
	assert_true(huge.failed);
}

static void nothing_can_be_put(void **state)
{
	struct buf b = {0};

	buf_put(&b, NULL, 0);
	buf_text(&b, "");
	buf_printf(&b, "%s", "");
	buf_consume(&b, 0);
	assert_int_equal(b.len, 0);
	assert_false(b.failed);
	buf_clear(&b);
}

static void lengths_are_patched(void **state)
{
	struct buf b = {0};

	buf_u32be(&b, 0);
	for (int i = 0; i < 100; i++)
		buf_cstr(&b, "ab");
	buf_patch_u32be(&b, 0, (uint32_t)b.len);
	assert_memory_equal(b.data,
		"\0\0\x01\x30"
		"ab\0",
		7);
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

static void a_list_is_walked_while_it_shrinks(void **state)
{
	struct list head, *link, *following;
	struct item items[5];
	uint64_t seen = 0;

	list_init(&head);
	assert_null(list_first(&head, struct item, link));
	assert_null(list_last(&head, struct item, link));
	for (uint64_t i = 0; i < 5; i++) {
		items[i].key = i;
		list_prepend(&head, &items[i].link);
	}
	list_for_each_safe (link, following, &head) {
		struct item *item = list_entry(link, struct item, link);
		seen = seen * 10 + item->key;
		if (item->key % 2)
			list_remove(link);
	}
	assert_int_equal(seen, 43210);
	seen = 0;
	list_for_each (link, &head) {
		seen = seen * 10 + list_entry(link, struct item, link)->key;
	}
	assert_int_equal(seen, 420);
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

static void an_empty_map_finds_nothing(void **state)
{
	struct map m = {0};
	uint64_t key = 1;

	assert_null(map_find(&m, 1, same_key, &key));
	assert_null(map_next(&m, NULL));
	map_clear(&m);
}

static void a_map_is_emptied_from_the_front(void **state)
{
	static struct item items[100];
	struct map m = {0};
	struct map_node *node;
	size_t n = 0;

	for (uint64_t i = 0; i < 100; i++) {
		items[i].key = i;
		assert_int_equal(map_insert(&m, &items[i].node, hash_bytes(&i, sizeof(i), 0)), 0);
	}
	while ((node = map_next(&m, NULL))) {
		map_remove(&m, node);
		n++;
	}
	assert_int_equal(n, 100);
	assert_int_equal(m.n_items, 0);
	map_clear(&m);
}

static void hashes_see_every_byte_and_the_length(void **state)
{
	uint8_t data[40] = {0};

	uint64_t hash = hash_bytes(data, sizeof(data), 0);
	assert_true(hash == hash_bytes(data, sizeof(data), 0));
	assert_true(hash != hash_bytes(data, sizeof(data), 1));
	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] = 1;
		assert_true(hash != hash_bytes(data, sizeof(data), 0));
		data[i] = 0;
		assert_true(hash != hash_bytes(data, i, 0));
	}
	assert_true(hash_text("ab") == hash_bytes("ab", 2, 0));
}

/* At every size: terminated, never longer, and never a part of an escape. */
static void escapes_are_never_cut(void **state)
{
	char text[64];

	for (size_t size = 8; size < sizeof(text); size++) {
		memset(text, '?', sizeof(text));
		log_escape("\n\n\n\"\\\x7f\x1b[0m\xc3\xbc and so on, and on, and on", text, size);
		size_t len = strlen(text);
		assert_true(len < size);
		for (size_t i = 0; i < len; i++)
			assert_true((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
		for (size_t i = len + 1; i < sizeof(text); i++)
			assert_true(i < size || text[i] == '?');
		for (const char *at = text; (at = strchr(at, '\\')); at++) {
			if (at[1] == 'x')
				assert_true(at[2] && at[3]);
			else
				assert_true(at[1] == '"' || at[1] == '\\');
			at += at[1] == '\\';
		}
	}
	assert_string_equal(log_escape("\xc3\xbc\t", text, sizeof(text)), "\xc3\xbc\\x09");
}

static void log_lines_of_one_kind_have_a_limit(void **state)
{
	struct log_limit limit = {0};
	unsigned n_dropped = 99, n = 0;

	/* Whichever second it is, and even if it ends in between. */
	for (int i = 0; i < 100; i++)
		n += log_limit_allows(&limit, 3, &n_dropped);
	assert_true(n >= 3 && n <= 6);
	limit.second--;
	assert_true(log_limit_allows(&limit, 3, &n_dropped));
	assert_true(n_dropped >= 94 && n_dropped <= 97);
	limit.second--;
	assert_true(log_limit_allows(&limit, 3, &n_dropped));
	assert_int_equal(n_dropped, 0);
}

static void levels_say_what_is_logged(void **state)
{
	log_configure(LOG_LEVEL_WARNING, false);
	assert_true(log_enabled(LOG_LEVEL_ERROR));
	assert_true(log_enabled(LOG_LEVEL_WARNING));
	assert_false(log_enabled(LOG_LEVEL_INFO));
	log_configure(LOG_LEVEL_DEBUG, false);
	assert_true(log_enabled(LOG_LEVEL_DEBUG));
}

#define HEAP_NODES 200

/* The smallest key among those that are in. */
static int64_t smallest(const struct heap_node *nodes, const bool *in)
{
	int64_t key = INT64_MAX;

	for (size_t i = 0; i < HEAP_NODES; i++)
		key = in[i] && nodes[i].key < key ? nodes[i].key : key;
	return key;
}

static void a_heap_gives_the_smallest_whatever_is_taken_out(void **state)
{
	struct heap heap = {0};
	struct heap_node nodes[HEAP_NODES];
	bool in[HEAP_NODES] = {false};
	size_t n = 0;

	for (int round = 0; round < 20000; round++) {
		/* It fills up, and empties again; some keys are equal. */
		size_t i = random_below(HEAP_NODES);
		if (in[i])
			heap_remove(&heap, &nodes[i]);
		else
			heap_insert(&heap, &nodes[i], random_below(1000));
		in[i] = !in[i];
		n += in[i] ? 1 : (size_t)-1;
		assert_int_equal(heap.root != NULL, n != 0);
		if (n)
			assert_int_equal(heap.root->key, smallest(nodes, in));
	}
	int64_t last = -1;
	while (heap.root) {
		assert_true(heap.root->key >= last);
		last = heap.root->key;
		heap_remove(&heap, heap.root);
		n--;
	}
	assert_int_equal(n, 0);
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

static void copies_are_cut_and_terminated(void **state)
{
	char text[4] = "???";

	assert_string_equal(text_copy(text, sizeof(text), "abcdef"), "abc");
	assert_string_equal(text_copy(text, sizeof(text), "ab"), "ab");
	assert_string_equal(text_copy(text, 1, "ab"), "");
	assert_true(text_starts_with("abc", "ab"));
	assert_true(text_starts_with("abc", ""));
	assert_false(text_starts_with("ab", "abc"));
}

static void secrets_compare_whole(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};

	assert_true(bytes_equal_secret(a, b, sizeof(a)));
	assert_true(bytes_equal_secret(a, b, 0));
	for (size_t i = 0; i < sizeof(a); i++) {
		b[i] = 0x80;
		assert_false(bytes_equal_secret(a, b, sizeof(a)));
		b[i] = 0;
	}
}

static void random_numbers_stay_below_their_limit(void **state)
{
	bool seen[3] = {false};

	for (int i = 0; i < 1000; i++) {
		uint32_t n = random_below(3);
		assert_true(n < 3);
		seen[n] = true;
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	assert_int_equal(random_below(1), 0);
}

static void assert_shortened(
	size_t size, const char *from, size_t len, bool goes_on, const char *to)
{
	char text[64];

	memset(text, '#', sizeof(text));
	text_shorten(text, size, from, len, goes_on);
	assert_string_equal(text, to);
	assert_true(strlen(to) < size);
	assert_int_equal(text[size], '#');
}

#define SHORTENED(size, from, to) assert_shortened(size, from, sizeof(from) - 1, false, to)

static void texts_are_shortened_to_one_line(void **state)
{
	SHORTENED(20, "", "");
	SHORTENED(20, "select 1", "select 1");
	SHORTENED(20, "  select\t\n 1\r\n", "select 1");
	SHORTENED(9, "select 1", "select 1");
	SHORTENED(8, "select 1", "sele...");
	SHORTENED(20, "select 1\0\0\1", "select 1");
	assert_shortened(20, "select 1", 8, true, "select 1...");
	assert_shortened(9, "select 1", 8, true, "selec...");
	assert_shortened(4, "select 1", 8, true, "...");
	/* Nothing that a terminal would obey, and nothing that is no UTF-8. */
	SHORTENED(30, "a\33[2Jb\177c\302\233d", "a [2Jb c d");
	SHORTENED(30, "\303\244 \342\202\254 \360\237\230\200",
		"\303\244 \342\202\254 \360\237\230\200");
	SHORTENED(30, "\377\300\200\355\240\200\360\200\200\200\303", "???????????");
	/* Never half a character. */
	SHORTENED(8, "\303\244\303\244\303\244\303\244", "\303\244\303\244...");
	SHORTENED(7, "\303\244\303\244\303\244\303\244", "\303\244...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_past_the_end_latch_failure),
		cmocka_unit_test(text_without_its_nul_is_no_text),
		cmocka_unit_test(little_endian_numbers_are_read_and_written_alike),
		cmocka_unit_test(nothing_put_into_an_empty_buffer_leaves_it_empty),
		cmocka_unit_test(a_buffer_keeps_to_its_limit),
		cmocka_unit_test(consuming_moves_the_rest_to_the_front),
		cmocka_unit_test(a_list_keeps_its_order),
		cmocka_unit_test(a_map_finds_what_shares_a_hash),
		cmocka_unit_test(a_heap_gives_the_smallest_whatever_is_taken_out),
		cmocka_unit_test(peers_text_is_escaped_and_cut),
		cmocka_unit_test(no_limit_is_never),
		cmocka_unit_test(words_compare_without_case),
		cmocka_unit_test(readers_give_bytes_in_place),
		cmocka_unit_test(readers_of_nothing_are_done),
		cmocka_unit_test(every_cut_of_a_message_fails),
		cmocka_unit_test(a_failed_buffer_stays_as_it_was),
		cmocka_unit_test(nothing_can_be_put),
		cmocka_unit_test(lengths_are_patched),
		cmocka_unit_test(a_list_is_walked_while_it_shrinks),
		cmocka_unit_test(an_empty_map_finds_nothing),
		cmocka_unit_test(a_map_is_emptied_from_the_front),
		cmocka_unit_test(hashes_see_every_byte_and_the_length),
		cmocka_unit_test(escapes_are_never_cut),
		cmocka_unit_test(log_lines_of_one_kind_have_a_limit),
		cmocka_unit_test(levels_say_what_is_logged),
		cmocka_unit_test(copies_are_cut_and_terminated),
		cmocka_unit_test(texts_are_shortened_to_one_line),
		cmocka_unit_test(secrets_compare_whole),
		cmocka_unit_test(random_numbers_stay_below_their_limit),
	};

	random_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
