# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of one checkout: what the commands do."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from . import cache, fleet, image, machine
from .report import LabError, say

# Programs the lab needs on this machine, and the Debian or Ubuntu package that has each.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
}
# Without root, mmdebstrap needs this to get a user namespace with more than one user in it.
ROOTLESS = {"newuidmap": "uidmap"}
# Debian's keys, which mmdebstrap needs on Ubuntu too.
KEYRING = (Path("/usr/share/keyrings/debian-archive-keyring.gpg"), "debian-archive-keyring")

# Users have no sbin on their PATH.
SYSTEM_PATH = "/usr/sbin:/sbin"

_HERE = Path(__file__).resolve().parent.parent
_CHECKOUT = _HERE.parent.parent
# A fleet boots in half a minute under emulation, in several when the machine has other things to do.
_ANSWER_SECONDS = 900
# A host is worth saving when all its units are up; Python and pyroute2 are then in the page cache.
_SETTLE = "timeout 600 systemctl is-system-running --wait && python3 -c 'import json, socket, zipfile, pyroute2'"


def need_programs() -> None:
    """Name what is missing on this machine, all at once."""
    if os.uname().machine != "x86_64":
        raise LabError(f"the lab is made for x86-64 machines; this one is {os.uname().machine}")
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH])
    programs = PROGRAMS if os.geteuid() == 0 else PROGRAMS | ROOTLESS
    missing = [package for program, package in programs.items() if not shutil.which(program, path=path)]
    if not KEYRING[0].exists():
        missing.append(KEYRING[1])
    if missing:
        raise LabError(
            f"this machine lacks: {' '.join(missing)}\n"
            f"On Debian or Ubuntu: apt-get install --no-install-recommends {' '.join(missing)}"
        )


