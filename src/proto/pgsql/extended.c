/*
 * The extended protocol from the client to the server: Parse, Bind, Describe, Close and Execute. A
 * client's statements are prepared where they are missing, under names of weir's own; the unnamed
 * one is repeated where it is not. Called by front.c.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/pass.h"

/* A Parse of a named statement is kept for as long as its client wants it; one of the unnamed
 * statement only to be able to repeat it elsewhere. */
#define NAMED_PARSE_MAX   (16u << 20)
#define UNNAMED_PARSE_MAX (64u << 10)

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
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

static void own_close(struct pass *p, const char *name)
{
	send_named(p->to_server, 'C', 'S', name);
	pass_push(p, (struct expectation){.kind = EXPECT_CLOSE, .own = true});
	p->back->batch_open = true;
}

void extended_own_sync(struct pass *p)
{
	pg_send_empty(p->to_server, 'S');
	pass_push(p, (struct expectation){.kind = EXPECT_SYNC, .own = true});
	p->back->batch_open = p->back->batch_binds = false;
}

/* Closes what is least recently used, if there are too many. */
static void evict(struct pass *p)
{
	size_t limit = (size_t)p->front->prepared_limit;
	char name[STATEMENT_NAME_SIZE];
	struct statement *old;
	uint64_t number;

	if (!prepared_evict(&p->back->prepared, limit > 0 ? limit : 1, &old, &number))
		return;
	statement_name(number, name);
	own_close(p, name);
	struct expectation *e = expectations_last(&p->back->expected);
	e->statement = old;
	e->number = number;
}

/* The client's Parse, or weir's own for it, is about to be sent: enters it, under a new name. NULL:
 * no memory. */
static struct prepared *prepare(
	struct pass *p, struct statement *statement, char ret_name[STATEMENT_NAME_SIZE])
{
	struct prepared *prepared =
		prepared_add(&p->back->prepared, statement, p->back->last_number + 1);

	if (!prepared)
		return NULL;
	p->back->last_number++;
	statement_name(prepared->number, ret_name);
	send_parse(p, ret_name, statement->body, statement->len);
	p->back->base.n_server_parses++;
	return prepared;
}

/* Prepares `statement` on the server connection if it is not yet, and says under which name; the
 * answer is swallowed. False: no memory. */
static bool ensure_prepared(
	struct pass *p, struct statement *statement, char ret_name[STATEMENT_NAME_SIZE])
{
	const struct prepared *prepared = prepared_use(&p->back->prepared, statement);

	if (prepared) {
		statement_name(prepared->number, ret_name);
		return true;
	}
	if (!prepare(p, statement, ret_name))
		return false;
	pass_push(p,
		(struct expectation){
			.kind = EXPECT_PARSE, .own = true, .statement = statement_ref(statement)});
	evict(p);
	return true;
}

/*
 * SQL that names a prepared statement (EXECUTE x, DEALLOCATE x), and a Parse under a name that is
 * taken, need the client's own name on the server, so that it answers in its own words. It is lent
 * for the one request.
 */
bool extended_lend_name(struct pass *p, struct client_statement *cs)
{
	struct pg_back *back = p->back;

	free(back->lent_name);
	back->lent_name = strdup(cs->name);
	if (!back->lent_name)
		return false;
	own_close(p, cs->name);
	send_parse(p, cs->name, cs->statement->body, cs->statement->len);
	pass_push(p, (struct expectation){.kind = EXPECT_PARSE, .own = true});
	return true;
}

void extended_take_name_back(struct pass *p)
{
	struct pg_back *back = p->back;

	if (!back->lent_name)
		return;
	own_close(p, back->lent_name);
	extended_own_sync(p);
	free(back->lent_name);
	back->lent_name = NULL;
}

/* --- the unnamed statement --- */

