/* SPDX-License-Identifier: ISC */
/*
 * The log: lines that can be read back in both formats whatever peers send, caps, and a writer that
 * never blocks.
 */
#include "common/log.h"

#include "common/counters.h"
#include "common/id.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { FIELDS_MAX = 64 };

static int pipe_fds[2];

/* ------------------------------------------------------------ reading back */
struct field {
	char key[64];
	unsigned char value[LOG_LINE_MAX];
	size_t len;
};

static struct {
	struct field fields[FIELDS_MAX];
	size_t count;
} parsed;

static unsigned hex(const char **at, int digits)
{
	unsigned value = 0;

	while (digits-- > 0) {
		const char *digit = strchr("0123456789abcdef", *(*at)++);
		assert_non_null(digit);
		value = value * 16 + (unsigned)(digit - "0123456789abcdef");
	}
	return value;
}

/* From after the opening quote to after the closing one; only the escapes that log.c writes. */
static const char *read_quoted(const char *at, struct field *field, bool json)
{
	field->len = 0;
	while (*at != '"') {
		assert_in_range((unsigned char)*at, 0x20, 0x7e);
		unsigned octet = (unsigned char)*at++;
		if (octet == '\\') {
			assert_int_equal(*at++, json ? 'u' : 'x');
			octet = hex(&at, json ? 4 : 2);
			assert_true(octet <= 0xff);
		}
		field->value[field->len++] = (unsigned char)octet;
	}
	return at + 1;
}

static const char *read_bare(const char *at, struct field *field, const char *stop)
{
	size_t n = strcspn(at, stop);

	assert_true(n > 0 && strcspn(at, "\"\\=") >= n);
	memcpy(field->value, at, n);
	field->len = n;
	return at + n;
}

static struct field *next_field(const char *key, size_t len)
{
	assert_true(parsed.count < FIELDS_MAX);
	struct field *field = &parsed.fields[parsed.count++];

	assert_true(len > 0 && len < sizeof field->key);
	memcpy(field->key, key, len);
	field->key[len] = '\0';
	return field;
}

/* " key=value key=\"value\"\n" */
static void parse_logfmt_fields(const char *at)
{
	parsed.count = 0;
	while (*at == ' ') {
		size_t n = strcspn(++at, "= \"");
		struct field *field = next_field(at, n);
		at += n;
		assert_int_equal(*at++, '=');
		at = *at == '"' ? read_quoted(at + 1, field, false) : read_bare(at, field, " \n");
	}
	assert_string_equal(at, "\n");
}

/* {"key":"value","key":1}\n */
static void parse_json(const char *at)
{
	parsed.count = 0;
	assert_int_equal(*at, '{');
	do {
		assert_int_equal(*++at, '"');
		size_t n = strcspn(++at, "\"");
		struct field *field = next_field(at, n);
		at += n;
		assert_memory_equal(at, "\":", 2);
		at += 2;
		at = *at == '"' ? read_quoted(at + 1, field, true) : read_bare(at, field, ",}");
	} while (*at == ',');
	assert_string_equal(at, "}\n");
}

static const struct field *find(const char *key)
{
	for (size_t i = 0; i < parsed.count; i++) {
		if (strcmp(parsed.fields[i].key, key) == 0)
			return &parsed.fields[i];
	}
	return NULL;
}

static void assert_field(const char *key, const void *value, size_t len)
{
	const struct field *field = find(key);

	if (field == NULL)
		fail_msg("got no %s, want one", key);
	if (field->len != len || memcmp(field->value, value, len) != 0)
		fail_msg("%s: got %.*s (%zu octets), want %.*s (%zu octets)", key, (int)field->len,
			(const char *)field->value, field->len, (int)len, (const char *)value, len);
}

static void assert_text(const char *key, const char *value)
{
	assert_field(key, value, strlen(value));
}

/* ------------------------------------------------------------------ fixture */
static char input[1024 * 1024];
static size_t input_len;

static void read_pipe(void)
{
	ssize_t n;

	do {
		n = read(pipe_fds[0], input + input_len, sizeof input - 1 - input_len);
		if (n > 0)
			input_len += (size_t)n;
	} while (n > 0);
	assert_int_equal(errno, EAGAIN);
	input[input_len] = '\0';
}

/* The next whole line, with its newline; false: there is none. */
static bool next_line(char line[LOG_LINE_MAX + 1])
{
	read_pipe();
	const char *end = memchr(input, '\n', input_len);
	if (end == NULL)
		return false;
	size_t len = (size_t)(end - input) + 1;
	assert_true(len <= LOG_LINE_MAX);
	memcpy(line, input, len);
	line[len] = '\0';
	memmove(input, input + len, input_len - len);
	input_len -= len;
	return true;
}

