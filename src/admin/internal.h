/* What the files of this folder share: console.c (parsing, gathering), commands.c and show.c (the
 * two tables), show_stats.c (topics that count), show_holders.c (who has what others wait for). */
#pragma once

#include "admin/console.h"
#include "proto/result.h"

#define WORDS_MAX 6
#define WORD_MAX  64

struct console {
	struct console_host host;
	unsigned index;
	struct loop *loop;
	struct mailbox *mailbox;
	struct pools *pools;
	struct sessions *sessions;
	const struct config *config;
	struct list pauses; /* PAUSE commands that wait for connections to close */
	struct timer pause_timer;
	bool paused; /* the whole of weir, by PAUSE without a database */
};

/* A command's words, folded to lower case unless quoted. */
struct command {
	char words[WORDS_MAX][WORD_MAX];
	int n_words;
};

/* Splits a command. Returns 0, or 1 if it is none. */
int command_parse(const char *text, struct command *ret_command);

/* How rows of several workers become one. */
enum merge { MERGE_KEY, MERGE_SUM, MERGE_MAX, MERGE_SAME };

/* One topic of SHOW. */
struct topic {
	const char *name;
	unsigned access;
	const struct result_column *columns;
	size_t n_columns;
	const enum merge *merges;  /* NULL: rows of all workers stand side by side */
	size_t n_cells;            /* ... of one row while they are being merged */
	const char *longest_first; /* else: the column by which the rows are sorted; or NULL */
	bool as_listed;            /* the rows keep the order that each worker gives them */
	bool everywhere;           /* asks every worker; else only the client's own */
	void (*collect)(struct console *console, struct result *result);
	/* Makes rows as they are shown of merged ones; NULL: they are the same. */
	void (*finish)(struct result *result);
};

#define COLUMN(name_, type_)                                                                       \
	{                                                                                          \
		.name = name_, .type = RESULT_##type_                                              \
	}

extern const struct topic topics[];
extern const size_t n_topics;

/* --- show_stats.c --- */

#define STATS_COLUMNS        25
#define STATS_CELLS          26
#define STATS_TOTALS_COLUMNS 13
#define STATS_AVERAGES_CELLS 14
#define TOTALS_COLUMNS       2

extern const struct result_column stats_columns[STATS_COLUMNS];
extern const struct result_column stats_totals_columns[STATS_TOTALS_COLUMNS];
extern const struct result_column stats_averages_columns[STATS_TOTALS_COLUMNS];
extern const struct result_column totals_columns[TOTALS_COLUMNS];
extern const enum merge stats_merges[STATS_CELLS];
extern const enum merge stats_totals_merges[STATS_TOTALS_COLUMNS];
extern const enum merge stats_averages_merges[STATS_AVERAGES_CELLS];

void collect_stats(struct console *console, struct result *result);
void collect_totals(struct console *console, struct result *result);
void finish_stats(struct result *result);
void finish_stats_averages(struct result *result);
void finish_totals(struct result *result);

/* --- show_holders.c --- */

#define HOLDERS_COLUMNS 14
#define PINS_COLUMNS    13
#define WAITERS_COLUMNS 9

extern const struct result_column holders_columns[HOLDERS_COLUMNS];
extern const struct result_column pins_columns[PINS_COLUMNS];
extern const struct result_column waiters_columns[WAITERS_COLUMNS];

void collect_holders(struct console *console, struct result *result);
void collect_pins(struct console *console, struct result *result);
void collect_waiters(struct console *console, struct result *result);
void finish_waiters(struct result *result);

/* --- show.c --- */

/* Local time, to the second. */
void wall_text(struct result *result, usec_t wall);

/* --- console.c --- */

/* Every row of the same key becomes one, in the order of the keys. */
void merge_rows(const struct topic *topic, struct result *result);

/* The rows whose number in topic->longest_first is largest come first. */
void sort_longest_first(const struct topic *topic, struct result *result);

/* Something to be done by every worker's console. `arg` may point to one word of the command. */
typedef void (*console_fn)(struct console *console, const char *word, struct result *result);

/* Runs `fn` on every worker, then answers with what they have put into their results. If none of
 * them has an error, the tag is `tag`. */
void console_everywhere(struct console *console, uint32_t session_id, const struct topic *topic,
	console_fn fn, const char *word, const char *tag);

void console_reply(struct console *console, uint32_t session_id, const struct result *result);
void console_reply_tag(struct console *console, uint32_t session_id, const char *tag);
void console_reply_error(struct console *console, uint32_t session_id, const char *format, ...)
	PRINTF_LIKE(3, 4);

/* commands.c: finds and runs it. */
void commands_run(struct console *console, uint32_t session_id, unsigned access,
	const struct command *command, const char *text);
void commands_pause_timer(void *arg);
void commands_clear(struct console *console);

/* The usage of all commands, for SHOW HELP. */
void commands_help(struct buf *b);
