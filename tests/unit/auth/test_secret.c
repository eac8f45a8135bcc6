/* What an account's password may be stored as, and PostgreSQL's md5 responses. */
#include <string.h>

#include "../test.h"
#include "auth/md5.h"
#include "auth/secret.h"
#include "util/check.h"
#include "util/text.h"

/* md5(md5("secret" "someone") salt), and the inner one. */
#define STORED "md58d194fe838057b2277183654b0c3d2c8"
#define VERIFIER                                                                                   \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" \
	":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static const uint8_t salt[MD5_SALT_SIZE] = {1, 2, 0, 255};
static const char response[] = "md5374a2ba942b98b42363f1242d0821640";

static void kinds_are_told_apart(void **state)
{
	static const struct {
		const char *secret;
		enum secret_kind kind;
	} cases[] = {
		{NULL, SECRET_NONE},
		{"", SECRET_PLAIN},
		{"secret", SECRET_PLAIN},
		{STORED, SECRET_MD5},
		{STORED "0", SECRET_PLAIN},
		{"md5", SECRET_PLAIN},
		{"md58D194FE838057B2277183654B0C3D2C8", SECRET_PLAIN},
		{"md58d194fe838057b2277183654b0c3d2cg", SECRET_PLAIN},
		{"MD58d194fe838057b2277183654b0c3d2c8", SECRET_PLAIN},
		{VERIFIER, SECRET_SCRAM},
		{VERIFIER "x", SECRET_PLAIN},
		{"SCRAM-SHA-256$", SECRET_PLAIN},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(secret_kind(cases[i].secret), cases[i].kind);
}

static void right_response_is_valid(void **state)
{
	assert_true(md5_response_valid("secret", "someone", salt, response));
	assert_true(md5_response_valid(STORED, "someone", salt, response));
	/* The stored form has the name in it already. */
	assert_true(md5_response_valid(STORED, "other", salt, response));
}

static void other_responses_are_not(void **state)
{
	static const uint8_t other_salt[MD5_SALT_SIZE] = {1, 2, 0, 254};
	char text[sizeof(response)];

	assert_false(md5_response_valid("Secret", "someone", salt, response));
	assert_false(md5_response_valid("secret", "other", salt, response));
	assert_false(md5_response_valid("secret", "someone", other_salt, response));
	assert_false(md5_response_valid("secret", "someone", salt, ""));
	assert_false(md5_response_valid("secret", "someone", salt, STORED));
	assert_false(md5_response_valid(STORED, "someone", salt, STORED));
	for (size_t i = 0; i + 1 < sizeof(response); i++) {
		text_copy(text, i + 1, response);
		assert_false(md5_response_valid("secret", "someone", salt, text));
		for (int value = 1; value < 256; value++) {
			memcpy(text, response, sizeof(response));
			text[i] = (char)value;
			if (text[i] != response[i])
				assert_false(md5_response_valid("secret", "someone", salt, text));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_are_told_apart),
		cmocka_unit_test(right_response_is_valid),
		cmocka_unit_test(other_responses_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
