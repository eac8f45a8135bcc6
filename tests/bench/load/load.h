/*
 * The load generator of tests/bench/run: one thread, one epoll, N clients of one protocol that all
 * do the same work. pgbench and sysbench do less than the cases need (latencies of 2,000 clients,
 * 15,000 idle ones, COPY, both protocols alike), and take processor time from the proxy that is
 * measured.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_MAX 65536 /* of what a client sends in one step */

enum kind { SIMPLE, EXTENDED, PREPARED, TRANSACTION, PIPELINE, COPY_IN, SQL };

struct work {
	enum kind kind;
	const char *sql;    /* SQL: the statement */
	unsigned megabytes; /* COPY_IN */
	uint32_t n_rows;    /* of the table that point selects read */
};

struct account {
	const char *user, *password, *database;
	uint16_t port;
	SSL_CTX *tls; /* MySQL: if not NULL, logs in with TLS */
};

/* What a protocol's reader keeps of an answer. */
struct answer {
	uint8_t head[5];
	uint32_t n_head, skip;
	uint8_t n_eof, first;
	/* MySQL: the column count was seen; this packet is the last; the next is the rest of a
	 * larger one. */
	bool begun, last, continued;
	char error[300]; /* PostgreSQL: the server's text */
	uint32_t n_error;
	bool failed;
};

struct client {
	int fd;
	SSL *tls;
	uint64_t start_nsec; /* when the transaction was due */
	unsigned step;
	uint32_t statement; /* MySQL: the prepared statement's number */
	struct answer answer;
};

struct protocol {
	/* Connects, logs in and prepares what the work needs; blocks, and ends the program when it
	 * fails. */
	void (*login)(
		struct client *client, const struct account *account, const struct work *work);
	/* Writes what step client->step of a transaction sends; `ret` has MESSAGE_MAX bytes.
	 * Returns how many. */
	size_t (*build)(struct client *client, const struct work *work, uint8_t *ret);
	/* Reads a part of the answer. Returns whether the step is complete. */
	bool (*consume)(
		struct client *client, const struct work *work, const uint8_t *data, size_t len);
	/* Says farewell and closes. */
	void (*leave)(struct client *client);
};

extern const struct protocol load_pgsql, load_mysql;

/* The number of steps of a transaction of that kind, each a round trip. */
unsigned work_n_steps(const struct work *work);
/* The statement of that step, and of a point select. */
const char *work_sql(const struct work *work, unsigned step, char *buffer, size_t size);
/* A row of the table, at random. */
uint32_t work_row(const struct work *work);

/* Blocking input and output, with TLS where the client has it. They end the program when the peer
 * is gone. */
int io_connect(uint16_t port);
void io_send(struct client *client, const void *data, size_t len);
void io_receive(struct client *client, void *ret, size_t len);
/* Prints a line and ends the program. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
