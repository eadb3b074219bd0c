#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: zero_counters
short_description: Zero the counters of IPVS services
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Zeroes the counters of connections, packets and bytes, and the rates, of one virtual service and its real servers, or of all,
    as C(ipvsadm --zero) does.
  - It is an act and not a state. Counters do not stay zero, so the modules that declare the table have no option for it, and this one
    reports a change every time.
  - Services, real servers and connections stay as they are.
extends_documentation_fragment:
  - lvs.ipvs.attributes.act
  - lvs.ipvs.pyroute2
options:
  protocol:
    description:
      - The transport protocol of the virtual service.
      - Without this and the other options, the counters of all services are zeroed, and the totals of the host.
    type: str
    choices: [tcp, udp, sctp]
  address:
    description: The virtual address (VIP), IPv4 or IPv6, of the virtual service.
    type: str
  port:
    description: The port of the virtual service.
    type: int
  fwmark:
    description: The firewall mark of a virtual service by mark, in the place of O(protocol), O(address) and O(port).
    type: int
  family:
    description: The address family of a service by O(fwmark), V(ipv4) unless given.
    type: str
    choices: [ipv4, ipv6]
seealso:
  - module: lvs.ipvs.table_info
"""

EXAMPLES = r"""
- name: Count from here on for one service
  lvs.ipvs.zero_counters:
    protocol: tcp
    address: 192.0.2.10
    port: 80

- name: Count from here on for all
  lvs.ipvs.zero_counters:
"""

RETURN = r"""
steps:
  description: The steps that were taken, or would be in check mode, in order; each is one message to the kernel.
  returned: success
  type: list
  elements: str
  sample: ["zero the counters of service tcp 192.0.2.10:80"]
step_count:
  description: The number of steps.
  returned: success
  type: int
  sample: 1
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils import _options
from ansible_collections.lvs.ipvs.plugins.module_utils._run import run
from ansible_collections.lvs.ipvs.plugins.module_utils._settings import zero_counters


def main() -> None:
    module = AnsibleModule(argument_spec=_options.service_key_spec(), supports_check_mode=True)
    run(module, zero_counters)


if __name__ == "__main__":
    main()
