# SPDX-License-Identifier: ISC
"""STARTTLS (RFC 3207), AUTH (RFC 4954, 4616, LOGIN), a named test a requirement: the exact octets of both
sides.  Rows that test_auth.py and test_tls.py prove are marked there."""

import base64
import os
import ssl

import pytest

import harness
import rawtls
from dialogue import SP, talk
from rig import CONTENT, RECIPIENT

FAILED = "535 5.7.8 Authentication failed: check user name and password"


def b64(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def clear(sandbox):
    """On port 587, before STARTTLS."""
    with sandbox.connect("submission") as client:
        client.ehlo()
        yield client


@pytest.fixture
def secure(sandbox):
    with sandbox.secured() as client:
        yield client


@pytest.fixture
def alice(sandbox):
    """The strings of her log-in as they stand on the wire."""
    user, password = sandbox.user, sandbox.password
    return {"user": b64(user), "password": b64(password), "plain": b64(f"\0{user}\0{password}"), "wrong": b64(f"\0{user}\0wrong"),
            "same": b64(f"{user}\0{user}\0{password}"), "other": b64(f"carol@example.test\0{user}\0{password}")}


# ------------------------------------------------------------------------- STARTTLS
@pytest.mark.row("52", "76", "81")
def test_starttls_is_offered_until_it_is_used_and_auth_after_it(sandbox, clear):
    assert "STARTTLS" in clear.extensions and "AUTH" not in clear.extensions
    talk(clear, """
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
    """)
    clear.handshake()
    clear.ehlo()
    assert "STARTTLS" not in clear.extensions and clear.extensions["AUTH"] == "PLAIN LOGIN"
    clear.login(sandbox.user, sandbox.password)
    clear.message(sandbox.user, [RECIPIENT], CONTENT)


@pytest.mark.row("77")
@pytest.mark.threat("B04")
def test_starttls_with_an_argument_is_501_and_works_without_it(clear):
    talk(clear, """
        C: STARTTLS now
        S: 501 5.5.4 Syntax error in the command's arguments
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
    """)
    clear.handshake()
    clear.ehlo()


@pytest.mark.row("49", "61", "79")
@pytest.mark.threat("B07")
def test_before_starttls_all_is_refused_but_what_needs_no_secret(clear, alice):
    talk(clear, f"""
        C: NOOP
        S: 250 2.0.0 OK
        C: RSET
        S: 250 2.0.0 OK
        C: HELO client.example.org
        S: 250 submit.example.test
        C: AUTH PLAIN {alice['plain']}
        S: 538 5.7.11 Encryption required for authentication; use STARTTLS first
        C: AUTH LOGIN
        S: 538 5.7.11 Encryption required for authentication; use STARTTLS first
        C: MAIL FROM:<alice@example.test>
        S: 530 5.7.0 Must issue a STARTTLS command first
        C: RCPT TO:<{RECIPIENT}>
        S: 530 5.7.0 Must issue a STARTTLS command first
        C: DATA
        S: 530 5.7.0 Must issue a STARTTLS command first
        C: VRFY alice
        S: 530 5.7.0 Must issue a STARTTLS command first
        C: EXPN list
        S: 530 5.7.0 Must issue a STARTTLS command first
        C: HELP
        S: 530 5.7.0 Must issue a STARTTLS command first
        C: QUIT
        S: 221 2.0.0 Bye
        S: (end)
    """)


@pytest.mark.row("80")
@pytest.mark.threat("B05")
def test_after_starttls_auth_and_mail_need_ehlo_anew(clear):
    clear.starttls()
    talk(clear, """
        C: AUTH PLAIN
        S: 503 5.5.1 Send EHLO first
        C: MAIL FROM:<alice@example.test>
        S: 530 5.7.0 Authentication required
    """)


@pytest.mark.row("82")
@pytest.mark.threat("B01", "B02")
@pytest.mark.parametrize("behind", [["NOOP"], ["EHLO x", "MAIL FROM:<a@b.example>"], [""]])
def test_commands_behind_starttls_end_the_session_before_the_220(clear, behind):
    lines = "\n".join(f"C: {line}" for line in ["STARTTLS", *behind])
    talk(clear, f"""
        {lines}
        S: 554 5.5.0 Wait for the reply before sending more; closing connection
        S: (end)
    """)


@pytest.mark.threat("B02")
def test_half_a_command_before_tls_is_never_joined_to_what_comes_in_it(sandbox):
    """The octets arrive after the 220 was sent: the handshake fails on them, and nothing of them is run."""
    with sandbox.connect("submission") as client:
        client.ehlo()
        client.command("STARTTLS", 220)
        client.send(b"NOO")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.handshake()
            client.send(b"P\r\n")
            client.reply()


@pytest.mark.threat("B14")
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_http_gets_one_421_and_nothing_behind_its_first_line_is_read(sandbox, port):
    with sandbox.connect(port) as client:
        talk(client, f"""
            C: POST / HTTP/1.1
            C: Host: localhost
            C:
            C: EHLO x
            C: QUIT
            S: 421 4.7.0 This is a mail submission service; closing connection
            S: (end)
        """)


def s_client(sandbox, *options):
    """What openssl s_client says of a connection to port 465."""
    done = harness.run(["openssl", "s_client", "-connect", f"127.0.0.1:{sandbox.smtps_port}", "-CAfile", sandbox.ca, *options])
    return done.stdout + done.stderr


@pytest.mark.row("85", "88")
def test_handshake_is_over_x25519_or_p256_with_the_extended_master_secret(sandbox):
    said = s_client(sandbox, "-tls1_2")
    assert "Server Temp Key: X25519" in said and "Extended master secret: yes" in said
    assert "Server Temp Key: ECDH, prime256v1" in s_client(sandbox, "-tls1_2", "-groups", "P-521:P-256")
    assert "Secure Renegotiation IS supported" in said
    assert "handshake failure" in s_client(sandbox, "-tls1_2", "-groups", "P-521:X448")


@pytest.mark.row("90")
@pytest.mark.threat("B16")
def test_unknown_sni_gets_the_default_certificate(sandbox):
    assert "Verify return code: 0 (ok)" in s_client(sandbox, "-servername", "other.example")


@pytest.mark.row("89")
@pytest.mark.parametrize("names, warned", [(None, True), ("DNS:submit.example.test", False), ("IP:192.0.2.1", False),
                                           ("email:postmaster@example.test", True)])
def test_a_certificate_that_names_no_host_is_warned_about_at_the_start(sandbox, tmp_path, names, warned):
    chain, key, path = (tmp_path / name for name in ("chain.pem", "key.pem", "postern.conf"))
    more = ["-addext", f"subjectAltName={names}"] if names else []
    made = harness.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                        "-subj", "/CN=submit.example.test", "-keyout", str(key), "-out", str(chain), *more])
    assert made.returncode == 0, made.stderr
    with open(sandbox.conf, encoding="utf-8") as file:
        text = file.read()
    tls = sandbox.path("tls")
    path.write_text(text.replace(f"{tls}/server.pem", str(chain)).replace(f"{tls}/server.key", str(key)), encoding="utf-8")
    path.chmod(0o600)
    done = harness.run([os.path.join(harness.BUILD, "postern"), "-t", "-c", str(path)])
    assert done.returncode == 0, done.stderr
    assert ("has no alternative name" in done.stderr) == warned, done.stderr


