/* SPDX-License-Identifier: ISC */
/*
 * The header stage: threats.md F02, F03, F07, A13 and A14 and conformance.md rows 46 and 116-120 as
 * named messages.  Every one arrives whole, split at each octet and octet by octet; what comes out
 * and what is found must be the same.  What REJECT accepts is read again by the naive reader.
 *
 * The account owns alice, info and bob at example.org; alice is the envelope sender.
 *
 * Long: named messages, read by name.
 */
#include "proxy/header.h"

#include "tests/unit/header_reader.h"
#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

#define A "alice@example.org"
#define V "ceo@victim.example"
#define IN(text) text, sizeof(text) - 1
#define SAME NULL

static const struct header_policy usual = {
	.mode = HEADER_REJECT,
	.stuffed = true,
	.sender = A,
	.sender_len = sizeof(A) - 1,
	.hostname = "submit.example.net",
	.transaction = "0123456789ab",
	.wall_ms = 1795572865123,
};

struct run {
	const char *name;
	struct header_policy policy;
	const char *in;
	size_t in_len;
	enum header_reason reason;
	const char *out; /* NULL: as it came in */
	const char *address;
	struct header header;
	struct evbuffer *written;
	enum header_status status;
	unsigned asked;
};

static bool owned(const char *address, size_t len)
{
	static const char *const mine[] = {A, "info@example.org", "bob@example.org"};

	for (size_t i = 0; i < sizeof(mine) / sizeof(mine[0]); i++) {
		if (from_same(address, len, mine[i], strlen(mine[i])))
			return true;
	}
	return false;
}

static enum header_status answer(struct run *run, enum header_status status)
{
	while (status == HEADER_ASK) {
		size_t len;
		const char *address = header_question(&run->header, &len);

		assert_int_equal(strlen(address), len);
		assert_false(from_same(address, len, A, strlen(A)));
		run->asked++;
		status = header_answer(&run->header, owned(address, len), run->written);
	}
	return status;
}

static void begin(void *context)
{
	struct run *run = context;

	header_free(&run->header);
	header_init(&run->header, &run->policy);
	evbuffer_drain(run->written, evbuffer_get_length(run->written));
	run->status = HEADER_MORE;
	run->asked = 0;
}

static void feed(void *context, const char *bytes, size_t len)
{
	struct run *run = context;
	size_t at = 0, consumed;

	while (run->status == HEADER_MORE && at < len) {
		run->status =
			header_feed(&run->header, bytes + at, len - at, &consumed, run->written);
		assert_true(consumed <= len - at);
		at += consumed;
		if (run->status == HEADER_MORE)
			assert_int_equal(at, len);
		run->status = answer(run, run->status);
	}
	if (run->status == HEADER_BODY && at < len)
		assert_int_equal(evbuffer_add(run->written, bytes + at, len - at), 0);
}

static void read_again(const struct run *run, const char *how)
{
	size_t len = evbuffer_get_length(run->written);
	const char *got = (const char *)evbuffer_pullup(run->written, -1);
	struct reader reader = reader_read(got, len, run->policy.stuffed);

	if (reader.froms != 1 || reader.addresses == 0 || reader.stripped > 0 || reader.bad_lines ||
		reader.more || reader.bad_stuffing)
		fail_msg("%s, %s: the reader finds %u From, %u addresses, %u to strip", run->name,
			how, reader.froms, reader.addresses, reader.stripped);
	for (unsigned i = 0; i < reader.addresses; i++) {
		if (!owned(reader.address[i], strlen(reader.address[i])))
			fail_msg("%s, %s: the reader finds %s", run->name, how, reader.address[i]);
	}
	reader_free(&reader);
}

static void compare(const struct run *run, const char *how)
{
	const char *want = run->out == NULL ? run->in : run->out;
	size_t want_len = run->out == NULL ? run->in_len : strlen(run->out);
	size_t len = evbuffer_get_length(run->written);
	const char *got = (const char *)evbuffer_pullup(run->written, -1);
	char got_text[600], want_text[600];

	if (len != want_len || (len > 0 && memcmp(got, want, len) != 0))
		fail_msg("%s, %s: got \"%s\", want \"%s\"", run->name, how,
			parse_show(got, len, got_text, sizeof(got_text)),
			parse_show(want, want_len, want_text, sizeof(want_text)));
}

static void end(void *context, const char *how)
{
	struct run *run = context;
	const struct header_found *found;
	bool strict = run->policy.mode == HEADER_REJECT || run->policy.mode == HEADER_REWRITE;

	if (run->status == HEADER_MORE)
		run->status = answer(run, header_end(&run->header, run->written));
	if (run->status == HEADER_MORE) /* it asked, and ends now */
		run->status = answer(run, header_end(&run->header, run->written));
	if (run->status == HEADER_MORE)
		run->status = header_end(&run->header, run->written);
	found = header_found(&run->header);
	if (found->reason != run->reason)
		fail_msg("%s, %s: got %s (%s), want %s", run->name, how,
			header_reason_word(found->reason), from_status_word(found->why),
			header_reason_word(run->reason));
	if (run->address != NULL)
		assert_string_equal(found->address.text, run->address);
	if (run->policy.mode == HEADER_REJECT)
		assert_int_equal(
			run->status, run->reason == HEADER_FINE ? HEADER_BODY : HEADER_REFUSED);
	if (run->status == HEADER_REFUSED) {
		assert_true(run->out == NULL);
		return;
	}
	assert_int_equal(run->status, HEADER_BODY);
	assert_null(run->header.text);
	assert_null(run->header.list);
	compare(run, how);
	if (strict)
		read_again(run, how);
}

