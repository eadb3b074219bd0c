# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual machine: its QEMU process, how it is told what to do, and the snapshot it starts from.

The snapshot is QEMU's migration stream of a fleet that has just come up, with the memory left out of the stream
(`x-ignore-shared`): memory stays in the file that backed it, and each later start maps that file privately. So a
restore copies nothing, costs a second, and any number of checkouts share one snapshot.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import cache, fleet
from .report import LabError, say

QEMU = "qemu-system-x86_64"
MEMORY = "2G"
# qemu64 is emulated faster than `max`. Without cmpxchg16b: QEMU 7.2 (Debian 12) computes wild flags for it, and a timer
# interrupt just then is a double fault; the kernel does without the instruction if the processor lacks it.
_CPU = {"kvm": "host", "tcg": "qemu64,-cx16"}
_ACCEL = {"kvm": "kvm", "tcg": "tcg,thread=multi,tb-size=512"}
# A KVM that works boots a kernel in a second or two; one that does not may hang for ever.
_PROBE_SECONDS = 10


def kernel_command_line(accel: str) -> str:
    """Quiet, quick, and straight to the lab's own target instead of a whole Debian."""
    words = [
        "root=/dev/vda ro quiet console=ttyS0 net.ifnames=0 panic=-1",
        "mitigations=off init_on_alloc=0 apparmor=0 audit=0 nowatchdog random.trust_cpu=on",
        "systemd.unit=lab-vm.target systemd.show_status=no",
    ]
    if accel == "tcg":
        # Its time stamp counter is QEMU's own clock; the kernel need not check it, nor ask a slow device instead.
        words.append("tsc=reliable clocksource=tsc no_timer_check")
    return " ".join(words)


def command_line(
    *, accel: str, image: Path, memory: Path, share: bool, disk: str, state: Path, forwards: Sequence[str]
) -> list[str]:
    """The QEMU command. It must be the same for making and for restoring a snapshot, but for paths and ports."""
    return [
        QEMU,
        *("-name", "lvs.ipvs-lab", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-accel", _ACCEL[accel], "-cpu", _CPU[accel], "-smp", "2", "-m", MEMORY),
        *("-machine", "pc,memory-backend=ram"),
        *("-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory},share={'on' if share else 'off'}"),
        *("-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd")),
        *("-append", kernel_command_line(accel)),
        *("-serial", f"file:{state / 'console.log'}"),
        *("-qmp", f"unix:{state / 'qmp'},server=on,wait=off"),
        *("-drive", f"file={image / 'root.img'},format=raw,if=none,id=root,read-only=on,file.locking=off"),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-drive", f"{disk},if=none,id=disk,cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk"),
        # restrict: nothing but the forwarded ports reaches the fleet, and the fleet reaches nothing.
        *("-netdev", ",".join(["user,id=net,ipv6=off,restrict=on", *forwards])),
        *("-device", "virtio-net-pci,netdev=net,mac=02:00:00:00:00:01"),
        *("-device", "virtio-rng-pci"),
    ]


def free_ports() -> dict[str, int]:
    """A free port on the loopback interface for each ssh server."""
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in fleet.octets()}
        for sock in sockets.values():
            sock.bind(("127.0.0.1", 0))
        return {name: sock.getsockname()[1] for name, sock in sockets.items()}


