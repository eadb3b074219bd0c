# SPDX-License-Identifier: GPL-3.0-or-later
"""Where keepalived is to take the virtual addresses, the role director's let go of them together with its start or not at all,
whatever tags choose. The play and what chooses within the roles are the real ones; what they would do is only written down."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import pytest
import yaml

from tests.unit.conftest import ansible_playbook

VIP = "192.0.2.10"
SERVICES = [{"protocol": "tcp", "address": VIP, "port": 80, "real_servers": [{"address": "198.51.100.21"}]}]
MODULE = """\
#!/usr/bin/python3
# WANT_JSON
import json, os, sys
told = json.load(open(sys.argv[1]))
print(os.environ["NAME"], told["interface"], *told["addresses"], file=open("CALLED", "a"))
print(json.dumps({"changed": True}))
"""
#: All else of the roles only says its name.
REAL = (
    "director/tasks/main",
    "director/tasks/addresses",
    "director/vars/main",
    "director/defaults/main",
    "keepalived/tasks/main",
)
PARKED = f"lb1 lo {VIP}"
TAKEN = ["lb1 configure", "lb1 run", "lb1 leave"]
OTHER = ["lb2 lo", "lb2 configure", "lb2 run"]


def told(folder: pathlib.Path, checkout: pathlib.Path, *arguments: str) -> tuple[list[str], str]:
    """What a run does about the addresses and keepalived, and what it says."""
    called = folder / "called"
    called.touch()

    def write(path: str, content: Any) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content if isinstance(content, str) else json.dumps(content))

    for role in ("director", "keepalived"):
        for path in (checkout / "roles" / role / "tasks").glob("*.yml"):
            note = f"echo {{{{ inventory_hostname }}}} {path.stem} >>{called}"
            seen = role == "keepalived" and path.stem in ("configure", "run", "leave")
            write(f"roles/{role}/tasks/{path.name}", [{"ansible.builtin.raw": note if seen else "true"}])

    def real(path: str) -> str:
        return (checkout / path).read_text().replace("lvs.ipvs.virtual_address", "stub_virtual_address")

    for name in REAL:
        write(f"roles/{name}.yml", real(f"roles/{name}.yml"))
    run = yaml.safe_load(real("roles/director/tasks/run.yml"))
    write("roles/director/tasks/run.yml", [task for task in run if "ansible.builtin.import_tasks" in task])
    configuration: dict[str, Any] = {"removed": [], "real_servers": []}
    nothing = {"_keepalived_configuration": configuration, "_keepalived_releases": False, "_keepalived_drained": []}
    write("roles/keepalived/vars/main.yml", nothing)
    write("tasks/compare.yml", [])
    write("library/stub_virtual_address", MODULE.replace("CALLED", str(called)))
    (folder / "library" / "stub_virtual_address").chmod(0o755)

    (play,) = (play for play in yaml.safe_load(real("playbooks/site.yml")) if play["name"] == "Make the directors so")
    del play["vars_files"]
    play |= {"connection": "local", "environment": {"NAME": "{{ inventory_hostname }}"}}
    write(
        "play.yml",
        json.dumps([play]).replace("lvs.ipvs.director", "director").replace("lvs.ipvs.keepalived", "keepalived"),
    )
    hosts: dict[str, Any] = {name: {"hosts": {"lb1": {}}} for name in ("lvs_first", "lvs_handover")}
    hosts |= {"lvs_last": {"hosts": {"lb2": {}}}, "directors": {"hosts": {"lb1": {}, "lb2": {}}}}
    # As the play before leaves them.
    left = {"lvs_services": SERVICES, "lvs_by_keepalived": True, "director_vip_holder": "", "__site_held": [VIP]}
    hosts["all"] = {"vars": {**left, "ansible_python_interpreter": sys.executable}}
    write("hosts.json", hosts)
    done = ansible_playbook(
        folder,
        "-i",
        "hosts.json",
        "play.yml",
        *arguments,
        ANSIBLE_LIBRARY=str(folder / "library"),
        ANSIBLE_ROLES_PATH=str(folder / "roles"),
        COLUMNS="1000",
    )
    return called.read_text().splitlines(), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "does"),
    [
        ([], [PARKED, *TAKEN, *OTHER]),
        (["--tags", "keepalived_install,keepalived_configure,keepalived_run"], [PARKED, *TAKEN, *OTHER[1:]]),
        (["--skip-tags", "director_run"], [PARKED, *TAKEN, *OTHER[1:]]),
        # Where nothing takes them they stay.
        (["--tags", "director_run"], ["lb2 lo"]),
        (["--tags", "keepalived_install"], []),
    ],
)
def test_the_addresses_are_let_go_of_with_the_start(
    arguments: list[str], does: list[str], checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done, output = told(tmp_path, checkout, *arguments)
    assert "failed=1" not in output, output
    assert done == does


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tags", "keepalived_configure"],
        ["--tags", "director_run,keepalived_configure"],
        ["--skip-tags", "keepalived_run"],
    ],
)
def test_keepalived_is_not_touched_without_it(
    arguments: list[str], checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done, output = told(tmp_path, checkout, *arguments)
    assert "keepalived is to take the virtual addresses that lb1 has from the role director" in output
    assert done == []
