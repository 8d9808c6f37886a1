# SPDX-License-Identifier: ISC
"""Logging in: every form, every failure, and what is away meanwhile."""

import base64
import concurrent.futures
import contextlib
import os
import pwd
import signal

import psycopg
import pytest

import harness
import observe
import rawtls
import smtp
from rig import CONTENT, RECIPIENT

OK = "235 2.7.0 Authentication successful"
FAILED = "535 5.7.8 Authentication failed: check user name and password"
AWAY = "454 4.7.0 Authentication not possible at present; try again later"
BASE64 = "501 5.5.2 Malformed authentication data"
CANCELLED = "501 5.7.0 Authentication cancelled"
TOO_LONG = "500 5.5.6 Authentication exchange line too long"
MECHANISM = "504 5.5.4 Authentication mechanism not supported; use PLAIN or LOGIN"
ARGUMENTS = "501 5.5.4 Syntax error in the command's arguments"
CLEARTEXT = "538 5.7.11 Encryption required for authentication; use STARTTLS first"
TOO_MANY = "421 4.7.0 Too many errors; closing connection"
USER_PROMPT = "334 VXNlcm5hbWU6"
PASSWORD_PROMPT = "334 UGFzc3dvcmQ6"


@pytest.fixture(scope="module")
def box(make_sandbox):
    return make_sandbox(settings=["limits.connections_per_prefix=1000", "limits.unauthenticated_per_prefix=1000", "limits.errors=1000"])


def b64(text):
    return base64.b64encode(smtp.octets(text)).decode()


def plain(user, password, authzid=""):
    return b64(smtp.octets(authzid) + b"\0" + smtp.octets(user) + b"\0" + smtp.octets(password))


def works(box, client):
    """The log-in holds: a message goes through."""
    client.message(box.user, [RECIPIENT], CONTENT)


# -------------------------------------------------------------------- forms that work
def auth(*lines):
    """A dialogue: what is sent, and what must come back; "{...}" stand for alice's."""
    return [(line, want) for line, want in zip(lines[::2], lines[1::2])]


FORMS = {
    "plain-initial": auth("AUTH PLAIN {plain}", OK),
    "plain-prompted": auth("AUTH PLAIN", "334 ", "{plain}", OK),
    "plain-trailing-space": auth("AUTH PLAIN ", "334 ", "{plain}", OK),
    "plain-lower-case": auth("auth plain {plain}", OK),
    "plain-two-spaces": auth("AUTH  PLAIN  {plain}", OK),
    "plain-same-authzid": auth("AUTH PLAIN {same}", OK),
    "login-prompted": auth("AUTH LOGIN", USER_PROMPT, "{user}", PASSWORD_PROMPT, "{password}", OK),
    "login-initial": auth("AUTH LOGIN {user}", PASSWORD_PROMPT, "{password}", OK),
    "login-mixed-case": auth("aUtH LoGiN {user}", PASSWORD_PROMPT, "{password}", OK),
    "login-name-in-capitals": auth("AUTH PLAIN {capitals}", OK),
    "after-cancel": auth("AUTH PLAIN", "334 ", "*", CANCELLED, "AUTH LOGIN", USER_PROMPT, "{user}", PASSWORD_PROMPT,
                         "*", CANCELLED, "AUTH LOGIN", USER_PROMPT, "*", CANCELLED, "AUTH PLAIN {plain}", OK),
    "after-two-failures": auth("AUTH PLAIN {wrong}", FAILED, "AUTH LOGIN", USER_PROMPT, "{user}", PASSWORD_PROMPT,
                               "d3Jvbmc=", FAILED, "AUTH PLAIN {plain}", OK),
    "after-rubbish": auth("AUTH PLAIN =AAA", BASE64, "AUTH LOGIN ====", BASE64, "AUTH FOO", MECHANISM, "AUTH", ARGUMENTS,
                          "AUTH PLAIN {plain}", OK),
}


def filled(box, line):
    user, password = box.user, box.password
    values = {"plain": plain(user, password), "same": plain(user, password, user), "user": b64(user),
              "password": b64(password), "capitals": plain(user.upper(), password), "wrong": plain(user, "wrong")}
    return line.format(**values) if "{" in line else line


@pytest.mark.row("53", "54", "55", "72")
@pytest.mark.threat("C02")
@pytest.mark.parametrize("port", ["submissions", "submission"])
@pytest.mark.parametrize("form", FORMS)
def test_form(box, form, port):
    with box.secured(port) as client:
        for line, want in FORMS[form]:
            assert client.command(filled(box, line)).text == want, line
        works(box, client)


