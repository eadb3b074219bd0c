# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The values of an IPVS table and of what stands beside it, each in one canonical form, compared with ``==``. Pure.

Terms are those of ipvsadm(8). What the kernel leaves unchecked (ip_vs_ctl.c) is checked here, before
a value exists: an instance made by the functions of this file is one that the kernel accepts.
The classes are named tuples, since a table may hold tens of thousands of them.
"""

from __future__ import annotations

import typing as t
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

FAMILIES = ("ipv4", "ipv6")
PROTOCOLS = ("tcp", "udp", "sctp")
FORWARDINGS = ("masquerade", "direct", "tunnel")
TUNNEL_TYPES = ("ipip", "gue", "gre")
TUNNEL_CHECKSUMS = ("none", "csum", "remcsum")
#: Bytes that a tunnel puts before a packet, beside the outer IP header: as ip_vs_xmit.c has them.
_GUE, _GUE_REMCSUM, _GRE, _GRE_CSUM = 12, 8, 4, 4
_IP_HEADER = {"ipv4": 20, "ipv6": 40}
SYNC_ROLES = ("master", "backup")

DEFAULT_SCHEDULER = "wlc"
DEFAULT_FORWARDING = "masquerade"
FULL_PREFIX = {"ipv4": 32, "ipv6": 128}

#: The kernel reads weights and thresholds as signed 32 bit integers.
INT_MAX = 2**31 - 1
#: Seconds. The bound of ipvsadm(8): above it the kernel's ``timeout * HZ`` overflows.
PERSISTENCE_TIMEOUT_MAX = 31 * 24 * 3600
#: Seconds. The kernel's bound is INT_MAX / HZ; this is the one at its highest HZ, 1000.
CONNECTION_TIMEOUT_MAX = INT_MAX // 1000
#: IP_VS_SCHEDNAME_MAXLEN and IP_VS_PENAME_MAXLEN of linux/ip_vs.h, less the NUL.
NAME_MAX = 15

#: The three bits whose meaning is the scheduler's (IP_VS_SVC_F_SCHED1..3), by the scheduler's name for them.
SCHEDULER_FLAGS: dict[str, tuple[str, str, str]] = {
    "sh": ("sh-fallback", "sh-port", "flag-3"),
    "mh": ("mh-fallback", "mh-port", "flag-3"),
}
PLAIN_FLAGS = ("flag-1", "flag-2", "flag-3")


class InvalidValue(ValueError):
    """A value that no IPVS table may hold.

    ``path`` names the option as the user wrote it, such as ``services[2].port``; ``reason`` says what
    is wrong with it and what would be right.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason

    def under(self, prefix: str) -> InvalidValue:
        """The same error, seen from the option that holds this one; a module's own options have no prefix."""
        return InvalidValue(".".join(part for part in (prefix, self.path) if part), self.reason)


class ServiceKey(t.NamedTuple):
    """What identifies a virtual service: protocol, address and port, or a firewall mark and a family."""

    family: str
    protocol: str | None = None
    address: str | None = None
    port: int | None = None
    fwmark: int | None = None

    def __str__(self) -> str:
        if self.fwmark is not None:
            return f"fwmark {self.fwmark} {self.family}"
        return f"{self.protocol} {endpoint(t.cast(str, self.address), t.cast(int, self.port))}"


class VirtualService(t.NamedTuple):
    """The attributes of a virtual service, without its real servers."""

    key: ServiceKey
    scheduler: str = DEFAULT_SCHEDULER
    scheduler_flags: tuple[str, ...] = ()
    #: Seconds; 0 means not persistent.
    persistence_timeout: int = 0
    #: A prefix length, or a dotted IPv4 mask that is not one.
    persistence_netmask: int | str = 32
    persistence_engine: str = ""
    one_packet: bool = False


class Tunnel(t.NamedTuple):
    """How packets are wrapped on their way to a real server that is reached by a tunnel."""

    type: str = "ipip"
    #: The UDP port of a GUE tunnel; 0 for the others.
    port: int = 0
    checksum: str = "none"


IPIP = Tunnel()


class RealServerKey(t.NamedTuple):
    """What identifies a real server within its service."""

    address: str
    port: int

    def __str__(self) -> str:
        return endpoint(self.address, self.port)


