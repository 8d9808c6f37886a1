# SPDX-License-Identifier: ISC
"""Free TCP ports on loopback that nobody else takes between their choice and their use.

Each stays bound (with SO_REUSEADDR, not listening) until the sandbox is up: a server that sets
SO_REUSEADDR as well may listen there, while bind-to-zero and connect of others pass it over.
"""

import socket


def bound(family, address, port):
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def have_ipv6():
    try:
        bound(socket.AF_INET6, "::1", 0).close()
    except OSError:
        return False
    return True


class Ports:
    def __init__(self):
        self.held = []
        self.ipv6 = have_ipv6()

    def take(self):
        """A port that is free on 127.0.0.1, and on ::1 where there is IPv6."""
        for _ in range(100):
            sock = bound(socket.AF_INET, "127.0.0.1", 0)
            port = sock.getsockname()[1]
            try:
                if self.ipv6:
                    self.held.append(bound(socket.AF_INET6, "::1", port))
            except OSError:
                sock.close()
                continue
            self.held.append(sock)
            return port
        raise OSError("no free port on loopback")

    def release(self):
        for sock in self.held:
            sock.close()
        self.held.clear()
