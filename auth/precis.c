/* SPDX-License-Identifier: ISC */
/*
 * The derived property of a code point (RFC 8264 sections 8 and 9), the contextual rules (RFC 5892
 * appendix A), and the Bidi rule; see precis.h.
 *
 * By the algorithm and the library's tables, not by a table of our own: that would be of one
 * version of Unicode.  What that version has not assigned is refused.  Any process; no state.
 */
#include "auth/precis.h"

#include <string.h>
#include <unictype.h>
#include <uninorm.h>

enum derived { PVALID = 1, FREE_PVAL, CONTEXTJ, CONTEXTO, DISALLOWED };

/* Exceptions (9.6). */
static const struct {
	uint32_t first, last;
	enum derived derived;
} exceptions[] = {
	{0x00B7, 0x00B7, CONTEXTO},
	{0x00DF, 0x00DF, PVALID},
	{0x0375, 0x0375, CONTEXTO},
	{0x03C2, 0x03C2, PVALID},
	{0x05F3, 0x05F4, CONTEXTO},
	{0x0640, 0x0640, DISALLOWED},
	{0x0660, 0x0669, CONTEXTO},
	{0x06F0, 0x06F9, CONTEXTO},
	{0x06FD, 0x06FE, PVALID},
	{0x07FA, 0x07FA, DISALLOWED},
	{0x0F0B, 0x0F0B, PVALID},
	{0x3007, 0x3007, PVALID},
	{0x302E, 0x302F, DISALLOWED},
	{0x3031, 0x3035, DISALLOWED},
	{0x303B, 0x303B, DISALLOWED},
	{0x30FB, 0x30FB, CONTEXTO},
};

/* OldHangulJamo (9.9): Hangul_Syllable_Type L, V or T. */
static const uint32_t jamo[][2] = {
	{0x1100, 0x11FF}, {0xA960, 0xA97C}, {0xD7B0, 0xD7C6}, {0xD7CB, 0xD7FB}};

static bool is_jamo(uint32_t c)
{
	for (size_t i = 0; i < sizeof jamo / sizeof *jamo; i++) {
		if (c >= jamo[i][0] && c <= jamo[i][1])
			return true;
	}
	return false;
}

/* HasCompat (9.17): NFKC changes it.  The longest decomposition (U+FDFA) has 18. */
static bool has_compat(uint32_t c)
{
	uint32_t room[UC_DECOMPOSITION_MAX_LENGTH * 2];
	size_t count = sizeof room / sizeof *room;
	uint32_t *form = u32_normalize(UNINORM_NFKC, &c, 1, room, &count);

	return form != room || count != 1 || room[0] != c;
}

static bool is_in(uint32_t c, uint32_t categories)
{
	return uc_is_general_category_withtable(c, categories);
}

/* The order is the RFC's: the first that holds decides. */
static enum derived derive(uint32_t c)
{
	if (c >= 0x21 && c <= 0x7E) /* ASCII7 (9.11); no exception is among them */
		return PVALID;
	for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++) {
		if (c >= exceptions[i].first && c <= exceptions[i].last)
			return exceptions[i].derived;
	}
	if (is_in(c, UC_CATEGORY_MASK_Cn)) /* Unassigned, and noncharacters */
		return DISALLOWED;
	if (uc_is_property_join_control(c))
		return CONTEXTJ;
	if (is_jamo(c) || uc_is_property_default_ignorable_code_point(c) ||
		is_in(c, UC_CATEGORY_MASK_Cc))
		return DISALLOWED;
	if (has_compat(c))
		return FREE_PVAL;
	if (is_in(c, UC_CATEGORY_MASK_Ll | UC_CATEGORY_MASK_Lu | UC_CATEGORY_MASK_Lo |
			     UC_CATEGORY_MASK_Nd | UC_CATEGORY_MASK_Lm | UC_CATEGORY_MASK_Mn |
			     UC_CATEGORY_MASK_Mc))
		return PVALID;
	if (is_in(c, UC_CATEGORY_MASK_Lt | UC_CATEGORY_MASK_Nl | UC_CATEGORY_MASK_No |
			     UC_CATEGORY_MASK_Me | UC_CATEGORY_MASK_Zs | UC_CATEGORY_MASK_S |
			     UC_CATEGORY_MASK_P))
		return FREE_PVAL;
	return DISALLOWED;
}

/* ------------------------------------------------------------------- context */
static bool is_joining(uint32_t c, int one, int other)
{
	int type = uc_joining_type(c);

	return type == one || type == other;
}

