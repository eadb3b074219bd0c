# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record, the plan and the kernel joined: what the module virtual_address does. restore() needs nothing of Ansible."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _address as address
from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _neighbour as neighbour
from ansible_collections.lvs.ipvs.plugins.module_utils._address import Address, Host, Owned, Plan, Step
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Stopped
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue
from ansible_collections.lvs.ipvs.plugins.module_utils._record import locked_record, read_record, write_record
from ansible_collections.lvs.ipvs.plugins.module_utils._rtnetlink import RouteNetlink
from ansible_collections.lvs.ipvs.plugins.module_utils._run import Result, report

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

Decide = t.Callable[[Host, Owned], Plan]


def reconcile(decide: Decide, record: str | None = None, check_mode: bool = False) -> Plan:
    """Read, decide, and carry out unless in check mode; the record, if there is one, is kept in step."""
    with contextlib.ExitStack() as stack:
        if record and not check_mode:
            stack.enter_context(locked_record(record))
        owned = address.parse_owned(read_record(record)) if record else Owned()
        kernel = stack.enter_context(RouteNetlink())
        host = kernel.read()
        plan = decide(host, owned)
        if check_mode:
            return plan
        recorded = owned
        if record and plan.steps and plan.intent != recorded:
            # Should this run die half way, the next one knows all that may be ours.
            write_record(record, address.format_owned(plan.intent))
            recorded = plan.intent
        try:
            kernel.apply(plan.steps)
        except Stopped as stopped:
            # Why it stopped is what to mend first.
            with contextlib.suppress(Unannounced):
                _announce(host, stopped.done)
            raise
        if record and plan.outcome != recorded:
            write_record(record, address.format_owned(plan.outcome))
        _announce(host, plan.steps)
    return plan


class Unannounced(Stopped):
    """Addresses that are there, while neighbours may go on sending to another host."""

    def __init__(self, done: t.Sequence[object], interface: str, reason: OSError) -> None:
        super().__init__(done, interface, reason)
        self.interface = interface
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the new addresses are on {self.interface}, but its neighbours could not be told ({self.reason.strerror}): "
            f"until they ask anew they send to who had them before; {len(self.done)} steps were done"
        )


class AddressesTaken(Stopped):
    """Addresses that others have: the rest was put back."""

    def __init__(self, done: t.Sequence[object], taken: t.Mapping[str, str]) -> None:
        super().__init__(done, taken)
        self.taken = taken

    def __str__(self) -> str:
        return f"{'; '.join(self.taken.values())}: this host stays without; {len(self.done)} steps were done"


def restore(record: str) -> Plan:
    """Put back what a record holds, as after a reboot, but for addresses that others on their link have. Removes nothing.

    Raises AddressesTaken at the end. They stay in the record.
    """
    taken: dict[str, str] = {}

    def decide(host: Host, owned: Owned) -> Plan:
        plan = address.plan_present(host, owned, owned.addresses, owned.dummies)
        taken.update(_taken(host, plan))
        if not taken:
            return plan
        free = [there for there in owned.addresses if there.address not in taken]
        return address.plan_present(host, owned, free, owned.dummies)

    try:
        plan = reconcile(decide, record)
    except Unannounced as unannounced:
        if taken:
            raise AddressesTaken(unannounced.done, taken) from unannounced
        raise
    if taken:
        raise AddressesTaken(plan.steps, taken)
    return plan


def virtual_address(module: AnsibleModule) -> Result:
    """The body of the module virtual_address."""
    params = module.params
    interface = model.interface_name("interface", params["interface"])
    named = address.parse_addresses(params["addresses"], interface, params["source"])
    purge = params["purge"] == "owned"

    def decide(host: Host, owned: Owned) -> Plan:
        if params["state"] == "absent":
            return address.plan_absent(host, owned, named)
        plan = address.plan_present(host, owned, named, [interface] if params["dummy"] else [], purge)
        if params["probe"]:
            _refuse_taken(host, named, plan)
        return plan

    if purge and params["state"] == "absent":
        raise InvalidValue("purge", "is for state present, where an empty list of addresses removes all that is owned")
    if purge and not params["record"]:
        # To required_if, null and an empty path are values.
        raise InvalidValue("record", "is required with purge owned: it says what is ours")
    plan = reconcile(decide, params["record"], module.check_mode)
    result: Result = {"changed": bool(plan.steps), **report(plan.steps)}
    if module._diff:
        result["diff"] = {"before": plan.before, "after": plan.after}
    return result


def _refuse_taken(host: Host, named: t.Sequence[Address], plan: Plan) -> None:
    """Refuse an address that another host on the link answers for."""
    taken = _taken(host, plan)
    for index, wanted in enumerate(named):
        if wanted.address in taken:
            raise InvalidValue(f"addresses[{index}]", taken[wanted.address])


def _taken(host: Host, plan: Plan) -> dict[str, str]:
    """The new addresses that another host on the link answers for, and who. What this host has already is not asked for."""
    here = {there.address for there in host.addresses}
    return {
        wanted: f"{wanted} is in use: {mac or 'another host'} answers for it on the link of {interface}"
        for interface, added in _added(host, plan.steps).items()
        if (asked := [new.address for new in added if new.address not in here])
        for wanted, mac in neighbour.holders(interface, asked).items()
    }


def _announce(host: Host, done: t.Sequence[t.Any]) -> None:
    """Tell the neighbours whose the new addresses are: their routers may hold on to another host's MAC address for hours.

    What is no source of connections is left out. Such an address is one of several hosts' by design, as behind direct
    forwarding, and the clients' way to it is not for this host to change.
    """
    for interface, added in _added(host, done).items():
        told = [new.address for new in added if new.source]
        try:
            neighbour.announce(interface, told)
        except OSError as error:
            raise Unannounced(done, interface, error) from error


def _added(host: Host, steps: t.Iterable[Step]) -> dict[str, list[Address]]:
    """The addresses that steps add on links that are up and have neighbours, by interface."""
    added: dict[str, list[Address]] = {}
    for step in steps:
        link = host.links.get(step.interface)
        if step.action == address.ADD and step.address and link and link.up and link.arp:
            added.setdefault(step.interface, []).append(step.address)
    return added
