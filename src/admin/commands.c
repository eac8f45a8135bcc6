/* The table of commands: one row each. */
#include <stdlib.h>
#include <string.h>

#include "admin/internal.h"
#include "util/text.h"

#define PAUSE_POLL (20 * USEC_PER_MSEC)

/* Where a command runs, and for whom. */
struct run {
	struct console *console;
	uint32_t session_id;
	unsigned access;
	const struct command *command;
	const char *text;
};

struct command_row {
	const char *word;
	unsigned access;
	int min_words, max_words;
	void (*fn)(const struct run *run);
	const char *usage;
};

static const char *argument(const struct run *run)
{
	return run->command->n_words > 1 ? run->command->words[1] : "";
}

static void reply_invalid(struct console *console, uint32_t session_id, const char *text)
{
	console_reply_error(console, session_id, "invalid command '%.100s', use SHOW HELP;", text);
}

static bool knows_database(const struct run *run)
{
	const char *name = argument(run);

	/* Without a name all are meant; "" is a name, of none. */
	if (run->command->n_words == 1 || config_database(run->console->config, name))
		return true;
	console_reply_error(run->console, run->session_id, "no such database: %s", name);
	return false;
}

static const char *or_all(const char *word)
{
	return *word ? word : NULL;
}

/* --- PAUSE, RESUME, RECONNECT --- */

/* A PAUSE that waits until nothing of the database is open any more. */
struct pause {
	struct list link;
	uint32_t session_id;
	char database[WORD_MAX];
	bool asking;
};

static void pause_here(struct console *console, const char *word, struct result *result)
{
	console->paused |= !*word;
	pools_pause(console->pools, or_all(word));
}

static void resume_here(struct console *console, const char *word, struct result *result)
{
	if (!*word)
		console->paused = false;
	pools_resume(console->pools, or_all(word));
}

static void reconnect_here(struct console *console, const char *word, struct result *result)
{
	pools_reconnect(console->pools, or_all(word));
}

/* Each worker's look at whether it is done; the answers come back as messages. */
struct pause_look {
	struct message message;
	struct console *asker;
	unsigned next; /* the worker to be asked next */
	uint32_t session_id;
	char database[WORD_MAX];
	bool busy;
};

static struct pause *find_pause(struct console *console, uint32_t session_id)
{
	struct list *link;

	list_for_each (link, &console->pauses) {
		struct pause *pause = list_entry(link, struct pause, link);
		if (pause->session_id == session_id)
			return pause;
	}
	return NULL;
}

static void look_came_home(struct message *message, void *arg)
{
	struct pause_look *look = container_of(message, struct pause_look, message);
	struct pause *pause = find_pause(look->asker, look->session_id);

	if (pause && look->busy) {
		pause->asking = false;
		timer_set(&look->asker->pause_timer, clock_usec() + PAUSE_POLL);
	} else if (pause) {
		console_reply_tag(look->asker, look->session_id, "PAUSE");
		list_remove(&pause->link);
		free(pause);
	}
	free(look);
}

static void look_here(struct message *message, void *arg)
{
	struct pause_look *look = container_of(message, struct pause_look, message);
	const struct console_host *host = &look->asker->host;

	look->busy |=
		!pools_paused_empty(host->peers[look->next].console->pools, or_all(look->database));
	look->next++;
	bool home = look->busy || look->next == host->n_peers;
	look->message.deliver = home ? look_came_home : look_here;
	mailbox_post(home ? look->asker->mailbox : host->peers[look->next].mailbox, &look->message);
}

void commands_pause_timer(void *arg)
{
	struct console *console = arg;
	struct list *link;

	list_for_each (link, &console->pauses) {
		struct pause *pause = list_entry(link, struct pause, link);
		if (pause->asking)
			continue;
		struct pause_look *look = calloc(1, sizeof(*look));
		CHECK(look);
		look->message.deliver = look_here;
		look->asker = console;
		look->session_id = pause->session_id;
		text_copy(look->database, sizeof(look->database), pause->database);
		pause->asking = true;
		mailbox_post(console->host.peers[0].mailbox, &look->message);
	}
}

void commands_clear(struct console *console)
{
	struct pause *pause;

	while ((pause = list_first(&console->pauses, struct pause, link))) {
		list_remove(&pause->link);
		free(pause);
	}
}

/* A command for all workers whose own answer does not matter. */
struct errand {
	struct message message;
	struct console *there;
	console_fn fn;
	char word[WORD_MAX];
};

static void do_errand(struct message *message, void *arg)
{
	struct errand *errand = container_of(message, struct errand, message);

	errand->fn(errand->there, errand->word, NULL);
	free(errand);
}

