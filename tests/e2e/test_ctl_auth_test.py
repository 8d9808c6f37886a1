# SPDX-License-Identifier: ISC
"""posternctl auth-test: what a log-in would come to, and in which order the reasons count."""
import json
import os
import secrets

import pytest

import pg
import test_ctl
from test_ctl import CHEAP, DATA, NO_INPUT, NO_PERMISSION, NO_USER, Terminal


@pytest.fixture(scope="module")
def ctl():
    return test_ctl.Control(pg.shared())


def auth_test(ctl, login, secret, *words, status=0):
    return json.loads(ctl("auth-test", login, "--json", *words, stdin=secret + "\n", status=status).stdout)


def add(ctl, login, secret="right"):
    ctl("account", "add", login, *CHEAP, stdin=secret + "\n")


def everything(ctl):
    return ctl.sql("SELECT * FROM postern.account") + ctl.sql("SELECT * FROM postern.audit")


# --------------------------------------------------------------------- passwords
def test_a_log_in_that_would_be_let_in(ctl):
    add(ctl, "tester")
    before = everything(ctl)
    assert auth_test(ctl, "Tester", "right", *CHEAP, "--from", "192.0.2.1") == {
        "login": "tester", "account_id": ctl.json("account", "show", "tester")["account_id"], "enabled": True,
        "blocked": None, "blocked_until": None, "credential": None, "scheme": "argon2id", "cost": "m=8,t=1",
        "password": "matches", "rehash": False, "result": "accepted", "reason": None}
    assert auth_test(ctl, "tester", "right")["rehash"] is True
    assert everything(ctl) == before


def test_a_log_in_that_would_be_refused_and_why(ctl):
    add(ctl, "refused")
    wrong = auth_test(ctl, "refused", "wrong", status=NO_PERMISSION)
    assert (wrong["password"], wrong["rehash"], wrong["reason"]) == ("wrong", None, "the password is wrong")
    ctl("account", "disable", "refused")
    disabled = auth_test(ctl, "refused", "right", status=NO_PERMISSION)
    assert (disabled["password"], disabled["reason"]) == ("matches", "the account is disabled")
    ctl("account", "enable", "refused")
    ctl("account", "passwd", "refused", "--no-password")
    none = auth_test(ctl, "refused", "right", status=NO_PERMISSION)
    assert (none["scheme"], none["password"]) == (None, "none")
    assert auth_test(ctl, "nobody", "right", status=NO_USER)["account_id"] is None
    ctl.sql("UPDATE postern.account SET password_hash = '$nonsense$' WHERE login = 'refused' RETURNING 1")
    assert "cannot be verified" in auth_test(ctl, "refused", "right", status=NO_PERMISSION)["reason"]


def test_a_hash_of_another_scheme(ctl):
    # {SSHA256} of "right" and the salt "salt".
    ctl.sql("SELECT postern.account_add('legacy', '{SSHA256}' || encode(sha256('rightsalt') || 'salt', 'base64'))")
    got = auth_test(ctl, "legacy", "right")
    assert (got["scheme"], got["password"], got["rehash"]) == ("ssha256", "matches", True)
    assert auth_test(ctl, "legacy", "wrong", status=NO_PERMISSION)["password"] == "wrong"


# ------------------------------------------------------------------------ blocks
def test_a_network_that_is_blocked(ctl):
    add(ctl, "blocked-net")
    ctl("block", "add", "198.51.100.0/24", "--for", "1h")
    got = auth_test(ctl, "blocked-net", "wrong", "--from", "198.51.100.7", status=NO_PERMISSION)
    assert (got["blocked"], got["reason"], got["password"]) == ("198.51.100.0/24", "the network is blocked", "wrong")
    assert got["blocked_until"].endswith("Z")
    assert auth_test(ctl, "nobody", "x", "--from", "198.51.100.7", status=NO_PERMISSION)["account_id"] is None
    assert auth_test(ctl, "blocked-net", "right", "--from", "198.51.101.7")["blocked"] is None
    assert auth_test(ctl, "blocked-net", "right", "--from", "2001:db8::1")["blocked"] is None
    ctl("block", "del", "198.51.100.0/24")
    assert auth_test(ctl, "blocked-net", "right", "--from", "198.51.100.7")["result"] == "accepted"


