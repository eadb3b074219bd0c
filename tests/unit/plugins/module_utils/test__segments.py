# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bytes of questions to real servers, against RFC 791, 8200, 9293, 792, 4443, 2784 and ip_vs_xmit.c.

That IPVS sends the like, and that kernels take them, is shown in tests/kernel/test_probe.py.
"""

from __future__ import annotations

import struct

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _segments as segments
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Tunnel
from ansible_collections.lvs.ipvs.plugins.module_utils._segments import Answer, Question

PORT = 40000
SYN = Question("198.51.100.11", "192.0.2.10", 80, PORT, 5)
SYN6 = Question("2001:db8:b::11", "2001:db8:f::10", 443, PORT, 5)
ECHO, ECHO6 = SYN._replace(port=None), SYN6._replace(port=None)

HERE, VIP, SERVER = "c633640b", "c000020a", "c6336415"
HERE6, VIP6, SERVER6 = (
    "20010db8000b00000000000000000011",
    "20010db8000f00000000000000000010",
    "20010db8000b00000000000000000021",
)


def in_bytes(text: str) -> bytes:
    return bytes.fromhex("".join(line.split("#")[0] for line in text.splitlines()))


QUESTIONS = {
    SYN: f"""
        4500 002c 0000 4000   # 44 bytes, not to be fragmented
        01 06 8d83            # 1 hop, TCP
        {HERE} {VIP}
        9c40 0050             # from 40000 to 80
        00050000 00000000     # number 5
        60 02 ffff 0f48 0000  # 24 bytes, SYN
        02 04 05b4            # segments of 1460 bytes
    """,
    SYN6: f"""
        60000000 0018 06 01   # 24 bytes, TCP, 1 hop
        {HERE6} {VIP6}
        9c40 01bb
        00050000 00000000
        60 02 ffff 9e8d 0000
        02 04 05a0            # segments of 1440 bytes
    """,
    ECHO: f"""
        4500 001c 0000 4000
        01 01 8d98            # 1 hop, ICMP
        {HERE} {VIP}
        08 00 5bba 9c40 0005  # echo request 5
    """,
    ECHO6: f"""
        60000000 0008 3a 01
        {HERE6} {VIP6}
        80 00 87ca 9c40 0005
    """,
}


@pytest.mark.parametrize("asked", QUESTIONS, ids=["syn", "syn6", "echo", "echo6"])
def test_questions(asked: Question) -> None:
    assert segments.question(asked).hex() == in_bytes(QUESTIONS[asked]).hex()


def test_a_goodbye_is_a_reset_of_what_the_question_began() -> None:
    assert (
        segments.goodbye(SYN, 80).hex()
        == in_bytes(f"""
        4500 0028 0000 4000 01 06 8d87 {HERE} {VIP}
        9c40 0050 00050001 00000000
        50 04 ffff 2701 0000  # 20 bytes, RST
    """).hex()
    )


WRAPPINGS = [
    (SYN, SERVER, Tunnel(), f"4500 0040 0000 4000 40 04 e632 {HERE} {SERVER}"),
    (SYN6, SERVER6, Tunnel(), f"60000000 0040 29 40 {HERE6} {SERVER6}"),
    (SYN6, SERVER, Tunnel(), f"4500 0054 0000 0000 40 29 25fa {HERE} {SERVER}"),
    (SYN, SERVER6, Tunnel(), f"60000000 002c 04 40 {HERE6} {SERVER6}"),
    (
        SYN,
        SERVER,
        Tunnel("gue", 6080),
        f"""
        4500 004c 0000 4000 40 11 e619 {HERE} {SERVER}
        9c40 17c0 0038 0000   # from 40000 to 6080, 56 bytes, no checksum
        00 04 0000            # GUE of version 0, no options, IPv4
        """,
    ),
    (
        SYN6,
        SERVER6,
        Tunnel("gue", 6080, "csum"),
        f"60000000 004c 11 40 {HERE6} {SERVER6} 9c40 17c0 004c 8977 00 29 0000",
    ),
    (
        SYN,
        SERVER,
        Tunnel("gue", 6080, "csum"),
        f"4500 004c 0000 4000 40 11 e619 {HERE} {SERVER} 9c40 17c0 0038 e359 00 04 0000",
    ),
    (SYN, SERVER, Tunnel("gre"), f"4500 0044 0000 4000 40 2f e603 {HERE} {SERVER} 0000 0800"),
    (SYN6, SERVER6, Tunnel("gre"), f"60000000 0044 2f 40 {HERE6} {SERVER6} 0000 86dd"),
    (SYN, SERVER, Tunnel("gre", 0, "csum"), f"4500 0048 0000 4000 40 2f e5ff {HERE} {SERVER} 8000 0800 6467 0000"),
]


@pytest.mark.parametrize(("asked", "server", "tunnel", "header"), WRAPPINGS)
def test_wrapping(asked: Question, server: str, tunnel: Tunnel, header: str) -> None:
    four = server == SERVER
    packet = segments.question(asked)
    outer = segments.wrapped(
        packet, SYN.source if four else SYN6.source, "198.51.100.21" if four else "2001:db8:b::21", tunnel, PORT
    )
    assert outer.hex() == in_bytes(header).hex() + packet.hex()


def test_a_checksum_adds_up_to_nothing() -> None:
    for data in (b"", b"\x01", b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", bytes(range(255)) * 9):
        total = segments.checksum(data)
        assert segments.checksum(data + bytes(len(data) % 2) + struct.pack("!H", total)) == 0
    # RFC 1071, section 3.
    assert segments.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


# -- what comes back -------------------------------------------------------------------------------------


def packet4(protocol: int, payload: bytes, source: str = VIP, to: str = HERE) -> bytes:
    return in_bytes(f"4500 {20 + len(payload):04x} 0000 4000 40 {protocol:02x} 0000 {source} {to}") + payload


def packet6(protocol: int, payload: bytes, source: str = VIP6, to: str = HERE6) -> bytes:
    return in_bytes(f"60000000 {len(payload):04x} {protocol:02x} 40 {source} {to}") + payload


def segment(flags: int, port: int = PORT, acknowledged: int = 0x50001) -> bytes:
    return struct.pack("!HHIIBBHHH", 80, port, 77, acknowledged, 0x50, flags, 0xFFFF, 0, 0)


def echo(kind: int, identifier: int = PORT) -> bytes:
    return struct.pack("!BBHHH", kind, 0, 0, identifier, 5)


def error(kind: int, code: int, about: bytes) -> bytes:
    return struct.pack("!BBHI", kind, code, 0, 0) + about


ASKED, ASKED6 = segments.question(SYN), segments.question(SYN6)
WRAPPED = segments.wrapped(ASKED, SYN.source, "198.51.100.21", Tunnel("gue", 6080), PORT)
WRAPPED6 = segments.wrapped(ASKED, SYN6.source, "2001:db8:b::21", Tunnel("gre"), PORT)
ANSWERS = {
    "accepted": (packet4(6, segment(0x12)), Answer(segments.ACCEPTED, 5)),
    "padded": (packet4(6, segment(0x12)) + bytes(6), Answer(segments.ACCEPTED, 5)),
    "accepted6": (packet6(6, segment(0x12)), Answer(segments.ACCEPTED, 5)),
    "refused": (packet4(6, segment(0x14)), Answer(segments.REFUSED, 5)),
    "echoed": (packet4(1, echo(0)), Answer(segments.ECHOED, 5)),
    "echoed6": (packet6(58, echo(129)), Answer(segments.ECHOED, 5)),
    "prohibited": (packet4(1, error(3, 13, ASKED[:28])), Answer("prohibited", 5)),
    "passed on": (packet4(1, error(11, 0, ASKED[:28])), Answer("time exceeded", 5)),
    "passed on6": (packet6(58, error(3, 0, ASKED6)), Answer("time exceeded", 5)),
    "no echo": (packet4(1, error(3, 10, segments.question(ECHO)[:28])), Answer("prohibited", 5)),
    "no such port": (packet4(1, error(3, 3, WRAPPED[:28])), Answer("port unreachable", None, "198.51.100.21")),
    "no such tunnel": (packet6(58, error(4, 1, WRAPPED6)), Answer("protocol unreachable", None, "2001:db8:b::21")),
}
NOTHING = {
    "another port": packet4(6, segment(0x12, PORT + 1)),
    "another number": packet4(6, segment(0x12, acknowledged=0x50002)),
    "data": packet4(6, segment(0x10)),
    "a reset of something else": packet4(6, segment(0x04)),
    "another's echo": packet4(1, echo(0, 1)),
    "a request": packet4(1, echo(8)),
    "an error about another port": packet4(1, error(3, 1, segments.question(SYN._replace(own_port=1))[:28])),
    "a redirect": packet4(1, error(5, 1, ASKED[:28])),
    "an error about nothing": packet4(1, error(3, 1, b"")),
    "cut off": packet4(6, segment(0x12))[:30],
    "cut off within": packet4(1, error(3, 1, ASKED[:24])),
    "too short": b"\x45",
    "empty": b"",
    "no IP": bytes(60),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str) -> None:
    packet, answer = ANSWERS[name]
    assert segments.answer(packet, PORT) == answer


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_answer(name: str) -> None:
    assert segments.answer(NOTHING[name], PORT) is None


def heard(packet: bytes) -> bool:
    """Whether the kernel lets a packet through: the few instructions of classic BPF that are used."""
    program = segments.hearing("ipv4" if packet[0] >> 4 == 4 else "ipv6", PORT)
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = index = 0
    try:
        while True:
            code, yes, no, operand = instructions[at]
            at += 1
            if code == 0x06:
                return operand > 0
            if code == 0x15:
                at += yes if accumulator == operand else no
            elif code == 0xB1:
                index = (packet[operand] & 0xF) * 4
            else:
                start = operand + (index if code in (0x48, 0x50) else 0)
                size = 2 if code in (0x28, 0x48) else 1
                (accumulator,) = struct.unpack_from("!H" if size == 2 else "!B", packet, start)
    except struct.error:
        # So does the kernel with what is shorter.
        return False


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_let_through(name: str) -> None:
    assert heard(ANSWERS[name][0])


@pytest.mark.parametrize(
    "packet",
    [
        packet4(6, segment(0x12, PORT + 1)),
        packet4(6, segment(0x12, PORT + 1), source=f"{PORT:04x}0000"),
        packet6(6, segment(0x12, PORT + 1)),
        packet4(1, echo(0, 1)),
        packet6(58, echo(129, 1)),
        packet4(1, echo(8)),
        packet6(58, echo(135)),
        packet4(17, bytes(20)),
        packet6(17, bytes(20)),
    ],
)
def test_the_rest_is_kept_out(packet: bytes) -> None:
    assert not heard(packet)


def test_options_of_ip_are_skipped() -> None:
    packet = packet4(6, segment(0x12))
    longer = b"\x46" + packet[1:2] + struct.pack("!H", len(packet) + 4) + packet[4:20] + bytes(4) + packet[20:]
    assert heard(longer)
    assert segments.answer(longer, PORT) == Answer(segments.ACCEPTED, 5)
