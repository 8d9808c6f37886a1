# SPDX-License-Identifier: ISC
"""A server that refuses in mid-body and breaks off with octets unread, as OpenSMTPD does at a long line.

Its reset overtakes what Postern still writes.  What it said before is the client's all the same: a
permanent refusal that became "try again later" would be tried again for ever.
"""

import harness
import observe
import pytest
from rig import RECIPIENT, Rig
from scripted import Reset

REFUSAL = "500 5.0.0 Line too long"
ROUNDS = 100


@pytest.fixture(scope="module")
def rig(make_sandbox):
    rig = Rig(make_sandbox)
    yield rig
    rig.close()


def refuse_and_reset(session, _argument):
    session.sock.sendall(b"354 Go\r\n")
    while b"long" not in session.received:
        session.read()
    session.sock.sendall(REFUSAL.encode() + b"\r\n")
    return Reset()


@pytest.mark.threat("E06", "E07")
def test_refusal_before_a_reset_reaches_the_client(rig):
    rig.backend.on("DATA", refuse_and_reset)
    change = observe.Change(rig.box)
    for _ in range(ROUNDS):
        with rig.session() as client:
            client.mail(rig.box.user, [RECIPIENT])
            client.command("DATA", 354)
            client.send(b"From: alice@example.test\r\n\r\n" + b"long" * 262144 + b"\r\n.\r\n")
            assert client.reply().text == REFUSAL
    harness.wait_until(lambda: change("takes_returned_total") == ROUNDS, "all takes given back")
