/* The player of MySQL's scripts. */
#include "mysql_player.h"

#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "mysql_fake.h"
#include "mysql_login.h"
#include "proto/mysql/dial.h"
#include "proto/mysql/mysql.h"

struct world {
	struct play play;
	const struct my_script *script;
	const struct my_cutting *how;
	struct proto_pool *pools[2];
	size_t n_client_bytes, n_server_bytes;
	uint8_t nonces[MY_CLIENTS][MYSQL_NONCE];

	/* The answers to the present step, and how much of what was sent they are about. */
	size_t next_step;
	size_t n_read[PLAY_SERVERS];
	unsigned n_unanswered[PLAY_SERVERS];
	bool continued[PLAY_SERVERS];

	struct my_fake fakes[PLAY_SERVERS]; /* that answer by themselves */
};

static struct back *open_server(struct play *play)
{
	struct world *w = play->owner;
	struct mysql_handle *handle = calloc(1, sizeof(*handle));
	struct dialled dialled = {.fd = -1, .handle = handle};

	assert_non_null(handle);
	handle->version = strdup(w->script->version ? w->script->version : "10.11.1-MariaDB");
	handle->status = MY_STATUS_AUTOCOMMIT;
	handle->url.dbname = w->script->schema ? strdup(w->script->schema) : NULL;
	struct back *back = play->protocol->back_new(play->pool, &dialled);
	assert_non_null(back);
	return back;
}

/* Counts the commands that a server has heard whole and that it answers. */
static void count_commands(struct world *w, unsigned server)
{
	const struct buf *heard = &w->play.servers[server].heard;
	struct input in = {.data = heard->data, .len = heard->len};
	struct my_header h;

	if (w->n_read[server])
		input_skip(&in, w->n_read[server]);
	while (my_header_read(&in, &h) && in.len >= MY_HEADER + h.len) {
		uint8_t command = h.len ? in.data[MY_HEADER] : MY_COM_SLEEP;
		bool begins = h.sequence == 0 && !w->continued[server];
		bool is_mute = command == MY_COM_STMT_CLOSE || command == MY_COM_QUIT ||
			       command == MY_COM_STMT_SEND_LONG_DATA;
		w->continued[server] = h.len == MY_PACKET_FULL;
		w->n_unanswered[server] += begins && !is_mute;
		w->n_read[server] += MY_HEADER + h.len;
		input_skip(&in, MY_HEADER + h.len);
	}
}

static void deliver_server(struct world *w, unsigned server, const struct buf *bytes)
{
	const uint8_t *data = bytes->data;

	for (size_t left = bytes->len, n; left; data += n, left -= n) {
		n = play_piece(&w->how->server, w->n_server_bytes, left);
		w->n_server_bytes += n;
		play_hear_server(&w->play, &w->play.servers[server], data, n);
	}
}

/* What a server that answers by itself says to what it has heard and not yet answered. */
static void fake_answers(struct world *w, unsigned server, struct buf *ret_answers)
{
	const struct buf *heard = &w->play.servers[server].heard;
	struct input in = {.data = heard->data, .len = heard->len};
	struct my_header h;

	if (w->n_read[server])
		input_skip(&in, w->n_read[server]);
	while (my_header_read(&in, &h) && in.len >= MY_HEADER + h.len) {
		my_fake_answer(&w->fakes[server], in.data + MY_HEADER, h.len, ret_answers);
		w->n_read[server] += MY_HEADER + h.len;
		input_skip(&in, MY_HEADER + h.len);
	}
}

/* Until nothing more is asked. */
static void let_servers_answer(struct world *w)
{
	bool again = w->script->servers_answer;

	while (again) {
		again = false;
		for (unsigned i = 0; i < PLAY_SERVERS; i++) {
			struct buf answers = {0};
			fake_answers(w, i, &answers);
			again |= answers.len > 0;
			deliver_server(w, i, &answers);
			buf_clear(&answers);
		}
	}
}