# ----------------------------------------------------------------------------- AUTH
@pytest.mark.row("53")
def test_plain_with_an_initial_response_is_235(secure, alice):
    talk(secure, f"""
        C: AUTH PLAIN {alice['plain']}
        S: 235 2.7.0 Authentication successful
    """)


@pytest.mark.row("54")
def test_plain_without_one_is_prompted_by_334_and_a_space(secure, alice):
    talk(secure, f"""
        C: AUTH PLAIN
        S: 334{SP}
        C: {alice['plain']}
        S: 235 2.7.0 Authentication successful
    """)


@pytest.mark.row("72")
def test_login_prompts_for_both_fields_or_takes_the_name_as_initial_response(sandbox, alice):
    with sandbox.secured() as client:
        talk(client, f"""
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: {alice['user']}
            S: 334 UGFzc3dvcmQ6
            C: {alice['password']}
            S: 235 2.7.0 Authentication successful
        """)
    with sandbox.secured() as client:
        talk(client, f"""
            C: AUTH LOGIN {alice['user']}
            S: 334 UGFzc3dvcmQ6
            C: {alice['password']}
            S: 235 2.7.0 Authentication successful
        """)
    with sandbox.secured() as client:
        talk(client, """
            C: AUTH LOGIN =
            S: 501 5.5.2 Malformed authentication data
        """)


