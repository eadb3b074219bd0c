# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Addresses and links of the kernel, read and changed through pyroute2's rtnetlink. Needs nothing of Ansible."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _address as address
from ansible_collections.lvs.ipvs.plugins.module_utils._address import Address, Host, Link, Step
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import KernelError, Stopped
from ansible_collections.lvs.ipvs.plugins.module_utils._pyroute2 import NetlinkError, iproute

#: From linux/if.h, if_addr.h, rtnetlink.h.
IFF_UP, IFF_NOARP = 0x1, 0x80
IFA_F_NODAD = 0x02
RTN_LOCAL = 2
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_HOST = 254
#: A lifetime in seconds that never ends.
FOREVER = 2**32 - 1

_SYSCTL = "/proc/sys/net/{}/conf/{}/{}"


class AddressStepFailed(Stopped):
    """A plan for addresses that stopped half way."""

    def __init__(self, done: t.Sequence[Step], failed: Step, reason: str, left: int) -> None:
        super().__init__(done, failed, reason, left)
        self.failed = failed
        self.reason = reason
        self.left = left

    def __str__(self) -> str:
        return (
            f"the kernel refused to {self.failed}: {self.reason}; "
            f"{len(self.done)} steps were done before, {self.left} were not: running again takes up from there"
        )


def _reason(step: Step, error: Exception) -> str:
    """What an error means for this step."""
    code = getattr(error, "code", None)
    if code is None:
        return str(error)
    if code == errno.EPERM:
        return "CAP_NET_ADMIN is needed (become root)"
    if code == errno.EEXIST:
        return "it exists already; something else changes this host's addresses at the same time"
    if code == errno.ENODEV:
        return f"there is no interface {step.interface} any more"
    if code == errno.EACCES:
        return f"IPv6 is disabled on {step.interface}"
    if code == errno.EINVAL and step.action == address.ADD:
        return f"invalid argument (perhaps {step.interface} has an address of another scope in its subnet)"
    if code == errno.EOPNOTSUPP and step.action == address.CREATE:
        return "this kernel has no dummy interfaces: the module dummy is neither loaded nor can it be loaded"
    return os.strerror(code)


class Unreachable(KernelError):
    """The kernel knows no way to an address."""


class Route(t.NamedTuple):
    """How this host reaches an address."""

    interface: str
    #: The address that the host's own packets on this way bear; empty if it has none that fits.
    source: str
    #: The router that is asked; empty if the address is on a link of the host.
    gateway: str = ""
    #: Whether the address is this host's own.
    local: bool = False


