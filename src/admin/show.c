/* The table of topics: what SHOW shows. Columns are PgBouncer's, in its order; weir's own come
 * last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/internal.h"
#include "util/text.h"

void wall_text(struct result *r, usec_t wall)
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

/* "maxwait", which "maxwait_us" follows. */
#define POOLS_MAXWAIT 13

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
		result_int(r, 0);
		result_int(r, c.oldest_wait);
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

/* The longest wait of all workers was gathered in microseconds; its whole seconds come first. */
static void finish_pools(struct result *r)
{
	struct result out;
	const char *cursor = NULL, *text;
	long long wait = 0;

	result_init(&out);
	for (size_t i = 0; result_next(r, &cursor, &text); i++) {
		size_t column = i % ARRAY_LEN(pools_columns);
		if (column == POOLS_MAXWAIT)
			continue;
		if (column == POOLS_MAXWAIT + 1) {
			wait = text ? strtoll(text, NULL, 10) : 0;
			result_int(&out, wait / USEC_PER_SEC);
			result_int(&out, wait % USEC_PER_SEC);
		} else {
			result_text(&out, text);
		}
	}
	result_take_cells(r, &out);
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

/* The socket knows best: a URL may name several hosts. */
static void add_address(
	struct result *r, int fd, int (*get)(int, struct sockaddr *restrict, socklen_t *restrict))
{
	struct sockaddr_storage socket_address = {0};
	socklen_t len = sizeof(socket_address);
	char text[ADDRESS_TEXT_SIZE], host[ADDRESS_TEXT_SIZE];
	int port = 0;

	if (get(fd, (struct sockaddr *)&socket_address, &len) < 0) {
		result_text(r, "");
		result_int(r, 0);
		return;
	}
	struct address address = address_of(&socket_address);
	address_print(&address, text);
	address_split(text, host, &port);
	result_text(r, host);
	result_int(r, port);
}

static void collect_server(void *arg, struct server *server)
{
	struct result *r = arg;
	struct session_info holder = {0};

	if (server->holder)
		session_describe(server->holder, &holder);
	result_text(r, "S");
	result_text(r, pool_user_name(server->pool));
	result_text(r, pool_database_name(server->pool));
	result_text(r, "none");
	result_text(r, server_state_name(server->state));
	add_address(r, server->stream.fd, getpeername);
	add_address(r, server->stream.fd, getsockname);
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

static void count_database(
	struct console *console, const char *name, unsigned *ret_servers, unsigned *ret_clients)
{
	struct pool *pool = NULL;
	struct pool_counts c;

	*ret_servers = *ret_clients = 0;
	while ((pool = pools_next(console->pools, pool))) {
		if (strcmp(pool_database_name(pool), name) != 0)
			continue;
		pool_count(pool, &c);
		*ret_servers += c.n_idle + c.n_testing + c.n_lent + c.n_cleaning + c.n_held +
				c.n_closing + c.n_dialling;
		*ret_clients += c.n_clients;
	}
}

static void collect_databases(struct console *console, struct result *r)
{
	for (size_t i = 0; i < console->config->n_databases; i++) {
		const struct config_database *d = &console->config->databases[i];
		const struct url_host *host = &d->url.hosts[0];
		unsigned n_servers, n_clients;
		count_database(console, d->name, &n_servers, &n_clients);
		result_text(r, d->name);
		result_text(r, host->name[0] == '/' ? NULL : host->name);
		result_int(r, url_port(&d->url));
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
		result_int(r, d->pool.max_clients > 0 ? d->pool.max_clients : 0);
		result_int(r, n_clients);
		result_int(r, pools_is_paused(console->pools, d->name));
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

	if (info->console || !info->user || strcmp(info->user, count->name) != 0)
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
		n_pools += c.is_home;
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

static const enum merge config_merges[] = {MERGE_KEY, MERGE_SAME, MERGE_SAME, MERGE_SAME};

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
	/* Merging sorts them, as PgBouncer's are. One worker's are enough. */
	if (console->index == 0)
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

/* What all workers answer is merged by that. */
#define MERGED(merges_) .merges = merges_, .n_cells = ARRAY_LEN(merges_)

/* The rows of all workers stand side by side. */
#define SIDE_BY_SIDE .merges = NULL

#define TOPIC(name_, columns_, everywhere_, collect_, ...)                                         \
	{                                                                                          \
		.name = name_, .access = ACCESS_STATS, .columns = columns_,                        \
		.n_columns = ARRAY_LEN(columns_), .everywhere = everywhere_, .collect = collect_,  \
		__VA_ARGS__                                                                        \
	}

const struct topic topics[] = {
	{.name = "help", .access = ACCESS_STATS, .collect = collect_help},
	TOPIC("pools", pools_columns, true, collect_pools, MERGED(pools_merges),
		.finish = finish_pools),
	TOPIC("clients", peers_columns, true, collect_clients, SIDE_BY_SIDE),
	TOPIC("servers", servers_columns, true, collect_servers, SIDE_BY_SIDE),
	TOPIC("stats", stats_columns, true, collect_stats, MERGED(stats_merges),
		.finish = finish_stats),
	TOPIC("stats_totals", stats_totals_columns, true, collect_stats,
		MERGED(stats_totals_merges)),
	TOPIC("stats_averages", stats_averages_columns, true, collect_stats,
		MERGED(stats_averages_merges), .finish = finish_stats_averages),
	TOPIC("totals", totals_columns, true, collect_totals, MERGED(stats_merges),
		.finish = finish_totals),
	TOPIC("databases", databases_columns, true, collect_databases, MERGED(databases_merges)),
	TOPIC("users", users_columns, true, collect_users, MERGED(users_merges)),
	TOPIC("lists", lists_columns, true, collect_lists, MERGED(lists_merges), .as_listed = true),
	TOPIC("config", config_columns, true, collect_config, MERGED(config_merges)),
	TOPIC("state", state_columns, false, collect_state, SIDE_BY_SIDE),
	TOPIC("mem", mem_columns, true, collect_mem, MERGED(mem_merges), .as_listed = true),
	TOPIC("version", version_columns, false, collect_version, SIDE_BY_SIDE),
	TOPIC("holders", holders_columns, true, collect_holders, SIDE_BY_SIDE,
		.longest_first = "age_us"),
	TOPIC("pins", pins_columns, true, collect_pins, SIDE_BY_SIDE, .longest_first = "age_us"),
	TOPIC("waiters", waiters_columns, true, collect_waiters, SIDE_BY_SIDE,
		.longest_first = "wait_us", .finish = finish_waiters),
};

const size_t n_topics = ARRAY_LEN(topics);
