#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: connection_info
short_description: Count and list IPVS connections
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Counts the connections that the kernel has in its table, by service, real server and state, and lists some of them if O(limit)
    asks for it.
  - Filters can be combined. What is counted and listed passes all of them.
  - Persistence templates, the memory of the real server that a client's next connection goes to, are told apart from connections. Those
    that the kernel has made invalid are left out.
  - The kernel does not say of a connection that its service is one by mark. It stands under the address and port that the client asked for;
    only templates stand under the mark.
  - The table is read while it changes. A connection that comes or goes at the same time may be missing, and few may be counted twice.
extends_documentation_fragment:
  - lvs.ipvs.attributes.info
options:
  service:
    description: Only connections to this virtual service. Each part that is left out may be any.
    type: dict
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
        description: The firewall mark, in the place of the others, which only templates have.
        type: int
      family:
        description: The address family of a service by O(service.fwmark), V(ipv4) unless given.
        type: str
        choices: [ipv4, ipv6]
  real_server:
    description: Only connections to this real server. Each part that is left out may be any.
    type: dict
    suboptions:
      address:
        description: The address.
        type: str
      port:
        description: The port.
        type: int
  client:
    description: Only connections of this client, or of this network of clients. An IPv4 or IPv6 address, with or without a prefix length.
    type: str
  states:
    description:
      - Only connections in these states, in the words of C(ipvsadm -Lc).
      - Templates are V(NONE), or V(ASSURED) once a connection was established.
    type: list
    elements: str
    choices:
      - NONE
      - ESTABLISHED
      - SYN_SENT
      - SYN_RECV
      - FIN_WAIT
      - TIME_WAIT
      - CLOSE
      - CLOSE_WAIT
      - LAST_ACK
      - LISTEN
      - SYNACK
      - UDP
      - INIT1
      - INIT
      - COOKIE_SENT
      - COOKIE_REPLIED
      - COOKIE_WAIT
      - COOKIE
      - COOKIE_ECHOED
      - SHUTDOWN_SENT
      - SHUTDOWN_RECEIVED
      - SHUTDOWN_ACK_SENT
      - REJECTED
      - CLOSED
      - ASSURED
  limit:
    description:
      - How many connections and templates are listed at most, the first that the kernel tells of.
      - With V(0), all are counted and none is listed. That takes little memory however many there are.
    type: int
    default: 0
seealso:
  - module: lvs.ipvs.table_info
    description: The connections of the real servers, as the schedulers count them.
"""

EXAMPLES = r"""
- name: Count all connections
  lvs.ipvs.connection_info:
  register: connections

- name: Show the states of those to each real server of the first service
  ansible.builtin.debug:
    var: connections.services[0].real_servers

- name: List up to 100 connections that a network has to a real server
  lvs.ipvs.connection_info:
    real_server:
      address: 198.51.100.21
    client: 203.0.113.0/24
    states: [ESTABLISHED]
    limit: 100
"""

RETURN = r"""
connection_count:
  description: The number of connections, without templates.
  returned: success
  type: int
  sample: 3
template_count:
  description: The number of persistence templates.
  returned: success
  type: int
  sample: 1
states:
  description: The number of connections in each state in which there are any, without templates.
  returned: success
  type: dict
  sample: {ESTABLISHED: 2, FIN_WAIT: 1}
services:
  description:
    - The same for each virtual service and each of its real servers, of which there are any.
    - The service is that which the client asked for. It does not have to be in the table any more.
  returned: success
  type: list
  elements: dict
  sample:
    - protocol: tcp
      address: 192.0.2.10
      port: 80
      connection_count: 3
      template_count: 1
      states: {ESTABLISHED: 2, FIN_WAIT: 1}
      real_servers:
        - address: 198.51.100.21
          port: 8080
          connection_count: 3
          template_count: 1
          states: {ESTABLISHED: 2, FIN_WAIT: 1}
connections:
  description: The first connections and templates.
  returned: when O(limit) is not 0
  type: list
  elements: dict
  contains:
    service:
      description: The virtual service, C(protocol), C(address) and C(port), or of some templates C(fwmark) and C(family).
      type: dict
    client:
      description: The C(address) and C(port) of the client; of a template, those of its network, and 0.
      type: dict
    real_server:
      description: The C(address) and C(port) of the real server.
      type: dict
    state:
      description: The state.
      type: str
    expires_in:
      description: Seconds until it is forgotten, if no packet comes.
      type: int
    template:
      description: Whether it is a persistence template, and no connection.
      type: bool
    persistence_engine:
      description: The persistence engine that made a template, empty if none.
      type: str
    persistence_data:
      description: What the persistence engine knows the client by, such as a SIP Call-ID.
      type: str
  sample:
    - service: {protocol: tcp, address: 192.0.2.10, port: 80}
      client: {address: 203.0.113.5, port: 58494}
      real_server: {address: 198.51.100.21, port: 8080}
      state: ESTABLISHED
      expires_in: 899
      template: false
      persistence_engine: ""
      persistence_data: ""
omitted_count:
  description: The number of connections and templates that are counted and, beyond O(limit), not listed.
  returned: when O(limit) is not 0
  type: int
  sample: 0
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils import _options
from ansible_collections.lvs.ipvs.plugins.module_utils._connections import STATES
from ansible_collections.lvs.ipvs.plugins.module_utils._info import connection_info
from ansible_collections.lvs.ipvs.plugins.module_utils._run import run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "dict", "options": _options.service_key_spec()},
            "real_server": {"type": "dict", "options": {"address": {"type": "str"}, "port": {"type": "int"}}},
            "client": {"type": "str"},
            "states": {"type": "list", "elements": "str", "choices": list(STATES)},
            "limit": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    run(module, connection_info)


if __name__ == "__main__":
    main()
