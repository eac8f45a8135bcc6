/* The rows, and how values are read and written. Knows no files. */
#include "config/options.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"

#define SEC  USEC_PER_SEC
#define DAY  (86400 * USEC_PER_SEC)
#define YEAR (365 * DAY)

#define WEIR(type_, name_, fallback_, min_, max_, reloads_, help_, more_)                          \
	{                                                                                          \
		.section = OPTION_WEIR, .type = OPTION_##type_, .name = #name_,                    \
		.fallback = fallback_, .min = min_, .max = max_,                                   \
		.offset = offsetof(struct config, name_), .reloads = reloads_, .help = help_,      \
		.more = more_                                                                      \
	}
#define POOL(type_, name_, fallback_, min_, max_, per_user_, help_, more_)                         \
	{                                                                                          \
		.section = OPTION_POOL, .type = OPTION_##type_, .name = #name_,                    \
		.fallback = fallback_, .min = min_, .max = max_,                                   \
		.offset = offsetof(struct config_pool, name_), .reloads = true,                    \
		.per_user = per_user_, .help = help_, .more = more_                                \
	}
#define USER(type_, name_, fallback_, min_, max_, help_, more_)                                    \
	{                                                                                          \
		.section = OPTION_USER, .type = OPTION_##type_, .name = #name_,                    \
		.fallback = fallback_, .min = min_, .max = max_,                                   \
		.offset = offsetof(struct config_user, name_), .reloads = true, .help = help_,     \
		.more = more_                                                                      \
	}

