/*
 * From the client to the server: one message after the other is passed on in place, rewritten, kept
 * back until its turn, or answered here. Called through pgsql.c. Reads no answers (back.c) and
 * decides nothing about the pool.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"

/* A Parse of a named statement is kept for as long as its client wants it; one of the unnamed
 * statement only to be able to repeat it elsewhere. */
#define NAMED_PARSE_MAX   (16u << 20)
#define UNNAMED_PARSE_MAX (64u << 10)

/* Messages that have to be looked into are waited for up to this size. */
#define LOOK_MAX (64u << 10)

/* The names at the front of a Bind, Describe, Close or Execute. */
#define NAMES_MAX 8192

/* What one message led to: go on with the next one, or stop with a verdict. */
struct step {
	bool stop;
	enum front_verdict verdict;
};

#define STEP_ON        ((struct step){.stop = false})
#define STEP_STOP(why) ((struct step){.stop = true, .verdict = (why)})

/* Where one call reads and writes. */
struct pass {
	struct pg_front *front;
	struct pg_back *back; /* NULL: none is held */
	struct input *in;
	struct output *to_client, *to_server;
	struct pg_header h; /* of the message at the front of the input */
};

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

enum front_verdict front_end(
	struct pg_front *front, enum reason reason, const char *detail, struct output *to_client)
{
	struct refusal refusal;

	refusal_set(&refusal, reason, detail);
	pg_send_refusal(to_client, &refusal, true);
	front->base.reason = reason;
	front->phase = PHASE_ENDED;
	return FRONT_CLOSE;
}

static struct step violation(struct pass *p, const char *detail)
{
	return STEP_STOP(front_end(p->front, REASON_PROTOCOL_VIOLATION, detail, p->to_client));
}

