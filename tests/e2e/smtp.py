# SPDX-License-Identifier: ISC
"""A raw SMTP client for tests: sends exactly the bytes it is given, reads whole replies, and compares.

Nothing is done for the caller: no dot is stuffed, no command follows another by itself.  Every read
has a deadline.
"""

import base64
import re
import socket
import ssl
import struct

TIMEOUT = 30.0
LINE = re.compile(rb"(\d{3})([ -])(.*)\r\n")


class Closed(AssertionError):
    """The server closed the connection where a reply was due."""


class Reply:
    """One reply: code, enhanced code ("" when there is none), the texts of its lines, the raw octets."""

    def __init__(self, raw):
        self.raw = raw
        parts = [LINE.fullmatch(line) for line in raw.splitlines(keepends=True)]
        assert all(parts), f"malformed reply: {raw!r}"
        assert len({part[1] for part in parts}) == 1, f"codes differ within a reply: {raw!r}"
        self.code = int(parts[0][1])
        self.lines = [part[3].decode("utf-8", "surrogateescape") for part in parts]
        enhanced = re.match(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)", self.lines[0])
        self.enhanced = enhanced[0] if enhanced else ""

    @property
    def text(self):
        """As on the wire, without the last line end, lines joined by "\\n"."""
        return self.raw.decode("utf-8", "surrogateescape").replace("\r\n", "\n")[:-1]

    def __repr__(self):
        return f"<Reply {self.text!r}>"

    def check(self, want):
        """want: a code, the whole text, or a compiled pattern of the whole text.  Returns self."""
        if isinstance(want, int):
            matches = self.code == want
        elif isinstance(want, re.Pattern):
            matches = bool(want.fullmatch(self.text))
        else:
            matches = self.text == want
        assert matches, f"got {self.text!r}, want {getattr(want, 'pattern', want)!r}"
        return self


def octets(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


class Client:
    """One connection.  tls: "implicit", or None for a start in the clear (see starttls())."""

    def __init__(self, host, port, *, ca=None, tls=None, source=None, timeout=TIMEOUT, greeting=220,
                 context=None, receive_buffer=None):
        self.ca = ca
        self.context = context
        self.buffer = b""
        self.extensions = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        try:
            if source:
                self.sock.bind((source, 0))
            self.sock.connect((host, port))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls == "implicit":
                self.handshake()
            self.greeting = self.reply(greeting) if greeting is not None else None
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---------------------------------------------------------------- transport
    def handshake(self):
        context = self.context or ssl.create_default_context(cafile=self.ca)
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost",
                                        suppress_ragged_eofs=False)

    def send(self, data):
        self.sock.sendall(octets(data))

    def receive(self, size=65536):
        """Some octets; b"" at the end of the stream, be it by close_notify, FIN or RST."""
        try:
            return self.sock.recv(size)
        except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
            return b""

    def read_line(self):
        while b"\r\n" not in self.buffer:
            data = self.receive()
            if not data:
                raise Closed(f"closed in place of a reply; unread: {self.buffer!r}")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line + b"\r\n"

    def expect_end(self):
        """The server closes, and says nothing more before it does."""
        rest = self.buffer
        while data := self.receive():
            rest += data
        assert rest == b"", f"got {rest!r}, want the end of the connection"
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends it the rude way, by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # ----------------------------------------------------------------- dialogue
    def reply(self, want=None):
        raw = line = self.read_line()
        while line[3:4] == b"-":
            line = self.read_line()
            raw += line
        answer = Reply(raw)
        return answer if want is None else answer.check(want)

    def command(self, line, want=None):
        self.send(octets(line) + b"\r\n")
        return self.reply(want)

    def ehlo(self, name="client.test", want=250):
        """Fills extensions: keyword -> parameters, both as sent."""
        answer = self.command(f"EHLO {name}", want)
        words = [line.split(" ", 1) for line in answer.lines[1:]]
        self.extensions = {word[0]: (word[1] if len(word) > 1 else "") for word in words}
        return answer

    def starttls(self):
        self.command("STARTTLS", 220)
        assert self.buffer == b"", f"octets after the reply to STARTTLS: {self.buffer!r}"
        self.handshake()

    def login(self, user, password, mechanism="PLAIN", want=235):
        encoded = [base64.b64encode(octets(text)).decode() for text in (user, password)]
        if mechanism == "PLAIN":
            token = base64.b64encode(b"\0" + octets(user) + b"\0" + octets(password)).decode()
            return self.command(f"AUTH PLAIN {token}", want)
        self.command("AUTH LOGIN", 334)
        self.command(encoded[0], 334)
        return self.command(encoded[1], want)

    def mail(self, sender, recipients, parameters=""):
        self.command(f"MAIL FROM:<{sender}>{parameters}", 250)
        for recipient in recipients:
            self.command(f"RCPT TO:<{recipient}>", 250)

    def message(self, sender, recipients, content, want=250, parameters=""):
        """A whole transaction; content is made transparent and ended here.  Returns the last reply."""
        self.mail(sender, recipients, parameters)
        self.command("DATA", 354)
        self.send(transparent(content))
        return self.reply(want)

    def quit(self):
        answer = self.command("QUIT", 221)
        self.expect_end()
        return answer


def transparent(content):
    """Content as DATA carries it: dots doubled, a last line end, the end of data (RFC 5321 4.5.2)."""
    content = octets(content)
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
