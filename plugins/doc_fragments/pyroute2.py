# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Must be kept in sync with plugins/module_utils/_pyroute2.py.
    DOCUMENTATION = r"""
options: {}
requirements:
  - pyroute2 >= 0.7.2 on the target
  - Linux with netlink, and the capability C(CAP_NET_ADMIN) in the initial user namespace (so, as a rule, become root),
    for reading as well as for changing
"""
