# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Asks real servers whether they answer, over the method by which their packets will reach them.

Masquerading is asked by a connection to the real server. For the other methods a packet to the virtual address is
sent the way IPVS sends them: in a frame to the real server, or in a tunnel. The answer comes from the virtual address,
which may be this host's own, so it is taken off the wire: the kernel would drop it.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import selectors
import socket
import struct
import time
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _neighbour as neighbour
from ansible_collections.lvs.ipvs.plugins.module_utils import _segments as segments
from ansible_collections.lvs.ipvs.plugins.module_utils._model import family_of
from ansible_collections.lvs.ipvs.plugins.module_utils._proof import Proof
from ansible_collections.lvs.ipvs.plugins.module_utils._rtnetlink import Route, RouteNetlink, Unreachable

#: How many are asked at the same time: each connection is an open file.
AT_ONCE = 500
#: Packets may be lost, so each is sent this often. Connections the kernel looks after.
SENT = 3

_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_ETHERTYPES = {"ipv4": 0x0800, "ipv6": 0x86DD}
_SO_ATTACH_FILTER = 26
_BUFFER = 1 << 20

#: Why a proof failed; None if there is no way to ask for it from this host.
Outcome = dict[Proof, t.Optional[str]]


def ask(proofs: t.Iterable[Proof], timeout: float) -> Outcome:
    """Those that did not answer, and why. Takes ``timeout`` seconds for each AT_ONCE, if some are silent. Raises OSError."""
    unique = list(dict.fromkeys(proofs))
    failed: Outcome = {}
    for start in range(0, len(unique), AT_ONCE):
        with contextlib.ExitStack() as stack:
            failed.update(_Round(stack, unique[start : start + AT_ONCE], timeout).run())
    return failed


