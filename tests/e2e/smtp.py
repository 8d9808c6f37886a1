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
LINE_MAX = 512  # RFC 5321 4.5.3.1.5
ENHANCED = re.compile(r"([245])\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})(?= |$)")
GREETING = re.compile(r"220 (\S+) ESMTP Postern")
HOST = "submit.example.test"  # of every sandbox: the first word of greeting and hello


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
        enhanced = ENHANCED.match(self.lines[0])
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


def conforming(reply, host=HOST):
    """What holds for every reply of Postern's, be it its own or a backend's passed on; returns reply.

    Lines of at most 512 octets without control characters, above ASCII only as UTF-8 (RFC 5321 4.5.3.1.5, RFC
    6531); one code, with a hyphen up to the last line (RFC 5321 4.2.1); and but for greeting and hello, in
    every 2xx, 4xx and 5xx the same enhanced code of its class on each line (RFC 2034 4).
    """
    lines = reply.raw.split(b"\r\n")[:-1]
    assert all(len(line) + 2 <= LINE_MAX for line in lines), f"a line of more than {LINE_MAX} octets: {reply}"
    assert [line[3:4] for line in lines] in ([b"-"] * (len(lines) - 1) + [last] for last in (b" ", b"")), \
        f"hyphens stand on all lines but the last: {reply}"
    text = reply.raw.decode("utf-8", "strict")
    assert not re.search("[\x00-\x1f\x7f-\x9f]", text.replace("\r\n", "")), f"control characters: {reply.raw!r}"
    assert 200 <= reply.code <= 599, reply
    codes = {match[0] if match else "" for match in map(ENHANCED.match, reply.lines)}
    if GREETING.fullmatch(reply.text) or (reply.code == 250 and reply.lines[0] == host):
        assert codes == {""}, f"greeting and hello have no enhanced code: {reply}"
    elif reply.code // 100 == 3:
        assert codes == {""}, f"a 3xx has no enhanced code: {reply}"
    else:
        assert len(codes) == 1 and codes != {""}, f"the same enhanced code on each line: {reply}"
        assert codes.pop()[0] == str(reply.code)[0], f"the enhanced code's class is the code's: {reply}"
    return reply


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
        self.host = HOST
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
            self.greeting = self.greet(greeting) if greeting is not None else None
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
    def read_reply(self):
        raw = line = self.read_line()
        while line[3:4] == b"-":
            line = self.read_line()
            raw += line
        return Reply(raw)

    def greet(self, want):
        """Replies are held to what is true of Postern's unless another server greets."""
        answer = self.read_reply()
        if answer.code == 220:
            match = GREETING.fullmatch(answer.text)
            self.host = match[1] if match else None
        return (conforming(answer, self.host) if self.host else answer).check(want)

    def reply(self, want=None):
        answer = self.read_reply()
        if self.host:
            conforming(answer, self.host)
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
