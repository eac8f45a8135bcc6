/*
 * What a session is made of, as far as the server does not keep it by itself: learnt from the
 * session tracking in OK packets ("Protocol::OK_Packet", session state information), and from the
 * scan of the text for what that does not tell. Settings follow the client; what cannot follow pins
 * the server connection, until its end is seen.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/control.h"
#include "proto/mysql/state.h"
#include "util/text.h"

/* More than these are not told apart: a lock may be asked for again and again. */
#define PINS_MAX 256

/* Kinds of session state information. */
enum { TRACK_VARIABLE = 0, TRACK_SCHEMA = 1, TRACK_STATE = 2 };

/* Names and values are cut to what can be repeated. */
#define NAME_MAX_SIZE 128

/* Variables that change by themselves, or that must not be repeated elsewhere. */
static const char *const volatile_variables[] = {"statement_id", "last_insert_id", "identity",
	"insert_id", "rand_seed1", "rand_seed2", "timestamp", "pseudo_thread_id", "warning_count",
	"error_count", "gtid_next", "sql_log_bin", "last_gtid", "server_id", "gtid_seq_no",
	"original_commit_timestamp"};

/* What servers track if nobody says otherwise. */
static const char *const usual_variables[] = {"time_zone", "autocommit", "character_set_client",
	"character_set_results", "character_set_connection"};

static bool is_among(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text_equal_ci(name, list[i]))
			return true;
	}
	return false;
}

/* --- lists --- */

void my_settings_replace(const struct settings **slot, const struct settings *list)
{
	const struct settings *old = *slot;

	*slot = list ? settings_ref(list) : NULL;
	settings_unref(old);
}

bool my_settings_set(struct settings_table *table, const struct settings **slot, const char *name,
	const char *value)
{
	const struct settings *list;

	if (settings_with(table, *slot, name, value, &list) != 0)
		return false;
	settings_unref(*slot);
	*slot = list;
	return true;
}

bool my_settings_collation(struct settings_table *table, const struct settings **slot,
	unsigned collation, bool is_mariadb)
{
	const char *charset, *name = mysql_collation(collation, &charset);

	if (!name) {
		name = "utf8mb4_general_ci";
		charset = "utf8mb4";
	}
	/* MySQL's own collations are not known to MariaDB, which then takes the usual one. */
	if (is_mariadb && strstr(name, "_0900_"))
		name = NULL;
	return my_settings_set(table, slot, "character_set_client", charset) &&
	       my_settings_set(table, slot, "character_set_connection", charset) &&
	       my_settings_set(table, slot, "character_set_results", charset) &&
	       my_settings_set(table, slot, "collation_connection", name);
}

/* --- pins --- */

void my_pin_free(struct my_pin *pin)
{
	list_remove(&pin->link);
	free(pin);
}

void my_pins_each(const struct my_back *back, enum my_pin_kind kind, my_pin_fn fn, void *arg)
{
	struct list *link, *next;

	list_for_each_safe (link, next, &back->pins) {
		struct my_pin *pin = list_entry(link, struct my_pin, link);
		if (pin->kind == kind)
			fn(pin, arg);
	}
}

void my_pins_clear(struct my_back *back)
{
	struct my_pin *pin;

	while ((pin = list_first(&back->pins, struct my_pin, link)))
		my_pin_free(pin);
}

static struct my_pin *pin_find(const struct my_back *back, enum my_pin_kind kind, const char *name)
{
	struct list *link;

	list_for_each (link, &back->pins) {
		struct my_pin *pin = list_entry(link, struct my_pin, link);
		if (pin->kind == kind && (!name || strcmp(pin->name, name) == 0))
			return pin;
	}
	return NULL;
}

/* Pins that stand for something in the session which others must not meet. */
static bool leaves_traces(enum my_pin_kind kind)
{
	switch (kind) {
	case MY_PIN_VARIABLE:
	case MY_PIN_LOCK:
	case MY_PIN_TABLES:
	case MY_PIN_TEMPORARY:
	case MY_PIN_PREPARE:
	case MY_PIN_HANDLER:
	case MY_PIN_SETTINGS:
	case MY_PIN_STATE:
	case MY_PIN_TRANSACTION:
	case MY_PIN_CURSOR:
	case MY_PIN_LONG_DATA:
		return true;
	case MY_PIN_SAVEPOINT:
	case MY_PIN_FOUND_ROWS:
		break;
	}
	return false;
}

