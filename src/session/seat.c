/*
 * Places among the clients of an account or a database with a limit, which holds for all workers
 * together: who counts them is asked by message. Other clients cost nothing here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/internal.h"

static int ask(struct session *s, bool is_inside)
{
	const struct sessions_host *host = &s->owner->host;
	size_t size = strlen(s->front->user) + 1;
	size_t database_size = strlen(s->front->database) + 1;
	struct seat *seat = calloc(1, sizeof(*seat) + size + database_size);

	if (!seat)
		return -ENOMEM;
	memcpy(seat->user, s->front->user, size);
	memcpy(seat->user + size, s->front->database, database_size);
	seat->database = seat->user + size;
	seat->session = s;
	seat->is_inside = is_inside;
	seat->away = true;
	s->seat = seat;
	host->ask_seat(host->arg, seat);
	return 0;
}

static void give_back(struct sessions *sessions, struct seat *seat)
{
	if (seat->given)
		sessions->host.free_seat(sessions->host.arg, seat);
	else
		free(seat);
}

void seat_leave(struct session *s)
{
	struct seat *seat = s->seat;

	s->seat = NULL;
	if (!seat)
		return;
	if (seat->away)
		seat->session = NULL;
	else
		give_back(s->owner, seat);
}

static bool has_limit(const struct config_user *user, const struct config_database *database)
{
	return user->max_clients >= 0 || database->pool.max_clients >= 0;
}

int seat_take(
	struct session *s, const struct config_user *user, const struct config_database *database)
{
	/* After a change of the user. */
	if (s->seat && (strcmp(s->seat->user, user->name) != 0 ||
			       strcmp(s->seat->database, database->name) != 0))
		seat_leave(s);
	if (!s->seat && has_limit(user, database)) {
		int r = ask(s, false);
		if (r < 0)
			return r;
	}
	if (!s->seat)
		return 0;
	if (s->seat->away)
		return SEAT_AWAITED;
	if (s->seat->given)
		return 0;
	int r = s->seat->user_full ? SEAT_USER_FULL : SEAT_DATABASE_FULL;
	seat_leave(s);
	return r;
}

void seat_reload(struct session *s)
{
	const struct config *config = s->owner->config;
	const struct config_user *user = config_user(config, s->front->user);
	const struct config_database *database = config_database(config, s->front->database);

	/* Without memory for it the client is not counted. */
	if (!s->seat && user && database && has_limit(user, database))
		ask(s, true);
}

void sessions_seated(struct sessions *sessions, struct seat *seat)
{
	struct session *s = seat->session;

	seat->away = false;
	if (!s)
		give_back(sessions, seat);
	else if (!s->pool)
		relay_pump_kept(s);
	/* Else it has been inside for long. */
}
