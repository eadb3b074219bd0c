# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags choose what site does with the hosts; operations are done whole, and nothing says ok that has done nothing."""

from __future__ import annotations

import collections.abc
import pathlib

import pytest
import yaml

PLAYBOOKS = ("adopt", "drain", "failover", "restore", "rolling_update", "status", "verify")
INCLUDES = ("ansible.builtin.include_role", "ansible.builtin.include_tasks")


def plays(checkout: pathlib.Path, name: str) -> list[dict]:
    loaded = yaml.safe_load((checkout / "playbooks" / f"{name}.yml").read_text())
    return [play for play in loaded if "hosts" in play]


def untagged(play: dict) -> collections.abc.Iterator[str]:
    """What tags would skip, or of what they would skip all that it includes."""
    for task in play.get("tasks", ()):
        # What is always included has tags of its own.
        inner = [task[include].get("apply", {}).get("tags") for include in INCLUDES if include in task]
        if "tags" not in task or (task["tags"] != "always" and inner not in ([], [task["tags"]])):
            yield task["name"]


def test_all_playbooks_are_looked_at(checkout: pathlib.Path) -> None:
    assert {path.stem for path in checkout.glob("playbooks/*.yml")} == {"site", *PLAYBOOKS}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_an_operation_is_done_whole(name: str, checkout: pathlib.Path) -> None:
    assert [play["name"] for play in plays(checkout, name) if play.get("tags") != "always"] == []


def test_tags_choose_among_what_site_does(checkout: pathlib.Path) -> None:
    judging, *doing, ending = plays(checkout, "site")
    assert judging["tags"] == "always"
    assert [name for play in doing for name in untagged(play)] == []
    # What directors may still use is taken off by a whole run only.
    assert len(list(untagged(ending))) == len(ending["tasks"])


def test_an_include_that_tags_would_empty_is_found() -> None:
    bare = {"name": "bare", "ansible.builtin.include_role": {"name": "a"}, "tags": ["b"]}
    empty = {**bare, "name": "empty", "ansible.builtin.include_role": {"name": "a", "apply": {"tags": ["c"]}}}
    assert list(untagged({"tasks": [bare, empty, {"name": "none"}]})) == ["bare", "empty", "none"]
