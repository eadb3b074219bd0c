# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a real server answers: its director knows the virtual address, and all others come by its default route.

Director and router are namespaces. Both have the address of a client, so an answer gets to that one which it was sent through.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_real_server import NOTHING, configuration, program

CLIENT = {"ipv4": "203.0.113.9", "ipv6": "2001:db8:c::9"}
SERVER = {"ipv4": "198.51.100.21", "ipv6": "2001:db8:b::21"}
#: What the directors have: udp 5353 is a service that nobody listens for.
SERVED = ["tcp 80", "udp 53", "udp 5353"]
ASKED = [*SERVED, "tcp 22", "udp 123", "icmp 0", "fragments 53"]

#: Asks from the client's address, and tells what came back for each question.
ASK = """
import concurrent.futures, json, socket, struct, sys
client, server, asked = json.loads(sys.argv[1])
family = socket.AF_INET6 if ":" in client else socket.AF_INET
# The types of an echo's request and reply, and where a message begins: of IPv4, the packet's header is read, too.
echo, reply, begins, icmp = (128, 129, 0, 58) if ":" in client else (8, 0, 20, 1)
kinds = {"tcp": (socket.SOCK_STREAM, 0), "icmp": (socket.SOCK_RAW, icmp)}
def ask(question):
    protocol, port = question.split()
    with socket.socket(family, *kinds.get(protocol, (socket.SOCK_DGRAM, 0))) as asking:
        asking.settimeout(0.8)
        asking.bind((client, 0))
        try:
            asking.connect((server, int(port)))
            if protocol == "icmp":
                # The kernel fills in the checksum for IPv6.
                asking.send(struct.pack("!BBHI", echo, 0, 0xffff - (echo << 8), 0))
                # The socket gets all ICMP, and so what another question was refused with.
                while asking.recv(4000)[begins] != reply:
                    pass
                return "answered"
            if protocol != "tcp":
                asking.send(b"?" * (3000 if protocol == "fragments" else 10))
            return "answered" if protocol == "tcp" or asking.recv(4000) else "empty"
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "nothing"
with concurrent.futures.ThreadPoolExecutor() as together:
    print(*together.map(ask, asked))
"""


#: Listens at the addresses, until it is killed.
LISTEN = """
import json, selectors, socket, sys
waiting = selectors.DefaultSelector()
kept = []
for address in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kept += [socket.create_server((address, port), family=family) for port in (22, 80)]
    for port in (53, 123):
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((address, port))
        waiting.register(server, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, dummy in waiting.select():
        data, sender = key.fileobj.recvfrom(4000)
        key.fileobj.sendto(data[:10], sender)
"""


