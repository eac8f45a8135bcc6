/* The ring of outstanding answers. Used by front.c, which fills it, and back.c, which empties it.
 */
#include "proto/pgsql/expect.h"

#include <stdlib.h>

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

struct expectation *expectations_last(const struct expectations *e)
{
	return e->len ? expectations_at(e, e->len - 1) : NULL;
}

bool expectations_grow(struct expectations *e, size_t n)
{
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

void expectations_remove(struct expectations *e, size_t index)
{
	CHECK(index < e->len);
	expectation_clear(expectations_at(e, index));
	for (size_t i = index; i + 1 < e->len; i++)
		*expectations_at(e, i) = *expectations_at(e, i + 1);
	e->len--;
}
