/* SPDX-License-Identifier: ISC */
/*
 * The From field's grammar, and what is refused because readers differ (threats.md F03): a table of
 * named values.  Each value is a heap block of exactly its size.
 *
 * "test_from_header --values" reads values from standard input, one a line in hex, and prints what
 * from_parse() makes of each; tests/e2e/test_from_differential.py holds that against Python's
 * readers.
 */
#include "proxy/from_header.h"

#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

struct row {
	const char *name;
	const char *value;
	size_t len;
	enum from_status status;
	const char *addresses; /* joined by "|" */
};

#define IN(text) text, sizeof(text) - 1
#define A "alice@example.org"
#define V "ceo@victim.example"

static const struct row rows[] = {
	/* What clients send. */
	{"bare", IN(" alice@example.org"), FROM_OK, A},
	{"no space", IN("alice@example.org"), FROM_OK, A},
	{"tab", IN("\talice@example.org \t"), FROM_OK, A},
	{"brackets", IN(" <alice@example.org>"), FROM_OK, A},
	{"name", IN(" Alice Example <alice@example.org>"), FROM_OK, A},
	{"name without a space", IN("Alice<alice@example.org>"), FROM_OK, A},
	{"quoted name", IN(" \"Example, Alice\" <alice@example.org>"), FROM_OK, A},
	{"quoted pairs", IN(" \"Alice \\\"Al\\\" \\\\ E\" <alice@example.org>"), FROM_OK, A},
	{"empty name", IN(" \"\" <alice@example.org>"), FROM_OK, A},
	{"name with dots", IN(" Alice Q. Example Jr. <alice@example.org>"), FROM_OK, A},
	{"name in parts", IN(" Alice \"Al\" Example <alice@example.org>"), FROM_OK, A},
	{"apostrophe", IN(" Alice O'Hara <alice.o'hara@example.org>"), FROM_OK,
		"alice.o'hara@example.org"},
	{"comment is the name", IN(" alice@example.org (Alice Example)"), FROM_OK, A},
	{"8-bit name", IN(" J\xfcrgen <alice@example.org>"), FROM_OK, A},
	{"8-bit quoted name", IN(" \"J\xc3\xbcrgen\" <alice@example.org>"), FROM_OK, A},
	{"8-bit comment", IN(" alice@example.org (J\xc3\xbcrgen)"), FROM_OK, A},
	{"encoded name", IN(" =?utf-8?Q?J=C3=BCrgen?= <alice@example.org>"), FROM_OK, A},
	{"encoded names",
		IN(" =?UTF-8?B?SsO8cmdlbg==?=\r\n =?UTF-8?b?IEzDtncg?= <alice@example.org>"),
		FROM_OK, A},
	{"encoded comma", IN(" =?utf-8?Q?M=C3=BCller=2C_Alice?= <alice@example.org>"), FROM_OK, A},
	{"encoded nickname", IN(" =?utf-8?Q?J=C3=BCrgen_=22J=22_=28x=29?= <alice@example.org>"),
		FROM_OK, A},
	{"quotes in a comment", IN(" alice@example.org (Alice \"Al\" E)"), FROM_OK, A},
	{"encoded within quotes", IN(" \"=?utf-8?Q?J=C3=BCrgen?=\" <alice@example.org>"), FROM_OK,
		A},
	{"encoded in small letters", IN(" =?utf-8?q?J=c3=bcrgen?= <alice@example.org>"), FROM_OK,
		A},
	{"encoded comma only", IN(" =?utf-8?Q?=2C?= <alice@example.org>"), FROM_OK, A},
	{"encoded without padding", IN(" =?UTF-8?B?SsO8cmdlbg?= <alice@example.org>"), FROM_OK, A},
	{"encoded with a language", IN(" =?utf-8*de?Q?J=C3=BCrgen?= <alice@example.org>"), FROM_OK,
		A},
	{"encoded ISO-2022-JP", IN(" =?ISO-2022-JP?B?GyRCO0A1fBsoQg==?= <alice@example.org>"),
		FROM_OK, A},
	{"encoded SJIS with 0x40", IN(" =?Shift_JIS?Q?=81=40=8E=52?= <alice@example.org>"), FROM_OK,
		A},
	{"encoded Big5 with 0x40", IN(" =?big5?Q?=A4=40?= <alice@example.org>"), FROM_OK, A},
	{"encoded GBK with 0x40", IN(" =?gb18030?Q?=81=40=815=810?= <alice@example.org>"), FROM_OK,
		A},
	{"the address as the name", IN(" \"alice@example.org\" <alice@example.org>"), FROM_OK, A},
	{"Outlook's", IN(" \"'alice@example.org'\" <alice@example.org>"), FROM_OK, A},
	{"bracketed in quotes", IN(" \"<Alice@Example.org>\" <alice@example.org>"), FROM_OK, A},
	{"the address encoded", IN(" =?utf-8?Q?alice=40example.org?= <alice@example.org>"), FROM_OK,
		A},
	{"the address among words", IN(" alice@example.org (x alice@example.org, y)"), FROM_OK, A},
	{"the address twice", IN(" alice@example.org (alice@example.org ALICE@example.ORG)"),
		FROM_OK, A},
	{"a heart", IN(" \"Alice <3\" <alice@example.org>"), FROM_OK, A},
	{"an arrow", IN(" \"Alice -> Bob\" <alice@example.org>"), FROM_OK, A},
	{"folded", IN("\r\n \"Alice\"\r\n\t<alice@example.org>"), FROM_OK, A},
	{"case is kept", IN(" <Alice@EXAMPLE.Org>"), FROM_OK, "Alice@EXAMPLE.Org"},
	{"long name folded", IN(" \"a\r\n b\" <alice@example.org>"), FROM_OK, A},

	/* RFC 5322, less usual */
	{"comment in front", IN(" (x) alice@example.org"), FROM_OK, A},
	{"comments nested", IN(" (a (b (c)) \\) d) <alice@example.org> (e)"), FROM_OK, A},
	{"comments in brackets", IN(" Alice <(a)alice@example.org(b)>"), FROM_OK, A},
	{"comment in the name", IN(" Alice (x) Example <alice@example.org>"), FROM_OK, A},
	{"comments about the at", IN(" alice(x)@(y)example.org"), FROM_OK, A},
	{"spaces about the at", IN(" alice @ example.org"), FROM_OK, A},
	{"quoted local part", IN(" \"alice\"@example.org"), FROM_OK, A},
	{"quoted dots", IN(" <\"a.b\"@example.org>"), FROM_OK, "a.b@example.org"},
	{"quoted pair not needed", IN(" \"al\\ice\"@example.org"), FROM_OK, A},
	{"quotes needed: space", IN(" \"alice b\"@example.org"), FROM_OK,
		"\"alice b\"@example.org"},
	{"quotes needed: dots", IN(" \"a..b\"@example.org"), FROM_OK, "\"a..b\"@example.org"},
	{"quotes needed: last dot", IN(" \"a.\"@example.org"), FROM_OK, "\"a.\"@example.org"},
	{"literal", IN(" alice@[192.0.2.1]"), FROM_OK, "alice@[192.0.2.1]"},
	{"literal v6", IN(" alice@[IPv6:2001:db8::1]"), FROM_OK, "alice@[IPv6:2001:db8::1]"},
	{"two", IN(" a@x.test, B <b@y.test>"), FROM_OK, "a@x.test|b@y.test"},
	{"empty elements", IN(" ,, a@x.test,(c), ,b@y.test,"), FROM_OK, "a@x.test|b@y.test"},
	{"group", IN(" g:a@x.test, B <b@y.test>;"), FROM_OK, "a@x.test|b@y.test"},
	{"group of one", IN(" \"g h\" : a@x.test ;"), FROM_OK, "a@x.test"},
	{"groups and others", IN(" a@x.test, g:b@y.test,;(c), h:;, c@z.test"), FROM_OK,
		"a@x.test|b@y.test|c@z.test"},
	{"sixteen",
		IN("a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,"
		   "a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c"),
		FROM_OK,
		"a@b.c|a@b.c|a@b.c|a@b.c|a@b.c|a@b.c|a@b.c|a@b.c|"
		"a@b.c|a@b.c|a@b.c|a@b.c|a@b.c|a@b.c|a@b.c|a@b.c"},

	/* Refused: not understood. */
	{"nothing", IN(""), FROM_EMPTY, NULL},
	{"white space", IN(" \t "), FROM_EMPTY, NULL},
	{"comment only", IN(" (alice@example.org)"), FROM_EMPTY, NULL},
	{"commas only", IN(" , ,"), FROM_EMPTY, NULL},
	{"empty group", IN(" undisclosed:;"), FROM_EMPTY, NULL},
	{"empty brackets", IN(" <>"), FROM_NO_DOMAIN, NULL},
	{"name and empty brackets", IN(" Alice <>"), FROM_NO_DOMAIN, NULL},
	{"word", IN(" root"), FROM_NO_DOMAIN, NULL},
	{"cron", IN(" root (Cron Daemon)"), FROM_NO_DOMAIN, NULL},
	{"word in brackets", IN(" Alice <root>"), FROM_NO_DOMAIN, NULL},
	{"one label", IN(" root@localhost"), FROM_SYNTAX, NULL},
	{"no local part", IN(" @example.org"), FROM_SYNTAX, NULL},
	{"no domain", IN(" alice@"), FROM_SYNTAX, NULL},
	{"last dot", IN(" alice@example.org."), FROM_SYNTAX, NULL},
	{"two dots", IN(" alice..b@example.org"), FROM_SYNTAX, NULL},
	{"first dot", IN(" .alice@example.org"), FROM_SYNTAX, NULL},
	{"two at", IN(" alice@example.org@victim.example"), FROM_SYNTAX, NULL},
	{"trailing word", IN(" alice@example.org x"), FROM_SYNTAX, NULL},
	{"trailing word after brackets", IN(" <alice@example.org> x"), FROM_SYNTAX, NULL},
	{"two brackets", IN(" <alice@example.org> <" V ">"), FROM_SYNTAX, NULL},
	{"nested brackets", IN(" <<alice@example.org>>"), FROM_SYNTAX, NULL},
	{"bracket not closed", IN(" <alice@example.org"), FROM_SYNTAX, NULL},
	{"bracket not opened", IN(" alice@example.org>"), FROM_SYNTAX, NULL},
	{"quote not closed", IN(" \"Alice <alice@example.org>"), FROM_SYNTAX, NULL},
	{"quoted pair last", IN(" \"Alice\\"), FROM_SYNTAX, NULL},
	{"comment not closed", IN(" alice@example.org (x"), FROM_SYNTAX, NULL},
	{"comment ends in a pair", IN(" alice@example.org (x\\)"), FROM_SYNTAX, NULL},
	{"comment opened twice", IN(" alice@example.org ((x)"), FROM_SYNTAX, NULL},
	{"comment closed twice", IN(" alice@example.org (x))"), FROM_SYNTAX, NULL},
	{"semicolon", IN(" a@x.test; b@y.test"), FROM_SYNTAX, NULL},
	{"group not closed", IN(" g:a@x.test"), FROM_SYNTAX, NULL},
	{"group in a group", IN(" g:h:a@x.test;;"), FROM_SYNTAX, NULL},
	{"group without a name", IN(" :a@x.test;"), FROM_SYNTAX, NULL},
	{"word after a group", IN(" g:a@x.test; b"), FROM_SYNTAX, NULL},
	{"name begins with a dot", IN(" .Alice <alice@example.org>"), FROM_SYNTAX, NULL},
	{"brackets in the name", IN(" [x] Alice <alice@example.org>"), FROM_SYNTAX, NULL},
	{"address as a bare name", IN(" alice@example.org <alice@example.org>"), FROM_SYNTAX, NULL},
	{"comma in a bare name", IN(" Example, Alice <alice@example.org>"), FROM_NO_DOMAIN, NULL},
	{"backslash", IN(" alice\\@example.org"), FROM_SYNTAX, NULL},
	{"bad literal", IN(" alice@[192.0.2.256]"), FROM_SYNTAX, NULL},
	{"literal not closed", IN(" alice@[192.0.2.1"), FROM_SYNTAX, NULL},
	{"white space in a literal", IN(" alice@[ 192.0.2.1 ]"), FROM_SYNTAX, NULL},
	{"empty quoted local part", IN(" \"\"@example.org"), FROM_SYNTAX, NULL},
	{"fold in a local part", IN(" \"a\r\n b\"@example.org"), FROM_SYNTAX, NULL},
	{"quoted and more", IN(" \"a\".b@example.org"), FROM_SYNTAX, NULL},
	{"seventeen",
		IN("a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,"
		   "a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c,a@b.c"),
		FROM_TOO_MANY, NULL},

	/* Octets */
	{"NUL", IN(" alice@example.org\0"), FROM_CONTROL, NULL},
	{"NUL hides another", IN(" <" V ">\0@example.org"), FROM_CONTROL, NULL},
	{"NUL in a name", IN(" \"A\0B\" <alice@example.org>"), FROM_CONTROL, NULL},
	{"control", IN(" alice\x01@example.org"), FROM_CONTROL, NULL},
	{"DEL", IN(" \"a\x7f\" <alice@example.org>"), FROM_CONTROL, NULL},
	{"vertical tab",
		IN(" \x0b"
		   "alice@example.org"),
		FROM_CONTROL, NULL},
	{"bare CR", IN(" alice@example.org\r x"), FROM_CONTROL, NULL},
	{"bare LF", IN(" alice@example.org\n x"), FROM_CONTROL, NULL},
	{"CRLF without a fold", IN(" alice@example.org\r\nx"), FROM_CONTROL, NULL},
	{"CRLF last", IN(" alice@example.org\r\n"), FROM_CONTROL, NULL},
	{"CR last", IN(" alice@example.org\r"), FROM_CONTROL, NULL},
	{"8-bit domain", IN(" alice@ex\xc3\xa4mple.org"), FROM_NON_ASCII, NULL},
	{"8-bit local part", IN(" j\xc3\xbcrgen@example.org"), FROM_NON_ASCII, NULL},
	{"Latin-1 local part", IN(" j\xfcrgen@example.org"), FROM_SYNTAX, NULL},

	/* Refused: two readers, two addresses. */
	{"route", IN(" <@victim.example:alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"routes", IN(" <@a.test,@b.test:alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"route of commas", IN(" <,@b.test:alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"word before", IN(" ceo alice@example.org"), FROM_AMBIGUOUS, NULL},
	{"obs-local-part", IN(" ceo . alice@example.org"), FROM_AMBIGUOUS, NULL},
	{"obs-domain", IN(" ceo@victim.example .example.org"), FROM_AMBIGUOUS, NULL},
	{"obs-domain, comment", IN(" <ceo@victim.example(x).example.org>"), FROM_AMBIGUOUS, NULL},
	{"comment with an address", IN(" alice@example.org (" V ")"), FROM_AMBIGUOUS, NULL},
	{"comment before with an address", IN(" (" V ") alice@example.org"), FROM_AMBIGUOUS, NULL},
	{"comment in brackets", IN(" <alice@example.org(>, <" V ">)>"), FROM_AMBIGUOUS, NULL},
	{"comment of brackets", IN(" (<ceo>) alice@example.org"), FROM_AMBIGUOUS, NULL},
	{"quoted brackets", IN(" \"<" V ">\" <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"quoted open bracket", IN(" \"" V " <\" <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"quoted brackets, word", IN(" \"<ceo>\" <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"quoted brackets, word and own", IN(" \"<ceo> alice@example.org\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"own address within a longer", IN(" \"<x.alice@example.org>\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"own address within a wider", IN(" \"<alice@example.org.test>\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"letter before the own address", IN(" alice@example.org (xalice@example.org)"),
		FROM_AMBIGUOUS, NULL},
	{"capital before it", IN(" alice@example.org (Xalice@example.org)"), FROM_AMBIGUOUS, NULL},
	{"digit before it", IN(" alice@example.org (1alice@example.org)"), FROM_AMBIGUOUS, NULL},
	{"underscore before it", IN(" alice@example.org (_alice@example.org)"), FROM_AMBIGUOUS,
		NULL},
	{"8-bit before it", IN(" alice@example.org (\xff" A ")"), FROM_AMBIGUOUS, NULL},
	{"letter behind it", IN(" alice@example.org (alice@example.orgx)"), FROM_AMBIGUOUS, NULL},
	{"capital behind it", IN(" alice@example.org (alice@example.orgZ)"), FROM_AMBIGUOUS, NULL},
	{"digit behind it", IN(" alice@example.org (alice@example.org9)"), FROM_AMBIGUOUS, NULL},
	{"hyphen behind it", IN(" alice@example.org (alice@example.org-x)"), FROM_AMBIGUOUS, NULL},
	{"8-bit behind it", IN(" alice@example.org (alice@example.org\xff)"), FROM_AMBIGUOUS, NULL},
	{"another beside it", IN(" alice@example.org (alice@example.org ceo@victim.example)"),
		FROM_AMBIGUOUS, NULL},
	{"encoded address", IN(" =?utf-8?Q?ceo=40victim.example?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded base64", IN(" =?utf-8?B?PGNlb0B2aWN0aW0uZXhhbXBsZT4s?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded brackets", IN(" =?utf-8?Q?=3Cceo=3E?= <alice@example.org>"), FROM_AMBIGUOUS,
		NULL},
	{"encoded in quotes", IN(" \"=?utf-8?Q?ceo=40victim.example?=\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded quote in quotes", IN(" \"=?utf-8?Q?=22?= " V "\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded quote before quotes", IN(" =?utf-8?Q?=22?= \"" V "\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded comment before quotes", IN(" =?utf-8?Q?=28?= \"x) " V " (\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded parentheses turned around", IN(" =?utf-8?Q?=29=28?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded bracket before quotes", IN(" =?utf-8?Q?=3C?= \"" V "\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"quote in a comment before quotes", IN(" (\") \"" V "\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"quoted address and an encoded comma",
		IN(" \"" V "\" =?utf-8?Q?=2C?= <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"own address encoded beside a word",
		IN(" J.=?utf-8?Q?alice=40example.org?=<alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"own address encoded beside encoded",
		IN(" =?utf-8?Q?x?= =?utf-8?Q?alice=40example.org?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"own address encoded in a comment",
		IN(" alice@example.org (=?utf-8?Q?alice=40example.org?=)"), FROM_AMBIGUOUS, NULL},
	{"own address cut short in brackets", IN(" \"<alice@example.or>\" <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded end of comment", IN(" alice@example.org (=?utf-8?Q?=29?=)"), FROM_AMBIGUOUS,
		NULL},
	{"encoded UTF-7", IN(" =?utf-7?Q?ceo+AEA-victim.example?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded UTF-16", IN(" =?utf-16?B?AGMAQABi?= <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"encoded escapes", IN(" =?unicode_escape?Q?ceo=5Cx40victim?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded CRLF", IN(" =?utf-8?Q?x=0D=0AFrom=3A_y?= <alice@example.org>"), FROM_AMBIGUOUS,
		NULL},
	{"encoded NUL", IN(" =?utf-8?Q?x=00?= <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"encoded bad hex", IN(" =?utf-8?Q?x=4?= <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"encoded bad base64", IN(" =?utf-8?B?x*y?= <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"encoded unknown encoding", IN(" =?utf-8?X?x?= <alice@example.org>"), FROM_AMBIGUOUS,
		NULL},
	{"encoded without an end", IN(" =?utf-8?Q?x <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"encoded across quotes", IN(" =?utf-8?Q?\"=40\"?= <alice@example.org>"), FROM_AMBIGUOUS,
		NULL},
	{"encoded bad ISO-2022-JP", IN(" =?iso-2022-jp?Q?=1B$Xceo=40v?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"ISO-2022-JP, at outside of pairs",
		IN(" =?iso-2022-jp?Q?=1B$B=3B=3B=1B=28B=40?= <alice@example.org>"), FROM_AMBIGUOUS,
		NULL},
	{"GBK, at after a lone octet", IN(" =?gbk?Q?=80=40victim.example?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"SJIS, at after a half-width letter",
		IN(" =?shift_jis?Q?=B1=40v.test?= <alice@example.org>"), FROM_AMBIGUOUS, NULL},
	{"GB2312 knows no such pair", IN(" =?gb2312?Q?=B0=40v.test?= <alice@example.org>"),
		FROM_AMBIGUOUS, NULL},
	{"encoded local part", IN(" =?utf-8?Q?ceo?=@example.org"), FROM_AMBIGUOUS, NULL},
	{"encoded address in brackets", IN(" <=?utf-8?Q?ceo?=@example.org>"), FROM_AMBIGUOUS, NULL},
	{"address in a quoted local part", IN(" \"" V "\"@example.org"), FROM_AMBIGUOUS, NULL},
	{"brackets in a quoted local part", IN(" \"<ceo>\"@example.org"), FROM_AMBIGUOUS, NULL},
	{"comma in a quoted local part", IN(" \"a,b\"@example.org"), FROM_AMBIGUOUS, NULL},
	{"white line in the field", IN(" alice@example.org\r\n \r\n (x)"), FROM_AMBIGUOUS, NULL},
	{"white line last", IN(" alice@example.org\r\n\t"), FROM_AMBIGUOUS, NULL},

	/* Composition Kills (USENIX Security 2020) and espoofer */
	{"CK two addresses", IN(" <" V ">, <alice@example.org>"), FROM_OK, V "|" A},
	{"CK quoted pair outside", IN(" <" V ">\\,<alice@example.org>"), FROM_SYNTAX, NULL},
	{"CK comment eats", IN(" <" V "(>alice@example.org)"), FROM_SYNTAX, NULL},
	{"CK encoded and another",
		IN(" =?utf-8?B?PGNlb0B2aWN0aW0uZXhhbXBsZT4=?=, <alice@example.org>"),
		FROM_NO_DOMAIN, NULL},
	{"CK name is an address", IN(" \"" V "\" <alice@example.org>"), FROM_OK, A},
};

static char *join(const struct from_list *list, char *out, size_t room)
{
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < list->count; i++)
		at += (size_t)snprintf(out + at, room - at, "%s%s", i > 0 ? "|" : "",
			list->mailboxes[i].path.text);
	return out;
}

static void check(const struct row *row, bool utf8)
{
	char *copy = parse_exact(row->value, row->len);
	struct from_list list;
	char got[FROM_MAILBOXES_MAX * (IPC_PATH_MAX + 1)];
	enum from_status status = from_parse(copy, row->len, utf8, &list);

	if (status != row->status)
		fail_msg("%s: got %s, want %s", row->name, from_status_word(status),
			from_status_word(row->status));
	if (status == FROM_OK && strcmp(join(&list, got, sizeof(got)), row->addresses) != 0)
		fail_msg("%s: got %s, want %s", row->name, got, row->addresses);
	free(copy);
}

static void test_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check(&rows[i], false);
		if (rows[i].status != FROM_NON_ASCII)
			check(&rows[i], true);
	}
}

static void test_utf8_addresses_with_smtputf8(void **state)
{
	static const struct row utf8[] = {
		{"domain", IN(" alice@ex\xc3\xa4mple.org"), FROM_OK, "alice@ex\xc3\xa4mple.org"},
		{"local part", IN(" \"J\" <j\xc3\xbcrgen@example.org>"), FROM_OK,
			"j\xc3\xbcrgen@example.org"},
		{"quoted", IN(" \"j\xc3\xbcrgen\"@example.org"), FROM_OK,
			"j\xc3\xbcrgen@example.org"},
		{"invalid", IN(" j\xc3rgen@example.org"), FROM_SYNTAX, NULL},
		{"overlong", IN(" alice\xc0\x80@example.org"), FROM_SYNTAX, NULL},
		{"bidi", IN(" alice\xe2\x80\xae@example.org"), FROM_SYNTAX, NULL},
		{"fullwidth dot",
			IN(" alice@victim\xef\xbc\x8e"
			   "example.org"),
			FROM_SYNTAX, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(utf8) / sizeof(utf8[0]); i++)
		check(&utf8[i], true);
}

/* Every start of every value: nothing beyond its end is read, and nothing of it is believed that
 * the whole does not say. */
static void test_cut_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t len = 0; len < rows[i].len; len++) {
			char *copy = parse_exact(rows[i].value, len);
			struct from_list list;

			if (from_parse(copy, len, false, &list) == FROM_OK)
				assert_in_range(list.count, 1, FROM_MAILBOXES_MAX);
			free(copy);
		}
	}
}

static void test_where_things_stand(void **state)
{
	static const char value[] = " \"A\" (x) B <(y) alice @ example.org (z)>, c@d.test (C)";
	struct from_list list;

	(void)state;
	assert_int_equal(from_parse(value, sizeof(value) - 1, false, &list), FROM_OK);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.mailboxes[0].len, strlen("alice @ example.org"));
	assert_memory_equal(
		value + list.mailboxes[0].at, "alice @ example.org", list.mailboxes[0].len);
	assert_int_equal(list.mailboxes[0].name_len, strlen("\"A\" (x) B"));
	assert_memory_equal(
		value + list.mailboxes[0].name_at, "\"A\" (x) B", list.mailboxes[0].name_len);
	assert_int_equal(list.mailboxes[1].len, strlen("c@d.test"));
	assert_memory_equal(value + list.mailboxes[1].at, "c@d.test", list.mailboxes[1].len);
	assert_int_equal(list.mailboxes[1].name_len, 0);
}

static char *repeat(const char *unit, size_t len)
{
	char *out = malloc(len);

	if (out == NULL)
		abort();
	for (size_t i = 0; i < len; i++)
		out[i] = unit[i % strlen(unit)];
	return out;
}

static void test_bounds(void **state)
{
	static const char tail[] = "<alice@example.org>";
	size_t tail_len = sizeof(tail) - 1;
	struct from_list list;
	char *value = repeat("a ", FROM_VALUE_MAX + 1);

	(void)state;
	memcpy(value + FROM_VALUE_MAX - tail_len, tail, tail_len);
	assert_int_equal(from_parse(value, FROM_VALUE_MAX, false, &list), FROM_OK);
	assert_int_equal(from_parse(value, FROM_VALUE_MAX + 1, false, &list), FROM_TOO_LONG);
	memset(value, 'a', FROM_VALUE_MAX);
	memcpy(value + 65, "@example.org", 12);
	assert_int_equal(from_parse(value, 77, false, &list), FROM_SYNTAX); /* 65 octets */
	assert_int_equal(from_parse(value + 1, 76, false, &list), FROM_OK);
	memcpy(value + 400, "@example.org", 12);
	assert_int_equal(from_parse(value + 100, 312, false, &list), FROM_SYNTAX);
	free(value);
	value = repeat("(", FROM_VALUE_MAX); /* no recursion */
	assert_int_equal(from_parse(value, FROM_VALUE_MAX, false, &list), FROM_SYNTAX);
	free(value);
}

static void test_same(void **state)
{
	(void)state;
	assert_true(from_same(IN("Alice@Example.ORG"), IN("aLICE@eXAMPLE.org")));
	assert_false(from_same(IN("alice@example.org"), IN("alice@example.or")));
	assert_false(from_same(IN("[@example.org"), IN("{@example.org")));
	assert_false(from_same(IN("\xc3\x84@x.y"), IN("\xc3\xa4@x.y")));
}

static void test_every_status_has_a_word(void **state)
{
	(void)state;
	for (int i = FROM_OK; i <= FROM_TOO_MANY; i++) {
		for (int j = FROM_OK; j < i; j++)
			assert_string_not_equal(from_status_word((enum from_status)i),
				from_status_word((enum from_status)j));
	}
}

static size_t unhex(const char *line, char *out)
{
	size_t len = 0;
	unsigned octet;

	while (sscanf(line + 2 * len, "%2x", &octet) == 1)
		out[len++] = (char)octet;
	return len;
}

static int read_values(void)
{
	static char line[2 * FROM_VALUE_MAX + 16], value[FROM_VALUE_MAX + 8];
	char text[FROM_MAILBOXES_MAX * (IPC_PATH_MAX + 1)];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		struct from_list list;
		size_t len = unhex(line, value);
		enum from_status status = from_parse(value, len, false, &list);

		printf("%s %s\n", from_status_word(status),
			status == FROM_OK ? join(&list, text, sizeof(text)) : "");
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_utf8_addresses_with_smtputf8),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_where_things_stand),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_every_status_has_a_word),
	};

	if (argc == 2 && strcmp(argv[1], "--values") == 0)
		return read_values();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
