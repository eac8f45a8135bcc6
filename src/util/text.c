#include "util/text.h"

#include <stdint.h>
#include <string.h>

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool text_equal_ci(const char *a, const char *b)
{
	for (; *a && fold(*a) == fold(*b); a++, b++)
		;
	return *a == *b;
}

bool text_is_ci(const char *bytes, size_t len, const char *word)
{
	size_t i = 0;

	while (i < len && word[i] && fold(bytes[i]) == fold(word[i]))
		i++;
	return i == len && !word[i];
}

bool text_starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

char *text_copy(char *ret_text, size_t size, const char *text)
{
	size_t len = strnlen(text, size - 1);

	memcpy(ret_text, text, len);
	ret_text[len] = 0;
	return ret_text;
}

/* How many bytes the UTF-8 character at `text` has; 0: it is none. */
static size_t utf8_length(const char *text, size_t len)
{
	unsigned char first = (unsigned char)text[0];
	size_t n = first < 0x80                    ? 1
		   : first >= 0xc2 && first < 0xe0 ? 2
		   : first >= 0xe0 && first < 0xf0 ? 3
		   : first >= 0xf0 && first < 0xf5 ? 4
						   : 0;

	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
	}
	unsigned char second = n > 1 ? (unsigned char)text[1] : 0;
	/* Overlong forms, surrogates, and what is beyond Unicode. */
	if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
		(first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90))
		return 0;
	return n;
}

void text_shorten(char *ret_text, size_t size, const char *text, size_t len, bool goes_on)
{
	static const char dots[] = "...";
	size_t used = 0, safe = 0; /* `safe`: so much leaves room for the dots */
	bool blank = true;

	for (size_t at = 0, n; at < len; at += n) {
		unsigned char c = (unsigned char)text[at];
		size_t width = utf8_length(text + at, len - at);
		n = width ? width : 1;
		/* Terminals obey the second set of control characters too. */
		bool is_blank = c <= ' ' || c == 0x7f ||
				(width == 2 && c == 0xc2 && (unsigned char)text[at + 1] < 0xa0);
		if (is_blank && blank)
			continue;
		const char *shown = is_blank ? " " : width ? text + at : "?";
		size_t n_shown = is_blank || !width ? 1 : n;
		if (used + n_shown >= size) {
			goes_on = true;
			break;
		}
		memcpy(ret_text + used, shown, n_shown);
		blank = is_blank;
		used += n_shown;
		if (used + sizeof(dots) <= size)
			safe = used;
	}
	if (goes_on) {
		memcpy(ret_text + safe, dots, sizeof(dots));
		return;
	}
	if (used && ret_text[used - 1] == ' ')
		used--;
	ret_text[used] = 0;
}

bool bytes_equal_secret(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t difference = 0;

	for (size_t i = 0; i < len; i++)
		difference |= (uint8_t)(x[i] ^ y[i]);
	return difference == 0;
}
