# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps its files, and how it knows that they are whole and still right.

    images/KEY      a disk image, kernel and ssh key; KEY is a digest of all that went into it
    snapshots/KEY   memory and disk of the booted fleet
    run/CHECKOUT    what one checkout's running lab owns: ports, sockets, a copy of the key, its layer over the disk
    accelerator     what the probe of KVM found

A cache entry is made under another name and renamed when it is complete. It is complete when its manifest is
there and every file has the size that the manifest says.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .report import say

MANIFEST = "manifest.json"
# An entry that no `lab up` has asked for this long goes when the next one is made. A lab that runs on it goes on:
# QEMU has its files open, and ssh a copy of its key.
KEEP_SECONDS = 3 * 24 * 3600


def root() -> Path:
    """The lab's corner of the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lvs.ipvs-lab"


def run_folder(checkout: Path) -> Path:
    """A short name: sockets live in it, and the path of a socket has at most 107 bytes."""
    return root() / "run" / hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:10]


def digest(*parts: str | bytes) -> str:
    """A short digest; parts cannot run into each other."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:16]


def tree_digest(folder: Path) -> str:
    """Digest of the names, modes and contents of all files below a folder."""
    parts: list[str | bytes] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        parts += [str(path.relative_to(folder)), "x" if os.access(path, os.X_OK) else "-", path.read_bytes()]
    return digest(*parts)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; whoever comes second is told, and waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another lab command ({path.name})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def complete(entry: Path) -> bool:
    """Whether a cache entry is all there."""
    try:
        sizes = json.loads((entry / MANIFEST).read_text())
        return all((entry / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def seal(entry: Path) -> None:
    """Write down what belongs to an entry that has just been completed."""
    sizes = {path.name: path.stat().st_size for path in entry.iterdir() if path.is_file()}
    (entry / MANIFEST).write_text(json.dumps(sizes, indent=2))


def prune(folder: Path) -> None:
    """Remove the entries of a folder that nobody has used for long."""
    for manifest in folder.glob(f"*/{MANIFEST}"):
        with contextlib.suppress(OSError):
            if time.time() - manifest.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(manifest.parent)


def ensure(entry: Path, make: Callable[[Path], None]) -> Path:
    """The cache entry, made by `make(folder)` if it is not there or not whole."""
    with locked(entry.with_name(f"{entry.name}.lock")):
        if complete(entry):
            os.utime(entry / MANIFEST)
            return entry
        if entry.exists():
            say(f"{entry.parent.name}/{entry.name} is not whole: making it anew")
            shutil.rmtree(entry)
        prune(entry.parent)
        building = entry.with_name(f"{entry.name}.building")
        # Left by a builder that was killed; the lock says that it is gone.
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        try:
            make(building)
            seal(building)
            building.rename(entry)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return entry
