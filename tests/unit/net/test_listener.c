/* Listening addresses: what is understood, what is told when it is not, and who has connected. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../test.h"
#include "net/listener.h"
#include "util/text.h"

struct door {
	struct loop *loop;
	struct listener *listener;
	int accepted, flags;
	char peer[ADDRESS_TEXT_SIZE];
};

static char folder[64];

static int make_folder(void **state)
{
	snprintf(folder, sizeof(folder), "%s/weir-listen-XXXXXX", P_tmpdir);
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	return rmdir(folder);
}

static void on_connection(
	void *arg, int fd, const struct sockaddr_storage *peer, socklen_t peer_len)
{
	struct door *d = arg;

	struct address address = address_of(peer);
	address_print(&address, d->peer);
	d->accepted++;
	d->flags = fcntl(fd, F_GETFL) & O_NONBLOCK && fcntl(fd, F_GETFD) & FD_CLOEXEC;
	close(fd);
	loop_stop(d->loop);
}

static void open_as(struct door *d, const char *address, bool beside)
{
	struct listener_plan plan = {.fn = on_connection, .arg = d, .beside = beside};
	struct buf problem = {0};

	*d = (struct door){0};
	assert_int_equal(loop_new(&d->loop), 0);
	if (listener_new(d->loop, address, &plan, &d->listener, &problem) != 0)
		fail_msg("%.*s", (int)problem.len, problem.data);
}

static void open_door(struct door *d, const char *address)
{
	open_as(d, address, false);
}

static void close_door(struct door *d)
{
	listener_free(d->listener);
	listener_free(NULL);
	loop_free(d->loop);
}

static void refused(const char *address, const char *words)
{
	struct loop *loop;
	struct listener *listener;
	struct listener_plan plan = {.fn = on_connection};
	struct buf problem = {0};

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(listener_new(loop, address, &plan, &listener, &problem), 1);
	buf_u8(&problem, 0);
	if (!text_starts_with((char *)problem.data, "cannot listen on \"") ||
		!strstr((char *)problem.data, address) || !strstr((char *)problem.data, words))
		fail_msg("%s", problem.data);
	buf_clear(&problem);
	loop_free(loop);
}

static void malformed_addresses_are_told(void **state)
{
	static const char *const texts[] = {"", "6432", "localhost", "localhost:", "::1:6432",
		"[::1]", "[::1", "a:b:1", "unix", "/run/x"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		refused(texts[i], "allowed are host:port, [v6]:port, unix:/path");
}

static void bad_ports_are_told(void **state)
{
	static const char *const texts[] = {"127.0.0.1:65536", "127.0.0.1:70000",
		"127.0.0.1:4294967297", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1: 1",
		"127.0.0.1:postgresql", "127.0.0.1:1x", "[::1]:0x10"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		refused(texts[i], "bad port: allowed are numbers up to 65535");
}

static void impossible_addresses_are_told(void **state)
{
	char path[256];

	refused("192.0.2.1:0", "Cannot assign requested address");
	refused("no.such.host.invalid:1", "\": ");
	refused("unix:/nowhere/socket", "No such file or directory");
	refused("unix:", "No such file or directory");
	snprintf(path, sizeof(path), "unix:/%0150d", 1);
	refused(path, "File name too long");
}

static void knock(const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, address, len), 0);
	close(fd);
}

/* A port that is free now. */
static uint16_t free_port(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	return ntohs(in.sin_port);
}

static void connections_are_accepted(void **state)
{
	struct door d;
	char text[64];
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	in.sin_port = htons(free_port());
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
	open_door(&d, text);
	knock((struct sockaddr *)&in, sizeof(in));
	loop_run(d.loop);
	assert_int_equal(d.accepted, 1);
	assert_true(d.flags);
	assert_true(text_starts_with(d.peer, "127.0.0.1:"));
	refused(text, "Address already in use");
	close_door(&d);
}

