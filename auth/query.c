/* SPDX-License-Identifier: ISC */
/*
 * The statements and their results; see query.h.
 *
 * Every column is cast in the statement, so that a function that somebody adapted may return a
 * compatible type; the types that arrive are checked all the same.
 */
#include "auth/query.h"

#include <string.h>

const struct query_info query_info[QUERY_COUNT] = {
	[QUERY_CONTRACT] = {"contract", "SELECT postern.contract()::int4", 0},
	[QUERY_ACCOUNT_LOOKUP] = {"account_lookup",
		"SELECT account_id::int8, version::int8, login::text, password_hash::text,"
		" enabled::bool, recipients::int4, message_bytes::int8, senders::text[],"
		" sender_count::int4, from_policy::text, token::text, password_version::int8"
		" FROM postern.account_lookup($1::text) LIMIT 2",
		1},
	[QUERY_ACCOUNT_REHASH] = {"account_rehash",
		"SELECT postern.account_rehash($1::int8, $2::int8, $3::text, $4::text)::bool", 4},
	[QUERY_SENDER_OWNED] = {"sender_owned",
		"SELECT postern.sender_owned($1::int8, $2::text)::bool", 2},
	[QUERY_QUOTA_TAKE] = {"quota_take",
		"SELECT result::int4, meter::text, meter_limit::int8, reset_s::int8, taken_s::int8"
		" FROM postern.quota_take($1::int8, $2::int4, $3::int4) LIMIT 2",
		3},
	[QUERY_QUOTA_GIVE_BACK] = {"quota_give_back",
		"SELECT postern.quota_give_back($1::int8, $2::int8, $3::int4, $4::int4)::bool", 4},
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
	[QUERY_CREDENTIAL_TAKE] = {"credential_take",
		"SELECT result::int4, meter::text, meter_limit::int8, reset_s::int8, taken_s::int8"
		" FROM postern.credential_take($1::int8, $2::int8, $3::int4, $4::int4) LIMIT 2",
		4},
	[QUERY_CREDENTIAL_GIVE_BACK] = {"credential_give_back",
		"SELECT postern.credential_give_back($1::int8, $2::int8, $3::int8, $4::int4,"
		" $5::int4)::bool",
		5},
};

/* pg_type.dat; the server's headers are no part of libpq-dev. */
enum {
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_TEXT_ARRAY = 1009,
	OID_INT8_ARRAY = 1016,
};

/* A cursor over one value in the binary format; every read is checked. */
struct cell {
	const uint8_t *bytes;
	size_t len;
	bool null;
};

static bool shape_is(const PGresult *rows, int columns, const Oid *types)
{
	if (PQnfields(rows) != columns || PQntuples(rows) > 1)
		return false;
	for (int i = 0; i < columns; i++) {
		if (PQftype(rows, i) != types[i] || PQfformat(rows, i) != 1)
			return false;
	}
	return true;
}

static struct cell cell_at(const PGresult *rows, int column)
{
	return (struct cell){
		.bytes = (const uint8_t *)PQgetvalue(rows, 0, column),
		.len = (size_t)PQgetlength(rows, 0, column),
		.null = PQgetisnull(rows, 0, column) == 1,
	};
}

/* Network order, two's complement. */
static bool read_integer(struct cell *cell, size_t width, int64_t *out)
{
	uint64_t value = 0;

	if (cell->len < width)
		return false;
	for (size_t i = 0; i < width; i++)
		value = value << 8 | cell->bytes[i];
	if (width == 4)
		*out = (int32_t)(uint32_t)value;
	else
		*out = (int64_t)value;
	cell->bytes += width;
	cell->len -= width;
	return true;
}

/* A whole column; NULL reads as if_null, a negative value is bad. */
static bool get_natural(
	const PGresult *rows, int column, size_t width, int64_t if_null, uint64_t *out)
{
	struct cell cell = cell_at(rows, column);
	int64_t value = if_null;

	if (!cell.null && (!read_integer(&cell, width, &value) || cell.len != 0))
		return false;
	if (value < 0)
		return false;
	*out = (uint64_t)value;
	return true;
}

static bool get_bool(const PGresult *rows, int column, bool *out)
{
	struct cell cell = cell_at(rows, column);

	if (cell.null || cell.len != 1 || cell.bytes[0] > 1)
		return false;
	*out = cell.bytes[0] == 1;
	return true;
}

bool query_parse_contract(const PGresult *rows, int32_t *version_out)
{
	static const Oid types[] = {OID_INT4};
	uint64_t version;

	if (!shape_is(rows, 1, types) || PQntuples(rows) != 1 ||
		!get_natural(rows, 0, 4, -1, &version))
		return false;
	*version_out = (int32_t)version;
	return true;
}

