/* The two halves by themselves. */
#include "mysql_session.h"

#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "proto/mysql/mysql.h"

void my_session_begin(struct my_session *s, const char *schema)
{
	struct mysql_handle *handle = calloc(1, sizeof(*handle));
	struct dialled dialled = {.fd = -1, .handle = handle};

	assert_non_null(handle);
	handle->version = strdup("10.11.1-MariaDB");
	handle->status = MY_STATUS_AUTOCOMMIT;
	handle->url.dbname = schema ? strdup(schema) : NULL;
	*s = (struct my_session){.worker = mysql_protocol.worker_new()};
	assert_non_null(s->worker);
	s->pool = mysql_protocol.pool_new(s->worker);
	assert_non_null(s->pool);
	s->front = my_front(mysql_protocol.front_new(s->worker, 1));
	s->front->pool = s->pool;
	s->front->memory_limit = 1 << 20;
	s->back = my_back(mysql_protocol.back_new(s->pool, &dialled));
	assert_non_null(s->back);
	const struct settings *none = settings_empty(s->worker->settings);
	my_settings_replace(&s->back->settings, none);
	settings_unref(none);
}

void my_session_end(struct my_session *s)
{
	mysql_protocol.front_free(&s->front->base);
	mysql_protocol.back_free(&s->back->base);
	mysql_protocol.pool_free(s->pool);
	mysql_protocol.worker_free(s->worker);
}

void my_session_set(
	struct my_session *s, const struct settings **slot, const char *name, const char *value)
{
	assert_true(my_settings_set(s->worker->settings, slot, name, value));
}
