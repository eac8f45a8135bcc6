/* Listening sockets: host:port, [v6]:port, unix:/path, or one inherited from systemd. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/loop.h"
#include "util/bytes.h"
#include "util/check.h"

struct listener;

/* A connection was accepted: `fd` is non-blocking, close-on-exec and the callee's. */
typedef void (*listener_fn)(
	void *arg, int fd, const struct sockaddr_storage *peer, socklen_t peer_len);

struct listener_plan {
	listener_fn fn;
	/* The same for the last descriptor that there is: it is to be closed before the return. */
	listener_fn last;
	void *arg;
	bool beside; /* another process may listen on the same address in this way */
};

/* Listens on `address`. Returns 0 with *ret_listener (listener_free), or 1 with a sentence in
 * `ret_problem` (the address cannot be understood, is in use, ...), or -ENOMEM. A host name is
 * resolved here: only call it before the loop runs. A stale unix socket file is replaced, a living
 * one is not, unless `beside`: then the newer process takes its place with its first
 * listener_want(), before which connections go where they went. */
MUST_USE int listener_new(struct loop *loop, const char *address, const struct listener_plan *plan,
	struct listener **ret_listener, struct buf *ret_problem);

/* The same for a socket that listens already. */
MUST_USE int listener_adopt(struct loop *loop, int fd, const struct listener_plan *plan,
	struct listener **ret_listener);

/* Whether connections are accepted now; from the start they are. Otherwise they wait in the
 * system's queue. */
void listener_want(struct listener *listener, bool wanted);

/* From now on the newer process that listens beside gets the new connections, if there is one. What
 * the system has queued here before is still to be accepted. */
void listener_hand_over(struct listener *listener);

/* Closes the socket, and removes its unix socket file if it made one. */
void listener_free(struct listener *listener);

/* A peer's address in a few bytes, since every client has one. */
struct address {
	uint16_t family, port; /* AF_INET, AF_INET6, or anything else for a unix socket */
	uint8_t bytes[16];
};

struct address address_of(const struct sockaddr_storage *address);

/* "127.0.0.1:6432", "[::1]:6432" or "unix", always terminated. */
#define ADDRESS_TEXT_SIZE 64
void address_print(const struct address *address, char ret_text[ADDRESS_TEXT_SIZE]);

/* Splits what address_print() made; "unix" has port 0. */
void address_split(const char *text, char ret_host[ADDRESS_TEXT_SIZE], int *ret_port);