const struct option_row options[] = {
	WEIR(LIST, listen_postgresql, "127.0.0.1:6432", 0, 0, false,
		"where PostgreSQL clients connect: host:port, [v6]:port, unix:/path",
		"A list, separated by commas. Sockets that systemd passes take its place."),
	WEIR(LIST, listen_mysql, "127.0.0.1:6433", 0, 0, false,
		"where MySQL and MariaDB clients connect: host:port, [v6]:port, unix:/path",
		"The default is only listened on if there is a MySQL database."),
	WEIR(LIST, listen_http, "", 0, 0, false, "metrics, health and status page; empty: none",
		NULL),
	WEIR(WORKERS, workers, "auto", 1, 256, false,
		"threads; auto: one per core that weir may use", NULL),
	WEIR(BOOL, reuse_port, "false", 0, 0, false,
		"another weir may listen on the same addresses: for a restart without a gap",
		"The newer one takes over: start it, wait for its READY, and stop the older one "
		"with "
		"TERM."),
	WEIR(INT, max_clients, "10000", 1, 1000000, true, "greatest number of clients",
		"One more is told so (SQLSTATE 53300; MySQL: 1040). The console is not counted."),
	WEIR(LIST, admin_users, "", 0, 0, true, "may use every console command", NULL),
	WEIR(LIST, stats_users, "", 0, 0, true, "may use SHOW on the console", NULL),
	WEIR(TEXT, auth_file, "", 0, 0, true,
		"accounts: \"name\" \"secret\" lines, as in PgBouncer's userlist.txt",
		"Relative to the folder of the configuration file."),
	WEIR(LOG_LEVEL, log_level, "info", 0, 0, true, "error, warning, info, debug", NULL),
	WEIR(DURATION, client_login_timeout, "15s", 0, DAY, true,
		"longest time a client may take to log in", NULL),
	WEIR(DURATION, shutdown_timeout, "30s", 0, DAY, true,
		"how long clients in a transaction may go on after TERM", NULL),
	WEIR(DURATION, stats_period, "1min", USEC_PER_SEC, DAY, true,
		"the averages of SHOW STATS are those of the last period of this length", NULL),

	{.section = OPTION_URL,
		.type = OPTION_TEXT,
		.name = "url",
		.fallback = "",
		.reloads = true,
		.help = "the server: scheme://user:password@host:port/dbname?parameters",
		.more = "With a user, every server connection logs in as that user. Without one "
			"there is a pool "
			"per client user, who must have a plain password in the configuration."},
	POOL(POOL_MODE, pool_mode, "transaction", 0, 0, false,
		"transaction: a connection is the client's for a transaction; session: until it "
		"leaves",
		"A reload concerns clients that log in afterwards."),
	POOL(INT, pool_size, "5", 0, 100000, false, "connections kept", NULL),
	POOL(INT, max_overflow, "10", -1, 100000, false,
		"more that may be opened under load; -1: no limit",
		"There are never more than pool_size + max_overflow connections to the server, "
		"those "
		"being opened or closed included, whatever the number of workers."),
	POOL(DURATION, overflow_linger, "5s", 0, YEAR, false,
		"an overflow connection is closed after this long unused", NULL),
	POOL(INT, min_size, "0", 0, 100000, false, "connections opened ahead of need", NULL),
	POOL(INT, max_clients, "-1", -1, 1000000, false,
		"greatest number of clients of the database; -1: no limit",
		"Counted on all workers together, besides the limits of [weir] and [user ...]."),
	POOL(DURATION, pool_timeout, "30s", 0, YEAR, true,
		"longest wait for a connection, then a clear error; 0: no limit", NULL),
	POOL(INT, max_waiting, "0", 0, 1000000, false,
		"most clients that wait for a connection, one more is refused at once; 0: no limit",
		"Counted over all workers. Clients for whom a connection is idle or may still be "
		"opened do not count."),
	POOL(FAIR_BY, fair_by, "user", 0, 0, false,
		"who takes turns when clients wait: user, application, or none (by age alone)",
		"Each user (or application_name) that waits is served in turn, and its own "
		"clients first come, first served, however many it has. Where all are the same "
		"user, that is by age."),
	POOL(DURATION, pool_recycle, "-1", -1, 10 * YEAR, false,
		"oldest age of a connection; -1: no limit", NULL),
	POOL(DURATION, pool_idle_timeout, "10min", 0, YEAR, false,
		"a kept connection unused for this long is closed; 0: never", NULL),
	POOL(BOOL, pool_pre_ping, "true", 0, 0, false,
		"test a connection before handing it out ...", NULL),
	POOL(DURATION, pre_ping_after, "1s", 0, YEAR, false,
		"... when it has been unused for this long; 0: always", NULL),
	POOL(BOOL, pool_use_lifo, "true", 0, 0, false, "false: first in, first out", NULL),
	POOL(BOOL, pool_reset_on_return, "true", 0, 0, false,
		"leave nothing of one client behind for the next", NULL),
	POOL(BOOL, explain_errors, "true", 0, 0, false,
		"the pool_timeout error says who holds the pool", NULL),
	POOL(BOOL, local_infile, "false", 0, 0, false, "MySQL's LOAD DATA LOCAL INFILE is allowed",
		NULL),
	POOL(INT, prepared_statements, "200", 1, 10000, false,
		"greatest number of prepared statements kept on one server connection", NULL),
	POOL(SIZE, client_memory, "16MB", 65536, 1ll << 30, false,
		"what the prepared statements and settings of one client may take",
		"Texts that clients have in common count for each of them. One statement more is "
		"refused (SQLSTATE 53200; MySQL: 1041); a setting more keeps its server "
		"connection with its client, as SHOW PINS tells."),
	POOL(DURATION, connect_timeout, "5s", 100 * USEC_PER_MSEC, DAY, false,
		"longest time to open a server connection, at each of the server's addresses",
		"A server that is down is tried again and again; clients wait for it for up to "
		"pool_timeout."),
	POOL(DURATION, query_timeout, "0", 0, YEAR, true,
		"a statement that takes longer is cancelled on the server; 0: none", NULL),
	POOL(DURATION, cancel_grace, "2s", 10 * USEC_PER_MSEC, DAY, false,
		"a cancelled statement that goes on for this long costs its server connection",
		"The client has its error then, and keeps its own connection."),
	POOL(DURATION, transaction_timeout, "0", 0, YEAR, true,
		"a transaction that takes longer is rolled back; 0: none", NULL),
	POOL(DURATION, idle_in_transaction_timeout, "0", 0, YEAR, true,
		"a transaction whose client says nothing for this long is rolled back; 0: none",
		NULL),
	POOL(DURATION, client_idle_timeout, "0", 0, YEAR, true,
		"a client that says nothing for this long outside a transaction is closed; 0: none",
		NULL),
	POOL(DURATION, client_write_timeout, "1min", 0, YEAR, true,
		"a client that takes nothing of its answer for this long is closed; 0: none",
		"What it ran is cancelled, and its server connection is free."),

	USER(SECRET, password, "", 0, 0,
		"plain text, or a SCRAM-SHA-256$..., md5..., *HEX or $A$... secret", NULL),
	USER(LIST, databases, "", 0, 0, "databases it may use; empty: all", NULL),
	USER(INT, max_clients, "-1", -1, 1000000,
		"greatest number of clients logged in as this user; -1: no limit", NULL),
};

