/*
 * Descriptors: how many there must be, how many clients there is room for, and what becomes of
 * those for whom there is none. They are told so before they have said anything, and without a
 * worker.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/internal.h"

/* Clients beyond max_clients that are listened to: they may want the console, and else are told
 * when they have logged in. */
#define SPARE_CLIENTS 256

/* Of the process itself: standard streams, the main loop, what a library opens for a moment. */
#define OWN_DESCRIPTORS 64

/* A worker's loop, timers and mailbox; a dialler thread's sockets, names, password files. */
#define PER_WORKER  8
#define PER_DIALLER 4

/* A server connection, and the copy that libpq keeps. */
#define PER_SERVER 2

/* So long those that were turned away may take to read why. */
#define LINGER_TIME USEC_PER_SEC

/* --- how many --- */

static rlim_t reserve(const struct config *config, unsigned n_diallers)
{
	return OWN_DESCRIPTORS + SPARE_CLIENTS + LINGERING_MAX + 2 * LISTENERS_MAX +
	       PER_WORKER * (rlim_t)config->workers + PER_DIALLER * (rlim_t)n_diallers +
	       PER_SERVER * (rlim_t)config_max_servers(config);
}

/* Raises the soft limit as far as it may be, the hard one too for who may do that. Returns what
 * holds. */
static rlim_t raise_limit(rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return wanted;
	if (limit.rlim_cur >= wanted)
		return limit.rlim_cur;
	struct rlimit higher = {
		.rlim_cur = wanted, .rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted};
	if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
		return wanted;
	higher.rlim_cur = higher.rlim_max = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &higher) == 0 ? limit.rlim_max : limit.rlim_cur;
}

void porter_count(struct daemon *d, const struct config *config)
{
	rlim_t reserved = reserve(config, DIAL_THREADS + CANCEL_THREADS);
	rlim_t wanted = reserved + (rlim_t)config->max_clients;
	rlim_t limit = raise_limit(wanted);
	rlim_t clients = (rlim_t)config->max_clients;

	if (limit >= wanted) {
		d->room = (unsigned)clients;
		return;
	}
	/* Where even the servers' would be too many, they and the clients share what there is. */
	rlim_t room = limit > 2 * reserved ? limit - reserved : limit / 2;
	d->room = (unsigned)(room < clients ? room : clients);
	log_warning("event=few_descriptors limit=%llu wanted=%llu missing=%llu room_for_clients=%u "
		    "detail=\"set LimitNOFILE=%llu in the service, or lower max_clients\"",
		(unsigned long long)limit, (unsigned long long)wanted,
		(unsigned long long)(wanted - limit), d->room, (unsigned long long)wanted);
}

bool porter_is_full(const struct daemon *d)
{
	return d->n_all_clients >= d->room;
}

bool porter_is_crowded(const struct daemon *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->n_workers; i++)
		n += d->n_clients[i];
	return n >= d->room + SPARE_CLIENTS;
}

/* --- turning away --- */

/* What was received and not read would make the system break the connection, and what it was told
 * would be lost. */
static void drain(int fd)
{
	char bytes[4096];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void let_go_oldest(struct daemon *d)
{
	int fd = d->lingering[d->first_lingering].fd;

	drain(fd);
	close(fd);
	d->first_lingering = (d->first_lingering + 1) % LINGERING_MAX;
	d->n_lingering--;
}

static void linger_is_over(void *arg)
{
	struct daemon *d = arg;
	usec_t now = clock_usec();

	while (d->n_lingering && d->lingering[d->first_lingering].until <= now)
		let_go_oldest(d);
	if (d->n_lingering)
		timer_set(&d->linger_timer, d->lingering[d->first_lingering].until);
}

static void tell(int fd, const struct protocol *protocol)
{
	struct output *output = malloc(sizeof(*output));
	struct refusal refusal;
	uint8_t bytes[sizeof(refusal.text) + 200];

	if (!output)
		return;
	output_init(output);
	refusal_set(&refusal, REASON_TOO_MANY_CLIENTS, NULL);
	protocol->turn_away(&refusal, output);
	if (!output->failed && output->total <= sizeof(bytes)) {
		output_flatten(output, bytes);
		/* It fits the empty buffer of a new socket. */
		ssize_t n = send(fd, bytes, output->total, MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)n;
	}
	output_reset(output);
	free(output);
	shutdown(fd, SHUT_WR);
}

static void log_refusal(struct daemon *d)
{
	char left_out[LOG_LEFT_OUT_SIZE];
	unsigned n_dropped;

	if (log_limit_allows(&d->porter_log, 1, &n_dropped))
		log_warning("event=turned_away reason=too_many_clients room_for_clients=%u%s",
			d->room, log_left_out(n_dropped, left_out));
}

void porter_turn_away(struct daemon *d, const struct protocol *protocol, int fd)
{
	log_refusal(d);
	tell(fd, protocol);
	if (d->n_lingering == LINGERING_MAX)
		let_go_oldest(d);
	struct lingering lingering = {.fd = fd, .until = clock_usec() + LINGER_TIME};
	d->lingering[(d->first_lingering + d->n_lingering++) % LINGERING_MAX] = lingering;
	if (d->n_lingering == 1)
		timer_set(&d->linger_timer, lingering.until);
}

void porter_turn_away_now(struct daemon *d, const struct protocol *protocol, int fd)
{
	log_refusal(d);
	tell(fd, protocol);
	drain(fd);
	close(fd);
}

void porter_init(struct daemon *d)
{
	timer_init(&d->linger_timer, d->workers[0].loop, linger_is_over, d);
}

void porter_clear(struct daemon *d)
{
	timer_clear(&d->linger_timer);
	while (d->n_lingering)
		let_go_oldest(d);
}
