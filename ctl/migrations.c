/* SPDX-License-Identifier: ISC */
/* Finding and reading the migration files; see migrations.h. */
#include "ctl/migrations.h"

#include "ctl/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static int say(const struct ctl *ctl, const char *what, const char *problem)
{
	char message[PATH_MAX + 128];

	(void)snprintf(message, sizeof(message), "%s: %s", what, problem);
	output_error(ctl->json, EX_NOINPUT, message,
		"Migrations are files 0001_name.sql, 0002_name.sql, ...; name their directory with "
		"--sql or POSTERN_SQL.");
	return EX_NOINPUT;
}

/* The directory relative to the program's own: ../share/postern/sql, or ../../sql in a build tree.
 */
static bool beside_program(const char *relative, char path[PATH_MAX])
{
	char program[PATH_MAX], joined[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash;
	int written;

	if (len == -1)
		return false;
	program[len] = '\0';
	slash = strrchr(program, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	written = snprintf(joined, sizeof(joined), "%s/%s", program, relative);
	return written > 0 && (size_t)written < sizeof(joined) && realpath(joined, path) != NULL;
}

static bool find_directory(const struct ctl *ctl, char path[PATH_MAX])
{
	const char *given = ctl->sql_directory != NULL ? ctl->sql_directory : getenv("POSTERN_SQL");

	if (given != NULL && given[0] != '\0')
		return snprintf(path, PATH_MAX, "%s", given) < PATH_MAX;
	return beside_program("../share/postern/sql", path) || beside_program("../../sql", path);
}

/* NNNN_name.sql, where the name has a-z, 0-9 and underscores. */
static int is_migration(const struct dirent *entry)
{
	const char *name = entry->d_name;
	size_t len = strlen(name);

	return len > strlen("0001_.sql") && len < MIGRATION_NAME_MAX &&
	       strspn(name, "0123456789") == 4 && name[4] == '_' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len - strlen(".sql") &&
	       strcmp(name + len - strlen(".sql"), ".sql") == 0;
}

static void checksum(struct migration *file, size_t len)
{
	unsigned char hash[32];

	(void)crypto_generichash(
		hash, sizeof(hash), (const unsigned char *)file->sql, len, NULL, 0);
	sodium_bin2hex(file->checksum, sizeof(file->checksum), hash, sizeof(hash));
}

/* Reads the file into memory; NULL: read_problem says why. */
static const char *read_file(int directory, struct migration *file)
{
	const char *problem = NULL;
	struct stat info;
	size_t len = 0;
	int fd = openat(directory, file->name, O_RDONLY | O_CLOEXEC);

	if (fd == -1 || fstat(fd, &info) == -1) {
		problem = strerror(errno);
		goto out;
	}
	if (!S_ISREG(info.st_mode) || info.st_size > MIGRATION_BYTES_MAX) {
		problem = "not a file of at most 4 MiB";
		goto out;
	}
	file->sql = calloc(1, (size_t)info.st_size + 1);
	if (file->sql == NULL) {
		problem = "out of memory";
		goto out;
	}
	while (len < (size_t)info.st_size) {
		ssize_t got = read(fd, file->sql + len, (size_t)info.st_size - len);

		if (got <= 0) {
			problem = got == 0 ? "it became shorter" : strerror(errno);
			goto out;
		}
		len += (size_t)got;
	}
	if (memchr(file->sql, '\0', len) != NULL)
		problem = "there is a NUL in it";
	checksum(file, len);
out:
	if (fd != -1)
		(void)close(fd);
	return problem;
}

/* Takes the entry of the next number. */
static int take_entry(
	const struct ctl *ctl, int directory, const char *name, struct migrations *set)
{
	struct migration *file = &set->files[set->count];
	const char *problem;

	if (strtoul(name, NULL, 10) != set->count + 1)
		return say(ctl, name, "the numbers have a gap, or one is there twice");
	set->count++;
	(void)snprintf(file->name, sizeof(file->name), "%.*s", MIGRATION_NAME_MAX - 1, name);
	problem = read_file(directory, file);
	return problem == NULL ? EX_OK : say(ctl, name, problem);
}

int migrations_load(const struct ctl *ctl, struct migrations *set)
{
	char path[PATH_MAX] = "sql";
	struct dirent **entries = NULL;
	int status = EX_OK, directory, count;

	memset(set, 0, sizeof(*set));
	if (!find_directory(ctl, path))
		return say(ctl, "migrations", "not found");
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory == -1)
		return say(ctl, path, strerror(errno));
	count = scandir(path, &entries, is_migration, alphasort);
	if (count <= 0 || count > MIGRATION_COUNT_MAX) {
		status = say(ctl, path, count == -1 ? strerror(errno) : "no migrations there");
		goto out;
	}
	set->files = calloc((size_t)count, sizeof(*set->files));
	if (set->files == NULL)
		status = say(ctl, path, "out of memory");
	for (int i = 0; status == EX_OK && i < count; i++)
		status = take_entry(ctl, directory, entries[i]->d_name, set);
out:
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	(void)close(directory);
	return status;
}

void migrations_free(struct migrations *set)
{
	for (size_t i = 0; i < set->count; i++)
		free(set->files[i].sql);
	free(set->files);
	memset(set, 0, sizeof(*set));
}
