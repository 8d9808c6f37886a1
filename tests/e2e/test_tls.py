# SPDX-License-Identifier: ISC
"""TLS on both ports: versions, suites, ALPN, tickets, STARTTLS and what is injected around it."""

import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

import harness
import observe
import rawtls
from box.ports import have_ipv6

HOSTS = ["127.0.0.1", *(["::1"] if have_ipv6() else [])]
SYNCHRONISATION = "554 5.5.0 Wait for the reply before sending more; closing connection"


@pytest.fixture(scope="module")
def box(make_sandbox):
    return make_sandbox(settings=["timeouts.handshake=2s", "limits.connections_per_prefix=1000", "limits.unauthenticated_per_prefix=1000"])


def context(box, **options):
    made = ssl.create_default_context(cafile=box.ca)
    for name, value in options.items():
        setattr(made, name, value)
    return made


def only(box, version, ciphers=None):
    made = context(box)
    if ciphers:
        made.set_ciphers(ciphers)
    made.minimum_version = made.maximum_version = version
    return made


# ------------------------------------------------------------- versions and suites
@pytest.mark.row("48", "83")
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_both_ports_both_families_both_versions(box, port, host, version):
    with box.session(port, host=host, context=only(box, ssl.TLSVersion[version])) as client:
        assert client.sock.version() == version.replace("_", ".")
        client.quit()


@pytest.mark.row("50", "83")
@pytest.mark.threat("B19")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_older_versions_get_an_alert(box, port, version):
    with pytest.warns(DeprecationWarning):
        old = only(box, ssl.TLSVersion[version], "ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version|unsupported protocol"):
        box.secured(port, context=old)
    with box.session(port) as client:
        client.quit()


WEAK = ["AES128-GCM-SHA256", "AES256-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-CCM", "DHE-RSA-AES128-GCM-SHA256"]