class RealServer(t.NamedTuple):
    """The attributes of a real server of one service."""

    key: RealServerKey
    #: 0 quiesces: connections live on, new ones go elsewhere.
    weight: int = 1
    forwarding: str = DEFAULT_FORWARDING
    tunnel: Tunnel = IPIP
    #: Connections; 0 means no threshold.
    upper_threshold: int = 0
    lower_threshold: int = 0


def tunnel_overhead(server: RealServer) -> int:
    """Bytes that the tunnel to a real server adds to a packet."""
    kind, checksum = server.tunnel.type, server.tunnel.checksum
    outer = _IP_HEADER[family_of(server.key.address)]
    if kind == "gue":
        return outer + _GUE + (_GUE_REMCSUM if checksum == "remcsum" else 0)
    if kind == "gre":
        return outer + _GRE + (_GRE_CSUM if checksum == "csum" else 0)
    return outer


class Entry(t.NamedTuple):
    """A virtual service with its real servers. Services may share one dictionary of them: who changes it, changes a copy."""

    service: VirtualService
    real_servers: dict[RealServerKey, RealServer]


Table = dict[ServiceKey, Entry]


class Timeouts(t.NamedTuple):
    """Seconds without a packet after which a connection is forgotten.

    0 stands for a protocol that this kernel's IPVS was built without.
    """

    tcp: int
    #: After a FIN.
    tcpfin: int
    udp: int


class SyncDaemon(t.NamedTuple):
    """A kernel thread that tells another director of connections (master), or that is told of them (backup)."""

    role: str
    interface: str
    #: A backup takes what a master of the same id sends; with 0, what any sends.
    id: int = 0
    #: Bytes of a message; None leaves it to the kernel, which never reports None.
    maximum_length: int | None = None
    multicast_group: str = "224.0.0.81"
    multicast_port: int = 8848
    multicast_ttl: int = 1


SyncDaemons = dict[str, SyncDaemon]


class Counters(t.NamedTuple):
    """What the kernel has counted of a service or a real server."""

    connections: int
    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int


class Statistics(t.NamedTuple):
    """The counters of a service or a real server: since they were zeroed, and per second."""

    total: Counters
    per_second: Counters


class Connections(t.NamedTuple):
    """The connections that a real server has now."""

    active: int
    inactive: int
    #: Persistence templates: clients that keep this real server.
    persistent: int


class ServiceCounters(t.NamedTuple):
    """What the kernel has counted of a service, and of each of its real servers."""

    statistics: Statistics
    real_servers: dict[RealServerKey, tuple[Connections, Statistics]]


Given = t.Mapping[str, t.Any]


def endpoint(address: str, port: int) -> str:
    """``192.0.2.10:80`` or ``[2001:db8::10]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def family_of(address: str) -> str:
    """The family of an address in canonical form."""
    return "ipv6" if ":" in address else "ipv4"


# -- from words to values: each of these is idempotent, and raises InvalidValue with the option's name --


def integer(option: str, value: t.Any, low: int, high: int) -> int:
    """An integer within the bounds, both included; text of decimal digits counts, as templates make it."""
    if type(value) is int and low <= value <= high:  # pylint: disable=unidiomatic-typecheck  # a boolean is none
        return value
    number = value
    # More digits than any bound has, int() may refuse in its own words.
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value[value.startswith("-") :].isdecimal():
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise InvalidValue(option, f"{value!r} is not an integer from {low} to {high}")
    return number


_TRUE = frozenset(("yes", "y", "on", "true", "t", "1", 1, True))
_FALSE = frozenset(("no", "n", "off", "false", "f", "0", 0, False))


def boolean(option: str, value: t.Any) -> bool:
    """A boolean, with the words that YAML and Ansible take for one."""
    word = value.lower() if isinstance(value, str) else value
    if isinstance(word, (bool, int, str)):
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise InvalidValue(option, f"{value!r} is not a boolean")


def choice(option: str, value: t.Any, choices: t.Sequence[str]) -> str:
    """One of a few words."""
    if value not in choices:
        raise InvalidValue(option, f"{value!r} is not one of {', '.join(choices)}")
    return t.cast(str, value)


def name(option: str, value: t.Any, what: str) -> str:
    """The name of a kernel module's part, such as a scheduler: it becomes part of a module name."""
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= NAME_MAX
        or not (value.isascii() and value.replace("_", "").replace("-", "").isalnum())
    ):
        raise InvalidValue(
            option, f"{value!r} is not the name of a {what}: 1 to {NAME_MAX} letters, digits, '-' or '_'"
        )
    return value


