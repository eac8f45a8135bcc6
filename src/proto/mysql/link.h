/*
 * A connection to a server on a thread that may block, with a deadline: what logging in (dial.c)
 * and cancelling (cancel.c) are made of.
 *
 * All functions return 0, 1 when the time is over, or -errno, if nothing else is said.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "tls/client.h"
#include "util/bytes.h"
#include "util/check.h"
#include "util/clock.h"

struct handshake;
struct paths;

struct link {
	int fd;    /* -1: none yet */
	void *tls; /* SSL *; NULL: plain, or not yet */
	usec_t deadline;
	const struct paths
		*paths;    /* closed: it is not waited for any more, -ECANCELED; may be NULL */
	struct buf packet; /* the payload read last */
	uint8_t sequence;
};

MUST_USE int link_connect(struct link *l, const struct sockaddr *address, socklen_t len);

/* Logs in. `client`: for TLS, where `h` wants it; `fingerprint`: of the certificate that the server
 * must show then, or NULL. 2: the server's or weir's words are in h->error. */
MUST_USE int link_shake_hands(struct link *l, const struct tls_client *client,
	const char *fingerprint, struct handshake *h);

MUST_USE int link_write(struct link *l, const uint8_t *data, size_t len);

/* Reads one packet into l->packet, and not a byte more. */
MUST_USE int link_read_packet(struct link *l);

/* Wipes what was read, frees l->tls and closes the socket. */
void link_close(struct link *l);
