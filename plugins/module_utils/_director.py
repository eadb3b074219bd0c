# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a director has to be, by the cluster and by what the host tells of itself. Pure.

The role director asks the host once, and gets from here what to refuse, which sysctls the cluster wants of
this kernel, the interface of the virtual addresses, and the rules that mark packets.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _model

#: Kernels before this one make a client wait for a second when it uses a port again that is still remembered,
#: if connections are tracked (net.ipv4.vs.conn_reuse_mode=1 with conntrack=1).
_REUSES_AT_ONCE = (5, 9)
#: What every network has to carry without fragments (RFC 791, RFC 8200).
_MTU_MIN = {"ipv4": 576, "ipv6": 1280}
#: Bounds of the module parameter conn_tab_bits.
_TABLE_BITS = range(8, 28)

#: Defences that the kernel itself switches between 1 (on guard) and 2 (at work), as memory runs short and comes back.
_DEFENCES = ("net/ipv4/vs/drop_entry", "net/ipv4/vs/drop_packet", "net/ipv4/vs/secure_tcp")

#: What implements a protocol in the kernel. Who is not told of TCP is told of none.
_TCP, _SCTP = "ip_vs_protocol_tcp", "ip_vs_protocol_sctp"


class Route(t.NamedTuple):
    """How the host reaches an address."""

    interface: str
    #: The router that is asked, if the address is not on a link of the host.
    via: str = ""
    local: bool = False


class Told(t.NamedTuple):
    """What a host tells of itself."""

    kernel: tuple[int, ...]
    #: Of net.ipv4.vs; none before ip_vs is loaded.
    settings: frozenset[str]
    mtu: dict[str, int]
    routes: dict[str, Route]
    #: The interface of the network that holds the first virtual address; None if no network does.
    vip_interface: str | None
    #: Names of IPVS in this kernel, of those that were asked for.
    symbols: frozenset[str]
    #: Whether keepalived runs as its role has set it up.
    keepalived: bool
    #: Whether IPVS is loaded, or there is a module to load.
    ipvs: bool = True
    #: Values of sysctls, by their path below /proc/sys.
    sysctls: t.Mapping[str, str] = {}


def parse_told(lines: t.Iterable[str]) -> Told:
    """What the host tells, line by line: files as grep -H has them, answers of ip(8), and lines of the role's own."""
    kernel: tuple[int, ...] = ()
    settings, values, mtu, routes = set(), {}, {}, {}
    vip_interface, longest = None, 0
    symbols = set()
    keepalived = False
    ipvs = True
    for line in lines:
        sysctl = re.match(r"/proc/sys/([^:]+):(.*)", line)
        link = re.match(r"/sys/class/net/([^/]+)/mtu:(\d+)", line)
        # Neither the default route nor the route to an address alone, which is but where it is now, is a network.
        network = re.match(r"network [0-9a-f.:]+/(\d+) ", line)
        words = line.split()
        if sysctl:
            values[sysctl[1]] = sysctl[2]
            folder, _slash, name = sysctl[1].rpartition("/")
            if folder == "net/ipv4/vs":
                settings.add(name)
        elif link:
            mtu[link[1]] = int(link[2])
        elif line.startswith("kernel "):
            kernel = tuple(int(number) for number in re.findall(r"\d+", words[1])[:2])
        elif line == "keepalived runs":
            keepalived = True
        elif line.startswith("symbol "):
            symbols.add(words[1])
        elif line == "no module ip_vs":
            ipvs = False
        elif network and "dev" in words:
            # ip(8) tells those of IPv4 and of IPv6 in different orders; of one network, the preferred route first.
            if int(network[1]) > longest:
                vip_interface, longest = words[words.index("dev") + 1], int(network[1])
        elif line.startswith("route ") and "dev" in words:
            local = words[1] == "local"
            via = words[words.index("via") + 1] if "via" in words else ""
            if via in ("inet", "inet6"):
                via = words[words.index("via") + 2]
            routes[words[2 if local else 1]] = Route(words[words.index("dev") + 1], via, local)
    return Told(kernel, frozenset(settings), mtu, routes, vip_interface, frozenset(symbols), keepalived, ipvs, values)


