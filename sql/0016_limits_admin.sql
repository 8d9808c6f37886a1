-- SPDX-License-Identifier: ISC
-- Limits as people set and see them: by name, of plans, accounts, credentials, tenants and domains; and what
-- follows from the new tables: the log of changes and the audit.
--
-- Errors: 22023 an argument is not valid, 23505 it exists already, 42704 no such plan or tenant, 55000 it is
-- in use; the hint says what to do.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- ------------------------------------------------------------- changes, and audit

-- A plan is its accounts' and its tenants', a tenant its accounts' and those of the tenants below it, a
-- domain is everybody's.
CREATE OR REPLACE FUNCTION change_note() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	accounts bigint[];
	credentials bigint[];
	plans bigint[];
	tenants bigint[];
BEGIN
	-- Another hash of the same password ends nothing, and what a node remembers of it still holds.
	IF current_setting('postern.same_password', true) = 'on' THEN
		RETURN NULL;
	END IF;
	CASE TG_ARGV[0]
	WHEN 'account' THEN
		SELECT array_agg(account_id) INTO accounts
		FROM (SELECT DISTINCT account_id FROM gone LIMIT 1001) c;
	WHEN 'credential' THEN
		SELECT array_agg(account_id), array_agg(credential_id) INTO accounts, credentials
		FROM (SELECT account_id, credential_id FROM gone LIMIT 1001) c;
	WHEN 'plan' THEN
		-- The accounts as they are now: one that is made meanwhile has the old plan until it is
		-- looked up again.
		SELECT array_agg(n.plan_id) INTO plans FROM written n JOIN gone o ON o.plan_id = n.plan_id
		WHERE to_jsonb(n) - 'version' <> to_jsonb(o) - 'version';
		IF EXISTS (SELECT FROM domain d WHERE d.plan_id = ANY (plans)) THEN
			PERFORM changes_note('everything');
			RETURN NULL;
		END IF;
		SELECT array_agg(t.tenant_id) INTO tenants FROM tenant t WHERE t.plan_id = ANY (plans);
	WHEN 'tenant' THEN
		SELECT array_agg(tenant_id) INTO tenants FROM gone;
	WHEN 'block' THEN
		PERFORM changes_note('block');
		RETURN NULL;
	WHEN 'domain' THEN
		PERFORM changes_note('everything');
		RETURN NULL;
	END CASE;
	IF TG_ARGV[0] IN ('plan', 'tenant') THEN
		SELECT array_agg(account_id) INTO accounts
		FROM (
			SELECT account_id FROM account WHERE plan_id = ANY (plans)
			UNION
			SELECT a.account_id FROM tenant_chain c JOIN account a ON a.tenant_id = c.tenant_id
			WHERE c.chain && tenants
			LIMIT 1001
		) c;
	END IF;
	IF accounts IS NOT NULL THEN
		PERFORM changes_note(CASE TG_ARGV[0] WHEN 'credential' THEN 'credential' ELSE 'account' END, accounts,
			credentials);
	END IF;
	RETURN NULL;
END
$$;

CREATE TRIGGER note_update AFTER UPDATE ON tenant REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION change_note('tenant');
CREATE TRIGGER note_insert AFTER INSERT ON domain FOR EACH STATEMENT EXECUTE FUNCTION change_note('domain');
CREATE TRIGGER note_update AFTER UPDATE ON domain FOR EACH STATEMENT EXECUTE FUNCTION change_note('domain');
CREATE TRIGGER note_delete AFTER DELETE ON domain FOR EACH STATEMENT EXECUTE FUNCTION change_note('domain');

-- A row as people read it: each limit by its name, "grace_" before those of grace.
CREATE FUNCTION audit_named(recorded jsonb) RETURNS jsonb
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF NOT recorded ?| '{limits,grace}' THEN
		RETURN recorded;
	END IF;
	RETURN recorded - '{limits,grace}'::text[] || coalesce((
		SELECT jsonb_object_agg(c.prefix || k.name, e.value)
		FROM (VALUES ('', recorded -> 'limits'), ('grace_', recorded -> 'grace')) c (prefix, list)
		CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(c.list) WHEN 'array' THEN c.list ELSE '[]' END)
			WITH ORDINALITY e (value, number)
		JOIN limit_kind k ON k.number = e.number
		WHERE e.value <> 'null'), '{}');
