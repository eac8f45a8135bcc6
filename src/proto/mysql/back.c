/*
 * From the server to the client: answers are followed by their packets' headers; rows are passed on
 * unseen, OK packets are read for what they say about the session, and written anew for clients
 * that did not ask to be told. Called through mysql.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/state.h"
#include "proto/mysql/statements.h"
#include "util/text.h"

/* An OK or ERR packet that is larger than this is not believed. */
#define LOOK_MAX 65536

/* The answer to a SHOW WARNINGS that is kept for its client. */
#define WARNINGS_MAX 65536

/* The answer to a PREPARE that is kept for the next client: some hundred columns. */
#define PREPARE_ANSWER_MAX 65536

/* A statement that was cancelled: ER_QUERY_INTERRUPTED. */
#define ERROR_INTERRUPTED 1317

/* Writes that are refused: an option is in the way, a read-only transaction, a read-only storage.
 */
#define ERROR_OPTION      1290
#define ERROR_TRANSACTION 1792
#define ERROR_STORAGE     1836

#define OK_STATUS_OFFSET 3 /* of an EOF packet's payload */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

struct answer {
	struct my_back *back;
	struct my_front *front; /* NULL: nobody wants it */
	struct input *in;
	struct output *to_client, *to_server;
	struct my_header h;
	const uint8_t *payload;
};

/* --- what is awaited --- */

static void start(struct my_back *back)
{
	follow_start(&back->follow, back->expected[0].shape);
	back->follow.wants_cursor = back->expected[0].wants_cursor;
}

bool my_back_has_room(const struct my_back *back, unsigned n)
{
	return back->n_expected + n <= MY_EXPECTED_MAX;
}

void my_back_expect(struct my_back *back, struct my_expectation item)
{
	CHECK(back->n_expected < MY_EXPECTED_MAX);
	back->expected[back->n_expected++] = item;
	if (back->n_expected == 1)
		start(back);
}

static const struct my_expectation *first(const struct my_back *back)
{
	return back->n_expected ? &back->expected[0] : NULL;
}

static void pop(struct my_back *back)
{
	statement_unref(back->expected[0].statement);
	back->n_expected--;
	memmove(&back->expected[0], &back->expected[1],
		back->n_expected * sizeof(back->expected[0]));
	if (back->n_expected)
		start(back);
}

void my_back_own_command(struct my_back *back, uint8_t command, const void *argument, size_t len,
	struct output *to_server)
{
	my_send_command(to_server, command, argument, len);
	my_back_expect(
		back, (struct my_expectation){.kind = MY_EXPECT_OWN, .shape = SHAPE_RESULTS});
}

void my_back_own_query(struct my_back *back, const char *sql, struct output *to_server)
{
	my_back_own_command(back, MY_COM_QUERY, sql, strlen(sql), to_server);
}

void my_back_update(struct my_back *back)
{
	static const char *const pin_names[] = {
		[MY_PIN_VARIABLE] = "user variable",
		[MY_PIN_LOCK] = "get_lock",
		[MY_PIN_TABLES] = "lock tables",
		[MY_PIN_TEMPORARY] = "temporary table",
		[MY_PIN_PREPARE] = "prepare",
		[MY_PIN_HANDLER] = "handler",
		[MY_PIN_SAVEPOINT] = "savepoint",
		[MY_PIN_TRANSACTION] = "set transaction",
		[MY_PIN_FOUND_ROWS] = "found_rows",
		[MY_PIN_CURSOR] = "cursor",
		[MY_PIN_LONG_DATA] = "long data",
		[MY_PIN_SETTINGS] = "settings",
		[MY_PIN_STATE] = "session state",
	};
	const struct my_pin *pin = list_first(&back->pins, struct my_pin, link);

	back->base.at_rest = back->n_expected == 0 && !back->forwarding && !back->dropping &&
			     !back->half_command;
	back->base.in_transaction = back->status & MY_STATUS_IN_TRANS;
	/* A row of several packets is one message. */
	back->base.mid_message =
		back->forwarding > 0 || (back->n_expected && back->follow.is_continuation &&
						back->expected[0].kind == MY_EXPECT_CLIENT);
	back->base.pin = pin ? pin_names[pin->kind] : NULL;
	if (pin) {
		back->base.pin_since = pin->since;
		back->base.pin_statement = pin->statement;
	}
	back->base.dirty = back->tainted || my_pins_dirty(back);
}

