# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables in the user's words: making them, and what ipvsadm(8) must say of them.

Nothing here uses the code under test: a table is compared with a second opinion on what it means.
"""

from __future__ import annotations

import subprocess
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import strategies as st

Words = dict[str, Any]
Normal = dict[Any, tuple[Words, dict[Any, Words]]]

INT_MAX = 2**31 - 1
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos")
FLAGS = {"sh": ["sh-fallback", "sh-port", "flag-3"], "mh": ["mh-fallback", "mh-port", "flag-3"]}
KEY_OPTIONS = ("fwmark", "family", "protocol", "address", "port")
PLAIN_FLAGS = ["flag-1", "flag-2", "flag-3"]
OPTION = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service", "masquerade": "-m", "direct": "-g", "tunnel": "-i"}
CHECKSUM = {"none": "nocsum", "csum": "csum", "remcsum": "remcsum"}


@cache
def kernel_schedulers() -> tuple[str, ...]:
    """The schedulers of this kernel, as ipvsadm finds them. Debian's user-mode-linux lacks twos."""
    probe = ["-f", "4294967000"]
    found = []
    for name in SCHEDULERS:
        if subprocess.run(["ipvsadm", "-A", *probe, "-s", name], capture_output=True, check=False).returncode == 0:
            subprocess.run(["ipvsadm", "-D", *probe], check=True)
            found.append(name)
    return tuple(found)


# --- what words mean ----------------------------------------------------------------


def normal(services: list[Words]) -> Normal:
    """Every option spelled out, by key: equal tables have equal normal forms."""
    return {service_key(words): (service(words), real_servers(words)) for words in services}


def service_key(words: Words) -> Any:
    if "fwmark" in words:
        return (words["fwmark"], words.get("family", "ipv4"))
    return (words["protocol"], words["address"], words["port"])


def service(words: Words) -> Words:
    full = 128 if service_family(words) == "ipv6" else 32
    return {
        "scheduler": words.get("scheduler", "wlc"),
        "scheduler_flags": sorted(words.get("scheduler_flags", [])),
        "persistence_timeout": words.get("persistence_timeout", 0),
        "persistence_netmask": words.get("persistence_netmask", full),
        "persistence_engine": words.get("persistence_engine", ""),
        "one_packet": words.get("one_packet", False),
    }


def service_family(words: Words) -> str:
    if "fwmark" in words:
        return str(words.get("family", "ipv4"))
    return "ipv6" if ":" in words["address"] else "ipv4"


def real_servers(words: Words) -> dict[Any, Words]:
    result = {}
    for server in words.get("real_servers", []):
        forwarding = server.get("forwarding", words.get("forwarding", "masquerade"))
        tunnel = server.get("tunnel", words.get("tunnel", {})) if forwarding == "tunnel" else {}
        result[server["address"], server.get("port", words.get("port", 0))] = {
            "weight": server.get("weight", 1),
            "forwarding": forwarding,
            "tunnel": {"type": "ipip", "port": 0, "checksum": "none", **tunnel},
            "upper_threshold": server.get("upper_threshold", 0),
            "lower_threshold": server.get("lower_threshold", 0),
        }
    return result


def messages_between(have: Normal, want: Normal) -> int:
    """The fewest messages that make exactly the one of the other."""
    count = len(have.keys() - want.keys())  # a service goes with its real servers
    for key, (attributes, servers) in want.items():
        old_attributes, old_servers = have.get(key, (None, {}))
        count += attributes != old_attributes
        count += sum(server != old_servers.get(server_key) for server_key, server in servers.items())
        count += len(old_servers.keys() - servers.keys())
    return count


# --- what ipvsadm says of them ------------------------------------------------------


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _service_option(key: Any) -> str:
    if len(key) == 2:
        signed = key[0] - 2**32 if key[0] > INT_MAX else key[0]  # as ipvsadm 1.31 prints it
        return f"-f {signed}" + (" -6" if key[1] == "ipv6" else "")
    return f"{OPTION[key[0]]} {_endpoint(*key[1:])}"