static void send_errands(struct console *console, console_fn fn, const char *word)
{
	for (unsigned i = 0; i < console->host.n_peers; i++) {
		struct errand *errand = calloc(1, sizeof(*errand));
		CHECK(errand);
		errand->message.deliver = do_errand;
		errand->there = console->host.peers[i].console;
		errand->fn = fn;
		text_copy(errand->word, sizeof(errand->word), word);
		mailbox_post(console->host.peers[i].mailbox, &errand->message);
	}
}

static void run_pause(const struct run *run)
{
	struct console *console = run->console;

	if (!knows_database(run))
		return;
	if (pools_is_paused(console->pools, or_all(argument(run)))) {
		console_reply_error(console, run->session_id, "already suspended/paused");
		return;
	}
	struct pause *pause = calloc(1, sizeof(*pause));
	CHECK(pause);
	pause->session_id = run->session_id;
	text_copy(pause->database, sizeof(pause->database), argument(run));
	list_append(&console->pauses, &pause->link);
	send_errands(console, pause_here, argument(run));
	timer_set(&console->pause_timer, clock_usec());
}

/* Who gives up waiting for a PAUSE does not want it any more. */
void console_cancel(struct console *console, uint32_t session_id)
{
	struct pause *pause = find_pause(console, session_id);
	struct result result;

	if (!pause)
		return;
	send_errands(console, resume_here, pause->database);
	list_remove(&pause->link);
	free(pause);
	result_init(&result);
	result_fail(&result, "57014", "canceling statement due to user request");
	console_reply(console, session_id, &result);
	result_clear(&result);
}

static bool is_paused(const struct run *run)
{
	const struct console *console = run->console;
	const char *name = argument(run);

	if (*name && console->paused)
		console_reply_error(run->console, run->session_id,
			"all databases are paused: RESUME without a name");
	else if (*name && !pools_is_paused(console->pools, name))
		console_reply_error(
			run->console, run->session_id, "database %s is not paused", name);
	else if (!*name && !pools_any_paused(console->pools))
		console_reply_error(
			run->console, run->session_id, "pooler is not paused/suspended");
	else
		return true;
	return false;
}

static void run_resume(const struct run *run)
{
	if (!knows_database(run) || !is_paused(run))
		return;
	console_everywhere(
		run->console, run->session_id, NULL, resume_here, argument(run), "RESUME");
}

static void run_reconnect(const struct run *run)
{
	if (!knows_database(run))
		return;
	console_everywhere(
		run->console, run->session_id, NULL, reconnect_here, argument(run), "RECONNECT");
}

/* --- the rest --- */

static void kill_here(struct console *console, const char *word, struct result *result)
{
	char *end;
	unsigned long long id = strtoull(word, &end, 10);

	if (!*end && id <= UINT32_MAX && sessions_kill(console->sessions, (uint32_t)id))
		text_copy(result->tag, sizeof(result->tag), "KILL_CLIENT");
}

static void run_kill_client(const struct run *run)
{
	console_everywhere(run->console, run->session_id, NULL, kill_here, argument(run), "");
}

static void run_reload(const struct run *run)
{
	const struct console_host *host = &run->console->host;

	host->reload(host->arg, run->console->index, run->session_id);
}

struct reloaded {
	struct message message;
	struct console *console;
	uint32_t session_id;
	char problem[200]; /* "": none */
};

static void tell_reloaded(struct message *message, void *arg)
{
	struct reloaded *m = container_of(message, struct reloaded, message);
	struct result result;

	result_init(&result);
	text_copy(result.tag, sizeof(result.tag), "RELOAD");
	if (m->problem[0])
		result_fail(&result, "F0000", "RELOAD failed, see logs for more details: %s",
			m->problem);
	console_reply(m->console, m->session_id, &result);
	result_clear(&result);
	free(m);
}

void console_post_reloaded(
	const struct console_peer *peer, uint32_t session_id, const char *problem)
{
	struct reloaded *m = calloc(1, sizeof(*m));

	/* A client that got no answer would wait for ever. */
	CHECK(m);
	m->message.deliver = tell_reloaded;
	m->console = peer->console;
	m->session_id = session_id;
	text_copy(m->problem, sizeof(m->problem), problem ? problem : "");
	mailbox_post(peer->mailbox, &m->message);
}

/* PgBouncer's words for what to wait for are taken: weir's stop waits for transactions. */
static void run_shutdown(const struct run *run)
{
	const char *how = argument(run);

	if (run->command->n_words > 1 && strcmp(how, "wait_for_clients") != 0 &&
		strcmp(how, "wait_for_servers") != 0) {
		reply_invalid(run->console, run->session_id, run->text);
		return;
	}
	console_reply_tag(run->console, run->session_id, "SHUTDOWN");
	run->console->host.shutdown(run->console->host.arg);
}

