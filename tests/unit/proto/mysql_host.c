/* The server, and the ways to cut. */
#include "mysql_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../test.h"
#include "auth/caching_sha2.h"
#include "play.h"
#include "proto/mysql/dial.h"
#include "proto/mysql/wire.h"
#include "util/clock.h"

/* --- weir's end of the socket --- */

/* What weir gets in one call, or gets rid of in one: the linker leads its calls here. Where that is
 * less than it wanted, it has to wait once before it goes on. */
struct side {
	struct play_cut how;
	size_t n, n_clear;
	bool waits;
};
static struct side in, out;

/* Weir closes the connection: its farewell goes as it can. */
static bool is_over;

/* Of what TLS makes of the bytes, every one costs a handshake. */
#define TLS_STEP 9

ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
int __real_SSL_set_fd(SSL *ssl, int fd);
int __wrap_SSL_set_fd(SSL *ssl, int fd);

static bool must_wait(struct side *side)
{
	bool waits = side->waits;

	side->waits = false;
	errno = EAGAIN;
	return waits;
}

static ssize_t count(struct side *side, ssize_t n, size_t len)
{
	if (n > 0) {
		side->n += (size_t)n;
		side->waits = (size_t)n < len;
	}
	return n;
}

static ssize_t receive(int fd, void *data, size_t len, int flags)
{
	if (must_wait(&in))
		return -1;
	return count(&in, __real_recv(fd, data, play_piece(&in.how, in.n, len), flags), len);
}

static ssize_t dispatch(int fd, const void *data, size_t len, int flags)
{
	if (is_over)
		return __real_send(fd, data, len, flags);
	if (must_wait(&out))
		return -1;
	return count(&out, __real_send(fd, data, play_piece(&out.how, out.n, len), flags), len);
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
	ssize_t n = receive(fd, data, len, flags);

	in.n_clear = in.n;
	return n;
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	ssize_t n = dispatch(fd, data, len, flags);

	out.n_clear = out.n;
	return n;
}

/* --- the same under TLS: OpenSSL's calls do not come by the linker --- */

