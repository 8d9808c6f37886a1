# SPDX-License-Identifier: ISC
"""Behind a load balancer: whose connection it is says its header, and nobody else's word counts."""

import itertools
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

import harness
import observe
import proxied
import rawtls
import smtp
from proxied import BALANCER, LOCAL, v1, v2
from rig import CONTENT, RECIPIENT, Rig

STRANGER = "127.10.0.1"  # in no proxy_from
BLOCKED = "421 4.7.0 Connections from your network are refused at present; try again later"
HELD = "454 4.7.0 Too many failed log-ins; try again later"
SYNCHRONISATION = "554 5.5.0 Wait for the reply before sending more; closing connection"
TOO_MANY = "421 4.7.0 Too many connections from your network; try again later"
PORTS = ("submissions", "submission")
DEADLINE = 2
source_ports = itertools.count(20001)
BEHIND = [f"listen.{name}.{setting}" for name in PORTS
          for setting in ("proxy_protocol=required", 'proxy_from={"127.9.0.0/24", "2001:db8::/32"}')]


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=[*BEHIND, f"timeouts.proxy_header={DEADLINE}s", "trace.show_client=true", "workers=1",
                                      "guard.guesses=5", "guard.guesses_known=8", "limits.unauthenticated_per_prefix=4",
                                      "limits.connections_per_prefix=6"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


@pytest.fixture
def box(shared):
    observe.settle(shared.box)
    return shared.box


def number(box, port):
    return box.smtps_port if port == "submissions" else box.submission_port


def lines(box, *words):
    """Lines of the log that hold all these words."""
    return [line for line in box.log_lines() if all(word in f"{line} " for word in words)]


def logged(box, *words):
    return harness.wait_until(lambda: lines(box, *words), f"a line of the log with {words}")[-1]


def plain(box, port, source=BALANCER):
    """A socket and nothing more."""
    sock = socket.socket()
    sock.settimeout(30)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", number(box, port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def answer(sock):
    """All that it says before it closes."""
    got = b""
    try:
        while data := sock.recv(4096):
            got += data
    except ConnectionResetError:
        pass
    return got


# ----------------------------------------------------------------- whom it is told
@pytest.mark.threat("F06")
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("header", [v1, v2])
@pytest.mark.parametrize("client, shown", [("203.0.113.9", "203.0.113.9"), ("2001:db8:1::9", "2001:db8:1::9"),
                                           ("::ffff:203.0.113.10", "203.0.113.10")])
def test_the_client_that_is_told_is_the_one_that_counts(rig, port, header, client, shown):
    """In the log of every process, in Received: and in what auth is asked."""
    source = next(source_ports)
    with proxied.session(rig.box, header(client, source), port) as connection:
        connection.message(rig.box.user, [RECIPIENT], CONTENT)
        connection.quit()
    line = logged(rig.box, " info session ", f"rip={shown} ", f"rport={source} ")
    assert f"via={BALANCER} " in line
    sid = re.search(r"sid=(\S+)", line)[1]
    logged(rig.box, " info auth-ok ", f"rip={shown} ")
    assert f"rip={shown} " in logged(rig.box, " info transaction ", f"sid={sid} ")
    [body] = [body for session in rig.sessions() for body in session.bodies]
    literal = shown if ":" not in shown else f"IPv6:{shown}"
    assert f"[{literal}]".encode() in body.partition(b"\r\nSubject:")[0]
    assert BALANCER.encode() not in body


@pytest.mark.threat("F06")
@pytest.mark.parametrize("header", [v1("203.0.113.11"), v2("203.0.113.11", tlvs=b"\x01\0\x04smtp\x04\0\0")])
def test_a_header_in_pieces_and_in_one_with_the_client_hello(box, header):
    """What follows it belongs to TLS, to the octet."""
    context = ssl.create_default_context(cafile=box.ca)
    for at in (0, 1, len(header) - 1, len(header)):
        with plain(box, "submissions") as sock:
            tls = rawtls.TlsSocket(sock, context)
            hello = tls.hello()
            for octet in header[:at]:
                sock.sendall(bytes([octet]))
            sock.sendall(header[at:] + hello)
            tls.handshake()
            assert tls.recv(3) == b"220"
    assert lines(box, " session ", "rip=203.0.113.11 ")


@pytest.mark.threat("F06")
@pytest.mark.parametrize("behind", [b"EHLO me\r\n", v1("203.0.113.13"), v2("203.0.113.13")])
def test_what_follows_a_header_is_the_clients_own(box, behind):
    """And no word of the balancer's: a second header least of all."""
    with plain(box, "submission") as sock:
        sock.sendall(v1("203.0.113.12") + behind)
        assert answer(sock).decode() == SYNCHRONISATION + "\r\n"
    with plain(box, "submissions") as sock:
        sock.sendall(v2("203.0.113.12") + behind)
        assert b"220" not in answer(sock)
    logged(box, "rip=203.0.113.12 ", "reason=\"early talker\"")
    assert not lines(box, "203.0.113.13")


# ------------------------------------------------------------------ who may not tell
@pytest.mark.threat("F06")
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("header", [b"", v1("203.0.113.14"), v2("203.0.113.14"), LOCAL])
def test_nobody_else_may_tell(box, port, header):
    """Closed at once, before anything is read or said."""
    change = observe.Change(box)
    started = time.monotonic()
    with plain(box, port, STRANGER) as sock:
        source = sock.getsockname()[1]
        try:
            sock.sendall(header)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert answer(sock) == b""
    assert time.monotonic() - started < DEADLINE
    line = logged(box, " warning proxy-refused ", f"rip={STRANGER} ", f"rport={source} ")
    assert f"listen={port}" in line and 'reason="not from a load balancer"' in line
    harness.wait_until(lambda: change("proxy_refused_total") == 1, "it is counted")
    assert change("proxy_headers_total") == 0
    assert not lines(box, "203.0.113.14")


@pytest.mark.threat("F06")
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("octets", [
    b"EHLO me\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"PROXY TCP4 203.0.113.15 198.51.100.2 1\r\n",
    b"PROXY TCP4 203.0.113.15 198.51.100.2 1 2\n", b"PROXY UNKNOWN " + b"a" * 94, proxied.block(1, 0x11, b"1234"),
    v2("203.0.113.15", tlvs=b"\x04\xff\xff"), v2("203.0.113.15", tlvs=b"\x03\0\x04\0\0\0\0"),
    proxied.SIGNATURE + b"\x21\x11\xff\xff", proxied.SIGNATURE + b"\x31"])
def test_what_is_no_header_closes_without_a_word(box, port, octets):
    """At once: a listener that asks for a header never speaks without one."""
    change = observe.Change(box)
    started = time.monotonic()
    with plain(box, port) as sock:
        sock.sendall(octets)
        assert answer(sock) == b""
    assert time.monotonic() - started < DEADLINE
    harness.wait_until(lambda: change("proxy_refused_total") == 1, "it is counted")
    assert not lines(box, "203.0.113.15")


@pytest.mark.threat("F06", "G01")
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("drip", [False, True])
def test_the_header_has_a_deadline(box, port, drip):
    """Whatever drips in meanwhile, and nothing is said while it is awaited."""
    started = time.monotonic()
    with plain(box, port) as sock:
        sock.settimeout(0.1)
        header = iter(v2("203.0.113.16", tlvs=b"\x04\x00\xc8" + bytes(200)))
        got = None
        while got is None:
            assert time.monotonic() - started < 5 * DEADLINE
            try:
                if drip:
                    sock.sendall(bytes([next(header)]))
                got = sock.recv(100)
            except socket.timeout:
                pass
            except (ConnectionResetError, BrokenPipeError):
                got = b""
        assert got == b""
    assert time.monotonic() - started > DEADLINE * 0.9
    assert "reason=timeout" in logged(box, " proxy-refused ", f"listen={port}")


# ------------------------------------------------------------------------ the door
def greeting(box, client):
    with proxied.Client(box, v2(client), "submission", greeting=None) as connection:
        connection.say_header()
        return connection.reply().text


@pytest.mark.threat("F06", "G02")
def test_limits_are_the_told_clients(box):
    """One client of the balancer's may have so many strangers; the balancer's own address counts for nobody."""
    held = [proxied.Client(box, v1("203.0.113.20", 1024 + i), "submission") for i in range(4)]
    assert greeting(box, "203.0.113.20") == TOO_MANY
    held += [proxied.Client(box, v2(f"203.0.113.{21 + i}"), "submission") for i in range(8)]
    assert greeting(box, "203.0.113.20") == TOO_MANY
    # On 465 there is nobody to read it.
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        proxied.Client(box, v2("203.0.113.20"))
    held.pop(0).quit()
    harness.wait_until(lambda: greeting(box, "203.0.113.20").startswith("220"), "room for one more")
    for client in held:
        client.close()


@pytest.mark.threat("F06", "C22")
def test_the_guard_sees_the_told_client(box):
    """Wrong passwords hold him and nobody else behind the same balancer."""
    def guess(client, password):
        with proxied.secured(box, v2(client)) as connection:
            return connection.login("nobody@example.test", password, want=None).text
    answers = [guess("203.0.113.30", f"guess{i}") for i in range(6)]
    assert [text[:3] for text in answers] == ["535"] * 5 + ["454"] and answers[-1] == HELD
    assert guess("203.0.113.31", "guess").startswith("535")
    assert "rip=203.0.113.30 " in logged(box, " auth-held ")


@pytest.mark.threat("F06", "C22")
def test_blocks_are_of_the_told_client(box):
    with proxied.Client(box, v1("203.0.113.40"), "submission") as stranger, \
            proxied.Client(box, v1("203.0.114.41"), "submission") as other:
        box.ctl("block", "add", "203.0.113.40/29", "--for", "10m")
        assert stranger.reply().text == BLOCKED  # his connection was there before
        other.ehlo()
        assert greeting(box, "203.0.113.41") == BLOCKED
        assert greeting(box, "203.0.114.41").startswith("220")
    box.ctl("block", "del", "203.0.113.40/29")
    harness.wait_until(lambda: greeting(box, "203.0.113.41").startswith("220"), "the end of the block")


def local_greeting(box):
    with proxied.Client(box, LOCAL, "submission", greeting=None) as connection:
        connection.say_header()
        return connection.reply().text


def test_a_block_of_the_balancer_is_of_its_own_connections(box):
    box.ctl("block", "add", "127.9.0.0/24", "--for", "10m")
    harness.wait_until(lambda: local_greeting(box) == BLOCKED, "the block", timeout=10)
    assert greeting(box, "203.0.113.42").startswith("220")
    box.ctl("block", "del", "127.9.0.0/24")
    harness.wait_until(lambda: local_greeting(box).startswith("220"), "its end", timeout=10)


@pytest.mark.threat("F06")
def test_networks_of_a_credential_are_of_the_told_client(rig):
    login = rig.account("behind@example.test")
    os.environ["POSTERN_PEPPER"] = rig.box.env["POSTERN_PEPPER"]
    try:
        out = rig.box.ctl("credential", "add", login, "--network", "203.0.113.0/24")
    finally:
        del os.environ["POSTERN_PEPPER"]
    secret = re.search(r"pst_\S+|pst-\S+", out)[0]
    with proxied.session(rig.box, v2("203.0.113.50"), user=login, password=secret) as client:
        client.quit()
    for header in (v2("203.0.114.50"), LOCAL):
        with proxied.secured(rig.box, header) as client:
            client.login(login, secret, want=535)
        assert "reason=network" in lines(rig.box, " auth-failed ")[-1]


# ----------------------------------------------------------- the balancer's own
@pytest.mark.threat("F06")
@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 203.0.113.60 198.51.100.2 1 2\r\n",
                                    proxied.block(0, 0x11, bytes([203, 0, 113, 60, 198, 51, 100, 2, 0, 1, 0, 2])),
                                    proxied.block(1, 0x31, bytes(216))])
