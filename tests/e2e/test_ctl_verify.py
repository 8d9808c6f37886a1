# SPDX-License-Identifier: ISC
"""posternctl db verify: whatever is broken in a database is named, with what mends it; and nothing else is."""

import glob
import json
import os
import re
import shutil

import psycopg
import pytest

import pg
from test_adapters import DOVECOT, adapt
from test_ctl import CONFIG, ROOT, UNAVAILABLE, run
from test_sql import HASH

NAMES = ["schema", "role", "server", "functions", "definers", "execute", "roles", "tables", "triggers", "source",
         "accounts", "settings", "partitions", "durability", "migrations", "contract", "clock"]


class Scratch:
    """A migrated database, to be broken."""

    def __init__(self, server):
        self.server = server
        self.name = server.create_database()
        self.superuser = server.dsn(self.name)
        done = run("db", "migrate", dsn=self.superuser)
        assert done.returncode == 0, done.stderr

    def sql(self, *statements):
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def verify(self, *words, user="postern_admin", status=0):
        done = run("db", "verify", "--json", *words, dsn=self.server.dsn(self.name, user))
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def found(self, *words, verdict="wrong", status=CONFIG, **options):
        return [(row["check"], row["text"], row["todo"]) for row in self.verify(*words, status=status, **options)
                if row["verdict"] == verdict]


@pytest.fixture(scope="module", name="server")
def server_fixture():
    """Its own: roles belong to the cluster, and are broken here."""
    server = pg.Server().start()
    yield server
    server.destroy()


@pytest.fixture(name="scratch")
def scratch_fixture(server):
    return Scratch(server)


# ------------------------------------------------------------------- all is well
@pytest.mark.parametrize("user", ["postern_admin", pg.USER])
def test_a_database_as_migrated_is_fine(scratch, user):
    rows = scratch.verify(user=user)
    assert [row["check"] for row in rows] == NAMES
    assert {row["verdict"] for row in rows if row["check"] != "durability"} == {"ok"}
    durable = rows[NAMES.index("durability")]
    assert durable["verdict"] == "note" and "fsync is off" in durable["text"], "the server of the tests has none"


def test_the_lines_for_people(scratch):
    scratch.sql("ALTER TABLE postern.account DISABLE TRIGGER note_update")
    done = run("db", "verify", dsn=scratch.server.dsn(scratch.name, "postern_admin"))
    assert done.returncode == CONFIG
    assert "ok     tables      neither role reads or writes a table, or makes one\n" in done.stdout
    assert ("wrong  triggers    postern.account has its trigger off: note_update\n"
            "                    ALTER TABLE postern.account ENABLE TRIGGER note_update;\n") in done.stdout


def test_the_contract_has_whatever_is_called():
    """What auth prepares and what posternctl asks is in the table that verify compares with."""
    with open(os.path.join(ROOT, "ctl", "contract.c"), encoding="utf-8") as file:
        known = set(re.findall(r'\{CONTRACT_\w+,\s*"(\w+)\(', file.read()))
    called = set()
    for path in [os.path.join(ROOT, "auth", "query.c"), *glob.glob(os.path.join(ROOT, "ctl", "*.c"))]:
        with open(path, encoding="utf-8") as file:
            text = re.sub(r'"\s*"', "", file.read())
        called |= set(re.findall(r"(?:SELECT|FROM) postern\.(\w+)\(", text))
    assert len(called) > 40
    assert called <= known, called - known
    versions = set()
    for path, name in (("auth/query.h", "QUERY_CONTRACT_VERSION"), ("ctl/contract.h", "CONTRACT_VERSION")):
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            versions.add(re.search(name + r" = (\d+)", file.read()).group(1))
    assert len(versions) == 1, versions


