/*
 * The one interface between weir and a database's wire protocol. To add a protocol, start here:
 * fill a struct protocol in a folder of its own, and add it to the table in proto.c.
 *
 * Everything in here is a machine of bytes in and bytes out. A protocol never touches a socket (its
 * dialler half excepted, which runs on a thread that may block), never waits, and never decides
 * about the pool: it reads what a peer sent, says what is to be sent to whom, and returns a verdict
 * for the session or the pool to act on. What a peer sends can only produce verdicts.
 *
 * A `struct front` is the protocol's half of one client, a `struct back` that of one server
 * connection. They meet while a session holds a server connection. Both belong to one worker, and
 * so does the struct proto_worker they share.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "config/config.h"
#include "net/intake.h"
#include "net/output.h"
#include "proto/reason.h"
#include "proto/result.h"
#include "util/check.h"
#include "util/clock.h"

struct paths;

struct protocol;
struct proto_worker;
struct proto_pool;

/* What the session has to do next about a client. */
enum front_verdict {
	FRONT_MORE,          /* all is consumed but, perhaps, the start of a message: read on */
	FRONT_FLUSH,         /* an output is full: send, then call again */
	FRONT_IDENTIFY,      /* user and database are known: call identify(), then again */
	FRONT_AUTHENTICATED, /* the proof was right: call accept() or console(), then again */
	FRONT_SERVER,        /* a server connection is needed to go on */
	FRONT_WAIT,          /* an answer that is on its way is needed to go on */
	FRONT_CONSOLE,       /* front->command is complete: call console_reply() with its result */
	FRONT_CANCEL,        /* front->key says whose statement is to be cancelled: then close */
	FRONT_LEAVE, /* front->leaving, and the client tests its connection: dismiss it instead */
	FRONT_KILL,  /* front->victim says which client: set front->kill_outcome, call again */
	FRONT_CLOSE, /* send what there is, then close for front->reason */
};

/* What became of a FRONT_KILL. */
enum kill_outcome {
	KILL_NOT_ASKED,
	KILL_UNKNOWN, /* no client has that id */
	KILL_DENIED,  /* it is another user's */
	KILL_DONE,
};

/* What the holder of a server connection has to do next. */
enum back_verdict {
	BACK_MORE,   /* all is consumed but, perhaps, the start of a message */
	BACK_FLUSH,  /* the output is full: send, then call again */
	BACK_BROKEN, /* the server said farewell or does not keep its protocol: back->last_words */
};

/* What became of a cancel. */
enum cancel_outcome {
	CANCEL_OVER,  /* carried out, or it never will be */
	CANCEL_STRAY, /* it was sent, and nobody knows when it arrives */
};

/* Names one running client, for cancel requests and KILL_CLIENT. */
#define CANCEL_SECRET_MAX 32
struct cancel_key {
	uint32_t id;
	uint8_t secret_len;
	uint8_t secret[CANCEL_SECRET_MAX];
};

/* The part of a client that every protocol has. Embedded first in the protocol's own. */
struct front {
	const struct protocol *protocol;
	char *user;            /* once known: front_set_names() */
	const char *database;  /* the name the client asked for */
	const char *command;   /* for FRONT_CONSOLE */
	struct cancel_key key; /* what reaches this client; written before it is welcomed. For
				  FRONT_CANCEL, whose client is never welcomed: whom it means */
	uint32_t victim;       /* for FRONT_KILL: whom the client means */
	enum kill_outcome kill_outcome;
	enum reason reason;   /* why, for FRONT_CLOSE */
	unsigned flavour;     /* what its server connection must have been opened with: see
				 dial_target */
	struct refusal *lost; /* how its transaction was lost, until that is told; owned */
	bool welcomed;        /* the login is over */
	bool mid_message;     /* towards the server: a message was forwarded in part */
	bool in_request;      /* the client awaits an answer to something */
	bool leaving;         /* it is to go soon: set by the session */
	bool pool_in_trouble; /* whether servers can be reached is not known: set by the session */
	bool failed_transaction; /* its transaction was lost: no statement runs until it rolls back
				  */
	bool kills_connection;   /* for FRONT_KILL: not only the statement */
	uint8_t instead; /* an enum reason: why weir has its statement cancelled; 0: the client's
			    own wish */
};

