/* What front.c and extended.c share: one message of the client's at a time. */
#pragma once

#include "proto/pgsql/state.h"

/* Messages that have to be looked into are waited for up to this size. */
#define LOOK_MAX (64u << 10)

/* The names at the front of a Bind, Describe, Close or Execute. */
#define NAMES_MAX 8192

/* What one message led to: go on with the next one, or stop with a verdict. */
struct step {
	bool stop;
	enum front_verdict verdict;
};

#define STEP_ON        ((struct step){.stop = false})
#define STEP_STOP(why) ((struct step){.stop = true, .verdict = (why)})

/* Where one call reads and writes. */
struct pass {
	struct pg_front *front;
	struct pg_back *back; /* NULL: none is held */
	struct input *in;
	struct output *to_client, *to_server;
	struct pg_header h; /* of the message at the front of the input */
};

/* --- front.c --- */

/* Ends the client's connection. */
struct step pass_violation(struct pass *p, const char *detail);
struct step pass_out_of_memory(struct pass *p);

/* Is the message at the front of the input there to its end? */
bool pass_is_whole(const struct pass *p);

/* Passes it on from `offset` bytes in, as far as it is there. */
void pass_forward_from(struct pass *p, size_t offset);

/* Notes what the server will answer. */
void pass_push(struct pass *p, struct expectation item);

/* --- extended.c --- */

/* The message at hand is a Parse, a Bind, a Describe or Close, an Execute. */
struct step extended_parse(struct pass *p);
struct step extended_bind(struct pass *p);
struct step extended_named(struct pass *p);
struct step extended_execute(struct pass *p);

/* The kind byte and the name of a whole Describe or Close. False: it is malformed. */
bool extended_read_named(struct pass *p, uint8_t *ret_what, const char **ret_name);

/*
 * SQL that names a prepared statement (EXECUTE x, DEALLOCATE x), and a Parse under a name that is
 * taken, need the client's own name on the server, so that it answers in its own words. It is lent
 * for the one request. False: no memory.
 */
bool extended_lend_name(struct pass *p, struct client_statement *cs);
void extended_take_name_back(struct pass *p);

/* A Sync of weir's own, whose answer is swallowed. */
void extended_own_sync(struct pass *p);

/* The client has no unnamed statement any more. */
void extended_forget_unnamed(struct pg_front *front);
