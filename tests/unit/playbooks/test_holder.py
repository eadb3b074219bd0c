# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is to have the virtual addresses of each of two clusters, as playbooks and the role director say it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
from typing import Any

import pytest
import yaml

VIP = "192.0.2.10"
ADDRESSES = {"a1": "198.51.100.11", "a2": "198.51.100.12", "b1": "198.51.100.13", "b2": "198.51.100.14"}


def played(folder: pathlib.Path, checkout: pathlib.Path, tasks: list[Any], **said: Any) -> str:
    """What tasks say on four directors, each of which has been read and has no address."""
    reading = {"services": [], "counters": [], "sync_daemons": [], "addresses": [], "drains": {}, "keepalived": ""}
    hosts = {
        name: {"lvs_address": address, "lvs_cluster": name[0], "lvs_reading": reading}
        for name, address in ADDRESSES.items()
    }
    services = [{"name": "web", "protocol": "tcp", "address": VIP, "port": 80}]
    inventory = {"all": {"vars": {"lvs_services": services}, "children": {"directors": {"hosts": hosts}}}}
    play = {
        "hosts": "directors",
        "gather_facts": False,
        "vars_files": [str(checkout / "playbooks" / "vars" / "cluster.yml")],
        "tasks": tasks,
    }
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([play]))
    run = subprocess.run(
        ["ansible-playbook", "-i", "hosts.json", "play.yml", "-e", json.dumps(said)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "ANSIBLE_CONFIG": str(checkout / "ansible.cfg"), "COLUMNS": "1000"},
    )
    return run.stdout + run.stderr


@pytest.mark.parametrize(("said", "holders"), [({}, {"a1", "b1"}), ({"lvs_vip_holder": "a2"}, {"a2"})])
@pytest.mark.parametrize("playbook", ["verify", "status"])
def test_a_playbook_looks_for_the_addresses_on_the_holder(
    playbook: str, said: dict[str, str], holders: set[str], checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    compare = yaml.safe_load((checkout / "playbooks" / f"{playbook}.yml").read_text())[-1]
    tasks = [task for task in compare["tasks"] if "ansible.builtin.template" not in task]
    output = played(tmp_path, checkout, tasks, **said)
    assert set(re.findall(rf"address {VIP}: is not here, (\w+) is to have it", output)) == holders, output


def test_the_role_and_the_playbooks_have_the_same_default(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    defaults = {"file": str(checkout / "roles" / "director" / "defaults" / "main.yml"), "name": "role"}
    told = {"msg": "{{ inventory_hostname }}: {{ lvs_vip_holder }} {{ role.director_vip_holder }}."}
    output = played(tmp_path, checkout, [{"ansible.builtin.include_vars": defaults}, {"ansible.builtin.debug": told}])
    assert set(re.findall(r"\w+: \w+ \w+\.", output)) == {"a1: a1 a1.", "a2: a1 a1.", "b1: b1 b1.", "b2: b1 b1."}, (
        output
    )
