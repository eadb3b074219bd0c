# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's main(), with a host in the place of the kernel and a real record."""

from __future__ import annotations

import errno
import json
import pathlib
import stat
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.lvs.ipvs.plugins.module_utils import _neighbour, _virtual_address
from ansible_collections.lvs.ipvs.plugins.module_utils._address import Address, Host, Link, Step, _after
from ansible_collections.lvs.ipvs.plugins.module_utils._rtnetlink import AddressStepFailed
from ansible_collections.lvs.ipvs.plugins.modules import virtual_address

V4, V6 = "192.0.2.10", "2001:db8::10"
Result = dict[str, t.Any]


class FakeRouteNetlink:
    """A kernel that does what it is told, and remembers it; it dies before the step ``dies_at``."""

    def __init__(self, record: pathlib.Path) -> None:
        lo = Address("lo", "127.0.0.1", 8, source=False)
        self.host = Host({"lo": Link("lo"), "eth0": Link("eth0")}, (lo, Address("eth0", "192.0.2.1", 24)))
        self.done: list[str] = []
        self.announced: list[tuple[str, list[str]]] = []
        self.record = record
        self.record_then = ""
        self.dies_at: int | None = None

    def __enter__(self) -> FakeRouteNetlink:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def read(self) -> Host:
        return self.host

    def apply(self, steps: list[Step]) -> None:
        self.record_then = self.record.read_text() if self.record.exists() else ""
        for index, step in enumerate(steps):
            if index == self.dies_at:
                raise AddressStepFailed(steps[:index], step, "no, you may not", len(steps) - index)
            self.host = _after(self.host, [step])
            self.done.append(str(step))

    def addresses(self, interface: str = "eth0") -> list[str]:
        return [str(address) for address in self.host.addresses if address.interface == interface]


@pytest.fixture
def record(tmp_path) -> pathlib.Path:
    return tmp_path / "state" / "addresses.json"


@pytest.fixture
def kernel(record, monkeypatch) -> FakeRouteNetlink:
    fake = FakeRouteNetlink(record)
    monkeypatch.setattr(_virtual_address, "RouteNetlink", lambda: fake)

    def announce(interface: str, addresses: list[str]) -> None:
        assert set(addresses) <= set(fake.addresses(interface))
        fake.announced.append((interface, addresses))

    monkeypatch.setattr(_neighbour, "announce", announce)
    return fake


@pytest.fixture
def run(kernel, capsys) -> t.Callable[..., Result]:
    """Call the module with these options; what it answers."""

    def call(*addresses: str, check: bool = False, **options: t.Any) -> Result:
        given = {"interface": "eth0", "_ansible_check_mode": check, "_ansible_diff": True, **options}
        given.setdefault("addresses", list(addresses))
        with patch_module_args(given), pytest.raises(SystemExit):
            virtual_address.main()
        return json.loads(capsys.readouterr().out)

    return call


def owned(record: pathlib.Path) -> list[str]:
    return [entry["address"] for entry in json.loads(record.read_text())["addresses"]]


def test_add(run, kernel):
    result = run(V4, V6)
    assert result["changed"]
    assert result["steps"] == kernel.done == [f"add {V4} to eth0", f"add {V6} to eth0"]
    assert result["step_count"] == 2
    assert kernel.addresses() == ["192.0.2.1/24", V4, V6]
    assert result["diff"] == {
        "before": "",
        "after": f"- interface: eth0\n  addresses:\n    - {V4}\n    - {V6}\n",
    }


def test_new_addresses_are_announced_once_they_are_there(run, kernel):
    assert run(V4, V6, check=True)["changed"]
    assert kernel.announced == []
    run(V4, V6)
    run(V4, V6)
    assert kernel.announced == [("eth0", [V4, V6])]


def test_what_failed_half_way_is_announced_as_far_as_it_got(run, kernel):
    kernel.dies_at = 1
    assert run(V4, V6)["failed"]
    assert kernel.announced == [("eth0", [V4])]