END
$$;

CREATE OR REPLACE FUNCTION audit_masked(changed jsonb) RETURNS jsonb
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	changed := audit_named(changed);
	IF changed ->> 'password_hash' IS NOT NULL THEN
		changed := changed || jsonb_build_object('password_hash', hash_scheme(changed ->> 'password_hash'));
	END IF;
	IF changed ->> 'hash' IS NOT NULL THEN
		changed := changed || '{"hash": "keyed"}';
	END IF;
	RETURN changed - '{version,password_version}'::text[];
END
$$;

CREATE OR REPLACE FUNCTION audit_difference(was jsonb, became jsonb, label text[], OUT before jsonb, OUT after jsonb)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	old jsonb;
	new jsonb;
	changed text[];
BEGIN
	IF was - '{version,password_version}'::text[] = became - '{version,password_version}'::text[] THEN
		RETURN;
	END IF;
	old := audit_named(was);
	new := audit_named(became);
	-- A limit that is not there is null.
	changed := ARRAY(SELECT k FROM jsonb_object_keys(old || new) k
		WHERE coalesce(old -> k, 'null') <> coalesce(new -> k, 'null') AND k NOT IN ('version', 'password_version'));
	IF changed <> '{}' THEN
		old := audit_masked(old);
		new := audit_masked(new);
		SELECT jsonb_object_agg(k, coalesce(old -> k, 'null')), jsonb_object_agg(k, coalesce(new -> k, 'null'))
		INTO before, after FROM unnest(changed || label) k;
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION audit_erased(recorded jsonb) RETURNS jsonb
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT jsonb_object_agg(key, CASE
			WHEN value = 'null' OR key IN ('account_id', 'plan_id', 'tenant_id', 'credential_id', 'status',
				'created_at', 'from_policy', 'password_hash', 'hash', 'kind', 'enabled', 'expires_at', 'revoked_at',
				'key_id', 'blocked_until')
				OR key IN (SELECT k.name FROM limit_kind k) THEN value
			ELSE '"erased"' END)
		FROM jsonb_each(recorded));
END
$$;

SELECT audit_attach('tenant', 'tenant_id', 'name');
SELECT audit_attach('domain', 'domain_id', 'name');

-- ------------------------------------------------------------------- arguments

DROP FUNCTION limit_parsed(text, jsonb), limits_set(text, jsonb), limits_show(text), plan_set(text, jsonb), plan_list(),
	account_show(text), credential_show(text),
	credential_add(text, text, text, bytea, text, text[], text[], timestamptz, bigint, bigint, bigint, bigint);

-- Fails where limits, '{"messages_hour": 500, "messages_day": "unlimited", "sessions": null}', are none.
-- metered: of somebody who has a meter and nothing else: a credential, a domain, a tenant.
CREATE FUNCTION limits_check(settings jsonb, metered boolean DEFAULT false) RETURNS void
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	one record;
	k limit_kind;
	least_of int;
	most_of bigint;
BEGIN
	IF settings IS NULL OR jsonb_typeof(settings) <> 'object' THEN
		RAISE EXCEPTION 'limits must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOR one IN SELECT * FROM jsonb_each(settings) LOOP
		SELECT * INTO k FROM limit_kind l WHERE l.name = one.key;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no limit "%"', left(one.key, 100) USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Limits are ' || (SELECT string_agg(l.name, ', ' ORDER BY l.number) FROM limit_kind l) || '.';
		END IF;
		IF metered AND k.first IS NULL AND k.quantity <> 'distinct' THEN
			RAISE EXCEPTION 'limit % is of accounts and plans alone', k.name USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A credential, a domain and a tenant have those of an hour, a day and a month.';
		END IF;
		CONTINUE WHEN one.value IN ('null', '"unlimited"');
		least_of := CASE WHEN k.name IN ('recipients_message', 'message_bytes') THEN 1 ELSE 0 END;
		most_of := CASE WHEN k.quantity = 'bytes' OR k.first IS NOT NULL OR k.quantity = 'distinct'
			THEN 1000000000000000 ELSE 2147483647 END;
		IF jsonb_typeof(one.value) = 'number' AND one.value::text::numeric = trunc(one.value::text::numeric)
			AND one.value::text::numeric BETWEEN least_of AND most_of THEN
			CONTINUE;
		END IF;
		RAISE EXCEPTION 'limit % must be a whole number from % to %, or unlimited', k.name, least_of, most_of
			USING ERRCODE = 'invalid_parameter_value',
			HINT = CASE least_of WHEN 1 THEN 'To let an account send nothing, disable it.'
				ELSE '0 lets nothing through; unlimited switches the limit off.' END;
	END LOOP;
