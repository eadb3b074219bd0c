# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversation with the kernel: real bytes through a real socket, at whose other end a script answers."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import socket
import struct
import threading
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _kernel, _pyroute2
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils import _wire as wire
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel, KernelError, StepFailed, Unanswered
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    Counters,
    RealServer,
    ServiceCounters,
    ServiceKey,
    Statistics,
    SyncDaemon,
    Table,
    Timeouts,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import (
    ADD,
    EDIT,
    REMOVE,
    START,
    STOP,
    DaemonStep,
    Step,
    plan,
)

FAMILY_ID = 0x1C
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NOOP, ERROR, DONE = 1, 2, 3


class Request(t.NamedTuple):
    """A message as the kernel sees it."""

    command: int
    flags: int
    sequence: int
    body: bytes
    whole: bytes


Script = Callable[[list[Request]], Iterator[bytes] | list[bytes]]


def requests_of(datagram: bytes) -> list[Request]:
    found = []
    while datagram:
        size, family, flags, sequence, _pid = struct.unpack_from("=IHHII", datagram)
        if family == NOOP:
            # A barrier; it is for netlink itself, and answered by those who expect it.
            assert (size, flags) == (16, REQUEST | ACK)
            datagram = datagram[16:]
            continue
        command, version, _reserved = struct.unpack_from("=BBH", datagram, 16)
        assert (family, version, flags & REQUEST) == (FAMILY_ID, 1, REQUEST)
        found.append(Request(command, flags & ~REQUEST, sequence, datagram[20:size], datagram[:size]))
        datagram = datagram[(size + 3) & ~3 :]
    return found


def message(kind: int, sequence: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, 2, sequence, 4711) + payload + bytes(-len(payload) % 4)


def error(request: Request, code: int) -> bytes:
    """NLMSG_ERROR: the code, 0 to acknowledge, and the request it is about."""
    return message(ERROR, request.sequence, struct.pack("=i", -code) + request.whole)


def ack(request: Request) -> bytes:
    return error(request, 0)


def done(request: Request, code: int = 0) -> bytes:
    return message(DONE, request.sequence, struct.pack("=i", -code))


def answer(request: Request, command: int, body: bytes) -> bytes:
    return message(FAMILY_ID, request.sequence, struct.pack("=BBH", command, 1, 0) + body)


class Peer:
    """The other end: each datagram that comes is answered by the next of the scripts, with the datagrams it makes."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._scripts: list[Script] = []
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        #: What came, datagram by datagram.
        self.heard: list[list[Request]] = []

    def says(self, *scripts: Script) -> None:
        self._scripts.extend(scripts)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """What went wrong at this end is the test's fault, and so is a script that was not asked for."""
        self._thread.join(10)
        if self._fault:
            raise self._fault
        assert not self._scripts, f"{len(self._scripts)} scripts were not used"

    def _run(self) -> None:
        try:
            while datagram := self._end.recv(1 << 20):
                self.heard.append(requests_of(datagram))
                assert self._scripts, f"nothing was expected after {len(self.heard) - 1} datagrams"
                for response in self._scripts.pop(0)(self.heard[-1]):
                    self._end.send(response)
        except BaseException as fault:
            self._fault = fault


class Generic:
    """In place of pyroute2's socket: the near end."""

    prid = FAMILY_ID
    bound: tuple[object, ...] = ()
    closed = False

    def __init__(self, end: socket.socket, far: socket.socket) -> None:
        self.end = end
        self.far = far
        self.fails: Exception | None = None

    def bind(self, *family: object) -> None:
        self.bound = family
        if self.fails:
            raise self.fails

    def fileno(self) -> int:
        return self.end.fileno()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def generic(monkeypatch) -> Iterator[Generic]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        # As some releases of pyroute2 leave it.
        near.setblocking(False)
        one = Generic(near, far)
        monkeypatch.setattr(_kernel, "GenericNetlinkSocket", lambda: one)
        yield one


@pytest.fixture
def peer(generic) -> Iterator[Peer]:
    one = Peer(generic.far)
    one.start()
    yield one
    generic.end.send(b"")
    one.finish()


@pytest.fixture
def kernel(generic, peer) -> Iterator[Kernel]:
    with Kernel() as opened:
        # A script that fails leaves no answer.
        wait(generic, 5)
        yield opened


def wait(generic: Generic, seconds: float) -> None:
    """The patience of the near end. The options of a socket are those of all its descriptors."""
    whole = int(seconds)
    generic.end.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    )


