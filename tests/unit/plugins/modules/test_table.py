# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.table: the whole table, or the declared part of it, in one call."""

from __future__ import annotations

import errno
import fcntl
import json
import pathlib
import stat

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lvs.ipvs.plugins.module_utils import _info, _probe, _run
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import KernelError, Unanswered
from ansible_collections.lvs.ipvs.plugins.module_utils._pyroute2 import MissingLibrary
from ansible_collections.lvs.ipvs.plugins.module_utils._wire import MalformedMessage
from tests.data.bad_inputs import BAD_INPUTS

R1, R2, R3 = ({"address": f"198.51.100.2{number}"} for number in (1, 2, 3))
WEB = {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "scheduler": "rr", "real_servers": [R1, R2]}
MARK = {"fwmark": 7, "family": "ipv6", "scheduler": "wlc", "real_servers": []}
DNS = {"protocol": "udp", "address": "2001:db8:f::10", "port": 53, "scheduler": "rr", "one_packet": True}


def of_web(action: str, *numbers: int) -> list[str]:
    return [f"{action} real server 198.51.100.2{number}:80 of service tcp 192.0.2.10:80" for number in numbers]


ADD_WEB = ["add service tcp 192.0.2.10:80", *of_web("add", 1, 2)]


# -- the grid ------------------------------------------------------------------------------------


def test_idempotency_empty(settles):
    settles("table", [], services=[])
    settles("table", [], services=[], purge="all")


@pytest.mark.parametrize("purge", ["none", "all"])
def test_idempotency_present(settles, kernel, purge):
    kernel.has(WEB, MARK, DNS)
    settles("table", [], services=[MARK, DNS, WEB], purge=purge)
    assert kernel.applied == 0


def test_what_is_read_is_what_may_be_written(settles, kernel):
    kernel.has(WEB, MARK, DNS)
    settles("table", [], services=kernel.words, purge="all")


def test_add(settles, kernel):
    result = settles("table", [*ADD_WEB, "add service fwmark 7 ipv6"], services=[WEB, MARK])
    assert result["diff"] == {
        "before": "",
        "after": """\
- protocol: tcp
  address: 192.0.2.10
  port: 80
  scheduler: rr
  real_servers:
    - {address: 198.51.100.21, port: 80, weight: 1, forwarding: masquerade}
    - {address: 198.51.100.22, port: 80, weight: 1, forwarding: masquerade}
- fwmark: 7
  family: ipv6
  scheduler: wlc
  real_servers: []
""",
    }


def test_add_a_real_server_to_a_service(settles, kernel):
    kernel.has(WEB, DNS)
    result = settles("table", of_web("add", 3), services=[{**WEB, "real_servers": [R3]}])
    # The diff is about what changes, and no more of the table.
    assert "2001:db8:f::10" not in result["diff"]["after"]
    assert (
        result["diff"]["after"].replace(
            "    - {address: 198.51.100.23, port: 80, weight: 1, forwarding: masquerade}\n", ""
        )
        == (result["diff"]["before"])
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"scheduler": "lc"}, "  scheduler: lc\n"),
        ({"scheduler_flags": ["flag-2"]}, "  scheduler_flags: [flag-2]\n"),
        ({"persistence_timeout": 300}, "  persistence_timeout: 300\n"),
        ({"persistence_timeout": 300, "persistence_netmask": "255.255.255.0"}, "  persistence_netmask: 24\n"),
        ({"persistence_engine": "sip"}, "  persistence_engine: sip\n"),
        ({"protocol": "udp", "one_packet": True}, "  one_packet: true\n"),
    ],
)
def test_change_a_service_and_leave_its_real_servers(settles, kernel, change, line):
    key = {"protocol": change.get("protocol", "tcp")}
    kernel.has({**WEB, **key})
    result = settles("table", [f"edit service {key['protocol']} 192.0.2.10:80"], services=[{**WEB, **change}])
    assert line in result["diff"]["after"]
    assert line not in result["diff"]["before"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": 5}, "weight: 5"),
        ({"weight": 0}, "weight: 0"),
        ({"forwarding": "direct"}, "forwarding: direct"),
        ({"forwarding": "tunnel"}, "tunnel: {type: ipip, port: 0, checksum: none}"),
        ({"forwarding": "tunnel", "tunnel": {"type": "gue", "port": 6080}}, "{type: gue, port: 6080, checksum: none}"),
        ({"upper_threshold": 9}, "upper_threshold: 9"),
        ({"upper_threshold": 9, "lower_threshold": 5}, "upper_threshold: 9, lower_threshold: 5"),
    ],
)
def test_change_a_real_server(settles, kernel, change, words):
    kernel.has(WEB)
    result = settles("table", of_web("edit", 1), services=[{**WEB, "real_servers": [{**R1, **change}, R2]}])
    assert words in result["diff"]["after"]
    assert words not in result["diff"]["before"]


