# SPDX-License-Identifier: ISC
"""What is sent in a message so that a server may take it for two: the rows of the smuggling matrix.

A message is  head + before + variant + smuggled + the true end,  where smuggled is a whole second
transaction in the form of commands.  A server that takes the variant for the end of data executes it,
and delivers the forged message.  The ids A01 to A21 are those of the threats that each row stands for.
"""

DOMAIN = "example.test"
END = b"\r\n.\r\n"
LONG = 100 * 1024


class Variant:
    """octets: the variant.  at: "body" (after a line of text) or "start" (the first octets after DATA).

    refusals: codes with which Postern may refuse such a message instead; each is documented.
    legal: the variant is the true end of data: what follows is a second message of the client's own, and
    must arrive as one, through all of Postern's policy.
    """

    def __init__(self, threat, name, octets, *, at="body", refusals=(), legal=False):
        self.threat = threat
        self.name = name
        self.octets = octets
        self.at = at
        self.refusals = refusals
        self.legal = legal

    @property
    def shown(self):
        """The octets as a reader knows them."""
        at = "(start) " if self.at == "start" else ""
        if len(self.octets) > 24:
            return at + self.name
        names = {13: "CR", 10: "LF", 0: "NUL", 9: "TAB", 11: "VT", 12: "FF", 26: "SUB", 32: "SP"}
        words, text = [], ""
        for octet in self.octets:
            if 32 < octet < 127:
                text += chr(octet)
                continue
            if text:
                words.append(text)
            words.append(names.get(octet, f"0x{octet:02X}"))
            text = ""
        words += [text] if text else []
        return at + " ".join(words).replace("CR LF", "CRLF")


NUL = ("550 5.6.0",)
# Nothing before the variant: the author's address is in what is smuggled, or nowhere.
NO_AUTHOR = ("550 5.7.1",)

VARIANTS = (
    Variant("A01", "LF.LF", b"\n.\n"),
    Variant("A02", "LF.CRLF", b"\n.\r\n"),
    Variant("A03", "CRLF.LF", b"\r\n.\n"),
    Variant("A04", "CRLF.CRCRLF", b"\r\n.\r\r\n"),
    Variant("A04", "CRCRLF.CRCRLF", b"\r\r\n.\r\r\n"),
    Variant("A04", "LF.CRCRLF", b"\n.\r\r\n"),
    Variant("A04", "CRLF.CRCRCRLF", b"\r\n.\r\r\r\n"),
    Variant("A05", "CR.CR", b"\r.\r"),
    Variant("A05", "CR.CRLF", b"\r.\r\n"),
    Variant("A05", "CRLF.CR", b"\r\n.\r"),
    Variant("A05", "LF.CR", b"\n.\r"),
    Variant("A05", "CR.LF", b"\r.\n"),
    Variant("A05", "LFCR.LFCR", b"\n\r.\n\r"),
    Variant("A05", "CRLFCR.CRLF", b"\r\n\r.\r\n"),
    Variant("A05", "CRCR.CRCR", b"\r\r.\r\r"),
    Variant("A05", "300 CRs, LF . 300 CRs, LF", b"\r" * 300 + b"\n." + b"\r" * 300 + b"\n"),
    Variant("A06", "CRLF NUL . CRLF", b"\r\n\0.\r\n", refusals=NUL),
    Variant("A06", "CRLF . NUL CRLF", b"\r\n.\0\r\n", refusals=NUL),
    Variant("A06", "CRLF . CR NUL LF", b"\r\n.\r\0\n", refusals=NUL),
    Variant("A06", "CR NUL LF . CRLF", b"\r\0\n.\r\n", refusals=NUL),
    Variant("A06", "LF NUL . LF", b"\n\0.\n", refusals=NUL),
    Variant("A08", "stuffed dot alone", b"\r\n..\r\n"),
    Variant("A08", "three dots", b"\r\n...\r\n"),
    Variant("A08", "LF..LF", b"\n..\n"),
    Variant("A08", "LF..CRLF", b"\n..\r\n"),
    Variant("A08", "CRLF..LF", b"\r\n..\n"),
    Variant("A08", "dot, then text", b"\r\n.x\r\n"),
    Variant("A08", "stuffed dot, CR", b"\r\n..\r"),
    Variant("A08", "dot SP", b"\r\n. \r\n"),
    Variant("A08", "SP dot", b"\r\n .\r\n"),
    Variant("A08", "dot TAB", b"\r\n.\t\n"),
    Variant("A05", "VT.VT", b"\v.\v"),
    Variant("A05", "FF.FF", b"\f.\f"),
    Variant("A05", "CRLF.SUB CRLF", b"\r\n.\x1a\r\n"),
    Variant("A05", "NEL.NEL", b"\x85.\x85"),
    Variant("A05", "LS.LS in UTF-8", b"\xe2\x80\xa8.\xe2\x80\xa8"),
    Variant("A01", "LFLF.LFLF", b"\n\n.\n\n"),
    Variant("A01", "LF.LF twice", b"\n.\n.\n"),
    Variant("A03", "CRLF.LF.CR.LF", b"\r\n.\n.\r.\n"),
    Variant("A10", "100 KiB of text, LF.LF", b"x" * LONG + b"\n.\n"),
    Variant("A10", "100 KiB of dots, LF.CRLF", b"." * LONG + b"\n.\r\n"),
    Variant("A13", ".LF at the start", b".\n", at="start", refusals=NO_AUTHOR),
    Variant("A13", ".CR at the start", b".\r", at="start", refusals=NO_AUTHOR),
    Variant("A13", ".CRCRLF at the start", b".\r\r\n", at="start", refusals=NO_AUTHOR),
    Variant("A13", "LF.LF at the start", b"\n.\n", at="start", refusals=NO_AUTHOR),
    Variant("A13", "..CRLF at the start", b"..\r\n", at="start", refusals=NO_AUTHOR),
    Variant("A13", "text that is no header, LF.LF", b"no header line at all\n.\n", at="start", refusals=NO_AUTHOR),
    Variant("A14", "From_ line, CRLF.LF", b"From ceo@example.test Mon Jan  1 00:00:00 2024\r\n.\n", at="start",
            refusals=NO_AUTHOR),
    Variant("A14", "From_ line in the body", b"\r\n\r\nFrom ceo@example.test Mon Jan  1 00:00:00 2024\r\n"),
    Variant("A14", "From_ line of 100 KiB, LF.LF", b"From " + b"a" * LONG + b"\n.\n", at="start",
            refusals=NO_AUTHOR),
    Variant("A21", "RSET", b"\r\nRSET\r\n"),
    Variant("A21", "QUIT", b"\r\nQUIT\r\n"),
    Variant("A21", "EHLO", b"\r\nEHLO x.test\r\n"),
    Variant("A21", "BDAT 0 LAST", b"\r\nBDAT 0 LAST\r\n"),
    Variant("A11", "the true end (legal)", END, legal=True),
    Variant("A11", "CRCRLF.CRLF, a true end (legal)", b"\r\r\n.\r\n", legal=True),
)


