/* With libsystemd; nosystemd.c stands in without. */
#include "daemon/systemd.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

void systemd_notify(const char *state)
{
	sd_notify(0, state);
}

size_t systemd_sockets(void (*fn)(void *arg, int fd, const char *name), void *arg)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < n; i++) {
		fn(arg, SD_LISTEN_FDS_START + i, names && names[i] ? names[i] : "");
		if (names)
			free(names[i]);
	}
	free(names);
	return n > 0 ? (size_t)n : 0;
}

bool systemd_logs_to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	/* "device:inode" of the stream that it means: standard error may have been redirected
	 * since. */
	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}
