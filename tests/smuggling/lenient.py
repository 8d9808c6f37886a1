# SPDX-License-Identifier: ISC
"""The most lenient SMTP server there is, as a server of the smuggling matrix.

CR, LF and CRLF each end a line, and after any of them a dot followed by any of them ends the data; NULs
are as good as not there; whatever follows is executed; everybody is trusted.  Every octet received is
kept.  With chunking it offers BDAT, whose octets it counts and does not interpret.
"""

import os
import socket
import threading

EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
CR, LF = 13, 10


class Session:
    def __init__(self, server, sock, log):
        self.server = server
        self.sock = sock
        self.log = log
        self.input = b""
        self.at = 0
        self.ended_by_cr = False
        self.reset()

    def reset(self):
        self.sender, self.recipients, self.chunks = None, [], b""

    def fill(self):
        """More input; False at the end of the stream."""
        self.input, self.at = self.sock.recv(65536), 0
        self.log.write(self.input)
        return bool(self.input)

    def octet(self):
        """The next one; None at the end of the stream."""
        while True:
            if self.at == len(self.input) and not self.fill():
                return None
            octet = self.input[self.at]
            self.at += 1
            if octet == 0:
                continue
            # The LF of a CRLF whose CR has ended the line already.
            skip = octet == LF and self.ended_by_cr
            self.ended_by_cr = False
            if not skip:
                return octet

    def line(self):
        found = bytearray()
        while True:
            octet = self.octet()
            if octet is None:
                return None
            if octet in (CR, LF):
                self.ended_by_cr = octet == CR
                return bytes(found)
            found.append(octet)

    def body(self):
        """What came before the end of data, dots undone; None at the end of the stream."""
        lines = []
        while True:
            line = self.line()
            if line is None:
                return None
            if line == b".":
                return b"\n".join(lines + [b""])
            lines.append(line[1:] if line.startswith(b".") else line)

    def exactly(self, count):
        """A chunk: so many octets after the command's CRLF, whatever they are."""
        found = bytearray()
        skip = 1 if self.ended_by_cr else 0
        self.ended_by_cr = False
        while len(found) < count + skip:
            if self.at == len(self.input) and not self.fill():
                return None
            part = self.input[self.at:self.at + count + skip - len(found)]
            found += part
            self.at += len(part)
        return bytes(found[skip:])

    def say(self, *lines):
        text = "".join(f"{line}\r\n" for line in lines)
        self.sock.sendall(text.encode())

    # ----------------------------------------------------------------- dialogue
    def run(self):
        self.say("220 lenient.test ESMTP")
        while True:
            line = self.line()
            if line is None or not self.command(line):
                return

    def command(self, line):
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if verb == b"EHLO":
            words = ["lenient.test", *EXTENSIONS, *(["CHUNKING"] if self.server.chunking else [])]
            self.say(*[f"250-{word}" for word in words[:-1]], f"250 {words[-1]}")
        elif verb in (b"HELO", b"NOOP", b"RSET"):
            self.reset()
            self.say("250 2.0.0 Ok")
        elif verb == b"MAIL":
            self.reset()
            self.sender = rest
            self.say("250 2.1.0 Ok")
        elif verb == b"RCPT":
            self.recipients.append(rest)
            self.say("250 2.1.5 Ok")
        elif verb == b"DATA":
            self.say("354 Go ahead")
            body = self.body()
            if body is None:
                return False
            self.keep(body)
        elif verb == b"BDAT" and self.server.chunking:
            return self.chunk(rest.split())
        elif verb == b"QUIT":
            self.say("221 2.0.0 Bye")
            return False
        else:
            self.say("500 5.5.2 What?")
        return True

    def chunk(self, words):
        chunk = self.exactly(int(words[0]))
        if chunk is None:
            return False
        self.chunks += chunk
        if len(words) > 1:
            self.keep(self.chunks)
        else:
            self.say("250 2.0.0 Ok")
        return True

    def keep(self, content):
        trace = b"".join(b"Received: for " + recipient[3:] + b"\n" for recipient in self.recipients)
        self.server.take(trace + content)
        self.reset()
        self.say("250 2.0.0 Ok: queued")


class Lenient:
    name = "lenient"
    version = "tests/smuggling/lenient.py"
    refusals = ()

    def __init__(self, directory, port=0, *, chunking=False):
        self.chunking = chunking
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.kept = []
        self.lock = threading.Lock()
        self.connections = 0
        self.open = set()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.host, self.port = self.listener.getsockname()
        self.listener.listen(256)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.add(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with self.lock:
            self.connections += 1
            path = os.path.join(self.directory, f"{self.connections:06d}")
        try:
            with sock, open(path, "wb") as log:
                Session(self, sock, log).run()
        except OSError:
            pass
        self.open.discard(sock)

    def take(self, content):
        with self.lock:
            self.kept.append(content)

    def messages(self):
        with self.lock:
            return list(self.kept)

    def settle(self, expected, timeout=30):
        """What was answered is kept already; what was not answered will not be."""

    def stop(self):
        # shutdown() wakes the threads.
        for sock in [self.listener, *list(self.open)]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.listener.close()
