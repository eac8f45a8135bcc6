/* Which names are MySQL's own. */
#pragma once

#include <stdbool.h>

/* True if what stands behind `name` (in lower case) in parentheses cannot be the arguments of a
 * stored function: those of the server change no session variable. */
bool my_is_native(const char *name);
