# SPDX-License-Identifier: ISC
"""A programmable SMTP backend for tests, in the test's own process; lenient or hostile at will.

It keeps every octet that it got.  Steps are named as SMTP does: connect, EHLO, HELO, MAIL, RCPT, DATA,
body (the answer to the end of data, or to the last chunk), BDAT (to one that is not the last, its octets
read), RSET, QUIT, ...  on(step, action) says what to do there:

    a text             the reply; "\\n" joins lines ("250-a\\n250 b"); the line end is added
    octets             sent as they are, nothing added
    Close(), Reset()   end the connection by FIN, by RST, without a reply
    Stall()            neither read nor answer until the backend is closed or release() is called
    a list             one of these for each time that the step comes; the last one stays
    a function         called with (session, argument), returns one of these or None for the usual

Leniency: with lenient=True any of CRLF, LF or CR ends a line, also around the final dot, as the worst
of servers have it: what a client smuggles then shows up among the commands.  The octets of BDAT are
counted; it is known where extensions have CHUNKING (add CHUNKS to the usual ones).
"""

import re
import select
import socket
import struct
import threading

USUAL = {"connect": "220 scripted.test ESMTP", "HELO": "250 scripted.test", "MAIL": "250 2.1.0 Ok",
         "RCPT": "250 2.1.5 Ok", "DATA": "354 Go ahead", "body": "250 2.0.0 Ok: queued as SCRIPTED",
         "BDAT": "250 2.0.0 Ok: octets", "RSET": "250 2.0.0 Ok", "NOOP": "250 2.0.0 Ok", "QUIT": "221 2.0.0 Bye"}
EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
CHUNKS = ("CHUNKING", "BINARYMIME")
STRICT_LINE = re.compile(rb"\r\n")
LENIENT_LINE = re.compile(rb"\r\n|\r(?!\n)|\n")
CHUNK = re.compile(rb"BDAT (\d+)( LAST)?", re.IGNORECASE)
STRICT_END = re.compile(rb"(?<=\r\n)\.\r\n")
LENIENT_END = re.compile(rb"(?<=[\r\n])\.(?:\r\n|\n|\r)")


class Close:
    pass


class Reset:
    pass


class Stall:
    pass


