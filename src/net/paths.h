/*
 * The ways to servers, for the threads that dial: which addresses gave no answer lately, so that
 * not every new connection waits for them once more, and whether anybody still wants to get
 * anywhere. Threads may call all of it at once.
 */
#pragma once

#include <stdbool.h>

#include "util/bytes.h"
#include "util/check.h"
#include "util/clock.h"

struct paths;

/* Returns 0, or -errno. */
MUST_USE int paths_new(struct paths **ret_paths);
void paths_free(struct paths *paths);

/* The program ends: who waits for a server gives up. */
void paths_close(struct paths *paths);

/* Can be read once they are closed, and for ever after; -1 if `paths` is NULL. */
int paths_closed_fd(const struct paths *paths);

/*
 * One search for a server among hosts and their addresses, in two rounds: those that gave no answer
 * lately are left for the second. One of them is tried again in its turn when its time is over, by
 * a single search; if it still does not answer that time doubles.
 */
struct search {
	struct paths *paths; /* NULL: nothing is remembered */
	struct buf tried;
	bool late;    /* in the second round */
	bool put_off; /* something is left for it */
};

void search_init(struct search *search, struct paths *paths);
void search_clear(struct search *search);

/* Is it this numeric address's turn in this round? If so, one of the two below has to follow. */
MUST_USE bool search_turn(struct search *search, const char *address, unsigned port, usec_t now);

/* It did answer, whatever it said; or it did not, and an attempt that `began` then has ended now.
 */
void search_answered(struct search *search, const char *address, unsigned port);
void search_unanswered(struct search *search, const char *address, unsigned port, usec_t began,
	usec_t now, bool timed_out);

/* The first round has found nothing: true if there is to be a second. */
MUST_USE bool search_again(struct search *search);
