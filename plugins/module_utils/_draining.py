# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the module drain does: the decisions of _drain.py, the record, the kernel and the clock joined.

The record is locked while weights change, and free while connections are waited for: others may apply
services, or drain other real servers, meanwhile.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain as drain
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._drain import Change, Checked, Drain, DrainKey, Move, Register
from ansible_collections.lvs.ipvs.plugins.module_utils._drain_record import DrainRecord, read_values
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel, KernelError, Stopped
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Connections, InvalidValue, RealServer, Table
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import Step, touched
from ansible_collections.lvs.ipvs.plugins.module_utils._record import read_record
from ansible_collections.lvs.ipvs.plugins.module_utils._run import Failure, Result, report

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

#: A long wait is told by this many samples at most; the older ones are thinned out.
SAMPLES_SHOWN = 100
#: keepalived reads a file within milliseconds, on a machine that has time for it.
PATIENCE = 15.0
#: What it has not done by then, it may have reasons for: its checks.
PATIENCE_WITH_CHECKS = 2.0

_GONE = Connections(0, 0, 0)


def body(module: AnsibleModule) -> Result:
    """The body of the module drain."""
    params = module.params
    places = drain.parse_addresses(params["real_servers"])
    for option, low, high in (
        ("wait_retries", 0, None),
        ("minimum_servers", 0, None),
        ("minimum_weight", 0, 100),
        ("slow_start", 0, None),
        ("slow_start_steps", 2, None),
    ):
        if params[option] < low or (high is not None and params[option] > high):
            bounds = f"{low} or more" if high is None else f"from {low} to {high}"
            raise InvalidValue(option, f"{params[option]} is not {bounds}")
    if params["wait_interval"] <= 0:
        raise InvalidValue("wait_interval", f"{params['wait_interval']} is not more than 0")
    checked = drain.parse_checked(params["health_checked"], params["drain_files"] or "")
    if checked.servers and not checked.folder:
        raise InvalidValue("drain_files", "is required with health_checked: by them keepalived is told")
    with Kernel() as kernel:
        work = _Work(module, kernel, places, checked)
        return work.drain() if params["state"] == "drain" else work.enable()


class _NotTakenUp(Stopped):
    """keepalived did not do as its files say: ``late`` are the real servers with their weights."""

    def __init__(self, done: t.Sequence[object], late: t.Mapping[DrainKey, int]) -> None:
        super().__init__(done, late)
        self.late = late

    def __str__(self) -> str:
        told = ", ".join(f"{drain.told(key)} still has the weight {weight}" for key, weight in self.late.items())
        return f"keepalived does not do as the files say: {told}; does it run, with what lvs.ipvs.site wrote for these services?"


