# SPDX-License-Identifier: ISC
"""Clients and smarthosts (clients.md): the quick part of the interop suite of tests/interop.

Those that the test group of deploy/dependencies has, and the mail servers that are only unpacked, on
both ports with each of their mechanisms.  `make interop` runs all clients, and 20 MB.
"""

import os
import sys

import harness
import pytest

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "interop"))

import clients  # noqa: E402
import smarthosts  # noqa: E402
import suite  # noqa: E402

PROGRAMS = (clients.Swaks, clients.Curl, clients.Smtplib, clients.Msmtp)
SMALL = {name: body for name, body in suite.BODIES.items() if name != "20 MB"}
# A server with a queue takes longer to hand on a message.
FEW = {name: SMALL[name] for name in ("dots", "998", "8-bit", "spaces")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    server = suite.Plain(str(tmp_path_factory.mktemp("plain") / "d"))
    yield server
    server.stop()


@pytest.mark.parametrize("kind", PROGRAMS + smarthosts.SMARTHOSTS, ids=lambda kind: kind.name)
def test_what_arrives_is_what_the_client_sends(kind, sandbox, plain, tmp_path):
    os.chmod(tmp_path, 0o755)
    client = kind(str(tmp_path))
    try:
        bodies = SMALL if kind in PROGRAMS else FEW
        report = suite.examine(client, sandbox, plain, bodies, str(tmp_path))
    finally:
        client.close()
    assert report.wrong == []
    # dma reads no line that long.
    assert set(report.refused) <= ({"998"} if kind is smarthosts.Dma else set())
    assert report.sent == 2 * len(kind.mechanisms) * len(report.own)