static int bio_read(BIO *bio, char *data, int len)
{
	int fd;

	BIO_get_fd(bio, &fd);
	BIO_clear_retry_flags(bio);
	ssize_t n = receive(fd, data, (size_t)len, 0);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	if (n == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	return (int)n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
	int fd;

	BIO_get_fd(bio, &fd);
	BIO_clear_retry_flags(bio);
	ssize_t n = dispatch(fd, data, (size_t)len, MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_write(bio);
	return (int)n;
}

/* A socket's, but for those two. */
static const BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *method;

	if (!method) {
		method = BIO_meth_new(BIO_TYPE_SOCKET, "cut");
		BIO_meth_set_create(method, BIO_meth_get_create(BIO_s_socket()));
		BIO_meth_set_destroy(method, BIO_meth_get_destroy(BIO_s_socket()));
		BIO_meth_set_ctrl(method, BIO_meth_get_ctrl(BIO_s_socket()));
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_write(method, bio_write);
	}
	return method;
}

int __wrap_SSL_set_fd(SSL *ssl, int fd)
{
	BIO *bio = BIO_new(bio_method());

	assert_non_null(bio);
	BIO_set_fd(bio, fd, BIO_NOCLOSE);
	SSL_set_bio(ssl, bio, bio);
	return 1;
}

/* --- the server --- */

struct server {
	int fd; /* listening */
	uint16_t port;
	pthread_t thread;
	const struct host_turn *turns;
	SSL_CTX *tls;
	bool encrypted;   /* the handshake of TLS has come to its end */
	struct buf heard; /* payloads of weir's packets */
};

struct peer {
	int fd;
	SSL *ssl; /* NULL: not yet */
};

static bool read_whole(const struct peer *peer, uint8_t *data, size_t len)
{
	ssize_t n;

	for (; len; data += n, len -= (size_t)n) {
		n = peer->ssl ? SSL_read(peer->ssl, data, (int)len) : read(peer->fd, data, len);
		if (n <= 0)
			return false;
	}
	return true;
}

/* False: weir has gone. */
static bool hear(struct server *s, const struct peer *peer, uint8_t *ret_sequence)
{
	uint8_t header[MY_HEADER];

	if (!read_whole(peer, header, sizeof(header)))
		return false;
	size_t len = (size_t)header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16;
	*ret_sequence = header[3];
	uint8_t *at = buf_reserve(&s->heard, len + !len);
	if (!at || !read_whole(peer, at, len))
		return false;
	s->heard.len += len;
	return true;
}

static void say(const struct peer *peer, const struct host_turn *turn, uint8_t sequence)
{
	struct buf b = {0};
	size_t packet = my_begin(&b, sequence);

	buf_put(&b, turn->payload, turn->len);
	if (turn->is_key)
		buf_text(&b, caching_sha2_public_key());
	my_end(&b, packet);
	ssize_t n = peer->ssl && !turn->in_clear ? SSL_write(peer->ssl, b.data, (int)b.len)
						 : write(peer->fd, b.data, b.len);
	/* Whoever misses it complains. */
	(void)n;
	buf_clear(&b);
}

static bool start_tls(struct server *s, struct peer *peer)
{
	peer->ssl = SSL_new(s->tls);
	assert_int_equal(__real_SSL_set_fd(peer->ssl, peer->fd), 1);
	s->encrypted = SSL_accept(peer->ssl) == 1;
	return s->encrypted;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct peer peer = {.fd = accept(s->fd, NULL, NULL)};
	uint8_t sequence = 0;
	int on = 1;

	setsockopt(peer.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (size_t i = 0; i < HOST_TURNS && s->turns[i].payload; i++) {
		const struct host_turn *turn = &s->turns[i];
		if (i && !turn->at_once && !hear(s, &peer, &sequence))
			break;
		if (turn->starts_tls && !(start_tls(s, &peer) && hear(s, &peer, &sequence)))
			break;
		sequence = (uint8_t)(sequence + (i > 0));
		say(&peer, turn, sequence);
	}
	/* Until weir closes it, which reads all that was said first. */
	while (hear(s, &peer, &sequence))
		;
	SSL_free(peer.ssl);
	close(peer.fd);
	return NULL;
}

/* With a certificate of its own. What it signs is always as long, and so are all handshakes. */
static SSL_CTX *tls_new(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *certificate = X509_new();

	assert_true(ctx && key && certificate);
	X509_set_version(certificate, 2);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, NULL) > 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	SSL_CTX_set_num_tickets(ctx, 0);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return ctx;
}

static void listen_to_weir(struct server *s)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	*s = (struct server){.fd = socket(AF_INET, SOCK_STREAM, 0), .tls = tls_new()};
	assert_true(s->fd >= 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &len), 0);
	s->port = ntohs(address.sin_port);
	/* A server may speak to a weir that has gone. */
	signal(SIGPIPE, SIG_IGN);
}

static void stop(struct server *s)
{
	SSL_CTX_free(s->tls);
	close(s->fd);
}

/* --- a login --- */

static void take(struct host_outcome *ret, struct dialled *dialled)
{
	const struct mysql_handle *handle = dialled->handle;

	snprintf(ret->version, sizeof(ret->version), "%s", handle->version);
	ret->connection_id = handle->connection_id;
	ret->collation = handle->collation;
	ret->status = handle->status;
	is_over = true;
	mysql_dialled_free(dialled);
}

