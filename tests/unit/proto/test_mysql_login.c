/* Clients log in to MySQL's protocol: each method that an account may be proved by, however the
 * bytes come. */
#include <string.h>

#include "../test.h"
#include "mysql_player.h"

#define NATIVE  "mysql_native_password"
#define SHA2    "caching_sha2_password"
#define MARIADB "11.8.1-MariaDB"
#define MYSQL   "9.7.4"

/* Of MY_PASSWORD: what mysql_native_password stores, and what caching_sha2_password does; with
 * fewer rounds than a server's, since it is proved for each cut. */
#define NATIVE_HASH "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"
#define SHA2_HASH   "$A$001$aaaaaaaaaaaaaaaaaaaawK1g3avn.rCxi1Cp3e5e1O.T56oEtEIFNXUpPnv25MA"

/* A sign of life, which weir gives itself. */
static void client_pings(struct my_script *s, unsigned client)
{
	put_command(client_says(s, client), MY_COM_PING, NULL, 0);
}

static void native_password_is_proved_at_once(void **state)
{
	static const char *const secrets[] = {MY_PASSWORD, NATIVE_HASH};

	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		struct my_script s = {.logs_in = true, .secret = secrets[i]};
		client_logs_in(&s, 0, NATIVE, PROOF_NATIVE);
		client_pings(&s, 0);
		my_check(&s, "0:GREETING 2:OK 1:OK", MY_NOTHING, MY_NOTHING);
	}
}

static void known_password_is_proved_at_once(void **state)
{
	struct my_script s = {.logs_in = true};

	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:[3] 3:OK 1:OK", MY_NOTHING, MY_NOTHING);
}

static void database_and_attributes_may_follow(void **state)
{
	static const uint32_t capabilities[] = {MY_CONNECT_WITH_DB, MY_CONNECT_ATTRS,
		MY_CONNECT_WITH_DB | MY_CONNECT_ATTRS | MY_PLUGIN_AUTH_LENENC};

	for (size_t i = 0; i < ARRAY_LEN(capabilities); i++) {
		struct my_script s = {.logs_in = true, .capabilities = capabilities[i]};
		client_logs_in(&s, 0, SHA2, PROOF_SHA2);
		my_check(&s, "0:GREETING 2:[3] 3:OK", MY_NOTHING, MY_NOTHING);
	}
}

static void empty_password_needs_no_proof(void **state)
{
	static const char *const plugins[] = {NATIVE, SHA2};

	for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
		struct my_script s = {.logs_in = true, .secret = ""};
		client_logs_in(&s, 0, plugins[i], PROOF_NONE);
		my_check(&s, "0:GREETING 2:OK", MY_NOTHING, MY_NOTHING);
		s = (struct my_script){.logs_in = true};
		client_logs_in(&s, 0, plugins[i], PROOF_NONE);
		my_check(&s, "0:GREETING 2:ERR(1045)", MY_NOTHING, MY_NOTHING);
	}
}

/* --- another method than the client's --- */

static void method_is_switched_to_what_the_account_has(void **state)
{
	struct my_script s = {.logs_in = true, .secret = NATIVE_HASH};

	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	client_proves(&s, 0, PROOF_NATIVE);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:SWITCH(" NATIVE ") 4:OK 1:OK", MY_NOTHING, MY_NOTHING);
	s = (struct my_script){.logs_in = true, .secret = SHA2_HASH};
	client_logs_in(&s, 0, NATIVE, PROOF_NATIVE);
	client_proves(&s, 0, PROOF_SHA2);
	client_proves(&s, 0, PROOF_CLEAR);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:SWITCH(" SHA2 ") 4:[4] 6:OK 1:OK", MY_NOTHING, MY_NOTHING);
}

static void method_that_weir_does_not_have_is_switched_to_the_servers_own(void **state)
{
	struct my_script s = {.logs_in = true, .version = MARIADB};

	client_logs_in(&s, 0, "client_ed25519", PROOF_NONE);
	client_proves(&s, 0, PROOF_NATIVE);
	my_check(&s, "0:GREETING 2:SWITCH(" NATIVE ") 4:OK", MY_NOTHING, MY_NOTHING);
	s = (struct my_script){.logs_in = true, .version = MYSQL};
	client_logs_in(&s, 0, "client_ed25519", PROOF_NONE);
	client_proves(&s, 0, PROOF_SHA2);
	my_check(&s, "0:GREETING 2:SWITCH(" SHA2 ") 4:[3] 5:OK", MY_NOTHING, MY_NOTHING);
}

