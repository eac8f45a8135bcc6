/*
 * What session/ and pool/ do around a protocol, in its smallest form: some clients, and some server
 * connections of which each is lent to one client at a time. Scripts of either protocol are played
 * with it; what peers say, and how that is cut on its way, is the caller's to choose.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/output.h"
#include "proto/proto.h"
#include "util/bytes.h"

#define PLAY_CLIENTS 3
#define PLAY_SERVERS 2

struct play_server;

struct play_client {
	struct front *front;
	struct play_server *server; /* that it holds; NULL: none */
	struct buf kept;            /* what it said that is not used yet */
	struct buf heard;
	bool waiting; /* for a server connection */
	bool blocked; /* for an answer, or for a server connection: it is not read */
	bool closed;
};

struct play_server {
	struct back *back;          /* NULL: not opened, or lost */
	struct proto_pool *pool;    /* that it is of */
	struct play_client *client; /* that holds it; NULL: none */
	struct buf kept, heard;
	bool broken;      /* weir has given it up */
	bool mid_message; /* a message was under way when it was lost */
};

struct play {
	const struct protocol *protocol;
	const char *secret;      /* of every account; NULL: there is none */
	bool to_console;         /* is where clients get in */
	struct proto_pool *pool; /* ... or here; borrowed */
	struct config_pool limits;
	enum kill_outcome kill; /* of every KILL */
	size_t n_servers;       /* that may be opened */
	bool travels; /* connections go to another worker and back before a client gets them */

	/* Opens a connection. */
	struct back *(*open)(struct play *play);
	/* Bytes have been sent to a server; NULL: nobody cares. */
	void (*sent)(struct play *play, struct play_server *server, const void *data, size_t len);
	void *owner; /* the caller's */

	struct proto_worker *worker, *elsewhere;
	struct proto_pool *pool_elsewhere;
	struct play_client clients[PLAY_CLIENTS];
	struct play_server servers[PLAY_SERVERS];
	struct output to_client, to_server;
};

/* With a worker, a pool that is the caller's to choose from play_pool(), and clients that have said
 * nothing. The rest of `play` is the caller's to fill in, before. */
void play_begin(struct play *play);
void play_end(struct play *play);

void play_greet(struct play *play, struct play_client *client);
void play_hear_client(struct play *play, struct play_client *client, const void *data, size_t len);
void play_hear_server(struct play *play, struct play_server *server, const void *data, size_t len);

/* A client hangs up. */
void play_hang_up(struct play *play, struct play_client *client);

/* A connection breaks; whoever holds it is told. */
void play_lose(struct play *play, struct play_server *server);

/* How bytes are cut on their way: in pieces of that size (0: whole), and once more behind the first
 * `cut` of them. */
struct play_cut {
	size_t piece, cut;
};

/* How much of the `len` bytes that come next arrives at once, if `n_before` have come. */
size_t play_piece(const struct play_cut *how, size_t n_before, size_t len);
