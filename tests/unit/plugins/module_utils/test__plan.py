# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps from one table to another: which, how many, and in what order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Entry, SyncDaemon, Table
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import (
    ADD,
    EDIT,
    REMOVE,
    Step,
    after,
    daemons_after,
    plan,
    plan_daemons,
    present,
    touched,
    union,
)
from tests.unit import tables


def table(*services: dict, **one) -> Table:
    """Services in words, each with a few defaults; by name, real servers and their weights: ``a=1``."""
    words = [*services, {"real_servers": servers(**one)}] if one else services
    return options.parse_services(
        [{"protocol": "tcp", "address": "192.0.2.10", "port": 80, "scheduler": "rr", **service} for service in words]
    )


NUMBERS = {"a": 21, "b": 22, "c": 23, "d": 24}


def servers(**weights):
    """Real servers by letter; a weight, or a dictionary of options."""
    return [
        {"address": f"198.51.100.{NUMBERS[letter]}", **(weight if isinstance(weight, dict) else {"weight": weight})}
        for letter, weight in weights.items()
    ]


def texts(steps: list[Step]) -> list[str]:
    """The steps in short: ``add a``, ``remove :80``."""
    short = {f"198.51.100.{number}": letter for letter, number in NUMBERS.items()}
    return [
        f"{action} {short[server.key.address]}" if server else f"{action} :{service.key.port}"
        for action, service, server in steps
    ]


SERVICE = {"real_servers": servers(a=1)}
OTHER = {"port": 81, "real_servers": servers(a=1)}


@pytest.mark.parametrize(
    ("have", "want", "disposable", "steps"),
    [
        ({}, {}, {}, []),
        (table(SERVICE), {}, {}, []),
        (table(SERVICE), table(SERVICE), {}, []),
        # An empty service is a service.
        ({}, table({}), {}, ["add :80"]),
        ({}, table(a=1, b=2), {}, ["add :80", "add a", "add b"]),
        (table(a=1), table(a=1, b=0), {}, ["add b"]),
        (table(a=1), table(a=0), {}, ["edit a"]),
        (table(a=0), table(a=1), {}, ["edit a"]),
        (table(a=1, b=1), table(a=1), {}, []),
        (table(a=1), table({}), {}, []),
        # An edit in place, of the service alone.
        (table(a=1), table({"scheduler": "lc", **SERVICE}), {}, ["edit :80"]),
        (table(a=1), table(a={"forwarding": "direct"}), {}, ["edit a"]),
        (table(a=1), table(a={"forwarding": "direct", "weight": 2}), {}, ["edit a"]),
        # What is disposable goes, and no more.
        (table(a=1, b=1), table(a=1), table(b=1), ["remove b"]),
        (table(a=1, b=1), table(a=1), table(a=1, c=1), []),
        (table(a=1, b=1), {}, table(a=1, b=1), ["remove :80"]),
        (table(a=1, b=1), {}, table(a=1), ["remove a"]),
        (table(a=1), {}, table({}), []),
        (table({}), {}, table({}), ["remove :80"]),
        (table({}), {}, table(a=1), ["remove :80"]),
        (table(a=1), table({}), table(a=1), ["remove a"]),
        ({}, {}, table(a=1), []),
        # Its attributes may have been changed by others since.
        (table(a=7), {}, table({"scheduler": "lc", "real_servers": servers(a=1)}), ["remove :80"]),
        (table(SERVICE, OTHER), table(OTHER), table(SERVICE, OTHER), ["remove :80"]),
    ],
)
def test_the_steps_between_two_tables(have, want, disposable, steps):
    assert texts(plan(have, want, disposable)) == steps


def test_what_is_new_comes_first_and_removals_last():
    have = table({"real_servers": servers(a=1, b=5, c=1, d=3)}, {"port": 81, "real_servers": servers(a=1)})
    want = table(
        {"port": 82, "real_servers": servers(a=1)},
        {
            "scheduler": "lc",
            "real_servers": [
                *servers(b=0, c={"weight": 1, "upper_threshold": 9}, d=4),
                {"address": "198.51.100.21", "port": 8080},
            ],
        },
    )
    assert texts(plan(have, want, have)) == [
        *("add :82", "add a", "add a"),
        "edit d",
        *("edit :80", "edit c"),
        "edit b",
        *("remove a", "remove :81"),
    ]


@pytest.mark.parametrize(
    ("action", "weight", "takes_away"),
    [
        (ADD, None, False),
        (EDIT, None, False),
        (REMOVE, None, True),
        (ADD, 1, False),
        (ADD, 0, False),
        (EDIT, 1, False),
        (EDIT, 0, True),
        (REMOVE, 1, True),
    ],
)
def test_a_step_says_what_it_does(action, weight, takes_away):
    (entry,) = table(a=weight or 0).values()
    (server,) = entry.real_servers.values()
    step = Step(action, entry.service, None if weight is None else server)
    what = "service" if weight is None else "real server 198.51.100.21:80 of service"
    assert (str(step), step.takes_away) == (f"{action} {what} tcp 192.0.2.10:80", takes_away)


