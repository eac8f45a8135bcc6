/* Logging in, blocking, with a deadline: host after host, address after address. */
#include "proto/mysql/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "auth/secret.h"
#include "net/paths.h"
#include "proto/mysql/dial_params.h"
#include "proto/mysql/handshake.h"
#include "proto/mysql/link.h"
#include "proto/mysql/state.h"
#include "util/text.h"

#define DEFAULT_PORT    3306
#define ERROR_READ_ONLY 1290 /* the option that is in the way: read_only */

/* One address of one host. */
struct place {
	const char *host;  /* as in the URL */
	char address[128]; /* numeric; or a socket's path */
	uint16_t port;     /* 0: a socket's path */
};

struct dialling {
	const struct dial_target *target;
	const char *user, *password;
	struct handshake *greeting; /* what was learnt, if no more than that is wanted; else NULL */
	struct search search;
	struct buf trouble; /* what became of each attempt so far */
	bool final;
	bool needs_writable;
};

/* --- what went wrong, in words --- */

static void add_trouble(struct dialling *d, const struct place *place, const char *text)
{
	struct buf *b = &d->trouble;

	if (b->len)
		buf_text(b, "; ");
	if (place->port) {
		buf_text(b, place->host);
		if (strcmp(place->host, place->address) != 0)
			buf_printf(b, " (%s)", place->address);
		buf_printf(b, " port %u: ", place->port);
	} else {
		buf_printf(b, "%s: ", place->address);
	}
	buf_text(b, text);
}

/* Will the same be said a moment later? A refused account or database, yes; a server that starts,
 * stops or is full may change its mind. */
static bool is_final(uint16_t code)
{
	static const uint16_t final[] = {
		1044, 1045, 1049, 1130, 1184, 1227, 1251, 1524, 1698, 1820, 1862, 3118, 3159, 3950};

	for (size_t i = 0; i < ARRAY_LEN(final); i++) {
		if (code == final[i])
			return true;
	}
	return false;
}

/* --- logging in --- */

/* Both statements in one go; 0, 2 with the server's error, or as link_read_packet(). */
static int arm(struct link *l, struct handshake *h)
{
	static const char *const statements[] = {MYSQL_ARM_SQL, MYSQL_NAMES_SQL};
	struct buf b = {0};
	struct my_ok ok;

	for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
		size_t offset = my_begin(&b, 0);
		buf_u8(&b, MY_COM_QUERY);
		buf_text(&b, statements[i]);
		my_end(&b, offset);
	}
	int r = b.failed ? -ENOMEM : link_write(l, b.data, b.len);
	buf_clear(&b);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(statements); i++) {
		r = link_read_packet(l);
		if (r == 0 && my_error_read(l->packet.data, l->packet.len, &h->error))
			r = 2;
		else if (r == 0 && !my_ok_read(l->packet.data, l->packet.len, true, &ok))
			r = -EPROTO;
		else if (r == 0)
			h->status = ok.status;
	}
	return r;
}

static bool copy_text(char **ret_copy, const char *text)
{
	*ret_copy = strdup(text);
	return *ret_copy;
}

static int take_over(const struct dialling *d, const struct place *place, struct link *l,
	const struct handshake *h, struct dialled *ret_dialled)
{
	struct mysql_handle *handle = calloc(1, sizeof(*handle));

	if (!handle || url_copy(d->target->url, &handle->url) < 0 ||
		!copy_text(&handle->version, h->version) || !copy_text(&handle->user, d->user) ||
		!copy_text(&handle->password, d->password)) {
		mysql_handle_free(handle);
		return -ENOMEM;
	}
	handle->connection_id = h->connection_id;
	handle->collation = h->collation;
	handle->status = h->status;
	handle->flavour = d->target->flavour;
	handle->connect_timeout = d->target->connect_timeout;
	text_copy(handle->address, sizeof(handle->address), place->address);
	handle->port = place->port;
	handle->tls = l->tls;
	if (l->tls)
		tls_fingerprint(l->tls, handle->fingerprint);
	*ret_dialled = (struct dialled){.fd = l->fd, .tls = l->tls, .handle = handle};
	return 0;
}

static void explain(struct dialling *d, const struct place *place, int r, const struct handshake *h)
{
	if (r == 2) {
		add_trouble(d, place, h->error.text);
		/* Words of weir's own are about what does not change by itself either: encryption,
		 * certificates, ways to log in. */
		d->final = !h->error.code || is_final(h->error.code);
	} else if (r == 1) {
		add_trouble(d, place, "no answer within connect_timeout");
	} else {
		add_trouble(d, place, strerror(-r));
	}
}

/* 0; 2 with words in h->error if the server takes no writes; or as link_read_packet(). A server
 * that does not know what it is asked may be as it likes. */
