/*
 * How long a client may do what: the same few numbers for most clients, so that those who have the
 * same share them. They outlive the configuration they come from: who is no longer in it keeps its
 * own until it leaves.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/internal.h"

struct shared_clocks {
	struct clocks clocks; /* first */
	struct list link;     /* in sessions->clocks */
	unsigned refs;
};

static struct clocks clocks_of(const struct config_pool *limits)
{
	return (struct clocks){.pool_timeout = limits->pool_timeout,
		.query_timeout = limits->query_timeout,
		.cancel_grace = limits->cancel_grace,
		.transaction_timeout = limits->transaction_timeout,
		.idle_in_transaction_timeout = limits->idle_in_transaction_timeout,
		.client_idle_timeout = limits->client_idle_timeout,
		.client_write_timeout = limits->client_write_timeout};
}

/* Those that are like `wanted`, or NULL. */
static struct shared_clocks *find(struct sessions *sessions, const struct clocks *wanted)
{
	struct list *link;

	list_for_each (link, &sessions->clocks) {
		struct shared_clocks *shared = list_entry(link, struct shared_clocks, link);
		if (memcmp(&shared->clocks, wanted, sizeof(*wanted)) == 0)
			return shared;
	}
	return NULL;
}

int clocks_take(struct session *s, const struct config_pool *limits)
{
	struct clocks wanted = clocks_of(limits);
	struct shared_clocks *shared = find(s->owner, &wanted);

	if (!shared) {
		shared = calloc(1, sizeof(*shared));
		if (!shared)
			return -ENOMEM;
		shared->clocks = wanted;
		list_append(&s->owner->clocks, &shared->link);
	}
	shared->refs++;
	clocks_leave(s);
	s->clocks = &shared->clocks;
	return 0;
}

void clocks_leave(struct session *s)
{
	if (!s->clocks)
		return;
	struct shared_clocks *shared = container_of(s->clocks, struct shared_clocks, clocks);
	s->clocks = NULL;
	if (--shared->refs == 0) {
		list_remove(&shared->link);
		free(shared);
	}
}
