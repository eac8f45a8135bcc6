/*
 * Threads for what may block: opening server connections and cancelling statements. A job is handed
 * over with its result's mailbox; the worker gets the result as a message and never waits.
 */
#pragma once

#include "net/mailbox.h"
#include "proto/proto.h"
#include "util/check.h"

struct dialler;

/* Starts `n_dial` threads for connections and `n_cancel` for cancels (which must not wait behind a
 * server that does not answer). Returns 0 with *ret_dialler, or -errno. */
MUST_USE int dialler_new(unsigned n_dial, unsigned n_cancel, struct dialler **ret_dialler);

/* Lets running jobs end, which do not wait for a server any more unless they cancel; drops the
 * others (their results say -ECANCELED), joins the threads. */
void dialler_free(struct dialler *dialler);

/* The result of a dial. The receiver frees it with dial_result_free(), after taking `dialled` out
 * by setting its handle to NULL, if it wants it. */
struct dial_result {
	struct message message; /* first */
	void *arg;              /* as given */
	const struct protocol *protocol;
	int error; /* 0: `dialled` is a connection; 1: `refusal` says why not; -errno */
	bool final;
	struct dialled dialled;
	struct refusal refusal;
};

/* Opens a connection to `target` (copied). The result is posted to `mailbox` and delivered by
 * `deliver`, which finds itself a struct dial_result. Returns 0, or -ENOMEM. */
MUST_USE int dialler_dial(struct dialler *dialler, const struct protocol *protocol,
	const struct dial_target *target, struct mailbox *mailbox, message_fn deliver, void *arg);

void dial_result_free(struct dial_result *result);

/* Asks the server of `target` (copied) what clients are greeted with: protocol->probe(), which must
 * not be NULL. The result is delivered likewise, and freed with probe_result_free(). Returns 0, or
 * -ENOMEM. */
struct probe_result {
	struct message message; /* first */
	void *arg;
	int error; /* 0: see `greeting`; 1: `refusal` says why not; -errno */
	struct buf greeting;
	struct refusal refusal;
};

MUST_USE int dialler_probe(struct dialler *dialler, const struct protocol *protocol,
	const struct dial_target *target, struct mailbox *mailbox, message_fn deliver, void *arg);

void probe_result_free(struct probe_result *result);

/* Cancels through `cancel` (from protocol->cancel_new(); taken over). When the server has carried
 * it out, or the time for that is over, the message comes: a struct cancel_result, freed with
 * free(). Returns 0, or -ENOMEM with `cancel` freed. */
struct cancel_result {
	struct message message; /* first */
	void *arg;
	bool stray; /* it may still come */
};

MUST_USE int dialler_cancel(struct dialler *dialler, const struct protocol *protocol, void *cancel,
	struct mailbox *mailbox, message_fn deliver, void *arg);

/* Cancels for `arg` that have not begun have lost their point: they end now, as those that are
 * over. */
void dialler_forget_cancels(struct dialler *dialler, const void *arg);
