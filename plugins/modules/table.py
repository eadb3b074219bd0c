#!/usr/bin/python
# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: table
short_description: Manage the whole IPVS table, or the declared part of it
version_added: 0.1.0
author: The lvs.ipvs authors (@lvs-ipvs)
description:
  - Takes a list of virtual services with their real servers, and changes the table of the kernel to hold them, in one call.
  - Only what differs is changed, in place. The table is never flushed, and what is added comes before what is removed.
  - An option that is absent from a service or real server has its default.
extends_documentation_fragment:
  - lvs.ipvs.attributes
  - lvs.ipvs.pyroute2
options:
  services:
    description:
      - The virtual services. A service is given by O(services[].protocol), O(services[].address) and O(services[].port), or by
        O(services[].fwmark).
    type: list
    elements: dict
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
        description: The port, from 1 to 65535. V(0) means every port, and needs a persistent service.
        type: int
      fwmark:
        description: The firewall mark, from 1 to 4294967295, of the packets that the service is for.
        type: int
      family:
        description: The address family of a service by O(services[].fwmark), V(ipv4) unless given. Elsewhere it follows from the address.
        type: str
        choices: [ipv4, ipv6]
      scheduler:
        description: How new connections are spread, as in O(lvs.ipvs.virtual_service#module:scheduler). V(wlc) unless given.
        type: str
      scheduler_flags:
        description: Flags of the scheduler, as in O(lvs.ipvs.virtual_service#module:scheduler_flags).
        type: list
        elements: str
      persistence_timeout:
        description: Seconds for which a client keeps its real server, at most 2678400. V(0) unless given, which means not persistent.
        type: int
      persistence_netmask:
        description: The size of the client networks that persistence takes for one client. A prefix length, for IPv4 also a netmask.
        type: str
      persistence_engine:
        description: The persistence engine, such as V(sip). None unless given.
        type: str
      one_packet:
        description: Schedule every packet by itself. Only for the protocol V(udp) and for services by O(services[].fwmark).
        type: bool
      forwarding:
        description: The default of O(services[].real_servers[].forwarding). V(masquerade) unless given.
        type: str
        choices: [masquerade, direct, tunnel]
      tunnel:
        description: The default of O(services[].real_servers[].tunnel).
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
      real_servers:
        description: The real servers of the service. None unless given.
        type: list
        elements: dict
        suboptions:
          address:
            description: The address of the real server. With O(services[].real_servers[].forwarding=tunnel) it may be of another family than the service.
            type: str
            required: true
          port:
            description: The port on the real server. That of the service unless given.
            type: int
          weight:
            description: The share in new connections, from 0 to 2147483647. V(0) quiesces. V(1) unless given.
            type: int
          forwarding:
            description: How packets reach this real server. O(services[].forwarding) unless given.
            type: str
            choices: [masquerade, direct, tunnel]
          tunnel:
            description: How packets are wrapped, with O(services[].real_servers[].forwarding=tunnel). O(services[].tunnel) unless given.
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
      - What is removed that O(services) does not list.
      - V(none) removes nothing. V(owned) removes what O(record) says is ours, and never what others made. V(all) removes the rest of the table.
      - A service stays while it has real servers that are not removed.
    type: str
    choices: [none, owned, all]
    default: none
  purge_limit:
    description:
      - How much O(purge) may remove, in percent of the services that are there and that it may remove. What would remove more is
        refused before anything is changed, also in check mode.
      - A service counts as removed, too, if it would lose its last real server.
      - With fewer than 4 such services there is no limit.
    type: int
    default: 100
  record:
    description:
      - The path of a file on the target in which the module keeps what it applied last, and so what is ours.
      - Services and real servers become ours by being listed. O(purge=owned) needs it.
    type: path
  released:
    description:
      - Services that are somebody else's from now on, such as keepalived's, in the words of O(services).
      - One that O(record) still holds is made as it is listed here a last time and then forgotten, and stays in the table. Where it is
        as listed already, no message is sent for it. All others are not touched, even with O(purge=all).
      - Who is drained there stays so.
    type: list
    elements: dict
    default: []
  drains:
    description:
      - The O(lvs.ipvs.drain#module:record) of M(lvs.ipvs.drain). Real servers that are drained stay so, whatever weight O(services) says;
        what O(services) says is what they come back with. Nor do drained hosts get a weight in services that are new to them.
      - Without it, a drained real server gets the weight that O(services) says.
      - A drain is forgotten when its real server is no longer listed, and O(purge) removed it.
    type: path
  probe:
    description:
      - Have a real server prove that it answers before it first gets weight here, which is when it is to get weight, and is not
        in the table or has weight 0 there. Who is drained is not asked, nor are services in O(released). Without this option,
        nobody is.
      - With C(forwarding=masquerade) a TCP service is proven by a connection from this host to the address and port of the real
        server. With C(forwarding=direct) and C(forwarding=tunnel) it is proven by a SYN to the virtual address, sent the way
        IPVS sends it, from an address of this host. A reset ends what that began.
      - With C(forwarding=direct) and C(forwarding=tunnel), services of other protocols than TCP, for every port, or with
        O(services[].one_packet=true) are proven by an ICMP echo request to the virtual address, sent in the same way. That
        proves the way, and not that the service answers.
      - Nothing can be proven of other services than TCP with C(forwarding=masquerade), nor of services by
        O(services[].fwmark) that O(probe.marked) does not know. Their real servers get their weight without.
      - All are asked at the same time, up to 500. Asking changes nothing, and is done in check mode, too.
    type: dict
    suboptions:
      on_failure:
        description:
          - What follows when some do not answer.
          - With V(continue) they are applied with weight 0, and so recorded in O(record), and the rest of the table as it is
            listed. The next run asks them again.
          - Where a service would be left without any weight by that, those that have weight keep it, though they are listed
            no more, or with weight 0. RV(kept) and a warning name them.
          - With V(fail) the module fails, and changes nothing at all.
        type: str
        choices: [continue, fail]
        default: continue
      timeout:
        description: Seconds to wait for answers, above 0 and at most 60.
        type: float
        default: 2
      marked:
        description: For services by O(services[].fwmark), one of the destinations whose packets are marked for them.
        type: list
        elements: dict
        default: []
        suboptions:
          fwmark:
            description: The firewall mark of the service.
            type: int
            required: true
          protocol:
            description: The protocol of the packets.
            type: str
            choices: [tcp, udp, sctp]
            required: true
          address:
            description: Their destination, of the family of the service.
            type: str
            required: true
          port:
            description: Their destination port. V(0) means every port.
            type: int
            required: true
seealso:
  - module: lvs.ipvs.drain
  - module: lvs.ipvs.table_info
  - module: lvs.ipvs.virtual_service
"""

EXAMPLES = r"""
- name: Two services; what others made stays
  lvs.ipvs.table:
    services:
      - protocol: tcp
        address: 192.0.2.10
        port: 80
        scheduler: lc
        real_servers:
          - address: 198.51.100.21
          - address: 198.51.100.22
            weight: 2
      - fwmark: 7
        scheduler: sh
        scheduler_flags: [sh-port]
        forwarding: tunnel
        tunnel:
          type: gue
          port: 6080
        real_servers:
          - address: 198.51.100.21
          - address: 2001:db8:b::22
    purge: owned
    record: /var/lib/lvs.ipvs/table.json
    drains: /var/lib/lvs.ipvs/drains.json

- name: A service whose real servers get no weight before they answer
  lvs.ipvs.table:
    services:
      - protocol: tcp
        address: 192.0.2.10
        port: 443
        forwarding: direct
        real_servers:
          - address: 198.51.100.21
          - address: 198.51.100.22
    probe:
      on_failure: continue

- name: Exactly this table
  lvs.ipvs.table:
    services: []
    purge: all
"""

RETURN = r"""
held:
  description: The real servers of O(services), and of services that O(released) lets go of, that are drained or on their way back.
  returned: success, if O(drains) is given
  type: list
  elements: str
  sample: ["real server 198.51.100.21:80 of service tcp 192.0.2.10:80"]
unanswered:
  description: The real servers that got no weight, for they did not answer, and why. With O(probe.on_failure=fail), also of a failure.
  returned: if O(probe) is given
  type: list
  elements: dict
  contains:
    service:
      description: The key of the service, as in O(services).
      type: dict
    address:
      description: The address of the real server.
      type: str
    port:
      description: Its port.
      type: int
    reason:
      description: What came of asking it.
      type: str
  sample:
    - service: {protocol: tcp, address: 192.0.2.10, port: 80}
      address: 198.51.100.21
      port: 80
      reason: connection refused
kept:
  description:
    - The real servers that keep the weight they have, though O(services) gives them none, for those that are to serve in place of
      them do not answer.
  returned: if O(probe) is given
  type: list
  elements: str
  sample: ["real server 198.51.100.21:80 of service tcp 192.0.2.10:80"]
unprobed:
  description: The real servers that got weight for the first time, and could not be asked to prove anything.
  returned: if O(probe) is given
  type: list
  elements: str
  sample: ["real server 198.51.100.21:53 of service udp 192.0.2.10:53"]
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

from ansible_collections.lvs.ipvs.plugins.module_utils import _proof, _run


@_run.without_collection()
def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # Its suboptions are checked by _options.py, whose errors say which entry is wrong.
            "services": {"type": "list", "elements": "dict", "required": True},
            "purge": {"type": "str", "choices": ["none", "owned", "all"], "default": "none"},
            "purge_limit": {"type": "int", "default": 100},
            "record": {"type": "path"},
            "released": {"type": "list", "elements": "dict", "default": []},
            "drains": {"type": "path"},
            "probe": {"type": "dict", "options": _proof.spec()},
        },
        required_if=[("purge", "owned", ["record"])],
        supports_check_mode=True,
    )
    _run.run(module, _run.table)


if __name__ == "__main__":
    main()
