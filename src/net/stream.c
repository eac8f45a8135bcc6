/*
 * Sockets. Used by session/ and pool/. Knows no protocol; does not use bufferevents, which cost an
 * ioctl, a copy and an allocation per read.
 */
#include "net/stream.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/bytes.h"

struct stream_tail {
	struct event write_event;
	struct buf bytes;
	size_t sent;        /* of bytes, from the front */
	usec_t taken_since; /* when the peer was last seen to have taken something */
	int n_in_kernel;    /* sent, and not taken, then */
};

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;
	struct loop *loop = s->loop; /* the stream may leave it */

	loop_hold_time(loop);
	s->readable(s, s->arg);
	loop_let_time_go(loop);
}

int stream_open(struct stream *s, struct loop *loop, int fd, void *tls, stream_fn readable,
	stream_fn drained, void *arg)
{
	*s = (struct stream){
		.fd = fd, .tls = tls, .readable = readable, .drained = drained, .arg = arg};
	if (tls)
		SSL_set_mode(
			tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return stream_attach(s, loop);
}

void stream_set_owner(struct stream *s, stream_fn readable, stream_fn drained, void *arg)
{
	s->readable = readable;
	s->drained = drained;
	s->arg = arg;
}

void stream_detach(struct stream *s)
{
	CHECK(!s->tail);
	event_del(&s->read_event);
	s->loop = NULL;
	s->reading = false;
}

int stream_attach(struct stream *s, struct loop *loop)
{
	CHECK(!s->loop);
	event_assign(
		&s->read_event, loop_event_base(loop), s->fd, EV_READ | EV_PERSIST, on_readable, s);
	if (event_add(&s->read_event, NULL) < 0)
		return -ENOMEM;
	s->loop = loop;
	s->reading = true;
	return 0;
}

/* Turns what OpenSSL says about a failed call into an outcome. */
static int tls_outcome(struct stream *s, int result)
{
	int saved = errno;

	switch (SSL_get_error(s->tls, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return STREAM_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return STREAM_END;
	default:
		s->error = (uint16_t)(saved ? saved : EPROTO);
		ERR_clear_error();
		return STREAM_LOST;
	}
}

static int tls_read(struct stream *s, uint8_t *ret_data, size_t cap, size_t *ret_len)
{
	size_t used = 0;

	/* A record holds at most 16 kB: fill the buffer, so that nothing stays unseen in OpenSSL.
	 */
	while (used < cap) {
		size_t n;
		ERR_clear_error();
		errno = 0;
		int r = SSL_read_ex(s->tls, ret_data + used, cap - used, &n);
		if (r <= 0) {
			int outcome = tls_outcome(s, r);
			if (used == 0)
				return outcome;
			if (outcome != STREAM_AGAIN)
				event_active(&s->read_event, EV_READ, 1);
			break;
		}
		used += n;
	}
	if (SSL_pending(s->tls) > 0)
		event_active(&s->read_event, EV_READ, 1);
	*ret_len = used;
	return 0;
}

int stream_read(struct stream *s, uint8_t *ret_data, size_t cap, size_t *ret_len)
{
	CHECK(cap > 0);
	if (s->tls)
		return tls_read(s, ret_data, cap, ret_len);
	ssize_t n = recv(s->fd, ret_data, cap, 0);
	if (n > 0) {
		*ret_len = (size_t)n;
		return 0;
	}
	if (n == 0)
		return STREAM_END;
	if (errno == EAGAIN || errno == EINTR)
		return STREAM_AGAIN;
	s->error = (uint16_t)errno;
	return STREAM_LOST;
}

static int tls_write(struct stream *s, const struct iovec *iov, size_t n_iov, size_t *ret_sent)
{
	size_t sent = 0;

	for (size_t i = 0; i < n_iov; i++) {
		for (size_t at = 0; at < iov[i].iov_len;) {
			size_t n;
			ERR_clear_error();
			errno = 0;
			int r = SSL_write_ex(s->tls, (const uint8_t *)iov[i].iov_base + at,
				iov[i].iov_len - at, &n);
			if (r <= 0) {
				int outcome = tls_outcome(s, r);
				*ret_sent = sent;
				return outcome == STREAM_AGAIN ? 0 : STREAM_LOST;
			}
			at += n;
			sent += n;
		}
	}
	*ret_sent = sent;
	return 0;
}

/* One attempt; *ret_sent may be less than asked, 0 included. */
static int write_some(struct stream *s, struct iovec *iov, size_t n_iov, size_t *ret_sent)
{
	s->sent = true;
	if (s->tls)
		return tls_write(s, iov, n_iov, ret_sent);
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n_iov};
	ssize_t n = n_iov == 1 ? send(s->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
			       : sendmsg(s->fd, &msg, MSG_NOSIGNAL);
	*ret_sent = 0;
	if (n >= 0)
		*ret_sent = (size_t)n;
	else if (errno != EAGAIN && errno != EINTR) {
		s->error = (uint16_t)errno;
		return STREAM_LOST;
	}
	return 0;
}

static void free_tail(struct stream *s)
{
	if (!s->tail)
		return;
	event_del(&s->tail->write_event);
	buf_clear(&s->tail->bytes);
	free(s->tail);
	s->tail = NULL;
}

/* What was sent and the peer has not acknowledged yet. */
static int count_in_kernel(const struct stream *s)
{
	int n = 0;

	return ioctl(s->fd, SIOCOUTQ, &n) == 0 ? n : 0;
}

static void note_taken(struct stream *s)
{
	s->tail->n_in_kernel = count_in_kernel(s);
	s->tail->taken_since = clock_usec();
}

usec_t stream_stuck_since(const struct stream *s)
{
	return s->tail ? s->tail->taken_since : 0;
}

void stream_look(struct stream *s)
{
	if (s->tail && count_in_kernel(s) < s->tail->n_in_kernel)
		note_taken(s);
}

void stream_abort(struct stream *s)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;
	struct stream_tail *tail = s->tail;
	struct iovec iov = {
		.iov_base = tail->bytes.data + tail->sent, .iov_len = tail->bytes.len - tail->sent};
	size_t sent;

	if (write_some(s, &iov, 1, &sent) != 0) {
		/* The reader of this stream will see the same failure and decide. */
		event_del(&tail->write_event);
		event_active(&s->read_event, EV_READ, 1);
		return;
	}
	tail->sent += sent;
	if (tail->sent < tail->bytes.len) {
		if (sent)
			note_taken(s);
		return;
	}
	free_tail(s);
	s->drained(s, s->arg);
}

static int keep(struct stream *s, const struct output *o, size_t sent)
{
	if (!s->tail) {
		s->tail = calloc(1, sizeof(*s->tail));
		if (!s->tail)
			return -ENOMEM;
		event_assign(&s->tail->write_event, loop_event_base(s->loop), s->fd,
			EV_WRITE | EV_PERSIST, on_writable, s);
		if (event_add(&s->tail->write_event, NULL) < 0)
			return -ENOMEM;
		note_taken(s);
	}
	struct stream_tail *tail = s->tail;
	if (tail->sent > tail->bytes.len / 2) {
		buf_consume(&tail->bytes, tail->sent);
		tail->sent = 0;
	}
	for (size_t i = 0; i < o->n_iov; i++) {
		const struct iovec *piece = &o->iov[i];
		size_t skip = sent < piece->iov_len ? sent : piece->iov_len;
		sent -= skip;
		buf_put(&tail->bytes, (const uint8_t *)piece->iov_base + skip,
			piece->iov_len - skip);
	}
	return tail->bytes.failed ? -ENOMEM : 0;
}

int stream_send(struct stream *s, struct output *o)
{
	size_t sent = 0;
	int r = o->failed ? -ENOMEM : 0;

	if (r == 0 && o->total && !s->tail)
		r = write_some(s, o->iov, o->n_iov, &sent);
	if (r == 0 && sent < o->total)
		r = keep(s, o, sent);
	output_reset(o);
	return r;
}

size_t stream_unsent(const struct stream *s)
{
	return s->tail ? s->tail->bytes.len - s->tail->sent : 0;
}

void stream_want_read(struct stream *s, bool wanted)
{
	if (s->reading == wanted)
		return;
	s->reading = wanted;
	if (wanted) {
		event_add(&s->read_event, NULL);
		if (s->tls && SSL_pending(s->tls) > 0)
			event_active(&s->read_event, EV_READ, 1);
	} else {
		event_del(&s->read_event);
	}
}

bool stream_hung_up(const struct stream *s)
{
	struct pollfd pfd = {.fd = s->fd, .events = POLLRDHUP};

	return poll(&pfd, 1, 0) > 0;
}

void stream_shutdown(struct stream *s)
{
	if (s->tls)
		SSL_shutdown(s->tls);
	else if (s->fd >= 0)
		shutdown(s->fd, SHUT_WR);
}

void stream_close(struct stream *s)
{
	if (s->fd < 0)
		return;
	free_tail(s);
	if (s->loop)
		event_del(&s->read_event);
	close(s->fd);
	s->fd = -1;
	s->loop = NULL;
}
