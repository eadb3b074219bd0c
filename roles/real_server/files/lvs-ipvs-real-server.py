#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a real server, made as its configuration says; run by the role and at each boot.

masquerade: replies must leave through the director, whatever the host's default route is. Packets *from*
the address and ports the directors know are routed by a table of their own, which holds the network of that
address and a default route to the director. A client on another network of the host is answered through the
director too, for the director alone knows the virtual address to put back. What else the address is for, such
as management, keeps its way; where there is none, the director is one.

direct: packets arrive as the client sent them, so the host has the virtual addresses, on a dummy interface.
It must not tell its link of them, and it never does: ARP is told so before the first address is there, and for
IPv6 nobody answers for the addresses of another interface.

tunnel: the same packets arrive in others. A device takes them out for each kind of tunnel, and holds the
virtual addresses: without an address, a loose reverse path filter would drop what comes out of it. Only
directors may send such packets, and clients are told what size has room in them.

What the program makes it knows again: routes and rules by their protocol number, devices by their group
and name, rules of nftables by their table, and sysctls and GUE ports by a file in /run, which ends when they
do. What is ours and not wanted goes away, what is not ours is never touched, and what is right already is left
alone, so traffic never notices a second run.

Each command that was needed is printed. Needs Python 3.9, iproute2, and for tunnels nftables.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import ipaddress
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
import typing as t
from pathlib import Path

Words = dict[str, t.Any]

SYSCTLS = Path("/proc/sys")
MODULES = Path("/sys/module")
FILE = Path("/run/lvs-ipvs-real-server.json")
LOCKS = Path("/run/lvs-ipvs-real-server")
#: How long another run may take, in seconds.
PATIENCE = 120
TABLE = "inet lvs_ipvs_real_server"
#: Protocol numbers of IP within IP: IPv4, IPv6 and GRE.
IPV4, IPV6, GRE = 4, 41, 47
#: What a device takes out of its tunnel, by its kind, and the kernel module that it is of.
CARRIES = {"ipip": (IPV4,), "sit": (IPV6,), "ip6tnl": (IPV4, IPV6), "gre": (GRE,), "ip6gre": (GRE,)}
MODULE = {"ipip": "ipip", "sit": "sit", "ip6tnl": "ip6_tunnel", "gre": "ip_gre", "ip6gre": "ip6_gre", "dummy": "dummy"}
#: Headers of IP and TCP without options, in bytes, by the version of IP.
HEADERS = {4: 40, 6: 60}
#: Those that have ports.
NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
#: What says that a packet did not arrive, by the version of IP: of ICMP, rules take type and code for the number of a port.
UNREACHABLE = {4: "ipproto 1 dport 768-1023", 6: "ipproto 58 dport 256-511"}
#: The priority of rules that come after all tables of the host.
LAST = 32768
#: The scope of link-local addresses, as ip-address(8) numbers it.
SCOPE_LINK = "253"


class Problem(Exception):
    """What the administrator has to mend."""


class Steps:
    """Commands that make what is wanted, and commands that take off what is not."""

    def __init__(self) -> None:
        self.make: list[str] = []
        self.take: list[str] = []


def version(address: str) -> int:
    return ipaddress.ip_address(address).version


def place(address: str, links: list[Words]) -> Words:
    """The interface that has an address of the host."""
    for link in links:
        if any(info.get("local") == address for info in link.get("addr_info", ())):
            return link
    raise Problem(f"lvs_address or lvs_address6: no interface of this host has {address}")


# -- masquerade ------------------------------------------------------------------------------------------


class Route(t.NamedTuple):
    table: int
    destination: str
    device: str
    gateway: str = ""

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{self.destination}{via} dev {self.device} table {self.table}"


class Rule(t.NamedTuple):
    priority: int
    source: str
    table: int
    #: Which packets of those; empty for all.
    only: str = ""

    def __str__(self) -> str:
        only = f" {self.only}" if self.only else ""
        return f"priority {self.priority} from {self.source}{only} table {self.table}"