/* --- passing on --- */

static bool is_for_client(const struct answer *a)
{
	const struct my_expectation *e = first(a->back);

	return a->front && e && e->kind == MY_EXPECT_CLIENT;
}

/* The answer to a PREPARE is given again to whoever prepares the same. */
static void keep_prepare_answer(struct answer *a, size_t n)
{
	const struct my_expectation *e = first(a->back);

	if (e && e->statement && e->kind == MY_EXPECT_CLIENT)
		buf_put(&a->back->prepare_answer, a->in->data, n);
}

/* What is swallowed may be wanted. */
static void capture(struct answer *a, size_t n)
{
	struct my_back *back = a->back;

	const struct my_expectation *e = first(back);

	if (!a->front || !e)
		return;
	if (e->kind == MY_EXPECT_WARNINGS)
		buf_put(&a->front->warnings, a->in->data, n);
	else if (e->kind == MY_EXPECT_LOCKS)
		buf_put(&back->locks, a->in->data, n);
}

static void consume(struct answer *a, bool pass_on)
{
	size_t total = MY_HEADER + a->h.len, n = least(a->in->len, total);

	/* A refusal in place of the rest would go on from here. */
	if (is_for_client(a))
		a->front->sequence = a->h.sequence;
	if (pass_on) {
		output_ref(a->to_client, a->in->data, n);
		keep_prepare_answer(a, n);
		a->back->forwarding = total - n;
	} else {
		capture(a, n);
		a->back->dropping = total - n;
	}
	input_skip(a->in, n);
}

/* Goes on with a packet of which a part was passed on or swallowed before. */
static void continue_packet(struct answer *a)
{
	struct my_back *back = a->back;
	size_t n = least(a->in->len, back->forwarding + back->dropping);

	if (back->forwarding) {
		output_ref(a->to_client, a->in->data, n);
		keep_prepare_answer(a, n);
		back->forwarding -= n;
	} else {
		capture(a, n);
		back->dropping -= n;
	}
	input_skip(a->in, n);
}

/* Rows that are there whole go to the client at once. False: there are none at the front. */
static bool pass_rows(struct answer *a)
{
	if (!is_for_client(a))
		return false;
	struct follow *f = &a->back->follow;
	uint64_t n_before = f->n_rows;
	size_t n = follow_rows(f, a->in->data, a->in->len);
	if (!n)
		return false;
	a->front->sequence = (uint8_t)(a->in->data[3] + (f->n_rows - n_before - 1));
	output_ref(a->to_client, a->in->data, n);
	input_skip(a->in, n);
	return true;
}

static enum back_verdict broken(struct my_back *back, const char *detail)
{
	refusal_set(&back->base.last_words, REASON_SERVER_PROTOCOL, detail);
	back->base.has_last_words = true;
	return BACK_BROKEN;
}

static void quote_error(const struct my_error *error, struct refusal *ret_refusal)
{
	refusal_set(ret_refusal, REASON_SERVER_LOST, NULL);
	ret_refusal->mysql_code = error->code;
	text_copy(
		ret_refusal->mysql_sqlstate, sizeof(ret_refusal->mysql_sqlstate), error->sqlstate);
	text_copy(ret_refusal->text, sizeof(ret_refusal->text), error->text);
}

/* --- the end of an answer --- */

/* Weir asks what a client may ask next, since the connection may be another's by then; after an
 * error also because only this tells whether the transaction is still open. */
static void ask_warnings(struct answer *a)
{
	my_send_query(a->to_server, "SHOW WARNINGS");
	my_back_expect(a->back,
		(struct my_expectation){.kind = MY_EXPECT_WARNINGS, .shape = SHAPE_RESULTS});
	buf_clear(&a->front->warnings);
	a->front->warnings.limit = WARNINGS_MAX;
}

/* MySQL tells what a stored function in a SELECT has set only in its next OK packet: that is asked
 * for while the client has the connection. (MariaDB raises a flag instead.) */
static void ask_changes(struct answer *a)
{
	my_send_command(a->to_server, MY_COM_PING, NULL, 0);
	my_back_expect(
		a->back, (struct my_expectation){.kind = MY_EXPECT_TRACK, .shape = SHAPE_SIMPLE});
}