def table(*ports: int, servers: int = 0) -> Table:
    return options.parse_services(
        [
            {
                "protocol": "tcp",
                "address": "192.0.2.10",
                "port": port,
                "real_servers": [{"address": f"198.51.100.{number}"} for number in range(1, servers + 1)],
            }
            for port in ports
        ]
    )


# -- opening and closing -------------------------------------------------------------------------


def test_the_family_is_looked_up_by_its_name_and_the_socket_waits_in_vain_no_longer_than_a_minute(generic):
    with Kernel():
        assert generic.bound == ("IPVS", _pyroute2.genlmsg)
        assert generic.end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == struct.pack("@ll", 60, 0)
        # Blocking: a descriptor shares this with its copies.
        assert os.get_blocking(generic.end.fileno())
        assert not generic.closed
    assert generic.closed


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (_pyroute2.NetlinkError(errno.ENOENT), "^this kernel has no IPVS: the module ip_vs is neither loaded nor can"),
        (_pyroute2.NetlinkError(errno.EPERM), "^cannot reach IPVS: Operation not permitted$"),
    ],
)
def test_a_kernel_without_ipvs(generic, fails, message):
    generic.fails = fails
    with pytest.raises(KernelError, match=message):
        Kernel()
    assert generic.closed


def test_a_socket_that_fails_to_open_is_closed(generic):
    generic.fails = PermissionError(errno.EACCES, "no netlink in this container")
    with pytest.raises(PermissionError):
        Kernel()
    assert generic.closed


def test_without_the_library_nothing_is_opened(generic, monkeypatch):
    monkeypatch.setattr(_pyroute2, "IMPORT_ERROR", "ImportError: no pyroute2")
    with pytest.raises(_pyroute2.MissingLibrary, match=r"^the Python library pyroute2 \(>= 0\.7\.2\) is missing"):
        Kernel()
    assert generic.bound == ()


# -- reading -------------------------------------------------------------------------------------


def service_answers(request: Request, of: Table) -> list[bytes]:
    return [answer(request, wire.NEW_SERVICE, wire.service(entry.service)) for entry in of.values()]


def server_answers(request: Request, servers: t.Iterable[RealServer], counted: bool = True) -> list[bytes]:
    """As kernels have it, the numbers of connections stand between what configures a real server and its family."""
    counts = b"".join(struct.pack("=HHI", 8, kind, 5) for kind in (7, 8, 9)) if counted else b""
    nests = (wire.real_server(server)[4:] for server in servers)
    nests = (written[:-8] + counts + written[-8:] for written in nests)
    return [answer(request, wire.NEW_DEST, struct.pack("=HH", 4 + len(nest), 2) + nest) for nest in nests]


def dump_of(of: Table, split: int = 1, counted: bool = True) -> list[Script]:
    """The scripts of a kernel that has this table, ``split`` messages in a datagram."""

    def chunks(messages: list[bytes]) -> list[bytes]:
        return [b"".join(messages[first : first + split]) for first in range(0, len(messages), split)]

    def services(requests: list[Request]) -> list[bytes]:
        (request,) = requests
        assert (request.command, request.flags, request.body) == (wire.GET_SERVICE, DUMP, b"")
        return chunks([*service_answers(request, of), done(request)])

    def servers_of(key: ServiceKey) -> Script:
        def servers(requests: list[Request]) -> list[bytes]:
            (request,) = requests
            assert (request.command, request.flags, request.body) == (wire.GET_DEST, DUMP, wire.service_key(key))
            return chunks([*server_answers(request, of[key].real_servers.values(), counted), done(request)])

        return servers

    return [services, *(servers_of(key) for key in of)]


@pytest.mark.parametrize("split", [1, 2, 3, 100])
@pytest.mark.parametrize("counted", [True, False], ids=["as kernels tell of it", "otherwise"])
@pytest.mark.parametrize(
    "expected", [None, {}, table(80), table(80, 81, servers=3), table(80, 81, servers=4), table(80, 81, servers=5)]
)
def test_a_table_is_read_service_by_service(kernel, peer, split, expected, counted):
    there = table(80, 81, 82, servers=4)
    peer.says(*dump_of(there, split, counted))
    assert kernel.read(expected) == there
    # One dump at a time, each with a number of its own.
    assert [request.sequence for (request,) in peer.heard] == [1, 2, 3, 4]


def test_an_empty_table(kernel, peer):
    peer.says(*dump_of({}))
    assert kernel.read() == {}


