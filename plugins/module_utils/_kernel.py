# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The only file that speaks IPVS netlink, over pyroute2's generic netlink socket.

pyroute2 opens the socket, resolves the family and closes it; the messages are _wire.py's, and they
travel in batches: the kernel works through a datagram in order, answers only failures, and acknowledges
the last message (net/netlink/af_netlink.c).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _wire as wire
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    Entry,
    RealServer,
    RealServerKey,
    ServiceCounters,
    ServiceKey,
    SyncDaemons,
    Table,
    Timeouts,
    VirtualService,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import REMOVE, START, DaemonStep, Step
from ansible_collections.lvs.ipvs.plugins.module_utils._pyroute2 import (
    GenericNetlinkSocket,
    NetlinkError,
    genlmsg,
    require_pyroute2,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._record import locked

#: The folder of locks on tables. A lock on the namespace itself would be anybody's to hold.
LOCKS = "/run/lvs.ipvs"
#: Messages in one datagram. A default receive buffer holds 256 answers, if all of them fail.
BATCH = 250
#: Bytes: the kernel fills dumps up to the size of the largest read that it has seen, 32 KiB at most.
READ_SIZE = 65536
#: Seconds without an answer after which the kernel is taken for stuck; it answers within milliseconds.
TIMEOUT = 60

NETLINK_GENERIC = 16
SIOCGIFMTU = 0x8921
#: struct ifreq: a name, and a union of which the MTU takes the first four bytes.
_IFREQ = struct.Struct("=16si20x")
_ERRNO = struct.Struct("=i")
_TIMEVAL = struct.Struct("@ll")


#: What gives the context in which a batch of steps is sent.
Around = t.Callable[[list[Step]], t.ContextManager[None]]


def _without_more(_steps: list[Step]) -> t.ContextManager[None]:
    return contextlib.nullcontext()


class KernelError(Exception):
    """The kernel refused, or gave no answer."""


class Stopped(KernelError):
    """A plan that stopped half way: ``done`` are the steps that are known to have taken effect."""

    def __init__(self, done: t.Sequence[object], *more: object) -> None:
        super().__init__(done, *more)
        self.done = done


class StepFailed(Stopped):
    """The kernel refused a step: ``failed`` is the first such."""

    def __init__(self, done: t.Sequence[object], failed: Step | DaemonStep, code: int, left: int) -> None:
        super().__init__(done, failed, code, left)
        self.failed = failed
        self.code = code
        self.left = left

    def __str__(self) -> str:
        return (
            f"the kernel refused to {self.failed}: {_reason(self.failed, self.code)}; "
            f"{len(self.done)} steps were done before, {self.left} were not: running again takes up from there"
        )


class Unanswered(Stopped):
    """A plan whose ``unknown`` next steps were sent, and no answer came."""

    def __init__(self, done: t.Sequence[object], unknown: int, reason: Exception) -> None:
        super().__init__(done, unknown, reason)
        self.unknown = unknown
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.reason}; {len(self.done)} steps were done before, of {self.unknown} more it is not known: "
            "running again takes up from there"
        )


def _reason(step: Step | DaemonStep, code: int) -> str:
    """What an error number means for this step (ip_vs_ctl.c)."""
    if isinstance(step, DaemonStep):
        return _daemon_reason(step, code)
    if code == errno.EEXIST:
        return "it exists already; something else changes this table at the same time"
    if code == errno.ESRCH or (code == errno.ENOENT and step.real_server is not None):
        return "it is not there any more; something else changes this table at the same time"
    if code == errno.ENOENT:
        return f"no scheduler {step.service.scheduler!r}" + (
            f" or no persistence engine {step.service.persistence_engine!r}" if step.service.persistence_engine else ""
        )
    if code == errno.EINVAL and step.real_server is not None and step.real_server.forwarding == "tunnel":
        return "invalid argument (a tunnel across families is refused while a sync daemon runs)"
    return os.strerror(code)


