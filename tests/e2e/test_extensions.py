# SPDX-License-Identifier: ISC
"""What EHLO tells is true of every backend server by the last probe, and what the connection at hand
lacks is refused at its command (conformance 99, 101, 105, 107, 110 to 114; threats D10, E09).
"""

import itertools

import pytest

import harness
import observe
from rig import CONTENT, RECIPIENT, Rig
from scripted import CHUNKS, EXTENSIONS, Close

ALICE = "alice@example.test"
HOST = "submit.example.test"
PARAMETER = "555 5.5.4 Parameter unknown, repeated or not offered by EHLO"
VALUE = "501 5.5.4 Bad value of a parameter"
TOO_MANY = "452 4.5.3 Too many recipients; send the message to the others separately"
TOO_MANY_MESSAGES = "421 4.7.0 Too many messages in one session; connect again"
BINARY = "554 5.6.1 The mail server behind takes no binary message at present; encode it"
CONVERSION = "554 5.6.3 The mail server behind takes no 8-bit message at present; encode it"
TOO_BIG = "552 5.3.4 Message too big"
LIMIT = 1024 * 1024
ALL = EXTENSIONS + CHUNKS


@pytest.fixture(scope="module")
def shared(make_sandbox):
    """Two servers, both asked every second what they offer."""
    rig = Rig(make_sandbox, servers=2, extensions=ALL, settings=[
        "probe.interval=1s", f"limits.message_size={LIMIT}", "limits.connections_per_prefix=1000"])
    yield rig
    rig.close()


@pytest.fixture
def prober(shared):
    return shared.reset()


def offered(box, **options):
    with box.secured(**options) as client:
        return client.ehlo().lines


def wait_offer(rig, condition, what):
    """Until every worker tells so: each gets the probe's word by itself."""
    def told():
        return all(condition(offered(rig.box)) for _ in range(6))
    harness.wait_until(told, what, timeout=15)


def wait_lines(rig, *lines):
    wait_offer(rig, lambda told: set(lines) <= set(told), f"an offer of {lines}")


# --------------------------------------------------------------------- the offer
@pytest.mark.row("105", "114")
@pytest.mark.threat("E09")
def test_offer_is_what_all_servers_have(prober):
    everything = [HOST, "PIPELINING", f"SIZE {LIMIT}", "8BITMIME", "DSN", "SMTPUTF8", "BINARYMIME", "CHUNKING",
                  "LIMITS RCPTMAX=100", "AUTH PLAIN LOGIN", "ENHANCEDSTATUSCODES"]
    wait_offer(prober, lambda told: told == everything, "all of it")
    foreign = ["DELIVERBY 120", "MT-PRIORITY MIXER", "FUTURERELEASE 1 2", "BURL imap", "RRVS", "CHECKPOINT", "ETRN", "ATRN", "XCLIENT NAME ADDR",
               "X-ANYTHING", "STARTTLS", "AUTH DIGEST-MD5", "REQUIRETLS", "VRFY", "EXPN", "HELP", "XCHUNKING", "8BITMIMEX"]
    for lost in ("8BITMIME", "DSN", "SMTPUTF8", "BINARYMIME"):
        prober.reset()
        prober.backends[1].extensions.remove(lost)
        prober.backends[1].extensions += foreign
        gone = {lost} | ({"SMTPUTF8"} if lost == "8BITMIME" else set())  # RFC 6531 3.1
        want = [line for line in everything if line not in gone]
        wait_offer(prober, lambda told, want=want: told == want, f"all but {gone}")


