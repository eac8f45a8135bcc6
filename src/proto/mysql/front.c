/*
 * From the client to the server: one command after the other is passed on in place, rewritten, or
 * answered here. Called through mysql.c. Reads no answers (back.c) and decides nothing about the
 * pool.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/state.h"
#include "proto/sql_text.h"
#include "util/log.h"
#include "util/text.h"

/* A statement up to this size is looked at before anything of it is passed on. */
#define QUERY_LOOK_MAX 32768

/* Commands with a short argument. */
#define ARGUMENT_MAX 4096

/* Longest row of own commands in front of the client's: insert id, settings, schema, option. */
#define OWN_COMMANDS_MAX 6

#define ERROR_UNKNOWN_COMMAND 1047
#define ERROR_OUT_OF_ORDER    1156
#define ERROR_DENIED          1227
/* Lines per second about clients that are out of step. */
#define OVERLAP_LOG_BURST 5

#define NO_MULTI_STATEMENTS 1 /* COM_SET_OPTION's argument */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

enum front_verdict my_front_end(
	struct my_front *front, enum reason reason, const char *detail, struct output *to_client)
{
	struct refusal refusal;

	refusal_set(&refusal, reason, detail);
	my_send_refusal(to_client, (uint8_t)(front->sequence + 1), &refusal);
	front->base.reason = reason;
	front->phase = MY_PHASE_ENDED;
	return FRONT_CLOSE;
}

uint16_t my_local_status(const struct my_front *front)
{
	const char *autocommit = settings_get(front->settings, MY_AUTOCOMMIT);

	if (!autocommit)
		return front->worker->greeting.status & MY_STATUS_AUTOCOMMIT;
	return text_equal_ci(autocommit, "ON") || strcmp(autocommit, "1") == 0
		       ? MY_STATUS_AUTOCOMMIT
		       : 0;
}

/* --- one packet at the front of the input --- */

static size_t packet_size(const struct my_pass *p)
{
	return MY_HEADER + p->h.len;
}

bool my_is_whole(const struct my_pass *p)
{
	return p->in->len >= packet_size(p);
}

static const char *text_of(const struct my_pass *p)
{
	return (const char *)p->in->data + MY_HEADER + 1;
}

/* How much of the argument behind the command's byte is there. */
static size_t text_there(const struct my_pass *p)
{
	return least(p->in->len, packet_size(p)) - MY_HEADER - 1;
}

static void begin_packet(struct my_pass *p)
{
	p->front->sequence = p->h.sequence;
	p->front->continued = p->h.len == MY_PACKET_FULL;
	p->front->drop_rest = false;
}

void my_drop(struct my_pass *p)
{
	size_t n = least(p->in->len, packet_size(p));

	begin_packet(p);
	p->front->drop_rest = true;
	p->front->dropping = packet_size(p) - n;
	input_skip(p->in, n);
}

void my_forward_from(struct my_pass *p, size_t offset)
{
	size_t n = least(p->in->len, packet_size(p));

	CHECK(offset <= n);
	begin_packet(p);
	output_ref(p->to_server, p->in->data + offset, n - offset);
	p->front->forwarding = packet_size(p) - n;
	p->front->base.mid_message = p->front->forwarding > 0 || p->front->continued;
	input_skip(p->in, n);
}

void my_expect_answer(struct my_pass *p, enum follow_shape shape)
{
	struct my_front *front = p->front;

	my_back_expect(p->back, (struct my_expectation){.kind = MY_EXPECT_CLIENT, .shape = shape});
	front->awaiting = true;
	front->base.kill_outcome = KILL_NOT_ASKED;
	front->pipelining = !front->forwarding && !front->continued && p->in->len > 0;
	front->row_count = front->found_rows = 0;
	front->n_warnings = 0;
	front->disturbed = false;
	buf_clear(&front->warnings);
	p->back->base.n_queries++;
}

/* --- answers by weir itself --- */

/* The command is gone through, to its end: now it can be answered. */
static bool is_dropped(const struct my_front *front)
{
	return !front->dropping && !front->continued;
}

static void tell_refused(struct my_front *front, struct output *to_client)
{
	my_send_refusal(to_client, (uint8_t)(front->sequence + 1), front->refused);
	free(front->refused);
	front->refused = NULL;
}

