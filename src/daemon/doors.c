/*
 * Listening: opens the doors, counts who is inside, and deals clients out to the workers. The first
 * worker keeps the doors: a client that it takes in itself is spared the way from one thread to
 * another, which costs as much as half of its login.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/internal.h"
#include "daemon/systemd.h"

static const struct {
	const char *protocol;
	size_t offset; /* of the list in struct config */
} listen_options[LISTEN_OPTIONS] = {
	{"postgresql", offsetof(struct config, listen_postgresql)},
	{"mysql", offsetof(struct config, listen_mysql)},
};

static const struct config_list *listen_list(const struct config *config, size_t option)
{
	return (const void *)((const char *)config + listen_options[option].offset);
}

static struct worker *keeper(const struct daemon *d)
{
	return &d->workers[0];
}

/* --- clients --- */

/* Of equals the first, which has the shortest way. */
static unsigned least_busy(const struct daemon *d)
{
	unsigned best = 0;

	for (unsigned i = 1; i < d->n_workers; i++) {
		if (d->n_clients[i] < d->n_clients[best])
			best = i;
	}
	return best;
}

static void on_accept(void *arg, int fd, const struct sockaddr_storage *peer, socklen_t peer_len)
{
	struct door *door = arg;
	struct daemon *d = door->daemon;
	unsigned worker = least_busy(d);

	if (porter_is_crowded(d)) {
		porter_turn_away(d, door->protocol, fd);
		return;
	}
	/* Ids are positive as signed numbers too: drivers read them so. */
	uint32_t id = d->last_id == INT32_MAX ? 1 : d->last_id + 1;
	bool too_many = porter_is_full(d);
	/* Before the worker has it, which may be done with it at once. */
	atomic_fetch_add(&d->n_clients[worker], 1);
	atomic_fetch_add(&d->n_all_clients, 1);
	d->last_id = id;
	if (&d->workers[worker] == keeper(d)) {
		worker_take_client(keeper(d), door->protocol, fd, peer, id, too_many);
	} else if (worker_post_client(&d->workers[worker], door->protocol, fd, peer, id, too_many) <
		   0) {
		doors_client_closed(d, worker, true);
		log_error("event=client_refused detail=\"out of memory\"");
		close(fd);
	}
}

/* No other descriptor is left: nobody can be let in with it. */
static void on_last_descriptor(
	void *arg, int fd, const struct sockaddr_storage *peer, socklen_t peer_len)
{
	struct door *door = arg;

	porter_turn_away_now(door->daemon, door->protocol, fd);
}

void doors_client_closed(void *daemon, unsigned worker, bool counted)
{
	struct daemon *d = daemon;

	CHECK(atomic_fetch_sub(&d->n_clients[worker], 1) > 0);
	if (counted)
		doors_client_uncounted(daemon);
}

void doors_client_uncounted(void *daemon)
{
	struct daemon *d = daemon;

	CHECK(atomic_fetch_sub(&d->n_all_clients, 1) > 0);
}

/* --- opening and closing --- */

/* The room for one more door, or NULL. */
static struct door *next_door(struct daemon *d, const struct protocol *protocol)
{
	if (d->n_doors == LISTENERS_MAX) {
		log_error("event=listen_failed detail=\"more than %d addresses\"", LISTENERS_MAX);
		return NULL;
	}
	struct door *door = &d->doors[d->n_doors];
	door->daemon = d;
	door->protocol = protocol;
	return door;
}

/* The option that a socket of that name stands in for: without a telling name it is the first. */
static size_t option_of(const char *name)
{
	for (size_t i = 0; i < LISTEN_OPTIONS; i++) {
		if (strstr(name, listen_options[i].protocol))
			return i;
	}
	return 0;
}

static void take_inherited(void *arg, int fd, const char *name)
{
	struct daemon *d = arg;
	size_t option = option_of(name);
	const struct protocol *protocol = protocol_find(listen_options[option].protocol);
	struct door *door = protocol ? next_door(d, protocol) : NULL;
	struct listener_plan plan = {.fn = on_accept, .last = on_last_descriptor, .arg = door};
	char text[64];

	if (!door || listener_adopt(keeper(d)->loop, fd, &plan, &door->listener) < 0) {
		log_warning(
			"event=socket_ignored name=\"%s\"", log_escape(name, text, sizeof(text)));
		close(fd);
		return;
	}
	d->n_doors++;
	listener_want(door->listener, protocol->probe == NULL);
	d->inherited[option] = true;
	buf_printf(&d->listen_text, "%ssystemd:%s", d->listen_text.len ? " " : "",
		listen_options[option].protocol);
}

static int open_door(struct daemon *d, const struct protocol *protocol, const char *address)
{
	struct door *door = next_door(d, protocol);
	struct listener_plan plan = {.fn = on_accept,
		.last = on_last_descriptor,
		.arg = door,
		.beside = d->config->reuse_port};
	struct buf problem = {0};

	if (!door)
		return 1;
	int r = listener_new(keeper(d)->loop, address, &plan, &door->listener, &problem);
	if (r > 0)
		daemon_log_lines(LOG_LEVEL_ERROR, "listen_failed", &problem);
	buf_clear(&problem);
	if (r != 0)
		return r;
	d->n_doors++;
	listener_want(door->listener, protocol->probe == NULL);
	buf_printf(&d->listen_text, "%s%s", d->listen_text.len ? " " : "", address);
	return 0;
}

static void greet_here(void *arg)
{
	struct daemon *d = arg;

	for (size_t i = 0; i < d->n_doors; i++)
		listener_want(d->doors[i].listener, true);
}

void doors_greet(struct daemon *d)
{
	worker_post_errand(keeper(d), greet_here, d);
}

int doors_open(struct daemon *d)
{
	int r = 0;

	systemd_sockets(take_inherited, d);
	for (size_t i = 0; i < LISTEN_OPTIONS; i++) {
		const struct protocol *protocol = protocol_find(listen_options[i].protocol);
		const struct config_list *list = listen_list(d->config, i);
		/* What systemd has opened replaces what the file says. */
		if (!protocol || d->inherited[i])
			continue;
		for (size_t j = 0; r == 0 && j < list->n_items; j++)
			r = open_door(d, protocol, list->items[j]);
	}
	if (r == 0 && !d->n_doors) {
		log_error("event=listen_failed detail=\"no address to listen on\"");
		r = 1;
	}
	return r;
}

static void hand_over_here(void *arg)
{
	struct daemon *d = arg;

	for (size_t i = 0; i < d->n_doors; i++)
		listener_hand_over(d->doors[i].listener);
}

void doors_hand_over(struct daemon *d)
{
	worker_post_errand(keeper(d), hand_over_here, d);
}

void doors_clear(struct daemon *d)
{
	for (size_t i = 0; i < d->n_doors; i++)
		listener_free(d->doors[i].listener);
	d->n_doors = 0;
}

static void close_here(void *arg)
{
	struct daemon *d = arg;

	doors_clear(d);
	daemon_tell(d, d->doors_closed, 0, 0);
}

void doors_close(struct daemon *d, message_fn closed)
{
	d->doors_closed = closed;
	worker_post_errand(keeper(d), close_here, d);
}
