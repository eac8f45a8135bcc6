/* Small helpers for text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Equal without regard to the case of ASCII letters; the locale plays no part. */
bool text_equal_ci(const char *a, const char *b);

/* True if the `len` bytes at `bytes` are the text `word`, case ignored. */
bool text_is_ci(const char *bytes, size_t len, const char *word);

bool text_starts_with(const char *text, const char *prefix);

/* Copies, cutting at `size`, always terminated; returns `ret_text`. */
char *text_copy(char *ret_text, size_t size, const char *text);

/* SQL or the like from a peer, for one line that people read: blanks and control characters become
 * one blank each time, bytes that are no UTF-8 a question mark; cut between two characters at
 * `size`, with "..." if that or `goes_on` leaves something out. Always terminated. */
void text_shorten(char *ret_text, size_t size, const char *text, size_t len, bool goes_on);

/* True if both have the same content; the time it takes does not depend on where they differ. */
bool bytes_equal_secret(const void *a, const void *b, size_t len);
