# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Module options <-> model. The argument_spec pieces are the twins of plugins/doc_fragments/.

A list of services is declared to Ansible as a list of dictionaries and taken apart here: Ansible's own
check of suboptions cannot say which entry is wrong, and takes minutes over tens of thousands of them.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from marshal import dumps

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils._connections import Connection, Count, Survey
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Entry,
    Given,
    InvalidValue,
    RealServer,
    RealServerKey,
    ServiceCounters,
    ServiceKey,
    Statistics,
    SyncDaemons,
    Table,
    Timeouts,
    VirtualService,
)

ArgumentSpec = dict[str, t.Any]


def service_key_spec() -> ArgumentSpec:
    """Twin of the doc fragment service_key."""
    return {
        "protocol": {"type": "str", "choices": list(model.PROTOCOLS)},
        "address": {"type": "str"},
        "port": {"type": "int"},
        "fwmark": {"type": "int"},
        "family": {"type": "str", "choices": list(model.FAMILIES)},
    }


def service_spec() -> ArgumentSpec:
    """Twin of the doc fragment service: a service, its key excepted."""
    return {
        "scheduler": {"type": "str"},
        "scheduler_flags": {"type": "list", "elements": "str"},
        "persistence_timeout": {"type": "int"},
        "persistence_netmask": {"type": "str"},
        "persistence_engine": {"type": "str"},
        "one_packet": {"type": "bool"},
    }


def forwarding_spec() -> ArgumentSpec:
    """Twin of the doc fragment forwarding: how packets reach a real server."""
    return {
        "forwarding": {"type": "str", "choices": list(model.FORWARDINGS)},
        # Its suboptions are checked by _model.py, whose errors name them.
        "tunnel": {"type": "dict"},
    }


def real_server_spec() -> ArgumentSpec:
    """Twin of the doc fragment real_server."""
    return {
        "address": {"type": "str", "required": True},
        "port": {"type": "int"},
        "weight": {"type": "int"},
        "upper_threshold": {"type": "int"},
        "lower_threshold": {"type": "int"},
        **forwarding_spec(),
    }


def timeouts_spec() -> ArgumentSpec:
    """The timeouts of connections."""
    return {option: {"type": "int"} for option in model.TIMEOUT_OPTIONS}


def sync_daemon_spec() -> ArgumentSpec:
    """One sync daemon."""
    return {
        "role": {"type": "str", "required": True, "choices": list(model.SYNC_ROLES)},
        "interface": {"type": "str"},
        "id": {"type": "int"},
        "maximum_length": {"type": "int"},
        "multicast_group": {"type": "str"},
        "multicast_port": {"type": "int"},
        "multicast_ttl": {"type": "int"},
    }


SERVICE_OPTIONS = frozenset((*model.KEY_OPTIONS, *model.SERVICE_OPTIONS, "forwarding", "tunnel", "real_servers"))


#: Real servers, under all that the check of their words depends on.
Alike = dict[tuple[t.Any, ...], dict[RealServerKey, RealServer]]


def parse_service(given: Given, base: Entry | None = None, alike: Alike | None = None) -> Entry:
    """A service and its real servers from the user's words.

    ``base`` is the entry that is there already: what is absent from ``given`` stays as in it. Real
    servers that ``given`` does not list are not part of the result.

    ``alike``, where nothing is there already, has the real servers of services before this one: with the same words it
    shares theirs, and its own are put there.
    """
    service = model.virtual_service(given, base.service if base else None)
    listed = given.get("real_servers")
    if listed is None:
        listed = []
    elif not isinstance(listed, (list, tuple)):
        raise InvalidValue("real_servers", f"{listed!r} is not a list")
    defaults = model.real_server_defaults(given)
    if alike is None:
        return Entry(service, _parse_real_servers(listed, service.key, defaults, base.real_servers if base else {}))
    like = _like(listed, service.key, defaults)
    if like not in alike:
        alike[like] = _parse_real_servers(listed, service.key, defaults, {})
    return Entry(service, alike[like])


def _like(listed: t.Any, key: ServiceKey, defaults: RealServer) -> tuple[t.Any, ...]:
    """All that the check of a list of real servers depends on."""
    words: t.Any
    try:
        # Not the words themselves: 1, 1.0 and True are equal, but only one of them is a weight. From version 3 on,
        # the bytes say also which of the words are one object.
        words = dumps(listed, 2)
    except ValueError:
        # Something in it is not of a plain type. It is like nothing else.
        words = object()
    # A service by its mark has no port, and others have one, if only 0.
    return words, key.family, key.port, defaults


def _parse_real_servers(
    listed: t.Sequence[t.Any], key: ServiceKey, defaults: RealServer, present: t.Mapping[RealServerKey, RealServer]
) -> dict[RealServerKey, RealServer]:
    servers: dict[RealServerKey, RealServer] = {}
    for index, words in enumerate(listed):
        try:
            # The first is what they are, and is quicker to see.
            if not isinstance(words, (dict, Mapping)):
                raise InvalidValue("", f"{words!r} is not a dictionary")
            had = present.get(model.real_server_key(words, key), defaults) if present else defaults
            server = model.real_server(words, key, had)
        except InvalidValue as error:
            raise error.under(f"real_servers[{index}]") from None
        server_key = server.key
        if server_key in servers:
            first = list(servers).index(server_key)
            raise InvalidValue(f"real_servers[{index}]", f"{server_key} is listed already, as real_servers[{first}]")
        servers[server_key] = server
    return servers


