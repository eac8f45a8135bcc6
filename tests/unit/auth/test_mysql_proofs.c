/*
 * MySQL's password proofs. The constants are PyMySQL's for the same passwords and nonces; the
 * stored forms were read from mysql.user of a MySQL 9.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "auth/caching_sha2.h"
#include "auth/native_password.h"
#include "auth/secret.h"
#include "util/check.h"

static const uint8_t nonce[MYSQL_NONCE] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
static const uint8_t other_nonce[MYSQL_NONCE] = {
	101, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

static const struct {
	const char *password, *native, *sha2, *native_secret, *sha2_digest;
} vectors[] = {
	{"secret", "b32bb3a583e1340c0a1108d58b1be49781ad8c2f",
		"746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9",
		"*14E65567ABDB5135D0CFD9A70B3032C179A49EE7",
		"3881219d087dd9c634373fd33dfa33a2cb6bfc6c520b64b8bb60ef2ceb534ae7"},
	{"p\303\244ssw\303\266rd", "9891a8536587af22d12e126cf5f7a8ea86d63b0e",
		"8526563d365f5cb2cf44b162e5251a5cc348e1a1afeec271669611d0fdac23f7",
		"*0225EC5004ABB0B8CB557541FE53DE1A5D8CC825",
		"e2cd1a228188f0703ba30ffe5e1bc013f0ae431d6213e97a9d2b42f78079ceab"},
	{"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
		"3d6c90501ba6441543e92050c3145bffd33031ce",
		"441374bec728d8d5d0031f02346cfdfe997a5caa30981f01298dd0f01c72c6d4",
		"*97ad467007cd3688bf0d9200b9a053483b2494c4",
		"bff2c25d682f4b0f3f7760f732e918440140d8e31106c4faa78599672d16abe0"},
};

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	assert_int_equal(strlen(hex), 2 * len);
	for (size_t i = 0; i < len; i++) {
		char digits[] = {hex[2 * i], hex[2 * i + 1], 0};
		assert_int_equal(bytes[i], strtoul(digits, NULL, 16));
	}
}

/* --- mysql_native_password --- */

static void native_response_is_what_servers_expect(void **state)
{
	uint8_t response[NATIVE_RESPONSE];

	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		native_response(vectors[i].password, nonce, response);
		assert_hex(response, sizeof(response), vectors[i].native);
	}
}

static void native_response_is_proved_by_password_or_hash(void **state)
{
	uint8_t response[NATIVE_RESPONSE];

	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		native_response(vectors[i].password, nonce, response);
		assert_true(native_response_valid(
			vectors[i].password, nonce, response, sizeof(response)));
		assert_true(native_response_valid(
			vectors[i].native_secret, nonce, response, sizeof(response)));
	}
}

static void native_response_with_any_bit_wrong_is_refused(void **state)
{
	const char *secrets[] = {vectors[0].password, vectors[0].native_secret};
	uint8_t response[NATIVE_RESPONSE + 1] = {0};

	native_response("secret", nonce, response);
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		for (size_t bit = 0; bit < 8 * NATIVE_RESPONSE; bit++) {
			response[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_false(native_response_valid(
				secrets[i], nonce, response, NATIVE_RESPONSE));
			response[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t len = 0; len <= sizeof(response); len++)
			assert_int_equal(native_response_valid(secrets[i], nonce, response, len),
				len == NATIVE_RESPONSE);
		assert_false(
			native_response_valid(secrets[i], other_nonce, response, NATIVE_RESPONSE));
	}
}

static void native_empty_password_is_an_empty_response(void **state)
{
	uint8_t response[NATIVE_RESPONSE];

	assert_true(native_response_valid("", nonce, NULL, 0));
	native_response("", nonce, response);
	assert_false(native_response_valid("", nonce, response, sizeof(response)));
	assert_false(native_response_valid("secret", nonce, NULL, 0));
}

/* Whoever has read the configuration must not be able to log in with what stands there. */
static void secret_of_another_kind_is_no_password(void **state)
{
	static const char *const secrets[] = {"md58d194fe838057b2277183654b0c3d2c8",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"$A$005$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};
	uint8_t response[NATIVE_RESPONSE];

	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		native_response(secrets[i], nonce, response);
		assert_false(native_response_valid(secrets[i], nonce, response, sizeof(response)));
	}
	native_response(vectors[0].native_secret, nonce, response);
	assert_false(
		native_response_valid(vectors[0].native_secret, nonce, response, sizeof(response)));
}

/* --- caching_sha2_password --- */

static void sha2_response_is_what_servers_expect(void **state)
{
	uint8_t response[CACHING_SHA2_RESPONSE], digest[CACHING_SHA2_DIGEST];

	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		caching_sha2_response(vectors[i].password, nonce, response);
		assert_hex(response, sizeof(response), vectors[i].sha2);
		caching_sha2_digest(vectors[i].password, digest);
		assert_hex(digest, sizeof(digest), vectors[i].sha2_digest);
		assert_true(caching_sha2_response_valid(digest, nonce, response, sizeof(response)));
	}
}

