/* SHOW HOLDERS, PINS and WAITERS: who has the server connections, and who lacks one. */
#include <stdlib.h>
#include <string.h>

#include "admin/internal.h"
#include "util/text.h"

#define WHO                                                                                        \
	COLUMN("database", TEXT), COLUMN("user", TEXT), COLUMN("application_name", TEXT),          \
		COLUMN("addr", TEXT), COLUMN("port", INT4)

const struct result_column holders_columns[HOLDERS_COLUMNS] = {WHO, COLUMN("state", TEXT),
	COLUMN("pin", TEXT), COLUMN("age_us", INT8), COLUMN("transaction_us", INT8),
	COLUMN("state_us", INT8), COLUMN("statement", TEXT), COLUMN("server_pid", INT4),
	COLUMN("client_id", INT4), COLUMN("server_id", INT4)};
const struct result_column pins_columns[PINS_COLUMNS] = {WHO, COLUMN("state", TEXT),
	COLUMN("pin", TEXT), COLUMN("since", TEXT), COLUMN("age_us", INT8),
	COLUMN("statement", TEXT), COLUMN("server_pid", INT4), COLUMN("client_id", INT4),
	COLUMN("server_id", INT4)};
const struct result_column waiters_columns[WAITERS_COLUMNS] = {WHO, COLUMN("wait_us", INT8),
	COLUMN("place", INT4), COLUMN("statement", TEXT), COLUMN("client_id", INT4)};

/* Of WAITERS. */
#define PLACE 6

static void add_client(struct result *r, const char *database, const struct session_info *info)
{
	result_text(r, database);
	result_text(r, info->user);
	result_text(r, info->application_name ? info->application_name : "");
	result_text(r, info->address);
	result_int(r, info->port);
}

static void add_statement(struct result *r, const struct statement_text *statement)
{
	char text[STATEMENT_SHOWN_SIZE];

	text_shorten(text, sizeof(text), statement->text, statement->len, statement->goes_on);
	result_text(r, statement->text ? text : NULL);
}

static void add_ids(struct result *r, const struct server *server, const struct session_info *info)
{
	result_int(r, server->back->process_id);
	result_int(r, info->id);
	result_int(r, (long long)server->id);
}

static void collect_holder(void *arg, struct server *server)
{
	struct result *r = arg;
	struct session_info info;
	usec_t now = clock_usec();

	if (!server->holder)
		return;
	session_describe(server->holder, &info);
	add_client(r, pool_database_name(server->pool), &info);
	result_text(r, holder_use_name(info.use));
	result_text(r, server->back->pin);
	result_int(r, now - server->lent_since);
	if (info.transaction_since)
		result_int(r, now - info.transaction_since);
	else
		result_text(r, NULL);
	result_int(r, now - info.use_since);
	add_statement(r, &info.statement);
	add_ids(r, server, &info);
}

static void collect_pin(void *arg, struct server *server)
{
	const struct back *back = server->back;
	struct result *r = arg;
	struct session_info info;

	if (!server->holder || !back->pin)
		return;
	usec_t age = clock_usec() - back->pin_since;
	session_describe(server->holder, &info);
	add_client(r, pool_database_name(server->pool), &info);
	result_text(r, holder_use_name(info.use));
	result_text(r, back->pin);
	wall_text(r, clock_wall_usec() - age);
	result_int(r, age);
	result_text(r, back->pin_statement[0] ? back->pin_statement : NULL);
	add_ids(r, server, &info);
}

static void each_server(struct console *console, pool_server_fn fn, struct result *r)
{
	struct pool *pool = NULL;

	while ((pool = pools_next(console->pools, pool)))
		pool_each_server(pool, fn, r);
}

void collect_holders(struct console *console, struct result *r)
{
	each_server(console, collect_holder, r);
}

void collect_pins(struct console *console, struct result *r)
{
	each_server(console, collect_pin, r);
}

static void collect_waiter(void *arg, const struct session_info *info)
{
	struct result *r = arg;

	if (!info->waiting)
		return;
	add_client(r, info->database, info);
	result_int(r, info->waiting);
	/* Which queue it is in, for finish_waiters(). */
	result_text(r, info->pool_user);
	add_statement(r, &info->statement);
	result_int(r, info->id);
}

void collect_waiters(struct console *console, struct result *r)
{
	sessions_each(console->sessions, collect_waiter, r);
}

struct queued {
	const char *const *row;
	size_t index; /* of the row among all, which are sorted by their age */
	int place;
};

static int compare_queues(const void *a, const void *b)
{
	const struct queued *x = a, *y = b;
	int order = strcmp(x->row[0], y->row[0]);

	return order ? order : strcmp(x->row[PLACE], y->row[PLACE]);
}

static int compare_queued(const void *a, const void *b)
{
	const struct queued *x = a, *y = b;
	int order = compare_queues(a, b);

	return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static int compare_indexes(const void *a, const void *b)
{
	const struct queued *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static void write_waiters(struct result *r, const struct queued *queued, size_t n_rows)
{
	struct result out;

	result_init(&out);
	for (size_t i = 0; i < n_rows; i++) {
		for (size_t column = 0; column < WAITERS_COLUMNS; column++) {
			if (column == PLACE)
				result_int(&out, queued[i].place);
			else
				result_text(&out, queued[i].row[column]);
		}
	}
	result_take_cells(r, &out);
}

/* The queues of a pool on all workers count as one. */
void finish_waiters(struct result *r)
{
	size_t n_rows = r->n_cells / WAITERS_COLUMNS;
	const char **cells = calloc(r->n_cells + 1, sizeof(*cells));
	struct queued *queued = calloc(n_rows + 1, sizeof(*queued));
	const char *cursor = NULL;

	if (!cells || !queued)
		goto out;
	for (size_t i = 0; result_next(r, &cursor, &cells[i]); i++)
		;
	for (size_t i = 0; i < n_rows; i++)
		queued[i] = (struct queued){.row = &cells[i * WAITERS_COLUMNS], .index = i};
	qsort(queued, n_rows, sizeof(*queued), compare_queued);
	for (size_t i = 0; i < n_rows; i++) {
		bool same = i > 0 && compare_queues(&queued[i - 1], &queued[i]) == 0;
		queued[i].place = same ? queued[i - 1].place + 1 : 1;
	}
	qsort(queued, n_rows, sizeof(*queued), compare_indexes);
	write_waiters(r, queued, n_rows);
out:
	free(cells);
	free(queued);
}
