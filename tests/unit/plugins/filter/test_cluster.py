# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters as playbooks call them: by ansible itself, with its lazy variables, over an inventory."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.filter.cluster import FilterModule
from tests.unit.conftest import ansible_playbook

INVENTORY = """
all:
  vars:
    prefix: 198.51.100
    web_port: "{{ 40 + 40 }}"
    lvs_services:
      - {name: web, protocol: tcp, address: 192.0.2.10, port: "{{ web_port }}", real_servers: [{group: web}]}
      - {name: tls, protocol: tcp, address: 192.0.2.10, port: 443, real_servers: [{group: web}], health_check: {tcp: {}}}
  children:
    directors:
      hosts:
        lb1: {lvs_address: "{{ prefix }}.11"}
        lb2: {lvs_address: "{{ prefix }}.12"}
    web:
      hosts:
        web1: {lvs_address: "{{ prefix }}.21", lvs_weight: "{{ 1 + 1 }}"}
        web2: {lvs_address: "{{ prefix }}.22"}
"""


def ask(folder: Path, inventory: str, expression: str) -> tuple[bool, t.Any]:
    """What a task on web1 alone makes of an expression; the other hosts are in the inventory only."""
    (folder / "inventory.yml").write_text(inventory, encoding="utf-8")
    (folder / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "tasks": [{"ansible.builtin.debug": {"msg": "{{ " + expression + " }}"}}],
                }
            ]
        ),
        encoding="utf-8",
    )
    words = ["-i", "inventory.yml", "--limit", "web1", "play.yml"]
    run = ansible_playbook(folder, *words, ANSIBLE_CALLBACK_RESULT_FORMAT="json")
    told = re.search(r"^(?:ok|fatal): \[web1\](?:: FAILED!)? => (\{.*?^\}|\{.*\})$", run.stdout, re.M | re.S)
    assert told, run.stdout + run.stderr
    return run.returncode == 0, json.loads(told.group(1))["msg"]


def test_playbooks_reach_all_filters_and_hosts_outside_the_limit(tmp_path: Path) -> None:
    names = ["vips", "director_services", "health_checked_services"]
    cluster = "(groups, hostvars)"
    parts = [f"'{name}': lvs_services | lvs.ipvs.{name}{cluster}" for name in names]
    parts.append(
        "'served': lvs_services | lvs.ipvs.real_server_services(inventory_hostname, groups, hostvars, vip_holder='lb2')"
    )
    parts.append("'directors': inventory_hostname | lvs.ipvs.cluster_directors(groups, hostvars)")
    parts.append("'named': lvs_services | lvs.ipvs.named_real_servers('web2', groups, hostvars)")
    good, answer = ask(tmp_path, INVENTORY, "{" + ", ".join(parts) + "}")
    assert good
    servers = [{"address": "198.51.100.21", "weight": 2}, {"address": "198.51.100.22"}]
    assert answer["vips"] == ["192.0.2.10"]
    assert answer["director_services"] == [
        {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": servers}
    ]
    assert [(service["name"], service["real_servers"]) for service in answer["health_checked_services"]] == [
        ("tls", servers)
    ]
    assert answer["directors"] == ["lb1", "lb2"]
    checked = answer["named"].pop("health_checked")
    assert answer["named"] == {"hosts": ["web2"], "addresses": ["198.51.100.22"]}
    assert [[server["address"] for server in service["real_servers"]] for service in checked] == [["198.51.100.22"]]
    assert [(service["name"], service["gateway"]) for service in answer["served"]] == [
        ("web", "198.51.100.12"),
        ("tls", "198.51.100.12"),
    ]


def test_a_wrong_inventory_is_one_clear_error_of_the_play(tmp_path: Path) -> None:
    inventory = INVENTORY.replace("group: web}], health", "group: wbe}], health").replace("1 + 1", "nothing")
    good, message = ask(tmp_path, inventory, "lvs_services | lvs.ipvs.director_services(groups, hostvars)")
    assert not good
    assert 'lvs_services[1] (tls).real_servers[0].group: there is no group "wbe" in the inventory' in message
    assert "host web1: lvs_weight: 'nothing' is undefined" in message


# What reads the answer of another filter is not handed a declaration.
@pytest.mark.parametrize(
    "name", sorted(FilterModule().filters().keys() - {"real_server_configuration", "cluster_directors"})
)
def test_each_filter_refuses_what_is_no_declaration(name: str) -> None:
    arguments: list[t.Any] = [{}, {}]
    if name in ("named_real_servers", "real_server_services"):
        arguments.insert(0, "web1")
    with pytest.raises(AnsibleFilterError, match="lvs_services: must be a list of services"):
        FilterModule().filters()[name](None, *arguments)
