/* The table of protocols: one row each. */
#include "proto/proto.h"

#include <string.h>

#include "proto/mysql/mysql.h"
#include "proto/pgsql/pgsql.h"

static const struct protocol *const protocols[] = {&pgsql_protocol, &mysql_protocol, NULL};

const struct protocol *const *protocol_all(void)
{
	return protocols;
}

void protocol_init_all(void)
{
	for (const struct protocol *const *p = protocols; *p; p++) {
		if ((*p)->init)
			(*p)->init();
	}
}

const struct protocol *protocol_find(const char *name)
{
	for (const struct protocol *const *p = protocols; *p; p++) {
		if (strcmp((*p)->name, name) == 0)
			return *p;
	}
	return NULL;
}
