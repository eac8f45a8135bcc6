/* Logging in to a server, packet by packet. Used by dial.c; does no I/O. */
#include "proto/mysql/handshake.h"

#include <stdio.h>
#include <string.h>

#include "auth/caching_sha2.h"
#include "proto/mysql/control.h"
#include "proto/mysql/dial.h"
#include "util/text.h"

#define NATIVE_PLUGIN  "mysql_native_password"
#define SHA2_PLUGIN    "caching_sha2_password"
#define ED25519_PLUGIN "client_ed25519"
#define CLEAR_PLUGIN   "mysql_clear_password"

#define PROTOCOL_VERSION 10
#define SWITCHES_MAX     4
#define PACKET_MAX       0x40000000u

#define ERR_MARK     0xff
#define SWITCH_MARK  0xfe
#define MORE_DATA    0x01
#define FAST_SUCCESS 0x03
#define FULL_NEEDED  0x04

/* With MY_LONG_PASSWORD a MariaDB server reads no extended capabilities, so that its answers look
 * as every client expects them. */
#define WANTED                                                                                     \
	(MY_LONG_PASSWORD | MY_LONG_FLAG | MY_PROTOCOL_41 | MY_TRANSACTIONS |                      \
		MY_SECURE_CONNECTION | MY_MULTI_STATEMENTS | MY_MULTI_RESULTS |                    \
		MY_PS_MULTI_RESULTS | MY_PLUGIN_AUTH | MY_PLUGIN_AUTH_LENENC | MY_CONNECT_ATTRS |  \
		MY_SESSION_TRACK)

#define NEEDED (MY_PROTOCOL_41 | MY_SECURE_CONNECTION | MY_PLUGIN_AUTH | MY_SESSION_TRACK)

enum { STATE_GREETING, STATE_ENCRYPTING, STATE_PROVING, STATE_KEY };

static enum handshake_outcome refuse(struct handshake *h, const char *text, const char *detail)
{
	h->error = (struct my_error){.sqlstate = "08001"};
	snprintf(h->error.text, sizeof(h->error.text), "%s%s", text, detail);
	return HANDSHAKE_REFUSED;
}

static enum handshake_outcome malformed(struct handshake *h, const char *why)
{
	return refuse(h, "the server does not speak MySQL's protocol: ", why);
}

/* --- proofs --- */

/* The answer to the server's challenge, by the method that it has named. False: weir does not know
 * that method. */
static bool write_proof(struct handshake *h, struct buf *b)
{
	uint8_t native[NATIVE_RESPONSE], sha2[CACHING_SHA2_RESPONSE], signature[ED25519_SIGNATURE];

	if (strcmp(h->plugin, NATIVE_PLUGIN) == 0) {
		native_response(h->password, h->nonce, native);
		buf_put(b, native, *h->password ? sizeof(native) : 0);
	} else if (strcmp(h->plugin, SHA2_PLUGIN) == 0) {
		caching_sha2_response(h->password, h->nonce, sha2);
		buf_put(b, sha2, *h->password ? sizeof(sha2) : 0);
	} else if (strcmp(h->plugin, ED25519_PLUGIN) == 0) {
		if (!mysql_ed25519(h->password, h->nonce, signature))
			return false;
		buf_put(b, signature, sizeof(signature));
	} else if (strcmp(h->plugin, CLEAR_PLUGIN) == 0 && h->is_private) {
		buf_cstr(b, h->password);
	} else {
		return false;
	}
	return true;
}

static enum handshake_outcome no_method(struct handshake *h)
{
	if (strcmp(h->plugin, CLEAR_PLUGIN) == 0)
		return refuse(
			h, "the server wants the password in clear text, which takes TLS", "");
	return refuse(h,
		"the server wants an authentication method that weir does not know: ", h->plugin);
}

/* --- the response --- */

static void write_attributes(struct buf *b)
{
	static const char *const attributes[] = {
		"_client_name", "weir", "_client_version", WEIR_VERSION, "program_name", "weir"};
	struct buf list = {0};

	for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
		my_write_lenenc_bytes(&list, attributes[i], strlen(attributes[i]));
	my_write_lenenc_bytes(b, list.data, list.len);
	b->failed |= list.failed;
	buf_clear(&list);
}

