/*
 * Each command of the client's, from its first packet: what it means for the session, and where it
 * goes. Prepared statements have execute.c, and what needs no server local.c. Called by front.c.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/pass.h"
#include "proto/mysql/statements.h"

/* A statement up to this size is looked at before anything of it is passed on. */
#define QUERY_LOOK_MAX 32768

/* Commands with a short argument. */
#define ARGUMENT_MAX 4096

#define ERROR_DENIED 1227

#define NO_MULTI_STATEMENTS 1 /* COM_SET_OPTION's argument */

static struct my_step step_more(void)
{
	return MY_STEP_STOP(FRONT_MORE);
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

bool my_keep_found(struct my_front *front, const struct my_scan *scan)
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
	my_scan_feed(scan, my_argument(p), p->h.len - 1);
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
	my_scan_feed(scan, my_argument(p), my_argument_there(p));
	front->found = scan->found;
	if (!my_have_server(p, &step))
		return step;
	note_statement(&p->back->base.last_statement, my_argument(p), my_argument_there(p));
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
	if (!my_keep_found(front, scan))
		return MY_STEP_STOP(my_front_end(front, REASON_OUT_OF_MEMORY, NULL, p->to_client));
	if (scan->exact != EXACT_NONE && my_local_query(p, scan, &step)) {
		front->worker->scanned = NULL;
		return step;
	}
	front->worker->scanned = front;
	front->is_aside = scan->exact == EXACT_SHOW_WARNINGS || scan->exact == EXACT_SHOW_ERRORS ||
			  scan->exact == EXACT_COUNT_WARNINGS;
	const char *text = my_argument(p);
	step = forward(p, SHAPE_RESULTS);
	if (step.stop)
		return step;
	front->worker->scanned = NULL;
	note_statement(&p->back->base.last_statement, text, p->h.len - 1);
	return step;
}

/* --- other commands --- */

static struct my_step handle_init_db(struct my_pass *p)
{
	if (!my_is_whole(p))
		return p->h.len <= ARGUMENT_MAX ? step_more() : my_answer_malformed(p);
	return forward(p, SHAPE_SIMPLE);
}

static struct my_step handle_ping(struct my_pass *p)
{
	/* It tells the truth: whether a server can be reached. */
	if (p->back || p->front->base.pool_in_trouble)
		return forward(p, SHAPE_SIMPLE);
	/* As servers have it. */
	p->front->row_count = 0;
	return my_answer_ok(p);
}

static struct my_step handle_set_option(struct my_pass *p)
{
	struct my_front *front = p->front;
	struct buf b = {0};

	if (p->h.len == 3 && !my_is_whole(p))
		return step_more();
	if (p->h.len != 3 || my_argument(p)[0] > NO_MULTI_STATEMENTS || my_argument(p)[1])
		return my_answer_malformed(p);
	bool off = my_argument(p)[0] == NO_MULTI_STATEMENTS;
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

	if (p->back && !my_back_has_room(p->back, MY_OWN_COMMANDS_MAX))
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
		return p->h.len <= ARGUMENT_MAX ? step_more() : my_answer_malformed(p);
	my_begin_packet(p);
	if (!my_login_again(front, p->in->data + MY_HEADER + 1, p->h.len - 1))
		return MY_STEP_STOP(my_front_end(
			front, REASON_PROTOCOL_VIOLATION, "malformed packet", p->to_client));
	input_skip(p->in, my_packet_size(p));
	front->phase = MY_PHASE_IDENTIFY;
	return MY_STEP_STOP(FRONT_FLUSH);
}

static struct my_step handle_process_kill(struct my_pass *p)
{
	struct my_scan scan = {.exact = EXACT_KILL};
	struct my_step step;
	struct reader r;

	if (p->h.len != 5)
		return my_answer_malformed(p);
	if (!my_is_whole(p))
		return step_more();
	reader_init(&r, my_argument(p), p->h.len - 1);
	scan.number = reader_u32le(&r);
	if (!reader_done(&r))
		return my_answer_malformed(p);
	if (my_local_query(p, &scan, &step))
		return step;
	return forward(p, SHAPE_SIMPLE);
}

struct my_step my_command(struct my_pass *p, uint8_t command)
{
	struct my_front *front = p->front;

	front->command = command;
	front->running = NULL;
	front->is_aside = command == MY_COM_PING || command == MY_COM_STATISTICS;
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
		return my_answer_unknown(p);
	}
}
