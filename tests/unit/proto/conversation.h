/*
 * Plays a script of client messages through pgsql_protocol's two halves, as a session would, with
 * fake servers at the other end. How the bytes are cut on their way is the caller's to choose: what
 * arrives must not depend on it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake_server.h"
#include "play.h"
#include "proto/proto.h"
#include "util/bytes.h"

#define CLIENTS PLAY_CLIENTS

/* One delivery: what a client says at once. Built with the say_*() functions. */
struct saying {
	unsigned client;
	struct buf bytes;
};

struct script {
	struct saying sayings[64];
	size_t n;
	bool session_mode;
	bool server_dies;        /* ... before it answers the last saying */
	int prepared_statements; /* 0: 200 */
	/* What is heard in place of the answers to the saying of that index; NULL: the answers. */
	const uint8_t *server_words;
	size_t n_server_words, n_proper;
};

void script_clear(struct script *s);

/* Whose words follow; a new delivery. */
struct buf *say(struct script *s, unsigned client);

void say_query(struct buf *b, const char *sql);
void say_parse(struct buf *b, const char *name, const char *sql);
void say_bind(struct buf *b, const char *statement, const char *value); /* NULL: no parameter */
void say_describe(struct buf *b, uint8_t what, const char *name);
void say_close(struct buf *b, uint8_t what, const char *name);
void say_execute(struct buf *b);
void say_empty(struct buf *b, uint8_t type);
void say_text(struct buf *b, uint8_t type, const char *text);

/* How the bytes are cut. Sizes of 0 mean whole. */
struct cutting {
	size_t client_piece, server_piece; /* size of each piece */
	size_t client_cut, server_cut;     /* or: one cut, that many bytes from the beginning */
	bool interleaved; /* a piece of the client, a piece of the server, ...; else the server's
			     answers are read as soon as they are there */
	bool eager;       /* the server answers each message at once */
	bool travels;     /* ... and no cut: connections go to another worker in between */
};

/* What came of it. */
struct outcome {
	struct buf to_client[CLIENTS]; /* random bytes are zeroed */
	struct buf to_server;
	uint64_t n_queries, n_transactions, n_client_parses, n_server_parses, n_binds;
	bool closed[CLIENTS];
	bool malformed; /* the server got what is not of its protocol */
	bool broken;    /* weir did not understand the server */
	size_t n_client_bytes, n_server_bytes;
};

void converse(const struct script *script, const struct cutting *cutting, struct outcome *ret);
void outcome_clear(struct outcome *o);
bool outcome_equal(const struct outcome *a, const struct outcome *b);

/* Readable: "T D(a) C(SELECT 1) Z(I)" for a client's part, the login left out. */
void outcome_print(const struct outcome *o, unsigned client, struct buf *ret_text);
