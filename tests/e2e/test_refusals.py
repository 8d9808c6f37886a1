# SPDX-License-Identifier: ISC
"""What the proxy refuses is in the books a moment later, under the id that the reply told."""
import json
import re

import pytest

import harness
import smtp
from rig import CONTENT, RECIPIENT, Rig

ID = re.compile(r"\(id ([0-9a-z]{12})\)")


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox)
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


def explained(rig, answer):
    """What the books tell of the id in a reply."""
    found = ID.search(answer.text)
    assert found, answer
    asked = []

    def told():
        asked[:] = [rig.box.ctl("--json", "explain", found.group(1), ok=False)]
        return asked[0].returncode == 0

    harness.wait_until(told, "the books have the refusal")
    row, = json.loads(asked[0].stdout)
    return row


def deliver(client, login, content):
    client.command(f"MAIL FROM:<{login}>", 250)
    client.command(f"RCPT TO:<{RECIPIENT}>", 250)
    client.command("DATA", 354)
    client.send(smtp.transparent(content))
    return client.reply()


def test_a_foreign_envelope_sender(rig):
    login = rig.account("foreign@example.test")
    with rig.box.session(user=login, password=login) as client:
        row = explained(rig, client.command("MAIL FROM:<CEO@example.org>", 550))
    assert (row["rule"], row["code"], row["from"], row["login"], row["senders"], row["client"]) == (
        "sender", 550, "CEO@example.org", login, login, "127.0.0.1")


def test_a_limit(rig):
    login = rig.account("limited@example.test", "messages_hour=1")
    with rig.box.session(user=login, password=login) as client:
        assert deliver(client, login, CONTENT).code == 250
        client.command(f"MAIL FROM:<{login}>")
        client.command(f"RCPT TO:<{RECIPIENT}>")
        first = explained(rig, client.command("DATA", 450))
        client.command("RSET", 250)
        # Known by now: refused without asking the database.
        second = explained(rig, client.command(f"MAIL FROM:<{login}>", 450))
    for row in (first, second):
        assert (row["rule"], row["code"], row["meter"], row["limit"], row["login"]) == (
            "meter", 450, "messages per hour", 1, login)
        assert (row["source"], row["limit_now"], row["used_now"]) == ("own", 1, 1)
        assert row["frees_at"] is not None
    assert second["from"] == login


def test_more_than_the_limit_itself(rig):
    login = rig.account("never@example.test", "recipients_hour=1")
    with rig.box.session(user=login, password=login) as client:
        client.command(f"MAIL FROM:<{login}>", 250)
        for number in range(2):
            client.command(f"RCPT TO:<r{number}@example.test>", 250)
        row = explained(rig, client.command("DATA", 550))
    assert (row["rule"], row["code"], row["meter"], row["limit"]) == ("meter", 550, "recipients per hour", 1)


@pytest.mark.parametrize("policy,refused", [("reject", True), ("rewrite", False), ("observe", False)])
def test_a_foreign_header_is_a_refusal_only_where_it_is_refused(rig, policy, refused):
    login = rig.account(f"{policy}@example.test")
    rig.box.ctl("account", "from", login, policy)
    with rig.box.session(user=login, password=login) as client:
        answer = deliver(client, login, b"From: ceo@example.org\r\n\r\nhello\r\n")
        # The books have what comes after it, so they have it, too.
        explained(rig, client.command("MAIL FROM:<other@example.org>", 550))
    assert answer.code == (550 if refused else 250)
    rows = [row for row in json.loads(rig.box.ctl("--json", "log", login)) if row["rule"] == "from-header"]
    assert [(row["from"], row["code"]) for row in rows] == ([("ceo@example.org", 550)] if refused else [])
    if refused:
        assert explained(rig, answer)["rule"] == "from-header"


def test_a_client_may_write_what_it_likes(rig):
    """Octets that are no UTF-8 do not keep the others out of the books."""
    login = rig.account("octets@example.test")
    with rig.box.session(user=login, password=login) as client:
        answer = client.command('MAIL FROM:<"a\\"{,}\\\\b"@example.org>', 550)
        row = explained(rig, answer)
    assert row["from"] == '"a\\"{,}\\\\b"@example.org'
