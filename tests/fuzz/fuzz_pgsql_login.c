/* A PostgreSQL client's first bytes, up to the proof of its password. The first byte says what the
 * account's secret is, the second where the bytes are cut. */
#include "fuzz.h"
#include "proto/pgsql/pgsql.h"
#include "proto/proto.h"

static const char *const secrets[] = {NULL, "plain", "md50123456789abcdef0123456789abcdef",
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
	":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="};

/* False: the login is over. */
static bool hear(struct front *front, struct buf *kept, const char *secret)
{
	static struct output to_client, to_server;
	struct input in = intake_kept(kept);
	enum front_verdict verdict;

	output_init(&to_client);
	output_init(&to_server);
	for (;;) {
		verdict = pgsql_protocol.from_client(front, NULL, &in, &to_client, &to_server);
		CHECK(to_server.total == 0);
		output_reset(&to_client);
		if (verdict == FRONT_IDENTIFY)
			pgsql_protocol.front_identify(front, secret);
		else if (verdict != FRONT_FLUSH)
			break;
	}
	CHECK(intake_keep(kept, in) == 0);
	return verdict == FRONT_MORE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Keys that were derived from a password stay with the worker. */
	static struct proto_worker *worker;
	struct buf kept = {0};

	if (!worker)
		worker = pgsql_protocol.worker_new();
	if (!worker || size < 2)
		return 0;
	const char *secret = secrets[data[0] % 4];
	size_t cut = data[1], rest = size - 2;
	if (cut > rest)
		cut = rest;
	struct front *front = pgsql_protocol.front_new(worker, 1);
	CHECK(front);
	buf_put(&kept, data + 2, cut);
	if (hear(front, &kept, secret)) {
		buf_put(&kept, data + 2 + cut, rest - cut);
		(void)hear(front, &kept, secret);
	}
	buf_clear(&kept);
	pgsql_protocol.front_free(front);
	return 0;
}
