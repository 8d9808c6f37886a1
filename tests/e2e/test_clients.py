# SPDX-License-Identifier: ISC
"""The clients that people use, through both ports, with PLAIN and LOGIN, to both kinds of backend.

What counts is that the body arrives byte for byte, so the contents hold all that breaks on the way:
lone dots, lines of 10,000 octets, octets above 127, control characters, empty lines, 20 MB.
"""

import os
import random
import smtplib
import ssl

import pytest

import harness

RECIPIENT = "friend@example.net"
HEADERS = (b"From: alice@example.test\r\nTo: friend@example.net\r\nSubject: Byte for byte\r\n"
           b"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-Id: <1@example.test>\r\n"
           b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
           b"Content-Transfer-Encoding: 8bit\r\n\r\n")
CONTROLS = bytes(octet for octet in range(1, 32) if octet not in b"\r\n") + b"\x7f"
TRICKY = HEADERS + b"\r\n".join([
    b".", b"..", b"...", b".a", b"a.", b" .", b"", b"", b".",
    "Grüße, Привет, 你好".encode(), bytes(range(128, 256)), CONTROLS,
    b"x" * 998, b"y" * 10000, b"." * 5000, b"From here", b">From there", b"-", b"QUIT", b"end"]) + b"\r\n"
BIG_OCTETS = 20 * 1000 * 1000