class Lab:
    """The fleet of this checkout."""

    def __init__(self) -> None:
        self.state = cache.run_folder(_CHECKOUT)
        self.machine = machine.Machine(self.state)

    # Commands

    def up(self, *, fresh: bool) -> None:
        """Bring the fleet up: pristine, unless it runs already."""
        self._own_folder()
        with cache.locked(self.state / "lock"):
            facts = self.machine.facts()
            if facts and not fresh:
                self._complete(facts)
            else:
                disk_image = image.ensure()
                accel = machine.accelerator(disk_image)
                snapshot = cache.ensure(
                    cache.root() / "snapshots" / self._snapshot_key(accel),
                    lambda folder: self._make_snapshot(folder, disk_image, accel),
                )
                self._restore(snapshot, disk_image, accel)
        say(f"up: {' '.join(fleet.NAMES)}")

    def down(self) -> None:
        """Stop the fleet."""
        if not self.state.exists():
            return
        with cache.locked(self.state / "lock"):
            self._hang_up()
            say("stopped" if self.machine.stop() else "was not running")
            # It grows with what the hosts write, and the next `up` begins a new one.
            (self.state / "disk.qcow2").unlink(missing_ok=True)

    def status(self) -> str:
        """Hosts, ports, accelerator, age."""
        facts = self.machine.facts()
        if not facts:
            return "not running"
        seconds = int(time.time() - facts["started"])
        lines = [
            f"running {seconds // 60} min {seconds % 60} s, {facts['accel']}, {facts['image']}, pid {facts['pid']}"
        ]
        down = set(self._not_running())
        for host in fleet.HOSTS:
            word = "down" if host.name in down else "up"
            networks = " ".join(("mgmt", *host.networks))
            lines.append(
                f"{host.name:7} {host.group:10} {word:5} ssh 127.0.0.1:{facts['ports'][host.name]}  .{host.octet} on {networks}"
            )
        return "\n".join(lines)

    def reboot(self, hosts: Sequence[str]) -> None:
        """A power cycle of some hosts, at the same moment."""
        names = " ".join(hosts)
        with cache.locked(self.state / "lock"):
            self._need_running()
            self._hang_up(hosts)
            say(f"rebooting {names}")
            cuts = "; ".join(fleet.cut(host) for host in hosts)
            # The shell waits for each, and fails if one has.
            starts = "".join(f'lab-host reboot {host} & jobs="$jobs $!"; ' for host in hosts)
            self._run(fleet.VM, "sh", "-c", f"{cuts}; {starts} for job in $jobs; do wait $job || exit; done")
            self._answers(hosts)
        say(f"{names}: back")

    def kill(self, host: str) -> None:
        """A crash of one host."""
        with cache.locked(self.state / "lock"):
            self._need_running()
            self._run(fleet.VM, "sh", "-c", f"{fleet.cut(host)}; lab-host kill {host}")
            self._hang_up([host])
        say(f"{host} is gone; `lab reboot {host}` or `lab up` brings it back")

    def ssh(self, host: str, words: Iterable[str]) -> list[str]:
        """The ssh command that runs words on a host; without words, a shell."""
        self._need_running()
        remote = shlex.join(words)
        return ["ssh", "-F", str(self.state / "ssh_config"), *(["-T", host, remote] if remote else ["-t", host])]

    # How

    def _own_folder(self) -> None:
        """The run folder, and the link by which the inventory finds it."""
        (self.state / "ssh").mkdir(parents=True, exist_ok=True)
        if len(str(self.state / "ssh" / "client")) > 85:
            raise LabError(f"{self.state}: too long for a socket's path. Set XDG_CACHE_HOME to a shorter one.")
        link = _HERE / ".run"
        if not link.is_symlink() or os.readlink(link) != str(self.state):
            link.unlink(missing_ok=True)
            link.symlink_to(self.state)

    def _need_running(self) -> dict[str, Any]:
        facts = self.machine.facts()
        if not facts:
            raise LabError("the lab is not running: `lab up` starts it")
        return facts

    @staticmethod
    def _snapshot_key(accel: str) -> str:
        """Whatever a snapshot depends on: image, QEMU, its options, the processor."""
        nowhere = Path("/")
        options = machine.command_line(
            accel=accel, image=nowhere, memory=nowhere, share=True, disk="", state=nowhere, forwards=()
        )
        parts = (image.key(), machine.version(), *options, machine.processor(accel), _SETTLE)
        return f"{image.suite()}-{accel}-{cache.digest(*parts)}"

    @contextlib.contextmanager
    def _started(self, disk_image: Path, accel: str, extra: Iterable[str] = (), **options: Any) -> Iterator[None]:
        """QEMU on ports of its own. If what is done with it in the block fails, it is ended."""
        self._hang_up()
        self.machine.stop()
        shutil.rmtree(self.state / "ssh", ignore_errors=True)
        (self.state / "ssh").mkdir(mode=0o700)
        key = self.state / "ssh" / "key"
        shutil.copy(disk_image / "key", key)
        ports = machine.free_ports()
        config = fleet.ssh_config(ports, key, self.state)
        (self.state / "ssh_config").write_text(config)
        command = machine.command_line(
            accel=accel, image=disk_image, state=self.state, forwards=fleet.forwards(ports), **options
        )
        try:
            self.machine.start([*command, *extra], accel=accel, image=disk_image.name, ports=ports)
            yield
        except BaseException:
            self._hang_up()
            self.machine.stop()
            raise

    def _make_snapshot(self, folder: Path, disk_image: Path, accel: str) -> None:
        """Boot the fleet for the first time and save it."""
        say(f"first boot ({accel}; once)")
        memory, disk = folder / "memory", folder / "disk.img"
        with disk.open("wb") as file:
            file.truncate(8 << 30)
        # No journal: nothing survives the machine but on purpose.
        mke2fs: list[str | Path] = ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", disk]
        subprocess.run(mke2fs, check=True)
        with self._started(disk_image, accel, memory=memory, share=True, disk=f"file={disk},format=raw"):
            self._answers([fleet.VM])
            say("the virtual machine answers; starting the hosts")
            self._run(fleet.VM, "systemctl", "start", "--no-block", *(f"lab-host@{name}" for name in fleet.NAMES))
            self._answers(fleet.NAMES, aloud=True)
            say("letting them settle")
            self._everywhere(fleet.NAMES, _SETTLE)
            self._hang_up()
            say("saving the snapshot")
            self.machine.save(folder / "machine")
            self.machine.stop()

    def _restore(self, snapshot: Path, disk_image: Path, accel: str) -> None:
        """A pristine fleet from the snapshot, on ports and a disk layer of this checkout's own."""
        say(f"restoring the pristine fleet ({accel})")
        layer = self.state / "disk.qcow2"
        layer.unlink(missing_ok=True)
        base = ["-b", str(snapshot / "disk.img"), "-F", "raw"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(layer)], check=True)
        with self._started(
            disk_image,
            accel,
            ["-incoming", "defer"],
            memory=snapshot / "memory",
            share=False,
            disk=f"file={layer},format=qcow2",
        ):
            self.machine.load(snapshot / "machine")
            self._answers([fleet.VM])
            # The clock stood still since the snapshot was saved.
            self._run(fleet.VM, "date", "--set", f"@{time.time():.3f}")
            self._answers(fleet.NAMES)

    def _complete(self, facts: dict[str, Any]) -> None:
        """Bring a running fleet to full number."""
        if facts["image"] != image.key():
            say(f"the running lab is of another image ({facts['image']}); `lab up --fresh` replaces it")
        if missing := self._not_running():
            say(f"starting {' '.join(missing)}")
            self._hang_up(missing)
            for name in missing:
                self._run(fleet.VM, "lab-host", "reboot", name)
        self._answers(fleet.NAMES)

    def _not_running(self) -> list[str]:
        units = [f"lab-host@{name}" for name in fleet.NAMES]
        words = self._run(fleet.VM, "systemctl", "is-active", *units, check=False).stdout.split()
        return [name for name, word in zip(fleet.NAMES, words, strict=True) if word != "active"]

    def _run(self, host: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on a host, for the lab's own purposes."""
        command = self.ssh(host, words)
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{host} has not finished `{shlex.join(words)}` in {_ANSWER_SECONDS} s") from None
        if check and done.returncode:
            raise LabError(f"`{shlex.join(words)}` failed on {host}:\n{done.stdout}{done.stderr}")
        return done

    def _everywhere(self, hosts: Iterable[str], script: str) -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda host: self._run(host, "sh", "-c", script), hosts):
                pass

    def _answers(self, hosts: Iterable[str], *, aloud: bool = False) -> None:
        """Wait until each host runs a command over ssh; this also opens the shared connection to it."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        waiting: dict[str, subprocess.Popen[bytes] | None] = dict.fromkeys(hosts)
        try:
            while waiting:
                for name, process in list(waiting.items()):
                    if process is None or process.poll() is not None:
                        if process is not None and process.returncode == 0:
                            del waiting[name]
                            if aloud:
                                say(f"{name} answers")
                            continue
                        if process is not None:
                            time.sleep(0.2)  # refused: too early
                        waiting[name] = subprocess.Popen(
                            self.ssh(name, ["true"]),
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL,
                        )
                self.machine.alive()
                if time.monotonic() > deadline:
                    raise LabError(
                        f"no answer from {' '.join(waiting)} within {_ANSWER_SECONDS} s; last lines of the console:\n"
                        f"{self.machine.console()}\nTry `lab up --fresh`."
                    )
                time.sleep(0.1)
        finally:
            for process in waiting.values():
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()

    def _hang_up(self, hosts: Iterable[str] = fleet.octets()) -> None:
        """Close the shared connections, which would outlive their host."""
        for name in hosts:
            if (self.state / "ssh" / name).exists():
                command = ["ssh", "-F", str(self.state / "ssh_config"), "-O", "exit", name]
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