def test_what_is_as_expected_is_the_very_same_value(kernel, peer, monkeypatch):
    there, expected = table(80, 81, 82, servers=2), table(80, 81, 82, servers=2)
    first, _second, third = expected
    expected[third] = expected[third]._replace(real_servers=expected[first].real_servers)
    there[third] = there[third]._replace(real_servers=there[first].real_servers)
    # What two of them share is made into bytes once.
    made = Mock(side_effect=wire.known_by)
    monkeypatch.setattr(wire, "known_by", made)

    # All in one datagram, and then the end.
    peer.says(*dump_of(there, split=2))
    read = kernel.read(expected)
    assert read == expected
    for key, entry in read.items():
        for server_key, server in entry.real_servers.items():
            assert server is expected[key].real_servers[server_key]
    assert made.call_count == 2


def test_what_services_are_to_share_is_read_of_each(kernel, peer):
    there = table(80, 81, 82, 83, servers=3)
    keys = list(there)
    shared = there[keys[0]].real_servers
    there = {key: there[key]._replace(real_servers=dict(shared)) for key in keys}
    expected = {key: there[key]._replace(real_servers=shared) for key in keys}
    # The second lacks one, and one of the third has another weight.
    gone, edited = list(shared)[:2]
    del there[keys[1]].real_servers[gone]
    there[keys[2]].real_servers[edited] = shared[edited]._replace(weight=77)
    peer.says(*dump_of(there, split=3))
    before = dict(shared)
    assert kernel.read(expected) == there
    assert shared == before


def test_each_service_is_held_against_what_is_expected_of_it(kernel, peer):
    expected = table(80, 81, servers=4)
    first, second = expected
    *servers, last = expected[first].real_servers.values()
    has = {server.key: server for server in servers}
    lacks = {server.key: server for server in (*servers[1:], last)}
    expected = {
        first: expected[first]._replace(real_servers=has),
        second: expected[second]._replace(real_servers=lacks),
    }
    # Both have the real servers of the first.
    there = {key: entry._replace(real_servers=has) for key, entry in expected.items()}
    peer.says(*dump_of(there, split=3))
    assert kernel.read(expected) == there


def test_what_is_expected_stays_as_it_is_where_there_is_more(kernel, peer):
    there, expected = table(80, servers=6), table(80, servers=3)
    (key,) = expected
    before = dict(expected[key].real_servers)
    peer.says(*dump_of(there, split=3))
    assert kernel.read(expected) == there
    assert expected[key].real_servers == before


def test_an_entry_that_a_dump_repeats_counts_once(kernel, peer):
    """A dump that is resumed goes by index: what is added at its head meanwhile moves the rest."""
    there = table(80, servers=3)
    (entry,) = there.values()
    servers = list(entry.real_servers.values())
    peer.says(
        lambda requests: [*service_answers(requests[0], there) * 2, done(requests[0])],
        lambda requests: [*server_answers(requests[0], [*servers, servers[-1], servers[0]]), done(requests[0])],
        lambda requests: [*server_answers(requests[0], servers), done(requests[0])],
    )
    assert kernel.read() == there


@pytest.mark.parametrize("refuse", [error, done])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EPERM, "^not allowed to read the IPVS table: CAP_NET_ADMIN in the initial user namespace is needed"),
        (errno.ENOMEM, "^the kernel refused to read the IPVS table: Cannot allocate memory$"),
        (errno.EBUSY, "^the kernel refused to read the IPVS table: Device or resource busy$"),
    ],
)
def test_a_dump_that_is_refused(kernel, peer, refuse, code, message):
    """At its start by an error, later by the code of its end."""
    peer.says(lambda requests: [*service_answers(requests[0], table(80)), refuse(requests[0], code)])
    with pytest.raises(KernelError, match=message):
        kernel.read()


def test_a_dump_of_real_servers_that_is_refused(kernel, peer):
    peer.says(dump_of(table(80))[0], lambda requests: [done(requests[0], errno.ENOMEM)])
    with pytest.raises(KernelError, match="Cannot allocate memory"):
        kernel.read()


def test_one_service_is_read_by_its_key(kernel, peer):
    there = table(80, servers=2)
    ((key, _entry),) = there.items()

    def service(requests):
        (request,) = requests
        assert (request.command, request.flags, request.body) == (wire.GET_SERVICE, ACK, wire.service_key(key))
        return [*service_answers(request, there), ack(request)]

    peer.says(service, dump_of(there)[1])
    assert kernel.read_service(key) == there


