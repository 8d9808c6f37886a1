# SPDX-License-Identifier: ISC
"""What proxy/from_header.c reads in a From field, against what Python's readers find in it.

Values are made from pieces that readers are known to differ about (threats.md F03, "Composition
Kills"), and given to the parser through its unit test's program.  What it accepts must hold, for
every reader here, no address that the parser does not know of.
"""

import email
import email.header
import email.policy
import email.utils
import os
import random
import subprocess

import pytest

from harness import BUILD, ROOT, run

OURS = "alice@example.org"
PIECES = (
    "alice@example.org", "<alice@example.org>", "ceo@victim.example", "<ceo@victim.example>", "alice", "ceo",
    "@", "@example.org", "@victim.example", ".", ",", ";", ":", "g:", "<", ">", "(", ")", "(x)", "(ceo@victim.example)",
    "(<ceo@victim.example>)", '"', '""', '"a"', '"ceo@victim.example"', '"<ceo@victim.example>"', '"a b"@example.org',
    '"alice"@example.org', '"ceo@victim.example"@example.org', "\\", '\\"', "\\,", " ", " ", " ", "\t", "\r\n ", "\r\n\t",
    "\r\n \r\n ", "[", "]", "[192.0.2.1]", "@[192.0.2.1]", "<@victim.example:alice@example.org>", "Alice", "J.", "Q",
    "=?utf-8?Q?ceo=40victim.example?=", "=?utf-8?Q?=3Cceo=40victim.example=3E?=", "=?utf-8?Q?J=C3=BCrgen?=",
    "=?utf-8?B?PGNlb0B2aWN0aW0uZXhhbXBsZT4=?=", "=?utf-8?Q?=22?=", "=?utf-8?Q?=2C?=", "=?utf-8?Q?=28?=", "=?utf-8?Q?",
    "?=", "=?utf-7?Q?ceo+AEA-victim.example?=", "=?utf-16-be?B?AGMAZQBvAEAAdgAuAHQAZQBzAHQ=?=", "=40",
    "=?gbk?Q?=80=40victim.example?=", "=?iso-2022-jp?B?GyRCO0A1fBsoQg==?=", "=?big5?Q?ceo=A4=40victim.example?=",
    "=?utf-8?Q?alice=40example.org?=", "'", "+", "=", "\xe9", "\x00", "\x0b", "\n", "\r",
)
REAL = (
    "alice@example.org",
    "Alice <alice@example.org>",
    '"Example, Alice" <alice@example.org>',
    "Alice Q. Example <alice@example.org>",
    "alice@example.org (Alice Example)",
    "=?UTF-8?B?SsO8cmdlbg==?= <alice@example.org>",
    "=?iso-8859-1?Q?J=FCrgen_M=FCller=2C_Dr=2E?= <alice@example.org>",
    "\"'alice@example.org'\" <alice@example.org>",
    '"alice@example.org" <alice@example.org>',
    "<alice@example.org>",
    '"=?utf-8?Q?J=C3=BCrgen?="\r\n <alice@example.org>',
    "Alice <alice@example.org>, Bob <bob@example.org>",
    "team: alice@example.org, Bob <bob@example.org>;",
    "alice+tag@example.org",
    "\"O'Hara, A.\" <a.o'hara@mail.example.org>",
)


def parser():
    """The unit test's program, built with the flavour under test."""
    name = os.path.join(BUILD, "unit", "test_from_header")
    built = run(["make", "--no-print-directory", "-C", ROOT, f"FLAVOUR={os.path.basename(BUILD)}",
                 os.path.relpath(name, ROOT)], timeout=600)
    assert built.returncode == 0, built.stderr
    return name


def read_all(values):
    """[(word, addresses)] as from_header.c has it."""
    lines = "".join(value.encode("latin-1").hex() + "\n" for value in values)
    done = subprocess.run([parser(), "--values"], input=lines, capture_output=True, encoding="latin-1", timeout=120,
                          check=True)
    read = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert len(read) == len(values)
    return [(word, addresses.split("|") if addresses else []) for word, addresses in read]


def plain(address):
    """Without quoting, white space and case."""
    return "".join(c for c in address if c not in '"\\ \t').lower()


def unfold(value):
    return value.replace("\r\n", "")


def by_registry(value):
    """email.headerregistry: parses first, decodes afterwards."""
    header = email.policy.SMTP.header_factory("From", unfold(value))
    return [address.addr_spec for address in header.addresses]


def by_message(value):
    """A whole message through the parser, as a content filter would read it."""
    message = email.message_from_bytes(b"From:" + value.encode("latin-1") + b"\r\n\r\n", policy=email.policy.default)
    return [address.addr_spec for field in message.get_all("From", []) for address in field.addresses]


def by_utils(value):
    """email.utils: the old parser."""
    return [address for _, address in email.utils.getaddresses([unfold(value)])]


def by_utils_decoded(value):
    """Decodes first, parses afterwards: what much code does."""
    decoded = str(email.header.make_header(email.header.decode_header(unfold(value))))
    return [address for _, address in email.utils.getaddresses([decoded])]


READERS = (by_registry, by_message, by_utils, by_utils_decoded)


def found(reader, value):
    """The addresses that a reader finds; one that gives up finds none."""
    try:
        return [plain(address) for address in reader(value) if "@" in address and not address.startswith("@")]
    except (ValueError, LookupError, IndexError, AttributeError, TypeError, AssertionError,
            email.errors.MessageError):
        return []


def make_value(rng):
    pieces = [rng.choice(PIECES) for _ in range(rng.randint(1, 7))]
    if rng.random() < 0.6:  # something that may be accepted
        pieces.insert(rng.randint(0, len(pieces)), rng.choice(("<alice@example.org>", " alice@example.org ")))
    return " " + "".join(pieces)


@pytest.mark.row("118")
@pytest.mark.threat("F03")
def test_no_reader_finds_another_address():
    rng = random.Random(int(os.environ.get("SEED", "20"), 10))
    values = [make_value(rng) for _ in range(60000)]
    accepted = 0
    for value, (word, ours) in zip(values, read_all(values)):
        if word != "ok":
            continue
        accepted += 1
        known = {plain(address) for address in ours}
        for reader in READERS:
            others = set(found(reader, value)) - known
            assert not others, f"{reader.__name__} finds {others} in {value!r}, we {ours}"
    assert accepted > 1000


@pytest.mark.row("118")
def test_readers_agree_about_what_clients_send():
    for value, (word, ours) in zip(REAL, read_all([" " + value for value in REAL])):
        assert word == "ok", f"{value!r}: {word}"
        for reader in READERS:
            assert found(reader, value) == [plain(address) for address in ours], (reader.__name__, value)