def wanted(masquerade: Words, links: list[Words]) -> tuple[list[Route], list[Rule]]:
    """The routes and rules of one family; ``links`` is what ``ip -j addr`` tells."""
    table = masquerade["table"]
    gateway = masquerade["gateway"]
    routes: list[Route] = []
    rules: list[Rule] = []
    devices: list[str] = []
    for address, ports in masquerade["addresses"].items():
        link = place(address, links)
        length = next(info["prefixlen"] for info in link["addr_info"] if info.get("local") == address)
        network = ipaddress.ip_network(f"{address}/{length}", strict=False)
        if gateway == address:
            raise Problem(f"{_gateway(gateway)} is this host's own address")
        routes.append(Route(table, str(network), link["ifname"]))
        rules += choose(address, ports, table, masquerade["priority"])
        if ipaddress.ip_address(gateway) in network:
            devices.append(link["ifname"])
    if not routes:
        return [], []
    if not devices:
        raise Problem(f"{_gateway(gateway)} is not on the network of {' or '.join(masquerade['addresses'])}")
    return [*dict.fromkeys(routes), Route(table, "default", devices[0], gateway)], rules


def choose(address: str, ports: list[str], table: int, priority: int) -> list[Rule]:
    """The rules of an address. The kernel looks for what a rule to delete says, so no two kinds have the same priority."""
    if everything(ports):
        return [Rule(priority, address, table)]
    replies = [f"ipproto {NUMBERS[protocol]} sport {span}" for protocol, span in map(str.split, ports)]
    return [
        *(Rule(priority + 1, address, table, only) for only in [*replies, UNREACHABLE[version(address)]]),
        Rule(LAST, address, table),
    ]


def everything(ports: list[str]) -> bool:
    """Whether all that leaves from an address leaves through the director. No rule can name the last port."""
    return not ports or any(span.endswith((" 65535", "-65535")) for span in ports)


def _gateway(address: str) -> str:
    option = "real_server_gateway" + ("" if version(address) == 4 else "6")
    return f"{option}, lvs_gateway or the director's address: {address}"


def parse_routes(told: list[Words]) -> list[Route]:
    """The routes that ``ip -j -N route show table all proto NUMBER`` tells: it leaves the number out."""
    return [Route(int(route["table"]), route["dst"], route.get("dev", ""), route.get("gateway", "")) for route in told]


def parse_rules(told: list[Words], protocol: int) -> list[Rule]:
    """Our rules among those that ``ip -j -N rule`` tells."""
    return [
        Rule(rule["priority"], rule["src"], int(rule["table"]), _only_of(rule))
        for rule in told
        if str(rule.get("protocol")) == str(protocol)
    ]


def _only_of(rule: Words) -> str:
    # Such as ipproto-6, and a number or the two ends of a span.
    words = [f"ipproto {rule['ipproto'].rpartition('-')[2]}"] if "ipproto" in rule else []
    for port in ("sport", "dport"):
        if port in rule:
            words.append(f"{port} {rule[port]}")
        elif f"{port}_start" in rule:
            words.append(f"{port} {rule[f'{port}_start']}-{rule[f'{port}_end']}")
    return " ".join(words)


def plan_routes(
    have: tuple[list[Route], list[Rule]], want: tuple[list[Route], list[Rule]], protocol: int, ip: str, steps: Steps
) -> None:
    """Make ``want`` of ``have``: a rule never points to a table that is not complete."""
    routes, rules = have
    # ``replace`` puts a route in the place of that to the same destination.
    places = {(route.table, route.destination) for route in want[0]}
    gateways = {route.table for route in routes if route.destination == "default"}
    for route in want[0]:
        if route not in routes:
            # Connections go by the gateway that there is, until the directors have changed theirs.
            later = route.destination == "default" and route.table in gateways
            (steps.take if later else steps.make).append(f"{ip} route replace {route} proto {protocol}")
    steps.make += [f"{ip} rule add {rule} protocol {protocol}" for rule in want[1] if rule not in rules]
    steps.take += [f"{ip} rule del {rule} protocol {protocol}" for rule in rules if rule not in want[1]]
    steps.take += [
        f"{ip} route del {route} proto {protocol}" for route in routes if (route.table, route.destination) not in places
    ]


