/* Two halves of MySQL's protocol by themselves, for the tests of what a session is made of. */
#pragma once

#include "proto/mysql/state.h"

struct my_session {
	struct proto_worker *worker;
	struct proto_pool *pool;
	struct my_front *front;
	struct my_back *back;
};

/* Without any settings on either side; `schema`: of the server's URL, or NULL. */
void my_session_begin(struct my_session *s, const char *schema);
void my_session_end(struct my_session *s);

/* Sets `name` to `value` in one half's list (NULL: takes it out). */
void my_session_set(
	struct my_session *s, const struct settings **slot, const char *name, const char *value);