# ---------------------------------------------------------------- what is broken
SERVICE = "postern_service"
BROKEN = [
    # (what breaks it, the check that says so, words of its text, words of what to do)
    ("DROP FUNCTION postern.quota_take(bigint, int, int)", "functions",
     "there is no function postern.quota_take(bigint, integer, integer)", "db migrate"),
    ("DROP FUNCTION postern.sender_add(text, text)", "functions", "postern.sender_add(text, text)", "restore"),
    ("DROP FUNCTION postern.sender_owned(bigint, text); SET ROLE postern_owner;"
     "CREATE FUNCTION postern.sender_owned(bigint, text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER"
     " SET search_path = postern, pg_catalog, pg_temp AS 'BEGIN RETURN 1; END';"
     f"GRANT EXECUTE ON FUNCTION postern.sender_owned(bigint, text) TO {SERVICE}", "functions",
     "postern.sender_owned(bigint, text) returns text, not boolean", "sql/"),
    ("ALTER FUNCTION postern.account_lookup(text) RESET search_path", "definers",
     "account_lookup(text) runs as its owner with the search_path of its caller",
     "ALTER FUNCTION postern.account_lookup(text) SET search_path = postern, pg_catalog, pg_temp;"),
    ("ALTER FUNCTION postern.account_lookup(text) SET search_path = public, postern", "definers", "search_path", "ALTER"),
    ("ALTER FUNCTION postern.plan_set(text, jsonb) SECURITY INVOKER", "definers", "does not run as its owner",
     "SECURITY DEFINER;"),
    ("ALTER FUNCTION postern.plan_set(text, jsonb) OWNER TO postgres", "definers", "belongs to postgres",
     "OWNER TO postern_owner;"),
    (f"REVOKE EXECUTE ON FUNCTION postern.changes_clean() FROM {SERVICE}", "execute",
     "postern_service may not execute postern.changes_clean()",
     "GRANT EXECUTE ON FUNCTION postern.changes_clean() TO postern_service;"),
    (f"GRANT EXECUTE ON FUNCTION postern.account_export(text, int) TO {SERVICE}", "execute",
     "postern_service may execute postern.account_export(text, integer)", "REVOKE"),
    ("REVOKE USAGE ON SCHEMA postern FROM postern_service", "execute", "postern_service may not use the schema", "GRANT"),
    (f"GRANT SELECT (password_hash) ON postern.account TO {SERVICE}", "tables",
     "postern_service may read or write postern.account", "REVOKE ALL ON postern.account FROM PUBLIC, postern_service;"),
    ("GRANT DELETE ON postern.audit TO postern_admin", "tables", "postern_admin may read or write postern.audit", "REVOKE"),
    ("CREATE TABLE public.mailbox (password text); GRANT SELECT ON public.mailbox TO PUBLIC", "tables",
     "postern_service may read or write public.mailbox", "FROM PUBLIC"),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", "tables", "postern_service may create objects in schema public",
     "REVOKE CREATE ON SCHEMA public"),
    ("DO $$ BEGIN EXECUTE 'GRANT TEMPORARY ON DATABASE ' || current_database() || ' TO PUBLIC'; END $$", "tables",
     "postern_service may make temporary tables", "REVOKE TEMPORARY"),
    ("DROP TRIGGER note_delete ON postern.credential", "triggers",
     "postern.credential has no trigger note_delete", "sql/"),
    ("DROP TRIGGER note_update ON postern.tenant", "triggers", "postern.tenant has no trigger note_update", "sql/"),
    ("ALTER TABLE postern.domain DISABLE TRIGGER changed", "triggers", "its trigger off: changed", "ENABLE TRIGGER changed;"),
    ("DROP FUNCTION postern.takes(bigint, bigint, bigint[], bigint[], text[], int[], int[], bigint[], int[], bigint[])",
     "functions", "there is no function postern.takes(bigint, ", "db migrate"),
    ("ALTER TABLE postern.sender DISABLE TRIGGER audit_insert", "triggers", "its trigger off: audit_insert",
     "ENABLE TRIGGER audit_insert;"),
    ("DELETE FROM postern.schema_version WHERE version = (SELECT max(version) FROM postern.schema_version)", "migrations",
     "was not applied", "db migrate"),
    ("UPDATE postern.schema_version SET checksum = 'x' WHERE version = 3", "migrations",
     "0003_service.sql is not what was applied as 0003_service.sql", "--sql"),
    ("SET ROLE postern_owner; CREATE OR REPLACE FUNCTION postern.contract() RETURNS int LANGUAGE plpgsql IMMUTABLE"
     " SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS 'BEGIN RETURN 0; END'", "contract",
     "the schema speaks version 0, this release 1", "db migrate"),
    ("SET ROLE postern_owner; CREATE OR REPLACE FUNCTION postern.account_source(wanted text) RETURNS TABLE (login text,"
     " password_hash text, enabled boolean, senders text[], plan text) LANGUAGE plpgsql STABLE SECURITY DEFINER"
     " SET search_path = postern, pg_catalog, pg_temp AS 'BEGIN RETURN; END'", "source",
     "account_source() was replaced, and is not asked", "account_source_adopt"),
    ("SELECT postern.account_source_rename('mine')", "source", "Postern's own, and yet mine is adopted", "undo.sql"),
]