class Wishes(t.NamedTuple):
    """What the role's options say."""

    vip_holder: str
    vip_interface: str
    conntrack: bool
    sloppy_tcp: bool
    conn_tab_bits: int
    sysctls: dict[str, t.Any]


class Director(t.NamedTuple):
    """What one director has to be."""

    #: What is to be refused, each with the option that says it.
    findings: list[str]
    sysctls: dict[str, t.Any]
    #: The files of those that the user wants.
    sysctl_files: list[str]
    #: Those that differ, as sysctl --write takes them.
    sysctls_to_set: list[str]
    vip_interface: str
    #: Rules for nft --file; empty if nothing is to be marked.
    marks: str
    #: For each service by firewall mark one of the destinations that are marked for it, as lvs.ipvs.table takes them to probe.
    marked: list[dict[str, t.Any]]
    #: Real servers that are sent packets as they came, whose routes matter.
    reached: list[str]
    #: What keepalived owns, for lvs.ipvs.table to let go of.
    released: list[_cluster.Words]


def director(
    cluster: t.Sequence[_cluster.Service], host: str, directors: t.Sequence[str], wishes: Wishes, told: Told
) -> Director:
    """All of it. ``directors``: those of the host's cluster."""
    refused = _cluster.strange_holder(wishes.vip_holder, host, directors)
    if not told.ipvs:
        release = ".".join(map(str, told.kernel))
        refused.append(
            f"lvs_services: the kernel of {host} ({release}) has no IPVS: ip_vs is neither loaded, nor is there a module to load "
            "(a kernel package with extra modules may have it; a container needs it loaded on its host)"
        )
    vips = _cluster.vips(cluster) if host == wishes.vip_holder else []
    # Without an address, any interface will do.
    interface = wishes.vip_interface or (told.vip_interface or "" if vips else "lo")
    if not told.kernel:
        pass  # the host has not been asked
    elif wishes.vip_interface and vips and wishes.vip_interface not in told.mtu:
        refused.append(f"director_vip_interface: {host} has no interface {wishes.vip_interface!r}")
    elif vips and not interface:
        refused.append(f"director_vip_interface: no network of {host} holds {vips[0]}: name the interface")
    if wishes.conn_tab_bits and wishes.conn_tab_bits not in _TABLE_BITS:
        bounds = f"from {_TABLE_BITS[0]} to {_TABLE_BITS[-1]}"
        refused.append(f"director_conn_tab_bits: {wishes.conn_tab_bits} is neither 0 nor {bounds}")
    refused += _two_managers(cluster, host, wishes, told)
    refused += _unreachable(cluster, host, told)
    refused += _both_ends(cluster, host, directors, wishes, told)
    for service in cluster:
        protocols = {service.value.key.protocol, *(mark.protocol for mark in service.marks)}
        if "sctp" in protocols and _TCP in told.symbols and _SCTP not in told.symbols:
            refused.append(f"lvs_services ({service.name}).protocol: the kernel of {host} has IPVS without SCTP")
    reached = (
        member.value.key.address
        for service in cluster
        for member in service.members
        if member.value.forwarding != "masquerade"
    )
    wanted = sysctls(cluster, host, directors, wishes, told)
    return Director(
        refused + _unknown(host, wishes, told),
        wanted,
        [f"/proc/sys/{sysctl_path(name)}" for name in wishes.sysctls],
        sysctls_to_set(wanted, told),
        interface,
        marks(cluster),
        marked(cluster),
        list(dict.fromkeys(reached)),
        _cluster.released_services(cluster),
    )


# -- sysctls ---------------------------------------------------------------------------------------------


