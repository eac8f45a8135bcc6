/*
 * The client's login ("Connection Phase"): weir's greeting, the client's answer, a switch of the
 * method where the account's secret wants another one, and the proof. The account itself is looked
 * up by the session in between. Writes the final OK only when the session has let the client in
 * (mysql.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/caching_sha2.h"
#include "auth/native_password.h"
#include "auth/secret.h"
#include "proto/mysql/state.h"
#include "util/random.h"
#include "util/text.h"

#define NATIVE_PLUGIN "mysql_native_password"
#define SHA2_PLUGIN   "caching_sha2_password"

/* A login packet: MySQL's own clients send some hundred bytes. */
#define LOGIN_PACKET_MAX 65536
#define RESPONSE_MAX     512

/* AuthMoreData of caching_sha2_password. */
#define MORE_DATA    0x01
#define FAST_SUCCESS 0x03
#define FULL_NEEDED  0x04
#define WANTS_KEY    0x02

#define SWITCH_MARK 0xfe

#define OFFERED                                                                                    \
	(MY_LONG_PASSWORD | MY_FOUND_ROWS | MY_LONG_FLAG | MY_CONNECT_WITH_DB | MY_ODBC |          \
		MY_LOCAL_FILES | MY_IGNORE_SPACE | MY_PROTOCOL_41 | MY_INTERACTIVE |               \
		MY_IGNORE_SIGPIPE | MY_TRANSACTIONS | MY_RESERVED | MY_SECURE_CONNECTION |         \
		MY_MULTI_STATEMENTS | MY_MULTI_RESULTS | MY_PS_MULTI_RESULTS | MY_PLUGIN_AUTH |    \
		MY_CONNECT_ATTRS | MY_PLUGIN_AUTH_LENENC | MY_CAN_HANDLE_EXPIRED_PASSWORDS |       \
		MY_SESSION_TRACK)

/* What is greeted with before any server was seen. */
#define UNKNOWN_VERSION "8.0.0-weir"

enum login_state {
	LOGIN_RESPONSE, /* the client's handshake response */
	LOGIN_SWITCHED, /* its answer to a switch of the method */
	LOGIN_FULL,     /* its password, or its wish for a key */
	LOGIN_PASSWORD, /* its password, encrypted */
	LOGIN_OVER,
};

struct my_login {
	enum login_state state;
	bool again;   /* COM_CHANGE_USER */
	bool is_sha2; /* the method in use */
	uint8_t nonce[MYSQL_NONCE];
	uint8_t collation;
	char plugin[64]; /* the method that the response was made by */
	size_t response_len;
	uint8_t response[RESPONSE_MAX];
	char *secret; /* NULL: there is no such account */
};

/* What an account with a stored hash has proved in full once: its digest is known from then on. */
struct digest {
	struct map_node node;
	char *secret;
	uint8_t digest[CACHING_SHA2_DIGEST];
};

void my_login_free(struct my_login *login)
{
	if (!login)
		return;
	if (login->secret)
		explicit_bzero(login->secret, strlen(login->secret));
	free(login->secret);
	explicit_bzero(login, sizeof(*login));
	free(login);
}

static struct my_login *login_new(void)
{
	struct my_login *login = calloc(1, sizeof(*login));

	if (!login)
		return NULL;
	/* Neither NUL nor $ may stand in it. */
	random_bytes(login->nonce, sizeof(login->nonce));
	for (size_t i = 0; i < sizeof(login->nonce); i++) {
		login->nonce[i] &= 0x7f;
		if (!login->nonce[i] || login->nonce[i] == '$')
			login->nonce[i] = 'w';
	}
	return login;
}

/* --- digests --- */

static bool digest_equal(const struct map_node *node, const void *key)
{
	return strcmp(container_of(node, struct digest, node)->secret, key) == 0;
}

static struct digest *digest_find(const struct proto_worker *worker, const char *secret)
{
	struct map_node *node = map_find(&worker->digests, hash_text(secret), digest_equal, secret);

	return node ? container_of(node, struct digest, node) : NULL;
}

static void digest_remember(struct proto_worker *worker, const char *secret, const char *password)
{
	struct digest *d = digest_find(worker, secret);

	if (d)
		return;
	d = calloc(1, sizeof(*d));
	char *copy = d ? strdup(secret) : NULL;
	if (!copy || map_insert(&worker->digests, &d->node, hash_text(secret)) < 0) {
		free(copy);
		free(d);
		return;
	}
	d->secret = copy;
	caching_sha2_digest(password, d->digest);
}

