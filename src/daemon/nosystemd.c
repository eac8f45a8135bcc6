/* Without libsystemd: nobody to tell, nothing passed. */
#include "daemon/systemd.h"

void systemd_notify(const char *state)
{
}

size_t systemd_sockets(void (*fn)(void *arg, int fd, const char *name), void *arg)
{
	return 0;
}

bool systemd_logs_to_journal(void)
{
	return false;
}
