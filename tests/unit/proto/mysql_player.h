/*
 * Plays a script (mysql_script.h) through mysql_protocol's two halves. How the bytes are cut on
 * their way is the caller's to choose: what arrives must not depend on it. my_check() tries all the
 * ways.
 */
#pragma once

#include "mysql_script.h"

struct my_cutting {
	struct play_cut client, server;
	bool travels; /* connections go to another worker and back before a client gets them */
};

struct my_outcome {
	struct buf to_client[MY_CLIENTS]; /* behind the login, unless that is in the script */
	struct buf to_server[PLAY_SERVERS];
	bool closed[MY_CLIENTS], mid_message;
	bool broken; /* weir has given a server up */
	size_t n_client_bytes, n_server_bytes;
};

void my_play(const struct my_script *script, const struct my_cutting *how, struct my_outcome *ret);
void my_outcome_clear(struct my_outcome *o);

/* Readable: "1:OK 1:ERR(1064) 1:01 2:EOF 3:text"; a command: "0:QUERY(text)". */
void my_print_client(const struct my_outcome *o, unsigned client, struct buf *ret_text);
void my_print_server(const struct my_outcome *o, unsigned server, struct buf *ret_text);

/* Plays the script whole, compares what each heard (NULL: not looked at), then plays it with the
 * bytes of either side, and both, cut in every way; where they are many, around each packet's
 * beginning. Clears the script. */
void my_check(struct my_script *script, const char *client, const char *other, const char *server);
void my_check_two(struct my_script *script, const char *client, const char *other,
	const char *server, const char *other_server);

/* The same, but what came of the whole script is the caller's to judge. */
typedef void (*my_judge_fn)(const struct my_outcome *o);
void my_check_by(struct my_script *script, my_judge_fn judge);
