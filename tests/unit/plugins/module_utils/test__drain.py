# SPDX-License-Identifier: GPL-3.0-or-later
"""What it means to drain: the decisions, without a kernel or a clock."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain as drain
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._drain import Drain, DrainKey, Drains, Register, SettingStep
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    Entry,
    InvalidValue,
    RealServer,
    RealServerKey,
    ServiceKey,
    Table,
    Tunnel,
    VirtualService,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import after, plan, union
from tests.unit.tables import pairs, tables


def table(*weights: int, **attributes: object) -> Table:
    """A service whose real servers 198.51.100.21, 22, ... have these weights."""
    servers = [{"address": f"198.51.100.{21 + n}", "weight": weight} for n, weight in enumerate(weights)]
    words = {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": servers}
    return options.parse_services([{**words, **attributes}])


def key(number: int, protocol: str = "tcp") -> DrainKey:
    return ServiceKey("ipv4", protocol, "192.0.2.10", 80), RealServerKey(f"198.51.100.{20 + number}", 80)


def drained(have: Table, *numbers: int, held: int | None = 0) -> Drains:
    servers = {key(number): drain.live(have, key(number)) for number in numbers}
    return {where: Drain(server, held, 1000.0) for where, server in servers.items() if server}


def weight(of: Table, where: DrainKey) -> int:
    """The weight of a real server; -1 if it is not there."""
    server = drain.live(of, where)
    return -1 if server is None else server.weight


def weights(of: Table) -> list[int]:
    return [server.weight for entry in of.values() for _key, server in sorted(entry.real_servers.items())]


@st.composite
def registers(draw: st.DrawFn, have: Table) -> Register:
    """A register in which some of a table's real servers are drained."""
    drains = {
        (service, server): Drain(words, draw(st.one_of(st.none(), st.integers(0, 9))), draw(st.floats(0, 2e9)), draw(st.booleans()), draw(st.sampled_from(["", "/drains/1"])))
        for service, entry in have.items()
        for server, words in entry.real_servers.items()
        if draw(st.booleans())
    }  # fmt: skip
    return Register(drains, draw(st.sampled_from([None, 0, 1])))


# -- the record ----------------------------------------------------------------------------------


@given(st.data())
def test_the_record_holds_the_register(data):
    register = data.draw(registers(data.draw(tables())))
    words = json.loads(json.dumps(drain.format_register(register)))
    assert drain.parse_register(words, "record") == register
    assert drain.format_register(drain.parse_register(words, "record")) == words


def test_no_record_is_no_drain():
    assert drain.parse_register({}, "record") == Register({}, None)


ENTRY = drain.format_register(Register(drained(table(3), 1)))["drains"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"service": 1}, "record: drains[1].service: is not there"),
        ({"service": {"protocol": "tcp"}}, "record: drains[1].address: is required"),
        ({"real_server": None}, "record: drains[1].real_server: is not there"),
        ({"real_server": {"address": "here"}}, "record: drains[1].address: 'here' is not"),
        ({"held_weight": -1}, "record: drains[1].held_weight: -1 is not"),
        ({"since": "now"}, "record: drains[1].since: 'now' is not a time"),
        ({"since": True}, "record: drains[1].since: True is not a time"),
        ({"unfinished": "maybe"}, "record: drains[1].unfinished: 'maybe' is not"),
    ],
)
def test_a_damaged_record_names_the_place(change, message):
    with pytest.raises(InvalidValue) as refused:
        drain.parse_register({"drains": [ENTRY, {**ENTRY, **change}]}, "record")
    assert str(refused.value).startswith(message)


# -- drain and bring back ------------------------------------------------------------------------


