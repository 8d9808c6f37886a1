# SPDX-License-Identifier: ISC
"""The checker of the fleet's books: it finds each way in which books can be wrong, and nothing in good ones.

The fleet itself is tests/fleet/run, which `make check` plays once and `make fleet` for as long as one likes.
"""

import dataclasses
import os
import sys

import pytest

import harness

sys.path[:0] = [os.path.join(harness.ROOT, "tests", name) for name in ("fleet", "model")]

from books import (  # noqa: E402
    Books, Event, Limit, Strike, excess_table, greatest, limit_table, message_table, strike_table)
from server import Delivery, number_of  # noqa: E402
from writers import Attempt  # noqa: E402

ANNA, BERT = "anna@fleet.test", "bert@fleet.test"
BEGUN = 1000.0


def delivery(tid, fate="kept", login=ANNA, **changes):
    made = Delivery(tid, "node1.test", f"m{tid}", f"F{tid}", login, ("x@kept.test",), 100, fate, BEGUN + tid + 0.1)
    return dataclasses.replace(made, **changes)


def event(tid, state="accepted", login=ANNA, **changes):
    queue_id = f"F{tid}" if state == "accepted" else ""
    made = Event(tid, 11, login, 0, "", 1, 100, state, queue_id, BEGUN + tid, BEGUN + tid + 0.2)
    return dataclasses.replace(made, **changes)


def attempt(tid, code=250, where="body", **changes):
    made = Attempt(f"m{tid}", ANNA, "c", 1, BEGUN + tid, "kept", 1, where, code, "", BEGUN + tid + 0.3)
    return dataclasses.replace(made, **changes)


def limit(most=5, quantity="messages", window_s=3600.0, **changes):
    made = Limit("anna: messages_hour", quantity, window_s, most, frozenset({ANNA}), 0, None)
    return dataclasses.replace(made, **changes)


def books(**changes):
    """Five messages of a quiet hour, one of them with a lost reply, one refused by the server."""
    good = {
        "deliveries": [delivery(1), delivery(2, "hung"), delivery(3, "refused"), delivery(4), delivery(5, "slow", BERT)],
        "events": [event(1), event(2, "unknown"), event(4), event(5, login=BERT)],
        "attempts": [attempt(1), attempt(2, 451), attempt(3, 554), attempt(4), attempt(5), attempt(6, 450, "MAIL")],
        "limits": [limit(3, charged=3)], "strikes": [], "nodes": {11: "node1.test", 12: "node2.test"},
    }
    return Books(**{**good, **changes})


def found(**changes):
    return list(books(**changes).findings())


def more(name, *rows):
    """The good books with some rows besides."""
    return {name: [*getattr(books(), name), *rows]}


def without(name, tid):
    return {name: [row for row in getattr(books(), name) if row.tid != tid]}


def test_good_books_balance():
    assert found() == []


@pytest.mark.parametrize("wrong, says", [
    (without("events", 1), "not in the ledger: kept 1"),
    (without("events", 2), "not in the ledger: hung 2"),
    (more("events", event(1)), "in the ledger 2 times"),
    (more("events", event(9)), "accepted in the ledger, not by the server"),
    (more("events", event(3)), "accepted in the ledger, not by the server"),
    (more("events", event(9, "unknown")), "unknown for no reason"),
    (more("events", event(3, "unknown")), "unknown for no reason"),
    (more("deliveries", delivery(4, message_id="m9", queue_id="F9")), "transaction 4 brought 2 messages"),
    (more("deliveries", delivery(7, message_id="m1")), "at the server 2 times: m1"),
    ({"deliveries": [delivery(2), *books().deliveries[:1], *books().deliveries[2:]]}, "unknown for no reason"),
    (more("attempts", attempt(9)), "told 250, which the server did not say"),
    (more("attempts", attempt(3)), "told 250, which the server did not say"),
    (more("deliveries", delivery(9)), "at the server, and nobody sent it"),
    ({"attempts": [attempt(4, 451)]}, "refused, and the server kept it"),
    ({"attempts": [attempt(4, 450, "DATA")]}, "at the server without an end of data"),
    ({"limits": [limit(2)]}, "anna: messages_hour: 3 messages in 3600 s, the limit is 2"),
    ({"limits": [limit(2, "recipients")]}, "3 recipients in 3600 s, the limit is 2"),
    ({"limits": [limit(299, "bytes")]}, "300 bytes in 3600 s, the limit is 299"),
    ({"limits": [limit(3, charged=2)]}, "charged with 2, the ledger has 3"),
    ({"limits": [limit(9, charged=4)]}, "charged with 4, the ledger has 3"),
    ({"limits": [limit(3, covers=frozenset({ANNA, BERT}))]}, "4 messages in 3600 s, the limit is 3"),
], ids=lambda value: value.replace(" ", "-")[:40] if isinstance(value, str) else "")
def test_wrong_books_are_found(wrong, says):
    assert [line for line in found(**wrong) if says in line], found(**wrong)


@pytest.mark.parametrize("name, value, says", [
    ("queue_id", "F8", "another queue id than the server's F1"),
    ("login", BERT, "other than at the server"),
    ("recipients", 2, "other than at the server"),
])
def test_a_row_that_tells_another_story(name, value, says):
    rows = [event(1, **{name: value}), *books().events[1:]]
    assert [line for line in found(events=rows) if says in line]


