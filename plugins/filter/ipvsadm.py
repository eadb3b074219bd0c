# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The doors to tables that were made elsewhere, as text of ipvsadm-save(8); each filter is documented in the .yml of its name."""

from __future__ import annotations

import socket
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display

from ansible_collections.lvs.ipvs.plugins.module_utils import _adopt, _ipvsadm, _options
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue


def _port_of(name: str, protocol: str) -> int | None:
    """The port of a service by its name, from the services(5) of the controller."""
    try:
        return socket.getservbyname(name, protocol)
    except OSError:
        return None


def from_ipvsadm(text: str) -> list[dict[str, t.Any]]:
    """The services that a text makes of an empty table."""
    if not isinstance(text, str):
        raise AnsibleFilterError(f"from_ipvsadm takes the text of ipvsadm-save, not a {type(text).__name__}")
    try:
        return _options.format_services(_ipvsadm.parse_text(text, _port_of))
    except _ipvsadm.InvalidText as error:
        raise AnsibleFilterError(str(error)) from error


def to_ipvsadm(services: t.Any) -> str:
    """The text that makes these services of an empty table."""
    try:
        table = _options.parse_services(services)
    except InvalidValue as error:
        raise AnsibleFilterError(str(error)) from error
    for reservation in _ipvsadm.reservations(table):
        Display().warning(f"to_ipvsadm: {reservation}")
    return _ipvsadm.format_text(table)


def adopted_services(services: t.Any) -> list[dict[str, t.Any]]:
    """The declaration for the inventory that makes these services."""
    try:
        return _adopt.services(_options.parse_services(services))
    except InvalidValue as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible asks a filter file for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"adopted_services": adopted_services, "from_ipvsadm": from_ipvsadm, "to_ipvsadm": to_ipvsadm}
