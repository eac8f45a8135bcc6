/*
 * What GET_LOCK() has taken. A lock is known by its name where that stands in the statement, as a
 * literal or as a parameter; whether it is held, and how many times it was taken, only the server
 * knows: it is asked whenever a statement may have taken or released one. A lock whose name is an
 * expression is held until RELEASE_ALL_LOCKS() or the end of the session. Called by commands.c,
 * execute.c, track.c and back.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mysql/state.h"

/* Locks that are asked for at a time: more than anyone holds. */
#define ASKED_MAX 64

/* A pin's name is where the lock's means the same, and the literal: "charset,charset='name'". */
#define PIN_NAME_MAX (SCAN_LOCK_NAME_MAX + 3 * SCAN_WORD_MAX)

/* --- the names --- */

/* The character sets that a literal is read in; the pin's name begins with them. */
static size_t write_meaning(const struct settings *list, char ret_text[PIN_NAME_MAX])
{
	const char *client = settings_get(list, "character_set_client");
	const char *connection = settings_get(list, "character_set_connection");

	return (size_t)snprintf(ret_text, PIN_NAME_MAX, "%.*s,%.*s=", SCAN_WORD_MAX,
		client ? client : "", SCAN_WORD_MAX, connection ? connection : "");
}

static bool is_text(uint8_t type)
{
	return type == MY_TYPE_VAR_STRING || type == MY_TYPE_STRING || type == MY_TYPE_VARCHAR ||
	       type == MY_TYPE_BLOB;
}

/* Skips the value of a parameter of that type. False: it is cut. */
static bool skip_value(struct reader *r, uint8_t type)
{
	size_t len;

	switch (type) {
	case MY_TYPE_TINY:
		reader_bytes(r, 1);
		break;
	case MY_TYPE_SHORT:
	case MY_TYPE_YEAR:
		reader_bytes(r, 2);
		break;
	case MY_TYPE_LONG:
	case MY_TYPE_INT24:
	case MY_TYPE_FLOAT:
		reader_bytes(r, 4);
		break;
	case MY_TYPE_LONGLONG:
	case MY_TYPE_DOUBLE:
		reader_bytes(r, 8);
		break;
	case MY_TYPE_NULL:
		break;
	case MY_TYPE_DATE:
	case MY_TYPE_DATETIME:
	case MY_TYPE_TIMESTAMP:
	case MY_TYPE_TIME:
		reader_bytes(r, reader_u8(r));
		break;
	default:
		/* All others come with their length. */
		my_read_lenenc_bytes(r, &len);
	}
	return !r->failed;
}

static bool is_null(const struct my_bound *bound, size_t index)
{
	return bound->nulls[index / 8] >> index % 8 & 1;
}

/* The parameter's value, if it is a text. */
static const uint8_t *bound_text(const struct my_bound *bound, size_t index, size_t *ret_len)
{
	struct reader r;

	reader_init(&r, bound->values, bound->values_len);
	for (size_t i = 0; i < index; i++) {
		if (!is_null(bound, i) && !skip_value(&r, bound->types[2 * i]))
			return NULL;
	}
	if (is_null(bound, index) || !is_text(bound->types[2 * index]))
		return NULL;
	const uint8_t *value = my_read_lenenc_bytes(&r, ret_len);
	return r.failed ? NULL : value;
}

/* Writes the value as a literal that means the same in every sql_mode. False: there is none. */
static bool quote(const uint8_t *value, size_t len, char ret_text[SCAN_LOCK_NAME_MAX])
{
	size_t n = 0;

	if (!len || memchr(value, '\\', len) || memchr(value, 0, len))
		return false;
	ret_text[n++] = '\'';
	for (size_t i = 0; i < len; i++) {
		if (n + 4 > SCAN_LOCK_NAME_MAX)
			return false;
		if (value[i] == '\'')
			ret_text[n++] = '\'';
		ret_text[n++] = (char)value[i];
	}
	ret_text[n++] = '\'';
	ret_text[n] = 0;
	return true;
}

/* `name` as in struct my_scan becomes a literal; "" if it cannot be known. */
static void resolve(
	const char *name, const struct my_bound *bound, char ret_literal[SCAN_LOCK_NAME_MAX])
{
	size_t len, index;

	if (*name != '?') {
		snprintf(ret_literal, SCAN_LOCK_NAME_MAX, "%s", name);
		return;
	}
	index = strtoul(name + 1, NULL, 10);
	const uint8_t *value = bound && index < bound->n ? bound_text(bound, index, &len) : NULL;
	if (!value || !quote(value, len, ret_literal))
		*ret_literal = 0;
}

