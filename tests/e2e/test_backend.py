# SPDX-License-Identifier: ISC
"""Servers behind Postern that are broken, hostile, slow, old or away: no client is told 250 that its
message did not get, and one server's nonsense costs its own session only (threats E01 to E12)."""

import os
import signal
import threading
import time

import pytest

import harness
import observe
import rawtls
import smtp
from rig import CONTENT, RECIPIENT, Rig, plain
from scripted import Close, Reset, Stall

ALICE = "alice@example.test"
UNREACHABLE = "451 4.4.1 The mail server behind cannot be reached; try again later"
LOST = "451 4.4.2 Connection to the mail server behind was lost; try again later"
PROTOCOL = "451 4.3.0 The mail server behind gave no usable reply; try again later"
UNUSABLE = (LOST, PROTOCOL)
MAIL = f"MAIL FROM:<{ALICE}>"
RCPT = f"RCPT TO:<{RECIPIENT}>"


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=[
        "limits.connections_per_prefix=1000", "backend.default.greeting_timeout=2s", "backend.default.command_timeout=2s",
        "backend.default.data_timeout=2s", "backend.default.block_timeout=2s"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    shared.reset()
    yield shared
    shared.backend.reset()
    observe.settle(shared.box)
    # Whatever the server did: the next message finds its way.
    with shared.session() as client:
        assert client.message(ALICE, [RECIPIENT], CONTENT).code == 250


def transaction(client, content=CONTENT):
    """The replies to MAIL, RCPT, DATA and the end, as far as they are asked for; None: closed."""
    replies = []
    try:
        for line in (MAIL, RCPT, "DATA"):
            replies.append(client.command(line).text)
            if replies[-1][0] not in "23":
                return replies
        client.send(smtp.transparent(content))
        replies.append(client.reply().text)
    except (smtp.Closed, BrokenPipeError):
        replies.append(None)
    return replies


def nothing_accepted(rig, replies):
    assert not any(reply and reply.startswith("250") for reply in replies[3:])
    assert observe.metric(rig.box, "messages_unknown_total") >= 0
    assert sum(len(session.complete) for session in rig.backend.mail_sessions()) == 0


# ------------------------------------------------------ replies of all honest kinds
@pytest.mark.row("37")
@pytest.mark.threat("E01")
@pytest.mark.parametrize("lines", [2, 100])
def test_replies_of_many_lines_anywhere(rig, lines):
    """E01: one logical reply each; the client gets all of it."""
    def many(code, text):
        return "\n".join([f"{code}-{text} {number}" for number in range(1, lines)] + [f"{code} {text} {lines}"])
    for step, code, text in (("connect", 220, "scripted.test"), ("MAIL", 250, "2.1.0 Ok"), ("RCPT", 250, "2.1.5 Ok"),
                             ("DATA", 354, "Go"), ("body", 250, "2.0.0 Ok"), ("RSET", 250, "2.0.0 Ok"), ("QUIT", 221, "2.0.0 Bye")):
        rig.backend.on(step, many(code, text))
    with rig.session() as client:
        for _ in range(2):
            replies = transaction(client)
            assert replies[0] == many(250, "2.1.0 Ok") and replies[1] == many(250, "2.1.5 Ok")
            assert replies[2] == "354 End data with <CR><LF>.<CR><LF>"
            assert replies[3] == many(250, "2.0.0 Ok")
        client.command(MAIL, 250)
        client.command("RSET", 250)
        client.command(MAIL, 250)


PASSED = [
    ("MAIL", "452 4.3.1 Full"), ("MAIL", "550 5.7.1 Not you"), ("MAIL", "259 Odd but fine"), ("RCPT", "550-5.1.1 First\n550 5.1.1 Last"),
    ("RCPT", "499 Odd"), ("RCPT", "251 2.1.5 Will forward"), ("DATA", "451 4.3.0 Not now"), ("DATA", "599 Never"),
    ("body", "554 5.7.1 Spam"), ("body", "452 4.3.1 Full"), ("body", "250 2.6.0 <id@host> Queued"),
]


@pytest.mark.row("38", "108")
@pytest.mark.threat("E11")
@pytest.mark.parametrize("step, reply", PASSED)
def test_the_reply_is_the_clients(rig, step, reply):
    """Code and text; an enhanced code is added where there is none (RFC 2034)."""
    rig.backend.on(step, reply)
    with rig.session() as client:
        got = transaction(client)[{"MAIL": 0, "RCPT": 1, "DATA": 2, "body": 3}[step]]
        words = reply.split(" ")
        want = reply if words[0][3:] or "." in words[1] else f"{words[0]} {words[0][0]}.0.0 {' '.join(words[1:])}"
        assert got == want


@pytest.mark.threat("E11")
def test_text_of_a_backend_cannot_break_the_dialogue(rig):
    """Control characters and what is above ASCII do not reach the client as they are."""
    rig.backend.on("RCPT", b"550 5.1.1 a\x1b[2Jb\x07c\xff\xfe\xc3\xa9 end\r\n")
    with rig.session() as client:
        client.command(MAIL, 250)
        answer = client.command(RCPT, 550)
        assert all(32 <= octet < 127 for octet in answer.raw[:-2]) and answer.raw.endswith(b" end\r\n")


@pytest.mark.row("26")
def test_lines_of_replies_are_cut_to_what_clients_take(rig):
    rig.backend.on("RCPT", "550 5.1.1 " + "x" * 1500)
    with rig.session() as client:
        client.command(MAIL, 250)
        answer = client.command(RCPT, 550)
        assert all(len(line) + 2 <= 512 for line in answer.raw.split(b"\r\n"))


# ------------------------------------------------------------------ malformed replies
MALFORMED = [b"\r\n", b"2\r\n", b"25\r\n", b"2x0 a\r\n", b"999 a\r\n", b"250_a\r\n", b"250\0a\r\n", b"-250 a\r\n", b"250-a\r\n251 b\r\n",
             b"250 a\n", b"250-a\n250 b\r\n", b"150 a\r\n", b"650 a\r\n", b"050 a\r\n", b" 250 a\r\n", b"\xff\xfe\xfd\r\n", b"250 a\rb\r\n",
             b"250-a\r\n\r\n250 b\r\n", b"HTTP/1.1 400 Bad Request\r\n"]
STEPS = ["MAIL", "RCPT", "DATA", "body"]


@pytest.mark.threat("E03")
@pytest.mark.parametrize("step", STEPS)
def test_malformed_replies(rig, step):
    """E03: one 4xx for the client, the server's connection is dropped, nothing is read out of bounds."""
    at = STEPS.index(step)
    for octets in MALFORMED:
        rig.backend.reset()
        rig.backend.on(step, octets)
        with rig.session() as client:
            replies = transaction(client)
            assert len(replies) == at + 1 and replies[at] in UNUSABLE, (octets, replies)
            if step != "body":
                nothing_accepted(rig, replies)
            client.command("NOOP", 250)


@pytest.mark.threat("E10")
@pytest.mark.parametrize("octets", [b"\r\n", b"2\r\n", b"250 wrong code\r\n", b"554 5.3.2 Go away\r\n", b"421 4.3.2 Busy\r\n", b"220-a\r\n221 b\r\n",
                                    b"220 a\n", b"garbage\r\n", b"354 Go\r\n"], ids=repr)
def test_greetings_that_are_none(rig, octets):
    """E10."""
    rig.backend.on("connect", octets)
    with rig.session() as client:
        assert client.command(MAIL).text == UNREACHABLE
        client.command("NOOP", 250)


@pytest.mark.threat("E02")
@pytest.mark.parametrize("step", ["connect", "EHLO", *STEPS])
@pytest.mark.parametrize("endless", ["lines", "line"])
def test_endless_replies_are_cut_off(rig, step, endless):
    """E02."""
    def pour(session, _argument):
        octets = b"250-more and more\r\n" * 100 if endless == "lines" else b"250-" + b"x" * 8192
        for _ in range(20000):
            session.sock.sendall(octets)
    rig.backend.on(step, pour)
    before = max(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values())
    with rig.session() as client:
        replies = transaction(client)
        assert replies[-1] in (*UNUSABLE, UNREACHABLE), replies
    assert max(observe.pss_kib(pid) for pid in observe.proxies(rig.box).values()) < before + 2048


@pytest.mark.threat("E05")
@pytest.mark.parametrize("step, reply", [("MAIL", "354 Go"), ("RCPT", "354 Go"), ("MAIL", "334 VXNlcm5hbWU6"), ("DATA", "250 2.0.0 Ok"),
                                         ("DATA", "220 Ready"), ("DATA", "334 More"), ("body", "354 Go on")])
def test_wrong_class(rig, step, reply):
    """E05: a body is never streamed to who did not ask for it."""
    rig.backend.on(step, reply)
    with rig.session() as client:
        replies = transaction(client)
        assert replies[-1] in UNUSABLE and len(replies) == STEPS.index(step) + 1, replies
        if step != "body":
            nothing_accepted(rig, replies)
            assert not any(b"Subject" in session.received for session in rig.backend.mail_sessions())


# ------------------------------------------------------------- replies nobody asked for
@pytest.mark.threat("E04")
@pytest.mark.parametrize("step", STEPS)
def test_two_replies_to_one_command(rig, step):
    """E04: the second belongs to nothing, and never to the next command or the next client."""
    usual = rig.backend.usual(step)
    rig.backend.on(step, [f"{usual}\r\n550 5.9.9 STRAY\r\n".encode(), None])
    with rig.session() as client:
        replies = transaction(client)
        if step == "body":
            assert replies[3].startswith("250"), "the first is the answer"
        elif step == "DATA" and replies[2].startswith("354"):
            assert replies[3] == "550 5.9.9 STRAY" or replies[3] in UNUSABLE, "a refusal before the message's end"
        else:
            assert replies[-1] in UNUSABLE, replies
        assert step == "DATA" or not any("STRAY" in reply for reply in replies)
        for _ in range(2):
            client.command("RSET", 250)
            assert [reply[:3] for reply in transaction(client)] == ["250", "250", "354", "250"]
    assert sum(len(session.complete) for session in rig.backend.mail_sessions()) == (3 if step == "body" else 2)


@pytest.mark.threat("E04")
def test_unasked_reply_at_rest_ends_that_connection(rig):
    rig.backend.on("RSET", b"250 2.0.0 Ok\r\n250 2.0.0 STRAY\r\n")
    with rig.session() as client:
        client.command(MAIL, 250)
        client.command("RSET", 250)
        for _ in range(2):
            assert [reply[:3] for reply in transaction(client)] == ["250", "250", "354", "250"]
    assert len(rig.backend.mail_sessions()) == 2


@pytest.mark.threat("E07")
def test_early_refusal_in_mid_body(rig):
    """E07: the client is read to its end of data, and then told."""
    def refuse(session, _argument):
        session.sock.sendall(b"354 Go\r\n")
        while b"enough" not in session.received:
            session.read()
        session.sock.sendall(b"552 5.3.4 Enough of it\r\n")
        session.backend.released.wait(20)
        return Close()
    rig.backend.on("DATA", refuse)
    change = observe.Change(rig.box)
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT])
        client.command("DATA", 354)
        client.send(b"enough\r\n")
        harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the end of that connection")
        client.send((b"x" * 998 + b"\r\n") * 2000 + b".\r\n")
        assert client.reply().text == "552 5.3.4 Enough of it"
        rig.backend.on("DATA", None)
        assert transaction(client)[3].startswith("250")
    assert change("takes_returned_total") == 1


