# SPDX-License-Identifier: ISC
"""Deadlines, the door, and what a stranger can cost (threats G01 to G08, rows 2 and 31 to 33)."""

import os
import signal
import socket
import subprocess
import time

import pytest

import harness
import observe
import rawtls
import smtp
from rig import CONTENT, RECIPIENT, Rig

ALICE = "alice@example.test"
TIMEOUT = "421 4.4.2 Timeout; closing connection"
SANITIZED = "asan" in harness.BUILD or "tsan" in harness.BUILD  # memory and time are not the product's then


# ------------------------------------------------------------------------ deadlines
@pytest.fixture(scope="module")
def hasty(make_sandbox):
    """One second for everything of a client's."""
    rig = Rig(make_sandbox, settings=["timeouts.unauthenticated=1s", "timeouts.command=1s", "timeouts.data=1s", "timeouts.login=3s",
                                      "limits.minimum_rate=1000", "backend.default.command_timeout=1s"])
    yield rig
    rig.close()


def silent(client):
    return client


def in_login(client):
    client.command("AUTH LOGIN", 334)
    return client


def in_mail(client):
    client.mail(ALICE, [RECIPIENT])
    return client


def in_body(client):
    client.mail(ALICE, [RECIPIENT])
    client.command("DATA", 354)
    return client


SLOW = {"before the login": (False, silent, b"EHLO x"), "in the login": (False, in_login, b"AAAA"), "after the login": (True, silent, b"NOOP x"),
        "in a transaction": (True, in_mail, b"RCPT TO"), "in the body": (True, in_body, b"x\r\n")}


@pytest.mark.row("31", "33")
@pytest.mark.threat("G01")
@pytest.mark.parametrize("how", ["silent", "dribbling"])
@pytest.mark.parametrize("state", SLOW)
def test_slow_clients_meet_a_deadline_that_octets_do_not_move(hasty, state, how):
    """Each command as a whole has its time, and a body its least rate: an octet now and then buys none."""
    rig = hasty.reset()
    logged_in, begin, drops = SLOW[state]
    client = rawtls.session(rig.box) if logged_in else rawtls.connect(rig.box)
    with client:
        if not logged_in:
            client.ehlo()
        begin(client)
        started = time.monotonic()
        answer = dribble(client, drops if how == "dribbling" else b"")
        assert answer == TIMEOUT.encode() + b"\r\n"
        assert 0.5 < time.monotonic() - started < 10
    assert all(session.complete == [] for session in rig.backend.mail_sessions())


