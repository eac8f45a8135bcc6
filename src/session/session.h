/*
 * Clients. Each has one session: its login, its state, the relay between its stream and the server
 * connection it holds at the moment, and its timeouts. Knows no protocol but through proto/proto.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/config.h"
#include "net/intake.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "pool/pool.h"
#include "proto/proto.h"
#include "util/check.h"

struct sessions; /* all clients of one worker */
struct session;

/* A client's KILL of another one, on whichever worker that is. */
struct kill_request {
	uint32_t victim;
	bool connection; /* not only its statement */
	bool is_admin;   /* may kill anybody's; others only their own user's */
	uint32_t asker;  /* the session's id */
	const struct protocol *protocol;
	char user[128]; /* the asker's */
};

/* A client's place among those of its account and of its database, if one of them has a limit of
 * clients. It goes to who
 * counts them for all workers, comes back with the decision, and goes once more when the client has
 * left.
 */
struct seat {
	struct message message;  /* first */
	unsigned worker;         /* where it belongs; the worker fills it in */
	struct session *session; /* the sessions' own: whose it is; NULL: it has left meanwhile */
	bool away;               /* theirs too: the decision is on its way */
	bool is_inside;       /* the limit is newer than the client, which is counted in any case */
	bool given;           /* the decision; written by who counts */
	bool user_full;       /* why it was not given: the user's limit, not the database's */
	const char *database; /* behind `user` */
	char user[];
};

/* What a worker gives to its sessions. Borrowed, and alive as long as they are. */
struct sessions_host {
	struct loop *loop;
	struct workspace *space;
	struct pools *pools;
	struct proto_worker *(*proto_worker)(void *arg, const struct protocol *protocol);
	/* A client has asked to cancel the statement of the client with that key, which may be on
	 * any worker: leads to sessions_cancel() on all of them. */
	void (*cancel)(void *arg, const struct cancel_key *key);
	/* A console client sent a command: sooner or later leads to sessions_console_reply().
	 * `access` is what it may do. `command` is borrowed for the call. */
	void (*console)(void *arg, uint32_t session_id, unsigned access, const char *command);
	/* A client has sent KILL: all workers are asked, through sessions_kill_for(), and what came
	 * of it leads to sessions_killed(). `request` is borrowed for the call. */
	void (*kill)(void *arg, const struct kill_request *request);
	/* Asks whether there is a place for a client of that account: sooner or later leads to
	 * sessions_seated(). `seat` is lent until then. */
	void (*ask_seat)(void *arg, struct seat *seat);
	/* A place that was given is free again. Takes `seat`, and frees it. */
	void (*free_seat)(void *arg, struct seat *seat);
	/* A console client does not want to wait for its command any more. */
	void (*console_cancel)(void *arg, uint32_t session_id);
	/* A client is gone. `counted`: it no longer counts against max_clients. */
	void (*closed)(void *arg, bool counted);
	/* A client has turned out to be the console's: it no longer counts. */
	void (*uncounted)(void *arg);
	void *arg;
};

/* What a console client may do. */
enum { ACCESS_STATS = 1, ACCESS_ADMIN = 2 };

MUST_USE int sessions_new(const struct sessions_host *host, const struct config *config,
	struct sessions **ret_sessions);

/* Closes every client at once. */
void sessions_free(struct sessions *sessions);

/* A client has connected: `fd` (non-blocking) is taken over. `id` is unique among living clients of
 * all workers. `too_many`: it is told so, unless it wants the console. */
void sessions_accept(struct sessions *sessions, const struct protocol *protocol, int fd,
	const struct sockaddr_storage *peer, uint32_t id, bool too_many);

/* Another configuration holds from now on; the one before may be freed when this returns. Clients
 * whom it does not let in any more are told and closed at their next idle moment. Call it after
 * pools_reload(). */
void sessions_reload(struct sessions *sessions, const struct config *config);

/* Cancels the statement of the client with that key, if it is one of this worker's. */
void sessions_cancel(struct sessions *sessions, const struct cancel_key *key);

/* Tells the client with that id that it has to go, and closes it. False if it is not here. */
bool sessions_kill(struct sessions *sessions, uint32_t id);

/* Carries out a KILL if its victim is one of this worker's. */
enum kill_outcome sessions_kill_for(struct sessions *sessions, const struct kill_request *request);

/* What came of the KILL of the client with that id, if it is still there. */
void sessions_killed(struct sessions *sessions, uint32_t asker, enum kill_outcome outcome);

/* What was decided about a place: who waits for it goes on, or is refused. */
void sessions_seated(struct sessions *sessions, struct seat *seat);

/* The answer to a console command, if that client is still there. */
void sessions_console_reply(
	struct sessions *sessions, uint32_t session_id, const struct result *result);

/* Stops: idle clients are told and closed, spread over time, others when their transaction has
 * ended; leave.c says when. Who is just logging in is let in. */
void sessions_drain(struct sessions *sessions);

/* True when the only clients left are console clients. The host's closed() and uncounted() say when
 * to ask again. */
bool sessions_drained(const struct sessions *sessions);

/* Tells everybody and closes them now. */
void sessions_close_all(struct sessions *sessions, enum reason reason);

/* What the console shows of a client. Texts are borrowed until the loop goes on. */
struct session_info {
	uint32_t id;
	const char *user, *database;  /* NULL while unknown */
	const char *application_name; /* NULL: unknown */
	const char *state;            /* "active", "idle", "waiting", "login" */
	enum holder_use use;          /* what it does with its server connection, if it has one */
	usec_t use_since;
	usec_t transaction_since;        /* 0: it is in none */
	struct statement_text statement; /* that it runs, has run last there, or waits with */
	char address[ADDRESS_TEXT_SIZE]; /* "127.0.0.1" or "unix" */
	int port;
	char local_address[ADDRESS_TEXT_SIZE];
	int local_port;
	usec_t connected_wall, request_wall; /* when it came; when its last request began */
	usec_t waiting;                      /* for how long it has been waiting; 0: it is not */
	const char *pool_user;               /* of the pool it uses; NULL: none yet */
	bool console;
	size_t n_statements;
	const struct server *server; /* what it holds; NULL: nothing */
};

typedef void (*session_fn)(void *arg, const struct session_info *info);
void sessions_each(struct sessions *sessions, session_fn fn, void *arg);

/* Bytes that one idle client takes in here, without what its protocol keeps. */
size_t session_size(void);

/* How many clients there are, and how many of them have not finished their login. */
size_t sessions_count(const struct sessions *sessions);
size_t sessions_count_logins(const struct sessions *sessions);

/* Whom a client takes turns as, as a number: its user, or its application. `session` is one. */
uint64_t session_flow(const void *session, enum fair_by by);

/* The information about the holder of a lent server connection (server->holder): all of it, or what
 * the pool wants to know. */
void session_describe(const struct session *session, struct session_info *ret_info);
void session_describe_holder(const struct session *session, struct holder *ret_holder);

/* May the client that waits so read what clients of `user` run? Its own, or as an administrator. */
bool session_may_read(const struct waiter *waiter, const char *user);
