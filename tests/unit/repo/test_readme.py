# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's words are held to the tree."""

from __future__ import annotations

import re

import pytest
import yaml

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster


@pytest.fixture(scope="module")
def readme(checkout):
    return (checkout / "README.md").read_text()


def test_the_example_is_a_cluster(readme):
    (example,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    hosts = {"lb1": "198.51.100.11", "web1": "198.51.100.21", "web2": "198.51.100.22"}
    groups = {"directors": ["lb1"], "web": ["web1", "web2"], "all": list(hosts)}
    hostvars = {host: {"lvs_address": address} for host, address in hosts.items()}
    services = _cluster.services(yaml.safe_load(example)["lvs_services"], groups, hostvars)
    (web,) = _cluster.director_services(services)
    assert [server["address"] for server in web["real_servers"]] == ["198.51.100.21", "198.51.100.22", "198.51.100.99"]
    assert len([line for line in example.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize(
    ("heading", "pattern"),
    [("module", "plugins/modules/*.py"), ("role", "roles/*/tasks/main.yml"), ("playbook", "playbooks/*.yml")],
)
def test_the_tables_are_complete(checkout, readme, heading, pattern):
    (table,) = re.findall(rf"^\| {heading} \| \|\n((?:\|.*\n)+)", readme, re.MULTILINE)
    names = {path.relative_to(checkout).parts[1 if heading == "role" else -1] for path in checkout.glob(pattern)}
    assert set(re.findall(r"^\| `lvs\.ipvs\.(\w+)` ", table, re.MULTILINE)) == {name.split(".")[0] for name in names}


def test_the_pythons_are_those_that_make_venv_takes(checkout, readme):
    named = re.findall(r"Python (3\.\d+) to (3\.\d+)", readme)
    first, behind = re.findall(r"\(3, (\d+)\)", (checkout / "tests/tools/venv").read_text())
    assert named == [(f"3.{first}", f"3.{int(behind) - 1}")]


def test_the_filters_are_named(checkout, readme):
    filters = {path.stem for path in checkout.glob("plugins/filter/*.yml")}
    assert filters
    assert {name for name in filters if f"`lvs.ipvs.{name}`" not in readme} == set()
