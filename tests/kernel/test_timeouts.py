# SPDX-License-Identifier: GPL-3.0-or-later
"""The module lvs.ipvs.timeouts against the kernel, with ipvsadm(8) as the second opinion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import ModuleFailed

Module = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]

DEFAULTS = (900, 120, 300)


@pytest.fixture(autouse=True)
def initial(ipvsadm: Ipvsadm) -> None:
    """Namespaces begin with these."""
    assert there(ipvsadm) == DEFAULTS


def there(ipvsadm: Ipvsadm) -> tuple[int, ...]:
    return tuple(int(word) for word in ipvsadm("-L", "--timeout").split(":")[1].split())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tcp": 1}, (1, 120, 300)),
        ({"tcpfin": 60, "udp": 10}, (900, 60, 10)),
        ({"tcp": 2147483, "tcpfin": 2147483, "udp": 2147483}, (2147483, 2147483, 2147483)),
    ],
)
def test_what_is_given_is_set_and_the_rest_stays(
    given: dict[str, int], expected: tuple[int, ...], module: Module, ipvsadm: Ipvsadm, messages: list[int]
) -> None:
    checked = module("timeouts", check=True, **given)
    assert there(ipvsadm) == DEFAULTS
    assert messages == []
    result = module("timeouts", **given)
    assert there(ipvsadm) == expected
    assert result == checked
    assert result["changed"]
    assert tuple(result["timeouts"].values()) == expected
    assert len(messages) == result["step_count"] == 1
    assert not module("timeouts", **given)["changed"]
    assert len(messages) == 1
    assert tuple(module("table_info")["timeouts"].values()) == expected


def test_what_ipvsadm_set_is_no_change(module: Module, ipvsadm: Ipvsadm) -> None:
    ipvsadm("--set", "0", "17", "0")
    assert not module("timeouts", tcp=900, tcpfin=17, udp=300)["changed"]


@pytest.mark.parametrize("seconds", [0, -1, 2147484])
def test_bad_timeouts_leave_the_kernel_as_it_is(seconds: int, module: Module, ipvsadm: Ipvsadm) -> None:
    with pytest.raises(ModuleFailed, match=f"^udp: {seconds} is not"):
        module("timeouts", tcp=5, udp=seconds)
    assert there(ipvsadm) == DEFAULTS
