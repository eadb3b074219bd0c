# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kernel can do, from the files of kernels of distributions."""

from __future__ import annotations

import os

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _capabilities

RELEASE = os.uname().release


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Files of a host, by the name of the constant that says where they are looked for."""
    for name in ("SYSCTLS", "PROC_MODULES", "MODULES"):
        monkeypatch.setattr(_capabilities, name, str(tmp_path / name))

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_a_kernel_without_any_file(host):
    assert _capabilities.read() == (RELEASE, [], [], {})


def test_schedulers_that_are_loaded(host):
    host(
        "PROC_MODULES",
        "ip_vs_wlc 16384 1 - Live 0x0\nip_vs 233472 3 ip_vs_wlc, Live 0x0\nnf_conntrack 1 1 - Live 0x0\n",
    )
    assert _capabilities.read().schedulers == ["wlc"]


def test_schedulers_that_can_be_loaded_or_are_built_in(host):
    folder = "kernel/net/netfilter/ipvs"
    host(
        f"MODULES/{RELEASE}/modules.dep",
        f"{folder}/ip_vs.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz\n"
        f"{folder}/ip_vs_rr.ko.xz: {folder}/ip_vs.ko.xz\n"
        f"{folder}/ip_vs_sh.ko.zst: {folder}/ip_vs.ko.zst\n"
        f"{folder}/ip_vs_ftp.ko: {folder}/ip_vs.ko kernel/net/netfilter/nf_nat.ko\n"
        f"{folder}/ip_vs_pe_sip.ko: {folder}/ip_vs.ko\n"
        "updates/dkms/ip_vs_my-own.ko:\n"
        "kernel/net/ipv4/ipip.ko:\n",
    )
    host(f"MODULES/{RELEASE}/modules.builtin", f"{folder}/ip_vs_wrr.ko\nkernel/net/ipv6/ipv6.ko\n")
    host("MODULES/another/modules.dep", f"{folder}/ip_vs_mh.ko:\n")
    host("PROC_MODULES", "ip_vs_rr 16384 1 - Live 0x0\n")
    result = _capabilities.read()
    assert result.schedulers == ["my_own", "rr", "sh", "wrr"]
    assert result.persistence_engines == ["sip"]


def test_sysctls(host):
    for name, text in {
        "conntrack": "0\n",
        "sync_threshold": "3\t50\n",
        "conn_lfactor": "-4\n",
        "est_cpulist": "\n",
        "sync_refresh_period": "600\n",
    }.items():
        host(f"SYSCTLS/{name}", text)
    sysctls = _capabilities.read().sysctls
    assert sysctls == {
        "conn_lfactor": -4,
        "conntrack": 0,
        "est_cpulist": "",
        "sync_refresh_period": 600,
        "sync_threshold": "3 50",
    }
    assert list(sysctls) == sorted(sysctls)


def test_a_sysctl_that_is_closed(host, monkeypatch):
    host("SYSCTLS/conntrack", "0\n")
    host("SYSCTLS/est_nice", "0\n")
    really = open

    def guarded(path, *args, **more):
        if str(path).endswith("est_nice"):
            raise PermissionError(13, "Permission denied", path)
        return really(path, *args, **more)

    monkeypatch.setattr("builtins.open", guarded)
    assert _capabilities.read().sysctls == {"conntrack": 0}
