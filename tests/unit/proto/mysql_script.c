/* Writing scripts: who says what, and the packets that are said. */
#include "mysql_script.h"

#include <string.h>

#include "../test.h"
#include "proto/mysql/dial.h"

/* --- scripts --- */

static struct my_script_step *add(struct my_script *s, enum my_step_kind kind, unsigned who)
{
	assert_true(s->n < MY_STEPS && who < MY_CLIENTS && who < PLAY_SERVERS);
	s->steps[s->n] = (struct my_script_step){.kind = kind, .who = who};
	return &s->steps[s->n++];
}

struct buf *client_says(struct my_script *s, unsigned client)
{
	return &add(s, STEP_CLIENT, client)->bytes;
}

struct buf *server_says(struct my_script *s)
{
	return server_says_on(s, 0);
}

struct buf *server_says_on(struct my_script *s, unsigned server)
{
	return &add(s, STEP_SERVER, server)->bytes;
}

struct buf *server_answers(struct my_script *s)
{
	return &add(s, STEP_ANSWER, 0)->bytes;
}

void client_leaves(struct my_script *s, unsigned client)
{
	add(s, STEP_LEAVE, client);
}

void server_breaks(struct my_script *s)
{
	add(s, STEP_LOSE, 0);
}

void other_pool(struct my_script *s)
{
	add(s, STEP_POOL, 0);
}

void console_next(struct my_script *s)
{
	add(s, STEP_CONSOLE, 0);
}

void client_logs_in(struct my_script *s, unsigned client, const char *plugin, enum my_proof proof)
{
	client_logs_in_cut(s, client, plugin, proof, SIZE_MAX);
}

void client_logs_in_cut(
	struct my_script *s, unsigned client, const char *plugin, enum my_proof proof, size_t len)
{
	struct my_script_step *step = add(s, STEP_LOGIN, client);

	step->plugin = plugin;
	step->proof = proof;
	step->max = len;
}

struct buf *client_logs_in_behind(
	struct my_script *s, unsigned client, const char *plugin, enum my_proof proof)
{
	client_logs_in(s, client, plugin, proof);
	return &s->steps[s->n - 1].bytes;
}

void client_proves(struct my_script *s, unsigned client, enum my_proof proof)
{
	add(s, STEP_PROVE, client)->proof = proof;
}

void my_script_clear(struct my_script *s)
{
	for (size_t i = 0; i < s->n; i++)
		buf_clear(&s->steps[i].bytes);
	*s = (struct my_script){0};
}

void put_packet(struct buf *b, uint8_t sequence, const void *payload, size_t len)
{
	buf_u24le(b, (uint32_t)len);
	buf_u8(b, sequence);
	buf_put(b, payload, len);
}

void put_tls_request(struct buf *b, uint32_t capabilities)
{
	size_t packet = my_begin(b, 1);

	buf_u32le(b, capabilities | MY_SSL);
	buf_u32le(b, 0xffffff);
	buf_u8(b, MYSQL_COLLATION);
	buf_put(b, (uint8_t[23]){0}, 23);
	my_end(b, packet);
}

void put_command(struct buf *b, uint8_t command, const void *argument, size_t len)
{
	buf_u24le(b, (uint32_t)len + 1);
	buf_u8(b, 0);
	buf_u8(b, command);
	buf_put(b, argument, len);
}

void put_query(struct buf *b, const char *sql)
{
	put_command(b, MY_COM_QUERY, sql, strlen(sql));
}

void put_prepare(struct buf *b, const char *sql)
{
	put_command(b, MY_COM_STMT_PREPARE, sql, strlen(sql));
}

void put_about(struct buf *b, uint8_t command, uint32_t id, const void *more, size_t len)
{
	buf_u24le(b, (uint32_t)len + 5);
	buf_u8(b, 0);
	buf_u8(b, command);
	buf_u32le(b, id);
	buf_put(b, more, len);
}

void put_ok(struct buf *b, uint16_t status)
{
	my_write_ok(b, 1, status);
}

static void put_column(struct buf *b, uint8_t sequence)
{
	put_packet(b, sequence, "\3def\0\0\0\1a\0\x0c\x2d\0\0\1\0\0\xfd\0\0\0\0\0", 22);
}

void put_result(struct buf *b, uint8_t *sequence, const struct my_result *result)
{
	put_packet(b, (*sequence)++, "\1", 1);
	put_column(b, (*sequence)++);
	my_write_eof(b, (*sequence)++, 0, result->columns_status | MY_STATUS_AUTOCOMMIT);
	for (size_t i = 0; i < ARRAY_LEN(result->rows) && result->rows[i]; i++) {
		size_t at = my_begin(b, (*sequence)++);
		my_write_lenenc_bytes(b, result->rows[i], strlen(result->rows[i]));
		my_end(b, at);
	}
	if (result->fails)
		put_error(b, (*sequence)++, 1317);
	else
		my_write_eof(b, (*sequence)++, result->n_warnings,
			result->status | MY_STATUS_AUTOCOMMIT);
}

void put_row(struct buf *b, const char *text)
{
	const struct my_result result = {.rows = {text}};
	uint8_t sequence = 1;

	put_result(b, &sequence, &result);
}

void put_tracked(struct buf *b, uint8_t sequence, const char *name, const char *value)
{
	struct buf pair = {0}, entry = {0};

	my_write_lenenc_bytes(&pair, name, strlen(name));
	my_write_lenenc_bytes(&pair, value, strlen(value));
	buf_u8(&entry, 0);
	my_write_lenenc_bytes(&entry, pair.data, pair.len);
	size_t packet = my_begin(b, sequence);
	buf_put(b, "\0\0\0", 3);
	buf_u16le(b, MY_STATUS_AUTOCOMMIT | MY_STATUS_STATE_CHANGED);
	buf_put(b, "\0\0\0", 3); /* warnings, and no text */
	my_write_lenenc_bytes(b, entry.data, entry.len);
	my_end(b, packet);
	buf_clear(&pair);
	buf_clear(&entry);
}

void put_prepared(struct buf *b, uint32_t id)
{
	size_t at = my_begin(b, 1);

	buf_u8(b, 0);
	buf_u32le(b, id);
	buf_u16le(b, 0); /* columns */
	buf_u16le(b, 1); /* parameters */
	buf_u8(b, 0);
	buf_u16le(b, 0);
	my_end(b, at);
	put_column(b, 2);
	my_write_eof(b, 3, 0, MY_STATUS_AUTOCOMMIT);
}

void put_error(struct buf *b, uint8_t sequence, uint16_t code)
{
	my_write_error(b, sequence, code, "HY000", "no");
}

void put_no_warnings(struct buf *b)
{
	const struct my_result none = {0};
	uint8_t sequence = 1;

	put_result(b, &sequence, &none);
}

void client_prepares(struct my_script *s, unsigned client, uint32_t id)
{
	put_prepare(client_says(s, client), "SELECT ?");
	put_prepared(server_says(s), id);
}

void server_is_reset(struct my_script *s)
{
	for (int i = 0; i < 3; i++)
		put_ok(server_says(s), MY_STATUS_AUTOCOMMIT);
}
