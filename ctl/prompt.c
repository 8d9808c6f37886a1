/* SPDX-License-Identifier: ISC */
/*
 * Reading passwords; see prompt.h.  Reads octet by octet into memory of sodium_malloc(): stdio
 * would leave a copy in a buffer of its own.
 */
#include "ctl/prompt.h"

#include "ctl/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

/* Signals that would leave the terminal without echo. */
static const int caught[] = {SIGALRM, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP};
enum { CAUGHT_COUNT = sizeof(caught) / sizeof(caught[0]) };

static volatile sig_atomic_t came[CAUGHT_COUNT];

static void on_signal(int number)
{
	for (size_t i = 0; i < CAUGHT_COUNT; i++) {
		if (caught[i] == number)
			came[i] = 1;
	}
}

enum line_end { LINE_READ, LINE_TOO_LONG, LINE_NOTHING, LINE_SIGNAL };

static bool signal_came(void)
{
	for (size_t i = 0; i < CAUGHT_COUNT; i++) {
		if (came[i] != 0)
			return true;
	}
	return false;
}

/*
 * One line without its end; octets beyond the room are read and dropped.  Signals come while ppoll
 * waits with the mask, and only then: none is lost between a look and the wait.
 */
static enum line_end read_line(int fd, const sigset_t *mask, uint8_t *bytes, size_t *len_out)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint8_t octet = 0;
	ssize_t got = 0;
	size_t len = 0;

	for (;;) {
		if (ppoll(&wait, 1, NULL, mask) == -1) {
			if (errno == EINTR && !signal_came())
				continue;
			return errno == EINTR ? LINE_SIGNAL : LINE_NOTHING;
		}
		got = read(fd, &octet, 1);
		if (got == -1 && errno == EINTR)
			continue;
		if (got != 1 || octet == '\n')
			break;
		if (len < PASSWORD_SECRET_MAX)
			bytes[len] = octet;
		len++;
	}
	sodium_memzero(&octet, sizeof(octet));
	if (len == 0 && got != 1)
		return LINE_NOTHING;
	*len_out = len;
	return len > PASSWORD_SECRET_MAX ? LINE_TOO_LONG : LINE_READ;
}

/* Prompts and reads with the echo off, and switches it on again. */
static enum line_end ask_quietly(
	int tty, const char *text, const sigset_t *mask, uint8_t *bytes, size_t *len_out)
{
	struct termios echoing, quiet;
	enum line_end end = LINE_NOTHING;

	if (tcgetattr(tty, &echoing) == -1)
		return LINE_NOTHING;
	quiet = echoing;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	if (tcsetattr(tty, TCSAFLUSH, &quiet) == 0 &&
		write(tty, text, strlen(text)) == (ssize_t)strlen(text))
		end = read_line(tty, mask, bytes, len_out);
	while (tcsetattr(tty, TCSAFLUSH, &echoing) == -1 && errno == EINTR)
		continue;
	(void)!write(tty, "\n", 1);
	return end;
}

/* Asks once.  The signals that came meanwhile are raised when the terminal is as it was. */
static enum line_end ask_once(int tty, const char *text, uint8_t *bytes, size_t *len_out)
{
	struct sigaction action = {.sa_handler = on_signal}, before[CAUGHT_COUNT];
	sigset_t block, mask;
	enum line_end end;

	(void)sigemptyset(&block);
	for (size_t i = 0; i < CAUGHT_COUNT; i++) {
		came[i] = 0;
		(void)sigaddset(&block, caught[i]);
	}
	(void)sigprocmask(SIG_BLOCK, &block, &mask);
	for (size_t i = 0; i < CAUGHT_COUNT; i++)
		(void)sigaction(caught[i], &action, &before[i]);
	end = ask_quietly(tty, text, &mask, bytes, len_out);
	for (size_t i = 0; i < CAUGHT_COUNT; i++)
		(void)sigaction(caught[i], &before[i], NULL);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	for (size_t i = 0; i < CAUGHT_COUNT; i++) {
		if (came[i] != 0)
			(void)raise(caught[i]);
	}
	return end; /* LINE_SIGNAL when the program goes on: it was stopped and continued */
}

static enum line_end ask(int tty, const char *text, uint8_t *bytes, size_t *len_out)
{
	enum line_end end;

	do {
		end = ask_once(tty, text, bytes, len_out);
	} while (end == LINE_SIGNAL);
	return end;
}

static int say(const struct ctl *ctl, int status, const char *message, const char *hint)
{
	output_error(ctl->json, status, message, hint);
	return status;
}

/* Prepares the line in place. */
static int check_line(const struct ctl *ctl, enum line_end end, uint8_t *bytes, size_t *len)
{
	if (end == LINE_READ && password_prepare_secret(bytes, *len, bytes, len))
		return EX_OK;
	if (end == LINE_NOTHING)
		return say(ctl, EX_NOINPUT, "no password was given",
			"Type it at the prompt, or write one line to standard input; --no-password "
			"where there shall be none.");
	return say(ctl, EX_DATAERR, "not a password",
		"A password has 1 to 1024 octets, and nothing that cannot be seen: no control, no "
		"NUL.");
}

static int from_terminal(
	const struct ctl *ctl, int tty, bool twice, uint8_t *bytes, size_t *len_out)
{
	uint8_t *again = sodium_malloc(PASSWORD_SECRET_MAX);
	size_t again_len = 0;
	enum line_end end;
	int status;

	if (again == NULL)
		return say(ctl, EX_OSERR, "out of memory", "");
	end = ask(tty, "Password: ", bytes, len_out);
	status = check_line(ctl, end, bytes, len_out);
	if (status == EX_OK && twice) {
		end = ask(tty, "Again: ", again, &again_len);
		if (end != LINE_READ ||
			!password_prepare_secret(again, again_len, again, &again_len) ||
			again_len != *len_out || sodium_memcmp(bytes, again, *len_out) != 0)
			status = say(ctl, EX_DATAERR, "the two passwords differ",
				"Nothing was changed: try again.");
	}
	sodium_free(again);
	return status;
}

int prompt_password(const struct ctl *ctl, bool twice, uint8_t **secret_out, size_t *len_out)
{
	uint8_t *bytes = sodium_malloc(PASSWORD_SECRET_MAX);
	int status;

	*len_out = 0;
	if (bytes == NULL)
		return say(ctl, EX_OSERR, "out of memory", "");
	if (isatty(STDIN_FILENO) == 1) {
		int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

		status = from_terminal(ctl, tty == -1 ? STDIN_FILENO : tty, twice, bytes, len_out);
		if (tty != -1)
			(void)close(tty);
	} else {
		enum line_end end = read_line(STDIN_FILENO, NULL, bytes, len_out);

		status = check_line(ctl, end, bytes, len_out);
	}
	if (status != EX_OK) {
		prompt_wipe(&bytes);
		return status;
	}
	*secret_out = bytes;
	return EX_OK;
}

void prompt_wipe(uint8_t **secret)
{
	sodium_free(*secret); /* wipes */
	*secret = NULL;
}
