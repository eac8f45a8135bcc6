/* Reading database URLs: RFC 3986, and libpq's list of hosts. */
#include "config/url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"

#define DRIVER_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

static const struct {
	const char *scheme, *protocol;
} schemes[] = {{"postgresql", "postgresql"}, {"postgres", "postgresql"}, {"mysql", "mysql"},
	{"mariadb", "mysql"}};

static int problem(struct buf *ret_problem, const char *text)
{
	buf_text(ret_problem, text);
	return 1;
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	if (!at)
		return -1;
	return at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

/* Decodes %XX. NULL with *ret_bad set for a bad escape or a NUL; NULL without for no memory. */
static char *decode(const char *text, size_t len, bool *ret_bad)
{
	char *decoded = malloc(len + 1), *to = decoded;

	*ret_bad = false;
	for (size_t i = 0; decoded && i < len; i++) {
		if (text[i] != '%') {
			*to++ = text[i];
			continue;
		}
		int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
		int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;
		if (high < 0 || low < 0 || (high | low) == 0) {
			*ret_bad = true;
			free(decoded);
			return NULL;
		}
		*to++ = (char)(high << 4 | low);
		i += 2;
	}
	if (decoded)
		*to = 0;
	return decoded;
}

static int decode_to(const char *text, size_t len, char **ret_text, struct buf *ret_problem)
{
	bool bad;

	*ret_text = decode(text, len, &bad);
	if (bad)
		return problem(ret_problem,
			"bad percent-encoding: allowed is % and two hexadecimal digits");
	return *ret_text ? 0 : -ENOMEM;
}

static int parse_scheme(const char **at, struct url *url, struct buf *ret_problem)
{
	size_t len = strcspn(*at, ":+/");
	const char *rest = *at + len;

	if (*rest == '+')
		rest += 1 + strspn(rest + 1, DRIVER_LETTERS);
	for (size_t i = 0; text_starts_with(rest, "://") && i < ARRAY_LEN(schemes); i++) {
		if (text_is_ci(*at, len, schemes[i].scheme)) {
			url->protocol = schemes[i].protocol;
			*at = rest + strlen("://");
			return 0;
		}
	}
	return problem(ret_problem,
		"unknown scheme: allowed are postgresql://, postgres://, mysql://, "
		"mariadb://, each with an optional +driver");
}

static int parse_user(const char *text, size_t len, struct url *url, struct buf *ret_problem)
{
	const char *colon = memchr(text, ':', len);
	size_t user_len = colon ? (size_t)(colon - text) : len;

	int r = user_len ? decode_to(text, user_len, &url->user, ret_problem) : 0;
	if (r == 0 && colon)
		r = decode_to(colon + 1, len - user_len - 1, &url->password, ret_problem);
	return r;
}

static int parse_port(const char *text, size_t len, uint16_t *ret_port, struct buf *ret_problem)
{
	unsigned long port = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9' || port > 65535)
			port = 65536;
		else
			port = port * 10 + (unsigned long)(text[i] - '0');
	}
	if (len && (port < 1 || port > 65535))
		return problem(ret_problem, "bad port: allowed are numbers from 1 to 65535");
	*ret_port = (uint16_t)port;
	return 0;
}

static int add_host(const char *text, size_t len, struct url *url, struct buf *ret_problem)
{
	struct url_host *hosts = realloc(url->hosts, (url->n_hosts + 1) * sizeof(*hosts));
	const char *end = text + len, *name = text, *colon = NULL;
	size_t name_len;

	if (!hosts)
		return -ENOMEM;
	url->hosts = hosts;
	struct url_host *host = &url->hosts[url->n_hosts];
	*host = (struct url_host){0};
	if (len && text[0] == '[') {
		const char *close = memchr(text, ']', len);
		if (!close || (close + 1 < end && close[1] != ':'))
			return problem(ret_problem, "bad address: allowed is [v6]:port");
		name = text + 1;
		name_len = (size_t)(close - name);
		colon = close + 1 < end ? close + 1 : NULL;
	} else {
		colon = memchr(text, ':', len);
		name_len = colon ? (size_t)(colon - text) : len;
	}
	int r = decode_to(name, name_len, &host->name, ret_problem);
	if (r != 0)
		return r;
	url->n_hosts++;
	if (!host->name[0]) {
		free(host->name);
		host->name = strdup("127.0.0.1");
	}
	if (colon)
		r = parse_port(colon + 1, (size_t)(end - colon - 1), &host->port, ret_problem);
	return host->name ? r : -ENOMEM;
}

static int parse_hosts(const char *text, size_t len, struct url *url, struct buf *ret_problem)
{
	for (;;) {
		const char *comma = memchr(text, ',', len);
		size_t host_len = comma ? (size_t)(comma - text) : len;
		int r = add_host(text, host_len, url, ret_problem);
		if (r != 0 || !comma)
			return r;
		text += host_len + 1;
		len -= host_len + 1;
	}
}