def test_weight_zero_stays_zero(settles, kernel):
    kernel.has({**WEB, "real_servers": [{**R1, "weight": 0}]})
    settles("table", [], services=[{**WEB, "real_servers": [{**R1, "weight": 0}]}])


def test_absent_means_the_default(settles, kernel):
    """The table is declared in full, and so is each entry of it."""
    kernel.has({**WEB, "persistence_timeout": 300, "real_servers": [{**R1, "weight": 5}]})
    steps = ["edit service tcp 192.0.2.10:80", *of_web("edit", 1)]
    settles("table", steps, services=[{**WEB, "scheduler": None, "real_servers": [R1]}])
    assert kernel.words[0]["scheduler"] == "wlc"


def test_purge_none_leaves_what_is_not_listed(settles, kernel):
    kernel.has(WEB, DNS)
    settles("table", [], services=[{**WEB, "real_servers": [R2]}])
    settles("table", [], services=[{**WEB, "real_servers": []}])
    settles("table", [], services=[])


def test_purge_all_leaves_nothing_else(settles, kernel):
    kernel.has(WEB, DNS, MARK)
    settles(
        "table",
        [*of_web("remove", 1), "remove service udp [2001:db8:f::10]:53"],
        services=[{**WEB, "real_servers": [R2]}, MARK],
        purge="all",
    )


def test_an_empty_list_is_a_value(settles, kernel):
    kernel.has(WEB, DNS)
    result = settles(
        "table",
        ["remove service tcp 192.0.2.10:80", "remove service udp [2001:db8:f::10]:53"],
        services=[],
        purge="all",
    )
    assert kernel.table == {}
    assert result["diff"]["after"] == ""


def test_an_empty_list_of_real_servers_is_a_value(settles, kernel):
    kernel.has(WEB)
    settles("table", of_web("remove", 1, 2), services=[{**WEB, "real_servers": []}], purge="all")


def test_a_long_report_is_cut_and_its_steps_are_counted(run):
    many = [{"address": f"198.51.{number >> 8}.{number & 255}"} for number in range(100 << 8, (100 << 8) + 1500)]
    result = run("table", services=[{**WEB, "real_servers": many}])
    assert (len(result["steps"]), result["step_count"]) == (1000, 1501)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD_INPUTS[::20], ids=lambda bad: bad.path)
