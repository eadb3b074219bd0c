#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sync_daemon
short_description: Manage the connection synchronization daemons of a director
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Starts and stops the kernel threads by which a director tells another of its connections, as C(ipvsadm --start-daemon) and
    C(--stop-daemon) do. After a failover, connections then go on.
  - A host has one daemon of each role at most, a C(master) that sends and a C(backup) that receives. It may have both.
  - The kernel cannot change a daemon that runs. One whose options differ is stopped and started anew; the other keeps running.
  - What is changed is the running kernel; it forgets at a reboot, unless M(lvs.ipvs.restore_unit) knows the O(record).
  - Daemons that keepalived starts (its C(lvs_sync_daemon)) are its own. Use one or the other.
extends_documentation_fragment:
  - lvs.ipvs.attributes
  - lvs.ipvs.pyroute2
options:
  daemons:
    description:
      - The daemons. An option that is absent has its default.
      - With O(state=absent), only O(daemons[].role) is looked at.
    type: list
    elements: dict
    required: true
    suboptions:
      role:
        description: What the daemon does. A V(master) sends, a V(backup) receives.
        type: str
        choices: [master, backup]
        required: true
      interface:
        description: The network interface, which has to exist. It is required with O(state=present).
        type: str
      id:
        description:
          - The synchronization id, from 0 to 255. A V(backup) takes what a V(master) of the same id sends, or with V(0) what any sends.
          - V(0) unless given.
        type: int
      maximum_length:
        description:
          - The longest message in bytes, at most 65507 with an IPv4 and 65487 with an IPv6 group. A V(backup) has 1024 at least.
          - A V(master) sends packets of 1500 bytes unless given; a V(backup) receives packets of the interface's MTU, and not less than 1500.
        type: int
      multicast_group:
        description: The IPv4 or IPv6 multicast group. V(224.0.0.81) unless given.
        type: str
      multicast_port:
        description: The UDP port, from 1 to 65535. V(8848) unless given.
        type: int
      multicast_ttl:
        description: The time to live (IPv6, the hop limit) of messages, from 1 to 255. V(1) unless given.
        type: int
  state:
    description: Whether the daemons of O(daemons) are to run.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - Which daemons are stopped that O(daemons) does not list. V(none), or V(all).
      - It is for O(state=present).
    type: str
    choices: [none, all]
    default: none
  record:
    description:
      - The path of a file on the target in which the module keeps the daemons that it was told to run, for M(lvs.ipvs.restore_unit).
    type: path
notes:
  - While a daemon runs, the kernel refuses real servers of another family than their service, and the other way round.
seealso:
  - module: lvs.ipvs.restore_unit
  - module: lvs.ipvs.table_info
"""

EXAMPLES = r"""
- name: A director that is active for some services, and stands by for others
  lvs.ipvs.sync_daemon:
    daemons:
      - role: master
        interface: eth1
        id: 1
      - role: backup
        interface: eth1
        id: 2

- name: A director that only stands by
  lvs.ipvs.sync_daemon:
    daemons:
      - role: backup
        interface: eth1
        id: 1
        multicast_group: ff02::81
    purge: all

- name: No master here; a backup goes on if there is one
  lvs.ipvs.sync_daemon:
    daemons:
      - role: master
    state: absent

- name: No synchronization
  lvs.ipvs.sync_daemon:
    daemons: []
    purge: all
"""

RETURN = r"""
steps:
  description: The steps that were taken, or would be in check mode, in order; each is one message to the kernel.
  returned: success, and when it fails part way
  type: list
  elements: str
  sample: ["stop sync daemon master on eth0", "start sync daemon master on eth1"]
step_count:
  description: The number of steps.
  returned: success, and when it fails part way
  type: int
  sample: 2
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils import _options
from ansible_collections.lvs.ipvs.plugins.module_utils._run import run
from ansible_collections.lvs.ipvs.plugins.module_utils._settings import sync_daemon


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "daemons": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": _options.sync_daemon_spec(),
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "str", "choices": ["none", "all"], "default": "none"},
            "record": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, sync_daemon)


if __name__ == "__main__":
    main()