static bool has_many(const struct my_back *back)
{
	struct list *link;
	size_t n = 0;

	list_for_each (link, &back->pins)
		n++;
	return n >= PINS_MAX;
}

void my_pin_add(
	const struct my_front *front, struct my_back *back, enum my_pin_kind kind, const char *name)
{
	struct statement_text cause = {0};
	char statement[STATEMENT_SHOWN_SIZE];

	/* One that nothing but a reset ends stands for all that are too many. */
	if (has_many(back)) {
		kind = MY_PIN_SETTINGS;
		name = NULL;
	}
	size_t size = strlen(name ? name : "") + 1;
	if (pin_find(back, kind, name ? name : ""))
		return;
	if (front)
		cause = my_last_statement(front, back);
	text_shorten(statement, sizeof(statement), cause.text, cause.len, cause.goes_on);
	struct my_pin *pin = malloc(sizeof(*pin) + size + strlen(statement) + 1);
	/* Without memory for the reason nobody else meets what it was about. */
	if (!pin) {
		back->tainted = true;
		return;
	}
	pin->kind = kind;
	pin->since = clock_usec();
	memcpy(pin->name, name ? name : "", size);
	pin->statement = text_copy(pin->name + size, strlen(statement) + 1, statement);
	list_append(&back->pins, &pin->link);
}

void my_pin_end(struct my_back *back, enum my_pin_kind kind, const char *name)
{
	struct my_pin *pin;

	while ((pin = pin_find(back, kind, name)))
		my_pin_free(pin);
}

bool my_pins_dirty(const struct my_back *back)
{
	struct list *link;

	list_for_each (link, &back->pins) {
		if (leaves_traces(list_entry(link, struct my_pin, link)->kind))
			return true;
	}
	return false;
}

/* --- session tracking --- */

struct tracked {
	bool variable, schema, state;
};

static bool read_text(struct reader *r, char *ret_text, size_t size)
{
	size_t len;
	const uint8_t *bytes = my_read_lenenc_bytes(r, &len);

	if (r->failed || len >= size || memchr(bytes ? bytes : (const uint8_t *)"", 0, len))
		return false;
	if (len)
		memcpy(ret_text, bytes, len);
	ret_text[len] = 0;
	return true;
}

static void set_both(
	struct my_front *front, struct my_back *back, const char *name, const char *value)
{
	struct settings_table *table = back->pool->worker->settings;

	if (!my_settings_set(table, &back->settings, name, value))
		my_pin_add(front, back, MY_PIN_SETTINGS, name);
	bool fits = !front || !value ||
		    front->statements_size + settings_size(front->settings) + strlen(name) +
				    strlen(value) <=
			    front->memory_limit;
	if (!fits || (front && !my_settings_set(table, &front->settings, name, value)))
		my_pin_add(front, back, MY_PIN_SETTINGS, name);
}

/* The collation of a connection is not tracked with its character set, nor the other way round. */
static void follow_collation(
	struct my_front *front, struct my_back *back, const char *name, const char *value)
{
	char charset[NAME_MAX_SIZE];

	if (text_equal_ci(name, "character_set_connection")) {
		bool named = front && front->found & SCAN_NAMES_COLLATE;
		set_both(front, back, "collation_connection", named ? front->found_name : NULL);
	} else if (text_equal_ci(name, "collation_connection")) {
		text_copy(charset, sizeof(charset), value);
		charset[strcspn(charset, "_")] = 0;
		set_both(front, back, "character_set_connection", charset);
	}
}

/* LAST_INSERT_ID() was set by hand: it is the client's from then on. */
static void track_insert_id(struct my_front *front, struct my_back *back, const char *value)
{
	if (!front)
		return;
	front->last_insert_id = strtoull(value, NULL, 10);
	back->insert_id = front->last_insert_id;
	back->insert_id_owner = front->base.key.id;
}

static bool track_variable(
	struct my_front *front, struct my_back *back, struct reader *r, struct tracked *tracked)
{
	char name[NAME_MAX_SIZE], value[SETTINGS_VALUE_MAX];

