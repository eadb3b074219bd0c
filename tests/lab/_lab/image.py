# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk image: one small Debian, used by the virtual machine and, under an overlay, by every lab host."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from . import cache, fleet
from .report import LabError, say

SUITES = ("bookworm", "trixie")
_RECIPE = Path(__file__).resolve().parent.parent / "image"


def suite() -> str:
    """The Debian release of the lab hosts, chosen by LAB_SUITE."""
    name = os.environ.get("LAB_SUITE") or SUITES[0]
    if name not in SUITES:
        raise LabError(f"LAB_SUITE={name}: choose one of {', '.join(SUITES)}")
    return name


def packages(text: str) -> list[str]:
    """The names in packages.txt."""
    return [line for line in (line.split("#")[0].strip() for line in text.splitlines()) if line]


def pick_mirror(targets: str) -> str | None:
    """The Debian mirror that this machine uses, from lines of `ORIGIN CODENAME REPO_URI`.

    None on a machine that uses none, such as Ubuntu: mmdebstrap then takes its own default.
    """
    for line in targets.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] == "Debian" and "-" not in fields[1]:
            return fields[2]
    return None


def mirror() -> str | None:
    """LAB_MIRROR, or what this machine's own apt uses."""
    if chosen := os.environ.get("LAB_MIRROR"):
        return chosen
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return pick_mirror(found.stdout)


def command(recipe: Path, folder: Path, out: Path, source: str | None) -> list[str]:
    """The mmdebstrap command that leaves root.img, vmlinuz and initrd in `out`."""
    names = packages((_RECIPE / "packages.txt").read_text())
    places = {"TREE": recipe / "tree", "HOSTS": folder / "hosts", "KEY": folder / "key.pub", "OUT": out}
    environment = " ".join(f"LAB_{name}={shlex.quote(str(path))}" for name, path in places.items())
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--format=null",
        f"--include={','.join(names)}",
        # Release files of a pinned or slow mirror may be past their date.
        "--aptopt=Acquire::Check-Valid-Until false",
        "--aptopt=Acquire::Languages none",
        "--aptopt=APT::Install-Recommends false",
        f'--essential-hook={shlex.quote(str(recipe / "prepare"))} "$1"',
        f'--customize-hook={environment} {shlex.quote(str(recipe / "finish"))} "$1"',
        suite(),
        "/dev/null",
        *filter(None, [source]),
    ]


def key() -> str:
    """Name of the image in the cache: a digest of whatever determines its content."""
    nowhere = Path("/")
    options = command(nowhere, nowhere, nowhere, None)
    return f"{suite()}-{cache.digest(cache.tree_digest(_RECIPE), fleet.table(), *options)}"


def ensure() -> Path:
    """The folder with root.img, vmlinuz, initrd and the ssh key."""
    return cache.ensure(cache.root() / "images" / key(), _build)


def _build(folder: Path) -> None:
    say(f"building the {suite()} image (a minute or two; once)")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", folder / "key"], check=True)
    log = folder / "build.log"
    # Without root, mmdebstrap works in a user namespace whose root is another user on the outside. A home is closed to
    # that one, so all it reads and writes is in a temporary folder that is not.
    with tempfile.TemporaryDirectory(prefix="lvs.ipvs-lab.") as temporary:
        stage = Path(temporary)
        stage.chmod(0o755)
        out = stage / "out"
        out.mkdir()
        out.chmod(0o777)
        shutil.copytree(_RECIPE, stage / "image")
        subprocess.run(["chmod", "-R", "a+rX", stage / "image"], check=True)
        for name, text in (("hosts", fleet.table()), ("key.pub", (folder / "key.pub").read_text())):
            (stage / name).write_text(text)
            (stage / name).chmod(0o644)
        if _run_to_the_end(command(stage / "image", stage, out, mirror()), log):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise LabError(
                f"mmdebstrap failed; its last words:\n{tail}\n"
                "If the mirror cannot be reached, name another in LAB_MIRROR. Then run `lab up` again."
            )
        subprocess.run(["cp", "--sparse=always", *out.iterdir(), folder], check=True)
    say("the image is ready")


def _run_to_the_end(words: list[str], log: Path) -> int:
    """Run mmdebstrap; when interrupted, give it the time to unmount and remove what it made."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            return process.wait()
        except BaseException:
            say("stopping mmdebstrap")
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
