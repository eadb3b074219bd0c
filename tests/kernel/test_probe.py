# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers prove that they answer before they get weight: a director and its servers as namespaces joined by wires.

Server 1 answers, server 2 has all but a program that listens, server 3 has no virtual address, or no address at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import CLONE_NEWNET, ModuleFailed, enter_fresh_namespace, eventually, libc

VIP, VIP6 = "192.0.2.10", "2001:db8:f::10"
GUE_PORT = 6080

Words = dict[str, Any]


def ip(*lines: str) -> None:
    """Commands of ip(8) in the present namespace. To start a program takes long in user-mode Linux: one does all."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), check=True, capture_output=True, text=True)


def address(server: int, family: int) -> str:
    return f"10.0.{server}.2" if family == 4 else f"fd00:{server}::2"


def at_once() -> None:
    """Have IPv6 addresses of this namespace usable as soon as they are there, those of new links too."""
    for name in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")


def carries(link: str) -> bool:
    """Whether the kernel has noticed that a link is up at both ends; until then it drops what is to be sent there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        # netdevice(7): SIOCGIFFLAGS, IFF_RUNNING.
        answer = fcntl.ioctl(asking, 0x8913, struct.pack("16s24x", link.encode()))
    return bool(struct.unpack_from("16xH", answer)[0] & 0x40)


def namespace(stack: contextlib.ExitStack) -> int:
    """The network namespace that this process is in now, as an open file."""
    opened = os.open("/proc/self/ns/net", os.O_RDONLY)
    stack.callback(os.close, opened)
    return opened


class Server:
    """A host on a wire of its own, whose other end is this namespace's interface ``backN``."""

    def __init__(self, number: int, stack: contextlib.ExitStack) -> None:
        self.number = number
        self.stack = stack
        self.director = namespace(stack)
        at_once()
        enter_fresh_namespace()
        at_once()
        self.namespace = namespace(stack)
        libc.setns(self.director, CLONE_NEWNET)
        link = f"back{number}"
        ip(
            f"link add {link} type veth peer name wire netns /proc/{os.getpid()}/fd/{self.namespace}",
            f"link set {link} up",
            f"address add 10.0.{number}.1/24 dev {link}",
            f"address add fd00:{number}::1/64 dev {link} nodad",
        )
        self.ip(
            "link set lo up",
            "link set wire up",
            f"address add 10.0.{number}.2/24 dev wire",
            f"address add fd00:{number}::2/64 dev wire nodad",
            # Answers find their way, as through any router.
            f"route add default via 10.0.{number}.1",
            f"route add ::/0 via fd00:{number}::1",
        )
        # Else it would tell its neighbours, the director too, of the virtual address.
        self.set("net/ipv4/conf/all/arp_ignore", 1)
        self.set("net/ipv4/conf/all/arp_announce", 2)
        # Who does not find a neighbour by the first question asks again a second later.
        eventually(lambda: carries(link))
        with self.inside():
            eventually(lambda: carries("wire"))

    def ip(self, *lines: str) -> None:
        with self.inside():
            ip(*lines)

    def set(self, name: str, value: int) -> None:
        with self.inside():
            Path("/proc/sys", name).write_text(str(value))

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets opened meanwhile are the server's."""
        libc.setns(self.namespace, CLONE_NEWNET)
        try:
            yield
        finally:
            libc.setns(self.director, CLONE_NEWNET)

    def serve(self, vip: str) -> None:
        """Have a virtual address."""
        self.ip(f"address add {vip} dev lo{' nodad' if ':' in vip else ''}")

    def listen(self, port: int = 80) -> None:
        with self.inside():
            server = self.stack.enter_context(
                socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            )
        server.setblocking(False)

    def sniff(self) -> socket.socket:
        """What arrives on the wire, with its Ethernet header."""
        with self.inside():
            return self.stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))

    def connections(self) -> list[str]:
        """Connections that are open, or half open, at the virtual addresses."""
        with self.inside():
            lines = [
                line
                for name in ("tcp", "tcp6")
                for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
            ]
        return [line for line in lines if re.match(r" *\d+: \w+:\w+ \w+:\w+ (01|03) ", line)]


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    # Who asks for IPv6 has the kernel load it.
    socket.socket(socket.AF_INET6).close()
    with contextlib.ExitStack() as stack:
        yield [Server(number, stack) for number in (1, 2, 3)]


