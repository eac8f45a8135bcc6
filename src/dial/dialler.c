/*
 * The threads and their queues. Used by pool/; runs what protocols offer for it. A job owns copies
 * of all it needs, so that a reload may take the configuration away under it. Never logs, never
 * decides what a failure means.
 */
#include "dial/dialler.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "net/paths.h"
#include "util/list.h"

/* Name services, TLS and Kerberos run on these threads: more than a page or two, less than the
 * usual 8 MB. */
#define STACK_SIZE ((size_t)512 * 1024)

/* A job, which becomes its own result. */
struct job {
	struct list link;
	void (*run)(struct job *job);
	void (*drop)(struct job *job);
	const struct protocol *protocol;
	struct mailbox *mailbox;
	struct url url; /* a dial's, copied */
	char *user, *password;
	usec_t connect_timeout;
	unsigned flavour;
	bool prefers_writable;
	struct paths *paths; /* the dialler's */
	struct dial_result *dialled;
	struct probe_result *probed;
	void *cancel;
	struct cancel_result *cancelled;
};

/* Threads with one queue. */
struct crew {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list jobs; /* under the lock */
	bool stopping;    /* under the lock */
	pthread_t *threads;
	unsigned n_threads;
};

struct dialler {
	struct paths *paths;
	struct crew dials, cancels;
};

/* --- jobs --- */

/* True unless memory ran out. */
static bool copy_text(char **ret_copy, const char *text)
{
	*ret_copy = text ? strdup(text) : NULL;
	return *ret_copy || !text;
}

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void job_free(struct job *job)
{
	url_clear(&job->url);
	wipe(job->user);
	wipe(job->password);
	free(job);
}

static struct dial_target target_of(const struct job *job)
{
	return (struct dial_target){.url = &job->url,
		.user = job->user,
		.password = job->password,
		.connect_timeout = job->connect_timeout,
		.flavour = job->flavour,
		.prefers_writable = job->prefers_writable,
		.paths = job->paths};
}

static void run_dial(struct job *job)
{
	struct dial_result *result = job->dialled;
	struct dial_target target = target_of(job);

	result->error =
		job->protocol->dial(&target, &result->dialled, &result->refusal, &result->final);
	mailbox_post(job->mailbox, &result->message);
	job_free(job);
}

static void drop_dial(struct job *job)
{
	job->dialled->error = -ECANCELED;
	mailbox_post(job->mailbox, &job->dialled->message);
	job_free(job);
}

static void run_probe(struct job *job)
{
	struct probe_result *result = job->probed;
	struct dial_target target = target_of(job);

	result->error = job->protocol->probe(&target, &result->greeting, &result->refusal);
	mailbox_post(job->mailbox, &result->message);
	job_free(job);
}

static void drop_probe(struct job *job)
{
	job->probed->error = -ECANCELED;
	mailbox_post(job->mailbox, &job->probed->message);
	job_free(job);
}

static void run_cancel(struct job *job)
{
	job->cancelled->stray = job->protocol->cancel(job->cancel) == CANCEL_STRAY;
	job->protocol->cancel_free(job->cancel);
	mailbox_post(job->mailbox, &job->cancelled->message);
	job_free(job);
}

static void drop_cancel(struct job *job)
{
	job->protocol->cancel_free(job->cancel);
	mailbox_post(job->mailbox, &job->cancelled->message);
	job_free(job);
}

/* --- threads --- */

static struct job *next_job(struct crew *crew)
{
	struct job *job = NULL;

	pthread_mutex_lock(&crew->lock);
	while (!crew->stopping && list_empty(&crew->jobs))
		pthread_cond_wait(&crew->wake, &crew->lock);
	if (!crew->stopping) {
		job = list_first(&crew->jobs, struct job, link);
		CHECK(job);
		list_remove(&job->link);
	}
	pthread_mutex_unlock(&crew->lock);
	return job;
}

static void *work(void *arg)
{
	struct job *job;

	while ((job = next_job(arg)))
		job->run(job);
	return NULL;
}

static void submit(struct crew *crew, struct job *job)
{
	pthread_mutex_lock(&crew->lock);
	list_append(&crew->jobs, &job->link);
	pthread_cond_signal(&crew->wake);
	pthread_mutex_unlock(&crew->lock);
}

static int start_threads(struct crew *crew, unsigned n_threads, const char *name)
{
	pthread_attr_t attr;

	int r = -pthread_attr_init(&attr);
	if (r < 0)
		return r;
	r = -pthread_attr_setstacksize(&attr, STACK_SIZE);
	while (r == 0 && crew->n_threads < n_threads) {
		pthread_t *thread = &crew->threads[crew->n_threads];
		r = -pthread_create(thread, &attr, work, crew);
		if (r == 0) {
			pthread_setname_np(*thread, name);
			crew->n_threads++;
		}
	}
	pthread_attr_destroy(&attr);
	return r;
}

/* Good for crew_halt() and crew_clear() whatever it returns. */
static int crew_init(struct crew *crew, unsigned n_threads, const char *name)
{
	sigset_t all, before;

	CHECK(n_threads > 0);
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->wake, NULL);
	list_init(&crew->jobs);
	crew->threads = calloc(n_threads, sizeof(*crew->threads));
	if (!crew->threads)
		return -ENOMEM;
	/* Signals are the main thread's; a thread begins with the mask of its maker. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = start_threads(crew, n_threads, name);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* No job begins any more. */
