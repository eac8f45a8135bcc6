/* Boards, and taking turns: start-time fair queueing, by counters that all shards share. */
#include "pool/board.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A flow is looked for at this many places. */
#define PROBES 8

struct boards {
	pthread_mutex_t lock;
	unsigned n_shards;
	struct board *first; /* under the lock */
};

int boards_new(unsigned n_shards, struct boards **ret_boards)
{
	struct boards *boards = calloc(1, sizeof(*boards));

	if (!boards)
		return -ENOMEM;
	pthread_mutex_init(&boards->lock, NULL);
	boards->n_shards = n_shards;
	*ret_boards = boards;
	return 0;
}

static void board_free(struct board *board)
{
	free(board->name);
	free(board->user);
	free(board);
}

void boards_free(struct boards *boards)
{
	struct board *board;

	if (!boards)
		return;
	while ((board = boards->first)) {
		boards->first = board->next;
		board_free(board);
	}
	pthread_mutex_destroy(&boards->lock);
	free(boards);
}

static struct board *board_new(unsigned n_shards, const char *name, const char *user)
{
	size_t size = sizeof(struct board) + n_shards * sizeof(struct sign);
	struct board *board = aligned_alloc(_Alignof(struct board), size);

	if (!board)
		return NULL;
	memset(board, 0, size);
	for (unsigned i = 0; i < n_shards; i++)
		atomic_init(&board->signs[i].turn, TURN_NEVER);
	board->name = strdup(name);
	board->user = strdup(user);
	if (board->name && board->user)
		return board;
	board_free(board);
	return NULL;
}

struct board *boards_get(struct boards *boards, const char *name, const char *user)
{
	struct board *board;

	pthread_mutex_lock(&boards->lock);
	for (board = boards->first; board; board = board->next) {
		if (strcmp(board->name, name) == 0 && strcmp(board->user, user) == 0)
			break;
	}
	if (!board && (board = board_new(boards->n_shards, name, user))) {
		board->next = boards->first;
		boards->first = board;
	}
	pthread_mutex_unlock(&boards->lock);
	return board;
}

/* --- turns --- */

/* A flow that has nothing to catch up with is as good as none: its place is free. */
static bool is_spent(const struct flow *flow, uint64_t key, turn_t clock)
{
	return !key || atomic_load_explicit(&flow->next, memory_order_relaxed) < clock;
}

static struct flow *flow_of(struct board *board, uint64_t key, turn_t oldest)
{
	struct flow *spent = NULL;

	for (unsigned i = 0; i < PROBES; i++) {
		struct flow *flow = &board->flows[(key + i) % FLOWS_MAX];
		uint64_t found = atomic_load_explicit(&flow->key, memory_order_relaxed);
		if (found == key)
			return flow;
		if (!spent && is_spent(flow, found, oldest))
			spent = flow;
	}
	if (!spent)
		return &board->flows[key % FLOWS_MAX];
	/* Two that do so at once share the place until one of them is spent. */
	atomic_store_explicit(&spent->key, key, memory_order_relaxed);
	return spent;
}

turn_t board_take_turn(struct board *board, uint64_t key, turn_t credit)
{
	turn_t oldest = atomic_load_explicit(&board->clock, memory_order_relaxed) - credit;
	struct flow *flow = flow_of(board, key ? key : 1, oldest);
	turn_t next = atomic_load_explicit(&flow->next, memory_order_relaxed), turn;

	do {
		turn = next > oldest ? next : oldest;
	} while (!atomic_compare_exchange_weak_explicit(
		&flow->next, &next, turn + 1, memory_order_relaxed, memory_order_relaxed));
	return turn;
}

void board_turn_came(struct board *board, turn_t turn)
{
	turn_t clock = atomic_load_explicit(&board->clock, memory_order_relaxed);

	while (clock < turn && !atomic_compare_exchange_weak_explicit(&board->clock, &clock, turn,
				       memory_order_relaxed, memory_order_relaxed))
		;
}

bool board_count_waiter(struct board *board, unsigned limit)
{
	unsigned n = board_n_waiting(board);

	do {
		if (n >= limit)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&board->n_waiting, &n, n + 1, memory_order_relaxed, memory_order_relaxed));
	return true;
}
