# SPDX-License-Identifier: ISC
"""Sends every body by every client, first to a plain server, then through Postern, and compares.

The plain server is the capture backend itself, without TLS and log-in: what it gets is what the client
makes of the message.  Through Postern the backend must get the very same octets, apart from the trace
lines on top and from what the client makes anew for each message (VARYING).
"""

import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from bodies import BODIES  # noqa: E402, F401
from clients import PROGRAMS, Failed, Mail, Target  # noqa: E402
from smarthosts import SMARTHOSTS  # noqa: E402

import harness  # noqa: E402
from box import backends  # noqa: E402
from box.layout import Layout  # noqa: E402

CLIENTS = PROGRAMS + SMARTHOSTS
# Header lines that a client writes anew each time, and boundaries.
VARYING = re.compile(rb"(?mi)^(Message-ID|Date|X-Message-ID): *[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n")
RECIPIENT = re.compile(rb"friend[^@\s]*@example\.net")


class Plain:
    """The capture backend, alone, for whoever comes."""

    def __init__(self, directory):
        layout = Layout(directory)
        layout.create()
        self.process = layout.process("capture")
        self.inbox = backends.start_capture(layout, "127.0.0.1")
        self.maildir = self.inbox.maildir

    @property
    def target(self):
        return Target(self.inbox.port, host="127.0.0.1")

    def stop(self):
        self.process.stop()


def arrived(maildir, before, recipient, patience=60):
    """The one message for recipient that came since before."""
    deadline = time.monotonic() + patience
    while True:
        names = {name for name in os.listdir(maildir) if re.fullmatch(r"\d+\.eml", name)} - before
        found = [harness.Message(os.path.join(maildir, name)) for name in sorted(names)]
        found = [message for message in found if recipient in message.recipients]
        if len(found) > 1:
            raise Failed(f"{len(found)} messages arrived in place of one")
        if found:
            return found[0]
        if time.monotonic() > deadline:
            raise Failed("nothing arrived")
        time.sleep(0.01)


def sent(client, target, maildir, body, recipient, directory):
    """What arrives when client sends body to target: without trace lines, without what varies."""
    before = {name for name in os.listdir(maildir) if re.fullmatch(r"\d+\.eml", name)}
    client.send(target, Mail(body, recipient, directory))
    message = arrived(maildir, before, recipient)
    head, separator, rest = message.body.partition(b"\r\n\r\n")
    head = RECIPIENT.sub(b"friend@example.net", VARYING.sub(b"", head + b"\r\n"))
    return head + (b"\r\n" if separator else b"") + rest


def difference(got, want):
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    return (f"{len(got)} octets in place of {len(want)}, from {at} on: {got[max(0, at - 20):at + 30]!r} in place "
            f"of {want[max(0, at - 20):at + 30]!r}")


def made_of_it(body, direct):
    """What a client itself does to a body, in words; "" when it sends it as it is."""
    head, _, rest = direct.partition(b"\r\n\r\n")
    encoding = re.search(rb"(?mi)^Content-Transfer-Encoding: *(\S+?)\r?$", head)
    encoding = encoding[1].decode().lower() if encoding else "7bit"
    if rest == body:
        return ""
    if rest == body + b"\r\n":
        return "a line end added"
    if encoding in ("quoted-printable", "base64"):
        return encoding
    if rest.rstrip(b"\r\n") == body.rstrip(b"\r\n"):
        return "line ends at the end changed"
    if b"".join(rest.split()) == b"".join(body.split()):
        return "long lines folded"
    return f"changed ({len(rest)} octets of {len(body)})"


def ways(client, box):
    """The targets of a client: both ports, with every mechanism that it can be told to use."""
    for port in (465, 587):
        for mechanism in client.mechanisms:
            yield (port, mechanism), Target(
                box.smtps_port if port == 465 else box.submission_port,
                tls="implicit" if port == 465 else "starttls", mechanism=mechanism, user=box.user,
                password=box.password, ca=box.ca)


def log_ins(box, mechanism):
    return sum(" auth-ok " in line and f" mech={mechanism} " in line for line in box.log_lines())


class Report:
    """own: body -> what the client makes of it.  refused: body -> why it sends it to nobody.  sent: how
    many arrived through Postern as they must.  wrong: those that did not."""

    def __init__(self, client):
        self.name = client.name
        self.version = client.version
        self.mechanisms = client.mechanisms
        self.own = {}
        self.refused = {}
        self.sent = 0
        self.wrong = []


def examine(client, box, plain, bodies, directory, once=("20 MB",)):
    """Everything about one client; `once`: bodies that go each port with one mechanism only."""
    report = Report(client)
    direct = {}
    for number, (name, body) in enumerate(bodies.items()):
        try:
            direct[name] = sent(client, plain.target, plain.maildir, body, f"friend{number}@example.net", directory)
            report.own[name] = made_of_it(body, direct[name])
        except Failed as failure:
            # It does not send this to anybody.
            report.refused[name] = str(failure)
    for (port, mechanism), target in ways(client, box):
        logins, before = log_ins(box, mechanism), report.sent
        for number, name in enumerate(direct):
            last = client.mechanisms[-1] if port == 587 else client.mechanisms[0]
            if name in once and mechanism != last:
                continue
            where = f"{client.name}, {port}, {mechanism}, {name}"
            try:
                got = sent(client, target, box.maildir, bodies[name], f"friend{number}@example.net", directory)
            except Failed as failure:
                report.wrong.append(f"{where}: {failure}")
                continue
            if got == direct[name]:
                report.sent += 1
            else:
                report.wrong.append(f"{where}: {difference(got, direct[name])}")
        # One connection may have carried several messages.
        if report.sent > before and log_ins(box, mechanism) == logins:
            report.wrong.append(f"{client.name}, {port}: it never logged in by {mechanism}")
    return report
