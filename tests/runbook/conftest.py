"""The functions as they are deployed, and the stack's alarms over what they tell."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from builders import Time
from dynamirror import handler
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.functions import auditor as functions
from recovery.conftest import make_world, world
from recovery.world import World
from runbook.cloudwatch import Definition, Points, state
from sandboxes import fresh_logger
from templates import make_stack  # prepares jsii, before any import of aws_cdk

__all__ = ["make_world", "world"]  # fixtures

Function = Callable[[Any, Any], Any]
# What the metrics of AWS itself are about; which function it is, is known by the alarm.
NAMES = {"FunctionName": "it", "StateMachineArn": "it", "clusterId": "it"}
NAMES_OF_FUNCTION = {"FunctionName": NAMES["FunctionName"]}


@pytest.fixture(scope="session")
def alarms() -> dict[str, list[Definition]]:
    """All alarms that there are, by their page of the runbook."""
    from aws_cdk.assertions import Template  # noqa: PLC0415 - see above

    _app, stack = make_stack(cacheMaxEcpu="5000", canaryLateSeconds="1")
    found: dict[str, list[Definition]] = {}
    for each in Template.from_stack(stack).find_resources("AWS::CloudWatch::Alarm").values():
        alarm = each["Properties"]
        found.setdefault(alarm["AlarmDescription"].rpartition("#")[2], []).append(alarm)
    return found


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


def forget() -> None:
    """End the sandbox: what the functions keep between invocations."""
    for kept in (functions._operations, functions._canary, handler._replicator):
        kept.cache_clear()


@pytest.fixture
def sandbox(
    valkey: EmbeddedValkey, world: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Make a fresh sandbox for all functions; arguments are the cache's settings."""
    given = {
        "DYNAMODB_TABLE": world.table,
        "DYNAMIRROR_KEY_SCHEMA": "id",
        "DYNAMIRROR_AUDIT_PARTS": "1",
        "DYNAMIRROR_AUDIT_SETTLE": "0",
    }
    monkeypatch.setattr(functions, "Aws", lambda: world.aws)
    with ExitStack() as stack:

        def sandbox_(**settings: Any) -> None:
            forget()
            for name, value in (valkey.settings(**settings).to_env() | given).items():
                monkeypatch.setenv(name, value)
            for cache in (functions._operations().cache, handler._replicator().cache):
                stack.callback(cache.close)

        stack.enter_context(fresh_logger())
        stack.callback(forget)
        sandbox_()
        yield sandbox_
        world.stack.close()  # what still delivers would make a sandbox again


@pytest.fixture
def watch(
    alarms: dict[str, list[Definition]],
    world: World,
    sandbox: object,
    capsys: pytest.CaptureFixture[str],
) -> Watch:
    """CloudWatch, and nothing has been told yet."""
    assert sandbox
    capsys.readouterr()
    return Watch(alarms, world, lambda: capsys.readouterr().out)
