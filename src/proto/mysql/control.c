/* What libmariadb does for weir: a plugin, and the names of collations; and the probe. */
#include "proto/mysql/control.h"

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
