# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The cluster of the inventory -> the keepalived.conf of one director. Pure.

What is written, and in which order, follows keepalived's parser and its behaviour on reload (read in
2.2.7 and 2.4.3); the comments say where that is not what one would expect.
"""

from __future__ import annotations

import hashlib
import ipaddress
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import (
    _cluster,
    _director,
    _drain,
    _health_check,
    _ipvsadm,
    _model,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._cluster import CLUSTER_VARIABLE
from ansible_collections.lvs.ipvs.plugins.module_utils._health_check import Block, Server
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue

#: The schedulers that keepalived's parser lets through (check_parser.c); others are the modules' to set.
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "sh", "mh", "dh", "fo", "ovf", "lblcr", "sed", "nq", "twos")

Interfaces = t.Mapping[str, t.Sequence[str]]


class Configuration(t.NamedTuple):
    """What one director gets."""

    text: str
    #: It holds passwords.
    credentials: bool
    #: It holds something that may not be for eyes: passwords, arguments of scripts, text of the user's own.
    secret: bool
    #: Changes with those settings that keepalived takes up at a restart only; the text says it, too.
    restart: str
    #: Every address that moves, with its prefix length and its interface.
    floating: list[dict[str, str]]
    #: The daemons of connection sync, for lvs.ipvs.sync_daemon.
    sync_daemons: list[dict[str, t.Any]]
    #: The addresses of all that serve, whoever owns their services.
    real_servers: list[str]


class Left(t.NamedTuple):
    """Services that keepalived has had so far, as the options of ipvsadm that name them."""

    #: They are the modules' from now on, and have to stay in the kernel.
    released: list[str]
    #: They are declared no more.
    removed: list[str]


def left(cluster: t.Iterable[_cluster.Service], had: t.Iterable[str]) -> Left:
    """What keepalived has to let go of, by the lines ``#ipvs -A`` of the configuration that it has so far."""
    subjects = [_subject(line) for line in had if line.startswith(_TABLE_LINE + "-A ")]
    declared = {_subject(_takeover(service, False)[0]): service.health_check is not None for service in cluster}
    gone = [subject for subject in subjects if not declared.get(subject)]
    return Left(
        [subject for subject in gone if subject in declared], [subject for subject in gone if subject not in declared]
    )


class Options(t.NamedTuple):
    """The variables ``keepalived_*`` that shape the file, with the defaults of the role (a test compares them)."""

    interface: str = ""
    vrrp_interface: str = ""
    addresses: t.Sequence[t.Any] = ()
    router_id: int = 0
    priority: int = 0
    advert_interval: float = 0.2
    vrrp_version: int = 3
    unicast: bool = True
    preempt: bool = False
    preempt_delay: float = 0
    auth_password: str = ""
    track_interfaces: t.Sequence[t.Any] = ()
    track_processes: t.Sequence[t.Any] = ()
    track_scripts: t.Sequence[t.Any] = ()
    track_files: t.Sequence[t.Any] = ()
    hold_file: str = "/run/keepalived.hold"
    notify: t.Mapping[str, t.Any] = {}
    garp_repeat: int = 5
    garp_delay: int = 5
    garp_refresh: int = 0
    garp_interval: float = 0
    realtime_priority: int = 0
    sync: bool = True
    sync_interface: str = ""
    sync_id: int = 0
    sync_maximum_length: int = 0
    sync_multicast_port: int = 0
    sync_multicast_ttl: int = 0
    sync_multicast_group: str = ""
    tls: t.Mapping[str, t.Any] = {}
    script_user: str = "lvs-script"
    extra_config: str = ""


#: On these the directors of a cluster must agree, or there are two masters.
_SHARED = (
    "router_id",
    "advert_interval",
    "vrrp_version",
    "unicast",
    "auth_password",
    "sync_id",
    "sync_multicast_group",
    "sync_multicast_port",
)


def configuration(
    cluster: t.Sequence[_cluster.Service],
    host: str,
    groups: _cluster.Groups,
    hostvars: _cluster.HostVars,
    interfaces: Interfaces,
    options: t.Mapping[str, t.Any],
    drain_files: str = "",
) -> Configuration:
    """The keepalived.conf of ``host``, or ClusterError with everything that is wrong with it.

    ``drain_files`` is the folder in which the module drain says who is drained.
    """
    return _Writer(cluster, host, groups, hostvars, interfaces, options, drain_files).configuration()


