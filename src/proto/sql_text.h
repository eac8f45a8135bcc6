/*
 * The little of SQL that weir has to read without a scanner's help, in short statements: what is
 * empty, and what pools send only to learn whether a connection is alive.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Where white space and comments end that begin at `at`. A comment that does not end is none: the
 * server has to say so; nor is one whose content MySQL carries out. */
const char *sql_skip_blank(const char *at, const char *end);

/* True if there is no statement in those `len` bytes: white space, semicolons, comments. */
bool sql_is_empty(const char *sql, size_t len);

/* True if it is empty, or SELECT 1. */
bool sql_tests_connection(const char *sql, size_t len);
