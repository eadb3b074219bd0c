# SPDX-License-Identifier: GPL-3.0-or-later
"""A check leaves the kernel as it is: ip_vs, once loaded, has its connection table until the next boot."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import yaml

from tests.unit.conftest import ansible_playbook

#: A module that a task would call on the host; it only says that it was called.
STUB = """\
#!/bin/sh
echo "$0" >>CALLED
echo '{"changed": false, "steps": [], "step_count": 0}'
"""
LOADED = "/proc/sys/net/ipv4/vs/conntrack:0\n"


@pytest.mark.parametrize(
    ("check", "told", "asked"),
    [
        (True, "", ["virtual_address"]),
        (True, LOADED, ["timeouts", "table", "virtual_address"]),
        # The last but one asks whether the next can be done.
        (False, "", ["timeouts", "table", "virtual_address", "virtual_address"]),
    ],
)
def test_a_check_asks_no_ipvs_that_is_not_loaded(
    check: bool, told: str, asked: list[str], checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    lines = [
        *told.splitlines(),
        "kernel 6.12.0",
        "marks as wanted",
        "network 192.0.2.0/24 dev front ",
        "/sys/class/net/front/mtu:1",
    ]
    host = {"__director_host": {"stdout": "\n".join(lines), "stdout_lines": lines}}
    output, called = played(checkout, tmp_path, "run", host, *(["--check"] if check else []))
    assert called == asked
    for would in ("the timeouts would be set: tcp 9", "all 1 services would be new"):
        assert (f"lb1 has not loaded IPVS: {would}" in output) == (check and not told)


def test_the_services_alone_need_nothing_that_the_host_told(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    # site with keepalived_run and without director_run: no preflight.
    assert played(checkout, tmp_path, "services", {})[1] == ["table"]


def played(
    checkout: pathlib.Path, tmp_path: pathlib.Path, part: str, host: dict[str, Any], *arguments: str
) -> tuple[str, list[str]]:
    """What a part of the role's tasks says, and which modules it calls."""
    role = checkout / "roles" / "director"
    called = tmp_path / "called"
    called.touch()
    (tmp_path / "library").mkdir()
    # The role's own tasks, with others in the place of the modules.
    for name in ("run", "services", "addresses"):
        tasks = (role / "tasks" / f"{name}.yml").read_text().replace("lvs.ipvs.", "stub_")
        (tmp_path / f"{name}.yml").write_text(tasks)
    for name in ("timeouts", "table", "virtual_address"):
        stub = tmp_path / "library" / f"stub_{name}"
        stub.write_text(STUB.replace("CALLED", str(called)).replace("$0", name))
        stub.chmod(0o755)
    play = {
        "hosts": "directors",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(role / "vars" / "main.yml")],
        "vars": {
            **yaml.safe_load((role / "defaults" / "main.yml").read_text()),
            "lvs_services": [{"name": "web", "protocol": "tcp", "address": "192.0.2.10", "port": 80}],
            "director_timeouts": {"tcp": 9},
            **host,
        },
        "tasks": [{"import_tasks": f"{part}.yml"}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    (tmp_path / "hosts.yml").write_text(json.dumps({"directors": {"hosts": {"lb1": {"lvs_address": "198.51.100.11"}}}}))
    run = ansible_playbook(tmp_path, "-i", "hosts.yml", "play.yml", *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout, called.read_text().split()
