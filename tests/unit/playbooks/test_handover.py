# SPDX-License-Identifier: GPL-3.0-or-later
"""From which director keepalived is to take the virtual addresses, by what directors tell of themselves."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest

from tests.unit.conftest import ansible_playbook

VIP = "192.0.2.10"
SERVICES = [{"protocol": "tcp", "address": VIP, "port": 80, "real_servers": [{"address": "198.51.100.21"}]}]
#: Each says it of the host that asks.
PROGRAMS = {
    "ip": '/bin/cat "$WORLD/$NAME.addresses"',
    "systemctl": '/bin/cat "$WORLD/$NAME.keepalived"',
    "cat": '/bin/cat "$WORLD/$NAME.record"',
}


def run(
    folder: pathlib.Path, checkout: pathlib.Path, *arguments: str, **hosts: tuple[str, str, bool]
) -> subprocess.CompletedProcess[str]:
    """Sorts hosts, each of which has the address on an interface or nowhere, and in the role director's record or not."""
    (folder / "bin").mkdir()
    programs = {f"bin/{name}": f"#!/bin/sh\n{command}\n" for name, command in PROGRAMS.items()}
    programs |= {
        f"{name}.ssh": f'#!/bin/sh\nfor command; do :; done\nNAME={name} exec sh -c "$command"\n' for name in hosts
    }
    for path, text in programs.items():
        (folder / path).write_text(text)
        (folder / path).chmod(0o755)
    for name, (link, keepalived, held) in hosts.items():
        links = [{"ifname": link or "lo", "addr_info": [{"local": VIP, "prefixlen": 32}] if link else []}]
        (folder / f"{name}.addresses").write_text(json.dumps(links) + "\n")
        (folder / f"{name}.keepalived").write_text(f"{keepalived}\n")
        record = {"addresses": [{"address": f"{VIP}/32", "interface": link}] if held else []}
        (folder / f"{name}.record").write_text(json.dumps(record))
    inventory: dict[str, Any] = {"all": {"vars": {"lvs_services": SERVICES, "lvs_keepalived": True}}}
    inventory["directors"] = {
        "hosts": {
            name: {"ansible_connection": "ssh", "ansible_ssh_executable": str(folder / f"{name}.ssh")} for name in hosts
        }
    }
    (folder / "hosts.json").write_text(json.dumps(inventory))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [f"{checkout}/playbooks/vars/cluster.yml", f"{checkout}/roles/director/vars/main.yml"],
        "tasks": [
            {"import_tasks": f"{checkout}/playbooks/tasks/inventory.yml"},
            {
                "ansible.builtin.copy": {"content": "{{ groups | to_json }}", "dest": str(folder / "groups")},
                "delegate_to": "localhost",
                "run_once": True,
            },
        ],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return ansible_playbook(
        folder, "-i", "hosts.json", "play.yml", *arguments, PATH=path, WORLD=str(folder), COLUMNS="1000"
    )


def sorted_hosts(folder: pathlib.Path, checkout: pathlib.Path, **hosts: tuple[str, str, bool]) -> dict[str, list[str]]:
    """The groups."""
    done = run(folder, checkout, **hosts)
    assert done.returncode == 0, done.stdout + done.stderr
    groups = json.loads((folder / "groups").read_text())
    return {name.removeprefix("lvs_"): sorted(groups[name]) for name in sorted(groups) if name.startswith("lvs_")}


@pytest.mark.parametrize(
    ("lb1", "lb2", "groups"),
    [
        # keepalived has never run.
        (("front", "inactive", True), ("", "inactive", False), {"first": ["lb1"], "handover": ["lb1"], "last": ["lb2"]}),
        # It runs, and did not take them when it was to.
        (("lo", "active", True), ("", "inactive", False), {"first": ["lb1"], "handover": ["lb1"], "last": ["lb2"]}),
        # That of the other has taken them since.
        (("lo", "active", True), ("front", "active", False), {"last": ["lb1", "lb2"]}),
        # All is done.
        (("front", "active", False), ("", "active", False), {"first": ["lb2"], "last": ["lb1"]}),
    ],
)  # fmt: skip
def test_the_director_that_has_the_addresses(
    lb1: tuple[str, str, bool],
    lb2: tuple[str, str, bool],
    groups: dict[str, list[str]],
    checkout: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    assert sorted_hosts(tmp_path, checkout, lb1=lb1, lb2=lb2) == groups


@pytest.mark.parametrize(("keepalived", "refused"), [("inactive", True), ("failed", True), ("active", False)])
def test_a_run_without_all_directors_starts_no_keepalived(
    keepalived: str, refused: bool, checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done = run(tmp_path, checkout, "--limit", "lb2", lb1=("front", "inactive", True), lb2=("", keepalived, False))
    assert (done.returncode != 0) == refused, done.stdout + done.stderr
    assert (
        "keepalived does not run on lb2, and lb1, of which this run is without, may have" in done.stderr + done.stdout
    ) == refused
