/* Plays conversations whole and cut, and compares. */
#include "pgsql_check.h"

#include <string.h>

#include "../test.h"

static void check_same(const struct script *script, const struct outcome *whole,
	const struct cutting *how, const char *what, size_t position)
{
	struct outcome other;
	struct buf a = {0}, b = {0};

	converse(script, how, &other);
	bool same = outcome_equal(whole, &other) && !other.malformed && !other.broken;
	/* What an answer that came earlier would have kept back, a late one does not. */
	if (!how->interleaved && !how->eager && !how->travels)
		same = same && whole->to_server.len == other.to_server.len &&
		       memcmp(whole->to_server.data, other.to_server.data, other.to_server.len) ==
			       0 &&
		       whole->n_queries == other.n_queries && whole->n_binds == other.n_binds &&
		       whole->n_transactions == other.n_transactions &&
		       whole->n_client_parses == other.n_client_parses &&
		       whole->n_server_parses == other.n_server_parses;
	if (!same) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			if (!whole->to_client[i].len)
				continue;
			outcome_print(whole, i, &a);
			outcome_print(&other, i, &b);
			print_error("client %u\n  whole: %s\n  cut:   %s\n", i, a.data, b.data);
			buf_clear(&a);
			buf_clear(&b);
		}
		fail_msg("%s at %zu: malformed %d broken %d, to the server %zu and %zu bytes", what,
			position, other.malformed, other.broken, whole->to_server.len,
			other.to_server.len);
	}
	outcome_clear(&other);
}

static void check_cuts(const struct script *script, const struct outcome *whole)
{
	static const struct cutting shapes[] = {
		{.client_piece = 1},
		{.server_piece = 1},
		{.client_piece = 1, .server_piece = 1},
		{.client_piece = 1, .server_piece = 1, .interleaved = true},
		{.client_piece = 7, .server_piece = 5, .interleaved = true},
		{.client_piece = 5, .server_piece = 1, .interleaved = true},
		{.client_piece = 1, .server_piece = 9, .interleaved = true},
		{.eager = true},
		{.client_piece = 1, .server_piece = 1, .eager = true},
		{.client_piece = 1, .server_piece = 1, .interleaved = true, .eager = true},
		{.client_piece = 11, .server_piece = 3, .interleaved = true, .eager = true},
	};

	check_same(script, whole, &(struct cutting){.travels = true}, "travelling", 0);
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
		check_same(script, whole, &shapes[i], "shape", i);
	for (size_t i = 1; i < whole->n_client_bytes; i++) {
		struct cutting how = {.client_cut = i};
		check_same(script, whole, &how, "the client's bytes cut", i);
	}
	for (size_t i = 1; i < whole->n_server_bytes; i++) {
		struct cutting how = {.server_cut = i};
		check_same(script, whole, &how, "the server's bytes cut", i);
	}
}

void pgsql_check(struct script *script, const char *const expected[CLIENTS])
{
	static const struct cutting uncut;
	struct outcome whole;
	struct buf text = {0};

	converse(script, &uncut, &whole);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (!expected[i])
			continue;
		outcome_print(&whole, i, &text);
		assert_string_equal((char *)text.data, expected[i]);
		buf_clear(&text);
	}
	assert_false(whole.malformed || whole.broken);
	check_cuts(script, &whole);
	outcome_clear(&whole);
	script_clear(script);
}
