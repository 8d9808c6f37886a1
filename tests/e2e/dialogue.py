# SPDX-License-Identifier: ISC
"""Dialogues as they stand in the RFCs: every octet that is sent, every octet that must come back.

    talk(client, '''
        C: MAIL FROM:<alice@example.test>
        S: 250 2.1.0 Ok
        C: QUIT
        S: 221 2.0.0 Bye
        S: (end)
    ''')

C: is a line of the client's; lines that follow one another leave in one segment.  S: is a line of the
server's, and (end) the end of the connection with nothing more before it.  C: alone is an empty line; SP
stands for a space where it is the last octet of a line.
"""

import itertools

SP = " "


def parsed(script):
    """("C" or "S", its lines) in turn."""
    lines = [line.lstrip(" ") for line in script.strip("\n").split("\n") if line.strip()]
    assert all(line[:3] in ("C: ", "S: ", "C:") for line in lines), lines
    for side, group in itertools.groupby(lines, lambda line: line[0]):
        yield side, [line[3:] for line in group]


def expect(client, lines):
    """Reads whole replies until all of these lines have come; anything else fails."""
    at = 0
    while at < len(lines) and lines[at] != "(end)":
        reply = client.reply()
        want = "\n".join(lines[at:at + len(reply.lines)])
        assert reply.text == want, f"got {reply.text!r}, want {want!r}"
        at += len(reply.lines)
    if at < len(lines):
        assert lines[at:] == ["(end)"]
        client.expect_end()


def talk(client, script):
    for side, lines in parsed(script):
        if side == "C":
            client.send("".join(line + "\r\n" for line in lines))
        else:
            expect(client, lines)
    assert client.buffer == b"", f"more than was due: {client.buffer!r}"
