/*
 * The structs of this folder: what a worker shares, what is known of a pool's servers, the two
 * halves. How they move is in login.c, front.c (client to server), back.c (server to client),
 * track.c (what a session is made of), locks.c (GET_LOCK), sync.c. The client's commands have a
 * header of their own, pass.h, and its prepared statements statements.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/mysql/dial.h"
#include "proto/mysql/follow.h"
#include "proto/mysql/scan.h"
#include "proto/mysql/wire.h"
#include "proto/proto.h"
#include "proto/settings.h"
#include "proto/statements.h"
#include "util/bytes.h"
#include "util/list.h"
#include "util/log.h"
#include "util/map.h"

/* Flavours: capabilities that change what a statement means. */
enum {
	MY_FLAVOUR_FOUND_ROWS = 1u << 0,
	MY_FLAVOUR_LOCAL_FILES = 1u << 1,
	MY_FLAVOUR_IGNORE_SPACE = 1u << 2,
};

/* What the capability does at a login has to be done by hand after a reset. */
#define MY_IGNORE_SPACE_SQL "SET SESSION sql_mode=CONCAT(@@sql_mode, ',IGNORE_SPACE')"

/* Settings that are no variables of the server's: what `USE` has chosen where that is not the URL's
 * database, and COM_SET_OPTION ("1": multi-statements are off). */
#define MY_SCHEMA     ":schema"
#define MY_NO_MULTI   ":single"
#define MY_AUTOCOMMIT "autocommit"

/* What the server says when a client connects, before it is known what that client wants. */
struct my_greeting {
	char *version; /* NULL: no server has been seen yet */
	uint8_t collation;
	uint16_t status;
};

/* Shared by the fronts and backs of one worker. */
struct proto_worker {
	struct settings_table *settings;
	struct statements statements;
	struct map digests; /* of passwords that were proved in full: login.c */
	struct my_greeting greeting;
	struct my_scan scan;            /* of the statement at hand */
	const struct my_front *scanned; /* whose statement that is, while it waits for a server */
	uint64_t n_pools;               /* made so far */
	struct log_limit overlap_log;
};

/* What is known of the servers of one pool. */
struct proto_pool {
	struct proto_worker *worker;
	uint64_t number; /* its own, never another's */
	char *version;   /* of the server that was opened last; NULL: none yet */
	bool is_news;    /* other workers have not been told */
};

enum my_phase {
	MY_PHASE_LOGIN,
	MY_PHASE_IDENTIFY, /* the session looks the account up */
	MY_PHASE_PROVED,   /* the session decides where it goes */
	MY_PHASE_WELCOME,  /* to be told that it is in */
	MY_PHASE_READY,
	MY_PHASE_CONSOLE,
	MY_PHASE_ENDED,
};

/* One of a client's prepared statements. */
struct my_client_statement {
	struct map_node node;
	uint32_t id; /* as the client knows it */
	struct statement *statement;
	uint16_t n_parameters;
	uint8_t *types;       /* of the parameters as sent last: 2 bytes each; NULL: never sent */
	bool cursor;          /* open */
	bool long_data;       /* some was passed on, and not executed yet */
	struct buf kept_data; /* packets of long data that wait for the execution */
	bool spoilt;          /* some could not be passed on: the next execution fails */
};

struct my_login;

struct my_front {
	struct front base;
	struct proto_worker *worker;
	struct proto_pool *pool; /* once accepted */
	enum my_phase phase;
	uint32_t capabilities;  /* agreed on */
	struct my_login *login; /* until it is over */
	char *console_command;  /* that runs; NULL: none */
	bool identified;        /* the session has looked the account up */
	bool told_welcome;      /* to the console */
	bool session_mode;
	bool local_files;   /* LOCAL INFILE is allowed */
	int prepared_limit; /* statements kept on a server connection */

	const struct settings *startup;  /* from the handshake: what a reset goes back to */
	const struct settings *settings; /* what it has set */
	struct map statements;
	size_t statements_size, memory_limit; /* bytes; the settings count too */
	uint32_t last_statement_id;

