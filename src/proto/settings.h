/*
 * The settings of a session: immutable lists of (name, value), one object per content, so that two
 * sessions have the same settings exactly if they have the same pointer. Counted references. A
 * table and its lists belong to one worker. Names are compared without regard to case, and keep the
 * spelling they came with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/check.h"

#define SETTINGS_MAX       256  /* pairs in one list */
#define SETTINGS_VALUE_MAX 8192 /* bytes of one value */

struct settings;
struct settings_table;

/* Outcome of settings_with(): the list, the name or the value is too long. */
enum { SETTINGS_TOO_MANY = 1 };

/* NULL: no memory. */
struct settings_table *settings_table_new(void);

/* Every list must have been given back. */
void settings_table_free(struct settings_table *table);

/* The list without pairs. A new reference. */
const struct settings *settings_empty(struct settings_table *table);

/* `base` with that pair set, or without that name if `value` is NULL. Returns 0 with a new
 * reference in *ret_list, SETTINGS_TOO_MANY, or -ENOMEM. */
MUST_USE int settings_with(struct settings_table *table, const struct settings *base,
	const char *name, const char *value, const struct settings **ret_list);

const struct settings *settings_ref(const struct settings *list);
void settings_unref(const struct settings *list); /* accepts NULL */

/* The value of that name, or NULL. */
const char *settings_get(const struct settings *list, const char *name);

/* Bytes that it takes. */
size_t settings_size(const struct settings *list);

size_t settings_count(const struct settings *list);

/* The pair at `index`, in the order of names. */
const char *settings_name(const struct settings *list, size_t index);
const char *settings_value(const struct settings *list, size_t index);