@pytest.mark.parametrize("check", [False, True])
def test_a_bad_input_is_refused_by_its_path_before_anything_is_opened(run, kernel, tmp_path, bad, check):
    record = tmp_path / "state" / "table.json"
    result = run("table", services=bad.services, check=check, purge="owned", record=str(record))
    assert result["failed"]
    assert result["msg"].startswith(f"{bad.path}: ")
    assert bad.reason in result["msg"]
    assert (kernel.opened, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "missing required arguments: services"),
        ({"services": ["web"]}, "Elements value for option 'services'"),
        ({"services": [], "purge": "ours"}, "value of purge must be one of: none, owned, all, got: ours"),
        ({"services": [], "purge": "owned"}, "purge is owned but all of the following are missing: record"),
        ({"services": [], "purge": "owned", "record": None}, "record: is required with purge owned"),
        ({"services": [], "purge_limit": 101}, "purge_limit: 101 is not from 0 to 100"),
        ({"services": [], "purge": "owned", "record": ""}, "record: is required with purge owned"),
        (
            {"services": [], "flush": True},
            "module: flush. Supported parameters include: drains, probe, purge, purge_limit, record, released, services.",
        ),
    ],
)
def test_bad_options(run, kernel, given, message):
    result = run("table", **given)
    assert message in result["msg"]
    assert kernel.opened == 0


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "twos"}, "services[1].scheduler: this kernel has no scheduler 'twos'"),
        (
            {"persistence_engine": "dns"},
            "services[1].persistence_engine: this kernel has no persistence engine 'dns'",
        ),
        (
            {"scheduler": "twos", "persistence_engine": "dns"},
            "services[1].scheduler: this kernel has no scheduler 'twos'",
        ),
    ],
)
@pytest.mark.parametrize("there", [(), (WEB,)])
def test_what_the_kernel_lacks_is_refused_before_any_step(run, kernel, tmp_path, there, change, message, check):
    kernel.has(*there)
    record = tmp_path / "table.json"
    result = run("table", services=[MARK, {**WEB, **change}], record=str(record), check=check)
    assert result["msg"] == message
    assert (kernel.done, kernel.applied, record.exists()) == ([], 0, False)


def test_a_scheduler_that_a_service_has_is_one_that_the_kernel_has(run, kernel, monkeypatch):
    """Nothing is asked where the answer is known: asking costs a message."""
    kernel.has(WEB)
    asked = []

    def asks(*parts):
        asked.append(parts)
        return True

    monkeypatch.setattr(kernel, "has_scheduler", asks)
    one, other = ({**WEB, "port": port} for port in (81, 82))
    # Asked by the module, and once by the fake kernel for each service that it takes.
    run("table", services=[WEB, one, other, {**MARK, "scheduler": "mh"}])
    assert asked == [("mh", ""), ("rr", ""), ("rr", ""), ("mh", "")]


@pytest.mark.parametrize(
    "error",
    [
        KernelError("this kernel has no IPVS"),
        MissingLibrary("the Python library pyroute2 is missing"),
        PermissionError(errno.EACCES, "not for you"),
    ],
)
@pytest.mark.parametrize(
    ("module", "given"),
    [
        ("table", {"services": []}),
        ("table_info", {}),
        ("virtual_service", {"fwmark": 7}),
        ("real_server", {"service": {"fwmark": 7}, **R1}),
    ],
)
def test_a_kernel_that_cannot_be_opened(run, monkeypatch, module, given, error):
    def cannot_open():
        raise error

    monkeypatch.setattr(_run, "Kernel", cannot_open)
    monkeypatch.setattr(_info, "Kernel", cannot_open)
    result = run(module, **given)
    assert result["failed"]
    assert result["msg"] == str(error)


def test_what_the_kernel_says_and_we_do_not_understand(run, kernel, monkeypatch):
    def garbled(expected=None):
        raise MalformedMessage("an attribute of 99 bytes where 4 are left")

    monkeypatch.setattr(kernel, "read", garbled)
    assert run("table", services=[])["msg"] == "an attribute of 99 bytes where 4 are left"


# -- half way ------------------------------------------------------------------------------------


