# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that hold for every file git tracks, or would track."""

from __future__ import annotations

import collections.abc
import os
import pathlib
import re
import subprocess

import pytest

# Files whose form has no comment, whose text is not ours, or which a program writes.
NO_HEADER = re.compile(
    r"(^COPYING|^CHANGELOG\.rst|^changelogs/changelog\.yaml|^tests/sanity/ignore-[\d.]+\.txt|\.json|\.j2\.license)$"
)
# Places of one machine, and servers this project must not lean on. /home/ and /root/ may be
# spoken of on a lab host, but never with a name below.
MACHINE_PATH = re.compile(r"(?<![\w.$})-])(/work/|/opt/pypi|/opt/wheels|/home/\w|/root/\.?[a-z]|/Users/)")
SERVER = re.compile(
    r"pypi\.org|pythonhosted\.org|galaxy\.ansible\.com|registry\.npmjs|docker\.io|quay\.io|ghcr\.io"
    r"|(deb|security|snapshot|ftp)\.debian\.org|\.ubuntu\.com|proxy\.golang"
)
# The licence, and this file, which spells what it looks for.
FREE = {"COPYING", "tests/unit/repo/test_files.py"}
#: Has neither lines nor a place for a header.
PICTURE = ".png"
PROMISE = re.compile(r"\b(TODO|FIXME)\b")
SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore|pylint:\s*disable)(?P<code>[:\w\[\], =-]*)(?P<reason>.*)$")
SHRUG = re.compile(r"^\s*(-\s*)?(ignore_errors:|failed_when:\s*false|changed_when:\s*false)")
SKIP = re.compile(r"pytest\.(skip|importorskip|xfail)\b|mark\.(skip|skipif|xfail)\b|unittest\.skip")


def without_header(name: str, text: str) -> bool:
    return bool(text.strip()) and "SPDX-License-Identifier:" not in "\n".join(text.splitlines()[:12])


def lines_with(pattern: re.Pattern[str]) -> collections.abc.Callable[[str, str], bool]:
    return lambda name, text: any(pattern.search(line) for line in text.splitlines())


def silenced_without_reason(name: str, text: str) -> bool:
    """A silenced checker names the rule and, after it or in the line above, the reason."""
    before = ""
    for line in text.splitlines():
        found = SILENCED.search(line)
        if found and not (found["code"].strip(" :") and ("#" in found["reason"] or before.lstrip().startswith("#"))):
            return True
        before = line
    return False


def shrug_without_reason(name: str, text: str) -> bool:
    """``changed_when: false`` and its like carry their reason in the same line or the one above."""
    before = ""
    for line in text.splitlines():
        if SHRUG.match(line) and "#" not in line and not before.lstrip().startswith("#"):
            return True
        before = line
    return False


def package_marker(name: str, text: str) -> bool:
    return name.startswith(("plugins/", "tests/")) and name.endswith("/__init__.py")


def trailing_space(name: str, text: str) -> bool:
    return bool(re.search(r"[ \t]+$|\r", text, re.MULTILINE)) or (bool(text) and not text.endswith("\n"))


def bound(name: str) -> bool:
    return name not in FREE


# The rule; which files it reads; a file it must refuse.
RULES = {
    "has its licence": (without_header, lambda n: not NO_HEADER.search(n), ("a.py", "import os\n")),
    "names no machine's paths": (
        lines_with(MACHINE_PATH),
        bound,
        ("a.yml", "path: /work" + "/main\n"),
    ),
    "names no server": (lines_with(SERVER), bound, ("a.sh", "curl https://pypi" + ".org\n")),
    "leaves nothing for later": (lines_with(PROMISE), bound, ("a.py", "# TO" + "DO: later\n")),
    "says why a checker is silenced": (
        silenced_without_reason,
        lambda n: pathlib.PurePath(n).suffix in (".py", ""),  # programs have none
        ("a.py", "import os  # no" + "qa: F401\n"),
    ),
    "says why a result is ignored": (
        shrug_without_reason,
        lambda n: n.endswith((".yml", ".yaml")),
        ("a.yml", "- name: A\n  changed_when: false\n"),
    ),
    "skips no test": (
        lines_with(SKIP),
        lambda n: n.startswith(("tests/", "molecule/")) and n.endswith(".py"),
        ("tests/a.py", "@pytest.mark" + ".skip\n"),
    ),
    "is no package marker": (package_marker, lambda n: True, ("plugins/modules/__init__.py", "")),
    "has no trailing space": (trailing_space, bound, ("a.md", "a  \nb\n")),
}


@pytest.fixture(scope="session")
def files(checkout) -> dict[str, bytes]:
    """What git tracks or would track, by its path in the checkout."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    names = [name for name in listing.stdout.split("\0") if name and (checkout / name).is_file()]
    return {name: (checkout / name).read_bytes() for name in names}


@pytest.mark.parametrize("rule", RULES)
def test_every_file(rule, files):
    broken, applies, dummy = RULES[rule]
    texts = {name: content.decode() for name, content in files.items() if not name.endswith(PICTURE)}
    assert [name for name, text in texts.items() if applies(name) and broken(name, text)] == []


@pytest.mark.parametrize("rule", RULES)
def test_rule_refuses(rule):
    broken, applies, (name, text) = RULES[rule]
    assert applies(name)
    assert broken(name, text)


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        ("says why a checker is silenced", "a.py", "x = f()  # type: ignore[misc]  # the stub is wrong\n"),
        ("says why a result is ignored", "a.yml", "- name: A\n  # it only reads\n  changed_when: false\n"),
        ("names no machine's paths", "a.py", "path = '/root'\nwork = root + 'a/work/x'\n"),
    ],
)
def test_rule_allows(rule, name, text):
    assert not RULES[rule][0](name, text)


def test_no_big_files(files):
    assert [name for name, content in files.items() if len(content) > 1_000_000] == []


def test_scripts_run(checkout, files):
    """A file with #! is executable, and only such a file. Ansible gives its own modes to what it sends."""
    for name, content in files.items():
        if not re.match(r"plugins/|roles/\w+/files/", name) and not (checkout / name).is_symlink():
            assert content.startswith(b"#!") == os.access(checkout / name, os.X_OK), name


def test_documents_name_what_exists(checkout, files):
    """`make x` and relative links in our documents lead somewhere."""
    targets = set(re.findall(r"^([a-z-]+):", (checkout / "Makefile").read_text(), re.MULTILINE))
    for name in files:
        if not name.endswith(".md"):
            continue
        text = (checkout / name).read_text()
        named = set(re.findall(r"(?:^ {4}|`|^\$ )make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets, name
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (pathlib.Path(checkout / name).parent / link).exists(), f"{name}: {link}"


def test_the_requirements_are_pinned(checkout):
    for name in ("python.txt", "constraints.txt"):
        lines = (checkout / "requirements" / name).read_text().splitlines()
        wanted = [line for line in lines if line and not line.startswith("#")]
        assert wanted
        assert [line for line in wanted if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_every_system_package_has_its_reason(checkout):
    for line in (checkout / "requirements" / "system.txt").read_text().splitlines():
        assert not line or re.match(r"#|[a-z0-9.+-]+ +# \w", line), line
