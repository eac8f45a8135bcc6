/*
 * The client's login, from its first byte to the proof of its password ("Start-up" in the chapter
 * on the message flow). A machine: it takes what the client sent and writes the answers. Which
 * accounts exist, the session knows.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/md5.h"
#include "auth/secret.h"
#include "proto/pgsql/state.h"
#include "util/log.h"
#include "util/random.h"
#include "util/text.h"

/* A client may ask for TLS, and then for GSS, before it says who it is; not more often. */
#define PREAMBLES_MAX 4

/* PostgreSQL takes passwords of up to 64 kB; so large an answer is of no use to SCRAM or md5. */
#define PASSWORD_MESSAGE_MAX 8192

#define AUTH_OK        0
#define AUTH_MD5       5
#define AUTH_SASL      10
#define AUTH_SASL_MORE 11
#define AUTH_SASL_END  12

struct login {
	int n_preambles;
	bool known; /* the account exists */
	bool asked; /* for the proof */
	bool sasl;  /* else md5 */
	bool sasl_begun;
	char *secret; /* for md5 */
	uint8_t salt[MD5_SALT_SIZE];
	struct scram_server scram;
};

/* The SCRAM keys of an account, derived once: a password takes milliseconds. */
struct cached_verifier {
	struct map_node node;
	bool is_useless; /* there are none: the secret is of a form of MySQL's */
	struct scram_verifier verifier;
	const char *user; /* in `text`, behind the secret */
	char text[];
};

/* A changed password is another entry. */
struct account {
	const char *user, *secret;
};

static bool verifier_equal(const struct map_node *node, const void *key)
{
	const struct cached_verifier *cached = container_of(node, struct cached_verifier, node);
	const struct account *account = key;

	return strcmp(cached->user, account->user) == 0 &&
	       strcmp(cached->text, account->secret) == 0;
}

static int derive(const struct account *account, struct scram_verifier *ret_verifier)
{
	if (secret_kind(account->secret) == SECRET_SCRAM)
		return scram_verifier_parse(account->secret, ret_verifier);
	return scram_verifier_derive(account->user, account->secret, ret_verifier);
}

/* Said once per account and worker: what is in the map is not new. */
static void warn_useless(const char *user)
{
	char text[200];

	log_warning("event=useless_secret user=\"%s\" detail=\"nobody can log in as this user by "
		    "PostgreSQL's protocol: the configuration has its password in a form that only "
		    "serves MySQL's\"",
		log_escape(user, text, sizeof(text)));
}

static struct cached_verifier *cache_new(const struct account *account)
{
	enum secret_kind kind = secret_kind(account->secret);
	size_t size = strlen(account->secret) + 1, user_size = strlen(account->user) + 1;
	struct cached_verifier *cached = calloc(1, sizeof(*cached) + size + user_size);

	if (!cached)
		return NULL;
	cached->is_useless = kind == SECRET_NATIVE || kind == SECRET_CACHING_SHA2;
	if (cached->is_useless) {
		warn_useless(account->user);
	} else if (derive(account, &cached->verifier) != 0) {
		free(cached);
		return NULL;
	}
	memcpy(cached->text, account->secret, size);
	memcpy(cached->text + size, account->user, user_size);
	cached->user = cached->text + size;
	return cached;
}

/* False: there are no keys to that secret, or no memory. */
static bool find_verifier(struct proto_worker *worker, const struct account *account,
	struct scram_verifier *ret_verifier)
{
	uint64_t hash = hash_text(account->user);
	struct map_node *node = map_find(&worker->verifiers, hash, verifier_equal, account);
	struct cached_verifier *cached =
		node ? container_of(node, struct cached_verifier, node) : cache_new(account);

	if (!cached)
		return false;
	if (!node && map_insert(&worker->verifiers, &cached->node, hash) < 0) {
		free(cached);
		return false;
	}
	*ret_verifier = cached->verifier;
	return !cached->is_useless;
}

void verifiers_clear(struct proto_worker *worker)
{
	struct map_node *node;

	while ((node = map_next(&worker->verifiers, NULL))) {
		struct cached_verifier *cached = container_of(node, struct cached_verifier, node);
		map_remove(&worker->verifiers, node);
		explicit_bzero(cached->text, strlen(cached->text));
		free(cached);
	}
	map_clear(&worker->verifiers);
}

void login_free(struct login *login)
{
	if (!login)
		return;
	scram_server_clear(&login->scram);
	if (login->secret)
		explicit_bzero(login->secret, strlen(login->secret));
	free(login->secret);
	free(login);
}

