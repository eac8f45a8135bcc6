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
#include "util/random.h"

/* To drain, roll back and reset after a client; and for a goodbye. */
#define CLEANING_TIME (5 * USEC_PER_SEC)
#define CLOSING_TIME  (2 * USEC_PER_SEC)

static struct workspace *space(const struct server *server)
{
	return server->pool->owner->host.space;
}

const char *server_state_name(enum server_state state)
{
	static const char *const names[N_SERVER_STATES] = {
		"idle", "tested", "active", "cleaning", "being_canceled", "closing", "closed"};

	return names[state];
}

void server_move_to(struct server *server, enum server_state state)
{
	struct pool *pool = server->pool;

	list_remove(&server->link);
	pool->n_servers[server->state]--;
	if (server->state != state)
		log_debug("server=%llu state=%s to=%s", (unsigned long long)server->id,
			server_state_name(server->state), server_state_name(state));
	server->state = state;
	pool->n_servers[state]++;
	/* The most recently used one comes first among the idle ones. */
	list_prepend(&pool->servers[state], &server->link);
}

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

/* The memory goes when nothing on the stack and no cancel refers to it; the permission when the
 * socket is closed. */
static void free_later(void *arg)
{
	struct server *server = arg;
	struct pool *pool = server->pool;
	bool moved = server->moved;
	bool overflow = server->overflow;

	if (server->n_cancels)
		return;
	free_now(server);
	if (!moved)
		shard_return(pool, overflow);
}

void server_destroy(struct server *server)
{
	struct output *to_server = &space(server)->to_server;

	if (server->state != SERVER_CLOSING && server->state != SERVER_CLOSED &&
		server->back->at_rest) {
		server->back->protocol->back_farewell(server->back, to_server);
		int r = stream_send(&server->stream, to_server);
		(void)r;
	}
	free_now(server);
}

/* The server has hung up, or had its time to. */
static void closed(struct server *server)
{
	stream_close(&server->stream);
	server_move_to(server, SERVER_CLOSED);
	deferred_schedule(&server->freeing, server->pool->owner->host.loop);
}

static void send_or_close(struct server *server)
{
	struct output *to_server = &space(server)->to_server;

	if (stream_send(&server->stream, to_server) != 0)
		pool_close(server->pool, server, REASON_SERVER_DEAD);
}

bool server_too_old(const struct server *server, usec_t now)
{
	usec_t limit = server->pool->limits.pool_recycle;

	return limit > 0 && now - server->opened > limit - (usec_t)(server->id % 16) * limit / 256;
}

usec_t server_expiry(const struct server *server)
{
	const struct config_pool *limits = &server->pool->limits;
	usec_t idle = clock_deadline(server->idle_since,
		server->overflow ? limits->overflow_linger : limits->pool_idle_timeout);
	usec_t age = clock_deadline(server->opened, limits->pool_recycle);

	/* No linger at all means: closed when it is returned. */
	if (server->overflow && limits->overflow_linger == 0)
		idle = server->idle_since;
	return idle < age ? idle : age;
}

/* --- cleaning --- */

/* At rest after its client: what is still to be tidied up? */
static void clean_step(struct server *server)
{
	struct pool *pool = server->pool;
	struct output *to_server = &space(server)->to_server;

	if (!server->back->at_rest)
		return;
	if (pool->limits.pool_reset_on_return || server->back->in_transaction) {
		if (pool->protocol->back_clean(server->back, false, to_server)) {
			send_or_close(server);
			return;
		}
	}
	pool_release(pool, server);
}

void server_clean(struct server *server)
{
	server->deadline = clock_usec() + CLEANING_TIME;
	server_move_to(server, SERVER_CLEANING);
	pool_wake_at(server->pool, server->deadline);
	clean_step(server);
}

void server_test(struct server *server)
{
	usec_t patience = server->pool->limits.connect_timeout;

	server->deadline = clock_usec() + (patience > 0 ? patience : CLEANING_TIME);
	server_move_to(server, SERVER_TESTING);
	pool_wake_at(server->pool, server->deadline);
	server->back->protocol->back_ping(server->back, &space(server)->to_server);
	send_or_close(server);
}

/* --- what comes while no session has it --- */

static void died(struct server *server)
{
	struct pool *pool = server->pool;

	if (server->back->has_last_words)
		log_info("server=%llu event=farewell text=\"%.200s\"",
			(unsigned long long)server->id, server->back->last_words.text);
	/* Others of its age have probably met the same fate. */
	pool->suspect_before = clock_usec();
	pool_close(pool, server, REASON_SERVER_DEAD);
}

static void after_input(struct server *server)
{
	if (server->state == SERVER_CLEANING)
		clean_step(server);
	else if (server->state == SERVER_TESTING && server->back->at_rest) {
		server->idle_since = clock_usec();
		pool_give(server->pool, server);
	}
}

static void on_readable(struct stream *stream, void *arg)
{
	struct server *server = arg;
	struct input in;
	size_t n_new;

	if (server->state == SERVER_CLOSING) {
		int r = stream_read(stream, space(server)->received, WORKSPACE_SIZE, &n_new);
		if (r != 0 && r != STREAM_AGAIN)
			closed(server);
		return;
	}
	int r = intake_read(stream, &server->kept, space(server), &in, &n_new);
	if (r == STREAM_AGAIN)
		return;
	if (r != 0) {
		died(server);
		return;
	}
	enum back_verdict verdict =
		server->back->protocol->from_server(server->back, NULL, &in, NULL);
	if (verdict == BACK_BROKEN || intake_keep(&server->kept, in) < 0)
		died(server);
	else
		after_input(server);
}