static struct step out_of_memory(struct pass *p)
{
	return STEP_STOP(front_end(p->front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
}

/* --- passing on and dropping --- */

static void feed_scan(struct pg_front *front, const uint8_t *data, size_t len)
{
	if (front->scanning && front->query_scan)
		scan_feed(front->query_scan, (const char *)data, len);
}

/* The Query that was being passed on in parts is complete: what may it change? */
static void finish_scan(struct pg_front *front, struct pg_back *back)
{
	struct scan *scan = front->query_scan;

	front->scanning = false;
	if (!scan)
		return;
	scan_end(scan);
	/* An error before it may have made the server skip it, and its entry is gone. */
	struct expectation *e = expectations_last(&back->expected);
	bool awaited = e && e->kind == EXPECT_QUERY;
	if (!awaited || (!scan->n_effects && !scan->overflow)) {
		effects_free(scan);
		front->query_scan = NULL;
		return;
	}
	front->effects = scan;
	front->barrier = true;
	e->effectful = true;
}

/* So much of the message at the front of the input is still to be passed on. */
static void note_forwarding(struct pass *p, size_t n)
{
	p->front->forwarding = n;
	p->front->base.mid_message = n > 0;
	p->back->awaited = n;
}

/* Goes on with a message of which a part was passed on or dropped before. */
static void continue_message(struct pass *p)
{
	struct pg_front *front = p->front;
	size_t n = least(p->in->len, front->forwarding + front->dropping);

	if (front->forwarding) {
		feed_scan(front, p->in->data, n);
		output_ref(p->to_server, p->in->data, n);
		note_forwarding(p, front->forwarding - n);
		if (!front->forwarding && front->scanning)
			finish_scan(front, p->back);
	} else {
		front->dropping -= n;
		if (!front->dropping && front->drop_is_query) {
			front->drop_is_query = false;
			pg_send_ready(p->to_client, front->base.failed_transaction ? 'E' : 'I');
		}
	}
	input_skip(p->in, n);
}

/* Passes on the message at the front of the input from `offset` bytes in, as far as it is there. */
static void forward_from(struct pass *p, size_t offset)
{
	size_t n = least(p->in->len, p->h.total);

	CHECK(offset <= n);
	output_ref(p->to_server, p->in->data + offset, n - offset);
	note_forwarding(p, p->h.total - n);
	p->back->awaits_data = p->h.type == 'd';
	input_skip(p->in, n);
}

static void drop_message(struct pass *p)
{
	size_t n = least(p->in->len, p->h.total);

	p->front->dropping = p->h.total - n;
	input_skip(p->in, n);
}

static bool is_whole(const struct pass *p)
{
	return p->in->len >= p->h.total;
}

static void push(struct pass *p, struct expectation item)
{
	expectations_push(&p->back->expected, item);
}

/* --- weir's own messages in front of the client's --- */

static void send_parse(struct pass *p, const char *name, const uint8_t *body, size_t len)
{
	struct buf b = {0};
	size_t offset = pg_begin(&b, 'P');

	buf_cstr(&b, name);
	pg_end(&b, offset);
	if (!b.failed)
		buf_patch_u32be(&b, 1, (uint32_t)(b.len - 1 + len));
	pg_send_buf(p->to_server, &b);
	output_ref(p->to_server, body, len);
}

static void send_named(struct output *o, uint8_t type, uint8_t what, const char *name)
{
	struct buf b = {0};
	size_t offset = pg_begin(&b, type);

	buf_u8(&b, what);
	buf_cstr(&b, name);
	pg_end(&b, offset);
	pg_send_buf(o, &b);
}

static void own_close(struct pass *p, const char *name, struct statement *evicted)
{
	send_named(p->to_server, 'C', 'S', name);
	push(p, (struct expectation){.kind = EXPECT_CLOSE, .own = true, .statement = evicted});
	p->back->batch_open = true;
}

static void own_sync(struct pass *p)
{
	pg_send_empty(p->to_server, 'S');
	push(p, (struct expectation){.kind = EXPECT_SYNC, .own = true});
	p->back->batch_open = p->back->batch_binds = false;
}

/* Closes what is least recently used, if there are too many. */
static void evict(struct pass *p)
{
	size_t limit = (size_t)p->front->prepared_limit;
	struct statement *old = prepared_evict(&p->back->prepared, limit > 0 ? limit : 1, NULL);
	char name[STATEMENT_NAME_SIZE];

	if (!old)
		return;
	statement_name(old, name);
	own_close(p, name, old);
}

/* Prepares `statement` on the server connection if it is not yet; its answer is swallowed. */
static bool ensure_prepared(struct pass *p, struct statement *statement)
{
	char name[STATEMENT_NAME_SIZE];

	if (prepared_use(&p->back->prepared, statement))
		return true;
	if (prepared_add(&p->back->prepared, statement) < 0)
		return false;
	statement_name(statement, name);
	send_parse(p, name, statement->body, statement->len);
	push(p, (struct expectation){
			.kind = EXPECT_PARSE, .own = true, .statement = statement_ref(statement)});
	p->back->base.n_server_parses++;
	evict(p);
	return true;
}

/*
 * SQL that names a prepared statement (EXECUTE x, DEALLOCATE x), and a Parse under a name that is
 * taken, need the client's own name on the server, so that it answers in its own words. It is lent
 * for the one request.
 */
static bool lend_name(struct pass *p, struct client_statement *cs)
{
	struct pg_back *back = p->back;

	free(back->lent_name);
	back->lent_name = strdup(cs->name);
	if (!back->lent_name)
		return false;
	own_close(p, cs->name, NULL);
	send_parse(p, cs->name, cs->statement->body, cs->statement->len);
	push(p, (struct expectation){.kind = EXPECT_PARSE, .own = true});
	return true;
}

static void take_name_back(struct pass *p)
{
	struct pg_back *back = p->back;

	if (!back->lent_name)
		return;
	own_close(p, back->lent_name, NULL);
	own_sync(p);
	free(back->lent_name);
	back->lent_name = NULL;
}

/* Brings the server connection to the client's settings, if it is not there already. */
static bool bring_settings(struct pass *p)
{
	struct pg_front *front = p->front;
	struct pg_back *back = p->back;
	struct buf sql = {0};

	if (back->leftover) {
		back_own_query(back, "DEALLOCATE ALL", p->to_server);
		back->leftover = false;
	}
	if (!sync_needed(&front->settings, &back->settings))
		return true;
	sync_write(&front->settings, &back->settings, &sql);
	buf_u8(&sql, 0);
	if (sql.failed)
		return false;
	if (sql.len > 1)
		back_own_query(back, (const char *)sql.data, p->to_server);
	sync_done(&front->settings, &back->settings);
	buf_clear(&sql);
	return true;
}

/* --- Query --- */

static void forget_unnamed(struct pg_front *front)
{
	free(front->unnamed);
	front->unnamed = NULL;
	front->unnamed_len = 0;
	front->unnamed_number = 0;
	effects_free(front->unnamed_effects);
	front->unnamed_effects = NULL;
}

static void set_bound(struct pg_front *front, struct statement *statement)
{
	statement_unref(front->bound);
	front->bound = statement ? statement_ref(statement) : NULL;
	free(front->bound_value);
	front->bound_value = NULL;
}

/* A Query names prepared statements of the client: lends their names. False: no memory. */
static bool lend_names(struct pass *p, const struct scan *scan)
{
	for (unsigned i = 0; i < scan->n_effects; i++) {
		const struct effect *effect = &scan->effects[i];
		if (effect->kind != EFFECT_EXECUTE && effect->kind != EFFECT_DEALLOCATE)
			continue;
		struct client_statement *cs =
			client_statement_find(&p->front->statements, effect->name);
		if (!cs || p->back->lent_name || p->back->batch_open)
			continue;
		if (!lend_name(p, cs))
			return false;
		own_sync(p);
	}
	return true;
}

static void remember_effects(struct pg_front *front, struct scan *effects)
{
	effects_free(front->query_scan);
	front->query_scan = effects;
	front->effects = effects;
	front->barrier = effects != NULL;
}

static struct step handle_query(struct pass *p)
{
	struct pg_front *front = p->front;
	struct scan *effects = NULL;

	/* Which prepared statements it names must be known before any of it is sent. */
	if (!is_whole(p) && front->statements.n_items && p->h.total <= LOOK_MAX)
		return STEP_STOP(FRONT_MORE);
	forget_unnamed(front);
	if (is_whole(p)) {
		const char *sql = (const char *)p->in->data + PG_HEADER;
		if (!effects_scan(&front->worker->scan, sql, strnlen(sql, p->h.total - PG_HEADER),
			    &effects))
			return out_of_memory(p);
		remember_effects(front, effects);
		if (effects && !lend_names(p, effects))
			return out_of_memory(p);
	} else {
		struct scan *scan = malloc(sizeof(*scan));
		if (!scan)
			return out_of_memory(p);
		scan_init(scan);
		remember_effects(front, NULL);
		front->query_scan = scan;
		front->scanning = true;
		feed_scan(front, p->in->data + PG_HEADER, p->in->len - PG_HEADER);
	}
	push(p, (struct expectation){.kind = EXPECT_QUERY, .effectful = effects != NULL});
	p->back->unnamed_number = 0;
	p->back->batch_open = p->back->batch_binds = false;
	p->back->base.n_queries++;
	forward_from(p, 0);
	if (effects)
		take_name_back(p);
	return STEP_ON;
}

/* --- Parse --- */

/* The content of a Parse behind the name: a text, a count, and that many type numbers. */
static bool parse_body_valid(const uint8_t *body, size_t len)
{
	struct reader r;

	reader_init(&r, body, len);
	reader_cstr(&r, NULL);
	size_t n_types = reader_u16be(&r);
	reader_bytes(&r, n_types * 4);
	return reader_done(&r);
}

static struct step parse_unnamed(struct pass *p)
{
	struct pg_front *front = p->front;
	size_t total = p->h.total;

	forget_unnamed(front);
	front->unnamed_number = ++front->worker->next_unnamed;
	p->back->unnamed_number = front->unnamed_number;
	if (is_whole(p)) {
		const char *sql = (const char *)p->in->data + PG_HEADER + 1;
		if (!effects_scan(&front->worker->scan, sql, strnlen(sql, total - PG_HEADER - 1),
			    &front->unnamed_effects))
			return out_of_memory(p);
		front->unnamed = malloc(total);
		if (!front->unnamed)
			return out_of_memory(p);
		memcpy(front->unnamed, p->in->data, total);
		front->unnamed_len = total;
	}
	push(p, (struct expectation){.kind = EXPECT_PARSE});
	p->back->base.n_server_parses++;
	forward_from(p, 0);
	return STEP_ON;
}

/* A name that is taken: the server says so itself, once it knows the name. */
static struct step parse_taken(struct pass *p, struct client_statement *cs)
{
	if (!p->back->lent_name && !lend_name(p, cs))
		return out_of_memory(p);
	push(p, (struct expectation){.kind = EXPECT_PARSE});
	forward_from(p, 0);
	return STEP_ON;
}

static struct step parse_named(struct pass *p, const char *name, const uint8_t *body, size_t len)
{
	struct pg_front *front = p->front;
	struct client_statement *cs = client_statement_find(&front->statements, name);

	if (cs)
		return parse_taken(p, cs);
	struct statement *statement = statement_get(&front->worker->statements, body, len);
	cs = statement ? client_statement_add(&front->statements, name, statement) : NULL;
	if (!cs) {
		statement_unref(statement);
		return out_of_memory(p);
	}
	cs->refs++;
	if (prepared_use(&p->back->prepared, statement)) {
		push(p, (struct expectation){
				.kind = EXPECT_LOCAL_PARSE, .client = cs, .statement = statement});
		back_answer_local(p->back, p->to_client);
	} else {
		char own_name[STATEMENT_NAME_SIZE];
		if (prepared_add(&p->back->prepared, statement) < 0)
			return out_of_memory(p);
		statement_name(statement, own_name);
		send_parse(p, own_name, statement->body, statement->len);
		push(p, (struct expectation){
				.kind = EXPECT_PARSE, .client = cs, .statement = statement});
		p->back->base.n_server_parses++;
		evict(p);
	}
	input_skip(p->in, p->h.total);
	return STEP_ON;
}

static struct step handle_parse(struct pass *p)
{
	struct reader r;
	size_t name_len;

	reader_init(&r, p->in->data + PG_HEADER, least(p->in->len, p->h.total) - PG_HEADER);
	const char *name = reader_cstr(&r, &name_len);
	bool unnamed = name && name_len == 0;
	if (!is_whole(p)) {
		if (!name && reader_left(&r) > NAMES_MAX)
			return violation(p, "the name in a Parse message is too long");
		bool keep = unnamed ? p->h.total <= UNNAMED_PARSE_MAX : !p->front->session_mode;
		if (!name || keep) {
			if (p->h.total > NAMED_PARSE_MAX)
				return violation(p, "a named statement must be smaller than 16 MB");
			return STEP_STOP(FRONT_MORE);
		}
	}
	p->back->batch_open = true;
	p->back->base.n_client_parses++;
	if (unnamed)
		return parse_unnamed(p);
	if (p->front->session_mode) {
		push(p, (struct expectation){.kind = EXPECT_PARSE});
		forward_from(p, 0);
		return STEP_ON;
	}
	if (!name || !parse_body_valid(r.at, reader_left(&r)))
		return violation(p, "invalid Parse message");
	return parse_named(p, name, r.at, reader_left(&r));
}

/* --- Bind, Describe, Close, Execute --- */

/* Brings the unnamed statement that the client parsed last to the server connection. */
static bool ensure_unnamed(struct pass *p)
{
	struct pg_front *front = p->front;
	struct pg_back *back = p->back;

	if (back->unnamed_number == front->unnamed_number)
		return true;
	if (front->unnamed) {
		/* Not by reference: another Parse may take its place before this one is sent. */
		output_copy(p->to_server, front->unnamed, front->unnamed_len);
		push(p, (struct expectation){.kind = EXPECT_PARSE, .own = true});
		back->unnamed_number = front->unnamed_number;
		back->base.n_server_parses++;
		return true;
	}
	/* Nobody else's may be found there: the server will say that there is none. */
	own_close(p, "", NULL);
	back->unnamed_number = front->unnamed_number = 0;
	return true;
}

/* The value of parameter `number` (from 1) in a Bind message behind its names, as text; NULL if it
 * cannot be told. */
static char *bind_value(struct reader r, int number)
{
	size_t n_formats = reader_u16be(&r);
	reader_bytes(&r, n_formats * 2);
	int n_values = reader_u16be(&r);

	for (int i = 1; i <= n_values && !r.failed; i++) {
		uint32_t len = reader_u32be(&r);
		const uint8_t *value = len == UINT32_MAX ? NULL : reader_bytes(&r, len);
		if (i == number)
			return value ? strndup((const char *)value, len) : NULL;
	}
	return NULL;
}

/* Will a value of the Bind have to be known? */
static bool has_parameters(const struct scan *effects)
{
	for (unsigned i = 0; effects && i < effects->n_effects; i++) {
		if (effects->effects[i].param > 0)
			return true;
	}
	return false;
}

static const struct scan *effects_of(const struct pg_front *front, const struct statement *bound)
{
	return bound ? bound->effects : front->unnamed_effects;
}

static void remember_bound(struct pass *p, struct statement *statement, struct reader rest)
{
	struct pg_front *front = p->front;
	const struct scan *effects = effects_of(front, statement);

	set_bound(front, statement);
	for (unsigned i = 0; effects && i < effects->n_effects; i++) {
		if (effects->effects[i].param > 0 && is_whole(p) && !front->bound_value)
			front->bound_value = bind_value(rest, effects->effects[i].param);
	}
}

/* Writes the message's header and first bytes anew, with `name` where the client's name stood:
 * `before` bytes of content come first, the rest follows behind the client's name of `name_len`
 * bytes. */
static void forward_renamed(struct pass *p, size_t before, size_t name_len, const char *name)
{
	size_t new_len = strlen(name);
	size_t total = p->h.total - name_len + new_len;
	struct buf b = {0};

	buf_u8(&b, p->h.type);
	buf_u32be(&b, (uint32_t)(total - 1));
	buf_put(&b, p->in->data + PG_HEADER, before);
	buf_put(&b, name, new_len);
	pg_send_buf(p->to_server, &b);
	forward_from(p, PG_HEADER + before + name_len);
}

/* A statement name for the server: weir's own for a name that is known, the client's for one that
 * is not (the server then says so), unless that could be taken for one of weir's. NULL: no memory.
 */
static const char *server_name(struct pass *p, const char *name, struct client_statement *cs,
	char ret_name[STATEMENT_NAME_SIZE])
{
	if (cs) {
		if (!ensure_prepared(p, cs->statement))
			return NULL;
		statement_name(cs->statement, ret_name);
		return ret_name;
	}
	return strncmp(name, STATEMENT_PREFIX, strlen(STATEMENT_PREFIX)) == 0 ? "unknown" : name;
}

static struct step handle_bind(struct pass *p)
{
	struct reader r;
	size_t portal_len, name_len;
	char own_name[STATEMENT_NAME_SIZE];
	struct client_statement *cs = NULL;

	reader_init(&r, p->in->data + PG_HEADER, least(p->in->len, p->h.total) - PG_HEADER);
	reader_cstr(&r, &portal_len);
	const char *name = reader_cstr(&r, &name_len);
	if (!name) {
		if (is_whole(p) || p->in->len > NAMES_MAX)
			return violation(p, "invalid Bind message");
		return STEP_STOP(FRONT_MORE);
	}
	if (name_len && !p->front->session_mode)
		cs = client_statement_find(&p->front->statements, name);
	const struct scan *effects = effects_of(p->front, cs ? cs->statement : NULL);
	if (!is_whole(p) && p->h.total <= LOOK_MAX && has_parameters(effects))
		return STEP_STOP(FRONT_MORE);
	p->back->batch_open = p->back->batch_binds = true;
	p->back->base.n_binds++;
	if (!name_len && !ensure_unnamed(p))
		return out_of_memory(p);
	if (!name_len || !p->front->session_mode)
		remember_bound(p, cs ? cs->statement : NULL, r);
	if (!name_len || p->front->session_mode) {
		push(p, (struct expectation){.kind = EXPECT_BIND});
		forward_from(p, 0);
		return STEP_ON;
	}
	const char *sent_name = server_name(p, name, cs, own_name);
	if (!sent_name)
		return out_of_memory(p);
	push(p, (struct expectation){.kind = EXPECT_BIND,
			.statement = cs ? statement_ref(cs->statement) : NULL});
	forward_renamed(p, portal_len + 1, name_len, sent_name);
	return STEP_ON;
}

/* The kind byte and the name of a whole Describe or Close. */
static bool read_named(struct pass *p, uint8_t *ret_what, const char **ret_name)
{
	struct reader r;

	reader_init(&r, p->in->data + PG_HEADER, p->h.total - PG_HEADER);
	*ret_what = reader_u8(&r);
	*ret_name = reader_cstr(&r, NULL);
	return reader_done(&r) && (*ret_what == 'S' || *ret_what == 'P');
}

static struct step handle_describe(struct pass *p, uint8_t what, const char *name)
{
	char own_name[STATEMENT_NAME_SIZE];

	p->back->batch_open = true;
	if (what == 'P' || p->front->session_mode || !name[0]) {
		if (what == 'S' && !name[0] && !ensure_unnamed(p))
			return out_of_memory(p);
		push(p, (struct expectation){.kind = EXPECT_DESCRIBE});
		forward_from(p, 0);
		return STEP_ON;
	}
	struct client_statement *cs = client_statement_find(&p->front->statements, name);
	const char *sent_name = server_name(p, name, cs, own_name);
	if (!sent_name)
		return out_of_memory(p);
	push(p, (struct expectation){.kind = EXPECT_DESCRIBE});
	forward_renamed(p, 1, strlen(name), sent_name);
	return STEP_ON;
}

static struct step handle_close(struct pass *p, uint8_t what, const char *name)
{
	struct pg_front *front = p->front;

	p->back->batch_open = true;
	if (what == 'P' || front->session_mode || !name[0]) {
		if (what == 'S' && !name[0]) {
			forget_unnamed(front);
			p->back->unnamed_number = 0;
		}
		push(p, (struct expectation){.kind = EXPECT_CLOSE});
		forward_from(p, 0);
		return STEP_ON;
	}
	/* The server's copy stays for whoever has the same statement. */
	struct client_statement *cs = client_statement_find(&front->statements, name);
	struct expectation item = {.kind = EXPECT_LOCAL_CLOSE};
	if (cs) {
		cs->refs++;
		item.client = cs;
		client_statement_drop(&front->statements, cs);
	}
	push(p, item);
	input_skip(p->in, p->h.total);
	back_answer_local(p->back, p->to_client);
	return STEP_ON;
}

static struct step handle_named(struct pass *p)
{
	uint8_t what;
	const char *name;

	if (!is_whole(p)) {
		if (p->h.total > NAMES_MAX)
			return violation(p, "the name in a Describe or Close message is too long");
		return STEP_STOP(FRONT_MORE);
	}
	if (!read_named(p, &what, &name))
		return violation(p, "invalid Describe or Close message");
	return p->h.type == 'D' ? handle_describe(p, what, name) : handle_close(p, what, name);
}

static struct step handle_execute(struct pass *p)
{
	struct pg_front *front = p->front;
	struct statement *statement = front->bound;
	const struct scan *effects = effects_of(front, statement);

	if (!is_whole(p)) {
		if (p->h.total > NAMES_MAX)
			return violation(p, "the name in an Execute message is too long");
		return STEP_STOP(FRONT_MORE);
	}
	p->back->batch_open = p->back->batch_binds = true;
	p->back->base.n_queries++;
	for (unsigned i = 0; effects && i < effects->n_effects && !front->session_mode; i++) {
		const struct effect *effect = &effects->effects[i];
		if (effect->kind != EFFECT_DEALLOCATE && effect->kind != EFFECT_EXECUTE)
			continue;
		struct client_statement *cs =
			client_statement_find(&front->statements, effect->name);
		if (cs && !p->back->lent_name && !lend_name(p, cs))
			return out_of_memory(p);
	}
	push(p, (struct expectation){.kind = EXPECT_EXECUTE,
			.effectful = effects != NULL,
			.statement = statement ? statement_ref(statement) : NULL});
	forward_from(p, 0);
	if (effects) {
		/* Nothing more is sent before its outcome is known: ask for the answer now. */
		front->effects = effects;
		front->barrier = true;
		pg_send_empty(p->to_server, 'H');
	}
	return STEP_ON;
}

static struct step handle_sync(struct pass *p)
{
	/* In copy-in mode the server ignores it, and answers only the one behind CopyDone. */
	if (!p->back->copy_in) {
		push(p, (struct expectation){.kind = EXPECT_SYNC});
		p->back->batch_open = p->back->batch_binds = p->back->failing = false;
	}
	forward_from(p, 0);
	if (!p->back->copy_in)
		take_name_back(p);
	return STEP_ON;
}

/* Parse, Describe, Flush is how some drivers prepare, and then they may be silent for long. Nothing
 * was executed, so that a Sync in place of the Flush changes nothing, and the server connection is
 * free. What the client sends next waits for the answers: after an error it is to be skipped. */
static struct step handle_flush(struct pass *p)
{
	struct pg_back *back = p->back;
	bool last = p->in->len == p->h.total;

	if (!last || !back->batch_open || back->batch_binds || back->copy_in ||
		back->status != 'I' || p->front->session_mode) {
		forward_from(p, 0);
		return STEP_ON;
	}
	input_skip(p->in, p->h.total);
	own_sync(p);
	expectations_at(&back->expected, back->expected.len - 1)->for_flush = true;
	p->front->barrier = true;
	return STEP_ON;
}

/* --- COPY --- */

static struct step handle_copy(struct pass *p)
{
	struct pg_back *back = p->back;

	/* After an error the server takes no more of it; what is still on its way from the client
	 * is dropped here, since the server connection may have gone to another one. */
	if (!back || back->expected.len == 0 || back->failing) {
		drop_message(p);
		return STEP_ON;
	}
	if (p->h.type != 'd') {
		if (!expectations_reserve(&back->expected, 1))
			return STEP_STOP(FRONT_WAIT);
		push(p, (struct expectation){.kind = EXPECT_COPY_END});
		back->copy_in = false;
	}
	forward_from(p, 0);
	return STEP_ON;
}

/* --- one message --- */

static struct step with_server(struct pass *p)
{
	struct pg_front *front = p->front;
	struct pg_back *back = p->back;

	if (front->barrier) {
		if (back->expected.len)
			return STEP_STOP(FRONT_WAIT);
		front->barrier = false;
		front->effects = NULL;
	}
	/* One message may need a few entries: a Close, a Parse, its own, a Sync. */
	if (!expectations_reserve(&back->expected, 12))
		return STEP_STOP(FRONT_WAIT);
	if (back->failing && p->h.type != 'S') {
		drop_message(p);
		return STEP_ON;
	}
	if (back->expected.len == 0 && !back->batch_open && back->status != 'E' &&
		!bring_settings(p))
		return out_of_memory(p);
	if (front->session_mode)
		back->base.dirty = true;
	switch (p->h.type) {
	case 'Q':
		return handle_query(p);
	case 'P':
		return handle_parse(p);
	case 'B':
		return handle_bind(p);
	case 'D':
	case 'C':
		return handle_named(p);
	case 'E':
		return handle_execute(p);
	case 'S':
		return handle_sync(p);
	case 'H':
		return handle_flush(p);
	case 'F':
		push(p, (struct expectation){.kind = EXPECT_FUNCTION});
		back->base.n_queries++;
		forward_from(p, 0);
		return STEP_ON;
	default:
		return violation(p, "unknown message type");
	}
}

static struct step close_without_server(struct pass *p)
{
	uint8_t what;
	const char *name;

	if (!is_whole(p))
		return p->h.total > NAMES_MAX ? violation(p, "invalid Close message")
					      : STEP_STOP(FRONT_MORE);
	if (!read_named(p, &what, &name))
		return violation(p, "invalid Close message");
	struct client_statement *cs =
		what == 'S' ? client_statement_find(&p->front->statements, name) : NULL;
	if (cs)
		client_statement_drop(&p->front->statements, cs);
	if (what == 'S' && !name[0])
		forget_unnamed(p->front);
	pg_send_empty(p->to_client, '3');
	input_skip(p->in, p->h.total);
	return STEP_ON;
}

/* What is answered without a server connection, and what asks for one. */
static struct step without_server(struct pass *p)
{
	struct pg_front *front = p->front;

	switch (p->h.type) {
	case 'S':
		/* Nothing is under way: there is nothing to wait for. */
		input_skip(p->in, p->h.total);
		pg_send_ready(p->to_client, front->base.failed_transaction ? 'E' : 'I');
		return STEP_ON;
	case 'H':
		drop_message(p);
		return STEP_ON;
	case 'C':
		return close_without_server(p);
	case 'Q':
	case 'P':
	case 'B':
	case 'D':
	case 'E':
	case 'F':
		break;
	default:
		return violation(p, "unknown message type");
	}
	if (front->base.failed_transaction)
		return lost_message(front, p->in, &p->h, p->to_client) ? STEP_ON
								       : STEP_STOP(FRONT_MORE);
	front->base.in_request = true;
	return STEP_STOP(FRONT_SERVER);
}

/* An error was told: the rest of the request is dropped, up to the ReadyForQuery that the client
 * waits for. */
static struct step skip_refused(struct pass *p)
{
	struct pg_front *front = p->front;

	if (front->skip_request) {
		front->skip_request = false;
		if (p->h.type == 'Q' || p->h.type == 'F') {
			front->drop_is_query = true;
			drop_message(p);
			if (!front->dropping) {
				front->drop_is_query = false;
				pg_send_ready(
					p->to_client, front->base.failed_transaction ? 'E' : 'I');
			}
			return STEP_ON;
		}
		front->skipping = true;
	}
	if (p->h.type != 'S') {
		drop_message(p);
		return STEP_ON;
	}
	front->skipping = false;
	input_skip(p->in, p->h.total);
	pg_send_ready(p->to_client, front->base.failed_transaction ? 'E' : 'I');
	return STEP_ON;
}

static struct step one_message(struct pass *p)
{
	struct pg_front *front = p->front;

	/* Nothing may be in them: weir puts messages of its own behind what it has seen of them. */
	if ((p->h.type == 'S' || p->h.type == 'H') && p->h.total != PG_HEADER)
		return violation(p, "a Sync or Flush message with content");
	switch (p->h.type) {
	case 'X':
		front->base.reason = REASON_CLIENT_LEFT;
		front->phase = PHASE_ENDED;
		return STEP_STOP(FRONT_CLOSE);
	case 'd':
	case 'c':
	case 'f':
		return handle_copy(p);
	case 'S':
	case 'H':
		/* Nothing is in them, so that there is never a rest of one to wait for. */
		if (p->h.total != PG_HEADER)
			return violation(p, "invalid message format");
		break;
	default:
		break;
	}
	if (front->skip_request || front->skipping)
		return skip_refused(p);
	return p->back ? with_server(p) : without_server(p);
}

enum front_verdict relay_from_client(struct pg_front *front, struct pg_back *back, struct input *in,
	struct output *to_client, struct output *to_server)
{
	struct pass p = {.front = front,
		.back = back,
		.in = in,
		.to_client = to_client,
		.to_server = to_server};
	enum front_verdict verdict = FRONT_MORE;

	while (in->len) {
		if (!output_has_room(to_server) || !output_has_room(to_client)) {
			verdict = FRONT_FLUSH;
			break;
		}
		if (front->forwarding || front->dropping) {
			continue_message(&p);
			continue;
		}
		int r = pg_header_read(in, &p.h);
		if (r == PG_HEADER_SHORT)
			break;
		if (r == PG_HEADER_BAD)
			return front_end(front, REASON_PROTOCOL_VIOLATION, "invalid message length",
				to_client);
		struct step step = one_message(&p);
		if (step.stop) {
			verdict = step.verdict;
			break;
		}
	}
	if (back) {
		back_update(back);
		front->base.in_request = !back->base.at_rest || front->skipping;
	}
	return verdict;
}

void relay_refuse(struct pg_front *front, const struct refusal *refusal, struct output *to_client)
{
	pg_send_refusal(to_client, refusal, false);
	front->skip_request = true;
	front->base.in_request = false;
}

/* The answers that were outstanding will not come: each request is answered with the error, so that
 * the client's count of ReadyForQuery is right. The connection still expects them, since it may be
 * drained. */
void relay_server_lost(struct pg_front *front, struct pg_back *back, const struct refusal *refusal,
	struct output *to_client)
{
	bool open = back->batch_open && !back->failing;
	uint8_t status = front->base.failed_transaction ? 'E' : 'I';
	bool told = back->erred;

	for (size_t i = 0; i < back->expected.len; i++) {
		const struct expectation *item = expectations_at(&back->expected, i);
		bool ends = item->kind == EXPECT_QUERY || item->kind == EXPECT_SYNC ||
			    item->kind == EXPECT_FUNCTION;
		if (!ends || item->own)
			continue;
		if (!told)
			pg_send_refusal(to_client, refusal, false);
		told = false;
		if (front->forwarding && i + 1 == back->expected.len) {
			front->drop_is_query = true;
			break;
		}
		pg_send_ready(to_client, status);
	}
	if (open)
		pg_send_refusal(to_client, refusal, false);
	back_disown(back, front);
	front->skipping = back->batch_open || back->failing;
	front->dropping = front->forwarding;
	front->forwarding = 0;
	front->scanning = front->barrier = false;
	front->effects = NULL;
	front->statement_index = 0;
	front->base.mid_message = false;
	front->base.in_request = front->skipping;
}
