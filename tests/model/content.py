# SPDX-License-Identifier: ISC
"""What becomes of a message's octets, as the documents say it: line ends, dots, and the header."""

import re

LINE_END = re.compile(rb"\r*\n")
HELD_MAX = 255  # CRs before a line feed that are one line end with it


def find_end(data):
    """Where the end of data begins, counted from the CRLF of the line before; -1: not there."""
    return (b"\r\n" + data).find(b"\r\n.\r\n")


def normalised(body, chunks=False):
    """What a backend must get of a body as the client sent it, the end left out (docs: line_endings).

    chunks: it came by BDAT; no dot means anything then, and a last line without an end gets one.
    """
    out, at, true_line = [], 0, True
    if chunks and (rest := body[body.rfind(b"\n") + 1:]):
        crs = len(rest) - len(rest.rstrip(b"\r"))  # they begin the line end that is missing
        body = body[:len(body) - crs] + b" " * max(0, crs - HELD_MAX) + b"\r\n"
    while at < len(body):
        found = LINE_END.search(body, at)
        text, end = (body[at:found.start()], found[0]) if found else (body[at:], b"")
        # A run of CRs is kept back up to 255 octets; what is longer gives up its oldest as spaces.
        text = text.replace(b"\r", b" ") + b" " * max(0, len(end) - 1 - HELD_MAX)
        if not chunks and text.startswith(b".") and (not true_line or text == b"."):
            text = b"." + text
        out.append(text + (b"\r\n" if found else b""))
        true_line = end.endswith(b"\r\n")
        at = found.end() if found else len(body)
    return b"".join(out)


def has_bare(body, chunks=False):
    """Whether any line end is not CRLF; that of a last line may be missing in chunks."""
    return re.search(rb"\r(?!\n)|(?<!\r)\n", body) is not None if chunks else normalised(body) != body


def unstuffed(body):
    return re.sub(rb"(^|\r\n)\.", rb"\1", body)


FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
AUTHOR = re.compile(rb'from[ \t]*:[ \t]*(?:"[^"]*"[ \t]*)?<([^<>]*)>[ \t]*', re.I)
STRIPPED = re.compile(rb"authentication-results|x-postern-.*")
FOREIGN_AUTHOR, NO_AUTHOR = (550, "5.7.1"), (550, "5.6.0")


def headed(text, domain, strict, chunks=False, whole=True):
    """The header stage: (what it makes of normalised octets, the refusals that it may give).

    whole: there is no more to come, so that what is missing will not be there.

    Small, as the headers that the generator writes: From with addresses in angle brackets.
    """
    header, sep, body = (b"\r\n" + text).partition(b"\r\n\r\n")
    lines = header.split(b"\r\n")[1:]
    if not sep and lines:
        lines.pop()  # behind the last line end
    faults, out, authors, field, stripping, first = set(), [], [], b"", False, True
    for line in lines:
        plain = line[1:] if line.startswith(b".") and not chunks else line
        name = FIELD.match(plain)
        if first and plain[:1] in (b" ", b"\t"):
            faults.add(NO_AUTHOR)
            if not strict:
                return b"\r\n" + text, set()
        elif first and plain.startswith(b"From "):
            faults.add(NO_AUTHOR)
            stripping = True
        elif plain[:1] not in (b" ", b"\t"):
            field = name[1].lower() if name else b""
            stripping = STRIPPED.fullmatch(field) is not None
            if not field:
                faults.add(NO_AUTHOR)
            elif field == b"from":
                authors.append(plain)
        elif field == b"from":
            authors[-1] += plain
            if not plain.strip():  # to some readers the end of the header
                faults.add(NO_AUTHOR)
        if not stripping:
            out.append(plain if not plain.startswith(b".") else line)
        first = False
    faults |= of_authors(authors, domain)
    if not whole and not sep:  # its last lines may turn out to be anything
        faults = {NO_AUTHOR, FOREIGN_AUTHOR}
    return b"".join(line + b"\r\n" for line in out) + (sep[2:] + body if sep else b""), faults if strict else set()


def of_authors(authors, domain):
    if not authors:
        return {NO_AUTHOR}
    if len(authors) > 1:  # and the first may have been found unreadable before
        return {FOREIGN_AUTHOR, NO_AUTHOR}
    found = AUTHOR.fullmatch(authors[0])
    if found is None:
        return {NO_AUTHOR, FOREIGN_AUTHOR}
    return set() if found[1].endswith(b"@" + domain.encode()) else {FOREIGN_AUTHOR}