/* What a client has run last on a server connection, for those who ask who holds it. It is written
 * with every statement, so it is the first bytes as they came, or only which prepared statement it
 * was; made readable when somebody asks (front_statement()). */
#define STATEMENT_NOTE_SIZE 240
struct statement_note {
	uint32_t prepared; /* a prepared statement's id, in the protocol's own terms; 0: `text` */
	uint32_t len;      /* of the whole statement, of which `text` has the beginning */
	char text[STATEMENT_NOTE_SIZE];
};

/* SQL as its client sent it, borrowed: any bytes. */
struct statement_text {
	const char *text; /* NULL: not known */
	size_t len;
	bool goes_on; /* that is only its beginning */
};

/* The part of a server connection that every protocol has. Embedded first in the protocol's own. */
struct back {
	const struct protocol *protocol;
	uint32_t process_id; /* the server's own id for the connection */
	bool answered; /* a request was answered, and others are under way; the session takes it
			  back */
	bool at_rest;  /* nothing is on its way in either direction */
	bool in_transaction; /* as of the last answer */
	bool failed;         /* ... and that transaction can only be rolled back */
	bool mid_message;    /* towards the client: a message was forwarded in part */
	const char *pin; /* why it must stay with its client although at rest; NULL: it need not */
	usec_t pin_since;
	const char *pin_statement; /* what has caused it, shortened; "": not known */
	bool dirty;                /* needs a reset before another client may have it */
	/* Its server has refused a write because it takes none; the holder takes it back. */
	bool demoted;
	bool has_last_words;
	struct refusal last_words; /* the server's own farewell, if it said one */
	/* What was seen since the numbers were last taken (see pool/stats.h). */
	uint64_t n_queries, n_transactions, n_client_parses, n_server_parses, n_binds;
	struct statement_note last_statement; /* its holder's; the session empties it */
};

static inline void note_statement(struct statement_note *note, const char *text, size_t len)
{
	note->prepared = 0;
	note->len = (uint32_t)len;
	memcpy(note->text, text, len < sizeof(note->text) ? len : sizeof(note->text));
}

static inline void note_nothing(struct statement_note *note)
{
	note->prepared = note->len = 0;
}

/* The text of a note that is not of a prepared statement. */
static inline struct statement_text note_text(const struct statement_note *note)
{
	bool goes_on = note->len > sizeof(note->text);

	return (struct statement_text){.text = note->len ? note->text : NULL,
		.len = goes_on ? sizeof(note->text) : note->len,
		.goes_on = goes_on};
}

/* Statements are shown in one line, shortened to fewer bytes than this. */
#define STATEMENT_SHOWN_SIZE 200

/* The client has said who it is, and which database it wants; Keeps copies of both in one
 * piece, in place of those before; the protocol frees `front->user` in the end. False: no memory.
 */
MUST_USE bool front_set_names(struct front *front, const char *user, const char *database);

/* A freshly opened server connection on its way from a dialler thread to a worker. */
struct dialled {
	int fd;       /* non-blocking */
	void *tls;    /* SSL *, or NULL */
	void *handle; /* the protocol's: greeting, cancel data; freed by it */
};

/* Where to dial, and as whom. Borrowed for the time of the call. */
struct dial_target {
	const struct url *url;
	const char *user, *password; /* instead of the URL's when it names no user; else NULL */
	usec_t connect_timeout;
	/* What a connection is opened with and cannot change later, in the protocol's own bits:
	 * clients only get connections of their own flavour. */
	unsigned flavour;
	/* Of several hosts and addresses, those that take writes are tried before the others, if
	 * the URL does not say which it wants. */
	bool prefers_writable;
	struct paths *paths; /* what threads remember of the ways to servers; NULL: nothing */
};