/* --- writing --- */

static size_t begin_auth(struct buf *b, uint32_t code)
{
	size_t offset = pg_begin(b, 'R');

	buf_u32be(b, code);
	return offset;
}

static void ask_for_proof(struct login *login, struct output *to_client)
{
	struct buf b = {0};
	size_t offset = begin_auth(&b, login->sasl ? AUTH_SASL : AUTH_MD5);

	if (login->sasl) {
		buf_cstr(&b, "SCRAM-SHA-256");
		buf_u8(&b, 0);
	} else {
		buf_put(&b, login->salt, sizeof(login->salt));
	}
	pg_end(&b, offset);
	pg_send_buf(to_client, &b);
}

static enum front_verdict bad_startup(
	struct pg_front *front, const char *detail, struct output *to_client)
{
	return front_end(front, REASON_BAD_STARTUP, detail, to_client);
}

static enum front_verdict refuse_password(struct pg_front *front, struct output *to_client)
{
	struct refusal refusal;
	struct buf text = {0};

	/* PostgreSQL's words, which drivers and people look for. */
	buf_printf(&text, "password authentication failed for user \"%.200s\"", front->base.user);
	buf_u8(&text, 0);
	refusal_set(&refusal, REASON_BAD_PASSWORD, NULL);
	if (!text.failed)
		text_copy(refusal.text, sizeof(refusal.text), (char *)text.data);
	buf_clear(&text);
	pg_send_refusal(to_client, &refusal, true);
	front->base.reason = REASON_BAD_PASSWORD;
	front->phase = PHASE_ENDED;
	return FRONT_CLOSE;
}

/* --- the startup packet --- */

static bool add_startup(struct pg_front *front, const char *name, const char *value)
{
	const struct settings *list;

	if (settings_with(front->worker->settings, front->startup, name, value, &list) != 0)
		return false;
	settings_replace(&front->startup, list);
	settings_unref(list);
	return true;
}

/* One "-c name=value" or "--name=value" of the options; a backslash keeps a blank. Moves *at behind
 * it. */
static bool read_option(const char **at, struct buf *word)
{
	while (**at == ' ' || **at == '\t' || **at == '\n')
		(*at)++;
	if (!**at)
		return false;
	for (; **at && **at != ' ' && **at != '\t' && **at != '\n'; (*at)++) {
		if (**at == '\\' && (*at)[1])
			(*at)++;
		buf_u8(word, (uint8_t) * *at);
	}
	buf_u8(word, 0);
	return !word->failed;
}

static bool add_assignment(struct pg_front *front, char *assignment)
{
	char *equals = strchr(assignment, '=');

	if (!equals || equals == assignment)
		return false;
	*equals = 0;
	for (char *c = assignment; *c; c++) {
		if (*c == '-')
			*c = '_';
	}
	return add_startup(front, assignment, equals + 1);
}

/* The startup parameter "options": the server's command line, of which settings are what clients
 * use. */
static bool add_options(struct pg_front *front, const char *options)
{
	bool ok = true;
	bool value_follows = false;

	while (ok) {
		struct buf word = {0};
		if (!read_option(&options, &word)) {
			buf_clear(&word);
			break;
		}
		char *text = (char *)word.data;
		if (value_follows) {
			ok = add_assignment(front, text);
			value_follows = false;
		} else if (strcmp(text, "-c") == 0) {
			value_follows = true;
		} else if (text_starts_with(text, "-c") || text_starts_with(text, "--")) {
			ok = add_assignment(front, text + 2);
		} else {
			ok = false;
		}
		buf_clear(&word);
	}
	return ok && !value_follows;
}

static bool is_no(const char *value)
{
	static const char *const words[] = {"false", "off", "no", "0", "f", "n"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (text_equal_ci(value, words[i]))
			return true;
	}
	return false;
}

/* Borrowed from the message. */
struct startup_names {
	const char *user, *database;
};

/* Takes one parameter; returns NULL, or what is wrong with it. Unknown protocol options are
 * collected. */
static const char *take_parameter(struct pg_front *front, const char *name, const char *value,
	struct startup_names *names, struct buf *unknown)
{
	const char **slot = strcmp(name, "user") == 0       ? &names->user
			    : strcmp(name, "database") == 0 ? &names->database
							    : NULL;

