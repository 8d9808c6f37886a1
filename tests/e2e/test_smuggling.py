# SPDX-License-Identifier: ISC
"""SMTP smuggling (threats A01 to A14, A21): the quick part of the matrix of tests/smuggling.

Every variant goes through Postern, whole and in TLS records of one octet, to the most lenient server
there is and to Postfix as Debian ships it, which alone takes many of them.  `make smuggling` runs all.
"""

import itertools
import os
import sys

import harness
import pytest

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "smuggling"))

import matrix  # noqa: E402
from box.ports import Ports  # noqa: E402
from lenient import Lenient  # noqa: E402
from variants import SPLITS, VARIANTS  # noqa: E402

QUICK = SPLITS[:2]
SERVERS = ("lenient", "postfix")


def quick(mode):
    splits = [split for split in mode.splits if split in QUICK]
    return matrix.Mode(mode.name, mode.send, port=mode.port, refusals=mode.refusals, needs=mode.needs,
                       splits=splits)


MODES = [quick(mode) for mode in matrix.MODES]
ROWS = [pytest.param(variant, id=f"{variant.threat}-{variant.name}", marks=pytest.mark.threat(variant.threat))
        for variant in VARIANTS]


@pytest.fixture(scope="module", params=SERVERS)
def result(request, make_sandbox, tmp_path_factory):
    """What came of every variant at one server: all of them at once, for a server's pace is its own."""
    numbers = itertools.count(1)
    ports = Ports()
    server = matrix.start(request.param, str(tmp_path_factory.mktemp("servers") / request.param), ports.take())
    try:
        yield matrix.through_postern(server, make_sandbox, MODES, VARIANTS, numbers)
    finally:
        server.stop()
        ports.release()


@pytest.mark.row("15")
@pytest.mark.threat("A01", "A02", "A03", "A04", "A05", "A12")
@pytest.mark.row("15", "34", "35")
@pytest.mark.threat("A07", "A12", "A15")
@pytest.mark.parametrize("variant", ROWS)
def test_one_message_stays_one_message(result, variant):
    cells = [cell for (_, each), cell in result.cells.items() if each is variant]
    assert cells
    assert not [line for cell in cells for line in cell.wrong]
    assert sum(cell.forged for cell in cells) == 0


@pytest.mark.threat("A12")
def test_server_delivers_nothing_that_nobody_sent(result):
    assert result.wrong == []


def test_lenient_server_alone_is_smuggled_into(tmp_path):
    """The matrix means something: without Postern, the forged messages are there and counted."""
    server = Lenient(str(tmp_path))
    try:
        most = matrix.directly(server, VARIANTS, itertools.count(1))
    finally:
        server.stop()
    smuggled = {f"{variant.threat} {variant.name}" for variant, count in most.items() if count}
    assert {"A01 LF.LF", "A02 LF.CRLF", "A03 CRLF.LF", "A04 CRLF.CRCRLF", "A05 CR.CR", "A05 CRLF.CR",
            "A06 CRLF NUL . CRLF", "A13 .LF at the start"} <= smuggled
    assert all(count <= 1 for count in most.values())
