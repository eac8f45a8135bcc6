/* A MySQL client's first bytes, up to the proof of its password. The first byte says what the
 * account's secret is, the second where the bytes are cut. */
#include "fuzz.h"
#include "proto/mysql/mysql.h"
#include "proto/proto.h"

static const char *const secrets[] = {
	NULL, "plain", "", "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"};

/* False: the login is over. */
static bool hear(struct front *front, struct buf *kept, const char *secret)
{
	static struct output to_client, to_server;
	struct input in = intake_kept(kept);
	enum front_verdict verdict;

	output_init(&to_client);
	output_init(&to_server);
	for (;;) {
		verdict = mysql_protocol.from_client(front, NULL, &in, &to_client, &to_server);
		CHECK(to_server.total == 0);
		output_reset(&to_client);
		if (verdict == FRONT_IDENTIFY)
			mysql_protocol.front_identify(front, secret);
		else if (verdict == FRONT_AUTHENTICATED && !front->welcomed)
			mysql_protocol.front_console(front);
		else if (verdict != FRONT_FLUSH)
			break;
	}
	CHECK(intake_keep(kept, in) == 0);
	return verdict == FRONT_MORE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct output to_client;
	struct buf kept = {0};

	if (size < 2)
		return 0;
	struct proto_worker *worker = mysql_protocol.worker_new();
	CHECK(worker);
	const char *secret = secrets[data[0] % 4];
	size_t cut = data[1], rest = size - 2;
	if (cut > rest)
		cut = rest;
	struct front *front = mysql_protocol.front_new(worker, 1);
	CHECK(front);
	output_init(&to_client);
	mysql_protocol.front_greet(front, &to_client);
	output_reset(&to_client);
	buf_put(&kept, data + 2, cut);
	if (hear(front, &kept, secret)) {
		buf_put(&kept, data + 2 + cut, rest - cut);
		(void)hear(front, &kept, secret);
	}
	buf_clear(&kept);
	mysql_protocol.front_free(front);
	mysql_protocol.worker_free(worker);
	return 0;
}
