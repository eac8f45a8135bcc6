/*
 * The clocks of a client: login, query, transaction, idle in transaction, idle; and the look
 * whether it is still there. One lazily armed timer for all: renewing a deadline is a store.
 */
#include "session/internal.h"

/* A client that is not read cannot be seen to hang up: it is looked after this often. (epoll can
 * report a hang-up alone, but libevent passes a reset on to those who read or write only.) */
#define LOOK_EVERY USEC_PER_SEC

/* How often a client that does not take its answer is looked after: so much later than it should
 * may the end of client_write_timeout be noticed. */
#define TAKES_LOOKS 128
#define TAKES_EVERY (5 * USEC_PER_MSEC)

/* Which clock of the session ends when; the reason says which. */
struct limit {
	usec_t deadline;
	enum reason reason;
};

static void consider(struct limit *first, usec_t since, usec_t duration, enum reason reason)
{
	usec_t deadline = since ? clock_deadline(since, duration) : USEC_NEVER;

	if (deadline < first->deadline)
		*first = (struct limit){.deadline = deadline, .reason = reason};
}

static struct limit first_limit(const struct session *s)
{
	struct limit first = {.deadline = leave_moment(s), .reason = (enum reason)s->doom_reason};
	usec_t login_timeout = s->owner->config->client_login_timeout;

	switch (s->state) {
	case SESSION_LOGIN:
		consider(&first, s->state_since, login_timeout, REASON_LOGIN_TIMEOUT);
		break;
	case SESSION_IDLE:
		consider(&first, s->state_since, s->clocks->client_idle_timeout,
			REASON_CLIENT_IDLE_TIMEOUT);
		break;
	case SESSION_ACTIVE:
		if (s->request_open)
			consider(&first, s->request_since,
				s->cancelled ? s->clocks->query_timeout + s->clocks->cancel_grace
					     : s->clocks->query_timeout,
				REASON_QUERY_TIMEOUT);
		else if (s->server->back->in_transaction)
			consider(&first, s->state_since, s->clocks->idle_in_transaction_timeout,
				REASON_IDLE_IN_TRANSACTION_TIMEOUT);
		else
			consider(&first, s->state_since, s->clocks->client_idle_timeout,
				REASON_CLIENT_IDLE_TIMEOUT);
		consider(&first, s->transaction_since, s->clocks->transaction_timeout,
			REASON_TRANSACTION_TIMEOUT);
		break;
	case SESSION_WAITING:
	case SESSION_CONSOLE:
		break;
	case SESSION_CLOSING:
	case SESSION_CLOSED:
		return first;
	}
	consider(&first, stream_stuck_since(&s->stream), s->clocks->client_write_timeout,
		REASON_CLIENT_WRITE_TIMEOUT);
	return first;
}

/* When to look next whether the client takes something of what it is sent. */
static usec_t next_look(const struct session *s)
{
	usec_t every = s->clocks->client_write_timeout / TAKES_LOOKS;

	if (!s->clocks->client_write_timeout || !stream_stuck_since(&s->stream))
		return USEC_NEVER;
	return session_now(s) + (every > TAKES_EVERY ? every : TAKES_EVERY);
}

/* The kernel asks after a client to which nothing is under way, and only then. */
static usec_t next_watch(struct session *s)
{
	if (!s->watch_at && s->stream.sent)
		s->watch_at = session_now(s) + KEEPALIVE_WATCH_EVERY;
	return s->watch_at ? s->watch_at : USEC_NEVER;
}

/* It does not read, or is not there: nothing can be said to it, and what the kernel keeps for it is
 * of no use. */
static void cut_off(struct session *s, enum reason reason)
{
	stream_abort(&s->stream);
	session_close(s, reason);
}

/* False: it has vanished, and was dealt with. */
static bool is_there(struct session *s)
{
	usec_t now = session_now(s);

	if (!s->watch_at || s->watch_at > now)
		return true;
	s->stream.sent = false;
	switch (keepalive_look(&s->watch, s->stream.fd, now)) {
	case KEEPALIVE_QUIET:
		s->watch_at = 0;
		return true;
	case KEEPALIVE_DUE:
		s->watch_at = now + KEEPALIVE_WATCH_EVERY;
		return true;
	case KEEPALIVE_DEAD:
		break;
	}
	log_info("client=%u event=vanished", s->id);
	cut_off(s, REASON_CLIENT_LOST);
	return false;
}

void limits_update(struct session *s)
{
	if (s->state == SESSION_CLOSING || s->state == SESSION_CLOSED)
		return;
	usec_t next = first_limit(s).deadline;
	usec_t look = next_look(s);
	next = look < next ? look : next;
	look = next_watch(s);
	next = look < next ? look : next;
	if (!s->stream.reading) {
		look = session_now(s) + LOOK_EVERY;
		next = look < next ? look : next;
	}
	timer_set(&s->timer, next);
}

static void query_timed_out(struct session *s, const struct refusal *refusal)
{
	if (s->cancelled) {
		/* It was cancelled, and goes on regardless. */
		relay_take_server(s, refusal, REASON_CANCEL_GRACE);
		return;
	}
	s->cancelled = true;
	relay_cancel(s, REASON_QUERY_TIMEOUT);
	limits_update(s);
}

void limits_fired(void *arg)
{
	struct session *s = arg;
	struct refusal refusal;

	if (s->state == SESSION_CLOSING || (!s->stream.reading && stream_hung_up(&s->stream))) {
		session_close(s, REASON_CLIENT_LEFT);
		return;
	}
	if (!is_there(s))
		return;
	stream_look(&s->stream);
	struct limit limit = first_limit(s);
	if (limit.deadline > session_now(s)) {
		limits_update(s);
		return;
	}
	refusal_set(&refusal, limit.reason, NULL);
	switch (limit.reason) {
	case REASON_QUERY_TIMEOUT:
		query_timed_out(s, &refusal);
		break;
	case REASON_TRANSACTION_TIMEOUT:
	case REASON_IDLE_IN_TRANSACTION_TIMEOUT:
		relay_take_server(s, &refusal, 0);
		break;
	case REASON_CLIENT_WRITE_TIMEOUT:
		cut_off(s, limit.reason);
		break;
	default:
		session_dismiss(s, limit.reason, NULL);
	}
}
