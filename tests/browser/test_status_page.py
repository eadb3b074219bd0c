# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of playbooks/status.yml in a real browser: any width, light and dark, by keyboard, and inert."""

from __future__ import annotations

import html.parser
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.filter.parity import FilterModule
from tests.browser.browser import Browser

CHECKOUT = Path(__file__).resolve().parents[2]
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\"'&{{ 7 * 7 }}"
VIP = "2001:db8:ffff:ffff:ffff:ffff:ffff:10"
PHONE, DESKTOP = (360, 740), (1280, 800)


def service(
    name: str, port: int, weights: dict[int, int], scheduler: str = "wlc"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the kernel has of a service, and what it counts."""
    key = {"protocol": "tcp", "address": VIP, "port": port}
    servers = [{"address": f"2001:db8:b::{octet}", "port": port} for octet in weights]
    rates = {"connections": 1000, "packets_in": 10**6, "packets_out": 10**6, "bytes_in": 10**9, "bytes_out": 10**12}
    numbers = {
        "active_connections": 123456,
        "inactive_connections": 10**7,
        "persistent_connections": 0,
        "per_second": rates,
    }
    table = [{**server, "weight": weight} for server, weight in zip(servers, weights.values(), strict=True)]
    return (
        {**key, "scheduler": scheduler, "real_servers": table},
        {**key, "per_second": rates, "real_servers": [{**server, **numbers} for server in servers]},
    )


def views() -> list[dict[str, Any]]:
    """A master with drift and a drain, a backup, and one that does not answer, under names that try to get out."""
    groups = {"all": [EVIL, "lb2", "lb3", "web1", "web2"], "directors": [EVIL, "lb2", "lb3"], "web": ["web1", "web2"]}
    hostvars = {
        "web1": {"lvs_address6": "2001:db8:b::21"},
        "web2": {"lvs_address6": "2001:db8:b::22"},
        **{name: {"keepalived_sync": False} for name in groups["directors"]},
    }
    declared: list[dict[str, Any]] = [
        {"name": name, "protocol": "tcp", "address": VIP, "port": port, "real_servers": [{"group": "web"}]}
        for name, port in ((EVIL, 80), ("a service whose name is rather long and has no place on a phone", 443))
    ]
    declared[1]["health_check"] = {"tcp": {}}
    drain = {
        "service": {"protocol": "tcp", "address": VIP, "port": 80},
        "real_server": {"address": "2001:db8:b::22", "port": 80, "weight": 1},
        "held_weight": 0,
        "since": 1,
    }
    parts = [service(EVIL, 80, {21: 9, 22: 0}), service("", 443, {21: 1}), service("", 25, {}, "rr")]
    reading = {
        "services": [table for table, _counters in parts],
        "counters": [counters for _table, counters in parts],
        "sync_daemons": [],
        "addresses": [VIP],
        "drains": {"drains": [drain]},
    }
    readings = {EVIL: reading, "lb2": {**reading, "addresses": []}, "lb3": {}}
    status = FilterModule().filters()["status"]
    return [status(declared, name, groups, hostvars, readings, True) for name in groups["directors"]]


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as the playbook's own task makes it."""
    folder = tmp_path_factory.mktemp("status")
    where = {"src": str(CHECKOUT / "playbooks/templates/status.html.j2"), "dest": str(folder / "status.html")}
    call = ["ansible", "localhost", "-m", "ansible.builtin.template", "-a", json.dumps(where)]
    given = folder / "given.yml"
    # Hosts and inventory may say {{ }}: like what comes from a module, it is no template.
    given.write_text(f"status_views: {tagged(views())}\nstatus_time: {tagged(EVIL)}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / call[0], *call[1:], "-e", f"@{given}"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "status.html"


def tagged(value: Any) -> str:
    """YAML in which no text is a template."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {tagged(word)}" for key, word in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(tagged, value)) + "]"
    return f"!unsafe {json.dumps(value)}" if isinstance(value, str) else json.dumps(value)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


class Tags(html.parser.HTMLParser):
    """All tags of a page, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_there_is_nothing_that_runs_and_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    parser = Tags()
    parser.feed(text)
    assert {"table", "details", "svg"} <= {tag for tag, _attributes in parser.tags}
    assert not {"script", "img", "link", "iframe", "object", "form"} & {tag for tag, _attributes in parser.tags}
    for tag, attributes in parser.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "action", "style")], tag
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in text
    assert "url(" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP, (200, 400)], ids=["phone", "desktop", "tiny"])
