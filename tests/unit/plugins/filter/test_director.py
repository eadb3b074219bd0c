# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter director_configuration as the role calls it."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.filter.director import FilterModule

GROUPS = {"all": ["lb1"], "directors": ["lb1"]}
HOSTVARS = {"lb1": {"lvs_address": "198.51.100.11"}}
OPTIONS = {
    "vip_holder": "lb1",
    "vip_interface": "eth9",
    "conntrack": False,
    "sloppy_tcp": False,
    "conn_tab_bits": "0",
    "sysctls": {},
}
director_configuration = FilterModule().filters()["director_configuration"]


def test_the_role_gets_what_it_needs() -> None:
    service = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
    made = director_configuration([service], "lb1", GROUPS, HOSTVARS, OPTIONS, ["kernel 6.1.0"])
    assert made == {
        "findings": ["director_vip_interface: lb1 has no interface 'eth9'"],
        "sysctls": {
            "net.ipv4.vs.conntrack": 0,
            "net.ipv4.vs.conn_reuse_mode": 1,
            "net.ipv4.vs.expire_nodest_conn": 1,
            "net.ipv4.vs.sloppy_tcp": 0,
        },
        "sysctl_files": [],
        "sysctls_to_set": [
            "net/ipv4/vs/conntrack=0",
            "net/ipv4/vs/conn_reuse_mode=1",
            "net/ipv4/vs/expire_nodest_conn=1",
            "net/ipv4/vs/sloppy_tcp=0",
        ],
        "vip_interface": "eth9",
        "marks": "",
        "marked": [],
        "reached": [],
        "released": [],
    }


def test_a_director_of_another_cluster_is_no_holder_and_no_neighbour() -> None:
    groups = {"all": ["lb1", "lb2"], "directors": ["lb1", "lb2"]}
    hostvars = {**HOSTVARS, "lb2": {"lvs_address": "198.51.100.12", "lvs_cluster": "b"}}
    service = {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": [{"address": "198.51.100.12"}]}
    own, other = (
        director_configuration([service], "lb2", groups, hostvars, {**OPTIONS, "vip_holder": holder}, [])["findings"]
        for holder in ("lb2", "lb1")
    )
    assert own == []
    assert other == [
        'director_vip_holder: host "lb1" is not in the group "directors", or not of the cluster of lb2, whose directors are lb2'
    ]


def test_a_real_server_of_another_cluster_is_refused() -> None:
    groups = {"all": ["lb1", "lb2", "web1"], "directors": ["lb1", "lb2"]}
    hostvars = {name: {"lvs_address": f"198.51.100.1{name[-1]}", "lvs_cluster": name} for name in ("lb1", "lb2")}
    hostvars["web1"] = {"lvs_address": "198.51.100.21", "lvs_cluster": "lb2"}
    service = {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": [{"address": "198.51.100.21"}]}
    wishes = {**OPTIONS, "vip_holder": ""}
    assert director_configuration([service], "lb2", groups, hostvars, wishes, [])["findings"] == []
    with pytest.raises(AnsibleFilterError, match="host web1: lvs_cluster: it is of another cluster than lb1"):
        director_configuration([service], "lb1", groups, hostvars, wishes, [])


def test_what_is_no_declaration_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="lvs_services: must be a list of services"):
        director_configuration(None, "lb1", GROUPS, HOSTVARS, OPTIONS, [])
