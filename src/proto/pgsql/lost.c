/*
 * A client whose transaction was lost: by a timeout, or with its server connection. It is in a
 * failed transaction, as PostgreSQL has it, until it rolls back; no server connection is needed for
 * that.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"
#include "util/text.h"

#define LOOK_MAX 8192

/* Does the text end the transaction? Its first word decides. */
static bool ends_transaction(const char *sql, size_t len)
{
	static const char *const words[] = {"rollback", "commit", "abort", "end"};
	size_t start = 0, end;

	while (start < len && strchr(" \t\r\n", sql[start]) && sql[start])
		start++;
	for (end = start; end < len && ((sql[end] | 32) >= 'a' && (sql[end] | 32) <= 'z'); end++)
		;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (text_is_ci(sql + start, end - start, words[i]))
			return true;
	}
	return false;
}

/* How the transaction was lost is told once; after that it is a failed one like any other. */
static void refuse(struct pg_front *front, struct output *to_client)
{
	struct buf b = {0};

	if (front->base.lost) {
		pg_send_refusal(to_client, front->base.lost, false);
		free(front->base.lost);
		front->base.lost = NULL;
		return;
	}
	pg_write_report(&b, 'E', "ERROR", "25P02",
		"current transaction is aborted, commands ignored until end of transaction block",
		NULL);
	pg_send_buf(to_client, &b);
}

/* What a rollback undoes, the server would report. */
static void restore_reported(struct pg_front *front, struct output *to_client)
{
	const struct settings *before = front->reported_before;

	for (size_t i = 0; i < settings_count(before); i++) {
		const char *name = settings_name(before, i), *value = settings_value(before, i);
		const char *now = settings_get(front->settings.reported, name);
		struct buf b = {0};
		if (now && strcmp(now, value) == 0)
			continue;
		size_t offset = pg_begin(&b, 'S');
		buf_cstr(&b, name);
		buf_cstr(&b, value);
		pg_end(&b, offset);
		pg_send_buf(to_client, &b);
	}
	settings_replace(&front->settings.reported, before);
}

static void end_transaction(struct pg_front *front, struct output *to_client)
{
	front->base.failed_transaction = false;
	front->rolling_back = false;
	free(front->base.lost);
	front->base.lost = NULL;
	settings_replace(&front->settings.extra, front->settings.extra_before);
	pg_send_text(to_client, 'C', "ROLLBACK");
	if (front->settings.reported != front->reported_before)
		restore_reported(front, to_client);
}

/* An extended message that does not lead to the end of the transaction. */
static void refuse_extended(struct pg_front *front, struct output *to_client)
{
	refuse(front, to_client);
	front->skipping = true;
}

static bool query(struct pg_front *front, const char *sql, size_t len, struct output *to_client)
{
	if (ends_transaction(sql, len)) {
		end_transaction(front, to_client);
		pg_send_ready(to_client, 'I');
		return true;
	}
	refuse(front, to_client);
	pg_send_ready(to_client, 'E');
	return true;
}

/* The text that a Bind or Describe leads to, if it is a named statement's. */
static const char *named_text(struct pg_front *front, const char *name)
{
	const struct client_statement *cs = client_statement_find(&front->statements, name);

	return cs ? (const char *)cs->statement->body : "";
}

static void extended(
	struct pg_front *front, uint8_t type, struct reader *r, struct output *to_client)
{
	const char *sql = NULL, *name = NULL;

	if (type == 'P') {
		name = reader_cstr(r, NULL);
		sql = reader_cstr(r, NULL);
		/* A name would have to be remembered; ending a transaction is not worth one. */
		front->rolling_back = name && sql && !name[0] && ends_transaction(sql, strlen(sql));
		if (front->rolling_back) {
			pg_send_empty(to_client, '1');
			return;
		}
	} else if (type == 'B') {
		reader_cstr(r, NULL);
		name = reader_cstr(r, NULL);
		if (name && name[0]) {
			sql = named_text(front, name);
			front->rolling_back = ends_transaction(sql, strlen(sql));
		}
		if (front->rolling_back) {
			pg_send_empty(to_client, '2');
			return;
		}
	} else if (type == 'D' && front->rolling_back) {
		if (reader_u8(r) == 'S')
			output_copy(to_client, (uint8_t[]){'t', 0, 0, 0, 6, 0, 0}, 7);
		pg_send_empty(to_client, 'n');
		return;
	} else if (type == 'E' && front->rolling_back) {
		end_transaction(front, to_client);
		return;
	}
	refuse_extended(front, to_client);
}

bool lost_message(struct pg_front *front, struct input *in, const struct pg_header *h,
	struct output *to_client)
{
	struct reader r;
	size_t there = in->len < h->total ? in->len : h->total;

	if (there < h->total && h->total <= LOOK_MAX)
		return false;
	reader_init(&r, in->data + PG_HEADER, there - PG_HEADER);
	const char *content = (const char *)in->data + PG_HEADER;
	if (there < h->total || h->type == 'F') {
		/* Too large to end a transaction. */
		front->skip_request = true;
		refuse(front, to_client);
		return true;
	}
	if (h->type == 'Q')
		query(front, content, h->total - PG_HEADER, to_client);
	else
		extended(front, h->type, &r, to_client);
	input_skip(in, h->total);
	return true;
}
