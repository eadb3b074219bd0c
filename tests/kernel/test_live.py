# SPDX-License-Identifier: GPL-3.0-or-later
"""A table in use: connections go on and counters count on while entries beside them change."""

from __future__ import annotations

import pathlib
import re
import selectors
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .words import Words

Apply = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]

VIRTUAL = "192.0.2.10"
REAL = [f"198.51.100.{n}" for n in (21, 22, 23)]


def web(*servers: Words, **options: Any) -> Words:
    return {"protocol": "tcp", "address": VIRTUAL, "port": 80, "scheduler": "rr", "real_servers": [*servers], **options}


def server(address: str, **options: Any) -> Words:
    return {"address": address, "port": 8080, **options}


def forget(connection: socket.socket) -> None:
    """Close without a goodbye: one that is not answered would keep the namespace, and the table in it, for minutes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Server(threading.Thread):
    """Answers each line of each connection with its address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.listener = socket.create_server((address, 8080))
        self.open = selectors.DefaultSelector()
        self.open.register(self.listener, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _events in self.open.select():
                peer: Any = key.fileobj
                try:
                    if peer is self.listener:
                        self.open.register(peer.accept()[0], selectors.EVENT_READ)
                    elif peer.recv(100):
                        peer.sendall(self.address.encode() + b"\n")
                    else:
                        raise ConnectionResetError
                except ConnectionError:
                    self.open.unregister(peer)
                    forget(peer)
                except OSError:  # the listener is shut down
                    return

    def stop(self) -> None:
        """End, with all connections."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join(10)
        assert not self.is_alive()
        for key in list(self.open.get_map().values()):
            held: Any = key.fileobj
            forget(held)
        self.open.close()


@pytest.fixture(autouse=True)
def servers(netns: Callable[[], None]) -> Iterator[None]:
    """Three servers; they and the virtual address are in this namespace."""
    for address in (VIRTUAL, *REAL):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    running = [Server(address) for address in REAL]
    for each in running:
        each.start()
    yield
    for each in running:
        each.stop()


class Client:
    """A connection to the virtual service."""

    def __init__(self) -> None:
        self.socket = socket.create_connection((VIRTUAL, 80), timeout=10)
        self.stream = self.socket.makefile("rwb")
        self.server = self.ask()

    def ask(self) -> str:
        self.stream.write(b"who?\n")
        self.stream.flush()
        return self.stream.readline().decode().strip()


@pytest.fixture
def connect(servers: None) -> Iterator[Callable[[], Client]]:
    """New connections, closed in the end."""
    made: list[Client] = []

    def new() -> Client:
        made.append(Client())
        return made[-1]

    yield new
    for client in made:
        client.stream.close()
        forget(client.socket)


@pytest.fixture
def clients(apply: Apply, connect: Callable[[], Client]) -> dict[str, Client]:
    """Three real servers with one connection each, by the server that answers."""
    apply([web(*map(server, REAL))])
    made = {client.server: client for client in (connect() for _ in REAL)}
    assert sorted(made) == REAL, "rr gives each its turn"
    return made


def active(ipvsadm: Ipvsadm) -> dict[str, int]:
    """Active connections of each real server."""
    return {m[1]: int(m[2]) for m in re.finditer(r"-> (198\.\S+):8080 +\w+ +\d+ +(\d+)", ipvsadm("-Ln"))}


def connections(ipvsadm: Ipvsadm) -> dict[str, int]:
    """Connections of the service and of each real server, since the counters began."""
    text = ipvsadm("-Ln", "--stats", "--exact")
    return {m[1]: int(m[2]) for m in re.finditer(r"(\d+\.\d+\.\d+\.\d+):\d+ +(\d+)", text)}


def await_counters(ipvsadm: Ipvsadm, wanted: dict[str, int]) -> None:
    """The kernel brings counters up to date every two seconds."""
    deadline = time.monotonic() + 20
    while (now := connections(ipvsadm)) != wanted:
        assert time.monotonic() < deadline, now
        time.sleep(0.2)


CHANGES: dict[str, Words] = {
    "weight": web(server(REAL[0]), server(REAL[1], weight=0), server(REAL[2])),
    "threshold": web(server(REAL[0]), server(REAL[1], upper_threshold=5), server(REAL[2])),
    "scheduler": web(*map(server, REAL), scheduler="wlc"),
    "persistence": web(*map(server, REAL), persistence_timeout=60),
    "one more": web(*map(server, REAL), server("198.51.100.24")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_edit_ends_no_connection_and_resets_no_counter(
    name: str, apply: Apply, clients: dict[str, Client], ipvsadm: Ipvsadm, messages: list[int]
) -> None:
    await_counters(ipvsadm, {VIRTUAL: 3, **dict.fromkeys(REAL, 1)})
    messages.clear()
    apply([CHANGES[name]], purge="none")
    assert len(messages) == 1
    for address, client in clients.items():
        assert client.ask() == address
    assert active(ipvsadm).items() >= dict.fromkeys(REAL, 1).items()
    assert connections(ipvsadm).items() >= {VIRTUAL: 3, **dict.fromkeys(REAL, 1)}.items()


def test_a_real_server_goes_and_the_others_do_not_notice(
    apply: Apply, clients: dict[str, Client], ipvsadm: Ipvsadm, messages: list[int], connect: Callable[[], Client]
) -> None:
    await_counters(ipvsadm, {VIRTUAL: 3, **dict.fromkeys(REAL, 1)})
    messages.clear()
    first, gone, last = REAL
    apply([web(server(first), server(last))])
    assert len(messages) == 1
    assert (clients[first].ask(), clients[last].ask()) == (first, last)
    assert active(ipvsadm) == {first: 1, last: 1}
    assert gone not in ipvsadm("-Ln")
    new = [connect() for _ in range(2)]
    assert sorted(client.server for client in new) == [first, last]
    await_counters(ipvsadm, {VIRTUAL: 5, first: 2, last: 2})


def test_weight_0_keeps_its_connections_and_gets_no_new_ones(
    apply: Apply, clients: dict[str, Client], connect: Callable[[], Client]
) -> None:
    first, quiet, last = REAL
    apply([web(server(first), server(quiet, weight=0), server(last))])
    assert clients[quiet].ask() == quiet
    assert {connect().server for _ in range(6)} == {first, last}


def test_a_pause_keeps_connections_from_beginning_and_drops_none(
    clients: dict[str, Client], connect: Callable[[], Client]
) -> None:
    """What playbooks/failover.yml does before a switch."""
    vs = pathlib.Path("/proc/sys/net/ipv4/vs")
    (vs / "am_droprate").write_text("1\n")
    (vs / "drop_packet").write_text("3\n")
    with socket.socket() as late:
        late.settimeout(0.5)
        with pytest.raises(TimeoutError):
            late.connect((VIRTUAL, 80))
        assert {address: client.ask() for address, client in clients.items()} == {address: address for address in REAL}
        (vs / "drop_packet").write_text("0\n")
        assert connect().server in REAL
