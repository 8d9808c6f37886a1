# SPDX-License-Identifier: ISC
"""The audit, and what erases from it: who changed what and when, written by the database itself."""
import json
import pwd
import os

import psycopg
import pytest

import pg
import test_ctl

OPERATOR = pwd.getpwuid(os.getuid()).pw_name
HASH = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
OTHER = HASH.replace("m=8", "m=16")


@pytest.fixture(scope="module")
def ctl():
    return test_ctl.Control(pg.shared())


def audit(ctl, *words):
    return ctl.json("audit", *words)


def add(ctl, login, *words):
    ctl("account", "add", login, "--no-password", *words)


# --------------------------------------------------------------------- recording
def test_an_added_account_tells_who_added_it(ctl):
    add(ctl, "added@example.net")
    sender, account = audit(ctl, "added@example.net")
    assert (account["object"], account["action"], account["via"]) == ("account", "insert", "account_add")
    assert (account["role"], account["actor"]) == ("postern_admin", OPERATOR)
    assert account["login"] == "added@example.net" and account["before"] is None
    assert account["after"]["status"] == "enabled" and "version" not in account["after"]
    assert (sender["object"], sender["after"]["value"]) == ("sender", "added@example.net")
    assert sender["audit_id"] > account["audit_id"] and sender["account_id"] == account["account_id"]


def test_an_update_tells_before_and_after_and_nothing_else(ctl):
    add(ctl, "upd")
    ctl("account", "disable", "upd")
    newest = audit(ctl, "upd", "--limit", "1")[0]
    assert newest["before"] == {"status": "enabled"} and newest["after"] == {"status": "disabled"}
    assert newest["via"] == "account_set_enabled"


def test_what_changes_nothing_is_not_recorded(ctl):
    add(ctl, "same")
    ctl("account", "enable", "same")
    assert len(audit(ctl, "same")) == 1


def test_a_password_is_named_by_its_scheme_alone(ctl):
    add(ctl, "secret")
    ctl("account", "passwd", "secret", *test_ctl.CHEAP, stdin="first\n")
    ctl("account", "passwd", "secret", *test_ctl.CHEAP, stdin="second\n")
    second, first, _ = audit(ctl, "secret")
    assert (first["before"], first["after"]) == ({"password_hash": None}, {"password_hash": "argon2id"})
    assert second["before"] == second["after"] == {"password_hash": "argon2id"}
    assert not ctl.sql("SELECT FROM postern.audit r WHERE r::text LIKE %s", "%$argon2id$%")


def test_a_sender_that_changes_only_the_version_of_its_account(ctl):
    add(ctl, "senders")
    ctl("sender", "add", "senders", "@example.org")
    ctl("sender", "del", "senders", "@example.org")
    gone, added, _ = audit(ctl, "senders")
    assert (added["object"], added["action"], added["after"]["kind"]) == ("sender", "insert", "domain")
    assert (gone["action"], gone["before"]["value"], gone["login"]) == ("delete", "example.org", "senders")


def test_a_plan_is_named(ctl):
    ctl.sql("SELECT postern.plan_set('audited', '{\"messages_hour\": 5}')")
    ctl.sql("SELECT postern.plan_set('audited', '{\"messages_hour\": 6}')")
    newest = audit(ctl, "--limit", "1")[0]
    assert (newest["object"], newest["account_id"]) == ("plan", None)
    assert newest["before"] == {"name": "audited", "messages_hour": 5} and newest["after"]["messages_hour"] == 6


def test_a_statement_by_hand_names_its_role_and_no_function(ctl):
    add(ctl, "byhand")
    ctl.sql("UPDATE postern.account SET status = 'disabled' WHERE login = 'byhand' RETURNING 1")
    newest = audit(ctl, "byhand")[0]
    assert (newest["via"], newest["role"], newest["actor"]) == (None, "postgres", None)


def test_a_function_of_somebody_else_is_not_named_but_ours_is(ctl):
    with psycopg.connect(ctl.superuser, autocommit=True) as connection:
        connection.execute("CREATE FUNCTION public.provision() RETURNS void LANGUAGE plpgsql AS $$ BEGIN "
                           "PERFORM postern.account_add('provisioned'); END $$")
        connection.execute("SELECT public.provision()")
    assert audit(ctl, "provisioned")[0]["via"] == "account_add"