def test_a_service_that_is_not_there(kernel, peer):
    ((key, _entry),) = table(80).items()
    peer.says(lambda requests: [error(requests[0], errno.ESRCH)])
    assert kernel.read_service(key) == {}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            lambda requests: [error(requests[0], errno.EPERM)],
            "^not allowed to read the service tcp 192.0.2.10:80: CAP_NET_ADMIN",
        ),
        (
            lambda requests: [error(requests[0], errno.EAFNOSUPPORT)],
            "^the kernel refused to read the service tcp 192.0.2.10:80: Address family not supported by protocol$",
        ),
    ],
)
def test_a_service_that_cannot_be_read(kernel, peer, script, message):
    ((key, _entry),) = table(80).items()
    peer.says(script)
    with pytest.raises(KernelError, match=message):
        kernel.read_service(key)


@pytest.mark.parametrize(
    "ask", [lambda kernel: kernel.read_service(next(iter(table(80)))), Kernel.info, Kernel.timeouts]
)
def test_a_question_without_an_answer(kernel, peer, ask):
    peer.says(lambda requests: [ack(requests[0])])
    with pytest.raises(wire.MalformedMessage, match="^0 answers of the kernel to a question that has one$"):
        ask(kernel)


def test_version_and_size_of_the_connection_table(kernel, peer):
    def info(requests):
        (request,) = requests
        assert (request.command, request.flags, request.body) == (wire.GET_INFO, ACK, b"")
        body = struct.pack("=HHI HHI", 8, 1, 0x010201, 8, 2, 4096)
        return [answer(request, 14, body), ack(request)]

    peer.says(info)
    assert kernel.info() == ("1.2.1", 4096)


def test_the_version_is_not_for_everyone(kernel, peer):
    peer.says(lambda requests: [error(requests[0], errno.EPERM)])
    with pytest.raises(KernelError, match="^not allowed to read the version of IPVS: CAP_NET_ADMIN"):
        kernel.info()


# -- what the kernel has -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "has"), [(errno.EINVAL, True), (errno.ENOENT, False), (errno.EAFNOSUPPORT, True), (errno.EEXIST, True)]
)
def test_a_scheduler_is_asked_for_by_a_service_that_no_kernel_takes(kernel, peer, code, has):
    peer.says(lambda requests: [error(requests[0], code)])
    assert kernel.has_scheduler("mh", "sip") is has
    ((request,),) = peer.heard
    assert (request.command, request.flags) == (wire.NEW_SERVICE, ACK)
    assert struct.pack("=HH3s", 7, 6, b"mh\0") in request.body
    assert struct.pack("=HH4s", 8, 11, b"sip\0") in request.body
    # IPv6, and a prefix length of 0.
    assert struct.pack("=HHHxx", 6, 1, 10) in request.body
    assert struct.pack("=HHI", 8, 9, 0) in request.body


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.EPERM, "^not allowed to ask for a scheduler: CAP_NET_ADMIN"), (0, "took a service with an invalid prefix")],
)
def test_a_question_about_a_scheduler_that_goes_wrong(kernel, peer, code, message):
    peer.says(lambda requests: [error(requests[0], code)])
    with pytest.raises(KernelError, match=message):
        kernel.has_scheduler("rr")


# -- writing -------------------------------------------------------------------------------------


def adding(count: int) -> list[Step]:
    """A plan of so many steps: one service, and its real servers."""
    listed = [{"address": f"198.51.{100 + number // 256}.{number % 256}"} for number in range(count)]
    want = options.parse_services([{"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": listed}])
    return plan({}, want, {})[:count]


def body_of(step: Step) -> tuple[int, bytes]:
    """The command and the body of a step of adding()."""
    if step.real_server is None:
        return wire.NEW_SERVICE, wire.service(step.service)
    return wire.NEW_DEST, wire.service_key(step.service.key) + wire.real_server(step.real_server)


def acknowledge(requests: list[Request]) -> list[bytes]:
    return [ack(request) for request in requests if request.flags & ACK]


def test_no_step_is_no_message(kernel):
    kernel.apply([])


@pytest.mark.parametrize(
    ("count", "datagrams"), [(1, [1]), (2, [2]), (250, [250]), (251, [250, 1]), (600, [250, 250, 100])]
)
def test_steps_travel_in_batches_and_the_last_of_each_is_acknowledged(kernel, peer, count, datagrams):
    steps = adding(count)
    peer.says(*[acknowledge] * len(datagrams))
    kernel.apply(steps)
    assert [len(requests) for requests in peer.heard] == datagrams
    # A default receive buffer holds 256 answers.
    assert max(datagrams) < 256
    for requests in peer.heard:
        assert [request.flags for request in requests] == [0] * (len(requests) - 1) + [ACK]
    sent = list(itertools.chain.from_iterable(peer.heard))
    assert [request.sequence for request in sent] == list(range(1, count + 1))
    assert [(request.command, request.body) for request in sent] == [body_of(step) for step in steps]