@pytest.mark.threat("E07")
def test_early_refusal_while_the_end_of_data_waits_for_auth(rig):
    """The whole body is there, auth has not written the intent yet, and the backend refuses meanwhile."""
    ended = threading.Event()

    def refuse(session, _argument):
        session.sock.sendall(b"354 Go\r\n")
        ended.wait(20)
        session.sock.sendall(b"552 5.3.4 Enough of it\r\n")
        session.backend.released.wait(20)
        return Close()
    rig.backend.on("DATA", refuse)
    auth = rig.box.child("auth")
    known = len(rig.box.log_lines())
    change = observe.Change(rig.box)
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT])
        client.command("DATA", 354)
        os.kill(auth, signal.SIGSTOP)
        try:
            client.send(b"enough\r\n.\r\n")
            harness.wait_until(lambda: any("from=body to=end" in line for line in rig.box.log_lines()[known:]), "the end of data")
            ended.set()
            harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the end of that connection", timeout=2)
        finally:
            os.kill(auth, signal.SIGCONT)
        assert client.reply().text == "552 5.3.4 Enough of it"
        client.command("NOOP", 250)
    assert change("process_restarts_total") == 0
    harness.wait_until(lambda: change("takes_returned_total") == 1, "the take's return")


@pytest.mark.row("39")
@pytest.mark.threat("E04", "E07")
def test_early_acceptance_is_none(rig):
    """A 250 before the end of data says nothing of a message that was not ended."""
    def accept(session, _argument):
        session.sock.sendall(b"354 Go\r\n")
        while b"hello" not in session.received:
            session.read()
        session.sock.sendall(b"250 2.0.0 Ok\r\n")
        session.backend.released.wait(20)
        return Close()
    rig.backend.on("DATA", accept)
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT])
        client.command("DATA", 354)
        client.send(b"hello\r\n")
        harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the end of that connection")
        client.send(b".\r\n")
        assert client.reply().text == PROTOCOL