	/* The command under way. */
	uint32_t found; /* by the scan, see scan.h */
	char *found_name;
	struct buf found_locks;              /* names that pins have: locks.c */
	struct my_client_statement *running; /* PREPARE, EXECUTE, ...: borrowed */
	uint8_t command;
	bool awaiting;    /* its answer is on its way */
	bool pipelining;  /* the client had sent more when it was passed on */
	bool uploading;   /* LOCAL INFILE: the client's packets are a file */
	uint8_t sequence; /* of the last packet of the conversation, whoever sent it */
	bool continued;   /* the next packet belongs to it */
	bool drop_rest;   /* ... and is dropped */
	bool discard;     /* it was refused, and has no answer: it is dropped */
	bool is_aside;    /* it leaves what the server knows of the statement before */
	bool disturbed; /* by a question of weir's: the server's own warnings would be about that */
	uint16_t n_warnings;
	struct refusal *refused; /* it could not be run: owned */
	size_t n_kept_data;      /* bytes of long data that wait */

	/* What statements about the one before are answered with, once its connection is gone. */
	uint64_t last_insert_id;
	int64_t row_count, found_rows;
	struct buf warnings; /* the packets of SHOW WARNINGS; empty: there were none */

	uint32_t forwarding;  /* bytes of a packet still to be passed on */
	uint32_t dropping;    /* ... to be dropped */
	struct my_scan *scan; /* of a statement that is passed on in parts; NULL: none is */
};

enum my_pin_kind {
	MY_PIN_VARIABLE,
	MY_PIN_LOCK,
	MY_PIN_TABLES,
	MY_PIN_TEMPORARY,
	MY_PIN_PREPARE,
	MY_PIN_HANDLER,
	MY_PIN_SAVEPOINT,
	MY_PIN_TRANSACTION,
	MY_PIN_FOUND_ROWS,
	MY_PIN_CURSOR,
	MY_PIN_LONG_DATA,
	MY_PIN_SETTINGS,
	MY_PIN_STATE,
};

struct my_pin {
	struct list link;
	enum my_pin_kind kind;
	usec_t since;
	const char *statement; /* that has caused it, shortened; behind `name` */
	char name[];
};

enum my_expect_kind {
	MY_EXPECT_CLIENT,   /* the client's command */
	MY_EXPECT_OWN,      /* weir's own: an error is the end of the connection */
	MY_EXPECT_SCHEMA,   /* weir goes to the client's schema, which may be gone */
	MY_EXPECT_PREPARE,  /* of a client's statement: its number is wanted */
	MY_EXPECT_WARNINGS, /* weir asks SHOW WARNINGS for the client */
	MY_EXPECT_ROLE,     /* weir asks whether the server takes writes */
	MY_EXPECT_TRACK,    /* weir asks what the client's statement has changed */
	MY_EXPECT_LOCKS,    /* ... which locks the client still holds */
};

struct my_expectation {
	enum my_expect_kind kind;
	enum follow_shape shape;
	struct statement *statement; /* that is being prepared: a reference */
	bool wants_cursor;
};

#define MY_EXPECTED_MAX 12

struct my_back {
	struct back base;
	struct proto_pool *pool;
	struct mysql_handle *handle;
	const struct settings *settings;                 /* what is set on it */
	struct my_expectation expected[MY_EXPECTED_MAX]; /* in order */
	unsigned n_expected;
	struct follow follow; /* the answer to the first of them */
	struct prepared_set prepared;
	struct list pins;
	uint16_t status;         /* of the last OK or EOF */
	bool was_in_transaction; /* since the last statement */
	bool tainted; /* something of the last client may be left: to be reset before the next */
	struct buf prepare_answer; /* to the client's PREPARE, to be given again to the next one */
	uint32_t insert_id_owner;  /* whose last_insert_id it has; 0: nobody's */
	uint64_t insert_id;
	/* weir could not do what the client's command needs; code 0: none. */
	struct my_error own_error;
	struct buf locks;        /* the answer to which of them are held */
	bool upload_begun;       /* some of the file that the server awaits was passed on */
	uint8_t upload_sequence; /* of the packet that asked for it */
	bool asks_role;          /* a write was refused: is it the server that takes none? */
	bool half_command;       /* of the client's command a part is still to come */
	size_t forwarding;       /* bytes of a packet still to be passed on */
	size_t dropping;         /* ... to be swallowed */
};