def head(number):
    return (f"From: alice@{DOMAIN}\r\nTo: good-{number}@example.net\r\nSubject: case {number}\r\n"
            f"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <{number}@{DOMAIN}>\r\n"
            f"\r\nfirst line").encode()


def smuggled(number):
    """As steps: between them an attacker who meets a server that checks for it would wait."""
    return [f"MAIL FROM:<ceo@{DOMAIN}>\r\n".encode(), f"RCPT TO:<forged-{number}@example.net>\r\n".encode(),
            b"DATA\r\n",
            (f"From: ceo@{DOMAIN}\r\nTo: forged-{number}@example.net\r\nSubject: forged {number}\r\n"
             f"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <forged-{number}@{DOMAIN}>\r\n"
             f"\r\npay at once").encode() + END]


class Payload:
    """What follows DATA: octets; first, last: where the variant begins and ends."""

    def __init__(self, variant, number):
        before = b"" if variant.at == "start" else head(number)
        self.steps = smuggled(number)
        self.octets = before + variant.octets + b"".join(self.steps)
        self.first = len(before)
        self.last = len(before) + len(variant.octets)
        ends = (b"\r\n" + self.octets).count(END)
        assert ends == (2 if variant.legal else 1), f"{variant.name}: {ends} true ends of data"


# ---------------------------------------------------------------------------- splits
NEAR = 3  # octets around the variant
POINTS_MAX = 16


def whole(payload):
    return [[payload.octets]]


def one_octet_records(payload):
    """Each octet a TLS record of its own, from before the variant to after it."""
    begin, end = max(0, payload.first - NEAR), payload.last + NEAR
    if end - begin > 2048:
        begin = end - 2048
    octets = payload.octets
    return [[octets[:begin], *[octets[at:at + 1] for at in range(begin, end)], octets[end:]]]


def paused(payload):
    """The smuggled commands one by one, as to a server that looks whether somebody talks too early."""
    return [[payload.octets[:payload.last], *payload.steps]]


def every_octet(payload):
    """Two parts, cut at each octet of the variant and around it: as many ways."""
    points = [at for at in range(payload.first - NEAR, payload.last + NEAR + 1) if at > 0]
    if len(points) > POINTS_MAX:
        points = points[:POINTS_MAX // 2] + points[-POINTS_MAX // 2:]
    return [[payload.octets[:at], payload.octets[at:]] for at in points]


# A name, the ways to send a payload, seconds between the parts.
SPLITS = (("whole", whole, 0), ("1-octet records", one_octet_records, 0), ("step by step", paused, 0.02),
          ("cut at every octet", every_octet, 0.003))
