# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The bytes of a question to a real server as IPVS would send it, wrapped as IPVS wraps, and of what comes back. Pure.

A question is a SYN or an ICMP echo request to the virtual address. Its number comes back in every answer, by which
the answers of several real servers for one virtual address are told apart. Its time to live is 1 hop: only the real
server itself can answer, and none that it might hand the packet to.
"""

from __future__ import annotations

import struct
import typing as t
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from ansible_collections.lvs.ipvs.plugins.module_utils._model import Tunnel, family_of

#: Protocol numbers.
ICMP, IPIP, TCP, UDP, IPV6, GRE, ICMPV6 = 1, 4, 6, 17, 41, 47, 58
_INNER = {"ipv4": (IPIP, 0x0800), "ipv6": (IPV6, 0x86DD)}

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_ECHO = struct.Struct("!BBHHH")
_UDP = struct.Struct("!HHHH")
_GUE = struct.Struct("!BBH")
_GRE = struct.Struct("!HH")
_GRE_CHECKSUM = struct.Struct("!HH")

_DONT_FRAGMENT = 0x4000
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_GRE_HAS_CHECKSUM = 0x8000
#: The largest segment of a link of 1500 bytes: a SYN without it may look odd to a firewall.
_MSS_OPTION, _MSS = struct.Struct("!BBH"), {"ipv4": 1460, "ipv6": 1440}
#: Who wraps sees to it that the packet arrives: the one hop is for what is within.
_HOPS, _OUTER_HOPS = 1, 64

#: By family: echo request, echo reply, and errors, which hold what they are about.
_ECHOES = {"ipv4": (8, 0), "ipv6": (128, 129)}
_ERRORS = {
    "ipv4": {3: "unreachable", 11: "time exceeded"},
    "ipv6": {1: "unreachable", 3: "time exceeded"},
}
#: Codes of "unreachable" that say more.
_CODES = {
    ("ipv4", 2): "protocol unreachable",
    ("ipv4", 3): "port unreachable",
    ("ipv6", 4): "port unreachable",
    **{("ipv4", code): "prohibited" for code in (9, 10, 13)},
    ("ipv6", 1): "prohibited",
}
#: In IPv6, where a protocol that nobody is at home for is told of.
_PARAMETER_PROBLEM, _UNKNOWN_NEXT_HEADER = 4, 1

#: What an answer may be.
ACCEPTED, REFUSED, ECHOED = "accepted", "refused", "echoed"


class Question(t.NamedTuple):
    """What one real server is asked."""

    #: An address of this host, for the answer.
    source: str
    #: The virtual address.
    address: str
    #: The TCP port of the service; None asks for an echo.
    port: int | None
    #: The TCP port here, or the identifier of an echo.
    own_port: int
    #: By what the answer is known: from 0 to 65535.
    number: int


class Answer(t.NamedTuple):
    """What came back."""

    #: ACCEPTED, REFUSED or ECHOED; else the name of an ICMP error.
    kind: str
    #: Of the question; None for an error about what was wrapped, which is known by its destination.
    number: int | None
    destination: str = ""


def question(asked: Question) -> bytes:
    """A SYN, or an echo request, as an IP packet."""
    if asked.port is not None:
        return _segment(asked, asked.port, _first(asked.number), _SYN)
    family = family_of(asked.address)
    request = _ECHO.pack(_ECHOES[family][0], 0, 0, asked.own_port, asked.number)
    if family == "ipv4":
        total = checksum(request)
        return _packet(asked.source, asked.address, ICMP, _with_checksum(request, 2, total), _HOPS)
    total = checksum(_pseudo_header(asked.source, asked.address, ICMPV6, len(request)) + request)
    return _packet(asked.source, asked.address, ICMPV6, _with_checksum(request, 2, total), _HOPS)


def goodbye(asked: Question, port: int) -> bytes:
    """A reset, so that a connection that was accepted does not stay half open."""
    return _segment(asked, port, _first(asked.number) + 1, _RST)


def _first(number: int) -> int:
    """The sequence number of a SYN. The question's number is what an acknowledgement of it has, but for 1, in its upper half."""
    return number << 16