def test_a_failure_half_way_reports_what_was_done_and_running_again_converges(run, kernel):
    kernel.has({**WEB, "scheduler": "lc", "real_servers": [R1]})
    given = {"services": [{**WEB, "real_servers": [R2]}, MARK], "purge": "all"}
    kernel.refuses = {"edit service tcp 192.0.2.10:80": errno.EPERM}
    result = run("table", **given)
    assert result["failed"]
    assert result["changed"]
    assert result["msg"] == (
        "the kernel refused to edit service tcp 192.0.2.10:80: Operation not permitted; "
        "2 steps were done before, 2 were not: running again takes up from there"
    )
    assert result["steps"] == kernel.done == [*of_web("add", 2), "add service fwmark 7 ipv6"]
    assert result["step_count"] == 2

    kernel.refuses = {}
    result = run("table", **given)
    assert result["steps"] == ["edit service tcp 192.0.2.10:80", *of_web("remove", 1)]
    assert not run("table", **given)["changed"]


def test_a_failure_of_the_first_step_changed_nothing(run, kernel):
    kernel.refuses = {ADD_WEB[0]: errno.ENOMEM}
    result = run("table", services=[WEB])
    assert (result["failed"], result["changed"], result["steps"]) == (True, False, [])


def test_no_answer_half_way_reports_what_is_known_to_be_done(run, kernel, monkeypatch):
    def silent(steps, around):
        raise Unanswered(steps[:2], 1, KernelError("no answer from the kernel for 60 seconds"))

    monkeypatch.setattr(kernel, "apply", silent)
    result = run("table", services=[WEB])
    assert result["msg"] == (
        "no answer from the kernel for 60 seconds; 2 steps were done before, of 1 more it is not known: "
        "running again takes up from there"
    )
    assert (result["failed"], result["changed"], result["steps"]) == (True, True, ADD_WEB[:2])


# -- what is ours --------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path) -> pathlib.Path:
    return tmp_path / "state" / "table.json"


@pytest.fixture
def owned(run, record):
    """Declare these services, and purge what is ours and not among them."""

    def call(*services, **given):
        return run("table", **{"services": list(services), "purge": "owned", "record": str(record), **given})

    return call


def ours(record: pathlib.Path) -> list[tuple]:
    """What the record says: the port or the mark of each service with the last digits of its real servers."""
    return [
        (words.get("port", words.get("fwmark")), *(int(server["address"][-1]) for server in words["real_servers"]))
        for words in json.loads(record.read_text())["services"]
    ]


def test_purge_owned_removes_what_was_ours_and_nothing_of_others(owned, kernel, record):
    kernel.has(DNS, {**WEB, "real_servers": [R3]})
    # The service becomes ours by being listed, the real server that it has does not.
    assert owned(WEB)["steps"] == of_web("add", 1, 2)
    assert ours(record) == [(80, 1, 2)]
    assert owned({**WEB, "real_servers": [R2]})["steps"] == of_web("remove", 1)
    assert ours(record) == [(80, 2)]
    # A service stays while it has real servers of others.
    assert owned()["steps"] == of_web("remove", 2)
    assert ours(record) == [(80,)]
    assert [(words["port"], len(words["real_servers"])) for words in kernel.words] == [(80, 1), (53, 0)]
    # Others take theirs, and then it goes.
    (entry, _dns) = sorted(kernel.table.values(), key=lambda one: one.service.key.port, reverse=True)
    entry.real_servers.clear()
    assert owned()["steps"] == ["remove service tcp 192.0.2.10:80"]
    assert ours(record) == []
    assert [words["port"] for words in kernel.words] == [53]


def test_purge_owned_settles(settles, kernel, record, owned):
    kernel.has(DNS)
    owned(WEB, MARK)
    kernel.done.clear()
    kernel.applied = 0
    settles(
        "table",
        [*of_web("remove", 1), "remove service fwmark 7 ipv6"],
        services=[{**WEB, "real_servers": [R2]}],
        purge="owned",
        record=str(record),
    )


def test_what_is_released_stays_as_declared_and_is_ours_no_more(settles, kernel, record, owned):
    owned(WEB, MARK)
    kernel.done.clear()
    kernel.applied = 0
    released = {**WEB, "scheduler": "lc", "real_servers": [R2, R3]}
    result = settles(
        "table",
        [*of_web("add", 3), "edit service tcp 192.0.2.10:80", *of_web("remove", 1)],
        services=[MARK],
        released=[released, {**WEB, "port": 81}],
        purge="owned",
        record=str(record),
    )
    assert result["changed"]
    assert ours(record) == [(7,)]
    # From here on it is whoever's it is.
    kernel.has(MARK, {**released, "real_servers": [R1]})
    assert not owned(MARK, released=[released])["changed"]
    assert not owned(MARK)["changed"]