def sysctls(
    cluster: t.Sequence[_cluster.Service], host: str, directors: t.Sequence[str], wishes: Wishes, told: Told
) -> dict[str, t.Any]:
    """The sysctls that the cluster wants of this kernel, under those that the user wants."""
    methods = _cluster.forwarding_methods(cluster)
    wanted: dict[str, t.Any] = {}
    # Packets of masqueraded connections are forwarded by the kernel; IPVS itself sends those of the other methods.
    if "masquerade" in methods["ipv4"]:
        wanted["net.ipv4.ip_forward"] = 1
    if "masquerade" in methods["ipv6"]:
        wanted["net.ipv6.conf.all.forwarding"] = 1
    slow = wishes.conntrack and told.kernel and told.kernel < _REUSES_AT_ONCE
    ipvs = {
        # For firewalls that match states of masqueraded connections. It costs, so it is off unless asked for.
        "conntrack": int(wishes.conntrack),
        "conn_reuse_mode": 0 if slow else 1,
        # Else a client whose connection goes to a server that is gone, and with UDP every later packet, is not answered.
        "expire_nodest_conn": 1,
        # Any packet may begin a connection, as where another director had it before.
        "sloppy_tcp": int(wishes.sloppy_tcp),
    }
    if any(service.value.persistence_timeout for service in cluster):
        # Weight 0 then means no new connections, also for clients that come again.
        ipvs["expire_quiescent_template"] = 1
    if looping_services(cluster, host, directors):
        # What another director sends to this host is for its server, not for its table.
        ipvs["backup_only"] = 1
    wanted.update((f"net.ipv4.vs.{name}", value) for name, value in ipvs.items() if _has(told, name))
    theirs = {sysctl_path(name) for name in wishes.sysctls}
    ours = {name: value for name, value in wanted.items() if sysctl_path(name) not in theirs}
    return {**ours, **wishes.sysctls}


def sysctl_path(name: str) -> str:
    """Where a sysctl is below /proc/sys, as sysctl(8) reads its name: what comes first separates, a dot or a slash."""
    first = re.search(r"[./]", name)
    return name.translate(str.maketrans("./", "/.")) if first and first[0] == "." else name


def sysctls_to_set(wanted: t.Mapping[str, t.Any], told: Told) -> list[str]:
    """The sysctls that are not what they shall be, as sysctl --write takes them."""
    differing = []
    for name, value in wanted.items():
        path = sysctl_path(name)
        want, have = (" ".join(str(words).split()) for words in (value, told.sysctls.get(path, "")))
        on_guard = path in _DEFENCES and {want, have} == {"1", "2"}
        if want != have and not on_guard:
            differing.append(f"{path}={want}")
    return differing


def _has(told: Told, setting: str) -> bool:
    """Whether the kernel has a setting; before ip_vs is loaded nobody can tell."""
    return not told.settings or setting in told.settings


def _unknown(host: str, wishes: Wishes, told: Told) -> list[str]:
    """What the user asks of a kernel that does not have it."""
    asked = {
        "director_conntrack": wishes.conntrack and "conntrack",
        "director_sloppy_tcp": wishes.sloppy_tcp and "sloppy_tcp",
    }
    for name in wishes.sysctls:
        folder, _slash, setting = sysctl_path(name).rpartition("/")
        if folder == "net/ipv4/vs":
            asked[f"director_sysctls[{name}]"] = setting
    return [
        f"{option}: the kernel of {host} has no sysctl net.ipv4.vs.{setting}"
        for option, setting in asked.items()
        if setting and not _has(told, setting)
    ]


# -- guards ----------------------------------------------------------------------------------------------


def _two_managers(cluster: t.Iterable[_cluster.Service], host: str, wishes: Wishes, told: Told) -> list[str]:
    """keepalived holds the addresses of all services where one of them is its own, and until it is stopped."""
    if told.keepalived and wishes.vip_holder:
        return [
            f"director_vip_holder: {host} runs keepalived, which moves the addresses, and {wishes.vip_holder} would have them, "
            'too: keep it (lvs_keepalived: true, director_vip_holder: ""), or stop and disable it on all directors before'
        ]
    checked = [service for service in cluster if service.health_check is not None]
    if not checked or not wishes.vip_holder:
        return []
    first = checked[0]
    return [
        f"director_vip_holder: {', '.join(first.addresses) or first.name} would have two managers, {wishes.vip_holder} and "
        f'keepalived, which moves the addresses for the health_check of {first.name}: set director_vip_holder to ""'
    ]