def address(option: str, value: t.Any) -> str:
    """An IPv4 or IPv6 unicast address, as inet_ntop(3) writes it."""
    try:
        family = AF_INET6 if ":" in value else AF_INET
        packed = inet_pton(family, value)
    except (OSError, TypeError, ValueError):
        raise InvalidValue(option, f"{value!r} is not an IPv4 or IPv6 address") from None
    if family == AF_INET:
        if not _NO_IPV4 < packed < _IPV4_MULTICAST:
            raise InvalidValue(option, f"{value!r} is not a unicast address")
        if type(value) is str:  # pylint: disable=unidiomatic-typecheck  # Ansible's own texts become plain ones below
            # inet_pton(3) of glibc and musl takes no other form than that.
            return value
    elif not any(packed) or packed[0] == 0xFF or packed.startswith(_IPV4_MAPPED):
        raise InvalidValue(option, f"{value!r} is not a unicast address")
    return inet_ntop(family, packed)


_NO_IPV4 = bytes(4)
#: 224.0.0.0, and above it there is nothing else.
_IPV4_MULTICAST = b"\xe0\0\0\0"
#: ::ffff:0:0/96, which the kernel does not count among the unicast addresses.
_IPV4_MAPPED = bytes(10) + b"\xff\xff"


def refuse_unknown(given: Given, options: t.Container[str]) -> None:
    """Raise InvalidValue for the first option that is not one of these."""
    for option in given:
        if option not in options:
            raise InvalidValue(str(option), "there is no such option here")


KEY_OPTIONS = ("protocol", "address", "port", "fwmark", "family")


def service_key(given: Given) -> ServiceKey:
    """The key of a service. Options other than the key's are not looked at."""
    fwmark = given.get("fwmark")
    family = given.get("family")
    if family is not None:
        choice("family", family, FAMILIES)
    if fwmark is not None:
        for option in ("protocol", "address", "port"):
            if given.get(option) is not None:
                raise InvalidValue(
                    option, "a service is given by fwmark, or by protocol, address and port, not by both"
                )
        # The kernel takes mark 0 for "tcp 0.0.0.0:0".
        return ServiceKey(family or "ipv4", fwmark=integer("fwmark", fwmark, 1, 2**32 - 1))
    for option in ("protocol", "address", "port"):
        if given.get(option) is None:
            raise InvalidValue(option, "is required: a service is given by protocol, address and port, or by fwmark")
    virtual_address = address("address", given["address"])
    if family not in (None, family_of(virtual_address)):
        raise InvalidValue("family", f"{family!r} is not the family of the address {virtual_address}")
    return ServiceKey(
        family_of(virtual_address),
        choice("protocol", given["protocol"], PROTOCOLS),
        virtual_address,
        integer("port", given["port"], 0, 65535),
    )


def scheduler_flag_names(scheduler: str) -> tuple[str, str, str]:
    """What the scheduler calls the bits IP_VS_SVC_F_SCHED1, 2 and 3."""
    return SCHEDULER_FLAGS.get(scheduler, PLAIN_FLAGS)


def _scheduler_flags(scheduler: str, value: t.Any) -> tuple[str, ...]:
    """The flags under the scheduler's own names, in the order of their bits."""
    if not isinstance(value, (list, tuple)):
        raise InvalidValue("scheduler_flags", f"{value!r} is not a list")
    names = scheduler_flag_names(scheduler)
    bits = set()
    for index, flag in enumerate(value):
        if flag in names:
            bits.add(names.index(flag))
        elif flag in PLAIN_FLAGS:
            bits.add(PLAIN_FLAGS.index(flag))
        else:
            known = dict.fromkeys(names + PLAIN_FLAGS)
            raise InvalidValue(
                f"scheduler_flags[{index}]",
                f"{flag!r} is not a flag of the scheduler {scheduler}: {', '.join(known)}",
            )
    return tuple(names[bit] for bit in sorted(bits))


def _netmask(family: str, value: t.Any) -> int | str:
    """A prefix length; a dotted mask only where it is none, since the kernel takes any but 0.0.0.0."""
    option = "persistence_netmask"
    full = FULL_PREFIX[family]
    if family == "ipv4" and isinstance(value, str) and "." in value:
        try:
            mask = int.from_bytes(inet_pton(AF_INET, value), "big")
        except (OSError, ValueError):
            mask = 0
        if not mask:
            raise InvalidValue(option, f"{value!r} is not an IPv4 netmask or a prefix length from 1 to 32")
        return netmask_of(mask)
    return integer(option, value, 1, full)