	/* Both are read whatever they are: what follows a value is the next name. */
	bool named = read_text(r, name, sizeof(name)), good = read_text(r, value, sizeof(value));
	if (!named || !good) {
		my_pin_add(front, back, MY_PIN_SETTINGS, named ? name : NULL);
		return !r->failed;
	}
	if (text_equal_ci(name, "last_insert_id"))
		track_insert_id(front, back, value);
	if (is_among(name, volatile_variables, ARRAY_LEN(volatile_variables)))
		return true;
	tracked->variable = true;
	/* Of SET STATEMENT the server tells the value that holds for that statement only. */
	if (front && front->found & SCAN_SET_STATEMENT)
		return true;
	if (text_starts_with(name, "session_track_"))
		return true;
	set_both(front, back, name, value);
	follow_collation(front, back, name, value);
	return true;
}

static bool track_schema(struct my_front *front, struct my_back *back, struct reader *r)
{
	char schema[256];
	const char *own = back->handle->url.dbname;

	if (!read_text(r, schema, sizeof(schema)))
		return false;
	set_both(front, back, MY_SCHEMA, own && strcmp(schema, own) == 0 ? NULL : schema);
	return true;
}

/* One entry of the session state information. */
static bool track_entry(struct my_front *front, struct my_back *back, uint8_t kind,
	const uint8_t *data, size_t len, struct tracked *tracked)
{
	struct reader r;

	reader_init(&r, data, len);
	switch (kind) {
	case TRACK_VARIABLE:
		/* MariaDB puts several pairs into one entry. */
		while (reader_left(&r)) {
			if (!track_variable(front, back, &r, tracked))
				return false;
		}
		return true;
	case TRACK_SCHEMA:
		tracked->schema = true;
		return track_schema(front, back, &r);
	case TRACK_STATE:
		tracked->state = true;
		return true;
	default:
		return true;
	}
}

bool my_track(struct my_front *front, struct my_back *back, const struct my_ok *ok)
{
	/* Changes of the session's state that the scan has a name for, or that leave nothing. */
	static const uint32_t explained = SCAN_USER_VARIABLE | SCAN_TEMPORARY | SCAN_DROP |
					  SCAN_PREPARE | SCAN_DEALLOCATE | SCAN_SET | SCAN_UNLOCK;
	struct tracked tracked = {0};
	struct reader r;

	reader_init(&r, ok->tracked, ok->tracked_len);
	while (reader_left(&r)) {
		size_t len;
		uint8_t kind = reader_u8(&r);
		const uint8_t *data = my_read_lenenc_bytes(&r, &len);
		if (r.failed || !track_entry(front, back, kind, data, len, &tracked))
			return false;
	}
	/* A procedure has done something that nobody names. */
	if (tracked.state && !tracked.variable && !tracked.schema && front &&
		!(front->found & explained) && front->command != MY_COM_RESET_CONNECTION)
		my_pin_add(front, back, MY_PIN_STATE, NULL);
	return true;
}

/* Appends the pairs of a variable entry that are usual. */
static void filter_variables(const uint8_t *data, size_t len, struct buf *b)
{
	struct reader r;

	reader_init(&r, data, len);
	while (reader_left(&r)) {
		const uint8_t *start = r.at;
		char name[NAME_MAX_SIZE];
		size_t value_len;
		bool known = read_text(&r, name, sizeof(name));
		my_read_lenenc_bytes(&r, &value_len);
		if (r.failed)
			return;
		if (!known || !is_among(name, usual_variables, ARRAY_LEN(usual_variables)))
			continue;
		buf_u8(b, TRACK_VARIABLE);
		my_write_lenenc_bytes(b, start, (size_t)(r.at - start));
	}
}

void my_track_filter(const struct my_ok *ok, struct buf *b)
{
	struct reader r;

	reader_init(&r, ok->tracked, ok->tracked_len);
	while (reader_left(&r)) {
		size_t len;
		uint8_t kind = reader_u8(&r);
		const uint8_t *data = my_read_lenenc_bytes(&r, &len);
		if (r.failed)
			return;
		if (kind == TRACK_VARIABLE) {
			filter_variables(data, len, b);
		} else if (kind == TRACK_SCHEMA) {
			buf_u8(b, kind);
			my_write_lenenc_bytes(b, data, len);
		}
	}
}

