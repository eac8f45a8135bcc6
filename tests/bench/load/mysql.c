/* A client of MySQL and MariaDB: no CLIENT_DEPRECATE_EOF, so that an answer ends the same way
 * everywhere. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define CLIENT_SSL 0x800U
#define CAPABILITIES                                                                               \
	0x000fa20dU /* long password and flags, database, 4.1, transactions, plugins, results */
#define COM_QUERY   3
#define COM_PREPARE 22
#define COM_EXECUTE 23
#define UTF8MB4     45

struct packet {
	uint8_t sequence;
	size_t len;
	uint8_t data[8192]; /* and a zero */
};

static void receive(struct client *client, struct packet *ret)
{
	uint8_t head[4];

	io_receive(client, head, 4);
	ret->len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
	ret->sequence = head[3];
	if (ret->len >= sizeof(ret->data))
		fail("a packet of %zu bytes during the login", ret->len);
	io_receive(client, ret->data, ret->len);
	ret->data[ret->len] = 0;
	if (ret->len > 9 && ret->data[0] == 0xff)
		fail("login: %s", (char *)ret->data + 3);
}

static void send_packet(struct client *client, uint8_t sequence, const void *data, size_t len)
{
	uint8_t message[2048] = {(uint8_t)len, (uint8_t)(len >> 8), 0, sequence};

	if (len > sizeof(message) - 4)
		fail("a packet too long to send");
	memcpy(message + 4, data, len);
	io_send(client, message, len + 4);
}

/* --- login --- */

static void digest(
	const EVP_MD *md, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t *ret)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	EVP_DigestInit(context, md);
	EVP_DigestUpdate(context, a, a_len);
	EVP_DigestUpdate(context, b, b_len);
	EVP_DigestFinal(context, ret, NULL);
	EVP_MD_CTX_free(context);
}

/* Returns the length of the proof. */
static uint8_t prove(
	const char *plugin, const char *password, const uint8_t *scramble, uint8_t *ret)
{
	uint8_t once[32], twice[32], mask[32];
	bool native = !strcmp(plugin, "mysql_native_password");
	const EVP_MD *md = native ? EVP_sha1() : EVP_sha256();
	size_t len = native ? 20 : 32;

	if (!native && strcmp(plugin, "caching_sha2_password") != 0)
		return 0;
	digest(md, password, strlen(password), "", 0, once);
	digest(md, once, len, "", 0, twice);
	if (native)
		digest(md, scramble, 20, twice, len, mask);
	else
		digest(md, twice, len, scramble, 20, mask);
	for (size_t i = 0; i < len; i++)
		ret[i] = once[i] ^ mask[i];
	return (uint8_t)len;
}

static void start_tls(struct client *client, SSL_CTX *context, uint8_t *response)
{
	send_packet(client, 1, response, 32);
	client->tls = SSL_new(context);
	SSL_set_fd(client->tls, client->fd);
	if (SSL_connect(client->tls) != 1)
		fail("login: TLS could not be started");
}

/* Without TLS the password goes encrypted with the server's RSA key. Returns the length. */
static size_t encrypt(
	const struct packet *key, const char *password, const uint8_t *scramble, uint8_t *ret)
{
	BIO *bio = BIO_new_mem_buf(key->data + 1, (int)key->len - 1);
	EVP_PKEY *rsa = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
	EVP_PKEY_CTX *context = rsa ? EVP_PKEY_CTX_new(rsa, NULL) : NULL;
	uint8_t plain[256];
	size_t len = strlen(password) + 1, ret_len = 512;

	for (size_t i = 0; i < len; i++)
		plain[i] = (uint8_t)password[i] ^ scramble[i % 20];
	if (!context || EVP_PKEY_encrypt_init(context) <= 0 ||
		EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
		EVP_PKEY_encrypt(context, ret, &ret_len, plain, len) <= 0)
		fail("login: the server's RSA key is of no use");
	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(rsa);
	BIO_free(bio);
	return ret_len;
}

static void prove_in_full(
	struct client *client, uint8_t sequence, const char *password, const uint8_t *scramble)
{
	struct packet key;
	uint8_t secret[512];

	if (client->tls) {
		send_packet(client, sequence, password, strlen(password) + 1);
		return;
	}
	send_packet(client, sequence, "\2", 1);
	receive(client, &key);
	size_t len = encrypt(&key, password, scramble, secret);
	send_packet(client, (uint8_t)(key.sequence + 1), secret, len);
}

static void finish_login(struct client *client, const char *password, uint8_t *scramble)
{
	struct packet p;
	uint8_t proof[32];

	for (receive(client, &p); p.data[0] != 0; receive(client, &p)) {
		uint8_t next = (uint8_t)(p.sequence + 1);
		if (p.data[0] == 0xfe) {
			const char *plugin = (char *)p.data + 1;
			memcpy(scramble, plugin + strlen(plugin) + 1, 20);
			send_packet(client, next, proof, prove(plugin, password, scramble, proof));
		} else if (p.data[0] == 1 && p.data[1] == 4) {
			prove_in_full(client, next, password, scramble);
		} else if (p.data[0] != 1 || p.data[1] != 3) {
			fail("login: a packet that begins with %u", p.data[0]);
		}
	}
}

