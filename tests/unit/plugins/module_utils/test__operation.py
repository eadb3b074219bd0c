# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.filter.operation import FilterModule
from ansible_collections.lvs.ipvs.plugins.module_utils import _operation

DEFAULTS = _operation.settings({})


def test_what_a_command_line_says_is_text() -> None:
    said = {
        "lvs_drain_timeout": "90",
        "lvs_drain_interval": "0.5",
        "lvs_drain_wait_for": "active, persistent",
        "lvs_drain_minimum_servers": "0",
        "lvs_update_serial": "2",
        "lvs_update_tasks": "update.yml",
        "lvs_update_timeout": None,
    }
    assert _operation.settings(said) == {
        **DEFAULTS,
        "drain_timeout": 90,
        "drain_interval": 0.5,
        "drain_wait_for": ["active", "persistent"],
        "drain_minimum_servers": 0,
        "update_serial": "2",
        "update_tasks": "update.yml",
    }


@pytest.mark.parametrize("serial", [1, "50%", [1, "2", "100%"]])
def test_batches(serial: t.Any) -> None:
    assert _operation.settings({"lvs_update_serial": serial})["update_serial"] == serial


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("lvs_drain_wait_for", ["active", "all"], "'all' is not one of active, inactive, persistent"),
        ("lvs_drain_wait_for", 3, "3 is not a list of active, inactive, persistent"),
        ("lvs_drain_timeout", "soon", "'soon' is not a number of 0 or more"),
        ("lvs_drain_timeout", -1, "-1 is not a number of 0 or more"),
        ("lvs_drain_timeout", "inf", "'inf' is not a number of 0 or more"),
        ("lvs_drain_timeout", True, "True is not a number of 0 or more"),
        ("lvs_drain_timeout", [600], "[600] is not a number of 0 or more"),
        ("lvs_drain_on_timeout", "go on", "'go on' is not one of fail, continue"),
        ("lvs_drain_interval", 0, "0 is not a number above 0"),
        ("lvs_drain_interval", "nan", "'nan' is not a number above 0"),
        ("lvs_drain_minimum_servers", -1, "-1 is not an integer from 0"),
        ("lvs_drain_minimum_weight", 101, "101 is not an integer from 0 to 100"),
        ("lvs_slow_start", "slow", "'slow' is not a number of 0 or more"),
        ("lvs_update_tasks", "", "'' is not the path of a file"),
        ("lvs_update_director_tasks", 5, "5 is not the path of a file"),
        ("lvs_update_serial", "0", "'0' is neither a number of hosts nor a percentage such as '25%'"),
        ("lvs_update_serial", [1, "101%"], "'101%' is neither"),
        ("lvs_update_serial", [], "[] is neither"),
        ("lvs_update_serial", True, "True is neither"),
        ("lvs_update_max_fail_percentage", 101, "101 is not a number from 0 to 100"),
        ("lvs_update_timeout", "1m", "'1m' is not a number of 0 or more"),
        ("lvs_drain_timout", 90, "there is no such variable: there are lvs_drain_wait_for, lvs_drain_timeout,"),
    ],
)
def test_a_fault_names_the_variable(variable: str, value: t.Any, fault: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        FilterModule().filters()["operation_settings"]({variable: value})
    assert str(refused.value).startswith(f"{variable}: {fault}")


def test_all_of_them_are_documented_with_their_defaults(checkout: pathlib.Path) -> None:
    text = (checkout / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(lvs_(?:drain|slow|update)\w*)` \|([^|]*)\|", text, re.MULTILINE))
    shown = {variable: default.strip().strip("`").replace("'", "") for variable, default in rows.items()}
    ours = {f"lvs_{name}": value for name, value in DEFAULTS.items() if name != "update_tasks"}
    assert shown == {
        name: f"{value:g}" if isinstance(value, float) else str(value).replace("'", "") for name, value in ours.items()
    }
