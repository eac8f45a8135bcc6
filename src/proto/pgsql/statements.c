/* Prepared statements: the tables. Who prepares what when is decided in front.c. */
#include "proto/pgsql/statements.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct body_key {
	const uint8_t *body;
	size_t len;
};

static bool body_equal(const struct map_node *node, const void *key)
{
	const struct statement *s = container_of(node, struct statement, node);
	const struct body_key *k = key;

	return s->len == k->len && memcmp(s->body, k->body, k->len) == 0;
}

void statements_init(struct statements *table, struct scan *scratch)
{
	map_init(&table->by_body);
	table->scratch = scratch;
	table->next_id = 1;
}

void statements_clear(struct statements *table)
{
	CHECK(table->by_body.n_items == 0);
	map_clear(&table->by_body);
}

struct statement *statement_get(struct statements *table, const uint8_t *body, size_t len)
{
	struct body_key key = {.body = body, .len = len};
	uint64_t hash = hash_bytes(body, len, 0);
	struct map_node *node = map_find(&table->by_body, hash, body_equal, &key);

	if (node)
		return statement_ref(container_of(node, struct statement, node));
	struct statement *s = calloc(1, sizeof(*s) + len);
	if (!s)
		return NULL;
	s->table = table;
	s->id = table->next_id++;
	s->refs = 1;
	s->len = len;
	memcpy(s->body, body, len);
	if (!effects_scan(table->scratch, (const char *)body, strnlen((const char *)body, len),
		    &s->effects) ||
		map_insert(&table->by_body, &s->node, hash) < 0) {
		effects_free(s->effects);
		free(s);
		return NULL;
	}
	return s;
}

struct statement *statement_ref(struct statement *s)
{
	s->refs++;
	return s;
}

void statement_supersede(struct statement *s)
{
	if (!s->table)
		return;
	map_remove(&s->table->by_body, &s->node);
	s->table = NULL;
}

void statement_unref(struct statement *s)
{
	if (!s || --s->refs > 0)
		return;
	statement_supersede(s);
	effects_free(s->effects);
	free(s);
}

void effects_free(struct scan *effects)
{
	if (!effects)
		return;
	scan_clear(effects);
	free(effects);
}

bool effects_scan(struct scan *scratch, const char *sql, size_t len, struct scan **ret_effects)
{
	*ret_effects = NULL;
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

void statement_name(const struct statement *s, char ret_name[STATEMENT_NAME_SIZE])
{
	snprintf(ret_name, STATEMENT_NAME_SIZE, STATEMENT_PREFIX "%llu", (unsigned long long)s->id);
}

static bool name_equal(const struct map_node *node, const void *key)
{
	return strcmp(container_of(node, struct client_statement, node)->name, key) == 0;
}

struct client_statement *client_statement_find(const struct map *names, const char *name)
{
	struct map_node *node = map_find(names, hash_text(name), name_equal, name);

	return node ? container_of(node, struct client_statement, node) : NULL;
}

struct client_statement *client_statement_add(
	struct map *names, const char *name, struct statement *statement)
{
	size_t size = strlen(name) + 1;
	struct client_statement *cs = calloc(1, sizeof(*cs) + size);

	if (!cs)
		return NULL;
	memcpy(cs->name, name, size);
	if (map_insert(names, &cs->node, hash_text(name)) < 0) {
		free(cs);
		return NULL;
	}
	cs->refs = 1;
	cs->listed = true;
	cs->statement = statement_ref(statement);
	return cs;
}

void client_statement_unref(struct client_statement *cs)
{
	if (!cs || --cs->refs > 0)
		return;
	statement_unref(cs->statement);
	free(cs);
}

void client_statement_drop(struct map *names, struct client_statement *cs)
{
	if (!cs->listed)
		return;
	cs->listed = false;
	map_remove(names, &cs->node);
	client_statement_unref(cs);
}

void client_statement_relist(struct map *names, struct client_statement *cs)
{
	if (cs->listed || client_statement_find(names, cs->name))
		return;
	if (map_insert(names, &cs->node, hash_text(cs->name)) < 0)
		return;
	cs->listed = true;
	cs->refs++;
}

void client_statements_clear(struct map *names)
{
	struct map_node *node;

	while ((node = map_next(names, NULL)))
		client_statement_drop(names, container_of(node, struct client_statement, node));
	map_clear(names);
}

static bool prepared_equal(const struct map_node *node, const void *key)
{
	return container_of(node, struct prepared, node)->statement == key;
}

static struct prepared *prepared_find(
	const struct prepared_set *set, const struct statement *statement)
{
	struct map_node *node =
		map_find(&set->by_statement, statement->id, prepared_equal, statement);

	return node ? container_of(node, struct prepared, node) : NULL;
}

void prepared_init(struct prepared_set *set)
{
	map_init(&set->by_statement);
	list_init(&set->lru);
}

static void prepared_free(struct prepared_set *set, struct prepared *p)
{
	map_remove(&set->by_statement, &p->node);
	list_remove(&p->link);
	statement_unref(p->statement);
	free(p);
}

void prepared_clear(struct prepared_set *set)
{
	struct prepared *p;

	while ((p = list_first(&set->lru, struct prepared, link)))
		prepared_free(set, p);
	map_clear(&set->by_statement);
}

bool prepared_use(struct prepared_set *set, const struct statement *statement)
{
	struct prepared *p = prepared_find(set, statement);

	if (!p)
		return false;
	list_remove(&p->link);
	list_prepend(&set->lru, &p->link);
	return true;
}

int prepared_add(struct prepared_set *set, struct statement *statement)
{
	struct prepared *p = calloc(1, sizeof(*p));

	if (!p || map_insert(&set->by_statement, &p->node, statement->id) < 0) {
		free(p);
		return -ENOMEM;
	}
	p->statement = statement_ref(statement);
	list_prepend(&set->lru, &p->link);
	return 0;
}

void prepared_remove(struct prepared_set *set, const struct statement *statement)
{
	struct prepared *p = prepared_find(set, statement);

	if (p)
		prepared_free(set, p);
}

struct statement *prepared_evict(struct prepared_set *set, size_t limit)
{
	if (set->by_statement.n_items <= limit)
		return NULL;
	struct prepared *p = list_last(&set->lru, struct prepared, link);
	CHECK(p);
	struct statement *statement = statement_ref(p->statement);
	prepared_free(set, p);
	return statement;
}
