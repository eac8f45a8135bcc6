/*
 * Prepared statements, as protocols have them in common: behind weir a statement is one object per
 * worker, keyed by all that it depends on and compared in full, and each server connection
 * remembers which of them it has prepared. It still does when it goes to another worker: what it
 * has prepared goes along as bytes, and is looked for in them when it is wanted there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/bytes.h"
#include "util/check.h"
#include "util/clock.h"
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
	size_t own_len;       /* the first bytes of a key mean something on this worker alone */
	usec_t superseded_at; /* the last time that one was; 0: never */
	statement_examine_fn examine;
	void (*forget)(void *effects);
	void *arg;
};

/* `forget` frees what `examine` has found (and takes NULL). Other workers have the same keys but
 * for their first `own_len` bytes. */
void statements_init(struct statements *table, size_t own_len, statement_examine_fn examine,
	void (*forget)(void *), void *arg);
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
	uint64_t number; /* by which the server knows it */
	usec_t since;    /* it was sent to the server at this moment; 0: not known */
};

struct prepared_set {
	struct map by_statement;
	struct list lru;
	/* What other workers have prepared there and nobody has wanted here yet; most recently
	 * used first, and longer unused than all in `lru`. */
	struct buf packed;
	size_t n_packed;
};

void prepared_init(struct prepared_set *set);
void prepared_clear(struct prepared_set *set);
size_t prepared_count(const struct prepared_set *set);

/* What is known of it there, or NULL: it is not prepared there. It counts as just used from then
 * on. What another worker has prepared there counts, unless that was before one of this worker's
 * statements was superseded: its plan may be as old. */
struct prepared *prepared_use(struct prepared_set *set, struct statement *statement);

/* Prepared just now, under that number. NULL: no memory. Borrowed. */
struct prepared *prepared_add(
	struct prepared_set *set, struct statement *statement, uint64_t number);
void prepared_remove(struct prepared_set *set, const struct statement *statement);

/* Puts one back that prepared_evict() has taken out. False: no memory, or `statement` is NULL. */
MUST_USE bool prepared_restore(
	struct prepared_set *set, struct statement *statement, uint64_t number);

/* Takes the least recently used one out if there are more than `limit`. False: there are not.
 * *ret_statement is a new reference; NULL: it was another worker's. */
MUST_USE bool prepared_evict(struct prepared_set *set, size_t limit,
	struct statement **ret_statement, uint64_t *ret_number);

/* --- on the way to another worker --- */

/* More than that does not travel. */
#define PREPARED_PACKED_MAX (1u << 20)

/* Writes all that is prepared into `ret_packed`, which is empty; it refers to nothing of this
 * worker. False: that is too much, or there is no memory for it; `ret_packed` is empty then. */
MUST_USE bool prepared_pack(const struct prepared_set *set, struct buf *ret_packed);

/* Takes over what prepared_pack() has written, on the other worker; `packed` is empty then. The set
 * is a new one. */
void prepared_unpack(struct prepared_set *set, struct buf *packed);
