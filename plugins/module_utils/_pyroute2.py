# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The one place that imports pyroute2.

Must be kept in sync with plugins/doc_fragments/pyroute2.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import typing as t

__all__ = (
    "MINIMUM_VERSION",
    "GenericNetlinkSocket",
    "MissingLibrary",
    "NetlinkError",
    "genlmsg",
    "iproute",
    "require_pyroute2",
)

#: Debian 12 ships this release; older ones have not been tried.
MINIMUM_VERSION = "0.7.2"


@contextlib.contextmanager
def _without_the_rest() -> t.Iterator[None]:
    """Import modules of pyroute2, and not all of it.

    Its ``__init__`` imports every protocol that it speaks, which takes longer than all else that a module of ours imports.
    So for as long as this lasts, a package stands in its place that has the same modules and has not been run. Who
    imports from pyroute2 later has it run, and gets all there is, but for the modules that are loaded already as its attributes.
    """
    spec = None if "pyroute2" in sys.modules else importlib.util.find_spec("pyroute2")
    if spec is None:
        yield
        return
    before = set(sys.modules)
    sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    try:
        yield
    except (ImportError, AttributeError):
        # Who tries another way begins anew.
        for name in [name for name in sys.modules if name.startswith("pyroute2.") and name not in before]:
            del sys.modules[name]
        raise
    finally:
        del sys.modules["pyroute2"]


IMPORT_ERROR: str | None = None
try:
    with _without_the_rest():
        from pyroute2.netlink import genlmsg
        from pyroute2.netlink.exceptions import NetlinkError
        from pyroute2.netlink.generic import GenericNetlinkSocket
except (ImportError, AttributeError):
    # A release may come whose modules need what its __init__ does, or have other names: these are the public ones.
    try:
        from pyroute2 import NetlinkError
        from pyroute2.netlink import genlmsg
        from pyroute2.netlink.generic import GenericNetlinkSocket
    except ImportError as error:
        # Of a library that is there, it may be one of its own imports that failed.
        IMPORT_ERROR = f"{type(error).__name__}: {error}"
        GenericNetlinkSocket = genlmsg = None
        NetlinkError = OSError


class MissingLibrary(Exception):
    """pyroute2 is absent, or older than MINIMUM_VERSION."""


def _numbers(version: str) -> list[int]:
    """``0.7.2.post1`` -> [0, 7, 2]: the leading numeric parts."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return numbers


def require_pyroute2() -> None:
    """Raise MissingLibrary unless a usable pyroute2 was imported."""
    if IMPORT_ERROR is not None:
        raise _missing(IMPORT_ERROR)
    version = _version()
    if _numbers(version) < _numbers(MINIMUM_VERSION):
        raise MissingLibrary(f"pyroute2 {version} on the target is too old: {MINIMUM_VERSION} or newer is needed")


def _missing(reason: str) -> MissingLibrary:
    return MissingLibrary(
        f"the Python library pyroute2 (>= {MINIMUM_VERSION}) is missing on the target: "
        "install the package python3-pyroute2, or pyroute2 from PyPI for the interpreter in use "
        f"({reason})"
    )


def _version() -> str:
    """The release, as the library itself has it, or else the package in which it came."""
    with contextlib.suppress(ImportError), _without_the_rest():
        from pyroute2.config.version import __version__

        return str(__version__)
    # Debian's package has no such file.
    from importlib import metadata

    return metadata.version("pyroute2")


def iproute() -> t.Any:
    """The class IPRoute, which few modules need: links, addresses, neighbours and routes. Raises MissingLibrary."""
    require_pyroute2()
    try:
        with _without_the_rest():
            from pyroute2.iproute import IPRoute
    except (ImportError, AttributeError):
        try:
            from pyroute2 import IPRoute
        except ImportError as error:
            raise _missing(f"{type(error).__name__}: {error}") from None
    return IPRoute
