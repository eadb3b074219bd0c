# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a fleet of directors does at the moment, beside what it is to do, in a form to be shown. Pure.

One view is one director, as dictionaries of plain values, so that a template has nothing left to find out.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _drain, _options, _parity
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    Counters,
    RealServer,
    RealServerKey,
    ServiceKey,
)

Words = dict[str, t.Any]

#: What a drain is called, from its start to its end.
_DRAINS = ("draining", "drained", "removed", "returning")
_IDLE = Counters(0, 0, 0, 0, 0)._asdict()
_NONE: Words = {**dict.fromkeys((f"{kind}_connections" for kind in Connections._fields), 0), "per_second": _IDLE}


def view(
    expected: _parity.Expected,
    director: str,
    readings: t.Mapping[str, _parity.Reading | None],
    counted: t.Sequence[Words],
) -> Words:
    """What one director does; ``counted`` is what lvs.ipvs.table_info returns as its counters."""
    findings = _parity.findings(expected, director, readings)
    reading = readings.get(director)
    if reading is None:
        services, held = [], []
    else:
        services = list(_services(expected.cluster, reading, findings, counted))
        held = [address for address in expected.addresses if address in reading.addresses]
    role = "" if reading is None or not expected.addresses else "master" if held else "backup"
    return {
        "director": director,
        "answers": reading is not None,
        "role": role,
        "addresses": held,
        "findings": [finding.text for finding in findings],
        "services": services,
        "drain_count": sum(server["state"] in _DRAINS for service in services for server in service["real_servers"]),
        **_sum(services),
    }


def _services(
    cluster: t.Sequence[_cluster.Service],
    reading: _parity.Reading,
    findings: t.Sequence[_parity.Finding],
    counted: t.Sequence[Words],
) -> t.Iterator[Words]:
    """The services of the inventory in its order, then what else is in the table."""
    counters = {_options.read_key(words): words for words in counted}
    wanted = _parity.wanted(cluster, reading)
    told: dict[tuple[ServiceKey | None, RealServerKey | None], list[str]] = {}
    for finding in findings:
        told.setdefault((finding.service, finding.real_server), []).append(finding.text)
    declared = {service.value.key: service for service in cluster}
    further = sorted(reading.table.keys() - declared.keys(), key=_options.sort_key)
    for key in (*declared, *further):
        service, entry = declared.get(key), reading.table.get(key)
        members = {member.value.key: member for member in service.members} if service else {}
        there = entry.real_servers if entry else {}
        of_key = counters.get(key, {"real_servers": []})
        connections = {RealServerKey(words["address"], words["port"]): words for words in of_key["real_servers"]}
        servers = []
        for server_key in (*members, *sorted(there.keys() - members.keys())):
            member, server = members.get(server_key), there.get(server_key)
            drain = wanted.drains.get((key, server_key))
            numbers = connections.get(server_key, _NONE)
            shown: Words = {
                "name": (member.host if member else None) or "",
                "real_server": str(server_key),
                "weight": server.weight if server else None,
                "configured_weight": member.value.weight if member else None,
                "findings": told.get((key, server_key), []),
                **{word: numbers[word] for word in _NONE},
            }
            shown["shown_weight"] = _weights(shown)
            if shown["findings"]:
                shown["state"] = "drift"
            elif drain:
                shown["state"] = _drained(drain, numbers)
            elif service and member and service.health_check is not None and _is_out(member.value, server):
                shown["state"] = "out of rotation"
            else:
                shown["state"] = ""
            servers.append(shown)
        yield {
            "name": service.name if service else str(key),
            "service": str(key),
            "scheduler": entry.service.scheduler if entry else "",
            "owner": "" if service is None else "table" if service.health_check is None else "keepalived",
            "findings": told.get((key, None), []),
            "real_servers": servers,
            **_sum(servers),
            "per_second": of_key.get("per_second", _IDLE),
        }


def _is_out(wanted: RealServer, there: RealServer | None) -> bool:
    """Whether the checks of keepalived have taken a real server out of rotation."""
    return there is None or there.weight == 0 < wanted.weight


def _drained(drain: _drain.Drain, numbers: Words) -> str:
    if drain.held:
        return "returning"
    left = any(numbers[f"{kind}_connections"] for kind in Connections._fields)
    return "draining" if left else "drained" if drain.held is not None else "removed"


def _sum(parts: t.Sequence[Words]) -> Words:
    connections = {word: sum(part[word] for part in parts) for word in _NONE if word != "per_second"}
    rates = {word: sum(part["per_second"][word] for part in parts) for word in _IDLE}
    return {**connections, "per_second": rates}


# -- for a terminal ----------------------------------------------------------------------------------------

_HEAD = ("weight", "active", "inactive", "conn/s", "in B/s", "out B/s")


def lines(views: t.Sequence[Words]) -> list[str]:
    """The same as lines of text, in columns."""
    rows: list[tuple[str, tuple[str, ...], str]] = []
    for shown in views:
        rows.append((_title(shown), (), ""))
        for service in shown["services"]:
            owner = {"keepalived": ", of keepalived", "": ", not in the inventory"}.get(service["owner"], "")
            name = f"{service['name']} " if service["name"] != service["service"] else ""
            rows.append((f"  {name}{service['service']} {service['scheduler']}{owner}", _HEAD, ""))
            for server in service["real_servers"]:
                name = f"{server['name']} " if server["name"] else ""
                rows.append((f"    {name}{server['real_server']}", _cells(server), server["state"]))
        rows += [(f"  ! {finding}", (), "") for finding in shown["findings"]]
    left = max((len(title) for title, cells, _note in rows if cells), default=0)
    widths = [max(map(len, column)) for column in zip(*(cells for _title, cells, _note in rows if cells))]
    return [
        "  ".join([title.ljust(left), *(cell.rjust(width) for cell, width in zip(cells, widths)), note]).rstrip()
        if cells
        else title
        for title, cells, note in rows
    ]


def _title(shown: Words) -> str:
    if not shown["answers"]:
        return shown["director"]
    parts = [f"{shown['director']}: {shown['role'] or 'no addresses to hold'}"]
    parts += [f"has {', '.join(shown['addresses'])}"] if shown["addresses"] else []
    return ", ".join(parts)


def _cells(server: Words) -> tuple[str, ...]:
    rates = server["per_second"]
    numbers = (rates["connections"], rates["bytes_in"], rates["bytes_out"])
    active, inactive = server["active_connections"], server["inactive_connections"]
    return (server["shown_weight"], str(active), str(inactive), *map(amount, numbers))


def _weights(server: Words) -> str:
    """The weight, and what it is configured as where that is another."""
    weight, configured = server["weight"], server["configured_weight"]
    if weight == configured:
        return str(weight)
    have = "none" if weight is None else weight
    return f"{have}" if configured is None else f"{have} of {configured}"


def amount(number: float) -> str:
    """``950``, ``1.2k``, ``34M``: three digits say enough of a rate."""
    for unit in ("", "k", "M", "G"):
        if number < 1000 or unit == "G":
            break
        number /= 1000
    return f"{number:.1f}{unit}" if unit and number < 10 else f"{number:.0f}{unit}"