@pytest.mark.parametrize("breaks, check, text, todo", BROKEN, ids=[f"{row[1]}-{i}" for i, row in enumerate(BROKEN)])
def test_what_is_broken_is_named(scratch, breaks, check, text, todo):
    scratch.sql(breaks)
    found = scratch.found()
    assert any(row[0] == check and text in row[1] and todo in row[2] for row in found), found
    # Public is both roles, an unwatched source is no watched one; else there is one line for one fault.
    assert {row[0] for row in found} == {check} or check in ("functions", "definers", "contract"), found


@pytest.mark.parametrize("breaks, mends, check, text, todo", [
    (f"ALTER ROLE {SERVICE} SUPERUSER", f"ALTER ROLE {SERVICE} NOSUPERUSER", "roles", "postern_service is a superuser",
     "NOSUPERUSER"),
    (f"ALTER ROLE {SERVICE} CREATEROLE", f"ALTER ROLE {SERVICE} NOCREATEROLE", "roles", "may create roles", "NOCREATEROLE"),
    (f"GRANT pg_read_all_data TO {SERVICE}", f"REVOKE pg_read_all_data FROM {SERVICE}", "roles",
     "postern_service is a member of pg_read_all_data", f"REVOKE pg_read_all_data FROM {SERVICE};"),
    (f"GRANT postern_owner TO {SERVICE}", f"REVOKE postern_owner FROM {SERVICE}", "roles", "is a member of postern_owner",
     "REVOKE postern_owner"),
    (f"ALTER ROLE {SERVICE} NOLOGIN", f"ALTER ROLE {SERVICE} LOGIN", "roles", "postern_service cannot log in", "LOGIN;"),
    ("ALTER ROLE postern_owner LOGIN", "ALTER ROLE postern_owner NOLOGIN", "roles", "postern_owner can log in", "NOLOGIN"),
    (f"ALTER ROLE {SERVICE} RESET statement_timeout", f"ALTER ROLE {SERVICE} SET statement_timeout = '2s'", "settings",
     "postern_service has no statement_timeout", "ALTER ROLE postern_service SET statement_timeout = '2s';"),
    (f"ALTER ROLE {SERVICE} SET lock_timeout = 0", f"ALTER ROLE {SERVICE} SET lock_timeout = '1s'", "settings",
     "lock_timeout = 0", "SET lock_timeout"),
    (f"ALTER ROLE {SERVICE} SET default_transaction_isolation = 'serializable'",
     f"ALTER ROLE {SERVICE} SET default_transaction_isolation = 'read committed'", "settings",
     "default_transaction_isolation = serializable", "'read committed'"),
    (f"ALTER ROLE {SERVICE} SET synchronous_commit = off", f"ALTER ROLE {SERVICE} SET synchronous_commit = on", "settings",
     "synchronous_commit = off", "'on'"),
    (f"ALTER ROLE {SERVICE} SET search_path = public", f"ALTER ROLE {SERVICE} SET search_path = ''", "settings",
     "search_path = public", "search_path = ''"),
])
def test_what_is_broken_in_the_roles_is_named(scratch, breaks, mends, check, text, todo):
    scratch.sql(breaks)
    try:
        found = scratch.found()
    finally:
        scratch.sql(mends)
    assert any(row[0] == check and text in row[1] and todo in row[2] for row in found), found
    assert scratch.verify()


def test_what_it_says_to_do_mends_it(scratch):
    scratch.sql("ALTER FUNCTION postern.account_lookup(text) RESET search_path",
                f"GRANT SELECT ON postern.account, postern.plan TO {SERVICE}", f"GRANT CREATE ON SCHEMA public TO {SERVICE}",
                "ALTER TABLE postern.account DISABLE TRIGGER bump", f"ALTER ROLE {SERVICE} SET synchronous_commit = local",
                f"REVOKE EXECUTE ON FUNCTION postern.credential_lookup(text) FROM {SERVICE}",
                "GRANT EXECUTE ON FUNCTION postern.quota_take_at(bigint, int, int, timestamptz) TO PUBLIC")
    found = scratch.found()
    assert len(found) == 9, found  # of PUBLIC both roles have it
    scratch.sql(*[row[2] for row in found])
    assert scratch.verify()


