/*
 * One command of the client's at a time: what front.c, commands.c, execute.c and local.c share. The
 * command at hand is the one whose packet stands at the front of the input.
 */
#pragma once

#include "proto/mysql/state.h"

/* Where one call reads and writes. */
struct my_pass {
	struct my_front *front;
	struct my_back *back; /* NULL: none is held */
	struct input *in;
	struct output *to_client, *to_server;
	struct my_header h; /* of the packet at the front of the input */
};

/* What one command led to: go on with the next one, or stop with a verdict. */
struct my_step {
	bool stop;
	enum front_verdict verdict;
};

#define MY_STEP_ON        ((struct my_step){.stop = false})
#define MY_STEP_STOP(why) ((struct my_step){.stop = true, .verdict = (why)})

/* Longest row of own commands in front of the client's: insert id, settings, schema, option. */
#define MY_OWN_COMMANDS_MAX 6

/* --- the packet at hand --- */

static inline size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t my_packet_size(const struct my_pass *p)
{
	return MY_HEADER + p->h.len;
}

/* Is it there to its end? */
static inline bool my_is_whole(const struct my_pass *p)
{
	return p->in->len >= my_packet_size(p);
}

/* What stands behind the command's byte. */
static inline const char *my_argument(const struct my_pass *p)
{
	return (const char *)p->in->data + MY_HEADER + 1;
}

/* How much of the argument behind the command's byte is there. */
static inline size_t my_argument_there(const struct my_pass *p)
{
	return least(p->in->len, my_packet_size(p)) - MY_HEADER - 1;
}

/* --- pass.c --- */

/* The packet is about to be consumed: notes what its header says. */
void my_begin_packet(struct my_pass *p);

/* Consumes the command at the front of the input, as far as it is there. */
void my_drop(struct my_pass *p);

/* Passes the command on from `offset` bytes of its packet in; what comes before has been written.
 * An answer of that shape is awaited from then on. */
void my_forward_from(struct my_pass *p, size_t offset);
void my_expect_answer(struct my_pass *p, enum follow_shape shape);

/* Answers the command at hand, which is dropped, with an error, or OK. */
struct my_step my_answer_error(
	struct my_pass *p, uint16_t code, const char *sqlstate, const char *text);
struct my_step my_answer_refusal(struct my_pass *p, const struct refusal *refusal);
struct my_step my_answer_ok(struct my_pass *p);
struct my_step my_answer_unknown(struct my_pass *p);
struct my_step my_answer_malformed(struct my_pass *p);

/* The command is gone through, to its end: now it can be answered. */
static inline bool my_is_dropped(const struct my_front *front)
{
	return !front->dropping && !front->continued;
}

/* Writes the answer to a command that was refused, and is dropped to its end. */
void my_tell_refused(struct my_front *front, struct output *to_client);

/* True if there is a server connection that is as the client wants it. False: it is asked for, or
 * brought to that, or the command was refused: see *ret_step. */
MUST_USE bool my_have_server(struct my_pass *p, struct my_step *ret_step);

/* The command at hand is refused with that error of the server's. */
struct my_step my_refuse(struct my_pass *p, const struct my_error *error);

/* --- commands.c --- */

/* Begins with the command at hand, of which one byte at least is there (or its packet is empty). */
struct my_step my_command(struct my_pass *p, uint8_t command);

/* What the scan has found is kept until the answer has come. False: no memory. */
bool my_keep_found(struct my_front *front, const struct my_scan *scan);

/* --- execute.c: prepared statements --- */

/* The command at hand is COM_STMT_PREPARE, _EXECUTE, ... */
struct my_step my_stmt_prepare(struct my_pass *p);
struct my_step my_stmt_execute(struct my_pass *p);
struct my_step my_stmt_long_data(struct my_pass *p);
struct my_step my_stmt_close(struct my_pass *p);
struct my_step my_stmt_reset(struct my_pass *p);
struct my_step my_stmt_fetch(struct my_pass *p);

/* --- local.c: what weir answers itself --- */

/* Answers the statement if it can be without a server; true: it was. */
bool my_local_query(struct my_pass *p, const struct my_scan *scan, struct my_step *ret_step);
