/*
 * MySQL's packets ("Client/Server Protocol" in MySQL's and MariaDB's manuals): what weir reads and
 * writes itself. A packet is a length of three bytes, a sequence number and that many bytes; one of
 * 0xffffff bytes is continued by the next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/intake.h"
#include "net/output.h"
#include "proto/reason.h"
#include "util/bytes.h"

#define MY_HEADER      4
#define MY_PACKET_FULL 0xffffffu /* another one follows */

/* Capabilities ("Capability Flags"). */
enum {
	MY_LONG_PASSWORD =
		1u << 0, /* MariaDB calls it CLIENT_MYSQL: set, there are no extended bits */
	MY_FOUND_ROWS = 1u << 1,
	MY_LONG_FLAG = 1u << 2,
	MY_CONNECT_WITH_DB = 1u << 3,
	MY_COMPRESS = 1u << 5,
	MY_ODBC = 1u << 6,
	MY_LOCAL_FILES = 1u << 7,
	MY_IGNORE_SPACE = 1u << 8,
	MY_PROTOCOL_41 = 1u << 9,
	MY_INTERACTIVE = 1u << 10,
	MY_SSL = 1u << 11,
	MY_IGNORE_SIGPIPE = 1u << 12,
	MY_TRANSACTIONS = 1u << 13,
	MY_RESERVED = 1u << 14,
	MY_SECURE_CONNECTION = 1u << 15,
	MY_MULTI_STATEMENTS = 1u << 16,
	MY_MULTI_RESULTS = 1u << 17,
	MY_PS_MULTI_RESULTS = 1u << 18,
	MY_PLUGIN_AUTH = 1u << 19,
	MY_CONNECT_ATTRS = 1u << 20,
	MY_PLUGIN_AUTH_LENENC = 1u << 21,
	MY_CAN_HANDLE_EXPIRED_PASSWORDS = 1u << 22,
	MY_SESSION_TRACK = 1u << 23,
	MY_DEPRECATE_EOF = 1u << 24,
	MY_OPTIONAL_METADATA = 1u << 25,
	MY_QUERY_ATTRIBUTES = 1u << 27,
};

/* Status flags of OK and EOF packets ("Status Flags"). */
enum {
	MY_STATUS_IN_TRANS = 0x0001,
	MY_STATUS_AUTOCOMMIT = 0x0002,
	MY_STATUS_MORE_RESULTS = 0x0008,
	MY_STATUS_CURSOR_EXISTS = 0x0040,
	MY_STATUS_LAST_ROW_SENT = 0x0080,
	MY_STATUS_OUT_PARAMETERS = 0x1000,
	MY_STATUS_STATE_CHANGED = 0x4000,
};

/* Commands ("Text Protocol", "Utility Commands", "Prepared Statements"). */
enum {
	MY_COM_SLEEP = 0,
	MY_COM_QUIT = 1,
	MY_COM_INIT_DB = 2,
	MY_COM_QUERY = 3,
	MY_COM_FIELD_LIST = 4,
	MY_COM_CREATE_DB = 5,
	MY_COM_DROP_DB = 6,
	MY_COM_REFRESH = 7,
	MY_COM_SHUTDOWN = 8,
	MY_COM_STATISTICS = 9,
	MY_COM_PROCESS_INFO = 10,
	MY_COM_CONNECT = 11,
	MY_COM_PROCESS_KILL = 12,
	MY_COM_DEBUG = 13,
	MY_COM_PING = 14,
	MY_COM_CHANGE_USER = 17,
	MY_COM_STMT_PREPARE = 22,
	MY_COM_STMT_EXECUTE = 23,
	MY_COM_STMT_SEND_LONG_DATA = 24,
	MY_COM_STMT_CLOSE = 25,
	MY_COM_STMT_RESET = 26,
	MY_COM_SET_OPTION = 27,
	MY_COM_STMT_FETCH = 28,
	MY_COM_RESET_CONNECTION = 31,
};

/* The header at the front of the input. */
struct my_header {
	size_t len; /* of the payload */
	uint8_t sequence;
};

/* Looks at the header without consuming it. False: not all of it is there. */
bool my_header_read(const struct input *in, struct my_header *ret_header);

/* Length-encoded integers and strings ("Protocol::LengthEncodedInteger"). A first byte of 0xfb
 * (NULL) or 0xff latches failure. */
uint64_t my_read_lenenc(struct reader *r);
const uint8_t *my_read_lenenc_bytes(struct reader *r, size_t *ret_len);
void my_write_lenenc(struct buf *b, uint64_t value);
void my_write_lenenc_bytes(struct buf *b, const void *data, size_t len);

/* Writes of a packet into a buffer: my_begin() returns the offset that my_end() completes. The
 * payload must stay below MY_PACKET_FULL: a longer one fails the buffer. */
size_t my_begin(struct buf *b, uint8_t sequence);
void my_end(struct buf *b, size_t offset);

/* Moves a buffer's content to an output and clears it; a failed buffer fails the output. */
void my_send_buf(struct output *o, struct buf *b);

/* OK_Packet with a status, no rows, no warnings, no text. */
void my_write_ok(struct buf *b, uint8_t sequence, uint16_t status);
void my_send_ok(struct output *o, uint8_t sequence, uint16_t status);

/* EOF_Packet. */
void my_write_eof(struct buf *b, uint8_t sequence, uint16_t n_warnings, uint16_t status);

/* ERR_Packet. */
void my_write_error(
	struct buf *b, uint8_t sequence, uint16_t code, const char *sqlstate, const char *text);
void my_send_refusal(struct output *o, uint8_t sequence, const struct refusal *refusal);

/* A command without an argument, with a number, or with bytes behind the command's byte. */
void my_send_command(struct output *o, uint8_t command, const void *argument, size_t len);
void my_send_query(struct output *o, const char *sql);

/* The fields of an ERR_Packet's payload; false: it is not one. The text is copied and cut. */
struct my_error {
	uint16_t code;
	char sqlstate[6];
	char text[512];
};

bool my_error_read(const uint8_t *payload, size_t len, struct my_error *ret_error);

/* The fields of an OK_Packet's payload (its header byte 0x00 or 0xfe). `info` and `tracked` lie in
 * place; `tracked` is only read under MY_SESSION_TRACK. */
struct my_ok {
	uint64_t affected_rows, last_insert_id;
	uint16_t status, n_warnings;
	const uint8_t *info;
	size_t info_len;
	const uint8_t *tracked;
	size_t tracked_len;
	size_t fixed_len; /* bytes from the header byte to the warnings, both included */
};

bool my_ok_read(const uint8_t *payload, size_t len, bool session_track, struct my_ok *ret_ok);