static int check_writable(struct link *l, struct handshake *h)
{
	unsigned n_ends = 0, n_packets = 0;
	struct buf b = {0};
	struct my_error error;

	size_t offset = my_begin(&b, 0);
	buf_u8(&b, MY_COM_QUERY);
	buf_text(&b, MYSQL_ROLE_SQL);
	my_end(&b, offset);
	int r = b.failed ? -ENOMEM : link_write(l, b.data, b.len);
	buf_clear(&b);
	/* The columns' number and definition, and an EOF; the rows, if any, and an EOF. */
	for (; r == 0 && n_ends < 2; n_packets++) {
		r = link_read_packet(l);
		if (r == 0 && my_error_read(l->packet.data, l->packet.len, &error))
			return 0;
		n_ends += r == 0 && l->packet.len == 5 && l->packet.data[0] == 0xfe;
	}
	if (r != 0 || n_packets == 4)
		return r;
	/* As it would say itself: that may change, and another server may be otherwise. */
	h->error.code = ERROR_READ_ONLY;
	text_copy(h->error.text, sizeof(h->error.text), "the server is read-only");
	return 2;
}

static int log_in(const struct dialling *d, const struct place *place, struct link *l,
	struct handshake *h, struct dialled *ret_dialled)
{
	struct tls_client client;

	/* What listens at a socket is on this machine. */
	mysql_tls_client(d->target->url, place->port ? place->host : "localhost", &client);
	int r = link_shake_hands(l, &client, NULL, h);

	if (r == 0)
		r = arm(l, h);
	if (r == 0 && d->needs_writable)
		r = check_writable(l, h);
	return r == 0 ? take_over(d, place, l, h, ret_dialled) : r;
}

/* Reads the greeting, and leaves it unanswered. */
static int look(struct link *l, struct handshake *h)
{
	struct buf reply = {0};
	int r = link_read_packet(l);

	if (r == 0 && handshake_step(h, l->packet.data, l->packet.len, l->sequence, &reply) ==
			      HANDSHAKE_REFUSED)
		r = 2;
	buf_wipe(&reply);
	return r;
}

static struct handshake begin(const struct dialling *d, bool is_local)
{
	const struct url *url = d->target->url;
	unsigned flavour = d->target->flavour;
	enum mysql_ssl_mode mode = mysql_ssl_mode(url);

	return (struct handshake){.user = d->user,
		.password = d->password,
		.schema = url->dbname,
		.wanted = (flavour & MY_FLAVOUR_FOUND_ROWS ? MY_FOUND_ROWS : 0) |
			  (flavour & MY_FLAVOUR_LOCAL_FILES ? MY_LOCAL_FILES : 0) |
			  (flavour & MY_FLAVOUR_IGNORE_SPACE ? MY_IGNORE_SPACE : 0),
		.wants_tls = mode >= (is_local ? MYSQL_SSL_REQUIRED : MYSQL_SSL_PREFERRED),
		.needs_tls = mode >= MYSQL_SSL_REQUIRED,
		.is_private = is_local};
}

/* For those who come after. */
static void note(struct dialling *d, const struct place *place, int r, usec_t began)
{
	if (r == 0 || r == 2)
		search_answered(&d->search, place->address, place->port);
	else if (r != -ENOMEM && r != -ECANCELED)
		search_unanswered(
			&d->search, place->address, place->port, began, clock_usec(), r == 1);
}

/* 0, 1 with more in d->trouble, -ENOMEM or -ECANCELED. */
static int try_place(struct dialling *d, const struct place *place, const struct sockaddr *address,
	socklen_t len, struct dialled *ret_dialled)
{
	struct handshake h = begin(d, address->sa_family == AF_UNIX);
	usec_t began = clock_usec();
	struct link l = {.fd = -1,
		.deadline = clock_deadline(began, d->target->connect_timeout),
		.paths = d->target->paths};

	int r = link_connect(&l, address, len);
	if (r == 0)
		r = d->greeting ? look(&l, &h) : log_in(d, place, &l, &h, ret_dialled);
	note(d, place, r, began);
	if (r == 0 && !d->greeting) {
		buf_wipe(&l.packet);
		return 0;
	}
	link_close(&l);
	if (r == 0)
		*d->greeting = h;
	if (r == 0 || r == -ENOMEM || r == -ECANCELED)
		return r;
	explain(d, place, r, &h);
	return 1;
}

/* --- hosts and addresses --- */

static int try_socket(struct dialling *d, const char *path, struct dialled *ret_dialled)
{
	struct place place = {.host = path};
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	text_copy(place.address, sizeof(place.address), path);
	/* Who listens there answers at once. */
	if (d->search.late)
		return 1;
	if (strlen(path) >= sizeof(address.sun_path)) {
		add_trouble(d, &place, "the socket's path is too long");
		return 1;
	}
	text_copy(address.sun_path, sizeof(address.sun_path), path);
	return try_place(
		d, &place, (const struct sockaddr *)&address, sizeof(address), ret_dialled);
}

