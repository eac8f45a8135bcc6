/*
 * How many clients each account and each database has, where one of the two has a limit, on all
 * workers together. Workers ask by message, on behalf of a client that waits for the answer; nobody
 * else knows the numbers.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/internal.h"

enum account_kind { ACCOUNT_USER, ACCOUNT_DATABASE };

/* There is one for as long as it has clients. */
struct account {
	struct map_node node;
	enum account_kind kind;
	unsigned n_clients;
	char name[];
};

struct account_key {
	enum account_kind kind;
	const char *name;
};

static bool same_account(const struct map_node *node, const void *arg)
{
	const struct account *account = container_of(node, const struct account, node);
	const struct account_key *key = arg;

	return account->kind == key->kind && strcmp(account->name, key->name) == 0;
}

static uint64_t hash_of(struct account_key key)
{
	return hash_bytes(&key.kind, sizeof(key.kind), hash_text(key.name));
}

static struct account *find(const struct daemon *d, struct account_key key)
{
	struct map_node *node = map_find(&d->accounts, hash_of(key), same_account, &key);

	return node ? container_of(node, struct account, node) : NULL;
}

/* Counts one more. False: no memory. */
static bool count(struct daemon *d, struct account_key key)
{
	struct account *account = find(d, key);
	size_t size = strlen(key.name) + 1;

	if (!account) {
		account = calloc(1, sizeof(*account) + size);
		if (!account)
			return false;
		account->kind = key.kind;
		memcpy(account->name, key.name, size);
		if (map_insert(&d->accounts, &account->node, hash_of(key)) < 0) {
			free(account);
			return false;
		}
	}
	account->n_clients++;
	return true;
}

static void uncount(struct daemon *d, struct account_key key)
{
	struct account *account = find(d, key);

	CHECK(account && account->n_clients > 0);
	if (--account->n_clients == 0) {
		map_remove(&d->accounts, &account->node);
		free(account);
	}
}

static struct account_key user_of(const struct seat *seat)
{
	return (struct account_key){.kind = ACCOUNT_USER, .name = seat->user};
}

static struct account_key database_of(const struct seat *seat)
{
	return (struct account_key){.kind = ACCOUNT_DATABASE, .name = seat->database};
}

static bool has_room(const struct daemon *d, struct account_key key, int limit)
{
	const struct account *account = find(d, key);

	return limit < 0 || (account ? account->n_clients : 0) < (unsigned)limit;
}

static bool fits(const struct daemon *d, struct seat *seat)
{
	const struct config_user *user = config_user(d->config, seat->user);
	const struct config_database *database = config_database(d->config, seat->database);

	seat->user_full = user && !has_room(d, user_of(seat), user->max_clients);
	return !seat->user_full &&
	       (!database || has_room(d, database_of(seat), database->pool.max_clients));
}

/* Both are counted, whichever has the limit: after a reload it may be the other one. */
static bool count_both(struct daemon *d, const struct seat *seat)
{
	if (!count(d, user_of(seat)))
		return false;
	if (count(d, database_of(seat)))
		return true;
	uncount(d, user_of(seat));
	return false;
}

static void answer(struct daemon *d, struct seat *seat)
{
	seat->given = (seat->is_inside || fits(d, seat)) && count_both(d, seat);
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

	uncount(d, user_of(seat));
	uncount(d, database_of(seat));
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
