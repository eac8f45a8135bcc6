/*
 * Following one command's answer by the headers of its packets ("Text Resultset", "COM_STMT_..." in
 * MySQL's manual; classic EOF packets, no optional metadata): where it ends, and which packets say
 * something about the session. Rows are counted, never read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the answer to a command looks. */
enum follow_shape {
	SHAPE_RESULTS,   /* OK, ERR, or result sets: most commands */
	SHAPE_PREPARE,   /* PREPARE_OK, then definitions of parameters and columns */
	SHAPE_ROWS,      /* rows up to an EOF: FETCH, and the definitions of a FIELD_LIST */
	SHAPE_SIMPLE,    /* one packet: OK, EOF or ERR */
	SHAPE_STATISTIC, /* one packet of text */
};

enum follow_state {
	FOLLOW_FIRST,
	FOLLOW_COLUMNS,     /* n_left definitions */
	FOLLOW_COLUMNS_END, /* their EOF */
	FOLLOW_ROWS,
	FOLLOW_PARAMETERS, /* of a PREPARE_OK: n_left definitions and an EOF */
	FOLLOW_FIELDS,
	FOLLOW_UPLOAD, /* LOCAL INFILE: the client's turn, until its empty packet */
	FOLLOW_DONE,
};

/* What a packet is. */
enum follow_packet {
	PACKET_PLAIN,    /* a row, a definition, a count */
	PACKET_OK,       /* an OK_Packet; the answer is over if the state is FOLLOW_DONE */
	PACKET_EOF,      /* an EOF_Packet, at whatever place */
	PACKET_ERR,      /* an ERR_Packet; the answer is over */
	PACKET_PREPARED, /* a PREPARE_OK */
	PACKET_UPLOAD,   /* the server wants a file */
	PACKET_BROKEN,   /* none that fits here */
};

struct follow {
	enum follow_shape shape;
	enum follow_state state;
	uint32_t n_left;
	uint16_t n_columns;   /* of a PREPARE_OK, still to come; of the last result set */
	bool wants_cursor;    /* an EXECUTE that asked for one */
	bool cursor_open;     /* ... and has got it */
	bool is_continuation; /* the next packet goes on with the one before */
	bool last_row_sent;
	bool out_parameters; /* the present result set has them: an OK follows */
	uint64_t n_rows;     /* of the present result set */
	uint16_t status;     /* of the last OK or EOF */
	uint16_t n_warnings;
};

void follow_start(struct follow *f, enum follow_shape shape);

/* Does follow_step() need to see the whole of a packet of `len` bytes that begins with `first` (if
 * there is a first)? */
bool follow_needs_whole(const struct follow *f, uint8_t first, size_t len);

/* The next packet, whole if it needs to be; otherwise its first byte, if there is one. */
enum follow_packet follow_step(struct follow *f, const uint8_t *payload, size_t len);

/* How many bytes at the front of `data` are whole rows, which need no look: counts them. */
size_t follow_rows(struct follow *f, const uint8_t *data, size_t len);

/* The client's empty packet has been passed on. */
void follow_uploaded(struct follow *f);
