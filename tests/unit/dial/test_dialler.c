/* The dialler with a protocol that only pretends, delivering through a real loop and mailbox. */
#include "dial/dialler.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_SEEN 256

/* What the pretending protocol does and sees, shared with the dialler's threads. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool closed; /* jobs wait at the gate */
	unsigned n_at_gate;
	unsigned n_freed, n_cancelled, n_cancels_freed;
	unsigned n_seen;
	char seen[MAX_SEEN][64]; /* user:password@host/dbname/connect_timeout, in the order run */
	bool signals_open;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void pass_gate(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.n_at_gate++;
	pthread_cond_broadcast(&fake.changed);
	while (fake.closed)
		pthread_cond_wait(&fake.changed, &fake.lock);
	fake.n_at_gate--;
	pthread_mutex_unlock(&fake.lock);
}

static void set_gate(bool closed)
{
	pthread_mutex_lock(&fake.lock);
	fake.closed = closed;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
}

static void wait_at_gate(unsigned n)
{
	pthread_mutex_lock(&fake.lock);
	while (fake.n_at_gate < n)
		pthread_cond_wait(&fake.changed, &fake.lock);
	pthread_mutex_unlock(&fake.lock);
}

static void note(const struct dial_target *target)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	pthread_mutex_lock(&fake.lock);
	fake.signals_open |= !sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGHUP);
	snprintf(fake.seen[fake.n_seen++ % MAX_SEEN], sizeof(fake.seen[0]), "%s:%s@%s/%s/%lld",
		target->user ? target->user : "-", target->password ? target->password : "-",
		target->url->hosts[0].name, target->url->dbname,
		(long long)target->connect_timeout);
	pthread_mutex_unlock(&fake.lock);
}

/* The database's name says how it goes. */
static int fake_dial(const struct dial_target *target, struct dialled *ret_dialled,
	struct refusal *ret_refusal, bool *ret_final)
{
	const char *dbname = target->url->dbname;

	pass_gate();
	note(target);
	if (strcmp(dbname, "refused") == 0) {
		refusal_set(ret_refusal, REASON_SERVER_UNREACHABLE, "no");
		*ret_final = true;
		return 1;
	}
	if (strcmp(dbname, "broken") == 0)
		return -EMFILE;
	*ret_dialled = (struct dialled){.fd = -1, .handle = strdup(dbname)};
	return 0;
}

static void fake_dialled_free(struct dialled *dialled)
{
	free(dialled->handle);
	dialled->handle = NULL;
	pthread_mutex_lock(&fake.lock);
	fake.n_freed++;
	pthread_mutex_unlock(&fake.lock);
}

static pthread_mutex_t cancel_gate = PTHREAD_MUTEX_INITIALIZER;

static enum cancel_outcome fake_cancel(void *cancel)
{
	/* A test that holds it lets no cancel end. */
	pthread_mutex_lock(&cancel_gate);
	pthread_mutex_unlock(&cancel_gate);
	pthread_mutex_lock(&fake.lock);
	fake.n_cancelled++;
	pthread_mutex_unlock(&fake.lock);
	return CANCEL_STRAY;
}

static void fake_cancel_free(void *cancel)
{
	free(cancel);
	pthread_mutex_lock(&fake.lock);
	fake.n_cancels_freed++;
	pthread_mutex_unlock(&fake.lock);
}

static const struct protocol fake_protocol = {
	.name = "fake",
	.dial = fake_dial,
	.dialled_free = fake_dialled_free,
	.cancel = fake_cancel,
	.cancel_free = fake_cancel_free,
};

/* --- the worker's side --- */

struct worker {
	struct loop *loop;
	struct mailbox *mailbox;
	struct dialler *dialler;
	unsigned n_expected, n_dialled, n_refused, n_errors, n_cancelled, n_stray;
	int last_error;
	bool keep;              /* take connections out of their results */
	char *taken;            /* the last one */
	char arrived[MAX_SEEN]; /* the jobs' marks, in the order of their results */
	struct refusal refusal; /* the last one */
	bool final;
};

struct mark {
	struct worker *worker;
	char letter;
};

static void arrive(struct worker *w, char letter)
{
	size_t n = strlen(w->arrived);

	if (n + 1 < sizeof(w->arrived))
		w->arrived[n] = letter;
	if (--w->n_expected == 0)
		loop_stop(w->loop);
}

static void dial_delivered(struct message *message, void *arg)
{
	struct dial_result *result = container_of(message, struct dial_result, message);
	struct mark *mark = result->arg;
	struct worker *w = arg;

	assert_ptr_equal(mark->worker, w);
	assert_ptr_equal(result->protocol, &fake_protocol);
	w->n_dialled += result->error == 0;
	w->n_refused += result->error == 1;
	w->n_errors += result->error < 0;
	w->last_error = result->error;
	w->final = result->final;
	w->refusal = result->refusal;
	if (result->error == 0 && w->keep) {
		free(w->taken);
		w->taken = result->dialled.handle;
		result->dialled.handle = NULL;
	}
	dial_result_free(result);
	arrive(w, mark->letter);
}