def parse_services(given: t.Any, path: str = "services") -> Table:
    """A whole table from the user's words; errors name the option below ``path``."""
    if not isinstance(given, (list, tuple)):
        raise InvalidValue(path, f"{given!r} is not a list")
    table: Table = {}
    places: dict[ServiceKey, int] = {}
    # Of one cluster, many services have the same real servers.
    alike: Alike = {}
    for index, words in enumerate(given):
        try:
            if not isinstance(words, Mapping):
                raise InvalidValue("", f"{words!r} is not a dictionary")
            model.refuse_unknown(words, SERVICE_OPTIONS)
            entry = parse_service(words, alike=alike)
        except InvalidValue as error:
            raise error.under(f"{path}[{index}]") from None
        key = entry.service.key
        if key in table:
            raise InvalidValue(f"{path}[{index}]", f"{key} is listed already, as {path}[{places[key]}]")
        table[key] = entry
        places[key] = index
    return table


def format_key(key: ServiceKey) -> dict[str, t.Any]:
    """The key of a service in the user's words."""
    if key.fwmark is not None:
        return {"fwmark": key.fwmark, "family": key.family}
    return {"protocol": key.protocol, "address": key.address, "port": key.port}


def format_service(service: VirtualService) -> dict[str, t.Any]:
    """A service, without its real servers, in the user's words."""
    return {
        **format_key(service.key),
        "scheduler": service.scheduler,
        "scheduler_flags": list(service.scheduler_flags),
        "persistence_timeout": service.persistence_timeout,
        "persistence_netmask": service.persistence_netmask,
        "persistence_engine": service.persistence_engine,
        "one_packet": service.one_packet,
    }


def format_real_server(server: RealServer) -> dict[str, t.Any]:
    """A real server in the user's words; ``tunnel`` only where there is one."""
    words: dict[str, t.Any] = {
        "address": server.key.address,
        "port": server.key.port,
        "weight": server.weight,
        "forwarding": server.forwarding,
    }
    if server.forwarding == "tunnel":
        words["tunnel"] = server.tunnel._asdict()
    words["upper_threshold"] = server.upper_threshold
    words["lower_threshold"] = server.lower_threshold
    return words


def sort_key(key: ServiceKey) -> tuple[t.Any, ...]:
    """An order of services that does not depend on the kernel's hash."""
    return (key.fwmark or 0, key.family, key.protocol or "", key.address or "", key.port or 0)


def format_services(table: Table) -> list[dict[str, t.Any]]:
    """A table in the user's words, as parse_services() takes it, in a fixed order."""
    return [
        {
            **format_service(table[key].service),
            "real_servers": [format_real_server(server) for _key, server in sorted(table[key].real_servers.items())],
        }
        for key in sorted(table, key=sort_key)
    ]


def read_services(formatted: t.Any, path: str = "services") -> Table:
    """The table of which format_services() made these words: a kernel also holds what others made and no option says."""
    try:
        return parse_services(formatted, path)
    except InvalidValue as refused:
        try:
            return {entry.service.key: entry for entry in map(_read_service, formatted)}
        except (KeyError, TypeError):
            # It is not of format_services() at all.
            raise refused from None


def _read_service(words: Given) -> Entry:
    service = VirtualService(read_key(words), **{option: words[option] for option in model.SERVICE_OPTIONS})
    servers = [_read_real_server(server) for server in words["real_servers"]]
    service = service._replace(scheduler_flags=tuple(service.scheduler_flags))
    return Entry(service, {server.key: server for server in servers})


def _read_real_server(words: Given) -> RealServer:
    return RealServer(
        model.RealServerKey(words["address"], words["port"]),
        words["weight"],
        words["forwarding"],
        model.Tunnel(**words["tunnel"]) if "tunnel" in words else model.IPIP,
        words["upper_threshold"],
        words["lower_threshold"],
    )


def read_key(formatted: Given) -> ServiceKey:
    """The key of which format_key() made these words."""
    if "fwmark" in formatted:
        return ServiceKey(formatted["family"], fwmark=formatted["fwmark"])
    address = formatted["address"]
    return ServiceKey(model.family_of(address), formatted["protocol"], address, formatted["port"])


def places_of_roles(given: t.Sequence[Given], path: str = "daemons") -> dict[str, int]:
    """The place of each role in a list of sync daemons."""
    places: dict[str, int] = {}
    for index, words in enumerate(given):
        try:
            role = model.sync_role(words)
        except InvalidValue as error:
            raise error.under(f"{path}[{index}]") from None
        if role in places:
            raise InvalidValue(f"{path}[{index}]", f"{role} is listed already, as {path}[{places[role]}]")
        places[role] = index
    return places


