#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drain
short_description: Drain real servers, wait until their connections are gone, and bring them back
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Gives real servers the weight 0 in every virtual service that they serve on this director. New connections go elsewhere; those that
    are there live on until they end.
  - The configured weight is kept in O(record). O(state=enabled) brings the real servers back to it, at once or slowly.
  - A drain lasts until it is ended by O(state=enabled). M(lvs.ipvs.table) respects it when it is given the same file as
    O(lvs.ipvs.table#module:drains).
  - Clients of a persistent service would be sent to their former real server even at weight 0. While a real server of such a service is
    drained, the sysctl C(net.ipv4.vs.expire_quiescent_template) is therefore 1; then it is put back as it was.
  - In services that keepalived owns, a weight that something else gives does not last. What O(health_checked) lists is therefore drained
    through keepalived, by the files of O(drain_files); all that is said here holds for it, too, but where it says otherwise.
  - A drain that fails, for whatever reason, puts back the weights and the sysctl that it changed. What a run left behind that was
    killed is known from O(record), and the next one answers for it. A way back that fails is taken up by the next run.
extends_documentation_fragment:
  - lvs.ipvs.attributes
  - lvs.ipvs.pyroute2
options:
  state:
    description:
      - V(drain) takes new connections from the real servers. V(enabled) gives them their configured weights again.
      - A configured weight of 0 is a weight like others, and is what V(enabled) brings.
    type: str
    choices: [drain, enabled]
    default: drain
  real_servers:
    description:
      - The addresses of the real servers, IPv4 or IPv6. All addresses of one host can be listed together.
    type: list
    elements: str
    required: true
  record:
    description:
      - The path of a file on the target in which the module keeps what is drained, and at which configured weight.
    type: path
    required: true
  table_record:
    description:
      - The O(lvs.ipvs.table#module:record) of M(lvs.ipvs.table). Only services that it holds are then drained.
      - Services of other managers are left alone, for behind their back a weight does not last; they are told in RV(left_alone).
        Those of keepalived can be told by O(health_checked).
      - Without it, the real servers are drained in all services of the table, but for what no option says (RV(left_alone)).
    type: path
  health_checked:
    description:
      - Services that keepalived owns, with their real servers, in the words of O(lvs.ipvs.table#module:services). Real servers of other
        addresses than O(real_servers) may be left out.
      - C(quorum) is the weight below which keepalived takes the service to be down (1). A drain that would leave less, but not
        nothing, is refused like one that breaks O(minimum_servers).
      - The filter P(lvs.ipvs.named_real_servers#filter) makes it.
    type: list
    elements: dict
    default: []
  drain_files:
    description:
      - The folder in which every drained address has a file that says what is added to its weights. keepalived has to watch these, as
        the role P(lvs.ipvs.keepalived#role) has it do. Needed with O(health_checked).
      - An address has its file in whatever services it serves, so that it stays drained where a service becomes keepalived's.
      - keepalived needs no reload for it. That the weight is 0 is seen in the table; if it does not become so, the drain fails.
    type: path
  wait:
    description:
      - With O(state=drain), wait until the connections are gone, for O(wait_retries) times O(wait_interval).
      - With O(state=enabled), wait until keepalived gives weight to those that it owns, which is when its checks find them well.
      - Without it the module looks once and reports how many are left, or who is kept out. Called again it changes nothing, and
        looks again.
      - On one director, to wait here is simpler. A playbook that drains on several at once does better to ask with C(until), for it shows
        that it is still waiting and, at its deadline, can decide for all of them together.
    type: bool
    default: false
  wait_interval:
    description: Seconds between two looks.
    type: float
    default: 5
  wait_retries:
    description: How often to look again.
    type: int
    default: 25
  wait_for:
    description:
      - The connections to wait for. V(inactive) ones are, as a rule, closed ones of the last minutes, and all that are not TCP.
      - V(persistent) ones are clients that were sent to the real server, each known for the service's C(persistence_timeout) after
        its last connection began. While the real server is drained they bring no new connection to it. Leave them out where that is
        what matters.
      - UDP knows no end of a connection. With a UDP service, what is still there when the kernel's timeout for UDP has passed since the
        weight became 0 (for V(persistent) ones, C(persistence_timeout) longer) is kept alive by its clients, and is not
        waited for. Services by fwmark are waited for in full, for they may be of any protocol.
    type: list
    elements: str
    choices: [active, inactive, persistent]
    default: [active, inactive, persistent]
  on_timeout:
    description:
      - What to do when O(wait) has been too long. V(fail) puts back what this run changed, and fails. V(continue) goes on as if
        the connections were gone, and says so in RV(drained).
      - With O(state=enabled) nothing is put back. V(continue) leaves it at RV(kept_out).
    type: str
    choices: [fail, continue]
    default: fail
  remove:
    description:
      - With O(state=drain), remove the real servers from their services once they are drained. Without O(wait), that is when a look finds
        no connections.
      - O(state=enabled) adds them again. Until then M(lvs.ipvs.table) leaves them out.
      - Those of keepalived stay, with weight 0.
      - Connections that are left with O(on_timeout=continue) are cut, as is UDP whose clients go on. With the sysctl
        C(net.ipv4.vs.expire_nodest_conn) set to 1 the clients are told, or scheduled anew; else their packets are dropped.
    type: bool
    default: false
  minimum_servers:
    description:
      - With O(state=drain), how many real servers of a weight above 0 must stay in each service. Else the drain is refused before
        anything is changed.
      - What counts is the table of the kernel. Services that lose no weight by this run are not looked at.
    type: int
    default: 1
  minimum_weight:
    description:
      - The same for the weights, as a percentage of the weight that the service has when none of its real servers is drained.
    type: int
    default: 0
  slow_start:
    description:
      - With O(state=enabled), seconds in which the weight rises to the configured one. V(0) is at once.
      - Weights are whole numbers. There is little to rise to 1 or 2, so give real servers weights such as 100.
      - Where one address has several weights in services of keepalived, the largest of them rises so, and the smaller ones join it later.
    type: float
    default: 0
  slow_start_steps:
    description: The number of steps in which the weight rises. The first is taken at once.
    type: int
    default: 10
  fail_on_not_found:
    description:
      - Fail if an address is neither a real server of a service (of O(table_record), if given) nor drained. Else it is passed over.
        Those that are left alone (RV(left_alone)) do not count.
    type: bool
    default: false
notes:
  - If C(net.ipv4.vs.expire_quiescent_template) is managed by something else too, leave it at 1 there, or drains of persistent services
    are undone by it.
  - The modules M(lvs.ipvs.real_server) and M(lvs.ipvs.virtual_service) set the weight that they are given, also to a drained real server.
seealso:
  - module: lvs.ipvs.table
  - module: lvs.ipvs.table_info
  - module: community.general.haproxy
    description: Whose words are used here wherever they mean the same.
"""

EXAMPLES = r"""
- name: Drain a host by both of its addresses, and wait up to ten minutes
  lvs.ipvs.drain:
    real_servers:
      - 198.51.100.21
      - 2001:db8:b::21
    wait: true
    wait_interval: 5
    wait_retries: 120
    minimum_servers: 2
    minimum_weight: 60
    record: /var/lib/lvs.ipvs/drains.json
    table_record: /var/lib/lvs.ipvs/table.json

- name: Drain it in services of keepalived as well
  lvs.ipvs.drain:
    real_servers: "{{ named.addresses }}"
    health_checked: "{{ named.health_checked }}"
    drain_files: /var/lib/lvs.ipvs/drains.d
    record: /var/lib/lvs.ipvs/drains.json
    table_record: /var/lib/lvs.ipvs/table.json
  vars:
    named: "{{ lvs_services | lvs.ipvs.named_real_servers('web1', groups, hostvars) }}"

- name: Show that it waits
  lvs.ipvs.drain:
    real_servers: [198.51.100.21]
    record: /var/lib/lvs.ipvs/drains.json
  register: drain
  until: drain.drained
  delay: 5
  retries: 120

- name: Bring it back, the weight rising for a minute
  lvs.ipvs.drain:
    state: enabled
    real_servers: [198.51.100.21]
    slow_start: 60
    record: /var/lib/lvs.ipvs/drains.json

- name: Apply the services, and leave drained what is drained
  lvs.ipvs.table:
    services: "{{ lvs_services | lvs.ipvs.director_services(groups, hostvars) }}"
    purge: owned
    record: /var/lib/lvs.ipvs/table.json
    drains: /var/lib/lvs.ipvs/drains.json
"""

RETURN = r"""
drained:
  description:
    - Whether there is no connection left that is worth waiting for, by O(wait_for).
    - In check mode, whether there is none now.
  returned: success, with O(state=drain)
  type: bool
  sample: true
waits_for:
  description: What keeps the real servers from being drained, a line for each.
  returned: success, with O(state=drain)
  type: list
  elements: str
  sample: ["real server 198.51.100.21:80 of service tcp 192.0.2.10:80 still has 3 active and 1 inactive connections"]
began:
  description: The addresses whose drain this run began, or would in check mode. Those that were drained before are not among them.
  returned: success, with O(state=drain)
  type: list
  elements: str
  sample: [198.51.100.21]
waited:
  description: Seconds that were waited.
  returned: success
  type: float
  sample: 35.0
kept_out:
  description: Those of RV(real_servers) that are no longer drained, and have no weight from keepalived, for its checks fail or it does not run.
  returned: success, with O(state=enabled)
  type: list
  elements: dict
  sample: []
real_servers:
  description: The real servers that are meant, in each service that they serve.
  returned: success, and when a drain, or a wait, fails part way
  type: list
  elements: dict
  contains:
    service:
      description: The key of the service, as C(protocol), C(address) and C(port), or C(fwmark) and C(family).
      type: dict
    address:
      description: The address of the real server.
      type: str
    port:
      description: The port of the real server.
      type: int
    weight:
      description: The weight that it has now, or would have in check mode; null if it is not in the table.
      type: int
    configured_weight:
      description: The weight that O(state=enabled) gives it.
      type: int
    active_connections:
      description: Connections that are established, or as good as.
      type: int
    inactive_connections:
      description: Other connections, such as those that are closing, and those of UDP.
      type: int
    persistent_connections:
      description: Clients of a persistent service that were sent to it.
      type: int
    waits_for:
      description: Those of the connections that keep it from being drained.
      type: dict
  sample:
    - service: {protocol: tcp, address: 192.0.2.10, port: 80}
      address: 198.51.100.21
      port: 80
      weight: 0
      configured_weight: 2
      active_connections: 0
      inactive_connections: 0
      persistent_connections: 0
      waits_for: {}
left_alone:
  description:
    - The real servers that are meant, in services that neither O(table_record) nor O(health_checked) holds.
    - Also those that others made in a way that no option of M(lvs.ipvs.table) says, such as direct forwarding to another port.
  returned: success, and when a drain, or a wait, fails part way
  type: list
  elements: str
  sample: ["real server 198.51.100.21:443 of service tcp 192.0.2.10:443"]
samples:
  description: The connections of all real servers together at each look. Of a long wait, 100 samples at most.
  returned: success, and when a drain, or a wait, fails part way
  type: list
  elements: dict
  contains:
    seconds:
      description: Since the wait began.
      type: float
    active_connections:
      description: As in RV(real_servers).
      type: int
    inactive_connections:
      description: As in RV(real_servers).
      type: int
    persistent_connections:
      description: As in RV(real_servers).
      type: int
  sample:
    - {seconds: 0.0, active_connections: 3, inactive_connections: 1, persistent_connections: 0}
    - {seconds: 5.0, active_connections: 0, inactive_connections: 0, persistent_connections: 0}
steps:
  description: The steps that were taken, or would be in check mode, in order.
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

from ansible_collections.lvs.ipvs.plugins.module_utils import _draining, _run


def main() -> None:
    kinds = ["active", "inactive", "persistent"]
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["drain", "enabled"], "default": "drain"},
            "real_servers": {"type": "list", "elements": "str", "required": True},
            "record": {"type": "path", "required": True},
            "table_record": {"type": "path"},
            "health_checked": {"type": "list", "elements": "dict", "default": []},
            "drain_files": {"type": "path"},
            "wait": {"type": "bool", "default": False},
            "wait_interval": {"type": "float", "default": 5},
            "wait_retries": {"type": "int", "default": 25},
            "wait_for": {"type": "list", "elements": "str", "choices": kinds, "default": kinds},
            "on_timeout": {"type": "str", "choices": ["fail", "continue"], "default": "fail"},
            "remove": {"type": "bool", "default": False},
            "minimum_servers": {"type": "int", "default": 1},
            "minimum_weight": {"type": "int", "default": 0},
            "slow_start": {"type": "float", "default": 0},
            "slow_start_steps": {"type": "int", "default": 10},
            "fail_on_not_found": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    _run.run(module, _draining.body)


if __name__ == "__main__":
    main()
