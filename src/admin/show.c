/* The table of topics: what SHOW shows. Columns are PgBouncer's, in its order; weir's own come
 * last. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/internal.h"
#include "util/text.h"

#define COLUMN(name_, type_)                                                                       \
	{                                                                                          \
		.name = name_, .type = RESULT_##type_                                              \
	}

static void wall_text(struct result *r, usec_t wall)
{
	time_t seconds = (time_t)(wall / USEC_PER_SEC);
	struct tm tm;
	char text[40];

	localtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm);
	result_text(r, text);
}

static const char *mode_name(enum pool_mode mode)
{
	return mode == POOL_MODE_SESSION ? "session" : "transaction";
}

/* --- POOLS --- */

static const struct result_column pools_columns[] = {COLUMN("database", TEXT), COLUMN("user", TEXT),
	COLUMN("cl_active", INT4), COLUMN("cl_waiting", INT4), COLUMN("cl_active_cancel_req", INT4),
	COLUMN("cl_waiting_cancel_req", INT4), COLUMN("sv_active", INT4),
	COLUMN("sv_active_cancel", INT4), COLUMN("sv_being_canceled", INT4),
	COLUMN("sv_idle", INT4), COLUMN("sv_used", INT4), COLUMN("sv_tested", INT4),
	COLUMN("sv_login", INT4), COLUMN("maxwait", INT4), COLUMN("maxwait_us", INT4),
	COLUMN("pool_mode", TEXT), COLUMN("load_balance_hosts", TEXT), COLUMN("sv_closing", INT4)};
static const enum merge pools_merges[] = {MERGE_KEY, MERGE_KEY, MERGE_SUM, MERGE_SUM, MERGE_SUM,
	MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM,
	MERGE_MAX, MERGE_MAX, MERGE_SAME, MERGE_SAME, MERGE_SUM};

static void count_console(void *arg, const struct session_info *info)
{
	unsigned *n = arg;

	*n += info->console;
}

static void collect_pools(struct console *console, struct result *r)
{
	struct pool *pool = NULL;
	struct pool_counts c;
	unsigned n_console = 0;

	while ((pool = pools_next(console->pools, pool))) {
		pool_count(pool, &c);
		result_text(r, pool_database_name(pool));
		result_text(r, pool_user_name(pool));
		result_int(r, c.n_clients - c.n_waiting);
		result_int(r, c.n_waiting);
		result_int(r, 0);
		result_int(r, 0);
		result_int(r, c.n_lent);
		result_int(r, 0);
		result_int(r, c.n_held);
		result_int(r, c.n_idle);
		result_int(r, 0);
		result_int(r, c.n_testing + c.n_cleaning);
		result_int(r, c.n_dialling);
		result_int(r, c.oldest_wait / USEC_PER_SEC);
		result_int(r, c.oldest_wait % USEC_PER_SEC);
		const struct config_database *database = pool_database(pool);
		result_text(
			r, mode_name(database ? database->pool.pool_mode : POOL_MODE_TRANSACTION));
		result_text(r, NULL);
		result_int(r, c.n_closing);
	}
	sessions_each(console->sessions, count_console, &n_console);
	result_text(r, "pgbouncer");
	result_text(r, "pgbouncer");
	result_int(r, n_console);
	for (int i = 0; i < 12; i++)
		result_int(r, 0);
	result_text(r, "statement");
	result_text(r, NULL);
	result_int(r, 0);
}

/* --- CLIENTS and SERVERS --- */

static const struct result_column peers_columns[] = {COLUMN("type", TEXT), COLUMN("user", TEXT),
	COLUMN("database", TEXT), COLUMN("replication", TEXT), COLUMN("state", TEXT),
	COLUMN("addr", TEXT), COLUMN("port", INT4), COLUMN("local_addr", TEXT),
	COLUMN("local_port", INT4), COLUMN("connect_time", TEXT), COLUMN("request_time", TEXT),
	COLUMN("wait", INT4), COLUMN("wait_us", INT4), COLUMN("close_needed", INT4),
	COLUMN("ptr", TEXT), COLUMN("link", TEXT), COLUMN("remote_pid", INT4), COLUMN("tls", TEXT),
	COLUMN("application_name", TEXT), COLUMN("prepared_statements", INT4), COLUMN("id", INT4)};