@pytest.mark.parametrize("link", [Link("eth0", up=False), Link("eth0", arp=False)])
def test_where_nobody_listens_nothing_is_announced(run, kernel, link):
    kernel.host.links["eth0"] = link
    assert run(V4, V6)["changed"]
    assert kernel.announced == []


def test_what_is_no_source_is_not_announced(run, kernel):
    """Several hosts have it, and one of them the clients' way to it."""
    run(V4, V6, source=False)
    assert kernel.announced == [("eth0", [])]


def test_an_announcement_that_fails_is_told(run, kernel, record, monkeypatch):
    def announce(interface: str, addresses: list[str]) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(_neighbour, "announce", announce)
    failed = run(V4, record=str(record))
    assert failed["changed"]
    assert failed["steps"] == [f"add {V4} to eth0"]
    assert owned(record) == [V4]
    assert failed["msg"] == (
        "the new addresses are on eth0, but its neighbours could not be told (Operation not permitted): "
        "until they ask anew they send to who had them before; 1 steps were done"
    )


def test_add_check_mode(run, kernel, record):
    predicted = run(V4, V6, check=True, record=str(record))
    assert kernel.done == []
    assert not record.parent.exists()
    real = run(V4, V6, record=str(record))
    assert {**predicted, "invocation": None} == {**real, "invocation": None}


def test_idempotency(run, kernel, record):
    run(V4, V6, record=str(record))
    kernel.done.clear()
    again = run(V4, V6, record=str(record))
    assert not again["changed"]
    assert again["steps"] == kernel.done == []
    assert again["diff"]["before"] == again["diff"]["after"]


def test_source_and_dummy(run, kernel):
    run(V4, V6, interface="lvs0", dummy=True, source=False)
    assert [a.source for a in kernel.host.addresses if a.interface == "lvs0"] == [False, False]
    assert kernel.host.links["lvs0"] == Link("lvs0", "dummy")


def test_purge_owned(run, kernel, record):
    run("192.0.2.1/24", V4, record=str(record), purge="owned")
    result = run(V6, record=str(record), purge="owned")
    assert result["steps"] == [f"add {V6} to eth0", f"remove {V4} from eth0"]
    # 192.0.2.1 was there before the first run; that it was listed once does not make it ours.
    assert kernel.addresses() == ["192.0.2.1/24", V6]
    assert owned(record) == [V6]


def test_purge_owned_check_mode(run, kernel, record):
    run(V4, record=str(record))
    before = record.read_text()
    kernel.done.clear()
    assert run(V6, record=str(record), purge="owned", check=True)["step_count"] == 2
    assert kernel.done == []
    assert record.read_text() == before


def test_an_empty_list_removes_all_that_is_ours(run, kernel, record):
    run(V4, V6, record=str(record))
    assert run(record=str(record), purge="owned")["step_count"] == 2
    assert kernel.addresses() == ["192.0.2.1/24"]
    assert owned(record) == []


def test_absent(run, kernel, record):
    run(V4, V6, record=str(record))
    assert run(V4, state="absent", record=str(record))["steps"] == [f"remove {V4} from eth0"]
    assert owned(record) == [V6]
    assert not run(V4, state="absent", record=str(record))["changed"]


def test_absent_check_mode(run, kernel):
    run(V4)
    assert run(V4, state="absent", check=True)["changed"]
    assert kernel.addresses() == ["192.0.2.1/24", V4]


def test_the_record_is_private_and_says_first_what_will_be_done(run, kernel, record):
    run(V4, record=str(record))
    run(V6, record=str(record), purge="owned")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert [entry["address"] for entry in json.loads(kernel.record_then)["addresses"]] == [V4, V6]
    assert owned(record) == [V6]