# --------------------------------------------------------------------------- endings
@pytest.mark.row("39")
@pytest.mark.threat("E06")
@pytest.mark.parametrize("how", [Close, Reset], ids=["close", "reset"])
@pytest.mark.parametrize("step", ["connect", "EHLO", *STEPS])
def test_connection_lost_at_any_step(rig, step, how):
    """E06: 451; after the end of data 4.4.2, and never a second try."""
    rig.backend.on(step, how())
    with rig.session() as client:
        replies = transaction(client)
        assert replies[-1] == (UNREACHABLE if step in ("connect", "EHLO") else LOST), replies
        client.command("NOOP", 250)
    complete = sum(len(session.complete) for session in rig.backend.mail_sessions())
    assert complete == (1 if step == "body" else 0)
    if step == "body":
        assert len(rig.backend.mail_sessions()) == 1


@pytest.mark.row("33")
@pytest.mark.threat("E06")
@pytest.mark.parametrize("step", STEPS)
def test_421_is_passed_on_and_ends_the_session(rig, step):
    rig.backend.on(step, "421 4.3.2 Going down")
    with rig.session() as client:
        replies = transaction(client)
        assert replies[-1] == "421 4.3.2 Going down"
        client.expect_end()


@pytest.mark.threat("E06")
@pytest.mark.parametrize("how", ["421", "close"])
def test_lost_between_commands(rig, how):
    """The server goes while nothing is owed: RCPT is told, and a new MAIL finds a new connection."""
    with rig.session() as client:
        client.command(MAIL, 250)
        [session] = rig.sessions()
        if how == "421":
            session.sock.sendall(b"421 4.4.2 Idle for too long\r\n")
        else:
            session.sock.shutdown(2)
        harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the loss")
        assert client.command(RCPT).text == LOST
        assert client.command("DATA").code in (503, 451)
        client.command("RSET", 250)
        assert transaction(client)[3].startswith("250")


