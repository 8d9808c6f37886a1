/* SPDX-License-Identifier: ISC */
/*
 * The log; see log.h.
 *
 * A line is at most LOG_LINE_MAX octets, below PIPE_BUF: when poll() says that a pipe takes output,
 * a write of one line neither blocks nor is split, and the descriptor (shared with the master and
 * perhaps a terminal) need not be made non-blocking.  A datagram or a file takes it whole anyway.
 */
#include "common/log.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/id.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	RING_BYTES = 256 * 1024,
	TAIL_RESERVE = 2,  /* the brace and the newline */
	NUMBER_OCTETS = 20 /* of the longest, with its sign; an empty value in quotes is shorter */
};

static struct {
	char process[32];
	int fd;
	enum log_format format;
	enum log_level level;
	uint64_t dropped;
	size_t used; /* lines that wait, back to back, oldest first */
	char ring[RING_BYTES];
} state = {.process = "postern", .fd = STDERR_FILENO, .level = LOG_INFO};

static const char level_names[][8] = {"error", "warning", "info", "debug"};

void log_open(const char *process, int fd, enum log_format format, enum log_level level)
{
	snprintf(state.process, sizeof state.process, "%s", process);
	state.fd = fd;
	state.format = format;
	state.level = level;
	state.used = 0;
}

bool log_enabled(enum log_level level)
{
	return level <= state.level;
}

uint64_t log_dropped(void)
{
	return state.dropped;
}

/* True when one whole line can be written now. */
static bool takes_output(void)
{
	struct pollfd p = {.fd = state.fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

static void drop_line(void)
{
	state.dropped++;
	counter_add(COUNTER_LOG_DROPPED, 1);
}

void log_flush(void)
{
	size_t done = 0;

	while (done < state.used && takes_output()) {
		const char *line = state.ring + done;
		const char *end = memchr(line, '\n', state.used - done);
		size_t len = end == NULL ? state.used - done : (size_t)(end - line) + 1;
		if (write(state.fd, line, len) == -1)
			drop_line();
		done += len;
	}
	if (done > 0) {
		memmove(state.ring, state.ring + done, state.used - done);
		state.used -= done;
	}
}

static void emit(const char *bytes, size_t len)
{
	if (state.used > 0)
		log_flush();
	if (state.used == 0 && takes_output()) {
		if (write(state.fd, bytes, len) == -1)
			drop_line();
		return;
	}
	if (len > RING_BYTES - state.used) {
		drop_line();
		return;
	}
	memcpy(state.ring + state.used, bytes, len);
	state.used += len;
}

/* How much more the line takes; room is kept for its end. */
static size_t room_in(const struct log_line *line)
{
	return LOG_LINE_MAX - TAIL_RESERVE - line->len;
}

static void put_text(struct log_line *line, const char *text)
{
	size_t len = strlen(text), room = room_in(line);

	if (len > room)
		len = room;
	memcpy(line->bytes + line->len, text, len);
	line->len += len;
}

/* What does not fit is cut, but never within an escape, and with room for the closing quote. */
static void put_escaped(struct log_line *line, const unsigned char *bytes, size_t len)
{
	/* JSON has no \x; a backslash itself is escaped in both, so the text can be told back. */
	bool json = state.format == LOG_FORMAT_JSON;

	for (size_t i = 0; i < len; i++) {
		char text[8] = {(char)bytes[i], '\0'};
		if (bytes[i] < 0x20 || bytes[i] >= 0x7f || bytes[i] == '"' || bytes[i] == '\\')
			snprintf(text, sizeof text, json ? "\\u%04x" : "\\x%02x", bytes[i]);
		if (strlen(text) >= room_in(line))
			return;
		put_text(line, text);
	}
}

/* False, with nothing written: the line is too full for the key and a value. */
static bool put_key(struct log_line *line, const char *key)
{
	bool json = state.format == LOG_FORMAT_JSON;

	if (strlen(key) + strlen(",\"\":\"") + NUMBER_OCTETS > room_in(line))
		return false;
	put_text(line, json ? ",\"" : " ");
	put_text(line, key);
	put_text(line, json ? "\":" : "=");
	return true;
}

/* Whether logfmt can show it without quotes. */
static bool is_word(const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] <= 0x20 || bytes[i] >= 0x7f || bytes[i] == '"' || bytes[i] == '\\' ||
			bytes[i] == '=')
			return false;
	}
	return len > 0;
}

void log_begin(struct log_line *line, enum log_level level, const char *verb)
{
	char text[CLOCK_TEXT_MAX];

	line->len = 0;
	line->active = log_enabled(level);
	if (!line->active)
		return;
	clock_format_rfc3339(clock_wall_ms(), text);
	int n;
	if (state.format == LOG_FORMAT_JSON)
		n = snprintf(line->bytes, LOG_LINE_MAX,
			"{\"time\":\"%s\",\"process\":\"%s\",\"pid\":%ld,\"level\":\"%s\","
			"\"event\":\"%s\"",
			text, state.process, (long)getpid(), level_names[level], verb);
	else
		n = snprintf(line->bytes, LOG_LINE_MAX, "%s %s[%ld] %s %s", text, state.process,
			(long)getpid(), level_names[level], verb);
	line->len = (size_t)n;
}

void log_bytes(struct log_line *line, const char *key, const void *value, size_t len)
{
	if (!line->active || !put_key(line, key))
		return;
	if (len > LOG_VALUE_MAX)
		len = LOG_VALUE_MAX;
	/* login is quoted always: the auth-failed line is read by patterns that count on it. */
	bool bare = state.format == LOG_FORMAT_LOGFMT && is_word(value, len) &&
		    strcmp(key, "login") != 0;
	if (!bare)
		put_text(line, "\"");
	put_escaped(line, value, len);
	if (!bare)
		put_text(line, "\"");
}

void log_text(struct log_line *line, const char *key, const char *value)
{
	log_bytes(line, key, value, strlen(value));
}

void log_uint(struct log_line *line, const char *key, uint64_t value)
{
	char text[NUMBER_OCTETS + 1];

	if (!line->active || !put_key(line, key))
		return;
	snprintf(text, sizeof text, "%llu", (unsigned long long)value);
	put_text(line, text);
}

void log_int(struct log_line *line, const char *key, int64_t value)
{
	char text[NUMBER_OCTETS + 1];

	if (!line->active || !put_key(line, key))
		return;
	snprintf(text, sizeof text, "%lld", (long long)value);
	put_text(line, text);
}

void log_id(struct log_line *line, const char *key, uint64_t id)
{
	char text[ID_TEXT_MAX];

	if (line->active)
		log_text(line, key, id_format(id, text));
}

void log_end(struct log_line *line)
{
	if (!line->active)
		return;
	if (state.format == LOG_FORMAT_JSON)
		line->bytes[line->len++] = '}';
	line->bytes[line->len++] = '\n';
	emit(line->bytes, line->len);
	line->active = false;
}

void log_message(enum log_level level, const char *verb, const char *format, ...)
{
	struct log_line line;
	char text[LOG_VALUE_MAX];
	va_list args;

	if (!log_enabled(level))
		return;
	va_start(args, format);
	int n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	log_begin(&line, level, verb);
	log_bytes(&line, "msg", text, n < 0 ? 0 : strnlen(text, sizeof text));
	log_end(&line);
}

void log_panic_at(const char *file, int line_number, const char *text)
{
	log_message(LOG_ERROR, "panic", "%s:%d: %s", file, line_number, text);
	log_flush();
	abort();
}
