/*
 * The log: one line a fact, on standard error, with journald's priority prefix when systemd reads
 * it. error = an operator must act; warning = odd and survived; info = connect, login, close,
 * reload; debug = state moves. Lines are lower case, key=value, the connection's id first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/check.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* May be called again at any time, by one thread at a time (a reload changes the level). */
void log_configure(enum log_level level, bool journald);

bool log_enabled(enum log_level level);

void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                  \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__);                                    \
	} while (0)

/*
 * For facts that a peer can provoke: at most `burst` lines per second of the same kind; when lines
 * were left out, the next one says how many. One limiter per thread and kind; all-zero is a fresh
 * one.
 */
struct log_limit {
	long long second;
	unsigned n_lines, n_dropped;
};

/* True if a line may be written now; *ret_dropped is how many were left out before it. */
bool log_limit_allows(struct log_limit *limit, unsigned burst, unsigned *ret_dropped);

/* " lines_left_out=N" for the end of a line, or "" for 0. Returns `ret_text`. */
#define LOG_LEFT_OUT_SIZE 32
const char *log_left_out(unsigned n, char ret_text[LOG_LEFT_OUT_SIZE]);

/* A peer's text for a log line: control characters and quotes escaped, cut at `size` with "...".
 * Always terminated. Returns `ret_text`. `text` NULL gives "". */
const char *log_escape(const char *text, char *ret_text, size_t size);
