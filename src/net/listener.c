/* Accepting connections. What becomes of them is for daemon/ to say. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/keepalive.h"
#include "util/log.h"
#include "util/text.h"

#define BACKLOG 4096
/* One that finds nobody costs as much as one that does, and there is seldom more than one to take:
 * so it begins with one, and takes twice as many the next time if there was no end to them; up to
 * this, since those who are inside already wait meanwhile. */
#define ACCEPTS_PER_WAKE 16

/* A unix socket that will take another's place is made under this name beside it. */
#define NEW_SUFFIX ".new"

struct listener {
	struct event event;
	struct timer pause; /* without memory: try again in a moment instead of spinning */
	int spare;          /* given up to take in who would have to be left waiting; -1: none */
	struct log_limit log_limit;
	struct listener_plan plan;
	int fd;
	int n_accepts; /* to be made at the next wake */
	bool unwanted;
	bool begun;           /* was listened on */
	char *unix_path;      /* to be removed in the end; NULL: none */
	struct stat unix_own; /* which file there is ours */
};

static void resume(void *arg)
{
	struct listener *l = arg;

	if (!l->unwanted)
		event_add(&l->event, NULL);
}

static int take_in(const struct listener *l, struct sockaddr_storage *ret_peer, socklen_t *ret_len)
{
	*ret_peer = (struct sockaddr_storage){0};
	*ret_len = sizeof(*ret_peer);
	return accept4(l->fd, (struct sockaddr *)ret_peer, ret_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void keep_spare(struct listener *l)
{
	if (l->spare < 0)
		l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* There are no more descriptors: who comes now is told so instead of waiting for nobody knows how
 * long. Returns 0, or what the system said instead of accepting. */
static int take_last(struct listener *l)
{
	struct sockaddr_storage peer;
	socklen_t len;
	unsigned n_dropped;
	char left_out[LOG_LEFT_OUT_SIZE];

	if (l->spare < 0 || !l->plan.last)
		return EMFILE;
	if (log_limit_allows(&l->log_limit, 1, &n_dropped))
		log_error(
			"event=no_descriptors detail=\"raise LimitNOFILE or lower max_clients\"%s",
			log_left_out(n_dropped, left_out));
	close(l->spare);
	l->spare = -1;
	int client = take_in(l, &peer, &len);
	int error = client < 0 ? errno : 0;
	if (client >= 0)
		l->plan.last(l->plan.arg, client, &peer, len);
	keep_spare(l);
	return error;
}

static bool is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	int n_accepts = l->n_accepts;

	l->n_accepts = 1;
	for (int i = 0; i < n_accepts; i++) {
		struct sockaddr_storage peer;
		socklen_t len;
		int client = take_in(l, &peer, &len);
		int error = client < 0 ? errno : 0;
		if (client >= 0) {
			l->plan.fn(l->plan.arg, client, &peer, len);
			continue;
		}
		if (error == EMFILE || error == ENFILE)
			error = take_last(l);
		if (is_shortage(error)) {
			log_error("event=accept_failed error=\"%s\" retry=100ms", strerror(error));
			event_del(&l->event);
			timer_set(&l->pause, clock_usec() + 100 * USEC_PER_MSEC);
		}
		/* EAGAIN: all taken. Anything else concerns the one connection that went away. */
		if (error && error != ECONNABORTED && error != EINTR)
			return;
	}
	l->n_accepts = n_accepts * 2 < ACCEPTS_PER_WAKE ? n_accepts * 2 : ACCEPTS_PER_WAKE;
}

int listener_adopt(
	struct loop *loop, int fd, const struct listener_plan *plan, struct listener **ret_listener)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->plan = *plan;
	l->fd = fd;
	l->begun = !plan->beside;
	l->spare = -1;
	l->n_accepts = 1;
	keep_spare(l);
	timer_init(&l->pause, loop, resume, l);
	evutil_make_socket_nonblocking(fd);
	/* What is accepted inherits both; a unix socket has neither. */
	keepalive_enable(fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	event_assign(&l->event, loop_event_base(loop), fd, EV_READ | EV_PERSIST, on_accept, l);
	if (l->begun && event_add(&l->event, NULL) < 0) {
		if (l->spare >= 0)
			close(l->spare);
		free(l);
		return -ENOMEM;
	}
	*ret_listener = l;
	return 0;
}

/* Where the file of the socket is now: "PATH", or "PATH.new" while another one stands in its place.
 * False: the name is too long. */
static bool unix_place(const char *path, bool is_new, struct sockaddr_un *ret_address)
{
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "%s%s", path,
		is_new ? NEW_SUFFIX : "");
	return n >= 0 && (size_t)n < sizeof(ret_address->sun_path);
}

/* Only now are connections led here, instead of to the process that had the address before. */
static void begin(struct listener *l)
{
	struct sockaddr_un place;

	l->begun = true;
	bool failed = listen(l->fd, BACKLOG) < 0;
	if (!failed && l->unix_path && unix_place(l->unix_path, true, &place))
		failed = rename(place.sun_path, l->unix_path) < 0;
	if (failed)
		log_error("event=listen_failed error=\"%m\"");
}

void listener_want(struct listener *l, bool wanted)
{
	l->unwanted = !wanted;
	timer_set(&l->pause, USEC_NEVER);
	if (wanted && !l->begun)
		begin(l);
	if (wanted)
		event_add(&l->event, NULL);
	else
		event_del(&l->event);
}

/* The system lets a small program choose among the sockets that listen on one port. Ours came
 * first, so the newer one is number 1; where there is none the choice is void. */
void listener_hand_over(struct listener *l)
{
	struct sock_filter choose[] = {BPF_STMT(BPF_RET | BPF_K, 1)};
	struct sock_fprog program = {.len = 1, .filter = choose};

	if (l->plan.beside)
		setsockopt(l->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program));
}

