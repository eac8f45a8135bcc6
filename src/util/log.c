#include "util/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

/* The only thing that every thread reads: set at start and by a reload. */
static atomic_int current_level = LOG_LEVEL_INFO;
static atomic_bool to_journald;

void log_configure(enum log_level level, bool journald)
{
	atomic_store(&current_level, (int)level);
	atomic_store(&to_journald, journald);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_line(enum log_level level, const char *format, ...)
{
	static const char *const journald_prefix[] = {"<3>", "<4>", "<6>", "<7>"};
	static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
	char line[1024];
	va_list args;

	if (!log_enabled(level))
		return;
	const char *prefix = atomic_load(&to_journald) ? journald_prefix[level] : names[level];
	int used = snprintf(line, sizeof(line), "%s", prefix);
	va_start(args, format);
	int n = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);
	va_end(args);
	size_t len = strnlen(line, sizeof(line) - 2);
	CHECK(n >= 0);
	line[len++] = '\n';
	/* One write per line, so that threads do not mix theirs. A full pipe loses the line. */
	ssize_t written = write(STDERR_FILENO, line, len);
	(void)written;
}

bool log_limit_allows(struct log_limit *limit, unsigned burst, unsigned *ret_dropped)
{
	long long second = clock_usec() / USEC_PER_SEC;

	if (limit->second != second) {
		limit->second = second;
		limit->n_lines = 0;
	}
	if (limit->n_lines >= burst) {
		limit->n_dropped++;
		return false;
	}
	limit->n_lines++;
	*ret_dropped = limit->n_dropped;
	limit->n_dropped = 0;
	return true;
}

const char *log_left_out(unsigned n, char ret_text[LOG_LEFT_OUT_SIZE])
{
	ret_text[0] = 0;
	if (n)
		snprintf(ret_text, LOG_LEFT_OUT_SIZE, " lines_left_out=%u", n);
	return ret_text;
}

const char *log_escape(const char *text, char *ret_text, size_t size)
{
	size_t used = 0;

	CHECK(size >= 8);
	for (const char *at = text ? text : ""; *at; at++) {
		unsigned char c = (unsigned char)*at;
		if (used > size - 8) {
			memcpy(ret_text + used, "...", 3);
			used += 3;
			break;
		}
		if (c < 0x20 || c == 0x7f)
			used += (size_t)snprintf(ret_text + used, size - used, "\\x%02x", c);
		else if (c == '"' || c == '\\') {
			ret_text[used++] = '\\';
			ret_text[used++] = (char)c;
		} else
			ret_text[used++] = (char)c;
	}
	ret_text[used] = 0;
	return ret_text;
}