def hold_vips() -> None:
    ip(f"address add {VIP} dev lo", f"address add {VIP6} dev lo nodad")


def service(vip: str, outer: int, numbers: tuple[int, ...] = (1, 2, 3), **words: Any) -> Words:
    return {
        "protocol": "tcp",
        "address": vip,
        "port": 80,
        "scheduler": "rr",
        "real_servers": [{"address": address(number, outer)} for number in numbers],
        **words,
    }


def tunnel(kind: str, checksum: str = "none") -> Words:
    port = GUE_PORT if kind == "gue" else 0
    return {"forwarding": "tunnel", "tunnel": {"type": kind, "port": port, "checksum": checksum}}


#: The family of the virtual address, that of the real servers, and the method.
METHODS: dict[str, tuple[int, int, Words]] = {
    "direct-4": (4, 4, {"forwarding": "direct"}),
    "direct-6": (6, 6, {"forwarding": "direct"}),
    "ipip-4in4": (4, 4, tunnel("ipip")),
    "ipip-6in6": (6, 6, tunnel("ipip")),
    "ipip-6in4": (6, 4, tunnel("ipip")),
    "ipip-4in6": (4, 6, tunnel("ipip")),
    "gue-4in4": (4, 4, tunnel("gue")),
    "gue-4in4-csum": (4, 4, tunnel("gue", "csum")),
    "gue-4in4-remcsum": (4, 4, tunnel("gue", "remcsum")),
    "gue-6in4": (6, 4, tunnel("gue", "csum")),
    "gue-6in6": (6, 6, tunnel("gue", "csum")),
    "gre-4in4": (4, 4, tunnel("gre")),
    "gre-4in4-csum": (4, 4, tunnel("gre", "csum")),
    "gre-6in4": (6, 4, tunnel("gre")),
    "gre-6in6": (6, 6, tunnel("gre")),
    "gre-6in6-csum": (6, 6, tunnel("gre", "csum")),
}


def other_end(server: Server, inner: int, outer: int, method: Words) -> None:
    """What takes packets out of a tunnel, by the kernel's own devices."""
    if "tunnel" not in method:
        return
    local = address(server.number, outer)
    kind, checksum = method["tunnel"]["type"], method["tunnel"]["checksum"]
    if kind == "gre":
        device = f"{'gre' if outer == 4 else 'ip6gre'} local {local}{' icsum' if checksum == 'csum' else ''}"
    elif outer == 6:
        device = f"ip6tnl mode any local {local}"
    else:
        device = f"{'ipip' if inner == 4 else 'sit'} local {local}"
    server.ip(f"link add away type {device}", "link set away up")
    if kind == "gue":
        subprocess.run(["modprobe", "fou" if outer == 4 else "fou6"], check=True)
        server.ip(f"fou add port {GUE_PORT} gue{' -6' if outer == 6 else ''} local {local}")


def weights(ipvsadm: Callable[..., str]) -> list[int]:
    """The weights of the three, as ipvsadm tells them."""
    found = {}
    for line in ipvsadm("-Sn").splitlines():
        words = line.split()
        if words[0] == "-a":
            host = words[words.index("-r") + 1]
            found[re.sub(r"\D", "", host.replace("10.0.", "").replace("fd00:", ""))[0]] = int(
                words[words.index("-w") + 1]
            )
    return [found[str(number)] for number in sorted(map(int, found))]


def told(result: Words) -> dict[str, str]:
    return {one["address"]: one["reason"] for one in result["unanswered"]}


@pytest.mark.parametrize("method", METHODS)
def test_who_answers_over_the_method_gets_weight(
    method: str, servers: list[Server], apply: Callable[..., Words], ipvsadm: Callable[..., str]
) -> None:
    inner, outer, words = METHODS[method]
    vip = VIP if inner == 4 else VIP6
    hold_vips()
    for server in servers:
        other_end(server, inner, outer, words)
        if server.number != 3:
            server.serve(vip)
    servers[0].listen()
    wanted = service(vip, outer, **words)
    result = apply([wanted], probe={"timeout": 1})
    reasons = told(result)
    assert reasons.pop(address(2, outer)) == "connection refused"
    assert reasons.pop(address(3, outer)).startswith(f"no answer to a SYN to {'[' * (inner == 6)}{vip}")
    assert reasons == {}
    assert result["unanswered"][0]["service"] == {"protocol": "tcp", "address": vip, "port": 80}
    assert weights(ipvsadm) == [1, 0, 0]
    # Nobody is left with half a connection.
    eventually(lambda: servers[0].connections() == [])
    # The next run asks again, and who has weight is not asked.
    servers[1].listen()
    result = apply([wanted], probe={"timeout": 1})
    assert list(told(result)) == [address(3, outer)]
    assert result["step_count"] == 1
    assert weights(ipvsadm) == [1, 1, 0]
    assert apply([wanted], probe={"timeout": 0.3})["changed"] is False


