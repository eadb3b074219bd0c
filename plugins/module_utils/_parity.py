# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the directors of a cluster have, compared with the inventory and with each other. Pure.

A finding is a line: the director, the service and its real server, the attribute, what it is and what it
should be. Whether a real server of keepalived's is in rotation is not the inventory's to say, so there the
directors are compared with each other only.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _drain, _model, _options, _proof
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Entry,
    RealServer,
    RealServerKey,
    ServiceKey,
    SyncDaemons,
    Table,
)

ADDRESSES_VARIABLE = "keepalived_addresses"


class Reading(t.NamedTuple):
    """What one director has, as its kernel tells."""

    table: Table
    sync_daemons: SyncDaemons
    addresses: frozenset[str]
    drains: _drain.Drains
    #: Of keepalived's unit, in systemd's words; nothing if nobody asked.
    keepalived: str = ""
    #: Real servers that have no weight, for they did not answer a moment ago.
    unanswered: frozenset[_drain.DrainKey] = frozenset()


#: Kinds of findings: a director that did not answer; keepalived, an address, or the connection sync that is not right; a
#: service or real server that is missing, left over (others may have made it), with a wrong attribute, or judged otherwise elsewhere.
SILENT, KEEPALIVED, ADDRESS, SYNC, MISSING, EXTRA, ATTRIBUTE, HEALTH = (
    "silent",
    "keepalived",
    "address",
    "sync",
    "missing",
    "extra",
    "attribute",
    "health",
)


class Finding(t.NamedTuple):
    """What is not right, and where: with a director, one of its services, or one real server of that."""

    kind: str
    text: str
    service: ServiceKey | None = None
    real_server: RealServerKey | None = None

    def __str__(self) -> str:
        return self.text


class Expected(t.NamedTuple):
    """What the inventory says of the directors."""

    cluster: t.Sequence[_cluster.Service]
    #: Of one cluster, in the order of the inventory.
    directors: t.Sequence[str]
    #: The addresses that one of them has.
    addresses: t.Sequence[str]
    #: Who has them; None if keepalived moves them, "" if nobody knows.
    holder: str | None
    #: Whether the directors tell each other of connections.
    sync: bool
    #: Directors whose sync daemon keepalived changes with their role; all others have both all the time.
    following: t.Collection[str] = ()


def read(words: t.Mapping[str, t.Any]) -> Reading:
    """A reading from what the modules returned: services, sync_daemons, addresses, the record of drains, and what keepalived does."""
    return Reading(
        _options.read_services(words["services"]),
        _options.read_sync_daemons(words["sync_daemons"]),
        frozenset(_model.address("addresses", address) for address in words["addresses"]),
        _drain.parse_register(words.get("drains") or {}, "drains").drains,
        words.get("keepalived") or "",
        frozenset(_proof.parse_failures(words.get("unanswered") or [])),
    )


def floating(cluster: t.Iterable[_cluster.Service], further: t.Mapping[str, t.Any]) -> list[str]:
    """The addresses that move: those of the services, and what variables such as lvs_gateway hold."""
    addresses = _cluster.vips(cluster)
    for variable, value in further.items():
        addresses += [
            _cluster.floating_address(path, entry).address for path, entry in _cluster.floating(variable, value)
        ]
    return list(dict.fromkeys(addresses))


def findings(expected: Expected, director: str, readings: t.Mapping[str, Reading | None]) -> list[Finding]:
    """What is not right with ``director``, or differs between it and the others; None is one that did not answer."""
    if readings.get(director) is None:
        return [Finding(SILENT, "cannot be reached")]
    return [
        *(Finding(KEEPALIVED, text) for text in _keepalived(expected, t.cast(Reading, readings[director]))),
        *(Finding(ADDRESS, text) for text in _addresses(expected, director, readings)),
        *(Finding(SYNC, text) for text in _sync(expected, director, readings)),
        *_services(expected, director, readings),
    ]


# -- keepalived, addresses and connection sync -------------------------------------------------------------


def _keepalived(expected: Expected, reading: Reading) -> t.Iterator[str]:
    """Without it a director looks well, and would not take over."""
    if expected.holder is None and reading.keepalived not in ("", "active", "reloading"):
        yield f"keepalived: is {reading.keepalived}, is to run"


def _holders(expected: Expected, readings: t.Mapping[str, Reading | None]) -> dict[str, list[str]]:
    """Which directors have each of the addresses."""
    return {
        address: [name for name in expected.directors if address in _addresses_of(readings.get(name))]
        for address in expected.addresses
    }