@given(st.data())
def test_there_and_back_is_as_it_was(data):
    have = data.draw(tables())
    keys = [
        (service, server)
        for service, entry in have.items()
        for server in entry.real_servers
        if data.draw(st.booleans())
    ]
    remove, parts = data.draw(st.booleans()), data.draw(st.integers(2, 5))

    move = drain.begin(Register({}), keys, have, 1000.0, True)
    now = after(have, move.steps)
    assert all(weight(now, one) == 0 for one in keys)
    assert set(move.outcome) == set(keys)
    # Nothing else was touched, and what is at 0 got no message.
    assert len(move.steps) == sum(weight(have, one) > 0 for one in keys)

    # A second run of the same has nothing to do, and forgets nothing.
    again = drain.begin(Register(move.outcome), keys, now, 2000.0, True)
    assert (again.steps, again.outcome) == ([], move.outcome)

    # From here, it can fail ...
    back = drain.undo(Register(move.outcome), dict.fromkeys(keys), now)
    assert after(now, back.steps) == have
    assert back.outcome == {}

    # ... or end, and be brought back, in as many steps as one likes.
    ended = drain.finish(Register(move.outcome), keys, now, remove)
    now = after(now, ended.steps)
    assert not any(entry.unfinished for entry in ended.outcome.values())
    assert all((weight(now, one) == -1) == remove for one in keys)
    register = Register(ended.outcome)
    for part in range(1, parts + 1):
        before = now
        move = drain.rise(register, keys, now, part, parts)
        register, now = Register(move.outcome), after(now, move.steps)
        assert all(weight(now, one) >= weight(before, one) for one in keys)
    assert now == have
    assert register.drains == {}


def test_the_record_is_true_before_the_kernel_is():
    """Who applies the services after a run that died in the middle of a step completes it, and undoes nothing."""
    want = have = table(10, 1)
    for move in (
        begun := drain.begin(Register({}), [key(1)], have, 1000.0, True),
        drain.rise(Register(begun.outcome), [key(1)], after(have, begun.steps), 1, 2),
    ):
        then = after(have, move.steps)
        assert plan(then, drain.held(want, move.intent), {}) == []
        have = then


def test_a_rise_lowers_nothing():
    full = table(10)
    for live, held, part, expected in [(7, 0, 1, 7), (0, 6, 1, 6), (0, 0, 1, 2), (12, 0, 1, 10), (0, 0, 5, 10)]:
        register = Register(drained(full, 1, held=held))
        move = drain.rise(register, [key(1)], table(live), part, 5)
        assert weights(after(table(live), move.steps)) == [expected]
        assert (key(1) in move.outcome) == (expected < 10)


def test_where_the_service_is_gone_there_is_nothing_to_bring_back():
    register = Register(drained(table(3), 1))
    assert drain.rise(register, [key(1)], {}, 1, 1) == drain.Move(drained(table(3), 1, held=3), {}, [])


def test_what_comes_back_can_be_drained_again_and_undone_to_where_it_was():
    full, now = table(10, 1), table(4, 1)
    register = Register(drained(full, 1, held=4))
    move = drain.begin(register, [key(1)], now, 2000.0, True)
    assert weights(after(now, move.steps)) == [0, 1]
    assert move.outcome[key(1)] == Drain(full[key(1)[0]].real_servers[key(1)[1]], 0, 2000.0, True)
    back = drain.undo(Register(move.outcome), {key(1): register.drains[key(1)]}, after(now, move.steps))
    assert weights(after(now, [*move.steps, *back.steps])) == [4, 1]
    assert back.outcome == register.drains


def test_undo_leaves_what_something_else_brought_back():
    have = table(0, 5)
    for drains in ({}, drained(table(3, 3), 1, held=2)):
        assert drain.undo(Register(drains), {key(1): None}, have, {key(1)[1].address: 0}) == drain.Move(
            drains, drains, []
        )


# -- through keepalived ----------------------------------------------------------------------------


def checked_of(have: Table, quorum: int = 1, **values: int) -> drain.Checked:
    servers = {
        (service, server): words for service, entry in have.items() for server, words in entry.real_servers.items()
    }
    held = {f"198.51.100.2{name[1:]}": value for name, value in values.items()}
    return drain.Checked(servers, dict.fromkeys(have, quorum), "/drains", held)


