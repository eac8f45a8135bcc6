/*
 * From the server to the client: answers are followed by their message headers and matched against
 * what was asked; rows are passed on unseen. Called through pgsql.c. Writes nothing to the server.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"
#include "util/text.h"

/* Messages that are looked into are small; a larger error report is passed on without being looked
 * into. */
#define LOOK_MAX 32768

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

struct answer {
	struct pg_back *back;
	struct pg_front *front; /* NULL: nobody wants it */
	struct input *in;
	struct output *to_client, *to_server;
	struct pg_header h;
	const uint8_t *content; /* of a message that is there whole */
	size_t content_len;
};

void back_own_query(struct pg_back *back, const char *sql, struct output *to_server)
{
	pg_send_query(to_server, sql);
	expectations_push(&back->expected, (struct expectation){.kind = EXPECT_QUERY, .own = true});
	back->own_error = false;
}

void back_update(struct pg_back *back)
{
	static const char *const pin_names[] = {
		[PIN_LISTEN] = "listen",
		[PIN_TEMP] = "temporary table",
		[PIN_CURSOR] = "cursor with hold",
		[PIN_PREPARE] = "prepare",
		[PIN_LOCK] = "advisory lock",
		[PIN_SETTINGS] = "settings",
		[PIN_AUTHORIZATION] = "session authorization",
		[PIN_LOAD] = "load",
	};
	const struct pin *pin = list_first(&back->pins, struct pin, link);

	back->base.at_rest = back->expected.len == 0 && !back->batch_open && !back->failing &&
			     !back->copy_in && !back->forwarding && !back->dropping;
	back->base.in_transaction = back->status != 'I';
	back->base.failed = back->status == 'E';
	back->base.mid_message = back->forwarding > 0;
	back->base.pin = pin ? pin_names[pin->kind] : NULL;
	if (pin) {
		back->base.pin_since = pin->since;
		back->base.pin_statement = pin->statement;
		back->base.dirty = true;
	}
}

/* --- the row of expectations --- */

static struct expectation *first(const struct pg_back *back)
{
	return expectations_first(&back->expected);
}

/* CopyDone has no answer: its entry goes when what it belongs to is over. */
static void pop(struct pg_back *back)
{
	expectations_pop(&back->expected);
	while (back->expected.len && first(back)->kind == EXPECT_COPY_END)
		expectations_pop(&back->expected);
}

void back_answer_local(struct pg_back *back, struct output *to_client)
{
	for (struct expectation *e; (e = first(back)); pop(back)) {
		if (e->kind == EXPECT_LOCAL_PARSE)
			pg_send_empty(to_client, '1');
		else if (e->kind == EXPECT_LOCAL_CLOSE)
			pg_send_empty(to_client, '3');
		else
			return;
	}
}

/* The server skipped that message after an error: what was written down about it is not so. */
static void undo(struct answer *a, struct expectation *e)
{
	struct pg_back *back = a->back;
	struct pg_front *front = a->front;

	switch (e->kind) {
	case EXPECT_PARSE:
		if (e->refused)
			break;
		if (e->statement)
			prepared_remove(&back->prepared, e->statement);
		else if (!e->own && front)
			front->unnamed_number = 0;
		if (!e->statement)
			back->unnamed_number = 0;
		if (e->client && front)
			client_statement_drop(&front->statements, e->client);
		break;
	case EXPECT_LOCAL_PARSE:
		if (front)
			client_statement_drop(&front->statements, e->client);
		break;
	case EXPECT_CLOSE:
		/* Still there, and still to be counted. What cannot be goes with everything. */
		if (e->own && e->number &&
			!prepared_restore(&back->prepared, e->statement, e->number))
			back->base.dirty = true;
		break;
	case EXPECT_LOCAL_CLOSE:
		if (e->client && front)
			client_statement_relist(&front->statements, e->client);
		break;
	default:
		break;
	}
}

void back_disown(struct pg_back *back, struct pg_front *front)
{
	struct answer a = {.back = back, .front = front};

	for (size_t i = 0; i < back->expected.len; i++)
		undo(&a, expectations_at(&back->expected, i));
}

/* An error: the server skips everything up to the next Sync, if it was an extended message. */
static void skip_to_sync(struct answer *a)
{
	struct pg_back *back = a->back;
	struct expectation *e = first(back);

	if (!e || e->kind == EXPECT_QUERY || e->kind == EXPECT_FUNCTION)
		return;
	size_t n = 0;
	while ((e = expectations_at(&back->expected, n)) && e->kind != EXPECT_SYNC)
		n++;
	/* The last one first: a name that was closed and given again is the old one's again. */
	for (size_t i = n; i > 0; i--)
		undo(a, expectations_at(&back->expected, i - 1));
	for (size_t i = 0; i < n; i++)
		expectations_pop(&back->expected);
	/* If the Sync is on its way already, the client's next messages are not skipped. */
	back->failing = back->expected.len == 0;
	e = first(back);
	/* The server goes on behind weir's Sync; the client's own is still to come. */
	if (e && e->for_flush && a->front)
		a->front->skipping = true;
}

