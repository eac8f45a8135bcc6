/*
 * Database URLs, as applications already have them:
 * scheme[+driver]://user:password@host:port,host:port/db?k=v Schemes: postgresql, postgres, mysql,
 * mariadb. The driver is ignored. User, password, database and values are percent-decoded. Hosts
 * may be names, addresses, [v6], or percent-encoded unix socket directories.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/bytes.h"
#include "util/check.h"

struct url_host {
	char *name; /* a host name, a numeric address without brackets, or a directory ("/run/...")
		     */
	uint16_t port; /* 0: the protocol's default */
};

struct url_param {
	char *key, *value;
};

struct url {
	const char *
		protocol; /* "postgresql" or "mysql": a row of the table in proto/proto.h; static */
	char *user;       /* NULL: none given */
	char *password;   /* NULL: none given */
	struct url_host *hosts;
	size_t n_hosts; /* at least 1 */
	char *dbname;   /* NULL: none given */
	struct url_param *params;
	size_t n_params;
};

/* Parses `text`. Returns 0; 1 if it is not a URL that weir takes, with what is wrong and what is
 * allowed (no password in it) in `ret_problem`; or -ENOMEM. On success the caller owns *ret_url:
 * url_clear(). */
MUST_USE int url_parse(const char *text, struct url *ret_url, struct buf *ret_problem);

void url_clear(struct url *url);

/* A copy of its own. Returns 0 or -ENOMEM. */
MUST_USE int url_copy(const struct url *url, struct url *ret_copy);

/* The port of the first host, the protocol's usual one if none is given. */
int url_port(const struct url *url);

/* The value of that parameter, or NULL. */
const char *url_param(const struct url *url, const char *key);

/* True if both lead to the same server, account and database with the same parameters. */
bool url_equal(const struct url *a, const struct url *b);

/* "host:port/db" for messages: without user and password. */
void url_print(const struct url *url, struct buf *ret_text);