class Around:
    """A context of each batch, which tells of itself, and may fail on the way in or out."""

    def __init__(self, *, entering: Exception | None = None, leaving: Exception | None = None) -> None:
        self.entering, self.leaving = entering, leaving
        self.said: list[object] = []

    @contextlib.contextmanager
    def __call__(self, batch: list[Step]) -> Iterator[None]:
        self.said.append(len(batch))
        if self.entering:
            raise self.entering
        yield
        self.said.append("sent")
        if self.leaving:
            raise self.leaving


def test_each_batch_is_sent_in_its_context(kernel, peer):
    around = Around()

    def told(requests):
        around.said.append(f"{len(requests)} heard")
        return acknowledge(requests)

    peer.says(told, told)
    kernel.apply(adding(251), around)
    assert around.said == [250, "250 heard", "sent", 1, "1 heard", "sent"]


def test_a_context_that_fails_before_or_behind_its_batch(kernel, peer):
    steps = adding(3)
    trouble = OSError(errno.EAGAIN, "no more processes")
    with pytest.raises(
        Unanswered, match="no more processes; 0 steps were done before, of 0 more it is not known"
    ) as sent:
        kernel.apply(steps, Around(entering=trouble))
    assert (sent.value.done, peer.heard) == ([], [])
    peer.says(acknowledge)
    with pytest.raises(Unanswered, match="no more processes; 3 steps were done before, of 0 more") as sent:
        kernel.apply(steps, Around(leaving=trouble))
    assert sent.value.done == steps
    # What the kernel refused is told, whatever else fails.
    peer.says(refusing({1: errno.EEXIST}))
    with pytest.raises(StepFailed) as refused:
        kernel.apply(steps, Around(leaving=trouble))
    assert (refused.value.failed, refused.value.done) == (steps[1], [steps[0], steps[2]])


def refusing(codes: dict[int, int]) -> Script:
    """A kernel that works through a datagram in order, fails by place in it, and goes on."""

    def script(requests: list[Request]) -> Iterator[bytes]:
        for place, request in enumerate(requests):
            code = codes.get(place, 0)
            if code or request.flags & ACK:
                yield error(request, code)

    return script


@pytest.mark.parametrize("place", [0, 1, 125, 248, 249])
def test_a_failure_is_that_of_its_step(kernel, peer, place):
    steps = adding(600)
    peer.says(acknowledge, refusing({place: errno.EEXIST}))
    with pytest.raises(StepFailed) as caught:
        kernel.apply(steps)
    assert caught.value.failed is steps[250 + place]
    assert caught.value.code == errno.EEXIST
    # The kernel went on with the rest of the datagram, and the last one was never sent.
    assert caught.value.done == [step for step in steps[:500] if step is not steps[250 + place]]
    assert caught.value.left == 101
    assert str(caught.value) == (
        f"the kernel refused to {steps[250 + place]}: it exists already; something else changes this table at the "
        "same time; 499 steps were done before, 101 were not: running again takes up from there"
    )


def test_of_several_failures_the_first_is_told_and_none_is_done(kernel, peer):
    """A service of an unknown scheduler takes its real servers with it."""
    steps = adding(10)
    peer.says(refusing({0: errno.ENOENT, **dict.fromkeys(range(1, 10), errno.ESRCH)}))
    with pytest.raises(StepFailed) as caught:
        kernel.apply(steps)
    assert (caught.value.failed, caught.value.done, caught.value.left) == (steps[0], [], 10)
    assert str(caught.value) == (
        "the kernel refused to add service tcp 192.0.2.10:80: no scheduler 'wlc'; "
        "0 steps were done before, 10 were not: running again takes up from there"
    )


