/* SHOW STATS and its relatives. Each worker gives sums of what it has counted; averages are made
 * when all of them are there, since an average of averages is none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/internal.h"

#define SUMS_12                                                                                    \
	MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM,    \
		MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM

/* What is gathered: totals, what the last whole period has added, and its length. */
const enum merge stats_merges[STATS_CELLS] = {MERGE_KEY, SUMS_12, SUMS_12, MERGE_MAX};
const enum merge stats_totals_merges[STATS_TOTALS_COLUMNS] = {MERGE_KEY, SUMS_12};
const enum merge stats_averages_merges[STATS_AVERAGES_CELLS] = {MERGE_KEY, SUMS_12, MERGE_MAX};

#define N(name_) COLUMN(name_, NUMERIC)

const struct result_column stats_columns[STATS_COLUMNS] = {COLUMN("database", TEXT),
	N("total_server_assignment_count"), N("total_xact_count"), N("total_query_count"),
	N("total_received"), N("total_sent"), N("total_xact_time"), N("total_query_time"),
	N("total_wait_time"), N("total_client_parse_count"), N("total_server_parse_count"),
	N("total_bind_count"), N("total_client_login_count"), N("avg_server_assignment_count"),
	N("avg_xact_count"), N("avg_query_count"), N("avg_recv"), N("avg_sent"), N("avg_xact_time"),
	N("avg_query_time"), N("avg_wait_time"), N("avg_client_parse_count"),
	N("avg_server_parse_count"), N("avg_bind_count"), N("avg_client_login_count")};

const struct result_column stats_totals_columns[STATS_TOTALS_COLUMNS] = {COLUMN("database", TEXT),
	N("server_assignment_count"), N("xact_count"), N("query_count"), N("bytes_received"),
	N("bytes_sent"), N("xact_time"), N("query_time"), N("wait_time"), N("client_parse_count"),
	N("server_parse_count"), N("bind_count"), N("client_login_count")};

const struct result_column stats_averages_columns[STATS_TOTALS_COLUMNS] = {COLUMN("database", TEXT),
	N("server_assignment_count"), N("xact_count"), N("query_count"), N("bytes_received"),
	N("bytes_sent"), N("xact_time"), N("query_time"), N("wait_time"),
	N("avg_client_parse_count"), N("avg_server_parse_count"), N("avg_bind_count"),
	N("avg_client_login_count")};

const struct result_column totals_columns[TOTALS_COLUMNS] = {COLUMN("name", TEXT), N("value")};

/* The counters, in the order of all these columns. */
enum {
	ASSIGNMENTS,
	TRANSACTIONS,
	QUERIES,
	RECEIVED,
	SENT,
	TRANSACTION_TIME,
	QUERY_TIME,
	WAIT_TIME,
	CLIENT_PARSES,
	SERVER_PARSES,
	BINDS,
	LOGINS,
	N_COUNTERS
};

static void list_counters(const struct pool_counters *c, uint64_t ret[N_COUNTERS])
{
	ret[ASSIGNMENTS] = c->n_assignments;
	ret[TRANSACTIONS] = c->n_transactions;
	ret[QUERIES] = c->n_queries;
	ret[RECEIVED] = c->n_received;
	ret[SENT] = c->n_sent;
	ret[TRANSACTION_TIME] = c->transaction_usec;
	ret[QUERY_TIME] = c->query_usec;
	ret[WAIT_TIME] = c->wait_usec;
	ret[CLIENT_PARSES] = c->n_client_parses;
	ret[SERVER_PARSES] = c->n_server_parses;
	ret[BINDS] = c->n_binds;
	ret[LOGINS] = c->n_logins;
}

static void add_totals(struct result *r, const struct pool_stats *stats)
{
	uint64_t values[N_COUNTERS];

	list_counters(&stats->total, values);
	for (int i = 0; i < N_COUNTERS; i++)
		result_int(r, (long long)values[i]);
}

