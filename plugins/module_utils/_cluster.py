# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The cluster as the inventory declares it, and what each of its hosts needs of it. Pure.

``lvs_services`` names the services and, mostly by group, the hosts that serve them. The filters of the
collection hand the variables in, and the roles act on the answers. What a service or a real server may
say is judged by _model, exactly as the modules judge it; this file knows groups, hosts and names.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.lvs.ipvs.plugins.module_utils import _model, _options

Words = dict[str, t.Any]
Groups = t.Mapping[str, t.Sequence[str]]
HostVars = t.Mapping[str, t.Mapping[str, t.Any]]

VARIABLE = "lvs_services"
DIRECTORS = "directors"
#: Which of several clusters in one inventory a host is of.
CLUSTER_VARIABLE = "lvs_cluster"

#: What a service of the inventory may say that the table of a kernel does not hold.
CLUSTER_OPTIONS = ("name", "health_check", "mark", "real_servers")
_SERVICE_OPTIONS = frozenset((*CLUSTER_OPTIONS, *_options.SERVICE_OPTIONS))
#: Where a host says its addresses: the first one that fits is taken.
_ADDRESS_VARIABLES = ("lvs_address", "lvs_address6")
_WEIGHT_VARIABLE = "lvs_weight"
#: Addresses that move with the virtual ones, for real servers to answer by, whichever director is the master.
GATEWAY_VARIABLE = "lvs_gateway"