@pytest.mark.parametrize("family", [4, 6])
def test_a_masqueraded_server_takes_a_connection(
    family: int, servers: list[Server], apply: Callable[..., Words], ipvsadm: Callable[..., str]
) -> None:
    servers[0].listen(8080)
    servers[2].ip("address flush dev wire")
    wanted = service(VIP if family == 4 else VIP6, family)
    wanted["real_servers"] = [{**server, "port": 8080} for server in wanted["real_servers"]]
    began = time.monotonic()
    reasons = told(apply([wanted], probe={"timeout": 1}))
    # The kernel would try for two minutes.
    assert time.monotonic() - began < 30
    assert reasons.pop(address(2, family)) == "connection refused"
    assert reasons.pop(address(3, family)).startswith("no answer to a SYN to ")
    assert (reasons, weights(ipvsadm)) == ({}, [1, 0, 0])


@pytest.mark.parametrize("family", [4, 6])
def test_a_director_without_the_address_hears_the_answer_too(
    family: int, servers: list[Server], apply: Callable[..., Words], ipvsadm: Callable[..., str]
) -> None:
    vip = VIP if family == 4 else VIP6
    servers[0].serve(vip)
    servers[0].listen()
    result = apply([service(vip, family, (1,), forwarding="direct")], probe={"timeout": 1})
    assert (told(result), weights(ipvsadm)) == ({}, [1])
    assert servers[0].connections() == []


def test_who_would_pass_the_question_on_has_not_answered(
    servers: list[Server], apply: Callable[..., Words], ipvsadm: Callable[..., str]
) -> None:
    """Server 1 is a router, without the address, to this host, which has it and listens."""
    hold_vips()
    servers[0].set("net/ipv4/ip_forward", 1)
    with socket.create_server((VIP, 80)):
        result = apply([service(VIP, 4, (1,), forwarding="direct")], probe={"timeout": 0.5})
    assert told(result) == {address(1, 4): f"no answer to a SYN to {VIP}:80 within 0.5 s (ICMP time exceeded)"}
    assert weights(ipvsadm) == [0]


def test_reasons_are_told(servers: list[Server], apply: Callable[..., Words]) -> None:
    servers[1].ip("address flush dev wire")
    gue = service(VIP, 4, (1,), **tunnel("gue"))
    direct = service(VIP, 4, (2,), port=81, forwarding="direct")
    nowhere = service(VIP, 4, (), port=82, forwarding="direct", real_servers=[{"address": "203.0.113.9"}])
    result = apply([gue, direct, nowhere], probe={"timeout": 0.5})
    assert told(result) == {
        address(1, 4): f"no answer to a SYN to {VIP}:80 within 0.5 s (ICMP port unreachable)",
        address(2, 4): f"nobody on the link of back2 answers for {address(2, 4)}",
        "203.0.113.9": "no route: network is unreachable",
    }


@pytest.mark.parametrize("method", ["direct-4", "direct-6", "ipip-4in4", "ipip-6in4", "gre-6in6"])
def test_without_a_tcp_port_the_way_is_proven(
    method: str, servers: list[Server], apply: Callable[..., Words], ipvsadm: Callable[..., str]
) -> None:
    inner, outer, words = METHODS[method]
    vip = VIP if inner == 4 else VIP6
    hold_vips()
    for server in servers:
        other_end(server, inner, outer, words)
    servers[0].serve(vip)
    result = apply([service(vip, outer, (1, 3), protocol="udp", port=53, **words)], probe={"timeout": 0.5})
    assert told(result) == {address(3, outer): "no answer to an ICMP echo request within 0.5 s"}
    assert (result["unprobed"], weights(ipvsadm)) == ([], [1, 0])


