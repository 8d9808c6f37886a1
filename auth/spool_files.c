/* SPDX-License-Identifier: ISC */
/* Opening, locking and counting; see spool_files.h.  Runs before confinement, perhaps as root. */
#include "auth/spool_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NODE_TEXT_MAX = 64 };

struct opening {
	const char *path;
	int directory;
	char *err;
	size_t err_size;
};

static bool complain(const struct opening *opening, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool complain(const struct opening *opening, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(opening->err, opening->err_size, format, args);
	va_end(args);
	return false;
}

/* A file of ours: regular, and of one name. */
static int open_file(const struct opening *opening, const char *name, int flags)
{
	struct stat st;
	int fd =
		openat(opening->directory, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
		return fd;
	close(fd);
	errno = EINVAL;
	return -1;
}

/* ---------------------------------------------------------------------- lock */
static bool take_lock(const struct opening *opening, struct spool_files *files)
{
	files->lock = open_file(opening, "lock", O_RDWR | O_CREAT);
	if (files->lock == -1)
		return complain(
			opening, "spool.directory: %s/lock: %s", opening->path, strerror(errno));
	if (flock(files->lock, LOCK_EX | LOCK_NB) == 0)
		return true;
	return complain(opening,
		"spool.directory: another postern uses %s: stop it, or give this one a "
		"spool.directory of its own",
		opening->path);
}

/* ---------------------------------------------------------------------- node */
/* 1: read; 0: there is none; -1: errno, or 0 when it is not what stands in such a file. */
static int read_node(const struct opening *opening, struct spool_files *files)
{
	char text[NODE_TEXT_MAX];
	int end = 0;
	int fd = open_file(opening, "node", O_RDONLY);

	if (fd == -1)
		return errno == ENOENT ? 0 : -1;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n == -1)
		return -1;
	text[n] = '\0';
	errno = 0;
	if (sscanf(text, "%" SCNu64 " %" SCNu64 "\n%n", &files->node, &files->boot, &end) != 2 ||
		end != n || text[n - 1] != '\n' || files->node == 0 || files->node > INT64_MAX ||
		files->boot >= INT64_MAX)
		return -1;
	return 1;
}

static bool write_all(int fd, const char *text, size_t len)
{
	return write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
}

/* A new file in the old one's place: a crash leaves one of the two. */
static bool write_node(const struct opening *opening, const struct spool_files *files)
{
	char text[NODE_TEXT_MAX];
	int len =
		snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", files->node, files->boot);
	int fd = open_file(opening, "node.new", O_WRONLY | O_CREAT | O_TRUNC);

	if (fd == -1)
		return false;
	bool written = write_all(fd, text, (size_t)len);
	close(fd);
	return written &&
	       renameat(opening->directory, "node.new", opening->directory, "node") == 0 &&
	       fsync(opening->directory) == 0;
}

static bool count_boot(const struct opening *opening, struct spool_files *files)
{
	int known = read_node(opening, files);

	if (known == -1)
		return complain(opening,
			"spool.directory: %s/node: %s; it can be removed: the "
			"node is a new one then",
			opening->path,
			errno == 0 ? "it does not hold a node and a boot" : strerror(errno));
	if (known == 0) {
		randombytes_buf(&files->node, sizeof files->node);
		files->node = (files->node & INT64_MAX) | 1;
		files->boot = 0;
	}
	files->boot++;
	if (write_node(opening, files))
		return true;
	return complain(
		opening, "spool.directory: writing %s/node: %s", opening->path, strerror(errno));
}

/* ------------------------------------------------------------------ segments */
static bool open_segments(const struct opening *opening, struct spool_files *files)
{
	char name[32];

	for (unsigned i = 0; i < SPOOL_FILES; i++) {
		snprintf(name, sizeof name, "segment-%02u", i);
		files->segments[i] = open_file(opening, name, O_RDWR | O_CREAT);
		if (files->segments[i] == -1)
			return complain(opening, "spool.directory: %s/%s: %s", opening->path, name,
				strerror(errno));
	}
	if (fsync(opening->directory) == -1)
		return complain(opening, "spool.directory: %s: %s", opening->path, strerror(errno));
	return true;
}

/* What is in it tells who wrote to whom; and whoever writes there writes the books. */
static bool is_private(const struct opening *opening)
{
	struct stat st;

	if (fstat(opening->directory, &st) == -1)
		return complain(opening, "spool.directory: %s: %s", opening->path, strerror(errno));
	if (st.st_uid == geteuid() && (st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
		return true;
	return complain(opening,
		"spool.directory: %s must belong to the user that starts postern, and be closed "
		"to all others: run `chown %u %s && chmod 700 %s`",
		opening->path, (unsigned)geteuid(), opening->path, opening->path);
}

bool spool_files_open(struct spool_files *files, const char *directory, char *err, size_t size)
{
	struct opening opening = {.path = directory, .err = err, .err_size = size};

	*files = (struct spool_files){.lock = -1};
	for (size_t i = 0; i < SPOOL_FILES; i++)
		files->segments[i] = -1;
	opening.directory = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (opening.directory == -1)
		return complain(&opening, "spool.directory: %s: %s", directory, strerror(errno));
	bool good = is_private(&opening) && take_lock(&opening, files) &&
		    count_boot(&opening, files) && open_segments(&opening, files);
	close(opening.directory);
	if (!good)
		spool_files_close(files);
	return good;
}

void spool_files_close(struct spool_files *files)
{
	for (size_t i = 0; i < SPOOL_FILES; i++) {
		if (files->segments[i] != -1)
			close(files->segments[i]);
		files->segments[i] = -1;
	}
	if (files->lock != -1)
		close(files->lock);
	files->lock = -1;
}
