/* Parsing commands, asking all workers, merging what they answer. */
#include "admin/console.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/internal.h"
#include "util/text.h"

int console_new(const struct console_host *host, unsigned index, struct loop *loop,
	struct mailbox *mailbox, struct pools *pools, struct sessions *sessions,
	const struct config *config, struct console **ret_console)
{
	struct console *console = calloc(1, sizeof(*console));

	if (!console)
		return -ENOMEM;
	console->host = *host;
	console->index = index;
	console->loop = loop;
	console->mailbox = mailbox;
	console->pools = pools;
	console->sessions = sessions;
	console->config = config;
	list_init(&console->pauses);
	timer_init(&console->pause_timer, loop, commands_pause_timer, console);
	*ret_console = console;
	return 0;
}

void console_free(struct console *console)
{
	if (!console)
		return;
	timer_clear(&console->pause_timer);
	commands_clear(console);
	free(console);
}

void console_reload(struct console *console, const struct config *config)
{
	console->config = config;
}

/* --- words --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One word: "quoted", 'quoted', or up to a blank. Moves *at behind it. */
static bool read_word(const char **at, char ret_word[WORD_MAX])
{
	char quote = **at == '"' || **at == '\'' ? *(*at)++ : 0;
	size_t len = 0;

	if (!quote && (**at == '=' || **at == ',')) {
		ret_word[0] = *(*at)++;
		ret_word[1] = 0;
		return true;
	}
	for (; **at && (quote ? **at != quote : !is_blank(**at) && !strchr(";=,", **at)); (*at)++) {
		if (len + 1 >= WORD_MAX)
			return false;
		char c = **at;
		ret_word[len++] = !quote && c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
	}
	ret_word[len] = 0;
	if (quote && *(*at)++ != quote)
		return false;
	return true;
}

int command_parse(const char *text, struct command *ret_command)
{
	ret_command->n_words = 0;
	for (;;) {
		while (is_blank(*text))
			text++;
		if (*text == ';' || !*text)
			break;
		if (ret_command->n_words == WORDS_MAX ||
			!read_word(&text, ret_command->words[ret_command->n_words]))
			return 1;
		ret_command->n_words++;
	}
	/* One statement per query. */
	while (*text == ';' || is_blank(*text))
		text++;
	return *text || !ret_command->n_words;
}

void console_run(struct console *console, uint32_t session_id, unsigned access, const char *text)
{
	struct command command;

	if (command_parse(text, &command) != 0)
		console_reply_error(
			console, session_id, "invalid command '%.100s', use SHOW HELP;", text);
	else
		commands_run(console, session_id, access, &command, text);
}

/* --- answers --- */

void console_reply(struct console *console, uint32_t session_id, const struct result *result)
{
	sessions_console_reply(console->sessions, session_id, result);
}

void console_reply_tag(struct console *console, uint32_t session_id, const char *tag)
{
	struct result result;

	result_init(&result);
	text_copy(result.tag, sizeof(result.tag), tag);
	console_reply(console, session_id, &result);
	result_clear(&result);
}

void console_reply_error(struct console *console, uint32_t session_id, const char *format, ...)
{
	struct result result;
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	result_init(&result);
	result_fail(&result, "08P01", "%s", text);
	console_reply(console, session_id, &result);
	result_clear(&result);
}

/* --- asking all workers --- */

/* One question to all workers. Each writes into its own result; the last one to answer sends it
 * home. */
struct question {
	const struct topic *topic;
	console_fn fn;
	char word[WORD_MAX];
	char tag[64];
	struct console *asker;
	uint32_t session_id;
	unsigned n_left; /* only touched on the asker's thread */
	struct result results[];
};

struct visit {
	struct message message;
	struct question *question;
	unsigned index; /* of the console it is at, and of its result */
};

static void answer(struct question *q)
{
	unsigned n = q->asker->host.n_peers;
	struct result *sum = &q->results[0];

	for (unsigned i = 1; i < n; i++) {
		if (q->results[i].error[0] && !sum->error[0])
			memcpy(sum->error, q->results[i].error, sizeof(sum->error));
		if (q->topic)
			result_append(sum, &q->results[i]);
		/* Each worker's tag says whether it found what was meant. */
		if (!sum->tag[0])
			text_copy(sum->tag, sizeof(sum->tag), q->results[i].tag);
	}
	if (q->topic && q->topic->merges)
		merge_rows(q->topic, sum);
	else if (q->topic && q->topic->longest_first)
		sort_longest_first(q->topic, sum);
	if (q->topic && q->topic->finish)
		q->topic->finish(sum);
	if (q->tag[0])
		text_copy(sum->tag, sizeof(sum->tag), q->tag);
	if (!sum->tag[0])
		result_fail(sum, "08P01", "client not found");
	console_reply(q->asker, q->session_id, sum);
	for (unsigned i = 0; i < n; i++)
		result_clear(&q->results[i]);
	free(q);
}

static void come_home(struct message *message, void *arg)
{
	struct visit *visit = container_of(message, struct visit, message);
	struct question *q = visit->question;

	free(visit);
	if (--q->n_left == 0)
		answer(q);
}

static void visit_worker(struct message *message, void *arg)
{
	struct visit *visit = container_of(message, struct visit, message);
	struct question *q = visit->question;
	struct console *here = q->asker->host.peers[visit->index].console;

	q->fn(here, q->word, &q->results[visit->index]);
	visit->message.deliver = come_home;
	mailbox_post(q->asker->mailbox, &visit->message);
}

