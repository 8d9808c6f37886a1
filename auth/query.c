/* SPDX-License-Identifier: ISC */
/*
 * The statements and their results; see query.h.
 *
 * Every column is cast in the statement, so that a function that somebody adapted may return a
 * compatible type; the types that arrive are checked all the same.
 */
#include "auth/query_cell.h"

#include <string.h>

const struct query_info query_info[QUERY_COUNT] = {
	[QUERY_CONTRACT] = {"contract", "SELECT postern.contract()::int4", 0},
	[QUERY_ACCOUNT_LOOKUP] = {"account_lookup",
		"SELECT account_id::int8, version::int8, login::text, password_hash::text,"
		" enabled::bool, recipients::int4, message_bytes::int8, senders::text[],"
		" sender_count::int4, from_policy::text, token::text, password_version::int8,"
		" sessions::int8, burst_messages::int8, burst_recipients::int8,"
		" grace_messages::int8, grace_recipients::int8, grace_bytes::int8,"
		" wants_bytes::bool, wants_recipients::bool, leasable::bool"
		" FROM postern.account_lookup($1::text) LIMIT 2",
		1},
	[QUERY_ACCOUNT_REHASH] = {"account_rehash",
		"SELECT postern.account_rehash($1::int8, $2::int8, $3::text, $4::text)::bool", 4},
	[QUERY_SENDER_OWNED] = {"sender_owned",
		"SELECT postern.sender_owned($1::int8, $2::text)::bool", 2},
	[QUERY_TAKES] = {"takes",
		"SELECT number::int4, result::int4, meter::text, meter_limit::int8, used::int8,"
		" reset_s::int8, receipt::text, warned::text"
		" FROM postern.takes($1::int8, $2::int8, $3::int8[], $4::int8[], $5::text[],"
		" $6::int4[], $7::int4[], $8::int8[], $9::int4[], $10::int8[])",
		10},
	[QUERY_TAKES_GIVE_BACK] = {"takes_give_back",
		"SELECT number::int4, returned::bool"
		" FROM postern.takes_give_back($1::text[], $2::int4[], $3::int4[], $4::int8[],"
		" $5::int4[], $6::int8[])",
		6},
	[QUERY_LEASE_TAKE] = {"lease_take",
		"SELECT result::int4, meter::text, meter_limit::int8, used::int8, reset_s::int8,"
		" receipt::text, warned::text, lease::int8, messages::int8, recipients::int8,"
		" bytes::int8, ttl_s::int4"
		" FROM postern.lease_take($1::int8, $2::int8, $3::int8, $4::int8, $5::text,"
		" $6::int4, $7::int4, $8::int8, $9::int4, $10::int4, $11::int8, $12::int4)"
		" LIMIT 2",
		12},
	[QUERY_LEASE_RETURN] = {"lease_return",
		"SELECT count(*)::int8 FROM (SELECT postern.lease_return($1::int8[], $2::int4[],"
		" $3::int4[], $4::int8[])) AS returned",
		4},
	[QUERY_CHARGES] = {"charges",
		"SELECT postern.charges($1::int8, $2::int8[], $3::text[], $4::int8[], $5::int8[],"
		" $6::text[], $7::int4[], $8::int4[], $9::int8[])::int8",
		9},
	[QUERY_NODE_ALIVE] = {"node_alive", "SELECT postern.node_alive($1::int8, $2::text)::int8",
		2},
	[QUERY_SESSIONS_HOLD] = {"sessions_hold",
		"SELECT number::int4, granted::bool, session_limit::int8"
		" FROM postern.sessions_hold($1::int8, $2::int8[], $3::int4[])",
		3},
	/* The first time the cursor is empty: there is none. */
	[QUERY_CHANGES_SINCE] = {"changes_since",
		"SELECT cursor::text, everything::bool, accounts::int8[], credentials::int8[],"
		" blocks::bool, epoch::text"
		" FROM postern.changes_since(nullif($1::text, '')) LIMIT 2",
		1},
	[QUERY_CHANGES_CLEAN] = {"changes_clean", "SELECT postern.changes_clean()::int8", 0},
	[QUERY_CREDENTIAL_LOOKUP] = {"credential_lookup",
		"SELECT credential_id::int8, account_id::int8, version::int8, key_id::text,"
		" hash::bytea, enabled::bool, expires_s::int8, networks::text[], senders::text[]"
		" FROM postern.credential_lookup($1::text) LIMIT 2",
		1},
	[QUERY_CREDENTIAL_USED] = {"credential_used",
		"SELECT postern.credential_used($1::int8[], $2::int8[], $3::text[], $4::text[])"
		"::int8",
		4},
	[QUERY_BLOCKS] = {"blocks", "SELECT now_s::int8, list::text FROM postern.blocks()", 0},
	[QUERY_BLOCK_PUT] = {"block_put",
		"SELECT postern.block_put($1::text, $2::int8, $3::text)::bool", 3},
	[QUERY_GUARD_LOAD] = {"guard_load",
		"SELECT seed::bytea, records::bytea FROM postern.guard_load($1::int4, $2::int4)",
		2},
	[QUERY_GUARD_SAVE] = {"guard_save", "SELECT postern.guard_save($1::jsonb, $2::int8)::int8",
		2},
	[QUERY_REFUSALS_PUT] = {"refusals_put",
		"SELECT true FROM postern.refusals_put($1::int8, $2::int8[], $3::int8[], "
		"$4::int8[],"
		" $5::int8[], $6::int8[], $7::text[], $8::text[], $9::text[], $10::int4[],"
		" $11::text[], $12::int8[], $13::int8[], $14::int8[])",
		14},
	[QUERY_USAGE_PUT] = {"usage_put",
		"SELECT postern.usage_put($1::int8, $2::int8, $3::int8, $4::int8[], $5::int8[],"
		" $6::int8[], $7::int8[], $8::text[], $9::int4[], $10::int8[], $11::text[],"
		" $12::text[], $13::text[], $14::int8[], $15::int8[], $16::bool[])::bool",
		16},
	[QUERY_USAGE_MAINTAIN] = {"usage_maintain", "SELECT postern.usage_maintain()::bool", 0},
};