def test_an_account_that_is_blocked(ctl):
    add(ctl, "blocked-account")
    ctl("block", "add", "blocked-account", "--for", "1h")
    got = auth_test(ctl, "blocked-account", "right", status=NO_PERMISSION)
    assert (got["blocked"], got["enabled"], got["reason"]) == ("account", True, "the account is blocked")
    ctl.sql("UPDATE postern.account SET blocked_until = now() - interval '1 s' WHERE login = 'blocked-account' RETURNING 1")
    assert auth_test(ctl, "blocked-account", "right")["blocked"] is None


@pytest.mark.parametrize("address", ["nonsense", "192.0.2.300", ""])
def test_what_is_no_address(ctl, address):
    ctl("auth-test", "x", "--from", address, stdin="x\n", status=DATA)


# ------------------------------------------------------------------- credentials
@pytest.fixture(scope="module")
def pepper(tmp_path_factory):
    path = tmp_path_factory.mktemp("pepper") / "pepper"
    path.write_text(secrets.token_hex(32) + "\n")
    os.chmod(path, 0o600)
    return str(path)


def make(ctl, pepper, login, *words):
    made = ctl.json("credential", "add", login, "--pepper", pepper, *words)
    return made["secret"], made["credential"]


def test_a_generated_secret(ctl, pepper):
    add(ctl, "gen")
    secret, public = make(ctl, pepper, "gen", "--network", "192.0.2.0/24")
    got = auth_test(ctl, "gen", secret, "--pepper", pepper, "--from", "192.0.2.9")
    assert (got["credential"], got["password"], got["result"], got["scheme"]) == (public, "matches", "accepted", None)
    wrong = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    got = auth_test(ctl, "gen", wrong, "--pepper", pepper, status=NO_PERMISSION)
    assert (got["password"], got["reason"]) == ("wrong", "the secret is wrong")
    got = auth_test(ctl, "gen", secret, "--pepper", pepper, "--from", "192.0.3.9", status=NO_PERMISSION)
    assert (got["password"], got["reason"]) == ("matches", "the credential may not be used from this address")
    ctl("credential", "revoke", public)
    got = auth_test(ctl, "gen", secret, "--pepper", pepper, status=NO_PERMISSION)
    assert (got["password"], got["reason"]) == ("matches", "the credential is revoked")


def test_a_generated_secret_of_somebody_else_or_of_nobody(ctl, pepper):
    add(ctl, "gen-owner")
    add(ctl, "gen-other")
    secret, _ = make(ctl, pepper, "gen-owner")
    got = auth_test(ctl, "gen-other", secret, "--pepper", pepper, status=NO_PERMISSION)
    assert got["reason"] == "the credential is another account's"
    got = auth_test(ctl, "gen-owner", "pst_" + "b" * 12 + "_" + "a" * 32, "--pepper", pepper, status=NO_PERMISSION)
    assert (got["password"], got["reason"]) == ("wrong", "there is no such credential")


def test_without_its_pepper_nothing_is_known_of_a_secret(ctl, pepper, tmp_path):
    add(ctl, "gen-unknown")
    secret, public = make(ctl, pepper, "gen-unknown")
    other = tmp_path / "other"
    other.write_text(secrets.token_hex(32) + "\n")
    os.chmod(other, 0o600)
    for words in ((), ("--pepper", str(other)), ("--pepper", "/nonexistent")):
        got = auth_test(ctl, "gen-unknown", secret, *words, status=NO_INPUT)
        assert (got["credential"], got["password"], got["result"]) == (public, "unknown", "unknown")
        assert "pepper" in got["reason"]


# ------------------------------------------------------------------------ people
def test_a_log_in_for_people(ctl):
    add(ctl, "human")
    lines = ctl("auth-test", "human", stdin="right\n").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "login", "account_id", "enabled", "blocked", "blocked_until", "credential", "scheme", "cost", "password",
        "rehash", "result", "reason"]
    assert lines[2].split()[1] == "yes" and lines[10].split()[1] == "accepted"


def test_a_terminal_is_asked_once_for_a_password_that_there_is(ctl):
    ctl("account", "add", "terminal-test", *CHEAP, stdin="typed secret\n")
    terminal = Terminal(ctl, "auth-test", "terminal-test")
    terminal.expect(b"Password: ")
    assert not terminal.echo()
    terminal.type(b"typed secret\n")
    assert terminal.end() == 0
    assert b"Again" not in terminal.shown and b"accepted" in terminal.shown and b"typed" not in terminal.shown
