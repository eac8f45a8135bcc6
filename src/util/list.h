/*
 * A doubly linked list whose links live in the elements. The head is a link too; an unlinked
 * element points to itself, so that list_remove() may be called twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/check.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert_between(struct list *item, struct list *prev, struct list *next)
{
	item->prev = prev;
	item->next = next;
	prev->next = item;
	next->prev = item;
}

/* Puts `item`, which must not be in a list, first or last. */
static inline void list_prepend(struct list *head, struct list *item)
{
	list_insert_between(item, head, head->next);
}

static inline void list_append(struct list *head, struct list *item)
{
	list_insert_between(item, head->prev, head);
}

/* Takes `item` out of whichever list it is in, if any. */
static inline void list_remove(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

/* The struct around a link; of the first or last element, or NULL if the list is empty. */
#define list_entry(link, type, member) container_of(link, type, member)
#define list_first(head, type, member)                                                             \
	(list_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_last(head, type, member)                                                              \
	(list_empty(head) ? NULL : list_entry((head)->prev, type, member))

#define list_for_each(link, head)                                                                  \
	for ((link) = (head)->next; (link) != (head); (link) = (link)->next)

/* As list_for_each(), but the body may remove the current element. */
#define list_for_each_safe(link, following, head)                                                  \
	for ((link) = (head)->next, (following) = (link)->next; (link) != (head);                  \
		(link) = (following), (following) = (link)->next)
