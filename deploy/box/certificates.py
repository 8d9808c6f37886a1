# SPDX-License-Identifier: ISC
"""A private CA and a server certificate for localhost, 127.0.0.1 and ::1.  ECDSA P-256, by openssl."""

import os

from .process import run

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make(directory):
    """Writes ca.pem ca.key server.pem server.key; server.pem is the chain, leaf first."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    path = {name: os.path.join(directory, name) for name in ("ca.pem", "ca.key", "server.pem", "server.key")}
    old_mask = os.umask(0o077)
    try:
        run(["openssl", "req", "-x509", *KEY, "-days", "3650", "-subj", "/CN=Postern sandbox CA",
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
             "-keyout", path["ca.key"], "-out", path["ca.pem"]])
        # openssl adds CA:TRUE of its own unless told otherwise.
        run(["openssl", "req", "-x509", *KEY, "-days", "365", "-subj", "/CN=localhost",
             "-CA", path["ca.pem"], "-CAkey", path["ca.key"],
             "-addext", "basicConstraints=critical,CA:FALSE",
             "-addext", "keyUsage=critical,digitalSignature", "-addext", "extendedKeyUsage=serverAuth",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
             "-keyout", path["server.key"], "-out", path["server.pem"]])
    finally:
        os.umask(old_mask)
    with open(path["server.pem"], "a", encoding="ascii") as chain, \
            open(path["ca.pem"], encoding="ascii") as ca:
        chain.write(ca.read())
    # The CA's certificate is for everyone; keys stay with their owner.
    os.chmod(path["ca.pem"], 0o644)
    return path