/* Says what the script has as answers to what has been asked. */
static void answer(struct world *w)
{
	for (; w->next_step < w->script->n; w->next_step++) {
		const struct my_script_step *step = &w->script->steps[w->next_step];
		if (step->kind != STEP_ANSWER)
			return;
		count_commands(w, step->who);
		/* A command that goes on in another packet is not over. */
		if (!w->n_unanswered[step->who] || w->continued[step->who])
			return;
		w->n_unanswered[step->who]--;
		deliver_server(w, step->who, &step->bytes);
	}
}

static void deliver_client(struct world *w, unsigned client, const struct buf *bytes)
{
	const uint8_t *data = bytes->data;

	for (size_t left = bytes->len, n; left; data += n, left -= n) {
		n = play_piece(&w->how->client, w->n_client_bytes, left);
		w->n_client_bytes += n;
		play_hear_client(&w->play, &w->play.clients[client], data, n);
		answer(w);
		let_servers_answer(w);
	}
}

/* --- logins --- */

static void say_login(
	struct world *w, unsigned client, const char *plugin, enum my_proof proof, struct buf *b)
{
	struct play_client *c = &w->play.clients[client];

	play_greet(&w->play, c);
	my_login_take_nonce(&c->heard, w->nonces[client]);
	my_login_respond(
		b, MY_CLIENT_CAP | w->script->capabilities, plugin, proof, w->nonces[client]);
}

/* One that is not the script's business. */
static void login(struct world *w, unsigned client)
{
	struct play_client *c = &w->play.clients[client];
	struct buf b = {0};

	say_login(w, client, "mysql_native_password", PROOF_NATIVE, &b);
	play_hear_client(&w->play, c, b.data, b.len);
	buf_clear(&b);
	assert_true(c->front->welcomed);
	buf_clear(&c->heard);
}

static void log_in(struct world *w, const struct my_script_step *step)
{
	struct buf b = {0};

	say_login(w, step->who, step->plugin, step->proof, &b);
	if (b.len - MY_HEADER > step->max) {
		b.len = MY_HEADER + step->max;
		my_end(&b, 0);
	}
	if (step->bytes.len) {
		struct buf all = {0};
		buf_put(&all, step->bytes.data, step->bytes.len);
		b.data[3] = 2; /* whoever takes the first packet for good expects this one */
		buf_put(&all, b.data, b.len);
		buf_clear(&b);
		b = all;
	}
	deliver_client(w, step->who, &b);
	buf_clear(&b);
}

static void prove(struct world *w, const struct my_script_step *step)
{
	struct play_client *c = &w->play.clients[step->who];
	struct buf b = {0};

	my_login_take_nonce(&c->heard, w->nonces[step->who]);
	my_login_prove(&b, &c->heard, step->proof, w->nonces[step->who]);
	deliver_client(w, step->who, &b);
	buf_clear(&b);
}

/* --- steps --- */

static void lose(struct world *w)
{
	struct play_server *s = &w->play.servers[0];
	struct front *front = s->client ? s->client->front : NULL;

	if (front && w->script->loses_transaction) {
		front->failed_transaction = true;
		front->lost = malloc(sizeof(*front->lost));
		assert_non_null(front->lost);
		refusal_set(front->lost, REASON_SERVER_LOST, NULL);
	}
	play_lose(&w->play, s);
}

static void play_step(struct world *w, const struct my_script_step *step)
{
	switch (step->kind) {
	case STEP_CLIENT:
		if (!w->script->logs_in && !w->play.clients[step->who].front->welcomed)
			login(w, step->who);
		deliver_client(w, step->who, &step->bytes);
		break;
	case STEP_SERVER:
		deliver_server(w, step->who, &step->bytes);
		break;
	case STEP_ANSWER:
		fail_msg("step %zu: an answer that nobody has asked for",
			(size_t)(step - w->script->steps));
		break;
	case STEP_LEAVE:
		play_hang_up(&w->play, &w->play.clients[step->who]);
		break;
	case STEP_LOSE:
		lose(w);
		break;
	case STEP_POOL:
		w->play.pool = w->pools[1];
		break;
	case STEP_CONSOLE:
		w->play.to_console = true;
		break;
	case STEP_LOGIN:
		log_in(w, step);
		break;
	case STEP_PROVE:
		prove(w, step);
		break;
	}
}

