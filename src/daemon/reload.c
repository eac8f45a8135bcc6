/*
 * Reading the configuration again: all or nothing. A good one goes to every worker by message; the
 * one before is freed when the last of them has let go of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/daemon.h"
#include "daemon/internal.h"
#include "daemon/systemd.h"

/* A console client that waits for the outcome. */
struct asker {
	struct list link;
	unsigned worker;
	uint32_t session_id;
};

int daemon_check(const struct config *config, struct buf *ret_problems)
{
	int bad = 0;

	for (size_t i = 0; i < config->n_databases; i++) {
		const struct config_database *database = &config->databases[i];
		const struct protocol *protocol = protocol_find(database->url.protocol);
		struct buf why = {0};
		bool good = protocol && protocol->url_check(&database->url, &why);
		if (!protocol)
			buf_printf(&why, "url: this version does not serve %s",
				database->url.protocol);
		buf_u8(&why, 0);
		if (!good) {
			buf_printf(ret_problems, "%s:%d: %s\n", database->file, database->url_line,
				why.failed ? "bad url" : (char *)why.data);
			bad = 1;
		}
		buf_clear(&why);
	}
	return bad;
}

/* Tells those who wait; `problem` is the first line of what is wrong, NULL: nothing is. */
static void answer(struct daemon *d, struct list *askers, const char *problem)
{
	struct asker *asker;

	while ((asker = list_first(askers, struct asker, link))) {
		list_remove(&asker->link);
		console_post_reloaded(&d->console_peers[asker->worker], asker->session_id, problem);
		free(asker);
	}
}

static void tell_manager_reloading(void)
{
	char text[64];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_usec());
	systemd_notify(text);
}

/* --- the good end --- */

static void config_is_taken(struct message *message, void *arg)
{
	struct daemon *d = arg;

	free(container_of(message, struct notice, message));
	if (--d->n_unacknowledged)
		return;
	config_free(d->config);
	d->config = d->next_config;
	d->next_config = NULL;
	porter_count(d, d->config);
	accounts_reloaded(d);
	log_info("event=reloaded");
	systemd_notify("READY=1");
	answer(d, &d->present_askers, NULL);
	probes_start(d);
	if (d->reload_again)
		reload_now(d);
}

static void on_config_taken(void *arg)
{
	daemon_tell(arg, config_is_taken, 0, 0);
}

static void apply(struct daemon *d, struct config *next)
{
	struct buf changes = {0};

	config_print_diff(d->config, next, &changes);
	if (changes.len)
		daemon_log_lines(LOG_LEVEL_INFO, "reload", &changes);
	else
		log_info("event=reload detail=\"nothing has changed\"");
	buf_clear(&changes);
	log_configure(next->log_level, systemd_logs_to_journal());
	d->next_config = next;
	d->n_unacknowledged = d->n_workers;
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_config(&d->workers[i], next, on_config_taken, d);
}

/* --- the bad end --- */

/* The first line of the problems is what a console client is told. */
static void refuse(struct daemon *d, struct buf *problems)
{
	char first[200] = "the configuration could not be read";

	daemon_log_lines(LOG_LEVEL_ERROR, "bad_config", problems);
	log_error("event=reload_refused detail=\"the configuration stays as it was\"");
	if (problems->len > 1 && !problems->failed) {
		size_t len = strcspn((char *)problems->data, "\n");
		snprintf(first, sizeof(first), "%.*s", (int)len, (char *)problems->data);
	}
	answer(d, &d->present_askers, first);
	systemd_notify("READY=1");
}

static bool is_possible(struct daemon *d)
{
	const char *why = NULL;

	if (d->phase != PHASE_RUNNING)
		why = "weir is stopping";
	else if (!d->config->path)
		why = "started with URLs: there is no file to read";
	if (!why)
		return true;
	log_warning("event=reload_refused detail=\"%s\"", why);
	answer(d, &d->askers, why);
	return false;
}

void reload_now(struct daemon *d)
{
	struct buf problems = {0};
	struct config *next = NULL;
	struct asker *asker;

	d->reload_again = d->next_config != NULL;
	if (d->reload_again || !is_possible(d))
		return;
	while ((asker = list_first(&d->askers, struct asker, link))) {
		list_remove(&asker->link);
		list_append(&d->present_askers, &asker->link);
	}
	tell_manager_reloading();
	int r = config_read(d->config->path, &next, &problems);
	if (r == 0 && daemon_check(next, &problems) != 0) {
		config_free(next);
		r = 1;
	}
	if (r == 0)
		apply(d, next);
	else
		refuse(d, &problems);
	buf_clear(&problems);
}

/* --- for the console --- */

static void console_asks(struct message *message, void *arg)
{
	struct notice *notice = container_of(message, struct notice, message);
	struct daemon *d = arg;
	struct asker *asker = calloc(1, sizeof(*asker));

	if (!asker) {
		console_post_reloaded(
			&d->console_peers[notice->worker], notice->session_id, "out of memory");
	} else {
		asker->worker = notice->worker;
		asker->session_id = notice->session_id;
		list_append(&d->askers, &asker->link);
		reload_now(d);
	}
	free(notice);
}

void reload_for_console(void *daemon, unsigned worker, uint32_t session_id)
{
	daemon_tell(daemon, console_asks, worker, session_id);
}

static void forget(struct list *askers)
{
	struct asker *asker;

	while ((asker = list_first(askers, struct asker, link))) {
		list_remove(&asker->link);
		free(asker);
	}
}

void reload_clear(struct daemon *d)
{
	forget(&d->askers);
	forget(&d->present_askers);
	config_free(d->next_config);
	d->next_config = NULL;
}
