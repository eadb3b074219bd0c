# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the module restore_unit does: the program of _restore.py and a systemd unit that runs it.

The program is a zip file of the very library that Ansible brought for the module: what restores at boot
is what applied before, and is replaced with it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import os
import re
import stat
import sys
import typing as t
import zipfile

from ansible_collections.lvs.ipvs.plugins.module_utils import _restore
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import LOCKS
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue
from ansible_collections.lvs.ipvs.plugins.module_utils._record import replace_file
from ansible_collections.lvs.ipvs.plugins.module_utils._run import Result, report

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

MODE = 0o644
#: Folders that the unit may only read; those below them are opened one by one.
_READ_ONLY = ("/home", "/root", "/run/user")
_PACKAGE = _restore.__name__.rpartition(".")[0]

# Addresses go by an interface that network services are still at work on until the network is online: those
# remove what they do not know. What flushes tables at its start has to come before, and keepalived, which takes
# over, after. There is no ExecStop: what runs is left alone by a stop, and so by a restart.
# Locks are held by others, too, and so outlive the unit.
# An interpreter, or records, may be in root's home: what cannot be seen would be nothing to restore.
# The kernel loads its modules itself, so they need no capability here. To ask a link who has an address needs a raw socket.
_UNIT = """\
# Written by the Ansible module lvs.ipvs.restore_unit. SPDX-License-Identifier: GPL-3.0-or-later
[Unit]
Description=IPVS as it was before the boot
Wants=network-online.target
After=systemd-modules-load.service systemd-sysctl.service network-online.target nftables.service ipvsadm.service
Before=keepalived.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ReadWritePaths={folders}
RuntimeDirectory={locks}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes

[Install]
WantedBy=multi-user.target
"""

# The host's own firewall flushes all rules, ours too, at each start and reload. What it fails of is not for it to fail of.
_BEHIND_NFTABLES = """\
# Written by the Ansible module lvs.ipvs.restore_unit. SPDX-License-Identifier: GPL-3.0-or-later
[Service]
ExecStartPost=-/usr/sbin/nft --file {nftables}
ExecReload=-/usr/sbin/nft --file {nftables}
"""


def restore_unit(module: AnsibleModule) -> Result:
    """The body of the module restore_unit."""
    params = module.params
    folder, name = os.path.split(params["unit"])
    behind_nftables = os.path.join(folder, "nftables.service.d", f"{name}.conf")
    wanted: dict[str, bytes | None] = {params["unit"]: None, params["program"]: None, behind_nftables: None}
    if params["state"] == "present":
        # The unit comes after the program, without which it is of no use.
        wanted = {params["program"]: program(), params["unit"]: unit(params).encode(), behind_nftables: None}
        if params["nftables"]:
            wanted[behind_nftables] = _BEHIND_NFTABLES.format(nftables=params["nftables"]).encode()
    changes = {path: content for path, content in wanted.items() if _read(path) != content}
    steps = [f"{'remove' if content is None else 'write'} {path}" for path, content in changes.items()]
    result: Result = {"changed": bool(steps), **report(steps)}
    if module._diff:
        result["diff"] = [
            {
                "before_header": path,
                "after_header": path,
                "before": _text(_read(path)),
                "after": _text(content),
            }
            for path, content in changes.items()
        ]
    if not module.check_mode:
        for path, content in changes.items():
            _write(path, content)
    return result


def unit(params: t.Mapping[str, t.Any]) -> str:
    """The text of the unit."""
    records = {option: params[option] for option in _restore.RECORDS if params[option]}
    if not records:
        raise InvalidValue("", f"nothing to restore is named: one of {', '.join(_restore.RECORDS)} is needed")
    for option in ("program", *records):
        # The rest would have to be escaped, by rules that have changed between releases of systemd.
        if not re.fullmatch(r"/[A-Za-z0-9_./@+,=-]*", params[option]):
            raise InvalidValue(option, f"{params[option]!r} is not an absolute path of plain letters")
        if option in records and option != "nftables" and os.path.dirname(params[option]) in _READ_ONLY:
            raise InvalidValue(
                option, f"{params[option]!r} has to be in a folder of its own: the unit may only read this one"
            )
    # The interpreter is the one that has just run the modules.
    command = [sys.executable, "-I", params["program"]]
    for option, path in records.items():
        command += [f"--{option.replace('_', '-')}", path]
    # Beside each record lies its lock. Rules of nftables are only read.
    folders = {os.path.dirname(path) for option, path in records.items() if option != "nftables"}
    return _UNIT.format(
        command=" ".join(command),
        folders=" ".join(f"-{folder}" for folder in sorted(folders)),
        locks=os.path.basename(LOCKS),
    )


def program() -> bytes:
    """A zip file that python runs; the same library makes the same bytes."""
    files = {"__main__.py": f"import sys\n\nfrom {_restore.__name__} import main\n\nsys.exit(main())\n"}
    for name, source in _sources(_restore.__name__).items():
        *folders, _file = path = name.split(".")
        for depth in range(len(folders)):
            files["/".join((*folders[: depth + 1], "__init__.py"))] = ""
        files["/".join(path) + ".py"] = source
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for name, source in sorted(files.items()):
            # A date of its own, that of 1980, and uncompressed: releases of zlib differ.
            writer.writestr(zipfile.ZipInfo(name), source)
    return archive.getvalue()


def _sources(first: str) -> dict[str, str]:
    """A file of the library and all of it that it needs, by name."""
    sources: dict[str, str] = {}
    needed = [first]
    while needed:
        name = needed.pop()
        if name in sources:
            continue
        loader = t.cast(t.Any, importlib.util.find_spec(name)).loader
        sources[name] = loader.get_source(name)
        for node in ast.walk(ast.parse(sources[name])):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module == _PACKAGE:
                needed += [f"{_PACKAGE}.{alias.name}" for alias in node.names]
            elif node.module.startswith(f"{_PACKAGE}."):
                needed.append(node.module)
    return sources


def _read(path: str) -> bytes | None:
    """What is in a file; None if there is none, and nothing that equals anything if it is not as we write it."""
    try:
        with open(path, "rb") as file:
            content = file.read()
            there = os.fstat(file.fileno())
            # Root runs it at boot. Its group, which may not write, is the folder's choice.
            ours = there.st_uid == os.geteuid()
            return content if ours and stat.S_IMODE(there.st_mode) == MODE else content + b"\0"
    except FileNotFoundError:
        return None


def _text(content: bytes | None) -> str:
    """A file for a diff."""
    if content is None:
        return ""
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        return f"sha256 {hashlib.sha256(content).hexdigest()}\n"


def _write(path: str, content: bytes | None) -> None:
    """Replace a file in one step, or remove it."""
    if content is None:
        os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    replace_file(path, content, MODE)