@pytest.mark.threat("E06")
@pytest.mark.parametrize("how", [Close, Reset], ids=["close", "reset"])
def test_connection_that_ended_while_idle_is_replaced(rig, how):
    """No transaction is open there: the next MAIL does not learn of it, whether or not the loop has yet."""
    rig.backend.on("body", lambda session, _argument: session.sock.sendall(b"250 2.0.0 Ok\r\n") or how())
    with rig.session() as client:
        for number in range(20):
            client.send("\r\n".join([MAIL, RCPT, "DATA", ""]))
            assert [client.reply().code for _ in range(3)] == [250, 250, 354]
            client.send(smtp.transparent(CONTENT))
            client.reply(250)
            assert rig.sessions(number + 1)[number].ended.wait(10)
    assert [len(session.complete) for session in rig.sessions(20)] == [1] * 20


def second_mail(action):
    """MAIL meets the action where the connection has had one before."""
    return lambda session, _argument: action if session.verbs.count("MAIL") > 1 else None


@pytest.mark.threat("E06")
@pytest.mark.parametrize("how", [Close, Reset], ids=["close", "reset"])
def test_mail_on_a_connection_that_was_given_up_meanwhile_is_sent_anew(rig, how):
    """It rested and ends instead of a reply, as behind a firewall that forgot it: once more, on a new one."""
    rig.backend.on("MAIL", second_mail(how()))
    with rig.session() as client:
        for _ in range(4):
            assert transaction(client)[3].startswith("250")
    sessions = rig.sessions(4)
    assert [session.verbs.count("MAIL") for session in sessions] == [2, 2, 2, 1]
    assert [len(session.complete) for session in sessions] == [1, 1, 1, 1]


