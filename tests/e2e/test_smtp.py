# SPDX-License-Identifier: ISC
"""The dialogue with clients: every verb, every order, exact replies, lines, pipelining, ends.

The end of data has a file of its own (test_body.py).

Long: one dialogue after the other, read by name.
"""

import base64
import itertools
import os
import signal
import socket
import struct

import pytest

import harness
import observe
import rawtls
import smtp
from rig import CONTENT, RECIPIENT, Rig

HOST = "submit.example.test"
LIMIT = 1024 * 1024
OK = "250 2.0.0 OK"
BYE = "221 2.0.0 Bye"
ARGUMENTS = "501 5.5.4 Syntax error in the command's arguments"
UNKNOWN = "500 5.5.2 Unknown command"
UNIMPLEMENTED = "502 5.5.1 Command not implemented"
LINE_BAD = "500 5.5.2 A command line ends in CR LF and holds no other CR, LF or NUL"
LINE_TOO_LONG = "500 5.5.2 Command line too long"
NEED_EHLO = "503 5.5.1 Send EHLO first"
NEED_MAIL = "503 5.5.1 Send MAIL first"
NEED_RCPT = "503 5.5.1 Send RCPT first"
NESTED = "503 5.5.1 A sender is already given; send RSET to start anew"
AUTH_AGAIN = "503 5.5.1 Already authenticated"
TLS_ACTIVE = "503 5.5.1 TLS is already active"
TLS_REQUIRED = "530 5.7.0 Must issue a STARTTLS command first"
AUTH_REQUIRED = "530 5.7.0 Authentication required"
CLEARTEXT = "538 5.7.11 Encryption required for authentication; use STARTTLS first"
MECHANISM = "504 5.5.4 Authentication mechanism not supported; use PLAIN or LOGIN"
VRFY = "252 2.1.5 Cannot verify the address; send the message and it will be tried"
HELP = "214 2.0.0 Commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT"
PARAMETER = "555 5.5.4 Parameter unknown, repeated or not offered by EHLO"
VALUE = "501 5.5.4 Bad value of a parameter"
SENDER = "501 5.1.7 Bad sender address; give <user@example.org>"
RECIPIENT_BAD = "501 5.1.3 Bad recipient address; give <user@example.org>"
UTF8 = "553 5.6.7 Non-ASCII address: it needs SMTPUTF8 and valid UTF-8"
TOO_BIG = "552 5.3.4 Message too big"
TOO_MANY = "452 4.5.3 Too many recipients; send the message to the others separately"
TOO_MANY_ERRORS = "421 4.7.0 Too many errors; closing connection"
SYNCHRONISATION = "554 5.5.0 Wait for the reply before sending more; closing connection"
FOREIGN = "421 4.7.0 This is a mail submission service; closing connection"
NO_RECIPIENTS = "554 5.5.1 No valid recipients"
GO = "354 End data with <CR><LF>.<CR><LF>"
ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=[f"limits.message_size={LIMIT}", "limits.connections_per_prefix=1000"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


def conforms(reply):
    """What holds for every reply (RFC 5321 4.5.3.1.5, RFC 2034)."""
    assert all(len(line) + 2 <= 512 for line in reply.raw.split(b"\r\n"))
    if reply.code // 100 in (2, 4, 5):
        assert reply.enhanced.startswith(str(reply.code // 100)), reply
    return reply


# ------------------------------------------------------------- states and replies
def clear(rig):
    client = rig.box.connect("submission")
    client.ehlo()
    return client


def mailed(rig):
    client = rig.session()
    client.command(f"MAIL FROM:<{ALICE}>", 250)
    return client


def given(rig):
    client = mailed(rig)
    client.command(f"RCPT TO:<{RECIPIENT}>", 250)
    return client


STATES = {
    "greeted": lambda rig: rig.box.connect(),
    "clear": clear,
    "secure": lambda rig: rig.box.secured(),
    "in": lambda rig: rig.session(),
    "mail": mailed,
    "rcpt": given,
}
EVERYWHERE = [("NOOP", OK), ("NOOP ping", OK), ("noop", OK), ("NOOP ", OK), ("RSET", OK), ("rSeT", OK),
              ("RSET x", ARGUMENTS), ("QUIT x", ARGUMENTS), ("EHLO", ARGUMENTS), ("HELO", ARGUMENTS),
              ("EHLO \x01", ARGUMENTS), ("HELO x", f"250 {HOST}"), ("FOO", UNKNOWN), ("", UNKNOWN),
              (" NOOP", UNKNOWN), ("MAILFROM:<a@b.c>", UNKNOWN), ("\udcff\udcfe", UNKNOWN)]
CLEAR = [("MAIL FROM:<a@b.example>", TLS_REQUIRED), ("RCPT TO:<a@b.example>", TLS_REQUIRED),
         ("DATA", TLS_REQUIRED), ("VRFY root", TLS_REQUIRED), ("HELP", TLS_REQUIRED), ("EXPN x", TLS_REQUIRED),
         ("BDAT 0 LAST", TLS_REQUIRED), ("AUTH PLAIN AGEAYQ==", CLEARTEXT), ("AUTH LOGIN", CLEARTEXT),
         ("AUTH", CLEARTEXT), ("STARTTLS x", ARGUMENTS)]
SECURE = [("MAIL FROM:<a@b.example>", AUTH_REQUIRED), ("RCPT TO:<a@b.example>", AUTH_REQUIRED),
          ("DATA", AUTH_REQUIRED), ("BDAT 0 LAST", AUTH_REQUIRED), ("VRFY root", AUTH_REQUIRED), ("HELP", HELP), ("STARTTLS", TLS_ACTIVE),
          ("AUTH", ARGUMENTS), ("AUTH FOO", MECHANISM), ("AUTH CRAM-MD5", MECHANISM)]
REFUSED_VERBS = [(verb, UNIMPLEMENTED) for verb in (
    "EXPN list", "ETRN x", "TURN", "ATRN", "SEND FROM:<a@b.c>", "SOML FROM:<a@b.c>", "SAML FROM:<a@b.c>",
    "BURL imap://x", "XCLIENT LOGIN=root", "XFORWARD NAME=x", "XEXCH50 1 2", "X-EXPS GSSAPI",
    "DEBUG", "WIZ", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2", "VERB", "LHLO x")]
IN = [("RCPT TO:<a@b.example>", NEED_MAIL), ("DATA", NEED_MAIL), ("BDAT 0", NEED_MAIL), ("DATA now", ARGUMENTS), ("VRFY root", VRFY),
      ("VRFY", ARGUMENTS), ("HELP", HELP), ("HELP MAIL", HELP), ("AUTH PLAIN", AUTH_AGAIN),
      ("AUTH FOO", AUTH_AGAIN), ("STARTTLS", TLS_ACTIVE), *REFUSED_VERBS]
MAIL = [(f"MAIL FROM:<{ALICE}>", NESTED), ("DATA", NEED_RCPT), ("DATA x", ARGUMENTS), ("AUTH PLAIN", AUTH_AGAIN),
        ("STARTTLS", TLS_ACTIVE), ("VRFY root", VRFY), ("EXPN x", UNIMPLEMENTED)]
RCPT = [(f"MAIL FROM:<{ALICE}>", NESTED), ("DATA x", ARGUMENTS), ("AUTH PLAIN", AUTH_AGAIN)]
SENDERS = [
    *[(f"MAIL FROM:{path}", SENDER) for path in (
        "alice@example.test", "<alice>", "<@example.test>", "<alice@>", "<alice@local>", "<a b@example.test>",
        "<alice@example.test", "<alice@exa mple.test>", "<alice@example..test>", "<.alice@example.test>",
        '<""@example.test>', "<alice@[300.1.1.1]>", f"<{'a' * 65}@example.test>",
        f"<a@{'.'.join(['b' * 60] * 5)}>", "<a\x01b@example.test>", "<Postmaster>")],
    ("MAIL", ARGUMENTS), ("MAIL TO:<a@b.example>", ARGUMENTS), ("MAIL FROM", ARGUMENTS),
    (f"MAIL FROM:<{ALICE}>SIZE=1", ARGUMENTS), (f"MAIL FROM:<{ALICE}> =1", ARGUMENTS),
    *[(f"MAIL FROM:<{ALICE}> {words}", PARAMETER) for words in (
        "FOO", "FOO=1", "SIZE=1 SIZE=2", "BODY=7BIT body=7bit", "REQUIRETLS", "NOTIFY=NEVER", "BY=120;R",
        "MT-PRIORITY=3", "HOLDFOR=10", "XOORG=x", " ".join(f"P{n}=1" for n in range(200)))],
    *[(f"MAIL FROM:<{ALICE}> {words}", VALUE) for words in (
        "SIZE=", "SIZE", "SIZE=x", "SIZE=-1", "SIZE=0x10", f"SIZE={'1' * 21}", "BODY=", "BODY=BINARYMIME",
        "BODY=9BIT", "SMTPUTF8=1", "REQUIRETLS=1", "RET=", "RET=FULLX", "ENVID=", "ENVID=ab+0D+0Acd", "ENVID=+00", "ENVID=+zz",
        "ENVID=+4", "ENVID=+0d", f"ENVID={'x' * 101}", "AUTH=", "AUTH=+ZZ", "AUTH=a b"[:6] + "=")],
    *[(f"MAIL FROM:<{ALICE}> {words}", TOO_BIG) for words in (
        f"SIZE={LIMIT + 1}", "SIZE=99999999999999999999", "SIZE=18446744073709551616")],
    ("MAIL FROM:<élan@example.test>", UTF8), ("MAIL FROM:<a@exämple.test>", UTF8),
    ("MAIL FROM:<a\udcc0\udcae@example.test> SMTPUTF8", UTF8), ("MAIL FROM:<a\u202eb@example.test> SMTPUTF8", UTF8),
]
RECIPIENTS = [
    *[(f"RCPT TO:{path}", RECIPIENT_BAD) for path in (
        "friend@example.net", "<>", "<friend>", "<friend@local>", "<@example.net>", "<friend@example.net",
        '<""@example.net>', f"<{'a' * 65}@example.net>", "<a\x7fb@example.net>")],
    ("RCPT", ARGUMENTS), ("RCPT FROM:<a@b.example>", ARGUMENTS), (f"RCPT TO:<{RECIPIENT}>NOTIFY=NEVER", ARGUMENTS),
    *[(f"RCPT TO:<{RECIPIENT}> {words}", PARAMETER) for words in (
        "FOO=1", "SIZE=1", "NOTIFY=NEVER NOTIFY=NEVER", "ORCPT=rfc822;a ORCPT=rfc822;a")],
    *[(f"RCPT TO:<{RECIPIENT}> {words}", VALUE) for words in (
        "NOTIFY=", "NOTIFY=NEVER,FAILURE", "NOTIFY=SUCCESS,SUCCESS", "NOTIFY=SUCCESS,", "NOTIFY=X", "ORCPT=a",
        "ORCPT=;a", "ORCPT=rfc822;", "ORCPT=rfc822;a+0A", f"ORCPT=rfc822;{'x' * 500}")],
    ("RCPT TO:<élan@example.net>", UTF8),
]
EXACT = [(state, line, reply) for state, table in (
    *[(state, EVERYWHERE) for state in STATES], ("clear", CLEAR), ("secure", SECURE), ("in", IN), ("mail", MAIL),
    ("rcpt", RCPT), ("in", SENDERS), ("mail", RECIPIENTS)) for line, reply in table]


def by_state():
    """A session takes ten of them: fewer than the errors that end one."""
    for state, table in itertools.groupby(EXACT, lambda row: row[0]):
        rows = [(line, reply) for _, line, reply in table]
        for at in range(0, len(rows), 10):
            yield pytest.param(state, rows[at:at + 10], id=f"{state}-{rows[at][0][:16]!r}")


@pytest.mark.row("3", "5", "10", "11", "12", "13", "14", "16", "17", "18", "19", "20", "21", "22", "41",
                 "42", "62", "63", "64", "77", "79", "100", "102", "103", "104", "106")
@pytest.mark.threat("B04", "D02", "D04", "D05", "D06", "D07", "D11", "D16", "D18")
@pytest.mark.parametrize("state, rows", by_state())
def test_exact_replies(rig, state, rows):
    client = STATES[state](rig)
    with client:
        for line, want in rows:
            reply = client.command(line)
            assert reply.text == want, f"{line!r} in state {state}"
            if not want.startswith(f"250 {HOST}"):
                conforms(reply)
            if line[:4].upper() in ("RSET", "HELO") and reply.code == 250 and state in ("mail", "rcpt"):
                client.close()
                client = STATES[state](rig)
        assert client.command("NOOP").text == OK, "nothing more had been said"
    told = rig.commands()
    foreign = [line for line in told if line.split(b" ")[0] not in (b"EHLO", b"MAIL", b"RCPT", b"RSET", b"QUIT")]
    assert foreign == []


@pytest.mark.row("1", "4", "20")
def test_greeting_and_hello(rig):
    with rig.box.connect() as client:
        assert client.greeting.text == f"220 {HOST} ESMTP Postern"
        assert client.command("HELO x").text == f"250 {HOST}"
        assert client.command(f"MAIL FROM:<{ALICE}>").text == AUTH_REQUIRED
        assert client.command("QUIT").text == BYE
        client.expect_end()


@pytest.mark.row("6")
def test_mail_needs_hello_after_login(rig):
    """HELO or EHLO may be repeated; the log-in stays (RFC 5321 4.1.4)."""
    with given(rig) as client:
        client.ehlo("again")
        assert "AUTH" not in client.extensions
        assert client.command(f"RCPT TO:<{RECIPIENT}>").text == NEED_MAIL
        assert client.message(ALICE, [RECIPIENT], CONTENT).code == 250
        client.command("HELO again", 250)
        assert client.message(ALICE, [RECIPIENT], CONTENT).code == 250


@pytest.mark.row("8")
def test_auth_without_hello(rig):
    with rig.box.connect() as client:
        assert client.command("AUTH PLAIN").text == NEED_EHLO


# --------------------------------------------------------------- commands rebuilt
REBUILT = [
    ("mAiL fRoM:  <Alice@Example.Test>  size=100  body=8bitmime ", "MAIL FROM:<Alice@Example.Test> SIZE=100 BODY=8BITMIME"),
    (f"MAIL FROM:<@relay.example,@two.example:{ALICE}>", f"MAIL FROM:<{ALICE}>"),
    (f"MAIL FROM:<{ALICE}> RET=hdrs ENVID=a+2Bb SMTPUTF8 BODY=7BIT SIZE=1",
     f"MAIL FROM:<{ALICE}> SIZE=1 BODY=7BIT SMTPUTF8 RET=HDRS ENVID=a+2Bb"),
    (f"MAIL FROM:<{ALICE}> AUTH=<>", f"MAIL FROM:<{ALICE}>"),
    (f"MAIL FROM:<{ALICE}> AUTH=e+3Dmc2@example.com", f"MAIL FROM:<{ALICE}>"),
    (f"MAIL FROM:<{ALICE}>\t ", f"MAIL FROM:<{ALICE}>"),
    ("rcpt to:<Friend+Tag@Example.NET> orcpt=rfc822;a+2Bb@c.example notify=success,delay",
     "RCPT TO:<Friend+Tag@Example.NET> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.example"),
    ('RCPT TO:<"a b"@example.net>', 'RCPT TO:<"a b"@example.net>'),
    ('RCPT TO:<"a>b"@example.net> NOTIFY=NEVER', 'RCPT TO:<"a>b"@example.net> NOTIFY=NEVER'),
    ('RCPT TO:<"a\\"b"@example.net>', 'RCPT TO:<"a\\"b"@example.net>'),
    ("RCPT TO:<a@[192.0.2.1]>", "RCPT TO:<a@[192.0.2.1]>"),
    ("RCPT TO:<a@[IPv6:2001:db8::1]>", "RCPT TO:<a@[IPv6:2001:db8::1]>"),
    ("RCPT TO:<${run{x}}@example.net>", "RCPT TO:<${run{x}}@example.net>"),
    ("RCPT TO:<postmaster>", "RCPT TO:<postmaster>"),
    (f"RCPT TO:<{'l' * 64}@example.net>", f"RCPT TO:<{'l' * 64}@example.net>"),
]


@pytest.mark.row("23", "67", "106")
@pytest.mark.threat("C29", "D05", "D06", "D07", "D08")
@pytest.mark.parametrize("line, told", REBUILT)
def test_backend_is_told_the_rebuilt_command(rig, line, told):
    with (rig.session() if told.startswith("MAIL") else mailed(rig)) as client:
        client.command(line, 250)
    [session] = rig.sessions()
    assert session.commands[-1 if session.commands[-1] != b"QUIT" else -2] == told.encode()


@pytest.mark.row("103")
def test_smtputf8_addresses_pass(rig):
    rig.account("grüße@example.test")
    with rig.box.session(user="grüße@example.test", password="grüße@example.test") as client:
        client.command("MAIL FROM:<grüße@example.test> SMTPUTF8 BODY=8BITMIME", 250)
        client.command("RCPT TO:<用户@例子.example>", 250)
    [session] = rig.sessions()
    assert "MAIL FROM:<grüße@example.test> BODY=8BITMIME SMTPUTF8".encode() in session.commands
    assert "RCPT TO:<用户@例子.example>".encode() in session.commands


@pytest.mark.row("102")
def test_eight_bits_are_kept(rig):
    content = b"Subject: 8\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
    with rig.session() as client:
        client.message(ALICE, [RECIPIENT], content, parameters=" BODY=8BITMIME")
    assert rig.bodies() == [content]


@pytest.mark.row("28", "29")
@pytest.mark.threat("D15")
def test_recipients_beyond_the_limit_are_refused_and_the_others_stay(rig):
    with mailed(rig) as client:
        for number in range(100):
            client.command(f"RCPT TO:<r{number}@example.net>", 250)
        for number in range(3):
            assert client.command(f"RCPT TO:<more{number}@example.net>").text == TOO_MANY
        client.command("DATA", 354)
        client.send(smtp.transparent(CONTENT))
        client.reply(250)
    [session] = rig.sessions()
    assert session.verbs.count("RCPT") == 100


@pytest.mark.row("30", "100")
def test_message_too_big_is_drained_and_refused(rig):
    with given(rig) as client:
        client.command("DATA", 354)
        client.send(smtp.transparent((b"x" * 998 + b"\r\n") * (LIMIT // 1000 + 10)))
        assert client.reply().text == TOO_BIG
        client.message(ALICE, [RECIPIENT], CONTENT)
    observe.settle(rig.box)
    assert all(session.ended.wait(10) for session in rig.backend.mail_sessions())
    complete = [body for session in rig.backend.mail_sessions() for body in session.complete]
    assert len(complete) == 1, "the big one's end of data was never sent"


@pytest.mark.row("30", "100")
def test_message_of_just_the_limit_passes(rig):
    content = (b"x" * 1022 + b"\r\n") * (LIMIT // 1024)
    assert len(content) == LIMIT
    with rig.session() as client:
        client.message(ALICE, [RECIPIENT], content, parameters=f" SIZE={LIMIT}")
        client.mail(ALICE, [RECIPIENT])
        client.command("DATA", 354)
        client.send(smtp.transparent(content[:-2] + b"x\r\n"))
        assert client.reply().text == TOO_BIG


# ---------------------------------------------------------------- what EHLO offers
OWN = ["PIPELINING"]
CHUNKS = ["CHUNKING", "LIMITS RCPTMAX=100"]
LEGACY = {
    "postfix": ("PIPELINING,SIZE 10240000,VRFY,ETRN,ENHANCEDSTATUSCODES,8BITMIME,DSN,SMTPUTF8,CHUNKING",
                [f"SIZE {LIMIT}", "8BITMIME", "DSN", "SMTPUTF8"]),
    "exim": ("SIZE 52428,8BITMIME,PIPELINING,PIPECONNECT,CHUNKING,SMTPUTF8,HELP",
             ["SIZE 52428", "8BITMIME", "SMTPUTF8"]),
    "opensmtpd": ("8BITMIME,ENHANCEDSTATUSCODES,SIZE 36700160,DSN,HELP", [f"SIZE {LIMIT}", "8BITMIME", "DSN"]),
    "sendmail": ("ENHANCEDSTATUSCODES,PIPELINING,EXPN,VERB,8BITMIME,SIZE,DSN,ETRN,AUTH DIGEST-MD5 PLAIN,DELIVERBY,HELP",
                 [f"SIZE {LIMIT}", "8BITMIME", "DSN"]),
    "size-zero": ("SIZE 0,XCLIENT NAME ADDR,STARTTLS,AUTH=LOGIN PLAIN,BINARYMIME", [f"SIZE {LIMIT}"]),
    "utf8-alone": ("SMTPUTF8", []),
    "nothing": ("", []),
    "helo-only": (None, []),
}


@pytest.fixture(scope="module")
def prober(make_sandbox):
    """Asks its backend every second what it offers."""
    rig = Rig(make_sandbox, settings=["probe.interval=1s", f"limits.message_size={LIMIT}"])
    yield rig
    rig.close()


@pytest.mark.row("3", "47", "52", "81", "101", "103", "107", "114")
@pytest.mark.threat("E09")
@pytest.mark.parametrize("name", LEGACY)
def test_ehlo_offers_what_is_true_of_the_backend(prober, name):
    offered, passed_on = LEGACY[name]
    rig = prober.reset()
    rig.backend.extensions = offered.split(",") if offered else []
    if offered is None:
        rig.backend.on("EHLO", "502 5.5.1 What?")
    elif not offered:
        rig.backend.on("EHLO", "250 scripted.test")

    def lines(client):
        return client.command("EHLO client.test", 250).lines
    secure = [HOST, *OWN, *passed_on, *CHUNKS, "AUTH PLAIN LOGIN", "ENHANCEDSTATUSCODES"]
    with rig.box.connect() as one, rig.box.connect() as two:
        harness.wait_until(lambda: lines(one) == secure == lines(two), f"an offer of {secure}", timeout=10)
    with rig.box.connect("submission") as client:
        assert lines(client) == [HOST, *OWN, *passed_on, *CHUNKS, "STARTTLS", "ENHANCEDSTATUSCODES"]
    with rig.session() as client:
        assert lines(client) == [HOST, *OWN, *passed_on, *CHUNKS, "ENHANCEDSTATUSCODES"]
        for keyword, parameter in (("SIZE", "SIZE=1"), ("8BITMIME", "BODY=8BITMIME"), ("DSN", "RET=FULL"),
                                   ("SMTPUTF8", "SMTPUTF8")):
            known = any(line.startswith(keyword) for line in passed_on)
            answer = client.command(f"MAIL FROM:<{ALICE}> {parameter}")
            assert answer.code == 250 if known else answer.text == PARAMETER, (keyword, answer)
            client.command("RSET", 250)
        client.message(ALICE, [RECIPIENT], CONTENT)


@pytest.mark.row("102", "107")
@pytest.mark.threat("D10", "E09")
def test_backend_that_lost_what_was_offered_gets_nothing_broken(rig):
    """The probe's word is an hour old: the connection at hand decides."""
    rig.backend.extensions = ["PIPELINING", "SIZE 1000"]
    lost = {" SMTPUTF8": "555 5.5.4", " RET=FULL": "555 5.5.4", " BODY=8BITMIME": "554 5.6.3", " SIZE=1001": "552 5.3.4"}
    with rig.session() as client:
        for parameter, want in lost.items():
            assert client.command(f"MAIL FROM:<{ALICE}>{parameter}").text.startswith(want), parameter
        client.command(f"MAIL FROM:<{ALICE}>", 250)
        assert client.command(f"RCPT TO:<{RECIPIENT}> NOTIFY=NEVER").text == PARAMETER
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        client.command("DATA", 354)
        client.send(smtp.transparent(b"x" * 998 + b"\r\n\r\n"))
        assert client.reply().text == TOO_BIG, "its own SIZE holds for what comes without SIZE="


# -------------------------------------------------------------------------- lines
@pytest.mark.row("35")
@pytest.mark.threat("D02", "D03")
@pytest.mark.parametrize("line", ["NOOP\nRSET", "NO\rOP", "NO\0OP", "NOOP\r", "\r", "\nNOOP", "NOOP \n\n\n", "\0"])
def test_bare_cr_lf_or_nul_in_a_command_is_one_error(rig, line):
    octets = line.encode() + b"\r\nNOOP\r\n"
    with rawtls.session(rig.box) as client:
        for cut in range(1, len(octets)):
            client.send(octets[:cut])
            client.send(octets[cut:])
            assert client.reply().text == LINE_BAD
            assert client.reply().text == OK
            if cut % 15 == 0:
                client.close()
                client = rawtls.session(rig.box)
        client.close()


@pytest.mark.row("25")
@pytest.mark.threat("D01")
def test_line_length_limits(rig):
    with rig.box.secured() as client:
        for length, want in ((512, OK), (2048, OK), (4096, OK), (4097, LINE_TOO_LONG), (100000, LINE_TOO_LONG)):
            assert client.command("NOOP " + "x" * (length - 5)).text == want, length
        assert client.command("EHLO " + "x" * 255).code == 250
        assert client.command("EHLO " + "x" * 256).text == ARGUMENTS
        assert client.command("NOOP").text == OK


@pytest.mark.threat("D01")
def test_line_that_is_too_long_hides_no_command(rig):
    """What follows in the same line is no line of its own, wherever reads end."""
    with rig.box.secured() as client:
        client.send(b"NOOP " + b"x" * 5000)
        client.send(b"x" * 20000 + b"\nQUIT\n")
        client.send(b"RSET\r")
        client.send(b"\nNOOP\r\n")
        assert client.reply().text == LINE_TOO_LONG
        assert client.reply().text == OK
        client.command("NOOP", 250)


@pytest.mark.row("33")
@pytest.mark.threat("D01")
def test_endless_line_ends_the_session(rig):
    with rig.box.secured() as client:
        with pytest.raises(OSError):
            for _ in range(10000):
                client.send(b"x" * 65536)
    with rig.box.secured() as client:
        client.send(b"x" * 1100000)
        assert client.reply().text == LINE_TOO_LONG
        assert client.reply().text == TOO_MANY_ERRORS
        client.expect_end()


# --------------------------------------------------------------------- pipelining
GROUP = [f"MAIL FROM:<{ALICE}>", "RCPT TO:<one@example.net>", "RCPT TO:<refused@example.net>",
         "RCPT TO:<bad>", "RCPT TO:<two@example.net>", "DATA"]
WANT = [250, 250, 550, 501, 250, 354]


def refuse_one(_session, argument):
    return "550 5.1.1 Nobody here" if "refused" in argument else None


@pytest.mark.row("91", "94")
@pytest.mark.threat("D13")
@pytest.mark.parametrize("pipelining", [True, False], ids=["to-pipelining-backend", "to-one-without"])
def test_pipelining_in_all_groupings(rig, pipelining):
    """The commands of a transaction, cut into groups in all 32 ways: always the same replies in order."""
    if not pipelining:
        rig.backend.extensions = ["SIZE 1000000"]
    rig.backend.on("RCPT", refuse_one)
    with rawtls.session(rig.box) as client:
        for cuts in itertools.product([False, True], repeat=len(GROUP) - 1):
            group = b""
            for line, cut in zip(GROUP, [*cuts, True]):
                group += line.encode() + b"\r\n"
                if cut:
                    client.send(group)
                    group = b""
            assert [client.reply().code for _ in GROUP] == WANT, cuts
            client.send(smtp.transparent(CONTENT))
            client.reply(250)
    [session] = rig.sessions()
    assert session.verbs.count("DATA") == 32
    assert session.commands[1:5] == [line.encode() for line in (GROUP[0], GROUP[1], GROUP[2], GROUP[4])]


@pytest.mark.row("91", "94")
@pytest.mark.threat("D13")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 64])
def test_whole_session_in_small_pieces(rig, size):
    token = base64.b64encode(f"\0{ALICE}\0{rig.box.password}".encode()).decode()
    first = "\r\n".join(["EHLO client.test", f"AUTH PLAIN {token}", *GROUP, ""]).encode()
    second = smtp.transparent(CONTENT) + b"NOOP\r\nQUIT\r\n"
    rig.backend.on("RCPT", refuse_one)
    with rawtls.connect(rig.box) as client:
        for data, want in ((first, [250, 235, *WANT]), (second, [250, 250, 221])):
            for at in range(0, len(data), size):
                client.send(data[at:at + size])
            assert [client.reply().code for _ in want] == want
        client.expect_end()
    assert rig.bodies() == [CONTENT]


@pytest.mark.row("91")
@pytest.mark.threat("A11")
def test_commands_after_the_end_of_data_in_the_same_segment(rig):
    """A11: legal, and each goes through all policy."""
    with given(rig) as client:
        client.command("DATA", 354)
        client.send(smtp.transparent(CONTENT) + f"MAIL FROM:<ceo@example.org>\r\nMAIL FROM:<{ALICE}>\r\n"
                    f"RCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode())
        assert [client.reply().code for _ in range(5)] == [250, 550, 250, 250, 354]
        client.send(smtp.transparent(b"Subject: two\r\n\r\n"))
        client.reply(250)
    assert rig.bodies() == [CONTENT, b"Subject: two\r\n\r\n"]


@pytest.mark.row("94")
@pytest.mark.threat("D14")
def test_body_behind_a_data_that_is_refused_is_not_run(rig):
    """D14: what was meant as a body must not be taken for commands."""
    for body in (b"Subject: x\r\nRSET\r\n.\r\nQUIT\r\n", f"MAIL FROM:<{ALICE}>\r\n".encode()):
        with mailed(rig) as client:
            client.send(b"DATA\r\n" + body)
            assert client.reply().text == NEED_RCPT
            assert client.reply().text == SYNCHRONISATION
            client.expect_end()
    rig.backend.on("RCPT", "550 5.1.1 Nobody")
    with mailed(rig) as client:
        client.send(f"RCPT TO:<x@example.net>\r\nDATA\r\nMAIL FROM:<{ALICE}>\r\n".encode())
        client.reply(550)
        assert client.reply().text == NO_RECIPIENTS
        assert client.reply().text == SYNCHRONISATION
        client.expect_end()


@pytest.mark.threat("D14")
@pytest.mark.parametrize("line", [b"Subject: x", b".", b"", b"bare\rCR", b"x" * 5000], ids=["header", "dot", "empty", "bare CR", "long"])
def test_body_that_comes_after_data_was_refused_is_not_run(rig, line):
    """D14: its first line, which is no command, tells it, however late it comes; other errors close nothing."""
    with mailed(rig) as client:
        assert client.command("DATA").text == NEED_RCPT
        client.send(line + b"\r\nRSET\r\nQUIT\r\n")
        assert client.reply().text == SYNCHRONISATION
        client.expect_end()
    rig.backend.on("RCPT", "550 5.1.1 Nobody")
    with mailed(rig) as client:
        client.command("RCPT TO:<x@example.net>", 550)
        assert client.command("DATA").text == NO_RECIPIENTS
        client.send(line + b"\r\nRSET\r\n")
        assert client.reply().text == SYNCHRONISATION
        client.expect_end()
    rig.reset()
    with mailed(rig) as client:
        assert client.command("DATA").text == NEED_RCPT
        assert client.command("EXPN x").code == 502
        client.send(line + b"\r\n")
        assert client.reply().code == 500
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        client.command("DATA", 354)
        client.send(smtp.transparent(CONTENT))
        client.reply(250)
        client.send(line + b"\r\n")
        assert client.reply().code == 500


@pytest.mark.threat("D14")
def test_body_sent_before_354_is_a_body(rig):
    """Illegal, but harmless where the 354 comes."""
    with mailed(rig) as client:
        client.send(f"RCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode() + smtp.transparent(CONTENT) + b"QUIT\r\n")
        assert [client.reply().code for _ in range(4)] == [250, 354, 250, 221]
        client.expect_end()
    assert rig.bodies() == [CONTENT]


@pytest.mark.row("92")
@pytest.mark.threat("D13")
def test_replies_do_not_wait_for_more_input(rig):
    """RFC 2920 3.2: a client that waits in the middle of a line gets what is due."""
    with rawtls.session(rig.box) as client:
        client.send(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\nNOO".encode())
        assert [client.reply().code for _ in range(2)] == [250, 250]
        client.send(b"P\r\n")
        client.reply(250)


# ------------------------------------------------------------ errors and strangers
@pytest.mark.row("33")
@pytest.mark.threat("D12")
def test_error_budget(rig):
    with rig.box.secured() as client:
        for _ in range(20):
            client.command("FOO", 500)
        client.command("FOO", 500)
        assert client.reply().text == TOO_MANY_ERRORS
        client.expect_end()


def test_refusals_by_backend_or_policy_are_no_errors(rig):
    rig.backend.on("RCPT", "550 5.1.1 Nobody")
    with mailed(rig) as client:
        for _ in range(60):
            client.command(f"RCPT TO:<{RECIPIENT}>", 550)
        client.command("NOOP", 250)


@pytest.mark.threat("D12", "G04")
@pytest.mark.parametrize("junk", [b"NOOP\r\n", b"RSET\r\n", b"\r\n", b"XYZZY\r\n", b"VRFY x\r\n"])
def test_flood_of_junk_ends(rig, junk):
    """D12, G04: nobody reads the replies; the session ends long before the flood does."""
    client = rawtls.session(rig.box, receive_buffer=2048)
    with pytest.raises(OSError):
        for _ in range(2000):
            client.send(junk * 500)
    client.close()


@pytest.mark.row("33")
@pytest.mark.threat("B14")
@pytest.mark.parametrize("first", ["POST / HTTP/1.1", "GET / HTTP/1.0", "CONNECT a:25 HTTP/1.1", "OPTIONS * HTTP/1.1",
                                   "PRI * HTTP/2.0", "put /x HTTP/1.1"])
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_http_is_shown_the_door(rig, port, first):
    with rig.box.connect(port) as client:
        client.send(f"{first}\r\nHost: localhost\r\n\r\nEHLO x\r\nQUIT\r\n")
        assert client.reply().text == FOREIGN
        client.expect_end()


class stopped:
    """Both proxies stand still meanwhile: what clients do piles up in the kernel."""

    def __init__(self, box):
        self.pids = list(observe.proxies(box).values())

    def __enter__(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def __exit__(self, *_):
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.threat("B15")
def test_early_talker_in_the_clear(rig):
    """B15: octets before the greeting."""
    with stopped(rig.box):
        client = rig.box.connect("submission", greeting=None)
        client.send(b"EHLO early\r\n")
    with client:
        assert client.reply().text == SYNCHRONISATION
        client.expect_end()


@pytest.mark.threat("B15")
def test_early_talker_in_tls(rig):
    """B15: octets in the same flight as the handshake's end."""
    with rawtls.connect(rig.box, trailer=b"EHLO early\r\n", greeting=None) as client:
        assert client.reply().text == SYNCHRONISATION
        client.expect_end()


@pytest.mark.threat("B15")
def test_two_commands_at_once_after_the_greeting_are_fine(rig):
    """Thunderbird sends EHLO and QUIT together."""
    with rig.box.connect() as client:
        client.send("EHLO x\r\nQUIT\r\n")
        assert [client.reply().code for _ in range(2)] == [250, 221]


# --------------------------------------------------------------------------- ends
def half_close(client):
    """No more input: close_notify and FIN, but the client goes on to read."""
    if isinstance(client.sock, rawtls.TlsSocket):
        client.sock.close_notify()
    client.sock.shutdown(socket.SHUT_WR)


@pytest.mark.threat("D13")
@pytest.mark.parametrize("last", [b"NOOP\r\n", b"QUIT\r\n", b"QUIT", b"NOOP\r"])
def test_half_close_after_the_last_command(rig, last):
    with rawtls.session(rig.box) as client:
        client.send(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\nRSET\r\n".encode() + last)
        half_close(client)
        whole = last.endswith(b"\r\n")
        want = [250, 250, 250] + ([221 if last.startswith(b"QUIT") else 250] if whole else [])
        assert [client.reply().code for _ in want] == want
        client.expect_end()


def test_half_close_after_the_end_of_data(rig):
    with given(rig) as client:
        client.close()
    with rawtls.session(rig.box) as client:
        client.send(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode())
        assert [client.reply().code for _ in range(3)] == [250, 250, 354]
        client.send(smtp.transparent(CONTENT))
        half_close(client)
        client.reply(250)
        client.expect_end()
    assert CONTENT in rig.bodies()


def test_half_close_in_the_clear(rig):
    with rig.box.connect("submission") as client:
        client.send("EHLO x\r\nNOOP\r\nSTART")
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.reply().code for _ in range(2)] == [250, 250]
        client.expect_end()


@pytest.mark.row("26", "91")
def test_slow_reader_that_half_closed_gets_every_reply(rig):
    """More replies than the sockets hold, all due after the client's end."""
    long = "\n".join([f"550-5.1.1 {'long ' * 90}"] * 60 + ["550 5.1.1 long"])
    rig.backend.on("RCPT", long)
    with rawtls.session(rig.box, receive_buffer=4096) as client:
        client.send(f"MAIL FROM:<{ALICE}>\r\n".encode() + f"RCPT TO:<{RECIPIENT}>\r\n".encode() * 60 + b"QUIT\r\n")
        half_close(client)
        client.reply(250)
        for _ in range(60):
            assert len(client.reply(550).lines) == 61
        client.reply(221)
        client.expect_end()


def fin(client):
    client.close()


def goodbye(client):
    client.sock.close_notify()
    client.close()


def rst(client):
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def in_sasl(rig):
    client = rawtls.connect(rig.box)
    client.ehlo()
    client.command("AUTH LOGIN", 334)
    return client


def in_login(rig):
    client = rawtls.connect(rig.box)
    client.ehlo()
    client.send(b"AUTH PLAIN " + base64.b64encode(b"\0alice@example.test\0wrong") + b"\r\n")
    return client


def after(*lines):
    def begin(rig):
        client = rawtls.session(rig.box)
        client.send("".join(f"{line}\r\n" for line in lines).encode())
        for _ in lines:
            client.reply()
        return client
    return begin


def in_mail(rig):
    client = rawtls.session(rig.box)
    client.send(f"MAIL FROM:<{ALICE}>\r\n".encode())
    return client


def in_body(rig):
    client = after(*GROUP[:2], "DATA")(rig)
    client.send(b"Subject: unfinished\r\n\r\n" + b"x" * 100000)
    return client


def at_the_dot(rig):
    client = after(*GROUP[:2], "DATA")(rig)
    client.send(b"Subject: unfinished\r\n\r\nx\r\n.")
    return client


END_STATES = {"greeting": lambda rig: rawtls.connect(rig.box), "half-line": after("NOOP"), "sasl": in_sasl,
              "login": in_login, "mail": in_mail, "mailed": after(GROUP[0]), "given": after(*GROUP[:2]),
              "go": after(*GROUP[:2], "DATA"), "body": in_body, "dot": at_the_dot}


@pytest.mark.row("39")
@pytest.mark.threat("B10", "F04")
@pytest.mark.parametrize("how", [fin, goodbye, rst], ids=lambda function: function.__name__)
@pytest.mark.parametrize("state", END_STATES)
def test_client_that_leaves_in_any_state(rig, state, how):
    """B10: nothing is committed, nothing is left behind, nothing stays charged."""
    change = observe.Change(rig.box)
    client = END_STATES[state](rig)
    if state == "half-line":
        client.send(b"NOO")
    how(client)
    observe.settle(rig.box)
    assert not any(b"\r\n.\r\n" in session.received for session in rig.backend.mail_sessions())
    assert change("messages_accepted_total") == 0
    harness.wait_until(lambda: change("takes_granted_total") == change("takes_returned_total"), "the take's return")
    with rig.session() as client:
        client.message(ALICE, [RECIPIENT], CONTENT)


@pytest.mark.row("39")
def test_client_that_left_after_the_end_of_data_was_sent_is_decided_by_the_backend(rig):
    change = observe.Change(rig.box)
    rig.backend.on("body", stall_then_accept)
    with after(*GROUP[:2], "DATA")(rig) as client:
        client.send(smtp.transparent(CONTENT))
        harness.wait_until(lambda: any(session.bodies for session in rig.sessions()), "the end of data at the backend")
        rst(client)
        rig.backend.release()
    harness.wait_until(lambda: change("messages_accepted_total") == 1, "the backend's verdict")
    observe.settle(rig.box)
    assert change("takes_returned_total") == 0


def stall_then_accept(session, _argument):
    session.backend.released.wait(20)


@pytest.mark.threat("G04")
def test_client_that_never_reads_costs_bounded_memory(rig):
    """Replies of the backend as long as they may be, to a client that reads none of them."""
    long = "\n".join([f"550-5.1.1 {'long ' * 90}"] * 90 + ["550 5.1.1 long"])
    rig.backend.on("RCPT", long)
    before = sum(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values())
    clients = [rawtls.session(rig.box, receive_buffer=4096) for _ in range(8)]
    for client in clients:
        client.sock.sock.setblocking(False)
        data = f"MAIL FROM:<{ALICE}>\r\n".encode() + f"RCPT TO:<{RECIPIENT}>\r\n".encode() * 400
        for at in range(0, len(data), 4096):
            try:
                client.send(data[at:at + 4096])
            except BlockingIOError:
                break
    # The kernel holds some of it; what counts is that the queue stops growing.
    harness.wait_until(lambda: observe.metric(rig.box, "queued_bytes") > 0, "octets that wait")
    seen = []

    def still():
        seen.append(observe.metric(rig.box, "queued_bytes"))
        return len(seen) > 150 and len(set(seen[-150:])) == 1
    harness.wait_until(still, "a queue that grows no more")
    after_kib = sum(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values())
    for client in clients:
        rst(client)
    observe.settle(rig.box)
    assert seen[-1] < len(clients) * 256 * 1024
    assert after_kib - before < observe.allowed(len(clients) * 512)


def test_patience_with_a_backend_that_says_later_costs_no_session(rig):
    """MAIL, a 451, RSET, and again: what a good client does in an outage is no flood of RSETs."""
    rig.backend.on("RCPT", lambda _session, _argument: "451 4.3.2 Later")
    with rawtls.session(rig.box) as client:
        for _ in range(200):
            client.command(f"MAIL FROM:<{ALICE}>", 250)
            client.command("RCPT TO:<friend@example.net>", 451)
            client.command("RSET", 250)
        client.quit()
