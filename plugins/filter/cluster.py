# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The doors to the cluster as the inventory declares it; each filter is documented in the .yml of its name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster
from ansible_collections.lvs.ipvs.plugins.plugin_utils._lazy import accept_lazy_markers


def _services(declared: t.Any, groups: _cluster.Groups, hostvars: _cluster.HostVars) -> list[_cluster.Service]:
    try:
        return _cluster.services(declared, groups, hostvars)
    except _cluster.ClusterError as error:
        raise AnsibleFilterError(str(error)) from error


@accept_lazy_markers
def director_services(declared: t.Any, groups: _cluster.Groups, hostvars: _cluster.HostVars) -> list[_cluster.Words]:
    """The services of each director, for lvs.ipvs.table."""
    return _cluster.director_services(_services(declared, groups, hostvars))


@accept_lazy_markers
def health_checked_services(
    declared: t.Any, groups: _cluster.Groups, hostvars: _cluster.HostVars
) -> list[_cluster.Words]:
    """The services that keepalived owns."""
    return _cluster.health_checked_services(_services(declared, groups, hostvars))


@accept_lazy_markers
def vips(declared: t.Any, groups: _cluster.Groups, hostvars: _cluster.HostVars) -> list[str]:
    """The virtual addresses of the cluster."""
    return _cluster.vips(_services(declared, groups, hostvars))


@accept_lazy_markers
def cluster_directors(host: str, groups: _cluster.Groups, hostvars: _cluster.HostVars) -> list[str]:
    """The directors of a host's cluster."""
    try:
        return _cluster.directors(host, groups, hostvars)
    except _cluster.ClusterError as error:
        raise AnsibleFilterError(str(error)) from error


@accept_lazy_markers
def real_server_services(
    declared: t.Any,
    host: str,
    groups: _cluster.Groups,
    hostvars: _cluster.HostVars,
    vip_holder: str | None = None,
) -> list[_cluster.Words]:
    """The services that one host serves, with what its role needs of each."""
    cluster = _services(declared, groups, hostvars)
    try:
        return _cluster.real_server_services(cluster, host, groups, hostvars, vip_holder)
    except _cluster.ClusterError as error:
        raise AnsibleFilterError(str(error)) from error


@accept_lazy_markers
def real_server_configuration(services: list[_cluster.Words], options: _cluster.Words) -> _cluster.Words:
    """What the program of a real server reads."""
    return _cluster.real_server_configuration(services, options)


@accept_lazy_markers
def named_real_servers(
    declared: t.Any, named: t.Any, groups: _cluster.Groups, hostvars: _cluster.HostVars
) -> _cluster.Words:
    """The real servers that an operator named, as the directors know them."""
    cluster = _services(declared, groups, hostvars)
    try:
        return _cluster.named_real_servers(cluster, named, groups, hostvars)
    except _cluster.ClusterError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible asks a filter file for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "cluster_directors": cluster_directors,
            "director_services": director_services,
            "health_checked_services": health_checked_services,
            "named_real_servers": named_real_servers,
            "real_server_configuration": real_server_configuration,
            "real_server_services": real_server_services,
            "vips": vips,
        }
