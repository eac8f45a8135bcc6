/*
 * What a client has run last, or waits to run: only looked for when somebody asks who holds a
 * server connection. A prepared statement's text is found where it is kept anyway.
 */
#include "proto/mysql/state.h"
#include "proto/mysql/statements.h"

struct statement_text my_last_statement(const struct my_front *front, const struct my_back *back)
{
	const struct statement_note *note = &back->base.last_statement;

	return note->prepared ? my_client_statement_text(front, note->prepared) : note_text(note);
}

struct statement_text my_waiting_statement(const struct my_front *front, struct input in)
{
	struct statement_text text = {0};
	struct my_header h;
	struct reader r;

	if (front->phase != MY_PHASE_READY || !my_header_read(&in, &h))
		return text;
	bool is_whole = in.len >= MY_HEADER + h.len;
	reader_init(&r, in.data + MY_HEADER, (is_whole ? MY_HEADER + h.len : in.len) - MY_HEADER);
	uint8_t command = reader_u8(&r);
	if (r.failed)
		return text;
	if (command == MY_COM_STMT_EXECUTE || command == MY_COM_STMT_FETCH) {
		uint32_t id = reader_u32le(&r);
		return r.failed ? text : my_client_statement_text(front, id);
	}
	if (command != MY_COM_QUERY && command != MY_COM_STMT_PREPARE)
		return text;
	text.text = (const char *)r.at;
	text.len = reader_left(&r);
	text.goes_on = !is_whole || h.len == MY_PACKET_FULL;
	return text;
}
