/*
 * The relay between a client and the server connection it holds: receives, lets the protocol say
 * what goes where, sends, and gives the connection back when nothing ties it to the client any
 * more. Nothing here knows which protocol it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/internal.h"
#include "util/text.h"

/* A client that has not taken this much of what was sent to it stops its server from being read. */
#define CLIENT_UNSENT_MAX (256u << 10)

/* With less than this left for the client its server connection may go to someone else. */
#define CLIENT_UNSENT_RELEASE (128u << 10)

/* The same towards the server: the client is not read. */
#define SERVER_UNSENT_MAX (256u << 10)

static struct workspace *space(const struct session *s)
{
	return s->owner->host.space;
}

static bool is_over(const struct session *s)
{
	return s->state == SESSION_CLOSED || s->state == SESSION_CLOSING;
}

/* --- the server connection --- */

static void server_readable(struct stream *stream, void *arg);
static void server_drained(struct stream *stream, void *arg);

static void take(struct session *s, struct server *server)
{
	s->server = server;
	server->holder = s;
	note_nothing(&server->back->last_statement);
	stream_set_owner(&server->stream, server_readable, server_drained, s);
	session_move(s, SESSION_ACTIVE);
}

static enum session_state state_without_server(const struct session *s)
{
	return s->front->welcomed ? SESSION_IDLE : SESSION_LOGIN;
}

/* Parts from the server connection, which is returned for the pool to have. */
static struct server *part(struct session *s)
{
	struct server *server = s->server;

	CHECK(server);
	if (s->throttled)
		stream_want_read(&server->stream, true);
	s->throttled = false;
	s->server = NULL;
	server->holder = NULL;
	s->request_open = s->cancelled = false;
	s->transaction_since = 0;
	session_move(s, state_without_server(s));
	return server;
}

static void keep_statistics(struct session *s)
{
	struct pool_stats *stats = pool_stats(s->pool);

	stats_take(stats, s->server->back);
}

/* The times of queries and transactions, and when they began. */
static void note_progress(struct session *s)
{
	struct back *back = s->server->back;
	struct pool_counters *total = &pool_stats(s->pool)->total;
	bool open = !back->at_rest;

	if (s->server->cancel_pause && (back->answered || !open))
		pool_cancelled(s->server);
	/* In a pipeline each request has its own time. */
	if (back->answered && open && s->request_open) {
		s->request_since = session_now(s);
		s->cancelled = false;
	}
	back->answered = false;
	if (open == s->request_open && back->in_transaction == (s->transaction_since != 0))
		return;
	usec_t now = session_now(s);
	if (open && !s->request_open)
		s->request_since = now;
	if (!open && s->request_open) {
		total->query_usec += (uint64_t)(now - s->request_since);
		s->cancelled = false;
		s->front->instead = 0;
		if (!back->in_transaction)
			total->transaction_usec +=
				(uint64_t)(now - (s->transaction_since ? s->transaction_since
								       : s->request_since));
		s->state_since = now;
	}
	s->request_open = open;
	if (!back->in_transaction)
		s->transaction_since = 0;
	else if (!s->transaction_since)
		s->transaction_since = s->request_since;
}

static bool can_release(const struct session *s)
{
	const struct back *back = s->server->back;

	return back->at_rest && !back->in_transaction && !back->pin && !s->session_mode &&
	       s->front->welcomed && !s->front->mid_message && !s->server->kept.len &&
	       stream_unsent(&s->stream) <= CLIENT_UNSENT_RELEASE &&
	       stream_unsent(&s->server->stream) == 0;
}

void relay_settle(struct session *s)
{
	if (is_over(s))
		return;
	if (s->state == SESSION_CONSOLE) {
		limits_update(s);
		return;
	}
	if (s->server) {
		keep_statistics(s);
		note_progress(s);
		if (can_release(s)) {
			struct server *server = part(s);
			/* Free, but not clean: something is left that a statement has made. */
			if (server->back->dirty)
				pool_abandon(s->pool, server);
			else
				pool_release(s->pool, server);
		}
	}
	if (s->doomed && leave_moment(s) <= session_now(s)) {
		session_dismiss(s, s->doom_reason, NULL);
		return;
	}
	limits_update(s);
}