@pytest.mark.parametrize("seed", range(10))
def test_what_is_reported_as_done_is_what_was_done(kernel, peer, seed):
    chance = random.Random(seed)
    steps = adding(chance.randint(1, 700))
    failing = set(chance.sample(range(len(steps)), k=min(len(steps), chance.randint(1, 3))))
    carried_out = []

    def script(requests):
        for request in requests:
            index = request.sequence - 1
            if index in failing:
                yield error(request, errno.EEXIST)
            else:
                carried_out.append(steps[index])
                if request.flags & ACK:
                    yield ack(request)

    peer.says(*[script] * (min(failing) // 250 + 1))
    with pytest.raises(StepFailed) as caught:
        kernel.apply(steps)
    assert caught.value.done == carried_out
    assert caught.value.failed is steps[min(failing)]
    assert caught.value.left == len(steps) - len(carried_out)


@pytest.mark.parametrize("code", [errno.ESRCH, errno.ENOENT])
def test_what_is_to_be_removed_and_is_gone_is_done(kernel, peer, code):
    there = table(80, 81, servers=2)
    steps = plan(there, table(80), there)
    assert [step.action for step in steps] == [REMOVE] * 3
    peer.says(refusing(dict.fromkeys(range(3), code)))
    kernel.apply(steps)


@pytest.mark.parametrize("action", [ADD, EDIT])
@pytest.mark.parametrize("code", [errno.ESRCH, errno.ENOENT])
def test_what_is_to_be_changed_and_is_gone_is_a_failure(kernel, peer, action, code):
    (add,) = adding(1)
    peer.says(refusing({0: code}))
    with pytest.raises(StepFailed):
        kernel.apply([add._replace(action=action)])


def test_other_failures_to_remove_are_failures(kernel, peer):
    peer.says(refusing({0: errno.EBUSY}))
    with pytest.raises(StepFailed, match="refused to remove service .*: Device or resource busy;"):
        kernel.apply([adding(1)[0]._replace(action=REMOVE)])


HAVE, WANT = (
    options.parse_services(
        [
            {
                "protocol": "tcp",
                "address": "192.0.2.10",
                "port": 80,
                "real_servers": [
                    {"address": f"198.51.100.{number}", "weight": weight} for number, weight in weights.items()
                ],
            }
        ]
    )
    for weights in ({1: 5, 2: 5}, {2: 0, 3: 5})
)


def test_what_takes_away_waits_for_the_answer_to_what_gives(kernel, peer):
    """A kernel that refuses the new real server of a service must not be asked yet to remove the old ones."""
    steps = plan(HAVE, WANT, HAVE)
    assert [(step.action, step.takes_away) for step in steps] == [(ADD, False), (EDIT, True), (REMOVE, True)]
    peer.says(acknowledge, acknowledge)
    kernel.apply(steps)
    assert [[request.command for request in requests] for requests in peer.heard] == [[5], [6, 7]]


def test_nothing_is_taken_away_where_what_was_to_be_given_is_refused(kernel, peer):
    steps = plan(HAVE, WANT, HAVE)
    peer.says(refusing({0: errno.EINVAL}))
    with pytest.raises(StepFailed) as caught:
        kernel.apply(steps)
    assert (caught.value.done, caught.value.failed, caught.value.left) == ([], steps[0], 3)


(SERVICE,) = (entry.service for entry in table(80).values())
(SERVER,) = (server for entry in table(80, servers=1).values() for server in entry.real_servers.values())


@pytest.mark.parametrize(
    ("step", "code", "reason"),
    [
        (Step(ADD, SERVICE), errno.EEXIST, "it exists already; something else changes this table"),
        (Step(ADD, SERVICE, SERVER), errno.EEXIST, "it exists already; something else changes this table"),
        (Step(EDIT, SERVICE), errno.ESRCH, "it is not there any more; something else changes this table"),
        (Step(EDIT, SERVICE, SERVER), errno.ESRCH, "it is not there any more"),
        # Of a service, this number is about its scheduler; of a real server, about itself.
        (Step(EDIT, SERVICE, SERVER), errno.ENOENT, "it is not there any more"),
        (Step(EDIT, SERVICE), errno.ENOENT, "no scheduler 'wlc'; "),
        (
            Step(ADD, SERVICE._replace(persistence_engine="sip")),
            errno.ENOENT,
            "no scheduler 'wlc' or no persistence engine 'sip'; ",
        ),
        (Step(ADD, SERVICE, SERVER), errno.EINVAL, "Invalid argument; "),
        (
            Step(ADD, SERVICE, SERVER._replace(forwarding="tunnel")),
            errno.EINVAL,
            r"invalid argument \(a tunnel across families is refused while a sync daemon runs\); ",
        ),
        (Step(ADD, SERVICE), errno.EPERM, "Operation not permitted; "),
    ],
)
def test_an_error_number_is_told_in_words(kernel, peer, step, code, reason):
    peer.says(refusing({0: code}))
    with pytest.raises(StepFailed, match=f"^the kernel refused to {step}: {reason}".replace("[", "\\[")):
        kernel.apply([step])


# -- what else may come, or not ------------------------------------------------------------------


def stale(sequence: int, code: int = errno.EEXIST) -> bytes:
    return message(ERROR, sequence, struct.pack("=i", -code))


def test_answers_to_what_was_given_up_are_passed_over(kernel, peer):
    def before(script: Script, *leftovers: bytes) -> Script:
        return lambda requests: [*leftovers, *script(requests)]

    there = table(80)
    services, servers = dump_of(there)
    peer.says(
        acknowledge,
        before(services, stale(1), stale(2, 0), message(DONE, 1, bytes(4)), message(FAMILY_ID, 2, b"\4\1\0\0junk")),
        servers,
        before(acknowledge, stale(5), stale(4), stale(3, 0), message(DONE, 5, bytes(4))),
    )
    kernel.apply(adding(3))
    assert kernel.read() == there
    kernel.apply(adding(2))


def test_messages_of_another_kind_are_no_answers(kernel, peer):
    def script(requests):
        last = requests[-1].sequence
        yield message(1, last, b"")  # NLMSG_NOOP
        yield message(DONE, last, bytes(4))
        yield message(FAMILY_ID, last, b"\1\1\0\0")
        yield ack(requests[-1])

    peer.says(script)
    kernel.apply(adding(2))


def test_no_answer_is_an_error(kernel, peer, generic):
    wait(generic, 0.02)
    peer.says(lambda requests: [])
    with pytest.raises(KernelError, match="^no answer from the kernel for 60 seconds$"):
        kernel.read()


def test_a_dump_without_an_end_is_an_error(kernel, peer, generic):
    wait(generic, 0.02)
    peer.says(lambda requests: service_answers(requests[0], table(80)))
    with pytest.raises(KernelError, match="^no answer from the kernel"):
        kernel.read()


def test_no_answer_half_way_leaves_what_is_known_to_be_done(kernel, peer, generic):
    steps = adding(600)

    def silent(requests):
        wait(generic, 0.02)
        return []

    peer.says(acknowledge, acknowledge, silent)
    with pytest.raises(Unanswered) as caught:
        kernel.apply(steps)
    assert caught.value.done == steps[:500]
    assert str(caught.value) == (
        "no answer from the kernel for 60 seconds; 500 steps were done before, of 100 more it is not known: "
        "running again takes up from there"
    )


def test_an_answer_that_comes_too_late_is_none_to_the_next_question(kernel, peer, generic):
    there = table(80)
    late: list[Request] = []

    def too_late(requests):
        late.extend(requests)
        return []

    def both(requests):
        return [*service_answers(late[0], table(81)), done(late[0]), *dump_of(there)[0](requests)]

    wait(generic, 0.02)
    peer.says(too_late)
    with pytest.raises(KernelError):
        kernel.read()
    wait(generic, 5)
    peer.says(both, dump_of(there)[1])
    assert kernel.read() == there


@pytest.mark.parametrize(
    ("datagram", "fault"),
    [
        (struct.pack("=IHHII", 15, ERROR, 0, 1, 0), "a message of 15 bytes where 16 are left"),
        (struct.pack("=IHHII", 99, ERROR, 0, 1, 0), "a message of 99 bytes where 16 are left"),
        (
            message(FAMILY_ID, 1, b"\1\1\0\0" + struct.pack("=HHHH", 8, 1, 99, 1)),
            "an attribute of 99 bytes where 4 are left",
        ),
    ],
)
def test_an_answer_that_is_none(kernel, peer, datagram, fault):
    peer.says(lambda requests: [datagram])
    with pytest.raises(wire.MalformedMessage, match=fault):
        kernel.read()


def test_a_socket_that_breaks_half_way_leaves_what_is_known_to_be_done(kernel, peer, generic):
    def acknowledge_and_shrink(requests):
        generic.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return acknowledge(requests)

    peer.says(acknowledge_and_shrink)
    with pytest.raises(Unanswered, match="Message too long; 250 steps were done before, of 50 more it is not known"):
        kernel.apply(adding(300))


# -- what stands beside the table ----------------------------------------------------------------


def accepts(command: int, body: bytes, code: int | None = 0) -> Script:
    """The kernel carries a request out, or refuses it, and answers the barrier behind it."""

    def script(requests: list[Request]) -> Iterator[bytes]:
        (request,) = requests
        assert (request.command, request.flags, request.body) == (command, 0, body)
        if code:
            yield error(request, code)
        # The barrier has the next number.
        yield message(ERROR, request.sequence + 1, struct.pack("=i", 0))

    return script


MASTER, BACKUP = SyncDaemon("master", "eth1", 7, 1472), SyncDaemon("backup", "eth1", 7, 1472)
STOP_MASTER, START_MASTER, START_BACKUP = (
    DaemonStep(action, daemon) for action, daemon in ((STOP, MASTER), (START, MASTER), (START, BACKUP))
)


def test_timeouts_are_read_and_set(kernel, peer):
    have = Timeouts(900, 120, 300)
    peer.says(
        lambda requests: [answer(requests[0], wire.SET_CONFIG, wire.timeouts(have)), ack(requests[0])],
        accepts(wire.SET_CONFIG, wire.timeouts(have)),
    )
    assert kernel.timeouts() == have
    kernel.set_timeouts(have)
    assert [request.command for (request,) in peer.heard] == [wire.GET_CONFIG, wire.SET_CONFIG]


def test_sync_daemons_are_read(kernel, peer):
    peer.says(
        lambda requests: [
            *(answer(requests[0], wire.NEW_DAEMON, wire.sync_daemon(daemon)) for daemon in (BACKUP, MASTER)),
            done(requests[0]),
        ]
    )
    assert kernel.sync_daemons() == {"master": MASTER, "backup": BACKUP}
    ((request,),) = peer.heard
    assert (request.command, request.flags) == (wire.GET_DAEMON, DUMP)


def test_sync_daemons_are_stopped_and_started_one_by_one(kernel, peer):
    steps = [STOP_MASTER, START_MASTER, START_BACKUP]
    peer.says(*(accepts(*wire.daemon_request(step)) for step in steps))
    kernel.apply_daemons(steps)
    assert len(peer.heard) == 3


def test_a_sync_daemon_that_is_gone_already_needs_no_stop(kernel, peer):
    peer.says(accepts(*wire.daemon_request(STOP_MASTER), errno.ESRCH), accepts(*wire.daemon_request(START_BACKUP)))
    kernel.apply_daemons([STOP_MASTER, START_BACKUP])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EEXIST, "it runs already; something else starts sync daemons at the same time"),
        (errno.ENODEV, "no interface 'eth1'"),
        (errno.EINVAL, "invalid argument .sync daemons are refused while a real server is of another family"),
        (errno.ENOMEM, "Cannot allocate memory"),
        (errno.ESRCH, "No such process"),
    ],
)
def test_a_sync_daemon_that_does_not_start(kernel, peer, code, reason):
    peer.says(accepts(*wire.daemon_request(STOP_MASTER)), accepts(*wire.daemon_request(START_MASTER), code))
    with pytest.raises(StepFailed, match=f"refused to start sync daemon master on eth1: {reason}") as caught:
        kernel.apply_daemons([STOP_MASTER, START_MASTER, START_BACKUP])
    assert caught.value.done == [STOP_MASTER]
    assert "1 steps were done before, 2 were not" in str(caught.value)


