/*
 * What statements change in a session, as far as the server does not report it: learnt from the
 * command tags, and from the scan of the text for what the tags leave open. Settings are noted, so
 * that they can follow the client; what cannot follow pins the server connection, until its end is
 * seen.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"
#include "util/text.h"

#define PINS_MAX 256

void settings_replace(const struct settings **slot, const struct settings *list)
{
	const struct settings *old = *slot;

	*slot = list ? settings_ref(list) : NULL;
	settings_unref(old);
}

void session_settings_clear(struct session_settings *settings)
{
	settings_replace(&settings->reported, NULL);
	settings_replace(&settings->extra, NULL);
	settings_replace(&settings->extra_before, NULL);
}

/* --- pins --- */

static void pin_free(struct pin *pin)
{
	list_remove(&pin->link);
	free(pin);
}

void pins_clear(struct pg_back *back)
{
	struct pin *pin;

	while ((pin = list_first(&back->pins, struct pin, link)))
		pin_free(pin);
}

static size_t count_pins(
	const struct pg_back *back, enum pin_kind kind, const char *name, bool *ret_found)
{
	struct list *link;
	size_t n = 0;

	list_for_each (link, &back->pins) {
		const struct pin *pin = list_entry(link, struct pin, link);
		*ret_found |= pin->kind == kind && strcmp(pin->name, name ? name : "") == 0;
		n++;
	}
	return n;
}

static void pin_add(
	struct pg_front *front, struct pg_back *back, enum pin_kind kind, const char *name)
{
	struct statement_text cause = last_statement(front, back);
	char statement[STATEMENT_SHOWN_SIZE];
	size_t size = strlen(name ? name : "") + 1;
	bool found = false;

	size_t n = count_pins(back, kind, name, &found);
	if (found)
		return;
	/* One that ends only with all others stands for those that are too many. */
	if (n >= PINS_MAX && kind != PIN_AUTHORIZATION) {
		pin_add(front, back, PIN_AUTHORIZATION, NULL);
		return;
	}
	text_shorten(statement, sizeof(statement), cause.text, cause.len, cause.goes_on);
	struct pin *pin = malloc(sizeof(*pin) + size + strlen(statement) + 1);

	/* Without memory for the reason the connection is at least not given to anyone else. */
	back->base.dirty = true;
	if (!pin)
		return;
	pin->kind = kind;
	pin->since = clock_usec();
	memcpy(pin->name, name ? name : "", size);
	pin->statement = text_copy(pin->name + size, strlen(statement) + 1, statement);
	list_append(&back->pins, &pin->link);
}

/* Ends the pins of that kind, and of that name (NULL: any). */
void pin_end(struct pg_back *back, enum pin_kind kind, const char *name)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &back->pins) {
		struct pin *pin = list_entry(link, struct pin, link);
		if (pin->kind == kind && (!name || strcmp(pin->name, name) == 0))
			pin_free(pin);
	}
	if (list_empty(&back->pins))
		back->base.dirty = false;
}

/* --- settings --- */

static void set_extra(struct pg_front *front, struct pg_back *back, const char *name, char mark,
	const char *value)
{
	struct settings_table *table = front->worker->settings;
	const struct settings *list;
	struct buf b = {0};

	/* What is reported follows by the server's own word. */
	if (settings_get(back->settings.reported, name))
		return;
	buf_u8(&b, (uint8_t)mark);
	buf_cstr(&b, value);
	bool fits = front->statements.size + settings_size(front->settings.extra) + strlen(name) +
			    b.len <=
		    front->memory_limit;
	int r = b.failed || !fits
			? 1
			: settings_with(table, front->settings.extra, name, (char *)b.data, &list);
	buf_clear(&b);
	if (r != 0) {
		pin_add(front, back, PIN_SETTINGS, name);
		return;
	}
	settings_replace(&front->settings.extra, list);
	settings_replace(&back->settings.extra, list);
	settings_unref(list);
}

/* RESET leads the server to its own value, and the client to what it asked for at startup: the
 * difference is brought to the server in front of the next statement. */
static void reset_extra(struct pg_front *front, struct pg_back *back, const char *name)
{
	struct settings_table *table = front->worker->settings;
	const struct settings *list;
	const char *startup = settings_get(front->startup_reported, name);

	if (settings_get(back->settings.reported, name)) {
		if (startup && settings_with(table, front->resets, name, startup, &list) == 0) {
			settings_replace(&front->resets, list);
			settings_unref(list);
		}
		return;
	}
	if (settings_with(table, back->settings.extra, name, NULL, &list) == 0) {
		settings_replace(&back->settings.extra, list);
		settings_unref(list);
	}
	const char *value = settings_get(front->startup_extra, name);
	if (settings_with(table, front->settings.extra, name, value, &list) == 0) {
		settings_replace(&front->settings.extra, list);
		settings_unref(list);
	}
}

