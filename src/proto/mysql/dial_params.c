/* The parameters of a MySQL URL. Never connects. */
#include "proto/mysql/dial_params.h"

#include <string.h>

#include "proto/mysql/dial.h"
#include "util/text.h"

static const char *const modes[] = {
	[MYSQL_SSL_DISABLED] = "disabled",
	[MYSQL_SSL_PREFERRED] = "preferred",
	[MYSQL_SSL_REQUIRED] = "required",
	[MYSQL_SSL_VERIFY_CA] = "verify_ca",
	[MYSQL_SSL_VERIFY_IDENTITY] = "verify_identity",
};

/* MySQL's tools write it in capitals, URLs in either way. */
static bool find_mode(const char *text, enum mysql_ssl_mode *ret_mode)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (text_equal_ci(text, modes[i])) {
			*ret_mode = (enum mysql_ssl_mode)i;
			return true;
		}
	}
	return false;
}

enum mysql_ssl_mode mysql_ssl_mode(const struct url *url)
{
	const char *text = url_param(url, "ssl_mode");
	enum mysql_ssl_mode mode;

	if (text && find_mode(text, &mode))
		return mode;
	return url_param(url, "ssl_ca") ? MYSQL_SSL_VERIFY_CA : MYSQL_SSL_PREFERRED;
}

void mysql_tls_client(const struct url *url, const char *host, struct tls_client *ret_client)
{
	enum mysql_ssl_mode mode = mysql_ssl_mode(url);

	*ret_client =
		(struct tls_client){.proof = mode == MYSQL_SSL_VERIFY_IDENTITY ? TLS_PROVES_HOST
					     : mode == MYSQL_SSL_VERIFY_CA     ? TLS_PROVES_CA
									       : TLS_PROVES_NOTHING,
			.ca = url_param(url, "ssl_ca"),
			.cert = url_param(url, "ssl_cert"),
			.key = url_param(url, "ssl_key"),
			.host = host};
}

/* --- checking --- */

static bool is_known(const char *key)
{
	static const char *const known[] = {
		"unix_socket", "charset", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(key, known[i]) == 0)
			return true;
	}
	return false;
}

static bool check_param(const struct url *url, size_t i, struct buf *ret_problem)
{
	const char *key = url->params[i].key;
	enum mysql_ssl_mode mode;

	if (!is_known(key)) {
		buf_printf(ret_problem,
			"url: unknown parameter \"%.60s\": allowed are unix_socket, charset, "
			"ssl_mode, ssl_ca, ssl_cert, ssl_key",
			key);
		return false;
	}
	if (url_param(url, key) != url->params[i].value) {
		buf_printf(
			ret_problem, "url: parameter \"%s\" is given twice: allowed is once", key);
		return false;
	}
	if (strcmp(key, "ssl_mode") == 0 && !find_mode(url->params[i].value, &mode)) {
		buf_text(ret_problem, "url: bad value of \"ssl_mode\": allowed are disabled, "
				      "preferred, required, verify_ca, verify_identity");
		return false;
	}
	return true;
}

bool mysql_url_check(const struct url *url, struct buf *ret_problem)
{
	for (size_t i = 0; i < url->n_params; i++) {
		if (!check_param(url, i, ret_problem))
			return false;
	}
	if (mysql_ssl_mode(url) >= MYSQL_SSL_VERIFY_CA && !url_param(url, "ssl_ca")) {
		buf_printf(ret_problem,
			"url: ssl_mode=%s needs ssl_ca, a file with the certificates of the "
			"authorities that are trusted",
			modes[mysql_ssl_mode(url)]);
		return false;
	}
	if (url_param(url, "ssl_key") && !url_param(url, "ssl_cert")) {
		buf_text(ret_problem, "url: ssl_key needs ssl_cert, the certificate to that key");
		return false;
	}
	return true;
}
