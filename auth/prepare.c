/* SPDX-License-Identifier: ISC */
/*
 * The preparation of logins and passwords (RFC 8265); declared in password.h.
 *
 * Owns the two profiles, UsernameCaseMapped and OpaqueString; the classes are precis.c's.  ASCII,
 * which nearly all of them are, takes a path of its own: no library, and no copies of a password.
 * The classes are checked behind the mappings, in the order of RFC 8264 section 7: so that what is
 * canonically equivalent (composed or not, as a client's keyboard has it) is one login, one
 * password. Any process; no state.
 */
#include "auth/password.h"
#include "auth/precis.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

enum {
	POINTS_MAX = PASSWORD_SECRET_MAX,
	ROOM = 4 * POINTS_MAX,     /* neither NFC nor lower case makes more than 3 of 1 */
	REPEATS_MAX = 3,           /* RFC 8264 section 7 */
	LIBRARY_STACK = 16 * 1024, /* what the library's functions may leave on the stack */
};

struct text {
	uint32_t points[ROOM];
	size_t count;
};

static void text_wipe(struct text *text)
{
	sodium_memzero(text, sizeof(*text));
}

/* false: not UTF-8 (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF). */
static bool text_read(const uint8_t *bytes, size_t len, struct text *text)
{
	text->count = ROOM;
	return len <= POINTS_MAX && u8_check(bytes, len) == NULL &&
	       u8_to_u32(bytes, len, text->points, &text->count) == text->points;
}

/* false: it is longer than max. */
static bool text_write(const struct text *text, uint8_t *bytes, size_t max, size_t *len_out)
{
	uint8_t room[PASSWORD_SECRET_MAX * 4];
	size_t len = sizeof(room);
	bool fits = text->count <= max &&
		    u32_to_u8(text->points, text->count, room, &len) == room && len <= max;

	if (fits) {
		memcpy(bytes, room, len);
		*len_out = len;
	}
	sodium_memzero(room, sizeof(room));
	return fits;
}

/* result: what a function of the library made of a text, or more than there is room for. */
static bool text_take(struct text *text, uint32_t *result, size_t count, struct text *room)
{
	bool fits = result == room->points && count <= ROOM;

	if (result != NULL && result != room->points) {
		sodium_memzero(result, count * sizeof(*result));
		free(result);
	}
	if (fits) {
		memcpy(text->points, room->points, count * sizeof(*text->points));
		text->count = count;
	}
	return fits;
}

static bool text_compose(struct text *text, struct text *room)
{
	size_t count = ROOM;
	uint32_t *result =
		u32_normalize(UNINORM_NFC, text->points, text->count, room->points, &count);

	return text_take(text, result, count, room);
}

static bool text_lower(struct text *text, struct text *room)
{
	size_t count = ROOM;
	uint32_t *result = u32_tolower(text->points, text->count, NULL, NULL, room->points, &count);

	return text_take(text, result, count, room);
}

/* Fullwidth and halfwidth to what they are forms of (RFC 8265 3.3.2, rule 1). */
static void text_map_width(struct text *text)
{
	for (size_t i = 0; i < text->count; i++) {
		ucs4_t form[UC_DECOMPOSITION_MAX_LENGTH];
		int tag = 0;
		int count = uc_decomposition(text->points[i], &tag, form);

		if (count == 1 && (tag == UC_DECOMP_WIDE || tag == UC_DECOMP_NARROW))
			text->points[i] = form[0];
	}
}

/* UsernameCaseMapped's mappings, once. */
static bool map_login(struct text *text, struct text *room)
{
	text_map_width(text);
	return text_lower(text, room) && text_compose(text, room);
}

/* OpaqueString's: every space is U+0020 (RFC 8265 4.2.2, rule 2). */
static bool map_secret(struct text *text, struct text *room)
{
	for (size_t i = 0; i < text->count; i++) {
		if (uc_is_general_category_withtable(text->points[i], UC_CATEGORY_MASK_Zs))
			text->points[i] = ' ';
	}
	return text_compose(text, room);
}

