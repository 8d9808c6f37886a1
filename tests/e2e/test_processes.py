# SPDX-License-Identifier: ISC
"""The processes: how each is confined, how each heals, how all end, and what admin says about them."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

import harness
from harness import wait_until

ROOT_MODE = os.geteuid() == 0
SANITIZED = os.path.basename(harness.BUILD) in ("asan", "tsan")  # their runtimes need more system calls
CHILDREN = {"auth", "hash 0", "hash 1", "probe", "proxy 0", "proxy 1", "admin"}
USERS = {"auth": 61001, "hash": 61002, "proxy": 61003, "probe": 61004, "admin": 61005}
FOUR = ("password.processes=2", "workers=2", "probe.interval=1s")


@pytest.fixture(scope="module")
def box(make_sandbox):
    """Shared by the tests here: killed in, but whole again after each."""
    return make_sandbox(settings=FOUR)


# ------------------------------------------------------------------------ helpers
def get(box, path, method="GET", headers=None):
    """(status, headers, body) of one request to admin."""
    host, _, port = box.admin_url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def reasons(box):
    """The words with which the lines of /readyz begin; empty when it is 200."""
    status, _, body = get(box, "/readyz")
    if status == 200:
        assert body == "ok\n"
        return set()
    assert status == 503
    return {line.partition(":")[0] for line in body.splitlines()}


def is_ready(box):
    try:
        return not reasons(box)
    except OSError:
        return False


def metrics(box):
    status, headers, body = get(box, "/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {name: float(value) for name, value in
            (line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))}


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return {key: value.split() for key, _, value in (line.partition(":") for line in file)}


def limits_of(pid, name):
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(name))
    return line[len(name):].split()[:2]


def kind(title):
    return title.split()[0]


def send(box, port="submissions"):
    before = box.message_names()
    with box.session(port) as client:
        client.message(box.user, ["friend@example.net"], "Subject: hello\r\n\r\nhello\r\n")
        client.quit()
    box.new_messages(before)


def kill_child(box, title):
    """kill -9, and waits until another lives and all is ready; returns the new PID."""
    old = box.child(title)
    os.kill(old, signal.SIGKILL)
    new = wait_until(lambda: (pid := box.children().get(title)) != old and pid, f"a new {title}")
    wait_until(lambda: is_ready(box) and set(box.children()) == CHILDREN, f"readiness after the end of {title}")
    return new


def wait_for_end(box, timeout=60):
    """The master's exit status."""
    def ended():
        pid, status = os.waitpid(master, os.WNOHANG)
        return pid == master and (os.waitstatus_to_exitcode(status),)
    master = box.process("postern").read()[0]
    return wait_until(ended, "the end of the master", timeout)[0]


def socket_owners(pids):
    """Inode -> the PIDs that hold the socket."""
    owners = {}
    for pid in pids:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{name}")
            except FileNotFoundError:
                continue
            if link.startswith("socket:["):
                owners.setdefault(link[8:-1], set()).add(pid)
    return owners


def tcp_sockets(local_port):
    """(state, remote port, inode) of the sockets that have this port at our end."""
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                if int(words[1].rpartition(":")[2], 16) == local_port:
                    yield words[3], int(words[2].rpartition(":")[2], 16), words[9]


# -------------------------------------------------------------------- confinement
def test_every_process_has_its_title(box):
    assert set(box.children()) == CHILDREN
    assert harness.title_of(box.master_pid) == "master"
    for title, pid in box.children().items():
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            assert file.read().strip() == f"postern: {title}"[:15].strip()


@pytest.mark.threat("H02", "H05")
@pytest.mark.parametrize("title", sorted(CHILDREN))
def test_child_has_given_up_everything(box, title):
    pid = box.child(title)
    status = status_of(pid)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name][0], 16) == 0, name
    assert status["NoNewPrivs"] == ["1"]
    assert status["Seccomp"] == ["0" if SANITIZED else "2"]
    assert limits_of(pid, "Max core file size") == ["0", "0"]
    soft, hard = limits_of(pid, "Max open files")
    assert soft == hard
    # Files in /proc of a process that is not dumpable belong to root.
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    if not ROOT_MODE:
        return
    user = str(USERS[kind(title)])
    assert status["Uid"] == [user] * 4 and status["Gid"] == [user] * 4
    assert status["Groups"] == []
    assert int(status["CapBnd"][0], 16) == 0
    expect_own_root(box, title, pid)


