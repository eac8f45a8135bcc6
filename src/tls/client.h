/*
 * The client's end of TLS, on a connected, non-blocking socket: for protocols that log in to their
 * servers themselves. It never waits: it says what to wait for. What it gives is the SSL * of
 * struct dialled, which net/stream.h takes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/bytes.h"
#include "util/check.h"

enum tls_outcome {
	TLS_DONE,
	TLS_WANTS_READ,  /* wait until the socket can be read, then call again */
	TLS_WANTS_WRITE, /* ... until it can be written */
	TLS_ENDED,       /* the peer has closed the connection */
	TLS_FAILED,      /* the connection is of no more use */
};

/* What a server has to prove. */
enum tls_proof {
	TLS_PROVES_NOTHING,
	TLS_PROVES_CA,   /* its certificate comes from `ca` */
	TLS_PROVES_HOST, /* ... and is made out to `host` */
};

struct tls_client {
	enum tls_proof proof;
	const char *ca, *cert, *key; /* PEM files, or NULL; the key may stand in cert's file */
	const char *host;            /* a name or a numeric address */
};

/* Prepares TLS on `fd`, which stays the caller's; nothing is sent. NULL, with the reason in
 * `ret_problem`, if a file is no good. Reads files. The caller frees it with tls_free(). */
void *tls_client_new(const struct tls_client *client, int fd, struct buf *ret_problem);

/* The handshake, to be called until it is TLS_DONE. TLS_FAILED: the two do not get along, the
 * reason is in `ret_problem`. TLS_ENDED: the connection broke, with the same. */
MUST_USE enum tls_outcome tls_handshake(void *tls, struct buf *ret_problem);

/* Reads and writes what can be, at least one byte for TLS_DONE. `len` is above 0. */
MUST_USE enum tls_outcome tls_read(void *tls, void *ret_data, size_t len, size_t *ret_len);
MUST_USE enum tls_outcome tls_write(void *tls, const void *data, size_t len, size_t *ret_len);

/* The SHA-1 of the peer's certificate in hexadecimal, by which it is known again. False: it has
 * none. */
#define TLS_FINGERPRINT 41
bool tls_fingerprint(const void *tls, char ret_hex[TLS_FINGERPRINT]);

/* Sends nothing. NULL is fine. */
void tls_free(void *tls);
