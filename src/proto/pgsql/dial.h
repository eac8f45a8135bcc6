/*
 * What libpq does for weir: logging in to servers, with every method, option and password file that
 * it knows; and cancelling. The only place that sees libpq. All but the handle's functions may
 * block: dialler threads call them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/proto.h"
#include "util/bytes.h"
#include "util/check.h"

/* A connection that is logged in: struct dialled's handle. */
struct pgsql_handle {
	uint32_t process_id;
	struct buf parameters; /* what the server reported: name NUL value NUL ... */
	void *conn;   /* PGconn *: kept for the end; owns libpq's own descriptor and the SSL */
	void *cancel; /* PGcancel * */
	/* Packed by another worker: settings that were made besides, in the same form. */
	struct buf extra;
	bool leftover; /* statements of that worker are still prepared, under names that another one
			  may give too */
};

/* Makes sure that the environment (PGHOST, PGOPTIONS, ...) has no say; password files do. Before
 * threads. */
void pgsql_forget_environment(void);

bool pgsql_url_check(const struct url *url, struct buf *ret_problem);

MUST_USE int pgsql_dial(const struct dial_target *target, struct dialled *ret_dialled,
	struct refusal *ret_refusal, bool *ret_final);

void pgsql_dialled_free(struct dialled *dialled);

/* Does not block. Weir's own descriptor must be closed already or be closed independently. */
void pgsql_handle_free(struct pgsql_handle *handle);

void *pgsql_cancel_new(const struct pgsql_handle *handle);
void pgsql_cancel_free(void *cancel);
void pgsql_cancel(void *cancel);
