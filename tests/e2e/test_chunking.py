# SPDX-License-Identifier: ISC
"""BDAT (RFC 3030): every row with a backend that has no CHUNKING, where chunks become one DATA, and with
one that has it, where they are cut anew.  Conformance 95 to 99; threats A15 to A21.

The backend without is the most lenient there is.  What must arrive is computed here, independently of
the proxy's code.

Long: one backend, one way of cutting, and the cases of both; read by name.
"""

import os
import random
import re
import signal
import threading

import pytest

import harness
import observe
import rawtls
import smtp
from rig import RECIPIENT, Rig, undotted, without_trace
from scripted import CHUNKS, EXTENSIONS, Close, Reset, Stall

ALICE = "alice@example.test"
OK = "250 2.0.0 OK"
QUEUED = "250 2.0.0 Ok: queued as SCRIPTED"
ARGUMENTS = "501 5.5.4 Syntax error in the command's arguments"
NEED_MAIL = "503 5.5.1 Send MAIL first"
NEED_RCPT = "503 5.5.1 Send RCPT first"
UNDER_WAY = "503 5.5.1 A message in chunks is under way; send RSET to start anew"
FAILED = "503 5.5.1 The message of this chunk has failed; send RSET to start anew"
BY_BDAT = "503 5.5.1 A BINARYMIME message is sent by BDAT; send RSET to start anew"
NESTED = "503 5.5.1 A sender is already given; send RSET to start anew"
AUTH_AGAIN = "503 5.5.1 Already authenticated"
NO_RECIPIENTS = "554 5.5.1 No valid recipients"
TOO_BIG = "552 5.3.4 Message too big"
NUL = "550 5.6.0 Message holds a NUL octet; not sent"
LINE_ENDINGS = "550 5.5.2 Message holds a bare CR or LF; end lines in CR LF"
LOST = "451 4.4.2 Connection to the mail server behind was lost; try again later"
PROTOCOL = "451 4.3.0 The mail server behind gave no usable reply; try again later"
TOO_MANY_CHUNKS = "421 4.7.0 Too many chunks; send the message in larger ones"
REVOKED = "421 4.7.0 The account was changed or disabled; log in again"
LIMIT = 1024 * 1024
EXTRA = 1024 * 1024
PIECE = 64 * 1024
SHADOW = 128 if "asan" in harness.BUILD else 1  # what a sanitizer adds to memory
FORGED = b"MAIL FROM:<ceo@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: forged\r\n\r\nforged"
SETTINGS = ["listen.submission.line_endings=reject", f"limits.message_size={LIMIT}",
            "limits.connections_per_prefix=1000"]


@pytest.fixture(scope="module", params=["data", "bdat"])
def shared(request, make_sandbox):
    """rig.chunking: whether the backend has it."""
    chunking = request.param == "bdat"
    rig = Rig(make_sandbox, lenient=not chunking, settings=SETTINGS,
              extensions=EXTENSIONS + (CHUNKS if chunking else ()))
    rig.chunking = chunking
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


only_bdat = pytest.mark.parametrize("shared", ["bdat"], indirect=True)
only_data = pytest.mark.parametrize("shared", ["data"], indirect=True)


@pytest.fixture(scope="module")
def large(make_sandbox):
    rigs = {}

    def make(chunking):
        if chunking not in rigs:
            rigs[chunking] = Rig(make_sandbox, extensions=EXTENSIONS + (CHUNKS if chunking else ()))
            rigs[chunking].chunking = chunking
        return rigs[chunking].reset()
    yield make
    for rig in rigs.values():
        rig.close()


def bdat(octets, last=False):
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


def chunks_of(content, cuts):
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)])]
    return [bdat(piece, last=number == len(pieces) - 1) for number, piece in enumerate(pieces)]


def accepted(octets):
    return f"250 2.0.0 Chunk accepted: {octets} octets"


def given(rig, parameters="", **options):
    client = rig.session(**options)
    client.mail(ALICE, [RECIPIENT], parameters)
    return client


def chunk(client, octets, last=False, want=None):
    client.send(bdat(octets, last))
    answer = client.reply()
    if want is not None:
        assert answer.text == want
    return answer


def normalised(content):
    """An LF with all CRs before it is a line end, any other CR a space; the last line has an end."""
    if content and not content.endswith(b"\n"):
        content = re.sub(rb"\r*\Z", b"", content) + b"\n"
    text = re.sub(rb"\r*\n", b"\n", content).replace(b"\r", b" ")
    return text.replace(b"\n", b"\r\n")


def arrived(rig):
    """The bodies of the messages whose end came."""
    observe.settle(rig.box)
    bodies = [without_trace(body) for session in rig.backend.mail_sessions() for body in session.complete]
    return bodies if rig.chunking else [undotted(body) for body in bodies]


