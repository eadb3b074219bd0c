# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground the other tests stand on: a real IPVS, one empty table for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Ipvsadm = Callable[..., str]
SERVICE = ("-t", "192.0.2.10:80")


@pytest.mark.parametrize("_again", ["first", "second"])
def test_a_test_begins_with_an_empty_table(ipvsadm: Ipvsadm, _again: str) -> None:
    assert ipvsadm("-Sn") == ""
    ipvsadm("-A", *SERVICE)
    assert ipvsadm("-Sn") == "-A -t 192.0.2.10:80 -s wlc\n"


def test_ipvsadm_and_the_kernel_know_the_basic_things(ipvsadm: Ipvsadm) -> None:
    ipvsadm("-A", *SERVICE, "-s", "rr")
    ipvsadm("-a", *SERVICE, "-r", "198.51.100.21:8080", "-m", "-w", "3")
    ipvsadm("-A", "-t", "[2001:db8:f::10]:80", "-s", "mh")
    assert sorted(ipvsadm("-Sn").splitlines()) == [  # 7.x lists services in an order of its own at each boot
        "-A -t 192.0.2.10:80 -s rr",
        "-A -t [2001:db8:f::10]:80 -s mh",
        "-a -t 192.0.2.10:80 -r 198.51.100.21:8080 -m -w 3",
    ]


def test_ipvsadm_failing_is_an_error(ipvsadm: Ipvsadm) -> None:
    with pytest.raises(RuntimeError, match=r"No such service"):
        ipvsadm("-D", *SERVICE)