def netmask_of(bits: int) -> int | str:
    """An IPv4 netmask: its prefix length, or itself in dots where it is of none."""
    prefix = bin(bits).count("1")
    dotted = inet_ntop(AF_INET, bits.to_bytes(4, "big"))
    return prefix if dotted == dotted_netmask(prefix) else dotted


def dotted_netmask(mask: int | str) -> str:
    """An IPv4 netmask in dots."""
    if isinstance(mask, str):
        return mask
    return inet_ntop(AF_INET, ((0xFFFFFFFF << (32 - mask)) & 0xFFFFFFFF).to_bytes(4, "big"))


SERVICE_OPTIONS = (
    "scheduler",
    "scheduler_flags",
    "persistence_timeout",
    "persistence_netmask",
    "persistence_engine",
    "one_packet",
)


#: What an option has that is absent; the keys do not matter.
_SERVICE_DEFAULTS = {
    family: VirtualService(ServiceKey(family), persistence_netmask=prefix) for family, prefix in FULL_PREFIX.items()
}
_REAL_SERVER_DEFAULTS = RealServer(RealServerKey("", 0))


def virtual_service(given: Given, base: VirtualService | None = None) -> VirtualService:
    """A service from the user's words.

    An option that is absent, or None, has the value of ``base`` (the entry that is there already), or
    its default.
    """
    key = service_key(given)
    had = base or _SERVICE_DEFAULTS[key.family]
    get = given.get
    _key, scheduler, flags, timeout, netmask, engine, one_packet = had

    word = get("scheduler")
    if word is not None:
        scheduler = name("scheduler", word, "scheduler")
    word = get("scheduler_flags")
    if word is not None:
        flags = _scheduler_flags(scheduler, word)
    elif flags:
        # The same bits, which another scheduler may call by other names.
        old, new = scheduler_flag_names(had.scheduler), scheduler_flag_names(scheduler)
        flags = tuple(new[old.index(flag)] for flag in flags)
    word = get("persistence_timeout")
    if word is not None:
        timeout = integer("persistence_timeout", word, 0, PERSISTENCE_TIMEOUT_MAX)
    word = get("persistence_netmask")
    if word is not None:
        netmask = _netmask(key.family, word)
    if not timeout and netmask != FULL_PREFIX[key.family]:
        if word is not None:
            raise InvalidValue("persistence_netmask", "has no effect without persistence_timeout")
        netmask = FULL_PREFIX[key.family]
    word = get("persistence_engine")
    if word is not None:
        engine = name("persistence_engine", word, "persistence engine") if word != "" else ""
    word = get("one_packet")
    if word is not None:
        one_packet = boolean("one_packet", word)
    if key.port == 0 and not timeout:
        raise InvalidValue("port", "0, which means every port, needs persistence_timeout; otherwise it is 1 to 65535")
    if one_packet and key.fwmark is None and key.protocol != "udp":
        raise InvalidValue("one_packet", f"is for udp and fwmark services, not for {key.protocol}")
    return VirtualService(key, scheduler, flags, timeout, netmask, engine, one_packet)


TUNNEL_OPTIONS = ("type", "port", "checksum")


def tunnel(given: t.Any, base: Tunnel = IPIP) -> Tunnel:
    """A tunnel from the user's words, paths below ``tunnel``."""
    if isinstance(given, Tunnel):
        return given
    if not isinstance(given, t.Mapping):
        raise InvalidValue("tunnel", f"{given!r} is not a dictionary")
    try:
        refuse_unknown(given, TUNNEL_OPTIONS)
        kind = choice("type", base.type if given.get("type") is None else given["type"], TUNNEL_TYPES)
        if kind != base.type:
            # Port and checksum are those of another kind of tunnel.
            base = Tunnel(kind)
        port = integer("port", base.port if given.get("port") is None else given["port"], 0, 65535)
        checksum = choice(
            "checksum", base.checksum if given.get("checksum") is None else given["checksum"], TUNNEL_CHECKSUMS
        )
        if kind == "gue" and not port:
            raise InvalidValue("port", "a gue tunnel needs a UDP port from 1 to 65535")
        if kind != "gue" and port:
            raise InvalidValue("port", f"a tunnel of type {kind} has no port: only gue has")
        if kind == "ipip" and checksum != "none":
            raise InvalidValue("checksum", "a tunnel of type ipip has no checksum: only gue and gre have")
        if kind == "gre" and checksum == "remcsum":
            raise InvalidValue("checksum", "a tunnel of type gre has no remote checksum: only gue has")
    except InvalidValue as error:
        raise error.under("tunnel") from None
    return Tunnel(kind, port, checksum)


