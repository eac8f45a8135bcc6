/*
 * Statements that pools and drivers send only to learn whether a connection is alive. A client that
 * is to go anyway is best told in place of their answer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* True if there is no statement in those `len` bytes: white space, semicolons, comments. */
bool sql_is_empty(const char *sql, size_t len);

/* True if it is empty, or SELECT 1. */
bool sql_tests_connection(const char *sql, size_t len);