def test_a_provisioning_system_says_who_acts(ctl):
    with psycopg.connect(ctl.dsn) as connection:
        connection.execute("SELECT set_config('postern.actor', 'shop/alice', true)")
        connection.execute("SELECT postern.account_add('bought')")
        connection.commit()
        connection.execute("SELECT postern.account_set_enabled('bought', false)")
        connection.commit()
    disabled, added = audit(ctl, "bought")
    assert (added["actor"], disabled["actor"]) == ("shop/alice", None)


def test_what_was_rolled_back_did_not_happen(ctl):
    before = audit(ctl, "--limit", "1")
    with psycopg.connect(ctl.dsn) as connection:
        connection.execute("SELECT postern.account_add('never')")
        connection.rollback()
    assert audit(ctl, "--limit", "1") == before


def test_a_thousand_rows_are_recorded_and_more_are_one(ctl):
    ctl.sql("SELECT postern.accounts_add_many(ARRAY(SELECT 'k' || n FROM generate_series(1, 1000) n))")
    assert audit(ctl, "k7")[0]["account_last"] is None
    ctl.sql("SELECT postern.accounts_add_many(ARRAY(SELECT 'm' || n FROM generate_series(1, 1001) n))")
    row, = audit(ctl, "m700")
    assert (row["object"], row["action"], row["via"]) == ("account", "insert", "accounts_add_many")
    assert row["after"] == {"rows": 1001} and row["account_last"] - row["account_id"] == 1000
    ctl.sql("UPDATE postern.account SET status = 'disabled' WHERE login ~ '^m[0-9]' RETURNING 1")
    ctl.sql("DELETE FROM postern.account WHERE login ~ '^m[0-9]' RETURNING 1")
    newest = audit(ctl, "--id", str(row["account_id"] + 1))
    assert [one["action"] for one in newest] == ["delete", "update", "insert"]