static bool text_equal(const struct text *a, const struct text *b)
{
	return a->count == b->count &&
	       memcmp(a->points, b->points, a->count * sizeof(*a->points)) == 0;
}

/* Until nothing changes any more; false: it goes on changing, or there is no room. */
static bool map_until_stable(struct text *text, bool (*map)(struct text *, struct text *))
{
	struct text before, room;
	bool stable = false;

	for (int i = 0; i <= REPEATS_MAX && !stable; i++) {
		before = *text;
		if (!map(text, &room))
			break;
		stable = text_equal(text, &before);
	}
	text_wipe(&before);
	text_wipe(&room);
	return stable;
}

/*
 * The Bidi rule is about what is shown as one piece: of an address, the part before the '@' and
 * each label behind it (RFC 5893 speaks of labels), or else no address in Hebrew could have a Latin
 * domain.
 */
static bool is_bidi(const struct text *text)
{
	const uint32_t *points = text->points;
	size_t at = text->count;

	for (size_t i = 0; i < text->count; i++) {
		if (points[i] == '@')
			at = i;
	}
	if (!precis_is_bidi(points, at))
		return false;
	for (size_t start = at + 1, end; start < text->count; start = end + 1) {
		for (end = start; end < text->count && points[end] != '.';)
			end++;
		if (!precis_is_bidi(points + start, end - start))
			return false;
	}
	return true;
}

static bool prepare_login(
	const uint8_t *login, size_t len, uint8_t login_out[PASSWORD_LOGIN_MAX], size_t *len_out)
{
	struct text text;

	return text_read(login, len, &text) && map_until_stable(&text, map_login) &&
	       precis_is_identifier(text.points, text.count) && is_bidi(&text) &&
	       text_write(&text, login_out, PASSWORD_LOGIN_MAX, len_out);
}

static bool is_ascii(const uint8_t *text, size_t len, uint8_t first)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] < first || text[i] > 0x7E)
			return false;
	}
	return true;
}

bool password_prepare_login(
	const uint8_t *login, size_t len, uint8_t login_out[PASSWORD_LOGIN_MAX], size_t *len_out)
{
	if (len == 0 || len > PASSWORD_LOGIN_MAX)
		return false;
	if (!is_ascii(login, len, 0x21))
		return prepare_login(login, len, login_out, len_out);
	for (size_t i = 0; i < len; i++) {
		uint8_t octet = login[i];

		login_out[i] = octet >= 'A' && octet <= 'Z' ? (uint8_t)(octet - 'A' + 'a') : octet;
	}
	*len_out = len;
	return true;
}

static bool prepare_secret(
	const uint8_t *secret, size_t len, uint8_t secret_out[PASSWORD_SECRET_MAX], size_t *len_out)
{
	struct text text;
	bool prepared = text_read(secret, len, &text) && map_until_stable(&text, map_secret) &&
			precis_is_freeform(text.points, text.count) &&
			text_write(&text, secret_out, PASSWORD_SECRET_MAX, len_out);

	text_wipe(&text);
	return prepared;
}

bool password_prepare_secret(
	const uint8_t *secret, size_t len, uint8_t secret_out[PASSWORD_SECRET_MAX], size_t *len_out)
{
	bool prepared;

	if (len == 0 || len > PASSWORD_SECRET_MAX || memchr(secret, '\0', len) != NULL)
		return false;
	/* What is no text has one spelling only: Latin-1 is taken as it comes. */
	if (is_ascii(secret, len, ' ') || u8_check(secret, len) != NULL) {
		memmove(secret_out, secret, len);
		*len_out = len;
		return true;
	}
	prepared = prepare_secret(secret, len, secret_out, len_out);
	sodium_stackzero(LIBRARY_STACK);
	return prepared;
}