@pytest.mark.threat("E06")
def test_mail_is_sent_anew_once_and_only_where_nothing_was_said(rig):
    """The new connection fails too; half a reply came; the server is silent for too long."""
    with rig.session() as client:
        assert transaction(client)[3].startswith("250")
        rig.backend.on("MAIL", Close())
        assert client.command(MAIL).text == LOST
        assert len(rig.backend.mail_sessions()) == 2
    for action in (lambda session, _argument: session.sock.sendall(b"250 2.1") or Close(), Stall(), b"nonsense\r\n"):
        rig.backend.reset()
        with rig.session() as client:
            assert transaction(client)[3].startswith("250")
            rig.backend.on("MAIL", action)
            assert client.command(MAIL).text in UNUSABLE
            assert len(rig.backend.mail_sessions()) == 1
            rig.backend.on("MAIL", None)
            assert transaction(client)[3].startswith("250")


@pytest.mark.threat("E06")
def test_mail_is_not_sent_anew_where_more_was_sent_behind_it(rig):
    """RCPT, which the server may have had as well: all of them are told."""
    def gone(session, _argument):
        while session.verbs.count("MAIL") > 1 and b"RCPT" not in session.pending:
            session.read()
        return Close() if session.verbs.count("MAIL") > 1 else None
    rig.backend.on("MAIL", gone)
    with rig.session() as client:
        assert transaction(client)[3].startswith("250")
        client.send("\r\n".join([MAIL, RCPT, ""]))
        assert [client.reply().text for _ in range(2)] == [LOST, LOST]
        assert len(rig.backend.mail_sessions()) == 1
        assert transaction(client)[3].startswith("250")


@pytest.mark.row("91")
@pytest.mark.threat("E06")
def test_pipelined_commands_are_all_answered_when_the_server_goes(rig):
    rig.backend.on("RCPT", [None, Close()])
    with rig.session() as client:
        client.send("\r\n".join([MAIL, *[RCPT] * 5, "DATA", "NOOP", ""]))
        codes = [client.reply().code for _ in range(8)]
        assert codes[0] == 250 and codes[-1] in (250, 554), codes
        assert set(codes[2:7]) <= {451, 503}, codes


# -------------------------------------------------------------------------- slowness
@pytest.mark.row("32")
@pytest.mark.threat("E02")
def test_stalled_server_meets_its_deadline_at_every_step(rig):
    """All at once: two seconds each here."""
    steps = ["connect", "EHLO", *STEPS[:3]]
    for step in steps:
        rig.backend.on(step, lambda session, argument, step=step: Stall() if wanted(session, step) else None)
    clients = {}
    begin = time.monotonic()
    order = []

    def wanted(session, step):
        """Each connection stalls at the step that its number says."""
        if session not in order:
            order.append(session)
        return steps[order.index(session) % len(steps)] == step
    for number, step in enumerate(steps):
        client = clients[step] = rig.session()
        client.send("\r\n".join([MAIL, RCPT, "DATA", ""]))
        harness.wait_until(lambda count=number: len(order) > count, "its connection")
    for step, client in clients.items():
        with client:
            answer = client.reply()
            while answer.code == 250:
                answer = client.reply()
            assert answer.text == (UNREACHABLE if step in ("connect", "EHLO") else LOST), step
    assert 1.5 < time.monotonic() - begin < 12


