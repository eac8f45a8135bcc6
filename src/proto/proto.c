/* The table of protocols, one row each; and what all of them do alike. */
#include "proto/proto.h"

#include <stdlib.h>
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

bool front_set_names(struct front *front, const char *user, const char *database)
{
	size_t user_size = strlen(user) + 1, database_size = strlen(database) + 1;
	char *names = malloc(user_size + database_size);

	if (!names)
		return false;
	memcpy(names, user, user_size);
	memcpy(names + user_size, database, database_size);
	free(front->user);
	front->user = names;
	front->database = names + user_size;
	return true;
}
