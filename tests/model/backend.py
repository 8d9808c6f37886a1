# SPDX-License-Identifier: ISC
"""The backend of the model: a server that follows each session's script and keeps what it was told.

A session is known by its addresses: MAIL FROM:<sN.SEED@...> is transaction N of session SEED, RCPT
TO:<rK.N.SEED@...> its recipient K.  Every reply carries a token of its own, so that the client's side
can tell whose reply it was given.  What is said before MAIL (greeting, EHLO) belongs to no session:
the weather of the moment decides it.

Whatever no proxy should ever send is a finding here: a bare CR or LF, a command that Postern does not
build, a session's words on another session's connection, an end of data without a recipient.
"""

import asyncio
import dataclasses
import re
import socket
import struct

SENDER = re.compile(rb"MAIL FROM:<s(\d+)\.(\d+)@[\w.-]+>((?: [\x21-\x7e]+)*)")
RECIPIENT = re.compile(rb"RCPT TO:<r(\d+)\.(\d+)\.(\d+)@rcpt\.test>((?: [\x21-\x7e]+)*)")
HELLO = re.compile(rb"(EHLO|HELO) submit\.example\.test")
CHUNK = re.compile(rb"BDAT (\d+)( LAST)?")
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
KEYWORDS = ("PIPELINING", "CHUNKING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
ENHANCED = {2: "2.0.0", 4: "4.2.0", 5: "5.1.1"}
GARBAGE = (b"25\r\n", b"2x0 what\r\n", b"250_no\r\n", b"nonsense\r\n", b"250-a\r\n550 b\r\n", b"250 ok\n",
           b"250 nul\0\r\n", b"\r\n", b"999 no\r\n", b"250 " + b"x" * 3000 + b"\r\n", b"-250 ok\r\n")


@dataclasses.dataclass(frozen=True)
class Action:
    """What to do at one step.  kind: say, bye (say, then close), twice (say it twice), garble, close, reset."""
    kind: str = "say"
    code: int = 250
    delay: float = 0.0
    lines: int = 1
    enhanced: bool = True
    garbage: int = 0

    def __str__(self):
        return self.kind if self.kind in ("close", "reset") else f"{self.kind} {self.code}"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was said: code None when it was nothing that can be read as a reply."""
    code: int | None
    token: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One transaction at the backend."""
    mail: Action = Action()
    rcpt: tuple = ()
    data: Action = Action(code=354)
    chunk: Action = Action()  # of every piece but the last
    early: Action | None = None
    end: Action = Action()
    rset: Action = Action()


@dataclasses.dataclass(frozen=True)
class Weather:
    """How every connection of a batch of sessions begins, by server."""
    name: str = "fine"
    keywords: tuple = (KEYWORDS, KEYWORDS)
    greeting: tuple = (Action(code=220), Action(code=220))
    ehlo: tuple = (Action(), Action())
    helo: tuple = (Action(), Action())
    flaky: int = 0  # only each n-th connection meets greeting, ehlo and helo

    def may_fail(self):
        """Whether both servers can turn a connection away."""
        return all(wrong(greeting, 220) or (wrong(ehlo, 250) and not (knows_none(ehlo) and not wrong(helo, 250)))
                   for greeting, ehlo, helo in zip(self.greeting, self.ehlo, self.helo, strict=True))

    def lacks(self, keyword):
        """Whether some connection has it not."""
        return (any(knows_none(action) for action in self.ehlo)
                or any(all(word.split(" ")[0] != keyword for word in words) for words in self.keywords))

    def sizes(self):
        return {int(word[5:]) for words in self.keywords for word in words if word.startswith("SIZE ")}


def wrong(action, code):
    return action.kind != "say" or action.code != code


def knows_none(action):
    """The server takes no EHLO, and is asked by HELO."""
    return action.kind == "say" and action.code // 100 == 5


class Truth:
    """What the backend saw of one session."""

    def __init__(self):
        self.answers = {}  # ("mail", n), ("rcpt", n, k), ("data", n), ("early", n), ("end", n) -> Answer
        self.connections = []
        self.carriers = {}  # N -> the connection that its MAIL came on
        self.committed = []  # (n, recipients, body as on the wire)
        self.ends = {}  # n -> (recipients, body) of every end of data that came
        self.events = []

    def answer(self, *step):
        return self.answers.get(step)

    def broken(self, number):
        """The backend ended the connection of transaction N, or said on it what ends it; when its MAIL never
        came, that of an earlier one."""
        if number in self.carriers:
            return self.carriers[number].broken
        return any(connection.broken for connection in self.connections)

    def chunking(self, number):
        """The message goes there in chunks."""
        return number in self.carriers and self.carriers[number].chunking

    def confused(self, number):
        """Replies to its pieces may be those of other commands: the backend said something twice."""
        return self.chunking(number) and self.carriers[number].shifted

    def within(self, number):
        """What was said before the end of the message."""
        found = [self.answers.get(step) for step in (("early", number), ("chunk", number))]
        return [answer for answer in found if answer is not None and answer.code is not None]

    def tokens(self):
        """Everything that was said on connections whose replies may have shifted by one."""
        return {answer.token: answer.code for connection in self.connections if connection.shifted
                for answer in connection.said}


class Connection:
    def __init__(self, backend, server, number, sock):
        self.backend = backend
        self.server = server
        self.number = number
        self.sock = sock
        self.raw = bytearray()
        self.at = 0
        self.truth = None
        self.seed = None
        self.transaction = None  # N, from MAIL's 2xx on
        self.recipients = []
        self.plan = Plan()
        self.broken = self.shifted = self.chunking = False
        self.pieces = b""  # of a message in chunks
        self.said = []
        self.tokens = 0

    def finding(self, what):
        self.backend.findings.append((self.seed, f"backend connection {self.number}: {what}"))

    def event(self, text):
        if self.truth is not None:
            self.truth.events.append(f"    B{self.number} {text}")

    # -------------------------------------------------------------------- octets
    async def read(self):
        data = await self.backend.loop.sock_recv(self.sock, 65536)
        self.raw += data
        return bool(data)

    async def line(self):
        while (end := self.raw.find(b"\r\n", self.at)) == -1:
            if not await self.read():
                return None
        line = bytes(self.raw[self.at:end])
        self.at = end + 2
        return line

    async def body(self):
        """The octets before the end of data; None when the connection ended before."""
        begin, look = self.at, self.at
        if self.raw[begin:begin + 3] == b".\r\n":
            self.at += 3
            return b""
        while (end := self.raw.find(b"\r\n.\r\n", look)) == -1:
            look = max(begin, len(self.raw) - 4)
            if not await self.read():
                return None
        self.at = end + 5
        return bytes(self.raw[begin:end + 2])

    # ------------------------------------------------------------------- replies
    def reply(self, action, text):
        self.tokens += 1
        token = f"t{self.seed or 0}-{self.number}.{self.tokens}!"
        enhanced = f"{ENHANCED[action.code // 100]} " if action.enhanced and action.code // 100 != 3 else ""
        lines = [f"{action.code}{'-' if i + 1 < action.lines else ' '}{enhanced}{text} {token}\r\n"
                 for i in range(action.lines)]
        return "".join(lines).encode(), Answer(action.code, token)

    async def act(self, action, text, step=None):
        """Does it; False when the connection is over.  The truth is known before the client can hear it."""
        if action.delay:
            await asyncio.sleep(action.delay)
        octets, answer = self.reply(action, text)
        if action.kind in ("close", "reset"):
            octets = b""
        elif action.kind == "garble":
            octets = GARBAGE[action.garbage % len(GARBAGE)]
        elif action.kind == "twice":
            octets += octets
            self.shifted = True
        if action.kind not in ("say", "bye", "twice"):
            answer = Answer(None)
        self.broken |= action.kind != "say" or action.code == 421
        self.said.append(answer)
        if step is not None and self.truth is not None:
            self.truth.answers[step] = answer
        self.event(f"{step or text}: {action} {answer.token}")
        if octets:
            await self.backend.loop.sock_sendall(self.sock, octets)
        if action.kind == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return action.kind not in ("close", "reset", "bye") and action.code != 421

    # ------------------------------------------------------------------- running
    async def run(self):
        try:
            if await self.hello("greeting", "scripted.test ESMTP"):
                while (line := await self.line()) is not None and await self.command(line):
                    pass
        except ConnectionError:
            pass
        finally:
            self.event("closed")
            self.sock.close()
            if BARE.search(self.raw.removesuffix(b"\r")):
                self.finding(f"a bare CR or LF: {bytes(self.raw)!r}")

    async def hello(self, what, text):
        weather = self.backend.weather
        if weather.flaky and self.number % weather.flaky:
            weather = Weather(keywords=weather.keywords)
        action = getattr(weather, what)[self.server]
        if what != "ehlo" or action.kind != "say" or action.code != 250:
            return await self.act(action, text)
        words = ["scripted.test", *weather.keywords[self.server]]
        self.chunking = "CHUNKING" in words
        octets = "".join(f"250{'-' if i + 1 < len(words) else ' '}{word}\r\n" for i, word in enumerate(words))
        await self.backend.loop.sock_sendall(self.sock, octets.encode())
        return True

    async def command(self, line):
        self.event(f"> {line.decode('latin-1')}")
        verb = line.split(b" ")[0]
        if HELLO.fullmatch(line):
            return await self.hello(verb.decode().lower(), "scripted.test")
        if verb == b"MAIL":
            return await self.mail(line)
        if verb == b"RCPT":
            return await self.rcpt(line)
        if line == b"DATA":
            return await self.data()
        if found := CHUNK.fullmatch(line):
            return await self.chunk(int(found[1]), bool(found[2]))
        if line == b"RSET":
            self.transaction, self.recipients, self.pieces = None, [], b""
            return await self.act(self.plan.rset, "reset")
        if line == b"QUIT":
            await self.act(Action(code=221), "bye")
            return False
        self.finding(f"a command that Postern does not build: {line!r}")
        return False

    def bind(self, seed):
        """The connection is this session's; False when it is another's."""
        if self.seed is None:
            self.seed = seed
            self.truth = self.backend.truths.get(seed)
            if self.truth is not None:
                self.truth.connections.append(self)
        if self.truth is None or self.seed != seed:
            self.finding(f"the connection of session {self.seed} is given a command of session {seed}")
            return False
        return True

    async def mail(self, line):
        found = SENDER.fullmatch(line)
        if found is None or not self.bind(int(found[2])):
            self.finding(f"a sender that nobody may use: {line!r}")
            return False
        number = int(found[1])
        if self.transaction is not None and not self.shifted:
            self.finding(f"MAIL within a transaction: {line!r}")
        self.plan = self.backend.scripts[self.seed].plans.get(number, Plan())
        self.truth.carriers[number] = self
        self.transaction = number if self.plan.mail.code // 100 == 2 else None
        self.recipients = []
        return await self.act(self.plan.mail, "sender", ("mail", number))

    async def rcpt(self, line):
        found = RECIPIENT.fullmatch(line)
        if found is None or self.truth is None or int(found[3]) != self.seed:
            self.finding(f"a recipient of nobody's: {line!r}")
            return False
        index, number = int(found[1]), int(found[2])
        plan = self.backend.scripts[self.seed].plans.get(number, Plan())
        action = plan.rcpt[index] if index < len(plan.rcpt) else Action()
        if self.transaction is None:
            action = Action(code=503)
        if action.kind in ("say", "twice", "bye") and action.code // 100 == 2:
            self.recipients.append((index, number))
        return await self.act(action, "recipient", ("rcpt", number, index))

    async def data(self):
        number, plan = self.transaction, self.plan
        action = plan.data
        if number is None or (not self.recipients and plan.data.delay == 0):
            action = Action(code=503)  # else 354 without any recipient, which RFC 2920 3.1 allows
        going = action.kind in ("say", "twice") and action.code == 354
        alive = await self.act(action, "data", ("data", number))
        if not going or not alive:
            self.transaction = None if action.code != 354 else number
            return alive
        if plan.early is not None and not await self.early(number, plan.early):
            return False
        body = await self.body()
        if body is None:
            return False
        if plan.early is not None:  # that was the reply to it
            self.transaction = None
            return True
        if not self.recipients:
            self.finding(f"an end of data without a recipient, transaction {number}")
        self.transaction = None
        return await self.ended(number, body)

    async def chunk(self, size, last):
        while len(self.raw) < self.at + size:
            if not await self.read():
                return False
        self.pieces += bytes(self.raw[self.at:self.at + size])
        self.at += size
        number, plan = self.transaction, self.plan
        if not self.shifted and (not self.chunking or number is None or not self.recipients):
            self.finding(f"a chunk that was not asked for, transaction {number}")
            return False
        if not last:
            action = plan.chunk
            alive = await self.act(action, "piece", ("chunk", number))
            if action.code != 250:
                self.transaction = None
            return alive
        body, self.pieces, self.transaction = self.pieces, b"", None
        return await self.ended(number, body)

    async def ended(self, number, body):
        plan = self.plan
        self.truth.ends[number] = (list(self.recipients), body)
        if plan.end.kind in ("say", "twice", "bye") and plan.end.code // 100 == 2 and plan.end.code != 221:
            self.truth.committed.append((number, list(self.recipients), body))
        return await self.act(plan.end, "queued", ("end", number))

    async def early(self, number, action):
        while self.at == len(self.raw):
            if not await self.read():
                return False
        return await self.act(action, "early", ("early", number))


class Backend:
    """Two servers, one script for each session.  scripts: seed -> what has .plans (N -> Plan)."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.weather = Weather()
        self.scripts = {}
        self.truths = {}
        self.findings = []
        self.number = 0
        self.tasks = set()
        self.listeners = []
        for _ in range(2):
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            listener.listen(1024)
            listener.setblocking(False)
            self.listeners.append(listener)
        self.accepting = [self.loop.create_task(self.accept(index)) for index in range(2)]

    @property
    def addresses(self):
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in self.listeners]

    def expect(self, seed, script):
        self.scripts[seed] = script
        self.truths[seed] = Truth()
        return self.truths[seed]

    async def accept(self, server):
        while True:
            sock, _ = await self.loop.sock_accept(self.listeners[server])
            sock.setblocking(False)
            self.number += 1
            task = self.loop.create_task(Connection(self, server, self.number, sock).run())
            self.tasks.add(task)
            task.add_done_callback(self.done)

    def done(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.findings.append((None, f"the model's backend failed: {task.exception()!r}"))

    async def close(self):
        for task in [*self.accepting, *self.tasks]:
            task.cancel()
        await asyncio.gather(*self.accepting, *self.tasks, return_exceptions=True)
        for listener in self.listeners:
            listener.close()
