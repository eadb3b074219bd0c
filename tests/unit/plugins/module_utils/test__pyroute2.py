# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate to pyroute2: which releases pass, and what is said where there is none."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _pyroute2


@pytest.fixture(params=["its own word", "that of its package"])
def release(request, monkeypatch):
    """Make pyroute2 another release. Debian's packages say "unknown" of themselves."""

    def change(version: str) -> None:
        own = request.param == "its own word"
        monkeypatch.setattr(_pyroute2, "VERSION", version if own else "unknown")
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if own else version)

    return change


@pytest.mark.parametrize("version", ["0.7.2", "0.7.2.post1", "0.7.12", "0.8.1", "0.9.7", "0.10.0", "1.0", "0.8.1.dev3"])
def test_a_release_that_will_do(release, version):
    release(version)
    _pyroute2.require_pyroute2()


@pytest.mark.parametrize("version", ["0.5.14", "0.6.13", "0.7", "0.7.1", "0.7.1.post9"])
def test_a_release_that_is_too_old(release, version):
    release(version)
    with pytest.raises(_pyroute2.MissingLibrary, match=f"^pyroute2 {version} on the target is too old: 0.7.2 or newer"):
        _pyroute2.require_pyroute2()


def test_the_release_under_test_will_do():
    _pyroute2.require_pyroute2()
    assert all(getattr(_pyroute2, name) for name in _pyroute2.__all__)


def alone():
    """The gate as it is where pyroute2 cannot be imported."""
    spec = importlib.util.spec_from_file_location("without_pyroute2", _pyroute2.__file__)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_the_library_the_file_can_be_imported_and_says_what_is_missing(monkeypatch):
    """A module must come as far as its message."""
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    gate = alone()
    assert gate.GenericNetlinkSocket is None
    # What is caught must be an exception all the same.
    assert issubclass(gate.NetlinkError, Exception)
    with pytest.raises(gate.MissingLibrary, match=r"^the Python library pyroute2 \(>= 0\.7\.2\) is missing on the"):
        gate.require_pyroute2()


def test_what_of_the_library_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroute2.netlink.generic", None)
    gate = alone()
    with pytest.raises(gate.MissingLibrary, match=r"\(ModuleNotFoundError: .*pyroute2\.netlink\.generic"):
        gate.require_pyroute2()
