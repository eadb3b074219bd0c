# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door to the configuration of keepalived; the filter is documented in the .yml of its name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _keepalived
from ansible_collections.lvs.ipvs.plugins.plugin_utils._lazy import accept_lazy_markers


@accept_lazy_markers
def keepalived_config(
    declared: t.Any,
    host: str,
    groups: _cluster.Groups,
    hostvars: _cluster.HostVars,
    links: t.Iterable[t.Mapping[str, t.Any]],
    options: t.Mapping[str, t.Any],
    drain_files: str = "",
    had: t.Iterable[str] = (),
) -> dict[str, t.Any]:
    """What keepalived on one director needs, and what it has to let go of."""
    try:
        cluster = _cluster.services(declared, groups, hostvars)
        interfaces = _keepalived.interfaces_of(links)
        needs = _keepalived.configuration(cluster, host, groups, hostvars, interfaces, options, drain_files)
        return {**needs._asdict(), **_keepalived.left(cluster, had)._asdict()}
    except _cluster.ClusterError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible asks a filter file for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"keepalived_config": keepalived_config}
