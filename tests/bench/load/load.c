/*
 * usage: load pgsql|mysql PORT USER PASSWORD DATABASE CLIENTS WORK ROWS [tls]
 *
 * Logs CLIENTS in, says {"ready": N}, and then obeys its standard input, a line each:
 *     run SECONDS RATE N      work until the time is over or N transactions have begun; RATE > 0:
 * so many of them a second begin, at random moments, and latencies count from the moment they were
 * due logins SECONDS N        N processes log in and leave, one client after the other Each answers
 * with a line of JSON. WORK: simple, extended, prepared, transaction, pipeline, copyin:MEGABYTES,
 * sql:STATEMENT. ROWS is how many the table has that point selects read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define SECOND 1000000000ULL

static const char *const names[] = {
	"simple", "extended", "prepared", "transaction", "pipeline", "copyin", "sql"};

struct load {
	const struct protocol *protocol;
	struct account account;
	struct work work;
	struct client *clients;
	uint32_t n_clients, n_idle, *idle; /* numbers of the clients that have nothing to do */
	int epoll;
	uint64_t end_nsec, next_nsec, n_left; /* of this run */
	double rate;
	uint32_t *latencies; /* in units of 100 ns */
	size_t n_latencies, size;
};

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t now_nsec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t random_number(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* --- input and output --- */

int io_connect(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("connect: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

void io_send(struct client *client, const void *data, size_t len)
{
	const uint8_t *at = data;

	for (ssize_t n; len; at += n, len -= (size_t)n) {
		n = client->tls ? SSL_write(client->tls, at, (int)len)
				: send(client->fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			fail("send: %s", strerror(errno));
	}
}

void io_receive(struct client *client, void *ret, size_t len)
{
	uint8_t *at = ret;

	for (ssize_t n; len; at += n, len -= (size_t)n) {
		n = client->tls ? SSL_read(client->tls, at, (int)len)
				: recv(client->fd, at, len, 0);
		if (n <= 0)
			fail("the connection was closed");
	}
}

/* What is there. Returns 0 when there is no more. */
static size_t receive_some(struct client *client, uint8_t *ret, size_t size)
{
	ssize_t n;

	if (client->tls) {
		/* A record may be there in part: only then must it not block. */
		fcntl(client->fd, F_SETFL, O_NONBLOCK);
		n = SSL_read(client->tls, ret, (int)size);
		int error = n > 0 ? 0 : SSL_get_error(client->tls, (int)n);
		fcntl(client->fd, F_SETFL, 0);
		if (error && error != SSL_ERROR_WANT_READ)
			fail("the connection was closed");
		return n > 0 ? (size_t)n : 0;
	}
	n = recv(client->fd, ret, size, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		fail("the connection was closed");
	return n > 0 ? (size_t)n : 0;
}

/* --- the work --- */

unsigned work_n_steps(const struct work *work)
{
	return work->kind == TRANSACTION ? 5 : 1;
}

uint32_t work_row(const struct work *work)
{
	return (uint32_t)(random_number() % work->n_rows) + 1;
}

/* The protocols have the same statements but for the names of the table and its columns. */
static const char *point_of_transaction[2][3] = {
	{"select abalance from pgbench_accounts where aid = %u",
		"update pgbench_accounts set abalance = abalance + 1 where aid = %u",
		"select abalance from pgbench_accounts where aid = %u"},
	{"select c from sbtest1 where id = %u", "update sbtest1 set k = k + 1 where id = %u",
		"select c from sbtest1 where id = %u"},
};
static bool is_mysql;

const char *work_sql(const struct work *work, unsigned step, char *buffer, size_t size)
{
	const char *(*texts)[3] = &point_of_transaction[is_mysql];

	if (work->kind == SQL)
		return work->sql;
	if (work->kind == COPY_IN)
		return "copy pgbench_lines from stdin where false";
	if (work->kind == TRANSACTION && step == 0)
		return "begin";
	if (work->kind == TRANSACTION && step == 4)
		return "commit";
	const char *text = (*texts)[work->kind == TRANSACTION ? step - 1 : 0];
	const char *percent = strchr(text, '%');
	snprintf(buffer, size, "%.*s%u", (int)(percent - text), text, work_row(work));
	return buffer;
}

/* --- a run --- */

static void send_step(struct load *load, struct client *client)
{
	static uint8_t message[MESSAGE_MAX];
	size_t len = load->protocol->build(client, &load->work, message);

	io_send(client, message, len);
}

static void begin_transaction(struct load *load, struct client *client, uint64_t due_nsec)
{
	client->start_nsec = due_nsec;
	client->step = 0;
	load->n_left--;
	send_step(load, client);
}

/* The gaps are exponential: clients do not agree on a beat. */
static void begin_due(struct load *load)
{
	while (load->n_idle && load->n_left && load->next_nsec < load->end_nsec &&
		load->next_nsec <= now_nsec()) {
		begin_transaction(
			load, &load->clients[load->idle[--load->n_idle]], load->next_nsec);
		double u = (double)((random_number() >> 11) + 1) / 9007199254740993.0;
		load->next_nsec += (uint64_t)(-log(u) * (double)SECOND / load->rate);
	}
}

static void note_latency(struct load *load, uint64_t nsec)
{
	if (load->n_latencies == load->size) {
		load->size = load->size ? load->size * 2 : 1 << 16;
		load->latencies = realloc(load->latencies, load->size * sizeof(*load->latencies));
		if (!load->latencies)
			fail("out of memory");
	}
	load->latencies[load->n_latencies++] = (uint32_t)(nsec / 100);
}

static void end_transaction(struct load *load, struct client *client)
{
	uint64_t now = now_nsec();

	note_latency(load, now - client->start_nsec);
	if (load->rate == 0 && load->n_left && now < load->end_nsec)
		begin_transaction(load, client, now);
	else
		load->idle[load->n_idle++] = (uint32_t)(client - load->clients);
}

static void serve(struct load *load, struct client *client)
{
	static uint8_t data[1 << 18];

	for (size_t len; (len = receive_some(client, data, sizeof(data)));) {
		if (load->protocol->consume(client, &load->work, data, len)) {
			if (++client->step < work_n_steps(&load->work))
				send_step(load, client);
			else
				end_transaction(load, client);
		}
		if (!client->tls && len < sizeof(data))
			break;
	}
}

/* Until the next transaction is due, or for ever. */
static void wait_and_serve(struct load *load)
{
	struct epoll_event events[256];
	struct timespec timeout = {.tv_sec = 60};

	if (load->rate > 0 && load->n_idle && load->n_left && load->next_nsec < load->end_nsec) {
		uint64_t now = now_nsec();
		uint64_t gap = load->next_nsec > now ? load->next_nsec - now : 0;
		timeout = (struct timespec){(time_t)(gap / SECOND), (long)(gap % SECOND)};
	}
	int n = epoll_pwait2(load->epoll, events, 256, &timeout, NULL);
	if (n == 0 && timeout.tv_sec >= 60)
		fail("no answer for a minute");
	for (int i = 0; i < n; i++)
		serve(load, &load->clients[events[i].data.u32]);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile(const struct load *load, double part)
{
	if (!load->n_latencies)
		return 0;
	size_t at = (size_t)(part * (double)load->n_latencies);
	return load->latencies[at < load->n_latencies ? at : load->n_latencies - 1] / 10.0;
}

static void run(struct load *load, double seconds, double rate, uint64_t n)
{
	uint64_t start = now_nsec();

	load->end_nsec = start + (uint64_t)(seconds * (double)SECOND);
	load->next_nsec = start;
	load->rate = rate;
	load->n_left = n ? n : UINT64_MAX;
	load->n_latencies = 0;
	while (rate == 0 && load->n_idle && load->n_left)
		begin_transaction(load, &load->clients[load->idle[--load->n_idle]], now_nsec());
	for (;;) {
		if (rate > 0)
			begin_due(load);
		bool over = !load->n_left ||
			    (rate > 0 ? load->next_nsec : now_nsec()) >= load->end_nsec;
		if (over && load->n_idle == load->n_clients)
			break;
		wait_and_serve(load);
	}
	double took = (double)(now_nsec() - start) / (double)SECOND;
	qsort(load->latencies, load->n_latencies, sizeof(*load->latencies), by_size);
	printf("{\"n\": %zu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}\n",
		load->n_latencies, took, percentile(load, 0.5), percentile(load, 0.99),
		percentile(load, 0.999));
}

/* --- logins --- */

static uint64_t log_in_and_out(const struct load *load, uint64_t end_nsec)
{
	uint64_t n = 0;

	for (; now_nsec() < end_nsec; n++) {
		struct client client = {0};
		load->protocol->login(&client, &load->account, &load->work);
		load->protocol->leave(&client);
	}
	return n;
}

static void logins(struct load *load, double seconds, int n_processes)
{
	uint64_t start = now_nsec(), end = start + (uint64_t)(seconds * (double)SECOND), total = 0;
	int fds[2], status, failed = 0;

	if (pipe(fds))
		fail("pipe: %s", strerror(errno));
	for (int i = 0; i < n_processes; i++) {
		if (fork())
			continue;
		uint64_t n = log_in_and_out(load, end);
		_exit(write(fds[1], &n, sizeof(n)) != sizeof(n));
	}
	close(fds[1]);
	for (uint64_t n; read(fds[0], &n, sizeof(n)) == sizeof(n);)
		total += n;
	while (wait(&status) > 0)
		failed |= status;
	close(fds[0]);
	if (failed)
		exit(1);
	printf("{\"n\": %llu, \"seconds\": %.6f}\n", (unsigned long long)total,
		(double)(now_nsec() - start) / (double)SECOND);
}

/* --- from beginning to end --- */

static void parse_work(struct work *work, const char *text, const char *n_rows)
{
	size_t len = strcspn(text, ":");
	const char *argument = text[len] ? text + len + 1 : "";

	work->n_rows = (uint32_t)strtoul(n_rows, NULL, 10);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strlen(names[i]) != len || strncmp(names[i], text, len) != 0)
			continue;
		work->kind = (enum kind)i;
		work->sql = argument;
		work->megabytes = (unsigned)strtoul(argument, NULL, 10);
		return;
	}
	fail("no such work: %s", text);
}

static void log_in_all(struct load *load)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	load->clients = calloc(load->n_clients + 1, sizeof(*load->clients));
	load->idle = calloc(load->n_clients + 1, sizeof(*load->idle));
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!load->clients || !load->idle)
		fail("out of memory");
	for (uint32_t i = 0; i < load->n_clients; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
		load->protocol->login(&load->clients[i], &load->account, &load->work);
		epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->clients[i].fd, &event);
		load->idle[load->n_idle++] = i;
	}
	printf("{\"ready\": %u}\n", load->n_clients);
}

static void obey(struct load *load)
{
	char line[200];
	double seconds, rate;
	unsigned long long n;
	int n_processes;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "run %lf %lf %llu", &seconds, &rate, &n) == 3)
			run(load, seconds, rate, n);
		else if (sscanf(line, "logins %lf %d", &seconds, &n_processes) == 2)
			logins(load, seconds, n_processes);
		else
			fail("what does it mean: %s", line);
	}
}

int main(int argc, char **argv)
{
	struct load load = {0};

	if (argc != 9 && argc != 10)
		fail("load.c says how it is used");
	is_mysql = !strcmp(argv[1], "mysql");
	load.protocol = is_mysql ? &load_mysql : &load_pgsql;
	load.account = (struct account){.port = (uint16_t)strtoul(argv[2], NULL, 10),
		.user = argv[3],
		.password = argv[4],
		.database = argv[5],
		.tls = argc == 10 ? SSL_CTX_new(TLS_client_method()) : NULL};
	load.n_clients = (uint32_t)strtoul(argv[6], NULL, 10);
	parse_work(&load.work, argv[7], argv[8]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_TIMERSLACK, 1);
	log_in_all(&load);
	obey(&load);
	for (uint32_t i = 0; i < load.n_clients; i++)
		load.protocol->leave(&load.clients[i]);
	return 0;
}