def test_days_that_are_not_ahead_are_noted(scratch):
    scratch.sql("DO $$ DECLARE part regclass; BEGIN FOR part IN SELECT inhrelid FROM pg_inherits i JOIN pg_class c"
                " ON c.oid = i.inhrelid WHERE inhparent = 'postern.usage_event'::regclass AND c.relname ~ '_[0-9]{8}$'"
                " AND to_date(right(c.relname, 8), 'YYYYMMDD') > current_date LOOP EXECUTE 'DROP TABLE ' || part; END LOOP; END $$")
    found = [row for row in scratch.found(verdict="note", status=0) if row[0] == "partitions"]
    assert len(found) == 1 and "the partitions of postern.usage_event end at 2" in found[0][1], found
    scratch.sql("SELECT postern.usage_maintain()")
    assert [row for row in scratch.verify() if row["check"] == "partitions"][0]["verdict"] == "ok"


# ------------------------------------------------------------------ the wrong place
def test_the_wrong_role_is_told(scratch):
    found = scratch.found(user=SERVICE)
    assert found == [("role", "you are postern_service, who may not look at all of it", "Use postern_admin, or a superuser.")]
    scratch.sql("DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    assert scratch.found(user="stranger")[0][1].startswith("you are stranger")


def test_the_wrong_database_is_told(server):
    done = run("db", "verify", "--json", dsn=server.dsn("postgres"))
    assert done.returncode == CONFIG
    assert [(row["check"], row["verdict"]) for row in json.loads(done.stdout)] == [("schema", "wrong")]
    assert run("db", "verify", dsn="host=/nonexistent dbname=x").returncode == UNAVAILABLE


def test_an_older_schema_is_told(server, tmp_path):
    old = tmp_path / "sql"
    old.mkdir()
    for path in sorted(glob.glob(os.path.join(pg.SQL, "000[1-8]_*.sql"))):
        shutil.copy(path, old)
    name = server.create_database()
    assert run("db", "migrate", "--sql", str(old), dsn=server.dsn(name)).returncode == 0
    done = run("db", "verify", "--json", dsn=server.dsn(name))
    assert done.returncode == CONFIG
    rows = json.loads(done.stdout)
    assert any("there is no function postern.account_source(text)" in row["text"] for row in rows)
    assert rows[-1]["check"] == "clock" and rows[-1]["verdict"] == "ok", "it looks at all of it"


def test_migrations_that_are_not_there(scratch, tmp_path):
    found = scratch.found("--sql", str(tmp_path))
    assert [(row[0], row[1]) for row in found] == [("migrations", "the migration files were not found")]


# --------------------------------------------------------------------- adapted ones
def test_accounts_that_cannot_log_in_are_counted(scratch):
    scratch.sql("INSERT INTO postern.account (plan_id, login, password_hash) SELECT plan_id, 'u' || i, h FROM postern.plan,"
                " (VALUES (1, '{OTP}x'), (2, '{OTP}y'), (3, '{DIGEST-MD5}z')) AS v (i, h)")
    notes = [row[1] for row in scratch.found(verdict="note", status=0)]
    assert "2 accounts have a hash that cannot be verified: otp" in notes
    assert "1 accounts have a hash that cannot be verified: digest-md5" in notes


def test_an_adapted_database(scratch):
    scratch.sql(DOVECOT, "INSERT INTO users (userid, domain, password) VALUES"
                f" ('ann', 'example.test', '{HASH}'), ('Bob', 'example.test', '{HASH}'), ('cy', 'example.test', 'abJnggxhB/yWI')")
    adapt(scratch.superuser, "dovecot")
    notes = [row[1] for row in scratch.found(verdict="note", status=0)]
    assert "1 accounts have a hash that cannot be verified: unknown" in notes
    assert "1 logins are not as Postern prepares them: nobody logs in by them" in notes
    scratch.sql("ALTER TABLE users DISABLE TRIGGER postern_update")
    assert [row[:2] for row in scratch.found()] == [("source", "public.users has its trigger off: postern_update")]
    scratch.sql("SELECT postern.account_source_unwatch('users')")
    assert [row[0] for row in scratch.found()] == ["source"]
    assert "no table is watched" in scratch.found()[0][1]
    scratch.sql("REVOKE ALL ON users FROM postern_owner")
    assert ("accounts", "permission denied for table users") in [row[:2] for row in scratch.found()]
    adapt(scratch.superuser, "dovecot")
    assert scratch.verify()
