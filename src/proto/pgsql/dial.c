/* libpq's room: see dial.h. Straight-line code for threads that may block. */
#include "proto/pgsql/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/text.h"

#define PARAMS_MAX 64

/* What a server reports at login, in PostgreSQL's spelling. libpq only tells them by name. */
static const char *const reported[] = {"application_name", "client_encoding", "DateStyle",
	"default_transaction_read_only", "in_hot_standby", "integer_datetimes", "IntervalStyle",
	"is_superuser", "scram_iterations", "search_path", "server_encoding", "server_version",
	"session_authorization", "standard_conforming_strings", "TimeZone"};

/* What applications' URLs hold for their drivers, and means nothing to a server connection. */
static const char *const drivers_own[] = {"async_fallback", "command_timeout",
	"prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size",
	"max_cached_statement_lifetime", "max_cacheable_statement_size", "server_settings"};

/* What weir says itself. */
static const char *const weirs_own[] = {"host", "hostaddr", "port", "dbname", "user", "password",
	"connect_timeout", "replication", "service", "fallback_application_name"};

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(name, list[i]) == 0)
			return true;
	}
	return false;
}

void pgsql_forget_environment(void)
{
	PQconninfoOption *options = PQconndefaults();

	for (PQconninfoOption *o = options; o && o->keyword; o++) {
		if (o->envvar && strcmp(o->keyword, "passfile") != 0)
			unsetenv(o->envvar);
	}
	unsetenv("PGSERVICEFILE");
	unsetenv("PGSYSCONFDIR");
	PQconninfoFree(options);
}

/* The name libpq knows a parameter of the URL under; NULL: it is not one of libpq's. */
static const char *libpq_keyword(const PQconninfoOption *options, const char *key)
{
	/* asyncpg's spelling. */
	if (strcmp(key, "ssl") == 0)
		return "sslmode";
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		if (strcmp(o->keyword, key) == 0)
			return o->keyword;
	}
	return NULL;
}

bool pgsql_url_check(const struct url *url, struct buf *ret_problem)
{
	PQconninfoOption *options = PQconndefaults();
	bool good = options != NULL;

	for (size_t i = 0; good && i < url->n_params; i++) {
		const char *key = url->params[i].key;
		if (is_one_of(key, drivers_own, ARRAY_LEN(drivers_own)))
			continue;
		if (is_one_of(key, weirs_own, ARRAY_LEN(weirs_own))) {
			buf_printf(ret_problem,
				"url: parameter \"%s\" is weir's own to set: give it in the URL's "
				"own place, "
				"or as an option of the database",
				key);
			good = false;
		} else if (!libpq_keyword(options, key)) {
			buf_printf(ret_problem,
				"url: unknown parameter \"%s\": allowed are libpq's connection "
				"parameters "
				"(sslmode, sslrootcert, target_session_attrs, options, ...)",
				key);
			good = false;
		}
	}
	PQconninfoFree(options);
	return good;
}

/* --- dialling --- */

struct params {
	const char *keys[PARAMS_MAX + 1], *values[PARAMS_MAX + 1];
	size_t n;
	struct buf hosts, ports;
};

static void add(struct params *p, const char *key, const char *value)
{
	if (!value || p->n == PARAMS_MAX)
		return;
	p->keys[p->n] = key;
	p->values[p->n++] = value;
	p->keys[p->n] = p->values[p->n] = NULL;
}

static void add_hosts(struct params *p, const struct url *url)
{
	for (size_t i = 0; i < url->n_hosts; i++) {
		buf_printf(&p->hosts, "%s%s", i ? "," : "", url->hosts[i].name);
		buf_printf(&p->ports, "%s%u", i ? "," : "",
			url->hosts[i].port ? url->hosts[i].port : 5432u);
	}
	buf_u8(&p->hosts, 0);
	buf_u8(&p->ports, 0);
	add(p, "host", (const char *)p->hosts.data);
	add(p, "port", (const char *)p->ports.data);
}

static void collect(
	const struct dial_target *target, const PQconninfoOption *options, struct params *p)
{
	const struct url *url = target->url;
	const char *user = url->user ? url->user : target->user;

	add_hosts(p, url);
	add(p, "user", user);
	add(p, "password", url->user ? url->password : target->password);
	add(p, "dbname", url->dbname ? url->dbname : user);
	add(p, "fallback_application_name", "weir");
	/* A server that vanishes without a word is noticed. */
	add(p, "keepalives_idle", "60");
	add(p, "keepalives_interval", "10");
	add(p, "tcp_user_timeout", "30000");
	for (size_t i = 0; i < url->n_params; i++) {
		const char *key = libpq_keyword(options, url->params[i].key);
		if (key)
			add(p, key, url->params[i].value);
	}
}

static void ignore_notice(void *arg, const char *message)
{
	log_debug("event=server_notice text=\"%.200s\"", message);
}

