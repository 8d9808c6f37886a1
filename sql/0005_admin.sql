-- SPDX-License-Identifier: ISC
-- The functions of the administrator: posternctl and provisioning systems call these.
--
-- Errors: 22023 an argument is not valid, 23505 the account exists already, P0002 there is no such
-- account, 42704 no such plan; the hint says what to do.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- ------------------------------------------------------------------- arguments

-- The login as it is stored.  Of ASCII, the same preparation as the service's; of the rest, NFC only:
-- lower case beyond ASCII and the classes of RFC 8264 are not PostgreSQL's.  posternctl prepares
-- before it calls, and provisioning systems must (docs/passwords.md).
CREATE FUNCTION login_prepared(login text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	prepared text := normalize(lower(login COLLATE "C"), NFC);
BEGIN
	IF prepared IS NULL OR octet_length(prepared) NOT BETWEEN 1 AND 320 THEN
		RAISE EXCEPTION 'a login has 1 to 320 octets' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF prepared ~ '[\u0001-\u0020\u007f-\u00a0]' THEN
		RAISE EXCEPTION 'a login has no spaces and no control characters'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN prepared;
END
$$;

CREATE FUNCTION is_address(value text) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN octet_length(value) <= 320 AND value !~ '[\u0001-\u001f\u007f-\u009f]'
		AND value ~ '^.+@[^@[:space:].][^@[:space:]]*$' AND value !~ '\.\.[^@]*$|\.$';
END
$$;

-- Whether the service can verify it; NULL, no password, reads as NULL.  By its form: the caps of its cost
-- are the service's, but for bcrypt's, which is the one that people raise.
CREATE FUNCTION hash_verifiable(password_hash text) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	-- Dovecot's names of what crypt() writes say nothing that its own prefix does not.
	hash text := regexp_replace(password_hash,
		'^\{(argon2id?|blf-crypt|crypt|sha512-crypt|sha256-crypt|md5-crypt)\}(?=\$)', '', 'i');
BEGIN
	RETURN octet_length(password_hash) <= 256 AND (
		-- Counted apart: a bounded repetition as long as a tag takes six times as long as all the rest.
		hash ~ '^\$argon2id\$v=19\$m=[1-9][0-9]{0,6},t=([1-9]|10),p=1\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+$'
			AND octet_length(split_part(hash, '$', 5)) = 22
			AND octet_length(split_part(hash, '$', 6)) BETWEEN 22 AND 86
		OR hash ~ '^\$argon2i\$v=19\$m=[1-9][0-9]{0,6},t=([3-9]|10),p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{22,86}$'
		OR hash ~ '^\$2[aby]\$(0[4-9]|1[0-3])\$[./A-Za-z0-9]{53}$'
		OR hash ~ '^\$y\$j[./A-Za-z0-9]{2,4}\$[./A-Za-z0-9]{2,86}\$[./A-Za-z0-9]{43}$'
		OR hash ~ '^\$6\$(rounds=[1-9][0-9]{3,5}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}$'
		OR hash ~ '^\$5\$(rounds=[1-9][0-9]{3,5}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}$'
		OR hash ~ '^\$1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}$'
		OR hash ~ '^\$pbkdf2(-sha256|-sha512)?\$[1-9][0-9]{0,6}\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{27,86}$'
		OR hash ~* '^\{pbkdf2(-sha1|-sha256|-sha512)?\}[1-9][0-9]{0,6}\$[./a-z0-9]{0,86}\$[./a-z0-9]{27,86}$'
		OR hash ~* '^\{pbkdf2\}\$1\$[./a-z0-9]{1,64}\$[1-9][0-9]{0,6}\$[0-9a-f]{40}$'
		OR hash ~* '^\{(sha|sha1|sha256|sha512|ssha|ssha256|ssha512)(\.(hex|b64|base64))?\}[a-z0-9+/]{27,255}={0,2}$'
		OR hash ~* '^\{(plain|cleartext|clear)\}[^\u0001-\u001f\u007f-\u009f]+$'
		OR hash ~* ('^\{(plain|cleartext|clear|argon2id?|blf-crypt|crypt|sha512-crypt|sha256-crypt|md5-crypt'
			|| '|pbkdf2(-sha1|-sha256|-sha512)?)\.(hex|b64|base64)\}[a-z0-9+/]+={0,2}$'));
END
$$;

-- Only what the service can verify is taken, so that a mistake shows here and not at the user's next
-- log-in.  NULL is allowed: no password.
CREATE FUNCTION hash_check(password_hash text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF NOT hash_verifiable(password_hash) THEN
		RAISE EXCEPTION 'not a password hash that Postern can verify'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It takes $argon2id$v=19$m=...,t=...,p=1$salt$tag with a salt of 16 octets, and to move '
				'accounts from elsewhere bcrypt (cost 4 to 13), yescrypt, $6$, $5$, $1$, PBKDF2, and '
				'{SSHA512} and the like of Dovecot and OpenLDAP; docs/passwords.md has the table.';
	END IF;
END
$$;

CREATE FUNCTION plan_named(plan text) RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	id bigint := (SELECT p.plan_id FROM plan p WHERE p.name = plan_named.plan);
BEGIN
	IF id IS NULL THEN
		RAISE EXCEPTION 'there is no plan "%"', plan USING ERRCODE = 'undefined_object',
			HINT = 'postern.plan_list() shows the plans, postern.plan_set() makes one.';
	END IF;
	RETURN id;
END
$$;

CREATE FUNCTION account_named(login text) RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	prepared text := login_prepared(login);
	id bigint := (SELECT a.account_id FROM account a WHERE a.login = prepared);
BEGIN
	IF id IS NULL THEN
		RAISE EXCEPTION 'there is no account "%"', prepared USING ERRCODE = 'no_data_found',
			HINT = 'posternctl account list shows the accounts.';
	END IF;
	RETURN id;
END
$$;

-- 'a@b.c', '@b.c' or '*' into kind and value.
CREATE FUNCTION sender_parsed(sender text, OUT kind text, OUT value text)
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF sender = '*' THEN
		kind := 'any';
		value := '*';
	ELSIF left(sender, 1) = '@' AND is_address('x' || sender) AND strpos(substr(sender, 2), '@') = 0 THEN
		kind := 'domain';
		value := lower(substr(sender, 2) COLLATE "C");
	ELSIF is_address(sender) AND left(sender, 1) <> '@' THEN
		kind := 'address';
		value := lower(sender COLLATE "C");
	ELSE
		RAISE EXCEPTION 'not a sender' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A sender is an address (alice@example.net), a domain (@example.net), or * for any.';
	END IF;
END
$$;

-- -------------------------------------------------------------------- accounts

-- An account whose login is an address may send as that address.
CREATE FUNCTION account_add(login text, password_hash text DEFAULT NULL, plan text DEFAULT 'default')
	RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	prepared text := login_prepared(account_add.login);
	id bigint;
BEGIN
	PERFORM hash_check(account_add.password_hash);
	INSERT INTO account (login, password_hash, plan_id)
	VALUES (prepared, account_add.password_hash, plan_named(account_add.plan))
	ON CONFLICT (login) DO NOTHING
	RETURNING account_id INTO id;
	IF id IS NULL THEN
		RAISE EXCEPTION 'there is an account "%" already', prepared USING ERRCODE = 'unique_violation',
			HINT = 'posternctl account show tells about it; account passwd changes its password.';
	END IF;
	INSERT INTO sender (account_id, kind, value) SELECT id, 'address', prepared WHERE is_address(prepared);
	RETURN id;
END
$$;

-- Many at once, with one password (or none); those that exist are left as they are.  Returns how many
-- were added.  A million take about a minute.
CREATE FUNCTION accounts_add_many(logins text[], password_hash text DEFAULT NULL, plan text DEFAULT 'default')
	RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	in_plan bigint := plan_named(accounts_add_many.plan);
	added bigint;
BEGIN
	PERFORM hash_check(accounts_add_many.password_hash);
	WITH fresh AS (
		INSERT INTO account (login, password_hash, plan_id)
		SELECT DISTINCT login_prepared(l), accounts_add_many.password_hash, in_plan
		FROM unnest(accounts_add_many.logins) l
		ORDER BY 1 -- two at once meet no deadlock
		ON CONFLICT (login) DO NOTHING
		RETURNING account_id, login
	), senders AS (
		INSERT INTO sender (account_id, kind, value)
		SELECT account_id, 'address', login FROM fresh WHERE is_address(login)
	)
	SELECT count(*) INTO added FROM fresh;
	RETURN added;
END
$$;

-- NULL takes the password away.
CREATE FUNCTION account_set_password(login text, password_hash text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM hash_check(account_set_password.password_hash);
	UPDATE account SET password_hash = account_set_password.password_hash
	WHERE account_id = account_named(account_set_password.login);
END
$$;

CREATE FUNCTION account_set_enabled(login text, enabled boolean) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF account_set_enabled.enabled IS NULL THEN
		RAISE EXCEPTION 'enabled must be true or false' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	UPDATE account SET status = CASE WHEN account_set_enabled.enabled THEN 'enabled' ELSE 'disabled' END
	WHERE account_id = account_named(account_set_enabled.login);
END
$$;

CREATE FUNCTION account_set_plan(login text, plan text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	UPDATE account SET plan_id = plan_named(account_set_plan.plan)
	WHERE account_id = account_named(account_set_plan.login);
END
$$;

-- What is done about a header From that is not the account's: off, observe, reject or rewrite; NULL for
-- what the listener says.
CREATE FUNCTION account_set_from_policy(login text, policy text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF account_set_from_policy.policy NOT IN ('off', 'observe', 'reject', 'rewrite') THEN
		RAISE EXCEPTION 'not a policy for From' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is off, observe, reject or rewrite; null for what the listener says.';
	END IF;
	UPDATE account SET from_policy = account_set_from_policy.policy
	WHERE account_id = account_named(account_set_from_policy.login);
END
$$;

-- Whose token a message bears.
CREATE FUNCTION account_by_token(token text)
	RETURNS TABLE (account_id bigint, login text, enabled boolean)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT a.account_id, a.login, a.status = 'enabled' FROM account a
	WHERE a.token = lower(account_by_token.token COLLATE "C");
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no account has this token' USING ERRCODE = 'no_data_found',
			HINT = 'It may have been rotated since, or the account is deleted: the log knows '
				'the account of every message.';
	END IF;
END
$$;

-- Gives the account a new token and returns it; messages that bear the old one name nobody from now on.
CREATE FUNCTION account_rotate_token(login text) RETURNS text
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	fresh text := token_new();
BEGIN
	UPDATE account SET token = fresh WHERE account_id = account_named(account_rotate_token.login);
	RETURN fresh;
END
$$;

-- A page of accounts in the order of their logins, those after `after`.
CREATE FUNCTION account_list(after text DEFAULT '', page int DEFAULT 100)
	RETURNS TABLE (account_id bigint, login text, enabled boolean, has_password boolean, plan text,
		created_at timestamptz, from_policy text, token text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF account_list.page IS NULL OR account_list.page NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'a page has 1 to 10000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY
	SELECT a.account_id, a.login, a.status = 'enabled', a.password_hash IS NOT NULL, p.name, a.created_at,
		a.from_policy, a.token
	FROM account a JOIN plan p ON p.plan_id = a.plan_id
	WHERE a.login > coalesce(account_list.after, '')
	ORDER BY a.login LIMIT account_list.page;
END
$$;

CREATE FUNCTION account_show(login text)
	RETURNS TABLE (account_id bigint, account text, enabled boolean, has_password boolean, plan text,
		created_at timestamptz, version bigint, sender_count bigint, from_policy text, token text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT a.account_id, a.login, a.status = 'enabled', a.password_hash IS NOT NULL, p.name,
		a.created_at, greatest(a.version, p.version),
		(SELECT count(*) FROM sender s WHERE s.account_id = a.account_id), a.from_policy, a.token
	FROM account a JOIN plan p ON p.plan_id = a.plan_id
	WHERE a.account_id = account_named(account_show.login);
END
$$;

-- --------------------------------------------------------------------- senders

-- false: it was there already.
CREATE FUNCTION sender_add(login text, sender text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO sender (account_id, kind, value)
	SELECT account_named(sender_add.login), p.kind, p.value FROM sender_parsed(sender_add.sender) p
	ON CONFLICT DO NOTHING;
	RETURN FOUND;
END
$$;

-- false: it was not there.
CREATE FUNCTION sender_del(login text, sender text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint := account_named(sender_del.login);
BEGIN
	DELETE FROM sender s USING sender_parsed(sender_del.sender) p
	WHERE s.account_id = id AND s.kind = p.kind AND s.value = p.value;
	RETURN FOUND;
END
$$;

-- As sender_add() takes them: addresses, then '*', then domains; a page of those after `after`.
CREATE FUNCTION sender_list(login text, after text DEFAULT NULL, page int DEFAULT 1000)
	RETURNS TABLE (sender text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint := account_named(sender_list.login);
	from_kind text := '';
	from_value text := '';
BEGIN
	IF sender_list.page IS NULL OR sender_list.page NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'a page has 1 to 10000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF sender_list.after IS NOT NULL THEN
		SELECT p.kind, p.value INTO from_kind, from_value FROM sender_parsed(sender_list.after) p;
	END IF;
	RETURN QUERY
	SELECT CASE s.kind WHEN 'domain' THEN '@' || s.value ELSE s.value END
	FROM sender s
	WHERE s.account_id = id AND (s.kind, s.value) > (from_kind COLLATE "C", from_value COLLATE "C")
	ORDER BY s.kind, s.value LIMIT sender_list.page;
END
$$;

-- ---------------------------------------------------------------------- limits

-- One limit out of a JSON object: a number, "unlimited" (-1 here), or null (the plan's).
CREATE FUNCTION limit_parsed(name text, value jsonb) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	per_message boolean := name IN ('recipients_message', 'message_bytes');
	min int := CASE WHEN per_message THEN 1 ELSE 0 END;
	max bigint := CASE name WHEN 'recipients_message' THEN 2147483647 ELSE 9007199254740992 END;
	number numeric;
BEGIN
	IF name NOT IN ('messages_hour', 'messages_day', 'recipients_hour', 'recipients_day',
		'recipients_message', 'message_bytes') THEN
		RAISE EXCEPTION 'there is no limit "%"', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Limits are messages_hour, messages_day, recipients_hour, recipients_day, '
				'recipients_message and message_bytes.';
	END IF;
	IF jsonb_typeof(value) = 'null' THEN
		RETURN NULL;
	ELSIF value = '"unlimited"' THEN
		RETURN -1;
	ELSIF jsonb_typeof(value) = 'number' THEN
		number := value::text::numeric;
		IF number = trunc(number) AND number BETWEEN min AND max THEN
			RETURN number::bigint;
		END IF;
	END IF;
	RAISE EXCEPTION 'limit % must be a whole number from % to %, or unlimited',
		name, min, max
		USING ERRCODE = 'invalid_parameter_value',
		HINT = CASE WHEN per_message THEN 'To let an account send nothing, disable it.'
			ELSE '0 lets nothing through; unlimited switches the meter off.' END;
END
$$;

-- Sets the account's own limits, '{"messages_hour": 500, "messages_day": "unlimited",
-- "message_bytes": null}': a number, "unlimited", or null for what the plan says.  What is not named
-- stays as it is.
CREATE FUNCTION limits_set(login text, limits jsonb) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	parsed jsonb;
BEGIN
	IF limits_set.limits IS NULL OR jsonb_typeof(limits_set.limits) <> 'object' THEN
		RAISE EXCEPTION 'limits must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT coalesce(jsonb_object_agg(key, limit_parsed(key, value)), '{}') INTO parsed
	FROM jsonb_each(limits_set.limits);
	UPDATE account a SET (messages_hour, messages_day, recipients_hour, recipients_day,
			recipients_message, message_bytes) =
		(SELECT r.messages_hour, r.messages_day, r.recipients_hour, r.recipients_day,
			r.recipients_message, r.message_bytes FROM jsonb_populate_record(a, parsed) r)
	WHERE a.account_id = account_named(limits_set.login);
END
$$;

-- Makes or changes a plan; a limit that is not named stays as it is, in a new plan unlimited.
CREATE FUNCTION plan_set(name text, limits jsonb DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	parsed jsonb;
BEGIN
	IF plan_set.name IS NULL OR plan_set.name !~ '^[a-z0-9][a-z0-9._-]{0,62}$' THEN
		RAISE EXCEPTION 'not a name for a plan' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A plan''s name has 1 to 63 of a-z, 0-9, dot, hyphen and underscore.';
	END IF;
	IF plan_set.limits IS NULL OR jsonb_typeof(plan_set.limits) <> 'object' THEN
		RAISE EXCEPTION 'limits must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	-- A plan has nothing to inherit from: null is unlimited.
	SELECT coalesce(jsonb_object_agg(key, coalesce(limit_parsed(key, value), -1)), '{}') INTO parsed
	FROM jsonb_each(plan_set.limits);
	INSERT INTO plan (name) VALUES (plan_set.name) ON CONFLICT (name) DO NOTHING;
	UPDATE plan p SET (messages_hour, messages_day, recipients_hour, recipients_day,
			recipients_message, message_bytes) =
		(SELECT r.messages_hour, r.messages_day, r.recipients_hour, r.recipients_day,
			r.recipients_message, r.message_bytes FROM jsonb_populate_record(p, parsed) r)
	WHERE p.name = plan_set.name;
END
$$;

-- NULL: unlimited.
CREATE FUNCTION plan_list()
	RETURNS TABLE (plan text, messages_hour bigint, messages_day bigint, recipients_hour bigint,
		recipients_day bigint, recipients_message bigint, message_bytes bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT p.name, nullif(p.messages_hour, -1), nullif(p.messages_day, -1), nullif(p.recipients_hour, -1),
		nullif(p.recipients_day, -1), nullif(p.recipients_message, -1), nullif(p.message_bytes, -1)
	FROM plan p ORDER BY p.name;
END
$$;

-- The limits that hold for an account, six rows: NULL unlimited; where each comes from, 'account' or
-- 'plan'; and what is used of the four meters at present.
CREATE FUNCTION limits_show(login text)
	RETURNS TABLE (name text, max bigint, source text, used bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	found_now record; -- account a, plan p, meter m
	m meter;
	present int := slot_of(clock_timestamp());
	id bigint := account_named(limits_show.login);
BEGIN
	SELECT a, p INTO found_now
	FROM account a JOIN plan p ON p.plan_id = a.plan_id WHERE a.account_id = id;
	SELECT * INTO m FROM meter WHERE account_id = id AND credential_id = 0;
	RETURN QUERY
	SELECT l.name, nullif(coalesce(l.own, l.planned), -1),
		CASE WHEN l.own IS NULL THEN 'plan' ELSE 'account' END,
		CASE WHEN l.slots IS NOT NULL THEN (
			SELECT t.present + t.past FROM ring_turn(l.now, l.past, l.slots, l.steps) t)
			WHEN l.steps IS NOT NULL THEN 0 END
	FROM (VALUES
		(1, 'messages_hour', (found_now.a).messages_hour, (found_now.p).messages_hour,
			m.hour_messages, m.hour_messages_past, m.hour_messages_slots, coalesce(present - m.slot, 0)),
		(2, 'messages_day', (found_now.a).messages_day, (found_now.p).messages_day,
			m.day_messages, m.day_messages_past, m.day_messages_slots, coalesce(present / 12 - m.slot / 12, 0)),
		(3, 'recipients_hour', (found_now.a).recipients_hour, (found_now.p).recipients_hour,
			m.hour_recipients, m.hour_recipients_past, m.hour_recipients_slots, coalesce(present - m.slot, 0)),
		(4, 'recipients_day', (found_now.a).recipients_day, (found_now.p).recipients_day,
			m.day_recipients, m.day_recipients_past, m.day_recipients_slots,
			coalesce(present / 12 - m.slot / 12, 0)),
		(5, 'recipients_message', (found_now.a).recipients_message, (found_now.p).recipients_message,
			NULL, NULL, NULL, NULL),
		(6, 'message_bytes', (found_now.a).message_bytes, (found_now.p).message_bytes,
			NULL, NULL, NULL, NULL)
	) AS l (number, name, own, planned, now, past, slots, steps)
	ORDER BY l.number;
END
$$;

GRANT EXECUTE ON FUNCTION account_add(text, text, text), accounts_add_many(text[], text, text),
	account_set_password(text, text), account_set_enabled(text, boolean), account_set_plan(text, text),
	account_set_from_policy(text, text), account_by_token(text), account_rotate_token(text),
	account_list(text, int), account_show(text), sender_add(text, text), sender_del(text, text),
	sender_list(text, text, int), limits_set(text, jsonb), limits_show(text), plan_set(text, jsonb), plan_list()
TO postern_admin;