/* Replaces a list by `base`, together with what RESET ALL leaves as it is. False: no memory, or no
 * room. */
static bool replace_but_kept(
	struct pg_front *front, const struct settings **list, const struct settings *base)
{
	static const char *const kept[] = {"role", "seed"};
	const struct settings *next = settings_ref(base), *longer;

	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		const char *value = settings_get(*list, kept[i]);
		if (!value)
			continue;
		int r = settings_with(front->worker->settings, next, kept[i], value, &longer);
		settings_unref(next);
		if (r != 0)
			return false;
		next = longer;
	}
	settings_replace(list, next);
	settings_unref(next);
	return true;
}

static void reset_all(struct pg_front *front, struct pg_back *back)
{
	const struct settings *empty = settings_empty(front->worker->settings);
	bool done = replace_but_kept(front, &back->settings.extra, empty) &&
		    replace_but_kept(front, &front->settings.extra, front->startup_extra);

	settings_unref(empty);
	settings_replace(&front->resets, front->startup_reported);
	pin_end(back, PIN_SETTINGS, NULL);
	if (!done)
		pin_add(front, back, PIN_SETTINGS, NULL);
}

/* As RESET ALL, and the role too. */
static void reset_session(struct pg_front *front, struct pg_back *back)
{
	const struct settings *empty = settings_empty(front->worker->settings);

	settings_replace(&back->settings.extra, empty);
	settings_unref(empty);
	settings_replace(&front->settings.extra, front->startup_extra);
	settings_replace(&front->resets, front->startup_reported);
	pin_end(back, PIN_SETTINGS, NULL);
}

static void discard_all(struct pg_front *front, struct pg_back *back)
{
	reset_session(front, back);
	client_statements_clear(&front->statements);
	prepared_clear(&back->prepared);
	back->unnamed_number = 0;
	pins_clear(back);
	back->base.dirty = front->session_mode;
}

static void set_config(struct pg_front *front, struct pg_back *back, const struct effect *effect)
{
	const char *value = effect->param > 0 ? front->bound_value : effect->value;

	if (effect->name && value)
		set_extra(front, back, effect->name, '\'', value);
	else
		pin_add(front, back, PIN_SETTINGS, effect->name);
}

static void deallocate(struct pg_front *front, struct pg_back *back, const char *name)
{
	struct client_statement *cs = client_statement_find(&front->statements, name);

	if (cs)
		client_statement_drop(&front->statements, cs);
	pin_end(back, PIN_PREPARE, name);
}

static void deallocate_all(struct pg_front *front, struct pg_back *back)
{
	client_statements_clear(&front->statements);
	prepared_clear(&back->prepared);
	back->unnamed_number = 0;
	pin_end(back, PIN_PREPARE, NULL);
}

/* What one statement did, now that it has succeeded. */
static void apply(struct pg_front *front, struct pg_back *back, const struct effect *effect)
{
	switch (effect->kind) {
	case EFFECT_SET:
		set_extra(front, back, effect->name, '=', effect->value);
		break;
	case EFFECT_RESET:
		reset_extra(front, back, effect->name);
		break;
	case EFFECT_RESET_ALL:
		reset_all(front, back);
		break;
	case EFFECT_SET_CONFIG:
		set_config(front, back, effect);
		break;
	case EFFECT_SESSION_AUTHORIZATION:
		pin_add(front, back, PIN_AUTHORIZATION, NULL);
		break;
	case EFFECT_DISCARD_ALL:
		discard_all(front, back);
		break;
	case EFFECT_DISCARD_TEMP:
		pin_end(back, PIN_TEMP, NULL);
		break;
	case EFFECT_PREPARE:
		pin_add(front, back, PIN_PREPARE, effect->name);
		break;
	case EFFECT_DEALLOCATE:
		deallocate(front, back, effect->name);
		break;
	case EFFECT_DEALLOCATE_ALL:
		deallocate_all(front, back);
		break;
	case EFFECT_LISTEN:
		pin_add(front, back, PIN_LISTEN, effect->name);
		break;
	case EFFECT_UNLISTEN:
		pin_end(back, PIN_LISTEN, effect->name);
		break;
	case EFFECT_UNLISTEN_ALL:
		pin_end(back, PIN_LISTEN, NULL);
		break;
	case EFFECT_TEMP:
		pin_add(front, back, PIN_TEMP, NULL);
		break;
	case EFFECT_HOLD_CURSOR:
		pin_add(front, back, PIN_CURSOR, effect->name);
		break;
	case EFFECT_CLOSE:
		pin_end(back, PIN_CURSOR, effect->name);
		break;
	case EFFECT_CLOSE_ALL:
		pin_end(back, PIN_CURSOR, NULL);
		break;
	case EFFECT_ADVISORY_LOCK:
		pin_add(front, back, PIN_LOCK, NULL);
		/* It may have tried in vain. */
		back->asks_pins |= 1u << PIN_LOCK;
		break;
	case EFFECT_ADVISORY_UNLOCK_ALL:
		pin_end(back, PIN_LOCK, NULL);
		break;
	case EFFECT_LOAD:
		pin_add(front, back, PIN_LOAD, NULL);
		break;
	case EFFECT_ROLLBACK_TO:
		/* Which of the settings since the savepoint are left cannot be told. */
		if (front->settings.extra != front->settings.extra_before)
			pin_add(front, back, PIN_SETTINGS, NULL);
		break;
	case EFFECT_ADVISORY_UNLOCK:
		/* Of how many locks that was the last one only the server knows: back.c asks. */
		back->asks_pins |= 1u << PIN_LOCK;
		break;
	case EFFECT_SET_LOCAL:
	case EFFECT_EXECUTE:
		break;
	}
}

