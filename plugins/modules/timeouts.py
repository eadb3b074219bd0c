#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: timeouts
short_description: Manage the timeouts of IPVS connections
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Sets how long a connection is remembered without a packet, as C(ipvsadm --set) does.
  - What is changed is the running kernel; it forgets at a reboot, unless M(lvs.ipvs.restore_unit) knows the O(record). Connections that
    are there keep the timeout that they have until their next packet.
  - A timeout that is absent stays as it is. Its default in the kernel is 900 (TCP), 120 (TCP after a FIN) and 300 (UDP).
extends_documentation_fragment:
  - lvs.ipvs.attributes
  - lvs.ipvs.pyroute2
options:
  tcp:
    description:
      - Seconds for TCP connections, from 1 to 2147483.
      - What is V(0) to C(ipvsadm --set), to leave the timeout as it is, is said here by leaving the option out.
    type: int
  tcpfin:
    description: Seconds for TCP connections after a FIN, from 1 to 2147483.
    type: int
  udp:
    description: Seconds for UDP, from 1 to 2147483.
    type: int
  record:
    description:
      - The path of a file on the target in which the module keeps the timeouts that it was given, for M(lvs.ipvs.restore_unit).
      - A timeout that is absent is there as it was given last.
    type: path
seealso:
  - module: lvs.ipvs.restore_unit
  - module: lvs.ipvs.table_info
"""

EXAMPLES = r"""
- name: Keep idle TCP connections for an hour
  lvs.ipvs.timeouts:
    tcp: 3600
    tcpfin: 60
"""

RETURN = r"""
timeouts:
  description: All timeouts in seconds, as they are now, or would be in check mode.
  returned: success
  type: dict
  contains:
    tcp:
      description: That of TCP connections.
      type: int
    tcpfin:
      description: That of TCP connections after a FIN.
      type: int
    udp:
      description: That of UDP.
      type: int
  sample: {tcp: 3600, tcpfin: 60, udp: 300}
steps:
  description: The steps that were taken, or would be in check mode, in order; each is one message to the kernel.
  returned: success
  type: list
  elements: str
  sample: ["set timeouts tcp 3600, tcpfin 60"]
step_count:
  description: The number of steps.
  returned: success
  type: int
  sample: 1
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils import _options
from ansible_collections.lvs.ipvs.plugins.module_utils._run import run
from ansible_collections.lvs.ipvs.plugins.module_utils._settings import timeouts


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_options.timeouts_spec(), "record": {"type": "path"}},
        required_one_of=[("tcp", "tcpfin", "udp")],
        supports_check_mode=True,
    )
    run(module, timeouts)


if __name__ == "__main__":
    main()
