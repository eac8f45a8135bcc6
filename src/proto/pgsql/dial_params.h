/* From a database's URL to the parameters of libpq. For dial.c. */
#pragma once

#include <stddef.h>

#include "proto/proto.h"
#include "util/check.h"
#include "util/clock.h"

/* What libpq takes: two lists that end with NULL, the last word on a key counts. The texts are
 * borrowed from the target, so that there are no copies of a password to wipe. */
struct pgsql_params {
	const char **keys, **values;
	size_t n, cap;
	usec_t timeout;          /* for one address; 0: none */
	char timeout_digits[16]; /* the same as libpq has it */
};

/* Everything but the place (host, hostaddr, port), with room for it. `ret_params` must stay where
 * it is, and `target` with all it holds stays alive, until pgsql_params_clear(). Returns 0 or
 * -ENOMEM. */
MUST_USE int pgsql_params_init(struct pgsql_params *ret_params, const struct dial_target *target);
void pgsql_params_clear(struct pgsql_params *p);

/* Adds one; `value` NULL: does nothing. At most PGSQL_PARAMS_ROOM after pgsql_params_init(); to
 * take them back, restore `n`. */
#define PGSQL_PARAMS_ROOM 4
void pgsql_params_add(struct pgsql_params *p, const char *key, const char *value);
