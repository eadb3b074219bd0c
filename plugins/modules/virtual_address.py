#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virtual_address
short_description: Manage the virtual addresses of a host
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Puts virtual addresses (VIPs) on an interface, or takes them off, all in one call.
  - Directors have them on the interface towards the clients, real servers behind C(direct) or C(tunnel) forwarding on the
    loopback or on a dummy interface.
  - What is changed is the running kernel. With O(record), the module knows what it put there itself, and removes no more than that.
  - IPv6 addresses are in use at once, without duplicate address detection.
  - The neighbours are told of an address that was added, by gratuitous ARP or unsolicited neighbour advertisements, so that they
    do not go on sending to a host that had it before. Where O(source=false), or the interface has no neighbours, they are not.
extends_documentation_fragment:
  - lvs.ipvs.attributes
  - lvs.ipvs.pyroute2
options:
  addresses:
    description:
      - The addresses, IPv4 and IPv6, each with or without a prefix length. Without one it is a single address (V(/32) or V(/128)).
      - An address that the host has on another interface already is refused, unless O(record) says that it is ours. Then it moves.
    type: list
    elements: str
    required: true
  interface:
    description:
      - The interface.
      - It has to exist for O(state=present), unless O(dummy=true).
    type: str
    required: true
  dummy:
    description:
      - Whether O(interface) is a dummy interface, which is created where it is missing, and set up.
      - With O(record), a dummy interface that the module created goes with its last address.
    type: bool
    default: false
  probe:
    description:
      - Whether to ask the link, before an address is added, if another host answers for it. Then the address is refused.
      - It takes a second, and only where there is something to add. Check mode asks, too.
      - Real servers behind C(direct) forwarding do not answer for the addresses that they share with the director.
    type: bool
    default: false
  source:
    description:
      - Whether the kernel may choose the addresses as the source of connections that the host itself opens.
      - With V(false), IPv4 addresses have the scope C(host), and IPv6 addresses are deprecated (their preferred lifetime is 0). Both
        are answered as any other. Real servers behind C(direct) or C(tunnel) forwarding want that.
      - With V(false), IPv4 addresses have no prefix length. Their subnet's route would name them as the source.
    type: bool
    default: true
  state:
    description:
      - Whether the addresses are to be there.
      - V(absent) also removes addresses of O(addresses) that others made.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - What is removed that O(addresses) does not list.
      - V(none) removes nothing. V(owned) removes what O(record) says is ours, on any interface, and never what others made.
      - V(owned) is for O(state=present).
    type: str
    choices: [none, owned]
    default: none
  record:
    description:
      - The path of a file on the target in which the module keeps the addresses and dummy interfaces that it made.
      - What was there before is not ours. O(purge=owned) needs it.
      - Tasks with different O(addresses) need different records.
    type: path
seealso:
  - module: lvs.ipvs.table
"""

EXAMPLES = r"""
- name: The addresses of the services on a director, and none of those that it had for former services
  lvs.ipvs.virtual_address:
    addresses:
      - 192.0.2.10
      - 2001:db8:f::10
    interface: eth0
    probe: true
    purge: owned
    record: /var/lib/lvs.ipvs/addresses.json

- name: The same addresses on a real server behind direct routing
  lvs.ipvs.virtual_address:
    addresses:
      - 192.0.2.10
      - 2001:db8:f::10
    interface: lvs0
    dummy: true
    source: false
    purge: owned
    record: /var/lib/lvs.ipvs/addresses.json

- name: No virtual address of ours any more
  lvs.ipvs.virtual_address:
    addresses: []
    interface: lvs0
    purge: owned
    record: /var/lib/lvs.ipvs/addresses.json

- name: Take one address off an interface
  lvs.ipvs.virtual_address:
    addresses:
      - 192.0.2.10/24
    interface: eth0
    state: absent
"""

RETURN = r"""
steps:
  description: The steps that were taken, or would be in check mode, in order; each is one message to the kernel.
  returned: success, and when it fails part way
  type: list
  elements: str
  sample: ["add 192.0.2.10 to eth0", "remove 192.0.2.9 from eth0"]
step_count:
  description: The number of steps.
  returned: success, and when it fails part way
  type: int
  sample: 2
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils._run import run
from ansible_collections.lvs.ipvs.plugins.module_utils._virtual_address import virtual_address


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "addresses": {"type": "list", "elements": "str", "required": True},
            "interface": {"type": "str", "required": True},
            "dummy": {"type": "bool", "default": False},
            "probe": {"type": "bool", "default": False},
            "source": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "str", "choices": ["none", "owned"], "default": "none"},
            "record": {"type": "path"},
        },
        required_if=[("purge", "owned", ["record"])],
        supports_check_mode=True,
    )
    run(module, virtual_address)


if __name__ == "__main__":
    main()