def test_the_admin_role_reads_by_the_function_and_can_erase_nothing(ctl):
    with psycopg.connect(ctl.dsn, autocommit=True) as connection:
        for statement in ("SELECT * FROM postern.audit", "DELETE FROM postern.audit",
                          "INSERT INTO postern.audit (object, action) VALUES ('account', 'insert')",
                          "SELECT postern.audit_attach('postern.audit', 'audit_id')",
                          "ALTER TABLE postern.account DISABLE TRIGGER audit_insert",
                          "SET session_replication_role = replica"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_credentials_and_blocks_are_recorded_too(ctl):
    add(ctl, "owner")
    ctl.sql("SELECT postern.credential_add('owner', 'abcdefgh2345', '0123456789abcdef', sha256('x'), 'phone')")
    ctl("credential", "revoke", "abcdefgh2345")
    revoked, made, _ = audit(ctl, "owner")
    assert (made["object"], made["action"], made["after"]["hash"]) == ("credential", "insert", "keyed")
    assert (made["login"], made["after"]["label"]) == ("owner", "phone")
    assert revoked["after"]["public_id"] == "abcdefgh2345" and revoked["before"]["revoked_at"] is None
    ctl("block", "add", "203.0.113.0/24", "--for", "1h", "--reason", "spray")
    ctl("block", "add", "203.0.113.0/24", "--for", "2h", "--reason", "more")
    again, first = audit(ctl, "--limit", "2")
    assert (first["object"], first["after"]["network"], first["actor"]) == ("block", "203.0.113.0/24", OPERATOR)
    assert again["before"]["reason"] == "spray" and again["after"]["network"] == "203.0.113.0/24"


def test_a_better_hash_by_a_log_in_is_the_services(ctl):
    ctl.sql("SELECT postern.account_add('rehashed', %s)", HASH)
    account_id, version = ctl.sql("SELECT account_id, version FROM postern.account WHERE login = 'rehashed'")[0]
    with psycopg.connect(ctl.server.dsn(ctl.name, "postern_service"), autocommit=True) as connection:
        connection.execute("SELECT postern.account_rehash(%s, %s, %s, %s)", (account_id, version, HASH, OTHER))
    newest = audit(ctl, "rehashed")[0]
    assert (newest["role"], newest["via"]) == ("postern_service", "account_rehash")
    assert newest["before"] == newest["after"] == {"password_hash": "argon2id"}


# ----------------------------------------------------------------------- reading
def test_paging_and_times(ctl):
    ctl.sql("SELECT postern.accounts_add_many(ARRAY(SELECT 'p' || n FROM generate_series(1, 1000) n))")
    add(ctl, "paging")
    everything = audit(ctl)
    ids = [row["audit_id"] for row in everything]
    assert ids == sorted(ids, reverse=True) and len(ids) > 1000
    assert audit(ctl, "--limit", "1001") == everything[:1001]
    ctl.sql("UPDATE postern.audit SET at = '2020-02-02 00:00Z' WHERE audit_id = %s RETURNING 1", ids[-1])
    old = audit(ctl, "--until", "2020-02-03")
    assert [row["audit_id"] for row in old] == [ids[-1]] and old[0]["at"] == "2020-02-02T00:00:00Z"
    assert len(audit(ctl, "--since", "2020-02-03")) == len(ids) - 1


def test_a_table_for_people(ctl):
    add(ctl, "people")
    ctl("account", "disable", "people")
    lines = ctl("audit", "people").stdout.splitlines()
    assert lines[0].split() == ["audit_id", "at", "by", "what", "account", "change"]
    assert lines[1].endswith("status enabled > disabled") and f"{OPERATOR} (postern_admin)" in lines[1]


@pytest.mark.parametrize("words, status", [
    (("audit", "nobody"), test_ctl.NO_USER), (("audit", "--since", "yesterweek"), test_ctl.DATA),
    (("audit", "a", "--id", "1"), test_ctl.USAGE), (("audit", "--id", "x"), test_ctl.USAGE),
    (("audit", "a", "b"), test_ctl.USAGE), (("audit", "--limit", "0"), test_ctl.USAGE),
])
def test_what_is_not_valid(ctl, words, status):
    add(ctl, "a") if not ctl.sql("SELECT FROM postern.account WHERE login = 'a'") else None
    assert ctl(*words, status=status).stdout.strip("[]\n") == ""


# ---------------------------------------------------------------------- deletion
def test_an_enabled_account_is_not_deleted(ctl):
    add(ctl, "alive")
    done = ctl("account", "delete", "alive", status=test_ctl.DATA)
    assert "is enabled" in done.stderr and "account disable" in done.stderr
    assert ctl("account", "show", "alive")


def test_a_deletion_erases_the_person_and_keeps_what_happened(ctl):
    add(ctl, "person@example.net")
    ctl("sender", "add", "person@example.net", "private@example.org")
    ctl("account", "rename", "person@example.net", "renamed.person@example.net")
    token = ctl.json("account", "show", "renamed.person@example.net")["token"]
    ctl.sql("SELECT postern.credential_add('renamed.person@example.net', 'zzzzzzzz2345', '0123456789abcdef', "
            "sha256('x'), 'private phone', '{192.0.2.77/32}')")
    ctl("account", "disable", "renamed.person@example.net")
    before = audit(ctl, "renamed.person@example.net")
    done = ctl.json("account", "delete", "renamed.person@example.net")
    assert done["result"] == "deleted"
    after = audit(ctl, "--id", done["id"])
    kept = [(row["audit_id"], row["at"], row["object"], row["action"], row["actor"]) for row in after]
    assert kept[-len(before):] == [(row["audit_id"], row["at"], row["object"], row["action"], row["actor"])
                                   for row in before]
    assert after[-len(before)]["before"] == {"status": "enabled"}
    everything = json.dumps(after) + json.dumps(audit(ctl))
    for trace in ("person@", "private", "192.0.2.77", "zzzzzzzz2345", token):
        assert trace not in everything
    assert {row["action"] for row in after[:-len(before)]} == {"delete"}
    ctl("account", "show", "renamed.person@example.net", status=test_ctl.NO_USER)


def test_a_dry_run_of_a_deletion_deletes_nothing(ctl):
    add(ctl, "dry")
    assert "is enabled" in ctl("account", "delete", "dry", "--dry-run", status=test_ctl.DATA).stderr
    ctl("account", "disable", "dry")
    before = audit(ctl)
    assert ctl("account", "delete", "dry", "--dry-run").stdout.endswith("(dry run: nothing was changed)\n")
    assert ctl.json("account", "delete", "dry", "--dry-run")["dry_run"] is True
    assert audit(ctl) == before and ctl("account", "show", "dry")


# ------------------------------------------------------------------------ rename
def senders(ctl, login):
    return ctl.json("account", "show", login)["senders"]


@pytest.mark.parametrize("login, more, becomes, want", [
    ("r1@example.net", [], "R1New@Example.org", ["r1new@example.org"]),
    ("r2@example.net", ["@example.com"], "r2@example.org", ["r2@example.org", "@example.com"]),
    ("r3", [], "r3@example.org", ["r3@example.org"]),
    ("r4@example.net", [], "r4", ["r4@example.net"]),
    ("r5@example.net", ["r5@example.org"], "r5@example.org", ["r5@example.org"]),
])
def test_the_address_of_the_login_follows_it(ctl, login, more, becomes, want):
    add(ctl, login)
    for sender in more:
        ctl("sender", "add", login, sender)
    was = ctl.json("account", "show", login)
    ctl("account", "rename", login, becomes)
    now = ctl.json("account", "show", becomes)
    assert now["senders"] == want
    assert (now["account_id"], now["token"]) == (was["account_id"], was["token"]) and now["version"] > was["version"]
    ctl("account", "show", login, status=test_ctl.NO_USER)


def test_an_address_that_was_taken_away_does_not_come_back(ctl):
    add(ctl, "taken@example.net")
    ctl("sender", "del", "taken@example.net", "taken@example.net")
    ctl("account", "rename", "taken@example.net", "taken@example.org")
    assert senders(ctl, "taken@example.org") == []


@pytest.mark.parametrize("words, status", [
    (("nobody", "somebody"), test_ctl.NO_USER), (("n1", "n2"), test_ctl.CANNOT_CREATE),
    (("n1", "N1"), test_ctl.DATA), (("n1", ""), test_ctl.DATA), (("n1", "a\tb"), test_ctl.DATA),
])
def test_a_rename_that_cannot_be(ctl, words, status):
    for login in ("n1", "n2"):
        if not ctl.sql("SELECT FROM postern.account WHERE login = %s", login):
            add(ctl, login)
    ctl("account", "rename", *words, status=status)
    assert ctl("account", "show", "n1") and ctl("account", "show", "n2")


def test_a_dry_run_of_a_rename(ctl):
    add(ctl, "still")
    ctl("account", "rename", "still", "moved", "--dry-run")
    assert ctl("account", "show", "still")


# ------------------------------------------------------------------------ hashes
def test_hashes_are_counted_by_scheme_and_cost():
    ctl = test_ctl.Control(pg.shared())
    for login, stored in (("a", HASH), ("b", HASH), ("c", OTHER), ("d", None)):
        ctl.sql("SELECT postern.account_add(%s, %s)", login, stored)
    assert ctl.json("account", "hashes") == [
        {"scheme": "argon2id", "cost": "m=8,t=1", "accounts": 2},
        {"scheme": "argon2id", "cost": "m=16,t=1", "accounts": 1}, {"scheme": None, "cost": "", "accounts": 1}]
    assert "no password" in ctl("account", "hashes").stdout


@pytest.mark.parametrize("stored, scheme, cost", [
    ("$2y$10$" + "a" * 53, "bcrypt", "cost=10"), ("{BLF-CRYPT}$2b$12$" + "a" * 53, "bcrypt", "cost=12"),
    ("$6$salt$x", "sha512-crypt", "rounds=5000"), ("{CRYPT}$5$rounds=7000$salt$x", "sha256-crypt", "rounds=7000"),
    ("{SSHA512}abc", "ssha512", ""), ("$y$j9T$salt$x", "yescrypt", ""), ("{PLAIN}x", "plain", ""),
    ("{PLAIN}$secret$x", "plain", ""), ("{CLEARTEXT}secret", "plain", ""), ("$secret$x", "unknown", ""),
    ("{SSHA512.HEX}ab", "ssha512", ""), ("$pbkdf2-sha256$1000$a$b", "pbkdf2-sha256", ""), ("$1$a$b", "md5-crypt", ""),
    ("{ARGON2ID}" + OTHER, "argon2id", "m=16,t=1"), ("what", "unknown", ""),
])
def test_the_names_of_schemes(ctl, stored, scheme, cost):
    assert ctl.sql("SELECT postern.hash_scheme(%s), postern.hash_cost(%s)", stored, stored) == [(scheme, cost)]
