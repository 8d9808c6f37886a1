/* SPDX-License-Identifier: ISC */
/*
 * Credentials as the database told them, remembered by number: the rules are row_cache.h's, the key
 * and the id are the number.
 */
#ifndef AUTH_CREDENTIAL_CACHE_H
#define AUTH_CREDENTIAL_CACHE_H

#include "auth/credential.h"
#include "auth/row_cache.h"

/* credential is NULL unless ROW_KNOWN, and valid during the call only. */
typedef void credential_done(
	enum row_answer answer, const struct credential *credential, void *arg, uint64_t token);

extern const struct row_kind credential_rows; /* for row_cache_new() */

/* Which credential a look-up of row_cache_settings.lookup is to bring. */
uint64_t credential_cache_key(const uint8_t *key, size_t key_len);

/* row_cache.h's functions of the same names, of credentials by number; see there.  number is valid.
 */
void credential_cache_get(struct row_cache *credentials, uint64_t number, bool fresh,
	uint64_t now_ms, credential_done *done, void *arg, uint64_t token);
void credential_cache_answer(struct row_cache *credentials, uint64_t ticket, enum row_answer answer,
	struct credential *credential, uint64_t now_ms);
const struct credential *credential_cache_remembered(
	const struct row_cache *credentials, uint64_t number, uint64_t age_ms, uint64_t now_ms);

#endif
