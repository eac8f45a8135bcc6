/* MySQL and MariaDB, as a row of the table of protocols. */
#pragma once

#include "proto/proto.h"

extern const struct protocol mysql_protocol;
