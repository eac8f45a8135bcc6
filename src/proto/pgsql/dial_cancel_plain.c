/* Cancelling with a libpq before 17: never under TLS, and without a time limit of its own. */
#include <libpq-fe.h>

#include "proto/pgsql/dial.h"
#include "util/log.h"

void *pgsql_cancel_new(const struct pgsql_handle *handle)
{
	return handle && handle->conn ? PQgetCancel(handle->conn) : NULL;
}

void pgsql_cancel_free(void *cancel)
{
	PQfreeCancel(cancel);
}

void pgsql_cancel(void *cancel)
{
	char problem[256], text[256];

	if (!PQcancel(cancel, problem, sizeof(problem)))
		log_warning("event=cancel_failed detail=\"%s\"",
			log_escape(problem, text, sizeof(text)));
}
