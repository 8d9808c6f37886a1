/* SPDX-License-Identifier: ISC */
/*
 * Decisions: which fields go, which are held, whose From and Sender are, and what a foreign one
 * costs.  RFC 5322 3.6 wants exactly one From and at most one Sender; RFC 6409 6.1 and 8.1 let a
 * submission server refuse, or replace, what is not the sender's.
 *
 * Resent-From and Resent-Sender say who forwarded a message, and Reply-To who gets the answer; none
 * is shown as the author, so they pass.  Proxy process, loop thread.
 */
#include "common/log.h"
#include "proxy/header_parts.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a client must not be able to forge: a verdict (RFC 8601 5), and what Postern says itself. */
static const char *const always_stripped[] = {"Authentication-Results", "X-Postern-*"};

/* ------------------------------------------------------------------------------ names */

static bool is_named(const char *name, size_t len, const char *wanted)
{
	return len == strlen(wanted) && strncasecmp(name, wanted, len) == 0;
}

static bool matches(const char *name, size_t len, const char *pattern)
{
	size_t start = strlen(pattern);

	if (start == 0 || pattern[start - 1] != '*')
		return is_named(name, len, pattern);
	return len >= start - 1 && strncasecmp(name, pattern, start - 1) == 0;
}

bool header_stripped(const struct header *header, const char *name, size_t len)
{
	const struct header_policy *policy = &header->policy;

	if (len == 0)
		return false;
	for (size_t i = 0; i < sizeof(always_stripped) / sizeof(always_stripped[0]); i++) {
		if (matches(name, len, always_stripped[i]))
			return true;
	}
	for (size_t i = 0; i < policy->strip_count; i++) {
		if (matches(name, len, policy->strip[i]))
			return true;
	}
	return policy->drop_received && is_named(name, len, "Received");
}

/* A field that there may be once. */
static enum header_status once(struct header *header, bool *seen, enum header_fate fate,
	enum header_reason repeated, enum header_fate *fate_out)
{
	if (!*seen) {
		*seen = true;
		*fate_out = fate;
		return HEADER_MORE;
	}
	if (header_strict(header))
		return header_refuse(header, repeated);
	header_note(header, repeated);
	return HEADER_MORE;
}

enum header_status header_classify(struct header *header, enum header_fate *fate_out)
{
	const char *name = header->text;
	size_t len = header->name_len;

	*fate_out = FATE_KEEP;
	if (header_stripped(header, name, len)) {
		*fate_out = FATE_DROP;
		return HEADER_MORE;
	}
	header->has_date |= is_named(name, len, "Date");
	header->has_message_id |= is_named(name, len, "Message-ID");
	if (header->policy.mode == HEADER_OFF)
		return HEADER_MORE;
	if (is_named(name, len, "From"))
		return once(header, &header->has_from, FATE_FROM, HEADER_FROM_REPEATED, fate_out);
	if (is_named(name, len, "Sender"))
		return once(
			header, &header->has_sender, FATE_SENDER, HEADER_SENDER_REPEATED, fate_out);
	return HEADER_MORE;
}

/* ------------------------------------------------------------------ the field that is held */

static const char *field_name(const struct header *header)
{
	return header->fate == FATE_FROM ? "From" : "Sender";
}

/* Behind the colon, in text. */
static size_t value_start(const struct header *header)
{
	const char *name_end = header->text + header->name_len;
	const char *colon = memchr(name_end, ':', header->text_len - header->name_len);

	require(colon != NULL);
	return (size_t)(colon + 1 - header->text);
}

/* ... and up to the line end that ends the field. */
static size_t value_length(const struct header *header)
{
	size_t start = value_start(header), end = header->text_len;

	end -= end > start && header->text[end - 1] == '\n';
	end -= end > start && header->text[end - 1] == '\r';
	return end - start;
}

static enum header_status release(struct header *header)
{
	free(header->list);
	header->list = NULL;
	header->fate = FATE_KEEP;
	return HEADER_MORE;
}

static enum header_status release_unchanged(struct header *header, struct evbuffer *out)
{
	header_write(header, header->text, header->text_len, out);
	return release(header);
}

/* ---------------------------------------------------------------------------- rewriting */

/* Exactly the envelope sender, to every reader. */
static bool says_sender(const struct header *header, const char *value, size_t len)
{
	const struct header_policy *policy = &header->policy;
	struct from_list *list = malloc(sizeof(*list));
	bool says = list != NULL && from_parse(value, len, policy->utf8, list) == FROM_OK &&
		    list->count == 1 &&
		    from_same(list->mailboxes[0].path.text, list->mailboxes[0].path.len,
			    policy->sender, policy->sender_len);

	free(list);
	return says;
}

static size_t put(char *out, size_t at, const char *bytes, size_t len)
{
	memcpy(out + at, bytes, len);
	return at + len;
}

/*
 * The value with the envelope sender in it, into out: in the place of a single address, with all
 * that stands around it; or of several mailboxes, or a group, the first one's name.
 */
static size_t substitute(const struct header *header, const char *value, size_t len, char *out)
{
	const struct from_mailbox *mailbox = &header->list->mailboxes[0];
	const struct header_policy *policy = &header->policy;
	size_t at = 0, rest = mailbox->at + mailbox->len;

	if (header->list->count == 1 && !header->list->group) {
		at = put(out, at, value, mailbox->at);
		at = put(out, at, policy->sender, policy->sender_len);
		return put(out, at, value + rest, len - rest);
	}
	at = put(out, at, " ", 1);
	at = put(out, at, value + mailbox->name_at, mailbox->name_len);
	at = put(out, at, " <", 2);
	at = put(out, at, policy->sender, policy->sender_len);
	return put(out, at, ">", 1);
}

