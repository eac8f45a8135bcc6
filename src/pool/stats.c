/* Counting. Used by pool/ and session/, read by the console. */
#include "pool/stats.h"

void stats_init(struct pool_stats *stats, usec_t now)
{
	*stats = (struct pool_stats){.period_start = now, .period_end = now};
}

/* All shards end their periods at the same moments, so that what they counted in them may be added
 * up. */
usec_t stats_next_tick(usec_t now, usec_t period)
{
	return (now / period + 1) * period;
}

void stats_tick(struct pool_stats *stats, usec_t now, usec_t period)
{
	if (now < stats_next_tick(stats->period_end, period))
		return;
	stats->at_start = stats->at_end;
	stats->period_start = stats->period_end;
	stats->at_end = stats->total;
	stats->period_end = now;
}

void stats_take(struct pool_stats *stats, struct back *back)
{
	struct pool_counters *total = &stats->total;

	total->n_queries += back->n_queries;
	total->n_transactions += back->n_transactions;
	total->n_client_parses += back->n_client_parses;
	total->n_server_parses += back->n_server_parses;
	total->n_binds += back->n_binds;
	back->n_queries = back->n_transactions = 0;
	back->n_client_parses = back->n_server_parses = back->n_binds = 0;
}

void stats_add(struct pool_counters *sum, const struct pool_counters *more)
{
	sum->n_assignments += more->n_assignments;
	sum->n_transactions += more->n_transactions;
	sum->n_queries += more->n_queries;
	sum->n_received += more->n_received;
	sum->n_sent += more->n_sent;
	sum->transaction_usec += more->transaction_usec;
	sum->query_usec += more->query_usec;
	sum->wait_usec += more->wait_usec;
	sum->n_client_parses += more->n_client_parses;
	sum->n_server_parses += more->n_server_parses;
	sum->n_binds += more->n_binds;
	sum->n_logins += more->n_logins;
	sum->n_dials += more->n_dials;
	sum->n_refused += more->n_refused;
	sum->n_reconnects_avoided += more->n_reconnects_avoided;
}