static void log_in(struct server *s, const char *ssl_mode, struct host_outcome *ret)
{
	struct dialled dialled = {.fd = -1};
	struct refusal refusal = {0};
	struct buf problem = {0};
	struct url url;
	char text[100];

	snprintf(text, sizeof(text), "mysql://app:secret@127.0.0.1:%u/shop?ssl_mode=%s", s->port,
		ssl_mode);
	assert_int_equal(url_parse(text, &url, &problem), 0);
	struct dial_target target = {.url = &url, .connect_timeout = 60 * USEC_PER_SEC};
	*ret = (struct host_outcome){0};
	in.n = out.n = in.n_clear = out.n_clear = 0;
	in.waits = out.waits = s->encrypted = is_over = false;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	ret->r = mysql_dial(&target, &dialled, &refusal, &ret->final);
	if (ret->r == 0)
		take(ret, &dialled);
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	snprintf(ret->text, sizeof(ret->text), "%s", refusal.text);
	ret->encrypted = s->encrypted;
	ret->n_clear = out.n_clear;
	ret->heard = s->heard;
	s->heard = (struct buf){0};
	url_clear(&url);
}

static void compare(const struct host_outcome *whole, const struct host_outcome *cut,
	const char *name, const struct play_cut *how)
{
	bool same = whole->r == cut->r && whole->final == cut->final &&
		    strcmp(whole->text, cut->text) == 0 &&
		    strcmp(whole->version, cut->version) == 0 &&
		    whole->connection_id == cut->connection_id &&
		    whole->collation == cut->collation && whole->status == cut->status &&
		    whole->n_clear == cut->n_clear && whole->encrypted == cut->encrypted &&
		    /* A server that weir has left may miss what it had not read. */
		    (whole->r || whole->heard.len == cut->heard.len);

	if (!same)
		fail_msg("%s, piece %zu, cut %zu: %d \"%s\", %zu bytes heard instead of %d \"%s\", "
			 "%zu",
			name, how->piece, how->cut, cut->r, cut->text, cut->heard.len, whole->r,
			whole->text, whole->heard.len);
}

static void log_in_cut(struct server *s, const char *ssl_mode, const struct host_outcome *whole,
	const struct side *side)
{
	struct host_outcome cut;

	log_in(s, ssl_mode, &cut);
	compare(whole, &cut, side == &in ? "the server's bytes" : "weir's bytes", &side->how);
	buf_clear(&cut.heard);
	in.how = out.how = (struct play_cut){0};
}

void host_check(const struct host_turn turns[HOST_TURNS], const char *ssl_mode,
	struct host_outcome *ret_whole)
{
	struct server s;

	listen_to_weir(&s);
	s.turns = turns;
	in.how = out.how = (struct play_cut){0};
	log_in(&s, ssl_mode, ret_whole);
	const struct side whole_in = in, whole_out = out;
	assert_true(whole_in.n > 0);
	in.how.piece = out.how.piece = 1;
	log_in_cut(&s, ssl_mode, ret_whole, &in);
	for (size_t i = 1; i < whole_in.n; i += i < whole_in.n_clear ? 1 : TLS_STEP) {
		in.how.cut = i;
		log_in_cut(&s, ssl_mode, ret_whole, &in);
	}
	for (size_t i = 1; i < whole_out.n; i += i < whole_out.n_clear ? 1 : TLS_STEP) {
		out.how.cut = i;
		log_in_cut(&s, ssl_mode, ret_whole, &out);
	}
	stop(&s);
}

void host_check_login(
	const struct host_turn turns[HOST_TURNS], const char *ssl_mode, const char *version)
{
	struct host_outcome whole;

	host_check(turns, ssl_mode, &whole);
	assert_string_equal(whole.text, "");
	assert_int_equal(whole.r, 0);
	assert_string_equal(whole.version, version);
	assert_int_equal(whole.connection_id, 42);
	assert_int_equal(whole.status, MY_STATUS_AUTOCOMMIT);
	assert_int_equal(whole.encrypted, strcmp(ssl_mode, "disabled") != 0);
	buf_clear(&whole.heard);
}

void host_check_refused(const struct host_turn turns[HOST_TURNS], const char *ssl_mode,
	const char *text, bool final)
{
	struct host_outcome whole;

	host_check(turns, ssl_mode, &whole);
	assert_int_equal(whole.r, 1);
	if (!strstr(whole.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, whole.text);
	assert_int_equal(whole.final, final);
	buf_clear(&whole.heard);
}