static inline struct my_front *my_front(struct front *front)
{
	return container_of(front, struct my_front, base);
}

static inline struct my_back *my_back(struct back *back)
{
	return back ? container_of(back, struct my_back, base) : NULL;
}

/* --- login.c: from the greeting to the proof --- */
void my_login_greet(struct my_front *front, struct output *to_client);
enum front_verdict my_login_from_client(
	struct my_front *front, struct input *in, struct output *to_client);
void my_login_identify(struct my_front *front, const char *secret);
void my_login_free(struct my_login *login);
void my_digests_clear(struct proto_worker *worker);

/* The collation that the client's login asked for. */
unsigned my_login_collation(const struct my_login *login);

/* COM_CHANGE_USER: the packet is whole. False: it is malformed. */
bool my_login_again(struct my_front *front, const uint8_t *payload, size_t len);

/* --- front.c: from the client to the server --- */
enum front_verdict my_relay_from_client(struct my_front *front, struct my_back *back,
	struct input *in, struct output *to_client, struct output *to_server);
void my_relay_refuse(struct my_front *front, const struct refusal *refusal);
void my_relay_server_lost(struct my_front *front, struct my_back *back,
	const struct refusal *refusal, struct output *to_client);

/* --- pass.c: what can be done with a command (the rest is in pass.h) --- */

/* Ends the client's connection: writes the error, and gives the verdict. */
enum front_verdict my_front_end(
	struct my_front *front, enum reason reason, const char *detail, struct output *to_client);

/* The status flags of an answer that weir gives itself. */
uint16_t my_local_status(const struct my_front *front);

/* --- execute.c: commands about prepared statements (see pass.h) --- */

/* The client's command about a statement is over. */
void my_stmt_done(struct my_front *front, struct my_back *back, const struct follow *f, bool ok);

/* --- last.c: what is shown of a client's statements --- */
struct statement_text my_last_statement(const struct my_front *front, const struct my_back *back);
struct statement_text my_waiting_statement(const struct my_front *front, struct input in);

/* --- result.c: rows --- */

struct my_column {
	const char *name;
	uint8_t type; /* MY_TYPE_... */
};

enum {
	MY_TYPE_TINY = 1,
	MY_TYPE_SHORT = 2,
	MY_TYPE_LONG = 3,
	MY_TYPE_FLOAT = 4,
	MY_TYPE_DOUBLE = 5,
	MY_TYPE_NULL = 6,
	MY_TYPE_TIMESTAMP = 7,
	MY_TYPE_LONGLONG = 8,
	MY_TYPE_INT24 = 9,
	MY_TYPE_DATE = 10,
	MY_TYPE_TIME = 11,
	MY_TYPE_DATETIME = 12,
	MY_TYPE_YEAR = 13,
	MY_TYPE_VARCHAR = 15,
	MY_TYPE_BLOB = 252,
	MY_TYPE_VAR_STRING = 253,
	MY_TYPE_STRING = 254,
};

/* Column count, definitions and EOF, from sequence number *sequence on, which is moved on. */
void my_write_columns(struct buf *b, uint8_t *sequence, const struct my_column *columns,
	size_t n_columns, uint16_t status);

/* A text row; a cell of NULL is NULL. */
void my_write_row(struct buf *b, uint8_t *sequence, const char *const *cells, size_t n_cells);

/* --- back.c: from the server to the client --- */
enum back_verdict my_relay_from_server(struct my_back *back, struct my_front *front,
	struct input *in, struct output *to_client, struct output *to_server);

