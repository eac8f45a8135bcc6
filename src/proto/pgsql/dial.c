/*
 * Logging in with libpq, in straight-line code for threads that may block. weir walks through hosts
 * and addresses itself, since libpq cannot give each of them its time to the millisecond; the
 * login proper is libpq's.
 */
#include "proto/pgsql/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/secret.h"
#include "net/paths.h"
#include "proto/pgsql/dial_params.h"
#include "util/log.h"
#include "util/random.h"
#include "util/text.h"

#define DEFAULT_PORT 5432

/* What a server reports at login, in the order and the spelling of PostgreSQL. libpq tells them by
 * name only. */
static const char *const reported[] = {"application_name", "client_encoding", "DateStyle",
	"default_transaction_read_only", "in_hot_standby", "integer_datetimes", "IntervalStyle",
	"is_superuser", "scram_iterations", "search_path", "server_encoding", "server_version",
	"session_authorization", "standard_conforming_strings", "TimeZone"};

/* One address of one host. */
struct place {
	const char *host;  /* as in the URL: what certificates and password files speak of */
	char address[128]; /* numeric; "" for a socket directory */
	char port[8];
	uint16_t number; /* the port; 0: a socket directory */
};

struct dialling {
	const struct url *url;
	struct pgsql_params params;
	struct paths *paths;
	struct search search;
	struct buf trouble; /* what became of each attempt so far */
	bool final;
};

/* --- what went wrong, in words --- */

static void add_trouble(struct dialling *d, const struct place *place, const char *text, size_t len)
{
	struct buf *b = &d->trouble;

	if (b->len)
		buf_text(b, "; ");
	if (place) {
		buf_text(b, place->host);
		if (place->address[0] && strcmp(place->host, place->address) != 0)
			buf_printf(b, " (%s)", place->address);
		buf_printf(b, " port %s: ", place->port);
	}
	buf_put(b, text, len);
}

/* libpq's message without 'connection to server at "...", port ... failed: '; one line of it. */
static const char *first_line(const char *message, size_t *ret_len)
{
	const char *failed = strstr(message, " failed: ");
	size_t len = strcspn(message, "\n");

	if (text_starts_with(message, "connection to server ") && failed &&
		failed < message + len) {
		failed += strlen(" failed: ");
		len -= (size_t)(failed - message);
		message = failed;
	}
	*ret_len = len;
	return message;
}

/* Finds the SQLSTATE in 'FATAL:  28P01: text' (the severity may be in any language), or NULL: the
 * server has not spoken. */
static const char *find_sqlstate(const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);

	if (!colon || (size_t)(line + len - colon) < strlen(":  00000: ") ||
		!text_starts_with(colon, ":  "))
		return NULL;
	const char *code = colon + 3;
	if (strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || code[5] != ':')
		return NULL;
	return code;
}

/* Will the same be said a moment later? A server that starts, stops, recovers or is full (classes
 * 53, 55, 57), is ill (58, XX) or had trouble with the connection (08) may change its mind. */
static bool is_final(const char *sqlstate)
{
	static const char *const passing[] = {"08", "53", "55", "57", "58", "XX"};

	for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
		if (text_starts_with(sqlstate, passing[i]))
			return false;
	}
	return true;
}

static void explain(struct dialling *d, const struct place *place, const char *message)
{
	size_t len;
	const char *line = first_line(message, &len);
	const char *sqlstate = find_sqlstate(line, len);

	if (!sqlstate) {
		add_trouble(d, place, line, len);
		return;
	}
	/* The server's own words, as psql shows them: without the code. */
	const char *words = sqlstate + strlen("00000: ");
	add_trouble(d, NULL, line, (size_t)(sqlstate - line));
	buf_put(&d->trouble, words, len - (size_t)(words - line));
	d->final = is_final(sqlstate);
}

static void on_notice(void *arg, const char *message)
{
	char text[256];

	log_debug("event=server_notice text=\"%s\"", log_escape(message, text, sizeof(text)));
}

/* --- one attempt --- */

/* Waits for libpq to be through with it, no longer than `deadline`. 0, 1 (see PQerrorMessage),
 * -ETIMEDOUT, or -ECANCELED. */
static int wait_for_login(PGconn *conn, const struct paths *paths, usec_t deadline)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
		usec_t left = deadline - clock_usec();
		struct pollfd pfds[] = {
			{.fd = PQsocket(conn),
				.events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT},
			{.fd = paths_closed_fd(paths), .events = POLLIN}};
		if (left <= 0)
			return -ETIMEDOUT;
		/* Not longer than an int holds. */
		if (left > 60 * USEC_PER_SEC)
			left = 60 * USEC_PER_SEC;
		int n = poll(
			pfds, ARRAY_LEN(pfds), (int)((left + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && !pfds[0].revents)
			return -ECANCELED;
		if (n > 0)
			status = PQconnectPoll(conn);
	}
	return status == PGRES_POLLING_OK ? 0 : 1;
}

