# SPDX-License-Identifier: ISC
"""deploy/sandbox keeps its word: side by side, root or not, everything in its directory, all stopped."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile

import pytest

import harness
import observe
from box.layout import Layout
from box.ports import Ports
from box.standby import Pair
from scripted import Scripted

PROMISED = """POSTERN_HOST POSTERN_SMTPS_PORT POSTERN_SUBMISSION_PORT POSTERN_CA POSTERN_USER
POSTERN_PASSWORD POSTERN_LIMITED_USER POSTERN_LIMITED_PASSWORD POSTERN_USERS_PASSWORD POSTERN_DSN
POSTERN_CTL POSTERN_CONF POSTERN_PID POSTERN_BACKEND_HOST POSTERN_BACKEND_PORT POSTERN_MAILDIR
POSTERN_ADMIN_URL POSTERN_LOG""".split()


def send(box, user=None, password=None, port="submissions"):
    before = box.message_names()
    with box.session(port, user, password) as client:
        client.message(user or box.user, ["friend@example.net"], "Subject: hello\r\n\r\nhello\r\n")
        client.quit()
    return box.new_messages(before)[0]


def test_env_keeps_its_promise_when_sourced_by_a_shell(sandbox):
    done = harness.run(["sh", "-c", f". {sandbox.path('env')} && env"])
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert set(PROMISED) <= names
    assert sandbox.user == "alice@example.test"
    assert sandbox.limited_user == "carol@example.test"
    assert sandbox.pid == sandbox.master_pid
    for path in (sandbox.ca, sandbox.conf, sandbox.log, sandbox.maildir):
        assert path.startswith(sandbox.directory + "/") and os.path.exists(path)
    assert stat.S_IMODE(os.stat(sandbox.path("env")).st_mode) == 0o600


def test_both_ports_answer_on_ipv4_and_ipv6(sandbox):
    hosts = ["127.0.0.1"] + (["::1"] if Ports().ipv6 else [])
    for host in hosts:
        for port in ("submissions", "submission"):
            with sandbox.secured(port, host=host) as client:
                client.quit()


def test_two_live_side_by_side(sandbox, disposable_sandbox):
    other = disposable_sandbox()
    ports = [{box.smtps_port, box.submission_port, box.backend_port} for box in (sandbox, other)]
    assert not ports[0] & ports[1]
    before = sandbox.message_names()
    assert send(other).sender == other.user
    assert sandbox.message_names() == before
    assert send(sandbox).sender == sandbox.user


def test_status_and_down(disposable_sandbox):
    box = disposable_sandbox()
    status = box.script("status")
    assert status.returncode == 0, status.stdout
    assert "ready      yes" in status.stdout
    pids = [box.process(name).pid for name in ("postern", "capture", "postgres")] + list(box.children().values())
    assert len(pids) >= 7 and None not in pids
    again = box.script("up", "--build", box.build)
    assert again.returncode == 1 and "runs in" in again.stderr
    done = box.script("down")
    assert done.returncode == 0, done.stderr
    assert [pid for pid in pids if harness.start_time(pid) is not None] == []
    assert os.path.getsize(box.path("log", "postern.log")) > 0
    assert box.script("status").returncode == 3
    assert box.script("down").returncode == 0, "a second down has nothing to do"


@pytest.mark.parametrize("kind, state", [("synchronous", "sync"), ("asynchronous", "async")])
def test_standby_takes_over_and_is_followed(disposable_sandbox, kind, state):
    box = disposable_sandbox(standby=kind)
    assert send(box).sender == box.user
    pair = Pair(Layout(box.directory), synchronous=kind == "synchronous")
    assert pair.asks("SELECT sync_state FROM pg_stat_replication") == state
    pair.wait_for_standby()
    pids = [server.process.pid for server in (pair.primary, pair.standby)]
    for _ in range(2):  # there and back
        pair.promote()
        observe.wait_ready(box)
        assert send(box).sender == box.user
        pair.follow()
        assert pair.asks("SELECT sync_state FROM pg_stat_replication") == state
    assert box.script("status").returncode == 0
    pids += [server.process.pid for server in (pair.primary, pair.standby)]
    assert len(set(pids)) == 4 and None not in pids
    box.down()
    assert [pid for pid in pids if harness.start_time(pid) is not None] == []


def test_down_leaves_a_stranger_with_a_recycled_pid_alone(disposable_sandbox):
    box = disposable_sandbox()
    stranger = subprocess.Popen(["sleep", "1000"])
    pid, started = box.process("capture").read()
    try:
        with open(box.path("pids", "capture"), "w", encoding="ascii") as file:
            file.write(f"{stranger.pid} {harness.start_time(stranger.pid) - 1}\n")
        assert box.script("down").returncode == 0
        assert stranger.poll() is None
        assert harness.start_time(pid) == started
    finally:
        stranger.kill()
        stranger.wait()
        os.kill(pid, signal.SIGTERM)


def test_limited_account_is_limited_to_three_messages(disposable_sandbox):
    box = disposable_sandbox()
    for _ in range(3):
        send(box, box.limited_user, box.limited_password)
    with box.session(user=box.limited_user, password=box.limited_password) as client:
        answer = client.command(f"MAIL FROM:<{box.limited_user}>")
        if answer.code == 250:
            client.command("RCPT TO:<friend@example.net>", 250)
            answer = client.command("DATA")
        assert (answer.code, answer.enhanced) == (450, "4.7.1"), answer


def test_many_accounts_share_a_password(disposable_sandbox):
    box = disposable_sandbox(accounts=5000)
    for number in (1, 2, 5000):
        assert send(box, f"user{number}@example.test", box.users_password).sender == f"user{number}@example.test"
    with box.secured() as client:
        client.login("user5001@example.test", box.users_password, want=535)


@pytest.mark.long
def test_a_million_accounts_take_a_minute(disposable_sandbox):
    begin = harness.time.monotonic()
    box = disposable_sandbox(accounts=1_000_000)
    assert harness.time.monotonic() - begin < 60
    send(box, "user1000000@example.test", box.users_password)


def test_backend_may_come_later(disposable_sandbox):
    ports = Ports()
    number = ports.take()
    ports.release()
    box = disposable_sandbox(backend=f"127.0.0.1:{number}", settings=["probe.interval=1s"])
    assert box.backend_port == number
    status = box.script("status")
    assert status.returncode == 1 and "backend" in status.stdout
    backend = Scripted(port=number)
    try:
        harness.wait_until(lambda: box.script("status").returncode == 0, "readiness")
        with box.session() as client:
            client.message(box.user, ["friend@example.net"], "Subject: late\r\n\r\nhello\r\n")
            client.quit()
        [session] = backend.mail_sessions()
        assert session.bodies[0].endswith(b"Subject: late\r\n\r\nhello\r\n")
        assert session.source == "127.0.0.2"
    finally:
        box.down()
        backend.close()


def test_set_reaches_the_configuration(disposable_sandbox):
    box = disposable_sandbox(settings=["limits.recipients=100", "hostname=other.example.test",
                                       "listen.submissions.line_endings=reject"])
    with box.session() as client:
        assert client.greeting.lines[0].startswith("other.example.test ")
        client.command(f"MAIL FROM:<{box.user}>", 250)
        for number in range(100):
            client.command(f"RCPT TO:<r{number}@example.net>", 250)
        assert client.command("RCPT TO:<one.too.many@example.net>", 452).enhanced == "4.5.3"


def test_a_failed_start_says_why_and_leaves_nothing_running(tmp_path):
    box = harness.Sandbox(directory=str(tmp_path / "d"), settings=["no_such_option=1"])
    with pytest.raises(AssertionError, match="no_such_option"):
        box.up()
    assert [name for name in ("postern", "capture", "postgres") if box.process(name).pid] == []


def test_a_strange_directory_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").write_text("precious")
    box = harness.Sandbox(directory=str(tmp_path))
    done = box.script("up", "--build", box.build)
    assert done.returncode == 1 and "neither empty nor a sandbox" in done.stderr
    assert os.listdir(tmp_path) == ["mine"]


def test_a_directory_that_others_cannot_enter(tmp_path):
    """As mktemp -d and pytest make them; PostgreSQL's user cannot go there, nor Postern's children."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    box = harness.Sandbox(directory=str(hidden / ("deep" * 30))).up()
    try:
        send(box)
        home = os.path.realpath(box.path("postgres"))
    finally:
        box.down()
    assert os.path.isdir(box.path("postgres")) and not os.path.islink(box.path("postgres"))
    assert home.startswith("/tmp/postern-") and not os.path.exists(home)


