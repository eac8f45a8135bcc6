/*
 * One connected socket, plain or under TLS. It reads into the worker's buffer, sends gathered
 * output with one system call, and keeps only what the peer would not take yet. Interest in reading
 * stays in the loop for life; interest in writing exists only while something is kept.
 */
#pragma once

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "net/output.h"
#include "util/check.h"

struct stream;

/* Outcomes of reading and sending, besides 0. */
enum {
	STREAM_AGAIN = 1, /* nothing there after all */
	STREAM_END,       /* the peer has closed its half */
	STREAM_LOST,      /* the connection broke: see errno in stream->error */
};

/* The stream can be read; or what was kept has all been sent. May destroy the stream through
 * deferred work only. */
typedef void (*stream_fn)(struct stream *stream, void *arg);

struct stream {
	struct event read_event;
	struct loop *loop;
	struct stream_tail *tail; /* unsent bytes and the interest in writing; NULL: none */
	stream_fn readable, drained;
	void *arg;
	void *tls; /* SSL *, owned by whoever gave it; NULL: plain */
	int fd;
	uint16_t error; /* errno of the failure behind STREAM_LOST */
	bool reading;
	bool sent; /* something, since its owner last made this false */
};

/* Takes over a connected, non-blocking socket; it is closed by stream_close(). Reading is wanted
 * from the start. `tls`: an established SSL * on that socket, or NULL. Returns 0 or -ENOMEM (then
 * the socket stays the caller's). */
MUST_USE int stream_open(struct stream *s, struct loop *loop, int fd, void *tls, stream_fn readable,
	stream_fn drained, void *arg);

/* Who is told from now on. */
void stream_set_owner(struct stream *s, stream_fn readable, stream_fn drained, void *arg);

/* Takes the stream out of its loop (unsent bytes must be none), and puts it into another one. */
void stream_detach(struct stream *s);
MUST_USE int stream_attach(struct stream *s, struct loop *loop);

/* Reads once, at most `cap` bytes. 0 with *ret_len > 0, or an outcome above. */
MUST_USE int stream_read(struct stream *s, uint8_t *ret_data, size_t cap, size_t *ret_len);

/* Sends `o` behind what is kept, keeps what the peer does not take, and resets `o`. Returns 0,
 * STREAM_LOST, or -ENOMEM. */
MUST_USE int stream_send(struct stream *s, struct output *o);

/* Bytes accepted by stream_send() that the kernel has not taken yet. */
size_t stream_unsent(const struct stream *s);

/* Since when the peer has taken nothing, as far as is known, although bytes are unsent; 0: none
 * are. stream_look() asks the kernel whether it has taken some of what was sent: one system call
 * where bytes are unsent, else none. */
usec_t stream_stuck_since(const struct stream *s);
void stream_look(struct stream *s);

/* Nothing that was sent and not taken will be delivered: stream_close() breaks the connection off.
 */
void stream_abort(struct stream *s);

/* Whether `readable` is wanted. Changing it costs a system call: only for back-pressure. */
void stream_want_read(struct stream *s, bool wanted);

/* True if the peer has hung up, although there may be bytes in front of that which were not read.
 */
bool stream_hung_up(const struct stream *s);

/* No more sending: the peer reads an orderly end. Unsent bytes are lost. */
void stream_shutdown(struct stream *s);

/* Closes the socket and frees what is kept. May be called twice. Does not free `tls`. */
void stream_close(struct stream *s);
