# SPDX-License-Identifier: ISC
"""BDAT (RFC 3030), LIMITS (RFC 9422), REQUIRETLS (RFC 8689) and the header's author (RFC 5322), a named
test a requirement: the exact octets of both sides.  test_chunking.py and test_header.py try all the rest."""

import re

import pytest

from dialogue import talk
from rig import RECIPIENT, Rig, undotted, without_trace
from scripted import EXTENSIONS

ALICE = "alice@example.test"
THEIRS = "LIMITS RCPTMAX=5 MAILMAX=4 RCPTDOMAINMAX=2"


@pytest.fixture(scope="module")
def shared(make_sandbox):
    """A backend without CHUNKING, with LIMITS of its own; the header's author is looked at."""
    rig = Rig(make_sandbox, author=True, extensions=(*EXTENSIONS, THEIRS))
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


@pytest.fixture
def client(rig):
    with rig.session() as client:
        yield client


def messages(rig):
    """The bodies that were completed, below the trace line, dots undone."""
    return [undotted(without_trace(body)) for session in rig.backend.mail_sessions() for body in session.complete]


def begin(client, parameters=""):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>{parameters}
        S: 250 2.1.0 Ok
        C: RCPT TO:<{RECIPIENT}>
        S: 250 2.1.5 Ok
    """)


# ----------------------------------------------------------------------------- BDAT
@pytest.mark.row("95")
@pytest.mark.threat("A15", "A16")
def test_chunks_are_acknowledged_and_become_one_message(rig, client):
    begin(client)
    talk(client, """
        C: BDAT 28
        C: From: alice@example.test
        C:
        C: BDAT 7
        C: ..
        C: .
        S: 250 2.0.0 Chunk accepted: 28 octets
        S: 250 2.0.0 Chunk accepted: 7 octets
        C: BDAT 0 LAST
        S: 250 2.0.0 Ok: queued as SCRIPTED
    """)
    begin(client)
    client.send(b"BDAT 31 LAST\r\nFrom: alice@example.test\n\n.\nabc")  # bare LF, and no line end
    talk(client, """
        S: 250 2.0.0 Ok: queued as SCRIPTED
    """)
    assert messages(rig) == [b"From: alice@example.test\r\n\r\n..\r\n.\r\n", b"From: alice@example.test\r\n\r\n.\r\nabc\r\n"]


@pytest.mark.row("96")
@pytest.mark.threat("A18", "A21")
def test_octets_of_a_refused_chunk_are_dropped_and_never_run(rig, client):
    talk(client, f"""
        C: BDAT 14 LAST
        C: RSET
        C: NOOP
        C:
        S: 503 5.5.1 Send MAIL first
        C: MAIL FROM:<{ALICE}>
        C: BDAT 6
        C: QUIT
        C: BDAT 6 LAST
        C: QUIT
        C: NOOP
        S: 250 2.1.0 Ok
        S: 503 5.5.1 Send RCPT first
        S: 503 5.5.1 The message of this chunk has failed; send RSET to start anew
        S: 250 2.0.0 OK
    """)
    assert messages(rig) == []


@pytest.mark.row("97")
@pytest.mark.threat("A20")
def test_data_and_rcpt_after_a_chunk_are_503_until_rset(rig, client):
    begin(client)
    talk(client, f"""
        C: BDAT 9
        C: From: x
        C: DATA
        S: 250 2.0.0 Chunk accepted: 9 octets
        S: 503 5.5.1 A message in chunks is under way; send RSET to start anew
        C: RCPT TO:<{RECIPIENT}>
        S: 503 5.5.1 A message in chunks is under way; send RSET to start anew
        C: RSET
        S: 250 2.0.0 OK
        C: BDAT 3 LAST
        C: a
        S: 503 5.5.1 Send MAIL first
    """)
    assert messages(rig) == []


@pytest.mark.row("98", "99")
def test_binarymime_is_refused_where_it_is_not_offered(rig, client):
    """The backend has no CHUNKING here; where it has, test_chunking.py sends binary through, and DATA is 503."""
    client.ehlo()
    assert "CHUNKING" in client.extensions and "BINARYMIME" not in client.extensions
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> BODY=BINARYMIME
        S: 501 5.5.4 Bad value of a parameter
    """)
    assert rig.backend.mail_sessions() == []


