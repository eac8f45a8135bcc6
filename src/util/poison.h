/* Included before every source file: functions that have a bounded or checked sibling are not to be
 * had. The system's headers come first, since poisoning forbids even their declarations. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Some are macros of the C library, which cannot be poisoned. */
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf

#pragma GCC poison strcpy strcat sprintf vsprintf atoi atol strtok gets
