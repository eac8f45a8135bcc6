/*
 * The client's commands about prepared statements: each statement is prepared on a server
 * connection when it is first wanted there, and known there by another id. Called by commands.c,
 * and at the end of a command by back.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/pass.h"
#include "proto/mysql/statements.h"

#define EXECUTE_HEAD   10 /* command, id, flags, iterations */
#define LONG_DATA_HEAD 7  /* command, id, parameter */

/* An execution up to this size is looked at whole for the names of locks. */
#define NAMES_LOOK_MAX 16384

/* Of long data, per client. */
#define KEPT_DATA_MAX 65536

/* Of one client: what MySQL allows to a whole server unless it is told otherwise. */
#define STATEMENTS_MAX 16382

#define ERROR_TOO_MANY_STATEMENTS 1461
#define ERROR_UNKNOWN_STATEMENT   1243
#define ERROR_NO_CURSOR           1421

static void id_text(const struct my_client_statement *cs, char ret_text[16])
{
	snprintf(ret_text, 16, "%u", cs->id);
}

/* Prepares `statement` on the server connection if it is not yet. False: its answer, or the
 * connection, is to be waited for, or it was refused: see *ret_step. */
static bool ensure_prepared(
	struct my_pass *p, struct statement *statement, uint32_t *ret_id, struct my_step *ret_step)
{
	struct my_back *back = p->back;

	if (!my_have_server(p, ret_step))
		return false;
	struct prepared *prepared = prepared_use(&back->prepared, statement);
	if (prepared) {
		*ret_id = (uint32_t)prepared->number;
		return true;
	}
	struct statement_text text = my_stmt_text(statement);
	my_send_command(p->to_server, MY_COM_STMT_PREPARE, text.text, text.len);
	my_back_expect(back, (struct my_expectation){.kind = MY_EXPECT_PREPARE,
				     .shape = SHAPE_PREPARE,
				     .statement = statement_ref(statement)});
	*ret_step = MY_STEP_STOP(FRONT_WAIT);
	return false;
}

/* --- the commands --- */