void extended_forget_unnamed(struct pg_front *front)
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

	extended_forget_unnamed(front);
	note_statement(&p->back->base.last_statement, (const char *)p->in->data + PG_HEADER + 1,
		least(p->in->len, total) - PG_HEADER - 1);
	front->unnamed_number = ++front->worker->next_unnamed;
	p->back->unnamed_number = front->unnamed_number;
	if (pass_is_whole(p)) {
		const char *sql = (const char *)p->in->data + PG_HEADER + 1;
		if (!effects_scan(&front->worker->scan, sql, strnlen(sql, total - PG_HEADER - 1),
			    &front->unnamed_effects))
			return pass_out_of_memory(p);
		front->unnamed = malloc(total);
		if (!front->unnamed)
			return pass_out_of_memory(p);
		memcpy(front->unnamed, p->in->data, total);
		front->unnamed_len = total;
	}
	pass_push(p, (struct expectation){.kind = EXPECT_PARSE});
	p->back->base.n_server_parses++;
	pass_forward_from(p, 0);
	return STEP_ON;
}

/* A name that is taken: the server says so itself, once it knows the name. */
static struct step parse_taken(struct pass *p, struct client_statement *cs)
{
	if (!p->back->lent_name && !extended_lend_name(p, cs))
		return pass_out_of_memory(p);
	pass_push(p, (struct expectation){.kind = EXPECT_PARSE});
	pass_forward_from(p, 0);
	return STEP_ON;
}

static bool is_too_much(const struct pg_front *front, const struct statement *statement)
{
	return front->statements.size + settings_size(front->settings.extra) +
		       statement_size(statement) >
	       front->memory_limit;
}

/* Answers of the server may be on their way, and an error is to skip what follows and to fail the
 * transaction: the server is made to say one in its turn, which back.c words. */
static struct step parse_refused(struct pass *p)
{
	static const uint8_t no_statement[] = {'?', 0, 0, 0};

	send_parse(p, STATEMENT_PREFIX, no_statement, sizeof(no_statement));
	pass_push(p, (struct expectation){.kind = EXPECT_PARSE, .refused = true});
	input_skip(p->in, p->h.total);
	return STEP_ON;
}

static struct step parse_named(struct pass *p, const char *name, const uint8_t *body, size_t len)
{
	struct pg_front *front = p->front;
	struct client_statement *cs = client_statement_find(&front->statements, name);

	if (cs)
		return parse_taken(p, cs);
	struct statement *statement = statement_get(&front->worker->statements, body, len);
	if (statement && is_too_much(front, statement)) {
		statement_unref(statement);
		return parse_refused(p);
	}
	cs = statement ? client_statement_add(&front->statements, name, statement) : NULL;
	if (!cs) {
		statement_unref(statement);
		return pass_out_of_memory(p);
	}
	cs->refs++;
	if (prepared_use(&p->back->prepared, statement)) {
		pass_push(p,
			(struct expectation){
				.kind = EXPECT_LOCAL_PARSE, .client = cs, .statement = statement});
		back_answer_local(p->back, p->to_client);
	} else {
		char own_name[STATEMENT_NAME_SIZE];
		if (!prepare(p, statement, own_name))
			return pass_out_of_memory(p);
		pass_push(p, (struct expectation){
				     .kind = EXPECT_PARSE, .client = cs, .statement = statement});
		evict(p);
	}
	input_skip(p->in, p->h.total);
	return STEP_ON;
}

struct step extended_parse(struct pass *p)
{
	struct reader r;
	size_t name_len;