static void on_drained(struct stream *stream, void *arg)
{
	struct server *server = arg;

	if (server->state == SERVER_CLOSING)
		stream_shutdown(stream);
}

/* --- beginning and end --- */

int server_take_dialled(struct pool *pool, struct dialled *dialled, bool overflow, usec_t opened,
	usec_t opened_wall, struct server **ret_server)
{
	struct server *server = calloc(1, sizeof(*server));
	struct loop *loop = pool->owner->host.loop;

	if (!server)
		return -ENOMEM;
	if (stream_open(&server->stream, loop, dialled->fd, dialled->tls, on_readable, on_drained,
		    server) < 0) {
		free(server);
		return -ENOMEM;
	}
	server->back = pool->protocol->back_new(pool->proto, dialled);
	if (!server->back) {
		stream_detach(&server->stream);
		free(server);
		return -ENOMEM;
	}
	server->pool = pool;
	server->id = pool->owner->next_server_id;
	pool->owner->next_server_id += pool->owner->host.n_shards;
	server->overflow = overflow;
	server->opened = opened;
	server->opened_wall = opened_wall;
	server->idle_since = clock_usec();
	deferred_init(&server->freeing, free_later, server);
	server->state = SERVER_IDLE;
	list_prepend(&pool->servers[SERVER_IDLE], &server->link);
	pool->n_servers[SERVER_IDLE]++;
	*ret_server = server;
	return 0;
}

static void own_stream(struct server *server)
{
	server->holder = NULL;
	server->cancel_over = NULL;
	stream_set_owner(&server->stream, on_readable, on_drained, server);
	stream_want_read(&server->stream, true);
}

void pool_close(struct pool *pool, struct server *server, enum reason reason)
{
	struct output *to_server = &space(server)->to_server;

	if (server->state == SERVER_CLOSING || server->state == SERVER_CLOSED)
		return;
	log_info("server=%llu event=closed reason=%s database=\"%s\" pid=%u",
		(unsigned long long)server->id, reason_row(reason)->name, pool->name,
		server->back->process_id);
	own_stream(server);
	server_move_to(server, SERVER_CLOSING);
	server->deadline = clock_usec() + CLOSING_TIME;
	pool_wake_at(pool, server->deadline);
	int r = 0;
	if (server->back->at_rest && reason != REASON_SERVER_DEAD) {
		server->back->protocol->back_farewell(server->back, to_server);
		r = stream_send(&server->stream, to_server);
	}
	if (r != 0 || reason == REASON_SERVER_DEAD) {
		shutdown(server->stream.fd, SHUT_RDWR);
		closed(server);
	} else if (!stream_unsent(&server->stream)) {
		shutdown(server->stream.fd, SHUT_WR);
	}
	pool_want(pool);
}

void pool_release(struct pool *pool, struct server *server)
{
	CHECK(server->back->at_rest && !server->back->in_transaction);
	if (server->state == SERVER_LENT)
		own_stream(server);
	server->idle_since = clock_usec();
	if (server->retired || pool->paused)
		pool_close(pool, server, REASON_SERVER_RECONNECT);
	else if (pool->limits.pool_recycle > 0 && server_too_old(server, server->idle_since))
		pool_close(pool, server, REASON_SERVER_OLD);
	else if (server->n_cancels)
		server_move_to(server, SERVER_HELD);
	else
		pool_give(pool, server);
}

static void cancel_delivered(struct message *message, void *arg)
{
	struct cancel_result *result = container_of(message, struct cancel_result, message);
	struct server *server = result->arg;

	free(result);
	CHECK(server->n_cancels > 0);
	if (--server->n_cancels)
		return;
	if (server->state == SERVER_CLOSED)
		deferred_schedule(&server->freeing, server->pool->owner->host.loop);
	else if (server->state == SERVER_HELD)
		pool_release(server->pool, server);
	else if (server->state == SERVER_LENT && server->cancel_over)
		server->cancel_over(server);
}

void pool_cancel(struct pool *pool, struct server *server, void (*over)(struct server *server))
{
	const struct pools_host *host = &pool->owner->host;
	void *cancel = pool->protocol->cancel_new(server->back);

	server->cancel_over = over;
	if (!cancel)
		return;
	if (dialler_cancel(host->dialler, pool->protocol, cancel, host->mailbox, cancel_delivered,
		    server) == 0)
		server->n_cancels++;
}

void pool_abandon(struct pool *pool, struct server *server)
{
	own_stream(server);
	if (server->back->at_rest) {
		server_clean(server);
		return;
	}
	struct output *to_server = &space(server)->to_server;
	if (!pool->protocol->back_abandon(server->back, to_server)) {
		output_reset(to_server);
		pool_close(pool, server, REASON_SERVER_DIRTY);
		return;
	}
	if (!server->n_cancels)
		pool_cancel(pool, server, NULL);
	if (stream_send(&server->stream, to_server) != 0)
		pool_close(pool, server, REASON_SERVER_DEAD);
	else
		server_clean(server);
}
