# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the modules do about that which stands beside the table: timeouts, sync daemons, counters."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel, KernelError
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue, SyncDaemons, Timeouts
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import daemons_after, plan_daemons
from ansible_collections.lvs.ipvs.plugins.module_utils._record import locked_record, read_record, write_record
from ansible_collections.lvs.ipvs.plugins.module_utils._run import Failure, Result, report

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule


def timeouts(module: AnsibleModule) -> Result:
    """The body of the module timeouts."""
    with _recording(module) as record, Kernel() as kernel:
        have = kernel.timeouts()
        want = model.timeouts(module.params, have)
        changed = want != have
        result: Result = {
            "changed": changed,
            **report([timeouts_step(have, want)] if changed else []),
            "timeouts": want._asdict(),
        }
        if module._diff:
            result["diff"] = {"before": options.timeouts_text(have), "after": options.timeouts_text(want)}
        if changed and not module.check_mode:
            kernel.set_timeouts(want)
        if record:
            # What others set is theirs, and may be what no option says.
            given = {option: module.params[option] for option in model.TIMEOUT_OPTIONS}
            recorded = read_record(record)
            ours = {**recorded, **{option: value for option, value in given.items() if value is not None}}
            if ours != recorded:
                write_record(record, ours)
        return result


def timeouts_step(have: Timeouts, want: Timeouts) -> str:
    """What sets timeouts, as a step."""
    changes = [f"{name} {new}" for name, old, new in zip(want._fields, have, want) if old != new]
    return f"set timeouts {', '.join(changes)}"


def sync_daemon(module: AnsibleModule) -> Result:
    """The body of the module sync_daemon."""
    params = module.params
    present, purge = params["state"] == "present", params["purge"] == "all"
    if purge and not present:
        raise InvalidValue("purge", "is for state present, where an empty list of daemons stops all")
    places = options.places_of_roles(params["daemons"])
    want = options.parse_sync_daemons(params["daemons"]) if present else {}
    with _recording(module) as record, Kernel() as kernel:
        want = _with_lengths(kernel, want, places)
        recorded = recorded_daemons(record) if record else {}
        have = kernel.sync_daemons()
        disposable = model.SYNC_ROLES if purge else () if present else tuple(places)
        steps = plan_daemons(have, want, disposable)
        then = daemons_after(have, steps)
        result: Result = {"changed": bool(steps), **report(steps)}
        if module._diff:
            result["diff"] = {"before": options.sync_daemons_text(have), "after": options.sync_daemons_text(then)}
        if steps and not module.check_mode:
            kernel.apply_daemons(steps)
            # The kernel may stop a daemon without saying so, or end one by itself that has just been started.
            there = kernel.sync_daemons()
            if there != then:
                raise Failure(
                    f"the sync daemons are not as they were set: {options.format_sync_daemons(there)} "
                    f"and not {options.format_sync_daemons(then)}",
                    {"changed": there != have, **report(steps)},
                )
        ours = {**{role: daemon for role, daemon in recorded.items() if role not in disposable}, **want}
        if record and ours != recorded:
            write_record(record, {"daemons": options.format_sync_daemons(ours)})
        return result


def recorded_daemons(record: str) -> SyncDaemons:
    """The daemons that a record holds."""
    return options.parse_sync_daemons(read_record(record).get("daemons", []), f"{record}: daemons")


@contextlib.contextmanager
def _recording(module: AnsibleModule) -> t.Iterator[str | None]:
    """The path of the record, locked, if this run is to keep one."""
    record = None if module.check_mode else module.params["record"]
    if not record:
        yield None
        return
    with locked_record(record):
        yield record


def _with_lengths(kernel: Kernel, daemons: SyncDaemons, places: dict[str, int]) -> SyncDaemons:
    """The daemons as the kernel will have them on this host."""
    settled = {}
    for role, daemon in daemons.items():
        mtu = kernel.interface_mtu(daemon.interface)
        if mtu is None:
            raise InvalidValue(f"daemons[{places[role]}].interface", f"no interface {daemon.interface!r}")
        settled[role] = model.with_length(daemon, mtu)
    return settled


def zero_counters(module: AnsibleModule) -> Result:
    """The body of the module zero_counters."""
    params = module.params
    one = any(params[option] is not None for option in model.KEY_OPTIONS)
    key = model.service_key(params) if one else None
    with Kernel() as kernel:
        if key and not kernel.read_service(key):
            raise KernelError(f"there is no virtual service {key}")
        if not module.check_mode:
            kernel.zero(key)
    return {"changed": True, **report([f"zero the counters of {f'service {key}' if key else 'all services'}"])}