/* Between letters that join, whatever transparent ones stand between (RFC 5892 A.1). */
static bool joins(const uint32_t *text, size_t count, size_t at)
{
	size_t before = at, after = at + 1;

	while (before > 0 && uc_joining_type(text[before - 1]) == UC_JOINING_TYPE_T)
		before--;
	while (after < count && uc_joining_type(text[after]) == UC_JOINING_TYPE_T)
		after++;
	return before > 0 && after < count &&
	       is_joining(text[before - 1], UC_JOINING_TYPE_L, UC_JOINING_TYPE_D) &&
	       is_joining(text[after], UC_JOINING_TYPE_R, UC_JOINING_TYPE_D);
}

static bool is_joined(const uint32_t *text, size_t count, size_t at)
{
	if (at > 0 && uc_combining_class(text[at - 1]) == UC_CCC_VR)
		return true;
	return text[at] == 0x200C && joins(text, count, at);
}

static bool is_script(uint32_t c, const char *name)
{
	const uc_script_t *script = uc_script(c);

	return script != NULL && strcmp(script->name, name) == 0;
}

static bool has_between(const uint32_t *text, size_t count, uint32_t first, uint32_t last)
{
	for (size_t i = 0; i < count; i++) {
		if (text[i] >= first && text[i] <= last)
			return true;
	}
	return false;
}

static bool has_japanese(const uint32_t *text, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (is_script(text[i], "Hiragana") || is_script(text[i], "Katakana") ||
			is_script(text[i], "Han"))
			return true;
	}
	return false;
}

/* RFC 5892 A.3 to A.9. */
static bool is_in_context(const uint32_t *text, size_t count, size_t at)
{
	uint32_t c = text[at];

	if (c == 0x00B7) /* middle dot: Catalan */
		return at > 0 && at + 1 < count && text[at - 1] == 'l' && text[at + 1] == 'l';
	if (c == 0x0375) /* Greek numeral sign */
		return at + 1 < count && is_script(text[at + 1], "Greek");
	if (c == 0x05F3 || c == 0x05F4) /* geresh, gershayim */
		return at > 0 && is_script(text[at - 1], "Hebrew");
	if (c == 0x30FB) /* Katakana middle dot */
		return has_japanese(text, count);
	/* Arabic-Indic digits: one kind of them */
	return c < 0x06F0 ? !has_between(text, count, 0x06F0, 0x06F9)
			  : !has_between(text, count, 0x0660, 0x0669);
}

static bool is_of_class(const uint32_t *text, size_t count, bool freeform)
{
	for (size_t i = 0; i < count; i++) {
		bool ok = false;

		switch (derive(text[i])) {
		case PVALID:
			ok = true;
			break;
		case FREE_PVAL:
			ok = freeform;
			break;
		case CONTEXTJ:
			ok = is_joined(text, count, i);
			break;
		case CONTEXTO:
			ok = is_in_context(text, count, i);
			break;
		case DISALLOWED:
			break;
		}
		if (!ok)
			return false;
	}
	return true;
}

bool precis_is_identifier(const uint32_t *text, size_t count)
{
	return is_of_class(text, count, false);
}

bool precis_is_freeform(const uint32_t *text, size_t count)
{
	return is_of_class(text, count, true);
}

/* ---------------------------------------------------------------------- Bidi */
#define BIDI(name) (UINT32_C(1) << UC_BIDI_##name)

static uint32_t bidi(uint32_t c)
{
	return UINT32_C(1) << uc_bidi_class(c);
}

bool precis_is_bidi(const uint32_t *text, size_t count)
{
	const uint32_t neutral = BIDI(ES) | BIDI(CS) | BIDI(ET) | BIDI(ON) | BIDI(BN) | BIDI(NSM);
	const uint32_t rtl = BIDI(R) | BIDI(AL), digits = BIDI(EN) | BIDI(AN);
	uint32_t all = 0, last = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t class = bidi(text[i]);
		all |= class;
		if (class != BIDI(NSM))
			last = class;
	}
	if ((all & (rtl | BIDI(AN))) == 0)
		return true;
	if ((bidi(text[0]) & rtl) != 0) /* rules 1 to 4 */
		return (all & ~(rtl | digits | neutral)) == 0 && (last & (rtl | digits)) != 0 &&
		       (all & digits) != digits;
	/* Rules 1 and 5: from left to right, but it has something from right to left. */
	return false;
}