REAL_SERVER_OPTIONS = (
    "address",
    "port",
    "weight",
    "forwarding",
    "tunnel",
    "upper_threshold",
    "lower_threshold",
)
_REAL_SERVER_OPTIONS = frozenset(REAL_SERVER_OPTIONS)
#: Most real servers are given by these at most.
_FEW_OPTIONS = frozenset(("address", "port", "weight"))


def real_server_key(given: Given, service: ServiceKey) -> RealServerKey:
    """The key of a real server: its port is the service's unless given (0 for a fwmark service)."""
    where = given.get("address")
    if where is None:
        raise InvalidValue("address", "is required")
    where = address("address", where)
    if ":" in where and inet_pton(AF_INET6, where)[:2] in _LINK_LOCAL:
        raise InvalidValue("address", f"{where!r} is link-local: IPVS needs a global address")
    port = given.get("port")
    if port is None:
        port = service.port or 0
    elif type(port) is not int or not 0 <= port <= 65535:  # pylint: disable=unidiomatic-typecheck  # as in integer()
        port = integer("port", port, 0, 65535)
    # Of tens of thousands, a tuple is made in half the time that its own class takes.
    return tuple.__new__(RealServerKey, (where, port))


#: fe80::/10
_LINK_LOCAL = frozenset(bytes((0xFE, second)) for second in range(0x80, 0xC0))


def real_server(given: Given, service: ServiceKey, base: RealServer | None = None) -> RealServer:
    """A real server of ``service`` from the user's words.

    An option that is absent, or None, has the value of ``base`` (the entry that is there already, or
    the service's defaults for its real servers; its key does not matter), or its default.
    """
    more = not _FEW_OPTIONS.issuperset(given)
    if more and not _REAL_SERVER_OPTIONS.issuperset(given):
        refuse_unknown(given, _REAL_SERVER_OPTIONS)
    key = where, port = real_server_key(given, service)
    _key, weight, forwarding, wrapping, upper, lower = base or _REAL_SERVER_DEFAULTS

    get = given.get
    word = get("weight")
    if word is not None:
        weight = integer("weight", word, 0, INT_MAX)
    if more:
        word = get("forwarding")
        if word is not None and word != forwarding:
            forwarding = choice("forwarding", word, FORWARDINGS)
        word = get("tunnel")
        if word is not None:
            if forwarding == "tunnel":
                wrapping = tunnel(word, wrapping)
            elif tunnel(word) != IPIP:
                raise InvalidValue("tunnel", f"has no effect on a real server whose forwarding is {forwarding}")
        word = get("upper_threshold")
        if word is not None:
            upper = integer("upper_threshold", word, 0, INT_MAX)
        word = get("lower_threshold")
        if word is not None:
            lower = integer("lower_threshold", word, 0, INT_MAX)
    if lower > upper:
        raise InvalidValue("lower_threshold", f"{lower} is above the upper_threshold {upper}")
    if forwarding != "tunnel":
        wrapping = IPIP
        if (":" in where) != (service.family == "ipv6"):
            raise InvalidValue(
                "address",
                f"{where} is not of the service's family {service.family}: only forwarding tunnel crosses families",
            )
    if forwarding in ("direct", "tunnel") and service.fwmark is None and port != service.port:
        raise InvalidValue(
            "port", f"{port} is not the service's {service.port}: forwarding {forwarding} cannot change the port"
        )
    return tuple.__new__(RealServer, (key, weight, forwarding, wrapping, upper, lower))


def real_server_defaults(given: Given) -> RealServer:
    """The ``forwarding`` and ``tunnel`` that a service gives for its real servers, as a base for them."""
    defaults = _REAL_SERVER_DEFAULTS
    forwarding, wrapping = given.get("forwarding"), given.get("tunnel")
    if forwarding is not None:
        defaults = defaults._replace(forwarding=choice("forwarding", forwarding, FORWARDINGS))
    if wrapping is not None:
        defaults = defaults._replace(tunnel=tunnel(wrapping))
    return defaults


