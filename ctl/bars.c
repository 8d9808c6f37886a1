/* SPDX-License-Identifier: ISC */
/* Bars; see bars.h. */
#include "ctl/bars.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS_USUAL = 80, COLUMNS_MOST = 1000, EIGHTHS = 8 };

/* Asked of an object of its own: the rest of the program stays in the locale C. */
static bool locale_is_utf8(void)
{
	locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	bool utf8;

	if (locale == (locale_t)0)
		return false;
	utf8 = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
	freelocale(locale);
	return utf8;
}

static bool wants_colour(void)
{
	const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return (no_colour == NULL || no_colour[0] == '\0') && terminal != NULL &&
	       strcmp(terminal, "dumb") != 0;
}

bool bars_style(struct bars_style *style)
{
	struct winsize size;

	memset(style, 0, sizeof(*style));
	if (isatty(STDOUT_FILENO) != 1)
		return false;
	style->blocks = locale_is_utf8();
	style->colour = wants_colour();
	style->columns = COLUMNS_USUAL;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != -1 && size.ws_col > 0)
		style->columns = size.ws_col < COLUMNS_MOST ? size.ws_col : COLUMNS_MOST;
	return true;
}

unsigned long bars_percent(uint64_t used, uint64_t limit)
{
	if (limit == 0)
		return 100;
	if (used > UINT64_MAX / 100)
		return (unsigned long)(used / (limit < 100 ? 1 : limit / 100));
	return (unsigned long)(used * 100 / limit);
}

/* How many of all parts are filled. */
static size_t filled(size_t all, uint64_t used, uint64_t limit)
{
	size_t parts;

	if (used >= limit)
		return all;
	parts = (size_t)((double)used / (double)limit * (double)all);
	if (parts == 0 && used > 0)
		return 1;
	return parts < all ? parts : all - 1;
}

static void draw_blocks(FILE *to, size_t width, uint64_t used, uint64_t limit)
{
	size_t parts = filled(width * EIGHTHS, used, limit);
	size_t whole = parts / EIGHTHS, rest = parts % EIGHTHS;

	for (size_t i = 0; i < width; i++) {
		if (i < whole)
			(void)fputs("\xE2\x96\x88", to); /* U+2588 */
		else if (i == whole && rest > 0)         /* U+258F is an eighth, U+2589 seven */
			(void)fprintf(to, "\xE2\x96%c", (char)(0x90 - rest));
		else
			(void)fputs("\xE2\x96\x91", to); /* U+2591, a light shade */
	}
}

static void draw_ascii(FILE *to, size_t width, uint64_t used, uint64_t limit)
{
	size_t inside = width - 2, whole = filled(inside, used, limit);

	(void)fputc('[', to);
	for (size_t i = 0; i < inside; i++)
		(void)fputc(i < whole ? '#' : '.', to);
	(void)fputc(']', to);
}

static const char *colour_of(unsigned long percent, bool full, unsigned warn_percent)
{
	if (full)
		return "\x1b[31m";
	return percent >= warn_percent ? "\x1b[33m" : "\x1b[32m";
}

void bars_draw(FILE *to, const struct bars_style *style, size_t width, uint64_t used,
	uint64_t limit, unsigned warn_percent)
{
	if (width < BARS_WIDTH_LEAST)
		width = BARS_WIDTH_LEAST;
	if (style->colour)
		(void)fputs(colour_of(bars_percent(used, limit), used >= limit, warn_percent), to);
	if (style->blocks)
		draw_blocks(to, width, used, limit);
	else
		draw_ascii(to, width, used, limit);
	if (style->colour)
		(void)fputs("\x1b[0m", to);
}

void bars_octets(uint64_t octets, char out[BARS_TEXT_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	uint64_t whole = octets, rest = 0;
	size_t unit = 0;

	if (octets < 1024) {
		(void)snprintf(out, BARS_TEXT_MAX, "%" PRIu64 " B", octets);
		return;
	}
	for (; whole >= 1024; unit++) {
		rest = whole % 1024 * 10 / 1024;
		whole /= 1024;
	}
	if (rest == 0)
		(void)snprintf(out, BARS_TEXT_MAX, "%" PRIu64 " %s", whole, units[unit - 1]);
	else
		(void)snprintf(out, BARS_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %s", whole, rest,
			units[unit - 1]);
}

void bars_time(uint64_t seconds, char out[BARS_TEXT_MAX])
{
	static const struct {
		uint64_t seconds;
		const char *unit;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	size_t at = 0;

	/* Two days and more in days, two hours and more in hours: nothing is rounded up by half. */
	while (at < 3 && seconds < 2 * units[at].seconds)
		at++;
	(void)snprintf(out, BARS_TEXT_MAX, "%" PRIu64 " %s",
		seconds / units[at].seconds + (seconds % units[at].seconds > 0 ? 1 : 0),
		units[at].unit);
}
