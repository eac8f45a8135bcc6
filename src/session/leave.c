/*
 * Clients that have to go: who, and when each is told. While weir stops it is the client's pool on
 * the other side that matters: it tests a connection, and then begins a transaction on it. Whoever
 * is told between the two has an error; whoever is told before the test, or in place of its answer
 * (FRONT_LEAVE), just gets another connection. So the idle are left alone until they have been
 * quiet for a moment, and the busy go at their next test. They are spread over time, since all of
 * them will log in somewhere else.
 */
#include "session/internal.h"

/* Longer than what lies between a pool's test of a connection and the statement that follows. */
#define QUIET_TIME (500 * USEC_PER_MSEC)

/* The same when time runs short. */
#define SHORT_QUIET_TIME (100 * USEC_PER_MSEC)

/* Who has come before weir stopped is let in, if that does not take longer. */
#define LOGIN_TIME USEC_PER_SEC

/* A worker tells so many idle clients in a second, or more if that would take too long. */
#define LEAVING_PER_SEC 1000

void leave_start(struct sessions *sessions)
{
	usec_t patience = sessions->config->shutdown_timeout / 2;
	usec_t spread = (usec_t)sessions->n_sessions * (USEC_PER_SEC / LEAVING_PER_SEC);

	sessions->drain_since = loop_now(sessions->host.loop);
	sessions->drain_patience = patience;
	sessions->drain_spread = spread < patience ? spread : patience;
}

void leave_soon(struct session *s, enum reason reason)
{
	s->doomed = true;
	s->doom_reason = (uint8_t)reason;
	s->front->leaving = true;
	relay_settle(s);
}

/* Its turn among the idle ones, by its id: there is no need to remember it. */
static usec_t turn(const struct session *s)
{
	uint32_t scattered = s->id * 2654435761u;

	return (usec_t)(((uint64_t)scattered * (uint64_t)s->owner->drain_spread) >> 32);
}

usec_t leave_moment(const struct session *s)
{
	const struct sessions *sessions = s->owner;
	bool idle = s->state == SESSION_IDLE ||
		    (s->server && s->server->back->at_rest && !s->server->back->in_transaction);

	if (s->doomed && s->state == SESSION_LOGIN && !s->pool)
		return sessions->drain_since + LOGIN_TIME;
	if (!s->doomed || !idle || s->front->in_request || s->front->failed_transaction)
		return USEC_NEVER;
	if (s->doom_reason != REASON_SHUTDOWN)
		return 0;
	usec_t last = sessions->drain_since + sessions->drain_patience;
	usec_t due = sessions->drain_since + turn(s);
	usec_t quiet = s->state_since + QUIET_TIME;
	due = due > quiet ? due : quiet;
	if (due <= last)
		return due;
	/* Half of the time is over: a shorter quiet has to do, and soon none. */
	quiet = s->state_since + SHORT_QUIET_TIME;
	due = last + sessions->drain_patience / 2;
	return quiet < last ? last : quiet < due ? quiet : due;
}
