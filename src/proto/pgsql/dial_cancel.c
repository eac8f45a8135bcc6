/* Cancelling with a libpq that encrypts the request as it did the connection (17 and later). */
#include <libpq-fe.h>

#include "proto/pgsql/dial.h"
#include "util/log.h"

void *pgsql_cancel_new(const struct pgsql_handle *handle)
{
	return handle && handle->conn ? PQcancelCreate(handle->conn) : NULL;
}

void pgsql_cancel_free(void *cancel)
{
	PQcancelFinish(cancel);
}

void pgsql_cancel(void *cancel)
{
	char text[256];

	if (!PQcancelBlocking(cancel))
		log_warning("event=cancel_failed detail=\"%s\"",
			log_escape(PQcancelErrorMessage(cancel), text, sizeof(text)));
}
