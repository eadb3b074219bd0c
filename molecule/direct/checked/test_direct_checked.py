# SPDX-License-Identifier: GPL-3.0-or-later
"""After site.yml in check mode, on real servers that never saw it: nothing came of it."""

from __future__ import annotations

import pytest
from lvs_testing import FILES, do


@pytest.mark.parametrize("server", ["web1", "web2", "web3"])
def test_real_servers_are_as_before(server: str) -> None:
    told = do(
        server,
        f"cat /proc/sys/net/ipv4/conf/all/arp_ignore; ip -br link | grep -c lvs-; ip rule | wc -l; {FILES}",
    )
    assert told.split() == ["0", "0", "3"]
