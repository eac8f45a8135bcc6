/*
 * KILL QUERY, by a connection of its own as the same user, to the same address. The login is weir's
 * own, as that of every server connection: libmariadb reads all authorities of the system for each
 * connection under TLS, which takes longer than all else.
 */
#include "proto/mysql/cancel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "proto/mysql/dial.h"
#include "proto/mysql/handshake.h"
#include "proto/mysql/link.h"
#include "proto/mysql/wire.h"
#include "util/log.h"
#include "util/text.h"

struct cancel {
	struct sockaddr_storage address;
	socklen_t address_len;
	char *user, *password, *cert, *key;
	usec_t timeout;
	uint32_t connection_id;
	char fingerprint[TLS_FINGERPRINT]; /* of the certificate that the server has to show; "": no
					      TLS */
};

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void mysql_cancel_free(void *arg)
{
	struct cancel *cancel = arg;

	if (!cancel)
		return;
	wipe(cancel->password);
	free(cancel->user);
	free(cancel->cert);
	free(cancel->key);
	free(cancel);
}

/* True unless memory ran out. */
static bool copy_text(char **ret_copy, const char *text)
{
	*ret_copy = text ? strdup(text) : NULL;
	return *ret_copy || !text;
}

/* The address is numeric, or a socket's path. */
static bool read_address(const struct mysql_handle *handle, struct cancel *cancel)
{
	struct sockaddr_un *local = (struct sockaddr_un *)&cancel->address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&cancel->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&cancel->address;

	if (!handle->port) {
		local->sun_family = AF_UNIX;
		text_copy(local->sun_path, sizeof(local->sun_path), handle->address);
		cancel->address_len = sizeof(*local);
		return true;
	}
	if (inet_pton(AF_INET, handle->address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(handle->port);
		cancel->address_len = sizeof(*v4);
		return true;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(handle->port);
	cancel->address_len = sizeof(*v6);
	return inet_pton(AF_INET6, handle->address, &v6->sin6_addr) == 1;
}

void *mysql_cancel_new(const struct mysql_handle *handle)
{
	struct cancel *cancel = calloc(1, sizeof(*cancel));

	if (!cancel)
		return NULL;
	cancel->timeout = handle->connect_timeout;
	cancel->connection_id = handle->connection_id;
	text_copy(cancel->fingerprint, sizeof(cancel->fingerprint), handle->fingerprint);
	if (!read_address(handle, cancel) || !copy_text(&cancel->user, handle->user) ||
		!copy_text(&cancel->password, handle->password) ||
		!copy_text(&cancel->cert, url_param(&handle->url, "ssl_cert")) ||
		!copy_text(&cancel->key, url_param(&handle->url, "ssl_key"))) {
		mysql_cancel_free(cancel);
		return NULL;
	}
	return cancel;
}

/* As link_shake_hands(). The server has proved itself to the connection that is to be cancelled;
 * this one goes to an address, which no certificate names: it has to show the same one. */
static int log_in(const struct cancel *cancel, struct link *l, struct handshake *h)
{
	struct tls_client client = {
		.proof = TLS_PROVES_NOTHING, .cert = cancel->cert, .key = cancel->key};

	*h = (struct handshake){.user = cancel->user,
		.password = cancel->password,
		.wants_tls = cancel->fingerprint[0] != 0,
		.needs_tls = cancel->fingerprint[0] != 0,
		.is_private = cancel->address.ss_family == AF_UNIX};
	int r = link_connect(l, (const struct sockaddr *)&cancel->address, cancel->address_len);
	return r == 0 ? link_shake_hands(l, &client, cancel->fingerprint, h) : r;
}

static int send_kill(const struct cancel *cancel, struct link *l)
{
	struct buf b = {0};
	size_t offset = my_begin(&b, 0);

	buf_u8(&b, MY_COM_QUERY);
	buf_printf(&b, "KILL QUERY %u", cancel->connection_id);
	my_end(&b, offset);
	int r = b.failed ? -ENOMEM : link_write(l, b.data, b.len);
	buf_clear(&b);
	return r;
}

static void say_goodbye(struct link *l)
{
	static const uint8_t quit[] = {1, 0, 0, 0, MY_COM_QUIT};

	int ignored = link_write(l, quit, sizeof(quit));
	(void)ignored;
}

enum cancel_outcome mysql_cancel(void *arg)
{
	const struct cancel *cancel = arg;
	struct link l = {.fd = -1, .deadline = clock_deadline(clock_usec(), cancel->timeout)};
	enum cancel_outcome outcome = CANCEL_OVER;
	struct handshake h = {0};
	char text[256];

	int r = log_in(cancel, &l, &h);
	if (r != 0) {
		const char *problem = r == 2   ? h.error.text
				      : r == 1 ? "no answer within connect_timeout"
					       : strerror(-r);
		log_warning("event=cancel_failed detail=\"no connection for KILL QUERY: %s\"",
			log_escape(problem, text, sizeof(text)));
	} else if (send_kill(cancel, &l) != 0 || link_read_packet(&l) != 0) {
		log_warning("event=cancel_failed detail=\"KILL QUERY was not answered\"");
		outcome = CANCEL_STRAY;
	} else {
		if (my_error_read(l.packet.data, l.packet.len, &h.error))
			log_debug("event=cancel_failed detail=\"%s\"",
				log_escape(h.error.text, text, sizeof(text)));
		say_goodbye(&l);
	}
	link_close(&l);
	return outcome;
}