static void authenticate(struct client *client, const struct account *account)
{
	struct packet greeting;
	uint8_t scramble[20], response[512] = {0}, *end = response + 32;

	receive(client, &greeting);
	const uint8_t *at = greeting.data + 1 + strlen((char *)greeting.data + 1) + 1 + 4;
	const char *plugin = (const char *)at + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10 + 13;
	if ((const uint8_t *)plugin >= greeting.data + greeting.len)
		fail("login: a greeting too short");
	memcpy(scramble, at, 8);
	memcpy(scramble + 8, plugin - 13, 12);
	uint32_t capabilities = CAPABILITIES | (account->tls ? CLIENT_SSL : 0);
	for (int i = 0; i < 4; i++)
		response[i] = (uint8_t)(capabilities >> (8 * i));
	response[7] = 4; /* packets of 64 MB */
	response[8] = UTF8MB4;
	if (account->tls)
		start_tls(client, account->tls, response);
	end += snprintf((char *)end, 100, "%s", account->user) + 1;
	*end = prove(plugin, account->password, scramble, end + 1);
	end += *end + 1;
	end += snprintf((char *)end, 100, "%s", account->database) + 1;
	end += snprintf((char *)end, 100, "%s", plugin) + 1;
	send_packet(client, account->tls ? 2 : 1, response, (size_t)(end - response));
	finish_login(client, account->password, scramble);
}

/* The statement has one parameter and one column. */
static void prepare(struct client *client)
{
	static const char command[] = "\x16select c from sbtest1 where id = ?";
	struct packet p;

	send_packet(client, 0, command, sizeof(command) - 1);
	receive(client, &p);
	client->statement = p.data[1] | (uint32_t)p.data[2] << 8 | (uint32_t)p.data[3] << 16 |
			    (uint32_t)p.data[4] << 24;
	for (int n_eof = 0; n_eof < 2;) {
		receive(client, &p);
		n_eof += p.data[0] == 0xfe && p.len < 9;
	}
}

static void login(struct client *client, const struct account *account, const struct work *work)
{
	client->fd = io_connect(account->port);
	authenticate(client, account);
	if (work->kind == PREPARED)
		prepare(client);
}

static void leave(struct client *client)
{
	io_send(client, "\1\0\0\0\1", 5);
	SSL_free(client->tls);
	client->tls = NULL;
	close(client->fd);
}

/* --- the work --- */

static size_t build(struct client *client, const struct work *work, uint8_t *ret)
{
	char buffer[256];
	uint8_t *payload = ret + 4;
	size_t len;

	if (work->kind == PREPARED) {
		uint32_t row = work_row(work);
		memset(payload, 0, 18);
		payload[0] = COM_EXECUTE;
		for (int i = 0; i < 4; i++) {
			payload[1 + i] = (uint8_t)(client->statement >> (8 * i));
			payload[14 + i] = (uint8_t)(row >> (8 * i));
		}
		payload[6] = 1;  /* iterations */
		payload[11] = 1; /* types follow */
		payload[12] = 3; /* int */
		len = 18;
	} else {
		const char *sql = work_sql(work, client->step, buffer, sizeof(buffer));
		payload[0] = COM_QUERY;
		len = strlen(sql) + 1;
		memcpy(payload + 1, sql, len - 1);
	}
	ret[0] = (uint8_t)len;
	ret[1] = (uint8_t)(len >> 8);
	ret[2] = ret[3] = 0;
	return len + 4;
}

/* Whether the packet that begins so is the last of the answer. */
static bool ends_answer(struct answer *answer, uint32_t len)
{
	if (answer->first == 0xff) {
		answer->failed = true;
		return true;
	}
	if (!answer->begun) {
		answer->begun = answer->first != 0;
		answer->n_eof = 0;
		return !answer->begun;
	}
	if (answer->first == 0xfe && len < 9)
		answer->n_eof++;
	return answer->n_eof == 2;
}

static void take_body(struct answer *answer, const uint8_t *data, size_t n)
{
	for (size_t i = 0; answer->failed && i < n && answer->n_error < sizeof(answer->error) - 1;
		i++)
		answer->error[answer->n_error++] = (char)data[i];
	answer->skip -= (uint32_t)n;
	if (answer->failed && !answer->skip)
		fail("%s", answer->error + (answer->n_error > 3 ? 3 : 0));
}

static bool consume(struct client *client, const struct work *work, const uint8_t *data, size_t len)
{
	struct answer *answer = &client->answer;
	for (size_t at = 0; at < len;) {
		if (answer->skip) {
			size_t n = len - at < answer->skip ? len - at : answer->skip;
			take_body(answer, data + at, n);
			at += n;
			continue;
		}
		if (answer->n_head < 4) {
			answer->head[answer->n_head++] = data[at++];
			if (answer->n_head < 4)
				continue;
		}
		uint32_t size = answer->head[0] | (uint32_t)answer->head[1] << 8 |
				(uint32_t)answer->head[2] << 16;
		if (size && at == len)
			break; /* the first byte of the payload is not there yet */
		answer->first = size ? data[at] : 0;
		answer->n_head = 0;
		answer->skip = size;
		bool whole = !answer->continued;
		answer->continued = size == 0xffffff;
		if (whole && ends_answer(answer, size))
			answer->last = true;
	}
	if (!answer->last || answer->skip)
		return false;
	answer->begun = answer->last = false;
	return true;
}

const struct protocol load_mysql = {login, build, consume, leave};
