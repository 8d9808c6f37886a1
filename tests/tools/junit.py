#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Reads pytest's JUnit files for tests/run: prints shell code that adds up passed and failed.

    junit.py FILE PREFIX TIMES [AGAIN]

TIMES gets "seconds name" lines.  AGAIN is of a second run, alone, of what failed in the first: a test
that passed there counts as passed, and is named in `flaky`.
"""

import shlex
import sys
import xml.etree.ElementTree


def cases(path):
    """(name, whether it passed, seconds).  A skipped test proves nothing: it counts as failed, so that
    none hides in CI.  A teardown that failed is a second entry of its test."""
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        failed = any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))
        yield f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}", not failed, float(case.get("time"))


def verdicts(path):
    found = {}
    for name, good, _seconds in cases(path):
        found[name] = found.get(name, True) and good
    return found


def words(prefix, names):
    return "(" + " ".join(shlex.quote(f"{prefix} {name}") for name in names) + ")"


def main():
    path, prefix, times = sys.argv[1:4]
    first, again = verdicts(path), verdicts(sys.argv[4]) if len(sys.argv) > 4 else {}
    with open(times, "a", encoding="utf-8") as file:
        for name, _good, seconds in cases(path):
            file.write(f"{seconds:.2f} {prefix} {name}\n")
    flaky = [name for name, good in first.items() if not good and again.get(name, False)]
    failed = [name for name, good in first.items() if not good and not again.get(name, False)]
    print(f"passed=$((passed + {len(first) - len(failed)}))")
    print(f"failed=$((failed + {len(failed)}))")
    print(f"failures+={words(prefix, failed)}")
    print(f"flaky+={words(prefix, flaky)}")


if __name__ == "__main__":
    main()
