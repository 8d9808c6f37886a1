/* SPDX-License-Identifier: ISC */
/*
 * What each reason is called in the log, and what kind of reply it gets.  Proxy process; pure.
 */
#include "common/log.h"
#include "proxy/header.h"

enum header_fault header_fault(enum header_reason reason)
{
	switch (reason) {
	case HEADER_FINE:
		return HEADER_FAULT_NONE;
	case HEADER_FROM_FOREIGN:
	case HEADER_FROM_REPEATED:
	case HEADER_FROM_SEVERAL:
	case HEADER_SENDER_FOREIGN:
	case HEADER_SENDER_REPEATED:
		return HEADER_FAULT_POLICY;
	case HEADER_FROM_MISSING:
	case HEADER_FROM_UNREADABLE:
	case HEADER_SENDER_UNREADABLE:
	case HEADER_LINE_MALFORMED:
	case HEADER_LINE_FOLDED_FIRST:
	case HEADER_LINE_MBOX:
	case HEADER_LINE_LONG:
		return HEADER_FAULT_CONTENT;
	case HEADER_TOO_LARGE:
		return HEADER_FAULT_SIZE;
	case HEADER_NO_MEMORY:
		return HEADER_FAULT_OURS;
	}
	panic("no such reason");
}

const char *header_reason_word(enum header_reason reason)
{
	static const char *const words[] = {
		[HEADER_FINE] = "fine",
		[HEADER_FROM_FOREIGN] = "from-foreign",
		[HEADER_FROM_REPEATED] = "from-repeated",
		[HEADER_FROM_SEVERAL] = "from-several",
		[HEADER_SENDER_FOREIGN] = "sender-foreign",
		[HEADER_SENDER_REPEATED] = "sender-repeated",
		[HEADER_FROM_MISSING] = "from-missing",
		[HEADER_FROM_UNREADABLE] = "from-unreadable",
		[HEADER_SENDER_UNREADABLE] = "sender-unreadable",
		[HEADER_LINE_MALFORMED] = "line-malformed",
		[HEADER_LINE_FOLDED_FIRST] = "line-folded-first",
		[HEADER_LINE_MBOX] = "line-mbox",
		[HEADER_LINE_LONG] = "line-long",
		[HEADER_TOO_LARGE] = "header-too-large",
		[HEADER_NO_MEMORY] = "no-memory",
	};

	require(reason <= HEADER_NO_MEMORY);
	return words[reason];
}