static bool collect_parameters(PGconn *conn, struct buf *ret_parameters)
{
	for (size_t i = 0; i < ARRAY_LEN(reported); i++) {
		const char *value = PQparameterStatus(conn, reported[i]);
		if (value) {
			buf_cstr(ret_parameters, reported[i]);
			buf_cstr(ret_parameters, value);
		}
	}
	return !ret_parameters->failed;
}

/* Makes of a logged-in `conn` what weir goes on with. On success it belongs to the handle. */
static int take_over(PGconn *conn, const struct pgsql_key *key, struct dialled *ret_dialled)
{
	struct pgsql_handle *handle = calloc(1, sizeof(*handle));

	if (!handle || !collect_parameters(conn, &handle->parameters) ||
		PQsetnonblocking(conn, 1) != 0) {
		pgsql_handle_free(handle);
		return -ENOMEM;
	}
	/* libpq closes its own descriptor in the end; weir's is another one of the same socket,
	 * which libpq has made non-blocking. */
	int fd = fcntl(PQsocket(conn), F_DUPFD_CLOEXEC, 3);
	if (fd < 0) {
		int r = -errno;
		pgsql_handle_free(handle);
		return r;
	}
	handle->process_id = (uint32_t)PQbackendPID(conn);
	const char *standby = PQparameterStatus(conn, "in_hot_standby");
	handle->standby = standby && strcmp(standby, "on") == 0;
	handle->conn = conn;
	handle->key = *key;
	*ret_dialled =
		(struct dialled){.fd = fd, .tls = PQsslStruct(conn, "OpenSSL"), .handle = handle};
	return 0;
}

static PGconn *start(struct dialling *d, const struct place *place, const char *attrs)
{
	struct pgsql_params *p = &d->params;
	size_t before = p->n;

	pgsql_params_add(p, "host", place->host);
	pgsql_params_add(p, "hostaddr", place->address);
	pgsql_params_add(p, "port", place->port);
	pgsql_params_add(p, "target_session_attrs", attrs);
	PGconn *conn = PQconnectStartParams(p->keys, p->values, 0);
	p->n = before;
	return conn;
}

/* For those who come after. */
static void note(struct dialling *d, const struct place *place, PGconn *conn, int r, usec_t began)
{
	size_t len;
	const char *line = first_line(PQerrorMessage(conn), &len);

	if (!place->number || r == -ECANCELED)
		return;
	if (r == 0 || find_sqlstate(line, len))
		search_answered(&d->search, place->address, place->number);
	else
		search_unanswered(&d->search, place->address, place->number, began, clock_usec(),
			r == -ETIMEDOUT);
}

/* As pgsql_dial(), but for what went wrong, which is added to d->trouble. */
static int try_place(struct dialling *d, const struct place *place, const char *attrs,
	struct dialled *ret_dialled)
{
	static const char no_answer[] = "no answer within connect_timeout";
	static const char no_openssl[] = "TLS by a libpq without OpenSSL cannot be taken over";
	usec_t began = clock_usec();
	PGconn *conn = start(d, place, attrs);
	struct pgsql_key_watch watch;
	struct pgsql_key key;

	if (!conn)
		return -ENOMEM;
	PQsetNoticeProcessor(conn, on_notice, NULL);
	/* The one way to learn the SQLSTATE of a refused login. */
	PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	pgsql_key_watch(conn, &watch);
	int r = PQstatus(conn) == CONNECTION_BAD
			? 1
			: wait_for_login(conn, d->paths, clock_deadline(began, d->params.timeout));
	pgsql_key_found(conn, &watch, &key);
	key.timeout = d->params.timeout;
	note(d, place, conn, r, began);
	if (r == -ETIMEDOUT) {
		add_trouble(d, place, no_answer, strlen(no_answer));
		r = 1;
	} else if (r == 1) {
		explain(d, place, PQerrorMessage(conn));
	} else if (r == 0 && PQsslInUse(conn) && !PQsslStruct(conn, "OpenSSL")) {
		add_trouble(d, place, no_openssl, strlen(no_openssl));
		r = 1;
	} else if (r == 0) {
		r = take_over(conn, &key, ret_dialled);
	}
	if (r != 0)
		PQfinish(conn);
	return r;
}

/* --- hosts and addresses --- */

/* Where to begin with `n` equal things. */
static size_t first_of(const struct dialling *d, size_t n)
{
	const char *balance = url_param(d->url, "load_balance_hosts");

	return balance && strcmp(balance, "random") == 0 && n ? random_below((uint32_t)n) : 0;
}

static const struct addrinfo *nth_address(const struct addrinfo *list, size_t n)
{
	while (n--)
		list = list->ai_next;
	return list;
}