static void wrong_proof_after_a_switch_is_refused(void **state)
{
	struct my_script s = {.logs_in = true, .version = MARIADB};

	client_logs_in(&s, 0, "client_ed25519", PROOF_NONE);
	client_proves(&s, 0, PROOF_WRONG);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:SWITCH(" NATIVE ") 4:ERR(1045)", MY_NOTHING, MY_NOTHING);
}

/* --- full authentication --- */

static void password_is_sent_encrypted_and_known_from_then_on(void **state)
{
	struct my_script s = {.logs_in = true, .secret = SHA2_HASH};

	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	client_proves(&s, 0, PROOF_KEY);
	client_proves(&s, 0, PROOF_RSA);
	client_pings(&s, 0);
	client_logs_in(&s, 1, SHA2, PROOF_SHA2);
	client_pings(&s, 1);
	my_check(&s, "0:GREETING 2:[4] 4:KEY 6:OK 1:OK", "0:GREETING 2:[3] 3:OK 1:OK", MY_NOTHING);
}

static void password_that_is_not_the_accounts_is_refused(void **state)
{
	struct my_script s = {.logs_in = true,
		.secret = "$A$001$aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};

	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	client_proves(&s, 0, PROOF_CLEAR);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:[4] 4:ERR(1045)", MY_NOTHING, MY_NOTHING);
}

static void password_without_its_end_is_refused(void **state)
{
	struct my_script s = {.logs_in = true, .secret = SHA2_HASH};

	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	put_packet(client_says(&s, 0), 3, MY_PASSWORD, strlen(MY_PASSWORD));
	my_check(&s, "0:GREETING 2:[4] 4:ERR(1045)", MY_NOTHING, MY_NOTHING);
}

static void what_weirs_key_has_not_encrypted_is_refused(void **state)
{
	struct my_script s = {.logs_in = true, .secret = SHA2_HASH};
	static const uint8_t noise[256];

	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	client_proves(&s, 0, PROOF_KEY);
	put_packet(client_says(&s, 0), 5, noise, sizeof(noise));
	my_check(&s, "0:GREETING 2:[4] 4:KEY 6:ERR(1045)", MY_NOTHING, MY_NOTHING);
}

/* --- who is not let in --- */

static void nobody_learns_which_accounts_exist(void **state)
{
	for (int no_account = 0; no_account < 2; no_account++) {
		struct my_script s = {.logs_in = true, .no_account = no_account};
		client_logs_in(&s, 0, NATIVE, PROOF_WRONG);
		client_pings(&s, 0);
		my_check(&s, "0:GREETING 2:ERR(1045)", MY_NOTHING, MY_NOTHING);
	}
}

static void account_with_a_secret_of_another_protocol_is_refused(void **state)
{
	struct my_script s = {.logs_in = true, .secret = "md50123456789abcdef0123456789abcdef"};

	client_logs_in(&s, 0, NATIVE, PROOF_NATIVE);
	my_check(&s, "0:GREETING 2:ERR(1045)", MY_NOTHING, MY_NOTHING);
}

static void is_refused(const struct my_outcome *o)
{
	struct buf text = {0};

	my_print_client(o, 0, &text);
	if (!strstr((char *)text.data, "GREETING 2:ERR(") || strstr((char *)text.data, "OK") ||
		!o->closed[0])
		fail_msg("%s", text.data);
	buf_clear(&text);
}

static void response_cut_in_any_field_lets_nobody_in(void **state)
{
	/* Up to the proof's last byte; the method that follows may be left out. */
	size_t proof_ends = 4 + 4 + 1 + 23 + sizeof("someone") + 1 + 20;

	for (size_t len = 0; len < proof_ends; len++) {
		struct my_script s = {.logs_in = true};
		client_logs_in_cut(&s, 0, NATIVE, PROOF_NATIVE, len);
		client_pings(&s, 0);
		my_check_by(&s, is_refused);
	}
}

/* --- TLS, which weir does not have towards clients --- */

static void client_asks_for_tls(struct my_script *s, const char *plugin, enum my_proof proof)
{
	put_tls_request(client_logs_in_behind(s, 0, plugin, proof), MY_CLIENT_CAP);
}

/* The login that follows in clear text may be another's, put there on the way. */
static void nothing_behind_a_request_for_tls_is_taken_for_a_login(void **state)
{
	struct my_script s = {.logs_in = true};

	client_asks_for_tls(&s, NATIVE, PROOF_NATIVE);
	put_query(client_says(&s, 0), "SELECT 'a'");
	my_check(&s, "0:GREETING 2:ERR(1043)", MY_NOTHING, MY_NOTHING);
	s = (struct my_script){.logs_in = true};
	client_asks_for_tls(&s, SHA2, PROOF_SHA2);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:ERR(1043)", MY_NOTHING, MY_NOTHING);
}

static void offers_no_tls(const struct my_outcome *o)
{
	struct reader r;

	reader_init(&r, o->to_client[0].data, o->to_client[0].len);
	reader_bytes(&r, MY_HEADER + 1);
	reader_cstr(&r, NULL);
	reader_bytes(&r, 4 + 8 + 1);
	assert_false(reader_u16le(&r) & MY_SSL);
	assert_false(r.failed);
	assert_true(o->closed[0]);
}

static void greeting_offers_no_tls(void **state)
{
	static const char *const versions[] = {NULL, MARIADB, MYSQL};

	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct my_script s = {.logs_in = true, .version = versions[i]};
		client_asks_for_tls(&s, NATIVE, PROOF_NATIVE);
		my_check_by(&s, offers_no_tls);
	}
}

