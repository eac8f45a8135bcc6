/* What a pool's shard has counted. Times in microseconds. */
#pragma once

#include <stdint.h>

#include "proto/proto.h"
#include "util/clock.h"

struct pool_counters {
	uint64_t n_assignments; /* connections lent */
	uint64_t n_transactions, n_queries;
	uint64_t n_received; /* bytes from clients */
	uint64_t n_sent;     /* bytes from servers */
	uint64_t transaction_usec, query_usec, wait_usec;
	uint64_t n_client_parses, n_server_parses, n_binds;
	uint64_t n_logins;             /* clients */
	uint64_t n_dials;              /* server connections opened */
	uint64_t n_refused;            /* waiters that got an error */
	uint64_t n_reconnects_avoided; /* connections saved although their client left */
};

/* Totals since the start, and as of the beginning and the end of the last whole period, for
 * averages. */
struct pool_stats {
	struct pool_counters total;
	struct pool_counters at_start, at_end;
	usec_t period_start, period_end;
};

void stats_init(struct pool_stats *stats, usec_t now);

/* Moves to the next period when one is over; call it at stats_next_tick(). */
void stats_tick(struct pool_stats *stats, usec_t now, usec_t period);
usec_t stats_next_tick(usec_t now, usec_t period);

/* Takes over what a server connection counted since the last time. */
void stats_take(struct pool_stats *stats, struct back *back);

void stats_add(struct pool_counters *sum, const struct pool_counters *more);