const size_t n_options = ARRAY_LEN(options);

const struct option_row *option_find(enum option_section section, const char *name)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		bool here = row->section == section || (section == OPTION_USER && row->per_user);
		if (here && strcmp(row->name, name) == 0)
			return row;
	}
	return NULL;
}

/* --- durations --- */

static const struct {
	const char *unit;
	usec_t usec;
} units[] = {{"us", 1}, {"ms", USEC_PER_MSEC}, {"s", SEC}, {"min", 60 * SEC}, {"h", 3600 * SEC},
	{"d", DAY}, {"", SEC}};

static bool parse_duration(const char *text, long long *ret_usec)
{
	char *end;

	errno = 0;
	long long number = strtoll(text, &end, 10);
	if (errno || end == text)
		return false;
	if (number == -1 && !*end) {
		*ret_usec = -1;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(end, units[i].unit) == 0 && number >= 0 &&
			number <= LLONG_MAX / units[i].usec) {
			*ret_usec = number * units[i].usec;
			return true;
		}
	}
	return false;
}

static void print_duration(long long usec, struct buf *b)
{
	if (usec <= 0) {
		buf_printf(b, "%lld", usec);
		return;
	}
	for (size_t i = 5;; i--) {
		if (usec % units[i].usec == 0) {
			buf_printf(b, "%lld%s", usec / units[i].usec, units[i].unit);
			return;
		}
	}
}

/* --- sizes --- */

static const struct {
	const char *unit;
	long long bytes;
} size_units[] = {{"GB", 1ll << 30}, {"MB", 1ll << 20}, {"kB", 1ll << 10}, {"", 1}};

static bool parse_size(const char *text, long long *ret_bytes)
{
	char *end;

	errno = 0;
	long long number = strtoll(text, &end, 10);
	if (errno || end == text || number < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(size_units); i++) {
		if (strcmp(end, size_units[i].unit) == 0 &&
			number <= LLONG_MAX / size_units[i].bytes) {
			*ret_bytes = number * size_units[i].bytes;
			return true;
		}
	}
	return false;
}

static void print_size(long long bytes, struct buf *b)
{
	size_t i = 0;

	while (bytes % size_units[i].bytes)
		i++;
	buf_printf(b, "%lld%s", bytes / size_units[i].bytes, size_units[i].unit);
}

/* --- words --- */

static const char *const pool_modes[] = {"transaction", "session", NULL};
static const char *const fair_bys[] = {"user", "application", "none", NULL};
static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};

static bool parse_word(const char *const *words, const char *text, long long *ret_value)
{
	for (long long i = 0; words[i]; i++) {
		if (text_equal_ci(text, words[i])) {
			*ret_value = i;
			return true;
		}
	}
	return false;
}

static bool parse_bool(const char *text, long long *ret_value)
{
	static const char *const words[] = {"false", "true", "off", "on", "no", "yes", NULL};

	if (!parse_word(words, text, ret_value))
		return false;
	*ret_value %= 2;
	return true;
}

