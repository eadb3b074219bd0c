# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of IPVS messages, against the kernel's UAPI (linux/ip_vs.h, linux/genetlink.h, linux/netlink.h).

The bytes stand here as text: ``=0050`` is a number in the byte order of the host, ``0050`` are bytes as they
travel, and what follows a ``#`` is a comment. Nothing in them comes from the code under test.
"""

from __future__ import annotations

import random
import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _wire as wire
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    Counters,
    RealServer,
    RealServerKey,
    ServiceKey,
    Statistics,
    SyncDaemon,
    Timeouts,
    Tunnel,
    VirtualService,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import ADD, EDIT, REMOVE, START, STOP, DaemonStep, Step
from tests.unit import tables


def in_bytes(text: str) -> bytes:
    data = b""
    for line in text.splitlines():
        for token in line.split("#")[0].split():
            number = bytes.fromhex(token.removeprefix("="))
            data += number[::-1] if token.startswith("=") and sys.byteorder == "little" else number
    return data


TCP = ServiceKey("ipv4", "tcp", "192.0.2.10", 80)
SCTP6 = ServiceKey("ipv6", "sctp", "2001:db8:f::10", 65535)
MARK = ServiceKey("ipv4", fwmark=7)
MARK6 = ServiceKey("ipv6", fwmark=2**32 - 1)

TCP_KEY = """
    =0006 =0001 =0002 0000                            # AF: AF_INET
    =0006 =0002 =0006 0000                            # PROTOCOL: IPPROTO_TCP
    =0014 =0003 c000020a 00000000 00000000 00000000   # ADDR: the first 4 of 16 bytes
    =0006 =0004 0050 0000                             # PORT, in network order
"""
SCTP6_KEY = """
    =0006 =0001 =000a 0000                            # AF: AF_INET6
    =0006 =0002 =0084 0000                            # PROTOCOL: IPPROTO_SCTP
    =0014 =0003 20010db8 000f0000 00000000 00000010   # ADDR
    =0006 =0004 ffff 0000                             # PORT
"""
MARK_KEY = """
    =0006 =0001 =0002 0000                            # AF
    =0008 =0005 =00000007                             # FWMARK
"""
MARK6_KEY = """
    =0006 =0001 =000a 0000                            # AF
    =0008 =0005 =ffffffff                             # FWMARK
"""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (TCP, f"=0030 =0001 {TCP_KEY}"),
        (SCTP6, f"=0030 =0001 {SCTP6_KEY}"),
        (MARK, f"=0014 =0001 {MARK_KEY}"),
        (MARK6, f"=0014 =0001 {MARK6_KEY}"),
    ],
)
def test_the_key_of_a_service(key, text):
    assert wire.service_key(key) == in_bytes(text)


@pytest.mark.parametrize(
    ("service", "text"),
    [
        (
            VirtualService(TCP),
            f"""
            =0054 =0001 {TCP_KEY}
            =0008 =0006 776c6300             # SCHED_NAME: wlc
            =000c =0007 =00000000 =0000003d  # FLAGS: none of those that are ours
            =0008 =0008 =00000000            # TIMEOUT
            =0008 =0009 ffffffff             # NETMASK: 255.255.255.255
            """,
        ),
        (
            # 24: the mask is in network order.
            VirtualService(TCP, "sh", ("sh-fallback", "sh-port", "flag-3"), 300, 24, "sip"),
            f"""
            =005c =0001 {TCP_KEY}
            =0007 =0006 736800 00            # SCHED_NAME: sh
            =000c =0007 =00000039 =0000003d  # FLAGS: PERSISTENT, SCHED1, SCHED2, SCHED3
            =0008 =0008 =0000012c            # TIMEOUT
            =0008 =0009 ffffff00             # NETMASK
            =0008 =000b 73697000             # PE_NAME: sip
            """,
        ),
        (
            # A mask that is no prefix.
            VirtualService(MARK, "mh", ("mh-port",), 2678400, "255.0.255.0", "", True),
            f"""
            =0038 =0001 {MARK_KEY}
            =0007 =0006 6d6800 00            # SCHED_NAME: mh
            =000c =0007 =00000015 =0000003d  # FLAGS: PERSISTENT, ONEPACKET, SCHED2
            =0008 =0008 =0028de80            # TIMEOUT: 31 days
            =0008 =0009 ff00ff00             # NETMASK
            """,
        ),
        (
            # 64: the prefix length is in the order of the host.
            VirtualService(SCTP6, "rr", ("flag-1",), 60, 64),
            f"""
            =0054 =0001 {SCTP6_KEY}
            =0007 =0006 727200 00            # SCHED_NAME: rr
            =000c =0007 =00000009 =0000003d  # FLAGS: PERSISTENT, SCHED1
            =0008 =0008 =0000003c            # TIMEOUT
            =0008 =0009 =00000040            # NETMASK
            """,
        ),
        (
            VirtualService(MARK6, "fifteen_letters", (), 0, 128, "", True),
            f"""
            =0044 =0001 {MARK6_KEY}
            =0014 =0006 66696674 65656e5f 6c657474 65727300  # SCHED_NAME: 15 letters and the NUL
            =000c =0007 =00000004 =0000003d  # FLAGS: ONEPACKET
            =0008 =0008 =00000000            # TIMEOUT
            =0008 =0009 =00000080            # NETMASK
            """,
        ),
    ],
)
def test_a_service(service, text):
    assert wire.service(service) == in_bytes(text)


R4 = RealServerKey("198.51.100.21", 8080)
R6 = RealServerKey("2001:db8:b::21", 80)
R4_DEST = """
    =0014 =0001 c6336415 00000000 00000000 00000000   # ADDR
    =0006 =0002 1f90 0000                             # PORT, in network order
