/*
 * Cancelling with a libpq before 17: never under TLS. Its PQcancel() waits for a server that does
 * not answer, a stopped one for instance, for ever, and has the one secret that a request needs for
 * itself. So weir sends the request, and learns the secret from libpq's tracing of the login. A
 * libpq that traces in other words still cancels, without a limit.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/pgsql/dial.h"
#include "util/log.h"

#define CANCEL_REQUEST_CODE 80877102
#define CANCEL_REQUEST_SIZE 16

/* --- the secret --- */

static void end_line(struct pgsql_key_watch *watch)
{
	static const char title[] = "\tBackendKeyData\t";
	int process_id, secret;

	watch->line[watch->len] = 0;
	watch->len = 0;
	const char *found = strstr(watch->line, title);
	if (found && sscanf(found + strlen(title), "%d %d", &process_id, &secret) == 2) {
		watch->process_id = (uint32_t)process_id;
		watch->secret = (uint32_t)secret;
	}
}

/* Called for what libpq traces. Lines are looked at one by one, and none is kept: passwords come by
 * here too. */
static ssize_t on_trace(void *arg, const char *text, size_t len)
{
	struct pgsql_key_watch *watch = arg;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			end_line(watch);
		else if (watch->len + 1 < sizeof(watch->line))
			watch->line[watch->len++] = text[i];
	}
	return (ssize_t)len;
}

void pgsql_key_watch(void *conn, struct pgsql_key_watch *ret_watch)
{
	cookie_io_functions_t functions = {.write = on_trace};

	*ret_watch = (struct pgsql_key_watch){0};
	ret_watch->trace = fopencookie(ret_watch, "w", functions);
	if (!ret_watch->trace)
		return;
	/* Nothing stays behind in a buffer of the C library. */
	setvbuf(ret_watch->trace, NULL, _IONBF, 0);
	PQtrace(conn, ret_watch->trace);
	/* They are made by localtime(), which is not for threads. */
	PQsetTraceFlags(conn, PQTRACE_SUPPRESS_TIMESTAMPS);
}

void pgsql_key_found(void *conn, struct pgsql_key_watch *watch, struct pgsql_key *ret_key)
{
	*ret_key = (struct pgsql_key){0};
	if (!watch->trace)
		return;
	PQuntrace(conn);
	fclose(watch->trace);
	watch->trace = NULL;
	if (watch->process_id && watch->process_id == (uint32_t)PQbackendPID(conn))
		*ret_key = (struct pgsql_key){
			.process_id = watch->process_id, .secret = watch->secret, .is_known = true};
	explicit_bzero(watch, sizeof(*watch));
}

/* --- the request --- */

struct cancel {
	struct sockaddr_storage address;
	socklen_t address_len;
	struct pgsql_key key;
	PGcancel *by_libpq; /* where the key is not known */
};

void *pgsql_cancel_new(const struct pgsql_handle *handle)
{
	if (!handle || !handle->conn)
		return NULL;
	struct cancel *cancel = calloc(1, sizeof(*cancel));
	if (!cancel)
		return NULL;
	cancel->key = handle->key;
	cancel->address_len = sizeof(cancel->address);
	if (cancel->key.is_known &&
		getpeername(PQsocket(handle->conn), (struct sockaddr *)&cancel->address,
			&cancel->address_len) == 0)
		return cancel;
	cancel->key.is_known = false;
	cancel->by_libpq = PQgetCancel(handle->conn);
	if (cancel->by_libpq)
		return cancel;
	free(cancel);
	return NULL;
}

void pgsql_cancel_free(void *arg)
{
	struct cancel *cancel = arg;

	if (!cancel)
		return;
	PQfreeCancel(cancel->by_libpq);
	explicit_bzero(cancel, sizeof(*cancel));
	free(cancel);
}

static void log_failure(const char *problem)
{
	char text[256];

	log_warning("event=cancel_failed detail=\"%s\"", log_escape(problem, text, sizeof(text)));
}

/* A socket that is connected to the server, each step of which takes no longer than it may; -1:
 * there is none, which was logged. */
static int connect_to(const struct cancel *cancel)
{
	usec_t timeout = cancel->key.timeout;
	struct timeval tv = {.tv_sec = timeout / USEC_PER_SEC, .tv_usec = timeout % USEC_PER_SEC};
	int fd = socket(cancel->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0 &&
		connect(fd, (const struct sockaddr *)&cancel->address, cancel->address_len) == 0)
		return fd;
	log_failure(strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static void write_request(const struct pgsql_key *key, uint8_t *ret_request)
{
	const uint32_t words[] = {
		CANCEL_REQUEST_SIZE, CANCEL_REQUEST_CODE, key->process_id, key->secret};

	for (size_t i = 0; i < CANCEL_REQUEST_SIZE; i++)
		ret_request[i] = (uint8_t)(words[i / 4] >> (24 - i % 4 * 8));
}

enum cancel_outcome pgsql_cancel(void *arg)
{
	const struct cancel *cancel = arg;
	enum cancel_outcome outcome = CANCEL_OVER;
	uint8_t request[CANCEL_REQUEST_SIZE], answer;
	char problem[256];

	if (cancel->by_libpq) {
		if (!PQcancel(cancel->by_libpq, problem, sizeof(problem)))
			log_failure(problem);
		return CANCEL_OVER;
	}
	int fd = connect_to(cancel);
	if (fd < 0)
		return CANCEL_OVER;
	write_request(&cancel->key, request);
	if (send(fd, request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request)) {
		log_failure(strerror(errno));
	} else if (recv(fd, &answer, 1, 0) < 0 && errno != ECONNRESET) {
		/* The server hangs up when it has signalled the process. */
		log_failure("no answer within connect_timeout");
		outcome = CANCEL_STRAY;
	}
	explicit_bzero(request, sizeof(request));
	close(fd);
	return outcome;
}