static void cancel_delivered(struct message *message, void *arg)
{
	struct cancel_result *result = container_of(message, struct cancel_result, message);
	struct mark *mark = result->arg;

	((struct worker *)arg)->n_stray += result->stray;
	free(result);
	((struct worker *)arg)->n_cancelled++;
	arrive(arg, mark->letter);
}

static void dial_url(struct worker *w, const char *text, struct mark *mark)
{
	struct url url;
	struct buf problem = {0};
	char user[] = "someone", password[] = "secret";
	struct dial_target target = {
		.url = &url, .user = user, .password = password, .connect_timeout = 7};

	assert_int_equal(url_parse(text, &url, &problem), 0);
	assert_int_equal(
		dialler_dial(w->dialler, &fake_protocol, &target, w->mailbox, dial_delivered, mark),
		0);
	/* What was given is the caller's again. */
	url_clear(&url);
	memset(user, 'x', sizeof(user) - 1);
	memset(password, 'x', sizeof(password) - 1);
	w->n_expected++;
}

static void cancel(struct worker *w, struct mark *mark)
{
	assert_int_equal(dialler_cancel(w->dialler, &fake_protocol, malloc(1), w->mailbox,
				 cancel_delivered, mark),
		0);
	w->n_expected++;
}

static void start(struct worker *w, unsigned n_dial, unsigned n_cancel)
{
	*w = (struct worker){0};
	fake.closed = fake.signals_open = false;
	fake.n_at_gate = fake.n_freed = fake.n_cancelled = fake.n_cancels_freed = fake.n_seen = 0;
	assert_int_equal(loop_new(&w->loop), 0);
	assert_int_equal(mailbox_new(w->loop, w, &w->mailbox), 0);
	assert_int_equal(dialler_new(n_dial, n_cancel, &w->dialler), 0);
}

static void end(struct worker *w)
{
	dialler_free(w->dialler);
	mailbox_free(w->mailbox);
	loop_free(w->loop);
	free(w->taken);
}

/* --- the requirements --- */

static void connection_reaches_the_worker(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'a'};

	start(&w, 2, 1);
	w.keep = true;
	dial_url(&w, "postgresql://h/good", &mark);
	loop_run(w.loop);
	assert_int_equal(w.n_dialled, 1);
	assert_string_equal(w.taken, "good");
	assert_int_equal(fake.n_freed, 0);
	end(&w);
}

static void connection_nobody_takes_is_freed(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'a'};

	start(&w, 1, 1);
	dial_url(&w, "postgresql://h/good", &mark);
	loop_run(w.loop);
	assert_int_equal(fake.n_freed, 1);
	end(&w);
}

static void refusal_is_passed_on(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'a'};

	start(&w, 1, 1);
	dial_url(&w, "postgresql://h/refused", &mark);
	loop_run(w.loop);
	assert_int_equal(w.n_refused, 1);
	assert_true(w.final);
	assert_int_equal(w.refusal.reason, REASON_SERVER_UNREACHABLE);
	assert_non_null(strstr(w.refusal.text, ": no"));
	end(&w);
}

static void error_is_passed_on(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'a'};

	start(&w, 1, 1);
	dial_url(&w, "postgresql://h/broken", &mark);
	loop_run(w.loop);
	assert_int_equal(w.n_errors, 1);
	assert_int_equal(w.last_error, -EMFILE);
	end(&w);
}

static void job_owns_its_copies(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'a'};

	start(&w, 1, 1);
	set_gate(true);
	dial_url(&w, "postgresql://host/name", &mark);
	set_gate(false);
	loop_run(w.loop);
	assert_string_equal(fake.seen[0], "someone:secret@host/name/7");
	end(&w);
}

static void one_thread_keeps_the_order(void **state)
{
	struct worker w;
	struct mark a = {.worker = &w, .letter = 'a'}, b = {.worker = &w, .letter = 'b'},
		    c = {.worker = &w, .letter = 'c'};

	start(&w, 1, 1);
	set_gate(true);
	dial_url(&w, "postgresql://h/good", &a);
	dial_url(&w, "postgresql://h/refused", &b);
	dial_url(&w, "postgresql://h/broken", &c);
	set_gate(false);
	loop_run(w.loop);
	assert_string_equal(w.arrived, "abc");
	end(&w);
}

static void slow_server_does_not_delay_the_others(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'a'};

	start(&w, 3, 1);
	set_gate(true);
	for (int i = 0; i < 3; i++)
		dial_url(&w, "postgresql://h/good", &mark);
	/* All three are under way at once. */
	wait_at_gate(3);
	set_gate(false);
	loop_run(w.loop);
	assert_int_equal(w.n_dialled, 3);
	end(&w);
}