# -- direct and tunnel: what packets arrive by -----------------------------------------------------------


class Device(t.NamedTuple):
    kind: str
    #: The host's end of the tunnel.
    local: str = ""
    #: Whether packets of GRE have checksums: the kernel takes either those with or those without.
    checksum: bool = False

    @classmethod
    def of(cls, service: Words) -> Device:
        """What the packets of a service arrive by."""
        tunnel, local = service["tunnel"], service["server_address"]
        if not tunnel:
            return cls("dummy")
        outer = version(local)
        if tunnel["type"] == "gre":
            return cls("gre" if outer == 4 else "ip6gre", local, tunnel["checksum"] == "csum")
        # What comes out of a GUE port is taken for what comes in a plain tunnel.
        return cls("ip6tnl" if outer == 6 else "ipip" if service["family"] == "ipv4" else "sit", local)

    @property
    def options(self) -> str:
        words = [f"type {self.kind}"]
        words += ["mode any"] if self.kind == "ip6tnl" else []
        words += [f"local {self.local}"] if self.local else []
        words += ["icsum"] if self.checksum else []
        return " ".join(words)


class Port(t.NamedTuple):
    """A UDP port that GUE arrives by."""

    port: int
    local: str

    def __str__(self) -> str:
        return f"port {self.port}{' -6' if version(self.local) == 6 else ''} local {self.local}"


class Found(t.NamedTuple):
    """A device that there is."""

    name: str
    device: Device
    up: bool
    addresses: dict[str, bool]
    """Whether an address is as it has to be."""


def parse_devices(links: list[Words], group: int) -> list[Found]:
    """Our devices among those that ``ip -j -N -d addr`` tells."""
    found = []
    for link in links:
        if not is_ours(link, group):
            continue
        info = link.get("linkinfo", {})
        data = info.get("info_data", {})
        addresses = {
            # The kernel adds addresses of its own, which are for networks.
            address["local"]: address["family"] == "inet" or bool(address.get("deprecated"))
            for address in link.get("addr_info", ())
            if address["prefixlen"] == (32 if address["family"] == "inet" else 128) and address["scope"] != SCOPE_LINK
        }
        device = Device(info.get("info_kind", ""), data.get("local", ""), bool(data.get("icsum")))
        found.append(Found(link["ifname"], device, "UP" in link.get("flags", ()), addresses))
    return found


def is_ours(link: Words, group: int) -> bool:
    return str(link.get("group")) == str(group) and link["ifname"].startswith("lvs-")


def by_device(services: list[Words]) -> dict[Device, list[Words]]:
    """The devices that services need."""
    found: dict[Device, list[Words]] = {}
    for service in services:
        device = Device.of(service)
        found.setdefault(device, []).append(service)
        other = found.get(device._replace(checksum=not device.checksum))
        if other:
            raise Problem(
                f"lvs_services ({service['name']}).tunnel.checksum: {other[0]['name']} has another, and the host takes "
                f"either packets with or packets without at {device.local}"
            )
    return found


def by_port(services: list[Words]) -> dict[Port, list[Words]]:
    """The ports that services need."""
    found: dict[Port, list[Words]] = {}
    for service in services:
        if service["tunnel"] and service["tunnel"]["type"] == "gue":
            found.setdefault(Port(service["tunnel"]["port"], service["server_address"]), []).append(service)
    return found


def require(module: str, service: Words) -> None:
    """Refuse what the kernel cannot do, before the first change."""
    if (MODULES / module).exists():
        return
    if run(["modprobe", "--dry-run", "--quiet", module]).returncode == 1:
        option = f"tunnel.type: {service['tunnel']['type']}" if service["tunnel"] else "forwarding: direct"
        raise Problem(
            f"lvs_services ({service['name']}).{option} needs the kernel module {module}, "
            f"which this kernel ({os.uname().release}) does not have"
        )


