"""The interpreter of state machines, by small machines of the kinds that are deployed."""

from collections.abc import Callable
from typing import Any

import libvalkey
import pytest
from scale.meter import boundaries
from scale.paths import resolve
from scale.sandboxes import TaskError
from scale.states_language import Machine


def machine_of(invoke: Callable[[str, Any], Any], **states: Any) -> Machine:
    """Return a machine whose first state is the first one given."""
    return Machine({"StartAt": next(iter(states)), "States": states}, invoke)


def test_a_map_runs_each_item_and_goes_on_until_its_work_is_done() -> None:
    calls: list[tuple[int, int]] = []

    def invoke(_resource: str, event: Any) -> Any:
        calls.append((event["index"], event["of"]))
        return {"done": calls.count((event["index"], event["of"])) > event["index"]}

    inner = {
        "StartAt": "Work",
        "States": {
            "Work": {
                "Type": "Task",
                "Resource": "worker",
                "Parameters": {"index.$": "$.index", "of.$": "$.of"},
                "ResultPath": "$.progress",
                "Next": "Done",
            },
            "Done": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.progress.done", "BooleanEquals": True, "Next": "End"}],
                "Default": "Work",
            },
            "End": {"Type": "Pass", "Result": {}, "End": True},
        },
    }
    machine = machine_of(
        invoke,
        Parts={
            "Type": "Map",
            "ItemsPath": "$.parts",
            "ItemSelector": {"of.$": "$.of", "index.$": "$$.Map.Item.Value"},
            "ItemProcessor": inner,
            "MaxConcurrencyPath": "$.most",
            "ResultPath": None,
            "End": True,
        },
    )
    data = {"parts": [0, 1, 2], "of": 3, "most": 1}
    assert machine.execute(data) == data
    assert calls == [(0, 3), (1, 3), (1, 3), (2, 3), (2, 3), (2, 3)]
    assert machine.trace.resumptions == 3


def test_an_error_is_retried_with_growing_pauses_until_the_attempts_end() -> None:
    pauses: list[float] = []

    def invoke(_resource: str, _event: Any) -> Any:
        raise TaskError("Lambda.Unknown", "the sandbox ended")

    task = {
        "Type": "Task",
        "Resource": "worker",
        "Parameters": {},
        "Retry": [
            {"ErrorEquals": ["LostError"], "MaxAttempts": 0},
            {
                "ErrorEquals": ["States.ALL"],
                "IntervalSeconds": 2,
                "MaxAttempts": 3,
                "BackoffRate": 2,
                "MaxDelaySeconds": 5,
            },
        ],
        "End": True,
    }
    machine = Machine({"StartAt": "Work", "States": {"Work": task}}, invoke, skip=pauses.append)
    with pytest.raises(TaskError, match=r"Lambda\.Unknown: Work: the sandbox ended"):
        machine.execute({})
    assert pauses == [2, 4, 5]


def test_an_error_that_is_not_retried_is_caught_with_its_cause() -> None:
    def invoke(_resource: str, _event: Any) -> Any:
        raise TaskError("LostError", "another has begun")

    machine = machine_of(
        invoke,
        Work={
            "Type": "Task",
            "Resource": "worker",
            "Parameters": {},
            "Retry": [{"ErrorEquals": ["LostError"], "MaxAttempts": 0}],
            "Catch": [{"ErrorEquals": ["LostError"], "ResultPath": "$.error", "Next": "End"}],
            "End": True,
        },
        End={"Type": "Pass", "End": True},
    )
    caught = {"Error": "LostError", "Cause": "another has begun"}
    assert machine.execute({"a": 1}) == {"a": 1, "error": caught}


def test_a_wait_is_left_out_and_counted() -> None:
    machine = machine_of(
        lambda _resource, _event: None,
        Wait={"Type": "Wait", "SecondsPath": "$.seconds", "Next": "End"},
        End={"Type": "Succeed"},
    )
    assert machine.execute({"seconds": 12}) == {"seconds": 12}
    assert machine.trace.skipped == 12


def test_what_the_interpreter_does_not_know_is_an_error() -> None:
    machine = machine_of(
        lambda _resource, _event: None, Odd={"Type": "Pass", "Assign": {}, "End": True}
    )
    with pytest.raises(NotImplementedError, match="Odd: Assign"):
        machine.execute({})


def test_paths_and_intrinsic_functions_have_the_values_of_the_states_language() -> None:
    template = {
        "name.$": "$$.Execution.Name",
        "sum.$": "States.MathAdd($.a, 1)",
        "merged.$": "States.JsonMerge($.b, $.c, false)",
        "list.$": "States.Array($.a, $.b.x)",
        "text.$": "States.Format('{}-{}', $.b.x, $.a)",
        "all.$": "$.d[*].n",
        "plain": {"inner.$": "$.b"},
    }
    data = {"a": 1, "b": {"x": "y"}, "c": {"z": 2}, "d": [{"n": 3}, {"n": 4}]}
    assert resolve(template, data, {"Execution": {"Name": "it"}}) == {
        "name": "it",
        "sum": 2,
        "merged": {"x": "y", "z": 2},
        "list": [1, "y"],
        "text": "y-1",
        "all": [3, 4],
        "plain": {"inner": {"x": "y"}},
    }


def test_a_process_can_end_at_the_begin_of_each_command() -> None:
    commands = [(b"GET", b"a\r\n*1"), (b"EVALSHA", b"x" * 40, 2, "k", ""), (b"PING",)]
    packed = [libvalkey.pack_command(words) for words in commands]
    lengths = [len(each) for each in packed]
    assert boundaries(b"".join(packed)) == [0, lengths[0], lengths[0] + lengths[1]]
    assert boundaries(b"") == [0]
