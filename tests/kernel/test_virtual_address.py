# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual addresses on real interfaces, as ip(8) sees them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import types
import typing as t
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _address, _director, _virtual_address
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Stopped
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue
from ansible_collections.lvs.ipvs.plugins.module_utils._rtnetlink import RouteNetlink

V4, V6 = "192.0.2.10", "2001:db8:f::10"
FOREVER = 2**32 - 1


def ip(*words: str) -> t.Any:
    """What ip(8) says; JSON read."""
    done = subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def seen_everywhere() -> dict[str, dict[str, dict[str, t.Any]]]:
    """The addresses of each interface, those apart that the kernel makes itself."""
    return {
        link["ifname"]: {
            f"{entry['local']}/{entry['prefixlen']}": entry
            for entry in link["addr_info"]
            if entry["local"] not in ("127.0.0.1", "::1") and not entry["local"].startswith("fe80:")
        }
        for link in ip("address", "show")
    }


def seen(interface: str) -> dict[str, dict[str, t.Any]]:
    return seen_everywhere()[interface]


def interfaces() -> set[str]:
    return {link["ifname"] for link in ip("link", "show")}


@pytest.fixture(autouse=True)
def front(netns: Callable[[], None]) -> None:
    """An interface `front` with its other end `client`."""
    make_front()


def make_front() -> None:
    # Where IPv6 is a module, the first socket loads it.
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    ip("link", "add", "front", "type", "veth", "peer", "name", "client")
    ip("link", "set", "front", "up")
    ip("link", "set", "client", "up")


def call(*addresses: str, check: bool = False, **options: t.Any) -> list[str]:
    """Run the module's body; the steps that it took."""
    defaults = {
        "interface": "front",
        "dummy": False,
        "probe": False,
        "source": True,
        "state": "present",
        "purge": "none",
        "record": None,
    }
    params = {**defaults, "addresses": list(addresses), **options}
    module = types.SimpleNamespace(params=params, check_mode=check, _diff=True)
    result = _virtual_address.virtual_address(t.cast(t.Any, module))
    assert result["changed"] == bool(result["steps"])
    return t.cast(list[str], result["steps"])


def test_addresses_are_there_at_once():
    assert len(call(V4, V6, "192.0.2.11/24", "2001:db8:f::11/64")) == 4
    there = seen("front")
    assert set(there) == {"192.0.2.10/32", "192.0.2.11/24", "2001:db8:f::10/128", "2001:db8:f::11/64"}
    assert {entry["scope"] for entry in there.values()} == {"global"}
    assert {entry["valid_life_time"] for entry in there.values()} == {FOREVER}
    assert {entry["preferred_life_time"] for entry in there.values()} == {FOREVER}
    # Duplicate address detection would keep it tentative, and closed to bind(2), for a second or two.
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.bind((V6, 80))
    assert call(V4, V6, "192.0.2.11/24", "2001:db8:f::11/64") == []


def test_check_mode_tells_and_touches_nothing(tmp_path):
    record = tmp_path / "record"
    predicted = call(V4, V6, check=True, record=str(record))
    assert seen("front") == {}
    assert list(tmp_path.iterdir()) == []
    assert call(V4, V6, record=str(record)) == predicted


def source_towards(target: str) -> str:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return t.cast(str, probe.getsockname()[0])