@pytest.mark.threat("C11")
def test_octet_by_octet(box):
    """C11."""
    with rawtls.connect(box) as client:
        client.ehlo()
        for line, want in FORMS["login-prompted"]:
            for octet in filled(box, line).encode() + b"\r\n":
                client.send(bytes([octet]))
            assert client.reply().text == want
        works(box, client)


@pytest.mark.row("66")
@pytest.mark.threat("D14")
@pytest.mark.parametrize("port", ["submissions", "submission"])
def test_pipelined_behind_plain_with_initial_response(box, port):
    """D14, RFC 4954 4: legal, and the commands wait for the verdict."""
    with box.secured(port) as client:
        client.send(f"AUTH PLAIN {plain(box.user, box.password)}\r\nMAIL FROM:<{box.user}>\r\n"
                    f"RCPT TO:<{RECIPIENT}>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(4)] == [235, 250, 250, 354]
        client.send(smtp.transparent(CONTENT))
        client.reply(250)
    with box.secured(port) as client:
        client.send(f"AUTH PLAIN {plain(box.user, 'wrong')}\r\nMAIL FROM:<{box.user}>\r\nNOOP\r\n")
        assert [client.reply().code for _ in range(3)] == [535, 530, 250]


# --------------------------------------------------------------------- forms that fail
MALFORMED = ["=AAA", "AAA=BBB", "A", "AA", "AAA", "AB==CD", "YWJjZB==", "AAAA\t", "\udcff\udcfe\udcfd\udcfc", "AAA*", "*x", "====",
             "AAAA-AAA", "AAAA_AAA", "QQ=A"]
FIELDS = [b"", b"\0", b"\0\0", b"\0u", b"\0u\0", b"u\0p", b"\0u\0p\0x", b"a\0b\0c\0d", b"\0\0\0", b"u", b"a\0\0pw", b"alice\0\0"]


@pytest.mark.row("56")
@pytest.mark.threat("C01", "C13")
def test_malformed_base64(box):
    """C01, C13: 501, the session goes on, and as a response too."""
    with box.secured() as client:
        for text in MALFORMED:
            assert client.command(f"AUTH PLAIN {text}").text == BASE64, text
            client.command("AUTH PLAIN", 334)
            assert client.command(text).text == BASE64, text
            client.command("AUTH LOGIN", 334)
            assert client.command(text).text == BASE64, text
        assert client.command("AUTH PLAIN AAAA AAAA").text == ARGUMENTS
        client.login(box.user, box.password)


@pytest.mark.row("56")
@pytest.mark.threat("C03", "C04")
def test_malformed_fields(box):
    """C03, C04: exactly two NULs, a name and a password."""
    with box.secured() as client:
        for fields in FIELDS:
            client.command("AUTH PLAIN", 334)
            assert client.command(b64(fields)).text == BASE64, fields
        assert client.command("AUTH PLAIN =").text == BASE64
        for line in ("AUTH LOGIN =",):
            assert client.command(line).text == BASE64
        client.command("AUTH LOGIN", 334)
        client.command(b64(box.user), 334)
        assert client.command("").text == BASE64
        client.login(box.user, box.password)


@pytest.mark.row("57")
@pytest.mark.threat("C04", "C09", "C10")
def test_length_limits(box):
    """C09, C10: 12,288 octets are taken apart whole; more is 500, be it by one octet or a megabyte."""
    with box.secured() as client:
        for token in (b64(b"\0u\0" + b"p" * 9213), b64(b"\0" + b"u" * 321 + b"\0p"), b64(b"\0u\0" + b"p" * 1025)):
            assert client.command(f"AUTH PLAIN {token}").text == TOO_LONG
        for length in (12289, 12300, 20000, 900000):
            assert client.command("AUTH PLAIN " + "A" * length).text == TOO_LONG, length
            client.command("AUTH PLAIN", 334)
            assert client.command("A" * length).text == TOO_LONG, length
        client.command("NOOP", 250)
        client.login(box.user, box.password)


@pytest.mark.row("70")
@pytest.mark.threat("C09")
@pytest.mark.parametrize("password", ["x", "p" * 255, "p" * 1024, "grüße 你好 \U0001f600", "with \"quotes\" and \\ and '", " spaces "],
                         ids=["one", "255", "1024", "unicode", "quotes", "spaces"])
def test_passwords_of_all_kinds(box, password):
    login = f"kind{abs(hash(password)) % 10**9}@example.test"
    box.add_account(login, password)
    with box.secured() as client:
        client.login(login, password)
    with box.secured() as client:
        client.login(login, password, "LOGIN")
    with box.secured() as client:
        client.login(login, password + "x" if len(password) < 1024 else password[:-1], want=535)


@pytest.mark.row("71")
@pytest.mark.threat("C05")
def test_foreign_authzid_is_refused_like_a_wrong_password(box):
    """C05."""
    with box.secured() as client:
        token = plain(box.user, box.password, "carol@example.test")
        assert client.command(f"AUTH PLAIN {token}").text == FAILED


STRANGE = ["a\r\nX: y", "a\nb", "a\x7f", "a\x1b[2J", "a\u0085", "a\u202eb", "a|b", "' OR 1=1--", "%u", "${x}", "\\", "$1",
           "\udcff\udcfe", "a\udcc3", "x" * 320, "alice@example.test\x01", "alice@example.test "]


@pytest.mark.row("69")
@pytest.mark.threat("C06", "C07", "H03", "H06")
def test_strange_names_are_refused_and_injected_nowhere(box):
    """C06, C07, H03, H06."""
    for at in range(0, len(STRANGE), 3):
        with box.secured() as client:
            for name in STRANGE[at:at + 3]:
                assert client.command(f"AUTH PLAIN {plain(name, 'x')}").text == FAILED, name
    for line in box.log_lines():
        assert all(" " <= character <= "~" for character in line), line
    assert not any(line.startswith("X: y") for line in box.log_lines())


@pytest.mark.row("33", "65")
def test_three_failures_and_no_fourth(box):
    """RFC 4954 9; a client may try thrice."""
    with box.secured() as client:
        for _ in range(3):
            assert client.command(f"AUTH PLAIN {plain(box.user, 'wrong')}").text == FAILED
        client.command("NOOP", 250)
        assert client.command(f"AUTH PLAIN {plain(box.user, box.password)}").text == TOO_MANY
        client.expect_end()


def superuser(box):
    """The owner's own connection to the sandbox's database."""
    with open(box.path("pgpass"), encoding="ascii") as file:
        password = file.read().strip().rpartition(":")[2]
    return psycopg.connect(box.dsn, user="postgres", password=password, autocommit=True)


@pytest.mark.row("58", "115")
@pytest.mark.threat("C18", "C20")
def test_unknown_disabled_malformed_and_wrong_are_alike(box):
    """C18, C20: the same octets, whatever is wrong; the operator's log knows."""
    for name in ("disabled", "malformed", "costly", "empty"):
        box.add_account(f"{name}@example.test", "password")
    box.ctl("account", "disable", "disabled@example.test")
    rows = {"malformed": "$argon2id$v=19$m=8192,t=1,p=1$!!!!$????",
            "costly": "$argon2id$v=19$m=4194304,t=10,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "empty": None}
    with superuser(box) as database:
        database.execute("ALTER TABLE postern.account DISABLE TRIGGER USER")
        constraints = database.execute("SELECT conname FROM pg_constraint WHERE conrelid = 'postern.account'::regclass "
                                       "AND contype = 'c'").fetchall()
        for (constraint,) in constraints:
            database.execute(f'ALTER TABLE postern.account DROP CONSTRAINT "{constraint}"')
        for name, row in rows.items():
            database.execute("UPDATE postern.account SET password_hash = %s WHERE login = %s", (row, f"{name}@example.test"))
        database.execute("ALTER TABLE postern.account ENABLE TRIGGER USER")
    replies = set()
    for login in ("nobody@example.test", "disabled@example.test", "malformed@example.test", "costly@example.test",
                  "empty@example.test", box.user):
        with box.secured() as client:
            for mechanism in ("PLAIN", "LOGIN"):
                password = "wrong" if login == box.user else "password"
                replies.add(client.login(login, password, mechanism, want=535).raw)
    assert replies == {FAILED.encode() + b"\r\n"}
    reasons = {line.split("login=")[1].split()[0].strip('"'): line.split("reason=")[1].split()[0]
               for line in box.log_lines() if "auth-failed" in line and "login=" in line}
    want = {"nobody": "unknown", "disabled": "disabled", "malformed": "malformed", "costly": "malformed",
            "empty": "malformed", "alice": "wrong"}
    assert {name: reasons[f"{name}@example.test"] for name in want} == want


@pytest.mark.row("49", "61")
@pytest.mark.threat("B07")
def test_auth_in_the_clear_never_reaches_auth(box):
    """B07: refused, and forgotten; not even an attempt is counted."""
    change = observe.Change(box)
    with box.connect("submission") as client:
        client.ehlo()
        assert "AUTH" not in client.extensions
        for line in (f"AUTH PLAIN {plain(box.user, box.password)}", "AUTH LOGIN", f"AUTH LOGIN {b64(box.user)}", "AUTH PLAIN"):
            assert client.command(line).text == CLEARTEXT
        assert client.command(f"MAIL FROM:<{box.user}>").text == "530 5.7.0 Must issue a STARTTLS command first"
        client.starttls()
        client.ehlo()
        assert client.command(f"MAIL FROM:<{box.user}>").text == "530 5.7.0 Authentication required"
    for name in ("auth_succeeded_total", "auth_failed_total", "auth_unavailable_total", "hashes_total", "account_lookups_total"):
        assert change(name) == 0, name


# ------------------------------------------------------------------------- the cache
@pytest.mark.threat("C25")
def test_second_login_with_the_same_password_needs_no_hash(box):
    box.add_account("twice@example.test", "twice")
    with box.secured() as client:
        client.login("twice@example.test", "twice")
    change = observe.Change(box)
    for port in ("submissions", "submission"):
        with box.secured(port) as client:
            client.login("twice@example.test", "twice")
    assert change("auth_cache_hits_total") == 2
    assert change("hashes_total") == 0
    with box.secured() as client:
        client.login("twice@example.test", "other", want=535)
    assert change("hashes_total") == 1, "another password is hashed"


def code(box, login, password):
    with box.secured() as client:
        return client.login(login, password, want=None).code


@pytest.mark.threat("C24", "C25")
def test_changes_of_an_account_count(box):
    """C24, C25: what lets in counts at once, for a refusal is never given from memory; what shuts out
    within the ten seconds that a remembered row is trusted."""
    box.add_account("change@example.test", "before")
    box.add_account("toggle@example.test", "toggle")
    assert (code(box, "change@example.test", "before"), code(box, "toggle@example.test", "toggle")) == (235, 235)
    box.ctl("account", "passwd", "change@example.test", "--memory", "8MiB", "--passes", "1", text="after\n")
    box.ctl("account", "disable", "toggle@example.test")
    assert code(box, "change@example.test", "after") == 235
    harness.wait_until(lambda: code(box, "toggle@example.test", "toggle") == 535, "an end of the log-ins", timeout=15)
    harness.wait_until(lambda: code(box, "change@example.test", "before") == 535, "an end of the old password", timeout=15)
    assert code(box, "change@example.test", "after") == 235
    box.ctl("account", "enable", "toggle@example.test")
    assert code(box, "toggle@example.test", "toggle") == 235


def stored(box, login):
    with superuser(box) as connection:
        return connection.execute("SELECT password_hash, password_version FROM postern.account WHERE login = %s",
                                  (login,)).fetchone()


def test_weak_hash_is_replaced_after_a_log_in(box):
    """A better hash of the same password ends no session of it."""
    box.add_account("weak@example.test", "weak")
    box.ctl("account", "passwd", "weak@example.test", "--memory", "1MiB", "--passes", "1", text="weak\n")
    before = stored(box, "weak@example.test")
    with box.secured() as client:
        client.login("weak@example.test", "weak")
        harness.wait_until(lambda: stored(box, "weak@example.test")[0] != before[0], "a better hash")
        after = stored(box, "weak@example.test")
        assert after[0].startswith("$argon2id$v=19$m=8192,t=1,p=1$")
        assert after[1] == before[1], "the same password"
        client.message("weak@example.test", ["someone@example.org"], b"Subject: same\r\n\r\nstill here\r\n")
    with box.secured() as client:
        client.login("weak@example.test", "weak")
    assert stored(box, "weak@example.test") == after


# ------------------------------------------------------------------- what may be away
@pytest.mark.threat("C12")
def test_client_that_leaves_during_the_hash(box):
    """C12: the result is dropped, the slot comes back, others are served."""
    change = observe.Change(box)
    for number in range(60):
        client = rawtls.connect(box)
        client.ehlo()
        client.send(f"AUTH PLAIN {plain(box.user, f'wrong{number}')}\r\n")
        (client.reset if number % 2 else client.close)()
    observe.settle(box)
    with box.session() as client:
        works(box, client)
    harness.wait_until(lambda: observe.metric(box, "hash_queue") == 0, "an empty queue")
    assert change("hash_crashes_total") == 0


@pytest.mark.threat("C01")
def test_bad_base64_of_some_does_not_hurt_log_ins_of_others(box):
    """Dovecot CVE-2025-59028."""
    def good(number):
        with box.secured() as client:
            return client.login(box.user, box.password if number % 2 else f"wrong{number}", want=None).code

    def bad(_number):
        with box.secured() as client:
            return [client.command("AUTH PLAIN A=A").code for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        logins = [pool.submit(good, number) for number in range(20)]
        floods = [pool.submit(bad, number) for number in range(8)]
        assert {code for flood in floods for code in flood.result()} == {501}
        assert [login.result() for login in logins] == [535, 235] * 10


@pytest.mark.row("59")
@pytest.mark.threat("C23")
def test_killed_hash_process_costs_its_log_in_only(disposable_sandbox):
    """One hash process, held still with a log-in in it, then killed."""
    box = disposable_sandbox(settings=["password.processes=1"])
    hasher = box.child("hash 0")
    os.kill(hasher, signal.SIGSTOP)
    looked_up = observe.Change(box)
    with box.secured() as first, box.secured() as second:
        first.send(f"AUTH PLAIN {plain(box.user, 'wrong')}\r\n")
        harness.wait_until(lambda: looked_up("account_lookups_total") >= 1 and stays_out_of_the_queue(box),
                           "the log-in at the hash process")
        second.send(f"AUTH PLAIN {plain(box.user, box.password)}\r\n")
        harness.wait_until(lambda: observe.metric(box, "hash_queue") == 1, "another behind it")
        os.kill(hasher, signal.SIGKILL)
        assert first.reply().text == AWAY
        assert second.reply().text == OK
        assert first.command(f"AUTH PLAIN {plain(box.user, box.password)}").text == OK, "the session lives"
        assert observe.metric(box, "hash_crashes_total") == 1
        works(box, first)


def stays_out_of_the_queue(box):
    """A log-in whose account is looked up is in the queue, or at a process that takes it from there."""
    return all(observe.metric(box, "hash_queue") == 0 for _ in range(300))


@pytest.mark.row("59")
@pytest.mark.threat("C21")
def test_full_hash_queue_is_454(disposable_sandbox):
    """C21: bounded; and who is logged in goes on."""
    box = disposable_sandbox(settings=["password.processes=1", "password.queue=4"])
    with box.session() as logged_in:
        hasher = box.child("hash 0")
        os.kill(hasher, signal.SIGSTOP)
        clients = [box.secured() for _ in range(12)]
        for number, client in enumerate(clients):
            client.send(f"AUTH PLAIN {plain(box.user, f'wrong{number}')}\r\n")
        harness.wait_until(lambda: observe.metric(box, "hash_overflows_total") >= 3, "refusals")
        works(box, logged_in)
        os.kill(hasher, signal.SIGCONT)
        codes = [client.reply().code for client in clients]
        assert codes.count(454) == observe.metric(box, "hash_overflows_total")
        # One is at work, and three wait: a quarter of the queue is kept for those who are known.
        assert codes.count(535) == 12 - codes.count(454) >= 4
        for client in clients:
            client.close()


def sent(box, clients, source, login, password):
    """A client whose log-in is under way; clients, an ExitStack, closes it."""
    client = clients.enter_context(box.secured(source=source))
    client.send(f"AUTH PLAIN {plain(login, password)}\r\n")
    return client


@pytest.mark.threat("C21")
def test_a_flood_of_guesses_keeps_no_customer_waiting(disposable_sandbox):
    """C21: who has logged in from there before goes first, but a stranger behind each eight; and a
    newcomer of another network does not wait behind all guesses of one.  Told by the order in which the one
    hash process gets them, not by a clock."""
    box = disposable_sandbox(settings=["password.processes=1", "password.cache_entries=0", "guard.enabled=true",
                                       "limits.connections_per_prefix=1000", "limits.unauthenticated_per_prefix=1000"])
    box.add_account("new@example.test", "new")
    with box.session(source="127.0.0.2"):
        pass  # alice is known there
    hasher = box.child("hash 0")
    os.kill(hasher, signal.SIGSTOP)
    with contextlib.ExitStack() as clients:
        flood = [sent(box, clients, f"127.1.0.{number}", f"guessed{number}@example.test", "wrong") for number in range(1, 33)]
        harness.wait_until(lambda: observe.metric(box, "hash_queue") == 31, "the flood in the queue")
        newcomer = sent(box, clients, "127.2.0.1", "new@example.test", "new")
        customers = [sent(box, clients, "127.0.0.2", box.user, box.password) for _ in range(10)]
        harness.wait_until(lambda: [observe.metric(box, name) for name in ("hash_queue", "hash_queue_known")] == [32, 10],
                           "all in their queues")
        before = len(box.log_lines())
        os.kill(hasher, signal.SIGCONT)
        assert [client.reply().code for client in [*customers, newcomer, *flood]] == [235] * 11 + [535] * 32
    order = [who for line in box.log_lines()[before:] for who in ("alice", "new", "guessed")
             if f'login="{who}' in line and (" auth-ok " in line or " auth-failed " in line)]
    # One was at the process when it stopped; then eight customers, a stranger, the other two.
    assert order[:9] == ["guessed"] + ["alice"] * 8
    assert order[9] != "alice" and order[10:12] == ["alice"] * 2
    # Two proxies take turns, and in each of them two networks.
    assert order.index("new") <= 14
    assert [observe.metric(box, name) for name in ("hash_queue", "hash_queue_known", "hash_overflows_total")] == [0, 0, 0]


def stop_postgres(box, number=signal.SIGINT):
    """Ends the sandbox's PostgreSQL; returns a function that starts it again."""
    process = box.process("postgres")
    pid = process.pid
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        argv = [word.decode() for word in file.read().split(b"\0")[:-1]]
    user = pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name if os.geteuid() == 0 else None
    os.kill(pid, number)
    harness.wait_until(lambda: harness.start_time(pid) is None, "PostgreSQL's end")
    return lambda: process.start(argv, output=box.path("log", "postgres.log"), user=user)


@pytest.mark.row("59")
@pytest.mark.threat("C23")
def test_database_stopped_is_454_and_service_resumes_by_itself(disposable_sandbox):
    """C23: never 535; who has a session keeps it; no restart is needed."""
    box = disposable_sandbox()
    with box.session() as client:
        start_again = stop_postgres(box)
        for login, password in ((box.user, "wrong"), ("nobody@example.test", "x"), (box.limited_user, box.limited_password)):
            with box.secured() as other:
                assert other.login(login, password, want=None).text == AWAY
                other.command("NOOP", 250)
        client.command("NOOP", 250)
        answer = client.command(f"MAIL FROM:<{box.user}>")
        if answer.code == 250:
            client.command(f"RCPT TO:<{RECIPIENT}>", 250)
            answer = client.command("DATA")
        assert answer.text == "451 4.3.0 Cannot check the account's limits at present; try again later"
        status, body = observe.get(box, "/readyz")
        assert status == 503 and "database" in body
        start_again()
        harness.wait_until(lambda: code(box, box.user, box.password) == 235, "log-ins again", timeout=30)
        observe.wait_ready(box)
        client.command("RSET", 250)
        works(box, client)
    assert code(box, box.user, "wrong") == 535
    assert observe.metric(box, "auth_failed_total") == 1


@pytest.mark.threat("C23")
def test_who_logged_in_lately_gets_in_during_an_outage_where_allowed(disposable_sandbox):
    """password.on_outage = cached: by what is remembered, long after the rows ceased to be trusted; and a
    wrong password is 454, for nothing that is only remembered refuses."""
    box = disposable_sandbox(settings=["password.on_outage=cached"])
    assert code(box, box.user, box.password) == 235
    start_again = stop_postgres(box)

    def let_in_by_memory():
        assert code(box, box.user, box.password) == 235
        return observe.metric(box, "auth_outage_total") > 0

    harness.wait_until(let_in_by_memory, "a log-in without the database", timeout=30)
    assert code(box, box.user, "wrong") == 454
    assert code(box, box.limited_user, box.limited_password) == 454
    start_again()
    harness.wait_until(lambda: code(box, box.user, "wrong") == 535, "refusals again", timeout=30)
    assert code(box, box.user, box.password) == 235
