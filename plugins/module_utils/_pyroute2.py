# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The one place that imports pyroute2.

Must be kept in sync with plugins/doc_fragments/pyroute2.py.
"""

from __future__ import annotations

__all__ = (
    "MINIMUM_VERSION",
    "GenericNetlinkSocket",
    "IPRoute",
    "MissingLibrary",
    "NetlinkError",
    "genlmsg",
    "require_pyroute2",
)

#: Debian 12 ships this release; older ones have not been tried.
MINIMUM_VERSION = "0.7.2"

IMPORT_ERROR: str | None = None
VERSION = ""
try:
    import pyroute2
    from pyroute2 import IPRoute, NetlinkError
    from pyroute2.netlink import genlmsg
    from pyroute2.netlink.generic import GenericNetlinkSocket

    VERSION = pyroute2.__version__
except ImportError as error:
    # Of a library that is there, it may be one of its own imports that failed.
    IMPORT_ERROR = f"{type(error).__name__}: {error}"
    IPRoute = GenericNetlinkSocket = genlmsg = None
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
        raise MissingLibrary(
            f"the Python library pyroute2 (>= {MINIMUM_VERSION}) is missing on the target: "
            "install the package python3-pyroute2, or pyroute2 from PyPI for the interpreter in use "
            f"({IMPORT_ERROR})"
        )
    version = VERSION
    if not _numbers(version):
        # That of Debian's package is "unknown". To import this takes a tenth of the time that pyroute2 takes.
        from importlib import metadata

        version = metadata.version("pyroute2")
    if _numbers(version) < _numbers(MINIMUM_VERSION):
        raise MissingLibrary(f"pyroute2 {version} on the target is too old: {MINIMUM_VERSION} or newer is needed")