@pytest.mark.parametrize(
    ("virtual", "own", "target", "edit"),
    [
        # The kernel takes the first address of the interface.
        (V4, "192.0.2.1/24", "198.51.100.1", [f"remove {V4} from front", f"add {V4} to front"]),
        # It takes the address that has more leading bits in common with the target.
        (V6, "2001:db8:f::1/64", "2001:db8:f::12", [f"change {V6} on front"]),
    ],
)
def test_source(virtual, own, target, edit):
    call(virtual)
    ip("address", "add", own, "dev", "front", *(["nodad"] if ":" in own else []))
    ip("route", "add", "198.51.100.0/24", "dev", "front")
    assert source_towards(target) == virtual
    assert call(virtual, source=False) == edit
    assert source_towards(target) == own.split("/")[0]
    assert call(virtual, source=False) == []
    # It is ours to answer for all the same.
    assert ip("route", "get", virtual)[0]["type"] == "local"
    with socket.socket(socket.AF_INET6 if ":" in virtual else socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((virtual, 80))
    assert call(virtual, source=True) == edit
    (entry,) = (entry for entry in seen("front").values() if entry["local"] == virtual)
    assert entry["scope"] == "global"
    assert entry["preferred_life_time"] == FOREVER
    assert call(virtual, source=True) == []


def test_source_of_a_host_without_another_address():
    """An address on lo stands in for a missing one on the way out: not with source: false."""
    ip("route", "add", "198.51.100.0/24", "dev", "front")
    call(V4, interface="lo")
    assert source_towards("198.51.100.1") == V4
    call(V4, interface="lo", source=False)
    assert source_towards("198.51.100.1") != V4


def test_a_lifetime_that_ends_is_made_endless():
    ip("address", "add", f"{V4}/32", "dev", "front", "valid_lft", "100", "preferred_lft", "100")
    ip("address", "add", f"{V6}/128", "dev", "front", "valid_lft", "100", "preferred_lft", "100", "nodad")
    assert call(V4, V6) == [f"change {V4} on front", f"change {V6} on front"]
    assert {entry["valid_life_time"] for entry in seen("front").values()} == {FOREVER}
    assert call(V4, V6) == []


@pytest.mark.parametrize("interface", ["front", "client"])
def test_an_address_elsewhere_is_refused_before_any_change(interface):
    ip("address", "add", f"{V4}/24", "dev", interface)
    with pytest.raises(InvalidValue, match=rf"^addresses\[1\]: {V4} is on .*{interface}"):
        call("192.0.2.99", V4)
    assert set(seen("front")) | set(seen("client")) == {f"{V4}/24"}


def test_purge_leaves_what_others_made(tmp_path):
    options: dict[str, t.Any] = {"record": str(tmp_path / "record"), "purge": "owned"}
    ip("address", "add", "192.0.2.1/24", "dev", "front")
    ip("address", "add", f"{V6}/128", "dev", "front", "nodad")
    call(V4, V6, "192.0.2.11", **options)
    assert call(V6, "192.0.2.12", **options) == [
        "add 192.0.2.12 to front",
        f"remove {V4} from front",
        "remove 192.0.2.11 from front",
    ]
    assert call(**options) == ["remove 192.0.2.12 from front"]
    assert set(seen("front")) == {"192.0.2.1/24", "2001:db8:f::10/128"}


@pytest.mark.parametrize("told", ["0", "1"])
def test_the_other_addresses_of_a_subnet_stay(told):
    """The first IPv4 address of a subnet takes the others with it, where the kernel is not told to promote one."""
    promote = pathlib.Path("/proc/sys/net/ipv4/conf/front/promote_secondaries")
    promote.write_text(told)
    call("192.0.2.10/24", "192.0.2.11/24")
    ip("address", "add", "192.0.2.1/24", "dev", "front")
    assert seen("front")["192.0.2.1/24"]["secondary"]
    call("192.0.2.10/24", state="absent")
    assert set(seen("front")) == {"192.0.2.11/24", "192.0.2.1/24"}
    assert [route["dst"] for route in ip("-4", "route", "show", "dev", "front")] == ["192.0.2.0/24"]
    assert promote.read_text().strip() == told


@pytest.mark.parametrize(
    ("first", "then", "steps"),
    [
        ((V4, "front"), (V4, "lo"), [f"add {V4} to lo", f"remove {V4} from front"]),
        ((V6, "front"), (V6, "lo"), [f"add {V6} to lo", f"remove {V6} from front"]),
        (("192.0.2.10/24", "front"), (V4, "front"), [f"add {V4} to front", "remove 192.0.2.10/24 from front"]),
        (("2001:db8:f::10/64", "lo"), (V6, "lo"), ["remove 2001:db8:f::10/64 from lo", f"add {V6} to lo"]),
    ],
)
def test_what_is_ours_moves(tmp_path, first, then, steps):
    record = str(tmp_path / "record")
    call(first[0], interface=first[1], record=record)
    assert call(then[0], interface=then[1], record=record) == steps
    bare = then[0]
    assert [entry["local"] for name in ("lo", "front") for entry in seen(name).values()] == [bare]
    # It is still delivered here.
    assert ip("route", "get", bare)[0]["type"] == "local"
    assert call(then[0], interface=then[1], record=record) == []


def test_absent():
    call(V4, V6, "192.0.2.11")
    ip("address", "add", "192.0.2.12/32", "dev", "front", "label", "front:1")
    assert call(V4, V6, "192.0.2.12", state="absent") == [
        f"remove {address} from front" for address in (V4, V6, "192.0.2.12")
    ]
    assert set(seen("front")) == {"192.0.2.11/32"}
    assert call(V4, V6, "192.0.2.12", state="absent") == []
    assert call(V4, state="absent", interface="nowhere") == []


def test_an_interface_that_is_down():
    ip("link", "set", "front", "down")
    call(V4, V6)
    assert set(seen("front")) == {"192.0.2.10/32", "2001:db8:f::10/128"}
    assert call(V4, V6) == []


def test_a_dummy_interface(tmp_path):
    options: dict[str, t.Any] = {"interface": "lvs0", "dummy": True, "source": False, "purge": "owned"}
    options["record"] = str(tmp_path / "record")
    assert call(**options) == []
    assert call(V4, V6, **options) == [
        "create dummy interface lvs0",
        "set up dummy interface lvs0",
        f"add {V4} to lvs0",
        f"add {V6} to lvs0",
    ]
    (link,) = ip("-details", "link", "show", "dev", "lvs0")
    assert link["linkinfo"]["info_kind"] == "dummy"
    assert "UP" in link["flags"]
    assert seen("lvs0")["192.0.2.10/32"]["scope"] == "host"
    assert seen("lvs0")["2001:db8:f::10/128"]["preferred_life_time"] == 0
    assert call(V4, V6, **options) == []
    ip("link", "set", "lvs0", "down")
    # The kernel drops the IPv6 addresses of an interface that goes down.
    assert call(V4, V6, **options) == ["set up dummy interface lvs0", f"add {V6} to lvs0"]
    assert call(**options)[-1] == "delete dummy interface lvs0"
    assert "lvs0" not in interfaces()
    assert call(**options) == []


def test_a_dummy_interface_of_others_stays(tmp_path):
    ip("link", "add", "lvs0", "type", "dummy")
    options: dict[str, t.Any] = {
        "interface": "lvs0",
        "dummy": True,
        "purge": "owned",
        "record": str(tmp_path / "record"),
    }
    assert call(V4, **options) == ["set up dummy interface lvs0", f"add {V4} to lvs0"]
    assert call(**options) == [f"remove {V4} from lvs0"]
    assert "lvs0" in interfaces()


def test_an_interface_of_another_kind_is_refused():
    with pytest.raises(InvalidValue, match="'front' exists and is not a dummy interface"):
        call(V4, dummy=True)


def test_a_record_brings_all_back_after_a_reboot(tmp_path, netns):
    here, there = str(tmp_path / "front"), str(tmp_path / "lvs0")
    call(V4, V6, record=here)
    call("192.0.2.20", "2001:db8:f::20", interface="lo", source=False, record=there)
    before = seen("front"), seen("lo")
    netns()
    make_front()
    for record in (here, there):
        text = pathlib.Path(record).read_text()
        assert len(_virtual_address.restore(record).steps) == 2
        assert pathlib.Path(record).read_text() == text
        assert _virtual_address.restore(record).steps == []
    assert (seen("front"), seen("lo")) == before


def test_a_record_brings_a_dummy_interface_back_after_a_reboot(tmp_path, netns):
    record = str(tmp_path / "record")
    call(V4, interface="lvs0", dummy=True, source=False, record=record)
    before = seen("lvs0")
    netns()
    _virtual_address.restore(record)
    assert seen("lvs0") == before


def test_a_run_that_died_is_finished_by_the_next(tmp_path, monkeypatch):
    options: dict[str, t.Any] = {"record": str(tmp_path / "record"), "purge": "owned"}
    call(V4, V6, **options)
    want = ("192.0.2.20", "192.0.2.21", "2001:db8:f::20")
    steps = call(*want, check=True, **options)
    assert len(steps) == 5
    for survived in range(len(steps)):
        do, left = RouteNetlink._do, iter(range(survived))

        def die(self: RouteNetlink, step: _address.Step, do: t.Any = do, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise SystemExit("the power went")
            do(self, step)

        with monkeypatch.context() as patch:
            patch.setattr(RouteNetlink, "_do", die)
            with pytest.raises(SystemExit):
                call(*want, **options)
        assert len(call(*want, **options)) == len(steps) - survived
        assert set(seen("front")) == {"192.0.2.20/32", "192.0.2.21/32", "2001:db8:f::20/128"}
        call(V4, V6, **options)
    call(**options)
    assert seen("front") == {}


def test_without_ipv6_on_the_interface():
    pathlib.Path("/proc/sys/net/ipv6/conf/front/disable_ipv6").write_text("1")
    with pytest.raises(InvalidValue, match=r"^addresses\[1\]: IPv6 is disabled on front"):
        call(V4, V6)
    assert seen("front") == {}
    assert call(V4) == [f"add {V4} to front"]


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_without_the_right_to():
    with nobody():
        assert call(V4, check=True) == [f"add {V4} to front"]
        with pytest.raises(Stopped, match=r"CAP_NET_ADMIN is needed.*; 0 steps were done before, 1 were not"):
            call(V4)
    assert seen("front") == {}


def test_a_step_that_fails_says_what_was_done(monkeypatch):
    """Between reading and writing, somebody else adds the second of three addresses."""
    apply = RouteNetlink.apply

    def meanwhile(self: RouteNetlink, steps: list[_address.Step]) -> None:
        ip("address", "add", f"{V6}/128", "dev", "front")
        apply(self, steps)

    monkeypatch.setattr(RouteNetlink, "apply", meanwhile)
    with pytest.raises(Stopped) as failure:
        call(V4, V6, "192.0.2.11")
    assert [str(step) for step in failure.value.done] == [f"add {V4} to front"]
    assert str(failure.value) == (
        f"the kernel refused to add {V6} to front: it exists already; something else changes this host's addresses "
        "at the same time; 1 steps were done before, 2 were not: running again takes up from there"
    )
    monkeypatch.setattr(RouteNetlink, "apply", apply)
    assert call(V4, V6, "192.0.2.11") == ["add 192.0.2.11 to front"]


def test_an_interface_that_vanishes_meanwhile(monkeypatch):
    apply = RouteNetlink.apply

    def meanwhile(self: RouteNetlink, steps: list[_address.Step]) -> None:
        ip("link", "delete", "front")
        apply(self, steps)

    call(V4)
    monkeypatch.setattr(RouteNetlink, "apply", meanwhile)
    assert call(V4, state="absent") == [f"remove {V4} from front"]
    make_front()
    with pytest.raises(Stopped, match=f"the kernel refused to add {V4} to front: there is no interface front any more"):
        call(V4)


def test_an_address_of_another_scope_in_the_subnet():
    ip("address", "add", "192.0.2.1/24", "dev", "front", "scope", "link")
    with pytest.raises(Stopped, match="perhaps front has an address of another scope in its subnet"):
        call("192.0.2.10/24")


WORDS = [f"192.0.2.{number}" for number in range(10, 14)] + [f"2001:db8:f::{number}" for number in range(10, 14)]


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, t.Any]:
    source = draw(st.booleans())
    prefixes = st.sampled_from(["", "/24", "/64"] if source else ["", "/64"])
    listed = draw(st.lists(st.sampled_from(WORDS), unique=True))
    given_prefix = {word: draw(prefixes) for word in listed}
    return {
        "addresses": [
            word + (length if (":" in word) == (length == "/64") else "") for word, length in given_prefix.items()
        ],
        "interface": draw(st.sampled_from(["front", "lo"])),
        "source": source,
        "purge": "owned",
    }


# Each takes some ten runs of ip(8).
@settings(max_examples=t.cast(settings, settings.default).max_examples // 5)
@given(st.lists(wishes(), min_size=1, max_size=4))
def test_any_wish_after_any_other(tmp_path, netns, series):
    """One address of somebody else, in the way of none, is there throughout."""
    netns()
    make_front()
    ip("address", "add", "192.0.2.1/24", "dev", "front")
    record = tmp_path / "record"
    record.unlink(missing_ok=True)
    for wish in series:
        call(record=str(record), **wish)
        want = {word if "/" in word else word + ("/128" if ":" in word else "/32") for word in wish["addresses"]}
        expected: dict[str, set[str]] = {"lo": set(), "front": set(), "client": set()}
        expected[wish["interface"]] |= want
        expected["front"].add("192.0.2.1/24")
        assert {name: set(entries) for name, entries in seen_everywhere().items()} == expected
        assert call(record=str(record), **wish) == []


@pytest.mark.parametrize("vip", ["192.0.2.10", "2001:db8:f::10"])
def test_a_director_is_told_the_narrowest_network_by_ip(vip):
    """ip(8) tells networks of IPv4 and of IPv6 in different orders."""
    ip("address", "add", *(["192.0.2.11/24"] if vip == V4 else ["2001:db8:f::11/64", "nodad"]), "dev", "front")
    wide, router = ("192.0.0.0/16", "192.0.0.1") if vip == V4 else ("2001:db8::/32", "2001:db8::1")
    ip("route", "add", wide, "dev", "client")
    ip("route", "add", "default", "via", router, "dev", "client")

    def told() -> str | None:
        # As the role asks.
        words = ["ip", "-oneline", *(["-6"] if vip == V6 else []), "route", "show", "table", "main", "match", vip]
        routes = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
        assert len(routes) >= 3
        return _director.parse_told(f"network {route}" for route in routes).vip_interface

    assert told() == "front"
    call(vip, interface="client")
    assert told() == "front"