def parse_sync_daemons(given: t.Sequence[Given], path: str = "daemons") -> SyncDaemons:
    """The sync daemons from the user's words."""
    daemons = {}
    for role, index in places_of_roles(given, path).items():
        try:
            daemons[role] = model.sync_daemon(given[index])
        except InvalidValue as error:
            raise error.under(f"{path}[{index}]") from None
    return daemons


def format_sync_daemons(daemons: SyncDaemons) -> list[dict[str, t.Any]]:
    """The sync daemons in the user's words, as parse_sync_daemons() takes them, the master first."""
    return [daemons[role]._asdict() for role in model.SYNC_ROLES if role in daemons]


def read_sync_daemons(formatted: t.Sequence[Given], path: str = "daemons") -> SyncDaemons:
    """The sync daemons of which format_sync_daemons() made these words, also those of others that no option says."""
    try:
        return parse_sync_daemons(formatted, path)
    except InvalidValue as refused:
        try:
            return {words["role"]: model.SyncDaemon(**words) for words in formatted}
        except (KeyError, TypeError):
            raise refused from None


def format_counters(counters: t.Mapping[ServiceKey, ServiceCounters]) -> list[dict[str, t.Any]]:
    """The counters under the keys of what they are of, in the order of format_services()."""
    return [
        {
            **format_key(key),
            **_format_statistics(counters[key].statistics),
            "real_servers": [
                {
                    "address": server.address,
                    "port": server.port,
                    "active_connections": connections.active,
                    "inactive_connections": connections.inactive,
                    "persistent_connections": connections.persistent,
                    **_format_statistics(statistics),
                }
                for server, (connections, statistics) in sorted(counters[key].real_servers.items())
            ],
        }
        for key in sorted(counters, key=sort_key)
    ]


def _format_statistics(statistics: Statistics) -> dict[str, t.Any]:
    return {"total": statistics.total._asdict(), "per_second": statistics.per_second._asdict()}


def format_survey(survey: Survey) -> dict[str, t.Any]:
    """What there is of connections, in the user's words."""
    return {
        **_format_count(survey.total),
        "services": [
            {
                **format_key(key),
                **_format_count(survey.services[key][0]),
                "real_servers": [
                    {**server._asdict(), **_format_count(count)}
                    for server, count in sorted(survey.services[key][1].items())
                ],
            }
            for key in sorted(survey.services, key=sort_key)
        ],
    }


def _format_count(count: Count) -> dict[str, t.Any]:
    return {
        "connection_count": count.connections,
        "template_count": count.templates,
        "states": dict(sorted(count.states.items())),
    }


def format_connection(connection: Connection) -> dict[str, t.Any]:
    """A connection in the user's words."""
    return {
        **connection._asdict(),
        "service": format_key(connection.service),
        "client": connection.client._asdict(),
        "real_server": connection.real_server._asdict(),
    }


#: What a diff leaves out where it has this value.
_DEFAULTS = {
    "scheduler_flags": [],
    "persistence_timeout": 0,
    "persistence_engine": "",
    "one_packet": False,
    "upper_threshold": 0,
    "lower_threshold": 0,
}


def _yaml(value: t.Any) -> str:
    """A value in YAML's flow style. Few words of a table need quotes: some IPv6 addresses look like something else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{option}: {_yaml(word)}" for option, word in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(word) for word in value) + "]"
    if isinstance(value, str) and (value[:1] == ":" or value[-1:] in ("", ":") or value.replace(":", "").isdecimal()):
        return f'"{value}"'
    return str(value)


def _terse(words: dict[str, t.Any]) -> dict[str, t.Any]:
    return {option: word for option, word in words.items() if _DEFAULTS.get(option) != word}


def services_text(table: Table) -> str:
    """A table as YAML for a diff: what is at its default is left out, and a real server has one line."""
    lines = []
    for key in sorted(table, key=sort_key):
        service, servers = table[key]
        words = _terse(format_service(service))
        if not service.persistence_timeout:
            del words["persistence_netmask"]
        mark = "- "
        for option, word in words.items():
            lines.append(f"{mark}{option}: {_yaml(word)}\n")
            mark = "  "
        lines.append("  real_servers:\n" if servers else "  real_servers: []\n")
        lines.extend(f"    - {_yaml(_terse(format_real_server(server)))}\n" for _key, server in sorted(servers.items()))
    return "".join(lines)


def _block(words: dict[str, t.Any], first: str = "", others: str = "") -> str:
    """A dictionary as YAML, one option in a line, behind what begins the first line and the others."""
    lines = [f"{option}: {_yaml(word)}\n" for option, word in words.items()]
    return "".join((others if index else first) + line for index, line in enumerate(lines))


def sync_daemons_text(daemons: SyncDaemons) -> str:
    """The sync daemons as YAML for a diff."""
    return "".join(_block(words, "- ", "  ") for words in format_sync_daemons(daemons))


def timeouts_text(timeouts: Timeouts) -> str:
    """The timeouts as YAML for a diff."""
    return _block(timeouts._asdict())
