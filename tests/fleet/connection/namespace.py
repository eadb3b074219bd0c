# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's local connection into the namespaces of a director of tests/fleet/fleet.py."""

from __future__ import annotations

import shlex

from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: namespace
short_description: execute in the namespaces of a simulated host
description: As the connection local, by way of the program that the host has for it.
author: the lvs.ipvs authors
extends_documentation_fragment: [connection_pipelining]
options:
  door:
    description: The program that is called as a shell would be.
    vars: [{name: fleet_door}]
    required: true
"""


class Connection(Local):
    """What is executed goes through the door."""

    transport = "namespace"
    has_pipelining = True

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        through = shlex.join([self.get_option("door"), "-c", cmd])
        done: tuple[int, bytes, bytes] = super().exec_command(through, in_data, sudoable)
        return done