def test_what_cannot_be_asked_gets_its_weight(
    servers: list[Server], apply: Callable[..., Words], ipvsadm: Callable[..., str]
) -> None:
    marked = {"fwmark": 7, "protocol": "tcp", "address": VIP, "port": 443}
    servers[0].listen(443)
    by_mark = {"fwmark": 7, "scheduler": "rr", "real_servers": [{"address": address(number, 4)} for number in (1, 2)]}
    udp = service(VIP, 4, (3,), protocol="udp", port=53)
    result = apply([by_mark, udp], probe={"timeout": 1, "marked": [marked]})
    assert told(result) == {address(2, 4): "connection refused"}
    assert result["unprobed"] == [f"real server {address(3, 4)}:53 of service udp {VIP}:53"]
    assert weights(ipvsadm) == [1, 0, 1]
    assert len(apply([{**by_mark, "fwmark": 8}], probe={}, purge="none")["unprobed"]) == 2


@pytest.mark.parametrize("check", [False, True])
def test_fail_changes_nothing(
    check: bool, servers: list[Server], apply: Callable[..., Words], ipvsadm: Callable[..., str]
) -> None:
    servers[0].listen()
    ipvsadm("-A", "-t", f"{VIP}:81", "-s", "rr")
    before = ipvsadm("-Sn")
    with pytest.raises(
        ModuleFailed, match="^probe: 1 real servers do not answer, and nothing is changed: real s"
    ) as caught:
        apply([service(VIP, 4, (1, 2))], probe={"on_failure": "fail", "timeout": 0.5}, check=check)
    assert told(caught.value.result) == {address(2, 4): "connection refused"}
    assert ipvsadm("-Sn") == before


# -- the way IPVS sends it -------------------------------------------------------------------------------


def shape(frame: bytes) -> list[bytes | int]:
    """What of a frame to a real server is the method's: headers without checksums, numbers and ports of the client."""
    parts: list[bytes | int] = [frame[:6], frame[12:14]]
    packet = frame[14:]
    protocol = 4 if packet[0] >> 4 == 4 else 41
    while protocol in (4, 41):
        if protocol == 4:
            protocol, length = packet[9], 20
            parts += [packet[0], packet[6] & 0x40, packet[9], packet[16:20]]
            outer = packet[12:16]
        else:
            protocol, length = packet[6], 40
            parts += [packet[0] >> 4, packet[6], packet[24:40]]
            outer = packet[8:24]
        packet = packet[length:]
        if protocol in (47, 17):
            parts.append(outer)
        if protocol == 47:
            kind, inner = struct.unpack_from("!HH", packet)
            parts += [kind, inner]
            packet = packet[8 if kind & 0x8000 else 4 :]
            protocol = 4 if inner == 0x0800 else 41
        elif protocol == 17:
            parts += [packet[2:4], packet[6:8] != b"\0\0", packet[8:12]]
            protocol, packet = packet[9], packet[12:]
    assert protocol == 6
    return [*parts, packet[2:4], packet[13]]


@pytest.mark.parametrize("method", [name for name in METHODS if "remcsum" not in name])
def test_the_question_is_sent_as_ipvs_sends_it(method: str, servers: list[Server], apply: Callable[..., Words]) -> None:
    """IPVS itself is asked by a client on the director."""
    inner, outer, words = METHODS[method]
    vip = VIP if inner == 4 else VIP6
    hold_vips()
    wire = servers[0].sniff()
    wire.settimeout(5)

    def first() -> list[bytes | int]:
        """The first TCP segment, however it is wrapped; the rest is neighbours asking for each other."""
        while True:
            frame, (_name, _protocol, kind, *_rest) = wire.recvfrom(2048)
            with contextlib.suppress(AssertionError, IndexError, struct.error):
                if kind != socket.PACKET_OUTGOING and frame[12:14] in (b"\x08\x00", b"\x86\xdd"):
                    return shape(frame)

    wanted = service(vip, outer, (1,), **words)
    apply([wanted], probe={"timeout": 0.3})
    asked = first()
    apply([wanted])
    # What was sent again is left out.
    wire.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while wire.recv(2048):
            pass
    wire.settimeout(5)
    with socket.socket(socket.AF_INET if inner == 4 else socket.AF_INET6, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        client.connect_ex((vip, 80))
        sent = first()
    assert asked == sent
