# SPDX-License-Identifier: ISC
"""The guard against guessing, over SMTP: who is slowed, held and blocked, who never is, and who is told."""

import os
import random
import re
import signal
import string
import subprocess
import threading

import psycopg
import pytest

import harness
import observe
import smtp

HELD = "454 4.7.0 Too many failed log-ins; try again later"
BLOCKED = "421 4.7.0 Connections from your network are refused at present; try again later"
NUMBERS = ["guard.guesses=5", "guard.guesses_known=8", "guard.guesses_account=12", "guard.guesses_network=20",
           "guard.names_network=6", "limits.errors=1000",
           "limits.connections_per_prefix=1000", "limits.unauthenticated_per_prefix=1000"]


@pytest.fixture(scope="module")
def box(make_sandbox):
    return make_sandbox(settings=NUMBERS)


def text(box, login, password, source):
    """The reply to one log-in from there."""
    with box.secured(source=source) as client:
        return client.login(login, password, want=None).text


def code(box, login, password, source):
    return int(text(box, login, password, source)[:3])


def guess_until_held(box, login, source, most):
    """Wrong passwords, each another one, from one address; returns how many were answered 535."""
    for number in range(most + 1):
        got = text(box, login, f"guess{number}", source)
        if not got.startswith("535"):
            assert got == HELD
            return number
    raise AssertionError(f"{most} guesses, and nobody minds")


# ------------------------------------------------------------------------ holding
@pytest.mark.threat("C18", "C22")
def test_guesses_are_held_alike_for_every_name(box):
    """Decided before any look-up or hash: a name that exists and one that does not are the same."""
    box.add_account("exists@example.test", "right")
    assert guess_until_held(box, "exists@example.test", "127.1.0.1", 10) == 5
    assert guess_until_held(box, "nobody@example.test", "127.1.0.2", 10) == 5
    change = observe.Change(box)
    for login, source in (("exists@example.test", "127.1.0.1"), ("nobody@example.test", "127.1.0.2")):
        assert text(box, login, "right", source) == HELD
    assert change("hashes_total") == 0
    assert change("account_lookups_total") == 0
    assert change("guard_held_total") == 2
    # Elsewhere the right password is right.
    assert code(box, "exists@example.test", "right", "127.1.0.3") == 235


@pytest.mark.threat("C22")
def test_owner_gets_in_where_he_usually_is(box):
    """An attack on an account from everywhere does not keep its owner out."""
    box.add_account("owner@example.test", "right")
    assert code(box, "owner@example.test", "right", "127.2.0.1") == 235
    replies = [text(box, "owner@example.test", f"guess{n}", f"127.2.1.{n + 1}") for n in range(16)]
    assert replies[-1] == HELD, "held for strangers wherever they are"
    assert code(box, "owner@example.test", "right", "127.2.2.2") == 454
    assert code(box, "owner@example.test", "right", "127.2.0.1") == 235
    # There he has a budget of his own for mistakes.
    assert code(box, "owner@example.test", "mistake", "127.2.0.1") == 535
    assert code(box, "owner@example.test", "right", "127.2.0.1") == 235


@pytest.mark.threat("C22")
def test_telephone_with_an_old_password_is_one_guess(box):
    box.add_account("phone@example.test", "new")
    for _ in range(25):
        assert code(box, "phone@example.test", "old", "127.3.0.1") == 535
    assert code(box, "phone@example.test", "new", "127.3.0.1") == 235


@pytest.mark.threat("C22")
def test_trying_many_names_is_held(box):
    replies = [text(box, f"name{n}@example.test", "Password1", "127.4.0.1") for n in range(10)]
    assert [reply[:3] for reply in replies[:6]] == ["535"] * 6
    assert replies[-1] == HELD