"""
R6_DEST = """
    =0014 =0001 20010db8 000b0000 00000000 00000021   # ADDR
    =0006 =0002 0050 0000                             # PORT
"""
NO_TUNNEL = """
    =0005 =000d 00 000000                             # TUN_TYPE: IPIP
    =0006 =000e 0000 0000                             # TUN_PORT
    =0006 =000f =0000 0000                            # TUN_FLAGS: NOCSUM
"""


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (
            RealServer(R4),
            f"""
            =0060 =0002 {R4_DEST}
            =0008 =0003 =00000000            # FWD_METHOD: MASQ
            =0008 =0004 =00000001            # WEIGHT
            {NO_TUNNEL}
            =0008 =0005 =00000000            # U_THRESH
            =0008 =0006 =00000000            # L_THRESH
            =0006 =000b =0002 0000           # ADDR_FAMILY: AF_INET
            """,
        ),
        (
            RealServer(R6, 2**31 - 1, "direct", upper_threshold=100, lower_threshold=80),
            f"""
            =0060 =0002 {R6_DEST}
            =0008 =0003 =00000003            # FWD_METHOD: DROUTE
            =0008 =0004 =7fffffff            # WEIGHT
            {NO_TUNNEL}
            =0008 =0005 =00000064            # U_THRESH
            =0008 =0006 =00000050            # L_THRESH
            =0006 =000b =000a 0000           # ADDR_FAMILY: AF_INET6
            """,
        ),
        (
            RealServer(R6, 0, "tunnel", Tunnel("gue", 6080, "remcsum")),
            f"""
            =0060 =0002 {R6_DEST}
            =0008 =0003 =00000002            # FWD_METHOD: TUNNEL
            =0008 =0004 =00000000            # WEIGHT
            =0005 =000d 01 000000            # TUN_TYPE: GUE
            =0006 =000e 17c0 0000            # TUN_PORT, in network order
            =0006 =000f =0002 0000           # TUN_FLAGS: REMCSUM
            =0008 =0005 =00000000            # U_THRESH
            =0008 =0006 =00000000            # L_THRESH
            =0006 =000b =000a 0000           # ADDR_FAMILY
            """,
        ),
        (
            RealServer(R4, 1, "tunnel", Tunnel("gre", 0, "csum")),
            f"""
            =0060 =0002 {R4_DEST}
            =0008 =0003 =00000002            # FWD_METHOD: TUNNEL
            =0008 =0004 =00000001            # WEIGHT
            =0005 =000d 02 000000            # TUN_TYPE: GRE
            =0006 =000e 0000 0000            # TUN_PORT
            =0006 =000f =0001 0000           # TUN_FLAGS: CSUM
            =0008 =0005 =00000000            # U_THRESH
            =0008 =0006 =00000000            # L_THRESH
            =0006 =000b =0002 0000           # ADDR_FAMILY
            """,
        ),
    ],
)
def test_a_real_server(server, text):
    assert wire.real_server(server) == in_bytes(text)


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (RealServer(R4), f"=0028 =0002 {R4_DEST} \n =0006 =000b =0002 0000"),
        (RealServer(R6, 7, "tunnel"), f"=0028 =0002 {R6_DEST} \n =0006 =000b =000a 0000"),
    ],
)
def test_the_key_of_a_real_server(server, text):
    assert wire.real_server_key(server) == in_bytes(text)


@pytest.mark.parametrize(
    ("flags", "body", "text"),
    [
        (
            0,
            b"",
            "=00000014 =001c =0001 =01020304 =00000000 0d 01 0000  # nlmsghdr: length, type, flags, seq, pid; genlmsghdr",
        ),
        (wire.NLM_F_ACK, b"1234", "=00000018 =001c =0005 =01020304 =00000000 0d 01 0000 31323334"),
        (wire.NLM_F_DUMP, b"", "=00000014 =001c =0301 =01020304 =00000000 0d 01 0000"),
    ],
)
def test_a_message(flags, body, text):
    assert wire.message(0x1C, wire.GET_CONFIG, 0x01020304, flags, body) == in_bytes(text)


SERVICE = VirtualService(TCP, "rr")
SERVER = RealServer(R4)


@pytest.mark.parametrize(
    ("step", "command", "body"),
    [
        (Step(ADD, SERVICE), 1, wire.service(SERVICE)),
        (Step(EDIT, SERVICE), 2, wire.service(SERVICE)),
        (Step(REMOVE, SERVICE), 3, wire.service_key(TCP)),
        (Step(ADD, SERVICE, SERVER), 5, wire.service_key(TCP) + wire.real_server(SERVER)),
        (Step(EDIT, SERVICE, SERVER), 6, wire.service_key(TCP) + wire.real_server(SERVER)),
        (Step(REMOVE, SERVICE, SERVER), 7, wire.service_key(TCP) + wire.real_server_key(SERVER)),
    ],
)
def test_each_step_has_its_command_of_the_uapi(step, command, body):
    assert wire.datagram(0x1C, 5, [step]) == wire.message(0x1C, command, 5, wire.NLM_F_ACK, body)


def test_the_steps_of_a_datagram_are_numbered_and_the_last_one_is_answered():
    other, server6 = SERVICE._replace(key=SCTP6, persistence_netmask=128), RealServer(R6)
    steps = [
        *(Step(ADD, SERVICE), Step(ADD, SERVICE, SERVER), Step(ADD, other)),
        *(Step(EDIT, other, server6), Step(REMOVE, SERVICE, SERVER)),
    ]
    assert wire.datagram(0x1C, 5, steps) == (
        wire.message(0x1C, 1, 5, 0, wire.service(SERVICE))
        + wire.message(0x1C, 5, 6, 0, wire.service_key(TCP) + wire.real_server(SERVER))
        + wire.message(0x1C, 1, 7, 0, wire.service(other))
        + wire.message(0x1C, 6, 8, 0, wire.service_key(SCTP6) + wire.real_server(server6))
        + wire.message(0x1C, 7, 9, wire.NLM_F_ACK, wire.service_key(TCP) + wire.real_server_key(SERVER))
    )


# -- reading: what the kernel sends, packed by other means ---------------------------------------


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def u8(kind: int, number: int) -> tuple[int, bytes]:
    return kind, struct.pack("=B", number)


def u16(kind: int, number: int, order: str = "=") -> tuple[int, bytes]:
    return kind, struct.pack(f"{order}H", number)


def u32(kind: int, number: int, order: str = "=") -> tuple[int, bytes]:
    return kind, struct.pack(f"{order}I", number)


def nest(attributes: list[tuple[int, bytes]]) -> bytes:
    return b"".join(attribute(*one) for one in attributes)


def packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address).ljust(16, b"\0")


def statistics(kind: int, padded: bool) -> tuple[int, bytes]:
    """STATS or STATS64, with the PAD (11) that 64 bit numbers get where the architecture wants them aligned."""
    numbers = []
    for number in range(1, 11):
        if number in (4, 5) or kind == 12:
            numbers += [(11, b"")] * padded + [(number, struct.pack("=Q", 2**33 + number))]
        else:
            numbers.append(u32(number, number))
    return kind, nest(numbers)


FAMILY = {"ipv4": 2, "ipv6": 10}
PROTOCOL = {"tcp": 6, "udp": 17, "sctp": 132}
METHOD = {"masquerade": 0, "tunnel": 2, "direct": 3}
FLAG_NAMES = {"sh": ["sh-fallback", "sh-port", "flag-3"], "mh": ["mh-fallback", "mh-port", "flag-3"]}


def kernel_service(service: VirtualService, padded: bool = False) -> list[tuple[int, bytes]]:
    """The attributes of a service in the order of ip_vs_genl_fill_service()."""
    key = service.key
    names = FLAG_NAMES.get(service.scheduler, ["flag-1", "flag-2", "flag-3"])
    # HASHED is always set, and so is a bit of the future.
    flags = 0x2 | 0x8000
    flags |= 0x1 if service.persistence_timeout else 0
    flags |= 0x4 if service.one_packet else 0
    flags |= sum(0x8 << names.index(name) for name in service.scheduler_flags)
    if key.family == "ipv6":
        mask = struct.pack("=I", service.persistence_netmask)
    elif isinstance(service.persistence_netmask, str):
        mask = socket.inet_aton(service.persistence_netmask)
    else:
        mask = ((1 << 32) - (1 << 32 - service.persistence_netmask)).to_bytes(4, "big")
    return [
        u16(1, FAMILY[key.family]),
        *(
            [u32(5, key.fwmark)]
            if key.fwmark is not None
            else [u16(2, PROTOCOL[str(key.protocol)]), (3, packed(str(key.address))), u16(4, key.port or 0, ">")]
        ),
        (6, service.scheduler.encode() + b"\0"),
        *([(11, service.persistence_engine.encode() + b"\0")] if service.persistence_engine else []),
        (7, struct.pack("=II", flags, 2**32 - 1)),
        u32(8, service.persistence_timeout),
        (9, mask),
        statistics(10, padded),
        statistics(12, padded),
    ]


def kernel_dest(server: RealServer, padded: bool = False) -> list[tuple[int, bytes]]:
    """The attributes of a real server in the order of ip_vs_genl_dump_dest()."""
    return [
        (1, packed(server.key.address)),
        u16(2, server.key.port, ">"),
        u32(3, METHOD[server.forwarding]),
        u32(4, server.weight),
        u8(13, ["ipip", "gue", "gre"].index(server.tunnel.type)),
        u16(14, server.tunnel.port, ">"),
        u16(15, ["none", "csum", "remcsum"].index(server.tunnel.checksum)),
        u32(5, server.upper_threshold),
        u32(6, server.lower_threshold),
        u32(7, 101),
        u32(8, 102),
        u32(9, 103),
        u16(11, 10 if ":" in server.key.address else 2),
        statistics(10, padded),
        statistics(12, padded),
    ]


def shaken(attributes: list[tuple[int, bytes]], seed: int) -> list[tuple[int, bytes]]:
    """In another order, with attributes of the future, and the flag of nests set on some."""
    chance = random.Random(seed)
    more = [(kind, chance.randbytes(size)) for kind, size in ((40, 0), (41, 3), (99, 64))]
    mixed = [(kind | chance.choice([0, 0x8000]), payload) for kind, payload in attributes + more]
    chance.shuffle(mixed)
    return mixed


BEFORE, BEHIND = b"another message before ..", b"... and one behind"


def framed(kind: int, attributes: list[tuple[int, bytes]]) -> tuple[bytes, int, int]:
    """A message's attributes somewhere in a datagram: the data and their bounds."""
    payload = attribute(kind, nest(attributes))
    return BEFORE + payload + BEHIND, len(BEFORE), len(BEFORE) + len(payload)


