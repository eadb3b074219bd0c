#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: table_info
short_description: Read the IPVS table of the kernel
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Returns the virtual services and real servers that the kernel holds, in the words of M(lvs.ipvs.table), and what else O(gather) asks for.
  - What RV(services) holds can be given to O(lvs.ipvs.table#module:services) as it is, and is then no change. What others made and
    no option says, such as direct forwarding to another port, is there as the kernel has it, and M(lvs.ipvs.table) refuses it.
extends_documentation_fragment:
  - lvs.ipvs.attributes.info
  - lvs.ipvs.pyroute2
options:
  gather:
    description:
      - What is read. Each word is the name of a value that is returned; RV(version) and RV(connection_table_size) always are.
      - In a large table, V(counters) takes longer to read than V(services).
    type: list
    elements: str
    choices: [services, counters, timeouts, sync_daemons, capabilities]
    default: [services, timeouts, sync_daemons]
seealso:
  - module: lvs.ipvs.connection_info
  - module: lvs.ipvs.sync_daemon
  - module: lvs.ipvs.table
  - module: lvs.ipvs.timeouts
  - module: lvs.ipvs.zero_counters
"""

EXAMPLES = r"""
- name: Read the table
  lvs.ipvs.table_info:
  register: ipvs

- name: Show the virtual services
  ansible.builtin.debug:
    var: ipvs.services

- name: Read only what was counted
  lvs.ipvs.table_info:
    gather: [counters]
  register: ipvs

- name: Show the real servers that have connections
  ansible.builtin.debug:
    msg: "{{ ipvs.counters | map(attribute='real_servers') | flatten | selectattr('active_connections') }}"
"""

RETURN = r"""
services:
  description: The virtual services with their real servers, sorted, in the words of O(lvs.ipvs.table#module:services).
  returned: when O(gather) has V(services)
  type: list
  elements: dict
  sample:
    - protocol: tcp
      address: 192.0.2.10
      port: 80
      scheduler: lc
      scheduler_flags: []
      persistence_timeout: 0
      persistence_netmask: 32
      persistence_engine: ""
      one_packet: false
      real_servers:
        - address: 198.51.100.21
          port: 80
          weight: 1
          forwarding: masquerade
          upper_threshold: 0
          lower_threshold: 0
counters:
  description:
    - What the kernel counts of the virtual services and their real servers, in the order of RV(services).
    - The kernel brings the counters and rates up to date every two seconds, and not at all while the sysctl
      C(net.ipv4.vs.run_estimation) is 0. The connections of RV(counters[].real_servers) are those of the moment.
  returned: when O(gather) has V(counters)
  type: list
  elements: dict
  contains:
    protocol:
      description: With C(address) and C(port), the key of the service.
      type: str
      returned: for a service by address
    address:
      description: The virtual address of the service.
      type: str
      returned: for a service by address
    port:
      description: The port of the service.
      type: int
      returned: for a service by address
    fwmark:
      description: With C(family), the key of the service.
      type: int
      returned: for a service by mark
    family:
      description: The address family of the service.
      type: str
      returned: for a service by mark
    total:
      description: The C(connections), C(packets_in), C(packets_out), C(bytes_in) and C(bytes_out) since the counters were zeroed.
      type: dict
    per_second:
      description: The same as rates of the last seconds.
      type: dict
    real_servers:
      description: The same for each real server, with its connections.
      type: list
      elements: dict
      contains:
        address:
          description: The address of the real server.
          type: str
        port:
          description: The port of the real server.
          type: int
        active_connections:
          description: Connections that are established, or as good as.
          type: int
        inactive_connections:
          description: Other connections, such as those that are about to end.
          type: int
        persistent_connections:
          description: Clients, or networks of clients, that persistence keeps at this real server.
          type: int
        total:
          description: As RV(counters[].total).
          type: dict
        per_second:
          description: As RV(counters[].per_second).
          type: dict
  sample:
    - protocol: tcp
      address: 192.0.2.10
      port: 80
      total: {connections: 12, packets_in: 96, packets_out: 84, bytes_in: 7680, bytes_out: 120960}
      per_second: {connections: 1, packets_in: 8, packets_out: 7, bytes_in: 640, bytes_out: 10080}
      real_servers:
        - address: 198.51.100.21
          port: 80
          active_connections: 2
          inactive_connections: 1
          persistent_connections: 0
          total: {connections: 12, packets_in: 96, packets_out: 84, bytes_in: 7680, bytes_out: 120960}
          per_second: {connections: 1, packets_in: 8, packets_out: 7, bytes_in: 640, bytes_out: 10080}
timeouts:
  description: The timeouts of connections in seconds, as the options of M(lvs.ipvs.timeouts).
  returned: when O(gather) has V(timeouts)
  type: dict
  sample: {tcp: 900, tcpfin: 120, udp: 300}
sync_daemons:
  description: The synchronization daemons that run, as O(lvs.ipvs.sync_daemon#module:daemons) takes them.
  returned: when O(gather) has V(sync_daemons)
  type: list
  elements: dict
  sample:
    - role: master
      interface: eth1
      id: 1
      maximum_length: 1472
      multicast_group: 224.0.0.81
      multicast_port: 8848
      multicast_ttl: 1
capabilities:
  description: What the kernel of the host can do.
  returned: when O(gather) has V(capabilities)
  type: dict
  contains:
    kernel:
      description: The release of the kernel.
      type: str
    schedulers:
      description:
        - The schedulers that are built in, are loaded, or can be loaded.
        - In a container that has not the files of the kernel's modules, those that are loaded.
      type: list
      elements: str
    persistence_engines:
      description: The persistence engines, likewise.
      type: list
      elements: str
    sysctls:
      description: The settings C(net.ipv4.vs.*) that this kernel has, with their values, numbers as such.
      type: dict
  sample:
    kernel: 6.12.101
    schedulers: [dh, fo, lblc, lblcr, lc, mh, nq, ovf, rr, sed, sh, twos, wlc, wrr]
    persistence_engines: [sip]
    sysctls: {expire_nodest_conn: 0, sync_threshold: 3 50}
version:
  description: The version of IPVS in the kernel.
  returned: success
  type: str
  sample: 1.2.1
connection_table_size:
  description: The size of the table of connections, in buckets. Linux 7.1 and later make it at the first service, and say 0 until then.
  returned: success
  type: int
  sample: 4096
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils._info import GATHER, table_info
from ansible_collections.lvs.ipvs.plugins.module_utils._run import run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": list(GATHER),
                "default": ["services", "timeouts", "sync_daemons"],
            },
        },
        supports_check_mode=True,
    )
    run(module, table_info)


if __name__ == "__main__":
    main()
