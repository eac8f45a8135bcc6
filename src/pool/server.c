/*
 * Server connections while no session has them: testing, cleaning up after a client, idling,
 * closing. The protocol's half says what to send; this sends it and judges the outcome.
 */
#include "pool/server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "pool/internal.h"
#include "util/log.h"

/* To answer a test; to drain, roll back and reset after a client; for cancels to end; for a
 * goodbye. */
#define TESTING_TIME  (5 * USEC_PER_SEC)
#define CLEANING_TIME (5 * USEC_PER_SEC)
#define HOLDING_TIME  (30 * USEC_PER_SEC)
#define CLOSING_TIME  (2 * USEC_PER_SEC)

/* The first pause before a cancel is repeated; each one is twice as long. After a statement has
 * ended, the next one of the same client is not given as long. */
#define CANCEL_PAUSE      (50 * USEC_PER_MSEC)
#define CANCEL_PAUSE_NEXT (5 * USEC_PER_MSEC)

static struct output *to_server(const struct server *server)
{
	return &server->pool->owner->host.space->to_server;
}

const char *server_state_name(enum server_state state)
{
	static const char *const names[N_SERVER_STATES] = {
		"idle", "tested", "active", "cleaning", "being_canceled", "closing", "closed"};

	return names[state];
}

static bool may_move(enum server_state from, enum server_state to)
{
#define TO(state) (1u << SERVER_##state)
	static const unsigned allowed[N_SERVER_STATES] = {
		[SERVER_IDLE] = TO(IDLE) | TO(TESTING) | TO(LENT) | TO(CLOSING) | TO(CLOSED),
		[SERVER_TESTING] = TO(IDLE) | TO(LENT) | TO(CLOSING) | TO(CLOSED),
		[SERVER_LENT] =
			TO(IDLE) | TO(LENT) | TO(CLEANING) | TO(HELD) | TO(CLOSING) | TO(CLOSED),
		[SERVER_CLEANING] = TO(IDLE) | TO(LENT) | TO(HELD) | TO(CLOSING) | TO(CLOSED),
		[SERVER_HELD] = TO(IDLE) | TO(LENT) | TO(CLOSING) | TO(CLOSED),
		[SERVER_CLOSING] = TO(CLOSED),
	};
#undef TO

	return allowed[from] & (1u << to);
}

/* Shows the other shards how many are idle here. */
static void show_idle(const struct pool *pool)
{
	atomic_store_explicit(&pool->board->signs[pool->owner->host.shard].n_idle,
		pool->n_servers[SERVER_IDLE], memory_order_relaxed);
}

void server_move_to(struct server *server, enum server_state state)
{
	struct pool *pool = server->pool;

	CHECK(may_move(server->state, state));
	list_remove(&server->link);
	pool->n_servers[server->state]--;
	if (server->state != state)
		log_debug("server=%llu state=%s to=%s", (unsigned long long)server->id,
			server_state_name(server->state), server_state_name(state));
	server->state = state;
	pool->n_servers[state]++;
	/* The most recently used one comes first among the idle ones. */
	list_prepend(&pool->servers[state], &server->link);
	show_idle(pool);
}

static void move_for(struct server *server, enum server_state state, usec_t time)
{
	server->deadline = pool_now(server->pool) + time;
	server_move_to(server, state);
	pool_wake_at(server->pool, server->deadline);
}

static void send_or_close(struct server *server)
{
	if (stream_send(&server->stream, to_server(server)) != 0)
		pool_close(server->pool, server, REASON_SERVER_DEAD);
}

/* --- age --- */

usec_t server_old_at(const struct server *server)
{
	usec_t limit = server->pool->limits.pool_recycle;

	if (limit <= 0)
		return USEC_NEVER;
	/* A little earlier each, so that those opened together do not go together. Ids step by the
	 * number of shards. */
	usec_t step = (usec_t)(server->id / server->pool->owner->host.n_shards % 16);
	return server->opened + limit - step * (limit / 256);
}

usec_t server_expiry(const struct server *server)
{
	const struct config_pool *limits = &server->pool->limits;
	usec_t old_at = server_old_at(server);
	usec_t idle = server->overflow
			      ? server->idle_since + limits->overflow_linger
			      : clock_deadline(server->idle_since, limits->pool_idle_timeout);

	if (!server->overflow && idle < server->spared_until)
		idle = server->spared_until;
	return idle < old_at ? idle : old_at;
}

