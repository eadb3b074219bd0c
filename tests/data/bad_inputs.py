# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that must be refused before the kernel hears of them: the words, the option to blame, and why.

The kernel itself takes many of these (ip_vs_ctl.c checks little), and for the others has only an error number.
Each is a list of dictionaries as the option `services` of the module table takes it, and survives JSON.
"""

from __future__ import annotations

import itertools
import typing as t
from collections.abc import Iterator

Words = dict[str, t.Any]


class Bad(t.NamedTuple):
    """What the user wrote, the path that the error must name, and a part of the reason that it must give."""

    services: list[t.Any]
    path: str
    reason: str


INT_MAX = 2**31 - 1
MONTH = 31 * 24 * 3600

V4: Words = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
V6: Words = {"protocol": "tcp", "address": "2001:db8:f::10", "port": 80}
UDP: Words = {**V4, "protocol": "udp"}
MARK: Words = {"fwmark": 7}
MARK6: Words = {"fwmark": 7, "family": "ipv6"}
R4: Words = {"address": "198.51.100.21"}
R6: Words = {"address": "2001:db8:b::21"}

# The service that takes a real server, by what is special about the real server.
FAMILIES = ((V4, R4), (V6, R6), (MARK, R4), (MARK6, R6))

NO_BOOLEANS: tuple[t.Any, ...] = ("maybe", "", 2, -1, 1.5, [], {}, "truely")
NO_NAMES = ("", "a b", "w/lc", "../wlc", "wlc\n", "schéma", "x" * 16, "-", 7, True, ["wlc"], {"name": "wlc"})
NO_LISTS: tuple[t.Any, ...] = ("web", {"address": "198.51.100.21"}, 1, True)
NO_DICTIONARIES: tuple[t.Any, ...] = ("198.51.100.21", 7, ["198.51.100.21"], None)
NO_PREFIXES: dict[int, tuple[t.Any, ...]] = {
    32: (0, 33, -1, "", "255", "/24", "24/", 24.0, True, ["24"], "::ffff"),
    128: (0, 129, -1, "255.255.255.0", "ffff::", "/64", False, [64]),
}
NO_ADDRESSES = (
    *("", "web1", "192.0.2", "192.0.2.256", "192.0.2.10/24", " 192.0.2.10", "192.0.2.10:80", "0300.0.2.10", "1"),
    *("[2001:db8::1]", "2001:db8::g", "2001:db8::1/64", "fe80::1%eth0", "1:2:3:4:5:6:7:8:9", ":", ":::"),
    *(3221225994, True, 1.5, ["192.0.2.10"], {"address": "192.0.2.10"}),
)
NO_UNICAST = (
    *("0.0.0.0", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "ff02::1", "ff0e::db8", "::ffff:198.51.100.21"),
)


def no_integers(low: int, high: int) -> Iterator[t.Any]:
    yield from (
        low - 1,
        high + 1,
        "",
        "ten",
        "1e2",
        "0x10",
        "+1",
        "1 ",
        "--1",
        "\u0661",
        "9" * 5000,
        1.0,
        1.5,
        True,
        [1],
        {},
    )


def without(words: Words, *options: str) -> Words:
    return {option: word for option, word in words.items() if option not in options}


def service(path: str, reason: str, words: Words, **more: t.Any) -> Bad:
    """One bad service."""
    return Bad([{**words, **more}], f"services[0].{path}" if path else "services[0]", reason)


def server(path: str, reason: str, owner: Words, words: t.Any, **more: t.Any) -> Bad:
    """One bad real server, after a good one."""
    good = {"address": "198.51.100.9" if owner in (V4, UDP, MARK) else "2001:db8:b::9"}
    below = f"services[0].real_servers[1].{path}" if path else "services[0].real_servers[1]"
    listed = {**words, **more} if isinstance(words, dict) else words
    return Bad([{**owner, "real_servers": [good, listed]}], below, reason)


def _keys() -> Iterator[Bad]:
    given = "is required: a service is given by protocol, address and port, or by fwmark"
    yield service("protocol", given, {})
    yield service("protocol", given, {"family": "ipv4", "real_servers": []})
    for option in V4:
        yield service(option, given, without(V4, option))
        yield service(option, given, V6, **{option: None})
        yield service(option, "not by both", MARK, **{option: V4[option]})
    for protocol in ("icmp", "TCP", "tcp ", "", 6, ["tcp"], True, "99"):
        yield service("protocol", "is not one of tcp, udp, sctp", V4, protocol=protocol)
    for address in NO_ADDRESSES:
        yield service("address", "is not an IPv4 or IPv6 address", V4, address=address)
    for address in NO_UNICAST:
        yield service("address", "is not a unicast address", V4, address=address)
    for port in no_integers(0, 65535):
        yield service("port", "is not an integer from 0 to 65535", V4, port=port)
    for mark in no_integers(1, 2**32 - 1):
        yield service("fwmark", f"is not an integer from 1 to {2**32 - 1}", MARK, fwmark=mark)
    for family in ("inet", "IPv4", "", 4, ["ipv4"], False):
        yield service("family", "is not one of ipv4, ipv6", MARK, family=family)
    yield service("family", "is not the family of the address 192.0.2.10", V4, family="ipv6")
    yield service("family", "is not the family of the address 2001:db8:f::10", V6, family="ipv4")
    # Port 0 without persistence: the kernel takes it, and the service serves nothing.
    for words in (V4, V6, UDP):
        yield service("port", "0, which means every port, needs persistence_timeout", words, port=0)
    yield service("port", "needs persistence_timeout", V4, port="0", persistence_timeout="0")


def _attributes() -> Iterator[Bad]:
    for name in NO_NAMES:
        yield service("scheduler", "is not the name of a scheduler", V4, scheduler=name)
        if name != "":
            yield service("persistence_engine", "is not the name of a persistence engine", V6, persistence_engine=name)
    for flags in ("sh-port", 8, {"sh-port": True}, True):
        yield service("scheduler_flags", "is not a list", V4, scheduler="sh", scheduler_flags=flags)
    for flag in ("mh-port", "sh-ports", "SH-PORT", "flag-0", "flag-4", "", 1, None, ["sh-port"]):
        yield service(
            "scheduler_flags[1]",
            "is not a flag of the scheduler sh: sh-fallback, sh-port, flag-3, flag-1, flag-2",
            V4,
            scheduler="sh",
            scheduler_flags=["sh-port", flag],
        )
    yield service(
        "scheduler_flags[0]", "is not a flag of the scheduler mh", V6, scheduler="mh", scheduler_flags=["sh-port"]
    )
    yield service("scheduler_flags[0]", "is not a flag of the scheduler wlc", MARK, scheduler_flags=["sh-port"])
    for seconds in (*no_integers(0, MONTH), 2**32 - 1):
        yield service("persistence_timeout", f"is not an integer from 0 to {MONTH}", V4, persistence_timeout=seconds)
    persistent = {"persistence_timeout": 300}
    for mask in ("0.0.0.0", "255.255.255", "255.255.255.256", "1.2.3.4.5", "a.b.c.d", "255.255.255.0\0"):
        for words in (V4, MARK):
            yield service("persistence_netmask", "not an IPv4 netmask", words, **persistent, persistence_netmask=mask)
    for prefix in NO_PREFIXES[32]:
        for words in (V4, MARK):
            yield service(
                "persistence_netmask",
                "is not an integer from 1 to 32",
                words,
                **persistent,
                persistence_netmask=prefix,
            )
    for prefix in NO_PREFIXES[128]:
        for words in (V6, MARK6):
            yield service(
                "persistence_netmask",
                "is not an integer from 1 to 128",
                words,
                **persistent,
                persistence_netmask=prefix,
            )
    networks: list[tuple[Words, t.Any]]
    networks = [(V4, 24), (V4, "255.255.255.0"), (V4, "255.0.255.0"), (V6, 64), (MARK, 31), (MARK6, 1)]
    for words, network in networks:
        yield service("persistence_netmask", "has no effect without", words, persistence_netmask=network)
        yield service(
            "persistence_netmask", "has no effect without", words, persistence_netmask=network, persistence_timeout=0
        )
    for word in NO_BOOLEANS:
        yield service("one_packet", "is not a boolean", UDP, one_packet=word)
    yield service("one_packet", "is for udp and fwmark services, not for tcp", V4, one_packet=True)
    yield service("one_packet", "is for udp and fwmark services, not for tcp", V6, one_packet="yes")
    yield service("one_packet", "is for udp and fwmark services, not for sctp", V4, protocol="sctp", one_packet=True)


def _unknown_options() -> Iterator[Bad]:
    unknown = "there is no such option here"
    for option in ("sched", "Scheduler", "weight", "name", "health_check", "state", "purge", "persistent", "", "1"):
        yield service(option, unknown, V4, **{option: None})
    for option in ("wieght", "scheduler", "group", "protocol", "family", "real_servers", "fwmark"):
        yield server(option, unknown, V4, R4, **{option: 1})
    for option in ("Type", "address", "ports"):
        yield server(f"tunnel.{option}", unknown, V4, R4, forwarding="tunnel", tunnel={"type": "gre", option: "gue"})
        yield service(f"tunnel.{option}", unknown, V4, forwarding="tunnel", tunnel={"type": "gre", option: "gue"})


def _real_servers() -> Iterator[Bad]:
    for listed in NO_LISTS:
        yield service("real_servers", "is not a list", V4, real_servers=listed)
    for words in NO_DICTIONARIES:
        yield server("", "is not a dictionary", V4, words)
    for owner, words in FAMILIES:
        yield server("address", "is required", owner, without(words, "address"))
        yield server("address", "is required", owner, {"address": None})
    for address in NO_ADDRESSES:
        yield server("address", "is not an IPv4 or IPv6 address", V4, {"address": address})
    for address in NO_UNICAST:
        yield server("address", "is not a unicast address", V6, {"address": address})
    for address in ("fe80::1", "fe80::198.51.100.21", "FEBF::1"):
        yield server("address", "is link-local", V6, {"address": address})
        yield server("address", "is link-local", V4, {"address": address}, forwarding="tunnel")
    for port in no_integers(0, 65535):
        yield server("port", "is not an integer from 0 to 65535", V4, R4, port=port)
    for option, (owner, words) in zip(
        ("weight", "upper_threshold", "lower_threshold", "weight"), FAMILIES, strict=True
    ):
        for number in (*no_integers(0, INT_MAX), 2**32 - 1):
            yield server(option, f"is not an integer from 0 to {INT_MAX}", owner, words, **{option: number})
    for upper, lower in ((None, 1), (0, 1), (5, 6), (INT_MAX - 1, INT_MAX), ("0", "1")):
        yield server(
            "lower_threshold",
            f"{lower} is above the upper_threshold {upper or 0}",
            V4,
            R4,
            upper_threshold=upper,
            lower_threshold=lower,
        )


def _forwarding() -> Iterator[Bad]:
    methods = "is not one of masquerade, direct, tunnel"
    for method in ("nat", "dr", "-g", "Masquerade", "localnode", "bypass", "", 0, 7, ["direct"], False):
        yield service("forwarding", methods, V4, forwarding=method)
        yield server("forwarding", methods, V6, R6, forwarding=method)
    # A packet that is not rewritten keeps its port, and one that is not wrapped its family.
    for method in ("direct", "tunnel"):
        for owner, words in FAMILIES[:2]:
            for port in (0, 81, "8080"):
                yield server(
                    "port",
                    f"{int(port)} is not the service's 80: forwarding {method} cannot change the port",
                    owner,
                    words,
                    forwarding=method,
                    port=port,
                )
    yield Bad(
        [{**V4, "forwarding": "direct", "real_servers": [{**R4, "port": 8080}]}],
        "services[0].real_servers[0].port",
        "forwarding direct cannot change the port",
    )
    for method, owner in itertools.product(("masquerade", "direct"), (V4, V6, MARK, MARK6)):
        other = R4 if owner in (V6, MARK6) else R6
        yield server("address", "is not of the service's family", owner, other, forwarding=method)
    yield server("address", "only forwarding tunnel crosses families", V4, R6)
    yield Bad(
        [{**V6, "forwarding": "tunnel", "real_servers": [{**R4, "forwarding": "masquerade"}]}],
        "services[0].real_servers[0].address",
        "only forwarding tunnel crosses families",
    )


#: What is wrong with a tunnel, below its option, and why.
BAD_TUNNELS: list[tuple[t.Any, str, str]] = [
    *((words, "", "is not a dictionary") for words in ("gue", 6080, ["gue"], True)),
    *(({"type": kind}, ".type", "is not one of ipip, gue, gre") for kind in ("GUE", "vxlan", "", 1, 9, ["gue"])),
    *(({"type": "gue", "port": port}, ".port", "is not an integer from 0 to 65535") for port in no_integers(0, 65535)),
    *(
        ({"type": "gue", **more}, ".port", "a gue tunnel needs a UDP port")
        for more in ({}, {"port": 0}, {"port": None})
    ),
    ({"port": 6080}, ".port", "a tunnel of type ipip has no port"),
    ({"type": "ipip", "port": 6080}, ".port", "a tunnel of type ipip has no port"),
    ({"type": "gre", "port": 6080}, ".port", "a tunnel of type gre has no port"),
    *(
        ({"type": "gue", "port": 6080, "checksum": word}, ".checksum", "is not one of none, csum, remcsum")
        for word in ("crc", "CSUM", "", 0, 3, True, ["csum"])
    ),
    ({"checksum": "csum"}, ".checksum", "a tunnel of type ipip has no checksum"),
    ({"type": "ipip", "checksum": "remcsum"}, ".checksum", "a tunnel of type ipip has no checksum"),
    ({"type": "gre", "checksum": "remcsum"}, ".checksum", "a tunnel of type gre has no remote checksum"),
]


def _tunnels() -> Iterator[Bad]:
    for (words, below, reason), (owner, target) in zip(BAD_TUNNELS, itertools.cycle(FAMILIES)):
        yield server(f"tunnel{below}", reason, owner, target, forwarding="tunnel", tunnel=words)
        yield service(f"tunnel{below}", reason, owner, forwarding="tunnel", tunnel=words)
        # A tunnel that is not in use is no place for nonsense either.
        yield server(f"tunnel{below}", reason, owner, target, tunnel=words)
    for method in ("masquerade", "direct"):
        yield server("tunnel", "has no effect", V4, R4, forwarding=method, tunnel={"type": "gre"})
        yield server(
            "tunnel", f"whose forwarding is {method}", V6, R6, forwarding=method, tunnel={"type": "gue", "port": 1}
        )


def _duplicates() -> Iterator[Bad]:
    def services(*listed: Words, first: int, second: int, name: str) -> Bad:
        return Bad(list(listed), f"services[{second}]", f"{name} is listed already, as services[{first}]")

    yield services(V4, V4, first=0, second=1, name="tcp 192.0.2.10:80")
    yield services(V4, UDP, V6, {**V4, "scheduler": "rr"}, first=0, second=3, name="tcp 192.0.2.10:80")
    yield services(
        V4, V6, {**V6, "address": "2001:DB8:F:0:0:0:0:10"}, first=1, second=2, name="tcp [2001:db8:f::10]:80"
    )
    yield services(V4, {**V4, "port": "80"}, first=0, second=1, name="tcp 192.0.2.10:80")
    yield services(V4, {**V4, "family": "ipv4"}, first=0, second=1, name="tcp 192.0.2.10:80")
    yield services(MARK, {"fwmark": "7", "family": "ipv4"}, first=0, second=1, name="fwmark 7 ipv4")
    yield services(MARK, MARK6, MARK6, first=1, second=2, name="fwmark 7 ipv6")

    def servers(owner: Words, *listed: Words, first: int, second: int, name: str) -> Bad:
        return Bad(
            [V4, {**owner, "real_servers": list(listed)}],
            f"services[1].real_servers[{second}]",
            f"{name} is listed already, as real_servers[{first}]",
        )

    yield servers(UDP, R4, R4, first=0, second=1, name="198.51.100.21:80")
    yield servers(UDP, R4, {**R4, "port": 81}, {**R4, "port": 80}, first=0, second=2, name="198.51.100.21:80")
    yield servers(UDP, {**R4, "port": "81"}, R4, {**R4, "port": 81}, first=0, second=2, name="198.51.100.21:81")
    yield servers(UDP, {**R4, "port": 81}, R4, R4, first=1, second=2, name="198.51.100.21:80")
    yield servers(UDP, R4, {**R4, "weight": 0}, first=0, second=1, name="198.51.100.21:80")
    yield servers(V6, R6, {"address": "2001:DB8:B::0:21"}, first=0, second=1, name="[2001:db8:b::21]:80")
    yield servers(MARK6, R6, {**R6, "port": 0}, first=0, second=1, name="[2001:db8:b::21]:0")


def _places() -> Iterator[Bad]:
    """The right entry is named, wherever it stands; the first fault of several is."""
    yield Bad([V4, V6, {**UDP, "port": 99999}], "services[2].port", "is not an integer")
    yield Bad(
        [V4, {**V6, "real_servers": [R6, {**R6, "port": 81}, {**R6, "port": 82, "weight": -1}]}],
        "services[1].real_servers[2].weight",
        "-1 is not an integer from 0 to 2147483647",
    )
    yield Bad([{**V4, "port": -1}, {**V6, "port": -1}], "services[0].port", "is not an integer")
    yield Bad([V4, {**V4, "scheduler": ""}], "services[1].scheduler", "is not the name of a scheduler")


BAD_INPUTS: list[Bad] = [
    bad
    for group in (
        *(_keys, _attributes, _unknown_options),
        *(_real_servers, _forwarding, _tunnels),
        *(_duplicates, _places),
    )
    for bad in group()
]
