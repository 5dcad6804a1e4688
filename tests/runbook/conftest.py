"""The functions as they are deployed, and the stack's alarms over what they tell."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.alarm_watch import Watch
from tests.support.cloudwatch import Definition
from tests.support.sandboxes import fresh_logger
from tests.support.templates import make_stack  # prepares jsii, before any import of aws_cdk
from tests.support.world import World

from dynamirror import handler
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.functions import canary, environment, judge


@pytest.fixture(scope="session")
def alarms() -> dict[str, list[Definition]]:
    """All alarms that there are, by their page of the runbook."""
    from aws_cdk.assertions import Template  # noqa: PLC0415 - see above

    _app, stack = make_stack(cacheMaxEcpu="5000", canaryLateSeconds="1", inspector="true")
    found: dict[str, list[Definition]] = {}
    for each in Template.from_stack(stack).find_resources("AWS::CloudWatch::Alarm").values():
        alarm = each["Properties"]
        found.setdefault(alarm["AlarmDescription"].rpartition("#")[2], []).append(alarm)
    return found


def forget() -> None:
    """End the sandbox: what the functions keep between invocations."""
    if judge.the_judge.cache_info().currsize:
        judge.the_judge().cache.close()
    for kept in (environment.operations, canary._probe, handler.replicator, judge.the_judge):
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
    monkeypatch.setattr(environment, "Aws", lambda: world.aws)
    monkeypatch.setattr(judge, "Aws", SimpleNamespace(from_env=lambda: world.aws))
    with ExitStack() as stack:

        def sandbox_(**settings: Any) -> None:
            forget()
            for name, value in (valkey.settings(**settings).to_env() | given).items():
                monkeypatch.setenv(name, value)
            for cache in (environment.operations().cache, handler.replicator().cache):
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