static void collect(struct console *console, const char *word, struct result *result)
{
	/* The topic is known by its columns, which it has put there before. */
	for (size_t i = 0; i < n_topics; i++) {
		if (topics[i].columns == result->columns)
			topics[i].collect(console, result);
	}
}

void console_everywhere(struct console *console, uint32_t session_id, const struct topic *topic,
	console_fn fn, const char *word, const char *tag)
{
	unsigned n = console->host.n_peers;
	struct question *q = calloc(1, sizeof(*q) + n * sizeof(q->results[0]));

	CHECK(q);
	q->topic = topic;
	q->fn = fn ? fn : collect;
	q->asker = console;
	q->session_id = session_id;
	q->n_left = n;
	text_copy(q->word, sizeof(q->word), word ? word : "");
	text_copy(q->tag, sizeof(q->tag), tag);
	for (unsigned i = 0; i < n; i++) {
		result_init(&q->results[i]);
		q->results[i].columns = topic ? topic->columns : NULL;
		q->results[i].n_columns = topic ? topic->n_columns : 0;
	}
	for (unsigned i = 0; i < n; i++) {
		struct visit *visit = calloc(1, sizeof(*visit));
		CHECK(visit);
		visit->message.deliver = visit_worker;
		visit->question = q;
		visit->index = i;
		mailbox_post(console->host.peers[i].mailbox, &visit->message);
	}
}

/* --- merging --- */

struct row {
	const struct topic *topic;
	const char **cells;
	size_t first; /* where the first row of this key stood */
};

static int compare_keys(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	for (size_t i = 0; i < x->topic->n_cells; i++) {
		if (x->topic->merges[i] != MERGE_KEY)
			continue;
		int order = strcmp(x->cells[i] ? x->cells[i] : "", y->cells[i] ? y->cells[i] : "");
		if (order)
			return order;
	}
	return 0;
}

static int compare_places(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* The cell of a column over the rows [first, last). */
static void merge_cell(
	struct result *out, const struct row *first, const struct row *last, size_t column)
{
	enum merge how = first->topic->merges[column];
	unsigned long long value = 0;

	if (how == MERGE_KEY || how == MERGE_SAME) {
		result_text(out, first->cells[column]);
		return;
	}
	for (const struct row *row = first; row < last; row++) {
		unsigned long long n =
			row->cells[column] ? strtoull(row->cells[column], NULL, 10) : 0;
		if (how == MERGE_SUM)
			value += n;
		else if (n > value)
			value = n;
	}
	result_int(out, (long long)value);
}

/* Rows of one key stand together when this is done: by key, or where the first of them stood. */
static void sort_rows(const struct topic *topic, struct row *rows, size_t n_rows)
{
	qsort(rows, n_rows, sizeof(*rows), compare_keys);
	if (!topic->as_listed)
		return;
	for (size_t i = 0, end; i < n_rows; i = end) {
		size_t first = rows[i].first;
		for (end = i + 1; end < n_rows && compare_keys(&rows[i], &rows[end]) == 0; end++)
			first = rows[end].first < first ? rows[end].first : first;
		for (size_t j = i; j < end; j++)
			rows[j].first = first;
	}
	qsort(rows, n_rows, sizeof(*rows), compare_places);
}

void merge_rows(const struct topic *topic, struct result *result)
{
	size_t n = topic->n_cells, n_rows = result->n_cells / n;
	const char **cells = calloc(result->n_cells + 1, sizeof(*cells));
	struct row *rows = calloc(n_rows + 1, sizeof(*rows));
	struct result merged;
	const char *cursor = NULL;

	if (!cells || !rows)
		goto out;
	for (size_t i = 0; result_next(result, &cursor, &cells[i]); i++)
		;
	for (size_t i = 0; i < n_rows; i++)
		rows[i] = (struct row){.topic = topic, .cells = &cells[i * n], .first = i};
	sort_rows(topic, rows, n_rows);
	result_init(&merged);
	for (size_t i = 0, end; i < n_rows; i = end) {
		for (end = i + 1; end < n_rows && compare_keys(&rows[i], &rows[end]) == 0; end++)
			;
		for (size_t column = 0; column < n; column++)
			merge_cell(&merged, &rows[i], &rows[end], column);
	}
	result_take_cells(result, &merged);
out:
	free(cells);
	free(rows);
}

/* --- sorting --- */

struct aged_row {
	const char *const *cells;
	long long age;
};

static int compare_ages(const void *a, const void *b)
{
	const struct aged_row *x = a, *y = b;

	return x->age > y->age ? -1 : x->age < y->age;
}

void sort_longest_first(const struct topic *topic, struct result *result)
{
	size_t n = topic->n_columns, n_rows = result->n_cells / n, column = 0;
	const char **cells = calloc(result->n_cells + 1, sizeof(*cells));
	struct aged_row *rows = calloc(n_rows + 1, sizeof(*rows));
	struct result sorted;
	const char *cursor = NULL;

	if (!cells || !rows)
		goto out;
	while (strcmp(topic->columns[column].name, topic->longest_first) != 0)
		column++;
	for (size_t i = 0; result_next(result, &cursor, &cells[i]); i++)
		;
	for (size_t i = 0; i < n_rows; i++)
		rows[i] = (struct aged_row){
			.cells = &cells[i * n], .age = strtoll(cells[i * n + column], NULL, 10)};
	qsort(rows, n_rows, sizeof(*rows), compare_ages);
	result_init(&sorted);
	for (size_t i = 0; i < n_rows; i++) {
		for (size_t j = 0; j < n; j++)
			result_text(&sorted, rows[i].cells[j]);
	}
	result_take_cells(result, &sorted);
out:
	free(cells);
	free(rows);
}
