/*
 * Logging in to a server over a socket: the server says what a test tells it, and the bytes of
 * either side are cut in every way as weir reads and sends them. Whoever uses it has to be linked
 * with --wrap for recv, send and SSL_set_fd.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/reason.h"
#include "util/bytes.h"

#define HOST_TURNS 8

/* A packet that the server sends, when it has heard another one of weir's. */
struct host_turn {
	const char *payload;
	size_t len;
	bool at_once;    /* without having heard one */
	bool is_key;     /* the server's public key follows the payload */
	bool starts_tls; /* the packet heard was an SSLRequest: TLS begins, then the next is heard
			  */
	bool in_clear;   /* ... as if there were no TLS */
};

#define TURN(text)                                                                                 \
	{                                                                                          \
		.payload = (text), .len = sizeof(text) - 1                                         \
	}
#define AT_ONCE(text)                                                                              \
	{                                                                                          \
		.payload = (text), .len = sizeof(text) - 1, .at_once = true                        \
	}
#define ENCRYPTED(text)                                                                            \
	{                                                                                          \
		.payload = (text), .len = sizeof(text) - 1, .starts_tls = true                     \
	}
#define SMUGGLED(text)                                                                             \
	{                                                                                          \
		.payload = (text), .len = sizeof(text) - 1, .at_once = true, .in_clear = true      \
	}
#define OK_PAYLOAD "\0\0\0\2\0\0\0"
#define OK         TURN(OK_PAYLOAD)
#define KEY                                                                                        \
	{                                                                                          \
		.payload = "\1", .len = 1, .is_key = true                                          \
	}

struct host_outcome {
	int r;
	bool final;
	char text[sizeof(((struct refusal *)0)->text)];
	char version[64];
	uint32_t connection_id;
	uint8_t collation;
	uint16_t status;
	bool encrypted;   /* TLS was established */
	size_t n_clear;   /* bytes that weir has sent in clear text, but for its farewell */
	struct buf heard; /* by the server: payloads */
};

/* Runs the login whole, and with the bytes of either side cut in every way, which must make no
 * difference: one by one, and behind each byte, or each few under TLS, where OpenSSL puts them
 * together. `ssl_mode`: of the server's URL. The outcome of the whole one is the caller's:
 * buf_clear() of what was heard. */
void host_check(const struct host_turn turns[HOST_TURNS], const char *ssl_mode,
	struct host_outcome *ret_whole);

/* The login has to succeed, at a server of that version; to fail with words in which `text` is. */
void host_check_login(
	const struct host_turn turns[HOST_TURNS], const char *ssl_mode, const char *version);
void host_check_refused(const struct host_turn turns[HOST_TURNS], const char *ssl_mode,
	const char *text, bool final);
