/*
 * A pairing heap whose nodes are embedded in what it holds, so that nothing is allocated: the
 * smallest key is found at once, and a node can be taken out from anywhere.
 */
#pragma once

#include <stdint.h>

#include "util/check.h"

struct heap_node {
	struct heap_node *child; /* the first of those that are not smaller */
	struct heap_node *next;  /* sibling */
	struct heap_node *back;  /* the sibling before it, or the parent of a first child */
	int64_t key;
};

struct heap {
	struct heap_node *root; /* NULL: empty. The smallest one otherwise */
};

/* Puts `node` in, which is in no heap, under `key`. */
void heap_insert(struct heap *heap, struct heap_node *node, int64_t key);

/* Takes `node` out, which is in this heap. */
void heap_remove(struct heap *heap, struct heap_node *node);
