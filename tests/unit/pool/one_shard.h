/* A world of one shard: the words that its tests have in common. */
#pragma once

#include "world.h"

#define SECONDS(n) ((n)*USEC_PER_SEC)

static inline struct pool *pool(void)
{
	return world_pool(0);
}

static inline unsigned n_idle(void)
{
	return pool()->n_servers[SERVER_IDLE];
}

static inline struct peer *peer_of_client(char name)
{
	return world_peer(client(name)->server);
}

/* A world with one shard, and these limits. */
static inline void begin(int pool_size, int max_overflow)
{
	struct config_pool limits = world_limits(pool_size, max_overflow);

	world_begin(1, &limits);
}

static inline void begin_with(struct config_pool limits)
{
	world_begin(1, &limits);
}