def judge(rig, want):
    assert arrived(rig) == want
    commands = rig.commands()
    assert {line.split(b" ")[0] for line in commands} <= {
        b"EHLO", b"MAIL", b"RCPT", b"RSET", b"QUIT", b"BDAT" if rig.chunking else b"DATA"}
    assert not any(b"victim" in line or b"ceo@" in line for line in commands), "0 forged messages"
    if not rig.chunking:
        octets = b"".join(session.received for session in rig.backend.mail_sessions())
        assert b"\0" not in octets and not re.search(rb"\r(?!\n)|(?<!\r)\n", octets)


# ------------------------------------------------------------------------ content
VARIANTS = {
    "lf-dot-lf": b"\n.\n", "lf-dot-crlf": b"\n.\r\n", "crlf-dot-lf": b"\r\n.\n", "crlf-dot-crlf": b"\r\n.\r\n",
    "crlf-dot-crcrlf": b"\r\n.\r\r\n", "crcrlf-dot-crcrlf": b"\r\r\n.\r\r\n", "cr-dot-cr": b"\r.\r",
    "cr-dot-crlf": b"\r.\r\n", "crlf-dot-cr": b"\r\n.\r", "lf-dot-cr": b"\n.\r", "cr-dot-lf": b"\r.\n",
    "crlf-dotdot-crlf": b"\r\n..\r\n", "lf-dotdot-lf": b"\n..\n", "lflf-dot-lflf": b"\n\n.\n\n",
    "crlf-dot-crlf-last": b"\r\n.\r\nBDAT 0 LAST\r\n",
}


@pytest.mark.row("95")
@pytest.mark.threat("A15", "A20", "A21")
@pytest.mark.parametrize("name", VARIANTS)
def test_no_chunking_smuggles(rig, name):
    """A15, A20, A21: whole, cut in two at every point, and octet by octet."""
    content = b"Subject: x\r\n\r\nx" + VARIANTS[name] + FORGED
    inner = range(content.index(VARIANTS[name]) - 1, content.index(FORGED) + 3)
    ways = [[], *([cut] for cut in range(1, len(content), 7)), *([cut] for cut in inner), [*inner],
            list(range(1, len(content)))]
    with rawtls.session(rig.box) as client:
        for cuts in ways:
            client.mail(ALICE, [RECIPIENT])
            pieces = chunks_of(content, cuts)
            client.send(b"".join(pieces))
            for _ in pieces[:-1]:
                client.reply(250)
            client.reply(QUEUED)
        client.command("NOOP", OK)
    judge(rig, [normalised(content)] * len(ways))


@pytest.mark.row("95")
@pytest.mark.threat("A16")
@pytest.mark.parametrize("content", [
    b"", b"abc", b"abc\r", b"abc\n", b"abc\r\n", b".", b"..", b"\r\n.\r\n", b"\r", b"\n", b"a\r\n.", b".\r\n",
    b"RSET\r\nQUIT\r\n", b"x" * 200000, b"." * 70000, b"\r\n" * 40000, (b"x" * 65535 + b".") * 3],
    ids=lambda content: repr(content[:12]) + str(len(content)))
def test_transparency(rig, content):
    """A16: a line end is made where the last line has none, and nowhere else."""
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT])
        chunk(client, content, True, QUEUED)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, content, False, accepted(len(content)))
        chunk(client, b"", True, QUEUED)
    judge(rig, [normalised(content)] * 2)


