# SPDX-License-Identifier: ISC
"""Generated credentials: made by posternctl, used over SMTP, bound, narrowed, metered and revoked."""

import concurrent.futures
import hashlib
import json
import os
import re
import signal

import psycopg
import pytest

import harness
import observe
import smtp
from rig import CONTENT, RECIPIENT, Rig

FORM = re.compile(r"pst_([a-z2-7]{12})_[a-z2-7]{32}")
FAILED = "535 5.7.8 Authentication credentials invalid"
REVOKED = "421 4.7.0 The account was changed or disabled; log in again"
OWN_LIMIT = re.compile(r"450 4\.7\.1 Limit reached: (\d+) (messages|recipients) per (hour|day) of this credential; "
                       r"it frees at \S+ \(id [0-9a-z]{12,13}\)")
NEVER = re.compile(r"550 5\.7\.1 More than the limit itself allows: 1 recipients per hour of this credential \(id \w+\)")


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=["limits.connections_per_prefix=1000", "listen.submission.from=reject"])
    harness.wait_until(lambda: observe.metric(rig.box, "feed_up") == 1, "the feed")
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


@pytest.fixture
def login(request, rig):
    """An account of the test's own."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return rig.account(f"{name}@example.test", senders=["other@example.test", "@example.org"])


def add(rig, login, *options, ok=True):
    """Makes a credential; returns its secret and its public id."""
    environment = os.environ.copy()
    os.environ["POSTERN_PEPPER"] = rig.box.env["POSTERN_PEPPER"]
    try:
        out = rig.box.ctl("credential", "add", login, *options, ok=ok)
    finally:
        os.environ.clear()
        os.environ.update(environment)
    if not ok:
        return out
    secret = out.strip()
    return secret, FORM.fullmatch(secret).group(1)


def session(rig, login, secret, **options):
    return rig.box.session(user=login, password=secret, **options)


def refused(rig, login, secret, mechanism="PLAIN"):
    with rig.box.secured() as client:
        client.login(login, secret, mechanism, want=535)
    return rig.box.log_lines()


def last_failure(rig):
    return [line for line in rig.box.log_lines() if " auth-failed " in line][-1]


def owner(rig):
    with open(rig.box.path("pgpass"), encoding="ascii") as file:
        password = file.read().strip().rpartition(":")[2]
    return psycopg.connect(re.sub(r"user=\S+ password=\S+", f"user=postgres password={password}", rig.box.dsn),
                           autocommit=True)


# -------------------------------------------------------------------- logging in
@pytest.mark.parametrize("port", ["submissions", "submission"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_it_logs_in_and_sends(rig, login, port, mechanism):
    secret, _ = add(rig, login)
    with session(rig, login, secret, port=port, mechanism=mechanism) as client:
        content = f"From: {login}\r\n".encode() + CONTENT
        assert client.message(login, [RECIPIENT], content).code == 250


def test_no_password_hash_is_computed_for_it(rig, login):
    secret, public = add(rig, login)
    hashes = observe.Change(rig.box)
    session(rig, login, secret).quit()
    refused(rig, login, secret[:-1] + ("a" if secret[-1] != "a" else "b"))
    refused(rig, "nobody@example.test", secret)
    assert hashes("hashes_total") == 0
    line = [line for line in rig.box.log_lines() if " auth-ok " in line][-1]
    assert f"credential={public}" in line


def test_the_secret_is_in_no_log(rig, login):
    secret, _ = add(rig, login)
    session(rig, login, secret).quit()
    refused(rig, "nobody@example.test", secret)
    assert not any(secret[17:] in line for line in rig.box.log_lines())


@pytest.mark.parametrize("spoil", [
    lambda secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"),          # another secret
    lambda secret: secret[:4] + "aaaaaaaaaaab" + secret[16:],                  # an id that is not there
    lambda secret: secret[:4] + "aaaaaaaaaaaa" + secret[16:],                  # one that cannot be
    lambda secret: secret.upper(),
    lambda secret: secret + " ",
    lambda secret: secret[:-1],
], ids=["secret", "unknown", "none", "case", "space", "short"])
def test_wrong(rig, login, spoil):
    secret, _ = add(rig, login)
    refused(rig, login, spoil(secret))
    assert "reason=wrong" in last_failure(rig)


def test_it_is_its_accounts_alone(rig, login):
    secret, _ = add(rig, login)
    other = rig.account("neighbour@example.test")
    refused(rig, other, secret)
    assert "reason=wrong" in last_failure(rig)
    refused(rig, "nobody@example.test", secret)
    assert "reason=unknown" in last_failure(rig)


def test_a_disabled_account(rig, login):
    secret, _ = add(rig, login)
    rig.box.ctl("account", "disable", login)
    refused(rig, login, secret)
    assert "reason=disabled" in last_failure(rig)


def test_the_answers_to_all_refusals_are_the_same_octets(rig, login):
    good, public = add(rig, login)
    elsewhere, _ = add(rig, login, "--network", "192.0.2.0/24")
    revoked, gone = add(rig, login)
    rig.box.ctl("credential", "revoke", gone)
    answers = set()
    for who, what in ((login, good[:-1] + ("a" if good[-1] != "a" else "b")), ("nobody@example.test", good),
                      (login, elsewhere), (login, revoked), (login, "not of that form")):
        with rig.box.secured() as client:
            answers.add(client.login(who, what, want=535).raw)
    assert len(answers) == 1


def test_networks(rig, login):
    elsewhere, _ = add(rig, login, "--network", "192.0.2.0/24", "--network", "2001:db8::/32")
    refused(rig, login, elsewhere)
    assert "reason=network" in last_failure(rig)
    here, _ = add(rig, login, "--network", "192.0.2.0/24", "--network", "127.0.0.0/8")
    session(rig, login, here).quit()


def test_expiry(rig, login):
    secret, public = add(rig, login, "--expires", "1h")
    with session(rig, login, secret) as client:
        with owner(rig) as database:
            database.execute("UPDATE postern.credential SET expires_at = now() WHERE public_id = %s", (public,))
        assert client.reply().text == REVOKED
    refused(rig, login, secret)
    assert "reason=expired" in last_failure(rig)
    assert json.loads(rig.box.ctl("credential", "show", public, "--json"))["state"] == "expired"


def test_revoked_ends_its_own_sessions_and_no_other(rig, login):
    secret, public = add(rig, login)
    other, _ = add(rig, login)
    with session(rig, login, secret) as one, session(rig, login, other) as two, \
            session(rig, login, login) as by_password:
        rig.box.ctl("credential", "revoke", public, "--dry-run")
        one.command("NOOP", 250)
        rig.box.ctl("credential", "revoke", public)
        assert one.reply().text == REVOKED
        two.message(login, [RECIPIENT], CONTENT, 250)
        by_password.message(login, [RECIPIENT], CONTENT, 250)
    refused(rig, login, secret)
    assert "reason=revoked" in last_failure(rig)


def test_another_password_leaves_its_sessions_alone(rig, login):
    secret, _ = add(rig, login)
    changed = observe.Change(rig.box)
    with session(rig, login, secret) as client:
        rig.box.ctl("account", "passwd", login, "--memory", "8MiB", "--passes", "1", text="another\n")
        harness.wait_until(lambda: changed("feed_changes_total") >= 1, "the change")
        assert client.message(login, [RECIPIENT], CONTENT).code == 250


def test_a_foreign_pepper(rig, login, tmp_path):
    """Hashed under a key that the node does not have: refused, and the operator is told."""
    path = tmp_path / "pepper"
    path.write_text("ab" * 32 + "\n")
    path.chmod(0o600)
    secret, public = add(rig, login, "--pepper", str(path))
    refused(rig, login, secret)
    assert "reason=no-key" in last_failure(rig)
    assert any("credential-refused" in line and public in line and " error " in line for line in rig.box.log_lines())


# ----------------------------------------------------------------------- senders
@pytest.mark.parametrize("sender, code", [("other@example.test", 250), ("OTHER@Example.Test", 250), ("a@example.org", 250),
                                          ("LOGIN", 550), ("a@sub.example.org", 550), ("mine@example.com", 550), ("", 550)])
def test_senders_only_narrow(rig, login, sender, code):
    """mine@example.com is the credential's and not the account's: both must own what is written."""
    secret, _ = add(rig, login, "--sender", "other@example.test", "--sender", "@example.org",
                    "--sender", "mine@example.com")
    with session(rig, login, secret) as client:
        assert client.command(f"MAIL FROM:<{login if sender == 'LOGIN' else sender}>").code == code


def test_the_header_is_held_to_them_too(rig, login):
    secret, _ = add(rig, login, "--sender", "other@example.test")
    with session(rig, login, secret, port="submission") as client:
        for author, code in (("other@example.test", 250), (login, 550)):
            client.mail("other@example.test", [RECIPIENT])
            client.command("DATA", 354)
            client.send(smtp.transparent(f"From: {author}\r\n\r\nx\r\n".encode()))
            assert client.reply().code == code


# ------------------------------------------------------------------------ limits
def test_its_own_limit_besides_the_accounts(rig, login):
    secret, _ = add(rig, login, "--messages-hour", "2")
    with session(rig, login, secret) as client:
        for _ in range(2):
            client.message(login, [RECIPIENT], CONTENT, 250)
        client.command(f"MAIL FROM:<{login}>", 250)
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        answer = client.command("DATA")
        assert OWN_LIMIT.fullmatch(answer.text).groups() == ("2", "messages", "hour")
        client.command("RSET", 250)
        # and what is known is said at MAIL
        assert OWN_LIMIT.fullmatch(client.command(f"MAIL FROM:<{login}>").text)
    with session(rig, login, login) as client:
        assert client.message(login, [RECIPIENT], CONTENT).code == 250


def test_more_than_its_limit_itself(rig, login):
    secret, _ = add(rig, login, "--recipients-hour", "1")
    with session(rig, login, secret) as client:
        client.command(f"MAIL FROM:<{login}>", 250)
        for number in range(2):
            client.command(f"RCPT TO:<r{number}@example.net>", 250)
        assert NEVER.fullmatch(client.command("DATA").text)


def test_what_the_backend_refuses_is_given_back_to_both(rig, login):
    secret, _ = add(rig, login, "--messages-hour", "1")
    returned = observe.Change(rig.box)
    rig.backend.on("body", "554 5.6.0 No")
    with session(rig, login, secret) as client:
        client.message(login, [RECIPIENT], CONTENT, 554)
        harness.wait_until(lambda: returned("takes_returned_total") == 1, "the give-back")
        rig.backend.on("body", None)
        client.message(login, [RECIPIENT], CONTENT, 250)


def test_many_sessions_get_its_limit_exactly(rig, login):
    secret, _ = add(rig, login, "--messages-hour", "7")

    def attempt(client):
        if client.command(f"MAIL FROM:<{login}>").code != 250:
            return False
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        if client.command("DATA").code != 354:
            client.command("RSET", 250)
            return False
        client.send(smtp.transparent(CONTENT))
        return client.reply().code == 250

    def send(_):
        with session(rig, login, secret) as client:
            return sum(attempt(client) for _ in range(4))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(send, range(4))) == 7


# ---------------------------------------------------------------------- last use
def test_the_last_use_appears(rig, login):
    secret, public = add(rig, login, "--label", "the printer")
    shown = json.loads(rig.box.ctl("credential", "show", public, "--json"))
    assert (shown["label"], shown["used_at"]) == ("the printer", None)
    with rig.box.connect() as client:
        client.ehlo("printer.example.test")
        client.login(login, secret)

    def used():
        row = json.loads(rig.box.ctl("credential", "show", public, "--json"))
        return row["used_at"] and row
    row = harness.wait_until(used, "the last use")
    assert (row["used_address"], row["used_client"]) == ("127.0.0.1", "printer.example.test")


# -------------------------------------------------------------------- posternctl
def test_nobody_may_choose_such_a_password(rig, login):
    secret, _ = add(rig, login)
    done = rig.box.ctl("account", "passwd", login, text=f"{secret}\n", ok=False)
    assert done.returncode == 65
    assert "form of a generated credential" in done.stderr
    session(rig, login, login).quit()


def test_json_and_list(rig, login):
    made = json.loads(rig.box.ctl("credential", "add", login, "--json", "--pepper", rig.box.env["POSTERN_PEPPER"]))
    assert FORM.fullmatch(made["secret"]).group(1) == made["credential"]
    [row] = json.loads(rig.box.ctl("credential", "list", login, "--json"))
    assert (row["credential"], row["state"]) == (made["credential"], "live")
    assert made["secret"] not in rig.box.ctl("credential", "show", made["credential"])
    rig.box.ctl("credential", "revoke", "pst_" + made["credential"])
    assert "revoked" in rig.box.ctl("credential", "list", login)


@pytest.mark.parametrize("options, status", [
    (("--expires", "yesterday"), 64), (("--expires", "2001-01-01"), 65), (("--expires", "0d"), 65),
    (("--expires", "2027-13-41"), 65), (("--network", "10"), 65), (("--network", "192.0.2.1/24"), 65),
    (("--sender", "*"), 65), (("--sender", "nobody"), 65), (("--messages-hour", "-1"), 64), (("--messages-day", "x"), 64),
    (("--label", "x" * 101), 65), (("--pepper", "/nonexistent"), 66), (("--pepper", "/etc/passwd"), 66),
])
def test_what_cannot_be_added(rig, login, options, status):
    assert add(rig, login, *options, ok=False).returncode == status
    assert json.loads(rig.box.ctl("credential", "list", login, "--json")) == []


def test_without_a_pepper_it_says_what_to_do(rig, login):
    done = rig.box.ctl("credential", "add", login, ok=False)
    assert done.returncode == 64
    assert "POSTERN_PEPPER" in done.stderr


def test_the_audit_has_it_without_its_hash(rig, login):
    secret, public = add(rig, login, "--label", "door")
    rig.box.ctl("credential", "revoke", public)
    gone, made = json.loads(rig.box.ctl("audit", login, "--json"))[:2]
    assert (made["object"], made["via"], made["after"]["hash"]) == ("credential", "credential_add", "keyed")
    assert (gone["via"], gone["before"]["revoked_at"], gone["after"]["public_id"]) == ("credential_revoke", None, public)
    rig.box.ctl("account", "disable", login)
    rig.box.ctl("account", "delete", login)
    rows = json.loads(rig.box.ctl("audit", "--id", str(made["account_id"]), "--json"))
    assert any(row["object"] == "credential" for row in rows)
    assert public not in json.dumps(rows) and "door" not in json.dumps(rows)
    refused(rig, login, secret)


def test_credentials_are_counted_by_pepper(rig, login, tmp_path):
    path = tmp_path / "pepper"
    path.write_text("cd" * 32)
    path.chmod(0o600)
    _, public = add(rig, login, "--pepper", str(path))
    add(rig, login, "--pepper", str(path))
    key = json.loads(rig.box.ctl("credential", "show", public, "--json"))["key_id"]

    def counted():
        return [(row["live"], row["ended"]) for row in json.loads(rig.box.ctl("credential", "keys", "--json"))
                if row["key_id"] == key]
    assert counted() == [(2, 0)]
    rig.box.ctl("credential", "revoke", public)
    assert counted() == [(1, 1)]


# ------------------------------------------------------------- another auth process
def test_a_session_keeps_its_bounds_when_auth_is_replaced(rig, login):
    """What the proxy announces to the new one is held to the credential as to the account."""
    secret, public = add(rig, login, "--sender", "other@example.test", "--messages-hour", "1", "--network", "127.0.0.0/8")
    with session(rig, login, secret) as client, session(rig, login, secret) as other:
        old = rig.box.child("auth")
        os.kill(old, signal.SIGKILL)
        harness.wait_until(lambda: rig.box.child("auth") not in (None, old), "another auth process")
        observe.wait_ready(rig.box)
        harness.wait_until(lambda: client.command("MAIL FROM:<other@example.test>").code == 250, "MAIL")
        client.command("RSET", 250)
        client.command(f"MAIL FROM:<{login}>", 550)
        client.message("other@example.test", [RECIPIENT], CONTENT, 250)
        other.command("MAIL FROM:<other@example.test>", 250)
        other.command(f"RCPT TO:<{RECIPIENT}>", 250)
        assert OWN_LIMIT.fullmatch(other.command("DATA").text)
        other.command("RSET", 250)
        rig.box.ctl("credential", "revoke", public)
        assert client.reply().text == REVOKED
        assert other.reply().text == REVOKED
