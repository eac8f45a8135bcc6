/*
 * Prepared statements. A client's names are its own; behind weir a statement is one object per
 * worker, keyed by its full text and parameter types, and each server connection remembers which of
 * them it has prepared, under names of weir's own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/output.h"
#include "proto/pgsql/scan.h"
#include "util/list.h"
#include "util/map.h"

#define STATEMENT_PREFIX    "weir_"
#define STATEMENT_NAME_SIZE 32

/* One statement: what a Parse message holds behind the name ("text NUL, count, types"), compared in
 * full. Counted references; in the table while it is current. */
struct statement {
	struct map_node node;
	struct statements *table; /* NULL once superseded: its plan no longer fits, and a new Parse
				     makes a new one */
	uint64_t id;
	unsigned refs;
	struct scan *effects; /* what running it may change in the session; NULL: nothing */
	size_t len;
	uint8_t body[];
};

struct statements {
	struct map by_body;
	uint64_t next_id;
	struct scan *scratch; /* borrowed: for looking at new ones */
};

void statements_init(struct statements *table, struct scan *scratch);
void statements_clear(struct statements *table); /* no statement may be left */

/* The statement with that body, made if need be; a new reference. NULL: no memory. */
struct statement *statement_get(struct statements *table, const uint8_t *body, size_t len);

/* Scans an SQL text of `len` bytes with the help of `scratch`. What it may change in the session:
 * to be freed with effects_free(); NULL: nothing. False: no memory. */
MUST_USE bool effects_scan(
	struct scan *scratch, const char *sql, size_t len, struct scan **ret_effects);
void effects_free(struct scan *effects);
struct statement *statement_ref(struct statement *statement);
void statement_unref(struct statement *statement);

/* From now on the same text gets a new statement: the plans of this one do not fit any more. */
void statement_supersede(struct statement *statement);

/* The name under which servers know it. */
void statement_name(const struct statement *statement, char ret_name[STATEMENT_NAME_SIZE]);

/* --- a client's names --- */

struct client_statement {
	struct map_node node;
	unsigned refs;
	bool listed; /* still in the client's map */
	struct statement *statement;
	char name[];
};

/* The client's statement of that name, or NULL. */
struct client_statement *client_statement_find(const struct map *names, const char *name);

/* Enters a name, which must be free. A borrowed pointer (the map's), or NULL: no memory. */
struct client_statement *client_statement_add(
	struct map *names, const char *name, struct statement *statement);

/* Takes it out of the map; and puts it back, unless the name is taken again. */
void client_statement_relist(struct map *names, struct client_statement *cs);
void client_statement_drop(struct map *names, struct client_statement *cs);
void client_statements_clear(struct map *names);
void client_statement_unref(struct client_statement *cs);

/* --- what a server connection has prepared --- */

struct prepared {
	struct map_node node;
	struct list link; /* most recently used first */
	struct statement *statement;
};

struct prepared_set {
	struct map by_statement;
	struct list lru;
};

void prepared_init(struct prepared_set *set);
void prepared_clear(struct prepared_set *set);

/* True if it is prepared there; it then counts as just used. */
bool prepared_use(struct prepared_set *set, const struct statement *statement);

/* Returns 0 or -ENOMEM. */
MUST_USE int prepared_add(struct prepared_set *set, struct statement *statement);
void prepared_remove(struct prepared_set *set, const struct statement *statement);

/* The least recently used one (a new reference) if there are more than `limit`; else NULL. It is
 * taken out. */
struct statement *prepared_evict(struct prepared_set *set, size_t limit);
