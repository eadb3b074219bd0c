# SPDX-License-Identifier: GPL-3.0-or-later
"""The module lvs.ipvs.sync_daemon against the kernel, with ipvsadm(8) as the second opinion."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _wire as wire
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import START, STOP, DaemonStep

from .conftest import ModuleFailed

Module = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]
Words = dict[str, Any]

MASTER: Words = {"role": "master", "interface": "sync0"}
BACKUP: Words = {"role": "backup", "interface": "sync0"}
IPV6 = {"multicast_group": "ff02::81"}


@pytest.fixture(autouse=True)
def interfaces(netns: Callable[[], None], ipvsadm: Ipvsadm) -> Iterator[None]:
    """Two interfaces, of which the first takes large packets."""
    ipvsadm("-L", "--daemon")  # loads ip_vs, and with it IPv6
    for name, address in (("sync0", "198.51.100.1"), ("sync1", "198.51.101.1")):
        for command in ("link add {} type dummy", "address add {1}/24 dev {0}", "link set {} up"):
            subprocess.run(["ip", *command.format(name, address).split()], check=True)
    subprocess.run(["ip", "link", "set", "sync0", "mtu", "9000"], check=True)
    yield
    for role in there(ipvsadm):
        ipvsadm("--stop-daemon", role)


def there(ipvsadm: Ipvsadm) -> dict[str, str]:
    """What ipvsadm says of the daemon of each role."""
    return dict(re.findall(r"^(\w+) sync daemon \((.*)\)$", ipvsadm("-L", "--daemon"), re.MULTILINE))


def threads() -> dict[str, int]:
    """The kernel threads of the daemons in the machine: they tell one that was restarted from one that goes on."""
    listing = subprocess.run(["ps", "-eo", "pid,comm"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"(\d+) (ipvs-[mb]):", listing)
    return {{"m": "master", "b": "backup"}[name[-1]]: int(pid) for pid, name in found}


CASES: dict[str, tuple[Words, str]] = {
    "master": (MASTER, "mcast=sync0, syncid=0, maxlen=1472, group=224.0.0.81, port=8848, ttl=1"),
    "backup": (BACKUP, "mcast=sync0, syncid=0, maxlen=8972, group=224.0.0.81, port=8848, ttl=1"),
    "backup, small packets": (
        {**BACKUP, "interface": "sync1"},
        "mcast=sync1, syncid=0, maxlen=1472, group=224.0.0.81, port=8848, ttl=1",
    ),
    "backup, loopback": (
        {**BACKUP, "interface": "lo"},
        "mcast=lo, syncid=0, maxlen=65507, group=224.0.0.81, port=8848, ttl=1",
    ),
    "master v6": ({**MASTER, **IPV6}, "mcast=sync0, syncid=0, maxlen=1452, group=ff02::81, port=8848, ttl=1"),
    "backup v6": ({**BACKUP, **IPV6}, "mcast=sync0, syncid=0, maxlen=8952, group=ff02::81, port=8848, ttl=1"),
    "every option": (
        {
            **MASTER,
            "id": 255,
            "maximum_length": 1000,
            "multicast_group": "239.1.2.3",
            "multicast_port": 65535,
            "multicast_ttl": 255,
        },
        "mcast=sync0, syncid=255, maxlen=1000, group=239.1.2.3, port=65535, ttl=255",
    ),
    "the shortest to send": ({**MASTER, "maximum_length": 1}, "maxlen=1,"),
    "the shortest to receive": ({**BACKUP, "maximum_length": 1024}, "maxlen=1024,"),
    "the longest": ({**MASTER, "maximum_length": 65507}, "maxlen=65507,"),
    "the longest v6": ({**BACKUP, **IPV6, "maximum_length": 65487}, "maxlen=65487,"),
}


@pytest.mark.parametrize("name", CASES)
def test_ipvsadm_shows_what_was_asked_for_and_asking_again_changes_nothing(
    name: str, module: Module, ipvsadm: Ipvsadm
) -> None:
    words, expected = CASES[name]
    role = words["role"]
    checked = module("sync_daemon", check=True, diff=True, daemons=[words])
    assert there(ipvsadm) == {}
    result = module("sync_daemon", diff=True, daemons=[words])
    assert result == checked
    assert expected in there(ipvsadm)[role]
    assert result["steps"] == [f"start sync daemon {role} on {words['interface']}"]

    running = threads()
    assert not module("sync_daemon", daemons=[words])["changed"]
    told = module("table_info", gather=["sync_daemons"])["sync_daemons"]
    assert not module("sync_daemon", daemons=told, purge="all")["changed"]
    assert threads() == running


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("interface", "sync1"),
        ("id", 7),
        ("maximum_length", 2000),
        ("multicast_group", "ff02::81"),
        ("multicast_port", 8849),
        ("multicast_ttl", 2),
    ],
)
@pytest.mark.parametrize("role", ["master", "backup"])
def test_a_changed_option_restarts_that_daemon_alone(
    option: str, value: Any, role: str, module: Module, ipvsadm: Ipvsadm, messages: list[int]
) -> None:
    module("sync_daemon", daemons=[MASTER, BACKUP])
    messages.clear()
    running, before = threads(), there(ipvsadm)
    daemons = [{**words, option: value} if words["role"] == role else words for words in (MASTER, BACKUP)]
    other = "backup" if role == "master" else "master"

    result = module("sync_daemon", daemons=daemons)
    assert [step.split()[:4] for step in result["steps"]] == [
        ["stop", "sync", "daemon", role],
        ["start", "sync", "daemon", role],
    ]
    assert str(value) in there(ipvsadm)[role]
    assert there(ipvsadm)[other] == before[other]
    assert threads()[other] == running[other]
    assert threads()[role] != running[role]
    assert not module("sync_daemon", daemons=daemons)["changed"]
    assert len(messages) == 2


def test_both_then_one_then_none(module: Module, ipvsadm: Ipvsadm) -> None:
    module("sync_daemon", daemons=[MASTER, BACKUP])
    assert there(ipvsadm).keys() == {"master", "backup"}
    assert not module("sync_daemon", daemons=[BACKUP])["changed"]
    module("sync_daemon", daemons=[BACKUP], purge="all", check=True)
    assert there(ipvsadm).keys() == {"master", "backup"}
    module("sync_daemon", daemons=[BACKUP], purge="all")
    assert there(ipvsadm).keys() == {"backup"}
    assert not module("sync_daemon", daemons=[{"role": "master"}], state="absent")["changed"]
    assert module("sync_daemon", daemons=[{"role": "backup"}], state="absent")["changed"]
    assert there(ipvsadm) == {}
    assert not module("sync_daemon", daemons=[], purge="all")["changed"]


def test_what_ipvsadm_started_is_no_change(module: Module, ipvsadm: Ipvsadm) -> None:
    ipvsadm("--start-daemon", "backup", "--mcast-interface", "sync1", "--syncid", "9", "--mcast-ttl", "3")
    words = {**BACKUP, "interface": "sync1", "id": 9, "multicast_ttl": 3}
    assert not module("sync_daemon", daemons=[words])["changed"]


@pytest.mark.parametrize(
    ("daemons", "finding"),
    [
        ([{**MASTER, "interface": "none0"}], r"^daemons\[0\].interface: no interface 'none0'$"),
        ([BACKUP, {**MASTER, "id": 256}], r"^daemons\[1\].id: 256 is not an integer from 0 to 255$"),
        ([{**BACKUP, "maximum_length": 1023}], r"^daemons\[0\].maximum_length: 1023 is not an integer from 1024"),
        ([{**MASTER, **IPV6, "maximum_length": 65488}], r"^daemons\[0\].maximum_length: 65488 is not"),
        ([{**MASTER, "multicast_group": "192.0.2.1"}], r"^daemons\[0\].multicast_group: '192.0.2.1' is not an IPv4 or"),
    ],
)
def test_bad_daemons_leave_the_kernel_as_it_is(
    daemons: list[Words], finding: str, module: Module, ipvsadm: Ipvsadm
) -> None:
    with pytest.raises(ModuleFailed, match=finding):
        module("sync_daemon", daemons=daemons)
    assert there(ipvsadm) == {}


def test_a_daemon_that_the_kernel_refuses_is_told_with_what_was_done(module: Module, ipvsadm: Ipvsadm) -> None:
    """The kernel has no word for why; a real server of another family is the usual reason."""
    ipvsadm("-A", "-t", "192.0.2.10:80")
    ipvsadm("-a", "-t", "192.0.2.10:80", "-r", "[2001:db8:b::21]:80", "-i")
    with pytest.raises(ModuleFailed, match="refused to start sync daemon master on sync0: .* of another family") as no:
        module("sync_daemon", daemons=[MASTER])
    assert (no.value.result["changed"], no.value.result["steps"]) == (False, [])
    assert there(ipvsadm) == {}


# -- the lost acknowledgement --------------------------------------------------------------------

DAEMON = model.with_length(model.sync_daemon(MASTER), 9000)


def test_a_barrier_is_answered_though_the_stop_before_it_may_not_be() -> None:
    """Why _kernel.py puts a barrier behind each command: the thread is stopped before it has first run.

    On 6.1, 6.12 and 7.2 as user-mode Linux, 49 or 50 of 50 such stops got no answer. On several processors
    that is for the scheduler to decide, so it is not asserted.
    """
    with Kernel() as kernel:
        # Start, stop, barrier in one datagram: the thread has no time to run.
        first = kernel._sequence + 1
        kernel._sequence += 3
        requests = [
            wire.message(kernel._family_id, command, first + index, wire.NLM_F_ACK, body)
            for index, (command, body) in enumerate(
                wire.daemon_request(DaemonStep(action, DAEMON)) for action in (START, STOP)
            )
        ]
        kernel._socket.send(b"".join(requests) + wire.barrier(first + 2))
        answered = set()
        while first + 2 not in answered:
            answered |= {sequence for _kind, sequence, _data, _start, _end in kernel._datagram()}
        assert first in answered
        assert kernel.sync_daemons() == {}


def test_starting_and_stopping_without_a_pause_does_not_hang() -> None:
    with Kernel() as kernel:
        # One second is far more than it takes, and far less than the minute for which a lost answer would be awaited.
        kernel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, b"\1" + bytes(15))
        began = time.monotonic()
        for _turn in range(20):
            kernel.apply_daemons([DaemonStep(START, DAEMON), DaemonStep(STOP, DAEMON)])
            assert kernel.sync_daemons() == {}
        assert time.monotonic() - began < 20