@pytest.mark.threat("A15", "A21")
def test_random_chunkings(rig):
    """Random octets of those that matter, randomly cut, pipelined with their commands."""
    dice = random.Random(3030)
    want = []
    with rawtls.session(rig.box) as client:
        for _ in range(60):
            content = b"Subject: dice\r\n" + b"".join(dice.choice([b"\r", b"\n", b"\r\n", b".", b"x", b"\r\n.", b"QUIT\r\n", b"\xff"])
                               for _ in range(dice.randrange(200)))
            cuts = sorted(dice.choices(range(len(content) + 1), k=dice.randrange(8)))
            pieces = chunks_of(content, cuts)
            client.send(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\n".encode() + b"".join(pieces))
            for code in [250] * (len(pieces) + 2):
                client.reply(code)
            want.append(normalised(content))
    judge(rig, want)


@pytest.mark.parametrize("chunking", [False, True], ids=["data", "bdat"])
def test_twenty_megabytes(large, chunking):
    rig = large(chunking)
    dice = random.Random(20)
    line = [bytes(dice.choices(range(32, 256), k=length)) + b"\r\n" for length in (1, 72, 76, 998, 5000)]
    line += [b".\r\n", b"..\r\n", b"\r\n", b".x\r\n", b"a\n", b"b\r\r\n"]
    content = b"Subject: big\r\n\r\n" + b"".join(dice.choices(line, k=20 * 2**20 // 560))
    assert len(content) > 18 * 2**20
    sizes = [1, 100, 8192, 65536, 65537, 1000000, 5000000]
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT], f" SIZE={len(content)}")
        at = 0
        while at < len(content):
            size = dice.choice(sizes)
            client.send(bdat(content[at:at + size], at + size >= len(content)))
            client.reply(250)
            at += size
    judge(rig, [normalised(content)])
    if chunking:
        [session] = rig.backend.mail_sessions()
        assert max(len(octets) for octets, _ in session.chunks) <= PIECE


@only_bdat
@pytest.mark.parametrize("pipelining", [True, False])
def test_pieces(rig, pipelining):
    """A backend gets pieces of 64 KiB at most, several at once only where it offers PIPELINING."""
    content = b"x" * 998 + b"\r\n"
    content *= 600
    if not pipelining:
        rig.backend.extensions.remove("PIPELINING")
    gate = threading.Event()
    rig.backend.on("BDAT", lambda session, argument: gate.wait(30) and None)
    with given(rig) as client:
        client.send(bdat(content, True))
        [session] = harness.wait_until(lambda: [one for one in rig.sessions() if one.chunks], "a piece")
        # The first goes at once, small as it is; those behind it wait for its reply, or fill up.
        harness.wait_until(lambda: observe.metric(rig.box, "queued_bytes") >= PIECE or pipelining, "octets that wait")
        seen = session.received.count(b"BDAT ")
        gate.set()
        client.reply(QUEUED)
    sizes = [len(octets) for octets, _ in session.chunks]
    assert sum(sizes) > len(content) and max(sizes) <= PIECE and len(sizes) < 20
    assert pipelining or (seen == 1 and session.overtaken == 0)
    judge(rig, [content])


# ----------------------------------------------------------------------- commands
MALFORMED = ["BDAT", "BDAT 18446744073709551615", "BDAT 9223372036854775809", "BDAT -1", "BDAT 0x10",
             "BDAT 99999999999999999999 LAST", "BDAT 5 LASTX", "BDAT 5 LAST LAST", "BDAT 5  LAST", "BDAT LAST",
             "BDAT +5", "BDAT 5LAST", "BDAT 1e3", "BDAT 5 5"]


@pytest.mark.threat("A17")
@pytest.mark.parametrize("line", MALFORMED)
def test_malformed_bdat_closes(rig, line):
    """A17: nobody knows where its octets end, so nothing behind it is run."""
    with given(rig) as client:
        client.send(line.encode() + b"\r\nNOOP\r\n")
        assert client.reply().text == ARGUMENTS
        client.expect_end()
    judge(rig, [])


@pytest.mark.parametrize("line", [b"BDAT 5\0 LAST\r\n", b"BDAT 5\n LAST\r\n", b"bdat 5\rLAST\r\n",
                                  b"BDAT 5 " + b"x" * 5000 + b"\r\n"])
def test_bdat_line_that_is_no_line_closes(rig, line):
    with given(rig) as client:
        client.send(line + b"NOOP\r\n")
        assert client.reply().code == 500
        client.expect_end()
    judge(rig, [])


@pytest.mark.threat("A17")
def test_truncated_chunk_commits_nothing(rig):
    """A17: fewer octets than the size says, then the end of the connection."""
    for last in (False, True):
        client = given(rig)
        client.send(b"BDAT 10%s\r\n123456789" % (b" LAST" if last else b""))
        client.close()
    client = given(rig)
    chunk(client, b"a whole chunk", want=accepted(13))
    client.close()
    judge(rig, [])


@pytest.mark.row("64")
@pytest.mark.threat("A18")
def test_chunk_without_login_is_dropped(rig):
    octets = b"RSET\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n"
    with rig.box.secured() as client:
        assert chunk(client, octets).text == "530 5.7.0 Authentication required"
        assert chunk(client, b"").text == "530 5.7.0 Authentication required"
        client.command("NOOP", OK)
        client.send(b"BDAT 65536\r\n")
        assert client.reply().text == "530 5.7.0 Authentication required"
        client.expect_end()
    with rig.box.connect("submission") as client:
        client.ehlo()
        assert chunk(client, octets).text == "530 5.7.0 Must issue a STARTTLS command first"
        client.command("NOOP", OK)
    judge(rig, [])


@pytest.mark.row("96")
@pytest.mark.threat("A18")
def test_chunk_without_mail_or_rcpt_is_dropped(rig):
    """A18."""
    octets = b"RCPT TO:<victim@example.net>\r\nDATA\r\n" * 2500
    with rig.session() as client:
        chunk(client, octets, False, NEED_MAIL)
        chunk(client, octets, True, NEED_MAIL)
        assert client.command("DATA").text == NEED_MAIL
        client.command(f"MAIL FROM:<{ALICE}>", 250)
        chunk(client, octets, False, NEED_RCPT)
        # A part of the message is gone: the rest would be another one.
        assert client.command(f"RCPT TO:<{RECIPIENT}>").text == UNDER_WAY
        assert client.command("DATA").text == UNDER_WAY
        chunk(client, octets, True, FAILED)
        client.command("RSET", OK)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, b"x\r\n", True, QUEUED)
        chunk(client, b"x\r\n", True, NEED_MAIL)
    judge(rig, [b"x\r\n"])