static char last[LOG_LINE_MAX + 1];

/* Reads the one line that was written and takes it apart. */
static void parse_next(enum log_format format)
{
	char other[LOG_LINE_MAX + 1];

	assert_true(next_line(last));
	assert_false(next_line(other));
	if (format == LOG_FORMAT_JSON) {
		parse_json(last);
		return;
	}
	/* time process[pid] level verb, then the fields */
	const char *at = last;
	for (int i = 0; i < 4; i++) {
		at += strcspn(at, " \n");
		at += i < 3;
	}
	parse_logfmt_fields(at);
}

static int set_up(void **state)
{
	(void)state;
	input_len = 0;
	if (pipe2(pipe_fds, O_CLOEXEC) == -1)
		return -1;
	log_open("test", pipe_fds[1], LOG_FORMAT_LOGFMT, LOG_INFO);
	/* Only the reader: the log's own descriptor stays blocking, as the master's is. */
	return fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
}

static int tear_down(void **state)
{
	(void)state;
	log_open("test", STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_INFO);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* --------------------------------------------------------------- one line */
static void test_logfmt_line(void **state)
{
	struct log_line line;
	char want[256];

	(void)state;
	log_begin(&line, LOG_INFO, "auth-failed");
	log_text(&line, "rip", "192.0.2.1");
	log_text(&line, "login", "alice");
	log_text(&line, "msg", "two words");
	log_uint(&line, "most", UINT64_MAX);
	log_int(&line, "least", INT64_MIN);
	log_id(&line, "sid", 1);
	log_text(&line, "empty", "");
	log_end(&line);
	assert_true(next_line(last));
	snprintf(want, sizeof want,
		" test[%ld] info auth-failed rip=192.0.2.1 login=\"alice\" msg=\"two words\" "
		"most=18446744073709551615 least=-9223372036854775808 sid=000000000001 "
		"empty=\"\"\n",
		(long)getpid());
	assert_string_equal(last + strlen("2026-11-25T02:14:25.123Z"), want);
	assert_int_equal(last[10], 'T');
	assert_int_equal(last[23], 'Z');
}

static void test_json_line(void **state)
{
	struct log_line line;

	(void)state;
	log_open("test", pipe_fds[1], LOG_FORMAT_JSON, LOG_INFO);
	log_begin(&line, LOG_WARNING, "auth-failed");
	log_text(&line, "login", "alice");
	log_uint(&line, "ms", 5);
	log_end(&line);
	parse_next(LOG_FORMAT_JSON);
	assert_text("process", "test");
	assert_text("level", "warning");
	assert_text("event", "auth-failed");
	assert_text("login", "alice");
	assert_text("ms", "5");
	assert_int_equal(find("time")->len, strlen("2026-11-25T02:14:25.123Z"));
	assert_non_null(strstr(last, ",\"ms\":5}"));
}

/* What peers send, among it what would end a line, a value, or a terminal's peace. */
static const struct {
	const char *name, *value;
	size_t len;
} values[] = {
#define VALUE(name, text)                    \
	{                                    \
		name, text, sizeof(text) - 1 \
	}
	VALUE("word", "alice@example.test"),
	VALUE("empty", ""),
	VALUE("space", " "),
	VALUE("quote", "a\"b"),
	VALUE("only a quote", "\""),
	VALUE("backslash", "a\\b\\"),
	VALUE("an escape of its own", "\\x41\\u0041\\n"),
	VALUE("line ends", "a\r\nb\n"),
	VALUE("a forged line", "x\n2026-11-25T02:14:25.123Z auth[1] info auth-failed rip=1.2.3.4"),
	VALUE("a forged field", "x\" rip=\"192.0.2.9"),
	VALUE("equals", "a=b"),
	VALUE("NUL", "a\0b"),
	VALUE("terminal", "\x1b[2J\x07\x7f"),
	VALUE("UTF-8", "m\xc3\xbcller"),
	VALUE("no UTF-8", "\xff\xfe\xc3"),
	VALUE("JSON", "{\"a\":[1]}"),
	VALUE("percent", "%s%n%100000d"),
};

static void check_values(enum log_format format)
{
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct log_line line;
		log_begin(&line, LOG_INFO, "test");
		log_bytes(&line, "value", values[i].value, values[i].len);
		log_text(&line, "after", "x");
		log_end(&line);
		parse_next(format);
		assert_field("value", values[i].value, values[i].len);
		assert_text("after", "x");
	}
}

static void test_hostile_values_in_logfmt(void **state)
{
	(void)state;
	check_values(LOG_FORMAT_LOGFMT);
}