bool query_parse_contract(const PGresult *rows, int32_t *version_out)
{
	static const Oid types[] = {OID_INT4};
	uint64_t version;

	if (!cell_shape(rows, 1, 1, types) || PQntuples(rows) != 1 ||
		!cell_natural(rows, 0, 0, 4, -1, &version))
		return false;
	*version_out = (int32_t)version;
	return true;
}

bool query_parse_bool(const PGresult *rows, bool *out)
{
	static const Oid types[] = {OID_BOOL};

	return cell_shape(rows, 1, 1, types) && PQntuples(rows) == 1 && cell_bool(rows, 0, 0, out);
}

/* Walks the elements; with list == NULL it only measures. */
static bool walk_senders(struct cell cell, struct sender_list *list, size_t *packed_out)
{
	int64_t count, len;

	*packed_out = 0;
	if (cell.null)
		return true;
	if (!cell_array(&cell, OID_TEXT, SENDER_ROWS_MAX, &count))
		return false;
	for (int64_t i = 0; i < count; i++) {
		if (!cell_integer(&cell, 4, &len) || len < 0 || len > SENDER_ROW_BYTES ||
			cell.len < (size_t)len)
			return false;
		if (list != NULL)
			sender_list_add(list, cell.bytes, (size_t)len);
		*packed_out += sizeof(uint16_t) + (size_t)len;
		cell.bytes += len;
		cell.len -= (size_t)len;
	}
	return cell.len == 0;
}

static bool read_login(const PGresult *rows, int column, struct account *account)
{
	struct cell cell = cell_at(rows, 0, column);

	if (cell.null || cell.len == 0 || cell.len > sizeof account->login ||
		memchr(cell.bytes, 0, cell.len) != NULL)
		return false;
	memcpy(account->login, cell.bytes, cell.len);
	account->login_len = (uint16_t)cell.len;
	return true;
}