@pytest.mark.row("96")
@pytest.mark.threat("A18")
def test_chunk_when_every_recipient_was_refused(rig):
    rig.backend.on("RCPT", "550 5.1.1 Nobody")
    octets = b"QUIT\r\n" * 1000
    with rig.session() as client:
        client.command(f"MAIL FROM:<{ALICE}>", 250)
        client.command(f"RCPT TO:<{RECIPIENT}>", 550)
        chunk(client, octets, False, NO_RECIPIENTS)
        chunk(client, octets, False, FAILED)
        chunk(client, octets, True, FAILED)
        client.command("RSET", OK)
        rig.backend.on("RCPT", None)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, b"x\r\n", True, QUEUED)
    # All in one go, with a reply of ours between those of the backend.
    rig.backend.on("RCPT", "550 5.1.1 Nobody")
    with rig.session() as client:
        client.send(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\nRCPT TO:<bad>\r\nDATA x\r\n".encode()
                    + bdat(octets, True) + b"NOOP\r\n")
        assert [client.reply().code for _ in range(6)] == [250, 550, 501, 501, 554, 250]
    judge(rig, [b"x\r\n"])


@pytest.mark.row("97")
@pytest.mark.threat("A20")
def test_commands_between_chunks(rig):
    """A20, conformance 97."""
    with given(rig) as client:
        chunk(client, b"abc", want=accepted(3))
        for line, want in (("DATA", UNDER_WAY), (f"RCPT TO:<{RECIPIENT}>", UNDER_WAY),
                           (f"MAIL FROM:<{ALICE}>", NESTED), ("AUTH PLAIN", AUTH_AGAIN), ("NOOP", OK),
                           ("STARTTLS", "503 5.5.1 TLS is already active"), ("VRFY x", None), ("HELP", None)):
            answer = client.command(line)
            assert want is None or answer.text == want
        chunk(client, b"def", True, QUEUED)
        for end in ("RSET", "EHLO again", "HELO again"):
            client.mail(ALICE, [RECIPIENT])
            chunk(client, b"abc", want=accepted(3))
            client.command(end, 250)
            chunk(client, b"def", True, NEED_MAIL)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, b"abc", want=accepted(3))
        client.quit()
    judge(rig, [b"abcdef\r\n"])


@pytest.mark.row("97")
@pytest.mark.threat("A20")
def test_data_after_chunks_and_chunks_after_data(rig):
    """DATA works beside BDAT, a transaction each."""
    with rig.session() as client:
        for _ in range(2):
            client.mail(ALICE, [RECIPIENT])
            chunk(client, b"by bdat\r\n", True, QUEUED)
            client.message(ALICE, [RECIPIENT], b"by data\r\n")
    observe.settle(rig.box)
    verbs = [verb for verb in rig.backend.mail_sessions()[0].verbs if verb in ("BDAT", "DATA")]
    assert verbs == (["BDAT", "DATA"] * 2 if rig.chunking else ["DATA"] * 4)
    bodies = [without_trace(body) for body in rig.backend.mail_sessions()[0].complete]
    assert bodies == [b"by bdat\r\n", b"by data\r\n"] * 2


@pytest.mark.row("91", "95")
@pytest.mark.parametrize("pipelining", [True, False])
def test_all_in_one_go(rig, pipelining):
    if not pipelining:
        rig.backend.extensions.remove("PIPELINING")
    one = (f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\n".encode() + bdat(b"Subject: x\r\n\r\n")
           + bdat(b"QUIT\r\n.\r\n") + bdat(b"", True))
    with rawtls.session(rig.box) as client:
        client.send(one * 5 + b"QUIT\r\n")
        for _ in range(5):
            assert [client.reply().text for _ in range(5)] == [
                "250 2.1.0 Ok", "250 2.1.5 Ok", accepted(14), accepted(9), QUEUED]
        client.reply(221)
        client.expect_end()
    judge(rig, [b"Subject: x\r\n\r\nQUIT\r\n.\r\n"] * 5)


