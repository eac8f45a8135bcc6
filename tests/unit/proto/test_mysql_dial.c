/* Logging in to servers over sockets: how the bytes come, and how many of weir's the socket takes
 * at once, makes no difference. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../test.h"
#include "auth/caching_sha2.h"
#include "mysql_greetings.h"
#include "play.h"
#include "proto/mysql/dial.h"
#include "proto/mysql/wire.h"
#include "util/clock.h"

/* --- the sockets --- */

/* What weir gets from a recv(), or gets rid of in a send(): the linker leads its calls here. */
struct side {
	struct play_cut how;
	size_t n;
};
static struct side in, out;

ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
	ssize_t n = __real_recv(fd, data, play_piece(&in.how, in.n, len), flags);

	in.n += n > 0 ? (size_t)n : 0;
	return n;
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	ssize_t n = __real_send(fd, data, play_piece(&out.how, out.n, len), flags);

	out.n += n > 0 ? (size_t)n : 0;
	return n;
}

/* --- the server --- */

#define TURNS 6

/* A packet that the server sends. */
struct turn {
	const char *payload;
	size_t len;
	bool at_once; /* without having heard another one of weir's */
	bool is_key;  /* the server's public key */
};

#define TURN(text)                                                                                 \
	{                                                                                          \
		(text), sizeof(text) - 1, false, false                                             \
	}
#define AT_ONCE(text)                                                                              \
	{                                                                                          \
		(text), sizeof(text) - 1, true, false                                              \
	}
#define OK TURN("\0\0\0\2\0\0\0")
#define KEY                                                                                        \
	{                                                                                          \
		"\1", 1, false, true                                                               \
	}

struct server {
	int fd; /* listening */
	uint16_t port;
	pthread_t thread;
	const struct turn *turns;
	struct buf heard; /* payloads of weir's packets */
};

static bool read_whole(int fd, uint8_t *data, size_t len)
{
	ssize_t n;

	for (; len; data += n, len -= (size_t)n) {
		n = read(fd, data, len);
		if (n <= 0)
			return false;
	}
	return true;
}

/* False: weir has gone. */
static bool hear(struct server *s, int fd, uint8_t *ret_sequence)
{
	uint8_t header[MY_HEADER];

	if (!read_whole(fd, header, sizeof(header)))
		return false;
	size_t len = (size_t)header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16;
	*ret_sequence = header[3];
	uint8_t *at = buf_reserve(&s->heard, len + !len);
	if (!at || !read_whole(fd, at, len))
		return false;
	s->heard.len += len;
	return true;
}

static void say(int fd, const struct turn *turn, uint8_t sequence)
{
	struct buf b = {0};
	size_t packet = my_begin(&b, sequence);

	buf_put(&b, turn->payload, turn->len);
	if (turn->is_key)
		buf_text(&b, caching_sha2_public_key());
	my_end(&b, packet);
	ssize_t n = write(fd, b.data, b.len);
	/* Whoever misses it complains. */
	(void)n;
	buf_clear(&b);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	int fd = accept(s->fd, NULL, NULL);
	uint8_t sequence = 0;
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (size_t i = 0; i < TURNS && s->turns[i].payload; i++) {
		if (i && !s->turns[i].at_once && !hear(s, fd, &sequence))
			break;
		sequence = (uint8_t)(sequence + (i > 0));
		say(fd, &s->turns[i], sequence);
	}
	/* Until weir closes it, which reads all that was said first. */
	while (hear(s, fd, &sequence))
		;
	close(fd);
	return NULL;
}

static void listen_to_weir(struct server *s)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	*s = (struct server){.fd = socket(AF_INET, SOCK_STREAM, 0)};
	assert_true(s->fd >= 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &len), 0);
	s->port = ntohs(address.sin_port);
}

/* --- a login --- */

struct outcome {
	int r;
	bool final;
	char text[sizeof(((struct refusal *)0)->text)];
	char version[64];
	uint32_t connection_id;
	uint8_t collation;
	uint16_t status;
	struct buf heard; /* by the server; with a password of which only the length is the same */
};

static void take(struct outcome *ret, struct dialled *dialled)
{
	const struct mysql_handle *handle = dialled->handle;

	snprintf(ret->version, sizeof(ret->version), "%s", handle->version);
	ret->connection_id = handle->connection_id;
	ret->collation = handle->collation;
	ret->status = handle->status;
	mysql_dialled_free(dialled);
}

static void log_in(struct server *s, const struct turn *turns, struct outcome *ret)
{
	struct dialled dialled = {.fd = -1};
	struct refusal refusal = {0};
	struct buf problem = {0};
	struct url url;
	char text[80];

	snprintf(text, sizeof(text), "mysql://app:secret@127.0.0.1:%u/shop?ssl_mode=disabled",
		s->port);
	assert_int_equal(url_parse(text, &url, &problem), 0);
	struct dial_target target = {.url = &url, .connect_timeout = 60 * USEC_PER_SEC};
	*ret = (struct outcome){0};
	in.n = out.n = 0;
	s->turns = turns;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	ret->r = mysql_dial(&target, &dialled, &refusal, &ret->final);
	if (ret->r == 0)
		take(ret, &dialled);
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	snprintf(ret->text, sizeof(ret->text), "%s", refusal.text);
	ret->heard = s->heard;
	s->heard = (struct buf){0};
	url_clear(&url);
}