/* --- the end --- */

static void free_now(struct server *server)
{
	struct pool *pool = server->pool;

	list_remove(&server->link);
	pool->n_servers[server->state]--;
	deferred_cancel(&server->freeing);
	stream_close(&server->stream);
	pool->protocol->back_free(server->back);
	buf_clear(&server->kept);
	free(server);
}

/* The memory goes when nothing on the stack and no cancel refers to it. */
static void free_later(void *arg)
{
	struct server *server = arg;

	if (!server->n_cancels)
		free_now(server);
}

void server_gone(struct server *server)
{
	server_move_to(server, SERVER_CLOSED);
	deferred_schedule(&server->freeing, server->pool->owner->host.loop);
}

/* The permission goes back when the socket is closed, not before. */
void server_hang_up(struct server *server)
{
	stream_close(&server->stream);
	server_gone(server);
	shard_return(server->pool, server->let_go ? PERMIT_LET_GO : PERMIT_CLOSED);
	if (server->pool->n_waiting)
		pool_tend_soon(server->pool);
}

void server_destroy(struct server *server)
{
	if (server->state < SERVER_CLOSING && server->back->at_rest) {
		server->back->protocol->back_farewell(server->back, to_server(server));
		int r = stream_send(&server->stream, to_server(server));
		(void)r;
	}
	free_now(server);
}

void pool_close(struct pool *pool, struct server *server, enum reason reason)
{
	bool is_dead = reason == REASON_SERVER_DEAD;

	if (server->state == SERVER_CLOSING || server->state == SERVER_CLOSED)
		return;
	log_info("server=%llu event=closed reason=%s database=\"%s\" pid=%u",
		(unsigned long long)server->id, reason_row(reason)->name, pool->name,
		server->back->process_id);
	server_take_back(server);
	stats_take(&pool->stats, server->back);
	/* The older ones have probably met the same fate. */
	if (is_dead)
		pool->suspect_before = pool_now(server->pool);
	if (pool->n_to_close && !server->let_go) {
		pool->n_to_close--;
		server->let_go = true;
	}
	move_for(server, SERVER_CLOSING, CLOSING_TIME);
	/* Others may wait behind them at a server that does not answer. */
	if (server->n_cancels && !pool->owner->stopped && reason == REASON_CANCEL_GRACE)
		dialler_forget_cancels(pool->owner->host.dialler, server);
	pool_tend_soon(pool);
	if (!is_dead && server->back->at_rest) {
		server->back->protocol->back_farewell(server->back, to_server(server));
		is_dead = stream_send(&server->stream, to_server(server)) != 0;
	}
	if (is_dead)
		server_hang_up(server);
	else if (!stream_unsent(&server->stream))
		shutdown(server->stream.fd, SHUT_WR);
}

/* --- after a client --- */

static void send_cancel(struct server *server);

/* A cancel that comes late, when what runs now has ended, meets nothing. */
static bool runs_last(const struct server *server)
{
	const struct protocol *protocol = server->pool->protocol;

	return !protocol->back_runs_last || protocol->back_runs_last(server->back);
}

/* What is still to be tidied up? Only when no cancel can hit it. */
static void clean_step(struct server *server)
{
	struct pool *pool = server->pool;
	struct back *back = server->back;

	if (!back->at_rest)
		return;
	if (server->cancel_pause) {
		/* It has obeyed, and has time for a rollback and a reset. */
		server->cancel_again = server->cancel_pause = 0;
		server->deadline = pool_now(server->pool) + CLEANING_TIME;
		pool_wake_at(pool, server->deadline);
	}
	if (server->n_cancels)
		return;
	if ((pool->limits.pool_reset_on_return || back->in_transaction) &&
		pool->protocol->back_clean(back, false, to_server(server)))
		send_or_close(server);
	else if (back->in_transaction)
		pool_close(pool, server, REASON_SERVER_DIRTY);
	else
		pool_release(pool, server);
}

/* Each statement of a row has cancel_grace to end, but all of them together do not take for ever.
 */