static void test_hostile_values_in_json(void **state)
{
	(void)state;
	log_open("test", pipe_fds[1], LOG_FORMAT_JSON, LOG_INFO);
	check_values(LOG_FORMAT_JSON);
}

static void check_every_octet(enum log_format format)
{
	unsigned char octets[256];
	struct log_line line;

	for (size_t i = 0; i < sizeof octets; i++)
		octets[i] = (unsigned char)i;
	log_begin(&line, LOG_INFO, "test");
	log_bytes(&line, "value", octets, sizeof octets);
	log_end(&line);
	parse_next(format);
	assert_field("value", octets, sizeof octets);
}

static void test_every_octet_can_be_told_back(void **state)
{
	(void)state;
	check_every_octet(LOG_FORMAT_LOGFMT);
	log_open("test", pipe_fds[1], LOG_FORMAT_JSON, LOG_INFO);
	check_every_octet(LOG_FORMAT_JSON);
}

static void test_a_value_has_a_cap(void **state)
{
	char value[LOG_VALUE_MAX + 100];
	struct log_line line;

	(void)state;
	memset(value, 'v', sizeof value);
	log_begin(&line, LOG_INFO, "test");
	log_bytes(&line, "value", value, sizeof value);
	log_text(&line, "after", "x");
	log_end(&line);
	parse_next(LOG_FORMAT_LOGFMT);
	assert_field("value", value, LOG_VALUE_MAX);
	assert_text("after", "x");
}

/* More than a line holds: what does not fit is left out, and the line can still be read. */
static void check_long_lines(enum log_format format)
{
	static const char fill[][2] = {"v", "\x01", " "};
	unsigned char value[LOG_VALUE_MAX];

	for (size_t i = 0; i < sizeof fill / sizeof *fill; i++) {
		/* Every place of the line's end in a value. */
		for (size_t first = 0; first < LOG_VALUE_MAX; first++) {
			struct log_line line;
			memset(value, fill[i][0], sizeof value);
			log_begin(&line, LOG_INFO, "test");
			log_bytes(&line, "first", value, first);
			for (int n = 0; n < 12; n++)
				log_bytes(&line, "value", value, sizeof value);
			log_uint(&line, "number", UINT64_MAX);
			log_int(&line, "least", INT64_MIN);
			log_end(&line);
			parse_next(format);
			assert_field("first", value, first);
			assert_true(strlen(last) > LOG_LINE_MAX - 64);
			const struct field *number = find("number");
			assert_true(number == NULL || number->len == 20);
		}
	}
}

static void test_a_long_line_can_be_read_in_logfmt(void **state)
{
	(void)state;
	check_long_lines(LOG_FORMAT_LOGFMT);
}

static void test_a_long_line_can_be_read_in_json(void **state)
{
	(void)state;
	log_open("test", pipe_fds[1], LOG_FORMAT_JSON, LOG_INFO);
	check_long_lines(LOG_FORMAT_JSON);
}

