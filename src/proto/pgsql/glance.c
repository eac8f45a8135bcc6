/*
 * What the scan looks for begins with one of its first words, stands behind a semicolon, or has one
 * of a few names in it. Those are looked for here wherever they stand, be it in a string, in
 * pieces of sixteen bytes.
 */
#include "proto/pgsql/glance.h"

#include <stdint.h>
#include <string.h>

#include "proto/pgsql/scan_tokens.h"

/* Compilers make vector registers of these where the machine has them. */
typedef uint8_t lanes __attribute__((vector_size(16)));

#define LANES 16

/* A character and the two behind it are compared. */
#define AHEAD 2

/* In lower case; '_' becomes DEL, all other marks stay what they are or become no mark. */
static lanes load(const char *sql)
{
	lanes v;

	memcpy(&v, sql, sizeof(v));
	return v | 0x20;
}

#define UNDERSCORE ('_' | 0x20)

/* Is there, in the sixteen characters at `sql`, the begin of: a semicolon; the t_c of set_config;
 * the g_a or g_t of pg_advisory_lock, pg_try_advisory_lock and their like; the emp of TEMP and
 * TEMPORARY? Reads AHEAD bytes behind them. */
static bool suspicious(const char *sql)
{
	lanes a = load(sql), b = load(sql + 1), c = load(sql + 2);
	lanes function = (lanes)(b == UNDERSCORE) &
			 (((lanes)(a == 't') & (lanes)(c == 'c')) |
				 ((lanes)(a == 'g') & (lanes)((c == 'a') | (c == 't'))));
	lanes temp = (lanes)(a == 'e') & (lanes)(b == 'm') & (lanes)(c == 'p');
	lanes found = function | temp | (lanes)(a == ';');
	uint64_t halves[2];

	memcpy(halves, &found, sizeof(halves));
	return (halves[0] | halves[1]) != 0;
}

static bool is_letter(char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* Where the first word ends, if the text begins with one that does not matter; 0 otherwise. */
static size_t harmless_word(const char *sql, size_t len)
{
	size_t n = 0;

	while (n < len && is_letter(sql[n]))
		n++;
	bool whole =
		n == len || sql[n] == ' ' || sql[n] == '\n' || sql[n] == '\t' || sql[n] == '\r';
	return n && whole && scan_first_word(sql, n) == FIRST_OTHER ? n : 0;
}

bool glance_is_enough(const char *sql, size_t len)
{
	char rest[LANES + AHEAD] = "";

	while (len && sql[len - 1] == ';')
		len--;
	size_t n = harmless_word(sql, len);
	if (!n)
		return false;
	for (; len - n >= LANES + AHEAD; n += LANES) {
		if (suspicious(sql + n))
			return false;
	}
	/* Up to LANES + AHEAD - 1 are left: what begins in the last two is too short to be
	 * anything. */
	memcpy(rest, sql + n, len - n);
	return !suspicious(rest) && rest[LANES] != ';';
}
