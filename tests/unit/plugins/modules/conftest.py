# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules' main() against a kernel that holds a table and remembers what it was told."""

from __future__ import annotations

import errno
import importlib
import json
import typing as t
from collections.abc import Callable

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.lvs.ipvs.plugins.module_utils import _info, _kernel, _run
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel, StepFailed
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Entry, ServiceKey, Table
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import ADD, REMOVE, Step

Words = dict[str, t.Any]


class FakeKernel(Kernel):
    """A kernel whose answers are those of ip_vs_ctl.c, as far as modules can tell."""

    def __init__(self) -> None:
        self.table: Table = {}
        self.schedulers = {"rr", "wrr", "lc", "wlc", "sh", "mh"}
        self.persistence_engines = {"", "sip"}
        #: Every step that was carried out, in order.
        self.done: list[str] = []
        #: How often there was something to carry out, and what is called at each time before it is.
        self.applied = 0
        self.before_apply: Callable[[], object] = lambda: None
        #: The step at which it refuses, by its text, and the error number.
        self.refuses: dict[str, int] = {}
        self.opened = self.closed = 0

    def has(self, *services: Words) -> None:
        """Others made this table."""
        self.table = options.parse_services(list(services))

    @property
    def words(self) -> list[Words]:
        return options.format_services(self.table)

    def open(self) -> FakeKernel:
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def read(self, expected: Table | None = None) -> Table:
        return {key: Entry(entry.service, dict(entry.real_servers)) for key, entry in self.table.items()}

    def read_service(self, key: ServiceKey) -> Table:
        return {there: entry for there, entry in self.read().items() if there == key}

    def info(self) -> tuple[str, int]:
        return "1.2.1", 4096

    def has_scheduler(self, scheduler: str, persistence_engine: str = "") -> bool:
        return scheduler in self.schedulers and persistence_engine in self.persistence_engines

    def apply(self, steps: list[Step], around: object = None) -> None:
        if steps:
            self.applied += 1
            self.before_apply()
        for index, step in enumerate(steps):
            code = self.refuses.get(str(step)) or self._carry_out(step)
            if code:
                raise StepFailed(steps[:index], step, code, len(steps) - index)
            self.done.append(str(step))

    def _carry_out(self, step: Step) -> int:
        """Carry out one message; an error number."""
        action, service, server = step
        there = self.table.get(service.key)
        if server is None:
            if (there is None) != (action == ADD):
                return errno.EEXIST if there else errno.ESRCH
            if not self.has_scheduler(service.scheduler, service.persistence_engine):
                return errno.ENOENT
            if action == REMOVE:
                del self.table[service.key]
            else:
                self.table[service.key] = Entry(service, there.real_servers if there else {})
            return 0
        if there is None:
            return errno.ESRCH
        if (server.key in there.real_servers) == (action == ADD):
            return errno.EEXIST if action == ADD else errno.ENOENT
        if action == REMOVE:
            del there.real_servers[server.key]
        else:
            there.real_servers[server.key] = server
        return 0


@pytest.fixture(autouse=True)
def locks(monkeypatch, tmp_path_factory) -> None:
    """Where locks are, only root may have any."""
    monkeypatch.setattr(_kernel, "LOCKS", str(tmp_path_factory.mktemp("locks")))


@pytest.fixture
def kernel(monkeypatch) -> FakeKernel:
    fake = FakeKernel()
    for floor in (_run, _info):
        monkeypatch.setattr(floor, "Kernel", fake.open)
    return fake


class Run(t.Protocol):
    def __call__(self, module: str, check: bool = False, diff: bool = False, **given: t.Any) -> Words: ...


@pytest.fixture
def run(kernel, capsys) -> Run:
    """Run a module's main() with these options; what it returns. A failure is told by `failed`."""

    def call(module: str, check: bool = False, diff: bool = False, **given: t.Any) -> Words:
        main = importlib.import_module(f"ansible_collections.lvs.ipvs.plugins.modules.{module}").main
        arguments = {**given, "_ansible_check_mode": check, "_ansible_diff": diff}
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            main()
        result = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == result.get("failed", False)
        # What is opened is closed, come what may.
        assert kernel.opened == kernel.closed
        return result

    return call


class Settles(t.Protocol):
    def __call__(self, module: str, steps: list[str], **given: t.Any) -> Words: ...


@pytest.fixture
def settles(run, kernel) -> Settles:
    """Run a module in check mode, then in earnest, then again: the same report, then the change, then none."""

    def call(module: str, steps: list[str], **given: t.Any) -> Words:
        before = kernel.words
        expected = {"changed": bool(steps), "steps": steps, "step_count": len(steps)}

        checked = run(module, check=True, diff=True, **given)
        assert {option: checked[option] for option in expected} == expected
        assert kernel.words == before
        assert kernel.done == []

        plain = run(module, check=True, **given)
        assert "diff" not in plain

        result = run(module, diff=True, **given)
        assert result == checked
        assert kernel.done == steps
        assert (kernel.words != before) == bool(steps)
        assert (result["diff"]["before"] != result["diff"]["after"]) == bool(steps)

        again = run(module, diff=True, **given)
        assert (again["changed"], again["steps"], again["step_count"]) == (False, [], 0)
        assert again["diff"] == {"before": "", "after": ""}
        assert kernel.done == steps
        assert kernel.applied == bool(steps)
        return result

    return call
