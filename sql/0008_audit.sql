-- SPDX-License-Identifier: ISC
-- The audit: every change to accounts, senders, credentials, plans and blocks; by whom, when, before and after.
--
-- Written by triggers, in the transaction of the change: nobody who changes a table leaves it out, and a
-- change that was rolled back is not in it.  The administrator's role reads it and can neither write nor
-- shorten it; the owner of the schema can (docs/database.md).

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- One row a changed row, and one for all of a statement that changes more than a thousand: of the latter
-- account_id is the lowest and account_last the highest of the accounts, and after {"rows": count}.
CREATE TABLE audit (
	audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT now(),
	role text COLLATE "C" NOT NULL DEFAULT session_user, -- who logged in to the database
	actor text,                                          -- who that was, by its own account: postern.actor
	object text COLLATE "C" NOT NULL,                    -- the table
	action text COLLATE "C" NOT NULL CHECK (action IN ('insert', 'update', 'delete')),
	via text COLLATE "C",                                -- the function called; NULL: a statement by hand
	account_id bigint,
	account_last bigint,
	login text COLLATE "C", -- as it was then
	before jsonb,           -- of an update only what changed, and what tells which row it is
	after jsonb
);

CREATE INDEX audit_account ON audit (account_id, audit_id);
CREATE INDEX audit_summary ON audit (account_last) WHERE account_last IS NOT NULL;
CREATE INDEX audit_at ON audit USING brin (at);

-- -------------------------------------------------------------- password hashes

