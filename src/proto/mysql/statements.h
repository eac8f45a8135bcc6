/*
 * Prepared statements. A client's ids are its own; behind weir a statement is one object per worker
 * (proto/statements.h), keyed by its text and what that depends on: pool, schema, sql_mode,
 * character set, collation. Each server connection has it under an id of the server's.
 */
#pragma once

#include "proto/mysql/state.h"

/* What is known of a statement: what the scan of its text found, and the answer to its PREPARE. */
struct my_effects {
	uint32_t found;
	struct buf answer; /* packets, with the server's id; empty: not known */
	struct buf locks;  /* as in struct my_scan */
	char name[];
};

/* A table of statements whose `effects` is a struct my_effects. */
void my_statements_init(struct statements *table);

/* The statement that a PREPARE of that text by this client is about: a new reference. NULL: no
 * memory. */
struct statement *my_stmt_get(struct my_front *front, const char *text, size_t len);

/* Its text: borrowed from it. */
struct statement_text my_stmt_text(const struct statement *statement);

/* With it the client would take more memory than it may. */
bool my_stmt_is_too_much(const struct my_front *front, const struct statement *statement);

/* The answer to the client's PREPARE has come: it is kept. */
void my_stmt_learn(struct statement *statement, struct buf *answer);

/* An execution failed: what was said about the statement may not be true any more. */
void my_stmt_unlearn(struct statement *statement);

/* --- a client's ids --- */

/* The client's statement of that id, or NULL. */
struct my_client_statement *my_client_statement_find(const struct my_front *front, uint32_t id);

/* Its text, if there is one. */
struct statement_text my_client_statement_text(const struct my_front *front, uint32_t id);
void my_client_statement_forget(struct my_front *front, struct my_client_statement *cs);
void my_client_statements_clear(struct my_front *front);

/* The answer to the client's own PREPARE has come, as a packet: makes the statement the client's,
 * and writes the packet to the client with the id that it is known by there. False: no memory. */
bool my_stmt_hand_out(struct my_front *front, struct statement *statement, const uint8_t *packet,
	size_t size, struct output *to_client);

/* Puts an id into a packet of a command about a statement, or of the answer to a PREPARE. */
static inline void my_stmt_write_id(uint8_t *packet, uint32_t id)
{
	for (unsigned i = 0; i < 4; i++)
		packet[MY_HEADER + 1 + i] = (uint8_t)(id >> 8 * i);
}

/* --- what a server connection has --- */

/* A PREPARE_OK has come, as payload: notes that `statement` is prepared there, in place of the one
 * that was not used for longest if there are more than `limit`. False: no memory. */
bool my_stmt_prepared(struct my_back *back, struct statement *statement, const uint8_t *payload,
	size_t limit, struct output *to_server);

/* Closes the statement that the server knows by that id. */
void my_stmt_close_on_server(struct output *to_server, uint32_t id);
