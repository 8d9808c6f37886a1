-- SPDX-License-Identifier: ISC
-- Accounts that are kept elsewhere in this database: PostfixAdmin's, iRedMail's, a shop's own.
--
-- One function, account_source(), says what the foreign tables know of a login; whoever adapts Postern
-- replaces it (sql/adapters/ has some, docs/adapters.md tells how).  What it says is mirrored into account
-- and sender: at the look-up of a login, and at once by triggers on the foreign tables.  Everything else
-- (limits, credentials, audit, the log of changes, takes) then works on the mirrored row as on any other.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- Which accounts came from a source.
CREATE TABLE mirrored (
	account_id bigint PRIMARY KEY REFERENCES account ON DELETE CASCADE
);

-- ---------------------------------------------------------------------- mirror

-- A sender as account_lookup() writes it.
CREATE FUNCTION sender_written(kind text, value text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN CASE kind WHEN 'any' THEN '*' ELSE left(kind, 1) || ':' || value END;
END
$$;

-- Makes the account that is locked be what the source said.  plan_id NULL: as it is.
CREATE FUNCTION account_mirror_write(account_id bigint, status text, password_hash text, plan_id bigint,
	senders text[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM set_config('postern.mirror', 'on', true);
	INSERT INTO mirrored VALUES (account_mirror_write.account_id) ON CONFLICT DO NOTHING;
	UPDATE account a SET status = account_mirror_write.status,
		password_hash = account_mirror_write.password_hash,
		plan_id = coalesce(account_mirror_write.plan_id, a.plan_id)
	WHERE a.account_id = account_mirror_write.account_id
	AND (a.status, a.password_hash, a.plan_id) IS DISTINCT FROM (account_mirror_write.status,
		account_mirror_write.password_hash, coalesce(account_mirror_write.plan_id, a.plan_id));
	DELETE FROM sender s WHERE s.account_id = account_mirror_write.account_id
	AND sender_written(s.kind, s.value) <> ALL (account_mirror_write.senders);
	INSERT INTO sender (account_id, kind, value)
	SELECT account_mirror_write.account_id,
		CASE left(u, 1) WHEN 'a' THEN 'address' WHEN 'd' THEN 'domain' ELSE 'any' END,
		CASE u WHEN '*' THEN u ELSE substr(u, 3) END
	FROM unnest(account_mirror_write.senders) u
	ON CONFLICT DO NOTHING;
	PERFORM set_config('postern.mirror', '', true);
END
$$;

-- Makes the account be what the source says now.  Returns its login, which may be another one than was
-- asked for; NULL: the source does not know it.  Writes only where something differs.
--
-- What differs is read again under the lock of the row: a change of the foreign tables, whose trigger
-- waits for the same lock, is either seen then or comes after.  Read once, an old password could be
-- written over a new one.
CREATE FUNCTION account_mirror(wanted text) RETURNS text
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	seen record;
	locked bigint;
BEGIN
	FOR attempt IN 1..4 LOOP
		-- An unknown plan changes none; posternctl db verify names it.
		SELECT s.login, s.status, s.password_hash, s.senders, p.plan_id, a.account_id,
			coalesce(a.status = s.status AND a.password_hash IS NOT DISTINCT FROM s.password_hash
				AND coalesce(p.plan_id, a.plan_id) = a.plan_id
				AND s.senders = ARRAY(SELECT sender_written(kind, value) COLLATE "C"
					FROM sender WHERE sender.account_id = a.account_id ORDER BY 1), false) AS same
		INTO seen
		FROM (
			SELECT lower(login COLLATE "C") AS login, plan,
				CASE WHEN enabled THEN 'enabled' ELSE 'disabled' END AS status,
				-- What does not fit is no hash that could be verified.
				CASE WHEN octet_length(password_hash) > 256 THEN '{unknown}'
					ELSE nullif(password_hash, '') END AS password_hash,
				ARRAY(SELECT DISTINCT lower(u COLLATE "C") COLLATE "C" FROM unnest(senders) u
					WHERE u = '*' OR (u ~ '^[ad]:.' AND u NOT IN ('a:*', 'd:*')
						AND octet_length(u) <= 322) ORDER BY 1) AS senders
			FROM account_source(account_mirror.wanted) LIMIT 1
		) s
		LEFT JOIN account a ON a.login = s.login
		LEFT JOIN plan p ON p.name = s.plan;
		IF NOT FOUND THEN
			RETURN NULL;
		ELSIF seen.same THEN
			RETURN seen.login;
		ELSIF locked = seen.account_id THEN
			PERFORM account_mirror_write(locked, seen.status, seen.password_hash, seen.plan_id, seen.senders);
			RETURN seen.login;
		ELSIF seen.account_id IS NULL THEN
			PERFORM set_config('postern.mirror', 'on', true);
			INSERT INTO account (login, status, password_hash, plan_id)
			VALUES (seen.login, seen.status, seen.password_hash, coalesce(seen.plan_id, plan_named('default')))
			ON CONFLICT (login) DO NOTHING;
			PERFORM set_config('postern.mirror', '', true);
			INSERT INTO mirrored SELECT account_id FROM account WHERE login = seen.login ON CONFLICT DO NOTHING;
		END IF;
		SELECT account_id INTO locked FROM account WHERE login = seen.login FOR UPDATE;
	END LOOP;
	RAISE EXCEPTION 'the account keeps changing' USING ERRCODE = 'serialization_failure';
END
$$;

-- What changed in the foreign tables: logins as account_source() takes them, in any number.  Those that
-- Postern never saw are left alone.  One that the source no longer has is disabled, and its generated
-- credentials are revoked: who gets that login later shall not inherit them.
CREATE FUNCTION account_source_changed(VARIADIC logins text[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint;
	known text;
BEGIN
	IF account_source_name() IS NULL THEN
		RETURN;
	END IF;
	FOR id, known IN
		SELECT a.account_id, a.login FROM account a
		WHERE a.login = ANY (ARRAY(SELECT lower(l COLLATE "C") FROM unnest(account_source_changed.logins) l))
		ORDER BY a.login -- two at once meet no deadlock
	LOOP
		IF account_mirror(known) IS NULL THEN
			PERFORM set_config('postern.mirror', 'on', true);
			UPDATE account SET status = 'disabled' WHERE account_id = id AND status <> 'disabled';
			PERFORM set_config('postern.mirror', '', true);
			UPDATE credential SET revoked_at = clock_timestamp() WHERE account_id = id AND revoked_at IS NULL;
		END IF;
	END LOOP;
END
$$;

-- The trigger of a watched table: its argument is a query that names the logins which the rows of
-- `changed` (as they were, and as they are) concern.
CREATE FUNCTION account_source_note() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	logins text[];
BEGIN
	IF account_source_name() IS NULL THEN
		RETURN NULL;
	ELSIF TG_OP = 'TRUNCATE' THEN
		logins := ARRAY(SELECT login FROM account);
	ELSE
		EXECUTE format('WITH changed AS (%s) SELECT array_agg(DISTINCT q.l::text) FROM (%s) AS q (l)',
			CASE TG_OP WHEN 'INSERT' THEN 'SELECT * FROM written' WHEN 'DELETE' THEN 'SELECT * FROM gone'
				ELSE 'SELECT * FROM gone UNION ALL SELECT * FROM written' END, TG_ARGV[0])
		INTO logins;
	END IF;
	IF logins IS NOT NULL THEN
		PERFORM account_source_changed(VARIADIC logins);
	END IF;
	RETURN NULL;
END
$$;

-- Puts the triggers on a foreign table, or replaces them.  Whoever calls it owns the table: triggers are
-- his to make.  concerned: see account_source_note(); tables in it are named with their schema, and
-- postern_owner must be allowed to read them.
CREATE FUNCTION account_source_watch(watched regclass, concerned text) RETURNS void
	LANGUAGE plpgsql SECURITY INVOKER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	PERFORM account_source_unwatch(watched);
	EXECUTE format('CREATE TRIGGER postern_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS written '
		'FOR EACH STATEMENT EXECUTE FUNCTION postern.account_source_note(%L)', watched, concerned);
	EXECUTE format('CREATE TRIGGER postern_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS gone '
		'NEW TABLE AS written '
		'FOR EACH STATEMENT EXECUTE FUNCTION postern.account_source_note(%L)', watched, concerned);
	EXECUTE format('CREATE TRIGGER postern_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS gone '
		'FOR EACH STATEMENT EXECUTE FUNCTION postern.account_source_note(%L)', watched, concerned);
	EXECUTE format('CREATE TRIGGER postern_truncate AFTER TRUNCATE ON %s '
		'FOR EACH STATEMENT EXECUTE FUNCTION postern.account_source_note(%L)', watched, concerned);
END
$$;

CREATE FUNCTION account_source_unwatch(watched regclass) RETURNS void
	LANGUAGE plpgsql SECURITY INVOKER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	trigger_name name;
BEGIN
	FOR trigger_name IN
		SELECT t.tgname FROM pg_trigger t
		WHERE t.tgrelid = watched AND t.tgfoid = 'postern.account_source_note()'::regprocedure
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, watched);
	END LOOP;
END
$$;

-- ------------------------------------------------------------ adopt and release

-- From now on account_source() decides; name says to people what is behind it.
CREATE FUNCTION account_source_adopt(name text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF account_source_adopt.name IS NULL OR account_source_adopt.name !~ '^[a-z0-9][a-z0-9._-]{0,62}$' THEN
		RAISE EXCEPTION 'not a name for a source' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It has 1 to 63 of a-z, 0-9, dot, hyphen and underscore.';
	END IF;
	IF EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'postern'::regnamespace
		AND p.proname IN ('account_source', 'account_source_logins', 'account_source_rehash')
		AND NOT (p.prosecdef AND p.proowner = 'postern_owner'::regrole
			AND coalesce(array_to_string(p.proconfig, ',') LIKE '%search_path=%', false))) THEN
		RAISE EXCEPTION 'account_source() and its companions must be SECURITY DEFINER, with a search_path of '
			'their own, and belong to postern_owner' USING ERRCODE = 'invalid_function_definition',
			HINT = 'SET LOCAL ROLE postern_owner before CREATE OR REPLACE FUNCTION, and write it as '
				'docs/adapters.md does.';
	END IF;
	PERFORM FROM account_source(''); -- may it read what it reads?
	PERFORM FROM account_source_logins() LIMIT 1;
	PERFORM account_source_rename(account_source_adopt.name);
	PERFORM changes_note('everything');
END
$$;

-- Says what the source is called; NULL: nothing is adapted.  account_source_name() is the one function in
-- LANGUAGE sql, for it is inlined: a constant in the plan of account_lookup(), that costs nothing, and
-- plans are made anew when it is replaced.
CREATE FUNCTION account_source_rename(name text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION account_source_name() RETURNS text LANGUAGE sql IMMUTABLE AS %L',
		format('SELECT %L::text', name));
END
$$;

-- Back to Postern's own table.  Accounts that came from the source become accounts like others, with
-- the password and the senders that it says now; those that it does not know are disabled.  keep false:
-- all of them are, and the source is not asked.  Triggers on the foreign tables do nothing from then on;
-- account_source_unwatch() removes them.
CREATE FUNCTION account_source_release(keep boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF account_source_name() IS NOT NULL AND keep THEN
		PERFORM account_source_changed(VARIADIC ARRAY(
			SELECT a.login FROM account a JOIN mirrored m ON m.account_id = a.account_id));
	END IF;
	PERFORM account_source_rename(NULL);
	PERFORM account_source_default();
	IF NOT keep THEN
		UPDATE account a SET status = 'disabled' FROM mirrored m WHERE m.account_id = a.account_id;
	END IF;
	DELETE FROM mirrored;
	PERFORM changes_note('everything');
END
$$;

-- The functions that an adapter replaces, as they are without one.
CREATE FUNCTION account_source_default() RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $default$
BEGIN
	-- At most one row.  senders: as account_lookup() writes them.  plan: NULL for what Postern says,
	-- which is the plan default at first.  The default is for people to read; account_lookup() does
	-- without it.
	CREATE OR REPLACE FUNCTION account_source(wanted text)
		RETURNS TABLE (login text, password_hash text, enabled boolean, senders text[], plan text)
		LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
	#variable_conflict use_column
	BEGIN
		RETURN QUERY
		SELECT a.login, a.password_hash, a.status = 'enabled',
			ARRAY(SELECT sender_written(s.kind, s.value) FROM sender s WHERE s.account_id = a.account_id), p.name
		FROM account a JOIN plan p ON p.plan_id = a.plan_id
		WHERE a.login = account_source.wanted;
	END
	$$;

	-- All logins that account_source() knows: posternctl db verify looks through them.
	CREATE OR REPLACE FUNCTION account_source_logins() RETURNS SETOF text
		LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
	BEGIN
		RETURN QUERY SELECT a.login FROM account a;
	END
	$$;

	-- Stores a better hash of the same password where old_hash is stored.  false: not done.
	CREATE OR REPLACE FUNCTION account_source_rehash(wanted text, old_hash text, new_hash text) RETURNS boolean
		LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
	BEGIN
		RETURN false;
	END
	$$;
END
$default$;

SELECT account_source_rename(NULL), account_source_default();

-- --------------------------------------------------------- what is not Postern's

-- Postern's own functions do not change what the next look-up would change back.  A guard against
-- mistakes, not against people: account_mirror() has postern.mirror on.
CREATE FUNCTION account_source_guard() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	-- Senders go with their account: not by a statement of somebody's, but by a trigger's.
	IF account_source_name() IS NULL OR current_setting('postern.mirror', true) = 'on'
		OR (TG_TABLE_NAME = 'sender' AND pg_trigger_depth() > 1) THEN
		RETURN NULL;
	END IF;
	RAISE EXCEPTION 'the accounts of this database are managed elsewhere: %', account_source_name()
		USING ERRCODE = 'object_not_in_prerequisite_state',
		HINT = 'Logins, passwords, senders and who is enabled are changed there; limits, plans, credentials, '
			'tokens and rules for From here.';
END
$$;

CREATE TRIGGER source_guard BEFORE INSERT OR UPDATE OF login, status, password_hash ON account
	FOR EACH STATEMENT EXECUTE FUNCTION account_source_guard();
CREATE TRIGGER source_guard BEFORE INSERT OR UPDATE OR DELETE ON sender
	FOR EACH STATEMENT EXECUTE FUNCTION account_source_guard();

-- ------------------------------------------------------------ the administrator

-- Mirrors the account if there is a source, so that limits and credentials can be given to one that has
-- not logged in yet.  false: the source does not know it; NULL: there is none.
CREATE FUNCTION account_fetch(login text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF account_source_name() IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN account_mirror(login_prepared(login)) IS NOT NULL;
END
$$;

-- What is wrong with accounts: kind 'hash' (detail: the scheme that cannot be verified), 'login' (not
-- as Postern prepares it: nobody can log in by it) or 'plan' (detail: there is none of that name).
CREATE FUNCTION account_source_problems() RETURNS TABLE (kind text, detail text, accounts bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF account_source_name() IS NULL THEN
		RETURN QUERY
		SELECT 'hash', hash_scheme(a.password_hash), count(*)
		FROM account a WHERE NOT hash_verifiable(a.password_hash) GROUP BY 2 ORDER BY 3 DESC, 2;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT f.kind, f.detail, count(*)
	FROM account_source_logins() l
	LEFT JOIN LATERAL account_source(l) s ON true
	CROSS JOIN LATERAL (
		SELECT 'hash' AS kind, hash_scheme(s.password_hash) AS detail
		WHERE NOT hash_verifiable(nullif(s.password_hash, ''))
		UNION ALL
		SELECT 'login', NULL WHERE s.login IS NULL OR l <> normalize(lower(l COLLATE "C"), NFC)
			OR octet_length(l) NOT BETWEEN 1 AND 320 OR l ~ '[\u0001-\u0020\u007f-\u00a0]'
		UNION ALL
		SELECT 'plan', s.plan WHERE NOT EXISTS (SELECT FROM plan p WHERE p.name = s.plan) AND s.plan IS NOT NULL
	) f
	GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2;
END
$$;

-- Which migrations have run.
CREATE FUNCTION schema_versions() RETURNS TABLE (version int, name text, checksum text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY SELECT v.version, v.name, v.checksum FROM schema_version v ORDER BY v.version;
END
$$;

GRANT EXECUTE ON FUNCTION account_source_name(), account_fetch(text), account_source_problems(), schema_versions()
TO postern_admin;
