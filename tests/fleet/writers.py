# SPDX-License-Identifier: ISC
"""Clients that send as much as they are let, on every node at once, and remember what they were told.

A writer holds one connection after another to one node, as one credential, and gives every message a
Message-ID of its own: nothing is ever sent twice.  What it sends comes from its own stream of random
numbers; what it hears depends on the faults of the moment.  Says nothing about whether that was right.
"""

import asyncio
import base64
import dataclasses
import random
import ssl
import time

from wire import Malformed, Wire

PAUSE = 0.02  # after a message; two cores serve everything
PAUSE_MOST = 0.6  # after refusals in a row
REPLY_SECONDS = 20
FATES = (("kept", 70), ("slow", 12), ("refused", 6), ("later", 4), ("hung", 2), ("dropped", 1))


@dataclasses.dataclass
class Attempt:
    """One message.  code 0: the writer was told nothing; where: the command whose reply ended it."""
    message_id: str
    login: str
    credential: str
    node: int
    begun: float
    fate: str
    recipients: int
    where: str = "MAIL"
    code: int = 0
    text: str = ""
    ended: float = 0.0

    @property
    def by_limit(self):
        return self.code in (450, 550) and (" per " in self.text or " limit" in self.text)


class Lost(Exception):
    """The connection is of no use any more."""


class Writer:
    def __init__(self, name, node, identity, tls, seed):
        self.name = name
        self.node = node
        self.identity = identity
        self.tls = tls
        self.random = random.Random(f"{seed} {name}")
        self.attempts = []
        self.logins = 0
        self.lost = 0
        self.refused = 0
        self.wire = None
        self.ending = False

    # -------------------------------------------------------------------- dialogue
    async def reply(self):
        reply = await asyncio.wait_for(self.wire.reply(), REPLY_SECONDS)
        if reply is None:
            raise Lost
        return reply

    async def command(self, line):
        if not await self.wire.send(line.encode() + b"\r\n"):
            raise Lost
        return await self.reply()

    async def open(self):
        self.wire = Wire(self.tls)
        await self.wire.connect(self.node.port)
        await asyncio.wait_for(self.wire.handshake(), REPLY_SECONDS)
        if (await self.reply()).code != 220 or (await self.command("EHLO writer.test")).code != 250:
            raise Lost
        token = base64.b64encode(f"\0{self.identity.login}\0{self.identity.secret}".encode()).decode()
        if (await self.command(f"AUTH PLAIN {token}")).code != 235:
            raise Lost
        self.logins += 1

    async def message(self):
        attempt = self.draw()
        self.attempts.append(attempt)
        try:
            await self.transaction(attempt)
        finally:
            attempt.ended = time.time()
        return attempt

    def draw(self):
        fate = self.random.choices(*zip(*FATES))[0]
        count = self.random.choice((1, 1, 1, 2, 3, 5))
        return Attempt(f"{self.name}.{len(self.attempts)}@fleet.test", self.identity.login, self.identity.name,
                       self.node.number, time.time(), fate, count)

    async def transaction(self, attempt):
        declared = self.random.choice(("", " SIZE=4000", " SIZE=100"))
        self.heard(attempt, "MAIL", await self.command(f"MAIL FROM:<{self.identity.login}>{declared}"))
        if attempt.code != 250:
            return
        addresses = [f"r{n}.{self.random.randrange(40)}@{attempt.fate}.test" for n in range(attempt.recipients)]
        if self.random.random() < 0.2:
            addresses.append("nobody@refused.test")
        await self.wire.send("".join(f"RCPT TO:<{address}>\r\n" for address in addresses).encode() + b"DATA\r\n")
        taken = 0
        for _ in addresses:
            self.heard(attempt, "RCPT", await self.reply())
            taken += attempt.code == 250
        attempt.recipients = taken
        self.heard(attempt, "DATA", await self.reply())
        if attempt.code != 354:
            return
        attempt.code, attempt.where = 0, "body"
        await self.wire.send(self.body(attempt))
        self.heard(attempt, "body", await self.reply())

    def body(self, attempt):
        text = f"From: {self.identity.login}\r\nSubject: fleet\r\nMessage-ID: <{attempt.message_id}>\r\n\r\n"
        return (text + ("x" * 70 + "\r\n") * self.random.randrange(2, 30) + ".\r\n").encode()

    @staticmethod
    def heard(attempt, where, reply):
        attempt.where, attempt.code, attempt.text = where, reply.code, reply.text

    # ---------------------------------------------------------------------- running
    async def run(self):
        while not self.ending:
            try:
                await self.open()
                while not self.ending:
                    await self.pause((await self.message()).code)
                await self.command("QUIT")
            except (Lost, Malformed, OSError, EOFError, ssl.SSLError, asyncio.TimeoutError):
                self.lost += 1
                await asyncio.sleep(0.05 + 0.2 * self.random.random())
            finally:
                if self.wire is not None:
                    self.wire.close()

    async def pause(self, code):
        """Longer, the longer nothing goes."""
        if code == 421:
            raise Lost
        self.refused = 0 if code // 100 == 2 else self.refused + 1
        await asyncio.sleep(min(PAUSE_MOST, PAUSE * (1 + self.refused)) * (0.5 + self.random.random()))
