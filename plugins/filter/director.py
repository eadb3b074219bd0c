# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door to what one director has to be; the filter is documented in the .yml of its name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _director
from ansible_collections.lvs.ipvs.plugins.plugin_utils._lazy import accept_lazy_markers


@accept_lazy_markers
def director_configuration(
    declared: t.Any,
    host: str,
    groups: _cluster.Groups,
    hostvars: _cluster.HostVars,
    options: t.Mapping[str, t.Any],
    told: t.Sequence[str],
) -> dict[str, t.Any]:
    """What one director has to be, by the cluster, the options of its role and what it tells of itself."""
    try:
        cluster = _cluster.services(declared, groups, hostvars, host)
        directors = _cluster.directors(host, groups, hostvars)
    except _cluster.ClusterError as error:
        raise AnsibleFilterError(str(error)) from error
    wishes = _director.Wishes(**{option: options[option] for option in _director.Wishes._fields})
    # Before ansible-core 2.19 a template that makes a number is text.
    wishes = wishes._replace(conn_tab_bits=int(wishes.conn_tab_bits))
    return _director.director(cluster, host, directors, wishes, _director.parse_told(told))._asdict()


class FilterModule:
    """What Ansible asks a filter file for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"director_configuration": director_configuration}