def test_it_fits_and_can_be_read(size: tuple[int, int], dark: bool, page: Path, browser: Browser) -> None:
    browser.show(page.as_uri(), *size, dark=dark)
    assert browser.evaluate("innerWidth") == size[0]
    assert browser.evaluate("document.title") == f"IPVS directors: {findings()} findings"
    wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert browser.evaluate(f"{wide}.filter(e => !e.closest('thead')).map(e => e.outerHTML.slice(0, 200))") == []
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    narrow = (
        "[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && e.textContent.trim().length > 3)"
    )
    assert browser.evaluate(f"{narrow}.map(e => e.getBoundingClientRect().width).filter(w => w && w < 20)") == []
    faint = browser.evaluate(CONTRAST)
    assert faint["seen"] > 100
    assert faint["least"] >= 4.5, faint["where"]
    # The two schemes are really two.
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)"
    )
    assert elsewhere(browser, page) == []


def findings() -> int:
    return sum(len(view["findings"]) for view in views())


def elsewhere(browser: Browser, page: Path) -> list[str]:
    """What the page asked for beside itself, and what the browser complained of."""
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    said = [
        str(event["params"])
        for event in browser.events
        if event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled")
    ]
    return [url for url in asked if url.partition("#")[0] != page.as_uri()] + said


# Of each text that can be seen: its colour against that of the nearest background that is not transparent (WCAG 2.1).
CONTRAST = """(() => {
  const parts = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => parts(c).slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (parts(c)[3] !== 0) return c; } return 'rgb(255, 255, 255)'; };
  let least = 99, where = '', seen = 0;
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    seen++;
    if (ratio < least) [least, where] = [ratio, e.outerHTML.slice(0, 200)];
  }
  return {least, where, seen};
})()"""

FOCUSED = "document.activeElement.textContent.trim().split('\\n')[0]"


def test_the_keyboard_reaches_everything_in_order(page: Path, browser: Browser) -> None:
    browser.show(page.as_uri(), *DESKTOP, dark=False)
    names = [view["director"] for view in views()]
    seen = []
    for _ in range(1 + 2 * len(names)):
        browser.press("Tab", windowsVirtualKeyCode=9)
        seen.append(browser.evaluate(FOCUSED))
        assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert browser.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
    assert seen == ["To the directors", *names, *names]
    closed = browser.evaluate("document.activeElement.parentElement.open")
    browser.press("Enter", windowsVirtualKeyCode=13, text="\r")
    assert browser.evaluate("document.activeElement.parentElement.open") != closed


def test_names_are_text(page: Path, browser: Browser) -> None:
    browser.show(page.as_uri(), *DESKTOP, dark=False)
    assert browser.evaluate("document.querySelector('h2').textContent") == EVIL
    assert browser.evaluate("document.querySelector('h3').textContent").startswith(EVIL)
    assert browser.evaluate("document.querySelector('time').textContent") == EVIL
    assert browser.evaluate("[...document.querySelectorAll('script, img, [onerror]')].length") == 0


def test_what_is_special_is_said_in_words(page: Path, browser: Browser) -> None:
    browser.show(page.as_uri(), *PHONE, dark=True)
    rows = browser.evaluate(
        "[...document.querySelectorAll('#d1 section:first-of-type tbody tr')]"
        ".map(r => ['Weight', 'State'].map(l => r.querySelector(`[data-label=${l}]`).textContent.trim()))"
    )
    assert rows == [["9 of 1", "drift"], ["0 of 1", "draining"]]
    tags = browser.evaluate(
        "[...document.querySelectorAll('summary')].map(s => [...s.querySelectorAll('.tag')].map(t => t.textContent))"
    )
    assert tags == [
        ["master", "2 findings", "1 drain"],
        ["backup", "2 findings", "1 drain"],
        ["no answer", "1 finding"],
    ]
    labels = browser.evaluate("[...document.querySelectorAll('#d1 svg')].map(s => s.getAttribute('aria-label'))")
    assert labels[0] == "1000 of 1000, the most of this service"


INVENTORY = """
all:
  vars:
    lvs_services: [{name: web, protocol: tcp, address: 192.0.2.10, port: 80}]
  children:
    directors:
      hosts:
        broken: {ansible_connection: local, ansible_python_interpreter: /nowhere/python}
        silent: {ansible_host: 127.0.0.1, ansible_port: 1}
"""


def test_there_is_a_page_whoever_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "hosts.yml", "lvs.ipvs.status"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PWD": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "broken could not be read: " in done.stdout
    text = (tmp_path / "lvs-status.html").read_text()
    assert text.count("<li>cannot be reached</li>") == 2
