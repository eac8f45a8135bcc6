/* Streams and receiving, over a pair of sockets and a real loop. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../test.h"
#include "net/intake.h"
#include "net/stream.h"

static struct workspace space;

struct peer {
	struct loop *loop;
	struct stream stream;
	int far; /* the other end */
	unsigned n_readable, n_drained;
	struct timer timer; /* ends a loop that would otherwise not end */
	bool timed_out;
};

static void on_readable(struct stream *s, void *arg)
{
	struct peer *p = arg;

	assert_ptr_equal(s, &p->stream);
	p->n_readable++;
	loop_stop(p->loop);
}

static void on_drained(struct stream *s, void *arg)
{
	struct peer *p = arg;

	assert_ptr_equal(s, &p->stream);
	p->n_drained++;
	loop_stop(p->loop);
}

static void on_timer(void *arg)
{
	struct peer *p = arg;

	p->timed_out = true;
	loop_stop(p->loop);
}

static void start(struct peer *p)
{
	int fds[2];

	*p = (struct peer){0};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(loop_new(&p->loop), 0);
	timer_init(&p->timer, p->loop, on_timer, p);
	p->far = fds[1];
	assert_int_equal(
		stream_open(&p->stream, p->loop, fds[0], NULL, on_readable, on_drained, p), 0);
	output_init(&space.to_client);
}

static void end(struct peer *p)
{
	timer_clear(&p->timer);
	stream_close(&p->stream);
	stream_close(&p->stream);
	if (p->far >= 0)
		close(p->far);
	loop_free(p->loop);
}

/* Runs until a callback stops the loop. False: nothing happened. */
static bool run(struct peer *p, usec_t longest)
{
	p->timed_out = false;
	timer_set(&p->timer, clock_usec() + longest);
	loop_run(p->loop);
	timer_set(&p->timer, USEC_NEVER);
	return !p->timed_out;
}

#define LONG  (5 * USEC_PER_SEC)
#define SHORT (20 * USEC_PER_MSEC)

static void say(struct peer *p, const char *text)
{
	assert_int_equal(write(p->far, text, strlen(text)), strlen(text));
}

static void send_ok(struct peer *p, const void *data, size_t len)
{
	output_ref(&space.to_client, data, len);
	assert_int_equal(stream_send(&p->stream, &space.to_client), 0);
	assert_int_equal(space.to_client.total, 0);
}

/* Reads what is there. */
static size_t hear(struct peer *p, uint8_t *ret_data, size_t size)
{
	size_t len = 0;

	for (ssize_t n; len < size && (n = read(p->far, ret_data + len, size - len)) > 0;)
		len += (size_t)n;
	return len;
}

static void bytes_arrive_in_both_directions(void **state)
{
	struct peer p;
	uint8_t data[16];
	size_t len;

	start(&p);
	assert_int_equal(stream_read(&p.stream, data, sizeof(data), &len), STREAM_AGAIN);
	say(&p, "hello");
	assert_true(run(&p, LONG));
	assert_int_equal(p.n_readable, 1);
	assert_int_equal(stream_read(&p.stream, data, 3, &len), 0);
	assert_int_equal(len, 3);
	/* What was not read makes it readable again. */
	assert_true(run(&p, LONG));
	assert_int_equal(stream_read(&p.stream, data, sizeof(data), &len), 0);
	assert_memory_equal(data, "lo", 2);
	send_ok(&p, "answer", 6);
	assert_int_equal(hear(&p, data, sizeof(data)), 6);
	assert_memory_equal(data, "answer", 6);
	assert_int_equal(stream_unsent(&p.stream), 0);
	end(&p);
}

static void end_and_loss_are_told_apart(void **state)
{
	struct peer p;
	uint8_t data[16];
	size_t len;

	start(&p);
	say(&p, "x");
	shutdown(p.far, SHUT_WR);
	assert_true(run(&p, LONG));
	assert_int_equal(stream_read(&p.stream, data, sizeof(data), &len), 0);
	assert_int_equal(stream_read(&p.stream, data, sizeof(data), &len), STREAM_END);
	/* It still hears. */
	send_ok(&p, "y", 1);
	assert_int_equal(hear(&p, data, sizeof(data)), 1);
	close(p.far);
	p.far = -1;
	output_copy(&space.to_client, "z", 1);
	assert_int_equal(stream_send(&p.stream, &space.to_client), STREAM_LOST);
	assert_int_equal(p.stream.error, EPIPE);
	end(&p);
}

static void what_the_peer_does_not_take_is_kept_in_order(void **state)
{
	static uint8_t sent[3 << 20], heard[3 << 20];
	struct peer p;
	size_t len = 0;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	start(&p);
	/* In pieces, and the first one more than a socket takes. */
	output_ref(&space.to_client, sent, 1 << 20);
	output_ref(&space.to_client, sent + (1 << 20), 100);
	assert_int_equal(stream_send(&p.stream, &space.to_client), 0);
	assert_true(stream_unsent(&p.stream) > 0);
	assert_false(run(&p, SHORT));
	assert_int_equal(p.n_drained, 0);
	for (size_t at = (1 << 20) + 100; at < sizeof(sent);) {
		size_t n = sizeof(sent) - at < 50001 ? sizeof(sent) - at : 50001;
		send_ok(&p, sent + at, n);
		at += n;
		/* The peer takes a little. */
		len += hear(&p, heard + len, 30000);
		run(&p, 0);
	}
	while (!p.n_drained) {
		len += hear(&p, heard + len, sizeof(heard) - len);
		assert_true(run(&p, SHORT) || len < sizeof(heard));
	}
	assert_int_equal(stream_unsent(&p.stream), 0);
	len += hear(&p, heard + len, sizeof(heard) - len);
	assert_int_equal(len, sizeof(sent));
	assert_memory_equal(sent, heard, sizeof(sent));
	/* Drained is told once, and the next bytes go straight again. */
	assert_false(run(&p, SHORT));
	assert_int_equal(p.n_drained, 1);
	send_ok(&p, "x", 1);
	assert_int_equal(stream_unsent(&p.stream), 0);
	end(&p);
}

