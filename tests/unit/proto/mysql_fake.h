/*
 * A MySQL server that only pretends: it answers the handful of commands that the scripts use, each
 * when it has heard it, whoever it comes from. For scripts of which the client's commands are
 * answered by weir or by the server, as it happens: what weir passes on is its own business, but
 * the client must not see a difference.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/bytes.h"

/* One connection; all zeros is a new one. */
struct my_fake {
	bool autocommit_off, in_transaction;
	unsigned insert_id; /* of the last INSERT */
	int row_count, found_rows;
	bool warned, failed; /* what SHOW WARNINGS shows: about the statement before */
};

/* Appends the answer to a command, if there is one. */
void my_fake_answer(struct my_fake *f, const uint8_t *command, size_t len, struct buf *ret_answer);