def test_a_sync_daemon_and_no_answer_at_all(kernel, peer, generic):
    wait(generic, 0.05)
    peer.says(accepts(*wire.daemon_request(STOP_MASTER)), lambda requests: [])
    with pytest.raises(Unanswered, match="no answer from the kernel") as caught:
        kernel.apply_daemons([STOP_MASTER, START_MASTER])
    assert caught.value.done == [STOP_MASTER]


@pytest.mark.parametrize("key", [None, next(iter(table(80)))])
def test_counters_are_zeroed(kernel, peer, key):
    peer.says(accepts(wire.ZERO, wire.service_key(key) if key else b""))
    kernel.zero(key)


@pytest.mark.parametrize(
    ("code", "finding"),
    [(errno.ESRCH, "^there is no virtual service tcp 192.0.2.10:80$"), (errno.EPERM, "^not allowed to zero the")],
)
def test_counters_that_are_not_zeroed(kernel, peer, code, finding):
    (key,) = table(80)
    peer.says(accepts(wire.ZERO, wire.service_key(key), code))
    with pytest.raises(KernelError, match=finding):
        kernel.zero(key)


def test_timeouts_that_are_refused(kernel, peer):
    have = Timeouts(900, 120, 300)
    peer.says(accepts(wire.SET_CONFIG, wire.timeouts(have), errno.EINVAL))
    with pytest.raises(KernelError, match="^the kernel refused to set the timeouts: Invalid argument$"):
        kernel.set_timeouts(have)


def test_counters_are_read_with_their_keys(kernel, peer):
    there = table(80, 81, servers=2)
    none = Counters(0, 0, 0, 0, 0)
    nothing = Statistics(none, none)
    peer.says(*dump_of(there))
    assert kernel.counters() == {
        key: ServiceCounters(nothing, dict.fromkeys(entry.real_servers, (Connections(5, 5, 5), nothing)))
        for key, entry in there.items()
    }


def test_the_mtu_of_an_interface(kernel):
    assert kernel.interface_mtu("lo") == int(Path("/sys/class/net/lo/mtu").read_text())
    assert kernel.interface_mtu("no_such_one") is None
