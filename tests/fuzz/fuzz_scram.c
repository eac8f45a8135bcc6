/* A SCRAM exchange, and stored secrets: the first two bytes are the length of the first message. */
#include <stdlib.h>
#include <string.h>

#include "auth/md5.h"
#include "auth/scram.h"
#include "auth/secret.h"
#include "fuzz.h"

#define VERIFIER                                                                                   \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" \
	":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void exchange(const uint8_t *first, size_t first_len, const uint8_t *final, size_t final_len)
{
	struct scram_verifier v;
	struct scram_server s;
	struct buf reply = {0};
	const char *problem;

	CHECK(scram_verifier_parse(VERIFIER, &v) == 0);
	scram_server_init(&s, &v, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
	enum scram_outcome outcome = scram_server_step(&s, first, first_len, &reply, &problem);
	CHECK(outcome == SCRAM_MORE || outcome == SCRAM_MALFORMED);
	CHECK((problem != NULL) == (outcome == SCRAM_MALFORMED));
	if (outcome == SCRAM_MORE)
		(void)scram_server_step(&s, final, final_len, &reply, &problem);
	buf_clear(&reply);
	scram_server_clear(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t salt[MD5_SALT_SIZE] = {1, 2, 3, 4};

	if (size < 2)
		return 0;
	size_t first = (size_t)(data[0] << 8 | data[1]), rest = size - 2;
	if (first > rest)
		first = rest;
	exchange(data + 2, first, data + 2 + first, rest - first);
	char *text = strndup((const char *)data + 2, rest);
	CHECK(text);
	struct scram_verifier v;
	bool scram = scram_verifier_parse(text, &v) == 0;
	CHECK(scram == (secret_kind(text) == SECRET_SCRAM));
	(void)md5_response_valid("secret", "someone", salt, text);
	(void)md5_response_valid(text, "someone", salt, "md50123456789abcdef0123456789abcdef");
	free(text);
	return 0;
}
