# SPDX-License-Identifier: ISC
"""A load balancer's side of the PROXY protocol: its headers, and a client whose connection begins with one."""

import ipaddress
import struct

import smtp

BALANCER = "127.9.0.1"  # where its connections come from
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(client, port=51234):
    address = ipaddress.ip_address(client)
    there = "198.51.100.2" if address.version == 4 else "2001:db8:ffff::2"
    return f"PROXY TCP{address.version} {address} {there} {port} 465\r\n".encode()


def block(command, family, rest):
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(rest)) + rest


def v2(client, port=51234, tlvs=b""):
    address = ipaddress.ip_address(client)
    there = bytes(len(address.packed))
    family = 0x11 if address.version == 4 else 0x21
    return block(1, family, address.packed + there + struct.pack(">HH", port, 465) + tlvs)


LOCAL = block(0, 0, b"")


class Client(smtp.Client):
    """smtp.Client, from the balancer's address, that says header before all else; port as Sandbox.connect()'s."""

    def __init__(self, box, header, port="submissions", *, source=BALANCER, **options):
        self.header = header
        implicit = port == "submissions"
        super().__init__("127.0.0.1", box.smtps_port if implicit else box.submission_port, ca=box.ca,
                         tls="implicit" if implicit else None, source=source, **options)

    def say_header(self):
        header, self.header = self.header, b""
        self.sock.sendall(header)

    def handshake(self):
        self.say_header()
        super().handshake()

    def greet(self, want):
        self.say_header()
        return super().greet(want)


def secured(box, header, port="submissions", **options):
    """The same, after TLS and EHLO."""
    client = Client(box, header, port, **options)
    client.ehlo()
    if port == "submission":
        client.starttls()
        client.ehlo()
    return client


def session(box, header, port="submissions", user=None, password=None, **options):
    """The same, logged in; as alice when nobody is named."""
    client = secured(box, header, port, **options)
    client.login(user or box.user, password or box.password)
    return client
