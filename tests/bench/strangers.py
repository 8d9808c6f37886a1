#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Strangers that dribble bytes at Postern's door and never log in; bench_strangers.py brings them.

    strangers.py --submissions PORT --submission PORT [--count N] [--rate N] ...

One process, one epoll, nice 10.  A fourth of them each: in the TLS handshake (port 465), in a command line
in the clear (587), in one within TLS, and in the answer to AUTH's 334.  They come from 250 addresses of
127/8.  All together send --rate octets a second, one a stranger in turn, evenly or --together; who is closed
comes again, and --reconnects bounds how many do in a second.

Commands on standard input, answered by a line of JSON each: `up` (answered when each has come once), `down`
(when all have left), `tell`, `hold` (told after so many seconds).  It ends with its input.
"""

import argparse
import collections
import json
import os
import selectors
import socket
import ssl
import sys
import time

HOLD = 8.0  # seconds; shorter than timeouts.handshake, so that nobody who came just now comes again
TICK = 0.01  # seconds between two handfuls of octets
AT_ONCE = 64  # connections that are being prepared
RAMP = 1000  # connections a second while `up` is carried out
KINDS = ("command", "login", "clear", "hello")  # the dear ones come first, so that all are there at about one time
LINE = b"NOOP " + b"x" * 33 + b"\r\n"
SCRIPTS = {"command": [(b"220", b"EHLO stranger.test\r\n"), (b"250", b"")],
           "login": [(b"220", b"EHLO stranger.test\r\n"), (b"250", b"AUTH LOGIN\r\n"), (b"334", b"")],
           "clear": [(b"220", b"")], "hello": []}


def client_hello(context):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake of one flight")


class Stranger:
    """Out, preparing (its script is not at its end), or dribbling."""

    def __init__(self, crowd, number, kind):
        self.crowd, self.kind = crowd, kind
        self.source = f"127.{16 + number % 10}.{number % 25}.{1 + number % 250}"
        self.port = crowd.options.submission if kind == "clear" else crowd.options.submissions
        self.secure = kind in ("command", "login")
        self.octets = {"hello": crowd.hello, "login": b"A"}.get(kind, LINE)
        self.sock = None
        self.dribbling = False

    def come(self):
        self.script = list(SCRIPTS[self.kind])
        self.read, self.at, self.shaking = b"", 0, self.secure
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((self.source, 0))
        sock.connect_ex(("127.0.0.1", self.port))
        self.sock = sock
        self.crowd.selector.register(sock, selectors.EVENT_WRITE, self)

    def leave(self):
        self.crowd.selector.unregister(self.sock)
        self.sock.close()
        self.sock = None
        self.crowd.preparing.discard(self)
        self.dribbling = False

    def connected(self):
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self.crowd.selector.modify(self.sock, selectors.EVENT_READ, self)
        if self.secure:
            self.sock = self.crowd.context.wrap_socket(self.sock, do_handshake_on_connect=False)
            self.shake()
        elif not self.script:
            self.prepared()

    def prepared(self):
        self.crowd.preparing.discard(self)
        self.crowd.came.add(self)
        self.dribbling = True

    def shake(self):
        try:
            self.sock.do_handshake()
            self.shaking = False
        except ssl.SSLWantReadError:
            return
        self.readable()

    def readable(self):
        """Goes on with the script; what comes besides is not looked at."""
        while True:
            try:
                data = self.sock.recv(4096)
            except (ssl.SSLWantReadError, BlockingIOError):
                return
            if not data:
                raise ConnectionResetError
            if not self.script:
                continue
            self.read += data
            last = self.read[self.read[:-2].rfind(b"\r\n") + 2 if b"\r\n" in self.read[:-2] else 0:]
            code, answer = self.script[0]
            if last[:3] == code and last[3:4] == b" " and last.endswith(b"\r\n"):
                self.script.pop(0)
                self.read = b""
                if answer:
                    self.sock.send(answer)
                if not self.script:
                    self.prepared()

    def act(self, mask):
        """False: it was closed."""
        try:
            if mask & selectors.EVENT_WRITE:
                self.connected()
            elif self.shaking:
                self.shake()
            else:
                self.readable()
        except OSError:  # ssl.SSLError among them
            return False
        return True

    def dribble(self):
        try:
            self.sock.send(self.octets[self.at:self.at + 1])
        except OSError:
            return  # its end will be read
        self.at = (self.at + 1) % len(self.octets)
        self.crowd.sent += 1


class Crowd:
    def __init__(self, options):
        self.options = options
        self.selector = selectors.DefaultSelector()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.hello = client_hello(self.context)
        kinds = options.kinds.split(",")
        self.all = [Stranger(self, number, kinds[number % len(kinds)]) for number in range(options.count)]
        self.outside = collections.deque()
        self.preparing, self.came = set(), set()
        self.turn = self.sent = self.reconnects = self.held = 0
        self.due_octets = self.due_connections = 0.0
        self.looks = self.seen = 0
        self.coming = False
        self.hold_until = None

    def tell(self):
        """`held`: how many dribbled, on average since it was told last."""
        held = self.seen / self.looks if self.looks else 0
        self.looks = self.seen = 0
        used = os.times()
        print(json.dumps({"octets": self.sent, "reconnects": self.reconnects, "held": held, "cpu": used.user + used.system}), flush=True)

    def command(self, word):
        if word == "up":
            self.outside.extend(sorted(self.all, key=lambda stranger: KINDS.index(stranger.kind)))
            self.came.clear()
            self.coming = True
            return
        if word == "hold":
            self.hold_until = time.monotonic() + HOLD
            return
        if word == "down":
            self.outside.clear()
            for stranger in self.all:
                if stranger.sock is not None:
                    stranger.leave()
        self.tell()

    def let_come(self, passed):
        rate = RAMP if self.coming else self.options.reconnects
        self.due_connections = min(self.due_connections + passed * rate, rate * 0.1)
        while self.outside and self.due_connections >= 1 and len(self.preparing) < AT_ONCE:
            stranger = self.outside.popleft()
            self.due_connections -= 1
            self.reconnects += not self.coming
            self.preparing.add(stranger)
            stranger.come()
        if self.coming and len(self.came) == len(self.all):
            self.coming = False
            self.tell()

    def dribble(self, passed):
        self.due_octets = min(self.due_octets + passed * self.options.rate, len(self.all))
        due = int(self.due_octets)
        if self.options.together and due < len(self.all):
            due = 0
        for _ in range(due):
            stranger = self.all[self.turn]
            self.turn = (self.turn + 1) % len(self.all)
            self.due_octets -= 1
            if stranger.dribbling:
                stranger.dribble()
        self.looks += 1
        self.seen += sum(stranger.dribbling for stranger in self.all)

    def run(self):
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        before = time.monotonic()
        while True:
            for key, mask in self.selector.select(TICK):
                if key.data is None:
                    word = sys.stdin.readline().strip()
                    if not word:
                        return
                    self.command(word)
                elif key.data.sock is not None and not key.data.act(mask):
                    key.data.leave()
                    self.outside.append(key.data)
            passed = time.monotonic() - before
            if passed >= TICK:
                before += passed
                self.let_come(passed)
                self.dribble(passed)
            if self.hold_until is not None and time.monotonic() >= self.hold_until:
                self.hold_until = None
                self.tell()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name, default in (("submissions", None), ("submission", None), ("count", 2000), ("rate", 2000), ("reconnects", 200)):
        parser.add_argument(f"--{name}", type=int, default=default, required=default is None)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--together", action="store_true")
    os.nice(10)
    Crowd(parser.parse_args()).run()


if __name__ == "__main__":
    main()