@pytest.mark.row("32")
@pytest.mark.threat("E12")
def test_server_that_stops_reading_meets_its_deadline(rig):
    """E12: the client is not read further than the bound, then told, once it is through."""
    def stop(session, _argument):
        session.sock.sendall(b"354 Go\r\n")
        session.backend.released.wait(30)
        return Close()
    rig.backend.on("DATA", stop)
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT])
        client.command("DATA", 354)
        client.send((b"x" * 998 + b"\r\n") * 12000 + b".\r\n")
        assert client.reply().text == LOST


@pytest.mark.row("32")
@pytest.mark.threat("E08")
def test_slow_answer_to_the_end_of_data_is_waited_for(rig):
    """E08: longer than all other deadlines here."""
    rig.backend.on("body", lambda session, argument: session.backend.released.wait(3) or None)
    with rig.session() as client:
        begin = time.monotonic()
        assert transaction(client)[3].startswith("250")
        assert time.monotonic() - begin > 2.5


# ------------------------------------------------------------------ when it connects
@pytest.mark.row("40")
def test_nothing_connects_before_mail(rig):
    """The backend's log shows the probe, and no connection that an unauthenticated client caused."""
    before = len(rig.backend.sessions)
    change = observe.Change(rig.box)
    with rig.box.connect("submission") as client:
        client.ehlo()
        for line in (MAIL, RCPT, "DATA", "AUTH PLAIN AGEAYQ==", "VRFY x", "RSET"):
            client.command(line)
        client.starttls()
        client.ehlo()
        for line in (MAIL, RCPT, "DATA", "RSET"):
            client.command(line)
        client.login(ALICE, "wrong", want=535)
        client.command(MAIL, 530)
        client.login(ALICE, rig.box.password)
        for line in ("NOOP", "RSET", RCPT, "DATA", "VRFY x", "MAIL FROM:<ceo@example.org>", "MAIL FROM:<bad>"):
            client.command(line)
        assert len(rig.backend.sessions) == before and change("backend_connects_total") == 0
        client.command(MAIL, 250)
        assert len(rig.backend.sessions) == before + 1 and change("backend_connects_total") == 1


def test_source_address_is_bound_and_the_name_is_ours(rig):
    with rig.session() as client:
        client.command("EHLO liar.example.org", 250)
        transaction(client)
    [session] = rig.sessions()
    assert session.source == "127.0.0.2"
    assert session.commands[0] == b"EHLO submit.example.test"
    assert b"liar" not in session.received


@pytest.mark.threat("E04")
def test_connection_serves_one_client_only(rig):
    with rig.session() as one, rig.session() as two:
        for _ in range(3):
            for client in (one, two):
                assert transaction(client)[3].startswith("250")
    assert [len(session.complete) for session in rig.sessions(2)] == [3, 3]
    for session in rig.sessions(2):
        assert session.ended.wait(10) and session.verbs[-1] == "QUIT", "and ends with QUIT"


@pytest.mark.row("47")
@pytest.mark.threat("E09")
def test_helo_only_server(rig):
    """An old appliance: HELO, no extension, and no parameter of one."""
    rig.backend.on("EHLO", "502 5.5.1 Unknown")
    with rig.session() as client:
        client.command(f"{MAIL} SIZE=100", 250)
        client.command(RCPT, 250)
        client.command("DATA", 354)
        client.send(smtp.transparent(CONTENT))
        client.reply(250)
        assert client.command(f"{MAIL} BODY=8BITMIME").code == 554
    [session] = rig.sessions()
    assert session.commands[:3] == [b"EHLO submit.example.test", b"HELO submit.example.test", MAIL.encode()]
    assert plain(session.complete[0]) == CONTENT


