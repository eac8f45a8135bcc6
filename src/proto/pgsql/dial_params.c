/*
 * The parameters of a PostgreSQL URL: which are libpq's, which are only an application's driver's,
 * which weir keeps to itself; and the list that libpq is called with. Never connects.
 */
#include "proto/pgsql/dial_params.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/keepalive.h"
#include "proto/pgsql/dial.h"
#include "util/text.h"

/* A number's macro as a text. */
#define DIGITS(number)    DIGITS_OF(number)
#define DIGITS_OF(number) #number

/* More than weir adds by itself. */
#define PARAMS_OWN 16

/* The longest connect_timeout that a URL may ask for: as the option's. */
#define TIMEOUT_MAX_SEC 86400

/* What URLs of applications say to asyncpg, psycopg or SQLAlchemy, about their own side. */
static const char *const drivers_own[] = {"async_fallback", "command_timeout",
	"executemany_batch_page_size", "executemany_mode", "executemany_values_page_size",
	"max_cacheable_statement_size", "max_cached_statement_lifetime", "prepare_threshold",
	"prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size",
	"timeout"};

/* What libpq knows and weir does not pass on. */
static const struct {
	const char *key, *instead;
} refused[] = {
	{"host", "write it before the path; a socket directory as in "
		 "postgresql://user@%2Frun%2Fpostgresql/dbname"},
	{"port", "write it after the host, as in postgresql://user@host:5432/dbname"},
	{"user", "write it before the host, as in postgresql://user@host/dbname"},
	{"password", "write it before the host, as in postgresql://user:password@host/dbname"},
	{"dbname", "write it as the path, as in postgresql://user@host/dbname"},
	{"hostaddr", "write the address as the host"},
	{"service", "weir reads no service file: write what it says into the URL"},
	{"servicefile", "weir reads no service file: write what it says into the URL"},
	{"replication", "replication connections cannot be pooled"},
	{"fallback_application_name", "allowed is application_name"},
};

/* Parameters whose values are worth checking before the first client waits for a connection. */
static const struct {
	const char *key, *allowed; /* with a space before and after each word */
} choices[] = {
	{"sslmode", " disable allow prefer require verify-ca verify-full "},
	{"target_session_attrs", " any read-write read-only primary standby prefer-standby "},
	/* weir could not take over a connection that GSSAPI encrypts. */
	{"gssencmode", " disable prefer "},
};

void pgsql_forget_environment(void)
{
	char name[128];

	/* By their common beginning: besides what PQconndefaults() lists there are PGTZ,
	 * PGREQUIRESSL, PGSYSCONFDIR and what future versions may add. */
	for (char **at = environ; at && *at;) {
		size_t len = strcspn(*at, "=");
		bool libpqs = text_starts_with(*at, "PG") && len < sizeof(name) &&
			      !text_starts_with(*at, "PGPASSFILE=");
		if (!libpqs) {
			at++;
			continue;
		}
		/* The entries after it move up. */
		unsetenv(text_copy(name, len + 1, *at));
	}
}

static bool is_drivers_own(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(drivers_own); i++) {
		if (strcmp(key, drivers_own[i]) == 0)
			return true;
	}
	return false;
}

static const char *refused_instead(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		if (strcmp(key, refused[i].key) == 0)
			return refused[i].instead;
	}
	return NULL;
}

/* asyncpg says ssl where libpq says sslmode; others give it a truth value. */
static const char *libpq_key(const char *key)
{
	return strcmp(key, "ssl") == 0 ? "sslmode" : key;
}

static const char *libpq_value(const char *key, const char *value)
{
	if (strcmp(key, "ssl") == 0 && text_equal_ci(value, "true"))
		return "require";
	if (strcmp(key, "ssl") == 0 && text_equal_ci(value, "false"))
		return "disable";
	return value;
}

/* --- checking --- */

static bool is_known(const PQconninfoOption *options, const char *key)
{
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		if (strcmp(key, o->keyword) == 0)
			return true;
	}
	return false;
}

static bool check_key(const PQconninfoOption *options, const char *key, struct buf *ret_problem)
{
	const char *instead = refused_instead(key);
	const char *separator = "";

	if (instead) {
		buf_printf(ret_problem, "url: parameter \"%s\" is not for weir: %s", key, instead);
		return false;
	}
	if (is_known(options, libpq_key(key)))
		return true;
	buf_printf(ret_problem, "url: unknown parameter \"%s\": allowed are ", key);
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		if (refused_instead(o->keyword))
			continue;
		buf_printf(ret_problem, "%s%s", separator, o->keyword);
		separator = ", ";
	}
	return false;
}

static bool is_word_of(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = words; len && (at = strstr(at, word)); at++) {
		if (at > words && at[-1] == ' ' && at[len] == ' ')
			return true;
	}
	return false;
}

