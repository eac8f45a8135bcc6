/* Cancelling: KILL QUERY, on threads that may block. */
#pragma once

#include "proto/proto.h"

struct mysql_handle;

/* What mysql_cancel() needs, independent of the handle from then on. NULL: no memory. */
void *mysql_cancel_new(const struct mysql_handle *handle);
void mysql_cancel_free(void *cancel);

/* KILL QUERY, by a connection of its own as the same user. Blocks until the server has carried it
 * out or refused, or the time is over: see proto.h. */
enum cancel_outcome mysql_cancel(void *cancel);
