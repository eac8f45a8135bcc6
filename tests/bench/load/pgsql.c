/* A client of PostgreSQL. Rows are counted by nobody: what matters is where an answer ends. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define PIPELINE_DEPTH 32

/* --- messages --- */

static uint8_t *put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		*at++ = (uint8_t)(value >> (24 - 8 * i));
	return at;
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put_message(uint8_t *at, char type, const void *content, size_t len)
{
	*at++ = (uint8_t)type;
	return put(put32(at, (uint32_t)len + 4), content, len);
}

/* Bind of one text parameter, Describe, Execute. `name` with its terminating byte. */
static uint8_t *put_execute(uint8_t *at, const char *name, uint32_t row)
{
	char value[16], content[64] = "";
	size_t len = (size_t)snprintf(value, sizeof(value), "%u", row);
	uint8_t *end = (uint8_t *)content + 1; /* the portal without a name */

	end = put(end, name, strlen(name) + 1);
	end = put(end, "\0\0\0\1", 4); /* no formats, one parameter */
	end = put(put32(end, (uint32_t)len), value, len);
	end = put(end, "\0", 2);
	at = put_message(at, 'B', content, (size_t)(end - (uint8_t *)content));
	at = put_message(at, 'D', "P", 2);
	return put_message(at, 'E', "\0\0\0\0", 5);
}

static uint8_t *put_parse(uint8_t *at, const char *name)
{
	char content[128];
	uint8_t *end = put((uint8_t *)content, name, strlen(name) + 1);
	static const char sql[] = "select abalance from pgbench_accounts where aid = $1";

	end = put(put(end, sql, sizeof(sql)), "\0", 2);
	return put_message(at, 'P', content, (size_t)(end - (uint8_t *)content));
}

/* --- login --- */

/* The last message; its content, with a zero after it, in `ret`. */
static char receive(struct client *client, uint8_t *ret, size_t size)
{
	uint8_t head[5];

	io_receive(client, head, 5);
	size_t len = get32(head + 1) - 4;
	if (len >= size)
		fail("a message of %zu bytes during the login", len);
	io_receive(client, ret, len);
	ret[len] = 0;
	if (head[0] == 'E') {
		for (size_t i = 0; i < len; i++)
			ret[i] = ret[i] ? ret[i] : ' ';
		fail("login: %s", (char *)ret);
	}
	return (char)head[0];
}

static void send_message(struct client *client, char type, const void *content, size_t len)
{
	uint8_t message[2048];

	if (len > sizeof(message) - 5)
		fail("a message too long to send");
	io_send(client, message, (size_t)(put_message(message, type, content, len) - message));
}

