# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for keepalived to have the addresses, without keepalived: ``ip`` says what the test lets it say."""

from __future__ import annotations

import pathlib
import shlex
import subprocess

import jinja2
import yaml

TASKS = pathlib.Path(__file__).resolve().parents[4] / "roles" / "keepalived" / "tasks" / "leave.yml"


def wait(interface: str, program: str) -> subprocess.CompletedProcess[str]:
    environment = jinja2.Environment(autoescape=False)
    environment.filters["quote"] = shlex.quote
    template = environment.from_string(yaml.safe_load(TASKS.read_text())[0]["ansible.builtin.raw"])
    text = template.render(
        _keepalived_configuration={"floating": [{"address": "192.0.2.10/32", "interface": interface}]}
    )
    call = f"ip() {{ {program}; }}\nsleep() {{ :; }}\n{text}"
    return subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False)


def test_it_asks_the_interface_of_each() -> None:
    words = "-oneline address show dev front to 192.0.2.10/32"
    assert wait("front", f'[ "$*" = "{words}" ] && echo here').returncode == 0
    late = wait("front", "false")
    assert (late.returncode, late.stderr) == (1, "keepalived has not taken 192.0.2.10/32\n")


def test_a_name_is_no_command() -> None:
    done = wait("x; echo told >&2; true", "echo here")
    assert (done.returncode, done.stderr) == (0, "")