class Session:
    """One connection: its octets, its commands (without line ends), its bodies (dots as on the wire; of
    chunks all octets together, once the last one is in), and the chunks: (octets, is the last).
    overtaken: commands that did not wait for the reply to the one before."""

    def __init__(self, backend, sock, peer):
        self.backend = backend
        self.sock = sock
        self.source = peer[0]
        self.received = b""
        self.commands = []
        self.bodies = []
        self.chunks = []
        self.overtaken = 0
        self.complete = []  # those of them whose end came
        self.ended = threading.Event()
        self.pending = b""

    @property
    def verbs(self):
        return [line.split(b" ")[0].upper().decode("latin-1") for line in self.commands]

    # ------------------------------------------------------------------ running
    def run(self):
        try:
            if self.act("connect", ""):
                while self.one_command():
                    pass
        except OSError:
            pass
        finally:
            self.sock.close()
            self.ended.set()

    def read(self):
        data = self.sock.recv(262144)
        self.received += data
        self.pending += data
        return bool(data)

    def one_command(self):
        pattern = LENIENT_LINE if self.backend.lenient else STRICT_LINE
        found = pattern.search(self.pending)
        # A CR at the end of what came is half a CRLF, or an end by itself: what follows decides.
        while found is None or (found[0] == b"\r" and found.end() == len(self.pending)):
            if not self.read():
                return False
            found = pattern.search(self.pending)
        line, self.pending = self.pending[:found.start()], self.pending[found.end():]
        self.commands.append(line)
        verb = line.split(b" ")[0].upper().decode("latin-1")
        text = line.decode("utf-8", "surrogateescape")
        chunk = CHUNK.fullmatch(line) if "CHUNKING" in self.backend.extensions else None
        if chunk is None:
            return self.act(verb, text)
        last = chunk[2] is not None
        return self.read_chunk(int(chunk[1]), last) and self.act("body" if last else "BDAT", text)

    def read_chunk(self, size, last):
        """Reads the octets of one BDAT; False when the connection ended before."""
        while len(self.pending) < size:
            if not self.read():
                return False
        self.chunks.append((self.pending[:size], last))
        self.pending = self.pending[size:]
        if last:
            begin = max((n + 1 for n, (_, end) in enumerate(self.chunks[:-1]) if end), default=0)
            self.bodies.append(b"".join(octets for octets, _ in self.chunks[begin:]))
            self.complete.append(self.bodies[-1])
        return True

    def read_body(self):
        """Reads on to the end of data; False when the connection ended before."""
        pattern = LENIENT_END if self.backend.lenient else STRICT_END
        # The start of the data counts as the start of a line; these two octets are not part of it.
        chunks, window = [], b"\r\n"
        while True:
            window += self.pending
            self.pending = b""
            found = pattern.search(window)
            if found:
                chunks.append(window[:found.start()])
                self.pending = window[found.end():]
            else:
                # The last four octets may be the start of an end of data.
                chunks.append(window[:-4])
                window = window[-4:]
            if found or not self.read():
                self.bodies.append(b"".join(chunks + ([] if found else [window]))[2:])
                if found:
                    self.complete.append(self.bodies[-1])
                return bool(found)

    def has_input(self):
        """Whether more has come already; select() knows no descriptor above 1,023."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def act(self, step, argument):
        """Does what the script says at a step; False when the connection is over."""
        action = self.backend.action(step, self, argument)
        if isinstance(action, Close):
            return False
        if isinstance(action, Reset):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if isinstance(action, Stall):
            self.backend.released.wait()
            return not self.backend.closing
        if step in ("MAIL", "RCPT", "BDAT") and (self.pending or self.has_input()):
            self.overtaken += 1
        reply = action if isinstance(action, bytes) else action.replace("\n", "\r\n").encode() + b"\r\n"
        self.sock.sendall(reply)
        last = reply.rstrip(b"\r\n").rpartition(b"\r\n")[2]
        if step == "DATA" and last.startswith(b"3"):
            return self.read_body() and self.act("body", argument)
        return step != "QUIT" and not last.startswith(b"421")


class Scripted:
    def __init__(self, host="127.0.0.1", port=0, *, lenient=False, extensions=EXTENSIONS,
                 receive_buffer=None):
        self.lenient = lenient
        self.extensions = list(extensions)
        self.actions = {}
        self.sessions = []
        self.released = threading.Event()
        self.closing = False
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind((host, port))
        self.host, self.port = self.listener.getsockname()[:2]
        self.listener.listen(1024)
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    @property
    def address(self):
        """As deploy/sandbox --backend wants it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def on(self, step, action):
        """From now on; None brings the usual back."""
        with self.lock:
            self.actions[step] = list(action) if isinstance(action, list) else action

    def usual(self, step):
        if step == "EHLO":
            lines = ["scripted.test", *self.extensions]
            return "\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])
        return USUAL.get(step, "500 5.5.2 Command not recognized")

    def action(self, step, session, argument):
        with self.lock:
            action = self.actions.get(step)
            if isinstance(action, list):
                action = action.pop(0) if len(action) > 1 else action[0]
        if callable(action):
            action = action(session, argument)
        return self.usual(step) if action is None else action

    def reset(self):
        """Back to the usual for the next test: no script, no sessions, nothing stalls."""
        with self.lock:
            self.actions.clear()
            sessions, self.sessions = self.sessions, []
            stalled, self.released = self.released, threading.Event()
        stalled.set()
        for session in sessions:
            try:
                session.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def release(self):
        """Lets everything that stalls go on, and stalls nothing any more."""
        self.released.set()

    def accept(self):
        while True:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            session = Session(self, sock, peer)
            with self.lock:
                self.sessions.append(session)
            thread = threading.Thread(target=session.run, daemon=True)
            self.threads.append(thread)
            thread.start()

    def mail_sessions(self):
        """The sessions that came to send: not those of Postern's probe, which gives no MAIL."""
        return [session for session in list(self.sessions) if "MAIL" in session.verbs]

    def close(self):
        self.closing = True
        self.released.set()
        # shutdown() wakes the threads; close() alone would leave them in their system calls.
        for sock in [self.listener, *[session.sock for session in self.sessions]]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(10)
        self.listener.close()
