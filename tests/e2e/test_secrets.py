# SPDX-License-Identifier: ISC
"""What is left of a secret in the memory of any process, however its log-in ended: nothing.

The marker is 32 random characters.  Searched for are its halves, as they are and in base64 at each of the
three alignments at which they may have come: what a buffer has kept of its tail is found, too.
"""

import base64
import contextlib
import math
import os
import re
import secrets
import signal

import pytest

import harness
import observe
import rawtls
import smtp
from rig import CONTENT, RECIPIENT
from test_auth import b64, plain, stored

PORTS = ("submissions", "submission")
MECHANISMS = ("PLAIN", "LOGIN")
FORM = re.compile(r"pst_[a-z2-7]{12}_([a-z2-7]{32})")


@pytest.fixture(scope="module")
def box(make_sandbox):
    """Nobody else logs in here, and one process does all the hashing."""
    return make_sandbox(settings=["password.processes=1", "limits.errors=1000", "limits.connections_per_prefix=1000",
                                  "limits.unauthenticated_per_prefix=1000"])


# ---------------------------------------------------------------------- the search
def encoded(piece, offset):
    """What of its base64 depends on the piece alone, when it begins at an octet of that offset modulo 3."""
    text = base64.b64encode(b"\0" * offset + piece)
    return text[math.ceil(offset * 8 / 6):(offset + len(piece)) * 8 // 6]


def needles(marker):
    found = []
    for piece in (marker[:len(marker) // 2].encode(), marker[len(marker) // 2:].encode()):
        found += [piece, *(encoded(piece, offset) for offset in range(3))]
    return found


def holders(box, marker):
    """Title -> what of the marker is in the memory of that process."""
    wanted = needles(marker)
    held = {title: observe.memory_holds(pid, wanted) for title, pid in observe.processes(box).items()}
    return {title: there for title, there in held.items() if there}


def nothing_is_left(box, marker):
    """In no process; the hash of a client that left runs to its end before."""
    titles = observe.processes(box)
    assert {"master", "auth", "hash 0", "proxy 0", "proxy 1"} <= set(titles), titles
    left = {}

    def gone():
        left.clear()
        left.update(holders(box, marker))
        return not left
    try:
        harness.wait_until(gone, "an end of the secret", timeout=15)
    except AssertionError:
        raise AssertionError(f"a secret stays in memory: {left}") from None


def new_marker():
    return secrets.token_hex(16)


@pytest.fixture
def marker(box):
    """A password that must not stay anywhere; looked for when the test is through."""
    password = new_marker()
    yield password
    observe.settle(box)
    nothing_is_left(box, password)


@contextlib.contextmanager
def stopped_hash(box):
    pid = box.child("hash 0")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def send_secret(client, login, password, mechanism, end="\r\n"):
    """All of a log-in but its answer."""
    if mechanism == "PLAIN":
        client.send(f"AUTH PLAIN {plain(login, password)}{end}")
        return
    client.command("AUTH LOGIN", 334)
    client.command(b64(login), 334)
    client.send(f"{b64(password)}{end}")


def test_needles_are_what_base64_makes_of_the_marker():
    password = new_marker()
    for offset in range(6):
        text = base64.b64encode(b"x" * offset + password.encode() + b"yz")
        assert sum(needle in text for needle in needles(password)) >= 2, offset


@pytest.mark.threat("C28")
def test_search_finds_a_secret_in_flight(box, marker):
    """The test of the test: while its hash waits, auth has the password, and who has it is found."""
    box.add_account("flight@example.test", marker)
    with box.secured() as client:
        with stopped_hash(box):
            send_secret(client, "flight@example.test", marker, "PLAIN")
            harness.wait_until(lambda: "auth" in holders(box, marker), "the secret in auth", timeout=10)
        client.reply(235)
        nothing_is_left(box, marker)


# ------------------------------------------------------------------------ the ways
def ends_well(box, login, password, port, mechanism):
    """Gone already while the session that it opened goes on."""
    with box.secured(port) as client:
        client.login(login, password, mechanism)
        nothing_is_left(box, password)
        client.message(login, [RECIPIENT], CONTENT)
    with box.secured(port) as client:  # from the cache
        client.login(login, password, mechanism)


def ends_refused(box, login, password, port, mechanism):
    with box.secured(port) as client:
        client.login("nobody@example.test", password, mechanism, want=535)
        client.login(box.user, password, mechanism, want=535)
        nothing_is_left(box, password)


def ends_cancelled(box, login, password, port, mechanism):
    with box.secured(port) as client:
        client.command(f"AUTH {mechanism}", 334)
        if mechanism == "LOGIN":
            client.command(b64(password), 334)  # typed into the wrong field
        client.send("*\r\n")
        client.reply(501)
        client.command(f"AUTH PLAIN {b64(password)}", 501)
        client.command(f"AUTH PLAIN {plain(login, password)}AAAA", 501)
        client.command(f"AUTH FOO {plain(login, password)}", 504)
        client.command(f"AUTH {mechanism}", 334)
        client.send(f"*{b64(password)}\r\n")
        client.reply(501)
        nothing_is_left(box, password)


def ends_too_long(box, login, password, port, mechanism):
    """The marker at the begin, all over, and at the end of what is thrown away."""
    with box.secured(port) as client:
        for token in (plain(login, password) + "A" * 20000, plain(login, password) * 300, "A" * 20000 + plain(login, password)):
            client.command(f"AUTH {mechanism} {token}", 500)
            client.command(f"AUTH {mechanism}", 334)
            client.command(token, 500)
        client.command(f"AUTH PLAIN {plain(login, password * 40)}", 500)
        nothing_is_left(box, password)


def ends_left(box, login, password, port, mechanism):
    """In the middle of the line, behind it, and while the hash is computed."""
    for leave in (smtp.Client.reset, smtp.Client.close):
        for end in ("", "\r\n"):
            client = box.secured(port)
            send_secret(client, login, password, mechanism, end)
            leave(client)
    client = box.secured(port)
    with stopped_hash(box):
        # A name that nobody has: a log-in above may have been verified, and is remembered.
        send_secret(client, f"x{login}", password, mechanism)
        harness.wait_until(lambda: "auth" in holders(box, password), "the secret in auth", timeout=10)
        client.reset()
        observe.settle(box)


WAYS = {"success": ends_well, "refusal": ends_refused, "cancel": ends_cancelled, "too-long": ends_too_long,
        "disconnect": ends_left}


@pytest.mark.threat("C28", "H05")
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("way", WAYS)
def test_no_password_is_left(box, marker, way, mechanism, port):
    login = f"{way}.{mechanism}.{port}@example.test".lower()
    box.add_account(login, marker)
    WAYS[way](box, login, marker, port, mechanism)


@pytest.mark.threat("C28")
def test_no_password_is_left_that_came_in_the_clear(box, marker):
    with box.connect("submission") as client:
        client.ehlo()
        client.command(f"AUTH PLAIN {plain(box.user, marker)}", 538)
        client.command(f"AUTH LOGIN {b64(marker)}", 538)
        nothing_is_left(box, marker)


@pytest.mark.threat("C28")
def test_no_password_is_left_that_came_in_pieces(box, marker):
    box.add_account("pieces@example.test", marker)
    with rawtls.connect(box) as client:
        client.ehlo()
        for octet in f"AUTH PLAIN {plain('pieces@example.test', marker)}\r\n".encode():
            client.send(bytes([octet]))
        client.reply(235)
        nothing_is_left(box, marker)


@pytest.mark.threat("C28")
def test_no_password_is_left_behind_a_better_hash(box, marker):
    """The secret outlives the answer to be hashed once more, and no longer."""
    login = "better@example.test"
    box.add_account(login, marker)
    box.ctl("account", "passwd", login, "--memory", "1MiB", "--passes", "1", text=f"{marker}\n")
    before = stored(box, login)
    with box.secured() as client:
        client.login(login, marker)
        harness.wait_until(lambda: stored(box, login) != before, "a better hash")
        nothing_is_left(box, marker)


@pytest.mark.threat("C28")
def test_no_generated_secret_is_left(box, monkeypatch):
    """Right, revoked, of nobody, and of another form by one character."""
    monkeypatch.setenv("POSTERN_PEPPER", box.env["POSTERN_PEPPER"])
    secret = box.ctl("credential", "add", box.user).strip()
    secret_part = FORM.fullmatch(secret)[1]
    for port in PORTS:
        for mechanism in MECHANISMS:
            with box.secured(port) as client:
                client.login(box.user, secret, mechanism)
                client.message(box.user, [RECIPIENT], CONTENT)
    with box.secured() as client:
        client.login("nobody@example.test", secret, want=535)
        client.login(box.limited_user, secret, want=535)
        client.login(box.user, secret + "a", want=535)
        nothing_is_left(box, secret_part)
    observe.settle(box)
    nothing_is_left(box, secret_part)


@pytest.mark.threat("C28")
def test_no_password_is_left_after_a_refusal_by_the_guard(make_sandbox):
    """Held before it was looked at, and delayed."""
    box = make_sandbox(settings=["password.processes=1", "guard.enabled=true", "guard.guesses=3"])
    password = new_marker()
    codes = set()
    for _ in range(5):
        with box.secured() as client:
            codes.add(client.login("held@example.test", password + secrets.token_hex(4), want=None).code)
    assert codes == {535, 454}
    observe.settle(box)
    nothing_is_left(box, password)


# --------------------------------------------------------------------------- logs
@pytest.mark.threat("H05", "H06")
def test_no_secret_in_the_logs(box):
    """H05, H06: neither at debug level, nor in the arguments or environment of any process."""
    password = new_marker()
    box.add_account("logs@example.test", password)
    for mechanism in MECHANISMS:
        with box.secured() as client:
            client.login("nobody@example.test", password, mechanism, want=535)
            client.login("logs@example.test", password, mechanism)
    log = "\n".join(box.log_lines()).encode()
    assert b"logs@example.test" in log
    assert [needle for needle in needles(password) if needle in log] == []
    for pid in observe.processes(box).values():
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                content = file.read()
            assert box.password.encode() not in content and b"password=" not in content
