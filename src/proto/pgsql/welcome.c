/*
 * Between the proof and the first ReadyForQuery: what the client asked for at startup is turned
 * into settings, in the server's own spelling, and the client is told what a server of this pool
 * would tell it.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"
#include "util/random.h"
#include "util/text.h"

/* News are records: a greeting, which is pairs of name and value up to an empty name, or a
 * spelling, which is "name=value" and what it is to the server. */
#define NEWS_GREETING 'G'
#define NEWS_SPELLING 'S'

/* How many spellings of startup parameters are remembered per pool; more are asked for again. */
#define SPELLINGS_MAX 200

void welcome_accept(
	struct pg_front *front, struct proto_pool *pool, const struct config_pool *limits)
{
	front->pool = pool;
	front->session_mode = limits->pool_mode == POOL_MODE_SESSION;
	front->prepared_limit = limits->prepared_statements;
	front->memory_limit = limits->client_memory;
	front->phase = PHASE_WELCOME;
	login_free(front->login);
	front->login = NULL;
}

static void spelling_key(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "%s=%s", name, value);
	buf_u8(b, 0);
}

/* The server's spelling of a startup parameter: "" if it is not one that servers report; NULL: not
 * known yet. */
static const char *spelling(const struct proto_pool *pool, const char *name, const char *value)
{
	struct buf key = {0};

	spelling_key(&key, name, value);
	const char *spelled = key.failed ? NULL : settings_get(pool->spellings, (char *)key.data);
	buf_clear(&key);
	return spelled;
}

static void keep_spelling(struct proto_pool *pool, const char *key, const char *spelled)
{
	const struct settings *list;

	if (settings_count(pool->spellings) >= SPELLINGS_MAX) {
		const struct settings *empty = settings_empty(pool->worker->settings);
		settings_replace(&pool->spellings, empty);
		settings_unref(empty);
	}
	if (settings_with(pool->worker->settings, pool->spellings, key, spelled, &list) == 0) {
		settings_replace(&pool->spellings, list);
		settings_unref(list);
	}
}

static void learn_spelling(
	struct proto_pool *pool, const char *name, const char *value, const char *spelled)
{
	const char *known = spelling(pool, name, value);
	struct buf key = {0};

	if (known && strcmp(known, spelled) == 0)
		return;
	spelling_key(&key, name, value);
	if (!key.failed) {
		keep_spelling(pool, (char *)key.data, spelled);
		buf_u8(&pool->news, NEWS_SPELLING);
		buf_cstr(&pool->news, (char *)key.data);
		buf_cstr(&pool->news, spelled);
	}
	buf_clear(&key);
}

void welcome_learn_greeting(struct proto_pool *pool, const struct settings *greeting)
{
	if (pool->greeting == greeting)
		return;
	settings_replace(&pool->greeting, greeting);
	buf_u8(&pool->news, NEWS_GREETING);
	for (size_t i = 0; i < settings_count(greeting); i++) {
		buf_cstr(&pool->news, settings_name(greeting, i));
		buf_cstr(&pool->news, settings_value(greeting, i));
	}
	buf_u8(&pool->news, 0);
}

bool welcome_news(struct proto_pool *pool, struct buf *ret_news)
{
	if (pool->news.failed)
		buf_clear(&pool->news);
	*ret_news = pool->news;
	pool->news = (struct buf){0};
	return ret_news->len > 0;
}

static void take_greeting(struct proto_pool *pool, struct reader *r)
{
	struct settings_table *table = pool->worker->settings;
	const struct settings *list = settings_empty(table), *more;
	const char *name;

	while ((name = reader_cstr(r, NULL)) && *name) {
		const char *value = reader_cstr(r, NULL);
		if (!value || settings_with(table, list, name, value, &more) != 0)
			break;
		settings_unref(list);
		list = more;
	}
	settings_replace(&pool->greeting, list);
	settings_unref(list);
}

void welcome_told(struct proto_pool *pool, const struct buf *news)
{
	struct reader r;

	reader_init(&r, news->data, news->len);
	while (reader_left(&r)) {
		if (reader_u8(&r) == NEWS_GREETING) {
			take_greeting(pool, &r);
			continue;
		}
		const char *key = reader_cstr(&r, NULL), *spelled = reader_cstr(&r, NULL);
		if (spelled)
			keep_spelling(pool, key, spelled);
	}
}

static bool set(
	struct pg_front *front, const struct settings **slot, const char *name, const char *value)
{
	const struct settings *list;

	if (settings_with(front->worker->settings, *slot, name, value, &list) != 0)
		return false;
	settings_replace(slot, list);
	settings_unref(list);
	return true;
}

static bool set_extra(struct pg_front *front, const char *name, const char *value)
{
	struct buf marked = {0};

	buf_u8(&marked, '\'');
	buf_cstr(&marked, value);
	bool ok = !marked.failed && set(front, &front->settings.extra, name, (char *)marked.data);
	buf_clear(&marked);
	return ok;
}

