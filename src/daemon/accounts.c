/*
 * How many clients each account has that has a limit, on all workers together. Workers ask by
 * message, on behalf of a client that waits for the answer; nobody else knows the numbers.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/internal.h"

/* There is one for as long as it has clients. */
struct account {
	struct map_node node;
	unsigned n_clients;
	char name[];
};

static bool same_name(const struct map_node *node, const void *name)
{
	return strcmp(container_of(node, const struct account, node)->name, name) == 0;
}

static struct account *find(const struct daemon *d, const char *name)
{
	struct map_node *node = map_find(&d->accounts, hash_text(name), same_name, name);

	return node ? container_of(node, struct account, node) : NULL;
}

/* Counts one more. False: no memory. */
static bool count(struct daemon *d, const char *name)
{
	struct account *account = find(d, name);
	size_t size = strlen(name) + 1;

	if (!account) {
		account = calloc(1, sizeof(*account) + size);
		if (!account)
			return false;
		memcpy(account->name, name, size);
		if (map_insert(&d->accounts, &account->node, hash_text(name)) < 0) {
			free(account);
			return false;
		}
	}
	account->n_clients++;
	return true;
}

static bool has_room(const struct daemon *d, const char *name)
{
	const struct config_user *user = config_user(d->config, name);
	const struct account *account = find(d, name);

	return !user || user->max_clients < 0 ||
	       (account ? account->n_clients : 0) < (unsigned)user->max_clients;
}

static void answer(struct daemon *d, struct seat *seat)
{
	seat->given = (seat->is_inside || has_room(d, seat->user)) && count(d, seat->user);
	worker_post_seat(&d->workers[seat->worker], seat);
}

static void decide(struct message *message, void *arg)
{
	struct seat *seat = container_of(message, struct seat, message);
	struct daemon *d = arg;

	if (!d->n_workers) {
		/* At the end: nobody is left to be answered. */
		free(seat);
	} else if (d->next_config && !seat->is_inside) {
		/* Clients that are inside may not have been counted yet. */
		message->next = d->held_seats;
		d->held_seats = message;
	} else {
		answer(d, seat);
	}
}

static void take_back(struct message *message, void *arg)
{
	struct seat *seat = container_of(message, struct seat, message);
	struct daemon *d = arg;
	struct account *account = find(d, seat->user);

	CHECK(account && account->n_clients > 0);
	if (--account->n_clients == 0) {
		map_remove(&d->accounts, &account->node);
		free(account);
	}
	free(seat);
}

static void post(struct daemon *d, struct seat *seat, message_fn deliver)
{
	seat->message.deliver = deliver;
	mailbox_post(d->mailbox, &seat->message);
}

void accounts_ask_seat(void *daemon, struct seat *seat)
{
	post(daemon, seat, decide);
}

void accounts_free_seat(void *daemon, struct seat *seat)
{
	post(daemon, seat, take_back);
}

static struct seat *next_held(struct daemon *d)
{
	struct message *message = d->held_seats;

	if (!message)
		return NULL;
	d->held_seats = message->next;
	return container_of(message, struct seat, message);
}

void accounts_reloaded(struct daemon *d)
{
	struct seat *seat;

	while ((seat = next_held(d)))
		answer(d, seat);
}

void accounts_clear(struct daemon *d)
{
	struct seat *seat;

	while ((seat = next_held(d)))
		free(seat);
	CHECK(!d->accounts.n_items);
	map_clear(&d->accounts);
}
