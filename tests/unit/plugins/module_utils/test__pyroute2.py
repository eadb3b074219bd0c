# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate to pyroute2: which releases pass, and what is said where there is none."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _pyroute2


@pytest.fixture(params=["its own word", "that of its package"])
def release(request, monkeypatch):
    """Make pyroute2 another release. Debian's packages have no word of their own."""

    def change(version: str) -> None:
        own = request.param == "its own word"
        word = types.SimpleNamespace(__version__=version) if own else None
        monkeypatch.setitem(sys.modules, "pyroute2.config.version", word)
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
    for name in ("pyroute2", "pyroute2.netlink"):
        monkeypatch.setitem(sys.modules, name, None)
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


IMPORTED = """
import sys
from ansible_collections.lvs.ipvs.plugins.module_utils import _pyroute2 as gate
gate.require_pyroute2()
assert "pyroute2" not in sys.modules
assert not any(name.startswith(("pyroute2.ndb", "pyroute2.iproute")) for name in sys.modules)
with gate.iproute()() as route:
    assert [link.get_attr("IFLA_IFNAME") for link in route.get_links()]
assert not any(name.startswith("pyroute2.ndb") for name in sys.modules)
import pyroute2
assert pyroute2.NDB and pyroute2.NetlinkError is gate.NetlinkError and pyroute2.IPRoute is type(route)
"""


def test_what_is_not_used_is_not_imported_and_who_imports_it_later_gets_it():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def another(monkeypatch, tmp_path):
    """Another pyroute2 in the place of the one that is here, made of these files."""

    def loaded():
        return [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]

    def make(files):
        for name, text in files.items():
            path = tmp_path / "pyroute2" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return alone()

    with monkeypatch.context() as changed:
        for name in loaded():
            changed.delitem(sys.modules, name)
        changed.syspath_prepend(tmp_path)
        yield make
        for name in loaded():
            del sys.modules[name]


NEEDING = {
    "__init__.py": "NEEDED = 1\nfrom . import netlink\nclass IPRoute: ...\nclass NetlinkError(Exception): ...",
    "netlink/generic/__init__.py": "class GenericNetlinkSocket: ...",
    "config/__init__.py": "",
    "config/version.py": "__version__ = '99.0'",
}


@pytest.mark.parametrize(
    "needs",
    ["from pyroute2 import NEEDED", "import pyroute2; pyroute2.NEEDED", "from .other import NEEDED"],
)
def test_a_release_whose_modules_need_all_of_it(another, needs):
    """As none does that is known, but the next one may."""
    other = {"netlink/other.py": "from pyroute2 import NEEDED"}
    gate = another({**NEEDING, **other, "netlink/__init__.py": f"{needs}\nclass genlmsg: ..."})
    gate.require_pyroute2()
    assert gate.GenericNetlinkSocket.__module__ == "pyroute2.netlink.generic"
    assert (gate.NetlinkError.__module__, gate.iproute().__module__) == ("pyroute2", "pyroute2")


def test_a_part_that_few_need_may_be_what_is_missing(another):
    broken = {**NEEDING, "__init__.py": "from . import netlink", "netlink/__init__.py": "class genlmsg: ..."}
    gate = another({**broken, "netlink/exceptions.py": "class NetlinkError(Exception): ..."})
    gate.require_pyroute2()
    with pytest.raises(
        gate.MissingLibrary, match=r"^the Python library pyroute2 .* missing .*\(ImportError: .*IPRoute"
    ):
        gate.iproute()