	if (slot) {
		*slot = value;
		return NULL;
	}
	if (strcmp(name, "options") == 0)
		return add_options(front, value) ? NULL
						 : "invalid command-line argument in options";
	if (strcmp(name, "replication") == 0)
		return is_no(value)
			       ? NULL
			       : "replication connections are not pooled: connect to the server";
	if (text_starts_with(name, "_pq_.")) {
		buf_cstr(unknown, name);
		return NULL;
	}
	return add_startup(front, name, value) ? NULL
					       : "too many startup parameters, or too long ones";
}

/* NegotiateProtocolVersion: what of the client's wishes is not there. */
static void negotiate(struct pg_front *front, const struct buf *unknown, struct output *to_client)
{
	struct buf b = {0};
	uint32_t n = 0;

	for (size_t i = 0; i < unknown->len; i++)
		n += unknown->data[i] == 0;
	if (n == 0 && front->protocol_version <= PG_PROTOCOL_LATEST)
		return;
	if (front->protocol_version > PG_PROTOCOL_LATEST)
		front->protocol_version = PG_PROTOCOL_LATEST;
	size_t offset = pg_begin(&b, 'v');
	buf_u32be(&b, front->protocol_version);
	buf_u32be(&b, n);
	buf_put(&b, unknown->data, unknown->len);
	pg_end(&b, offset);
	pg_send_buf(to_client, &b);
}

static enum front_verdict read_startup(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct startup_names names = {0};
	struct buf unknown = {0};
	const char *problem = NULL;

	while (!problem) {
		const char *name = reader_cstr(r, NULL);
		if (!name || !name[0])
			break;
		const char *value = reader_cstr(r, NULL);
		if (value)
			problem = take_parameter(front, name, value, &names, &unknown);
	}
	if (!problem && !reader_done(r))
		problem = "expected terminator as last byte";
	if (!problem && (!names.user || !names.user[0]))
		problem = "no PostgreSQL user name specified in startup packet";
	if (!problem && !front_set_names(&front->base, names.user,
				names.database ? names.database : names.user))
		problem = "out of memory";
	if (problem) {
		buf_clear(&unknown);
		return bad_startup(front, problem, to_client);
	}
	negotiate(front, &unknown, to_client);
	buf_clear(&unknown);
	front->phase = PHASE_IDENTIFY;
	return FRONT_IDENTIFY;
}

static enum front_verdict read_cancel(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct cancel_key *key = &front->base.key;

	key->id = reader_u32be(r);
	size_t len = reader_left(r);
	if (len == 0 || len > sizeof(key->secret))
		return bad_startup(front, "invalid cancel request", to_client);
	key->secret_len = (uint8_t)len;
	memcpy(key->secret, reader_bytes(r, key->secret_len), key->secret_len);
	front->base.reason = REASON_CANCEL_DONE;
	front->phase = PHASE_ENDED;
	return FRONT_CANCEL;
}

/* A packet without a type: its length, a code, and what belongs to the code. */
static enum front_verdict startup_packet(
	struct pg_front *front, struct input *in, struct output *to_client)
{
	struct reader r;

	reader_init(&r, in->data, in->len);
	uint32_t len = reader_u32be(&r);
	if (r.failed)
		return FRONT_MORE;
	if (len < 8 || len > PG_STARTUP_MAX)
		return bad_startup(front, "invalid length of startup packet", to_client);
	if (in->len < len)
		return FRONT_MORE;
	reader_init(&r, in->data + 4, len - 4);
	input_skip(in, len);
	uint32_t code = reader_u32be(&r);
	if (code == PG_CANCEL_REQUEST)
		return read_cancel(front, &r, to_client);
	if (code == PG_SSL_REQUEST || code == PG_GSSENC_REQUEST) {
		if (++front->login->n_preambles > PREAMBLES_MAX || len != 8)
			return bad_startup(front, "too many requests for encryption", to_client);
		output_copy(to_client, "N", 1);
		return FRONT_FLUSH;
	}
	if (code >> 16 != 3)
		return bad_startup(front, "unsupported frontend protocol: weir supports 3.0 to 3.2",
			to_client);
	front->protocol_version = code;
	return read_startup(front, &r, to_client);
}

/* --- the proof --- */

void login_identify(struct pg_front *front, const char *secret)
{
	struct login *login = front->login;
	enum secret_kind kind = secret_kind(secret);
	struct account account = {.user = front->base.user, .secret = secret};
	struct scram_verifier verifier;

	front->phase = PHASE_PASSWORD;
	login->known = kind != SECRET_NONE;
	login->sasl = kind != SECRET_MD5;
	if (!login->sasl) {
		random_bytes(login->salt, sizeof(login->salt));
		login->secret = strdup(secret);
		return;
	}
	if (!login->known || !find_verifier(front->worker, &account, &verifier)) {
		login->known = false;
		scram_verifier_mock(front->base.user, &verifier);
	}
	scram_server_init(&login->scram, &verifier, NULL);
	explicit_bzero(&verifier, sizeof(verifier));
}

