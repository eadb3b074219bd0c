# SPDX-License-Identifier: GPL-3.0-or-later
"""The role as Ansible reads it, as far as the controller alone can tell."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.unit.conftest import ansible_playbook

PROGRAM = Path(__file__).resolve().parents[4] / "roles" / "real_server" / "files" / "lvs-ipvs-real-server.py"


def served(number: int) -> list[dict[str, t.Any]]:
    """So many services, no two of which have an address or a port in common."""
    ways: list[dict[str, t.Any]] = [
        {"forwarding": "masquerade"},
        {"forwarding": "direct"},
        {"forwarding": "tunnel"},
        {"forwarding": "tunnel", "tunnel": {"type": "gue", "port": 6080}},
    ]
    return [
        {
            "name": f"service {index}",
            "protocol": "tcp",
            "address": f"2001:db8:f:f:f:f:f:{index:x}",
            "port": 10 * (index % 4000) + 1,
            "scheduler": "rr",
            "real_servers": [{"group": "web", **ways[index % len(ways)]}],
        }
        for index in range(number)
    ]


def play(
    folder: Path, services: list[dict[str, t.Any]], *tasks: dict[str, t.Any], check: bool = False
) -> tuple[bool, t.Any]:
    """Whether web1 gets through tasks of a play; and what the last one said, or the one that failed."""
    hosts = {
        "directors": {"lb1": {"lvs_address6": "2001:db8:b::11"}},
        "web": {"web1": {"lvs_address6": "2001:db8:b::21", "ansible_connection": "local"}},
    }
    inventory = {group: {"hosts": members} for group, members in hosts.items()}
    (folder / "inventory.json").write_text(
        json.dumps({"all": {"children": inventory, "vars": {"lvs_services": services}}}), encoding="utf-8"
    )
    (folder / "play.json").write_text(
        json.dumps([{"hosts": "web1", "gather_facts": False, "tasks": tasks}]), encoding="utf-8"
    )
    words = ["-i", "inventory.json", "play.json", *["--check"] * check]
    run = ansible_playbook(folder, *words, ANSIBLE_CALLBACK_RESULT_FORMAT="json")
    told = re.findall(r"^(?:ok|changed|fatal): \[web1\](?:: FAILED!)? => (\{.*?^\}|\{.*\})$", run.stdout, re.M | re.S)
    assert told, run.stdout + run.stderr
    return run.returncode == 0, json.loads(told[-1])["msg"]


def role(tasks: str, **words: t.Any) -> dict[str, t.Any]:
    include = {"name": "lvs.ipvs.real_server", "tasks_from": tasks, "public": True}
    return {"ansible.builtin.include_role": include, "vars": words}


JUDGED = (role("judge"), {"ansible.builtin.debug": {"msg": "{{ _real_server_configuration | to_json }}"}})


def test_thousands_of_services_fit_into_a_command(tmp_path: Path) -> None:
    taken, told = play(tmp_path, served(2000), *JUDGED)
    assert taken, told
    assert json.loads(told)["direct"][0]["addresses"][0] == "2001:db8:f:f:f:f:f:1"
    command = shlex.quote(shlex.quote(told) + PROGRAM.read_text(encoding="utf-8"))
    # The kernel refuses an argument that is too long, and with it the command.
    subprocess.run(["true", command], check=True)
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true", command * 2], check=True)


def test_more_than_fits_is_refused(tmp_path: Path) -> None:
    marks = [{"protocol": "tcp", "address": f"2001:db8:f:f:f:f:f:{index:x}", "ports": [80]} for index in range(5000)]
    members = [{"group": "web", "forwarding": "direct"}]
    services = [
        {"name": "wide", "fwmark": 7, "family": "ipv6", "mark": marks, "scheduler": "rr", "real_servers": members}
    ]
    taken, told = play(tmp_path, services, *JUDGED)
    assert not taken
    assert told.startswith("web1 serves by too many addresses and ports: ")


@pytest.mark.parametrize(
    ("owned", "right"), [("0755 root:root", True), ("0777 root:root", False), ("0755 web:root", False)]
)
def test_what_root_runs_is_nobody_elses_to_write(tmp_path: Path, owned: str, right: bool) -> None:
    path = "/usr/local/sbin/lvs-ipvs-real-server"
    there = f"{owned} {hashlib.sha256(PROGRAM.read_bytes()).hexdigest()}  {path}"
    host = {"stdout": there, "stdout_lines": [there]}
    good, told = play(tmp_path, served(2), role("install", __real_server_host=host), check=True)
    assert good, told
    others = ["/etc/systemd/system/lvs-ipvs-real-server.service", "/etc/lvs-ipvs-real-server.json"]
    assert told == (others if right else [*others, path])