void my_digests_clear(struct proto_worker *worker)
{
	struct map_node *node;

	while ((node = map_next(&worker->digests, NULL))) {
		struct digest *d = container_of(node, struct digest, node);
		map_remove(&worker->digests, node);
		free(d->secret);
		explicit_bzero(d->digest, sizeof(d->digest));
		free(d);
	}
	map_clear(&worker->digests);
}

/* --- the greeting --- */

static bool is_mariadb(const struct my_greeting *greeting)
{
	return greeting->version && strstr(greeting->version, "MariaDB");
}

void my_login_greet(struct my_front *front, struct output *to_client)
{
	const struct my_greeting *greeting = &front->worker->greeting;
	struct buf b = {0};
	static const uint8_t zeros[10];

	front->login = login_new();
	if (!front->login) {
		to_client->failed = true;
		return;
	}
	size_t offset = my_begin(&b, 0);
	buf_u8(&b, 10);
	buf_cstr(&b, greeting->version ? greeting->version : UNKNOWN_VERSION);
	buf_u32le(&b, front->base.key.id);
	buf_put(&b, front->login->nonce, 8);
	buf_u8(&b, 0);
	buf_u16le(&b, (uint16_t)OFFERED);
	buf_u8(&b, greeting->collation);
	buf_u16le(&b, greeting->status);
	buf_u16le(&b, (uint16_t)(OFFERED >> 16));
	buf_u8(&b, MYSQL_NONCE + 1);
	buf_put(&b, zeros, sizeof(zeros));
	buf_put(&b, front->login->nonce + 8, MYSQL_NONCE - 8);
	buf_u8(&b, 0);
	buf_cstr(&b, is_mariadb(greeting) ? NATIVE_PLUGIN : SHA2_PLUGIN);
	my_end(&b, offset);
	my_send_buf(to_client, &b);
}

/* --- the client's response --- */

static bool keep_response(struct my_login *login, const uint8_t *bytes, size_t len)
{
	if (len > RESPONSE_MAX)
		return false;
	if (len)
		memcpy(login->response, bytes, len);
	login->response_len = len;
	return true;
}

static const uint8_t *read_response(struct reader *r, uint32_t capabilities, size_t *ret_len)
{
	if (capabilities & MY_PLUGIN_AUTH_LENENC)
		return my_read_lenenc_bytes(r, ret_len);
	if (capabilities & MY_SECURE_CONNECTION) {
		*ret_len = reader_u8(r);
		return reader_bytes(r, *ret_len);
	}
	return (const uint8_t *)reader_cstr(r, ret_len);
}

/* Protocol::HandshakeResponse41. */
static bool read_handshake(struct my_front *front, const uint8_t *payload, size_t len)
{
	struct my_login *login = front->login;
	struct reader r;
	size_t response_len = 0;
	const char *database = NULL, *plugin = NULL;

	reader_init(&r, payload, len);
	uint32_t capabilities = reader_u32le(&r);
	reader_u32le(&r); /* the longest packet that the client takes */
	login->collation = reader_u8(&r);
	reader_bytes(&r, 23);
	const char *user = reader_cstr(&r, NULL);
	const uint8_t *response = read_response(&r, capabilities, &response_len);
	if (capabilities & MY_CONNECT_WITH_DB)
		database = reader_cstr(&r, NULL);
	/* What follows is left out by some although they announce it. */
	if (capabilities & MY_PLUGIN_AUTH && reader_left(&r))
		plugin = reader_cstr(&r, NULL);
	if (r.failed || !(capabilities & MY_PROTOCOL_41) ||
		!keep_response(login, response, response_len))
		return false;
	front->capabilities = capabilities & OFFERED;
	text_copy(login->plugin, sizeof(login->plugin), plugin && *plugin ? plugin : NATIVE_PLUGIN);
	return front_set_names(&front->base, user, database ? database : "");
}

bool my_login_again(struct my_front *front, const uint8_t *payload, size_t len)
{
	struct reader r;

	my_login_free(front->login);
	front->login = login_new();
	if (!front->login)
		return false;
	struct my_login *login = front->login;
	login->again = true;
	reader_init(&r, payload, len);
	const char *user = reader_cstr(&r, NULL);
	size_t response_len = reader_u8(&r);
	reader_bytes(&r, response_len);
	const char *database = reader_cstr(&r, NULL);
	uint16_t collation = reader_left(&r) >= 2 ? reader_u16le(&r) : MYSQL_COLLATION;
	login->collation = (uint8_t)collation;
	/* Its response belongs to a nonce of old: it is asked again. */
	text_copy(login->plugin, sizeof(login->plugin), "");
	return !r.failed && front_set_names(&front->base, user, database ? database : "");
}