struct my_step my_answer_refusal(struct my_pass *p, const struct refusal *refusal)
{
	struct my_front *front = p->front;

	my_drop(p);
	free(front->refused);
	front->refused = malloc(sizeof(*refusal));
	if (!front->refused)
		return MY_STEP_STOP(my_front_end(front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
	*front->refused = *refusal;
	if (is_dropped(front))
		tell_refused(front, p->to_client);
	return MY_STEP_ON;
}

struct my_step my_answer_error(
	struct my_pass *p, uint16_t code, const char *sqlstate, const char *text)
{
	struct refusal refusal = {.reason = REASON_PROTOCOL_VIOLATION, .mysql_code = code};

	text_copy(refusal.mysql_sqlstate, sizeof(refusal.mysql_sqlstate), sqlstate);
	text_copy(refusal.text, sizeof(refusal.text), text);
	return my_answer_refusal(p, &refusal);
}

struct my_step my_answer_ok(struct my_pass *p)
{
	my_drop(p);
	my_send_ok(p->to_client, 1, my_local_status(p->front));
	return MY_STEP_ON;
}

static struct my_step malformed(struct my_pass *p)
{
	return my_answer_error(p, ERROR_UNKNOWN_COMMAND, "08S01", "weir: malformed packet");
}

/* --- the server connection --- */

static struct my_step step_more(void)
{
	return MY_STEP_STOP(FRONT_MORE);
}

struct my_step my_refuse(struct my_pass *p, const struct my_error *error)
{
	struct my_front *front = p->front;

	if (front->command != MY_COM_STMT_SEND_LONG_DATA)
		return my_answer_error(p, error->code, error->sqlstate, error->text);
	/* There is no answer in which to say so. */
	front->running->spoilt = true;
	my_drop(p);
	return MY_STEP_ON;
}

bool my_have_server(struct my_pass *p, struct my_step *ret_step)
{
	struct my_back *back = p->back;
	bool waits;

	if (!back) {
		p->front->base.in_request = true;
		*ret_step = MY_STEP_STOP(FRONT_SERVER);
		return false;
	}
	if (back->own_error.code) {
		struct my_error error = back->own_error;
		back->own_error.code = 0;
		*ret_step = my_refuse(p, &error);
		return false;
	}
	*ret_step = MY_STEP_STOP(FRONT_WAIT);
	if (!my_back_has_room(back, OWN_COMMANDS_MAX))
		return false;
	/* Who has a connection of its own may leave anything on it. */
	back->tainted |= p->front->session_mode;
	if (!my_sync(p->front, back, p->to_server, &waits)) {
		*ret_step = MY_STEP_STOP(
			my_front_end(p->front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
		return false;
	}
	return !waits;
}

/* A command that is passed on as it is. */
static struct my_step forward(struct my_pass *p, enum follow_shape shape)
{
	struct my_step step;

	if (!my_have_server(p, &step))
		return step;
	my_forward_from(p, 0);
	my_expect_answer(p, shape);
	return MY_STEP_ON;
}

/* --- COM_QUERY --- */

static bool has_no_backslash(const struct my_front *front)
{
	const char *mode = settings_get(front->settings, "sql_mode");

	return mode && strstr(mode, "NO_BACKSLASH_ESCAPES");
}

/* What the scan has found is kept until the answer has come. */
static bool keep_found(struct my_front *front, const struct my_scan *scan)
{
	front->found = scan->found;
	if (!my_locks_note(front, scan->locks, scan->locks_len, NULL))
		return false;
	if (front->found_name || scan->name[0]) {
		free(front->found_name);
		front->found_name = strdup(scan->name);
		return front->found_name;
	}
	return true;
}

static struct my_scan *scan_whole(struct my_pass *p)
{
	struct my_scan *scan = &p->front->worker->scan;

	if (p->front->worker->scanned == p->front)
		return scan;
	my_scan_init(scan, has_no_backslash(p->front));
	my_scan_feed(scan, text_of(p), p->h.len - 1);
	my_scan_end(scan);
	return scan;
}

/* A long statement is passed on while it comes; what it does is known before its answer is. */
static struct my_step query_in_parts(struct my_pass *p)
{
	struct my_front *front = p->front;
	struct my_scan *scan;
	struct my_step step;

	front->found = 0;
	if (!p->back && !my_have_server(p, &step))
		return step;
	if (!front->scan) {
		front->scan = malloc(sizeof(*front->scan));
		if (!front->scan)
			return MY_STEP_STOP(
				my_front_end(front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
	}
	scan = front->scan;
	my_scan_init(scan, has_no_backslash(front));
	my_scan_feed(scan, text_of(p), text_there(p));
	front->found = scan->found;
	if (!my_have_server(p, &step))
		return step;
	note_statement(&p->back->base.last_statement, text_of(p), text_there(p));
	my_forward_from(p, 0);
	my_expect_answer(p, SHAPE_RESULTS);
	return MY_STEP_ON;
}

static struct my_step handle_query(struct my_pass *p)
{
	struct my_front *front = p->front;
	struct my_step step;

	if (!my_is_whole(p))
		return p->h.len <= QUERY_LOOK_MAX ? step_more() : query_in_parts(p);
	if (p->h.len == MY_PACKET_FULL)
		return query_in_parts(p);
	struct my_scan *scan = scan_whole(p);
	if (!keep_found(front, scan))
		return MY_STEP_STOP(my_front_end(front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
	if (scan->exact != EXACT_NONE && my_local_query(p, scan, &step)) {
		front->worker->scanned = NULL;
		return step;
	}
	front->worker->scanned = front;
	const char *text = text_of(p);
	step = forward(p, SHAPE_RESULTS);
	if (step.stop)
		return step;
	front->worker->scanned = NULL;
	note_statement(&p->back->base.last_statement, text, p->h.len - 1);
	return step;
}

/* Goes on with a command of which a part was passed on or dropped before. */
static void continue_packet(struct my_pass *p)
{
	struct my_front *front = p->front;
	size_t n = least(p->in->len, front->forwarding + front->dropping);

	if (front->forwarding) {
		if (front->scan)
			my_scan_feed(front->scan, (const char *)p->in->data, n);
		output_ref(p->to_server, p->in->data, n);
		front->forwarding -= n;
		front->base.mid_message = front->forwarding > 0 || front->continued;
	} else {
		front->dropping -= n;
	}
	input_skip(p->in, n);
}

/* The last packet of a command has gone through. */
static void end_command(struct my_pass *p)
{
	struct my_front *front = p->front;

	if (front->scan) {
		my_scan_end(front->scan);
		if (!keep_found(front, front->scan))
			front->found |= SCAN_SET_PINS;
		free(front->scan);
		front->scan = NULL;
	}
	if (front->drop_rest && front->refused && !front->uploading)
		tell_refused(front, p->to_client);
	front->base.mid_message = false;
	/* What comes next may be at hand already. */
	if (p->back) {
		p->back->half_command = false;
		my_back_update(p->back);
	}
	front->pipelining = front->awaiting && p->in->len > 0;
}

/* A packet that continues the one before. False: its header is not there yet. */
static bool begin_continuation(struct my_pass *p)
{
	if (!my_header_read(p->in, &p->h))
		return false;
	if (p->front->drop_rest) {
		my_drop(p);
	} else {
		struct my_front *front = p->front;
		size_t n = least(p->in->len, packet_size(p));
		if (front->scan)
			my_scan_feed(
				front->scan, (const char *)p->in->data + MY_HEADER, n - MY_HEADER);
		my_forward_from(p, 0);
	}
	return true;
}

/* --- LOCAL INFILE --- */

/* The client's turn: packets of a file, up to an empty one. */
static bool upload(struct my_pass *p)
{
	struct my_front *front = p->front;

	if (!my_header_read(p->in, &p->h))
		return false;
	front->uploading = p->h.len > 0;
	/* The connection is gone: its client learns it when it has said all. */
	if (!p->back) {
		my_drop(p);
		front->continued = false;
		if (!front->uploading && front->refused)
			tell_refused(front, p->to_client);
		return true;
	}
	p->back->upload_begun = true;
	if (!front->uploading)
		follow_uploaded(&p->back->follow);
	my_forward_from(p, 0);
	front->continued = false;
	front->base.mid_message = front->forwarding > 0;
	return true;
}

/* --- other commands --- */

static struct my_step handle_init_db(struct my_pass *p)
{
	if (!my_is_whole(p))
		return p->h.len <= ARGUMENT_MAX ? step_more() : malformed(p);
	return forward(p, SHAPE_SIMPLE);
}

static struct my_step handle_ping(struct my_pass *p)
{
	/* It tells the truth: whether a server can be reached. */
	if (p->back || p->front->base.pool_in_trouble)
		return forward(p, SHAPE_SIMPLE);
	return my_answer_ok(p);
}

static struct my_step handle_set_option(struct my_pass *p)
{
	struct my_front *front = p->front;
	struct buf b = {0};

	if (p->h.len == 3 && !my_is_whole(p))
		return step_more();
	if (p->h.len != 3 || text_of(p)[0] > NO_MULTI_STATEMENTS || text_of(p)[1])
		return malformed(p);
	bool off = text_of(p)[0] == NO_MULTI_STATEMENTS;
	if (!my_settings_set(
		    front->worker->settings, &front->settings, MY_NO_MULTI, off ? "1" : NULL))
		return MY_STEP_STOP(my_front_end(front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
	my_drop(p);
	my_write_eof(&b, 1, 0, my_local_status(front));
	my_send_buf(p->to_client, &b);
	return MY_STEP_ON;
}

/* A session of its own is made anew: on the server connection only if there is one that it left
 * something on. */
static struct my_step handle_reset(struct my_pass *p)
{
	struct my_front *front = p->front;

	if (p->back && !my_back_has_room(p->back, OWN_COMMANDS_MAX))
		return MY_STEP_STOP(FRONT_WAIT);
	const char *schema = settings_get(front->settings, MY_SCHEMA);
	const struct settings *list = settings_ref(front->startup);
	bool ok = !schema || my_settings_set(front->worker->settings, &list, MY_SCHEMA, schema);
	my_settings_replace(&front->settings, list);
	settings_unref(list);
	if (!ok)
		return MY_STEP_STOP(my_front_end(front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
	my_client_statements_clear(front);
	front->last_insert_id = 0;
	front->found = 0;
	buf_clear(&front->warnings);
	if (p->back) {
		my_sync_reset(p->back, p->to_server);
		p->back->status &= (uint16_t)~MY_STATUS_IN_TRANS;
		my_back_update(p->back);
	}
	return my_answer_ok(p);
}

static struct my_step handle_change_user(struct my_pass *p)
{
	struct my_front *front = p->front;

	if (!my_is_whole(p))
		return p->h.len <= ARGUMENT_MAX ? step_more() : malformed(p);
	begin_packet(p);
	if (!my_login_again(front, p->in->data + MY_HEADER + 1, p->h.len - 1))
		return MY_STEP_STOP(my_front_end(
			front, REASON_PROTOCOL_VIOLATION, "malformed packet", p->to_client));
	input_skip(p->in, packet_size(p));
	front->phase = MY_PHASE_IDENTIFY;
	return MY_STEP_STOP(FRONT_FLUSH);
}

static struct my_step handle_process_kill(struct my_pass *p)
{
	struct my_scan scan = {.exact = EXACT_KILL};
	struct my_step step;
	struct reader r;

	if (p->h.len != 5)
		return malformed(p);
	if (!my_is_whole(p))
		return step_more();
	reader_init(&r, text_of(p), p->h.len - 1);
	scan.number = reader_u32le(&r);
	if (!reader_done(&r))
		return malformed(p);
	if (my_local_query(p, &scan, &step))
		return step;
	return forward(p, SHAPE_SIMPLE);
}

static struct my_step unknown_command(struct my_pass *p)
{
	return my_answer_error(p, ERROR_UNKNOWN_COMMAND, "08S01", "Unknown command");
}

static struct my_step one_command(struct my_pass *p, uint8_t command)
{
	struct my_front *front = p->front;

	front->command = command;
	front->running = NULL;
	if (front->command != MY_COM_QUERY)
		front->found = 0;
	switch (front->command) {
	case MY_COM_QUIT:
		front->base.reason = REASON_CLIENT_LEFT;
		front->phase = MY_PHASE_ENDED;
		return MY_STEP_STOP(FRONT_CLOSE);
	case MY_COM_QUERY:
		return handle_query(p);
	case MY_COM_INIT_DB:
		return handle_init_db(p);
	case MY_COM_FIELD_LIST:
		return my_is_whole(p) || p->h.len > ARGUMENT_MAX ? forward(p, SHAPE_ROWS)
								 : step_more();
	case MY_COM_STATISTICS:
		return forward(p, SHAPE_STATISTIC);
	case MY_COM_PROCESS_INFO:
		return forward(p, SHAPE_RESULTS);
	case MY_COM_DEBUG:
		return forward(p, SHAPE_SIMPLE);
	case MY_COM_PING:
		return handle_ping(p);
	case MY_COM_PROCESS_KILL:
		return handle_process_kill(p);
	case MY_COM_CHANGE_USER:
		return handle_change_user(p);
	case MY_COM_STMT_PREPARE:
		return my_stmt_prepare(p);
	case MY_COM_STMT_EXECUTE:
		return my_stmt_execute(p);
	case MY_COM_STMT_SEND_LONG_DATA:
		return my_stmt_long_data(p);
	case MY_COM_STMT_CLOSE:
		return my_stmt_close(p);
	case MY_COM_STMT_RESET:
		return my_stmt_reset(p);
	case MY_COM_STMT_FETCH:
		return my_stmt_fetch(p);
	case MY_COM_SET_OPTION:
		return handle_set_option(p);
	case MY_COM_RESET_CONNECTION:
		return handle_reset(p);
	case MY_COM_REFRESH:
	case MY_COM_SHUTDOWN:
		return my_answer_error(p, ERROR_DENIED, "42000",
			"weir: Access denied; this command is not passed on");
	default:
		return unknown_command(p);
	}
}

/* A transaction was lost while its client was silent: the next command learns it. */
static bool tell_lost(struct my_pass *p, struct my_step *ret_step)
{
	struct my_front *front = p->front;
	uint8_t command = p->in->data[MY_HEADER];
	bool has_answer = command != MY_COM_STMT_CLOSE && command != MY_COM_QUIT &&
			  command != MY_COM_STMT_SEND_LONG_DATA;

	if (!has_answer)
		return false;
	struct refusal *lost = front->base.lost;
	front->base.lost = NULL;
	front->base.failed_transaction = false;
	if (!lost)
		return false;
	*ret_step = my_answer_refusal(p, lost);
	free(lost);
	return true;
}

/* A driver that gave up waiting and sends the next command would take the old answer for the new
 * one's. */
static struct my_step overlap(struct my_pass *p, uint8_t command)
{
	struct my_front *front = p->front;
	struct statement_text last = {0}, next = my_waiting_statement(front, *p->in);
	char last_text[100], next_text[100], quoted[128], next_quoted[128];
	char left_out[LOG_LEFT_OUT_SIZE];
	unsigned n_dropped;

	front->base.reason = REASON_PROTOCOL_VIOLATION;
	front->phase = MY_PHASE_ENDED;
	if (!log_limit_allows(&front->worker->overlap_log, OVERLAP_LOG_BURST, &n_dropped))
		return MY_STEP_STOP(FRONT_CLOSE);
	if (p->back)
		last = my_last_statement(front, p->back);
	text_shorten(last_text, sizeof(last_text), last.text, last.len, last.goes_on);
	text_shorten(next_text, sizeof(next_text), next.text, next.len, next.goes_on);
	log_warning("client=%u event=overlap command=%u next=%u last_text=\"%s\" text=\"%s\" "
		    "detail=\"a new command before the answer to the last one: closed\"%s",
		front->base.key.id, front->command, command,
		log_escape(last_text, quoted, sizeof(quoted)),
		log_escape(next_text, next_quoted, sizeof(next_quoted)),
		log_left_out(n_dropped, left_out));
	return MY_STEP_STOP(FRONT_CLOSE);
}

/* It is to go, and asks for a sign of life while nothing of its own is at stake. */
static bool may_be_dismissed(const struct my_pass *p, uint8_t command)
{
	if (!p->front->base.leaving || p->back)
		return false;
	return command == MY_COM_PING ||
	       (command == MY_COM_QUERY && my_is_whole(p) &&
		       sql_tests_connection((const char *)text_of(p), p->h.len - 1));
}

static struct my_step next_command(struct my_pass *p)
{
	struct my_front *front = p->front;
	struct my_step step;

	if (p->in->len < MY_HEADER + 1 && p->h.len)
		return step_more();
	/* Nothing stands behind the header of an empty packet. */
	uint8_t command = p->h.len ? p->in->data[MY_HEADER] : MY_COM_SLEEP;
	if (front->awaiting && !front->pipelining)
		return command == MY_COM_QUIT ? one_command(p, command) : overlap(p, command);
	if (front->awaiting || (p->back && !p->back->base.at_rest))
		return MY_STEP_STOP(FRONT_WAIT);
	if (!p->h.len)
		return unknown_command(p);
	if (p->h.sequence != 0)
		return MY_STEP_STOP(my_front_end(
			front, REASON_PROTOCOL_VIOLATION, "packets out of order", p->to_client));
	if (front->discard) {
		front->discard = false;
		my_drop(p);
		return MY_STEP_ON;
	}
	if (front->refused) {
		my_drop(p);
		if (is_dropped(front))
			tell_refused(front, p->to_client);
		return MY_STEP_ON;
	}
	if (front->base.failed_transaction && tell_lost(p, &step))
		return step;
	if (may_be_dismissed(p, command))
		return MY_STEP_STOP(FRONT_LEAVE);
	return one_command(p, command);
}

/* A part of the present command. False: more is needed. */
static bool go_on_with_command(struct my_pass *p)
{
	struct my_front *front = p->front;

	if (front->forwarding || front->dropping)
		continue_packet(p);
	else if (!begin_continuation(p))
		return false;
	if (!front->forwarding && !front->dropping && !front->continued)
		end_command(p);
	return true;
}

enum front_verdict my_relay_from_client(struct my_front *front, struct my_back *back,
	struct input *in, struct output *to_client, struct output *to_server)
{
	struct my_pass p = {.front = front,
		.back = back,
		.in = in,
		.to_client = to_client,
		.to_server = to_server};
	enum front_verdict verdict = FRONT_MORE;
	bool going = true;

	while (going && in->len) {
		if (!output_has_room(to_server) || !output_has_room(to_client)) {
			verdict = FRONT_FLUSH;
			break;
		}
		if (front->forwarding || front->dropping || front->continued) {
			going = go_on_with_command(&p);
		} else if (front->uploading) {
			going = upload(&p);
		} else if (!my_header_read(in, &p.h)) {
			break;
		} else {
			struct my_step step = next_command(&p);
			going = !step.stop;
			if (step.stop)
				verdict = step.verdict;
		}
	}
	if (back) {
		back->half_command = front->forwarding || front->continued;
		my_back_update(back);
	}
	front->base.in_request =
		front->awaiting || verdict == FRONT_SERVER || verdict == FRONT_WAIT;
	return verdict;
}

void my_relay_refuse(struct my_front *front, const struct refusal *refusal)
{
	front->base.in_request = false;
	front->worker->scanned = NULL;
	front->base.kill_outcome = KILL_NOT_ASKED;
	if (front->command == MY_COM_STMT_SEND_LONG_DATA && front->running) {
		/* There is no answer in which to say so. */
		front->running->spoilt = true;
		front->discard = true;
		return;
	}
	front->refused = malloc(sizeof(*refusal));
	if (front->refused)
		*front->refused = *refusal;
}

/* What ends a statement only leaves its client in a transaction, as it believes: its next command
 * learns that there is none. */
static void keep_loss(struct my_front *front, const struct refusal *refusal)
{
	bool is_lost = front->base.failed_transaction && refusal->reason == REASON_QUERY_TIMEOUT;

	front->base.failed_transaction = false;
	if (!is_lost || front->base.lost)
		return;
	front->base.lost = malloc(sizeof(*front->base.lost));
	if (!front->base.lost)
		return;
	refusal_set(front->base.lost, REASON_CANCEL_GRACE, NULL);
	front->base.failed_transaction = true;
}

void my_relay_server_lost(struct my_front *front, struct my_back *back,
	const struct refusal *refusal, struct output *to_client)
{
	bool unfinished = front->forwarding || front->continued || front->uploading;

	front->drop_rest = front->forwarding || front->continued;
	front->dropping += front->forwarding;
	front->forwarding = 0;
	free(front->scan);
	front->scan = NULL;
	front->base.mid_message = false;
	front->base.in_request = false;
	if (!front->awaiting)
		return;
	front->awaiting = front->pipelining = false;
	keep_loss(front, refusal);
	if (unfinished) {
		/* The rest of the command comes first. */
		my_relay_refuse(front, refusal);
		return;
	}
	my_send_refusal(to_client, (uint8_t)(front->sequence + 1), refusal);
}
