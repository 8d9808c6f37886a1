/* SPDX-License-Identifier: ISC */
/*
 * The value of a From field: the first octet says whether the transaction has SMTPUTF8, the rest is
 * the value.  What is accepted must be what a naive reader finds in it, fit for an envelope, and
 * the same without its folds.
 */
#include "proxy/from_header.h"

#include "tests/unit/header_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

/* Without what quoting and white space make of it. */
static size_t bare(const char *text, size_t len, char *out)
{
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		if (strchr("\"\\ \t\r\n", text[i]) == NULL)
			out[kept++] = text[i];
	}
	return kept;
}

static void check_reader(const char *value, size_t len, const struct from_list *list)
{
	struct reader reader = {0};
	char ours[IPC_PATH_MAX + 1];

	reader_value(&reader, value, len);
	must(reader.addresses == list->count && !reader.more);
	for (unsigned i = 0; i < list->count; i++) {
		const struct path *path = &list->mailboxes[i].path;
		size_t theirs_len = strlen(reader.address[i]);
		char *theirs = malloc(theirs_len + 1);
		size_t ours_len = bare(path->text, path->len, ours);

		must(theirs != NULL);
		must(bare(reader.address[i], theirs_len, theirs) == ours_len);
		must(memcmp(theirs, ours, ours_len) == 0);
		free(theirs);
	}
	reader_free(&reader);
}

static void check_list(const struct from_list *list, size_t len, bool utf8)
{
	must(list->count > 0 && list->count <= FROM_MAILBOXES_MAX);
	for (unsigned i = 0; i < list->count; i++) {
		const struct from_mailbox *mailbox = &list->mailboxes[i];
		char path[IPC_PATH_MAX + 2];
		struct path again;
		size_t consumed;

		must(mailbox->at + mailbox->len <= len && mailbox->len > 0);
		must(mailbox->name_at + mailbox->name_len <= mailbox->at);
		must(utf8 || !mailbox->path.utf8);
		path[0] = '<';
		memcpy(path + 1, mailbox->path.text, mailbox->path.len);
		path[mailbox->path.len + 1] = '>';
		must(command_parse_path(
			path, mailbox->path.len + 2u, false, false, &again, &consumed));
		must(consumed == mailbox->path.len + 2u && again.len == mailbox->path.len);
	}
}

static void check_unfolded(char *value, size_t len, bool utf8, const struct from_list *list)
{
	struct from_list again;
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		if (value[i] != '\r' && value[i] != '\n')
			value[kept++] = value[i];
	}
	must(from_parse(value, kept, utf8, &again) == FROM_OK && again.count == list->count);
	for (unsigned i = 0; i < list->count; i++)
		must(strcmp(again.mailboxes[i].path.text, list->mailboxes[i].path.text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct from_list list;
	bool utf8;
	char *value;

	if (size == 0)
		return 0;
	utf8 = (data[0] & 1) != 0;
	value = malloc(size);
	must(value != NULL);
	memcpy(value, data + 1, size - 1);
	if (from_parse(value, size - 1, utf8, &list) == FROM_OK) {
		check_list(&list, size - 1, utf8);
		check_reader(value, size - 1, &list);
		check_unfolded(value, size - 1, utf8, &list);
	}
	free(value);
	return 0;
}