# -- what stands beside the table -----------------------------------------------------------------------

TIMEOUT_OPTIONS = Timeouts._fields


def timeouts(given: Given, base: Timeouts) -> Timeouts:
    """Timeouts from the user's words; an option that is absent, or None, has the value of ``base``."""
    wanted = {}
    for option in TIMEOUT_OPTIONS:
        if given.get(option) is None:
            continue
        if given[option] == 0:
            raise InvalidValue(option, "0 is not a timeout; what is to stay as it is, is left out")
        wanted[option] = integer(option, given[option], 1, CONNECTION_TIMEOUT_MAX)
        if not getattr(base, option):
            raise InvalidValue(option, "this kernel's IPVS was built without that protocol")
    return base._replace(**wanted)


def interface_name(option: str, value: t.Any) -> str:
    """A name that a network interface can have (dev_valid_name() of the kernel)."""
    if (
        not isinstance(value, str)
        or not 1 <= len(value.encode("utf-8", "surrogateescape")) <= 15
        or value in (".", "..")
        or any(letter in "/:" or letter.isspace() for letter in value)
    ):
        raise InvalidValue(option, f"{value!r} is not the name of an interface")
    return value


def multicast_group(option: str, value: t.Any) -> str:
    """An IPv4 or IPv6 multicast address, as inet_ntop(3) writes it."""
    try:
        family = AF_INET6 if ":" in value else AF_INET
        packed = inet_pton(family, value)
    except (OSError, TypeError, ValueError):
        packed = b"\0"
    multicast = packed[0] >> 4 == 0xE if len(packed) == 4 else packed[0] == 0xFF
    if not multicast:
        raise InvalidValue(option, f"{value!r} is not an IPv4 or IPv6 multicast address")
    return inet_ntop(family, packed)


SYNC_DAEMON_OPTIONS = SyncDaemon._fields


def sync_role(given: Given) -> str:
    """What identifies a sync daemon: a host has one of each role at most."""
    if given.get("role") is None:
        raise InvalidValue("role", "is required")
    return choice("role", given["role"], SYNC_ROLES)


#: Bytes of the IP and UDP headers of a message.
_SYNC_HEADERS = {"ipv4": 28, "ipv6": 48}
#: To a backup, the kernel gives no smaller buffer than this (start_sync_thread() of ip_vs_sync.c).
SYNC_LENGTH_MIN = {"master": 1, "backup": 1024}


def sync_daemon(given: Given) -> SyncDaemon:
    """A sync daemon from the user's words; what is absent has its default."""
    refuse_unknown(given, SYNC_DAEMON_OPTIONS)
    role = sync_role(given)

    def number(option: str, low: int, high: int) -> int:
        word = given.get(option)
        return SyncDaemon._field_defaults[option] if word is None else integer(option, word, low, high)

    if given.get("interface") is None:
        raise InvalidValue("interface", "is required")
    group = given.get("multicast_group")
    daemon = SyncDaemon(
        role,
        interface_name("interface", given["interface"]),
        # The kernel stores more than the byte that the messages have for it.
        number("id", 0, 255),
        multicast_group=SyncDaemon._field_defaults["multicast_group"]
        if group is None
        else multicast_group("multicast_group", group),
        multicast_port=number("multicast_port", 1, 65535),
        multicast_ttl=number("multicast_ttl", 1, 255),
    )
    length = given.get("maximum_length")
    if length is None:
        return daemon
    longest = 65535 - _SYNC_HEADERS[family_of(daemon.multicast_group)]
    # The kernel would move it to the nearer bound without a word.
    return daemon._replace(maximum_length=integer("maximum_length", length, SYNC_LENGTH_MIN[role], longest))


def with_length(daemon: SyncDaemon, mtu: int) -> SyncDaemon:
    """The daemon as the kernel will have it on an interface of this MTU: as start_sync_thread() of ip_vs_sync.c does it."""
    if daemon.maximum_length is not None:
        return daemon
    packet = min(max(mtu, 1500), 65535) if daemon.role == "backup" else 1500
    return daemon._replace(maximum_length=packet - _SYNC_HEADERS[family_of(daemon.multicast_group)])