static void loss_behind_a_tail_is_told_to_the_reader(void **state)
{
	static uint8_t large[4 << 20];
	struct peer p;
	uint8_t data[16];
	size_t len;

	start(&p);
	send_ok(&p, large, sizeof(large));
	close(p.far);
	p.far = -1;
	assert_true(run(&p, LONG));
	assert_int_equal(p.n_drained, 0);
	assert_int_not_equal(stream_read(&p.stream, data, sizeof(data), &len), 0);
	end(&p);
}

static void back_pressure_stops_reading(void **state)
{
	struct peer p;

	start(&p);
	stream_want_read(&p.stream, false);
	stream_want_read(&p.stream, false);
	say(&p, "x");
	assert_false(run(&p, SHORT));
	stream_want_read(&p.stream, true);
	assert_true(run(&p, LONG));
	assert_int_equal(p.n_readable, 1);
	end(&p);
}

static void stream_moves_to_another_loop(void **state)
{
	struct peer p;
	struct loop *first, *second;

	start(&p);
	first = p.loop;
	assert_int_equal(loop_new(&second), 0);
	stream_detach(&p.stream);
	say(&p, "x");
	assert_false(run(&p, SHORT));
	assert_int_equal(stream_attach(&p.stream, second), 0);
	p.loop = second;
	timer_clear(&p.timer);
	timer_init(&p.timer, second, on_timer, &p);
	assert_true(run(&p, LONG));
	assert_int_equal(p.n_readable, 1);
	loop_free(first);
	end(&p);
}

static void shutdown_is_an_orderly_end(void **state)
{
	struct peer p;
	uint8_t data[16];

	start(&p);
	send_ok(&p, "bye", 3);
	stream_shutdown(&p.stream);
	assert_int_equal(read(p.far, data, sizeof(data)), 3);
	assert_int_equal(read(p.far, data, sizeof(data)), 0);
	end(&p);
}

static void failed_output_is_not_sent(void **state)
{
	struct peer p;
	uint8_t data[16];

	start(&p);
	output_copy(&space.to_client, "half", 4);
	space.to_client.failed = true;
	assert_int_equal(stream_send(&p.stream, &space.to_client), -ENOMEM);
	assert_int_equal(hear(&p, data, sizeof(data)), 0);
	assert_false(space.to_client.failed);
	end(&p);
}

/* --- intake --- */

static void what_is_kept_comes_first(void **state)
{
	struct peer p;
	struct buf kept = {0};
	struct input in;
	size_t n_new;

	start(&p);
	say(&p, "abcdef");
	assert_int_equal(intake_read(&p.stream, &kept, &space, &in, &n_new), 0);
	assert_int_equal(n_new, 6);
	assert_ptr_equal(in.data, space.received);
	input_skip(&in, 4);
	assert_int_equal(intake_keep(&kept, in), 0);
	assert_int_equal(kept.len, 2);
	/* Nothing new: what is kept stays. */
	assert_int_equal(intake_read(&p.stream, &kept, &space, &in, &n_new), STREAM_AGAIN);
	assert_int_equal(kept.len, 2);
	say(&p, "gh");
	assert_int_equal(intake_read(&p.stream, &kept, &space, &in, &n_new), 0);
	assert_int_equal(n_new, 2);
	assert_int_equal(in.len, 4);
	assert_memory_equal(in.data, "efgh", 4);
	input_skip(&in, 4);
	assert_int_equal(intake_keep(&kept, in), 0);
	/* An idle connection holds no buffer. */
	assert_null(kept.data);
	end(&p);
}

static void large_messages_grow_apart(void **state)
{
	static uint8_t sent[400000];
	struct peer p;
	struct buf kept = {0};
	struct input in = {0};
	size_t n_new, said = 0;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 13 + i / 256);
	start(&p);
	while (in.len < sizeof(sent)) {
		ssize_t n = write(p.far, sent + said, sizeof(sent) - said);
		said += n > 0 ? (size_t)n : 0;
		int r = intake_read(&p.stream, &kept, &space, &in, &n_new);
		assert_true(r == 0 || r == STREAM_AGAIN);
		if (r == 0)
			assert_int_equal(intake_keep(&kept, in), 0);
		in = intake_kept(&kept);
	}
	assert_memory_equal(in.data, sent, sizeof(sent));
	input_skip(&in, sizeof(sent) - 3);
	assert_int_equal(intake_keep(&kept, in), 0);
	assert_memory_equal(kept.data, sent + sizeof(sent) - 3, 3);
	buf_clear(&kept);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_arrive_in_both_directions),
		cmocka_unit_test(end_and_loss_are_told_apart),
		cmocka_unit_test(what_the_peer_does_not_take_is_kept_in_order),
		cmocka_unit_test(loss_behind_a_tail_is_told_to_the_reader),
		cmocka_unit_test(back_pressure_stops_reading),
		cmocka_unit_test(stream_moves_to_another_loop),
		cmocka_unit_test(shutdown_is_an_orderly_end),
		cmocka_unit_test(failed_output_is_not_sent),
		cmocka_unit_test(what_is_kept_comes_first),
		cmocka_unit_test(large_messages_grow_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
