/*
 * What the first words of a statement say. Called by scan.c with the tokens; has no part in how
 * they are found.
 */
#include "proto/mysql/scan_meaning.h"

#include <stdlib.h>

#include "util/text.h"

/* The first token from `at` on that is this word, or SCAN_TOKENS_MAX. */
static unsigned find_token(const struct my_scan *s, unsigned at, const char *word)
{
	while (at < SCAN_TOKENS_MAX && !token_is(s, at, word))
		at++;
	return at;
}

static void end_set(struct my_scan *s)
{
	bool is_next = token_is(s, 1, "transaction");

	s->found |= SCAN_SET;
	/* Without SESSION, the form with @@ is about the next transaction only. */
	if (token_is(s, 1, "@@") &&
		(token_is(s, 2, "transaction_isolation") || token_is(s, 2, "tx_isolation") ||
			token_is(s, 2, "transaction_read_only") || token_is(s, 2, "tx_read_only")))
		is_next = true;
	if (is_next)
		s->found |= SCAN_SET_TRANSACTION;
	if (token_is(s, 1, "role") || token_is(s, 1, "password"))
		s->found |= SCAN_SET_PINS;
	if (token_is(s, 1, "statement"))
		s->found |= SCAN_SET_STATEMENT;
	unsigned collate = find_token(s, 3, "collate");
	if (token_is(s, 1, "names") && collate + 1 < SCAN_TOKENS_MAX) {
		s->found |= SCAN_NAMES_COLLATE;
		text_copy(s->name, sizeof(s->name), s->tokens[collate + 1].text);
	}
	if (s->n_tokens == 4 && token_is(s, 1, "autocommit") && token_is(s, 2, "=")) {
		if (token_is(s, 3, "0") || token_is(s, 3, "off"))
			s->exact = EXACT_AUTOCOMMIT_OFF;
		else if (token_is(s, 3, "1") || token_is(s, 3, "on"))
			s->exact = EXACT_AUTOCOMMIT_ON;
	}
}

static void end_flush(struct my_scan *s)
{
	/* Names of tables in between may be many. */
	bool locks = s->n_tokens > SCAN_TOKENS_MAX;

	for (unsigned i = 1; i < SCAN_TOKENS_MAX; i++)
		locks |= token_is(s, i, "lock") || token_is(s, i, "export");
	if (!locks)
		return;
	s->found |= SCAN_LOCK;
	text_copy(s->name, sizeof(s->name), "flush");
}

/* LOCK and UNLOCK: of tables, or of the instance. */
static void end_lock(struct my_scan *s, uint32_t found)
{
	s->found |= found;
	text_copy(s->name, sizeof(s->name), token_is(s, 1, "instance") ? "instance" : "tables");
}

/* The table's name behind TABLE [IF [NOT] EXISTS] [schema.]. */
static void table_name(struct my_scan *s, unsigned at)
{
	while (token_is(s, at, "if") || token_is(s, at, "not") || token_is(s, at, "exists"))
		at++;
	if (token_is(s, at + 1, "."))
		at += 2;
	text_copy(s->name, sizeof(s->name), at < SCAN_TOKENS_MAX ? s->tokens[at].text : "");
}

static void name_from(struct my_scan *s, unsigned at)
{
	text_copy(s->name, sizeof(s->name), at < SCAN_TOKENS_MAX ? s->tokens[at].text : "");
}

static void end_prepare(struct my_scan *s, uint32_t found, unsigned name_at)
{
	s->found |= found;
	name_from(s, name_at);
}

static void end_create(struct my_scan *s)
{
	unsigned table = find_token(s, 1, "table");

	if (table < 5 && token_is(s, table - 1, "temporary")) {
		s->found |= SCAN_TEMPORARY;
		table_name(s, table + 1);
	}
}

static void end_drop(struct my_scan *s)
{
	unsigned table = find_token(s, 1, "table");

	if (token_is(s, 1, "prepare")) {
		s->found |= SCAN_DEALLOCATE;
		name_from(s, 2);
	} else if (table <= 2) {
		s->found |= SCAN_DROP;
		table_name(s, table + 1);
	}
}

static void end_select(struct my_scan *s)
{
	bool is_call = s->n_tokens == 4 && token_is(s, 2, "(") && token_is(s, 3, ")");
	bool is_variable = s->n_tokens == 3 && token_is(s, 1, "@@");

	if (is_call && token_is(s, 1, "last_insert_id"))
		s->exact = EXACT_LAST_INSERT_ID;
	else if (is_call && token_is(s, 1, "row_count"))
		s->exact = EXACT_ROW_COUNT;
	else if (is_call && token_is(s, 1, "found_rows"))
		s->exact = EXACT_FOUND_ROWS;
	else if (is_call && token_is(s, 1, "connection_id"))
		s->exact = EXACT_CONNECTION_ID;
	else if (is_variable && (token_is(s, 2, "identity") || token_is(s, 2, "last_insert_id")))
		s->exact = EXACT_LAST_INSERT_ID;
	else if (is_variable && token_is(s, 2, "warning_count"))
		s->exact = EXACT_COUNT_WARNINGS;
}