class RouteNetlink:
    """Links and addresses of the network namespace in which it is opened."""

    def __init__(self) -> None:
        self._route = iproute()()

    def __enter__(self) -> RouteNetlink:
        return self

    def __exit__(self, *exc: object) -> None:
        self._route.close()

    def read(self) -> Host:
        """Every link and address there is."""
        names: dict[int, str] = {}
        links: dict[str, Link] = {}
        for message in self._route.get_links():
            name = message.get_attr("IFLA_IFNAME")
            info = message.get_attr("IFLA_LINKINFO")
            kind = info.get_attr("IFLA_INFO_KIND") if info else ""
            up, no_arp = (bool(message["flags"] & flag) for flag in (IFF_UP, IFF_NOARP))
            names[message["index"]] = name
            links[name] = Link(name, kind or "", up, _has_ipv6(name), not no_arp)
        addresses = []
        for message in self._route.get_addr():
            # A link may have come between the two questions; then it is none of ours.
            if message["index"] in names:
                addresses.append(_address(names[message["index"]], message))
        return Host(links, tuple(addresses), _has_ipv6("default"))

    def route(self, destination: str) -> Route:
        """The way to an address. Raises Unreachable."""
        family = socket.AF_INET6 if ":" in destination else socket.AF_INET
        try:
            (message, *_more) = self._route.route("get", dst=destination, family=family)
        except NetlinkError as error:
            raise Unreachable(f"no route: {os.strerror(error.code).lower()}") from None
        index = message.get_attr("RTA_OIF")
        return Route(
            socket.if_indextoname(index) if index else "",
            message.get_attr("RTA_PREFSRC") or "",
            message.get_attr("RTA_GATEWAY") or "",
            message["type"] == RTN_LOCAL,
        )

    def apply(self, steps: t.Sequence[Step]) -> None:
        """Carry out a plan in order. Raises AddressStepFailed at the first step that fails."""
        for index, step in enumerate(steps):
            try:
                self._do(step)
            except (NetlinkError, OSError) as error:
                left = len(steps) - index
                raise AddressStepFailed(steps[:index], step, _reason(step, error), left) from error

    def _do(self, step: Step) -> None:
        if step.action == address.CREATE:
            self._route.link("add", ifname=step.interface, kind="dummy")
            return
        try:
            index = socket.if_nametoindex(step.interface)
        except OSError:
            if step.action in (address.REMOVE, address.DELETE):
                # It took its addresses with it.
                return
            raise NetlinkError(errno.ENODEV) from None
        if step.action == address.SET_UP:
            self._route.link("set", index=index, state="up")
        elif step.action == address.DELETE:
            self._route.link("del", index=index)
        elif step.action == address.REMOVE:
            self._remove(index, t.cast(Address, step.address))
        else:
            self._put(index, t.cast(Address, step.address), "add" if step.action == address.ADD else "replace")

    def _put(self, index: int, want: Address, command: str) -> None:
        if want.family == "ipv4":
            scope = RT_SCOPE_UNIVERSE if want.source else RT_SCOPE_HOST
            self._route.addr(command, index=index, address=want.address, prefixlen=want.prefix, scope=scope)
            return
        # A virtual address answers at once: waiting for duplicate address detection would cost its clients
        # a second at every failover, and under direct routing several hosts have it by design.
        # The kernel calls an address deprecated, and prefers any other, once its preferred lifetime is over.
        preferred = FOREVER if want.source else 0
        self._route.addr(
            command,
            index=index,
            address=want.address,
            prefixlen=want.prefix,
            flags=IFA_F_NODAD,
            preferred_lft=preferred,
            valid_lft=FOREVER,
            # Up to pyroute2 0.8, preferred_lft=0 is lost unless it is said again here, after the two above.
            cacheinfo={"preferred": preferred, "valid": FOREVER},
        )

    def _remove(self, index: int, there: Address) -> None:
        with _secondaries_kept(there):
            try:
                self._route.addr("del", index=index, address=there.address, prefixlen=there.prefix)
            except NetlinkError as error:
                # What is to be removed and is gone already counts as done.
                if error.code != errno.EADDRNOTAVAIL:
                    raise


def _address(interface: str, message: t.Any) -> Address:
    """An address from the kernel's message."""
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    lifetime = message.get_attr("IFA_CACHEINFO") or {"ifa_preferred": FOREVER, "ifa_valid": FOREVER}
    if ":" in text:
        source = lifetime["ifa_preferred"] != 0
    else:
        source = message["scope"] != RT_SCOPE_HOST
    return Address(interface, text, message["prefixlen"], source, lifetime["ifa_valid"] == FOREVER)


def _has_ipv6(name: str) -> bool:
    try:
        with open(_SYSCTL.format("ipv6", name, "disable_ipv6"), encoding="ascii") as file:
            return file.read().strip() == "0"
    except OSError:
        # Without IPv6 in the kernel; an interface with an MTU below 1280 has none either.
        return False


@contextlib.contextmanager
def _secondaries_kept(going: Address) -> t.Iterator[None]:
    """Keep the other addresses of a subnet while one of them goes.

    The kernel's first IPv4 address of a subnet takes the later ones with it, unless it is told to promote
    one of them. Most distributions tell it so; the kernel's own default is not to.
    """
    path = _SYSCTL.format("ipv4", going.interface, "promote_secondaries")
    told = True
    if going.family == "ipv4" and going.prefix < 32:
        with open(path, encoding="ascii") as file:
            told = file.read().strip() != "0"
    if told:
        yield
        return
    _write(path, "1")
    try:
        yield
    finally:
        _write(path, "0")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