/* Notes that an answer will come. There must be room: my_back_has_room(). */
void my_back_expect(struct my_back *back, struct my_expectation item);
bool my_back_has_room(const struct my_back *back, unsigned n);

/* weir's own statement or command; its answer is swallowed. */
void my_back_own_query(struct my_back *back, const char *sql, struct output *to_server);
void my_back_own_command(struct my_back *back, uint8_t command, const void *argument, size_t len,
	struct output *to_server);

/* Recomputes base.at_rest and the like. */
void my_back_update(struct my_back *back);

/* --- track.c: what a session is made of --- */

/* Puts another list in place of the one at `slot`, with the references. */
void my_settings_replace(const struct settings **slot, const struct settings *list);

/* Sets one name in a list (`value` NULL: takes it out). False: too long, or no memory. */
bool my_settings_set(struct settings_table *table, const struct settings **slot, const char *name,
	const char *value);

/* The settings of a connection whose handshake asked for that collation. */
bool my_settings_collation(struct settings_table *table, const struct settings **slot,
	unsigned collation, bool is_mariadb);

/* Takes over what the server's OK packet says has changed; `client`: it was the client's command.
 * Returns false if the tracked part is malformed. */
bool my_track(struct my_front *front, struct my_back *back, const struct my_ok *ok);

/* Writes of what is tracked only what a client without a say of its own would be told. */
void my_track_filter(const struct my_ok *ok, struct buf *b);

/* The client's command is over: `ok` unless it ended with an error. */
void my_effects_apply(struct my_front *front, struct my_back *back, bool ok);
void my_pin_add(const struct my_front *front, struct my_back *back, enum my_pin_kind kind,
	const char *name);
void my_pin_end(struct my_back *back, enum my_pin_kind kind, const char *name);
void my_pins_clear(struct my_back *back);

/* True if a pin stands for something that the next client must not meet. */
bool my_pins_dirty(const struct my_back *back);

/* Calls `fn` for each pin of a kind; it may free it. */
typedef void (*my_pin_fn)(struct my_pin *pin, void *arg);
void my_pins_each(const struct my_back *back, enum my_pin_kind kind, my_pin_fn fn, void *arg);
void my_pin_free(struct my_pin *pin);

/* --- locks.c: what GET_LOCK has taken, and until when --- */

/* The parameters of an execution, as they stand in its packet. */
struct my_bound {
	size_t n;
	const uint8_t *nulls, *types;
	const uint8_t *values;
	size_t values_len;
};

/* Notes which locks the statement at hand asks for; `bound` NULL: its parameters are not known.
 * False: no memory. */
MUST_USE bool my_locks_note(
	struct my_front *front, const char *locks, size_t len, const struct my_bound *bound);

/* The client's command is over, which has asked for those locks. */
void my_locks_pin(struct my_front *front, struct my_back *back);

/* The command that is over may have changed what is held, and the server can be asked. */
bool my_locks_matter(const struct my_front *front, const struct my_back *back);

/* Asks the server which of the locks the client still holds. */
void my_locks_ask(struct my_front *front, struct my_back *back, struct output *to_server);

/* The answer has come, into back->locks: what is not held any more pins no more. */
void my_locks_learn(struct my_back *back);

/* --- sync.c: bringing a server connection to a client's settings --- */

/* Writes what is needed. The answers need not be awaited, but for the client's schema: then it is
 * awaited by itself, and *ret_wait is true. False: no memory. */
MUST_USE bool my_sync(
	struct my_front *front, struct my_back *back, struct output *to_server, bool *ret_wait);

/* Puts a server connection back to its beginning: everything but its schema. */
void my_sync_reset(struct my_back *back, struct output *to_server);

/* --- console.c --- */
enum front_verdict my_console_from_client(
	struct my_front *front, struct input *in, struct output *to_client);
void my_console_answer(
	struct my_front *front, const struct result *result, struct output *to_client);