/* Waits for libpq to have finished, no longer than `deadline`. */
static int wait_for_login(PGconn *conn, usec_t deadline)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
		usec_t left = deadline - clock_usec();
		struct pollfd pfd = {.fd = PQsocket(conn),
			.events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT};
		if (left <= 0)
			return -ETIMEDOUT;
		int r = poll(&pfd, 1, (int)(left / USEC_PER_MSEC) + 1);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0)
			status = PQconnectPoll(conn);
	}
	return status == PGRES_POLLING_OK ? 0 : 1;
}

/* Is it pointless to try again soon? What a server says for good reason, and not only at this
 * moment. */
static bool is_final(const char *message)
{
	static const char *const passing[] = {"starting up", "shutting down", "in recovery",
		"too many clients", "remaining connection slots", "too many connections",
		"not accepting connections", "not yet accepting"};

	if (!strstr(message, "FATAL:"))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
		if (strstr(message, passing[i]))
			return false;
	}
	return true;
}

static void explain(PGconn *conn, int r, struct refusal *ret_refusal, bool *ret_final)
{
	char text[512];

	text_copy(text, sizeof(text),
		r == -ETIMEDOUT ? "no answer within connect_timeout" : PQerrorMessage(conn));
	for (char *c = text; *c; c++) {
		if (*c == '\n')
			*c = c[1] ? ' ' : 0;
	}
	refusal_set(ret_refusal, REASON_SERVER_UNREACHABLE, text);
	*ret_final = r == 1 && is_final(text);
}

static struct pgsql_handle *make_handle(PGconn *conn)
{
	struct pgsql_handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return NULL;
	handle->conn = conn;
	handle->process_id = (uint32_t)PQbackendPID(conn);
	handle->cancel = PQgetCancel(conn);
	for (size_t i = 0; i < ARRAY_LEN(reported); i++) {
		const char *value = PQparameterStatus(conn, reported[i]);
		if (value) {
			buf_cstr(&handle->parameters, reported[i]);
			buf_cstr(&handle->parameters, value);
		}
	}
	if (handle->parameters.failed) {
		handle->conn = NULL;
		pgsql_handle_free(handle);
		return NULL;
	}
	return handle;
}

static PGconn *start(const struct dial_target *target)
{
	PQconninfoOption *options = PQconndefaults();
	struct params params = {.n = 0};
	PGconn *conn = NULL;

	if (options) {
		collect(target, options, &params);
		conn = PQconnectStartParams(params.keys, params.values, 0);
	}
	PQconninfoFree(options);
	buf_clear(&params.hosts);
	buf_clear(&params.ports);
	return conn;
}

int pgsql_dial(const struct dial_target *target, struct dialled *ret_dialled,
	struct refusal *ret_refusal, bool *ret_final)
{
	usec_t deadline = clock_usec() + target->connect_timeout;
	PGconn *conn = start(target);

	if (!conn)
		return -ENOMEM;
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	int r = PQstatus(conn) == CONNECTION_BAD ? 1 : wait_for_login(conn, deadline);
	if (r != 0) {
		explain(conn, r, ret_refusal, ret_final);
		PQfinish(conn);
		return 1;
	}
	/* libpq closes its own descriptor in the end; weir's is another one on the same socket. */
	int fd = fcntl(PQsocket(conn), F_DUPFD_CLOEXEC, 3);
	struct pgsql_handle *handle = fd < 0 ? NULL : make_handle(conn);
	if (!handle) {
		if (fd >= 0)
			close(fd);
		PQfinish(conn);
		return -ENOMEM;
	}
	PQsetnonblocking(conn, 1);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	*ret_dialled =
		(struct dialled){.fd = fd, .tls = PQsslStruct(conn, "OpenSSL"), .handle = handle};
	return 0;
}

void pgsql_handle_free(struct pgsql_handle *handle)
{
	if (!handle)
		return;
	buf_clear(&handle->parameters);
	buf_clear(&handle->extra);
	if (handle->cancel)
		PQfreeCancel(handle->cancel);
	if (handle->conn)
		PQfinish(handle->conn);
	free(handle);
}

void pgsql_dialled_free(struct dialled *dialled)
{
	if (!dialled->handle)
		return;
	close(dialled->fd);
	pgsql_handle_free(dialled->handle);
	dialled->handle = NULL;
}

/* --- cancelling --- */

void *pgsql_cancel_new(const struct pgsql_handle *handle)
{
	return handle && handle->conn ? PQgetCancel(handle->conn) : NULL;
}

void pgsql_cancel_free(void *cancel)
{
	PQfreeCancel(cancel);
}

void pgsql_cancel(void *cancel)
{
	char problem[256];

	if (!PQcancel(cancel, problem, sizeof(problem)))
		log_warning("event=cancel_failed detail=\"%.200s\"", problem);
}
