-- SPDX-License-Identifier: ISC
-- The functions of the service: look-up, sender ownership, and a better hash.
--
-- Never LANGUAGE sql: PostgreSQL plans such a function anew at each call.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- The version of this contract: a release works with its own and the one before.
CREATE FUNCTION contract() RETURNS int
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN 1;
END
$$;

-- No row: unknown.  recipients and message_bytes limit one message, 0: no limit of its own.  senders:
-- the first 32, 'a:' and an address, 'd:' and a domain, or '*'; sender_count goes up to 33, which says
-- that there are more: ask sender_owned().  from_policy: off, observe, reject or rewrite, NULL: the
-- listener's.  token: for the header of its messages, 1 to 32 of A-Z, a-z, 0-9, '.', '_' and '-';
-- NULL: none.  password_version: another number with every new password; live sessions end by it.
CREATE FUNCTION account_lookup(wanted text)
	RETURNS TABLE (account_id bigint, version bigint, login text, password_hash text, enabled boolean,
		recipients int, message_bytes bigint, senders text[], sender_count int, from_policy text, token text,
		password_version bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	known text := lower(account_lookup.wanted COLLATE "C");
BEGIN
	-- Kept in tables of somebody else's: see 0011_source.sql.
	IF account_source_name() IS NOT NULL THEN
		known := account_mirror(known);
	END IF;
	RETURN QUERY
	SELECT a.account_id, greatest(a.version, p.version), a.login, a.password_hash,
		a.status = 'enabled' AND coalesce(a.blocked_until <= clock_timestamp(), true),
		greatest(coalesce(a.recipients_message, p.recipients_message), 0)::int,
		greatest(coalesce(a.message_bytes, p.message_bytes), 0),
		coalesce(s.list[1:32], '{}'), coalesce(cardinality(s.list), 0),
		a.from_policy, a.token, a.password_version
	FROM account a
	JOIN plan p ON p.plan_id = a.plan_id
	CROSS JOIN LATERAL (
		SELECT array_agg(CASE kind WHEN 'any' THEN '*' ELSE left(kind, 1) || ':' || value END) AS list
		FROM (
			SELECT kind, value FROM sender
			WHERE sender.account_id = a.account_id
			ORDER BY kind, value LIMIT 33
		) first
	) s
	WHERE a.login = known;
END
$$;

-- Whether the account may send as this address.  Compared without regard to ASCII case; a domain
-- matches itself, not its sub-domains.
CREATE FUNCTION sender_owned(account_id bigint, address text) RETURNS boolean
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	folded text := lower(sender_owned.address COLLATE "C");
BEGIN
	RETURN EXISTS (
		SELECT FROM sender s
		WHERE s.account_id = sender_owned.account_id
		AND (s.kind, s.value) IN (('any', '*'), ('address', folded),
			('domain', CASE WHEN strpos(folded, '@') > 0 THEN substring(folded FROM '[^@]*$') END)));
END
$$;

-- Stores another hash of the password that old_hash is of.  false: old_hash is not stored any more, which
-- alone decides here, or an adapter leaves foreign tables as they are.
CREATE FUNCTION account_rehash(account_id bigint, version bigint, old_hash text, new_hash text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	stored boolean;
	foreign_login text;
BEGIN
	PERFORM hash_check(account_rehash.new_hash);
	IF account_rehash.new_hash IS NULL THEN
		RAISE EXCEPTION 'a hash is needed' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM set_config('postern.same_password', 'on', true);
	IF account_source_name() IS NOT NULL THEN
		SELECT a.login INTO foreign_login FROM account a
		WHERE a.account_id = account_rehash.account_id AND a.password_hash = account_rehash.old_hash;
		stored := FOUND AND account_source_rehash(foreign_login, account_rehash.old_hash,
			account_rehash.new_hash);
		IF stored THEN
			PERFORM account_mirror(foreign_login);
		END IF;
	ELSE
		UPDATE account a SET password_hash = account_rehash.new_hash
		WHERE a.account_id = account_rehash.account_id AND a.password_hash = account_rehash.old_hash;
		stored := FOUND;
	END IF;
	PERFORM set_config('postern.same_password', '', true);
	RETURN stored;
END
$$;

GRANT EXECUTE ON FUNCTION contract() TO postern_service, postern_admin;
GRANT EXECUTE ON FUNCTION account_lookup(text) TO postern_service;
GRANT EXECUTE ON FUNCTION sender_owned(bigint, text) TO postern_service;
GRANT EXECUTE ON FUNCTION account_rehash(bigint, bigint, text, text) TO postern_service;
