# SPDX-License-Identifier: ISC
"""The server behind all nodes: it keeps an account of every message whose end of data it saw.

What it does with a message the client has written into the addresses: RCPT TO:<x@refused.test> is refused,
and the first recipient's domain tells the fate of the message:

    kept.test      250, with a queue id of its own
    slow.test      the same after a while: a fault may come between
    refused.test   as the first of all: 554 after the end of data
    later.test     451 after the end of data
    hung.test      kept, and the connection is closed before the reply
    dropped.test   not kept, and the connection is closed before the reply

Exact in time: a message stands in the account before a reply can have left.
"""

import asyncio
import dataclasses
import re
import time

END = b"\r\n.\r\n"
EHLO = b"250-fleet.test\r\n250-PIPELINING\r\n250-SIZE 1000000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
PLAIN = {b"EHLO": EHLO, b"HELO": b"250 fleet.test\r\n", b"RSET": b"250 2.0.0 Ok\r\n", b"NOOP": b"250 2.0.0 Ok\r\n"}
FATES = ("kept", "slow", "refused", "later", "hung", "dropped")
SLOW_SECONDS = 0.3
TRACE = re.compile(rb"Received: by ([\w.-]+)[^;]*? with \w+ id ([0-9a-z]{12})")
MESSAGE_ID = re.compile(rb"^Message-ID: <([^>\r\n]+)>", re.M)
ADDRESS = re.compile(rb"<([^>]*)>")
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def number_of(text):
    """The id of a transaction as the database has it."""
    value = 0
    for letter in text:
        value = value * 32 + CROCKFORD.index(letter)
    return value


@dataclasses.dataclass(frozen=True)
class Delivery:
    """One end of data, and what became of it."""
    tid: int
    node: str
    message_id: str
    queue_id: str
    sender: str
    recipients: tuple
    octets: int
    fate: str
    at: float

    @property
    def kept(self):
        return self.fate in ("kept", "slow", "hung")

    @property
    def told(self):
        """The node was given a 250 for it, if it lived to hear it."""
        return self.fate in ("kept", "slow")


class Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server = server
        self.pending = b""
        self.in_body = self.waiting = self.gone = False
        self.begin()

    def begin(self):
        self.sender, self.recipients, self.first = "", [], ""

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"220 fleet.test ESMTP\r\n")

    def connection_lost(self, _error):
        self.gone = True

    def data_received(self, data):
        self.pending += data
        while not self.waiting and not self.gone and self.step():
            pass

    def step(self):
        """Takes a line or a body from what has come; False: there is no whole one."""
        end = self.pending.find(END if self.in_body else b"\r\n")
        if end < 0:
            return False
        if self.in_body:
            body, self.pending = self.pending[2:end + 2], self.pending[end + len(END):]
            self.in_body = False
            self.message(body)
        else:
            line, self.pending = self.pending[:end], self.pending[end + 2:]
            self.command(line)
        return True

    def command(self, line):
        verb = line[:4].upper()
        if verb == b"MAIL":
            self.begin()
            self.sender = ADDRESS.search(line)[1].decode()
            self.say(b"250 2.1.0 Ok\r\n")
        elif verb == b"RCPT":
            self.recipient(ADDRESS.search(line)[1].decode())
        elif verb == b"DATA" and self.recipients:
            self.in_body = True
            self.pending = b"\r\n" + self.pending  # the start of the data is the start of a line
            self.say(b"354 Go ahead\r\n")
        elif verb == b"QUIT":
            self.say(b"221 2.0.0 Bye\r\n")
            self.close()
        else:
            self.say(PLAIN.get(verb, b"503 5.5.1 Not now\r\n"))

    def recipient(self, address):
        domain = address.rpartition("@")[2].partition(".")[0]
        self.first = self.first or domain
        if domain == "refused" and self.recipients:
            self.say(b"550 5.1.1 Nobody here\r\n")
            return
        self.recipients.append(address)
        self.say(b"250 2.1.5 Ok\r\n")

    def message(self, body):
        trace, name = TRACE.match(re.sub(rb"\r\n[ \t]+", b" ", body)), MESSAGE_ID.search(body)
        fate = self.first if self.first in FATES else "kept"
        delivery = Delivery(number_of(trace[2].decode()), trace[1].decode(), name[1].decode(), self.server.next_id(),
                            self.sender, tuple(self.recipients), len(body), fate, time.time())
        if fate == "slow":
            self.waiting = True
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self.late, dataclasses.replace(delivery))
            return
        self.answer(delivery)

    def late(self, delivery):
        self.waiting = False
        # Whoever has gone meanwhile asked for it all the same, and cannot take it back.
        self.answer(dataclasses.replace(delivery, at=time.time()))
        self.data_received(b"")

    def answer(self, delivery):
        self.server.deliveries.append(delivery)
        if delivery.told:
            self.say(f"250 2.0.0 Ok: queued as {delivery.queue_id}\r\n".encode())
        elif delivery.fate == "refused":
            self.say(b"554 5.6.0 Not this one\r\n")
        elif delivery.fate == "later":
            self.say(b"451 4.3.0 Try again\r\n")
        else:
            self.close()

    def say(self, text):
        if not self.gone:
            self.transport.write(text)

    def close(self):
        self.gone = True
        self.transport.close()


class Server:
    """deliveries: every end of data so far, in their order."""

    def __init__(self):
        self.deliveries = []
        self.count = 0
        self.listener = None

    def next_id(self):
        self.count += 1
        return f"F{self.count:07d}"

    async def start(self):
        self.listener = await asyncio.get_running_loop().create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=1024)
        return f"127.0.0.1:{self.listener.sockets[0].getsockname()[1]}"

    def stop(self):
        self.listener.close()
