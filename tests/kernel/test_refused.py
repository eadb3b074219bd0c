# SPDX-License-Identifier: GPL-3.0-or-later
"""What the surroundings refuse: no right to, no IPVS."""

from __future__ import annotations

import ctypes
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import ModuleFailed, run_module
from .words import Words

WEB: Words = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
CALLS: dict[str, dict[str, Any]] = {
    "table": {"services": [WEB]},
    "virtual_service": WEB,
    "real_server": {"service": WEB, "address": "198.51.100.21"},
    "table_info": {},
}
CLONE_NEWUSER = 0x10000000


def failure_after(leave: Callable[[], None], name: str) -> str:
    """What a module says in a process that did something before; imports are done by then."""
    with pytest.raises(ModuleFailed):
        run_module("table", services=[{}])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "no failure"
        try:
            leave()
            run_module(name, **CALLS[name])
        except BaseException as error:
            said = str(error)
        finally:
            os.write(writing, pickle.dumps(said))
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as answer:
        return str(pickle.load(answer))


def become_nobody() -> None:
    os.setgroups([])
    os.setuid(65534)


def become_root_of_a_user_namespace() -> None:
    assert ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("leave", [become_nobody, become_root_of_a_user_namespace])
def test_without_the_capability(leave: Callable[[], None], name: str, ipvsadm: Callable[..., str]) -> None:
    said = failure_after(leave, name)
    assert "CAP_NET_ADMIN" in said
    assert "\n" not in said
    assert ipvsadm("-Sn") == ""


@pytest.mark.own_kernel
@pytest.mark.parametrize("name", CALLS)
def test_without_ipvs_in_the_kernel(name: str, without_ipvs: None) -> None:
    with pytest.raises(ModuleFailed, match="^this kernel has no IPVS: ") as failed:
        run_module(name, **CALLS[name])
    assert "\n" not in str(failed.value)
    assert not Path("/proc/net/ip_vs").exists()