/* --- COM_CHANGE_USER --- */

static void client_changes_user(struct my_script *s, unsigned client)
{
	put_command(client_says(s, client), MY_COM_CHANGE_USER, "other\0\0db\0\x2d", 12);
}

static void other_user_proves_itself_anew(void **state)
{
	struct my_script s = {.logs_in = true};

	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	client_changes_user(&s, 0);
	client_proves(&s, 0, PROOF_SHA2);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:[3] 3:OK 1:SWITCH(" SHA2 ") 3:[3] 4:OK 1:OK", MY_NOTHING,
		MY_NOTHING);
	s = (struct my_script){.logs_in = true, .version = MARIADB};
	client_logs_in(&s, 0, NATIVE, PROOF_NATIVE);
	client_changes_user(&s, 0);
	client_proves(&s, 0, PROOF_NATIVE);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:OK 1:SWITCH(" NATIVE ") 3:OK 1:OK", MY_NOTHING, MY_NOTHING);
}

static void other_user_may_have_to_send_its_password(void **state)
{
	struct my_script s = {.logs_in = true, .version = MYSQL, .secret = SHA2_HASH};

	/* A wrong proof by the fast path is no refusal yet: the digest may be an old one. */
	client_logs_in(&s, 0, SHA2, PROOF_SHA2);
	client_proves(&s, 0, PROOF_CLEAR);
	client_changes_user(&s, 0);
	client_proves(&s, 0, PROOF_WRONG);
	client_proves(&s, 0, PROOF_KEY);
	client_proves(&s, 0, PROOF_RSA);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:[4] 4:OK 1:SWITCH(" SHA2 ") 3:[4] 5:KEY 7:OK 1:OK", MY_NOTHING,
		MY_NOTHING);
}

static void other_user_that_proves_nothing_is_closed(void **state)
{
	struct my_script s = {.logs_in = true, .version = MARIADB};

	client_logs_in(&s, 0, NATIVE, PROOF_NATIVE);
	client_changes_user(&s, 0);
	client_proves(&s, 0, PROOF_WRONG);
	client_pings(&s, 0);
	my_check(&s, "0:GREETING 2:OK 1:SWITCH(" NATIVE ") 3:ERR(1045)", MY_NOTHING, MY_NOTHING);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(native_password_is_proved_at_once),
	cmocka_unit_test(known_password_is_proved_at_once),
	cmocka_unit_test(database_and_attributes_may_follow),
	cmocka_unit_test(empty_password_needs_no_proof),
	cmocka_unit_test(method_is_switched_to_what_the_account_has),
	cmocka_unit_test(method_that_weir_does_not_have_is_switched_to_the_servers_own),
	cmocka_unit_test(wrong_proof_after_a_switch_is_refused),
	cmocka_unit_test(password_is_sent_encrypted_and_known_from_then_on),
	cmocka_unit_test(password_that_is_not_the_accounts_is_refused),
	cmocka_unit_test(password_without_its_end_is_refused),
	cmocka_unit_test(what_weirs_key_has_not_encrypted_is_refused),
	cmocka_unit_test(nobody_learns_which_accounts_exist),
	cmocka_unit_test(account_with_a_secret_of_another_protocol_is_refused),
	cmocka_unit_test(response_cut_in_any_field_lets_nobody_in),
	cmocka_unit_test(nothing_behind_a_request_for_tls_is_taken_for_a_login),
	cmocka_unit_test(greeting_offers_no_tls),
	cmocka_unit_test(other_user_proves_itself_anew),
	cmocka_unit_test(other_user_may_have_to_send_its_password),
	cmocka_unit_test(other_user_that_proves_nothing_is_closed),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