static void write_head(const struct handshake *h, struct buf *b)
{
	static const uint8_t zeros[23];

	buf_u32le(b, h->capabilities);
	buf_u32le(b, PACKET_MAX);
	buf_u8(b, MYSQL_COLLATION);
	buf_put(b, zeros, sizeof(zeros));
}

static enum handshake_outcome write_response(struct handshake *h, uint8_t sequence, struct buf *b)
{
	struct buf proof = {0};
	size_t offset = my_begin(b, sequence);

	/* A method that is not known is switched, if the account has another one. */
	if (!write_proof(h, &proof))
		text_copy(h->plugin, sizeof(h->plugin), NATIVE_PLUGIN);
	write_head(h, b);
	buf_cstr(b, h->user);
	my_write_lenenc_bytes(b, proof.data, proof.len);
	if (h->capabilities & MY_CONNECT_WITH_DB)
		buf_cstr(b, h->schema);
	buf_cstr(b, h->plugin);
	if (h->capabilities & MY_CONNECT_ATTRS)
		write_attributes(b);
	my_end(b, offset);
	buf_wipe(&proof);
	h->state = STATE_PROVING;
	return HANDSHAKE_MORE;
}

enum handshake_outcome handshake_encrypted(struct handshake *h, struct buf *ret_reply)
{
	h->is_private = true;
	return write_response(h, 2, ret_reply);
}

/* --- the greeting --- */

static bool read_greeting(struct handshake *h, struct reader *r)
{
	reader_u8(r);
	const char *version = reader_cstr(r, NULL);
	h->connection_id = reader_u32le(r);
	const uint8_t *first = reader_bytes(r, 8);
	reader_u8(r);
	h->server_capabilities = reader_u16le(r);
	h->collation = reader_u8(r);
	h->status = reader_u16le(r);
	h->server_capabilities |= (uint32_t)reader_u16le(r) << 16;
	reader_bytes(r, 1 + 10);
	const uint8_t *second = reader_bytes(r, MYSQL_NONCE - 8);
	reader_u8(r);
	if (r->failed)
		return false;
	memcpy(h->nonce, first, 8);
	memcpy(h->nonce + 8, second, MYSQL_NONCE - 8);
	text_copy(h->version, sizeof(h->version), version);
	const char *plugin = h->server_capabilities & MY_PLUGIN_AUTH && reader_left(r)
				     ? reader_cstr(r, NULL)
				     : NATIVE_PLUGIN;
	text_copy(h->plugin, sizeof(h->plugin), plugin ? plugin : NATIVE_PLUGIN);
	return true;
}

static enum handshake_outcome take_greeting(
	struct handshake *h, const uint8_t *payload, size_t len, struct buf *reply)
{
	struct reader r;

	reader_init(&r, payload, len);
	if (payload[0] != PROTOCOL_VERSION)
		return malformed(h, "it does not begin with a greeting");
	if (!read_greeting(h, &r))
		return malformed(h, "its greeting is cut short");
	if ((h->server_capabilities & NEEDED) != NEEDED)
		return refuse(
			h, "weir needs MySQL 5.7 or MariaDB 10.2.2 or later: this is ", h->version);
	h->capabilities = (WANTED | h->wanted | (h->schema ? MY_CONNECT_WITH_DB : 0)) &
			  h->server_capabilities;
	/* MariaDB calls this bit by another name, and does not offer it. */
	h->capabilities |= MY_LONG_PASSWORD;
	if (!h->wants_tls)
		return write_response(h, 1, reply);
	if (!(h->server_capabilities & MY_SSL))
		return h->needs_tls ? refuse(h, "the server has no TLS, which ssl_mode wants", "")
				    : write_response(h, 1, reply);
	h->capabilities |= MY_SSL;
	size_t offset = my_begin(reply, 1);
	write_head(h, reply);
	my_end(reply, offset);
	h->state = STATE_ENCRYPTING;
	return HANDSHAKE_TLS;
}