# -- properties ----------------------------------------------------------------------------------


def size(tab: Table) -> int:
    return sum(1 + len(entry.real_servers) for entry in tab.values())


def distance(have: Table, want: Table) -> int:
    """The fewest messages from one table to exactly another: a service goes with its real servers."""
    count = len(have.keys() - want.keys())
    for key, (service, listed) in want.items():
        there = have.get(key)
        present = there.real_servers if there else {}
        count += there is None or there.service != service
        count += sum(present.get(server_key) != server for server_key, server in listed.items())
        count += len(present.keys() - listed.keys())
    return count


@given(tables.pairs())
def test_all_disposable_ends_with_exactly_what_is_wanted_by_the_fewest_steps(pair):
    have, want = pair
    steps = plan(have, want, have)
    assert after(have, steps) == want
    assert len(steps) == distance(have, want)
    assert plan(want, want, want) == []


@given(tables.pairs())
def test_none_disposable_removes_nothing(pair):
    have, want = pair
    steps = plan(have, want, {})
    result = after(have, steps)
    assert REMOVE not in {step.action for step in steps}
    assert result == union(have, want)
    assert plan(result, want, {}) == []
    assert len(steps) == distance(have, union(have, want))


def test_a_service_that_is_removed_takes_its_real_servers_along_also_where_it_comes_back():
    have, new = table(a=1, b=2), table(c=3)
    (key,) = have
    service = have[key].service
    (of_new,) = new[key].real_servers.values()
    edited = have[key].real_servers[next(iter(have[key].real_servers))]._replace(weight=9)
    steps = [Step(EDIT, service, edited), Step(REMOVE, service), Step(ADD, service), Step(ADD, service, of_new)]
    assert after(have, steps) == new
    assert have == table(a=1, b=2)
    assert after(have, steps[:1])[key].real_servers[edited.key] == edited


@st.composite
def parts(draw: st.DrawFn, whole: Table) -> Table:
    """A part of a table, as a record may hold it, and something that is no part of it."""
    part = draw(tables.tables(1))
    for key, (service, listed) in whole.items():
        if draw(st.booleans()):
            part[key] = Entry(service, {server: listed[server] for server in listed if draw(st.booleans())})
    return part


@given(tables.pairs(), st.data())
def test_what_is_neither_wanted_nor_disposable_is_never_touched(pair, data):
    have, want = pair
    disposable = data.draw(parts(have))
    steps = plan(have, want, disposable)
    result = after(have, steps)

    for key, (service, listed) in have.items():
        mine = union(disposable, want).get(key)
        if mine is None:
            assert result[key] == have[key]
            assert not any(step.service.key == key for step in steps)
            continue
        foreign = {server_key: server for server_key, server in listed.items() if server_key not in mine.real_servers}
        for server_key, server in foreign.items():
            assert result[key].real_servers[server_key] == server
        if key not in want and foreign:
            assert result[key].service == service
    for key, (service, listed) in want.items():
        assert result[key].service == service
        assert listed.items() <= result[key].real_servers.items()
    for key, entry in disposable.items():
        wanted = want[key].real_servers.keys() if key in want else set()
        left = result[key].real_servers.keys() if key in result else set()
        assert not left & (entry.real_servers.keys() - wanted)
        if key not in want and key in have and not left:
            assert key not in result

    assert plan(result, want, disposable) == []
    assert len(steps) == distance(have, result)


def serving(tab: Table, key) -> set:
    return {server_key for server_key, server in tab[key].real_servers.items() if server.weight}


@given(tables.pairs(), st.booleans())
def test_a_service_serves_all_the_way(pair, purge):
    """With something before and after, there is something at every step between them, and something that serves."""
    have, want = pair
    steps = plan(have, want, have if purge else {})
    result = after(have, steps)
    kept = have.keys() & result.keys()
    filled = {key for key in kept if have[key].real_servers and result[key].real_servers}
    active = {key for key in kept if serving(have, key) and serving(result, key)}
    for count in range(len(steps) + 1):
        between = after(have, steps[:count])
        assert all(between[key].real_servers for key in filled)
        assert all(serving(between, key) for key in active)