def test_one_octet_at_a_time(rig):
    wire = (f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{RECIPIENT}>\r\n".encode() + bdat(b"a\r\n.\r") + bdat(b"\n.")
            + bdat(b"NOOP\r\n", True) + b"NOOP\r\n")
    with rawtls.session(rig.box) as client:
        for octet in wire:
            client.send(bytes([octet]))
        assert [client.reply().code for _ in range(6)] == [250] * 6
    judge(rig, [b"a\r\n.\r\n.NOOP\r\n"])


@pytest.mark.row("100")
# ------------------------------------------------------------------------- limits
def test_message_size(rig):
    """RFC 1870 6.3: what BDAT announces is known before its octets come."""
    octets = b"x" * 998 + b"\r\n"
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT])
        chunk(client, octets * 500, want=accepted(500000))
        chunk(client, octets * 600, want=TOO_BIG)
        chunk(client, octets, True, FAILED)
        client.command("RSET", OK)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, octets * 1100, True, TOO_BIG)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, (b"x" * 1022 + b"\r\n") * 1024, True, QUEUED)
    judge(rig, [(b"x" * 1022 + b"\r\n") * 1024])


def test_backends_own_size(rig):
    rig.backend.extensions = [*rig.extensions]
    rig.backend.extensions[1] = "SIZE 1000"
    with given(rig) as client:
        chunk(client, b"x" * 900, want=accepted(900))
        chunk(client, b"x" * 101, True, TOO_BIG)
        client.command("NOOP", OK)
    judge(rig, [])


@pytest.mark.threat("A17", "A18")
@pytest.mark.parametrize("size", [LIMIT + EXTRA + 1, 2**31, 2**32 + 5, 2**63 - 1, 2**63])
def test_announcing_far_too_much_closes(rig, size):
    """A17: the octets that are read and dropped are bounded."""
    for prepare in (given, lambda rig: rig.session()):
        with prepare(rig) as client:
            client.send(b"BDAT %d LAST\r\nNOOP\r\n" % size)
            assert client.reply().text == TOO_BIG
            client.expect_end()
    judge(rig, [])


@pytest.mark.threat("A18")
def test_octets_dropped_in_all_are_bounded(rig):
    octets = b"x" * 998 + b"\r\n"
    with rig.session() as client:
        for _ in range(2):
            chunk(client, octets * 1000, False, NEED_MAIL)
        client.send(b"BDAT 200000\r\n" + b"NOOP\r\n")
        assert client.reply().code == 421
        client.expect_end()
    judge(rig, [])


@pytest.mark.threat("A19")
def test_many_tiny_chunks(rig):
    """A19: memory stays flat, and there is an end to it."""
    one = b"BDAT 1\r\nx"
    with rawtls.session(rig.box) as client:
        client.mail(ALICE, [RECIPIENT])
        before = sum(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values())
        for _ in range(100):
            client.send(one * 1000)
            for _ in range(1000):
                assert client.reply().raw == b"250 2.0.0 Chunk accepted: 1 octets\r\n"
        after = sum(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values())
        client.send(one)
        assert client.reply().text == TOO_MANY_CHUNKS
        client.expect_end()
    assert after - before < 4096 * SHADOW
    judge(rig, [])
    if rig.chunking:
        [session] = rig.backend.mail_sessions()
        assert len(session.chunks) < 20000, "tiny chunks become larger pieces"


@pytest.mark.threat("A19")
def test_tiny_chunks_of_a_failed_message_have_an_end_too(rig):
    rig.backend.on("RCPT", "550 5.1.1 Nobody")
    with rawtls.session(rig.box) as client:
        client.command(f"MAIL FROM:<{ALICE}>", 250)
        client.command(f"RCPT TO:<{RECIPIENT}>", 550)
        chunk(client, b"", want=NO_RECIPIENTS)
        for _ in range(99):
            client.send(b"BDAT 0\r\n" * 1000)
            for _ in range(1000):
                assert client.reply().raw == FAILED.encode() + b"\r\n"
        client.send(b"BDAT 0\r\n" * 1000)
        answer = client.reply()
        while answer.text == FAILED:
            answer = client.reply()
        assert answer.text == TOO_MANY_CHUNKS


def test_a_meter_that_is_empty(rig):
    """The chunk that it refuses is read first; a LAST one ends the transaction, and MAIL may follow."""
    login = rig.account(f"metered-{rig.chunking}@example.test".lower(), "messages_hour=2")
    octets = b"RSET\r\nNOOP\r\n"
    with rig.box.session(user=login, password=login) as client:
        for _ in range(2):
            client.mail(login, [RECIPIENT])
            chunk(client, octets, True, QUEUED)
        # The third is refused: at MAIL where auth knows it already, else at its first chunk.
        answer = client.command(f"MAIL FROM:<{login}>")
        if answer.code == 250:
            client.command(f"RCPT TO:<{RECIPIENT}>", 250)
            answer = chunk(client, octets, True)
        assert answer.text.startswith("450 4.7.1 Limit reached: 2 messages per hour")
        client.command("NOOP", OK)
    with rig.box.session(user=login, password=login) as client:
        client.command(f"MAIL FROM:<{login}>")
    judge(rig, [octets] * 2)