static usec_t draining_time(struct server *server)
{
	usec_t now = pool_now(server->pool), grace = server->pool->limits.cancel_grace;
	usec_t left = server->drained_by - now;

	return left < grace ? left : grace;
}

void pool_abandon(struct pool *pool, struct server *server)
{
	usec_t patience = CLEANING_TIME;

	server_take_back(server);
	server->abandoned = !server->back->at_rest;
	if (server->abandoned) {
		if (pool->owner->stopped ||
			!pool->protocol->back_abandon(server->back, to_server(server))) {
			output_reset(to_server(server));
			/* What it runs at present ends too. */
			if (!server->n_cancels)
				send_cancel(server);
			pool_close(pool, server, REASON_SERVER_DIRTY);
			return;
		}
		if (stream_send(&server->stream, to_server(server)) != 0) {
			pool_close(pool, server, REASON_SERVER_DEAD);
			return;
		}
		server->cancel_pause = CANCEL_PAUSE;
		if (!server->n_cancels)
			send_cancel(server);
		/* What it sends until the cancel has arrived would have to be read for nothing, and
		 * it cannot send much that is not read. */
		if (server->n_cancels)
			stream_want_read(&server->stream, false);
		server->back->answered = false;
		if (patience < pool->limits.cancel_grace)
			patience = pool->limits.cancel_grace;
		server->drained_by = pool_now(server->pool) + patience;
		patience = draining_time(server);
	}
	move_for(server, SERVER_CLEANING, patience);
	clean_step(server);
}

void server_hold(struct server *server)
{
	move_for(server, SERVER_HELD, HOLDING_TIME);
}

/* A cancel that overtakes its statement finds the server idle, and does nothing; and one ends but
 * one of a row of statements: it is repeated. While a client has the connection it must not hit
 * what waits behind its statement. */
static void plan_to_insist(struct server *server)
{
	if (server->back->at_rest || server->n_cancels || !server->cancel_pause)
		return;
	if (server->state == SERVER_LENT && !runs_last(server)) {
		server->cancel_pause = 0;
		return;
	}
	server->cancel_again = pool_now(server->pool) + server->cancel_pause;
	server->cancel_pause *= 2;
	pool_wake_at(server->pool, server->cancel_again);
}

void server_insist(struct server *server, usec_t now)
{
	if (!server->cancel_again)
		return;
	if (server->cancel_again > now) {
		pool_wake_at(server->pool, server->cancel_again);
		return;
	}
	server->cancel_again = 0;
	if (server->state == SERVER_LENT && !runs_last(server))
		server->cancel_pause = 0;
	else
		send_cancel(server);
}

static void cancel_ended(struct message *message, void *arg)
{
	struct cancel_result *result = container_of(message, struct cancel_result, message);
	struct server *server = result->arg;

	server->stray |= result->stray;
	free(result);
	CHECK(server->n_cancels > 0);
	if (--server->n_cancels)
		return;
	switch (server->state) {
	case SERVER_CLOSED:
		deferred_schedule(&server->freeing, server->pool->owner->host.loop);
		break;
	case SERVER_CLEANING:
		stream_want_read(&server->stream, true);
		plan_to_insist(server);
		clean_step(server);
		break;
	case SERVER_HELD:
		pool_release(server->pool, server);
		break;
	case SERVER_LENT:
		plan_to_insist(server);
		if (server->cancel_over)
			server->cancel_over(server);
		break;
	case SERVER_IDLE:
	case SERVER_TESTING:
	case SERVER_CLOSING:
	case N_SERVER_STATES:
		break;
	}
}

static void send_cancel(struct server *server)
{
	struct pool *pool = server->pool;
	const struct pools_host *host = &pool->owner->host;

	if (pool->owner->stopped)
		return;
	void *cancel = pool->protocol->cancel_new(server->back);
	if (cancel && dialler_cancel(host->dialler, pool->protocol, cancel, host->mailbox,
			      cancel_ended, server) == 0)
		server->n_cancels++;
}

void pool_cancel(struct pool *pool, struct server *server, void (*over)(struct server *server))
{
	server->cancel_over = over;
	server->cancel_again = 0;
	server->cancel_pause = CANCEL_PAUSE;
	send_cancel(server);
}

void pool_cancelled(struct server *server)
{
	server->cancel_again = server->cancel_pause = 0;
}

