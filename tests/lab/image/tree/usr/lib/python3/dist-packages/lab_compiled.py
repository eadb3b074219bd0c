# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what Python compiles out of zip files, as it does by itself for other files.

Ansible sends each module with its library as a zip of sources. To compile them takes half of a module's time
under emulation, and it is the same each time. All lab hosts share the folder; it is pristine after each restore.
"""

import hashlib
import marshal
import os
import types
import zipimport

FOLDER = "/var/cache/lab-compiled"

# Private to zipimport, and the only place where it can be had: its public names are for whole imports.
compile_source = zipimport._compile_source  # type: ignore[attr-defined]  # as said


def kept(pathname: str, source: bytes) -> types.CodeType:
    """The code of a source in a zip. What it says of its place is the path in the zip: the zip's own is new each time."""
    key = hashlib.blake2b(pathname.rpartition(".zip")[2].encode() + b"\0" + source, digest_size=16)
    path = f"{FOLDER}/{key.hexdigest()}"
    try:
        with open(path, "rb") as file:
            found: types.CodeType = marshal.load(file)
            return found
    except OSError:
        code: types.CodeType = compile_source(pathname, source)
    if os.access(FOLDER, os.W_OK):
        mine = f"{path}.{os.getpid()}.{os.uname().nodename}"
        with open(mine, "wb") as file:
            marshal.dump(code, file)
        # Another host may have been quicker, with the same.
        os.rename(mine, path)
    return code


zipimport._compile_source = kept  # type: ignore[attr-defined]  # as said
