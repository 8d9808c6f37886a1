#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Reads pytest's JUnit file for tests/run: prints shell code that adds up passed and failed.

    junit.py FILE PREFIX TIMES      TIMES gets "seconds name" lines
"""

import shlex
import sys
import xml.etree.ElementTree


def main():
    path, prefix, times = sys.argv[1:4]
    passed, failed = 0, []
    with open(times, "a", encoding="utf-8") as file:
        for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
            name = f"{prefix} {case.get('classname').rpartition('.')[2]}::{case.get('name')}"
            file.write(f"{float(case.get('time')):.2f} {name}\n")
            # A skipped test proves nothing: it counts as failed, so that none hides in CI.
            if any(case.find(tag) is not None for tag in ("failure", "error", "skipped")):
                failed.append(name)
            else:
                passed += 1
    print(f"passed=$((passed + {passed}))")
    print(f"failed=$((failed + {len(failed)}))")
    print("failures+=(" + " ".join(shlex.quote(name) for name in failed) + ")")


if __name__ == "__main__":
    main()
