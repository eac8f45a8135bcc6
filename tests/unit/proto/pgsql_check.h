/*
 * What a conversation has to come to, however it is cut: conversation.h plays it.
 */
#pragma once

#include "conversation.h"

#define EXPECT(...) ((const char *const[CLIENTS]){__VA_ARGS__})

/* Plays the script whole, compares what each client heard after its login (NULL: not this one's),
 * and then plays it cut in every way. Clears the script. */
void pgsql_check(struct script *script, const char *const expected[CLIENTS]);