@pytest.fixture
def public_copy():
    """What a sandbox needs, where every user can read it: a checkout may lie in a private place."""
    top = tempfile.mkdtemp(prefix="postern-copy-")
    build = os.path.join(top, "build", os.path.basename(harness.BUILD))
    try:
        os.makedirs(build)
        for name in ("postern", "posternctl"):
            shutil.copy2(os.path.join(harness.BUILD, name), build)
        for name in ("deploy", "sql"):
            shutil.copytree(os.path.join(harness.ROOT, name), os.path.join(top, name))
        assert harness.run(["chmod", "-R", "go+rX", top]).returncode == 0
        yield top, build
    finally:
        shutil.rmtree(top)


def test_without_root(public_copy, monkeypatch):
    top, build = public_copy
    nobody = pwd.getpwnam("nobody")
    prefix = [] if os.geteuid() != 0 else ["setpriv", f"--reuid={nobody.pw_uid}",
                                           f"--regid={nobody.pw_gid}", "--clear-groups"]
    directory = os.path.join(top, "d")
    os.mkdir(directory)
    if prefix:
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    monkeypatch.setattr(harness, "ROOT", top)
    box = harness.Sandbox(directory=directory, prefix=prefix, build=build).up()
    try:
        if prefix:
            pids = [box.process(name).pid for name in ("postern", "capture", "postgres")]
            assert {os.stat(f"/proc/{pid}").st_uid for pid in pids} <= {nobody.pw_uid, 0}
        send(box)
        send(box, port="submission")
    finally:
        box.down()
