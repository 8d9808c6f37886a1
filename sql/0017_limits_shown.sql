-- SPDX-License-Identifier: ISC
-- What a program needs besides to show limits: which there are, and from where on they are nearly used up.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- In their order.  unit: messages, recipients, bytes or sessions.
CREATE FUNCTION limit_kinds() RETURNS TABLE (number int, name text, label text, unit text, window_s int)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT k.number, k.name, k.label,
		CASE WHEN k.quantity IN ('new_recipients', 'distinct') THEN 'recipients' ELSE k.quantity END, k.window_s
	FROM limit_kind k ORDER BY k.number;
END
$$;

-- Of each scope that limits_show() tells of: at how many percent the service logs that a limit is nearly
-- used up; NULL: never.
CREATE FUNCTION limits_warnings(login text) RETURNS TABLE (scope text, warn_percent int)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint := account_named(limits_warnings.login);
BEGIN
	RETURN QUERY
	SELECT s.scope, p.warn_percent
	FROM account a JOIN plan p ON p.plan_id = a.plan_id
	CROSS JOIN LATERAL (
		SELECT 'account' AS scope
		UNION ALL
		SELECT 'credential ' || c.public_id FROM credential c
		WHERE c.account_id = a.account_id AND c.limits IS NOT NULL
	) s
	WHERE a.account_id = id
	UNION ALL
	SELECT 'domain ' || d.name, p.warn_percent
	FROM domain d JOIN plan p ON p.plan_id = d.plan_id
	WHERE d.name IN (SELECT substring(v.value FROM '[^@]*$') FROM sender v WHERE v.account_id = id)
	UNION ALL
	SELECT 'tenant ' || t.name, p.warn_percent
	FROM account a JOIN tenant_chain c ON c.tenant_id = a.tenant_id
	JOIN tenant t ON t.tenant_id = ANY (c.chain) JOIN plan p ON p.plan_id = t.plan_id
	WHERE a.account_id = id;
END
$$;

GRANT EXECUTE ON FUNCTION limit_kinds(), limits_warnings(text) TO postern_admin;
