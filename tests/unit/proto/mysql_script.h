/*
 * Plays a script through mysql_protocol's two halves, as a session would: what clients say and what
 * the server answers are both in the script, so that either may be hostile. How the bytes are cut
 * on their way is the caller's to choose: what arrives must not depend on it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/mysql/wire.h"
#include "proto/proto.h"
#include "util/bytes.h"

#define MY_CLIENTS    2
#define MY_STEPS      64
#define MY_PASSWORD   "secret"
#define MY_CLIENT_CAP (MY_PROTOCOL_41 | MY_SECURE_CONNECTION | MY_PLUGIN_AUTH | MY_MULTI_STATEMENTS)

enum my_step_kind {
	STEP_CLIENT,  /* a client says something */
	STEP_SERVER,  /* the server does */
	STEP_LEAVE,   /* a client hangs up */
	STEP_LOSE,    /* the connection to the server breaks */
	STEP_POOL,    /* from here on clients log in to another pool */
	STEP_CONSOLE, /* ... or to the console */
	STEP_PROVE,   /* a client answers the challenge that it was sent last */
};

struct my_script_step {
	enum my_step_kind kind;
	unsigned client;
	struct buf bytes;
};

struct my_script {
	struct my_script_step steps[MY_STEPS];
	size_t n;
	uint32_t capabilities; /* of the clients, beyond MY_CLIENT_CAP */
	const char *schema;    /* of the server's URL; NULL: none */
	bool session_mode, local_infile;
	bool loses_transaction; /* the connection that breaks takes one with it */
	bool pipelined;         /* a delivery holds several commands: clients' bytes are not cut */
};

/* What the next step's peer says. */
struct buf *client_says(struct my_script *s, unsigned client);
struct buf *server_says(struct my_script *s);
void client_leaves(struct my_script *s, unsigned client);
void server_breaks(struct my_script *s);
void other_pool(struct my_script *s);
void console_next(struct my_script *s);
void client_proves(struct my_script *s, unsigned client);
void my_script_clear(struct my_script *s);

/* Packets: any, a command with an argument, a text query, a command about a statement. */
void put_packet(struct buf *b, uint8_t sequence, const void *payload, size_t len);
void put_command(struct buf *b, uint8_t command, const void *argument, size_t len);
void put_query(struct buf *b, const char *sql);
void put_about(struct buf *b, uint8_t command, uint32_t id, const void *more, size_t len);
void put_prepare(struct buf *b, const char *sql);

/* Answers: an OK of a new status, one row of one column with that text, a PREPARE_OK for one
 * parameter and no columns, an error, no warnings. */
void put_ok(struct buf *b, uint16_t status);
void put_row(struct buf *b, const char *text);
void put_prepared(struct buf *b, uint32_t id);
void put_error(struct buf *b, uint8_t sequence, uint16_t code);
void put_no_warnings(struct buf *b);

struct my_cutting {
	size_t client_piece, server_piece; /* 0: whole */
	size_t client_cut, server_cut;     /* one cut, that many bytes from the beginning */
};

struct my_outcome {
	struct buf to_client[MY_CLIENTS]; /* behind the login */
	struct buf to_server;
	bool closed[MY_CLIENTS], mid_message;
	bool broken; /* weir has given the server up */
	size_t n_client_bytes, n_server_bytes;
};

void my_play(const struct my_script *script, const struct my_cutting *how, struct my_outcome *ret);
void my_outcome_clear(struct my_outcome *o);

/* Readable: "1:OK 1:ERR(1064) 1:01 2:EOF 3:text"; a command: "0:QUERY(text)". */
void my_print_client(const struct my_outcome *o, unsigned client, struct buf *ret_text);
void my_print_server(const struct my_outcome *o, struct buf *ret_text);
