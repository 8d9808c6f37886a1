/* SPDX-License-Identifier: ISC */
/*
 * One line an event: time, process, level, a fixed verb, then key=value (logfmt) or the same as
 *JSON.
 *
 * Peer text is escaped (all but printable ASCII as \xNN) and capped; a secret never comes here.
 * Writing never blocks: a line that the descriptor does not take now waits in a bounded ring, and
 * when that is full it is dropped and counted.  One per process, its loop's thread only.
 *
 *	struct log_line line;
 *	log_begin(&line, LOG_INFO, "auth-failed");
 *	log_text(&line, "rip", rip);
 *	log_uint(&line, "ms", elapsed);
 *	log_end(&line);
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

enum { LOG_LINE_MAX = 4000, LOG_VALUE_MAX = 400 }; /* a line stays below PIPE_BUF */

struct log_line {
	size_t len;
	bool active; /* false: below the level, all calls do nothing */
	char bytes[LOG_LINE_MAX];
};

/*
 * process is "master", "auth", "proxy0", ...; fd stays the caller's.  Called again in a child after
 * fork: whatever the parent had not written is forgotten here.
 */
void log_open(const char *process, int fd, enum log_format format, enum log_level level);

bool log_enabled(enum log_level level);
void log_begin(struct log_line *line, enum log_level level, const char *verb);
void log_text(struct log_line *line, const char *key, const char *value);
void log_bytes(struct log_line *line, const char *key, const void *value, size_t len);
void log_uint(struct log_line *line, const char *key, uint64_t value);
void log_int(struct log_line *line, const char *key, int64_t value);
void log_id(struct log_line *line, const char *key, uint64_t id); /* as id_format() */
void log_end(struct log_line *line);

/* verb msg="..."; for events that have no keys of their own.  Peer text only through %s is escaped.
 */
void log_message(enum log_level level, const char *verb, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Tries the ring again; called from the heartbeat timer and before the process ends. */
void log_flush(void);

/* Lines dropped since the start. */
uint64_t log_dropped(void);

/* A programmer's error: logs file, line and text, then aborts; in release builds too. */
_Noreturn void log_panic_at(const char *file, int line, const char *text);
#define panic(text) log_panic_at(__FILE__, __LINE__, (text))
#define require(condition)                            \
	do {                                          \
		if (!(condition))                     \
			panic("broken: " #condition); \
	} while (0)

#endif
