# SPDX-License-Identifier: ISC
"""TLS with every octet in the test's hands: records split at will, close_notify alone, half-closes.

Python's own SSL sockets do none of that.  TlsSocket has the few methods that smtp.Client uses.
"""

import ssl

import smtp


class TlsSocket:
    def __init__(self, sock, context, session=None):
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost",
                                    session=session)

    def flush(self):
        data = self.outgoing.read()
        if data:
            self.sock.sendall(data)

    def fill(self):
        data = self.sock.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def hello(self):
        """The ClientHello, not sent."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def handshake(self, trailer=b""):
        """trailer travels with the last flight, before the server has said anything in TLS."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
        if trailer:
            self.tls.write(trailer)
        self.flush()

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:16384]):]
            self.flush()

    def recv(self, size):
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
            except ssl.SSLZeroReturnError:
                return b""

    def close_notify(self):
        """Says that nothing more will come; what the server still says can be read."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def __getattr__(self, name):
        """settimeout, setsockopt, shutdown, close, ... are the socket's."""
        return getattr(self.sock, name)


class Client(smtp.Client):
    """smtp.Client over a TlsSocket; trailer: see TlsSocket.handshake()."""

    def __init__(self, *arguments, trailer=b"", session=None, **options):
        self.trailer = trailer
        self.session = session
        super().__init__(*arguments, **options)

    def handshake(self):
        context = self.context or ssl.create_default_context(cafile=self.ca)
        self.sock = TlsSocket(self.sock, context, self.session)
        self.sock.handshake(self.trailer)


def connect(box, **options):
    return Client("127.0.0.1", box.smtps_port, ca=box.ca, tls="implicit", **options)


def session(box, user=None, password=None, **options):
    """Logged in, on port 465."""
    client = connect(box, **options)
    client.ehlo()
    client.login(user or box.user, password or box.password)
    return client
