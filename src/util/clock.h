/*
 * Time. Durations and moments are in microseconds; moments are of the monotonic clock, so that they
 * may be subtracted, unless the name says wall.
 */
#pragma once

#include <stdint.h>

typedef int64_t usec_t;

#define USEC_PER_MSEC ((usec_t)1000)
#define USEC_PER_SEC  ((usec_t)1000000)

/* A moment that never comes. */
#define USEC_NEVER INT64_MAX

/* The monotonic clock. */
usec_t clock_usec(void);

/* Seconds since the epoch, as the system's clock has it. For people only. */
usec_t clock_wall_usec(void);

/* `moment` + `duration`, where a duration of 0 or less means "no limit": USEC_NEVER. */
usec_t clock_deadline(usec_t moment, usec_t duration);