@pytest.mark.threat("A17")
@pytest.mark.parametrize("arguments", ["", "-1", "0x10", "5 LASTX", "18446744073709551615", "99999999999999999999 LAST"])
def test_a_chunk_whose_size_is_none_ends_the_session(rig, client, arguments):
    begin(client)
    talk(client, f"""
        C: {f'BDAT {arguments}'.strip()}
        C: NOOP
        S: 501 5.5.4 Syntax error in the command's arguments
        S: (end)
    """)
    assert messages(rig) == []


# --------------------------------------------------------------------------- LIMITS
@pytest.mark.row("101", "112")
def test_limits_are_the_least_of_ours_the_accounts_and_the_backends(rig):
    login = rig.account("few@example.test", "recipients_message=3", "message_bytes=70000")
    with rig.box.secured() as client:
        talk(client, f"""
            C: EHLO client.example.org
            S: 250-submit.example.test
            S: 250-PIPELINING
            S: 250-SIZE 52428800
            S: 250-8BITMIME
            S: 250-DSN
            S: 250-SMTPUTF8
            S: 250-CHUNKING
            S: 250-{THEIRS}
            S: 250-AUTH PLAIN LOGIN
            S: 250 ENHANCEDSTATUSCODES
        """)
        client.login(login, login)
        talk(client, f"""
            C: EHLO client.example.org
            S: 250-submit.example.test
            S: 250-PIPELINING
            S: 250-SIZE 70000
            S: 250-8BITMIME
            S: 250-DSN
            S: 250-SMTPUTF8
            S: 250-CHUNKING
            S: 250-LIMITS RCPTMAX=3 MAILMAX=4 RCPTDOMAINMAX=2
            S: 250 ENHANCEDSTATUSCODES
        """)


@pytest.mark.row("29", "112")
@pytest.mark.threat("D15")
def test_a_recipient_beyond_rcptmax_is_452_and_the_others_stay(rig):
    login = rig.account("three@example.test", "recipients_message=3")
    with rig.session(user=login, password=login) as client:
        talk(client, f"""
            C: MAIL FROM:<{login}>
            C: RCPT TO:<a@example.net>
            C: RCPT TO:<b@example.net>
            C: RCPT TO:<c@example.net>
            C: RCPT TO:<d@example.net>
            C: DATA
            S: 250 2.1.0 Ok
            S: 250 2.1.5 Ok
            S: 250 2.1.5 Ok
            S: 250 2.1.5 Ok
            S: 452 4.5.3 Too many recipients; send the message to the others separately
            S: 354 End data with <CR><LF>.<CR><LF>
            C: From: {login}
            C:
            C: .
            S: 250 2.0.0 Ok: queued as SCRIPTED
        """)
    [session] = rig.sessions()
    assert session.verbs.count("RCPT") == 3


@pytest.mark.row("113")
def test_more_mail_than_mailmax_is_421(rig, client):
    client.ehlo()
    for _ in range(4):
        begin(client)
        client.command("RSET", 250)
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 421 4.7.0 Too many messages in one session; connect again
        S: (end)
    """)


# ----------------------------------------------------------------------- REQUIRETLS
@pytest.mark.row("110", "111")
def test_requiretls_is_not_offered_and_refused(client):
    client.ehlo()
    assert "REQUIRETLS" not in client.extensions
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> REQUIRETLS
        S: 555 5.5.4 Parameter unknown, repeated or not offered by EHLO
        C: MAIL FROM:<{ALICE}> REQUIRETLS=1
        S: 501 5.5.4 Bad value of a parameter
    """)