static int add_param(const char *text, size_t len, struct url *url, struct buf *ret_problem)
{
	const char *equals = memchr(text, '=', len);
	struct url_param *params = realloc(url->params, (url->n_params + 1) * sizeof(*params));

	if (!params)
		return -ENOMEM;
	url->params = params;
	struct url_param *param = &url->params[url->n_params];
	*param = (struct url_param){0};
	if (!equals || equals == text)
		return problem(ret_problem, "bad parameter: allowed is key=value, joined by &");
	size_t key_len = (size_t)(equals - text);
	int r = decode_to(text, key_len, &param->key, ret_problem);
	if (r == 0)
		r = decode_to(equals + 1, len - key_len - 1, &param->value, ret_problem);
	if (r != 0) {
		free(param->key);
		return r;
	}
	url->n_params++;
	return 0;
}

static int parse_params(const char *text, struct url *url, struct buf *ret_problem)
{
	int r = 0;

	while (r == 0 && *text) {
		size_t len = strcspn(text, "&");
		if (len)
			r = add_param(text, len, url, ret_problem);
		text += len + (text[len] == '&');
	}
	return r;
}

static int parse(const char *at, struct url *url, struct buf *ret_problem)
{
	int r = parse_scheme(&at, url, ret_problem);
	if (r != 0)
		return r;
	if (strchr(at, '#'))
		return problem(ret_problem, "a # has no place in the URL: encode it as %23");
	size_t authority = strcspn(at, "/?");
	/* A password may hold an unencoded @: the last one separates. */
	const char *host = at;
	for (size_t i = 0; i < authority; i++) {
		if (at[i] == '@')
			host = at + i + 1;
	}
	if (host > at)
		r = parse_user(at, (size_t)(host - at - 1), url, ret_problem);
	if (r == 0)
		r = parse_hosts(host, authority - (size_t)(host - at), url, ret_problem);
	at += authority;
	if (r == 0 && *at == '/') {
		size_t len = strcspn(++at, "?");
		r = len ? decode_to(at, len, &url->dbname, ret_problem) : 0;
		at += len;
	}
	if (r == 0 && *at)
		r = parse_params(at + 1, url, ret_problem);
	return r;
}

int url_parse(const char *text, struct url *ret_url, struct buf *ret_problem)
{
	struct url url = {0};

	int r = parse(text, &url, ret_problem);
	if (r != 0)
		url_clear(&url);
	else
		*ret_url = url;
	return r;
}

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void url_clear(struct url *url)
{
	free(url->user);
	wipe(url->password);
	for (size_t i = 0; i < url->n_hosts; i++)
		free(url->hosts[i].name);
	free(url->hosts);
	free(url->dbname);
	for (size_t i = 0; i < url->n_params; i++) {
		free(url->params[i].key);
		wipe(url->params[i].value);
	}
	free(url->params);
	*url = (struct url){0};
}

static bool copy_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

int url_copy(const struct url *url, struct url *ret_copy)
{
	struct url copy = {.protocol = url->protocol};
	bool ok = copy_text(&copy.user, url->user) && copy_text(&copy.password, url->password) &&
		  copy_text(&copy.dbname, url->dbname);

	copy.hosts = calloc(url->n_hosts + 1, sizeof(*copy.hosts));
	copy.params = calloc(url->n_params + 1, sizeof(*copy.params));
	ok = ok && copy.hosts && copy.params;
	for (; ok && copy.n_hosts < url->n_hosts; copy.n_hosts++) {
		const struct url_host *host = &url->hosts[copy.n_hosts];
		copy.hosts[copy.n_hosts].port = host->port;
		ok = copy_text(&copy.hosts[copy.n_hosts].name, host->name);
	}
	for (; ok && copy.n_params < url->n_params; copy.n_params++) {
		const struct url_param *param = &url->params[copy.n_params];
		ok = copy_text(&copy.params[copy.n_params].key, param->key) &&
		     copy_text(&copy.params[copy.n_params].value, param->value);
	}
	if (!ok) {
		url_clear(&copy);
		return -ENOMEM;
	}
	*ret_copy = copy;
	return 0;
}

int url_port(const struct url *url)
{
	if (url->hosts[0].port)
		return url->hosts[0].port;
	return strcmp(url->protocol, "mysql") == 0 ? 3306 : 5432;
}

const char *url_param(const struct url *url, const char *key)
{
	for (size_t i = 0; i < url->n_params; i++) {
		if (strcmp(url->params[i].key, key) == 0)
			return url->params[i].value;
	}
	return NULL;
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool url_equal(const struct url *a, const struct url *b)
{
	bool equal = a->protocol == b->protocol && same(a->user, b->user) &&
		     same(a->password, b->password) && same(a->dbname, b->dbname) &&
		     a->n_hosts == b->n_hosts && a->n_params == b->n_params;

	for (size_t i = 0; equal && i < a->n_hosts; i++)
		equal = a->hosts[i].port == b->hosts[i].port &&
			same(a->hosts[i].name, b->hosts[i].name);
	for (size_t i = 0; equal && i < a->n_params; i++)
		equal = same(a->params[i].key, b->params[i].key) &&
			same(a->params[i].value, b->params[i].value);
	return equal;
}

void url_print(const struct url *url, struct buf *b)
{
	for (size_t i = 0; i < url->n_hosts; i++) {
		buf_printf(b, "%s%s", i ? "," : "", url->hosts[i].name);
		if (url->hosts[i].port)
			buf_printf(b, ":%u", url->hosts[i].port);
	}
	if (url->dbname)
		buf_printf(b, "/%s", url->dbname);
}