/* The refusal of a target whose password is a hash: weir cannot log in with that. */
#define DIAL_NO_PASSWORD                                                                           \
	"user \"%.60s\" has no plain password in the configuration, which a URL without a user "   \
	"needs"

struct protocol {
	const char *name;                 /* "postgresql": as in struct url and listen_* */
	const char *const *console_names; /* database names that are the console; NULL-terminated */

	/* Once, before there are threads; may be NULL. */
	void (*init)(void);

	/* A worker's tables (statements, settings), shared by its fronts and backs. NULL: no
	 * memory. */
	struct proto_worker *(*worker_new)(void);
	void (*worker_free)(struct proto_worker *worker);

	/* What probe() has found (borrowed for the call); NULL if there is no probe(). On the
	 * worker's thread, or before it runs. */
	void (*worker_learn)(struct proto_worker *worker, const struct buf *greeting);

	/* What is known of one pool's servers on this worker: the greeting. NULL: no memory. */
	struct proto_pool *(*pool_new)(struct proto_worker *worker);
	void (*pool_free)(struct proto_pool *pool);

	/* Takes what was learnt of the pool's servers since the last call (caller: buf_clear), for
	 * pool_told() of the same pool on other workers, so that a login there need not ask a
	 * server. False: nothing, or no memory for it. */
	MUST_USE bool (*pool_news)(struct proto_pool *pool, struct buf *ret_news);
	void (*pool_told)(struct proto_pool *pool, const struct buf *news);

	/* Checks what only the protocol knows about a URL (parameters). True if good; otherwise
	 * says in `ret_problem` what is wrong and what is allowed. */
	bool (*url_check)(const struct url *url, struct buf *ret_problem);

	/* --- the client's half --- */

	/* `id` becomes front->key.id: unique among the living clients. NULL: no memory. */
	struct front *(*front_new)(struct proto_worker *worker, uint32_t id);
	void (*front_free)(struct front *front);

	/* A greeting that the protocol sends before the client says anything; may write nothing. */
	void (*front_greet)(struct front *front, struct output *to_client);

	/* What a client is told in place of a greeting, unheard: there is no room for it. */
	void (*turn_away)(const struct refusal *refusal, struct output *to_client);

	/* After FRONT_IDENTIFY. `secret` is the account's (plain or hashed), or NULL if there is
	 * none: the login then goes on to its refusal, so that nobody learns which names exist. */
	void (*front_identify)(struct front *front, const char *secret);

	/* After FRONT_AUTHENTICATED: the client is let in, to this pool. */
	void (*front_accept)(
		struct front *front, struct proto_pool *pool, const struct config_pool *limits);

	/* After FRONT_AUTHENTICATED: the client is let in, to the console. */
	void (*front_console)(struct front *front);

	/* Consumes what it can of `in`, and says what to do next. `back`: the server connection
	 * that the session holds, or NULL. Call it again with no new input after every other
	 * verdict was acted on. */
	enum front_verdict (*from_client)(struct front *front, struct back *back, struct input *in,
		struct output *to_client, struct output *to_server);

	void (*console_reply)(
		struct front *front, const struct result *result, struct output *to_client);

	/* Tells the client an error. `fatal`: the connection will be closed. Otherwise the request
	 * that waits for a server connection has failed with it: from_client() then skips what
	 * belongs to it. */
	void (*front_refuse)(struct front *front, const struct refusal *refusal, bool fatal,
		struct output *to_client);

	/* The server connection is gone, or is being taken away: answers that are outstanding will
	 * not come, and the client is told `refusal` in their place. If nothing is outstanding
	 * nothing is told. The caller sets front->failed_transaction before, if a transaction was
	 * lost with it. */
	void (*front_server_lost)(struct front *front, struct back *back,
		const struct refusal *refusal, struct output *to_client);

	/* The session's settings by name ("application_name"), for SHOW CLIENTS, or NULL. */
	const char *(*front_setting)(const struct front *front, const char *name);
	size_t (*front_n_statements)(const struct front *front);

