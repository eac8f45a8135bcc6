/*
 * What the shards of a pool can see of each other at a glance: who waits where, and whose turn it
 * is. The order of service and max_waiting come from it, and nothing else: connections and
 * permissions travel as messages, and who waits is found by message too. So a glance may be a
 * moment old.
 *
 * Only atomics, read and written without locks. A lock is taken once per pool and shard, when the
 * shard is made.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/check.h"
#include "util/clock.h"

/* A place in the order of service; the lower one is served first. */
typedef int64_t turn_t;

#define TURN_NEVER INT64_MAX

/* Users that can be told apart while all of them wait. More of them share turns by chance. */
#define FLOWS_MAX 256

/* What one shard shows, on a cache line of its own. */
struct sign {
	_Alignas(64) _Atomic turn_t turn; /* of its first waiter; TURN_NEVER: none waits */
	_Atomic usec_t since;             /* of its wait, or of one behind it who waits longer */
	_Atomic uint32_t flavours;        /* that its waiters can use; a bit each */
	_Atomic unsigned n_idle;
	_Atomic unsigned n_dialling;
};

struct flow {
	_Atomic uint64_t key; /* 0: unused */
	_Atomic turn_t next;  /* the turn of its next waiter */
};

struct board {
	_Alignas(64) _Atomic unsigned n_waiting; /* on all shards */
	_Atomic unsigned n_open; /* as the ledger has it: permissions not dialling */
	_Atomic turn_t clock;    /* the latest turn that came */
	struct flow flows[FLOWS_MAX];
	struct board *next;
	char *name, *user;
	struct sign signs[]; /* one per shard */
};

/* The boards of all pools; outlives every worker's pools. */
struct boards;

/* 0 or -ENOMEM. */
MUST_USE int boards_new(unsigned n_shards, struct boards **ret_boards);
void boards_free(struct boards *boards);

/* The board of that pool, made on first use; lives as long as `boards`. NULL: no memory. */
struct board *boards_get(struct boards *boards, const char *name, const char *user);

/* The turn of a waiter of that flow, which takes turns with the other flows. `credit`: how many
 * turns it may be behind the others and catch up with. */
turn_t board_take_turn(struct board *board, uint64_t key, turn_t credit);

/* A waiter with that turn has been served. */
void board_turn_came(struct board *board, turn_t turn);

/* Counts one waiter more, unless there are `limit` already: false. */
bool board_count_waiter(struct board *board, unsigned limit);

static inline unsigned board_n_waiting(const struct board *board)
{
	return atomic_load_explicit(&board->n_waiting, memory_order_relaxed);
}