def test_a_file_for_each_address_and_no_message():
    have = union(table(100, 50), table(10, 10, protocol="udp"))
    keys = [key(1), key(1, "udp")]
    checked = checked_of(have)
    move = drain.begin(Register({}), keys, have, 1000.0, True, checked)
    assert (move.steps, move.files) == ([], {"198.51.100.21": drain.DRAINED})
    assert {one.file for one in move.outcome.values()} == {"/drains/198.51.100.21"}
    change = drain.change(Register({}), move, have, 0, checked)
    assert list(map(str, change.done)) == [f"write {drain.DRAINED} to /drains/198.51.100.21"]
    assert weights(change.table) == [0, 50, 0, 10]
    assert weights(have) == [100, 50, 10, 10]
    # Who is ours has a file too, should it become keepalived's; and the message that it needs.
    mixed = drain.Checked({key(1): have[key(1)[0]].real_servers[key(1)[1]]}, {}, "/drains")
    move = drain.begin(Register({}), [*keys, key(2)], have, 1000.0, True, mixed)
    assert move.files == {"198.51.100.21": drain.DRAINED, "198.51.100.22": drain.DRAINED}
    assert sorted(str(step.service.key.protocol) for step in move.steps) == ["tcp", "udp"]
    # It holds already what it is to hold: nothing is written.
    again = drain.begin(Register(move.outcome), keys, have, 1000.0, True, checked_of(have, a1=drain.DRAINED))
    assert drain.change(Register({}), again, have, 0, checked_of(have, a1=drain.DRAINED)).files == []


@pytest.mark.parametrize(
    ("live", "value", "new", "then"),
    [
        (100, 0, drain.DRAINED, 0),
        (0, drain.DRAINED, 0, 100),
        (0, drain.DRAINED, -30, 70),
        (70, -30, -10, 90),
        # Ill, with weight 0, and weighed by its check: what it will be is keepalived's to say.
        (0, 0, -30, 0),
        (0, -30, 0, 0),
        (40, 0, -30, 40),
        (80, 0, -30, 70),
    ],
)
def test_what_keepalived_will_make_of_a_file(live, value, new, then):
    checked = checked_of(table(100), a1=value)
    move = drain.Move({}, {}, [], {"198.51.100.21": new})
    assert weights(drain.moved(table(live), move, checked)) == [then]
    # Who is not there has no weight.
    assert drain.moved({}, move, checked) == {}


@pytest.mark.parametrize(
    ("value", "part", "expected"),
    [
        (drain.DRAINED, 1, [20, 0, 1]),
        (drain.DRAINED, 3, [60, 10, 1]),
        (drain.DRAINED, 4, [80, 30, 1]),
        (drain.DRAINED, 5, [100, 50, 1]),
        # Nothing is lowered on the way.
        (-10, 1, [90, 40, 1]),
        (0, 1, [100, 50, 1]),
        # Written by hand.
        (40, 1, [100, 50, 1]),
    ],
)
def test_one_file_for_the_weights_of_an_address(value, part, expected):
    have = union(table(100), union(table(50, protocol="udp"), table(1, protocol="sctp")))
    keys = [key(1), key(1, "udp"), key(1, "sctp")]
    whole = checked_of(have, a1=value)
    # That of SCTP is ours: at least 1.
    checked = whole._replace(servers={one: whole.servers[one] for one in keys[:2]})
    now = {
        service: entry
        for one in (table(0), table(0, protocol="udp"), table(0, protocol="sctp"))
        for service, entry in one.items()
    }
    register = Register({one: Drain(whole.servers[one], 0, 1000.0) for one in keys})
    move = drain.rise(register, keys, now, part, 5, checked, ["198.51.100.21"])
    assert [move.intent[one].held for one in keys] == expected
    assert {one: one in move.outcome for one in keys} == {
        one: held < weight(have, one) for one, held in zip(keys, expected, strict=True)
    }


def test_an_address_that_is_nobodys_has_no_use_for_its_file():
    checked = drain.Checked({}, {}, "/drains", {"198.51.100.21": drain.DRAINED})
    move = drain.rise(Register({}), [], {}, 1, 5, checked, ["198.51.100.21", "198.51.100.22"])
    assert move == drain.Move({}, {}, [], {"198.51.100.21": 0})


def test_undo_gives_a_file_back_what_it_held():
    have = table(100, 50)
    checked = checked_of(have, a1=-30)
    begun = drain.begin(Register({}), [key(1)], have, 1000.0, True, checked)
    back = drain.undo(Register(begun.outcome), {key(1): None}, table(0, 50), {"198.51.100.21": -30})
    assert (back.outcome, back.steps, back.files) == ({}, [], {"198.51.100.21": -30})


