/*
 * Prepared statements. A client's names are its own; behind weir a statement is one object per
 * worker, keyed by its full text and parameter types, and each server connection remembers which of
 * them it has prepared, under names of weir's own. A name is a number that no other statement of
 * that connection ever has, whichever worker it is with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/output.h"
#include "proto/pgsql/scan.h"
#include "proto/statements.h"
#include "util/list.h"
#include "util/map.h"

#define STATEMENT_PREFIX    "weir_"
#define STATEMENT_NAME_SIZE 32

/* A table of statements by what a Parse message holds behind the name ("text NUL, count, types");
 * their `effects` is a struct scan, or NULL: running it changes nothing in the session. `scratch`
 * is borrowed, for looking at new ones. */
void pg_statements_init(struct statements *table, struct scan *scratch);

/* Scans an SQL text of `len` bytes with the help of `scratch`. What it may change in the session:
 * to be freed with effects_free(); NULL: nothing. False: no memory. */
MUST_USE bool effects_scan(
	struct scan *scratch, const char *sql, size_t len, struct scan **ret_effects);
void effects_free(struct scan *effects);

/* The name under which the server knows it. */
void statement_name(uint64_t number, char ret_name[STATEMENT_NAME_SIZE]);

/* --- a client's names --- */

struct client_names {
	struct map by_name;
	size_t size; /* bytes of all statements */
};

struct client_statement {
	struct map_node node;
	size_t size;
	unsigned refs;
	bool listed; /* still in the client's map */
	struct statement *statement;
	char name[];
};

/* The client's statement of that name, or NULL. */
struct client_statement *client_statement_find(const struct client_names *names, const char *name);

/* Enters a name, which must be free. A borrowed pointer (the map's), or NULL: no memory. */
struct client_statement *client_statement_add(
	struct client_names *names, const char *name, struct statement *statement);

/* Takes it out of the map; and puts it back, unless the name is taken again. */
void client_statement_relist(struct client_names *names, struct client_statement *cs);
void client_statement_drop(struct client_names *names, struct client_statement *cs);
void client_statements_clear(struct client_names *names);
void client_statement_unref(struct client_statement *cs);
