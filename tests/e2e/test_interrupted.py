# SPDX-License-Identifier: ISC
"""Backends and clients that break off, or refuse, at moments that random sessions (tests/model) found.

Each of these once left a client without an answer, or with the wrong one.
"""

import contextlib
import fcntl
import os
import signal
import socket
import sys
import termios

import pytest

import harness
import observe
import rawtls
from rig import RECIPIENT, Rig
from smtp import transparent

LOST = "451 4.4.2 Connection to the mail server behind was lost; try again later"
AUTHOR = b"From: <other@example.test>\r\n\r\nhello\r\n"  # an address that auth must be asked about
FOREIGN = b"From: <other@example.net>\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=["listen.submissions.from=reject"])
    rig.box.ctl("sender", "add", rig.box.user, "@example.test")
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


def unacknowledged(sock):
    """Octets that the peer's kernel has not got yet."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def stop(pid):
    """Returns when it stands: a signal takes its time on its way to another processor."""
    os.kill(pid, signal.SIGSTOP)

    def stands():
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    harness.wait_until(stands, "its stop")


@contextlib.contextmanager
def auth_silent(rig):
    """auth answers nothing meanwhile."""
    pid = rig.box.child("auth")
    stop(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def begin(rig, client):
    client.mail(rig.box.user, [RECIPIENT])
    client.command("DATA", 354)
    return rig.sessions()[-1]


def test_refused_rset_answers_what_waits_behind_it(rig):
    rig.backend.on("RSET", "500 5.5.2 no")
    with rig.session() as client:
        client.command(f"MAIL FROM:<{rig.box.user}>", 250)
        client.send(f"RSET\r\nRCPT TO:<{RECIPIENT}>\r\nRCPT TO:<{RECIPIENT}>\r\nNOOP\r\n")
        for want in ("250 2.0.0 OK", "503 5.5.1 Send MAIL first", "503 5.5.1 Send MAIL first", "250 2.0.0 OK"):
            client.reply(want)
        rig.backend.on("RSET", None)
        client.message(rig.box.user, [RECIPIENT], b"From: <%s>\r\n\r\n" % rig.box.user.encode())


def test_mail_answered_354_leaves_no_sender_behind(rig):
    rig.backend.on("MAIL", ["354 go ahead", None])
    with rig.session() as client:
        client.command(f"MAIL FROM:<{rig.box.user}>",
                       "451 4.3.0 The mail server behind gave no usable reply; try again later")
        client.command(f"MAIL FROM:<{rig.box.user}>", 250)


@pytest.mark.parametrize("author, want, count", [(AUTHOR, 250, 1), (FOREIGN, 550, 0)])
def test_half_close_while_the_author_is_asked(rig, author, want, count):
    with rawtls.session(rig.box) as client:
        there = begin(rig, client)
        with auth_silent(rig):
            client.send(transparent(author))
            client.sock.close_notify()
        client.reply(want)
        client.expect_end()
    assert len(there.complete) == count


def switches(pid):
    """How often a process went to sleep by itself."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches:"))


def test_end_of_the_client_that_is_read_with_the_answer_about_the_author(rig):
    """Both are there in one turn of the loop, and the rest of the message is not looked at yet."""
    auth, proxies = rig.box.child("auth"), list(observe.proxies(rig.box).values())
    rest = b"\r\nhello\r\n" * 100 + b".\r\n"
    with rawtls.session(rig.box) as client:
        there = begin(rig, client)
        with auth_silent(rig):
            client.send(b"From: <other@example.test>\r\nTo: x\r\n")
            client.send(rest)
            harness.wait_until(lambda: observe.metric(rig.box, "queued_bytes") > len(rest) // 2, "the rest, held back",
                               timeout=2.5)
            for pid in proxies:
                stop(pid)
            slept = switches(auth)
        try:
            harness.wait_until(lambda: switches(auth) > slept, "auth's answer")
            client.sock.close_notify()
        finally:
            for pid in proxies:
                os.kill(pid, signal.SIGCONT)
        client.reply(250)
        client.expect_end()
    assert len(there.complete) == 1


