/* From a database's URL to the way in which its servers are connected to. For dial.c, control.c. */
#pragma once

#include <stdbool.h>

#include "config/url.h"
#include "tls/client.h"

/* MySQL's own words for it. */
enum mysql_ssl_mode {
	MYSQL_SSL_DISABLED,
	MYSQL_SSL_PREFERRED, /* if the server has TLS, and not to a socket of this machine */
	MYSQL_SSL_REQUIRED,
	MYSQL_SSL_VERIFY_CA,
	MYSQL_SSL_VERIFY_IDENTITY,
};

/* As the URL says: else VERIFY_CA where it names an authority, and PREFERRED where it does not, as
 * MySQL's own clients have it. */
enum mysql_ssl_mode mysql_ssl_mode(const struct url *url);

/* What TLS needs; the texts are the URL's and the caller's. */
void mysql_tls_client(const struct url *url, const char *host, struct tls_client *ret_client);
