"""Executes a state machine in Amazon's States Language, as far as dynamirror's machines use it.

https://states-language.net/. Waits are left out, and counted. What is not known is an error.
"""

import operator
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any

from scale.paths import put, resolve, value_at
from scale.sandboxes import TaskError

# Invokes a resource by its ARN with an input.
Invoke = Callable[[str, Any], Any]
_KNOWN = {
    "Pass": {"Parameters", "Result", "ResultPath"},
    "Task": {"Resource", "Parameters", "ResultSelector", "ResultPath", "Retry", "Catch"}
    | {"TimeoutSeconds"},
    "Choice": {"Choices", "Default"},
    "Wait": {"SecondsPath", "Seconds"},
    "Succeed": set(),
    "Fail": {"Error", "Cause", "ErrorPath", "CausePath"},
    "Map": {"ItemsPath", "ItemSelector", "ItemProcessor", "MaxConcurrency", "MaxConcurrencyPath"}
    | {"ResultPath", "Label", "Catch", "Retry", "ResultSelector", "ToleratedFailurePercentage"},
    "Parallel": {"Branches", "ResultPath", "ResultSelector", "Catch", "Retry"},
}
_ALWAYS = {"Type", "Next", "End", "Comment"}


@dataclass(slots=True)
class Trace:
    """What executions did.

    Args:
        tasks: number of invocations by state and by the item of its map.
        transitions: number of states that were entered.
        skipped: seconds of all waits.
    """

    tasks: Counter[tuple[str, str]] = field(default_factory=Counter)
    transitions: int = 0
    skipped: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def resumptions(self) -> int:
        """Return how many invocations went on with the work of an earlier one."""
        return self.tasks.total() - len(self.tasks)


class Machine:
    """A state machine.

    Args:
        definition: its definition.
        invoke: invokes a resource.
        skip: called with the seconds of a wait, which is left out.
        name: name of its executions.
    """

    def __init__(
        self,
        definition: Mapping[str, Any],
        invoke: Invoke,
        *,
        skip: Callable[[float], object] = lambda _seconds: None,
        name: str = "execution",
    ) -> None:
        self._definition = definition
        self._invoke = invoke
        self._skip = skip
        self._name = name
        self.trace = Trace()

    def execute(self, data: Any) -> Any:
        """Execute the machine, and return its output.

        Raises:
            TaskError: it failed.
        """
        started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        context = {"Execution": {"Name": self._name, "StartTime": started, "Input": data}}
        return self._run(self._definition, data, context, "")

    def _run(self, definition: Mapping[str, Any], data: Any, context: Any, place: str) -> Any:
        name = definition["StartAt"]
        while True:
            state = definition["States"][name]
            unknown = state.keys() - _KNOWN[state["Type"]] - _ALWAYS
            if unknown:
                raise NotImplementedError(f"{name}: {', '.join(sorted(unknown))}")
            with self.trace.lock:
                self.trace.transitions += 1
            data, following = self._step(name, state, data, {**context}, place)
            if following is None:
                return data
            name = following

    def _step(
        self, name: str, state: Mapping[str, Any], data: Any, context: Any, place: str
    ) -> tuple[Any, str | None]:
        match state["Type"]:
            case "Pass" | "Choice" | "Wait":
                return self._simple_step(state, data, context)
            case "Succeed":
                return data, None
            case "Fail":
                raise TaskError(state.get("Error", ""), state.get("Cause", ""))
            case "Task":
                work = self._task
            case "Map":
                work = self._map
            case _:
                work = self._parallel
        return self._attempts(name, state, data, lambda: work(name, state, data, context, place))

    def _simple_step(
        self, state: Mapping[str, Any], data: Any, context: Any
    ) -> tuple[Any, str | None]:
        following = state.get("Next")
        if state["Type"] == "Choice":
            for rule in state["Choices"]:
                if _holds(rule, data, context):
                    return data, rule["Next"]
            return data, state["Default"]
        if state["Type"] == "Wait":
            seconds = state.get("Seconds")
            self._wait(value_at(state["SecondsPath"], data) if seconds is None else seconds)
            return data, following
        result = state.get("Result", data)
        if "Parameters" in state:
            result = resolve(state["Parameters"], data, context)
        return put(state.get("ResultPath", "$"), data, result), following

    def _attempts(
        self, name: str, state: Mapping[str, Any], data: Any, work: Callable[[], Any]
    ) -> tuple[Any, str | None]:
        failures: Counter[int] = Counter()
        while True:
            try:
                result = work()
            except TaskError as error:
                seconds = _retry(state.get("Retry", ()), error.name, failures)
                if seconds is not None:
                    self._wait(seconds)
                    continue
                for catcher in state.get("Catch", ()):
                    if _matches(catcher["ErrorEquals"], error.name):
                        caught = {"Error": error.name, "Cause": error.cause}
                        return put(catcher.get("ResultPath", "$"), data, caught), catcher["Next"]
                raise TaskError(error.name, f"{name}: {error.cause}") from error
            else:
                if "ResultSelector" in state:
                    result = resolve(state["ResultSelector"], result, {})
                return put(state.get("ResultPath", "$"), data, result), state.get("Next")

    def _task(
        self, name: str, state: Mapping[str, Any], data: Any, context: Any, place: str
    ) -> Any:
        with self.trace.lock:
            self.trace.tasks[name, place] += 1
        return self._invoke(state["Resource"], resolve(state["Parameters"], data, context))

    def _map(self, name: str, state: Mapping[str, Any], data: Any, context: Any, place: str) -> Any:
        items = value_at(state.get("ItemsPath", "$"), data)
        most = state.get("MaxConcurrency", 0)
        if "MaxConcurrencyPath" in state:
            most = value_at(state["MaxConcurrencyPath"], data)

        def run(index: int, item: Any) -> Any:
            inner = {**context, "Map": {"Item": {"Index": index, "Value": item}}}
            given = item
            if "ItemSelector" in state:
                given = resolve(state["ItemSelector"], data, inner)
            return self._run(state["ItemProcessor"], given, inner, f"{place}/{name}.{index}")

        with ThreadPoolExecutor(max(1, min(most or len(items), len(items), 64))) as pool:
            return list(pool.map(run, range(len(items)), items))

    def _parallel(
        self, name: str, state: Mapping[str, Any], data: Any, context: Any, place: str
    ) -> Any:
        branches = state["Branches"]
        with ThreadPoolExecutor(len(branches)) as pool:
            futures = [
                pool.submit(self._run, branch, data, context, f"{place}/{name}.{index}")
                for index, branch in enumerate(branches)
            ]
            return [future.result() for future in futures]

    def _wait(self, seconds: float) -> None:
        with self.trace.lock:
            self.trace.skipped += seconds
        self._skip(seconds)


