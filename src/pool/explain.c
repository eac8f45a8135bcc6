/*
 * Who holds the pool: what the log says, and the client that waited for nothing reads if it may. A
 * shard only knows its own connections, so with several workers the text says what it speaks of.
 */
#include <stdio.h>

#include "pool/internal.h"
#include "util/log.h"
#include "util/text.h"

struct holders {
	unsigned n_running, n_in_transaction, n_pinned, n_idle;
	const struct server *oldest; /* has had its connection for longest; NULL: nobody */
};

static struct holders find_holders(const struct pool *pool)
{
	struct holders holders = {0};
	const struct list *link;

	list_for_each (link, &pool->servers[SERVER_LENT]) {
		const struct server *server = container_of(link, const struct server, link);
		if (!server->back->at_rest)
			holders.n_running++;
		else if (server->back->in_transaction)
			holders.n_in_transaction++;
		else if (server->back->pin)
			holders.n_pinned++;
		else
			holders.n_idle++;
		if (server->holder &&
			(!holders.oldest || server->lent_since < holders.oldest->lent_since))
			holders.oldest = server;
	}
	return holders;
}

static double seconds(usec_t duration)
{
	return (double)duration / (double)USEC_PER_SEC;
}

static void print_limit(const struct pool *pool, struct buf *text)
{
	const struct config_pool *limits = &pool->limits;

	if (limits->max_overflow < 0)
		buf_text(text, "no limit");
	else
		buf_printf(text, "%d", limits->pool_size + limits->max_overflow);
}

static void print_oldest(const struct pool *pool, const struct server *oldest, struct buf *text)
{
	const struct pools_host *host = &pool->owner->host;
	const char *pin = oldest->back->pin;
	char user[64], application[64];
	struct holder holder;

	if (!host->describe_holder)
		return;
	host->describe_holder(oldest->holder, &holder);
	buf_printf(text,
		"; oldest holder: user \"%s\" application \"%s\" at %s, %s%s%s%s, for %.1f s",
		log_escape(holder.user, user, sizeof(user)),
		log_escape(holder.application, application, sizeof(application)), holder.address,
		holder.use == USE_ACTIVE ? "running" : holder_use_name(holder.use), pin ? " (" : "",
		pin ? pin : "", pin ? ")" : "", seconds(clock_usec() - oldest->lent_since));
}

static void print_holders(const struct pool *pool, struct buf *text)
{
	struct holders holders = find_holders(pool);

	if (pool->owner->host.n_shards > 1)
		buf_text(text, "on this worker ");
	buf_printf(text, "%u idle in transaction, %u running, %u pinned", holders.n_in_transaction,
		holders.n_running, holders.n_pinned);
	if (holders.n_idle)
		buf_printf(text, ", %u idle", holders.n_idle);
	buf_printf(text, ", %u wait", pool->n_waiting);
	if (holders.oldest)
		print_oldest(pool, holders.oldest, text);
}

void pool_explain(const struct pool *pool, usec_t waited, char *ret_text, size_t size)
{
	struct buf text = {0};

	if (pool->paused) {
		buf_printf(&text, "pool %s/%s paused for more than %.1f s; %u wait", pool->name,
			pool->user, seconds(waited), pool->n_waiting);
	} else {
		buf_printf(&text, "pool %s/%s full (", pool->name, pool->user);
		if (pool->owner->host.n_shards == 1)
			buf_printf(&text, "%u/", pool_n_alive(pool));
		print_limit(pool, &text);
		buf_printf(&text, ") for %.1f s; ", seconds(waited));
		print_holders(pool, &text);
		if (pool->trouble.any)
			buf_printf(&text, "; opening another one fails: %.200s",
				pool->trouble.refusal.text);
	}
	buf_u8(&text, 0);
	text_copy(ret_text, size, text.failed ? "" : (const char *)text.data);
	buf_clear(&text);
}
