# SPDX-License-Identifier: ISC
"""Whose address may stand in MAIL FROM: the account's own, a domain, anything; and what looks alike."""

import re

import pytest

import harness
from rig import CONTENT, RECIPIENT, Rig

REFUSED = re.compile(r"550 5\.7\.1 Not allowed to send from this address with this account \(id [0-9a-z]{12,13}\)")


def with_accounts(make_sandbox, **options):
    rig = Rig(make_sandbox, **options)
    for login, senders in {"bob@example.test": ["bob.b@example.org", "@sub.example.org"], "any@example.test": ["*"],
                           "plainlogin": ["@example.com", '"odd@local"@example.net'], "none": []}.items():
        rig.account(login, senders=senders)
    many = rig.account("many@example.test")
    for number in range(40):  # more than a look-up brings along
        rig.box.ctl("sender", "add", many, f"sender{number}@example.org")
    return rig


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = with_accounts(make_sandbox)
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


OWNED = [
    ("bob@example.test", "bob@example.test"), ("bob@example.test", "BOB@Example.TEST"), ("bob@example.test", "bob.b@example.org"),
    ("bob@example.test", "Bob.B@EXAMPLE.org"), ("bob@example.test", "whoever@sub.example.org"), ("bob@example.test", "x@SUB.example.org"),
    ("bob@example.test", '"a@b"@sub.example.org'), ("any@example.test", "ceo@example.org"), ("any@example.test", ""),
    ("any@example.test", "x@[192.0.2.1]"), ("plainlogin", "a@example.com"), ("plainlogin", '"odd@local"@example.net'),
    ("many@example.test", "sender0@example.org"), ("many@example.test", "sender39@example.org"), ("many@example.test", "SENDER20@example.ORG"),
]
FOREIGN = [
    ("bob@example.test", "ceo@example.org"), ("bob@example.test", "alice@example.test"), ("bob@example.test", "bob@example.test.evil.example"),
    ("bob@example.test", "x@example.org"), ("bob@example.test", "x@deep.sub.example.org"), ("bob@example.test", "x@notsub.example.org"),
    ("bob@example.test", "bob+tag@example.test"), ("bob@example.test", "bob@example.tes"), ("bob@example.test", ""),
    ("bob@example.test", '"bob@example.test"@evil.example'), ("bob@example.test", '"bob"@example.test'),
    ("bob@example.test", "bobb@example.test"), ("bob@example.test", "*@example.test"), ("bob@example.test", "@sub.example.org:x@evil.example"),
    ("plainlogin", "plainlogin@example.test"), ("plainlogin", "odd@example.net"), ("none", "none@example.test"), ("none", ""),
    ("many@example.test", "sender40@example.org"), ("many@example.test", "other@example.org"),
]


def mail_from(rig, login, sender):
    with rig.box.session(user=login, password=login) as client:
        return client.command(f"MAIL FROM:<{sender}>")


@pytest.mark.row("9")
@pytest.mark.threat("F01")
@pytest.mark.parametrize("login, sender", OWNED)
def test_owned(rig, login, sender):
    with rig.box.session(user=login, password=login) as client:
        assert client.message(sender, [RECIPIENT], CONTENT).code == 250
    [session] = rig.sessions()
    assert f"MAIL FROM:<{sender}>".encode() in session.commands, "as it was given"


@pytest.mark.row("43")
@pytest.mark.threat("F01")
@pytest.mark.parametrize("login, sender", FOREIGN)
def test_not_owned(rig, login, sender):
    """F01: refused before the backend hears of it, and the session may go on."""
    answer = mail_from(rig, login, sender)
    assert REFUSED.fullmatch(answer.text) or answer.code == 501, answer
    assert rig.backend.mail_sessions() == []


def test_session_goes_on_after_a_refusal(rig):
    with rig.box.session(user="bob@example.test", password="bob@example.test") as client:
        for _ in range(30):
            assert REFUSED.fullmatch(client.command("MAIL FROM:<ceo@example.org>").text), "no error of the protocol"
        assert client.command(f"RCPT TO:<{RECIPIENT}>").text == "503 5.5.1 Send MAIL first"
        assert client.message("bob@example.test", [RECIPIENT], CONTENT).code == 250


@pytest.mark.threat("C24")
def test_added_and_deleted_senders_count(rig):
    """Within what a row is trusted: ten seconds, while there is no change feed."""
    login = rig.account("changing@example.test")
    assert mail_from(rig, login, "new@example.org").code == 550
    rig.box.ctl("sender", "add", login, "new@example.org")
    rig.box.ctl("sender", "del", login, login)
    harness.wait_until(lambda: mail_from(rig, login, "new@example.org").code == 250, "the new sender", timeout=15)
    assert REFUSED.fullmatch(mail_from(rig, login, login).text)


# ------------------------------------------------------------------ the header's From
FROM_REFUSED = re.compile(r"550 5\.7\.1 From: is not an address of this account \(id [0-9a-z]{12,13}\)")
AUTHORS = {"bob@example.test", "any@example.test", "many@example.test"}
# Quotes and routes, which a header may have and the header stage reads by rules of its own, are left out.
PLAIN = re.compile(r"[^\"*@:]+@[^@:]+")


@pytest.fixture(scope="module")
def authors(make_sandbox):
    """Where the listeners have From judged."""
    rig = with_accounts(make_sandbox, author=True)
    yield rig
    rig.close()


def write_as(rig, login, author):
    with rig.box.session(user=login, password=login) as client:
        client.mail(login, [RECIPIENT])
        client.command("DATA", 354)
        client.send(f"From: <{author}>\r\n".encode() + CONTENT + b".\r\n")
        return client.reply()


@pytest.mark.parametrize("login, author", [case for case in OWNED if case[0] in AUTHORS and PLAIN.fullmatch(case[1])])
def test_what_mail_from_may_be_the_header_may_be(authors, login, author):
    rig = authors.reset()
    assert write_as(rig, login, author).code == 250
    [session] = rig.sessions()
    assert f"MAIL FROM:<{login}>".encode() in session.commands


@pytest.mark.parametrize("login, author", [case for case in FOREIGN if case[0] in AUTHORS and PLAIN.fullmatch(case[1])])
def test_what_mail_from_may_not_be_the_header_may_not_be(authors, login, author):
    rig = authors.reset()
    answer = write_as(rig, login, author)
    assert FROM_REFUSED.fullmatch(answer.text), answer
    assert [body for session in rig.backend.mail_sessions() for body in session.complete] == []


def test_a_sender_added_now_may_be_used_now(rig):
    """No refusal rests on a remembered row."""
    login = rig.account("adding@example.test")
    with rig.box.secured() as client:
        client.login(login, login)
        client.command("MAIL FROM:<new@example.test>", 550)
        rig.box.ctl("sender", "add", login, "new@example.test")
        client.command("MAIL FROM:<new@example.test>", 250)
