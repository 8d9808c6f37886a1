# SPDX-License-Identifier: ISC
"""RFC 5321, 6409 and the extensions, a named test a requirement: the exact octets of both sides.

Rows that other files prove are marked there; docs/conformance.md has them all.

Long: a requirement after the other, read by its number.
"""

import base64
import re

import pytest

import harness
import observe
import smtp
from dialogue import talk
from rig import CONTENT, RECIPIENT, Rig, undotted, without_trace

ALICE = "alice@example.test"
LIMIT = 1024 * 1024


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=[f"limits.message_size={LIMIT}"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


@pytest.fixture
def secure(rig):
    """In TLS, after EHLO, nobody yet."""
    with rig.box.secured() as client:
        yield client


@pytest.fixture
def client(rig):
    """Alice, logged in."""
    with rig.session() as client:
        yield client


def told(rig):
    """What the one session at the backend was told, without its hello and QUIT."""
    [session] = rig.sessions()
    return [line.decode() for line in session.commands if line.split(b" ")[0] not in (b"EHLO", b"QUIT")]


# ------------------------------------------------------------------- EHLO and HELO
@pytest.mark.row("3")
def test_ehlo_names_the_host_then_one_keyword_a_line(rig):
    with rig.box.connect() as client:
        talk(client, f"""
            C: EHLO client.example.org
            S: 250-submit.example.test
            S: 250-PIPELINING
            S: 250-SIZE {LIMIT}
            S: 250-8BITMIME
            S: 250-DSN
            S: 250-SMTPUTF8
            S: 250-CHUNKING
            S: 250-LIMITS RCPTMAX=100
            S: 250-AUTH PLAIN LOGIN
            S: 250 ENHANCEDSTATUSCODES
        """)


@pytest.mark.row("52", "81")
def test_ehlo_after_the_login_offers_neither_auth_nor_starttls(client):
    talk(client, f"""
        C: EHLO client.example.org
        S: 250-submit.example.test
        S: 250-PIPELINING
        S: 250-SIZE {LIMIT}
        S: 250-8BITMIME
        S: 250-DSN
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-LIMITS RCPTMAX=100
        S: 250 ENHANCEDSTATUSCODES
    """)


@pytest.mark.row("5")
def test_hello_without_a_name_is_501(secure):
    talk(secure, """
        C: EHLO
        S: 501 5.5.4 Syntax error in the command's arguments
        C: HELO
        S: 501 5.5.4 Syntax error in the command's arguments
        C: NOOP
        S: 250 2.0.0 OK
    """)


@pytest.mark.row("7")
@pytest.mark.parametrize("name", ["x", "localhost", "no.such.host.invalid", "submit.example.test", "[192.0.2.1]", "[IPv6:2001:db8::1]",
                                  "192.0.2.1", "under_score", "-", "a b", "x" * 255])
def test_no_name_in_ehlo_is_refused_for_what_it_resolves_to(rig, name):
    with rig.box.connect() as client:
        assert client.ehlo(name).code == 250
        assert client.command(f"HELO {name}").text == "250 submit.example.test"


@pytest.mark.row("4", "8", "40")
def test_mail_before_the_login_is_530_whatever_the_hello(rig):
    with rig.box.connect() as client:
        talk(client, f"""
            C: MAIL FROM:<{ALICE}>
            S: 530 5.7.0 Authentication required
            C: AUTH PLAIN
            S: 503 5.5.1 Send EHLO first
            C: HELO client.example.org
            S: 250 submit.example.test
            C: MAIL FROM:<{ALICE}>
            S: 530 5.7.0 Authentication required
        """)


@pytest.mark.row("69", "70")
def test_names_and_passwords_of_255_octets_are_taken(rig):
    """RFC 4616 2: each of the three fields; the name in any ASCII case (RFC 4954 4: prepared before it is compared)."""
    login, password = f"{'l' * 200}@{'d' * 40}.example.test"[:255], "p" * 255
    login = login.replace("l", "l" * (1 + 255 - len(login)), 1)
    assert len(login) == len(password) == 255
    rig.box.add_account(login, password)
    with rig.box.secured() as client:
        token = base64.b64encode("\0".join([login, login, password]).encode()).decode()
        assert client.command(f"AUTH PLAIN {token}").text == "235 2.7.0 Authentication successful"
    with rig.box.secured() as client:
        assert client.login(login.upper(), password).text == "235 2.7.0 Authentication successful"


# ------------------------------------------------------------------ the transaction
@pytest.mark.row("9", "39")
def test_transaction_from_mail_to_the_backends_250(rig, client):
    rig.backend.on("body", "250 2.6.0 <x@example.net> Queued as 4711")
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RCPT TO:<{RECIPIENT}>
        S: 250 2.1.5 Ok
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        C: Subject: test
        C: ..
        C: .
        S: 250 2.6.0 <x@example.net> Queued as 4711
        C: QUIT
        S: 221 2.0.0 Bye
        S: (end)
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{RECIPIENT}>", "DATA"]


@pytest.mark.row("10")
def test_mail_within_a_transaction_is_503_and_the_first_sender_stays(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: MAIL FROM:<{ALICE}> SIZE=1
        S: 503 5.5.1 A sender is already given; send RSET to start anew
        C: RCPT TO:<{RECIPIENT}>
        S: 250 2.1.5 Ok
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{RECIPIENT}>"]


@pytest.mark.row("11")
def test_rcpt_before_mail_is_503(rig, client):
    talk(client, f"""
        C: RCPT TO:<{RECIPIENT}>
        S: 503 5.5.1 Send MAIL first
        C: DATA
        S: 503 5.5.1 Send MAIL first
    """)
    assert rig.backend.mail_sessions() == []


@pytest.mark.row("12", "41", "42")
def test_malformed_addresses_are_501(rig, client):
    talk(client, f"""
        C: MAIL FROM:alice@example.test
        S: 501 5.1.7 Bad sender address; give <user@example.org>
        C: MAIL FROM:<alice>
        S: 501 5.1.7 Bad sender address; give <user@example.org>
        C: MAIL FROM:<alice@local>
        S: 501 5.1.7 Bad sender address; give <user@example.org>
        C: MAIL FROM:<alice@example.test
        S: 501 5.1.7 Bad sender address; give <user@example.org>
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RCPT TO:friend@example.net
        S: 501 5.1.3 Bad recipient address; give <user@example.org>
        C: RCPT TO:<friend>
        S: 501 5.1.3 Bad recipient address; give <user@example.org>
        C: RCPT TO:<>
        S: 501 5.1.3 Bad recipient address; give <user@example.org>
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}>"]


@pytest.mark.row("13")
def test_data_without_recipients_is_503_and_with_none_accepted_554(rig, client):
    rig.backend.on("RCPT", "550 5.1.1 Nobody here")
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: DATA
        S: 503 5.5.1 Send RCPT first
        C: RCPT TO:<{RECIPIENT}>
        S: 550 5.1.1 Nobody here
        C: DATA
        S: 554 5.5.1 No valid recipients
        C: RCPT TO:<{RECIPIENT}>
        S: 503 5.5.1 Send MAIL first
    """)


@pytest.mark.row("14")
def test_data_with_an_argument_is_501(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RCPT TO:<{RECIPIENT}>
        S: 250 2.1.5 Ok
        C: DATA now
        S: 501 5.5.4 Syntax error in the command's arguments
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        C: .
        S: 250 2.0.0 Ok: queued as SCRIPTED
    """)


@pytest.mark.row("16")
def test_rset_ends_the_transaction_and_takes_no_argument(rig, client):
    talk(client, f"""
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RSET now
        S: 501 5.5.4 Syntax error in the command's arguments
        C: RCPT TO:<{RECIPIENT}>
        S: 250 2.1.5 Ok
        C: RSET
        S: 250 2.0.0 OK
        C: RCPT TO:<{RECIPIENT}>
        S: 503 5.5.1 Send MAIL first
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{RECIPIENT}>", "RSET"]


@pytest.mark.row("17", "18", "19")
@pytest.mark.threat("D18")
def test_vrfy_expn_help_noop(rig, client):
    talk(client, f"""
        C: VRFY alice
        S: 252 2.1.5 Cannot verify the address; send the message and it will be tried
        C: VRFY nobody@example.test
        S: 252 2.1.5 Cannot verify the address; send the message and it will be tried
        C: EXPN list
        S: 502 5.5.1 Command not implemented
        C: HELP
        S: 214 2.0.0 Commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT
        C: NOOP
        S: 250 2.0.0 OK
        C: NOOP with anything <at> all
        S: 250 2.0.0 OK
    """)
    assert rig.backend.mail_sessions() == []


@pytest.mark.row("20")
@pytest.mark.parametrize("before", ["", "MAIL", "MAIL RCPT", "AUTH"])
def test_quit_in_any_state_is_221_and_the_end(rig, before):
    with (rig.box.connect() if before in ("", "AUTH") else rig.session()) as client:
        if "AUTH" in before:
            client.ehlo()
        if "MAIL" in before:
            client.command(f"MAIL FROM:<{ALICE}>", 250)
        if "RCPT" in before:
            client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        talk(client, """
            C: QUIT
            S: 221 2.0.0 Bye
            S: (end)
        """)
    assert all(session.complete == [] for session in rig.backend.mail_sessions())


@pytest.mark.row("21", "99")
@pytest.mark.threat("D07")
def test_parameters_unknown_repeated_or_with_a_bad_value(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> FOO=bar
        S: 555 5.5.4 Parameter unknown, repeated or not offered by EHLO
        C: MAIL FROM:<{ALICE}> REQUIRETLS
        S: 555 5.5.4 Parameter unknown, repeated or not offered by EHLO
        C: MAIL FROM:<{ALICE}> SIZE=1 SIZE=2
        S: 555 5.5.4 Parameter unknown, repeated or not offered by EHLO
        C: MAIL FROM:<{ALICE}> SIZE=ten
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> BODY=BINARYMIME
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RCPT TO:<{RECIPIENT}> FOO
        S: 555 5.5.4 Parameter unknown, repeated or not offered by EHLO
        C: RCPT TO:<{RECIPIENT}> NOTIFY=NEVER,FAILURE
        S: 501 5.5.4 Bad value of a parameter
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}>"]


@pytest.mark.row("22")
def test_unknown_verbs_are_500_and_known_ones_that_are_not_offered_502(client):
    talk(client, """
        C: XYZZY
        S: 500 5.5.2 Unknown command
        C: ETRN example.org
        S: 502 5.5.1 Command not implemented
        C: TURN
        S: 502 5.5.1 Command not implemented
        C: SAML FROM:<alice@example.test>
        S: 502 5.5.1 Command not implemented
    """)


@pytest.mark.threat("D16")
def test_xclient_xforward_and_proxy_from_a_client_are_502(rig, client):
    talk(client, """
        C: XCLIENT LOGIN=root NAME=trusted.example
        S: 502 5.5.1 Command not implemented
        C: XFORWARD ADDR=192.0.2.1
        S: 502 5.5.1 Command not implemented
        C: PROXY TCP4 192.0.2.1 192.0.2.2 1 2
        S: 502 5.5.1 Command not implemented
    """)
    assert not {"XCLIENT", "XFORWARD", "PROXY"} & set(client.extensions)
    assert rig.backend.mail_sessions() == []


@pytest.mark.row("23")
def test_verbs_have_no_case_and_a_local_part_keeps_its_own(rig, client):
    talk(client, """
        C: mAiL fRoM:<Alice@Example.Test> sIzE=10
        S: 250 2.1.0 Ok
        C: rcpt to:<FrienD+Tag@Example.NET>
        S: 250 2.1.5 Ok
        C: dAtA
        S: 354 End data with <CR><LF>.<CR><LF>
        C: .
        S: 250 2.0.0 Ok: queued as SCRIPTED
        C: quit
        S: 221 2.0.0 Bye
        S: (end)
    """)
    assert told(rig) == ["MAIL FROM:<Alice@Example.Test> SIZE=10", "RCPT TO:<FrienD+Tag@Example.NET>", "DATA"]


# --------------------------------------------------------------------------- sizes
LOCAL = "l" * 64
DOMAIN = ".".join(["d" * 63, "d" * 63, "d" * 60])  # 188: with the local part, @ and brackets 255


@pytest.mark.row("24")
def test_the_longest_addresses_are_taken_and_longer_ones_are_501(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RCPT TO:<{LOCAL}@{DOMAIN}e>
        S: 250 2.1.5 Ok
        C: RCPT TO:<{LOCAL}l@example.net>
        S: 501 5.1.3 Bad recipient address; give <user@example.org>
        C: RCPT TO:<a@{'d' * 64}.example>
        S: 501 5.1.3 Bad recipient address; give <user@example.org>
        C: RCPT TO:<a@{'.'.join(['d' * 63] * 4)}.e>
        S: 501 5.1.3 Bad recipient address; give <user@example.org>
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<{'a' * 65}@example.test>
        S: 501 5.1.7 Bad sender address; give <user@example.org>
    """)
    assert f"RCPT TO:<{LOCAL}@{DOMAIN}e>" in told(rig)
    assert len(f"<{LOCAL}@{DOMAIN}e>") == 256


@pytest.mark.row("25")
@pytest.mark.threat("D01")
def test_a_command_line_of_512_octets_is_taken_and_one_of_4097_is_500(client):
    talk(client, f"""
        C: NOOP {'x' * 505}
        S: 250 2.0.0 OK
        C: NOOP {'x' * 4089}
        S: 250 2.0.0 OK
        C: NOOP {'x' * 4092}
        S: 500 5.5.2 Command line too long
        C: NOOP
        S: 250 2.0.0 OK
    """)


@pytest.mark.row("67", "68")
@pytest.mark.threat("C29")
def test_auth_on_mail_is_checked_and_dropped_whatever_its_length(rig, client):
    value = "e+3Dmc2@" + "x" * 60 + "." + ".".join(["d" * 60] * 7)
    assert len(value) < 500
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> AUTH={value}
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> AUTH=+ZZ
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> AUTH=+0D+0A
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> AUTH={'+' + '+'.join(['61'] * 64)}@{DOMAIN}
        S: 250 2.1.0 Ok
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<{ALICE}> AUTH=<>
        S: 250 2.1.0 Ok
    """)
    assert set(told(rig)) == {f"MAIL FROM:<{ALICE}>", "RSET"}


def sent(rig, client, content, parameters=""):
    """The body as it arrived, below the trace line, dots as on the wire."""
    client.message(ALICE, [RECIPIENT], content, parameters=parameters)
    [session] = rig.sessions()
    return without_trace(session.complete[-1])


@pytest.mark.row("27", "119")
@pytest.mark.parametrize("length", [998, 999, 4096, 65536])
def test_text_lines_pass_as_long_as_they_are(rig, client, length):
    content = b"Subject: long\r\n\r\n" + b"x" * length + b"\r\n.\r\n"
    assert undotted(sent(rig, client, content)) == content


@pytest.mark.row("34", "46", "111")
@pytest.mark.threat("A08")
def test_body_arrives_octet_for_octet_below_one_added_line(rig, client):
    """Dots are doubled on the way, nothing else is touched: no Date, no Message-ID, no header of the client's."""
    content = (b"TLS-Required: No\r\nBcc: secret@example.net\r\nX-Folded: a\r\n\t b \r\n\r\n.\r\n..\r\n.x\r\n \t\r\n\r\nend \r\n")
    wire = sent(rig, client, content)
    assert wire == content.replace(b"\r\n.", b"\r\n..")
    assert undotted(wire) == content


TRACE = re.compile(rb"Received: by submit\.example\.test\r\n"
                   rb"\t\(using (TLSv1\.[23] with cipher [A-Z0-9_-]+)\)\r\n"
                   rb"\twith (ESMTPSA|SMTP|UTF8SMTPSA) id [0-9a-z]{12,13}"
                   rb"(?:\r\n\tfor <([^>]+)>)?;\r\n"
                   rb"\t[A-Z][a-z]{2}, [ 0-9]\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000\r\n")


@pytest.mark.row("36", "51")
@pytest.mark.threat("F07")
@pytest.mark.parametrize("recipients, shown", [([RECIPIENT], b"friend@example.net"), ([RECIPIENT, "other@example.net"], None)])
def test_one_received_line_on_top_with_tls_and_for_a_single_recipient_only(rig, client, recipients, shown):
    forged = b"Received: from trusted.example by submit.example.test; now\r\nSubject: x\r\n\r\n"
    client.message(ALICE, recipients, forged)
    [session] = rig.sessions()
    match = TRACE.match(session.complete[0])
    assert match, session.complete[0][:400]
    assert match[1].decode() == f"{client.sock.version()} with cipher {client.sock.cipher()[0]}"
    assert (match[2], match[3]) == (b"ESMTPSA", shown)
    assert session.complete[0][match.end():] == forged


@pytest.mark.row("36")
def test_received_line_tells_how_the_message_came(rig, client):
    client.command("HELO old.example", 250)
    client.message(ALICE, [RECIPIENT], CONTENT)
    client.ehlo()
    client.message(ALICE, [RECIPIENT], CONTENT, parameters=" SMTPUTF8")
    [session] = rig.sessions()
    assert [TRACE.match(body)[2] for body in session.complete] == [b"SMTP", b"UTF8SMTPSA"]


# ------------------------------------------------------------------------- policy
REFUSED = re.compile(r"550 5\.7\.1 Not allowed to send from this address with this account \(id [0-9a-z]{12,13}\)")


@pytest.mark.row("43")
@pytest.mark.threat("F01")
@pytest.mark.parametrize("sender", ["ceo@example.org", "alice@example.org", "alicex@example.test", "alice+tag@example.test",
                                    '"alice"@example.test', ""])
def test_a_sender_that_is_not_owned_is_550_and_no_backend_hears_of_it(rig, client, sender):
    assert REFUSED.fullmatch(client.command(f"MAIL FROM:<{sender}>").text)
    talk(client, f"""
        C: RCPT TO:<{RECIPIENT}>
        S: 503 5.5.1 Send MAIL first
        C: DATA
        S: 503 5.5.1 Send MAIL first
    """)
    assert rig.backend.mail_sessions() == []


@pytest.mark.row("44")
def test_the_backends_refusal_of_a_recipient_is_passed_on(rig, client):
    rig.backend.on("RCPT", "550 5.7.1 <spam@example.net>: relay access denied")
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RCPT TO:<spam@example.net>
        S: 550 5.7.1 <spam@example.net>: relay access denied
    """)


# --------------------------------------------------------------------- extensions
@pytest.mark.row("93")
def test_a_backends_354_without_any_recipient_reaches_no_client(rig, client):
    """RCPT and DATA travel together to a pipelining backend, which says 354 all the same (RFC 2920 3.1)."""
    rig.backend.on("RCPT", "550 5.1.1 Nobody here")
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        C: RCPT TO:<{RECIPIENT}>
        C: DATA
        S: 250 2.1.0 Ok
        S: 550 5.1.1 Nobody here
        S: 554 5.5.1 No valid recipients
        C: NOOP
        S: 250 2.0.0 OK
    """)
    harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the end of that connection")
    assert all(session.complete == [] for session in rig.backend.mail_sessions())


@pytest.mark.row("91", "92")
def test_replies_come_in_order_and_before_the_next_group(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        C: RCPT TO:<{RECIPIENT}>
        C: RCPT TO:<bad>
        C: NOOP
        C: XYZZY
        C: RSET
        C: VRFY x
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 501 5.1.3 Bad recipient address; give <user@example.org>
        S: 250 2.0.0 OK
        S: 500 5.5.2 Unknown command
        S: 250 2.0.0 OK
        S: 252 2.1.5 Cannot verify the address; send the message and it will be tried
    """)


@pytest.mark.row("100", "30")
def test_size_above_the_limit_is_552_and_what_is_no_size_501(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> SIZE={LIMIT + 1}
        S: 552 5.3.4 Message too big
        C: MAIL FROM:<{ALICE}> SIZE=99999999999999999999
        S: 552 5.3.4 Message too big
        C: MAIL FROM:<{ALICE}> SIZE=999999999999999999999
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> SIZE=-1
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> SIZE={LIMIT}
        S: 250 2.1.0 Ok
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}> SIZE={LIMIT}"]


@pytest.mark.row("102")
def test_body_is_7bit_or_8bitmime_and_nothing_else(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> BODY=7BIT
        S: 250 2.1.0 Ok
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<{ALICE}> BODY=9BIT
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> BODY
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> BODY=8bitmime
        S: 250 2.1.0 Ok
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}> BODY=7BIT", "RSET", f"MAIL FROM:<{ALICE}> BODY=8BITMIME"]


@pytest.mark.row("103", "104")
@pytest.mark.threat("D09", "D11")
def test_smtputf8_has_no_value_and_without_it_addresses_are_ascii(rig, client):
    rig.backend.on("RCPT", None)
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> SMTPUTF8=1
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<élan@example.test>
        S: 553 5.6.7 Non-ASCII address: it needs SMTPUTF8 and valid UTF-8
        C: VRFY é
        S: 252 2.1.5 Cannot verify the address; send the message and it will be tried
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
        C: RCPT TO:<用户@example.net>
        S: 553 5.6.7 Non-ASCII address: it needs SMTPUTF8 and valid UTF-8
        C: DATA
        S: 503 5.5.1 Send RCPT first
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<{ALICE}> SMTPUTF8
        S: 250 2.1.0 Ok
        C: RCPT TO:<\udcc0\udcae@example.net>
        S: 553 5.6.7 Non-ASCII address: it needs SMTPUTF8 and valid UTF-8
        C: RCPT TO:<a\u202eb@example.net>
        S: 553 5.6.7 Non-ASCII address: it needs SMTPUTF8 and valid UTF-8
        C: RCPT TO:<用户@例子.example>
        S: 250 2.1.5 Ok
    """)
    assert told(rig)[-1] == "RCPT TO:<用户@例子.example>"


@pytest.mark.row("106")
@pytest.mark.threat("D04")
def test_dsn_parameters_are_read_checked_and_made_anew(rig, client):
    talk(client, f"""
        C: MAIL FROM:<{ALICE}> ENVID=ab+0D+0Acd
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> ENVID={'x' * 101}
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> RET=ALL
        S: 501 5.5.4 Bad value of a parameter
        C: MAIL FROM:<{ALICE}> envid={'x' * 97}+2B ret=hdrs
        S: 250 2.1.0 Ok
        C: RCPT TO:<{RECIPIENT}> ORCPT=rfc822;a+0A
        S: 501 5.5.4 Bad value of a parameter
        C: RCPT TO:<{RECIPIENT}> NOTIFY=DELAY,DELAY
        S: 501 5.5.4 Bad value of a parameter
        C: RCPT TO:<{RECIPIENT}> ORCPT=rfc822;{'x' * 494}
        S: 501 5.5.4 Bad value of a parameter
        C: RCPT TO:<{RECIPIENT}> orcpt=rfc822;{'x' * 493} notify=failure,SUCCESS
        S: 250 2.1.5 Ok
    """)
    assert told(rig) == [f"MAIL FROM:<{ALICE}> RET=HDRS ENVID={'x' * 97}+2B",
                         f"RCPT TO:<{RECIPIENT}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{'x' * 493}"]


# -------------------------------------------------------------------------- replies
@pytest.mark.row("26", "37", "108")
@pytest.mark.threat("E11")
def test_what_a_backend_says_is_relayed_in_lines_of_512_with_codes_on_each(rig, client):
    """The codes that it withheld, its overlong lines, its control characters; nothing of the text is lost."""
    rig.backend.on("MAIL", "250 sender fine")
    rig.backend.on("RCPT", [f"550-{'x' * 1200}\n550 end", b"451 a\x1b[2Jb\xff\tc\r\n", "250-5.1.5 not its class\n250 2.1.5 its class"])
    first = [f"550-5.0.0 {'x' * 500}", f"550-5.0.0 {'x' * 500}", f"550-5.0.0 {'x' * 200}", "550 5.0.0 end"]
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: 250 2.0.0 sender fine
        C: RCPT TO:<{RECIPIENT}>
        S: {first[0]}
        S: {first[1]}
        S: {first[2]}
        S: {first[3]}
        C: RCPT TO:<{RECIPIENT}>
        S: 451 4.3.0 a?[2Jb? c
        C: RCPT TO:<{RECIPIENT}>
        S: 250-2.1.5 5.1.5 not its class
        S: 250 2.1.5 its class
    """)


@pytest.mark.row("39")
@pytest.mark.threat("E05")
@pytest.mark.parametrize("reply", ["220 scripted.test ESMTP", "221 2.0.0 Bye", "235 2.7.0 Welcome", "214 2.0.0 Help", "211 2.0.0 Status", "354 Go"])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "body"])
def test_a_code_that_answers_another_command_accepts_nothing(rig, client, step, reply):
    """RFC 5321 4.3.2 gives each command its codes; these belong to others, so that the dialogues are out of step."""
    rig.backend.on(step, reply)
    unusable = "451 4.3.0 The mail server behind gave no usable reply; try again later"
    lost = "451 4.4.2 Connection to the mail server behind was lost; try again later"
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: {unusable if step == "MAIL" else "250 2.1.0 Ok"}
    """)
    if step != "MAIL":
        talk(client, f"""
            C: RCPT TO:<{RECIPIENT}>
            S: {unusable if step == "RCPT" else "250 2.1.5 Ok"}
        """)
    if step == "body":
        talk(client, f"""
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: Subject: x
            C: .
            S: {lost}
        """)
    rig.backend.on(step, None)
    talk(client, f"""
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<{ALICE}>
        S: 250 2.1.0 Ok
    """)
    assert len(rig.sessions(2)) == 2, "on a new connection"


UNREACHABLE = "451 4.4.1 The mail server behind cannot be reached; try again later"


@pytest.mark.threat("E04")
@pytest.mark.parametrize("step, octets", [("connect", b"220 scripted.test ESMTP\r\n250 scripted.test\r\n"),
                                          ("EHLO", b"250 scripted.test\r\n250 2.1.0 Stray\r\n"),
                                          ("EHLO", b"250-scripted.test\r\n250 PIPELINING\r\n2"),
                                          ("EHLO", b"502 5.5.1 What?\r\n250 scripted.test\r\n")])
def test_octets_that_came_before_a_command_was_sent_answer_nothing(rig, client, step, octets):
    """They are in the same segment as the reply before: what is sent in answer to that was not known to their sender."""
    rig.backend.on(step, octets)
    talk(client, f"""
        C: MAIL FROM:<{ALICE}>
        S: {UNREACHABLE}
    """)
    assert not any("MAIL" in session.verbs for session in rig.backend.sessions)
    rig.backend.on(step, None)
    assert client.message(ALICE, [RECIPIENT], CONTENT).code == 250


@pytest.mark.threat("E04")
def test_a_second_reply_to_a_chunk_is_never_the_next_ones(rig, client):
    rig.backend.extensions += ["CHUNKING"]
    rig.backend.extensions.remove("PIPELINING")
    rig.backend.on("BDAT", b"250 2.0.0 Ok\r\n250 2.0.0 Stray\r\n")
    content = b"Subject: x\r\n\r\n" + b"x" * 200000 + b"\r\n"
    client.mail(ALICE, [RECIPIENT])
    client.send(b"BDAT %d LAST\r\n" % len(content) + content)
    assert client.reply().text == "451 4.4.2 Connection to the mail server behind was lost; try again later"
    [session] = rig.sessions()
    assert session.ended.wait(10) and session.complete == [] and len(session.chunks) < 3


BROKEN = {
    "bare-text": b"250 OK\r\n", "other-class": b"250 5.0.0 OK\r\n", "differs": b"250-2.0.0 a\r\n250 2.1.0 b\r\n",
    "one-line-without": b"250-2.0.0 a\r\n250 b\r\n", "too-long": b"250 2.0.0 " + b"x" * 501 + b"\r\n", "control": b"250 2.0.0 a\x07\r\n",
    "not-utf8": b"250 2.0.0 a\xff\r\n", "leading-zero": b"250 2.00.0 OK\r\n",
    "other-host": b"250-other.example\r\n250 SIZE\r\n", "hello-with-one": b"250-submit.example.test\r\n250 2.0.0 SIZE\r\n",
}


@pytest.mark.row("26", "37", "108")
@pytest.mark.parametrize("name", BROKEN)
def test_the_judge_of_all_replies_refuses_what_is_broken(name):
    """Every reply that a client of this suite reads goes through smtp.conforming()."""
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        smtp.conforming(smtp.Reply(BROKEN[name]))


@pytest.mark.row("26", "37", "108")
def test_the_judge_of_all_replies_accepts_what_is_right():
    for raw in (b"250 2.0.0 OK\r\n", b"250-2.0.0 a\r\n250 2.0.0\r\n", b"334 \r\n", b"354 Go\r\n", b"220 submit.example.test ESMTP Postern\r\n",
                b"250 submit.example.test\r\n", b"250-submit.example.test\r\n250 SIZE 1\r\n", b"250 2.0.0 " + b"x" * 500 + b"\r\n",
                "550 5.1.1 für\r\n".encode()):
        assert smtp.conforming(smtp.Reply(raw)).raw == raw
