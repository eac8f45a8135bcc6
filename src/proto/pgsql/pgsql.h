/* PostgreSQL, protocol 3: the row for the table in proto.c. Nothing else of this folder is seen
 * outside. */
#pragma once

#include "proto/proto.h"

extern const struct protocol pgsql_protocol;