static const struct result_column servers_columns[] = {COLUMN("type", TEXT), COLUMN("user", TEXT),
	COLUMN("database", TEXT), COLUMN("replication", TEXT), COLUMN("state", TEXT),
	COLUMN("addr", TEXT), COLUMN("port", INT4), COLUMN("local_addr", TEXT),
	COLUMN("local_port", INT4), COLUMN("connect_time", TEXT), COLUMN("request_time", TEXT),
	COLUMN("wait", INT4), COLUMN("wait_us", INT4), COLUMN("close_needed", INT4),
	COLUMN("ptr", TEXT), COLUMN("link", TEXT), COLUMN("remote_pid", INT4), COLUMN("tls", TEXT),
	COLUMN("application_name", TEXT), COLUMN("prepared_statements", INT4), COLUMN("id", INT4),
	COLUMN("overflow", INT4)};

/* Names of connections for people, without addresses of memory. */
static void name_text(struct result *r, char kind, unsigned long long id)
{
	char text[32];

	snprintf(text, sizeof(text), "%c%llu", kind, id);
	result_text(r, text);
}

static void collect_client(void *arg, const struct session_info *info)
{
	struct result *r = arg;

	result_text(r, "C");
	result_text(r, info->user ? info->user : "(nouser)");
	result_text(r, info->database ? info->database : "(nodb)");
	result_text(r, "none");
	result_text(r, info->state);
	result_text(r, info->address);
	result_int(r, info->port);
	result_text(r, info->local_address);
	result_int(r, info->local_port);
	wall_text(r, info->connected_wall);
	wall_text(r, info->request_wall);
	result_int(r, info->waiting / USEC_PER_SEC);
	result_int(r, info->waiting % USEC_PER_SEC);
	result_int(r, 0);
	name_text(r, 'c', info->id);
	if (info->server)
		name_text(r, 's', info->server->id);
	else
		result_text(r, "");
	result_int(r, info->server ? info->server->back->process_id : 0);
	result_text(r, "");
	result_text(r, info->application_name ? info->application_name : "");
	result_int(r, (long long)info->n_statements);
	result_int(r, info->id);
}

static void collect_clients(struct console *console, struct result *r)
{
	sessions_each(console->sessions, collect_client, r);
}

static void collect_server(void *arg, struct server *server)
{
	struct result *r = arg;
	const struct config_database *database = pool_database(server->pool);
	const struct url_host *host = database ? &database->url.hosts[0] : NULL;
	struct session_info holder = {0};

	if (server->holder)
		session_describe(server->holder, &holder);
	result_text(r, "S");
	result_text(r, pool_user_name(server->pool));
	result_text(r, pool_database_name(server->pool));
	result_text(r, "none");
	result_text(r, server_state_name(server->state));
	result_text(r, host ? host->name : "");
	result_int(r, host ? host->port : 0);
	result_text(r, "");
	result_int(r, 0);
	wall_text(r, server->opened_wall);
	wall_text(r, clock_wall_usec() - (clock_usec() - (server->holder ? server->lent_since
									 : server->idle_since)));
	result_int(r, 0);
	result_int(r, 0);
	result_int(r, server->retired);
	name_text(r, 's', server->id);
	if (server->holder)
		name_text(r, 'c', holder.id);
	else
		result_text(r, "");
	result_int(r, server->back->process_id);
	result_text(r, server->stream.tls ? "yes" : "");
	result_text(r, holder.application_name ? holder.application_name : "");
	result_int(r, (long long)server->back->protocol->back_n_statements(server->back));
	result_int(r, (long long)server->id);
	result_int(r, server->overflow);
}

static void collect_servers(struct console *console, struct result *r)
{
	struct pool *pool = NULL;

	while ((pool = pools_next(console->pools, pool)))
		pool_each_server(pool, collect_server, r);
}

/* --- HOLDERS, PINS, WAITERS --- */

static const struct result_column holders_columns[] = {COLUMN("database", TEXT),
	COLUMN("user", TEXT), COLUMN("state", TEXT), COLUMN("age_us", INT8), COLUMN("pin", TEXT),
	COLUMN("client_id", INT4), COLUMN("client_addr", TEXT), COLUMN("application_name", TEXT),
	COLUMN("server_pid", INT4)};
