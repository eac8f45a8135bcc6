/*
 * The struct of the daemon, and what the files of this folder call of each other: daemon.c (start
 * and end), doors.c (accepting), accounts.c (how many clients each may have), probes.c (what
 * clients are greeted with), porter.c (who cannot come in), reload.c, stop.c. All of it is the main
 * thread's, but for what doors.c and porter.c keep: that is the first worker's while it runs.
 */
#pragma once

#include <stdatomic.h>

#include "admin/console.h"
#include "config/config.h"
#include "daemon/worker.h"
#include "dial/dialler.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "util/bytes.h"
#include "util/list.h"
#include "util/log.h"
#include "util/map.h"

#define LISTENERS_MAX 64

/* Threads that open server connections, and that cancel statements. */
#define DIAL_THREADS   8
#define CANCEL_THREADS 16

/* Connections of clients that were turned away, and may still read why. */
#define LINGERING_MAX 64
struct lingering {
	int fd;
	usec_t until;
};

/* One per protocol that the configuration has a listen_... option for. */
#define LISTEN_OPTIONS 2

/* Where clients of one protocol come in. */
struct door {
	struct daemon *daemon;
	const struct protocol *protocol;
	struct listener *listener;
};

enum daemon_phase {
	PHASE_RUNNING,
	PHASE_HANDING_OVER, /* new clients go to another process */
	PHASE_DRAINING,     /* no new clients; those in a transaction get to its end */
	PHASE_CLOSING,      /* all clients are told; server connections are closed */
};

struct daemon {
	enum daemon_phase phase;
	struct loop *loop;
	struct mailbox *mailbox;
	struct config *config;
	struct dialler *dialler;
	struct worker *workers;
	unsigned n_workers;
	struct pools_peer *peers;
	struct boards *boards;
	struct console_peer *console_peers;
	struct signal_watch *watches[3];

	/* doors.c */
	struct door doors[LISTENERS_MAX];
	size_t n_doors;
	bool inherited[LISTEN_OPTIONS];
	struct buf listen_text;  /* for people */
	message_fn doors_closed; /* who asked for that is told */
	/* Who is inside, per worker, and together without the console's, which max_clients does not
	 * keep out. Workers count down by themselves: a message would wake the main thread for each
	 * client that goes, and nobody waits for it. */
	_Atomic unsigned *n_clients, n_all_clients;
	uint32_t last_id;

	/* porter.c */
	/* For clients: max_clients, or what descriptors allow. Changed by the main thread. */
	_Atomic unsigned room;
	struct lingering lingering[LINGERING_MAX]; /* a ring */
	unsigned first_lingering, n_lingering;
	struct timer linger_timer; /* the first worker's */
	struct log_limit porter_log;

	/* accounts.c */
	struct map accounts;
	struct message *held_seats; /* questions that wait for the end of a reload */

	/* probes.c */
	unsigned n_probing;   /* servers that have not answered yet */
	size_t best_greeting; /* which database's greeting is in use */
	bool is_ready;        /* that was said */
	struct timer probe_timer;

	/* reload.c */
	struct config *next_config; /* while a reload is under way; NULL: none is */
	unsigned n_unacknowledged;  /* workers that still use the one before */
	bool reload_again;          /* it was asked for once more meanwhile */
	struct list askers;         /* console clients that wait for the next reload to begin */
	struct list present_askers; /* ... for the present one to end */

	/* stop.c */
	bool is_shut; /* nobody comes in any more */
	struct timer stop_timer;
	unsigned n_undrained, n_unclosed; /* workers */
};

/* --- daemon.c --- */

/* What a worker tells the main thread. */
struct notice {
	struct message message;
	unsigned worker;
	uint32_t session_id;
};

/* Any thread: `deliver` runs on the main thread, with a struct notice that it frees. */
void daemon_tell(struct daemon *daemon, message_fn deliver, unsigned worker, uint32_t session_id);

/* The doors are open: tells people, and systemd. */
void daemon_ready(struct daemon *daemon);

/* Each line of `text` becomes one line of the log. */
void daemon_log_lines(enum log_level level, const char *event, struct buf *text);

/* --- doors.c --- */

/* Opens what systemd has passed and what the configuration names. Returns 0; 1 when an address
 * cannot be had, which is logged; or -errno. */
MUST_USE int doors_open(struct daemon *daemon);

/* Closes them: once; `closed`, as with daemon_tell(), when every client that has come in is on its
 * way to its worker. */
void doors_close(struct daemon *daemon, message_fn closed);

/* The same at the end, when no worker runs. */
void doors_clear(struct daemon *daemon);

/* With reuse_port: new clients go to the weir that was started beside this one, if there is one;
 * those who are already on their way here still come in. */
void doors_hand_over(struct daemon *daemon);

/* Lets in whom the greeting was still missing for. */
void doors_greet(struct daemon *daemon);

/* A worker's client is gone, and counts no longer; on that worker's thread. */
void doors_client_closed(void *daemon, unsigned worker, bool counted);
void doors_client_uncounted(void *daemon);

/* --- porter.c --- */
void porter_init(struct daemon *daemon);
void porter_clear(struct daemon *daemon);

/* How many clients there is room for under `config`: raises the limit of descriptors if it must. */
void porter_count(struct daemon *daemon, const struct config *config);

/* One more client is too many, unless it is the console's; one more cannot be listened to at all.
 */
bool porter_is_full(const struct daemon *daemon);
bool porter_is_crowded(const struct daemon *daemon);

/* Tells a new connection that there is no room, and closes it: in a moment, or now. */
void porter_turn_away(struct daemon *daemon, const struct protocol *protocol, int fd);
void porter_turn_away_now(struct daemon *daemon, const struct protocol *protocol, int fd);

/* --- accounts.c --- */

/* On a worker's thread: a client wants one more place among its account's, or leaves it. `seat` is
 * taken; the answer to the first is worker_post_seat(). */
void accounts_ask_seat(void *daemon, struct seat *seat);
void accounts_free_seat(void *daemon, struct seat *seat);

/* All workers have the new configuration. */
void accounts_reloaded(struct daemon *daemon);

/* At the end: nobody asks any more. */
void accounts_clear(struct daemon *daemon);

/* --- probes.c --- */

/* Asks the servers whose protocol greets before it is told the database; weir is ready when they
 * have answered, or had the time to. Call it when the workers are there, and after each reload. */
void probes_init(struct daemon *daemon);
void probes_start(struct daemon *daemon);

/* --- reload.c --- */

/* Reads the file again, and applies it if it is good. While one is under way: once more then. */
void reload_now(struct daemon *daemon);

/* The same for a console client, who is told what came of it; on its worker's thread. */
void reload_for_console(void *daemon, unsigned worker, uint32_t session_id);

/* At the end: nobody is told any more. */
void reload_clear(struct daemon *daemon);

/* --- stop.c --- */

/* No new clients; stops when the last transaction has ended, or after shutdown_timeout. Asked for
 * again: at once. */
void stop_orderly(struct daemon *daemon);

/* Tells every client, says farewell to every server, and ends the loop. Asked for again: without
 * waiting for them. */
void stop_at_once(struct daemon *daemon);

/* A step of stopping has taken long enough. */
void stop_timer_fired(void *daemon);

/* On a worker's thread: it has no clients left but the console's; it has no connections left. */
void stop_drained(void *daemon);
void stop_closed(void *daemon);