def expect_own_root(box, title, pid):
    root = os.readlink(f"/proc/{pid}/root")
    if title == "auth":
        assert os.path.realpath(root).endswith("/postgres/socket") or "/postgres" in root
        assert all(name.startswith(".s.PGSQL.") for name in os.listdir(f"/proc/{pid}/root"))
    else:
        assert root == os.path.realpath(box.path("run", "empty"))
        assert os.listdir(f"/proc/{pid}/root") == []
    info = os.stat(box.path("run", "empty"))
    assert info.st_uid == 0 and info.st_mode & 0o7777 == 0o755
    assert os.readlink(f"/proc/{pid}/cwd") == root


def test_children_of_a_kind_have_users_of_their_own(box):
    if ROOT_MODE:
        users = {kind(title): status_of(pid)["Uid"][0] for title, pid in box.children().items()}
        assert len(set(users.values())) == 5 and "0" not in users.values()
    else:
        assert any(" unprivileged " in line for line in box.log_lines())


def test_master_keeps_few_capabilities(box):
    status = status_of(box.master_pid)
    assert status["NoNewPrivs"] == ["1"]
    assert limits_of(box.master_pid, "Max core file size") == ["0", "0"]
    # chown kill setgid setuid setpcap net_bind_service sys_chroot, dac_read_search
    few = sum(1 << number for number in (0, 2, 5, 6, 7, 8, 10, 18))
    for name in ("CapPrm", "CapEff", "CapBnd" if ROOT_MODE else "CapAmb"):
        assert int(status[name][0], 16) & ~few == 0, name


def test_files_of_the_master(box):
    assert os.stat(box.log).st_mode & 0o7777 == 0o640
    assert os.stat(box.path("run")).st_mode & 0o7777 == 0o755
    with open(box.path("run", "postern.pid"), encoding="ascii") as file:
        assert file.read() == f"{box.master_pid}\n"


@pytest.mark.threat("H05")
def test_no_process_shows_its_environment(box):
    for title, pid in {"master": box.master_pid, **box.children()}.items():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                assert b"PATH=" not in file.read(), title
        except PermissionError:
            assert not ROOT_MODE


@pytest.mark.threat("H07")
@pytest.mark.skipif(not ROOT_MODE, reason="only root reads the descriptors of a process that is not dumpable")
def test_each_child_holds_only_its_own_descriptors(box):
    children = box.children()
    owners = socket_owners(children.values())
    titles = {pid: title for title, pid in children.items()}

    def holders(port):
        return {titles[pid] for state, _, inode in tcp_sockets(port) if state == "0A" for pid in owners.get(inode, ())}

    assert holders(box.smtps_port) == holders(box.submission_port) == {"proxy 0", "proxy 1"}
    assert holders(int(box.admin_url.rpartition(":")[2])) == {"admin"}
    table = box.descriptors()
    for title in children:
        assert table[title].count("/dev/null") == 2, "standard input and output"
        files = {name for name in table[title] if name.startswith("/") and not name.startswith("/dev/")}
        if title == "auth":
            spool = {name for name in files if os.path.dirname(name) == os.path.realpath(box.path("spool"))}
            assert {os.path.basename(name) for name in spool} == {"lock", *(f"segment-{n:02}" for n in range(72))}
            files -= spool
        assert files <= {os.path.realpath(box.path("log", name)) for name in ("postern.log", "postern.err")}, title
    for title in ("hash 0", "hash 1"):
        # standard ones, the log, the control socket, the channel to auth
        assert len(table[title]) == 6, table[title]


# ------------------------------------------------------------------------- healing
@pytest.mark.parametrize("title", sorted(CHILDREN))
def test_kill_of_a_child_is_healed(box, title):
    before = metrics(box)
    others = {name: pid for name, pid in box.children().items() if name != title}
    kill_child(box, title)
    for name, pid in box.children().items():
        # hash processes may end with auth: their channel is gone
        if name != title and not (title == "auth" and kind(name) == "hash"):
            assert pid == others[name], f"{name} was restarted too"
    send(box)
    send(box, "submission")
    after = metrics(box)
    assert after["postern_process_restarts_total"] >= before["postern_process_restarts_total"] + 1
    decreased = {name: (before[name], after[name]) for name in before
                 if name.endswith("_total") and after[name] < before[name]}
    assert not decreased
    assert after["postern_auth_processes"] == 1 and after["postern_proxy_processes"] == 2
    wait_until(lambda: metrics(box)["postern_auth_attached"] == 2, "both proxies attached to auth")
    line = next(line for line in reversed(box.log_lines()) if " child-ended " in line)
    assert "signal=KILL" in line or title == "auth"