def plan_devices(want: dict[Device, list[Words]], have: list[Found], group: int, steps: Steps) -> None:
    """The devices, each with the addresses that packets arrive for."""
    taken = {found.name for found in have}
    for device, services in want.items():
        found = next((found for found in have if found.device == device), None)
        name = found.name if found else ""
        if not found:
            require(MODULE[device.kind], services[0])
            _refuse_other_checksum(device, have, services[0])
            name = next(name for name in _names(device.kind) if name not in taken)
            taken.add(name)
            steps.make.append(f"ip link add {name} group {group} {device.options}")
        if not found or not found.up:
            # Being up comes last: a run that was killed before is finished here.
            if (SYSCTLS / "net/ipv6").exists():
                # Link-local addresses are of no use here.
                steps.make.append(f"ip link set {name} addrgenmode none")
            # Replies do not leave by the device. Whatever the filter is for all, loose is what it is then.
            if not found or setting(f"net/ipv4/conf/{name}/rp_filter") != 2:
                steps.make.append(f"sysctl --write net/ipv4/conf/{name}/rp_filter=2")
            steps.make.append(f"ip link set {name} up")
        elif reverse_path(name) == 1:
            steps.make.append(f"sysctl --write net/ipv4/conf/{name}/rp_filter=2")
        wanted_here = dict.fromkeys(address for service in services for address in service["addresses"])
        had = found.addresses if found else {}
        # Nothing that the host begins is to leave from a virtual address.
        steps.make += [
            f"ip address replace {address}/{'32' if version(address) == 4 else '128'} dev {name} "
            + ("scope host" if version(address) == 4 else "nodad preferred_lft 0")
            for address in wanted_here
            if not had.get(address)
        ]
        steps.take += [
            f"ip address del {address}/{'32' if version(address) == 4 else '128'} dev {name}"
            for address in had
            if address not in wanted_here
        ]
    for found in have:
        if found.device not in want:
            steps.take.append(f"ip link del {found.name}")


def _refuse_other_checksum(device: Device, have: list[Found], service: Words) -> None:
    """Directors change one after another, and what is theirs until then would be lost."""
    other = device._replace(checksum=not device.checksum)
    for found in have:
        if found.device == other:
            raise Problem(
                f"lvs_services ({service['name']}).tunnel.checksum: {found.name} takes packets "
                f"{'with' if other.checksum else 'without'} at {device.local}, and no host takes both: "
                f"to lose no traffic, deploy another tunnel.type first, then this one"
            )


def _names(kind: str) -> t.Iterator[str]:
    yield "lvs-vip" if kind == "dummy" else f"lvs-{kind}"
    yield from (f"lvs-{kind}{number}" for number in itertools.count(2))


def plan_ports(want: dict[Port, list[Words]], have: list[Port], ours: list[Port], steps: Steps) -> list[Port]:
    """The ports that GUE arrives by; those that are ours then."""
    modules: dict[str, Words] = {}
    for port, services in want.items():
        # That for IPv6 is not enough by itself.
        for module in ("fou", "fou6") if version(port.local) == 6 else ("fou",):
            modules.setdefault(module, services[0])
    for module, service in modules.items():
        if not (MODULES / module).exists():
            require(module, service)
            # Nothing loads it by itself.
            steps.make.append(f"modprobe {module}")
    steps.make += [f"ip fou add {port} gue" for port in want if port not in have]
    steps.take += [f"ip fou del {port}" for port in ours if port in have and port not in want]
    return [port for port in want if port in ours or port not in have]


# -- sysctls ---------------------------------------------------------------------------------------------


def setting(path: str) -> int:
    return int((SYSCTLS / path).read_text(encoding="ascii"))


def reverse_path(device: str) -> int:
    """Which reverse path filter is in force: 0 for none, 1 for strict, 2 for loose."""
    return max(setting(f"net/ipv4/conf/{name}/rp_filter") for name in ("all", device))