static const struct result_column pins_columns[] = {COLUMN("database", TEXT), COLUMN("user", TEXT),
	COLUMN("state", TEXT), COLUMN("age_us", INT8), COLUMN("pin", TEXT),
	COLUMN("client_id", INT4), COLUMN("client_addr", TEXT), COLUMN("application_name", TEXT),
	COLUMN("server_pid", INT4)};

static void collect_holder(void *arg, struct server *server)
{
	struct result *r = arg;
	struct session_info info;

	if (!server->holder)
		return;
	if (r->columns == pins_columns && !server->back->pin)
		return;
	session_describe(server->holder, &info);
	result_text(r, pool_database_name(server->pool));
	result_text(r, info.user);
	result_text(r, server_use_name(server));
	result_int(r, clock_usec() - server->lent_since);
	result_text(r, server->back->pin);
	result_int(r, info.id);
	result_text(r, info.address);
	result_text(r, info.application_name);
	result_int(r, server->back->process_id);
}

static void collect_holders(struct console *console, struct result *r)
{
	struct pool *pool = NULL;

	while ((pool = pools_next(console->pools, pool)))
		pool_each_server(pool, collect_holder, r);
}

static const struct result_column waiters_columns[] = {COLUMN("database", TEXT),
	COLUMN("user", TEXT), COLUMN("wait_us", INT8), COLUMN("client_id", INT4),
	COLUMN("client_addr", TEXT), COLUMN("application_name", TEXT)};

static void collect_waiter(void *arg, const struct session_info *info)
{
	struct result *r = arg;

	if (!info->waiting)
		return;
	result_text(r, info->database);
	result_text(r, info->user);
	result_int(r, info->waiting);
	result_int(r, info->id);
	result_text(r, info->address);
	result_text(r, info->application_name);
}

static void collect_waiters(struct console *console, struct result *r)
{
	sessions_each(console->sessions, collect_waiter, r);
}

/* --- STATS --- */

#define STATS_MERGES                                                                               \
	MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM,    \
		MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM
#define AVERAGES_MERGES                                                                            \
	MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_MAX, MERGE_MAX, MERGE_MAX,    \
		MERGE_SUM, MERGE_SUM, MERGE_SUM, MERGE_SUM
#define N(name_) COLUMN(name_, NUMERIC)

static const struct result_column stats_columns[] = {COLUMN("database", TEXT),
	N("total_server_assignment_count"), N("total_xact_count"), N("total_query_count"),
	N("total_received"), N("total_sent"), N("total_xact_time"), N("total_query_time"),
	N("total_wait_time"), N("total_client_parse_count"), N("total_server_parse_count"),
	N("total_bind_count"), N("total_client_login_count"), N("avg_server_assignment_count"),
	N("avg_xact_count"), N("avg_query_count"), N("avg_recv"), N("avg_sent"), N("avg_xact_time"),
	N("avg_query_time"), N("avg_wait_time"), N("avg_client_parse_count"),
	N("avg_server_parse_count"), N("avg_bind_count"), N("avg_client_login_count")};
static const enum merge stats_merges[] = {MERGE_KEY, STATS_MERGES, AVERAGES_MERGES};

static const struct result_column totals_columns[] = {COLUMN("database", TEXT),
	N("server_assignment_count"), N("xact_count"), N("query_count"), N("bytes_received"),
	N("bytes_sent"), N("xact_time"), N("query_time"), N("wait_time"), N("client_parse_count"),
	N("server_parse_count"), N("bind_count"), N("client_login_count")};
static const enum merge totals_merges[] = {MERGE_KEY, STATS_MERGES};

static const struct result_column averages_columns[] = {COLUMN("database", TEXT),
	N("server_assignment_count"), N("xact_count"), N("query_count"), N("bytes_received"),
	N("bytes_sent"), N("xact_time"), N("query_time"), N("wait_time"),
	N("avg_client_parse_count"), N("avg_server_parse_count"), N("avg_bind_count"),
	N("avg_client_login_count")};
static const enum merge averages_merges[] = {MERGE_KEY, AVERAGES_MERGES};