def test_who_is_not_told_has_the_balancers_address(rig, header):
    with proxied.session(rig.box, header) as client:
        source = client.sock.getsockname()[1]
        client.message(rig.box.user, [RECIPIENT], CONTENT)
        client.quit()
    line = logged(rig.box, " info session ", f"rport={source} ")
    assert f"rip={BALANCER} " in line and " via=" not in line
    assert f"[{BALANCER}]".encode() in rig.sessions()[0].bodies[0]
    assert not lines(rig.box, "203.0.113.60")


def check_health(box, port, way, source_of):
    if way == "closes":
        with plain(box, port) as sock:
            sock.sendall(LOCAL)
            source_of.append(sock.getsockname()[1])
            if port == "submission":
                assert sock.recv(3) == b"220"
    elif way == "resets":
        with plain(box, port) as sock:
            source_of.append(sock.getsockname()[1])
            sock.sendall(LOCAL)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    else:
        with proxied.Client(box, LOCAL, port) as client:
            source_of.append(client.sock.getsockname()[1])
            client.ehlo("haproxy.example.net")
            client.quit()


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("way", ["closes", "resets", "talks"])
def test_health_checks_are_no_errors(box, port, way):
    """Nor news: what goes well is in the log at debug level only."""
    change = observe.Change(box)
    sources = []
    for _ in range(3):
        check_health(box, port, way, sources)
    for source in sources:
        assert " debug session " in logged(box, " session ", f"rip={BALANCER} rport={source} ")
    harness.wait_until(lambda: change("proxy_headers_total") == 3, "they are counted")
    for error in ("tls_handshakes_failed_total", "protocol_errors_total", "proxy_refused_total",
                  "connections_refused_total"):
        assert change(error) == 0, error