SEEDS = st.integers(0, 2**32)


@given(tables.services(), st.booleans(), SEEDS)
def test_a_service_is_read_as_it_is(service, padded, seed):
    attributes = kernel_service(service, padded)
    assert wire.decode_service(*framed(1, attributes)) == service
    assert wire.decode_service(*framed(1, shaken(attributes, seed))) == service
    # Without the counters of other kernels, and with the address of libnl, which is as short as it may be.
    assert wire.decode_service(*framed(1, attributes[:-2])) == service
    if service.key.family == "ipv4":
        short = [(kind, payload[:4] if kind == 3 else payload) for kind, payload in attributes]
        assert wire.decode_service(*framed(1, short)) == service


@given(tables.services())
def test_a_service_that_is_written_is_read_as_the_same(service):
    data = wire.service(service)
    assert wire.decode_service(data, 0, len(data)) == service


@given(tables.service_keys(), st.data(), st.booleans(), SEEDS)
def test_a_real_server_is_read_as_it_is(key, data, padded, seed):
    server = data.draw(tables.real_servers(key))
    attributes = kernel_dest(server, padded)
    assert wire.decode_real_server(*framed(2, attributes), key.family) == server
    assert wire.decode_real_server(*framed(2, shaken(attributes, seed)), key.family) == server
    written = wire.real_server(server)
    assert wire.decode_real_server(written, 0, len(written), key.family) == server


