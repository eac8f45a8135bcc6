/* In place of libFuzzer in ordinary builds: runs the target on every file of the folders that are
 * given, whole and cut at every position. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static int replay(const char *folder, const char *name)
{
	static uint8_t data[65536];
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "re");
	if (!file) {
		perror(path);
		return 1;
	}
	size_t len = fread(data, 1, sizeof(data), file);
	fclose(file);
	for (size_t n = 0; n <= len; n++) {
		/* In memory of its own size, so that a read past the end is seen. */
		uint8_t *copy = malloc(n + 1);
		if (!copy)
			return 1;
		memcpy(copy, data, n);
		uint8_t *exact = realloc(copy, n ? n : 1);
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned n_files = 0;

	for (int i = 1; i < argc; i++) {
		DIR *folder = opendir(argv[i]);
		if (!folder) {
			perror(argv[i]);
			return 1;
		}
		for (struct dirent *entry; (entry = readdir(folder));) {
			if (entry->d_name[0] == '.')
				continue;
			if (replay(argv[i], entry->d_name) != 0)
				return 1;
			n_files++;
		}
		closedir(folder);
	}
	printf("%u files\n", n_files);
	return n_files == 0;
}