struct option_search {
	const char *name;
	bool found;
};

static void compare_option(
	void *arg, const char *key, const char *value, const char *fallback, bool changeable)
{
	struct option_search *search = arg;

	search->found |= strcmp(search->name, key) == 0;
}

/* Drivers set things when they connect; the console has nothing to set. But who means an option of
 * weir's must not believe that it has changed. */
static void run_set(const struct run *run)
{
	struct option_search search = {.name = argument(run)};
	struct result result;

	config_each_option(run->console->config, compare_option, &search);
	if (search.found) {
		console_reply_error(run->console, run->session_id,
			"%s is changed in the configuration file; then RELOAD", search.name);
		return;
	}
	result_init(&result);
	text_copy(result.tag, sizeof(result.tag), "SET");
	text_copy(result.notice, sizeof(result.notice), "SET ignored");
	console_reply(run->console, run->session_id, &result);
	result_clear(&result);
}

/* What drivers ask of a server when they connect. */
static bool show_parameter(const struct run *run, const char *name)
{
	static const char *const parameters[][2] = {{"client_encoding", "UTF8"},
		{"default_transaction_isolation", "read committed"},
		{"standard_conforming_strings", "on"}, {"datestyle", "ISO"}, {"timezone", "GMT"}};
	struct result result;

	for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
		if (strcmp(parameters[i][0], name) != 0)
			continue;
		struct result_column column = {.name = parameters[i][0], .type = RESULT_TEXT};
		result_init(&result);
		result.columns = &column;
		result.n_columns = 1;
		result_text(&result, parameters[i][1]);
		text_copy(result.tag, sizeof(result.tag), "SHOW");
		console_reply(run->console, run->session_id, &result);
		result_clear(&result);
		return true;
	}
	return false;
}

static const struct topic *find_topic(const char *name)
{
	for (size_t i = 0; i < n_topics; i++) {
		if (strcmp(topics[i].name, name) == 0)
			return &topics[i];
	}
	return NULL;
}

static void run_show(const struct run *run)
{
	const struct topic *topic = find_topic(argument(run));
	struct result result;

	if (!topic) {
		if (!show_parameter(run, argument(run)))
			reply_invalid(run->console, run->session_id, run->text);
		return;
	}
	if (topic->everywhere) {
		console_everywhere(run->console, run->session_id, topic, NULL, NULL, "SHOW");
		return;
	}
	result_init(&result);
	result.columns = topic->columns;
	result.n_columns = topic->n_columns;
	text_copy(result.tag, sizeof(result.tag), "SHOW");
	topic->collect(run->console, &result);
	console_reply(run->console, run->session_id, &result);
	result_clear(&result);
}

static const struct command_row commands[] = {
	{"show", ACCESS_STATS, 2, 2, run_show, "SHOW HELP|..."},
	{"select", ACCESS_STATS, 2, 2, run_show, NULL},
	{"set", ACCESS_STATS, 2, WORDS_MAX, run_set, NULL},
	{"pause", ACCESS_ADMIN, 1, 2, run_pause, "PAUSE [database]"},
	{"resume", ACCESS_ADMIN, 1, 2, run_resume, "RESUME [database]"},
	{"reconnect", ACCESS_ADMIN, 1, 2, run_reconnect, "RECONNECT [database]"},
	{"reload", ACCESS_ADMIN, 1, 1, run_reload, "RELOAD"},
	{"shutdown", ACCESS_ADMIN, 1, 2, run_shutdown,
		"SHUTDOWN [WAIT_FOR_CLIENTS|WAIT_FOR_SERVERS]"},
	{"kill_client", ACCESS_ADMIN, 2, 2, run_kill_client, "KILL_CLIENT id"},
};

void commands_help(struct buf *b)
{
	buf_text(b, "\n\tSHOW ");
	for (size_t i = 0; i < n_topics; i++)
		buf_printf(b, "%s%s", i ? "|" : "", topics[i].name);
	for (size_t i = 1; i < ARRAY_LEN(commands); i++) {
		if (commands[i].usage)
			buf_printf(b, "\n\t%s", commands[i].usage);
	}
}

void commands_run(struct console *console, uint32_t session_id, unsigned access,
	const struct command *command, const char *text)
{
	struct run run = {.console = console,
		.session_id = session_id,
		.access = access,
		.command = command,
		.text = text};

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const struct command_row *row = &commands[i];
		if (strcmp(row->word, command->words[0]) != 0)
			continue;
		if (command->n_words < row->min_words || command->n_words > row->max_words)
			break;
		if (!(access & row->access)) {
			console_reply_error(console, session_id, "admin access needed");
			return;
		}
		row->fn(&run);
		return;
	}
	reply_invalid(console, session_id, text);
}
