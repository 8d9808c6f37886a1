-- SPDX-License-Identifier: ISC
-- Generated credentials: secrets that Postern makes, any number an account, each with a label, an end
-- and bounds of its own.  What a secret looks like and how it is hashed: docs/credentials.md.
--
-- The secret is made by posternctl and never comes here; what does is a hash under a key (the pepper)
-- that the database does not have.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- The public id as a number: 12 digits of base 32, 60 bits.  NULL: not a public id.
CREATE FUNCTION credential_number(public_id text) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	number bigint := 0;
BEGIN
	IF public_id !~ '^[a-z2-7]{12}$' THEN
		RETURN NULL;
	END IF;
	FOR i IN 1..12 LOOP
		number := number * 32 + strpos('abcdefghijklmnopqrstuvwxyz234567', substr(public_id, i, 1)) - 1;
	END LOOP;
	RETURN nullif(number, 0);
END
$$;

-- Revoked ones stay, to tell what was; they go with their account.
CREATE TABLE credential (
	credential_id bigint PRIMARY KEY CHECK (credential_id > 0),
	account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
	version bigint NOT NULL DEFAULT nextval('postern.version_number'),
	created_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz,                      -- NULL: never
	revoked_at timestamptz,                      -- NULL: it is not
	-- Besides the account's; NULL: none of its own.
	messages_hour bigint CHECK (messages_hour >= 0),
	messages_day bigint CHECK (messages_day >= 0),
	recipients_hour bigint CHECK (recipients_hour >= 0),
	recipients_day bigint CHECK (recipients_day >= 0),
	public_id text COLLATE "C" NOT NULL CHECK (postern.credential_number(public_id) = credential_id),
	key_id text COLLATE "C" NOT NULL CHECK (key_id ~ '^[0-9a-f]{16}$'), -- of the pepper
	hash bytea NOT NULL CHECK (octet_length(hash) = 32),
	label text NOT NULL DEFAULT '' CHECK (char_length(label) <= 100),
	networks cidr[] NOT NULL DEFAULT '{}' CHECK (cardinality(networks) <= 32), -- {}: from anywhere
	-- Addresses and '@domain'; {}: whatever the account may.  Both must own what is written.
	senders text[] COLLATE "C" NOT NULL DEFAULT '{}' CHECK (cardinality(senders) <= 32)
);

CREATE INDEX credential_account ON credential (account_id);

-- plan_bump() draws a version for whatever row it is called for.
CREATE TRIGGER bump BEFORE UPDATE ON credential FOR EACH ROW EXECUTE FUNCTION plan_bump();

-- Apart from credential: a log-in changes no version and notifies nobody.
CREATE TABLE credential_use (
	credential_id bigint PRIMARY KEY REFERENCES credential ON DELETE CASCADE,
	used_at timestamptz NOT NULL,
	address inet NOT NULL,
	client text NOT NULL -- what it called itself
) WITH (fillfactor = 80);

-- ------------------------------------------------------------------ the service

