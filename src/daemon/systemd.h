/* The service manager, if there is one: readiness, status, sockets it has opened. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* "READY=1", "RELOADING=1", "STOPPING=1", "STATUS=..."; several lines may be joined. */
void systemd_notify(const char *state);

/* Sockets that were passed: calls `fn` for each with its name ("" if it has none). Returns how
 * many. */
size_t systemd_sockets(void (*fn)(void *arg, int fd, const char *name), void *arg);

/* Whether standard error leads to the journal. */
bool systemd_logs_to_journal(void);