static void test_message_is_formatted_and_escaped(void **state)
{
	char text[2 * LOG_VALUE_MAX];

	(void)state;
	log_message(LOG_INFO, "start", "%s: %d", "a\nb", 5);
	parse_next(LOG_FORMAT_LOGFMT);
	assert_text("msg", "a\nb: 5");
	memset(text, 't', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	log_message(LOG_INFO, "start", "%s", text);
	parse_next(LOG_FORMAT_LOGFMT);
	assert_field("msg", text, LOG_VALUE_MAX - 1);
}

/* ------------------------------------------------------------------- levels */
static void test_levels(void **state)
{
	static const enum log_level levels[] = {LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

	(void)state;
	for (size_t at = 0; at < 4; at++) {
		log_open("test", pipe_fds[1], LOG_FORMAT_LOGFMT, levels[at]);
		for (size_t i = 0; i < 4; i++) {
			struct log_line line;
			log_begin(&line, levels[i], "test");
			log_text(&line, "key", "value");
			log_uint(&line, "n", 1);
			log_int(&line, "i", 1);
			log_id(&line, "id", 1);
			log_end(&line);
			assert_int_equal(log_enabled(levels[i]), i <= at);
			assert_int_equal(next_line(last), i <= at);
			log_message(levels[i], "test", "text");
			assert_int_equal(next_line(last), i <= at);
		}
	}
}

/* --------------------------------------------------------- a pipe that blocks */
static void log_numbered(uint64_t number)
{
	struct log_line line;
	char padding[LOG_VALUE_MAX];

	memset(padding, 'p', sizeof padding);
	log_begin(&line, LOG_INFO, "test");
	log_uint(&line, "number", number);
	log_bytes(&line, "padding", padding, sizeof padding);
	log_end(&line);
}

/* Fills pipe and ring until a line is dropped; how many were kept. */
static uint64_t fill_until_dropped(void)
{
	uint64_t dropped = log_dropped(), sent = 0;

	while (log_dropped() == dropped)
		log_numbered(sent++);
	return sent - 1;
}

static void assert_number(uint64_t number)
{
	char want[32];

	snprintf(want, sizeof want, " number=%llu ", (unsigned long long)number);
	if (strstr(last, want) == NULL)
		fail_msg("got %s, want %s", last, want);
}

static void test_a_full_pipe_does_not_block_and_drops_are_counted(void **state)
{
	static struct counters page;
	uint64_t before = log_dropped();

	(void)state;
	counters_own(&page);
	uint64_t kept = fill_until_dropped(); /* a write that blocks would end here for ever */
	assert_true(kept > 256 * 1024 / (LOG_VALUE_MAX + 100));
	for (uint64_t i = 0; i < 9; i++)
		log_numbered(kept + 1 + i);
	assert_int_equal(log_dropped(), before + 10);
	assert_int_equal(counter_read(&page, COUNTER_LOG_DROPPED), 10);
}

static void test_lines_leave_in_order_when_the_pipe_is_read_again(void **state)
{
	uint64_t kept = fill_until_dropped(), seen = 0;

	(void)state;
	for (int stuck = 0; stuck < 3; stuck++) {
		log_flush();
		while (next_line(last)) {
			assert_number(seen++);
			stuck = 0;
		}
	}
	assert_int_equal(seen, kept);
}

/* A new line never overtakes those that wait. */
static void test_a_new_line_waits_behind_the_ring(void **state)
{
	uint64_t kept = fill_until_dropped(), seen = 0;

	(void)state;
	while (next_line(last))
		assert_number(seen++);
	assert_true(seen < kept);
	log_numbered(kept); /* flushes what the pipe takes, and goes to the ring's end */
	for (int stuck = 0; stuck < 3; stuck++) {
		log_flush();
		while (next_line(last)) {
			assert_number(seen++);
			stuck = 0;
		}
	}
	assert_int_equal(seen, kept + 1);
}

static void test_a_child_forgets_what_its_parent_had_not_written(void **state)
{
	(void)state;
	(void)fill_until_dropped();
	while (next_line(last))
		continue;
	log_open("child", pipe_fds[1], LOG_FORMAT_LOGFMT, LOG_INFO);
	log_flush();
	assert_false(next_line(last));
	log_message(LOG_INFO, "start", "x");
	assert_true(next_line(last));
	assert_non_null(strstr(last, " child["));
}

static void test_a_reader_that_left_costs_lines_only(void **state)
{
	uint64_t before = log_dropped();

	(void)state;
	close(pipe_fds[0]);
	pipe_fds[0] = -1;
	for (int i = 0; i < 1000; i++)
		log_message(LOG_INFO, "test", "x");
	log_flush();
	assert_true(log_dropped() > before);
}

static void test_a_closed_descriptor_costs_lines_only(void **state)
{
	(void)state;
	log_open("test", -1, LOG_FORMAT_LOGFMT, LOG_INFO);
	for (int i = 0; i < 10000; i++)
		log_message(LOG_INFO, "test", "x");
	log_flush();
	assert_false(next_line(last));
}

/* --------------------------------------------------------------------- panic */
static void test_panic_names_the_place_and_aborts(void **state)
{
	int status;

	(void)state;
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		require(1 + 1 == 3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_true(next_line(last));
	assert_non_null(strstr(last, " error panic msg=\"tests/unit/test_log.c:"));
	assert_non_null(strstr(last, "broken: 1 + 1 == 3"));
}

static void test_a_line_is_written_in_one_piece(void **state)
{
	(void)state;
	assert_true(LOG_LINE_MAX < PIPE_BUF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_logfmt_line),
		TEST(test_json_line),
		TEST(test_hostile_values_in_logfmt),
		TEST(test_hostile_values_in_json),
		TEST(test_every_octet_can_be_told_back),
		TEST(test_a_value_has_a_cap),
		TEST(test_a_long_line_can_be_read_in_logfmt),
		TEST(test_a_long_line_can_be_read_in_json),
		TEST(test_message_is_formatted_and_escaped),
		TEST(test_levels),
		TEST(test_a_full_pipe_does_not_block_and_drops_are_counted),
		TEST(test_lines_leave_in_order_when_the_pipe_is_read_again),
		TEST(test_a_new_line_waits_behind_the_ring),
		TEST(test_a_child_forgets_what_its_parent_had_not_written),
		TEST(test_a_reader_that_left_costs_lines_only),
		TEST(test_a_closed_descriptor_costs_lines_only),
		TEST(test_panic_names_the_place_and_aborts),
		TEST(test_a_line_is_written_in_one_piece),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* as every process does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