static void begin_step(struct world *w)
{
	w->next_step++;
	for (unsigned i = 0; i < PLAY_SERVERS && !w->script->servers_answer; i++) {
		count_commands(w, i);
		w->n_unanswered[i] = 0;
	}
}

static void take_buf(struct buf *ret, struct buf *from)
{
	*ret = *from;
	*from = (struct buf){0};
}

static void take_outcome(struct world *w, struct my_outcome *ret)
{
	*ret = (struct my_outcome){
		.n_client_bytes = w->n_client_bytes, .n_server_bytes = w->n_server_bytes};
	for (unsigned i = 0; i < MY_CLIENTS; i++) {
		take_buf(&ret->to_client[i], &w->play.clients[i].heard);
		ret->closed[i] = w->play.clients[i].closed;
	}
	for (unsigned i = 0; i < PLAY_SERVERS; i++) {
		take_buf(&ret->to_server[i], &w->play.servers[i].heard);
		ret->broken |= w->play.servers[i].broken;
		ret->mid_message |= w->play.servers[i].mid_message;
	}
}

/* As a probe would tell it. */
static void learn(struct world *w, const char *version)
{
	struct buf greeting = {0};

	buf_cstr(&greeting, version);
	buf_u8(&greeting, MYSQL_COLLATION);
	buf_u16le(&greeting, MY_STATUS_AUTOCOMMIT);
	mysql_protocol.worker_learn(w->play.worker, &greeting);
	buf_clear(&greeting);
}

static void begin(struct world *w, const struct my_script *script)
{
	struct config_pool *limits = &w->play.limits;

	w->play.protocol = &mysql_protocol;
	w->play.secret = script->no_account ? NULL : script->secret ? script->secret : MY_PASSWORD;
	w->play.n_servers = script->n_servers ? script->n_servers : 1;
	w->play.travels = w->how->travels;
	w->play.kill = script->kill ? script->kill : KILL_UNKNOWN;
	w->play.open = open_server;
	w->play.owner = w;
	limits->pool_mode = script->session_mode ? POOL_MODE_SESSION : POOL_MODE_TRANSACTION;
	limits->prepared_statements = 200;
	limits->client_memory = 1 << 20;
	limits->local_infile = script->local_infile;
	play_begin(&w->play);
	if (script->version)
		learn(w, script->version);
	for (unsigned i = 0; i < 2; i++) {
		w->pools[i] = mysql_protocol.pool_new(w->play.worker);
		assert_non_null(w->pools[i]);
	}
	w->play.pool = w->pools[0];
}

void my_play(const struct my_script *script, const struct my_cutting *how, struct my_outcome *ret)
{
	static struct world w;

	w = (struct world){.script = script, .how = how};
	begin(&w, script);
	while (w.next_step < script->n) {
		const struct my_script_step *step = &script->steps[w.next_step];
		begin_step(&w);
		play_step(&w, step);
	}
	take_outcome(&w, ret);
	play_end(&w.play);
	for (unsigned i = 0; i < 2; i++)
		mysql_protocol.pool_free(w.pools[i]);
	mysql_protocol.worker_free(w.play.worker);
}

void my_outcome_clear(struct my_outcome *o)
{
	for (unsigned i = 0; i < MY_CLIENTS; i++)
		buf_clear(&o->to_client[i]);
	for (unsigned i = 0; i < PLAY_SERVERS; i++)
		buf_clear(&o->to_server[i]);
}
