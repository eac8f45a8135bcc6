/* Prepared statements: their effects, and clients' names. Who prepares what when is decided in
 * front.c. */
#include "proto/pgsql/statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/glance.h"

void effects_free(struct scan *effects)
{
	if (!effects)
		return;
	scan_clear(effects);
	free(effects);
}

static void forget(void *effects)
{
	effects_free(effects);
}

static bool examine(void *arg, const uint8_t *body, size_t len, void **ret_effects)
{
	struct scan *effects;

	*ret_effects = NULL;
	if (!effects_scan(arg, (const char *)body, strnlen((const char *)body, len), &effects))
		return false;
	*ret_effects = effects;
	return true;
}

void pg_statements_init(struct statements *table, struct scan *scratch)
{
	statements_init(table, 0, examine, forget, scratch);
}

bool effects_scan(struct scan *scratch, const char *sql, size_t len, struct scan **ret_effects)
{
	*ret_effects = NULL;
	if (glance_is_enough(sql, len))
		return true;
	scan_init(scratch);
	scan_feed(scratch, sql, len);
	scan_end(scratch);
	if (scratch->n_effects || scratch->overflow) {
		*ret_effects = malloc(sizeof(**ret_effects));
		if (!*ret_effects) {
			scan_clear(scratch);
			return false;
		}
		/* The copy takes over what the scan has allocated. */
		**ret_effects = *scratch;
		return true;
	}
	scan_clear(scratch);
	return true;
}

void statement_name(uint64_t number, char ret_name[STATEMENT_NAME_SIZE])
{
	/* By hand: it is written into every Bind. */
	char digits[STATEMENT_NAME_SIZE];
	size_t at = sizeof(digits);

	digits[--at] = 0;
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	memcpy(ret_name, STATEMENT_PREFIX, sizeof(STATEMENT_PREFIX) - 1);
	memcpy(ret_name + sizeof(STATEMENT_PREFIX) - 1, digits + at, sizeof(digits) - at);
}

static bool name_equal(const struct map_node *node, const void *key)
{
	return strcmp(container_of(node, struct client_statement, node)->name, key) == 0;
}

struct client_statement *client_statement_find(const struct client_names *names, const char *name)
{
	struct map_node *node = map_find(&names->by_name, hash_text(name), name_equal, name);

	return node ? container_of(node, struct client_statement, node) : NULL;
}

struct client_statement *client_statement_add(
	struct client_names *names, const char *name, struct statement *statement)
{
	size_t size = strlen(name) + 1;
	struct client_statement *cs = calloc(1, sizeof(*cs) + size);

	if (!cs)
		return NULL;
	memcpy(cs->name, name, size);
	if (map_insert(&names->by_name, &cs->node, hash_text(name)) < 0) {
		free(cs);
		return NULL;
	}
	cs->refs = 1;
	cs->listed = true;
	cs->statement = statement_ref(statement);
	cs->size = size + statement_size(statement);
	names->size += cs->size;
	return cs;
}

void client_statement_unref(struct client_statement *cs)
{
	if (!cs || --cs->refs > 0)
		return;
	statement_unref(cs->statement);
	free(cs);
}

void client_statement_drop(struct client_names *names, struct client_statement *cs)
{
	if (!cs->listed)
		return;
	cs->listed = false;
	names->size -= cs->size;
	map_remove(&names->by_name, &cs->node);
	client_statement_unref(cs);
}

void client_statement_relist(struct client_names *names, struct client_statement *cs)
{
	if (cs->listed || client_statement_find(names, cs->name))
		return;
	if (map_insert(&names->by_name, &cs->node, hash_text(cs->name)) < 0)
		return;
	cs->listed = true;
	names->size += cs->size;
	cs->refs++;
}

void client_statements_clear(struct client_names *names)
{
	struct map_node *node;

	while ((node = map_next(&names->by_name, NULL)))
		client_statement_drop(names, container_of(node, struct client_statement, node));
	map_clear(&names->by_name);
}
