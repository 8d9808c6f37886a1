-- SPDX-License-Identifier: ISC
-- The guard against guessing: blocks, which all nodes share, and what a node's guard wants to remember.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- Networks that no node lets in.  Accounts are blocked in their own rows.
CREATE TABLE block (
	network cidr PRIMARY KEY,
	until timestamptz NOT NULL,
	reason text NOT NULL DEFAULT '',
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	created_by text COLLATE "C" NOT NULL DEFAULT session_user
);

CREATE TRIGGER note_insert AFTER INSERT ON block FOR EACH STATEMENT EXECUTE FUNCTION change_note('block');
CREATE TRIGGER note_update AFTER UPDATE ON block FOR EACH STATEMENT EXECUTE FUNCTION change_note('block');
CREATE TRIGGER note_delete AFTER DELETE ON block FOR EACH STATEMENT EXECUTE FUNCTION change_note('block');

SELECT audit_attach('block', 'network', 'network');

-- Counts under keyed digests: neither a name, nor an address, nor anything of a secret stands here.
-- kind 1: an account is known in a network; 2: wrong guesses of both; 3: of a network; 4: of an account.
CREATE TABLE guard_record (
	kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 4),
	key bytea NOT NULL CHECK (octet_length(key) = 16),
	wrong int NOT NULL CHECK (wrong >= 0),       -- thousandths, as of saved_at, as the next two
	names int NOT NULL CHECK (names >= 0),
	strikes int NOT NULL CHECK (strikes >= 0),
	known_until timestamptz NOT NULL,
	saved_at timestamptz NOT NULL,
	keep_until timestamptz NOT NULL,             -- afterwards it says nothing any more
	PRIMARY KEY (kind, key)
) WITH (fillfactor = 70);

CREATE INDEX guard_record_keep ON guard_record (keep_until);
CREATE INDEX guard_record_saved ON guard_record (saved_at);

-- The key of those digests: made once, the same for all nodes.
CREATE TABLE guard_seed (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	seed bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
		CHECK (octet_length(seed) = 32)
);
INSERT INTO guard_seed DEFAULT VALUES;

-- ------------------------------------------------------------------ the service

-- What holds at present: the number of seconds since 1970, and of each block "network until", the latest
-- 4096, in a fixed order.
CREATE FUNCTION blocks() RETURNS TABLE (now_s bigint, list text)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT date_part('epoch', clock_timestamp())::bigint, coalesce(string_agg(
		b.network::text || ' ' || ceil(date_part('epoch', b.until))::bigint, ',' ORDER BY b.network), '')
	FROM (
		SELECT network, until FROM block WHERE until > clock_timestamp()
		ORDER BY created_at DESC LIMIT 4096
	) b;
END
$$;