/* --- what comes while no session has it --- */

void server_test(struct server *server)
{
	usec_t patience = server->pool->limits.connect_timeout;

	move_for(server, SERVER_TESTING,
		patience > 0 && patience < TESTING_TIME ? patience : TESTING_TIME);
	server->back->protocol->back_ping(server->back, to_server(server));
	send_or_close(server);
}

static void died(struct server *server)
{
	char text[400];

	if (server->back->has_last_words)
		log_info("server=%llu event=farewell text=\"%s\"", (unsigned long long)server->id,
			log_escape(server->back->last_words.text, text, sizeof(text)));
	pool_close(server->pool, server, REASON_SERVER_DEAD);
}

static void cleaning_went_on(struct server *server)
{
	if (server->cancel_pause) {
		if (server->back->answered) {
			server->back->answered = false;
			server->deadline = pool_now(server->pool) + draining_time(server);
			pool_wake_at(server->pool, server->deadline);
		}
		server->cancel_pause = CANCEL_PAUSE_NEXT;
		plan_to_insist(server);
	}
	clean_step(server);
}

static void read_goodbye(struct server *server)
{
	struct workspace *space = server->pool->owner->host.space;
	size_t n;

	int r = stream_read(&server->stream, space->received, WORKSPACE_SIZE, &n);
	if (r != 0 && r != STREAM_AGAIN)
		server_hang_up(server);
}

static void on_readable(struct stream *stream, void *arg)
{
	struct server *server = arg;
	struct workspace *space = server->pool->owner->host.space;
	struct input in;
	size_t n_new;

	if (server->state == SERVER_CLOSING) {
		read_goodbye(server);
		return;
	}
	int r = intake_read(stream, &server->kept, space, &in, &n_new);
	if (r == STREAM_AGAIN)
		return;
	enum back_verdict verdict = BACK_BROKEN;
	if (r == 0)
		verdict = server->back->protocol->from_server(
			server->back, NULL, &in, NULL, to_server(server));
	if (verdict == BACK_BROKEN || intake_keep(&server->kept, in) < 0 ||
		stream_send(&server->stream, to_server(server)) != 0)
		died(server);
	else if (server->state == SERVER_CLEANING)
		cleaning_went_on(server);
	else if (server->state == SERVER_TESTING && server->back->at_rest)
		pool_release(server->pool, server);
}

static void on_drained(struct stream *stream, void *arg)
{
	struct server *server = arg;

	if (server->state == SERVER_CLOSING)
		shutdown(stream->fd, SHUT_WR);
}

/* --- the beginning --- */

int server_new(struct pool *pool, struct dialled *dialled, const struct server_origin *origin,
	struct server **ret_server)
{
	struct server *server = calloc(1, sizeof(*server));
	struct pools *owner = pool->owner;

	if (!server)
		return -ENOMEM;
	if (stream_open(&server->stream, owner->host.loop, dialled->fd, dialled->tls, on_readable,
		    on_drained, server) < 0)
		goto fail;
	server->back = pool->protocol->back_new(pool->proto, dialled);
	if (!server->back) {
		stream_detach(&server->stream);
		goto fail;
	}
	dialled->handle = NULL;
	keepalive_watch_init(&server->watch, dialled->fd);
	server->pool = pool;
	server->id = owner->next_server_id;
	owner->next_server_id += owner->host.n_shards;
	server->overflow = origin->overflow;
	server->flavour = origin->flavour;
	server->opened = origin->opened;
	server->opened_wall = origin->opened_wall;
	server->idle_since = origin->idle_since;
	server->retired = origin->opened < pool->retired_before;
	deferred_init(&server->freeing, free_later, server);
	server->state = SERVER_IDLE;
	list_prepend(&pool->servers[SERVER_IDLE], &server->link);
	pool->n_servers[SERVER_IDLE]++;
	show_idle(pool);
	*ret_server = server;
	return 0;
fail:
	free(server);
	return -ENOMEM;
}

void server_take_back(struct server *server)
{
	server->holder = NULL;
	server->cancel_over = NULL;
	pool_cancelled(server);
	keepalive_watch_end(&server->watch, server->stream.fd);
	stream_set_owner(&server->stream, on_readable, on_drained, server);
	stream_want_read(&server->stream, true);
}