def test_what_is_released_with_one_change_is_ours_no_more(owned, record):
    owned(WEB, MARK)
    assert owned(MARK, released=[{**WEB, "scheduler": "lc"}])["step_count"] == 1
    assert ours(record) == [(7,)]


def test_what_is_released_as_it_is_needs_no_message(owned, kernel, record):
    owned(WEB, MARK)
    kernel.applied = 0
    assert not owned(MARK, released=[WEB])["changed"]
    assert (kernel.applied, ours(record)) == (0, [(7,)])


def test_check_mode_releases_nothing(owned, record):
    owned(WEB, MARK)
    assert not owned(MARK, released=[WEB], check=True)["changed"]
    assert ours(record) == [(80, 1, 2), (7,)]


def test_what_is_released_is_spared_by_a_purge_of_all(run, kernel):
    kernel.has(WEB, MARK, DNS)
    assert run("table", services=[MARK], released=[WEB], purge="all")["steps"] == [
        "remove service udp [2001:db8:f::10]:53"
    ]


@pytest.mark.parametrize(
    ("released", "message"),
    [
        (WEB, "released[0]: tcp 192.0.2.10:80 is services[0], too"),
        ({**WEB, "port": 0}, "released[0].port: "),
        ({**WEB, "health_check": {}}, "released[0].health_check: there is no such option here"),
    ],
)
def test_what_cannot_be_released(owned, kernel, released, message):
    result = owned(WEB, released=[released])
    assert result["msg"].startswith(message)
    assert kernel.opened == 0


def test_without_a_record_yet_nothing_is_ours(owned, kernel, record):
    kernel.has(WEB, DNS)
    assert not owned(MARK, check=True)["steps"][1:]
    assert not record.parent.exists()
    assert owned(MARK)["steps"] == ["add service fwmark 7 ipv6"]
    assert ours(record) == [(7,)]


def test_what_is_there_already_becomes_ours_by_being_listed(owned, kernel, record):
    kernel.has(WEB)
    result = owned({**WEB, "real_servers": [R1]})
    assert not result["changed"]
    assert ours(record) == [(80, 1)]
    assert owned()["steps"] == of_web("remove", 1)


def test_what_is_ours_stays_ours_while_it_is_there(owned, kernel, record):
    """Without a purge, what is no longer listed stays, and stays known for a later one."""
    owned(WEB, MARK)
    assert not owned({**WEB, "real_servers": [R1]}, purge="none")["changed"]
    assert ours(record) == [(80, 1, 2), (7,)]
    assert owned({**WEB, "real_servers": [R1]})["steps"] == [*of_web("remove", 2), "remove service fwmark 7 ipv6"]


def test_what_others_removed_is_no_longer_ours(owned, kernel, record):
    owned(WEB, MARK)
    kernel.has()
    owned(MARK)
    assert ours(record) == [(7,)]
    # They make it anew: it is theirs.
    kernel.has(MARK, WEB)
    assert not owned(MARK)["changed"]


def many(*ports: int) -> list[dict]:
    return [{**WEB, "port": port} for port in ports]