def plan_sysctls(
    services: list[Words],
    masqueraded: dict[str, list[str]],
    links: list[Words],
    ours: dict[str, list[int]],
    steps: Steps,
) -> dict[str, list[int]]:
    """Those of the host; what is ours then."""
    # Of ``all`` and an interface's own, the greater is in force for ARP.
    least = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}
    if not any(version(address) == 4 for service in services for address in service["addresses"]):
        least = {}
    wrong = {path: value for path, value in least.items() if setting(path) < value}
    needed = set(least)
    # Replies may leave by another interface than the director's packets came by; of those to masquerade, what answers
    # fragments and ICMP, which have no ports.
    ends = [
        *(service["server_address"] for service in services if service["family"] == "ipv4" and not service["tunnel"]),
        *(address for address, ports in masqueraded.items() if not everything(ports)),
    ]
    for address in ends:
        device = place(address, links)["ifname"]
        path = f"net/ipv4/conf/{device}/rp_filter"
        needed.add(path)
        if reverse_path(device) == 1:
            wrong[path] = 2
    steps.make += [f"sysctl --write {path}={value}" for path, value in wrong.items()]
    for path, (before, after) in ours.items():
        # What another has set meanwhile is not ours any more.
        if path not in needed and (SYSCTLS / path).exists() and setting(path) == after:
            steps.take.append(f"sysctl --write {path}={before}")
    kept = {path: values for path, values in ours.items() if path in needed}
    return {**kept, **{path: [kept[path][0] if path in kept else setting(path), wrong[path]] for path in wrong}}


# -- nftables --------------------------------------------------------------------------------------------


def firewall(services: list[Words], links: list[Words], mtu: int) -> str:
    """The rules for nft, on one line; empty without tunnels."""
    arriving, sizes = [], dict[str, int]()
    tunneled = [service for service in services if service["tunnel"]]
    for device, users in by_device(tunneled).items():
        arriving += [_only(users, f"meta l4proto {number}") for number in CARRIES[device.kind]]
    arriving += [_only(users, f"udp dport {port.port}") for port, users in by_port(tunneled).items()]
    for service in tunneled:
        room = (mtu or place(service["server_address"], links)["mtu"]) - service["tunnel"]["overhead"]
        for address in service["addresses"]:
            size = room - HEADERS[version(address)]
            sizes[address] = min(size, sizes.get(address, size))
    if not arriving:
        return ""
    alike: dict[tuple[str, int], list[str]] = {}
    for address, size in sizes.items():
        alike.setdefault((_ip(address), size), []).append(address)
    leaving = [
        # The kernel never makes the size greater by this.
        f"{ip} saddr {{ {', '.join(addresses)} }} tcp flags & (syn | ack) == (syn | ack) tcp option maxseg size set {size};"
        for (ip, size), addresses in alike.items()
    ]
    return " ".join(
        [
            f"table {TABLE};",
            f"delete table {TABLE};",
            f"table {TABLE} {{",
            "chain arriving { type filter hook input priority filter; policy accept;",
            *arriving,
            "};",
            "chain leaving { type filter hook output priority mangle; policy accept;",
            *leaving,
            "};",
            "}",
        ]
    )


def _ip(address: str) -> str:
    return "ip" if version(address) == 4 else "ip6"


def _only(services: list[Words], what: str) -> str:
    """Drop what does not come from a director."""
    local = services[0]["server_address"]
    directors = sorted({address for service in services for address in service["directors"]})
    if not directors:
        raise Problem(
            f"lvs_services ({services[0]['name']}).forwarding: the tunnel ends at {local}, and no director has an "
            f"{'lvs_address' if version(local) == 4 else 'lvs_address6'} of that family for it to begin at"
        )
    ip = _ip(local)
    return f"{ip} daddr {local} {what} {ip} saddr != {{ {', '.join(directors)} }} drop;"


#: The rules of a table by chain. Those that name addresses not to drop, by what comes before these.
Chains = dict[str, dict[str, frozenset[str]]]


def parse_firewall(told: str) -> Chains:
    """The rules that ``nft list table`` tells."""
    chains: Chains = {}
    for line in re.sub(r",\s+", ", ", told).splitlines():
        rule = line.strip()
        if rule.startswith("chain "):
            chain = chains[rule.split()[1]] = {}
        elif chains and rule not in ("", "}"):
            spared = re.fullmatch(r"(.* saddr !=) (?:\{ (.*) \}|(\S+)) drop", rule)
            if spared:
                chain[spared[1]] = frozenset((spared[2] or spared[3]).split(", "))
            else:
                chain[rule] = frozenset()
    return chains


