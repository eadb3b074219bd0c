# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the modules do: read, plan, apply unless in check mode, report. The only fail_json is here."""

from __future__ import annotations

import contextlib
import gc
import traceback
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain as drain
from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils import _proof as proof
from ansible_collections.lvs.ipvs.plugins.module_utils._drain import DrainKey
from ansible_collections.lvs.ipvs.plugins.module_utils._drain_record import DrainRecord
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel, KernelError, Stopped
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Entry, InvalidValue, ServiceKey, Table
from ansible_collections.lvs.ipvs.plugins.module_utils._pause import while_rescheduled
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import (
    REMOVE,
    Step,
    after,
    emptied,
    plan,
    present,
    touched,
    union,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._pyroute2 import MissingLibrary
from ansible_collections.lvs.ipvs.plugins.module_utils._record import (
    UnreadableRecord,
    locked_record,
    read_record,
    write_record,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._wire import MalformedMessage

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

#: A first load of a large table has tens of thousands of steps; a report needs no more than these.
STEPS_SHOWN = 1000
#: Of fewer services than these, a share says little.
PURGE_LIMITED_FROM = 4
#: Entries of an option, where Ansible tells (with -vvv) how the module was called.
SERVICES_SHOWN = 100

Result = dict[str, t.Any]

#: What may go wrong without a fault of the library's own, and says in one message what it is.
EXPECTED = (Stopped, InvalidValue, KernelError, MalformedMessage, MissingLibrary, UnreadableRecord, OSError)


class Failure(Exception):
    """What a body failed of, with what it has to report beside it."""

    def __init__(self, reason: str, result: Result) -> None:
        super().__init__(reason)
        self.result = result


@contextlib.contextmanager
def without_collection() -> t.Iterator[None]:
    """Do something without looking for garbage meanwhile.

    Of tens of thousands of rules nothing is ever garbage in a cycle, and to look for it takes a sixth of the time
    of a module that ends right afterwards.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def run(module: AnsibleModule, body: t.Callable[[AnsibleModule], Result]) -> t.NoReturn:
    """Run the body of a module, and turn what goes wrong into one clear message."""
    called = _invocation(module.params)
    try:
        result = body(module)
    except Failure as error:
        module.fail_json(msg=str(error), **error.result, **called, exception=traceback.format_exc())
    except Stopped as error:
        done = error.done
        module.fail_json(msg=str(error), changed=bool(done), **report(done), **called, exception=traceback.format_exc())
    except EXPECTED as error:
        module.fail_json(msg=str(error), **called, exception=traceback.format_exc())
    module.exit_json(**result, **called)


def _invocation(params: Result) -> Result:
    """The options that Ansible returns with a result, without the tail of a long list.

    To go through tens of thousands of rules, and to send them back, would take it longer than they take to apply.
    """
    shown = {option: value[:SERVICES_SHOWN] if isinstance(value, list) else value for option, value in params.items()}
    return {"invocation": {"module_args": shown}}


def report(steps: t.Sequence[object]) -> Result:
    """What a module returns of its steps."""
    return {"steps": [str(step) for step in steps[:STEPS_SHOWN]], "step_count": len(steps)}


@contextlib.contextmanager
def _opened(module: AnsibleModule) -> t.Iterator[Kernel]:
    """The kernel, for this run alone if it may change something."""
    with Kernel() as kernel:
        lock = contextlib.nullcontext() if module.check_mode else kernel.alone()
        with lock:
            yield kernel


class _Change(t.NamedTuple):
    """A plan that is ready to be carried out, and the table that it makes."""

    steps: list[Step]
    after: Table
    result: Result


def _change(
    module: AnsibleModule,
    kernel: Kernel,
    have: Table,
    want: Table,
    disposable: Table,
    path_of: t.Callable[[ServiceKey], str],
) -> _Change:
    """From the table that is there to the one that is wanted: the one path of check mode, diff and real run."""
    steps = plan(have, want, disposable)
    _check_schedulers(kernel, have, steps, path_of)
    result: Result = {"changed": bool(steps), **report(steps)}
    then = after(have, steps)
    if module._diff:
        result["diff"] = {
            "before": options.services_text(touched(have, steps)),
            "after": options.services_text(touched(then, steps)),
        }
    return _Change(steps, then, result)


def _check_schedulers(kernel: Kernel, have: Table, steps: list[Step], path_of: t.Callable[[ServiceKey], str]) -> None:
    """Refuse a scheduler that the kernel lacks before anything is changed."""
    known = {(entry.service.scheduler, entry.service.persistence_engine) for entry in have.values()}
    for step in steps:
        service = step.service
        parts = (service.scheduler, service.persistence_engine)
        if step.real_server is not None or step.action == REMOVE or parts in known:
            continue
        known.add(parts)
        if kernel.has_scheduler(*parts):
            continue
        option, what = "scheduler", service.scheduler
        if kernel.has_scheduler(service.scheduler):
            option, what = "persistence_engine", service.persistence_engine
        raise InvalidValue(option, f"this kernel has no {option.replace('_', ' ')} {what!r}").under(
            path_of(service.key)
        )


def table(module: AnsibleModule) -> Result:
    """The body of the module table."""
    params = module.params
    want = options.parse_services(params["services"])
    released = options.parse_services(params["released"] or [], "released")
    paths = {
        key: f"{option}[{index}]"
        for option, listed in (("released", released), ("services", want))
        for index, key in enumerate(listed)
    }
    for index, key in enumerate(released):
        if key in want:
            raise InvalidValue(f"released[{index}]", f"{key} is {paths[key]}, too")
    record, drains = params["record"], DrainRecord(params["drains"]) if params["drains"] else None
    if params["purge"] == "owned" and not record:
        # To required_if, null and an empty path are values.
        raise InvalidValue("record", "is required with purge owned: it says what is ours")
    if not 0 <= params["purge_limit"] <= 100:
        raise InvalidValue("purge_limit", f"{params['purge_limit']} is not from 0 to 100")
    wishes = proof.parse_wishes(params["probe"])
    writing = bool(record) and not module.check_mode
    with contextlib.ExitStack() as stack:
        if writing:
            stack.enter_context(locked_record(record))
        if drains and not module.check_mode:
            stack.enter_context(drains.locked())
        owned = _owned(record) if record else {}
        register = drains.read() if drains else drain.Register({})
        # Whoever has it from now on finds it as declared.
        leaving = {key: entry for key, entry in released.items() if key in owned}
        want.update(leaving)
        kernel = stack.enter_context(_opened(module))
        have = kernel.read(want)
        drained = drain.joined(register.drains, want, have)
        held = drain.held(want, drained)
        theirs = released.keys() - leaving.keys()
        disposable: Table = {"none": {}, "owned": owned, "all": _without(have, theirs)}[params["purge"]]
        proven: Result = {}
        if wishes:
            # Who has a service from now on is also who checks its real servers.
            failures, proven = _prove(wishes, have, _without(held, leaving))
            # So it is recorded, too: a boot brings back what was applied.
            want, held = (proof.without_weight(table, failures) for table in (want, held))
            if failures:
                then = after(have, plan(have, held, disposable))
                kept = proof.irreplaceable(have, then, failures, drained)
                want, held = (union(table, kept) for table in (want, held))
                proven["kept"] = [drain.told((key, server)) for key in kept for server in kept[key].real_servers]
                if kept:
                    told = "; ".join(proven["kept"][:SERVICES_SHOWN])
                    module.warn(f"kept in use, for those that are to serve in place of them do not answer: {told}")
        change = _change(module, kernel, have, held, disposable, paths.__getitem__)
        change.result.update(proven)
        _refuse_a_large_purge(have, drain.with_removed(change.after, drained), disposable, params["purge_limit"])
        if writing:
            # Should this run die half way, the next one knows all that may be ours.
            claim = union(owned, want)
            if change.steps and claim != owned:
                _own(record, claim)
                owned = claim
        then = change.after
        if drains:
            known = drain.learned(drained, want, then, params["purge"] != "none", released)
            move = drain.Move(drained, known, change.steps)
            _apply_around_drains(module, kernel, drains, register, have, move, change.result)
            change.result["held"] = [drain.told(key) for key in known if drain.live(want, key)]
            # Who is removed for as long as it is drained is still ours.
            then = drain.with_removed(then, known)
        else:
            _apply(module, kernel, have, change)
        if writing:
            ours = present(_without(claim, leaving), then)
            if ours != owned:
                _own(record, ours)
    return change.result


def _without(table: Table, keys: t.Collection[ServiceKey]) -> Table:
    return {key: entry for key, entry in table.items() if key not in keys} if keys else table


def _prove(wishes: proof.Wishes, have: Table, want: Table) -> tuple[list[DrainKey], Result]:
    """Have real servers that are to get weight prove that they answer: those that do not, and what to report."""
    demand = proof.demand(have, want, wishes.marked)
    outcome: dict[proof.Proof, str | None] = {}
    if demand.proofs:
        # Not at the top: few calls need it, and each pays for what it loads.
        from ansible_collections.lvs.ipvs.plugins.module_utils import _probe as probe

        outcome = probe.ask(demand.proofs.values(), wishes.timeout)
    failures = {key: reason for key, asked in demand.proofs.items() if (reason := outcome.get(asked))}
    beyond = [*demand.beyond, *(key for key, asked in demand.proofs.items() if outcome.get(asked, "") is None)]
    result = {
        "unanswered": proof.format_failures(failures),
        "unprobed": [drain.told(key) for key in beyond],
        "kept": [],
    }
    if failures and wishes.on_failure == "fail":
        told = "; ".join(f"{drain.told(key)}: {reason}" for key, reason in list(failures.items())[:SERVICES_SHOWN])
        raise Failure(
            f"probe: {len(failures)} real servers do not answer, and nothing is changed: {told}",
            {"changed": False, **report([]), **result},
        )
    return list(failures), result


def _refuse_a_large_purge(have: Table, then: Table, disposable: Table, limit: int) -> None:
    """Refuse to remove more than a given share of the services: a list that is so much shorter may be a mistake."""
    lost, total = emptied(have, then, disposable)
    if total >= PURGE_LIMITED_FROM and len(lost) * 100 > limit * total:
        raise InvalidValue(
            "purge_limit",
            f"{len(lost)} of {total} services would go or lose their last real server, more than {limit} percent:"
            f" {', '.join(sorted(map(str, lost))[:SERVICES_SHOWN])}; nothing is changed; if they are to go, raise the limit",
        )


def _apply_around_drains(
    module: AnsibleModule,
    kernel: Kernel,
    record: DrainRecord,
    register: drain.Register,
    have: Table,
    move: drain.Move,
    result: Result,
) -> None:
    """Apply a change with what goes with it for those that are drained, and add that to what is reported."""
    change = record.prepare(register, move, have)
    result.update(changed=bool(change.done), **report(change.done))
    if module._diff:
        before, behind = drain.settings_text(change.done)
        result["diff"]["before"] += before
        result["diff"]["after"] += behind
    if not module.check_mode:
        record.carry_out(register, change, lambda: kernel.apply(change.steps, while_rescheduled(have)))


def _owned(record: str) -> Table:
    return options.parse_services(read_record(record).get("services", []), f"{record}: services")


def _own(record: str, ours: Table) -> None:
    write_record(record, {"services": options.format_services(ours)})


def _of_module(_key: ServiceKey) -> str:
    """The path of a service whose options are the module's own."""
    return ""


def virtual_service(module: AnsibleModule) -> Result:
    """The body of the module virtual_service."""
    params = module.params
    key = model.service_key(params)
    with _opened(module) as kernel:
        have = kernel.read_service(key)
        want: Table = {}
        if params["state"] == "present":
            want = {key: options.parse_service(params, have.get(key))}
        # Without a list, the real servers stay as they are.
        purge = params["purge"] == "all" and params["real_servers"] is not None
        disposable = have if params["state"] == "absent" or purge else {}
        return _apply(module, kernel, have, _change(module, kernel, have, want, disposable, _of_module))


def real_server(module: AnsibleModule) -> Result:
    """The body of the module real_server."""
    params = module.params
    words = {option: params[option] for option in model.REAL_SERVER_OPTIONS}
    try:
        key = model.service_key(params["service"])
    except InvalidValue as error:
        raise error.under("service") from None
    server_key = model.real_server_key(words, key)
    with _opened(module) as kernel:
        have = kernel.read_service(key)
        entry = have.get(key)
        want: Table = {}
        disposable: Table = {}
        if params["state"] == "absent":
            if entry:
                others = {other: there for other, there in entry.real_servers.items() if other != server_key}
                want, disposable = {key: Entry(entry.service, others)}, have
        elif entry is None:
            raise InvalidValue("service", f"there is no virtual service {key} for the real server to be of")
        else:
            server = model.real_server(words, key, entry.real_servers.get(server_key))
            want = {key: Entry(entry.service, {server_key: server})}
        return _apply(module, kernel, have, _change(module, kernel, have, want, disposable, _of_module))


def _apply(module: AnsibleModule, kernel: Kernel, have: Table, change: _Change) -> Result:
    if not module.check_mode:
        kernel.apply(change.steps, while_rescheduled(have))
    return change.result
