# SPDX-License-Identifier: GPL-3.0-or-later
"""After site.yml in check mode, on hosts that never saw it: nothing came of it."""

from __future__ import annotations

from lvs_testing import do


def test_a_director_is_as_before() -> None:
    left = do("lb1", "ipvsadm -Sn; nft list ruleset; find /etc /usr/local /var/lib -name '*lvs*ipvs*'")
    assert left == ""