bool my_locks_note(
	struct my_front *front, const char *locks, size_t len, const struct my_bound *bound)
{
	char literal[SCAN_LOCK_NAME_MAX], name[PIN_NAME_MAX];

	if (!len && !front->found_locks.len)
		return true;
	buf_clear(&front->found_locks);
	for (size_t at = 0; at < len; at += strlen(locks + at) + 1) {
		resolve(locks + at, bound, literal);
		size_t n = *literal ? write_meaning(front->settings, name) : 0;
		snprintf(name + n, sizeof(name) - n, "%s", literal);
		buf_cstr(&front->found_locks, name);
	}
	return !front->found_locks.failed;
}

void my_locks_pin(struct my_front *front, struct my_back *back)
{
	const char *names = (const char *)front->found_locks.data;

	for (size_t at = 0; at < front->found_locks.len; at += strlen(names + at) + 1)
		my_pin_add(front, back, MY_PIN_LOCK, names + at);
}

/* --- asking --- */

struct asking {
	char meaning[PIN_NAME_MAX]; /* of literals now */
	size_t meaning_len, n;
	struct buf sql;
	const uint8_t *held; /* of each that was asked for: '1' or '0' */
	size_t n_held;
};

static void begin(struct asking *asking, const struct my_back *back)
{
	*asking = (struct asking){0};
	asking->meaning_len = write_meaning(back->settings, asking->meaning);
}

/* The literal that asks for the pin's lock; NULL: it would mean another one, or is not known. */
static const char *literal_of(const struct asking *asking, const struct my_pin *pin)
{
	if (asking->n == ASKED_MAX || !*pin->name ||
		strncmp(pin->name, asking->meaning, asking->meaning_len) != 0)
		return NULL;
	return pin->name + asking->meaning_len;
}

static void count_one(struct my_pin *pin, void *arg)
{
	struct asking *asking = arg;

	asking->n += literal_of(asking, pin) != NULL;
}

bool my_locks_matter(const struct my_front *front, const struct my_back *back)
{
	static const uint32_t matters =
		SCAN_GET_LOCK | SCAN_RELEASE_LOCK | SCAN_CALL | SCAN_STORED_FUNCTION;
	struct asking asking;

	if (!(front->found & matters) || list_empty(&back->pins))
		return false;
	begin(&asking, back);
	my_pins_each(back, MY_PIN_LOCK, count_one, &asking);
	return asking.n > 0;
}

static void ask_one(struct my_pin *pin, void *arg)
{
	struct asking *asking = arg;
	const char *literal = literal_of(asking, pin);

	if (!literal)
		return;
	buf_text(&asking->sql, asking->n++ ? "," : "SELECT CONCAT(");
	buf_text(&asking->sql, "IS_USED_LOCK(");
	buf_text(&asking->sql, literal);
	buf_text(&asking->sql, ")<=>CONNECTION_ID()");
}

void my_locks_ask(struct my_front *front, struct my_back *back, struct output *to_server)
{
	struct asking asking;

	begin(&asking, back);
	my_pins_each(back, MY_PIN_LOCK, ask_one, &asking);
	buf_cstr(&asking.sql, ")");
	if (asking.sql.failed) {
		to_server->failed = true;
	} else {
		my_send_query(to_server, (const char *)asking.sql.data);
		my_back_expect(back,
			(struct my_expectation){.kind = MY_EXPECT_LOCKS, .shape = SHAPE_RESULTS});
		front->disturbed = true;
	}
	buf_clear(&asking.sql);
}

static void learn_one(struct my_pin *pin, void *arg)
{
	struct asking *asking = arg;

	if (!literal_of(asking, pin))
		return;
	bool held = asking->n >= asking->n_held || asking->held[asking->n] != '0';
	asking->n++;
	if (!held)
		my_pin_free(pin);
}

/* The answer's packets are a count, a column, an end, the row, an end. */
static bool find_row(const struct buf *answer, struct reader *ret_row)
{
	struct input in = {.data = answer->data, .len = answer->len};
	struct my_header h;

	for (int i = 0; i < 4; i++) {
		if (!my_header_read(&in, &h) || in.len < MY_HEADER + h.len)
			return false;
		reader_init(ret_row, in.data + MY_HEADER, h.len);
		input_skip(&in, MY_HEADER + h.len);
	}
	return true;
}

void my_locks_learn(struct my_back *back)
{
	struct asking asking;
	struct reader row;

	begin(&asking, back);
	if (back->locks.failed || !find_row(&back->locks, &row))
		return;
	asking.held = my_read_lenenc_bytes(&row, &asking.n_held);
	if (!row.failed)
		my_pins_each(back, MY_PIN_LOCK, learn_one, &asking);
}
