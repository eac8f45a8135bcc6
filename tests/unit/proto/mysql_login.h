/*
 * A client's login to MySQL's protocol, as drivers do it: what mysql_player.c says for a script,
 * since what weir greets with is random.
 */
#pragma once

#include "auth/native_password.h"
#include "mysql_script.h"

/* If the last packet that was heard is a greeting or a switch of the method, takes the nonce from
 * it, and puts something that is always the same in its place. */
void my_login_take_nonce(struct buf *heard, uint8_t nonce[MYSQL_NONCE]);

/* HandshakeResponse41: with a database and attributes if the capabilities say so. */
void my_login_respond(struct buf *b, uint32_t capabilities, const char *plugin, enum my_proof proof,
	const uint8_t nonce[MYSQL_NONCE]);

/* The packet that follows what was heard last. */
void my_login_prove(struct buf *b, const struct buf *heard, enum my_proof proof,
	const uint8_t nonce[MYSQL_NONCE]);
