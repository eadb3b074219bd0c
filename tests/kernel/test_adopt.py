# SPDX-License-Identifier: GPL-3.0-or-later
"""What a director has, taken into the inventory, is what it gets from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _adopt, _cluster, _ipvsadm, _options

from .words import Words, normal, tables

Apply = Callable[..., dict[str, Any]]
Module = Callable[..., dict[str, Any]]


def of_inventory(services: list[Words]) -> list[Words]:
    """What the role director applies, once the services were declared in a file of the inventory."""
    written = yaml.safe_dump(_adopt.services(_options.parse_services(services)), sort_keys=False)
    cluster = _cluster.services(yaml.safe_load(written), {"all": ["lb1"], "directors": ["lb1"]}, {"lb1": {}})
    return _cluster.director_services(cluster)


@given(data=st.data())
def test_adopting_a_director_changes_nothing_on_it(
    data: st.DataObject, netns: Callable[[], None], apply: Apply, module: Module, messages: list[int]
) -> None:
    services: list[Words] = data.draw(tables(), "services")
    netns()
    apply(services)
    messages.clear()
    declared = of_inventory(module("table_info")["services"])
    assert not apply(declared)["changed"]
    assert messages == []
    assert normal(declared) == normal(services)


RULES = """\
-A -t 192.0.2.10:80 -s wrr -p 600 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 198.51.100.21:80 -g -w 3
-a -t 192.0.2.10:80 -r 198.51.100.22:80 -i -w 0 --tun-type gue --tun-port 6080 --tun-nocsum
-A -u [2001:db8:f::10]:53 -s sh -o -b sh-port
-a -u [2001:db8:f::10]:53 -r [2001:db8:b::21]:5353 -m -w 1
-A -f 7 -s rr
"""


def test_the_rules_of_a_director_that_is_down_come_back(
    apply: Apply, ipvsadm: Callable[..., str], messages: list[int]
) -> None:
    declared = of_inventory(_options.format_services(_ipvsadm.parse_text(RULES, lambda _name, _protocol: None)))
    ipvsadm("-R", stdin=RULES)
    assert not apply(declared)["changed"]
    ipvsadm("-C")
    assert apply(declared)["changed"]
    assert sorted(ipvsadm("-Sn").splitlines()) == sorted(RULES.splitlines())
