# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab hosts: who they are, where they live, and how ssh finds them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The virtual machine itself, by the same door as its hosts. Not in the inventory: it is the lab's own business.
VM = "vm"
VM_OCTET = 15


@dataclass(frozen=True)
class Host:
    """One lab host. The octet ends each of its addresses; every host has a `mgmt` interface as well."""

    name: str
    octet: int
    group: str
    networks: tuple[str, ...] = ("front", "back")


HOSTS = (
    Host("lb1", 11, "directors"),
    Host("lb2", 12, "directors"),
    Host("web1", 21, "web"),
    Host("web2", 22, "web"),
    Host("web3", 23, "web"),
    Host("client", 100, "clients", ("front",)),
)
NAMES = tuple(host.name for host in HOSTS)


def octets() -> dict[str, int]:
    """Whoever has an ssh server: the hosts, and the virtual machine."""
    return {VM: VM_OCTET} | {host.name: host.octet for host in HOSTS}


def table() -> str:
    """The hosts in the form that `lab-host` in the virtual machine reads."""
    return "".join(f"{host.name} {host.octet} {' '.join(('mgmt', *host.networks))}\n" for host in HOSTS)


def cut(name: str) -> str:
    """A command for the virtual machine that takes all wires of a host off their bridges at one moment.

    To delete a wire takes the kernel a fifth of a second, in which the host would live on with the others; and the host
    would see that its link goes down, as it does not when its power goes.
    """
    host = next(host for host in HOSTS if host.name == name)
    lines = "".join(
        f"link set dev {name}-{network} type bridge_slave state 0\\n" for network in (*host.networks, "mgmt")
    )
    return f"printf '{lines}' | ip -batch -"


def forwards(ports: Mapping[str, int]) -> list[str]:
    """QEMU's `hostfwd` options: a port on the loopback interface for each ssh server."""
    return [f"hostfwd=tcp:127.0.0.1:{ports[name]}-10.0.2.{octet}:22" for name, octet in octets().items()]


def ssh_config(ports: Mapping[str, int], key: Path, state: Path) -> str:
    """An ssh configuration that knows the hosts by name.

    One connection to each host is kept open and shared: a handshake costs seconds under emulation.
    """
    lines = [f"Host {name}\n  Port {ports[name]}\n" for name in octets()]
    return "".join(lines) + (
        "Host *\n"
        "  HostName 127.0.0.1\n"
        "  User root\n"
        f'  IdentityFile "{key}"\n'
        "  IdentitiesOnly yes\n"
        "  BatchMode yes\n"
        # The machine at the other end of a loopback port is ours, and made anew at will.
        "  StrictHostKeyChecking no\n"
        "  UserKnownHostsFile /dev/null\n"
        "  LogLevel ERROR\n"
        "  ControlMaster auto\n"
        f'  ControlPath "{state}/ssh/%n"\n'
        "  ControlPersist yes\n"
        "  ConnectTimeout 30\n"
        "  ServerAliveInterval 15\n"
        "  ServerAliveCountMax 4\n"
        # The cheapest exchange and cipher without special instructions.
        "  KexAlgorithms curve25519-sha256\n"
        "  Ciphers chacha20-poly1305@openssh.com\n"
        "  GSSAPIAuthentication no\n"
        "  ForwardX11 no\n"
        "  ForwardAgent no\n"
    )