static void md5_hex(const void *a, size_t a_len, const void *b, size_t b_len, char *ret)
{
	uint8_t digest[16];
	EVP_MD_CTX *md5 = EVP_MD_CTX_new();

	EVP_DigestInit(md5, EVP_md5());
	EVP_DigestUpdate(md5, a, a_len);
	EVP_DigestUpdate(md5, b, b_len);
	EVP_DigestFinal(md5, digest, NULL);
	EVP_MD_CTX_free(md5);
	for (int i = 0; i < 16; i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

static void login_md5(struct client *client, const struct account *account, const uint8_t *salt)
{
	char inner[33], outer[36] = "md5";

	md5_hex(account->password, strlen(account->password), account->user, strlen(account->user),
		inner);
	md5_hex(inner, 32, salt, 4, outer + 3);
	send_message(client, 'p', outer, sizeof(outer));
}

static void hmac(const uint8_t *key, const void *data, size_t len, uint8_t *ret)
{
	HMAC(EVP_sha256(), key, 32, data, len, ret, NULL);
}

/* The costly part is the same each time: the generator's processor time is not what is to be
 * measured. */
static const uint8_t *salted(const char *password, const char *salt64, unsigned iterations)
{
	static char last[256];
	static uint8_t key[32];
	char what[256];
	uint8_t salt[192];

	snprintf(what, sizeof(what), "%s %u", salt64, iterations);
	if (strcmp(what, last) != 0) {
		size_t len = strlen(salt64), padding = 0;
		int n = EVP_DecodeBlock(salt, (const uint8_t *)salt64, (int)(len > 200 ? 0 : len));
		while (padding < 2 && len > padding && salt64[len - 1 - padding] == '=')
			padding++;
		PKCS5_PBKDF2_HMAC(password, -1, salt, n - (int)padding, (int)iterations,
			EVP_sha256(), 32, key);
		memcpy(last, what, sizeof(last));
	}
	return key;
}

static void login_scram(struct client *client, const struct account *account)
{
	uint8_t random[18], content[1024], client_key[32], stored_key[32], signature[32];
	char nonce[25], first[64], both[256], salt[200], final[400], text[1024];
	unsigned iterations;

	RAND_bytes(random, sizeof(random));
	EVP_EncodeBlock((uint8_t *)nonce, random, sizeof(random));
	int first_len = snprintf(first, sizeof(first), "n=,r=%s", nonce);
	uint8_t *end = put(content, "SCRAM-SHA-256", 14);
	end = put(put(put32(end, (uint32_t)first_len + 3), "n,,", 3), first, (size_t)first_len);
	send_message(client, 'p', content, (size_t)(end - content));
	if (receive(client, content, sizeof(content)) != 'R' || get32(content) != 11 ||
		sscanf((char *)content + 4, "r=%255[^,],s=%199[^,],i=%u", both, salt,
			&iterations) != 3)
		fail("login: not a SCRAM challenge");
	const uint8_t *key = salted(account->password, salt, iterations);
	hmac(key, "Client Key", 10, client_key);
	EVP_Digest(client_key, 32, stored_key, NULL, EVP_sha256(), NULL);
	int len =
		snprintf(text, sizeof(text), "%s,%s,c=biws,r=%s", first, (char *)content + 4, both);
	hmac(stored_key, text, (size_t)len, signature);
	for (int i = 0; i < 32; i++)
		client_key[i] ^= signature[i];
	len = snprintf(final, sizeof(final), "c=biws,r=%s,p=", both);
	len += EVP_EncodeBlock((uint8_t *) final + len, client_key, 32);
	send_message(client, 'p', final, (size_t)len);
}

static void authenticate(struct client *client, const struct account *account)
{
	uint8_t content[4096];
	char type;

	while ((type = receive(client, content, sizeof(content))) != 'Z') {
		if (type != 'R')
			continue;
		switch (get32(content)) {
		case 0:  /* done */
		case 12: /* the server's proof */
			break;
		case 3:
			send_message(client, 'p', account->password, strlen(account->password) + 1);
			break;
		case 5:
			login_md5(client, account, content + 4);
			break;
		case 10:
			login_scram(client, account);
			break;
		default:
			fail("login: method %u", get32(content));
		}
	}
}

static void login(struct client *client, const struct account *account, const struct work *work)
{
	uint8_t message[MESSAGE_MAX];
	int len = snprintf((char *)message + 8, 512, "user%c%s%cdatabase%c%s%c", 0, account->user,
		0, 0, account->database, 0);

	client->fd = io_connect(account->port);
	put32(put32(message, (uint32_t)len + 9), 196608);
	message[8 + len] = 0;
	io_send(client, message, (size_t)len + 9);
	authenticate(client, account);
	if (work->kind != PREPARED && work->kind != PIPELINE)
		return;
	uint8_t *end = put_message(put_parse(message, "point"), 'S', "", 0);
	io_send(client, message, (size_t)(end - message));
	while (receive(client, message, sizeof(message)) != 'Z')
		;
}

static void leave(struct client *client)
{
	io_send(client, "X\0\0\0\4", 5);
	close(client->fd);
}

/* --- the work --- */

static size_t build(struct client *client, const struct work *work, uint8_t *ret)
{
	char buffer[256];
	uint8_t *end = ret;

	switch (work->kind) {
	case EXTENDED:
		end = put_execute(put_parse(end, ""), "", work_row(work));
		break;
	case PREPARED:
		end = put_execute(end, "point", work_row(work));
		break;
	case PIPELINE:
		for (int i = 0; i < PIPELINE_DEPTH; i++)
			end = put_execute(end, "point", work_row(work));
		break;
	case SIMPLE:
	case TRANSACTION:
	case SQL:
	case COPY_IN: {
		const char *sql = work_sql(work, client->step, buffer, sizeof(buffer));
		end = put_message(end, 'Q', sql, strlen(sql) + 1);
		return (size_t)(end - ret);
	}
	}
	end = put_message(end, 'S', "", 0);
	return (size_t)(end - ret);
}

/* The server reads all of it before it says anything: no need to look for input meanwhile. */
static void copy_in(struct client *client, unsigned megabytes)
{
	static uint8_t data[65536 + 5];

	if (!data[0]) {
		memset(data, 'x', sizeof(data));
		data[0] = 'd';
		put32(data + 1, 65536 + 4);
		for (size_t i = 5 + 1023; i < sizeof(data); i += 1024)
			data[i] = '\n';
	}
	for (unsigned i = 0; i < megabytes * 16; i++)
		io_send(client, data, sizeof(data));
	io_send(client, "c\0\0\0\4", 5);
}

static size_t take_body(struct answer *answer, const uint8_t *data, size_t len)
{
	size_t n = len < answer->skip ? len : answer->skip;

	if (answer->head[0] == 'E') {
		for (size_t i = 0; i < n && answer->n_error < sizeof(answer->error) - 1; i++)
			answer->error[answer->n_error++] = data[i] ? (char)data[i] : ' ';
		if (n == answer->skip)
			fail("%s", answer->error);
	}
	answer->skip -= (uint32_t)n;
	return n;
}

static bool consume(struct client *client, const struct work *work, const uint8_t *data, size_t len)
{
	struct answer *answer = &client->answer;
	bool complete = false;

	for (size_t at = 0; at < len || (answer->n_head == 5 && !answer->skip);) {
		if (answer->n_head < 5) {
			answer->head[answer->n_head++] = data[at++];
			if (answer->n_head == 5)
				answer->skip = get32(answer->head + 1) - 4;
			continue;
		}
		at += take_body(answer, data + at, len - at);
		if (answer->skip)
			continue;
		answer->n_head = 0;
		if (answer->head[0] == 'G')
			copy_in(client, work->megabytes);
		complete = answer->head[0] == 'Z';
	}
	return complete;
}

const struct protocol load_pgsql = {login, build, consume, leave};
