# SPDX-License-Identifier: GPL-3.0-or-later
"""A check leaves the kernel as it is: ip_vs, once loaded, has its connection table until the next boot."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

#: A module that a task would call on the host; it only says that it was called.
STUB = """\
#!/bin/sh
echo called >>CALLED
echo '{"changed": false, "steps": [], "step_count": 0}'
"""
DAEMON = {"role": "master", "interface": "back", "sync_id": 1}


@pytest.mark.parametrize("declared", [[DAEMON], []])
@pytest.mark.parametrize(("check", "loaded", "calls"), [(True, False, 0), (True, True, 1), (False, False, 1)])
def test_a_check_asks_no_ipvs_that_is_not_loaded(
    check: bool,
    loaded: bool,
    calls: int,
    declared: list[dict[str, object]],
    checkout: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    role = checkout / "roles" / "keepalived"
    called, record = tmp_path / "called", tmp_path / "sync_daemons.json"
    called.touch()
    record.write_text(json.dumps({"daemons": [DAEMON]}))
    (tmp_path / "library").mkdir()
    stub = tmp_path / "library" / "stub_sync_daemon"
    stub.write_text(STUB.replace("CALLED", str(called)))
    stub.chmod(0o755)
    # What the host tells, and all that the role does about sync daemons.
    tasks = [
        task
        for name in ("preflight", "configure", "synchronise")
        for task in yaml.safe_load((role / "tasks" / f"{name}.yml").read_text())
        if "sync daemons" in json.dumps(task) or "sync_daemons" in json.dumps(task)
    ]
    play = {
        "hosts": "lb1",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(role / "vars" / "main.yml"), str(role / "defaults" / "main.yml")],
        "tasks": tasks,
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]).replace("lvs.ipvs.", "stub_"))
    variables = {
        "ansible_python_interpreter": sys.executable,
        "_keepalived_configuration": {"sync_daemons": declared},
        "_keepalived_sync_daemons_record": str(record),
    }
    # A kernel that has IPVS, or has not, for those who look.
    mount = f"mount -t tmpfs none /proc/sys/net/ipv4 && {'mkdir /proc/sys/net/ipv4/vs' if loaded else ':'} && exec"
    within = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{mount} "$@"', "-"]
    options = ["-e", json.dumps(variables), *(["--check"] if check else [])]
    run = subprocess.run(
        [*within, "ansible-playbook", "-i", "lb1,", "play.yml", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(checkout / "ansible.cfg"),
            "ANSIBLE_LIBRARY": str(tmp_path / "library"),
        },
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(called.read_text().split()) == calls
    says = "lb1 has not loaded IPVS: all 1 sync daemons would be new" in run.stdout
    assert says == (check and not loaded and bool(declared))
