# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator says wrong is refused before any host is spoken to: those of this inventory do not exist."""

from __future__ import annotations

import json
import pathlib

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
    directors: {hosts: {lb1: {lvs_address: 198.51.100.11}}}
    web: {hosts: {web1: {lvs_address: 198.51.100.21}, web2: {lvs_address: 198.51.100.22}}}
"""


@pytest.mark.parametrize(
    ("playbook", "said", "told"),
    [
        ("drain", "lvs_drain_interval=0", "lvs_drain_interval: '0' is not a number above 0"),
        ("drain", "lvs_drain_timout=60", "lvs_drain_timout: there is no such variable"),
        ("restore", "lvs_slow_start=slowly", "lvs_slow_start: 'slowly' is not a number of 0 or more"),
        ("rolling_update", "lvs_drain_minimum_weight=200", "lvs_drain_minimum_weight: '200' is not an integer from 0 to 100"),
        ("rolling_update", "lvs_update_tasks=gone.yml", "lvs_update_tasks: there is no file {here}/gone.yml"),
        ("rolling_update", "lvs_update_max_fail_percentage=0", "Neither lvs_update_tasks nor lvs_update_director_tasks says"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_first(playbook: str, said: str, told: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    words = ["-i", "hosts.yml", f"lvs.ipvs.{playbook}", "-e", "lvs_servers=web1", "-e", said]
    run = ansible_playbook(tmp_path, *words, COLUMNS="1000")
    output = " ".join((run.stdout + run.stderr).split())
    assert told.format(here=tmp_path) in output.replace("''", "'")
    assert run.returncode
    assert "unreachable=1" not in output


def test_what_cannot_be_for_one_host_is_refused_for_all(tmp_path: pathlib.Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    (tmp_path / "update.yml").write_text("[]")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/web2.yml").write_text("lvs_update_timeout: 1m")
    words = ["-i", "hosts.yml", "lvs.ipvs.rolling_update", "-e", "lvs_servers=web", "-e", "lvs_update_tasks=update.yml"]
    run = ansible_playbook(tmp_path, *words, COLUMNS="1000")
    output = " ".join((run.stdout + run.stderr).split()).replace("''", "'")
    assert "lvs_update_timeout: '1m' is not a number" in output
    assert run.returncode
    assert "Drain them" not in output
    assert "unreachable=1" not in output


def test_who_is_lost_is_not_said_to_be_drained_if_restored(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    plays = yaml.safe_load((checkout / "playbooks/rolling_update.yml").read_text())
    (stop,) = (
        task for play in plays for task in play.get("tasks", ()) if task["name"] == "Stop when too many are lost"
    )
    hosts = ["web1", "web2", "web3", "web4"]
    before = [
        {"set_fact": {"__update_well": "{{ inventory_hostname != 'web1' }}"}, "when": "inventory_hostname != 'web3'"},
        {"raw": "true", "when": "inventory_hostname == 'web3'"},
        {"fail": {}, "when": "inventory_hostname in ['web1', 'web2']"},
    ]
    given = {
        "__update_batch": hosts,
        "__lvs_settings": {"update_max_fail_percentage": 50},
        "ansible_host": "host.invalid",
    }
    play = {"hosts": "all", "gather_facts": False, "vars": given, "tasks": [*before, stop]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    run = ansible_playbook(tmp_path, "-i", ",".join(hosts), "play.yml", COLUMNS="1000")
    assert "failed or cannot be reached: web1, web2, web3; still drained: web1, web3" in run.stdout + run.stderr


def test_check_mode_ends_well_where_the_switch_would_begin(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Behind what is only read, which check mode does as well; nothing of it speaks to a host."""
    plays = yaml.safe_load((checkout / "playbooks/failover.yml").read_text())
    names = ["Watch the virtual address", "Give the virtual addresses away", "Report"]
    switch = [play for play in plays if play["name"] in names]
    assert [play["name"] for play in switch] == names
    (tmp_path / "switch.yml").write_text(json.dumps(switch))
    group = "    failover_{}: {{hosts: {{{}: {{}}}}}}\n"
    (tmp_path / "hosts.yml").write_text(INVENTORY + group.format("from", "lb1") + group.format("to", "lb2"))
    run = ansible_playbook(tmp_path, "-i", "hosts.yml", "switch.yml", "--check")
    assert run.returncode == 0, run.stdout + run.stderr
