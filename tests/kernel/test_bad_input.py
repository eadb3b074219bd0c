# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that no table may hold: each is one clear line with the option's path, and the kernel hears nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.data.bad_inputs import BAD_INPUTS, V4, Bad

from .conftest import ModuleFailed, run_module
from .words import Words

Table = Callable[[], tuple[list[str], list[str]]]

GOOD: Words = {"fwmark": 99, "scheduler": "rr", "real_servers": [{"address": "198.51.100.21"}]}

# What only a kernel knows.
UNKNOWN = [
    Bad([{**V4, "scheduler": "fastest"}], "services[0].scheduler", "this kernel has no scheduler 'fastest'"),
    Bad(
        [{**V4, "persistence_timeout": 60, "persistence_engine": "nosuch"}],
        "services[0].persistence_engine",
        "this kernel has no persistence engine 'nosuch'",
    ),
]
CASES = [*BAD_INPUTS, *UNKNOWN]


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 200


@pytest.fixture
def refused(table: Table, messages: list[int]) -> Iterator[Callable[..., str]]:
    """Run a module that has to fail, after some table is there; what it says. In the end the table is as it was."""
    run_module("table", services=[GOOD])
    before = table()
    messages.clear()

    def run(name: str, /, **options: Any) -> str:
        with pytest.raises(ModuleFailed) as failed:
            run_module(name, **options)
        assert messages == []
        said = str(failed.value)
        assert "\n" not in said
        assert "Traceback" not in said
        return said

    yield run
    assert table() == before


def some(cases: list[Bad]) -> list[Any]:
    """A score of cases at a time, by the path of their first: ipvsadm(8) is asked for each score."""
    return [
        pytest.param(cases[first : first + 20], id=f"{cases[first].path}-{first}") for first in range(0, len(cases), 20)
    ]


def behind_one_more(text: str) -> str:
    """The same path or reason, for a list that has one more service in front."""
    return re.sub(r"services\[(\d+)\]", lambda found: f"services[{int(found[1]) + 1}]", text)


@pytest.mark.parametrize("cases", some(CASES))
def test_in_a_table(cases: list[Bad], refused: Callable[..., str]) -> None:
    # Before anything is sent: also what the good entry in front would have changed.
    other = {**GOOD, "scheduler": "lc"}
    for services, path, reason in cases:
        said = refused("table", services=[other, *services], purge="all")
        assert said.startswith(f"{behind_one_more(path)}: ")
        assert behind_one_more(reason) in said


# What Ansible makes a number or a list of, or fails of in its own way, where it knows that an option is one.
CONVERTED = {repr(word) for word in ("1 ", "+1", "1e2", "\u0661", 1.0, "9" * 5000, "sh-port")}


def below(path: str) -> str:
    """The path of an option of a service that is a module's own."""
    return path.removeprefix("services[0]").removeprefix(".")


def by_itself(case: Bad) -> bool:
    """Whether a case is of one service that is as bad where its options are those of a module."""
    (words, *others), option = case.services, below(case.path)
    return not others and (option.startswith("real_servers[") or repr(words.get(option)) not in CONVERTED)


@pytest.mark.parametrize("cases", some([case for case in CASES if by_itself(case)]))
def test_in_a_service(cases: list[Bad], refused: Callable[..., str]) -> None:
    for (words,), path, reason in cases:
        said, option = refused("virtual_service", **words), below(path)
        if option.startswith("real_servers[") and "." in option:
            assert said.startswith(f"{option}: ")
            assert reason in said
        else:
            # Ansible itself refuses what is not of the option's type or choices.
            assert option.split("[")[0].split(".")[0] in said
