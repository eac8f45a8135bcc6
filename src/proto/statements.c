/* Prepared statements: the tables that protocols have in common. Who prepares what when is theirs.
 */
#include "proto/statements.h"

#include <errno.h>
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

void statements_init(
	struct statements *table, statement_examine_fn examine, void (*forget)(void *), void *arg)
{
	*table =
		(struct statements){.next_id = 1, .examine = examine, .forget = forget, .arg = arg};
	map_init(&table->by_body);
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
	s->forget = table->forget;
	if (!table->examine(table->arg, body, len, &s->effects) ||
		map_insert(&table->by_body, &s->node, hash) < 0) {
		s->forget(s->effects);
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
	s->forget(s->effects);
	free(s);
}

static bool prepared_equal(const struct map_node *node, const void *key)
{
	return container_of(node, struct prepared, node)->statement == key;
}

struct prepared *prepared_find(const struct prepared_set *set, const struct statement *statement)
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

struct prepared *prepared_use(struct prepared_set *set, const struct statement *statement)
{
	struct prepared *p = prepared_find(set, statement);

	if (!p)
		return NULL;
	list_remove(&p->link);
	list_prepend(&set->lru, &p->link);
	return p;
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

struct statement *prepared_evict(struct prepared_set *set, size_t limit, uint64_t *ret_number)
{
	if (set->by_statement.n_items <= limit)
		return NULL;
	struct prepared *p = list_last(&set->lru, struct prepared, link);
	CHECK(p);
	struct statement *statement = statement_ref(p->statement);
	if (ret_number)
		*ret_number = p->number;
	prepared_free(set, p);
	return statement;
}