def interfaces_of(links: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, list[str]]:
    """The interfaces and their addresses (ADDRESS/PREFIX), from what ``ip -json address show`` says."""
    return {
        link["ifname"]: [f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"] if "local" in entry]
        for link in links
        if "ifname" in link
    }


def derived_id(what: str, cluster: str) -> int:
    """A number from 1 to 255 that is the same on every host and in every run, whatever its --limit."""
    return hashlib.sha256(f"{what} {cluster}".encode()).digest()[0] % 255 + 1


class Instance(t.NamedTuple):
    """A VRRP instance: all floating addresses of one family."""

    family: str
    interface: str
    #: (address with prefix, interface)
    addresses: list[tuple[str, str]]
    source: str | None
    peers: list[str]

    @property
    def name(self) -> str:
        return f"lvs_{self.family}"


class _Writer:
    """Gathers, and goes on after each error so that all of them are told at once."""

    def __init__(
        self,
        cluster: t.Sequence[_cluster.Service],
        host: str,
        groups: _cluster.Groups,
        hostvars: _cluster.HostVars,
        interfaces: Interfaces,
        options: t.Mapping[str, t.Any],
        drain_files: str,
    ) -> None:
        self.cluster = cluster
        self.host = host
        self.groups = groups
        self.hostvars = hostvars
        self.interfaces = interfaces
        self.findings: list[str] = []
        self.options = Options(**{option: self._typed(option, value) for option, value in options.items()})
        self.credentials = bool(self.options.auth_password or self.options.tls.get("password"))
        # Nobody knows what is in the text that is added as it stands.
        self.secret = self.credentials or bool(self.options.extra_config)
        self.drain_files = drain_files
        self.files: dict[str, None] = {}

    def configuration(self) -> Configuration:
        directors = self._directors()
        router_id, sync_id = self._id("router_id"), self._id("sync_id")
        instances = self._instances(directors)
        self._check_options()
        # The names of scripts, processes and files must be known before they are used.
        tracked = self._tracked()
        services = [block for index, service in enumerate(self.cluster) for block in self._service(index, service)]
        daemon = self._sync_daemon(instances, sync_id) if self.options.sync and len(directors) > 1 else None
        # Whose table rests while it is a backup (see _director) must be told which it is; all others send and
        # receive all the time, so that a switch waits for no daemon and no daemon fails in a switch.
        follows = daemon is not None and instances and _director.looping_services(self.cluster, self.host, directors)
        sync = _sync_line(daemon, instances[0]) if daemon and follows else None
        restart = self._restart(sync)
        lines: list[t.Any] = [f"#start {restart}", self._global_defs(sync)]
        lines += self._tls()
        lines += [Block(f"track_file {path}", (f"file {path}", "weight 0")) for path in self.files]
        lines += tracked
        if len(instances) > 1:
            members = Block("group", tuple(instance.name for instance in instances))
            lines.append(Block("vrrp_sync_group lvs", (members, *self._tracking(instances), *self._notify())))
        for instance in instances:
            alone = (*self._tracking(instances), *self._notify()) if len(instances) == 1 else ()
            lines.append(self._vrrp_instance(instance, router_id, self._priority(directors), alone))
        if services and self.drain_files:
            lines.append(f"#drains {self.drain_files}")
        lines += services
        if self.findings:
            raise _cluster.ClusterError(dict.fromkeys(self.findings))
        text = _health_check.render(lines)
        if self.options.extra_config:
            text += self.options.extra_config.rstrip("\n") + "\n"
        return Configuration(
            text,
            self.credentials,
            self.secret,
            restart,
            [
                {"address": address, "interface": interface}
                for instance in instances
                for address, interface in instance.addresses
            ],
            _sync_daemons(daemon) if daemon and not follows else [],
            list(dict.fromkeys(member.value.key.address for service in self.cluster for member in service.members)),
        )

    # -- what the inventory says ---------------------------------------------------------------------------

    def _typed(self, option: str, value: t.Any) -> t.Any:
        """A variable as what its default is: of the command line, and before ansible-core 2.19 of templates, it is text."""
        default = Options._field_defaults[option]
        try:
            if isinstance(default, bool):
                return _model.boolean(f"keepalived_{option}", value)
            if isinstance(value, str) and isinstance(default, (int, float)):
                number = float(value)
                return int(number) if number == int(number) else number
        except InvalidValue as error:
            self.findings.append(str(error))
        except (ValueError, OverflowError):
            self.findings.append(f"keepalived_{option}: {value!r} is not a number")
        else:
            return value
        return default

    def _variable(self, host: str, variable: str, default: t.Any = None) -> t.Any:
        try:
            value = self.hostvars[host].get(variable)
            bool(value)  # as in _cluster: what a template cannot give may show itself here only
        except Exception as error:  # pylint: disable=broad-except  # templates raise anything
            self.findings.append(f"host {host}: {variable}: {error}")
            return default
        return default if value is None else value

    def _directors(self) -> list[str]:
        """The directors of this host's cluster, in the order of the inventory."""
        listed = list(self.groups.get(_cluster.DIRECTORS, ()))
        if self.host not in listed:
            self.findings.append(f'groups: {self.host} is not in the group "{_cluster.DIRECTORS}"')
            return [self.host]
        try:
            directors = _cluster.directors(self.host, self.groups, self.hostvars)
        except _cluster.ClusterError as error:
            self.findings += error.findings
            return [self.host]
        for name in directors:
            for option in _SHARED:
                # Who differs may be the one that says something, and a run may have that one alone.
                said = self._variable(self.host, f"keepalived_{option}") is not None
                default = Options._field_defaults[option] if said else None
                theirs = self._variable(name, f"keepalived_{option}", default)
                if theirs is not None and self._typed(option, theirs) != getattr(self.options, option):
                    self.findings.append(
                        f"keepalived_{option}: differs between the directors {self.host} and {name}:"
                        " as a group variable of all of them it cannot"
                    )
        return directors

    def _clusters(self) -> dict[str, str]:
        """Every cluster of the inventory by its name, with its first director."""
        clusters: dict[str, str] = {}
        unnamed = None
        for name in self.groups.get(_cluster.DIRECTORS, ()):
            cluster = self._variable(name, CLUSTER_VARIABLE)
            if cluster is None:
                # Known by its first director: more of them are added behind it.
                cluster = unnamed = unnamed or name
            clusters.setdefault(str(cluster), name)
        return clusters

    def _id(self, what: str) -> int:
        """The virtual router id, or the id of connection sync: given, or derived from the cluster's name."""
        mine = getattr(self.options, what)
        used: dict[int, str] = {}
        found = 0
        for cluster, first in self._clusters().items():
            is_mine = self._variable(first, CLUSTER_VARIABLE) == self._variable(self.host, CLUSTER_VARIABLE)
            given = mine if is_mine else self._typed(what, self._variable(first, f"keepalived_{what}", 0))
            number = given or derived_id(what, cluster)
            other = used.setdefault(number, cluster)
            if other != cluster:
                self.findings.append(
                    f"keepalived_{what}: is {number} for the cluster {other} and for the cluster {cluster}:"
                    " set it for one of them"
                )
            if is_mine:
                found = number
        return found

    def _priority(self, directors: list[str]) -> int:
        # High, since the time after which a backup takes over grows as its priority falls.
        return self.options.priority or max(1, 200 - 10 * directors.index(self.host))

    def _addresses(self, host: str, family: str) -> list[str]:
        found = []
        for variable in ("lvs_address", "lvs_address6"):
            value = self._variable(host, variable)
            if value is None:
                continue
            try:
                address = _model.address(variable, value)
            except InvalidValue as error:
                self.findings.append(f"host {host}: {error}")
                continue
            if _model.family_of(address) == family:
                found.append(address)
        return found

    # -- VRRP ----------------------------------------------------------------------------------------------

    def _instances(self, directors: list[str]) -> list[Instance]:
        floating = self._floating()
        return [
            self._instance(family, [entry for entry in floating if _model.family_of(entry[0]) == family], directors)
            for family in _model.FAMILIES
            if any(_model.family_of(address) == family for address, dummy in floating)
        ]

    def _floating(self) -> list[tuple[str, str]]:
        """Every address that moves between the directors, with its prefix and its interface."""
        gateways = _cluster.floating(_cluster.GATEWAY_VARIABLE, self._variable(self.host, _cluster.GATEWAY_VARIABLE))
        others = [("lvs_services", vip) for vip in _cluster.vips(self.cluster)]
        others += _cluster.floating("keepalived_addresses", self.options.addresses)
        found: dict[str, tuple[str, str]] = {}
        for entries, default in ((gateways, ""), (others, self.options.interface)):
            for path, entry in entries:
                try:
                    address, prefix, interface = _cluster.floating_address(path, entry)
                    interface = interface or default
                    interface = _health_check.interface(path, interface) if interface else self._link(path, address)
                except InvalidValue as error:
                    self.findings.append(str(error))
                    continue
                found.setdefault(address, (f"{address}/{prefix}", interface))
        return list(found.values())

    def _link(self, path: str, address: str) -> str:
        """The interface in whose network an address is; of networks within each other the narrowest, as the role director has it."""
        holding = [
            (network.prefixlen, interface)
            for interface, addresses in self.interfaces.items()
            for network in (ipaddress.ip_interface(entry).network for entry in addresses)
            # A full-length prefix is a floating address that happens to be here.
            if network.num_addresses > 1 and ipaddress.ip_address(address) in network
        ]
        if holding:
            return max(holding, key=lambda held: held[0])[1]
        raise InvalidValue(
            path,
            f"no interface of {self.host} is in the network of {address}: say which by keepalived_interface,"
            " or by {address: ..., interface: ...}",
        )

    def _instance(self, family: str, addresses: list[tuple[str, str]], directors: list[str]) -> Instance:
        own = next(iter(self._addresses(self.host, family)), None)
        # One director alone has nobody to talk to, and keepalived no unicast without peers.
        unicast = self.options.unicast and len(directors) > 1
        peers = []
        if unicast:
            for name in directors:
                theirs = self._addresses(name, family)
                if not theirs:
                    variable = "lvs_address" if family == "ipv4" else "lvs_address6"
                    self.findings.append(
                        f"host {name}: {variable}: is needed for unicast VRRP between the directors,"
                        f" which have {family} addresses to move; or set keepalived_unicast to false"
                    )
                elif name != self.host:
                    peers.append(theirs[0])
        interface = self.options.vrrp_interface
        if not interface:
            interface = (self._holder(own) if unicast and own else None) or addresses[0][1]
        return Instance(family, interface, addresses, own if unicast else None, peers)

    def _holder(self, address: str) -> str | None:
        """The interface that has an address."""
        for interface, networks in self.interfaces.items():
            if any(ipaddress.ip_interface(network).ip == ipaddress.ip_address(address) for network in networks):
                return interface
        self.findings.append(
            f"host {self.host}: {address} is its lvs_address, but no interface has it:"
            " say by keepalived_vrrp_interface where VRRP is spoken"
        )
        return None

    def _vrrp_instance(self, instance: Instance, router_id: int, priority: int, alone: t.Sequence[t.Any]) -> Block:
        options = self.options
        lines: list[t.Any] = ["state BACKUP", f"interface {instance.interface}"]
        if instance.family == "ipv6" and options.vrrp_version == 2:
            lines.append("version 3")
        lines += [f"virtual_router_id {router_id}", f"priority {priority}", f"advert_int {options.advert_interval:g}"]
        if not options.preempt:
            lines.append("nopreempt")
        elif options.preempt_delay:
            lines.append(f"preempt_delay {options.preempt_delay:g}")
        if instance.source:
            lines += [
                f"unicast_src_ip {instance.source}",
                Block("unicast_peer", tuple(instance.peers)),
                # A packet sent to one host may have crossed routers, so the ttl proves nothing.
                "check_unicast_src",
            ]
        if options.auth_password and instance.family == "ipv4":
            password = self._judged("keepalived_auth_password", _health_check.word, options.auth_password)
            lines.append(Block("authentication", ("auth_type PASS", f"auth_pass {password}")))
        lines += alone
        # A director drops adverts whose addresses are not its own list, and takes over: two masters, for as
        # long as one director has a new service and the other has not. So the advert holds an address that
        # never changes and is of no use otherwise, and all that are used stand outside of it.
        if instance.family == "ipv4":
            advertised = f"169.254.0.{router_id}/32 dev lo scope host"
        else:
            # The first address of an IPv6 router is link-local (RFC 9568): that of its virtual MAC.
            advertised = f"fe80::200:5eff:fe00:2{router_id:02x}/128 dev {instance.interface}"
        lines.append(Block("virtual_ipaddress", (advertised,)))
        lines.append(
            Block("virtual_ipaddress_excluded", tuple(f"{address} dev {link}" for address, link in instance.addresses))
        )
        return Block(f"vrrp_instance {instance.name}", tuple(lines))

    def _tracking(self, instances: list[Instance]) -> list[Block]:
        """What must be well for a director to be the master; a sync group has it for its members."""
        # That of an instance is tracked by itself.
        own = {instance.interface for instance in instances}
        links = [link for instance in instances for dummy, link in instance.addresses if link not in own]
        interfaces = dict.fromkeys(links, "")
        for index, entry in enumerate(self.options.track_interfaces):
            path = f"keepalived_track_interfaces[{index}]"
            given = {"name": entry} if isinstance(entry, str) else self._known(path, entry, ("name", "weight"))
            name = self._judged(f"{path}.name", _health_check.interface, given.get("name"))
            interfaces[name] = self._weight(path, given)
        blocks = []
        if interfaces:
            blocks.append(Block("track_interface", tuple(name + weight for name, weight in interfaces.items())))
        for kind, entries in (
            ("script", self.options.track_scripts),
            ("process", self.options.track_processes),
            ("file", self._track_files()),
        ):
            names = tuple(entry["name"] for entry in entries if isinstance(entry, t.Mapping) and entry.get("name"))
            if names:
                blocks.append(Block(f"track_{kind}", names))
        return blocks

    def _track_files(self) -> list[t.Any]:
        hold = [{"name": "hold", "path": self.options.hold_file}] if self.options.hold_file else []
        return [*hold, *self.options.track_files]

    def _tracked(self) -> list[Block]:
        """Definitions of what is tracked."""
        blocks = []
        for kind, options, entries in (
            ("scripts", _TRACK_SCRIPT, self.options.track_scripts),
            ("processes", _TRACK_PROCESS, self.options.track_processes),
            ("files", _TRACK_FILE, self._track_files()),
        ):
            names: dict[str, str] = {}
            for index, entry in enumerate(entries):
                path = f"keepalived_track_{kind}[{index}]"
                given = self._known(path, entry, ("name", "reverse", *options))
                name = self._judged(f"{path}.name", _name, given.get("name"))
                first = names.setdefault(name, path)
                if first != path:
                    self.findings.append(f"{path}.name: is the name of {first} already")
                required = next(iter(options))
                if required not in given:
                    self.findings.append(f"{path}.{required}: is required")
                lines = [
                    f"{keyword} {self._judged(f'{path}.{option}', judge, given[option])}"
                    for option, (keyword, judge) in options.items()
                    if option in given and option != "weight"
                ]
                lines.append(f"weight {self._weight(path, given).removeprefix(' weight ') or 0}")
                if kind == "files":
                    lines.append("init_file 0")
                if kind == "scripts":
                    self.secret = True
                blocks.append(Block(f"{_TRACK_BLOCKS[kind]} {name}", tuple(lines)))
        return blocks

    def _weight(self, path: str, given: t.Mapping[str, t.Any]) -> str:
        """`` weight N [reverse]``, or nothing: then a failure is a fault."""
        weight = self._judged(f"{path}.weight", _health_check.integer(-253, 253), given.get("weight", 0))
        reverse = self._judged(f"{path}.reverse", _health_check.boolean, given.get("reverse", False)) == "true"
        if weight == "0" and not reverse:
            return ""
        return f" weight {weight}{' reverse' if reverse else ''}"

    def _notify(self) -> list[str]:
        given = self._known("keepalived_notify", self.options.notify, tuple(_NOTIFY))
        self.secret = self.secret or bool(given)
        return [
            f"{_NOTIFY[state]} {self._judged(f'keepalived_notify.{state}', _health_check.script, told)}"
            for state, told in given.items()
        ]

    # -- what is global ------------------------------------------------------------------------------------

    def _check_options(self) -> None:
        options = self.options
        for option, low, high in _RANGES:
            self._judged(f"keepalived_{option}", _health_check.integer(low, high), getattr(options, option))
        pace = _health_check.seconds(1, 255) if options.vrrp_version == 2 else _health_check.seconds(0.01, 40.95)
        self._judged("keepalived_advert_interval", pace, options.advert_interval)
        self._judged("keepalived_preempt_delay", _health_check.seconds(0, 1000), options.preempt_delay)
        self._judged("keepalived_garp_interval", _health_check.seconds(0, 10), options.garp_interval)
        if options.vrrp_version not in (2, 3):
            self.findings.append(f"keepalived_vrrp_version: {options.vrrp_version!r} is not 2 or 3")
        if options.vrrp_version == 2 and options.advert_interval != int(options.advert_interval):
            self.findings.append("keepalived_advert_interval: VRRP version 2 counts whole seconds")
        if options.auth_password and options.vrrp_version != 2:
            self.findings.append(
                "keepalived_auth_password: only version 2 of VRRP has a password (keepalived_vrrp_version);"
                " version 3 has none, and a password in clear protects from mistakes only"
            )
        if len(options.auth_password) > 8:
            self.findings.append("keepalived_auth_password: VRRP sends the first eight characters only")
        if options.preempt_delay and not options.preempt:
            self.findings.append("keepalived_preempt_delay: has no effect without keepalived_preempt")

    def _global_defs(self, sync: str | None) -> Block:
        options = self.options
        lines = [
            f"router_id {self._judged('inventory_hostname', _health_check.word, self.host)}",
            f"vrrp_version {options.vrrp_version}",
            f"vrrp_garp_master_repeat {options.garp_repeat}",
            f"vrrp_garp_master_delay {options.garp_delay}",
        ]
        if options.garp_refresh:
            lines.append(f"vrrp_garp_master_refresh {options.garp_refresh}")
        if options.garp_interval:
            lines += [f"vrrp_garp_interval {options.garp_interval:g}", f"vrrp_gna_interval {options.garp_interval:g}"]
        # After a split the last word on who has the addresses must be the one master's that is left.
        lines.append("vrrp_higher_prio_send_advert true")
        if options.realtime_priority:
            lines += [
                f"vrrp_rt_priority {options.realtime_priority}",
                f"vrrp_rlimit_rttime {_NO_RTTIME}",
                "vrrp_no_swap",
            ]
        lines += [
            "enable_script_security",
            f"script_user {self._judged('keepalived_script_user', _health_check.single_user, options.script_user)}",
        ]
        return Block("global_defs", (*lines, *([sync] if sync else [])))

    def _sync_daemon(self, instances: list[Instance], sync_id: int) -> dict[str, t.Any]:
        """What the daemons of connection sync have in common, in the words of lvs.ipvs.sync_daemon."""
        options = self.options
        interface = options.sync_interface
        if not interface:
            own = self._addresses(self.host, "ipv4") + self._addresses(self.host, "ipv6")
            interface = (self._holder(own[0]) if own else None) or (instances[0].interface if instances else "")
        words = {
            "interface": self._judged("keepalived_sync_interface", _health_check.interface, interface),
            "id": sync_id,
            "maximum_length": options.sync_maximum_length,
            "multicast_port": options.sync_multicast_port,
            "multicast_ttl": options.sync_multicast_ttl,
            "multicast_group": options.sync_multicast_group
            and self._judged("keepalived_sync_multicast_group", _model.multicast_group, options.sync_multicast_group),
        }
        for index, service in enumerate(self.cluster):
            for member in service.members:
                if _model.family_of(member.value.key.address) != service.value.key.family:
                    self.findings.append(
                        f"{_path(index, service)}.real_servers: {member.value.key.address} is not of the service's family,"
                        " which the kernel refuses while connections are synchronised: keepalived_sync has to be false"
                    )
        return {word: value for word, value in words.items() if value}

    def _tls(self) -> list[Block]:
        given = self._known("keepalived_tls", self.options.tls, ("certificate", "key", "password"))
        words = [
            f"{option} {self._judged(f'keepalived_tls.{option}', _health_check.word, given[option])}"
            for option in given
        ]
        return [Block("SSL", tuple(words))] if words else []

    def _restart(self, sync: str | None) -> str:
        """What a reload does not reach: keepalived loses its sync daemon, forgets thresholds, refuses some words."""
        thresholds = [
            (str(service.value.key), str(member.value.key), member.value.upper_threshold, member.value.lower_threshold)
            for service in self.cluster
            if service.health_check is not None
            for member in service.members
            if member.value.upper_threshold
        ]
        words = (line.split() for line in self.options.extra_config.splitlines())
        extra = [line for line in words if line and line[0] in _RESTART_KEYWORDS]
        return hashlib.sha256(repr((sync, sorted(thresholds), extra)).encode()).hexdigest()[:16]

    # -- services ------------------------------------------------------------------------------------------

    def _service(self, index: int, service: _cluster.Service) -> list[t.Any]:
        if service.health_check is None:
            return []
        path = _path(index, service)
        servers = [Server(member.host or member.value.key.address, member.value) for member in service.members]
        try:
            return self._virtual_server(service, servers)
        except InvalidValue as error:
            self.findings.append(str(error.under(path)))
            return []

    def _virtual_server(self, service: _cluster.Service, servers: list[Server]) -> list[t.Any]:
        value = service.value
        key = value.key
        if not servers:
            raise InvalidValue("real_servers", "keepalived cannot hold a service without one")
        if value.scheduler not in SCHEDULERS:
            raise InvalidValue("scheduler", f"keepalived does not know {value.scheduler!r}: {', '.join(SCHEDULERS)}")
        if value.persistence_engine and not value.persistence_timeout:
            raise InvalidValue("persistence_engine", "has no effect in keepalived without persistence_timeout")
        defaults = _model.real_server_defaults(service.words)
        for server in servers:
            _endpoint(server, value)
        try:
            check = _health_check.HealthCheck(service.health_check, value, defaults, servers)
            told = check.service_lines()
            blocks = [_real_server(server, check, value, self._drain_file(server)) for server in servers]
            self.files.update(dict.fromkeys((*check.files(), *filter(None, map(self._drain_file, servers)))))
        except InvalidValue as error:
            raise error.under("health_check") from None
        self.secret = self.secret or check.secret
        lines: list[t.Any] = []
        if key.fwmark is None:
            head = f"virtual_server {key.address} {key.port}" if key.port else f"virtual_server {key.address}"
            lines.append(f"protocol {str(key.protocol).upper()}")
        else:
            head = f"virtual_server fwmark {key.fwmark}"
            lines.append(f"ip_family {'inet6' if key.family == 'ipv6' else 'inet'}")
        # The scheduler stands before its flags: keepalived drops those it does not know to be of it.
        lines += [f"lvs_sched {value.scheduler}", *value.scheduler_flags]
        if value.one_packet:
            lines.append("ops")
        lines.append(f"lvs_method {_health_check.method(defaults)}")
        if value.persistence_timeout:
            lines.append(f"persistence_timeout {value.persistence_timeout}")
            if value.persistence_netmask != _model.FULL_PREFIX[key.family]:
                lines.append(f"persistence_granularity {_granularity(value)}")
        if value.persistence_engine:
            lines.append(f"persistence_engine {value.persistence_engine}")
        notes = [f"# {service.name}", *_takeover(service, check.trusting)]
        return [*notes, Block(head, (*lines, *told, *blocks))]

    def _drain_file(self, server: Server) -> str:
        """The file that says how much of a real server's weight is taken away, as a word of keepalived.conf."""
        if not self.drain_files:
            return ""
        return _health_check.word("drain_files", _drain.file_of(self.drain_files, server.value.key.address))

    # -- errors --------------------------------------------------------------------------------------------

    def _judged(self, path: str, judge: _health_check.Judge, value: t.Any) -> str:
        try:
            return judge(path, value)
        except InvalidValue as error:
            self.findings.append(str(error))
            return ""

    def _known(self, path: str, given: t.Any, options: t.Container[str]) -> dict[str, t.Any]:
        try:
            return _health_check.known(path, given, options)
        except InvalidValue as error:
            self.findings.append(str(error))
            return {}


def _sync_daemons(daemon: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """One that sends and one that receives. How short the messages are that are sent says nothing of those that come."""
    backup = dict(daemon)
    if daemon.get("maximum_length", 0) < _model.SYNC_LENGTH_MIN["backup"]:
        backup.pop("maximum_length", None)
    return [{"role": "master", **daemon}, {"role": "backup", **backup}]


#: keepalived's words for those of lvs.ipvs.sync_daemon.
_SYNC_WORDS = {
    "id": "id",
    "maximum_length": "maxlen",
    "multicast_port": "port",
    "multicast_ttl": "ttl",
    "multicast_group": "group",
}


def _sync_line(daemon: t.Mapping[str, t.Any], instance: Instance) -> str:
    """Connection sync by keepalived: the master sends, and every other director receives."""
    words = [f"{_SYNC_WORDS[word]} {value}" for word, value in daemon.items() if word in _SYNC_WORDS]
    return " ".join((f"lvs_sync_daemon {daemon['interface']} inst {instance.name}", *words))


def _path(index: int, service: _cluster.Service) -> str:
    """As _cluster names a service in its errors."""
    name = "" if service.name == str(service.value.key) else f" ({service.name})"
    return f"{_cluster.VARIABLE}[{index}]{name}"


def _real_server(
    server: Server, check: _health_check.HealthCheck, service: _model.VirtualService, drain_file: str
) -> Block:
    value = server.value
    lines: list[t.Any] = [f"weight {value.weight}"]
    if (value.forwarding, value.tunnel) != (check.defaults.forwarding, check.defaults.tunnel):
        lines.append(f"lvs_method {_health_check.method(value)}")
    if value.upper_threshold:
        lines.append(f"uthreshold {value.upper_threshold}")
    if value.lower_threshold:
        lines.append(f"lthreshold {value.lower_threshold}")
    lines += check.server_lines(server)
    if drain_file:
        # What it holds is added to the weight, which does not fall below 0; a file that is not there holds 0.
        lines.append(Block("FILE_CHECK", (f"track_file {drain_file}", "weight 1")))
    return Block(f"real_server {_endpoint(server, service)}", tuple(lines))


def _endpoint(server: Server, service: _model.VirtualService) -> str:
    try:
        return _health_check.endpoint(server.value, service)
    except InvalidValue as error:
        raise error.under(f"real_servers (host {server.host})") from None


def _granularity(value: _model.VirtualService) -> str:
    mask = value.persistence_netmask
    return str(mask) if value.key.family == "ipv6" else _model.dotted_netmask(mask)


def _takeover(service: _cluster.Service, trusting: bool) -> list[str]:
    """How the entries of a service have to be when keepalived starts, for files/takeover.sh."""
    servers = {member.value.key: member.value for member in service.members} if trusting else {}
    table = {service.value.key: _model.Entry(service.value, servers)}
    return [f"{_TABLE_LINE}{line}" for line in _ipvsadm.format_text(table).splitlines()]


_TABLE_LINE = "#ipvs "


def _subject(line: str) -> str:
    """The options that name the service of a line."""
    return line.removeprefix(_TABLE_LINE).partition(" ")[2].partition(" -s ")[0]


def _name(option: str, value: t.Any) -> str:
    if not isinstance(value, str) or not value.replace("_", "").replace("-", "").isalnum() or not value.isascii():
        raise InvalidValue(option, f"{value!r} is not a name of letters, digits, '-' and '_'")
    return str(value)


#: Microseconds of work at one go after which the kernel kills a realtime process (RLIMIT_RTTIME): none, in effect.
#: keepalived's own 10 ms are too short for a machine that is busy or emulated. Any limit that it has set, it takes off
#: again for the time of a reload, by one of 0, which it never initialised; is it realtime again before the limit is
#: back, the kernel's next tick kills VRRP (lib/process.c, reset_process_priorities(), up to 2.3.3). A number that does
#: not fit its int makes a soft limit above the hard one, which the kernel refuses: so no limit is set, and none is taken
#: off. Where it fits it is 71 minutes.
_NO_RTTIME = 2**32 - 2

#: "Cannot change ... at a reload - please restart" (main.c).
_RESTART_KEYWORDS = (
    "net_namespace",
    "net_namespace_ipvs",
    "instance",
    "nftables",
    "nftables_ipvs",
    "tmp_config_directory",
    "disable_local_igmp",
)

_TRACK_BLOCKS = {"scripts": "vrrp_script", "processes": "vrrp_track_process", "files": "track_file"}
_TRACK_SCRIPT: dict[str, tuple[str, _health_check.Judge]] = {
    "command": ("script", _health_check.command),
    "interval": ("interval", _health_check.integer(1, 86400)),
    "timeout": ("timeout", _health_check.integer(1, 86400)),
    "weight": ("weight", _health_check.integer(-253, 253)),
    "rise": ("rise", _health_check.integer(1, 1000)),
    "fall": ("fall", _health_check.integer(1, 1000)),
    "user": ("user", _health_check.user),
}
_TRACK_PROCESS: dict[str, tuple[str, _health_check.Judge]] = {
    "process": ("process", _health_check.word),
    "weight": ("weight", _health_check.integer(-253, 253)),
    "quorum": ("quorum", _health_check.integer(1, 65535)),
    "delay": ("delay", _health_check.seconds(0, 3600)),
}
_TRACK_FILE: dict[str, tuple[str, _health_check.Judge]] = {
    "path": ("file", _health_check.word),
    "weight": ("weight", _health_check.integer(-253, 253)),
}
_NOTIFY = {
    "master": "notify_master",
    "backup": "notify_backup",
    "fault": "notify_fault",
    "stop": "notify_stop",
    "any": "notify",
}
#: 0 stands for "derived" or "keepalived's default" where it is in the range.
_RANGES = (
    ("router_id", 0, 255),
    ("priority", 0, 254),
    ("garp_repeat", 1, 100),
    ("garp_delay", 0, 3600),
    ("garp_refresh", 0, 86400),
    ("realtime_priority", 0, 99),
    ("sync_id", 0, 255),
    ("sync_maximum_length", 0, 65507),
    ("sync_multicast_port", 0, 65535),
    ("sync_multicast_ttl", 0, 255),
)
