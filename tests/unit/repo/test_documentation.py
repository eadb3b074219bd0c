# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules and filters say of themselves: every example is a task that could run as it stands.

That options and argument_spec agree is proven by ansible-test's validate-modules (make sanity), and here for
the suboptions that our own code takes apart.
"""

from __future__ import annotations

import ast
import collections.abc
import pathlib

import pytest
import yaml

from ansible_collections.lvs.ipvs.plugins.module_utils import _model, _options

GROUP = "lvs.ipvs.ipvs"
# Keys of a task that are not its module.
KEYWORDS = {
    *("name", "when", "register", "loop", "vars", "become", "check_mode", "diff", "delegate_to", "run_once", "notify"),
    *("until", "retries", "delay", "tags", "changed_when", "failed_when", "module_defaults", "loop_control", "no_log"),
}


def strings(path: pathlib.Path) -> dict[str, str]:
    """The documentation strings of a file, by name."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update({target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)})
    return found


def documentation(checkout: pathlib.Path, module: str) -> dict:
    """One module's documentation with its fragments worked in."""
    words = yaml.safe_load(strings(checkout / "plugins" / "modules" / f"{module}.py")["DOCUMENTATION"])
    fragments = words.pop("extends_documentation_fragment", [])
    for fragment in [fragments] if isinstance(fragments, str) else fragments:
        assert fragment.startswith("lvs.ipvs."), f"{module}: {fragment} is not ours"
        name, dummy, part = fragment.removeprefix("lvs.ipvs.").partition(".")
        text = strings(checkout / "plugins" / "doc_fragments" / f"{name}.py")[part.upper() or "DOCUMENTATION"]
        for key, value in yaml.safe_load(text).items():
            words[key] = value | words.get(key, {}) if isinstance(value, dict) else value + words.get(key, [])
    return words


def modules(checkout: pathlib.Path) -> list[str]:
    return sorted(path.stem for path in (checkout / "plugins" / "modules").glob("*.py"))


def unknown(given: object, options: dict, path: str) -> collections.abc.Iterator[str]:
    """The options in an example that the documentation does not know."""
    if isinstance(given, list):
        for index, item in enumerate(given):
            yield from unknown(item, options, f"{path}[{index}]")
    elif isinstance(given, dict):
        for key, value in given.items():
            if key not in options:
                yield f"{path}: unknown option {key}"
            elif "suboptions" in options[key]:
                yield from unknown(value, options[key]["suboptions"], f"{path}.{key}")
        for key, option in options.items():
            if option.get("required") and key not in given:
                yield f"{path}: required option {key} is missing"


def wrong_examples(examples: str, known: dict[str, dict]) -> collections.abc.Iterator[str]:
    """What is wrong with a text of example tasks."""
    tasks = yaml.safe_load(examples)
    if not tasks:
        yield "no example"
    for task in tasks or []:
        if not task.get("name", "")[:1].isupper():
            yield f"a task has no proper name: {task}"
        called = [key for key in task if key not in KEYWORDS]
        if len(called) != 1:
            yield f"{task.get('name')}: not one module but {called}"
        for module in called:
            if module.startswith("lvs.ipvs.") and module.removeprefix("lvs.ipvs.") not in known:
                yield f"{module} does not exist"
            elif module.startswith("lvs.ipvs."):
                yield from unknown(task[module] or {}, known[module.removeprefix("lvs.ipvs.")], str(task.get("name")))
            elif not module.startswith("ansible.builtin."):
                yield f"{module} is neither ours nor Ansible's own, by its full name"


def test_modules_say_everything(checkout):
    known = {module: documentation(checkout, module) for module in modules(checkout)}
    options = {module: words.get("options", {}) for module, words in known.items()}
    assert {"real_server", "table", "table_info", "virtual_address", "virtual_service"} <= set(known)
    for module, words in known.items():
        texts = strings(checkout / "plugins" / "modules" / f"{module}.py")
        assert words["module"] == module
        assert {"check_mode", "diff_mode"} <= set(words["attributes"]), module
        assert words["attributes"]["action_group"]["membership"] == [GROUP], module
        assert list(wrong_examples(texts["EXAMPLES"], options)) == [], module
        returned = yaml.safe_load(texts["RETURN"])
        assert returned, module
        for value, meaning in returned.items():
            assert {"description", "returned", "type"} <= set(meaning), f"{module}: {value}"


def choices_of(options: dict) -> dict[str, list[str]]:
    return {name: option["choices"] for name, option in options.items() if "choices" in option}


def test_suboptions_are_those_that_are_parsed(checkout):
    pages = {name: documentation(checkout, name)["options"] for name in ("table", "virtual_service", "real_server")}
    services = pages["table"]["services"]["suboptions"]
    servers = [page["real_servers"]["suboptions"] for page in (services, pages["virtual_service"])]
    assert set(services) == _options.SERVICE_OPTIONS
    assert choices_of(services) == choices_of(_options.service_key_spec() | _options.forwarding_spec())
    for server in servers:
        assert tuple(server) == _model.REAL_SERVER_OPTIONS
        assert choices_of(server) == choices_of(_options.forwarding_spec())
    for holder in (*pages.values(), services, *servers):
        if "tunnel" in holder:
            tunnel = holder["tunnel"]["suboptions"]
            assert tuple(tunnel) == _model.TUNNEL_OPTIONS
            assert choices_of(tunnel) == {"type": [*_model.TUNNEL_TYPES], "checksum": [*_model.TUNNEL_CHECKSUMS]}


def test_the_action_group_is_all_modules(checkout):
    runtime = yaml.safe_load((checkout / "meta" / "runtime.yml").read_text())
    assert sorted(runtime["action_groups"]["ipvs"]) == modules(checkout)


def test_every_filter_is_documented(checkout):
    folder = checkout / "plugins" / "filter"
    filters = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == "filters":
                tables = [part for part in ast.walk(node) if isinstance(part, ast.Dict)]
                filters |= {ast.literal_eval(key) for table in tables for key in table.keys if key}
    assert filters
    assert filters == {path.stem for path in folder.glob("*.yml")}
    options = {module: documentation(checkout, module).get("options", {}) for module in modules(checkout)}
    for path in folder.glob("*.yml"):
        page = yaml.safe_load(path.read_text())
        assert page["DOCUMENTATION"]["name"] == path.stem
        assert page["RETURN"]["_value"]["description"]
        assert list(wrong_examples(page["EXAMPLES"], options)) == [], path.name


@pytest.mark.parametrize(
    ("example", "finding"),
    [
        ("- {name: Set, lvs.ipvs.table: {services: [{port: 80}]}}", None),
        ("", "no example"),
        ("- {lvs.ipvs.table: {}}", "proper name"),
        ("- {name: Set, lvs.ipvs.tabel: {}}", "does not exist"),
        ("- {name: Set, table: {services: []}}", "by its full name"),
        ("- {name: Set, lvs.ipvs.table: {service: []}}", "unknown option service"),
        ("- {name: Set, lvs.ipvs.table: {services: [{port: 80, prot: tcp}]}}", "unknown option prot"),
        ("- {name: Set, lvs.ipvs.table: {services: [{}]}}", "required option port is missing"),
        ("- {name: Set, lvs.ipvs.table: {}, ansible.builtin.debug: {}}", "not one module"),
    ],
)
def test_wrong_examples_are_found(example, finding):
    known = {"table": {"services": {"suboptions": {"port": {"required": True}}}}}
    found = list(wrong_examples(example, known))
    if finding is None:
        assert found == []
    else:
        assert [text for text in found if finding in text]
