/*
 * A hash map whose nodes live in the elements. The caller hashes and compares: a hash alone never
 * decides that two keys are equal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/check.h"

struct map_node {
	struct map_node *next;
	uint64_t hash;
};

struct map {
	struct map_node **buckets;
	uint32_t n_buckets; /* a power of two, or 0 before the first insertion */
	uint32_t n_items;
};

/* Says whether the element around `node` has the key that `key` points to. */
typedef bool (*map_equal_fn)(const struct map_node *node, const void *key);

/* An all-zero struct map is empty too. map_clear() frees the buckets, never the elements. */
void map_init(struct map *m);
void map_clear(struct map *m);

/* The element with that key, or NULL. */
struct map_node *map_find(const struct map *m, uint64_t hash, map_equal_fn equal, const void *key);

/* Adds an element that is not in the map. Returns 0, or -ENOMEM with the map unchanged. */
MUST_USE int map_insert(struct map *m, struct map_node *node, uint64_t hash);

/* Takes out an element that is in the map. */
void map_remove(struct map *m, struct map_node *node);

/* The element after `node` in no particular order, the first one for NULL; NULL at the end. The
 * current element may be removed once its successor is known. */
struct map_node *map_next(const struct map *m, const struct map_node *node);

#define map_for_each(node, m)                                                                      \
	for ((node) = map_next((m), NULL); (node); (node) = map_next((m), (node)))

/* A hash of bytes, seeded per process so that peers cannot choose collisions. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
uint64_t hash_text(const char *text);
