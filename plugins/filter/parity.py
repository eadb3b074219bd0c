# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The doors to the comparison of directors and to their status; each filter is documented in the .yml of its name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _director, _parity, _proof, _status
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue, boolean
from ansible_collections.lvs.ipvs.plugins.plugin_utils._lazy import accept_lazy_markers


def _compared(
    declared: t.Any,
    host: str,
    groups: _cluster.Groups,
    hostvars: _cluster.HostVars,
    readings: t.Mapping[str, t.Any],
    keepalived: bool,
    vip_holder: str | None,
) -> tuple[_parity.Expected, dict[str, _parity.Reading | None]]:
    """What the inventory says of the directors of one cluster, and what they have."""
    mine = hostvars[host]
    keepalived = boolean("keepalived", keepalived)
    cluster = _cluster.services(declared, groups, hostvars)
    directors = _cluster.directors(host, groups, hostvars)
    moving = (_cluster.GATEWAY_VARIABLE, _parity.ADDRESSES_VARIABLE) if keepalived else ()
    expected = _parity.Expected(
        cluster,
        directors,
        _parity.floating(cluster, {variable: mine.get(variable) for variable in moving}),
        None if keepalived else _cluster.holder_of(directors, vip_holder),
        boolean("keepalived_sync", mine.get("keepalived_sync", True)),
        [name for name in directors if _director.looping_services(cluster, name, directors)],
    )
    return expected, {name: _parity.read(readings[name]) if readings.get(name) else None for name in directors}


@accept_lazy_markers
def parity(
    declared: t.Any,
    host: str,
    groups: _cluster.Groups,
    hostvars: _cluster.HostVars,
    readings: t.Mapping[str, t.Any],
    keepalived: t.Any,
    vip_holder: str | None = None,
) -> list[dict[str, str]]:
    """What is not right with one director."""
    try:
        expected, read = _compared(declared, host, groups, hostvars, readings, keepalived, vip_holder)
        found = _parity.findings(expected, host, read)
        return [{"kind": finding.kind, "text": f"{host}: {finding}"} for finding in found]
    except (_cluster.ClusterError, InvalidValue) as error:
        raise AnsibleFilterError(str(error)) from error


@accept_lazy_markers
def unanswered(
    declared: t.Any, groups: _cluster.Groups, hostvars: _cluster.HostVars, failures: t.Sequence[t.Mapping[str, t.Any]]
) -> list[str]:
    """Who got no weight, for they do not answer."""
    try:
        cluster = _cluster.services(declared, groups, hostvars) if failures else []
        return _parity.unanswered(cluster, _proof.parse_failures(failures))
    except (_cluster.ClusterError, InvalidValue) as error:
        raise AnsibleFilterError(str(error)) from error


@accept_lazy_markers
def status(
    declared: t.Any,
    host: str,
    groups: _cluster.Groups,
    hostvars: _cluster.HostVars,
    readings: t.Mapping[str, t.Any],
    keepalived: bool,
    vip_holder: str | None = None,
) -> dict[str, t.Any]:
    """What one director does, beside what it is to do."""
    try:
        expected, read = _compared(declared, host, groups, hostvars, readings, keepalived, vip_holder)
        return _status.view(expected, host, read, (readings.get(host) or {}).get("counters") or [])
    except (_cluster.ClusterError, InvalidValue) as error:
        raise AnsibleFilterError(str(error)) from error


def status_lines(views: t.Sequence[dict[str, t.Any]]) -> list[str]:
    """The status of several directors as lines of text."""
    return _status.lines(views)


class FilterModule:
    """What Ansible asks a filter file for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"parity": parity, "status": status, "status_lines": status_lines, "unanswered": unanswered}