-- A node blocks a network.  A block that ends later stays as it is.
CREATE FUNCTION block_put(network text, for_s bigint, reason text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF block_put.for_s NOT BETWEEN 1 AND 100 * 86400 THEN
		RAISE EXCEPTION 'a block lasts 1 second to 100 days' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	DELETE FROM block WHERE until <= clock_timestamp();
	INSERT INTO block AS known (network, until, reason)
	VALUES (network_parsed(block_put.network), clock_timestamp() + make_interval(secs => block_put.for_s),
		left(block_put.reason, 200))
	ON CONFLICT (network) DO UPDATE SET until = excluded.until, reason = excluded.reason
	WHERE known.until < excluded.until;
	RETURN FOUND;
END
$$;

-- The seed, and the records that still say something of those saved within so many seconds (by any node),
-- newest first, each 53 octets in network order: kind
-- (1), key (16), wrong, names, strikes (4 each), known and keep in milliseconds from now (8 each), and
-- the age in milliseconds (8, of wrong, names and strikes).
CREATE FUNCTION guard_load(most int, within_s int) RETURNS TABLE (seed bytea, records bytea)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT s.seed, coalesce((
		SELECT string_agg(set_byte('\x00', 0, r.kind) || r.key || int4send(r.wrong) || int4send(r.names)
			|| int4send(r.strikes)
			|| int8send(greatest(0, date_part('epoch', r.known_until - now()) * 1000)::bigint)
			|| int8send(greatest(0, date_part('epoch', r.keep_until - now()) * 1000)::bigint)
			|| int8send(greatest(0, date_part('epoch', now() - r.saved_at) * 1000)::bigint), '')
		FROM (
			SELECT * FROM guard_record WHERE keep_until > now()
			AND saved_at > now() - make_interval(secs => guard_load.within_s)
			ORDER BY saved_at DESC LIMIT least(guard_load.most, 400000)
		) r), '')
	FROM guard_seed s;
END
$$;

-- Saves records: [[kind, key in hexadecimal, wrong, names, strikes, known_ms, keep_ms], ...] as of now.
-- Two nodes that count the same thing keep the larger count, less what was forgotten of it since: one of
-- wrong and names every forgive_ms, one of strikes a day.  Returns how many were saved.
CREATE FUNCTION guard_save(records jsonb, forgive_ms bigint) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	saved bigint;
	moment timestamptz := clock_timestamp();
BEGIN
	INSERT INTO guard_record AS r (kind, key, wrong, names, strikes, known_until, saved_at, keep_until)
	SELECT (j ->> 0)::smallint, decode(j ->> 1, 'hex'), (j ->> 2)::int, (j ->> 3)::int, (j ->> 4)::int,
		moment + make_interval(secs => (j ->> 5)::bigint / 1000.0), moment,
		moment + make_interval(secs => least((j ->> 6)::bigint, 400 * 86400000::bigint) / 1000.0)
	FROM jsonb_array_elements(guard_save.records) j
	ORDER BY 1, 2 -- two nodes at once meet no deadlock
	ON CONFLICT (kind, key) DO UPDATE SET
		wrong = greatest(excluded.wrong, r.wrong
			- greatest(0, date_part('epoch', moment - r.saved_at)) * 1000000 / guard_save.forgive_ms)::int,
		names = greatest(excluded.names, r.names
			- greatest(0, date_part('epoch', moment - r.saved_at)) * 1000000 / guard_save.forgive_ms)::int,
		strikes = greatest(excluded.strikes, r.strikes
			- greatest(0, date_part('epoch', moment - r.saved_at)) * 1000 / 86400)::int,
		known_until = greatest(r.known_until, excluded.known_until), saved_at = excluded.saved_at,
		keep_until = greatest(r.keep_until, excluded.keep_until);
	GET DIAGNOSTICS saved = ROW_COUNT;
	-- A little of what says nothing any more goes with each call.
	DELETE FROM guard_record WHERE (kind, key) IN (
		SELECT kind, key FROM guard_record WHERE keep_until <= moment LIMIT 500 FOR UPDATE SKIP LOCKED);
	RETURN saved;
END
$$;

GRANT EXECUTE ON FUNCTION blocks(), block_put(text, bigint, text), guard_load(int, int), guard_save(jsonb, bigint)
TO postern_service;

-- ------------------------------------------------------------ the administrator

-- Whether a word means a network; a login has no slash, and is no address.
CREATE FUNCTION is_network(target text) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN target ~ '^[0-9.]+(/[0-9]+)?$' OR target ~ '^[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(/[0-9]+)?$';
END
$$;

-- Blocks a network or an account for a time.  A network is answered 421 at connect on every node; an
-- account is as if it were disabled, its sessions end, and nothing of it is lost.
CREATE FUNCTION block_add(target text, for_s bigint, reason text DEFAULT '') RETURNS timestamptz
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	ends timestamptz;
BEGIN
	IF block_add.for_s IS NULL OR block_add.for_s NOT BETWEEN 1 AND 3660 * 86400::bigint THEN
		RAISE EXCEPTION 'a block lasts 1 second to 10 years' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	ends := clock_timestamp() + make_interval(secs => block_add.for_s);
	IF is_network(block_add.target) THEN
		DELETE FROM block WHERE until <= clock_timestamp();
		INSERT INTO block (network, until, reason)
		VALUES (network_parsed(block_add.target), ends, left(coalesce(block_add.reason, ''), 200))
		ON CONFLICT (network) DO UPDATE SET until = excluded.until, reason = excluded.reason,
			created_at = excluded.created_at, created_by = excluded.created_by;
	ELSE
		UPDATE account SET blocked_until = ends, blocked_because = left(coalesce(block_add.reason, ''), 200)
		WHERE account_id = account_named(block_add.target);
	END IF;
	RETURN ends;
END
$$;

-- false: it was not blocked.
CREATE FUNCTION block_del(target text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	removed boolean;
BEGIN
	IF is_network(block_del.target) THEN
		DELETE FROM block WHERE network = network_parsed(block_del.target) RETURNING until > clock_timestamp()
		INTO removed;
	ELSE
		SELECT blocked_until > clock_timestamp() INTO removed FROM account
		WHERE account_id = account_named(block_del.target) AND blocked_until IS NOT NULL FOR UPDATE;
		IF FOUND THEN
			UPDATE account SET blocked_until = NULL, blocked_because = NULL
			WHERE account_id = account_named(block_del.target);
		END IF;
	END IF;
	RETURN coalesce(removed, false);
END
$$;

-- What is blocked at present, networks first; a page of those after `after`.
CREATE FUNCTION block_list(after text DEFAULT NULL, page int DEFAULT 1000)
	RETURNS TABLE (target text, until timestamptz, reason text, created_by text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF block_list.page IS NULL OR block_list.page NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'a page has 1 to 10000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY
	SELECT l.target, l.until, l.reason, l.created_by
	FROM (
		SELECT 1 AS part, host(b.network) || CASE WHEN masklen(b.network) < CASE family(b.network)
			WHEN 4 THEN 32 ELSE 128 END THEN '/' || masklen(b.network) ELSE '' END AS target,
			b.until, b.reason, b.created_by::text
		FROM block b WHERE b.until > now()
		UNION ALL
		SELECT 2, a.login, a.blocked_until, coalesce(a.blocked_because, ''), NULL
		FROM account a WHERE a.blocked_until > now()
	) l
	WHERE block_list.after IS NULL
		OR (l.part, l.target COLLATE "C") >
			(CASE WHEN is_network(block_list.after) THEN 1 ELSE 2 END, block_list.after COLLATE "C")
	ORDER BY l.part, l.target COLLATE "C" LIMIT block_list.page;
END
$$;

-- The block that keeps a client's address out at present: the longest.
CREATE FUNCTION block_of(client inet) RETURNS TABLE (network text, until timestamptz, reason text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT b.network::text, b.until, b.reason FROM block b
	WHERE b.network >>= block_of.client AND b.until > now()
	ORDER BY b.until DESC LIMIT 1;
END
$$;

GRANT EXECUTE ON FUNCTION block_add(text, bigint, text), block_del(text), block_list(text, int), block_of(inet)
TO postern_admin;
