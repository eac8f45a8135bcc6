/*
 * The console: commands of admin_users and stats_users, PgBouncer's by name and columns. One per
 * worker; what a command needs of other workers travels as messages, and so do the answers.
 */
#pragma once

#include <stdint.h>

#include "config/config.h"
#include "net/mailbox.h"
#include "pool/pool.h"
#include "session/session.h"
#include "util/check.h"

struct console;

struct console_peer {
	struct mailbox *mailbox;
	struct console *console;
};

/* What the daemon offers to every worker's console. Borrowed. */
struct console_host {
	const struct console_peer *peers; /* one per worker, filled before the threads run */
	unsigned n_peers;
	/* As HUP; from any thread. Leads to console_post_reloaded() to the worker of that index. */
	void (*reload)(void *arg, unsigned index, uint32_t session_id);
	void (*shutdown)(void *arg); /* as TERM; from any thread */
	void *arg;
};

/* Returns 0 with *ret_console (console_free), or -ENOMEM. What it is given stays borrowed. */
MUST_USE int console_new(const struct console_host *host, unsigned index, struct loop *loop,
	struct mailbox *mailbox, struct pools *pools, struct sessions *sessions,
	const struct config *config, struct console **ret_console);
void console_free(struct console *console);

/* Another configuration holds from now on. */
void console_reload(struct console *console, const struct config *config);

/* Runs a command of that client, who may do what `access` says (ACCESS_...). The answer goes to
 * sessions_console_reply(), sooner or later. */
void console_run(
	struct console *console, uint32_t session_id, unsigned access, const char *command);

/* That client does not want to wait for its command any more. A PAUSE is undone; others end by
 * themselves, in a moment. */
void console_cancel(struct console *console, uint32_t session_id);

/* Any thread: what came of a reload that this client asked for; `problem` (copied) says why nothing
 * has changed, NULL: it is in force. */
void console_post_reloaded(
	const struct console_peer *peer, uint32_t session_id, const char *problem);
