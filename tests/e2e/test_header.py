# SPDX-License-Identifier: ISC
"""The header's author, end to end: no forged From in any form reaches the backend as a message
(CVE-2024-7208 and -7209), in DATA and in chunks, whatever pieces it comes in; and what is stripped,
dropped and added on the way."""

import email
import email.policy
import re

import pytest

from rig import RECIPIENT, Rig, undotted, without_trace

ALICE = "alice@example.test"
NOT_OWNED = re.compile(r"550 5\.7\.1 From: is not an address of this account \(id [0-9a-z]{12}\)")
UNREADABLE = re.compile(r"550 5\.6\.0 Message needs a header with one From: field that can be read \(id [0-9a-z]{12}\)")

OWNED = {
    "plain": b"From: alice@example.test\r\n",
    "display name": b"From: Alice <alice@example.test>\r\n",
    "another case": b"FROM: ALICE@Example.TEST\r\n",
    "folded": b"From: Alice\r\n <alice@example.test>\r\n",
    "space before the colon": b"From : alice@example.test\r\n",
    "comment": b"From: alice@example.test (at home)\r\n",
    "another address of hers": b"From: sales@example.test\r\n",
    "two of hers and a Sender": b"From: alice@example.test, sales@example.test\r\nSender: alice@example.test\r\n",
}
FORGED = {
    "another": b"From: ceo@example.org\r\n",
    "two fields": b"From: alice@example.test\r\nFrom: ceo@example.org\r\n",
    "two fields, hers last": b"From: ceo@example.org\r\nFrom: alice@example.test\r\n",
    "two addresses": b"From: alice@example.test, ceo@example.org\r\nSender: alice@example.test\r\n",
    "name of hers, address not": b"From: \"alice@example.test\" <ceo@example.org>\r\n",
    "space before the colon": b"From : ceo@example.org\r\n",
    "hidden behind a dot": b".From: ceo@example.org\r\nFrom: alice@example.test\r\n",
    "folded": b"From:\r\n ceo@example.org\r\n",
    "foreign Sender": b"From: alice@example.test\r\nSender: ceo@example.org\r\n",
}
BROKEN = {
    "none": b"To: x@example.org\r\n",
    "empty": b"From: \r\n",
    "only in the body": b"To: x@example.org\r\n\r\nFrom: alice@example.test\r\n",
    "two angles": b"From: <alice@example.test> <ceo@example.org>\r\n",
    "unbalanced": b"From: \"alice@example.test\r\n",
    "first line folded": b" From: ceo@example.org\r\nFrom: alice@example.test\r\n",
}


@pytest.fixture(scope="module")
def strict_rig(make_sandbox):
    rig = Rig(make_sandbox, author=True)
    rig.box.ctl("sender", "add", ALICE, "sales@example.test")
    yield rig
    rig.close()


@pytest.fixture
def rig(strict_rig):
    return strict_rig.reset()


def message(header):
    return header + (b"" if b"\r\n\r\n" in header else b"Subject: x\r\n\r\n") + b"hello\r\n"


def by_data(client, content, cut=None):
    client.command(f"MAIL FROM:<{ALICE}>", 250)
    client.command(f"RCPT TO:<{RECIPIENT}>", 250)
    client.command("DATA", 354)
    raw = content + b".\r\n"
    for at in range(0, len(raw), cut or len(raw)):
        client.send(raw[at:at + (cut or len(raw))])
    return client.reply()