/* Starts from what a server reports, with the client's wishes in it as far as their spelling is
 * known; the others are put in as the client spelled them. Returns how many are not known, or -1
 * without memory. */
static int settle_startup(struct pg_front *front)
{
	const struct settings *empty = settings_empty(front->worker->settings);
	int n_unknown = 0;

	settings_replace(&front->settings.reported, front->pool->greeting);
	settings_replace(&front->settings.extra, empty);
	settings_replace(&front->settings.extra_before, empty);
	settings_unref(empty);
	for (size_t i = 0; i < settings_count(front->startup); i++) {
		const char *name = settings_name(front->startup, i);
		const char *value = settings_value(front->startup, i);
		const char *spelled = spelling(front->pool, name, value);
		bool reported = settings_get(front->pool->greeting, name) != NULL;
		bool ok = reported ? set(front, &front->settings.reported, name,
					     spelled && *spelled ? spelled : value)
				   : set_extra(front, name, value);
		if (!ok)
			return -1;
		n_unknown += spelled == NULL;
	}
	return n_unknown;
}

/* The server has taken the wishes, and has said how it spells them. */
static void learn(struct pg_front *front, struct pg_back *back)
{
	for (size_t i = 0; i < settings_count(front->startup); i++) {
		const char *name = settings_name(front->startup, i);
		const char *spelled = settings_get(back->settings.reported, name);
		learn_spelling(front->pool, name, settings_value(front->startup, i),
			spelled ? spelled : "");
	}
}

static void make_key(struct pg_front *front, const struct pg_back *back)
{
	struct cancel_key *key = &front->base.key;

	if (front->session_mode && back)
		key->id = back->base.process_id;
	key->secret_len = front->protocol_version > PG_PROTOCOL_3_0 ? PG_CANCEL_SECRET_32 : 4;
	random_bytes(key->secret, key->secret_len);
}

static enum front_verdict greet(
	struct pg_front *front, const struct pg_back *back, struct output *to_client)
{
	struct buf b = {0};

	for (size_t i = 0; i < settings_count(front->settings.reported); i++) {
		size_t offset = pg_begin(&b, 'S');
		buf_cstr(&b, settings_name(front->settings.reported, i));
		buf_cstr(&b, settings_value(front->settings.reported, i));
		pg_end(&b, offset);
	}
	make_key(front, back);
	size_t offset = pg_begin(&b, 'K');
	buf_u32be(&b, front->base.key.id);
	buf_put(&b, front->base.key.secret, front->base.key.secret_len);
	pg_end(&b, offset);
	pg_send_buf(to_client, &b);
	pg_send_ready(to_client, 'I');
	settings_replace(&front->startup_reported, front->settings.reported);
	settings_replace(&front->reported_before, front->settings.reported);
	settings_replace(&front->startup_extra, front->settings.extra);
	settings_replace(&front->settings.extra_before, front->settings.extra);
	front->phase = PHASE_READY;
	front->base.welcomed = true;
	front->base.in_request = false;
	return FRONT_MORE;
}

/* The server did not take a wish: its words are the client's answer. What it has taken is not
 * known, so it is reset. */
static enum front_verdict refuse_startup(
	struct pg_front *front, struct pg_back *back, struct output *to_client)
{
	back->own_error = false;
	back->base.dirty = true;
	pg_send_refusal(to_client, &back->own_report, true);
	front->base.reason = REASON_BAD_STARTUP;
	front->phase = PHASE_ENDED;
	return FRONT_CLOSE;
}

enum front_verdict welcome_step(struct pg_front *front, struct pg_back *back,
	struct output *to_client, struct output *to_server)
{
	struct buf sql = {0};

	front->base.in_request = true;
	if (back && !back->base.at_rest)
		return FRONT_WAIT;
	if (back && back->own_error)
		return refuse_startup(front, back, to_client);
	if (!front->pool->greeting || (front->session_mode && !back))
		return FRONT_SERVER;
	if (back && front->asked_settings)
		learn(front, back);
	int n_unknown = settle_startup(front);
	if (n_unknown < 0)
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	if (n_unknown == 0 || front->asked_settings)
		return greet(front, back, to_client);
	if (!back)
		return FRONT_SERVER;
	front->asked_settings = true;
	sync_write(&front->settings, &back->settings, &sql);
	buf_u8(&sql, 0);
	if (sql.failed || !expectations_reserve(&back->expected, 4)) {
		buf_clear(&sql);
		return front_end(front, REASON_OUT_OF_MEMORY, NULL, to_client);
	}
	if (sql.len > 1)
		back_own_query(back, (const char *)sql.data, to_server);
	/* Not `reported`: that is learnt from the answer. */
	settings_replace(&back->settings.extra, front->settings.extra);
	settings_replace(&back->settings.extra_before, front->settings.extra);
	buf_clear(&sql);
	back_update(back);
	return back->base.at_rest ? welcome_step(front, back, to_client, to_server) : FRONT_WAIT;
}
