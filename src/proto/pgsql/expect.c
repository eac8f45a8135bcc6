/* The ring of outstanding answers. Used by front.c, which fills it, and back.c, which empties it.
 */
#include "proto/pgsql/expect.h"

#include <stdlib.h>

static void drop_references(struct expectation *item)
{
	statement_unref(item->statement);
	client_statement_unref(item->client);
}

void expectations_clear(struct expectations *e)
{
	while (e->len)
		expectations_pop(e);
	free(e->ring);
	*e = (struct expectations){0};
}

struct expectation *expectations_at(const struct expectations *e, size_t index)
{
	return index < e->len ? &e->ring[(e->first + index) & (e->cap - 1)] : NULL;
}

struct expectation *expectations_first(const struct expectations *e)
{
	return expectations_at(e, 0);
}

struct expectation *expectations_last(const struct expectations *e)
{
	return e->len ? expectations_at(e, e->len - 1) : NULL;
}

bool expectations_reserve(struct expectations *e, size_t n)
{
	if (e->cap - e->len >= n)
		return true;
	size_t cap = e->cap ? e->cap * 2 : 16;
	if (cap > EXPECT_MAX)
		return false;
	struct expectation *ring = calloc(cap, sizeof(*ring));
	if (!ring)
		return false;
	for (size_t i = 0; i < e->len; i++)
		ring[i] = *expectations_at(e, i);
	free(e->ring);
	e->ring = ring;
	e->cap = cap;
	e->first = 0;
	return expectations_reserve(e, n);
}

void expectations_push(struct expectations *e, struct expectation item)
{
	CHECK(e->len < e->cap);
	e->ring[(e->first + e->len) & (e->cap - 1)] = item;
	e->len++;
}

void expectations_pop(struct expectations *e)
{
	CHECK(e->len);
	drop_references(&e->ring[e->first]);
	e->first = (e->first + 1) & (e->cap - 1);
	e->len--;
}

void expectations_remove(struct expectations *e, size_t index)
{
	CHECK(index < e->len);
	drop_references(expectations_at(e, index));
	for (size_t i = index; i + 1 < e->len; i++)
		*expectations_at(e, i) = *expectations_at(e, i + 1);
	e->len--;
}