class ClusterError(ValueError):
    """All that is wrong with the declaration, a line each, which begins with the variable's path."""

    def __init__(self, findings: t.Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


class Member(t.NamedTuple):
    """One real server of a service."""

    #: Its name in the inventory; None for an address that no host of the inventory has.
    host: str | None
    words: Words
    value: _model.RealServer


class Mark(t.NamedTuple):
    """Packets that get the firewall mark of a service."""

    protocol: str
    address: str
    #: From and to, sorted; none for every port.
    ports: tuple[tuple[int, int], ...]


class Service(t.NamedTuple):
    """One service of the inventory, its real servers found."""

    name: str
    #: As lvs.ipvs.table takes them, but for real_servers.
    words: Words
    value: _model.VirtualService
    members: tuple[Member, ...]
    #: Not None: keepalived owns the service.
    health_check: t.Any
    marks: tuple[Mark, ...] = ()

    @property
    def addresses(self) -> list[str]:
        """Its virtual addresses; a service by firewall mark has those whose packets are marked for it."""
        address = self.value.key.address
        return list(dict.fromkeys(mark.address for mark in self.marks)) if address is None else [address]


class Floating(t.NamedTuple):
    """An address that moves between the directors."""

    address: str
    prefix: int
    #: Empty for that of the network which holds the address.
    interface: str = ""


def floating(path: str, told: t.Any) -> list[tuple[str, t.Any]]:
    """The entries of a variable such as lvs_gateway, one or a list of them, each with its path."""
    if isinstance(told, (list, tuple)):
        return [(f"{path}[{index}]", entry) for index, entry in enumerate(told)]
    return [(path, told)] if told else []


def floating_address(path: str, entry: t.Any) -> Floating:
    """Text such as ``192.0.2.20`` or ``192.0.2.20/24``, or a dictionary of ``address`` and ``interface``."""
    interface = ""
    if isinstance(entry, Mapping):
        for option in entry:
            if option not in ("address", "interface"):
                raise _model.InvalidValue(f"{path}.{option}", "there is no such option here")
        interface = entry.get("interface") or ""
        entry = _templated(entry.get("address"))
    text, dummy, length = str(entry).partition("/")
    address = _model.address(path, text)
    full = _model.FULL_PREFIX[_model.family_of(address)]
    return Floating(address, _model.integer(path, length or full, 1, full), interface)


def directors(host: str, groups: Groups, hostvars: HostVars) -> list[str]:
    """The directors of a host's cluster, in the order of the inventory; all of them for a host that is of no director's."""
    reader = _Reader(groups, hostvars)
    found = reader.directors(host)
    if reader.findings:
        raise ClusterError(dict.fromkeys(reader.findings))
    return found


def strange_holder(holder: str, host: str, names: t.Sequence[str]) -> list[str]:
    """What is wrong with the one that is to have the virtual addresses, as ``host`` sees it; "" is nobody."""
    if not holder or holder in names:
        return []
    return [
        f'director_vip_holder: host "{holder}" is not in the group "{DIRECTORS}", or not of the cluster of {host}, '
        f"whose directors are {', '.join(names)}"
    ]


def holder_of(names: t.Sequence[str], vip_holder: str | None) -> str:
    """Which of a cluster's directors has the virtual addresses: the one that is told, or else the first; "" is nobody."""
    return next(iter(names), "") if vip_holder is None else vip_holder


def services(declared: t.Any, groups: Groups, hostvars: HostVars, director: str | None = None) -> list[Service]:
    """The declared services, or ClusterError with everything that is wrong with them, on ``director`` if it is named."""
    return _Reader(groups, hostvars).services(declared, director)


def _table_words(service: Service) -> Words:
    """A service as lvs.ipvs.table takes it."""
    return {**service.words, "real_servers": [member.words for member in service.members]}


def director_services(cluster: t.Iterable[Service]) -> list[Words]:
    """What lvs.ipvs.table gets on each director: every service that keepalived does not own."""
    return [_table_words(service) for service in cluster if service.health_check is None]


def released_services(cluster: t.Iterable[Service]) -> list[Words]:
    """What lvs.ipvs.table has to let go of, should it have been its own: every service that keepalived owns."""
    return [_table_words(service) for service in cluster if service.health_check is not None]


def health_checked_services(cluster: t.Iterable[Service]) -> list[Words]:
    """What keepalived gets: the services that it owns, with their names and checks."""
    return [
        {"name": service.name, **_table_words(service), "health_check": service.health_check}
        for service in cluster
        if service.health_check is not None
    ]


def vips(cluster: t.Iterable[Service]) -> list[str]:
    """The virtual addresses, each once, in the order of the declaration."""
    return list(dict.fromkeys(address for service in cluster for address in service.addresses))


def forwarding_methods(cluster: t.Iterable[Service]) -> dict[str, list[str]]:
    """The forwarding methods in use, by the family of the services, whoever owns them."""
    used: dict[str, set[str]] = {family: set() for family in _model.FAMILIES}
    for service in cluster:
        used[service.value.key.family].update(member.value.forwarding for member in service.members)
    return {family: [method for method in _model.FORWARDINGS if method in used[family]] for family in used}


def real_server_services(
    cluster: t.Iterable[Service],
    host: str,
    groups: Groups,
    hostvars: HostVars,
    vip_holder: str | None = None,
) -> list[Words]:
    """Each service that ``host`` serves, as its role sees it: the host's end and the directors' end."""
    serving = [(service, member) for service in cluster for member in service.members if member.host == host]
    if not serving:
        return []
    reader = _Reader(groups, hostvars)
    names = reader.directors(host)
    if len({str(reader.cluster(name)) for name in names}) > 1:
        reader.findings.append(
            f"host {host}: {CLUSTER_VARIABLE}: no director is of its cluster, and they are of several"
        )
    holder = holder_of(names, vip_holder)
    reader.findings += strange_holder(holder, host, names)
    if reader.findings:
        raise ClusterError(dict.fromkeys(reader.findings))
    addresses = [address for name in names for address in reader.addresses(name)]
    gateways = {_model.family_of(address): address for address in reversed(reader.addresses(holder) if holder else [])}
    gateways.update(reader.gateways(host))
    if reader.findings:
        raise ClusterError(dict.fromkeys(reader.findings))
    serves = []
    for service, member in serving:
        key, server = service.value.key, member.value
        family = _model.family_of(server.key.address)
        tunnel = None
        if server.forwarding == "tunnel":
            tunnel = {**server.tunnel._asdict(), "overhead": _model.tunnel_overhead(server)}
        serves.append(
            {
                "name": service.name,
                "family": key.family,
                "protocol": key.protocol,
                "address": key.address,
                "addresses": service.addresses,
                "port": key.port,
                "fwmark": key.fwmark,
                "forwarding": server.forwarding,
                "tunnel": tunnel,
                "server_address": server.key.address,
                "server_port": server.key.port,
                "directors": [address for address in addresses if _model.family_of(address) == family],
                "gateway": gateways.get(family),
            }
        )
    return serves


def real_server_configuration(services: t.Iterable[Words], options: t.Mapping[str, t.Any]) -> Words:
    """What the program of a real server reads of the services that the host serves.

    It fits into a command, and so says everything once, however many services need it.
    """
    ways: dict[str, Words] = {
        family: {
            "addresses": {},
            "gateway": gateway,
            "table": int(options["route_table"]),
            "priority": int(options["rule_priority"]),
        }
        for family, gateway in (("ipv4", options["gateway"]), ("ipv6", options["gateway6"]))
    }
    alike: dict[str, dict[t.Any, Words]] = {"direct": {}, "tunnel": {}}
    for service in services:
        address = service["server_address"]
        if service["forwarding"] == "masquerade":
            way = ways[service["family"]]
            way["gateway"] = way["gateway"] or service["gateway"] or ""
            way["addresses"].setdefault(address, set()).add((service["protocol"], service["server_port"]))
            continue
        tunnel = service["tunnel"]
        same = alike[service["forwarding"]].setdefault(
            (service["family"], address, tunnel and tuple(tunnel.items())),
            {key: service[key] for key in ("name", "family", "server_address", "tunnel")}
            | {"addresses": {}, "directors": service["directors"] if tunnel else []},
        )
        same["addresses"].update(dict.fromkeys(service["addresses"]))
    for way in ways.values():
        way["addresses"] = {address: _spans(ports) for address, ports in way["addresses"].items()}
    return {
        "masquerade": ways,
        **{
            forwarding: [{**same, "addresses": list(same["addresses"])} for same in found.values()]
            for forwarding, found in alike.items()
        },
        "mtu": int(options["tunnel_mtu"]),
    }


def _spans(ports: t.Iterable[tuple[str | None, int]]) -> list[str]:
    """The ports as spans such as ``tcp 80`` and ``tcp 8000-8010``; none for every port."""
    spans: list[tuple[str, int, int]] = []
    for protocol, port in sorted(ports, key=lambda pair: (pair[0] or "", pair[1])):
        # By firewall mark, or every port of a protocol.
        if not protocol or not port:
            return []
        if spans and (protocol, port) == (spans[-1][0], spans[-1][2] + 1):
            spans[-1] = (protocol, spans[-1][1], port)
        else:
            spans.append((protocol, port, port))
    return [f"{protocol} {first}" + (f"-{last}" if last > first else "") for protocol, first, last in spans]


def named_real_servers(
    cluster: t.Sequence[Service], named: t.Any, groups: Groups, hostvars: HostVars, path: str = "lvs_servers"
) -> Words:
    """The hosts that ``named`` means, hosts and groups in a list or by commas, as the directors know them.

    ``path`` is what errors call it.
    """
    words = named.split(",") if isinstance(named, str) else named if isinstance(named, (list, tuple)) else []
    words = [str(word).strip() for word in words if str(word).strip()]
    if not words:
        raise ClusterError([f"{path}: says no host and no group of the inventory, such as web1,web2"])
    reader = _Reader(groups, hostvars)
    serving = {member.host for service in cluster for member in service.members}
    hosts: dict[str, None] = {}
    for word in words:
        found = groups[word] if word in groups else [word] if word in groups.get("all", ()) else None
        if found is None:
            reader.findings.append(f'{path}: there is no host and no group "{word}" in the inventory')
        elif not serving.intersection(found):
            reader.findings.append(f"{path}: {word} is a real server of no service of {VARIABLE}")
        else:
            hosts.update(dict.fromkeys(host for host in found if host in serving))
    addresses = [address for host in hosts for address in reader.addresses(host)]
    if reader.findings:
        raise ClusterError(dict.fromkeys(reader.findings))
    return {
        "hosts": list(hosts),
        "addresses": addresses,
        "health_checked": [
            {
                **_options.format_key(service.value.key),
                "real_servers": [_options.format_real_server(server) for server in meant],
                "quorum": _quorum(service.health_check),
            }
            for service in cluster
            for meant in (
                [member.value for member in service.members if member.value.key.address in addresses]
                if service.health_check is not None
                else [],
            )
            if meant
        ],
    }


def _quorum(health_check: t.Any) -> int:
    """The weight below which keepalived takes a service that is up to be down; what is no number is judged elsewhere."""
    words = health_check if isinstance(health_check, Mapping) else {}
    try:
        return max(1, int(words.get("quorum") or 1) - int(words.get("hysteresis") or 0))
    except (TypeError, ValueError):
        return 1


def _templated(value: t.Any) -> t.Any:
    """The value, unless its template failed.

    Ansible templates a variable when it is read. What goes wrong then may be of any class, or comes
    as a value that raises when it is looked at.
    """
    bool(value)
    return value


def _span(option: str, given: t.Any) -> tuple[int, int]:
    """A port such as 80, or a range such as ``8000-8010``."""
    low, dash, high = given.partition("-") if isinstance(given, str) else (given, "", "")
    first = _model.integer(option, low, 1, 65535)
    last = _model.integer(option, high, 1, 65535) if dash else first
    if last < first:
        raise _model.InvalidValue(option, f"{given!r} ends before it begins")
    return first, last


class _Reader:
    """Reads a declaration, and goes on after each error so that all of them are told at once."""

    def __init__(self, groups: Groups, hostvars: HostVars) -> None:
        self.groups = groups
        self.hostvars = hostvars
        self.findings: list[str] = []
        self._addresses: dict[str, tuple[list[str], list[str]]] = {}
        # Ansible joins the variables of a host anew each time that it is asked for it.
        self._told: dict[str, t.Mapping[str, t.Any]] = {}

    def services(self, declared: t.Any, director: str | None = None) -> list[Service]:
        if isinstance(declared, (str, bytes)) or not isinstance(declared, t.Sequence):
            raise ClusterError([f"{VARIABLE}: must be a list of services"])
        owners = self._owners()
        found = []
        by_key: dict[_model.ServiceKey, str] = {}
        by_name: dict[str, str] = {}
        for index, raw in enumerate(declared):
            path = f"{VARIABLE}[{index}]"
            service = self._service(raw, path, owners)
            if service is None:
                continue
            found.append(service)
            same_key = by_key.setdefault(service.value.key, path)
            same_name = by_name.setdefault(service.name, path)
            if same_key != path:
                self.findings.append(f"{path}: is the same service as {same_key}: {service.value.key}")
            elif same_name != path:
                self.findings.append(f"{path}.name: {service.name!r} is the name of {same_name} already")
        self._refuse_overlaps(found)
        if director is not None:
            self._refuse_strangers(found, director)
        if not self.groups.get(DIRECTORS):
            self.findings.append(f'groups: there is no host in the group "{DIRECTORS}"')
        if self.findings:
            raise ClusterError(dict.fromkeys(self.findings))
        return found

    def cluster(self, host: str) -> t.Any:
        """The name of the host's cluster, or None."""
        return self._variable(host, CLUSTER_VARIABLE, self.findings)

    def directors(self, host: str) -> list[str]:
        """The directors of the host's cluster."""
        listed, mine = self.groups.get(DIRECTORS, ()), self.cluster(host)
        return [name for name in listed if self.cluster(name) == mine] or list(listed)

    def addresses(self, host: str) -> list[str]:
        """The addresses of a host that the cluster needs."""
        addresses, findings = self._look_up_addresses(host)
        self.findings += findings
        return addresses

    def gateways(self, host: str) -> dict[str, str]:
        """The gateways that move between the directors, by family: as the host says, or else as the directors do."""
        for name in (host, *self.directors(host)):
            told = self._variable(name, GATEWAY_VARIABLE, self.findings)
            if told is None:
                continue
            found: dict[str, str] = {}
            for path, entry in floating(GATEWAY_VARIABLE, told):
                try:
                    address = floating_address(path, entry).address
                except _model.InvalidValue as error:
                    self.findings.append(f"host {name}: {error}")
                    continue
                found.setdefault(_model.family_of(address), address)
            return found
        return {}

    def _look_up_addresses(self, host: str) -> tuple[list[str], list[str]]:
        """The addresses of a host, and what is wrong with what it says."""
        if host not in self._addresses:
            addresses, findings = self._addresses.setdefault(host, ([], []))
            for variable in _ADDRESS_VARIABLES:
                value = self._variable(host, variable, findings)
                if value is None:
                    continue
                try:
                    addresses.append(_model.address(variable, value))
                except _model.InvalidValue as error:
                    findings.append(f"host {host}: {error}")
        return self._addresses[host]

    def _variable(self, host: str, variable: str, findings: list[str]) -> t.Any:
        try:
            if host not in self._told:
                self._told[host] = self.hostvars[host]
            return _templated(self._told[host].get(variable))
        except Exception as error:  # pylint: disable=broad-except  # a template may raise anything
            findings.append(f"host {host}: {variable}: {error}")
            return None

    def _owners(self) -> dict[str, str]:
        """Which host has an address."""
        owners: dict[str, str] = {}
        for host in self.groups.get("all", ()):
            # What a host says that no service names is not our business.
            for address in self._look_up_addresses(host)[0]:
                first = owners.setdefault(address, host)
                if first != host:
                    self.findings.append(f"host {host}: {address} is the address of host {first} already")
        return owners

    def _words(self, raw: t.Any, path: str, known: t.Container[str]) -> Words | None:
        """A dictionary of the declaration, templated, without what is left to its default."""
        if not isinstance(raw, Mapping):
            self.findings.append(f"{path}: must be a dictionary")
            return None
        words: Words = {}
        sound = True
        for option in raw:
            if option not in known:
                self.findings.append(f"{path}.{option}: there is no such option here")
                sound = False
                continue
            try:
                word = _templated(raw[option])
            except Exception as error:  # pylint: disable=broad-except  # a template may raise anything
                self.findings.append(f"{path}.{option}: {error}")
                sound = False
                continue
            if word is not None:
                words[option] = word
        return words if sound else None

    def _service(self, raw: t.Any, path: str, owners: t.Mapping[str, str]) -> Service | None:
        words = self._words(raw, path, _SERVICE_OPTIONS)
        if words is None:
            return None
        name = words.pop("name", None)
        if name is not None:
            if not isinstance(name, str) or not name.isprintable() or not name.strip():
                self.findings.append(f"{path}.name: {name!r} is not a name")
                return None
            path = f"{path} ({name})"
        health_check = words.pop("health_check", None)
        marked = words.pop("mark", [])
        entries = words.pop("real_servers", [])
        try:
            value = _model.virtual_service(words)
            defaults = _model.real_server_defaults(words)
        except _model.InvalidValue as error:
            self.findings.append(str(error.under(path)))
            return None
        if isinstance(entries, (str, bytes)) or not isinstance(entries, t.Sequence):
            self.findings.append(f"{path}.real_servers: must be a list")
            return None
        members: dict[_model.RealServerKey, tuple[str, Member]] = {}
        for index, entry in enumerate(entries):
            entry_path = f"{path}.real_servers[{index}]"
            for member in self._members(entry, entry_path, value.key, defaults, owners):
                first, dummy = members.setdefault(member.value.key, (entry_path, member))
                if dummy is not member:
                    whom = f"host {member.host}, {member.value.key}," if member.host else str(member.value.key)
                    self.findings.append(f"{entry_path}: {whom} is in {first} already")
        return Service(
            name or str(value.key),
            words,
            value,
            tuple(member for dummy, member in members.values()),
            health_check,
            self._marks(marked, f"{path}.mark", value.key),
        )

    def _marks(self, raw: t.Any, path: str, service: _model.ServiceKey) -> tuple[Mark, ...]:
        """What is marked for a service; what is wrong is found."""
        if isinstance(raw, (str, bytes)) or not isinstance(raw, t.Sequence):
            self.findings.append(f"{path}: must be a list")
            return ()
        if raw and service.fwmark is None:
            self.findings.append(f"{path}: is for services by fwmark")
            return ()
        marks = []
        for index, entry in enumerate(raw):
            place = f"{path}[{index}]"
            words = self._words(entry, place, Mark._fields)
            if words is None:
                continue
            try:
                for option in ("protocol", "address"):
                    if option not in words:
                        raise _model.InvalidValue(option, "is required")
                address = _model.address("address", words["address"])
                if _model.family_of(address) != service.family:
                    raise _model.InvalidValue("address", f"{address} is not of the service's family, {service.family}")
                ports = words.get("ports", ())
                if isinstance(ports, (str, bytes)) or not isinstance(ports, t.Sequence):
                    raise _model.InvalidValue("ports", "must be a list")
                protocol = _model.choice("protocol", words["protocol"], _model.PROTOCOLS)
                spans = sorted(_span(f"ports[{number}]", port) for number, port in enumerate(ports))
                marks.append(Mark(protocol, address, tuple(spans)))
            except _model.InvalidValue as error:
                self.findings.append(str(error.under(place)))
        return tuple(marks)

    def _refuse_overlaps(self, found: t.Iterable[Service]) -> None:
        """A packet has one mark."""
        spans = sorted(
            (mark.address, mark.protocol, *span, service.name)
            for service in found
            for mark in service.marks
            for span in mark.ports or ((0, 65535),)
        )
        for (address, protocol, _low, high, first), (other, other_protocol, low, _high, second) in zip(
            spans, spans[1:]
        ):
            if (address, protocol) == (other, other_protocol) and low <= high:
                self.findings.append(
                    f"{VARIABLE}: {protocol} {_model.endpoint(address, low)} is marked twice, for {first} and for {second}"
                )

    def _refuse_strangers(self, found: t.Sequence[Service], director: str) -> None:
        """A real server answers by, takes tunnels from and is updated with the directors of its own cluster only.

        What a director serves for those of another one no role sets up, so none can be wrong about it.
        """
        listed = self.groups.get(DIRECTORS, ())
        mine = self.cluster(director)
        others = [cluster for cluster in map(self.cluster, listed) if cluster != mine]
        if not others:
            return
        hosts = {member.host for service in found for member in service.members if member.host} - set(listed)
        strangers = {host for host in hosts if self.cluster(host) in others}
        self.findings += [
            f"{VARIABLE} ({service.name}).real_servers: host {member.host}: {CLUSTER_VARIABLE}: it is of another cluster than "
            f"{director}, and a real server serves only the directors of its own"
            for service in found
            for member in service.members
            if member.host in strangers
        ]

    def _members(
        self,
        raw: t.Any,
        path: str,
        service: _model.ServiceKey,
        defaults: _model.RealServer,
        owners: t.Mapping[str, str],
    ) -> t.Iterator[Member]:
        words = self._words(raw, path, ("group", *_model.REAL_SERVER_OPTIONS))
        if words is None:
            return
        group = words.pop("group", None)
        if (group is None) == ("address" not in words):
            self.findings.append(f"{path}: needs either group or address")
            return
        if group is None:
            member = self._member(words, path, service, defaults)
            if member:
                yield member._replace(host=owners.get(member.value.key.address))
            return
        if not isinstance(group, str) or group not in self.groups:
            self.findings.append(f'{path}.group: there is no group "{group}" in the inventory')
            return
        crosses = words.get("forwarding", defaults.forwarding) == "tunnel"
        for host in self.groups[group]:
            before = len(self.findings)
            address = self._address_for(host, service.family, crosses)
            if address is None:
                if len(self.findings) == before:
                    variable = " or ".join(_ADDRESS_VARIABLES)
                    need = "" if crosses else f" with an {service.family} address"
                    self.findings.append(f'{path}: host {host} of group "{group}" has no {variable}{need}')
                continue
            told = {"address": address, **words}
            weight = self._variable(host, _WEIGHT_VARIABLE, self.findings)
            if weight is not None:
                told.setdefault("weight", weight)
            member = self._member(told, f"{path} (host {host})", service, defaults)
            if member:
                yield member._replace(host=host)

    def _address_for(self, host: str, family: str, crosses: bool) -> str | None:
        """The host's address of the service's family; through a tunnel any will do."""
        addresses = self.addresses(host)
        of_family = [address for address in addresses if _model.family_of(address) == family]
        return next(iter(of_family or (addresses if crosses else [])), None)

    def _member(
        self, words: Words, path: str, service: _model.ServiceKey, defaults: _model.RealServer
    ) -> Member | None:
        try:
            return Member(None, words, _model.real_server(words, service, defaults))
        except _model.InvalidValue as error:
            self.findings.append(str(error.under(path)))
            return None