bool query_parse_bool(const PGresult *rows, bool *out)
{
	static const Oid types[] = {OID_BOOL};

	return shape_is(rows, 1, types) && PQntuples(rows) == 1 && get_bool(rows, 0, out);
}

/* The head of a one-dimensional array; leaves the cursor at its first element. */
static bool read_array_head(struct cell *cell, Oid of, int64_t max, int64_t *count_out)
{
	int64_t dimensions, has_null, type, lower;

	if (!read_integer(cell, 4, &dimensions) || !read_integer(cell, 4, &has_null) ||
		!read_integer(cell, 4, &type) || type != of)
		return false;
	*count_out = 0;
	if (dimensions == 0)
		return true;
	return dimensions == 1 && read_integer(cell, 4, count_out) &&
	       read_integer(cell, 4, &lower) && *count_out >= 0 && *count_out <= max;
}

/* Walks the elements; with list == NULL it only measures. */
static bool walk_senders(struct cell cell, struct sender_list *list, size_t *packed_out)
{
	int64_t count, len;

	*packed_out = 0;
	if (cell.null)
		return true;
	if (!read_array_head(&cell, OID_TEXT, SENDER_ROWS_MAX, &count))
		return false;
	for (int64_t i = 0; i < count; i++) {
		if (!read_integer(&cell, 4, &len) || len < 0 || len > SENDER_ROW_BYTES ||
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
	struct cell cell = cell_at(rows, column);

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
	struct cell cell = cell_at(rows, column);

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
	struct cell cell = cell_at(rows, column);

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
	struct cell cell = cell_at(rows, column);

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
	ACCOUNT_COLUMNS,
};

static bool read_account(const PGresult *rows, struct account *account)
{
	uint64_t recipients, total;
	size_t packed;

	if (!get_natural(rows, ID, 8, -1, &account->id) || account->id == 0 ||
		!get_natural(rows, VERSION, 8, -1, &account->version) ||
		!get_natural(rows, PASSWORD_VERSION, 8, -1, &account->password_version) ||
		!read_login(rows, LOGIN, account) || !get_bool(rows, ENABLED, &account->enabled) ||
		!get_natural(rows, RECIPIENTS, 4, 0, &recipients) ||
		!get_natural(rows, MESSAGE_BYTES, 8, 0, &account->message_bytes) ||
		!get_natural(rows, SENDER_COUNT, 4, 0, &total) ||
		!read_from_policy(rows, FROM_POLICY, account) || !read_token(rows, TOKEN, account))
		return false;
	account->recipients = (uint32_t)recipients;
	account->senders.total = (uint32_t)total;
	read_hash(rows, HASH, account);
	return walk_senders(cell_at(rows, SENDERS), &account->senders, &packed);
}

enum query_answer query_parse_account(const PGresult *rows, struct account **account_out)
{
	static const Oid types[ACCOUNT_COLUMNS] = {OID_INT8, OID_INT8, OID_TEXT, OID_TEXT, OID_BOOL,
		OID_INT4, OID_INT8, OID_TEXT_ARRAY, OID_INT4, OID_TEXT, OID_TEXT, OID_INT8};
	size_t packed;

	*account_out = NULL;
	if (!shape_is(rows, ACCOUNT_COLUMNS, types))
		return QUERY_BAD;
	if (PQntuples(rows) == 0)
		return QUERY_NO_ROW;
	if (!walk_senders(cell_at(rows, SENDERS), NULL, &packed))
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

bool query_parse_quota(const PGresult *rows, struct query_quota_row *out)
{
	static const Oid types[] = {OID_INT4, OID_TEXT, OID_INT8, OID_INT8, OID_INT8};
	uint64_t result;

	memset(out, 0, sizeof *out);
	if (!shape_is(rows, 5, types) || PQntuples(rows) != 1 ||
		!get_natural(rows, 0, 4, -1, &result) || result > QUERY_QUOTA_REVOKED ||
		!get_natural(rows, 2, 8, 0, &out->limit) ||
		!get_natural(rows, 3, 8, 0, &out->reset_s) ||
		!get_natural(rows, 4, 8, 0, &out->taken_s))
		return false;
	struct cell meter = cell_at(rows, 1);
	if (meter.len > sizeof out->meter || (result == QUERY_QUOTA_GRANTED && out->taken_s == 0))
		return false;
	memcpy(out->meter, meter.bytes, meter.len);
	out->meter_len = (uint8_t)meter.len;
	out->result = (enum query_quota)result;
	return true;
}

/* A text without NUL, ended by one. */
static bool get_text(const PGresult *rows, int column, char *out, size_t max)
{
	struct cell cell = cell_at(rows, column);

	if (cell.null || cell.len == 0 || cell.len > max || memchr(cell.bytes, 0, cell.len) != NULL)
		return false;
	memcpy(out, cell.bytes, cell.len);
	out[cell.len] = '\0';
	return true;
}

static bool get_ids(const PGresult *rows, int column, uint64_t *ids, size_t *count_out)
{
	struct cell cell = cell_at(rows, column);
	int64_t count, len, id;

	if (cell.null || !read_array_head(&cell, OID_INT8, QUERY_CHANGES_MAX, &count))
		return false;
	for (int64_t i = 0; i < count; i++) {
		if (!read_integer(&cell, 4, &len) || len != 8 || !read_integer(&cell, 8, &id) ||
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

	return shape_is(rows, 6, types) && PQntuples(rows) == 1 &&
	       get_text(rows, 0, out->cursor, QUERY_CURSOR_MAX) &&
	       get_bool(rows, 1, &out->everything) &&
	       get_ids(rows, 2, out->accounts, &out->account_count) &&
	       get_ids(rows, 3, out->credentials, &out->credential_count) &&
	       get_bool(rows, 4, &out->blocks) && get_text(rows, 5, out->epoch, QUERY_EPOCH_MAX);
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
	struct cell cell = cell_at(rows, CREDENTIAL_HASH);

	if (cell.null || cell.len != sizeof credential->hash)
		return false;
	memcpy(credential->hash, cell.bytes, cell.len);
	return true;
}

/* A network that cannot be read is no answer: left out, it might widen the credential. */
static bool read_networks(const PGresult *rows, struct credential *credential)
{
	struct cell cell = cell_at(rows, CREDENTIAL_NETWORKS);
	char text[NETWORK_TEXT_MAX];
	int64_t count, len;

	if (cell.null || !read_array_head(&cell, OID_TEXT, CREDENTIAL_NETWORKS_MAX, &count))
		return false;
	for (int64_t i = 0; i < count; i++) {
		if (!read_integer(&cell, 4, &len) || len <= 0 || len >= (int64_t)sizeof text ||
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

	if (!get_natural(rows, CREDENTIAL_NUMBER, 8, -1, &credential->number) ||
		!credential_number_valid(credential->number) ||
		!get_natural(rows, CREDENTIAL_ACCOUNT, 8, -1, &credential->account) ||
		!get_natural(rows, CREDENTIAL_VERSION, 8, -1, &credential->version) ||
		!get_text(rows, CREDENTIAL_KEY_ID, credential->key_id, CREDENTIAL_KEY_ID_LEN) ||
		!read_credential_hash(rows, credential) ||
		!get_bool(rows, CREDENTIAL_ENABLED, &credential->enabled) ||
		!get_natural(rows, CREDENTIAL_EXPIRES, 8, 0, &credential->expires_s) ||
		!read_networks(rows, credential) || cell_at(rows, CREDENTIAL_SENDERS).null ||
		!walk_senders(cell_at(rows, CREDENTIAL_SENDERS), &credential->senders, &packed))
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
	if (!shape_is(rows, CREDENTIAL_COLUMNS, types))
		return QUERY_BAD;
	if (PQntuples(rows) == 0)
		return QUERY_NO_ROW;
	if (!walk_senders(cell_at(rows, CREDENTIAL_SENDERS), NULL, &packed))
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
static bool get_bytes(const PGresult *rows, int column, struct query_bytes *out)
{
	struct cell cell = cell_at(rows, column);

	*out = (struct query_bytes){cell.bytes, cell.len};
	return !cell.null;
}

bool query_parse_blocks(const PGresult *rows, uint64_t *now_s_out, struct query_bytes *list_out)
{
	static const Oid types[] = {OID_INT8, OID_TEXT};

	return shape_is(rows, 2, types) && PQntuples(rows) == 1 &&
	       get_natural(rows, 0, 8, -1, now_s_out) && get_bytes(rows, 1, list_out);
}

bool query_parse_guard(
	const PGresult *rows, struct query_bytes *seed_out, struct query_bytes *records_out)
{
	static const Oid types[] = {OID_BYTEA, OID_BYTEA};

	return shape_is(rows, 2, types) && PQntuples(rows) == 1 && get_bytes(rows, 0, seed_out) &&
	       get_bytes(rows, 1, records_out);
}