# ------------------------------------------------------------------------- faults
def unknown_of_strike(at=BEGUN + 4.05, node="node1.test", cost=1):
    """Message 4 was kept, and the node was killed before it heard so."""
    rows, told = ([row for row in rows if row is not rows[at]] for rows, at in ((books().events, 2), (books().attempts, 3)))
    return found(events=[*rows, event(4, "unknown")], attempts=[*told, attempt(4, 0)], strikes=[Strike(at, "node", node, cost)])


def test_a_fault_explains_what_is_unknown():
    assert unknown_of_strike() == []


@pytest.mark.parametrize("changes", [{"at": BEGUN + 60}, {"at": BEGUN - 60}, {"node": "node2.test"}, {"node": ""}],
                         ids=["later", "before", "another node", "the database"])
def test_a_fault_elsewhere_explains_nothing(changes):
    assert "unknown for no reason" in "\n".join(unknown_of_strike(**changes))


def test_what_a_fault_cut_off_stays_charged():
    assert found(limits=[limit(9, charged=4)], strikes=[Strike(BEGUN + 2, "database")]) == []
    assert found(limits=[limit(9, charged=2)], strikes=[Strike(BEGUN + 2, "database")])


def test_no_fault_explains_more_than_it_can_have_cut_off():
    assert "1 unknown after node, which 0 connections saw" in "\n".join(unknown_of_strike(cost=0))


def test_a_client_that_a_fault_cut_off_may_have_been_refused():
    strike = Strike(BEGUN + 4.1, "proxy", "node1.test", 1)
    told = [*books().attempts[:3], attempt(4, 451), *books().attempts[4:]]
    assert found(attempts=told, strikes=[strike]) == []
    assert found(attempts=told, strikes=[dataclasses.replace(strike, at=BEGUN + 9)])


# ------------------------------------------------------------------------ windows
def test_windows_slide():
    """Two at the end of an hour and two at the start of the next are four in an hour."""
    times = (3599.0, 3599.5, 3600.5, 3601.0)
    rows = [event(number, taken_at=at) for number, at in enumerate(times)]
    assert greatest(limit(), rows) == 4
    assert greatest(limit(window_s=1.0), rows) == 2
    assert greatest(limit(window_s=0.5), rows) == 1


def test_windows_are_of_the_take_and_not_of_its_end():
    rows = [event(1, taken_at=0.0, accepted_at=3700.0), event(2, taken_at=3605.0, accepted_at=3700.0)]
    assert greatest(limit(), rows) == 1


def test_a_credential_has_windows_of_its_own():
    rows = [event(1, credential=7), event(2, credential=8), event(3, credential=7)]
    assert greatest(limit(credential=7), rows) == 2
    assert greatest(limit(), rows) == 3


def test_distinct_recipients_are_counted_once():
    rows = [event(1, taken_at=0.0, addresses=("a", "b")), event(2, taken_at=10.0, addresses=("b", "c")),
            event(3, taken_at=3605.0, addresses=("c", "d", "e"))]
    assert greatest(limit(quantity="distinct"), rows) == 4
    assert greatest(limit(quantity="distinct", window_s=10.0), rows) == 3


# ---------------------------------------------------------------- a standby that lags
def lost(*cuts, most=2):
    """Message 4 was charged and put in the ledger on a server whose word the standby did not hear."""
    made = books(events=[row for row in books().events if row.tid != 4], limits=[limit(most)])
    return list(made.findings_after_loss(cuts))


def test_what_the_standby_did_not_hear_may_be_missing_and_above():
    assert lost((BEGUN + 3.9, BEGUN + 4.1)) == []
    assert "1 above the limit, and only 0 were unseen" in "\n".join(lost())
    assert "no fault of the standby" in "\n".join(lost((BEGUN - 90, BEGUN - 89)))
    assert "2 above the limit, and only 1 were unseen" in "\n".join(lost((BEGUN + 3.9, BEGUN + 4.1), most=1))


def test_a_loss_excuses_nothing_else():
    cut = (BEGUN + 3.9, BEGUN + 4.1)
    for wrong in (more("events", event(9)), more("attempts", attempt(9)), more("events", event(1))):
        assert list(books(**wrong).findings_after_loss([cut]))


# ----------------------------------------------------------------------- evidence
def test_the_tables_tell_what_was_counted():
    strike = Strike(BEGUN + 4.05, "node", "node1.test", 1)
    made = books(events=[event(1), event(2, "unknown"), event(4, "unknown"), event(5, login=BERT)], strikes=[strike])
    lines = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in message_table(made).splitlines()}
    assert (lines["told 250"], lines["accepted in the ledger"], lines["unknown in the ledger"],
            lines["of these because of a fault"], lines["kept, and not in the ledger"]) == ("3", "2", "2", "1", "0")
    assert "| 3600 s | 3    | 3 " in limit_table(made)
    assert [cell.strip() for cell in strike_table(made, BEGUN).splitlines()[2].split("|")[1:-1]] == \
        ["4.0 s", "node", "node1.test", "1"]
    above = excess_table(books(limits=[limit(2)]), [(BEGUN + 3.9, BEGUN + 4.1)]).splitlines()[2]
    assert [cell.strip() for cell in above.split("|")[2:-1]] == ["2", "3", "1", "1"]


def test_ids_are_those_of_the_log():
    assert number_of("000000000010") == 32
    assert number_of("zzzzzzzzzzzz") == 2 ** 60 - 1