/* --- passing on --- */

static bool swallowed(const struct answer *a)
{
	const struct expectation *e = first(a->back);

	return !a->front || (e && e->own);
}

static void pass_on(struct answer *a)
{
	size_t n = least(a->in->len, a->h.total);

	output_ref(a->to_client, a->in->data, n);
	a->back->forwarding = a->h.total - n;
	input_skip(a->in, n);
}

static void swallow(struct answer *a)
{
	size_t n = least(a->in->len, a->h.total);

	a->back->dropping = a->h.total - n;
	input_skip(a->in, n);
}

static void pass_on_or_swallow(struct answer *a)
{
	if (swallowed(a))
		swallow(a);
	else
		pass_on(a);
}

/* --- the messages --- */

static enum back_verdict broken(struct pg_back *back, const char *detail)
{
	refusal_set(&back->base.last_words, REASON_SERVER_PROTOCOL, detail);
	back->base.has_last_words = true;
	return BACK_BROKEN;
}

/* The client has been told: what it calls by that name is another statement from now on. */
static void renew(struct pg_front *front, struct statement *old)
{
	struct map_node *node;

	for (node = map_next(&front->statements.by_name, NULL); node;
		node = map_next(&front->statements.by_name, node)) {
		struct client_statement *cs = container_of(node, struct client_statement, node);
		if (cs->statement != old)
			continue;
		struct statement *fresh =
			statement_get(&front->worker->statements, old->body, old->len);
		if (!fresh)
			return;
		cs->statement = fresh;
		statement_unref(old);
	}
}

/* Its plan does not fit the tables any more: everyone who prepares it from now on gets a new one.
 */
static void supersede(struct answer *a, const struct pg_report *report)
{
	struct expectation *e = first(a->back);

	if (!e || !e->statement || strcmp(report->sqlstate, "0A000") != 0)
		return;
	if (e->kind != EXPECT_BIND && e->kind != EXPECT_EXECUTE)
		return;
	statement_supersede(e->statement);
	if (a->front)
		renew(a->front, e->statement);
}

static enum back_verdict handle_error(struct answer *a)
{
	struct pg_back *back = a->back;
	struct pg_report report;

	pg_report_read(a->content, a->content_len, &report);
	if (strcmp(report.severity, "FATAL") == 0 || strcmp(report.severity, "PANIC") == 0) {
		pg_report_quote(&report, REASON_SERVER_LOST, &back->base.last_words);
		back->base.has_last_words = true;
		return BACK_BROKEN;
	}
	supersede(a, &report);
	/* A transaction that the client made read-only is refused with the same code. */
	back->base.demoted |= back->handle->standby && strcmp(report.sqlstate, "25006") == 0;
	const struct expectation *e = first(back);
	if (e && e->own && e->kind == EXPECT_QUERY) {
		pg_report_quote(&report, REASON_SERVER_LOST, &back->own_report);
		back->own_error = true;
		/* Settings that cannot be restored: the client's statement must not count. */
		if (back->cleaning || (a->front && a->front->phase == PHASE_READY)) {
			back->base.last_words = back->own_report;
			back->base.has_last_words = true;
			return BACK_BROKEN;
		}
	}
	back->erred = true;
	back->copy_in = false;
	if (e && e->refused && a->front && !swallowed(a)) {
		struct refusal refusal;
		refusal_set(&refusal, REASON_CLIENT_MEMORY, NULL);
		pg_send_refusal(a->to_client, &refusal, false);
		swallow(a);
	} else if (a->front && a->front->base.instead && strcmp(report.sqlstate, "57014") == 0 &&
		   !swallowed(a)) {
		/* weir cancelled it, and knows better why. */
		struct refusal refusal;
		refusal_set(&refusal, a->front->base.instead, NULL);
		a->front->base.instead = 0;
		pg_send_refusal(a->to_client, &refusal, false);
		swallow(a);
	} else if (e && e->own && e->kind != EXPECT_QUERY && a->front && !back->lent_name) {
		/* A statement that weir prepares for the client cannot be: the answer to what the
		 * client sent. */
		pass_on(a);
	} else {
		pass_on_or_swallow(a);
	}
	skip_to_sync(a);
	return BACK_MORE;
}

/* In a crash and in an immediate shutdown the server says goodbye with a warning, and hangs up. */
static enum back_verdict handle_notice(struct answer *a)
{
	struct pg_back *back = a->back;
	struct pg_report report;

