-- SPDX-License-Identifier: ISC
-- Plans, accounts, senders, and the version that tells a cache that something changed.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- Never reset, never cycled: a version is never seen twice.
CREATE SEQUENCE version_number AS bigint NO CYCLE;

-- A limit is -1 for "unlimited" or a number; in an account also NULL, for "what the plan says".
CREATE TABLE plan (
	plan_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	version bigint NOT NULL DEFAULT nextval('postern.version_number'),
	name text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
	messages_hour bigint NOT NULL DEFAULT -1 CHECK (messages_hour >= -1),
	messages_day bigint NOT NULL DEFAULT -1 CHECK (messages_day >= -1),
	recipients_hour bigint NOT NULL DEFAULT -1 CHECK (recipients_hour >= -1),
	recipients_day bigint NOT NULL DEFAULT -1 CHECK (recipients_day >= -1),
	recipients_message bigint NOT NULL DEFAULT -1
		CHECK (recipients_message = -1 OR recipients_message BETWEEN 1 AND 2147483647),
	message_bytes bigint NOT NULL DEFAULT -1 CHECK (message_bytes = -1 OR message_bytes > 0)
);

-- A token of 15 letters and digits, 75 random bits: base32 of the octets of a UUID of version 4, of
-- each the lower five bits, but for the one that holds the version.
CREATE FUNCTION token_new() RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	random bytea := uuid_send(gen_random_uuid());
	token text := '';
BEGIN
	FOR i IN 0..15 LOOP
		CONTINUE WHEN i = 6;
		token := token || substr('abcdefghijklmnopqrstuvwxyz234567', 1 + (get_byte(random, i) & 31), 1);
	END LOOP;
	RETURN token;
END
$$;

CREATE TABLE account (
	account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	version bigint NOT NULL DEFAULT nextval('postern.version_number'),
	-- Another one with every new password, and the same with a better hash of the same password.
	password_version bigint NOT NULL DEFAULT nextval('postern.version_number'),
	plan_id bigint NOT NULL REFERENCES plan,
	created_at timestamptz NOT NULL DEFAULT now(),
	messages_hour bigint CHECK (messages_hour >= -1),
	messages_day bigint CHECK (messages_day >= -1),
	recipients_hour bigint CHECK (recipients_hour >= -1),
	recipients_day bigint CHECK (recipients_day >= -1),
	recipients_message bigint
		CHECK (recipients_message = -1 OR recipients_message BETWEEN 1 AND 2147483647),
	message_bytes bigint CHECK (message_bytes = -1 OR message_bytes > 0),
	status text COLLATE "C" NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
	-- Until then it is as if it were disabled; NULL: it is not blocked.
	blocked_until timestamptz,
	blocked_because text,
	-- What is done about a header From that is not the account's; NULL: what the listener says.
	from_policy text COLLATE "C" CHECK (from_policy IN ('off', 'observe', 'reject', 'rewrite')),
	-- Names the account to the abuse desk, and to nobody else, in messages that it sent.
	token text COLLATE "C" NOT NULL DEFAULT postern.token_new() UNIQUE CHECK (token ~ '^[a-z2-7]{12,32}$'),
	-- ASCII letters in lower case; the service compares what it prepared in the same way.
	login text COLLATE "C" NOT NULL UNIQUE
		CHECK (octet_length(login) BETWEEN 1 AND 320 AND login = lower(login)),
	-- A PHC string; NULL: no password.  Whoever verifies parses it again and caps its cost.
	password_hash text COLLATE "C" CHECK (octet_length(password_hash) BETWEEN 1 AND 256)
) WITH (fillfactor = 90);

CREATE INDEX account_plan ON account (plan_id);

-- What an account may write into MAIL FROM.
CREATE TABLE sender (
	account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
	kind text COLLATE "C" NOT NULL CHECK (kind IN ('address', 'domain', 'any')),
	value text COLLATE "C" NOT NULL -- in lower case; '*' for any
		CHECK (octet_length(value) BETWEEN 1 AND 320 AND value = lower(value)),
	PRIMARY KEY (account_id, kind, value),
	CHECK ((kind = 'any') = (value = '*'))
);

-- The version that a look-up tells is the greater of the account's and its plan's: a plan changes
-- without rewriting a million accounts.  For it to grow with every change, numbers must be drawn in
-- the order of the commits: changing an account locks its plans against a change meanwhile.
CREATE FUNCTION plan_bump() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	NEW.version := nextval('postern.version_number');
	RETURN NEW;
END
$$;

-- account_rehash() has postern.same_password on during its UPDATE, and nothing else does.
CREATE FUNCTION account_bump() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	PERFORM FROM plan WHERE plan_id IN (OLD.plan_id, NEW.plan_id) ORDER BY plan_id FOR SHARE;
	NEW.version := nextval('postern.version_number');
	IF NEW.password_hash IS DISTINCT FROM OLD.password_hash
		AND current_setting('postern.same_password', true) IS DISTINCT FROM 'on' THEN
		NEW.password_version := NEW.version;
	END IF;
	RETURN NEW;
END
$$;

-- Accounts that this transaction wrote already have a version that nobody has seen.
CREATE FUNCTION sender_bump() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP <> 'DELETE' THEN
		UPDATE account SET version = version
		WHERE account_id IN (SELECT account_id FROM written) AND xmin <> pg_current_xact_id()::xid;
	END IF;
	IF TG_OP <> 'INSERT' THEN
		UPDATE account SET version = version
		WHERE account_id IN (SELECT account_id FROM gone) AND xmin <> pg_current_xact_id()::xid;
	END IF;
	RETURN NULL;
END
$$;

CREATE TRIGGER bump BEFORE UPDATE ON plan FOR EACH ROW EXECUTE FUNCTION plan_bump();
CREATE TRIGGER bump BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION account_bump();
CREATE TRIGGER bump_insert AFTER INSERT ON sender REFERENCING NEW TABLE AS written
	FOR EACH STATEMENT EXECUTE FUNCTION sender_bump();
CREATE TRIGGER bump_update AFTER UPDATE ON sender REFERENCING NEW TABLE AS written OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION sender_bump();
CREATE TRIGGER bump_delete AFTER DELETE ON sender REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION sender_bump();

INSERT INTO plan (name, messages_hour, messages_day, recipients_hour, recipients_day, recipients_message)
VALUES ('default', 500, 5000, 1000, 10000, 100);
