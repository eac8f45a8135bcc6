/*
 * The fakes: the same functions as util/clock.c, util/random.c, net/loop.c, net/mailbox.c,
 * net/stream.c, dial/dialler.c and proto/proto.c, as far as the pool uses them, and a protocol
 * whose messages are letters.
 */
#include "world.h"

#include <errno.h>
#include <sys/socket.h>

#include "util/random.h"

#define FIRST_FD 1000000

struct world world;

static bool push(char *text, size_t size, char letter)
{
	size_t n = strlen(text);

	if (n + 1 >= size)
		return false;
	text[n] = letter;
	text[n + 1] = 0;
	return true;
}

static char pop(char *text)
{
	char letter = text[0];

	if (letter)
		memmove(text, text + 1, strlen(text));
	return letter;
}

/* --- util/clock.c --- */

usec_t clock_usec(void)
{
	return world.now;
}

usec_t clock_wall_usec(void)
{
	return world.now;
}

usec_t clock_deadline(usec_t moment, usec_t duration)
{
	return duration <= 0 || moment > USEC_NEVER - duration ? USEC_NEVER : moment + duration;
}

/* --- util/random.c --- */

uint32_t random_u32(void)
{
	world.seed = world.seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(world.seed >> 32);
}

void random_bytes(void *ret_bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)ret_bytes)[i] = (uint8_t)random_u32();
}

uint32_t random_below(uint32_t limit)
{
	return (uint32_t)(((uint64_t)random_u32() * limit) >> 32);
}

void random_init(void)
{
}

uint64_t random_process_seed(void)
{
	return 1;
}

/* --- net/loop.c --- */

struct loop {
	struct list deferred;
};

int loop_new(struct loop **ret_loop)
{
	*ret_loop = calloc(1, sizeof(**ret_loop));
	assert_non_null(*ret_loop);
	list_init(&(*ret_loop)->deferred);
	return 0;
}

void loop_free(struct loop *loop)
{
	loop_run_deferred(loop);
	free(loop);
}

usec_t loop_now(struct loop *loop)
{
	return world.now;
}

struct event_base *loop_event_base(struct loop *loop)
{
	return NULL;
}

void timer_init(struct timer *t, struct loop *loop, timer_fn fn, void *arg)
{
	t->loop = loop;
	t->fn = fn;
	t->arg = arg;
	t->due = USEC_NEVER;
	assert_true(world.n_timers < TIMERS_MAX);
	world.timers[world.n_timers++] = t;
}

void timer_set(struct timer *t, usec_t moment)
{
	t->due = moment;
}

void timer_clear(struct timer *t)
{
	t->due = USEC_NEVER;
	for (unsigned i = 0; i < world.n_timers; i++) {
		if (world.timers[i] == t)
			world.timers[i] = world.timers[--world.n_timers];
	}
}

void deferred_init(struct deferred *d, deferred_fn fn, void *arg)
{
	list_init(&d->link);
	d->fn = fn;
	d->arg = arg;
}

void deferred_schedule(struct deferred *d, struct loop *loop)
{
	if (list_empty(&d->link))
		list_append(&loop->deferred, &d->link);
}

void deferred_cancel(struct deferred *d)
{
	list_remove(&d->link);
}

void loop_run_deferred(struct loop *loop)
{
	struct deferred *d;

	while ((d = list_first(&loop->deferred, struct deferred, link))) {
		list_remove(&d->link);
		d->fn(d->arg);
	}
}

bool world_run_deferred(unsigned shard)
{
	bool any = !list_empty(&world.loops[shard]->deferred);

	loop_run_deferred(world.loops[shard]);
	return any;
}

usec_t world_next_timer(void)
{
	usec_t next = USEC_NEVER;

	for (unsigned i = 0; i < world.n_timers; i++) {
		if (world.timers[i]->due < next)
			next = world.timers[i]->due;
	}
	return next;
}

bool world_fire(unsigned shard)
{
	for (unsigned i = 0; i < world.n_timers; i++) {
		struct timer *t = world.timers[i];
		if (t->loop != world.loops[shard] || t->due > world.now)
			continue;
		t->due = USEC_NEVER;
		t->fn(t->arg);
		return true;
	}
	return false;
}