void relay_take_server(struct session *s, const struct refusal *refusal, enum reason reason)
{
	struct front *front = s->front;
	const struct protocol *protocol = front->protocol;
	bool was_open = s->server->back->in_transaction;

	if (!front->welcomed) {
		struct server *server = part(s);
		pool_close(s->pool, server, REASON_SERVER_DEAD);
		protocol->front_refuse(front, refusal, true, &space(s)->to_client);
		if (stream_send(&s->stream, &space(s)->to_client) != 0)
			session_close(s, refusal->reason);
		else
			session_end(s, refusal->reason);
		return;
	}
	bool close = s->server->back->mid_message;
	/* A session of its own, or what pins (a lock, a temporary table), is lost with it: the
	 * client must not go on as if it still had that. */
	bool bereft = s->session_mode || s->server->back->pin;
	front->failed_transaction = was_open;
	if (was_open && s->server->back->at_rest) {
		front->lost = malloc(sizeof(*front->lost));
		if (front->lost)
			*front->lost = *refusal;
	}
	protocol->front_server_lost(front, s->server->back, refusal, &space(s)->to_client);
	struct server *server = part(s);
	if (reason)
		pool_close(s->pool, server, reason);
	else
		pool_abandon(s->pool, server);
	/* Half a message cannot be taken back. */
	if (close || bereft) {
		output_reset(&space(s)->to_client);
		if (close)
			session_close(s, refusal->reason);
		else
			session_dismiss_in_words(s, refusal);
		return;
	}
	if (stream_send(&s->stream, &space(s)->to_client) != 0)
		session_close(s, REASON_CLIENT_LOST);
	else
		relay_pump_kept(s);
}

/* The server is gone: in its own last words, if it had some. */
static void server_lost(struct session *s)
{
	const struct back *back = s->server->back;
	struct refusal refusal;

	if (back->has_last_words)
		refusal = back->last_words;
	else
		refusal_set(&refusal, REASON_SERVER_LOST,
			s->server->stream.error ? strerror(s->server->stream.error) : NULL);
	log_info("client=%u event=server_lost server=%llu detail=\"%.100s\"", s->id,
		(unsigned long long)s->server->id, refusal.text);
	relay_take_server(s, &refusal, REASON_SERVER_DEAD);
}

/* --- sending --- */

/* Sends what was gathered for both sides. False: the session has lost one of them, and was dealt
 * with. */
static bool flush(struct session *s)
{
	struct workspace *w = space(s);

	if (s->server && w->to_server.total) {
		int r = stream_send(&s->server->stream, &w->to_server);
		if (r != 0) {
			/* What the server said before it went is still to be read: that comes as
			 * its end. */
			log_debug("client=%u event=server_send_failed", s->id);
		}
	}
	if (!w->to_client.total && !w->to_client.failed)
		return true;
	if (s->pool)
		pool_stats(s->pool)->total.n_sent += w->to_client.total;
	if (stream_send(&s->stream, &w->to_client) == 0)
		return true;
	session_close(s, REASON_CLIENT_LOST);
	return false;
}

/* --- from the client --- */

static void block(struct session *s, bool blocked)
{
	s->blocked = blocked;
	if (!blocked)
		stream_want_read(&s->stream, true);
}

/* Asks for a server connection. True: there is one. */
static bool acquire(struct session *s)
{
	struct server *server;

	if (s->state == SESSION_WAITING)
		return false;
	s->waiter.flavour = s->front->flavour;
	if (pool_acquire(s->pool, &s->waiter, s, s->clocks->pool_timeout, &server) == 0) {
		take(s, server);
		return true;
	}
	session_move(s, SESSION_WAITING);
	return false;
}

/* The login is over. A greeting that is known already needs no server connection: the client is
 * idle from now on, and no longer one that is slow to log in. */
static bool register_key(struct session *s)
{
	if (s->registered || !s->front->welcomed)
		return true;
	if (s->state == SESSION_LOGIN)
		session_move(s, SESSION_IDLE);
	if (map_insert(&s->owner->by_key, &s->by_key, s->front->key.id) < 0)
		return false;
	s->registered = true;
	if (s->pool)
		pool_share(s->pool);
	char user[64], database[64], peer[ADDRESS_TEXT_SIZE];
	address_print(&s->peer, peer);
	log_info("client=%u event=login user=\"%s\" database=\"%s\" peer=%s", s->id,
		log_escape(s->front->user, user, sizeof(user)),
		log_escape(s->front->database, database, sizeof(database)), peer);
	return true;
}

static void ask_to_kill(struct session *s)
{
	const struct front *front = s->front;
	struct kill_request request = {.victim = front->victim,
		.connection = front->kills_connection,
		.is_admin = config_list_has(&s->owner->config->admin_users, front->user),
		.asker = s->id,
		.protocol = front->protocol};

	text_copy(request.user, sizeof(request.user), front->user);
	s->owner->host.kill(s->owner->host.arg, &request);
}

