# SPDX-License-Identifier: GPL-3.0-or-later
"""Words, plans and records of virtual addresses, without a kernel."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils._address import (
    Address,
    Host,
    Link,
    Owned,
    Plan,
    _after,
    format_owned,
    parse_addresses,
    parse_owned,
    plan_absent,
    plan_present,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue, interface_name

V4, V6 = "192.0.2.10", "2001:db8::10"


def on(interface: str, *words: str, source: bool = True) -> tuple[Address, ...]:
    return tuple(parse_addresses(words, interface, source))


def host(*addresses: Address, links: tuple[Link, ...] = (), ipv6: bool = True) -> Host:
    known = (Link("lo"), Link("eth0"), Link("eth1"), *links)
    return Host({link.name: link for link in known}, addresses, ipv6)


def texts(plan: Plan) -> list[str]:
    return [str(step) for step in plan.steps]


# -- words --


@pytest.mark.parametrize(
    ("words", "address", "prefix", "text"),
    [
        ("192.0.2.10", "192.0.2.10", 32, "192.0.2.10"),
        ("192.0.2.10/32", "192.0.2.10", 32, "192.0.2.10"),
        ("192.0.2.10/24", "192.0.2.10", 24, "192.0.2.10/24"),
        ("2001:DB8:0::10", "2001:db8::10", 128, "2001:db8::10"),
        ("2001:db8::10/64", "2001:db8::10", 64, "2001:db8::10/64"),
    ],
)
def test_an_address_has_one_form(words, address, prefix, text):
    (value,) = on("eth0", words)
    assert value == Address("eth0", address, prefix)
    assert str(value) == text
    assert on("eth0", text) == (value,)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["192.0.2.1", "192.0.2.2", "192.0.2.300"], "addresses[2]: '192.0.2.300' is not an IPv4 or IPv6 address"),
        (["fe80::1%eth0"], "addresses[0]: 'fe80::1%eth0' is not an IPv4 or IPv6 address"),
        (["192.0.2.10/33"], "addresses[0]: '192.0.2.10/33' has no prefix length from 1 to 32"),
        (["192.0.2.10/"], "addresses[0]: '192.0.2.10/' has no prefix length from 1 to 32"),
        (["192.0.2.10/0"], "addresses[0]: '192.0.2.10/0' has no prefix length from 1 to 32"),
        (["192.0.2.10/255.255.255.0"], "addresses[0]: '192.0.2.10/255.255.255.0' has no prefix length from 1 to 32"),
        (["2001:db8::/129"], "addresses[0]: '2001:db8::/129' has no prefix length from 1 to 128"),
        (["0.0.0.0"], "addresses[0]: '0.0.0.0' is not a unicast address"),
        (["224.0.0.18"], "addresses[0]: '224.0.0.18' is not a unicast address"),
        (["::"], "addresses[0]: '::' is not a unicast address"),
        (["ff02::12"], "addresses[0]: 'ff02::12' is not a unicast address"),
        ([""], "addresses[0]: '' is not an IPv4 or IPv6 address"),
        ([5], "addresses[0]: 5 is not an IPv4 or IPv6 address"),
        ([None], "addresses[0]: None is not an IPv4 or IPv6 address"),
        ("192.0.2.10", "addresses: '192.0.2.10' is not a list"),
        ([V4, V6, "192.0.2.10/24"], "addresses[2]: 192.0.2.10 is listed already, as addresses[0]"),
        ([V6, "2001:db8:0:0::10"], "addresses[1]: 2001:db8::10 is listed already, as addresses[0]"),
    ],
)
def test_bad_addresses_are_refused(words, message):
    with pytest.raises(InvalidValue) as error:
        parse_addresses(words, "eth0")
    assert str(error.value) == message


def test_an_address_with_a_subnet_is_a_source():
    message = (
        "addresses[1]: '192.0.2.10/24' has a subnet, and would be the source of what goes there: leave its prefix out"
    )
    with pytest.raises(InvalidValue) as error:
        on("eth0", V6, "192.0.2.10/24", source=False)
    assert str(error.value) == message
    assert len(on("eth0", "192.0.2.10/32", "2001:db8::10/64", source=False)) == 2


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a:1", ".", "..", "sixteen_letters_", "\N{SNOWMAN}" * 6, None])
def test_bad_interface_names_are_refused(name):
    with pytest.raises(InvalidValue, match=r"interface: .* is not the name of an interface"):
        interface_name("interface", name)


@pytest.mark.parametrize("name", ["lo", "eth0.100", "fifteen_letters"])
def test_interface_names(name):
    assert interface_name("interface", name) == name


# -- present --


@pytest.mark.parametrize(
    ("have", "steps"),
    [
        ((), [f"add {V4} to eth0", f"add {V6} to eth0"]),
        (on("eth0", V4, V6), []),
        (on("eth0", V6), [f"add {V4} to eth0"]),
        # Another source: the scope of an IPv4 address cannot be edited.
        (on("eth0", V4, source=False) + on("eth0", V6), [f"remove {V4} from eth0", f"add {V4} to eth0"]),
        (on("eth0", V4) + on("eth0", V6, source=False), [f"change {V6} on eth0"]),
        # A lifetime that ends is made one that does not.
        ((Address("eth0", V4, 32, permanent=False), *on("eth0", V6)), [f"change {V4} on eth0"]),
        # What is not listed stays.
        (on("eth0", V4, V6, "192.0.2.11/24") + on("eth1", "198.51.100.1/24"), []),
    ],
)
def test_present(have, steps):
    want = on("eth0", V4, V6)
    plan = plan_present(host(*have), Owned(), want)
    assert texts(plan) == steps
    after = _after(host(*have), plan.steps)
    assert set(after.addresses) >= set(want)
    assert plan_present(after, plan.outcome, want).steps == []


@pytest.mark.parametrize(
    ("have", "want", "message"),
    [
        (on("eth1", V4), on("eth0", V6, V4), f"addresses[1]: {V4} is on the interface eth1 already"),
        (on("eth1", "192.0.2.10/24"), on("eth0", V4), f"addresses[0]: {V4} is on the interface eth1 already"),
        (
            on("eth0", "192.0.2.10/24"),
            on("eth0", V4),
            f"addresses[0]: {V4} is on eth0 with the prefix length 24, not 32",
        ),
        ((), on("eth7", V4), "interface: there is no interface 'eth7'"),
    ],
)
def test_what_others_made_is_not_overridden(have, want, message):
    with pytest.raises(InvalidValue) as error:
        plan_present(host(*have), Owned(), want, purge=True)
    assert str(error.value) == message


def test_a_link_local_address_may_be_on_several_interfaces():
    plan = plan_present(host(*on("eth1", "fe80::1")), Owned(), on("eth0", "fe80::1"))
    assert texts(plan) == ["add fe80::1 to eth0"]


def test_ipv6_that_is_disabled_is_an_error_before_any_step():
    no_ipv6 = host(links=(Link("eth2", ipv6=False),))
    assert texts(plan_present(no_ipv6, Owned(), on("eth2", V4))) == [f"add {V4} to eth2"]
    with pytest.raises(InvalidValue) as error:
        plan_present(no_ipv6, Owned(), on("eth2", V4, V6))
    assert str(error.value) == f"addresses[1]: IPv6 is disabled on eth2, which cannot have {V6}"
    with pytest.raises(InvalidValue, match="IPv6 is disabled on lvs0"):
        plan_present(host(ipv6=False), Owned(), on("lvs0", V6), ["lvs0"])


# -- ownership --


def test_only_what_was_missing_becomes_ours():
    plan = plan_present(host(*on("eth0", V4)), Owned(), on("eth0", V4, V6))
    assert plan.outcome == Owned(on("eth0", V6))


def test_purge_removes_what_is_ours_and_nothing_else():
    have = on("eth0", V4, "192.0.2.11", "192.0.2.12")
    ours = Owned(on("eth0", V4, "192.0.2.11"))
    want = on("eth0", V4)
    plan = plan_present(host(*have), ours, want, purge=True)
    assert texts(plan) == ["remove 192.0.2.11 from eth0"]
    assert plan.intent == ours
    assert plan.outcome == Owned(want)


def test_without_purge_what_is_ours_stays_and_stays_ours():
    ours = Owned(on("eth0", V4, "192.0.2.11"))
    plan = plan_present(host(*ours.addresses), ours, on("eth0", V6))
    assert texts(plan) == [f"add {V6} to eth0"]
    assert set(plan.outcome.addresses) == set(on("eth0", V4, "192.0.2.11", V6))


def test_additions_come_before_removals():
    ours = Owned(on("eth0", V4))
    plan = plan_present(host(*ours.addresses), ours, on("eth0", "192.0.2.20"), purge=True)
    assert texts(plan) == ["add 192.0.2.20 to eth0", f"remove {V4} from eth0"]


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize(
    ("ours", "want", "steps"),
    [
        (on("eth1", V4, V6), on("eth0", V4, V6), ["add 4 to 0", "add 6 to 0", "remove 4 from 1", "remove 6 from 1"]),
        (on("eth0", "192.0.2.10/24"), on("eth0", V4), ["add 4 to 0", "remove 4/24 from 0"]),
        # The kernel takes an IPv6 address once on an interface.
        (on("eth0", "2001:db8::10/64"), on("eth0", V6), ["remove 6/64 from 0", "add 6 to 0"]),
    ],
)
def test_what_is_ours_moves(ours, want, steps, purge):
    plan = plan_present(host(*ours), Owned(ours), want, purge=purge)
    long = {"4": V4, "4/24": f"{V4}/24", "6": V6, "6/64": f"{V6}/64", "0": "eth0", "1": "eth1"}
    assert texts(plan) == [" ".join(long.get(word, word) for word in step.split()) for step in steps]
    assert plan.outcome == Owned(want)


@pytest.mark.parametrize("done", range(4))
def test_a_run_that_died_is_finished_by_the_next(done):
    """Whatever it had done: the record says at least what is there, and the end is the same."""
    ours, want = Owned(on("eth0", V4, V6)), on("eth0", V6, "192.0.2.20", "192.0.2.21")
    first = plan_present(host(*ours.addresses), ours, want, purge=True)
    assert len(first.steps) == 3
    died = _after(host(*ours.addresses), first.steps[:done])
    second = plan_present(died, first.intent, want, purge=True)
    assert set(_after(died, second.steps).addresses) == set(want)
    assert second.outcome == first.outcome


def test_an_entry_of_the_record_that_is_gone_from_the_host_is_forgotten():
    plan = plan_present(host(), Owned(on("eth0", V4)), [], purge=True)
    assert plan.steps == []
    assert plan.outcome == Owned()


# -- absent --


def test_absent_removes_what_is_named_whoever_made_it():
    have = on("eth0", V4, V6, "192.0.2.11") + on("eth1", "198.51.100.1")
    plan = plan_absent(host(*have), Owned(on("eth0", V6, "192.0.2.11")), on("eth0", V4, V6, "192.0.2.99"))
    assert texts(plan) == [f"remove {V4} from eth0", f"remove {V6} from eth0"]
    assert plan.outcome == Owned(on("eth0", "192.0.2.11"))


@pytest.mark.parametrize("have", [(), on("eth1", V4)])
def test_absent_is_content_where_there_is_nothing(have):
    assert plan_absent(host(*have), Owned(), on("eth0", V4)).steps == []
    assert plan_absent(host(*have), Owned(), on("eth7", V4)).steps == []


def test_absent_does_not_guess_the_prefix_length():
    with pytest.raises(InvalidValue) as error:
        plan_absent(host(*on("eth0", "192.0.2.10/24")), Owned(), on("eth0", V4))
    assert str(error.value) == f"addresses[0]: {V4} is on eth0 with the prefix length 24, not 32"


# -- dummy interfaces --


def dummy(*addresses: Address, up: bool = True) -> Host:
    return host(*addresses, *on("lvs0", "fe80::5/64"), links=(Link("lvs0", "dummy", up),))


def test_a_dummy_interface_is_created_for_its_first_address():
    want = on("lvs0", V4)
    plan = plan_present(host(), Owned(), want, ["lvs0"])
    assert texts(plan) == ["create dummy interface lvs0", "set up dummy interface lvs0", f"add {V4} to lvs0"]
    assert plan.outcome == Owned(want, ("lvs0",))
    assert plan_present(host(), Owned(), [], ["lvs0"]).steps == []
    assert plan_present(dummy(*want), plan.outcome, want, ["lvs0"], purge=True).steps == []


def test_a_dummy_interface_that_is_down_is_set_up():
    plan = plan_present(dummy(*on("lvs0", V4), up=False), Owned(), on("lvs0", V4), ["lvs0"])
    assert texts(plan) == ["set up dummy interface lvs0"]
    assert plan.outcome == Owned()
    assert "up: false" in plan.before
    assert "up: false" not in plan.after


def test_another_interface_is_not_taken_for_a_dummy():
    with pytest.raises(InvalidValue) as error:
        plan_present(host(), Owned(), on("eth0", V4), ["eth0"])
    assert str(error.value) == "interface: 'eth0' exists and is not a dummy interface"


OURS = Owned(on("lvs0", V4), ("lvs0",))
GOES = [f"remove {V4} from lvs0", "delete dummy interface lvs0"]


@pytest.mark.parametrize(
    ("have", "owned", "steps", "left"),
    [
        (dummy(*on("lvs0", V4)), OURS, GOES, Owned()),
        # Not created by us.
        (dummy(*on("lvs0", V4)), Owned(on("lvs0", V4)), GOES[:1], Owned()),
        # Others use it.
        (dummy(*on("lvs0", V4, V6)), OURS, GOES[:1], Owned((), ("lvs0",))),
        # Others have made another one of that name.
        (host(*on("lvs0", V4), links=(Link("lvs0", "bridge"),)), OURS, GOES[:1], Owned((), ("lvs0",))),
        (host(), OURS, [], Owned()),
    ],
)
def test_a_dummy_interface_of_ours_goes_with_its_last_address(have, owned, steps, left):
    purged = plan_present(have, owned, [], ["lvs0"], purge=True)
    absent = plan_absent(have, owned, on("lvs0", V4))
    assert texts(purged) == texts(absent) == steps
    assert purged.outcome == absent.outcome == left


def test_addresses_leave_a_dummy_interface_before_it_goes():
    plan = plan_present(dummy(*on("lvs0", V4)), OURS, on("lo", V4), purge=True)
    assert texts(plan) == [f"add {V4} to lo", *GOES]
    assert plan.outcome == Owned(on("lo", V4))


def test_the_record_brings_everything_back():
    plan = plan_present(host(), OURS, OURS.addresses, OURS.dummies)
    assert len(plan.steps) == 3
    assert plan.intent == plan.outcome == OURS


# -- record and diff --


def test_a_record_survives_its_file():
    owned = Owned((*on("eth0", V4, "2001:db8::10/64"), *on("lo", "192.0.2.11", source=False)), ("lvs0",))
    assert parse_owned(json.loads(json.dumps(format_owned(owned)))) == owned
    assert parse_owned({}) == Owned()


@pytest.mark.parametrize(
    "record",
    [
        {"services": []},
        {"addresses": [], "dummies": [5]},
        {"addresses": ["192.0.2.10"], "dummies": []},
        {"addresses": [{"interface": "lo", "address": "192.0.2.300", "source": True}], "dummies": []},
        {"addresses": [{"interface": "lo", "address": "192.0.2.10"}], "dummies": []},
        {"addresses": 5, "dummies": []},
    ],
)
def test_another_file_is_not_taken_for_a_record(record):
    with pytest.raises(InvalidValue, match=r"^record: is not a record of virtual addresses$"):
        parse_owned(record)


def test_the_diff_is_yaml():
    have = dummy(*on("lvs0", V4, source=False), *on("eth0", "192.0.2.1/24"))
    plan = plan_present(have, OURS, on("eth0", "2001:db8::"), purge=True)
    assert plan.before == "- interface: lvs0\n  dummy: true\n  source: false\n  addresses:\n    - 192.0.2.10\n"
    assert plan.after == '- interface: eth0\n  addresses:\n    - "2001:db8::"\n'


# -- any state, any wish --

ADDRESSES = [f"192.0.2.{number}" for number in range(1, 5)] + [f"2001:db8::{number}" for number in range(1, 4)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Host, Owned, tuple[Address, ...], bool]:
    """A host with addresses of ours and of others, and a wish that does not clash with theirs."""
    whose = draw(st.lists(st.sampled_from(["none", "ours", "gone", "others"]), min_size=7, max_size=7))
    prefix = {word: st.sampled_from([24, 32] if "." in word else [64, 128]) for word in ADDRESSES}
    place = st.sampled_from(["eth0", "eth1", "lvs0"])
    values = {
        word: Address(draw(place), word, draw(prefix[word]), draw(st.booleans()), draw(st.booleans()))
        for word in ADDRESSES
    }
    owned = [values[word] for word, state in zip(ADDRESSES, whose, strict=True) if state in ("ours", "gone")]
    there = [values[word] for word, state in zip(ADDRESSES, whose, strict=True) if state in ("ours", "others")]
    interface = draw(place)
    want = []
    for word, state in zip(ADDRESSES, whose, strict=True):
        if draw(st.booleans()) and (state != "others" or values[word].interface == interface):
            length = values[word].prefix if state == "others" else draw(prefix[word])
            want.append(Address(interface, word, length, draw(st.booleans())))
    has_dummy = draw(st.booleans()) or any(address.interface == "lvs0" for address in there)
    links = (Link("lvs0", "dummy", draw(st.booleans())),) if has_dummy else ()
    return (
        host(*there, links=links),
        Owned(tuple(owned), draw(st.sampled_from([(), ("lvs0",)]))),
        tuple(want),
        draw(st.booleans()),
    )


@given(situations())
def test_any_state_becomes_any_wish(situation):
    have, owned, want, purge = situation
    dummies = {"lvs0"} if "lvs0" in {address.interface for address in want} else set()
    plan = plan_present(have, owned, want, dummies, purge)
    after = _after(have, plan.steps)
    ours = {address.place for address in owned.addresses}
    wanted = {address.place for address in want}

    assert set(want) <= set(after.addresses)
    others = {there for there in have.addresses if there.place not in ours | wanted}
    assert others <= set(after.addresses)
    if purge:
        assert set(after.addresses) == others | set(want)
    # The record never says that something of others is ours, and with what it says, all is done.
    assert not {address.place for address in plan.outcome.addresses} & {there.place for there in others}
    assert {address.place for address in plan.intent.addresses} >= ours
    again = plan_present(after, plan.outcome, want, dummies, purge)
    assert again.steps == []
    assert again.outcome == plan.outcome
    assert again.before == again.after