static void sha2_response_with_any_bit_wrong_is_refused(void **state)
{
	uint8_t response[CACHING_SHA2_RESPONSE + 1] = {0}, digest[CACHING_SHA2_DIGEST];

	caching_sha2_response("secret", nonce, response);
	caching_sha2_digest("secret", digest);
	for (size_t bit = 0; bit < 8 * CACHING_SHA2_RESPONSE; bit++) {
		response[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(caching_sha2_response_valid(
			digest, nonce, response, CACHING_SHA2_RESPONSE));
		response[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len <= sizeof(response); len++)
		assert_int_equal(caching_sha2_response_valid(digest, nonce, response, len),
			len == CACHING_SHA2_RESPONSE);
	assert_false(
		caching_sha2_response_valid(digest, other_nonce, response, CACHING_SHA2_RESPONSE));
	caching_sha2_digest("Secret", digest);
	assert_false(caching_sha2_response_valid(digest, nonce, response, CACHING_SHA2_RESPONSE));
}

/* Some salts have bytes that no configuration file can hold. */
static const struct {
	const char *password, *stored, *hex;
} stored_forms[] = {
	{"secret",
		"$A$00A$\0344[\026,VZ\006\012w\042jk&WO!"
		"\1778tFmYkFaybSoTvhbBFEnC27RFELcGsnda5Kfd5V/PRF9C",
		"0x244124303041241C345B162C565A060A77226A6B26574F217F3874466D596B46617962536F547668"
		"624246456E4332375246454C6347736E6461354B666435562F5052463943"},
	{"a-much-longer-password-of-more-than-thirty-two-characters-\303\244\303\266\303\274",
		"$A$005$\042tte)r*R ->dE/McK.t#pWKomp5NXZYKUUmFC2Gx0fEkgCq29PIHSwQvTf3Ypc/",
		"0x244124303035242274746529722A52202D3E64452F4D634B2E742370574B6F6D70354E585A594B55"
		"556D46433247783066456B6743713239504948537751765466335970632F"},
	{"x",
		"$A$005$YdCI7\021n\003\013\134\0115k5}iLnb\027ZM/q/"
		"WCJpgFPpr6G5wEd52pMPKiClNeTIMmQm95b.V1",
		"0x244124303035245964434937116e030b5c09356b357d694c6e62175a4d2f712f57434a7067465070"
		"723647357745643532704d504b69436c4e6554494d6d516d3935622e5631"},
};

static void stored_form_is_proved_by_its_password_alone(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(stored_forms); i++) {
		const char *secrets[] = {stored_forms[i].stored, stored_forms[i].hex};
		for (size_t j = 0; j < ARRAY_LEN(secrets); j++) {
			assert_int_equal(secret_kind(secrets[j]), SECRET_CACHING_SHA2);
			assert_true(
				caching_sha2_stored_valid(secrets[j], stored_forms[i].password));
			assert_false(caching_sha2_stored_valid(secrets[j], ""));
			assert_false(caching_sha2_stored_valid(secrets[j], "Secret"));
			assert_false(caching_sha2_stored_valid(secrets[j], secrets[j]));
		}
	}
}

static void stored_form_cut_or_damaged_is_never_proved(void **state)
{
	const char *stored = stored_forms[0].stored;
	char text[200];

	for (size_t len = 0; len < strlen(stored); len++) {
		snprintf(text, sizeof(text), "%.*s", (int)len, stored);
		assert_false(caching_sha2_stored_valid(text, stored_forms[0].password));
	}
	for (size_t i = 0; i < strlen(stored); i++) {
		snprintf(text, sizeof(text), "%s", stored);
		text[i] = text[i] == 'x' ? 'y' : 'x';
		assert_false(caching_sha2_stored_valid(text, stored_forms[0].password));
	}
	assert_false(caching_sha2_stored_valid("secret", "secret"));
}

static void overlong_password_is_refused_at_once(void **state)
{
	static char password[100000];

	memset(password, 'x', sizeof(password) - 1);
	assert_false(caching_sha2_stored_valid(stored_forms[0].stored, password));
}

/* --- full authentication by RSA --- */

static void encrypted_password_arrives(void **state)
{
	static const char *const passwords[] = {"secret", "p\303\244ss", "x",
		"a password that is longer than one nonce, which is then repeated over it"};
	const char *pem = caching_sha2_public_key();

	assert_non_null(pem);
	assert_ptr_equal(pem, caching_sha2_public_key());
	assert_true(strncmp(pem, "-----BEGIN PUBLIC KEY-----\n", 27) == 0);
	for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
		struct buf cipher = {0};
		char *password;
		assert_true(caching_sha2_encrypt(pem, strlen(pem), passwords[i], nonce, &cipher));
		assert_true(caching_sha2_decrypt(cipher.data, cipher.len, nonce, &password));
		assert_string_equal(password, passwords[i]);
		free(password);
		/* Under another nonce it is another text, or none. */
		if (caching_sha2_decrypt(cipher.data, cipher.len, other_nonce, &password)) {
			assert_string_not_equal(password, passwords[i]);
			free(password);
		}
		buf_clear(&cipher);
	}
}