def _mask(prefix: int | str) -> str:
    if isinstance(prefix, str):
        return prefix
    return str(IPv4Address((0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF))


def _family(key: Any) -> str:
    return key[1] if len(key) == 2 else "ipv6" if ":" in key[1] else "ipv4"


def _saved(table: Normal) -> list[str]:
    """The lines of `ipvsadm -Sn`, sorted: the kernel's order is that of a hash."""
    lines = []
    for key, (words, servers) in table.items():
        line = f"-A {_service_option(key)} -s {words['scheduler']}"
        if words["persistence_timeout"]:
            line += f" -p {words['persistence_timeout']}"
            if _family(key) == "ipv6" and words["persistence_netmask"] != 128:
                line += f" -M {words['persistence_netmask']}"
            elif _family(key) == "ipv4" and words["persistence_netmask"] != 32:
                line += f" -M {_mask(words['persistence_netmask'])}"
        if words["persistence_engine"]:
            line += f" --pe {words['persistence_engine']}"
        if words["one_packet"]:
            line += " -o"
        # ipvsadm knows two names for sh and mh, and leaves out the third, though not its "-b ".
        names = FLAGS.get(words["scheduler"], PLAIN_FLAGS)
        printed = [
            name for name in names if name in words["scheduler_flags"] and (name != "flag-3" or names is PLAIN_FLAGS)
        ]
        if words["scheduler_flags"]:
            line += f" -b {','.join(printed)}"
        lines.append(line)
        for server_key, server in servers.items():
            line = f"-a {_service_option(key)} -r {_endpoint(*server_key)} {OPTION[server['forwarding']]} -w {server['weight']}"
            if server["forwarding"] == "tunnel":
                tunnel = server["tunnel"]
                line += f" --tun-type {tunnel['type']}"
                if tunnel["type"] == "gue":
                    line += f" --tun-port {tunnel['port']}"
                if tunnel["type"] != "ipip":
                    line += f" --tun-{CHECKSUM[tunnel['checksum']]}"
            lines.append(line)
    return sorted(lines)


def _thresholds(table: Normal) -> list[str]:
    """The lines of `ipvsadm -Ln --thresholds` about real servers, their blanks squeezed and the connections cut off."""
    return sorted(
        f"-> {_endpoint(*server_key)} {server['upper_threshold']} {server['lower_threshold']}"
        for _words, servers in table.values()
        for server_key, server in servers.items()
    )


def seen(table: Normal) -> tuple[list[str], list[str]]:
    """What the fixture `table` reads when the kernel has this table."""
    return _saved(table), _thresholds(table)


# --- making tables ------------------------------------------------------------------

# Few keys, so that tables made one after the other have entries in common.
VIRTUAL = {"ipv4": ["192.0.2.10", "192.0.2.11"], "ipv6": ["2001:db8:f::10", "2001:db8:f:0:1::"]}
REAL = {
    "ipv4": [str(IPv4Address("198.51.100.21") + n) for n in range(4)],
    "ipv6": [str(IPv6Address("2001:db8:b::21") + n) for n in range(4)],
}
PORTS = [80, 443, 1, 65535]

COUNTS = st.one_of(st.integers(1, 4), st.sampled_from([0, 0xFFFF, INT_MAX]))


@st.composite
def tunnels(draw: st.DrawFn) -> Words:
    kind = draw(st.sampled_from(["ipip", "gue", "gre"]))
    words: Words = {"type": kind}
    if kind == "gue":
        words["port"] = draw(st.sampled_from([1, 6080, 65535]))
        words["checksum"] = draw(st.sampled_from(["none", "csum", "remcsum"]))
    if kind == "gre":
        words["checksum"] = draw(st.sampled_from(["none", "csum"]))
    return words


@st.composite
def real_server_words(draw: st.DrawFn, family: str, service_port: int | None) -> Words:
    forwarding = draw(st.sampled_from(["masquerade", "direct", "tunnel"]))
    if forwarding == "tunnel":
        family = draw(st.sampled_from(["ipv4", "ipv6"]))
    words: Words = {"address": draw(st.sampled_from(REAL[family])), "forwarding": forwarding}
    if service_port is None:
        words["port"] = draw(st.sampled_from([0, *PORTS]))
    elif forwarding == "masquerade":
        words["port"] = draw(st.sampled_from([service_port, *PORTS]))
    if draw(st.booleans()):
        words["weight"] = draw(COUNTS)
    if forwarding == "tunnel" and draw(st.booleans()):
        words["tunnel"] = draw(tunnels())
    if draw(st.integers(0, 3)) == 0:
        words["upper_threshold"] = draw(COUNTS)
        words["lower_threshold"] = draw(st.integers(0, words["upper_threshold"]))
    return words


@st.composite
def service_keys(draw: st.DrawFn) -> Words:
    family = draw(st.sampled_from(["ipv4", "ipv6"]))
    if draw(st.integers(0, 3)) == 0:
        return {"fwmark": draw(st.sampled_from([1, 7, 2**32 - 1])), "family": family}
    return {
        "protocol": draw(st.sampled_from(["tcp", "udp", "sctp"])),
        "address": draw(st.sampled_from(VIRTUAL[family])),
        "port": draw(st.sampled_from([0, 80, 443])),
    }


@st.composite
def service_attributes(draw: st.DrawFn, key: Words) -> Words:
    words: Words = {"scheduler": draw(st.sampled_from(kernel_schedulers()))}
    if draw(st.booleans()):
        flags = FLAGS.get(words["scheduler"], PLAIN_FLAGS)
        words["scheduler_flags"] = draw(st.lists(st.sampled_from(flags), unique=True))
    if key.get("port") == 0 or draw(st.booleans()):
        words["persistence_timeout"] = draw(st.sampled_from([1, 60, 300, 31 * 24 * 3600]))
        if draw(st.booleans()):
            prefixes, uneven = st.integers(1, 32), st.just("255.0.255.0")
            words["persistence_netmask"] = draw(
                st.integers(1, 128) if service_family(key) == "ipv6" else st.one_of(prefixes, uneven)
            )
    if draw(st.integers(0, 3)) == 0:
        words["persistence_engine"] = "sip"
    if key.get("protocol", "udp") == "udp":
        words["one_packet"] = draw(st.booleans())
    return words


@st.composite
def service_words(draw: st.DrawFn) -> Words:
    key = draw(service_keys())
    port = key.get("port")
    servers = st.lists(
        real_server_words(service_family(key), port),
        max_size=5,
        unique_by=lambda server: (server["address"], server.get("port", port)),
    )
    return {**key, **draw(service_attributes(key)), "real_servers": draw(servers)}


def tables(max_size: int = 5) -> st.SearchStrategy[list[Words]]:
    """Tables over the whole surface of ipvsadm(8) that the kernel accepts."""
    return st.lists(service_words(), max_size=max_size, unique_by=service_key)


@st.composite
def edited(draw: st.DrawFn, services: list[Words]) -> list[Words]:
    """The same table, in another order, with some entries gone, changed or new."""
    kept = []
    for words in services:
        servers = words["real_servers"]
        key = {option: words[option] for option in KEY_OPTIONS if option in words}
        match draw(st.sampled_from(["same", "gone", "attributes", "fewer", "weights"])):
            case "same":
                kept.append(words)
            case "attributes":
                kept.append({**key, **draw(service_attributes(key)), "real_servers": servers})
            case "fewer":
                kept.append({**words, "real_servers": [server for server in servers if draw(st.booleans())]})
            case "weights":
                kept.append({**words, "real_servers": [{**server, "weight": draw(COUNTS)} for server in servers]})
    there = {service_key(words) for words in kept}
    new = [words for words in draw(tables(2)) if service_key(words) not in there]
    return draw(st.permutations(kept + new))