@pytest.mark.parametrize("check", [False, True])
def test_a_purge_of_too_much_is_refused_before_any_change(owned, run, kernel, record, check):
    kernel.has(DNS)
    owned(*many(80, 81, 82, 83), MARK)
    before, written = kernel.words, record.read_text()
    kernel.done.clear()
    # A service without its real servers is as good as none. What is new makes up for nothing.
    fewer = [*many(80), {**WEB, "port": 81, "real_servers": []}, *many(90, 91, 92)]
    result = owned(*fewer, purge_limit=79, check=check)
    assert result["msg"] == (
        "purge_limit: 4 of 5 services would go or lose their last real server, more than 79 percent:"
        " fwmark 7 ipv6, tcp 192.0.2.10:81, tcp 192.0.2.10:82, tcp 192.0.2.10:83;"
        " nothing is changed; if they are to go, raise the limit"
    )
    assert (kernel.done, kernel.words, record.read_text()) == ([], before, written)
    assert owned(*fewer, purge_limit=80, check=check)["changed"]
    # Of others there is nothing to count.
    assert len(before) == 6


def test_a_purge_of_few_services_has_no_limit(owned):
    owned(*many(80, 81, 82))
    assert owned(purge_limit=0)["step_count"] == 3


def test_a_purge_limit_looks_at_what_is_there(owned, kernel):
    owned(*many(80, 81, 82, 83))
    kernel.has(*many(80))
    assert owned(purge_limit=0)["step_count"] == 1


def test_purge_all_does_not_need_to_be_ours(owned, kernel, record):
    kernel.has(WEB, DNS)
    assert owned(MARK, purge="all")["step_count"] == 3
    assert ours(record) == [(7,)]


def test_the_record_is_written_before_and_after_the_steps(owned, kernel, record):
    owned(WEB)
    seen = []
    kernel.before_apply = lambda: seen.append(ours(record))
    owned({**WEB, "real_servers": [R3]}, MARK)
    # First all that was ours and all that will be, then what is.
    assert seen == [[(80, 1, 2, 3), (7,)]]
    assert ours(record) == [(80, 3), (7,)]


def test_a_run_that_dies_half_way_leaves_nothing_that_the_next_one_does_not_know(owned, kernel, record):
    owned(WEB)
    kernel.refuses = {"add service fwmark 7 ipv6": errno.ENOMEM}
    assert owned({**WEB, "real_servers": [R3]}, MARK)["steps"] == of_web("add", 3)
    assert ours(record) == [(80, 1, 2, 3), (7,)]
    kernel.refuses = {}
    # The next run declares something else altogether.
    assert owned(DNS)["steps"] == ["add service udp [2001:db8:f::10]:53", "remove service tcp 192.0.2.10:80"]
    assert ours(record) == [(53,)]


def test_an_unchanged_record_is_not_written_again(owned, record):
    owned(WEB)
    before = record.stat()
    owned(WEB)
    after = record.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_check_mode_writes_nothing(owned, kernel, record):
    assert owned(WEB, check=True)["changed"]
    assert not record.parent.exists()
    owned(WEB)
    before = record.read_text()
    assert owned(MARK, check=True)["step_count"] == 2
    assert record.read_text() == before


def test_a_record_without_a_purge_is_kept_too(run, kernel, record):
    run("table", services=[WEB], record=str(record))
    assert ours(record) == [(80, 1, 2)]


def test_the_record_is_for_its_owner(owned, record):
    owned(WEB)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the record {} is damaged ("),
        ('{"services": [', "the record {} is damaged ("),
        ("[]", "the record {} is not a JSON object: mend it, or remove it to own nothing"),
        ('{"services": {}}', "{}: services: {{}} is not a list"),
        ('{"services": [{"fwmark": 0}]}', "{}: services[0].fwmark: 0 is not an integer from 1 to 4294967295"),
        ('{"services": [{"fwmark": 7, "sched": "rr"}]}', "{}: services[0].sched: there is no such option here"),
    ],
)
@pytest.mark.parametrize("purge", ["none", "owned", "all"])
def test_a_damaged_record_is_refused(owned, kernel, record, text, message, check, purge):
    kernel.has(WEB)
    record.parent.mkdir()
    record.write_text(text)
    result = owned(MARK, check=check, purge=purge)
    assert result["msg"].startswith(message.format(record))
    assert (kernel.applied, record.read_text()) == (0, text)