def _segment(asked: Question, port: int, sequence: int, flags: int) -> bytes:
    family = family_of(asked.address)
    options = _MSS_OPTION.pack(2, 4, _MSS[family]) if flags & _SYN else b""
    length = _TCP.size + len(options)
    segment = _TCP.pack(asked.own_port, port, sequence, 0, length // 4 << 4, flags, 0xFFFF, 0, 0) + options
    total = checksum(_pseudo_header(asked.source, asked.address, TCP, length) + segment)
    return _packet(asked.source, asked.address, TCP, _with_checksum(segment, 16, total), _HOPS)


def wrapped(packet: bytes, source: str, server: str, tunnel: Tunnel, own_port: int) -> bytes:
    """A packet as ip_vs_xmit.c sends it into a tunnel; ``own_port`` is the UDP port that GUE comes from."""
    # Whether it may be fragmented the packet itself says, which in IPv6 has no word for it.
    whole = packet[0] >> 4 == 4
    inner_protocol, inner_type = _INNER["ipv4" if whole else "ipv6"]
    if tunnel.type == "gue":
        payload = _GUE.pack(0, inner_protocol, 0) + packet
        length = _UDP.size + len(payload)
        datagram = _UDP.pack(own_port, tunnel.port, length, 0) + payload
        # Remote checksums IPVS uses only where a card is to fill in those within, which here are there already.
        if tunnel.checksum != "none":
            total = checksum(_pseudo_header(source, server, UDP, length) + datagram)
            datagram = _with_checksum(datagram, 6, total or 0xFFFF)
        return _packet(source, server, UDP, datagram, _OUTER_HOPS, whole)
    if tunnel.type == "gre":
        if tunnel.checksum == "none":
            return _packet(source, server, GRE, _GRE.pack(0, inner_type) + packet, _OUTER_HOPS, whole)
        payload = _GRE.pack(_GRE_HAS_CHECKSUM, inner_type) + _GRE_CHECKSUM.pack(0, 0) + packet
        return _packet(source, server, GRE, _with_checksum(payload, 4, checksum(payload)), _OUTER_HOPS, whole)
    return _packet(source, server, inner_protocol, packet, _OUTER_HOPS, whole)


# -- pieces ----------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """The checksum of the Internet protocols (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_checksum(data: bytes, at: int, total: int) -> bytes:
    return data[:at] + struct.pack("!H", total) + data[at + 2 :]


def _packed(address: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)


def _pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    # With a length of 32 bits in place of 16 the sum is the same.
    return _packed(source) + _packed(destination) + struct.pack("!II", length, protocol)


def _packet(source: str, destination: str, protocol: int, payload: bytes, hops: int, whole: bool = True) -> bytes:
    ends = _packed(source), _packed(destination)
    if len(ends[0]) == 16:
        return _IPV6.pack(6 << 28, len(payload), protocol, hops, *ends) + payload
    length = _IPV4.size + len(payload)
    header = _IPV4.pack(0x45, 0, length, 0, _DONT_FRAGMENT if whole else 0, hops, protocol, 0, *ends)
    return _with_checksum(header, 10, checksum(header)) + payload


# -- what comes back -------------------------------------------------------------------------------------


class _Parsed(t.NamedTuple):
    family: str
    protocol: int
    destination: str
    payload: bytes


def _parse(packet: bytes) -> _Parsed | None:
    """An IP packet without options of IPv6; the payload may be cut off, as in an ICMP error."""
    if len(packet) >= _IPV4.size and packet[0] >> 4 == 4:
        start, end = (packet[0] & 0xF) * 4, int.from_bytes(packet[2:4], "big")
        return _Parsed("ipv4", packet[9], inet_ntop(AF_INET, packet[16:20]), packet[start:end])
    if len(packet) >= _IPV6.size and packet[0] >> 4 == 6:
        end = _IPV6.size + int.from_bytes(packet[4:6], "big")
        return _Parsed("ipv6", packet[6], inet_ntop(AF_INET6, packet[24:40]), packet[_IPV6.size : end])
    return None


def answer(packet: bytes, own_port: int) -> Answer | None:
    """What a packet says to the questions that came from ``own_port``; None if it is about something else."""
    parsed = _parse(packet)
    if parsed is None or len(parsed.payload) < _ECHO.size:
        return None
    family, protocol, _destination, payload = parsed
    if protocol == TCP and len(payload) >= _TCP.size:
        _port, port, _sequence, acknowledged, _offset, flags, *_rest = _TCP.unpack_from(payload)
        number, one = acknowledged >> 16, acknowledged & 0xFFFF
        if port != own_port or one != 1 or not flags & _ACK:
            return None
        if flags & _RST:
            return Answer(REFUSED, number)
        return Answer(ACCEPTED, number) if flags & _SYN else None
    if protocol != (ICMP if family == "ipv4" else ICMPV6):
        return None
    kind, code, _sum, identifier, number = _ECHO.unpack_from(payload)
    if kind == _ECHOES[family][1]:
        return Answer(ECHOED, number) if identifier == own_port else None
    about = _parse(payload[_ECHO.size :])
    name = _ERRORS[family].get(kind)
    if name == "unreachable":
        name = _CODES.get((family, code), name)
    elif family == "ipv6" and (kind, code) == (_PARAMETER_PROBLEM, _UNKNOWN_NEXT_HEADER):
        name = "protocol unreachable"
    if about is None or name is None:
        return None
    return _about(about, name, own_port)


def _about(about: _Parsed, name: str, own_port: int) -> Answer | None:
    """An ICMP error: of a question itself the first 8 bytes are there, which hold its number."""
    head = about.payload[:8]
    if len(head) < 8:
        return None
    if about.protocol == TCP:
        port, _port, sequence = struct.unpack("!HHI", head)
        return Answer(name, sequence >> 16) if port == own_port else None
    if about.protocol in (ICMP, ICMPV6):
        *_kind, identifier, number = _ECHO.unpack(head)
        return Answer(name, number) if identifier == own_port else None
    return Answer(name, None, about.destination)


# -- what is heard ---------------------------------------------------------------------------------------

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_BYTE, _LOAD_HALF, _LOAD_HALF_AT, _LOAD_BYTE_AT, _SKIP_HEADER = 0x30, 0x28, 0x48, 0x50, 0xB1
_IF_EQUAL, _RETURN = 0x15, 0x06
_ALL, _NOTHING = 0xFFFF, 0


def hearing(family: str, own_port: int) -> bytes:
    """Instructions for the kernel (classic BPF): of all packets let through only those that may be answers.

    A director has too much traffic to look at all of it here. Offsets are from the IP header.
    """
    if family == "ipv4":
        program = [
            (_LOAD_BYTE, 0, 0, 9),
            (_IF_EQUAL, 1, 0, TCP),
            (_IF_EQUAL, 3, 11, ICMP),
            (_SKIP_HEADER, 0, 0, 0),
            (_LOAD_HALF_AT, 0, 0, 2),
            (_IF_EQUAL, 7, 8, own_port),
            (_SKIP_HEADER, 0, 0, 0),
            (_LOAD_BYTE_AT, 0, 0, 0),
            (_IF_EQUAL, 4, 0, 3),
            (_IF_EQUAL, 3, 0, 11),
            (_IF_EQUAL, 0, 3, 0),
            (_LOAD_HALF_AT, 0, 0, 4),
            (_IF_EQUAL, 0, 1, own_port),
        ]
    else:
        program = [
            (_LOAD_BYTE, 0, 0, 6),
            (_IF_EQUAL, 1, 0, TCP),
            (_IF_EQUAL, 2, 10, ICMPV6),
            (_LOAD_HALF, 0, 0, 42),
            (_IF_EQUAL, 7, 8, own_port),
            (_LOAD_BYTE, 0, 0, 40),
            (_IF_EQUAL, 5, 0, 1),
            (_IF_EQUAL, 4, 0, 3),
            (_IF_EQUAL, 3, 0, _PARAMETER_PROBLEM),
            (_IF_EQUAL, 0, 3, 129),
            (_LOAD_HALF, 0, 0, 44),
            (_IF_EQUAL, 0, 1, own_port),
        ]
    program += [(_RETURN, 0, 0, _ALL), (_RETURN, 0, 0, _NOTHING)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
