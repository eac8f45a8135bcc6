/*
 * THE option table: every option of weir.ini, one row each. Parsing, --options, the sample file,
 * the manual page, what a reload changes and SHOW CONFIG are all made from these rows. To add an
 * option, add a row, and its field to config.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

enum option_section {
	OPTION_WEIR, /* [weir]: a field of struct config */
	OPTION_POOL, /* [defaults] and [database NAME]: a field of struct config_pool */
	OPTION_USER, /* [user NAME]: a field of struct config_user */
	OPTION_URL,  /* [database NAME]: the URL itself */
};

enum option_type {
	OPTION_BOOL,
	OPTION_INT,
	OPTION_DURATION,
	OPTION_SIZE, /* of memory */
	OPTION_LIST,
	OPTION_TEXT,
	OPTION_SECRET,
	OPTION_POOL_MODE,
	OPTION_FAIR_BY,
	OPTION_LOG_LEVEL,
	OPTION_WORKERS, /* a number, or "auto" */
};

struct option_row {
	enum option_section section;
	enum option_type type;
	const char *name;
	const char *fallback; /* the default, as it would be written */
	long long min, max;   /* of numbers; durations in microseconds, sizes in bytes; -1 as min:
				 that means "no limit" */
	size_t offset;
	bool reloads;     /* whether HUP and RELOAD take it */
	bool per_user;    /* may stand in [user NAME] as well */
	const char *help; /* one line */
	const char *more; /* for the manual; may be NULL */
};

extern const struct option_row options[];
extern const size_t n_options;

/* The row of that name in that section, or NULL. OPTION_USER finds the per_user rows too. */
const struct option_row *option_find(enum option_section section, const char *name);

/* Parses `text` into the field at base + offset. Lists and texts replace what was there. Returns 0;
 * 1 with what is wrong and what is allowed in `ret_problem`; or -ENOMEM. */
MUST_USE int option_parse(
	const struct option_row *row, const char *text, void *base, struct buf *ret_problem);

/* The field as it would be written. Secrets are not shown. */
void option_print(const struct option_row *row, const void *base, struct buf *ret_text);

/* What is allowed: "a duration like 250ms, 30s, 5min; at least 0". */
void option_print_allowed(const struct option_row *row, struct buf *ret_text);

/* Sets every field of that section to its default. Returns 0 or -ENOMEM. */
MUST_USE int options_set_defaults(enum option_section section, void *base);

/* Frees the lists and texts of that section. */
void options_clear(enum option_section section, void *base);

void option_clear_list(struct config_list *list);