def test_no_record_is_made_for_nothing(run, record):
    run("192.0.2.1/24", record=str(record))
    assert not record.exists()


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
def test_a_run_that_failed_half_way_is_finished_by_the_next(run, kernel, record, dies_at):
    run(V4, record=str(record))
    kernel.done.clear()
    kernel.dies_at = dies_at
    wish = {"interface": "lvs0", "dummy": True, "purge": "owned", "record": str(record)}
    failed = run(V6, **wish)
    assert failed["failed"]
    assert failed["changed"] == bool(dies_at)
    assert failed["steps"] == kernel.done
    assert failed["step_count"] == dies_at
    kernel.dies_at = None
    assert run(V6, **wish)["changed"]
    assert kernel.addresses() == ["192.0.2.1/24"]
    assert kernel.addresses("lvs0") == [V6]
    assert json.loads(record.read_text()) == {
        "addresses": [{"address": V6, "interface": "lvs0", "source": True}],
        "dummies": ["lvs0"],
    }


def test_a_step_that_fails_is_named(run, kernel):
    kernel.dies_at = 1
    assert run(V4, V6)["msg"] == (
        f"the kernel refused to add {V6} to eth0: no, you may not; "
        "1 steps were done before, 1 were not: running again takes up from there"
    )


def test_what_a_record_holds_comes_back_after_a_reboot(run, kernel, record):
    run(V4, V6, interface="lvs0", dummy=True, source=False, record=str(record))
    known = record.read_text()
    then = kernel.host
    rebooted = FakeRouteNetlink(record)
    kernel.host = rebooted.host
    assert _virtual_address.restore(str(record)).steps
    assert kernel.host == then
    assert record.read_text() == known
    assert _virtual_address.restore(str(record)).steps == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"addresses": [V4, "192.0.2.300"]}, "addresses[1]: '192.0.2.300' is not an IPv4 or IPv6 address"),
        ({"addresses": [V4, f"{V4}/24"]}, f"addresses[1]: {V4} is listed already, as addresses[0]"),
        ({"addresses": ["192.0.2.1"]}, "addresses[0]: 192.0.2.1 is on eth0 with the prefix length 24, not 32"),
        ({"addresses": ["127.0.0.1"]}, "addresses[0]: 127.0.0.1 is on the interface lo already"),
        ({"interface": "eth7"}, "interface: there is no interface 'eth7'"),
        ({"interface": "a/b"}, "interface: 'a/b' is not the name of an interface"),
        ({"dummy": True}, "interface: 'eth0' exists and is not a dummy interface"),
        ({"purge": "owned"}, "purge is owned but all of the following are missing: record"),
        ({"purge": "owned", "record": None}, "record: is required with purge owned: it says what is ours"),
        ({"purge": "owned", "record": ""}, "record: is required with purge owned: it says what is ours"),
        (
            {"state": "absent", "purge": "owned", "record": "/nowhere"},
            "purge: is for state present, where an empty list of addresses removes all that is owned",
        ),
    ],
)
def test_bad_input_is_refused_before_any_change(run, kernel, options, message):
    result = run(**{"addresses": [V4], **options})
    assert result["failed"]
    assert result["msg"] == message
    assert kernel.done == []


@pytest.mark.parametrize("text", ["{", "[]", '{"services": []}'])
def test_a_damaged_record_is_refused_before_any_change(run, kernel, record, text):
    record.parent.mkdir()
    record.write_text(text)
    result = run(V4, record=str(record), purge="owned")
    assert result["failed"]
    assert "record" in result["msg"]
    assert kernel.done == []
    assert record.read_text() == text


def test_without_pyroute2(monkeypatch, capsys):
    from ansible_collections.lvs.ipvs.plugins.module_utils import _pyroute2

    monkeypatch.setattr(_pyroute2, "IMPORT_ERROR", "ModuleNotFoundError: No module named 'pyroute2'")
    with patch_module_args({"addresses": [V4], "interface": "lo"}), pytest.raises(SystemExit):
        virtual_address.main()
    assert "the Python library pyroute2 (>= 0.7.2) is missing" in json.loads(capsys.readouterr().out)["msg"]