/* --- effects --- */

static void apply_transaction(struct my_front *front, struct my_back *back)
{
	bool open = back->status & MY_STATUS_IN_TRANS;
	bool autocommit = back->status & MY_STATUS_AUTOCOMMIT;
	bool ended = !open && (back->was_in_transaction || front->found & SCAN_ENDS);

	if (ended || (autocommit && !(front->found & SCAN_SET))) {
		my_pin_end(back, MY_PIN_TRANSACTION, NULL);
		my_pin_end(back, MY_PIN_SAVEPOINT, NULL);
	}
	if (front->found & SCAN_SET_TRANSACTION)
		my_pin_add(front, back, MY_PIN_TRANSACTION, NULL);
	/* Under autocommit=0 a savepoint does not show as a transaction. */
	if (front->found & SCAN_SAVEPOINT && !autocommit)
		my_pin_add(front, back, MY_PIN_SAVEPOINT, NULL);
	back->was_in_transaction = open;
}

static void end_one(struct my_back *back, enum my_pin_kind kind, const char *name)
{
	struct my_pin *pin = pin_find(back, kind, name);

	if (pin)
		my_pin_free(pin);
}

/* What a procedure has created is dropped by hand; whether that was all of it nobody knows, so the
 * connection is free, and reset before the next client has it. */
static void apply_drop(struct my_back *back, const char *name)
{
	my_pin_end(back, MY_PIN_TEMPORARY, name);
	if (pin_find(back, MY_PIN_STATE, NULL)) {
		my_pin_end(back, MY_PIN_STATE, NULL);
		back->tainted = true;
	}
}

static void apply_ends(struct my_front *front, struct my_back *back)
{
	const char *name = front->found_name ? front->found_name : "";

	if (front->found & SCAN_RELEASE_LOCKS)
		my_pin_end(back, MY_PIN_LOCK, NULL);
	if (front->found & SCAN_UNLOCK) {
		my_pin_end(back, MY_PIN_TABLES, name);
		if (strcmp(name, "tables") == 0)
			my_pin_end(back, MY_PIN_TABLES, "flush");
	}
	/* Beginning a transaction unlocks tables. */
	if (front->found & SCAN_BEGINS)
		my_pin_end(back, MY_PIN_TABLES, "tables");
	if (front->found & SCAN_HANDLER_CLOSE)
		my_pin_end(back, MY_PIN_HANDLER, name);
	if (front->found & SCAN_DEALLOCATE)
		end_one(back, MY_PIN_PREPARE, name);
	if (front->found & SCAN_DROP)
		apply_drop(back, name);
}

static void apply_begins(struct my_front *front, struct my_back *back)
{
	static const struct {
		uint32_t found;
		enum my_pin_kind kind;
		bool named;
	} begins[] = {
		{SCAN_USER_VARIABLE, MY_PIN_VARIABLE, false},
		{SCAN_LOCK, MY_PIN_TABLES, true},
		{SCAN_HANDLER, MY_PIN_HANDLER, true},
		{SCAN_PREPARE, MY_PIN_PREPARE, true},
		{SCAN_SET_PINS, MY_PIN_SETTINGS, false},
		{SCAN_SET_TRACKING, MY_PIN_SETTINGS, false},
		{SCAN_TEMPORARY, MY_PIN_TEMPORARY, true},
	};

	for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
		if (front->found & begins[i].found)
			my_pin_add(front, back, begins[i].kind,
				begins[i].named ? front->found_name : NULL);
	}
	if (front->found & SCAN_GET_LOCK)
		my_locks_pin(front, back);
}

void my_effects_apply(struct my_front *front, struct my_back *back, bool ok)
{
	if (!(front->found & SCAN_DIAGNOSTICS))
		my_pin_end(back, MY_PIN_FOUND_ROWS, NULL);
	if (ok) {
		apply_ends(front, back);
		if (front->found & SCAN_CALC_FOUND_ROWS)
			my_pin_add(front, back, MY_PIN_FOUND_ROWS, NULL);
	}
	/* A part of it may have been carried out before an error. */
	apply_begins(front, back);
	apply_transaction(front, back);
}
