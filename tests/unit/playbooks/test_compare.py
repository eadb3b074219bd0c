# SPDX-License-Identifier: GPL-3.0-or-later
"""How site sees that a director came out right: the real tasks, and a kernel's table that is only told."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import pytest
import yaml

from tests.unit.conftest import ansible_playbook

TASK = "See that it came out right before the next has its turn"
MODULE = """\
#!/bin/sh
echo '{"services": SERVICES}'
"""


def service(port: int, **server: Any) -> dict[str, Any]:
    servers = [{"address": "198.51.100.21", **server}]
    return {"protocol": "tcp", "address": "192.0.2.10", "port": port, "real_servers": servers}


PLAIN, SILENT, CHECKED = service(80), service(80, weight=0), {**service(81), "health_check": {"tcp": {}}}
APPLIED = {"changed": False, "unanswered": []}


@pytest.mark.parametrize(
    ("table", "applied", "told"),
    [
        # Of another run, which was told to go on without who does not answer.
        ([SILENT, service(81)], None, ""),
        ([SILENT, service(81)], APPLIED, "weight: is 0, is to be 1"),
        ([PLAIN], None, "tcp 192.0.2.10:81 (tcp 192.0.2.10:81): is not in the table"),
    ],
)
def test_what_the_run_left_as_it_was_is_not_looked_at(
    table: list[dict[str, Any]],
    applied: dict[str, Any] | None,
    told: str,
    checkout: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    plays = yaml.safe_load((checkout / "playbooks/site.yml").read_text())
    (task,) = (task for play in plays for task in play.get("tasks", ()) if task["name"] == TASK)
    given: dict[str, Any] = {"lvs_services": [PLAIN, CHECKED], "lvs_by_keepalived": True}
    given |= {"_director_drains_record": str(tmp_path / "none"), "ansible_python_interpreter": sys.executable}
    given |= {"__director_table": applied} if applied else {}
    play = {"hosts": "lb1", "connection": "local", "gather_facts": False, "vars": given, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    compare = (checkout / "playbooks/tasks/compare.yml").read_text()
    (tmp_path / "tasks").mkdir()
    # It waits for nobody.
    (tmp_path / "tasks/compare.yml").write_text(compare.replace("lvs.ipvs.table_info", "stub").replace("+ 30", "+ 0"))
    (tmp_path / "library").mkdir()
    (tmp_path / "library/stub").write_text(MODULE.replace("SERVICES", json.dumps(table)))
    (tmp_path / "library/stub").chmod(0o755)
    (tmp_path / "hosts.yml").write_text("directors: {hosts: {lb1: {}}}")
    library = str(tmp_path / "library")
    run = ansible_playbook(tmp_path, "-i", "hosts.yml", "play.yml", ANSIBLE_LIBRARY=library, COLUMNS="1000")
    assert bool(run.returncode) == bool(told), run.stdout + run.stderr
    assert told in run.stdout + run.stderr