@pytest.mark.row("55", "56")
@pytest.mark.threat("C02", "C03")
def test_cancel_is_501_5_7_0_and_what_only_looks_like_it_501_5_5_2(secure, alice):
    talk(secure, f"""
        C: AUTH PLAIN
        S: 334{SP}
        C: *
        S: 501 5.7.0 Authentication cancelled
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: {alice['user']}
        S: 334 UGFzc3dvcmQ6
        C: *
        S: 501 5.7.0 Authentication cancelled
        C: AUTH PLAIN
        S: 334{SP}
        C: *{SP}
        S: 501 5.5.2 Malformed authentication data
        C: AUTH PLAIN
        S: 334{SP}
        C: *x
        S: 501 5.5.2 Malformed authentication data
        C: AUTH PLAIN *
        S: 501 5.5.2 Malformed authentication data
        C: AUTH PLAIN =
        S: 501 5.5.2 Malformed authentication data
        C: AUTH PLAIN
        S: 334{SP}
        C:
        S: 501 5.5.2 Malformed authentication data
        C: AUTH PLAIN {alice['plain']}
        S: 235 2.7.0 Authentication successful
    """)


@pytest.mark.row("57")
@pytest.mark.threat("C09", "C10")
def test_a_line_or_a_field_that_is_too_long_is_500_and_the_session_goes_on(secure, alice):
    """RFC 4954 4: 12,288 octets are read whole; no field that Postern knows needs as many."""
    most = b64("\0u\0" + "p" * 9213)
    assert len(most) == 12288
    talk(secure, f"""
        C: AUTH PLAIN {most}
        S: 500 5.5.6 Authentication exchange line too long
        C: AUTH PLAIN
        S: 334{SP}
        C: {most}
        S: 500 5.5.6 Authentication exchange line too long
        C: AUTH PLAIN
        S: 334{SP}
        C: {most}A
        S: 500 5.5.6 Authentication exchange line too long
        C: AUTH PLAIN {b64(chr(0) + 'u' + chr(0) + 'p' * 1025)}
        S: 500 5.5.6 Authentication exchange line too long
        C: AUTH LOGIN {b64('u' * 321)}
        S: 500 5.5.6 Authentication exchange line too long
        C: AUTH PLAIN {alice['plain']}
        S: 235 2.7.0 Authentication successful
    """)


@pytest.mark.row("58", "71")
@pytest.mark.threat("C05")
def test_wrong_password_and_foreign_authorization_identity_are_535_alike(secure, alice):
    talk(secure, f"""
        C: AUTH PLAIN {alice['wrong']}
        S: {FAILED}
        C: AUTH PLAIN {alice['other']}
        S: {FAILED}
        C: AUTH PLAIN {alice['same']}
        S: 235 2.7.0 Authentication successful
    """)


@pytest.mark.row("62")
@pytest.mark.threat("C17")
def test_unknown_mechanisms_are_504_and_none_is_501(secure, alice):
    talk(secure, f"""
        C: AUTH FOO
        S: 504 5.5.4 Authentication mechanism not supported; use PLAIN or LOGIN
        C: AUTH CRAM-MD5
        S: 504 5.5.4 Authentication mechanism not supported; use PLAIN or LOGIN
        C: AUTH SCRAM-SHA-256 {alice['plain']}
        S: 504 5.5.4 Authentication mechanism not supported; use PLAIN or LOGIN
        C: AUTH
        S: 501 5.5.4 Syntax error in the command's arguments
        C: AUTH PLAIN {alice['plain']} {alice['plain']}
        S: 501 5.5.4 Syntax error in the command's arguments
    """)