@given(tables.service_keys(), st.data())
def test_a_real_server_without_a_family_has_that_of_its_service(key, data):
    """Linux before 3.18 knows no other."""
    server = data.draw(tables.real_servers(key).filter(lambda one: (":" in one.key.address) == (key.family == "ipv6")))
    for attributes in (
        [one for one in kernel_dest(server) if one[0] != 11],
        [u16(11, 0) if one[0] == 11 else one for one in kernel_dest(server)],
    ):
        assert wire.decode_real_server(*framed(2, attributes), key.family) == server


def test_a_kernel_without_kinds_of_tunnels_has_ipip():
    server = RealServer(R4, forwarding="tunnel")
    attributes = [one for one in kernel_dest(server) if one[0] not in (13, 14, 15)]
    assert wire.decode_real_server(*framed(2, attributes), "ipv4") == server


def changed(attributes: list[tuple[int, bytes]], *changes: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    return [(kind, dict(changes).get(kind, payload)) for kind, payload in attributes]


@pytest.mark.parametrize(
    ("change", "service"),
    [
        # What others set can be told from what we set, and can be removed.
        ([u16(2, 99)], SERVICE._replace(key=TCP._replace(protocol="99"))),
        ([(7, struct.pack("=II", 0x2 | 0x4, 2**32 - 1))], SERVICE._replace(one_packet=True)),
        # A netmask means nothing without persistence.
        ([(9, bytes(4))], SERVICE),
        ([(9, b"\xff\xff\xff\x00"), u32(8, 300)], SERVICE),
        # With it, the kernel takes even this one.
        (
            [(9, bytes(4)), u32(8, 2**32 - 1), (7, struct.pack("=II", 0x3, 2**32 - 1))],
            SERVICE._replace(persistence_timeout=2**32 - 1, persistence_netmask=0),
        ),
        ([(6, b"none\0")], SERVICE._replace(scheduler="none")),
        ([(6, b"rr\0junk")], SERVICE),
        ([(6, b"r\xe9\0")], SERVICE._replace(scheduler="r\\xe9")),
    ],
)
def test_a_service_that_others_made(change, service):
    assert wire.decode_service(*framed(1, changed(kernel_service(SERVICE), *change))) == service
    if service.scheduler != "r\\xe9":
        data = wire.service(service)
        assert wire.decode_service(data, 0, len(data)) == service


@pytest.mark.parametrize(
    ("change", "server"),
    [
        ([u32(3, 1)], SERVER._replace(forwarding="localnode")),
        ([u32(3, 4)], SERVER._replace(forwarding="bypass")),
        ([u32(3, 7)], SERVER._replace(forwarding="7")),
        # Only the lowest three bits are the method.
        ([u32(3, 0x100 | 3)], SERVER._replace(forwarding="direct")),
        ([u32(5, 2**31)], SERVER._replace(upper_threshold=2**31)),
        # The tunnel of what is not forwarded by one means nothing.
        ([u8(13, 1), u16(14, 6080, ">"), u16(15, 1)], SERVER),
        ([u32(3, 2), u8(13, 9), u16(15, 5)], SERVER._replace(forwarding="tunnel", tunnel=Tunnel("9", 0, "5"))),
    ],
)
def test_a_real_server_that_others_made(change, server):
    assert wire.decode_real_server(*framed(2, changed(kernel_dest(SERVER), *change)), "ipv4") == server
    data = wire.real_server(server)
    assert wire.decode_real_server(data, 0, len(data), "ipv4") == server


# -- the quick ways: what they say is what the attributes say, and from a kernel's own bytes they do say it ------------


@given(tables.services(), st.booleans(), SEEDS)
def test_a_service_as_kernels_tell_of_it_is_read_quickly(service, padded, seed):
    attributes = kernel_service(service, padded)
    quickly = wire._decode_usual_service(*framed(1, attributes))
    assert quickly == (service if service.key.fwmark is None else None)
    # Where a netmask, a name or the counters stand elsewhere, it does not guess.
    assert wire._decode_usual_service(*framed(1, shaken(attributes, seed))) in (None, service)
    written = wire.service(service)
    assert wire._decode_usual_service(written, 0, len(written)) is None
    assert wire._decode_usual_service(*framed(2, attributes)) is None


NETMASK_HEADER = struct.pack("=HH", 8, 9)


@given(
    tables.services().filter(lambda service: service.key.fwmark is None),
    # The bytes that begin a netmask, within what stands before it: the scheduler's name, and the flags with their mask.
    st.sampled_from([(6, NETMASK_HEADER + b"\0"), (7, NETMASK_HEADER + bytes(4)), (7, bytes(4) + NETMASK_HEADER)]),
)
def test_what_looks_like_a_netmask_is_not_taken_for_one(service, looks):
    attributes = changed(kernel_service(service), looks)
    assert wire.decode_service(*framed(1, attributes)) == wire._decode_service(*framed(1, attributes))
    # A timeout's value, and the mask's own header behind it.
    attributes = changed(kernel_service(service), (8, NETMASK_HEADER), (7, struct.pack("=II", 1, 1)))
    assert wire.decode_service(*framed(1, attributes)) == wire._decode_service(*framed(1, attributes))


def near(attributes, *kinds):
    """The same with two attributes in each other's place."""
    places = [next(place for place, (kind, _payload) in enumerate(attributes) if kind == wanted) for wanted in kinds]
    first, second = places
    swapped = list(attributes)
    swapped[first], swapped[second] = attributes[second], attributes[first]
    return swapped


NEARLY_A_SERVICE = {
    "protocol and port": lambda service: near(service, 2, 4),
    "netmask and timeout": lambda service: near(service, 8, 9),
    "counters first": lambda service: near(service, 10, 12),
    "one more before the netmask": lambda service: [*service[:-3], (40, bytes(4)), *service[-3:]],
    "one more behind the netmask": lambda service: [*service[:-2], (40, bytes(4)), *service[-2:]],
    "the engine behind the netmask": lambda service: [*service[:-2], (11, b"sip\0"), *service[-2:]],
    "no timeout": lambda service: [one for one in service if one[0] != 8],
    "no counters": lambda service: service[:-2],
}


@pytest.mark.parametrize("nearly", NEARLY_A_SERVICE.values(), ids=NEARLY_A_SERVICE)
def test_a_service_in_nearly_a_kernels_words_is_read_word_by_word(nearly):
    service = VirtualService(TCP, "sh", ("sh-port",), 300, 24)
    attributes = nearly(kernel_service(service))
    assert wire._decode_usual_service(*framed(1, attributes)) is None
    said_more = nearly is NEARLY_A_SERVICE["the engine behind the netmask"]
    said_less = nearly is NEARLY_A_SERVICE["no timeout"]
    expected = service._replace(
        persistence_engine="sip" if said_more else "", persistence_timeout=0 if said_less else 300
    )
    assert wire.decode_service(*framed(1, attributes)) == expected


def test_a_service_that_is_cut_is_not_read_on_in_the_next_message():
    whole, start, end = framed(1, kernel_service(VirtualService(TCP)))
    twice = whole[start:end] * 2
    for cut in range(4, end - start, 4):
        assert wire._decode_usual_service(twice[cut:], 0, end - start - cut) is None
        assert wire._decode_usual_service(twice, 0, cut) is None


def as_dumped(servers, sequence=7, padded=False):
    """The messages of a dump, whole."""
    messages = []
    for server in servers:
        data, start, end = framed(2, kernel_dest(server, padded))
        messages.append(wire.message(0x1C, wire.NEW_DEST, sequence, wire.NLM_F_MULTI, data[start:end]))
    return messages


def tells_of_all(datagram, sequence, servers):
    return wire.tells_of_all(datagram, sequence, wire.known_by(servers))


@given(tables.service_keys(), st.data(), st.booleans())
def test_real_servers_as_kernels_tell_of_them_are_read_quickly(key, data, padded):
    servers = data.draw(st.lists(tables.real_servers(key), min_size=1, max_size=4, unique_by=lambda server: server.key))
    datagram = b"".join(as_dumped(servers, padded=padded))
    read = wire.decode_usual_real_servers(datagram, 7)
    assert list(read.values()) == servers
    assert all(read[server.key] == server for server in servers)
    # In any order, they are what is wanted; with one more or less, or another in its place, they are not.
    assert tells_of_all(datagram, 7, servers[::-1])
    assert not tells_of_all(datagram, 7, servers[1:])
    more = data.draw(tables.real_servers(key).filter(lambda server: server not in servers))
    assert not tells_of_all(datagram, 7, [*servers, more])
    assert not tells_of_all(datagram, 7, [*servers[1:], more])


NEARLY_A_REAL_SERVER = {
    "address and port": lambda server: near(server, 1, 2),
    "weight and forwarding": lambda server: near(server, 3, 4),
    "thresholds": lambda server: near(server, 5, 6),
    "family and counts": lambda server: near(server, 9, 11),
    "no tunnel": lambda server: [one for one in server if one[0] not in (13, 14, 15)],
    "one more": lambda server: [*server[:2], (40, bytes(4)), *server[2:]],
}


@pytest.mark.parametrize("nearly", NEARLY_A_REAL_SERVER.values(), ids=NEARLY_A_REAL_SERVER)
def test_a_real_server_in_nearly_a_kernels_words_is_read_word_by_word(nearly):
    server = RealServer(R4, 3, upper_threshold=100, lower_threshold=80)
    data, start, end = framed(2, nearly(kernel_dest(server)))
    datagram = wire.message(0x1C, wire.NEW_DEST, 7, wire.NLM_F_MULTI, data[start:end])
    assert wire.decode_usual_real_servers(datagram, 7) == {}
    assert not tells_of_all(datagram, 7, [server])
    assert wire.decode_real_server(data, start, end, "ipv4") == server


def test_a_message_about_something_else_is_not_read_as_real_servers():
    (message,) = as_dumped([SERVER])
    for at, other in ((22, 1), (20, 8), (4, 3)):
        datagram = message[:at] + struct.pack("=H", other) + message[at + 2 :]
        assert (wire.decode_usual_real_servers(datagram, 7) == {}) == (at != 4)
        assert tells_of_all(datagram, 7, [SERVER]) == (at == 4)


@pytest.mark.parametrize(
    "change",
    [[u32(3, 1)], [u32(3, 7)], [u32(3, 0x100 | 3)], [u32(5, 2**31)], [u8(13, 1), u16(14, 6080, ">"), u16(15, 1)]],
)
def test_what_others_made_is_read_quickly_as_it_is(change):
    data, start, end = framed(2, changed(kernel_dest(SERVER), *change))
    datagram = wire.message(0x1C, wire.NEW_DEST, 7, wire.NLM_F_MULTI, data[start:end])
    (read,) = wire.decode_usual_real_servers(datagram, 7).values()
    assert read == wire.decode_real_server(data, start, end, "ipv4")
    # Of two ways to say the same, the quick one knows but its own.
    assert tells_of_all(datagram, 7, [read]) == (change in ([u32(3, 1)], [u32(3, 7)], [u32(5, 2**31)]))


def test_a_datagram_of_anything_else_is_not_read_quickly():
    servers = [SERVER._replace(key=RealServerKey(SERVER.key.address, port)) for port in (80, 81, 82)]
    messages = as_dumped(servers)
    whole = b"".join(messages)
    assert tells_of_all(whole, 7, servers)
    end = wire.message(0x1C, wire.NLMSG_DONE, 7, wire.NLM_F_MULTI, bytes(len(messages[0]) - wire.HEADER_SIZE))
    family = struct.pack("=HHHxx", 6, 11, 2)
    for datagram in (
        b"",
        whole[:-4],
        whole + bytes(4),
        whole.replace(family, struct.pack("=HHHxx", 6, 11, 7)),
        whole.replace(struct.pack("=HH", 8, 4), struct.pack("=HH", 8, 40)),
        b"".join([*messages, end]),
        b"".join([*messages[:2], *as_dumped(servers[2:], sequence=6)]),
    ):
        assert not tells_of_all(datagram, 7, servers)
        assert not tells_of_all(datagram, 7, [])
        assert wire.decode_usual_real_servers(datagram, 7) == {}
    # Of another request.
    assert not tells_of_all(whole, 8, servers)
    assert wire.decode_usual_real_servers(whole, 8) == {}


def test_the_end_of_a_dump():
    def done(sequence: int, code: int, kind: int = 3, more: bytes = b"") -> bytes:
        return struct.pack("=IHHIIi", 20 + len(more), kind, 2, sequence, 99, code) + more

    assert wire.is_done(done(7, 0), 7)
    for datagram in (b"", done(8, 0), done(7, -1), done(7, 0, kind=2), done(7, 0, more=bytes(4)), done(7, 0)[:-4]):
        assert not wire.is_done(datagram, 7)


# -- what is no message --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ([], "of the address family 0"),
        ([u16(1, 1)], "of the address family 1"),
        ([u16(1, 2), u16(2, 6)], "without an address"),
    ],
)
def test_a_service_that_is_not_understood(attributes, message):
    with pytest.raises(wire.MalformedMessage, match=message):
        wire.decode_service(*framed(1, attributes))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [([], "without an address"), ([(1, bytes(16)), u16(11, 7)], "of the address family 7")],
)
def test_a_real_server_that_is_not_understood(attributes, message):
    with pytest.raises(wire.MalformedMessage, match=message):
        wire.decode_real_server(*framed(2, attributes), "ipv4")