/* A hash that fits no scheme is the account's trouble, not the database's. */
static void read_hash(const PGresult *rows, int column, struct account *account)
{
	struct cell cell = cell_at(rows, 0, column);

	if (cell.null || cell.len == 0)
		return;
	if (cell.len >= sizeof account->phc || memchr(cell.bytes, 0, cell.len) != NULL) {
		account->hash_malformed = true;
		return;
	}
	memcpy(account->phc, cell.bytes, cell.len);
	account->phc_len = (uint16_t)cell.len;
}

/* An unknown word is no answer: read as "the listener's", it might let through what was forbidden.
 */
static bool read_from_policy(const PGresult *rows, int column, struct account *account)
{
	static const char *const words[] = {[IPC_FROM_OFF] = "off",
		[IPC_FROM_OBSERVE] = "observe",
		[IPC_FROM_REJECT] = "reject",
		[IPC_FROM_REWRITE] = "rewrite"};
	struct cell cell = cell_at(rows, 0, column);

	account->from_policy = IPC_FROM_LISTENER;
	if (cell.null)
		return true;
	for (size_t i = IPC_FROM_OFF; i < sizeof words / sizeof *words; i++) {
		if (strlen(words[i]) == cell.len && memcmp(words[i], cell.bytes, cell.len) == 0) {
			account->from_policy = (enum ipc_from_policy)i;
			return true;
		}
	}
	return false;
}

/* It goes into a header as it is. */
static bool read_token(const PGresult *rows, int column, struct account *account)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	struct cell cell = cell_at(rows, 0, column);

	if (cell.null)
		return true;
	if (cell.len == 0 || cell.len > sizeof account->token)
		return false;
	for (size_t i = 0; i < cell.len; i++) {
		if (memchr(allowed, cell.bytes[i], sizeof allowed - 1) == NULL)
			return false;
	}
	memcpy(account->token, cell.bytes, cell.len);
	account->token_len = (uint8_t)cell.len;
	return true;
}

enum {
	ID,
	VERSION,
	LOGIN,
	HASH,
	ENABLED,
	RECIPIENTS,
	MESSAGE_BYTES,
	SENDERS,
	SENDER_COUNT,
	FROM_POLICY,
	TOKEN,
	PASSWORD_VERSION,
	SESSIONS,
	BURST_MESSAGES,
	BURST_RECIPIENTS,
	GRACE_MESSAGES,
	GRACE_RECIPIENTS,
	GRACE_BYTES,
	WANTS_BYTES,
	WANTS_RECIPIENTS,
	LEASABLE,
	ACCOUNT_COLUMNS,
};

/* -1 is none at all; 0 is a limit. */
static bool read_limit(const PGresult *rows, int column, int64_t *out)
{
	return cell_number(rows, 0, column, 8, out) && *out >= ACCOUNT_UNLIMITED;
}

static bool read_meters(const PGresult *rows, struct account_meters *meters)
{
	return read_limit(rows, SESSIONS, &meters->sessions) &&
	       read_limit(rows, BURST_MESSAGES, &meters->burst_messages) &&
	       read_limit(rows, BURST_RECIPIENTS, &meters->burst_recipients) &&
	       read_limit(rows, GRACE_MESSAGES, &meters->grace_messages) &&
	       read_limit(rows, GRACE_RECIPIENTS, &meters->grace_recipients) &&
	       read_limit(rows, GRACE_BYTES, &meters->grace_bytes) &&
	       cell_bool(rows, 0, WANTS_BYTES, &meters->wants_bytes) &&
	       cell_bool(rows, 0, WANTS_RECIPIENTS, &meters->wants_recipients) &&
	       cell_bool(rows, 0, LEASABLE, &meters->leasable);
}