/* --- net/mailbox.c --- */

struct mailbox {
	struct message *first, **last;
};

int mailbox_new(struct loop *loop, void *arg, struct mailbox **ret_mailbox)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));

	assert_non_null(mailbox);
	mailbox->last = &mailbox->first;
	*ret_mailbox = mailbox;
	return 0;
}

void mailbox_free(struct mailbox *mailbox)
{
	assert_null(mailbox->first);
	free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct message *message)
{
	message->next = NULL;
	*mailbox->last = message;
	mailbox->last = &message->next;
}

bool world_deliver(unsigned shard)
{
	struct mailbox *mailbox = world.mailboxes[shard];
	struct message *message = mailbox->first;

	if (!message)
		return false;
	mailbox->first = message->next;
	if (!mailbox->first)
		mailbox->last = &mailbox->first;
	message->deliver(message, NULL);
	return true;
}

/* --- net/stream.c --- */

static struct peer *peer_of(int fd)
{
	for (unsigned i = 0; i < PEERS_MAX; i++) {
		if (world.peers[i].fd == fd)
			return &world.peers[i];
	}
	check_failed(__FILE__, __LINE__, "a connection has that descriptor");
}

int stream_open(struct stream *s, struct loop *loop, int fd, void *tls, stream_fn readable,
	stream_fn drained, void *arg)
{
	if (world.open_fails) {
		world.open_fails = false;
		return -ENOMEM;
	}
	*s = (struct stream){.loop = loop, .fd = fd, .reading = true};
	stream_set_owner(s, readable, drained, arg);
	peer_of(fd)->stream = s;
	return 0;
}

void stream_set_owner(struct stream *s, stream_fn readable, stream_fn drained, void *arg)
{
	s->readable = readable;
	s->drained = drained;
	s->arg = arg;
}

void stream_detach(struct stream *s)
{
	peer_of(s->fd)->stream = NULL;
	s->loop = NULL;
}

void stream_want_read(struct stream *s, bool wanted)
{
	s->reading = wanted;
}

int stream_read(struct stream *s, uint8_t *ret_data, size_t cap, size_t *ret_len)
{
	struct peer *peer = peer_of(s->fd);
	char letter = pop(peer->said);

	if (!letter)
		return peer->gone ? STREAM_END : STREAM_AGAIN;
	ret_data[0] = (uint8_t)letter;
	*ret_len = 1;
	return 0;
}

int stream_send(struct stream *s, struct output *o)
{
	struct peer *peer = peer_of(s->fd);
	uint8_t bytes[64];
	size_t n = o->total;

	assert_true(n <= sizeof(bytes));
	output_flatten(o, bytes);
	output_reset(o);
	if (n && (peer->broken || peer->gone))
		return STREAM_LOST;
	for (size_t i = 0; i < n; i++) {
		assert_true(push(peer->heard, sizeof(peer->heard), (char)bytes[i]));
		if (bytes[i] == 'X')
			peer->told_end = true;
		else
			push(peer->owed, sizeof(peer->owed), bytes[i] == 'C' ? 'c' : 'r');
	}
	return 0;
}

size_t stream_unsent(const struct stream *s)
{
	return 0;
}

void stream_close(struct stream *s)
{
	if (s->fd < 0)
		return;
	peer_of(s->fd)->open = false;
	peer_of(s->fd)->stream = NULL;
	peer_of(s->fd)->fd = -1;
	s->fd = -1;
}

int shutdown(int fd, int how)
{
	peer_of(fd)->told_end = true;
	return 0;
}

/* --- a protocol of letters --- */

struct handle {
	struct peer *peer;
};

struct letters {
	struct back base;
	struct handle *handle;
	unsigned n_owed;
};

static struct letters *letters_of(const struct back *back)
{
	return container_of((uintptr_t)back, struct letters, base);
}

static struct proto_pool *letters_pool_new(struct proto_worker *worker)
{
	return calloc(1, 1);
}

