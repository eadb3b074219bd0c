# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import NoReturn

from . import fleet
from .lab import Lab, need_programs
from .report import LabError

_PROLOGUE = """Six hosts with a real kernel, on any machine: lb1 lb2 (directors), web1 web2 web3, client."""
_EPILOGUE = """environment:
  LAB_SUITE    Debian release of the hosts: bookworm (default) or trixie
  LAB_MIRROR   Debian mirror to build the image from (default: the one this machine's apt uses)
  LAB_ACCEL    kvm or tcg (default: kvm if a short boot shows that it works)
"""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="lab", description=_PROLOGUE, epilog=_EPILOGUE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="build what is missing, boot or restore, wait until every host answers")
    up.add_argument("--fresh", action="store_true", help="discard what runs and start from the pristine fleet")
    commands.add_parser("down", help="stop it")
    commands.add_parser("status", help="hosts, ports, accelerator, age")
    execute = commands.add_parser("exec", help="run a command on a host, or a shell if none is given")
    execute.add_argument("host", choices=(*fleet.NAMES, fleet.VM), metavar="HOST")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="-- CMD...")
    reboot = commands.add_parser(
        "reboot", help="restart hosts as a power cycle would: their disks stay, their kernel state goes"
    )
    reboot.add_argument("hosts", choices=fleet.NAMES, metavar="HOST", nargs="+")
    kill = commands.add_parser("kill", help="a crash: gone at once, without a goodbye")
    kill.add_argument("host", choices=fleet.NAMES, metavar="HOST")
    return top


def remote_words(rest: list[str]) -> list[str]:
    """The command for the host: all that follows, less the dashes that may lead it."""
    return rest[1:] if rest[:1] == ["--"] else rest


def _interrupted(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    chosen = parser().parse_args(arguments)
    # Being terminated leaves as little behind as Ctrl-C, which a shell's background jobs ignore unless told.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    lab = Lab()
    try:
        match chosen.command:
            case "up":
                need_programs()
                lab.up(fresh=chosen.fresh)
            case "down":
                lab.down()
            case "status":
                print(lab.status())
            case "exec":
                command = lab.ssh(chosen.host, remote_words(chosen.words))
                sys.stdout.flush()
                os.execvp(command[0], command)
            case "reboot":
                lab.reboot(chosen.hosts)
            case "kill":
                lab.kill(chosen.host)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
    return 0
