-- SPDX-License-Identifier: ISC
-- Accounts by the thousand, in and out: what posternctl account import and export ask for.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- Which of these accounts there are, with their hashes.
CREATE FUNCTION account_known(logins text[]) RETURNS TABLE (login text, password_hash text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT a.login, a.password_hash FROM account a WHERE a.login = ANY (account_known.logins);
END
$$;

-- Adds and, with change, changes many accounts.  rows: an array of
--   {"login": "alice@example.net", "hash": "$argon2id$...", "plan": "basic", "senders": ["@example.net"],
--    "enabled": true}
-- in which all but the login may be left out: a new account has no hash then, the plan default, its login
-- for a sender when that is an address, and is enabled; one that exists keeps what it has.
-- Each row is done as a whole or not at all.  The answer has a line a row, numbered from 1 on: added,
-- changed, unchanged or bad, and of a bad one what is wrong.  No login may be there twice.
CREATE FUNCTION account_import(rows jsonb, change boolean DEFAULT false)
	RETURNS TABLE (number int, result text, problem text)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	usual bigint := plan_named('default');
	item jsonb;
	i int := 0;
	plan_last text;
	plan_id_last bigint;
	numbers int[] := '{}'; -- of the good rows, and so on side by side
	logins text[] := '{}';
	hashes text[] := '{}';
	plans bigint[] := '{}';
	states text[] := '{}';
	senders jsonb[] := '{}'; -- each [[kind, value], ...]
	own boolean[] := '{}';   -- brings senders of its own
	allowed jsonb;           -- of the row at hand; then of all by login
	place jsonb;             -- the number of a row by login
	results text[] := '{}'; -- of all rows
	problems text[] := '{}';
	touched text[];
	one text;
	prepared text;
	state text;
BEGIN
	IF account_import.rows IS NULL OR jsonb_typeof(account_import.rows) <> 'array' THEN
		RAISE EXCEPTION 'rows must be a JSON array' USING ERRCODE = 'invalid_parameter_value';
	END IF;

	FOR item IN SELECT e FROM jsonb_array_elements(account_import.rows) e LOOP
		i := i + 1;
		results := results || 'unchanged'::text;
		problems := problems || NULL::text;
		BEGIN -- nothing is written here: this costs no subtransaction
			prepared := login_prepared(item ->> 'login');
			PERFORM hash_check(item ->> 'hash');
			IF item ->> 'plan' IS DISTINCT FROM plan_last THEN
				plan_id_last := CASE WHEN item ->> 'plan' IS NOT NULL THEN plan_named(item ->> 'plan') END;
				plan_last := item ->> 'plan';
			END IF;
			SELECT coalesce(jsonb_agg(jsonb_build_array(p.kind, p.value)), '[]') INTO allowed
			FROM jsonb_array_elements_text(item -> 'senders') e CROSS JOIN LATERAL sender_parsed(e) p;
			state := CASE (item ->> 'enabled')::boolean WHEN true THEN 'enabled' WHEN false THEN 'disabled' END;
			IF NOT item ? 'senders' AND is_address(prepared) THEN
				allowed := jsonb_build_array(jsonb_build_array('address', prepared));
			END IF;
			numbers := numbers || i;
			logins := logins || prepared;
			hashes := hashes || (item ->> 'hash');
			plans := plans || plan_id_last;
			states := states || state;
			senders := senders || allowed;
			own := own || (item ? 'senders');
		EXCEPTION WHEN data_exception OR undefined_object THEN
			results[i] := 'bad';
			problems[i] := SQLERRM;
			plan_last := NULL;
			plan_id_last := NULL;
		END;
	END LOOP;

	-- Looked up by login in objects: a planner that does not know how many rows there are would compare each
	-- with each.
	SELECT coalesce(jsonb_object_agg(w.login, w.number), '{}'), coalesce(jsonb_object_agg(w.login, w.senders), '{}')
	INTO place, allowed
	FROM unnest(numbers, logins, senders) w (number, login, senders);
	IF (SELECT count(*) FROM jsonb_object_keys(place)) < cardinality(logins) THEN
		RAISE EXCEPTION 'a login is there twice' USING ERRCODE = 'invalid_parameter_value';
	END IF;

	WITH fresh AS (
		INSERT INTO account (login, password_hash, plan_id, status)
		SELECT w.login, w.hash, coalesce(w.plan_id, usual), coalesce(w.state, 'enabled')
		FROM unnest(logins, hashes, plans, states) w (login, hash, plan_id, state)
		ORDER BY w.login -- two at once meet no deadlock
		ON CONFLICT (login) DO NOTHING
		RETURNING account_id, login
	), theirs AS (
		INSERT INTO sender (account_id, kind, value)
		SELECT f.account_id, s.pair ->> 0, s.pair ->> 1
		FROM fresh f CROSS JOIN LATERAL jsonb_array_elements(allowed -> f.login) s (pair)
		ON CONFLICT DO NOTHING
	)
	SELECT coalesce(array_agg(f.login), '{}') INTO touched FROM fresh f;
	FOREACH one IN ARRAY touched LOOP
		results[(place ->> one)::int] := 'added';
	END LOOP;

	IF account_import.change THEN
		-- What was added just now differs in nothing.
		PERFORM FROM account a WHERE a.login = ANY (logins) ORDER BY a.login FOR UPDATE;
		WITH columns AS (
			UPDATE account a SET password_hash = coalesce(w.hash, a.password_hash),
				plan_id = coalesce(w.plan_id, a.plan_id), status = coalesce(w.state, a.status)
			FROM unnest(logins, hashes, plans, states) w (login, hash, plan_id, state)
			WHERE a.login = w.login
			AND (a.password_hash IS DISTINCT FROM coalesce(w.hash, a.password_hash)
				OR a.plan_id <> coalesce(w.plan_id, a.plan_id) OR a.status <> coalesce(w.state, a.status))
			RETURNING a.login
		), gone AS (
			DELETE FROM sender s
			USING account a JOIN unnest(logins, own) w (login, own) ON w.login = a.login
			WHERE w.own AND s.account_id = a.account_id
			AND NOT EXISTS (SELECT FROM jsonb_array_elements(allowed -> a.login) n (pair)
				WHERE n.pair ->> 0 = s.kind AND n.pair ->> 1 = s.value)
			RETURNING a.login
		), more AS (
			INSERT INTO sender AS s (account_id, kind, value)
			SELECT a.account_id, n.pair ->> 0, n.pair ->> 1
			FROM account a JOIN unnest(logins, own) w (login, own) ON w.login = a.login
			CROSS JOIN LATERAL jsonb_array_elements(allowed -> a.login) n (pair)
			WHERE w.own
			ON CONFLICT DO NOTHING
			RETURNING (SELECT a.login FROM account a WHERE a.account_id = s.account_id) AS login
		)
		SELECT coalesce(array_agg(t.login), '{}') INTO touched
		FROM (SELECT login FROM columns UNION SELECT login FROM gone UNION SELECT login FROM more) t;
		FOREACH one IN ARRAY touched LOOP
			results[(place ->> one)::int] := 'changed';
		END LOOP;
	END IF;

	RETURN QUERY
	SELECT r.number::int, r.result, r.problem
	FROM unnest(results, problems) WITH ORDINALITY r (result, problem, number) ORDER BY r.number;
END
$$;

-- A page of accounts with all that account_import() takes, in the order of their logins.
CREATE FUNCTION account_export(after text DEFAULT '', page int DEFAULT 1000)
	RETURNS TABLE (login text, hash text, plan text, senders text[], enabled boolean)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF account_export.page IS NULL OR account_export.page NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'a page has 1 to 10000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY
	SELECT a.login, a.password_hash, p.name,
		ARRAY(SELECT CASE s.kind WHEN 'domain' THEN '@' || s.value ELSE s.value END FROM sender s
			WHERE s.account_id = a.account_id ORDER BY s.kind, s.value),
		a.status = 'enabled'
	FROM account a JOIN plan p ON p.plan_id = a.plan_id
	WHERE a.login > coalesce(account_export.after, '')
	ORDER BY a.login LIMIT account_export.page;
END
$$;

GRANT EXECUTE ON FUNCTION account_known(text[]), account_import(jsonb, boolean), account_export(text, int)
TO postern_admin;