@pytest.mark.threat("E04", "E06")
@pytest.mark.parametrize("last_words", [b"", b"250 2.0.0 STRAY\r\n", b"421 4.4.2 Idle for too long\r\n"], ids=["end", "250", "421"])
def test_connection_that_speaks_or_ends_in_the_turn_of_the_next_mail_gets_none(rig, last_words):
    """It was there before MAIL was sent: no reply to it, though the loop comes to it afterwards."""
    auth, proxies = rig.box.child("auth"), list(observe.proxies(rig.box).values())
    with rig.session() as client:
        client.message(rig.box.user, [RECIPIENT], AUTHOR)
        there, known = rig.sessions()[-1], len(rig.box.log_lines())
        with auth_silent(rig):
            client.send(f"MAIL FROM:<{rig.box.user}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n")
            harness.wait_until(lambda: any("from=command to=mail" in line for line in rig.box.log_lines()[known:]), "MAIL",
                               timeout=2.5)
            for pid in proxies:
                stop(pid)
            slept = switches(auth)
        try:
            harness.wait_until(lambda: switches(auth) > slept, "auth's answer")
            there.sock.sendall(last_words)
            if not last_words:
                there.sock.shutdown(socket.SHUT_WR)
            harness.wait_until(lambda: unacknowledged(there.sock) == 0, "its arrival")
        finally:
            for pid in proxies:
                os.kill(pid, signal.SIGCONT)
        for want in ("250 2.1.0 Ok", "250 2.1.5 Ok", 354):
            client.reply(want)
        client.send(transparent(AUTHOR))
        client.reply(250)
    assert [session.verbs.count("MAIL") for session in rig.sessions(2)] == [1, 1]


@pytest.mark.parametrize("last_words, want", [(b"", LOST), (b"552 5.2.2 full\r\n", "552 5.2.2 full"),
                                              (b"250 2.0.0 taken\r\n", 451)])
def test_backend_breaks_off_while_the_author_is_asked(rig, last_words, want):
    with rig.session() as client:
        there = begin(rig, client)
        with auth_silent(rig):
            client.send(transparent(AUTHOR))
            there.sock.sendall(last_words)
            there.sock.shutdown(socket.SHUT_RDWR)
            client.reply(want)
        client.command("NOOP", 250)
    assert there.complete == []



def test_author_is_unknown_while_auth_is_silent(rig):
    with rig.session() as client:
        there = begin(rig, client)
        with auth_silent(rig):
            client.send(transparent(AUTHOR))
            client.reply("451 4.3.0 Cannot check the account's limits at present; try again later")
        client.command("NOOP", 250)
    assert there.complete == []
    ends = [line for line in rig.box.log_lines() if " transaction " in line]
    assert 'reason="policy unavailable"' in ends[-1]  # not the intent, which would have been next


def test_refusals_between_chunks_keep_their_place(rig):
    """The backend's reply to a piece is nobody's, and holds nothing back."""
    rig.backend.extensions = [*rig.backend.extensions, "CHUNKING"]
    author = f"From: <{rig.box.user}>\r\n\r\n".encode()
    chunks = b"BDAT %d\r\n%sRCPT TO:<%s>\r\nBDAT 1\r\nxDATA\r\nBDAT 2 LAST\r\n\r\n" % (
        len(author), author, RECIPIENT.encode())
    with rig.session() as client:
        for _ in range(20):  # a piece's reply must be on its way when the refusal is due
            client.mail(rig.box.user, [RECIPIENT])
            client.send(chunks)
            for want in (250, "503 5.5.1 A message in chunks is under way; send RSET to start anew", 250,
                         "503 5.5.1 A message in chunks is under way; send RSET to start anew", 250):
                client.reply(want)


@pytest.mark.parametrize("line", [b"BDAT 5\rLAST", b"BDAT " + b"5" * 5000, b"BDAT x"])
def test_bdat_that_ends_the_session_waits_for_its_turn(rig, line):
    with rig.session() as client:
        client.send(b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n%s\r\nQUIT\r\n" % (
            rig.box.user.encode(), RECIPIENT.encode(), line))
        assert [client.reply().code for _ in range(2)] == [250, 250]
        assert client.reply().code in (500, 501)
        client.expect_end()


def test_reply_by_itself_while_the_connection_rests_ends_it(rig):
    message = f"From: <{rig.box.user}>\r\n\r\n".encode()
    with rig.session() as client:
        client.message(rig.box.user, [RECIPIENT], message)
        there = rig.sessions()[-1]
        there.sock.sendall(b"250 2.0.0 nobody asked\r\n")
        harness.wait_until(there.ended.is_set, "the connection's end", timeout=5)
        client.message(rig.box.user, [RECIPIENT], message)
    assert len(rig.sessions(2)) == 2
