# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Who on a link answers for an address: by ARP (RFC 5227) and neighbour discovery (RFC 4861), asked for or announced."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import time
import typing as t

#: Questions may be lost, so each is sent this often; in all this many seconds.
QUESTIONS = 3
PATIENCE = 1.0
#: So may announcements: this many, so many seconds apart. The routers' seconds would keep everyone waiting.
ANNOUNCEMENTS = 3
PAUSE = 0.1

_ETH_P_ARP, _ETH_P_IP, _ARPHRD_ETHER = 0x0806, 0x0800, 1
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_LINK_LAYER_ADDRESS, _TARGET_LINK_LAYER_ADDRESS = 1, 2
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
_ALL_NODES = "ff02::1"
#: Of an advertisement: it holds whatever the neighbour has cached.
_OVERRIDE = 0x20000000

#: The packed address that somebody answers for, and their MAC address.
Answer = tuple[bytes, bytes]


def has_neighbours(interface: str) -> bool:
    """Whether hosts on the link of an interface are told apart by MAC addresses."""
    return _link(interface)[0] == _ARPHRD_ETHER


def holders(interface: str, addresses: t.Iterable[str], source: str = "") -> dict[str, str]:
    """The MAC addresses of those that answer for an address; this host itself does not. Raises OSError.

    ``source`` is an IPv4 address of this host, for those who answer only to neighbours of their network; who hears
    it may remember it. Without, they learn nothing that might be wrong.
    """
    wanted = {socket.inet_pton(_family(address), address): address for address in addresses}
    found: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        askers = _askers(stack, interface, wanted.values())
        for asker in askers:
            if source and asker.family == _family(source):
                asker.source = socket.inet_pton(asker.family, source)
        ready = stack.enter_context(selectors.DefaultSelector())
        for asker in askers:
            ready.register(asker.socket, selectors.EVENT_READ, asker)
        begin = time.monotonic()
        for question in range(1, QUESTIONS + 1):
            for asker in askers:
                asker.ask()
            until = begin + PATIENCE * question / QUESTIONS
            while len(found) < len(wanted) and (left := until - time.monotonic()) > 0:
                for key, _events in ready.select(left):
                    answer = key.data.hear()
                    if answer and answer[0] in wanted:
                        found[wanted[answer[0]]] = answer[1].hex(":")
    return found


def announce(interface: str, addresses: t.Iterable[str]) -> None:
    """Have the neighbours that know addresses by another MAC address know them by that of this interface. Raises OSError."""
    with contextlib.ExitStack() as stack:
        askers = [asker for asker in _askers(stack, interface, addresses) if asker.addresses]
        for announcement in range(ANNOUNCEMENTS if askers else 0):
            if announcement:
                time.sleep(PAUSE)
            for asker in askers:
                asker.announce()


def _askers(stack: contextlib.ExitStack, interface: str, addresses: t.Iterable[str]) -> list[_Asker]:
    """One for each family of the addresses."""
    askers: list[_Asker] = []
    packed = [(_family(address), socket.inet_pton(_family(address), address)) for address in addresses]
    for kind in t.cast("tuple[type[_Asker], ...]", (_Arp, _Discovery)):
        mine = [address for family, address in packed if family == kind.family]
        if mine:
            asker = kind(interface, mine)
            stack.callback(asker.socket.close)
            askers.append(asker)
    return askers


def _link(interface: str) -> tuple[int, bytes]:
    """The kind of a link, and the interface's address on it."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as packets:
        packets.bind((interface, 0))
        _name, _protocol, _packet, hardware, mac = packets.getsockname()
    return hardware, mac


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class _Asker:
    """One way to ask a link, and to tell it."""

    family: int
    socket: socket.socket
    #: Of ARP; a neighbour solicitation has the kernel's choice.
    source: bytes = bytes(4)

    def __init__(self, interface: str, addresses: t.Sequence[bytes]) -> None:
        self.interface = interface
        self.addresses = addresses
        hardware, self.mac = _link(interface)
        if hardware != _ARPHRD_ETHER:
            # Such as lo: there is nobody to ask.
            self.addresses = ()

    def ask(self) -> None:
        raise NotImplementedError

    def announce(self) -> None:
        raise NotImplementedError

    def hear(self) -> Answer | None:
        raise NotImplementedError


class _Arp(_Asker):
    family = socket.AF_INET

    def __init__(self, interface: str, addresses: t.Sequence[bytes]) -> None:
        super().__init__(interface, addresses)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ARP))
        self.socket.bind((interface, _ETH_P_ARP))

    def ask(self) -> None:
        for address in self.addresses:
            self._send(self.source, address)

    def announce(self) -> None:
        for address in self.addresses:
            self._send(address, address)

    def _send(self, source: bytes, target: bytes) -> None:
        """A question of all on the link."""
        question = _ARP.pack(_ARPHRD_ETHER, _ETH_P_IP, 6, 4, 1, self.mac, source, bytes(6), target)
        self.socket.sendto(question, (self.interface, _ETH_P_ARP, 0, 0, b"\xff" * 6))

    def hear(self) -> Answer | None:
        data = self.socket.recv(2048)
        if len(data) < _ARP.size:
            return None
        *_kinds, mac, address, _mac, _address = _ARP.unpack_from(data)
        return None if mac == self.mac else (address, mac)


class _Discovery(_Asker):
    family = socket.AF_INET6

    def __init__(self, interface: str, addresses: t.Sequence[bytes]) -> None:
        super().__init__(interface, addresses)
        self.index = socket.if_nametoindex(interface)
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        # Neighbours discard what a router may have passed on.
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)

    def ask(self) -> None:
        for address in self.addresses:
            group = socket.inet_ntop(socket.AF_INET6, _SOLICITED_NODE + address[-3:])
            # Linux answers only whose MAC address it is told.
            self._send(_SOLICITATION, 0, address, _SOURCE_LINK_LAYER_ADDRESS, group)

    def announce(self) -> None:
        for address in self.addresses:
            self._send(_ADVERTISEMENT, _OVERRIDE, address, _TARGET_LINK_LAYER_ADDRESS, _ALL_NODES)

    def _send(self, kind: int, flags: int, address: bytes, option: int, group: str) -> None:
        # The kernel puts in the checksum.
        message = struct.pack("!BBHI16sBB6s", kind, 0, 0, flags, address, option, 1, self.mac)
        try:
            self.socket.sendto(message, (group, 0, 0, self.index))
        except OSError as error:
            # An interface without an IPv6 address of its own can ask nobody.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.ENETUNREACH):
                raise

    def hear(self) -> Answer | None:
        data, sender = self.socket.recvfrom(2048)
        if len(data) < 24 or data[0] != _ADVERTISEMENT or (sender[3] and sender[3] != self.index):
            return None
        mac = data[26:32] if data[24:26] == bytes((_TARGET_LINK_LAYER_ADDRESS, 1)) else b""
        return data[8:24], mac
