# SPDX-License-Identifier: ISC
"""The end of data and the body: what smugglers try, cut at every point, judged by the most lenient
backend there is, which takes any CR or LF around a dot for an end (threats A01 to A14, A22).

What must arrive is computed here, independently of the proxy's code.
"""

import re

import pytest

import harness
import observe
import rawtls
import smtp
from rig import RECIPIENT, Rig, plain

ALICE = "alice@example.test"
NUL = "550 5.6.0 Message holds a NUL octet; not sent"
LINE_ENDINGS = "550 5.5.2 Message holds a bare CR or LF; end lines in CR LF"
FORGED = b"MAIL FROM:<ceo@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: forged\r\n\r\nforged"

# What stands between the first line and the smuggled commands.
VARIANTS = {
    "lf-dot-lf": b"\n.\n", "lf-dot-crlf": b"\n.\r\n", "crlf-dot-lf": b"\r\n.\n", "crlf-dot-crcrlf": b"\r\n.\r\r\n",
    "crcrlf-dot-crcrlf": b"\r\r\n.\r\r\n", "cr-dot-cr": b"\r.\r", "cr-dot-crlf": b"\r.\r\n", "crlf-dot-cr": b"\r\n.\r",
    "lf-dot-cr": b"\n.\r", "cr-dot-lf": b"\r.\n", "crlf-dotdot-crlf": b"\r\n..\r\n", "lf-dotdot-lf": b"\n..\n",
    "crlf-dot-space-crlf": b"\r\n. \r\n", "lflf-dot-lflf": b"\n\n.\n\n", "lfcr-dot-lfcr": b"\n\r.\n\r",
    "crcrcrlf-dot-crcrcrlf": b"\r\r\r\n.\r\r\r\n",
}
WITH_NUL = {"crlf-nul-dot": b"\r\n\0.\r\n", "dot-nul": b"\r\n.\0\r\n", "nul-crlf-dot": b"\0\r\n.\n", "lf-nul": b"\n\0.\n"}


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, lenient=True, settings=["listen.submission.line_endings=reject"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


def normalised(wire):
    """What a body as sent (after DATA, before the true end) means.  A dot behind a CRLF is a stuffed one,
    unless it stands alone in front of what is no true end.  Then an LF with all CRs before it is a line end,
    any other CR a space."""
    text = re.sub(rb"(?<=\r\n)\.(?!\r*\n)", b"", b"\r\n" + wire)[2:]
    return re.sub(rb"\r*\n", b"\r\n", text).replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")


def begin(client):
    client.send(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode())
    assert [client.reply().code for _ in range(3)] == [250, 250, 354]


def cuts_of(wire, variant):
    """Whole, at each point in and around the variant and the end, and octet by octet there."""
    at = wire.index(variant)
    inner = range(at - 1, at + len(variant) + 3)
    end = range(len(wire) - 6, len(wire))
    yield from ([], *([cut] for cut in inner), [*end], [*inner, *end])


def send_cut(client, wire, cuts):
    for begin_at, end_at in zip([0, *cuts], [*cuts, len(wire)]):
        client.send(wire[begin_at:end_at])


def judge(rig, want):
    """want: body (or None, when nothing may have been completed) of each message that was sent."""
    observe.settle(rig.box)
    sessions = rig.backend.mail_sessions()
    commands = [line for session in sessions for line in session.commands]
    assert commands.count(b"DATA") == len(want)
    verbs = {line.split(b" ")[0] for line in commands}
    assert verbs <= {b"EHLO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT"}
    assert not any(b"victim" in line or b"ceo@" in line for line in commands), "0 forged messages"
    octets = b"".join(session.received for session in sessions)
    assert b"\0" not in octets and not re.search(rb"\r(?!\n)|(?<!\r)\n", octets)
    complete = [plain(body) for session in sessions for body in session.bodies
                if session.received.count(b"\r\n.\r\n") == len(session.bodies)]
    assert complete == [body for body in want if body is not None]


@pytest.mark.row("15", "35")
@pytest.mark.threat("A01", "A02", "A03", "A04", "A05", "A07", "A12")
@pytest.mark.parametrize("name", VARIANTS)
def test_no_variant_of_the_end_smuggles(rig, name):
    variant = VARIANTS[name]
    wire = b"Subject: x\r\n\r\nx" + variant + FORGED + b"\r\n.\r\n"
    want = []
    with rawtls.session(rig.box) as client:
        for cuts in cuts_of(wire, variant):
            begin(client)
            send_cut(client, wire, cuts)
            client.reply(250)
            want.append(normalised(wire[:-3]))
        client.command("NOOP", 250)
    judge(rig, want)


@pytest.mark.row("45")
@pytest.mark.threat("A06", "A07")
@pytest.mark.parametrize("name", WITH_NUL)
def test_nul_is_refused_after_the_true_end(rig, name):
    wire = b"Subject: x\r\n\r\nx" + WITH_NUL[name] + FORGED + b"\r\n.\r\n"
    want = []
    with rawtls.session(rig.box) as client:
        for cuts in cuts_of(wire, WITH_NUL[name]):
            begin(client)
            send_cut(client, wire, cuts)
            assert client.reply().text == NUL, cuts
            want.append(None)
        client.command("NOOP", 250)
    judge(rig, want)


@pytest.mark.row("15", "35")
@pytest.mark.threat("A01", "A02", "A03", "A04", "A05")
@pytest.mark.parametrize("name", [name for name in VARIANTS if re.search(rb"\r(?!\n)|(?<!\r)\n", VARIANTS[name])])
def test_line_endings_reject(rig, name):
    """On the listener of port 587, whose line_endings = reject."""
    wire = b"Subject: x\r\n\r\nx" + VARIANTS[name] + FORGED + b"\r\n.\r\n"
    with rig.session(port="submission") as client:
        begin(client)
        client.send(wire)
        assert client.reply().text == LINE_ENDINGS
        client.message(ALICE, [RECIPIENT], b"Subject: good\r\n\r\n")
    judge(rig, [None, b"Subject: good\r\n\r\n"])


CONTENTS = {
    "empty": b"", "one-empty-line": b"\r\n", "dot": b".\r\n", "dots": b"..\r\n...\r\n.x\r\n", "leading-dot-first": b".x\r\n\r\n",
    "header-dot": b"Subject: a\r\n.hidden: b\r\n\r\n", "mailbox-from-below": b"Subject: x\r\n\r\nFrom aaa\r\nx\r\n",
    "received": b"Received: from evil\r\n\tby evil; now\r\nSubject: x\r\n\r\n", "long-line": b"x" * 200000 + b"\r\n",
    "long-dots": b"." * 200000 + b"\r\n", "boundary-dots": (b"x" * 16383 + b".") * 5 + b"\r\n",
    "crlf-at-16384": b"x" * 16383 + b"\r\n." + b"y" * 16381 + b"\r\n..\r\n", "only-crlf": b"\r\n" * 50000,
}


@pytest.mark.row("27", "34", "119")
@pytest.mark.threat("A08", "A09", "A10", "A13")
@pytest.mark.parametrize("name", CONTENTS)
def test_transparency(rig, name):
    content = CONTENTS[name]
    wire = smtp.transparent(content)
    with rawtls.session(rig.box) as client:
        for size in (len(wire), 16384, 16383, 4097, 1000):
            begin(client)
            for at in range(0, len(wire), size):
                client.send(wire[at:at + size])
            client.reply(250)
    judge(rig, [content] * 5)


@pytest.mark.row("34")
@pytest.mark.threat("A07", "B12")
def test_byte_by_byte(rig):
    content = b"Subject: bytes\r\n\r\n.\r\n..\r\n.x\r\n\r\nend\r\n"
    with rawtls.session(rig.box) as client:
        begin(client)
        for octet in smtp.transparent(content):
            client.send(bytes([octet]))
        client.reply(250)
    judge(rig, [content])


@pytest.mark.row("35")
@pytest.mark.threat("A01")
def test_lf_only_message_is_normalised(rig):
    """A message of one line ending, as scripts send it, arrives as mail."""
    lines = [b"Subject: unix", b"", b"one", b".", b"..two", b"", b"three"]
    with rawtls.session(rig.box) as client:
        begin(client)
        client.send(b"\n".join(lines) + b"\n\r\n.\r\n")
        client.reply(250)
    judge(rig, [b"\r\n".join(lines) + b"\r\n\r\n"])


@pytest.mark.threat("B09")
def test_close_notify_in_mid_body_and_then_octets_in_the_clear(rig):
    """B09, Exim CVE-2026-45185: nothing is committed, nothing crashes."""
    client = rawtls.session(rig.box)
    begin(client)
    client.send(b"Subject: x\r\n\r\nx")
    client.sock.close_notify()
    client.sock.sock.sendall(b"A\r\n.\r\nMAIL FROM:<a@b.example>\r\n")
    client.close()
    judge(rig, [None])


@pytest.mark.row("39")
@pytest.mark.threat("B10")
@pytest.mark.parametrize("tail", [b"", b"\r", b"\r\n", b"\r\n.", b"\r\n.\r"])
def test_truncation_commits_nothing(rig, tail):
    """B10: FIN without close_notify, anywhere in the end of data."""
    client = rawtls.session(rig.box)
    begin(client)
    client.send(b"Subject: x\r\n\r\nx" + tail)
    client.close()
    judge(rig, [None])


@pytest.mark.threat("A22")
def test_commands_after_a_refused_body_find_no_transaction(rig):
    """A22."""
    with rig.session() as client:
        begin(client)
        client.send(b"x\0\r\n.\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n")
        assert client.reply().text == NUL
        assert [client.reply().code for _ in range(2)] == [503, 503]
    judge(rig, [None])


def test_body_is_streamed_before_its_end(rig):
    """The backend has the first part before the client has sent the last."""
    with rig.session() as client:
        begin(client)
        client.send(b"Subject: stream\r\n\r\n" + b"x" * 5000 + b"\r\n")
        harness.wait_until(lambda: b"x" * 5000 in rig.sessions()[0].received, "the first part at the backend")
        client.send(b".\r\n")
        client.reply(250)