static void letters_pool_free(struct proto_pool *pool)
{
	free(pool);
}

static bool letters_pool_news(struct proto_pool *pool, struct buf *ret_news)
{
	*ret_news = (struct buf){0};
	return false;
}

static const struct protocol letters;

static struct back *letters_back_new(struct proto_pool *pool, struct dialled *dialled)
{
	struct letters *back = calloc(1, sizeof(*back));

	assert_non_null(back);
	back->base = (struct back){.protocol = &letters, .at_rest = true};
	back->handle = dialled->handle;
	return &back->base;
}

static void letters_back_free(struct back *base)
{
	free(letters_of(base)->handle);
	free(letters_of(base));
}

static enum back_verdict letters_from_server(struct back *base, struct front *front,
	struct input *in, struct output *to_client, struct output *to_server)
{
	struct letters *back = letters_of(base);

	while (in->len) {
		char letter = (char)in->data[0];
		input_skip(in, 1);
		if (!back->n_owed)
			return BACK_BROKEN;
		back->n_owed--;
		base->at_rest = back->n_owed == 0;
		if (letter == 'c')
			base->in_transaction = base->dirty = false;
	}
	return BACK_MORE;
}

static void demand(struct letters *back, char letter, struct output *to_server)
{
	output_copy(to_server, &letter, 1);
	back->n_owed++;
	back->base.at_rest = false;
}

static void letters_ping(struct back *base, struct output *to_server)
{
	demand(letters_of(base), 'p', to_server);
}

static bool letters_abandon(struct back *base, struct output *to_server)
{
	if (base->mid_message)
		return false;
	base->dirty = true;
	demand(letters_of(base), 'S', to_server);
	return true;
}

static bool letters_clean(struct back *base, bool thorough, struct output *to_server)
{
	if (!base->in_transaction && !base->dirty && !thorough)
		return false;
	demand(letters_of(base), 'C', to_server);
	return true;
}

static bool letters_pack(struct back *base, struct dialled *ret_dialled)
{
	struct letters *back = letters_of(base);

	if (base->dirty || !base->at_rest)
		return false;
	ret_dialled->handle = back->handle;
	back->handle = NULL;
	return true;
}

static void letters_farewell(struct back *base, struct output *to_server)
{
	output_copy(to_server, "X", 1);
}

static bool letters_runs_last(const struct back *base)
{
	return letters_of(base)->n_owed == 1;
}

static void *letters_cancel_new(const struct back *base)
{
	return letters_of(base)->handle->peer;
}

static void letters_dialled_free(struct dialled *dialled)
{
	struct handle *handle = dialled->handle;

	handle->peer->open = false;
	handle->peer->fd = -1;
	free(handle);
	dialled->handle = NULL;
}

static const struct protocol letters = {
	.name = "letters",
	.pool_new = letters_pool_new,
	.pool_free = letters_pool_free,
	.pool_news = letters_pool_news,
	.back_new = letters_back_new,
	.back_free = letters_back_free,
	.from_server = letters_from_server,
	.back_ping = letters_ping,
	.back_abandon = letters_abandon,
	.back_clean = letters_clean,
	.back_pack = letters_pack,
	.back_farewell = letters_farewell,
	.back_runs_last = letters_runs_last,
	.cancel_new = letters_cancel_new,
	.dialled_free = letters_dialled_free,
};

const struct protocol *protocol_find(const char *name)
{
	return &letters;
}

/* --- dial/dialler.c --- */

int dialler_dial(struct dialler *dialler, const struct protocol *protocol,
	const struct dial_target *target, struct mailbox *mailbox, message_fn deliver, void *arg)
{
	struct dial_result *result = calloc(1, sizeof(*result));

	assert_non_null(result);
	assert_true(world.n_dials < JOBS_MAX);
	result->message.deliver = deliver;
	result->arg = arg;
	result->protocol = protocol;
	world.dials[world.n_dials++] =
		(struct dial_job){.result = result, .mailbox = mailbox, .flavour = target->flavour};
	return 0;
}

void dial_result_free(struct dial_result *result)
{
	if (result->error == 0 && result->dialled.handle)
		result->protocol->dialled_free(&result->dialled);
	free(result);
}