def birth(pid: int) -> int | None:
    """When a process started, in ticks since boot: with the pid, its identity. None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Machine:
    """A running QEMU. Known by its run folder, so that the next command finds it again."""

    def __init__(self, state: Path) -> None:
        self.state = state

    # What is known about it

    def facts(self) -> dict[str, Any] | None:
        """What was written down when it was started; None if it no longer runs."""
        try:
            facts: dict[str, Any] = json.loads((self.state / "machine.json").read_text())
        except (OSError, ValueError):
            return None
        return facts if birth(facts["pid"]) == facts["birth"] else None

    def console(self, lines: int = 15) -> str:
        """The last lines of QEMU's own words and of the console."""
        text = []
        for name in ("qemu.log", "console.log"):
            with contextlib.suppress(OSError):
                text += (self.state / name).read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in text) or "    (nothing)"

    # Its life

    def start(self, command: Sequence[str], **facts: Any) -> None:
        """Start QEMU in a session of its own: it outlives this command, and a Ctrl-C is not meant for it."""
        for name in ("console.log", "qmp"):
            (self.state / name).unlink(missing_ok=True)
        with (self.state / "qemu.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.state
            )
        facts |= {"pid": process.pid, "birth": birth(process.pid), "started": time.time()}
        (self.state / "machine.json").write_text(json.dumps(facts, indent=2))

    def stop(self) -> bool:
        """End QEMU. Nothing in it is worth a goodbye. Whether there was one."""
        facts = self.facts()
        if facts:
            end(facts["pid"])
        (self.state / "machine.json").unlink(missing_ok=True)
        return facts is not None

    def alive(self) -> None:
        """Complain if it has ended."""
        if self.facts() is None:
            raise LabError(
                f"QEMU has ended; its last words:\n{self.console()}\nTry `lab up --fresh`, or LAB_ACCEL=tcg."
            )

    # Talking to QEMU

    def qmp(self, *commands: tuple[str, Mapping[str, Any]]) -> list[Any]:
        """Give QEMU some commands, one after the other; what each returned."""
        with socket.socket(socket.AF_UNIX) as sock:
            deadline = time.monotonic() + 20
            while True:
                try:
                    sock.connect(str(self.state / "qmp"))
                    break
                except OSError:
                    self.alive()
                    if time.monotonic() > deadline:
                        raise LabError(f"QEMU does not answer:\n{self.console()}") from None
                    time.sleep(0.05)
            with sock.makefile("rw") as stream:
                stream.readline()  # its greeting
                return [_ask(stream, *command) for command in (("qmp_capabilities", {}), *commands)][1:]

    def _migrated(self) -> None:
        """Wait until a migration, in or out, is complete."""
        while True:
            (status,) = self.qmp(("query-migrate", {}))
            if status.get("status") == "completed":
                return
            if status.get("status") == "failed":
                raise LabError(f"QEMU could not save or restore the snapshot:\n{self.console()}")
            time.sleep(0.05)

    def save(self, stream: Path) -> None:
        """Save everything but the memory, which is in its file already; the machine stands still afterwards."""
        self.qmp(_IGNORE_SHARED, ("migrate", {"uri": f"exec:cat >{shlex.quote(str(stream))}"}))
        self._migrated()

    def load(self, stream: Path) -> None:
        """Go on where the snapshot was saved."""
        self.qmp(_IGNORE_SHARED, ("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(stream))}"}))
        self._migrated()


_IGNORE_SHARED = (
    "migrate-set-capabilities",
    {"capabilities": [{"capability": "x-ignore-shared", "state": True}]},
)


def _ask(stream: Any, command: str, arguments: Mapping[str, Any]) -> Any:
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    for line in stream:
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"QEMU refused {command}: {answer['error']['desc']}")
        if "return" in answer:
            return answer["return"]
    raise LabError(f"QEMU ended while it was asked to {command}")


def end(pid: int) -> None:
    """End a process of ours and wait until it is gone; one that hangs in the kernel is not waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while birth(pid) is not None and time.monotonic() < deadline:
        # If it is our child it would stay a zombie.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


@functools.cache
def version() -> str:
    """QEMU's version line: a snapshot is only good for the QEMU that made it."""
    return subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def accelerator(image: Path) -> str:
    """`kvm` where a short boot has shown that it works, else `tcg`. LAB_ACCEL overrides; the finding is kept."""
    if chosen := os.environ.get("LAB_ACCEL"):
        if chosen not in _ACCEL:
            raise LabError(f"LAB_ACCEL={chosen}: choose one of {', '.join(_ACCEL)}")
        return chosen
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    subject = f"{os.uname().release} {version()}"
    memo = cache.root() / "accelerator"
    with contextlib.suppress(OSError, ValueError):
        known, found = memo.read_text().splitlines()
        if known == subject:
            return found
    say("trying out KVM")
    found = "kvm" if _kvm_boots(image) else "tcg"
    say("KVM works" if found == "kvm" else "KVM does not work here: pure emulation")
    memo.write_text(f"{subject}\n{found}\n")
    return found


def _kvm_boots(image: Path) -> bool:
    """Whether a kernel without a disk gets as far as missing it, within the time."""
    command = [
        QEMU,
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"),
        *("-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "256M", "-kernel", str(image / "vmlinuz")),
        *("-append", "console=ttyS0 panic=-1"),
    ]
    with tempfile.TemporaryFile() as console:
        # Not as a context of its own: that would wait for a QEMU which hangs in the kernel.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
        )
        try:
            process.wait(_PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            end(process.pid)
            process.poll()
        console.seek(0)
        return b"Unable to mount root fs" in console.read()


def processor(accel: str) -> str:
    """What a snapshot knows of the processor: under KVM that is this machine's, else always the same."""
    if accel != "kvm":
        return _CPU[accel]
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))