static bool parse_int(const char *text, long long *ret_value)
{
	char *end;

	errno = 0;
	*ret_value = strtoll(text, &end, 10);
	return !errno && end != text && !*end;
}

static bool parse_workers(const char *text, long long *ret_value)
{
	cpu_set_t cpus;

	if (!text_equal_ci(text, "auto"))
		return parse_int(text, ret_value);
	CPU_ZERO(&cpus);
	*ret_value = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	return true;
}

void option_clear_list(struct config_list *list)
{
	for (size_t i = 0; i < list->n_items; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_list){0};
}

static int parse_list(const char *text, struct config_list *list)
{
	option_clear_list(list);
	while (*text) {
		size_t blank = strspn(text, " \t,");
		size_t len = strcspn(text + blank, " \t,");
		text += blank;
		if (!len)
			break;
		char **items = realloc(list->items, (list->n_items + 1) * sizeof(*items));
		if (!items)
			return -ENOMEM;
		list->items = items;
		list->items[list->n_items] = strndup(text, len);
		if (!list->items[list->n_items])
			return -ENOMEM;
		list->n_items++;
		text += len;
	}
	return 0;
}

static void print_list(const struct config_list *list, struct buf *b)
{
	for (size_t i = 0; i < list->n_items; i++)
		buf_printf(b, "%s%s", i ? ", " : "", list->items[i]);
}

/* --- one option --- */

static bool read_number(const struct option_row *row, const char *text, long long *ret_value)
{
	switch (row->type) {
	case OPTION_BOOL:
		return parse_bool(text, ret_value);
	case OPTION_INT:
		return parse_int(text, ret_value) && *ret_value >= row->min &&
		       *ret_value <= row->max;
	case OPTION_WORKERS:
		return parse_workers(text, ret_value) && *ret_value >= row->min &&
		       *ret_value <= row->max;
	case OPTION_DURATION:
		return parse_duration(text, ret_value) && *ret_value >= row->min &&
		       *ret_value <= row->max;
	case OPTION_SIZE:
		return parse_size(text, ret_value) && *ret_value >= row->min &&
		       *ret_value <= row->max;
	case OPTION_POOL_MODE:
		return parse_word(pool_modes, text, ret_value);
	case OPTION_FAIR_BY:
		return parse_word(fair_bys, text, ret_value);
	case OPTION_LOG_LEVEL:
		return parse_word(log_levels, text, ret_value);
	case OPTION_LIST:
	case OPTION_TEXT:
	case OPTION_SECRET:
		break;
	}
	return false;
}

static void store_number(const struct option_row *row, long long value, char *field)
{
	switch (row->type) {
	case OPTION_BOOL:
		*(bool *)field = value != 0;
		break;
	case OPTION_DURATION:
		*(usec_t *)(void *)field = value;
		break;
	case OPTION_SIZE:
		*(size_t *)(void *)field = (size_t)value;
		break;
	case OPTION_POOL_MODE:
		*(enum pool_mode *)(void *)field = (enum pool_mode)value;
		break;
	case OPTION_FAIR_BY:
		*(enum fair_by *)(void *)field = (enum fair_by)value;
		break;
	case OPTION_LOG_LEVEL:
		*(enum log_level *)(void *)field = (enum log_level)value;
		break;
	case OPTION_INT:
	case OPTION_WORKERS:
		*(int *)(void *)field = (int)value;
		break;
	case OPTION_LIST:
	case OPTION_TEXT:
	case OPTION_SECRET:
		break;
	}
}

int option_parse(
	const struct option_row *row, const char *text, void *base, struct buf *ret_problem)
{
	char *field = (char *)base + row->offset;
	long long value;

	if (row->type == OPTION_LIST)
		return parse_list(text, (struct config_list *)(void *)field);
	if (row->type == OPTION_TEXT || row->type == OPTION_SECRET) {
		char **slot = (char **)(void *)field;
		free(*slot);
		*slot = *text ? strdup(text) : NULL;
		return *text && !*slot ? -ENOMEM : 0;
	}
	if (!read_number(row, text, &value)) {
		buf_printf(ret_problem, "%s = \"%s\" is not allowed: ", row->name, text);
		option_print_allowed(row, ret_problem);
		return 1;
	}
	store_number(row, value, field);
	return 0;
}