/* A transaction is read-only because the client wants it so, or because nobody may write. */
static void ask_role(struct answer *a)
{
	a->back->asks_role = false;
	if (!my_back_has_room(a->back, 1))
		return;
	my_send_query(a->to_server, MYSQL_ROLE_SQL);
	my_back_expect(
		a->back, (struct my_expectation){.kind = MY_EXPECT_ROLE, .shape = SHAPE_RESULTS});
}

static void note_rows(struct my_front *front, const struct follow *f)
{
	if (front->is_aside) {
		if (front->command == MY_COM_QUERY)
			front->row_count = -1;
		return;
	}
	front->n_warnings = f->n_warnings;
	if (f->n_rows) {
		front->found_rows = (int64_t)f->n_rows;
		front->row_count = -1;
	}
}

static void end_client(struct answer *a, const struct follow *f, bool ok)
{
	struct my_back *back = a->back;
	struct my_front *front = a->front;

	front->awaiting = front->uploading = false;
	front->sequence = 0;
	note_rows(front, f);
	my_effects_apply(front, back, ok);
	my_stmt_done(front, back, f, ok);
	back->base.n_transactions += !(back->status & MY_STATUS_IN_TRANS);
	if (front->found & SCAN_STORED_FUNCTION && !strstr(back->handle->version, "MariaDB"))
		ask_changes(a);
	bool leaves = !(back->status & MY_STATUS_IN_TRANS) && list_empty(&back->pins);
	if (back->asks_role && !back->half_command)
		ask_role(a);
	/* A server that answers before it has heard all: nothing can be asked in between. */
	if (front->session_mode || front->found & SCAN_DIAGNOSTICS || back->half_command)
		return;
	/* A question of weir's own takes them away from a client that stays. */
	bool asks_locks = my_locks_matter(front, back);
	if (!ok || (f->n_warnings && (leaves || asks_locks)))
		ask_warnings(a);
	if (asks_locks)
		my_locks_ask(front, back, a->to_server);
}

/* The present answer is over. */
static void end_answer(struct answer *a, bool ok)
{
	struct my_back *back = a->back;
	enum my_expect_kind kind = back->expected[0].kind;

	if (kind == MY_EXPECT_WARNINGS && a->front && (!ok || a->front->warnings.failed))
		buf_clear(&a->front->warnings);
	if (kind == MY_EXPECT_LOCKS) {
		if (ok && a->front)
			my_locks_learn(back);
		buf_clear(&back->locks);
	}
	struct follow ended = back->follow;
	/* Whose client hung up in the middle was kept in part only. */
	if (ok && a->front && back->expected[0].statement && kind == MY_EXPECT_CLIENT &&
		list_empty(&back->pins))
		my_stmt_learn(back->expected[0].statement, &back->prepare_answer);
	buf_clear(&back->prepare_answer);
	pop(back);
	if (kind == MY_EXPECT_ROLE && ok && ended.n_rows)
		back->base.demoted = true;
	if (kind == MY_EXPECT_CLIENT && a->front)
		end_client(a, &ended, ok);
}

/* --- the packets --- */

/* For clients that are not told of session state, or only of the usual. */
static void write_ok(struct answer *a, const struct my_ok *ok)
{
	bool track = a->front->capabilities & MY_SESSION_TRACK;
	struct buf b = {0}, tracked = {0};

	if (track)
		my_track_filter(ok, &tracked);
	size_t offset = my_begin(&b, a->h.sequence);
	buf_put(&b, a->payload, ok->fixed_len);
	uint16_t status = (uint16_t)(ok->status & ~(tracked.len ? 0 : MY_STATUS_STATE_CHANGED));
	if (!b.failed) {
		b.data[b.len - 4] = (uint8_t)status;
		b.data[b.len - 3] = (uint8_t)(status >> 8);
	}
	if (track && (tracked.len || ok->info_len))
		my_write_lenenc_bytes(&b, ok->info, ok->info_len);
	else
		buf_put(&b, ok->info, ok->info_len);
	if (tracked.len)
		my_write_lenenc_bytes(&b, tracked.data, tracked.len);
	my_end(&b, offset);
	if (tracked.failed)
		b.failed = true;
	my_send_buf(a->to_client, &b);
	buf_clear(&tracked);
	consume(a, false);
}

static void note_ok(struct answer *a, const struct my_ok *ok)
{
	struct my_front *front = a->front;

	front->row_count = (int64_t)ok->affected_rows;
	if (ok->last_insert_id) {
		front->last_insert_id = ok->last_insert_id;
		a->back->insert_id = ok->last_insert_id;
		a->back->insert_id_owner = front->base.key.id;
	}
}