@pytest.mark.parametrize("data", [b"", attribute(3, b"")])
def test_an_answer_about_something_else(data):
    with pytest.raises(wire.MalformedMessage, match="without a service"):
        wire.decode_service(data, 0, len(data))
    with pytest.raises(wire.MalformedMessage, match="without a real server"):
        wire.decode_real_server(data, 0, len(data), "ipv4")


@pytest.mark.parametrize("size", [0, 3, 9, 65535])
def test_an_attribute_that_is_longer_or_shorter_than_can_be(size):
    data = struct.pack("=HH", size, 1) + bytes(4)
    with pytest.raises(wire.MalformedMessage, match=f"an attribute of {size} bytes where 8 are left"):
        wire.attributes(data, 0, len(data))


def test_an_attribute_ends_with_its_message():
    data = attribute(1, bytes(8))
    with pytest.raises(wire.MalformedMessage, match="an attribute of 12 bytes where 8 are left"):
        wire.attributes(data, 0, 8)


@given(st.binary(max_size=64))
def test_any_bytes_are_attributes_or_malformed(data):
    try:
        found = wire.attributes(data, 0, len(data))
    except wire.MalformedMessage:
        return
    assert all(0 < start <= end <= len(data) for start, end in found.values())


def test_the_version_and_the_size_of_the_connection_table():
    data = nest([u32(1, 0x010201), u32(2, 4096)])
    assert wire.decode_info(b"before" + data, 6, 6 + len(data)) == ("1.2.1", 4096)
    data = nest([u32(1, 0x0A0B0C)])
    assert wire.decode_info(data, 0, len(data)) == ("10.11.12", 0)