	reader_init(&r, p->in->data + PG_HEADER, least(p->in->len, p->h.total) - PG_HEADER);
	const char *name = reader_cstr(&r, &name_len);
	bool unnamed = name && name_len == 0;
	if (!pass_is_whole(p)) {
		if (!name && reader_left(&r) > NAMES_MAX)
			return pass_violation(p, "the name in a Parse message is too long");
		bool keep = unnamed ? p->h.total <= UNNAMED_PARSE_MAX : !p->front->session_mode;
		if (!name || keep) {
			if (p->h.total > NAMED_PARSE_MAX)
				return pass_violation(
					p, "a named statement must be smaller than 16 MB");
			return STEP_STOP(FRONT_MORE);
		}
	}
	p->back->batch_open = true;
	p->back->base.n_client_parses++;
	if (unnamed)
		return parse_unnamed(p);
	if (p->front->session_mode) {
		pass_push(p, (struct expectation){.kind = EXPECT_PARSE});
		pass_forward_from(p, 0);
		return STEP_ON;
	}
	if (!name || !parse_body_valid(r.at, reader_left(&r)))
		return pass_violation(p, "invalid Parse message");
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
		pass_push(p, (struct expectation){.kind = EXPECT_PARSE, .own = true});
		note_statement(&back->base.last_statement,
			(const char *)front->unnamed + PG_HEADER + 1,
			front->unnamed_len - PG_HEADER - 1);
		back->unnamed_number = front->unnamed_number;
		back->base.n_server_parses++;
		return true;
	}
	/* Nobody else's may be found there: the server will say that there is none. */
	own_close(p, "");
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
		if (effects->effects[i].param > 0 && pass_is_whole(p) && !front->bound_value)
			front->bound_value = bind_value(rest, effects->effects[i].param);
	}
}

/* Writes the message's header and first bytes anew, with `name` where the client's name stood:
 * `before` bytes of content come first, the rest follows behind the client's name of `name_len`
 * bytes. */
static void forward_renamed(struct pass *p, size_t before, size_t name_len, const char *name)
{
	size_t new_len = strlen(name);
	uint8_t *at = output_space(p->to_server, PG_HEADER + before + new_len);

	if (at) {
		pg_write_header(at, p->h.type, p->h.total - name_len + new_len);
		memcpy(at + PG_HEADER, p->in->data + PG_HEADER, before);
		memcpy(at + PG_HEADER + before, name, new_len);
	}
	pass_forward_from(p, PG_HEADER + before + name_len);
}

/* A statement name for the server: weir's own for a name that is known, the client's for one that
 * is not (the server then says so), unless that could be taken for one of weir's. NULL: no memory.
 */
static const char *server_name(struct pass *p, const char *name, struct client_statement *cs,
	char ret_name[STATEMENT_NAME_SIZE])
{
	if (cs)
		return ensure_prepared(p, cs->statement, ret_name) ? ret_name : NULL;
	return strncmp(name, STATEMENT_PREFIX, strlen(STATEMENT_PREFIX)) == 0 ? "unknown" : name;
}

/* Which statement is run, for those who ask. In session mode the client's statements are not known
 * here. */
static void note_named(
	struct pass *p, const struct client_statement *cs, const char *name, size_t name_len)
{
	struct statement_note *note = &p->back->base.last_statement;

	if (cs)
		note->prepared = 1;
	else
		note_statement(note, name, name_len);
}

struct step extended_bind(struct pass *p)
{
	struct reader r;
	size_t portal_len, name_len;
	char own_name[STATEMENT_NAME_SIZE];
	struct client_statement *cs = NULL;

	reader_init(&r, p->in->data + PG_HEADER, least(p->in->len, p->h.total) - PG_HEADER);
	reader_cstr(&r, &portal_len);
	const char *name = reader_cstr(&r, &name_len);
	if (!name) {
		if (pass_is_whole(p) || p->in->len > NAMES_MAX)
			return pass_violation(p, "invalid Bind message");
		return STEP_STOP(FRONT_MORE);
	}
	if (name_len && !p->front->session_mode)
		cs = client_statement_find(&p->front->statements, name);
	const struct scan *effects = effects_of(p->front, cs ? cs->statement : NULL);
	if (!pass_is_whole(p) && p->h.total <= LOOK_MAX && has_parameters(effects))
		return STEP_STOP(FRONT_MORE);
	p->back->batch_open = p->back->batch_binds = true;
	p->back->base.n_binds++;
	if (!name_len && !ensure_unnamed(p))
		return pass_out_of_memory(p);
	if (!name_len || !p->front->session_mode)
		remember_bound(p, cs ? cs->statement : NULL, r);
	if (name_len)
		note_named(p, cs, name, name_len);
	if (!name_len || p->front->session_mode) {
		pass_push(p, (struct expectation){.kind = EXPECT_BIND});
		pass_forward_from(p, 0);
		return STEP_ON;
	}
	const char *sent_name = server_name(p, name, cs, own_name);
	if (!sent_name)
		return pass_out_of_memory(p);
	pass_push(p, (struct expectation){.kind = EXPECT_BIND,
			     .statement = cs ? statement_ref(cs->statement) : NULL});
	forward_renamed(p, portal_len + 1, name_len, sent_name);
	return STEP_ON;
}