static void compare(const struct outcome *whole, const struct outcome *cut, const char *name,
	const struct play_cut *how)
{
	bool same =
		whole->r == cut->r && whole->final == cut->final &&
		strcmp(whole->text, cut->text) == 0 && strcmp(whole->version, cut->version) == 0 &&
		whole->connection_id == cut->connection_id && whole->collation == cut->collation &&
		whole->status == cut->status && whole->heard.len == cut->heard.len;

	if (!same)
		fail_msg("%s, piece %zu, cut %zu: %d \"%s\", %zu bytes heard instead of %d \"%s\", "
			 "%zu",
			name, how->piece, how->cut, cut->r, cut->text, cut->heard.len, whole->r,
			whole->text, whole->heard.len);
}

static void log_in_again(struct server *s, const struct turn *turns, const struct outcome *whole,
	struct side *side, const char *name)
{
	struct outcome cut;

	log_in(s, turns, &cut);
	compare(whole, &cut, name, &side->how);
	buf_clear(&cut.heard);
	side->how = (struct play_cut){0};
}

/* Runs the login whole, and with the bytes of either side cut in every way. The outcome of the
 * whole one is the caller's: buf_clear() of what was heard. */
static void check(const struct turn turns[TURNS], struct outcome *ret_whole)
{
	struct server s;

	listen_to_weir(&s);
	in.how = out.how = (struct play_cut){0};
	log_in(&s, turns, ret_whole);
	size_t n_in = in.n, n_out = out.n;
	assert_true(n_in > 0);
	in.how.piece = out.how.piece = 1;
	log_in_again(&s, turns, ret_whole, &in, "byte by byte");
	out.how.piece = 0;
	for (size_t i = 1; i < n_in; i++) {
		in.how.cut = i;
		log_in_again(&s, turns, ret_whole, &in, "the server's bytes");
	}
	for (size_t i = 1; i < n_out; i++) {
		out.how.cut = i;
		log_in_again(&s, turns, ret_whole, &out, "weir's bytes");
	}
	close(s.fd);
}

static void check_login(const struct turn turns[TURNS], const char *version)
{
	struct outcome whole;

	check(turns, &whole);
	assert_string_equal(whole.text, "");
	assert_int_equal(whole.r, 0);
	assert_string_equal(whole.version, version);
	assert_int_equal(whole.connection_id, 42);
	assert_int_equal(whole.status, MY_STATUS_AUTOCOMMIT);
	buf_clear(&whole.heard);
}

static void check_refused(const struct turn turns[TURNS], const char *text, bool final)
{
	struct outcome whole;

	check(turns, &whole);
	assert_int_equal(whole.r, 1);
	if (!strstr(whole.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, whole.text);
	assert_int_equal(whole.final, final);
	buf_clear(&whole.heard);
}

/* --- logins --- */

static void native_password_logs_in(void **state)
{
	static const struct turn turns[TURNS] = {TURN(MARIADB_GREETING), OK, OK, OK};

	check_login(turns, "5.5.5-10.11.19-MariaDB");
}

static void password_that_the_server_remembers_logs_in(void **state)
{
	static const struct turn turns[TURNS] = {
		TURN(MYSQL_GREETING), TURN("\1\3"), AT_ONCE("\0\0\0\2\0\0\0"), OK, OK};

	check_login(turns, "9.7.4-2");
}

static void method_is_switched_either_way(void **state)
{
	static const struct turn to_native[TURNS] = {
		TURN(MYSQL_GREETING), TURN("\xfemysql_native_password\0" NONCE "\0"), OK, OK, OK};
	static const struct turn to_sha2[TURNS] = {TURN(MARIADB_GREETING),
		TURN("\xfe"
		     "caching_sha2_password\0" NONCE "\0"),
		TURN("\1\3"), AT_ONCE("\0\0\0\2\0\0\0"), OK, OK};

	check_login(to_native, "9.7.4-2");
	check_login(to_sha2, "5.5.5-10.11.19-MariaDB");
}

static void password_is_sent_encrypted(void **state)
{
	static const struct turn turns[TURNS] = {
		TURN(MYSQL_GREETING), TURN("\1\4"), KEY, OK, OK, OK};

	check_login(turns, "9.7.4-2");
}

static void refused_logins_are_told_with_the_servers_words(void **state)
{
	static const struct turn wrong[TURNS] = {TURN(MARIADB_GREETING),
		TURN("\xff\x15\4#28000Access denied for user 'app'@'localhost'")};
	static const struct turn full[TURNS] = {TURN("\xff\x10\4Too many connections")};
	static const struct turn armless[TURNS] = {
		TURN(MARIADB_GREETING), OK, TURN("\xff\x28\4#42000You have an error")};

	check_refused(wrong, "Access denied for user 'app'@'localhost'", true);
	check_refused(full, "Too many connections", false);
	check_refused(armless, "You have an error", false);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(native_password_logs_in),
	cmocka_unit_test(password_that_the_server_remembers_logs_in),
	cmocka_unit_test(method_is_switched_either_way),
	cmocka_unit_test(password_is_sent_encrypted),
	cmocka_unit_test(refused_logins_are_told_with_the_servers_words),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