# -- what stands beside the table ----------------------------------------------------------------


def test_timeouts():
    text = """
        =0008 =0004 =00000384            # TIMEOUT_TCP
        =0008 =0005 =00000078            # TIMEOUT_TCP_FIN
        =0008 =0006 =0000012c            # TIMEOUT_UDP
    """
    data = in_bytes(text)
    assert wire.timeouts(Timeouts(900, 120, 300)) == data
    assert wire.decode_timeouts(BEFORE + data, len(BEFORE), len(BEFORE) + len(data)) == Timeouts(900, 120, 300)


def test_a_timeout_that_the_kernel_lacks_is_0():
    data = attribute(4, struct.pack("=I", 900))
    assert wire.decode_timeouts(data, 0, len(data)) == Timeouts(900, 0, 0)


MASTER = SyncDaemon("master", "eth1", 7, 1472, "224.0.0.81", 8848, 1)
BACKUP = SyncDaemon("backup", "fifteen_letters", 255, 65487, "ff02::81", 65535, 255)
MASTER_TEXT = """
    =0038 =0003
    =0008 =0001 =00000001            # STATE: IP_VS_STATE_MASTER
    =0009 =0002 65746831 00000000    # MCAST_IFN: eth1
    =0008 =0003 =00000007            # SYNC_ID
    =0008 =0005 e0000051             # MCAST_GROUP
    =0006 =0007 =2290 0000           # MCAST_PORT, in the order of the host
    =0005 =0008 01 000000            # MCAST_TTL
"""
BACKUP_TEXT = """
    =0054 =0003
    =0008 =0001 =00000002            # STATE: IP_VS_STATE_BACKUP
    =0014 =0002 66696674 65656e5f 6c657474 65727300  # MCAST_IFN: 15 letters and the NUL
    =0008 =0003 =000000ff            # SYNC_ID
    =0014 =0006 ff020000 00000000 00000000 00000081  # MCAST_GROUP6
    =0006 =0007 =ffff 0000           # MCAST_PORT
    =0005 =0008 ff 000000            # MCAST_TTL
    =0006 =0004 =ffcf 0000           # SYNC_MAXLEN
"""