@pytest.mark.row("85")
@pytest.mark.threat("B19")
@pytest.mark.parametrize("cipher", WEAK)
def test_all_but_ecdhe_with_aead_is_refused(box, cipher):
    with pytest.raises(ssl.SSLError, match="(?i)handshake.failure"):
        box.connect(context=only(box, ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0"))


STRONG = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]


@pytest.mark.row("85")
@pytest.mark.parametrize("cipher", STRONG)
def test_ecdhe_with_aead_is_served(box, cipher):
    with box.connect(context=only(box, ssl.TLSVersion.TLSv1_2, cipher)) as client:
        assert client.sock.cipher()[0] == cipher


@pytest.mark.row("85")
def test_server_prefers(box):
    """Its own order, but ChaCha20 for who puts it first: a machine without AES instructions."""
    with box.connect(context=only(box, ssl.TLSVersion.TLSv1_2, f"{STRONG[1]}:{STRONG[0]}")) as client:
        assert client.sock.cipher()[0] == STRONG[0]
    with box.connect(context=only(box, ssl.TLSVersion.TLSv1_2, f"{STRONG[2]}:{STRONG[0]}")) as client:
        assert client.sock.cipher()[0] == STRONG[2]


@pytest.mark.row("84")
@pytest.mark.threat("B19")
def test_no_compression(box):
    with box.connect() as client:
        assert client.sock.compression() is None


# -------------------------------------------------------------------- ALPN and SNI
@pytest.mark.row("87")
@pytest.mark.threat("B13")
@pytest.mark.parametrize("offered, chosen", [(None, None), (["smtp"], "smtp"), (["http/1.1", "smtp"], "smtp")])
def test_alpn(box, offered, chosen):
    made = context(box)
    if offered:
        made.set_alpn_protocols(offered)
    with box.connect(context=made) as client:
        assert client.sock.selected_alpn_protocol() == chosen


@pytest.mark.row("87")
@pytest.mark.threat("B13")
@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"], ["smtps"], ["smt"], ["imap"]])
def test_alpn_without_smtp_is_fatal(box, offered):
    """B13, ALPACA: what speaks another protocol goes no further."""
    made = context(box)
    made.set_alpn_protocols(offered)
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        box.connect(context=made)


class Openssl:
    """openssl s_client on port 465, as a person at a terminal would use it."""

    def __init__(self, box, *options):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{box.smtps_port}", "-CAfile", box.ca, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = b""
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self):
        return self.expect(b"ESMTP Postern")

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def expect(self, text, count=1):
        def there():
            try:
                self.output += os.read(self.process.stdout.fileno(), 65536)
            except BlockingIOError:
                pass
            return self.output.count(text) >= count
        harness.wait_until(there, f"{count} times {text} from s_client, not {self.output}", timeout=10)
        return self

    def send(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()


@pytest.mark.row("90")
@pytest.mark.threat("B16")
@pytest.mark.parametrize("name", ["..\\evil\\", "../../etc/passwd", "192.0.2.1", "x" * 255, "a b", "%s%n", "other.example"])
def test_sni_of_any_kind_is_only_a_name(box, name):
    """B16: no file is looked up by it; the default certificate answers."""
    with Openssl(box, "-servername", name, "-quiet") as client:
        client.send(b"QUIT\r\n")
        client.expect(b"221 2.0.0 Bye")


# ------------------------------------------------- renegotiation, key updates, tickets
@pytest.mark.row("88")
@pytest.mark.threat("B11")
def test_renegotiation_is_refused(box):
    """B11: the client asks (R) and gets no second handshake."""
    change = observe.Change(box)
    with Openssl(box, "-tls1_2") as client:
        client.send(b"R\n")
        client.expect(b"RENEGOTIATING")
        client.expect(b"no renegotiation")
    assert change("tls_handshakes_total") == 1
    with box.session() as client:
        client.quit()


@pytest.mark.threat("B12")
def test_key_updates_are_followed(box):
    """B12: twenty times in both directions, and the dialogue goes on."""
    with Openssl(box, "-tls1_3") as client:
        for count in range(1, 21):
            client.send(b"K\n")
            client.expect(b"KEYUPDATE", count)
            client.send(b"NOOP\r\n")
            client.expect(b"250 2.0.0 OK", count)


@pytest.mark.threat("B18")
def test_no_early_data(box, tmp_path):
    """B18."""
    path = str(tmp_path / "session")
    with Openssl(box, "-tls1_3", "-sess_out", path, "-quiet"):
        harness.wait_until(lambda: os.path.exists(path) and os.path.getsize(path), "a ticket")
    done = harness.run(["openssl", "sess_id", "-in", path, "-noout", "-text"])
    assert "Max Early Data: 0" in done.stdout, done.stdout


class stopped:
    """One proxy stands still: the others take all new connections."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def handshake(box, made, port="submissions", session=None):
    """(reused, session) of one connection."""
    client = rawtls.Client("127.0.0.1", box.smtps_port if port == "submissions" else box.submission_port, context=made,
                           tls="implicit" if port == "submissions" else None, session=session)
    with client:
        if port == "submission":
            client.ehlo()
            client.starttls()
        client.ehlo()  # whoever reads this has read the ticket too
        return client.sock.tls.session_reused, client.sock.tls.session


@pytest.mark.row("86")
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_resumption_works_across_workers(box, port, version):
    made = only(box, ssl.TLSVersion[version])
    one, two = observe.proxies(box).values()
    change = observe.Change(box)
    with stopped(two):
        reused, session = handshake(box, made, port)
        assert not reused
        assert handshake(box, made, port, session)[0], "at the worker that gave the ticket"
    with stopped(one):
        assert handshake(box, made, port, session)[0], "at the other worker"
    assert change("tls_handshakes_resumed_total") == 2
    assert change("tls_handshakes_total") == 3


@pytest.mark.row("86")
@pytest.mark.threat("B17")
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_ticket_of_one_listener_is_no_good_at_the_other(box, version):
    """B17."""
    made = only(box, ssl.TLSVersion[version])
    for here, there in (("submissions", "submission"), ("submission", "submissions")):
        _, session = handshake(box, made, here)
        reused, _ = handshake(box, made, there, session)
        assert not reused


# ------------------------------------------------------------------------ STARTTLS
INJECTIONS = {"commands": b"STARTTLS\r\nEHLO x\r\nNOOP\r\n", "half-command": b"STARTTLS\r\nNOO", "one-octet": b"STARTTLS\r\n\r",
              "with-ehlo": b"EHLO x\r\nSTARTTLS\r\nAUTH PLAIN AGEAYQ==\r\n"}


@pytest.mark.row("82")
@pytest.mark.threat("B01", "B02")
@pytest.mark.parametrize("name", INJECTIONS)
def test_octets_behind_starttls_close_the_session(box, name):
    """B01, B02: CVE-2011-0411; closed before the 220, and nothing of it is ever run."""
    change = observe.Change(box)
    with box.connect("submission") as client:
        client.ehlo()
        client.send(INJECTIONS[name])
        if name == "with-ehlo":
            client.reply(250)
        assert client.reply().text == SYNCHRONISATION
        client.expect_end()
    assert change("tls_handshakes_total") == 0


@pytest.mark.row("82")
@pytest.mark.threat("B03")
def test_client_hello_glued_to_starttls(box):
    """B03: who does not wait for the 220 could be two."""
    with box.connect("submission") as client:
        client.ehlo()
        hello = rawtls.TlsSocket(client.sock, context(box)).hello()
        client.send(b"STARTTLS\r\n" + hello)
        assert client.reply().text == SYNCHRONISATION
        client.expect_end()


@pytest.mark.threat("B02")
def test_octets_between_the_220_and_the_handshake_are_no_commands(box):
    change = observe.Change(box)
    with box.connect("submission") as client:
        client.ehlo()
        client.command("STARTTLS", 220)
        client.send(b"NOOP\r\n")
        rest = b""
        while data := client.receive():
            rest += data
        assert b"250" not in rest
    harness.wait_until(lambda: change("tls_handshakes_failed_total") == 1, "a failed handshake")


def test_starttls_in_pieces(box):
    with box.connect("submission") as client:
        client.ehlo()
        for octet in b"STARTTLS\r\n":
            client.send(bytes([octet]))
        client.reply(220)
        client.handshake()
        client.ehlo()


@pytest.mark.row("80", "81")
@pytest.mark.threat("B05")
def test_starttls_forgets_what_was_said_before(box):
    """B05, RFC 3207 4.2."""
    with box.connect("submission") as client:
        client.ehlo()
        assert "STARTTLS" in client.extensions and "AUTH" not in client.extensions
        for _ in range(15):
            client.command("FOO", 500)
        client.starttls()
        assert client.command("AUTH PLAIN").text == "503 5.5.1 Send EHLO first"
        for _ in range(15):
            client.command("FOO", 500)
        client.ehlo()
        assert "STARTTLS" not in client.extensions and client.extensions["AUTH"] == "PLAIN LOGIN"


@pytest.mark.row("81")
@pytest.mark.threat("B06")
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_starttls_within_tls(box, port):
    """B06."""
    with box.session(port) as client:
        assert client.command("STARTTLS").text == "503 5.5.1 TLS is already active"
        client.quit()


@pytest.mark.threat("H09")
def test_failed_handshake_of_one_leaves_others_alone(box):
    """H09: OpenSSL's error queue is one a thread."""
    with box.session() as client, box.session("submission") as other:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", box.smtps_port)) as sock:
                sock.sendall(b"\x16\x03\x01\x00\x05garbage that is no handshake\r\n")
                client.command("NOOP", 250)
                other.command("NOOP", 250)
        client.message(box.user, ["friend@example.net"], b"Subject: x\r\n\r\n")


# ----------------------------------------------------------------------- deadlines
class Slow:
    """Somebody who never gets through his handshake."""

    def __init__(self, box, port, how):
        self.name = f"{how} on {port}"
        client = box.connect("submission") if port == "submission" else None
        if client:
            client.ehlo()
            client.command("STARTTLS", 220)
        self.sock = client.sock if client else socket.create_connection(("127.0.0.1", box.smtps_port))
        hello = rawtls.TlsSocket(self.sock, context(box)).hello()
        self.octets = hello[:60] if how == "trickle" else b""
        if how == "half-hello":
            self.sock.sendall(hello[:100])
        self.sock.settimeout(0.02)

    def ended(self):
        try:
            self.sock.sendall(self.octets[:1])
            self.octets = self.octets[1:]
            return self.sock.recv(100) == b""
        except socket.timeout:
            return False
        except ConnectionError:
            return True


@pytest.mark.threat("B20", "G01")
def test_handshake_deadline(box):
    """B20: two seconds here, whatever the client sends in them; others are served meanwhile."""
    begin = time.monotonic()
    slow = [Slow(box, port, how) for how in ("silent", "half-hello", "trickle") for port in ("submissions", "submission")]
    with box.session() as client:
        client.quit()
    for one in slow:
        harness.wait_until(one.ended, f"the end of the one who is {one.name}", timeout=10)
        one.sock.close()
    assert 1.5 < time.monotonic() - begin < 10


# -------------------------------------------------------------------- certificates
def start(box, tmp_path, **changes):
    """Runs the daemon with the box's configuration, changed; it must refuse to start."""
    with open(box.conf, encoding="utf-8") as file:
        lines = file.read().splitlines()
    path = tmp_path / "postern.conf"
    for number, line in enumerate(lines):
        key = line.split("=")[0].strip()
        if key in changes:
            lines[number] = f'{key} = "{changes[key]}"'
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o600)
    return [harness.run([os.path.join(harness.BUILD, "postern"), *test, "-c", str(path)], timeout=30) for test in (["-t"], [])]


@pytest.mark.row("78")
@pytest.mark.parametrize("case", ["no-chain", "no-key", "garbage-chain", "garbage-key", "foreign-key", "passphrase", "key-as-chain"])
def test_certificate_errors_are_fatal_and_clear(box, tmp_path, case):
    tls = box.path("tls")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", encoding="ascii")
    locked = str(tmp_path / "locked.key")
    harness.run(["openssl", "ec", "-in", f"{tls}/server.key", "-aes128", "-passout", "pass:secret", "-out", locked])
    changes = {"no-chain": {"chain": "/nonexistent/chain.pem"}, "no-key": {"key": "/nonexistent/server.key"},
               "garbage-chain": {"chain": str(garbage)}, "garbage-key": {"key": str(garbage)},
               "foreign-key": {"key": f"{tls}/ca.key"}, "passphrase": {"key": locked},
               "key-as-chain": {"chain": f"{tls}/server.key"}}[case]
    [blamed] = changes.values()
    for done in start(box, tmp_path, **changes):
        assert done.returncode not in (0, None), case
        text = done.stdout + done.stderr
        assert blamed in text and "certificate" in text, text
        assert "Sanitizer" not in text
