"""CloudWatch's alarms, evaluated over what the functions log."""

from collections.abc import Callable
from typing import Any

from tests.support.builders import Time
from tests.support.cloudwatch import Definition, Points, state
from tests.support.world import World

Function = Callable[[Any, Any], Any]


# What the metrics of AWS itself are about; which function it is, is known by the alarm.
NAMES = {"FunctionName": "it", "StateMachineArn": "it", "clusterId": "it", "QueueName": "it"}


NAMES_OF_FUNCTION = {"FunctionName": NAMES["FunctionName"]}


class Watch:
    """CloudWatch, watching the functions of one mirror; its minutes pass as they are told to.

    Args:
        alarms: by their page of the runbook.
        world: the table and its mirror.
        read: gives what was logged since it was asked last.
    """

    def __init__(
        self, alarms: dict[str, list[Definition]], world: World, read: Callable[[], str]
    ) -> None:
        self.world = world
        self._alarms = alarms
        self._read = read
        self._points = Points()
        self._names = {"table": world.table, **NAMES}
        self._states = dict.fromkeys(alarms, "INSUFFICIENT_DATA")
        self._minute = 0

    def invoke(self, function: Function, event: Any = None, *, seconds: float = 60.0) -> Any:
        """Invoke a function as Lambda does: what it raises is an error that is counted."""
        try:
            return function(event or {}, Time(seconds))
        except Exception as error:  # noqa: BLE001 - as Lambda has it
            self._points.add("AWS/Lambda", "Errors", NAMES_OF_FUNCTION, 1, self._minute)
            return error

    def check(self) -> None:
        """Have a check of the watchdog succeed, as Step Functions counts it."""
        machine = {"StateMachineArn": NAMES["StateMachineArn"]}
        self._points.add("AWS/States", "ExecutionsSucceeded", machine, 1, self._minute)

    def pass_minutes(
        self, count: int, each: Callable[[], object] | None = None, *, every: int = 1
    ) -> None:
        """Let minutes pass.

        Args:
            count: how many.
            each: what is done in each.
            every: if not in each, then in each so many.
        """
        for _ in range(count):
            if each and self._minute % every == 0:
                each()
            self._points.read(self._read(), self._minute)
            for page, alarms in self._alarms.items():
                self._states[page] = state(
                    alarms[0],
                    self._points,
                    self._names,
                    now=self._minute,
                    before=self._states[page],
                )
            self._minute += 1

    def state(self, page: str) -> str:
        """The state of the alarm that has a page; of the first, where there are several."""
        return self._states[page]

    def states(self) -> dict[str, str]:
        """The states of all."""
        return dict(self._states)