	/* What the client has run last on `back`, which it holds; or, where that is NULL, what its
	 * unused input `waiting` begins with. Borrowed until either goes on. */
	struct statement_text (*front_statement)(
		const struct front *front, const struct back *back, struct input waiting);

	/* --- the server's half --- */

	/* Takes over `dialled` (its handle, and the SSL; the socket is the caller's). NULL: no
	 * memory. */
	struct back *(*back_new)(struct proto_pool *pool, struct dialled *dialled);
	void (*back_free)(struct back *back);
	size_t (*back_n_statements)(const struct back *back);

	/* Consumes what it can of `in`. `front`: whose answers these are; NULL while nobody holds
	 * the connection, and then nothing is written to `to_client` (which is NULL too).
	 * `to_server`: what the protocol itself has to ask next; its answers are swallowed. */
	enum back_verdict (*from_server)(struct back *back, struct front *front, struct input *in,
		struct output *to_client, struct output *to_server);

	/* Asks for a sign of life; back->at_rest again when it has come. */
	void (*back_ping)(struct back *back, struct output *to_server);

	/* The client is gone in the middle: its outstanding answers will be swallowed. Writes what
	 * ends an unfinished request. Returns false if the connection cannot be saved (a message
	 * half sent). */
	MUST_USE bool (*back_abandon)(struct back *back, struct output *to_server);

	/* At rest: writes what leaves nothing of the last client behind (a rollback, a reset, as
	 * far as needed; all of it if `thorough`). Returns true if something was written, whose
	 * answers are swallowed; false if there is nothing to clean. */
	MUST_USE bool (*back_clean)(struct back *back, bool thorough, struct output *to_server);

	/* At rest: what another worker needs to go on with this connection is put into
	 * `ret_dialled` (not the socket); `back` is then only good for back_free(). False: it
	 * cannot be moved. */
	MUST_USE bool (*back_pack)(struct back *back, struct dialled *ret_dialled);

	void (*back_farewell)(struct back *back, struct output *to_server);

	/* Not at rest: whether nothing is outstanding but what the server works on now, so that a
	 * cancel that comes late meets nothing. NULL: clients of this protocol have to wait for
	 * each answer, so it always is. */
	bool (*back_runs_last)(const struct back *back);

	/* The reference that cancel() needs; keeps its own copy of what it needs, so that the
	 * connection may be gone by the time it runs. NULL: this connection cannot be cancelled.
	 * Freed by cancel_free(). */
	void *(*cancel_new)(const struct back *back);
	void (*cancel_free)(void *cancel);

	/* --- on dialler threads: these may block --- */

	/* Opens and logs in one connection. 0 with *ret_dialled, or 1 with the server's or
	 * library's own words in *ret_refusal (REASON_SERVER_UNREACHABLE; *ret_final is true if
	 * trying again cannot help soon: a refused login, an unknown database), or -errno. */
	MUST_USE int (*dial)(const struct dial_target *target, struct dialled *ret_dialled,
		struct refusal *ret_refusal, bool *ret_final);

	/* Learns what clients have to be told before it is known which database they want, and puts
	 * it into `ret_greeting`, for worker_learn(). NULL: there is nothing of the kind. 0; 1 with
	 * the reason in *ret_refusal; or -errno. */
	MUST_USE int (*probe)(const struct dial_target *target, struct buf *ret_greeting,
		struct refusal *ret_refusal);

	/* Frees a connection that nobody took. */
	void (*dialled_free)(struct dialled *dialled);

	/* Cancels what the connection runs now; returns when the server has carried it out or
	 * refused, or has not answered for connect_timeout. */
	enum cancel_outcome (*cancel)(void *cancel);
};

/* The protocol of that name, or NULL. */
const struct protocol *protocol_find(const char *name);

/* Calls every protocol's init(). */
void protocol_init_all(void);

/* All of them; NULL-terminated. */
const struct protocol *const *protocol_all(void);
