# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Model <-> the bytes of IPVS generic netlink messages. Pure.

Source: include/uapi/linux/ip_vs.h and net/netfilter/ipvs/ip_vs_ctl.c (policies, fill and parse).
Numbers are in host byte order, except ports, the GUE port and IPv4 addresses and masks, which are in
network order. pyroute2's own IPVS classes differ from the kernel in some of these, so they are not used.
"""

from __future__ import annotations

import functools
import struct
import typing as t
from socket import AF_INET, AF_INET6, htons, inet_ntop, inet_pton

from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    FULL_PREFIX,
    IPIP,
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
    dotted_netmask,
    family_of,
    netmask_of,
    scheduler_flag_names,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import ADD, EDIT, REMOVE, START, STOP, DaemonStep, Step

GENL_NAME = "IPVS"
GENL_VERSION = 1

# Netlink (linux/netlink.h)
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x2, 0x4, 0x300
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 0x1, 0x2, 0x3
NLA_TYPE_MASK = 0x3FFF

# Commands (enum IPVS_CMD_*)
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE = 1, 2, 3, 4
NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = 5, 6, 7, 8
NEW_DAEMON, DEL_DAEMON, GET_DAEMON = 9, 10, 11
SET_CONFIG, GET_CONFIG, GET_INFO, ZERO = 12, 13, 15, 16

# Top level attributes (enum IPVS_CMD_ATTR_*)
ATTR_SERVICE, ATTR_DEST, ATTR_DAEMON = 1, 2, 3
ATTR_TIMEOUT_TCP, ATTR_TIMEOUT_TCP_FIN, ATTR_TIMEOUT_UDP = 4, 5, 6
# Of the answer to GET_INFO (enum IPVS_INFO_ATTR_*)
INFO_VERSION, INFO_CONN_TAB_SIZE = 1, 2

# Service attributes (enum IPVS_SVC_ATTR_*)
SVC_AF, SVC_PROTOCOL, SVC_ADDR, SVC_PORT, SVC_FWMARK = 1, 2, 3, 4, 5
SVC_SCHED_NAME, SVC_FLAGS, SVC_TIMEOUT, SVC_NETMASK, SVC_PE_NAME = 6, 7, 8, 9, 11
SVC_STATS, SVC_STATS64 = 10, 12

# Real server attributes (enum IPVS_DEST_ATTR_*)
DEST_ADDR, DEST_PORT, DEST_FWD_METHOD, DEST_WEIGHT, DEST_U_THRESH, DEST_L_THRESH = 1, 2, 3, 4, 5, 6
DEST_ACTIVE_CONNS, DEST_INACT_CONNS, DEST_PERSIST_CONNS, DEST_STATS = 7, 8, 9, 10
DEST_ADDR_FAMILY, DEST_STATS64, DEST_TUN_TYPE, DEST_TUN_PORT, DEST_TUN_FLAGS = 11, 12, 13, 14, 15

# Attributes of counters (enum IPVS_STATS_ATTR_*): connections, packets in and out, bytes in and out, since
# the last zeroing (1 to 5) and per second (6 to 10). Of IPVS_DEST_ATTR_STATS they have 32 bits, some 64.
STATS_COUNTERS, STATS_RATES = range(1, 6), range(6, 11)

# Sync daemon attributes (enum IPVS_DAEMON_ATTR_*)
DAEMON_STATE, DAEMON_MCAST_IFN, DAEMON_SYNC_ID, DAEMON_SYNC_MAXLEN = 1, 2, 3, 4
DAEMON_MCAST_GROUP, DAEMON_MCAST_GROUP6, DAEMON_MCAST_PORT, DAEMON_MCAST_TTL = 5, 6, 7, 8

# Flags of a service (IP_VS_SVC_F_*). The kernel sets HASHED (2) by itself.
PERSISTENT, HASHED, ONEPACKET = 0x1, 0x2, 0x4
SCHEDULER_BITS = (0x8, 0x10, 0x20)
#: The flags that are ours to set; the kernel leaves the others as they are.
FLAGS_MASK = PERSISTENT | ONEPACKET | SCHEDULER_BITS[0] | SCHEDULER_BITS[1] | SCHEDULER_BITS[2]

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}
FAMILY_NUMBERS = {"ipv4": AF_INET, "ipv6": AF_INET6}
FAMILY_NAMES: dict[int, str] = {AF_INET: "ipv4", AF_INET6: "ipv6"}
#: IP_VS_CONN_F_FWD_MASK and the methods under it. ipvsadm(8) sets the first three, the kernel stores any.
FORWARDING_NUMBERS = {"masquerade": 0, "tunnel": 2, "direct": 3, "localnode": 1, "bypass": 4}
FORWARDING_NAMES = {number: name for name, number in FORWARDING_NUMBERS.items()}
TUNNEL_NUMBERS = {"ipip": 0, "gue": 1, "gre": 2}
TUNNEL_NAMES = {number: name for name, number in TUNNEL_NUMBERS.items()}
CHECKSUM_NUMBERS = {"none": 0, "csum": 1, "remcsum": 2}
CHECKSUM_NAMES = {number: name for name, number in CHECKSUM_NUMBERS.items()}
#: IP_VS_STATE_MASTER and IP_VS_STATE_BACKUP.
ROLE_NUMBERS = {"master": 1, "backup": 2}
ROLE_NAMES = {number: name for name, number in ROLE_NUMBERS.items()}

#: struct nlmsghdr (length, type, flags, sequence, port id) and struct genlmsghdr (command, version, reserved).
_HEADER = struct.Struct("=IHHIIBBH")
HEADER_SIZE = _HEADER.size
NLMSG_HEADER = struct.Struct("=IHHII")
#: The end of a dump, with an error number.
_DONE = struct.Struct("=IHHIIi")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")

#: What names a service that has no mark, in the order in which the kernel dumps it: AF, PROTOCOL, ADDR, PORT, each
#: with its attribute header.
_SVC_KEY = struct.Struct("=4sHxx 4sHxx 4s16s 4sHxx")
_SVC_KEY_HEADERS = tuple(
    _ATTRIBUTE.pack(*header) for header in ((6, SVC_AF), (6, SVC_PROTOCOL), (20, SVC_ADDR), (6, SVC_PORT))
)
#: The last of what configures a service: its counters come behind it.
_SVC_NETMASK = _ATTRIBUTE.pack(8, SVC_NETMASK)

#: What configures a real server, in the order in which the kernel dumps it: ADDR, and then PORT, FWD_METHOD,
#: WEIGHT, TUN_TYPE, TUN_PORT, TUN_FLAGS, U_THRESH, L_THRESH, each with its attribute header.
_DEST_ADDR = _ATTRIBUTE.pack(20, DEST_ADDR)
_DEST_SETTINGS = struct.Struct("=4sHxx 4sI 4sI 4sBxxx 4sHxx 4sHxx 4sI 4sI")
_DEST_SETTINGS_HEADERS = tuple(
    _ATTRIBUTE.pack(*header)
    for header in (
        *((6, DEST_PORT), (8, DEST_FWD_METHOD), (8, DEST_WEIGHT), (5, DEST_TUN_TYPE)),
        *((6, DEST_TUN_PORT), (6, DEST_TUN_FLAGS), (8, DEST_U_THRESH), (8, DEST_L_THRESH)),
    )
)
#: Behind these the kernel puts ACTIVE_CONNS, INACT_CONNS and PERSIST_CONNS; then comes the family, and the counters.
_DEST_COUNTS_SIZE = 24
_DEST_FAMILIES = {
    name: _ATTRIBUTE.pack(6, DEST_ADDR_FAMILY) + struct.pack("=Hxx", number) for name, number in FAMILY_NUMBERS.items()
}


class MalformedMessage(Exception):
    """The kernel sent what this code does not understand."""


# -- encoding ----------------------------------------------------------------------------------------


def message(family_id: int, command: int, sequence: int, flags: int = 0, body: bytes = b"") -> bytes:
    """A whole request."""
    return (
        _HEADER.pack(HEADER_SIZE + len(body), family_id, NLM_F_REQUEST | flags, sequence, 0, command, GENL_VERSION, 0)
        + body
    )


def barrier(sequence: int) -> bytes:
    """A request that does nothing and is answered: what was sent before it has been worked through by then."""
    return NLMSG_HEADER.pack(NLMSG_HEADER.size, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, sequence, 0)


def _attribute(kind: int, payload: bytes) -> bytes:
    size = 4 + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + bytes(-size % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode("ascii") + b"\0")


_NO_MORE = bytes(12)


def _packed(address: str) -> bytes:
    """16 bytes, as union nf_inet_addr: an IPv4 address has the first four."""
    if ":" in address:
        return inet_pton(AF_INET6, address)
    return inet_pton(AF_INET, address) + _NO_MORE


def _number_of(word: str, numbers: dict[str, int]) -> int:
    """The number that a word stands for. One that we have no word for, as others may have set, is its own digits."""
    number = numbers.get(word)
    return int(word) if number is None else number


def _key_attributes(key: ServiceKey) -> bytes:
    family = FAMILY_NUMBERS[key.family]
    if key.fwmark is not None:
        return _attribute(SVC_AF, struct.pack("=H", family)) + _attribute(SVC_FWMARK, _U32.pack(key.fwmark))
    protocol = _number_of(t.cast(str, key.protocol), PROTOCOL_NUMBERS)
    address, port = _packed(t.cast(str, key.address)), htons(t.cast(int, key.port))
    of_family, of_protocol, of_address, of_port = _SVC_KEY_HEADERS
    return _SVC_KEY.pack(of_family, family, of_protocol, protocol, of_address, address, of_port, port)


def service_key(key: ServiceKey) -> bytes:
    """The body that names a service; each of its real servers has it too."""
    return _attribute(ATTR_SERVICE, _key_attributes(key))


def _netmask(service: VirtualService) -> bytes:
    mask = service.persistence_netmask
    if service.key.family == "ipv6":
        return struct.pack("=I", mask)
    return inet_pton(AF_INET, dotted_netmask(mask))


def service(service: VirtualService) -> bytes:
    """The body that names and configures a service: an edit replaces all of it."""
    flags = PERSISTENT if service.persistence_timeout else 0
    if service.one_packet:
        flags |= ONEPACKET
    names = scheduler_flag_names(service.scheduler)
    for name in service.scheduler_flags:
        flags |= SCHEDULER_BITS[names.index(name)]
    attributes = (
        _key_attributes(service.key)
        + _text(SVC_SCHED_NAME, service.scheduler)
        + _attribute(SVC_FLAGS, struct.pack("=II", flags, FLAGS_MASK))
        + _attribute(SVC_TIMEOUT, _U32.pack(service.persistence_timeout))
        + _attribute(SVC_NETMASK, _netmask(service))
    )
    if service.persistence_engine:
        attributes += _text(SVC_PE_NAME, service.persistence_engine)
    return _attribute(ATTR_SERVICE, attributes)


def real_server(server: RealServer) -> bytes:
    """The attribute that names and configures a real server: an edit replaces all of it."""
    return _DEST_HEAD + _dest_config(server)


def _dest_config(server: RealServer) -> bytes:
    """All of it behind the header of the address, as the kernel dumps it but for the counts that it puts before the family."""
    (address, port), weight, forwarding, tunnel, upper, lower = server
    if ":" in address:
        return inet_pton(AF_INET6, address) + _dest_settings("ipv6", port, weight, forwarding, tunnel, upper, lower)
    return inet_pton(AF_INET, address) + _dest_settings("ipv4", port, weight, forwarding, tunnel, upper, lower)


@functools.lru_cache(maxsize=1000)
def _dest_settings(
    family: str, port: int, weight: int, forwarding: str, tunnel: Tunnel, upper: int, lower: int
) -> bytes:
    """What many real servers have in common: all behind the address."""
    values = (
        htons(port),
        _number_of(forwarding, FORWARDING_NUMBERS),
        weight,
        _number_of(tunnel.type, TUNNEL_NUMBERS),
        htons(tunnel.port),
        _number_of(tunnel.checksum, CHECKSUM_NUMBERS),
        upper,
        lower,
    )
    rest = b"" if family == "ipv6" else _NO_MORE
    settings = _DEST_SETTINGS.pack(*(word for pair in zip(_DEST_SETTINGS_HEADERS, values) for word in pair))
    return rest + settings + _DEST_FAMILIES[family]


#: Of the attribute of a real server, all before its address.
_DEST_HEAD = _ATTRIBUTE.pack(4 + 20 + _DEST_SETTINGS.size + 8, ATTR_DEST) + _DEST_ADDR


def real_server_key(server: RealServer) -> bytes:
    """The attribute that names a real server."""
    address, port = server.key
    return _attribute(
        ATTR_DEST,
        _attribute(DEST_ADDR, _packed(address))
        + _attribute(DEST_PORT, struct.pack(">H", port))
        + _DEST_FAMILIES[family_of(address)],
    )


_SERVICE_COMMANDS = {ADD: NEW_SERVICE, EDIT: SET_SERVICE, REMOVE: DEL_SERVICE}
_DEST_COMMANDS = {ADD: NEW_DEST, EDIT: SET_DEST, REMOVE: DEL_DEST}


def datagram(family_id: int, sequence: int, steps: t.Sequence[Step]) -> bytes:
    """The messages that carry out steps, numbered from ``sequence`` on; the last one is to be acknowledged."""
    parts = []
    last = sequence + len(steps) - 1
    known: VirtualService | None = None
    name = b""
    for action, owner, server in steps:
        # Most steps are about the same service as the one before.
        if owner is not known:
            known, name = owner, service_key(owner.key)
        if server is None:
            command = _SERVICE_COMMANDS[action]
            body = name if action == REMOVE else service(owner)
        else:
            command = _DEST_COMMANDS[action]
            body = name + (real_server_key(server) if action == REMOVE else real_server(server))
        flags = NLM_F_REQUEST if sequence != last else NLM_F_REQUEST | NLM_F_ACK
        parts.append(_HEADER.pack(HEADER_SIZE + len(body), family_id, flags, sequence, 0, command, GENL_VERSION, 0))
        parts.append(body)
        sequence += 1
    return b"".join(parts)


def timeouts(timeouts: Timeouts) -> bytes:
    """The body that sets the timeouts; to the kernel, 0 means to leave one."""
    kinds = (ATTR_TIMEOUT_TCP, ATTR_TIMEOUT_TCP_FIN, ATTR_TIMEOUT_UDP)
    return b"".join(_attribute(kind, _U32.pack(seconds)) for kind, seconds in zip(kinds, timeouts))


_DAEMON_COMMANDS = {START: NEW_DAEMON, STOP: DEL_DAEMON}


def daemon_request(step: DaemonStep) -> tuple[int, bytes]:
    """The command and the body of the message that carries out a step."""
    return _DAEMON_COMMANDS[step.action], sync_daemon(step.daemon)


def sync_daemon(daemon: SyncDaemon) -> bytes:
    """The body that names and configures a sync daemon. Its port, unlike others, is in host order."""
    group = daemon.multicast_group
    attributes = (
        _attribute(DAEMON_STATE, _U32.pack(ROLE_NUMBERS[daemon.role]))
        # What the kernel says of names that are not UTF-8, is said back to it.
        + _attribute(DAEMON_MCAST_IFN, daemon.interface.encode("utf-8", "surrogateescape") + b"\0")
        + _attribute(DAEMON_SYNC_ID, _U32.pack(daemon.id))
        + (
            _attribute(DAEMON_MCAST_GROUP6, inet_pton(AF_INET6, group))
            if ":" in group
            else _attribute(DAEMON_MCAST_GROUP, inet_pton(AF_INET, group))
        )
        + _attribute(DAEMON_MCAST_PORT, struct.pack("=H", daemon.multicast_port))
        + _attribute(DAEMON_MCAST_TTL, struct.pack("=B", daemon.multicast_ttl))
    )
    if daemon.maximum_length is not None:
        attributes += _attribute(DAEMON_SYNC_MAXLEN, struct.pack("=H", daemon.maximum_length))
    return _attribute(ATTR_DAEMON, attributes)


# -- decoding ----------------------------------------------------------------------------------------


def is_done(datagram: bytes, sequence: int) -> bool:
    """Whether a datagram is but the end of the answer to this request, without an error."""
    if len(datagram) != _DONE.size:
        return False
    _size, kind, _flags, number, _port, code = _DONE.unpack(datagram)
    return (kind, number, code) == (NLMSG_DONE, sequence, 0)


#: The bounds of attributes, by their kind.
Attributes = dict[int, tuple[int, int]]


def attributes(data: bytes, start: int, end: int) -> Attributes:
    """The bounds of the payload of each attribute between two offsets. Unknown ones are there as well."""
    found = {}
    while start + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if size < 4 or start + size > end:
            raise MalformedMessage(f"an attribute of {size} bytes where {end - start} are left")
        found[kind & NLA_TYPE_MASK] = (start + 4, start + size)
        start += (size + 3) & ~3
    return found


def _number(data: bytes, bounds: tuple[int, int] | None, big_endian: bool = False) -> int:
    """An unsigned integer of any width; an absent one is 0, as it is to the kernel."""
    if bounds is None:
        return 0
    return int.from_bytes(data[slice(*bounds)], "big" if big_endian else _HOST_ORDER)


_HOST_ORDER: t.Literal["little", "big"] = "little" if htons(1) != 1 else "big"


def _string(data: bytes, bounds: tuple[int, int] | None) -> str:
    if bounds is None:
        return ""
    return data[slice(*bounds)].split(b"\0", 1)[0].decode("ascii", "backslashreplace")


def _address(data: bytes, bounds: tuple[int, int] | None, family: int) -> str:
    if bounds is None:
        raise MalformedMessage("an entry without an address")
    if family == AF_INET:
        return inet_ntop(AF_INET, data[bounds[0] : bounds[0] + 4])
    return inet_ntop(AF_INET6, data[bounds[0] : bounds[0] + 16])


def _decode_netmask(data: bytes, bounds: tuple[int, int] | None, family: str) -> int | str:
    if family == "ipv6":
        return _number(data, bounds)
    return netmask_of(_number(data, bounds, big_endian=True))


def decode_service(data: bytes, start: int, end: int) -> VirtualService:
    """The service of a NEW_SERVICE message whose attributes lie between two offsets."""
    return _decode_usual_service(data, start, end) or _decode_service(data, start, end)


def _decode_usual_service(data: bytes, start: int, end: int) -> VirtualService | None:
    """The service, if its attributes are those and in the order that kernels have for one without a mark; None says nothing.

    Its counters are not looked at.
    """
    key_at = start + _ATTRIBUTE.size
    settings_at = key_at + _SVC_KEY.size
    netmask_at = data.find(_SVC_NETMASK, settings_at, end)
    counters_at = netmask_at + 8
    if netmask_at < 0 or counters_at + _ATTRIBUTE.size > end:
        return None
    words = _SVC_KEY.unpack_from(data, key_at)
    family_number, protocol, packed, port = words[1::2]
    family = FAMILY_NAMES.get(family_number)
    if (
        family is None
        or words[::2] != _SVC_KEY_HEADERS
        or _ATTRIBUTE.unpack_from(data, start) != (end - start, ATTR_SERVICE)
        or _ATTRIBUTE.unpack_from(data, counters_at)[1] != SVC_STATS
    ):
        return None
    settings = _usual_settings(family, data[settings_at:counters_at])
    if settings is None:
        return None
    address = inet_ntop(family_number, packed if family == "ipv6" else packed[:4])
    key = ServiceKey(family, PROTOCOL_NAMES.get(protocol) or str(protocol), address, htons(port))
    return VirtualService(key, *settings)


@functools.lru_cache(maxsize=1000)
def _usual_settings(family: str, data: bytes) -> _Settings | None:
    """What many services have in common, if these bytes are all of it and nothing else."""
    try:
        found = attributes(data, 0, len(data))
    except MalformedMessage:
        return None
    if found.keys() | {SVC_PE_NAME} != {SVC_SCHED_NAME, SVC_PE_NAME, SVC_FLAGS, SVC_TIMEOUT, SVC_NETMASK}:
        return None
    return _service_settings(family, data, found)


def _decode_service(data: bytes, start: int, end: int) -> VirtualService:
    nest = attributes(data, start, end).get(ATTR_SERVICE)
    if nest is None:
        raise MalformedMessage("a service message without a service")
    found = attributes(data, *nest)
    has = found.get
    family_number = _number(data, has(SVC_AF))
    family = FAMILY_NAMES.get(family_number)
    if family is None:
        raise MalformedMessage(f"a service of the address family {family_number}")
    if has(SVC_FWMARK) is not None:
        key = ServiceKey(family, fwmark=_number(data, has(SVC_FWMARK)))
    else:
        protocol = _number(data, has(SVC_PROTOCOL))
        key = ServiceKey(
            family,
            PROTOCOL_NAMES.get(protocol, str(protocol)),
            _address(data, has(SVC_ADDR), family_number),
            _number(data, has(SVC_PORT), big_endian=True),
        )
    return VirtualService(key, *_service_settings(family, data, found))


#: Of a VirtualService, all but its key.
_Settings = tuple[str, tuple[str, ...], int, t.Union[int, str], str, bool]


def _service_settings(family: str, data: bytes, found: Attributes) -> _Settings:
    has = found.get
    scheduler = _string(data, has(SVC_SCHED_NAME))
    names = scheduler_flag_names(scheduler)
    flags_and_mask = has(SVC_FLAGS)
    flags = _U32.unpack_from(data, flags_and_mask[0])[0] if flags_and_mask else 0
    persistent = bool(flags & PERSISTENT)
    return (
        scheduler,
        tuple(name for name, bit in zip(names, SCHEDULER_BITS) if flags & bit),
        _number(data, has(SVC_TIMEOUT)) if persistent else 0,
        _decode_netmask(data, has(SVC_NETMASK), family) if persistent else FULL_PREFIX[family],
        _string(data, has(SVC_PE_NAME)),
        bool(flags & ONEPACKET),
    )


def decode_real_server(data: bytes, start: int, end: int, service_family: str) -> RealServer:
    """The real server of a NEW_DEST message whose attributes lie between two offsets."""
    nest = attributes(data, start, end).get(ATTR_DEST)
    if nest is None:
        raise MalformedMessage("a real server message without a real server")
    has = attributes(data, *nest).get
    family = _number(data, has(DEST_ADDR_FAMILY)) or FAMILY_NUMBERS[service_family]
    if family not in FAMILY_NAMES:
        raise MalformedMessage(f"a real server of the address family {family}")
    forwarding = _forwarding(_number(data, has(DEST_FWD_METHOD)))
    return RealServer(
        RealServerKey(_address(data, has(DEST_ADDR), family), _number(data, has(DEST_PORT), big_endian=True)),
        _number(data, has(DEST_WEIGHT)),
        forwarding,
        _tunnel(
            forwarding,
            _number(data, has(DEST_TUN_TYPE)),
            _number(data, has(DEST_TUN_PORT), big_endian=True),
            _number(data, has(DEST_TUN_FLAGS)),
        ),
        _number(data, has(DEST_U_THRESH)),
        _number(data, has(DEST_L_THRESH)),
    )


def _forwarding(flags: int) -> str:
    method = flags & 7
    return FORWARDING_NAMES.get(method) or str(method)


def _tunnel(forwarding: str, kind: int, port: int, checksum: int) -> Tunnel:
    if forwarding != "tunnel":
        return IPIP
    return Tunnel(TUNNEL_NAMES.get(kind, str(kind)), port, CHECKSUM_NAMES.get(checksum, str(checksum)))


def known_by(servers: t.Iterable[RealServer]) -> t.Collection[bytes]:
    """The bytes by which tells_of_all() knows these real servers."""
    return list(map(_dest_config, servers))


def tells_of_all(data: bytes, sequence: int, known: t.Collection[bytes]) -> bool:
    """Whether a datagram in answer to this request tells of just the real servers of these bytes, as they are: False says nothing.

    To compare bytes is quicker than to decode them.
    """
    first, rows = _usual_rows(data, sequence)
    found = set()
    for before, config, family in rows:
        if before != first:
            return False
        found.add(config + family)
    return bool(found) and len(found) == len(known) and found.issuperset(known)


def decode_usual_real_servers(data: bytes, sequence: int) -> dict[RealServerKey, RealServer]:
    """The real servers of a datagram in answer to this request, if its messages are all alike and as kernels have them.

    None at all says nothing: then each message needs decode_real_server(). Counters are not looked at.
    """
    first, rows = _usual_rows(data, sequence)
    servers = {}
    for before, config, family in rows:
        port, settings = _usual_dest_settings(config[16:])
        if before != first or not settings:
            return {}
        if family == _IPV4:
            address = inet_ntop(AF_INET, config[:4])
        elif family == _IPV6:
            address = inet_ntop(AF_INET6, config[:16])
        else:
            return {}
        key = tuple.__new__(RealServerKey, (address, port))
        servers[key] = tuple.__new__(RealServer, (key, *settings))
    return servers


_IPV4, _IPV6 = _DEST_FAMILIES["ipv4"], _DEST_FAMILIES["ipv6"]
#: Bytes of a message about a real server before its address, and up to its counters.
_DEST_BEFORE = HEADER_SIZE + len(_DEST_HEAD)
_DEST_USUAL = _DEST_BEFORE + 16 + _DEST_SETTINGS.size + _DEST_COUNTS_SIZE + len(_IPV4)


def _usual_rows(data: bytes, sequence: int) -> tuple[bytes, t.Iterable[tuple[bytes, bytes, bytes]]]:
    """What stands before the address in the first message; and of each message that, its address with its settings, its family.

    There are no rows if the first message is not usual, or if its size is not that of all.
    """
    first = data[:_DEST_BEFORE]
    if len(data) >= _DEST_USUAL and first.endswith(_DEST_ADDR):
        size, _type, _flags, number, _port = NLMSG_HEADER.unpack_from(data)
        if (
            number == sequence
            and size >= _DEST_USUAL
            and not size % 4
            and not len(data) % size
            and _ATTRIBUTE.unpack_from(data, HEADER_SIZE) == (size - HEADER_SIZE, ATTR_DEST)
        ):
            return first, _usual_real_server(size).iter_unpack(data)
    return first, ()


@functools.cache
def _usual_real_server(size: int) -> struct.Struct:
    config = 16 + _DEST_SETTINGS.size
    return struct.Struct(f"={_DEST_BEFORE}s {config}s {_DEST_COUNTS_SIZE}x {len(_IPV4)}s {size - _DEST_USUAL}x")


@functools.lru_cache(maxsize=1000)
def _usual_dest_settings(data: bytes) -> tuple[int, tuple[t.Any, ...]]:
    """What many real servers have in common, if these are the bytes of it: the port, and all behind it."""
    words = _DEST_SETTINGS.unpack(data)
    if words[::2] != _DEST_SETTINGS_HEADERS:
        return 0, ()
    port, method, weight, kind, tunnel_port, checksum, upper, lower = words[1::2]
    forwarding = _forwarding(method)
    return htons(port), (weight, forwarding, _tunnel(forwarding, kind, htons(tunnel_port), checksum), upper, lower)


def decode_info(data: bytes, start: int, end: int) -> tuple[str, int]:
    """The version of IPVS, such as ``1.2.1``, and the size of the connection table in buckets."""
    has = attributes(data, start, end).get
    version = _number(data, has(INFO_VERSION))
    return (
        f"{version >> 16 & 0xFF}.{version >> 8 & 0xFF}.{version & 0xFF}",
        _number(data, has(INFO_CONN_TAB_SIZE)),
    )


def decode_timeouts(data: bytes, start: int, end: int) -> Timeouts:
    """The timeouts of a SET_CONFIG message."""
    has = attributes(data, start, end).get
    kinds = (ATTR_TIMEOUT_TCP, ATTR_TIMEOUT_TCP_FIN, ATTR_TIMEOUT_UDP)
    return Timeouts(*(_number(data, has(kind)) for kind in kinds))


def decode_sync_daemon(data: bytes, start: int, end: int) -> SyncDaemon:
    """The sync daemon of a NEW_DAEMON message."""
    nest = attributes(data, start, end).get(ATTR_DAEMON)
    if nest is None:
        raise MalformedMessage("a sync daemon message without a sync daemon")
    has = attributes(data, *nest).get
    role = _number(data, has(DAEMON_STATE))
    if role not in ROLE_NAMES:
        raise MalformedMessage(f"a sync daemon in the state {role}")
    interface = data[slice(*(has(DAEMON_MCAST_IFN) or (0, 0)))].split(b"\0", 1)[0]
    group = has(DAEMON_MCAST_GROUP6)
    return SyncDaemon(
        ROLE_NAMES[role],
        interface.decode("utf-8", "surrogateescape"),
        _number(data, has(DAEMON_SYNC_ID)),
        _number(data, has(DAEMON_SYNC_MAXLEN)),
        _address(data, group, AF_INET6) if group else _address(data, has(DAEMON_MCAST_GROUP), AF_INET),
        _number(data, has(DAEMON_MCAST_PORT)),
        _number(data, has(DAEMON_MCAST_TTL)),
    )


def _statistics(data: bytes, bounds: tuple[int, int] | None) -> Statistics:
    has = (attributes(data, *bounds) if bounds else {}).get
    return Statistics(
        Counters(*(_number(data, has(kind)) for kind in STATS_COUNTERS)),
        Counters(*(_number(data, has(kind)) for kind in STATS_RATES)),
    )


def decode_service_statistics(data: bytes, start: int, end: int) -> Statistics:
    """The counters of a NEW_SERVICE message."""
    has = attributes(data, *attributes(data, start, end)[ATTR_SERVICE]).get
    return _statistics(data, has(SVC_STATS64) or has(SVC_STATS))


def decode_real_server_statistics(data: bytes, start: int, end: int) -> tuple[Connections, Statistics]:
    """The connections and counters of a NEW_DEST message."""
    has = attributes(data, *attributes(data, start, end)[ATTR_DEST]).get
    return (
        Connections(*(_number(data, has(kind)) for kind in (DEST_ACTIVE_CONNS, DEST_INACT_CONNS, DEST_PERSIST_CONNS))),
        _statistics(data, has(DEST_STATS64) or has(DEST_STATS)),
    )