static void add_totals(struct result *r, const struct pool_counters *c)
{
	const uint64_t values[] = {c->n_assignments, c->n_transactions, c->n_queries, c->n_received,
		c->n_sent, c->transaction_usec, c->query_usec, c->wait_usec, c->n_client_parses,
		c->n_server_parses, c->n_binds, c->n_logins};

	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		result_int(r, (long long)values[i]);
}

/* Counts and bytes per second, times per item, over the last whole period. */
static void add_averages(struct result *r, const struct pool_stats *stats)
{
	const struct pool_counters *a = &stats->at_start, *b = &stats->at_end;
	usec_t period = stats->period_end - stats->period_start;
	uint64_t seconds = period > USEC_PER_SEC ? (uint64_t)(period / USEC_PER_SEC) : 1;
	uint64_t transactions = b->n_transactions - a->n_transactions;
	uint64_t queries = b->n_queries - a->n_queries;
	uint64_t assignments = b->n_assignments - a->n_assignments;
	const uint64_t values[] = {assignments / seconds, transactions / seconds, queries / seconds,
		(b->n_received - a->n_received) / seconds, (b->n_sent - a->n_sent) / seconds,
		(b->transaction_usec - a->transaction_usec) / (transactions ? transactions : 1),
		(b->query_usec - a->query_usec) / (queries ? queries : 1),
		(b->wait_usec - a->wait_usec) / (assignments ? assignments : 1),
		(b->n_client_parses - a->n_client_parses) / seconds,
		(b->n_server_parses - a->n_server_parses) / seconds,
		(b->n_binds - a->n_binds) / seconds, (b->n_logins - a->n_logins) / seconds};

	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		result_int(r, (long long)values[i]);
}

static void collect_stats(struct console *console, struct result *r)
{
	struct pool *pool = NULL;

	while ((pool = pools_next(console->pools, pool))) {
		result_text(r, pool_database_name(pool));
		if (r->columns != averages_columns)
			add_totals(r, &pool_stats(pool)->total);
		if (r->columns != totals_columns)
			add_averages(r, pool_stats(pool));
	}
}

/* --- DATABASES, USERS --- */

static const struct result_column databases_columns[] = {COLUMN("name", TEXT), COLUMN("host", TEXT),
	COLUMN("port", INT4), COLUMN("database", TEXT), COLUMN("force_user", TEXT),
	COLUMN("pool_size", INT4), COLUMN("min_pool_size", INT4), COLUMN("reserve_pool_size", INT4),
	COLUMN("server_lifetime", INT4), COLUMN("pool_mode", TEXT),
	COLUMN("load_balance_hosts", TEXT), COLUMN("max_connections", INT4),
	COLUMN("current_connections", INT4), COLUMN("max_client_connections", INT4),
	COLUMN("current_client_connections", INT4), COLUMN("paused", INT4),
	COLUMN("disabled", INT4)};
static const enum merge databases_merges[] = {MERGE_KEY, MERGE_SAME, MERGE_SAME, MERGE_SAME,
	MERGE_SAME, MERGE_SAME, MERGE_SAME, MERGE_SAME, MERGE_SAME, MERGE_SAME, MERGE_SAME,
	MERGE_SAME, MERGE_SUM, MERGE_SAME, MERGE_SUM, MERGE_MAX, MERGE_SAME};

static void count_database(struct console *console, const char *name, unsigned *ret_servers,
	unsigned *ret_clients, bool *ret_paused)
{
	struct pool *pool = NULL;
	struct pool_counts c;

	*ret_servers = *ret_clients = 0;
	*ret_paused = false;
	while ((pool = pools_next(console->pools, pool))) {
		if (strcmp(pool_database_name(pool), name) != 0)
			continue;
		pool_count(pool, &c);
		*ret_servers += c.n_idle + c.n_testing + c.n_lent + c.n_cleaning + c.n_held +
				c.n_closing + c.n_dialling;
		*ret_clients += c.n_clients;
		*ret_paused |= pool_is_paused(pool);
	}
}

