# SPDX-License-Identifier: GPL-3.0-or-later
"""The floors of the house: which file of plugins/ may call what.

Each rule is a function from one file's syntax tree to its findings. Beside the sweep over the real
files, every rule is shown a line it must refuse.
"""

from __future__ import annotations

import ast
import collections.abc
import pathlib
import re

import pytest

Findings = collections.abc.Iterator[str]

UTILS = "ansible_collections.lvs.ipvs.plugins.module_utils"
PURE = {
    *("_address", "_adopt", "_cluster", "_connections", "_director", "_drain", "_health_check", "_ipvsadm"),
    *("_keepalived", "_model", "_operation", "_options", "_parity", "_plan", "_proof", "_segments", "_status", "_wire"),
}
# What a pure file may import: nothing here reaches the world outside.
HARMLESS = {
    *(
        "__future__",
        "collections",
        "collections.abc",
        "copy",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "ipaddress",
    ),
    *("itertools", "json", "math", "operator", "re", "shlex", "struct", "textwrap", "typing"),
}
# Of these, only what reaches nothing: from socket, the shape of addresses.
HARMLESS_PARTS = {
    "marshal": {"dumps"},
    "socket": {"AF_INET", "AF_INET6", "AddressFamily", "htonl", "htons", "inet_ntop", "inet_pton", "ntohl", "ntohs"},
}
NETLINK = {"AF_NETLINK", "GenericNetlinkSocket", "IPRoute", "NetlinkSocket", "iproute"}


def imports(tree: ast.AST) -> collections.abc.Iterator[tuple[str, str]]:
    """(module, name) of every import; the name is empty for ``import module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)


def pure_floors_stay_pure(name: str, tree: ast.AST) -> Findings:
    if name not in PURE:
        return
    for module, thing in imports(tree):
        whole = {part.removeprefix(UTILS + ".") for part in (module, f"{module}.{thing}")}
        if module in HARMLESS or thing in HARMLESS_PARTS.get(module, ()) or whole & PURE:
            continue
        yield f"imports {module} {thing}".rstrip()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in {"open", "print", "input", "exec", "eval", "__import__"}:
            yield f"uses {node.id}"


def one_file_imports_pyroute2(name: str, tree: ast.AST) -> Findings:
    if name != "_pyroute2":
        yield from (f"imports {module}" for module, dummy in imports(tree) if module.split(".")[0] == "pyroute2")


def one_file_calls_fail_json(name: str, tree: ast.AST) -> Findings:
    if name != "_run":
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "fail_json":
                yield f"fail_json in line {node.lineno}"


def two_rooms_open_netlink_sockets(name: str, tree: ast.AST) -> Findings:
    if name in {"_kernel", "_rtnetlink", "_pyroute2"}:
        return
    for node in ast.walk(tree):
        names = {
            ast.Name: lambda n: [n.id],
            ast.Attribute: lambda n: [n.attr],
            ast.ImportFrom: lambda n: [alias.name for alias in n.names],
        }.get(type(node), lambda n: [])(node)
        yield from (f"uses {used}" for used in names if used in NETLINK)


def collection_imports_are_absolute(name: str, tree: ast.AST) -> Findings:
    # A relative import works in a playbook and fails in the module that Ansible packs.
    yield from (f"imports {module}" for module, dummy in imports(tree) if module.startswith("."))


def modules_are_thin(name: str, tree: ast.AST) -> Findings:
    # A module is documentation and a short main(); what it does stands in module_utils.
    if name.startswith("_"):
        return
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and node.name != "main"):
            yield f"defines {node.name}"
        elif isinstance(node, ast.FunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > 30:
            yield f"main() is {length} lines long"


RULES = {
    pure_floors_stay_pure: ("_plan", "from ansible.module_utils.basic import AnsibleModule"),
    one_file_imports_pyroute2: ("_kernel", "from pyroute2.netlink import genlmsg"),
    one_file_calls_fail_json: ("_kernel", "def read(module):\n    module.fail_json(msg='no')"),
    two_rooms_open_netlink_sockets: ("_run", f"from {UTILS}._pyroute2 import GenericNetlinkSocket"),
    collection_imports_are_absolute: ("_run", "from . import _model"),
    modules_are_thin: ("table", "def helper():\n    pass"),
}
MORE_FAULTS = [
    (pure_floors_stay_pure, "_model", "import socket"),
    (pure_floors_stay_pure, "_wire", "from socket import socket"),
    (pure_floors_stay_pure, "_options", "import marshal"),
    (pure_floors_stay_pure, "_cluster", f"from {UTILS} import _kernel"),
    (pure_floors_stay_pure, "_cluster", f"from {UTILS}._run import run"),
    (pure_floors_stay_pure, "_ipvsadm", "text = open('/proc/net/ip_vs').read()"),
    (two_rooms_open_netlink_sockets, "_run", "import socket\ns = socket.socket(socket.AF_NETLINK)"),
    (two_rooms_open_netlink_sockets, "_run", f"from {UTILS}._pyroute2 import iproute"),
    (modules_are_thin, "table", "def main():\n" + "    step()\n" * 30),
]


def target_files(checkout: pathlib.Path) -> list[pathlib.Path]:
    return sorted([*checkout.glob("plugins/module_utils/*.py"), *checkout.glob("plugins/modules/*.py")])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule, checkout):
    findings = [
        f"{path.relative_to(checkout)}: {finding}"
        for path in target_files(checkout)
        for finding in rule(path.stem, ast.parse(path.read_text()))
    ]
    assert findings == []


@pytest.mark.parametrize(("rule", "name", "source"), [(rule, *fault) for rule, fault in RULES.items()] + MORE_FAULTS)
def test_rule_refuses(rule, name, source):
    assert list(rule(name, ast.parse(source)))


def test_the_sweep_sees_the_floors(checkout):
    assert {"_cluster", "_kernel", "_model", "_plan", "_pyroute2", "_run", "_wire", "table"} <= {
        path.stem for path in target_files(checkout)
    }


def test_who_says_to_be_pure_is_held_to_it(checkout):
    for path in checkout.glob("plugins/module_utils/*.py"):
        if re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or ""):
            assert path.stem in PURE


def test_the_floors_are_drawn(checkout):
    drawing = (checkout / "CONTRIBUTING.md").read_text()
    files = {path.stem for path in target_files(checkout) if path.name[0] == "_"}
    pure, rest = drawing.partition("pure:")[2].split("the world outside")
    drawn = [set(re.findall(r"^ {10}(_\w+)\.py", part, re.MULTILINE)) for part in (pure, rest)]
    assert drawn == [files & PURE, files - PURE]


def test_utils_say_that_they_are_private(checkout):
    for path in checkout.glob("plugins/module_utils/*.py"):
        assert path.name.startswith("_"), path
        assert "PRIVATE" in path.read_text(), path