def test_counters_of_a_proxy_that_ended_stay_in_the_total(box):
    send(box)
    name = "postern_messages_accepted_total"
    before = metrics(box)[name]
    assert before >= 1
    for title in ("proxy 0", "proxy 1"):
        kill_child(box, title)
        assert metrics(box)[name] == before
    send(box)
    wait_until(lambda: metrics(box)[name] == before + 1, "one more message")


def test_sessions_live_on_while_auth_is_replaced(box):
    with box.session() as client:
        kill_child(box, "auth")
        client.command("NOOP", 250)
        client.message(box.user, ["friend@example.net"], "Subject: after\r\n\r\nhello\r\n")
        client.quit()


def connect_to(box, worker, other, count=30):
    """Clients whose sessions one worker has: the other stands still meanwhile."""
    os.kill(other, signal.SIGSTOP)
    try:
        return [box.connect("submission") for _ in range(count)]
    finally:
        os.kill(other, signal.SIGCONT)
        assert harness.start_time(worker) is not None


def test_kill_of_a_proxy_refuses_no_connection_and_harms_no_other_worker(box):
    victim, other = box.child("proxy 0"), box.child("proxy 1")
    lost, kept = (connect_to(box, *pair) for pair in ((victim, other), (other, victim)))
    answered = 0
    for number in range(300):
        if number == 100:
            os.kill(victim, signal.SIGKILL)
        # ConnectionRefusedError fails the test
        connection = socket.create_connection((box.host, box.submission_port), timeout=20)
        with connection:
            try:
                answered += connection.recv(3) == b"220"
            except ConnectionResetError:
                pass  # accepted by the victim, and died with it
    assert answered >= 299, "at most the one that the victim was at work on"
    for client in lost:
        client.expect_end()
    for client in kept:
        client.ehlo()
        client.quit()
        client.close()
    wait_until(lambda: is_ready(box) and box.children().get("proxy 0") not in (None, victim), "proxy 0 again")


def test_children_that_end_again_and_again_are_started_ever_later(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)

    def kill_and_look(name):
        if (pid := box.children().get(name)) is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return reasons(box)

    wait_until(lambda: "auth" in kill_and_look("auth"), "/readyz tells that auth is away")
    wait_until(lambda: is_ready(box), "auth again")
    wait_until(lambda: "proxies" in kill_and_look("proxy 0") | kill_and_look("proxy 1"),
               "/readyz tells that no proxy serves")
    wait_until(lambda: is_ready(box), "proxies again")
    send(box)