	pg_report_read(a->content, a->content_len, &report);
	if (text_starts_with(report.sqlstate, "57P")) {
		pg_report_quote(&report, REASON_SERVER_LOST, &back->base.last_words);
		back->base.has_last_words = true;
	}
	if (a->front && !swallowed(a))
		pass_on(a);
	else
		swallow(a);
	return BACK_MORE;
}

static bool has_pin(const struct pg_back *back, enum pin_kind kind)
{
	struct list *link;

	list_for_each (link, &back->pins) {
		if (list_entry(link, struct pin, link)->kind == kind)
			return true;
	}
	return false;
}

/* Something that pins was given up; whether it was the last of its kind only the server knows, and
 * its command tag says how many are left. Outside a transaction advisory locks are the session's.
 */
static void ask_pins(struct answer *a)
{
	static const struct {
		enum pin_kind kind;
		const char *sql;
	} questions[] = {
		{PIN_LOCK, "SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = "
			   "pg_catalog.pg_backend_pid()"},
		{PIN_TEMP, "SELECT FROM pg_catalog.pg_class WHERE relnamespace = "
			   "pg_catalog.pg_my_temp_schema()"},
	};
	struct pg_back *back = a->back;

	if (!back->asks_pins || back->status != 'I' || back->expected.len || back->batch_open ||
		back->awaited || !expectations_reserve(&back->expected, ARRAY_LEN(questions)))
		return;
	for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
		if (!(back->asks_pins & 1u << questions[i].kind) ||
			!has_pin(back, questions[i].kind))
			continue;
		back_own_query(back, questions[i].sql, a->to_server);
		expectations_at(&back->expected, back->expected.len - 1)->counts =
			questions[i].kind;
	}
	back->asks_pins = 0;
}

static enum back_verdict handle_ready(struct answer *a)
{
	struct pg_back *back = a->back;
	const struct expectation *e = first(back);

	if (a->content_len != 1 || !e ||
		(e->kind != EXPECT_SYNC && e->kind != EXPECT_QUERY && e->kind != EXPECT_FUNCTION))
		return broken(back, "ReadyForQuery out of turn");
	if (a->front && a->front->scanning && back->expected.len == 1)
		return broken(back, "an answer to a Query that it does not have yet");
	bool own = e->own;
	if (own && a->front)
		a->front->retell = false;
	back->status = a->content[0];
	back->failing = false;
	back->copy_in = false;
	pass_on_or_swallow(a);
	pop(back);
	back->base.answered |= !own;
	if (!own && a->front) {
		effects_ready(a->front, back);
		back->base.n_transactions += back->status == 'I';
		ask_pins(a);
	}
	back->erred = false;
	return BACK_MORE;
}

static enum back_verdict handle_complete(struct answer *a)
{
	struct pg_back *back = a->back;
	const struct expectation *e = first(back);
	bool own = swallowed(a);

	if (!e || (e->kind != EXPECT_QUERY && e->kind != EXPECT_EXECUTE))
		return broken(back, "CommandComplete out of turn");
	if (!own && memchr(a->content, 0, a->content_len))
		effects_command(a->front, back, (const char *)a->content);
	if (e->counts && a->content_len == 9 && memcmp(a->content, "SELECT 0", 9) == 0)
		pin_end(back, (enum pin_kind)e->counts, NULL);
	bool execute = e->kind == EXPECT_EXECUTE;
	back->copy_in = false;
	pass_on_or_swallow(a);
	if (execute)
		pop(back);
	return BACK_MORE;
}

static enum back_verdict handle_parameter(struct answer *a)
{
	struct pg_back *back = a->back;
	struct settings_table *table = back->pool->worker->settings;
	struct reader r;

	reader_init(&r, a->content, a->content_len);
	const char *name = reader_cstr(&r, NULL);
	const char *value = reader_cstr(&r, NULL);
	if (!reader_done(&r))
		return broken(back, "invalid ParameterStatus");
	bool own = swallowed(a);
	const struct settings *list;
	if (strcmp(name, "in_hot_standby") == 0)
		back->handle->standby = strcmp(value, "on") == 0;
	if (settings_with(table, back->settings.reported, name, value, &list) == 0) {
		settings_replace(&back->settings.reported, list);
		settings_unref(list);
	}
	if (a->front && !own &&
		settings_with(table, a->front->settings.reported, name, value, &list) == 0) {
		settings_replace(&a->front->settings.reported, list);
		settings_unref(list);
	}
	if (a->front && (!own || a->front->retell))
		pass_on(a);
	else
		swallow(a);
	return BACK_MORE;
}

/* The server wants copy data. Every Sync that it will read before the end of the data it ignores.
 */
static enum back_verdict handle_copy_in(struct answer *a)
{
	struct pg_back *back = a->back;
	struct expectations *expected = &back->expected;
	const struct expectation *e = first(back);