void option_print(const struct option_row *row, const void *base, struct buf *b)
{
	const char *field = (const char *)base + row->offset;

	switch (row->type) {
	case OPTION_BOOL:
		buf_text(b, *(const bool *)field ? "true" : "false");
		break;
	case OPTION_INT:
	case OPTION_WORKERS:
		buf_printf(b, "%d", *(const int *)(const void *)field);
		break;
	case OPTION_DURATION:
		print_duration(*(const usec_t *)(const void *)field, b);
		break;
	case OPTION_SIZE:
		print_size((long long)*(const size_t *)(const void *)field, b);
		break;
	case OPTION_POOL_MODE:
		buf_text(b, pool_modes[*(const enum pool_mode *)(const void *)field]);
		break;
	case OPTION_FAIR_BY:
		buf_text(b, fair_bys[*(const enum fair_by *)(const void *)field]);
		break;
	case OPTION_LOG_LEVEL:
		buf_text(b, log_levels[*(const enum log_level *)(const void *)field]);
		break;
	case OPTION_LIST:
		print_list((const struct config_list *)(const void *)field, b);
		break;
	case OPTION_TEXT: {
		const char *text = *(char *const *)(const void *)field;
		buf_text(b, text ? text : "");
		break;
	}
	case OPTION_SECRET:
		buf_text(b, "***");
		break;
	}
}

void option_print_allowed(const struct option_row *row, struct buf *b)
{
	switch (row->type) {
	case OPTION_BOOL:
		buf_text(b, "true, false, on, off, yes or no");
		break;
	case OPTION_WORKERS:
		buf_printf(b, "auto, or %lld to %lld", row->min, row->max);
		break;
	case OPTION_INT:
		buf_printf(b, "a number from %lld to %lld", row->min, row->max);
		break;
	case OPTION_DURATION:
		buf_text(b, "a duration like 250ms, 30s, 5min, 1h, 1d (a bare number is seconds), "
			    "from ");
		print_duration(row->min, b);
		buf_text(b, " to ");
		print_duration(row->max, b);
		break;
	case OPTION_SIZE:
		buf_text(b, "a size like 64kB, 16MB, 1GB, from ");
		print_size(row->min, b);
		buf_text(b, " to ");
		print_size(row->max, b);
		break;
	case OPTION_POOL_MODE:
		buf_text(b, "transaction or session");
		break;
	case OPTION_FAIR_BY:
		buf_text(b, "user, application or none");
		break;
	case OPTION_LOG_LEVEL:
		buf_text(b, "error, warning, info or debug");
		break;
	case OPTION_LIST:
		buf_text(b, "a list, separated by commas");
		break;
	case OPTION_TEXT:
	case OPTION_SECRET:
		buf_text(b, "a text");
		break;
	}
}

int options_set_defaults(enum option_section section, void *base)
{
	struct buf problem = {0};

	for (size_t i = 0; i < n_options; i++) {
		if (options[i].section != section)
			continue;
		int r = option_parse(&options[i], options[i].fallback, base, &problem);
		CHECK(r <= 0);
		if (r < 0)
			return r;
	}
	return 0;
}

void options_clear(enum option_section section, void *base)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		char *field = (char *)base + row->offset;
		if (row->section != section)
			continue;
		if (row->type == OPTION_LIST) {
			option_clear_list((struct config_list *)(void *)field);
		} else if (row->type == OPTION_TEXT || row->type == OPTION_SECRET) {
			char **slot = (char **)(void *)field;
			if (*slot)
				explicit_bzero(*slot, strlen(*slot));
			free(*slot);
			*slot = NULL;
		}
	}
}
