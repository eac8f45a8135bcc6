#include "proto/sql_text.h"

#include <string.h>

#include "util/text.h"

static const char *skip_line(const char *at, const char *end)
{
	const char *newline = memchr(at, '\n', (size_t)(end - at));

	return newline ? newline + 1 : end;
}

/* Behind the comment that begins at `at`; `at` if none does. */
static const char *skip_comment(const char *at, const char *end)
{
	if (end - at < 2)
		return at;
	if (at[0] == '-' && at[1] == '-')
		return skip_line(at, end);
	if (at[0] != '/' || at[1] != '*' || (end - at > 2 && strchr("!M+", at[2])))
		return at;
	const char *close = memmem(at + 2, (size_t)(end - at - 2), "*/", 2);
	return close ? close + 2 : at;
}

const char *sql_skip_blank(const char *at, const char *end)
{
	const char *before;

	do {
		before = at;
		while (at < end && *at && strchr(" \t\r\n\f\v", *at))
			at++;
		at = skip_comment(at, end);
	} while (at != before);
	return at;
}

static const char *skip_nothing(const char *at, const char *end)
{
	for (at = sql_skip_blank(at, end); at < end && *at == ';'; at = sql_skip_blank(at + 1, end))
		;
	return at;
}

bool sql_is_empty(const char *sql, size_t len)
{
	return skip_nothing(sql, sql + len) == sql + len;
}

bool sql_tests_connection(const char *sql, size_t len)
{
	static const char test[] = "select 1";
	const char *end = sql + len;
	const char *at = skip_nothing(sql, end);

	if ((size_t)(end - at) >= strlen(test) && text_is_ci(at, strlen(test), test))
		at = skip_nothing(at + strlen(test), end);
	return at == end;
}