def test_to_finish_leaves_in_the_table_who_is_keepalived_s():
    have = table(0, 50)
    begun = drain.begin(Register({}), [key(1)], have, 1000.0, True, checked_of(table(100, 50)))
    ended = drain.finish(Register(begun.outcome), [key(1)], have, True)
    assert (ended.steps, ended.outcome[key(1)].held) == ([], 0)


@pytest.mark.parametrize(
    ("weights", "quorum", "fault"),
    [
        ((3, 3), 3, ""),
        ((3, 2), 3, "quorum: service tcp 192.0.2.10:80 would keep a weight of 2 of 5, and"),
        ((3, 0), 3, ""),
    ],
)
def test_a_quorum_is_a_floor_as_long_as_anything_is_left(weights, quorum, fault):
    have = table(*weights)
    checked = checked_of(have, quorum)
    move = drain.begin(Register({}), [key(1)], have, 1000.0, True, checked)
    found = drain.floors(have, move, {}, 0, 0, checked)
    assert "".join(found).startswith(fault)
    assert bool(found) == bool(fault)


def test_bad_words_of_keepalived_s_services():
    words = {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": [{"address": "198.51.100.21"}]}
    assert list(drain.parse_checked([{**words, "quorum": "2"}], "/drains").quorums.values()) == [2]
    for bad, message in (
        ([words, 5], r"health_checked\[1\]: 5 is not a dictionary"),
        ([{**words, "quorum": 0}], r"health_checked\[0\].quorum: 0 is not an integer from 1"),
        ([{**words, "health_check": {}}], r"health_checked\[0\].health_check: there is no such option here"),
    ):
        with pytest.raises(InvalidValue, match=f"^{message}"):
            drain.parse_checked(bad, "/drains")


# -- who is meant --------------------------------------------------------------------------------


def test_addresses_have_one_form():
    given = ["198.51.100.21", "2001:DB8::0021", "198.51.100.21"]
    assert drain.parse_addresses(given) == {"198.51.100.21": 0, "2001:db8::21": 1}
    with pytest.raises(InvalidValue, match=r"^real_servers\[1\]: 'web1' is not"):
        drain.parse_addresses(["198.51.100.21", "web1"])


def test_select():
    have = union(table(1, 1), table(1, 1, protocol="udp"))
    one, two, nobody = "198.51.100.21", "198.51.100.22", "198.51.100.99"
    assert drain.select([one, nobody], Register({}), have, None) == ([key(1), key(1, "udp")], [], [nobody])
    ours = {key(1)[0]}
    assert drain.select([one], Register({}), have, ours) == ([key(1)], [key(1, "udp")], [])
    assert drain.select([one], Register({}), have, set()) == ([], [key(1), key(1, "udp")], [one])
    # What is drained is ours, whether it is there or not.
    register = Register(drained(have, 2))
    assert drain.select([two], register, {}, set()) == ([key(2)], [], [])


@pytest.mark.parametrize(
    ("service", "server"),
    [
        ({}, {"forwarding": "direct", "key": RealServerKey("198.51.100.21", 8080)}),
        ({}, {"forwarding": "4"}),
        ({}, {"forwarding": "tunnel", "tunnel": Tunnel("9", 0, "none")}),
        ({"protocol": "99"}, {}),
    ],
)
def test_what_others_made_and_no_option_says_is_left_alone(service, server):
    """The kernel takes it. In the record it would keep all that follows from reading it."""
    there = RealServer(key(1)[1])._replace(**server)
    where = key(1)[0]._replace(**service)
    odd: Table = {where: Entry(VirtualService(where), {there.key: there})}
    for ours in (None, {where}):
        assert drain.select(["198.51.100.21"], Register({}), odd, ours) == ([], [(where, there.key)], ["198.51.100.21"])


# -- floors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("have", "already", "now", "servers", "percent", "fault"),
    [
        (table(1, 1, 1), (), (1,), 2, 66, None),
        (table(1, 1, 1), (), (1,), 2, 67, "minimum_weight: service tcp 192.0.2.10:80 would keep a weight of 2 of 3, not 67 percent"),
        (table(1, 1, 1), (), (1,), 3, 0, "minimum_servers: service tcp 192.0.2.10:80 would keep 2 of 3 real servers in use, not 3"),
        (table(1), (), (1,), 1, 0, "minimum_servers: service tcp 192.0.2.10:80 would keep 0 of 1 real servers in use, not 1"),
        (table(1), (), (1,), 0, 0, None),
        # What has no weight to lose, loses none.
        (table(0, 1), (), (1,), 5, 100, None),
        (table(0, 1), (), (), 5, 100, None),
        # What has no weight of its own does not carry any.
        (table(1, 0), (), (1,), 1, 0, "minimum_servers"),
        # Who is drained counts with its configured weight in the whole, and not in what is kept.
        (table(8, 1, 1), (1,), (2,), 1, 10, None),
        (table(8, 1, 1), (1,), (2,), 1, 11, "would keep a weight of 1 of 10"),
    ],
)  # fmt: skip
def test_floors(have, already, now, servers, percent, fault):
    drains = drained(have, *already)
    live = after(have, drain.begin(Register({}), [key(n) for n in already], have, 0.0, False).steps)
    move = drain.begin(Register(drains), [key(n) for n in now], live, 0.0, False)
    faults = drain.floors(live, move, drains, servers, percent)
    assert len(faults) == (fault is not None)
    assert fault is None or fault in faults[0]


