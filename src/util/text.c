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

bool bytes_equal_secret(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t difference = 0;

	for (size_t i = 0; i < len; i++)
		difference |= (uint8_t)(x[i] ^ y[i]);
	return difference == 0;
}