unsigned my_login_collation(const struct my_login *login)
{
	return login->collation;
}

/* --- the proof --- */

static enum front_verdict refuse(struct my_front *front, struct output *to_client)
{
	struct refusal refusal;
	char user[100];

	refusal_set(&refusal, REASON_BAD_PASSWORD, NULL);
	text_copy(user, sizeof(user), front->base.user);
	snprintf(refusal.text, sizeof(refusal.text),
		"Access denied for user '%s' (using password: %s)", user,
		front->login->response_len ? "YES" : "NO");
	my_send_refusal(to_client, (uint8_t)(front->sequence + 1), &refusal);
	front->base.reason = REASON_BAD_PASSWORD;
	front->phase = MY_PHASE_ENDED;
	return FRONT_CLOSE;
}

static enum front_verdict proved(struct my_front *front)
{
	front->login->state = LOGIN_OVER;
	front->phase = MY_PHASE_PROVED;
	return FRONT_FLUSH;
}

static void send_more(
	struct my_front *front, const void *data, size_t len, struct output *to_client)
{
	struct buf b = {0};
	size_t offset = my_begin(&b, ++front->sequence);

	buf_u8(&b, MORE_DATA);
	buf_put(&b, data, len);
	my_end(&b, offset);
	my_send_buf(to_client, &b);
}

static enum front_verdict switch_to(struct my_front *front, bool sha2, struct output *to_client)
{
	struct my_login *login = front->login;
	struct buf b = {0};
	size_t offset = my_begin(&b, ++front->sequence);

	login->is_sha2 = sha2;
	buf_u8(&b, SWITCH_MARK);
	buf_cstr(&b, sha2 ? SHA2_PLUGIN : NATIVE_PLUGIN);
	buf_put(&b, login->nonce, sizeof(login->nonce));
	buf_u8(&b, 0);
	my_end(&b, offset);
	my_send_buf(to_client, &b);
	login->state = LOGIN_SWITCHED;
	front->phase = MY_PHASE_LOGIN;
	return FRONT_MORE;
}

static bool sha2_response_valid(
	const struct my_login *login, const uint8_t digest[CACHING_SHA2_DIGEST])
{
	return caching_sha2_response_valid(
		digest, login->nonce, login->response, login->response_len);
}

static enum front_verdict judge_sha2(struct my_front *front, struct output *to_client)
{
	struct my_login *login = front->login;
	uint8_t digest[CACHING_SHA2_DIGEST];
	const uint8_t fast = FAST_SUCCESS, full = FULL_NEEDED;
	bool valid = false;

	if (secret_kind(login->secret) == SECRET_PLAIN) {
		caching_sha2_digest(login->secret, digest);
		/* An empty password is proved by an empty response. */
		valid = *login->secret ? sha2_response_valid(login, digest)
				       : login->response_len == 0 ||
						 (login->response_len == 1 && !login->response[0]);
		explicit_bzero(digest, sizeof(digest));
		if (!valid)
			return refuse(front, to_client);
	} else {
		const struct digest *known = digest_find(front->worker, login->secret);
		valid = known && sha2_response_valid(login, known->digest);
	}
	if (valid) {
		if (login->response_len > 1)
			send_more(front, &fast, 1, to_client);
		return proved(front);
	}
	send_more(front, &full, 1, to_client);
	login->state = LOGIN_FULL;
	front->phase = MY_PHASE_LOGIN;
	return FRONT_MORE;
}

static enum front_verdict judge(struct my_front *front, struct output *to_client)
{
	struct my_login *login = front->login;

	if (!login->secret)
		return refuse(front, to_client);
	if (login->is_sha2)
		return judge_sha2(front, to_client);
	if (!native_response_valid(
		    login->secret, login->nonce, login->response, login->response_len))
		return refuse(front, to_client);
	return proved(front);
}

static bool can_prove_native(enum secret_kind kind)
{
	return kind == SECRET_PLAIN || kind == SECRET_NATIVE || kind == SECRET_NONE;
}

static bool can_prove_sha2(enum secret_kind kind)
{
	return kind == SECRET_PLAIN || kind == SECRET_CACHING_SHA2 || kind == SECRET_NONE;
}

