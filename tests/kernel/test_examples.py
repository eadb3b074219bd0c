# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the documentation of the modules, run as they stand: check mode tells the truth, and twice is once."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .words import Words

Module = Callable[..., dict[str, Any]]
Apply = Callable[..., dict[str, Any]]
Table = Callable[[], tuple[list[str], list[str]]]

MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
# What the examples are about.
WEB: Words = {
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 80,
    "real_servers": [{"address": f"198.51.100.{number}", "weight": 30} for number in range(21, 25)],
}
INTERFACES = ("eth0", "eth1")
# What they write belongs to the whole machine: test_restore.py gives them other places.
ELSEWHERE = {"restore_unit"}
# Of an act, not of a state.
ALWAYS_CHANGED = {"zero_counters"}


def examples() -> list[tuple[str, str, Words]]:
    """The tasks of the collection in the examples of each module, but for those that only a playbook can run."""
    found = []
    for path in sorted(MODULES.glob("*.py")):
        text = importlib.import_module(f"ansible_collections.lvs.ipvs.plugins.modules.{path.stem}").EXAMPLES
        for task in yaml.safe_load(text):
            for key, options in task.items():
                collection, _dot, name = key.rpartition(".")
                if collection == "lvs.ipvs" and name not in ELSEWHERE and "{{" not in str(options):
                    found.append((name, task["name"], options or {}))
    return found


def in_folder(value: Any, folder: Path) -> Any:
    """The same options, with the records in another folder."""
    if isinstance(value, dict):
        return {key: in_folder(word, folder) for key, word in value.items()}
    return value.replace("/var/lib/lvs.ipvs", str(folder)) if isinstance(value, str) else value


def test_every_module_has_an_example_that_runs() -> None:
    assert {name for name, _title, _options in examples()} | ELSEWHERE == {path.stem for path in MODULES.glob("*.py")}


@pytest.mark.parametrize(("name", "title", "options"), [pytest.param(*one, id=" ".join(one[:2])) for one in examples()])
def test_an_example(
    name: str, title: str, options: Words, tmp_path: Path, module: Module, apply: Apply, table: Table
) -> None:
    for number, interface in enumerate(INTERFACES):
        for command in ("link add {0} type dummy", "address add 203.0.113.{1}/24 dev {0}", "link set {0} up"):
            subprocess.run(["ip", *command.format(interface, number + 1).split()], check=True)
    apply([WEB])
    given = in_folder(options, tmp_path)

    before = table()
    checked = module(name, check=True, diff=True, **given)
    assert table() == before
    result = module(name, diff=True, **given)
    for value in ("changed", "steps", "step_count", "diff"):
        assert result.get(value) == checked.get(value), value
    again = module(name, **given)
    assert again.get("changed", False) == (name in ALWAYS_CHANGED)
