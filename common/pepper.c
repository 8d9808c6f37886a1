/* SPDX-License-Identifier: ISC */
/* Reading a pepper's file; see pepper.h. */
#include "common/pepper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEX_LEN = 2 * PEPPER_BYTES, FILE_MAX = HEX_LEN + 2 };

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool decode(const char *text, size_t len, uint8_t out[PEPPER_BYTES])
{
	while (len > HEX_LEN && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	if (len != HEX_LEN)
		return false;
	for (size_t i = 0; i < PEPPER_BYTES; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
		if (high == -1 || low == -1)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* -1 with errno; one octet more than fits says that there is more. */
static ssize_t read_all(int fd, char text[FILE_MAX + 1])
{
	size_t len = 0;
	ssize_t n;

	do {
		n = read(fd, text + len, FILE_MAX + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	} while ((n > 0 && len <= FILE_MAX) || (n == -1 && errno == EINTR));
	return n == -1 ? -1 : (ssize_t)len;
}

static const char *read_open(
	int fd, const char *path, uint8_t out[PEPPER_BYTES], char why[PEPPER_WHY_MAX])
{
	char text[FILE_MAX + 1];
	struct stat status;
	ssize_t len = -1;
	bool good = false;

	if (fstat(fd, &status) == -1) {
		snprintf(why, PEPPER_WHY_MAX, "cannot be read: %s", strerror(errno));
		return why;
	}
	if (S_ISREG(status.st_mode) && (status.st_mode & 007) != 0) {
		snprintf(
			why, PEPPER_WHY_MAX, "may be read by others; run: chmod o= '%.250s'", path);
		return why;
	}
	if (S_ISREG(status.st_mode))
		len = read_all(fd, text);
	if (len >= 0 && len <= FILE_MAX)
		good = decode(text, (size_t)len, out);
	explicit_bzero(text, sizeof text);
	if (good)
		return NULL;
	snprintf(why, PEPPER_WHY_MAX,
		"must hold one line, 64 hexadecimal digits; make it with: openssl rand -hex 32");
	return why;
}

const char *pepper_read(const char *path, uint8_t out[PEPPER_BYTES], char why[PEPPER_WHY_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd == -1) {
		snprintf(why, PEPPER_WHY_MAX, "cannot be read: %s", strerror(errno));
		return why;
	}
	const char *problem = read_open(fd, path, out, why);
	if (problem != NULL)
		explicit_bzero(out, PEPPER_BYTES);
	close(fd);
	return problem;
}