static bool read_account(const PGresult *rows, struct account *account)
{
	uint64_t recipients, total;
	size_t packed;

	if (!cell_natural(rows, 0, ID, 8, -1, &account->id) || account->id == 0 ||
		!cell_natural(rows, 0, VERSION, 8, -1, &account->version) ||
		!cell_natural(rows, 0, PASSWORD_VERSION, 8, -1, &account->password_version) ||
		!read_login(rows, LOGIN, account) ||
		!cell_bool(rows, 0, ENABLED, &account->enabled) ||
		!cell_natural(rows, 0, RECIPIENTS, 4, 0, &recipients) ||
		!cell_natural(rows, 0, MESSAGE_BYTES, 8, 0, &account->message_bytes) ||
		!cell_natural(rows, 0, SENDER_COUNT, 4, 0, &total) ||
		!read_from_policy(rows, FROM_POLICY, account) ||
		!read_token(rows, TOKEN, account) || !read_meters(rows, &account->meters))
		return false;
	account->recipients = (uint32_t)recipients;
	account->senders.total = (uint32_t)total;
	read_hash(rows, HASH, account);
	return walk_senders(cell_at(rows, 0, SENDERS), &account->senders, &packed);
}

enum query_answer query_parse_account(const PGresult *rows, struct account **account_out)
{
	static const Oid types[ACCOUNT_COLUMNS] = {OID_INT8, OID_INT8, OID_TEXT, OID_TEXT, OID_BOOL,
		OID_INT4, OID_INT8, OID_TEXT_ARRAY, OID_INT4, OID_TEXT, OID_TEXT, OID_INT8,
		OID_INT8, OID_INT8, OID_INT8, OID_INT8, OID_INT8, OID_INT8, OID_BOOL, OID_BOOL,
		OID_BOOL};
	size_t packed;

	*account_out = NULL;
	if (!cell_shape(rows, 1, ACCOUNT_COLUMNS, types))
		return QUERY_BAD;
	if (PQntuples(rows) == 0)
		return QUERY_NO_ROW;
	if (!walk_senders(cell_at(rows, 0, SENDERS), NULL, &packed))
		return QUERY_BAD;
	struct account *account = account_new(packed);
	if (account == NULL)
		return QUERY_BAD;
	if (!read_account(rows, account)) {
		account_destroy(&account);
		return QUERY_BAD;
	}
	*account_out = account;
	return QUERY_ROW;
}

static bool get_ids(const PGresult *rows, int column, uint64_t *ids, size_t *count_out)
{
	struct cell cell = cell_at(rows, 0, column);
	int64_t count, len, id;

	if (cell.null || !cell_array(&cell, OID_INT8, QUERY_CHANGES_MAX, &count))
		return false;
	for (int64_t i = 0; i < count; i++) {
		if (!cell_integer(&cell, 4, &len) || len != 8 || !cell_integer(&cell, 8, &id) ||
			id <= 0)
			return false;
		ids[i] = (uint64_t)id;
	}
	*count_out = (size_t)count;
	return cell.len == 0;
}

bool query_parse_changes(const PGresult *rows, struct query_changes *out)
{
	static const Oid types[] = {
		OID_TEXT, OID_BOOL, OID_INT8_ARRAY, OID_INT8_ARRAY, OID_BOOL, OID_TEXT};

	return cell_shape(rows, 1, 6, types) && PQntuples(rows) == 1 &&
	       cell_text(rows, 0, 0, out->cursor, QUERY_CURSOR_MAX) &&
	       cell_bool(rows, 0, 1, &out->everything) &&
	       get_ids(rows, 2, out->accounts, &out->account_count) &&
	       get_ids(rows, 3, out->credentials, &out->credential_count) &&
	       cell_bool(rows, 0, 4, &out->blocks) &&
	       cell_text(rows, 0, 5, out->epoch, QUERY_EPOCH_MAX);
}

/* --------------------------------------------------------------- credentials */
enum {
	CREDENTIAL_NUMBER,
	CREDENTIAL_ACCOUNT,
	CREDENTIAL_VERSION,
	CREDENTIAL_KEY_ID,
	CREDENTIAL_HASH,
	CREDENTIAL_ENABLED,
	CREDENTIAL_EXPIRES,
	CREDENTIAL_NETWORKS,
	CREDENTIAL_SENDERS,
	CREDENTIAL_COLUMNS,
};

static bool read_credential_hash(const PGresult *rows, struct credential *credential)
{
	struct cell cell = cell_at(rows, 0, CREDENTIAL_HASH);

	if (cell.null || cell.len != sizeof credential->hash)
		return false;
	memcpy(credential->hash, cell.bytes, cell.len);
	return true;
}