def test_a_refused_chunk_does_not_count(rig):
    login = rig.account(f"refunded-{rig.chunking}@example.test".lower(), "messages_hour=1")
    with rig.box.session(user=login, password=login) as client:
        rig.backend.on("body", "554 5.6.0 No")
        for _ in range(3):
            client.mail(login, [RECIPIENT])
            chunk(client, b"x", True, "554 5.6.0 No")
        rig.backend.on("body", None)
        client.mail(login, [RECIPIENT])
        chunk(client, b"x\0", True, NUL)
        client.mail(login, [RECIPIENT])
        chunk(client, b"x", want=accepted(1))
        client.command("RSET", OK)
        client.mail(login, [RECIPIENT])
        chunk(client, b"x", True, QUEUED)
    # What the backend answered 554 had its end.
    judge(rig, [b"x\r\n"] * 4)


# -------------------------------------------------------------- octets not wanted
def test_nul(rig):
    with rig.session() as client:
        for cut in range(3):
            client.mail(ALICE, [RECIPIENT])
            pieces = chunks_of(b"a\0b", [cut])
            client.send(b"".join(pieces) + b"NOOP\r\n")
            answers = [client.reply().text for _ in range(3)]
            assert NUL in answers[:2] and answers[2] == OK
            if answers[0] == NUL:
                assert answers[1] == FAILED
                client.command("RSET", OK)
        client.command("NOOP", OK)
    judge(rig, [])


def test_line_endings_reject(rig):
    with rig.session(port="submission") as client:
        for content in (b"a\nb", b"a\rb", b"a\r", b"\n", b"a\r\r\n"):
            client.mail(ALICE, [RECIPIENT])
            chunk(client, content, True, LINE_ENDINGS)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, b"a\r", want=accepted(2))
        chunk(client, b"\nb", True, QUEUED)
    judge(rig, [b"a\r\nb\r\n"])


# ------------------------------------------------------------------- the backend
def test_last_reply_is_the_backends(rig):
    with rig.session() as client:
        for reply in ("250 2.0.0 fine", "451 4.3.0 later", "550-5.7.1 no\n550 5.7.1 really"):
            rig.backend.on("body", reply)
            client.mail(ALICE, [RECIPIENT])
            chunk(client, b"abc", want=accepted(3))
            assert chunk(client, b"", True).text == reply
        rig.backend.on("body", "421 4.3.2 bye")
        client.mail(ALICE, [RECIPIENT])
        chunk(client, b"abc", True, "421 4.3.2 bye")
        client.expect_end()


def test_backend_lost_between_chunks(rig):
    with given(rig) as client:
        chunk(client, HEAD + b"abc", want=accepted(len(HEAD) + 3))
        # Of a DATA the last octets may yet be the end.
        harness.wait_until(lambda: HEAD in rig.sessions()[0].received, "the octets")
        for session in rig.sessions():
            session.sock.shutdown(2)
        harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the loss")
        client.command("NOOP", OK)
        chunk(client, b"NOOP\r\n", want=LOST)
        chunk(client, b"NOOP\r\n", True, FAILED)
        client.command("RSET", OK)
        client.mail(ALICE, [RECIPIENT])
        chunk(client, b"x", True, QUEUED)
    judge(rig, [b"x\r\n"])


def test_backend_lost_while_the_author_is_asked_for(disposable_sandbox):
    """auth's late answer meets a message that has failed already."""
    rig = Rig(disposable_sandbox, settings=["listen.submissions.from=reject"])
    with given(rig) as client:
        harness.wait_until(lambda: rig.sessions()[0].verbs[-1] == "RCPT", "the recipient")
        chunk(client, b"Subject: x\r\n", want=accepted(12))
        os.kill(rig.box.child("auth"), signal.SIGSTOP)
        client.send(bdat(b"From: someone@example.org\r\n\r\nNOOP\r\n", True))
        rig.sessions()[0].sock.shutdown(2)
        assert client.reply().code == 451
        os.kill(rig.box.child("auth"), signal.SIGCONT)
        client.command("NOOP", OK)
    observe.settle(rig.box)
    rig.close()


@pytest.mark.row("39")
@pytest.mark.threat("E06")
@pytest.mark.parametrize("end", [Close(), Reset()], ids=["fin", "rst"])
def test_backend_lost_at_the_end(rig, end):
    rig.backend.on("body", end)
    with given(rig) as client:
        chunk(client, b"x", want=accepted(1))
        chunk(client, b"", True, LOST)
        client.command("NOOP", OK)