static bool check_value(const char *key, const char *value, struct buf *ret_problem)
{
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		if (strcmp(libpq_key(key), choices[i].key) != 0)
			continue;
		if (strchr(value, ' ') ||
			!is_word_of(choices[i].allowed, libpq_value(key, value))) {
			buf_printf(ret_problem, "url: bad value of \"%s\": allowed are%.*s", key,
				(int)strlen(choices[i].allowed) - 1, choices[i].allowed);
			return false;
		}
	}
	if (strcmp(key, "connect_timeout") == 0 &&
		(!value[0] || strlen(value) > 5 || value[strspn(value, "0123456789")])) {
		buf_printf(ret_problem,
			"url: bad value of \"connect_timeout\": allowed are whole seconds, up to "
			"%d",
			TIMEOUT_MAX_SEC);
		return false;
	}
	return true;
}

static bool is_repeated(const struct url *url, size_t i)
{
	for (size_t j = 0; j < i; j++) {
		if (strcmp(libpq_key(url->params[j].key), libpq_key(url->params[i].key)) == 0)
			return true;
	}
	return false;
}

static bool check_param(
	const struct url *url, size_t i, const PQconninfoOption *options, struct buf *ret_problem)
{
	const char *key = url->params[i].key;

	if (is_drivers_own(key))
		return true;
	if (!check_key(options, key, ret_problem))
		return false;
	if (is_repeated(url, i)) {
		buf_printf(
			ret_problem, "url: parameter \"%s\" is given twice: allowed is once", key);
		return false;
	}
	return check_value(key, url->params[i].value, ret_problem);
}

bool pgsql_url_check(const struct url *url, struct buf *ret_problem)
{
	PQconninfoOption *options = PQconndefaults();
	bool good = options != NULL;

	if (!options)
		buf_text(ret_problem, "url: out of memory");
	for (size_t i = 0; good && i < url->n_params; i++)
		good = check_param(url, i, options, ret_problem);
	PQconninfoFree(options);
	return good;
}

/* --- the list for libpq --- */

static usec_t timeout_of(const struct dial_target *target)
{
	const char *text = url_param(target->url, "connect_timeout");
	long seconds = text ? strtol(text, NULL, 10) : 0;

	/* libpq takes 0 for no limit at all: the option is the limit then. */
	if (seconds <= 0)
		return target->connect_timeout;
	return (seconds < TIMEOUT_MAX_SEC ? seconds : TIMEOUT_MAX_SEC) * USEC_PER_SEC;
}

static void add_url_params(struct pgsql_params *p, const struct url *url)
{
	for (size_t i = 0; i < url->n_params; i++) {
		const struct url_param *param = &url->params[i];
		if (!is_drivers_own(param->key))
			pgsql_params_add(
				p, libpq_key(param->key), libpq_value(param->key, param->value));
	}
}

int pgsql_params_init(struct pgsql_params *ret_params, const struct dial_target *target)
{
	const struct url *url = target->url;
	const char *user = url->user ? url->user : target->user;
	struct pgsql_params *p = ret_params;

	*p = (struct pgsql_params){.cap = PARAMS_OWN + url->n_params + PGSQL_PARAMS_ROOM};
	p->keys = calloc(p->cap + 1, sizeof(*p->keys));
	p->values = calloc(p->cap + 1, sizeof(*p->values));
	if (!p->keys || !p->values) {
		pgsql_params_clear(p);
		return -ENOMEM;
	}
	p->timeout = timeout_of(target);
	pgsql_params_add(p, "fallback_application_name", "weir");
	/* A server that vanishes without a word is noticed. */
	pgsql_params_add(p, "keepalives_idle", DIGITS(KEEPALIVE_IDLE_SEC));
	pgsql_params_add(p, "keepalives_interval", DIGITS(KEEPALIVE_INTERVAL_SEC));
	pgsql_params_add(p, "keepalives_count", DIGITS(KEEPALIVE_COUNT));
	pgsql_params_add(p, "tcp_user_timeout", DIGITS(KEEPALIVE_USER_TIMEOUT_MSEC));
	add_url_params(p, url);
	pgsql_params_add(p, "gssencmode", "disable");
	pgsql_params_add(p, "user", user);
	pgsql_params_add(p, "password", url->user ? url->password : target->password);
	pgsql_params_add(p, "dbname", url->dbname ? url->dbname : user);
	/* Dialling keeps its own, exact time; this is for cancelling, in libpq's coarse way. */
	snprintf(p->timeout_digits, sizeof(p->timeout_digits), "%lld",
		(long long)((p->timeout + USEC_PER_SEC - 1) / USEC_PER_SEC));
	pgsql_params_add(p, "connect_timeout", p->timeout_digits);
	return 0;
}

void pgsql_params_clear(struct pgsql_params *p)
{
	free(p->keys);
	free(p->values);
	*p = (struct pgsql_params){0};
}

void pgsql_params_add(struct pgsql_params *p, const char *key, const char *value)
{
	if (!value)
		return;
	CHECK(p->n < p->cap);
	p->keys[p->n] = key;
	p->values[p->n++] = value;
	p->keys[p->n] = p->values[p->n] = NULL;
}
