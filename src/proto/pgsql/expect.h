/*
 * What is still to come from a server: one entry per message that was sent to it, in order. Answers
 * are matched against the first entry, so that each reaches whom it belongs to, weir's own are
 * swallowed, and everything that a Parse or Close changes in weir's books is undone when an error
 * makes the server skip it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/pgsql/statements.h"
#include "util/check.h"

enum expect_kind {
	EXPECT_QUERY,    /* everything up to ReadyForQuery */
	EXPECT_FUNCTION, /* the same, for a FunctionCall */
	EXPECT_SYNC,     /* ReadyForQuery */
	EXPECT_PARSE,
	EXPECT_BIND,
	EXPECT_DESCRIBE,
	EXPECT_EXECUTE,
	EXPECT_CLOSE,
	EXPECT_COPY_END,    /* CopyDone or CopyFail: no answer of its own */
	EXPECT_LOCAL_PARSE, /* answered by weir when its turn comes: ParseComplete */
	EXPECT_LOCAL_CLOSE, /* ... CloseComplete */
};

struct expectation {
	enum expect_kind kind;
	bool own;        /* asked by weir: the answer is swallowed */
	unsigned counts; /* own: the tag counts what pins of this kind are about; 0: it does not */
	bool refused;    /* PARSE: the client asked for more than it may have */
	bool for_flush;  /* SYNC in place of the client's Flush */
	bool effectful;  /* the client's, and the scan in front->effects is about it */
	struct statement *statement;     /* PARSE, CLOSE under weir's name; BIND; a reference */
	struct client_statement *client; /* PARSE, LOCAL_PARSE: the name given; a reference */
	uint64_t number;                 /* CLOSE under weir's name: that name */
};

/* A ring that grows up to EXPECT_MAX. */
#define EXPECT_MAX 32768

struct expectations {
	struct expectation *ring;
	size_t cap, first, len;
};

void expectations_clear(struct expectations *e);

/* The entry to be answered next, or last, or NULL. Valid until the next push. */
static inline struct expectation *expectations_first(const struct expectations *e)
{
	return e->len ? &e->ring[e->first] : NULL;
}

struct expectation *expectations_last(const struct expectations *e);
struct expectation *expectations_at(const struct expectations *e, size_t index);

/* Room for `n` more entries? False if memory or the limit does not allow: wait for answers. */
MUST_USE bool expectations_grow(struct expectations *e, size_t n);

MUST_USE static inline bool expectations_reserve(struct expectations *e, size_t n)
{
	return e->cap - e->len >= n || expectations_grow(e, n);
}

/* Appends an entry, for which room was reserved; takes over the references in it. */
static inline void expectations_push(struct expectations *e, struct expectation item)
{
	CHECK(e->len < e->cap);
	e->ring[(e->first + e->len) & (e->cap - 1)] = item;
	e->len++;
}

static inline void expectation_clear(struct expectation *item)
{
	if (item->statement)
		statement_unref(item->statement);
	if (item->client)
		client_statement_unref(item->client);
}

/* Drops the first entry and its references. */
static inline void expectations_pop(struct expectations *e)
{
	CHECK(e->len);
	expectation_clear(&e->ring[e->first]);
	e->first = (e->first + 1) & (e->cap - 1);
	e->len--;
}

/* Takes out the entry at `index`. */
void expectations_remove(struct expectations *e, size_t index);