def early(reply):
    """Asks for the data, and gives its reply when the first of it has come."""
    def action(session, _argument):
        session.sock.sendall(b"354 Go ahead\r\n")
        session.read()
        return reply
    return action


@pytest.mark.row("96")
def test_backend_refuses_a_piece(rig):
    """Its reply is told once, the rest of the message gets 503, and no end is sent."""
    if rig.chunking:
        rig.backend.on("BDAT", "552 5.2.2 Full")
    else:
        rig.backend.on("DATA", early("552 5.2.2 Full"))
    octets = b"NOOP\r\n" * 20000
    with given(rig) as client:
        answers = [chunk(client, octets).text]
        while answers[-1] == accepted(len(octets)):
            answers.append(chunk(client, octets).text)
        assert answers[-1] == "552 5.2.2 Full"
        chunk(client, octets, False, FAILED)
        chunk(client, octets, True, FAILED)
        assert client.command(f"MAIL FROM:<{ALICE}>").text == NESTED
        client.command("RSET", OK)
        rig.backend.reset()
        client.mail(ALICE, [RECIPIENT])
        chunk(client, b"x", True, QUEUED)
    observe.settle(rig.box)
    assert [b"x\r\n"] == [without_trace(body) for session in rig.backend.mail_sessions() for body in session.complete]


@only_bdat
@pytest.mark.parametrize("reply, want", [
    ("354 go on", PROTOCOL), ("251 2.0.0 well", PROTOCOL), ("421 4.3.2 bye", "421 4.3.2 bye"), (b"rubbish\r\n", LOST),
    (b"250 2.0.0 a\r\n250 2.0.0 b\r\n", LOST), ("452 4.3.1 Full", "452 4.3.1 Full")], ids=repr)
def test_replies_to_a_piece(rig, reply, want):
    rig.backend.on("BDAT", reply)
    with given(rig) as client:
        chunk(client, b"x", want=accepted(1))
        harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the end of it")
        chunk(client, b"x", True, want)
        if want.startswith("421"):
            client.expect_end()
        else:
            client.command("NOOP", OK)
    judge(rig, [])


@only_data
@pytest.mark.parametrize("reply, want", [("451 4.3.0 not now", "451 4.3.0 not now"), ("250 2.0.0 sure", LOST),
                                         (Close(), LOST), ("421 4.3.2 bye", "421 4.3.2 bye")],
                         ids=["451", "250", "close", "421"])
def test_data_refused(rig, reply, want):
    rig.backend.on("DATA", reply)
    with given(rig) as client:
        chunk(client, b"QUIT\r\n", True, want)
        if want.startswith("421"):
            client.expect_end()
        else:
            client.mail(ALICE, [RECIPIENT])
            rig.backend.on("DATA", None)
            chunk(client, b"x", True, QUEUED)


@pytest.mark.threat("E12")
def test_backend_that_does_not_read(rig):
    """Back-pressure: memory is bounded, and nothing is answered that did not go on."""
    rig.backend.on("DATA", Stall())
    rig.backend.on("BDAT", Stall())
    before = sum(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values())
    clients = [given(rig) for _ in range(10)]
    octets = b"x" * 998 + b"\r\n"
    for client in clients:
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.send(b"".join(chunks_of(octets * 1000, range(10000, 1000000, 10000))) * 20)
    after = sum(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values())
    assert after - before < 10 * 400 * SHADOW
    assert observe.metric(rig.box, "queued_bytes") < 10 * 256 * 1024
    sessions = rig.sessions(len(clients))
    for client in clients:
        client.close()
    rig.reset()
    observe.settle(rig.box)
    assert [body for session in sessions for body in session.complete] == []


def test_early_reply_while_the_intent_is_asked(disposable_sandbox):
    """The end is never sent after a reply that came before it."""
    rig = Rig(disposable_sandbox, settings=["log.level=debug"])
    gate = threading.Event()

    def action(session, _argument):
        session.sock.sendall(b"354 Go ahead\r\n")
        gate.wait(30)
        return "554 5.0.0 early"
    for by_data in (False, True):
        gate.clear()
        rig.backend.on("DATA", action)
        with given(rig) as client:
            if by_data:
                client.command("DATA", 354)
            else:
                chunk(client, b"x", want=accepted(1))
            os.kill(rig.box.child("auth"), signal.SIGSTOP)
            client.send(b"x\r\n.\r\n" if by_data else bdat(b"", True))
            harness.wait_until(lambda: sum("to=end" in line for line in rig.box.log_lines()) == by_data + 1,
                               "the intent to be asked for")
            gate.set()
            assert client.reply().text == "554 5.0.0 early"
            os.kill(rig.box.child("auth"), signal.SIGCONT)
            client.command("NOOP", OK)
    observe.settle(rig.box)
    assert [body for session in rig.backend.mail_sessions() for body in session.complete] == []
    rig.close()


