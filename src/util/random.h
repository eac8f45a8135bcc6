/* Unpredictable bytes from the kernel. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Fills `ret_bytes`. Cannot fail: the program ends if the kernel has no randomness to give. */
void random_bytes(void *ret_bytes, size_t len);

uint32_t random_u32(void);

/* A number below `limit` (which is above 0), near enough to uniform for jitter and spreading. */
uint32_t random_below(uint32_t limit);

/* One secret number per process, for hash tables. random_init() draws it, once, before threads. */
void random_init(void);
uint64_t random_process_seed(void);
