/* Control work through libmariadb. Runs on dialler threads, but for the names of collations. */
#include "proto/mysql/control.h"

#include <errmsg.h>
#include <errno.h>
#include <mysql.h>
#include <mysql/plugin_auth.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/caching_sha2.h"
#include "proto/mysql/dial.h"
#include "proto/mysql/handshake.h"
#include "util/log.h"
#include "util/text.h"

void mysql_control_init(void)
{
	mysql_library_init(0, NULL, NULL);
}

const char *mysql_collation(unsigned id, const char **ret_charset)
{
	const MARIADB_CHARSET_INFO *info = mariadb_get_charset_by_nr(id);

	if (!info)
		return NULL;
	*ret_charset = info->csname;
	return info->name;
}

/* --- connections --- */

struct account {
	const char *address, *user, *password;
	unsigned port; /* 0: `address` is a socket's path */
	usec_t timeout;
	const struct url *url;   /* for a certificate of weir's own */
	const char *fingerprint; /* of the certificate that the server has to show; "": no TLS */
};

/* The server has proved itself to the connection that is to be cancelled; this one goes to the same
 * address, where no name can be compared: it has to show the same certificate. */
static void use_tls(MYSQL *mysql, const struct account *account)
{
	my_bool enforce = account->fingerprint[0] != 0, by_name = 0;

	mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &by_name);
	mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &enforce);
	if (!enforce)
		return;
	const char *cert = url_param(account->url, "ssl_cert");
	const char *key = url_param(account->url, "ssl_key");
	mysql_ssl_set(mysql, key ? key : cert, cert, NULL, NULL, NULL);
	mysql_options(mysql, MARIADB_OPT_TLS_PEER_FP, account->fingerprint);
}

static MYSQL *connect_as(const struct account *account)
{
	unsigned seconds = (unsigned)((account->timeout + USEC_PER_SEC - 1) / USEC_PER_SEC);
	unsigned off = 0;
	MYSQL *mysql = mysql_init(NULL);

	if (!mysql)
		return NULL;
	mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
	mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &seconds);
	mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
	mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &off);
	mysql_options4(mysql, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "weir");
	use_tls(mysql, account);
	const char *host = account->port ? account->address : "localhost";
	const char *socket = account->port ? NULL : account->address;
	if (!mysql_real_connect(mysql, host, account->user, account->password, NULL, account->port,
		    socket, 0)) {
		log_debug("event=control_failed detail=\"%.200s\"", mysql_error(mysql));
		mysql_close(mysql);
		return NULL;
	}
	return mysql;
}

/* --- cancelling --- */

struct cancel {
	char address[128];
	unsigned port;
	char *user, *password;
	usec_t timeout;
	uint32_t connection_id;
	struct url url;
	char fingerprint[TLS_FINGERPRINT];
};

void mysql_cancel_free(void *arg)
{
	struct cancel *cancel = arg;

	if (!cancel)
		return;
	if (cancel->password)
		explicit_bzero(cancel->password, strlen(cancel->password));
	free(cancel->password);
	free(cancel->user);
	url_clear(&cancel->url);
	free(cancel);
}

void *mysql_cancel_new(const struct mysql_handle *handle)
{
	struct cancel *cancel = calloc(1, sizeof(*cancel));

	if (!cancel)
		return NULL;
	text_copy(cancel->address, sizeof(cancel->address), handle->address);
	cancel->port = handle->port;
	cancel->timeout = handle->connect_timeout;
	cancel->connection_id = handle->connection_id;
	text_copy(cancel->fingerprint, sizeof(cancel->fingerprint), handle->fingerprint);
	cancel->user = strdup(handle->user);
	cancel->password = strdup(handle->password);
	if (!cancel->user || !cancel->password || url_copy(&handle->url, &cancel->url) < 0) {
		mysql_cancel_free(cancel);
		return NULL;
	}
	return cancel;
}

enum cancel_outcome mysql_cancel(void *arg)
{
	const struct cancel *cancel = arg;
	struct account account = {.address = cancel->address,
		.user = cancel->user,
		.password = cancel->password,
		.port = cancel->port,
		.timeout = cancel->timeout,
		.url = &cancel->url,
		.fingerprint = cancel->fingerprint};
	char sql[40], text[256];
	MYSQL *mysql = connect_as(&account);

