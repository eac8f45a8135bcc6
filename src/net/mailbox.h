/*
 * How threads speak: messages put into another thread's mailbox, delivered by its loop in the order
 * they came. The only thing of a worker that another thread may touch.
 */
#pragma once

#include "net/loop.h"
#include "util/check.h"

struct mailbox;
struct message;

/* Runs on the receiving thread; owns the message from then on. `arg` is the mailbox's. */
typedef void (*message_fn)(struct message *message, void *arg);

/* Embedded first in what is sent. */
struct message {
	struct message *next;
	message_fn deliver;
};

/* Returns 0 with *ret_mailbox (caller: mailbox_free, on the loop's thread), or -errno. */
MUST_USE int mailbox_new(struct loop *loop, void *arg, struct mailbox **ret_mailbox);

/* Delivers what is still inside, then frees. Nobody may post any more. */
void mailbox_free(struct mailbox *mailbox);

/* Any thread. Takes the message; never blocks for long, never fails. */
void mailbox_post(struct mailbox *mailbox, struct message *message);