static int try_addresses(struct dialling *d, struct place *place, const struct addrinfo *list,
	const char *attrs, struct dialled *ret_dialled)
{
	size_t n = 0;
	int r = 1;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		n++;
	size_t first = first_of(d, n);
	for (size_t i = 0; r == 1 && !d->final && i < n; i++) {
		const struct addrinfo *ai = nth_address(list, (first + i) % n);
		if (getnameinfo(ai->ai_addr, ai->ai_addrlen, place->address, sizeof(place->address),
			    NULL, 0, NI_NUMERICHOST) == 0 &&
			search_turn(&d->search, place->address, place->number, clock_usec()))
			r = try_place(d, place, attrs, ret_dialled);
	}
	return r;
}

static int try_host(struct dialling *d, const struct url_host *host, const char *attrs,
	struct dialled *ret_dialled)
{
	struct place place = {.host = host->name};
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;

	uint16_t port = host->port ? host->port : DEFAULT_PORT;
	snprintf(place.port, sizeof(place.port), "%u", port);
	/* A socket's directory, or the abstract namespace: who listens there answers at once. */
	if (host->name[0] == '/' || host->name[0] == '@')
		return d->search.late ? 1 : try_place(d, &place, attrs, ret_dialled);
	place.number = port;
	int failure = getaddrinfo(host->name, NULL, &hints, &list);
	if (failure != 0) {
		const char *text = gai_strerror(failure);
		if (!d->search.late)
			add_trouble(d, &place, text, strlen(text));
		return 1;
	}
	int r = try_addresses(d, &place, list, attrs, ret_dialled);
	freeaddrinfo(list);
	return r;
}

static int try_hosts(struct dialling *d, const char *attrs, struct dialled *ret_dialled)
{
	size_t n = d->url->n_hosts;
	size_t first = first_of(d, n);
	int r = 1;

	search_init(&d->search, d->paths);
	do {
		for (size_t i = 0; r == 1 && !d->final && i < n; i++)
			r = try_host(d, &d->url->hosts[(first + i) % n], attrs, ret_dialled);
	} while (r == 1 && !d->final && search_again(&d->search));
	search_clear(&d->search);
	return r;
}

/* A wish about the hosts together, of which libpq sees one at a time. */
static int try_hosts_twice(
	struct dialling *d, const char *preferred_attrs, struct dialled *ret_dialled)
{
	int r = try_hosts(d, preferred_attrs, ret_dialled);

	if (r == 1 && !d->final) {
		buf_clear(&d->trouble);
		r = try_hosts(d, "any", ret_dialled);
	}
	return r;
}

static void refuse(struct dialling *d, struct refusal *ret_refusal, bool *ret_final)
{
	buf_u8(&d->trouble, 0);
	refusal_set(ret_refusal, REASON_SERVER_UNREACHABLE,
		d->trouble.failed ? NULL : (const char *)d->trouble.data);
	*ret_final = d->final;
}

int pgsql_dial(const struct dial_target *target, struct dialled *ret_dialled,
	struct refusal *ret_refusal, bool *ret_final)
{
	const char *attrs = url_param(target->url, "target_session_attrs");
	struct dialling d = {.url = target->url, .paths = target->paths};

	int r = pgsql_params_init(&d.params, target);
	if (r < 0)
		return r;
	if (!target->url->user && !secret_is_password(target->password)) {
		buf_printf(&d.trouble, DIAL_NO_PASSWORD, target->user);
		d.final = true;
		r = 1;
	} else if (attrs && strcmp(attrs, "prefer-standby") == 0) {
		r = try_hosts_twice(&d, "standby", ret_dialled);
	} else if (target->prefers_writable && (!attrs || strcmp(attrs, "any") == 0)) {
		r = try_hosts_twice(&d, "read-write", ret_dialled);
	} else {
		r = try_hosts(&d, NULL, ret_dialled);
	}
	if (r == 1)
		refuse(&d, ret_refusal, ret_final);
	buf_clear(&d.trouble);
	pgsql_params_clear(&d.params);
	return r;
}

/* --- the end --- */

static void free_handle(struct pgsql_handle *handle)
{
	buf_clear(&handle->parameters);
	buf_clear(&handle->reported);
	buf_clear(&handle->extra);
	buf_clear(&handle->prepared);
	PQfinish(handle->conn);
	free(handle);
}

void pgsql_handle_free(struct pgsql_handle *handle)
{
	if (!handle)
		return;
	/* PQfinish() sends a Terminate. weir has said farewell where that was possible; elsewhere,
	 * in the middle of a message, those bytes would become its rest. */
	if (handle->conn)
		shutdown(PQsocket(handle->conn), SHUT_WR);
	free_handle(handle);
}

void pgsql_dialled_free(struct dialled *dialled)
{
	if (!dialled->handle)
		return;
	/* Nothing is under way: libpq's farewell is in its place. */
	free_handle(dialled->handle);
	close(dialled->fd);
	dialled->handle = NULL;
}