	if (!e || (e->kind != EXPECT_QUERY && e->kind != EXPECT_EXECUTE))
		return broken(back, "CopyInResponse out of turn");
	pass_on_or_swallow(a);
	back->copy_in = true;
	for (size_t i = 1; i < expected->len;) {
		if (expectations_at(expected, i)->kind == EXPECT_COPY_END) {
			back->copy_in = false;
			return BACK_MORE;
		}
		if (expectations_at(expected, i)->kind == EXPECT_SYNC) {
			expectations_remove(expected, i);
			back->batch_open = true;
		} else {
			i++;
		}
	}
	return BACK_MORE;
}

/* Answers that end the turn of one kind of message. */
static enum back_verdict handle_end(struct answer *a, enum expect_kind kind)
{
	const struct expectation *e = first(a->back);

	if (!e || e->kind != kind)
		return broken(a->back, "an answer out of turn");
	pass_on_or_swallow(a);
	pop(a->back);
	return BACK_MORE;
}

/* RowDescription ends a Describe; in a Query it is one of many. */
static enum back_verdict handle_description(struct answer *a)
{
	const struct expectation *e = first(a->back);

	if (e && e->kind == EXPECT_DESCRIBE)
		return handle_end(a, EXPECT_DESCRIBE);
	pass_on_or_swallow(a);
	return BACK_MORE;
}

static enum back_verdict handle_empty(struct answer *a)
{
	const struct expectation *e = first(a->back);

	if (e && e->kind == EXPECT_EXECUTE)
		return handle_end(a, EXPECT_EXECUTE);
	pass_on_or_swallow(a);
	return BACK_MORE;
}

/* Rows, COPY's data, and what else ends nothing. */
static enum back_verdict handle_part(struct answer *a)
{
	if (!first(a->back))
		return broken(a->back, "an answer that nobody asked for");
	pass_on_or_swallow(a);
	return BACK_MORE;
}

/* Messages whose content matters have to be there whole. */
static bool is_looked_into(uint8_t type)
{
	return type == 'C' || type == 'Z' || type == 'E' || type == 'S' || type == 'N';
}

static enum back_verdict one_message(struct answer *a)
{
	switch (a->h.type) {
	case 'E':
		return handle_error(a);
	case 'Z':
		return handle_ready(a);
	case 'C':
		return handle_complete(a);
	case 'S':
		return handle_parameter(a);
	case '1':
		return handle_end(a, EXPECT_PARSE);
	case '2':
		return handle_end(a, EXPECT_BIND);
	case '3':
		return handle_end(a, EXPECT_CLOSE);
	case 'n':
		return handle_end(a, EXPECT_DESCRIBE);
	case 's':
		return handle_end(a, EXPECT_EXECUTE);
	case 'T':
		return handle_description(a);
	case 'I':
		return handle_empty(a);
	case 'G':
	case 'W':
		return handle_copy_in(a);
	case 'A':
		/* It may come at any time, in the answer to a message of weir's own too. */
		if (a->front)
			pass_on(a);
		else
			swallow(a);
		return BACK_MORE;
	case 'N':
		return handle_notice(a);
	case 'D':
	case 'd':
		pg_header_take_run(a->in, &a->h);
		return handle_part(a);
	case 'c':
	case 'H':
	case 't':
	case 'V':
		return handle_part(a);
	default:
		return broken(a->back, "unknown message type");
	}
}

/* Goes on with a message of which a part was passed on or swallowed before. */
static void continue_message(struct answer *a)
{
	struct pg_back *back = a->back;
	size_t n = least(a->in->len, back->forwarding + back->dropping);

	if (back->forwarding) {
		output_ref(a->to_client, a->in->data, n);
		back->forwarding -= n;
	} else {
		back->dropping -= n;
	}
	input_skip(a->in, n);
}

enum back_verdict relay_from_server(struct pg_back *back, struct pg_front *front, struct input *in,
	struct output *to_client, struct output *to_server)
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
			continue_message(&a);
			continue;
		}
		int r = pg_header_read(in, &a.h);
		if (r == PG_HEADER_SHORT)
			break;
		if (r == PG_HEADER_BAD) {
			verdict = broken(back, "invalid message length");
			break;
		}
		if (is_looked_into(a.h.type)) {
			if (in->len < a.h.total && a.h.total <= LOOK_MAX)
				break;
			a.content = in->data + PG_HEADER;
			a.content_len = least(in->len, a.h.total) - PG_HEADER;
		}
		verdict = one_message(&a);
		if (front)
			back_answer_local(back, to_client);
	}
	back_update(back);
	if (front)
		front->base.in_request = !back->base.at_rest || front->skipping;
	return verdict;
}
