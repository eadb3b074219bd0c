# SPDX-License-Identifier: GPL-3.0-or-later
"""How what goes right and what goes wrong is told. What the modules do stands in tests/unit/plugins/modules."""

from __future__ import annotations

import errno
import json

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils import _run
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import KernelError, StepFailed, Unanswered
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import plan
from ansible_collections.lvs.ipvs.plugins.module_utils._pyroute2 import MissingLibrary
from ansible_collections.lvs.ipvs.plugins.module_utils._record import UnreadableRecord
from ansible_collections.lvs.ipvs.plugins.module_utils._wire import MalformedMessage

STEPS = plan({}, options.parse_services([{"fwmark": mark} for mark in range(1, 2001)]), {})


@pytest.fixture
def told(capsys):
    """What a module tells whose body is this."""

    def call(body):
        with patch_module_args({}), pytest.raises(SystemExit) as ended:
            _run.run(AnsibleModule(argument_spec={}), body)
        result = json.loads(capsys.readouterr().out)
        assert ended.value.code == (1 if result.get("failed") else 0)
        result.pop("invocation")
        return result

    return call


@pytest.mark.parametrize("error", [None, InvalidValue("", "is wrong"), StepFailed([], STEPS[0], errno.EPERM, 1)])
def test_the_options_are_returned_without_the_tail_of_a_long_list(capsys, error):
    given = {"services": [{"fwmark": mark} for mark in range(1, 2001)], "purge": "all"}
    spec = {"services": {"type": "list", "elements": "dict"}, "purge": {}}
    body = failing(error) if error else lambda module: {}
    with patch_module_args(given), pytest.raises(SystemExit):
        _run.run(AnsibleModule(argument_spec=spec), body)
    options_told = json.loads(capsys.readouterr().out)["invocation"]["module_args"]
    assert options_told == {**given, "services": given["services"][:100]}


def failing(error):
    def body(module):
        raise error

    return body


def test_a_result_is_returned_as_it_is(told):
    assert told(lambda module: {"changed": True, "steps": []}) == {"changed": True, "steps": []}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InvalidValue("services[2].port", "is wrong"), "services[2].port: is wrong"),
        (KernelError("this kernel has no IPVS"), "this kernel has no IPVS"),
        (MalformedMessage("a message of 3 bytes"), "a message of 3 bytes"),
        (MissingLibrary("pyroute2 is missing"), "pyroute2 is missing"),
        (UnreadableRecord("the record is damaged"), "the record is damaged"),
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_an_error_becomes_one_message(told, error, message):
    result = told(failing(error))
    assert result["failed"]
    assert result["msg"] == message


def test_a_fault_of_our_own_is_none_of_them():
    with patch_module_args({}), pytest.raises(ZeroDivisionError):
        _run.run(AnsibleModule(argument_spec={}), failing(ZeroDivisionError()))


@pytest.mark.parametrize("done", [0, 1, 1000, 1001])
@pytest.mark.parametrize(
    "stop",
    [
        lambda done: StepFailed(STEPS[:done], STEPS[done], errno.EPERM, len(STEPS) - done),
        lambda done: Unanswered(STEPS[:done], 5, KernelError("no answer")),
    ],
)
def test_a_plan_that_stops_half_way_tells_what_was_done(told, done, stop):
    result = told(failing(stop(done)))
    assert result["failed"]
    assert result["changed"] == bool(done)
    assert result["steps"] == [f"add service fwmark {mark} ipv4" for mark in range(1, min(done, 1000) + 1)]
    assert result["step_count"] == done
    assert f"{done} steps were done before" in result["msg"]
    assert result["msg"].endswith("running again takes up from there")