static void crew_halt(struct crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->stopping = true;
	pthread_cond_broadcast(&crew->wake);
	pthread_mutex_unlock(&crew->lock);
}

/* Waits for the running jobs, drops the others. */
static void crew_clear(struct crew *crew)
{
	struct job *job;

	for (unsigned i = 0; i < crew->n_threads; i++)
		pthread_join(crew->threads[i], NULL);
	while ((job = list_first(&crew->jobs, struct job, link))) {
		list_remove(&job->link);
		job->drop(job);
	}
	free(crew->threads);
	pthread_cond_destroy(&crew->wake);
	pthread_mutex_destroy(&crew->lock);
}

int dialler_new(unsigned n_dial, unsigned n_cancel, struct dialler **ret_dialler)
{
	struct dialler *dialler = calloc(1, sizeof(*dialler));

	if (!dialler)
		return -ENOMEM;
	int r_paths = paths_new(&dialler->paths);
	/* All, so that dialler_free() finds all in order. */
	int r = crew_init(&dialler->dials, n_dial, "weir-dial");
	int r_cancels = crew_init(&dialler->cancels, n_cancel, "weir-cancel");
	if (r == 0)
		r = r_cancels;
	if (r == 0)
		r = r_paths;
	if (r < 0) {
		dialler_free(dialler);
		return r;
	}
	*ret_dialler = dialler;
	return 0;
}

void dialler_free(struct dialler *dialler)
{
	if (!dialler)
		return;
	if (dialler->paths)
		paths_close(dialler->paths);
	crew_halt(&dialler->dials);
	crew_halt(&dialler->cancels);
	crew_clear(&dialler->dials);
	crew_clear(&dialler->cancels);
	paths_free(dialler->paths);
	free(dialler);
}

/* --- handing over --- */

static struct job *target_job(
	struct paths *paths, const struct protocol *protocol, const struct dial_target *target)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->protocol = protocol;
	job->connect_timeout = target->connect_timeout;
	job->flavour = target->flavour;
	job->prefers_writable = target->prefers_writable;
	job->paths = paths;
	/* A name that was lost on the way would make it a login as someone else. */
	if (url_copy(target->url, &job->url) < 0 || !copy_text(&job->user, target->user) ||
		!copy_text(&job->password, target->password)) {
		job_free(job);
		return NULL;
	}
	return job;
}

int dialler_dial(struct dialler *dialler, const struct protocol *protocol,
	const struct dial_target *target, struct mailbox *mailbox, message_fn deliver, void *arg)
{
	struct dial_result *result = calloc(1, sizeof(*result));
	struct job *job = result ? target_job(dialler->paths, protocol, target) : NULL;

	if (!job) {
		free(result);
		return -ENOMEM;
	}
	job->run = run_dial;
	job->drop = drop_dial;
	result->message.deliver = deliver;
	result->arg = arg;
	result->protocol = protocol;
	job->mailbox = mailbox;
	job->dialled = result;
	submit(&dialler->dials, job);
	return 0;
}

void dial_result_free(struct dial_result *result)
{
	if (!result)
		return;
	if (result->error == 0 && result->dialled.handle)
		result->protocol->dialled_free(&result->dialled);
	free(result);
}

int dialler_probe(struct dialler *dialler, const struct protocol *protocol,
	const struct dial_target *target, struct mailbox *mailbox, message_fn deliver, void *arg)
{
	struct probe_result *result = calloc(1, sizeof(*result));
	struct job *job = result ? target_job(dialler->paths, protocol, target) : NULL;

	if (!job) {
		free(result);
		return -ENOMEM;
	}
	job->run = run_probe;
	job->drop = drop_probe;
	result->message.deliver = deliver;
	result->arg = arg;
	job->mailbox = mailbox;
	job->probed = result;
	submit(&dialler->dials, job);
	return 0;
}

void probe_result_free(struct probe_result *result)
{
	if (!result)
		return;
	buf_clear(&result->greeting);
	free(result);
}

int dialler_cancel(struct dialler *dialler, const struct protocol *protocol, void *cancel,
	struct mailbox *mailbox, message_fn deliver, void *arg)
{
	struct job *job = calloc(1, sizeof(*job));
	struct cancel_result *result = calloc(1, sizeof(*result));

	if (!job || !result) {
		free(job);
		free(result);
		protocol->cancel_free(cancel);
		return -ENOMEM;
	}
	result->message.deliver = deliver;
	result->arg = arg;
	job->run = run_cancel;
	job->drop = drop_cancel;
	job->protocol = protocol;
	job->mailbox = mailbox;
	job->cancel = cancel;
	job->cancelled = result;
	submit(&dialler->cancels, job);
	return 0;
}

void dialler_forget_cancels(struct dialler *dialler, const void *arg)
{
	struct crew *crew = &dialler->cancels;
	struct list moot, *link, *next;
	struct job *job;

	list_init(&moot);
	pthread_mutex_lock(&crew->lock);
	list_for_each_safe (link, next, &crew->jobs) {
		job = list_entry(link, struct job, link);
		if (job->cancelled->arg == arg) {
			list_remove(link);
			list_append(&moot, link);
		}
	}
	pthread_mutex_unlock(&crew->lock);
	while ((job = list_first(&moot, struct job, link))) {
		list_remove(&job->link);
		job->drop(job);
	}
}