/* Removes the file of the socket, unless another process has put its own there. */
static void remove_unix(const struct listener *l)
{
	struct sockaddr_un place;
	struct stat st;

	if (unix_place(l->unix_path, !l->begun, &place) && lstat(place.sun_path, &st) == 0 &&
		st.st_dev == l->unix_own.st_dev && st.st_ino == l->unix_own.st_ino)
		unlink(place.sun_path);
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	timer_clear(&l->pause);
	event_del(&l->event);
	close(l->fd);
	if (l->spare >= 0)
		close(l->spare);
	if (l->unix_path)
		remove_unix(l);
	free(l->unix_path);
	free(l);
}

/* A file that nobody listens on any more is left over from a crash. */
static bool unix_is_stale(const struct sockaddr_un *address)
{
	struct stat st;

	if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	int r = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	bool stale = r < 0 && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int bind_unix(const char *path, bool beside, int *ret_fd)
{
	struct sockaddr_un place;

	if (!path[0])
		return -ENOENT;
	if (!unix_place(path, beside, &place))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (unix_is_stale(&place))
		unlink(place.sun_path);
	/* Who may connect is for the login to decide, as with PostgreSQL's own sockets. */
	if (bind(fd, (struct sockaddr *)&place, sizeof(place)) < 0 ||
		chmod(place.sun_path, 0777) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int bind_address(const struct addrinfo *info, bool beside, int *ret_fd)
{
	int on = 1;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (beside)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* Splits "host:port" or "[v6]:port". */
static bool split_address(const char *address, char *ret_host, size_t size, const char **ret_port)
{
	const char *colon = strrchr(address, ':');

	if (!colon || !colon[1])
		return false;
	size_t len = (size_t)(colon - address);
	if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
		address++;
		len -= 2;
	} else if (memchr(address, ':', len)) {
		return false;
	}
	if (len >= size)
		return false;
	memcpy(ret_host, address, len);
	ret_host[len] = 0;
	*ret_port = colon + 1;
	return true;
}

static int bind_tcp(const char *address, bool beside, int *ret_fd, struct buf *ret_problem)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found;
	const char *port;
	char host[256];

	if (!split_address(address, host, sizeof(host), &port)) {
		buf_printf(ret_problem,
			"cannot listen on \"%s\": allowed are host:port, [v6]:port, unix:/path",
			address);
		return 1;
	}
	/* The library would take 70000 for 4464. */
	if (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 ||
		strtoul(port, NULL, 10) > 65535) {
		buf_printf(ret_problem,
			"cannot listen on \"%s\": bad port: allowed are numbers up to 65535",
			address);
		return 1;
	}
	int r = getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, port, &hints, &found);
	if (r != 0) {
		buf_printf(ret_problem, "cannot listen on \"%s\": %s", address, gai_strerror(r));
		return 1;
	}
	r = bind_address(found, beside, ret_fd);
	freeaddrinfo(found);
	return r;
}

/* Remembers which file is to be removed in the end. */
static void own_unix(struct listener *l, const char *path)
{
	struct sockaddr_un place;

	if (unix_place(path, !l->begun, &place) && lstat(place.sun_path, &l->unix_own) == 0)
		l->unix_path = strdup(path);
}

int listener_new(struct loop *loop, const char *address, const struct listener_plan *plan,
	struct listener **ret_listener, struct buf *ret_problem)
{
	bool is_unix = text_starts_with(address, "unix:");
	const char *path = address + strlen("unix:");
	int fd = -1;

	int r = is_unix ? bind_unix(path, plan->beside, &fd)
			: bind_tcp(address, plan->beside, &fd, ret_problem);
	if (r == 0 && !plan->beside && listen(fd, BACKLOG) < 0) {
		r = -errno;
		close(fd);
	}
	if (r < 0)
		buf_printf(ret_problem, "cannot listen on \"%s\": %s", address, strerror(-r));
	if (r != 0)
		return 1;
	r = listener_adopt(loop, fd, plan, ret_listener);
	if (r < 0) {
		close(fd);
		return r;
	}
	if (is_unix)
		own_unix(*ret_listener, path);
	return 0;
}

struct address address_of(const struct sockaddr_storage *address)
{
	struct address a = {.family = address->ss_family};

	if (address->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;
		memcpy(a.bytes, &in->sin_addr, sizeof(in->sin_addr));
		a.port = ntohs(in->sin_port);
	} else if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
		memcpy(a.bytes, &in6->sin6_addr, sizeof(in6->sin6_addr));
		a.port = ntohs(in6->sin6_port);
	}
	return a;
}

void address_print(const struct address *address, char ret_text[ADDRESS_TEXT_SIZE])
{
	bool is_v6 = address->family == AF_INET6;
	char host[INET6_ADDRSTRLEN] = "";

	if (!is_v6 && address->family != AF_INET) {
		text_copy(ret_text, ADDRESS_TEXT_SIZE, "unix");
		return;
	}
	inet_ntop(address->family, address->bytes, host, sizeof(host));
	snprintf(ret_text, ADDRESS_TEXT_SIZE, is_v6 ? "[%s]:%u" : "%s:%u", host, address->port);
}

void address_split(const char *text, char ret_host[ADDRESS_TEXT_SIZE], int *ret_port)
{
	const char *colon = strrchr(text, ':');

	text_copy(ret_host, ADDRESS_TEXT_SIZE, text);
	*ret_port = 0;
	if (!colon)
		return;
	ret_host[colon - text] = 0;
	*ret_port = (int)strtol(colon + 1, NULL, 10);
}