def test_a_record_that_cannot_be_written_is_told_before_any_step(owned, kernel, record):
    record.mkdir(parents=True)
    result = owned(WEB)
    assert result["failed"]
    assert str(record) in result["msg"]
    assert kernel.applied == 0


def test_the_record_is_locked_while_the_table_changes(owned, kernel, record):
    held = []

    def another_run():
        with open(f"{record}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
            else:
                held.append(False)

    kernel.before_apply = another_run
    owned(WEB)
    another_run()
    assert held == [True, False]


# -- proofs --------------------------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch):
    """The addresses of real servers that do not answer, by the reason; tells also what was asked."""
    reasons: dict[str, str | None] = {}
    asked: list[list[str]] = []

    def ask(proofs, timeout):
        proofs = list(proofs)
        asked.append([proof.server for proof in proofs])
        return {proof: reasons[proof.server] for proof in proofs if proof.server in reasons}

    monkeypatch.setattr(_probe, "ask", ask)
    return reasons, asked


def unanswered(number: int) -> dict:
    return {
        "service": {"protocol": "tcp", "address": "192.0.2.10", "port": 80},
        "address": f"198.51.100.2{number}",
        "port": 80,
        "reason": "refused",
    }


def weights(words: list[dict]) -> dict[str, int]:
    return {server["address"][-1]: server["weight"] for service in words for server in service["real_servers"]}


def test_who_does_not_answer_keeps_weight_0_and_is_asked_again(settles, silent, kernel):
    reasons, asked = silent
    reasons["198.51.100.22"] = "refused"
    result = settles("table", ADD_WEB, services=[WEB], probe={})
    assert (result["unanswered"], result["unprobed"]) == ([unanswered(2)], [])
    assert weights(kernel.words) == {"1": 1, "2": 0}
    # In check mode twice, once in earnest, and then only who has no weight yet.
    assert asked == [["198.51.100.21", "198.51.100.22"]] * 3 + [["198.51.100.22"]]


def test_who_answers_at_last_gets_its_weight(run, silent, kernel):
    kernel.has({**WEB, "real_servers": [R1, {**R2, "weight": 0}]})
    assert run("table", services=[WEB], probe={})["steps"] == of_web("edit", 2)
    assert silent[1] == [["198.51.100.22"]]


def test_nobody_is_asked_who_has_weight_or_is_to_have_none(run, silent, kernel):
    kernel.has(WEB)
    wanted = {**WEB, "real_servers": [{**R1, "weight": 5}, {**R2, "forwarding": "direct"}, {**R3, "weight": 0}]}
    assert run("table", services=[wanted], probe={})["step_count"] == 3
    assert silent[1] == []
    assert "unanswered" not in run("table", services=[wanted])


def test_weight_is_given_where_nothing_can_be_asked(run, silent, kernel):
    silent[0]["198.51.100.21"] = None
    result = run("table", services=[WEB, {**DNS, "real_servers": [{"address": "2001:db8:b::21"}]}], probe={})
    assert result["unanswered"] == []
    assert result["unprobed"] == [
        "real server [2001:db8:b::21]:53 of service udp [2001:db8:f::10]:53",
        "real server 198.51.100.21:80 of service tcp 192.0.2.10:80",
    ]
    assert weights(kernel.words) == {"1": 1, "2": 1}


@pytest.mark.parametrize("check", [False, True])
def test_with_fail_nothing_is_changed(run, silent, kernel, tmp_path, check):
    silent[0]["198.51.100.22"] = "refused"
    kernel.has(MARK)
    record = tmp_path / "table.json"
    result = run("table", services=[WEB], probe={"on_failure": "fail"}, purge="all", record=str(record), check=check)
    assert result["msg"] == (
        "probe: 1 real servers do not answer, and nothing is changed: "
        "real server 198.51.100.22:80 of service tcp 192.0.2.10:80: refused"
    )
    assert result["unanswered"] == [unanswered(2)]
    assert (result["changed"], kernel.applied, record.exists()) == (False, 0, False)


def test_the_record_holds_the_weight_that_was_applied(owned, silent, record):
    silent[0]["198.51.100.22"] = "refused"
    owned(WEB, probe={})
    assert weights(json.loads(record.read_text())["services"]) == {"1": 1, "2": 0}
    silent[0].clear()
    owned(WEB, probe={})
    assert weights(json.loads(record.read_text())["services"]) == {"1": 1, "2": 1}


def test_who_is_released_is_not_asked(owned, silent, kernel, record):
    reasons, asked = silent
    reasons.update({"198.51.100.22": "refused", "198.51.100.23": "refused"})
    owned(WEB, probe={})
    assert weights(kernel.words) == {"1": 1, "2": 0}
    asked.clear()
    released = {**WEB, "real_servers": [R1, R2, R3]}
    result = owned({**WEB, "port": 81, "real_servers": [R1]}, released=[released], probe={"on_failure": "fail"})
    assert (result["unanswered"], result["unprobed"]) == ([], [])
    assert asked == [["198.51.100.21"]]
    # As declared: whether they answer is its new owner's to find out.
    assert weights(kernel.words[:1]) == {"1": 1, "2": 1, "3": 1}
    assert ours(record) == [(81, 1)]


@pytest.mark.parametrize("listed", [[R2], [{**R1, "weight": 0}, R2]])
def test_who_serves_keeps_its_weight_until_somebody_answers(owned, silent, kernel, record, listed, monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warned.append(text))
    owned({**WEB, "real_servers": [R1]})
    silent[0]["198.51.100.22"] = "refused"
    wanted = {**WEB, "scheduler": "lc", "real_servers": listed}
    for check, applied in ((True, 1), (False, 2), (False, 2)):
        result = owned(wanted, DNS, probe={}, check=check)
        assert result["kept"] == ["real server 198.51.100.21:80 of service tcp 192.0.2.10:80"]
        assert warned.pop().endswith(f"do not answer: {result['kept'][0]}")
        assert (result["unanswered"], kernel.applied) == ([unanswered(2)], applied)
    # Everything else is as listed, and a boot brings back what serves.
    recorded = json.loads(record.read_text())["services"]
    for words in (kernel.words, recorded):
        web = next(service for service in words if service["port"] == 80)
        assert (len(words), web["scheduler"], weights([web])) == (2, "lc", {"1": 1, "2": 0})
    silent[0].clear()
    result = owned(wanted, DNS, probe={})
    assert (result["kept"], warned) == ([], [])
    assert weights(kernel.words) == ({"2": 1} if len(listed) == 1 else {"1": 0, "2": 1})


def test_who_serves_goes_where_others_do(owned, silent, kernel):
    owned({**WEB, "real_servers": [R1, R3]})
    silent[0]["198.51.100.22"] = "refused"
    assert owned({**WEB, "real_servers": [R2, R3]}, probe={})["kept"] == []
    assert weights(kernel.words) == {"2": 0, "3": 1}


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"timeout": 0}, "probe.timeout: 0.0 is not above 0, and at most 60"),
        ({"timeout": 61}, "probe.timeout: 61.0 is not above 0, and at most 60"),
        ({"on_failure": "ask"}, "value of on_failure must be one of: continue, fail, got: ask"),
        (
            {"marked": [{"fwmark": 0, "protocol": "tcp", "address": "192.0.2.10", "port": 80}]},
            "probe.marked[0].fwmark: 0 is not an integer from 1 to 4294967295",
        ),
        (
            {"marked": [{"fwmark": 7, "protocol": "tcp", "address": "192.0.2.256", "port": 80}]},
            "probe.marked[0].address: '192.0.2.256' is not an IPv4 or IPv6 address",
        ),
    ],
)
def test_a_bad_probe_is_refused(run, kernel, probe, message):
    result = run("table", services=[WEB], probe=probe)
    assert message in result["msg"]
    assert kernel.opened == 0