/* The account is known, or known not to exist: by which method is it to prove itself? */
static enum front_verdict choose(struct my_front *front, struct output *to_client)
{
	struct my_login *login = front->login;
	enum secret_kind kind = secret_kind(login->secret);
	bool is_sha2 = strcmp(login->plugin, SHA2_PLUGIN) == 0;
	bool is_native = strcmp(login->plugin, NATIVE_PLUGIN) == 0;

	if ((is_sha2 && can_prove_sha2(kind)) || (is_native && can_prove_native(kind))) {
		login->is_sha2 = is_sha2;
		return judge(front, to_client);
	}
	if (!can_prove_native(kind) && !can_prove_sha2(kind))
		return refuse(front, to_client);
	bool prefers_sha2 = !is_mariadb(&front->worker->greeting);
	return switch_to(
		front, prefers_sha2 ? can_prove_sha2(kind) : !can_prove_native(kind), to_client);
}

void my_login_identify(struct my_front *front, const char *secret)
{
	front->login->secret = secret ? strdup(secret) : NULL;
	front->phase = MY_PHASE_LOGIN;
	front->identified = true;
}

/* Full authentication: the password itself, encrypted with weir's key or not. */
static enum front_verdict judge_password(
	struct my_front *front, const char *password, struct output *to_client)
{
	struct my_login *login = front->login;

	if (!login->secret || !caching_sha2_stored_valid(login->secret, password))
		return refuse(front, to_client);
	digest_remember(front->worker, login->secret, password);
	return proved(front);
}

static enum front_verdict take_full(
	struct my_front *front, const uint8_t *payload, size_t len, struct output *to_client)
{
	const char *key = caching_sha2_public_key();

	if (len == 1 && payload[0] == WANTS_KEY && key) {
		send_more(front, key, strlen(key), to_client);
		front->login->state = LOGIN_PASSWORD;
		return FRONT_MORE;
	}
	if (!len || payload[len - 1])
		return refuse(front, to_client);
	return judge_password(front, (const char *)payload, to_client);
}

static enum front_verdict take_encrypted(
	struct my_front *front, const uint8_t *payload, size_t len, struct output *to_client)
{
	char *password;

	if (!caching_sha2_decrypt(payload, len, front->login->nonce, &password))
		return refuse(front, to_client);
	enum front_verdict verdict = judge_password(front, password, to_client);
	explicit_bzero(password, strlen(password));
	free(password);
	return verdict;
}

static enum front_verdict malformed(struct my_front *front, struct output *to_client)
{
	return my_front_end(front, REASON_BAD_STARTUP, NULL, to_client);
}

static enum front_verdict take_response(
	struct my_front *front, const uint8_t *payload, size_t len, struct output *to_client)
{
	struct reader r;

	reader_init(&r, payload, len);
	if (len == 32 && reader_u32le(&r) & MY_SSL)
		return my_front_end(front, REASON_BAD_STARTUP,
			"connections are not encrypted: turn TLS off in the client", to_client);
	if (!read_handshake(front, payload, len))
		return malformed(front, to_client);
	front->phase = MY_PHASE_IDENTIFY;
	return FRONT_FLUSH;
}

enum front_verdict my_login_from_client(
	struct my_front *front, struct input *in, struct output *to_client)
{
	struct my_login *login = front->login;
	struct my_header h;

	if (front->identified) {
		front->identified = false;
		return choose(front, to_client);
	}
	if (!my_header_read(in, &h))
		return FRONT_MORE;
	if (h.len > LOGIN_PACKET_MAX)
		return malformed(front, to_client);
	if (in->len < MY_HEADER + h.len)
		return FRONT_MORE;
	if (h.sequence != (uint8_t)(front->sequence + 1))
		return my_front_end(front, REASON_BAD_STARTUP, "packets out of order", to_client);
	front->sequence = h.sequence;
	const uint8_t *payload = in->data + MY_HEADER;
	input_skip(in, MY_HEADER + h.len);
	switch (login->state) {
	case LOGIN_RESPONSE:
		return take_response(front, payload, h.len, to_client);
	case LOGIN_SWITCHED:
		if (!keep_response(login, payload, h.len))
			return malformed(front, to_client);
		return judge(front, to_client);
	case LOGIN_FULL:
		return take_full(front, payload, h.len, to_client);
	case LOGIN_PASSWORD:
		return take_encrypted(front, payload, h.len, to_client);
	case LOGIN_OVER:
		break;
	}
	return malformed(front, to_client);
}
