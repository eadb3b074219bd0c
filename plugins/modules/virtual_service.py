#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virtual_service
short_description: Manage one IPVS virtual service
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Adds, edits or removes one virtual service, and, if given, its real servers.
  - An option that is absent stays as it is on a service or real server that exists already. It has its default on a new one.
  - An attribute is changed by an edit in place. Connections and counters go on.
extends_documentation_fragment:
  - lvs.ipvs.attributes
  - lvs.ipvs.pyroute2
  - lvs.ipvs.options.service_key
  - lvs.ipvs.options.service
  - lvs.ipvs.options.forwarding
options:
  state:
    description: Whether the service is to be there. V(absent) removes its real servers as well.
    type: str
    choices: [present, absent]
    default: present
  real_servers:
    description:
      - Real servers that the service is to have. O(forwarding) and O(tunnel) are the defaults for those of them that are new.
      - What becomes of others is said by O(purge).
    type: list
    elements: dict
    suboptions:
        address:
          description: The address of the real server. With O(real_servers[].forwarding=tunnel) it may be of another family than the service.
          type: str
          required: true
        port:
          description: The port on the real server. That of the service unless given.
          type: int
        weight:
          description: The share in new connections, from 0 to 2147483647. V(0) quiesces. V(1) on a new real server unless given.
          type: int
        forwarding:
          description: How packets reach this real server. O(forwarding) on a new real server unless given.
          type: str
          choices: [masquerade, direct, tunnel]
        tunnel:
          description: How packets are wrapped, with O(real_servers[].forwarding=tunnel).
          type: dict
          suboptions:
            type:
              description: The kind of tunnel.
              type: str
              choices: [ipip, gue, gre]
            port:
              description: The UDP port of a tunnel of type V(gue), which needs one.
              type: int
            checksum:
              description: Checksums in the outer header.
              type: str
              choices: [none, csum, remcsum]
        upper_threshold:
          description: The number of connections at which the real server gets no new ones. V(0) means no limit.
          type: int
        lower_threshold:
          description: The number of connections below which it gets new ones again.
          type: int
  purge:
    description:
      - Which real servers are removed that O(real_servers) does not list. V(none), or V(all).
      - Without O(real_servers), none are. An empty list is a list.
    type: str
    choices: [none, all]
    default: none
seealso:
  - module: lvs.ipvs.table
  - module: lvs.ipvs.real_server
"""

EXAMPLES = r"""
- name: A web service and its real servers
  lvs.ipvs.virtual_service:
    protocol: tcp
    address: 192.0.2.10
    port: 80
    scheduler: lc
    real_servers:
      - address: 198.51.100.21
      - address: 198.51.100.22
        weight: 2

- name: Another scheduler, and nothing else
  lvs.ipvs.virtual_service:
    protocol: tcp
    address: 192.0.2.10
    port: 80
    scheduler: rr

- name: A service for marked packets, persistent for five minutes
  lvs.ipvs.virtual_service:
    fwmark: 7
    scheduler: wlc
    persistence_timeout: 300

- name: No such service
  lvs.ipvs.virtual_service:
    fwmark: 7
    state: absent
"""

RETURN = r"""
steps:
  description:
    - The steps that were taken, or would be in check mode, in order; each is one message to the kernel.
    - Of more than 1000, the first 1000.
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
            **_options.service_key_spec(),
            **_options.service_spec(),
            **_options.forwarding_spec(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            # Its suboptions are checked by _options.py, whose errors say which entry is wrong.
            "real_servers": {"type": "list", "elements": "dict"},
            "purge": {"type": "str", "choices": ["none", "all"], "default": "none"},
        },
        supports_check_mode=True,
    )
    _run.run(module, _run.virtual_service)


if __name__ == "__main__":
    main()
