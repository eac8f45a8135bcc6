/*
 * The structs of this folder: what a worker shares, what is known of a pool's servers, the two
 * halves. How they move is in login.c, welcome.c, front.c (client to server), back.c (server to
 * client), effects.c, sync.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/scram.h"
#include "proto/pgsql/dial.h"
#include "proto/pgsql/expect.h"
#include "proto/pgsql/scan.h"
#include "proto/pgsql/statements.h"
#include "proto/pgsql/wire.h"
#include "proto/proto.h"
#include "proto/settings.h"
#include "util/bytes.h"
#include "util/list.h"
#include "util/map.h"

/* Shared by the fronts and backs of one worker. */
struct proto_worker {
	struct settings_table *settings;
	struct statements statements;
	struct map verifiers;  /* SCRAM keys per account, derived once (login.c) */
	uint64_t next_unnamed; /* numbers the unnamed statements of all clients */
	struct scan scan;      /* for statements that are at hand in one piece */
};

/* What is known of the servers of one pool. */
struct proto_pool {
	struct proto_worker *worker;
	/* What a new server connection reports; NULL before the first one. */
	const struct settings *greeting;
	/* Startup parameters as servers spell them: "name=value" -> what was reported, or "" if not
	 * reported. */
	const struct settings *spellings;
	struct buf news; /* of the two, for other workers: see welcome.c */
};

/* A session's settings, client's or server's. Never NULL once welcomed. */
struct session_settings {
	/* What ParameterStatus says: all of it, by the server's own words. */
	const struct settings *reported;
	/* What was set besides: name -> "=" and the SQL text to the right of SET name TO, or "'"
	 * and a value. */
	const struct settings *extra;
	/* `extra` as it was before the transaction, for when it is rolled back. */
	const struct settings *extra_before;
};

enum front_phase {
	PHASE_STARTUP,  /* no startup packet yet */
	PHASE_IDENTIFY, /* the session looks the account up */
	PHASE_PASSWORD, /* the proof is being given */
	PHASE_PROVED,   /* the session decides where it goes */
	PHASE_WELCOME,  /* a server's greeting is being prepared */
	PHASE_READY,    /* commands */
	PHASE_CONSOLE,  /* commands for the console */
	PHASE_ENDED,
};

struct login;
struct pg_console;

struct pg_front {
	struct front base;
	struct proto_worker *worker;
	struct proto_pool *pool; /* once accepted */
	enum front_phase phase;
	uint32_t protocol_version;
	struct login *login;        /* until it is over */
	struct pg_console *console; /* in PHASE_CONSOLE */
	bool session_mode;
	bool asked_settings; /* the server was asked to take what the client asked for at startup */
	bool retell;         /* weir's own SET changes what the client was told: pass it on */
	int prepared_limit;  /* statements kept on a server connection */

	/* What the client asked for at startup: what RESET goes back to. */
	const struct settings *startup;       /* as given: name -> value */
	const struct settings *startup_extra; /* ... those not reported, as in session_settings */
	const struct settings *startup_reported; /* what was reported at the welcome */
	const struct settings *reported_before;  /* what was reported outside a transaction, for one
						    that is lost */
	const struct settings *resets; /* reported ones that the present statements have reset */
	struct session_settings settings;

	/* Its statements (transaction mode). */
	struct client_names statements;
	size_t memory_limit; /* bytes; the settings count too */
	uint8_t *unnamed; /* the last Parse without a name, whole; NULL: none, or too large to keep
			   */
	size_t unnamed_len;
	uint64_t unnamed_number;      /* 0: there is none */
	struct scan *unnamed_effects; /* what running it may change; NULL: nothing */

	/* What the statement under way may change in the session; NULL: nothing. Its answer is
	 * awaited before the next message is looked at, so there is one at most. Borrowed from the
	 * statement, or `query_scan`. */
	const struct scan *effects;
	struct scan *query_scan; /* of a simple Query: kept if it has effects, or while it is being
				    fed */
	unsigned n_statements_here; /* sent since it has its server connection */
	unsigned statement_index;   /* CommandComplete counted in this Query */
	struct statement *bound;    /* what was bound last: a reference; NULL: the unnamed one */
	char *bound_value; /* the value of set_config()'s parameter in that Bind; NULL: not known */

	size_t forwarding;  /* bytes of a message still to be passed on */
	size_t dropping;    /* ... to be dropped */
	bool scanning;      /* what is being forwarded is a Query: query_scan gets it too */
	bool drop_is_query; /* what is being dropped is a Query: ReadyForQuery comes at its end */
	bool skip_request;  /* the next message's request was refused */
	bool skipping;      /* an error was told: everything up to Sync is dropped */
	bool barrier;       /* wait for all answers before going on */
	uint8_t ending;     /* how a lost transaction is being ended by prepared messages: lost.c */
};

/* An end of a pin: see effects.c. */
enum pin_kind {
	PIN_LISTEN = 1,
	PIN_TEMP,
	PIN_CURSOR,
	PIN_PREPARE,
	PIN_LOCK,
	PIN_SETTINGS,
	PIN_AUTHORIZATION,
	PIN_LOAD,
};

struct pin {
	struct list link;
	enum pin_kind kind;
	usec_t since;
	const char *statement; /* that has caused it, shortened; behind `name` */
	char name[];
};