@pytest.mark.row("47")
@pytest.mark.threat("E09")
def test_server_without_pipelining_gets_one_command_at_a_time(rig):
    rig.backend.extensions = ["SIZE 100000"]
    waiting = []

    def alone(session, _argument):
        waiting.append(session.pending)
    for step in ("MAIL", "RCPT", "DATA"):
        rig.backend.on(step, alone)
    with rig.session() as client:
        for _ in range(3):
            client.send("\r\n".join([MAIL, RCPT, RCPT, RCPT, "DATA", ""]))
            assert [client.reply().code for _ in range(5)] == [250] * 4 + [354]
            client.send(smtp.transparent(CONTENT) + b"NOOP\r\n")
            assert [client.reply().code for _ in range(2)] == [250, 250]
    assert len(waiting) == 15 and set(waiting) == {b""}


def test_pipelining_server_gets_them_together(rig):
    """RCPT and DATA travel before MAIL's answer is there."""
    def slow(session, _argument):
        while b"DATA\r\n" not in session.received:
            session.read()
    rig.backend.on("MAIL", slow)
    with rig.session() as client:
        client.send("\r\n".join([MAIL, RCPT, "DATA", ""]))
        assert [client.reply().code for _ in range(3)] == [250, 250, 354]
        client.send(smtp.transparent(CONTENT))
        client.reply(250)


# ----------------------------------------------------------------------- two servers
@pytest.fixture(scope="module")
def shared_pair(make_sandbox):
    rig = Rig(make_sandbox, servers=2, settings=["probe.interval=1s", "backend.default.greeting_timeout=2s"])
    yield rig
    rig.close()


@pytest.fixture
def pair(shared_pair):
    rig = shared_pair.reset()
    harness.wait_until(lambda: observe.metric(rig.box, "backend_servers_up") == 2, "both servers up", timeout=10)
    return rig


def used(pair):
    return [len(backend.mail_sessions()) for backend in pair.backends]


@pytest.mark.threat("E10")
@pytest.mark.parametrize("action", [Close(), Reset(), "554 5.3.2 No", "421 4.3.2 Busy", b"rubbish\r\n"], ids=["close", "reset", "554", "421", "rubbish"])
@pytest.mark.parametrize("step", ["connect", "EHLO"])
def test_the_next_server_is_tried_before_anything_was_said(pair, step, action):
    if (step, action) == ("EHLO", "554 5.3.2 No"):
        pair.backend.on("HELO", action)
    pair.backend.on(step, action)
    with pair.session() as client:
        assert transaction(client)[3].startswith("250")
    assert used(pair) == [0, 1]


def test_first_server_is_preferred_and_comes_back(pair):
    with pair.session() as client:
        transaction(client)
    assert used(pair) == [1, 0]
    pair.backend.on("connect", "554 5.3.2 No")
    harness.wait_until(lambda: observe.metric(pair.box, "backend_servers_up") == 1, "the probe's word", timeout=10)
    tried = len(pair.backend.sessions)
    with pair.session() as client:
        transaction(client)
    assert used(pair) == [1, 1]
    assert len(pair.backend.sessions) <= tried + 1, "the one that is known to be away is not tried first"
    pair.backend.on("connect", None)
    harness.wait_until(lambda: observe.metric(pair.box, "backend_servers_up") == 2, "the probe's word", timeout=10)
    with pair.session() as client:
        transaction(client)
    assert used(pair) == [2, 1]


@pytest.mark.threat("E06")
def test_no_second_server_once_mail_was_said(pair):
    """What the first was told might have had an effect."""
    pair.backend.on("MAIL", Close())
    with pair.session() as client:
        assert transaction(client) == [LOST]
    assert used(pair) == [1, 0]


@pytest.mark.row("105")
@pytest.mark.threat("E09")
def test_offer_is_what_both_have(pair):
    pair.backends[1].extensions = ["SIZE 5000", "8BITMIME"]

    def offered():
        with pair.box.secured() as client:
            return client.extensions
    harness.wait_until(lambda: offered().get("SIZE") == "5000", "the smaller size", timeout=10)
    harness.wait_until(lambda: "DSN" not in offered() and "8BITMIME" in offered(), "the smaller offer", timeout=10)
