/* SPDX-License-Identifier: ISC */
/* Directory, pid file and log; see runtime.h. */
#include "master/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUNTIME_PATH_MAX = 1024 };

static bool path_in(
	const struct config *config, const char *name, char *path, size_t size, FILE *err)
{
	int n = snprintf(path, size, "%s/%s", config->runtime_directory, name);

	if (n > 0 && (size_t)n < size)
		return true;
	fprintf(err, "runtime_directory: %s is too long\n", config->runtime_directory);
	return false;
}

/* A directory of root's that nobody else may write to: a child's root is below it. */
static bool is_roots(const char *path, FILE *err)
{
	struct stat st;

	if (lstat(path, &st) == -1) {
		fprintf(err, "runtime_directory: %s: %s\n", path, strerror(errno));
		return false;
	}
	if (S_ISDIR(st.st_mode) && st.st_uid == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
		return true;
	fprintf(err,
		"runtime_directory: %s must be a directory of root's that nobody else may write "
		"to: run `chown root:root %s && chmod 755 %s`\n",
		path, path, path);
	return false;
}

/* 0755 whatever the umask is. */
static bool make_directory(const char *path, FILE *err)
{
	if (mkdir(path, 0755) == 0)
		return chmod(path, 0755) == 0;
	if (errno == EEXIST)
		return true;
	fprintf(err, "runtime_directory: cannot make %s: %s\n", path, strerror(errno));
	return false;
}

bool runtime_make_directory(const struct config *config, bool root, FILE *err)
{
	return make_directory(config->runtime_directory, err) &&
	       (!root || is_roots(config->runtime_directory, err));
}

bool runtime_make_spool(const struct config *config, FILE *err)
{
	const char *path = config->spool.directory;

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return true;
	fprintf(err,
		"spool.directory: cannot make %s: %s; make it, for the user that starts postern "
		"alone (mode 700), or name another\n",
		path, strerror(errno));
	return false;
}

static bool is_empty(const char *path)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	bool empty = directory != NULL;

	if (directory == NULL)
		return false;
	for (entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			empty = false;
	}
	closedir(directory);
	return empty;
}

bool runtime_make_empty(const struct config *config, char *path_out, size_t size, FILE *err)
{
	if (!path_in(config, "empty", path_out, size, err) || !make_directory(path_out, err) ||
		!is_roots(path_out, err))
		return false;
	if (is_empty(path_out))
		return true;
	fprintf(err,
		"runtime_directory: %s is the root directory of confined processes and must be "
		"empty: remove what is in it\n",
		path_out);
	return false;
}

/* POSIX record locks: they survive an exec of this process, and no child inherits them. */
static bool lock_whole(int fd, int command, struct flock *lock)
{
	*lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
	return fcntl(fd, command, lock) == 0;
}

static void say_locked(const struct config *config, int fd, FILE *err)
{
	struct flock lock;

	if (lock_whole(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK)
		fprintf(err,
			"another postern (PID %ld) runs with runtime_directory %s: stop it, or "
			"give "
			"this one a runtime_directory and addresses of its own\n",
			(long)lock.l_pid, config->runtime_directory);
	else
		fprintf(err, "runtime_directory: another postern in %s has just ended: try again\n",
			config->runtime_directory);
}

/* The descriptor of the locked file; -1: err has a sentence. */
static int open_and_lock(const struct config *config, const char *path, FILE *err)
{
	struct flock lock;
	struct stat st;

	for (;;) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd == -1) {
			fprintf(err, "runtime_directory: %s: %s\n", path, strerror(errno));
			return -1;
		}
		if (!lock_whole(fd, F_SETLK, &lock)) {
			say_locked(config, fd, err);
			close(fd);
			return -1;
		}
		if (fstat(fd, &st) == 0 && st.st_nlink > 0)
			return fd;
		close(fd); /* one that ended just now has removed it: take the next */
	}
}

int runtime_lock(const struct config *config, FILE *err)
{
	char path[RUNTIME_PATH_MAX], text[32];

	if (!path_in(config, "postern.pid", path, sizeof path, err))
		return -1;
	int fd = open_and_lock(config, path, err);
	if (fd == -1)
		return -1;
	int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) == -1 || pwrite(fd, text, (size_t)n, 0) != n) {
		fprintf(err, "runtime_directory: writing %s: %s\n", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

void runtime_unlock(const struct config *config, int fd)
{
	char path[RUNTIME_PATH_MAX];

	if (path_in(config, "postern.pid", path, sizeof path, stderr))
		(void)unlink(path);
	close(fd);
}

int runtime_open_log(const struct config *config, FILE *err)
{
	if (config->log.file == NULL)
		return STDERR_FILENO;
	int fd = open(config->log.file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd == -1)
		fprintf(err, "log: cannot open %s: %s; its directory must exist\n",
			config->log.file, strerror(errno));
	return fd;
}

bool runtime_fill_stdio(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd == -1)
			return false;
	} while (fd <= STDERR_FILENO);
	close(fd);
	return true;
}
