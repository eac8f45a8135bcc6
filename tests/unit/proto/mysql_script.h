/*
 * Scripts for MySQL's protocol: what clients say and what servers answer are both in the script, so
 * that either may be hostile. mysql_player.h plays them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "play.h"
#include "proto/mysql/wire.h"
#include "util/bytes.h"

#define MY_CLIENTS    2
#define MY_STEPS      64
#define MY_PASSWORD   "secret"
#define MY_CLIENT_CAP (MY_PROTOCOL_41 | MY_SECURE_CONNECTION | MY_PLUGIN_AUTH | MY_MULTI_STATEMENTS)

enum my_step_kind {
	STEP_CLIENT,  /* a client says something */
	STEP_SERVER,  /* a server does */
	STEP_ANSWER,  /* ... when it has heard one more command */
	STEP_LEAVE,   /* a client hangs up */
	STEP_LOSE,    /* the connection to the server breaks */
	STEP_POOL,    /* from here on clients log in to another pool */
	STEP_CONSOLE, /* ... or to the console */
	STEP_LOGIN,   /* a client answers weir's greeting, behind `bytes` if there are any */
	STEP_PROVE,   /* ... or the challenge that it was sent last */
};

/* How a client proves who it is. */
enum my_proof {
	PROOF_NATIVE,
	PROOF_SHA2,
	PROOF_NONE,  /* as without a password */
	PROOF_WRONG, /* a proof by mysql_native_password of another password */
	PROOF_CLEAR, /* the password itself, with its NUL */
	PROOF_KEY,   /* not yet: it asks for weir's key */
	PROOF_RSA,   /* the password, encrypted by it */
};

struct my_script_step {
	enum my_step_kind kind;
	unsigned who; /* the client's, or the server connection's number */
	struct buf bytes;
	const char *plugin; /* that the client names at its login */
	enum my_proof proof;
	size_t max; /* bytes of its response */
};

struct my_script {
	struct my_script_step steps[MY_STEPS];
	size_t n;
	uint32_t capabilities;  /* of the clients, beyond MY_CLIENT_CAP */
	const char *version;    /* of the server; NULL: a MariaDB's */
	const char *schema;     /* of the server's URL; NULL: none */
	const char *secret;     /* of the accounts; NULL: MY_PASSWORD */
	size_t n_servers;       /* connections that may be open at once; 0: one */
	enum kill_outcome kill; /* of every KILL; 0: there is no such client */
	bool session_mode, local_infile;
	bool no_account;
	bool logs_in;           /* the logins are in the script */
	bool loses_transaction; /* the connection that breaks takes one with it */
	/* Servers answer each command as soon as they hear it (mysql_fake.h). What they hear may
	 * depend on how the bytes come, what clients hear may not. */
	bool servers_answer;
};

/* What the next step's peer says. */
struct buf *client_says(struct my_script *s, unsigned client);
struct buf *server_says(struct my_script *s);
struct buf *server_says_on(struct my_script *s, unsigned server);

/* The answer to a command of those in the step before: said when that command, weir's own ones
 * counted too, has arrived whole. So a client may say several things at once, however they come. */
struct buf *server_answers(struct my_script *s);

void client_leaves(struct my_script *s, unsigned client);
void server_breaks(struct my_script *s);
void other_pool(struct my_script *s);
void console_next(struct my_script *s);
void client_logs_in(struct my_script *s, unsigned client, const char *plugin, enum my_proof proof);
void client_logs_in_cut(struct my_script *s, unsigned client, const char *plugin,
	enum my_proof proof, size_t len); /* ... with a payload of no more than `len` bytes */
void client_proves(struct my_script *s, unsigned client, enum my_proof proof);

/* The client logs in right behind other packets, which are the caller's to put. */
struct buf *client_logs_in_behind(
	struct my_script *s, unsigned client, const char *plugin, enum my_proof proof);
void my_script_clear(struct my_script *s);

/* SSLRequest, in answer to a greeting. */
void put_tls_request(struct buf *b, uint32_t capabilities);

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

/* The answers to what makes a connection as new. */
void server_is_reset(struct my_script *s);

/* A result set of one column: definitions, an EOF, rows of text, an EOF, numbered from *sequence
 * on, which is moved on. MY_STATUS_AUTOCOMMIT is added to both statuses. */
struct my_result {
	uint16_t columns_status, status, n_warnings;
	const char *rows[3]; /* up to the first NULL */
	bool fails;          /* an error comes in place of the last EOF */
};
void put_result(struct buf *b, uint8_t *sequence, const struct my_result *result);

/* An OK that tells of a changed variable. */
void put_tracked(struct buf *b, uint8_t sequence, const char *name, const char *value);

/* "SELECT ?", which the server knows by `id` from then on. */
void client_prepares(struct my_script *s, unsigned client, uint32_t id);

/* The rest of a COM_STMT_EXECUTE of that statement with 'hi', with and without its type. */
#define MY_TYPED   "\0\1\0\0\0\0\1\xfe\0\2hi", 12
#define MY_UNTYPED "\0\1\0\0\0\0\0\2hi", 10

/* How answers are printed. */
#define MY_NOTHING   ""
#define MY_ROW(text) "1:[1] 2:def 3:EOF 4:" text " 5:EOF"
#define MY_PREPARED  "1:OK 2:def 3:EOF"

/* ... and the commands that make a connection as new. */
#define MY_RESET "0:NEW 0:ARM 0:NAMES"
