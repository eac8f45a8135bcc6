/*
 * What clients are greeted with before they have said which database they want: asked of the
 * servers at the start, so that the first client is told the truth. Later every new server
 * connection tells.
 */
#include <stdlib.h>

#include "daemon/internal.h"

struct probe {
	struct daemon *daemon;
	const struct protocol *protocol;
	size_t index; /* of the database, in the configuration's order */
};

static void open_doors(struct daemon *d)
{
	timer_set(&d->probe_timer, USEC_NEVER);
	if (d->is_ready || d->phase != PHASE_RUNNING)
		return;
	d->is_ready = true;
	doors_greet(d);
	daemon_ready(d);
}

/* A server that does not answer keeps nobody out for ever. */
static void on_timer(void *arg)
{
	open_doors(arg);
}

/* With servers of several kinds, the first database's is what everybody is greeted with. */
static void learn(struct daemon *d, const struct probe *probe, const struct buf *greeting)
{
	if (probe->index > d->best_greeting || d->phase != PHASE_RUNNING)
		return;
	d->best_greeting = probe->index;
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_post_greeting(&d->workers[i], probe->protocol, greeting);
}

static void probe_ended(struct message *message, void *arg)
{
	struct probe_result *result = container_of(message, struct probe_result, message);
	struct probe *probe = result->arg;
	struct daemon *d = arg;
	char text[400];

	if (result->error == 0)
		learn(d, probe, &result->greeting);
	else if (result->error > 0)
		log_warning("event=probe_failed database=\"%s\" detail=\"%s\"",
			probe->index < d->config->n_databases
				? d->config->databases[probe->index].name
				: "",
			log_escape(result->refusal.text, text, sizeof(text)));
	free(probe);
	probe_result_free(result);
	if (--d->n_probing == 0)
		open_doors(d);
}

static void start(struct daemon *d, size_t index)
{
	const struct config_database *database = &d->config->databases[index];
	const struct protocol *protocol = protocol_find(database->url.protocol);
	struct probe *probe = malloc(sizeof(*probe));
	struct dial_target target = {
		.url = &database->url, .connect_timeout = database->pool.connect_timeout};

	if (!probe)
		return;
	*probe = (struct probe){.daemon = d, .protocol = protocol, .index = index};
	if (dialler_probe(d->dialler, protocol, &target, d->mailbox, probe_ended, probe) < 0)
		free(probe);
	else
		d->n_probing++;
}

void probes_init(struct daemon *d)
{
	d->best_greeting = SIZE_MAX;
	timer_init(&d->probe_timer, d->loop, on_timer, d);
}

void probes_start(struct daemon *d)
{
	usec_t patience = 0;

	d->best_greeting = SIZE_MAX;
	for (size_t i = 0; i < d->config->n_databases; i++) {
		const struct config_database *database = &d->config->databases[i];
		const struct protocol *protocol = protocol_find(database->url.protocol);
		if (!protocol || !protocol->probe)
			continue;
		start(d, i);
		if (database->pool.connect_timeout > patience)
			patience = database->pool.connect_timeout;
	}
	if (!d->n_probing)
		open_doors(d);
	else if (!d->is_ready)
		timer_set(&d->probe_timer, clock_usec() + patience);
}