static void cancel_does_not_wait_behind_dials(void **state)
{
	struct worker w;
	struct mark dial = {.worker = &w, .letter = 'd'}, other = {.worker = &w, .letter = 'c'};

	start(&w, 1, 1);
	set_gate(true);
	dial_url(&w, "postgresql://h/good", &dial);
	wait_at_gate(1);
	cancel(&w, &other);
	w.n_expected--;
	loop_run(w.loop);
	assert_string_equal(w.arrived, "c");
	assert_int_equal(fake.n_cancelled, 1);
	assert_int_equal(w.n_stray, 1);
	assert_int_equal(fake.n_cancels_freed, 1);
	set_gate(false);
	w.n_expected = 1;
	loop_run(w.loop);
	assert_string_equal(w.arrived, "cd");
	end(&w);
}

static void *open_gate_later(void *arg)
{
	usleep(200000);
	set_gate(false);
	return NULL;
}

static void free_lets_the_running_end_and_drops_the_rest(void **state)
{
	struct worker w;
	struct mark a = {.worker = &w, .letter = 'a'}, b = {.worker = &w, .letter = 'b'},
		    c = {.worker = &w, .letter = 'c'};
	pthread_t opener;

	start(&w, 1, 1);
	set_gate(true);
	dial_url(&w, "postgresql://h/good", &a);
	wait_at_gate(1);
	dial_url(&w, "postgresql://h/good", &b);
	dial_url(&w, "postgresql://h/good", &c);
	assert_int_equal(pthread_create(&opener, NULL, open_gate_later, NULL), 0);
	dialler_free(w.dialler);
	w.dialler = NULL;
	pthread_join(opener, NULL);
	loop_run(w.loop);
	assert_string_equal(w.arrived, "abc");
	assert_int_equal(w.n_dialled, 1);
	assert_int_equal(w.n_errors, 2);
	assert_int_equal(w.last_error, -ECANCELED);
	assert_int_equal(fake.n_seen, 1);
	end(&w);
}

static void cancels_that_have_lost_their_point_end_at_once(void **state)
{
	struct worker w;
	struct mark first = {.worker = &w, .letter = '1'}, moot = {.worker = &w, .letter = 'm'},
		    other = {.worker = &w, .letter = 'o'};

	start(&w, 1, 1);
	pthread_mutex_lock(&cancel_gate);
	cancel(&w, &first);
	cancel(&w, &moot);
	cancel(&w, &other);
	cancel(&w, &moot);
	/* The only thread is at the first, or about to take it. */
	dialler_forget_cancels(w.dialler, &moot);
	pthread_mutex_unlock(&cancel_gate);
	loop_run(w.loop);
	assert_int_equal(w.n_cancelled, 4);
	assert_int_equal(fake.n_cancelled, 2);
	assert_int_equal(w.n_stray, 2);
	assert_int_equal(fake.n_cancels_freed, 4);
	end(&w);
}

static void free_answers_every_cancel(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'c'};

	start(&w, 1, 1);
	for (int i = 0; i < 20; i++)
		cancel(&w, &mark);
	dialler_free(w.dialler);
	w.dialler = NULL;
	loop_run(w.loop);
	assert_int_equal(w.n_cancelled, 20);
	assert_int_equal(fake.n_cancels_freed, 20);
	end(&w);
}

static void signals_are_not_for_dialler_threads(void **state)
{
	struct worker w;
	struct mark mark = {.worker = &w, .letter = 'a'};
	sigset_t mask;

	start(&w, 1, 1);
	dial_url(&w, "postgresql://h/good", &mark);
	loop_run(w.loop);
	assert_false(fake.signals_open);
	/* ... and the maker's mask is as it was. */
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGTERM));
	end(&w);
}

static void every_job_is_answered_once(void **state)
{
	static const char *const urls[] = {"postgresql://h/good", "postgresql://u:p@h/refused",
		"postgresql://h:1,h:2/broken?sslmode=disable"};
	struct worker w;
	struct mark mark = {.worker = &w, .letter = '.'};

	start(&w, 4, 2);
	for (int i = 0; i < 150; i++) {
		dial_url(&w, urls[i % 3], &mark);
		if (i % 3 == 0)
			cancel(&w, &mark);
	}
	loop_run(w.loop);
	assert_int_equal(w.n_dialled, 50);
	assert_int_equal(w.n_refused, 50);
	assert_int_equal(w.n_errors, 50);
	assert_int_equal(w.n_cancelled, 50);
	assert_int_equal(fake.n_freed, 50);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connection_reaches_the_worker),
		cmocka_unit_test(connection_nobody_takes_is_freed),
		cmocka_unit_test(refusal_is_passed_on),
		cmocka_unit_test(error_is_passed_on),
		cmocka_unit_test(job_owns_its_copies),
		cmocka_unit_test(one_thread_keeps_the_order),
		cmocka_unit_test(slow_server_does_not_delay_the_others),
		cmocka_unit_test(cancel_does_not_wait_behind_dials),
		cmocka_unit_test(free_lets_the_running_end_and_drops_the_rest),
		cmocka_unit_test(cancels_that_have_lost_their_point_end_at_once),
		cmocka_unit_test(free_answers_every_cancel),
		cmocka_unit_test(signals_are_not_for_dialler_threads),
		cmocka_unit_test(every_job_is_answered_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