def _addresses_of(reading: Reading | None) -> frozenset[str]:
    return reading.addresses if reading else frozenset()


def _addresses(expected: Expected, director: str, readings: t.Mapping[str, Reading | None]) -> t.Iterator[str]:
    if expected.holder == "":
        return
    speaker = next((name for name in expected.directors if readings.get(name)), director)
    holders = _holders(expected, readings)
    for address, names in holders.items():
        if expected.holder is not None:
            if (director == expected.holder) != (director in names):
                yield f"address {address}: is {'not ' if director not in names else ''}here, {expected.holder} is to have it"
        elif not names and director == speaker:
            yield f"address {address}: no director has it"
        elif director in names and len(names) > 1:
            others = ", ".join(name for name in names if name != director)
            yield f"address {address}: is here and on {others}: there are two masters"
        elif names and director not in names and any(director in held for held in holders.values()):
            yield f"address {address}: is on {names[0]}, while others are here"


def _sync(expected: Expected, director: str, readings: t.Mapping[str, Reading | None]) -> t.Iterator[str]:
    if not expected.sync or expected.holder is not None or len(expected.directors) < 2:
        return
    mine = t.cast(Reading, readings[director]).sync_daemons
    wanted: t.Sequence[str] = _model.SYNC_ROLES
    if director in expected.following:
        serves = any(director in names for names in _holders(expected, readings).values())
        wanted = ("master",) if serves else ("backup",)
    if set(mine) != set(wanted):
        yield f"sync daemon: role: is {', '.join(sorted(mine)) or 'none'}, is to be {', '.join(sorted(wanted))}"
    for name in expected.directors:
        other = readings.get(name)
        if name == director or other is None:
            continue
        for attribute in ("id", "multicast_group", "multicast_port"):
            here, there = (
                {getattr(daemon, attribute) for daemon in those.values()} for those in (mine, other.sync_daemons)
            )
            for theirs in sorted(there - here) if here else ():
                yield f"sync daemon: {attribute}: is {', '.join(map(str, sorted(here)))}, on {name} it is {theirs}"


# -- services ----------------------------------------------------------------------------------------------


class _Wanted(t.NamedTuple):
    """What a director is to have in its table: the inventory, with who is drained held where it is."""

    table: Table
    drains: _drain.Drains


def wanted(cluster: t.Iterable[_cluster.Service], reading: Reading) -> _Wanted:
    """What a director with this reading is to have."""
    declared = {
        service.value.key: Entry(service.value, {member.value.key: member.value for member in service.members})
        for service in cluster
    }
    by_module = {service.value.key: declared[service.value.key] for service in cluster if service.health_check is None}
    drains = _drain.joined(reading.drains, by_module, reading.table)
    # Who is drained is to be so.
    declared.update(_drain.held(by_module, drains))
    silent = [key for key in reading.unanswered if _drain.live(declared, key)]
    return _Wanted(_proof.without_weight(declared, silent), {**_of_checked(cluster, drains), **drains})


def _of_checked(cluster: t.Iterable[_cluster.Service], drains: _drain.Drains) -> _drain.Drains:
    """The drains of keepalived's services: all real servers at an address go by the same file, and so those that are new."""
    hosts = {key.address: drain for (_service, key), drain in drains.items() if drain.file and not drain.held}
    return {
        (service.value.key, member.value.key): hosts[member.value.key.address]._replace(server=member.value, held=0)
        for service in cluster
        if service.health_check is not None
        for member in service.members
        if member.value.key.address in hosts
    }


def unanswered(cluster: t.Iterable[_cluster.Service], failures: t.Mapping[_drain.DrainKey, str]) -> list[str]:
    """Who got no weight, for they do not answer, by the names of the inventory."""
    services = {service.value.key: service for service in cluster}
    lines = []
    for (key, server), reason in failures.items():
        hosts = [member.host for member in services[key].members if member.value.key == server and member.host]
        whom = f"{hosts[0]} ({server})" if hosts else str(server)
        lines.append(f"{services[key].name} ({key}): real server {whom}: stays at weight 0: {reason}")
    return lines


