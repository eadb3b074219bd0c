# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections through a service, all within one namespace: virtual and real addresses are its own."""

from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import ExitStack

VIRTUAL, VIRTUAL6 = "192.0.2.10", "2001:db8:f::10"
REAL, REAL6 = ("198.51.100.21", "198.51.100.22"), "2001:db8:b::21"
#: Of another network than the virtual addresses.
CLIENT, CLIENT6 = "203.0.113.5", "2001:db8:c::5"
SO_MARK = 36


class Traffic(ExitStack):
    """Servers and clients; all of them end with it."""

    def __init__(self) -> None:
        super().__init__()
        # IPv6 comes with ip_vs, where it is a module.
        subprocess.run(["ipvsadm", "-L"], check=True, capture_output=True)
        for address in (VIRTUAL, *REAL, CLIENT):
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        for address in (VIRTUAL6, REAL6, CLIENT6):
            subprocess.run(["ip", "address", "add", f"{address}/128", "dev", "lo", "nodad"], check=True)

    def _open(self, address: str, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = self.enter_context(socket.socket(family, kind))
        if kind == socket.SOCK_STREAM:
            # Close without a goodbye: one that is not answered would keep the namespace for minutes.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return opened

    def listen(self, address: str, port: int) -> socket.socket:
        """A server whose connections the kernel accepts, and nobody reads."""
        server = self._open(address, socket.SOCK_STREAM)
        server.bind((address, port))
        server.listen()
        return server

    def receive(self, address: str, port: int) -> socket.socket:
        """A server of datagrams."""
        server = self._open(address, socket.SOCK_DGRAM)
        server.bind((address, port))
        return server

    def _from_client(self, address: str, kind: int, port: int = 0, mark: int = 0) -> socket.socket:
        client = self._open(address, kind)
        client.settimeout(10)
        client.bind((CLIENT6 if ":" in address else CLIENT, port))
        if mark:
            client.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", mark))
        return client

    def connect(self, address: str, port: int, mark: int = 0) -> socket.socket:
        """A connection of the client."""
        client = self._from_client(address, socket.SOCK_STREAM, mark=mark)
        client.connect((address, port))
        return client

    def send(self, address: str, port: int, data: bytes = b"hello", from_port: int = 0) -> socket.socket:
        """A datagram of the client."""
        client = self._from_client(address, socket.SOCK_DGRAM, from_port)
        client.sendto(data, (address, port))
        return client
