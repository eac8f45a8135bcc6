/* A PostgreSQL client of the console. */
#include <string.h>

#include "fuzz.h"
#include "proto/pgsql/pgsql.h"
#include "proto/proto.h"

static void reply(struct front *front, struct output *to_client)
{
	static const struct result_column columns[] = {{"name", RESULT_TEXT}, {"n", RESULT_INT8}};
	struct result result;

	result_init(&result);
	if (strchr(front->command, 'x')) {
		result_fail(&result, "42601", "no %s", front->command);
	} else {
		result.columns = columns;
		result.n_columns = 2;
		result_text(&result, front->command);
		result_int(&result, 5);
	}
	pgsql_protocol.console_reply(front, &result, to_client);
	result_clear(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct proto_worker *worker;
	static struct output to_client, to_server;
	struct input in = {.data = data, .len = size};
	enum front_verdict verdict;

	if (!worker)
		worker = pgsql_protocol.worker_new();
	CHECK(worker);
	struct front *front = pgsql_protocol.front_new(worker, 1);
	CHECK(front);
	output_init(&to_client);
	output_init(&to_server);
	pgsql_protocol.front_console(front);
	do {
		verdict = pgsql_protocol.from_client(front, NULL, &in, &to_client, &to_server);
		if (verdict == FRONT_CONSOLE)
			reply(front, &to_client);
		output_reset(&to_client);
	} while (verdict == FRONT_CONSOLE || verdict == FRONT_FLUSH);
	CHECK(verdict == FRONT_MORE || verdict == FRONT_CLOSE);
	pgsql_protocol.front_free(front);
	return 0;
}
