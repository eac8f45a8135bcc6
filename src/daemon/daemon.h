/* The daemon from start to stop. */
#pragma once

#include <stddef.h>

#include "config/config.h"

/* Serves until TERM or INT; HUP reads config->path again. Takes over `config`. Returns the exit
 * status: 0 after an orderly stop, 1 if it could not start. */
int daemon_run(struct config *config);

/* Checks what only the protocols know: URLs' parameters. 0, or 1 with "FILE:LINE: text" lines in
 * `ret_problems`. */
MUST_USE int daemon_check(const struct config *config, struct buf *ret_problems);
