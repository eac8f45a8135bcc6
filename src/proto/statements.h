/*
 * Prepared statements, as protocols have them in common: behind weir a statement is one object per
 * worker, keyed by all that it depends on and compared in full, and each server connection
 * remembers which of them it has prepared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/check.h"
#include "util/list.h"
#include "util/map.h"

/* One statement. Counted references; in the table while it is current. */
struct statement {
	struct map_node node;
	struct statements *table; /* NULL once superseded: its plan no longer fits, and the same key
				     makes a new one */
	uint64_t id;
	unsigned refs;
	void *effects; /* what examine() has found; owned */
	void (*forget)(void *effects);
	size_t len;
	uint8_t body[]; /* the key */
};

/* Looks at a new statement. False: no memory. */
typedef bool (*statement_examine_fn)(
	void *arg, const uint8_t *body, size_t len, void **ret_effects);

struct statements {
	struct map by_body;
	uint64_t next_id;
	statement_examine_fn examine;
	void (*forget)(void *effects);
	void *arg;
};

/* `forget` frees what `examine` has found (and takes NULL). */
void statements_init(
	struct statements *table, statement_examine_fn examine, void (*forget)(void *), void *arg);
void statements_clear(struct statements *table); /* no statement may be left */

/* What a client is charged for one: the text, and as much as everything around it takes. */
static inline size_t statement_size(const struct statement *statement)
{
	return statement->len + 512;
}

/* The statement with that key, made if need be; a new reference. NULL: no memory. */
struct statement *statement_get(struct statements *table, const uint8_t *body, size_t len);
struct statement *statement_ref(struct statement *statement);
void statement_unref(struct statement *statement);

/* From now on the same key gets a new statement: the plans of this one do not fit any more. */
void statement_supersede(struct statement *statement);

/* --- what a server connection has prepared --- */

struct prepared {
	struct map_node node;
	struct list link; /* most recently used first */
	struct statement *statement;
	uint64_t number; /* the server's, where servers number them */
};

struct prepared_set {
	struct map by_statement;
	struct list lru;
};

void prepared_init(struct prepared_set *set);
void prepared_clear(struct prepared_set *set);

/* What is known of it there, or NULL: it is not prepared there. prepared_use(): it then counts as
 * just used. */
struct prepared *prepared_find(const struct prepared_set *set, const struct statement *statement);
struct prepared *prepared_use(struct prepared_set *set, const struct statement *statement);

/* Returns 0 or -ENOMEM. */
MUST_USE int prepared_add(struct prepared_set *set, struct statement *statement);
void prepared_remove(struct prepared_set *set, const struct statement *statement);

/* The least recently used one (a new reference) if there are more than `limit`; else NULL. It is
 * taken out. `ret_number` may be NULL. */
struct statement *prepared_evict(struct prepared_set *set, size_t limit, uint64_t *ret_number);
