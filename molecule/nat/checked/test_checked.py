# SPDX-License-Identifier: GPL-3.0-or-later
"""After site.yml in check mode, on hosts that never saw it: nothing came of it."""

from __future__ import annotations

import pytest
from lvs_testing import FILES, VIP, do, ipvsadm


@pytest.mark.parametrize("director", ["lb1", "lb2"])
def test_directors_are_as_before(director: str) -> None:
    assert ipvsadm(director) == []
    assert do(director, f"ip -o addr show to {VIP}; cat /proc/sys/net/ipv4/ip_forward; {FILES}") == "0\n"


@pytest.mark.parametrize("server", ["web1", "web2", "web3"])
def test_real_servers_are_as_before(server: str) -> None:
    assert do(server, f"ip rule | wc -l; ip route show table all | grep 4780; {FILES}") == "3\n"
