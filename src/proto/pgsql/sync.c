/*
 * Bringing a server connection to a client's settings: the SQL that is sent in front of the
 * client's statement. What servers report is compared in full; what they do not, by the lists of
 * what was set.
 */
#include <string.h>

#include "proto/pgsql/state.h"
#include "util/text.h"

bool sync_settable(const char *name)
{
	static const char *const fixed[] = {"server_version", "server_encoding",
		"integer_datetimes", "is_superuser", "session_authorization", "in_hot_standby"};

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		if (text_equal_ci(name, fixed[i]))
			return false;
	}
	return true;
}

bool sync_needed(const struct session_settings *want, const struct session_settings *have)
{
	return want->reported != have->reported || want->extra != have->extra;
}

static void write_set_config(struct buf *b, bool *any, const char *name, const char *value)
{
	buf_text(b, *any ? ", pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
	*any = true;
	pg_literal(b, name);
	buf_text(b, ", ");
	if (value)
		pg_literal(b, value);
	else
		buf_text(b, "NULL");
	buf_text(b, ", false)");
}

static void write_reported(
	struct buf *b, bool *any, const struct settings *want, const struct settings *have)
{
	if (want == have)
		return;
	for (size_t i = 0; i < settings_count(want); i++) {
		const char *name = settings_name(want, i);
		const char *value = settings_value(want, i);
		const char *now = settings_get(have, name);
		if (now && strcmp(now, value) != 0 && sync_settable(name))
			write_set_config(b, any, name, value);
	}
}

static bool is_raw(const char *value)
{
	return value[0] == '=';
}

static void write_extra(struct buf *b, bool *any, const struct settings *want,
	const struct settings *have, bool raw)
{
	for (size_t i = 0; i < settings_count(want); i++) {
		const char *name = settings_name(want, i);
		const char *value = settings_value(want, i);
		const char *now = settings_get(have, name);
		if (is_raw(value) != raw || (now && strcmp(now, value) == 0))
			continue;
		if (!raw) {
			write_set_config(b, any, name, value + 1);
			continue;
		}
		buf_text(b, "SET ");
		pg_identifier(b, name);
		buf_printf(b, " TO %s;", value + 1);
	}
}

static void write_resets(
	struct buf *b, bool *any, const struct settings *want, const struct settings *have)
{
	for (size_t i = 0; i < settings_count(have); i++) {
		const char *name = settings_name(have, i);
		if (!settings_get(want, name))
			write_set_config(b, any, name, NULL);
	}
}

void sync_write(
	const struct session_settings *want, const struct session_settings *have, struct buf *b)
{
	bool any = false;

	if (want->extra != have->extra)
		write_extra(b, &any, want->extra, have->extra, true);
	write_reported(b, &any, want->reported, have->reported);
	if (want->extra != have->extra) {
		write_resets(b, &any, want->extra, have->extra);
		write_extra(b, &any, want->extra, have->extra, false);
	}
}

void sync_done(const struct session_settings *want, struct session_settings *have)
{
	settings_replace(&have->extra, want->extra);
	settings_replace(&have->extra_before, want->extra);
	/* What was asked for is what the server will report; its own words follow and correct it.
	 */
	settings_replace(&have->reported, want->reported);
}