/* Who its client is has changed: what it holds was another account's. */
static bool admit(struct session *s)
{
	if (s->server) {
		struct server *server = part(s);
		pool_abandon(s->pool, server);
	}
	if (s->pool)
		pool_client_removed(s->pool);
	s->pool = NULL;
	return session_admit(s);
}

/* Acts on one verdict. True: call the protocol again. */
static bool act(struct session *s, enum front_verdict verdict)
{
	const struct sessions_host *host = &s->owner->host;

	switch (verdict) {
	case FRONT_FLUSH:
		return true;
	case FRONT_IDENTIFY:
		return session_identify(s);
	case FRONT_AUTHENTICATED:
		if (admit(s))
			return true;
		if (!is_over(s) && flush(s))
			block(s, true);
		return false;
	case FRONT_SERVER:
		if (acquire(s))
			return true;
		block(s, true);
		return false;
	case FRONT_WAIT:
		block(s, true);
		return false;
	case FRONT_CONSOLE:
		host->console(host->arg, s->id, s->access, s->front->command);
		/* Most answers come at once; the others wake a client that is blocked. */
		if (!s->front->command)
			return true;
		block(s, true);
		return false;
	case FRONT_CANCEL:
		host->cancel(host->arg, &s->front->key);
		session_close(s, REASON_CANCEL_DONE);
		return false;
	case FRONT_KILL:
		block(s, true);
		ask_to_kill(s);
		return false;
	case FRONT_LEAVE:
		session_dismiss(s, s->doom_reason, NULL);
		return false;
	case FRONT_CLOSE:
		if (reason_row(s->front->reason)->is_error)
			session_end(s, s->front->reason);
		else
			session_close(s, s->front->reason);
		return false;
	case FRONT_MORE:
		return false;
	}
	return false;
}

/* A cancel is still under way on the connection that the client holds: its next statement must not
 * meet it, nor wait behind the one that it is for. */
static bool cancel_is_under_way(const struct session *s)
{
	return s->server && s->server->n_cancels;
}

/* What the client has cancelled has been sent by now, unless it was answered here. */
static void cancel_what_was_kept(struct session *s)
{
	if (!s->kept_cancelled || cancel_is_under_way(s))
		return;
	s->kept_cancelled = false;
	relay_cancel(s, REASON_CANCELLED);
}

static void pump(struct session *s, struct input in)
{
	struct workspace *w = space(s);
	bool again = true, cancelling = false;

	block(s, false);
	s->front->pool_in_trouble = s->pool && pool_is_in_trouble(s->pool);
	while (again && !is_over(s)) {
		/* Answers that need no server, to a client that does not read them, are not to
		 * pile up either. */
		cancelling = cancel_is_under_way(s);
		if (cancelling || stream_unsent(&s->stream) > CLIENT_UNSENT_MAX) {
			block(s, true);
			break;
		}
		enum front_verdict verdict = s->front->protocol->from_client(s->front,
			s->server ? s->server->back : NULL, &in, &w->to_client, &w->to_server);
		/* A verdict that closes comes with what is to be said before. That the proof was
		 * right goes out with the greeting. */
		if (verdict != FRONT_AUTHENTICATED && !flush(s))
			return;
		again = act(s, verdict);
	}
	if (is_over(s))
		return;
	if (intake_keep(&s->kept, in) < 0 || !register_key(s)) {
		session_dismiss(s, REASON_OUT_OF_MEMORY, NULL);
		return;
	}
	if (s->server && stream_unsent(&s->server->stream) > SERVER_UNSENT_MAX)
		block(s, true);
	/* What was answered without a server counts as a sign of life too. */
	if (s->state == SESSION_IDLE)
		s->state_since = session_now(s);
	relay_settle(s);
	/* The pool has the connection, and waits for the end of the cancel: nobody would wake this
	 * client, nor need it wait, since its next statement goes elsewhere. */
	if (cancelling && !s->server)
		relay_pump_kept(s);
	else if (s->kept_cancelled)
		cancel_what_was_kept(s);
}

void relay_pump_kept(struct session *s)
{
	if (!is_over(s))
		pump(s, intake_kept(&s->kept));
}

/* The client wants answers that weir holds back for it, or its next message can go now. */
static void go_on(struct session *s)
{
	/* The clock of what has ended is not that of what begins now. */
	if (s->server)
		note_progress(s);
	if (s->blocked && !is_over(s) && s->state != SESSION_WAITING)
		relay_pump_kept(s);
	else
		relay_settle(s);
}