def test_child_that_stands_still_is_told_and_replaced(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    stuck, hasher = box.child("auth"), box.child("hash 1")
    os.kill(stuck, signal.SIGSTOP)
    os.kill(hasher, signal.SIGSTOP)
    wait_until(lambda: reasons(box) == {"auth", "database"}, "/readyz tells that auth stands still")
    assert re.search(r"^auth: .* stood still for \d+ s$", get(box, "/readyz")[2], re.M)
    # 30 s until the heartbeat is too old, 5 s between two looks, 2 s from SIGABRT to SIGKILL
    wait_until(lambda: box.children().get("auth") not in (None, stuck) and
               box.children().get("hash 1") not in (None, hasher), "others in their place", timeout=60)
    wait_until(lambda: is_ready(box), "readiness")
    assert sum(" child-stuck " in line for line in box.log_lines()) == 2
    send(box)


def test_end_of_the_master_ends_all(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    children = box.children()
    os.kill(box.master_pid, signal.SIGKILL)
    assert wait_for_end(box) == -signal.SIGKILL
    wait_until(lambda: not any(harness.start_time(pid) for pid in children.values()), "the end of all children")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", box.smtps_port), timeout=5)


# ------------------------------------------------------------------------- the end
def test_sigterm_ends_all_with_0(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    send(box)
    children = box.children()
    assert os.path.exists(box.path("run", "postern.pid"))
    os.kill(box.master_pid, signal.SIGTERM)
    assert wait_for_end(box) == 0
    assert not any(harness.start_time(pid) for pid in children.values())
    assert not os.path.exists(box.path("run", "postern.pid"))
    assert not any(" warning child-ended " in line for line in box.log_lines())


def begin_message(box):
    client = box.session()
    client.mail(box.user, ["friend@example.net"])
    client.command("DATA", 354)
    client.send("Subject: slow\r\n\r\nhalf of ")
    return client


def test_sigterm_lets_a_running_transaction_finish(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    before = box.message_names()
    with begin_message(box) as client:
        os.kill(box.master_pid, signal.SIGTERM)
        wait_until(lambda: "draining" in reasons(box), "/readyz tells that Postern ends")

        def refused():
            try:
                socket.create_connection(("127.0.0.1", box.smtps_port), timeout=5).close()
            except ConnectionRefusedError:
                return True
        wait_until(refused, "no new connections")
        client.send("the message\r\n.\r\n")
        assert client.reply(250)
    assert wait_for_end(box) == 0
    [message] = box.new_messages(before)
    assert message.body.endswith(b"half of the message\r\n")


def test_second_sigterm_ends_at_once(disposable_sandbox):
    box = disposable_sandbox(settings=(*FOUR, "timeouts.drain=10m"))
    with begin_message(box):
        os.kill(box.master_pid, signal.SIGTERM)
        wait_until(lambda: "draining" in reasons(box), "/readyz tells that Postern ends")
        children = box.children()
        os.kill(box.master_pid, signal.SIGTERM)
        assert wait_for_end(box, timeout=10) == 0
    assert not any(harness.start_time(pid) for pid in children.values())


def test_auth_is_healed_even_while_proxies_finish(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    with begin_message(box) as client:
        os.kill(box.master_pid, signal.SIGTERM)
        wait_until(lambda: "draining" in reasons(box), "/readyz tells that Postern ends")
        old = box.child("auth")
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: box.children().get("auth") not in (None, old), "a new auth")
        wait_until(lambda: metrics(box)["postern_database_up"] == 1, "its database")
        client.send("the message\r\n.\r\n")
        assert client.reply().code in (250, 451)
    assert wait_for_end(box) == 0


def test_sighup_is_noted_and_ignored(box):
    before = box.children()
    os.kill(box.master_pid, signal.SIGHUP)
    wait_until(lambda: any(" reload " in line and "SIGHUP is ignored" in line for line in box.log_lines()), "a line in the log")
    assert box.children() == before and is_ready(box)


def test_signals_of_a_terminal_do_not_reach_the_children(box):
    before = box.children()
    for pid in before.values():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    send(box)
    assert box.children() == before


# ------------------------------------------------------------------------ the start
def postern(box, *arguments, conf=None):
    return harness.run([os.path.join(box.build, "postern"), "-c", conf or box.conf, *arguments], timeout=60)


def changed(box, tmp_path, old, new):
    with open(box.conf, encoding="utf-8") as file:
        text = file.read()
    assert re.search(old, text, re.M), old
    path = tmp_path / "changed.conf"
    path.touch(mode=0o600)
    path.write_text(re.sub(old, new, text, flags=re.M), encoding="utf-8")
    return str(path)


def test_second_instance_names_the_first(box):
    done = postern(box)
    assert done.returncode == 69
    assert f"another postern (PID {box.master_pid}) runs with runtime_directory" in done.stderr
    assert is_ready(box)


def test_second_instance_elsewhere_fails_at_bind(box, tmp_path):
    os.chmod(tmp_path, 0o755)
    conf = changed(box, tmp_path, r"^runtime_directory = .*", f'runtime_directory = "{tmp_path}/run"')
    done = postern(box, conf=conf)
    assert done.returncode == 69, done.stderr
    assert re.search(rf'{conf}:\d+: listen "submissions": cannot listen on 127\.0\.0\.1:{box.smtps_port}: '
                     r"Address already in use; another program \(perhaps a second postern\)", done.stderr)
    assert "admin: cannot listen on" in done.stderr
    assert is_ready(box)


def test_t_finds_what_start_would(box, tmp_path):
    done = postern(box, "-t")
    assert (done.returncode, done.stdout) == (0, "configuration is valid\n"), done.stderr
    key = tmp_path / "other.pem"
    made = harness.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key)])
    assert made.returncode == 0
    conf = changed(box, tmp_path, r"^\tkey = .*", f'\tkey = "{key}"')
    for arguments in (["-t"], []):
        done = postern(box, *arguments, conf=conf)
        assert done.returncode == 78, done.stderr
        assert re.search(rf'^{conf}:\d+: certificate "default": ', done.stderr), done.stderr


def test_memory_budget_is_checked(box, tmp_path):
    conf = changed(box, tmp_path, r"^password \{", "password {\n\tmemory_budget = 8MiB")
    done = postern(box, "-t", conf=conf)
    assert done.returncode == 78
    assert re.search(rf"^{conf}:\d+: password: 2 hash processes of 8MiB do not fit memory_budget = 8MiB", done.stderr)


def test_child_that_cannot_start_ends_the_start(disposable_sandbox, tmp_path):
    """auth refuses a database it could never reach from where it is confined."""
    box = disposable_sandbox(settings=FOUR)
    os.kill(box.master_pid, signal.SIGTERM)
    assert wait_for_end(box) == 0
    conf = changed(box, tmp_path, r'^\tdsn = .*', '\tdsn = "host=127.0.0.1 dbname=x sslmode=verify-full sslrootcert=/nowhere"')
    done = postern(box, conf=conf)
    assert done.returncode == 78
    assert f"a process could not start; {box.path('log', 'postern.log')} says why" in done.stderr
    lines = box.log_lines()
    assert any(" error auth-start " in line for line in lines) and any(" error start-failed " in line for line in lines)


@pytest.mark.skipif(not ROOT_MODE, reason="without root nobody's user changes")
def test_missing_user_is_told_with_the_command_that_adds_it(box, tmp_path):
    conf = changed(box, tmp_path, r"^\tprobe = .*", '\tprobe = "postern-no-such"')
    done = postern(box, conf=conf)
    assert done.returncode == 67
    assert re.search(r"users\.probe: there is no user postern-no-such: run `useradd --system .* postern-no-such`",
                     done.stderr)


def test_workers_auto_counts_the_cpus_of_the_affinity(disposable_sandbox):
    cpu = min(os.sched_getaffinity(0))
    box = disposable_sandbox(settings=("workers=auto",), prefix=["taskset", "-c", str(cpu)])
    assert {title for title in box.children() if kind(title) == "proxy"} == {"proxy 0"}
    assert any(" start " in line and " workers=1 hashers=1" in line for line in box.log_lines())


def test_certificate_that_disappears_does_not_end_what_runs(disposable_sandbox):
    """A new proxy cannot read it, and is tried again; the other serves on."""
    box = disposable_sandbox(settings=FOUR)
    key = box.path("tls", "server.key")
    if not os.path.exists(key):
        with open(box.conf, encoding="utf-8") as file:
            key = re.search(r'^\tkey = "?([^"\n]*)', file.read(), re.M)[1]
    shutil.move(key, key + ".away")
    victim = box.child("proxy 0")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: metrics(box)["postern_process_restarts_total"] >= 3, "some starts")
    send(box)
    shutil.move(key + ".away", key)
    wait_until(lambda: metrics(box)["postern_proxy_processes"] == 2, "both proxies")


