# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The program that a boot runs: it brings back what the modules recorded. Needs nothing of Ansible.

It works by difference, as the modules do, and removes nothing. Where all is there it sends no message but the rules of
nftables, which are replaced in one change, so it may run at any time. Virtual addresses come last, and only when what stands behind them is there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain as drain
from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils import _settings as settings
from ansible_collections.lvs.ipvs.plugins.module_utils import _virtual_address as virtual_address
from ansible_collections.lvs.ipvs.plugins.module_utils._drain_record import DrainRecord
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel
from ansible_collections.lvs.ipvs.plugins.module_utils._pause import while_rescheduled
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import plan, plan_daemons
from ansible_collections.lvs.ipvs.plugins.module_utils._record import locked_record, read_record
from ansible_collections.lvs.ipvs.plugins.module_utils._run import EXPECTED, STEPS_SHOWN

Steps = t.Sequence[object]


class Refused(Exception):
    """What nft(8) said when it failed."""


def nftables(path: str) -> Steps:
    """Load a file of nft(8)."""
    run = subprocess.run(["nft", "--file", path], capture_output=True, text=True, check=False)
    if run.returncode:
        raise Refused(f"nft --file {path}: {run.stderr.strip() or f'exit status {run.returncode}'}")
    return [f"load {path}"]


def timeouts(record: str) -> Steps:
    """Set the timeouts of a record of the module timeouts."""
    with locked_record(record), Kernel() as kernel:
        have = kernel.timeouts()
        want = model.timeouts(read_record(record), have)
        if want == have:
            return []
        kernel.set_timeouts(want)
        return [settings.timeouts_step(have, want)]


def table(record: str, drains: str | None = None) -> Steps:
    """Bring back the services of a record of the module table; who is drained comes back drained."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_record(record))
        want = options.parse_services(read_record(record).get("services", []), f"{record}: services")
        if not want:
            # Nothing is asked of a kernel that may have no IPVS.
            return []
        register = drain.Register({})
        if drains:
            stack.enter_context(DrainRecord(drains).locked())
            register = DrainRecord(drains).read()
        kernel = stack.enter_context(Kernel())
        stack.enter_context(kernel.alone())
        have = kernel.read(want)
        steps = plan(have, drain.held(want, register.drains), {})
        if not drains:
            kernel.apply(steps, while_rescheduled(have))
            return steps
        keeper = DrainRecord(drains)
        change = keeper.prepare(register, drain.Move(register.drains, register.drains, steps), have)
        keeper.carry_out(register, change, lambda: kernel.apply(change.steps, while_rescheduled(have)))
        return change.done


def sync_daemons(record: str) -> Steps:
    """Start the daemons of a record of the module sync_daemon."""
    with locked_record(record):
        want = settings.recorded_daemons(record)
        if not want:
            return []
        with Kernel() as kernel:
            steps = plan_daemons(kernel.sync_daemons(), want, ())
            kernel.apply_daemons(steps)
            return steps


def addresses(record: str) -> Steps:
    """Put back the addresses of a record of the module virtual_address that nobody else on their link has by now."""
    return virtual_address.restore(record).steps


def _say(stream: t.TextIO, line: str) -> None:
    """For the journal: there is no module here to log."""
    stream.write(f"{line}\n")
    stream.flush()


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Restore all that is named; an exit status."""
    parser = argparse.ArgumentParser(description="Bring IPVS back to what the modules of lvs.ipvs recorded.")
    for option, what in RECORDS.items():
        parser.add_argument(f"--{option.replace('_', '-')}", metavar="FILE", help=what)
    given = vars(parser.parse_args(arguments))
    failed = False

    def restore(option: str, part: t.Callable[..., Steps], *more: str | None) -> bool:
        """Restore one part; whether that went well. What was never recorded is nothing to restore."""
        path = given[option]
        if not path or not os.path.exists(path):
            return True
        try:
            steps = part(path, *more)
        except (Refused, *EXPECTED) as error:
            _say(sys.stderr, f"{option.replace('_', ' ')} of {path}: {error}")
            return False
        told = [str(step) for step in steps[:STEPS_SHOWN]]
        if len(steps) > STEPS_SHOWN:
            told.append(f"and {len(steps) - STEPS_SHOWN} more")
        for line in told:
            _say(sys.stdout, line)
        return True

    # Each part that fails is told, and the others are restored all the same.
    for option, part in (("nftables", nftables), ("timeouts", timeouts)):
        failed = not restore(option, part) or failed
    has_table = restore("table", table, given["drains"])
    failed = not restore("sync_daemons", sync_daemons) or failed or not has_table
    if has_table:
        failed = not restore("addresses", addresses) or failed
    elif given["addresses"]:
        # A virtual address without its services would answer with resets, and keep others from taking it.
        _say(sys.stderr, "the virtual addresses are left out, for the table is not what it has to be")
    return int(failed)


#: What there is to restore, by the option that names its file.
RECORDS = {
    "nftables": "rules that mark packets, as nft --file reads them",
    "timeouts": "the record of the module timeouts",
    "table": "the record of the module table",
    "drains": "the record of the module drain",
    "sync_daemons": "the record of the module sync_daemon",
    "addresses": "the record of the module virtual_address",
}
