/*
 * From the client to the server: one message after the other is passed on in place, rewritten, kept
 * back until its turn, or answered here; those of the extended protocol in extended.c. Called
 * through pgsql.c. Reads no answers (back.c) and decides nothing about the pool.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/pass.h"
#include "proto/sql_text.h"

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

struct step pass_violation(struct pass *p, const char *detail)
{
	return STEP_STOP(front_end(p->front, REASON_PROTOCOL_VIOLATION, detail, p->to_client));
}

struct step pass_out_of_memory(struct pass *p)
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
void pass_forward_from(struct pass *p, size_t offset)
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

bool pass_is_whole(const struct pass *p)
{
	return p->in->len >= p->h.total;
}

void pass_push(struct pass *p, struct expectation item)
{
	expectations_push(&p->back->expected, item);
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
		if (!extended_lend_name(p, cs))
			return false;
		extended_own_sync(p);
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
	if (!pass_is_whole(p) && front->statements.by_name.n_items && p->h.total <= LOOK_MAX)
		return STEP_STOP(FRONT_MORE);
	extended_forget_unnamed(front);
	const char *sql = (const char *)p->in->data + PG_HEADER;
	note_statement(
		&p->back->base.last_statement, sql, least(p->in->len, p->h.total) - PG_HEADER);
	if (pass_is_whole(p)) {
		if (!effects_scan(&front->worker->scan, sql, strnlen(sql, p->h.total - PG_HEADER),
			    &effects))
			return pass_out_of_memory(p);
		remember_effects(front, effects);
		if (effects && !lend_names(p, effects))
			return pass_out_of_memory(p);
	} else {
		struct scan *scan = malloc(sizeof(*scan));
		if (!scan)
			return pass_out_of_memory(p);
		scan_init(scan);
		remember_effects(front, NULL);
		front->query_scan = scan;
		front->scanning = true;
		feed_scan(front, p->in->data + PG_HEADER, p->in->len - PG_HEADER);
	}
	pass_push(p, (struct expectation){.kind = EXPECT_QUERY, .effectful = effects != NULL});
	p->back->unnamed_number = 0;
	p->back->batch_open = p->back->batch_binds = false;
	p->back->base.n_queries++;
	front->n_statements_here++;
	pass_forward_from(p, 0);
	if (effects)
		extended_take_name_back(p);
	return STEP_ON;
}

static struct step handle_sync(struct pass *p)
{
	/* In copy-in mode the server ignores it, and answers only the one behind CopyDone. */
	if (!p->back->copy_in) {
		pass_push(p, (struct expectation){.kind = EXPECT_SYNC});
		p->back->batch_open = p->back->batch_binds = p->back->failing = false;
	}
	pass_forward_from(p, 0);
	if (!p->back->copy_in)
		extended_take_name_back(p);
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
		pass_forward_from(p, 0);
		return STEP_ON;
	}
	input_skip(p->in, p->h.total);
	extended_own_sync(p);
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
	if (p->h.type == 'd') {
		pg_header_take_run(p->in, &p->h);
	} else {
		if (!expectations_reserve(&back->expected, 1))
			return STEP_STOP(FRONT_WAIT);
		pass_push(p, (struct expectation){.kind = EXPECT_COPY_END});
		back->copy_in = false;
	}
	pass_forward_from(p, 0);
	return STEP_ON;
}

/* --- a client that is to go --- */

/* The SQL of the message at hand, a Query, a Parse, or a Bind of a named statement, if all of it is
 * there. NULL: it cannot be told. */
static const char *sql_at_hand(struct pass *p, size_t *ret_len)
{
	struct reader r;
	size_t name_len;
	const char *name;

	if (!pass_is_whole(p))
		return NULL;
	reader_init(&r, p->in->data + PG_HEADER, p->h.total - PG_HEADER);
	if (p->h.type == 'Q')
		return reader_cstr(&r, ret_len);
	name = reader_cstr(&r, &name_len);
	if (p->h.type == 'P')
		return reader_cstr(&r, ret_len);
	name = p->h.type == 'B' ? reader_cstr(&r, &name_len) : NULL;
	struct client_statement *cs =
		name ? client_statement_find(&p->front->statements, name) : NULL;
	if (!cs)
		return NULL;
	reader_init(&r, cs->statement->body, cs->statement->len);
	return reader_cstr(&r, ret_len);
}

/* It asks for a sign of life, and nothing of its own is at stake: no transaction, or one in which
 * nothing was done but to begin it, as some pools do for their test. */
static bool may_be_dismissed(struct pass *p)
{
	struct pg_back *back = p->back;
	size_t len;

	if (!p->front->base.leaving)
		return false;
	bool fresh = !back || (back->base.in_transaction && p->front->n_statements_here == 1);
	if (!fresh || (back && back->expected.len) || p->front->base.failed_transaction)
		return false;
	const char *sql = sql_at_hand(p, &len);
	return sql && (back ? sql_is_empty(sql, len) : sql_tests_connection(sql, len));
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
		return pass_out_of_memory(p);
	if (front->session_mode)
		back->base.dirty = true;
	switch (p->h.type) {
	case 'Q':
		return handle_query(p);
	case 'P':
		return extended_parse(p);
	case 'B':
		return extended_bind(p);
	case 'D':
	case 'C':
		return extended_named(p);
	case 'E':
		return extended_execute(p);
	case 'S':
		return handle_sync(p);
	case 'H':
		return handle_flush(p);
	case 'F':
		pass_push(p, (struct expectation){.kind = EXPECT_FUNCTION});
		back->base.n_queries++;
		pass_forward_from(p, 0);
		return STEP_ON;
	default:
		return pass_violation(p, "unknown message type");
	}
}

static struct step close_without_server(struct pass *p)
{
	uint8_t what;
	const char *name;

	if (!pass_is_whole(p))
		return p->h.total > NAMES_MAX ? pass_violation(p, "invalid Close message")
					      : STEP_STOP(FRONT_MORE);
	if (!extended_read_named(p, &what, &name))
		return pass_violation(p, "invalid Close message");
	struct client_statement *cs =
		what == 'S' ? client_statement_find(&p->front->statements, name) : NULL;
	if (cs)
		client_statement_drop(&p->front->statements, cs);
	if (what == 'S' && !name[0])
		extended_forget_unnamed(p->front);
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
		return pass_violation(p, "unknown message type");
	}
	if (front->base.failed_transaction) {
		enum lost_outcome outcome = lost_message(front, p->in, &p->h, p->to_client);
		if (outcome != LOST_OVER)
			return outcome == LOST_ANSWERED ? STEP_ON : STEP_STOP(FRONT_MORE);
	}
	front->base.in_request = true;
	front->n_statements_here = 0;
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
		return pass_violation(p, "a Sync or Flush message with content");
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
			return pass_violation(p, "invalid message format");
		break;
	default:
		break;
	}
	if (front->skip_request || front->skipping)
		return skip_refused(p);
	if (may_be_dismissed(p))
		return STEP_STOP(FRONT_LEAVE);
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