@pytest.mark.parametrize(
    ("step", "command", "text"),
    [
        # Without a length, the kernel chooses it.
        (DaemonStep(START, MASTER._replace(maximum_length=None)), 9, MASTER_TEXT),
        (DaemonStep(STOP, BACKUP), 10, BACKUP_TEXT),
    ],
)
def test_a_sync_daemon(step, command, text):
    assert wire.daemon_request(step) == (command, in_bytes(text))


def test_a_sync_daemon_as_the_kernel_tells_of_it():
    attributes = [
        u32(1, 1),
        (2, b"eth1\0"),
        u32(3, 7),
        u16(4, 1472),
        u16(7, 8848),
        u8(8, 1),
        (5, socket.inet_aton("224.0.0.81")),
    ]
    group6 = (6, packed("ff02::81"))
    assert wire.decode_sync_daemon(*framed(3, attributes)) == MASTER
    assert wire.decode_sync_daemon(*framed(3, shaken(attributes, 1))) == MASTER
    assert wire.decode_sync_daemon(*framed(3, [*attributes[:-1], group6])) == MASTER._replace(
        multicast_group="ff02::81"
    )


@pytest.mark.parametrize("daemon", [MASTER, BACKUP, MASTER._replace(interface="\udcff")])
def test_a_sync_daemon_that_is_written_is_read_as_the_same(daemon):
    data = wire.sync_daemon(daemon)
    assert wire.decode_sync_daemon(data, 0, len(data)) == daemon