static struct my_step out_of_memory(struct my_pass *p)
{
	return MY_STEP_STOP(my_front_end(p->front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
}

static struct my_step unknown(struct my_pass *p, uint32_t id, const char *command)
{
	char text[120];

	snprintf(text, sizeof(text), "Unknown prepared statement handler (%u) given to %s", id,
		command);
	return my_answer_error(p, ERROR_UNKNOWN_STATEMENT, "HY000", text);
}

static struct my_step malformed(struct my_pass *p)
{
	return my_answer_error(p, 1835, "HY000", "Malformed communication packet.");
}

/* The statement that the command at hand is about. False: the step says why there is none. */
static bool find_target(struct my_pass *p, size_t head, const char *command,
	struct my_client_statement **ret_cs, struct my_step *ret_step)
{
	struct reader r;

	if (p->h.len < head) {
		*ret_step = malformed(p);
		return false;
	}
	if (p->in->len < MY_HEADER + head) {
		*ret_step = MY_STEP_STOP(FRONT_MORE);
		return false;
	}
	reader_init(&r, p->in->data + MY_HEADER + 1, 4);
	uint32_t id = reader_u32le(&r);
	*ret_cs = my_client_statement_find(p->front, id);
	if (*ret_cs)
		return true;
	if (command)
		*ret_step = unknown(p, id, command);
	else {
		my_drop(p);
		*ret_step = MY_STEP_ON;
	}
	return false;
}

/* The same was prepared before: the answer is known. */
static bool answer_again(struct my_pass *p, struct statement *statement)
{
	const struct my_effects *effects = statement->effects;
	struct input in = {.data = effects->answer.data, .len = effects->answer.len};
	uint16_t status = my_local_status(p->front);
	struct my_header h;
	bool first = true;

	while (my_header_read(&in, &h) && in.len >= MY_HEADER + h.len) {
		size_t size = MY_HEADER + h.len;
		if (first && !my_stmt_hand_out(p->front, statement, in.data, size, p->to_client))
			return false;
		uint8_t *at = first ? NULL : output_space(p->to_client, size);
		if (at)
			memcpy(at, in.data, size);
		/* The status in an EOF packet is the session's at that time. */
		if (at && h.len == 5 && at[MY_HEADER] == 0xfe) {
			at[MY_HEADER + 3] = (uint8_t)status;
			at[MY_HEADER + 4] = (uint8_t)(status >> 8);
		}
		input_skip(&in, size);
		first = false;
	}
	return true;
}

struct my_step my_stmt_prepare(struct my_pass *p)
{
	struct refusal refusal;

	if (p->h.len == MY_PACKET_FULL) {
		refusal_set(&refusal, REASON_TOO_LARGE, "a prepared statement's text");
		return my_answer_refusal(p, &refusal);
	}
	if (!my_is_whole(p))
		return MY_STEP_STOP(FRONT_MORE);
	if (p->front->statements.n_items >= STATEMENTS_MAX)
		return my_answer_error(p, ERROR_TOO_MANY_STATEMENTS, "42000",
			"weir: this client has too many prepared statements");
	struct statement *statement = my_stmt_get(p->front, my_argument(p), p->h.len - 1);
	if (!statement)
		return out_of_memory(p);
	if (my_stmt_is_too_much(p->front, statement)) {
		statement_unref(statement);
		refusal_set(&refusal, REASON_CLIENT_MEMORY, NULL);
		return my_answer_refusal(p, &refusal);
	}
	/* With pins it may be about what only this connection has: a temporary table. */
	bool is_common = !p->back || list_empty(&p->back->pins);
	if (is_common && ((struct my_effects *)statement->effects)->answer.len) {
		bool ok = answer_again(p, statement);
		statement_unref(statement);
		my_drop(p);
		return ok ? MY_STEP_ON : out_of_memory(p);
	}
	struct my_step step;
	if (!my_have_server(p, &step)) {
		statement_unref(statement);
		return step;
	}
	my_forward_from(p, 0);
	my_expect_answer(p, SHAPE_PREPARE);
	p->back->expected[p->back->n_expected - 1].statement = statement;
	p->back->base.n_client_parses++;
	return MY_STEP_ON;
}

/* Writes the packet's first `head` bytes of payload with the server's id in place of the client's,
 * and passes the rest on. */
static void forward_with_id(struct my_pass *p, uint32_t id, size_t head)
{
	uint8_t *at = output_space(p->to_server, MY_HEADER + head);

	if (at) {
		memcpy(at, p->in->data, MY_HEADER + head);
		my_stmt_write_id(at, id);
	}
	my_forward_from(p, MY_HEADER + head);
}

/* Where the types of the parameters stand in the EXECUTE at hand. */
struct parameters {
	size_t flag_at; /* new_params_bound_flag's offset in the payload; 0: there are no parameters
			 */
	bool bound;     /* the types follow it */
	size_t types_len;
};

/* False: more of the packet is needed, or it is malformed (*ret_bad). */
static bool read_parameters(struct my_pass *p, const struct my_client_statement *cs,
	struct parameters *ret, bool *ret_bad)
{
	size_t n = cs->n_parameters;
	const uint8_t *payload = p->in->data + MY_HEADER;

	*ret = (struct parameters){0};
	*ret_bad = false;
	if (!n)
		return true;
	ret->flag_at = EXECUTE_HEAD + (n + 7) / 8;
	ret->types_len = 2 * n;
	size_t needed = ret->flag_at + 1;
	if (p->h.len >= needed && p->in->len >= MY_HEADER + needed) {
		ret->bound = payload[ret->flag_at] == 1;
		needed += ret->bound ? ret->types_len : 0;
	}
	/* What stands behind a packet that is too short is the next one's. */
	*ret_bad = p->h.len < needed;
	return !*ret_bad && p->in->len >= MY_HEADER + needed;
}

static bool keep_types(
	struct my_pass *p, struct my_client_statement *cs, const struct parameters *q)
{
	if (!q->bound)
		return true;
	if (!cs->types)
		cs->types = malloc(q->types_len);
	if (!cs->types)
		return false;
	memcpy(cs->types, p->in->data + MY_HEADER + q->flag_at + 1, q->types_len);
	return true;
}

/* The client sends the types once; a server connection may have been told others since. */
static void forward_with_types(struct my_pass *p, uint32_t id, const struct parameters *q,
	const struct my_client_statement *cs)
{
	size_t len = p->h.len + q->types_len;
	uint8_t *at = output_space(p->to_server, MY_HEADER + q->flag_at + 1 + q->types_len);

	if (at) {
		memcpy(at, p->in->data, MY_HEADER + q->flag_at);
		at[0] = (uint8_t)len;
		at[1] = (uint8_t)(len >> 8);
		at[2] = (uint8_t)(len >> 16);
		my_stmt_write_id(at, id);
		at[MY_HEADER + q->flag_at] = 1;
		memcpy(at + MY_HEADER + q->flag_at + 1, cs->types, q->types_len);
	}
	my_forward_from(p, MY_HEADER + q->flag_at + 1);
}

/* The parameters of the execution at hand; NULL: not known. */
static const struct my_bound *bound_parameters(const struct my_pass *p,
	const struct my_client_statement *cs, const struct parameters *q, struct my_bound *ret)
{
	const uint8_t *payload = p->in->data + MY_HEADER;
	size_t values_at = q->flag_at + 1 + (q->bound ? q->types_len : 0);

	/* What was sent as long data does not stand among them. */
	if (!q->flag_at || !cs->types || !my_is_whole(p) || cs->long_data || cs->kept_data.len)
		return NULL;
	*ret = (struct my_bound){.n = cs->n_parameters,
		.nulls = payload + EXECUTE_HEAD,
		.types = cs->types,
		.values = payload + values_at,
		.values_len = p->h.len - values_at};
	return ret;
}

static bool keep_effects(
	struct my_pass *p, const struct my_client_statement *cs, const struct parameters *q)
{
	struct my_front *front = p->front;
	const struct my_effects *effects = cs->statement->effects;
	struct my_bound bound;

	front->found = effects->found;
	if (!my_locks_note(front, (const char *)effects->locks.data, effects->locks.len,
		    effects->locks.len ? bound_parameters(p, cs, q, &bound) : NULL))
		return false;
	if (!front->found_name && !effects->name[0])
		return true;
	free(front->found_name);
	front->found_name = strdup(effects->name);
	return front->found_name;
}

/* Long data that was kept for this moment. */
static void send_kept_data(struct my_pass *p, struct my_client_statement *cs, uint32_t id)
{
	struct input in = {.data = cs->kept_data.data, .len = cs->kept_data.len};
	struct my_header h;

	while (my_header_read(&in, &h)) {
		uint8_t *at = output_space(p->to_server, MY_HEADER + h.len);
		if (!at)
			break;
		memcpy(at, in.data, MY_HEADER + h.len);
		my_stmt_write_id(at, id);
		input_skip(&in, MY_HEADER + h.len);
	}
	p->front->n_kept_data -= cs->kept_data.len;
	buf_clear(&cs->kept_data);
}

struct my_step my_stmt_execute(struct my_pass *p)
{
	struct my_front *front = p->front;
	struct my_client_statement *cs;
	struct parameters parameters;
	struct refusal refusal;
	struct my_step step;
	uint32_t id;
	bool bad;

	if (!find_target(p, EXECUTE_HEAD, "mysqld_stmt_execute", &cs, &step))
		return step;
	if (!read_parameters(p, cs, &parameters, &bad))
		return bad ? malformed(p) : MY_STEP_STOP(FRONT_MORE);
	/* The names of locks are among the values. */
	if (((struct my_effects *)cs->statement->effects)->locks.len && !my_is_whole(p) &&
		p->h.len <= NAMES_LOOK_MAX)
		return MY_STEP_STOP(FRONT_MORE);
	bool splice = parameters.flag_at && !parameters.bound && cs->types;
	if (cs->spoilt || (splice && p->h.len + parameters.types_len >= MY_PACKET_FULL)) {
		refusal_set(&refusal, REASON_TOO_LARGE, "a parameter of a prepared statement");
		return my_answer_refusal(p, &refusal);
	}
	if (!keep_types(p, cs, &parameters) || !keep_effects(p, cs, &parameters))
		return out_of_memory(p);
	if (!ensure_prepared(p, cs->statement, &id, &step))
		return step;
	bool wants_cursor = p->in->data[MY_HEADER + 5] != 0;
	send_kept_data(p, cs, id);
	if (splice)
		forward_with_types(p, id, &parameters, cs);
	else
		forward_with_id(p, id, EXECUTE_HEAD);
	my_expect_answer(p, SHAPE_RESULTS);
	struct my_expectation *e = &p->back->expected[p->back->n_expected - 1];
	e->wants_cursor = wants_cursor;
	if (p->back->n_expected == 1)
		p->back->follow.wants_cursor = wants_cursor;
	front->running = cs;
	p->back->base.last_statement.prepared = cs->id;
	p->back->base.n_binds++;
	return MY_STEP_ON;
}

struct my_step my_stmt_long_data(struct my_pass *p)
{
	struct my_client_statement *cs;
	struct my_step step;
	uint32_t id;
	char name[16];

	/* There is no answer to this command, an error included. */
	if (!find_target(p, LONG_DATA_HEAD, NULL, &cs, &step))
		return step;
	p->front->running = cs;
	/* What is short waits here for its execution; others may use the connection meanwhile. */
	if (!cs->long_data && p->front->n_kept_data + p->h.len <= KEPT_DATA_MAX) {
		if (!my_is_whole(p))
			return MY_STEP_STOP(FRONT_MORE);
		size_t size = MY_HEADER + p->h.len;
		buf_put(&cs->kept_data, p->in->data, size);
		if (cs->kept_data.failed)
			return out_of_memory(p);
		p->front->n_kept_data += size;
		my_drop(p);
		return MY_STEP_ON;
	}
	if (!ensure_prepared(p, cs->statement, &id, &step))
		return step;
	id_text(cs, name);
	p->back->base.last_statement.prepared = cs->id;
	my_pin_add(p->front, p->back, MY_PIN_LONG_DATA, name);
	cs->long_data = true;
	send_kept_data(p, cs, id);
	forward_with_id(p, id, LONG_DATA_HEAD);
	return MY_STEP_ON;
}

static void end_pins(struct my_back *back, struct my_client_statement *cs)
{
	char name[16];

	if (!cs->cursor && !cs->long_data)
		return;
	id_text(cs, name);
	if (cs->cursor)
		my_pin_end(back, MY_PIN_CURSOR, name);
	if (cs->long_data)
		my_pin_end(back, MY_PIN_LONG_DATA, name);
	cs->cursor = cs->long_data = false;
}

struct my_step my_stmt_close(struct my_pass *p)
{
	struct my_client_statement *cs;
	struct my_step step;

	if (!find_target(p, 5, NULL, &cs, &step))
		return step;
	/* The server's copy stays for whoever has the same statement, unless it is in use. */
	struct prepared *prepared = p->back && (cs->cursor || cs->long_data)
					    ? prepared_use(&p->back->prepared, cs->statement)
					    : NULL;
	if (prepared) {
		my_stmt_close_on_server(p->to_server, (uint32_t)prepared->number);
		prepared_remove(&p->back->prepared, cs->statement);
		end_pins(p->back, cs);
	}
	my_client_statement_forget(p->front, cs);
	my_drop(p);
	return MY_STEP_ON;
}

struct my_step my_stmt_reset(struct my_pass *p)
{
	struct my_client_statement *cs;
	struct my_step step;
	uint32_t id;

	if (!find_target(p, 5, "mysqld_stmt_reset", &cs, &step))
		return step;
	cs->spoilt = false;
	p->front->n_kept_data -= cs->kept_data.len;
	buf_clear(&cs->kept_data);
	if (!p->back || !(cs->cursor || cs->long_data))
		return my_answer_ok(p);
	if (!ensure_prepared(p, cs->statement, &id, &step))
		return step;
	forward_with_id(p, id, 5);
	my_expect_answer(p, SHAPE_SIMPLE);
	p->front->running = cs;
	return MY_STEP_ON;
}

struct my_step my_stmt_fetch(struct my_pass *p)
{
	struct my_client_statement *cs;
	struct my_step step;
	uint32_t id;
	char text[80];

	if (!find_target(p, 9, "mysqld_stmt_fetch", &cs, &step))
		return step;
	if (!p->back || !cs->cursor) {
		snprintf(text, sizeof(text), "The statement (%u) has no open cursor.", cs->id);
		return my_answer_error(p, ERROR_NO_CURSOR, "HY000", text);
	}
	if (!ensure_prepared(p, cs->statement, &id, &step))
		return step;
	forward_with_id(p, id, 9);
	my_expect_answer(p, SHAPE_ROWS);
	p->front->running = cs;
	return MY_STEP_ON;
}

/* A table is not what it was when the statement was prepared: what was said of it then is not told
 * to others any more. (Of a procedure nothing was said.) */
static bool has_changed(const struct statement *statement, const struct follow *f)
{
	const struct my_effects *effects = statement->effects;
	struct reader r;

	if (!effects->answer.len || !f->n_columns)
		return false;
	reader_init(&r, effects->answer.data, effects->answer.len);
	reader_bytes(&r, MY_HEADER + 5);
	uint16_t n_columns = reader_u16le(&r);
	return n_columns && n_columns != f->n_columns;
}

void my_stmt_done(struct my_front *front, struct my_back *back, const struct follow *f, bool ok)
{
	struct my_client_statement *cs = front->running;
	char name[16];

	front->running = NULL;
	if (!cs)
		return;
	if (!ok || has_changed(cs->statement, f))
		my_stmt_unlearn(cs->statement);
	bool ends = front->command == MY_COM_STMT_FETCH
			    ? f->last_row_sent || !ok
			    : front->command == MY_COM_STMT_RESET ||
				      front->command == MY_COM_STMT_EXECUTE;
	if (ends)
		end_pins(back, cs);
	if (f->cursor_open) {
		id_text(cs, name);
		cs->cursor = true;
		my_pin_add(front, back, MY_PIN_CURSOR, name);
	}
}
