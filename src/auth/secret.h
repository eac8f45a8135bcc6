/* What an account's password may be stored as. */
#pragma once

#include <stdbool.h>

enum secret_kind {
	SECRET_NONE,
	SECRET_PLAIN,
	SECRET_SCRAM,  /* "SCRAM-SHA-256$iterations:salt$stored key:server key", as in pg_authid */
	SECRET_MD5,    /* "md5" and 32 hexadecimal digits, as in pg_authid */
	SECRET_NATIVE, /* "*" and 40 hexadecimal digits: mysql_native_password, as in mysql.user */
	SECRET_CACHING_SHA2, /* "$A$005$" and 63 bytes more, as in mysql.user; or "0x" and that in
				hexadecimal: see caching_sha2_is_stored() */
};

/* NULL is SECRET_NONE. A text that only resembles one of the forms is a plain password. */
enum secret_kind secret_kind(const char *secret);

/* True if weir can log in to a server with it: a password, or none, but not a hash of one. */
bool secret_is_password(const char *secret);
