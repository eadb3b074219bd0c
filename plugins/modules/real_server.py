#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: real_server
short_description: Manage one real server of an IPVS virtual service
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Adds, edits or removes one real server of one virtual service that is there.
  - An option that is absent stays as it is on a real server that exists already. It has its default on a new one.
extends_documentation_fragment:
  - lvs.ipvs.attributes
  - lvs.ipvs.pyroute2
  - lvs.ipvs.options.real_server
  - lvs.ipvs.options.forwarding
options:
  state:
    description: Whether the real server is to be there.
    type: str
    choices: [present, absent]
    default: present
  service:
    description: The virtual service. It is given by O(service.protocol), O(service.address) and O(service.port), or by O(service.fwmark).
    type: dict
    required: true
    suboptions:
      protocol:
        description: The transport protocol.
        type: str
        choices: [tcp, udp, sctp]
      address:
        description: The virtual address (VIP), IPv4 or IPv6.
        type: str
      port:
        description: The port.
        type: int
      fwmark:
        description: The firewall mark, from 1 to 4294967295.
        type: int
      family:
        description: The address family of a service by O(service.fwmark), V(ipv4) unless given.
        type: str
        choices: [ipv4, ipv6]
seealso:
  - module: lvs.ipvs.table
  - module: lvs.ipvs.virtual_service
"""

EXAMPLES = r"""
- name: Add a web server
  lvs.ipvs.real_server:
    service:
      protocol: tcp
      address: 192.0.2.10
      port: 80
    address: 198.51.100.21
    weight: 2

- name: Quiesce it (its forwarding and thresholds stay as they are)
  lvs.ipvs.real_server:
    service:
      protocol: tcp
      address: 192.0.2.10
      port: 80
    address: 198.51.100.21
    weight: 0

- name: Remove it
  lvs.ipvs.real_server:
    service:
      protocol: tcp
      address: 192.0.2.10
      port: 80
    address: 198.51.100.21
    state: absent
"""

RETURN = r"""
steps:
  description: The steps that were taken, or would be in check mode, in order; each is one message to the kernel.
  returned: success, and when it fails part way
  type: list
  elements: str
  sample: ["edit real server 198.51.100.21:80 of service tcp 192.0.2.10:80"]
step_count:
  description: The number of steps.
  returned: success, and when it fails part way
  type: int
  sample: 1
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils import _options, _run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_options.real_server_spec(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "service": {"type": "dict", "required": True, "options": _options.service_key_spec()},
        },
        supports_check_mode=True,
    )
    _run.run(module, _run.real_server)


if __name__ == "__main__":
    main()
