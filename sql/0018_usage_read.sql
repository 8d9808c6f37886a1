-- SPDX-License-Identifier: ISC
-- The books, read: sums for bills, who sent what, why something was refused, and what limits would fit.
-- What is read is kept by 0013.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- Ids of transactions as log, replies and Received: write them: 12 digits of Crockford's base 32, in lower
-- case.  NULL: it is none.
CREATE FUNCTION tid_number(id text) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	number bigint := 0;
BEGIN
	IF id !~ '^[0-9a-hjkmnp-tv-z]{12}$' THEN
		RETURN NULL;
	END IF;
	FOR i IN 1..12 LOOP
		number := number * 32 + strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(id, i, 1)) - 1;
	END LOOP;
	RETURN number;
END
$$;

CREATE FUNCTION tid_text(number bigint) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	id text := '';
BEGIN
	FOR i IN REVERSE 11..0 LOOP
		id := id || substr('0123456789abcdefghjkmnpqrstvwxyz', ((number >> (5 * i)) & 31)::int + 1, 1);
	END LOOP;
	RETURN id;
END
$$;

CREATE FUNCTION tid_wanted(id text) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	number bigint := tid_number(lower(id));
BEGIN
	IF id IS NOT NULL AND number IS NULL THEN
		RAISE EXCEPTION '"%" is no id of a transaction', id USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It has 12 letters and digits, and stands in the reply, in the log and in Received:.';
	END IF;
	RETURN number;
END
$$;

-- A tenant and those below it; raises for one that is not known.
CREATE FUNCTION tenant_within(tenant text) RETURNS bigint[]
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	found_now bigint[];
BEGIN
	WITH RECURSIVE below AS (
		SELECT t.tenant_id FROM tenant t WHERE t.name = tenant_within.tenant
		UNION
		SELECT t.tenant_id FROM tenant t JOIN below b ON t.parent_id = b.tenant_id
	)
	SELECT array_agg(tenant_id) INTO found_now FROM below;
	IF found_now IS NULL THEN
		RAISE EXCEPTION 'there is no tenant "%"', tenant_within.tenant USING ERRCODE = 'no_data_found',
			HINT = 'posternctl tenant list shows the tenants.';
	END IF;
	RETURN found_now;
END
$$;

-- How long the books are kept; NULL leaves a number as it is.  Sums of days are kept for good.
CREATE FUNCTION usage_keep(event_days int DEFAULT NULL, refusal_days int DEFAULT NULL)
	RETURNS TABLE (events int, refusals int)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF least(usage_keep.event_days, usage_keep.refusal_days) < 1
		OR greatest(usage_keep.event_days, usage_keep.refusal_days) > 4000 THEN
		RAISE EXCEPTION 'the books are kept for 1 to 4000 days' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY
	UPDATE usage_settings s SET event_days = coalesce(usage_keep.event_days, s.event_days),
		refusal_days = coalesce(usage_keep.refusal_days, s.refusal_days)
	RETURNING s.event_days, s.refusal_days;
END
$$;

