#include "util/heap.h"

#include <stddef.h>

/* Makes one tree of two; neither has siblings. Either may be NULL. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
	if (!a || !b)
		return a ? a : b;
	if (b->key < a->key) {
		struct heap_node *smaller = b;
		b = a;
		a = smaller;
	}
	b->next = a->child;
	b->back = a;
	if (a->child)
		a->child->back = b;
	a->child = b;
	return a;
}

/* Takes the first tree off a row of siblings. */
static struct heap_node *take_first(struct heap_node **row)
{
	struct heap_node *first = *row;

	if (first) {
		*row = first->next;
		first->next = first->back = NULL;
	}
	return first;
}

/* Makes one tree of a row of siblings: of each two of them first, then of all, from the last to the
 * first. The order is what makes it cheap. */
static struct heap_node *meld_row(struct heap_node *row)
{
	struct heap_node *pairs = NULL, *all = NULL, *first, *pair;

	while ((first = take_first(&row))) {
		pair = meld(first, take_first(&row));
		pair->next = pairs;
		pairs = pair;
	}
	while ((pair = take_first(&pairs)))
		all = meld(all, pair);
	return all;
}

void heap_insert(struct heap *heap, struct heap_node *node, int64_t key)
{
	*node = (struct heap_node){.key = key};
	heap->root = meld(heap->root, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
	struct heap_node *rest = meld_row(node->child);

	if (node == heap->root) {
		heap->root = rest;
	} else {
		if (node->back->child == node)
			node->back->child = node->next;
		else
			node->back->next = node->next;
		if (node->next)
			node->next->back = node->back;
		heap->root = meld(heap->root, rest);
	}
	*node = (struct heap_node){0};
}
