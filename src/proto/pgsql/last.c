/*
 * What a client has run last, or waits to run: only looked for when somebody asks who holds a
 * server connection. The extended protocol's statements are found where they are kept anyway.
 */
#include <string.h>

#include "proto/pgsql/state.h"

static struct statement_text of_parse_body(const uint8_t *body, size_t len)
{
	return (struct statement_text){
		.text = (const char *)body, .len = strnlen((const char *)body, len)};
}

struct statement_text last_statement(const struct pg_front *front, const struct pg_back *back)
{
	const struct statement_note *note = &back->base.last_statement;

	if (!note->prepared) {
		/* Of a Parse it has what follows the text, too. */
		struct statement_text text = note_text(note);
		size_t len = text.text ? strnlen(text.text, text.len) : 0;
		text.goes_on = text.goes_on && len == text.len;
		text.len = len;
		return text;
	}
	if (!front->bound)
		return (struct statement_text){0};
	return of_parse_body(front->bound->body, front->bound->len);
}

/* Of a Bind: portal and statement. */
static struct statement_text of_bind(const struct pg_front *front, struct reader *r)
{
	reader_cstr(r, NULL);
	const char *name = reader_cstr(r, NULL);
	const struct client_statement *cs =
		name && name[0] ? client_statement_find(&front->statements, name) : NULL;

	if (cs)
		return of_parse_body(cs->statement->body, cs->statement->len);
	/* The unnamed one, as a Parse message. */
	if (!name || name[0] || !front->unnamed)
		return (struct statement_text){0};
	return of_parse_body(front->unnamed + PG_HEADER + 1, front->unnamed_len - PG_HEADER - 1);
}

struct statement_text waiting_statement(const struct pg_front *front, struct input in)
{
	struct statement_text nothing = {0};
	struct pg_header h;
	struct reader r;

	if (front->phase != PHASE_READY || pg_header_read(&in, &h) != 0)
		return nothing;
	bool is_whole = in.len >= h.total;
	reader_init(&r, in.data + PG_HEADER, (is_whole ? h.total : in.len) - PG_HEADER);
	switch (h.type) {
	case 'Q':
		break;
	case 'P':
		if (!reader_cstr(&r, NULL))
			return nothing;
		break;
	case 'B':
		return of_bind(front, &r);
	default:
		return nothing;
	}
	struct statement_text text = of_parse_body(r.at, reader_left(&r));
	text.goes_on = !is_whole;
	return text;
}