-- What was sent from since on and before until, days of UTC; of an account by its login or, deleted ones
-- too, by its id; or of a tenant with those below it.  grouped: day, month, account, tenant or credential.
-- Amounts contain those of unknown outcome.  login and tenant: as they are called now.  By credential the
-- events are read, which are kept for a time; else sums, which are kept for good.
CREATE FUNCTION usage_report(grouped text, since date DEFAULT NULL, until date DEFAULT NULL,
		login text DEFAULT NULL, account_id bigint DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS TABLE (period text, account bigint, name text, credential text, label text, messages bigint,
		recipients bigint, bytes bigint, unknown bigint, unknown_recipients bigint, unknown_bytes bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
	wanted bigint := usage_report.account_id;
	within bigint[] := CASE WHEN usage_report.tenant IS NOT NULL THEN tenant_within(usage_report.tenant) END;
	first date := coalesce(usage_report.since, '-infinity');
	behind date := coalesce(usage_report.until, 'infinity');
BEGIN
	IF usage_report.grouped IS NULL
		OR usage_report.grouped NOT IN ('day', 'month', 'account', 'tenant', 'credential') THEN
		RAISE EXCEPTION 'usage is not told by "%"', usage_report.grouped
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is told by day, month, account, tenant or credential.';
	END IF;
	IF usage_report.login IS NOT NULL THEN
		wanted := account_named(usage_report.login);
	END IF;
	IF usage_report.grouped = 'credential' THEN
		RETURN QUERY
		SELECT NULL::text, e.account_id, a.login, c.public_id, c.label, e.messages, e.recipients, e.bytes,
			e.unknown, e.unknown_recipients, e.unknown_bytes
		FROM (
			SELECT account_id, credential_id, count(*) AS messages, sum(recipients)::bigint AS recipients,
				sum(bytes)::bigint AS bytes, count(*) FILTER (WHERE state = 'unknown') AS unknown,
				coalesce(sum(recipients) FILTER (WHERE state = 'unknown'), 0)::bigint AS unknown_recipients,
				coalesce(sum(bytes) FILTER (WHERE state = 'unknown'), 0)::bigint AS unknown_bytes
			FROM usage_event
			WHERE accepted_at >= first::timestamp AT TIME ZONE 'UTC'
			AND accepted_at < behind::timestamp AT TIME ZONE 'UTC'
			AND (wanted IS NULL OR account_id = wanted) AND (within IS NULL OR tenant_id = ANY (within))
			GROUP BY account_id, credential_id
		) e
		LEFT JOIN account a ON a.account_id = e.account_id
		LEFT JOIN credential c ON c.credential_id = e.credential_id
		ORDER BY a.login NULLS LAST, e.account_id, c.public_id NULLS FIRST, e.credential_id;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT g.period, g.account_id, CASE WHEN usage_report.grouped = 'tenant' THEN t.name ELSE a.login END,
		NULL::text, NULL::text, g.messages, g.recipients, g.bytes, g.unknown, g.unknown_recipients,
		g.unknown_bytes
	FROM (
		SELECT CASE usage_report.grouped WHEN 'day' THEN to_char(d.day, 'YYYY-MM-DD')
				WHEN 'month' THEN to_char(d.day, 'YYYY-MM') END AS period,
			CASE usage_report.grouped WHEN 'account' THEN d.account_id END AS account_id,
			CASE usage_report.grouped WHEN 'tenant' THEN d.tenant_id END AS tenant_id,
			sum(d.messages)::bigint AS messages, sum(d.recipients)::bigint AS recipients,
			sum(d.bytes)::bigint AS bytes, sum(d.unknown)::bigint AS unknown,
			sum(d.unknown_recipients)::bigint AS unknown_recipients,
			sum(d.unknown_bytes)::bigint AS unknown_bytes
		FROM usage_day d
		WHERE d.day >= first AND d.day < behind
		AND (wanted IS NULL OR d.account_id = wanted) AND (within IS NULL OR d.tenant_id = ANY (within))
		GROUP BY 1, 2, 3
	) g
	LEFT JOIN account a ON a.account_id = g.account_id
	LEFT JOIN tenant t ON t.tenant_id = g.tenant_id
	ORDER BY g.period, 3 NULLS LAST, g.account_id;
END
$$;

-- Who sent what, the newest first, and what was refused: of an account by its login or its id; from an
-- address, or from '@' and a domain; by the backend's queue id; by the id of the transaction; from a
-- client's network; from since on and before until.
CREATE FUNCTION usage_log(login text DEFAULT NULL, account_id bigint DEFAULT NULL, sender text DEFAULT NULL,
		queue_id text DEFAULT NULL, id text DEFAULT NULL, client inet DEFAULT NULL,
		since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, page int DEFAULT 100)
	RETURNS TABLE (at timestamptz, state text, tid text, account bigint, name text, credential text,
		from_address text, recipients int, bytes bigint, client_address text, backend text, queue text,
		rule text, code int, meter text, meter_limit bigint, used bigint, reset_s bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
	wanted bigint := usage_log.account_id;
	number bigint := tid_wanted(usage_log.id);
	address text := lower(usage_log.sender COLLATE "C");
	of_domain boolean := left(usage_log.sender, 1) = '@';
BEGIN
	IF usage_log.page IS NULL OR usage_log.page NOT BETWEEN 1 AND 100000 THEN
		RAISE EXCEPTION 'a page has 1 to 100000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF usage_log.login IS NOT NULL THEN
		wanted := account_named(usage_log.login);
	END IF;
	RETURN QUERY
	SELECT l.at, l.state, tid_text(l.tid), l.account_id, l.login, c.public_id, l.sender, l.recipients, l.bytes,
		host(l.client), l.backend, l.queue_id, l.rule, l.code, l.meter, l.meter_limit, l.used, l.reset_s
	FROM (
		SELECT * FROM (
			SELECT e.accepted_at AS at, e.state, e.tid, e.account_id, e.credential_id, e.login, e.sender,
				e.recipients, e.bytes, e.client, e.backend, e.queue_id, NULL::text AS rule, NULL::int AS code,
				NULL::text AS meter, NULL::bigint AS meter_limit, NULL::bigint AS used, NULL::bigint AS reset_s
			FROM usage_event e
			WHERE (wanted IS NULL OR e.account_id = wanted)
			AND (number IS NULL OR e.tid = number)
			AND (usage_log.queue_id IS NULL OR e.queue_id = usage_log.queue_id)
			AND (address IS NULL OR CASE WHEN of_domain THEN right(lower(e.sender), length(address)) = address
				ELSE lower(e.sender) = address END)
			AND (usage_log.client IS NULL OR e.client <<= usage_log.client)
			AND (usage_log.since IS NULL OR e.accepted_at >= usage_log.since)
			AND (usage_log.until IS NULL OR e.accepted_at < usage_log.until)
			ORDER BY e.accepted_at DESC, e.tid LIMIT usage_log.page
		) sent
		UNION ALL
		SELECT * FROM (
			SELECT r.refused_at, 'refused', r.tid, r.account_id, r.credential_id, r.login, r.sender,
				NULL::int, NULL::bigint, r.client, NULL::text, NULL::text, r.rule, r.code, r.meter, r.meter_limit,
				r.used, r.reset_s
			FROM refusal_event r
			WHERE usage_log.queue_id IS NULL
			AND (wanted IS NULL OR r.account_id = wanted)
			AND (number IS NULL OR r.tid = number)
			AND (address IS NULL OR CASE WHEN of_domain THEN right(lower(r.sender), length(address)) = address
				ELSE lower(r.sender) = address END)
			AND (usage_log.client IS NULL OR r.client <<= usage_log.client)
			AND (usage_log.since IS NULL OR r.refused_at >= usage_log.since)
			AND (usage_log.until IS NULL OR r.refused_at < usage_log.until)
			ORDER BY r.refused_at DESC, r.tid LIMIT usage_log.page
		) refused
		ORDER BY 1 DESC, 3 LIMIT usage_log.page
	) l
	LEFT JOIN credential c ON c.credential_id = l.credential_id
	ORDER BY l.at DESC, l.tid;
END
$$;

-- What is sent and refused at present: of the last minute and the last hour; by account, tenant or address
-- (the client's).  The first row, of which name is NULL, is the sum of all.
CREATE FUNCTION usage_top(grouped text, page int DEFAULT 20)
	RETURNS TABLE (name text, account bigint, minute_messages bigint, minute_recipients bigint,
		minute_refusals bigint, hour_messages bigint, hour_recipients bigint, hour_refusals bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
	hour timestamptz := now() - interval '1 hour';
	minute timestamptz := now() - interval '1 minute';
BEGIN
	IF usage_top.grouped IS NULL OR usage_top.grouped NOT IN ('account', 'tenant', 'address') THEN
		RAISE EXCEPTION 'the top is not told by "%"', usage_top.grouped
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is told by account, tenant or address.';
	END IF;
	IF usage_top.page IS NULL OR usage_top.page NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'a page has 1 to 10000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY
	WITH seen AS (
		SELECT e.accepted_at AS at, CASE usage_top.grouped WHEN 'account' THEN e.account_id
				WHEN 'tenant' THEN e.tenant_id END AS number,
			CASE usage_top.grouped WHEN 'address' THEN e.client END AS client,
			1 AS messages, e.recipients, 0 AS refusals
		FROM usage_event e WHERE e.accepted_at > hour
		UNION ALL
		SELECT r.refused_at, CASE usage_top.grouped WHEN 'account' THEN r.account_id
				WHEN 'tenant' THEN r.tenant_id END,
			CASE usage_top.grouped WHEN 'address' THEN r.client END, 0, 0, 1
		FROM refusal_event r WHERE r.refused_at > hour
	), sums AS (
		SELECT grouping(s.number) = 1 AS whole, s.number, s.client,
			coalesce(sum(s.messages) FILTER (WHERE s.at > minute), 0)::bigint AS minute_messages,
			coalesce(sum(s.recipients) FILTER (WHERE s.at > minute), 0)::bigint AS minute_recipients,
			coalesce(sum(s.refusals) FILTER (WHERE s.at > minute), 0)::bigint AS minute_refusals,
			coalesce(sum(s.messages), 0)::bigint AS hour_messages,
			coalesce(sum(s.recipients), 0)::bigint AS hour_recipients,
			coalesce(sum(s.refusals), 0)::bigint AS hour_refusals
		FROM seen s GROUP BY GROUPING SETS ((), (s.number, s.client))
	)
	SELECT CASE WHEN s.whole THEN NULL WHEN usage_top.grouped = 'address' THEN coalesce(host(s.client), 'unknown')
			WHEN usage_top.grouped = 'tenant' THEN coalesce(t.name, 'none')
			ELSE coalesce(a.login, s.number::text, 'not logged in') END,
		a.account_id, s.minute_messages, s.minute_recipients, s.minute_refusals, s.hour_messages,
		s.hour_recipients, s.hour_refusals
	FROM sums s
	LEFT JOIN account a ON usage_top.grouped = 'account' AND a.account_id = s.number
	LEFT JOIN tenant t ON usage_top.grouped = 'tenant' AND t.tenant_id = s.number
	ORDER BY s.whole DESC, s.minute_messages + s.minute_refusals DESC, s.hour_messages + s.hour_refusals DESC, 1
	LIMIT usage_top.page + 1;
END
$$;

-- What the books know of a transaction, the oldest first: of a refusal the rule, and of a meter what it
-- said; where that limit stands today, and since when it is like that is in the audit; of a sender that
-- is not the account's, what is (the first 32).
CREATE FUNCTION refusal_explain(id text)
	RETURNS TABLE (at timestamptz, state text, account bigint, name text, credential text, enabled boolean,
		from_address text, client_address text, recipients int, bytes bigint, backend text, queue_id text,
		rule text, code int, meter text, meter_limit bigint, used bigint, frees_at timestamptz,
		scope text, source text, limit_now bigint, used_now bigint, senders text[], sender_count bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	number bigint := tid_wanted(refusal_explain.id);
BEGIN
	RETURN QUERY
	SELECT k.at, k.state, k.account_id, coalesce(a.login, k.login), c.public_id, a.status = 'enabled',
		k.sender, host(k.client), k.recipients, k.bytes, k.backend, k.queue_id, k.rule, k.code, k.meter,
		k.meter_limit, k.used, to_timestamp(k.reset_s), n.scope, n.source, n.meter_limit, n.used,
		o.list, o.total
	FROM (
		SELECT e.accepted_at AS at, e.state, e.account_id, e.credential_id, e.login, e.sender, e.client,
			e.recipients, e.bytes, e.backend, e.queue_id, NULL::text AS rule, NULL::int AS code,
			NULL::text AS meter, NULL::bigint AS meter_limit, NULL::bigint AS used, NULL::bigint AS reset_s
		FROM usage_event e WHERE e.tid = number
		UNION ALL
		SELECT r.refused_at, 'refused', r.account_id, r.credential_id, r.login, r.sender, r.client, NULL, NULL,
			NULL, NULL, r.rule, r.code, r.meter, r.meter_limit, r.used, nullif(r.reset_s, 0)
		FROM refusal_event r WHERE r.tid = number
	) k
	LEFT JOIN account a ON a.account_id = k.account_id
	LEFT JOIN credential c ON c.credential_id = k.credential_id
	LEFT JOIN LATERAL (
		SELECT l.scope, l.source, l.meter_limit, l.used
		-- limits_show() raises for nobody: OFFSET keeps it from being asked.
		FROM (SELECT a.login WHERE a.login IS NOT NULL AND k.meter IS NOT NULL OFFSET 0) known
		CROSS JOIN LATERAL limits_show(known.login) l
		WHERE l.label = regexp_replace(k.meter, ' of (this credential|the (domain|tenant) .*)$', '')
		AND CASE WHEN k.meter ~ ' of this credential$' THEN l.scope = 'credential ' || c.public_id
			WHEN k.meter ~ ' of the (domain|tenant) '
				THEN starts_with(l.scope, substring(k.meter FROM ' of the ((domain|tenant) .*)$'))
			ELSE l.scope = 'account' END
		LIMIT 1
	) n ON true
	LEFT JOIN LATERAL (
		SELECT array_agg(f.written) AS list,
			(SELECT count(*) FROM sender s WHERE s.account_id = a.account_id) AS total
		FROM (
			SELECT CASE s.kind WHEN 'domain' THEN '@' || s.value ELSE s.value END AS written
			FROM sender s WHERE s.account_id = a.account_id ORDER BY s.kind, s.value LIMIT 32
		) f
	) o ON k.rule IN ('sender', 'from-header') AND a.login IS NOT NULL
	ORDER BY k.at;
END
$$;

-- The next number that people would write: 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120 ...
CREATE FUNCTION round_up(n numeric) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	unit numeric := 1;
BEGIN
	WHILE n > 100 * unit LOOP
		unit := unit * 10;
	END LOOP;
	RETURN (SELECT min(step * unit) FROM unnest('{10,12,15,20,25,30,40,50,60,80,100}'::int[]) step
		WHERE step * unit >= n)::bigint;
END
$$;

-- What an account sent in the hours and days of the last 30 days in which it sent anything, and what its
-- limits could be: twice its p99 and not below its max, rounded up; where the max is more than ten times
-- the p99 it does not count, for somebody should look at it first.
CREATE FUNCTION limits_advise(login text)
	RETURNS TABLE (name text, periods bigint, p50 bigint, p99 bigint, max bigint, max_at timestamptz,
		meter_limit bigint, source text, advised bigint, outlier boolean)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	known text := login_prepared(limits_advise.login);
	id bigint := account_named(limits_advise.login);
BEGIN
	RETURN QUERY
	WITH hours AS (
		SELECT date_trunc('hour', accepted_at, 'UTC') AS starts, count(*) AS messages,
			sum(recipients)::bigint AS recipients
		FROM usage_event WHERE account_id = id AND accepted_at > now() - interval '30 days' AND accepted_at <= now()
		GROUP BY 1
	), sent AS (
		SELECT 'messages_hour' AS name, starts, messages AS n FROM hours
		UNION ALL
		SELECT 'recipients_hour', starts, recipients FROM hours
		UNION ALL
		SELECT 'messages_day', date_trunc('day', starts, 'UTC'), sum(messages)::bigint FROM hours GROUP BY 2
		UNION ALL
		SELECT 'recipients_day', date_trunc('day', starts, 'UTC'), sum(recipients)::bigint FROM hours GROUP BY 2
	), told AS (
		SELECT k.number, k.name, count(s.n) AS periods, percentile_disc(0.5) WITHIN GROUP (ORDER BY s.n) AS p50,
			percentile_disc(0.99) WITHIN GROUP (ORDER BY s.n) AS p99, max(s.n) AS max,
			(array_agg(s.starts ORDER BY s.n DESC, s.starts))[1] AS max_at
		FROM (VALUES (1, 'messages_hour'), (2, 'messages_day'), (3, 'recipients_hour'), (4, 'recipients_day'))
			AS k (number, name)
		LEFT JOIN sent s ON s.name = k.name
		GROUP BY 1, 2
	)
	SELECT t.name, t.periods, t.p50, t.p99, t.max, t.max_at, l.meter_limit, l.source,
		CASE WHEN t.periods > 0 THEN
			round_up(greatest(2 * t.p99, CASE WHEN t.max <= 10 * t.p99 THEN t.max END, 1)) END,
		coalesce(t.max > 10 * t.p99, false)
	FROM told t
	LEFT JOIN limits_show(known) l ON l.name = t.name AND l.scope = 'account'
	ORDER BY t.number;
END
$$;

GRANT EXECUTE ON FUNCTION usage_keep(int, int), usage_report(text, date, date, text, bigint, text),
	usage_log(text, bigint, text, text, text, inet, timestamptz, timestamptz, int), usage_top(text, int),
	refusal_explain(text), limits_advise(text), usage_maintain()
TO postern_admin;
