/*
 * The configuration, read once into one immutable struct that every thread may look at. A reload
 * reads a new one beside it; nothing in here ever changes after config_read() returned it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/url.h"
#include "util/bytes.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/map.h"

enum pool_mode { POOL_MODE_TRANSACTION, POOL_MODE_SESSION };

/* Who takes turns when a pool is full. */
enum fair_by { FAIR_BY_USER, FAIR_BY_APPLICATION, FAIR_BY_NONE };

/* A list of words or addresses. */
struct config_list {
	char **items;
	size_t n_items;
};

/* The limits and clocks that [defaults], [database ...] and, in part, [user ...] share. Durations
 * of 0 (or -1 where the manual says so) mean "no limit". Counts of -1 mean "no limit" where
 * allowed. */
struct config_pool {
	enum pool_mode pool_mode;
	int pool_size;
	int max_overflow; /* -1: no limit */
	int min_size;
	int max_waiting; /* 0: no limit */
	enum fair_by fair_by;
	int max_clients; /* -1: no limit */
	usec_t overflow_linger;
	usec_t pool_timeout;
	usec_t pool_recycle; /* -1: no limit */
	usec_t pool_idle_timeout;
	usec_t pre_ping_after;
	bool pool_pre_ping;
	bool pool_use_lifo;
	bool pool_reset_on_return;
	bool explain_errors;
	bool local_infile;
	int prepared_statements; /* greatest number kept on one server connection */
	size_t client_memory;    /* bytes */
	usec_t connect_timeout;
	usec_t query_timeout;
	usec_t cancel_grace;
	usec_t transaction_timeout;
	usec_t idle_in_transaction_timeout;
	usec_t client_idle_timeout;
	usec_t client_write_timeout;
};

struct config_database {
	char *name;
	struct url url;
	struct config_pool pool;
	const char *file; /* where it stands, for messages */
	int line, url_line;
};

/* An account that clients log in with: a [user ...] section, a line of auth_file, an admin, or the
 * user of a URL given on the command line. */
struct config_user {
	struct map_node node; /* in users_by_name */
	char *name;
	char *password; /* plain text or a secret (see auth/secret.h); NULL: none known */
	struct config_list databases; /* empty: all */
	int max_clients;              /* -1: no limit */
	/* Which of `pool`'s clocks and limits this user overrides: bit n is field n of the option
	 * table. */
	uint64_t overrides;
	struct config_pool pool;
	const char *file;
	int line;
};

struct config {
	struct config_list listen_postgresql;
	struct config_list listen_mysql;
	struct config_list listen_http;
	bool reuse_port;
	int workers; /* resolved: at least 1 */
	int max_clients;
	struct config_list admin_users;
	struct config_list stats_users;
	char *auth_file; /* NULL: none */
	enum log_level log_level;
	usec_t client_login_timeout;
	usec_t shutdown_timeout;
	usec_t stats_period;
	struct config_pool defaults;
	struct config_database *databases;
	size_t n_databases;
	struct config_user *users;
	size_t n_users;
	struct map users_by_name;
	char *path;      /* the file, or NULL when URLs were given */
	char *auth_path; /* auth_file, found beside it; NULL: none */
};

/*
 * Reads the file at `path`, and the auth_file it names. Every problem is appended to `ret_problems`
 * as one line "FILE:LINE: text\n". Returns 0 with *ret_config (caller: config_free), 1 if there was
 * a problem (no config), or -errno when memory ran out.
 */
MUST_USE int config_read(const char *path, struct config **ret_config, struct buf *ret_problems);

/* The same for URLs given on the command line: one database each, named after its dbname; clients
 * log in with the URL's own user and password. Problems read "URL: text\n", passwords masked. */
MUST_USE int config_from_urls(
	char *const *urls, size_t n_urls, struct config **ret_config, struct buf *ret_problems);

void config_free(struct config *config);

/* The database or user of that name, or NULL. */
const struct config_database *config_database(const struct config *config, const char *name);
const struct config_user *config_user(const struct config *config, const char *name);

bool config_list_has(const struct config_list *list, const char *item);

/* The limits that hold for `user` (may be NULL) on `database`: the database's, with the user's
 * overrides. */
struct config_pool config_effective(
	const struct config_database *database, const struct config_user *user);

/* The worst-case number of server connections of all databases. Where there is no limit, no more
 * than max_clients can be in use. */
long long config_max_servers(const struct config *config);

/* The worst-case number of server connections per database server, one line each, for --check.
 * Servers of databases whose URL has no user are counted per user who may log in there. */
void config_print_totals(const struct config *config, struct buf *ret_text);

/* What a reload from `old` to `new` changes, one line per fact ("database shop: pool_size 5 ->
 * 10"), and what it cannot ("listen_postgresql: needs a restart"). Secrets are not shown. */
void config_print_diff(const struct config *old, const struct config *new, struct buf *ret_text);

/* --options: every option with section, name, unit, default, range, whether a reload takes it, and
 * help. The manual page's and the sample file's option text come from the same rows. */
void config_print_options(struct buf *ret_text);
void config_print_sample(struct buf *ret_text);
void config_print_manual(struct buf *ret_text);

/* One row of SHOW CONFIG per option of [weir] and [defaults]. */
typedef void (*config_option_fn)(
	void *arg, const char *key, const char *value, const char *fallback, bool changeable);
void config_each_option(const struct config *config, config_option_fn fn, void *arg);