def by_chunks(client, content, cut=None):
    client.command(f"MAIL FROM:<{ALICE}>", 250)
    client.command(f"RCPT TO:<{RECIPIENT}>", 250)
    content = undotted(content)
    size = cut or len(content)
    pieces = [content[at:at + size] for at in range(0, len(content), size)]
    replies = []
    for number, piece in enumerate(pieces):
        last = b" LAST" if number == len(pieces) - 1 else b""
        client.send(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
        replies.append(client.reply())
    refused = [reply for reply in replies if reply.code != 250]
    return refused[0] if refused else replies[-1]


WAYS = {"DATA": by_data, "BDAT": by_chunks}


def delivered(rig):
    return [body for session in rig.backend.mail_sessions() for body in session.complete]


@pytest.mark.row("118")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", [None, 1, 7], ids=["whole", "octet by octet", "sevens"])
def test_what_the_account_owns_passes(rig, way, cut):
    with rig.session() as client:
        for name, header in OWNED.items():
            assert WAYS[way](client, message(header), cut).code == 250, name
    want = [message(header) for header in OWNED.values()]
    assert [without_trace(body) for body in delivered(rig)] == want


@pytest.mark.row("116", "117")
@pytest.mark.threat("F02")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", [None, 1, 7], ids=["whole", "octet by octet", "sevens"])
def test_a_forged_author_never_becomes_a_message(rig, way, cut):
    with rig.session() as client:
        for name, header in FORGED.items():
            text = WAYS[way](client, message(header), cut).text
            assert NOT_OWNED.fullmatch(text), (name, text)
            client.command("RSET", 250)
        # The same session goes on to send what it may.
        assert WAYS[way](client, message(OWNED["plain"])).code == 250
    assert len(delivered(rig)) == 1


@pytest.mark.row("116", "120")
@pytest.mark.threat("F03")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", [None, 1], ids=["whole", "octet by octet"])
def test_a_header_that_cannot_be_read_fails_closed(rig, way, cut):
    with rig.session() as client:
        for name, header in BROKEN.items():
            text = WAYS[way](client, message(header), cut).text
            assert UNREADABLE.fullmatch(text), (name, text)
            client.command("RSET", 250)
    assert delivered(rig) == []


@pytest.mark.threat("A11", "A22")
def test_what_was_pipelined_behind_a_refused_message_goes_on(rig):
    with rig.session() as client:
        client.command(f"MAIL FROM:<{ALICE}>", 250)
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        client.command("DATA", 354)
        client.send(message(FORGED["another"]) + b".\r\nNOOP\r\nMAIL FROM:<" + ALICE.encode() + b">\r\n")
        assert NOT_OWNED.fullmatch(client.reply().text)
        assert [client.reply().code for _ in range(2)] == [250, 250]


def test_what_was_refused_is_given_back(rig):
    login = rig.account("header@example.test", "messages_hour=1")
    with rig.box.secured() as client:
        client.login(login, login)
        client.command(f"MAIL FROM:<{login}>", 250)
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        client.command("DATA", 354)
        client.send(message(FORGED["another"]) + b".\r\n")
        assert NOT_OWNED.fullmatch(client.reply().text)
        client.message(login, [RECIPIENT], b"From: header@example.test\r\n\r\nx\r\n")


@pytest.mark.threat("F03")
def test_header_beyond_the_cap(rig):
    with rig.session() as client:
        reply = by_data(client, b"X-Long: " + b"y" * 900 + b"\r\n" + b"X-Y: z\r\n" * 40000)
        assert reply.text == "552 5.3.4 Message header too large"
    assert delivered(rig) == []


# ----------------------------------------------------------------- modes, by account
def policy(rig, login, mode):
    rig.box.ctl("account", "from", login, mode)


def send_as(rig, login, content):
    before = len(delivered(rig))
    with rig.box.secured() as client:
        client.login(login, login)
        client.message(login, [RECIPIENT], content)
    return without_trace(delivered(rig)[before])


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_modes_that_let_pass(rig, mode):
    login = rig.account(f"{mode}@example.test")
    policy(rig, login, mode)
    content = message(FORGED["another"])
    assert send_as(rig, login, content) == content
    observed = [line for line in rig.box.log_lines() if " header-observed " in line and login in line]
    assert len(observed) == (mode == "observe")
    if observed:
        assert "hfrom=ceo@example.org" in observed[0] and "reason=from-foreign" in observed[0]


def test_rewrite_keeps_the_display_name(rig):
    login = rig.account("rewrite@example.test")
    policy(rig, login, "rewrite")
    got = send_as(rig, login, b"From: \"The Boss\" <ceo@example.org>\r\nSubject: x\r\n\r\nhello\r\n")
    author = email.message_from_bytes(got, policy=email.policy.default)["From"].addresses
    assert [(address.display_name, address.addr_spec) for address in author] == [("The Boss", login)]
    assert got.endswith(b"\r\n\r\nhello\r\n")


# ------------------------------------------------------------- what is taken and added
@pytest.mark.threat("F07")
def test_forged_results_are_stripped(rig):
    forged = (b"Authentication-Results: example.test; spf=pass\r\n"
              b"AUTHENTICATION-RESULTS:\r\n example.test;\r\n dkim=pass\r\n"
              b"X-Postern-Token: mine\r\n")
    with rig.session() as client:
        assert by_data(client, forged + message(OWNED["plain"])).code == 250
    assert [without_trace(body) for body in delivered(rig)] == [message(OWNED["plain"])]


@pytest.mark.row("46")
@pytest.mark.threat("F07")
def test_options_of_the_header_section(make_sandbox):
    rig = Rig(make_sandbox, author=True, settings=[
        "header.strip={\"X-Internal\", \"X-Secret-*\"}", "header.add_date=true", "header.add_message_id=true",
        "header.drop_received=true", "header.token=true"])
    try:
        with rig.session() as client:
            assert by_data(client, b"Received: from laptop\r\n\tby home; x\r\nX-Internal: 1\r\nx-secret-a: 2\r\n" +
                           message(OWNED["plain"])).code == 250
        [body] = delivered(rig)
        parsed = email.message_from_bytes(body, policy=email.policy.default)
        assert len(parsed.get_all("Received")) == 1 and "laptop" not in parsed["Received"]
        assert parsed["X-Internal"] is None and parsed["X-Secret-A"] is None
        assert parsed["Date"] and re.fullmatch(r"<[^@]+@submit\.example\.test>", parsed["Message-ID"])
        token = parsed["X-Postern-Token"]
        assert ALICE in rig.box.ctl("account", "whose", token)
    finally:
        rig.close()
