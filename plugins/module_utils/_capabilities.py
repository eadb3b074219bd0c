# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the kernel of this host can do, read from its files. Nothing is loaded by asking."""

from __future__ import annotations

import contextlib
import os
import typing as t

SYSCTLS = "/proc/sys/net/ipv4/vs"
PROC_MODULES = "/proc/modules"
#: The folders in which depmod(8) leaves its lists, one of them for each kernel.
MODULES = "/lib/modules"

_PREFIX = "ip_vs_"
_ENGINE_PREFIX = "pe_"
#: Modules of IPVS that are neither a scheduler nor a persistence engine: the helper of FTP.
_OTHERS = frozenset(("ftp",))


class Capabilities(t.NamedTuple):
    """Names are those of the options of a service."""

    kernel: str
    schedulers: list[str]
    persistence_engines: list[str]
    #: Of net.ipv4.vs, in this network namespace.
    sysctls: dict[str, int | str]


def read() -> Capabilities:
    """The capabilities of the running kernel."""
    release = os.uname().release
    names = sorted({name[len(_PREFIX) :] for name in _modules(release) if name.startswith(_PREFIX)} - _OTHERS)
    return Capabilities(
        release,
        [name for name in names if not name.startswith(_ENGINE_PREFIX)],
        [name[len(_ENGINE_PREFIX) :] for name in names if name.startswith(_ENGINE_PREFIX)],
        _sysctls(),
    )


def _modules(release: str) -> t.Iterator[str]:
    """The modules that are loaded, those that can be loaded, and those that are built in.

    The kernel calls ``ip_vs_NAME`` the module of the scheduler NAME. In a container its files may be
    missing: then only what is loaded is known.
    """
    with contextlib.suppress(FileNotFoundError), open(PROC_MODULES, encoding="utf-8") as loaded:
        for line in loaded:
            yield line.split(" ", 1)[0]
    for listing in ("modules.dep", "modules.builtin"):
        path = os.path.join(MODULES, release, listing)
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as known:
            for line in known:
                # kernel/net/netfilter/ipvs/ip_vs_rr.ko.xz: kernel/net/netfilter/ipvs/ip_vs.ko.xz
                file = os.path.basename(line.split(":", 1)[0].strip())
                yield file.split(".", 1)[0].replace("-", "_")


def _sysctls() -> dict[str, int | str]:
    """The settings that this kernel has; none before ip_vs is loaded."""
    values: dict[str, int | str] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(SYSCTLS)):
            # Some may be closed to those who ask from within a container.
            with contextlib.suppress(OSError), open(os.path.join(SYSCTLS, name), encoding="utf-8") as file:
                words = " ".join(file.read().split())
                values[name] = int(words) if words.lstrip("-").isdecimal() else words
    return values