def _unreachable(cluster: t.Iterable[_cluster.Service], host: str, told: Told) -> t.Iterator[str]:
    """Real servers that the forwarding method cannot reach from here."""
    for service in cluster:
        for member in service.members:
            key, route = member.value.key, told.routes.get(member.value.key.address)
            whom = f"lvs_services ({service.name}).real_servers: {member.host or 'the real server'} {key.address}"
            if route is None or route.local:
                continue
            if member.value.forwarding == "direct" and route.via:
                yield (
                    f"{whom} is behind the router {route.via}, as {host} sees it, and direct forwarding "
                    "reaches only hosts on the same link: use tunnel or masquerade"
                )
            elif member.value.forwarding == "tunnel":
                overhead = _model.tunnel_overhead(member.value)
                family = service.value.key.family
                mtu = told.mtu.get(route.interface, 65535)
                if mtu - overhead < _MTU_MIN[family]:
                    yield (
                        f"{whom} is reached by {route.interface} of {host}, whose MTU of {mtu} leaves {mtu - overhead} within the "
                        f"tunnel (type {member.value.tunnel.type}): {family} needs {_MTU_MIN[family]}, so raise the MTU"
                    )


def looping_services(
    cluster: t.Iterable[_cluster.Service], host: str, directors: t.Sequence[str]
) -> list[_cluster.Service]:
    """The services that two directors could send to each other for ever, for they serve them as well.

    A masqueraded packet bears the real server's address, for which there is no service.
    """
    if len(directors) < 2:
        return []
    return [
        service
        for service in cluster
        if any(member.host == host and member.value.forwarding != "masquerade" for member in service.members)
    ]


def _both_ends(
    cluster: t.Iterable[_cluster.Service], host: str, directors: t.Sequence[str], wishes: Wishes, told: Told
) -> list[str]:
    if len(directors) > 1:
        for service in cluster:
            for member in service.members:
                if member.host == host and member.value.forwarding == "masquerade":
                    return [
                        f"lvs_services ({service.name}).real_servers: {host} is a director and a real server, and by masquerade "
                        "its replies would not leave by the director that another one is: use direct or tunnel there"
                    ]
    looping = looping_services(cluster, host, directors)
    if not looping:
        return []
    where = f"lvs_services ({looping[0].name}).real_servers: {host} is a director and a real server"
    if not _has(told, "backup_only"):
        return [
            f"{where}, and its kernel has no net.ipv4.vs.backup_only, without which directors send packets in circles"
        ]
    if wishes.vip_holder:
        return [
            f"{where}, and net.ipv4.vs.backup_only heeds only directors with a backup sync daemon, which keepalived "
            f'runs: let it move the addresses (director_vip_holder: ""), or take {host} out'
        ]
    return []


# -- rules that mark packets -----------------------------------------------------------------------------

_RULES = """\
# Written by the Ansible role lvs.ipvs.director. SPDX-License-Identifier: GPL-3.0-or-later
# Loaded as one change, whatever there was before: what is marked never passes unmarked.
table inet lvs_ipvs
delete table inet lvs_ipvs
"""


def marked(cluster: t.Iterable[_cluster.Service]) -> list[dict[str, t.Any]]:
    """An example of what is marked for each service, of TCP if there is any."""
    examples = []
    for service in cluster:
        for mark in sorted(service.marks, key=lambda mark: mark.protocol != "tcp")[:1]:
            port = mark.ports[0][0] if mark.ports else 0
            words = {"protocol": mark.protocol, "address": mark.address, "port": port}
            examples.append({"fwmark": service.value.key.fwmark, **words})
    return examples


def marks(cluster: t.Iterable[_cluster.Service]) -> str:
    """Rules for nft --file, in a table of their own, for the services by firewall mark that say what to mark."""
    rules = []
    for service in cluster:
        for mark in service.marks:
            family = "ip6" if _model.family_of(mark.address) == "ipv6" else "ip"
            ports = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in mark.ports)
            what = f"{mark.protocol} dport {{ {ports} }}" if ports else f"meta l4proto {mark.protocol}"
            rules.append(f"\t\t{family} daddr {mark.address} {what} meta mark set {service.value.key.fwmark}\n")
    if not rules:
        return ""
    chain = "\t\ttype filter hook prerouting priority mangle; policy accept;\n"
    return f"{_RULES}table inet lvs_ipvs {{\n\tchain prerouting {{\n{chain}{''.join(rules)}\t}}\n}}\n"
