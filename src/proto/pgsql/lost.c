/*
 * A client whose transaction was lost: by a timeout, or with its server connection. It is in a
 * failed transaction, as PostgreSQL has it, until it rolls back; no server connection is needed for
 * that.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pgsql/state.h"
#include "proto/sql_text.h"
#include "util/text.h"

#define LOOK_MAX 8192

/* What a statement means for the lost transaction. */
enum ending {
	ENDING_NONE, /* that it has to be refused */
	ENDING_ROLLBACK,
	ENDING_COMMIT,
};

/* Takes the word at `*at` and what is blank behind it, if it is that one. */
static bool take_word(const char **at, const char *end, const char *word)
{
	size_t len = 0;

	while (*at + len < end && (((*at)[len] | 32) >= 'a' && ((*at)[len] | 32) <= 'z'))
		len++;
	if (!text_is_ci(*at, len, word))
		return false;
	*at = sql_skip_blank(*at + len, end);
	return true;
}

/* Judges the statement at the front of `sql`. ROLLBACK TO a savepoint ends nothing, and no
 * savepoint is left; AND CHAIN begins what nobody would be there to go on with. `ret_more`: others
 * follow. */
static enum ending ending_of(const char *sql, size_t len, bool *ret_more)
{
	enum ending ending = ENDING_NONE;
	const char *end = sql + len;
	const char *at = sql_skip_blank(sql, end);

	if (take_word(&at, end, "rollback") || take_word(&at, end, "abort"))
		ending = ENDING_ROLLBACK;
	else if (take_word(&at, end, "commit") || take_word(&at, end, "end"))
		ending = ENDING_COMMIT;
	if (!take_word(&at, end, "work"))
		take_word(&at, end, "transaction");
	if (take_word(&at, end, "and") &&
		!(take_word(&at, end, "no") && take_word(&at, end, "chain")))
		return ENDING_NONE;
	*ret_more = !sql_is_empty(at, (size_t)(end - at));
	return !*ret_more || *at == ';' ? ending : ENDING_NONE;
}

static enum ending ending_alone(const char *sql)
{
	bool more;
	enum ending ending = ending_of(sql, strlen(sql), &more);

	return more ? ENDING_NONE : ending;
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

/* The client is outside of transactions again. */
static void end_transaction(struct pg_front *front, struct output *to_client)
{
	front->base.failed_transaction = false;
	front->ending = ENDING_NONE;
	free(front->base.lost);
	front->base.lost = NULL;
	settings_replace(&front->settings.extra, front->settings.extra_before);
	if (front->settings.reported != front->reported_before)
		restore_reported(front, to_client);
}

/* Who commits and has not been told yet that there is nothing left to commit must not take the
 * answer for a success. Like any COMMIT that fails it ends the transaction. False: that was told.
 */
static bool tell_commit(struct pg_front *front, enum ending ending, struct output *to_client)
{
	if (ending != ENDING_COMMIT || !front->base.lost)
		return false;
	refuse(front, to_client);
	end_transaction(front, to_client);
	return true;
}

/* An extended message that does not lead to the end of the transaction. */
static void refuse_extended(struct pg_front *front, struct output *to_client)
{
	refuse(front, to_client);
	front->skipping = true;
}

static enum lost_outcome query(
	struct pg_front *front, const char *sql, size_t len, struct output *to_client)
{
	bool more;
	enum ending ending = ending_of(sql, len, &more);

	if (ending == ENDING_NONE) {
		refuse(front, to_client);
		pg_send_ready(to_client, 'E');
		return LOST_ANSWERED;
	}
	if (!tell_commit(front, ending, to_client)) {
		if (!more)
			pg_send_text(to_client, 'C', "ROLLBACK");
		end_transaction(front, to_client);
		/* A server will take the first of the statements as we have, with a warning. */
		if (more)
			return LOST_OVER;
	}
	pg_send_ready(to_client, 'I');
	return LOST_ANSWERED;
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
		front->ending = ENDING_NONE;
		if (name && sql && !name[0])
			front->ending = (uint8_t)ending_alone(sql);
		if (front->ending) {
			pg_send_empty(to_client, '1');
			return;
		}
	} else if (type == 'B') {
		reader_cstr(r, NULL);
		name = reader_cstr(r, NULL);
		if (name && name[0]) {
			sql = named_text(front, name);
			front->ending = (uint8_t)ending_alone(sql);
		}
		if (front->ending) {
			pg_send_empty(to_client, '2');
			return;
		}
	} else if (type == 'D' && front->ending) {
		if (reader_u8(r) == 'S')
			output_copy(to_client, (uint8_t[]){'t', 0, 0, 0, 6, 0, 0}, 7);
		pg_send_empty(to_client, 'n');
		return;
	} else if (type == 'E' && front->ending) {
		front->skipping = tell_commit(front, (enum ending)front->ending, to_client);
		if (!front->skipping) {
			pg_send_text(to_client, 'C', "ROLLBACK");
			end_transaction(front, to_client);
		}
		return;
	}
	refuse_extended(front, to_client);
}

enum lost_outcome lost_message(struct pg_front *front, struct input *in, const struct pg_header *h,
	struct output *to_client)
{
	enum lost_outcome outcome = LOST_ANSWERED;
	struct reader r;
	size_t there = in->len < h->total ? in->len : h->total;

	if (there < h->total && h->total <= LOOK_MAX)
		return LOST_MORE;
	reader_init(&r, in->data + PG_HEADER, there - PG_HEADER);
	const char *content = (const char *)in->data + PG_HEADER;
	if (there < h->total || h->type == 'F') {
		/* Too large to end a transaction. */
		front->skip_request = true;
		refuse(front, to_client);
		return LOST_ANSWERED;
	}
	if (h->type == 'Q')
		outcome = query(front, content, strnlen(content, h->total - PG_HEADER), to_client);
	else
		extended(front, h->type, &r, to_client);
	if (outcome == LOST_ANSWERED)
		input_skip(in, h->total);
	return outcome;
}