/* A client that waits may hang up; what it sends meanwhile stays where it is. */
static void readable_while_blocked(struct session *s)
{
	if (stream_hung_up(&s->stream)) {
		session_close(s, REASON_CLIENT_LEFT);
		return;
	}
	stream_want_read(&s->stream, false);
	limits_update(s);
}

/* What a dismissed client still sends is thrown away, so that it can read its last words. */
static void readable_while_closing(struct session *s)
{
	size_t len;

	int r = stream_read(&s->stream, space(s)->received, WORKSPACE_SIZE, &len);
	if (r != 0 && r != STREAM_AGAIN)
		session_close(s, REASON_CLIENT_LEFT);
}

void relay_client_readable(struct stream *stream, void *arg)
{
	struct session *s = arg;
	struct input in;
	size_t n_new;

	if (s->state == SESSION_CLOSING) {
		readable_while_closing(s);
		return;
	}
	if (s->blocked) {
		readable_while_blocked(s);
		return;
	}
	int r = intake_read(stream, &s->kept, space(s), &in, &n_new);
	if (r == STREAM_AGAIN)
		return;
	if (r != 0) {
		session_close(s, r == STREAM_END ? REASON_CLIENT_LEFT : REASON_CLIENT_LOST);
		return;
	}
	if (s->pool)
		pool_stats(s->pool)->total.n_received += n_new;
	pump(s, in);
}

void relay_client_drained(struct stream *stream, void *arg)
{
	struct session *s = arg;

	if (s->state == SESSION_CLOSING) {
		stream_shutdown(stream);
		return;
	}
	if (s->throttled && s->server)
		stream_want_read(&s->server->stream, true);
	s->throttled = false;
	go_on(s);
}

void relay_waiter_done(struct waiter *w, struct server *server, const struct refusal *refusal)
{
	struct session *s = container_of(w, struct session, waiter);

	if (server) {
		take(s, server);
		relay_pump_kept(s);
		return;
	}
	session_move(s, state_without_server(s));
	bool fatal = !s->front->welcomed;
	s->front->protocol->front_refuse(s->front, refusal, fatal, &space(s)->to_client);
	if (!flush(s))
		return;
	if (fatal)
		session_end(s, refusal->reason);
	else
		relay_pump_kept(s);
}

/* --- from the server --- */

static void server_readable(struct stream *stream, void *arg)
{
	struct session *s = arg;
	struct server *server = s->server;
	struct back *back = server->back;
	struct input in;
	size_t n_new;
	enum back_verdict verdict;

	int r = intake_read(stream, &server->kept, space(s), &in, &n_new);
	if (r == STREAM_AGAIN)
		return;
	if (r != 0) {
		server_lost(s);
		return;
	}
	do {
		verdict = back->protocol->from_server(
			back, s->front, &in, &space(s)->to_client, &space(s)->to_server);
		if (!flush(s))
			return;
	} while (verdict == BACK_FLUSH);
	if (verdict == BACK_BROKEN || intake_keep(&server->kept, in) < 0) {
		server_lost(s);
		return;
	}
	if (back->demoted) {
		back->demoted = false;
		pool_condemn(s->pool, server);
	}
	if (stream_unsent(&s->stream) > CLIENT_UNSENT_MAX) {
		s->throttled = true;
		stream_want_read(stream, false);
	}
	go_on(s);
}

static void server_drained(struct stream *stream, void *arg)
{
	go_on(arg);
}

/* --- cancelling --- */

static void cancel_over(struct server *server)
{
	struct session *s = server->holder;

	if (s)
		go_on(s);
}

void relay_cancel(struct session *s, enum reason why)
{
	struct refusal refusal;

	if (s->state == SESSION_WAITING) {
		pool_forget(&s->waiter);
		refusal_set(&refusal, why, NULL);
		relay_waiter_done(&s->waiter, NULL, &refusal);
		return;
	}
	if (s->state == SESSION_CONSOLE && s->front->command)
		s->owner->host.console_cancel(s->owner->host.arg, s->id);
	if (s->server && s->server->back->at_rest && s->server->n_cancels)
		s->kept_cancelled = s->kept.len > 0;
	if (!s->server || s->server->back->at_rest)
		return;
	s->front->instead = why == REASON_CANCELLED ? 0 : (uint8_t)why;
	/* One that is yet to begin does for all that follow; and what has no effect is repeated. */
	if (s->server->n_cancels > 1)
		return;
	pool_cancel(s->pool, s->server, cancel_over);
}
