# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles: argument_specs, defaults and tasks agree."""

from __future__ import annotations

import collections.abc
import pathlib
import re

import pytest
import yaml


def load(path: pathlib.Path) -> dict:
    return (yaml.safe_load(path.read_text()) if path.is_file() else None) or {}


def needed(text: str, private: dict) -> set[str]:
    """The variables that a text names, and those that their values name."""
    reached: set[str] = set()
    found = {text}
    while found:
        names = {name for words in found for name in re.findall(r"\w+", words)} - reached
        reached |= names
        found = {str(private[name]) for name in names & private.keys()}
    return reached


def findings(role: pathlib.Path) -> collections.abc.Iterator[str]:
    """What is wrong with one role."""
    name = role.name
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    options = {key: option for spec in specs.values() for key, option in (spec.get("options") or {}).items()}
    defaults = load(role / "defaults" / "main.yml")
    private = load(role / "vars" / "main.yml")

    if "main" not in specs:
        yield "argument_specs has no entry point main"
    for key in defaults:
        if not key.startswith(f"{name}_"):
            yield f"the default {key} lacks the role's prefix"
        if key not in options:
            yield f"{key} has a default and is not in argument_specs"
    for key in private:
        if not key.startswith(f"_{name}_"):
            yield f"{key} in vars lacks the prefix _{name}_"
    for key, option in options.items():
        if not option.get("description"):
            yield f"{key} has no description"
        if option.get("required"):
            if key in defaults:
                yield f"{key} is required and has a default"
        elif key.startswith(f"{name}_"):
            if key not in defaults:
                yield f"{key} is optional and has no default"
            # A template in the defaults is told in words in the description.
            elif "{{" not in str(defaults[key]) and option.get("default") != defaults[key]:
                yield f"the default of {key} is {defaults[key]!r}, and argument_specs says {option.get('default')!r}"

    # Before ansible-core 2.19 all of a variable is worked out where it is named, whichever part of it is wanted.
    for path in (role / "tasks").glob("*.yml"):
        for task in load(path):
            told = task.pop("register", "")
            if told == f"__{name}_host" and told in needed(str(task), private):
                yield f"what asks the host needs {told}, its answer"

    used: set[str] = set()
    for folder in ("tasks", "handlers", "templates", "vars", "defaults"):
        for path in (role / folder).rglob("*"):
            if path.is_file():
                text = path.read_text()
                # A default does not use itself.
                text = re.sub(rf"^{name}_\w+:", "", text, flags=re.MULTILINE) if folder == "defaults" else text
                # Neither is a tag a variable, nor a filter such as lvs.ipvs.director_services.
                text = re.sub(r"^ *tags:.*", "", text, flags=re.MULTILINE)
                used |= set(re.findall(rf"(?<![\w.]){name}_\w+", text))
    for key in sorted(set(defaults) - used):
        yield f"{key} is declared and nothing in the role uses it"
    files = {path.name.split(".")[0] for path in role.rglob("*") if path.is_file()}
    for key in sorted(used - set(options) - files):
        yield f"{key} is used and declared nowhere"


def test_roles(checkout):
    roles = [path.parent.parent for path in sorted(checkout.glob("roles/*/tasks/main.yml"))]
    assert {"director", "real_server"} <= {role.name for role in roles}
    assert [f"{role.name}: {finding}" for role in roles for finding in findings(role)] == []


def test_each_role_that_goes_by_the_cluster_of_a_host_documents_it(checkout):
    roles = {path.parent.parent.name: load(path) for path in checkout.glob("roles/*/meta/argument_specs.yml")}
    for name, specs in roles.items():
        for entry in ("main", "judge"):
            assert "lvs_cluster" in specs["argument_specs"][entry]["options"], (name, entry)


def test_records_are_where_they_come_back_from(checkout):
    """What one role, or a playbook by its variables, writes is read by another."""
    director, keepalived = (
        load(checkout / "roles" / role / "vars" / "main.yml") for role in ("director", "keepalived")
    )
    for record in ("sync_daemons_record", "addresses_record", "drain_files"):
        assert keepalived[f"_keepalived_{record}"] == director[f"_director_{record}"]


GOOD = {
    "meta/argument_specs.yml": """
        argument_specs:
          main:
            options:
              door_colour: {description: The colour., type: str, default: red}
              door_owner: {description: Whose it is., type: str, required: true}
    """,
    "defaults/main.yml": "door_colour: red\n",
    "vars/main.yml": "_door_tools: [brush]\n_door_paint: {tool: '{{ _door_tools[0] }}', size: '{{ __door_host.stdout }}'}\n",
    "tasks/main.yml": """
- name: Measure
  ansible.builtin.command: "measure {{ _door_tools }}"
  register: __door_host
- name: Paint
  ansible.builtin.debug: {msg: '{{ door_colour }} {{ door_owner }}'}
""",
}


def write(role: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for name, text in files.items():
        (role / name).parent.mkdir(parents=True, exist_ok=True)
        (role / name).write_text(text)
    return role


def test_a_good_role_passes(tmp_path):
    assert list(findings(write(tmp_path / "door", GOOD))) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        ("defaults/main.yml", "door_", "colour_", "lacks the role's prefix"),
        ("defaults/main.yml", "red", "blue", "argument_specs says 'red'"),
        ("defaults/main.yml", "door_colour: red", "", "is optional and has no default"),
        ("defaults/main.yml", "red", "red\ndoor_size: 2", "is not in argument_specs"),
        ("defaults/main.yml", "red", "red\ndoor_owner: me", "is required and has a default"),
        ("vars/main.yml", "_door_", "door_", "lacks the prefix"),
        ("meta/argument_specs.yml", "description: The colour., ", "", "has no description"),
        ("meta/argument_specs.yml", "main:", "other:", "no entry point main"),
        ("tasks/main.yml", "door_colour", "door_color", "is used and declared nowhere"),
        ("tasks/main.yml", "door_colour", "", "nothing in the role uses it"),
        ("tasks/main.yml", "_door_tools", "_door_paint.tool", "needs __door_host, its answer"),
    ],
)
def test_a_fault_is_found(tmp_path, file, old, new, finding):
    assert old in GOOD[file]
    role = write(tmp_path / "door", GOOD | {file: GOOD[file].replace(old, new)})
    assert [found for found in findings(role) if finding in found]