def _daemon_reason(step: DaemonStep, code: int) -> str:
    """What an error number means for this step (ip_vs_sync.c)."""
    if code == errno.EEXIST:
        return "it runs already; something else starts sync daemons at the same time"
    if code == errno.ENODEV:
        return f"no interface {step.daemon.interface!r}"
    if code == errno.EINVAL:
        return "invalid argument (sync daemons are refused while a real server is of another family than its service)"
    return os.strerror(code)


class Kernel:
    """The IPVS tables of the network namespace in which it is opened."""

    def __init__(self) -> None:
        """Open the socket.

        Looking the family up loads the kernel module ip_vs. Raises KernelError if there is none, or
        without CAP_NET_ADMIN in the initial user namespace, and MissingLibrary.
        """
        require_pyroute2()
        self._sequence = 0
        self._generic = GenericNetlinkSocket()
        try:
            self._generic.bind(wire.GENL_NAME, genlmsg)
            self._family_id: int = self._generic.prid
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC, fileno=os.dup(self._generic.fileno())
            )
        except NetlinkError as error:
            self._generic.close()
            if error.code == errno.ENOENT:
                raise KernelError(
                    "this kernel has no IPVS: the module ip_vs is neither loaded nor can it be loaded "
                    "(a kernel package with extra modules may have it; a container needs it loaded on its host)"
                ) from error
            raise KernelError(f"cannot reach IPVS: {os.strerror(error.code)}") from error
        except OSError:  # pylint: disable=duplicate-except  # without pyroute2 the two are one
            self._generic.close()
            raise
        # The descriptor shares its flags with pyroute2's, which some releases make non-blocking.
        self._socket.setblocking(True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(TIMEOUT, 0))

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._generic.close()

    @contextlib.contextmanager
    def alone(self) -> t.Iterator[None]:
        """Keep other runs on the same table waiting: what they plan would be for a table that is changing.

        The lock is named for the network namespace, and so as wide as the table. It keeps out those who ask
        for it, not ipvsadm(8). Raises KernelError where the right is missing, TimeoutError, OSError.
        """
        namespace = 0
        # A kernel can be built without network namespaces.
        with contextlib.suppress(FileNotFoundError):
            namespace = os.stat("/proc/self/ns/net").st_ino
        with contextlib.ExitStack() as stack:
            try:
                os.makedirs(LOCKS, mode=0o700, exist_ok=True)
                stack.enter_context(locked(os.path.join(LOCKS, f"{namespace}.lock")))
            except PermissionError:
                # Who may not lock the table may not change it either.
                raise _unexpected(_Refused(errno.EPERM), "lock the table") from None
            yield

    # -- reading -------------------------------------------------------------------------------------

    def read(self, expected: Table | None = None) -> Table:
        """The whole table. What is as in ``expected`` is told by its bytes, which is quicker."""
        services = [wire.decode_service(data, start, end) for data, start, end in self._dump(wire.GET_SERVICE)]
        # By the place of a dictionary in memory: parse_services() has services that are alike share one.
        known: dict[int, t.Collection[bytes]] = {}
        table: Table = {}
        for service in services:
            wanted = expected[service.key].real_servers if expected and service.key in expected else {}
            if wanted and id(wanted) not in known:
                known[id(wanted)] = wire.known_by(wanted.values())
            table[service.key] = Entry(service, self._real_servers(service.key, wanted, known.get(id(wanted), ())))
        return table

    def read_service(self, key: ServiceKey) -> Table:
        """The table of one service, empty if it is not there."""
        try:
            service = wire.decode_service(*self._one_answer(wire.GET_SERVICE, wire.service_key(key)))
        except _Refused as refused:
            if refused.code == errno.ESRCH:
                return {}
            raise _unexpected(refused, f"read the service {key}") from None
        return {key: Entry(service, self._real_servers(key, {}, ()))}

    def info(self) -> tuple[str, int]:
        """The version of IPVS, and the size of the connection table in buckets."""
        try:
            return wire.decode_info(*self._one_answer(wire.GET_INFO))
        except _Refused as refused:
            raise _unexpected(refused, "read the version of IPVS") from None

    def timeouts(self) -> Timeouts:
        """The timeouts of connections."""
        try:
            return wire.decode_timeouts(*self._one_answer(wire.GET_CONFIG))
        except _Refused as refused:
            raise _unexpected(refused, "read the timeouts") from None

    def sync_daemons(self) -> SyncDaemons:
        """The sync daemons that run, by their role."""
        daemons = [wire.decode_sync_daemon(*answer) for answer in self._dump(wire.GET_DAEMON)]
        return {daemon.role: daemon for daemon in daemons}

    def counters(self) -> dict[ServiceKey, ServiceCounters]:
        """What is counted of every service and of its real servers. The kernel brings it up to date every two seconds."""
        services = [
            (wire.decode_service(*answer), wire.decode_service_statistics(*answer))
            for answer in self._dump(wire.GET_SERVICE)
        ]
        return {
            service.key: ServiceCounters(
                statistics,
                {
                    wire.decode_real_server(*answer, service.key.family).key: wire.decode_real_server_statistics(
                        *answer
                    )
                    for answer in self._dump(wire.GET_DEST, wire.service_key(service.key))
                },
            )
            for service, statistics in services
        }

    def connections(self, key: ServiceKey) -> dict[RealServerKey, tuple[RealServer, Connections]]:
        """The real servers of one service, each with the connections that it has now; none if there is no such service."""
        return {
            server.key: (server, wire.decode_real_server_statistics(*answer)[0])
            for answer in self._dump(wire.GET_DEST, wire.service_key(key))
            for server in (wire.decode_real_server(*answer, key.family),)
        }

    def interface_mtu(self, interface: str) -> int | None:
        """The MTU of a network interface, or None if there is no such interface."""
        name = interface.encode("utf-8", "surrogateescape")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            try:
                answer = fcntl.ioctl(any_socket, SIOCGIFMTU, _IFREQ.pack(name, 0))
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return None
                raise
        mtu: int = _IFREQ.unpack(answer)[1]
        return mtu

    def has_scheduler(self, scheduler: str, persistence_engine: str = "") -> bool:
        """Whether the kernel has, or can load, a scheduler and a persistence engine. Changes no table.

        It asks for an IPv6 service of a prefix length that no kernel takes: ip_vs_add_service() looks
        scheduler and engine up first (ENOENT), then checks the prefix (EINVAL). Without IPv6 in the kernel
        there is no telling, and the answer is yes.
        """
        probe = VirtualService(
            ServiceKey("ipv6", "tcp", "2001:db8::", 1),
            scheduler,
            persistence_netmask=0,
            persistence_engine=persistence_engine,
        )
        try:
            list(self._ask(wire.NEW_SERVICE, wire.NLM_F_ACK, wire.service(probe)))
        except _Refused as refused:
            if refused.code == errno.EPERM:
                raise _unexpected(refused, "ask for a scheduler") from None
            return refused.code != errno.ENOENT
        raise KernelError("the kernel took a service with an invalid prefix length")

    def _real_servers(
        self, key: ServiceKey, wanted: t.Mapping[RealServerKey, RealServer], known: t.Collection[bytes]
    ) -> dict[RealServerKey, RealServer]:
        """The real servers of a service. If they are those that are wanted, they are known by their bytes."""
        servers: dict[RealServerKey, RealServer] = {}
        sequence = self._request(wire.GET_DEST, wire.NLM_F_DUMP, wire.service_key(key))
        try:
            while True:
                datagram = self._receive()
                if wire.is_done(datagram, sequence):
                    return servers
                if known and wire.tells_of_all(datagram, sequence, known):
                    servers.update(wanted)
                    continue
                usual = wire.decode_usual_real_servers(datagram, sequence)
                if usual:
                    servers.update(usual)
                    continue
                for data, start, end in self._answers_in(datagram, sequence):
                    server = wire.decode_real_server(data, start, end, key.family)
                    servers[server.key] = server
        except _Complete:
            return servers
        except _Refused as refused:
            raise _unexpected(refused, "read the IPVS table") from None

    def _one_answer(self, command: int, body: bytes = b"") -> tuple[bytes, int, int]:
        answers = list(self._ask(command, wire.NLM_F_ACK, body))
        if len(answers) != 1:
            raise wire.MalformedMessage(f"{len(answers)} answers of the kernel to a question that has one")
        return answers[0]

    def _dump(self, command: int, body: bytes = b"") -> t.Iterator[tuple[bytes, int, int]]:
        try:
            yield from self._ask(command, wire.NLM_F_DUMP, body)
        except _Refused as refused:
            raise _unexpected(refused, "read the IPVS table") from None

    def _ask(self, command: int, flags: int, body: bytes = b"") -> t.Iterator[tuple[bytes, int, int]]:
        """Send one request; the bounds of the attributes of each message that answers it."""
        sequence = self._request(command, flags, body)
        with contextlib.suppress(_Complete):
            while True:
                yield from self._answers_in(self._receive(), sequence)

    def _request(self, command: int, flags: int, body: bytes) -> int:
        """Send one request; its number, which its answers have too."""
        self._sequence += 1
        self._socket.send(wire.message(self._family_id, command, self._sequence, flags, body))
        return self._sequence

    def _answers_in(self, datagram: bytes, sequence: int) -> t.Iterator[tuple[bytes, int, int]]:
        """The bounds of the attributes of each message of a datagram that answers a request; raises Complete after the last."""
        for kind, number, data, start, end in _messages(datagram):
            # Answers to requests before it are left over from one that was given up.
            if number < sequence:
                continue
            if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                code = -_ERRNO.unpack_from(data, start)[0]
                raise _Refused(code) if code else _Complete
            yield data, start + wire.HEADER_SIZE - wire.NLMSG_HEADER.size, end

    def _datagram(self) -> t.Iterator[tuple[int, int, bytes, int, int]]:
        """The messages of the next datagram."""
        return _messages(self._receive())

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(READ_SIZE)
        except BlockingIOError:
            raise KernelError(f"no answer from the kernel for {TIMEOUT} seconds") from None

    # -- writing -------------------------------------------------------------------------------------

    def apply(self, steps: list[Step], around: Around = _without_more) -> None:
        """Carry out a plan in order. Raises StepFailed at the end of the first batch with a failure, or Unanswered.

        What is to be removed and is gone already counts as done.
        """
        done: list[Step] = []
        for batch in _batches(steps):
            failures: dict[int, int] = {}
            unknown, trouble = 0, None
            try:
                with around(batch):
                    unknown = len(batch)
                    failures = self._send(batch)
                    unknown = 0
                    done.extend(step for index, step in enumerate(batch) if index not in failures)
            except (KernelError, OSError) as error:
                trouble = error
            if failures:
                index = min(failures)
                raise StepFailed(done, batch[index], failures[index], len(steps) - len(done)) from trouble
            if trouble:
                raise Unanswered(done, unknown, trouble) from trouble

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set the timeouts of connections."""
        code = self._command(wire.SET_CONFIG, wire.timeouts(timeouts))
        if code:
            raise _unexpected(_Refused(code), "set the timeouts")

    def zero(self, key: ServiceKey | None = None) -> None:
        """Zero the counters of one service and its real servers, or of all services, and their totals with them."""
        code = self._command(wire.ZERO, wire.service_key(key) if key else b"")
        if code == errno.ESRCH:
            raise KernelError(f"there is no virtual service {key}")
        if code:
            raise _unexpected(_Refused(code), "zero the counters")

    def apply_daemons(self, steps: list[DaemonStep]) -> None:
        """Carry out a plan in order. Raises StepFailed, or Unanswered."""
        for index, step in enumerate(steps):
            try:
                code = self._command(*wire.daemon_request(step))
            except (KernelError, OSError) as error:
                raise Unanswered(steps[:index], 1, error) from error
            if code and not (code == errno.ESRCH and step.action != START):
                raise StepFailed(steps[:index], step, code, len(steps) - index)

    def _command(self, command: int, body: bytes = b"") -> int:
        """Send a request whose only answer is whether it was carried out: 0, or an error number.

        The answer waited for is that to a barrier behind it. A sync daemon that is stopped before it has
        first run stops, but to its request the kernel answers nothing, ever: kthread_stop() says EINTR, which
        netlink_rcv_skb() takes for a reason to be silent.
        """
        self._sequence += 2
        request, barrier = self._sequence - 1, self._sequence
        self._socket.send(wire.message(self._family_id, command, request, 0, body) + wire.barrier(barrier))
        code = 0
        while True:
            for kind, sequence, data, start, _end in self._datagram():
                if kind == wire.NLMSG_ERROR and sequence == request:
                    code = -_ERRNO.unpack_from(data, start)[0]
                elif kind == wire.NLMSG_ERROR and sequence == barrier:
                    return code

    def _send(self, batch: list[Step]) -> dict[int, int]:
        """Send one datagram; the error numbers of the steps that failed, by their place in it."""
        before = self._sequence
        self._sequence += len(batch)
        last = self._sequence
        self._socket.send(wire.datagram(self._family_id, before + 1, batch))

        failures = {}
        acknowledged = False
        while not acknowledged:
            for kind, sequence, data, start, _end in self._datagram():
                if kind != wire.NLMSG_ERROR or sequence <= before:
                    continue
                acknowledged = acknowledged or sequence == last
                code = -_ERRNO.unpack_from(data, start)[0]
                step = batch[sequence - before - 1]
                gone = code in (errno.ESRCH, errno.ENOENT) and step.action == REMOVE
                if code and not gone:
                    failures[sequence - before - 1] = code
        return failures


def _batches(steps: list[Step]) -> t.Iterator[list[Step]]:
    """The datagrams of a plan.

    The kernel goes on after a failure in a datagram. So what takes real servers away waits for the answer
    to all before it: a service must not lose the old ones where it could not have the new ones.
    """
    turn = next((index for index, step in enumerate(steps) if step.takes_away), len(steps))
    for part in (steps[:turn], steps[turn:]):
        for first in range(0, len(part), BATCH):
            yield part[first : first + BATCH]


class _Refused(Exception):
    """An error number in answer to a request."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Complete(Exception):
    """All answers to a request have come."""


def _messages(data: bytes) -> t.Iterator[tuple[int, int, bytes, int, int]]:
    """The messages of a datagram: their type and sequence number, and the bounds of what follows their netlink header."""
    start = 0
    while start + wire.NLMSG_HEADER.size <= len(data):
        size, kind, _flags, sequence, _port = wire.NLMSG_HEADER.unpack_from(data, start)
        if size < wire.NLMSG_HEADER.size or start + size > len(data):
            raise wire.MalformedMessage(f"a message of {size} bytes where {len(data) - start} are left")
        yield kind, sequence, data, start + wire.NLMSG_HEADER.size, start + size
        start += (size + 3) & ~3


def _unexpected(refused: _Refused, action: str) -> KernelError:
    if refused.code == errno.EPERM:
        return KernelError(
            f"not allowed to {action}: CAP_NET_ADMIN in the initial user namespace is needed, also for reading "
            "(become root; a rootless container cannot have it)"
        )
    return KernelError(f"the kernel refused to {action}: {os.strerror(refused.code)}")
