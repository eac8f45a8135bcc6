/* The daemon from start to stop. */
#pragma once

#include <stddef.h>

#include "config/config.h"

/* Serves until TERM or INT; HUP reads config->path again. `urls` (n_urls may be 0) is what the
 * configuration came from if there is no file. Takes over `config`. Returns the exit status: 0
 * after an orderly stop, 1 if it could not start. */
int daemon_run(struct config *config, char *const *urls, size_t n_urls);
