/*
 * The yardstick: moves bytes one-to-one between clients and a server, and looks at none. One server
 * connection per client. What it costs is what proxying with system calls costs.
 *
 * usage: relay PORT SERVER_PORT (both on 127.0.0.1)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD 65536

static int peer_of[MAX_FD];
static uint8_t buffer[65536];

static int tcp(uint16_t port, int listening)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	int r = listening
			? bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1024)
			: connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (r) {
		perror("relay");
		exit(1);
	}
	return fd;
}

static void watch(int epoll, int fd, int peer)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	peer_of[fd] = peer;
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* The sockets block when sending: a relay this simple needs no queue. Not when receiving: what was
 * told of a socket may be of the one that had its number before. */
static void move(int from)
{
	ssize_t n = recv(from, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	for (ssize_t sent = 0, r; n > 0 && sent < n; sent += r) {
		r = send(peer_of[from], buffer + sent, (size_t)(n - sent), MSG_NOSIGNAL);
		if (r < 0)
			n = -1;
	}
	if (n <= 0) {
		close(peer_of[from]);
		close(from);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[64];
	int on = 1, epoll = epoll_create1(0);

	if (argc != 3)
		return 2;
	int listener = tcp((uint16_t)strtol(argv[1], NULL, 10), 1);
	watch(epoll, listener, -1);
	for (;;) {
		int n = epoll_wait(epoll, events, 64, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd != listener) {
				move(fd);
				continue;
			}
			int client = accept(listener, NULL, NULL);
			int server = tcp((uint16_t)strtol(argv[2], NULL, 10), 0);
			setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			watch(epoll, client, server);
			watch(epoll, server, client);
		}
	}
}
