# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Twins of the argument_spec pieces in plugins/module_utils/_options.py.

    SERVICE_KEY = r"""
options:
  protocol:
    description: The transport protocol of the virtual service. With O(address) and O(port) it says which service is meant.
    type: str
    choices: [tcp, udp, sctp]
  address:
    description: The virtual address (VIP), IPv4 or IPv6.
    type: str
  port:
    description:
      - The port, from 1 to 65535.
      - V(0) means every port, and needs a persistent service.
    type: int
  fwmark:
    description:
      - The firewall mark, from 1 to 4294967295, of the packets that the service is for.
      - It takes the place of O(protocol), O(address) and O(port).
    type: int
  family:
    description:
      - The address family of the service.
      - It is part of what identifies a service with O(fwmark), where it is V(ipv4) unless given. Elsewhere it follows from O(address).
    type: str
    choices: [ipv4, ipv6]
"""

    SERVICE = r"""
options:
  scheduler:
    description:
      - How new connections are spread over the real servers, such as V(rr), V(wrr), V(lc), V(wlc), V(lblc), V(lblcr), V(dh), V(sh),
        V(mh), V(sed), V(nq), V(fo), V(ovf) or V(twos). Any scheduler that the kernel has, or can load, will do.
      - A new service has V(wlc) unless given.
    type: str
  scheduler_flags:
    description:
      - Flags of the scheduler. The scheduler V(sh) knows V(sh-fallback) and V(sh-port), V(mh) knows V(mh-fallback) and V(mh-port); any knows
        V(flag-1), V(flag-2) and V(flag-3).
    type: list
    elements: str
  persistence_timeout:
    description:
      - Seconds for which a client is sent to the real server that it had before, at most 2678400 (31 days).
      - V(0) means that the service is not persistent.
    type: int
  persistence_netmask:
    description:
      - The size of the client networks that are taken for one client by persistence, as a prefix length, for IPv4 also as a netmask.
      - A single address unless given.
    type: str
  persistence_engine:
    description:
      - The persistence engine, such as V(sip). Empty for none.
    type: str
  one_packet:
    description:
      - Schedule every packet by itself. Only for the protocol V(udp) and for services by O(fwmark).
    type: bool
"""

    FORWARDING = r"""
options:
  forwarding:
    description:
      - How packets reach the real server.
      - V(masquerade) rewrites addresses (NAT), V(direct) sends to the real server's link address (direct routing), and V(tunnel) wraps
        packets in packets to the real server.
      - A new real server has V(masquerade) unless given.
    type: str
    choices: [masquerade, direct, tunnel]
  tunnel:
    description: How packets are wrapped, with O(forwarding=tunnel).
    type: dict
    suboptions:
      type:
        description: The kind of tunnel. V(ipip) unless given.
        type: str
        choices: [ipip, gue, gre]
      port:
        description: The UDP port of a tunnel of type V(gue), which needs one.
        type: int
      checksum:
        description:
          - Checksums in the outer header. V(csum) is for the types V(gue) and V(gre), V(remcsum) (remote checksum offload) for V(gue) only.
          - V(none) unless given.
        type: str
        choices: [none, csum, remcsum]
"""

    REAL_SERVER = r"""
options:
  address:
    description:
      - The address of the real server.
      - With O(forwarding=tunnel) it may be of another family than the service.
    type: str
    required: true
  port:
    description:
      - The port on the real server, from 0 to 65535. That of the service unless given (V(0), the port of the packet, for a service by fwmark).
      - O(forwarding=direct) and O(forwarding=tunnel) cannot change the port.
    type: int
  weight:
    description:
      - The share of the real server in new connections, from 0 to 2147483647.
      - V(0) is a weight like others; it quiesces the real server; its connections live on and new ones go elsewhere.
      - A new real server has V(1) unless given.
    type: int
  upper_threshold:
    description: The number of connections at which the real server gets no new ones. V(0) means no limit, and is that of a new real server unless given.
    type: int
  lower_threshold:
    description: The number of connections below which a real server that reached O(upper_threshold) gets new ones again.
    type: int
"""