END
$$;

-- Limits with those of settings, which were checked; NULL: none is left.  unlimited: what that becomes.
CREATE FUNCTION limits_written(was bigint[], settings jsonb, unlimited bigint) RETURNS bigint[]
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	written bigint[] := ARRAY(
		SELECT CASE WHEN NOT settings ? k.name OR k.name IS NULL THEN was[n]
			WHEN settings -> k.name = '"unlimited"' THEN unlimited ELSE (settings ->> k.name)::numeric::bigint END
		FROM generate_series(1, (SELECT max(number) FROM limit_kind)) n LEFT JOIN limit_kind k ON k.number = n
		ORDER BY n);
BEGIN
	RETURN CASE WHEN num_nonnulls(VARIADIC written) > 0 THEN written END;
END
$$;

-- Limits by name, as they were written; {}: none.
CREATE FUNCTION limits_named(limits bigint[]) RETURNS jsonb
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN coalesce((SELECT jsonb_object_agg(k.name, CASE u.most WHEN -1 THEN '"unlimited"' ELSE to_jsonb(u.most) END)
		FROM unnest(limits) WITH ORDINALITY u (most, number) JOIN limit_kind k ON k.number = u.number
		WHERE u.most IS NOT NULL), '{}');
END
$$;

-- One word out of an object; NULL: it is null.
CREATE FUNCTION setting_text(settings jsonb, key text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF jsonb_typeof(settings -> key) NOT IN ('string', 'null') THEN
		RAISE EXCEPTION '% must be a name, or null', key USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN settings ->> key;
END
$$;

CREATE FUNCTION settings_check(settings jsonb, what text, name text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$') IS NOT TRUE THEN
		RAISE EXCEPTION 'not a name for a %', what USING ERRCODE = 'invalid_parameter_value',
			HINT = format('A %s''s name has 1 to 63 of a-z, 0-9, dot, hyphen and underscore.', what);
	END IF;
	IF settings IS NULL OR jsonb_typeof(settings) <> 'object' THEN
		RAISE EXCEPTION 'settings must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$$;

-- ----------------------------------------------------------------------- plans

-- Makes or changes a plan, {"messages_hour": 500, "on_exceed": "reject", "warn_percent": 80,
-- "grace": {"messages_hour": 20}}; what is not named stays as it is, in a new plan unlimited.
CREATE FUNCTION plan_set(name text, settings jsonb DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	limits jsonb;
	grace jsonb := coalesce(nullif(settings -> 'grace', 'null'), '{}');
BEGIN
	PERFORM settings_check(settings, 'plan', name);
	limits := settings - '{on_exceed,warn_percent,grace}'::text[];
	PERFORM limits_check(limits);
	PERFORM limits_check(grace, true);
	IF (settings ? 'on_exceed' AND settings -> 'on_exceed' NOT IN ('"defer"', '"reject"')) THEN
		RAISE EXCEPTION 'on_exceed must be defer or reject' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF coalesce(settings -> 'warn_percent', 'null') <> 'null' AND (jsonb_typeof(settings -> 'warn_percent') = 'number'
		AND settings ->> 'warn_percent' ~ '^([1-9][0-9]?|100)$') IS NOT TRUE THEN
		RAISE EXCEPTION 'warn_percent must be a whole number from 1 to 100, or null'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF EXISTS (SELECT FROM jsonb_each(grace) g WHERE g.value = '"unlimited"') THEN
		RAISE EXCEPTION 'a grace is not unlimited' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	INSERT INTO plan (name) VALUES (name) ON CONFLICT DO NOTHING;
	UPDATE plan p SET limits = coalesce(limits_written(p.limits, limits, NULL), '{}'),
		grace = CASE WHEN settings ? 'grace' THEN coalesce(limits_written('{}', grace, NULL), '{}') ELSE p.grace END,
		on_exceed = coalesce(settings ->> 'on_exceed', p.on_exceed),
		warn_percent = CASE WHEN settings ? 'warn_percent' THEN (settings ->> 'warn_percent')::int
			ELSE p.warn_percent END
	WHERE p.name = plan_set.name;
END
$$;

CREATE FUNCTION plan_add(name text, settings jsonb DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM plan p WHERE p.name = plan_add.name) THEN
		RAISE EXCEPTION 'there is a plan "%" already', plan_add.name USING ERRCODE = 'unique_violation',
			HINT = 'posternctl plan set changes it.';
	END IF;
	PERFORM plan_set(name, settings);
END
$$;

-- settings: as plan_set() takes them; a limit that is not there is unlimited.  accounts: who has it now.
CREATE FUNCTION plan_list() RETURNS TABLE (name text, accounts bigint, settings jsonb)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT p.name, (SELECT count(*) FROM account a WHERE a.plan_id = p.plan_id),
		limits_named(p.limits) || jsonb_build_object('on_exceed', p.on_exceed, 'warn_percent', p.warn_percent,
			'grace', limits_named(p.grace))
	FROM plan p ORDER BY p.name;
END
$$;

-- ------------------------------------------------------------ tenants and domains

CREATE FUNCTION tenant_named(tenant text) RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	id bigint := (SELECT t.tenant_id FROM tenant t WHERE t.name = tenant_named.tenant);
BEGIN
	IF id IS NULL THEN
		RAISE EXCEPTION 'there is no tenant "%"', tenant USING ERRCODE = 'undefined_object',
			HINT = 'posternctl tenant list shows the tenants, tenant set makes one.';
	END IF;
	RETURN id;
END
$$;

-- Makes or changes a tenant: {"plan": "basic", "parent": "reseller", "enabled": true, "messages_day": 5000}.
-- plan null: only what is set here limits it; parent null: none.  What is not named stays as it is.
CREATE FUNCTION tenant_set(name text, settings jsonb DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	limits jsonb;
	plan text;
	parent text;
BEGIN
	PERFORM settings_check(settings, 'tenant', name);
	limits := settings - '{plan,parent,enabled}'::text[];
	PERFORM limits_check(limits, true);
	plan := setting_text(settings, 'plan');
	parent := setting_text(settings, 'parent');
	IF settings ? 'enabled' AND jsonb_typeof(settings -> 'enabled') <> 'boolean' THEN
		RAISE EXCEPTION 'enabled must be true or false' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF parent = name THEN
		RAISE EXCEPTION 'a tenant is not its own parent' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	INSERT INTO tenant (name) VALUES (name) ON CONFLICT DO NOTHING;
	UPDATE tenant t SET limits = limits_written(t.limits, limits, -1),
		plan_id = CASE WHEN plan IS NOT NULL THEN plan_named(plan) WHEN NOT settings ? 'plan' THEN t.plan_id END,
		parent_id = CASE WHEN parent IS NOT NULL THEN tenant_named(parent)
			WHEN NOT settings ? 'parent' THEN t.parent_id END,
		enabled = coalesce((settings ->> 'enabled')::boolean, t.enabled)
	WHERE t.name = tenant_set.name;
END
$$;

-- accounts: of the tenant itself, not of those below it.
CREATE FUNCTION tenant_list()
	RETURNS TABLE (name text, parent text, plan text, enabled boolean, accounts bigint, settings jsonb)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT t.name, u.name, p.name, t.enabled,
		(SELECT count(*) FROM account a WHERE a.tenant_id = t.tenant_id), limits_named(t.limits)
	FROM tenant t LEFT JOIN tenant u ON u.tenant_id = t.parent_id LEFT JOIN plan p ON p.plan_id = t.plan_id
	ORDER BY t.name;
END
$$;

CREATE FUNCTION tenant_del(name text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	id bigint := tenant_named(name);
BEGIN
	IF EXISTS (SELECT FROM account a WHERE a.tenant_id = id) OR EXISTS (SELECT FROM tenant t WHERE t.parent_id = id) THEN
		RAISE EXCEPTION 'tenant "%" has accounts, or tenants below it', name
			USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'Move them first: posternctl account tenant, tenant set.';
	END IF;
	DELETE FROM tenant t WHERE t.tenant_id = id;
END
$$;

-- NULL: it is nobody's.
CREATE FUNCTION account_set_tenant(login text, tenant text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	UPDATE account a SET tenant_id = CASE WHEN tenant IS NOT NULL THEN tenant_named(tenant) END
	WHERE a.account_id = account_named(account_set_tenant.login);
END
$$;

CREATE FUNCTION domain_prepared(name text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF (octet_length(name) <= 255 AND is_address('x@' || name) AND strpos(name, '@') = 0) IS NOT TRUE THEN
		RAISE EXCEPTION 'not a domain' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A domain is what follows the @ of an address: example.net.';
	END IF;
	RETURN lower(name COLLATE "C");
END
$$;

-- Makes or changes the limits of all who send as a domain: {"plan": "basic", "messages_day": 5000}.
CREATE FUNCTION domain_set(name text, settings jsonb DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	known text := domain_prepared(name);
	limits jsonb;
	plan text;
BEGIN
	PERFORM settings_check(settings, 'domain', 'x');
	limits := settings - 'plan';
	PERFORM limits_check(limits, true);
	plan := setting_text(settings, 'plan');
	INSERT INTO domain (name) VALUES (known) ON CONFLICT DO NOTHING;
	UPDATE domain d SET limits = limits_written(d.limits, limits, -1),
		plan_id = CASE WHEN plan IS NOT NULL THEN plan_named(plan) WHEN NOT settings ? 'plan' THEN d.plan_id END
	WHERE d.name = known;
END
$$;

CREATE FUNCTION domain_list() RETURNS TABLE (name text, plan text, settings jsonb)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT d.name, p.name, limits_named(d.limits)
	FROM domain d LEFT JOIN plan p ON p.plan_id = d.plan_id ORDER BY d.name;
END
$$;

-- false: it had none.
CREATE FUNCTION domain_del(name text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM domain d WHERE d.name = domain_prepared(domain_del.name);
	RETURN FOUND;
END
$$;

-- ---------------------------------------------------------------------- limits

-- Sets the account's own limits: a number, "unlimited", or null for what the plan says.  What is not named
-- stays as it is.
CREATE FUNCTION limits_set(login text, limits jsonb) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM limits_check(limits_set.limits);
	UPDATE account a SET limits = limits_written(a.limits, limits_set.limits, -1)
	WHERE a.account_id = account_named(limits_set.login);
END
$$;

-- What is used of one limit of a subject at a moment, and when the oldest slot in use leaves its window; NULL:
-- it is not counted.
CREATE FUNCTION limit_used(of_scope int, of_id bigint, k limit_kind, moment timestamptz,
	OUT used bigint, OUT frees_at timestamptz)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	m meter;
	present int := slot_of(moment);
	sum bigint;
	newer bigint;
BEGIN
	IF k.quantity = 'distinct' THEN
		SELECT count(*), to_timestamp((min(h.last) + k.window_s / 150 + 1)::bigint * 150) INTO used, frees_at
		FROM (SELECT max(r.slot) AS last FROM recipient r WHERE r.scope = of_scope AND r.id = of_id
			AND r.slot >= present - k.window_s / 150 GROUP BY r.hash) h;
	ELSIF k.quantity = 'sessions' THEN
		SELECT coalesce(sum(h.sessions), 0) INTO used FROM session_hold h
		WHERE h.account_id = of_id AND h.expires_at > moment;
	ELSIF k.first IS NOT NULL THEN
		used := 0;
		SELECT * INTO m FROM meter t WHERE t.scope = of_scope AND t.id = of_id;
		IF m.slot IS NULL THEN
			RETURN;
		END IF;
		IF m.slot - present NOT IN (0, 1) THEN
			m := meter_turned(m, present);
		END IF;
		sum := meter_sum(m, k.quantity);
		used := sum - coalesce(m.marks[k.first + k.slots], sum);
		IF used > 0 THEN
			FOR age IN REVERSE k.slots..0 LOOP
				newer := CASE age WHEN 0 THEN sum ELSE m.marks[k.first + age - 1] END;
				IF newer > m.marks[k.first + age] THEN
					frees_at := to_timestamp((m.slot / (k.slot_s / 150) - age + k.slots + 1)::bigint * k.slot_s);
					RETURN;
				END IF;
			END LOOP;
		END IF;
	END IF;
END
$$;

-- All limits that hold for an account: its own, and those that limit its credentials, the domains that it may
-- send as, and its tenants.  scope: account, "credential ID", "domain NAME" or "tenant NAME".  meter_limit:
-- -1 unlimited.  source: own, or "plan NAME".  used: NULL where it is not counted.  frees_at: when the oldest
-- slot in use leaves the window.  action: defer or reject.
CREATE FUNCTION limits_show(login text)
	RETURNS TABLE (scope text, name text, label text, meter_limit bigint, source text, used bigint, window_s int,
		frees_at timestamptz, action text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint := account_named(limits_show.login);
	moment timestamptz := clock_timestamp();
BEGIN
	RETURN QUERY
	SELECT s.told, k.name, k.label, coalesce(s.own[k.number], s.planned[k.number], -1),
		CASE WHEN s.own[k.number] IS NULL AND s.plan IS NOT NULL THEN 'plan ' || s.plan ELSE 'own' END,
		u.used, k.window_s, u.frees_at, coalesce(s.on_exceed, 'defer')
	FROM (
		SELECT 1 AS scope, a.account_id AS id, 'account' AS told, a.limits AS own, p.limits AS planned,
			p.name AS plan, p.on_exceed
		FROM account a JOIN plan p ON p.plan_id = a.plan_id WHERE a.account_id = id
		UNION ALL
		SELECT 2, c.credential_id, 'credential ' || c.public_id, c.limits, NULL, NULL, p.on_exceed
		FROM credential c JOIN account a ON a.account_id = c.account_id JOIN plan p ON p.plan_id = a.plan_id
		WHERE c.account_id = id AND c.revoked_at IS NULL AND c.limits IS NOT NULL
		UNION ALL
		SELECT 3, d.domain_id, 'domain ' || d.name, d.limits, p.limits, p.name, p.on_exceed
		FROM domain d LEFT JOIN plan p ON p.plan_id = d.plan_id
		WHERE d.name IN (SELECT substring(v.value FROM '[^@]*$') FROM sender v WHERE v.account_id = id)
		UNION ALL
		SELECT 4, t.tenant_id, 'tenant ' || t.name, t.limits, p.limits, p.name, p.on_exceed
		FROM account a JOIN tenant_chain c ON c.tenant_id = a.tenant_id JOIN tenant t ON t.tenant_id = ANY (c.chain)
		LEFT JOIN plan p ON p.plan_id = t.plan_id WHERE a.account_id = id
	) s
	CROSS JOIN limit_kind k
	LEFT JOIN LATERAL limit_used(s.scope, s.id, k, moment) u
		ON coalesce(s.own[k.number], s.planned[k.number], -1) >= 0
		OR (s.scope = 1 AND k.quantity IN ('messages', 'recipients', 'bytes'))
	WHERE s.scope = 1 OR (coalesce(s.own[k.number], s.planned[k.number], -1) >= 0
		AND (k.first IS NOT NULL OR k.quantity = 'distinct'))
	ORDER BY s.scope, s.told, k.number;
END
$$;

-- ------------------------------------------------------------ accounts, credentials

CREATE FUNCTION account_show(login text)
	RETURNS TABLE (account_id bigint, account text, enabled boolean, has_password boolean, plan text,
		created_at timestamptz, version bigint, sender_count bigint, from_policy text, token text, tenant text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT a.account_id, a.login, a.status = 'enabled', a.password_hash IS NOT NULL, p.name,
		a.created_at, greatest(a.version, p.version),
		(SELECT count(*) FROM sender s WHERE s.account_id = a.account_id), a.from_policy, a.token,
		(SELECT t.name FROM tenant t WHERE t.tenant_id = a.tenant_id)
	FROM account a JOIN plan p ON p.plan_id = a.plan_id
	WHERE a.account_id = account_named(account_show.login);
END
$$;

-- The caller made the secret; public_id is its middle part, key_id and hash as docs/credentials.md
-- says.  limits: as of tenant_set(); the four before it are the same by other means, NULL none.
CREATE FUNCTION credential_add(login text, public_id text, key_id text, hash bytea, label text DEFAULT '',
	networks text[] DEFAULT '{}', senders text[] DEFAULT '{}', expires_at timestamptz DEFAULT NULL,
	messages_hour bigint DEFAULT NULL, messages_day bigint DEFAULT NULL,
	recipients_hour bigint DEFAULT NULL, recipients_day bigint DEFAULT NULL, limits jsonb DEFAULT '{}')
	RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	account bigint := account_named(credential_add.login);
	id bigint := credential_number(credential_add.public_id);
	allowed text[];
	own jsonb;
BEGIN
	IF id IS NULL OR coalesce(credential_add.key_id !~ '^[0-9a-f]{16}$', true)
		OR coalesce(octet_length(credential_add.hash) <> 32, true) THEN
		RAISE EXCEPTION 'not the hash of a generated secret' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'posternctl credential add makes one.';
	END IF;
	IF credential_add.expires_at <= clock_timestamp() THEN
		RAISE EXCEPTION 'the credential would have expired already'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF char_length(credential_add.label) > 100 OR credential_add.label ~ '[\u0001-\u001f\u007f-\u009f]' THEN
		RAISE EXCEPTION 'a label has at most 100 characters, and none that controls a terminal'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF cardinality(credential_add.networks) > 32 OR cardinality(credential_add.senders) > 32 THEN
		RAISE EXCEPTION 'a credential has at most 32 networks and 32 senders'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	own := jsonb_strip_nulls(jsonb_build_object('messages_hour', credential_add.messages_hour,
		'messages_day', credential_add.messages_day, 'recipients_hour', credential_add.recipients_hour,
		'recipients_day', credential_add.recipients_day));
	PERFORM limits_check(own, true), limits_check(coalesce(credential_add.limits, '{}'), true);
	own := own || coalesce(credential_add.limits, '{}');
	allowed := ARRAY(SELECT DISTINCT CASE p.kind WHEN 'domain' THEN '@' || p.value ELSE p.value END
		FROM unnest(credential_add.senders) s CROSS JOIN LATERAL sender_parsed(s) p ORDER BY 1);
	IF '*' = ANY (allowed) THEN
		RAISE EXCEPTION 'a credential cannot be narrowed to any sender'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Without senders it may send as whoever the account may.';
	END IF;
	INSERT INTO credential (credential_id, account_id, public_id, key_id, hash, label, networks, senders,
		expires_at, limits)
	VALUES (id, account, credential_add.public_id, credential_add.key_id, credential_add.hash,
		coalesce(credential_add.label, ''),
		ARRAY(SELECT DISTINCT network_parsed(n) FROM unnest(credential_add.networks) n ORDER BY 1), allowed,
		credential_add.expires_at, limits_written(NULL, own, NULL));
	RETURN id;
END
$$;

CREATE FUNCTION credential_show(public_id text)
	RETURNS TABLE (credential text, login text, state text, label text, created_at timestamptz,
		expires_at timestamptz, revoked_at timestamptz, used_at timestamptz, used_address inet,
		used_client text, key_id text, networks text[], senders text[], messages_hour bigint,
		messages_day bigint, recipients_hour bigint, recipients_day bigint, limits jsonb)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.public_id, a.login, credential_state(c), c.label, c.created_at, c.expires_at, c.revoked_at,
		u.used_at, u.address, u.client, c.key_id, c.networks::text[], c.senders, c.limits[1], c.limits[2],
		c.limits[4], c.limits[5], limits_named(c.limits)
	FROM credential c
	JOIN account a ON a.account_id = c.account_id
	LEFT JOIN credential_use u ON u.credential_id = c.credential_id
	WHERE c.credential_id = credential_named(credential_show.public_id);
END
$$;

GRANT EXECUTE ON FUNCTION plan_set(text, jsonb), plan_add(text, jsonb), plan_list(), tenant_set(text, jsonb),
	tenant_list(), tenant_del(text), account_set_tenant(text, text), domain_set(text, jsonb), domain_list(),
	domain_del(text), limits_set(text, jsonb), limits_show(text), account_show(text),
	credential_add(text, text, text, bytea, text, text[], text[], timestamptz, bigint, bigint, bigint, bigint, jsonb),
	credential_show(text)
TO postern_admin;
