#include "util/random.h"

#include <errno.h>
#include <sys/random.h>

#include "util/check.h"

/* Written once before the first thread starts, read-only afterwards. */
static uint64_t process_seed;

void random_bytes(void *ret_bytes, size_t len)
{
	uint8_t *at = ret_bytes;

	while (len) {
		ssize_t n = getrandom(at, len, 0);
		if (n < 0) {
			CHECK(errno == EINTR);
			continue;
		}
		at += n;
		len -= (size_t)n;
	}
}

uint32_t random_u32(void)
{
	uint32_t value;

	random_bytes(&value, sizeof(value));
	return value;
}

uint32_t random_below(uint32_t limit)
{
	CHECK(limit > 0);
	return (uint32_t)(((uint64_t)random_u32() * limit) >> 32);
}

void random_init(void)
{
	random_bytes(&process_seed, sizeof(process_seed));
}

uint64_t random_process_seed(void)
{
	return process_seed;
}