def joined(have: Chains, want: Chains) -> Chains:
    """The rules for what arrives by the old ways, too: those who are heard now are, and the smaller size is told."""
    both = {name: dict(rules) for name, rules in want.items()}
    for name in have.keys() & want.keys():
        for rule, spared in have[name].items():
            # What a chain is for comes first in it, and once.
            if not rule.startswith("type "):
                both[name][rule] = spared | want[name].get(rule, frozenset())
    return both


def write_firewall(chains: Chains) -> str:
    """For nft, on one line."""
    return " ".join(
        [
            f"table {TABLE}; delete table {TABLE}; table {TABLE} {{",
            *(
                f"chain {name} {{ "
                + " ".join(
                    f"{rule} {{ {', '.join(sorted(spared))} }} drop;" if spared else rule.rstrip(";") + ";"
                    for rule, spared in rules.items()
                )
                + " };"
                for name, rules in chains.items()
            ),
            "}",
        ]
    )


def plan_firewall(rules: str, steps: Steps) -> None:
    """In one change, and in another when the devices are off: until then directors may send as they did."""
    have = run(["nft", "list", "table", *TABLE.split()]).stdout
    # How nft tells the rules depends on its version: it says so itself, where nothing else is.
    show = f"nft -f - && nft list table {TABLE}"
    if not rules:
        steps.take += [f"nft delete table {TABLE}"] if have else []
        return
    shown = run(["unshare", "--net", "sh", "-c", show], input=rules)
    refused = re.search("Error: .*", shown.stderr)
    if refused:
        raise Problem(f"forwarding: tunnel needs rules that nft does not take here: {refused[0]}")
    # Without nft there are no rules yet: its package comes first.
    want = shown.stdout
    if have != want or not want:
        there, wanted_there = parse_firewall(have), parse_firewall(want)
        both = joined(there, wanted_there)
        if both == wanted_there:
            steps.make.append(f"nft {shlex.quote(rules)}")
            return
        if both != there:
            steps.make.append(f"nft {shlex.quote(write_firewall(both))}")
        steps.take.append(f"nft {shlex.quote(rules)}")


# -- the host --------------------------------------------------------------------------------------------


def run(command: list[str], **given: t.Any) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, **given)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: not found")


def ask(*question: str) -> list[Words]:
    """What ip(8) tells."""
    told = run(["ip", "-j", "-N", *question])
    if told.returncode:
        raise Problem(told.stderr.strip() or f"ip {' '.join(question)}: exit status {told.returncode}")
    # An empty entry stands for one that a filter hid.
    return [entry for entry in json.loads(told.stdout or "[]") if entry]


class State(t.NamedTuple):
    """What is ours and cannot be told by looking, since the last boot."""

    #: What each was before, and what it was set to.
    sysctls: dict[str, list[int]]
    ports: list[Port]

    def joined(self, other: State) -> State:
        return State({**self.sysctls, **other.sysctls}, list(dict.fromkeys([*self.ports, *other.ports])))


def recall() -> State:
    try:
        told = json.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return State({}, [])
    return State(told["sysctls"], [Port(*port) for port in told["ports"]])


def remember(have: State, want: State) -> None:
    if want == have:
        return
    if want == State({}, []):
        FILE.unlink(missing_ok=True)
        return
    new = FILE.with_suffix(".new")
    new.write_text(json.dumps(want._asdict()), encoding="utf-8")
    new.replace(FILE)


def apply(steps: list[str]) -> None:
    """Take the steps; those of ip(8) that follow one another in one process."""
    for tool, group in itertools.groupby(steps, lambda step: re.sub(r"^(ip -[46]|\w+) .*", r"\1", step)):
        commands = list(group)
        if tool.startswith("ip"):
            batch = "".join(f"{command[len(tool) + 1 :]}\n" for command in commands)
            _succeed(run([*tool.split(), "-batch", "-"], input=batch), "\n".join(commands))
        elif tool == "sysctl":
            _settle()
            for command in commands:
                path, _sign, value = command.split()[-1].partition("=")
                (SYSCTLS / path).write_text(value, encoding="ascii")
        else:
            for command in commands:
                words = shlex.split(command)
                # Rules may be more than one argument of a command can hold.
                ran = run(["nft", "-f", "-"], input=" ".join(words[1:])) if tool == "nft" else run(words)
                # Of one mistake nft tells at many places of one line.
                ran.stderr = ran.stderr.strip().partition("\n")[0]
                _succeed(ran, command)