static void unix_sockets_are_replaced_if_nobody_listens(void **state)
{
	struct door d;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char text[128];
	struct stat st;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/socket", folder);
	snprintf(text, sizeof(text), "unix:%s", un.sun_path);
	/* Left over from a crash. */
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	open_door(&d, text);
	knock((struct sockaddr *)&un, sizeof(un));
	loop_run(d.loop);
	assert_int_equal(d.accepted, 1);
	assert_string_equal(d.peer, "unix");
	/* Somebody listens now. */
	refused(text, "Address already in use");
	close_door(&d);
	assert_int_equal(stat(un.sun_path, &st), -1);
	/* What is no socket is nobody's to replace. */
	fclose(fopen(un.sun_path, "we"));
	refused(text, "Address already in use");
	assert_int_equal(unlink(un.sun_path), 0);
}

#define KNOCKS 50

static void knock_often(const struct sockaddr *address, socklen_t len)
{
	for (int i = 0; i < KNOCKS; i++)
		knock(address, len);
}

static void accept_until(struct door *d, int accepted)
{
	while (d->accepted < accepted)
		loop_run(d->loop);
}

static void the_newer_of_two_beside_each_other_takes_over(void **state)
{
	struct door old, new;
	char text[64];
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr *address = (struct sockaddr *)&in;

	in.sin_port = htons(free_port());
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
	open_as(&old, text, true);
	listener_want(old.listener, true);
	listener_hand_over(old.listener);
	knock_often(address, sizeof(in));
	accept_until(&old, KNOCKS); /* there is nobody to hand over to */
	open_as(&new, text, true);
	knock_often(address, sizeof(in)); /* which is not ready yet */
	accept_until(&old, 2 * KNOCKS);
	listener_want(new.listener, true);
	listener_hand_over(old.listener);
	knock_often(address, sizeof(in));
	close_door(&old);
	knock_often(address, sizeof(in));
	accept_until(&new, 2 * KNOCKS);
	refused(text, "Address already in use"); /* by one that does not want company */
	close_door(&new);
}

static void the_newer_unix_socket_takes_the_place(void **state)
{
	struct door old, new;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const struct sockaddr *address = (struct sockaddr *)&un;
	char text[128];
	struct stat st;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/socket", folder);
	snprintf(text, sizeof(text), "unix:%s", un.sun_path);
	open_as(&old, text, true);
	listener_want(old.listener, true);
	open_as(&new, text, true);
	knock_often(address, sizeof(un));
	accept_until(&old, KNOCKS);
	listener_want(new.listener, true);
	knock_often(address, sizeof(un));
	close_door(&old);
	knock_often(address, sizeof(un)); /* it has not removed what is not its own */
	accept_until(&new, 2 * KNOCKS);
	/* One that never began leaves nothing behind either. */
	open_as(&old, text, true);
	close_door(&old);
	close_door(&new);
	assert_int_equal(stat(un.sun_path, &st), -1);
}

static void print(const struct sockaddr_storage *socket_address, char text[ADDRESS_TEXT_SIZE])
{
	struct address address = address_of(socket_address);

	address_print(&address, text);
}

static void addresses_are_printed(void **state)
{
	struct sockaddr_storage address = {0};
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
	char text[ADDRESS_TEXT_SIZE];

	in6->sin6_family = AF_INET6;
	in6->sin6_addr = in6addr_loopback;
	in6->sin6_port = htons(6432);
	print(&address, text);
	assert_string_equal(text, "[::1]:6432");
	memset(&in6->sin6_addr, 0xff, sizeof(in6->sin6_addr));
	in6->sin6_port = htons(65535);
	print(&address, text);
	assert_string_equal(text, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_addresses_are_told),
		cmocka_unit_test(bad_ports_are_told),
		cmocka_unit_test(impossible_addresses_are_told),
		cmocka_unit_test(connections_are_accepted),
		cmocka_unit_test(unix_sockets_are_replaced_if_nobody_listens),
		cmocka_unit_test(the_newer_of_two_beside_each_other_takes_over),
		cmocka_unit_test(the_newer_unix_socket_takes_the_place),
		cmocka_unit_test(addresses_are_printed),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
