/*
 * Assertions that stay on in release builds, and attributes.
 *
 * CHECK() is for our own invariants only: never for what a peer, a file or an operator can cause.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MUST_USE                __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define NORETURN                __attribute__((noreturn))

/* Ends the program with the place and the expression that did not hold. */
NORETURN void check_failed(const char *file, int line, const char *expression);

#define CHECK(expression)                                                                          \
	do {                                                                                       \
		if (__builtin_expect(!(expression), 0))                                            \
			check_failed(__FILE__, __LINE__, #expression);                             \
	} while (0)

/* The struct of which `ptr` points to the field `member`. */
#define container_of(ptr, type, member) ((type *)((uintptr_t)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))