/* The transaction's settings stay, or go. */
static void settle(struct session_settings *settings, bool kept)
{
	if (kept)
		settings_replace(&settings->extra_before, settings->extra);
	else
		settings_replace(&settings->extra, settings->extra_before);
}

static void settle_both(struct pg_front *front, struct pg_back *back, bool kept)
{
	if (front->settings.extra_before != front->settings.extra)
		settle(&front->settings, kept);
	if (back->settings.extra_before != back->settings.extra)
		settle(&back->settings, kept);
}

/* What the command's tag tells. */
static void by_tag(struct pg_front *front, struct pg_back *back, const char *tag, bool to_savepoint)
{
	switch (tag[0]) {
	case 'C':
		if (strcmp(tag, "COMMIT") == 0)
			settle_both(front, back, true);
		else if (strcmp(tag, "CALL") == 0) /* what was carried out is not in the text */
			back->asks_pins |= 1u << PIN_LOCK;
		break;
	case 'D':
		/* Whether something temporary is left, too. */
		if (text_starts_with(tag, "DROP "))
			back->asks_pins |= 1u << PIN_TEMP;
		else if (strcmp(tag, "DO") == 0)
			back->asks_pins |= 1u << PIN_LOCK;
		break;
	case 'R':
		if (strcmp(tag, "ROLLBACK") == 0 && !to_savepoint)
			settle_both(front, back, false);
		break;
	default: /* SELECT, INSERT, UPDATE, BEGIN, ... */
		break;
	}
}

void effects_command(struct pg_front *front, struct pg_back *back, const char *tag)
{
	const struct expectation *e = expectations_first(&back->expected);
	CHECK(e);
	unsigned index = e->kind == EXPECT_QUERY ? front->statement_index++ : 0;
	const struct scan *scan = e->effectful ? front->effects : NULL;
	bool to_savepoint = false;

	for (unsigned i = 0; scan && i < scan->n_effects; i++) {
		if (scan->effects[i].statement != index)
			continue;
		apply(front, back, &scan->effects[i]);
		to_savepoint |= scan->effects[i].kind == EFFECT_ROLLBACK_TO;
	}
	if (scan && scan->overflow)
		pin_add(front, back, PIN_SETTINGS, NULL);
	by_tag(front, back, tag, to_savepoint);
}

/* What servers report after a RESET comes just before ReadyForQuery: it is their own value, not the
 * client's. */
static void apply_resets(struct pg_front *front)
{
	const struct settings *list;

	for (size_t i = 0; i < settings_count(front->resets); i++) {
		if (settings_with(front->worker->settings, front->settings.reported,
			    settings_name(front->resets, i), settings_value(front->resets, i),
			    &list) != 0)
			continue;
		front->retell |= list != front->settings.reported;
		settings_replace(&front->settings.reported, list);
		settings_unref(list);
	}
	const struct settings *empty = settings_empty(front->worker->settings);
	settings_replace(&front->resets, empty);
	settings_unref(empty);
}

void effects_ready(struct pg_front *front, struct pg_back *back)
{
	/* Here, not when the next Query is sent: that may be long before this one is answered. */
	front->statement_index = 0;
	if (settings_count(front->resets))
		apply_resets(front);
	if (back->status != 'I')
		return;
	settle_both(front, back, !back->erred);
	if (front->reported_before != front->settings.reported)
		settings_replace(&front->reported_before, front->settings.reported);
}