static void collect_databases(struct console *console, struct result *r)
{
	for (size_t i = 0; i < console->config->n_databases; i++) {
		const struct config_database *d = &console->config->databases[i];
		const struct url_host *host = &d->url.hosts[0];
		unsigned n_servers, n_clients;
		bool paused;
		count_database(console, d->name, &n_servers, &n_clients, &paused);
		result_text(r, d->name);
		result_text(r, host->name[0] == '/' ? NULL : host->name);
		result_int(r, host->port ? host->port : 5432);
		result_text(r, d->url.dbname ? d->url.dbname : d->name);
		result_text(r, d->url.user);
		result_int(r, d->pool.pool_size);
		result_int(r, d->pool.min_size);
		result_int(r, d->pool.max_overflow);
		result_int(r, d->pool.pool_recycle > 0 ? d->pool.pool_recycle / USEC_PER_SEC : 0);
		result_text(r, mode_name(d->pool.pool_mode));
		result_text(r, NULL);
		result_int(
			r, d->pool.max_overflow < 0 ? 0 : d->pool.pool_size + d->pool.max_overflow);
		result_int(r, n_servers);
		result_int(r, 0);
		result_int(r, n_clients);
		result_int(r, paused || console->paused);
		result_int(r, 0);
	}
}

static const struct result_column users_columns[] = {COLUMN("name", TEXT),
	COLUMN("pool_size", TEXT), COLUMN("reserve_pool_size", TEXT), COLUMN("pool_mode", TEXT),
	COLUMN("max_user_connections", INT4), COLUMN("current_connections", INT4),
	COLUMN("max_user_client_connections", INT4), COLUMN("current_client_connections", INT4)};
static const enum merge users_merges[] = {MERGE_KEY, MERGE_SAME, MERGE_SAME, MERGE_SAME, MERGE_SAME,
	MERGE_SUM, MERGE_SAME, MERGE_SUM};

struct user_count {
	const char *name;
	unsigned n_clients, n_servers;
};

static void count_user(void *arg, const struct session_info *info)
{
	struct user_count *count = arg;

	if (!info->user || strcmp(info->user, count->name) != 0)
		return;
	count->n_clients++;
	count->n_servers += info->server != NULL;
}

static void collect_users(struct console *console, struct result *r)
{
	for (size_t i = 0; i < console->config->n_users; i++) {
		const struct config_user *user = &console->config->users[i];
		struct user_count count = {.name = user->name};
		sessions_each(console->sessions, count_user, &count);
		result_text(r, user->name);
		result_text(r, "");
		result_text(r, "");
		result_text(r, NULL);
		result_int(r, 0);
		result_int(r, count.n_servers);
		result_int(r, user->max_clients > 0 ? user->max_clients : 0);
		result_int(r, count.n_clients);
	}
}

/* --- LISTS, MEM --- */

static const struct result_column lists_columns[] = {COLUMN("list", TEXT), COLUMN("items", INT4)};
static const enum merge lists_merges[] = {MERGE_KEY, MERGE_SUM};

static void add_item(struct result *r, const char *name, size_t n)
{
	result_text(r, name);
	result_int(r, (long long)n);
}

static void collect_lists(struct console *console, struct result *r)
{
	bool first = console->index == 0;
	size_t n_pools = 0, n_free = 0, n_used = 0,
	       n_logins = sessions_count_logins(console->sessions);
	struct pool *pool = NULL;
	struct pool_counts c;

	while ((pool = pools_next(console->pools, pool))) {
		pool_count(pool, &c);
		n_pools++;
		n_free += c.n_idle;
		n_used += c.n_lent + c.n_testing + c.n_cleaning + c.n_held;
	}
	add_item(r, "databases", first ? console->config->n_databases : 0);
	add_item(r, "users", first ? console->config->n_users : 0);
	add_item(r, "peers", 0);
	add_item(r, "pools", n_pools);
	add_item(r, "peer_pools", 0);
	add_item(r, "free_clients", 0);
	add_item(r, "used_clients", sessions_count(console->sessions) - n_logins);
	add_item(r, "login_clients", n_logins);
	add_item(r, "free_servers", n_free);
	add_item(r, "used_servers", n_used);
	add_item(r, "dns_names", 0);
	add_item(r, "dns_zones", 0);
	add_item(r, "dns_queries", 0);
	add_item(r, "dns_pending", 0);
}