static int try_host(struct dialling *d, const struct url_host *host, struct dialled *ret_dialled)
{
	struct place place = {.host = host->name, .port = host->port ? host->port : DEFAULT_PORT};
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char port[8];
	int r = 1;

	if (host->name[0] == '/')
		return try_socket(d, host->name, ret_dialled);
	text_copy(place.address, sizeof(place.address), host->name);
	snprintf(port, sizeof(port), "%u", place.port);
	int failure = getaddrinfo(host->name, port, &hints, &list);
	if (failure != 0) {
		if (!d->search.late)
			add_trouble(d, &place, gai_strerror(failure));
		return 1;
	}
	for (const struct addrinfo *ai = list; ai && r == 1 && !d->final; ai = ai->ai_next) {
		if (getnameinfo(ai->ai_addr, ai->ai_addrlen, place.address, sizeof(place.address),
			    NULL, 0, NI_NUMERICHOST) == 0 &&
			search_turn(&d->search, place.address, place.port, clock_usec()))
			r = try_place(d, &place, ai->ai_addr, ai->ai_addrlen, ret_dialled);
	}
	freeaddrinfo(list);
	return r;
}

/* 0, 1 with all in d->trouble, -ENOMEM or -ECANCELED. */
static int try_hosts(struct dialling *d, struct dialled *ret_dialled)
{
	const struct url *url = d->target->url;
	const char *socket_path = url_param(url, "unix_socket");
	int r = 1;

	if (socket_path)
		return try_socket(d, socket_path, ret_dialled);
	search_init(&d->search, d->target->paths);
	do {
		for (size_t i = 0; r == 1 && !d->final && i < url->n_hosts; i++)
			r = try_host(d, &url->hosts[i], ret_dialled);
	} while (r == 1 && !d->final && search_again(&d->search));
	search_clear(&d->search);
	return r;
}

static void refuse(struct dialling *d, struct refusal *ret_refusal)
{
	buf_u8(&d->trouble, 0);
	refusal_set(ret_refusal, REASON_SERVER_UNREACHABLE,
		d->trouble.failed ? NULL : (const char *)d->trouble.data);
}

int mysql_dial(const struct dial_target *target, struct dialled *ret_dialled,
	struct refusal *ret_refusal, bool *ret_final)
{
	const struct url *url = target->url;
	const char *user = url->user ? url->user : target->user;
	const char *password = url->user ? url->password : target->password;
	struct dialling d = {
		.target = target, .user = user ? user : "", .password = password ? password : ""};
	int r = 1;

	if (!url->user && !secret_is_password(d.password)) {
		buf_printf(&d.trouble, DIAL_NO_PASSWORD, d.user);
		d.final = true;
	} else {
		d.needs_writable = target->prefers_writable;
		r = try_hosts(&d, ret_dialled);
	}
	if (r == 1 && d.needs_writable && !d.final) {
		buf_clear(&d.trouble);
		d.needs_writable = false;
		r = try_hosts(&d, ret_dialled);
	}
	if (r == 1) {
		refuse(&d, ret_refusal);
		*ret_final = d.final;
	}
	buf_clear(&d.trouble);
	return r;
}

int mysql_look(const struct dial_target *target, struct handshake *ret_greeting,
	struct refusal *ret_refusal)
{
	struct dialling d = {
		.target = target, .user = "", .password = "", .greeting = ret_greeting};

	int r = try_hosts(&d, NULL);
	if (r == 1)
		refuse(&d, ret_refusal);
	buf_clear(&d.trouble);
	return r;
}

/* --- the end --- */

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void mysql_handle_free(struct mysql_handle *handle)
{
	if (!handle)
		return;
	url_clear(&handle->url);
	free(handle->version);
	free(handle->user);
	wipe(handle->password);
	buf_clear(&handle->settings);
	buf_clear(&handle->prepared);
	tls_free(handle->tls);
	free(handle);
}

void mysql_dialled_free(struct dialled *dialled)
{
	static const uint8_t quit[] = {1, 0, 0, 0, MY_COM_QUIT};
	struct mysql_handle *handle = dialled->handle;
	/* No time is spent on a courtesy. */
	struct link l = {.fd = dialled->fd, .tls = handle ? handle->tls : NULL};

	if (!handle)
		return;
	int ignored = link_write(&l, quit, sizeof(quit));
	(void)ignored;
	mysql_handle_free(handle);
	close(dialled->fd);
	dialled->handle = NULL;
}