def big_content():
    """20 MB of lines of all lengths up to 998, many with leading dots; the same every time."""
    source = random.Random(465)
    lines = [b"." * source.randrange(3) + bytes([source.randrange(33, 127)]) * source.randrange(996)
             for _ in range(2000)]
    block = b"\r\n".join(lines) + b"\r\n"
    return HEADERS + block * (BIG_OCTETS // len(block) + 1) + b"." * 900 + b"\r\n"


BIG = big_content()


class Mail:
    """One message on its way: where to, how, and the content in a file with CRLF and one with LF."""

    def __init__(self, box, port, mechanism, content, directory):
        self.box = box
        self.implicit = port == 465
        self.port = box.smtps_port if self.implicit else box.submission_port
        self.mechanism = mechanism
        self.content = content
        self.directory = directory

    def file(self, content):
        path = os.path.join(self.directory, "message")
        with open(path, "wb") as file:
            file.write(content)
        return path


def finish(done):
    assert done.returncode == 0, f"{done.args[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def by_swaks(mail):
    # swaks takes lines with LF, doubles no dots by itself when told to leave the data alone, and ends it.
    transparent = harness.smtp.transparent(mail.content)
    finish(harness.run(["swaks", "--server", "localhost", "--port", str(mail.port),
                        "--tls-on-connect" if mail.implicit else "--tls",
                        "--tls-verify", "--tls-ca-path", mail.box.ca,
                        "--auth", mail.mechanism, "--auth-user", mail.box.user,
                        "--auth-password", mail.box.password, "--from", mail.box.user,
                        "--to", RECIPIENT, "--no-data-fixup", "--suppress-data", "--data",
                        "@" + mail.file(transparent[:-2])]))


def by_curl(mail):
    scheme = "smtps" if mail.implicit else "smtp"
    finish(harness.run(["curl", "-sSv", "--ssl-reqd", "--cacert", mail.box.ca,
                        f"{scheme}://localhost:{mail.port}",
                        "--user", f"{mail.box.user}:{mail.box.password}",
                        "--login-options", f"AUTH={mail.mechanism}", "--mail-from", mail.box.user,
                        "--mail-rcpt", RECIPIENT, "--upload-file", mail.file(mail.content)]))


MSMTP = """\
account default
host localhost
port {port}
tls on
tls_starttls {starttls}
tls_trust_file {ca}
auth {mechanism}
user {user}
password {password}
from {user}
"""


def by_msmtp(mail):
    path = os.path.join(mail.directory, "msmtprc")
    with open(path, "w", encoding="ascii") as file:
        file.write(MSMTP.format(port=mail.port, starttls="off" if mail.implicit else "on",
                                ca=mail.box.ca, mechanism=mail.mechanism.lower(), user=mail.box.user,
                                password=mail.box.password))
    os.chmod(path, 0o600)
    # msmtp reads what sendmail reads: lines that end in LF.
    with open(mail.file(mail.content.replace(b"\r\n", b"\n")), "rb") as content:
        done = harness.subprocess.run(["msmtp", "-C", path, RECIPIENT], stdin=content, check=False,
                                      capture_output=True, text=True, timeout=300)
    finish(done)


def by_smtplib(mail):
    context = ssl.create_default_context(cafile=mail.box.ca)
    kind = smtplib.SMTP_SSL if mail.implicit else smtplib.SMTP
    options = {"context": context} if mail.implicit else {}
    with kind("localhost", mail.port, timeout=120, **options) as client:
        if not mail.implicit:
            client.starttls(context=context)
        client.ehlo()
        client.user, client.password = mail.box.user, mail.box.password
        method = client.auth_plain if mail.mechanism == "PLAIN" else client.auth_login
        assert client.auth(mail.mechanism, method)[0] == 235
        assert client.sendmail(mail.box.user, [RECIPIENT], mail.content, ["BODY=8BITMIME"]) == {}


CLIENTS = {"swaks": by_swaks, "curl": by_curl, "msmtp": by_msmtp, "smtplib": by_smtplib}


@pytest.fixture(scope="module", params=["capture", "postfix"])
def box(request, sandbox, make_sandbox):
    return sandbox if request.param == "capture" else make_sandbox(backend="postfix")


def send_and_compare(box, client, port, mechanism, content, directory):
    before = box.message_names()
    CLIENTS[client](Mail(box, port, mechanism, content, str(directory)))
    [message] = box.new_messages(before)
    assert message.recipients == [RECIPIENT]
    assert message.sender == box.user
    # Not assert ==: pytest would explain 20 MB of difference.
    if message.body != content:
        at = next((i for i, (got, want) in enumerate(zip(message.body, content)) if got != want),
                  min(len(message.body), len(content)))
        pytest.fail(f"{len(message.body)} octets arrived of {len(content)}; first difference at {at}: "
                    f"got {message.body[at - 20:at + 40]!r}, want {content[at - 20:at + 40]!r}")
    return message


@pytest.mark.row("34", "46", "48")
@pytest.mark.threat("A08")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("port", [465, 587])
@pytest.mark.parametrize("client", CLIENTS)
def test_body_arrives_byte_for_byte(box, client, port, mechanism, tmp_path):
    send_and_compare(box, client, port, mechanism, TRICKY, tmp_path)


@pytest.mark.parametrize("port, mechanism", [(465, "PLAIN"), (587, "LOGIN")])
@pytest.mark.parametrize("client", CLIENTS)
def test_20_megabytes_arrive_byte_for_byte(box, client, port, mechanism, tmp_path):
    send_and_compare(box, client, port, mechanism, BIG, tmp_path)


@pytest.mark.threat("A09")
@pytest.mark.parametrize("content", [b"", b"\r\n", b".\r\n", b"\r\n\r\n", b"no header at all\r\n"])
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_the_smallest_messages_arrive_too(sandbox, port, content):
    before = sandbox.message_names()
    with sandbox.session(port) as client:
        client.message(sandbox.user, [RECIPIENT], content)
        client.quit()
    [message] = sandbox.new_messages(before)
    assert message.body == content


@pytest.mark.row("36")
@pytest.mark.threat("F07")
def test_backend_sees_one_received_line_that_hides_the_client(box, tmp_path):
    message = send_and_compare(box, "smtplib", 465, "PLAIN", TRICKY, tmp_path)
    ours = [line for line in message.received if "submit.example.test" in line and "ESMTPSA" in line]
    assert len(ours) == 1, message.received
    assert box.user not in ours[0]
    assert "127.0.0.1" not in ours[0] and "[::1]" not in ours[0]


def test_wrong_password_fails_in_every_client(sandbox, tmp_path):
    before = sandbox.message_names()
    for name, send in CLIENTS.items():
        mail = Mail(sandbox, 465, "PLAIN", TRICKY, str(tmp_path))
        mail.box = type("Wrong", (), {"ca": sandbox.ca, "user": sandbox.user, "password": "wrong"})
        with pytest.raises((AssertionError, smtplib.SMTPAuthenticationError)):
            send(mail)
    assert sandbox.message_names() == before, "no message of a client that failed to log in"
