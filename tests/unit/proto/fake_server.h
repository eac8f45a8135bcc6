/*
 * A PostgreSQL server that only pretends: it reads what weir sends, keeps statements, settings and
 * a transaction, and answers in order. Its SQL is the handful of statements that the scripts use.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/bytes.h"

#define FAKE_MAX 32

struct fake_pair {
	char name[64], value[256];
};

struct fake_server {
	bool eager; /* answers at once; else, as the real one mostly does, at a Sync, Flush or Query
		     */
	struct buf in, waiting; /* not yet a whole message; not yet flushed */
	struct buf out;         /* for weir to read */
	struct fake_pair statements[FAKE_MAX], settings[FAKE_MAX];
	size_t n_statements, n_settings;
	char unnamed[256], portal[256]; /* texts; "" none */
	char status;
	bool skipping; /* to the next Sync */
	bool copy_in, copy_extended;
	int notify_later; /* that many ReadyForQuery from now */
	bool reported;    /* a setting that is reported has changed */
	bool malformed;
};

void fake_server_init(struct fake_server *s, bool eager);
void fake_server_clear(struct fake_server *s);

/* Takes bytes that weir sent; answers are appended to `out`. */
void fake_server_feed(struct fake_server *s, const void *data, size_t len);
