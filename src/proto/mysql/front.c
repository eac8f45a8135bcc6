/*
 * From the client to the server: one command after the other, from its first packet to its last,
 * goes to commands.c and leaves as that has decided. Called through mysql.c. Reads no answers
 * (back.c) and decides nothing about the pool.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/pass.h"
#include "proto/sql_text.h"
#include "util/log.h"
#include "util/text.h"

/* Lines per second about clients that are out of step. */
#define OVERLAP_LOG_BURST 5

/* --- a command of several packets --- */

/* Goes on with a command of which a part was passed on or dropped before. */
static void continue_packet(struct my_pass *p)
{
	struct my_front *front = p->front;
	size_t n = least(p->in->len, front->forwarding + front->dropping);

	if (front->forwarding) {
		if (front->scan)
			my_scan_feed(front->scan, (const char *)p->in->data, n);
		output_ref(p->to_server, p->in->data, n);
		front->forwarding -= (uint32_t)n;
		front->base.mid_message = front->forwarding > 0 || front->continued;
	} else {
		front->dropping -= (uint32_t)n;
	}
	input_skip(p->in, n);
}

/* The last packet of a command has gone through. */
static void end_command(struct my_pass *p)
{
	struct my_front *front = p->front;

	if (front->scan) {
		my_scan_end(front->scan);
		if (!my_keep_found(front, front->scan))
			front->found |= SCAN_SET_PINS;
		free(front->scan);
		front->scan = NULL;
	}
	if (front->drop_rest && front->refused && !front->uploading)
		my_tell_refused(front, p->to_client);
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
		size_t n = least(p->in->len, my_packet_size(p));
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
			my_tell_refused(front, p->to_client);
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

/* --- the next command --- */

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
		       sql_tests_connection((const char *)my_argument(p), p->h.len - 1));
}

static struct my_step next_command(struct my_pass *p)
{
	struct my_front *front = p->front;
	struct my_step step;

	if (p->in->len < MY_HEADER + 1 && p->h.len)
		return MY_STEP_STOP(FRONT_MORE);
	/* Nothing stands behind the header of an empty packet. */
	uint8_t command = p->h.len ? p->in->data[MY_HEADER] : MY_COM_SLEEP;
	if (front->awaiting && !front->pipelining)
		return command == MY_COM_QUIT ? my_command(p, command) : overlap(p, command);
	if (front->awaiting || (p->back && !p->back->base.at_rest))
		return MY_STEP_STOP(FRONT_WAIT);
	if (!p->h.len)
		return my_answer_unknown(p);
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
		if (my_is_dropped(front))
			my_tell_refused(front, p->to_client);
		return MY_STEP_ON;
	}
	if (front->base.failed_transaction && tell_lost(p, &step))
		return step;
	if (may_be_dismissed(p, command))
		return MY_STEP_STOP(FRONT_LEAVE);
	return my_command(p, command);
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
