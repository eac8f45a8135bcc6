/* Database URLs, from any text. */
#include <stdlib.h>
#include <string.h>

#include "config/url.h"
#include "fuzz.h"
#include "proto/pgsql/dial.h"
#include "util/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	struct url url, copy;
	struct buf words = {0};

	CHECK(text);
	int r = url_parse(text, &url, &words);
	CHECK((r == 0) == (words.len == 0));
	if (r == 0) {
		CHECK(url.n_hosts > 0);
		CHECK(url_copy(&url, &copy) == 0);
		CHECK(url_equal(&url, &copy));
		url_print(&url, &words);
		if (strcmp(url.protocol, "postgresql") == 0)
			(void)pgsql_url_check(&url, &words);
		url_clear(&copy);
		url_clear(&url);
	}
	buf_clear(&words);
	free(text);
	return 0;
}
