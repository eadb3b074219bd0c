# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated tables over the whole surface of ipvsadm(8), and the ways between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from .words import Words, edited, messages_between, normal, seen, tables

Apply = Callable[..., dict[str, Any]]
Table = Callable[[], tuple[list[str], list[str]]]
Module = Callable[..., dict[str, Any]]


@given(data=st.data())
def test_any_table_becomes_any_other_by_the_fewest_messages(
    data: st.DataObject,
    netns: Callable[[], None],
    apply: Apply,
    table: Table,
    module: Module,
    messages: list[int],
    count_transition: Callable[[], None],
) -> None:
    first: list[Words] = data.draw(tables(), "first")
    second: list[Words] = data.draw(st.one_of(edited(first), tables()), "second")
    netns()
    have: dict[Any, Any] = {}
    for services in (first, second):
        wanted = normal(services)
        messages.clear()
        result = apply(services)
        assert len(messages) == result["step_count"] == messages_between(have, wanted)
        assert table() == seen(wanted)

        messages.clear()
        assert not apply(services)["changed"]
        # What is read is what may be written.
        assert normal(module("table_info")["services"]) == wanted
        assert not apply(module("table_info")["services"])["changed"]
        assert messages == []
        have = wanted
        count_transition()
