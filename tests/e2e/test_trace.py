# SPDX-License-Identifier: ISC
"""The Received: line: one, on top, well formed, hiding what the operator did not show."""

import email.utils
import re
import ssl
import time

import pytest

from box.ports import have_ipv6
from rig import CONTENT, RECIPIENT

ALICE = "alice@example.test"
HIDDEN = re.compile(r"Received: by submit\.example\.test\r\n\t\(using (TLSv1\.[23]) with cipher ([A-Z0-9_-]+)\)\r\n"
                    r"\twith (ESMTPSA|SMTP|UTF8SMTPSA) id ([0-9a-z]{12,13})(?:\r\n\tfor <([^>]*)>)?;\r\n\t([^\r\n]+)\r\n")


@pytest.fixture(scope="module")
def shown(make_sandbox):
    return make_sandbox(settings=["trace.show_login=true", "trace.show_client=true"])


@pytest.fixture(scope="module")
def silent(make_sandbox):
    return make_sandbox(settings=["trace.received=false"])


def send(box, content=CONTENT, recipients=(RECIPIENT,), hello=None, parameters="", **options):
    before = box.message_names()
    with box.session(**options) as client:
        if hello:
            client.command(hello, 250)
        client.message(box.user, recipients, content, parameters=parameters)
        client.quit()
    return box.new_messages(before)[0]


@pytest.mark.row("36", "51")
@pytest.mark.parametrize("port", ["submissions", "submission"])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_hidden_by_default(sandbox, port, version):
    context = ssl.create_default_context(cafile=sandbox.ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    message = send(sandbox, port=port, hello="EHLO secret.client.example", context=context)
    match = HIDDEN.match(message.content.decode("ascii"))
    assert match, message.content
    assert match[1] == version.replace("_", ".") and match[3] == "ESMTPSA" and match[5] == RECIPIENT
    assert abs(email.utils.parsedate_to_datetime(match[6]).timestamp() - time.time()) < 60
    assert match[6].endswith(" +0000")
    head = match[0]
    assert not any(secret in head for secret in ("alice", "127.0.0.1", "secret.client", "::1"))
    assert message.content[len(match[0]):] == CONTENT


def test_the_id_is_the_transactions_in_the_log(sandbox):
    message = send(sandbox)
    identity = HIDDEN.match(message.content.decode())[4]
    [line] = [line for line in sandbox.log_lines() if f"tid={identity}" in line and " transaction " in line]
    assert f'login="{ALICE}"' in line or f"login={ALICE}" in line
    assert "code=250" in line and f"bqid={message.name}" in line and "nrcpt=1" in line


@pytest.mark.row("36")
@pytest.mark.parametrize("hello, word", [("HELO old.example", "SMTP"), ("EHLO new.example", "ESMTPSA")])
def test_protocol_word(sandbox, hello, word):
    assert HIDDEN.match(send(sandbox, hello=hello).content.decode())[3] == word


def test_smtputf8_word(sandbox):
    message = send(sandbox, parameters=" SMTPUTF8 BODY=8BITMIME")
    assert HIDDEN.match(message.content.decode())[3] == "UTF8SMTPSA"


@pytest.mark.row("36")
def test_no_recipient_is_told_of_another(sandbox):
    """RFC 5321 4.4, 7.2: FOR only where there is one."""
    message = send(sandbox, recipients=("one@example.net", "two@example.net"))
    assert HIDDEN.match(message.content.decode())[5] is None


@pytest.mark.threat("F07")
def test_trace_lines_of_the_client_stay_below(sandbox):
    """F07: whatever it claims, ours is the first."""
    content = (b"Received: from forged by submit.example.test; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
               b"X-Authenticated-User: root\r\nSubject: x\r\n\r\nx\r\n")
    message = send(sandbox, content)
    assert message.content[len(HIDDEN.match(message.content.decode())[0]):] == content


@pytest.mark.threat("A13")
def test_malformed_header_does_not_swallow_ours(sandbox):
    """A13, A14: what begins as a continuation is a body; the line that a mailbox file puts on top is no
    part of the message; no header at all is none."""
    for content, want in ((b" continued: x\r\n\r\nx\r\n", b"\r\n continued: x\r\n\r\nx\r\n"), (b"\r\nno header\r\n", b"\r\nno header\r\n"),
                          (b"From here on\r\nSubject: x\r\n\r\n", b"Subject: x\r\n\r\n")):
        message = send(sandbox, content)
        assert message.content[len(HIDDEN.match(message.content.decode())[0]):] == want


def test_shown_when_the_operator_says_so(shown):
    message = send(shown, hello="EHLO client.example")
    head = message.received[0]
    assert head.startswith("Received: from client.example ([127.0.0.1]) by submit.example.test (using TLSv1.3 with cipher ")
    assert f"(authenticated as {ALICE}) with ESMTPSA id " in head


@pytest.mark.threat("F08", "H06")
@pytest.mark.parametrize("name", ["[192.0.2.1]", "a(b)c", 'x" (evil', "semi;colon", "under_score.example", "x" * 255, "a\\b", "<angle>", "a b"])
def test_names_of_clients_cannot_break_the_header(shown, name):
    """F08, H06: reduced to what may stand there; no line above 998, no comment left open."""
    message = send(shown, hello=f"EHLO {name}")
    head = message.content[:-len(CONTENT)]
    assert message.content.endswith(CONTENT)
    lines = head.decode("ascii").split("\r\n")
    assert all(len(line) <= 998 for line in lines)
    assert lines[0].startswith("Received: from ") and all(line.startswith("\t") for line in lines[1:-1]) and lines[-1] == ""
    depth = 0
    for character in head.decode("ascii"):
        depth += {"(": 1, ")": -1}.get(character, 0)
        assert depth in (0, 1)
    assert depth == 0 and head.count(b";") == 1


@pytest.mark.threat("F08")
def test_login_of_any_kind_in_the_header(shown):
    login = "odd(user)\\name"
    shown.ctl("account", "add", login, "--plan", "generous", "--memory", "8MiB", "--passes", "1", text="secret\n")
    shown.ctl("sender", "add", login, "*")
    before = shown.message_names()
    with shown.session(user=login, password="secret") as client:
        client.message(ALICE, [RECIPIENT], CONTENT)
    [message] = shown.new_messages(before)
    assert "(authenticated as odd?user??name)" in message.received[0]


@pytest.mark.parametrize("host, shown_as", [("127.0.0.1", "[127.0.0.1]"), *([("::1", "[IPv6:::1]")] if have_ipv6() else [])])
def test_client_address(shown, host, shown_as):
    assert f"({shown_as})" in send(shown, host=host).received[0]


def test_none_at_all(silent):
    assert send(silent).content == CONTENT