static void add_period(struct result *r, const struct pool_stats *stats)
{
	uint64_t before[N_COUNTERS], after[N_COUNTERS];

	list_counters(&stats->at_start, before);
	list_counters(&stats->at_end, after);
	for (int i = 0; i < N_COUNTERS; i++)
		result_int(r, (long long)(after[i] - before[i]));
	result_int(r, stats->period_end - stats->period_start);
}

void collect_stats(struct console *console, struct result *r)
{
	struct pool *pool = NULL;

	while ((pool = pools_next(console->pools, pool))) {
		result_text(r, pool_database_name(pool));
		if (r->columns != stats_averages_columns)
			add_totals(r, pool_stats(pool));
		if (r->columns != stats_totals_columns)
			add_period(r, pool_stats(pool));
	}
}

/* The same for all databases together. */
void collect_totals(struct console *console, struct result *r)
{
	static const struct pool_stats none;
	struct pool *pool = NULL;

	result_text(r, "");
	add_totals(r, &none);
	add_period(r, &none);
	while ((pool = pools_next(console->pools, pool))) {
		result_text(r, "");
		add_totals(r, pool_stats(pool));
		add_period(r, pool_stats(pool));
	}
}

/* --- averages --- */

static uint64_t number(const char *text)
{
	return text ? strtoull(text, NULL, 10) : 0;
}

/* Of what is this counter an average? Counts and bytes are per second. */
static int divisor_of(int counter)
{
	return counter == TRANSACTION_TIME ? TRANSACTIONS
	       : counter == QUERY_TIME     ? QUERIES
	       : counter == WAIT_TIME      ? ASSIGNMENTS
					   : -1;
}

static uint64_t average(const uint64_t period[N_COUNTERS], uint64_t usec, int counter)
{
	int divisor = divisor_of(counter);

	if (divisor >= 0)
		return period[divisor] ? period[counter] / period[divisor] : 0;
	return usec ? (uint64_t)((double)period[counter] * USEC_PER_SEC / (double)usec) : 0;
}

/* Reads the counters of a period and its length; false at the end. */
static bool read_period(
	const struct result *r, const char **cursor, uint64_t ret_averages[N_COUNTERS])
{
	uint64_t period[N_COUNTERS];
	const char *text;

	for (int i = 0; i < N_COUNTERS; i++) {
		if (!result_next(r, cursor, &text))
			return false;
		period[i] = number(text);
	}
	if (!result_next(r, cursor, &text))
		return false;
	for (int i = 0; i < N_COUNTERS; i++)
		ret_averages[i] = average(period, number(text), i);
	return true;
}

/* Rows of a name, totals and a period become the same with averages. */
static void finish(struct result *r, int n_totals)
{
	uint64_t averages[N_COUNTERS];
	struct result out;
	const char *cursor = NULL, *text;

	result_init(&out);
	while (result_next(r, &cursor, &text)) {
		result_text(&out, text);
		for (int i = 0; i < n_totals && result_next(r, &cursor, &text); i++)
			result_text(&out, text);
		if (!read_period(r, &cursor, averages))
			break;
		for (int i = 0; i < N_COUNTERS; i++)
			result_int(&out, (long long)averages[i]);
	}
	result_take_cells(r, &out);
}

void finish_stats(struct result *r)
{
	finish(r, N_COUNTERS);
}

void finish_stats_averages(struct result *r)
{
	finish(r, 0);
}

void finish_totals(struct result *r)
{
	static const char *const names[N_COUNTERS] = {"server_assignment_count", "xact_count",
		"query_count", "client_bytes", "server_bytes", "xact_time", "query_time",
		"wait_time", "ps_client_parse_count", "ps_server_parse_count", "ps_bind_count",
		"client_login_count"};
	struct result out;
	const char *cursor = NULL, *text;
	char name[64];
	bool any;

	finish(r, N_COUNTERS);
	result_init(&out);
	any = result_next(r, &cursor, &text);
	for (int i = 0; any && i < 2 * N_COUNTERS && result_next(r, &cursor, &text); i++) {
		snprintf(name, sizeof(name), "%s_%s", i < N_COUNTERS ? "total" : "avg",
			names[i % N_COUNTERS]);
		result_text(&out, name);
		result_text(&out, text);
	}
	result_take_cells(r, &out);
}