/* A network that cannot be read is no answer: left out, it might widen the credential. */
static bool read_networks(const PGresult *rows, struct credential *credential)
{
	struct cell cell = cell_at(rows, 0, CREDENTIAL_NETWORKS);
	char text[NETWORK_TEXT_MAX];
	int64_t count, len;

	if (cell.null || !cell_array(&cell, OID_TEXT, CREDENTIAL_NETWORKS_MAX, &count))
		return false;
	for (int64_t i = 0; i < count; i++) {
		if (!cell_integer(&cell, 4, &len) || len <= 0 || len >= (int64_t)sizeof text ||
			cell.len < (size_t)len)
			return false;
		memcpy(text, cell.bytes, (size_t)len);
		text[len] = '\0';
		if (strlen(text) != (size_t)len || !network_parse(text, &credential->networks[i]))
			return false;
		cell.bytes += len;
		cell.len -= (size_t)len;
	}
	credential->network_count = (size_t)count;
	return cell.len == 0;
}

static bool read_credential(const PGresult *rows, struct credential *credential)
{
	size_t packed;

	if (!cell_natural(rows, 0, CREDENTIAL_NUMBER, 8, -1, &credential->number) ||
		!credential_number_valid(credential->number) ||
		!cell_natural(rows, 0, CREDENTIAL_ACCOUNT, 8, -1, &credential->account) ||
		!cell_natural(rows, 0, CREDENTIAL_VERSION, 8, -1, &credential->version) ||
		!cell_text(rows, 0, CREDENTIAL_KEY_ID, credential->key_id, CREDENTIAL_KEY_ID_LEN) ||
		!read_credential_hash(rows, credential) ||
		!cell_bool(rows, 0, CREDENTIAL_ENABLED, &credential->enabled) ||
		!cell_natural(rows, 0, CREDENTIAL_EXPIRES, 8, 0, &credential->expires_s) ||
		!read_networks(rows, credential) || cell_at(rows, 0, CREDENTIAL_SENDERS).null ||
		!walk_senders(cell_at(rows, 0, CREDENTIAL_SENDERS), &credential->senders, &packed))
		return false;
	credential->senders.total = credential->senders.count;
	return true;
}

enum query_answer query_parse_credential(const PGresult *rows, struct credential **credential_out)
{
	static const Oid types[CREDENTIAL_COLUMNS] = {OID_INT8, OID_INT8, OID_INT8, OID_TEXT,
		OID_BYTEA, OID_BOOL, OID_INT8, OID_TEXT_ARRAY, OID_TEXT_ARRAY};
	size_t packed;

	*credential_out = NULL;
	if (!cell_shape(rows, 1, CREDENTIAL_COLUMNS, types))
		return QUERY_BAD;
	if (PQntuples(rows) == 0)
		return QUERY_NO_ROW;
	if (!walk_senders(cell_at(rows, 0, CREDENTIAL_SENDERS), NULL, &packed))
		return QUERY_BAD;
	struct credential *credential = credential_new(packed);
	if (credential == NULL)
		return QUERY_BAD;
	if (!read_credential(rows, credential)) {
		credential_destroy(&credential);
		return QUERY_BAD;
	}
	*credential_out = credential;
	return QUERY_ROW;
}

/* --------------------------------------------------------------------- guard */
bool query_parse_blocks(const PGresult *rows, uint64_t *now_s_out, struct query_bytes *list_out)
{
	static const Oid types[] = {OID_INT8, OID_TEXT};

	return cell_shape(rows, 1, 2, types) && PQntuples(rows) == 1 &&
	       cell_natural(rows, 0, 0, 8, -1, now_s_out) && cell_bytes(rows, 0, 1, list_out);
}

bool query_parse_guard(
	const PGresult *rows, struct query_bytes *seed_out, struct query_bytes *records_out)
{
	static const Oid types[] = {OID_BYTEA, OID_BYTEA};

	return cell_shape(rows, 1, 2, types) && PQntuples(rows) == 1 &&
	       cell_bytes(rows, 0, 0, seed_out) && cell_bytes(rows, 0, 1, records_out);
}
