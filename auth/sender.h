/* SPDX-License-Identifier: ISC */
/*
 * Whether an account owns an envelope sender.  Pure.
 *
 * Rows are texts of the database: "a:user@example.test" one address, "d:example.test" any address
 * of exactly that domain, "*" any address.  Other kinds match nothing.  Letters A-Z and a-z are the
 * same, in the local part too: mailbox providers treat them so, and the log-in itself is
 * lower-cased.  No other equivalence (quoting, sub-addresses, IDN forms) is applied: what is not
 * plainly owned is not.
 *
 * The null reverse-path (RFC 5321 4.5.5) is owned by accounts with "*" or with the row "a:" (an
 * empty address): an ordinary account that could send from <> could send what no bounce ever
 * answers.
 */
#ifndef AUTH_SENDER_H
#define AUTH_SENDER_H

#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SENDER_ROWS_MAX = 32,                /* that a look-up brings along */
	SENDER_ROW_BYTES = 2 + IPC_PATH_MAX, /* the kind's two octets, then the value */
};

struct sender_list {
	uint32_t total;      /* rows in the database; more than count: not all are here */
	uint16_t count;      /* rows here */
	uint16_t bytes_used; /* packed: a length (2 octets, host order), then the row's text */
	uint8_t *bytes;      /* belongs to the account */
};

/* Appends one row; the caller made room for 2 + len octets.  len is at most SENDER_ROW_BYTES. */
void sender_list_add(struct sender_list *list, const void *row, size_t len);

enum sender_answer {
	SENDER_OWNED = 1,
	SENDER_FOREIGN,
	SENDER_ASK, /* not among the rows here, and the database has more */
};

/* address: without angle brackets; empty: the null reverse-path. */
enum sender_answer sender_match(const struct sender_list *list, const uint8_t *address,
	size_t address_len) __attribute__((warn_unused_result));

/* What may be asked of the database as text: no control octets, no NUL. */
bool sender_plain(const uint8_t *address, size_t address_len);

#endif
