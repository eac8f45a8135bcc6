#include "util/clock.h"

#include <time.h>

static usec_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

usec_t clock_usec(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

usec_t clock_wall_usec(void)
{
	return read_clock(CLOCK_REALTIME);
}

usec_t clock_deadline(usec_t moment, usec_t duration)
{
	if (duration <= 0 || moment > USEC_NEVER - duration)
		return USEC_NEVER;
	return moment + duration;
}
