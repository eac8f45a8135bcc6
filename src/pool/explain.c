/*
 * Who holds the pool, in words: for the log, and for the client that waited for nothing, if it may
 * know.
 */
#include <stdio.h>

#include "pool/internal.h"
#include "util/log.h"
#include "util/text.h"

static double seconds(usec_t duration)
{
	return (double)duration / (double)USEC_PER_SEC;
}

static void print_size(const struct pool *pool, unsigned n_open, struct buf *text)
{
	const struct config_pool *limits = &pool->limits;

	if (limits->max_overflow < 0)
		buf_printf(text, "%u, no limit", n_open);
	else
		buf_printf(text, "%u of %d", n_open, limits->pool_size + limits->max_overflow);
}

static void print_pins(const struct census *census, struct buf *text)
{
	for (unsigned i = 0; i < census->n_pins; i++)
		buf_printf(text, "%s%s", i ? ", " : " (", census->pins[i]);
	if (census->n_pins)
		buf_printf(text, "%s)", census->n_pins == CENSUS_PINS ? ", ..." : "");
}

static void print_more(unsigned n, const char *what, struct buf *text)
{
	if (n)
		buf_printf(text, ", %u %s", n, what);
}

static void print_uses(const struct pool *pool, const struct census *census, struct buf *text)
{
	const unsigned *n = census->n_uses;
	unsigned n_shards = pool->owner->host.n_shards, n_held = 0;

	for (int use = 0; use < N_USES; use++)
		n_held += n[use];
	buf_printf(text, "%u idle in transaction, %u running, %u pinned", n[USE_IN_TRANSACTION],
		n[USE_ACTIVE], n[USE_PINNED]);
	print_pins(census, text);
	print_more(n[USE_SESSION], "in session mode", text);
	print_more(n[USE_DELIVERING], "delivering", text);
	print_more(census->n_alive - n_held, "between clients", text);
	print_more(census->n_open - census->n_alive, "being opened or closed", text);
	if (census->n_shards < n_shards)
		buf_printf(text, " on %u of %u workers", census->n_shards, n_shards);
}

static void print_oldest(
	const struct census_holder *oldest, usec_t now, bool with_statement, struct buf *text)
{
	buf_printf(text,
		"; oldest holder: user \"%s\" application \"%s\" at %s, for %.1f s, %s%s%s%s for "
		"%.1f s",
		oldest->user, oldest->application, oldest->address, seconds(now - oldest->since),
		oldest->use == USE_ACTIVE ? "running" : holder_use_name(oldest->use),
		oldest->pin ? " (" : "", oldest->pin ? oldest->pin : "", oldest->pin ? ")" : "",
		seconds(now - oldest->use_since));
	if (with_statement && oldest->statement[0])
		buf_printf(text, ", last: %s", oldest->statement);
}

static const char *ordinal_ending(unsigned n)
{
	static const char *const endings[] = {"th", "st", "nd", "rd"};
	unsigned last = n % 10;

	return n / 10 % 10 != 1 && last < ARRAY_LEN(endings) ? endings[last] : endings[0];
}

static void finish(struct buf *text, char *ret_text, size_t size)
{
	buf_u8(text, 0);
	text_copy(ret_text, size, text->failed ? "" : (const char *)text->data);
	buf_clear(text);
}

/* What all are told. `reader`: NULL stands for the log. */
static void print_pool(const struct pool *pool, const struct census *census,
	const struct waiter *reader, struct buf *text)
{
	const struct pools_host *host = &pool->owner->host;
	const struct census_holder *oldest = &census->oldest;
	bool with_statement = !reader || !host->may_read || host->may_read(reader, oldest->reader);

	buf_text(text, ": ");
	print_uses(pool, census, text);
	if (oldest->since)
		print_oldest(oldest, census->taken, with_statement, text);
	if (pool->trouble.any)
		buf_printf(text, "; opening another one fails: %.200s", pool->trouble.refusal.text);
}

void pool_explain(
	struct pool *pool, const struct waiter *w, usec_t now, char *ret_text, size_t size)
{
	struct census census;
	struct buf text = {0};

	census_sum(pool, w->turn, &census);
	buf_printf(&text, "pool %s/%s ", pool->name, pool->user);
	if (pool->paused) {
		buf_printf(&text, "paused for more than %.1f s", seconds(now - w->since));
	} else {
		buf_text(&text, "full (");
		print_size(pool, census.n_open, &text);
		buf_printf(&text, ") for %.1f s", seconds(now - w->since));
		print_pool(pool, &census, w, &text);
	}
	/* Those that are told together with it are in the queue no more. */
	unsigned place = census.n_before + pool->n_told + 1;
	buf_printf(&text, "; you were %u%s of %u", place, ordinal_ending(place), census.n_waiting);
	finish(&text, ret_text, size);
}

void pool_explain_to_log(struct pool *pool, char *ret_text, size_t size)
{
	struct census census;
	struct buf text = {0};

	census_sum(pool, 0, &census);
	print_size(pool, census.n_open, &text);
	print_pool(pool, &census, NULL, &text);
	buf_printf(&text, "; %u wait", census.n_waiting);
	finish(&text, ret_text, size);
}
