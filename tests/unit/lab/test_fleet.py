# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's table of hosts, and what is derived from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.lvs.ipvs.tests.lab._lab import fleet

PORTS = {name: 4000 + octet for name, octet in fleet.octets().items()}


@pytest.fixture
def inventory(checkout):
    return yaml.safe_load((checkout / "tests/lab/inventory.yml").read_text())["all"]


def addresses(host: fleet.Host) -> dict[str, str]:
    """The addresses the inventory must give to a host, by variable."""
    found = {"front_address": f"192.0.2.{host.octet}"}
    if "back" in host.networks:
        found |= {"lvs_address": f"198.51.100.{host.octet}", "lvs_address6": f"2001:db8:b::{host.octet}"}
    return found


def test_inventory_is_the_fleet(inventory):
    groups = {group: content["hosts"] for group, content in inventory["children"].items()}
    expected: dict[str, dict[str, dict[str, str]]] = {}
    for host in fleet.HOSTS:
        expected.setdefault(host.group, {})[host.name] = addresses(host)
    assert groups == expected


def test_inventory_finds_ssh_from_any_folder(inventory):
    assert inventory["vars"]["ansible_ssh_args"] == '-F "{{ inventory_dir }}/.run/ssh_config"'


def test_octets_are_distinct():
    assert len(set(fleet.octets().values())) == len(fleet.HOSTS) + 1


def test_interface_names_fit():
    """The wires' other ends are called HOST-NETWORK; the kernel takes 15 characters."""
    assert all(len(f"{name}-front") <= 15 for name in fleet.NAMES)


def test_table_is_what_the_machine_reads():
    lines = fleet.table().splitlines()
    assert lines[0] == "lb1 11 mgmt front back"
    assert lines[-1] == "client 100 mgmt front"


def test_forwards_bind_to_the_loopback_interface_only():
    found = fleet.forwards(PORTS)
    assert len(found) == len(fleet.HOSTS) + 1
    assert all(re.fullmatch(r"hostfwd=tcp:127\.0\.0\.1:\d+-10\.0\.2\.\d+:22", option) for option in found)
    assert "hostfwd=tcp:127.0.0.1:4011-10.0.2.11:22" in found


def test_ssh_config_names_every_host():
    text = fleet.ssh_config(PORTS, Path("/cache/key"), Path("/cache/run"))
    assert re.findall(r"^Host (\S+)\n  Port (\d+)$", text, re.MULTILINE) == [
        (name, str(port)) for name, port in PORTS.items()
    ]


def test_ssh_config_quotes_paths():
    text = fleet.ssh_config(PORTS, Path("/my cache/key"), Path("/my cache/run"))
    assert '  IdentityFile "/my cache/key"\n' in text
    assert '  ControlPath "/my cache/run/ssh/%n"\n' in text


def test_a_host_is_cut_off_by_one_command():
    assert fleet.cut("client") == (
        "printf 'link set dev client-front type bridge_slave state 0\\n"
        "link set dev client-mgmt type bridge_slave state 0\\n' | ip -batch -"
    )