@pytest.mark.threat("C22")
def test_parallel_guesses_gain_nothing(box):
    """Those that are not decided yet count as if they had failed."""
    box.add_account("parallel@example.test", "right")
    change = observe.Change(box)
    codes = []

    def attack(number):
        for n in range(4):
            try:
                codes.append(code(box, "parallel@example.test", f"guess{number}.{n}", "127.5.0.1"))
            except (AssertionError, OSError):
                codes.append(421)  # blocked meanwhile

    threads = [threading.Thread(target=attack, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(535) <= 5 and set(codes) <= {535, 454, 421}
    assert change("hashes_total") <= 5


# ----------------------------------------------------------------------- blocking
def knock(box, source):
    """The greeting, or what stands in its place, as auth told the workers."""
    with smtp.Client("127.0.0.1", box.submission_port, source=source, greeting=None) as client:
        return client.reply().text


@pytest.mark.threat("C22")
def test_network_that_goes_on_is_blocked_on_every_worker(box):
    guess_until_held(box, "goes.on@example.test", "127.6.0.1", 10)
    change = observe.Change(box)

    def again():
        try:
            return text(box, "goes.on@example.test", "more", "127.6.0.1").startswith("421")
        except (AssertionError, OSError):
            return True  # at the greeting already

    harness.wait_until(again, "a block", timeout=60)
    harness.wait_until(lambda: all(knock(box, "127.6.0.1") == BLOCKED for _ in range(8)), "421 of every worker")
    assert change("connections_blocked_total") >= 8
    assert knock(box, "127.6.0.2").startswith("220")
    assert "127.6.0.1 " in box.ctl("block", "list")
    assert re.search(r"network-blocked network=127\.6\.0\.1 reason=\"?wrong secrets", open(box.path("log", "postern.log"), encoding="utf-8").read())
    box.ctl("block", "del", "127.6.0.1")
    harness.wait_until(lambda: knock(box, "127.6.0.1").startswith("220"), "the end of the block")


def test_block_by_hand(box):
    """Within seconds, for IPv4 networks; who is logged in already stays."""
    with box.session(source="127.7.0.9") as client:
        box.ctl("block", "add", "127.7.0.0/24", "--for", "10m", "--reason", "test")
        harness.wait_until(lambda: knock(box, "127.7.0.1") == BLOCKED, "the block", timeout=10)
        client.command("NOOP", 250)
        listed = box.ctl("block", "list", "--json")
        assert '"target":"127.7.0.0/24"' in listed and '"reason":"test"' in listed
        assert knock(box, "127.7.1.1").startswith("220")
    box.ctl("block", "del", "127.7.0.0/24")
    harness.wait_until(lambda: knock(box, "127.7.0.1").startswith("220"), "its end", timeout=10)
    assert "unchanged" in box.ctl("block", "del", "127.7.0.0/24")


def test_strangers_of_a_blocked_network_have_to_go(box):
    """At once, and not when they try to log in; others stay."""
    with box.secured(source="127.7.2.1") as stranger, box.secured(source="127.7.3.1") as other:
        box.ctl("block", "add", "127.7.2.0/24", "--for", "10m")
        assert stranger.reply().text == BLOCKED
        other.command("NOOP", 250)
    box.ctl("block", "del", "127.7.2.0/24")


def test_block_ends_by_itself(box):
    box.ctl("block", "add", "127.8.0.1", "--for", "3s")
    harness.wait_until(lambda: knock(box, "127.8.0.1") == BLOCKED, "the block", timeout=10)
    harness.wait_until(lambda: knock(box, "127.8.0.1").startswith("220"), "its end", timeout=15)
    assert "127.8.0.1" not in box.ctl("block", "list")


def test_block_of_an_account_ends_its_sessions(box):
    box.add_account("blocked@example.test", "right")
    with box.session(user="blocked@example.test", password="right", source="127.9.0.1") as client:
        box.ctl("block", "add", "blocked@example.test", "--for", "1h")
        assert client.reply().text.startswith("421 4.7.0")
    assert code(box, "blocked@example.test", "right", "127.9.0.1") == 535
    box.ctl("block", "del", "blocked@example.test")
    assert code(box, "blocked@example.test", "right", "127.9.0.1") == 235


@pytest.mark.parametrize("words, status", [
    (["127.0.0.1/8"], 65), (["10.0.0.0/33"], 65), (["nobody.there@example.test"], 67), ([""], 65),
])
def test_what_cannot_be_blocked(box, words, status):
    done = box.ctl("block", "add", *words, ok=False)
    assert done.returncode == status and done.stderr.startswith("posternctl: ")


# ------------------------------------------------------------------------ keeping
def test_holds_blocks_and_owners_survive_auth(disposable_sandbox):
    box = disposable_sandbox(settings=NUMBERS)
    box.add_account("kept@example.test", "right")
    assert code(box, "kept@example.test", "right", "127.10.0.1") == 235
    guess_until_held(box, "kept@example.test", "127.10.0.2", 10)
    box.ctl("block", "add", "127.10.1.0/24", "--for", "10m")
    harness.wait_until(lambda: saved(box) == 1, "the last guess to be saved", timeout=15)
    os.kill(box.child("auth"), signal.SIGKILL)
    observe.wait_ready(box)
    harness.wait_until(lambda: code(box, "kept@example.test", "right", "127.10.0.1") == 235, "auth again", timeout=20)
    harness.wait_until(lambda: text(box, "kept@example.test", "right", "127.10.0.2") == HELD, "the hold", timeout=10)
    harness.wait_until(lambda: knock(box, "127.10.1.1") == BLOCKED, "the block", timeout=10)


def superuser(box):
    with open(box.path("pgpass"), encoding="ascii") as file:
        password = file.read().strip().rpartition(":")[2]
    return psycopg.connect(box.dsn, user="postgres", password=password)


def saved(box):
    """How many pairs of name and network are kept with so many wrong guesses."""
    with superuser(box) as connection:
        return connection.execute("SELECT count(*) FROM postern.guard_record WHERE kind = 2 AND wrong > 4000").fetchone()[0]


def test_owner_of_one_node_is_known_to_the_others(disposable_sandbox):
    """What another node saved is taken in while this one runs: here it is given back after it was lost."""
    box = disposable_sandbox(settings=NUMBERS)
    box.add_account("roams@example.test", "right")
    assert code(box, "roams@example.test", "right", "127.12.0.1") == 235
    known = "SELECT count(*) FROM postern.guard_record WHERE kind = 1"
    with superuser(box) as connection:
        connection.autocommit = True
        harness.wait_until(lambda: connection.execute(known).fetchone()[0] >= 1, "the log-in to be saved", timeout=15)
        connection.execute("CREATE TEMPORARY TABLE other AS SELECT * FROM postern.guard_record")
        connection.execute("DELETE FROM postern.guard_record")
        os.kill(box.child("auth"), signal.SIGKILL)
        observe.wait_ready(box)
        places = iter(range(1, 250))

        def guess():
            n = next(places)
            return text(box, "roams@example.test", f"guess{n}", f"127.12.1.{n}") == HELD
        harness.wait_until(guess, "a hold of all strangers", timeout=30)
        assert text(box, "roams@example.test", "right", "127.12.0.1") == HELD, "a stranger here, it seems"
        connection.execute("INSERT INTO postern.guard_record SELECT kind, key, 0, 0, 0, known_until, now(), keep_until"
                           " FROM other WHERE kind = 1")
    harness.wait_until(lambda: code(box, "roams@example.test", "right", "127.12.0.1") == 235, "the owner to be known",
                       timeout=20)


def test_counts_of_two_nodes_join_less_what_was_forgotten(disposable_sandbox):
    box = disposable_sandbox()
    record = '[[2, "%032x", %d, 0, %d, 0, 90000000]]'
    with superuser(box) as connection:
        def save(key, wrong, strikes=0):
            connection.execute("SELECT postern.guard_save(%s::jsonb, 300000)", (record % (key, wrong, strikes),))

        def stored(key):
            return connection.execute("SELECT wrong, strikes FROM postern.guard_record WHERE key = decode(%s, 'hex')",
                                      (f"{key:032x}",)).fetchone()
        save(1, 9000, 5000)
        save(1, 2000)  # another node, at the same time
        wrong, strikes = stored(1)
        assert 8900 <= wrong <= 9000 and 4990 <= strikes <= 5000
        connection.execute("UPDATE postern.guard_record SET saved_at = saved_at - interval '20 minutes'")
        save(1, 1000)
        assert 4900 <= stored(1)[0] <= 5000, "four of nine are forgotten after twenty minutes"
        connection.execute("UPDATE postern.guard_record SET saved_at = saved_at - interval '30 days'")
        save(1, 1000)
        assert stored(1) == (1000, 0)
        connection.execute("UPDATE postern.guard_record SET saved_at = saved_at + interval '1 year'")  # a clock set back
        save(1, 3000)
        assert stored(1) == (3000, 0)


# ------------------------------------------------------------------- who reads the log
@pytest.fixture(scope="module")
def fail2ban_regex():
    """The real program, unpacked beside the mail servers of the tests."""
    subprocess.run([os.path.join(harness.ROOT, "tests", "tools", "mta-fetch"), "fail2ban"], check=True,
                   stdin=subprocess.DEVNULL, timeout=300)
    root = os.path.join(harness.ROOT, "build", "mta", "fail2ban")
    environment = {**os.environ, "PYTHONPATH": os.path.join(root, "usr", "lib", "python3", "dist-packages")}

    def run(lines, tmp_path):
        log = tmp_path / "postern.log"
        log.write_text(lines, encoding="utf-8")
        done = harness.run(["/usr/bin/python3", os.path.join(root, "usr", "bin", "fail2ban-regex"),
                            "--config", os.path.join(root, "etc", "fail2ban"), "-o", "ip", str(log),
                            os.path.join(harness.ROOT, "deploy", "fail2ban", "filter.d", "postern.conf")],
                           env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split()
    return run


HOSTILE = ["plain", 'quo"ted', "rip=192.0.2.1", "x auth-failed rip=192.0.2.1 login=y", "a\tb", "\u00fcml\u00e4ut@example.test",
           "192.0.2.1", "back\\slash", "' or 1=1 --", "%u${x}", "long" * 70]


def test_fail2ban_reads_every_refusal_and_nothing_else(box, fail2ban_regex, tmp_path):
    """Whatever a client gives as its name, it is its own address that is banned."""
    log = box.path("log", "postern.log")
    before = os.path.getsize(log)
    for number, login in enumerate(HOSTILE):
        assert code(box, login, "wrong", f"127.11.0.{number + 1}") in (535, 501)
    assert code(box, box.user, box.password, "127.11.1.1") == 235

    def lines():
        with open(log, encoding="utf-8", errors="replace") as file:
            file.seek(before)
            return file.read()

    harness.wait_until(lambda: lines().count(" auth-failed ") >= len(HOSTILE) - 1, "the lines")
    refused = [int(n) for n in re.findall(r"auth-failed rip=127\.11\.0\.(\d+) ", lines())]
    assert sorted(fail2ban_regex(lines(), tmp_path)) == sorted(f"127.11.0.{n}" for n in refused)
    assert len(refused) >= len(HOSTILE) - 1


def test_fail2ban_reads_nothing_in_noise(fail2ban_regex, tmp_path):
    chance = random.Random(20261125)
    noise = "".join("".join(chance.choice(string.printable[:95]) for _ in range(60)) + "\n" for _ in range(200))
    forged = ('2026-11-25T08:21:08.022Z proxy0[1] info session helo="x auth[1] info auth-failed rip=192.0.2.9 login=x"\n'
              '2026-11-25T08:21:08.022Z auth[1] info auth-held rip=192.0.2.9 login="x" sid=abc\n'
              '2026-11-25T08:21:08.022Z auth[1] info auth-ok rip=192.0.2.9 login="auth-failed rip=192.0.2.9"\n')
    assert fail2ban_regex(noise + forged, tmp_path) == []


def test_crowdsec_reads_every_refusal():
    """The parser's pattern, with grok's words spelled out; CrowdSec itself is not in Debian."""
    with open(os.path.join(harness.ROOT, "deploy", "crowdsec", "parsers", "postern-logs.yaml"), encoding="utf-8") as file:
        pattern = re.search(r"pattern: '(.*)'", file.read())[1]
    words = {"TIMESTAMP_ISO8601:timestamp": r"\S+Z", "INT": r"\d+", "IP:source_ip": r"(?P<ip>[0-9a-f.:]+)",
             "WORD:mech": r"\w+", "WORD:reason": r"\w+", "WORD:sid": r"\w+"}
    for name, regex in words.items():
        pattern = pattern.replace("%{" + name + "}", regex)
    pattern = pattern.replace("(?P<username>", "(?P<quoted>", 1).replace("\\S*)", "\\S*)")
    line = ('2026-11-25T08:21:08.022Z auth[23686] info auth-failed rip=192.0.2.7 login={} mech=PLAIN reason=wrong '
            'sid=gb579fnwt32g')
    for login in ("alice", '"al ice"', '"quo\\"ted rip=192.0.2.1"', '""'):
        found = re.match(pattern, line.format(login))
        assert found and found["ip"] == "192.0.2.7", login
