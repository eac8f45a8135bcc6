#include "auth/secret.h"

#include <string.h>

#include "auth/caching_sha2.h"
#include "auth/scram.h"

enum secret_kind secret_kind(const char *secret)
{
	struct scram_verifier verifier;

	if (!secret)
		return SECRET_NONE;
	if (strncmp(secret, "md5", 3) == 0 && strlen(secret) == 35 &&
		strspn(secret + 3, "0123456789abcdef") == 32)
		return SECRET_MD5;
	if (*secret == '*' && strlen(secret) == 41 &&
		strspn(secret + 1, "0123456789abcdefABCDEF") == 40)
		return SECRET_NATIVE;
	if (caching_sha2_is_stored(secret))
		return SECRET_CACHING_SHA2;
	if (scram_verifier_parse(secret, &verifier) == 0)
		return SECRET_SCRAM;
	return SECRET_PLAIN;
}

bool secret_is_password(const char *secret)
{
	enum secret_kind kind = secret_kind(secret);

	return kind == SECRET_PLAIN || kind == SECRET_NONE;
}