@given(tables.pairs())
def test_nothing_is_taken_away_before_all_that_is_given(pair):
    have, want = pair
    steps = plan(have, want, have)
    taking = [step.takes_away for step in steps]
    giving = [
        step.action == ADD
        or (
            step.real_server is not None
            and step.action == EDIT
            and step.real_server.weight > have[step.service.key].real_servers[step.real_server.key].weight
        )
        for step in steps
    ]
    first = taking.index(True) if True in taking else len(steps)
    assert not any(giving[first:])


@given(tables.pairs())
def test_no_step_is_for_nothing_and_none_undoes_another(pair):
    have, want = pair
    steps = plan(have, want, have)
    assert len({(step.service.key, step.real_server and step.real_server.key) for step in steps}) == len(steps)
    for count, step in enumerate(steps):
        assert after(have, steps[: count + 1]) != after(have, steps[:count]), step


@given(tables.pairs())
def test_the_tables_given_stay_as_they_are(pair):
    have, want = pair
    before = options.format_services(have), options.format_services(want)
    steps = plan(have, want, have)
    after(have, steps)
    union(have, want)
    present(have, want)
    touched(have, steps)
    assert (options.format_services(have), options.format_services(want)) == before


# -- parts of tables -----------------------------------------------------------------------------


def test_what_a_diff_has_to_show_is_what_steps_are_about():
    have, want = table(SERVICE, OTHER), table(SERVICE, {"port": 81, "real_servers": servers(a=0)})
    steps = plan(have, want, have)
    (key,) = touched(have, steps)
    assert key.port == 81
    assert touched(have, steps)[key] == have[key]
    assert touched(have, []) == {}


@given(tables.pairs())
def test_steps_change_only_what_they_touch(pair):
    have, want = pair
    steps = plan(have, want, have)
    result = after(have, steps)
    assert {key: entry for key, entry in have.items() if key not in touched(have, steps)} == {
        key: entry for key, entry in result.items() if key not in touched(result, steps)
    }


def test_the_second_of_two_tables_prevails():
    first = table({"scheduler": "lc", "real_servers": servers(a=1, b=1)}, OTHER)
    second = table({"scheduler": "wrr", "real_servers": servers(b=2, c=2)}, {"port": 82})
    assert union(first, second) == table(
        {"scheduler": "wrr", "real_servers": servers(a=1, b=2, c=2)}, OTHER, {"port": 82}
    )


def test_what_is_present_is_of_the_first_by_the_keys_of_the_second():
    first = table({"scheduler": "lc", "real_servers": servers(a=1, b=1)}, OTHER)
    second = table({"scheduler": "wrr", "real_servers": servers(b=2, c=2)}, {"port": 82})
    assert present(first, second) == table({"scheduler": "lc", "real_servers": servers(b=1)})


@given(tables.pairs())
def test_union_and_present_are_bounds(pair):
    first, second = pair
    assert size(present(first, second)) <= min(size(first), size(second))
    assert size(present(first, second)) + size(union(first, second)) == size(first) + size(second)
    assert present(union(first, second), second) == second
    assert present(first, first) == union(first, first) == first


# -- sync daemons --------------------------------------------------------------------------------

M1, M2 = SyncDaemon("master", "eth1", 1), SyncDaemon("master", "eth1", 2)
B1, B2 = SyncDaemon("backup", "eth1", 1), SyncDaemon("backup", "eth2", 1)
ALL = ("master", "backup")


def roles(*daemons):
    return {daemon.role: daemon for daemon in daemons}


@pytest.mark.parametrize(
    ("have", "want", "disposable", "steps"),
    [
        ((), (), ALL, []),
        ((M1, B1), (M1, B1), ALL, []),
        ((M1, B1), (), (), []),
        ((), (M1, B1), (), ["start sync daemon master on eth1", "start sync daemon backup on eth1"]),
        ((M1,), (M2,), (), ["stop sync daemon master on eth1", "start sync daemon master on eth1"]),
        # The other goes on.
        ((M1, B1), (M1, B2), ALL, ["stop sync daemon backup on eth1", "start sync daemon backup on eth2"]),
        ((M1, B1), (B1,), (), []),
        ((M1, B1), (B1,), ALL, ["stop sync daemon master on eth1"]),
        ((M1, B1), (), ("master",), ["stop sync daemon master on eth1"]),
        ((B1,), (), ("master",), []),
        ((M1, B1), (), ALL, ["stop sync daemon master on eth1", "stop sync daemon backup on eth1"]),
    ],
)
def test_the_steps_between_sync_daemons(have, want, disposable, steps):
    planned = plan_daemons(roles(*have), roles(*want), disposable)
    assert [str(step) for step in planned] == steps
    then = daemons_after(roles(*have), planned)
    assert then.items() >= roles(*want).items()
    assert then.keys() - roles(*want).keys() == roles(*have).keys() - roles(*want).keys() - set(disposable)
    assert plan_daemons(then, roles(*want), disposable) == []
