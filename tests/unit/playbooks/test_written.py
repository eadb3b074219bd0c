# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that playbooks write on the controller are where the caller says, by a relative name from where that is."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.unit.conftest import ansible_playbook

RULES = "-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 198.51.100.21:80 -m -w 1\n"


@pytest.mark.parametrize(
    ("said", "written"),
    [("", "lvs.yml"), ("./mine.yml", "mine.yml"), ("~/mine.yml", "home/mine.yml")],
)
def test_an_adopted_table_is_written_once(said: str, written: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "ipvsadm.rules").write_text(RULES)
    (tmp_path / "home").mkdir()
    words = [
        "lvs.ipvs.adopt",
        "-e",
        json.dumps({"adopt_rules": "ipvsadm.rules"} | ({"adopt_file": said} if said else {})),
    ]
    run = ansible_playbook(tmp_path, *words, HOME=str(tmp_path / "home"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "192.0.2.10" in (tmp_path / written).read_text()

    (tmp_path / written).write_text("mine\n")
    run = ansible_playbook(tmp_path, *words, HOME=str(tmp_path / "home"))
    assert f"{tmp_path / written} is there already" in " ".join(run.stdout.split())
    assert (tmp_path / written).read_text() == "mine\n"


def test_a_status_page(tmp_path: pathlib.Path) -> None:
    # Its one director does not exist, which the page says.
    inventory = {
        "all": {"vars": {"lvs_services": [], "ansible_host": "host.invalid"}},
        "directors": {"hosts": {"lb1": {"lvs_address": "198.51.100.11"}}},
    }
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
    run = ansible_playbook(tmp_path, "-i", "hosts.yml", "lvs.ipvs.status", "-e", "status_page=./mine.html")
    assert "lb1" in (tmp_path / "mine.html").read_text(), run.stdout + run.stderr
