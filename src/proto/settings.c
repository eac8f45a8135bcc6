/* Interned lists of settings. Used by the protocols; holds no protocol's names. */
#include "proto/settings.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/map.h"
#include "util/text.h"

struct pair {
	const char *name, *value; /* into `text` */
};

/* The pairs are sorted by name; `text` holds "name NUL value NUL" of each in that order, and is the
 * key. */
struct settings {
	struct map_node node;
	struct settings_table *table;
	unsigned refs;
	size_t n_pairs, text_len;
	char *text;
	struct pair pairs[];
};

struct settings_table {
	struct map by_text;
	const struct settings *empty;
};

/* References are counted in objects that are otherwise constant. */
static struct settings *writable(const struct settings *list)
{
	return (struct settings *)(uintptr_t)list;
}

static int compare_names(const char *a, const char *b)
{
	return strcasecmp(a, b);
}

static bool text_matches(const struct map_node *node, const void *key)
{
	const struct settings *a = container_of(node, struct settings, node);
	const struct settings *b = key;

	return a->text_len == b->text_len && memcmp(a->text, b->text, a->text_len) == 0;
}

static struct settings *allocate(size_t n_pairs, size_t text_len)
{
	size_t size = sizeof(struct settings) + n_pairs * sizeof(struct pair);
	struct settings *list = calloc(1, size + text_len);

	if (!list)
		return NULL;
	list->refs = 1;
	list->text = (char *)list + size;
	return list;
}

static void append(struct settings *list, const char *name, const char *value)
{
	size_t name_size = strlen(name) + 1, value_size = strlen(value) + 1;
	char *at = list->text + list->text_len;

	memcpy(at, name, name_size);
	memcpy(at + name_size, value, value_size);
	list->pairs[list->n_pairs++] = (struct pair){.name = at, .value = at + name_size};
	list->text_len += name_size + value_size;
}

/* The list of the table that has this content; `list` is taken over. */
static int intern(
	struct settings_table *table, struct settings *list, const struct settings **ret_list)
{
	uint64_t hash = hash_bytes(list->text, list->text_len, 0);
	struct map_node *node = map_find(&table->by_text, hash, text_matches, list);

	if (node) {
		free(list);
		*ret_list = settings_ref(container_of(node, struct settings, node));
		return 0;
	}
	if (map_insert(&table->by_text, &list->node, hash) < 0) {
		free(list);
		return -ENOMEM;
	}
	list->table = table;
	*ret_list = list;
	return 0;
}

struct settings_table *settings_table_new(void)
{
	struct settings_table *table = calloc(1, sizeof(*table));
	struct settings *empty = allocate(0, 0);

	if (!table || !empty || intern(table, empty, &table->empty) < 0) {
		free(table);
		free(empty);
		return NULL;
	}
	return table;
}

void settings_table_free(struct settings_table *table)
{
	if (!table)
		return;
	settings_unref(table->empty);
	CHECK(table->by_text.n_items == 0);
	map_clear(&table->by_text);
	free(table);
}

const struct settings *settings_empty(struct settings_table *table)
{
	return settings_ref(table->empty);
}

int settings_with(struct settings_table *table, const struct settings *base, const char *name,
	const char *value, const struct settings **ret_list)
{
	size_t i = 0;

	if (value && (strlen(value) > SETTINGS_VALUE_MAX || strlen(name) > SETTINGS_VALUE_MAX ||
			     (base->n_pairs >= SETTINGS_MAX && !settings_get(base, name))))
		return SETTINGS_TOO_MANY;
	size_t more = value ? strlen(name) + strlen(value) + 2 : 0;
	struct settings *list = allocate(base->n_pairs + 1, base->text_len + more);
	if (!list)
		return -ENOMEM;
	for (; i < base->n_pairs && compare_names(base->pairs[i].name, name) < 0; i++)
		append(list, base->pairs[i].name, base->pairs[i].value);
	bool known = i < base->n_pairs && compare_names(base->pairs[i].name, name) == 0;
	if (value)
		append(list, known ? base->pairs[i].name : name, value);
	for (i += known; i < base->n_pairs; i++)
		append(list, base->pairs[i].name, base->pairs[i].value);
	return intern(table, list, ret_list);
}

const struct settings *settings_ref(const struct settings *list)
{
	writable(list)->refs++;
	return list;
}

void settings_unref(const struct settings *list)
{
	if (!list || --writable(list)->refs > 0)
		return;
	map_remove(&list->table->by_text, &writable(list)->node);
	free(writable(list));
}

const char *settings_get(const struct settings *list, const char *name)
{
	size_t low = 0, high = list->n_pairs;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_names(list->pairs[middle].name, name);
		if (order == 0)
			return list->pairs[middle].value;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

size_t settings_size(const struct settings *list)
{
	return sizeof(*list) + list->n_pairs * sizeof(struct pair) + list->text_len;
}

size_t settings_count(const struct settings *list)
{
	return list->n_pairs;
}

const char *settings_name(const struct settings *list, size_t index)
{
	CHECK(index < list->n_pairs);
	return list->pairs[index].name;
}

const char *settings_value(const struct settings *list, size_t index)
{
	CHECK(index < list->n_pairs);
	return list->pairs[index].value;
}