static struct dial_job take_dial(unsigned job)
{
	struct dial_job taken = world.dials[job];

	assert_true(job < world.n_dials);
	memmove(&world.dials[job], &world.dials[job + 1],
		(--world.n_dials - job) * sizeof(world.dials[0]));
	return taken;
}

static struct peer *free_peer(void)
{
	for (unsigned i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &world.peers[i];
		bool cancelling = false;
		for (unsigned j = 0; j < world.n_cancels; j++)
			cancelling |= world.cancels[j].peer == peer;
		if (!peer->open && !cancelling)
			return peer;
	}
	check_failed(__FILE__, __LINE__, "PEERS_MAX is enough");
}

void world_dial_ok(unsigned job)
{
	struct dial_job dial = take_dial(job);
	struct handle *handle = malloc(sizeof(*handle));
	struct peer *peer = free_peer();

	assert_non_null(handle);
	*peer = (struct peer){
		.fd = FIRST_FD + (int)world.n_opened++, .open = true, .flavour = dial.flavour};
	handle->peer = peer;
	dial.result->dialled = (struct dialled){.fd = peer->fd, .handle = handle};
	mailbox_post(dial.mailbox, &dial.result->message);
}

void world_dial_fail(unsigned job, const char *text, bool final)
{
	struct dial_job dial = take_dial(job);

	dial.result->error = 1;
	dial.result->final = final;
	refusal_set(&dial.result->refusal, REASON_SERVER_UNREACHABLE, text);
	mailbox_post(dial.mailbox, &dial.result->message);
}

int dialler_cancel(struct dialler *dialler, const struct protocol *protocol, void *cancel,
	struct mailbox *mailbox, message_fn deliver, void *arg)
{
	struct cancel_result *result = calloc(1, sizeof(*result));

	assert_non_null(result);
	assert_true(world.n_cancels < JOBS_MAX);
	result->message.deliver = deliver;
	result->arg = arg;
	world.cancels[world.n_cancels++] =
		(struct cancel_job){.result = result, .mailbox = mailbox, .peer = cancel};
	return 0;
}

/* Those here have all begun. */
void dialler_forget_cancels(struct dialler *dialler, const void *arg)
{
}

void world_cancel_over(unsigned job)
{
	struct cancel_job cancel = world.cancels[job];

	assert_true(job < world.n_cancels);
	memmove(&world.cancels[job], &world.cancels[job + 1],
		(--world.n_cancels - job) * sizeof(world.cancels[0]));
	mailbox_post(cancel.mailbox, &cancel.result->message);
}

void world_cancel_stray(unsigned job)
{
	assert_true(job < world.n_cancels);
	world.cancels[job].result->stray = true;
	world_cancel_over(job);
}

/* --- peers --- */

bool world_answer(struct peer *peer)
{
	if (!peer->open || peer->gone || !peer->owed[0])
		return false;
	assert_true(push(peer->said, sizeof(peer->said), pop(peer->owed)));
	return true;
}

bool world_read(struct peer *peer)
{
	struct stream *s = peer->stream;

	if (!s || !s->reading || (!peer->said[0] && !peer->gone))
		return false;
	s->readable(s, s->arg);
	return true;
}

void world_hang_up(struct peer *peer)
{
	peer->gone = true;
}

unsigned world_n_open(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PEERS_MAX; i++)
		n += world.peers[i].open;
	return n;
}

/* A dial that has ended well is a socket already; one that has failed is nothing any more. */
unsigned world_n_count(void)
{
	return world_n_open() + world.n_dials;
}

struct peer *world_peer(const struct server *server)
{
	return letters_of(server->back)->handle->peer;
}

void world_demand(struct server *server)
{
	struct peer *peer = world_peer(server);

	letters_of(server->back)->n_owed++;
	server->back->at_rest = false;
	assert_true(push(peer->owed, sizeof(peer->owed), 'r'));
}

struct peer *world_newest(void)
{
	return peer_of(FIRST_FD + (int)world.n_opened - 1);
}
