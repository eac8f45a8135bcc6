/* Cancelling with a libpq that encrypts the request as it did the connection (17 and later). */
#include <libpq-fe.h>

#include "proto/pgsql/dial.h"
#include "util/log.h"

/* This libpq needs no help with it. */
void pgsql_key_watch(void *conn, struct pgsql_key_watch *watch)
{
}

void pgsql_key_found(void *conn, struct pgsql_key_watch *watch, struct pgsql_key *ret_key)
{
	*ret_key = (struct pgsql_key){0};
}

void *pgsql_cancel_new(const struct pgsql_handle *handle)
{
	return handle && handle->conn ? PQcancelCreate(handle->conn) : NULL;
}

void pgsql_cancel_free(void *cancel)
{
	PQcancelFinish(cancel);
}

/* libpq keeps connect_timeout here. */
enum cancel_outcome pgsql_cancel(void *cancel)
{
	char text[256];

	if (PQcancelBlocking(cancel))
		return CANCEL_OVER;
	log_warning("event=cancel_failed detail=\"%s\"",
		log_escape(PQcancelErrorMessage(cancel), text, sizeof(text)));
	/* It does not say how far it has come. */
	return CANCEL_STRAY;
}