@pytest.mark.parametrize("attributes", [[u32(1, 3)], []])
def test_a_sync_daemon_that_is_neither(attributes):
    with pytest.raises(wire.MalformedMessage, match="a sync daemon in the state"):
        wire.decode_sync_daemon(*framed(3, attributes))


def test_a_sync_daemon_message_without_one():
    with pytest.raises(wire.MalformedMessage, match="without a sync daemon"):
        wire.decode_sync_daemon(*framed(1, []))


def test_a_barrier_does_nothing_and_is_answered():
    assert wire.barrier(0x01020304) == in_bytes(
        "=00000010 =0001 =0005 =01020304 =00000000  # NLMSG_NOOP, REQUEST | ACK"
    )


SMALL = Statistics(Counters(1, 2, 3, 2**33 + 4, 2**33 + 5), Counters(6, 7, 8, 9, 10))
LARGE = Statistics(Counters(*(2**33 + n for n in range(1, 6))), Counters(*(2**33 + n for n in range(6, 11))))


@pytest.mark.parametrize("padded", [False, True])
def test_counters(padded):
    service = kernel_service(VirtualService(TCP), padded)
    assert wire.decode_service_statistics(*framed(1, service)) == LARGE
    # Before Linux 4.1 there is no STATS64.
    assert wire.decode_service_statistics(*framed(1, service[:-1])) == SMALL
    assert wire.decode_service_statistics(*framed(1, shaken(service, 2))) == LARGE
    dest = kernel_dest(RealServer(R4), padded)
    assert wire.decode_real_server_statistics(*framed(2, dest)) == (Connections(101, 102, 103), LARGE)
    assert wire.decode_real_server_statistics(*framed(2, dest[:-1])) == (Connections(101, 102, 103), SMALL)
    assert wire.decode_real_server_statistics(*framed(2, shaken(dest, 3))) == (Connections(101, 102, 103), LARGE)