static void end_show(struct my_scan *s)
{
	bool counts = token_is(s, 1, "count");

	if (token_is(s, 1, "warnings") || token_is(s, 1, "errors") || counts)
		s->found |= SCAN_DIAGNOSTICS;
	if (s->n_tokens == 2 && token_is(s, 1, "warnings"))
		s->exact = EXACT_SHOW_WARNINGS;
	else if (s->n_tokens == 2 && token_is(s, 1, "errors"))
		s->exact = EXACT_SHOW_ERRORS;
	else if (s->n_tokens == 6 && counts && token_is(s, 5, "warnings"))
		s->exact = EXACT_COUNT_WARNINGS;
}

static void end_kill(struct my_scan *s)
{
	bool query = token_is(s, 1, "query");
	unsigned at = query || token_is(s, 1, "connection") ? 2 : 1;
	char *end;

	if (s->n_tokens != at + 1 || s->tokens[at].kind != TOKEN_WORD)
		return;
	s->number = strtoull(s->tokens[at].text, &end, 10);
	if (!*end)
		s->exact = query ? EXACT_KILL_QUERY : EXACT_KILL;
}

static void end_transaction(struct my_scan *s, enum scan_exact exact)
{
	if (token_is(s, 1, "to") || token_is(s, 2, "to"))
		return; /* ROLLBACK TO a savepoint */
	s->found |= SCAN_ENDS;
	if (s->n_tokens == 1 || (s->n_tokens == 2 && token_is(s, 1, "work")))
		s->exact = exact;
}

static void end_backup(struct my_scan *s)
{
	s->found |= token_is(s, 2, "end") ? SCAN_UNLOCK : SCAN_LOCK;
	text_copy(s->name, sizeof(s->name), "backup");
}

static void end_handler(struct my_scan *s)
{
	unsigned open = find_token(s, 2, "open"), as = find_token(s, 2, "as");

	if (open < SCAN_TOKENS_MAX)
		s->found |= SCAN_HANDLER;
	else if (find_token(s, 2, "close") < SCAN_TOKENS_MAX)
		s->found |= SCAN_HANDLER_CLOSE;
	else
		return;
	name_from(s, open < SCAN_TOKENS_MAX && as < SCAN_TOKENS_MAX ? as + 1 : 1);
}

static void end_by_first_word(struct my_scan *s)
{
	if (token_is(s, 0, "select"))
		end_select(s);
	else if (token_is(s, 0, "set"))
		end_set(s);
	else if (token_is(s, 0, "commit"))
		end_transaction(s, EXACT_COMMIT);
	else if (token_is(s, 0, "rollback"))
		end_transaction(s, EXACT_ROLLBACK);
	else if (token_is(s, 0, "show"))
		end_show(s);
	else if (token_is(s, 0, "create"))
		end_create(s);
	else if (token_is(s, 0, "drop"))
		end_drop(s);
	else if (token_is(s, 0, "lock"))
		end_lock(s, SCAN_LOCK);
	else if (token_is(s, 0, "unlock"))
		end_lock(s, SCAN_UNLOCK);
	else if (token_is(s, 0, "begin") || token_is(s, 0, "start"))
		s->found |= SCAN_BEGINS;
	else if (token_is(s, 0, "flush"))
		end_flush(s);
	else if (token_is(s, 0, "backup"))
		end_backup(s);
	else if (token_is(s, 0, "handler"))
		end_handler(s);
	else if (token_is(s, 0, "savepoint"))
		s->found |= SCAN_SAVEPOINT;
	else if (token_is(s, 0, "prepare"))
		end_prepare(s, SCAN_PREPARE, 1);
	else if (token_is(s, 0, "deallocate"))
		end_prepare(s, SCAN_DEALLOCATE, 2);
	else if (token_is(s, 0, "get"))
		s->found |= SCAN_DIAGNOSTICS;
	else if (token_is(s, 0, "kill"))
		end_kill(s);
	else if (token_is(s, 0, "call") || token_is(s, 0, "execute"))
		s->found |= SCAN_CALL;
}

/* Behind USE others run in the schema that it has chosen, or do not run. */
static void note_schema(struct my_scan *s)
{
	bool creates = token_is(s, 0, "create") &&
		       (token_is(s, 1, "database") || token_is(s, 1, "schema"));

	if (s->n_statements == 0 && (token_is(s, 0, "use") || creates))
		s->found |= SCAN_NO_SCHEMA;
	else if (s->n_statements == 1 && s->first_creates)
		s->found &= ~(uint32_t)SCAN_NO_SCHEMA;
	s->first_creates = creates;
}

void my_scan_meaning(struct my_scan *s)
{
	end_by_first_word(s);
	note_schema(s);
	if (++s->n_statements > 1)
		s->exact = EXACT_NONE;
}