@pytest.mark.row("63")
@pytest.mark.threat("C14", "C15")
def test_a_second_login_is_503_within_a_transaction_and_outside(secure, alice):
    talk(secure, f"""
        C: AUTH PLAIN {alice['plain']}
        S: 235 2.7.0 Authentication successful
        C: AUTH PLAIN {alice['plain']}
        S: 503 5.5.1 Already authenticated
    """)
    secure.command("MAIL FROM:<alice@example.test>", 250)
    talk(secure, """
        C: AUTH LOGIN
        S: 503 5.5.1 Already authenticated
    """)
    secure.command(f"RCPT TO:<{RECIPIENT}>", 250)


@pytest.mark.row("64")
def test_before_the_login_only_what_needs_none_is_done(secure):
    talk(secure, f"""
        C: MAIL FROM:<alice@example.test>
        S: 530 5.7.0 Authentication required
        C: RCPT TO:<{RECIPIENT}>
        S: 530 5.7.0 Authentication required
        C: DATA
        S: 530 5.7.0 Authentication required
        C: VRFY alice
        S: 530 5.7.0 Authentication required
        C: NOOP
        S: 250 2.0.0 OK
        C: RSET
        S: 250 2.0.0 OK
        C: HELO client.example.org
        S: 250 submit.example.test
        C: QUIT
        S: 221 2.0.0 Bye
        S: (end)
    """)


@pytest.mark.row("65")
def test_three_failed_logins_are_answered_and_the_next_ends_the_session(secure, alice):
    talk(secure, f"""
        C: AUTH PLAIN {alice['wrong']}
        S: {FAILED}
        C: AUTH PLAIN {alice['wrong']}
        S: {FAILED}
        C: AUTH PLAIN {alice['wrong']}
        S: {FAILED}
        C: AUTH PLAIN {alice['plain']}
        S: 421 4.7.0 Too many errors; closing connection
        S: (end)
    """)


@pytest.mark.row("66")
@pytest.mark.threat("D14")
def test_commands_behind_plain_wait_for_its_verdict(sandbox, alice):
    for token, verdict, mail in ((alice["plain"], "235 2.7.0 Authentication successful", "503 5.5.1 Send MAIL first"),
                                 (alice["wrong"], FAILED, "530 5.7.0 Authentication required")):
        with sandbox.secured() as client:
            talk(client, f"""
                C: AUTH PLAIN {token}
                C: RCPT TO:<{RECIPIENT}>
                C: NOOP
                S: {verdict}
                S: {mail}
                S: 250 2.0.0 OK
            """)


@pytest.mark.threat("C16")
def test_nothing_is_left_of_a_log_in_that_failed(secure, alice):
    """nginx CVE-2025-53859, Postfix CVE-2011-1720: fields of one attempt never serve the next."""
    talk(secure, f"""
        C: AUTH LOGIN {alice['user']}
        S: 334 UGFzc3dvcmQ6
        C: *
        S: 501 5.7.0 Authentication cancelled
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: {alice['password']}
        S: 334 UGFzc3dvcmQ6
        C: {alice['password']}
        S: {FAILED}
        C: AUTH PLAIN {alice['wrong']}
        S: {FAILED}
        C: AUTH PLAIN
        S: 334{SP}
        C: {alice['password']}
        S: 501 5.5.2 Malformed authentication data
        C: MAIL FROM:<alice@example.test>
        S: 530 5.7.0 Authentication required
        C: AUTH LOGIN {alice['user']}
        S: 334 UGFzc3dvcmQ6
        C: {alice['password']}
        S: 235 2.7.0 Authentication successful
    """)


@pytest.mark.threat("C13", "C11")
def test_garbage_as_a_response_is_501_also_in_records_of_one_octet(sandbox, alice):
    with rawtls.connect(sandbox) as client:
        client.ehlo()
        client.command("AUTH PLAIN", "334 ")
        for octet in b"\x80\x81\xfe\xff\x01\r\n":
            client.send(bytes([octet]))
        assert client.reply().text == "501 5.5.2 Malformed authentication data"
        for octet in f"AUTH PLAIN {alice['plain']}\r\n".encode():
            client.send(bytes([octet]))
        assert client.reply().text == "235 2.7.0 Authentication successful"
