# SPDX-License-Identifier: ISC
"""Looking into a running Postern: metrics, readiness, memory, CPU time.  Changes nothing in it."""

import http.client
import os

import harness

TICK = os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------ admin
def get(box, path):
    """(status, body); (0, reason) when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(box.admin_url.rpartition(":")[2]), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def metrics(box):
    """Name -> value of every metric that has no labels."""
    status, body = get(box, "/metrics")
    assert status == 200, body
    lines = [line.split() for line in body.splitlines() if line and line[0] != "#" and "{" not in line]
    return {name: int(float(value)) for name, value in lines}


def metric(box, name):
    return metrics(box)[f"postern_{name}"]


class Change:
    """How much counters grow while it is looked at: change("hashes_total")."""

    def __init__(self, box):
        self.box = box
        self.before = metrics(box)

    def __call__(self, name):
        return metric(self.box, name) - self.before[f"postern_{name}"]


def wait_ready(box):
    harness.wait_until(lambda: get(box, "/readyz")[0] == 200, "readiness", timeout=60)


def settle(box, timeout=30):
    """Waits until no client, no backend connection and no open message is left."""
    names = ("sessions", "backend_connections", "open_takes")

    def quiet():
        values = metrics(box)
        return all(values[f"postern_{name}"] == 0 for name in names)
    harness.wait_until(quiet, f"{', '.join(names)} to become 0", timeout=timeout)


# -------------------------------------------------------------------- processes
def processes(box):
    """Title -> PID, the master among them."""
    return {"master": box.master_pid, **box.children()}


def pss_kib(pid):
    """Proportional set size."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


SANITIZED = os.path.basename(harness.BUILD) in ("asan", "tsan")
QUARANTINE_KIB = 300 * 1024  # what a sanitizer keeps of freed memory, a process


def allowed(kib):
    """A bound on memory, as it is under a sanitizer: red zones around each piece, freed memory kept."""
    return 10 * kib + 3 * QUARANTINE_KIB if SANITIZED else kib


def proxies(box):
    return {title: pid for title, pid in box.children().items() if title.startswith("proxy ")}


def cpu_seconds(box):
    """User and system time of all Postern's processes so far."""
    total = 0
    for pid in processes(box).values():
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


# ----------------------------------------------------------------------- memory
CHUNK = 4 * 1024 * 1024
# A sanitizer's shadow: addresses reserved by the terabyte, and no byte of a program in it.
SHADOW = 64 * 1024 * 1024 * 1024


def readable_regions(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file:
        for line in file:
            span, rights = line.split()[:2]
            begin, end = (int(word, 16) for word in span.split("-"))
            if rights.startswith("r") and end - begin < SHADOW:
                yield begin, end


def region_holds(descriptor, begin, end, needles, found):
    overlap = max(len(needle) for needle in needles) - 1
    tail = b""
    for at in range(begin, end, CHUNK):
        try:
            data = tail + os.pread(descriptor, min(CHUNK, end - at), at)
        except OSError:  # not mapped any more, a guard page, the kernel's own
            tail = b""
            continue
        found.update(needle for needle in needles if needle in data)
        tail = data[-overlap:] if overlap else b""


def memory_holds(pid, needles):
    """Which of the needles are anywhere in what is mapped and can be read."""
    found = set()
    try:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        return found
    try:
        for begin, end in readable_regions(pid):
            region_holds(descriptor, begin, end, needles, found)
    finally:
        os.close(descriptor)
    return found