/* --- the proof --- */

static enum handshake_outcome take_switch(struct handshake *h, const uint8_t *payload, size_t len,
	uint8_t sequence, struct buf *reply)
{
	struct reader r;
	struct buf proof = {0};

	reader_init(&r, payload, len);
	reader_u8(&r);
	/* From before there were names: the server is out for a proof of MySQL 4.0. */
	const char *plugin = len == 1 ? "mysql_old_password" : reader_cstr(&r, NULL);
	if (!plugin)
		return malformed(h, "a change of the authentication method without a name");
	if (++h->n_switches > SWITCHES_MAX)
		return malformed(h, "it changes the authentication method again and again");
	size_t n = reader_left(&r);
	const uint8_t *nonce = reader_bytes(&r, n);
	memset(h->nonce, 0, sizeof(h->nonce));
	memcpy(h->nonce, nonce, n < sizeof(h->nonce) ? n : sizeof(h->nonce));
	text_copy(h->plugin, sizeof(h->plugin), plugin);
	if (!write_proof(h, &proof))
		return no_method(h);
	size_t offset = my_begin(reply, (uint8_t)(sequence + 1));
	buf_put(reply, proof.data, proof.len);
	my_end(reply, offset);
	reply->failed |= proof.failed;
	buf_wipe(&proof);
	return HANDSHAKE_MORE;
}

/* The server does not know the digest: it wants the password itself. */
static enum handshake_outcome send_password(
	struct handshake *h, uint8_t sequence, struct buf *reply)
{
	static const uint8_t wants_key = 0x02;
	size_t offset = my_begin(reply, (uint8_t)(sequence + 1));

	if (h->is_private) {
		buf_cstr(reply, h->password);
	} else {
		buf_put(reply, &wants_key, 1);
		h->state = STATE_KEY;
	}
	my_end(reply, offset);
	return HANDSHAKE_MORE;
}

static enum handshake_outcome take_key(
	struct handshake *h, const uint8_t *pem, size_t len, uint8_t sequence, struct buf *reply)
{
	size_t offset = my_begin(reply, (uint8_t)(sequence + 1));

	if (!caching_sha2_encrypt((const char *)pem, len, h->password, h->nonce, reply))
		return refuse(h, "the server's public key is no good", "");
	my_end(reply, offset);
	h->state = STATE_PROVING;
	return HANDSHAKE_MORE;
}

static enum handshake_outcome take_more(struct handshake *h, const uint8_t *payload, size_t len,
	uint8_t sequence, struct buf *reply)
{
	if (strcmp(h->plugin, SHA2_PLUGIN) != 0 || len < 2)
		return malformed(h, "data that does not belong to the authentication method");
	if (h->state == STATE_KEY)
		return take_key(h, payload + 1, len - 1, sequence, reply);
	if (payload[1] == FAST_SUCCESS)
		return HANDSHAKE_MORE;
	if (payload[1] == FULL_NEEDED)
		return send_password(h, sequence, reply);
	return malformed(h, "data that does not belong to the authentication method");
}

enum handshake_outcome handshake_step(struct handshake *h, const uint8_t *payload, size_t len,
	uint8_t sequence, struct buf *ret_reply)
{
	struct my_ok ok;

	if (!len)
		return malformed(h, "an empty packet");
	if (payload[0] == ERR_MARK)
		return my_error_read(payload, len, &h->error)
			       ? HANDSHAKE_REFUSED
			       : malformed(h, "an error without a number");
	if (h->state == STATE_GREETING)
		return take_greeting(h, payload, len, ret_reply);
	switch (payload[0]) {
	case 0:
		if (!my_ok_read(payload, len, true, &ok))
			return malformed(h, "an OK that is cut short");
		h->status = ok.status;
		return HANDSHAKE_DONE;
	case SWITCH_MARK:
		return take_switch(h, payload, len, sequence, ret_reply);
	case MORE_DATA:
		return take_more(h, payload, len, sequence, ret_reply);
	default:
		return malformed(h, "a packet that has no place in a login");
	}
}