@pytest.mark.row("99")
def test_binarymime_needs_chunking_at_every_server(prober):
    prober.backends[1].extensions.remove("CHUNKING")
    wait_offer(prober, lambda told: "BINARYMIME" not in told and "CHUNKING" in told, "no BINARYMIME")
    with prober.session() as client:
        client.ehlo()
        assert client.command(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME").text == VALUE
    prober.reset()
    wait_lines(prober, "BINARYMIME")
    with prober.session() as client:
        client.ehlo()
        client.command(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME", 250)


def test_body_kinds_are_offered_one_by_one(prober):
    """BINARYMIME without 8BITMIME: the parameter is known, the value is not."""
    for backend in prober.backends:
        backend.extensions.remove("8BITMIME")
    wait_offer(prober, lambda told: "8BITMIME" not in told and "BINARYMIME" in told, "no 8BITMIME")
    with prober.session() as client:
        client.ehlo()
        assert client.command(f"MAIL FROM:<{ALICE}> BODY=8BITMIME").text == VALUE
        client.command(f"MAIL FROM:<{ALICE}> BODY=7BIT", 250)
        client.command("RSET", 250)
        client.command(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME", 250)


@pytest.mark.row("101")
@pytest.mark.parametrize("sizes, want", [(("SIZE 5000", "SIZE 70000"), "SIZE 5000"), (("SIZE", "SIZE 6000"), "SIZE 6000"),
                                         (("SIZE 0", "SIZE"), f"SIZE {LIMIT}"), (("SIZE 9999999999", "SIZE x"), f"SIZE {LIMIT}"),
                                         (("NOTHING", "SIZE 7000"), None)])
def test_size_is_the_smallest(prober, sizes, want):
    for backend, size in zip(prober.backends, sizes):
        backend.extensions[EXTENSIONS.index("SIZE 104857600")] = size
    if want is None:
        wait_offer(prober, lambda told: not any(line.startswith("SIZE") for line in told), "no SIZE")
    else:
        wait_lines(prober, want)


LIMITS = [
    (("LIMITS RCPTMAX=50", "LIMITS RCPTMAX=60"), "LIMITS RCPTMAX=50"),
    (("LIMITS RCPTMAX=1000 MAILMAX=20", "NOTHING"), "LIMITS RCPTMAX=100 MAILMAX=20"),
    (("limits mailmax=7 rcptmax=101", "LIMITS RCPTDOMAINMAX=3"), "LIMITS RCPTMAX=100 MAILMAX=7 RCPTDOMAINMAX=3"),
    (("LIMITS RCPTMAX=0 MAILMAX=-1", "LIMITS FOO=1 RCPTMAX=1000000 MAILMAX= X"), "LIMITS RCPTMAX=100"),
    (("LIMITS MAILMAX=1000", "LIMITS MAILMAX=999999"), "LIMITS RCPTMAX=100 MAILMAX=1000"),
]


@pytest.mark.row("112")
@pytest.mark.parametrize("told, want", LIMITS, ids=[want for _, want in LIMITS])
def test_limits_are_the_smallest(prober, told, want):
    for backend, line in zip(prober.backends, told):
        backend.extensions.append(line)
    wait_lines(prober, want)


@pytest.mark.row("112")
def test_limits_after_the_login_are_the_accounts(prober):
    login = prober.account("few@example.test", "recipients_message=7")
    prober.backends[0].extensions.append("LIMITS RCPTMAX=9 MAILMAX=5")
    wait_lines(prober, "LIMITS RCPTMAX=9 MAILMAX=5")
    with prober.box.session(user=login, password=login) as client:
        assert "LIMITS RCPTMAX=7 MAILMAX=5" in client.ehlo().lines
        client.command(f"MAIL FROM:<{login}>", 250)
        for number in range(7):
            client.command(f"RCPT TO:<r{number}@example.net>", 250)
        assert client.command(f"RCPT TO:<{RECIPIENT}>").text == TOO_MANY
    with prober.session() as client:
        assert "LIMITS RCPTMAX=9 MAILMAX=5" in client.ehlo().lines
        client.command(f"MAIL FROM:<{ALICE}>", 250)
        for number in range(9):
            client.command(f"RCPT TO:<r{number}@example.net>", 250)
        assert client.command(f"RCPT TO:<{RECIPIENT}>").text == TOO_MANY
        client.command("DATA", 354)
        client.send(CONTENT + b".\r\n")
        client.reply(250)


@pytest.mark.row("113")
def test_mailmax_reached(prober):
    for backend in prober.backends:
        backend.extensions.append("LIMITS MAILMAX=3")
    wait_lines(prober, "LIMITS RCPTMAX=100 MAILMAX=3")
    for _ in range(2):
        with prober.session() as client:
            client.ehlo()
            for _ in range(2):
                client.message(ALICE, [RECIPIENT], CONTENT)
            client.command(f"MAIL FROM:<{ALICE}>", 250)
            client.command("RSET", 250)
            assert client.command(f"MAIL FROM:<{ALICE}>").text == TOO_MANY_MESSAGES
            client.expect_end()


def test_mailmax_of_the_connection_at_hand(prober):
    """A client that was promised more does not learn of it: another connection is made."""
    wait_lines(prober, "LIMITS RCPTMAX=100")
    with prober.session() as client:
        client.ehlo()
        for backend in prober.backends:
            backend.on("EHLO", "250-x\n250-PIPELINING\n250 LIMITS MAILMAX=2")
        for _ in range(5):
            client.message(ALICE, [RECIPIENT], CONTENT)
    observe.settle(prober.box)
    assert [session.verbs.count("MAIL") for session in prober.backend.mail_sessions()] == [2, 2, 1]
    assert all(session.verbs[-1] == "QUIT" for session in prober.backend.mail_sessions())


# ------------------------------------------------------- less than what was offered
@pytest.fixture(scope="module")
def stale(make_sandbox):
    """Two servers, asked once: what they have later, no client was told."""
    rig = Rig(make_sandbox, servers=2, extensions=ALL, settings=["limits.connections_per_prefix=1000"])
    yield rig
    rig.close()


LOST = {"SMTPUTF8": (" SMTPUTF8", PARAMETER), "DSN": (" RET=HDRS ENVID=x", PARAMETER), "8BITMIME": (" BODY=8BITMIME", CONVERSION),
        "BINARYMIME": (" BODY=BINARYMIME", BINARY), "CHUNKING": (" BODY=BINARYMIME", BINARY), "SIZE 104857600": (" SIZE=1001", TOO_BIG)}


@pytest.mark.row("107")
@pytest.mark.threat("D10", "E09")
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("failover", [False, True], ids=["same", "failover"])
def test_server_at_hand_lacks_what_was_offered(stale, lost, failover):
    """The parameter is refused, nothing of the client reaches the server, and a plain message goes."""
    rig = stale.reset()
    parameter, want = LOST[lost]
    if failover:
        rig.backends[0].on("connect", Close())
    at_hand = rig.backends[failover]
    at_hand.extensions[at_hand.extensions.index(lost)] = "SIZE 1000" if lost.startswith("SIZE") else "XNOTHING"
    with rig.session() as client:
        client.ehlo()
        assert client.command(f"MAIL FROM:<{ALICE}>{parameter}").text == want
        assert at_hand.mail_sessions() == []
        client.message(ALICE, [RECIPIENT], CONTENT)
        if lost == "DSN":
            client.command(f"MAIL FROM:<{ALICE}>", 250)
            assert client.command(f"RCPT TO:<{RECIPIENT}> NOTIFY=NEVER").text == PARAMETER
            client.command(f"RCPT TO:<{RECIPIENT}>", 250)
    [session] = rig.sessions(backend=at_hand)
    assert not any(parameter.split("=")[0].encode() in line for line in session.commands)


@pytest.mark.threat("D10")
@pytest.mark.parametrize("hello", ["502 5.5.1 no EHLO here", "250 bare.test"], ids=["HELO", "bare"])
def test_server_at_hand_has_nothing_at_all(stale, hello):
    rig = stale.reset()
    rig.backend.on("EHLO", hello)
    with rig.session() as client:
        client.ehlo()
        for parameter, want in LOST.values():
            if "SIZE" not in parameter:
                assert client.command(f"MAIL FROM:<{ALICE}>{parameter}").text == want
        client.mail(ALICE, [RECIPIENT], f" SIZE={len(CONTENT)} BODY=7BIT AUTH=<>")
        client.send(b"BDAT %d LAST\r\n" % len(CONTENT) + CONTENT)
        client.reply(250)
    [session] = rig.sessions()
    assert f"MAIL FROM:<{ALICE}>".encode() in session.commands and "DATA" in session.verbs


def test_recipients_of_the_server_at_hand(stale):
    """Its own RCPTMAX counts for who was told a larger one: the excess only is refused."""
    rig = stale.reset()
    rig.backend.extensions.append("LIMITS RCPTMAX=2")
    with rig.session() as client:
        client.mail(ALICE, [RECIPIENT, "two@example.net"])
        assert client.command("RCPT TO:<three@example.net>").text == TOO_MANY
        client.command("DATA", 354)
        client.send(CONTENT + b".\r\n")
        client.reply(250)
    [session] = rig.sessions()
    assert session.verbs.count("RCPT") == 2


@pytest.mark.row("110", "111")
def test_requiretls_is_never_offered(stale):
    """The way to a backend has no TLS, whatever the backend says."""
    rig = stale.reset()
    rig.backend.extensions.append("REQUIRETLS")
    with rig.session() as client:
        assert "REQUIRETLS" not in client.ehlo().text
        assert client.command(f"MAIL FROM:<{ALICE}> REQUIRETLS").text == PARAMETER
        assert client.command(f"MAIL FROM:<{ALICE}> REQUIRETLS=1").text == VALUE
        client.message(ALICE, [RECIPIENT], b"TLS-Required: No\r\n" + CONTENT)
    assert rig.bodies() == [b"TLS-Required: No\r\n" + CONTENT]


@pytest.mark.parametrize("ours, theirs", itertools.product(["one by one", "all at once"], [True, False]))
def test_pipelining_of_ours_and_theirs_are_independent(stale, ours, theirs):
    rig = stale.reset()
    if not theirs:
        rig.backend.extensions.remove("PIPELINING")
    commands = [f"MAIL FROM:<{ALICE}>", *[f"RCPT TO:<r{number}@example.net>" for number in range(20)], "DATA"]
    with rig.session() as client:
        if ours == "one by one":
            for command in commands:
                client.command(command)
        else:
            client.send("".join(f"{command}\r\n" for command in commands))
            assert [client.reply().code for _ in commands] == [250] * 21 + [354]
        client.send(CONTENT + b".\r\n")
        client.reply(250)
    [session] = rig.sessions()
    assert session.verbs[1:23] == ["MAIL"] + ["RCPT"] * 20 + ["DATA"]
    assert session.overtaken == 0 or theirs, "a command before the reply to the one before"
