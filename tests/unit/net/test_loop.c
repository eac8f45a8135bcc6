/* Timers, deferred work, and messages between threads. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../test.h"
#include "net/loop.h"
#include "net/mailbox.h"

#define MSEC USEC_PER_MSEC

struct alarm {
	struct timer timer;
	struct loop *loop;
	unsigned n_fired;
	usec_t fired_at;
	bool stops;
};

static void ring(void *arg)
{
	struct alarm *a = arg;

	a->n_fired++;
	a->fired_at = clock_usec();
	if (a->stops)
		loop_stop(a->loop);
}

static void alarm_init(struct alarm *a, struct loop *loop, bool stops)
{
	*a = (struct alarm){.loop = loop, .stops = stops};
	timer_init(&a->timer, loop, ring, a);
}

static void timers_fire_once_and_not_early(void **state)
{
	struct loop *loop;
	struct alarm early, late;

	assert_int_equal(loop_new(&loop), 0);
	alarm_init(&early, loop, false);
	alarm_init(&late, loop, true);
	usec_t now = loop_now(loop);
	timer_set(&late.timer, now + 30 * MSEC);
	timer_set(&early.timer, now + 10 * MSEC);
	loop_run(loop);
	assert_int_equal(early.n_fired, 1);
	assert_int_equal(late.n_fired, 1);
	assert_true(early.fired_at >= now + 10 * MSEC);
	assert_true(late.fired_at >= now + 30 * MSEC);
	/* A moment that is past comes at once; it may be set again. */
	timer_set(&late.timer, now);
	loop_run(loop);
	assert_int_equal(late.n_fired, 2);
	timer_clear(&early.timer);
	timer_clear(&late.timer);
	timer_clear(&late.timer);
	loop_free(loop);
}

static void timers_can_be_moved(void **state)
{
	struct loop *loop;
	struct alarm moved, never, last;

	assert_int_equal(loop_new(&loop), 0);
	alarm_init(&moved, loop, false);
	alarm_init(&never, loop, false);
	alarm_init(&last, loop, true);
	usec_t now = clock_usec();
	/* Later, and later, then earlier again. */
	timer_set(&moved.timer, now + 5 * MSEC);
	timer_set(&moved.timer, now + 3600 * USEC_PER_SEC);
	timer_set(&moved.timer, now + 20 * MSEC);
	timer_set(&never.timer, now + 5 * MSEC);
	timer_set(&never.timer, USEC_NEVER);
	timer_set(&last.timer, now + 40 * MSEC);
	loop_run(loop);
	assert_int_equal(moved.n_fired, 1);
	assert_true(moved.fired_at >= now + 20 * MSEC);
	assert_int_equal(never.n_fired, 0);
	timer_clear(&moved.timer);
	timer_clear(&never.timer);
	timer_clear(&last.timer);
	loop_free(loop);
}

/* --- deferred work --- */

struct work {
	struct deferred deferred, next;
	struct loop *loop;
	char *trace;
};

static void do_next(void *arg)
{
	struct work *w = arg;

	strncat(w->trace, "n", 2);
	loop_stop(w->loop);
}

static void do_work(void *arg)
{
	struct work *w = arg;

	strncat(w->trace, "w", 2);
	deferred_schedule(&w->next, w->loop);
}

static void begin_work(void *arg)
{
	struct work *w = arg;

	deferred_schedule(&w->deferred, w->loop);
	deferred_schedule(&w->deferred, w->loop);
	strncat(w->trace, "b", 2);
}

static void deferred_work_runs_after_the_callback(void **state)
{
	struct work w;
	struct timer timer;
	char trace[16] = "";

	w.trace = trace;
	assert_int_equal(loop_new(&w.loop), 0);
	deferred_init(&w.deferred, do_work, &w);
	deferred_init(&w.next, do_next, &w);
	timer_init(&timer, w.loop, begin_work, &w);
	timer_set(&timer, clock_usec());
	loop_run(w.loop);
	assert_string_equal(trace, "bwn");
	/* Cancelled work does not run; what is left runs without a loop, too. */
	deferred_schedule(&w.deferred, w.loop);
	deferred_cancel(&w.deferred);
	deferred_cancel(&w.deferred);
	loop_run_deferred(w.loop);
	assert_string_equal(trace, "bwn");
	deferred_schedule(&w.next, w.loop);
	timer_clear(&timer);
	loop_free(w.loop);
	assert_string_equal(trace, "bwnn");
}

/* --- signals --- */

static void on_signal(void *arg, int signo)
{
	assert_int_equal(signo, SIGUSR1);
	loop_stop(arg);
}

static void signals_are_told(void **state)
{
	struct loop *loop;
	struct signal_watch *watch;

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(signal_watch_new(loop, SIGUSR1, on_signal, loop, &watch), 0);
	kill(getpid(), SIGUSR1);
	loop_run(loop);
	signal_watch_free(watch);
	loop_free(loop);
}

/* --- mailboxes --- */

#define N_MESSAGES 20000

struct letter {
	struct message message;
	unsigned sender, number;
};

struct receiver {
	struct loop *loop;
	struct mailbox *mailbox;
	unsigned next[2], n_expected;
};

struct sender {
	struct receiver *receiver;
	unsigned sender;
};

static void receive(struct message *message, void *arg)
{
	struct letter *letter = container_of(message, struct letter, message);
	struct receiver *r = arg;

	assert_int_equal(letter->number, r->next[letter->sender]++);
	free(letter);
	if (--r->n_expected == 0)
		loop_stop(r->loop);
}

static void post(struct receiver *r, unsigned sender, unsigned letter_number)
{
	struct letter *letter = malloc(sizeof(*letter));

	if (!letter)
		abort();
	*letter = (struct letter){
		.message.deliver = receive, .sender = sender, .number = letter_number};
	mailbox_post(r->mailbox, &letter->message);
}

static void *send_all(void *arg)
{
	struct sender *s = arg;

	for (unsigned i = 0; i < N_MESSAGES; i++)
		post(s->receiver, s->sender, i);
	return NULL;
}

static void messages_of_a_thread_keep_their_order(void **state)
{
	struct receiver r = {.n_expected = 2 * N_MESSAGES};
	struct sender senders[2] = {{&r, 0}, {&r, 1}};
	pthread_t threads[2];

	assert_int_equal(loop_new(&r.loop), 0);
	assert_int_equal(mailbox_new(r.loop, &r, &r.mailbox), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
	loop_run(r.loop);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(r.next[i], N_MESSAGES);
	}
	mailbox_free(r.mailbox);
	loop_free(r.loop);
}

static void the_last_messages_are_delivered_when_it_is_freed(void **state)
{
	struct receiver r = {.n_expected = 3};

	assert_int_equal(loop_new(&r.loop), 0);
	assert_int_equal(mailbox_new(r.loop, &r, &r.mailbox), 0);
	for (unsigned i = 0; i < 3; i++)
		post(&r, 0, i);
	mailbox_free(r.mailbox);
	assert_int_equal(r.n_expected, 0);
	mailbox_free(NULL);
	loop_free(r.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_once_and_not_early),
		cmocka_unit_test(timers_can_be_moved),
		cmocka_unit_test(deferred_work_runs_after_the_callback),
		cmocka_unit_test(signals_are_told),
		cmocka_unit_test(messages_of_a_thread_keep_their_order),
		cmocka_unit_test(the_last_messages_are_delivered_when_it_is_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
