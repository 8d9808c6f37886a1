#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A backend that keeps nothing: answers as fast as Python can, so that Postern's own work is what counts.

    sink.py PORT-FILE

It runs until it is killed.  Only exact CRLF . CRLF ends a message, wherever reads end.
"""

import asyncio
import os
import sys

END = b"\r\n.\r\n"
EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE 1000000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
REPLIES = {b"EHLO": EHLO, b"HELO": b"250 sink.test\r\n", b"MAIL": b"250 2.1.0 Ok\r\n", b"RCPT": b"250 2.1.5 Ok\r\n",
           b"DATA": b"354 Go ahead\r\n", b"RSET": b"250 2.0.0 Ok\r\n", b"NOOP": b"250 2.0.0 Ok\r\n", b"QUIT": b"221 2.0.0 Bye\r\n"}


class Sink(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.pending = b""
        self.in_body = False
        transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data):
        data = self.pending + data
        self.pending = b""
        out = []
        while data:
            if self.in_body:
                end = data.find(END)
                if end < 0:
                    self.pending = data[-4:]
                    break
                data = data[end + len(END):]
                self.in_body = False
                out.append(b"250 2.0.0 Ok: queued as SINK\r\n")
                continue
            end = data.find(b"\r\n")
            if end < 0:
                self.pending = data
                break
            verb, data = data[:4].upper(), data[end + 2:]
            out.append(REPLIES.get(verb, b"500 5.5.2 What?\r\n"))
            if verb == b"DATA":
                self.in_body = True
                data = b"\r\n" + data  # the start of the data is the start of a line
        if out:
            self.transport.write(b"".join(out))


async def main(path):
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, backlog=1024)
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(f"{server.sockets[0].getsockname()[1]}\n")
    os.rename(path + ".new", path)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