def test_every_service_that_is_left_with_too_little_is_named():
    have = union(table(1), table(1, protocol="udp"))
    move = drain.begin(Register({}), [key(1), key(1, "udp")], have, 0.0, False)
    assert [fault.split()[2] for fault in drain.floors(have, move, {}, 1, 0)] == ["tcp", "udp"]


# -- the sysctl ----------------------------------------------------------------------------------

PERSISTENT = {"persistence_timeout": 60}


@pytest.mark.parametrize(
    ("attributes", "setting", "steps", "kept"),
    [
        ({}, 0, [], None),
        (PERSISTENT, 0, [SettingStep(1, 0)], 0),
        (PERSISTENT, 1, [], None),
    ],
)
def test_the_setting_is_on_for_as_long_as_it_is_needed(attributes, setting, steps, kept):
    have = table(1, 1, **attributes)
    there = drain.begin(Register({}), [key(1)], have, 0.0, False)
    assert drain.concerns_setting(Register({}), there, have) == bool(attributes)
    change = drain.change(Register({}), there, have, setting)
    assert (change.before, change.behind) == (steps, [])
    # The record knows of it first.
    assert change.intent.setting == change.outcome.setting == kept
    assert change.done == [*steps, *there.steps]

    now = 1 if steps else setting
    back = drain.rise(change.outcome, [key(1)], change.table, 1, 1)
    end = drain.change(change.outcome, back, change.table, now)
    assert (end.before, end.behind) == ([], [SettingStep(0, 1)] if steps else [])
    assert (end.intent.setting, end.outcome.setting) == (kept, None)
    assert end.done == [*back.steps, *end.behind]


def test_the_setting_is_kept_for_others_and_for_nobody_who_is_removed():
    have = table(1, 1, 1, **PERSISTENT)
    both = drain.begin(Register({}), [key(1), key(2)], have, 0.0, False)
    register, now = Register(both.outcome, 0), after(have, both.steps)
    one = drain.change(register, drain.finish(register, [key(1)], now, True), now, 1)
    assert (one.behind, one.outcome.setting) == ([], 0)
    two = drain.change(one.outcome, drain.finish(one.outcome, [key(2)], one.table, True), one.table, 1)
    assert (two.behind, two.outcome.setting) == ([SettingStep(0, 1)], None)


def test_a_setting_that_was_put_back_already_needs_no_step():
    have = table(0, 1, **PERSISTENT)
    register = Register(drained(table(1, 1), 1), 0)
    change = drain.change(register, drain.rise(register, [key(1)], have, 1, 1), have, 0)
    assert (change.before, change.behind, change.outcome.setting) == ([], [], None)


