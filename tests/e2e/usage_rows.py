# SPDX-License-Identifier: ISC
"""What nodes put into the books, by hand: for the tests of the schema and of posternctl."""
import time
from collections import namedtuple

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
NODE, BOOT = 7, 1
PUT = ("SELECT postern.usage_put(%s, %s, %s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[],"
       " %s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::boolean[])")
REFUSE = ("SELECT postern.refusals_put(%s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],"
          " %s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])")

Message = namedtuple("Message", "tid sid account credential sender recipients bytes client backend queue_id"
                     " taken_ms accepted_ms unknown")
Refusal = namedtuple("Refusal", "tid sid at_ms account credential sender client rule code meter limit used reset_s")


def now_ms():
    return time.time_ns() // 1_000_000


def id_text(tid):
    """As log and replies write it (common/id.c)."""
    return "".join(ALPHABET[tid >> 5 * digit & 31] for digit in reversed(range(12)))


def message(tid, account, **changes):
    at = changes.pop("at", None) or now_ms()
    fields = Message(tid, 1, account, 0, "alice@example.test", 2, 1000, "192.0.2.7", "127.0.0.1:25", f"Q{tid:X}",
                     at - 5, at, False)
    return fields._replace(**changes)


def refusal(tid, account, **changes):
    fields = Refusal(tid, 1, now_ms(), account, 0, "alice@example.test", "192.0.2.7", "sender", 550, "", 0, 0, 0)
    return fields._replace(**changes)


def put(connection, seq, messages, boot=BOOT):
    """Whether the batch was new."""
    columns = [list(column) for column in zip(*messages)] or [[] for _ in Message._fields]
    return connection.execute(PUT, (NODE, boot, seq, *columns)).fetchone()[0]


def refuse(connection, refusals):
    connection.execute(REFUSE, (NODE, *[list(column) for column in zip(*refusals)]))
