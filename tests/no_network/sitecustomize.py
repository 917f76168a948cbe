"""Put on PYTHONPATH, this keeps every Python process that starts from reaching another machine, and notes who tried."""

import os
import socket
import sys

LOCAL = ("127.", "localhost", "::1", "0.0.0.0")


def _check(address):
    if isinstance(address, tuple) and not str(address[0]).startswith(LOCAL):
        if log := os.environ.get("NETWORK_LOG"):
            with open(log, "a") as stream:
                stream.write(f"{address[0]} by {' '.join(sys.argv)[:200]}\n")
        raise OSError(f"network: a process tried to reach {address[0]}")


def _guarded(name):
    plain = getattr(socket.socket, name)

    def method(self, *arguments):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _check(arguments[-1])
        return plain(self, *arguments)

    return method


class Socket(socket.socket):
    connect = _guarded("connect")
    connect_ex = _guarded("connect_ex")


def _resolved(host, *arguments, _plain=socket.getaddrinfo, **named):
    if host is not None:
        _check((host.decode() if isinstance(host, bytes) else host,))
    return _plain(host, *arguments, **named)


socket.socket = Socket
socket.getaddrinfo = _resolved