struct pg_back {
	struct back base;
	struct proto_pool *pool;
	struct pgsql_handle *handle;
	const struct settings
		*greeting; /* what it reported when it was opened: where RESET leads */
	struct session_settings settings;
	struct expectations expected;
	struct prepared_set prepared;
	uint64_t last_number;    /* given to a statement: see statements.h */
	uint64_t unnamed_number; /* which client's Parse is in the unnamed statement; 0: none known
				  */
	struct list pins;
	uint8_t status;    /* of the last ReadyForQuery */
	size_t forwarding; /* bytes of a message still to be passed on */
	size_t dropping;   /* ... to be swallowed */
	bool batch_open;   /* extended messages since the last Sync */
	bool batch_binds;  /* ... and a Bind or Execute among them */
	bool failing;      /* the server skips to the next Sync */
	bool erred;        /* an error since the last ReadyForQuery */
	size_t awaited;    /* bytes of the client's message still to come: passed on in part */
	bool awaits_data;  /* ... and it is CopyData */
	bool copy_in;      /* between CopyInResponse and CopyDone */
	char *lent_name;   /* a client's own statement name that stands on the server for the moment
			    */
	unsigned asks_pins; /* one bit per kind: the client gave one up; are there others? */
	bool leftover;  /* statements are still prepared that were too many to come along: none of
			 * them is known here */
	bool cleaning;  /* weir tidies up after a client: an error is the end of the connection */
	bool own_error; /* weir's own query failed: own_report says how */
	struct refusal own_report;
};

static inline struct pg_front *pg_front(struct front *front)
{
	return container_of(front, struct pg_front, base);
}

static inline struct pg_back *pg_back(struct back *back)
{
	return back ? container_of(back, struct pg_back, base) : NULL;
}

/* Puts another list in place of the one at `slot`, with the references. */
void settings_replace(const struct settings **slot, const struct settings *list);

void session_settings_clear(struct session_settings *settings);

/* --- login.c: from the first byte to the proof --- */
enum front_verdict login_from_client(
	struct pg_front *front, struct input *in, struct output *to_client);
void login_identify(struct pg_front *front, const char *secret);
void login_free(struct login *login);
void verifiers_clear(struct proto_worker *worker);

/* --- welcome.c: startup settings and the greeting --- */
void welcome_accept(
	struct pg_front *front, struct proto_pool *pool, const struct config_pool *limits);
enum front_verdict welcome_step(struct pg_front *front, struct pg_back *back,
	struct output *to_client, struct output *to_server);

/* What a new connection reports (borrowed): clients are greeted with it. */
void welcome_learn_greeting(struct proto_pool *pool, const struct settings *greeting);

/* struct protocol's pool_news() and pool_told(). */
bool welcome_news(struct proto_pool *pool, struct buf *ret_news);
void welcome_told(struct proto_pool *pool, const struct buf *news);

/* --- front.c: from the client to the server --- */
enum front_verdict relay_from_client(struct pg_front *front, struct pg_back *back, struct input *in,
	struct output *to_client, struct output *to_server);
void relay_refuse(struct pg_front *front, const struct refusal *refusal, struct output *to_client);
void relay_server_lost(struct pg_front *front, struct pg_back *back, const struct refusal *refusal,
	struct output *to_client);

/* --- lost.c: a client whose transaction was lost, until it rolls back --- */

enum lost_outcome {
	LOST_MORE,     /* more of the message is needed */
	LOST_ANSWERED, /* it was */
	LOST_OVER,     /* the transaction has been ended, and the message is for a server */
};

/* Handles the message at the front of the input. */
enum lost_outcome lost_message(struct pg_front *front, struct input *in, const struct pg_header *h,
	struct output *to_client);

/* Ends the client's connection: writes the error, and gives the verdict. */
enum front_verdict front_end(
	struct pg_front *front, enum reason reason, const char *detail, struct output *to_client);

/* --- back.c: from the server to the client --- */
enum back_verdict relay_from_server(struct pg_back *back, struct pg_front *front, struct input *in,
	struct output *to_client, struct output *to_server);

/* The client has been told that what it awaits has failed: what was written down for it about those
 * messages is not so. */
void back_disown(struct pg_back *back, struct pg_front *front);

/* Sends weir's own Query; its answer is swallowed. */
void back_own_query(struct pg_back *back, const char *sql, struct output *to_server);

/* Answers what weir answers itself and what is first in the row now. */
void back_answer_local(struct pg_back *back, struct output *to_client);

/* Recomputes base.at_rest and the like. */
void back_update(struct pg_back *back);

/* --- sync.c: bringing a server connection to a client's settings --- */

/* Appends the SQL that changes `have` into `want`; nothing if nothing differs that can be set. */
void sync_write(
	const struct session_settings *want, const struct session_settings *have, struct buf *b);

/* True if sync_write() would write something. Costs two comparisons if nothing was ever set. */
bool sync_needed(const struct session_settings *want, const struct session_settings *have);

/* After the SQL was carried out: `have` is what was wanted, as far as it is not reported. */
void sync_done(const struct session_settings *want, struct session_settings *have);

/* Whether the server lets a session set that reported parameter. */
bool sync_settable(const char *name);

/* --- effects.c: what statements change in a session --- */

/* A command ended with that tag. */
void effects_command(struct pg_front *front, struct pg_back *back, const char *tag);

/* ReadyForQuery: a transaction may have ended. */
void effects_ready(struct pg_front *front, struct pg_back *back);

/* Ends the pins of that kind, and of that name (NULL: any). */
void pin_end(struct pg_back *back, enum pin_kind kind, const char *name);

/* All pins end. */
void pins_clear(struct pg_back *back);

/* --- last.c: what is shown of a client's statements --- */
struct statement_text last_statement(const struct pg_front *front, const struct pg_back *back);
struct statement_text waiting_statement(const struct pg_front *front, struct input in);

/* --- console.c --- */
enum front_verdict pg_console_from_client(
	struct pg_front *front, struct input *in, struct output *to_client);
void pg_console_start(struct pg_front *front);
void pg_console_answer(
	struct pg_front *front, const struct result *result, struct output *to_client);
void pg_console_free(struct pg_console *console);
