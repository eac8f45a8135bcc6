/*
 * What can be done with the command at hand: passed on, dropped, answered, or kept waiting for a
 * server connection. Called by front.c, which knows where commands begin and end, and by those who
 * know what each of them means: commands.c, execute.c, local.c.
 */
#include "proto/mysql/pass.h"

#include <stdlib.h>
#include <string.h>

#include "util/text.h"

#define ERROR_UNKNOWN_COMMAND 1047

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

void my_begin_packet(struct my_pass *p)
{
	p->front->sequence = p->h.sequence;
	p->front->continued = p->h.len == MY_PACKET_FULL;
	p->front->drop_rest = false;
}

void my_drop(struct my_pass *p)
{
	size_t n = least(p->in->len, my_packet_size(p));

	my_begin_packet(p);
	p->front->drop_rest = true;
	p->front->dropping = (uint32_t)(my_packet_size(p) - n);
	input_skip(p->in, n);
}

void my_forward_from(struct my_pass *p, size_t offset)
{
	size_t n = least(p->in->len, my_packet_size(p));

	CHECK(offset <= n);
	my_begin_packet(p);
	output_ref(p->to_server, p->in->data + offset, n - offset);
	p->front->forwarding = (uint32_t)(my_packet_size(p) - n);
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
	p->back->base.n_queries++;
	if (front->is_aside)
		return;
	front->row_count = front->found_rows = 0;
	front->n_warnings = 0;
	front->disturbed = false;
	buf_clear(&front->warnings);
}

/* --- answers by weir itself --- */

void my_tell_refused(struct my_front *front, struct output *to_client)
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
	if (my_is_dropped(front))
		my_tell_refused(front, p->to_client);
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

struct my_step my_answer_malformed(struct my_pass *p)
{
	return my_answer_error(p, ERROR_UNKNOWN_COMMAND, "08S01", "weir: malformed packet");
}

struct my_step my_answer_unknown(struct my_pass *p)
{
	return my_answer_error(p, ERROR_UNKNOWN_COMMAND, "08S01", "Unknown command");
}

/* --- the server connection --- */

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
	if (!my_back_has_room(back, MY_OWN_COMMANDS_MAX))
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
