/* What the files of this folder call of each other. */
#pragma once

#include "config/config.h"
#include "config/options.h"

/* file.c: into `config`, whose path is set. 0, 1 with problems, or -ENOMEM. */
MUST_USE int config_read_ini(struct config *config, struct buf *problems);
MUST_USE int config_read_auth_file(struct config *config, struct buf *problems);

/* config.c */

/* Adds an account that is not there yet. `file` stays borrowed. 0 or -ENOMEM. */
MUST_USE int config_add_user(
	struct config *config, const char *name, const char *password, const char *file, int line);
struct config_user *config_user_for_change(struct config *config, const char *name);
bool config_user_equal(const struct map_node *node, const void *key);