/* The kind byte and the name of a whole Describe or Close. */
bool extended_read_named(struct pass *p, uint8_t *ret_what, const char **ret_name)
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
			return pass_out_of_memory(p);
		pass_push(p, (struct expectation){.kind = EXPECT_DESCRIBE});
		pass_forward_from(p, 0);
		return STEP_ON;
	}
	struct client_statement *cs = client_statement_find(&p->front->statements, name);
	const char *sent_name = server_name(p, name, cs, own_name);
	if (!sent_name)
		return pass_out_of_memory(p);
	pass_push(p, (struct expectation){.kind = EXPECT_DESCRIBE});
	forward_renamed(p, 1, strlen(name), sent_name);
	return STEP_ON;
}

static struct step handle_close(struct pass *p, uint8_t what, const char *name)
{
	struct pg_front *front = p->front;

	p->back->batch_open = true;
	if (what == 'P' || front->session_mode || !name[0]) {
		if (what == 'S' && !name[0]) {
			extended_forget_unnamed(front);
			p->back->unnamed_number = 0;
		}
		pass_push(p, (struct expectation){.kind = EXPECT_CLOSE});
		pass_forward_from(p, 0);
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
	pass_push(p, item);
	input_skip(p->in, p->h.total);
	back_answer_local(p->back, p->to_client);
	return STEP_ON;
}

struct step extended_named(struct pass *p)
{
	uint8_t what;
	const char *name;

	if (!pass_is_whole(p)) {
		if (p->h.total > NAMES_MAX)
			return pass_violation(
				p, "the name in a Describe or Close message is too long");
		return STEP_STOP(FRONT_MORE);
	}
	if (!extended_read_named(p, &what, &name))
		return pass_violation(p, "invalid Describe or Close message");
	return p->h.type == 'D' ? handle_describe(p, what, name) : handle_close(p, what, name);
}

struct step extended_execute(struct pass *p)
{
	struct pg_front *front = p->front;
	struct statement *statement = front->bound;
	const struct scan *effects = effects_of(front, statement);

	if (!pass_is_whole(p)) {
		if (p->h.total > NAMES_MAX)
			return pass_violation(p, "the name in an Execute message is too long");
		return STEP_STOP(FRONT_MORE);
	}
	p->back->batch_open = p->back->batch_binds = true;
	p->back->base.n_queries++;
	front->n_statements_here++;
	for (unsigned i = 0; effects && i < effects->n_effects && !front->session_mode; i++) {
		const struct effect *effect = &effects->effects[i];
		if (effect->kind != EFFECT_DEALLOCATE && effect->kind != EFFECT_EXECUTE)
			continue;
		struct client_statement *cs =
			client_statement_find(&front->statements, effect->name);
		if (cs && !p->back->lent_name && !extended_lend_name(p, cs))
			return pass_out_of_memory(p);
	}
	pass_push(p, (struct expectation){.kind = EXPECT_EXECUTE,
			     .effectful = effects != NULL,
			     .statement = statement ? statement_ref(statement) : NULL});
	pass_forward_from(p, 0);
	if (effects) {
		/* Nothing more is sent before its outcome is known: ask for the answer now. */
		front->effects = effects;
		front->barrier = true;
		pg_send_empty(p->to_server, 'H');
	}
	return STEP_ON;
}
