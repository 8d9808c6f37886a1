/* SPDX-License-Identifier: ISC */
/*
 * The backend's MAIL and RCPT, built from the parsed structs and nothing else: whatever a client
 * wrote, only what the parsers understood goes on.  Proxy process, loop thread; pure.
 */
#include "proxy/command.h"

#include "common/log.h"

#include <string.h>

/* The largest that the structs can hold, so that no append has to ask for room. */
_Static_assert(sizeof("MAIL FROM:<> SIZE=18446744073709551615 BODY=BINARYMIME SMTPUTF8 RET=FULL "
		      "ENVID=\r\n") +
			       IPC_PATH_MAX + ENVID_MAX <=
		       COMMAND_FORMAT_MAX,
	"MAIL fits");
_Static_assert(sizeof("RCPT TO:<> NOTIFY=NEVER,SUCCESS,FAILURE,DELAY ORCPT=\r\n") + IPC_PATH_MAX +
			       ORCPT_MAX <=
		       COMMAND_FORMAT_MAX,
	"RCPT fits");

struct text {
	char *out;
	size_t len;
};

static void add_bytes(struct text *text, const char *bytes, size_t len)
{
	memcpy(text->out + text->len, bytes, len);
	text->len += len;
}

static void add(struct text *text, const char *string)
{
	add_bytes(text, string, strlen(string));
}

static void add_number(struct text *text, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	add_bytes(text, digits + at, sizeof(digits) - at);
}

static void add_path(struct text *text, const struct path *path)
{
	add(text, "<");
	add_bytes(text, path->text, path->len);
	add(text, ">");
}

static void add_body(struct text *text, enum body_kind body)
{
	switch (body) {
	case BODY_UNSTATED:
		break;
	case BODY_7BIT:
		add(text, " BODY=7BIT");
		break;
	case BODY_8BITMIME:
		add(text, " BODY=8BITMIME");
		break;
	case BODY_BINARYMIME:
		add(text, " BODY=BINARYMIME");
		break;
	}
}

static void add_ret(struct text *text, enum dsn_ret ret)
{
	switch (ret) {
	case RET_UNSTATED:
		break;
	case RET_FULL:
		add(text, " RET=FULL");
		break;
	case RET_HDRS:
		add(text, " RET=HDRS");
		break;
	}
}

unsigned command_mail_needs(const struct mail_arguments *mail)
{
	unsigned needs = 0;

	if (mail->body == BODY_8BITMIME)
		needs |= CAPABILITY_8BITMIME;
	if (mail->body == BODY_BINARYMIME)
		needs |= CAPABILITY_BINARYMIME | CAPABILITY_CHUNKING;
	if (mail->smtputf8)
		needs |= CAPABILITY_SMTPUTF8;
	if (mail->ret != RET_UNSTATED || mail->envid_len > 0)
		needs |= CAPABILITY_DSN;
	return needs;
}

unsigned command_rcpt_needs(const struct rcpt_arguments *rcpt)
{
	return rcpt->notify != 0 || rcpt->orcpt_len > 0 ? CAPABILITY_DSN : 0;
}

size_t command_format_mail(const struct mail_arguments *mail, unsigned capabilities, char *out)
{
	struct text text = {.out = out};

	require((command_mail_needs(mail) & ~capabilities) == 0);
	add(&text, "MAIL FROM:");
	add_path(&text, &mail->sender);
	if (mail->has_size && (capabilities & CAPABILITY_SIZE) != 0) {
		add(&text, " SIZE=");
		add_number(&text, mail->size);
	}
	if ((capabilities & CAPABILITY_8BITMIME) != 0 || mail->body == BODY_BINARYMIME)
		add_body(&text, mail->body);
	if (mail->smtputf8)
		add(&text, " SMTPUTF8");
	add_ret(&text, mail->ret);
	if (mail->envid_len > 0) {
		add(&text, " ENVID=");
		add_bytes(&text, mail->envid, mail->envid_len);
	}
	add(&text, "\r\n");
	return text.len;
}

static void add_notify(struct text *text, unsigned notify)
{
	static const struct {
		const char *name;
		enum dsn_notify bit;
	} words[] = {{"NEVER", NOTIFY_NEVER}, {"SUCCESS", NOTIFY_SUCCESS},
		{"FAILURE", NOTIFY_FAILURE}, {"DELAY", NOTIFY_DELAY}};
	const char *before = " NOTIFY=";

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if ((notify & words[i].bit) == 0)
			continue;
		add(text, before);
		add(text, words[i].name);
		before = ",";
	}
}

size_t command_format_rcpt(const struct rcpt_arguments *rcpt, unsigned capabilities, char *out)
{
	struct text text = {.out = out};

	require((command_rcpt_needs(rcpt) & ~capabilities) == 0);
	add(&text, "RCPT TO:");
	add_path(&text, &rcpt->recipient);
	add_notify(&text, rcpt->notify);
	if (rcpt->orcpt_len > 0) {
		add(&text, " ORCPT=");
		add_bytes(&text, rcpt->orcpt, rcpt->orcpt_len);
	}
	add(&text, "\r\n");
	return text.len;
}
