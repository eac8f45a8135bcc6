#include "util/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *expression)
{
	fprintf(stderr, "<2>weir: %s:%d: invariant does not hold: %s\n", file, line, expression);
	fflush(stderr);
	abort();
}
