/*
 * A glance at an SQL text, before the scan (scan.h): most texts cannot hold anything that the scan
 * would find, and that can be told at a fraction of its cost.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* True: a scan of the whole text, `len` bytes, finds nothing. False: it may find something. */
bool glance_is_enough(const char *sql, size_t len);