static void check(struct run *run)
{
	struct parse_case parse = {run, begin, feed, end};

	run->written = evbuffer_new();
	assert_non_null(run->written);
	memset(&run->header, 0, sizeof(run->header));
	parse_every_way(&parse, run->in, run->in_len);
	header_free(&run->header);
	evbuffer_free(run->written);
}

struct row {
	const char *name;
	const char *in;
	size_t len;
	enum header_reason reason;
	const char *out; /* NULL: as it came in */
};

static void check_rows(const struct row *rows, size_t count, const struct header_policy *policy)
{
	for (size_t i = 0; i < count; i++) {
		struct run run = {.name = rows[i].name,
			.policy = *policy,
			.in = rows[i].in,
			.in_len = rows[i].len,
			.reason = rows[i].reason,
			.out = rows[i].out};

		check(&run);
	}
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define REST "To: x@y.test\r\n\r\nFrom: " V "\r\n.\r\r\n"

static const struct row reject_rows[] = {
	/* Conformance 116, 118 */
	{"one From", IN("From: " A "\r\n" REST), HEADER_FINE, SAME},
	{"name and brackets", IN("From: Alice <" A ">\r\n" REST), HEADER_FINE, SAME},
	{"any case of the name", IN("fRoM: " A "\r\n" REST), HEADER_FINE, SAME},
	{"any case of the address", IN("From: ALICE@Example.ORG\r\n" REST), HEADER_FINE, SAME},
	{"another that is owned", IN("From: info@example.org\r\n" REST), HEADER_FINE, SAME},
	{"folded before the value", IN("From:\r\n " A "\r\n" REST), HEADER_FINE, SAME},
	{"last field", IN("To: x@y.test\r\nFrom: " A "\r\n\r\nbody\r\n"), HEADER_FINE, SAME},
	{"no body", IN("From: " A "\r\n\r\n"), HEADER_FINE, SAME},
	{"no empty line", IN("Subject: x\r\nFrom: info@example.org\r\n"), HEADER_FINE, SAME},
	{"long name",
		IN("X-"
		   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: b\r\nFrom: " A
		   "\r\n\r\n"),
		HEADER_FINE, SAME},
	{"From after the empty line is body", IN("From: " A "\r\n\r\nFrom: " V "\r\n"), HEADER_FINE,
		SAME},
	{"none", IN("To: x@y.test\r\n\r\nFrom: " A "\r\n"), HEADER_FROM_MISSING, NULL},
	{"empty line first", IN("\r\nFrom: " A "\r\n\r\n"), HEADER_FROM_MISSING, NULL},
	{"nothing", IN(""), HEADER_FROM_MISSING, NULL},
	{"no From, no empty line", IN("To: x@y.test\r\n"), HEADER_FROM_MISSING, NULL},
	{"empty From", IN("From:\r\n" REST), HEADER_FROM_UNREADABLE, NULL},

	/* F02, F03 */
	{"foreign", IN("From: " V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"F02 a1: two From", IN("From: " A "\r\nFrom: " V "\r\n" REST), HEADER_FROM_REPEATED, NULL},
	{"two From, foreign first", IN("From: " V "\r\nFrom: " A "\r\n" REST), HEADER_FROM_FOREIGN,
		NULL},
	{"two From, the same", IN("From: " A "\r\nFROM: " A "\r\n" REST), HEADER_FROM_REPEATED,
		NULL},
	{"F02 a2: two addresses", IN("From: " A ", " V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"F02 a2: folded", IN("From: " A ",\r\n " V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"F02 a3: another", IN("From: \"Alice\" <" V ">\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"From, space, colon", IN("From : " V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"From, space, colon, owned", IN("From : " A "\r\n" REST), HEADER_FINE, SAME},
	{"From, tab, colon", IN("From\t: " V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"second From, space, colon", IN("From: " A "\r\nFrom : " V "\r\n" REST),
		HEADER_FROM_REPEATED, NULL},
	{"from, tab value", IN("from:\t" V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"From without a space", IN("From:" V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"stuffed From", IN("From: " A "\r\n.From: " V "\r\n" REST), HEADER_FROM_REPEATED, NULL},
	{"stuffed From alone", IN(".From: " A "\r\n" REST), HEADER_FINE, "From: " A "\r\n" REST},
	{"stuffed fold", IN("From: " A "\r\n. , " V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"stuffed fold, owned", IN("From: " A "\r\n. (x)\r\n" REST), HEADER_FINE,
		"From: " A "\r\n (x)\r\n" REST},
	{"name that begins with a dot", IN("..From: x\r\nFrom: " A "\r\n" REST), HEADER_FINE, SAME},
	{"stuffed empty line", IN("From: " A "\r\n.\r\nFrom: " V "\r\n"), HEADER_FINE,
		"From: " A "\r\n\r\nFrom: " V "\r\n"},
	{"folded From", IN("From:\r\n\t" V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"fold adds another", IN("From: " A "\r\n , <" V ">\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"From within a fold", IN("Subject: x\r\n From: " V "\r\nFrom: " A "\r\n\r\n"), HEADER_FINE,
		SAME},
	{"white line", IN("From: " A "\r\n \r\n" REST), HEADER_FROM_UNREADABLE, NULL},
	{"leading space", IN(" From: " A "\r\n" REST), HEADER_LINE_FOLDED_FIRST, NULL},
	{"leading tab", IN("\tx\r\nFrom: " A "\r\n" REST), HEADER_LINE_FOLDED_FIRST, NULL},
	{"stuffed leading space", IN(". x\r\nFrom: " A "\r\n" REST), HEADER_LINE_FOLDED_FIRST,
		NULL},
	{"comment with another", IN("From: " A " (" V ")\r\n" REST), HEADER_FROM_UNREADABLE, NULL},
	{"comment", IN("From: " A " (Alice)\r\n" REST), HEADER_FINE, SAME},
	{"name is another", IN("From: \"" V "\" <" A ">\r\n" REST), HEADER_FINE, SAME},
	{"address is another", IN("From: \"" A "\" <" V ">\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"encoded word", IN("From: =?utf-8?Q?A?= <" A ">\r\n" REST), HEADER_FINE, SAME},
	{"encoded word hides another",
		IN("From: =?utf-8?B?PGNlb0B2aWN0aW0uZXhhbXBsZT4=?= <" A ">\r\n" REST),
		HEADER_FROM_UNREADABLE, NULL},
	{"group", IN("From: g:" A ";\r\n" REST), HEADER_FINE, SAME},
	{"group of another", IN("From: g:" V ";\r\n" REST), HEADER_FROM_FOREIGN, NULL},
	{"empty group", IN("From: g:;\r\n" REST), HEADER_FROM_UNREADABLE, NULL},
	{"route", IN("From: <@victim.example:" A ">\r\n" REST), HEADER_FROM_UNREADABLE, NULL},
	{"NUL", IN("From: " A "\0\r\n" REST), HEADER_FROM_UNREADABLE, NULL},
	{"NUL in a name", IN("From\0: " A "\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"8-bit in a name", IN("Fr\xc3\xb6m: " A "\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"vertical tab in a name", IN("From\x0b: " V "\r\nFrom: " A "\r\n" REST),
		HEADER_LINE_MALFORMED, NULL},
	{"bare CR fold", IN("From: " A ",\r " V "\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"bare CR in another field", IN("Subject: x\rFrom: " V "\r\nFrom: " A "\r\n" REST),
		HEADER_LINE_MALFORMED, NULL},
	{"bare LF in another field", IN("Subject: x\nFrom: " V "\r\nFrom: " A "\r\n" REST),
		HEADER_LINE_MALFORMED, NULL},
	{"two CRs", IN("Subject: x\r\r\nFrom: " A "\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"line begins with a bare CR", IN("From: " A "\r\n\rX: y\r\n" REST), HEADER_LINE_MALFORMED,
		NULL},
	{"line of LF", IN("From: " A "\r\n\nX: y\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"Resent-From is not From",
		IN("Resent-From: " V "\r\nResent-Sender: " V "\r\nFrom: " A "\r\n" REST),
		HEADER_FINE, SAME},
	{"Resent-From alone", IN("Resent-From: " A "\r\n" REST), HEADER_FROM_MISSING, NULL},
	{"Sender alone", IN("Sender: " A "\r\n" REST), HEADER_FROM_MISSING, NULL},
	{"Reply-To is not From", IN("Reply-To: " V "\r\nFrom: " A "\r\n" REST), HEADER_FINE, SAME},
	{"names that begin like From", IN("From-X: " V "\r\nFro: " V "\r\nFrom: " A "\r\n" REST),
		HEADER_FINE, SAME},
	{"domain without dots", IN("From: alice@localhost\r\n" REST), HEADER_FROM_UNREADABLE, NULL},
	{"8-bit name", IN("From: J\xfcrgen <" A ">\r\n" REST), HEADER_FINE, SAME},
	{"8-bit address", IN("From: j\xc3\xbcrgen@example.org\r\n" REST), HEADER_FROM_UNREADABLE,
		NULL},

	/* Conformance 117: several mailboxes */
	{"several, no Sender", IN("From: " A ", info@example.org\r\n" REST), HEADER_FROM_SEVERAL,
		NULL},
	{"several and a Sender", IN("From: " A ", info@example.org\r\nSender: " A "\r\n" REST),
		HEADER_FINE, SAME},
	{"several, Sender before",
		IN("Sender: bob@example.org\r\nFrom: info@example.org, bob@"
		   "example.org\r\n" REST),
		HEADER_FINE, SAME},
	{"several, Sender foreign", IN("From: " A ", info@example.org\r\nSender: " V "\r\n" REST),
		HEADER_SENDER_FOREIGN, NULL},
	{"several, the last foreign",
		IN("From: " A ", bob@example.org, " V "\r\nSender: " A "\r\n" REST),
		HEADER_FROM_FOREIGN, NULL},
	{"Sender owned", IN("From: " A "\r\nSender: <info@example.org>\r\n" REST), HEADER_FINE,
		SAME},
	{"Sender foreign", IN("From: " A "\r\nSender : " V "\r\n" REST), HEADER_SENDER_FOREIGN,
		NULL},
	{"Sender twice", IN("Sender: " A "\r\nFrom: " A "\r\nSender: " A "\r\n" REST),
		HEADER_SENDER_REPEATED, NULL},
	{"Sender of two", IN("From: " A "\r\nSender: " A ", " A "\r\n" REST),
		HEADER_SENDER_UNREADABLE, NULL},
	{"Sender of a group", IN("From: " A "\r\nSender: g:" A ";\r\n" REST),
		HEADER_SENDER_UNREADABLE, NULL},
	{"Sender empty", IN("From: " A "\r\nSender:\r\n" REST), HEADER_SENDER_UNREADABLE, NULL},

	/* Conformance 120, A13, A14 */
	{"first line no field", IN("Hello\r\nFrom: " A "\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"first line with a space in the name", IN("Hello you: x\r\nFrom: " A "\r\n" REST),
		HEADER_LINE_MALFORMED, NULL},
	{"line without a colon", IN("From: " A "\r\nHello\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"line of a colon", IN("From: " A "\r\n: x\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"From without a colon, folded", IN("From: " A "\r\nFrom\r\n : " V "\r\n" REST),
		HEADER_LINE_MALFORMED, NULL},
	{"mailbox line", IN("From alice Mon Jan  1 00:00:00 2026\r\nFrom: " A "\r\n" REST),
		HEADER_LINE_MBOX, NULL},
	{"mailbox line, quoted", IN(">From alice Mon\r\nFrom: " A "\r\n" REST), HEADER_LINE_MBOX,
		NULL},
	{"mailbox line with an address", IN("From " V " Mon\r\n" REST), HEADER_LINE_MBOX, NULL},
	{"mailbox line later", IN("From: " A "\r\nFrom " V " Mon\r\n" REST), HEADER_LINE_MALFORMED,
		NULL},
	{"a dot", IN("From: " A "\r\n..\r\n" REST), HEADER_LINE_MALFORMED, NULL},
	{"name without an end", IN("From: " A "\r\nSub"), HEADER_LINE_MALFORMED, NULL},
	{"value without an end", IN("From: " A "\r\nSubject: x"), HEADER_FINE,
		"From: " A "\r\nSubject: x\r\n"},
	{"CR last", IN("From: " A "\r\nSubject: x\r"), HEADER_FINE,
		"From: " A "\r\nSubject: x\r\n"},
	{"CR of the empty line last", IN("From: " A "\r\n\r"), HEADER_FINE, "From: " A "\r\n\r\n"},

	/* F07 */
	{"Authentication-Results",
		IN("Authentication-Results: x; spf=pass\r\nFrom: " A "\r\n" REST), HEADER_FINE,
		"From: " A "\r\n" REST},
	{"... folded, repeated, any case",
		IN("authentication-RESULTS : x;\r\n\tspf=pass\r\n. dkim=pass\r\nFrom: " A
		   "\r\n.Authentication-Results:y\r\n" REST),
		HEADER_FINE, "From: " A "\r\n" REST},
	{"our own names",
		IN("X-Postern-Token: forged\r\nx-postern-y: z\r\n a\r\nFrom: " A "\r\n" REST),
		HEADER_FINE, "From: " A "\r\n" REST},
	{"names that only begin so",
		IN("X-Postern: x\r\nAuthentication-Results-X: y\r\nFrom: " A "\r\n" REST),
		HEADER_FINE, SAME},
	{"ARC is not ours", IN("ARC-Authentication-Results: i=1; x\r\nFrom: " A "\r\n" REST),
		HEADER_FINE, SAME},
	{"Received stays", IN("Received: from x by y; z\r\nFrom: " A "\r\n" REST), HEADER_FINE,
		SAME},
};

static void test_reject(void **state)
{
	(void)state;
	check_rows(reject_rows, COUNT(reject_rows), &usual);
}

/* What refuses must tell which address it was. */
static void test_the_address_is_told(void **state)
{
	static const enum header_mode modes[] = {HEADER_REJECT, HEADER_OBSERVE};
	struct run run = {.name = "told",
		.policy = usual,
		.in = "Sender: \"x\" <Ceo@Victim.example>\r\nFrom: " V "\r\n\r\n",
		.reason = HEADER_SENDER_FOREIGN,
		.address = "Ceo@Victim.example"};

	(void)state;
	run.in_len = strlen(run.in);
	for (size_t i = 0; i < 2; i++) {
		run.policy.mode = modes[i];
		check(&run);
	}
}

static const struct row observe_rows[] = {
	{"one From", IN("From: " A "\r\n" REST), HEADER_FINE, SAME},
	{"foreign", IN("From: " V "\r\n" REST), HEADER_FROM_FOREIGN, SAME},
	{"none", IN("To: x@y.test\r\n\r\n"), HEADER_FROM_MISSING, SAME},
	{"two", IN("From: " A "\r\nFrom: " V "\r\n" REST), HEADER_FROM_REPEATED, SAME},
	{"several", IN("From: " A ", info@example.org\r\n" REST), HEADER_FROM_SEVERAL, SAME},
	{"unreadable", IN("From: root\r\n" REST), HEADER_FROM_UNREADABLE, SAME},
	{"Sender foreign", IN("From: " A "\r\nSender: " V "\r\n" REST), HEADER_SENDER_FOREIGN,
		SAME},
	{"Sender twice", IN("From: " A "\r\nSender: " A "\r\nSender: " A "\r\n" REST),
		HEADER_SENDER_REPEATED, SAME},
	{"the first is told", IN("From: " V "\r\nSender: x\r\nHello\r\n" REST), HEADER_FROM_FOREIGN,
		SAME},
	{"no field", IN("From: " A "\r\nHello\r\n folded\r\n" REST), HEADER_LINE_MALFORMED, SAME},
	{"no field, stuffed", IN("From: " A "\r\n..Hello\r\n" REST), HEADER_LINE_MALFORMED, SAME},
	{"bare CR first", IN("From: " A "\r\n\rX: y\r\n" REST), HEADER_LINE_MALFORMED, SAME},
	{"bare CR", IN("From: " A "\r\nSubject: x\ry\r\n" REST), HEADER_LINE_MALFORMED, SAME},
	{"bare LF ends From", IN("From: " A "\nTo: x\r\n" REST), HEADER_LINE_MALFORMED, SAME},
	{"still stripped after it",
		IN("Hello\r\nAuthentication-Results: x\r\nFrom: " A "\r\n" REST),
		HEADER_LINE_MALFORMED, "Hello\r\nFrom: " A "\r\n" REST},
	{"stripped though malformed",
		IN("From: " A "\r\nAuthentication-Results\x0b: x\r\n y\r\n" REST),
		HEADER_LINE_MALFORMED, "From: " A "\r\n" REST},
	{"leading space begins the body", IN(" x\r\nFrom: " A "\r\n\r\n"), HEADER_LINE_FOLDED_FIRST,
		"\r\n x\r\nFrom: " A "\r\n\r\n"},
	{"stuffed leading space", IN(". x\r\n.y\r\n"), HEADER_LINE_FOLDED_FIRST,
		"\r\n x\r\n.y\r\n"},
	{"mailbox line goes", IN("From alice Mon\r\nFrom: " A "\r\n" REST), HEADER_LINE_MBOX,
		"From: " A "\r\n" REST},
	{"fold on a mailbox line", IN("From alice Mon\r\n x\r\nFrom: " A "\r\n" REST),
		HEADER_LINE_MBOX, "\r\n x\r\nFrom: " A "\r\n" REST},
};

static void test_observe(void **state)
{
	struct header_policy policy = usual;

	(void)state;
	policy.mode = HEADER_OBSERVE;
	check_rows(observe_rows, COUNT(observe_rows), &policy);
}

static void test_off(void **state)
{
	static const struct row rows[] = {
		{"foreign", IN("From: " V "\r\n" REST), HEADER_FINE, SAME},
		{"two and a Sender", IN("From: " V "\r\nFrom: x\r\nSender: y\r\n" REST),
			HEADER_FINE, SAME},
		{"none", IN("\r\n"), HEADER_FINE, SAME},
		{"nothing", IN(""), HEADER_FINE, SAME},
		{"stripped", IN("From: x\r\nAuthentication-Results: y\r\n" REST), HEADER_FINE,
			"From: x\r\n" REST},
		{"leading space begins the body", IN("\tx\r\n\r\n"), HEADER_LINE_FOLDED_FIRST,
			"\r\n\tx\r\n\r\n"},
	};
	struct header_policy policy = usual;

	(void)state;
	policy.mode = HEADER_OFF;
	check_rows(rows, COUNT(rows), &policy);
}

static void test_rewrite(void **state)
{
	static const struct row rows[] = {
		{"owned", IN("From: Info <info@example.org>\r\n" REST), HEADER_FINE, SAME},
		{"foreign", IN("From: " V "\r\n" REST), HEADER_FROM_FOREIGN,
			"From: " A "\r\n" REST},
		{"the name is kept", IN("From: \"The Boss\"\r\n <" V ">\r\n" REST),
			HEADER_FROM_FOREIGN, "From: \"The Boss\"\r\n <" A ">\r\n" REST},
		{"the comment is kept", IN("from : " V " (Boss)\r\n" REST), HEADER_FROM_FOREIGN,
			"from : " A " (Boss)\r\n" REST},
		{"a quoted local part goes", IN("From: B <\"a b\"@c.test>\r\n" REST),
			HEADER_FROM_FOREIGN, "From: B <" A ">\r\n" REST},
		{"a name that hides an address goes",
			IN("From: =?utf-8?Q?ceo=40victim.example?= <" V ">\r\n" REST),
			HEADER_FROM_FOREIGN, "From: <" A ">\r\n" REST},
		{"several become one", IN("From: Al <" A ">, B <info@example.org>\r\n" REST),
			HEADER_FROM_SEVERAL, "From: Al <" A ">\r\n" REST},
		{"several without a name", IN("From: a@b.test, B <info@example.org>\r\n" REST),
			HEADER_FROM_SEVERAL, "From:  <" A ">\r\n" REST},
		{"a group becomes one", IN("From: g: B <" V ">;\r\n" REST), HEADER_FROM_FOREIGN,
			"From: B <" A ">\r\n" REST},
		{"unreadable", IN("From: root (Cron Daemon)\r\n" REST), HEADER_FROM_UNREADABLE,
			"From: <" A ">\r\n" REST},
		{"ambiguous", IN("From: <@victim.example:" A ">\r\n" REST), HEADER_FROM_UNREADABLE,
			"From: <" A ">\r\n" REST},
		{"none", IN("To: x\r\n\r\nbody\r\n"), HEADER_FROM_MISSING,
			"To: x\r\nFrom: <" A ">\r\n\r\nbody\r\n"},
		{"none, no empty line", IN("To: x\r\n"), HEADER_FROM_MISSING,
			"To: x\r\nFrom: <" A ">\r\n"},
		{"Sender", IN("From: " A "\r\nSender: B <" V ">\r\n" REST), HEADER_SENDER_FOREIGN,
			"From: " A "\r\nSender: B <" A ">\r\n" REST},
		{"Sender of two", IN("Sender: B <" V ">, x@y.test\r\nFrom: " A "\r\n" REST),
			HEADER_SENDER_UNREADABLE, "Sender: B <" A ">\r\nFrom: " A "\r\n" REST},
		{"Sender unreadable", IN("From: " A "\r\nSender: root\r\n" REST),
			HEADER_SENDER_UNREADABLE, "From: " A "\r\nSender: <" A ">\r\n" REST},
	};
	static const struct row refused[] = {
		{"two From", IN("From: " V "\r\nFrom: " A "\r\n" REST), HEADER_FROM_REPEATED, NULL},
		{"two Sender", IN("Sender: x\r\nFrom: " A "\r\nSender: " A "\r\n" REST),
			HEADER_SENDER_REPEATED, NULL},
		{"no field", IN("From: " A "\r\nHello\r\n" REST), HEADER_LINE_MALFORMED, NULL},
		{"leading space", IN(" x\r\nFrom: " A "\r\n" REST), HEADER_LINE_FOLDED_FIRST, NULL},
		{"mailbox line", IN("From x\r\nFrom: " A "\r\n" REST), HEADER_LINE_MBOX, NULL},
	};
	struct header_policy policy = usual;

	(void)state;
	policy.mode = HEADER_REWRITE;
	check_rows(rows, COUNT(rows), &policy);
	check_rows(refused, COUNT(refused), &policy);
}

/* A bounce has no sender to put there; a sender that readers differ about is not put there. */
static void test_rewrite_by_a_sender_that_cannot_be(void **state)
{
	static const struct row rows[] = {
		{"foreign", IN("From: " V "\r\n" REST), HEADER_FROM_FOREIGN, NULL},
		{"unreadable", IN("From: root\r\n" REST), HEADER_FROM_UNREADABLE, NULL},
		{"none", IN("To: x\r\n\r\n"), HEADER_FROM_MISSING, NULL},
		{"owned", IN("From: info@example.org\r\n\r\n"), HEADER_FINE, SAME},
	};
	struct header_policy policy = usual;

	(void)state;
	policy.mode = HEADER_REWRITE;
	policy.sender = "";
	policy.sender_len = 0;
	check_rows(rows, COUNT(rows), &policy);
	policy.sender = "\"" V "\"@example.org";
	policy.sender_len = strlen(policy.sender);
	check_rows(rows, COUNT(rows), &policy);
}

static void test_strip_and_drop(void **state)
{
	static const struct row rows[] = {
		{"configured",
			IN("X-Authenticated-User: x\r\nx-authenticated-user:y\r\nFrom: " A
			   "\r\nX-Spam-Score: 1\r\nX-SPAM-Flag : no\r\n z\r\nX-Spa: 2\r\n"
			   "Received: from a\r\n by b\r\nreceived:x\r\nReceived-SPF: y\r\n"
			   "\r\nX-Spam-Score: 3\r\n"),
			HEADER_FINE,
			"From: " A "\r\nX-Spa: 2\r\nReceived-SPF: y\r\n\r\nX-Spam-Score: 3\r\n"},
		{"all of it", IN("Received: x\r\nX-Spam-: y\r\nFrom: " A "\r\n"), HEADER_FINE,
			"From: " A "\r\n"},
	};
	static const char *const strip[] = {"X-Authenticated-User", "X-Spam-*"};
	struct header_policy policy = usual;

	(void)state;
	policy.strip = strip;
	policy.strip_count = 2;
	policy.drop_received = true;
	check_rows(rows, COUNT(rows), &policy);
}

#define DATE "Date: Wed, 25 Nov 2026 02:14:25 +0000\r\n"
#define ID "Message-ID: <0123456789ab@submit.example.net>\r\n"

/* Conformance 46. */
static void test_add_only_what_is_absent(void **state)
{
	static const struct row rows[] = {
		{"neither", IN("From: " A "\r\n\r\nDate: x\r\n"), HEADER_FINE,
			"X-Postern-Token: t0k_n\r\nFrom: " A "\r\n" DATE ID "\r\nDate: x\r\n"},
		{"both", IN("From: " A "\r\ndate: x\r\nMESSAGE-id : <y>\r\n\r\n"), HEADER_FINE,
			"X-Postern-Token: t0k_n\r\nFrom: " A
			"\r\ndate: x\r\nMESSAGE-id : <y>\r\n\r\n"},
		{"no empty line", IN("From: " A "\r\nDate: x\r\n"), HEADER_FINE,
			"X-Postern-Token: t0k_n\r\nFrom: " A "\r\nDate: x\r\n" ID},
		{"forged token",
			IN("X-Postern-Token: mine\r\nFrom: " A "\r\nDate: x\r\nMessage-ID: y"
			   "\r\n\r\n"),
			HEADER_FINE,
			"X-Postern-Token: t0k_n\r\nFrom: " A
			"\r\nDate: x\r\nMessage-ID: y\r\n\r\n"},
	};
	struct header_policy policy = usual;

	(void)state;
	policy.add_date = policy.add_message_id = true;
	policy.token = "t0k\nn"; /* F08: nothing ends the line */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct run run = {.name = rows[i].name,
			.policy = policy,
			.in = rows[i].in,
			.in_len = rows[i].len,
			.out = rows[i].out};

		/* The reader takes our own token for a forgery, so it does not look. */
		run.policy.mode = HEADER_OFF;
		check(&run);
	}
	policy.token = NULL;
	policy.hostname = "a>\r\nb";
	struct run run = {.name = "hostname",
		.policy = policy,
		.in = "From: " A "\r\nDate: x\r\n\r\n",
		.in_len = strlen("From: " A "\r\nDate: x\r\n\r\n"),
		.out = "From: " A "\r\nDate: x\r\nMessage-ID: <0123456789ab@a___b>\r\n\r\n"};
	check(&run);
}

/* BDAT passed on as BDAT: a dot is a dot. */
static void test_lines_that_are_not_stuffed(void **state)
{
	static const struct row rows[] = {
		{"dot From is another field", IN(".From: " V "\r\nFrom: " A "\r\n\r\n.\r\n"),
			HEADER_FINE, SAME},
		{"dot fold is none", IN("From: " A "\r\n. x\r\n\r\n"), HEADER_LINE_MALFORMED, NULL},
		{"dot is no empty line", IN("From: " A "\r\n.\r\nFrom: " V "\r\n"),
			HEADER_LINE_MALFORMED, NULL},
	};
	struct header_policy policy = usual;

	(void)state;
	policy.stuffed = false;
	check_rows(rows, COUNT(rows), &policy);
}

static void test_utf8(void **state)
{
	static const struct row rows[] = {
		{"address", IN("From: j\xc3\xbcrgen@example.org\r\n\r\n"), HEADER_FROM_FOREIGN,
			NULL},
	};
	struct header_policy policy = usual;
	struct run run = {.name = "sender",
		.in = "From: J <J\xc3\xbcrgen@Example.org>\r\n\r\n",
		.in_len = strlen("From: J <J\xc3\xbcrgen@Example.org>\r\n\r\n")};

	(void)state;
	policy.utf8 = true;
	check_rows(rows, COUNT(rows), &policy);
	policy.mode = HEADER_OBSERVE;
	policy.sender = "j\xc3\xbcrgen@example.org";
	policy.sender_len = strlen(policy.sender);
	run.policy = policy;
	check(&run);
}

/* ----------------------------------------------------------------------------- bounds */

/* One message in pieces of that size; its verdict. */
static enum header_reason pieces(struct run *run, const char *in, size_t len, size_t piece)
{
	run->written = evbuffer_new();
	begin(run);
	for (size_t at = 0; at < len; at += piece)
		feed(run, in + at, len - at < piece ? len - at : piece);
	if (run->status == HEADER_MORE)
		run->status = answer(run, header_end(&run->header, run->written));
	if (run->status == HEADER_MORE)
		run->status = header_end(&run->header, run->written);
	assert_true(run->status == HEADER_BODY || run->status == HEADER_REFUSED);
	assert_true(run->policy.mode != HEADER_OBSERVE || run->status == HEADER_BODY);
	if (run->status == HEADER_BODY && header_found(&run->header)->reason != HEADER_LINE_MBOX)
		assert_int_equal(evbuffer_get_length(run->written), len);
	header_free(&run->header);
	evbuffer_free(run->written);
	return header_found(&run->header)->reason;
}

/* start, then as many of fill as fit, then tail: len octets. */
static void check_bound(const char *name, const char *start, char fill, const char *tail,
	size_t len, enum header_reason want)
{
	static const size_t sizes[] = {1, 1000, 4096, 65536, 1u << 30};
	struct run run = {.name = name, .policy = usual};
	char *in = malloc(len);

	assert_non_null(in);
	memset(in, fill, len);
	/* A field of many lines, where it is one. */
	for (size_t at = 900; strchr(start, ':') != NULL && at + strlen(tail) + 3 < len; at += 900)
		memcpy(in + at, "\r\n ", 3);
	memcpy(in, start, strlen(start));
	memcpy(in + len - strlen(tail), tail, strlen(tail));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		enum header_reason got;

		run.policy.mode = HEADER_REJECT;
		got = pieces(&run, in, len, sizes[i]);
		if (got != want)
			fail_msg("%s in pieces of %zu: got %s, want %s", name, sizes[i],
				header_reason_word(got), header_reason_word(want));
		run.policy.mode = HEADER_OBSERVE;
		assert_int_equal(pieces(&run, in, len, sizes[i]), want);
	}
	free(in);
}

static void test_bounds(void **state)
{
	static const char tail[] = "\r\nFrom: " A "\r\n\r\n";
	static const char named[] = ": x\r\nFrom: " A "\r\n\r\n";

	(void)state;
	check_bound("line of 998", "", 'a', named, 995 + sizeof named - 1, HEADER_FINE);
	check_bound("line of 999", "", 'a', named, 996 + sizeof named - 1, HEADER_LINE_LONG);
	check_bound("name of 998", "", 'a', named, 998 + sizeof named - 1, HEADER_LINE_MALFORMED);
	check_bound("From of the most", "From: " A " (", 'a', ")\r\n\r\n", HEADER_FIELD_MAX + 2,
		HEADER_FINE);
	check_bound("From of one more", "From: " A " (", 'a', ")\r\n\r\n", HEADER_FIELD_MAX + 3,
		HEADER_TOO_LARGE);
	check_bound("another field of more", "Subject: ", 'a', tail, HEADER_FIELD_MAX + 1000,
		HEADER_FINE);
	check_bound("header of the most", "Subject: ", 'a', tail, HEADER_BYTES_MAX, HEADER_FINE);
	check_bound("header of one more", "Subject: ", 'a', tail, HEADER_BYTES_MAX + 1,
		HEADER_TOO_LARGE);
	check_bound("A14 long mailbox line", "From ", 'a', "\r\n\r\n", 2 * HEADER_BYTES_MAX,
		HEADER_LINE_MBOX);
}

/* What is held is one field, however long the header is. */
static void test_memory_is_bounded(void **state)
{
	struct run run = {.name = "memory", .policy = usual};
	char line[1000];

	(void)state;
	memset(line, 'a', sizeof(line));
	memcpy(line, "X-A: ", 5);
	memcpy(line + 998, "\r\n", 2);
	run.written = evbuffer_new();
	begin(&run);
	for (unsigned i = 0; i < 200; i++) {
		feed(&run, line, sizeof(line));
		assert_true(run.header.text_room <= 1024);
		assert_null(run.header.list);
	}
	header_free(&run.header);
	evbuffer_free(run.written);
}

static void test_move_between_buffers(void **state)
{
	static const char message[] = "To: x\r\nFrom: info@example.org\r\n\r\nbody\r\n..\r\n";
	struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
	struct header header;
	size_t len;

	(void)state;
	header_init(&header, &usual);
	evbuffer_add_reference(in, message, 9, NULL, NULL); /* several chains */
	evbuffer_add_reference(in, message + 9, 30, NULL, NULL);
	evbuffer_add_reference(in, message + 39, sizeof(message) - 40, NULL, NULL);
	assert_int_equal(header_move(&header, out, out), HEADER_MORE); /* nothing there yet */
	assert_int_equal(header_move(&header, in, out), HEADER_ASK);
	assert_string_equal(header_question(&header, &len), "info@example.org");
	assert_int_equal(len, strlen("info@example.org"));
	assert_int_equal(header_answer(&header, true, out), HEADER_MORE);
	assert_int_equal(header_move(&header, in, out), HEADER_BODY);
	assert_int_equal(evbuffer_get_length(in), 0);
	assert_int_equal(evbuffer_get_length(out), sizeof(message) - 1);
	assert_memory_equal(evbuffer_pullup(out, -1), message, sizeof(message) - 1);
	header_free(&header);
	evbuffer_free(in);
	evbuffer_free(out);
}

/* An address stays in question until it is answered. */
static void test_asked_again_without_an_answer(void **state)
{
	static const char field[] = "From: info@example.org, bob@example.org\r\n";
	struct evbuffer *out = evbuffer_new();
	struct header header;
	size_t consumed, len;

	(void)state;
	header_init(&header, &usual);
	assert_int_equal(
		header_feed(&header, field, sizeof(field) - 1, &consumed, out), HEADER_MORE);
	assert_int_equal(header_end(&header, out), HEADER_ASK);
	assert_int_equal(header_end(&header, out), HEADER_ASK);
	assert_int_equal(header_feed(&header, "S", 1, &consumed, out), HEADER_ASK);
	assert_int_equal(consumed, 0);
	assert_string_equal(header_question(&header, &len), "info@example.org");
	assert_int_equal(header_answer(&header, true, out), HEADER_ASK);
	assert_string_equal(header_question(&header, &len), "bob@example.org");
	assert_int_equal(evbuffer_get_length(out), 0); /* the field is held */
	assert_int_equal(header_answer(&header, false, out), HEADER_REFUSED);
	assert_int_equal(header_found(&header)->reason, HEADER_FROM_FOREIGN);
	assert_string_equal(header_found(&header)->address.text, "bob@example.org");
	header_free(&header);
	header_free(&header);
	evbuffer_free(out);
}

/* What was rewritten before says nothing about why the message is refused afterwards. */
static void test_a_refusal_after_a_rewrite(void **state)
{
	static const char message[] = "From: " V "\r\nHello\r\n";
	struct header_policy policy = usual;
	struct evbuffer *out = evbuffer_new();
	struct header header;
	size_t consumed;

	(void)state;
	policy.mode = HEADER_REWRITE;
	header_init(&header, &policy);
	assert_int_equal(
		header_feed(&header, message, sizeof(message) - 1, &consumed, out), HEADER_ASK);
	assert_int_equal(header_answer(&header, false, out), HEADER_MORE);
	assert_string_equal(header_found(&header)->address.text, V);
	assert_int_equal(header_feed(&header, message + consumed, sizeof(message) - 1 - consumed,
				 &consumed, out),
		HEADER_REFUSED);
	assert_int_equal(header_found(&header)->reason, HEADER_LINE_MALFORMED);
	assert_int_equal(header_found(&header)->address.len, 0);
	header_free(&header);
	evbuffer_free(out);
}

/* An out that takes no more is our trouble, and nobody's refusal: wherever it happens. */
static void test_out_of_memory(void **state)
{
	static const char message[] = "From: info@example.org\r\n\r\n";
	struct evbuffer *out = evbuffer_new(), *in = evbuffer_new();
	struct header header;
	size_t consumed;

	(void)state;
	evbuffer_freeze(out, 0);
	header_init(&header, &usual);
	assert_int_equal(header_feed(&header, "To: x\r\n", 7, &consumed, out), HEADER_REFUSED);
	assert_int_equal(header_found(&header)->reason, HEADER_NO_MEMORY);

	header_init(&header, &usual);
	assert_int_equal(
		header_feed(&header, message, sizeof(message) - 1, &consumed, out), HEADER_ASK);
	assert_int_equal(header_answer(&header, true, out), HEADER_REFUSED);
	assert_int_equal(header_found(&header)->reason, HEADER_NO_MEMORY);

	header_init(&header, &usual);
	assert_int_equal(
		header_feed(&header, "From: " A "\r\n", 6 + sizeof(A) - 1 + 2, &consumed, out),
		HEADER_MORE);
	assert_int_equal(header_end(&header, out), HEADER_REFUSED);
	assert_int_equal(header_found(&header)->reason, HEADER_NO_MEMORY);

	header_init(&header, &usual);
	evbuffer_add(in, "From: " A "\r\n\r\nx", 6 + sizeof(A) - 1 + 5);
	assert_int_equal(header_move(&header, in, out), HEADER_REFUSED);
	assert_int_equal(header_found(&header)->reason, HEADER_NO_MEMORY);
	evbuffer_free(out);
	evbuffer_free(in);
}

static void test_reasons_have_faults_and_words(void **state)
{
	(void)state;
	assert_int_equal(header_fault(HEADER_FINE), HEADER_FAULT_NONE);
	for (int i = HEADER_FROM_FOREIGN; i <= HEADER_SENDER_REPEATED; i++)
		assert_int_equal(header_fault((enum header_reason)i), HEADER_FAULT_POLICY);
	for (int i = HEADER_FROM_MISSING; i <= HEADER_LINE_LONG; i++)
		assert_int_equal(header_fault((enum header_reason)i), HEADER_FAULT_CONTENT);
	assert_int_equal(header_fault(HEADER_TOO_LARGE), HEADER_FAULT_SIZE);
	assert_int_equal(header_fault(HEADER_NO_MEMORY), HEADER_FAULT_OURS);
	for (int i = HEADER_FINE; i <= HEADER_NO_MEMORY; i++) {
		for (int j = HEADER_FINE; j < i; j++)
			assert_string_not_equal(header_reason_word((enum header_reason)i),
				header_reason_word((enum header_reason)j));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reject),
		cmocka_unit_test(test_the_address_is_told),
		cmocka_unit_test(test_observe),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_rewrite),
		cmocka_unit_test(test_rewrite_by_a_sender_that_cannot_be),
		cmocka_unit_test(test_strip_and_drop),
		cmocka_unit_test(test_add_only_what_is_absent),
		cmocka_unit_test(test_lines_that_are_not_stuffed),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_move_between_buffers),
		cmocka_unit_test(test_asked_again_without_an_answer),
		cmocka_unit_test(test_a_refusal_after_a_rewrite),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_reasons_have_faults_and_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
