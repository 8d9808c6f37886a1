# SPDX-License-Identifier: ISC
"""What the clients send: contents that break on the way, in UTF-8, with CRLF line ends.

A client that takes a whole message gets HEADERS before each; one that composes gets the body as text.
"""

import random

SENDER = "alice@example.test"
HEADERS = (f"From: {SENDER}\r\nTo: friend@example.net\r\nSubject: Byte for byte\r\n"
           "Date: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <interop@example.test>\r\n"
           "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
           "Content-Transfer-Encoding: 8bit\r\n\r\n").encode()
BIG_OCTETS = 20 * 1000 * 1000


def lines(*texts):
    return b"".join(text.encode() + b"\r\n" for text in texts)


def big():
    """Lines of all lengths up to 900, many with leading dots; the same every time."""
    source = random.Random(587)
    block = lines(*["." * source.randrange(3) + chr(source.randrange(33, 127)) * source.randrange(1, 897)
                    for _ in range(2000)])
    return block * (BIG_OCTETS // len(block) + 1)


BODIES = {
    "dots": lines(".", "..", "...", ".a", "a.", " .", "", ".", "", "..", "text", "."),
    "998": lines("x" * 998, "." + "y" * 997, "z" * 998),
    "5000": lines("short", "x" * 5000, "." * 5000, "short"),
    "8-bit": lines("Grüße, Привет, 你好", "é" * 400, "end"),
    "empty": b"",
    "spaces": lines("trailing space ", "trailing tab\t", "   ", "", " ", "From here", ">From there", "-- ", ""),
    "no end": b"the last line has no end",
    "20 MB": big(),
}