/*
 * What was around the old address may be ambiguous beside the new one ("ceo@victim.example" as the
 * name, encoded): so the result is read again, and where it is not plain, only the address is kept.
 */
static enum header_status rewrite(
	struct header *header, enum header_reason reason, struct evbuffer *out)
{
	size_t start = value_start(header), len = value_length(header), new_len = 0;
	char *value = NULL;

	if (header->list->count > 0) {
		value = malloc(len + header->policy.sender_len + 8);
		if (value == NULL)
			return header_refuse(header, HEADER_NO_MEMORY);
		new_len = substitute(header, header->text + start, len, value);
	}
	if (value != NULL && says_sender(header, value, new_len)) {
		header_write(header, header->text, start, out);
		header_write(header, value, new_len, out);
		header_write(header, "\r\n", 2, out);
	} else if (says_sender(header, header->policy.sender, header->policy.sender_len)) {
		header_add_sender(header, field_name(header), out);
	} else {
		free(value);
		return header_refuse(header, reason);
	}
	free(value);
	header_note(header, reason);
	return release(header);
}

/* The field is not as it should be; found->why or found->address may say more. */
static enum header_status fault(
	struct header *header, enum header_reason reason, struct evbuffer *out)
{
	switch (header->policy.mode) {
	case HEADER_REJECT:
		return header_refuse(header, reason);
	case HEADER_REWRITE:
		return rewrite(header, reason, out);
	case HEADER_OFF:
	case HEADER_OBSERVE:
		break;
	}
	header_note(header, reason);
	return release_unchanged(header, out);
}

/* -------------------------------------------------------------------------- ownership */

static bool is_sender(const struct header *header, const struct path *path)
{
	const struct header_policy *policy = &header->policy;

	return policy->sender_len > 0 &&
	       from_same(path->text, path->len, policy->sender, policy->sender_len);
}

/* Goes on to the next address that must be asked for. */
static enum header_status ask(struct header *header, struct evbuffer *out)
{
	while (header->asking < header->list->count &&
		is_sender(header, &header->list->mailboxes[header->asking].path))
		header->asking++;
	return header->asking < header->list->count ? HEADER_ASK : release_unchanged(header, out);
}

const char *header_question(const struct header *header, size_t *len_out)
{
	const struct path *path;

	require(header->list != NULL && header->asking < header->list->count);
	path = &header->list->mailboxes[header->asking].path;
	*len_out = path->len;
	return path->text;
}

enum header_status header_answer(struct header *header, bool owned, struct evbuffer *out)
{
	enum header_status status;

	require(header->list != NULL && header->asking < header->list->count);
	if (owned) {
		header->asking++;
		status = ask(header, out);
	} else {
		if (header->found.reason == HEADER_FINE)
			header->found.address = header->list->mailboxes[header->asking].path;
		status = fault(header,
			header->fate == FATE_FROM ? HEADER_FROM_FOREIGN : HEADER_SENDER_FOREIGN,
			out);
	}
	return header->failed && status != HEADER_REFUSED ? header_refuse(header, HEADER_NO_MEMORY)
							  : status;
}

/* Reads the field that is held into list. */
static enum from_status read_held(struct header *header)
{
	const char *value = header->text + value_start(header);
	struct from_list *list = header->list;
	enum from_status why = from_parse(value, value_length(header), header->policy.utf8, list);

	if (why != FROM_OK)
		list->count = 0;
	else if (header->fate == FATE_SENDER && (list->count > 1 || list->group))
		why = FROM_TOO_MANY; /* RFC 5322 3.6.2: one mailbox */
	return why;
}

enum header_status header_decide(struct header *header, struct evbuffer *out)
{
	bool from = header->fate == FATE_FROM;
	enum from_status why;

	if (header->list != NULL) /* asked before, and not yet answered */
		return HEADER_ASK;
	header->list = malloc(sizeof(*header->list));
	if (header->list == NULL)
		return header_refuse(header, HEADER_NO_MEMORY);
	header->asking = 0;
	why = read_held(header);
	if (why != FROM_OK) {
		if (header->found.reason == HEADER_FINE)
			header->found.why = why;
		return fault(header, from ? HEADER_FROM_UNREADABLE : HEADER_SENDER_UNREADABLE, out);
	}
	if (from && header->list->count > 1) {
		if (header->policy.mode == HEADER_REWRITE)
			return fault(header, HEADER_FROM_SEVERAL, out);
		header->several = true;
	}
	return ask(header, out);
}

/* ----------------------------------------------------------------------------- the end */

static enum header_status check_complete(struct header *header, struct evbuffer *out)
{
	enum header_reason reason = HEADER_FINE;

	if (!header->has_from)
		reason = HEADER_FROM_MISSING;
	else if (header->several && !header->has_sender) /* RFC 5322 3.6.2 */
		reason = HEADER_FROM_SEVERAL;
	if (reason == HEADER_FINE)
		return HEADER_MORE;
	switch (header->policy.mode) {
	case HEADER_REJECT:
		return header_refuse(header, reason);
	case HEADER_REWRITE: /* there are never several */
		if (!says_sender(header, header->policy.sender, header->policy.sender_len))
			return header_refuse(header, reason);
		header_add_sender(header, "From", out);
		break;
	case HEADER_OFF:
		return HEADER_MORE;
	case HEADER_OBSERVE:
		break;
	}
	header_note(header, reason);
	return HEADER_MORE;
}

enum header_status header_complete(struct header *header, struct evbuffer *out)
{
	enum header_status status = check_complete(header, out);

	if (status != HEADER_MORE)
		return status;
	if (header->policy.add_date && !header->has_date)
		header_add_date(header, out);
	if (header->policy.add_message_id && !header->has_message_id)
		header_add_message_id(header, out);
	return HEADER_MORE;
}
