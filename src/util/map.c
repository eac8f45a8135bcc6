#include "util/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/random.h"

void map_init(struct map *m)
{
	memset(m, 0, sizeof(*m));
}

void map_clear(struct map *m)
{
	free(m->buckets);
	map_init(m);
}

struct map_node *map_find(const struct map *m, uint64_t hash, map_equal_fn equal, const void *key)
{
	if (!m->n_buckets)
		return NULL;
	struct map_node *node = m->buckets[hash & (m->n_buckets - 1)];
	while (node && (node->hash != hash || !equal(node, key)))
		node = node->next;
	return node;
}

static int grow(struct map *m)
{
	uint32_t n = m->n_buckets ? m->n_buckets * 2 : 8;
	struct map_node **buckets = n ? calloc(n, sizeof(*buckets)) : NULL;

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_buckets; i++) {
		struct map_node *node = m->buckets[i];
		while (node) {
			struct map_node *next = node->next;
			struct map_node **slot = &buckets[node->hash & (n - 1)];
			node->next = *slot;
			*slot = node;
			node = next;
		}
	}
	free(m->buckets);
	m->buckets = buckets;
	m->n_buckets = n;
	return 0;
}

int map_insert(struct map *m, struct map_node *node, uint64_t hash)
{
	/* A failed growth is only fatal while there is no bucket at all. */
	if (m->n_items >= m->n_buckets && grow(m) < 0 && !m->n_buckets)
		return -ENOMEM;
	struct map_node **slot = &m->buckets[hash & (m->n_buckets - 1)];
	node->hash = hash;
	node->next = *slot;
	*slot = node;
	m->n_items++;
	return 0;
}

void map_remove(struct map *m, struct map_node *node)
{
	CHECK(m->n_buckets);
	struct map_node **slot = &m->buckets[node->hash & (m->n_buckets - 1)];
	while (*slot != node) {
		CHECK(*slot);
		slot = &(*slot)->next;
	}
	*slot = node->next;
	node->next = NULL;
	m->n_items--;
}

struct map_node *map_next(const struct map *m, const struct map_node *node)
{
	size_t bucket = 0;

	if (node) {
		if (node->next)
			return node->next;
		bucket = (node->hash & (m->n_buckets - 1)) + 1;
	}
	for (; bucket < m->n_buckets; bucket++) {
		if (m->buckets[bucket])
			return m->buckets[bucket];
	}
	return NULL;
}

static uint64_t load_u64(const uint8_t *at, size_t len)
{
	uint64_t word = 0;

	memcpy(&word, at, len < sizeof(word) ? len : sizeof(word));
	return word;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	const uint8_t *at = data;
	uint64_t hash = mix(seed ^ random_process_seed(), 0x9e3779b97f4a7c15u ^ len);

	for (size_t left = len; left;) {
		size_t step = left < 8 ? left : 8;
		hash = mix(hash ^ load_u64(at, step), 0xd6e8feb86659fd93u);
		at += step;
		left -= step;
	}
	return mix(hash, 0xa0761d6478bd642fu);
}

uint64_t hash_text(const char *text)
{
	return hash_bytes(text, strlen(text), 0);
}
