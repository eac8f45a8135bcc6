/* Socket options, and what the kernel tells about a connection. Never closes anything. */
#include "net/keepalive.h"

/* glibc's own header lacks what has not been sent. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* From when it is first seen; with the time until it is seen, and until it is seen again, within
 * the 20 s. */
#define SILENCE_MAX (11 * USEC_PER_SEC)

static void set(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

void keepalive_enable(int fd)
{
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SEC);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SEC);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

void keepalive_limit_silence(int fd)
{
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, KEEPALIVE_USER_TIMEOUT_MSEC);
}

void keepalive_watch_init(struct keepalive_watch *watch, int fd)
{
	int msec = 0;
	socklen_t len = sizeof(msec);

	*watch = (struct keepalive_watch){0};
	watch->ours = getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec, &len) == 0 &&
		      msec == KEEPALIVE_USER_TIMEOUT_MSEC;
}

void keepalive_watch_init_unlimited(struct keepalive_watch *watch)
{
	*watch = (struct keepalive_watch){.ours = true, .lifted = true};
}

static enum keepalive_finding judge(
	struct keepalive_watch *watch, const struct tcp_info *info, usec_t now)
{
	/* A peer that does not read answers the question whether it does now: nothing is due then,
	 * but for the moment of the question itself. */
	if (!info->tcpi_unacked && !info->tcpi_probes) {
		watch->silent_since = 0;
		return info->tcpi_notsent_bytes ? KEEPALIVE_DUE : KEEPALIVE_QUIET;
	}
	usec_t heard = now - (usec_t)info->tcpi_last_ack_recv * USEC_PER_MSEC;
	if (!watch->silent_since || heard > watch->silent_since)
		watch->silent_since = now;
	return now - watch->silent_since >= SILENCE_MAX ? KEEPALIVE_DEAD : KEEPALIVE_DUE;
}

enum keepalive_finding keepalive_look(struct keepalive_watch *watch, int fd, usec_t now)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (!watch->ours || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return KEEPALIVE_QUIET;
	if (!watch->lifted && (info.tcpi_unacked || info.tcpi_notsent_bytes)) {
		set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
		watch->lifted = true;
	}
	return judge(watch, &info, now);
}

void keepalive_watch_end(struct keepalive_watch *watch, int fd)
{
	if (watch->lifted)
		keepalive_limit_silence(fd);
	watch->lifted = false;
	watch->silent_since = 0;
}
