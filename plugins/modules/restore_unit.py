#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_unit
short_description: Have IPVS come back after a reboot, without Ansible
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - The kernel forgets its IPVS table at a reboot. This module installs a program, and a systemd unit that runs it at boot, which bring back
    what other modules keep in their records - services with thresholds and tunnels, drained real servers, timeouts, sync daemons and virtual
    addresses.
  - The program is made of the same library as the modules, and works as they do. It sends only what differs, and removes nothing. What is
    there already is left alone, so that a stop, start or restart of the unit never touches a live table.
  - Virtual addresses come last, and not at all if the table cannot be restored. What fails is told, in the journal, and fails the unit, so that
    C(systemctl --failed) shows it.
  - The unit runs after kernel modules and sysctls, when the network is online, and before keepalived.
  - The unit runs the Python interpreter that runs the module, as root with no capability but those for the network, and writes to nothing
    but the folders of the records. Interpreter, pyroute2 and records have to be where root may read without more - not in the home of
    another user, and not where C(pip install --user) puts libraries.
  - The module only writes the files. To enable the unit is for M(ansible.builtin.systemd_service).
extends_documentation_fragment:
  - lvs.ipvs.attributes
requirements:
  - systemd, and pyroute2 for the Python interpreter that runs the module
options:
  table:
    description: The O(lvs.ipvs.table#module:record) of M(lvs.ipvs.table).
    type: path
  drains:
    description: The O(lvs.ipvs.drain#module:record) of M(lvs.ipvs.drain). What is drained comes back drained. It goes with O(table).
    type: path
  timeouts:
    description: The O(lvs.ipvs.timeouts#module:record) of M(lvs.ipvs.timeouts).
    type: path
  sync_daemons:
    description: The O(lvs.ipvs.sync_daemon#module:record) of M(lvs.ipvs.sync_daemon).
    type: path
  addresses:
    description: The O(lvs.ipvs.virtual_address#module:record) of M(lvs.ipvs.virtual_address).
    type: path
  nftables:
    description:
      - A file for C(nft --file), such as one with rules that mark packets for services by firewall mark.
      - The host's own firewall, which flushes all rules, loads it, too, whenever it has started or been reloaded. That is a file in
        C(nftables.service.d) beside O(unit).
    type: path
  unit:
    description: The unit file.
    type: path
    default: /etc/systemd/system/lvs-ipvs.service
  program:
    description: The program file. A host that needs several units may use one program for all.
    type: path
    default: /usr/local/lib/lvs.ipvs/restore.pyz
  state:
    description:
      - Whether unit and program are to be there. For V(present), at least one of the files to restore from has to be named. A file that does
        not exist when the program runs is nothing to restore.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: lvs.ipvs.table
  - module: lvs.ipvs.virtual_address
"""

EXAMPLES = r"""
- name: Services and their addresses come back after a reboot
  lvs.ipvs.restore_unit:
    table: /var/lib/lvs.ipvs/table.json
    drains: /var/lib/lvs.ipvs/drains.json
    addresses: /var/lib/lvs.ipvs/addresses.json
  register: unit

- name: Have systemd know it, and run it at boot
  ansible.builtin.systemd_service:
    name: lvs-ipvs.service
    enabled: true
    daemon_reload: "{{ unit is changed }}"
"""

RETURN = r"""
steps:
  description: The files that were written or removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/systemd/system/lvs-ipvs.service"]
step_count:
  description: The number of steps.
  returned: success
  type: int
  sample: 1
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils._restore import RECORDS
from ansible_collections.lvs.ipvs.plugins.module_utils._restore_unit import restore_unit
from ansible_collections.lvs.ipvs.plugins.module_utils._run import run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **{option: {"type": "path"} for option in RECORDS},
            "unit": {"type": "path", "default": "/etc/systemd/system/lvs-ipvs.service"},
            "program": {"type": "path", "default": "/usr/local/lib/lvs.ipvs/restore.pyz"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_by={"drains": ["table"]},
        supports_check_mode=True,
    )
    run(module, restore_unit)


if __name__ == "__main__":
    main()