-- No row: unknown.  expires_s: unix time, 0 never.  networks: of CIDR, empty: all.  senders: as
-- account_lookup() writes them, empty: the account's.
CREATE FUNCTION credential_lookup(public_id text)
	RETURNS TABLE (credential_id bigint, account_id bigint, version bigint, key_id text, hash bytea,
		enabled boolean, expires_s bigint, networks text[], senders text[], label text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.credential_id, c.account_id, c.version, c.key_id, c.hash, c.revoked_at IS NULL,
		coalesce(floor(date_part('epoch', c.expires_at)), 0)::bigint, c.networks::text[],
		ARRAY(SELECT CASE WHEN left(s, 1) = '@' THEN 'd:' || substr(s, 2) ELSE 'a:' || s END
			FROM unnest(c.senders) s),
		c.label
	FROM credential c
	WHERE c.credential_id = credential_number(credential_lookup.public_id);
END
$$;

-- Who was seen last: one element a credential.  Those that are gone meanwhile are left out, and
-- nothing older replaces what is newer.  Returns how many rows changed.
CREATE FUNCTION credential_used(credentials bigint[], seconds bigint[], addresses text[], clients text[])
	RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	changed bigint;
BEGIN
	INSERT INTO credential_use AS known (credential_id, used_at, address, client)
	SELECT c.credential_id, to_timestamp(u.second), u.address::inet, u.client
	FROM unnest(credential_used.credentials, credential_used.seconds, credential_used.addresses,
		credential_used.clients) AS u (id, second, address, client)
	JOIN credential c ON c.credential_id = u.id
	ORDER BY c.credential_id -- two nodes at once meet no deadlock
	ON CONFLICT (credential_id) DO UPDATE
	SET used_at = excluded.used_at, address = excluded.address, client = excluded.client
	WHERE known.used_at < excluded.used_at;
	GET DIAGNOSTICS changed = ROW_COUNT;
	RETURN changed;
END
$$;

-- credential_take() with the time passed in, for tests; NULL: the database's clock.
--
-- Both meters or none: they are first read, so that who is over a limit costs no lock, then locked,
-- the account's before the credential's, and read again.  What is decided then holds until the commit.
CREATE FUNCTION credential_take_at(account_id bigint, credential_id bigint, messages int, recipients int,
	moment timestamptz,
	OUT result int, OUT meter text, OUT meter_limit bigint, OUT reset_s bigint, OUT taken_s bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	found_now record; -- account a, plan p, credential c
	of_account meter;
	of_credential meter;
	held boolean := false;
	present int;
BEGIN
	PERFORM quota_check(credential_take_at.messages, credential_take_at.recipients);
	FOR attempt IN 1..6 LOOP
		SELECT a, p, c INTO found_now
		FROM account a
		JOIN plan p ON p.plan_id = a.plan_id
		JOIN credential c ON c.account_id = a.account_id
		WHERE a.account_id = credential_take_at.account_id
		AND c.credential_id = credential_take_at.credential_id;
		IF NOT FOUND OR (found_now.a).status <> 'enabled'
			OR coalesce((found_now.a).blocked_until > clock_timestamp(), false) OR (found_now.c).revoked_at IS NOT NULL
			OR (found_now.c).expires_at <= coalesce(credential_take_at.moment, clock_timestamp()) THEN
			result := 3;
			RETURN;
		END IF;
		IF num_nonnulls((found_now.c).messages_hour, (found_now.c).messages_day,
			(found_now.c).recipients_hour, (found_now.c).recipients_day) = 0 THEN
			SELECT t.result, t.meter, t.meter_limit, t.reset_s, t.taken_s
			INTO result, meter, meter_limit, reset_s, taken_s
			FROM quota_take_at(credential_take_at.account_id, credential_take_at.messages,
				credential_take_at.recipients, credential_take_at.moment) t;
			RETURN;
		END IF;

		IF held THEN
			PERFORM FROM meter
			WHERE account_id = credential_take_at.account_id
			AND credential_id IN (0, credential_take_at.credential_id)
			ORDER BY credential_id FOR UPDATE;
		END IF;
		SELECT * INTO of_account FROM meter
		WHERE account_id = credential_take_at.account_id AND credential_id = 0;
		SELECT * INTO of_credential FROM meter
		WHERE account_id = credential_take_at.account_id
		AND credential_id = credential_take_at.credential_id;
		-- One slot for both, so that one number names what is to be given back; it may be one
		-- ahead of our time, see quota_take_at().
		present := slot_of(coalesce(credential_take_at.moment, clock_timestamp()));
		IF 1 IN (of_account.slot - present, of_credential.slot - present) THEN
			present := present + 1;
		END IF;
		IF of_account.slot IS DISTINCT FROM present OR of_credential.slot IS DISTINCT FROM present THEN
			PERFORM meter_turn(credential_take_at.account_id, 0, present);
			PERFORM meter_turn(credential_take_at.account_id, credential_take_at.credential_id, present);
			CONTINUE;
		END IF;
		SELECT r.result, r.meter, r.meter_limit, r.reset_s INTO result, meter, meter_limit, reset_s
		FROM (
			SELECT 1 AS number, t.* FROM meter_refusal(of_account,
				account_limits(found_now.a, found_now.p), '',
				credential_take_at.messages, credential_take_at.recipients) t
			UNION ALL
			SELECT 2, t.* FROM meter_refusal(of_credential,
				ARRAY[coalesce((found_now.c).messages_hour, -1), coalesce((found_now.c).recipients_hour, -1),
					coalesce((found_now.c).messages_day, -1), coalesce((found_now.c).recipients_day, -1)],
				' of this credential',
				credential_take_at.messages, credential_take_at.recipients) t
		) r
		WHERE r.meter IS NOT NULL
		ORDER BY r.result DESC, r.reset_s DESC, r.number
		LIMIT 1;
		IF meter IS NOT NULL THEN
			RETURN;
		END IF;
		IF held THEN
			UPDATE meter SET
				hour_messages = hour_messages + credential_take_at.messages,
				hour_recipients = hour_recipients + credential_take_at.recipients,
				day_messages = day_messages + credential_take_at.messages,
				day_recipients = day_recipients + credential_take_at.recipients
			WHERE account_id = credential_take_at.account_id
			AND credential_id IN (0, credential_take_at.credential_id);
			result := 0;
			taken_s := present::bigint * 150;
			RETURN;
		END IF;
		held := true;
	END LOOP;
	RAISE EXCEPTION 'the meters of credential % keep changing', credential_take_at.credential_id
		USING ERRCODE = 'serialization_failure';
END
$$;

-- quota_take() for a session that logged in with a credential: against all limits of the account and
-- of the credential, or none of them.  result 3 also when the credential is revoked, expired or gone.
CREATE FUNCTION credential_take(account_id bigint, credential_id bigint, messages int, recipients int)
	RETURNS TABLE (result int, meter text, meter_limit bigint, reset_s bigint, taken_s bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	SELECT t.result, t.meter, t.meter_limit, t.reset_s, t.taken_s
	INTO result, meter, meter_limit, reset_s, taken_s
	FROM credential_take_at(credential_take.account_id, credential_take.credential_id,
		credential_take.messages, credential_take.recipients, NULL) t;
	RETURN NEXT;
END
$$;

-- quota_give_back() likewise.
CREATE FUNCTION credential_give_back(account_id bigint, credential_id bigint, taken_s bigint,
	messages int, recipients int) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	done boolean := meter_give_back(credential_give_back.account_id, 0, credential_give_back.taken_s,
		credential_give_back.messages, credential_give_back.recipients);
BEGIN
	PERFORM meter_give_back(credential_give_back.account_id, credential_give_back.credential_id,
		credential_give_back.taken_s, credential_give_back.messages, credential_give_back.recipients);
	RETURN done;
END
$$;

GRANT EXECUTE ON FUNCTION credential_lookup(text), credential_used(bigint[], bigint[], text[], text[]),
	credential_take(bigint, bigint, int, int), credential_give_back(bigint, bigint, bigint, int, int)
TO postern_service;

-- ------------------------------------------------------------ the administrator

-- '192.0.2.0/24', '2001:db8::/32' or one address.  PostgreSQL would also take '10' and mean 10.0.0.0/8.
CREATE FUNCTION network_parsed(network text) RETURNS cidr
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF network ~ '^[0-9]+(\.[0-9]+){3}(/[0-9]+)?$' OR network ~ '^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]+)?$' THEN
		RETURN network::cidr;
	END IF;
	RAISE invalid_text_representation;
EXCEPTION WHEN invalid_text_representation THEN
	RAISE EXCEPTION 'not a network' USING ERRCODE = 'invalid_parameter_value',
		HINT = 'A network is an address and its prefix length, with nothing set behind it '
			'(192.0.2.0/24, 2001:db8::/32), or one address.';
END
$$;

CREATE FUNCTION credential_named(public_id text) RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	id bigint := (SELECT c.credential_id FROM credential c
		WHERE c.credential_id = credential_number(credential_named.public_id));
BEGIN
	IF id IS NULL THEN
		RAISE EXCEPTION 'there is no such credential' USING ERRCODE = 'no_data_found',
			HINT = 'posternctl credential list shows the credentials of an account.';
	END IF;
	RETURN id;
END
$$;

-- The caller made the secret; public_id is its middle part, key_id and hash as docs/credentials.md
-- says.  Limits: NULL for none of its own.
CREATE FUNCTION credential_add(login text, public_id text, key_id text, hash bytea, label text DEFAULT '',
	networks text[] DEFAULT '{}', senders text[] DEFAULT '{}', expires_at timestamptz DEFAULT NULL,
	messages_hour bigint DEFAULT NULL, messages_day bigint DEFAULT NULL,
	recipients_hour bigint DEFAULT NULL, recipients_day bigint DEFAULT NULL)
	RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	account bigint := account_named(credential_add.login);
	id bigint := credential_number(credential_add.public_id);
	allowed text[];
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
	IF least(credential_add.messages_hour, credential_add.messages_day, credential_add.recipients_hour,
		credential_add.recipients_day) < 0 THEN
		RAISE EXCEPTION 'a limit is not negative' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	allowed := ARRAY(SELECT DISTINCT CASE p.kind WHEN 'domain' THEN '@' || p.value ELSE p.value END
		FROM unnest(credential_add.senders) s CROSS JOIN LATERAL sender_parsed(s) p ORDER BY 1);
	IF '*' = ANY (allowed) THEN
		RAISE EXCEPTION 'a credential cannot be narrowed to any sender'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Without senders it may send as whoever the account may.';
	END IF;
	INSERT INTO credential (credential_id, account_id, public_id, key_id, hash, label, networks, senders,
		expires_at, messages_hour, messages_day, recipients_hour, recipients_day)
	VALUES (id, account, credential_add.public_id, credential_add.key_id, credential_add.hash,
		coalesce(credential_add.label, ''),
		ARRAY(SELECT DISTINCT network_parsed(n) FROM unnest(credential_add.networks) n ORDER BY 1), allowed,
		credential_add.expires_at, credential_add.messages_hour, credential_add.messages_day,
		credential_add.recipients_hour, credential_add.recipients_day);
	RETURN id;
END
$$;

-- state: live, expired or revoked.
CREATE FUNCTION credential_state(c credential) RETURNS text
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN CASE WHEN c.revoked_at IS NOT NULL THEN 'revoked'
		WHEN c.expires_at <= clock_timestamp() THEN 'expired' ELSE 'live' END;
END
$$;

-- A page of an account's credentials in the order of their public ids, those after `after`.
CREATE FUNCTION credential_list(login text, after text DEFAULT '', page int DEFAULT 1000)
	RETURNS TABLE (public_id text, state text, label text, created_at timestamptz, expires_at timestamptz,
		used_at timestamptz, key_id text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	account bigint := account_named(credential_list.login);
BEGIN
	IF credential_list.page IS NULL OR credential_list.page NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'a page has 1 to 10000 rows' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY
	SELECT c.public_id, credential_state(c), c.label, c.created_at, c.expires_at, u.used_at, c.key_id
	FROM credential c LEFT JOIN credential_use u ON u.credential_id = c.credential_id
	WHERE c.account_id = account AND c.public_id > coalesce(credential_list.after, '')
	ORDER BY c.public_id LIMIT credential_list.page;
END
$$;

CREATE FUNCTION credential_show(public_id text)
	RETURNS TABLE (credential text, login text, state text, label text, created_at timestamptz,
		expires_at timestamptz, revoked_at timestamptz, used_at timestamptz, used_address inet,
		used_client text, key_id text, networks text[], senders text[], messages_hour bigint,
		messages_day bigint, recipients_hour bigint, recipients_day bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.public_id, a.login, credential_state(c), c.label, c.created_at, c.expires_at, c.revoked_at,
		u.used_at, u.address, u.client, c.key_id, c.networks::text[], c.senders, c.messages_hour,
		c.messages_day, c.recipients_hour, c.recipients_day
	FROM credential c
	JOIN account a ON a.account_id = c.account_id
	LEFT JOIN credential_use u ON u.credential_id = c.credential_id
	WHERE c.credential_id = credential_named(credential_show.public_id);
END
$$;

-- How many are hashed under which pepper: those that may still be used, and the others.
CREATE FUNCTION credential_keys() RETURNS TABLE (key_id text, live bigint, ended bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.key_id, count(*) FILTER (WHERE credential_state(c) = 'live'),
		count(*) FILTER (WHERE credential_state(c) <> 'live')
	FROM credential c GROUP BY 1 ORDER BY 2 DESC, 1;
END
$$;

-- For good: there is no way back.  false: it was revoked before.
CREATE FUNCTION credential_revoke(public_id text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	UPDATE credential SET revoked_at = clock_timestamp()
	WHERE credential_id = credential_named(credential_revoke.public_id) AND revoked_at IS NULL;
	RETURN FOUND;
END
$$;

GRANT EXECUTE ON FUNCTION credential_add(text, text, text, bytea, text, text[], text[], timestamptz, bigint,
		bigint, bigint, bigint),
	credential_list(text, text, int), credential_show(text), credential_revoke(text), credential_keys()
TO postern_admin;