class _Round:
    """Proofs that are asked for together."""

    def __init__(self, stack: contextlib.ExitStack, proofs: t.Sequence[Proof], timeout: float) -> None:
        self.stack = stack
        self.timeout = timeout
        self.selector = stack.enter_context(selectors.DefaultSelector())
        #: Who has not answered yet, with what is known of the reason.
        self.waiting: dict[Proof, str] = {}
        self.failed: Outcome = {}
        self.numbers: dict[int, tuple[Proof, _Way]] = {}
        masqueraded = [proof for proof in proofs if proof.forwarding == "masquerade"]
        others = [proof for proof in proofs if proof.forwarding != "masquerade"]
        if others:
            self._find_ways(others)
        for proof in masqueraded:
            self._connect(proof)

    def run(self) -> Outcome:
        begin = time.monotonic()
        for attempt in range(1, SENT + 1):
            for number, (proof, way) in self.numbers.items():
                if proof in self.waiting:
                    self._send(proof, way, segments.question(way.question(proof, number)))
            until = begin + self.timeout * attempt / SENT
            while self.waiting and (left := until - time.monotonic()) > 0:
                for key, _events in self.selector.select(left):
                    key.data()
        for proof, reason in self.waiting.items():
            self.failed[proof] = f"no answer to {proof} within {self.timeout:g} s{f' ({reason})' if reason else ''}"
        return self.failed

    def _end(self, proof: Proof, reason: str = "") -> None:
        """A proof came to its end: it failed for a reason, or was given."""
        self.waiting.pop(proof, None)
        if reason:
            self.failed[proof] = reason

    # -- masqueraded: a connection -----------------------------------------------------------------------

    def _connect(self, proof: Proof) -> None:
        client = self.stack.enter_context(socket.socket(_FAMILIES[family_of(proof.address)], socket.SOCK_STREAM))
        client.setblocking(False)
        code = client.connect_ex((proof.address, proof.port))
        if code not in (0, errno.EINPROGRESS):
            self.failed[proof] = _words(code)
            return
        self.waiting[proof] = ""

        def ready() -> None:
            self.selector.unregister(client)
            failure = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            client.close()
            self._end(proof, _words(failure) if failure else "")

        self.selector.register(client, selectors.EVENT_WRITE, ready)

    # -- direct and tunnel: packets ----------------------------------------------------------------------

    def _find_ways(self, proofs: t.Sequence[Proof]) -> None:
        """How to reach each of them, and where to hear of them."""
        routes: dict[str, Route | str] = {}
        with RouteNetlink() as netlink:
            host = netlink.read()
            for proof in proofs:
                if proof.server not in routes:
                    try:
                        routes[proof.server] = netlink.route(proof.server)
                    except Unreachable as error:
                        routes[proof.server] = str(error)
        # To a virtual address, which a real server has itself, nothing would come back.
        virtual = {proof.address for proof in proofs}
        own = [
            there
            for there in host.addresses
            if there.source and there.address not in virtual and _is_global(there.address)
        ]
        hardware = self._hardware(proofs, routes)
        ports: dict[str, int] = {}
        senders: dict[str, socket.socket] = {}
        for number, proof in enumerate(proofs):
            route = routes[proof.server]
            if isinstance(route, str):
                self.failed[proof] = route
                continue
            family = family_of(proof.address)
            source = route.source if family == family_of(proof.server) else ""
            if not source:
                # The tunnel is of another family than what goes through it.
                fitting = [there for there in own if there.family == family]
                near = sorted(fitting, key=lambda there: there.interface != route.interface)
                source = near[0].address if near else ""
            if route.local or not source:
                self.failed[proof] = None
                continue
            mac = b""
            if proof.forwarding == "direct":
                found = hardware[route.interface].get(route.gateway or proof.server)
                if found is None:
                    self.failed[proof] = (
                        f"nobody on the link of {route.interface} answers for {route.gateway or proof.server}"
                    )
                    continue
                mac = found
            if family not in ports:
                ports[family] = self._own_port(family)
                self._hear(family, ports[family])
            kind = proof.forwarding if proof.forwarding == "direct" else family_of(proof.server)
            if kind not in senders:
                senders[kind] = self._sender(kind)
            self.waiting[proof] = ""
            self.numbers[number] = (proof, _Way(source, route, ports[family], mac, senders[kind]))

    @staticmethod
    def _hardware(proofs: t.Sequence[Proof], routes: t.Mapping[str, Route | str]) -> dict[str, dict[str, bytes]]:
        """The MAC addresses behind each interface of those that frames are for."""
        asked: dict[str, dict[str, str]] = {}
        for proof in proofs:
            route = routes[proof.server]
            if proof.forwarding == "direct" and not isinstance(route, str) and not route.local:
                asked.setdefault(route.interface, {})[route.gateway or proof.server] = route.source
        found = {}
        for interface, sources in asked.items():
            if neighbour.has_neighbours(interface):
                holders = neighbour.holders(interface, sources, next(iter(sources.values())))
                found[interface] = {address: bytes.fromhex(mac.replace(":", "")) for address, mac in holders.items()}
            else:
                # At the other end of it there is one host.
                found[interface] = dict.fromkeys(sources, b"")
        return found

    def _own_port(self, family: str) -> int:
        """A port that is nobody else's for as long as this round takes."""
        holder = self.stack.enter_context(socket.socket(_FAMILIES[family], socket.SOCK_STREAM))
        holder.bind(("::" if family == "ipv6" else "", 0))
        return t.cast(int, holder.getsockname()[1])

    def _hear(self, family: str, own_port: int) -> None:
        """Look at what comes in, whatever the kernel makes of it."""
        kind = socket.htons(_ETHERTYPES[family])
        packets = self.stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, kind))
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        # What came in before this is in force is read, and is no answer.
        program = segments.hearing(family, own_port)
        memory = array.array("B", program)
        # struct sock_fprog: the number of instructions, and where they are.
        where, length = memory.buffer_info()
        packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", length // 8, where))
        packets.setblocking(False)

        def ready() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._heard(segments.answer(packets.recv(2048), own_port))

        self.selector.register(packets, selectors.EVENT_READ, ready)

    def _sender(self, kind: str) -> socket.socket:
        if kind == "direct":
            return self.stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
        # With this protocol the IP header is ours; the kernel finds the way.
        return self.stack.enter_context(socket.socket(_FAMILIES[kind], socket.SOCK_RAW, socket.IPPROTO_RAW))

    def _send(self, proof: Proof, way: _Way, packet: bytes) -> None:
        try:
            if proof.forwarding == "direct":
                ethertype = _ETHERTYPES[family_of(proof.address)]
                way.sender.sendto(packet, (way.route.interface, ethertype, 0, 0, way.mac))
            else:
                packet = segments.wrapped(packet, way.route.source, proof.server, proof.tunnel, way.own_port)
                way.sender.sendto(packet, (proof.server, 0))
        except OSError as error:
            # A full queue may have room again for the next one.
            if proof in self.waiting:
                self.waiting[proof] = _words(t.cast(int, error.errno))

    def _heard(self, answer: segments.Answer | None) -> None:
        if answer is None:
            return
        if answer.number is None:
            # About a tunnel: none of those that end there are told apart.
            for proof in self.waiting:
                if proof.forwarding == "tunnel" and proof.server == answer.destination:
                    self.waiting[proof] = f"ICMP {answer.kind}"
            return
        if answer.number not in self.numbers:
            return
        proof, way = self.numbers[answer.number]
        if answer.kind == segments.ACCEPTED and proof.port is not None:
            # As often as it says so: the first goodbye may have been lost.
            self._send(proof, way, segments.goodbye(way.question(proof, answer.number), proof.port))
            self._end(proof)
        elif answer.kind == segments.ECHOED and proof.port is None:
            self._end(proof)
        elif answer.kind == segments.REFUSED and proof in self.waiting:
            self._end(proof, _words(errno.ECONNREFUSED))
        elif proof in self.waiting:
            self.waiting[proof] = f"ICMP {answer.kind}"


class _Way(t.NamedTuple):
    """How the packets of one proof go out."""

    source: str
    route: Route
    own_port: int
    mac: bytes
    sender: socket.socket

    def question(self, proof: Proof, number: int) -> segments.Question:
        return segments.Question(self.source, proof.address, proof.port, self.own_port, number)


def _is_global(address: str) -> bool:
    return not address.startswith(("fe80:", "127.")) and address != "::1"


def _words(code: int) -> str:
    return os.strerror(code).lower()