class _Work:
    """One run of the module."""

    def __init__(self, module: AnsibleModule, kernel: Kernel, places: dict[str, int], checked: Checked) -> None:
        self.module = module
        self.params = module.params
        self.check_mode: bool = module.check_mode
        self.kernel = kernel
        self.places = places
        self.checked = checked
        self.record = DrainRecord(module.params["record"])
        self.register = Register({})
        #: The table as it was, and as it is.
        self.began_with: Table | None = None
        self.have: Table = {}
        self.keys: list[DrainKey] = []
        self.left_alone: list[DrainKey] = []
        #: Everything that this run changed, in order.
        self.done: list[object] = []
        #: What this run began to drain, and the drains that it found in their places.
        self.prior: dict[DrainKey, Drain | None] = {}
        #: Of these, what another run began that had not finished.
        self.taken_up: set[DrainKey] = set()
        #: What the files of its addresses held before.
        self.prior_values: dict[str, int] = {}
        #: The addresses that were drained nowhere before this run.
        self.began: list[str] = []
        self.samples: list[Result] = []
        self.left: dict[DrainKey, dict[str, int]] = {}
        self.looks: dict[DrainKey, tuple[RealServer | None, Connections]] = {}

    # -- the two states ----------------------------------------------------------------------------------

    def drain(self) -> Result:
        """Weight 0, wait, remove."""
        waits = self.params["wait"]
        try:
            self._turn(self._begin)
            waited = self._watch(self.params["wait_retries"] if waits else 0)
            # A prediction is that the connections go in time.
            drained = not self.left or (self.check_mode and waits)
            if waits and not drained and self.params["on_timeout"] == "fail":
                raise self._failure(self._reason(waited))
            goes_on = drained or waits
            if self._has_to_finish(goes_on):
                self._turn(lambda register, have: self._finish(register, have, self._removes(goes_on)))
        except Exception as error:
            if self.check_mode or not self.prior:
                raise
            raise self._undone(error) from error
        return self._result(drained=not self.left, waited=waited, began=self.began, waits_for=self._told_left())

    def enable(self) -> Result:
        """The configured weight, at once or by and by, and what keepalived makes of it."""
        parts = self.params["slow_start_steps"] if self.params["slow_start"] else 1
        mine: dict[DrainKey, int | None] = {}

        def rise(register: Register, have: Table) -> Move:
            for key, held in mine.items():
                if key in register.drains and register.drains[key].held != held:
                    raise KernelError(f"{drain.told(key)} was drained again by something else while it came back")
            move = drain.rise(register, self.keys, have, part, parts, self.checked, self.places)
            mine.update({key: move.outcome[key].held for key in self.keys if key in move.outcome})
            return move

        for part in range(1, parts + 1):
            if part > 1 and not self.check_mode:
                time.sleep(self.params["slow_start"] / (parts - 1))
            try:
                self._turn(rise)
            except Exception as error:
                done = [*self.done, *(error.done if isinstance(error, Stopped) else ())]
                if not done:
                    raise
                raise Failure(str(error), {"changed": bool(done), **report(done)}) from error
            if not any(self.checked.values.values()) and not any(key in self.register.drains for key in self.keys):
                break
        waited = self._await_checks() if self.params["wait"] else 0.0
        self._look()
        out = self._kept_out()
        for key in out:
            self.module.warn(f"{drain.told(key)} has no weight from keepalived, for its checks fail or it does not run")
        return self._result(waited=waited, kept_out=[self._row(key) for key in out])

    def _await_checks(self) -> float:
        """Wait until keepalived gives weight to all of those that it is to give weight; the seconds that it took."""
        began = time.monotonic()
        for attempt in range(1 if self.check_mode else self.params["wait_retries"] + 1):
            if attempt:
                time.sleep(self.params["wait_interval"])
            self._look()
            out = self._kept_out()
            if not out:
                break
        waited = round(time.monotonic() - began, 1)
        if out and not self.check_mode and self.params["on_timeout"] == "fail":
            raise self._failure(
                f"without weight from keepalived after {waited:g} seconds, for checks fail or it does not run:"
                f" {'; '.join(map(drain.told, out))}"
            )
        return waited

    def _kept_out(self) -> list[DrainKey]:
        """Those whom nobody drains any more, and whom keepalived gives no weight."""
        return [
            key
            for key, server in self.checked.servers.items()
            if key in self.looks and key[0] in self.have and server.weight and key not in self.register.drains
            for there in (drain.live(self.have, key) if self.check_mode else self.looks[key][0],)
            if there is None or not there.weight
        ]

    # -- one change --------------------------------------------------------------------------------------

    def _turn(self, decide: t.Callable[[Register, Table], Move]) -> None:
        """Read, decide and carry out, while nothing else may; in check mode, go on with what would be there."""
        with contextlib.ExitStack() as stack:
            if not self.check_mode:
                stack.enter_context(self.record.locked())
                stack.enter_context(self.kernel.alone())
            if self.began_with is None:
                self.register = self.record.read()
                self.began_with = self.have = self.kernel.read()
                self._select()
            elif not self.check_mode:
                self.register = self.record.read()
                self._read_again()
                self._read_values()
            move = decide(self.register, self.have)
            change = self.record.prepare(self.register, move, self.have, self._assumed_setting(), self.checked)
            if not self.check_mode:
                self.record.carry_out(self.register, change, lambda: self._apply(change))
            self.done += change.done
            self.register, self.have = change.outcome, change.table
            self.checked = self.checked._replace(values={**self.checked.values, **move.files})

    def _apply(self, change: Change) -> None:
        """Send the messages, and see that keepalived does what the files say, as far as no check has a say in it."""
        self.kernel.apply(change.steps)
        began = time.monotonic()
        written = {step.path: step for step in change.files}
        for key in self.checked.servers:
            step = written.get(drain.file_of(self.checked.folder, key[1].address))
            want = drain.live(change.table, key)
            if step is None or want is None:
                continue
            while True:
                there = drain.live(self.kernel.read_service(key[0]), key)
                # Who is ill is not there, or may go at any time.
                if there is None or (
                    there.weight <= want.weight if step.value < step.old else there.weight >= want.weight
                ):
                    break
                passed = time.monotonic() - began
                if passed > PATIENCE:
                    raise _NotTakenUp(change.steps, {key: there.weight})
                if passed > PATIENCE_WITH_CHECKS and step.value > step.old:
                    break
                time.sleep(0.02)

    def _read_values(self) -> None:
        """What the files of all addresses that are meant hold now."""
        if self.checked.folder:
            self.checked = self.checked._replace(values=read_values(self.checked.folder, self.places))

    def _assumed_setting(self) -> int | None:
        """The sysctl as check mode left it; None if it is as it is."""
        steps = [step for step in self.done if isinstance(step, drain.SettingStep)]
        return steps[-1].value if self.check_mode and steps else None

    def _read_again(self) -> None:
        """The services that are concerned, as they are now."""
        services = {service for service, _server in self.keys}
        self.have = {service: entry for service, entry in self.have.items() if service not in services}
        for service in services:
            self.have.update(self.kernel.read_service(service))

    def _select(self) -> None:
        path, ours = self.params["table_record"], None
        if path:
            ours = options.parse_services(read_record(path).get("services", []), f"{path}: services")
        self._read_values()
        # What was drained by a file is brought back by it, even if the inventory says otherwise by now.
        known = {key: there.server for key, there in self.register.drains.items() if there.file}
        if known and not self.checked.folder:
            key = next(iter(known))
            raise InvalidValue(
                "drain_files", f"is required: {drain.told(key)} is drained by {self.register.drains[key].file}"
            )
        self.checked = self.checked._replace(servers={**known, **self.checked.servers})
        selection = drain.select(self.places, self.register, self.have, ours, self.checked)
        self.keys, self.left_alone = selection.keys, selection.left_alone
        if selection.unknown and self.params["fail_on_not_found"]:
            address = selection.unknown[0]
            raise InvalidValue(
                f"real_servers[{self.places[address]}]",
                f"{address} is a real server of no service {f'that {path} holds' if path else 'of this table'}",
            )

    def _begin(self, register: Register, have: Table) -> Move:
        move = drain.begin(register, self.keys, have, time.time(), self.params["wait"], self.checked)
        minimum = self.params["minimum_servers"], self.params["minimum_weight"]
        faults = drain.floors(have, move, register.drains, *minimum, self.checked)
        if faults:
            raise InvalidValue("", "; ".join(faults))
        for key in self.keys:
            there = register.drains.get(key)
            if there and there.unfinished:
                # The run that began this one died, or still waits; unless that one finishes it, it is this one's to put back.
                self.prior[key] = None
                self.taken_up.add(key)
            elif there != move.outcome[key]:
                self.prior[key] = there
        begun = {key[1].address for key, there in register.drains.items() if there.unfinished}
        self.prior_values = {
            address: 0 if address in begun else self.checked.values.get(address, 0) for address in move.files
        }
        held = {
            server.address
            for (_service, server), found in register.drains.items()
            if not found.held and not found.unfinished
        }
        self.began = sorted({server.address for _service, server in self.keys} - held)
        return move

    def _finish(self, register: Register, have: Table, remove: bool) -> Move:
        self._leave_finished(register)
        return drain.finish(register, self.keys, have, remove)

    def _undo(self, register: Register, have: Table) -> Move:
        self._leave_finished(register)
        return drain.undo(register, self.prior, have, self.prior_values)

    def _leave_finished(self, register: Register) -> None:
        """What the run that began it has finished meanwhile is its own: looked for before this run finishes it itself."""
        for key in self.taken_up:
            there = register.drains.get(key)
            if there and not there.unfinished:
                self.prior[key] = there
                if key[1].address in self.prior_values:
                    self.prior_values[key[1].address] = self.checked.values.get(key[1].address, 0)
        self.taken_up.clear()

    def _removes(self, goes_on: bool) -> bool:
        return bool(self.params["remove"]) and goes_on

    def _has_to_finish(self, goes_on: bool) -> bool:
        ends = [key for key in self.keys if key in self.register.drains and self.register.drains[key].unfinished]
        removable = [key for key in self.keys if key not in self.checked.servers and drain.live(self.have, key)]
        return bool(ends) or (self._removes(goes_on) and bool(removable))

    def _failure(self, reason: str) -> Failure:
        return Failure(reason, {"changed": bool(self.done), **report(self.done), **self._progress()})

    def _undone(self, error: Exception) -> Failure:
        """Put back what this run changed; what to tell of it."""
        failed = [*self.done, *(error.done if isinstance(error, Stopped) else ())]
        self.done = []
        try:
            self._turn(self._undo)
        except Exception as again:
            reason = f"{error}; to put back what was changed failed too: {again}; state=enabled takes up from there"
            return Failure(reason, {**self._progress(), "changed": bool(failed), **report(failed)})
        reason = f"{error}; what was changed is put back" if failed or self.done else str(error)
        return Failure(reason, {**self._progress(), "changed": False, **report(failed + self.done)})

    # -- waiting -----------------------------------------------------------------------------------------

    def _watch(self, retries: int) -> float:
        """Look until nothing is left to wait for; the seconds that it took."""
        udp_timeout = self.kernel.timeouts().udp
        began = time.monotonic()
        for attempt in range(1 if self.check_mode else retries + 1):
            if attempt:
                time.sleep(self.params["wait_interval"])
            self._look()
            waited = round(time.monotonic() - began, 1)
            totals = Connections(
                *(sum(numbers) for numbers in zip(_GONE, *(seen for _there, seen in self.looks.values())))
            )
            self._sample(waited, totals)
            self.left = {key: kinds for key in self.keys if (kinds := self._outstanding(key, udp_timeout))}
            if not self.left:
                break
        return waited

    def _look(self) -> None:
        """The real servers with their connections, as they are now."""
        services = {service: self.kernel.connections(service) for service, _server in self.keys}
        for service, server in self.keys:
            if server not in services[service]:
                # An entry can be missed by reading while others are removed, but not twice.
                services[service] = {**self.kernel.connections(service), **services[service]}
        for service, server in self.keys:
            there, connections = services[service].get(server, (None, _GONE))
            self.looks[service, server] = there, connections

    def _outstanding(self, key: DrainKey, udp_timeout: int) -> dict[str, int]:
        there, connections = self.looks[key]
        entry, held = self.have.get(key[0]), self.register.drains.get(key)
        if there is None or entry is None or held is None:
            return {}
        if there.weight and not self.check_mode:
            raise self._failure(
                f"{drain.told(key)} was given the weight {there.weight} by something else while it was drained"
            )
        return drain.outstanding(held, entry.service, connections, self.params["wait_for"], time.time(), udp_timeout)

    def _sample(self, waited: float, totals: Connections) -> None:
        self.samples.append({"seconds": waited, **_words(totals)})
        if len(self.samples) > SAMPLES_SHOWN:
            del self.samples[1 : SAMPLES_SHOWN // 2 : 2]

    def _reason(self, waited: float) -> str:
        return f"not drained after {waited:g} seconds: {'; '.join(self._told_left())}"

    def _told_left(self) -> list[str]:
        return [f"{drain.told(key)} still has {drain.count(kinds)}" for key, kinds in self.left.items()]

    # -- reporting ---------------------------------------------------------------------------------------

    def _progress(self) -> Result:
        return {
            "real_servers": [self._row(key) for key in self.keys if key in self.looks],
            "left_alone": [drain.told(key) for key in self.left_alone],
            "samples": self.samples,
        }

    def _row(self, key: DrainKey) -> Result:
        there, held = drain.live(self.have, key), self.register.drains.get(key)
        _seen, connections = self.looks[key]
        return {
            "service": options.format_key(key[0]),
            **key[1]._asdict(),
            "weight": there.weight if there else None,
            "configured_weight": held.server.weight if held else there.weight if there else None,
            **_words(connections),
            "waits_for": {f"{kind}_connections": number for kind, number in self.left.get(key, {}).items()},
        }

    def _result(self, **more: t.Any) -> Result:
        result: Result = {"changed": bool(self.done), **report(self.done), **self._progress(), **more}
        if self.module._diff:
            steps = [step for step in self.done if isinstance(step, Step)]
            before, behind = drain.settings_text(self.done)
            result["diff"] = {
                "before": options.services_text(touched(self.began_with or {}, steps)) + before,
                "after": options.services_text(touched(self.have, steps)) + behind,
            }
        return result


def _words(connections: Connections) -> Result:
    return {f"{kind}_connections": number for kind, number in zip(drain.KINDS, connections)}