# ----------------------------------------------------------------------- the author
NOT_OWNED = re.compile(r"550 5\.7\.1 From: is not an address of this account \(id [0-9a-z]{12,13}\)")
UNREADABLE = re.compile(r"550 5\.6\.0 Message needs a header with one From: field that can be read \(id [0-9a-z]{12,13}\)")

FORGED = {  # espoofer's client_a1 to a3, nginx passes all three
    "a1-two-fields": b"From: alice@example.test\r\nFrom: ceo@example.org\r\n\r\n",
    "a2-two-addresses": b"From: alice@example.test, ceo@example.org\r\nSender: alice@example.test\r\n\r\n",
    "a3-another": b"From: ceo@example.org\r\n\r\n",
    "two-authors-and-no-sender": b"From: alice@example.test, alice@example.test\r\n\r\n",
}
UNCLEAR = {
    "none": b"Subject: x\r\n\r\n", "an-address-in-a-comment": b"From: alice@example.test (ceo@example.org)\r\n\r\n",
    "first-line-no-header": b"hello\r\nFrom: alice@example.test\r\n\r\n", "mailbox-from-line": b"From alice Mon Jan 1\r\nFrom: alice@example.test\r\n\r\n",
    "continuation-first": b" x\r\nFrom: alice@example.test\r\n\r\n", "two-angles": b"From: <alice@example.test> <ceo@example.org>\r\n\r\n",
    "behind-the-empty-line": b"Subject: x\r\n\r\nFrom: alice@example.test\r\n",
}


@pytest.mark.row("116", "117")
@pytest.mark.threat("F02")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_author_is_550_5_7_1_after_the_end_and_nothing_is_delivered(rig, client, name):
    begin(client)
    client.command("DATA", 354)
    client.send(FORGED[name] + b".\r\n")
    assert NOT_OWNED.fullmatch(client.reply().text)
    talk(client, f"""
        C: RCPT TO:<{RECIPIENT}>
        C: DATA
        S: 503 5.5.1 Send MAIL first
        S: 503 5.5.1 Send MAIL first
    """)
    assert messages(rig) == []


@pytest.mark.row("45", "116", "117", "118", "120")
@pytest.mark.threat("A13", "F03")
@pytest.mark.parametrize("name", UNCLEAR)
def test_a_header_without_one_clear_author_is_550_5_6_0(rig, client, name):
    begin(client)
    client.command("DATA", 354)
    client.send(UNCLEAR[name] + b".\r\n")
    assert UNREADABLE.fullmatch(client.reply().text)
    assert messages(rig) == []


@pytest.mark.row("118")
@pytest.mark.parametrize("field", ["Alice <alice@example.test>", '"ceo@example.org" <alice@example.test>', "alice@example.test (at home)",
                                   "ALICE@EXAMPLE.TEST", "=?utf-8?q?Al=C3=ADce?= <alice@example.test>", "Alice\r\n\t<alice@example.test>",
                                   '"a, b" <alice@example.test>', "<alice@example.test>"])
def test_the_authors_own_address_passes_in_every_form(rig, client, field):
    content = f"From: {field}\r\nSubject: x\r\n\r\nhello\r\n".encode()
    assert client.message(ALICE, [RECIPIENT], content).code == 250
    assert messages(rig) == [content]


@pytest.mark.threat("F07")
def test_fields_that_speak_in_our_name_are_stripped_in_any_case_and_folded(rig, client):
    forged = (b"Authentication-Results: submit.example.test; dkim=pass\r\nAUTHENTICATION-results : x;\r\n\tspf=pass\r\n"
              b"X-Postern-Account: 1\r\n")
    kept = b"From: alice@example.test\r\nX-Authentication: kept\r\n\r\nAuthentication-Results: in the body\r\n"
    assert client.message(ALICE, [RECIPIENT], forged + kept).code == 250
    assert messages(rig) == [kept]