def _retry(retriers: Any, error: str, failures: Counter[int]) -> float | None:
    """Return the seconds until the next attempt; None for no attempt."""
    for index, retrier in enumerate(retriers):
        if not _matches(retrier["ErrorEquals"], error):
            continue
        if failures[index] >= retrier.get("MaxAttempts", 3):
            return None
        pause = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2) ** failures[index]
        failures[index] += 1
        return float(ceil(min(pause, retrier.get("MaxDelaySeconds", pause))))
    return None


def _matches(names: Any, error: str) -> bool:
    return error in names or "States.ALL" in names or "States.TaskFailed" in names


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "IsNull": lambda value, wanted: (value is None) == wanted,
    "BooleanEquals": operator.eq,
    "NumericEquals": operator.eq,
    "StringEquals": operator.eq,
    "NumericGreaterThan": operator.gt,
    "NumericGreaterThanEquals": operator.ge,
    "NumericLessThan": operator.lt,
    "NumericLessThanEquals": operator.le,
}


def _holds(rule: Mapping[str, Any], data: Any, context: Any) -> bool:
    if "And" in rule:
        return all(_holds(each, data, context) for each in rule["And"])
    if "Or" in rule:
        return any(_holds(each, data, context) for each in rule["Or"])
    if "Not" in rule:
        return not _holds(rule["Not"], data, context)
    ((name, wanted),) = (pair for pair in rule.items() if pair[0] not in ("Variable", "Next"))
    if name == "IsPresent":
        return _is_present(rule["Variable"], data, context) is bool(wanted)
    if name.endswith("Path"):
        name, wanted = name.removesuffix("Path"), value_at(wanted, data, context)
    if name not in _COMPARISONS:
        raise NotImplementedError(f"choice by {name}")
    return bool(_COMPARISONS[name](value_at(rule["Variable"], data, context), wanted))


def _is_present(path: str, data: Any, context: Any) -> bool:
    try:
        value_at(path, data, context)
    except LookupError:
        return False
    return True
