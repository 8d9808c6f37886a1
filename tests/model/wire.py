# SPDX-License-Identifier: ISC
"""The client's end of a connection for the model: octets out as they are given, replies in.

asyncio on the bare socket, TLS through memory BIOs: hundreds of connections at once cost little, every
record is cut where the session says, and close_notify can be sent alone.
"""

import asyncio
import re
import socket
import ssl
import struct

LINE = re.compile(rb"(\d{3})([ -])(.*)\r\n")
ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")


class Reply:
    """code, enhanced ("" when there is none), text: the lines joined by a line feed."""

    def __init__(self, raw):
        parts = [LINE.fullmatch(line) for line in raw.splitlines(keepends=True)]
        if not parts or not all(parts) or len({part[1] for part in parts}) != 1:
            raise Malformed(f"malformed reply: {raw!r}")
        if any(len(line) > 512 for line in raw.splitlines(keepends=True)):
            raise Malformed(f"a reply line above 512 octets: {raw[:600]!r}")
        self.code = int(parts[0][1])
        self.text = "\n".join(part[3].decode("utf-8", "replace") for part in parts)
        found = ENHANCED.match(self.text)
        self.enhanced = found[0] if found else ""

    def __repr__(self):
        return f"{self.code} {self.text}".replace("\n", " / ")


class Malformed(AssertionError):
    pass


class Tls:
    """One context; sessions are resumed, which is what clients do and is cheap."""

    def __init__(self, ca):
        self.context = ssl.create_default_context(cafile=ca)
        self.session = None


class Wire:
    def __init__(self, tls):
        self.loop = asyncio.get_running_loop()
        self.tls = tls
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.secure = None
        self.buffer = b""
        self.ended = False

    async def connect(self, port):
        await self.loop.sock_connect(self.sock, ("127.0.0.1", port))

    async def handshake(self):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = self.tls.context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost",
                                           session=self.tls.session)
        while True:
            try:
                secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.flush()
                await self.fill()
        self.secure = secure
        await self.flush()

    async def flush(self):
        if data := self.outgoing.read():
            await self.loop.sock_sendall(self.sock, data)

    async def fill(self):
        if data := await self.loop.sock_recv(self.sock, 65536):
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    async def send(self, data):
        """False: the server has closed."""
        try:
            if self.secure is None:
                await self.loop.sock_sendall(self.sock, data)
            else:
                for at in range(0, len(data), 16384):
                    self.secure.write(data[at:at + 16384])
                    await self.flush()
            return True
        except (ConnectionError, ssl.SSLError):
            return False

    async def receive(self):
        """Some octets; b"" at the end, whichever way it came."""
        try:
            if self.secure is None:
                return await self.loop.sock_recv(self.sock, 65536)
            while True:
                try:
                    return self.secure.read(65536)
                except ssl.SSLWantReadError:
                    await self.fill()
        except (ConnectionError, ssl.SSLError):
            return b""

    async def line(self):
        while b"\n" not in self.buffer:
            data = await self.receive()
            if not data:
                self.ended = True
                if self.buffer:
                    raise Malformed(f"closed within a line: {self.buffer!r}")
                return b""
            self.buffer += data
        line, sep, self.buffer = self.buffer.partition(b"\n")
        return line + sep

    async def reply(self):
        """One reply; None when the server closed instead."""
        raw = line = await self.line()
        while line[3:4] == b"-":
            line = await self.line()
            raw += line
        return Reply(raw) if raw else None

    async def half_close(self):
        """Nothing more will come from here; what the server still says can be read."""
        try:
            if self.secure is not None:
                try:
                    self.secure.unwrap()
                except ssl.SSLWantReadError:
                    pass
                await self.flush()
            self.sock.shutdown(socket.SHUT_WR)
        except (OSError, ssl.SSLError):
            pass

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        if self.secure is not None and self.secure.session is not None:
            self.tls.session = self.secure.session
        self.sock.close()
