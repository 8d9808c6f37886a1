# SPDX-License-Identifier: ISC
"""The tests' own tools: the capture backend keeps exactly the bytes, the scripted one shows them."""

import os
import sys

import pytest

import harness
import smtp

sys.path.insert(0, os.path.join(harness.ROOT, "deploy"))

from capture import Body  # noqa: E402
from scripted import Close, Reset, Scripted  # noqa: E402

BODIES = {
    "empty": (b".\r\n", b""),
    "one line": (b"a\r\n.\r\n", b"a\r\n"),
    "dot line": (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
    "dot first": (b"..a\r\n.\r\n", b".a\r\n"),
    "many dots": (b"....\r\n..\r\n\r\n.\r\n", b"...\r\n.\r\n\r\n"),
    "bare LF around a dot": (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n"),
    "bare CR around a dot": (b"a\r.\rb\r\n.\r\n", b"a\r.\rb\r\n"),
    "LF . CRLF": (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
    "CR CR LF . CRLF": (b"a\r\r\n.\r\n", b"a\r\r\n"),
    "CRLF CRLF": (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
}


@pytest.mark.parametrize("name", BODIES)
def test_body_ends_and_loses_its_dots_at_every_split(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wire, want = BODIES[name]
    for cut in range(len(wire)):
        body = Body("1")
        assert body.take(wire[:cut]) is None, f"cut at {cut}"
        assert body.take(wire[cut:] + b"QUIT\r\n") == b"QUIT\r\n", f"cut at {cut}"
        body.keep({})
        assert (tmp_path / "1.eml").read_bytes() == want, f"cut at {cut}"
    body = Body("2")
    results = [body.take(wire[i:i + 1]) for i in range(len(wire))]
    assert results == [None] * (len(wire) - 1) + [b""]
    body.keep({})
    assert (tmp_path / "2.eml").read_bytes() == want


@pytest.fixture
def capture(tmp_path):
    """A function that starts a capture server with options and returns its port."""
    processes = []

    def start(*options):
        process = harness.Process("capture", str(tmp_path / f"pid{len(processes)}"))
        port_file = tmp_path / f"port{len(processes)}"
        process.start(["/usr/bin/python3", f"{harness.ROOT}/deploy/capture.py", "--maildir",
                       str(tmp_path / "mail"), "--port-file", str(port_file), "--log",
                       str(tmp_path / "log"), *options], output=str(tmp_path / "err"))
        processes.append(process)
        return int(harness.wait_until(lambda: port_file.exists() and port_file.read_text(), "its port"))

    yield start
    for process in processes:
        assert process.stop()
    assert (tmp_path / "err").read_text() == ""


def test_capture_keeps_content_and_envelope(capture, tmp_path):
    port = capture("--allow", "127.0.0.2")
    with smtp.Client("127.0.0.1", port, source="127.0.0.2") as client:
        client.ehlo("me.test")
        client.mail("a@b.test", ["c@d.test", "e@f.test"], " BODY=8BITMIME SIZE=10")
        client.command("DATA", 354)
        client.send(smtp.transparent(b".dot\r\n\xff\r\n"))
        client.reply("250 2.0.0 Ok: queued as 00000001")
        client.quit()
    message = harness.Message(str(tmp_path / "mail" / "00000001.eml"))
    assert message.content == b".dot\r\n\xff\r\n"
    assert message.sender == "a@b.test"
    assert message.recipients == ["c@d.test", "e@f.test"]
    assert message.envelope["mail_parameters"] == ["BODY=8BITMIME", "SIZE=10"]
    assert message.envelope["client"] == "127.0.0.2"
    assert message.envelope["helo"] == "me.test"


def test_capture_refuses_other_addresses_at_rcpt_and_logs_them(capture, tmp_path):
    port = capture("--allow", "127.0.0.2")
    with smtp.Client("127.0.0.1", port) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@b.test>", 250)
        client.command("RCPT TO:<c@d.test>", "554 5.7.1 <c@d.test>: Relay access denied")
        client.command("DATA", 554)
        client.quit()
    log = (tmp_path / "log").read_text()
    assert log.count(" connect ") == 1
    assert log.count(" refused ") == 1


def test_capture_follows_its_script(capture):
    port = capture("--allow", "127.0.0.1", "--no-ehlo", "--reply", "rcpt:bad@=550 5.1.1 No such user",
                   "--reply", "body=451 4.3.0 Later", "--delay", "mail=0.05")
    with smtp.Client("127.0.0.1", port) as client:
        client.command("EHLO x", 502)
        client.command("HELO x", 250)
        client.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<bad@d.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
        for want in (250, "550 5.1.1 No such user", 250, 354):
            client.reply(want)
        client.send(".\r\n")
        client.reply("451 4.3.0 Later")


def test_capture_drops_what_was_not_ended(capture, tmp_path):
    port = capture("--allow", "127.0.0.1")
    with smtp.Client("127.0.0.1", port) as client:
        client.ehlo()
        client.mail("a@b.test", ["c@d.test"])
        client.command("DATA", 354)
        client.send(b"half a message\r\n.")
    harness.wait_until(lambda: " lost " in (tmp_path / "log").read_text(), "the loss in the log")
    assert os.listdir(tmp_path / "mail") == []


def test_scripted_backend_records_and_obeys(scripted):
    scripted.on("RCPT", ["450 4.2.0 Later", "250 Ok"])
    scripted.on("RSET", Close())
    with smtp.Client(scripted.host, scripted.port) as client:
        assert client.ehlo().lines[1:] == scripted.extensions
        client.command("MAIL FROM:<a@b.test>", 250)
        client.command("RCPT TO:<c@d.test>", 450)
        client.command("RCPT TO:<e@f.test>", 250)
        client.command("DATA", 354)
        client.send(b"x" * 300000 + b"\r\n..\r\n.\r\nRSET\r\n")
        client.reply(250)
        client.expect_end()
    session = scripted.sessions[0]
    assert session.bodies == [b"x" * 300000 + b"\r\n..\r\n"]
    assert session.verbs == ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", "RSET"]


def test_scripted_backend_can_be_lenient_and_rude():
    backend = Scripted(lenient=True)
    backend.on("VRFY", Reset())
    with smtp.Client(backend.host, backend.port) as client:
        client.ehlo()
        client.mail("a@b.test", ["c@d.test"])
        client.command("DATA", 354)
        client.send(b"a\n.\nVRFY x\n")
        client.reply(250)
        with pytest.raises(smtp.Closed):
            client.reply()
    assert backend.sessions[0].commands[-1] == b"VRFY x"
    assert backend.sessions[0].bodies == [b"a\n"]
    backend.close()