static enum back_verdict handle_ok(struct answer *a)
{
	struct my_back *back = a->back;
	struct my_ok ok;
	bool mine = is_for_client(a);
	/* weir's own settings are known to it; the server may spell them otherwise. */
	bool own = back->expected[0].kind == MY_EXPECT_OWN;

	if (!my_ok_read(a->payload, a->h.len, true, &ok))
		return broken(back, "invalid OK packet");
	back->status = ok.status;
	bool tracks = mine || back->expected[0].kind == MY_EXPECT_TRACK;
	if (!own && ok.tracked_len && !my_track(tracks ? a->front : NULL, back, &ok))
		return broken(back, "invalid session state information");
	/* It may spell its name otherwise. */
	if (back->expected[0].kind == MY_EXPECT_SCHEMA && a->front &&
		!my_settings_set(back->pool->worker->settings, &back->settings, MY_SCHEMA,
			settings_get(a->front->settings, MY_SCHEMA)))
		return broken(back, "out of memory");
	if (mine) {
		note_ok(a, &ok);
		if (ok.fixed_len == a->h.len && !(ok.status & MY_STATUS_STATE_CHANGED))
			consume(a, true);
		else
			write_ok(a, &ok);
	} else {
		consume(a, false);
	}
	return BACK_MORE;
}

static enum back_verdict handle_eof(struct answer *a)
{
	struct my_back *back = a->back;
	uint8_t *at;

	back->status = back->follow.status;
	if (!is_for_client(a)) {
		consume(a, false);
		return BACK_MORE;
	}
	if (!(back->status & MY_STATUS_STATE_CHANGED)) {
		consume(a, true);
		return BACK_MORE;
	}
	/* A SELECT whose function has set something; what, is not told in this packet. */
	back->status &= (uint16_t)~MY_STATUS_STATE_CHANGED;
	my_pin_add(a->front, back, MY_PIN_STATE, NULL);
	keep_prepare_answer(a, MY_HEADER + a->h.len);
	at = output_space(a->to_client, MY_HEADER + a->h.len);
	if (at) {
		memcpy(at, a->in->data, MY_HEADER + a->h.len);
		at[MY_HEADER + OK_STATUS_OFFSET] = (uint8_t)back->status;
		at[MY_HEADER + OK_STATUS_OFFSET + 1] = (uint8_t)(back->status >> 8);
	}
	consume(a, false);
	return BACK_MORE;
}

static void note_role(struct my_back *back, const struct my_error *error)
{
	/* "running with the --read-only option"; there are other options. */
	if (error->code == ERROR_STORAGE ||
		(error->code == ERROR_OPTION &&
			(strstr(error->text, "read-only") || strstr(error->text, "read_only"))))
		back->base.demoted = true;
	back->asks_role = error->code == ERROR_TRANSACTION;
}

static enum back_verdict handle_client_error(struct answer *a, const struct my_error *error)
{
	struct my_front *front = a->front;
	struct refusal refusal;

	note_role(a->back, error);
	if (front->base.instead && error->code == ERROR_INTERRUPTED) {
		/* weir cancelled it, and knows better why. */
		refusal_set(&refusal, front->base.instead, NULL);
		front->base.instead = 0;
		my_send_refusal(a->to_client, a->h.sequence, &refusal);
		consume(a, false);
	} else {
		consume(a, true);
	}
	front->row_count = -1;
	return BACK_MORE;
}

static enum back_verdict handle_error(struct answer *a)
{
	struct my_back *back = a->back;
	struct my_error error;

	if (!my_error_read(a->payload, a->h.len, &error))
		return broken(back, "invalid ERR packet");
	switch (back->expected[0].kind) {
	case MY_EXPECT_CLIENT:
		if (a->front)
			return handle_client_error(a, &error);
		break;
	case MY_EXPECT_PREPARE:
	case MY_EXPECT_SCHEMA:
		/* It is the client's that waits for it, and nobody else's. */
		if (a->front)
			back->own_error = error;
		/* 0 would be none, and tried again without end: ER_UNKNOWN_ERROR. */
		if (a->front && !error.code)
			back->own_error.code = 1105;
		break;
	case MY_EXPECT_OWN:
		/* Settings that cannot be restored: the client's statement must not count. */
		quote_error(&error, &back->base.last_words);
		back->base.has_last_words = true;
		return BACK_BROKEN;
	case MY_EXPECT_WARNINGS:
	case MY_EXPECT_ROLE:
	case MY_EXPECT_TRACK:
	case MY_EXPECT_LOCKS:
		break;
	}
	consume(a, false);
	return BACK_MORE;
}

