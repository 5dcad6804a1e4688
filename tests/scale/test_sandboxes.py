"""Sandboxes: an invocation that is killed or takes too long fails as on Lambda, and is counted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scale.sandboxes import Sandboxes, TaskError
from scale.table import NAME

from dynamirror.emulators.valkey import EmbeddedValkey

Make = Callable[..., Sandboxes]
CHECK = {"step": "check", "table": NAME}


@pytest.fixture
def make(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Make]:
    """Return a function that starts sandboxes with a limit of an invocation, and of commands."""
    made: list[Sandboxes] = []

    def start(*, seconds: float = 20.0, kill_every: int | None = None) -> Sandboxes:
        variables = {**valkey.settings().to_env(), "DYNAMODB_TABLE": NAME}
        made.append(
            Sandboxes(
                variables,
                items=100,
                seed=1,
                seconds=seconds,
                grace=seconds,
                kill_every=kill_every,
                log=tmp_path / "log",
            )
        )
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_a_sandbox_answers_and_stays_for_the_next_invocation(make: Make) -> None:
    sandboxes = make()
    for _ in range(2):
        assert sandboxes.invoke("worker", CHECK)["complete"] is False
    counts = sandboxes.take_counts()
    assert (counts.invocations, counts.kills, counts.timeouts, counts.errors) == (2, 0, 0, 0)
    assert counts.used.commands > 0
    assert counts.used.peak_mb > 10


def test_an_error_of_the_function_has_its_name(make: Make) -> None:
    with pytest.raises(TaskError, match="ConfigError"):
        make().invoke("worker", {"step": "nothing"})


def test_a_sandbox_that_is_killed_between_two_commands_is_counted_with_what_it_used(
    make: Make,
) -> None:
    sandboxes = make(kill_every=2)
    with pytest.raises(TaskError, match=r"Lambda\.Unknown"):
        sandboxes.invoke("worker", CHECK)
    counts = sandboxes.take_counts()
    assert counts.kills == 1
    assert counts.used.commands > 0


def test_an_invocation_that_takes_too_long_is_ended(make: Make) -> None:
    sandboxes = make(seconds=1e-6)
    with pytest.raises(TaskError, match=r"Sandbox\.Timedout"):
        sandboxes.invoke("worker", CHECK)
    assert sandboxes.take_counts().timeouts == 1