def test_a_look_at_the_port_is_no_error(box):
    """And a connection of the balancer's that is none."""
    change = observe.Change(box)
    for port in PORTS:
        plain(box, port).close()
    harness.wait_until(lambda: change("connections_total") == 2, "both connections")
    observe.settle(box)
    with proxied.session(box, v2("203.0.113.61")) as client:
        client.quit()
    assert change("proxy_refused_total") == 0
    assert change("tls_handshakes_failed_total") == 0


# -------------------------------------------------------------- other listeners
@pytest.mark.threat("F06", "D16")
def test_no_header_is_read_where_none_is_asked_for(sandbox):
    """It is what it always was: early talk, an unknown command, no TLS."""
    for header in (v1("203.0.113.70"), v2("203.0.113.70")):
        with plain(sandbox, "submissions") as sock:
            sock.sendall(header)
            assert b"220" not in answer(sock)
        with sandbox.connect("submission") as client:
            client.send(header)
            assert client.reply().code in (500, 530)
    with sandbox.secured(source=STRANGER) as client:
        client.command(v1("203.0.113.70")[:-2], 502)
        client.login(sandbox.user, sandbox.password)
        client.quit()
    logged(sandbox, " session ", f"rip={STRANGER} ")
    assert not lines(sandbox, "203.0.113.70")