def _services(expected: Expected, director: str, readings: t.Mapping[str, Reading | None]) -> t.Iterator[Finding]:
    mine = t.cast(Reading, readings[director])
    declared, drains = wanted(expected.cluster, mine)
    for service in expected.cluster:
        key = service.value.key
        about = f"{service.name} ({key})"
        have = mine.table.get(key)
        if have is None:
            yield Finding(MISSING, f"{about}: is not in the table", key)
            continue
        for text in _attributes(about, have.service, service.value, "the inventory says"):
            yield Finding(ATTRIBUTE, text, key)
        names = {member.value.key: member.host for member in service.members}
        servers = declared[key].real_servers
        for server_key in sorted({*have.real_servers, *servers}):
            name = names.get(server_key)
            whom = f"{about}: real server {f'{name} ({server_key})' if name else server_key}"
            there, want = have.real_servers.get(server_key), servers.get(server_key)
            if service.health_check is None:
                told = _of_module(whom, there, want)
            else:
                told = _of_keepalived(whom, there, want, service, drains.get((key, server_key)))
            for kind, text in told:
                yield Finding(kind, text, key, server_key)
        if service.health_check is not None:
            yield from _health(about, service, director, expected.directors, readings)
    for key in sorted(mine.table.keys() - declared.keys(), key=_options.sort_key):
        yield Finding(EXTRA, f"{key}: is in the table, and not in the inventory", key)


Told = t.Iterator[tuple[str, str]]


def _of_module(whom: str, there: RealServer | None, want: RealServer | None) -> Told:
    if there is None:
        yield MISSING, f"{whom}: is not in the table"
    elif want is None:
        yield EXTRA, f"{whom}: is in the table, and not to be there"
    else:
        for text in _attributes(whom, there, want, "is to be"):
            yield ATTRIBUTE, text


def _of_keepalived(
    whom: str,
    there: RealServer | None,
    want: RealServer | None,
    service: _cluster.Service,
    drain: _drain.Drain | None,
) -> Told:
    if there is None:
        return  # it failed its check
    if want is None:
        if there.key != _sorry_server(service):
            yield EXTRA, f"{whom}: is in the table, and not in the inventory"
        return
    # The checks give the weight, and the file of who is drained takes it.
    for text in _attributes(whom, there, want._replace(weight=there.weight), "the inventory says"):
        yield ATTRIBUTE, text
    if drain and drain.held == 0 and there.weight:
        yield ATTRIBUTE, f"{whom}: weight: is {there.weight}, is to be 0: it is drained"


def _sorry_server(service: _cluster.Service) -> RealServerKey | None:
    told = service.health_check.get("sorry_server") if isinstance(service.health_check, Mapping) else None
    if not told:
        return None
    return _model.real_server(told, service.value.key, _model.real_server_defaults(service.words)).key


def _health(
    about: str,
    service: _cluster.Service,
    director: str,
    names: t.Sequence[str],
    readings: t.Mapping[str, Reading | None],
) -> t.Iterator[Finding]:
    """Where the first other director that answers sees the real servers otherwise; the first of all says nothing."""
    reference = next((name for name in names if readings.get(name)), director)
    if reference == director:
        return
    both = [t.cast(Reading, readings[name]) for name in (director, reference)]
    mine, theirs = (_weights(reading, service.value.key) for reading in both)
    if theirs is None or mine is None:
        return
    drained = {key.address for reading in both for _service, key in reading.drains}
    for member in service.members:
        here, there = mine.get(member.value.key), theirs.get(member.value.key)
        # The weight of who is drained is not that of the checks.
        if here != there and member.value.key.address not in drained:
            whom = f"{member.host} ({member.value.key})" if member.host else str(member.value.key)
            yield Finding(
                HEALTH,
                f"{about}: real server {whom}: weight: is {'none' if here is None else here},"
                f" on {reference} it is {'none' if there is None else there}: their checks differ",
                service.value.key,
                member.value.key,
            )


def _weights(reading: Reading, key: ServiceKey) -> dict[RealServerKey, int] | None:
    entry = reading.table.get(key)
    return {server.key: server.weight for server in entry.real_servers.values()} if entry else None


def _attributes(about: str, have: t.Any, want: t.Any, says: str) -> t.Iterator[str]:
    for attribute, is_, wanted in zip(have._fields, have, want):
        if is_ != wanted:
            yield f"{about}: {attribute}: is {_word(is_)}, {says} {_word(wanted)}"


def _word(value: t.Any) -> str:
    if isinstance(value, _model.Tunnel):
        return "/".join(str(part) for part in value)
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value) or "none"
