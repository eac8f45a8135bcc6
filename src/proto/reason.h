/*
 * Why weir refused a statement or ended a connection: one row each, with the words and codes that
 * both protocols use. To add a reason, add a row to reasons.def; the manual lists the same rows.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum reason {
#define REASON(id, name, is_error, sqlstate, mysql_code, mysql_sqlstate, text) REASON_##id,
#include "proto/reasons.def"
#undef REASON
	N_REASONS
};

struct reason_row {
	const char *name;     /* for the log and the counters */
	bool is_error;        /* false: an ordinary end */
	const char *sqlstate; /* PostgreSQL's */
	uint16_t mysql_code;
	const char *mysql_sqlstate;
	const char *text;
};

const struct reason_row *reason_row(enum reason reason);

/* What a client is told: a reason, and the words for this one case. Set with refusal_set(); a
 * server's own words replace code and text. */
struct refusal {
	enum reason reason;
	char sqlstate[6];
	uint16_t mysql_code;
	char mysql_sqlstate[6];
	char text[700];
};

/* Fills in the row's codes and text; `detail` (may be NULL) follows the text after ": ". */
void refusal_set(struct refusal *ret_refusal, enum reason reason, const char *detail);
