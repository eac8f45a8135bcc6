/* Addresses that gave no answer: a small table under a lock, which is held for no longer than it
 * takes to look into it. */
#include "net/paths.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/random.h"
#include "util/text.h"

/* More than the hosts and addresses of the URLs of one program; the oldest gives way. */
#define BAD_MAX 64

/* For how long one is left for last: after the first time, and at most. A host that comes first in
 * a URL is meant to be used again when it is back. */
#define DELAY_FIRST (10 * USEC_PER_SEC)
#define DELAY_LAST  (60 * USEC_PER_SEC)

/* The others go on avoiding it while one tries, if that does not take longer. */
#define TRIAL_TIME (30 * USEC_PER_SEC)

/* What fails sooner costs nobody much: a refused connection, for one. */
#define SLOW USEC_PER_SEC

struct bad {
	char name[160]; /* "address port" */
	usec_t delay;   /* for how long it is avoided */
	usec_t noted;   /* when it last gave no answer */
	usec_t until;   /* when it is tried in its turn again */
};

struct paths {
	pthread_mutex_t lock;
	struct bad bad[BAD_MAX]; /* under the lock */
	size_t n_bad;
	int closed_fd;
};

int paths_new(struct paths **ret_paths)
{
	struct paths *paths = calloc(1, sizeof(*paths));

	if (!paths)
		return -ENOMEM;
	paths->closed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (paths->closed_fd < 0) {
		int r = -errno;
		free(paths);
		return r;
	}
	pthread_mutex_init(&paths->lock, NULL);
	*ret_paths = paths;
	return 0;
}

void paths_free(struct paths *paths)
{
	if (!paths)
		return;
	close(paths->closed_fd);
	pthread_mutex_destroy(&paths->lock);
	free(paths);
}

void paths_close(struct paths *paths)
{
	eventfd_write(paths->closed_fd, 1);
}

int paths_closed_fd(const struct paths *paths)
{
	return paths ? paths->closed_fd : -1;
}

/* --- under the lock --- */

static struct bad *find(struct paths *paths, const char *name)
{
	for (size_t i = 0; i < paths->n_bad; i++) {
		if (strcmp(paths->bad[i].name, name) == 0)
			return &paths->bad[i];
	}
	return NULL;
}

static struct bad *add(struct paths *paths, const char *name)
{
	struct bad *bad = &paths->bad[0];

	if (paths->n_bad < BAD_MAX) {
		bad = &paths->bad[paths->n_bad++];
	} else {
		for (size_t i = 1; i < BAD_MAX; i++) {
			if (paths->bad[i].until < bad->until)
				bad = &paths->bad[i];
		}
	}
	*bad = (struct bad){0};
	text_copy(bad->name, sizeof(bad->name), name);
	return bad;
}

static void drop(struct paths *paths, struct bad *bad)
{
	*bad = paths->bad[--paths->n_bad];
}

/* Is it to be avoided? If its time is over, the caller is the one who tries it. */
static bool avoids(struct paths *paths, const char *name, usec_t now)
{
	bool avoided = false;

	pthread_mutex_lock(&paths->lock);
	struct bad *bad = find(paths, name);
	if (bad && now < bad->until)
		avoided = true;
	else if (bad)
		bad->until = now + TRIAL_TIME;
	pthread_mutex_unlock(&paths->lock);
	return avoided;
}

static void note_bad(struct paths *paths, const char *name, usec_t began, usec_t now)
{
	pthread_mutex_lock(&paths->lock);
	struct bad *bad = find(paths, name);
	if (!bad)
		bad = add(paths, name);
	/* Several may have waited for it at once: that is one failure. */
	if (!bad->delay)
		bad->delay = DELAY_FIRST;
	else if (began >= bad->noted && bad->delay < DELAY_LAST)
		bad->delay = 2 * bad->delay < DELAY_LAST ? 2 * bad->delay : DELAY_LAST;
	/* At least three quarters of it: not all of several programs come back at once. */
	bad->noted = now;
	bad->until = now + bad->delay * 3 / 4 + (usec_t)random_below((uint32_t)(bad->delay / 4));
	pthread_mutex_unlock(&paths->lock);
}

static void note_good(struct paths *paths, const char *name)
{
	pthread_mutex_lock(&paths->lock);
	struct bad *bad = find(paths, name);
	if (bad)
		drop(paths, bad);
	pthread_mutex_unlock(&paths->lock);
}

/* --- a search --- */

void search_init(struct search *search, struct paths *paths)
{
	*search = (struct search){.paths = paths};
}

void search_clear(struct search *search)
{
	buf_clear(&search->tried);
}

static bool was_tried(const struct search *search, const char *name)
{
	for (size_t i = 0; i < search->tried.len;) {
		const char *one = (const char *)search->tried.data + i;
		if (strcmp(one, name) == 0)
			return true;
		i += strlen(one) + 1;
	}
	return false;
}

static void name_of(const char *address, unsigned port, char ret_name[160])
{
	snprintf(ret_name, 160, "%.128s %u", address, port);
}

bool search_turn(struct search *search, const char *address, unsigned port, usec_t now)
{
	char name[160];

	if (!search->paths)
		return true;
	name_of(address, port, name);
	if (search->late)
		return !was_tried(search, name);
	if (avoids(search->paths, name, now)) {
		search->put_off = true;
		return false;
	}
	/* Without memory it may be tried twice. */
	buf_cstr(&search->tried, name);
	return true;
}

void search_answered(struct search *search, const char *address, unsigned port)
{
	char name[160];

	if (!search->paths)
		return;
	name_of(address, port, name);
	note_good(search->paths, name);
}

void search_unanswered(struct search *search, const char *address, unsigned port, usec_t began,
	usec_t now, bool timed_out)
{
	char name[160];

	if (!search->paths || (!timed_out && now - began < SLOW))
		return;
	name_of(address, port, name);
	note_bad(search->paths, name, began, now);
}

bool search_again(struct search *search)
{
	if (search->late || !search->put_off)
		return false;
	search->late = true;
	return true;
}
