# SPDX-License-Identifier: ISC
"""A sandbox whose backend is a scripted one in this process: what it is told, what it got."""

import harness
import observe
from scripted import EXTENSIONS, Scripted

RECIPIENT = "friend@example.net"
CONTENT = b"Subject: rig\r\n\r\nhello\r\n"


class Rig:
    """box and backend; more keyword arguments go to the sandbox."""

    def __init__(self, make, *, lenient=False, extensions=EXTENSIONS, settings=(), servers=1, **options):
        self.backends = [Scripted(lenient=lenient, extensions=extensions) for _ in range(servers)]
        self.backend = self.backends[0]
        self.extensions = extensions
        # One probe at the start: it must not meet the script of a test.
        settings = ["probe.interval=1h", *settings]
        if servers > 1:
            addresses = ", ".join(f'"{backend.address}"' for backend in self.backends)
            settings.append(f"backend.default.server={{{addresses}}}")
        self.box = make(backend=self.backend.address, settings=settings, **options)
        observe.wait_ready(self.box)

    def reset(self):
        for backend in self.backends:
            backend.reset()
            backend.extensions = list(self.extensions)
        return self

    def close(self):
        for backend in self.backends:
            backend.close()

    # ------------------------------------------------------------------ backend
    def sessions(self, count=1, backend=None):
        """The backend's sessions that came to send; waits for as many."""
        where = backend or self.backend
        return harness.wait_until(lambda: len(where.mail_sessions()) >= count and where.mail_sessions(),
                                  f"{count} sessions at the backend")

    def commands(self):
        """All commands of the clients' sessions, in order."""
        return [line for session in self.backend.mail_sessions() for line in session.commands]

    def bodies(self):
        """What came between DATA and the end of data, without our Received: line, dots undone."""
        return [plain(body) for session in self.backend.mail_sessions() for body in session.bodies]

    # ------------------------------------------------------------------- client
    def session(self, **options):
        return self.box.session(**options)

    def account(self, login, *limits, senders=()):
        """A new account with the password of the same name; limits as posternctl's."""
        self.box.add_account(login, login, senders=senders)
        if limits:
            self.box.ctl("limits", "set", login, *limits)
        return login


def without_trace(body):
    """Drops the one Received: line (folded) on top."""
    assert body.startswith(b"Received:"), body[:200]
    at = body.index(b"\r\n") + 2
    while body[at:at + 1] in (b" ", b"\t"):
        at = body.index(b"\r\n", at) + 2
    return body[at:]


def undotted(body):
    lines = body.split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


def plain(body):
    return undotted(without_trace(body))