def test_the_setting_in_a_diff():
    assert drain.settings_text([SettingStep(1, 0), SettingStep(0, 1)]) == ("", "")
    assert drain.settings_text(["edit"]) == ("", "")
    text = "- sysctl: net.ipv4.vs.expire_quiescent_template\n  value: {}\n"
    assert drain.settings_text([SettingStep(1, 0)]) == (text.format(0), text.format(1))


# -- what the table respects ---------------------------------------------------------------------


@given(st.data())
def test_held_lowers_and_leaves_out_and_nothing_else(data):
    have, want = data.draw(pairs())
    register = data.draw(registers(have))
    result = drain.held(want, register.drains)
    assert result.keys() == want.keys()
    for service, entry in want.items():
        assert result[service].service == entry.service
        for server, words in entry.real_servers.items():
            there = result[service].real_servers.get(server)
            known = register.drains.get((service, server))
            if known is None:
                assert there == words
            elif known.held is None:
                assert there is None
            else:
                assert there == words._replace(weight=min(words.weight, known.held))
    assert drain.held(want, {}) == want
    # What is kept from the table is what with_removed() adds again.
    keys = {service: set(entry.real_servers) for service, entry in want.items()}
    whole = drain.with_removed(result, register.drains)
    assert all(keys[service] <= set(whole[service].real_servers) for service in keys)


def test_a_host_that_is_drained_is_drained_in_new_services_too():
    have, want = table(0, 1), union(table(3, 1), table(5, 1, protocol="udp"))
    for held in (0, None):
        drains = drained(table(3, 1), 1, held=held)
        new = want[key(1, "udp")[0]].real_servers[key(1)[1]]
        both = {**drains, key(1, "udp"): drains[key(1)]._replace(server=new)}
        assert drain.joined(drains, want, have) == both
        # What serves already was left out by whoever drained, and what comes back is no longer drained.
        assert drain.joined(drains, want, union(have, table(5, 1, protocol="udp"))) == drains
    rising = drained(table(3, 1), 1, held=2)
    assert drain.joined(rising, want, have) == rising


def test_learned():
    drains = drained(table(3, 3), 1, 2)
    new = table(5)
    assert drain.learned(drains, new, table(0, 0), True) == {**drained(new, 1), **drained(table(3, 3), 2)}
    assert drain.learned(drains, new, table(0), True) == drained(new, 1)
    assert drain.learned(drains, new, table(0), False) == {**drained(new, 1), **drained(table(3, 3), 2)}
    assert drain.learned(drains, {}, {}, True) == {}
    # Who is keepalived's may be out of the table because it is ill; once it is ours, it is as others.
    checked = {where: known._replace(file="/drains/1") for where, known in drained(table(3, 3), 1).items()}
    assert drain.learned(checked, {}, {}, True) == checked
    assert drain.learned(checked, new, table(0), True) == drained(new, 1)


# -- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "seconds", "connections", "left"),
    [
        ({}, 10**6, Connections(1, 2, 3), {"active": 1, "inactive": 2, "persistent": 3}),
        ({}, 0, Connections(0, 0, 0), {}),
        ({"protocol": "udp"}, 299, Connections(0, 2, 0), {"inactive": 2}),
        ({"protocol": "udp"}, 300, Connections(0, 2, 0), {}),
        ({"protocol": "udp", **PERSISTENT}, 300, Connections(0, 2, 1), {"persistent": 1}),
        ({"protocol": "udp", **PERSISTENT}, 360, Connections(0, 2, 1), {}),
        ({"protocol": "sctp"}, 10**6, Connections(1, 0, 0), {"active": 1}),
    ],
)
def test_outstanding(attributes, seconds, connections, left):
    have = table(0, **attributes)
    ((service, entry),) = have.items()
    ((_key, server),) = entry.real_servers.items()
    del service
    known = Drain(server, 0, 1000.0)
    kinds = ("active", "inactive", "persistent")
    assert drain.outstanding(known, entry.service, connections, kinds, 1000.0 + seconds, 300) == left
    only = {kind: number for kind, number in left.items() if kind == "active"}
    assert drain.outstanding(known, entry.service, connections, ["active"], 1000.0 + seconds, 300) == only


def test_count():
    assert drain.count({"active": 1}) == "1 active connection"
    assert drain.count({"active": 1, "inactive": 2}) == "1 active and 2 inactive connections"