# ------------------------------------------------------------------------ readiness
def test_readyz_tells_that_the_database_is_away(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    assert is_ready(box)
    server = box.process("postgres").pid
    os.kill(server, signal.SIGSTOP)
    try:
        # The workers of PostgreSQL that auth is connected to end at once; new ones are not made.
        for pid in harness.children_of(server):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"postern_service" in file.read():
                    os.kill(pid, signal.SIGTERM)
        wait_until(lambda: reasons(box) == {"database"}, "/readyz tells that the database is away")
        with box.secured() as client:
            client.login(box.user, box.password, want=454)
    finally:
        os.kill(server, signal.SIGCONT)
    wait_until(lambda: is_ready(box), "readiness", timeout=60)
    send(box)


def test_readyz_tells_that_every_backend_is_away(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    assert is_ready(box)
    backend = box.process("capture").pid
    with open(f"/proc/{backend}/cmdline", "rb") as file:
        argv = file.read().decode().rstrip("\0").split("\0")
    directory = os.readlink(f"/proc/{backend}/cwd")
    os.kill(backend, signal.SIGKILL)
    wait_until(lambda: reasons(box) == {"backend"}, "/readyz tells that every backend is away", timeout=60)
    again = subprocess.Popen([*argv, "--port", str(box.backend_port)], cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_ready(box), "readiness", timeout=60)
        send(box)
    finally:
        again.terminate()
        again.wait()


# ----------------------------------------------------------------------------- http
def test_healthz_is_ok(box):
    status, headers, body = get(box, "/healthz")
    assert (status, body) == (200, "ok\n")
    assert headers["Content-Type"].startswith("text/plain") and headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
def test_head_has_the_headers_of_get_and_no_body(box, path):
    status, headers, body = get(box, path)
    head_status, head_headers, head_body = get(box, path, "HEAD")
    assert head_status == status and head_body == ""
    assert head_headers["Content-Type"] == headers["Content-Type"]
    assert int(headers["Content-Length"]) == len(body)
    if path != "/metrics":
        assert head_headers["Content-Length"] == headers["Content-Length"]


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metricsx", "//metrics", "/../etc/passwd", "/%2e%2e/metrics"])
def test_other_paths_are_404(box, path):
    assert get(box, path)[0] == 404


def test_query_is_no_part_of_the_path(box):
    assert get(box, "/healthz?verbose=1")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_only_reads(box, method):
    assert get(box, "/metrics", method)[0] in (400, 501, 405)
    assert get(box, "/healthz")[0] == 200


def raw_request(box, data):
    host, _, port = box.admin_url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        answer = b""
        try:
            connection.sendall(data)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
        return answer


def test_large_requests_are_refused(box):
    for data in (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
                 b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
                 b"GET /healthz HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
                 b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" * 2000):
        assert not raw_request(box, data).startswith(b"HTTP/1.1 200")
    assert get(box, "/healthz")[0] == 200
    assert "admin" in box.children()


def test_connections_are_bounded_and_idle_ones_end(box):
    host, _, port = box.admin_url.removeprefix("http://").rpartition(":")
    pid = box.child("admin")
    idle = [socket.create_connection((host, int(port)), timeout=60) for _ in range(150)]
    try:
        if ROOT_MODE:
            # 64, the one that filled it, and what admin needs itself
            assert len(os.listdir(f"/proc/{pid}/fd")) <= 64 + 20
        for connection in idle:
            assert connection.recv(1) == b"", "closed after five seconds at most, then the next ones' turn"
        assert get(box, "/healthz")[0] == 200
    finally:
        for connection in idle:
            connection.close()
    assert box.child("admin") == pid


def test_metrics_have_help_and_type_each(box):
    body = get(box, "/metrics")[2]
    assert body.endswith("\n")
    families = re.findall(r"^# TYPE (\S+) (counter|gauge)$", body, re.M)
    assert len(families) > 40 and len({name for name, _ in families}) == len(families)
    for name, family in families:
        assert f"\n# HELP {name} " in "\n" + body
        assert (family == "counter") == name.endswith("_total")
        assert re.search(rf"^{name}(\{{[^}}]*\}})? [0-9.]+$", body, re.M)
    assert set(re.findall(r"^([a-z_]+)(?:\{.*\})? ", body, re.M)) == {name for name, _ in families}
    ages = re.findall(r'^postern_process_heartbeat_age_seconds\{process="(\w+)",index="(\d+)"\} ([0-9.]+)$', body, re.M)
    assert len(ages) == len(CHILDREN) + 1
    assert all(float(age) < 5 for _, _, age in ages)


def test_totals_never_decrease_while_children_are_killed(disposable_sandbox):
    box = disposable_sandbox(settings=FOUR)
    send(box)
    last, killed = {}, 0
    deadline = time.monotonic() + 10
    while killed < 12 and time.monotonic() < deadline:
        title = ("proxy 0", "probe", "auth", "proxy 1")[killed % 4]
        if (pid := box.children().get(title)) is not None:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        for _ in range(20):
            now = metrics(box)
            decreased = {name for name in last if name.endswith("_total") and now[name] < last[name]}
            assert not decreased, decreased
            last = now
    assert killed >= 4
    wait_until(lambda: is_ready(box), "readiness")
