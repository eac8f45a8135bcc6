/* weir.ini, from any bytes. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL;
	struct buf words = {0};
	char path[64];
	int fd = memfd_create("weir.ini", MFD_CLOEXEC);

	/* A file that it names could be one without an end. */
	if (fd < 0 || memmem(data, size, "auth_file", 9))
		goto out;
	CHECK(write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = config_read(path, &config, &words);
	CHECK((r == 0) == (words.len == 0));
	if (r == 0) {
		config_print_diff(config, config, &words);
		CHECK(words.len == 0);
		config_print_totals(config, &words);
		config_free(config);
	}
out:
	buf_clear(&words);
	close(fd);
	return 0;
}
