/* Prepared statements: the tables that protocols have in common, and what of them goes from worker
 * to worker. Who prepares what when is the protocols'. */
#include "proto/statements.h"

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

void statements_init(struct statements *table, size_t own_len, statement_examine_fn examine,
	void (*forget)(void *), void *arg)
{
	*table = (struct statements){
		.next_id = 1, .own_len = own_len, .examine = examine, .forget = forget, .arg = arg};
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

static void take_out(struct statement *s)
{
	if (!s->table)
		return;
	map_remove(&s->table->by_body, &s->node);
	s->table = NULL;
}

void statement_supersede(struct statement *s)
{
	if (s->table)
		s->table->superseded_at = clock_usec();
	take_out(s);
}

void statement_unref(struct statement *s)
{
	if (!s || --s->refs > 0)
		return;
	take_out(s);
	s->forget(s->effects);
	free(s);
}

/* --- what a server connection has prepared --- */

static bool prepared_equal(const struct map_node *node, const void *key)
{
	return container_of(node, struct prepared, node)->statement == key;
}

static struct prepared *find(const struct prepared_set *set, const struct statement *statement)
{
	struct map_node *node =
		map_find(&set->by_statement, statement->id, prepared_equal, statement);

	return node ? container_of(node, struct prepared, node) : NULL;
}

void prepared_init(struct prepared_set *set)
{
	map_init(&set->by_statement);
	list_init(&set->lru);
	set->packed = (struct buf){0};
	set->n_packed = 0;
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
	buf_clear(&set->packed);
	set->n_packed = 0;
}

size_t prepared_count(const struct prepared_set *set)
{
	return set->by_statement.n_items + set->n_packed;
}

struct prepared *prepared_add(
	struct prepared_set *set, struct statement *statement, uint64_t number)
{
	struct prepared *p = calloc(1, sizeof(*p));

	if (!p || map_insert(&set->by_statement, &p->node, statement->id) < 0) {
		free(p);
		return NULL;
	}
	p->statement = statement_ref(statement);
	p->number = number;
	p->since = clock_usec();
	list_prepend(&set->lru, &p->link);
	return p;
}

void prepared_remove(struct prepared_set *set, const struct statement *statement)
{
	struct prepared *p = find(set, statement);

	if (p)
		prepared_free(set, p);
}

bool prepared_restore(struct prepared_set *set, struct statement *statement, uint64_t number)
{
	struct prepared *p = statement ? prepared_add(set, statement, number) : NULL;

	/* Since when it has been there was forgotten. */
	if (p)
		p->since = 0;
	return p;
}

/* --- on the way to another worker --- */

/* In front of each statement's key, as far as that means something elsewhere. */
struct packed {
	uint64_t number;
	usec_t since;
	uint32_t len;
	bool is_gone; /* taken out */
};

/* The one at `at`. False: that is the end. */
static bool read_packed(const struct prepared_set *set, size_t at, struct packed *ret)
{
	const struct buf *b = &set->packed;

	if (b->len - at < sizeof(*ret))
		return false;
	memcpy(ret, b->data + at, sizeof(*ret));
	return b->len - at - sizeof(*ret) >= ret->len;
}

static size_t packed_size(const struct packed *one)
{
	return sizeof(*one) + one->len;
}

static void take_out_packed(struct prepared_set *set, size_t at, struct packed one)
{
	one.is_gone = true;
	memcpy(set->packed.data + at, &one, sizeof(one));
	if (!--set->n_packed)
		buf_clear(&set->packed);
}

/* Enters what another worker has prepared, if it is there. */
static struct prepared *adopt(struct prepared_set *set, struct statement *statement)
{
	const struct statements *table = statement->table;
	struct packed one;

	for (size_t at = 0; table && read_packed(set, at, &one); at += packed_size(&one)) {
		const uint8_t *body = set->packed.data + at + sizeof(one);
		if (one.is_gone || one.len != statement->len - table->own_len || !one.since ||
			one.since < table->superseded_at ||
			memcmp(body, statement->body + table->own_len, one.len) != 0)
			continue;
		struct prepared *p = prepared_add(set, statement, one.number);
		if (!p)
			return NULL;
		p->since = one.since;
		take_out_packed(set, at, one);
		return p;
	}
	return NULL;
}

struct prepared *prepared_use(struct prepared_set *set, struct statement *statement)
{
	struct prepared *p = find(set, statement);

	if (!p)
		return set->n_packed ? adopt(set, statement) : NULL;
	list_remove(&p->link);
	list_prepend(&set->lru, &p->link);
	return p;
}

/* The last one is the least recently used one. */
static uint64_t evict_packed(struct prepared_set *set)
{
	struct packed one, last = {0};
	size_t last_at = 0;

	for (size_t at = 0; read_packed(set, at, &one); at += packed_size(&one)) {
		if (!one.is_gone) {
			last = one;
			last_at = at;
		}
	}
	take_out_packed(set, last_at, last);
	return last.number;
}

bool prepared_evict(struct prepared_set *set, size_t limit, struct statement **ret_statement,
	uint64_t *ret_number)
{
	if (prepared_count(set) <= limit)
		return false;
	if (set->n_packed) {
		*ret_statement = NULL;
		*ret_number = evict_packed(set);
		return true;
	}
	struct prepared *p = list_last(&set->lru, struct prepared, link);
	CHECK(p);
	*ret_statement = statement_ref(p->statement);
	*ret_number = p->number;
	prepared_free(set, p);
	return true;
}

static void pack_prepared(const struct prepared *p, struct buf *b)
{
	const struct statement *s = p->statement;
	struct packed one = {.number = p->number};

	/* A plan that does not fit is of use to nobody, but counts. */
	if (s->table) {
		one.since = p->since;
		one.len = (uint32_t)(s->len - s->table->own_len);
	}
	buf_put(b, &one, sizeof(one));
	buf_put(b, s->body + s->len - one.len, one.len);
}

bool prepared_pack(const struct prepared_set *set, struct buf *ret_packed)
{
	struct list *link;
	struct packed one;

	ret_packed->limit = PREPARED_PACKED_MAX;
	list_for_each (link, &set->lru)
		pack_prepared(list_entry(link, struct prepared, link), ret_packed);
	for (size_t at = 0; read_packed(set, at, &one); at += packed_size(&one)) {
		if (!one.is_gone)
			buf_put(ret_packed, set->packed.data + at, packed_size(&one));
	}
	bool ok = !ret_packed->failed;
	if (!ok)
		buf_clear(ret_packed);
	return ok;
}

void prepared_unpack(struct prepared_set *set, struct buf *packed)
{
	struct packed one;

	CHECK(!prepared_count(set));
	set->packed = *packed;
	*packed = (struct buf){0};
	for (size_t at = 0; read_packed(set, at, &one); at += packed_size(&one))
		set->n_packed++;
}
