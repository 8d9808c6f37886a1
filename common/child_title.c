/* SPDX-License-Identifier: ISC */
/*
 * The title that ps shows, written over the memory of argv and the environment; see child.h.
 *
 * The environment's strings move to the heap first.  Overwriting has a welcome side: nothing of the
 * master's environment can be read from /proc/PID/environ afterwards.
 */
#include "common/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { COMM_MAX = 16 }; /* of the kernel: TASK_COMM_LEN */

static char *title_memory;
static size_t title_size;

/* The end of the strings that lie back to back from `end` on. */
static char *extend(char *end, char *const *strings)
{
	for (size_t i = 0; strings[i] != NULL; i++) {
		if (strings[i] == end)
			end += strlen(strings[i]) + 1;
	}
	return end;
}

/* Without memory for a copy the environment stays where it is, and the title gets less room. */
static char **copy_strings(char *const *strings)
{
	size_t count = 0;

	while (strings[count] != NULL)
		count++;
	char **copy = calloc(count + 1, sizeof *copy);
	for (size_t i = 0; copy != NULL && i < count; i++) {
		copy[i] = strdup(strings[i]);
		if (copy[i] == NULL) {
			while (i > 0)
				free(copy[--i]);
			free(copy);
			return NULL;
		}
	}
	return copy;
}

void child_title_init(int argc, char **argv)
{
	if (argc < 1 || title_memory != NULL)
		return;
	char *end = extend(argv[0], argv);
	char *environment_end = extend(end, environ);
	if (environment_end != end) {
		static char **copy; /* for good: the environment lives in it */
		copy = copy_strings(environ);
		if (copy != NULL) {
			environ = copy;
			end = environment_end;
		}
	}
	title_memory = argv[0];
	title_size = (size_t)(end - argv[0]);
}

void child_title_set(const char *title)
{
	char comm[COMM_MAX];

	/* "postern: proxy 0" is what ps shows; the kernel's 15 octets are for top and dmesg. */
	snprintf(comm, sizeof comm, "%s", title);
	(void)prctl(PR_SET_NAME, comm);
	if (title_size == 0)
		return;
	memset(title_memory, 0, title_size);
	/* One octet less: were the last not NUL, the kernel would read on into the environment. */
	snprintf(title_memory, title_size, "%s", title);
}
