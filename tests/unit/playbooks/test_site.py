# SPDX-License-Identifier: GPL-3.0-or-later
"""What the declaration alone shows to be wrong is refused before any host is spoken to: those of this inventory do not exist.
What keepalived is declared to do is judged with the addresses that directors have, which these cannot tell."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest
import yaml

from tests.unit.conftest import ansible_playbook

INVENTORY = """
all:
  vars:
    lvs_services:
      - {name: web, protocol: tcp, address: 192.0.2.10, port: 80, real_servers: [{group: web}]}
    ansible_host: host.invalid
  children:
    directors: {hosts: {lb1: {lvs_address: 198.51.100.11}, lb2: {lvs_address: 198.51.100.12}, lb3: {lvs_address: 198.51.100.13, lvs_cluster: b, lvs_services: []}}}
    other: {hosts: {web3: {lvs_address: 198.51.100.23, lvs_cluster: b}}}
    web: {hosts: {web1: {lvs_address: 198.51.100.21}, web2: {lvs_address: 198.51.100.22}}}
"""
SERVING = {
    "name": "b",
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 81,
    "real_servers": [{"group": "directors"}],
}
OF_ANOTHER = {**SERVING, "name": "c", "port": 82, "real_servers": [{"address": "198.51.100.23"}]}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"director_conn_tab_bits": 99}, "director_conn_tab_bits: 99 is neither 0 nor from 8 to 27"),
        ({"director_timeouts": {"tcp_fin": 3}}, "director_timeouts.tcp_fin. Supported parameters include: tcp, tcpfin, udp"),
        ({"director_vip_holder": "web1"}, 'director_vip_holder: host "web1" is not in the group "directors"'),
        ({"director_vip_holder": "lb3"}, "or not of the cluster of web1, whose directors are lb1, lb2"),
        ({"lvs_services": [SERVING]}, "lb1 is a director and a real server, and by masquerade its replies would not leave by"),
        ({"lvs_services": [OF_ANOTHER]}, "lvs_services (c).real_servers: host web3: lvs_cluster: it is of another cluster than lb1"),
    ],
)  # fmt: skip
def test_what_is_declared_wrong_is_refused_first(said: dict[str, Any], told: str, tmp_path: pathlib.Path) -> None:
    # Whatever a run is to do.
    for tags in ([], ["--tags", "keepalived_install"]):
        output = site(tmp_path, "-e", json.dumps(said), *tags)
        assert told in output
        assert "unreachable=1" not in output


@pytest.mark.parametrize(("tag", "host"), [("director_run", "lb2"), ("real_server_run", "web1")])
def test_with_tags_there_are_hosts_to_go_to(tag: str, host: str, tmp_path: pathlib.Path) -> None:
    output = site(tmp_path, "--tags", tag)
    assert f"[{host}]: UNREACHABLE!" in output


#: The cluster as one of several, and before it a host that has to do with none.
BESIDE = """
all:
  vars: {ansible_host: host.invalid}
  children:
    watching: {hosts: {monitor: {}}}
    cluster:
      vars:
        lvs_services:
          - {name: web, protocol: tcp, address: 192.0.2.10, port: 80, real_servers: [{group: web}]}
      children:
        directors: {hosts: {lb1: {lvs_address: 198.51.100.11}}}
        web: {hosts: {web1: {lvs_address: 198.51.100.21}}}
"""


@pytest.mark.parametrize(("playbook", "host"), [("site", "web1"), ("rolling_update", "web1 -> ")])
def test_a_host_of_no_cluster_is_left_out(playbook: str, host: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "update.yml").write_text("[]")
    update = ["-e", "lvs_servers=web", "-e", "lvs_update_tasks=update.yml"]
    output = site(tmp_path, *update, playbook=playbook, inventory=BESIDE)
    assert re.search(rf"\[{host}.*\]: UNREACHABLE!", output)
    assert "failed=1" not in output


@pytest.mark.parametrize("address", ["lvs_address", "lvs_address6"])
def test_a_real_server_that_knows_no_services_is_refused(address: str, tmp_path: pathlib.Path) -> None:
    inventory = BESIDE.replace("monitor: {}", f"monitor: {{{address}: 198.51.100.31}}")
    assert "'lvs_services' is undefined" in site(tmp_path, inventory=inventory)


def site(folder: pathlib.Path, *arguments: str, playbook: str = "site", inventory: str = INVENTORY) -> str:
    """What a run says that fails, in one line."""
    (folder / "hosts.yml").write_text(inventory)
    run = ansible_playbook(folder, "-i", "hosts.yml", f"lvs.ipvs.{playbook}", *arguments, COLUMNS="1000")
    assert run.returncode
    return " ".join((run.stdout + run.stderr).split()).replace("''", "'").replace('\\"', '"')


@pytest.mark.parametrize("kept", [[], ["real server 198.51.100.21:80 of service tcp 192.0.2.10:80"]])
def test_who_is_kept_in_use_keeps_what_it_needs_for_it(
    kept: list[str], tmp_path: pathlib.Path, checkout: pathlib.Path
) -> None:
    """A director keeps sending to a real server that is declared no more, where no other answers."""
    plays = yaml.safe_load((checkout / "playbooks/site.yml").read_text())
    remember = next(task for play in plays for task in play.get("tasks", []) if "Remember that" in task["name"])
    take_off = plays[-1]
    for task in take_off["tasks"]:
        if "ansible.builtin.include_role" in task:
            task["ansible.builtin.debug"] = {"msg": "TAKEN OFF"}
            del task["ansible.builtin.include_role"]
    directors = {"hosts": "lb1:lb2", "gather_facts": False, "tasks": [remember]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([directors, {**take_off, "hosts": "web1"}]))
    inventory = yaml.safe_load(INVENTORY)
    inventory["all"]["children"]["directors"]["hosts"]["lb2"]["__director_table"] = {"kept": kept}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    run = ansible_playbook(tmp_path, "-i", "hosts.yml", "play.yml", "-e", "_real_server_waits=true")
    assert run.returncode == 0, run.stdout + run.stderr
    assert ("TAKEN OFF" in run.stdout) == (not kept)
    assert ("without lb2" in run.stdout) == bool(kept)