static enum front_verdict proved(struct pg_front *front, struct output *to_client)
{
	struct buf b = {0};

	pg_end(&b, begin_auth(&b, AUTH_OK));
	pg_send_buf(to_client, &b);
	front->phase = PHASE_PROVED;
	return FRONT_AUTHENTICATED;
}

static enum front_verdict md5_proof(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	const char *response = reader_cstr(r, NULL);

	if (!reader_done(r))
		return front_end(front, REASON_PROTOCOL_VIOLATION, "invalid password packet size",
			to_client);
	struct login *login = front->login;
	if (!login->secret ||
		!md5_response_valid(login->secret, front->base.user, login->salt, response))
		return refuse_password(front, to_client);
	return proved(front, to_client);
}

/* SASLInitialResponse names the mechanism and has the first message; SASLResponse is the next
 * message. */
static bool sasl_content(
	struct login *login, struct reader *r, const uint8_t **ret_data, size_t *ret_len)
{
	if (!login->sasl_begun) {
		const char *mechanism = reader_cstr(r, NULL);
		uint32_t len = reader_u32be(r);
		if (!mechanism || strcmp(mechanism, "SCRAM-SHA-256") != 0 || len != reader_left(r))
			return false;
		login->sasl_begun = true;
	}
	*ret_len = reader_left(r);
	*ret_data = reader_bytes(r, *ret_len);
	return !r->failed;
}

static void send_sasl(uint32_t code, struct buf *reply, struct output *to_client)
{
	struct buf b = {0};
	size_t offset = begin_auth(&b, code);

	buf_put(&b, reply->data, reply->len);
	pg_end(&b, offset);
	b.failed |= reply->failed;
	pg_send_buf(to_client, &b);
}

static enum front_verdict sasl_proof(
	struct pg_front *front, struct reader *r, struct output *to_client)
{
	struct login *login = front->login;
	struct buf reply = {0};
	const uint8_t *data;
	const char *problem;
	enum front_verdict verdict = FRONT_MORE;
	size_t len;

	if (!sasl_content(login, r, &data, &len))
		return front_end(
			front, REASON_PROTOCOL_VIOLATION, "malformed SCRAM message", to_client);
	enum scram_outcome outcome = scram_server_step(&login->scram, data, len, &reply, &problem);
	switch (outcome) {
	case SCRAM_MORE:
		send_sasl(AUTH_SASL_MORE, &reply, to_client);
		break;
	case SCRAM_DONE:
		send_sasl(AUTH_SASL_END, &reply, to_client);
		verdict =
			login->known ? proved(front, to_client) : refuse_password(front, to_client);
		break;
	case SCRAM_REFUSED:
		verdict = refuse_password(front, to_client);
		break;
	case SCRAM_MALFORMED:
		verdict = front_end(front, REASON_PROTOCOL_VIOLATION, problem, to_client);
		break;
	}
	buf_clear(&reply);
	return verdict;
}

static enum front_verdict password_message(
	struct pg_front *front, struct input *in, struct output *to_client)
{
	struct pg_header h;
	struct reader r;

	int outcome = pg_header_read(in, &h);
	if (outcome == PG_HEADER_SHORT)
		return FRONT_MORE;
	if (outcome == PG_HEADER_BAD || h.type != 'p' || h.total > PASSWORD_MESSAGE_MAX)
		return front_end(front, REASON_PROTOCOL_VIOLATION,
			h.type == 'p' ? "invalid password packet size"
				      : "expected password response",
			to_client);
	if (in->len < h.total)
		return FRONT_MORE;
	reader_init(&r, in->data + PG_HEADER, h.total - PG_HEADER);
	input_skip(in, h.total);
	return front->login->sasl ? sasl_proof(front, &r, to_client)
				  : md5_proof(front, &r, to_client);
}

enum front_verdict login_from_client(
	struct pg_front *front, struct input *in, struct output *to_client)
{
	if (!front->login && !(front->login = calloc(1, sizeof(*front->login))))
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	if (front->phase == PHASE_STARTUP)
		return startup_packet(front, in, to_client);
	if (!front->login->asked) {
		front->login->asked = true;
		ask_for_proof(front->login, to_client);
	}
	return password_message(front, in, to_client);
}