# --------------------------------------------------------------------- revocation
@pytest.mark.parametrize("middle", [True, False], ids=["within", "between"])
def test_revocation(disposable_sandbox, middle):
    """A new auth looks at all sessions again, and ends those that may not go on."""
    rig = Rig(disposable_sandbox, extensions=EXTENSIONS + CHUNKS)
    rig.chunking = True
    login = rig.account("revoked@example.test")
    with rig.box.session(user=login, password=login) as client:
        client.mail(login, [RECIPIENT])
        chunk(client, b"abc", want=accepted(3))
        if middle:
            client.send(b"BDAT 10\r\n12345")
        rig.box.ctl("account", "disable", login)
        os.kill(rig.box.child("auth"), signal.SIGKILL)
        if middle:
            harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the backend's loss")
            client.send(b"67890")
        assert client.reply().text == REVOKED
        client.expect_end()
    judge(rig, [])
    rig.close()


# --------------------------------------------------------------------- BINARYMIME
HEAD = b"Subject: x\r\n\r\n"
BINARY = HEAD + bytes(range(256)) * 300 + b"\n.\n\r.\r\0\r\n.\r\nQUIT\r\n\r"


@pytest.mark.row("99")
@only_data
def test_binary_is_not_offered(rig):
    with rig.session() as client:
        client.ehlo()
        assert "CHUNKING" in client.extensions and "BINARYMIME" not in client.extensions
        assert client.command(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME").text == "501 5.5.4 Bad value of a parameter"


@pytest.mark.row("98")
@only_bdat
def test_binary_passes_octet_for_octet(rig):
    with rig.session() as client:
        client.ehlo()
        assert "BINARYMIME" in client.extensions
        for cuts in ([], [1], [65536], range(1, len(BINARY), 997), [len(BINARY)]):
            client.mail(ALICE, [RECIPIENT], " BODY=BINARYMIME")
            pieces = chunks_of(BINARY, list(cuts))
            client.send(b"".join(pieces))
            for _ in pieces:
                client.reply(250)
        client.mail(ALICE, [RECIPIENT], " BODY=BINARYMIME")
        assert client.command("DATA").text == BY_BDAT
        chunk(client, HEAD + b"\0", True, QUEUED)
    judge(rig, [BINARY] * 5 + [HEAD + b"\0"])
    assert sum(b"BODY=BINARYMIME" in line for line in rig.commands()) == 6


@pytest.mark.row("99")
@only_bdat
def test_binary_where_the_backend_at_hand_has_it_no_more(rig):
    for lost in CHUNKS:
        rig.reset()
        rig.backend.extensions.remove(lost)
        with rig.session() as client:
            assert client.command(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME").text == (
                "554 5.6.1 The mail server behind takes no binary message at present; encode it")
            client.mail(ALICE, [RECIPIENT])
            chunk(client, b"text", True, QUEUED)


@only_bdat
def test_backend_at_hand_without_chunking_gets_data(rig):
    """CHUNKING is ours: what the backend at hand has decides the way, not what the probe saw."""
    rig.backend.extensions.remove("CHUNKING")
    with given(rig) as client:
        chunk(client, b"a\n.\n", want=accepted(4))
        chunk(client, b"b", True, QUEUED)
    [session] = rig.sessions()
    assert "DATA" in session.verbs and "BDAT" not in session.verbs
    assert [without_trace(body) for body in session.complete] == [b"a\r\n..\r\nb\r\n"]


# ------------------------------------------------------------------ real backends
@pytest.mark.parametrize("backend", ["capture", "postfix"])
def test_real_backends(make_sandbox, backend):
    """Postfix offers CHUNKING, capture does not."""
    box = make_sandbox(backend=backend)
    observe.wait_ready(box)
    dice = random.Random(7)
    contents = [b"Subject: a\r\n\r\n.\r\n..\r\nQUIT\r\n", b"Subject: b\r\n\r\nno end", b"Subject: c\n\nunix\n.\n",
                b"Subject: d\r\n\r\n" + b"".join(b"%d\r\n" % dice.randrange(10**9) for _ in range(30000))]
    with box.session() as client:
        for content in contents:
            client.mail(ALICE, [RECIPIENT])
            cuts = sorted(dice.choices(range(len(content)), k=5))
            for piece in chunks_of(content, cuts):
                client.send(piece)
                client.reply(250)
    for content in contents:
        subject = re.match(rb"Subject: \w", content)[0]
        message = harness.wait_until(
            lambda: [message for message in box.messages() if subject in message.body], subject)[0]
        assert message.body == normalised(content)
