/* A client's login. */
#include "mysql_login.h"

#include <string.h>

#include "../test.h"
#include "auth/caching_sha2.h"
#include "proto/mysql/dial.h"

/* The payload of the packet that was heard last; a packet is whole. */
static uint8_t *last_packet(const struct buf *heard, struct my_header *ret_h)
{
	struct input in = {.data = heard->data, .len = heard->len};
	size_t at = 0;

	assert_true(in.len > 0);
	while (in.len) {
		assert_true(my_header_read(&in, ret_h) && in.len >= MY_HEADER + ret_h->len);
		at = heard->len - in.len;
		input_skip(&in, MY_HEADER + ret_h->len);
	}
	return heard->data + at + MY_HEADER;
}

static void take(uint8_t *nonce, uint8_t *from, size_t len)
{
	memcpy(nonce, from, len);
	memset(from, 'n', len);
}

void my_login_take_nonce(struct buf *heard, uint8_t nonce[MYSQL_NONCE])
{
	struct my_header h;
	uint8_t *payload = last_packet(heard, &h);

	if (h.sequence == 0) {
		uint8_t *first = payload + 1 + strlen((char *)payload + 1) + 1 + 4;
		take(nonce, first, 8);
		take(nonce + 8, first + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10, MYSQL_NONCE - 8);
	} else if (payload[0] == 0xfe) {
		take(nonce, payload + h.len - 1 - MYSQL_NONCE, MYSQL_NONCE);
	}
}

static void put_proof(struct buf *b, enum my_proof proof, const struct buf *heard,
	const uint8_t nonce[MYSQL_NONCE])
{
	uint8_t native[NATIVE_RESPONSE], sha2[CACHING_SHA2_RESPONSE];
	struct my_header h;

	switch (proof) {
	case PROOF_NATIVE:
	case PROOF_WRONG:
		native_response(proof == PROOF_WRONG ? "wrong" : MY_PASSWORD, nonce, native);
		buf_put(b, native, sizeof(native));
		break;
	case PROOF_SHA2:
		caching_sha2_response(MY_PASSWORD, nonce, sha2);
		buf_put(b, sha2, sizeof(sha2));
		break;
	case PROOF_NONE:
		break;
	case PROOF_CLEAR:
		buf_cstr(b, MY_PASSWORD);
		break;
	case PROOF_KEY:
		buf_u8(b, 2);
		break;
	case PROOF_RSA: {
		const char *key = (const char *)last_packet(heard, &h) + 1;
		assert_true(caching_sha2_encrypt(key, h.len - 1, MY_PASSWORD, nonce, b));
		break;
	}
	}
}

void my_login_respond(struct buf *b, uint32_t capabilities, const char *plugin, enum my_proof proof,
	const uint8_t nonce[MYSQL_NONCE])
{
	struct buf response = {0};
	size_t packet = my_begin(b, 1);

	put_proof(&response, proof, NULL, nonce);
	buf_u32le(b, capabilities);
	buf_u32le(b, 0xffffff);
	buf_u8(b, MYSQL_COLLATION);
	buf_put(b, (uint8_t[23]){0}, 23);
	buf_cstr(b, "someone");
	/* Short enough for its length to be one byte either way. */
	buf_u8(b, (uint8_t)response.len);
	buf_put(b, response.data, response.len);
	if (capabilities & MY_CONNECT_WITH_DB)
		buf_cstr(b, "shop");
	buf_cstr(b, plugin);
	if (capabilities & MY_CONNECT_ATTRS)
		buf_put(b, "\x0c\5_name\5value", 13);
	my_end(b, packet);
	buf_clear(&response);
}

void my_login_prove(struct buf *b, const struct buf *heard, enum my_proof proof,
	const uint8_t nonce[MYSQL_NONCE])
{
	struct my_header h;

	last_packet(heard, &h);
	size_t packet = my_begin(b, (uint8_t)(h.sequence + 1));
	put_proof(b, proof, heard, nonce);
	my_end(b, packet);
}