	if (!mysql) {
		log_warning("event=cancel_failed detail=\"no connection for KILL QUERY\"");
		return CANCEL_OVER;
	}
	snprintf(sql, sizeof(sql), "KILL QUERY %u", cancel->connection_id);
	enum cancel_outcome outcome = CANCEL_OVER;
	if (mysql_query(mysql, sql) != 0) {
		/* Sent, and not answered. */
		if (mysql_errno(mysql) == CR_SERVER_LOST)
			outcome = CANCEL_STRAY;
		log_debug("event=cancel_failed detail=\"%s\"",
			log_escape(mysql_error(mysql), text, sizeof(text)));
	}
	mysql_close(mysql);
	return outcome;
}

/* --- probing --- */

static int write_greeting(
	struct buf *ret_greeting, const char *version, uint8_t collation, uint16_t status)
{
	buf_cstr(ret_greeting, version);
	buf_u8(ret_greeting, collation);
	buf_u16le(ret_greeting, status);
	return ret_greeting->failed ? -ENOMEM : 0;
}

/* There is nobody to log in as before a client has come. */
static int probe_by_looking(
	const struct dial_target *target, struct buf *ret_greeting, struct refusal *ret_refusal)
{
	struct handshake h;
	int r = mysql_look(target, &h, ret_refusal);

	return r == 0 ? write_greeting(ret_greeting, h.version, h.collation, h.status) : r;
}

int mysql_probe(
	const struct dial_target *target, struct buf *ret_greeting, struct refusal *ret_refusal)
{
	struct dialled dialled;
	bool final;

	/* Made here, where it holds nobody up, for when a client needs it. */
	caching_sha2_prepare();
	if (!target->url->user && !target->user)
		return probe_by_looking(target, ret_greeting, ret_refusal);
	int r = mysql_dial(target, &dialled, ret_refusal, &final);
	if (r != 0)
		return r;
	const struct mysql_handle *handle = dialled.handle;
	r = write_greeting(ret_greeting, handle->version, handle->collation, handle->status);
	mysql_dialled_free(&dialled);
	return r;
}

/* --- ed25519 --- */

/* As libmariadb's <mysql/client_plugin.h> has it, which does not compile where it is installed. */
struct authentication_plugin {
	int type;
	unsigned interface_version;
	const char *name, *author, *description;
	unsigned version[3];
	const char *license;
	void *mysql_api;
	int (*init)(char *, size_t, int, va_list);
	int (*deinit)(void);
	int (*options)(const char *, const void *);
	int (*authenticate_user)(MYSQL_PLUGIN_VIO *vio, MYSQL *mysql);
};

#define AUTHENTICATION_PLUGIN 2

/* The plugin speaks with a server through this: one challenge, one answer. */
struct exchange {
	MYSQL_PLUGIN_VIO vio; /* first */
	uint8_t nonce[ED25519_NONCE];
	uint8_t *signature;
	bool answered;
};

static int read_challenge(struct st_plugin_vio *vio, unsigned char **ret_packet)
{
	struct exchange *exchange = container_of(vio, struct exchange, vio);

	*ret_packet = exchange->nonce;
	return ED25519_NONCE;
}

static int write_answer(struct st_plugin_vio *vio, const unsigned char *packet, int len)
{
	struct exchange *exchange = container_of(vio, struct exchange, vio);

	if (len != ED25519_SIGNATURE)
		return 1;
	memcpy(exchange->signature, packet, ED25519_SIGNATURE);
	exchange->answered = true;
	return 0;
}

static void no_information(struct st_plugin_vio *vio, struct st_plugin_vio_info *info)
{
	memset(info, 0, sizeof(*info));
}

bool mysql_ed25519(const char *password, const uint8_t nonce[ED25519_NONCE],
	uint8_t ret_signature[ED25519_SIGNATURE])
{
	struct exchange exchange = {.vio = {.read_packet = read_challenge,
					    .write_packet = write_answer,
					    .info = no_information},
		.signature = ret_signature};
	MYSQL *mysql = mysql_init(NULL);

	if (!mysql)
		return false;
	memcpy(exchange.nonce, nonce, ED25519_NONCE);
	const struct authentication_plugin *plugin = (const void *)mysql_client_find_plugin(
		mysql, "client_ed25519", AUTHENTICATION_PLUGIN);
	mysql->passwd = strdup(password);
	if (plugin && mysql->passwd)
		plugin->authenticate_user(&exchange.vio, mysql);
	/* mysql_close() frees the password. */
	mysql_close(mysql);
	return exchange.answered;
}
