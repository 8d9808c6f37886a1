# SPDX-License-Identifier: ISC
"""Backends and clients that break off, or refuse, at moments that random sessions (tests/model) found.

Each of these once left a client without an answer, or with the wrong one.
"""

import pytest

from rig import RECIPIENT, Rig

@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=["listen.submissions.from=reject"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


def test_refused_rset_answers_what_waits_behind_it(rig):
    rig.backend.on("RSET", "500 5.5.2 no")
    with rig.session() as client:
        client.command(f"MAIL FROM:<{rig.box.user}>", 250)
        client.send(f"RSET\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\nNOOP\r\n")
        for want in ("250 2.0.0 OK", "503 5.5.1 Send MAIL first", "503 5.5.1 Send MAIL first", "250 2.0.0 OK"):
            client.reply(want)
        rig.backend.on("RSET", None)
        client.message(rig.box.user, [RECIPIENT], b"From: <%s>\r\n\r\n" % rig.box.user.encode())


def test_mail_answered_354_leaves_no_sender_behind(rig):
    rig.backend.on("MAIL", ["354 go ahead", None])
    with rig.session() as client:
        client.command(f"MAIL FROM:<{rig.box.user}>",
                       "451 4.3.0 The mail server behind gave no usable reply; try again later")
        client.command(f"MAIL FROM:<{rig.box.user}>", 250)