-- "argon2id" of a stored hash, "ssha512" of one that begins with {SSHA512}.  NULL: no hash.  Only names
-- that are known come out: what stands where the name should be may be the password itself.
CREATE FUNCTION hash_scheme(hash text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	named text := lower(substring(hash FROM '^\{([A-Za-z0-9-]+)(?:\.[A-Za-z0-9]+)?\}'));
	crypted text := substring(hash FROM '^(?:\{[A-Za-z0-9-]+\})?\$([a-z0-9-]+)\$');
BEGIN
	IF hash IS NULL THEN
		RETURN NULL;
	ELSIF named IN ('plain', 'cleartext', 'clear') THEN
		RETURN 'plain';
	END IF;
	RETURN CASE
		WHEN crypted IN ('argon2id', 'argon2i', 'pbkdf2', 'pbkdf2-sha256', 'pbkdf2-sha512') THEN crypted
		WHEN crypted IN ('2a', '2b', '2x', '2y') THEN 'bcrypt'
		WHEN crypted = '1' THEN 'md5-crypt'
		WHEN crypted = '5' THEN 'sha256-crypt'
		WHEN crypted = '6' THEN 'sha512-crypt'
		WHEN crypted = 'y' THEN 'yescrypt'
		ELSE coalesce(named, 'unknown') END;
END
$$;

-- What a verification costs, as the hash writes it; '' where nothing can be chosen.
CREATE FUNCTION hash_cost(hash text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN CASE hash_scheme(hash)
		WHEN 'bcrypt' THEN 'cost=' || substring(hash FROM '\$2[abxy]\$([0-9]{2})\$')
		WHEN 'sha256-crypt' THEN coalesce(substring(hash FROM '\$5\$(rounds=[0-9]+)\$'), 'rounds=5000')
		WHEN 'sha512-crypt' THEN coalesce(substring(hash FROM '\$6\$(rounds=[0-9]+)\$'), 'rounds=5000')
		ELSE coalesce(substring(hash FROM '\$(m=[0-9]+,t=[0-9]+)'), '') END;
END
$$;

-- How many accounts have which kind of hash: what is left to be made anew.  scheme NULL: no password.
CREATE FUNCTION account_hashes() RETURNS TABLE (scheme text, cost text, accounts bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT hash_scheme(a.password_hash), hash_cost(a.password_hash), count(*)
	FROM account a GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2;
END
$$;

-- What decides on a log-in with a password.  No row: there is no such account.  blocked_until: NULL, it is
-- not blocked.
CREATE FUNCTION account_auth(login text)
	RETURNS TABLE (account_id bigint, enabled boolean, blocked_until timestamptz, password_hash text,
		scheme text, cost text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT a.account_id, a.status = 'enabled', nullif(greatest(a.blocked_until, now()), now()),
		a.password_hash, hash_scheme(a.password_hash), hash_cost(a.password_hash)
	FROM account a WHERE a.login = login_prepared(account_auth.login);
END
$$;

-- The same of a generated credential.  here: whether it may be used from the client's address.
CREATE FUNCTION credential_auth(public_id text, client inet DEFAULT NULL)
	RETURNS TABLE (account_id bigint, state text, here boolean, key_id text, hash bytea)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.account_id, credential_state(c), credential_auth.client IS NULL OR c.networks = '{}'
		OR credential_auth.client <<= ANY (c.networks), c.key_id, c.hash
	FROM credential c WHERE c.credential_id = credential_number(credential_auth.public_id);
END
$$;

-- --------------------------------------------------------------------- triggers

-- A row without its secrets: of a hash, the scheme.  The version is of no interest to people.
CREATE FUNCTION audit_masked(changed jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF changed ->> 'password_hash' IS NOT NULL THEN
		changed := changed || jsonb_build_object('password_hash', hash_scheme(changed ->> 'password_hash'));
	END IF;
	IF changed ->> 'hash' IS NOT NULL THEN
		changed := changed || '{"hash": "keyed"}';
	END IF;
	RETURN changed - '{version,password_version}'::text[];
END
$$;

-- What differs between two states of a row, and the columns of label.  Nothing but a version: NULL.
CREATE FUNCTION audit_difference(was jsonb, became jsonb, label text[], OUT before jsonb, OUT after jsonb)
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	changed text[] := ARRAY(SELECT n.key FROM jsonb_each(became) n
		WHERE n.value IS DISTINCT FROM was -> n.key AND n.key NOT IN ('version', 'password_version'));
BEGIN
	IF changed <> '{}' THEN
		changed := changed || label;
		before := (SELECT jsonb_object_agg(key, value) FROM jsonb_each(audit_masked(was))
			WHERE key = ANY (changed));
		after := (SELECT jsonb_object_agg(key, value) FROM jsonb_each(audit_masked(became))
			WHERE key = ANY (changed));
	END IF;
END
$$;

-- The function of this schema that was called in the first place, from PG_CONTEXT; NULL: none.
CREATE FUNCTION audit_via(stack text) RETURNS text
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN nullif((SELECT found_now.name[1]
		FROM regexp_matches(stack, '^[^"\n]*PL/pgSQL[^.("\n]*\m([a-z0-9_]+)\(', 'gn')
			WITH ORDINALITY AS found_now (name, number)
		WHERE EXISTS (SELECT FROM pg_proc p
			WHERE p.proname = found_now.name[1] AND p.pronamespace = 'postern'::regnamespace)
		ORDER BY found_now.number DESC LIMIT 1), 'audit_write');
END
$$;

-- One row for a statement that changed many.
CREATE FUNCTION audit_summary(object text, action text, via text, rows bigint, lowest bigint, highest bigint)
	RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO audit (actor, object, action, via, account_id, account_last, after)
	VALUES (nullif(current_setting('postern.actor', true), ''), object, action, via, lowest, highest,
		jsonb_build_object('rows', rows));
END
$$;

-- The trigger, of any table: arguments are the columns of its key, and those that name a row to people.
CREATE FUNCTION audit_write() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	single CONSTANT int := 1000;
	key text[] := string_to_array(TG_ARGV[0], ',');
	label text[] := string_to_array(TG_ARGV[1], ',');
	acting text := nullif(current_setting('postern.actor', true), '');
	lowest bigint;
	highest bigint;
	changed bigint;
	stack text;
BEGIN
	IF TG_OP = 'DELETE' THEN
		SELECT count(*) INTO changed FROM (SELECT FROM gone LIMIT single + 1) few;
	ELSE
		SELECT count(*) INTO changed FROM (SELECT FROM written LIMIT single + 1) few;
	END IF;
	IF changed = 0 THEN
		RETURN NULL;
	END IF;
	GET DIAGNOSTICS stack = PG_CONTEXT;
	stack := audit_via(stack);
	IF changed > single THEN
		IF TG_OP = 'DELETE' THEN
			SELECT count(*) INTO changed FROM gone;
		ELSE
			SELECT count(*) INTO changed FROM written;
		END IF;
		IF 'account_id' = ANY (key) AND TG_OP = 'DELETE' THEN
			SELECT min(account_id), max(account_id) INTO lowest, highest FROM gone;
		ELSIF 'account_id' = ANY (key) THEN
			SELECT min(account_id), max(account_id) INTO lowest, highest FROM written;
		END IF;
		PERFORM audit_summary(TG_TABLE_NAME, lower(TG_OP), stack, changed, lowest, highest);
	ELSIF TG_OP = 'INSERT' THEN
		INSERT INTO audit (actor, object, action, via, account_id, login, after)
		SELECT acting, TG_TABLE_NAME, 'insert', stack, (w.row ->> 'account_id')::bigint,
			coalesce(w.row ->> 'login', (SELECT a.login FROM account a
				WHERE a.account_id = (w.row ->> 'account_id')::bigint)),
			CASE WHEN w.row ?| '{password_hash,hash,version}' THEN audit_masked(w.row) ELSE w.row END
		FROM (SELECT to_jsonb(written) AS row FROM written) w;
	ELSIF TG_OP = 'DELETE' THEN
		INSERT INTO audit (actor, object, action, via, account_id, login, before)
		SELECT acting, TG_TABLE_NAME, 'delete', stack, (g.row ->> 'account_id')::bigint,
			coalesce(g.row ->> 'login', (SELECT a.login FROM account a
				WHERE a.account_id = (g.row ->> 'account_id')::bigint)),
			audit_masked(g.row)
		FROM (SELECT to_jsonb(gone) AS row FROM gone) g;
	ELSE
		INSERT INTO audit (actor, object, action, via, account_id, login, before, after)
		SELECT acting, TG_TABLE_NAME, 'update', stack, (w.row ->> 'account_id')::bigint,
			coalesce(w.row ->> 'login', (SELECT a.login FROM account a
				WHERE a.account_id = (w.row ->> 'account_id')::bigint)),
			d.before, d.after
		FROM (SELECT to_jsonb(written) AS row FROM written) w
		JOIN (SELECT to_jsonb(gone) AS row FROM gone) g
			ON ARRAY(SELECT g.row ->> k FROM unnest(key) k) = ARRAY(SELECT w.row ->> k FROM unnest(key) k)
		CROSS JOIN LATERAL audit_difference(g.row, w.row, label) d
		WHERE d.after IS NOT NULL;
	END IF;
	RETURN NULL;
END
$$;

-- Has the audit record a table.  key: columns that tell its rows apart, and that no UPDATE changes; label:
-- columns that say to people which row it is.  A column password_hash or hash is a secret.
CREATE FUNCTION audit_attach(recorded regclass, key text, label text DEFAULT '') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	call text := format('FOR EACH STATEMENT EXECUTE FUNCTION postern.audit_write(%L, %L)', key, label);
BEGIN
	EXECUTE format('CREATE TRIGGER audit_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS written ', recorded)
		|| call;
	EXECUTE format('CREATE TRIGGER audit_update AFTER UPDATE ON %s REFERENCING NEW TABLE AS written '
		'OLD TABLE AS gone ', recorded) || call;
	EXECUTE format('CREATE TRIGGER audit_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS gone ', recorded)
		|| call;
END
$$;

SELECT audit_attach('account', 'account_id');
SELECT audit_attach('sender', 'account_id,kind,value');
SELECT audit_attach('plan', 'plan_id', 'name');
SELECT audit_attach('credential', 'credential_id', 'public_id');

-- --------------------------------------------------------------- reading, erasing

-- A page of the audit, the newest first: of an account by its present login, or by its id (a deleted one,
-- too), or of all; of what happened from since on and before until; behind the row `before`.
CREATE FUNCTION audit_list(login text DEFAULT NULL, account_id bigint DEFAULT NULL,
		since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, behind bigint DEFAULT NULL,
		page int DEFAULT 100)
	RETURNS TABLE (audit_id bigint, at timestamptz, role text, actor text, object text, action text, via text,
		account bigint, account_last bigint, name text, before jsonb, after jsonb)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	wanted bigint := audit_list.account_id;
BEGIN
	IF audit_list.page IS NULL OR audit_list.page NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'a page has 1 to 10000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF audit_list.login IS NOT NULL THEN
		wanted := account_named(audit_list.login);
	END IF;
	IF wanted IS NULL THEN
		RETURN QUERY
		SELECT r.audit_id, r.at, r.role, r.actor, r.object, r.action, r.via, r.account_id, r.account_last,
			r.login, r.before, r.after
		FROM audit r
		WHERE (audit_list.since IS NULL OR r.at >= audit_list.since)
		AND (audit_list.until IS NULL OR r.at < audit_list.until)
		AND r.audit_id < coalesce(audit_list.behind, 9223372036854775807)
		ORDER BY r.audit_id DESC LIMIT audit_list.page;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT r.audit_id, r.at, r.role, r.actor, r.object, r.action, r.via, r.account_id, r.account_last,
		r.login, r.before, r.after
	FROM (
		SELECT * FROM audit o WHERE o.account_id = wanted AND o.account_last IS NULL
		UNION ALL
		SELECT * FROM audit s WHERE s.account_id <= wanted AND s.account_last >= wanted
	) r
	WHERE (audit_list.since IS NULL OR r.at >= audit_list.since)
	AND (audit_list.until IS NULL OR r.at < audit_list.until)
	AND r.audit_id < coalesce(audit_list.behind, 9223372036854775807)
	ORDER BY r.audit_id DESC LIMIT audit_list.page;
END
$$;

-- What was written about an account without what says who it was.  Values of columns that are not listed
-- here are taken for personal.
CREATE FUNCTION audit_erased(recorded jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT jsonb_object_agg(key, CASE
			WHEN value = 'null' OR key IN ('account_id', 'plan_id', 'credential_id', 'status', 'created_at',
				'from_policy', 'messages_hour', 'messages_day', 'recipients_hour', 'recipients_day',
				'recipients_message', 'message_bytes', 'password_hash', 'hash', 'kind', 'enabled',
				'expires_at', 'revoked_at', 'key_id', 'blocked_until') THEN value
			ELSE '"erased"' END)
		FROM jsonb_each(recorded));
END
$$;

-- Erases an account that is disabled, with everything that says who it was, from the audit too; what
-- happened to it and when stays there under its id, which is returned.  There is no way back.
CREATE FUNCTION account_delete(login text) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint := account_named(account_delete.login);
BEGIN
	IF (SELECT a.status FROM account a WHERE a.account_id = id FOR UPDATE) = 'enabled' THEN
		RAISE EXCEPTION 'account "%" is enabled', login_prepared(account_delete.login)
			USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'posternctl account disable ends its sessions, and can be undone: do that first.';
	END IF;
	DELETE FROM account a WHERE a.account_id = id;
	UPDATE audit r SET login = NULL, before = audit_erased(r.before), after = audit_erased(r.after)
	WHERE r.account_id = id AND r.account_last IS NULL;
	RETURN id;
END
$$;

-- Gives an account another login; everything else stays.  Where it may send as its old login's address, it
-- may send as the new one's instead, when that is an address.
CREATE FUNCTION account_rename(login text, new_login text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint := account_named(account_rename.login);
	was text := login_prepared(account_rename.login);
	becomes text := login_prepared(account_rename.new_login);
	follows boolean;
BEGIN
	IF was = becomes THEN
		RAISE EXCEPTION 'the account has this login' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	BEGIN
		UPDATE account a SET login = becomes WHERE a.account_id = id;
	EXCEPTION WHEN unique_violation THEN
		RAISE EXCEPTION 'there is an account "%" already', becomes USING ERRCODE = 'unique_violation',
			HINT = 'posternctl account show tells about it.';
	END;
	IF is_address(becomes) THEN
		DELETE FROM sender s WHERE s.account_id = id AND s.kind = 'address' AND s.value = was;
		follows := FOUND;
		INSERT INTO sender (account_id, kind, value)
		SELECT id, 'address', becomes WHERE follows OR NOT is_address(was)
		ON CONFLICT DO NOTHING;
	END IF;
END
$$;

GRANT EXECUTE ON FUNCTION account_hashes(), account_auth(text), credential_auth(text, inet), account_delete(text), account_rename(text, text),
	audit_list(text, bigint, timestamptz, timestamptz, bigint, int)
TO postern_admin;