static void damaged_cipher_is_refused(void **state)
{
	const char *pem = caching_sha2_public_key();
	struct buf cipher = {0};
	char *password = NULL;

	assert_true(caching_sha2_encrypt(pem, strlen(pem), "secret", nonce, &cipher));
	for (size_t len = 0; len < cipher.len; len++)
		assert_false(caching_sha2_decrypt(cipher.data, len, nonce, &password));
	for (size_t i = 0; i < cipher.len; i += 51) {
		cipher.data[i] ^= 1;
		assert_false(caching_sha2_decrypt(cipher.data, cipher.len, nonce, &password));
		cipher.data[i] ^= 1;
	}
	buf_u8(&cipher, 0);
	assert_false(caching_sha2_decrypt(cipher.data, cipher.len, nonce, &password));
	buf_clear(&cipher);
	assert_null(password);
}

static void key_that_is_none_is_refused(void **state)
{
	static const char not_rsa[] =
		"-----BEGIN PUBLIC KEY-----\n"
		"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
		"-----END PUBLIC KEY-----\n";
	const char *pem = caching_sha2_public_key();
	char long_password[300];
	struct buf cipher = {0};

	for (size_t len = 0; len < strlen(pem) - 26; len++)
		assert_false(caching_sha2_encrypt(pem, len, "secret", nonce, &cipher));
	assert_false(caching_sha2_encrypt(not_rsa, strlen(not_rsa), "secret", nonce, &cipher));
	memset(long_password, 'x', sizeof(long_password));
	long_password[sizeof(long_password) - 1] = 0;
	assert_false(caching_sha2_encrypt(pem, strlen(pem), long_password, nonce, &cipher));
	assert_int_equal(cipher.len, 0);
	buf_clear(&cipher);
}

/* --- secrets --- */

static void kinds_of_mysql_are_told_apart(void **state)
{
	static const struct {
		const char *secret;
		enum secret_kind kind;
	} cases[] = {
		{"*14E65567ABDB5135D0CFD9A70B3032C179A49EE7", SECRET_NATIVE},
		{"*14e65567abdb5135d0cfd9a70b3032c179a49ee7", SECRET_NATIVE},
		{"*14E65567ABDB5135D0CFD9A70B3032C179A49EE", SECRET_PLAIN},
		{"*14E65567ABDB5135D0CFD9A70B3032C179A49EE77", SECRET_PLAIN},
		{"*14E65567ABDB5135D0CFD9A70B3032C179A49EEG", SECRET_PLAIN},
		{"14E65567ABDB5135D0CFD9A70B3032C179A49EE7", SECRET_PLAIN},
		{"$A$005$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
			SECRET_CACHING_SHA2},
		{"$A$005$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
			SECRET_PLAIN},
		{"$A$FFF$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
			SECRET_CACHING_SHA2},
		{"$A$000$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
			SECRET_PLAIN},
		{"$A$00G$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
			SECRET_PLAIN},
		{"$5$005$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
			SECRET_PLAIN},
		{"$A$005$", SECRET_PLAIN},
		{"0x24412430303524", SECRET_PLAIN},
		/* As long as the hexadecimal form, but for one letter. */
		{"0x2441243030352461616161616161616161616161616161616161616162626262626262626262"
		 "626262626262626262626262626262626262626262626262626262626262626g",
			SECRET_PLAIN},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(secret_kind(cases[i].secret), cases[i].kind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(native_response_is_what_servers_expect),
		cmocka_unit_test(native_response_is_proved_by_password_or_hash),
		cmocka_unit_test(native_response_with_any_bit_wrong_is_refused),
		cmocka_unit_test(native_empty_password_is_an_empty_response),
		cmocka_unit_test(secret_of_another_kind_is_no_password),
		cmocka_unit_test(sha2_response_is_what_servers_expect),
		cmocka_unit_test(sha2_response_with_any_bit_wrong_is_refused),
		cmocka_unit_test(stored_form_is_proved_by_its_password_alone),
		cmocka_unit_test(stored_form_cut_or_damaged_is_never_proved),
		cmocka_unit_test(overlong_password_is_refused_at_once),
		cmocka_unit_test(encrypted_password_arrives),
		cmocka_unit_test(damaged_cipher_is_refused),
		cmocka_unit_test(key_that_is_none_is_refused),
		cmocka_unit_test(kinds_of_mysql_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