def _settle() -> None:
    """Have udev be the first to set the sysctls of a new device, as it does where sysctl.d speaks of all devices."""
    run(["udevadm", "settle", "--timeout=10"])


def _succeed(ran: subprocess.CompletedProcess[str], what: str) -> None:
    if ran.returncode:
        raise Problem(f"{ran.stderr.strip()} in:\n{what}")


@contextlib.contextmanager
def alone() -> t.Iterator[None]:
    """Two runs at once would both add what both found missing; behind the other, one finds it there."""
    # To lock a file it only has to be opened, which nobody else is to do.
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(LOCKS / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Problem(f"another run has kept {LOCKS}/lock for {PATIENCE} seconds") from None
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)


def converge(configuration: Words, check: bool = False, keep: bool = False) -> list[str]:
    """Make the network as the configuration says; all is read before the first change."""
    mark = configuration["mark"]
    services = [*configuration["direct"], *configuration["tunnel"]]
    links = ask("-d", "address", "show")
    others = [link for link in links if not is_ours(link, mark)]
    have = recall()
    ports = [
        Port(told["port"], told["local"])
        for told in (ask("fou", "show") if (MODULES / "fou").exists() else [])
        if "gue" in told and "local" in told
    ]
    # In the order in which they are made. They are taken off in the other.
    sysctls, rules, gue, devices, routes = parts = [Steps() for dummy in range(5)]
    masqueraded = configuration["masquerade"]["ipv4"]["addresses"]
    want = State(
        plan_sysctls(services, masqueraded, others, have.sysctls, sysctls),
        plan_ports(by_port(services), ports, have.ports, gue),
    )
    plan_firewall(firewall(services, others, configuration["mtu"]), rules)
    plan_devices(by_device(services), parse_devices(links, mark), mark, devices)
    for family, masquerade in configuration["masquerade"].items():
        ip = "-4" if family == "ipv4" else "-6"
        if not (SYSCTLS / "net" / family).exists():
            continue  # The kernel was told to do without.
        there = (
            parse_routes(ask(ip, "route", "show", "table", "all", "proto", str(mark))),
            parse_rules(ask(ip, "rule", "show"), mark),
        )
        plan_routes(there, wanted(masquerade, others), mark, f"ip {ip}", routes)
    make = [step for part in parts for step in part.make]
    take = [step for part in reversed(parts) for step in part.take]
    if not check:
        # Before the first change, so that a run which is killed leaves nothing that nobody knows.
        remember(have, have.joined(want))
        apply(make)
        if not keep:
            apply(take)
            remember(have.joined(want), want)
    return make + [f"kept: {step}" if keep else step for step in take]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="lvs-ipvs-real-server", description="Make the network of a real server as its configuration says."
    )
    parser.add_argument("configuration", help="the configuration file, or its text, which begins with {")
    parser.add_argument("--check", action="store_true", help="change nothing, only print what would be done")
    parser.add_argument("--keep", action="store_true", help="take nothing off yet, only print what would be")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for the host's addresses")
    arguments = parser.parse_args()
    text = arguments.configuration
    if not text.startswith("{"):
        text = Path(text).read_text(encoding="utf-8")
    configuration = json.loads(text)
    deadline = time.monotonic() + arguments.wait
    while True:
        try:
            with contextlib.nullcontext() if arguments.check else alone():
                steps = converge(configuration, arguments.check, arguments.keep)
            print(*steps, sep="\n", end="\n" if steps else "")
            return 0
        except Problem as problem:
            # At boot an address may come some time after the network is said to be there.
            if time.monotonic() >= deadline:
                print(f"{parser.prog}: {problem}", file=sys.stderr)
                return 1
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