def dribble(client, drops):
    """Everything that the server says until it ends; an octet of drops each 100 ms, over and over."""
    said, at = b"", 0
    client.sock.settimeout(0.1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            data = client.receive()
            if not data:
                return said
            said += data
        except socket.timeout:
            if drops and not said:
                client.send(drops[at % len(drops):][:1])
                at += 1
    raise AssertionError(f"not closed within 20 s: {said!r}")


@pytest.mark.threat("G01")
def test_a_stranger_has_a_deadline_for_the_login_whatever_it_says(hasty):
    client = rawtls.connect(hasty.reset().box)
    with client:
        client.ehlo()
        started = time.monotonic()
        said = dribble(client, b"NOOP\r\n")
        assert said.endswith(TIMEOUT.encode() + b"\r\n")
        assert time.monotonic() - started < 12


def option(box, section, name):
    """What is in force, as postern -T prints it."""
    done = harness.run([os.path.join(harness.BUILD, "postern"), "-T", "-c", box.conf])
    assert done.returncode == 0, done.stderr
    inside = done.stdout.partition(f"\n{section} {{\n")[2].partition("\n}")[0]
    found = [line.split("=")[1].strip() for line in inside.splitlines() if line.split("=")[0].strip() == name]
    return found[0] if found else None


@pytest.mark.row("31", "32")
def test_the_rfcs_times_are_the_defaults(sandbox, tmp_path):
    """RFC 5321 4.5.3.2: five minutes for an idle client; of the backend's, the last cannot be shortened."""
    assert option(sandbox, "timeouts", "command") == "5m"
    times = {name: option(sandbox, 'backend "default"', f"{name}_timeout") for name in
             ("greeting", "command", "data", "block", "end_of_data")}
    assert times == {"greeting": "5m", "command": "5m", "data": "2m", "block": "3m", "end_of_data": "10m"}
    with open(sandbox.conf, encoding="utf-8") as file:
        lines = file.read().replace('backend "default" {', 'backend "default" {\n\tend_of_data_timeout = 9m')
    path = tmp_path / "postern.conf"
    path.write_text(lines, encoding="utf-8")
    path.chmod(0o600)
    done = harness.run([os.path.join(harness.BUILD, "postern"), "-t", "-c", str(path)])
    assert done.returncode != 0 and "end_of_data_timeout" in done.stdout + done.stderr


# ------------------------------------------------------------------------- the door
@pytest.fixture(scope="module")
def narrow(make_sandbox):
    """One worker, small limits."""
    rig = Rig(make_sandbox, settings=["workers=1", "limits.connections_per_prefix=12", "limits.unauthenticated_per_prefix=6",
                                      "limits.unauthenticated=8"])
    yield rig
    rig.close()


@pytest.fixture
def door(narrow):
    yield narrow.reset()
    observe.settle(narrow.box)


def strangers(box, count, source):
    return [box.connect("submission", source=source) for _ in range(count)]


def close(clients):
    for client in clients:
        client.close()


@pytest.mark.row("33")
@pytest.mark.threat("G02")
def test_one_network_has_so_many_strangers_and_its_customers_more(door):
    box = door.box
    customers = [box.session(source="127.0.0.3") for _ in range(4)]
    guests = strangers(box, 6, "127.0.0.3")
    with box.connect("submission", source="127.0.0.3", greeting=421) as refused:
        assert refused.greeting.text == "421 4.7.0 Too many connections from your network; try again later"
        refused.expect_end()
    with box.connect("submission", source="127.0.0.4") as other:
        other.ehlo()
    close(guests)
    harness.wait_until(lambda: observe.metric(box, "sessions") == 4, "the strangers' end")
    customers += [box.session(source="127.0.0.3") for _ in range(8)]
    with box.connect("submission", source="127.0.0.3", greeting=421) as refused:
        refused.expect_end()
    for client in customers:
        client.command("NOOP", 250)
    close(customers)


@pytest.mark.row("2", "33")
@pytest.mark.threat("G02")
def test_strangers_crowd_out_strangers_and_never_a_customer(door):
    box = door.box
    with box.session(source="127.0.0.3") as customer:
        guests = [client for number in range(4) for client in strangers(box, 2, f"127.0.0.{number + 5}")]
        late = strangers(box, 1, "127.0.0.9")
        assert guests[0].reply().text == "421 4.3.2 Service overloaded; try again later"
        guests[0].expect_end()
        for client in guests[1:]:
            client.command("NOOP", 250)
        assert customer.message(ALICE, [RECIPIENT], CONTENT).code == 250
        with box.session(source="127.0.0.10") as another:
            another.command("NOOP", 250)
        close(guests + late)


@pytest.mark.row("2", "33")
def test_an_end_is_told_by_421_before_and_after_the_login_and_in_a_transaction_after_it(disposable_sandbox):
    box = disposable_sandbox()
    with box.connect("submission") as stranger, box.session() as idle, box.session() as sending:
        sending.mail(ALICE, [RECIPIENT])
        sending.command("DATA", 354)
        os.kill(box.master_pid, signal.SIGTERM)
        for client in (stranger, idle):
            assert client.reply().text == "421 4.3.2 Service shutting down; connect again"
            client.expect_end()
        sending.send(smtp.transparent(CONTENT))
        assert sending.reply().code == 250
        assert sending.reply().text == "421 4.3.2 Service shutting down; connect again"
        sending.expect_end()
    assert [message.body for message in box.messages()] == [CONTENT]


@pytest.mark.threat("G02")
def test_descriptors_that_run_out_pause_the_door_and_nothing_else(disposable_sandbox):
    """A proxy with 300 descriptors: the door rests before they are gone, a customer's message still finds a backend,
    and who waited outside comes in when others leave."""
    box = disposable_sandbox(settings=["workers=1", "limits.connections_per_prefix=10000", "limits.unauthenticated_per_prefix=10000",
                                       "limits.unauthenticated=10000"])
    subprocess.run(["prlimit", "--pid", str(box.master_pid), "--nofile=300:300"], check=True)
    before = box.child("proxy 0")
    os.kill(before, signal.SIGKILL)
    harness.wait_until(lambda: box.children().get("proxy 0") not in (None, before), "another proxy")
    observe.wait_ready(box)
    with box.session() as customer:
        crowd = [socket.create_connection(("127.0.0.1", box.submission_port)) for _ in range(400)]
        harness.wait_until(lambda: observe.metric(box, "sessions") > 180, "a full house")
        cpu = observe.cpu_seconds(box)
        for _ in range(20):
            assert customer.message(ALICE, [RECIPIENT], CONTENT).code == 250
        assert 180 < observe.metric(box, "sessions") < 240
        assert observe.cpu_seconds(box) - cpu < 5, "and it does not spin"
        for sock in crowd[:-1]:
            sock.close()
        crowd[-1].settimeout(30)
        assert crowd[-1].recv(100) == b"220 submit.example.test ESMTP Postern\r\n"
        crowd[-1].close()
    box.baseline.clear()  # of a proxy that is no more
    observe.settle(box)


# ------------------------------------------------------------------------------ cost
@pytest.fixture(scope="module")
def wide(make_sandbox):
    rig = Rig(make_sandbox, settings=["workers=1", "log.level=info", "limits.connections_per_prefix=10000", "limits.message_size=100MiB",
                                      "limits.unauthenticated_per_prefix=10000", "limits.unauthenticated=10000"])
    yield rig
    rig.close()


PARTIAL = {"idle": b"", "half a command": b"NOOP " + b"x" * 4000, "half a login": b"AUTH PLAIN " + b"A" * 12288}


@pytest.mark.threat("G03")
def test_memory_of_a_stranger_is_bounded_in_the_worst_state(wide):
    """Idle in TLS, and with the longest lines that may come, but for their ends: a hundred each, all held."""
    box, count = wide.reset().box, 100
    pid = observe.proxies(box)["proxy 0"]
    with box.connect("submissions") as client:
        client.ehlo()
    clients, due, before = [], 0, observe.pss_kib(pid)
    try:
        for state, octets in PARTIAL.items():
            for _ in range(count):
                clients.append(rawtls.connect(box))
                clients[-1].ehlo()
                clients[-1].send(octets)
            due += len(octets) * count
            harness.wait_until(lambda least=due: observe.metric(box, "queued_bytes") >= least, "their octets")
            each, before = (observe.pss_kib(pid) - before) / count, observe.pss_kib(pid)
            assert each < (1024 if SANITIZED else 64), f"{each} KiB a stranger, {state}"
    finally:
        close(clients)
    observe.settle(box)


@pytest.mark.threat("G05")
def test_bad_commands_are_counted_and_not_logged_one_by_one(wide):
    box = wide.reset().box
    change = observe.Change(box)
    lines = len(box.log_lines())
    for _ in range(10):
        with box.secured() as client:
            for _ in range(19):
                client.command("XYZZY \x1b[2J", 500)
    observe.settle(box)
    assert change("protocol_errors_total") == 190
    more = box.log_lines()[lines:]
    assert len([line for line in more if " session " in line and "errors=19" in line]) == 10
    assert len(more) <= 20, more


OCTETS = 4 * 1024 * 1024
DEAR = {"dots": b"..\r\n", "empty lines": b"\r\n", "bare LF": b"\n", "bare CR": b"\r", "one octet a line": b"x\n", "CRs before an LF": b"\r\r\r\r\n",
        "almost the end": b"\r\n..\r", "one line": b"x"}


def cost(rig, content):
    """CPU time of all of Postern for a message's octets, sent as they are."""
    with rawtls.session(rig.box) as client:
        client.mail(ALICE, [RECIPIENT])
        client.command("DATA", 354)
        before = observe.cpu_seconds(rig.box)
        client.send(content)
        client.send(b"\r\n.\r\n")
        client.reply(250)
    return observe.cpu_seconds(rig.box) - before


@pytest.mark.threat("G08", "A10")
def test_no_octets_cost_more_than_a_small_multiple_of_plain_ones(wide):
    """The dearest four megabytes take a seventh of a second without optimisation; anything quadratic takes minutes."""
    rig = wide.reset()
    for name, unit in DEAR.items():
        content = unit * (OCTETS // len(unit))
        assert cost(rig, content) < (10 if SANITIZED else 1), name


@pytest.mark.threat("A14")
def test_a_mailbox_from_line_of_megabytes_counts_against_size(hasty):
    rig = hasty.reset()
    rig.box.ctl("limits", "set", ALICE, "message_bytes=1000000")
    try:
        with rig.session() as client:
            client.mail(ALICE, [RECIPIENT])
            client.command("DATA", 354)
            client.send(b"From " + b"a" * 3000000 + b"\r\n.\r\n")
            assert client.reply().text == "552 5.3.4 Message too big"
            client.command("NOOP", 250)
    finally:
        rig.box.ctl("limits", "set", ALICE, "message_bytes=unlimited")
    assert all(session.complete == [] for session in rig.backend.mail_sessions())


# -------------------------------------------------------------------- the limiter
@pytest.mark.threat("F05")
def test_limits_outlive_the_auth_process(disposable_sandbox):
    """carol may send three an hour: killed between takes, and with one open, auth grants her no more."""
    box = disposable_sandbox()
    accepted = 0

    def attempt(kill):
        with box.session(user=box.limited_user, password=box.limited_password) as client:
            client.command(f"MAIL FROM:<{box.limited_user}>")
            client.command(f"RCPT TO:<{RECIPIENT}>")
            answer = client.command("DATA")
            if kill:
                before = box.child("auth")
                os.kill(before, signal.SIGKILL)
                harness.wait_until(lambda: box.children().get("auth") not in (None, before), "another auth")
                observe.wait_ready(box)
            if answer.code != 354:
                return answer.code
            client.send(smtp.transparent(CONTENT))
            return client.reply().code
    for number in range(6):
        accepted += attempt(kill=number in (0, 2)) == 250
    assert 1 <= accepted <= 3
    assert len(box.messages()) == accepted
    with box.session(user=box.limited_user, password=box.limited_password) as client:
        assert client.command(f"MAIL FROM:<{box.limited_user}>").code in (250, 450)