static enum back_verdict handle_prepared(struct answer *a)
{
	struct my_back *back = a->back;
	const struct my_expectation *e = first(back);

	/* Without a client what was prepared is known to nobody: a reset will come. */
	if (!a->front || !e->statement) {
		back->tainted = true;
		consume(a, false);
		return BACK_MORE;
	}
	buf_clear(&back->prepare_answer);
	back->prepare_answer.limit = PREPARE_ANSWER_MAX;
	keep_prepare_answer(a, MY_HEADER + a->h.len);
	bool ok = my_stmt_prepared(
		back, e->statement, a->payload, (size_t)a->front->prepared_limit, a->to_server);
	if (ok && is_for_client(a))
		ok = my_stmt_hand_out(
			a->front, e->statement, a->in->data, MY_HEADER + a->h.len, a->to_client);
	if (!ok)
		return broken(back, "out of memory");
	consume(a, false);
	return BACK_MORE;
}

/* Nobody has asked anything: the server says farewell. */
static enum back_verdict handle_farewell(struct answer *a)
{
	struct my_error error;

	if (a->in->len < MY_HEADER + a->h.len && a->h.len <= LOOK_MAX)
		return BACK_FLUSH;
	if (a->h.len > LOOK_MAX || !my_error_read(a->payload, a->h.len, &error))
		return broken(a->back, "an answer that nobody asked for");
	quote_error(&error, &a->back->base.last_words);
	a->back->base.has_last_words = true;
	return BACK_BROKEN;
}

static enum back_verdict one_packet(struct answer *a)
{
	struct my_back *back = a->back;
	enum back_verdict verdict = BACK_MORE;

	enum follow_packet packet = follow_step(&back->follow, a->payload, a->h.len);
	switch (packet) {
	case PACKET_PLAIN:
		consume(a, is_for_client(a));
		break;
	case PACKET_OK:
		verdict = handle_ok(a);
		break;
	case PACKET_EOF:
		verdict = handle_eof(a);
		break;
	case PACKET_ERR:
		verdict = handle_error(a);
		break;
	case PACKET_PREPARED:
		verdict = handle_prepared(a);
		break;
	case PACKET_UPLOAD:
		if (!is_for_client(a) || !a->front->local_files)
			return broken(back, "a file that nobody offered was asked for");
		a->front->uploading = true;
		back->upload_begun = false;
		back->upload_sequence = a->h.sequence;
		consume(a, true);
		break;
	case PACKET_BROKEN:
		return broken(back, "a packet out of turn");
	}
	if (verdict == BACK_MORE && back->follow.state == FOLLOW_DONE &&
		!back->follow.is_continuation)
		end_answer(a, packet != PACKET_ERR);
	return verdict;
}

enum back_verdict my_relay_from_server(struct my_back *back, struct my_front *front,
	struct input *in, struct output *to_client, struct output *to_server)
{
	struct answer a = {.back = back,
		.front = front,
		.in = in,
		.to_client = to_client,
		.to_server = to_server};
	enum back_verdict verdict = BACK_MORE;

	while (in->len && verdict == BACK_MORE) {
		if (front && !output_has_room(to_client)) {
			verdict = BACK_FLUSH;
			break;
		}
		if (back->forwarding || back->dropping) {
			continue_packet(&a);
			continue;
		}
		if (pass_rows(&a))
			continue;
		if (!my_header_read(in, &a.h) || (a.h.len && in->len == MY_HEADER))
			break;
		a.payload = in->data + MY_HEADER;
		if (!first(back)) {
			verdict = handle_farewell(&a);
			if (verdict == BACK_FLUSH)
				verdict = BACK_MORE;
			break;
		}
		if (follow_needs_whole(&back->follow, a.h.len ? a.payload[0] : 0, a.h.len)) {
			if (a.h.len > LOOK_MAX) {
				verdict = broken(back, "an answer that is too long");
				break;
			}
			if (in->len < MY_HEADER + a.h.len)
				break;
		}
		verdict = one_packet(&a);
	}
	my_back_update(back);
	if (front)
		front->base.in_request = front->awaiting;
	return verdict;
}