static const struct result_column mem_columns[] = {COLUMN("name", TEXT), COLUMN("size", INT4),
	COLUMN("used", INT4), COLUMN("free", INT4), COLUMN("memtotal", INT4)};
static const enum merge mem_merges[] = {MERGE_KEY, MERGE_SAME, MERGE_SUM, MERGE_SUM, MERGE_SUM};

static void add_mem(struct result *r, const char *name, size_t size, size_t used)
{
	result_text(r, name);
	result_int(r, (long long)size);
	result_int(r, (long long)used);
	result_int(r, 0);
	result_int(r, (long long)(size * used));
}

static void count_server(void *arg, struct server *server)
{
	(*(size_t *)arg)++;
}

static void collect_mem(struct console *console, struct result *r)
{
	size_t n_servers = 0;
	struct pool *pool = NULL;

	while ((pool = pools_next(console->pools, pool)))
		pool_each_server(pool, count_server, &n_servers);
	add_mem(r, "client_cache", session_size(), sessions_count(console->sessions));
	add_mem(r, "server_cache", sizeof(struct server), n_servers);
	add_mem(r, "workspace", sizeof(struct workspace), 1);
}

/* --- CONFIG, STATE, VERSION, HELP --- */

static const struct result_column config_columns[] = {COLUMN("key", TEXT), COLUMN("value", TEXT),
	COLUMN("default", TEXT), COLUMN("changeable", TEXT)};

static void add_option(
	void *arg, const char *key, const char *value, const char *fallback, bool changeable)
{
	result_text(arg, key);
	result_text(arg, value);
	result_text(arg, fallback);
	result_text(arg, changeable ? "yes" : "no");
}

static void collect_config(struct console *console, struct result *r)
{
	config_each_option(console->config, add_option, r);
}

static const struct result_column state_columns[] = {COLUMN("key", TEXT), COLUMN("value", TEXT)};

static void collect_state(struct console *console, struct result *r)
{
	result_text(r, "active");
	result_text(r, console->paused ? "no" : "yes");
	result_text(r, "paused");
	result_text(r, console->paused ? "yes" : "no");
	result_text(r, "suspended");
	result_text(r, "no");
}

static const struct result_column version_columns[] = {COLUMN("version", TEXT)};

static void collect_version(struct console *console, struct result *r)
{
	result_text(r, "weir " WEIR_VERSION);
}

static void collect_help(struct console *console, struct result *r)
{
	text_copy(r->notice, sizeof(r->notice), "Console usage");
	commands_help(&r->detail);
}

#define TOPIC(name_, columns_, merges_, everywhere_, collect_)                                     \
	{                                                                                          \
		.name = name_, .access = ACCESS_STATS, .columns = columns_, .merges = merges_,     \
		.n_columns = ARRAY_LEN(columns_), .everywhere = everywhere_, .collect = collect_   \
	}

const struct topic topics[] = {
	{.name = "help", .access = ACCESS_STATS, .collect = collect_help},
	TOPIC("pools", pools_columns, pools_merges, true, collect_pools),
	TOPIC("clients", peers_columns, NULL, true, collect_clients),
	TOPIC("servers", servers_columns, NULL, true, collect_servers),
	TOPIC("stats", stats_columns, stats_merges, true, collect_stats),
	TOPIC("stats_totals", totals_columns, totals_merges, true, collect_stats),
	TOPIC("stats_averages", averages_columns, averages_merges, true, collect_stats),
	TOPIC("databases", databases_columns, databases_merges, true, collect_databases),
	TOPIC("users", users_columns, users_merges, true, collect_users),
	TOPIC("lists", lists_columns, lists_merges, true, collect_lists),
	TOPIC("config", config_columns, NULL, false, collect_config),
	TOPIC("state", state_columns, NULL, false, collect_state),
	TOPIC("mem", mem_columns, mem_merges, true, collect_mem),
	TOPIC("version", version_columns, NULL, false, collect_version),
	TOPIC("holders", holders_columns, NULL, true, collect_holders),
	TOPIC("pins", pins_columns, NULL, true, collect_holders),
	TOPIC("waiters", waiters_columns, NULL, true, collect_waiters),
};

const size_t n_topics = ARRAY_LEN(topics);
