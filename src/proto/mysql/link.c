/* Bytes, packets and the handshake, blocking, with a deadline. Knows no URL and no hosts. */
#include "proto/mysql/link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "net/keepalive.h"
#include "net/paths.h"
#include "proto/mysql/handshake.h"
#include "proto/mysql/wire.h"
#include "util/text.h"

/* A server's packet during a login, or the answer to a SET. */
#define PACKET_MAX 65536

/* --- bytes --- */

/* 0, 1 when the time is over, or -errno. */
static int wait_for(const struct link *l, short events)
{
	struct pollfd pfds[] = {{.fd = l->fd, .events = events},
		{.fd = paths_closed_fd(l->paths), .events = POLLIN}};

	for (;;) {
		usec_t left = l->deadline - clock_usec();
		if (left <= 0)
			return 1;
		if (left > 60 * USEC_PER_SEC)
			left = 60 * USEC_PER_SEC;
		int n = poll(
			pfds, ARRAY_LEN(pfds), (int)((left + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
		if (n > 0)
			return pfds[0].revents ? 0 : -ECANCELED;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* Waits for what TLS is short of; as wait_for(). */
static int wait_for_tls(const struct link *l, enum tls_outcome outcome)
{
	switch (outcome) {
	case TLS_WANTS_READ:
		return wait_for(l, POLLIN);
	case TLS_WANTS_WRITE:
		return wait_for(l, POLLOUT);
	case TLS_ENDED:
		return -ECONNRESET;
	case TLS_FAILED:
	case TLS_DONE:
		break;
	}
	return -EPROTO;
}

/* Sends some of it, or waits until that can be done (*ret_len is 0 then); as wait_for(). */
static int write_some(struct link *l, const uint8_t *data, size_t len, size_t *ret_len)
{
	*ret_len = 0;
	if (l->tls) {
		enum tls_outcome outcome = tls_write(l->tls, data, len, ret_len);
		return outcome == TLS_DONE ? 0 : wait_for_tls(l, outcome);
	}
	ssize_t n = send(l->fd, data, len, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? wait_for(l, POLLOUT) : -errno;
	*ret_len = (size_t)n;
	return 0;
}

static int read_some(struct link *l, uint8_t *data, size_t len, size_t *ret_len)
{
	*ret_len = 0;
	if (l->tls) {
		enum tls_outcome outcome = tls_read(l->tls, data, len, ret_len);
		return outcome == TLS_DONE ? 0 : wait_for_tls(l, outcome);
	}
	ssize_t n = recv(l->fd, data, len, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? wait_for(l, POLLIN) : -errno;
	*ret_len = (size_t)n;
	return n ? 0 : -ECONNRESET;
}

int link_write(struct link *l, const uint8_t *data, size_t len)
{
	size_t n;
	int r = 0;

	for (; r == 0 && len; data += n, len -= n)
		r = write_some(l, data, len, &n);
	return r;
}

static int read_all(struct link *l, uint8_t *data, size_t len)
{
	size_t n;
	int r = 0;

	for (; r == 0 && len; data += n, len -= n)
		r = read_some(l, data, len, &n);
	return r;
}

int link_read_packet(struct link *l)
{
	uint8_t header[MY_HEADER];
	struct input in = {.data = header, .len = sizeof(header)};
	struct my_header h;

	int r = read_all(l, header, sizeof(header));
	if (r != 0)
		return r;
	CHECK(my_header_read(&in, &h));
	if (h.len > PACKET_MAX)
		return -EPROTO;
	l->packet.len = 0;
	l->sequence = h.sequence;
	uint8_t *at = buf_reserve(&l->packet, h.len + 1);
	if (!at)
		return -ENOMEM;
	r = read_all(l, at, h.len);
	if (r == 0)
		l->packet.len = h.len;
	return r;
}

/* --- connecting --- */

/* No delay; and a server that vanishes without a word is noticed. */
static void set_options(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	keepalive_enable(fd);
	keepalive_limit_silence(fd);
}

int link_connect(struct link *l, const struct sockaddr *address, socklen_t len)
{
	int error = 0;
	socklen_t size = sizeof(error);

	l->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return -errno;
	if (address->sa_family != AF_UNIX)
		set_options(l->fd);
	if (connect(l->fd, address, len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	int r = wait_for(l, POLLOUT);
	if (r == 0 && getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return -errno;
	return r == 0 ? -error : r;
}

/* --- logging in --- */

/* 0, 2 with weir's own words in h->error, or as wait_for(). */
static int start_tls(struct link *l, const struct tls_client *client, struct handshake *h)
{
	struct buf problem = {0};

	l->tls = tls_client_new(client, l->fd, &problem);
	enum tls_outcome outcome = l->tls ? TLS_WANTS_WRITE : TLS_FAILED;
	int r = 0;
	while (r == 0 && (outcome == TLS_WANTS_READ || outcome == TLS_WANTS_WRITE)) {
		outcome = tls_handshake(l->tls, &problem);
		if (outcome == TLS_WANTS_READ || outcome == TLS_WANTS_WRITE)
			r = wait_for_tls(l, outcome);
	}
	if (outcome == TLS_ENDED) {
		r = -ECONNRESET;
	} else if (outcome == TLS_FAILED) {
		buf_u8(&problem, 0);
		text_copy(h->error.text, sizeof(h->error.text),
			problem.failed ? "TLS failed" : (const char *)problem.data);
		r = 2;
	}
	buf_clear(&problem);
	return r;
}

static int send_reply(struct link *l, struct buf *reply)
{
	int r = reply->failed ? -ENOMEM : link_write(l, reply->data, reply->len);

	/* There may be a password in it. */
	buf_wipe(reply);
	return r;
}

static bool is_known(const struct link *l, const char *fingerprint, struct handshake *h)
{
	char seen[TLS_FINGERPRINT];

	if (!fingerprint || (tls_fingerprint(l->tls, seen) && strcmp(seen, fingerprint) == 0))
		return true;
	text_copy(h->error.text, sizeof(h->error.text), "the server has another certificate now");
	return false;
}

int link_shake_hands(struct link *l, const struct tls_client *client, const char *fingerprint,
	struct handshake *h)
{
	enum handshake_outcome outcome = HANDSHAKE_MORE;
	int r = 0;

	while (r == 0 && (outcome == HANDSHAKE_MORE || outcome == HANDSHAKE_TLS)) {
		struct buf reply = {0};
		if (outcome == HANDSHAKE_TLS) {
			r = start_tls(l, client, h);
			if (r == 0 && !is_known(l, fingerprint, h))
				r = 2;
			if (r == 0)
				outcome = handshake_encrypted(h, &reply);
		} else {
			r = link_read_packet(l);
			if (r == 0)
				outcome = handshake_step(
					h, l->packet.data, l->packet.len, l->sequence, &reply);
		}
		if (r == 0)
			r = send_reply(l, &reply);
		buf_wipe(&reply);
	}
	if (r == 0 && outcome != HANDSHAKE_DONE)
		r = 2;
	return r;
}

void link_close(struct link *l)
{
	buf_wipe(&l->packet);
	tls_free(l->tls);
	l->tls = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
