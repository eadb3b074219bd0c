# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of directors in one kernel, for ansible-playbook in the same: each a network namespace, and so a table, of its own.

What the roles write goes into a layer above this machine's files that is each host's own. systemd and the package
manager are stand-ins: the one remembers what is enabled, to the other everything is installed. Every call that
Ansible makes to a host is counted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
#: In memory: the rest of a test kernel's file system is this machine's, and read-only.
ROOT = Path("/run/fleet")
LAYERED = ("/etc", "/var/lib", "/usr/local")
#: What every distribution has there.
FOLDERS = ("/etc/modprobe.d", "/etc/modules-load.d", "/etc/sysctl.d", "/etc/systemd/system")

ENTER = """#!/bin/sh
echo call >> {place}/calls
exec nsenter --mount={place}/mnt --net={place}/net env PATH={root}/bin:$PATH /bin/sh "$@"
"""
SETUP = """set -e
ip link set lo up
for path in {layered}; do
    mkdir -p {place}/upper$path {place}/work$path
    mount -t overlay overlay -o lowerdir=$path,upperdir={place}/upper$path,workdir={place}/work$path $path
done
mkdir -p {folders}
"""
STAND_INS = {
    "systemctl": """#!/bin/sh
state() { [ -e /var/lib/enabled ] && echo enabled || echo disabled; }
case " $* " in
    *" show "*) printf '%s\\n' LoadState=loaded ActiveState=inactive UnitFileState=$(state) NeedDaemonReload=no ;;
    *" is-enabled "*) state; [ -e /var/lib/enabled ] ;;
    *" enable "*) touch /var/lib/enabled ;;
esac
""",
    "dpkg-query": """#!/bin/sh
for package; do case $package in -*) ;; *) echo "installed $package" ;; esac; done
""",
}


class Run(NamedTuple):
    """What came of a playbook."""

    seconds: float
    output: str
    #: Of each host: changed, failed...
    recap: dict[str, dict[str, int]]
    #: Of each host: how often Ansible went there.
    calls: dict[str, int]


class Fleet:
    """Directors by name, and an inventory of them."""

    def __init__(self, count: int) -> None:
        if not os.path.ismount(ROOT):
            ROOT.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", ROOT], check=True)
            # Names for namespaces are kept here, and those cannot be shared with themselves.
            subprocess.run(["mount", "--make-private", ROOT], check=True)
            subprocess.run(["modprobe", "-a", "overlay", "ip_vs"], check=True)
            (ROOT / "bin").mkdir()
            for name, text in STAND_INS.items():
                _program(ROOT / "bin" / name, text)
        taken = len(list(ROOT.glob("d*")))
        self.names = [f"d{number:04}" for number in range(taken, taken + count)]
        for name in self.names:
            place = ROOT / name
            place.mkdir()
            for kind in ("mnt", "net", "calls"):
                (place / kind).touch()
            _program(place / "sh", ENTER.format(place=place, root=ROOT))
            setup = SETUP.format(place=place, layered=" ".join(LAYERED), folders=" ".join(FOLDERS))
            enter = ["unshare", f"--mount={place}/mnt", f"--net={place}/net", "sh", "-c", setup]
            subprocess.run(enter, check=True)
        self.inventory = ROOT / f"{self.names[0]}.json"

    def declare(self, **variables: Any) -> None:
        """An inventory in which each director is a cluster by itself, and nobody has the addresses."""
        shared = {
            "ansible_connection": "namespace",
            "ansible_python_interpreter": sys.executable,
            "ansible_pipelining": True,
            "director_vip_holder": "",
            # Their real servers are addresses of nobody.
            "director_probe": "none",
            **variables,
        }
        own = {name: {"fleet_door": str(ROOT / name / "sh"), "lvs_cluster": name} for name in self.names}
        listing = {"all": {"vars": shared, "children": {"directors": {"hosts": own}}}}
        self.inventory.write_text(json.dumps(listing))

    def play(self, name: str, *arguments: str) -> Run:
        """A playbook of the collection, over the inventory as it was declared last."""
        for host in self.names:
            (ROOT / host / "calls").write_text("")
        call = ["ansible-playbook", "-i", str(self.inventory), f"lvs.ipvs.{name}", *arguments]
        settings = {
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
            "ANSIBLE_CONNECTION_PLUGINS": str(CHECKOUT / "tests/fleet/connection"),
            "ANSIBLE_REMOTE_TEMP": str(ROOT / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
        }
        began = time.monotonic()
        done = subprocess.run(
            call, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        took = time.monotonic() - began
        recap = {
            host: {word: int(number) for word, number in re.findall(r"(\w+)=(\d+)", counts)}
            for host, counts in re.findall(r"^(\S+)\s+: (ok=.*)$", done.stdout, re.MULTILINE)
        }
        calls = {host: (ROOT / host / "calls").read_text().count("\n") for host in self.names}
        return Run(took, done.stdout + done.stderr, recap, calls)

    def enter(self, host: str, *command: str) -> str:
        """The output of a command on a host."""
        place = ROOT / host
        enter = ["nsenter", f"--mount={place}/mnt", f"--net={place}/net"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=True).stdout


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def played(fleet: Fleet, playbook: str, *arguments: str) -> Run:
    """A playbook that no host failed in."""
    run = fleet.play(playbook, *arguments)
    assert not any(found["failed"] or found["unreachable"] for found in run.recap.values()), run.output
    return run


def services(count: int, servers: int = 2) -> list[dict[str, Any]]:
    return [
        {
            "protocol": "tcp",
            "address": f"192.0.{number >> 8}.{number & 255}",
            "port": 80,
            "scheduler": "rr",
            "real_servers": [{"address": f"198.18.{number >> 8}.{server + 1}"} for server in range(servers)],
        }
        for number in range(1, count + 1)
    ]