def begin(*command: str) -> subprocess.Popen[bytes]:
    """A process that says when it is ready, and ends with the test."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


#: Link-local addresses, which neighbours are found by, are not tried out for a second first.
AT_ONCE = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"


class Neighbour:
    """A namespace with the client's addresses, and an interface to the real server's."""

    def __init__(self, name: str, *addresses: str) -> None:
        self.process = begin("unshare", "--net", "sh", "-c", f"{AT_ONCE}; echo ready; exec sleep 1000")
        ip(f"link add {name} type veth peer name server netns {self.process.pid}", f"link set {name} up")
        ip(
            "link set lo up",
            "link set server up",
            *(f"address add {address} dev lo" for address in CLIENT.values()),
            *(f"address add {address} dev server" + " nodad" * (":" in address) for address in addresses),
            *(f"route add {address} dev server" for address in SERVER.values()),
            inside=self.process.pid,
        )

    def asks(self, family: str, asked: t.Sequence[str] = ASKED) -> list[str]:
        """What is answered, of the questions asked."""
        into = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]
        # Whom it did not find before it would look for again only a second later.
        for version in ("-4", "-6"):
            subprocess.run([*into, "ip", version, "neigh", "flush", "dev", "server"], check=True)
        question = json.dumps([CLIENT[family], SERVER[family], asked])
        told = subprocess.run(
            [*into, sys.executable, "-c", ASK, question], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()
        # Where nobody listens, to be refused is the answer.
        right = ["refused" if port == "udp 5353" else "answered" for port in asked]
        assert all(answer in (expected, "nothing") for answer, expected in zip(told, right, strict=True)), told
        return [port for port, answer in zip(asked, told, strict=True) if answer != "nothing"]


def ip(*commands: str, inside: int | None = None) -> None:
    into = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    subprocess.run([*into, "ip", "-batch", "-"], input="\n".join([*commands, ""]), text=True, check=True)


@pytest.fixture(name="neighbours")
def _neighbours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Neighbour, Neighbour]]:
    """The director and the router; and what listens on the real server."""
    monkeypatch.setattr(program, "FILE", tmp_path / "state.json")
    subprocess.run(["modprobe", "--quiet", "ipv6"], check=False)
    subprocess.run(AT_ONCE, shell=True, check=True)
    ip("link set lo up")
    director = Neighbour("back", "198.51.100.11/24", "2001:db8:b::11/64")
    router = Neighbour("front", "192.0.2.1/24", "2001:db8:f::1/64", "198.51.100.1/24", "2001:db8:b::1/64")
    yield director, router
    for neighbour in (director, router):
        end(neighbour.process)


@pytest.fixture(name="listening")
def _listening() -> Iterator[t.Callable[[], None]]:
    """Answers, from when the addresses are there."""
    begun: list[subprocess.Popen[bytes]] = []
    yield lambda: begun.append(begin(sys.executable, "-c", LISTEN, json.dumps(list(SERVER.values()))))
    for process in begun:
        end(process)


def on_one_network(_router: Neighbour) -> None:
    """A single interface, by which everybody comes."""
    ip(
        "link add lan type bridge",
        *(f"link set {name} master lan" for name in ("back", "front")),
        "link set lan up",
        *(f"address add {SERVER[family]}/{length} dev lan" + " nodad" * (length > 32) for family, length in LENGTHS),
        "route add default via 198.51.100.1",
        "route add default via 2001:db8:b::1",
    )


def on_two_networks(router: Neighbour) -> None:
    """A network with the directors, which filters reverse paths; the way out is another."""
    ip(
        *(f"address add {SERVER[family]}/{length} dev back" + " nodad" * (length > 32) for family, length in LENGTHS),
        "address add 192.0.2.21/24 dev front",
        "address add 2001:db8:f::21/64 dev front nodad",
        "route add default via 192.0.2.1",
        "route add default via 2001:db8:f::1",
    )
    ip(
        f"route replace {SERVER['ipv4']} via 192.0.2.21",
        f"route replace {SERVER['ipv6']} via 2001:db8:f::21",
        inside=router.process.pid,
    )
    Path("/proc/sys/net/ipv4/conf/back/rp_filter").write_text("1")


LENGTHS = (("ipv4", 24), ("ipv6", 64))


@pytest.mark.parametrize("place", [on_one_network, on_two_networks])
def test_services_are_answered_through_the_director_and_all_else_as_before(
    neighbours: tuple[Neighbour, Neighbour], listening: t.Callable[[], None], place: t.Callable[[Neighbour], None]
) -> None:
    director, router = neighbours
    place(router)
    listening()
    for family in CLIENT:
        assert router.asks(family) == ASKED
        assert director.asks(family) == []
    program.converge(configuration(masquerade=SERVED))
    for family in CLIENT:
        assert director.asks(family) == [*SERVED, "fragments 53"]
        assert router.asks(family) == ["tcp 22", "udp 123", "icmp 0"]
    program.converge(configuration(masquerade=[]))
    for family in CLIENT:
        assert director.asks(family) == ASKED
        assert router.asks(family) == []
    program.converge(NOTHING)
    for family in CLIENT:
        assert router.asks(family) == ASKED


def test_where_there_is_no_other_way_the_director_is_one(
    neighbours: tuple[Neighbour, Neighbour], listening: t.Callable[[], None]
) -> None:
    director, router = neighbours
    on_two_networks(router)
    # As many distributions have it.
    Path("/proc/sys/net/ipv4/conf/back/rp_filter").write_text("2")
    subprocess.run("ip route del default; ip -6 route del default", shell=True, check=True)
    listening()
    program.converge(configuration(masquerade=SERVED))
    for family in CLIENT:
        assert director.asks(family) == ASKED