# ---------------------------------------------------------------- bounds and ends
@pytest.mark.threat("F06", "G02")
def test_those_that_tell_nothing_crowd_out_themselves(disposable_sandbox):
    box = disposable_sandbox(settings=[*BEHIND, "workers=1", "timeouts.proxy_header=1m", "limits.unauthenticated=5"])
    silent = [plain(box, "submissions") for _ in range(9)]
    for sock in silent[:4]:
        assert answer(sock) == b""
        sock.close()
    with proxied.session(box, v2("203.0.113.80")) as client:
        client.mail(box.user, [RECIPIENT])
        client.command("DATA", 354)
        assert len(lines(box, " proxy-refused ", 'reason="crowded out"')) >= 4
        os.kill(box.master_pid, signal.SIGTERM)  # nobody comes in any more, though a message is under way
        for sock in silent[4:]:
            assert answer(sock) == b""
            sock.close()
        client.send(smtp.transparent(CONTENT))
        client.reply(250)
    harness.wait_until(lambda: not box.children(), "the end of all processes", timeout=15)


# ------------------------------------------------------------------------ haproxy
HAPROXY = """
global
	maxconn 100
defaults
	mode tcp
	timeout connect 5s
	timeout client 60s
	timeout server 60s
listen submissions
	bind fd@{fds[0]}
	server a 127.0.0.1:{box.smtps_port} source {balancer} send-proxy-v2 proxy-v2-options crc32c,unique-id check inter 200ms
	unique-id-format %[uuid()]
listen submission
	bind fd@{fds[1]}
	option smtpchk EHLO haproxy.example.net
	server a 127.0.0.1:{box.submission_port} source {balancer} send-proxy check inter 200ms
"""


@pytest.fixture
def haproxy(box, tmp_path):
    """A real one; its addresses for submissions and submission."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    fds = [sock.fileno() for sock in sockets]
    path = tmp_path / "haproxy.cfg"
    path.write_text(HAPROXY.format(box=box, fds=fds, balancer=BALANCER), encoding="ascii")
    with open(tmp_path / "haproxy.log", "wb") as log, \
            subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", path], pass_fds=fds, stdin=subprocess.DEVNULL,
                             stdout=log, stderr=subprocess.STDOUT) as process:
        yield {port: sock.getsockname() for port, sock in zip(PORTS, sockets)}
        process.terminate()
    for sock in sockets:
        sock.close()


@pytest.mark.threat("F06")
def test_behind_a_real_haproxy(rig, box, haproxy):
    """Version 2 with a checksum and TLVs to 465, version 1 to 587; its health checks find all well."""
    change = observe.Change(box)
    for port, source in zip(PORTS, ("127.11.0.1", "127.11.0.2")):
        host, there = haproxy[port]
        with smtp.Client(host, there, ca=box.ca, tls="implicit" if port == "submissions" else None,
                         source=source) as client:
            client.ehlo()
            if port == "submission":
                client.starttls()
                client.ehlo()
            own = client.sock.getsockname()[1]
            client.login(box.user, box.password)
            client.message(box.user, [RECIPIENT], CONTENT)
            client.quit()
        line = logged(box, " info session ", f"rip={source} ", f"rport={own} ")
        assert f"via={BALANCER} " in line and "messages=1 " in line
    assert len(rig.bodies()) == 2
    harness.wait_until(lambda: change("proxy_headers_total") >= 12, "health checks")
    for error in ("tls_handshakes_failed_total", "protocol_errors_total", "proxy_refused_total"):
        assert change(error) == 0, error
